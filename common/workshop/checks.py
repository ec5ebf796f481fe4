"""Checks: one number, one sentence that holds or not, three hints; and the loop that asks them in order.

An exercise's checks.py holds a list of `Check`, in the order in which a learner meets them, each with the number of
the TODO that it belongs to. A check looks at one thing of a `Workspace` and answers ok, fail or skip.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from workshop import lock as locks
from workshop import lockcheck
from workshop import manifest as manifests
from workshop.errors import WorkshopError

NO_MODULE = "no such module"  # in the message about a package that the environment lacks (workshop.errors)
TIME_LIMIT = 300  # seconds that one run of a script may take before it counts as not ending


@dataclass(frozen=True)
class Answer:
    """What a check found. status: ok, fail or skip (a skip is never a pass)."""

    status: str
    found: str
    looked_at: str = ""
    expected: str = ""
    next_step: str = ""


def ok(found: str) -> Answer:
    return Answer("ok", found)


def skip(reason: str) -> Answer:
    return Answer("skip", reason)


def fail(looked_at: object, expected: str, found: str, next_step: str) -> Answer:
    return Answer("fail", found, str(looked_at), expected, next_step)


@dataclass(frozen=True)
class Check:
    """number: `2.4`, that of the TODO. says: what holds. hints: from a nudge to nearly the answer."""

    number: str
    says: str
    hints: tuple[str, str, str]
    judge: Callable[[Workspace], Answer]


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

    def run(self, script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a script of the workspace in this interpreter's environment, on one thread (with other load on the
        machine, two are slower); variables are set in its environment."""
        common = str(Path(__file__).resolve().parents[1])
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": common} | variables
        command = [sys.executable, str(self.folder / script), *arguments]
        try:
            return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=TIME_LIMIT)
        except subprocess.TimeoutExpired:
            raise WorkshopError(
                self.folder / script, f"a script that ends within {TIME_LIMIT} s", "still running", "look for a loop"
            ) from None


@dataclass(frozen=True)
class Exercise:
    """An exercise as its exercise.toml tells it."""

    number: int
    folder: Path
    about: dict[str, Any]

    @cached_property
    def checks(self) -> tuple[Check, ...]:
        """The checks in its checks.py."""
        path = self.folder / "checks.py"
        spec = importlib.util.spec_from_file_location(f"checks_of_exercise_{self.number}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return tuple(module.CHECKS)


def exercises(root: Path) -> list[Exercise]:
    """The exercises that are there, by number."""
    found = []
    for path in root.glob("exercise-[0-9]*/exercise.toml"):
        number = int(path.parent.name.split("-")[1])
        found.append(Exercise(number, path.parent, tomllib.loads(path.read_text(encoding="utf-8"))))
    return sorted(found, key=lambda exercise: exercise.number)


def root_folder() -> Path:
    """The root of the workshop: around the current folder, else around this file."""
    for folder in (Path.cwd(), *Path.cwd().parents, Path(__file__).resolve().parents[2]):
        if any(folder.glob("exercise-[0-9]*/exercise.toml")):
            return folder
    raise WorkshopError(
        Path.cwd(), "the workshop's folders exercise-1-... to exercise-5-...", "none", "cd to the clone"
    )


def ask(checks: tuple[Check, ...], workspace: Workspace) -> Iterator[tuple[Check, Answer]]:
    """Each check and its answer, in order; whoever listens stops when they have heard enough."""
    for check in checks:
        try:
            answer = check.judge(workspace)
        except WorkshopError as error:
            answer = fail(error.looked_at, error.expected, error.found, error.next_step)
        yield check, answer


def last_line(text: str) -> str:
    """What a program said last."""
    return text.strip().splitlines()[-1] if text.strip() else "no output"
