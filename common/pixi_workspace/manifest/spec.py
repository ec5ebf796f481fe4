"""Dependencies of a manifest: a version string or a table, for conda packages and for PyPI packages.

What is refused here is what Pixi 0.77 refuses. Note what passes: `>=fourteen` is a version to conda (letters sort
below numbers), and a bare `1.2` is read as `==1.2` with a warning.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from packaging.markers import InvalidMarker, Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from rattler import MatchSpec

from pixi_workspace.manifest.toml import ManifestError, check_keys, is_url, problem, take, take_strings, take_url
from pixi_workspace.specs import match_spec, version_spec

CONDA_KEYS = (
    "version url git path branch rev tag lfs subdirectory build build-number file-name extras flags channel subdir "
    "license license-family when track-features md5 sha256"
)
LOCATION_KEYS = "url git path branch rev tag lfs subdirectory md5 sha256"
PYPI_KEYS = "version extras path editable git branch tag rev lfs url subdirectory index env-markers"


@dataclass(frozen=True)
class CondaSpec:
    """One constraint on a conda package. `fields` is the table that it stands for, `{"version": ...}` for a string.

    `conditions` is the `when` of the entry as nested ("and"|"or"|"spec", ...) tuples, or None.
    """

    name: str
    fields: dict[str, Any] = field(hash=False)
    conditions: tuple | None = None

    @property
    def is_source(self) -> bool:
        """Built from a folder, an archive of sources or a git repository, not fetched as a package."""
        location = self.fields.get("url") or self.fields.get("path")
        return "git" in self.fields or (location is not None and not is_archive(location))

    @property
    def extras(self) -> tuple[str, ...]:
        return tuple(self.fields.get("extras", ()))

    def match_spec(self) -> MatchSpec:
        """rattler's matcher for it. The channel and the file name are left out, since Pixi's check ignores both."""
        keys = {
            "version": "version",
            "build": "build",
            "build-number": "build_number",
            "md5": "md5",
            "sha256": "sha256",
            "license": "license",
        }
        parts = [f"{theirs}={json.dumps(self.fields[ours])}" for ours, theirs in keys.items() if ours in self.fields]
        if self.fields.get("track-features"):
            parts.append(f"track_features={json.dumps(' '.join(self.fields['track-features']))}")
        if self.fields.get("flags"):
            parts.append(f"flags=[{','.join(self.fields['flags'])}]")
        return match_spec(self.name + (f"[{','.join(parts)}]" if parts else ""))

    def __str__(self) -> str:
        if set(self.fields) <= {"version"}:
            return f"{self.name} {self.fields.get('version', '*')}"
        shown = ", ".join(f"{key} = {json.dumps(value)}" for key, value in self.fields.items())
        return f"{self.name} {{ {shown} }}"


@dataclass(frozen=True)
class PypiSpec:
    """One requirement on a PyPI package: exactly one of version, url, path and git gives its origin."""

    name: str
    version: str = "*"
    extras: tuple[str, ...] = ()
    marker: str | None = None
    index: str | None = None
    url: str | None = None
    path: str | None = None
    editable: bool = False
    git: str | None = None
    reference: tuple[str, str] | None = None  # ("branch" | "tag" | "rev", value)
    subdirectory: str | None = None
    lfs: bool = False

    def __str__(self) -> str:
        location = self.url or self.path or self.git
        extras = f"[{','.join(self.extras)}]" if self.extras else ""
        return f"{self.name}{extras}" + (
            f" @ {location}" if location else "" if self.version == "*" else f" {self.version}"
        )


def is_archive(location: str) -> bool:
    """Whether a URL or path names a conda package."""
    return location.split("?")[0].split("#")[0].endswith((".conda", ".tar.bz2"))


def conda_name(text: str, where: str) -> str:
    """The normalised name of a conda package."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", text):
        raise problem(where=where, expected="a package name of letters, digits, '-', '_' and '.'", found=f"'{text}'")
    return text.lower()


def pypi_name(text: str, where: str) -> str:
    """The normalised name of a PyPI package (`Typing_Extensions` becomes `typing-extensions`)."""
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", text):
        raise problem(where=where, expected="a PyPI package name", found=f"'{text}'")
    return str(canonicalize_name(text))


