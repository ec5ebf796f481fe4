"""Interpreters that have already imported the frameworks and are forked for each run of a script (Linux).

Importing PyTorch or JAX takes seconds, and a check runs a script several times. A server process imports them once;
each run is a fork of it, with its own environment, arguments, output and random state. A fork behaves like a new
interpreter except that all forks share the addresses of objects and the order of hashes. A check that compares two runs
therefore runs one of them in a new interpreter.

The forkserver of `multiprocessing` does not suit: a process has only one, so every fork would contain all frameworks;
each fork imports this program's main module again; it takes its environment from this process, where OMP_NUM_THREADS
would have to be set for the scripts; and any import error other than an ImportError ends it.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from workshop.checking.patches import Patch, run_script

FILES = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)
MESSAGE_LIMIT = 2**20  # bytes of one request: environment, arguments, patches

_servers: dict[tuple[str, ...], tuple[subprocess.Popen[bytes], socket.socket]] = {}
_request_lock = threading.Lock()


class ForkedRun:
    """A forked run, with the part of `subprocess.Popen`'s interface that is needed to read and wait."""

    def __init__(self, pid: int, stdout: int, stderr: int, status: int) -> None:
        self.pid = pid
        self.stdout, self.stderr, self._status = (open(pipe, "rb") for pipe in (stdout, stderr, status))
        os.set_blocking(status, False)
        self._code: int | None = None

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self._code is None and not self._status.closed and (text := self._status.read(64)) is not None:
            self._code = int(text) if text else -signal.SIGKILL  # empty: the process that waits for it was killed
        return self._code

    def close(self) -> None:
        """Close the pipe of the exit code, at the end. The readers of the other two pipes close those."""
        self._status.close()


def fork(
    script: Path,
    arguments: Sequence[str],
    environment: dict[str, str],
    patches: Sequence[Patch],
    modules: Sequence[str],
) -> ForkedRun | None:
    """Run `script` in its folder, in a fork of an interpreter with `modules`; None if this is not possible."""
    if sys.platform != "linux":
        return None
    request = {"script": str(script), "arguments": arguments, "environment": environment, "patches": patches}
    message = json.dumps(request).encode("utf-8", "surrogateescape")
    pipes = [os.pipe() for _ in range(3)]
    try:
        with _request_lock:  # the replies come in the order of the requests
            server = _server(environment, tuple(modules))
            socket.send_fds(server, [message], [write for _, write in pipes])
            pid = int(server.recv(64))
    except (OSError, ValueError):  # the server has ended, or the request is too large for one message
        for read, _ in pipes:
            os.close(read)
        return None
    finally:
        for _, write in pipes:
            os.close(write)
    return ForkedRun(pid, *(read for read, _ in pipes))


def _server(environment: dict[str, str], modules: tuple[str, ...]) -> socket.socket:
    """The channel to the server with these modules, which is started on first use."""
    key = (environment["PYTHONPATH"], *modules)
    if key not in _servers:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", "workshop.checking.fork_server", str(theirs.fileno()), *modules],
                env=environment,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        _servers[key] = process, ours
    return _servers[key][1]


def serve(channel: socket.socket, modules: Sequence[str]) -> None:
    """Import the modules, then fork for each request until the channel is closed."""
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception:  # the script reports it when it imports the module itself
            pass
    gc.freeze()  # garbage collection in a fork would write to, and so copy, the memory of all imported modules
    # The server does not wait for its children. A script may wait for its own, so each fork restores the default.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, descriptors, _, _ = socket.recv_fds(channel, MESSAGE_LIMIT, 3)
        if not message:
            return
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _handle_request(channel, json.loads(message), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _handle_request(channel: socket.socket, request: dict[str, Any], stdout: int, stderr: int, status: int) -> NoReturn:
    """In a fork of the server: fork again for the script, send its process id, wait for it, write its exit code."""
    run_script.end_with_parent()
    pid = os.fork()
    if pid:
        os.close(stdout)
        os.close(stderr)
        channel.send(str(pid).encode())
        channel.close()
        _, wait_status = os.waitpid(pid, 0)
        os.write(status, str(os.waitstatus_to_exitcode(wait_status)).encode())
        os._exit(0)
    os.setsid()
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    for descriptor in (stdout, stderr, status):
        os.close(descriptor)
    channel.close()
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(os.path.dirname(request["script"]))
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()  # otherwise every fork would continue from the server's random state
    _exit(_exit_code(request["patches"], request["script"], request["arguments"]))


def _exit_code(patches: Sequence[Patch], script: str, arguments: Sequence[str]) -> int:
    """Run the patches and the script; return the exit code that an interpreter would end with."""
    try:
        run_script.run(patches, script, arguments)
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return error.code or 0
        print(error.code, file=sys.stderr)
        return 1
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    return 0


def _exit(code: int) -> NoReturn:
    """End as an interpreter does, but without tearing down the modules that the server has imported.

    In a fork that would copy all of their memory, which takes longer than a training of one epoch.
    """
    # The interpreter calls this at its end to wait for threads. It is private, so typeshed does not list it.
    threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]
    atexit._run_exitfuncs()
    # Flush files that are still open: text files first, since they write to a buffer of bytes.
    unclosed = [thing for thing in gc.get_objects() if issubclass(type(thing), FILES)]
    for file in [sys.stdout, sys.stderr, *sorted(unclosed, key=lambda file: not issubclass(type(file), FILES[0]))]:
        try:
            file.flush()
        except (AttributeError, OSError, ValueError):  # closed, or on a full disk
            pass
    os._exit(code & 0xFF)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:])
