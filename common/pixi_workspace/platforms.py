"""Platforms of a Pixi workspace: a name, a conda subdir, and the virtual packages that it promises.

A platform in `pixi.toml` is a bare subdir (`"linux-64"`) or a table that adds virtual packages
(`{ name = "gpu", platform = "linux-64", cuda = "12.0" }`). What counts as the platform's identity is the
subdir and the virtual packages that differ from Pixi's defaults; the name is only a label.
The facts are those of Pixi 0.77.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from rattler import Version

# What Pixi assumes about a machine unless the manifest declares something else.
DEFAULT_GLIBC, DEFAULT_LINUX, DEFAULT_MACOS, DEFAULT_WINDOWS = "2.28", "4.18", "13.0", "10.0"

# The friendly keys in the order in which Pixi builds a name from them; `osx` is another spelling of `macos`.
FRIENDLY = {
    "cuda": "__cuda",
    "archspec": "__archspec",
    "glibc": "__glibc",
    "linux": "__linux",
    "macos": "__osx",
    "windows": "__win",
}
FAMILIES = ("linux", "unix", "win", "osx", "macos")
LIBC = ("__glibc", "__musl", "__eglibc")
# What conda calls a subdir. py-rattler's own type for it has another name in every other release.
SUBDIRS = frozenset(
    "noarch linux-32 linux-64 linux-aarch64 linux-armv6l linux-armv7l linux-loongarch64 linux-ppc64le linux-ppc64 "
    "linux-ppc linux-s390x linux-riscv32 linux-riscv64 freebsd-32 freebsd-64 freebsd-arm64 osx-64 osx-arm64 win-32 "
    "win-64 win-arm64 emscripten-wasm32 emscripten-wasm64 wasi-wasm32 zos-z unknown".split()
)
# The least processor of an architecture; those that are not named here are called after themselves.
ARCHSPEC_OF_ARCH = {"64": "x86_64", "32": "x86", "arm64": "aarch64", "armv6l": "aarch64", "armv7l": "aarch64"}
# The names of the archspec database; another name promises a machine that does not exist.
ARCHSPEC_NAMES = frozenset(
    "0 x86 i686 pentium2 pentium3 pentium4 prescott x86_64 x86_64_v2 x86_64_v3 x86_64_v4 nocona core2 nehalem "
    "westmere sandybridge ivybridge haswell broadwell skylake mic_knl skylake_avx512 cannonlake cascadelake icelake "
    "sapphirerapids graniterapids diamondrapids k10 bulldozer piledriver steamroller excavator zen zen2 zen3 zen4 "
    "zen5 aarch64 armv8.1a armv8.2a armv8.3a armv8.4a armv8.5a armv9.0a thunderx2 cortex_a72 a64fx graviton "
    "graviton2 graviton3 graviton4 neoverse_n1 neoverse_n2 neoverse_v1 neoverse_v2 m1 m2 m3 m4 arm armv6l armv7l "
    "ppc ppcle ppc64 ppc64le power7 power8 power8le power9 power9le power10 power10le riscv64 u74mc sparc sparc64 "
    "s390x ampereone cobalt100 kunpeng920".split()
)


@dataclass(frozen=True)
class VirtualPackage:
    """What the machine must have: `__cuda=12.0`, or `__archspec=0=x86_64` with the value in the build string."""

    name: str
    version: str
    build: str = ""

    def __str__(self) -> str:
        return f"{self.name}={self.version}" + (f"={self.build}" if self.build else "")


@dataclass(frozen=True)
class Platform:
    """One platform; `virtual_packages` holds what the manifest declares, completed by Pixi's defaults."""

    name: str
    subdir: str
    virtual_packages: tuple[VirtualPackage, ...]

    @property
    def is_bare(self) -> bool:
        return self.name == self.subdir

    def version_of(self, virtual_package: str) -> str | None:
        """The promised version of one virtual package, such as "12.0" for `__cuda`."""
        return next((v.version for v in self.virtual_packages if v.name == virtual_package), None)


def is_subdir(text: str) -> bool:
    """Whether conda knows the subdir."""
    return text in SUBDIRS


def family(subdir: str) -> str:
    return subdir.split("-")[0]


def is_unix(subdir: str) -> bool:
    return family(subdir) in ("linux", "osx", "freebsd", "emscripten")


def name_problem(name: str) -> str | None:
    """Why a platform may not be called so, or None."""
    if not name or len(name) > 64 or not re.fullmatch(r"[A-Za-z]([A-Za-z0-9-]*[A-Za-z0-9])?", name):
        return "a platform name is at most 64 letters, digits and '-', begins with a letter, ends without '-'"
    return f"'{name}' is the name of a family of systems" if name in FAMILIES else None


def defaults(subdir: str) -> tuple[VirtualPackage, ...]:
    """The virtual packages that Pixi assumes for a bare subdir."""
    found = []
    if is_unix(subdir):
        found.append(VirtualPackage("__unix", "0", "0"))
    if family(subdir) == "linux":
        found += [VirtualPackage("__linux", DEFAULT_LINUX), VirtualPackage("__glibc", DEFAULT_GLIBC)]
    if family(subdir) == "win":
        found.append(VirtualPackage("__win", DEFAULT_WINDOWS))
    if family(subdir) == "osx":
        found.append(VirtualPackage("__osx", DEFAULT_MACOS))
    arch = subdir.split("-")[-1]
    named = "m1" if subdir == "osx-arm64" else ARCHSPEC_OF_ARCH.get(arch, arch)
    if family(subdir) in ("linux", "osx", "win"):
        found.append(VirtualPackage("__archspec", "0", named))
    return tuple(found)


