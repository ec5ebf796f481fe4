"""Run a learner's script in a copy of its folder, in a separate process, with limits.

People who learn write scripts that loop, print without end or remove their own folder. Such a script is stopped, a
message explains what it did, and the learner's own files stay as they are (`originals.py`). Everything that it leaves
behind ends with it: processes, temporary files, the copy.
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

from workshop import exercises, shell
from workshop.checking import fork_server, originals
from workshop.checking.kept import opened
from workshop.checking.patches import Patch, arguments_for
from workshop.errors import WorkshopError
from workshop.support import timeouts
from workshop.support.files import IGNORED_FOLDERS, remove_folder

TIME_LIMIT = 300  # seconds after which a script counts as endless
OUTPUT_LIMIT = 20 * 2**20  # bytes that a script may print; the exercises' scripts print a few hundred
# How much of a script's folder is copied: that of an exercise contains ten files, one megabyte in all.
COPIED_BYTES, COPIED_FILES = 50 * 2**20, 1000
READ = 2**16

Process = fork_server.SupervisedRun | subprocess.Popen[bytes]
_running: list[Process] = []  # for `stop_all`


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

    The copy's folder is the working directory, as for `python train.py`; in the output its path is replaced by that of
    the original. patches: run in the interpreter first. modules: if given, the process is forked from an interpreter
    that has already imported them (`workshop.checking.fork_server`, on Linux). Raises WorkshopError if the script runs
    longer than `limit` seconds (default TIME_LIMIT), prints more than OUTPUT_LIMIT, or removes files from its folder.
    """
    if script.is_symlink() and script.resolve().suffix != ".py":
        raise WorkshopError(
            looked_at=script,
            expected="a Python script",
            found="a link to another kind of file, which is not run",
            next_step=f"replace {shell.relative(script)} by a script",
        )
    with opened.ignored(), originals.protected(script), _working_copy(script) as (copy, root):
        (root / "tmp").mkdir(exist_ok=True)  # the workspace itself may be in a folder of that name
        environment = environment | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(root / "tmp"))
        report = root / "opened-files"
        if opened.is_recording() and not interpreter:
            patches = [opened.patch(report), *patches]
        process = None
        if modules and not interpreter:
            process = fork_server.fork(copy, arguments, environment, patches, modules, root)
        if process is None:
            process = _start(copy, root, arguments, environment, patches, interpreter)
        _running.append(process)
        try:
            code, stdout, stderr = _wait_for(process, script, limit or TIME_LIMIT)
        finally:
            _end(process)
            _running.remove(process)
            opened.add_report(report, root, copy.parent)
            if isinstance(process, fork_server.SupervisedRun):
                process.close()
    stdout, stderr = (text.replace(str(copy.parent), str(script.parent)) for text in (stdout, stderr))
    return subprocess.CompletedProcess([str(script), *arguments], code, stdout, stderr)


def stop_all() -> None:
    """Kill all running scripts, after Ctrl-C. Threads that wait for them then continue."""
    for process in list(_running):
        _end(process)


def _end(process: Process) -> None:
    """End a script and everything that it started (where there is no supervisor: what is in its process group)."""
    if isinstance(process, fork_server.SupervisedRun):
        process.end()
    else:
        timeouts.kill_group(process.pid)


@contextmanager
def _working_copy(script: Path) -> Iterator[tuple[Path, Path]]:
    """A copy of the script in a copy of its folder, next to a copy of `common/`, and the folder of everything.

    Raises WorkshopError at the end if the script has removed files from the copy: outside it would remove yours.
    """
    folder = script.parent.absolute()
    scratch = exercises.scratch_root()  # which no system cleans up
    root = Path(tempfile.mkdtemp(prefix="workshop-copy-", dir=scratch)).resolve()
    try:
        target = root / (folder.parent.name or "exercise") / (folder.name or "starter")
        target.mkdir(parents=True)
        shutil.copy2(script, target)
        names = [script.name, *_copy_files(folder, target)]
        if not (root / "common").exists():  # a copy, since a script could write through a link
            _copy_files(Path(__file__).resolve().parents[2], root / "common")
        yield target / script.name, root
        removed = sorted({name for name in names if not os.path.lexists(target / name)})
    finally:
        remove_folder(root)
    if removed:
        raise WorkshopError(
            looked_at=f"a copy of the folder of {shell.relative(script)} after the script ran",
            expected="the files that were there before",
            found=f"{', '.join(removed[:3])}{' and others' if removed[3:] else ''} removed; your own files are untouched",
            next_step=f"remove the lines of {script.name} that remove files",
        )


def _copy_files(folder: Path, target: Path) -> list[str]:
    """Copy the files of a folder without IGNORED_FOLDERS, within the limits; return their relative paths.

    Links become copies of their targets, since a script that writes through a link would change the original.
    """
    names, bytes_left, visited, waiting = [], COPIED_BYTES, set(), [folder]
    while waiting and len(names) < COPIED_FILES:
        base = waiting.pop()
        real = os.path.realpath(base)
        if real in visited:  # a link to a folder that was already copied, or to a parent of it
            continue
        visited.add(real)
        try:
            found = sorted(os.listdir(base))
        except OSError:
            continue
        waiting += [
            base / name for name in reversed(found) if name not in IGNORED_FOLDERS and os.path.isdir(base / name)
        ]
        subfolder = target / base.relative_to(folder)
        for name in found:
            path = base / name
            try:
                if len(names) >= COPIED_FILES or not path.is_file() or path.stat().st_size > bytes_left:
                    continue
                subfolder.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, subfolder / name)
                bytes_left -= path.stat().st_size
            except OSError:
                continue  # it cannot be read, or has just been removed
            names.append(os.path.relpath(subfolder / name, target))
    return names


def _start(
    script: Path,
    root: Path,
    arguments: Sequence[str],
    environment: dict[str, str],
    patches: Sequence[Patch],
    interpreter: Sequence[str],
) -> Process:
    # Without patches, `pixi run` gets no JSON: its shell would read the brackets as a pattern.
    start = arguments_for(patches) if patches or not interpreter else []
    command = [*(interpreter or [sys.executable]), *start, str(script), *arguments]
    if sys.platform == "linux":
        return fork_server.start(command, script.parent, environment, root)
    return subprocess.Popen(
        command,
        cwd=script.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,  # its own process group, so that its children end with it
    )


def _wait_for(process: Process, script: Path, limit: float) -> tuple[int, str, str]:
    """Wait for the process and read its output, within the limits. Returns exit code, stdout and stderr."""
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
    if code is None or bytes_left[0] < 0:  # or it ended because its pipe was closed
        _end(process)
        if bytes_left[0] < 0:
            raise WorkshopError(
                looked_at=f"what {shell.relative(script)} prints",
                expected="a few lines",
                found=f"more than {OUTPUT_LIMIT // 2**20} MiB, so it was stopped",
                next_step="look for a print in a loop",
            )
        raise WorkshopError(
            looked_at=script,
            expected=f"a script that ends within {limit:g} s",
            found="still running, so it was stopped",
            next_step="look for an endless loop",
        )
    for thread in threads:
        thread.join(timeout=2)  # a child that the script left behind may keep the pipes open
    stdout, stderr = (b"".join(text).decode("utf-8", errors="replace") for text in texts)
    return code, stdout, stderr
