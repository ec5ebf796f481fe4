"""What each environment of a workspace needs on each platform: builds, CUDA, driver, download; from manifest and lock."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pixi_workspace import lock as locks
from pixi_workspace import manifest as manifests
from pixi_workspace import needs
from pixi_workspace.errors import WorkspaceError
from pixi_workspace.needs import PlatformEnvironment


def locked_environments(path: Path) -> tuple[manifests.Manifest, list[PlatformEnvironment]]:
    """The manifest at `path` (a folder or a file), and every environment on every platform with what is locked."""
    manifest = manifests.load(manifests.find(path))
    lock = manifest.path.with_name("pixi.lock")
    if not lock.exists():
        raise WorkspaceError(
            looked_at=lock, expected="the lock of this manifest", found="no such file", next_step="pixi lock"
        )
    try:
        envs = needs.platform_environments(manifest, locks.align(locks.read(lock), manifest.platforms))
        for env in envs:
            summary(env, None)
    except WorkspaceError:
        raise
    except Exception as error:  # other people's files can contain anything
        raise WorkspaceError(
            looked_at=lock,
            expected="a lock that this command can read",
            found=f"{type(error).__name__}: {' '.join(str(error).split())}",
            next_step="pixi lock --check; and please report the two files",
        ) from error
    return manifest, envs


def summary(
    env: PlatformEnvironment, installed: int | None, beside: Iterable[PlatformEnvironment] = ()
) -> dict[str, Any]:
    """One environment on one platform, for JSON. The keys are part of the interface.

    beside: every environment on every platform of the workspace.
    """
    beside = list(beside)
    size, unknown = needs.download(env)
    lowest, built = needs.lowest_cuda(env), needs.built_for(env)
    return {
        "environment": env.environment,
        "platform": env.platform.name,
        "subdir": env.platform.subdir,
        "locked": bool(env.packages),
        "builds": [
            {"name": p.name, "version": p.version, "build": p.build or None, "kind": p.kind, "variant": kind}
            for p, kind in env.variants
        ],
        "platform_cuda": env.platform.version_of("__cuda"),
        "cuda_version": needs.toolkit(env),
        "built_for_cuda": built,
        "lowest_cuda_of_driver": lowest,
        "lowest_linux_driver": needs.driver_for(lowest) if lowest else None,
        "linux_driver_for_all_features": needs.driver_for(built) if built else None,
        "asked": lowest_required(env),
        "download_bytes": size,
        "download_unknown": unknown,
        "installed_bytes": installed,
        "built_on_installation": [
            {"name": p.name, "version": p.version, "why": why} for p, why in needs.source_archives(env, beside)
        ],
        "odd": needs.oddities(env, same_environment(env, beside)),
    }


def same_environment(env: PlatformEnvironment, beside: Iterable[PlatformEnvironment]) -> list[PlatformEnvironment]:
    """The environment of `env` on its other platforms."""
    return [other for other in beside if other.environment == env.environment and other.platform != env.platform]


def lowest_required(env: PlatformEnvironment) -> dict[str, str]:
    """The lowest version of each virtual package that the locked packages require, as in `__glibc`: `2.28`."""
    by_name: dict[str, list[needs.Need]] = {}
    for need in needs.required_by_packages(env):
        by_name.setdefault(need.virtual, []).append(need)
    return {name: low for name, envs in sorted(by_name.items()) if (low := needs.least(envs))}
