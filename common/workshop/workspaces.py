"""The commands about any Pixi workspace: `lock-check`, `environments` and `lock-slice`. The answers are `pixi_workspace`'s."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pixi_workspace
from pixi_workspace import disk, lock_slice, needs
from pixi_workspace import environments as environments_of
from pixi_workspace.environments import asked
from pixi_workspace.fit import lockcheck
from pixi_workspace.needs import Place
from workshop.support import report
from workshop.support.files import write_atomic

INDENT = 23  # room for linux-aarch64-cuda12, the longest name of a platform
NOTHING_ODD = "nothing odd: no CPU build where a platform declares CUDA, no CUDA build where it declares none"


def lock_check(path: str, as_json: bool) -> int:
    """Print the verdict on the lock of the workspace at `path`; 0 for up-to-date, 1 otherwise."""
    verdict = lockcheck.judge(path)
    print(lockcheck.to_json(verdict) if as_json else lockcheck.to_text(verdict))
    return 0 if verdict.verdict == "up-to-date" else 1


def slice_lock(folder: str) -> int:
    """Write pixi.lock in `folder`, cut out of the lock of the workspace around it; 0."""
    part = pixi_workspace.load(pixi_workspace.find(Path(folder)))
    whole = pixi_workspace.load(lock_slice.workspace_above(part.path))
    content = lock_slice.cut(whole, part)
    target, source = part.path.with_name("pixi.lock"), whole.path.with_name("pixi.lock")
    write_atomic(target, content)
    print(f"{os.path.relpath(target)}: {len(content):,} bytes, cut out of {os.path.relpath(source)}")
    return 0


def environments(path: str, as_json: bool) -> int:
    """Print what each environment of the workspace at `path` needs; 0, or 1 where one is not what it seems.

    Raises WorkspaceError where there is no manifest or no lock, or one of them cannot be read.
    """
    manifest, found = environments_of.look(Path(path))
    folder = manifest.path.parent
    sizes = {place.environment: disk.installed(folder, place.environment) for place in found}
    odd = any(_oddities(place, found) for place in found)
    if as_json:
        listed = [environments_of.about(place, sizes[place.environment], found) for place in found]
        print(json.dumps({"odd": odd, "environments": listed}, indent=2))
    else:
        report.print_lines(lines(found, sizes))
    return 1 if odd else 0


def lines(found: list[Place], sizes: dict[str, int | None]) -> list[str]:
    """The report; environments of which everything is the same (one solve group) stand together."""
    blocks: dict[str, list[str]] = {}
    for name in dict.fromkeys(place.environment for place in found):
        text = [line for place in found if place.environment == name for line in _of_platform(place, found)]
        if (size := sizes[name]) is not None:
            text.append(f"  installed here       {report.mebibytes(size)}, measured")
        blocks.setdefault("\n".join(text), []).append(name)
    printed = [line for text, names in blocks.items() for line in (", ".join(names), *text.split("\n"), "")]
    unknown = "Installed size: unknown until an environment is installed here, since a lock holds the size of what is "
    if any(size is None for size in sizes.values()):
        printed += report.wrap_beside("", unknown + "downloaded alone. It is larger.", 0)
    odd = sum(bool(_oddities(place, found)) for place in found)
    return [*printed, *report.wrap_beside("", f"{odd} odd, see above" if odd else NOTHING_ODD, 0)]


def _oddities(place: Place, found: list[Place]) -> list[str]:
    return needs.oddities(place, environments_of.same_environment(place, found))


def _of_platform(place: Place, found: list[Place]) -> list[str]:
    """What is to be said of one environment on one platform."""
    name = place.platform.name
    head = f"  {name}" if name.startswith(place.platform.subdir) else f"  {name} ({place.platform.subdir})"
    if not place.packages:
        return report.wrap_beside(head, "nothing is locked; next: pixi lock", INDENT)
    kinds = needs.variants(place)
    builds: dict[str, list[str]] = {}
    for package, kind in kinds:
        if not package.name.endswith(("-cpu", "-gpu")):  # packages without content, that choose a build
            builds.setdefault(kind.upper() if kind != "cpu" else "the CPU", []).append(str(package))
    built, lowest = needs.built_for(place), needs.lowest_cuda(place)
    size, unknown = needs.download(place)
    more = f" and {unknown} of unknown size" if unknown else ""
    system = [f"{needs.WORDS[name]} {low}" for name, low in asked(place).items() if name != "__cuda"]
    if wheel := needs.wheel_for_glibc(place):
        system = [f"{words} (the wheel {wheel})" if words.startswith("glibc ") else words for words in system]
    to_download = f"{report.mebibytes(size)} in {len(place.packages) - unknown} packages{more}"
    wanted = "; ".join([to_download, *system])
    if not builds:
        said = report.wrap_beside(head, f"nothing for a GPU; {wanted}", INDENT)
    else:
        words = "; ".join(f"{', '.join(names)}: for {target}" for target, names in builds.items())
        said = report.wrap_beside(head, words, INDENT)
        said += report.wrap_beside("    driver", driver(place, lowest, built), INDENT) if built and lowest else []
        said += report.wrap_beside("    download", wanted, INDENT)
    for package, why in needs.source_archives(place, found):
        said += report.wrap_beside("    built here", f"{package} is built on installation: {why}", INDENT)
    for odd in _oddities(place, found):
        said += report.wrap_beside("    ODD", odd, INDENT)
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
    if not built or built == "0" or needs.Version(lowest) >= needs.Version(built):
        return said
    if full := needs.driver_for(built):
        said += f". All that CUDA {built} can: {full} or newer"
        if base := needs.MINOR_VERSION_COMPATIBILITY.get(built.split(".")[0]):
            said += f"; from {base} on without what is compiled on the spot (PTX), by minor version compatibility"
    return said
