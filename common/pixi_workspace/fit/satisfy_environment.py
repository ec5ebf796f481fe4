"""Does a locked environment suit the manifest as a whole: channels, platforms, PyPI indexes, solver options?"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from pixi_workspace import lock as locks
from pixi_workspace import manifest as manifests
from pixi_workspace import platforms
from pixi_workspace.fit import satisfy_pypi
from pixi_workspace.lock import Lock, LockedEnvironment, LockedPackage
from pixi_workspace.manifest import Environment, Manifest, PypiSpec
from pixi_workspace.manifest.model import Channel, Feature, PypiOptions
from pixi_workspace.manifest.options import join_options, overlay_options
from pixi_workspace.manifest.platforms import group_features, platforms_of
from pixi_workspace.platforms import Platform

CHANNEL_ALIAS = "https://conda.anaconda.org/"
STRATEGY_IN_LOCK = {
    None: "highest",
    "highest": "highest",
    "lowest": "lowest-version",
    "lowest-direct": "lowest-version-direct",
}


@dataclass(frozen=True)
class Reason:
    """One thing that keeps a lock from being up to date. Fields that do not apply are None.

    environment: a name, or the names of several members of a solve group with commas between them.
    """

    message: str
    environment: str | None = None
    platform: str | None = None
    package: str | None = None
    constraint: str | None = None
    record: str | None = None


def check_environment(
    manifest: Manifest, lock: Lock, environment: Environment, locked: LockedEnvironment
) -> list[Reason]:
    """Channels, platforms, indexes and solver options of one environment."""
    root, found = manifest.path.parent, []
    features = grouped(manifest, environment)

    def add(message: str, expected: object, record: object, package: str | None = None) -> None:
        found.append(Reason(message, environment.name, None, package, str(expected), str(record)))

    wanted = channel_urls(channels_of(manifest, features), root)
    held = [base_url(url, root) for url in locked.channels]
    if wanted != held:
        add(f"the channels are {listed(wanted)}, the lock was made with {listed(held)}", listed(wanted), listed(held))
    found += _check_platforms(manifest, lock, environment, locked)
    options = pypi_options(manifest, features)
    required = manifests.pypi_specs(manifest, environment.name, None)
    if required:
        found += _check_pypi_options(manifest, environment, locked, lock, options, required)
    strategy = next((f.solve_strategy for f in environment.features if f.solve_strategy), None)
    priorities = {f.channel_priority for f in environment.features if f.channel_priority}
    expected = {
        "strategy": STRATEGY_IN_LOCK[strategy],
        "channel-priority": priorities.pop() if len(priorities) == 1 else "strict",
        "pypi-prerelease-mode": options.prerelease_mode or "if-necessary-or-explicit",
    }
    defaults = {"strategy": "highest", "channel-priority": "strict", "pypi-prerelease-mode": "if-necessary-or-explicit"}
    for key, value in expected.items():
        if locked.option(key, defaults[key]) != value:
            add(
                f"{key} is '{value}', the lock was made with '{locked.option(key, defaults[key])}'",
                value,
                locked.option(key, defaults[key]),
            )
    return found + _check_cutoffs(manifest, environment, locked)


def channel_urls(channels: list[Channel], root: Path) -> list[str]:
    """The base addresses of channels in the order of their weight, each written form once."""
    ordered = sorted(channels, key=lambda c: -c.priority)
    return [base_url(text, root) for text in dict.fromkeys(c.text for c in ordered)]


def base_url(text: str, root: Path) -> str:
    """`conda-forge` as `https://conda.anaconda.org/conda-forge/`; a URL or a path with one slash at its end."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text):
        split = urlsplit(text)
        return f"{split.scheme.lower()}://{split.netloc.lower()}{split.path.rstrip('/')}/"
    if text.startswith(("./", "../", "/", "~", ".\\")):
        return (root / Path(text).expanduser()).resolve().as_uri().rstrip("/") + "/"
    return CHANNEL_ALIAS + quote(text.strip("/"), safe="/") + "/"


def channels_of(manifest: Manifest, features: tuple[Feature, ...]) -> list[Channel]:
    """The channels of features; one that names none has those of the workspace."""
    return [c for f in features for c in (manifest.channels if f.channels is None else f.channels)]


def pypi_options(manifest: Manifest, features: tuple[Feature, ...]) -> PypiOptions:
    """The PyPI options that hold for these features together."""
    joined = join_options([f.pypi_options for f in features if f.pypi_options], "[environments]")
    return overlay_options(manifest.pypi_options, joined)


def grouped(manifest: Manifest, environment: Environment) -> tuple[Feature, ...]:
    """The features that are solved together: those of the solve group where it has several members."""
    members = manifest.solve_groups().get(environment.solve_group or "", [])
    return group_features(members) if len(members) > 1 else environment.features


def listed(items: list[str] | tuple[str, ...]) -> str:
    return ", ".join(items) or "none"


