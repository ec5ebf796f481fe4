"""The lock of a part of a workspace, with exactly the packages that the whole workspace has locked.

An exercise's manifest is a part of the root's. Solved alone, it might get other builds, since it has fewer constraints;
then a result would depend on which of the two manifests was used. So its lock is cut out of the root's. It contains, for
each environment and platform, the packages that the dependencies need. They are those of an environment of the root that
meets all these dependencies. `pixi lock` keeps such a lock, because it satisfies the manifest.
"""

from __future__ import annotations

import re
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

from pixi_workspace import files
from pixi_workspace import lock as locks
from pixi_workspace import manifest as manifests
from pixi_workspace.errors import WorkspaceError
from pixi_workspace.lock import Lock, LockedPackage
from pixi_workspace.manifest import Manifest
from pixi_workspace.manifest.platforms import platforms_of
from pixi_workspace.platforms import Platform, identity
from pixi_workspace.specs import match_spec


def workspace_above(manifest: Path) -> Path:
    """The manifest of the nearest workspace above `manifest` that has a lock. Raises WorkspaceError if there is none."""
    for folder in manifest.resolve().parent.parents:
        if (folder / "pixi.toml").is_file() and (folder / "pixi.lock").is_file():
            return folder / "pixi.toml"
    raise WorkspaceError(
        looked_at=manifest,
        expected="a workspace around it, with pixi.toml and pixi.lock",
        found="none above it",
        next_step="pixi lock",
    )


def cut(whole: Manifest, part: Manifest) -> bytes:
    """The content of the lock of `part`, out of the lock of `whole`.

    Raises WorkspaceError for a platform that the whole does not have, and for dependencies that none of its environments
    meets.
    """
    path = whole.path.with_name("pixi.lock")
    lock = locks.align(locks.read(path), whole.platforms)
    if lock.version != locks.NEWEST_VERSION:
        raise WorkspaceError(
            looked_at=path,
            expected=f"a lock of version {locks.NEWEST_VERSION}",
            found=f"version {lock.version}",
            next_step="pixi lock",
        )
    # The new lock is assembled from text, since py-rattler on conda-forge reads locks but does not write them.
    text = files.read_text(path, files.LOCK_SIZE)
    head, _, blocks = text.partition("\npackages:\n")
    record_of = {block.split("\n", 1)[0]: block for block in re.split(r"^- ", blocks, flags=re.MULTILINE) if block}
    channels = _found(r"^    channels:\n(?:    - .*\n)+", head)

    rows, names = _platform_rows(whole, lock, part)
    environments, used, mapped = "", set(), set()
    for environment in sorted(part.environments):
        listed, indexes = {}, ""
        for platform in platforms_of(part, part.environments[environment].features):
            source, packages = _needed(whole, lock, part, environment, platform)
            keys = {f"{p.kind}: {p.url}" for p in packages}
            listed[names[platform.name]] = [key for key in record_of if key in keys]
            used |= keys
            if any(p.kind == "pypi" for p in packages):
                mapped |= keys
                block = _found(rf"^  {re.escape(source)}:\n(?:    .*\n)+", head)
                indexes = _found(r"^    indexes:\n(?:    - .*\n)+", block)
        environments += f"  {environment}:\n{channels}{indexes}    packages:\n"
        for name in sorted(listed):
            environments += f"      {name}:\n" + "".join(f"      - {key}\n" for key in listed[name])
    platforms = "".join(rows[name] for name in sorted(rows))
    # Which PyPI packages a conda package provides is only written where an environment has PyPI packages.
    purls = re.compile(r"^  purls:.*\n(?:  - pkg:.*\n)*", re.MULTILINE)
    kept = {key: block if key in mapped else purls.sub("", block) for key, block in record_of.items() if key in used}
    packages = "".join(f"- {block}" for block in kept.values())
    version = f"version: {lock.version}\n"
    return f"{version}platforms:\n{platforms}environments:\n{environments}packages:\n{packages}".encode()


