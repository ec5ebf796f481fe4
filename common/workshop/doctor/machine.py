"""What this machine is and has, as Pixi sees it: system, virtual packages, GPUs. Nothing that names its owner."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial

from workshop.doctor.row import Row
from workshop.support import hardware, timeouts
from workshop.support.hardware import glibc, printable, subdir, system

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
    variables that speak in the machine's place. gpus: as `hardware.gpus`. trouble: what did not answer, in words.
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
    cards = timeouts.start_in_thread(hardware.gpus, seconds * 0.9)
    virtual, trouble = virtual_packages(seconds * 0.8)
    found = timeouts.wait_for(cards, until)
    return Machine(
        system=system(),
        architecture=platform.machine(),
        subdir=subdir(),
        glibc=glibc(),
        virtual=virtual,
        overridden=tuple(name for name in OVERRIDES if name in os.environ),
        gpus=tuple({key: printable(value) for key, value in gpu.items()} for gpu in found or ()),
        trouble=tuple(trouble),
    )


def virtual_packages(seconds: float) -> tuple[dict[str, str] | None, list[str]]:
    """Pixi's virtual packages of this machine, and what went wrong. None where rattler is not here.

    Where the driver's library hangs or crashes, they are what is left without a driver.
    """
    try:
        import rattler  # noqa: F401
    except ImportError:
        return None, ["py-rattler is not here, so Pixi's virtual packages are not known"]
    found = _as_versions(timeouts.run_command([sys.executable, "-c", DETECT], seconds))
    if found is None:
        return _without_driver(), ["the driver's library, or what looks for it, did not answer"]
    odd = [name for name, value in found.items() if not value]
    words = [f"the value of {name} is no number" for name in odd]
    return {name: value for name, value in found.items() if value}, words


def _as_versions(text: str | None) -> dict[str, str] | None:
    """name to version, empty for one that is no number (CONDA_OVERRIDE_CUDA=yes); None for text of another form."""
    try:
        found = json.loads(text or "")
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not all(re.fullmatch(r"__\w{1,40}", name) for name in found):
        return None
    return {name: v if re.fullmatch(r"\d[\d.]{0,40}", str(v)) else "" for name, v in found.items()} or None


def _without_driver() -> dict[str, str]:
    """The virtual packages that need no library to be found; CUDA only where a variable speaks for it."""
    kernel = re.match(r"\d+(\.\d+)*", platform.release())
    found = {
        "Linux": {"__linux": kernel[0] if kernel else "", "__glibc": glibc() or ""},
        "Darwin": {"__osx": platform.mac_ver()[0]},
        "Windows": {"__win": platform.win32_ver()[1]},
    }.get(platform.system(), {})
    said = {"__cuda": os.environ.get("CONDA_OVERRIDE_CUDA", "")}
    return {name: version for name, version in (found | said).items() if re.fullmatch(r"\d[\d.]*", version)}


def rows(mine: Machine | None) -> list[Row]:
    """System, architecture, C library, GPU, driver."""
    row = partial(Row, group="machine")
    if mine is None:
        return [row(what="system", good=None, found="did not say within the time limit what it is")]
    found = [
        row(what="system", good=True, found=mine.system),
        row(what="architecture", good=True, found=f"{printable(mine.architecture)}; Pixi's {mine.subdir}"),
    ]
    virtual = mine.virtual or {}
    if (mine.subdir or "").startswith("linux"):
        version = virtual.get("__glibc") or mine.glibc
        none = "none: another C library, for which nothing is built"
        found.append(row(what="glibc", good=bool(version), found=version or none))
    found.append(row(what="GPU", good=bool(mine.gpus), found=_gpus_in_words(mine)))
    cuda, driver = virtual.get("__cuda"), mine.gpus[0]["driver"] if mine.gpus else None
    words = f"driver {driver}; " if driver else "no NVIDIA driver answers; "
    words += f"CUDA {cuda} for Pixi (__cuda)" if cuda else "no CUDA for Pixi (no __cuda)"
    found.append(row(what="driver", good=bool(cuda), found=words))
    for name in mine.overridden:
        words = f"{name} is set: Pixi takes its value, whatever the machine has"
        found.append(row(what="override", good=None, found=words))
    return found + [row(what="trouble", good=None, found=words) for words in mine.trouble]


def _gpus_in_words(mine: Machine) -> str:
    if not mine.gpus:
        return "none that nvidia-smi knows of: the exercises run on the CPU"
    kinds = Counter(
        f"{gpu['gpu']}, compute capability {gpu.get('compute_capability') or 'not known'}" for gpu in mine.gpus
    )
    return "; ".join(f"{count} x {kind}" if count > 1 else kind for kind, count in kinds.items())
