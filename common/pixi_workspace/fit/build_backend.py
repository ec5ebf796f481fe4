"""What a build backend would answer about a package, where the answer follows from the manifest alone.

Pixi asks the backend and compares its answer with the lock. The rules are those of pixi-build-python, -cmake and -rust
(in Pixi's repository: crates/pixi_build_*/src/main.rs, crates/pixi_build_backend/src/compilers.rs). Other backends add
dependencies of their own.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from pixi_workspace import files, platforms
from pixi_workspace.fit.requirement_text import specifiers_text
from pixi_workspace.lock_entries import SourceEntry
from pixi_workspace.manifest.package import CannotTell, Package, Requirements, requirements_for
from pixi_workspace.manifest.spec import LOCATION_KEYS, CondaSpec
from pixi_workspace.manifest.toml import check_keys, problem, take_table
from pixi_workspace.specs import match_spec

PYTHON_CONFIG_KEYS = (
    "noarch extra-args env debug-dir debug_dir extra-input-globs compilers ignore-pyproject-manifest "
    "ignore-pypi-mapping pypi-conda-map abi3 skip-pyc-compilation installer"
)
COMPILED_CONFIG_KEYS = {
    "pixi-build-cmake": "extra-args env debug-dir debug_dir extra-input-globs compilers",
    "pixi-build-rust": "extra-args system-env env debug-dir debug_dir extra-input-globs ignore-cargo-manifest compilers "
    "binaries",
}
BUILD_TOOLS = {"pixi-build-cmake": ("cmake", "ninja"), "pixi-build-rust": ()}
COMPILERS = {"pixi-build-cmake": ["cxx"], "pixi-build-rust": ["rust", "c"]}
# The package of a compiler begins with this, by language and family of systems; on others, with the language.
COMPILER_NAMES = {
    "c": {"linux": "gcc", "osx": "clang", "win": "vs2022"},
    "cxx": {"linux": "gxx", "osx": "clangxx", "win": "vs2022"},
    "fortran": dict.fromkeys(("linux", "osx", "win"), "gfortran"),
    "cuda": dict.fromkeys(("linux", "osx", "win"), "cuda-nvcc"),
}
BRINGS_RUST = ("maturin", "setuptools-rust")  # in `requires` of `[build-system]`


@dataclass(frozen=True)
class Answer:
    """The answer of the backend. Dependencies are texts such as `numpy >=2`, in the form that the lock uses.

    unknown: why the backend may add dependencies that are unknown here; None if it does not. variant_keys: build
    variants that it uses for compilers.
    """

    name: str
    version: str
    build_number: int
    noarch: bool
    depends: list[str]
    constrains: list[str]
    extra_depends: dict[str, list[str]]
    run_exports: dict[str, list[str]]
    host: list[CondaSpec]
    build: list[CondaSpec]
    run: list[CondaSpec]
    unknown: str | None = None
    notes: list[str] = field(default_factory=list)
    variant_keys: frozenset[str] = frozenset()


def ask(package: Package, subdir: str, locked: SourceEntry | None, variants: dict[str, str]) -> Answer:
    """The answer for one subdir. Raises ManifestError where the backend would fail, CannotTell where it is unknown.

    `locked`: the entry of the lock; None for a package that is only developed. `variants`: the build variants.
    """
    found = requirements_for(package, subdir)
    unknown = None
    if found.pins:
        unknown = "its manifest pins versions of build dependencies"
    if package.source_folder is None:
        raise CannotTell("only Pixi can fetch its sources")
    if not package.source_folder.exists():
        raise problem(where=package.source_folder, expected="the sources of the package", found="no such folder")
    notes: list[str] = []
    name, version, noarch = package.name, package.version, True
    python: list[CondaSpec] = []
    languages: list[str] = []
    if package.backend == "pixi-build-python":
        name, version, noarch, reason, languages = _add_python(package, found, subdir, locked, python, notes)
        found.tables["build-dependencies"] += _compiler_packages(languages, subdir, variants)
        unknown = unknown or reason
    elif package.backend in COMPILERS:
        noarch = False
        name, version, languages = _add_compilers(package, found, subdir, variants)
    else:
        noarch = False
        unknown = unknown or f"only its build backend {package.backend} knows all that it depends on"
    if not name or not version:
        missing = "name" if not name else "version"
        if package.backend not in ("pixi-build-python", *COMPILERS):
            raise CannotTell(f"only its build backend {package.backend} knows its {missing}")
        raise problem(where=package.path, expected=f"a {missing} of the package", found="none")
    if not platforms.is_version(version):
        raise problem(where=package.path, expected="a version of the package", found=f"'{version}'")
    run = [*found.tables["run-dependencies"], *python]
    return Answer(
        name=name.lower(),
        version=version,
        build_number=package.build_number,
        noarch=noarch,
        depends=texts(run),
        constrains=texts(found.tables["run-constraints"]),
        extra_depends={group: texts(specs) for group, specs in found.extras.items()},
        run_exports={
            group.replace("constraints", "constrains").replace("-", "_"): texts(s)
            for group, s in found.run_exports.items()
        },
        host=[*found.tables["host-dependencies"], *python],
        build=found.tables["build-dependencies"],
        run=run,
        unknown=unknown,
        notes=notes,
        variant_keys=frozenset(_variant_keys(languages)),
    )


def _config(package: Package, subdir: str, allowed: str) -> dict[str, Any]:
    """`[package.build.config]` with that of the first target that matches. Raises ManifestError for unknown keys."""
    config = dict(package.config)
    for selector, more in package.target_config.items():
        if platforms.selector_matches(selector, platforms.bare(subdir)):
            config.update(more)
            break
    check_keys(config, allowed, "[package.build.config]")
    return config


def _compiler_packages(languages: list[str], subdir: str, variants: dict[str, str]) -> list[CondaSpec]:
    """The packages of compilers for these languages, and of the C library."""
    system = platforms.family(subdir)
    names = []
    for language in languages:
        compiler = variants.get(f"{language}_compiler", COMPILER_NAMES.get(language, {}).get(system, language))
        names.append(f"{compiler}_{subdir}")
    if "c_stdlib" in variants and languages:
        names.append(f"{variants['c_stdlib']}_{subdir}")
    return [CondaSpec(name, {}) for name in names]


def _variant_keys(languages: list[str]) -> list[str]:
    """The build variants from which a backend takes its compilers and the C library."""
    keys = [f"{language}_{key}" for language in languages for key in ("compiler", "compiler_version")]
    return [*keys, "c_stdlib", "c_stdlib_version"] if languages else keys


def _add_compilers(
    package: Package, found: Requirements, subdir: str, variants: dict[str, str]
) -> tuple[str | None, str | None, list[str]]:
    """Add the tools that pixi-build-cmake or -rust adds to the build dependencies.

    Returns the name, the version and the languages of the compilers.
    """
    config = _config(package, subdir, COMPILED_CONFIG_KEYS[package.backend])
    languages = config.get("compilers", COMPILERS[package.backend])
    found.tables["build-dependencies"] += [CondaSpec(name, {}) for name in BUILD_TOOLS[package.backend]]
    found.tables["build-dependencies"] += _compiler_packages(languages, subdir, variants)
    name, version = package.name, package.version
    if package.backend == "pixi-build-rust" and not config.get("ignore-cargo-manifest"):
        cargo = _cargo(package.source_folder or package.path.parent)
        name, version = name or cargo.get("name"), version or cargo.get("version")
    return name, version, languages


def _cargo(folder: Path) -> dict[str, str]:
    """`[package]` of Cargo.toml, with what it takes from the workspace above it. Raises ManifestError, CannotTell."""
    path = folder / "Cargo.toml"
    package = take_table(_toml(path), "package", str(path)) if path.is_file() else {}
    found = {}
    for key in ("name", "version"):
        value = package.get(key)
        if isinstance(value, dict):  # version = { workspace = true }
            for above in (folder, *folder.resolve().parents):
                shared = above / "Cargo.toml"
                table = take_table(_toml(shared), "workspace", str(shared)) if shared.is_file() else {}
                if key in table.get("package", {}):
                    value = table["package"][key]
                    break
        if isinstance(value, str):
            found[key] = value
    return found


def _add_python(
    package: Package,
    found: Requirements,
    subdir: str,
    locked: SourceEntry | None,
    python: list[CondaSpec],
    notes: list[str],
) -> tuple[str | None, str | None, bool, str | None, list[str]]:
    """Add what pixi-build-python adds to host and run dependencies.

    Returns the name, the version, whether it is noarch, what is unknown, and the languages of the compilers.
    """
    config = _config(package, subdir, PYTHON_CONFIG_KEYS)
    unknown = None
    path = (package.source_folder or package.path.parent) / "pyproject.toml"
    project: dict[str, Any] = {}
    build_system: dict[str, Any] = {}
    if not config.get("ignore-pyproject-manifest"):
        if path.is_file():
            toml = _toml(path)
            project, build_system = take_table(toml, "project", str(path)), take_table(toml, "build-system", str(path))
        elif _was_built_with_python(locked):
            raise problem(where=path, expected="the pyproject.toml that pixi-build-python needs", found="no such file")
        else:
            notes.append(f"'{package.name}' has no pyproject.toml, which pixi-build-python needs today")
            return package.name, package.version, True, None, []
    requires = [_requirement_name(line) for line in build_system.get("requires", [])]
    compilers = list(config.get("compilers") or [])
    if set(requires) & set(BRINGS_RUST) and "rust" not in compilers:
        compilers.append("rust")
    if config.get("ignore-pypi-mapping") is False and (requires or project.get("dependencies")):
        unknown = "only its build backend knows the conda names of its PyPI dependencies"
    if config.get("abi3"):
        unknown = "only its build backend knows what a package for any Python (abi3) depends on"
    version_of_python = project.get("requires-python")
    fields = {}
    if version_of_python:
        try:
            fields = {"version": specifiers_text(SpecifierSet(version_of_python))}
        except InvalidSpecifier as error:
            raise problem(where=f"{path} requires-python", expected="a version", found=version_of_python) from error
    python.append(CondaSpec("python", fields))
    found.tables["host-dependencies"].append(CondaSpec(config.get("installer", "uv"), {}))
    noarch = config["noarch"] if isinstance(config.get("noarch"), bool) else not compilers
    name, version = package.name or project.get("name"), package.version or project.get("version")
    return name, version, noarch, unknown, compilers


def _was_built_with_python(locked: SourceEntry | None) -> bool:
    return locked is not None and bool(locked.host_packages or any(d.split()[0] == "python" for d in locked.depends))


def _toml(path: Path) -> dict[str, Any]:
    try:
        return files.read_toml(path)
    except (OSError, ValueError) as error:
        raise problem(where=path, expected="valid TOML", found=str(error)) from error


def _requirement_name(line: object) -> str:
    try:
        return str(canonicalize_name(Requirement(str(line)).name))
    except (InvalidRequirement, RecursionError):
        return ""


def texts(specs: list[CondaSpec]) -> list[str]:
    """Dependencies in the form that the lock uses: `numpy >=2`, and the name alone where any version will do."""
    return list(dict.fromkeys(text_of(spec) for spec in specs))


def text_of(spec: CondaSpec) -> str:
    """One dependency in the form that the lock uses. Raises CannotTell where that form is unknown here."""
    fields = {key: value for key, value in spec.fields.items() if key not in LOCATION_KEYS.split()}
    if "url" in spec.fields and not spec.is_source:
        raise CannotTell(f"it depends on a package at an address: {spec}")
    if fields in ({}, {"version": "*"}):
        return spec.name
    if {"channel", "file-name", "license-family"} & set(fields) or not isinstance(fields.get("when", ""), str):
        raise CannotTell(f"it has a dependency that only Pixi can write down: {spec}")
    parts = []
    for key in ("version", "build", "build-number", "subdir", "license", "when"):
        if key in fields:
            parts.append(f"{key.replace('-', '_')}={json.dumps(fields[key])}")
    for key in ("extras", "flags"):
        if fields.get(key):
            parts.append(f"{key}=[{','.join(fields[key])}]")
    return canonical(f"{spec.name}[{','.join(parts)}]")


def canonical(text: str) -> str:
    """A dependency in rattler's own spelling, so that two texts can be compared; unchanged where it reads no such."""
    try:
        return re.sub(r"^(\S+) \*$", r"\1", str(match_spec(text, False)))
    except Exception:  # the exception types of rattler differ between its releases
        return text
