"""The line of a file that a finding is about. Where it cannot be found, the first one."""

from __future__ import annotations

import re
from pathlib import Path

from packaging.utils import canonicalize_name

from workshop.support.files import LARGE, read_text


def line_in_message(text: str) -> int | None:
    """The line that a message names: `(at line 3, column 5)`, or `Dockerfile, line 12: RUN`."""
    found = re.search(r"\bline (\d+)", text)
    return int(found[1]) if found else None


def line_of_url(lock: Path, url: str) -> int:
    """The line of the lock that describes a package: the last one with its address, since environments come first."""
    lines = _lines(lock)
    return max((n for n, line in enumerate(lines, 1) if line.rstrip("'\"").endswith(url)), default=1)


def line_of_dependency(manifest: Path, package: str, features: tuple[str, ...] = ()) -> int | None:
    """The line that requires a package, in a table of one of `features` if there is one; None without such a line."""
    wanted, found = canonicalize_name(package), []
    for number, table, key in _entries(manifest):
        if "dependencies" in table and canonicalize_name(key) == wanted:
            found.append((not any(f"feature.{name}." in f"{table}." for name in features), number))
    in_list = re.compile(rf"^\s*[\"']{re.escape(package)}\b", re.IGNORECASE)  # `dependencies = [...]` of pyproject.toml
    found += [(True, number) for number, line in enumerate(_lines(manifest), 1) if in_list.match(line)]
    return min(found)[1] if found else None


def line_of_environment(manifest: Path, environment: str) -> int | None:
    """The line that defines an environment: its key under [environments], or the header of its own table."""
    for number, table, key in _entries(manifest):
        if table.endswith("environments") and key == environment:
            return number
    return None


def line_of_table(manifest: Path, where: str) -> int:
    """The line of a place as messages about a manifest name it: `[feature.cpu] platforms`, or a path."""
    if number := line_in_message(where):
        return number
    named = re.match(r"\[([^\]]+)\]\s*([\w-]*)", where)
    if named is None:
        return 1
    lines = [(n, table, key) for n, table, key in _entries(manifest) if table.removeprefix("tool.pixi.") == named[1]]
    exact = [n for n, _, key in lines if named[2] and key == named[2]]
    return min(exact or [n for n, _, _ in lines], default=1)


def _entries(manifest: Path) -> list[tuple[int, str, str]]:
    """(line, table, key) for each key of a TOML file at the beginning of a line, and for each header (key "")."""
    table, found = "", []
    for number, line in enumerate(_lines(manifest), 1):
        if header := re.match(r"\s*\[\[?([^\]]+)\]\]?\s*(#.*)?$", line):
            table = ".".join(part.strip().strip("\"'") for part in header[1].split("."))
            above, _, last = table.rpartition(".")
            found += [
                (number, table, ""),
                (number, above, last),
            ]  # [dependencies.pytorch] is an entry of [dependencies]
        elif entry := re.match(r"\s*(\"[^\"]+\"|'[^']+'|[\w.-]+)\s*=", line):
            key = entry[1].strip("\"'")
            found.append((number, table, key))
            # the dotted form: `pytorch.version = "2.*"` under [dependencies], `dependencies.pytorch` under [feature.x]
            first, _, last = key.rpartition(".")
            if first and entry[1][0] not in "\"'":
                found += [(number, table, first), (number, f"{table}.{first}", last)]
    return found


def _lines(path: Path) -> list[str]:
    try:
        return read_text(path, LARGE).splitlines()
    except OSError:
        return []
