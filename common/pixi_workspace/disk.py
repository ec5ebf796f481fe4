"""Where Pixi puts environments, how much space is free there, and how much an installed environment takes."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from pixi_workspace import files


def environments_folder(root: Path) -> Path:
    """The folder of a workspace's environments: `.pixi/envs`, or the folder that `detached-environments` names.

    Pixi's configuration files are read in Pixi's order; one that cannot be read is skipped.
    """
    home, variable = Path.home(), os.environ.get
    above = [variable("PIXI_HOME"), home / ".pixi"]
    shared = [
        variable("XDG_CONFIG_HOME"),
        home / ".config",
        variable("APPDATA"),
        home / "Library" / "Application Support",
        "/etc",
    ]
    folders = [root / ".pixi", *(Path(f) for f in above if f), *(Path(f) / "pixi" for f in shared if f)]
    for folder in folders:
        try:
            found = files.read_toml(folder / "config.toml").get("detached-environments")
        except (OSError, ValueError):
            continue
        if isinstance(found, str):
            return _expanded(found)
        if found is True:
            caches = [variable("PIXI_CACHE_DIR"), variable("RATTLER_CACHE_DIR"), variable("XDG_CACHE_HOME")]
            default = home / ("Library/Caches" if sys.platform == "darwin" else ".cache")
            return Path(next(filter(None, caches), default))
        if found is False:
            break
    return root / ".pixi" / "envs"


def _expanded(text: str) -> Path:
    """The path with `~` replaced; unchanged if no user has that name (`~nobody-here`)."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def free(folder: Path) -> int | None:
    """Bytes that this user may still write where `folder` is or will be; None if the system does not tell.

    A quota is not taken into account.
    """
    try:
        existing = next((p for p in (folder, *folder.parents) if p.exists()), folder)
        return shutil.disk_usage(existing).free
    except OSError:
        return None


def installed(root: Path, environment: str) -> int | None:
    """Bytes that an installed environment takes, measured; a file with several names counts once. None: it is not installed.

    Only measuring gives this: a lock contains the sizes of the downloads, not of the unpacked files.
    """
    folder = root / ".pixi" / "envs" / environment  # with detached environments a link of that name
    if not (folder / "conda-meta").is_dir():
        return None
    seen: set[tuple[int, int]] = set()
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                status = os.lstat(os.path.join(parent, name))
            except OSError:
                continue  # removed in the meantime
            if (status.st_dev, status.st_ino) not in seen or status.st_ino == 0:
                seen.add((status.st_dev, status.st_ino))
                total += status.st_size
    return total
