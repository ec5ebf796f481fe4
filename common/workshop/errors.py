"""The one kind of message that a person sees: four lines, and nothing of Python's."""

from __future__ import annotations

import argparse
import errno
import os
import platform
import re
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NoReturn

from workshop import shell


class WorkshopError(Exception):
    """A problem that the person at the keyboard can mend.

    Every message has the same four parts, so that a beginner learns to read
    them once: what was looked at, what was expected there, what was found, and
    the next command to type.
    """

    def __init__(self, *, looked_at: object, expected: str, found: str, next_step: str) -> None:
        self.looked_at = str(looked_at)
        self.expected = expected
        self.found = found
        self.next_step = next_step
        super().__init__(message_of(self))

    def __reduce__(self):
        # An error that is raised in a worker process has to survive the way back.
        return partial(type(self), **self.__dict__), ()


def has_four_parts(error: BaseException) -> bool:
    """Whether an error is a message for people: ours, or one of the libraries under `common/`, which know nothing of us."""
    return all(hasattr(error, part) for part in ("looked_at", "expected", "found", "next_step"))


def message_of(error: BaseException) -> str:
    """The four parts of an error, one a line."""
    return (
        f"looked at: {error.looked_at}\n"
        f"expected:  {error.expected}\n"
        f"found:     {error.found}\n"
        f"next:      {error.next_step}"
    )


class Parser(argparse.ArgumentParser):
    """argparse, with its complaints as a message of four lines and exit code 1, as for every other mistake."""

    def error(self, message: str) -> NoReturn:
        words = sys.argv[1:]
        own = self.prog == os.path.basename(sys.argv[0])  # a script, and not one of the commands of `workshop`
        said = f"{message} (typed: {' '.join(words) or 'nothing'})"
        expected = " ".join(self.format_usage().removeprefix("usage:").split())
        meant = self._meant(message, words)
        if own:
            advice = shell.script(Path(sys.argv[0]).resolve(), *(meant or ["--help"]))
        else:
            advice = shlex.join([self.prog.split()[0], *meant]) if meant else f"{self.prog} --help"
        raise WorkshopError(
            looked_at=f"the command line of {self.prog}", expected=expected, found=said, next_step=advice
        )

    def _meant(self, message: str, words: list[str]) -> list[str] | None:
        """The words with the one that argparse does not know put right; None where no known one is like it."""
        if choice := re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message):
            wrong, known = choice[1], re.findall(r"[^\s',]+", choice[2])
        elif option := re.search(r"(?:unrecognized arguments:|what is) (--[^\s=?]+)", message):
            wrong, known = option[1], [*self._option_string_actions]
            if self._subparsers and words and words[0] in (commands := self._subparsers._group_actions[0].choices):
                known = [*commands[words[0]]._option_string_actions]
        else:
            return None
        import difflib

        near = difflib.get_close_matches(wrong, known, n=1, cutoff=0.6)
        at = next((i for i, word in enumerate(words) if word.partition("=")[0] == wrong), None)
        if not near or at is None:
            return None
        return [*words[:at], words[at].replace(wrong, near[0], 1), *words[at + 1 :]]


@contextmanager
def explained() -> Iterator[None]:
    """Turn the problems of a command into one message on stderr and an exit code (1, or 130 for Ctrl-C).

    Wrap the imports of a script and its `main()` in it. Errors that are not foreseen here keep their
    traceback: they are our bugs, and a bug should be easy to report.
    """
    try:
        yield
    except KeyboardInterrupt:
        if _first_process():
            print("interrupted", file=sys.stderr)
        sys.exit(130)
    except ModuleNotFoundError as error:
        _say(_missing(error))
        sys.exit(1)
    except BrokenPipeError:
        # The reader of the pipe (`| head`) went away; a closed stderr keeps Python from complaining at exit.
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        _say(_from_system(error))
        sys.exit(1)
    except Exception as error:
        if has_four_parts(error):
            _say(error)
            sys.exit(1)
        # By name, since neither torch nor jax is imported for those who do not use it.
        kind = type(error).__name__
        if kind == "OutOfMemoryError":
            _say(_out_of_memory(error))
        elif kind in ("XlaRuntimeError", "JaxRuntimeError") and says_gpu_is_full(str(error)):
            _say(_taken_by_xla(error))
        else:
            raise
        sys.exit(1)


