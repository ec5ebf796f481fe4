"""Records how many arrays the compiled functions of a script donate: their memory is reused for the results."""

from __future__ import annotations

import atexit
import inspect
from pathlib import Path
from typing import Any


def install(file: str) -> None:
    """Wrap `jax.jit`, and write the largest number of arrays that one call donates to `file` at the end."""
    most = 0
    atexit.register(lambda: Path(file).write_text(str(most)))
    try:
        import jax
    except ModuleNotFoundError:
        return
    jit = jax.jit

    class Donating:
        """A compiled function that donates arguments; everything else is as without this class."""

        def __init__(self, compiled: Any, function: Any, numbers: Any, names: Any) -> None:
            self._compiled, self._function = compiled, function
            self._numbers = {numbers} if isinstance(numbers, int) else set(numbers or ())
            self._names = {names} if isinstance(names, str) else set(names or ())

        def _record(self, arguments: tuple, named: dict) -> None:
            nonlocal most
            donated = [arguments[n] for n in self._numbers if -len(arguments) <= n < len(arguments)]
            try:
                bound = inspect.signature(self._function).bind(*arguments, **named).arguments
            except (TypeError, ValueError):
                bound = named
            donated += [bound[name] for name in self._names if name in bound]
            most = max(most, len(jax.tree_util.tree_leaves(donated)))

        def __call__(self, *arguments: Any, **named: Any) -> Any:
            self._record(arguments, named)
            return self._compiled(*arguments, **named)

        def lower(self, *arguments: Any, **named: Any) -> Any:
            self._record(arguments, named)
            return self._compiled.lower(*arguments, **named)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._compiled, name)

    def recording_jit(*arguments: Any, **named: Any) -> Any:
        compiled = jit(*arguments, **named)
        numbers, names = named.get("donate_argnums"), named.get("donate_argnames")
        if numbers in (None, ()) and names in (None, ()):
            return compiled
        if arguments:
            return Donating(compiled, arguments[0], numbers, names)
        return lambda function: Donating(compiled(function), function, numbers, names)  # `@jax.jit(donate_argnums=0)`

    jax.jit = recording_jit
