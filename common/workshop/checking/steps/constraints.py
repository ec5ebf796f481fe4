"""Which versions and builds a constraint admits. A bound is judged by this, and not by how it is written."""

from __future__ import annotations

import re
from collections.abc import Iterable

from packaging.specifiers import SpecifierSet
from rattler import Version, VersionSpec

from pixi_workspace.manifest import CondaSpec, PypiSpec

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


def _version_of(spec: CondaSpec | PypiSpec) -> str:
    return spec.version if isinstance(spec, PypiSpec) else str(spec.fields.get("version", "*"))


def _admits_version(spec: CondaSpec | PypiSpec, version: str) -> bool:
    text = _version_of(spec)
    if text == "*":
        return True
    if isinstance(spec, PypiSpec):
        return SpecifierSet(text).contains(version, prereleases=True)
    return VersionSpec(text, False).matches(Version(version))


def have_no_common_version(specs: Iterable[CondaSpec | PypiSpec]) -> bool:
    """Whether no version at all meets all constraints, such as `<2.0,>2.5`, or `3,12`, which means 3 and also 12.

    The versions in the constraints are tried, and those just above each of them: if any version fits, one of these does.
    """
    specs = list(specs)
    candidates = _nearby_versions(map(_version_of, specs))
    return not any(all(_admits_version(spec, version) for spec in specs) for version in candidates)


def _nearby_versions(constraints: Iterable[str]) -> list[str]:
    """The versions that constraints contain, the next one after each of their numbers, and 0."""
    found = ["0"]
    for number, letters in re.findall(r"(\d+(?:\.\d+)*)([a-z]+\d+)?", " ".join(constraints)):  # 1.0 or 1.0rc1
        numbers = number.split(".")
        found += [number + letters, f"{number}.0.1"]
        found += [".".join([*numbers[:n], str(int(numbers[n]) + 1)]) for n in range(len(numbers))]
    return found


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
