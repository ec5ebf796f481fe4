"""Does the lock still describe a package that is built from source? Pixi compares it with the answer of its backend.

Compared are run dependencies, constraints, extras, run exports and variants as texts: any difference counts, even
where the locked packages still fit. Of build and host dependencies, only whether the locked packages meet them.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rattler import MatchSpec, Version

from pixi_workspace import platforms
from pixi_workspace.fit.build_backend import Answer, ask, canonical
from pixi_workspace.lock import Lock, LockedPackage
from pixi_workspace.lock_entries import SourceEntry
from pixi_workspace.manifest import Manifest, ManifestError
from pixi_workspace.manifest.package import CannotTell, read_package
from pixi_workspace.manifest.spec import CondaSpec
from pixi_workspace.platforms import Platform
from pixi_workspace.specs import match_spec, version_spec

# The virtual package that stands for the C library, and the package that a build takes it from, by family.
C_LIBRARIES = {"linux": ("__glibc", "sysroot"), "osx": ("__osx", "macosx_deployment_target")}


@dataclass(frozen=True)
class KnownPackage:
    """What is known of a package without its record: of one that is not built yet, there is no build string."""

    name: str
    version: str
    build: str | None = None

    def meets(self, spec: MatchSpec) -> bool:
        """Whether version and build, as far as they are known, meet a dependency on this name."""
        if spec.version is not None and not version_spec(str(spec.version), False).matches(Version(self.version)):
            return False
        if spec.build is None or self.build is None:
            return True
        pattern = str(spec.build)
        if not (pattern.startswith("^") and pattern.endswith("$")):
            pattern = re.escape(pattern).replace(r"\*", ".*")
        return re.fullmatch(pattern, self.build) is not None


@dataclass
class SourceResult:
    """What the comparison of one source package found.

    reasons: message, what is required, what is locked. unknown: why only Pixi can tell, if so. package: what
    building it would give; None where it is unknown.
    """

    reasons: list[tuple[str, str | None, str | None]] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    package: KnownPackage | None = None


def compare(manifest: Manifest, lock: Lock, package: LockedPackage, platform: Platform) -> SourceResult:
    """Compare a locked source package with its sources as they are now."""
    found = SourceResult()
    entry = package.source
    remote = "://" in package.url
    if entry is None or lock.version < 7 or (remote and package.record is not None):
        return found  # an older lock is out of date anyway; a commit or an archive with a hash cannot change
    if remote:
        found.unknown.append(f"only Pixi can fetch its sources, {package.url}")
        return found
    root = manifest.path.parent
    try:
        described = read_package(root / package.url, manifest.shared_dependencies, root)
        answer = ask(described, platform.subdir, entry, entry.variants)
    except CannotTell as error:
        found.unknown.append(str(error))
        return found
    except ManifestError as error:
        found.reasons.append((f"Pixi cannot read the package at {package.url}: {_one_line(error)}", None, str(package)))
        return found
    found.notes += answer.notes
    if (described.build_source is not None) != entry.has_build_source:
        found.reasons.append(("the package is built from other sources than the lock was made with", None, None))
        return found
    found.package = KnownPackage(answer.name, answer.version)
    _compare_answer(found, manifest, lock, package, entry, answer, platform)
    if answer.unknown and not found.reasons:
        found.unknown.append(answer.unknown)
    return found


def _one_line(error: ManifestError) -> str:
    return f"{error.looked_at}: expected {error.expected}; found {error.found}"


def _compare_answer(
    found: SourceResult,
    manifest: Manifest,
    lock: Lock,
    package: LockedPackage,
    entry: SourceEntry,
    answer: Answer,
    platform: Platform,
) -> None:
    if answer.name != package.name.lower():
        found.reasons.append(("the package at this place has another name", answer.name, package.name))
        return
    if answer.unknown:  # at least what is declared must be in the lock
        missing = Counter(answer.depends) - Counter(map(canonical, entry.depends))
        if missing:
            found.reasons.append((f"what the package depends on changed: {changes(missing, Counter())}", None, None))
        return
    host, build = _with_variants(found, manifest, entry, answer, platform)
    if found.reasons or found.unknown:
        return
    if not entry.host_packages and not entry.build_packages and answer.notes:
        host = build = []  # made by a backend that needed no Python
    for environment, specs, held in (("build", build, entry.build_packages), ("host", host, entry.host_packages)):
        for spec in specs:
            if not any(_meets(spec, selector, manifest.path.parent) for selector in held):
                message = f"the locked {environment} packages do not meet what building the package requires"
                found.reasons.append((message, str(spec), _locked_as(spec.name, held)))
    depends, constrains = _run_exports(lock, entry, answer)
    compared = [
        ("what the package depends on", answer.depends + depends, entry.depends),
        ("what the package constrains", answer.constrains + constrains, entry.constrains),
    ]
    for title, now, locked in (
        ("the extra '{}' of the package", answer.extra_depends, entry.extra_depends),
        ("what the package exports ({})", answer.run_exports, entry.run_exports),
    ):
        groups = dict.fromkeys([*now, *locked])
        compared += [(title.format(group), now.get(group, []), locked.get(group, ())) for group in groups]
    for title, now, locked in compared:
        added = Counter(now) - Counter(map(canonical, locked))
        removed = Counter(map(canonical, locked)) - Counter(now)
        if added or removed:
            found.reasons.append((f"{title} changed: {changes(added, removed)}", None, None))


def changes(added: Counter[str], removed: Counter[str]) -> str:
    """`added numpy >=1; removed numpy >=2`."""
    parts = [("added", sorted(added.elements())), ("removed", sorted(removed.elements()))]
    return "; ".join(f"{verb} {', '.join(items)}" for verb, items in parts if items)


def build_variants(manifest: Manifest, platform: Platform) -> dict[str, list[str]]:
    """The values of each build variant on a platform: those of the workspace, and the C library of the platform.

    Pixi derives the C library where a channel is conda-forge (crates/pixi_core/src/workspace/stdlib_variants.rs).
    """
    found: dict[str, list[str]] = {}
    for selector, variants in manifest.build_variants:
        if selector is None or platforms.selector_matches(selector, platform):
            found.update(variants)
    channels = [*manifest.channels, *(c for f in manifest.features.values() for c in f.channels or ())]
    if any(channel.text.rstrip("/").rsplit("/", 1)[-1] == "conda-forge" for channel in channels):
        system = platforms.family(platform.subdir)
        virtual, provider = C_LIBRARIES.get(system, ("", ""))
        if version := platform.version_of(virtual):
            found.setdefault("c_stdlib", [provider])
            found.setdefault("c_stdlib_version", [".".join(version.split(".")[:2])])
    return found


def _with_variants(
    found: SourceResult, manifest: Manifest, entry: SourceEntry, answer: Answer, platform: Platform
) -> tuple[list[CondaSpec], list[CondaSpec]]:
    """Host and build dependencies with the build variants of the lock, which have to be among the workspace's."""
    if manifest.variant_files:
        found.unknown.append("the workspace takes build variants from files")
    possible = build_variants(manifest, platform)
    locked = {_variant_key(key): value for key, value in entry.variants.items() if key != "target_platform"}
    bare = {_variant_key(s.name) for s in (*answer.host, *answer.build) if s.fields in ({}, {"version": "*"})}
    used = possible.keys() & (bare | answer.variant_keys)
    of_backend = answer.variant_keys - possible.keys()  # the backend's own default, which no manifest states
    stated = {key: value for key, value in locked.items() if key not in of_backend}
    if stated.keys() != used or any(value not in possible[key] for key, value in stated.items()):
        shown = ", ".join(f"{key}={value}" for key, value in locked.items()) or "none"
        wanted = ", ".join(f"{key}={' or '.join(possible[key])}" for key in sorted(used)) or "none"
        found.reasons.append(("the package is built for other variants than the lock was made with", wanted, shown))

    def narrowed(spec: CondaSpec) -> CondaSpec:
        value = locked.get(_variant_key(spec.name))
        if value is None or spec.fields not in ({}, {"version": "*"}):
            return spec
        return replace(spec, fields={"version": f"={value}" if re.fullmatch(r"[\w.]+", value) else value})

    return [narrowed(s) for s in answer.host], [narrowed(s) for s in answer.build]


