"""Which versions and builds a constraint admits. A bound is judged by this, and not by how it is written."""

from __future__ import annotations

import re
from collections.abc import Iterable

from rattler import Version, VersionSpec

from pixi_workspace.manifest import CondaSpec

EVERY = 30  # of the releases that are tried below a minor version


def releases(first: str, last: str) -> list[str]:
    """Version numbers from `8.0` to `20.0`: each minor version and its first patch releases."""
    (low_major, low_minor), (high_major, high_minor) = (map(int, text.split(".")) for text in (first, last))
    found = []
    for major in range(low_major, high_major + 1):
        minors = range(low_minor if major == low_major else 0, (high_minor if major == high_major else 20) + 1)
        found += [f"{major}.{minor}.{patch}" for minor in minors for patch in range(EVERY)]
    return found


def admits(specs: Iterable[CondaSpec], version: str, build: str | None = None) -> bool:
    """Whether all constraints admit a version and, if it is given, its build."""
    return all(_admits_version(spec, version) and (build is None or admits_build(spec, build)) for spec in specs)


def admits_any(specs: Iterable[CondaSpec], versions: Iterable[str]) -> bool:
    """Whether all constraints together admit one of the versions."""
    specs = list(specs)
    return any(admits(specs, version) for version in versions)


def _admits_version(spec: CondaSpec, version: str) -> bool:
    text = str(spec.fields.get("version", "*"))
    return text == "*" or VersionSpec(text, False).matches(Version(version))


def build_of(spec: CondaSpec) -> str:
    """The build that a constraint requests; empty if it admits every build."""
    return str(spec.fields.get("build", ""))


def admits_build(spec: CondaSpec, build: str) -> bool:
    """Whether a constraint admits a build: as conda, it is a whole name, one with stars, or `^a regular expression$`."""
    wanted = build_of(spec)
    if not wanted or wanted == "*":
        return True
    if wanted.startswith("^") and wanted.endswith("$"):
        try:
            return re.fullmatch(wanted, build) is not None
        except re.error:
            return False
    return re.fullmatch(re.escape(wanted).replace(r"\*", ".*"), build) is not None
