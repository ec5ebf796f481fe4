"""Small things about files: written whole or not at all, and known by their sha256."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

# What lies in a starter without being work: environments, caches, another checkout.
IGNORED_FOLDERS = (".git", ".pixi", ".venv", "__pycache__", ".pytest_cache", "results")


def write_atomic(path: Path, content: bytes | memoryview) -> None:
    """Write `content` to `path` so that a reader finds the old file or the new one, never half of it.

    Written beside, forced to the disk, then renamed. Raises OSError (a full disk, say) with `path` as its
    filename and the old file untouched.
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
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes files that only their owner can read
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
    """The files of a folder by their path in it, without environments and caches; links are not followed."""
    files = {}
    for base, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in IGNORED_FOLDERS)
        for name in sorted(names):
            path = Path(base, name)
            files[path.relative_to(folder).as_posix()] = path
    return files
