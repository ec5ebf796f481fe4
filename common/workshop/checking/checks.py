"""Checks: a number, a requirement in one sentence, three hints; and the loop that runs them in order.

An exercise's checks.py contains a list of `Check`, in the order in which a learner meets them, each with the number of
its TODO. A check tests one property of a `Workspace` and returns ok, fail or skip. What several exercises test in a
workspace is in steps/requirements.py and trainings.py.
"""

from __future__ import annotations

import os
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
from workshop import exercises, shell
from workshop.checking import preload, scripts
from workshop.checking.patches import Patch, patch
from workshop.checking.steps import blame, lines, own_package
from workshop.checking.steps.blame import Fault
from workshop.checking.steps.blame import Part as Part  # for checks.py of the exercises
from workshop.errors import WorkshopError
from workshop.support.files import read_text


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
    def in_exercise(self) -> bool:
        """Whether the folder belongs to an exercise, such as its starter; otherwise it is somebody's own project."""
        return (self.folder.parent / "exercise.toml").is_file()

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


def edit(workspace: Workspace, number: str, file: str = "") -> str:
    """The next step after a mistake: the file to edit and the step to read. What to write is for the hints to say."""
    path = workspace.folder / file if file else workspace.manifest.path
    return f"edit {shell.relative(path)}, step {number} of README.md; workshop hint {number} tells you more"
