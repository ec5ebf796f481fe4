"""Files: written atomically, identified by their sha256."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

# Folders in a starter that are not part of the learner's work: environments, caches, results.
IGNORED_FOLDERS = (".git", ".pixi", ".venv", "__pycache__", ".pytest_cache", "results")


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