def check_version(text: Any, where: str) -> str:
    """A conda version constraint, returned as it stands. Raises ManifestError where Pixi refuses it."""
    if not isinstance(text, str):
        raise problem(where=where, expected="a version in quotes", found=f"{text!r}")
    try:
        version_spec(text, True)
    except Exception as error:
        # Pixi forgives one thing only: a version without an operator, read as `==version`.
        forgiven = "missing range specifier" in str(error)
        try:
            if forgiven:
                version_spec(text, False)
                return text
        except Exception:
            pass
        if matched := re.fullmatch(r"([^=\s]+)(?:=|\s+)([A-Za-z0-9_.*]*[A-Za-z_*][A-Za-z0-9_.*]*)", text):
            version, build = matched.groups()
            version = f"=={version}" if re.fullmatch(r"[\w.]+", version) else version
            raise problem(
                where=where,
                expected="a version; a version with a build is a table",
                found=f'\'{text}\': did you mean {{ version = "{version}", build = "{build}" }}?',
            ) from error
        reason = " ".join(str(error).split()).replace("Eof", "the condition is not complete, or a comma is missing")
        raise problem(
            where=where, expected='a version such as ">=1.2,<2" or "1.2.*"', found=f"'{text}' ({reason})"
        ) from error
    return text


def conda_table(table: dict[str, Any], where: str, pool: dict[str, Any], build_preview: bool) -> dict[str, CondaSpec]:
    """A table of conda dependencies. `pool` is `[workspace.dependencies]`, which `{ workspace = true }` refers to."""
    found: dict[str, CondaSpec] = {}
    for key, value in table.items():
        name = conda_name(key, where)
        if name in found:
            raise problem(
                where=where, expected="every package once (upper and lower case are one)", found=f"'{key}' twice"
            )
        spec = conda_spec(name, value, f"{where} {key}", pool)
        if spec.is_source and not build_preview:
            raise problem(
                where=f"{where} {key}",
                expected="a package from a channel",
                found="a source dependency",
                next_step='add preview = ["pixi-build"] to [workspace], or depend on a built package',
            )
        found[name] = spec
    return found


def conda_spec(name: str, value: Any, where: str, pool: dict[str, Any]) -> CondaSpec:
    """One conda dependency from its TOML value."""
    if isinstance(value, str):
        return CondaSpec(name, {"version": check_version(value, where)})
    if not isinstance(value, dict):
        raise problem(where=where, expected="a version string or a table", found=f"{value!r}")
    fields = {k: v for k, v in value.items() if k != "package"}
    if "workspace" in fields:
        fields = _inherit(name, fields, where, pool)
    check_keys(fields, CONDA_KEYS, where)
    for key in (
        "url",
        "git",
        "path",
        "branch",
        "rev",
        "tag",
        "subdirectory",
        "build",
        "build-number",
        "file-name",
        "channel",
        "subdir",
        "license",
        "license-family",
        "md5",
        "sha256",
    ):
        take(fields, key, str, where)
    take(fields, "lfs", bool, where)
    for key in ("extras", "flags", "track-features"):
        take_strings(fields, key, where)
    if "version" in fields:
        check_version(fields["version"], f"{where} version")
    _check_combination(fields, where)
    spec = CondaSpec(name, fields, condition(fields["when"], f"{where} when") if "when" in fields else None)
    try:
        spec.match_spec()
    except Exception as error:
        raise problem(
            where=where, expected="a constraint that conda understands", found=" ".join(str(error).split())
        ) from error
    return spec


def _inherit(name: str, fields: dict[str, Any], where: str, pool: dict[str, Any]) -> dict[str, Any]:
    if fields["workspace"] is not True:
        raise problem(
            where=where, expected="workspace = true, or no such key", found=f"workspace = {fields['workspace']!r}"
        )
    own = {k: v for k, v in fields.items() if k != "workspace"}
    for key in ("version", "path", "git", "url"):
        if key in own:
            raise problem(
                where=where,
                expected="the version and the location from [workspace.dependencies] alone",
                found=f"'{key}' here too",
            )
    base = next((v for k, v in pool.items() if k.lower() == name), None)
    if base is None:
        raise problem(where=where, expected=f"'{name}' in [workspace.dependencies]", found="no such entry")
    return {**({"version": base} if isinstance(base, str) else dict(base)), **own}


