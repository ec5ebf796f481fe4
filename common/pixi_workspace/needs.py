"""What a locked environment needs from a machine: driver, CUDA, system libraries, disk. From lock and manifest alone.

`workshop environments` prints it, and `workshop doctor` compares it with this machine, by Pixi's rules: a machine uses
the first platform of the workspace whose declared virtual packages it has; then every locked package has to run on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

from rattler import Version

from pixi_workspace import lock as locks
from pixi_workspace import platforms
from pixi_workspace.lock import Lock, LockedPackage
from pixi_workspace.manifest import Manifest, conda_specs, pypi_specs
from pixi_workspace.manifest.platforms import platforms_of
from pixi_workspace.platforms import Platform, major_minor
from pixi_workspace.specs import version_spec

# What Pixi 0.77 compares with the machine. Other virtual packages (`__archspec`) only matter to the solver.
COMPARED = ("__glibc", "__musl", "__eglibc", "__cuda", "__osx", "__win", "__linux")
WORDS = {
    "__glibc": "glibc",
    "__musl": "musl",
    "__eglibc": "eglibc",
    "__osx": "macOS",
    "__win": "Windows",
    "__linux": "Linux",
    "__cuda": "an NVIDIA driver for CUDA",
}
# What neural networks run on. If one of them is built for the CPU and none for CUDA, the environment is for the CPU.
FRAMEWORKS = ("pytorch", "torch", "jaxlib", "tensorflow", "tensorflow-base")
# NVIDIA's own libraries depend on `cuda-version` as well. They are what a build for CUDA uses, not a build for CUDA.
NVIDIA_LIBRARIES = re.compile(
    r"cuda-.*|cudatoolkit|cudnn|nccl|cutensor|cusparselt|nvcomp|"
    r"lib(cu(blas|dnn|dss|fft|file|pti|rand|solver|sparse|tensor)|magma|nv(fatbin|jitlink|jpeg|ptxcompiler|shmem)|npp).*"
)
# What overwrites each other's files if it is installed by conda and as a wheel: conda's names, and the wheel's.
SAME_FILES = (
    (("pytorch", "libtorch"), r"torch"),
    (("cudnn", "libcudnn"), r"nvidia-cudnn(-cu\d+)?"),
    (("nccl",), r"nvidia-nccl(-cu\d+)?"),
    (("jaxlib",), r"jaxlib"),
    (("tensorflow", "tensorflow-base"), r"tensorflow(-cpu)?"),
)
SOURCE_ARCHIVES = (".tar.gz", ".zip", ".tar.bz2", ".tgz")
MUCH_OLDER = timedelta(days=548)  # 18 months
MANY_MINORS = 4  # releases of a framework between two platforms, where no dates are known
# A machine that runs programs of another architecture too: Pixi tries those platforms after its own.
ALSO_RUNS = {"osx-arm64": ("osx-64",), "win-arm64": ("win-64",)}
# The driver that came with each CUDA toolkit on x86-64 Linux, which is the oldest that supports all of this CUDA:
# NVIDIA's "CUDA Toolkit Release Notes", table "CUDA Toolkit and Corresponding Driver Versions", rows GA.
LINUX_DRIVERS = {
    "10.2": "440.33",
    "11.0": "450.51.05",
    "11.1": "455.23",
    "11.2": "460.27.03",
    "11.3": "465.19.01",
    "11.4": "470.42.01",
    "11.5": "495.29.05",
    "11.6": "510.39.01",
    "11.7": "515.43.04",
    "11.8": "520.61.05",
    "12.0": "525.60.13",
    "12.1": "530.30.02",
    "12.2": "535.54.03",
    "12.3": "545.23.06",
    "12.4": "550.54.14",
    "12.5": "555.42.02",
    "12.6": "560.28.03",
    "12.8": "570.26",
    "12.9": "575.51.03",
    "13.0": "580.65.06",
    "13.1": "590.44.01",
    "13.2": "595.45.04",
}
# The oldest driver that runs what was built for any CUDA of a major version, with a part of its features: "CUDA
# Compatibility", minor version compatibility, for which the release notes name these drivers. What is compiled on the
# spot from PTX (for a GPU that is newer than the build, for example) needs a driver of the build's own CUDA.
MINOR_VERSION_COMPATIBILITY = {"11": "450.80.02", "12": "525.60.13", "13": "580.65.06"}

# The GPUs, by compute capability, for which the compiler of each CUDA writes machine code: "CUDA Toolkit Release
# Notes", and the installation guide of numba-cuda. A row holds up to the next one.
COMPUTE_CAPABILITIES = {
    "11.0": ("3.5", "8.0"),
    "11.1": ("3.5", "8.6"),
    "11.8": ("3.5", "9.0"),
    "12.0": ("5.0", "9.0"),
    "12.8": ("5.0", "12.0"),
    "12.9": ("5.0", "12.1"),
    "13.0": ("7.5", "12.1"),
}
GPUS = {
    "3.5": "K40",
    "5.2": "GTX 980",
    "6.0": "P100",
    "6.1": "GTX 1080",
    "7.0": "V100",
    "7.5": "T4, RTX 2080",
    "8.0": "A100",
    "8.6": "A10, RTX 3090",
    "8.9": "L4, RTX 4090",
    "9.0": "H100, H200",
    "10.0": "B200",
    "12.0": "RTX 5090",
}


@dataclass(frozen=True)
class PlatformEnvironment:
    """One environment on one platform, and the packages locked for it (none: the lock does not contain it).

    required: the names of packages that the manifest itself requires there.
    """

    environment: str
    platform: Platform
    packages: tuple[LockedPackage, ...]
    required: frozenset[str] = frozenset()

    @cached_property
    def variants(self) -> list[tuple[LockedPackage, str]]:
        """The packages that are built for the CPU or for a CUDA, and for which; frameworks first.

        A wheel of torch or JAX without it in its version is for the CUDA whose libraries are installed with it.
        """
        names = [package.name.lower() for package in self.packages if package.kind == "pypi"]
        beside = {
            "torch": any(name.startswith("nvidia-cuda-runtime") for name in names),
            "jaxlib": any(re.match(r"jax-cuda\d+-p", name) for name in names),
        }
        found = []
        for package in self.packages:
            kind = variant(package)
            if kind is None and package.kind == "pypi" and package.name in beside:
                kind = f"cuda {toolkit(self) or ''}".strip() if beside[package.name] else "cpu"
            if kind is None and depends_on_cuda(package):
                kind = f"cuda {toolkit(self) or ''}".strip()
            if kind:
                found.append((package, kind))
        return sorted(found, key=lambda pair: (pair[0].name not in FRAMEWORKS, pair[0].name))


@dataclass(frozen=True)
class Need:
    """A virtual package that is required: `__cuda`, `>=12`, by `cuda-version 12.9 ...`."""

    virtual: str
    version: str
    required_by: str


def platform_environments(manifest: Manifest, lock: Lock) -> list[PlatformEnvironment]:
    """Every environment on every platform that it has, in the manifest's order. `lock` is aligned to the manifest."""
    found = []
    for environment in manifest.environments.values():
        for platform in platforms_of(manifest, environment.features):
            required = conda_specs(manifest, environment.name, platform).keys()
            required |= pypi_specs(manifest, environment.name, platform).keys()
            packages = locks.packages(lock, environment.name, platform)
            found.append(PlatformEnvironment(environment.name, platform, packages, frozenset(required)))
    return found


