"""Runs a program that leaves nothing behind: `python -I supervise.py STATUS FOLDER COMMAND...` (Linux).

The supervisor becomes the parent of every orphan among the program's descendants (a subreaper), whatever session or
environment they give themselves. When the program has ended, it kills them all, and then writes the exit code to the
file descriptor STATUS. If nobody reads STATUS any more, the check was killed: then the program ends too, and FOLDER,
in which it runs, is removed.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable
from typing import NoReturn

PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG = 36, 1  # of <sys/prctl.h>
KILL_SECONDS = 10  # in which processes that start new ones are killed again and again
POLL_MILLISECONDS = 20  # between two looks at the program, on a system that cannot report its end (before Linux 5.3)


class _Stop(BaseException):
    """The check ends the program."""


def supervise(program: Callable[[], object], status: int, folder: str, report: Callable[[int], object]) -> NoReturn:
    """Run `program` in a fork, and call `report` with its process id. Ends this process when nothing is left of it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    supervisor = os.getpid()
    pid = os.fork()
    if pid == 0:
        end_with_parent(supervisor)
        os.setsid()
        os.close(status)
        program()
        os._exit(0)
    signal.signal(signal.SIGTERM, _stop)
    code: int | None = -signal.SIGKILL
    try:
        report(pid)
        code = _wait_for(pid, status)
    except _Stop:
        pass
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _kill_descendants()
    if code is None:
        try:
            shutil.rmtree(folder, ignore_errors=True)
        except RecursionError:  # folders nested a thousand times
            pass
    else:
        os.write(status, str(code).encode())
    os._exit(0)


def end_with_parent(parent: int | None = None) -> None:
    """Make the kernel kill this process when its parent ends, even by `kill -9` (Linux only).

    parent: its process id, if it may have ended already.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if parent is not None and os.getppid() != parent:
            os._exit(1)


def _stop(*_: object) -> NoReturn:
    raise _Stop


def _wait_for(pid: int, status: int) -> int | None:
    """The exit code of the program, negative for a signal; None if nobody reads `status` any more."""
    poll, interval = select.poll(), None
    poll.register(status, 0)  # only errors
    try:
        poll.register(os.pidfd_open(pid), select.POLLIN)
    except (AttributeError, OSError):
        interval = POLL_MILLISECONDS
    while True:
        ended, wait_status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(wait_status)
        if status in dict(poll.poll(interval)):
            return None


def _kill_descendants() -> None:
    """Kill every descendant of this process, and wait for their end."""
    deadline = time.monotonic() + KILL_SECONDS
    while time.monotonic() < deadline:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:  # none is left
            return
        for pid in _descendants():
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:  # it has just ended, or belongs to another user
                pass
        time.sleep(0.002)


def _descendants() -> list[int]:
    children: dict[int, list[int]] = {}
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                # The program's name stands in brackets and may contain anything; the parent is the second word after it.
                parent = int(file.read().rpartition(b") ")[2].split()[1])
        except OSError:
            continue  # it has just ended
        children.setdefault(parent, []).append(int(name))
    found = children.get(os.getpid(), [])
    for pid in found:  # grows while it is read
        found += children.get(pid, [])
    return found


def _execute(command: list[str]) -> NoReturn:
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(127)


if __name__ == "__main__":
    supervise(lambda: _execute(sys.argv[3:]), int(sys.argv[1]), sys.argv[2], lambda _: None)
