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
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from pixi_workspace import lock as locks
from pixi_workspace import manifest as manifests
from pixi_workspace.errors import WorkspaceError
from pixi_workspace.fit import lockcheck
from pixi_workspace.manifest.model import Feature
from pixi_workspace.manifest.platforms import platforms_of
from pixi_workspace.platforms import Platform, selector_matches
from workshop import exercises, shell
from workshop.checking import preload, scripts
from workshop.checking.patches import Patch, patch
from workshop.checking.steps import blame, copied_lock, lines, own_package, tasks
from workshop.checking.steps.blame import Fault
from workshop.checking.steps.blame import Part as Part  # for checks.py of the exercises
from workshop.errors import WorkshopError
from workshop.support.files import is_safe_file, read_text
from workshop.support.text import closest_match

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
    """number: that of the TODO, such as `2.4`. requirement: one sentence. hints: from a nudge to nearly the answer.

    part: what the step edits. A file that cannot be read, or a script that breaks, counts as a failure of the check
    whose part contains the faulty line, and not of the first check that needs the file. needs_pixi: only Pixi can make
    what the check looks for: a lock, or a run in an environment of the workspace.
    """

    number: str
    requirement: str
    hints: tuple[str, str, str]
    run: Callable[[Workspace], Result]
    part: Part = Part()
    needs_pixi: bool = False


def new_scratch_folder() -> Path:
    """A folder for the runs of checks, in the clone or the cache: a system may clean its folder for temporary files."""
    return Path(tempfile.mkdtemp(prefix="workshop-check-", dir=exercises.scratch_root()))


@dataclass
class Workspace:
    """A folder with a manifest, a lock and a script. Manifest and lock are read once, on first use.

    faults: the exceptions that ended its scripts so far.
    """

    folder: Path
    scratch: Path = field(default_factory=new_scratch_folder)
    faults: list[Fault] = field(default_factory=list)

    @cached_property
    def package(self) -> str:
        """The package that the scripts import: `workshop`, or that of a project that `workshop new` made."""
        return own_package.package_of(self.folder)

    @property
    def device_variable(self) -> str:
        """WORKSHOP_DEVICE, or its name in a project that `workshop new` made."""
        return own_package.variable("WORKSHOP_DEVICE", self.package)

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
        if self.package != own_package.TUTORIAL:
            variables = {own_package.variable(name, self.package): value for name, value in variables.items()}
            patches = [patch("own_package", package=self.package), *patches] if patches else patches
        defaults = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"}
        defaults |= preload.variables()
        paths = os.pathsep.join(filter(None, [common, variables.get("PYTHONPATH")]))
        environment = os.environ | defaults | variables | {"PYTHONPATH": paths}
        path = self.folder / script
        modules = () if fresh else preload.modules_for(path)
        process = scripts.run(path, arguments, environment, patches, modules, interpreter, limit)
        if process.returncode and (fault := blame.fault_of(path, process)):
            self.faults.append(fault)
        return process

    def at(self, *path: str) -> str:
        """The place of a table or a key in the manifest, as `pixi.toml, line 12`; only the file if it is not there."""
        name = self.manifest.path.name
        number = lines.line_of(read_text(self.manifest.path), path)
        return f"{name}, line {number}" if number else name


def run_checks(
    checks: tuple[Check, ...], workspace: Workspace, judge: Callable[..., tuple[Result, str | None]] | None = None
) -> Iterator[tuple[Check, Result]]:
    """Run the checks in order and yield each with its result. The caller may stop at any time.

    A check that fails because of a line that a later step edits is skipped, and the check of that step fails.
    judge: called instead of `result_of`, for example to keep results.
    """
    parts = [(check.number, check.part) for check in checks]
    numbers = [check.number for check in checks]
    reported = set()
    passed_on: dict[str, Result] = {}  # by number of the check that has to report the failure
    for position, check in enumerate(checks):
        result, owner = (judge or result_of)(check, workspace, parts)
        if result.status != "fail" and check.number in passed_on:
            result = passed_on[check.number]
        if result.status == "fail":
            result = replace(result, next_step=_run_in_folder(result.next_step, workspace.folder))
            message = (result.looked_at, result.expected, result.found)
            if message in reported:
                result = skip("stopped by the problem above")
            elif owner in numbers[position + 1 :]:
                passed_on.setdefault(owner, result)
                reason = f"expected {result.expected}, found {result.found}"
                result = skip(f"cannot tell: a line of step {owner} stops this check ({reason})")
            else:
                reported.add(message)
        yield check, result


