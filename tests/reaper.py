"""Whatever a test process starts ends with it, even if it is killed: daemons, their jobs, mounts, large folders.

`start()` marks this process, and starts a watcher: this file as a program, in a session of its own. The mark is a
variable, which every program inherits that is started from here, and an open file, which is what a fork inherits. When
the test process has ended, the watcher kills every process that bears the mark or is at work in one of the folders that
were handed to `owns` (Slurm's slurmstepd overwrites its variables), and all of their children; it unmounts what is mounted
in these folders, and removes them. Linux only; elsewhere the tests start nothing that outlives them.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TextIO

VARIABLE = "WORKSHOP_TEST_PROCESS"  # the mark: the number of the test process, and when it started
INTERVAL = 0.2  # seconds between two looks at the test process
PATIENCE = 30  # seconds in which processes that start new ones are killed again and again


def start() -> None:
    """Mark this process, and start its watcher."""
    if sys.platform == "linux":
        mark = f"{os.getpid()}-{time.time_ns()}"
        watcher = subprocess.Popen(
            [sys.executable, __file__, mark],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,  # so that killing the test's process group does not kill the watcher
        )
        os.environ[VARIABLE] = mark
        _open.append(_list_of_folders(mark).open("a"))
        _watchers.append(watcher)


_open: list[TextIO] = []  # the list of folders of this process
_watchers: list[subprocess.Popen] = []  # kept: Python warns about a process that is forgotten while it runs


def owns(folder: Path) -> None:
    """At the end, kill who is at work in `folder`, unmount what is mounted there and remove it, if it is still there."""
    for file in _open:
        print(folder, file=file, flush=True)


def _list_of_folders(mark: str) -> Path:
    return Path(tempfile.gettempdir(), f"workshop-test-process-{mark}")


def watch(mark: str) -> None:
    """Wait for the end of the process that started this one; then clean up after it."""
    parent = int(mark.split("-")[0])
    while os.getppid() == parent:
        time.sleep(INTERVAL)
    path = _list_of_folders(mark)
    folders = [Path(line) for line in path.read_text().splitlines()] if path.exists() else []
    deadline = time.monotonic() + PATIENCE
    while (found := left_behind(mark, folders)) and time.monotonic() < deadline:
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:  # it has ended, or belongs to somebody else
                pass
        time.sleep(INTERVAL)
    for folder in folders:
        for mounted in reversed(mounts_in(folder)):
            subprocess.run(["umount", "--lazy", mounted], check=False)
        if not mounts_in(folder):  # else something of the machine's might be removed
            shutil.rmtree(folder, ignore_errors=True)
    path.unlink(missing_ok=True)


def left_behind(mark: str, folders: list[Path]) -> set[int]:
    """The processes that bear the mark or are at work in one of the folders, and all of their children."""
    children: dict[int, list[int]] = {}
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        try:
            # The name of the program stands in brackets, and may hold spaces; the parent is the second word after it.
            state, parent = (folder / "stat").read_text().rpartition(") ")[2].split()[:2]
            children.setdefault(int(parent), []).append(pid)
            if state == "Z":
                continue
            variables = (folder / "environ").read_bytes().split(b"\0")
            used = {Path(os.readlink(file)) for file in (folder / "cwd", *(folder / "fd").iterdir())}
            at_work = any(path.is_relative_to(place) for path in used for place in folders)
            if at_work or _list_of_folders(mark) in used or f"{VARIABLE}={mark}".encode() in variables:
                found.append(pid)
        except OSError:
            continue  # it has ended, or belongs to somebody else
    for pid in found:
        found.extend(child for child in children.get(pid, ()) if child not in found)
    return set(found) - {os.getpid()}


def mounts_in(folder: Path) -> list[str]:
    """Where something is mounted in a folder, in the order in which it was mounted."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [where for line in lines if Path(where := line.split()[4]).is_relative_to(folder)]


if __name__ == "__main__":
    watch(sys.argv[1])
