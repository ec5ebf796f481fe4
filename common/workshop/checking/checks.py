"""Checks: a number, a requirement in one sentence, three hints; and the loop that runs them in order.

An exercise's checks.py contains a list of `Check`, in the order in which a learner meets them, each with the number of
its TODO. A check tests one property of a `Workspace` and returns ok, fail or skip.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from pixi_workspace import lock as locks
from pixi_workspace import manifest as manifests
from pixi_workspace.errors import WorkspaceError
from pixi_workspace.fit import lockcheck
from pixi_workspace.manifest.model import Feature
from pixi_workspace.platforms import Platform
from workshop import shell
from workshop.checking import preload, scripts
from workshop.checking.patches import Patch
from workshop.errors import WorkshopError

PIXI_LIMIT = 60  # seconds for `pixi lock --check`, which takes one second if it downloads nothing


@dataclass(frozen=True)
class Result:
    """The result of a check. status: ok, fail or skip (a skip is never a pass)."""

    status: str
    found: str
    looked_at: str = ""
    expected: str = ""
    next_step: str = ""


def ok(found: str) -> Result:
    return Result("ok", found)


def skip(reason: str) -> Result:
    return Result("skip", reason)


def fail(*, looked_at: object, expected: str, found: str, next_step: str) -> Result:
    return Result("fail", found, str(looked_at), expected, next_step)


@dataclass(frozen=True)
class Check:
    """number: that of the TODO, such as `2.4`. requirement: one sentence. hints: from a nudge to nearly the answer."""

    number: str
    requirement: str
    hints: tuple[str, str, str]
    run: Callable[[Workspace], Result]


@dataclass
class Workspace:
    """A folder with a manifest, a lock and a script. Manifest and lock are read once, on first use."""

    folder: Path
    scratch: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="workshop-check-")))

    @cached_property
    def manifest(self) -> manifests.Manifest:
        return manifests.load(manifests.find(self.folder))

    @cached_property
    def verdict(self) -> lockcheck.Verdict:
        return lockcheck.judge(self.folder)

    @cached_property
    def lock(self) -> locks.Lock:
        """The lock, with the platform names of the manifest."""
        return locks.align(locks.read(self.manifest.path.with_name("pixi.lock")), self.manifest.platforms)

    def run(
        self,
        script: str,
        *arguments: str,
        patches: Sequence[Patch] = (),
        fresh: bool = False,
        interpreter: tuple[str, ...] = (),
        limit: float | None = None,
        **variables: str,
    ) -> subprocess.CompletedProcess[str]:
        """Run a copy of a script of the workspace in this interpreter's environment, with one thread.

        patches: run in the interpreter first. variables: added to its environment. fresh: use a new interpreter
        instead of a fork of one that has already imported the frameworks. interpreter, limit: as in `scripts.run`.
        """
        common = str(Path(__file__).resolve().parents[2])
        defaults = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"}
        defaults |= preload.variables()
        paths = os.pathsep.join(filter(None, [common, variables.get("PYTHONPATH")]))
        environment = os.environ | defaults | variables | {"PYTHONPATH": paths}
        path = self.folder / script
        modules = () if fresh else preload.modules_for(path)
        return scripts.run(path, arguments, environment, patches, modules, interpreter, limit)


def run_checks(checks: tuple[Check, ...], workspace: Workspace) -> Iterator[tuple[Check, Result]]:
    """Run the checks in order and yield each with its result. The caller may stop at any time."""
    reported = set()
    for check in checks:
        try:
            result = check.run(workspace)
        except (WorkshopError, WorkspaceError) as error:
            result = fail(
                looked_at=error.looked_at, expected=error.expected, found=error.found, next_step=error.next_step
            )
        except Exception as error:  # files and outputs can contain anything
            found = f"something that this check does not understand ({type(error).__name__}: {error})"
            result = fail(
                looked_at=check.requirement,
                expected="a manifest, a lock and results in the form that the starter has",
                found=found,
                next_step="compare with the solution, and please report this message",
            )
        if result.status == "fail":
            result = replace(result, next_step=_run_in_folder(result.next_step, workspace.folder))
            message = (result.looked_at, result.expected, result.found)
            result = skip("stopped by the problem above") if message in reported else result
            reported.add(message)
        yield check, result


def _run_in_folder(advice: str, folder: Path) -> str:
    """Make a command about a manifest or a lock run in the manifest's folder, without changing the current folder.

    `pixi run check` works only in the current folder.
    """
    here = folder.resolve() == Path.cwd().resolve()
    if here or advice.startswith("pixi run") or not advice.startswith(("pixi ", "git ")):
        return advice
    return shell.in_folder(folder, advice)


def all_features(workspace: Workspace) -> list[Feature]:
    """All features of the manifest, including those defined in an environment's own table."""
    environments = workspace.manifest.environments.values()
    return [*workspace.manifest.features.values(), *(feature for e in environments for feature in e.features)]


