"""Run a script of a workspace in a process of its own, and keep it from doing harm.

A script that loops, prints without end or removes what it lies in is something that people write on the way to a
right one: it is stopped, its folder is as it was before, and a message says what it did.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from workshop import shell
from workshop.checking import warm
from workshop.errors import WorkshopError
from workshop.files import files_of, write_atomic

TIME_LIMIT = 300  # seconds that one run of a script may take before it counts as not ending
OUTPUT_LIMIT = 20 * 2**20  # bytes that a script may print; the trainings of the exercises print some hundred
# What is kept of the files around a script while it runs: an exercise has ten, of a megabyte in all.
KEPT_LIMIT, KEPT_FILES = 50 * 2**20, 1000
READ = 2**16

_running: set[int] = set()  # process groups, for `stop_all`


def run(
    script: Path,
    arguments: Sequence[str],
    environment: dict[str, str],
    before: str = "",
    modules: Sequence[str] = (),
    interpreter: Sequence[str] = (),
    limit: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `script` with this interpreter (or the command `interpreter`) and wait for it.

    before: code that runs in the interpreter first. modules: with some, the process is forked from an interpreter
    that has imported them (`workshop.checking.warm`, on Linux). Raises WorkshopError where the script does not end in
    `limit` seconds (else TIME_LIMIT), prints more than OUTPUT_LIMIT, or has removed files beside it.
    """
    with _as_it_was(script):
        process = None
        if modules and not interpreter:
            process = warm.fork(script, arguments, environment, before, modules)
        if process is None:
            process = _fresh(script, arguments, environment, before, interpreter or (sys.executable,))
        _running.add(process.pid)
        try:
            return _followed(process, script, arguments, limit or TIME_LIMIT)
        finally:
            _stop(process.pid)  # also what it has started and left behind
            _running.discard(process.pid)


def stop_all() -> None:
    """End every script that is running, as Ctrl-C does; for those who wait for them in other threads."""
    for pid in list(_running):
        _stop(pid)


def _fresh(
    script: Path, arguments: Sequence[str], environment: dict[str, str], before: str, interpreter: Sequence[str]
) -> subprocess.Popen[bytes]:
    command = [*interpreter, str(script), *arguments]
    if before:
        start = f"import runpy, sys\nsys.argv = sys.argv[1:]\nsys.path[0] = {str(script.parent)!r}\n"
        start += f"{before}\nrunpy.run_path({str(script)!r}, run_name='__main__')\n"
        command = [*interpreter, "-c", start, str(script), *arguments]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,  # a group of its own, to be ended with all that it starts
    )


def _stop(pid: int) -> None:
    try:
        if os.name == "nt":
            subprocess.run(["taskkill", "/F", "/T", "/PID", str(pid)], capture_output=True, check=False)
        else:
            os.killpg(pid, signal.SIGKILL)
    except OSError:
        pass  # it has ended


def _followed(
    process: subprocess.Popen[bytes] | warm.Forked, script: Path, arguments: Sequence[str], limit: float
) -> subprocess.CompletedProcess[str]:
    """Read what the process prints until it ends, within the limits."""
    texts: tuple[list[bytes], list[bytes]] = ([], [])
    left = [OUTPUT_LIMIT]

    def read(pipe, into: list[bytes]) -> None:
        while chunk := pipe.read1(READ):
            left[0] -= len(chunk)
            if left[0] < 0:
                return
            into.append(chunk)

    threads = [
        threading.Thread(target=read, args=pair, daemon=True)
        for pair in zip((process.stdout, process.stderr), texts, strict=True)
    ]
    for thread in threads:
        thread.start()
    end, pause = time.monotonic() + limit, 0.002
    while (code := process.poll()) is None and left[0] >= 0 and time.monotonic() < end:
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
    if code is None:
        _stop(process.pid)
        if left[0] < 0:
            found, advice = f"more than {OUTPUT_LIMIT // 2**20} MiB, so it was stopped", "look for a print in a loop"
            raise WorkshopError(
                looked_at=f"what {shell.relative(script)} prints", expected="some lines", found=found, next_step=advice
            )
        expected, found = f"a script that ends within {limit:g} s", "still running, so it was stopped"
        raise WorkshopError(
            looked_at=script, expected=expected, found=found, next_step="look for a loop that has no end"
        )
    for thread in threads:
        thread.join(timeout=2)  # a process that the script left behind may hold the pipes for ever
    stdout, stderr = (b"".join(text).decode("utf-8", errors="replace") for text in texts)
    return subprocess.CompletedProcess([str(script), *arguments], code, stdout, stderr)


@contextmanager
def _as_it_was(script: Path) -> Iterator[None]:
    """Put back the files that the script removes from its folder, and say so; a learner's work is in them.

    Not those that have changed meanwhile: the learner may have saved one.
    """
    before = _content(script.parent)
    yield
    lost = [name for name in before if not os.path.lexists(script.parent / name)]
    if lost:
        for name in lost:
            _put_back(script.parent / name, before[name])
        raise WorkshopError(
            looked_at=f"the folder of {shell.relative(script)} after it ran",
            expected="the files that were there before",
            found=f"{', '.join(lost[:3])}{' and others' if lost[3:] else ''} removed; put back",
            next_step=f"take the lines out of {script.name} that remove files",
        )


def _content(folder: Path) -> dict[str, bytes]:
    """What the files of a folder hold, by their path in it; not of links, and no more than KEPT_LIMIT."""
    found, room = {}, KEPT_LIMIT
    for name, path in itertools.islice(files_of(folder).items(), KEPT_FILES):
        try:
            if path.is_file() and not path.is_symlink() and (size := path.stat().st_size) <= room:
                found[name] = path.read_bytes()
                room -= size
        except OSError:
            pass  # it cannot be read, so it cannot be kept
    return found


def _put_back(path: Path, content: bytes) -> None:
    """Write a file that is not there; one that is there again, because its owner saved it just now, stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.back")
    write_atomic(beside, content)
    try:
        os.link(beside, path)
    except FileExistsError:
        pass
    finally:
        beside.unlink()
