"""`workshop environments`: GPU environments looked at without a GPU, from lock and manifest alone.

For each environment on each platform: which builds would be installed, for which CUDA; which driver they need; how
much there is to download. The rules, and NVIDIA's table of drivers, are in `workshop.needs`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from workshop import disk, needs, report
from workshop import lock as locks
from workshop import manifest as manifests
from workshop.errors import WorkshopError
from workshop.needs import Place

INDENT = 21
NOTHING_ODD = "nothing odd: no CPU build where a platform declares CUDA, no CUDA build where it declares none"


def main(path: str, as_json: bool) -> int:
    """Print what each environment of the workspace at `path` needs; 0, or 1 where one is not what it seems.

    Raises WorkshopError where there is no manifest or no lock, or one of them cannot be read.
    """
    manifest, found = look(Path(path))
    folder = manifest.path.parent
    sizes = {place.environment: disk.installed(folder, place.environment) for place in found}
    odd = any(needs.oddities(place) for place in found)
    if as_json:
        listed = [about(place, sizes[place.environment]) for place in found]
        print(json.dumps({"odd": odd, "environments": listed}, indent=2))
    else:
        report.put(lines(found, sizes))
    return 1 if odd else 0


def look(path: Path) -> tuple[manifests.Manifest, list[Place]]:
    """The manifest at `path` (a folder or a file), and every environment on every platform with what is locked."""
    manifest = manifests.load(manifests.find(path))
    lock = manifest.path.with_name("pixi.lock")
    if not lock.exists():
        raise WorkshopError(lock, "the lock of this manifest", "no such file", "pixi lock")
    try:
        found = needs.places(manifest, locks.align(locks.read(lock), manifest.platforms))
        for place in found:
            about(place, None)
    except WorkshopError:
        raise
    except Exception as error:  # files of other people hold things that nobody thought of
        raise WorkshopError(
            lock, "a lock that this command understands", f"{type(error).__name__}: {' '.join(str(error).split())}",
            "pixi lock --check; and please report the two files",
        ) from error  # fmt: skip
    return manifest, found


def about(place: Place, installed: int | None) -> dict[str, Any]:
    """Everything about one environment on one platform, for machines; the keys stay."""
    size, unknown = needs.download(place)
    lowest, built = needs.lowest_cuda(place), needs.built_for(place)
    return {
        "environment": place.environment,
        "platform": place.platform.name,
        "subdir": place.platform.subdir,
        "locked": bool(place.packages),
        "builds": [
            {"name": p.name, "version": p.version, "build": p.build or None, "kind": p.kind, "variant": kind}
            for p, kind in needs.variants(place)
        ],
        "platform_cuda": place.platform.version_of("__cuda"),
        "cuda_version": needs.toolkit(place),
        "built_for_cuda": built,
        "lowest_cuda_of_driver": lowest,
        "lowest_linux_driver": needs.driver_for(lowest) if lowest else None,
        "linux_driver_for_all_features": needs.driver_for(built) if built else None,
        "asked": asked(place),
        "download_bytes": size,
        "download_unknown": unknown,
        "installed_bytes": installed,
        "odd": needs.oddities(place),
    }


def asked(place: Place) -> dict[str, str]:
    """The lowest version of each virtual package that the locked packages ask for, as in `__glibc`: `2.28`."""
    by_name: dict[str, list[needs.Need]] = {}
    for need in needs.asked_by_packages(place):
        by_name.setdefault(need.virtual, []).append(need)
    return {name: low for name, found in sorted(by_name.items()) if (low := needs.least(found))}


def lines(found: list[Place], sizes: dict[str, int | None]) -> list[str]:
    """The report; environments of which everything is the same (one solve group) stand together."""
    blocks: dict[str, list[str]] = {}
    for name in dict.fromkeys(place.environment for place in found):
        text = [line for place in found if place.environment == name for line in _of_platform(place)]
        if sizes[name] is not None:
            text.append(f"  installed here     {report.mebibytes(sizes[name])}, measured")
        blocks.setdefault("\n".join(text), []).append(name)
    printed = [line for text, names in blocks.items() for line in (", ".join(names), *text.split("\n"), "")]
    unknown = "Installed size: unknown until an environment is installed here, since a lock holds the size of what is "
    if any(size is None for size in sizes.values()):
        printed += report.beside("", unknown + "downloaded alone. It is larger.", 0)
    odd = sum(bool(needs.oddities(place)) for place in found)
    return [*printed, *report.beside("", f"{odd} odd, see above" if odd else NOTHING_ODD, 0)]


def _of_platform(place: Place) -> list[str]:
    """What is to be said of one environment on one platform."""
    name = place.platform.name
    head = f"  {name}" if name.startswith(place.platform.subdir) else f"  {name} ({place.platform.subdir})"
    if not place.packages:
        return report.beside(head, "nothing is locked; next: pixi lock", INDENT)
    kinds = needs.variants(place)
    builds: dict[str, list[str]] = {}
    for package, kind in kinds:
        if not package.name.endswith(("-cpu", "-gpu")):  # packages without content, that choose a build
            builds.setdefault(kind.upper() if kind != "cpu" else "the CPU", []).append(str(package))
    built, lowest = needs.built_for(place), needs.lowest_cuda(place)
    size, unknown = needs.download(place)
    more = f" and {unknown} of unknown size" if unknown else ""
    system = [f"{needs.WORDS[name]} {low}" for name, low in asked(place).items() if name != "__cuda"]
    to_download = f"{report.mebibytes(size)} in {len(place.packages) - unknown} packages{more}"
    wanted = "; ".join([to_download, *system])
    if not builds:
        said = report.beside(head, f"nothing for a GPU; {wanted}", INDENT)
    else:
        words = "; ".join(f"{', '.join(names)}: for {target}" for target, names in builds.items())
        said = report.beside(head, words, INDENT)
        said += report.beside("    driver", driver(place, lowest, built), INDENT) if built and lowest else []
        said += report.beside("    download", wanted, INDENT)
    for odd in needs.oddities(place):
        said += report.beside("    ODD", odd, INDENT)
    return said


def driver(place: Place, lowest: str, built: str | None) -> str:
    """The driver that an environment needs, by whom, and what an older one than that of the build leaves out."""
    declared = place.platform.version_of("__cuda")
    who = f"the platform declares {declared}" if declared else "the platform declares none"
    packages = [need for need in needs.asked_by_packages(place) if need.virtual == "__cuda"]
    least = needs.least([*packages, *needs.asked_if_there(place)])
    who += f", packages ask for {least}" if least else ", packages for any" if packages else ", no package asks"
    number = needs.driver_for(lowest)
    linux = f" (Linux: {number} or newer)" if number else " (newer than the table of this check)"
    said = f"any that supports CUDA {lowest}{linux}: {who}" if lowest != "0" else f"any: {who}"
    older = built and built != "0" and needs.Version(lowest) < needs.Version(built)
    if older and (full := needs.driver_for(built)):
        said += f". All that CUDA {built} can: {full} or newer"
        if base := needs.MINOR_VERSION_COMPATIBILITY.get(built.split(".")[0]):
            said += f"; from {base} on without what is compiled on the spot (PTX), by minor version compatibility"
    return said
