"""A PyPI package in a local folder: does its pyproject.toml still require what the lock recorded?

Pixi compares the requirements as a set, with those of unused extras and with their markers, and `requires-python`.
Version, `editable`, dependency groups and the build system do not matter. Where requirements are dynamic, or there is
no pyproject.toml that can be read, Pixi trusts the lock.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from pixi_workspace.fit.requirement_text import (
    NormalRequirement,
    address,
    difference,
    expand_own_extras,
    parse,
    with_extra,
)
from pixi_workspace.lock import LockedPackage
from pixi_workspace.manifest.package import CannotTell


@dataclass(frozen=True)
class LocalProject:
    """What the `[project]` table of a local package requires. `members`: requirements that uv's workspace provides."""

    requirements: tuple[NormalRequirement, ...]
    requires_python: SpecifierSet
    members: frozenset[str] = frozenset()


def read_project(folder: Path) -> LocalProject | None:
    """What a local package requires now; None where Pixi trusts the lock. Raises CannotTell."""
    try:
        toml = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
        project = toml["project"]
        name = str(canonicalize_name(project["name"]))
        if project.get("version") is not None:
            Version(project["version"])
        tools = toml.get("tool", {})
        if {"dependencies", "optional-dependencies"} & set(project.get("dynamic", [])):
            return None
        if "dependencies" not in project and "poetry" in tools:
            return None
        found = [parse(line, folder) for line in project.get("dependencies", [])]
        for extra, lines in project.get("optional-dependencies", {}).items():
            found += [with_extra(parse(line, folder), extra) for line in lines]
        sources = tools.get("uv", {}).get("sources", {})
        items = {str(canonicalize_name(key)): value for key, value in sources.items()}
    except (OSError, TypeError, KeyError, AttributeError, InvalidRequirement, InvalidVersion, tomllib.TOMLDecodeError):
        return None
    except ValueError as error:
        raise CannotTell(f"a marker of its pyproject.toml cannot be read: {error}") from error
    members = frozenset(key for key, value in items.items() if isinstance(value, dict) and value.get("workspace"))
    found = [_from_source(one, items[one.name], folder) if one.name in items else one for one in found]
    try:
        python = SpecifierSet(project.get("requires-python") or "")
    except InvalidSpecifier:
        python = SpecifierSet()
    return LocalProject(tuple(expand_own_extras(found, name)), python, members)


def _from_source(requirement: NormalRequirement, source: Any, folder: Path) -> NormalRequirement:
    """A requirement with the place that `[tool.uv.sources]` gives it."""
    if not isinstance(source, dict) or {"marker", "extra", "group"} & set(source):
        raise CannotTell(f"[tool.uv.sources] gives '{requirement.name}' a place under conditions")
    if "path" in source:
        return replace(requirement, version=address(source["path"], folder))
    if "url" in source:
        return replace(requirement, version=address(source["url"], folder))
    if "git" in source:
        reference = next((f"@{source[key]}" for key in ("rev", "tag", "branch") if key in source), "")
        inside = f"#subdirectory={source['subdirectory']}" if "subdirectory" in source else ""
        return replace(requirement, version=address(f"git+{source['git']}{reference}{inside}", folder))
    return requirement


def changes_since_lock(project: LocalProject, package: LockedPackage, root: Path) -> str | None:
    """What changed since the lock was made, in words; None if nothing did. Raises CannotTell."""
    own = str(canonicalize_name(package.name))
    try:
        locked = [parse(line, root) for line in package.requires_dist]
    except ValueError as error:
        raise CannotTell(f"a requirement in the lock cannot be read: {error}") from error
    expanded = expand_own_extras(locked, own)
    added, removed = difference(
        [_by_name(one, project.members) for one in project.requirements],
        [_by_name(one, project.members) for one in expanded],
    )
    parts = [("added", added), ("removed", removed)]
    if added or removed:
        words = (f"{verb} {', '.join(dict.fromkeys(one.text for one in some))}" for verb, some in parts if some)
        return f"the dependencies of the local package changed: {'; '.join(words)}"
    python = SpecifierSet(package.requires_python or "")
    if python != project.requires_python:
        return (
            f"requires-python of the local package changed from '{python or 'none'}' "
            f"to '{project.requires_python or 'none'}'"
        )
    return None


def _by_name(requirement: NormalRequirement, members: frozenset[str]) -> NormalRequirement:
    """A member of uv's own workspace is found by its name, wherever its folder is."""
    return replace(requirement, version="@ member") if requirement.name in members else requirement
