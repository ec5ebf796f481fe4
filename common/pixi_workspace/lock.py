"""A thin reading of `pixi.lock` by py-rattler, the library that Pixi itself is built on.

py-rattler parses the file and gives the records. A few lines that it does not hand out (PyPI indexes, solver
options, PyPI names of conda packages) are read from the text that it writes back, which has one fixed style
whatever the style of the original.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rattler import LockFile

from pixi_workspace import platforms
from pixi_workspace.errors import WorkspaceError
from pixi_workspace.platforms import Platform
from pixi_workspace.pypi_index import DEFAULT_INDEX as DEFAULT_INDEX  # where the readers of a lock look for it

NEWEST_VERSION = 7  # the lock format of Pixi 0.77


class LockError(WorkspaceError):
    """The lock cannot be read; Pixi stops here as well."""


class LockTooNew(LockError):
    """A lock format of a later Pixi, which Pixi treats like a missing lock."""


@dataclass(frozen=True)
class LockedPackage:
    """One package of one (environment, platform). Hashes are lower-case hex, sizes bytes.

    `purls` is None where the lock does not say which PyPI packages a conda package provides, and empty where it
    says none. `record` is rattler's own object, for matching.
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
    """`packages` by the lock's platform name; `indexes` is None where the lock holds none."""

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
    """A whole lock. `version` is that of the file on disk."""

    path: Path
    version: int
    platforms: tuple[LockPlatform, ...]
    environments: dict[str, LockedEnvironment]

    def platform(self, name: str) -> LockPlatform | None:
        return next((p for p in self.platforms if p.name == name), None)


