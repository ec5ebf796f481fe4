"""The step to which a faulty line belongs: of a manifest that cannot be read, or of a script that ends with an exception.

The first check that reads a file would otherwise be blamed for every mistake in it.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from workshop.checking.steps import lines
from workshop.support.files import is_safe_file, read_text
from workshop.support.timeouts import failure_reason


@dataclass(frozen=True)
class Part:
    """What a step edits.

    tables: of the manifest, as `feature` or `feature.*.tasks`. functions: at the top of the script. words: parts of an
    error that only this step's lines cause, wherever Python notices it. lines: regular expressions for lines of other
    files, such as a Dockerfile or a script for bash.
    """

    tables: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()


# What bash prints about a line that it cannot read or run.
SHELL_ERROR = re.compile(
    r"([\w.-]+): line (\d+): (?:syntax error|unexpected|\S+: (?:command not found|unbound variable))"
)
NEARBY = 3  # lines: bash notices some mistakes only at the end of a statement


@dataclass(frozen=True)
class Fault:
    """An exception in a script: its line, the function at the top of the script that contains it, and the message."""

    script: str
    line: int
    text: str
    function: str
    reason: str


def owner_of_path(parts: Sequence[tuple[str, Part]], path: tuple[str, ...]) -> str | None:
    """The number of the step that edits a table or key; None if none does. Of several, the most specific counts."""
    best, owner = 0, None
    for number, part in parts:
        for table in part.tables:
            names = table.split(".")
            fits = len(names) <= len(path) and all(map(fnmatchcase, path, names))
            if fits and len(names) > best:
                best, owner = len(names), number
    return owner


def owner_of_fault(parts: Sequence[tuple[str, Part]], fault: Fault) -> str | None:
    """The number of the step that edits the function with the fault; None if none does."""
    by_words = (number for number, part in parts if any(word in fault.reason for word in part.words))
    by_function = (number for number, part in parts if fault.function in part.functions)
    return next(by_words, None) or next(by_function, None)


def owner_of_text(parts: Sequence[tuple[str, Part]], folder: Path, looked_at: str, found: str) -> str | None:
    """The number of the step that edits a line which a message names as `Dockerfile, line 12`, or bash as unreadable."""
    place = re.search(r"([\w.-]+), line (\d+)", looked_at)
    if reported := SHELL_ERROR.search(found):
        place = reported
    if place is None or not is_safe_file(folder / place[1]):
        return None
    text = read_text(folder / place[1]).splitlines()
    last = int(place[2])
    first = max(0, last - (NEARBY if reported else 1))
    for line in reversed(text[first:last]):
        for number, part in parts:
            if any(re.search(pattern, line) for pattern in part.lines):
                return number
    return None


def path_of_manifest_error(looked_at: str, found: str, text: str) -> tuple[tuple[str, ...], int | None]:
    """The table and key that a message about a manifest is about, and its line; empty and None if that is not known."""
    if match := re.search(r"\(at line (\d+)|, line (\d+)", found):
        number = int(match[1] or match[2])
        paths = lines.paths_of(text)
        path = paths[number - 1] if 0 < number <= len(paths) else ()
        if "Unclosed" in found:  # TOML notices it only where something else begins
            number = lines.line_of(text, path) or number
        return path, number
    if "Unclosed" in found and (paths := lines.paths_of(text)):  # at the end of the document
        return paths[-1], lines.line_of(text, paths[-1])
    path = lines.path_in(looked_at)
    if match := re.search(r"unknown key '([^']+)'", found):
        path = (*path, match[1])
    number = lines.line_of(text, path)
    # What was meant belongs to a step, what is misspelt to none.
    if match := re.search(r"did you mean \[([\w.*-]+)\]", found):
        path = lines.parts_of(match[1])
    elif path and (match := re.search(r"did you mean '([\w.-]+)'", found)):
        path = (*path[:-1], match[1])
    return path, number


def fault_of(script: Path, run: subprocess.CompletedProcess[str]) -> Fault | None:
    """The exception that ended a script, at the deepest of its own lines; None if it ended in another way."""
    stderr = run.stderr
    if "Traceback (most recent call last)" not in stderr and "SyntaxError" not in stderr:
        return None
    named = re.findall(rf'File "[^"\n]*{re.escape(script.name)}", line (\d+)', stderr)
    try:
        source = read_text(script).splitlines()
    except OSError:
        return None
    if not named or not 0 < int(named[-1]) <= len(source):
        return None
    number = int(named[-1])
    top = next((line for line in reversed(source[:number]) if line[:1].strip(" \t#)]}")), "")
    named_function = re.match(r"(?:async )?(?:def|class) (\w+)", top)
    function = named_function[1] if named_function else ""
    return Fault(script.name, number, source[number - 1].strip(), function, failure_reason(run))