def _first_process() -> bool:
    """Whether this process speaks for the others that torchrun started on this machine."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def _say(error: BaseException) -> None:
    """The message, once: the other processes of torchrun, which mostly found the same, add a line each."""
    if _first_process():
        print(message_of(error), file=sys.stderr)
    else:
        # torchrun ends all processes when one has ended: give the first one the time to say it in full.
        time.sleep(2)
        print(f"process {os.environ.get('RANK', '')} stops: {error.looked_at}: {error.found}", file=sys.stderr)


def _out_of_memory(error: RuntimeError) -> WorkshopError:
    return WorkshopError(
        looked_at="the memory of the GPU",
        expected="room for data set, weights and one batch",
        found=str(error).splitlines()[0] if str(error) else "out of memory",
        next_step="`nvidia-smi` shows who uses it; wait, choose another one with CUDA_VISIBLE_DEVICES, or --device cpu",
    )


def says_gpu_is_full(report: str) -> bool:
    """Whether JAX says that a GPU's memory is taken; a library that finds none left says so in words of its own."""
    words = (
        "RESOURCE_EXHAUSTED",
        "OUT_OF_MEMORY",
        "out of memory",
        "CUDNN_STATUS_NOT_INITIALIZED",
        "CUDNN_STATUS_INTERNAL_ERROR",
        "CUDNN_STATUS_ALLOC_FAILED",
        "CUBLAS_STATUS_ALLOC_FAILED",
        "CUBLAS_STATUS_NOT_INITIALIZED",
    )
    return any(word in report for word in words)


def _taken_by_xla(error: RuntimeError) -> WorkshopError:
    return WorkshopError(
        looked_at="the memory of the GPU, of which JAX takes three quarters when it starts",
        expected="room for data set, weights and one batch",
        found=str(error).splitlines()[0][:200],
        next_step="where two processes share a GPU, set XLA_PYTHON_CLIENT_PREALLOCATE=false for both (or a share for "
        "each, XLA_PYTHON_CLIENT_MEM_FRACTION=.4); `nvidia-smi` shows who uses it",
    )


def _missing(error: ModuleNotFoundError) -> WorkshopError:
    looked_at = f"the Python environment in {sys.prefix}"
    expected = f"the package that brings the module {error.name!r}"
    if error.name in ("jax", "jaxlib", "flax", "optax") and (where := _without_jax()):
        advice = 'without Pixi PyPI has one: .venv/bin/pip install -e ".[cpu,test]"; or run it on x86-64 Linux or a Mac'
        return WorkshopError(
            looked_at=looked_at,
            expected=expected,
            found=f"no such module: no environment holds JAX on {where}",
            next_step=advice,
        )
    return WorkshopError(
        looked_at=looked_at,
        expected=expected,
        found="no such module: this environment was made without it",
        next_step="with Pixi: name an environment that has it, as in `pixi run -e cpu-jax ...`; "
        'without: .venv/bin/pip install -e ".[cpu,test]"',
    )


def _without_jax() -> str | None:
    """The platform, where conda-forge has no jaxlib (Windows), or no flax that the lock could hold (Linux on ARM)."""
    if sys.platform == "win32":
        return "Windows (conda-forge builds no jaxlib for win-64)"
    if sys.platform == "linux" and platform.machine() == "aarch64":
        return "Linux on ARM (no flax is locked for linux-aarch64)"
    return None


def _from_system(error: OSError) -> WorkshopError:
    what = error.filename or "a file of this run"
    advice = {
        errno.ENOSPC: "free some space (`df -h`), or write to another disk with --output",
        errno.EDQUOT: "free some of your quota, or write to another disk with --output",
        errno.EFBIG: "raise the limit on file sizes (`ulimit -f`), or write elsewhere with --output",
        errno.EACCES: "write to a folder of your own with --output",
        errno.EPERM: "write to a folder of your own with --output",
        errno.EROFS: "write to a folder of your own with --output",
        errno.ENOTDIR: "name another folder with --output",
    }.get(error.errno or 0, "look at the path above, mend it and run the same command again")
    reason = error.strerror or str(error) or type(error).__name__
    return WorkshopError(
        looked_at=what, expected="a file or folder that can be read and written", found=reason, next_step=advice
    )
