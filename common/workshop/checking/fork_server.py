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
import contextlib
import gc
import importlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from workshop.checking.patches import FOLDER, Patch, run_script, supervise

FILES = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)
MESSAGE_LIMIT = 2**20  # bytes of one request: environment, arguments, patches
SERVER_SECONDS = 120  # for importing the frameworks, and then for an answer; a server that takes longer is not used
END_SECONDS = 15  # for the supervisor to end everything that a script started

_servers: dict[tuple[str, ...], tuple[subprocess.Popen[bytes], socket.socket]] = {}
_request_lock = threading.Lock()


class SupervisedRun:
    """A run with a supervisor (`patches/supervise.py`), and with the part of `subprocess.Popen`'s interface that is
    needed to read and wait.

    pid: of the script. supervisor: of the process that waits for it; `child` if this process started it.
    """

    def __init__(
        self, pid: int, supervisor: int, pipes: Sequence[int], child: subprocess.Popen[bytes] | None = None
    ) -> None:
        self.pid, self.supervisor, self._child = pid, supervisor, child
        self.stdout, self.stderr, self._status = (open(pipe, "rb") for pipe in pipes)
        os.set_blocking(self._status.fileno(), False)
        self._code: int | None = None

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs, or while anything that it started does."""
        if self._code is None and not self._status.closed:
            self._signal(signal.SIGCONT)  # the script may have stopped its supervisor
            if (text := self._status.read(64)) is not None:
                self._code = int(text) if text else -signal.SIGKILL  # empty: the supervisor was killed
        return self._code

    def end(self) -> None:
        """End the script and everything that it started, unless that has happened already."""
        deadline = time.monotonic() + END_SECONDS
        if self.poll() is None:
            self._signal(signal.SIGTERM)
        while self.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        if self._code is None:
            self._signal(signal.SIGKILL)

    def close(self) -> None:
        """Close the pipe of the exit code, at the end. The readers of the other two pipes close those."""
        self._status.close()
        if self._child:
            self._child.wait()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(OSError):
            os.kill(self.supervisor, number)


def start(command: Sequence[str], folder: Path, environment: dict[str, str], root: Path) -> SupervisedRun:
    """Run a command in a folder, in a process of its own with a supervisor. root: the folder to remove if this process
    is killed.
    """
    pipes = [os.pipe() for _ in range(3)]
    stdout, stderr, status = (write for _, write in pipes)
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(FOLDER / "supervise.py"), str(status), str(root), *command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            pass_fds=[status],
            start_new_session=True,  # Ctrl-C is for this process
        )
    finally:
        for _, write in pipes:
            os.close(write)
    return SupervisedRun(process.pid, process.pid, [read for read, _ in pipes], process)


def fork(
    script: Path,
    arguments: Sequence[str],
    environment: dict[str, str],
    patches: Sequence[Patch],
    modules: Sequence[str],
    root: Path | None = None,
) -> SupervisedRun | None:
    """Run `script` in its folder, in a fork of an interpreter with `modules`; None if this is not possible.

    root: a folder to remove if this process is killed.
    """
    if sys.platform != "linux":
        return None
    request = {"script": str(script), "arguments": arguments, "environment": environment, "patches": patches}
    request["root"] = str(root or "")
    message = json.dumps(request).encode("utf-8", "surrogateescape")
    pipes = [os.pipe() for _ in range(3)]
    try:
        with _request_lock:  # the replies come in the order of the requests
            process, channel = _server(environment, tuple(modules))
            socket.send_fds(channel, [message], [write for _, write in pipes])
            pid, supervisor = map(int, _reply(process, channel).split())
    except (OSError, ValueError):  # the server has ended, or the request is too large for one message
        for read, _ in pipes:
            os.close(read)
        return None
    finally:
        for _, write in pipes:
            os.close(write)
    return SupervisedRun(pid, supervisor, [read for read, _ in pipes])


def _reply(process: subprocess.Popen[bytes], channel: socket.socket) -> bytes:
    """The server's answer. Kills a server that does not answer; the channel then stays closed."""
    deadline = time.monotonic() + SERVER_SECONDS
    while time.monotonic() < deadline:
        process.send_signal(signal.SIGCONT)  # a script may have stopped it
        try:
            return channel.recv(64)
        except TimeoutError:
            continue
    process.kill()
    raise TimeoutError


def _server(environment: dict[str, str], modules: tuple[str, ...]) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """The server with these modules, which is started on first use, and the channel to it."""
    key = (environment["PYTHONPATH"], *modules)
    if key not in _servers:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", "workshop.checking.fork_server", str(theirs.fileno()), *modules],
                # MPLBACKEND may be wrong, and then Matplotlib cannot be imported.
                env={key: value for key, value in environment.items() if key != "MPLBACKEND"},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        ours.settimeout(1)
        _servers[key] = process, ours
    return _servers[key]


@atexit.register
def _end_servers() -> None:
    for process, channel in _servers.values():
        channel.close()
        process.kill()
        process.wait()


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
            os._exit(0)  # at once, since a framework's threads can delay the end of an interpreter
        if os.fork() == 0:
            _handle_request(channel, json.loads(message), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _handle_request(channel: socket.socket, request: dict[str, Any], stdout: int, stderr: int, status: int) -> NoReturn:
    """In a fork of the server, which becomes the supervisor of the script."""

    def report(pid: int) -> None:
        os.close(stdout)
        os.close(stderr)
        with contextlib.suppress(OSError):  # the check was killed: the supervisor notices that next
            channel.send(f"{pid} {os.getpid()}".encode())
        channel.close()

    os.setsid()  # a signal to the server's group is not for the supervisor
    supervise.supervise(lambda: _run(channel, request, stdout, stderr), status, request["root"], report)


def _run(channel: socket.socket, request: dict[str, Any], stdout: int, stderr: int) -> NoReturn:
    """In the process of the script."""
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    for descriptor in (stdout, stderr):
        os.close(descriptor)
    channel.close()
    tempfile.tempdir = None  # the server may have looked it up
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
