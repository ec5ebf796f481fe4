"""Command lines of Python, in forks of an interpreter that has imported a framework already (Linux).

Most tests of a script look at one message or at one epoch, and importing a framework takes longer than either. The
interpreters are those of the checks (`workshop.checking.fork_server`); each process of pytest keeps one for each framework.
"""

from __future__ import annotations

import io
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from workshop.checking import fork_server, preload
from workshop.checking.patches import run_script
from workshop.support import timeouts

# For the interpreter that is forked: one thread, and texts and files as on every system.
SETTLED = {"OMP_NUM_THREADS": "1", "PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1"}
# These are read while a framework is imported, which has been done.
READ_BY_IMPORTS = ("JAX_", "OMP_", "PYTHON", "XLA_")

JAX_SCRIPT = Path(__file__).resolve().parents[1] / "exercise-3-jax-cu118/solution/train.py"
TORCH_SCRIPT = JAX_SCRIPT.parents[2] / "exercise-2-pytorch-cu12/solution/train.py"


class Process:
    """A process that runs, with the parts of `subprocess.Popen` that tests use; stdout and stderr are texts."""

    def __init__(self, forked: fork_server.SupervisedRun) -> None:
        self._forked, self.pid = forked, forked.pid
        self.stdout, self.stderr = (io.TextIOWrapper(pipe, "utf-8") for pipe in (forked.stdout, forked.stderr))

    @property
    def returncode(self) -> int | None:
        return self._forked.poll()

    def poll(self) -> int | None:
        return self._forked.poll()

    def send_signal(self, number: int) -> None:
        if self._forked.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        """Wait for the end; what is left to read of stdout and stderr. Raises TimeoutExpired, and ends the process."""
        late = threading.Timer(timeout, timeouts.kill_group, [self.pid])
        texts: list[str] = []
        reader = threading.Thread(target=lambda: texts.append(self.stderr.read()))
        late.start(), reader.start()
        out = self.stdout.read()
        reader.join()
        while self._forked.poll() is None and late.is_alive():
            time.sleep(0.002)
        if not late.is_alive():
            raise subprocess.TimeoutExpired(str(self.pid), timeout)
        late.cancel()
        return out, texts[0]


def is_read_by_imports(variable: str) -> bool:
    """Whether a change of the variable would come too late for a fork."""
    return variable.startswith(READ_BY_IMPORTS)


def start(words: list[str], cwd: Path, environment: dict[str, str]) -> Process | subprocess.Popen[str]:
    """Start `python WORDS...` in a fork, or in an interpreter of its own where there are no forks.

    words: a script or `-m MODULE` or `-c TEXT`, and arguments.
    """
    modules = preload.modules_for(JAX_SCRIPT if _framework_of(words) == "jax" else TORCH_SCRIPT)
    if fork := fork_server.fork(Path(__file__), [str(cwd), *words], environment, (), modules):
        return Process(fork)
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, *words], cwd=cwd, env=environment, text=True, **pipes)


def run(words: list[str], cwd: Path, environment: dict[str, str], timeout: float) -> subprocess.CompletedProcess[str]:
    """`python WORDS...` when it has ended."""
    process = start(words, cwd, environment)
    out, err = process.communicate(timeout=timeout)
    return subprocess.CompletedProcess([sys.executable, *words], process.returncode, out, err)


def start_two(words: list[str], cwd: Path, environment: dict[str, str]) -> list[Process | subprocess.Popen[str]]:
    """Start `python WORDS...` in two processes of one group, as torchrun does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    group |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    return [start(words, cwd, environment | group | {"RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(2)]


def run_two(words: list[str], cwd: Path, environment: dict[str, str]) -> list[subprocess.CompletedProcess[str]]:
    """`start_two` when both have ended; when the first fails, so does the other."""
    processes = start_two(words, cwd, environment)
    with ThreadPoolExecutor(2) as pool:
        texts = [pool.submit(process.communicate) for process in processes]
        texts[0].result()
        if processes[0].returncode:
            processes[1].kill()  # it may wait for the first
        printed = [text.result() for text in texts]  # which waits for the end
    return [
        subprocess.CompletedProcess([sys.executable, *words], process.returncode, *text)
        for process, text in zip(processes, printed, strict=True)
    ]


def _framework_of(words: list[str]) -> str:
    """jax where a text or a script imports that alone; torch takes longer to import."""
    texts = list(_texts(words))
    imports = {
        name for name in ("jax", "torch") if any(re.search(rf"(?m)^\s*(import|from) {name}\b", t) for t in texts)
    }
    return "jax" if imports == {"jax"} else "torch"


def _texts(words: list[str]) -> Iterator[str]:
    """The words, and what is in those that name a script."""
    for word in words:
        yield word
        if word.endswith(".py") and os.path.isfile(word):
            yield Path(word).read_text(encoding="utf-8")


def main(cwd: str, first: str, *words: str) -> None:
    """In the fork: what `python FIRST WORDS...` does in the folder `cwd`."""
    os.chdir(cwd)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has what it starts in the background ignore it
    if first == "-u":
        first, *words = words
    if first == "-m":
        sys.path[0], sys.argv = cwd, list(words)
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.path[0], sys.argv = "", ["-c", *words[1:]]
        exec(compile(words[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        run_script.run((), first, words)


if __name__ == "__main__":
    main(*sys.argv[1:])
