"""The line of a manifest in which a table or a key is. The text is searched, since it may not be valid TOML."""

from __future__ import annotations

import re

KEY = r"""(?:[\w-]+|"[^"]*"|'[^']*')"""
DOTTED = rf"{KEY}(?:\s*\.\s*{KEY})*"
HEADER = re.compile(rf"\s*\[+\s*({DOTTED})?")
PAIR = re.compile(rf"\s*\{{?\s*({DOTTED})\s*=")


def parts_of(dotted: str) -> tuple[str, ...]:
    """The parts of a dotted key, without quotes."""
    return tuple(part.strip("\"'") for part in re.findall(KEY, dotted))


def paths_of(text: str) -> list[tuple[str, ...]]:
    """For each line of a manifest, the table and the key that it is about, without `tool.pixi`.

    A line that begins neither (a part of a list, a comment) is about the same as the line before.
    """
    table: tuple[str, ...] = ()
    path: tuple[str, ...] = ()
    found = []
    depth = 0  # of the brackets of a list or an inline table that began on an earlier line
    for line in text.splitlines():
        code = re.sub(r"""("[^"]*"|'[^']*')|#.*""", lambda match: match[1] or "", line)
        if depth <= 0 and re.match(r"\s*\[", code):
            header = HEADER.match(code)
            table = path = parts_of((header[1] if header else None) or "")
            depth = 0
        else:
            if depth <= 0 and (pair := PAIR.match(code)):
                path = (*table, *parts_of(pair[1]))
            bare = re.sub(r""""[^"]*"|'[^']*'""", "", code)
            depth = max(0, depth + sum(map(bare.count, "[{")) - sum(map(bare.count, "]}")))
        found.append(path[2:] if path[:2] == ("tool", "pixi") else path)
    return found


def line_of(text: str, path: tuple[str, ...]) -> int | None:
    """The number of the line that comes nearest to a path such as ("feature", "test", "dependencies", "pytest").

    None if not even its first part is there.
    """
    best, number = 0, None
    for index, (line, here) in enumerate(zip(text.splitlines(), paths_of(text), strict=True), 1):
        common = 0
        for ours, theirs in zip(path, here, strict=False):
            if ours != theirs:
                break
            common += 1
        if common == len(here) < len(path) and re.search(rf"\b{re.escape(path[common])}\b", line):
            common += 1  # a key of an inline table, an entry of a list
        if common > best and line.strip() and not line.lstrip().startswith("#"):
            best, number = common, index
    return number


def path_in(where: str) -> tuple[str, ...]:
    """The path that a message names as `[feature.test.dependencies] pytest`, `[environments] test features` and so on."""
    if match := re.search(r"\[([^\]\s]+)\]\s*([\w .-]*)", where):
        path = (*parts_of(match[1]), *match[2].split())
    elif match := re.match(r"platforms of (feature|environment) '([^']+)'", where):
        path = ("feature" if match[1] == "feature" else "environments", match[2], "platforms")
    else:
        path = ()
    return path[2:] if path[:2] == ("tool", "pixi") else path
