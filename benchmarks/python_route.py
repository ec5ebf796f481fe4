"""How much the README's first command without Pixi downloads, and how long it takes.

    python benchmarks/python_route.py --output benchmarks/python_route.json            # sizes only: seconds
    python benchmarks/python_route.py --install --output benchmarks/python_route.json  # and a real installation: minutes

Sizes are those of the wheels that pip would choose, as the package index states them. It needs uv and a network.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

from packaging import tags
from packaging.markers import Marker
from packaging.utils import parse_wheel_filename

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "common"), str(ROOT / "tests")]

import python_lock  # noqa: E402

from workshop.support.hardware import cpu_name  # noqa: E402

PYTHON = (3, 12)
MANYLINUX = [*(f"manylinux_2_{n}" for n in range(28, 4, -1)), "manylinux2014", "manylinux2010", "manylinux1", "linux"]
# Name of the system: uv's name for it, the platform tags of its wheels (best first), and values of its markers.
SYSTEMS = {
    "Linux": ("x86_64-manylinux_2_28", [f"{name}_x86_64" for name in MANYLINUX], ("linux", "x86_64")),
    "Linux on ARM": ("aarch64-manylinux_2_28", [f"{name}_aarch64" for name in MANYLINUX], ("linux", "aarch64")),
    "macOS": ("aarch64-apple-darwin", list(tags.mac_platforms((14, 0), "arm64")), ("darwin", "arm64")),
    "Windows": ("x86_64-pc-windows-msvc", ["win_amd64"], ("win32", "AMD64")),
}


def wheel_sizes(system: str) -> dict[str, int]:
    """The size in bytes of the wheel of each package that pip would install on this system, by the package's name."""
    target, platforms, (sys_platform, machine) = SYSTEMS[system]
    version = ".".join(map(str, PYTHON))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pylock.toml"
        options = ("--python-platform", target, "--python-version", version, "--constraints", "requirements.txt")
        process = python_lock.solve(*options, "--format", "pylock.toml", "--output-file", str(file))
        if process.returncode:
            sys.exit(process.stderr)
        packages = tomllib.loads(file.read_text(encoding="utf-8"))["packages"]
    order = [*tags.cpython_tags(PYTHON, platforms=platforms)]
    order += tags.compatible_tags(PYTHON, f"cp{PYTHON[0]}{PYTHON[1]}", platforms)
    rank = {tag: number for number, tag in enumerate(order)}
    values = {"python_version": version, "python_full_version": f"{version}.0"}
    values |= {"sys_platform": sys_platform, "platform_machine": machine}
    sizes = {}
    for package in packages:
        if "wheels" not in package or not Marker(package.get("marker", "python_version > '3'")).evaluate(values):
            continue
        ranked = []
        for wheel in package["wheels"]:
            name = wheel.get("name") or wheel["url"].rsplit("/", 1)[1]
            best = min((rank[tag] for tag in parse_wheel_filename(name)[3] if tag in rank), default=None)
            if best is not None:
                ranked.append((best, wheel["size"]))
        sizes[package["name"]] = min(ranked)[1]
    return sizes


def installation_seconds() -> float:
    """The seconds that the first command takes here without pip's cache, and without its `check-all`."""
    with tempfile.TemporaryDirectory(dir="/var/tmp" if Path("/var/tmp").is_dir() else None) as folder:
        copy = Path(folder) / "clone"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", ".pixi", "results"))
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-m", "venv", ".venv"], cwd=copy, check=True)
        pip = copy / (".venv/Scripts/pip" if os.name == "nt" else ".venv/bin/pip")
        line = [str(pip), "install", "--quiet", "--no-cache-dir", "-e", ".[cpu,test]"]
        subprocess.run(line, cwd=copy, check=True)
        return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--install", action="store_true", help="also install for real: about 3 GB on Linux")
    parser.add_argument("--output", type=Path, help="write the figures to this JSON file")
    arguments = parser.parse_args()
    found = {"python": ".".join(map(str, PYTHON)), "download": {}}
    for system in SYSTEMS:
        sizes = wheel_sizes(system)
        nvidia = sum(n for name, n in sizes.items() if name.startswith(("nvidia-", "cuda-")) or name == "triton")
        row = {"packages": len(sizes), "MB": round(sum(sizes.values()) / 1e6)}
        row |= {"MB_of_torch": round(sizes["torch"] / 1e6), "MB_of_cuda_libraries": round(nvidia / 1e6)}
        found["download"][system] = row
        print(f"{system}: {row['MB']} MB in {row['packages']} wheels, torch {row['MB_of_torch']} MB,", end=" ")
        print(f"the CUDA libraries that it requires {row['MB_of_cuda_libraries']} MB")
    if arguments.install:
        seconds = round(installation_seconds())
        found["installation"] = {"seconds": seconds, "system": platform.system(), "cpu": cpu_name()}
        found["installation"] |= {"cores": os.cpu_count(), "python": platform.python_version()}
        print(f"{seconds} s to install them here ({os.cpu_count()} cores of {cpu_name()}), without a cache")
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
