"""A thin reader of `pixi.lock` on top of py-rattler, the library that Pixi itself is built on.

py-rattler reads the file and returns the records. lock_entries.py reads the entries that py-rattler does not return.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from rattler import LockFile

from pixi_workspace import files, platforms
from pixi_workspace.errors import WorkspaceError
from pixi_workspace.lock_entries import Entries, EnvironmentEntry, SourceEntry, read_entries
from pixi_workspace.platforms import Platform
from pixi_workspace.pypi_index import DEFAULT_INDEX as DEFAULT_INDEX  # where the readers of a lock look for it

NEWEST_VERSION = 7  # the lock format of Pixi 0.77
# The time that libyaml takes grows with the square of the depth, and rattler crashes at 100,000 round brackets.
DEEPEST_NESTING = 500
MOST_ENTRIES = 160_000  # lines and commas, or brackets: twice the largest public lock; reading takes two seconds
_BRACKET = re.compile(r"[\[\]{}()]|\\(?:x|u00|U000000)28")


class LockError(WorkspaceError):
    """The lock cannot be read; Pixi stops here as well."""


class LockTooLarge(LockError):
    """A lock that would take too long, or too much memory, to read here. Pixi may accept it."""


class LockTooNew(LockError):
    """A lock format of a later Pixi, which Pixi treats like a missing lock."""


@dataclass(frozen=True)
class LockedPackage:
    """One package of one (environment, platform). Hashes are lower-case hex, sizes bytes.

    `purls` is None if the lock does not record which PyPI packages a conda package provides, and empty if it records
    that there are none. `record` is rattler's own object, for matching.
    """

    kind: str  # "conda", "conda-source" or "pypi"
    name: str
    version: str | None
    url: str
    build: str = ""
    channel: str | None = None
    subdir: str = ""
    sha256: str | None = None
    md5: str | None = None
    size: int | None = None
    license: str | None = None
    depends: tuple[str, ...] = ()
    extra_depends: tuple[tuple[str, tuple[str, ...]], ...] = ()
    timestamp: datetime | None = None
    purls: tuple[str, ...] | None = None
    index: str | None = None
    requires_dist: tuple[str, ...] = ()
    requires_python: str | None = None
    lock_version: int = NEWEST_VERSION
    record: Any = None
    source: SourceEntry | None = None

    def __str__(self) -> str:
        return " ".join(part for part in (self.name, self.version or "", self.build) if part)


@dataclass(frozen=True)
class LockPlatform:
    """A platform as the lock names it (`linux-64`, or `p1` for one with declared virtual packages)."""

    name: str
    subdir: str
    virtual_packages: tuple[str, ...]


@dataclass(frozen=True)
class LockedEnvironment:
    """`packages` by the lock's platform name; `indexes` is None if the lock contains none."""

    name: str
    channels: tuple[str, ...]
    packages: dict[str, tuple[LockedPackage, ...]]
    indexes: tuple[str, ...] | None = None
    find_links: tuple[str, ...] = ()
    options: tuple[tuple[str, str], ...] = ()

    def option(self, key: str, default: str) -> str:
        return dict(self.options).get(key, default)


@dataclass(frozen=True)
class Lock:
    """A whole lock. `version` is that of the file on disk.

    sources: by identifier, the packages built from source. run_exports: by URL, what a conda package adds to the
    dependencies of packages that are built with it.
    """

    path: Path
    version: int
    platforms: tuple[LockPlatform, ...]
    environments: dict[str, LockedEnvironment]
    sources: dict[str, SourceEntry] = field(default_factory=dict)
    run_exports: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict)

    def platform(self, name: str) -> LockPlatform | None:
        return next((p for p in self.platforms if p.name == name), None)


