"""The tables of a Pixi manifest: `[workspace]`, features, targets and tasks.

Each reader gets the TOML table and its name (`feature.cpu`), so that a message can name the table.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from pixi_workspace import platforms
from pixi_workspace.manifest.entries import read_channels, read_cutoff, read_platforms, read_system_requirements
from pixi_workspace.manifest.model import Feature, Head, Target, Task
from pixi_workspace.manifest.options import read_pypi_options
from pixi_workspace.manifest.spec import check_location, conda_name, conda_spec, conda_table, pypi_table
from pixi_workspace.manifest.toml import (
    check_keys,
    nearest,
    problem,
    take,
    take_choice,
    take_strings,
    take_table,
    take_url,
)

HEAD_KEYS = (
    "name version description authors channels channel-priority solve-strategy platforms license license-file readme "
    "homepage repository documentation conda-pypi-map pypi-options s3-options preview target build-variants-files "
    "build-variants requires-pixi exclude-newer dependencies"
)
TARGET_KEYS = "dependencies host-dependencies build-dependencies constraints pypi-dependencies dev activation tasks"
DEFAULT_KEYS = f"{TARGET_KEYS} target pypi-options system-requirements"
FEATURE_KEYS = f"{DEFAULT_KEYS} platforms channels channel-priority solve-strategy"
ENVIRONMENT_KEYS = (
    "features solve-group no-default-feature platforms channels channel-priority solve-strategy target dependencies "
    "pypi-dependencies dev constraints activation tasks pypi-options"
)
TASK_KEYS = "cmd inputs outputs depends-on depends_on cwd env default-environment description clean-env args"
ALIAS_KEYS = "depends-on depends_on description args"
PRIORITIES = ("strict", "flexible", "disabled")
STRATEGIES = ("highest", "lowest", "lowest-direct")


def read_head(table: dict[str, Any], where: str, root: Path) -> Head:
    """`[workspace]`; `root` is the workspace folder, in which the licence and the readme have to exist."""
    check_keys(table, HEAD_KEYS, where)
    for key in ("name", "version", "description", "license", "license-file", "readme"):
        take(table, key, str, where)
    for key in ("homepage", "repository", "documentation"):
        take_url(table, key, where)
    take_strings(table, "authors", where)
    if "version" in table and not platforms.is_version(table["version"]):
        raise problem(where=f"{where} version", expected="a version", found=f"'{table['version']}'")
    if "license" in table:
        try:
            canonicalize_license_expression(table["license"])
        except InvalidLicenseExpression as error:
            raise problem(
                where=f"{where} license",
                expected='an SPDX expression such as "BSD-3-Clause"',
                found=f"'{table['license']}'",
            ) from error
    for key in ("license-file", "readme"):
        if key in table and not (root / table[key]).is_file():
            raise problem(where=f"{where} {key}", expected="a file that exists", found=f"'{table[key]}'")
    for name in take_strings(table, "build-variants-files", where) or []:
        if not (root / name).is_file():
            raise problem(where=f"{where} build-variants-files", expected="files that exist", found=f"'{name}'")
    if "channels" not in table:
        near = nearest("channels", table)
        raise problem(where=where, expected='channels, such as channels = ["conda-forge"]', found=f"no channels{near}")
    preview = table.get("preview", [])
    if not isinstance(preview, bool) and take_strings(table, "preview", where) is None and "preview" in table:
        raise problem(where=f"{where} preview", expected="true or a list", found=f"{preview!r}")
    pool = take_table(table, "dependencies", where)
    for key, value in pool.items():
        conda_spec(conda_name(key, f"{where} dependencies"), value, f"{where} dependencies {key}", {})
    return Head(
        name=table.get("name"),
        channels=read_channels(take(table, "channels", list, where) or [], f"{where} channels"),
        platforms=read_platforms(take(table, "platforms", list, where) or [], f"{where} platforms"),
        channel_priority=take_choice(table, "channel-priority", PRIORITIES, where),
        solve_strategy=take_choice(table, "solve-strategy", STRATEGIES, where),
        pypi_options=read_pypi_options(take(table, "pypi-options", dict, where), f"{where} pypi-options"),
        exclude_newer=read_cutoff(table.get("exclude-newer"), f"{where} exclude-newer"),
        build_preview=isinstance(preview, bool) or "pixi-build" in preview,
        pool=pool,
        build_variants=_build_variants(table, where),
        variant_files=bool(table.get("build-variants-files")),
    )


def _build_variants(table: dict[str, Any], where: str) -> tuple[tuple[str | None, dict[str, list[str]]], ...]:
    """`[workspace.build-variants]`, in general and by target; names as build backends normalize them."""
    found: list[tuple[str | None, dict[str, list[str]]]] = []
    targets = take_table(table, "target", where)
    for selector, content in ((None, table), *targets.items()):
        if isinstance(content, dict):
            variants = take_table(content, "build-variants", where)
            keys = {name: take_strings(variants, name, f"{where} build-variants") or [] for name in variants}
            found.append((selector, {re.sub("[-.]", "_", name.lower()): values for name, values in keys.items()}))
    return tuple(found)


def read_feature(name: str, table: dict[str, Any], location: str, head: Head) -> Feature:
    """A feature, or the tables at the root of the manifest (`location` empty)."""
    if location.startswith("feature."):
        check_keys(table, FEATURE_KEYS, f"[{location}]", _table_meant(name, table))
    prefix = f"{location}." if location else ""
    general = {k: v for k, v in table.items() if k in TARGET_KEYS.split()}
    targets = [read_target(None, general, prefix, head)]
    for selector, content in take_table(table, "target", f"[{location}]").items():
        where = f"[{prefix}target.{selector}]"
        wrong = platforms.selector_problem(selector)
        if wrong:
            raise problem(where=where, expected="a system, a subdir or a platform", found=f"'{selector}': {wrong}")
        if not isinstance(content, dict):
            raise problem(where=where, expected="a table", found=f"{content!r}")
        check_keys(content, TARGET_KEYS, where)
        targets.append(read_target(selector, content, f"{prefix}target.{selector}.", head))
    names = take_strings(table, "platforms", f"[{location}]")
    for platform in names or []:
        wrong = platforms.name_problem(platform)
        if wrong:
            raise problem(
                where=f"[{location}] platforms", expected="names of platforms", found=f"'{platform}': {wrong}"
            )
    channels = take(table, "channels", list, f"[{location}]")
    return Feature(
        name=name,
        targets=tuple(targets),
        platforms=tuple(dict.fromkeys(names)) if names is not None else None,
        channels=read_channels(channels, f"[{location}] channels") if channels is not None else None,
        channel_priority=take_choice(table, "channel-priority", PRIORITIES, f"[{location}]"),
        solve_strategy=take_choice(table, "solve-strategy", STRATEGIES, f"[{location}]"),
        pypi_options=read_pypi_options(take(table, "pypi-options", dict, f"[{location}]"), f"[{prefix}pypi-options]"),
        system_requirements=read_system_requirements(take_table(table, "system-requirements", f"[{location}]"), prefix),
    )


def _table_meant(name: str, table: dict[str, Any]) -> str:
    """The intended table if a package, such as `pytest = ">=8"`, is written directly into a feature."""
    for key, value in table.items():
        if key not in FEATURE_KEYS.split():
            is_package = isinstance(value, str) or (isinstance(value, dict) and set(value) <= {"version", "build"})
            near = nearest(key, FEATURE_KEYS.split())
            return f"[feature.{name}.dependencies]" if is_package and not near else ""
    return ""


def read_target(selector: str | None, table: dict[str, Any], prefix: str, head: Head) -> Target:
    """Dependencies, tasks and activation of one target."""
    kinds = {}
    for kind, key in (("run", "dependencies"), ("host", "host-dependencies"), ("build", "build-dependencies")):
        if key not in table:
            continue
        where = f"[{prefix}{key}]"
        if kind != "run" and head.build_preview:
            raise problem(
                where=where, expected=f"[package.{key}] with the preview pixi-build", found="a table of the workspace"
            )
        kinds[kind] = conda_table(take_table(table, key, prefix), where, head.pool, head.build_preview)
    limits = conda_table(take_table(table, "constraints", prefix), f"[{prefix}constraints]", head.pool, True)
    for name, spec in limits.items():
        if spec.is_source:
            raise problem(
                where=f"[{prefix}constraints] {name}",
                expected="a constraint on a package of a channel",
                found="a source",
            )
    pypi = pypi_table(take_table(table, "pypi-dependencies", prefix), f"[{prefix}pypi-dependencies]")
    dev = take_table(table, "dev", prefix)
    activation = take_table(table, "activation", prefix)
    check_keys(activation, "scripts env", f"[{prefix}activation]")
    variables = take_table(activation, "env", f"[{prefix}activation]")
    if not all(isinstance(v, str) for v in variables.values()):
        raise problem(where=f"[{prefix}activation.env]", expected="strings", found=f"{variables!r}")
    where = f"[{prefix}tasks]"
    return Target(
        selector=selector,
        dependencies=kinds,
        pypi={name: (spec,) for name, spec in pypi.items()},
        constraints=limits,
        dev={conda_name(k, f"[{prefix}dev]"): check_location(v, f"[{prefix}dev] {k}") for k, v in dev.items()},
        tasks={n: read_task(n, v, f"{where} {n}") for n, v in take_table(table, "tasks", prefix).items()},
        activation_env=variables,
        activation_scripts=tuple(take_strings(activation, "scripts", f"[{prefix}activation]") or ()),
    )


def read_task(name: str, value: Any, where: str) -> Task:
    """A task: a command, a table, or a list of tasks to run."""
    if isinstance(value, str):
        return Task(name, value, None, None, {"cmd": value})
    if isinstance(value, list):
        if not all(isinstance(v, dict) and isinstance(v.get("task"), str) for v in value):
            raise problem(where=where, expected="tables with a task", found=f"{value!r}")
        return Task(name, None, None, None, {"depends-on": value})
    if not isinstance(value, dict):
        raise problem(where=where, expected="a command or a table", found=f"{value!r}")
    is_alias = "cmd" not in value and ("depends-on" in value or "depends_on" in value)
    check_keys(value, ALIAS_KEYS if is_alias else TASK_KEYS, where)
    if "cmd" in value and not isinstance(value["cmd"], str):
        take_strings(value, "cmd", where)
    for key in ("cwd", "default-environment", "description"):
        take(value, key, str, where)
    for key in ("inputs", "outputs"):
        take_strings(value, key, where)
    take(value, "clean-env", bool, where)
    if not all(isinstance(v, str) for v in take_table(value, "env", where).values()):
        raise problem(where=f"{where} env", expected="strings", found=f"{value['env']!r}")
    chosen = value.get("default-environment")
    if chosen is not None and not re.fullmatch(r"[a-z0-9-]+", chosen):
        raise problem(where=f"{where} default-environment", expected="the name of an environment", found=f"'{chosen}'")
    before = value.get("depends-on", value.get("depends_on", []))
    for step in [before] if isinstance(before, str) else before if isinstance(before, list) else [None]:
        if isinstance(step, dict):
            check_keys(step, "task args environment", f"{where} depends-on")
        if not isinstance(step, str) and not (isinstance(step, dict) and isinstance(step.get("task"), str)):
            raise problem(
                where=f"{where} depends-on", expected="names of tasks, or tables with a task", found=f"{before!r}"
            )
    _check_arguments(take(value, "args", list, where) or [], f"{where} args")
    return Task(name, value.get("cmd"), value.get("description"), chosen, value)


def _check_arguments(arguments: list[Any], where: str) -> None:
    optional = False
    for argument in arguments:
        table = {"arg": argument} if isinstance(argument, str) else argument
        if not isinstance(table, dict) or not isinstance(table.get("arg"), str) or "-" in table["arg"]:
            raise problem(where=where, expected="names without '-', or tables with an arg", found=f"{argument!r}")
        check_keys(table, "arg default choices", where)
        default, choices = take(table, "default", str, where), take_strings(table, "choices", where)
        if default is not None and choices is not None and default not in choices:
            raise problem(where=where, expected=f"a default among {choices}", found=f"'{default}'")
        if optional and default is None:
            raise problem(
                where=where,
                expected="arguments with a default after those without",
                found=f"'{table['arg']}' without one",
            )
        optional = optional or default is not None