def parse_locked(text: str) -> VirtualPackage | None:
    """`__name=version[=build]` as a lock writes it; None where it is not of that form."""
    parts = text.split("=", 2)
    if len(parts) < 2 or not re.fullmatch(r"[A-Za-z0-9_.-]+", parts[0]) or not is_version(parts[1]):
        return None
    return VirtualPackage(parts[0].lower(), parts[1], parts[2] if len(parts) == 3 else "")


def is_version(text: str) -> bool:
    try:
        Version(text)
    except Exception:  # the exception types of rattler differ between its releases
        return False
    return True


def major_minor(version: str) -> tuple[int, int]:
    """The first two numbers of a version, such as (12, 9) of "12.9.1"; a number that is missing counts as 0."""
    major, minor = (*map(int, re.findall(r"\d+", version)[:2]), 0, 0)[:2]
    return major, minor


def is_default(virtual: VirtualPackage, subdir: str) -> bool:
    return any(
        d.name == virtual.name and d.build == virtual.build and Version(d.version) == Version(virtual.version)
        for d in defaults(subdir)
    )


def customised(virtual_packages: Iterable[VirtualPackage], subdir: str) -> list[VirtualPackage]:
    """What is left when the defaults are taken away: the part that a person declared, sorted by name."""
    return sorted((v for v in virtual_packages if not is_default(v, subdir)), key=lambda v: v.name)


def identity(virtual_packages: Iterable[VirtualPackage], subdir: str) -> tuple:
    """A key by which two platforms are the same whatever they are called ("12.0" and "12" are one version)."""
    return (subdir, tuple((v.name, Version(v.version), v.build) for v in customised(virtual_packages, subdir)))


def bare(subdir: str) -> Platform:
    return Platform(subdir, subdir, defaults(subdir))


def build(name: str, subdir: str, declared: list[VirtualPackage]) -> Platform:
    """A platform with its defaults filled in. Raises ValueError in Pixi's cases, with the reason."""
    if name == subdir:
        if declared:
            raise ValueError(
                f"'{subdir}' is a bare subdir and keeps its default virtual packages; "
                "give the entry another name or drop the virtual packages"
            )
        return bare(subdir)
    names = {v.name for v in declared}
    if "__cuda_arch" in names and "__cuda" not in names:
        raise ValueError("`__cuda_arch` needs `__cuda` beside it")
    rest = [d for d in defaults(subdir) if d.name not in names and not (d.name == "__glibc" and names & set(LIBC))]
    return Platform(name, subdir, (*declared, *rest))


def derived_name(subdir: str, declared: Iterable[VirtualPackage]) -> str:
    """The name that Pixi gives an entry without one: `linux-64-cuda-12-0`."""
    left = {v.name: v for v in customised(declared, subdir)}
    parts = [subdir]
    for key, conda_name in FRIENDLY.items():
        virtual = left.get(conda_name)
        if virtual is None:
            continue
        if conda_name == "__archspec":
            fits, value = Version(virtual.version) == Version("0") and virtual.build != "", virtual.build
        else:
            fits, value = virtual.build in ("", "0"), virtual.version
        if fits:
            parts.append(f"{key}-{_segment(value)}")
            del left[conda_name]
    for name, virtual in left.items():
        value = virtual.version if virtual.build in ("", "0") else f"{virtual.version}={virtual.build}"
        parts.append(f"{_segment(name.lstrip('_'))}-{_segment(value)}")
    return "-".join(parts)


def _segment(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")


def selector_matches(selector: str, platform: Platform) -> bool:
    """Whether a key of a `target` table means the platform: a family, a subdir, a name or a glob over names."""
    if selector in FAMILIES:
        wanted = {"macos": "osx"}.get(selector, selector)
        return is_unix(platform.subdir) if wanted == "unix" else family(platform.subdir) == wanted
    if is_subdir(selector):
        return platform.subdir == selector
    if "*" in selector:
        return re.fullmatch(re.escape(selector).replace(r"\*", ".*"), platform.name) is not None
    return platform.name == selector


def selector_problem(selector: str) -> str | None:
    """Why a key of a `target` table is refused, or None."""
    if "(" in selector:
        return "expressions are for package tables only; a target is a family, a subdir, a platform name or a glob"
    if selector in FAMILIES or is_subdir(selector):
        return None
    if re.search(r"[*?\[]", selector):
        return None if re.fullmatch(r"[A-Za-z0-9*-]{1,64}", selector) else "`*` is the only wildcard of a target"
    return name_problem(selector)


def union(platforms: list[Platform]) -> list[VirtualPackage]:
    """The declared virtual packages of several platforms of one subdir, the highest version of each."""
    best: dict[str, VirtualPackage] = {}
    for platform in platforms:
        for virtual in customised(platform.virtual_packages, platform.subdir):
            held = best.get(virtual.name)
            if held is None or Version(virtual.version) > Version(held.version):
                best[virtual.name] = virtual
    return [best[name] for name in sorted(best)]
