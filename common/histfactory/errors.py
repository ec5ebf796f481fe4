"""The one exception of this package: a problem with the input that the person at the keyboard can mend."""

from __future__ import annotations

from functools import partial


class HistFactoryError(Exception):
    """A workspace or patch set cannot be read, does not follow pyhf's schema, or has no likelihood to fit.

    looked_at: the file, and the path inside it. expected, found: what should be there and what is. next_step: the
    command to type, or the edit to make.
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
        return partial(type(self), **self.__dict__), ()  # keyword arguments survive the way back from a worker process