def _variant_key(name: str) -> str:
    return name.lower().replace("-", "_").replace(".", "_")


def _meets(spec: CondaSpec, selector: str, root: Path) -> bool:
    """Whether a package of a build or host environment meets a dependency."""
    if " @ " in selector:
        name, _, location = selector.partition(" @ ")
        if name.partition("[")[0].lower() != spec.name:
            return False
        return "path" not in spec.fields or (root / location).resolve() == Path(spec.fields["path"]).resolve()
    package = _package_at(selector)
    return not spec.is_source and package is not None and package.name == spec.name and package.meets(spec.match_spec())


def _package_at(url: str) -> KnownPackage | None:
    """A conda package as described by its file name; None if it is not the name of a conda package."""
    path = unquote(urlsplit(url).path)
    name = re.fullmatch(r"(?:.*/)?([^/]+)-([^/-]+)-([^/-]+)\.(?:conda|tar\.bz2)", path)
    return KnownPackage(name[1].lower(), name[2], name[3]) if name and platforms.is_version(name[2]) else None


def _name_of(selector: str) -> str:
    if " @ " in selector:
        return selector.partition("[")[0].lower()
    package = _package_at(selector)
    return "" if package is None else package.name


def _locked_as(name: str, selectors: tuple[str, ...]) -> str | None:
    return next((s.rsplit("/", 1)[-1] for s in selectors if _name_of(s) == name), None)


def _run_exports(lock: Lock, entry: SourceEntry, answer: Answer) -> tuple[list[str], list[str]]:
    """What the direct host and build dependencies add to the dependencies and constraints of the package."""
    depends: list[str] = []
    constrains: list[str] = []
    for specs, selectors, is_host in (
        (answer.host, entry.host_packages, True),
        (answer.build, entry.build_packages, False),
    ):
        direct = {spec.name for spec in specs}
        built_here = {_name_of(s) for s in selectors if " @ " in s}
        for selector in selectors:
            if _name_of(selector) not in direct:
                continue
            source = lock.sources.get(selector)
            exports = source.run_exports if source else lock.run_exports.get(selector, {})
            if answer.noarch:
                kinds, limits = (["noarch"] if is_host else []), []
            else:
                kinds = ["strong", "weak"] if is_host else ["strong"]
                limits = [f"{kind}_constrains" for kind in kinds]
            exported = [_exported(text, built_here) for kind in kinds for text in exports.get(kind, ())]
            depends += dict.fromkeys(exported)
            constrains += dict.fromkeys(canonical(text) for kind in limits for text in exports.get(kind, ()))
    return depends, constrains


def _exported(text: str, built_here: set[str]) -> str:
    """An exported dependency; one on a package that is built from source has no version."""
    try:
        name = match_spec(text, False).name
    except Exception:  # the exception types of rattler differ between its releases
        return text
    plain = str(getattr(name, "normalized", name))
    return plain if plain in built_here else canonical(text)
