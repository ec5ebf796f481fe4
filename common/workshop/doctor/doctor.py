"""`workshop doctor`: is this machine ready for the tutorial? Run it before, and paste the report into an e-mail.

Each line says what was looked at and what is there: `ok`; `note`, what is missing or differs while the tutorial works
all the same; `fail`, what stands in the way; `skip`, what could not be looked at. Exit code 0 where one of the two
routes is open (the environment `cpu` with Pixi, or Python alone), else 1. No line names a user, a host or a path of
this machine; the servers that are named are those of the manifest.

It works with nothing but Python, too, and says then what it could not look at.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import sys
import time
import tomllib
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from pixi_workspace import disk
from pixi_workspace.pypi_index import DEFAULT_INDEX
from workshop import report, timeouts
from workshop.doctor import machine, network
from workshop.doctor.machine import Machine
from workshop.errors import has_four_parts

LIGHT = "cpu"  # the environment in which every exercise but the one about JAX runs without a GPU
DEADLINE = 7.0  # seconds for everything that may hang: driver, tools, network
SILENCE = 4.0  # seconds without a word from a server
# The registry of the image that exercise 5 builds upon; its API answers 401 to those who have not logged in.
CONTAINER_REGISTRY = "https://ghcr.io/v2/"
INSTALL = {
    "nt": 'powershell -ExecutionPolicy ByPass -c "irm -useb https://pixi.sh/install.ps1 | iex"',
    "posix": "curl -fsSL https://pixi.sh/install.sh | sh",
}
BY_PYTHON = 'python3 -m venv .venv && .venv/bin/pip install -e ".[cpu,test]" && .venv/bin/workshop check-all'
PIXI, PYTHON = "with Pixi", "with Python alone"
CONTACT = "look into the README, or send this report to the instructors"
INDENT = 25


@dataclass(frozen=True)
class Row:
    """One thing that was looked at. good: None where it could not be. needed: the routes that it is needed for."""

    group: str
    what: str
    good: bool | None
    found: str
    next_step: str = ""
    needed: tuple[str, ...] = ()
    status: str = ""


@dataclass
class Workshop:
    """What was read of the workshop's own files; a field is None where that could not be read."""

    root: Path
    requires_pixi: str | None = None
    requires_python: str | None = None
    packages: list[str] = field(default_factory=list)  # what the route with Python alone installs
    channels: list[str] = field(default_factory=list)  # addresses
    indexes: list[str] = field(default_factory=list)  # of wheels, by the manifest
    places: list[Any] | None = None
    trouble: str = ""
    advice: str = ""


def main(as_json: bool, offline: bool) -> int:
    """Look, print the report, and return the exit code. offline: ask no server; what they hold is taken as there."""
    until = time.monotonic() + DEADLINE
    found_machine = timeouts.later(machine.look, DEADLINE - 0.5)
    asked = {name: timeouts.later(_version_said, name) for name in ("pixi", "git")}
    here = read(_root())
    servers = [] if offline else _servers(here)
    reached = [(what, url, needed, timeouts.later(network.reach, url, SILENCE)) for what, url, needed in servers]
    mine = timeouts.answer(found_machine, until)
    versions = {name: timeouts.answer(place, until) for name, place in asked.items()}
    rows = [*machine_rows(mine), *tool_rows(here, versions["pixi"], versions["git"]), *disk_rows(here)]
    none = network.Reached(False, f"no answer within {DEADLINE:g} s")
    for what, url, needed, place in reached:
        rows.append(_network_row(what, url, needed, timeouts.answer(place, until) or none))
    if offline:
        rows.append(Row("network", "servers", None, "not asked (--offline): what they hold is taken as there"))
    rows += environment_rows(here, mine)
    rows, routes = judge(rows, here)
    if as_json:
        print(json.dumps(as_document(rows, routes, mine, advice(rows, routes, here)), indent=2))
    else:
        report.put(lines(rows, routes, advice(rows, routes, here)))
    return 0 if any(routes.values()) else 1


# ---------------------------------------------------------------- what there is to look at


def _root() -> Path:
    """The workshop around the current folder, else around this file."""
    for folder in (Path.cwd(), *Path.cwd().parents):
        if any(folder.glob("exercise-[0-9]*/exercise.toml")):
            return folder
    return Path(__file__).resolve().parents[3]