def _platform_rows(whole: Manifest, lock: Lock, part: Manifest) -> tuple[dict[str, str], dict[str, str]]:
    """The rows of the part's lock by name, and the name of the row of each platform."""
    rows, names = {}, {}
    rich = [p.name for p in part.platforms if not p.is_bare]
    for platform in part.platforms:
        same = _same_platform(whole, platform)
        row = locks.row_for(lock, same) if same else None
        if row is None:
            raise WorkspaceError(
                looked_at=part.path,
                expected="platforms of the root's manifest",
                found=f"the platform {platform.name}",
                next_step="declare the platform in both manifests alike, then `pixi lock` in the root",
            )
        name = platform.name if platform.is_bare else f"p{rich.index(platform.name) + 1}"  # as Pixi names them
        names[platform.name] = name
        subdir = "" if platform.is_bare else f"  subdir: {row.subdir}\n"
        virtual = "".join(f"  - {text}\n" for text in row.virtual_packages)
        rows[name] = f"- name: {name}\n{subdir}  virtual-packages:\n{virtual}"
    return rows, names


def _found(pattern: str, text: str) -> str:
    """The first part of a lock that matches. Pixi writes every part that is looked for."""
    found = re.search(pattern, text, re.MULTILINE)
    assert found is not None, pattern
    return found[0]


def _same_platform(whole: Manifest, platform: Platform) -> Platform | None:
    """The platform of the whole with the same content, whatever its name."""
    content = identity(platform.virtual_packages, platform.subdir)
    return next((p for p in whole.platforms if identity(p.virtual_packages, p.subdir) == content), None)


def _needed(
    whole: Manifest, lock: Lock, part: Manifest, environment: str, platform: Platform
) -> tuple[str, list[LockedPackage]]:
    """The environment of the whole that has what one (environment, platform) of the part needs, and those packages."""
    from_conda = manifests.conda_specs(part, environment, platform)
    specs = [spec.match_spec() for of_package in from_conda.values() for spec in of_package]
    from_pypi = manifests.pypi_specs(part, environment, platform)
    same = _same_platform(whole, platform)
    assert same is not None  # `cut` has refused what the whole does not have
    unmet = {}
    # First the environment of the same name, then the others in the order of the manifest.
    for name in sorted(whole.environments, key=lambda n: n != environment):
        packages = locks.packages(lock, name, same)
        held = {p.name: p for p in packages if p.kind == "conda"}
        missing = [
            str(s) for s in specs if s.name.normalized not in held or not s.matches(held[s.name.normalized].record)
        ]
        wheels = {canonicalize_name(p.name): p for p in packages if p.kind == "pypi"}
        asked_there = manifests.pypi_specs(whole, name, same)
        missing += [
            str(specs_of[0])
            for pypi, specs_of in from_pypi.items()
            if canonicalize_name(pypi) not in wheels
            or set(map(str, specs_of)) - set(map(str, asked_there.get(pypi, [])))
        ]
        if not missing:
            return name, _closure(held, [s.name.normalized for s in specs]) + _wheels(wheels, list(from_pypi))
        unmet[name] = missing
    nearest = min(unmet, key=lambda n: len(unmet[n]))
    raise WorkspaceError(
        looked_at=part.path,
        expected=f"an environment of the root that meets what {environment} requires on {platform.name}",
        found=f"the nearest is {nearest}, without {', '.join(unmet[nearest][:3])}",
        next_step="give the root's manifest the same dependencies, then `pixi lock` there",
    )


def _wheels(held: dict[NormalizedName, LockedPackage], names: list[str]) -> list[LockedPackage]:
    """The PyPI packages that `names` need, themselves included. Packages that conda provides are not among the wheels of the lock."""
    seen: set[NormalizedName] = set()
    while names:
        name = canonicalize_name(names.pop())
        if name not in seen and name in held:
            seen.add(name)
            names += [Requirement(text).name for text in held[name].requires_dist]
    return [held[name] for name in sorted(seen)]


def _closure(held: dict[str, LockedPackage], names: list[str]) -> list[LockedPackage]:
    seen: set[str] = set()
    while names:
        name = names.pop()
        if name in seen or name not in held:
            continue  # a virtual package such as __glibc has no record
        seen.add(name)
        names += [match_spec(depends).name.normalized for depends in held[name].depends]
    return [held[name] for name in sorted(seen)]
