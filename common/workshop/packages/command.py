"""The command `workshop package`: print what is in a conda package."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from pixi_workspace.environments import locked_environments
from pixi_workspace.lock import LockedPackage
from workshop import shell
from workshop.errors import WorkshopError
from workshop.packages import cache, contents
from workshop.packages.contents import Contents
from workshop.support import report
from workshop.support.text import closest_match

INDENT = 13  # room for `run-exports`, the longest first word of a line
SHOWN = 5  # files that are named before `... and N more`


def main(package: str, locked: bool, as_json: bool) -> int:
    """Print what is in a package; 0. If several packages have the name, print a list of them instead.

    package: a file, or the name of a package, alone or as NAME-VERSION-BUILD. locked: print what the lock of the
    current workspace states about the name, instead of looking into the package cache. Raises WorkshopError if there
    is no such package.
    """
    if contents.is_path(package):
        found = [contents.read(Path(package))]
    else:
        found = in_lock(package) if locked else in_cache(package)
    if as_json:
        print(json.dumps([asdict(one) for one in found], indent=2))
    elif len(found) == 1:
        report.print_lines(lines_about(found[0]))
    else:
        command = f"workshop package {'--locked ' if locked else ''}{shell.word(found[0].full_name)}"
        names = sorted(f"  {one.full_name} ({one.subdir})" for one in found)
        report.print_lines([f"{len(found)} packages are called {package}:", *names, f"next: {command}"])
    return 0


def in_cache(name: str) -> list[Contents]:
    """The packages in Pixi's cache with this name, or with this NAME-VERSION-BUILD. Raises WorkshopError if none."""
    folders = cache.unpacked()
    # Where one channel's package might be taken for another's, Pixi adds a checksum to the name of the folder.
    near = [path for path in folders if path.name.startswith(f"{name}-") or path.name == name]
    found = [one for one in map(contents.read, near) if name in (one.name, one.full_name)]
    if not found:
        names = {path.name.rsplit("-", 2)[0] for path in folders}
        raise WorkshopError(
            looked_at=cache.folder(),
            expected="a package of this name, which Pixi downloaded",
            found=_none_called(name, names),
            next_step=f"workshop package --locked {shell.word(name)}, which reads the lock; or give a .conda file",
        )
    return found


def in_lock(name: str) -> list[Contents]:
    """The packages in the lock of the current workspace with this name or NAME-VERSION-BUILD; each once."""
    manifest, environments = locked_environments(Path("."))
    packages = {p.url: p for env in environments for p in env.packages if p.kind == "conda"}
    found = [one for one in map(from_lock, packages.values()) if name in (one.name, one.full_name)]
    if not found:
        names = {package.name for package in packages.values()}
        near = closest_match(name, names) or "python"
        raise WorkshopError(
            looked_at=manifest.path.with_name("pixi.lock"),
            expected="a conda package of this name",
            found=_none_called(name, names),
            next_step=f"workshop package --locked {near}",
        )
    return found


def from_lock(package: LockedPackage) -> Contents:
    """What the lock states about a conda package."""
    noarch = package.record.noarch
    return Contents(
        source=package.url,
        name=package.name,
        version=package.version or "",
        build=package.build,
        subdir=package.subdir,
        noarch="python" if noarch.python else "generic" if noarch.generic else None,
        licence=package.license,
        depends=package.depends,
        constrains=tuple(package.record.constrains),
        size=package.size,
    )


def _none_called(name: str, known: Iterable[str]) -> str:
    near = closest_match(name, known)
    return f"none called {name!r}" + (f", but one called {near}" if near else "")


def lines_about(package: Contents) -> list[str]:
    """The report on one package, a line for each subject."""
    noarch = {
        "python": "python: the same file for every platform, with modules for any Python that it accepts",
        "generic": "generic: the same file for every platform, without Python modules",
        None: f"no, built for {package.subdir} alone",
    }[package.noarch]
    subjects = {
        "package": f"{package.name} {package.version}, build {package.build}; licence {package.licence or 'unknown'}",
        "archive": _archive(package),
        "noarch": noarch,
        "depends": "; ".join(package.depends) or "nothing",
        "constrains": "; ".join(package.constrains) or "nothing",
    }
    if package.files is None:
        subjects["the rest"] = "run-exports, files and prefix are only in the package itself, not in the lock"
    else:
        subjects["run-exports"] = _run_exports(package.run_exports or {})
        subjects["files"] = _files(package.files, package.links)
        subjects["prefix"] = _prefix(package.prefix)
    return [line for head, words in subjects.items() for line in report.wrap_beside(head, words, INDENT)]


def _archive(package: Contents) -> str:
    if package.files is None:
        return f"{_bytes(package.size)}, at {package.source}"
    if package.size is None:
        return f"unpacked in {package.source}"
    if not package.members:
        return f"{_bytes(package.size)}, one compressed tar file"
    return f"{_bytes(package.size)}, a zip of " + ", ".join(f"{n} ({_bytes(size)})" for n, size in package.members)


def _run_exports(exports: dict[str, tuple[str, ...]]) -> str:
    return "; ".join(f"{kind}: {', '.join(names)}" for kind, names in exports.items()) or "nothing"


def _files(files: dict[str, int], links: int) -> str:
    if not files:
        return "none: the package consists of its metadata"
    names = sorted(files, key=lambda name: (-files[name], name))
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    of_these = f", {links} of them links" if links else ""
    return f"{len(names)}{of_these}, {_bytes(sum(files.values()))}: {', '.join(names[:SHOWN])}{more}"


def _prefix(prefix: dict[str, str]) -> str:
    if not prefix:
        return "in no file: each is the same in every environment"
    kinds = list(prefix.values())
    counted = " and ".join(f"{kinds.count(kind)} {kind}" for kind in ("text", "binary") if kind in kinds)
    named = ", ".join(list(prefix)[:SHOWN]) + (" ..." if len(prefix) > SHOWN else "")
    return f"in {counted}: Pixi writes the path of the environment into {named}"


def _bytes(size: int | None) -> str:
    if size is None:
        return "of unknown size"
    if size < 10 * 2**10:
        return f"{size:,} bytes"
    return f"{size / 2**10:,.0f} KiB" if size < 10 * 2**20 else report.mebibytes(size)
