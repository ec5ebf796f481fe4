"""The disk, and which environments run on this machine, by Pixi's rules (`pixi_workspace.needs`)."""

from __future__ import annotations

from typing import Any, NamedTuple

from pixi_workspace import disk
from workshop.doctor.checkout import LIGHT, Checkout
from workshop.doctor.machine import Machine
from workshop.doctor.row import PIXI, Row
from workshop.support import report


class Verdict(NamedTuple):
    """Whether this machine runs an environment (None: not known), why or why not, and the next step."""

    good: bool | None
    found: str
    next_step: str = ""


def disk_rows(here: Checkout) -> list[Row]:
    """The free space where Pixi puts environments."""
    free = disk.free(disk.environments_folder(here.root))
    found = "the system does not say how much"
    if free is not None:
        found = f"{report.mebibytes(free)} where Pixi puts environments (a quota is not seen)"
    return [Row(group="disk", what="free", good=None if free is None else True, found=found)]


def rows(here: Checkout, mine: Machine | None) -> list[Row]:
    """Which environments run here, and why not the others."""
    if here.places is None:
        return [
            Row(
                group="environments",
                what="all",
                good=None if here.trouble.startswith("not looked at") else False,
                found=here.trouble,
                next_step=here.advice,
                needed=(PIXI,),
            )
        ]
    free = disk.free(disk.environments_folder(here.root))
    found = []
    for name in dict.fromkeys(place.environment for place in here.places):
        places = [place for place in here.places if place.environment == name]
        verdict = runs_here(places, mine, free, here.has_environment(name))
        needed = (PIXI,) if name == LIGHT else ()
        found.append(Row(group="environments", what=name, needed=needed, **verdict._asdict()))
    return found


def runs_here(places: list[Any], mine: Machine | None, free: int | None, is_installed: bool) -> Verdict:
    """Whether this machine runs an environment, given on all its platforms. free: bytes, None where not known."""
    from pixi_workspace import needs

    if mine is None or mine.subdir is None or mine.virtual is None:
        return Verdict(None, "not known: what this machine has could not be found out")
    subdirs = (mine.subdir, *needs.ALSO_RUNS.get(mine.subdir, ()))
    here = [place for subdir in subdirs for place in places if place.platform.subdir == subdir]
    if not here:
        listed = ", ".join(dict.fromkeys(place.platform.subdir for place in places)) or "no platform"
        return Verdict(False, f"locked for {listed}; this machine is {mine.subdir}")
    lacks = [(place, *needs.unmet(place, mine.virtual)) for place in here]
    taken = next(((place, of_packages) for place, of_platform, of_packages in lacks if not of_platform), None)
    if taken is None:
        found = in_words(lacks[0][1][0], mine)
        if not any(of_packages for _, _, of_packages in lacks):
            found += "; its packages do not ask for it, so Pixi may install it with a mere warning"
        return Verdict(False, found)
    place, of_packages = taken
    if of_packages:
        return Verdict(False, in_words(of_packages[0], mine))
    if not place.packages:
        return Verdict(False, f"nothing is locked for {place.platform.name}", "pixi lock")
    if is_installed:
        return Verdict(True, f"runs here, as {place.platform.name}; installed")
    size, unknown = needs.download(place)
    more = f" (and {unknown} packages of unknown size)" if unknown else ""
    need = f"{report.mebibytes(size)} to download{more}, more when unpacked"
    if free is not None and free < size:
        found = f"would run here, but does not fit: {need}; {report.mebibytes(free)} are free"
        return Verdict(False, found, "free some disk")
    return Verdict(True, f"runs here, as {place.platform.name}; {need}")


def in_words(need: Any, mine: Machine) -> str:
    """What a machine lacks, and what it has instead."""
    from pixi_workspace import needs

    have, low = (mine.virtual or {}).get(need.virtual), needs.least([need])
    if need.virtual == "__cuda":
        linux = f" (on Linux {number} or newer)" if low and (number := needs.driver_for(low)) else ""
        there = f"the one here supports CUDA {have}" if have else "none is here"
        return f"needs an NVIDIA driver{f' for CUDA {low}' if low else ''}{linux}; {there}"
    what = needs.WORDS.get(need.virtual, need.virtual)
    return f"needs {what} {low or need.version}, asked by {need.who}; this machine has {have or 'none'}"
