"""Run a learner's script in a copy of its folder, in a process of its own, with limits.

A script that loops, prints without end or removes what it lies in is something that people write on the way to a
right one. It is stopped, a message explains what it did, and the learner's files are never within its reach.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from workshop import shell
from workshop.checking import fork_server
from workshop.checking.patches import Patch, arguments_for
from workshop.errors import WorkshopError
from workshop.support import timeouts
from workshop.support.files import IGNORED_FOLDERS

TIME_LIMIT = 300  # seconds that one run of a script may take before it counts as not ending
OUTPUT_LIMIT = 20 * 2**20  # bytes that a script may print; the trainings of the exercises print some hundred
# How much is copied of a script's folder: an exercise's holds ten files, of a megabyte in all.
COPIED_BYTES, COPIED_FILES = 50 * 2**20, 1000
READ = 2**16

_running: set[int] = set()  # process groups, for `stop_all`


def run(
    script: Path,
    arguments: Sequence[str],
    environment: dict[str, str],
    patches: Sequence[Patch] = (),
    modules: Sequence[str] = (),
    interpreter: Sequence[str] = (),
    limit: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a copy of `script`, in a copy of its folder, with this interpreter (or the command `interpreter`).

    The copy's folder is the working directory, as for `python train.py`, and what the script prints names the
    original's. patches: run in the interpreter first. modules: with some, the process is forked from an interpreter
    that has imported them (`workshop.checking.fork_server`, on Linux). Raises WorkshopError where the script does not end in
    `limit` seconds (else TIME_LIMIT), prints more than OUTPUT_LIMIT, or removes files beside it.
    """
    with _working_copy(script) as copy:
        process = None
        if modules and not interpreter:
            process = fork_server.fork(copy, arguments, environment, patches, modules)
        if process is None:
            process = _start(copy, arguments, environment, patches, interpreter)
        _running.add(process.pid)
        try:
            code, stdout, stderr = _wait_for(process, script, limit or TIME_LIMIT)
        finally:
            timeouts.kill_group(process.pid)  # also what it has started and left behind
            _running.discard(process.pid)
            if isinstance(process, fork_server.ForkedRun):
                process.close()
    stdout, stderr = (text.replace(str(copy.parent), str(script.parent)) for text in (stdout, stderr))
    return subprocess.CompletedProcess([str(script), *arguments], code, stdout, stderr)


def stop_all() -> None:
    """End every script that is running, as Ctrl-C does; for those who wait for them in other threads."""
    for pid in list(_running):
        timeouts.kill_group(pid)


@contextmanager
def _working_copy(script: Path) -> Iterator[Path]:
    """A copy of the script in a copy of its folder, in a folder of the exercise's name that has `common/` beside it.

    Raises WorkshopError at the end where the script has removed files from the copy: it would remove the learner's.
    """
    folder = script.parent.absolute()
    with tempfile.TemporaryDirectory(prefix="workshop-copy-", ignore_cleanup_errors=True) as temporary:
        root = Path(temporary).resolve()
        target = root / (folder.parent.name or "exercise") / (folder.name or "starter")
        target.mkdir(parents=True)
        shutil.copy2(script, target)
        names = [script.name, *_copy_files(folder, target)]
        try:
            (root / "common").symlink_to(Path(__file__).resolve().parents[2])
        except OSError:
            pass  # Windows allows links to few; PYTHONPATH names common/ too
        yield target / script.name
        removed = sorted({name for name in names if not os.path.lexists(target / name)})
    if removed:
        raise WorkshopError(
            looked_at=f"a copy of the folder of {shell.relative(script)} after the script ran",
            expected="the files that were there before",
            found=f"{', '.join(removed[:3])}{' and others' if removed[3:] else ''} removed; your own files are untouched",
            next_step=f"take the lines out of {script.name} that remove files",
        )


def _copy_files(folder: Path, target: Path) -> list[str]:
    """Copy the files of a folder, but for environments, results and what exceeds the limits; their paths in it.

    Links become copies of what they lead to, since a script that writes through one would reach the original.
    """
    names, bytes_left, visited = [], COPIED_BYTES, set()
    for base, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if name not in IGNORED_FOLDERS)
        if (real := os.path.realpath(base)) in visited:  # a link to a folder that was copied, or to one around it
            folders.clear()
            continue
        visited.add(real)
        subfolder = target / os.path.relpath(base, folder)
        for name in sorted(files):
            path = Path(base, name)
            try:
                if len(names) >= COPIED_FILES or not path.is_file() or path.stat().st_size > bytes_left:
                    continue
                subfolder.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, subfolder / name)
                bytes_left -= path.stat().st_size
            except OSError:
                continue  # it cannot be read, or was removed this moment
            names.append(os.path.relpath(subfolder / name, target))
        if len(names) >= COPIED_FILES:
            break
    return names


def _start(
    script: Path,
    arguments: Sequence[str],
    environment: dict[str, str],
    patches: Sequence[Patch],
    interpreter: Sequence[str],
) -> subprocess.Popen[bytes]:
    # Without a need for it not through `pixi run`, whose shell takes the brackets of JSON for a pattern.
    start = arguments_for(patches) if patches or not interpreter else []
    return subprocess.Popen(
        [*(interpreter or [sys.executable]), *start, str(script), *arguments],
        cwd=script.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,  # a group of its own, to be ended with all that it starts
    )


def _wait_for(
    process: subprocess.Popen[bytes] | fork_server.ForkedRun, script: Path, limit: float
) -> tuple[int, str, str]:
    """Read what the process prints until it ends, within the limits: exit code, stdout and stderr."""
    texts: tuple[list[bytes], list[bytes]] = ([], [])
    bytes_left = [OUTPUT_LIMIT]

    def read(pipe, chunks: list[bytes]) -> None:
        with pipe:
            while chunk := pipe.read1(READ):
                bytes_left[0] -= len(chunk)
                if bytes_left[0] < 0:
                    return
                chunks.append(chunk)

    threads = [
        threading.Thread(target=read, args=pair, daemon=True)
        for pair in zip((process.stdout, process.stderr), texts, strict=True)
    ]
    for thread in threads:
        thread.start()
    deadline, pause = time.monotonic() + limit, 0.002
    while (code := process.poll()) is None and bytes_left[0] >= 0 and time.monotonic() < deadline:
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
    if code is None or bytes_left[0] < 0:  # or it ended since nobody read what else it printed
        timeouts.kill_group(process.pid)
        if bytes_left[0] < 0:
            raise WorkshopError(
                looked_at=f"what {shell.relative(script)} prints",
                expected="some lines",
                found=f"more than {OUTPUT_LIMIT // 2**20} MiB, so it was stopped",
                next_step="look for a print in a loop",
            )
        raise WorkshopError(
            looked_at=script,
            expected=f"a script that ends within {limit:g} s",
            found="still running, so it was stopped",
            next_step="look for a loop that has no end",
        )
    for thread in threads:
        thread.join(timeout=2)  # a process that the script left behind may hold the pipes for ever
    stdout, stderr = (b"".join(text).decode("utf-8", errors="replace") for text in texts)
    return code, stdout, stderr