def read(path: Path) -> Lock:
    """Read a lock of any version that rattler reads (1 to 7).

    Raises LockError where the file is not a lock, LockTooNew where it is one of a later Pixi.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise _unreadable(path, "a folder of that name" if path.is_dir() else str(error.strerror)) from error
    except UnicodeDecodeError as error:
        raise _unreadable(path, f"bytes that are no text (not UTF-8, at byte {error.start})") from error
    stated = re.search(r"""^(?:\{\s*)?["']?version["']?[ \t]*:[ \t]*(\d+)""", text, re.MULTILINE)
    version = int(stated[1]) if stated else NEWEST_VERSION
    try:
        parsed = LockFile.from_path(path)
        with tempfile.TemporaryDirectory() as folder:
            again = Path(folder) / "pixi.lock"
            parsed.to_path(again)
            text_of = _Texts(again.read_text(encoding="utf-8"))
            text_of.add_indexes(text)
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
        raise _unreadable(path, str(error)) from error
    held: dict[str, LockedPackage] = {}
    environments = {}
    for name, environment in parsed.environments():
        packages = {
            platform.name: tuple(_package(p, text_of, held, version) for p in found)
            for platform, found in environment.packages_by_platform().items()
        }
        head = text_of.environments.get(name, {})
        environments[name] = LockedEnvironment(
            name=name,
            channels=tuple(channel_url(c) for c in environment.channels()),
            packages=packages,
            indexes=tuple(head["indexes"]) if "indexes" in head else None,
            find_links=tuple(head.get("find-links", ())),
            options=tuple(head.get("options", {}).items()),
        )
    found_platforms = tuple(
        LockPlatform(p.name, str(p.subdir), tuple(p.virtual_packages or ())) for p in parsed.platforms()
    )
    return Lock(path, version, found_platforms, environments)


def _unreadable(path: Path, reason: str) -> LockError:
    found = " ".join(reason.split()) or "nothing that can be read"
    return LockError(
        looked_at=path,
        expected="a lock file as `pixi lock` writes it",
        found=f"{found} (merge markers, an edit by hand or a cut file are the usual causes)",
        next_step="git checkout -- pixi.lock, or delete the file, then `pixi lock`",
    )


def channel_url(channel: object) -> str:
    """The address of a LockChannel, whichever way this release of rattler shows it."""
    found = re.search(r'url="([^"]*)"', repr(channel))
    return found[1] if found else str(channel)


def _package(package: Any, texts: _Texts, held: dict[str, LockedPackage], version: int) -> LockedPackage:
    """One row of the lock; the same package in several environments is read once."""
    raw = package._package
    url = package.location
    if raw.is_pypi:
        key = f"pypi {url} {package.name}"
        if key not in held:
            held[key] = _pypi(package, texts, version)
        return held[key]
    if raw.is_conda_source:
        return LockedPackage(
            kind="conda-source",
            name=package.name,
            version=None if package.version is None else str(package.version),
            url=url,
            **(_conda_fields(package.package_record) if package.package_record is not None else {}),
        )
    if url not in held:
        record = package.package_record
        held[url] = LockedPackage(
            kind="conda",
            name=package.name,
            version=str(record.version),
            url=url,
            channel=package.repo_data_record().channel,
            purls=texts.purls.get(url),
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


def _pypi(package: Any, texts: _Texts, version: int) -> LockedPackage:
    fields = texts.pypi.get(package.location, {})
    hashes = package.hashes
    sha256, md5 = (getattr(hashes, which, None) for which in ("sha256", "md5"))
    return LockedPackage(
        kind="pypi",
        name=package.name,
        version=fields.get("version"),
        url=package.location,
        sha256=sha256.hex() if sha256 else None,
        md5=md5.hex() if md5 else None,
        index=fields.get("index"),
        requires_dist=tuple(package.requires_dist),
        requires_python=package.requires_python,
        lock_version=version,
    )


class _Texts:
    """What the rewritten lock says where py-rattler is silent. Its style is fixed: two spaces, one key a line."""

    def __init__(self, text: str) -> None:
        self.environments: dict[str, dict[str, Any]] = {}
        self.purls: dict[str, tuple[str, ...]] = {}
        self.pypi: dict[str, dict[str, str]] = {}
        section, environment, key, url, kind = "", "", "", "", ""
        for line in text.splitlines():
            if line.startswith("      ") and key != "options":  # a third of a lock: what is in an environment
                continue
            if line[:1].isalpha():
                section, key = line.split(":")[0], ""
            elif section == "environments" and (found := re.fullmatch(r"  (\S.*?):(?: \{\})?", line)):
                environment, key = _plain(found[1]), ""
                self.environments[environment] = {}
            elif section == "environments" and (found := re.match(r"    ([\w-]+):", line)):
                key = found[1]
                if key in ("indexes", "find-links"):
                    self.environments[environment][key] = []
            elif section == "environments" and key in ("indexes", "find-links"):
                value = re.sub(r"^- ?((url|path): )?", "", line.strip())
                self.environments[environment][key].append(_plain(value))
            elif section == "environments" and key == "options" and ": " in line:
                name, value = line.strip().split(": ", 1)
                self.environments[environment].setdefault("options", {})[name] = _plain(value)
            elif section == "packages" and (found := re.match(r"- (conda|pypi)\w*: (.*)", line)):
                kind, url, key = found[1], _plain(found[2]), ""
                if kind == "pypi":
                    self.pypi.setdefault(url, {})
            elif section == "packages" and (found := re.match(r"  ([\w-]+):(.*)", line)):
                key, value = found[1], found[2].strip()
                if key == "purls":
                    self.purls[url] = ()
                elif kind == "pypi" and key in ("version", "index"):
                    self.pypi[url].setdefault(key, _plain(value))
            elif section == "packages" and key == "purls" and line.startswith("  - "):
                self.purls[url] += (_plain(line[4:]),)

    def add_indexes(self, original: str) -> None:
        """The index of a package where it is the default one: rattler reads that line but does not write it back."""
        url = ""
        for found in re.finditer(r"^[ \t]*- pypi: (.*)|^[ \t]+index: (.*)", original, re.MULTILINE):
            if found[1] is not None:
                url = _plain(found[1].strip())
            elif url in self.pypi:
                self.pypi[url].setdefault("index", _plain(found[2].strip()))


def _plain(text: str) -> str:
    """A YAML scalar without its quotes."""
    if len(text) > 1 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


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
    return Lock(
        lock.path,
        lock.version,
        tuple(LockPlatform(renames.get(p.name, p.name), p.subdir, p.virtual_packages) for p in lock.platforms),
        {
            name: LockedEnvironment(
                name,
                e.channels,
                {renames.get(p, p): found for p, found in e.packages.items()},
                e.indexes,
                e.find_links,
                e.options,
            )
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
