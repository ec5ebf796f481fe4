"""This machine: system, processor, C library, GPUs. Nothing here identifies its owner or needs a package."""

from __future__ import annotations

import os
import platform
import re
import shutil
import time
from pathlib import Path

from workshop.support import timeouts


def gpus(seconds: float = 10) -> list[dict[str, str]]:
    """Each GPU as nvidia-smi reports it: `driver`, `gpu` (its name), and with drivers from 2021 on
    `compute_capability`. Empty without a driver, or if nvidia-smi takes more than `seconds`.
    """
    if not (command := shutil.which("nvidia-smi")):
        return []
    deadline = time.monotonic() + seconds
    for fields in ("driver_version,compute_cap,name", "driver_version,name"):
        line = [command, f"--query-gpu={fields}", "--format=csv,noheader"]
        output = timeouts.run_command(line, max(0, deadline - time.monotonic())) or ""
        rows = [row.split(",", fields.count(",")) for row in output.splitlines()]
        rows = [[word.strip() for word in row] for row in rows if len(row) == fields.count(",") + 1]
        if found := [row for row in rows if re.fullmatch(r"\d[\d.]*", row[0])]:
            capability = [row[1] if re.fullmatch(r"\d+\.\d+", row[1]) and len(row) == 3 else "" for row in found]
            return [
                {"driver": row[0], "gpu": row[-1]} | ({"compute_capability": cap} if cap else {})
                for row, cap in zip(found, capability, strict=True)
            ]
    return []


def nvidia_smi() -> dict[str, str]:
    """`driver` and `gpu` (name of the first GPU) as nvidia-smi reports them; empty without a driver."""
    return {key: gpu[key] for gpu in gpus()[:1] for key in ("driver", "gpu")}


def cpu_name() -> str:
    """The processor's model name, as the operating system reports it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def cores() -> int:
    """How many processor cores this process may use: all of the machine, less what its affinity, its control group
    (cgroup, as in a container) or its Slurm job excludes. At least 1.
    """
    limits = [os.cpu_count() or 1]
    if hasattr(os, "sched_getaffinity"):
        limits.append(len(os.sched_getaffinity(0)))
    if hasattr(os, "process_cpu_count"):  # Python 3.13; it also reads PYTHON_CPU_COUNT
        limits.append(os.process_cpu_count() or 1)  # pyright: ignore[reportAttributeAccessIssue]
    if (quota := cgroup_cores(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))) is not None:
        limits.append(int(quota))
    for name in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        if (text := os.environ.get(name, "")).isdecimal():
            limits.append(int(text))
            break
    return max(1, min(limits))


def cgroup_cores(membership: Path, root: Path) -> float | None:
    """The smallest limit on processor time, in cores, of a process's control group and those above it; None without.

    membership: /proc/self/cgroup. root: where control groups are mounted: version 2 itself, version 1 in root/cpu.
    """
    try:
        lines = membership.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    found = []
    for controllers, group in (line.split(":", 2)[1:] for line in lines if line.count(":") >= 2):
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / "cpu" if controllers else root
        folder = top / group.lstrip("/")
        while folder.is_relative_to(top):
            try:
                if controllers:
                    quota, period = (read_number(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
                else:
                    quota, period = map(int, (folder / "cpu.max").read_text(encoding="ascii").split())
                if quota > 0:  # version 1 writes -1 for no limit
                    found.append(quota / period)
            except (OSError, ValueError, ZeroDivisionError):
                pass  # no limit ("max"), or no such file, as in the root group
            folder = folder.parent
    return min(found, default=None)


def read_number(path: Path) -> int:
    """The whole number in a file of the system."""
    return int(path.read_text(encoding="ascii"))


def subdir() -> str | None:
    """conda's name for this system and architecture, such as `linux-64`."""
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
    kernel = re.match(
        r"\d[\d.]*\d", platform.release()
    )  # the rest may contain the name of the person who built the kernel
    return printable(f"{name}, kernel {kernel[0]}" if kernel else name)


def glibc() -> str | None:
    """The version of glibc; None on a system with another C library."""
    try:
        found = re.fullmatch(r"glibc (\d+\.\d+(?:\.\d+)?)", os.confstr("CS_GNU_LIBC_VERSION") or "")
    except (AttributeError, ValueError, OSError):  # not available on this system
        return None
    return found[1] if found else None


def printable(text: str) -> str:
    """Another program's output as one short line of printable ASCII."""
    return re.sub(r"[^ -~]+", "?", " ".join(text.split()))[:80]
