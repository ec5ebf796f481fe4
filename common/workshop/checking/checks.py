"""Checks: one number, one sentence that holds or not, three hints; and the loop that asks them in order.

An exercise's checks.py holds a list of `Check`, in the order in which a learner meets them, each with the number of
the TODO that it belongs to. A check looks at one thing of a `Workspace` and answers ok, fail or skip.
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

PIXI_LIMIT = 60  # seconds for `pixi lock --check`, which takes one where nothing has to be fetched


@dataclass(frozen=True)
class Result:
    """What a check found. status: ok, fail or skip (a skip is never a pass)."""

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
    """number: `2.4`, that of the TODO. says: what holds. hints: from a nudge to nearly the answer."""

    number: str
    requirement: str
    hints: tuple[str, str, str]
    run: Callable[[Workspace], Result]


@dataclass
class Workspace:
    """A folder with a manifest, a lock and a script, and what was read of them so far."""

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
        """Run a copy of a script of the workspace in this interpreter's environment, on one thread (with other load
        on the machine, two are slower). patches: run in the interpreter first; variables: of its environment.

        fresh: in an interpreter of its own, and not in the fork of one that has imported the frameworks already.
        interpreter, limit: as in `scripts.run`.
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
    """Each check and its result, in order; whoever listens stops when they have heard enough."""
    reported = set()
    for check in checks:
        try:
            result = check.run(workspace)
        except (WorkshopError, WorkspaceError) as error:
            result = fail(
                looked_at=error.looked_at, expected=error.expected, found=error.found, next_step=error.next_step
            )
        except Exception as error:  # what people leave in files and outputs is more than anybody foresees
            found = f"something that this check does not understand ({type(error).__name__}: {error})"
            result = fail(
                looked_at=check.requirement,
                expected="a manifest, a lock and results as the starter has them",
                found=found,
                next_step="compare with the solution; and please report it",
            )
        if result.status == "fail":
            result = replace(result, next_step=_run_in_folder(result.next_step, workspace.folder))
            message = (result.looked_at, result.expected, result.found)
            result = skip("stopped by what is said above") if message in reported else result
            reported.add(message)
        yield check, result


def _run_in_folder(advice: str, folder: Path) -> str:
    """Commands about a manifest or a lock are for the folder where it lies, not for the one that a person is in.

    In brackets, so that the person stays where `pixi run check` works.
    """
    here = folder.resolve() == Path.cwd().resolve()
    if here or advice.startswith("pixi run") or not advice.startswith(("pixi ", "git ")):
        return advice
    return shell.in_folder(folder, advice)


def all_features(workspace: Workspace) -> list[Feature]:
    """All features of the manifest, also those that are written on an environment."""
    environments = workspace.manifest.environments.values()
    return [*workspace.manifest.features.values(), *(feature for e in environments for feature in e.features)]


def declared_cuda(platform: Platform) -> str | None:
    """The CUDA version that a platform declares, as in `12.0`."""
    return platform.version_of("__cuda")


def requires_gpu(workspace: Workspace, environment: str) -> bool:
    """Whether activating the environment sets WORKSHOP_DEVICE=cuda."""
    features = workspace.manifest.environments[environment].features
    return any(target.activation_env.get("WORKSHOP_DEVICE") == "cuda" for f in features for target in f.targets)


def problem_with_script(workspace: Workspace, script: str) -> Result | None:
    """Without its script an exercise's own folder fails, and a workspace from elsewhere is not judged; None with it."""
    path = workspace.folder / script
    if path.is_file():
        return None
    if (workspace.folder.parent / "exercise.toml").is_file():
        advice = f"git checkout -- {script}"
        return fail(
            looked_at=path,
            expected="the script of the exercise",
            found="no such file" if not path.exists() else "no file",
            next_step=advice,
        )
    return skip(f"no {script} in {workspace.folder.name}")


def has_task_running(workspace: Workspace, scripts: tuple[str, ...], name: str) -> Result:
    """A task that has Python run one of `scripts` (stems of file names): by name, by -m, or by a task's argument."""
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
        expected=f"one that runs python {scripts[0]}.py",
        found=", ".join(f"{task.name}: {task.cmd}" for task in tasks.values()) or "no task",
        next_step=advice,
    )


def problem_with_lock(workspace: Workspace) -> Result | None:
    """The failed result where the workspace's lock does not fit its manifest; None where it does.

    With `pixi` on the PATH, `pixi lock --check` has the last word: its failure counts, whatever we think.
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


PIXI_STALE = "lock file not up-to-date with the workspace"  # as Pixi 0.77 says it


def stale_according_to_pixi(workspace: Workspace) -> str | None:
    """What `pixi lock --check` says against the lock; None where it is content, is not there, or cannot say.

    With --dry-run, since Pixi 0.77 rewrites a lock that it finds stale. Without a network it cannot solve anew, and
    fails for that: only the sentence about a stale lock counts.
    """
    pixi = shutil.which("pixi")
    if not pixi:
        return None
    # PIXI_ variables of an activated environment name the workspace that we are in, not this one.
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
