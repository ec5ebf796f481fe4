"""What the doctor reads of the workshop's own files, as far as they can be read."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from workshop.errors import has_four_parts

LIGHT = "cpu"  # the environment in which every exercise but the one about JAX runs without a GPU


@dataclass
class Checkout:
    """The workshop's files. A field is None or empty where it could not be read.

    requires_pixi, requires_python: constraints such as `>=0.71`. packages: what the route with Python alone installs.
    channels, indexes: addresses of conda channels and of wheel indexes. places: each environment on each platform
    (`pixi_workspace.needs.Place`). trouble, advice: why the manifest or the lock could not be read, and what to type.
    """

    root: Path
    requires_pixi: str | None = None
    requires_python: str | None = None
    packages: list[str] = field(default_factory=list)
    channels: list[str] = field(default_factory=list)
    indexes: list[str] = field(default_factory=list)
    places: list[Any] | None = None
    trouble: str = ""
    advice: str = ""

    def has_packages(self) -> bool:
        """Whether this Python holds what the route with Python alone would install."""
        return bool(self.packages) and all(map(_is_installed, self.packages))

    def has_environment(self, name: str) -> bool:
        """Whether Pixi has installed an environment here."""
        return (self.root / ".pixi" / "envs" / name / "conda-meta").is_dir()


def find() -> Path:
    """The workshop around the current folder, else around this file."""
    for folder in (Path.cwd(), *Path.cwd().parents):
        if any(folder.glob("exercise-[0-9]*/exercise.toml")):
            return folder
    return Path(__file__).resolve().parents[3]


def read(root: Path) -> Checkout:
    """The workshop's manifests and lock. Messages about them stay out of the report, since they hold paths."""
    here = Checkout(root)
    try:
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        here.requires_python = str(project["requires-python"])
        here.packages = [re.split(r"[<>=!~;\[ ]", text)[0] for text in project["optional-dependencies"]["cpu"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # lifted out of its repository: the route with Python alone cannot be judged
    try:
        head = tomllib.loads((root / "pixi.toml").read_text(encoding="utf-8"))["workspace"]
        here.requires_pixi = str(head.get("requires-pixi", "")) or None
    except (OSError, ValueError, KeyError, AttributeError):
        pass  # _read_workspace reports it
    _read_workspace(here)
    return here


def _read_workspace(here: Checkout) -> None:
    """Channels, indexes and environments, by the reader of manifests and locks: with py-rattler only."""
    try:
        from pixi_workspace import environments, manifest
        from pixi_workspace.fit import satisfy_environment
    except ImportError as error:
        here.trouble, here.advice = f"not looked at: {error.name} is not in this Python", "pixi run doctor"
        return
    name = "pixi.toml"
    try:
        found = manifest.load(manifest.find(here.root))
        features = tuple(feature for environment in found.environments.values() for feature in environment.features)
        here.channels = satisfy_environment.channel_urls(satisfy_environment.channels_of(found, features), here.root)
        options = [found.pypi_options, *(feature.pypi_options for feature in found.features.values())]
        indexes = [url for option in options if option for url in (option.index_url, *option.extra_index_urls) if url]
        here.indexes = list(dict.fromkeys(indexes))
        name = "pixi.lock"
        if not (here.root / name).exists():
            here.trouble, here.advice = "there is no pixi.lock", "git checkout -- pixi.lock"
        else:
            here.places = environments.look(here.root)[1]
    except Exception as error:
        if not has_four_parts(error):
            raise
        here.trouble, here.advice = f"{name} cannot be read", "workshop lock-check  # it says where and why"


def _is_installed(package: str) -> bool:
    try:
        return bool(metadata.version(package))
    except metadata.PackageNotFoundError:
        return False
