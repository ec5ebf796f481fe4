"""The results of earlier runs of the checks, each with what it depends on.

A result is kept only if all of this is known. It counts again if all of this is as it was:

- the content of the files that the check, or a script that it ran, has opened in the learner's folder; for a script also
  the files that these name, since not every library opens files by Python;
- the names of all files and folders there, since a check may look whether a file exists;
- all other files of the clone, and the folders with programs and with Python's packages, by time and size.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from pixi_workspace.manifest import Manifest
from workshop import exercises
from workshop.checking import checks
from workshop.checking.checks import Check, Result, Workspace
from workshop.checking.kept import opened
from workshop.checking.steps.blame import Part
from workshop.errors import WorkshopError
from workshop.support.files import IGNORED_FOLDERS, sha256_of

KEPT = 20  # results of each check: an edit that is undone finds its old result
LARGE = 2**20  # bytes from which a check may refuse to read a file, so that its size counts
UNREAD = ("__pycache__", ".pytest_cache")  # which a check may make itself
SYSTEM = ("/proc", "/sys", "/dev", "/etc", "/usr", "/lib", "/opt", "/System", "/Library", "C:\\Windows")


@dataclass(frozen=True)
class _State:
    """The files at one time: all that a result may depend on."""

    names: dict[str, tuple[int, ...]]  # of the learner's files and folders, by relative path, with their kind
    contents: dict[str, str]  # sha256 of these files, by relative path
    around: tuple[Any, ...]  # the rest of the clone, programs and packages, by time and size


@dataclass(frozen=True)
class _Entry:
    """What `checks.result_of` returned, and what it depends on."""

    result: Result
    owner: str | None
    manifest: Manifest | None
    state: _State
    files: frozenset[str]  # the learner's files whose content counts

    def fits(self, now: _State) -> bool:
        """Whether nothing that the result depends on has changed."""
        if (now.names, now.around) != (self.state.names, self.state.around):
            return False
        return all(now.contents[name] == self.state.contents[name] for name in self.files)


class KeptResults:
    """The results of one list of checks on one folder. `begin` comes before each run of the checks.

    reused: the numbers of the checks in this run whose earlier result counts.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.reused: list[str] = []
        self._entries: dict[str, list[_Entry]] = {}
        self._now: _State | None = None
        self._unchanging = _unchanging()

    def begin(self) -> None:
        """Read the files as they are now."""
        self._now, self.reused = self._state(), []

    def result_of(self, check: Check, workspace: Workspace, parts: list[tuple[str, Part]]) -> tuple[Result, str | None]:
        """As `checks.result_of`, but the earlier result if nothing that it depends on has changed."""
        now, entries = self._now, self._entries.setdefault(check.number, [])
        entry = next((entry for entry in entries if now and entry.fits(now)), None)
        if entry:
            self.reused.append(check.number)
            result, owner, manifest = entry.result, entry.owner, entry.manifest
        else:
            own = Workspace(workspace.folder, workspace.scratch)  # it reads the manifest and the lock again
            with opened.recorded() as found:
                result, owner = checks.result_of(check, own, parts)
            manifest = vars(own).get("manifest")
            files = self._files(found, workspace.scratch)
            if now and files is not None and self._state() == now:  # no save meanwhile
                entries[:] = [_Entry(result, owner, manifest, now, files), *entries[: KEPT - 1]]
        if manifest is not None:
            vars(workspace)["manifest"] = manifest  # for its notes
        return result, owner

    def _state(self) -> _State | None:
        """The files as they are now; None if results cannot be kept: a link may lead anywhere, a pipe may never end."""
        try:
            found = dict(_below(self.folder))
            names = {name: _described(status) for name, status in found.items()}
            files = [name for name, status in found.items() if not stat.S_ISDIR(status.st_mode)]
            if not all(stat.S_ISREG(found[name].st_mode) for name in files):
                return None
            contents = {name: sha256_of(self.folder / name) for name in files}
            root = exercises.root_folder()
        except (OSError, WorkshopError):  # a file is being saved
            return None
        inside = self.folder.is_relative_to(root.resolve())
        apart = {".workshop", str(self.folder.relative_to(root.resolve()))} if inside else {".workshop"}
        clone = {name: _version(status) for name, status in _below(root, apart)}
        folders = [*os.environ.get("PATH", "").split(os.pathsep), *sys.path]
        return _State(names, contents, (clone, [_time(Path(folder)) for folder in folders if folder]))

    def _files(self, found: opened.Opened, scratch: Path) -> frozenset[str] | None:
        """The learner's files on which a result depends; None if it depends on something that `_State` does not have."""
        if opened.ANYTHING in found.paths or self._now is None:
            return None
        root, names = exercises.root_folder().resolve(), set()
        # The clone itself can be in such a folder.
        unchanging = tuple(p for p in (*self._unchanging, f"{scratch}{os.sep}") if not f"{root}{os.sep}".startswith(p))
        for text in found.paths:
            path = Path(text)
            if path.is_relative_to(self.folder):
                name = path.relative_to(self.folder)
                names.add(name.as_posix())
            elif f"{text}{os.sep}".startswith(unchanging):
                continue
            elif path.is_relative_to(root):
                name = path.relative_to(root)
            else:
                return None
            if _is_ignored(name):
                return None
        if any(name.endswith("/") for name in found.copies):  # a script has listed the folder
            return frozenset(self._now.contents)
        files = self._now.contents.keys()
        scripts = found.copies & files
        return frozenset((names | scripts | self._named_in(scripts)) & files)

    def _named_in(self, names: set[str]) -> set[str]:
        """The files whose name is in the text of one of these files."""
        assert self._now is not None
        texts = [(self.folder / name).read_bytes() for name in names]
        return {name for name in self._now.contents if any(os.fsencode(Path(name).name) in text for text in texts)}


