"""This machine as Pixi sees it: system, virtual packages, GPUs. Nothing here identifies its owner."""

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

# Pixi is built on rattler, so this detects the same. It runs in its own process because it loads the driver's library.
DETECT = """
import json, rattler
found = [v.into_generic() for v in rattler.VirtualPackage.detect(rattler.VirtualPackageOverrides.from_env())]
print(json.dumps({v.name.normalized: str(v.version) for v in found}))
"""
OVERRIDES = ("CONDA_OVERRIDE_CUDA", "CONDA_OVERRIDE_GLIBC", "CONDA_OVERRIDE_OSX")


@dataclass(frozen=True)
class Machine:
    """system: `Debian GNU/Linux 12`. subdir: conda's name for the platform, as in `linux-64`; None if it has none.

    virtual: versions of Pixi's virtual packages by name; None if they could not be determined. overridden: environment
    variables that replace what was detected. gpus: as `hardware.gpus` returns them. trouble: what did not answer.
    """

    system: str
    architecture: str
    subdir: str | None
    glibc: str | None
    virtual: dict[str, str] | None
    overridden: tuple[str, ...]
    gpus: tuple[dict[str, str], ...]
    trouble: tuple[str, ...] = ()


def inspect_machine(seconds: float) -> Machine:
    """Inspect this machine within `seconds`. A driver that hangs is skipped and reported."""
    deadline = time.monotonic() + seconds
    gpus = timeouts.start_in_thread(hardware.gpus, seconds * 0.9)
    virtual, trouble = virtual_packages(seconds * 0.8)
    found = timeouts.wait_for(gpus, deadline)
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
    """Pixi's virtual packages of this machine, and what went wrong. None if rattler is not installed.

    If the driver's library hangs or crashes, only the packages that need no driver are returned.
    """
    try:
        import rattler  # noqa: F401
    except ImportError:
        return None, ["py-rattler is not installed, so Pixi's virtual packages are not known"]
    found = _as_versions(timeouts.run_command([sys.executable, "-c", DETECT], seconds))
    if found is None:
        return _without_driver(), ["the driver's library did not answer"]
    invalid = [name for name, value in found.items() if not value]
    problems = [f"the value of {name} is not a number" for name in invalid]
    return {name: value for name, value in found.items() if value}, problems


def _as_versions(text: str | None) -> dict[str, str] | None:
    """Versions by name, empty for one that is not a number (CONDA_OVERRIDE_CUDA=yes); None for text of another form."""
    try:
        found = json.loads(text or "")
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not all(re.fullmatch(r"__\w{1,40}", name) for name in found):
        return None
    return {name: v if re.fullmatch(r"\d[\d.]{0,40}", str(v)) else "" for name, v in found.items()} or None


def _without_driver() -> dict[str, str]:
    """The virtual packages that can be detected without the driver's library; CUDA only if a variable sets it."""
    kernel = re.match(r"\d+(\.\d+)*", platform.release())
    found = {
        "Linux": {"__linux": kernel[0] if kernel else "", "__glibc": glibc() or ""},
        "Darwin": {"__osx": platform.mac_ver()[0]},
        "Windows": {"__win": platform.win32_ver()[1]},
    }.get(platform.system(), {})
    override = {"__cuda": os.environ.get("CONDA_OVERRIDE_CUDA", "")}
    return {name: version for name, version in (found | override).items() if re.fullmatch(r"\d[\d.]*", version)}


def rows(this_machine: Machine | None) -> list[Row]:
    """System, architecture, C library, GPU, driver."""
    row = partial(Row, group="machine")
    if this_machine is None:
        return [row(subject="system", passed=None, found="not known: the machine did not answer within the time limit")]
    found = [
        row(subject="system", passed=True, found=this_machine.system),
        row(
            subject="architecture",
            passed=True,
            found=f"{printable(this_machine.architecture)}; Pixi's {this_machine.subdir}",
        ),
    ]
    virtual = this_machine.virtual or {}
    if (this_machine.subdir or "").startswith("linux"):
        version = virtual.get("__glibc") or this_machine.glibc
        none = "none: this system has another C library, for which no packages are built"
        found.append(row(subject="glibc", passed=bool(version), found=version or none))
    found.append(row(subject="GPU", passed=bool(this_machine.gpus), found=_describe_gpus(this_machine)))
    cuda, driver = virtual.get("__cuda"), this_machine.gpus[0]["driver"] if this_machine.gpus else None
    words = f"driver {driver}; " if driver else "no NVIDIA driver answers; "
    words += f"Pixi finds CUDA {cuda} (__cuda)" if cuda else "Pixi finds no CUDA (__cuda)"
    found.append(row(subject="driver", passed=bool(cuda), found=words))
    for name in this_machine.overridden:
        words = f"{name} is set: Pixi uses its value instead of what it detects"
        found.append(row(subject="override", passed=None, found=words))
    return found + [row(subject="trouble", passed=None, found=words) for words in this_machine.trouble]


def _describe_gpus(this_machine: Machine) -> str:
    if not this_machine.gpus:
        return "nvidia-smi reports none: the exercises run on the CPU"
    kinds = Counter(
        f"{gpu['gpu']}, compute capability {gpu.get('compute_capability') or 'not known'}" for gpu in this_machine.gpus
    )
    return "; ".join(f"{count} x {kind}" if count > 1 else kind for kind, count in kinds.items())
