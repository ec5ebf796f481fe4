"""The entries of `pixi.lock` that py-rattler does not return, read with PyYAML.

These are PyPI indexes and solver options of environments, PyPI names and run exports of conda packages, and all that
the lock records of packages that are built from source.
"""

from __future__ import annotations

import gc
import re
from dataclasses import dataclass, field
from typing import Any

import yaml


@dataclass(frozen=True)
class EnvironmentEntry:
    """What an environment of the lock states beside its channels and packages.

    `source_rows`: by the lock's platform name and the package name, the identifier of each package built from source.
    """

    indexes: tuple[str, ...] | None = None
    find_links: tuple[str, ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    source_rows: dict[tuple[str, str], str] = field(default_factory=dict)


@dataclass(frozen=True)
class SourceEntry:
    """A package built from source, as the lock records it.

    identifier: such as `widget[7e2e83a0] @ widget` (before version 7, the location). source_depends: by name, the
    location of each dependency that is built from source too. host_packages, build_packages: URLs of conda packages
    and identifiers of source packages. variants: the values that the build was solved for.
    """

    identifier: str
    depends: tuple[str, ...] = ()
    constrains: tuple[str, ...] = ()
    extra_depends: dict[str, tuple[str, ...]] = field(default_factory=dict)
    run_exports: dict[str, tuple[str, ...]] = field(default_factory=dict)
    source_depends: dict[str, dict[str, str]] = field(default_factory=dict)
    host_packages: tuple[str, ...] = ()
    build_packages: tuple[str, ...] = ()
    variants: dict[str, str] = field(default_factory=dict)
    has_build_source: bool = False


@dataclass(frozen=True)
class Entries:
    """All of these entries. By name: environments. By identifier: sources. By URL or path: the others.

    purls: PyPI packages that a conda package provides. indexes: where a PyPI package comes from. run_exports: by
    kind, what a conda package adds to the dependencies of packages that are built with it.
    """

    environments: dict[str, EnvironmentEntry]
    purls: dict[str, tuple[str, ...] | None]
    indexes: dict[str, str]
    sources: dict[str, SourceEntry]
    run_exports: dict[str, dict[str, tuple[str, ...]]]


def read_entries(text: str) -> Entries:
    """The entries of a lock of any version that py-rattler reads. Raises yaml.YAMLError.

    Only these become Python objects: `yaml.load` would take twice as long for the whole document.
    """
    document = _mapping(_compose(text))
    environments = {name: _environment(node) for name, node in _mapping(document.get("environments")).items()}
    purls: dict[str, tuple[str, ...] | None] = {}
    indexes: dict[str, str] = {}
    sources: dict[str, SourceEntry] = {}
    run_exports: dict[str, dict[str, tuple[str, ...]]] = {}
    for node in _sequence(document.get("packages") or document.get("package")) or ():  # `package` up to version 3
        entry = _mapping(node)
        kind = next((key for key in ("conda", "pypi", "conda_source", "url", "path") if key in entry), None)
        location = entry[kind].value if kind else ""
        if kind == "conda_source" or (kind == "conda" and not is_archive_name(location)):
            sources.setdefault(location, _source(location, entry))
            continue
        if "purls" in entry:
            purls.setdefault(location, _strings(entry["purls"]))
        if "index" in entry:
            indexes.setdefault(location, entry["index"].value)
        if "run_exports" in entry:
            run_exports.setdefault(location, _string_lists(entry["run_exports"]))
    return Entries(environments, purls, indexes, sources, run_exports)


def is_archive_name(location: str) -> bool:
    """Whether a URL or path names a built conda package."""
    return location.split("?")[0].split("#")[0].endswith((".conda", ".tar.bz2"))


def _environment(node: yaml.Node) -> EnvironmentEntry:
    entry = _mapping(node)
    links = _sequence(entry.get("find-links")) or ()
    rows = {}
    for platform, packages in _mapping(entry.get("packages")).items():
        for package in _sequence(packages) or ():
            identifier = _mapping(package).get("conda_source")
            if identifier is not None:
                rows[platform, re.split(r"[\[\s]", str(identifier.value), maxsplit=1)[0].lower()] = identifier.value
    return EnvironmentEntry(
        indexes=_strings(entry.get("indexes")),
        find_links=tuple(value.value for link in links for value in _mapping(link).values()),  # `url:` or `path:`
        options=tuple((key, value.value) for key, value in _mapping(entry.get("options")).items()),
        source_rows=rows,
    )


def _source(identifier: str, entry: dict[str, yaml.Node]) -> SourceEntry:
    def selectors(key: str) -> tuple[str, ...]:
        found = (_mapping(node) for node in _sequence(entry.get(key)) or ())
        return tuple(str(value.value) for selector in found for value in list(selector.values())[:1])

    locations = _mapping(entry.get("source_depends") or entry.get("sources"))  # `sources` before version 7
    return SourceEntry(
        identifier=identifier,
        depends=_strings(entry.get("depends")) or (),
        constrains=_strings(entry.get("constrains")) or (),
        extra_depends=_string_lists(entry.get("extra_depends")),
        run_exports=_string_lists(entry.get("run_exports")),
        source_depends={name: _texts(node) for name, node in locations.items()},
        host_packages=selectors("host_packages"),
        build_packages=selectors("build_packages"),
        variants=_texts(entry.get("variants")),
        has_build_source="source" in entry or "package_build_source" in entry,
    )


_Base: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # a PyYAML without libyaml has no C loaders


class _Loader(_Base):
    """Keeps each scalar as it is written. Only texts are needed here, and finding their types would take time."""

    def resolve(self, kind: type[yaml.Node], value: str | None, implicit: object) -> None:
        return None


def _compose(text: str) -> yaml.Node | None:
    """The YAML document as a tree of nodes.

    Python's garbage collector pauses meanwhile: it would inspect the growing tree again and again, which doubles the
    time for a large lock.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        return yaml.compose(text, _Loader)
    finally:
        if collecting:
            gc.enable()


def _mapping(node: yaml.Node | None) -> dict[str, yaml.Node]:
    """The values of a YAML mapping by key; empty where the node is something else."""
    if not isinstance(node, yaml.MappingNode):
        return {}
    return {key.value: value for key, value in node.value if isinstance(key, yaml.ScalarNode)}


def _sequence(node: yaml.Node | None) -> list[yaml.Node] | None:
    return node.value if isinstance(node, yaml.SequenceNode) else None


def _strings(node: yaml.Node | None) -> tuple[str, ...] | None:
    nodes = _sequence(node)
    return None if nodes is None else tuple(item.value for item in nodes)


def _texts(node: yaml.Node | None) -> dict[str, str]:
    return {key: value.value for key, value in _mapping(node).items() if isinstance(value, yaml.ScalarNode)}


def _string_lists(node: yaml.Node | None) -> dict[str, tuple[str, ...]]:
    return {key: _strings(value) or () for key, value in _mapping(node).items()}
