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

from pixi_workspace import files
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
    """What the `[project]` table of a local package requires."""

    requirements: tuple[NormalRequirement, ...]
    requires_python: SpecifierSet


class Broken(Exception):
    """uv refuses the pyproject.toml, so Pixi solves anew. The message is the reason."""


def read_project(folder: Path) -> LocalProject | None:
    """What a local package requires now; None where Pixi trusts the lock. Raises CannotTell and Broken."""
    try:
        toml = files.read_toml(folder / "pyproject.toml")
        project = toml["project"]
        canonicalize_name(project["name"])
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
        settings = tools.get("uv", {})
        sources = {str(canonicalize_name(key)): value for key, value in settings.get("sources", {}).items()}
        indexes = {index.get("name") for index in settings.get("index", [])}
    except (FileNotFoundError, NotADirectoryError, TypeError, KeyError, AttributeError):
        return None
    except (InvalidRequirement, InvalidVersion, tomllib.TOMLDecodeError):
        return None
    except OSError as error:
        raise CannotTell(f"its pyproject.toml cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CannotTell(f"its pyproject.toml cannot be read: {error}") from error
    found = [_from_source(one, sources[one.name], folder, indexes) if one.name in sources else one for one in found]
    try:
        python = SpecifierSet(project.get("requires-python") or "")
    except InvalidSpecifier:
        python = SpecifierSet()
    return LocalProject(tuple(found), python)


def _from_source(requirement: NormalRequirement, source: Any, folder: Path, indexes: set[str]) -> NormalRequirement:
    """A requirement with the place that `[tool.uv.sources]` gives it."""
    if not isinstance(source, dict) or {"marker", "extra", "group"} & set(source):
        raise CannotTell(f"[tool.uv.sources] gives '{requirement.name}' a place under conditions")
    if source.get("workspace"):
        return replace(requirement, version=address(str(_uv_member(requirement.name, folder)), folder))
    if "path" in source:
        return replace(requirement, version=address(source["path"], folder))
    if "url" in source:
        return replace(requirement, version=address(source["url"], folder))
    if "git" in source:
        reference = next((f"@{source[key]}" for key in ("rev", "tag", "branch") if key in source), "")
        inside = f"#subdirectory={source['subdirectory']}" if "subdirectory" in source else ""
        return replace(requirement, version=address(f"git+{source['git']}{reference}{inside}", folder))
    if "index" in source and source["index"] not in indexes:
        raise Broken(
            f"[tool.uv.sources] of '{requirement.name}' names the index '{source['index']}', not declared there"
        )
    return requirement


def _uv_member(name: str, folder: Path) -> Path:
    """The folder of a member of the uv workspace around `folder`."""
    for root in (folder, *folder.resolve().parents):
        settings = _uv_settings(root).get("workspace")
        if not isinstance(settings, dict):
            continue
        for pattern in ("", *settings.get("members", [])):
            for member in root.glob(pattern) if pattern else [root]:
                if _project_name(member) == name:
                    return member
        break
    raise Broken(f"[tool.uv.sources] takes '{name}' from uv's workspace, which has no such member")


def _uv_settings(folder: Path) -> dict[str, Any]:
    try:
        return files.read_toml(folder / "pyproject.toml")["tool"]["uv"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _project_name(folder: Path) -> str | None:
    try:
        return str(canonicalize_name(files.read_toml(folder / "pyproject.toml")["project"]["name"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def changes_since_lock(project: LocalProject, package: LockedPackage, root: Path) -> str | None:
    """What changed since the lock was made, in words; None if nothing did. Raises CannotTell."""
    own = str(canonicalize_name(package.name))
    try:
        locked = [parse(line, root) for line in package.requires_dist]
        now = expand_own_extras(list(project.requirements), own)
        added, removed = difference(now, expand_own_extras(locked, own))
    except ValueError as error:
        raise CannotTell(f"its requirements cannot be compared: {error}") from error
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
