"""Do the packages that are locked for one environment on one platform meet everything that is asked of them?"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from rattler import MatchSpec, Version, VersionSpec

from pixi_workspace import lock as locks
from pixi_workspace import manifest as manifests
from pixi_workspace import platforms
from pixi_workspace.fit import satisfy_pypi
from pixi_workspace.fit.satisfy_environment import Reason, listed, pypi_options
from pixi_workspace.lock import Lock, LockedPackage
from pixi_workspace.manifest import CondaSpec, Environment, Manifest, PypiSpec
from pixi_workspace.platforms import Platform, VirtualPackage


@dataclass
class Walk:
    """One (environment, platform) as it is walked: what is locked, what was reached, what was wrong."""

    environment: str
    platform: Platform
    conda: dict[str, LockedPackage]
    pypi: dict[str, LockedPackage]
    virtual: dict[str, VirtualPackage]
    reasons: list[Reason] = field(default_factory=list)
    pypi_reasons: list[Reason] = field(default_factory=list)
    reached: set[str] = field(default_factory=set)
    reached_pypi: set[str] = field(default_factory=set)
    asked_by_conda: set[str] = field(default_factory=set)
    used_by_pypi: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    def add(self, message: str, package: str | None = None, constraint: object = None, record: object = None) -> None:
        self.reasons.append(self._reason(message, package, constraint, record))

    def add_pypi(
        self, message: str, package: str | None = None, constraint: object = None, record: object = None
    ) -> None:
        self.pypi_reasons.append(self._reason(message, package, constraint, record))

    def _reason(self, message: str, package: str | None, constraint: object, record: object) -> Reason:
        shown = [None if value is None else str(value) for value in (constraint, record)]
        return Reason(message, self.environment, self.platform.name, package, *shown)


def walk_platform(
    manifest: Manifest, lock: Lock, environment: Environment, platform: Platform, parsed: dict[str, MatchSpec]
) -> Walk:
    """Follow every dependency of one environment on one platform through the locked packages."""
    walk = Walk(environment.name, platform, {}, {}, _virtual_packages(platform))
    for package in locks.packages(lock, environment.name, platform):
        table = walk.pypi if package.kind == "pypi" else walk.conda
        key = package.name.lower() if package.kind != "pypi" else str(canonicalize_name(package.name))
        if key in table:
            walk.add("the lock holds the package twice", package.name, None, f"{table[key]} and {package}")
        table[key] = package
    specs = manifests.conda_specs(manifest, environment.name, platform)
    asked = manifests.pypi_specs(manifest, environment.name, platform)
    anywhere = any(t.pypi for f in environment.features for t in f.targets)
    if anywhere and not walk.pypi and all(p.purls is None for p in walk.conda.values() if p.kind == "conda"):
        walk.add("no locked package says which PyPI package it provides, though PyPI packages are asked for")
    for name, limits in manifests.constraints(manifest, environment.name, platform).items():
        package = walk.conda.get(name)
        for limit in limits:
            if package is not None and package.kind == "conda" and not limit.match_spec().matches(package.record):
                walk.add("the locked package breaks a constraint", name, limit, package)
    developed = manifests.dev_sources(manifest, environment.name, platform)
    if developed:
        walk.notes.append(
            f"what the development packages {listed(tuple(developed))} depend on is not looked at: only Pixi "
            "can ask their build backends"
        )
    sources = _walk_conda(walk, specs, parsed)
    _walk_pypi(walk, manifest, environment, lock, asked, parsed)
    if walk.reasons and not walk.conda and not walk.pypi:  # one line says more than one for every package
        asked_for = listed((*specs, *asked))
        walk.reasons.clear()
        walk.pypi_reasons.clear()
        walk.add("nothing is locked for the platform", None, asked_for, "nothing")
    if not walk.reasons and not developed:
        for name in sorted(walk.conda.keys() - walk.reached):
            walk.add("nothing asks for the locked package any more", name, None, walk.conda[name])
    for name, package in walk.conda.items():
        if package.kind == "conda-source" and name not in sources and not developed:
            walk.add(
                "the lock builds the package from source, a package of a channel is asked for", name, None, package
            )
    if not walk.reasons and not walk.pypi_reasons:
        for name in sorted(walk.pypi.keys() - walk.reached_pypi):
            walk.add_pypi("nothing asks for the locked PyPI package any more", name, None, walk.pypi[name])
    return walk


def _virtual_packages(platform: Platform) -> dict[str, VirtualPackage]:
    """What dependencies like `__cuda >=12` are compared with. Names that rattler does not know are left out."""
    known = ("__unix", "__linux", "__win", "__osx", "__cuda", "__cuda_arch", *platforms.LIBC)
    found = {v.name: VirtualPackage(v.name, v.version, "0") for v in platform.virtual_packages if v.name in known}
    for virtual in platform.virtual_packages:
        if virtual.name == "__archspec":
            named = virtual.build not in ("", "0")
            found[virtual.name] = VirtualPackage(virtual.name, "1" if named else "0", virtual.build or "0")
    return found


def _virtual_meets(virtual: VirtualPackage, spec: MatchSpec) -> bool:
    if spec.version is not None and not VersionSpec(str(spec.version), False).matches(Version(virtual.version)):
        return False
    if spec.build is None:
        return True
    build = str(spec.build)
    pattern = build if build.startswith("^") and build.endswith("$") else re.escape(build).replace(r"\*", ".*")
    return re.fullmatch(pattern, virtual.build) is not None


def _holds(condition: tuple, walk: Walk, parsed: dict[str, MatchSpec]) -> bool:
    """Whether a `when` is met by the locked packages or the platform."""
    if condition[0] in ("and", "or"):
        left, right = (_holds(part, walk, parsed) for part in condition[1:])
        return (left and right) if condition[0] == "and" else (left or right)
    spec = condition[1].match_spec() if condition[0] == "conda" else _spec(condition[1], parsed)
    name = _name(spec)
    package, virtual = walk.conda.get(name), walk.virtual.get(name)
    return (package is not None and _meets(package, spec)) or (virtual is not None and _virtual_meets(virtual, spec))


def _text_condition(text: str) -> tuple:
    """rattler's text of a condition, `a and (b or c)`, as nested tuples; `and` binds closer than `or`."""
    tokens = re.findall(r"\(|\)|\band\b|\bor\b|(?:(?!\band\b|\bor\b)[^()])+", text)
    tokens = [t.strip() for t in tokens if t.strip()]

    def either() -> tuple:
        left = both()
        while tokens and tokens[0] == "or":
            tokens.pop(0)
            left = ("or", left, both())
        return left

    def both() -> tuple:
        left = single()
        while tokens and tokens[0] == "and":
            tokens.pop(0)
            left = ("and", left, single())
        return left

    def single() -> tuple:
        token = tokens.pop(0)
        if token != "(":
            return ("spec", token)
        inner = either()
        tokens.pop(0)
        return inner

    return either()