def result_of(check: Check, workspace: Workspace, parts: list[tuple[str, Part]]) -> tuple[Result, str | None]:
    """The result of a check, and the number of the step whose line made it fail, if that is known."""
    seen = len(workspace.faults)
    result, error = _attempt(check, workspace)
    if result.status == "fail" and not workspace.scratch.is_dir():
        # Somebody has cleaned up while the check ran: that is no fault of the script.
        workspace.scratch.mkdir(parents=True)
        result, error = _attempt(check, workspace)
    if isinstance(error, manifests.ManifestError):
        return _unreadable_manifest(error, workspace, parts)
    if result.status != "fail":
        return result, None
    faults = [fault for fault in workspace.faults[seen:] if fault.reason and fault.reason in result.found]
    if faults:
        fault = faults[0]
        where = f"{fault.script}, line {fault.line}: {fault.text[:80]}"
        return replace(result, looked_at=where), blame.owner_of_fault(parts, fault)
    if error is None and not blame.SHELL_ERROR.search(result.found):
        return result, None
    return result, blame.owner_of_text(parts, workspace.folder, result.looked_at, result.found)


def _attempt(check: Check, workspace: Workspace) -> tuple[Result, Exception | None]:
    """Run a check. An exception becomes a failed result, and is returned as well."""
    try:
        return check.run(workspace), None
    except (WorkshopError, WorkspaceError) as error:
        parts = {"looked_at": error.looked_at, "expected": error.expected, "found": error.found}
        return fail(**parts, next_step=error.next_step), error
    except OSError as error:
        result = fail(
            looked_at=error.filename or check.requirement,
            expected="a file or folder that can be read and written while the check runs",
            found=error.strerror or str(error) or type(error).__name__,
            next_step="run the check again; if the message stays, look at this file",
        )
        return result, error
    except Exception as error:  # files and outputs can contain anything
        found = f"something that this check does not understand ({type(error).__name__}: {error})"
        result = fail(
            looked_at=check.requirement,
            expected="a manifest, a lock and results in the form that the starter has",
            found=found,
            next_step="compare with the solution, and please report this message",
        )
        return result, error


def _unreadable_manifest(
    error: WorkspaceError, workspace: Workspace, parts: list[tuple[str, Part]]
) -> tuple[Result, str | None]:
    """The result for a manifest that cannot be read, with the line, and the number of the step that edits this line."""
    try:
        path = manifests.find(workspace.folder)
        text = read_text(path)
    except (WorkspaceError, OSError):  # not a file, or not a readable one
        message = {part: getattr(error, part) for part in ("looked_at", "expected", "found", "next_step")}
        return fail(**message), None
    keys, number = blame.path_of_manifest_error(error.looked_at, error.found, text)
    looked_at = error.looked_at
    if number is not None and not looked_at.endswith(path.name):
        looked_at = f"{path.name}, line {number}: {looked_at}"
    elif number is not None:
        looked_at = f"{path.name}, line {number}: {text.splitlines()[number - 1].strip()[:80]}"
    result = fail(looked_at=looked_at, expected=error.expected, found=error.found, next_step=error.next_step)
    return result, blame.owner_of_path(parts, keys)


def _run_in_folder(advice: str, folder: Path) -> str:
    """Make a command about a manifest or a lock run in the manifest's folder, without changing the current folder.

    `pixi run check` works only in the current folder.
    """
    here = folder.resolve() == shell.current_folder()
    if here or advice.startswith("pixi run") or not advice.startswith(("pixi ", "git ", "rm ")):
        return advice
    return shell.in_folder(folder, advice)


def all_features(workspace: Workspace) -> list[Feature]:
    """All features of the manifest, including those defined in an environment's own table."""
    environments = workspace.manifest.environments.values()
    return [*workspace.manifest.features.values(), *(feature for e in environments for feature in e.features)]


def declared_cuda(platform: Platform) -> str | None:
    """The CUDA version that a platform declares, such as `12.0`."""
    return platform.version_of("__cuda")


def device_set_by(workspace: Workspace, features: Iterable[Feature], platform: Platform | None = None) -> str | None:
    """What activating some features sets WORKSHOP_DEVICE to, by a table or by a script; None if it does not set it.

    platform: where; None: on any platform.
    """
    variable = workspace.device_variable
    assigned = re.compile(ASSIGNED.format(variable), re.IGNORECASE)
    found = None
    for target in (target for feature in reversed(list(features)) for target in feature.targets):
        if target.selector and platform is not None and not selector_matches(target.selector, platform):
            continue
        found = target.activation_env.get(variable, found)
        for name in target.activation_scripts:
            path = workspace.manifest.path.parent / name
            text = read_text(path) if is_safe_file(path) else ""
            for line in text.splitlines():
                if match := assigned.match(line):
                    found = match[1]
    return found