def read(root: Path) -> Workshop:
    """The workshop's manifests and lock, as far as they can be read. Messages about them stay out: they hold paths."""
    here = Workshop(root)
    try:
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        here.requires_python = str(project["requires-python"])
        here.packages = [re.split(r"[<>=!~;\[ ]", text)[0] for text in project["optional-dependencies"]["cpu"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # lifted out of its repository: the route with Python alone cannot be judged
    try:
        head = tomllib.loads((root / "pixi.toml").read_text(encoding="utf-8"))["workspace"]
        here.requires_pixi = str(head.get("requires-pixi", "")) or None
    except (OSError, ValueError, KeyError, AttributeError):
        pass  # said below, by whoever reads all of it
    try:
        from pixi_workspace import environments, manifest
        from pixi_workspace.fit import satisfy_environment
    except ImportError as error:
        here.trouble, here.advice = f"not looked at: {error.name} is not in this Python", "pixi run doctor"
        return here
    name = "pixi.toml"
    try:
        found = manifest.load(manifest.find(root))
        features = [f for environment in found.environments.values() for f in environment.features]
        here.channels = satisfy_environment.channel_urls(satisfy_environment.channels_of(found, features), root)
        options = [found.pypi_options, *(feature.pypi_options for feature in found.features.values())]
        indexes = [url for o in options if o for url in (o.index_url, *o.extra_index_urls) if url]
        here.indexes = list(dict.fromkeys(indexes))
        name = "pixi.lock"
        if not (root / name).exists():
            here.trouble, here.advice = "there is no pixi.lock", "git checkout -- pixi.lock"
        else:
            here.places = environments.look(root)[1]
    except Exception as error:
        if not has_four_parts(error):
            raise
        here.trouble, here.advice = f"{name} cannot be read", "workshop lock-check  # it says where and why"
    return here


def _version_said(name: str) -> str | None:
    """The version that `pixi --version` or `git --version` prints; empty where it prints none; None: no such program.

    Pixi starts tasks with PIXI_EXE, its own place, which need not be on the PATH.
    """
    command = shutil.which(name) or (os.environ.get("PIXI_EXE") if name == "pixi" else None)
    if not command:
        return None
    said = timeouts.output_of([command, "--version"], SILENCE) or ""
    found = re.match(rf"{name}(?: version)? (\d+(?:\.\d+){{1,3}})", said)
    return found[1] if found else ""


def _has_packages(here: Workshop) -> bool:
    """Whether this Python holds what the route with Python alone would install."""

    def is_there(name: str) -> bool:
        try:
            return bool(metadata.version(name))
        except metadata.PackageNotFoundError:
            return False

    return bool(here.packages) and all(map(is_there, here.packages))


def _has_environment(here: Workshop, name: str) -> bool:
    return (here.root / ".pixi" / "envs" / name / "conda-meta").is_dir()


def _servers(here: Workshop) -> list[tuple[str, str, tuple[str, ...]]]:
    """Whom to ask: what it is, its address, and the routes that need it; not what is installed already."""
    channel = () if _has_environment(here, LIGHT) else (PIXI,)
    package = () if _has_packages(here) else (PYTHON,)
    index = os.environ.get("PIP_INDEX_URL", "").strip() or DEFAULT_INDEX
    return [
        *(("conda channel", url, channel) for url in here.channels),
        *(("wheel index", url, ()) for url in here.indexes),
        ("Python packages", index, package),
        ("container registry", CONTAINER_REGISTRY, ()),
    ]


# ---------------------------------------------------------------- what is to be said of it


def machine_rows(mine: Machine | None) -> list[Row]:
    """System, architecture, C library, GPU, driver."""
    if mine is None:
        return [Row("machine", "system", None, "did not say within the time limit what it is")]
    rows = [
        Row("machine", "system", True, mine.system),
        Row("machine", "architecture", True, f"{machine.plain(mine.architecture)}; Pixi's {mine.subdir}"),
    ]
    virtual = mine.virtual or {}
    if (mine.subdir or "").startswith("linux"):
        known = virtual.get("__glibc") or mine.glibc
        rows.append(
            Row("machine", "glibc", bool(known), known or "none: another C library, for which nothing is built")
        )
    if mine.gpus:
        names: dict[str, int] = {}
        for gpu in mine.gpus:
            capability = gpu.get("compute_capability")
            said = f"{gpu['gpu']}, compute capability {capability or 'not known'}"
            names[said] = names.get(said, 0) + 1
        words = "; ".join(f"{count} x {said}" if count > 1 else said for said, count in names.items())
        rows.append(Row("machine", "GPU", True, words))
    else:
        rows.append(Row("machine", "GPU", False, "none that nvidia-smi knows of: the exercises run on the CPU"))
    cuda, driver = virtual.get("__cuda"), mine.gpus[0]["driver"] if mine.gpus else None
    said = f"driver {driver}; " if driver else "no NVIDIA driver answers; "
    said += f"CUDA {cuda} for Pixi (__cuda)" if cuda else "no CUDA for Pixi (no __cuda)"
    rows.append(Row("machine", "driver", bool(cuda), said))
    rows += [
        Row("machine", "override", None, f"{name} is set: Pixi takes its value, whatever the machine has")
        for name in mine.overridden
    ]
    return rows + [Row("machine", "trouble", None, words) for words in mine.trouble]


def tool_rows(here: Workshop, pixi: str | None, git: str | None) -> list[Row]:
    """Pixi, git and Python; a version is None where there is no such program, empty where it says none."""
    wanted = here.requires_pixi
    if pixi is None and (Path.home() / ".pixi" / "bin" / ("pixi.exe" if os.name == "nt" else "pixi")).exists():
        row = Row("tools", "Pixi", False, "installed, but this terminal does not find it", "open a new terminal")
    elif pixi is None:
        row = Row("tools", "Pixi", False, "not found", f"{INSTALL[os.name]}  # then open a new terminal")
    elif not pixi:
        row = Row("tools", "Pixi", False, "there, but `pixi --version` says no version", INSTALL[os.name])
    elif wanted and not within(pixi, wanted):
        row = Row("tools", "Pixi", False, f"{pixi}, and the workshop asks for {wanted}", "pixi self-update")
    else:
        row = Row("tools", "Pixi", True, f"{pixi}" + (f" ({wanted} is asked for)" if wanted else ""))
    rows = [replace(row, needed=(PIXI,))]
    said = git or ("there, but says no version" if git == "" else "not found: reset and diff need it, updates too")
    rows.append(Row("tools", "git", bool(git), said, "" if git else "install git with your system's package manager"))
    version, wanted = ".".join(map(str, sys.version_info[:3])), here.requires_python
    if wanted and not within(version, wanted):
        row = Row("tools", "Python", False, f"{version}, and the route without Pixi asks for {wanted}")
    elif not importlib.util.find_spec("ensurepip") and sys.prefix == sys.base_prefix:
        row = Row("tools", "Python", False, f"{version}, without `venv`", "sudo apt-get install python3-venv")
    else:
        row = Row(
            "tools", "Python", bool(wanted) or None, f"{version}" + (f" ({wanted} is asked for)" if wanted else "")
        )
    return [*rows, replace(row, needed=(PYTHON,))]


def within(version: str, spec: str) -> bool:
    """Whether `0.77.0` meets `>=0.71,<1`: comparisons with numbers, which is what the manifests of the workshop use."""
    have = tuple(map(int, version.split(".")))
    for operator, text in re.findall(r"(>=|<=|==|!=|<|>)\s*v?(\d+(?:\.\d+)*)", spec):
        bound = tuple(map(int, text.split(".")))
        same = have[: len(bound)] == bound
        if not {
            ">=": have >= bound,
            "<=": have <= bound or same,
            "<": have < bound and not same,
            ">": have > bound and not same,
            "==": same,
            "!=": not same,
        }[operator]:
            return False
    return True


def disk_rows(here: Workshop) -> list[Row]:
    free = disk.free(disk.environments_folder(here.root))
    if free is None:
        return [Row("disk", "free", None, "the system does not say how much")]
    return [Row("disk", "free", True, f"{report.mebibytes(free)} where Pixi puts environments (a quota is not seen)")]


def _network_row(what: str, url: str, needed: tuple[str, ...], found: network.Reached) -> Row:
    host, advice = machine.plain(network.host_of(url)), ""
    if found.tls:
        advice = "set SSL_CERT_FILE to your organisation's certificates (Pixi reads it, too)"
    elif found.answers is False:
        advice = "go online, have this server let through, or set HTTPS_PROXY to your proxy"
    return Row("network", what, found.answers, f"{host}: {found.words}", advice, needed)


def environment_rows(here: Workshop, mine: Machine | None) -> list[Row]:
    """Which environments run here, and why not the others."""
    if here.places is None:
        unread = None if here.trouble.startswith("not looked at") else False
        return [Row("environments", "all", unread, here.trouble, here.advice, (PIXI,))]
    free = disk.free(disk.environments_folder(here.root))
    rows = []
    for name in dict.fromkeys(place.environment for place in here.places):
        places = [place for place in here.places if place.environment == name]
        good, words, advice = runs_here(places, mine, free, _has_environment(here, name))
        rows.append(Row("environments", name, good, words, advice, (PIXI,) if name == LIGHT else ()))
    return rows


def runs_here(
    places: list[Any], mine: Machine | None, free: int | None, is_installed: bool
) -> tuple[bool | None, str, str]:
    """Whether this machine runs an environment, given on all its platforms; in words, why or why not; the next step.

    By Pixi's rules (`needs.unmet`). None where the machine does not tell what it has.
    """
    from pixi_workspace import needs

    if mine is None or mine.subdir is None or mine.virtual is None:
        return None, "not known: what this machine has could not be found out", ""
    subdirs = (mine.subdir, *needs.ALSO_RUNS.get(mine.subdir, ()))
    here = [place for subdir in subdirs for place in places if place.platform.subdir == subdir]
    if not here:
        listed = ", ".join(dict.fromkeys(place.platform.subdir for place in places)) or "no platform"
        return False, f"locked for {listed}; this machine is {mine.subdir}", ""
    lacks = [(place, *needs.unmet(place, mine.virtual)) for place in here]
    taken = next(((place, of_packages) for place, of_platform, of_packages in lacks if not of_platform), None)
    if taken is None:
        place, of_platform, of_packages = lacks[0]
        words = in_words(of_platform[0], mine)
        if not any(of_packages for _, _, of_packages in lacks):
            words += "; its packages do not ask for it, so Pixi may install it with a mere warning"
        return False, words, ""
    place, of_packages = taken
    if of_packages:
        return False, in_words(of_packages[0], mine), ""
    if not place.packages:
        return False, f"nothing is locked for {place.platform.name}", "pixi lock"
    size, unknown = needs.download(place)
    if is_installed:
        return True, f"runs here, as {place.platform.name}; installed", ""
    more = f" (and {unknown} packages of unknown size)" if unknown else ""
    need = f"{report.mebibytes(size)} to download{more}, more when unpacked"
    if free is not None and free < size:
        return False, f"would run here, but does not fit: {need}; {report.mebibytes(free)} are free", "free some disk"
    return True, f"runs here, as {place.platform.name}; {need}", ""


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


# ---------------------------------------------------------------- the verdict


def judge(rows: list[Row], here: Workshop) -> tuple[list[Row], dict[str, bool]]:
    """The rows with their status, and which routes are open: those for which nothing is known to be missing."""
    closed = {route for row in rows if row.good is False for route in row.needed}
    if not here.packages:
        closed.add(PYTHON)
    routes = {route: route not in closed for route in (PIXI, PYTHON)}
    in_the_way = "note" if any(routes.values()) else "fail"
    status = {True: "ok", None: "skip", False: "note"}
    return [
        replace(row, status=in_the_way if row.good is False and row.needed else status[row.good]) for row in rows
    ], routes


def advice(rows: list[Row], routes: dict[str, bool], here: Workshop) -> str:
    """What to type next."""
    if routes[PIXI]:
        return "pixi run train-torch"
    if routes[PYTHON]:
        return "workshop check-all" if _has_packages(here) else BY_PYTHON
    steps = [row.next_step for row in rows if row.good is False and row.needed and row.next_step]
    return steps[0] if steps else CONTACT


def as_document(rows: list[Row], routes: dict[str, bool], mine: Machine | None, next_step: str) -> dict[str, Any]:
    """The report for machines; the keys stay."""
    about = None if mine is None else asdict(mine)
    listed = [
        {"group": r.group, "what": r.what, "status": r.status, "found": r.found, "next": r.next_step} for r in rows
    ]
    return {
        "ready": any(routes.values()),
        "routes": {"pixi": routes[PIXI], "python": routes[PYTHON]},
        "machine": about,
        "rows": listed,
        "next": next_step,
    }


def lines(rows: list[Row], routes: dict[str, bool], next_step: str) -> list[str]:
    """The report for people. Next steps stand on a line of their own, however long, so that they can be pasted."""
    printed: list[str] = []
    group, told = "", ""
    for row in rows:
        if row.group != group:
            group = row.group
            printed += ["", group] if printed else [group]
        printed += report.beside(f"{row.status:5} {row.what}", row.found, INDENT)
        if row.next_step and row.good is False and row.next_step != told:  # several servers have one reason, mostly
            told = row.next_step
            printed.append(f"{'':5} next: {told}")
    ways = [route for route, is_open in routes.items() if is_open]
    printed += ["", f"ready: {' and '.join(ways) if ways else 'no'}"]
    return [*printed, f"next:  {next_step}"]
