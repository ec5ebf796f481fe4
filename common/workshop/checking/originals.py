"""The learner's own files while a script runs in a copy of their folder: a script can still reach them by a full path.

A file that is missing or empty afterwards is restored, and a message reports it. A file with other content may as well
have been saved by the learner, so it stays, and a copy of its earlier content is kept.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from workshop import shell
from workshop.errors import WorkshopError
from workshop.support.files import list_files, open_regular, write_atomic

# What is read of a folder: that of an exercise contains thirty files, two megabytes in all.
BYTES, FILES = 50 * 2**20, 1000


class _Original(NamedTuple):
    status: tuple[int, ...]
    content: bytes | str  # of a file, or the target of a link


_known: dict[Path, _Original] = {}  # of the last run, since a check runs several scripts of a folder


@contextmanager
def protected(script: Path) -> Iterator[None]:
    """In the block, a script runs that must not change the files of its folder and of its exercise.

    Raises WorkshopError at the end if some had to be restored.
    """
    before = _read(script.parent.absolute())
    try:
        yield
    finally:
        lost = _repair(before, script)
    if lost:
        names = [shell.relative(path) for path in lost]
        raise WorkshopError(
            looked_at=f"the files around {shell.relative(script)} after the script ran",
            expected="the files that were there before",
            found=f"{', '.join(names[:3])}{' and others' if names[3:] else ''} removed or emptied, and restored now",
            next_step=f"remove the lines of {script.name} that write to a full path",
        )


def _read(folder: Path) -> dict[Path, _Original]:
    """The files of a script's folder; of the whole exercise and the progress file, if the folder belongs to one."""
    exercise = folder.parent
    if (exercise / "exercise.toml").is_file():
        paths = [*list_files(exercise).values(), *sorted((exercise.parent / ".workshop").glob("progress-*.json"))]
    else:
        paths = list(list_files(folder).values())
    paths += [path for path in folder.glob("*") if path.is_symlink() and path.is_dir()]  # which `list_files` leaves out
    found, bytes_left = {}, BYTES
    for path in paths[:FILES]:
        status = _status(path)
        if status is None or status[0] > bytes_left:
            continue
        known = _known.get(path)
        content = known.content if known and known.status == status else _content(path)
        if content is not None:
            found[path] = _Original(status, content)
            bytes_left -= status[0]
    _known.clear()
    _known.update(found)
    return found


def _repair(before: dict[Path, _Original], script: Path) -> list[Path]:
    """Restore the files that are missing or empty, and return their paths; keep the earlier content of changed ones."""
    lost, changed = {}, {}
    for path, original in before.items():
        status = _status(path)
        if status is None or (status != original.status and status[0] == 0 and original.content):
            lost[path] = original
        elif status != original.status and (content := _content(path)) != original.content:
            if not _is_progress(path, content):
                changed[path] = original
    for path, original in lost.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, original.content)
        if isinstance(original.content, bytes):
            path.chmod(original.status[-1] & 0o777)
    if changed:
        kept = _keep(script.parent.absolute(), changed)
        names = ", ".join(shell.relative(path) for path in changed)
        print(
            f"note: {names} changed while {script.name} ran; {shell.relative(kept)} has it as before", file=sys.stderr
        )
    return list(lost)


def _is_progress(path: Path, content: bytes | str | None) -> bool:
    """Whether a file contains progress in our form: a check in a second terminal may write it at the same time."""
    if path.parent.name != ".workshop" or not isinstance(content, bytes):
        return False
    try:
        stored = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return isinstance(stored, dict) and isinstance(stored.get("checks"), dict)


def _status(path: Path) -> tuple[int, ...] | None:
    """Size, times and identity of a file; None if there is none."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_mode


def _content(path: Path) -> bytes | str | None:
    """The content of a file, or the target of a link; None if it cannot be read."""
    with suppress(OSError):
        if path.is_symlink():
            return os.readlink(path)
        with open_regular(path) as file:
            return file.read()
    return None


def _write(path: Path, content: bytes | str) -> None:
    if isinstance(content, bytes):
        write_atomic(path, content)
    else:
        path.symlink_to(content)


def _keep(folder: Path, files: dict[Path, _Original]) -> Path:
    """Write the earlier content of files to a new folder: among the backups of the workshop, if it is one."""
    exercise = folder.parent
    if (exercise / "exercise.toml").is_file():
        backups, start = exercise.parent / ".workshop" / "backups", exercise.parent
        backups.mkdir(parents=True, exist_ok=True)
    else:
        backups, start = None, folder
    prefix = f"{exercise.name}-before-check-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-"
    kept = Path(tempfile.mkdtemp(prefix=prefix, dir=backups))
    for path, original in files.items():
        target = kept / path.relative_to(start)
        target.parent.mkdir(parents=True, exist_ok=True)
        _write(target, original.content)
    os.chmod(kept, 0o755)
    return kept