def _check_combination(fields: dict[str, Any], where: str) -> None:
    locations = [k for k in ("url", "path", "git") if k in fields]
    if len(locations) > 1:
        raise problem(where=where, expected="one of url, path and git", found=" and ".join(locations))
    if "git" not in fields and {"branch", "rev", "tag", "lfs"} & set(fields):
        raise problem(where=where, expected="branch, rev, tag and lfs beside git only", found="no git here")
    if len({"branch", "rev", "tag"} & set(fields)) > 1:
        raise problem(where=where, expected="one of branch, rev and tag", found="more than one")
    location = locations[0] if locations else None
    if location:
        forbidden = {"channel", "file-name", "license-family"}
        if location != "url":
            forbidden |= {"md5", "sha256"}
        elif is_archive(fields["url"]):
            take_url(fields, "url", where)
        if location != "git" and is_archive(fields[location]):
            forbidden |= {
                "version",
                "build",
                "build-number",
                "extras",
                "flags",
                "subdir",
                "license",
                "when",
                "track-features",
            }
        both = sorted(forbidden & set(fields))
        if both:
            raise problem(
                where=where, expected=f"no '{both[0]}' beside '{location}'", found=f"'{both[0]}' and '{location}'"
            )
    elif not set(fields) - {"subdirectory"}:
        raise problem(where=where, expected="a version, build, channel, hash, url, path or git", found="an empty table")
    for key, digits in (("md5", 32), ("sha256", 64)):
        if key in fields and not re.fullmatch(f"[0-9a-fA-F]{{{digits}}}", fields[key]):
            raise problem(where=f"{where} {key}", expected=f"{digits} hexadecimal digits", found=f"'{fields[key]}'")


def condition(value: Any, where: str) -> tuple:
    """A `when` entry: ("spec", text) or ("and" | "or", left, right)."""
    if isinstance(value, str):
        try:
            spec = match_spec(value)
        except Exception as error:
            raise problem(where=where, expected="a package with an optional version", found=f"'{value}'") from error
        if re.search(r"[\[\]]|::", value) or spec.build is not None:
            raise problem(where=where, expected="a package with an optional version, nothing more", found=f"'{value}'")
        return ("spec", value)
    if isinstance(value, dict):
        kinds = [k for k in ("all", "any", "package") if k in value]
        if len(kinds) == 1 and kinds[0] != "package":
            inner = value[kinds[0]]
            if set(value) == set(kinds) and isinstance(inner, list) and inner:
                folded = condition(inner[0], where)
                for more in inner[1:]:
                    folded = ("and" if kinds[0] == "all" else "or", folded, condition(more, where))
                return folded
        elif kinds == ["package"] and isinstance(value["package"], str):
            rest = {k: v for k, v in value.items() if k != "package"}
            if {*LOCATION_KEYS.split(), "channel"} & set(rest):
                raise problem(where=where, expected="no location and no channel inside `when`", found=f"{sorted(rest)}")
            name = conda_name(value["package"], where)
            return ("conda", conda_spec(name, rest, where, {}) if rest else CondaSpec(name, {}))
    raise problem(where=where, expected="a string or a table with one of all, any and package", found=f"{value!r}")


def check_location(table: Any, where: str) -> dict[str, Any]:
    """An entry of `dev`: only where the sources are."""
    if not isinstance(table, dict):
        raise problem(where=where, expected="a table with path, git or url", found=f"{table!r}")
    check_keys(table, LOCATION_KEYS, where)
    if not {"url", "path", "git"} & set(table):
        raise problem(where=where, expected="one of path, git and url", found="none of them")
    _check_combination(table, where)
    return table


def check_specifiers(text: str, where: str) -> str:
    """A PEP 440 constraint; `*` is allowed beside it."""
    try:
        if text != "*":
            SpecifierSet(text)
            if text.strip() and not all(part.strip() for part in text.split(",")):
                raise InvalidSpecifier("an empty part between commas")
    except InvalidSpecifier as error:
        hint = ' (write "==" before a plain version)' if re.match(r"\d", text) else ""
        raise problem(
            where=where, expected='a PyPI version such as "==2.6.0" or ">=2,<3"', found=f"'{text}'{hint}"
        ) from error
    return text


