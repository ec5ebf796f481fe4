"""`[package]`: a conda package that Pixi builds from source, as its manifest describes it.

Nothing is built here. `read_package` finds the manifest of a source folder and reads its tables; `requirements_for`
puts the unconditional tables and the `if(...)` tables of a platform together.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pixi_workspace.manifest.spec import CondaSpec, conda_name, conda_spec
from pixi_workspace.manifest.toml import check_keys, parse, problem, take, take_table
from pixi_workspace.platforms import family, is_unix, is_version

PACKAGE_KEYS = (
    "name version description authors license license-file readme homepage repository documentation publish build "
    "target host-dependencies build-dependencies run-dependencies extra-dependencies run-constraints run-exports"
)
BUILD_KEYS = (
    "backend channels additional-dependencies source flags config configuration target build-string-prefix "
    "build-number secrets"
)
TABLES = ("run-dependencies", "host-dependencies", "build-dependencies", "run-constraints")
LONGEST_CONDITION = 1000  # characters
RECIPES = ("recipe.yaml", "recipe.yml", "recipe/recipe.yaml", "recipe/recipe.yml")


class CannotTell(Exception):
    """Something that only Pixi and its build backends can find out. The message is the reason, for a person."""


@dataclass
class Requirements:
    """Dependencies of a package on one platform, by table; `extras` and `run_exports` by group."""

    tables: dict[str, list[CondaSpec]] = field(default_factory=lambda: {name: [] for name in TABLES})
    extras: dict[str, list[CondaSpec]] = field(default_factory=dict)
    run_exports: dict[str, list[CondaSpec]] = field(default_factory=dict)
    pins: bool = False


@dataclass(frozen=True)
class Package:
    """The table `[package]`. `conditional` pairs an expression with tables. `build_source`: where the sources are if
    they are not beside the manifest."""

    path: Path
    name: str | None
    version: str | None
    backend: str
    config: dict[str, Any]
    target_config: dict[str, dict[str, Any]]
    build_source: dict[str, Any] | None
    build_number: int
    unconditional: dict[str, Any]
    conditional: tuple[tuple[str, dict[str, Any]], ...]
    pool: dict[str, Any]
    pool_folder: Path

    @property
    def source_folder(self) -> Path | None:
        """The folder of the sources; None if they are not on this machine."""
        if self.build_source is None:
            return self.path.parent
        path = self.build_source.get("path")
        return self.path.parent / path if isinstance(path, str) else None


def read_package(source: Path, pool: dict[str, Any], pool_folder: Path) -> Package:
    """The package in a source folder (or at a manifest).

    `pool` is `[workspace.dependencies]` of the workspace in `pool_folder`. Raises ManifestError where Pixi fails as
    well, and CannotTell where the folder holds a recipe or a package.xml.
    """
    if source.name in ("recipe.yaml", "recipe.yml", "package.xml") and source.is_file():
        raise CannotTell(f"only its build backend can read {source.name}")
    if not source.exists():
        raise problem(where=source, expected="the sources of a package", found="no such folder", next_step="pixi lock")
    for name in ("pixi.toml", "pyproject.toml"):
        path = source if source.is_file() else source / name
        if not path.is_file():
            continue
        toml, _, _ = parse(path)
        root = toml
        if path.name == "pyproject.toml":
            root = take_table(take_table(toml, "tool", str(path)), "pixi", "[tool]")
        if "package" in root:
            return _package(path, root, take_table(toml, "project", str(path)), pool, pool_folder)
        if path.name == "pixi.toml" or "workspace" in root:
            raise problem(where=path, expected="a table [package]", found="none")
    if any((source / name).is_file() for name in RECIPES):
        raise CannotTell("only its build backend can read the recipe")
    raise problem(where=source, expected="pixi.toml or pyproject.toml with a [package]", found="neither")


def _package(
    path: Path, root: dict[str, Any], project: dict[str, Any], pool: dict[str, Any], pool_folder: Path
) -> Package:
    table = take_table(root, "package", str(path))
    check_package(table)
    inherited = take_table(root, "workspace", str(path))

    def value(key: str) -> str | None:
        found = table.get(key)
        if isinstance(found, dict):  # { workspace = true }
            if key not in inherited:
                raise CannotTell(f"its {key} comes from the workspace above it")
            found = inherited.get(key)
        return str(found) if found is not None else project.get(key)

    build = take_table(table, "build", "[package]")
    own = {key: table[key] for key in (*TABLES, "extra-dependencies", "run-exports") if key in table}
    conditional: dict[str, dict[str, Any]] = {}
    for key in list(own):
        groups = own[key] if key in ("extra-dependencies", "run-exports") else {"": own[key]}
        for group, entries in groups.items():
            for name in [name for name in entries if re.fullmatch(r"if\(.*\)", name)]:
                target = conditional.setdefault(name[3:-1], {})
                if group:
                    target.setdefault(key, {})[group] = entries[name]
                else:
                    target[key] = entries[name]
    for selector, target in take_table(table, "target", "[package]").items():
        family_names = {"macos": "osx", "linux": "linux", "osx": "osx", "win": "win", "unix": "unix"}
        conditional.setdefault(family_names.get(selector, f"host_platform == '{selector}'"), {}).update(target)
    version = value("version")
    if version is not None and not is_version(version):
        raise problem(where="[package] version", expected="a version", found=f"'{version}'")
    targets = take_table(build, "target", "[package.build]")
    return Package(
        path=path,
        name=value("name"),
        version=version,
        backend=str(take_table(build, "backend", "[package.build]").get("name")),
        config=take_table(build, "config", "[package.build]") or take_table(build, "configuration", "[package.build]"),
        target_config={name: t.get("config", t.get("configuration", {})) for name, t in targets.items()},
        build_source=take(build, "source", dict, "[package.build]"),
        build_number=take(build, "build-number", int, "[package.build]") or 0,
        unconditional=own,
        conditional=tuple(conditional.items()),
        pool=pool,
        pool_folder=pool_folder,
    )


def check_package(table: dict[str, Any]) -> None:
    """Refuse a `[package]` table that Pixi refuses: unknown keys, no build backend, tables that are none."""
    check_keys(table, PACKAGE_KEYS, "[package]")
    if "build" not in table:
        raise problem(where="[package]", expected="a table [package.build] with a backend", found="none")
    build = take_table(table, "build", "[package]")
    check_keys(build, BUILD_KEYS, "[package.build]")
    backend = take_table(build, "backend", "[package.build]")
    if not isinstance(backend.get("name"), str):
        raise problem(where="[package.build] backend", expected="the name of a build backend", found=f"{backend!r}")
    for key in TABLES:
        take_table(table, key, "[package]")
    for key in ("extra-dependencies", "run-exports"):
        for group, entries in take_table(table, key, "[package]").items():
            if not isinstance(entries, dict):
                raise problem(where=f"[package.{key}] {group}", expected="a table", found=f"{entries!r}")


def requirements_for(package: Package, subdir: str) -> Requirements:
    """What the package requires on a subdir. Raises CannotTell for an expression that only its backend evaluates."""
    found = Requirements()
    _add(found, package, package.unconditional)
    for expression, tables in package.conditional:
        if condition_holds(expression, subdir):
            _add(found, package, tables)
    return found


def _add(found: Requirements, package: Package, tables: dict[str, Any]) -> None:
    for key in TABLES:
        found.tables[key] += _specs(found, package, tables.get(key, {}), f"[package.{key}]")
    for key, groups in (("extra-dependencies", found.extras), ("run-exports", found.run_exports)):
        for group, entries in tables.get(key, {}).items():
            groups.setdefault(group, []).extend(_specs(found, package, entries, f"[package.{key}.{group}]"))


def _specs(found: Requirements, package: Package, entries: dict[str, Any], where: str) -> list[CondaSpec]:
    specs = []
    for key, value in entries.items():
        if re.fullmatch(r"if\(.*\)", key):
            continue
        if isinstance(value, dict) and {"pin-compatible", "pin-subpackage"} & set(value):
            found.pins = True
            continue
        name = conda_name(key, where)
        spec = conda_spec(name, value, f"{where} {key}", package.pool)
        if "path" in spec.fields:
            shared = isinstance(value, dict) and "workspace" in value
            folder = package.pool_folder if shared else package.path.parent
            spec = replace(spec, fields={**spec.fields, "path": str(folder / spec.fields["path"])})
        specs.append(spec)
    return specs


def condition_holds(expression: str, subdir: str) -> bool:
    """Whether the expression of an `if(...)` table holds on a subdir. Raises CannotTell for what is unknown here."""
    names = {"linux": family(subdir) == "linux", "osx": family(subdir) == "osx", "win": family(subdir) == "win"}
    names |= {"unix": is_unix(subdir), "true": True, "false": False}
    values = {"host_platform": subdir, "target_platform": subdir, "build_platform": subdir}

    def evaluate(node: ast.expr) -> Any:
        if isinstance(node, ast.BoolOp):
            parts = [bool(evaluate(part)) for part in node.values]
            return all(parts) if isinstance(node.op, ast.And) else any(parts)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return not evaluate(node.operand)
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], (ast.Eq, ast.NotEq)):
            same = evaluate(node.left) == evaluate(node.comparators[0])
            return same if isinstance(node.ops[0], ast.Eq) else not same
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name) and node.id in {**names, **values}:
            return {**names, **values}[node.id]
        raise CannotTell(f"only its build backend can evaluate if({expression})")

    if len(expression) > LONGEST_CONDITION:
        raise CannotTell(f"an if(...) of more than {LONGEST_CONDITION} characters")
    try:
        return bool(evaluate(ast.parse(expression.strip(), mode="eval").body))
    except (SyntaxError, ValueError, RecursionError) as error:
        raise CannotTell(f"only its build backend can evaluate if({expression})") from error
