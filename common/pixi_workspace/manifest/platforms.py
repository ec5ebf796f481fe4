"""Which platforms an environment has.

Pixi 0.77 knows two kinds of workspaces. If every platform is a bare subdir, Pixi turns the deprecated
`[system-requirements]` of features into platforms, and an environment has one combined platform for each subdir. If a
platform declares virtual packages, platforms are chosen by name, and Pixi refuses `[system-requirements]`.
"""

from __future__ import annotations

from dataclasses import replace

from pixi_workspace import platforms
from pixi_workspace.manifest.model import Environment, Feature, Manifest
from pixi_workspace.manifest.toml import ManifestError, problem
from pixi_workspace.platforms import Platform, VirtualPackage


def migrate(
    declared: tuple[Platform, ...], features: dict[int, Feature]
) -> tuple[list[Platform], bool, dict[int, Feature]]:
    """The platforms of the workspace, whether all declared ones are bare, and the features with their platforms.

    `features` by any key. Raises ManifestError for unknown platforms and mixed declarations.
    """
    found = list(declared)
    simple = all(p.is_bare for p in found)
    if simple:  # a feature may name a subdir that the workspace forgot
        for feature in features.values():
            for name in feature.platforms or ():
                if all(p.name != name for p in found):
                    if not platforms.is_subdir(name):
                        raise _undeclared(found, feature, name)
                    found.append(platforms.bare(name))
    if not any(f.system_requirements for f in features.values()):
        for feature in features.values():
            _check_references(found, feature)
        return found, simple, dict(features)
    registered: list[Platform] = []
    migrated = {}
    for key, feature in features.items():
        if not feature.system_requirements:
            _check_references(found, feature)
            new, names = [p for n in feature.platforms or () for p in found if p.name == n], feature.platforms
        elif not simple:
            raise problem(
                where=f"[system-requirements] of feature '{feature.name}'",
                expected="no such table where platforms declare virtual packages",
                found="both",
                next_step="remove it and write the requirement on the platform: "
                '{ name = "...", platform = "linux-64", cuda = "12.0" }',
            )
        else:
            new = _synthesise(found, feature)
            names = tuple(dict.fromkeys(p.name for p in new))
        registered += [p for p in new if all(p.name != r.name for r in registered)]
        migrated[key] = replace(feature, platforms=names)
    covered = {p.subdir for p in registered}
    registered += [p for p in found if p.subdir not in covered]
    return registered, simple, migrated


def _synthesise(found: list[Platform], feature: Feature) -> list[Platform]:
    subdirs = list(feature.platforms) if feature.platforms is not None else [p.subdir for p in found]
    made = []
    for subdir in subdirs:
        wanted = [v for v in feature.system_requirements if applies(v, subdir)]
        name = platforms.derived_name(subdir, wanted)
        made.append(platforms.bare(subdir) if name == subdir else platforms.build(name, subdir, wanted))
    return made


def applies(virtual: VirtualPackage, subdir: str) -> bool:
    """Whether a system requirement means anything on a subdir: no glibc on macOS, no CUDA either."""
    if virtual.name in ("__linux", *platforms.LIBC):
        return platforms.family(subdir) == "linux"
    if virtual.name == "__osx":
        return platforms.family(subdir) == "osx"
    return virtual.name != "__cuda" or platforms.family(subdir) != "osx"


def _check_references(found: list[Platform], feature: Feature) -> None:
    for name in feature.platforms or ():
        if all(p.name != name for p in found):
            raise _undeclared(found, feature, name)


def _undeclared(found: list[Platform], feature: Feature, name: str) -> ManifestError:
    declared = ", ".join(p.name for p in found) or "no platform"
    return problem(
        where=f"platforms of {'environment' if feature.inline else 'feature'} '{feature.name}'",
        expected=f"platforms of the workspace: {declared}",
        found=f"'{name}'",
        next_step="add it to the workspace's platforms, or name one of those",
    )


def validate_references(manifest: Manifest) -> Manifest:
    """The manifest with the combined platforms of its environments and solve groups (bare subdirs only)."""
    if not manifest.composes:
        return manifest
    found = list(manifest.platforms)
    groups = [e.features for e in manifest.environments.values()]
    groups += [group_features(members) for members in manifest.solve_groups().values()]
    for features in groups:
        for platform in _composed(features, manifest.platforms):
            if all(p.name != platform.name for p in found):
                found.append(platform)
    return replace(manifest, platforms=tuple(found))


def group_features(members: list[Environment]) -> tuple[Feature, ...]:
    """The features of several environments, each once, in order."""
    by_name = {(f.inline, f.name): f for e in reversed(members) for f in reversed(e.features)}
    ordered = dict.fromkeys((f.inline, f.name) for e in members for f in e.features)
    return tuple(by_name[key] for key in ordered)


def _supports_subdir(feature: Feature, subdir: str, known: tuple[Platform, ...]) -> bool:
    if feature.platforms is None:
        return True
    return any(p.subdir == subdir for n in feature.platforms for p in known if p.name == n)


def _composed(features: tuple[Feature, ...], known: tuple[Platform, ...]) -> list[Platform]:
    """One platform per subdir that all the features have."""
    made = []
    for subdir in dict.fromkeys(p.subdir for p in known):
        if not all(_supports_subdir(f, subdir, known) for f in features):
            continue
        pinned = {
            p.name: p for f in features for n in f.platforms or () for p in known if p.name == n and p.subdir == subdir
        }
        if len(pinned) == 1:
            made.append(next(iter(pinned.values())))
            continue
        declared = platforms.union(list(pinned.values()))
        name = platforms.derived_name(subdir, declared)
        made.append(platforms.bare(subdir) if name == subdir else platforms.build(name, subdir, declared))
    return made


def platforms_of(manifest: Manifest, features: tuple[Feature, ...]) -> list[Platform]:
    """The platforms that an environment (or a solve group) of these features has, in the workspace's order."""
    if manifest.composes:
        names = {p.name for p in _composed(features, manifest.platforms)}
        return [p for p in manifest.platforms if p.name in names]
    exact = {n for f in features for n in f.platforms or ()}
    exact_subdirs = {p.subdir for p in manifest.platforms if p.name in exact}
    return [
        p
        for p in manifest.platforms
        if all(manifest.supports(f, p) for f in features) and (p.name in exact or p.subdir not in exact_subdirs)
    ]