def _spec(text: str, parsed: dict[str, MatchSpec]) -> MatchSpec:
    if text not in parsed:
        parsed[text] = MatchSpec(text, False)
    return parsed[text]


def _name(spec: MatchSpec) -> str:
    found = getattr(spec.name, "normalized", None)
    return found if isinstance(found, str) else str(spec.name).lower()


def _meets(package: LockedPackage, spec: MatchSpec) -> bool:
    return package.record is not None and spec.matches(package.record)


def _walk_conda(walk: Walk, specs: dict[str, list[CondaSpec]], parsed: dict[str, MatchSpec]) -> set[str]:
    """Follow conda dependencies; returns the names that source specs ask for."""
    sources: set[str] = set()
    if not specs and walk.conda:
        walk.add("no conda package is asked for, yet the lock holds some", None, None, listed(tuple(walk.conda)[:3]))
    for name, constraints in specs.items():
        for spec in constraints:
            if spec.conditions is not None and not _holds(spec.conditions, walk, parsed):
                continue
            package = walk.conda.get(name)
            if spec.is_source:
                sources.add(name)
            problem = _conda_problem(spec, package, walk)
            if problem is not None:
                walk.add(problem, name, spec, package)
            if package is not None:
                _reach(walk, package, spec.extras, parsed)
                walk.asked_by_conda.add(name)
    return sources


def _conda_problem(spec: CondaSpec, package: LockedPackage | None, walk: Walk) -> str | None:
    """Why a locked package does not meet a constraint of the manifest, or None."""
    if package is None:
        virtual = walk.virtual.get(spec.name)
        if virtual is not None and _virtual_meets(virtual, spec.match_spec()):
            return None
        return "the package is not locked" if virtual is None else f"the platform has {virtual.name} {virtual.version}"
    if spec.is_source:
        if package.kind != "conda-source":
            return "the package is to be built from source, the lock holds one of a channel"
        if package.url.startswith("git+") != ("git" in spec.fields) or ("://" in package.url) == (
            "path" in spec.fields
        ):
            return "the lock builds the package from another place"
        walk.notes.append(f"'{spec.name}' is built from source: whether its recipe changed only Pixi can tell")
        return None
    if "url" in spec.fields and not satisfy_pypi.same_url(spec.fields["url"], package.url):
        return "the lock holds the package of another address"
    if not _meets(package, spec.match_spec()):
        return "the locked package does not meet the constraint"
    return None


def _reach(walk: Walk, package: LockedPackage, extras: tuple[str, ...], parsed: dict[str, MatchSpec]) -> None:
    """Mark a package and all that it depends on, and note what is missing or does not fit."""
    stack: list[tuple[LockedPackage, tuple[str, ...]]] = [(package, extras)]
    while stack:
        package, extras = stack.pop()
        key = package.name.lower()
        depends = list(package.depends) if key not in walk.reached else []
        walk.reached.add(key)
        for group, more in package.extra_depends:
            if group in extras and f"{key}[{group}]" not in walk.asked_by_conda:
                walk.asked_by_conda.add(f"{key}[{group}]")
                depends += more
        for text in depends:
            try:
                spec = _spec(text, parsed)
            except Exception:
                walk.add("a dependency of the locked package cannot be read", package.name, text, package)
                continue
            if spec.condition and not _holds(_text_condition(str(spec.condition)), walk, parsed):
                continue
            name = _name(spec)
            held, virtual = walk.conda.get(name), walk.virtual.get(name)
            if held is not None:
                if not _meets(held, spec):
                    walk.add(f"the locked package does not meet what {package} depends on", name, text, held)
                walk.asked_by_conda.add(name)
                stack.append((held, tuple(spec.extras or ())))
            elif virtual is None:
                walk.add(f"{package} depends on a package that is not locked", name, text, None)
            elif not _virtual_meets(virtual, spec):
                walk.add(f"{package} depends on more than the platform has", name, text, virtual)