def read(path: Path) -> Lock:
    """Read a lock of any version that rattler reads (1 to 7).

    Raises LockError where the file is not a lock, LockTooNew where it is one of a later Pixi.
    """
    try:
        text = files.read_text(path, files.LOCK_SIZE)
    except OSError as error:
        raise _unreadable(path, str(error.strerror)) from error
    except UnicodeDecodeError as error:
        raise _unreadable(path, f"bytes that are no text (not UTF-8, at byte {error.start})") from error
    stated = re.search(r"""^(?:\{\s*)?["']?version["']?[ \t]*:[ \t]*(\d{1,9})\b""", text, re.MULTILINE)
    version = int(stated[1]) if stated else NEWEST_VERSION
    if sum(map(text.count, "\n,")) > MOST_ENTRIES or sum(map(text.count, "[]{}()\\")) > MOST_ENTRIES:
        raise LockTooLarge(
            looked_at=path,
            expected=f"at most {MOST_ENTRIES:,} lines and commas, or brackets",
            found="more, which would take too long to read",
            next_step="pixi lock --check",
        )
    if _is_too_deep(text):
        raise _unreadable(path, f"brackets that are nested more than {DEEPEST_NESTING:,} deep")
    try:
        parsed = LockFile.from_path(path)  # first, because it limits nesting and aliases as well
        entries = read_entries(text)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # rattler's panics derive from BaseException
        if "newer lockfile" in str(error):
            raise LockTooNew(
                looked_at=path,
                expected=f"a lock of version {NEWEST_VERSION} or lower",
                found=f"version {version}, written by a later Pixi",
                next_step="update Pixi (`pixi self-update`), or write the lock anew with `pixi lock`",
            ) from error
        raise _unreadable(path, str(error), text) from error
    held: dict[str, LockedPackage] = {}
    environments = {}
    for name, environment in sorted(parsed.environments(), key=lambda pair: pair[0]):
        entry = entries.environments.get(name, EnvironmentEntry())
        environments[name] = LockedEnvironment(
            name=name,
            channels=tuple(channel_url(c) for c in environment.channels()),
            packages={
                platform.name: tuple(_package(p, platform.name, entry, entries, held, version) for p in found)
                for platform, found in environment.packages_by_platform().items()
            },
            indexes=entry.indexes,
            find_links=entry.find_links,
            options=entry.options,
        )
    found_platforms = tuple(
        LockPlatform(p.name, str(p.subdir), tuple(p.virtual_packages or ())) for p in parsed.platforms()
    )
    return Lock(path, version, found_platforms, environments, entries.sources, entries.run_exports)


def _is_too_deep(text: str) -> bool:
    depth = 0
    for bracket in _BRACKET.finditer(text):
        depth = max(0, depth - 1) if bracket[0] in "]})" else depth + 1
        if depth > DEEPEST_NESTING:
            return True
    return False


def _unreadable(path: Path, reason: str, text: str = "") -> LockError:
    reason = " ".join(reason.split()) or "nothing that can be read"
    found = f"{reason} (an edit by hand or a cut file are the usual causes)"
    next_step = "git checkout -- pixi.lock  # or delete the file, then: pixi lock"
    if text.startswith("version https://git-lfs.github.com/spec/"):
        found = "a Git LFS pointer: Git LFS has not downloaded the file that it stands for"
        next_step = "git lfs pull"
    elif re.search(r"^(<<<<<<<|>>>>>>>)", text, re.MULTILINE):
        found = "merge markers: Git could not merge the locks of two branches"
        next_step = "git checkout --ours pixi.lock && pixi lock  # --theirs works as well"
    return LockError(looked_at=path, expected="a lock file as `pixi lock` writes it", found=found, next_step=next_step)


def channel_url(channel: object) -> str:
    """The address of a LockChannel, whichever way this release of rattler shows it."""
    found = re.search(r'url="([^"]*)"', repr(channel))
    return found[1] if found else str(channel)


def _package(
    package: Any, platform: str, entry: EnvironmentEntry, entries: Entries, held: dict[str, LockedPackage], version: int
) -> LockedPackage:
    """One row of an environment in the lock. A package that several environments contain is read once."""
    raw = package._package
    url = package.location
    if raw.is_pypi:
        key = f"pypi {url} {package.name}"
        if key not in held:
            held[key] = _pypi(package, entry, entries, version)
        return held[key]
    if raw.is_conda_source:
        identifier = entry.source_rows.get((platform, package.name.lower())) or url or ""
        source = entries.sources.get(identifier, SourceEntry(identifier))
        fields = _conda_fields(package.package_record) if package.package_record is not None else {}
        return LockedPackage(
            kind="conda-source",
            name=package.name,
            version=None if package.version is None else str(package.version),
            url=url,
            **{**fields, "depends": source.depends, "extra_depends": tuple(sorted(source.extra_depends.items()))},
            source=source,
        )
    if url not in held:
        record = package.package_record
        held[url] = LockedPackage(
            kind="conda",
            name=package.name,
            version=str(record.version),
            url=url,
            channel=package.repo_data_record().channel,
            purls=entries.purls.get(url),
            **_conda_fields(record),
        )
    return held[url]