# In a script of bash, of PowerShell or of cmd.
ASSIGNED = r"""\s*(?:export\s+|set\s+|\$env:)?{}\s*=\s*["']?(\w+)"""


def requires_gpu(workspace: Workspace, environment: str) -> bool:
    """Whether activating the environment sets WORKSHOP_DEVICE=cuda, on any platform."""
    return device_set_by(workspace, workspace.manifest.environments[environment].features) == "cuda"


def problem_with_device(workspace: Workspace, feature: Feature, number: str) -> Result | None:
    """The failed result unless activating the feature for the GPU names the GPU as device; number: of the step.

    Another feature may do it, if every environment with the first one has the other one as well.
    """
    manifest, variable = workspace.manifest, workspace.device_variable
    users = [e for e in manifest.environments.values() if feature.name in {f.name for f in e.features}]
    groups = [e.features for e in users] or [(feature,)]
    places = [(features, platform) for features in groups for platform in platforms_of(manifest, features)]
    values = [device_set_by(workspace, features, platform) for features, platform in places]
    if all(value == "cuda" for value in values):
        return None
    value, platform = next((v, p) for v, (_, p) in zip(values, places, strict=True) if v != "cuda")
    variables = [name for f in (feature, manifest.features["default"]) for t in f.targets for name in t.activation_env]
    near = closest_match(variable, [name.upper() for name in variables if name != variable], 0.8)
    misspelt = next((name for name in variables if name.upper() == near), None)
    holders = dict.fromkeys(f.name for f in all_features(workspace) if device_set_by(workspace, [f]) == "cuda")
    found = "the variable is not set, so a training that finds no GPU would use the CPU without a word"
    path: tuple[str, ...] = ("feature", feature.name)
    if value is None and "cuda" in values:
        found = f"the variable is not set on {platform.name}"
    elif value is not None:
        found = f'{variable} = "{value}", which is not the name of a GPU'
        path = ("feature", feature.name, "activation", "env", variable)
    elif misspelt:
        found, path = f"{misspelt}, which no script reads", ("feature", feature.name, "activation", "env", misspelt)
    elif holders:
        found += f"; only {', '.join(holders)} sets it"
    return fail(
        looked_at=f"{workspace.at(*path)}: the activation of the feature {feature.name}",
        expected=f"{variable} set to cuda, which tells the script that the environment is for a GPU",
        found=found,
        next_step=edit(workspace, number),
    )


def edit(workspace: Workspace, number: str, file: str = "") -> str:
    """The next step after a mistake: the file to edit and the step to read. What to write is for the hints to say."""
    path = workspace.folder / file if file else workspace.manifest.path
    return f"edit {shell.relative(path)}, step {number} of README.md; workshop hint {number} tells you more"


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


def has_task_running(
    workspace: Workspace,
    scripts: tuple[str, ...],
    number: str,
    unsuitable: Callable[[str, bool], str | None] = lambda environment, is_default: None,
) -> Result:
    """Whether a task runs one of `scripts` (names without .py) in Python, in an environment where it can run.

    number: of the step. unsuitable: why the task cannot run in an environment; is_default: whether the task names it.
    """
    manifest, root = workspace.manifest, workspace.manifest.path.parent
    defined = tasks.all_tasks(manifest)
    candidates = []
    for task, feature in defined:
        started = [script for script in tasks.started_by(task, root) if script.name in scripts or "{{" in script.name]
        if started:
            problem = tasks.problem_with_folder(task, root) or tasks.problem_with_file(started, scripts, root)
            candidates.append((task, feature, problem))
    expected = f"a task that runs {scripts[0]}.py with Python"
    if not candidates:
        shown = ", ".join(f"{task.name}: {task.cmd or 'only other tasks'}" for task, _ in defined) or "no task"
        where = f"{workspace.at('tasks', defined[0][0].name if defined else '')}: tasks"
        return fail(looked_at=where, expected=expected, found=shown, next_step=edit(workspace, number))
    problems = []
    for name in dict.fromkeys(task.name for task, *_ in candidates):
        variants = [(task, feature) for task, feature, problem in candidates if task.name == name and problem is None]
        problem = next((problem for task, _, problem in candidates if task.name == name), None)
        if variants:
            problem = tasks.problem_with_place(manifest, variants, {task.name for task, _ in defined}, unsuitable)
            if problem is None:
                return ok(f"{name}: {variants[0][0].cmd}")
        problems.append((name, problem))
    name, problem = problems[0]
    task, feature, _ = next(candidate for candidate in candidates if candidate[0].name == name)
    where = ("tasks", name) if feature == "default" else ("feature", feature, "tasks", name)
    return fail(
        looked_at=f"{workspace.at(*where)}: the task {name}",
        expected=expected,
        found=f"{task.cmd}: {problem}",
        next_step=edit(workspace, number),
    )


