"""What Pixi accepts without a warning: locked packages without a sha256, or from a host that nobody expects."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from pixi_workspace import lock as locks
from pixi_workspace.fit import satisfy_environment, satisfy_pypi
from pixi_workspace.fit.satisfy_environment import Reason
from pixi_workspace.lock import Lock, LockedPackage
from pixi_workspace.manifest import Manifest

LISTED_ALONE = 3  # packages with one and the same problem that each get a warning of their own
NO_HASH = "the locked package has no sha256, so nothing notices when the file changes"
MD5_ONLY = "the locked package has an md5 instead of a sha256: Pixi notices damage, but not a forged file"
OTHER_CHANNEL = "the package comes from none of the environment's channels"
OTHER_HOST = "the wheel comes from another host than its index"


@dataclass(frozen=True)
class Problem:
    """One kind of problem: what it is, what was expected, and the channel or host that the packages come from."""

    message: str
    expected: str
    origin: str


def suspicions(manifest: Manifest, lock: Lock) -> list[Reason]:
    """A warning for each such package, or one for all packages with the same problem if there are many."""
    found: dict[Problem, list[Reason]] = {}
    held: set[str] = set()
    for environment in manifest.environments.values():
        locked = lock.environments.get(environment.name)
        if locked is None:
            continue
        features = satisfy_environment.grouped(manifest, environment)
        channels = satisfy_environment.channel_urls(
            satisfy_environment.channels_of(manifest, features), manifest.path.parent
        )
        for row, packages in locked.packages.items():
            held |= {package.url for package in packages if package.kind == "conda"}
            for package in packages:
                for problem in _problems(package, channels):
                    reason = Reason(problem.message, environment.name, row, package.name, problem.expected, package.url)
                    found.setdefault(problem, []).append(reason)
    warnings: list[Reason] = []
    for problem, reasons in found.items():
        urls = dict.fromkeys(str(reason.record) for reason in reasons)
        if len(urls) <= LISTED_ALONE:
            warnings += reasons
        else:
            names = sorted({str(reason.package) for reason in reasons})
            warnings.append(Reason(_together(problem, names, len(urls), held)))
    return warnings


def _together(problem: Problem, names: list[str], count: int, held: set[str]) -> str:
    """One warning for many packages."""
    shown = f"{', '.join(names[:LISTED_ALONE])} and {len(names) - LISTED_ALONE} more"
    if problem.message == MD5_ONLY:
        return f"{count} locked packages have an md5 instead of a sha256: Pixi notices damage, but not a forged file: {shown}"
    if problem.message == NO_HASH:
        return f"{count} locked packages have no sha256, so nothing notices when a file changes: {shown}"
    if problem.message == OTHER_HOST:
        return f"{count} wheels come from {problem.origin}, another host than their index {problem.expected}: {shown}"
    name = problem.origin.rstrip("/").rsplit("/", 1)[-1]
    channels = problem.expected.split(", ")
    same = [channel for channel in channels if channel.rstrip("/").rsplit("/", 1)[-1] == name]
    if not same:
        return f"{count} packages come from {problem.origin}, none of the environment's channels: {shown}"
    every = "" if any(url.startswith(same[0]) for url in held) else "all "
    return (
        f"{every}{count} packages of the channel {name} come from the mirror {problem.origin}, "
        f"not from {same[0]} as in the manifest"
    )


def _problems(package: LockedPackage, channels: list[str]) -> list[Problem]:
    """What is odd about one locked package."""
    if package.kind == "conda-source" or satisfy_pypi.is_path(package.url):
        return []
    if package.url.startswith(("git+", "file:")):
        return []
    found = []
    if not re.fullmatch(r"[0-9a-f]{64}", package.sha256 or ""):
        has_md5 = re.fullmatch(r"[0-9a-f]{32}", package.md5 or "")
        found.append(Problem(MD5_ONLY if has_md5 else NO_HASH, "sha256", ""))
    if package.kind == "conda" and not package.url.startswith(tuple(channels)):
        origin = package.url.rsplit("/", 2)[0] + "/"
        found.append(Problem(OTHER_CHANNEL, ", ".join(channels), origin))
    if package.kind == "pypi" and not package.url.startswith("direct+"):
        # A lock of version 7 leaves the index out where it is the default one; older locks never name it.
        index = package.index or (locks.DEFAULT_INDEX if package.lock_version >= 7 else None)
        if index is not None and not lies_with_index(package.url, index):
            found.append(Problem(OTHER_HOST, index, urlsplit(package.url).netloc))
    return found


def lies_with_index(url: str, index: str) -> bool:
    """Whether a file lies with its index: the same last two parts of the host name, or the index's known file store."""
    host, wanted = urlsplit(url).hostname or "", urlsplit(index).hostname or ""
    if wanted == urlsplit(locks.DEFAULT_INDEX).hostname and host == satisfy_pypi.DEFAULT_INDEX_FILES:
        return True
    return host.split(".")[-2:] == wanted.split(".")[-2:]
