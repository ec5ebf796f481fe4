"""Pixi's package cache: a folder for each package that Pixi has downloaded, with the package unpacked in it."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def folder() -> Path:
    """The package cache, found as Pixi 0.77 finds it. A cache that is named in Pixi's own settings is not found."""
    if packages := os.environ.get("PIXI_CACHE_CONDA_PACKAGES_DIR"):
        return Path(packages)
    for variable in ("PIXI_CACHE_DIR", "RATTLER_CACHE_DIR"):
        if cache := os.environ.get(variable):
            return Path(cache) / "pkgs"
    caches = Path(platformdirs.user_cache_dir())
    return (caches / "pixi" if (caches / "pixi").is_dir() else caches / "rattler" / "cache") / "pkgs"


def unpacked() -> list[Path]:
    """The folder of each package in the cache; empty without a cache."""
    try:
        return sorted(path for path in folder().iterdir() if (path / "info" / "index.json").is_file())
    except OSError:
        return []
