"""A Pixi workspace read without Pixi: its manifest, its lock, whether they fit, and what runs where.

    find, load          the manifest of a folder, read and checked as Pixi 0.77 does     (manifest/)
    read_lock, align    pixi.lock, with the platform names of a manifest                 (lock.py)
    judge               does the lock still satisfy the manifest, and if not, why        (fit/)
    locked_environments builds, drivers and downloads of every environment               (environments.py, needs.py)
    cut                 the lock of an exercise, cut out of the lock of the whole        (lock_slice.py)

It follows Pixi's own rules, offline, and gives a reason with every answer. Nothing here imports from `workshop`.
Errors are `WorkspaceError`; Pixi refuses the cases of `ManifestError` and `LockError` as well.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pixi_workspace.environments import locked_environments
    from pixi_workspace.errors import WorkspaceError
    from pixi_workspace.fit.lockcheck import Verdict, judge
    from pixi_workspace.lock import Lock, LockError, align
    from pixi_workspace.lock import read as read_lock
    from pixi_workspace.lock_slice import cut
    from pixi_workspace.manifest import Manifest, ManifestError, find, load

__all__ = [
    "Lock",
    "LockError",
    "Manifest",
    "ManifestError",
    "Verdict",
    "WorkspaceError",
    "align",
    "cut",
    "find",
    "judge",
    "load",
    "locked_environments",
    "read_lock",
]

# Imported on first use: the doctor reads `disk` and `pypi_index` where py-rattler is not installed yet.
_HOMES = {
    "pixi_workspace.environments": ("locked_environments",),
    "pixi_workspace.errors": ("WorkspaceError",),
    "pixi_workspace.fit.lockcheck": ("Verdict", "judge"),
    "pixi_workspace.lock": ("Lock", "LockError", "align", "read_lock"),
    "pixi_workspace.lock_slice": ("cut",),
    "pixi_workspace.manifest": ("Manifest", "ManifestError", "find", "load"),
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(module), "read" if name == "read_lock" else name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
