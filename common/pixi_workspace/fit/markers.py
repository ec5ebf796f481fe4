"""Markers of PyPI requirements (PEP 508), compared by what they mean.

uv, and so Pixi, keeps a marker as a decision diagram: two markers that hold in the same cases are one. Here they are
compared on all combinations of the values that they mention, and of values between them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

from packaging.specifiers import InvalidSpecifier, Specifier
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

MOST_COMBINATIONS = 20_000  # markers that mention more are compared as texts
PYTHON = ("python_version", "python_full_version")
VERSIONS = ("python_full_version", "python_version", "implementation_version", "platform_release")
MIRRORED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
# uv takes these as one, and `platform_system` of other systems as it is.
SYS_PLATFORM_OF = {
    "Windows": "win32",
    "Darwin": "darwin",
    "Linux": "linux",
    "AIX": "aix",
    "Emscripten": "emscripten",
    "Android": "android",
}
TOKEN = re.compile(r"""\s*(\(|\)|'[^']*'|"[^"]*"|[<>=!~]=?=?|not\s+in\b|[A-Za-z_.]+|\S)""")


@dataclass(frozen=True)
class Comparison:
    """One comparison of a marker, such as `sys_platform == "win32"`."""

    variable: str
    operator: str
    value: str


@dataclass(frozen=True)
class Junction:
    """Several parts of a marker, joined by `and` (`every`) or by `or`. Without parts, `and` always holds."""

    every: bool
    parts: tuple[Comparison | Junction, ...]


Formula = Comparison | Junction
ALWAYS = Junction(True, ())


@cache
def parse(text: str) -> Formula:
    """The formula of a marker. Raises ValueError where it is none."""
    tokens = TOKEN.findall(text.strip())
    position = 0

    def take() -> str:
        nonlocal position
        position += 1
        if position > len(tokens):
            raise ValueError(f"a marker that ends too early: {text}")
        return tokens[position - 1]

    def joined(word: str, part: Any) -> Formula:
        nonlocal position
        parts = [part()]
        while position < len(tokens) and tokens[position] == word:
            position += 1
            parts.append(part())
        return parts[0] if len(parts) == 1 else Junction(word == "and", tuple(parts))

    def single() -> Formula:
        token = take()
        if token == "(":
            inner = joined("or", lambda: joined("and", single))
            if take() != ")":
                raise ValueError(f"a marker with an open bracket: {text}")
            return inner
        operator, right = " ".join(take().split()), take()
        if token[0] in "'\"":  # "3.9" <= python_version
            token, right, operator = right, token, MIRRORED.get(operator, operator)
        value = right[1:-1] if right[0] in "'\"" else right
        if token == "platform_system" and value in SYS_PLATFORM_OF:
            token, value = "sys_platform", SYS_PLATFORM_OF[value]
        return Comparison(token, operator, canonicalize_name(value) if token == "extra" else value)

    formula = joined("or", lambda: joined("and", single))
    if position != len(tokens):
        raise ValueError(f"a marker with something behind it: {text}")
    return formula


def conjunction(*formulas: Formula) -> Formula:
    """All of these formulas at once."""
    parts: list[Formula] = []
    for formula in formulas:
        parts += formula.parts if isinstance(formula, Junction) and formula.every else [formula]
    return parts[0] if len(parts) == 1 else Junction(True, tuple(dict.fromkeys(parts)))


def split_extra(formula: Formula) -> tuple[str | None, Formula]:
    """The extra without which a marker never holds, and the rest of the marker."""
    parts = formula.parts if isinstance(formula, Junction) and formula.every else (formula,)
    for part in parts:
        if isinstance(part, Comparison) and (part.variable, part.operator) == ("extra", "=="):
            return part.value, conjunction(*(other for other in parts if other != part))
    return None, formula


def same(one: Formula, other: Formula) -> bool:
    """Whether two markers hold in the same cases."""
    if one == other:
        return True
    values: dict[str, set[str]] = {}
    for part in (*_comparisons(one), *_comparisons(other)):
        name = PYTHON[1] if part.variable in PYTHON else part.variable
        key = f"extra {part.value}" if name == "extra" else name
        values.setdefault(key, set()).update(_samples(part))
    choices = [sorted(samples) for samples in values.values()]
    total = 1
    for samples in choices:
        total *= len(samples)
    if total > MOST_COMBINATIONS:
        return False
    return all(
        _holds(one, case) == _holds(other, case)
        for case in (dict(zip(values, c, strict=True)) for c in product(*choices))
    )


def _comparisons(formula: Formula) -> Iterator[Comparison]:
    if isinstance(formula, Comparison):
        yield formula
        return
    for part in formula.parts:
        yield from _comparisons(part)


def _samples(part: Comparison) -> set[str]:
    """Values on both sides of what a comparison mentions."""
    if part.variable == "extra":
        return {"yes", "no"}
    if part.variable not in VERSIONS:
        return {part.value, *part.value.split(), *part.value.replace(",", " ").split(), "something else"}
    found = {"0.1", "99.0"}
    for text in re.findall(r"\d+(?:\.\d+)*", part.value):
        numbers = [int(number) for number in text.split(".")]
        below = [*numbers[:-1], numbers[-1] - 1, 99] if numbers[-1] else [*numbers[:-1], 0]
        for near in (numbers, [*numbers, 1], [*numbers[:-1], numbers[-1] + 1], below):
            found.add(".".join(map(str, near)))
    return found


def _holds(formula: Formula, case: dict[str, str]) -> bool:
    if isinstance(formula, Junction):
        parts = (_holds(part, case) for part in formula.parts)
        return all(parts) if formula.every else any(parts)
    if formula.variable == "extra":
        return (case[f"extra {formula.value}"] == "yes") == (formula.operator == "==")
    have = case[PYTHON[1] if formula.variable in PYTHON else formula.variable]
    if formula.variable == "python_version":
        have = ".".join(have.split(".")[:2])
    return _compare(have, formula.operator, formula.value, formula.variable in VERSIONS)


@cache
def _compare(have: str, operator: str, value: str, is_version: bool) -> bool:
    if operator in ("in", "not in"):
        inside = have in (re.split(r"[\s,]+", value) if is_version else value)
        return inside == (operator == "in")
    if is_version:
        try:
            return Specifier(f"{operator}{value}").contains(Version(have), prereleases=True)
        except (InvalidSpecifier, InvalidVersion):
            pass
    orders = {"==": have == value, "!=": have != value, "<": have < value, "<=": have <= value}
    return orders.get(operator, have > value if operator == ">" else have >= value)