def _below(folder: Path, apart: Collection[str] = ()) -> Iterator[tuple[str, os.stat_result]]:
    """All files and folders in a folder, by relative path, but not what is in IGNORED_FOLDERS or in `apart`."""
    waiting = [""]
    while waiting:
        base = waiting.pop()
        for entry in sorted(os.scandir(folder / base), key=lambda entry: entry.name):
            name = f"{base}{entry.name}"
            if name in apart or entry.name in UNREAD:
                continue
            yield name, entry.stat(follow_symlinks=False)
            if entry.is_dir(follow_symlinks=False) and entry.name not in IGNORED_FOLDERS:
                waiting.append(f"{name}/")


def _is_ignored(path: Path) -> bool:
    """Whether `_State` knows nothing about a file. Python writes compiled modules into UNREAD, and their source counts."""
    return not {*path.parts}.isdisjoint({*IGNORED_FOLDERS, ".workshop"} - {*UNREAD})


def _described(status: os.stat_result) -> tuple[int, ...]:
    """What a check may see of a file without opening it: kind and permissions, and whether it is too large to be read."""
    is_large = stat.S_ISREG(status.st_mode) and status.st_size > LARGE
    return (status.st_mode, status.st_size) if is_large else (status.st_mode,)


def _version(status: os.stat_result) -> tuple[int, ...]:
    """What changes if a file is saved; of a folder only its kind, since the files in it are looked at themselves."""
    is_folder = stat.S_ISDIR(status.st_mode)
    return (status.st_mode,) if is_folder else (status.st_mode, status.st_size, status.st_mtime_ns)


def _time(path: Path) -> int:
    """When a file, or the list of a folder's files, has changed; 0 if it does not exist."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _unchanging() -> list[str]:
    """Folders whose files no save changes: of the system, of Python and its packages, of the caches."""
    cache = exercises.scratch_root()
    places = [cache.parent if cache.name == "scratch" else cache, user_cache_path(), Path.home() / ".matplotlib"]
    places += [Path(name) for name in (*SYSTEM, os.devnull, *sys.path, sys.prefix, sys.base_prefix) if name]
    return [f"{place}{os.sep}" for place in {*places, *(place.resolve() for place in places)}]
