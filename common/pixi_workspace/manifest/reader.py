"""Reads `pixi.toml` and `[tool.pixi]` in `pyproject.toml` as far as this project needs them.

The result lists platforms with their virtual packages, features, environments, solve groups and tasks, and what an
environment requires on a platform. What Pixi 0.77 refuses is refused here too. tables.py reads whole tables, spec.py
single dependencies.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from rattler import Version

from pixi_workspace import files, platforms
from pixi_workspace.errors import WorkspaceError
from pixi_workspace.manifest import tables
from pixi_workspace.manifest.entries import check_system_requirements, read_cutoffs
from pixi_workspace.manifest.model import Environment, Feature, Head, Manifest, Target
from pixi_workspace.manifest.options import join_options
from pixi_workspace.manifest.platforms import migrate, validate_references
from pixi_workspace.manifest.spec import CondaSpec, PypiSpec, check_specifiers, from_requirement
from pixi_workspace.manifest.toml import (
    ManifestError,
    PixiTooOld,
    check_keys,
    nearest,
    parse,
    problem,
    take,
    take_strings,
    take_table,
    unknown_keys_allowed,
)
from pixi_workspace.platforms import Platform, major_minor
from pixi_workspace.specs import version_spec

# The Pixi that this agrees with; `requires-pixi` is compared with it, whatever Pixi is installed.
PIXI_VERSION = "0.77.0"
MOST_PLATFORMS = 200
MOST_ROWS = 400_000  # features and dependencies of every environment on every platform
MOST_UNKNOWN = 20  # keys that a note names
MOST_STEPS = 200_000  # of following groups of requirements; they take half a second
SECTIONS = ("workspace", "project", "package")
ROOT_KEYS = (
    "workspace package target dependencies host-dependencies build-dependencies constraints exclude-newer "
    "pypi-dependencies pypi-exclude-newer dev activation tasks feature environments pypi-options system-requirements "
    "tool $schema"
)
PROJECT_KEYS = (
    "name version description readme requires-python license license-files authors maintainers keywords classifiers "
    "urls entry-points scripts gui-scripts dependencies optional-dependencies dynamic import-names import-namespaces"
)


def find(path: Path) -> Path:
    """The manifest of a folder, or the one that is named; in a folder `pixi.toml` goes before `pyproject.toml`.

    For a manifest with a package and no workspace it is that of the workspace above it, as in Pixi.
    Raises WorkspaceError where there is none.
    """
    tried = [path]
    if path.name == "pixi.lock" and path.is_file():
        path = path.parent
    if path.is_dir():
        tried = [path / "pixi.toml", path / "pyproject.toml"]
    present = [p for p in tried if os.path.lexists(p) and p.name in ("pixi.toml", "pyproject.toml")]
    for candidate in present:
        text = _text(candidate)
        if path.is_dir() and candidate.name == "pyproject.toml" and "tool.pixi" not in text:
            continue  # a Python project without Pixi, which Pixi passes over as well
        if _has_table(candidate, text, "package") and not _has_table(candidate, text, "workspace", "project"):
            return _workspace_above(candidate) or candidate
        return candidate
    if present:
        found = "only a pyproject.toml without [tool.pixi]"
    else:
        found = "neither of them" if path.is_dir() else "another file" if path.exists() else "no such file or folder"
    raise WorkspaceError(
        looked_at=path,
        expected="a folder with pixi.toml or with [tool.pixi] in pyproject.toml, or one of these files",
        found=found,
        next_step="name the workspace folder, or make one with `pixi init`",
    )


def _text(manifest: Path) -> str:
    """The text of a manifest, which may be broken. Raises ManifestError if it is not a file that can be read."""
    try:
        return files.read_bytes(manifest).decode("utf-8", errors="replace")
    except OSError as error:
        raise problem(where=manifest, expected="a manifest", found=str(error.strerror)) from error


def _has_table(manifest: Path, text: str, *names: str) -> bool:
    """Whether a manifest begins one of these tables."""
    prefix = r"tool\.pixi\." if manifest.name == "pyproject.toml" else ""
    return re.search(rf"^[ \t]*\[[ \t]*{prefix}(?:{'|'.join(names)})\b", text, re.MULTILINE) is not None


def _workspace_above(package: Path) -> Path | None:
    """The manifest of the workspace in one of the folders above a package."""
    for folder in package.resolve().parent.parents:
        for path in (folder / "pixi.toml", folder / "pyproject.toml"):
            if path.is_file() and _has_table(path, _text(path), "workspace", "project"):
                return path
    return None


def load(path: Path) -> Manifest:
    """Read and check a manifest. Raises ManifestError with the place and the reason, PixiTooOld for `requires-pixi`.

    A manifest for a later Pixi of the same series is read by the rules that are known here, with a note.
    """
    try:
        return _load(path)
    except (ValueError, RecursionError) as error:  # other people's files can contain anything
        found = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise problem(where=path, expected="a manifest that this check can read", found=found) from error


def _load(path: Path) -> Manifest:
    toml, text, notes = parse(path)
    is_pyproject = path.name == "pyproject.toml"
    _require_section(path, text, is_pyproject)
    root = take_table(take_table(toml, "tool", str(path)), "pixi", "[tool]") if is_pyproject else toml
    prefix = "tool.pixi." if is_pyproject else ""
    later = _check_requires_pixi(root, f"[{prefix}workspace]")
    if later is None:
        return _read_tables(path, toml, root, prefix, notes)
    with unknown_keys_allowed() as unknown:
        manifest = _read_tables(path, toml, root, prefix, notes)
    words = f"requires-pixi is '{later}', and this check follows the rules of Pixi {PIXI_VERSION}"
    if unknown:
        words += f"; keys that it does not know: {', '.join(list(dict.fromkeys(unknown))[:MOST_UNKNOWN])}"
    return replace(manifest, later_pixi=later, notes=(*manifest.notes, words))


def _read_tables(path: Path, toml: dict[str, Any], root: dict[str, Any], prefix: str, notes: list[str]) -> Manifest:
    is_pyproject = bool(prefix)
    if not root.keys() & {"workspace", "project"}:
        raise problem(
            where=path,
            expected=f"a table [{prefix}workspace]",
            found="none",
            next_step=f"add [{prefix}workspace] with channels and platforms",
        )
    head_name = "workspace" if "workspace" in root else "project"
    check_keys(root, ROOT_KEYS.replace("workspace", head_name, 1), str(path), _table_meant(root, prefix))
    if head_name == "project":
        notes.append(f"[{prefix}project] is the old name of [{prefix}workspace]")
    project, groups = _read_pyproject(toml, path) if is_pyproject else ({}, {})
    head = tables.read_head(take_table(root, head_name, str(path)), f"[{prefix}{head_name}]", path.parent)
    for key, kind in (("tool", dict), ("$schema", str)):
        take(root, key, kind, str(path))
    if "package" in root and not head.build_preview:
        raise problem(
            where="[package]",
            expected="the preview `pixi-build` beside a package",
            found="no such preview",
            next_step='add preview = ["pixi-build"] to [workspace], or remove [package]',
        )
    manifest = _assemble(path, root, head, groups, notes)
    return _add_project(manifest, project, groups) if is_pyproject else manifest


def _table_meant(root: dict[str, Any], prefix: str) -> str:
    """The intended table if the word `feature` is missing or misspelt, as in `[test.dependencies]`."""
    for key, value in root.items():
        if key in ROOT_KEYS.split() or key in SECTIONS or not isinstance(value, dict):
            continue
        inner = tables.FEATURE_KEYS.split()
        if known := next((name for name in value if name in inner), None):
            return f"[{prefix}feature.{key}.{known}]"
        for name, table in value.items():
            if isinstance(table, dict) and nearest(key, ("feature",)):
                known = next((other for other in table if other in inner), None)
                return f"[{prefix}feature.{name}.{known}]" if known else f"[{prefix}feature.{name}]"
    return ""


def _require_section(path: Path, text: str, is_pyproject: bool) -> None:
    """Pixi looks for its tables in the text before it parses, so `workspace = { ... }` on one line is not found."""
    if is_pyproject:
        present = any(f"[tool.pixi.{s}]" in text or f"{s}." in text for s in SECTIONS)
    else:
        present = any(line.lstrip().startswith(f"[{s}") for line in text.splitlines() for s in SECTIONS)
    if not present:
        wanted = "[tool.pixi.workspace]" if is_pyproject else "[workspace]"
        mark = ", hidden behind a byte order mark" if text.startswith("\ufeff[") else ""
        raise problem(
            where=path,
            expected=f"a line {wanted}",
            found=f"none that Pixi sees{mark}",
            next_step=f"begin the manifest with {wanted}",
        )


def _check_requires_pixi(root: dict[str, Any], where: str) -> str | None:
    """`requires-pixi` if only a later release of the same series meets it. Raises PixiTooOld if none does."""
    head = root.get("workspace")
    wanted = head.get("requires-pixi") if isinstance(head, dict) else None
    if not isinstance(wanted, str):
        return None
    try:
        spec = version_spec(wanted, True)
        met = spec.matches(Version(PIXI_VERSION))
    except Exception as error:
        raise problem(
            where=f"{where} requires-pixi", expected='a version such as ">=0.71"', found=f"'{wanted}'"
        ) from error
    if not met:
        major, minor = major_minor(PIXI_VERSION)
        later = [f"{major}.{minor}.{patch}" for patch in range(1, 10)]
        later += [f"{major}.{minor + more}.0" for more in range(1, 100)]
        if any(spec.matches(Version(version)) for version in later):
            return wanted
        raise PixiTooOld(
            looked_at=f"{where} requires-pixi",
            expected=f"a Pixi that meets '{wanted}'",
            found=f"this check agrees with Pixi {PIXI_VERSION}",
            next_step="pixi self-update, or lower requires-pixi",
        )
    return None


def _assemble(path: Path, root: dict[str, Any], head: Head, groups: dict, notes: list[str]) -> Manifest:
    """Features, environments and platforms from the tables, checked against each other."""
    default = tables.read_feature(
        "default", {k: v for k, v in root.items() if k in tables.DEFAULT_KEYS.split()}, "", head
    )
    default = replace(default, channel_priority=head.channel_priority, solve_strategy=head.solve_strategy)
    features = {"default": default}
    for name, table in take_table(root, "feature", str(path)).items():
        if name == "default":
            raise problem(
                where="[feature.default]", expected="another name", found="the feature of the tables at the root"
            )
        if not isinstance(table, dict):
            raise problem(where=f"[feature.{name}]", expected="a table", found=f"{table!r}")
        features[name] = tables.read_feature(name, table, f"feature.{name}", head)
    for name in groups:
        features.setdefault(name, Feature(name))
    environments = _read_environments(take_table(root, "environments", str(path)), features, head)
    _check_size(environments, head, path)
    inline = [e.features[0] for e in environments.values() if e.features and e.features[0].inline]
    if any(f.system_requirements for f in features.values()):
        notes.append("[system-requirements] is deprecated: declare the virtual packages on the platforms")
    used = {f.name for e in environments.values() for f in e.features}
    unused = sorted(set(take_table(root, "feature", str(path))) - used)  # unused extras of [project] are normal
    if unused:
        names, them = ", ".join(unused), "them" if len(unused) > 1 else "it"
        notes.append(f"in no environment, so nothing checks {them}: feature {names}")
    pool = {id(f): f for f in (*features.values(), *inline)}
    found, simple, migrated = migrate(head.platforms, pool)
    environments = {n: replace(e, features=tuple(migrated[id(f)] for f in e.features)) for n, e in environments.items()}
    overrides = {key: read_cutoffs(root, key) for key in ("exclude-newer", "pypi-exclude-newer")}
    manifest = Manifest(
        path=path,
        name=head.name,
        channels=head.channels,
        features={n: migrated[id(f)] for n, f in features.items()},
        environments=environments,
        platforms=tuple(found),
        composes=simple,
        pypi_options=head.pypi_options,
        exclude_newer=head.exclude_newer,
        package_cutoffs=overrides["exclude-newer"],
        shared_dependencies=head.pool,
        build_variants=head.build_variants,
        variant_files=head.variant_files,
        notes=tuple(notes),
    )
    return validate_references(manifest)


def _check_size(environments: dict[str, Environment], head: Head, path: Path) -> None:
    """Refuse environments, platforms and dependencies that would take minutes to multiply by one another."""
    sizes: dict[int, int] = {}
    for feature in (feature for environment in environments.values() for feature in environment.features):
        if id(feature) not in sizes:
            tables = (table for t in feature.targets for table in (*t.dependencies.values(), t.pypi, t.constraints))
            sizes[id(feature)] = 1 + sum(map(len, tables))
    total = sum(sizes[id(feature)] for environment in environments.values() for feature in environment.features)
    if len(head.platforms) > MOST_PLATFORMS or total * len(head.platforms) > MOST_ROWS:
        expected = f"at most {MOST_PLATFORMS} platforms, and {MOST_ROWS:,} dependencies in all environments together"
        raise problem(where=path, expected=expected, found="more")


def _read_environments(table: dict, features: dict[str, Feature], head: Head) -> dict[str, Environment]:
    found = {} if "default" in table else {"default": Environment("default", (features["default"],))}
    for name, value in table.items():
        where = f"[environments] {name}"
        if not re.fullmatch(r"[a-z0-9-]+", name):
            raise problem(where=where, expected="a name of lower-case letters, digits and '-'", found=f"'{name}'")
        value = {"features": value} if isinstance(value, list) else value
        if not isinstance(value, dict):
            raise problem(where=where, expected="a list of features or a table", found=f"{value!r}")
        check_keys(value, tables.ENVIRONMENT_KEYS, where)
        own = {k: v for k, v in value.items() if k not in ("features", "solve-group", "no-default-feature")}
        group = take(value, "solve-group", str, where)
        names = take_strings(value, "features", where)
        if names is None and group is None and not own:
            raise problem(where=where, expected="features, a solve-group or content of its own", found="none")
        names, used = names or [], []
        if own:
            used.append(replace(tables.read_feature(name, own, f"environments.{name}", head), inline=True))
        twice = next((feature for feature, times in Counter(names).items() if times > 1), None)
        if twice in features:
            raise problem(where=f"{where} features", expected="every feature once", found=f"'{twice}' twice")
        for feature in names:
            if feature not in features:
                near = nearest(feature, features)
                raise problem(
                    where=f"{where} features",
                    expected="features that are defined: " + ", ".join(features),
                    found=f"'{feature}'{near}",
                )
            used.append(features[feature])
        if not take(value, "no-default-feature", bool, where):
            used.append(features["default"])
        check_system_requirements([f.system_requirements for f in used], where)
        join_options([f.pypi_options for f in used if f.pypi_options], where)
        found[name] = Environment(name, tuple(used), group)
    return found


def _read_pyproject(toml: dict[str, Any], path: Path) -> tuple[dict[str, Any], dict[str, list[PypiSpec]]]:
    """`[project]` and, by name, the requirements of optional dependencies and dependency groups."""
    project = take_table(toml, "project", str(path))
    if "project" in toml:
        check_keys(project, PROJECT_KEYS, "[project]")
        if not isinstance(project.get("name"), str):
            raise problem(where="[project] name", expected="the name of the project", found="none")
        python = take(project, "requires-python", str, "[project]")
        if python is not None:
            check_specifiers(python, "[project] requires-python")
    if "build-system" in toml:
        take_strings(
            toml["build-system"] if isinstance(toml["build-system"], dict) else {}, "requires", "[build-system]"
        )
        if "requires" not in take_table(toml, "build-system", str(path)):
            raise problem(where="[build-system] requires", expected="what building the project needs", found="none")
    own_name = str(canonicalize_name(project.get("name", "")))
    extras = {
        k: _lines(v, f"[project.optional-dependencies] {k}")
        for k, v in take_table(project, "optional-dependencies", "[project]").items()
    }
    groups = _expand(extras, own_name)
    groups |= _follow_groups(take_table(toml, "dependency-groups", str(path)))
    return project, groups


def _lines(value: Any, where: str) -> list[PypiSpec]:
    if not isinstance(value, list):
        raise problem(where=where, expected="an array of requirements", found=f"{value!r}")
    return [from_requirement(line, where) for line in value]


def _expand(extras: dict[str, list[PypiSpec]], own: str) -> dict[str, list[PypiSpec]]:
    """The requirements of each extra, with `project[other]` replaced by those of the other extra."""
    by_name = {str(canonicalize_name(extra)): extra for extra in reversed(extras)}
    parts: dict[str, list[PypiSpec | str]] = {}
    for extra, lines in extras.items():
        parts[extra] = []
        for spec in lines:
            if spec.name != own:
                parts[extra].append(spec)
                continue
            for other in spec.extras:
                if other not in by_name:
                    raise _no_extra(other)
                parts[extra].append(by_name[other])
    return _collect(parts, "[project.optional-dependencies]", _no_extra)


def _no_extra(other: str) -> ManifestError:
    where = "[project.optional-dependencies]"
    return problem(where=where, expected="extras that exist and form no circle", found=f"'{other}'")


def _follow_groups(raw: dict[str, Any]) -> dict[str, list[PypiSpec]]:
    """The requirements of each dependency group, with `{ include-group = ... }` followed."""
    by_name = {str(canonicalize_name(name)): name for name in reversed(raw)}
    parts: dict[str, list[PypiSpec | str]] = {}
    for name, lines in raw.items():
        where = f"[dependency-groups] {name}"
        if not isinstance(lines, list):
            raise problem(where=where, expected="an array of requirements", found=f"{lines!r}")
        parts[name] = []
        for line in lines:
            if not isinstance(line, dict):
                parts[name].append(from_requirement(line, where))
                continue
            other = by_name.get(str(canonicalize_name(str(line.get("include-group")))))
            if set(line) != {"include-group"} or other is None:
                raise _no_group(f"{line!r}")
            parts[name].append(other)
    return _collect(parts, "[dependency-groups]", _no_group)


def _no_group(other: str) -> ManifestError:
    expected = "include-group with a group that exists, in no circle"
    return problem(where="[dependency-groups]", expected=expected, found=other)


def _collect(
    parts: dict[str, list[PypiSpec | str]], where: str, circle: Callable[[str], ManifestError]
) -> dict[str, list[PypiSpec]]:
    """The requirements of each group and of the groups that it names, each once. Raises `circle` for a circle."""
    collected: dict[str, list[PypiSpec]] = {}
    steps = 0
    for name in parts:
        found: dict[PypiSpec, None] = {}
        done: set[str] = set()
        unfinished = {name: iter(parts[name])}
        while unfinished:
            current, rest = next(reversed(unfinished.items()))
            part = next(rest, None)
            steps += 1
            if steps > MOST_STEPS:
                expected = f"groups that name one another at most {MOST_STEPS:,} times"
                raise problem(where=where, expected=expected, found="more")
            if part is None:
                done.add(current)
                del unfinished[current]
            elif isinstance(part, PypiSpec):
                found[part] = None
            elif part in unfinished:
                raise circle(f"'{part}'")
            elif part not in done:
                unfinished[part] = iter(parts[part])
        collected[name] = list(found)
    return collected


def _add_project(manifest: Manifest, project: dict[str, Any], groups: dict[str, list[PypiSpec]]) -> Manifest:
    """What `[project]` adds: python by `requires-python` (any python without it), and PyPI requirements."""
    features = dict(manifest.features)
    default = features["default"].targets[0]
    if "python" not in default.dependencies.get("run", {}):
        # `==` means exactly this release to PyPI and `.*` beside it a prefix; conda writes the prefix without `==`.
        parts = [part.replace(" ", "") for part in project.get("requires-python", "").split(",")]
        version = ",".join(parts).removeprefix("==") or "*"
        run = {**default.dependencies.get("run", {}), "python": CondaSpec("python", {"version": version})}
        default = replace(default, dependencies={**default.dependencies, "run": run})
    features["default"] = replace(features["default"], targets=(default, *features["default"].targets[1:]))
    groups = {name: list(found) for name, found in groups.items()}
    if "dependencies" in project:
        groups.setdefault("default", []).extend(_lines(project["dependencies"], "[project] dependencies"))
    for name, found in groups.items():
        target = features[name].targets[0] if features[name].targets else Target()
        pypi = {k: list(v) for k, v in target.pypi.items()}
        for spec in found:
            if spec not in pypi.setdefault(spec.name, []):
                pypi[spec.name].append(spec)
        target = replace(target, pypi={k: tuple(v) for k, v in pypi.items()})
        features[name] = replace(features[name], targets=(target, *features[name].targets[1:]))
    environments = {
        n: replace(e, features=tuple(f if f.inline else features[f.name] for f in e.features))
        for n, e in manifest.environments.items()
    }
    return replace(manifest, features=features, environments=environments)


def _merge(manifest: Manifest, environment: str, platform: Platform | None, of: Any) -> dict[str, list[Any]]:
    """All constraints by package: a target replaces the constraint of its feature; those of several features add up."""
    merged: dict[str, list[Any]] = {}
    for feature in manifest.environments[environment].features:
        if platform is not None and not manifest.supports(feature, platform):
            continue
        here: dict[str, tuple] = {}
        for target in feature.targets:
            selector = target.selector
            if selector is None or (platform is not None and platforms.selector_matches(selector, platform)):
                here.update(of(target))
        for name, specs in here.items():
            held = merged.setdefault(name, [])
            held += [s for s in specs if s not in held]
    return merged


def conda_specs(manifest: Manifest, environment: str, platform: Platform) -> dict[str, list[CondaSpec]]:
    """The conda packages that the environment requires on a platform; all constraints of a list must be met."""

    def combined(target: Target) -> dict[str, tuple]:
        of_kinds = [target.dependencies.get(kind, {}) for kind in ("run", "host", "build")]
        return {name: (spec,) for table in of_kinds for name, spec in table.items()}

    return _merge(manifest, environment, platform, combined)


def pypi_specs(manifest: Manifest, environment: str, platform: Platform | None) -> dict[str, list[PypiSpec]]:
    """The PyPI packages that the environment requires on a platform (None: in general, without any target)."""
    return _merge(manifest, environment, platform, lambda target: target.pypi)


def constraints(manifest: Manifest, environment: str, platform: Platform) -> dict[str, list[CondaSpec]]:
    """Limits on packages that the environment does not require itself."""
    return _merge(manifest, environment, platform, lambda t: {n: (s,) for n, s in t.constraints.items()})


def dev_sources(manifest: Manifest, environment: str, platform: Platform) -> dict[str, list[Any]]:
    """Packages under `[dev]`: their dependencies are installed, they themselves are not."""
    return _merge(manifest, environment, platform, lambda t: {n: (s,) for n, s in t.dev.items()})
