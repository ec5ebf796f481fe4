"""TOML as Pixi reads it, and small functions that take one value of a table and check its type.

Pixi's TOML reader accepts the line breaks and trailing commas of TOML 1.1, and no dates. tomli (2.4 or newer) reads
TOML 1.1. If Python's tomllib, which is older, refuses a text, the manifest gets a note: other tools will refuse it too.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import date, time
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import tomli

from pixi_workspace import files
from pixi_workspace.errors import WorkspaceError

T = TypeVar("T")
DEEPEST_NESTING = 64  # the deepest table that Pixi knows is the eighth inside another one
MOST_COMPARED, LONGEST_COMPARED = 1000, 100  # names, and characters of one, when the nearest name is looked for
MOST_VALUES = 50_000  # in one file; the largest public manifests have a tenth of this
COMPARED_SIZE = 2**20  # characters; the second TOML reader, which only finds a note, takes seconds for more
NOTE_1_1 = (
    "the manifest uses TOML 1.1 (a line break or a trailing comma inside {{ }}, or \\e, \\x in a string): Pixi reads"
    " it, other TOML readers refuse it ({reason})"
)


class ManifestError(WorkspaceError):
    """What Pixi refuses in a manifest."""


class PixiTooOld(ManifestError):
    """`requires-pixi` is not met by the Pixi version that this agrees with."""


def problem(*, where: object, expected: str, found: str, next_step: str = "") -> ManifestError:
    """A ManifestError; `where` names the table and key, as in `[feature.cpu] platforms`."""
    return ManifestError(
        looked_at=where, expected=expected, found=found, next_step=next_step or f"correct {where}, then `pixi lock`"
    )


def parse(path: Path) -> tuple[dict[str, Any], str, list[str]]:
    """The tables of a TOML file, its text, and notes about it. Raises ManifestError with line and column."""
    try:
        text = files.read_text(path)
    except UnicodeDecodeError as error:
        raise problem(where=path, expected="a text file in UTF-8", found=f"byte {error.start} is not UTF-8") from error
    except OSError as error:
        raise problem(where=path, expected="a file that can be read", found=str(error.strerror)) from error
    body = text.removeprefix("\ufeff")  # Pixi eats the mark too, but only after it looked for its tables
    try:
        tables = tomli.loads(body)
    except (tomli.TOMLDecodeError, ValueError, RecursionError) as error:
        found = _in_words(str(error), body) or "tables nested too deeply"
        raise problem(
            where=path, expected="valid TOML", found=found, next_step=f"correct that line of {path.name}"
        ) from error
    _check_values(tables, path)
    try:
        if len(body) < COMPARED_SIZE:
            tomllib.loads(body)
    except ValueError as error:
        return tables, text, [NOTE_1_1.format(reason=error)]
    return tables, text, []


def _in_words(message: str, body: str) -> str:
    """tomli's message; for a key or a table that is there twice, in words that name it."""
    place = re.search(r"\(at line (\d+), column \d+\)", message)
    if place is None:
        return message
    lines = body.splitlines()
    line = lines[int(place[1]) - 1] if int(place[1]) <= len(lines) else ""
    if message.startswith("Cannot overwrite a value"):
        return f"{line.partition('=')[0].strip() or 'a key'} is there twice {place[0]}"
    if message.startswith("Cannot declare"):
        return f"the table {line.split('#')[0].strip()} is there twice {place[0]}"
    return message


def _check_values(tables: dict[str, Any], path: Path) -> None:
    """Refuse dates, integers of more than 64 bits, and tables that are nested too deeply, as Pixi does."""
    level: list[tuple[Any, str]] = [(tables, str(path))]
    count = 0
    for _ in range(DEEPEST_NESTING):
        below = []
        count += len(level)
        if count > MOST_VALUES:
            raise problem(where=path, expected=f"at most {MOST_VALUES:,} values", found="more")
        for value, where in level:
            if isinstance(value, dict):
                below += [(inner, f"{where} {key}") for key, inner in value.items()]
            elif isinstance(value, list):
                below += [(inner, where) for inner in value]
            elif isinstance(value, (date, time)):
                expected = "a string: Pixi's TOML reader accepts no dates"
                raise problem(where=where, expected=expected, found=f"{value} without quotes")
            elif isinstance(value, int) and not -(2**63) <= value < 2**63:
                raise problem(where=where, expected="an integer of 64 bits", found="a larger one")
        if not below:
            return
        level = below
    raise problem(where=path, expected=f"at most {DEEPEST_NESTING} tables inside one another", found="more")


# Where a manifest requires a later Pixi, the keys that are unknown here are collected instead of refused.
_unknown_keys: ContextVar[list[str] | None] = ContextVar("unknown_keys", default=None)


@contextmanager
def unknown_keys_allowed() -> Iterator[list[str]]:
    """Collect unknown keys instead of refusing them, as `[workspace] key`."""
    found: list[str] = []
    token = _unknown_keys.set(found)
    try:
        yield found
    finally:
        _unknown_keys.reset(token)


def check_keys(table: dict[str, Any], allowed: str, where: str, meant: str = "") -> None:
    """Raise ManifestError for a key that Pixi does not know, and name the nearest known one.

    allowed: names. meant: what to suggest instead of a known key, such as a table.
    """
    known = allowed.split()
    collected = _unknown_keys.get()
    for key in table:
        if key not in known:
            if collected is not None:
                collected.append(f"{where} {key}")
                continue
            suggestion = f"; did you mean {meant}?" if meant else nearest(key, known)
            found = f"the unknown key '{key}'{suggestion}"
            raise problem(where=where, expected="one of " + ", ".join(known), found=found)


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or nothing."""
    candidates = list(known)[:MOST_COMPARED] if len(name) < LONGEST_COMPARED else []
    near = difflib.get_close_matches(name, candidates, n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else ""


def take(table: dict[str, Any], key: str, kind: type[T], where: str) -> T | None:
    """The value of a key, or None if it is missing. Raises ManifestError if it is not of `kind`."""
    value = table.get(key)
    if value is None:
        return None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        words = {dict: "a table", list: "an array", str: "a string", bool: "true or false", int: "an integer"}
        raise problem(where=f"{where} {key}", expected=words[kind], found=f"{value!r}")
    return value


def take_table(table: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    return take(table, key, dict, where) or {}


def take_strings(table: dict[str, Any], key: str, where: str) -> list[str] | None:
    """An array of strings, or None where the key is missing."""
    value = take(table, key, list, where)
    if value is not None and not all(isinstance(v, str) for v in value):
        raise problem(where=f"{where} {key}", expected="an array of strings", found=f"{value!r}")
    return value


def take_choice(table: dict[str, Any], key: str, choices: tuple[str, ...], where: str) -> str | None:
    value = take(table, key, str, where)
    if value is not None and value not in choices:
        raise problem(where=f"{where} {key}", expected="one of " + ", ".join(choices), found=f"'{value}'")
    return value


def take_url(table: dict[str, Any], key: str, where: str) -> str | None:
    value = take(table, key, str, where)
    if value is not None and not is_url(value):
        raise problem(where=f"{where} {key}", expected="an absolute URL", found=f"'{value}'")
    return value


def is_url(text: str) -> bool:
    try:
        urlsplit(text)
    except ValueError:  # http://[
        return False
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", text) is not None and " " not in text
