"""What each environment of a workspace needs on each platform: builds, CUDA, driver, download. From manifest and lock."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pixi_workspace import lock as locks
from pixi_workspace import manifest as manifests
from pixi_workspace import needs
from pixi_workspace.errors import WorkspaceError
from pixi_workspace.needs import Place


def look(path: Path) -> tuple[manifests.Manifest, list[Place]]:
    """The manifest at `path` (a folder or a file), and every environment on every platform with what is locked."""
    manifest = manifests.load(manifests.find(path))
    lock = manifest.path.with_name("pixi.lock")
    if not lock.exists():
        raise WorkspaceError(
            looked_at=lock, expected="the lock of this manifest", found="no such file", next_step="pixi lock"
        )
    try:
        found = needs.places(manifest, locks.align(locks.read(lock), manifest.platforms))
        for place in found:
            about(place, None)
    except WorkspaceError:
        raise
    except Exception as error:  # files of other people hold things that nobody thought of
        raise WorkspaceError(
            looked_at=lock,
            expected="a lock that this command understands",
            found=f"{type(error).__name__}: {' '.join(str(error).split())}",
            next_step="pixi lock --check; and please report the two files",
        ) from error
    return manifest, found


def about(place: Place, installed: int | None, beside: Iterable[Place] = ()) -> dict[str, Any]:
    """Everything about one environment on one platform, for machines; the keys stay.

    beside: every environment on every platform of the workspace.
    """
    beside = list(beside)
    size, unknown = needs.download(place)
    lowest, built = needs.lowest_cuda(place), needs.built_for(place)
    return {
        "environment": place.environment,
        "platform": place.platform.name,
        "subdir": place.platform.subdir,
        "locked": bool(place.packages),
        "builds": [
            {"name": p.name, "version": p.version, "build": p.build or None, "kind": p.kind, "variant": kind}
            for p, kind in needs.variants(place)
        ],
        "platform_cuda": place.platform.version_of("__cuda"),
        "cuda_version": needs.toolkit(place),
        "built_for_cuda": built,
        "lowest_cuda_of_driver": lowest,
        "lowest_linux_driver": needs.driver_for(lowest) if lowest else None,
        "linux_driver_for_all_features": needs.driver_for(built) if built else None,
        "asked": asked(place),
        "download_bytes": size,
        "download_unknown": unknown,
        "installed_bytes": installed,
        "built_on_installation": [
            {"name": p.name, "version": p.version, "why": why} for p, why in needs.source_archives(place, beside)
        ],
        "odd": needs.oddities(place, same_environment(place, beside)),
    }


def same_environment(place: Place, beside: Iterable[Place]) -> list[Place]:
    """The environment of `place` on its other platforms."""
    return [other for other in beside if other.environment == place.environment and other.platform != place.platform]


def asked(place: Place) -> dict[str, str]:
    """The lowest version of each virtual package that the locked packages ask for, as in `__glibc`: `2.28`."""
    by_name: dict[str, list[needs.Need]] = {}
    for need in needs.asked_by_packages(place):
        by_name.setdefault(need.virtual, []).append(need)
    return {name: low for name, found in sorted(by_name.items()) if (low := needs.least(found))}