def missing_for_script(
    workspace: Workspace, environment: str, platform: Platform, script: str, needed: dict[str, tuple[str, ...]]
) -> list[str]:
    """Which packages the workspace's script needs that an environment lacks; none if the folder has no such script.

    needed: by the name to show, the packages of which one is enough. A package that the lock contains counts as well,
    unless the lock is out of date. A name may be followed by a remark in brackets: what was probably meant.
    """
    if not (workspace.folder / script).is_file():
        return []
    missing = tasks.missing_packages(workspace.manifest, environment, platform, needed)
    if not missing:
        return []
    try:
        locked = {package.name for package in workspace.lock.environments[environment].packages[platform.name]}
    except (OSError, KeyError, WorkspaceError):
        locked = set()
    if locked and workspace.verdict.verdict != "out-of-date":
        missing = [name for name in missing if not locked & set(needed[name])]
    requested = {
        *manifests.conda_specs(workspace.manifest, environment, platform),
        *manifests.pypi_specs(workspace.manifest, environment, platform),
    }
    unknown = requested.difference(*needed.values())
    found = []
    for name in missing:
        meant = next(filter(None, (closest_match(either, unknown, SIMILAR) for either in needed[name])), None)
        if meant:
            found.append(f"{name} (you request '{meant}': did you mean '{name}'?)")
        elif locked & set(needed[name]):
            found.append(f"{name} (only in pixi.lock, which is out of date)")
        else:
            found.append(name)
    return found


SIMILAR = 0.75  # of a mistyped name to the right one: `torch` is no `pooch`


def misnamed_environment(workspace: Workspace, for_gpu: Iterable[str], for_cpu: Iterable[str]) -> str | None:
    """What is wrong with the name of an environment: it names the CPU and the packages are for a GPU, or the reverse.

    Other names are free.
    """
    for_gpu, for_cpu = set(for_gpu), set(for_cpu)
    for name in workspace.manifest.environments:
        words = set(re.split(r"[^a-z]+", name))
        if "cpu" in words and not words & {"cuda", "gpu"} and name in for_gpu - for_cpu:
            return f"{name} contains the packages for a GPU"
        if words & {"cuda", "gpu"} and "cpu" not in words and name in for_cpu - for_gpu:
            return f"{name} contains the packages for a CPU"
    return None


SHOWN = 3  # reasons why a lock is out of date


def problem_with_lock(workspace: Workspace) -> Result | None:
    """The failed result if the workspace's lock is out of date; None if it is up to date.

    If `pixi` is on the PATH, `pixi lock --check` decides: its failure counts even if we find no problem.
    """
    verdict = workspace.verdict
    path = workspace.manifest.path.with_name("pixi.lock")
    shown_path = shell.relative(path)
    if verdict.verdict == "up-to-date":
        problem = stale_according_to_pixi(workspace)
        return (
            fail(looked_at=shown_path, expected="up-to-date", found=problem, next_step="pixi lock") if problem else None
        )
    found = verdict.verdict
    if copied := copied_lock.explain(workspace.manifest, path):
        return fail(
            looked_at=shown_path,
            expected="a lock for the environments and platforms of your manifest",
            found=copied,
            next_step="change these in your manifest, or write a lock of your own: pixi lock",
        )
    places: dict[str, str] = {}  # what is wrong, once, and where it is first
    for reason in verdict.reasons:
        where = " on ".join(filter(None, (reason.environment, reason.platform)))
        places.setdefault(lockcheck.describe(reason), f" [{where}]" if where else "")
    shown = [f"{what}{where}" for what, where in list(places.items())[:SHOWN]]
    if shown:
        more = f"; and {len(places) - SHOWN} more, which workshop lock-check lists" if len(places) > SHOWN else ""
        found += f": {'; '.join(shown)}{more}"
    return fail(looked_at=shown_path, expected="up-to-date", found=found, next_step=verdict.next_step)


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