def _walk_pypi(
    walk: Walk,
    manifest: Manifest,
    environment: Environment,
    lock: Lock,
    asked: dict[str, list[PypiSpec]],
    parsed: dict[str, MatchSpec],
) -> None:
    """Follow PyPI requirements; a conda package that provides the PyPI package is good for one too."""
    root = manifest.path.parent
    locked = lock.environments[environment.name]
    python = walk.conda.get("python")
    markers = satisfy_pypi.marker_environment(walk.platform, python.version or "") if python else None
    provided = {name: (p, version) for p in walk.conda.values() for name, version in satisfy_pypi.identities(p)}
    overrides = dict(pypi_options(manifest, environment.features).overrides)
    indexes = (*(locked.indexes or ()), *(u for u in locked.find_links if "://" in u))
    queue = [
        (spec, "the manifest", True)
        for specs in asked.values()
        for spec in specs
        if satisfy_pypi.applies(spec.marker, markers, spec.extras)
    ]
    if not queue and walk.pypi:
        walk.add_pypi("no PyPI package is asked for, yet the lock holds some", None, None, listed(tuple(walk.pypi)[:3]))
        return
    for package in walk.pypi.values():
        if satisfy_pypi.is_path(package.url) and not (root / package.url).exists():
            walk.notes.append(f"the local package '{package.url}' does not exist here")
    seen = set(queue)
    while queue:
        spec, origin, direct = queue.pop()
        wanted = overrides.get(spec.name, spec)
        if spec.name in provided:
            package, version = provided[spec.name]
            if direct and spec.path and not (root / spec.path).exists():
                walk.add_pypi(f"'{spec.path}' does not exist", spec.name, spec, package)
            if spec.url or spec.git or spec.path or wanted.url or wanted.git or wanted.path:
                walk.add_pypi(
                    "conda provides the package, so it cannot come from a URL, git or a path", spec.name, spec, package
                )
            elif not satisfy_pypi.contains(wanted.specifiers, version):
                walk.add_pypi(
                    f"conda provides the package in a version that does not suit {origin}", spec.name, wanted, package
                )
            walk.used_by_pypi.add(package.name.lower())
            _reach(walk, package, (), parsed)
            continue
        package = walk.pypi.get(spec.name)
        if package is None:
            walk.add_pypi(f"{origin} asks for a PyPI package that is not locked", spec.name, spec, None)
            continue
        wrong = satisfy_pypi.mismatch(wanted, package, root, direct, indexes)
        if wrong:
            walk.add_pypi(
                f"the locked PyPI package does not meet what {origin} asks for: {wrong}", spec.name, wanted, package
            )
        if python is None or markers is None:
            walk.add("PyPI packages are locked without a Python to install them with", spec.name, spec, package)
            return
        if spec.name not in walk.reached_pypi:
            walk.reached_pypi.add(spec.name)
            _check_local(walk, package, root)
            if not satisfy_pypi.python_fits(package.requires_python, markers["python_full_version"]):
                walk.add_pypi(
                    "the package wants another Python", spec.name, package.requires_python, f"python {python.version}"
                )
        for more in satisfy_pypi.requirements(package):
            entry = (more, str(package.name), False)
            if entry not in seen and satisfy_pypi.applies(more.marker, markers, wanted.extras):
                seen.add(entry)
                queue.append(entry)


def _check_local(walk: Walk, package: LockedPackage, root: Path) -> None:
    """A package in a local folder: does its pyproject.toml still say what the lock remembers?"""
    if not satisfy_pypi.is_path(package.url) or not (root / package.url).is_dir():
        return
    if package.version is not None and package.lock_version >= 7:
        walk.add("a local folder is locked as if it were a built package", package.name, None, package)
    stated = satisfy_pypi.local_project(root / package.url)
    if stated is None:
        return
    requires, version, python = stated
    if requires != {satisfy_pypi.normal(line) for line in package.requires_dist}:
        shown = ", ".join(sorted(" ".join(part for part in line if part) for line in requires))
        walk.add_pypi("the dependencies of the local package changed", package.name, shown or "none", package)
    elif package.version is not None and version is not None and version != package.version:
        walk.add_pypi("the version of the local package changed", package.name, version, package)
    elif SpecifierSet(python or "") != SpecifierSet(package.requires_python or ""):
        walk.add_pypi("requires-python of the local package changed", package.name, python, package.requires_python)
