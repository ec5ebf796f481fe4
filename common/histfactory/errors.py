"""The only exception of this package: a problem with the input that the user can correct."""

from __future__ import annotations

from functools import partial


class HistFactoryError(Exception):
    """A workspace or patch set cannot be read, violates pyhf's schema, or does not define a likelihood.

    looked_at: the file, and the path inside it. expected, found: what should be there, and what is there. next_step:
    the command to type, or the correction to make.
    """

    def __init__(self, *, looked_at: object, expected: str, found: str, next_step: str) -> None:
        self.looked_at = str(looked_at)
        self.expected = expected
        self.found = found
        self.next_step = next_step
        super().__init__(
            f"looked at: {self.looked_at}\nexpected:  {expected}\nfound:     {found}\nnext:      {next_step}"
        )

    def __reduce__(self):
        return partial(type(self), **self.__dict__), ()  # so that a worker process can raise it: pickle needs keywords