def pypi_table(table: dict[str, Any], where: str) -> dict[str, PypiSpec]:
    """A table of PyPI dependencies."""
    found = {}
    for key, value in table.items():
        name = pypi_name(key, where)
        found[name] = pypi_spec(name, value, f"{where} {key}")
    return found


def pypi_spec(name: str, value: Any, where: str) -> PypiSpec:
    """One PyPI dependency from its TOML value."""
    if isinstance(value, str):
        return PypiSpec(name, version=check_specifiers(value, where))
    if not isinstance(value, dict):
        raise problem(where=where, expected="a version string or a table", found=f"{value!r}")
    check_keys(value, PYPI_KEYS, where)
    for key in ("version", "path", "branch", "tag", "rev", "subdirectory", "env-markers"):
        take(value, key, str, where)
    for key in ("editable", "lfs"):
        take(value, key, bool, where)
    for key in ("git", "url", "index"):
        take_url(value, key, where)
    extras = take_strings(value, "extras", where) or []
    references = [(k, value[k]) for k in ("branch", "tag", "rev") if k in value]
    locations = [k for k in ("url", "path", "git") if k in value]
    if "git" not in value and (references or "lfs" in value):
        raise problem(where=where, expected="branch, rev, tag and lfs beside git only", found="no git here")
    if len(references) > 1:
        raise problem(where=where, expected="one of branch, rev and tag", found="more than one")
    if len(locations) > 1 or (locations and ("version" in value or "index" in value)):
        raise problem(where=where, expected="one of version, url, path and git", found=", ".join(sorted(value)))
    if "env-markers" in value:
        try:
            Marker(value["env-markers"])
        except (InvalidMarker, RecursionError) as error:
            raise problem(
                where=f"{where} env-markers", expected="a PEP 508 marker", found=f"'{value['env-markers']}'"
            ) from error
    return PypiSpec(
        name=name,
        version=check_specifiers(value.get("version", "*"), f"{where} version"),
        extras=tuple(pypi_name(e, f"{where} extras") for e in extras),
        marker=value.get("env-markers"),
        index=value.get("index"),
        url=value.get("url"),
        path=value.get("path"),
        editable=value.get("editable", False),
        git=value.get("git"),
        reference=references[0] if references else None,
        subdirectory=value.get("subdirectory"),
        lfs=value.get("lfs", False),
    )


def from_requirement(text: Any, where: str) -> PypiSpec:
    """A PEP 508 line of pyproject.toml. Raises ManifestError where it is none."""
    try:
        requirement = Requirement(text)
    except (InvalidRequirement, TypeError, RecursionError) as error:
        raise problem(where=where, expected='a requirement such as "numpy>=2"', found=f"{text!r}") from error
    common = {
        "name": str(canonicalize_name(requirement.name)),
        "extras": tuple(sorted(str(canonicalize_name(e)) for e in requirement.extras)),
        "marker": str(requirement.marker) if requirement.marker else None,
    }
    url = requirement.url
    if url is None:
        return PypiSpec(version=str(requirement.specifier) or "*", **common)
    if not is_url(url):
        raise problem(where=where, expected="an address behind the @", found=f"'{url}'")
    split = urlsplit(url)
    if split.scheme.startswith("git+") or split.path.endswith(".git"):
        base, _, reference = split.path.partition("@")
        subdirectory = re.search(r"(?:^|&)subdirectory=([^&]*)", split.fragment)
        return PypiSpec(
            git=f"{split.scheme.removeprefix('git+')}://{split.netloc}{base}",
            reference=("rev", reference) if reference else None,
            subdirectory=subdirectory[1] if subdirectory else None,
            **common,
        )
    if "+" in split.scheme:
        raise problem(where=where, expected="git, or a plain URL", found=f"'{url}'")
    if split.scheme == "file":
        return PypiSpec(path=str(PurePosixPath(split.path)), **common)
    return PypiSpec(url=url, **common)


__all__ = ["CondaSpec", "ManifestError", "PypiSpec", "conda_table", "from_requirement", "pypi_table"]
