"""Room for what tests make: on a disk, never in memory, and only where enough is left for everybody else."""

import shutil
import tempfile
from pathlib import Path

GIB = 2**30
SPARE = 5 * GIB  # bytes that tests leave free


def problem(folder: Path, size: int) -> str | None:
    """Why `size` bytes do not fit into a folder, in a line; None where they fit."""
    if (kind := file_system_of(folder)) in ("tmpfs", "ramfs"):
        return f"{folder} is memory ({kind}), and what is made here takes {size / GIB:.1f} GiB: set TMPDIR to a folder on a disk"
    free = shutil.disk_usage(folder).free
    if free < size + SPARE:
        return f"{folder} has {free / GIB:.1f} GiB free, and {(size + SPARE) / GIB:.1f} GiB are needed"
    return None


def new_folder(prefix: str) -> Path:
    """A new folder for large files: where TMPDIR says, else on the disk for them where the usual place is memory."""
    usual, large = Path(tempfile.gettempdir()), Path("/var/tmp")
    in_memory = file_system_of(usual) in ("tmpfs", "ramfs")
    return Path(tempfile.mkdtemp(prefix=prefix, dir=large if in_memory and large.is_dir() else usual))


def file_system_of(folder: Path) -> str:
    """The kind of file system that a folder lies in, as Linux calls it; empty where that is not known."""
    mounts = Path("/proc/self/mountinfo")
    found = ("", "")
    for line in mounts.read_text().splitlines() if mounts.exists() else ():
        before, _, after = line.partition(" - ")
        where = before.split()[4]
        if folder.resolve().is_relative_to(where) and len(where) >= len(found[0]):  # the innermost, and the last there
            found = (where, after.split()[0])
    return found[1]
