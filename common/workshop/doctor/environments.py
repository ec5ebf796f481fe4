"""Free disk space, and the environments that this machine can run by Pixi's rules (`pixi_workspace.needs`)."""

from __future__ import annotations

from typing import Any, NamedTuple

from pixi_workspace import disk
from workshop.doctor.checkout import CPU_ENVIRONMENT, Checkout
from workshop.doctor.machine import Machine
from workshop.doctor.row import PIXI, Row
from workshop.support import report


class Verdict(NamedTuple):
    """Whether this machine can run an environment (None: not known), the reason, and the next step."""

    passed: bool | None
    found: str
    next_step: str = ""


def disk_rows(checkout: Checkout) -> list[Row]:
    """The free space where Pixi puts environments."""
    free = disk.free(disk.environments_folder(checkout.root))
    found = "not known: the system does not report it"
    if free is not None:
        found = f"{report.mebibytes(free)} where Pixi puts environments (a disk quota may leave less)"
    return [Row(group="disk", subject="free", passed=None if free is None else True, found=found)]


def rows(checkout: Checkout, this_machine: Machine | None) -> list[Row]:
    """Which environments this machine can run, with a reason for each one that it cannot."""
    if checkout.places is None:
        return [
            Row(
                group="environments",
                subject="all",
                passed=None if checkout.problem.startswith("not checked") else False,
                found=checkout.problem,
                next_step=checkout.next_step,
                required_by=(PIXI,),
            )
        ]
    free = disk.free(disk.environments_folder(checkout.root))
    found = []
    for name in dict.fromkeys(place.environment for place in checkout.places):
        places = [place for place in checkout.places if place.environment == name]
        verdict = runs_here(places, this_machine, free, checkout.has_environment(name))
        required_by = (PIXI,) if name == CPU_ENVIRONMENT else ()
        found.append(Row(group="environments", subject=name, required_by=required_by, **verdict._asdict()))
    return found


def runs_here(places: list[Any], this_machine: Machine | None, free: int | None, is_installed: bool) -> Verdict:
    """Whether this machine can run an environment, given on all its platforms. free: bytes, None if not known."""
    from pixi_workspace import needs

    if this_machine is None or this_machine.subdir is None or this_machine.virtual is None:
        return Verdict(None, "not known: this machine's properties could not be determined")
    subdirs = (this_machine.subdir, *needs.ALSO_RUNS.get(this_machine.subdir, ()))
    here = [place for subdir in subdirs for place in places if place.platform.subdir == subdir]
    if not here:
        listed = ", ".join(dict.fromkeys(place.platform.subdir for place in places)) or "no platform"
        return Verdict(False, f"locked for {listed}; this machine is {this_machine.subdir}")
    unmet = [(place, *needs.unmet(place, this_machine.virtual)) for place in here]
    usable = next(((place, of_packages) for place, of_platform, of_packages in unmet if not of_platform), None)
    if usable is None:
        found = describe_need(unmet[0][1][0], this_machine)
        if not any(of_packages for _, _, of_packages in unmet):
            found += "; its packages do not require it, so Pixi may install the environment with only a warning"
        return Verdict(False, found)
    place, of_packages = usable
    if of_packages:
        return Verdict(False, describe_need(of_packages[0], this_machine))
    if not place.packages:
        return Verdict(False, f"nothing is locked for {place.platform.name}", "pixi lock")
    if is_installed:
        return Verdict(True, f"runs here, as {place.platform.name}; installed")
    size, unknown = needs.download(place)
    more = f" (and {unknown} {'package' if unknown == 1 else 'packages'} of unknown size)" if unknown else ""
    need = f"{report.mebibytes(size)} to download{more}, more when unpacked"
    if free is not None and free < size:
        found = f"could run here, but does not fit on the disk: {need}; {report.mebibytes(free)} are free"
        return Verdict(False, found, "free some disk space")
    return Verdict(True, f"runs here, as {place.platform.name}; {need}")


def describe_need(need: Any, this_machine: Machine) -> str:
    """What an environment needs, and what the machine has instead."""
    from pixi_workspace import needs

    have, low = (this_machine.virtual or {}).get(need.virtual), needs.least([need])
    if need.virtual == "__cuda":
        linux = f" (on Linux {number} or newer)" if low and (number := needs.driver_for(low)) else ""
        there = f"the one here supports CUDA {have}" if have else "none is here"
        return f"needs an NVIDIA driver{f' for CUDA {low}' if low else ''}{linux}; {there}"
    what = needs.WORDS.get(need.virtual, need.virtual)
    return f"needs {what} {low or need.version}, required by {need.required_by}; this machine has {have or 'none'}"
