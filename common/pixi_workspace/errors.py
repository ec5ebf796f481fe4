"""The exception of this package: a problem with the files of a workspace that the reader of the message can correct."""

from __future__ import annotations

from functools import partial


class WorkspaceError(Exception):
    """A manifest or lock is missing, cannot be read, or does not contain what was needed.

    looked_at: the file, or the table and key. expected, found: what should be there and what is. next_step: the
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
