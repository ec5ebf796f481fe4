"""The exception of this package: a problem with the files of a workspace that the reader of the message can correct."""

from __future__ import annotations

from functools import partial

LONGEST_PART = 1000  # characters; nobody reads a list of ten thousand features


class WorkspaceError(Exception):
    """A manifest or lock is missing, cannot be read, or does not contain what was needed.

    looked_at: the file, or the table and key. expected, found: what should be there and what is. next_step: the
    command to type, or the edit to make.
    """

    def __init__(self, *, looked_at: object, expected: str, found: str, next_step: str) -> None:
        self.looked_at = short(str(looked_at))
        self.expected = expected = short(expected)
        self.found = found = short(found)
        self.next_step = next_step
        super().__init__(
            f"looked at: {self.looked_at}\nexpected:  {expected}\nfound:     {found}\nnext:      {next_step}"
        )

    def __reduce__(self):
        return partial(type(self), **self.__dict__), ()  # keyword arguments survive the way back from a worker process


def short(text: str) -> str:
    """The text on one line, cut in the middle if it is very long."""
    if len(text) > LONGEST_PART:
        text = f"{text[: LONGEST_PART // 2]} ... {text[-LONGEST_PART // 2 :]}"
    return " ".join(text.splitlines())
