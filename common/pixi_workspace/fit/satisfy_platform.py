"""Do the packages that are locked for one environment on one platform meet all requirements?"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from packaging.utils import canonicalize_name
from rattler import MatchSpec, Version

from pixi_workspace import lock as locks
from pixi_workspace import manifest as manifests
from pixi_workspace import platforms
from pixi_workspace.fit import local_project, satisfy_pypi, satisfy_source
from pixi_workspace.fit.build_backend import ask
from pixi_workspace.fit.satisfy_environment import Reason, listed, pypi_options
from pixi_workspace.lock import Lock, LockedPackage
from pixi_workspace.manifest import CondaSpec, Environment, Manifest, ManifestError, PypiSpec
from pixi_workspace.manifest.package import CannotTell, read_package
from pixi_workspace.platforms import Platform, VirtualPackage
from pixi_workspace.specs import match_spec, version_spec


@dataclass
class Cache:
    """What is read once for the whole lock.

    specs: conda dependencies by their text. projects: local PyPI packages by their path in the lock. sources:
    comparisons of packages that are built from source, by identifier and platform.
    """

    specs: dict[str, MatchSpec] = field(default_factory=dict)
    projects: dict[str, local_project.LocalProject | None] = field(default_factory=dict)
    sources: dict[tuple[str, str], satisfy_source.SourceResult] = field(default_factory=dict)


@dataclass
class Walk:
    """One (environment, platform) as it is walked: what is locked, what was reached, what was wrong.

    unknown: what only Pixi can tell. built: what is known of packages built from source. sources: names that have to
    be built from source.
    """

    environment: str
    platform: Platform
    conda: dict[str, LockedPackage]
    pypi: dict[str, LockedPackage]
    virtual: dict[str, VirtualPackage]
    reasons: list[Reason] = field(default_factory=list)
    pypi_reasons: list[Reason] = field(default_factory=list)
    reached: set[str] = field(default_factory=set)
    reached_pypi: set[str] = field(default_factory=set)
    required_by_conda: set[str] = field(default_factory=set)
    used_by_pypi: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    unknown: list[Reason] = field(default_factory=list)
    built: dict[str, satisfy_source.KnownPackage] = field(default_factory=dict)
    sources: set[str] = field(default_factory=set)

    def add(self, message: str, package: str | None = None, constraint: object = None, record: object = None) -> None:
        self.reasons.append(self._reason(message, package, constraint, record))

    def add_pypi(
        self, message: str, package: str | None = None, constraint: object = None, record: object = None
    ) -> None:
        self.pypi_reasons.append(self._reason(message, package, constraint, record))

    def add_unknown(self, message: str, package: str) -> None:
        self.unknown.append(self._reason(message, package, None, None))

    def _reason(self, message: str, package: str | None, constraint: object, record: object) -> Reason:
        shown = [None if value is None else str(value) for value in (constraint, record)]
        return Reason(message, self.environment, self.platform.name, package, *shown)


def walk_platform(manifest: Manifest, lock: Lock, environment: Environment, platform: Platform, cache: Cache) -> Walk:
    """Follow every dependency of one environment on one platform through the locked packages."""
    walk = Walk(environment.name, platform, {}, {}, _virtual_packages(platform))
    for package in locks.packages(lock, environment.name, platform):
        table = walk.pypi if package.kind == "pypi" else walk.conda
        key = package.name.lower() if package.kind != "pypi" else str(canonicalize_name(package.name))
        if key in table:
            walk.add("the lock contains the package twice", package.name, None, f"{table[key]} and {package}")
        table[key] = package
    specs = manifests.conda_specs(manifest, environment.name, platform)
    required = manifests.pypi_specs(manifest, environment.name, platform)
    anywhere = any(t.pypi for f in environment.features for t in f.targets)
    if anywhere and not walk.pypi and all(p.purls is None for p in walk.conda.values() if p.kind == "conda"):
        walk.add("no locked package records which PyPI package it provides, although PyPI packages are required")
    for name, limits in manifests.constraints(manifest, environment.name, platform).items():
        package = walk.conda.get(name)
        for limit in limits:
            if package is not None and package.kind == "conda" and not limit.match_spec().matches(package.record):
                walk.add("the locked package breaks a constraint", name, limit, package)
    _compare_sources(walk, manifest, lock, cache)
    developed = _developed(walk, manifest, environment)
    _walk_conda(walk, specs, developed, manifest.path.parent, cache)
    _walk_pypi(walk, manifest, environment, lock, required, cache)
    if walk.reasons and not walk.conda and not walk.pypi:  # one line is clearer than one for each package
        required_names = listed((*specs, *required))
        walk.reasons.clear()
        walk.pypi_reasons.clear()
        walk.add("nothing is locked for the platform", None, required_names, "nothing")
    if not walk.reasons and developed is not None:
        for name in sorted(walk.conda.keys() - walk.reached):
            walk.add("nothing requires the locked package any more", name, None, walk.conda[name])
    for name, package in walk.conda.items():
        if package.kind == "conda-source" and name not in walk.sources and developed is not None:
            walk.add(
                "the lock builds the package from source, but a package from a channel is required", name, None, package
            )
    if not walk.reasons and not walk.pypi_reasons:
        for name in sorted(walk.pypi.keys() - walk.reached_pypi):
            walk.add_pypi("nothing requires the locked PyPI package any more", name, None, walk.pypi[name])
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
    if spec.version is not None and not version_spec(str(spec.version), False).matches(Version(virtual.version)):
        return False
    if spec.build is None:
        return True
    build = str(spec.build)
    pattern = build if build.startswith("^") and build.endswith("$") else re.escape(build).replace(r"\*", ".*")
    return re.fullmatch(pattern, virtual.build) is not None


def _compare_sources(walk: Walk, manifest: Manifest, lock: Lock, cache: Cache) -> None:
    """Compare every locked package that is built from source with its sources."""
    for name, package in walk.conda.items():
        if package.kind != "conda-source":
            continue
        key = (package.source.identifier if package.source else package.url, walk.platform.name)
        if key not in cache.sources:
            cache.sources[key] = satisfy_source.compare(manifest, lock, package, walk.platform)
        result = cache.sources[key]
        walk.notes += result.notes
        if result.package is not None:
            walk.built[name] = result.package
        for message, constraint, record in result.reasons:
            walk.add(message, name, constraint, record)
        for reason in result.unknown:
            walk.add_unknown(reason, name)


def _developed(walk: Walk, manifest: Manifest, environment: Environment) -> list[CondaSpec] | None:
    """What the packages under `[dev]` need to be built and to run; None where only Pixi can tell."""
    packages = manifests.dev_sources(manifest, environment.name, walk.platform)
    root, complete = manifest.path.parent, True
    possible = satisfy_source.build_variants(manifest, walk.platform)
    variants = {key: values[0] for key, values in possible.items() if values}
    found: list[CondaSpec] = []
    for name, locations in packages.items():
        try:
            for location in locations:
                if "path" not in location:
                    raise CannotTell("only Pixi can fetch the sources of this development package")
                package = read_package(root / location["path"], manifest.shared_dependencies, root)
                answer = ask(package, walk.platform.subdir, None, variants)
                found += [s for s in (*answer.build, *answer.host, *answer.run) if s.name not in packages]
                walk.notes += answer.notes
                if answer.unknown:
                    raise CannotTell(answer.unknown)
        except CannotTell as error:
            walk.add_unknown(str(error), name)
            complete = False
        except ManifestError as error:
            walk.add(f"Pixi cannot read this development package: {error.looked_at}: {error.found}", name)
            complete = False
    if packages and complete:
        walk.notes.append(f"the dependencies of the development packages {listed(tuple(packages))} are locked as well")
    return found if complete else None


def _holds(condition: tuple, walk: Walk, cache: Cache) -> bool:
    """Whether a `when` is met by the locked packages or the platform."""
    if condition[0] in ("and", "or"):
        left, right = (_holds(part, walk, cache) for part in condition[1:])
        return (left and right) if condition[0] == "and" else (left or right)
    spec = condition[1].match_spec() if condition[0] == "conda" else _spec(condition[1], cache)
    name = _name(spec)
    package, virtual = walk.conda.get(name), walk.virtual.get(name)
    return (package is not None and _meets(package, spec, walk)) or (
        virtual is not None and _virtual_meets(virtual, spec)
    )


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


def _spec(text: str, cache: Cache) -> MatchSpec:
    if text not in cache.specs:
        cache.specs[text] = match_spec(text, False)
    return cache.specs[text]


def _name(spec: MatchSpec) -> str:
    found = getattr(spec.name, "normalized", None)
    return found if isinstance(found, str) else str(spec.name).lower()


def _meets(package: LockedPackage, spec: MatchSpec, walk: Walk) -> bool:
    """Whether a locked package meets a dependency. One built from source has no build string before it is built."""
    if package.kind != "conda-source" or package.record is not None:
        return package.record is not None and spec.matches(package.record)
    built = walk.built.get(package.name.lower())
    return built is None or built.meets(spec)


def _walk_conda(
    walk: Walk, specs: dict[str, list[CondaSpec]], developed: list[CondaSpec] | None, root: Path, cache: Cache
) -> None:
    """Follow the conda dependencies of the manifest and of its development packages."""
    if not specs and developed == [] and walk.conda:
        walk.add("no conda package is required, but the lock contains some", None, None, listed(tuple(walk.conda)[:3]))
    for spec in [spec for constraints in specs.values() for spec in constraints] + (developed or []):
        if spec.conditions is not None and not _holds(spec.conditions, walk, cache):
            continue
        package = walk.conda.get(spec.name)
        if spec.is_source:
            walk.sources.add(spec.name)
        problem = _conda_problem(spec, package, walk, root)
        if problem is not None:
            walk.add(problem, spec.name, spec, package)
        if package is not None:
            _reach(walk, package, spec.extras, root, cache)
            walk.required_by_conda.add(spec.name)


def _conda_problem(spec: CondaSpec, package: LockedPackage | None, walk: Walk, root: Path) -> str | None:
    """Why a locked package does not meet a constraint of the manifest, or None."""
    if package is None:
        virtual = walk.virtual.get(spec.name)
        if virtual is not None and _virtual_meets(virtual, spec.match_spec()):
            return None
        return "the package is not locked" if virtual is None else f"the platform has {virtual.name} {virtual.version}"
    if spec.is_source:
        if package.kind != "conda-source":
            return "the package is to be built from source, but the lock contains one from a channel"
        if not _same_source(spec.fields, package.url, root):
            return "the lock builds the package from another place"
    elif "url" in spec.fields and not satisfy_pypi.same_url(spec.fields["url"], package.url):
        return "the lock contains the package of another address"
    if not _meets(package, spec.match_spec(), walk):
        return "the locked package does not meet the constraint"
    return None


def _same_source(required: dict, locked: str, root: Path) -> bool:
    """Whether the lock builds a package from the required place: a path, or a git repository or archive."""
    if "path" in required:
        return "://" not in locked and (root / required["path"]).resolve() == (root / locked).resolve()
    if "url" in required:
        return not locked.startswith("git+") and satisfy_pypi.same_url(required["url"], locked)
    if not locked.startswith("git+"):
        return False
    query = {key: values[-1] for key, values in parse_qs(urlsplit(locked.removeprefix("git+")).query).items()}
    if not satisfy_pypi.same_repository(required["git"], locked):
        return False
    same_folder = (query.get("subdirectory") or "") == (required.get("subdirectory") or "").strip("/")
    references = [key for key in ("branch", "tag", "rev") if key in required]
    return same_folder and all(query.get(key) == required[key] for key in references)


def _reach(walk: Walk, package: LockedPackage, extras: tuple[str, ...], root: Path, cache: Cache) -> None:
    """Mark a package and all that it depends on, and note what is missing or does not fit."""
    stack: list[tuple[LockedPackage, tuple[str, ...]]] = [(package, extras)]
    while stack:
        package, extras = stack.pop()
        key = package.name.lower()
        depends = list(package.depends) if key not in walk.reached else []
        walk.reached.add(key)
        for group, more in package.extra_depends:
            if group in extras and f"{key}[{group}]" not in walk.required_by_conda:
                walk.required_by_conda.add(f"{key}[{group}]")
                depends += more
        for text in depends:
            try:
                spec = _spec(text, cache)
            except Exception:
                walk.add("a dependency of the locked package cannot be read", package.name, text, package)
                continue
            if spec.condition and not _holds(_text_condition(str(spec.condition)), walk, cache):
                continue
            name = _name(spec)
            held, virtual = walk.conda.get(name), walk.virtual.get(name)
            location = package.source.source_depends.get(name) if package.source else None
            if location is not None:
                walk.sources.add(name)
            if held is not None:
                if location is not None and not _is_built_from(held, location, root, package):
                    walk.add(f"the lock does not build from source what {package} depends on", name, text, held)
                elif not _meets(held, spec, walk):
                    walk.add(f"the locked package does not meet what {package} depends on", name, text, held)
                walk.required_by_conda.add(name)
                stack.append((held, tuple(spec.extras or ())))
            elif virtual is None or location is not None:
                walk.add(f"{package} depends on a package that is not locked", name, text, None)
            elif not _virtual_meets(virtual, spec):
                walk.add(f"{package} depends on more than the platform has", name, text, virtual)


def _is_built_from(package: LockedPackage, location: dict[str, str], root: Path, needed_by: LockedPackage) -> bool:
    """Whether a locked package is built from the place that `needed_by` gives, relative to its own manifest."""
    if package.kind != "conda-source":
        return False
    if "path" not in location or "://" in needed_by.url:
        return True
    folder = root / needed_by.url
    folder = folder.parent if folder.is_file() else folder
    return (folder / location["path"]).resolve() == (root / package.url).resolve()


def _walk_pypi(
    walk: Walk,
    manifest: Manifest,
    environment: Environment,
    lock: Lock,
    required: dict[str, list[PypiSpec]],
    cache: Cache,
) -> None:
    """Follow PyPI requirements. A conda package that provides the PyPI package satisfies one as well."""
    root = manifest.path.parent
    locked = lock.environments[environment.name]
    python = walk.conda.get("python")
    markers = satisfy_pypi.marker_environment(walk.platform, python.version or "") if python else None
    provided = {name: (p, version) for p in walk.conda.values() for name, version in satisfy_pypi.identities(p)}
    overrides = dict(pypi_options(manifest, environment.features).overrides)
    indexes = (*(locked.indexes or ()), *(u for u in locked.find_links if "://" in u))
    queue = [
        (spec, "the manifest", True)
        for specs in required.values()
        for spec in specs
        if satisfy_pypi.applies(spec.marker, markers, spec.extras)
    ]
    if not queue and walk.pypi:
        some = listed(tuple(walk.pypi)[:3])
        walk.add_pypi("no PyPI package is required, but the lock contains some", None, None, some)
        return
    for package in walk.pypi.values():
        if satisfy_pypi.is_path(package.url) and not (root / package.url).exists():
            walk.notes.append(f"the local package '{package.url}' does not exist here")
    seen = set(queue)
    followed: set[tuple[str, tuple[str, ...]]] = set()  # packages with the extras that they are required with
    while queue:
        spec, origin, direct = queue.pop()
        wanted = overrides.get(spec.name, spec)
        if spec.name in provided:
            package, version = provided[spec.name]
            if direct and spec.path and not (root / spec.path).exists():
                walk.add_pypi(f"'{spec.path}' does not exist", spec.name, spec, package)
            _check_provided(walk, spec, wanted, package, version, origin)
            _reach(walk, package, (), root, cache)
            continue
        package = walk.pypi.get(spec.name)
        if package is None:
            walk.add_pypi(f"{origin} requires a PyPI package that is not locked", spec.name, spec, None)
            continue
        wrong = satisfy_pypi.mismatch(wanted, package, root, direct, indexes)
        if wrong:
            message = f"the locked PyPI package does not meet what {origin} requires: {wrong}"
            walk.add_pypi(message, spec.name, wanted, package)
        if python is None or markers is None:
            walk.add("PyPI packages are locked without a Python to install them with", spec.name, spec, package)
            return
        if spec.name not in walk.reached_pypi:
            walk.reached_pypi.add(spec.name)
            _check_local(walk, package, root, cache)
            if not satisfy_pypi.python_fits(package.requires_python, markers["python_full_version"]):
                message, held = "the package requires another Python", f"python {python.version}"
                walk.add_pypi(message, spec.name, package.requires_python, held)
        if (spec.name, wanted.extras) in followed:
            continue
        followed.add((spec.name, wanted.extras))
        for more in satisfy_pypi.requirements(package, markers, wanted.extras):
            entry = (more, str(package.name), False)
            if entry not in seen:
                seen.add(entry)
                queue.append(entry)


def _check_provided(
    walk: Walk, spec: PypiSpec, wanted: PypiSpec, package: LockedPackage, version: str, origin: str
) -> None:
    """A conda package in place of the PyPI package that `origin` requires. wanted: the spec, or what overrides it."""
    if spec.url or spec.git or spec.path or wanted.url or wanted.git or wanted.path:
        message = "conda provides the package, so it cannot come from a URL, git or a path"
        walk.add_pypi(message, spec.name, spec, package)
    elif not satisfy_pypi.contains(wanted.version, version):
        message = f"conda provides the package in a version that does not suit {origin}"
        walk.add_pypi(message, spec.name, wanted, package)
    walk.used_by_pypi.add(package.name.lower())


def _check_local(walk: Walk, package: LockedPackage, root: Path, cache: Cache) -> None:
    """A package in a local folder: does its pyproject.toml still state what the lock recorded?"""
    folder = root / package.url
    if not satisfy_pypi.is_path(package.url) or not folder.is_dir():
        return
    if package.version is not None and package.lock_version >= 7:
        walk.add("a local folder is locked as if it were a built package", package.name, None, package)
    try:
        if package.url not in cache.projects:
            cache.projects[package.url] = local_project.read_project(folder)
        project = cache.projects[package.url]
        if project is None:
            walk.notes.append(f"Pixi does not read the requirements of '{package.url}' and trusts the lock")
        elif changed := local_project.changes_since_lock(project, package, root):
            walk.add_pypi(changed, package.name)
    except local_project.Broken as error:
        walk.add_pypi(str(error), package.name)
    except CannotTell as error:
        walk.add_unknown(str(error), package.name)
