"""Messages for people: each has four lines, and no traceback."""

from __future__ import annotations

import argparse
import errno
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeGuard

from workshop import shell
from workshop.support.terminal import one_line, printable_output
from workshop.support.text import closest_match

LONGEST_PART = 1000  # characters of one part of a message


class WorkshopError(Exception):
    """A problem that the user can fix.

    Every message has the same four parts: what was looked at, what was expected there, what was found, and the next
    command to type.
    """

    def __init__(self, *, looked_at: object, expected: str, found: str, next_step: str) -> None:
        self.looked_at = str(looked_at)
        self.expected = expected
        self.found = found
        self.next_step = next_step
        super().__init__(message_of(self))

    def __reduce__(self):
        # Makes the error picklable, for worker processes.
        return partial(type(self), **self.__dict__), ()


class FourParts(Protocol):
    """The parts of a message for people. WorkshopError has them, and so do the errors of the libraries."""

    @property
    def looked_at(self) -> str: ...
    @property
    def expected(self) -> str: ...
    @property
    def found(self) -> str: ...
    @property
    def next_step(self) -> str: ...


def has_four_parts(error: object) -> TypeGuard[FourParts]:
    """Whether an error has the four parts of a message for people."""
    return all(hasattr(error, part) for part in ("looked_at", "expected", "found", "next_step"))


def message_of(error: FourParts) -> str:
    """The four parts of an error, one on each line."""
    return (
        f"looked at: {_short(error.looked_at)}\n"
        f"expected:  {_short(error.expected)}\n"
        f"found:     {_short(error.found)}\n"
        f"next:      {_short(error.next_step, 4 * LONGEST_PART)}"
    )


def _short(text: str, longest: int = LONGEST_PART) -> str:
    """The text on one line, cut in the middle if it is very long."""
    if len(text) > longest:
        text = f"{text[: longest // 2]} ... {text[-longest // 2 :]}"
    return one_line(text)


