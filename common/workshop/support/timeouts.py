"""Time limits for other programs and servers, which may print anything, print without end, or never answer."""

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

from workshop.errors import WorkshopError

OUTPUT_LIMIT = 1 << 16  # bytes that are read; no tool that is called here prints more


def run_command(command: list[str], seconds: float, **variables: str) -> str | None:
    """The first OUTPUT_LIMIT bytes that a command prints to stdout; None if it fails, is missing or takes too long.

    variables: added to the environment of this process. Bytes that are not UTF-8 are replaced.
    """
    deadline = time.monotonic() + seconds
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | variables,
            start_new_session=True,  # so that its children can be ended with it
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
        kill_group(process.pid)  # not waited for: a driver that hangs can keep it alive for ever
    if output is None or (code != 0 and len(output) != OUTPUT_LIMIT):
        return None
    return output.decode("utf-8", "replace")


def _read_and_close(pipe: IO[bytes]) -> bytes:
    with pipe:
        return pipe.read(OUTPUT_LIMIT)


def failure_reason(process: subprocess.CompletedProcess[str]) -> str:
    """Why a program failed: the line `found:` of its message, the exception of a traceback, or its last line on stderr."""
    if missing := missing_module(process):
        return f"there is no module {missing}"
    lines = process.stderr.strip().splitlines()
    found = next((line.removeprefix("found:").strip() for line in lines if line.startswith("found:")), None)
    if found:
        return found
    # After the exception JAX explains its traceback, and rich closes its progress bar.
    lines = [line for line in lines if line.strip() and not _AFTER_EXCEPTION.match(line)]
    if not lines:
        return f"exit code {process.returncode}, and no message"
    # torch lists the forms of a call that it expects below the exception.
    exception = next((line for line in reversed(lines) if _EXCEPTION.match(line)), "")
    if not (exception and lines[-1].startswith(" * ")):
        return lines[-1].strip()
    missing_call = "; did you forget `()` after the name of a method?" if "got (method" in exception else ""
    return exception.removesuffix(", but expected one of:").strip() + missing_call


_EXCEPTION = re.compile(r"[\w.]+(?:Error|Exception): ")
_AFTER_EXCEPTION = re.compile(r"-{5,}\s*$|For simplicity, JAX has removed its internal frames")


def missing_module(process: subprocess.CompletedProcess[str]) -> str | None:
    """The missing module that made a program fail, from Python's message or from ours; None for another failure."""
    last = process.stderr.rstrip().rpartition("\n")[2]  # an earlier error was caught, or caused this one
    named = re.match(r"ModuleNotFoundError: No module named '([^']+)'", last)
    named = named or re.search(r"the package that contains the module '([^']+)'", process.stderr)
    return named[1] if process.returncode and named else None


def kill_group(pid: int) -> None:
    """Kill a process that was started with `start_new_session`, and all its children in that group.

    This also ends stopped processes (SIGSTOP). It is not an error if the process has already ended.
    """
    try:
        if os.name == "nt":
            subprocess.run(["taskkill", "/F", "/T", "/PID", str(pid)], capture_output=True, check=False)
        else:
            os.killpg(pid, signal.SIGKILL)
    except OSError:
        pass  # it has just ended, or there is no taskkill


def start_in_thread(work: Callable[..., Any], *arguments: Any) -> queue.SimpleQueue[Any]:
    """Start `work` in a daemon thread, since `getaddrinfo` has no time limit. The result is for `wait_for`.

    Raises WorkshopError if the system gives this process no thread.
    """
    result: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def run() -> None:
        try:
            result.put(work(*arguments))
        except Exception:  # other programs and servers can fail in any way
            result.put(None)

    try:
        threading.Thread(target=run, daemon=True).start()
    except RuntimeError as error:
        raise WorkshopError(
            looked_at="the limit on this user's processes and threads",
            expected="room for a few threads",
            found=str(error),
            next_step="close some programs, or raise the limit (`ulimit -u`)",
        ) from error
    return result


def wait_for(result: queue.SimpleQueue[Any], deadline: float) -> Any:
    """The result of `start_in_thread`; None if it failed or has not ended at `deadline` (of `time.monotonic`)."""
    try:
        return result.get(timeout=max(0, deadline - time.monotonic()))
    except queue.Empty:
        return None
