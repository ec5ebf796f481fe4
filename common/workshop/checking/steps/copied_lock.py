"""A lock that was copied from a solution, and how it differs from the learner's manifest.

The solution's lock fits only a manifest with the same environments and platforms. It is not a stale lock: `pixi lock`
would replace it, and without Pixi the learner has to know what to change in the manifest.
"""

from __future__ import annotations

from pathlib import Path

from pixi_workspace import lock as locks
from pixi_workspace.lock import Lock, LockPlatform
from pixi_workspace.manifest import Manifest
from pixi_workspace.manifest.platforms import platforms_of
from pixi_workspace.platforms import identity, parse_locked
from workshop import exercises, shell
from workshop.errors import WorkshopError
from workshop.exercises import Exercise
from workshop.support.files import LARGE, read_bytes


def origin_of(path: Path) -> Path | None:
    """The solution of which a lock is a copy, byte for byte; None if it is another lock, or is in that solution."""
    try:
        content = read_bytes(path, LARGE)
        found = exercises.find_all(exercises.root_folder())
    except (OSError, WorkshopError):
        return None
    for exercise in found:
        lock = exercise.folder / "solution" / "pixi.lock"
        if lock.is_file() and lock.stat().st_size == len(content) and lock.read_bytes() == content:
            return None if lock.resolve() == path.resolve() else lock.parent
    return None


def differences(manifest: Manifest, lock: Lock) -> list[str]:
    """What a manifest has and a copied lock has not, or the reverse: environments first, then their platforms."""
    ours, theirs = set(manifest.environments), set(lock.environments)
    found = []
    if more := sorted(ours - theirs):
        found.append(f"your manifest has the environment {', '.join(more)}, the lock does not")
    if more := sorted(theirs - ours):
        found.append(f"the lock has the environment {', '.join(more)}, your manifest does not")
    names = {platform.name: platform for platform in lock.platforms}
    only: dict[tuple[str, str], list[str]] = {}  # environments, by what only the one or the other has
    for name in sorted(ours & theirs):
        declared = {
            identity(platform.virtual_packages, platform.subdir): platform.name
            for platform in platforms_of(manifest, manifest.environments[name].features)
        }
        locked = {}
        for row in lock.environments[name].packages:
            platform = names[row]
            virtual_packages = filter(None, map(parse_locked, platform.virtual_packages))
            locked[identity(virtual_packages, platform.subdir)] = _described(platform)
        if more := sorted(locked[key] for key in locked.keys() - declared.keys()):
            only.setdefault((", ".join(more), "the lock is also for {}, your manifest is not"), []).append(name)
        if more := sorted(declared[key] for key in declared.keys() - locked.keys()):
            only.setdefault((", ".join(more), "your manifest is also for {}, the lock is not"), []).append(name)
    found += [f"{sentence.format(more)} ({', '.join(names)})" for (more, sentence), names in only.items()]
    return found


def _described(platform: LockPlatform) -> str:
    """A platform of a lock in words, since its name there may be p1."""
    cuda = next((text.split("=")[1] for text in platform.virtual_packages if text.startswith("__cuda=")), None)
    return f"{platform.subdir} with cuda {cuda}" if cuda else platform.subdir


def explain(manifest: Manifest, path: Path) -> str | None:
    """How a copied lock differs from the manifest beside it; None if it is no copy or its form does not differ."""
    origin = origin_of(path)
    if origin is None:
        return None
    try:
        found = differences(manifest, locks.align(locks.read(path), manifest.platforms))
    except (OSError, KeyError, locks.LockError):
        return None
    where = f"{origin.parent.name}/{origin.name}"
    return f"a copy of the lock in {where}, which belongs to another manifest: {'; '.join(found)}" if found else None


def advice(folder: Path, exercise: Exercise) -> str:
    """The next step after a missing or stale lock in `folder`, where there is no Pixi: it keeps the learner's manifest."""
    ours, theirs = folder / "pixi.lock", exercise.folder / "solution" / "pixi.lock"
    fits = "the environments, platforms and versions of solution/pixi.toml"
    install = "or install Pixi (https://pixi.sh, one minute)"
    if origin_of(ours) == theirs.parent:
        return f"give {shell.relative(folder / 'pixi.toml')} {fits}, which the copied lock fits; {install}"
    copy = f"cp {shell.quoted(theirs)} {shell.quoted(ours)}"
    return f"{copy}  # only Pixi can write a lock; this one fits a manifest with {fits}; {install}"
