"""Do locked PyPI packages meet their requirements? Markers, wheel tags, indexes and paths, by the rules of Pixi 0.77."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from packaging.markers import Marker, UndefinedComparison, UndefinedEnvironmentName
from packaging.specifiers import SpecifierSet
from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from pixi_workspace.lock import DEFAULT_INDEX, LockedPackage
from pixi_workspace.manifest.spec import PypiSpec, from_requirement
from pixi_workspace.manifest.toml import ManifestError
from pixi_workspace.platforms import DEFAULT_GLIBC, DEFAULT_MACOS, LIBC, Platform, family, major_minor

# Where the files of the default index lie; in pieces for the same reason as its address in `lock`.
DEFAULT_INDEX_FILES = ".".join(("files", "pythonhosted", "org"))

MACHINES = {
    "linux-32": "i386",
    "linux-64": "x86_64",
    "osx-64": "x86_64",
    "osx-arm64": "arm64",
    "win-32": "x86",
    "win-64": "AMD64",
    "win-arm64": "ARM64",
}
SYSTEMS = {
    "linux": ("linux", "Linux", "posix"),
    "osx": ("darwin", "Darwin", "posix"),
    "win": ("win32", "Windows", "nt"),
}
# Wheels for Linux: the 2.x of the oldest glibc that has a tag (17 for other machines), and the older names.
OLDEST_GLIBC = {"i686": 5, "x86_64": 5, "riscv64": 31, "loongarch64": 36}
LEGACY_MANYLINUX = {"manylinux1": 5, "manylinux2010": 12, "manylinux2014": 17}
HIGHEST_NUMBER = 99  # no system has a higher version; a manifest may state any
SOURCES = (
    ".tar.gz",
    ".tgz",
    ".zip",
    ".tar.bz2",
    ".tbz",
    ".tar.xz",
    ".txz",
    ".tar.zst",
    ".tar.lz",
    ".tlz",
    ".tar.lzma",
    ".tar",
)


def marker_environment(platform: Platform, python: str) -> dict[str, str] | None:
    """The variables of PEP 508 markers for a platform and a Python version; None where Pixi knows none."""
    system = SYSTEMS.get(family(platform.subdir))
    parts = python.split(".")
    if system is None or len(parts) < 2:
        return None
    return {
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "implementation_version": python,
        "python_full_version": python,
        "python_version": ".".join(parts[:2]),
        "sys_platform": system[0],
        "platform_system": system[1],
        "os_name": system[2],
        "platform_machine": MACHINES.get(platform.subdir, platform.subdir.split("-")[-1]),
        "platform_release": "",
        "platform_version": "",
    }


def applies(marker: str | None, environment: dict[str, str] | None, extras: Iterable[str] = ()) -> bool:
    """Whether a requirement counts, given the extras that its parent is required with."""
    if marker is None or environment is None:
        return True
    return _applies(marker, tuple(environment.items()), tuple(extras))


@cache
def _applies(marker: str, environment: tuple[tuple[str, str], ...], extras: tuple[str, ...]) -> bool:
    try:
        parsed = _marker(marker)
        return any(parsed.evaluate({**dict(environment), "extra": extra}) for extra in (extras or ("",)))
    except (UndefinedComparison, UndefinedEnvironmentName, InvalidVersion, ValueError):
        return False


@cache
def _marker(text: str) -> Marker:
    return Marker(text)


def requirements(
    package: LockedPackage, environment: dict[str, str] | None, extras: tuple[str, ...]
) -> Iterator[PypiSpec]:
    """What a locked package requires in a marker environment, with these extras.

    A line of `requires_dist` that cannot be read is passed over, and one that does not apply is not read.
    """
    known = None if environment is None else tuple(environment.items())
    for line in package.requires_dist:
        _, separator, marker = line.partition(" ; ")  # as Pixi writes it
        if separator and known is not None and not _applies(marker, known, extras):
            continue
        spec = _requirement(line)
        if spec is not None and applies(spec.marker, environment, extras):
            yield spec


@cache
def _requirement(line: str) -> PypiSpec | None:
    try:
        return from_requirement(line, line)
    except ManifestError:
        return None


def identities(package: LockedPackage) -> list[tuple[str, str]]:
    """The PyPI packages, as (name, version), that a conda package provides.

    The lock records this as purls. Without any, a conda-forge package counts as the PyPI package of the same name.
    """
    if package.purls is None:
        forge = package.channel is not None and urlsplit(package.channel).path.startswith("/conda-forge")
        if package.kind != "conda" or not forge or not _is_version(package.version or ""):
            return []
        return [(str(canonicalize_name(package.name)), package.version or "")]
    found = []
    for purl in package.purls:
        text = re.fullmatch(r"pkg:pypi/([^@?#]+)(?:@([^?#]+))?.*", purl)
        if not text:
            continue
        version = unquote(text[2]) if text[2] else package.version or ""
        if not _is_version(version):
            return []
        found.append((str(canonicalize_name(unquote(text[1]).split("/")[-1])), version))
    return found


def _is_version(text: str) -> bool:
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


@cache
def contains(bounds: str, version: str) -> bool:
    """Whether a version is within bounds such as `>=2,<3` or `*`. A pre-release within the bounds is inside."""
    specifiers = SpecifierSet("" if bounds == "*" else bounds)
    return _is_version(version) and specifiers.contains(version, prereleases=True)


def python_fits(requires_python: str | None, python: str) -> bool:
    """Whether a package takes the locked Python. Only the lower end counts: uv, and so Pixi, ignores upper limits."""
    if not requires_python:
        return True
    try:
        release = Version(python).release
        for specifier in SpecifierSet(requires_python):
            if specifier.operator in (">=", ">", "~=", "==", "==="):
                lower = Version(specifier.version.removesuffix(".*")).release
                width = max(len(lower), len(release))
                ours, theirs = (r + (0,) * (width - len(r)) for r in (release, lower))
                if ours < theirs or (specifier.operator == ">" and ours == theirs):
                    return False
    except (InvalidVersion, ValueError):
        return True
    return True


def wheel_fits(filename: str, platform: Platform, python: str, free_threaded: bool) -> bool:
    """Whether a wheel's tags suit a platform and a Python.

    A name that is no wheel's passes, as does everything for a system or a Python version that nothing is known about.
    """
    try:
        tags = parse_wheel_filename(unquote(filename))[3]
    except (InvalidWheelFilename, InvalidVersion):
        return True
    if family(platform.subdir) not in SYSTEMS or not re.match(r"\d\.\d\d?(?!\d)", python):
        return True
    return not tags.isdisjoint(_supported_tags(platform, major_minor(python), free_threaded))


@cache
def _supported_tags(platform: Platform, python: tuple[int, int], free_threaded: bool) -> frozenset[Tag]:
    """The wheel tags that CPython `python` supports on a platform, as uv (and so Pixi) computes them."""
    platforms = _platform_tags(platform)
    interpreter = f"cp{python[0]}{python[1]}"
    abi = interpreter + ("m" if python < (3, 8) else "") + ("t" if free_threaded else "")
    return frozenset(cpython_tags(python, [abi], platforms)) | frozenset(
        compatible_tags(python, interpreter, platforms)
    )


def _platform_tags(platform: Platform) -> list[str]:
    """The platform tags of wheels. packaging computes them for macOS; for Linux it would ask the machine it runs on."""
    system, machine = family(platform.subdir), MACHINES.get(platform.subdir, platform.subdir.split("-")[-1]).lower()
    if system == "win":
        return ["win32" if machine == "x86" else f"win_{machine}"]
    if system == "osx":
        version = min(major_minor(platform.version_of("__osx") or DEFAULT_MACOS), (HIGHEST_NUMBER, 0))
        return list(mac_platforms(version, machine))
    machine = {"i386": "i686"}.get(machine, machine)
    libc = next((v for v in platform.virtual_packages if v.name in LIBC), None)
    major, minor = major_minor(libc.version if libc else DEFAULT_GLIBC)
    minors = range(min(minor, HIGHEST_NUMBER) + 1)
    tags = [f"linux_{machine}"]
    if libc and libc.name == "__musl":
        return tags + [f"musllinux_{major}_{n}_{machine}" for n in minors]
    oldest = OLDEST_GLIBC.get(machine, 17)
    tags += [f"manylinux_{major}_{n}_{machine}" for n in minors if n >= oldest]
    return tags + [f"{name}_{machine}" for name, n in LEGACY_MANYLINUX.items() if n in minors and n >= oldest]


def is_source(package: LockedPackage, root: Path) -> bool | None:
    """Whether a locked PyPI package has to be built; None if its file name does not tell."""
    if is_path(package.url):
        if (root / package.url).is_dir():
            return True
        name = package.url
    else:
        split = urlsplit(package.url)
        if split.scheme.startswith("git+"):
            return True
        name = split.path.rsplit("/", 1)[-1]
    if name.endswith(".whl"):
        return False
    return True if name.endswith(SOURCES) else None


def is_path(location: str) -> bool:
    return not re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", location)


def same_url(one: str, other: str) -> bool:
    """Two addresses are one if they differ in the case of scheme and host, or in a bare trailing host slash, only."""

    def key(url: str) -> tuple:
        split = urlsplit(url)
        return (split.scheme.lower(), split.netloc.lower(), split.path or "/", split.query)

    return key(one) == key(other)


def mismatch(spec: PypiSpec, package: LockedPackage, root: Path, direct: bool, indexes: tuple[str, ...]) -> str | None:
    """Why a locked package does not meet a requirement, or None. `direct`: the manifest itself requires it."""
    if spec.path is not None:
        return _path_mismatch(spec, package, root, direct)
    if spec.git is not None:
        return _git_mismatch(spec, package, direct)
    if spec.url is not None:
        if is_path(package.url):
            return "the lock contains a path where a URL is required"
        if not package.url.startswith("direct+"):
            return "the lock contains a package of an index where a URL is required"
        locked = urlsplit(package.url.removeprefix("direct+"))
        required = urlsplit(spec.url)
        bare = [(s.scheme, s.hostname, s.port, s.path, s.query, s.fragment) for s in (locked, required)]
        return None if bare[0] == bare[1] else f"the lock contains {package.url.removeprefix('direct+')}"
    if not direct and is_path(package.url):
        return None  # a local package stands in for what another package requires, whatever its version
    version = package.version or "0a0.dev0"
    if not contains(spec.version, version):
        return f"the locked version {package.version or '(none)'} is outside {spec.version}"
    if package.index is None:
        return None
    if spec.index is not None:
        return None if same_url(spec.index, package.index) else f"it is locked from the index {package.index}"
    if direct and not any(package.index.rstrip("/") == known.rstrip("/") for known in indexes or (DEFAULT_INDEX,)):
        return f"it is locked from the index {package.index}, which the environment does not use"
    return None


def _path_mismatch(spec: PypiSpec, package: LockedPackage, root: Path, direct: bool) -> str | None:
    required = root / (spec.path or "")
    if direct and not required.exists():
        return f"'{spec.path}' does not exist"
    if spec.editable and not required.is_dir():
        return f"'{spec.path}' is editable but no folder"
    if not is_path(package.url):
        return f"the lock contains {package.url} where a path is required"
    return None if (root / package.url).resolve() == required.resolve() else f"the lock contains the path {package.url}"


def _git_mismatch(spec: PypiSpec, package: LockedPackage, direct: bool) -> str | None:
    if not package.url.startswith("git+"):
        return f"the lock contains {package.url} where a git repository is required"
    locked = urlsplit(package.url.removeprefix("git+"))
    path, _, in_path = locked.path.partition("@")
    if not same_repository(f"{locked.scheme}://{locked.netloc}{path}", spec.git or ""):
        return f"the lock contains the repository {package.url}"
    query = {key: values[-1] for key, values in parse_qs(locked.query).items()}
    if direct and spec.lfs != (query.get("lfs") == "true"):
        return "git-lfs is set in one and not in the other"
    named = next(((k, query[k]) for k in ("branch", "tag", "rev") if k in query), None)
    if spec.reference is None:
        return None if named is None else f"the lock contains the {named[0]} '{named[1]}' where none is required"
    if (query.get("subdirectory") or None) != spec.subdirectory:
        return f"the lock contains the subdirectory {query.get('subdirectory')!r}"
    if named is None and not in_path:
        return None  # older locks hold the commit only
    return (
        None
        if named == spec.reference
        else f"the lock contains {named[0]} '{named[1]}'"
        if named
        else "another revision"
    )


def same_repository(one: str, other: str) -> bool:
    """Whether two addresses are one git repository, whatever the user name, the capitals or a final `.git`."""
    return _repository(one) == _repository(other)


def _repository(url: str) -> tuple[str, str]:
    split = urlsplit(url.removeprefix("git+"))
    return (split.netloc.rpartition("@")[2].lower(), split.path.rstrip("/").removesuffix(".git").lower())
