"""Files: read only if they are regular and not too large, written atomically, identified by their sha256.

The functions for reading are the same as in pixi_workspace/files.py. Images contain only one of the two packages.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import tempfile
import tomllib
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
    try:
        _check(os.stat(path), path, limit)
        # It may have been replaced in the meantime: a pipe must not block this process.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError as error:  # a zero byte in the name
        raise OSError(errno.EINVAL, str(error), str(path)) from error
    with open(handle, "rb") as file:
        _check(os.fstat(handle), path, limit)
        content = file.read(limit + 1)
    if len(content) > limit:
        raise _too_large(path, limit)
    return content


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
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp creates files that only their owner can read
        os.replace(temporary, path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sha256_of(path: Path) -> str:
    """sha256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def list_files(folder: Path) -> dict[str, Path]:
    """The files of a folder by their relative path, without IGNORED_FOLDERS. Links are not followed."""
    files = {}
    for base, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in IGNORED_FOLDERS)
        for name in sorted(names):
            path = Path(base, name)
            files[path.relative_to(folder).as_posix()] = path
    return files