def _check_platforms(
    manifest: Manifest, lock: Lock, environment: Environment, locked: LockedEnvironment
) -> list[Reason]:
    found = []
    own = {p.name: p for p in platforms_of(manifest, environment.features)}
    subdirs = {p.subdir for p in own.values()}
    for row in lock.platforms:
        if row.name not in locked.packages or platforms.name_problem(row.name):
            continue
        platform = own.get(row.name)
        if platform is None:
            if row.subdir not in subdirs:
                found.append(
                    Reason(
                        f"the lock contains the platform '{row.name}', which the environment does not have",
                        environment.name,
                        row.name,
                    )
                )
            continue
        declared = sorted(str(v) for v in platforms.customised(platform.virtual_packages, platform.subdir))
        recorded = []
        for text in row.virtual_packages:
            virtual = platforms.parse_locked(text)
            if virtual is None or not platforms.is_default(virtual, platform.subdir):
                recorded.append(text)
        if platform.subdir != row.subdir or declared != sorted(recorded):
            found.append(
                Reason(
                    f"the platform '{row.name}' is {platform.subdir} with {listed(declared)}, "
                    f"the lock was made for {row.subdir} with {listed(sorted(recorded))}",
                    environment.name,
                    row.name,
                    None,
                    listed(declared),
                    listed(sorted(recorded)),
                )
            )
    return found


def _check_pypi_options(
    manifest: Manifest,
    environment: Environment,
    locked: LockedEnvironment,
    lock: Lock,
    options: PypiOptions,
    required: dict[str, list[PypiSpec]],
) -> list[Reason]:
    """Indexes, `no-build` and wheel tags: compared if the environment requires PyPI packages at all."""
    wheels = [(row, p) for row, ps in locked.packages.items() for p in ps if p.kind == "pypi"]
    found = _check_indexes(environment, locked, options, bool(wheels) and lock.version >= 5)
    python_of = _locked_pythons(manifest, locked, lock)
    subdir_of = {row.name: row.subdir for row in lock.platforms}
    for row_name, package in wheels:
        if options.no_build and _violates_no_build(package, options, required, manifest.path.parent):
            found.append(
                Reason(
                    "the package has to be built from source, which `no-build` forbids",
                    environment.name,
                    row_name,
                    package.name,
                    "no-build",
                    package.url,
                )
            )
        if (known := python_of.get(subdir_of[row_name])) is not None:
            name = urlsplit(package.url).path.rsplit("/", 1)[-1]
            if not satisfy_pypi.wheel_fits(name, *known):
                found.append(
                    Reason(
                        "the tags of the locked wheel do not suit the platform and its Python",
                        environment.name,
                        row_name,
                        package.name,
                        str(known[0].name),
                        package.url,
                    )
                )
    return found


def _check_indexes(
    environment: Environment, locked: LockedEnvironment, options: PypiOptions, has_to_name_them: bool
) -> list[Reason]:
    """The indexes and links in their order. has_to_name_them: whether Pixi writes them into such a lock."""
    wanted = (options.index_url or locks.DEFAULT_INDEX, *options.extra_index_urls)
    held = locked.indexes
    if held is None:
        fit = not has_to_name_them
    else:
        same = len(held) == len(wanted) and all(map(satisfy_pypi.same_url, wanted, held))
        fit = same and locked.find_links == options.find_links
    if fit:
        return []
    ours, theirs = listed((*wanted, *options.find_links)), listed((*(held or ()), *locked.find_links))
    message = f"the PyPI indexes are {ours}, the lock was made with {theirs}"
    return [Reason(message, environment.name, None, None, ours, theirs)]


def _locked_pythons(manifest: Manifest, locked: LockedEnvironment, lock: Lock) -> dict[str, tuple[Platform, str, bool]]:
    """For each subdir with Python: the platform, the version, and whether it is a free-threaded build."""
    found = {}
    for row in lock.platforms:
        platform = next((p for p in manifest.platforms if p.name == row.name), None)
        platform = platform or next((p for p in manifest.platforms if p.subdir == row.subdir), None)
        for package in locked.packages.get(row.name, ()):
            if platform is not None and package.kind == "conda" and package.name == "python":
                found[platform.subdir] = (platform, package.version or "", _is_free_threaded(package))
    return found


def _violates_no_build(
    package: LockedPackage, options: PypiOptions, required: dict[str, list[PypiSpec]], root: Path
) -> bool:
    """Whether a package has to be built although `no-build` forbids it. A local folder may be built if it is editable."""
    editable = any(s.path is not None and s.editable for s in required.get(package.name, [])[-1:])
    if editable and satisfy_pypi.is_path(package.url):
        return False
    forbidden = options.no_build is True or (options.no_build and package.name in options.no_build)
    source = satisfy_pypi.is_source(package, root)
    return source is None or bool(source and forbidden)


def _is_free_threaded(python: LockedPackage) -> bool:
    return any(d.startswith("python_abi") and re.search(r"cp\d{3}t", d) for d in python.depends)


def _check_cutoffs(manifest: Manifest, environment: Environment, locked: LockedEnvironment) -> list[Reason]:
    """`exclude-newer`: no locked conda package may be younger. A package's date goes before its channel's."""
    root = manifest.path.parent
    by_channel = {base_url(c.text, root): c.cutoff for c in channels_of(manifest, environment.features) if c.cutoff}
    if manifest.exclude_newer is None and not by_channel and not manifest.package_cutoffs:
        return []
    found = {}
    for row, packages in locked.packages.items():
        for package in packages:
            channel = base_url(package.channel, root) if package.channel else ""
            cutoff = manifest.package_cutoffs.get(package.name.lower(), by_channel.get(channel, manifest.exclude_newer))
            if cutoff is not None and package.timestamp is not None and package.timestamp > cutoff:
                found.setdefault(
                    package.name,
                    Reason(
                        f"the locked package is of {package.timestamp:%Y-%m-%d}, newer than {cutoff:%Y-%m-%d %H:%M}",
                        environment.name,
                        row,
                        package.name,
                        f"exclude-newer {cutoff.isoformat()}",
                        str(package),
                    ),
                )
    return list(found.values())