def declared(platform: Platform) -> list[Need]:
    """What the platform itself requires of a machine, beyond what Pixi assumes on the subdir."""
    left = platforms.customised(platform.virtual_packages, platform.subdir)
    return [Need(v.name, f">={v.version}", f"the platform {platform.name}") for v in left if v.name in COMPARED]


def required_by_packages(env: PlatformEnvironment) -> Iterator[Need]:
    """What the locked packages require: conda packages in `depends`, wheels for Linux by the glibc in their names."""
    for package in env.packages:
        for text in package.depends:
            name, _, version = text.partition(" ")
            if name in COMPARED:
                yield Need(name, version.split(" ")[0] or "*", str(package))
        if package.kind == "pypi" and (glibc := glibc_of_wheel(package.url)):
            yield Need("__glibc", f">={glibc}", str(package))


def constrained_by_packages(env: PlatformEnvironment) -> Iterator[Need]:
    """`constrains` on `__cuda`: a package that runs without a driver, but not with one that is too old."""
    for package in env.packages:
        for text in getattr(package.record, "constrains", ()) or ():
            name, _, version = text.partition(" ")
            if name == "__cuda" and version:
                yield Need(name, version.split(" ")[0], str(package))


def glibc_of_wheel(url: str) -> str | None:
    """The least glibc that a wheel for Linux runs with, by its name (PEP 600, and the names before it)."""
    older = {"manylinux1": "2.5", "manylinux2010": "2.12", "manylinux2014": "2.17"}
    found = [f"{a}.{b}" for a, b in re.findall(r"manylinux_(\d+)_(\d+)_", url)]
    found += [glibc for name, glibc in older.items() if f"{name}_" in url]
    return min(found, key=Version) if found else None