def _conda_fields(record: Any) -> dict[str, Any]:
    extra = getattr(record, "extra_depends", None) or {}
    return {
        "build": str(record.build),
        "subdir": str(record.subdir),
        "sha256": record.sha256.hex() if record.sha256 else None,
        "md5": record.md5.hex() if record.md5 else None,
        "size": record.size,
        "license": record.license,
        "depends": tuple(record.depends),
        "extra_depends": tuple((str(group), tuple(specs)) for group, specs in sorted(extra.items())),
        "timestamp": record.timestamp,
        "record": record,
    }


def _pypi(package: Any, entry: EnvironmentEntry, entries: Entries, version: int) -> LockedPackage:
    is_source = package.version == "<dynamic>"  # py-rattler's word where the build decides the version
    index = entries.indexes.get(package.location)
    if index is None and version >= 7 and not is_source and entry.indexes and entry.indexes[0] != DEFAULT_INDEX:
        index = entry.indexes[0]  # as Pixi: that of the first environment, by name, which contains the package
    hashes = package.hashes
    sha256, md5 = (getattr(hashes, which, None) for which in ("sha256", "md5"))
    return LockedPackage(
        kind="pypi",
        name=package.name,
        version=None if is_source else package.version,
        url=package.location,
        sha256=sha256.hex() if sha256 else None,
        md5=md5.hex() if md5 else None,
        index=index,
        requires_dist=tuple(package.requires_dist),
        requires_python=package.requires_python,
        lock_version=version,
    )


def align(lock: Lock, declared: Iterable[Platform]) -> Lock:
    """The lock with the manifest's platform names, matched by content: subdir and declared virtual packages.

    As in Pixi, a row is renamed where exactly one platform of the manifest has its content and the new name is
    free; all others keep the name that they have in the file.
    """
    declared = list(declared)
    taken = {p.name for p in lock.platforms}
    renames = {}
    for row in lock.platforms:
        read_back = [v for v in map(platforms.parse_locked, row.virtual_packages) if v is not None]
        content = platforms.identity(read_back, row.subdir)
        same = [p for p in declared if platforms.identity(p.virtual_packages, p.subdir) == content]
        if len(same) != 1 or same[0].name in taken or row.name in {p.name for p in declared}:
            continue
        renames[row.name] = same[0].name
    if len(set(renames.values())) != len(renames):
        return lock  # two rows of one content: Pixi gives up renaming
    return replace(
        lock,
        platforms=tuple(replace(p, name=renames.get(p.name, p.name)) for p in lock.platforms),
        environments={
            name: replace(e, packages={renames.get(p, p): found for p, found in e.packages.items()})
            for name, e in lock.environments.items()
        },
    )


def row_for(lock: Lock, platform: Platform) -> LockPlatform | None:
    """The row of an aligned lock that stands for a platform of the manifest, or None.

    A row under the bare subdir serves too where it records no virtual packages (locks before version 7) or all
    those of the platform.
    """
    row = lock.platform(platform.name)
    if row is not None:
        return row
    row = lock.platform(platform.subdir)
    if row is None:
        return None
    covered = not row.virtual_packages or all(str(v) in row.virtual_packages for v in platform.virtual_packages)
    return row if covered else None


def packages(lock: Lock, environment: str, platform: Platform) -> tuple[LockedPackage, ...]:
    """The packages of one (environment, platform); `lock` is aligned to the manifest. Empty where nothing is locked."""
    row, held = row_for(lock, platform), lock.environments.get(environment)
    return held.packages.get(row.name, ()) if row is not None and held is not None else ()