def declared_cuda(platform: Platform) -> str | None:
    """The CUDA version that a platform declares, such as `12.0`."""
    return platform.version_of("__cuda")


def requires_gpu(workspace: Workspace, environment: str) -> bool:
    """Whether activating the environment sets WORKSHOP_DEVICE=cuda."""
    features = workspace.manifest.environments[environment].features
    return any(target.activation_env.get("WORKSHOP_DEVICE") == "cuda" for f in features for target in f.targets)


def problem_with_script(workspace: Workspace, script: str) -> Result | None:
    """The result if the script is missing: fail in an exercise's own folder, skip in any other; None if it exists."""
    path = workspace.folder / script
    if path.is_file():
        return None
    if (workspace.folder.parent / "exercise.toml").is_file():
        advice = f"git checkout -- {script}"
        return fail(
            looked_at=path,
            expected="the script of the exercise",
            found="no such file" if not path.exists() else "not a file",
            next_step=advice,
        )
    return skip(f"no {script} in {workspace.folder.name}")


def has_task_running(workspace: Workspace, scripts: tuple[str, ...], name: str) -> Result:
    """Whether a task runs one of `scripts` (names without .py) in Python: by path, by -m, or by a task's argument."""
    tasks = workspace.manifest.tasks()
    for task in tasks.values():
        words = task.cmd if isinstance(task.cmd, list) else re.findall(r"\{\{.*?\}\}\S*|\S+", str(task.cmd or ""))
        for before, word in zip(words, words[1:], strict=False):
            stem = re.sub(r"^(.*/)?([^/]*?)(\.py)?$", r"\2", str(word).strip("'\""))
            by_python = re.search(r"(^|/)python[\d.]*$", str(before)) or before == "-m"
            if by_python and (stem in scripts or "{{" in str(word)):
                return ok(f"{task.name}: {task.cmd}")
    add = f'pixi task add {name} "python {scripts[0]}.py" --description "{scripts[0]}"'
    advice = f'give the task {name} cmd = "python {scripts[0]}.py"' if name in tasks else add
    return fail(
        looked_at=f"tasks in {workspace.manifest.path.name}",
        expected=f"a task that runs python {scripts[0]}.py",
        found=", ".join(f"{task.name}: {task.cmd}" for task in tasks.values()) or "no task",
        next_step=advice,
    )


def problem_with_lock(workspace: Workspace) -> Result | None:
    """The failed result if the workspace's lock is out of date; None if it is up to date.

    If `pixi` is on the PATH, `pixi lock --check` decides: its failure counts even if we find no problem.
    """
    verdict = workspace.verdict
    path = workspace.manifest.path.with_name("pixi.lock")
    if verdict.verdict == "up-to-date":
        problem = stale_according_to_pixi(workspace)
        return fail(looked_at=path, expected="up-to-date", found=problem, next_step="pixi lock") if problem else None
    found = verdict.verdict
    if verdict.reasons:
        reason = verdict.reasons[0]
        where = " on ".join(filter(None, (reason.environment, reason.platform)))
        found += f": {lockcheck.describe(reason)}" + (f" [{where}]" if where else "")
    return fail(looked_at=path, expected="up-to-date", found=found, next_step=verdict.next_step)


PIXI_STALE = "lock file not up-to-date with the workspace"  # Pixi 0.77's words


def stale_according_to_pixi(workspace: Workspace) -> str | None:
    """The complaint of `pixi lock --check` about the lock; None if there is none, or if Pixi is missing or fails.

    --dry-run keeps Pixi 0.77 from rewriting a stale lock. Without a network Pixi fails because it cannot solve again,
    so only its sentence about a stale lock counts.
    """
    pixi = shutil.which("pixi")
    if not pixi:
        return None
    # The PIXI_ variables of an activated environment point to another workspace than this one.
    variables = {key: value for key, value in os.environ.items() if not key.startswith("PIXI_")}
    line = [pixi, "lock", "--check", "--dry-run", "--manifest-path", str(workspace.manifest.path)]
    try:
        process = subprocess.run(
            line,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env=variables,
            timeout=PIXI_LIMIT,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return f"pixi lock --check: {PIXI_STALE}" if process.returncode != 0 and PIXI_STALE in process.stderr else None