def wheel_for_glibc(env: PlatformEnvironment) -> LockedPackage | None:
    """The wheel that needs the newest glibc, if it needs a newer one than all conda packages."""
    wheels = [(Version(glibc), p) for p in env.packages if p.kind == "pypi" and (glibc := glibc_of_wheel(p.url))]
    if not wheels:
        return None
    newest, wheel = max(wheels, key=lambda pair: pair[0])
    of_conda = [n for n in required_by_packages(env) if n.virtual == "__glibc" and n.required_by != str(wheel)]
    highest = least([need for need in of_conda if need.required_by not in {str(p) for _, p in wheels}])
    return wheel if highest is None or newest > Version(highest) else None


def meets(have: str | None, version: str) -> bool:
    """Whether a virtual package of version `have` (None: the machine has none) satisfies `>=12,<13`, `12.*` or `*`."""
    if have is None:
        return False
    try:
        return version == "*" or version_spec(version, False).matches(Version(have))
    except Exception:  # the exception types of rattler differ between its releases
        return False


def least(needs: list[Need]) -> str | None:
    """The lowest version that can satisfy all of `needs`, by their lower bounds; None if none of them has one."""
    found = []
    for need in needs:
        bounds = []
        for choice in need.version.split("|"):
            low = re.findall(r"(?:^|,)\s*(?:>=|>|==|=|~=|)\s*v?(\d+(?:\.\d+)*)", choice, re.ASCII)
            bounds.append(max(low, key=Version, default="0"))
        found.append(min(bounds, key=Version))
    best = max(found, key=Version, default="0")
    return None if best == "0" else best


def unmet(env: PlatformEnvironment, virtual: dict[str, str]) -> tuple[list[Need], list[Need]]:
    """What a machine with these virtual packages (by name, `__cuda`: `12.4`) lacks for the platform and the packages.

    Pixi refuses an environment if both lack something, and warns if only the platform does.
    """
    of_platform = [need for need in declared(env.platform) if not meets(virtual.get(need.virtual), need.version)]
    of_packages = [need for need in required_by_packages(env) if not meets(virtual.get(need.virtual), need.version)]
    return of_platform, of_packages


def lowest_cuda(env: PlatformEnvironment) -> str | None:
    """The lowest CUDA version that a driver must support for Pixi to install the environment; None: no driver needed.

    The highest of what the platform declares and what the packages require.
    """
    required = [*declared(env.platform), *required_by_packages(env)]
    required = [need for need in required if need.virtual == "__cuda"]
    if not required:
        return None
    return least([*required, *constrained_by_packages(env)]) or "0"


def variant(package: LockedPackage) -> str | None:
    """`cpu`, `cuda 12.9` or `cuda` (of an unknown version) for a package that is built for it; None for others."""
    text = package.build
    if package.kind == "pypi":  # torch 2.6.0+cu124, cupy-cuda12x
        text = (package.version or "").partition("+")[2].replace("cu", "cuda", 1)
        if named := re.fullmatch(r"(?!nvidia-).+-cuda(\d+)x", package.name.lower()):
            text = f"cuda{named[1]}"
    found = re.match(r"(?:.*_)?(cpu|cuda|gpu)_?(\d+\.\d+|\d+)?", text)
    if not found:
        return None
    digits = found[2] or ""
    if found[1] == "cpu":
        return "cpu"
    if "." not in digits and len(digits) > 2:
        digits = f"{digits[:2]}.{digits[2:]}"
    return f"cuda {digits}".strip()


