"""`[pypi-options]`: reads them, and combines those of several features."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pixi_workspace.manifest.model import PypiOptions
from pixi_workspace.manifest.spec import PypiSpec, pypi_name, pypi_table
from pixi_workspace.manifest.toml import check_keys, problem, take, take_choice, take_strings, take_table, take_url

PYPI_OPTION_KEYS = (
    "index-url extra-index-urls find-links no-build-isolation index-strategy prerelease-mode no-build "
    "dependency-overrides no-binary skip-wheel-filename-check"
)
PRERELEASES = ("disallow", "allow", "if-necessary", "explicit", "if-necessary-or-explicit")


def read_pypi_options(table: dict[str, Any] | None, where: str) -> PypiOptions | None:
    """`[pypi-options]` of the workspace or of a feature."""
    if table is None:
        return None
    check_keys(table, PYPI_OPTION_KEYS, where)
    links = []
    for entry in take(table, "find-links", list, where) or []:
        if not isinstance(entry, dict) or len({"url", "path"} & set(entry)) != 1:
            raise problem(where=f"{where} find-links", expected="tables with a url or a path", found=f"{entry!r}")
        links.append(take_url(entry, "url", where) or take(entry, "path", str, where))
    no_build: bool | frozenset[str] = frozenset()
    for key in ("no-build", "no-binary", "no-build-isolation"):
        value = table.get(key)
        if value is not None and not isinstance(value, bool):
            value = frozenset(pypi_name(n, f"{where} {key}") for n in take_strings(table, key, where) or [])
        if key == "no-build" and value:
            no_build = value
    extra = take_strings(table, "extra-index-urls", where) or []
    for url in extra:
        take_url({"extra-index-urls": url}, "extra-index-urls", where)
    overrides = pypi_table(take_table(table, "dependency-overrides", where), f"{where} dependency-overrides")
    return PypiOptions(
        index_url=take_url(table, "index-url", where),
        extra_index_urls=tuple(extra),
        find_links=tuple(links),
        index_strategy=take_choice(
            table, "index-strategy", ("first-index", "unsafe-first-match", "unsafe-best-match"), where
        ),
        prerelease_mode=take_choice(table, "prerelease-mode", PRERELEASES, where),
        skip_wheel_filename_check=take(table, "skip-wheel-filename-check", bool, where),
        no_build=no_build,
        overrides=tuple(overrides.items()),
    )


def join_options(options: list[PypiOptions], where: str) -> PypiOptions:
    """The options of several features together; a ManifestError where two disagree on a single value."""
    joined = PypiOptions()
    for option in options:
        for key in ("index_url", "index_strategy", "prerelease_mode", "skip_wheel_filename_check"):
            ours, theirs = getattr(joined, key), getattr(option, key)
            if ours is not None and theirs is not None and ours != theirs:
                raise problem(
                    where=f"{where} features", expected=f"one {key.replace('_', '-')}", found=f"{ours} and {theirs}"
                )
        joined = _overlay(joined, option, dict(option.overrides) | dict(joined.overrides))
    return joined


def overlay_options(base: PypiOptions | None, over: PypiOptions) -> PypiOptions:
    """The workspace's options with those of the features laid over them."""
    base = base or PypiOptions()
    return _overlay(base, over, dict(base.overrides) | dict(over.overrides))


def _overlay(base: PypiOptions, over: PypiOptions, overrides: dict[str, PypiSpec]) -> PypiOptions:
    def first(key: str) -> Any:
        return getattr(over, key) if getattr(over, key) is not None else getattr(base, key)

    if base.no_build is True or over.no_build is True:
        no_build = True
    else:
        no_build = (base.no_build or frozenset()) | (over.no_build or frozenset())
    return replace(
        base,
        index_url=first("index_url"),
        index_strategy=first("index_strategy"),
        prerelease_mode=first("prerelease_mode"),
        skip_wheel_filename_check=first("skip_wheel_filename_check"),
        extra_index_urls=tuple(dict.fromkeys((*base.extra_index_urls, *over.extra_index_urls))),
        find_links=tuple(dict.fromkeys((*base.find_links, *over.find_links))),
        no_build=no_build,
        overrides=tuple(overrides.items()),
    )
