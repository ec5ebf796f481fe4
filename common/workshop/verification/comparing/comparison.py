"""Two records held side by side: outputs, metrics, and everything that may explain why they differ."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from workshop.runs.records import provenance
from workshop.verification.comparing import causes, contents, drawing
from workshop.verification.comparing.row import Row
from workshop.verification.received import Received

# What two equal runs still do not share. Everything else in run.json is compared.
NOT_COMPARED = {
    "started, ended": "when a run was made",
    "host: os, kernel, glibc, cpu_count": "facts about the machine; what matters of them is under device",
    "job": "which job made the run",
    "argv: the paths after --output and --limits, --resume": "where the run was written",
    "paths of script, manifest and lock": "they depend on the folder that the command was typed in",
}


def outputs(run: Received, other: Received) -> list[Row]:
    """The recorded outputs, by sha256; figures by their pixels. For an SVG, the PNG beside it shows the same picture."""
    there = {output["path"]: output["sha256"] for output in other.record["outputs"]}
    rows = []
    for output in run.record["outputs"]:
        name, recorded = output["path"], output["sha256"]
        here, note = there.get(name), ""
        same = here == recorded
        picture = Path(name).with_suffix(".png")
        if (
            here
            and not same
            and name.endswith((".png", ".svg"))
            and same_pixels(run.folder / picture, other.folder / picture)
        ):
            same = True
            note = "the same pixels in another file" if name.endswith(".png") else f"{picture} has the same pixels"
        rows.append(Row(name, recorded, here, same, note))
    rows += [Row(name, None, sha256, False) for name, sha256 in there.items() if name not in {r.name for r in rows}]
    return rows


def same_pixels(path: Path, other: Path) -> bool:
    """Whether two PNG files show the same picture. Their headers name the version of Matplotlib."""
    import numpy as np

    first, second = drawing.pixels(path), drawing.pixels(other)
    if first is None or second is None:
        return False
    return first.shape == second.shape and bool(np.array_equal(first, second))


def metrics(run: Received, other: Received) -> list[Row]:
    """Each recorded metric: within its tolerance, where the exercise states one; a count has to be equal.

    Then the numbers in the outputs themselves: CLs of limits.json, logits of a prediction.
    """
    there = {metric["name"]: metric["value"] for metric in other.record["metrics"]}
    rows = []
    for metric in run.record["metrics"]:
        value, here, tolerance = metric["value"], there.get(metric["name"]), metric.get("tolerance")
        same, note = None, "no tolerance is stated: not judged"
        if here is None or not (math.isfinite(value) and math.isfinite(here)):
            same, note = False, "missing" if here is None else "not a finite number"
        elif tolerance:
            same = abs(value - here) <= tolerance["absolute"]
            note = f"differs by {abs(value - here):.6g}, tolerance {tolerance['absolute']:g}: {tolerance['reason']}"
        elif float(value).is_integer():
            same, note = value == here, "a count: equal" if value == here else "a count: has to be equal"
        elif value == here:
            same, note = True, "equal"
        rows.append(Row(metric["name"], value, here, same, note))
    rows += contents.rows(run.folder, other.folder, run.record)
    if found := other.record.get("comparison"):
        note = f"largest difference of a logit {found['largest_relative']:.3g}, tolerance {found['tolerance']['relative']:g}"
        rows.append(
            Row("comparison", run.record.get("comparison", {}).get("inside"), found["inside"], found["inside"], note)
        )
    return rows


def differences(run: Received, other: Received) -> list[Row]:
    """What is not the same in the two records, most likely cause first. note: what such a change was measured to do."""
    found = [row for row in _facts(run.record, other.record) if not row.same]
    return [replace(row, note=causes.measured(row.name, run.record["exercise"])) for row in found]


def _facts(a: dict[str, Any], b: dict[str, Any]) -> Iterator[Row]:
    def row(name: str, recorded: Any, here: Any, note: str = "") -> Row:
        return Row(name, recorded, here, recorded == here, note)

    yield row(
        "data", f"{a['dataset']['name']} {a['dataset']['sha256']}", f"{b['dataset']['name']} {b['dataset']['sha256']}"
    )
    yield row("script", a["script"]["sha256"], b["script"]["sha256"])
    yield row("arguments", " ".join(arguments_of(a)), " ".join(arguments_of(b)))
    yield row("seed", a["seed"], b["seed"])
    yield row("hyperparameters", a.get("hyperparameters"), b.get("hyperparameters"))
    yield row("processes", a.get("processes", 1), b.get("processes", 1))
    yield row("manifest", (a["manifest"] or {}).get("sha256"), (b["manifest"] or {}).get("sha256"))
    yield row("lock", a["environment"].get("lock", {}).get("sha256"), b["environment"].get("lock", {}).get("sha256"))
    for name, (there, here) in provenance.versions_that_differ(a, b).items():
        yield Row(f"package {name}", there, here, False)
    yield row("python", a["host"]["python"], b["host"]["python"])
    ours, theirs = set(a["environment"].get("installed", [])), set(b["environment"].get("installed", []))
    if ours and theirs and ours != theirs:
        yield Row(
            "installed packages", _some(ours - theirs), _some(theirs - ours), False, "the other ones are the same"
        )
    for key in sorted(a["device"].keys() | b["device"].keys()):
        yield row(f"device: {key}", a["device"].get(key), b["device"].get(key))
    yield row("driver", a["host"]["driver"], b["host"]["driver"])
    for key in sorted(a["determinism"].keys() | b["determinism"].keys()):
        yield row(f"setting {key}", *(_flags_once(key, record["determinism"].get(key)) for record in (a, b)))
    for key in sorted(a["variables"].keys() | b["variables"].keys()):
        yield row(f"variable {key}", *(_flags_once(key, record["variables"].get(key)) for record in (a, b)))
    yield row("system", f"{a['host']['arch']}, {a['host']['os']}", f"{b['host']['arch']}, {b['host']['os']}")


def _flags_once(name: str, value: Any) -> Any:
    """XLA's flags without repetitions: a script that adds one adds it again where `verify` sets the recorded value."""
    return " ".join(dict.fromkeys(value.split())) if name.lower() == "xla_flags" and value else value


def arguments_of(record: dict[str, Any]) -> list[str]:
    """The recorded arguments, without --resume and those that name where the run, a copy of its limits or its parent is."""
    words, given = [], iter(record["argv"][1:])
    parents = (record["parent"]["run"], "run.json") if "parent" in record else ()
    for word in given:
        if word in ("--output", "--limits"):
            next(given, None)
        elif word != "--resume" and not word.startswith(("--output=", "--limits=")) and Path(word).name not in parents:
            words.append(word)
    return words


def _some(lines: set[str], most: int = 8) -> str:
    shown = sorted(lines)[:most]
    return ", ".join(shown) + (f" and {len(lines) - most} more" if len(lines) > most else "") or "none"
