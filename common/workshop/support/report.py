"""Output for people: coloured and wrapped on a terminal, plain text when it is piped."""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workshop.support.terminal import printable, unfiltered

COLOURS = {"ok": "green", "note": "yellow", "skip": "yellow", "ODD": "red", "fail": "red"}
STYLES = {"ok": "green", "fail": "bold red", "skip": "yellow"}  # for the status of a check
PIPED_WIDTH = 80  # columns when the output does not go to a terminal


def width() -> int:
    """Columns to fill: those of the terminal, but not so many that lines become hard to read."""
    return min(100, max(40, shutil.get_terminal_size().columns)) if sys.stdout.isatty() else PIPED_WIDTH


def wrap_beside(head: str, text: str, indent: int) -> list[str]:
    """`head`, and beside it `text`, wrapped and indented to column `indent`; below it, if the terminal is too narrow."""
    room = width() - indent
    if room < 20:
        below = textwrap.wrap(text, width() - 4, break_long_words=False, break_on_hyphens=False)
        return [head.rstrip(), *(f"    {line}" for line in below)]
    lines = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]
    head = f"{head} " if len(head) >= max(indent, 1) else head
    return [f"{head:{indent}}{lines[0]}".rstrip(), *(f"{'':{indent}}{line}" for line in lines[1:])]


def print_lines(lines: list[str]) -> None:
    """Print lines. On a terminal, a first word that is in COLOURS gets its colour."""
    try:
        from rich.console import Console
        from rich.text import Text
    except ModuleNotFoundError:  # the doctor also runs where nothing is installed yet
        print("\n".join(lines))
        return
    console = Console(file=unfiltered(sys.stdout), highlight=False, soft_wrap=True)
    for line in map(_encodable, lines):
        parts = re.match(r"( *)(\S*)(.*)", line)
        assert parts is not None  # each of the three may be empty
        before, word, after = parts.groups()
        console.print(Text.assemble(before, (word, COLOURS.get(word, "")), after))


def _encodable(text: str) -> str:
    """Printable text, with `?` for the letters that the terminal's encoding lacks."""
    encoding = sys.stdout.encoding or "ascii"
    return printable(text).encode(encoding, "replace").decode(encoding)


# The beginning of a line, beside which its text is wrapped.
_HEAD = re.compile(
    r" *(?:(ok|fail|skip) +[\d.]+ +|(?:looked at|expected|found|next|hint|hint \d|note): +|\d  \S+ +\d+ of \d+ +)?"
)


@contextmanager
def while_running(line: str, quiet: bool = False) -> Iterator[None]:
    """On a terminal, show a line until the work inside is done."""
    shown = not quiet and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    if shown:
        text = _encodable(line)[: max(20, shutil.get_terminal_size().columns - 5)]
        print(f"{text} ...", end="", flush=True, file=unfiltered(sys.stdout))
    try:
        yield
    finally:
        if shown:
            print("\r\x1b[2K", end="", flush=True, file=unfiltered(sys.stdout))


def print_text(text: str, link: tuple[Path, int] | None = None) -> None:
    """Print text. On a terminal it is coloured, and each line is wrapped beside its head.

    What to do next is bold. If it is a command, it is never wrapped, so that it can be copied. link: a file and a line that
    a terminal can open from the text beside `looked at:`.
    """
    text = _encodable(text)
    if not sys.stdout.isatty():
        print(text, flush=True)
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(file=unfiltered(sys.stdout), highlight=False, soft_wrap=True)
    for line in text.split("\n"):
        if command := re.match(r"(next: +)(?! |edit |make |try )(.*)", line):
            console.print(Text.assemble(command[1], (command[2], "bold")))
            continue
        head = _HEAD.match(line)
        assert head is not None  # a head may be empty
        first, *more = wrap_beside(head[0].rstrip(), line[head.end() :], head.end())
        if line.startswith("next:"):
            console.print(Text.assemble(head[0], (first[head.end() :], "bold")))
            for rest in more:
                console.print(Text(rest, "bold"))
            continue
        word = head[1] or ""
        target = f"link {link[0].absolute().as_uri()}#{link[1]}" if link and line.startswith("looked at:") else ""
        console.print(Text.assemble((word, STYLES.get(word, "")), (first[len(word) :], target)))
        for rest in more:
            console.print(Text(rest))


def mebibytes(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB" if size < 10 * 2**30 else f"{size / 2**30:,.1f} GiB"
