"""What a manifest contains: one dataclass for each kind of table. tables.py reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pixi_workspace.manifest.spec import CondaSpec, PypiSpec
from pixi_workspace.platforms import Platform, VirtualPackage


@dataclass(frozen=True)
class Channel:
    """A channel as written: a name, a URL or a path. Higher priority goes first."""

    text: str
    priority: int = 0
    cutoff: datetime | None = None


@dataclass(frozen=True)
class PypiOptions:
    """`[pypi-options]`. `no_build` is True for all packages, or the names it holds for."""

    index_url: str | None = None
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    index_strategy: str | None = None
    prerelease_mode: str | None = None
    skip_wheel_filename_check: bool | None = None
    no_build: bool | frozenset[str] = frozenset()
    overrides: tuple[tuple[str, PypiSpec], ...] = ()


@dataclass(frozen=True)
class Task:
    """A task; `table` is its whole entry in the manifest."""

    name: str
    cmd: str | list[str] | None
    description: str | None
    default_environment: str | None
    table: dict[str, Any] = field(repr=False, default_factory=dict)


@dataclass(frozen=True, eq=False)
class Target:
    """What a feature contains in general (`selector` None) or for some platforms."""

    selector: str | None = None
    dependencies: dict[str, dict[str, CondaSpec]] = field(default_factory=dict)  # by "run", "host", "build"
    pypi: dict[str, tuple[PypiSpec, ...]] = field(default_factory=dict)
    constraints: dict[str, CondaSpec] = field(default_factory=dict)
    dev: dict[str, Any] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    activation_env: dict[str, str] = field(default_factory=dict)
    activation_scripts: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Feature:
    """A feature; its first target is the general one. `inline` marks content that stands on an environment."""

    name: str
    targets: tuple[Target, ...] = (Target(),)
    platforms: tuple[str, ...] | None = None
    channels: tuple[Channel, ...] | None = None
    channel_priority: str | None = None
    solve_strategy: str | None = None
    pypi_options: PypiOptions | None = None
    system_requirements: tuple[VirtualPackage, ...] = ()
    inline: bool = False


@dataclass(frozen=True, eq=False)
class Environment:
    """An environment and its features in the order of their weight; the default feature comes last."""

    name: str
    features: tuple[Feature, ...]
    solve_group: str | None = None


@dataclass(frozen=True)
class Head:
    """The table `[workspace]`."""

    name: str | None
    channels: tuple[Channel, ...]
    platforms: tuple[Platform, ...]
    channel_priority: str | None
    solve_strategy: str | None
    pypi_options: PypiOptions | None
    exclude_newer: datetime | None
    build_preview: bool
    pool: dict[str, Any]
    build_variants: tuple[tuple[str | None, dict[str, list[str]]], ...] = ()
    variant_files: bool = False


@dataclass(frozen=True, eq=False)
class Manifest:
    """A whole manifest. `composes`: every declared platform is a bare subdir. `notes` are printed.

    shared_dependencies: `[workspace.dependencies]`, from which packages inherit. build_variants: by target selector
    (None: in general), the values for which packages are built. variant_files: more of them are in other files. later_pixi:
    `requires-pixi`, if only a later Pixi meets it than the one whose rules are mirrored here.
    """

    path: Path
    name: str | None
    channels: tuple[Channel, ...]
    features: dict[str, Feature]
    environments: dict[str, Environment]
    platforms: tuple[Platform, ...]
    composes: bool
    pypi_options: PypiOptions | None = None
    exclude_newer: datetime | None = None
    package_cutoffs: dict[str, datetime] = field(default_factory=dict)
    shared_dependencies: dict[str, Any] = field(default_factory=dict)
    build_variants: tuple[tuple[str | None, dict[str, list[str]]], ...] = ()
    variant_files: bool = False
    later_pixi: str | None = None
    notes: tuple[str, ...] = ()

    def solve_groups(self) -> dict[str, list[Environment]]:
        """The environments of every solve group."""
        groups: dict[str, list[Environment]] = {}
        for environment in self.environments.values():
            if environment.solve_group is not None:
                groups.setdefault(environment.solve_group, []).append(environment)
        return groups

    def supports(self, feature: Feature, platform: Platform) -> bool:
        """Whether a feature is for a platform: it lists its name or its subdir, or no platforms at all."""
        if feature.platforms is None:
            return True
        if self.composes:
            return any(p.subdir == platform.subdir for p in self.platforms if p.name in feature.platforms)
        return platform.name in feature.platforms or platform.subdir in feature.platforms

    def tasks(self) -> dict[str, Task]:
        """All tasks by name, from every feature, every environment with tasks of its own, and every target."""
        inline = [f for environment in self.environments.values() for f in environment.features if f.inline]
        features = [*self.features.values(), *inline]
        return {n: t for f in features for target in f.targets for n, t in target.tasks.items()}
