"""Which files a check opens: recorded by an audit hook of Python, in this process and in that of a learner's script.

This file also runs by its path in the script's interpreter, as a patch (see patches/__init__.py), so it imports only
the standard library.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# A program that is started, or a server, may read anything.
STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "pty.spawn", "socket.connect")
# Programs that read only the machine. A run also starts git, which knows nothing about the copy of a learner's folder.
ABOUT_MACHINE = ("ldconfig", "uname", "lscpu", "sysctl", "nvidia-smi")
ANYTHING = "*"  # recorded instead of a path, if any file may have been read


@dataclass
class Opened:
    """What a check opened.

    copies: what its scripts opened in the copy of the learner's folder, relative to it; the name of a folder whose files
    were listed ends in `/`. paths: everything else.
    """

    paths: set[str] = field(default_factory=set)
    copies: set[str] = field(default_factory=set)


_recorded: Opened | None = None
_thread = threading.local()  # ignoring: whether this thread's files are not recorded
_is_installed = False


@contextmanager
def recorded() -> Iterator[Opened]:
    """In the block, record what this process and its scripts open. An audit hook cannot be removed, so there is only one."""
    global _recorded, _is_installed
    if not _is_installed:
        sys.addaudithook(_record)
        _is_installed = True
    _recorded = Opened()
    try:
        yield _recorded
    finally:
        _recorded = None


def is_recording() -> bool:
    return _recorded is not None


def _record(event: str, arguments: tuple[Any, ...]) -> None:
    found = _recorded
    if found is not None and not getattr(_thread, "ignoring", False):
        path = _path_of(event, arguments, ("open", "os.listdir", "os.scandir"), ABOUT_MACHINE)
        if path:
            found.paths.add(path)


@contextmanager
def ignored() -> Iterator[None]:
    """In the block, what this thread opens is not recorded, such as the files that it copies for a script."""
    before, _thread.ignoring = getattr(_thread, "ignoring", False), True
    try:
        yield
    finally:
        _thread.ignoring = before


def may_have_read_anything() -> None:
    """The check that is recorded depends on something that is not in the clone, such as the runs of a learner."""
    if _recorded is not None:
        _recorded.paths.add(ANYTHING)


def patch(report: Path) -> tuple[str, dict[str, Any]]:
    """The patch that makes a script's interpreter write what it opens into the file `report`."""
    return str(Path(__file__)), {"report": str(report)}


def add_report(report: Path, root: Path, copy: Path) -> None:
    """Add what a script opened. root: the folder of everything that was made for the run. copy: the learner's folder."""
    if _recorded is None:
        return
    try:
        lines = report.read_text(encoding="utf-8", errors="surrogateescape").split("\0")
    except OSError:  # it was not started in a way that records
        lines = [ANYTHING]
    for line in filter(None, lines):
        path = Path(line)
        if path.is_relative_to(copy):
            _recorded.copies.add(path.relative_to(copy).as_posix() + "/" * line.endswith("/"))
        elif not path.is_relative_to(root):
            _recorded.paths.add(line)


def install(report: str) -> None:
    """In a script's interpreter: write the path of each file that is opened into `report`, separated by zero bytes."""
    seen, busy = {report}, threading.local()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if getattr(busy, "now", False):
            return
        # Not os.listdir, which every import uses: the names of the files count for every check.
        path = _path_of(event, arguments, ("open", "os.scandir"), (*ABOUT_MACHINE, "git"))
        path = f"{path}/" if path and event == "os.scandir" else path
        if path and path not in seen:
            seen.add(path)
            busy.now = True
            try:
                with open(report, "ab") as file:
                    file.write(os.fsencode(path) + b"\0")
            finally:
                busy.now = False

    Path(report).touch()
    sys.addaudithook(hook)


def _path_of(event: str, arguments: tuple[Any, ...], reads: tuple[str, ...], harmless: tuple[str, ...]) -> str | None:
    """The path that an event opens, if it is one of `reads`; ANYTHING if it starts a program that is not harmless."""
    if event in STARTS:
        return None if _program(event, arguments) in harmless else ANYTHING
    return _absolute(arguments[0]) if event in reads else None


def _program(event: str, arguments: tuple[Any, ...]) -> str:
    """The name of the program that an event starts; empty if it is not known."""
    program = arguments[0] if event == "subprocess.Popen" else None
    known = isinstance(program, str | bytes | os.PathLike)
    return os.path.basename(os.fsdecode(program)).removesuffix(".exe") if known else ""


def _absolute(argument: Any) -> str | None:
    """The absolute path that an event names; None if it names an open file."""
    if argument is None:
        return os.getcwd()
    if not isinstance(argument, str | bytes | os.PathLike):
        return None
    try:
        return os.path.abspath(os.fsdecode(argument))
    except (OSError, ValueError):  # the current folder was removed
        return ANYTHING
