"""Files: read only if they are regular and not too large, written atomically, identified by their sha256.

pixi_workspace/files.py has functions of the same names, since each of the two packages is used without the other: an
image contains only this one.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import stat
import sys
import tempfile
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

# Folders that contain no work of a person: environments, caches, results.
IGNORED_FOLDERS = (".git", ".pixi", ".venv", "__pycache__", ".pytest_cache", "results")

SMALL = 8 * 2**20  # bytes: manifests, container files, job files, records
LARGE = 256 * 2**20  # likelihoods
TOML_SIZE = 2**20  # Python's own reader takes a second for each MiB
_KINDS = (
    (stat.S_ISDIR, errno.EISDIR, "a folder of that name"),
    (stat.S_ISFIFO, errno.EINVAL, "a named pipe, not a file"),
    (stat.S_ISSOCK, errno.EINVAL, "a socket, not a file"),
    (stat.S_ISCHR, errno.EINVAL, "a device, not a file"),
    (stat.S_ISBLK, errno.EINVAL, "a device, not a file"),
)
_LONG_KEY = re.compile(r"(?<![\w\"'-])(?:[\w\"'-]++[ \t]*+\.[ \t]*+){50}")


def read_bytes(path: Path, limit: int = SMALL) -> bytes:
    """The content of a regular file of at most `limit` bytes.

    Raises OSError with the reason in its `strerror`: for a pipe or a device, which might never end, for a larger file,
    and for one that cannot be read.
    """
    with open_regular(path, limit) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise _too_large(path, limit)
    return content


def read_text(path: Path, limit: int = SMALL) -> str:
    """The text of a file, with a question mark in a box for bytes that are not UTF-8. Raises OSError as `read_bytes`."""
    return read_bytes(path, limit).decode("utf-8", "replace")


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises OSError as `read_bytes` does, and ValueError if it is not valid TOML."""
    text = read_bytes(path, TOML_SIZE).decode("utf-8")
    if _LONG_KEY.search(text):
        raise ValueError("a key of more than fifty parts")  # the time for it grows with the square of its length
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("tables nested too deeply") from error


def is_safe_file(path: Path, limit: int = SMALL) -> bool:
    """Whether `path` is a regular file of at most `limit` bytes."""
    try:
        _check(os.stat(path), path, limit)
    except (OSError, ValueError):
        return False
    return True


def _check(status: os.stat_result, path: Path, limit: int) -> None:
    for is_kind, number, words in _KINDS:
        if is_kind(status.st_mode):
            raise OSError(number, words, str(path))
    if status.st_size > limit:
        raise _too_large(path, limit)


def _too_large(path: Path, limit: int) -> OSError:
    return OSError(errno.EFBIG, f"a file of more than {limit // 2**20} MiB", str(path))


def write_atomic(path: Path, content: bytes | memoryview) -> None:
    """Write `content` to `path` so that a reader finds either the old file or the complete new one.

    The content is written to a temporary file in the same folder, flushed to disk and renamed. Raises OSError (for
    example if the disk is full) with `path` as its filename; the old file then stays unchanged.
    """
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~umask())  # mkstemp creates files that only their owner can read
        os.replace(temporary, path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def umask() -> int:
    """The permissions that new files of this process do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sha256_of(path: Path) -> str:
    """sha256 of a file's bytes, in hexadecimal. Raises OSError if it cannot be read or is not a regular file."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_regular(path: Path, limit: int = sys.maxsize) -> io.BufferedReader:
    """Open a file to read its bytes.

    Raises OSError for a pipe, a socket or a device, which might never end, and for a file of more than `limit` bytes.
    """
    try:
        _check(os.stat(path), path, limit)
        # It may have been replaced in the meantime: opening a pipe waits for its other end, without this flag.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError as error:  # a zero byte in the name
        raise OSError(errno.EINVAL, str(error), str(path)) from error
    file = open(handle, "rb")
    try:
        _check(os.fstat(handle), path, limit)
    except OSError:
        file.close()
        raise
    return file


def list_files(folder: Path) -> dict[str, Path]:
    """The files of a folder by their relative path, without IGNORED_FOLDERS. Links are not followed.

    Folders that cannot be read, or whose path is too long for the system, are left out.
    """
    files, waiting = {}, [""]
    while waiting:  # a loop, since Python 3.11's os.walk calls itself for each folder inside another
        base = waiting.pop()
        try:
            entries = sorted(os.scandir(os.path.join(folder, base)), key=lambda entry: entry.name)
        except OSError:
            continue
        files |= {base + entry.name: folder / base / entry.name for entry in entries if not os.path.isdir(entry.path)}
        folders = [e.name for e in entries if e.is_dir(follow_symlinks=False) and e.name not in IGNORED_FOLDERS]
        waiting += [f"{base}{name}/" for name in reversed(folders)]
    return files


def remove_folder(folder: Path) -> None:
    """Remove a folder, however many folders lie inside one another, and even if its owner may not write in them.

    Python 3.11's shutil.rmtree gives up after a thousand. Whatever cannot be removed stays, without an error.
    """
    waiting, number = [folder], 0
    while waiting:
        current = waiting.pop()
        with suppress(OSError):
            os.chmod(current, 0o700)
        with suppress(OSError):
            for entry in list(os.scandir(current)):
                with suppress(OSError):
                    if not entry.is_dir(follow_symlinks=False):
                        os.unlink(entry.path)
                    elif current == folder:
                        waiting.append(Path(entry.path))
                    else:  # first move it up, so that paths stay short
                        number += 1
                        waiting.append(folder / f".removed-{number}")
                        os.rename(entry.path, waiting[-1])
        if current != folder:
            with suppress(OSError):
                os.rmdir(current)
    with suppress(OSError):
        os.rmdir(folder)
