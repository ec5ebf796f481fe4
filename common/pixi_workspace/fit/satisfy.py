"""Does a lock satisfy a manifest? The rules of Pixi 0.77, in its order: environments, platforms, solve groups.

All reasons are returned, not only the first, so that all of them can be corrected at once. The functions require a
lock whose platforms have the names of the manifest (`lock.align`).
"""

from __future__ import annotations

from dataclasses import replace

from pixi_workspace import lock as locks
from pixi_workspace.fit.satisfy_environment import Reason, check_environment
from pixi_workspace.fit.satisfy_platform import Cache, Walk, walk_platform
from pixi_workspace.lock import Lock, LockedPackage
from pixi_workspace.manifest import Environment, Manifest
from pixi_workspace.manifest.platforms import group_features, platforms_of


def check(manifest: Manifest, lock: Lock) -> tuple[list[Reason], list[Reason], list[str]]:
    """Why the lock is out of date (empty: nothing found), what only Pixi can tell, and notes for a person."""
    reasons: list[Reason] = []
    unknown: list[Reason] = []
    notes: list[str] = []
    walks: dict[tuple[str, str], Walk] = {}
    cache = Cache()
    if lock.version < locks.NEWEST_VERSION:
        reasons.append(
            Reason(
                f"the lock has the older format {lock.version}; `pixi lock` rewrites it as {locks.NEWEST_VERSION}, so "
                "`pixi lock --check` fails (`pixi run --locked` would still take it)"
            )
        )
    for environment in manifest.environments.values():
        locked = lock.environments.get(environment.name)
        if locked is None:
            reasons.append(Reason(f"the lock has no environment '{environment.name}'", environment.name))
            continue
        reasons += check_environment(manifest, lock, environment, locked)
        for platform in platforms_of(manifest, environment.features):
            walk = walk_platform(manifest, lock, environment, platform, cache)
            reasons += walk.reasons + walk.pypi_reasons
            unknown += walk.unknown
            notes += walk.notes
            walks[environment.name, platform.name] = walk
    reasons += _check_groups(manifest, lock, walks)
    for name in lock.environments:
        if name not in manifest.environments:
            reasons.append(Reason(f"the lock holds the environment '{name}', which the manifest no longer has", name))
    return _once_a_group(manifest, reasons), _once_a_group(manifest, unknown), list(dict.fromkeys(notes))


def _once_a_group(manifest: Manifest, reasons: list[Reason]) -> list[Reason]:
    """Reasons with those that several members of a solve group share given once."""
    group_of = {e.name: e.solve_group for e in manifest.environments.values() if e.solve_group}
    members: dict[tuple[str | None, Reason], list[str]] = {}
    for reason in reasons:
        group = group_of.get(reason.environment or "")
        key = (group, replace(reason, environment=None if group else reason.environment))
        members.setdefault(key, []).append(reason.environment or "")
    return [
        replace(reason, environment=", ".join(dict.fromkeys(names))) if group else reason
        for (group, reason), names in members.items()
    ]


def _check_groups(manifest: Manifest, lock: Lock, walks: dict[tuple[str, str], Walk]) -> list[Reason]:
    """Solve groups: one version of a package in all members, and no conda package that only PyPI packages require."""
    found: list[Reason] = []
    left = {key: walk for key, walk in walks.items() if not walk.reasons and not walk.pypi_reasons}
    for group, members in manifest.solve_groups().items():
        for platform in platforms_of(manifest, group_features(members)):
            together: list[Walk] = []
            complete = True
            for environment in members:
                walk = left.pop((environment.name, platform.name), None)
                if walk is None:
                    complete = False
                    break
                together.append(walk)
            if complete:
                found += _only_for_pypi(together, f"solve group '{group}'")
        found += _check_consistency(manifest, lock, group, members, walks)
    for walk in left.values():
        found += _only_for_pypi([walk], f"environment '{walk.environment}'")
    return found


def _only_for_pypi(walks: list[Walk], where: str) -> list[Reason]:
    required = set().union(*(w.required_by_conda for w in walks))
    return [
        Reason(
            f"the package is locked from conda, but in {where} only PyPI requirements need it",
            walk.environment,
            walk.platform.name,
            name,
            None,
            str(walk.conda[name]),
        )
        for walk in walks
        for name in sorted(walk.used_by_pypi - required)
    ]


def _check_consistency(
    manifest: Manifest, lock: Lock, group: str, members: list[Environment], walks: dict[tuple[str, str], Walk]
) -> list[Reason]:
    names = dict.fromkeys(p.name for e in members for p in platforms_of(manifest, e.features))
    found = []
    for name in names:
        held: dict[tuple[bool, str], LockedPackage] = {}
        for environment in members:
            walk = walks.get((environment.name, name))
            if walk is not None and walk.reasons:
                break  # the whole group is out of date anyway
            locked = lock.environments.get(environment.name)
            for package in locked.packages.get(name, ()) if locked else ():
                first = held.setdefault((package.kind == "pypi", package.name), package)
                if first.url != package.url:
                    found.append(
                        Reason(
                            f"environments of the solve group '{group}' hold different packages",
                            environment.name,
                            name,
                            package.name,
                            str(first),
                            str(package),
                        )
                    )
    return found