def depends_on_cuda(package: LockedPackage) -> bool:
    """Whether a conda package needs CUDA although its build string does not contain the word, as CuPy does."""
    if NVIDIA_LIBRARIES.fullmatch(package.name.lower()):
        return False
    return any(text.split(" ")[0] in ("cuda-version", "__cuda", "cudatoolkit") for text in package.depends)


def toolkit(env: PlatformEnvironment) -> str | None:
    """The CUDA that is locked, as in `12.9`: by conda's cuda-version or cudatoolkit, else by NVIDIA's wheels."""
    held = {package.name.lower(): package.version or "" for package in env.packages}
    wheel = next((name for name in held if name.startswith("nvidia-cuda-runtime")), "")
    for name in ("cuda-version", "cudatoolkit", wheel):
        if found := re.match(r"\d+\.\d+", held.get(name, "")):
            return found[0]
    return None


def built_for(env: PlatformEnvironment) -> str | None:
    """The CUDA that the environment computes with, `12.9`; None if nothing in it is built for CUDA."""
    kinds = [kind for _, kind in env.variants if kind.startswith("cuda")]
    if not kinds:
        return None
    versions = [kind.partition(" ")[2] for kind in kinds if " " in kind]
    return toolkit(env) or max(versions, key=Version, default="0")


def driver_for(cuda: str) -> str | None:
    """The oldest Linux driver that supports this CUDA (LINUX_DRIVERS); None for one that is newer than the table."""
    rows = [row for row in LINUX_DRIVERS if Version(row) >= Version(cuda)]
    return LINUX_DRIVERS[min(rows, key=Version)] if rows else None


def capabilities_of(cuda: str) -> tuple[str, str] | None:
    """The lowest and the highest compute capability that this CUDA compiles for; None if it is older than the table."""
    rows = [row for row in COMPUTE_CAPABILITIES if Version(row) <= Version(cuda)]
    return COMPUTE_CAPABILITIES[max(rows, key=Version)] if rows else None


def oddities(env: PlatformEnvironment, beside: Iterable[PlatformEnvironment] = ()) -> list[str]:
    """What would surprise the user of a machine, in capitals; empty if nothing would.

    beside: the same environment on other platforms.
    """
    found = []
    kinds = env.variants
    frameworks = {str(package): kind for package, kind in kinds if package.name in FRAMEWORKS}
    cuda = env.platform.version_of("__cuda")
    with_cuda = [package for package, kind in kinds if kind.startswith("cuda")]
    if cuda and frameworks and not any(kind.startswith("cuda") for kind in frameworks.values()):
        named = ", ".join(frameworks)
        found.append(f"CPU BUILD on a platform with CUDA {cuda}: {named}; it will not use the GPU")
    if with_cuda and not cuda and with_cuda[0].kind == "pypi":
        found.append(
            f"CUDA WHEEL on a platform that declares no CUDA: {with_cuda[0]}; a wheel cannot require a driver, so Pixi "
            "downloads it and its CUDA libraries on machines without one too"
        )
    elif with_cuda and not cuda:
        found.append(
            f"CUDA BUILD on a platform that declares no CUDA: {with_cuda[0]}; it is installed on machines without a "
            "driver too, and without a declared driver the solver may take a build that is years old"
        )
    built = built_for(env)
    if cuda and built and major_minor(built)[0] > major_minor(cuda)[0] and not least_of_packages(env, built):
        found.append(f"BUILT FOR CUDA {built} on a platform that accepts drivers of CUDA {cuda}: they cannot run it")
    return found + _twice(env) + _much_older(env, beside)


