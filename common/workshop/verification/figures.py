"""`workshop reproduce-readme`: run the commands behind the figures on the pages again, and print old against new.

benchmarks/results.json holds each figure with its command. A command writes a JSON file like the one in benchmarks/ that
the figure on the page comes from.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from workshop.errors import WorkshopError
from workshop.exercises import root_folder
from workshop.support.hardware import cpu_name, nvidia_smi
from workshop.support.report import print_lines
from workshop.support.text import closest_match

RESULTS = "benchmarks/results.json"


@dataclass(frozen=True)
class Compared:
    """A figure as the page gives it and as it was measured now. state: `ok`, `fail`, `note` (not judged) or `skip`."""

    name: str
    page: str
    recorded: str
    here: str | None
    state: str
    note: str


def main(only: list[str], list_only: bool, as_json: bool) -> int:
    """Print old against new; 0, or 1 if a figure is outside its tolerance or a command failed."""
    root = root_folder()
    document = json.loads((root / RESULTS).read_text(encoding="utf-8"))
    figures = chosen(document, only)
    if list_only:
        print_lines([line for command in document["commands"] for line in _listed(document, command, figures)])
        return 0
    rows = reproduce(root, document, figures)
    if as_json:
        print(json.dumps({"figures": [asdict(row) for row in rows]}, indent=2, ensure_ascii=False))
    else:
        print_lines([f"  {row.state:5}{row.name}: {row.recorded} | {row.here or '-'}; {row.note}" for row in rows])
    return 1 if any(row.state == "fail" for row in rows) else 0


def chosen(document: dict[str, Any], only: Iterable[str]) -> list[dict[str, Any]]:
    """The figures with these names, or of the commands with these names; all of them without any."""
    names = {figure["name"] for figure in document["figures"]} | set(document["commands"])
    for name in only:
        if name not in names:
            near = closest_match(name, names)
            raise WorkshopError(
                looked_at=f"--only {name}",
                expected="a figure or a command of " + RESULTS,
                found=f"neither{f'; did you mean {near}?' if near else ''}",
                next_step="workshop reproduce-readme --list",
            )
    return [f for f in document["figures"] if not only or {f["name"], f["command"]} & set(only)]


def reproduce(root: Path, document: dict[str, Any], figures: list[dict[str, Any]]) -> list[Compared]:
    """Each figure compared. Every command runs once, in the folder `root`."""
    rows = []
    for name in dict.fromkeys(figure["command"] for figure in figures):
        command = document["commands"][name]
        same = [figure for figure in figures if figure["command"] == name]
        if command.get("needs") == "gpu" and not nvidia_smi().get("gpu"):
            rows += [_row(figure, None, "skip", "needs an NVIDIA GPU, and there is none here") for figure in same]
            continue
        print(f"{name}, about {command['minutes']} min: {command['command']}", file=sys.stderr, flush=True)
        recorded = json.loads((root / command["file"]).read_text(encoding="utf-8"))
        here, problem = measured(root, command["command"])
        rows += [
            _row(figure, None, "fail", problem) if here is None else compare(figure, recorded, here) for figure in same
        ]
    return rows


def measured(root: Path, command: str) -> tuple[dict[str, Any] | None, str]:
    """What a command writes to its `{output}`; None, with the reason, if it fails. `$(...)` is a command before it."""
    with tempfile.TemporaryDirectory(prefix="workshop-figures-") as folder:
        output = Path(folder, "figures.json")
        while inner := re.search(r"\$\((.+?)\)", command):
            done = _run(root, shlex.split(inner[1]))
            if done.returncode != 0:
                return None, f"`{inner[1]}` failed: {_last_line(done)}"
            command = command.replace(inner[0], shlex.quote(done.stdout.strip()))
        done = _run(root, [word.replace("{output}", str(output)) for word in shlex.split(command)])
        if not output.is_file():
            return None, f"exit code {done.returncode}: {_last_line(done)}"
        return json.loads(output.read_text(encoding="utf-8")), ""


def _run(root: Path, words: list[str]) -> subprocess.CompletedProcess[str]:
    words = [sys.executable if word == "python" else word for word in words]
    variables = os.environ | {"PYTHONPATH": str(root / "common")}
    return subprocess.run(words, cwd=root, env=variables, capture_output=True, text=True)


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    return next(reversed((done.stderr or done.stdout).strip().splitlines()), "nothing was printed")


def compare(figure: dict[str, Any], recorded: dict[str, Any], here: dict[str, Any]) -> Compared:
    """A figure in two files of its command. Seconds are judged on the recorded processor alone."""
    try:
        old, new = (look_up(document, figure) for document in (recorded, here))
    except LookupError:
        return _row(figure, None, "note", "not measured here: this machine lacks its data or its packages")
    difference, tolerance = abs(new - old) / abs(old), figure["tolerance"]
    note = f"differs by {difference:.0%}, tolerance {tolerance['relative']:.0%}: {tolerance['reason']}"
    processor = recorded.get("machine", {}).get("cpu")
    if figure.get("of_processor") and processor != cpu_name():
        return _row(figure, new, "note", f"not judged: measured on {processor}, this is {cpu_name()}")
    return _row(figure, new, "ok" if difference <= tolerance["relative"] else "fail", note)


def look_up(document: Any, figure: dict[str, Any]) -> float:
    """The number at `key`: names, positions, and for a list of objects the values that the right one has.

    Raises LookupError where there is none.
    """
    for step in figure["key"]:
        if isinstance(step, dict):
            matching = [each for each in document if all(each.get(name) == value for name, value in step.items())]
            document = matching[0]
        else:
            document = document[step]
    return float(document) * figure.get("scale", 1)


def _row(figure: dict[str, Any], here: float | None, state: str, note: str) -> Compared:
    text = figure["text"]
    shown = None if here is None else text.format(here)
    return Compared(figure["name"], figure["page"], text.format(figure["value"]), shown, state, note)


def _listed(document: dict[str, Any], name: str, figures: list[dict[str, Any]]) -> list[str]:
    mine = [figure for figure in figures if figure["command"] == name]
    command = document["commands"][name]
    head = f"{name}: {command['command']}  # about {command['minutes']} min"
    return [head, *(f"  {f['name']}: {f['page']}: {f['text'].format(f['value'])}" for f in mine)] if mine else []
