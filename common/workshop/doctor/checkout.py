"""The parts of the workshop's own files that the doctor needs, as far as they can be read."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from workshop.errors import has_four_parts
from workshop.support import files

CPU_ENVIRONMENT = "cpu"  # runs every exercise except the one about JAX, without a GPU


@dataclass
class Checkout:
    """Facts from the workshop's files. A field is None or empty if it could not be read.

    requires_pixi, requires_python: constraints such as `>=0.71`. packages: those that the route with Python alone
    installs. channels, indexes: addresses of conda channels and of wheel indexes. places: each environment on each
    platform (`pixi_workspace.needs.PlatformEnvironment`). problem, next_step: why the manifest or the lock could not be
    read, and what to type.
    """

    root: Path
    requires_pixi: str | None = None
    requires_python: str | None = None
    packages: list[str] = field(default_factory=list)
    channels: list[str] = field(default_factory=list)
    indexes: list[str] = field(default_factory=list)
    places: list[Any] | None = None
    problem: str = ""
    next_step: str = ""

    def has_packages(self) -> bool:
        """Whether this Python already has the packages that the route with Python alone installs."""
        return bool(self.packages) and all(map(_is_installed, self.packages))

    def has_environment(self, name: str) -> bool:
        """Whether Pixi has installed the environment in this checkout."""
        return (self.root / ".pixi" / "envs" / name / "conda-meta").is_dir()


def find_root() -> Path:
    """The workshop that contains the current folder, otherwise the one that contains this file."""
    for folder in (Path.cwd(), *Path.cwd().parents):
        if any(folder.glob("exercise-[0-9]*/exercise.toml")):
            return folder
    return Path(__file__).resolve().parents[3]


def read_checkout(root: Path) -> Checkout:
    """Read the workshop's manifests and lock. Messages about them are left out of the report: they contain paths."""
    checkout = Checkout(root)
    try:
        project = files.read_toml(root / "pyproject.toml")["project"]
        checkout.requires_python = str(project["requires-python"])
        checkout.packages = [re.split(r"[<>=!~;\[ ]", text)[0] for text in project["optional-dependencies"]["cpu"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # a package outside its repository: the route with Python alone cannot be checked
    try:
        head = files.read_toml(root / "pixi.toml")["workspace"]
        checkout.requires_pixi = str(head.get("requires-pixi", "")) or None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # _read_workspace reports it
    _read_workspace(checkout)
    return checkout


def _read_workspace(checkout: Checkout) -> None:
    """Add channels, indexes and environments. Reading them needs py-rattler."""
    try:
        from pixi_workspace import environments, manifest
        from pixi_workspace.fit import satisfy_environment
    except ImportError as error:
        checkout.problem, checkout.next_step = f"not checked: this Python has no {error.name}", "pixi run doctor"
        return
    name = "pixi.toml"
    try:
        found = manifest.load(manifest.find(checkout.root))
        features = tuple(feature for environment in found.environments.values() for feature in environment.features)
        checkout.channels = satisfy_environment.channel_urls(
            satisfy_environment.channels_of(found, features), checkout.root
        )
        options = [found.pypi_options, *(feature.pypi_options for feature in found.features.values())]
        indexes = [url for option in options if option for url in (option.index_url, *option.extra_index_urls) if url]
        checkout.indexes = list(dict.fromkeys(indexes))
        name = "pixi.lock"
        if not (checkout.root / name).exists():
            checkout.problem, checkout.next_step = "there is no pixi.lock", "git checkout -- pixi.lock"
        else:
            checkout.places = environments.locked_environments(checkout.root)[1]
    except Exception as error:
        if not has_four_parts(error):
            raise
        checkout.problem, checkout.next_step = f"{name} cannot be read", "workshop lock-check  # prints where and why"


def _is_installed(package: str) -> bool:
    try:
        return bool(metadata.version(package))
    except (metadata.PackageNotFoundError, ValueError):  # ValueError: the name is empty
        return False