def _twice(env: PlatformEnvironment) -> list[str]:
    """Packages that are there twice, from conda and as a wheel."""
    found = []
    for conda_names, wheel_name in SAME_FILES:
        conda = next((p for name in conda_names for p in env.packages if p.kind == "conda" and p.name == name), None)
        wheel = next((p for p in env.packages if p.kind == "pypi" and re.fullmatch(wheel_name, p.name.lower())), None)
        if conda and wheel:
            found.append(
                f"TWICE: {conda} from conda and the wheel {wheel}; the one that is installed or loaded last wins. "
                "Keep one of them"
            )
    return found


def _much_older(env: PlatformEnvironment, beside: Iterable[PlatformEnvironment]) -> list[str]:
    """Packages that the manifest requires, locked in a release that is much older than on another platform."""
    older = []
    for package in sorted(env.packages, key=lambda p: (p.name not in FRAMEWORKS, p.name)):
        if package.name.lower() not in env.required and package.name not in FRAMEWORKS:
            continue
        newer = [
            (other.platform.name, p)
            for other in beside
            for p in other.packages
            if p.kind == package.kind and p.name == package.name and _is_much_newer(p, package)
        ]
        if newer:
            name, there = max(newer, key=lambda pair: major_minor(pair[1].version or "0"))
            older.append(f"{package.name} {package.version}{_month(package)}, {there.version}{_month(there)} on {name}")
    if not older:
        return []
    more = f", and {len(older) - 3} more" if len(older) > 3 else ""
    return [f"MUCH OLDER than on other platforms: {'; '.join(older[:3])}{more}; the same script may behave differently"]


def _is_much_newer(one: LockedPackage, other: LockedPackage) -> bool:
    ours, theirs = major_minor(one.version or "0"), major_minor(other.version or "0")
    if ours <= theirs:
        return False
    if one.timestamp and other.timestamp:
        return one.timestamp - other.timestamp > MUCH_OLDER
    return one.name in FRAMEWORKS and (ours[0] > theirs[0] or ours[1] - theirs[1] >= MANY_MINORS)


def _month(package: LockedPackage) -> str:
    return f" of {package.timestamp:%Y-%m}" if package.timestamp else ""


def source_archives(
    env: PlatformEnvironment, beside: Iterable[PlatformEnvironment] = ()
) -> list[tuple[LockedPackage, str]]:
    """PyPI packages that are built on installation, each with the reason as far as the lock tells it.

    beside: other environments and platforms of the same lock, which may hold wheels of the same release.
    """
    found = []
    for package in env.packages:
        if package.kind != "pypi" or not package.url.split("#")[0].split("?")[0].endswith(SOURCE_ARCHIVES):
            continue
        wheels = {
            p.url: p
            for other in beside
            for p in other.packages
            if p.kind == "pypi" and (p.name, p.version) == (package.name, package.version) and p.url.endswith(".whl")
        }
        libc = env.platform.version_of("__glibc")
        linux = [url for url in wheels if re.search(r"manylinux", url)] if libc else []
        need = min((glibc for url in linux if (glibc := glibc_of_wheel(url))), key=Version, default=None)
        if need and libc and Version(need) > Version(libc):
            why = f"its wheel needs glibc {need}, and the platform promises {libc}"
        elif wheels:
            tags = ", ".join(sorted({url.rsplit("/", 1)[-1].removesuffix(".whl").split("-", 2)[-1] for url in wheels}))
            why = f"no wheel for this platform; the lock holds {tags} elsewhere"
        else:
            why = "its index has no wheel for this platform and Python"
        found.append((package, why))
    return found


def least_of_packages(env: PlatformEnvironment, built: str) -> bool:
    """Whether the packages themselves refuse drivers of an older major version than they were built for."""
    low = least([need for need in required_by_packages(env) if need.virtual == "__cuda"])
    return low is not None and major_minor(low)[0] >= major_minor(built)[0]


def download(env: PlatformEnvironment) -> tuple[int, int]:
    """Bytes to download, and the number of packages whose size the lock does not give (wheels, some old records)."""
    sizes = [package.size for package in env.packages]
    return sum(size or 0 for size in sizes), sum(size is None for size in sizes)
