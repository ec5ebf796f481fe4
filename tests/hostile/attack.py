"""Run a command of the workshop on hostile input, with a limit on time and memory, and assert that it withstood it."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from workshop import cli

try:
    import resource
except ModuleNotFoundError:  # Windows
    resource = None

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 5  # of processor time, so that a busy machine fails nothing
HANGS_AFTER = 30  # seconds on the clock
MEMORY = 512 * 2**20  # bytes
ADDRESS_SPACE = 8 * 2**30  # bytes: the machine survives, and libraries may reserve what they do not use
OUTPUT = 64 * 2**20  # bytes that a process may write into one file
CONTROL = {chr(code) for code in (*range(32), *range(127, 160))} - {"\n", "\t"}


class Hangs(BaseException):
    """The command took too long. Not an Exception, so that nothing on the way takes it for a problem with a file."""


class Done(subprocess.CompletedProcess):
    """A finished command, with its processor time in seconds and the most memory that it needed, in bytes."""

    seconds = 0.0
    memory = 0


def call(*words, function=None, cwd=None) -> Done:
    """Run `workshop WORDS` (or a function with these arguments) in this process, within the limits.

    memory: by how much the peak of this process has grown.
    """
    out, err, code = io.StringIO(), io.StringIO(), None
    before, started, here = _peak(), time.process_time(), os.getcwd()
    try:
        os.chdir(cwd or here)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _deadline():
            try:
                code = function(*words) if function else cli.main([str(word) for word in words])
            except SystemExit as ended:
                code = ended.code
    finally:
        os.chdir(here)
    done = Done(words, code, out.getvalue(), err.getvalue())
    done.seconds, done.memory = time.process_time() - started, _peak() - before
    return _within_limits(done)


def start(*words, cwd=ROOT, interpreter=("-m", "workshop"), stdin=subprocess.DEVNULL, **variables) -> Done:
    """Run `python -m workshop WORDS` in a process of its own, within the limits; whatever it starts ends with it.

    variables: added to the environment; None removes one.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT / "common"), "OPENBLAS_NUM_THREADS": "1"} | variables
    environment = {name: str(value) for name, value in environment.items() if value is not None}
    line = [*_LIMITED, sys.executable, *interpreter, *map(str, words)]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            line, cwd=cwd, env=environment, stdin=stdin, stdout=out, stderr=err, start_new_session=True
        )
        usage, seen, hung = _wait(process)
        out.seek(0), err.seek(0)
        done = Done(
            words, process.returncode, *(file.read().decode("utf-8", "backslashreplace") for file in (out, err))
        )
    if usage is not None:
        done.seconds, done.memory = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * _UNIT
        if done.memory <= _peak():  # it begins with the peak of the process that started it, which is this one
            done.memory = seen
    assert not hung, f"did not end within {HANGS_AFTER} s: {words}\n{done.stderr[-2000:]}"
    return _within_limits(done)


def refused(done: Done, *said: str) -> str:
    """Assert that the command printed one message of four lines and ended with 1; returns the message.

    said: what the message must contain.
    """
    assert done.returncode == 1, (done.returncode, done.stdout[-2000:], done.stderr[-2000:])
    answered(done)
    for head in ("looked at:", "expected:", "found:", "next:"):
        assert sum(line.startswith(head) for line in done.stderr.splitlines()) == 1, done.stderr[-2000:]
    assert len(done.stderr) < 10_000, f"a message of {len(done.stderr):,} characters"
    for word in said:
        assert word in done.stderr, (word, done.stderr[-2000:])
    return done.stderr


def answered(done: Done, *said: str, codes: tuple[int, ...] = (0, 1)) -> str:
    """Assert that the command ended, and printed no traceback and no control character; returns its text.

    said: what the output must contain. codes: the exit codes that are right.
    """
    text = done.stdout + done.stderr
    assert done.returncode in codes, (done.returncode, text[-2000:])
    assert "Traceback" not in text, text[-2000:]
    assert not CONTROL & set(text), sorted(CONTROL & set(text))
    for word in said:
        assert word in text, (word, text[-2000:])
    return text


# ---------------------------------------------------------------- things that are not the file that was expected


def fifo(path: Path) -> Path:
    """A named pipe, which nobody writes to: opening it in the usual way waits for ever."""
    _needs_posix()
    os.mkfifo(path)
    return path


def device(path: Path) -> Path:
    """A link to a device that never ends."""
    _needs_posix()
    path.symlink_to("/dev/zero")
    return path


def endless_link(path: Path) -> Path:
    """A link to itself."""
    path.symlink_to(path.name)
    return path


def big(path: Path, size: int = 3 * 2**30) -> Path:
    """A file of `size` bytes that takes no room on the disk."""
    with open(path, "wb") as file:
        file.truncate(size)
    return path


def folder(path: Path) -> Path:
    """A folder with a file's name."""
    path.mkdir()
    return path


def latin_1(path: Path) -> Path:
    """Bytes that are not UTF-8."""
    path.write_bytes(b"name = '\xe9\xff'\n")
    return path


NO_FILES = (fifo, device, endless_link, big, folder, latin_1)


# ---------------------------------------------------------------- limits


def _needs_posix() -> None:
    if os.name == "nt":
        pytest.skip("no named pipes and devices on Windows")


_UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT if resource else 0


def _within_limits(done: Done) -> Done:
    assert done.seconds < SECONDS, f"{done.seconds:.1f} s of processor time: {done.args}"
    assert done.memory <= MEMORY, f"{done.memory / 2**20:,.0f} MiB: {done.args}"
    return done


@contextlib.contextmanager
def _deadline():
    """Raise Hangs in this thread after HANGS_AFTER seconds, also out of a call that waits for a file."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_):
        raise Hangs(f"did not end within {HANGS_AFTER} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, HANGS_AFTER, 1)  # again each second: a library may swallow the first
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# An interpreter that limits itself and then becomes the command. macOS has no limit on the address space.
_LIMIT = f"""
import contextlib, os, resource, sys
for kind, value in ((resource.RLIMIT_AS, {ADDRESS_SPACE}), (resource.RLIMIT_FSIZE, {OUTPUT})):
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(kind, (value, value))
os.execv(sys.argv[1], sys.argv[1:])
"""
_LIMITED = [sys.executable, "-I", "-S", "-c", _LIMIT] if resource else []


def _wait(process: subprocess.Popen) -> tuple:
    """Wait for a process: what it used (None on Windows), its peak of memory as Linux shows it, and whether it was killed."""
    if not hasattr(os, "wait4"):
        try:
            process.wait(HANGS_AFTER)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return None, 0, True
        return None, 0, False
    deadline, hung, seen = time.monotonic() + HANGS_AFTER, False, 0
    while True:
        with contextlib.suppress(OSError, IndexError, ValueError):  # not on macOS, and not when it has just ended
            text = Path(f"/proc/{process.pid}/status").read_text()
            seen = max(seen, int(text.partition("VmHWM:")[2].split()[0]) * 1024)
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)  # whatever it left behind
            return usage, seen, hung
        if not hung and time.monotonic() > deadline:
            hung = True
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
        time.sleep(0.01)
