"""Requirements of PyPI packages, compared as Pixi compares them: order, spaces and capitals do not matter."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import Specifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from pixi_workspace.fit import markers
from pixi_workspace.fit.markers import ALWAYS, Formula

# Slips that uv forgives in a pyproject.toml (crates/uv-pypi-types/src/lenient_requirement.rs).
FORGIVEN = (
    (r"(\d)([<>=~^!])", r"\1,\2"),
    (r"!=~((?:\d\.)*\d)", r"!=\1.*"),
    (r"(<=|>=|<|>)(\d+(?:\.\d+)*)\.\*", r"\1\2"),
    (r"(\d\.\d)+\*", r"\1.*"),
    (r",\s*$", ""),
    (r">dev", ">0.0.0dev"),
)


MOST_STEPS = 20_000  # of following extras that name one another


@dataclass(frozen=True)
class NormalRequirement:
    """A requirement in its normal form. `version`: bounds, or the address behind `@`; `text`: as it was written."""

    name: str
    extras: tuple[str, ...]
    version: str
    marker: Formula
    text: str

    @property
    def subject(self) -> tuple[str, tuple[str, ...], str]:
        """What is required, apart from the cases in which it is."""
        return self.name, self.extras, self.version


@cache
def parse(line: str, folder: Path) -> NormalRequirement:
    """One line of `requires_dist` or pyproject.toml; paths are relative to `folder`. Raises ValueError."""
    try:
        parsed = Requirement(line)
    except InvalidRequirement:
        head, mark, marker = line.partition(";")
        for pattern, replacement in FORGIVEN:
            head = re.sub(pattern, replacement, head)
        parsed = Requirement(head + mark + marker)
    return NormalRequirement(
        name=str(canonicalize_name(parsed.name)),
        extras=tuple(sorted(str(canonicalize_name(extra)) for extra in parsed.extras)),
        version=address(parsed.url, folder) if parsed.url else specifiers_text(parsed.specifier),
        marker=markers.parse(str(parsed.marker)) if parsed.marker else ALWAYS,
        text=" ".join(line.split()),
    )


def address(url: str, folder: Path) -> str:
    """What stands behind `@` in a requirement: a URL as it is, a path in full."""
    if url.startswith("file:"):
        url = unquote(urlsplit(url).path)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", url):
        return f"@ {url.rstrip('/')}"
    return f"@ {(folder / url).resolve()}"


def with_extra(requirement: NormalRequirement, extra: str) -> NormalRequirement:
    """The requirement as one of an extra."""
    name = str(canonicalize_name(extra))
    marker = markers.conjunction(requirement.marker, markers.Comparison("extra", "==", name))
    return replace(requirement, marker=marker, text=f"{requirement.text} (extra {name})")


def expand_own_extras(requirements: list[NormalRequirement], own: str) -> list[NormalRequirement]:
    """The requirements with `own[extra]` replaced by those of the extra, as build backends write them.

    An extra that leads back to itself ends there. Raises ValueError for extras that name one another too often.
    """
    found: list[NormalRequirement] = []
    by_extra: dict[str, list[tuple[NormalRequirement, Formula]]] = {}
    for requirement in requirements:
        extra, rest = markers.split_extra(requirement.marker)
        if extra is not None:
            by_extra.setdefault(extra, []).append((requirement, rest))
    steps = 0

    def expand(requirement: NormalRequirement, path: tuple[str, ...]) -> None:
        nonlocal steps
        steps += 1
        if steps > MOST_STEPS:
            raise ValueError(f"extras of '{own}' that name one another more than {MOST_STEPS:,} times")
        if requirement.name != own:
            found.append(requirement)
            return
        for extra in requirement.extras:
            for child, rest in by_extra.get(extra, []) if extra not in path else []:
                marker = markers.conjunction(rest, requirement.marker)
                expand(replace(child, marker=marker), (*path, extra))

    for requirement in requirements:
        expand(requirement, ())
    return found


def difference(
    now: list[NormalRequirement], locked: list[NormalRequirement]
) -> tuple[list[NormalRequirement], list[NormalRequirement]]:
    """What was added and what was removed since the lock, as sets."""
    return _missing(now, locked), _missing(locked, now)


def _missing(some: list[NormalRequirement], others: list[NormalRequirement]) -> list[NormalRequirement]:
    """Those of `some` that `others` do not contain, with markers compared by what they mean."""
    held: dict[tuple[str, tuple[str, ...], str], list[Formula]] = {}
    for other in others:
        held.setdefault(other.subject, []).append(other.marker)
    return [one for one in some if not any(markers.same(one.marker, other) for other in held.get(one.subject, ()))]


def specifiers_text(specifiers: SpecifierSet) -> str:
    """Version bounds as uv writes them: each version in its normal form, sorted by version, `>=2023.8.0,<2025`."""
    return ",".join(text for _, text in sorted(map(_specifier, specifiers)))


def _specifier(specifier: Specifier) -> tuple[Version, str]:
    stem, star = specifier.version.removesuffix(".*"), ".*" if specifier.version.endswith(".*") else ""
    try:
        version = Version(stem)
    except InvalidVersion:  # `===` takes any text
        return Version("0"), str(specifier)
    return version, f"{specifier.operator}{version}{star}"
