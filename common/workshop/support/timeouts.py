"""Asking other programs and far machines, which may say anything, say it for ever, or never answer."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from typing import IO, Any

OUTPUT_LIMIT = 1 << 16  # bytes of an answer that are read: no tool that is asked here has more to say


def run_command(command: list[str], seconds: float, **variables: str) -> str | None:
    """What a command writes to stdout, its first OUTPUT_LIMIT bytes; None where it fails, is missing or takes too long.

    variables: of its environment, over those of this process. What is no UTF-8 is replaced.
    """
    deadline = time.monotonic() + seconds
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | variables,
            start_new_session=True,  # so that what it has started ends with it
        )
    except (OSError, ValueError):
        return None
    assert process.stdout is not None  # a pipe
    output = wait_for(start_in_thread(_read_and_close, process.stdout), deadline)
    try:
        code = (
            process.wait(max(0, deadline - time.monotonic()))
            if output is not None and len(output) < OUTPUT_LIMIT
            else None
        )
    except subprocess.TimeoutExpired:
        code = None
    if code is None:
        kill_group(process.pid)  # not waited for: a driver that hangs keeps it for ever
    if output is None or (code != 0 and len(output) != OUTPUT_LIMIT):
        return None
    return output.decode("utf-8", "replace")


def _read_and_close(pipe: IO[bytes]) -> bytes:
    with pipe:
        return pipe.read(OUTPUT_LIMIT)


def failure_reason(process: subprocess.CompletedProcess[str]) -> str:
    """Why a program failed: the `found` of its message, or else the last line that it wrote to stderr."""
    if missing := missing_module(process):
        return f"there is no module {missing}"
    lines = process.stderr.strip().splitlines()
    found = next((line.removeprefix("found:").strip() for line in lines if line.startswith("found:")), None)
    return found or (lines[-1] if lines else f"exit code {process.returncode}, and no message")


def missing_module(process: subprocess.CompletedProcess[str]) -> str | None:
    """The module for whose absence a program failed, by Python's own words or by ours; None if it failed otherwise."""
    last = process.stderr.rstrip().rpartition("\n")[2]  # an error further up was caught, or led to another one
    named = re.match(r"ModuleNotFoundError: No module named '([^']+)'", last)
    named = named or re.search(r"the package that contains the module '([^']+)'", process.stderr)
    return named[1] if process.returncode and named else None


def kill_group(pid: int) -> None:
    """Kill a process that was started with `start_new_session`, and all that it has started in its group.

    A process that is stopped (SIGSTOP) ends as well; one that has ended already is no error.
    """
    try:
        if os.name == "nt":
            subprocess.run(["taskkill", "/F", "/T", "/PID", str(pid)], capture_output=True, check=False)
        else:
            os.killpg(pid, signal.SIGKILL)
    except OSError:
        pass  # it ended this moment, or there is no taskkill


def start_in_thread(work: Callable[..., Any], *arguments: Any) -> queue.SimpleQueue[Any]:
    """Begin `work` in a thread that the end of this process does not wait for: `getaddrinfo` knows no time limit."""
    result: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def run() -> None:
        try:
            result.put(work(*arguments))
        except Exception:  # what is asked is outside of this program, and so is what goes wrong there
            result.put(None)

    threading.Thread(target=run, daemon=True).start()
    return result


def wait_for(result: queue.SimpleQueue[Any], deadline: float) -> Any:
    """What `later` has found, as soon as it is there; None at the moment `deadline` of `time.monotonic`, and on errors."""
    try:
        return result.get(timeout=max(0, deadline - time.monotonic()))
    except queue.Empty:
        return None