class Parser(argparse.ArgumentParser):
    """argparse with messages of four parts. Positional arguments may follow options.

    prog: name of the command; None for a script. Options of other programs must be removed before parsing.
    """

    def __init__(self, prog: str | None = None, **settings: Any) -> None:
        self.arguments: list[argparse.Action] = []
        self.words = sys.argv[1:]
        self.is_script = prog is None
        super().__init__(prog=prog, **settings)

    def add_argument(self, *names: Any, **settings: Any) -> argparse.Action:
        """As in argparse; also keeps the argument in `arguments`."""
        self.arguments.append(super().add_argument(*names, **settings))
        return self.arguments[-1]

    def parse_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> Any:
        """As in argparse, but positional arguments may follow options. Raises WorkshopError for invalid arguments."""
        self.words = sys.argv[1:] if args is None else list(args)
        return self.parse_intermixed_args(self.words, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise a WorkshopError. Its next step is the command with the mistyped word corrected, or the help."""
        words = self._corrected() or ["--help"]
        script = shell.script(Path(sys.argv[0]).resolve(), *words)
        raise WorkshopError(
            looked_at=f"the command line of {self.prog}",
            expected=" ".join(self.format_usage().removeprefix("usage:").split()),
            found=f"{message} (typed: {' '.join([self.prog, *self.words])})",
            next_step=script if self.is_script else shlex.join([*self.prog.split(), *words]),
        )

    def _corrected(self) -> list[str] | None:
        """The arguments with the first mistyped option or choice corrected; None if there is none."""
        options = [name for argument in self.arguments for name in argument.option_strings]
        choices = [choice for argument in self.arguments for choice in argument.choices or ()]
        for index, word in enumerate(self.words):
            name, sign, value = word.partition("=")
            known = options if word.startswith("--") else [choice for choice in choices if isinstance(choice, str)]
            if name not in known and (near := closest_match(name, known)):
                return [*self.words[:index], near + sign + value, *self.words[index + 1 :]]
        return None


@contextmanager
def errors_as_messages(wording: Callable[[str], str] = str) -> Iterator[None]:
    """Turn the errors of a command into one message on stderr and an exit code: 1, or 130 for Ctrl-C.

    wording: changes the message before it is printed.

    Unexpected errors keep their traceback: they are bugs of ours, and a traceback makes them easy to report.
    """
    with printable_output():
        try:
            yield
        except KeyboardInterrupt:
            if _is_first_process():
                print("interrupted", file=sys.stderr)
            sys.exit(130)
        except BrokenPipeError:
            # The reader of the pipe (such as `head`) has ended. With stderr closed, Python prints no error at exit.
            sys.stderr.close()
            sys.exit(1)
        except Exception as error:
            message = error if has_four_parts(error) else _as_message(error)
            if message is None:
                raise
            _print_once(message, wording)
            sys.exit(1)


def _as_message(error: Exception) -> WorkshopError | None:
    """The message for a missing module, a system error or a full GPU; None for any other error."""
    if isinstance(error, ModuleNotFoundError):
        return _missing_module(error)
    if isinstance(error, OSError):
        return _system_error(error)
    if isinstance(error, RuntimeError) and "home directory" in str(error):  # of Path.home() and expanduser()
        return WorkshopError(
            looked_at="the variable HOME, and the system's list of users",
            expected="a home folder, for caches and settings",
            found=str(error),
            next_step="export HOME=DIR, with a folder in which you can write",
        )
    # Compared by name, so that neither torch nor jax needs to be imported here.
    kind = type(error).__name__
    if kind == "OutOfMemoryError":
        return _full_gpu_error(error, of_jax=False)
    if kind in ("XlaRuntimeError", "JaxRuntimeError") and reports_full_gpu(str(error)):
        return _full_gpu_error(error, of_jax=True)
    return None


def _is_first_process() -> bool:
    """Whether this is the first process of torchrun on this machine: only that one prints messages."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def _print_once(error: FourParts, wording: Callable[[str], str]) -> None:
    """Print the message. Other processes of torchrun, which usually have the same problem, print one line each."""
    if _is_first_process():
        print(wording(message_of(error)), file=sys.stderr)
    else:
        # torchrun ends all processes as soon as one has ended: give the first one time to print its message.
        time.sleep(2)
        print(f"process {os.environ.get('RANK', '')} stops: {error.looked_at}: {error.found}", file=sys.stderr)


def reports_full_gpu(report: str) -> bool:
    """Whether JAX reports that a GPU has no memory left. Each of its libraries has its own words for this."""
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


def _full_gpu_error(error: Exception, of_jax: bool) -> WorkshopError:
    advice = "`nvidia-smi` shows who uses it; wait, choose another GPU (CUDA_VISIBLE_DEVICES), or use --device cpu"
    if of_jax:
        advice = (
            "if two processes share the GPU, set XLA_PYTHON_CLIENT_PREALLOCATE=false for both (or give each a share with "
            "XLA_PYTHON_CLIENT_MEM_FRACTION=.4); `nvidia-smi` shows which processes use it"
        )
    return WorkshopError(
        looked_at="the memory of the GPU" + (", three quarters of which JAX reserves when it starts" if of_jax else ""),
        expected="enough for the data set, the weights and one batch",
        found=(str(error) or "out of memory").splitlines()[0][:200],
        next_step=advice,
    )


# Packages of conda-forge whose name differs from that of their module.
PACKAGES = {"matplotlib": "matplotlib-base", "sklearn": "scikit-learn", "torch": "pytorch", "yaml": "pyyaml"}


def _missing_module(error: ModuleNotFoundError) -> WorkshopError:
    advice = (
        "with Pixi: name an environment that has it, as in `pixi run -e cpu-jax ...`; "
        f'without: {shell.in_venv("pip")} install -e ".[cpu,test]"'
    )
    manifest = os.environ.get("PIXI_PROJECT_MANIFEST")
    if manifest and Path(manifest).resolve().parent != Path(__file__).resolve().parents[2]:  # another workspace
        module = (error.name or "").partition(".")[0]
        add = shell.in_folder(Path(manifest).parent, f"pixi add {PACKAGES.get(module, module)}")
        advice = f"{add}  # or name another environment of this workspace that has it: pixi run -e NAME ..."
    return WorkshopError(
        looked_at=f"the Python environment in {sys.prefix}",
        expected=f"the package that contains the module {error.name!r}",
        found="no such module in this environment",
        next_step=advice,
    )


def _system_error(error: OSError) -> WorkshopError:
    what = error.filename or "a file of this run"
    advice = {
        errno.ENOSPC: f"free some space (`{shell.free_space()}`), or write to another disk with --output",
        errno.EDQUOT: "free some of your quota, or write to another disk with --output",
        errno.EFBIG: "raise the limit on file sizes (`ulimit -f`), or write elsewhere with --output",
        errno.EACCES: "write to a folder of your own with --output",
        errno.EPERM: "write to a folder of your own with --output",
        errno.EROFS: "write to a folder of your own with --output",
        errno.ENOTDIR: "name another folder with --output",
    }.get(error.errno or 0, "look at the path above, fix it and run the same command again")
    reason = error.strerror or str(error) or type(error).__name__
    return WorkshopError(
        looked_at=what, expected="a file or folder that can be read and written", found=reason, next_step=advice
    )
