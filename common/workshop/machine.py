"""What this machine is and has, as Pixi sees it: system, virtual packages, GPUs. Nothing that names its owner."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import time
from dataclasses import dataclass

from workshop import device, tools

# Rattler is what Pixi is built on: the same detection, in a process of its own, since a driver's library is loaded.
DETECT = """
import json, rattler
found = [v.into_generic() for v in rattler.VirtualPackage.detect(rattler.VirtualPackageOverrides.from_env())]
print(json.dumps({v.name.normalized: str(v.version) for v in found}))
"""
OVERRIDES = ("CONDA_OVERRIDE_CUDA", "CONDA_OVERRIDE_GLIBC", "CONDA_OVERRIDE_OSX")


@dataclass(frozen=True)
class Machine:
    """system: `Debian GNU/Linux 12`. subdir: conda's name for system and architecture, None for one that it lacks.

    virtual: Pixi's virtual packages, name to version; None where they could not be found out. overridden: the
    variables that speak in the machine's place. gpus: as `device.gpus`. trouble: what did not answer, in words.
    """

    system: str
    architecture: str
    subdir: str | None
    glibc: str | None
    virtual: dict[str, str] | None
    overridden: tuple[str, ...]
    gpus: tuple[dict[str, str], ...]
    trouble: tuple[str, ...] = ()


def look(seconds: float) -> Machine:
    """This machine, within `seconds`: a driver that hangs is passed over, and said."""
    until = time.monotonic() + seconds
    cards = tools.later(device.gpus, seconds * 0.9)
    virtual, trouble = virtual_packages(seconds * 0.7, until)
    found = tools.answer(cards, until)
    return Machine(
        system=system(),
        architecture=platform.machine(),
        subdir=subdir(),
        glibc=glibc(),
        virtual=virtual,
        overridden=tuple(name for name in OVERRIDES if name in os.environ),
        gpus=tuple({key: plain(value) for key, value in gpu.items()} for gpu in found or ()),
        trouble=tuple(trouble),
    )


def virtual_packages(seconds: float, until: float) -> tuple[dict[str, str] | None, list[str]]:
    """Pixi's virtual packages of this machine, and what went wrong: a second try leaves the driver out."""
    command = [sys.executable, "-c", DETECT]
    if found := _as_versions(tools.output_of(command, seconds)):
        return found, []
    try:
        import rattler  # noqa: F401
    except ImportError:
        return None, ["py-rattler is not here, so Pixi's virtual packages are not known"]
    said = "the driver's library did not answer"
    if os.environ.get("CONDA_OVERRIDE_CUDA"):
        said = "CONDA_OVERRIDE_CUDA is no version"
    elif any(os.environ.get(name) for name in OVERRIDES):
        said = f"one of {', '.join(OVERRIDES)} is no version"
    found = _as_versions(tools.output_of(command, until - time.monotonic(), **dict.fromkeys(OVERRIDES[:1], "")))
    return found, [said if found else "Pixi's virtual packages could not be found out"]


def _as_versions(text: str | None) -> dict[str, str] | None:
    """name to version, of an answer that has this form; else None."""
    try:
        found = json.loads(text or "")
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    return {name: v for name, v in found.items() if isinstance(v, str) and re.fullmatch(r"[\w.+!-]{1,40}", v)} or None


def subdir() -> str | None:
    """What conda calls this system and architecture, as in `linux-64`."""
    system = {"Linux": "linux", "Darwin": "osx", "Windows": "win"}.get(platform.system())
    machine = platform.machine().lower()
    arch = {"x86_64": "64", "amd64": "64", "aarch64": "aarch64", "arm64": "arm64"}.get(machine, machine)
    if system in ("osx", "win") and arch == "aarch64":
        arch = "arm64"
    return f"{system}-{arch}" if system and arch else None


def system() -> str:
    """The operating system with its version."""
    kind = platform.system()
    if kind == "Darwin":
        return f"macOS {platform.mac_ver()[0]}"
    if kind == "Windows":
        return f"Windows {platform.win32_ver()[0]} ({platform.win32_ver()[1]})"
    try:
        name = platform.freedesktop_os_release().get("PRETTY_NAME", kind)
    except OSError:
        name = kind
    kernel = re.match(r"\d[\d.]*\d", platform.release())  # what follows may be the name of whoever built it
    return plain(f"{name}, kernel {kernel[0]}" if kernel else name)


def glibc() -> str | None:
    """The version of glibc; None on a system with another C library."""
    try:
        found = re.fullmatch(r"glibc (\d+\.\d+(?:\.\d+)?)", os.confstr("CS_GNU_LIBC_VERSION") or "")
    except (AttributeError, ValueError, OSError):  # not on this system
        return None
    return found[1] if found else None


def plain(text: str) -> str:
    """One short line of printable ASCII, of what another program said of itself."""
    return re.sub(r"[^ -~]+", "?", " ".join(text.split()))[:80]
