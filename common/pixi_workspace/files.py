"""Read a file that somebody else wrote: only a regular file, and only up to a limit."""

from __future__ import annotations

import errno
import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Any

MANIFEST_SIZE = 8 * 2**20  # bytes; the largest public manifests have a hundredth of this
LOCK_SIZE = 64 * 2**20
TOML_SIZE = 2 * 2**20  # for Python's own reader, which takes a second for each MiB
_LONG_KEY = re.compile(r"(?<![\w\"'-])(?:[\w\"'-]++[ \t]*+\.[ \t]*+){50}")
_KINDS = (
    (stat.S_ISDIR, errno.EISDIR, "a folder of that name"),
    (stat.S_ISFIFO, errno.EINVAL, "a named pipe, not a file"),
    (stat.S_ISSOCK, errno.EINVAL, "a socket, not a file"),
    (stat.S_ISCHR, errno.EINVAL, "a device, not a file"),
    (stat.S_ISBLK, errno.EINVAL, "a device, not a file"),
)


def read_bytes(path: Path, limit: int = MANIFEST_SIZE) -> bytes:
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


def read_text(path: Path, limit: int = MANIFEST_SIZE) -> str:
    """The content of a file in UTF-8. Raises OSError as `read_bytes` does, and UnicodeDecodeError."""
    return read_bytes(path, limit).decode("utf-8")


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises OSError as `read_bytes` does, and ValueError if it is not valid TOML."""
    text = read_text(path, TOML_SIZE)
    if _LONG_KEY.search(text):
        raise ValueError("a key of more than fifty parts")  # the time for it grows with the square of its length
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("tables nested too deeply") from error


def _check(status: os.stat_result, path: Path, limit: int) -> None:
    for is_kind, number, words in _KINDS:
        if is_kind(status.st_mode):
            raise OSError(number, words, str(path))
    if status.st_size > limit:
        raise _too_large(path, limit)


def _too_large(path: Path, limit: int) -> OSError:
    return OSError(errno.EFBIG, f"a file of more than {limit // 2**20} MiB", str(path))
