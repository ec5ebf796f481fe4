"""Counts how often Python calls a network of Flax: in a compiled step only while it is compiled, else at every step."""

import atexit
from pathlib import Path


def install(file: str) -> None:
    """Count the calls of `Module.apply`, and write their number to `file` when the interpreter ends.

    Without Flax the number is 0, and the script itself reports the missing package.
    """
    passes = 0

    def write_passes() -> None:
        Path(file).write_text(str(passes))

    atexit.register(write_passes)
    try:
        from flax.linen import Module
    except ModuleNotFoundError:
        return
    apply = Module.apply

    def counted(self, *arguments, **named):
        nonlocal passes
        passes += 1
        return apply(self, *arguments, **named)

    Module.apply = counted
