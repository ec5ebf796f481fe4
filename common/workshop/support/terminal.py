"""Output without surprises: no control character in a file's name or content reaches the terminal."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

# All control characters except newline and tab; line separators; marks that reverse the direction of text; and lone
# surrogates, which stand for the bytes of a file's name that are not UTF-8.
UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb\ud800-\udfff]"
)


def printable(text: str) -> str:
    """The text with an escape such as `\\u001b` for each unsafe character. JSON stays JSON with the same meaning."""
    return UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def one_line(text: str) -> str:
    """A name or a title, printable and without newlines."""
    return printable(text.replace("\n", "\\n"))


class PrintableStream:
    """A stream whose text is printable, and which replaces letters that its encoding lacks by `?`."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write text as `printable` returns it; return the length of the original."""
        encoding = getattr(self.stream, "encoding", None) or "utf-8"
        self.stream.write(printable(text).encode(encoding, "replace").decode(encoding))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write each line."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def printable_output() -> Iterator[None]:
    """In the block, everything that Python writes to stdout and stderr is printable."""
    _open_closed_streams()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (stream and PrintableStream(unfiltered(stream)) for stream in before)  # type: ignore
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _open_closed_streams() -> None:
    """Send to nowhere what is written to a standard stream that was closed, as in `python train.py >&-`.

    Otherwise the next file that is opened gets its number, and programs that are started write into that file.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))


def unfiltered(stream: TextIO) -> TextIO:
    """The stream itself, for colours and progress bars. Text from outside must pass through `printable` first."""
    return stream.stream if isinstance(stream, PrintableStream) else stream
