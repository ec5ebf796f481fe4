"""`workshop runs`: the finished and the interrupted runs of this clone, newest first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from workshop import shell
from workshop.exercises import root_folder
from workshop.runs import data
from workshop.runs.records import provenance, record
from workshop.support.files import read_bytes, sha256_of, write_atomic
from workshop.support.report import print_lines
from workshop.support.terminal import one_line

VERDICTS = "verdicts"  # folder in the cache


def main(as_json: bool) -> int:
    """Print a line for each run: when it ended, where it is, device, seed, metrics, verified or not; 0."""
    found = runs_in(root_folder() / "results")
    if as_json:
        print(json.dumps({"runs": found}, indent=2, ensure_ascii=False))
    elif not found:
        print_lines(["no runs yet; the first one: " + shell.script(Path("exercise-2-pytorch-cu12/solution/train.py"))])
    else:
        print_lines([line for run in found for line in _lines(run)])
    return 0


def runs_in(results: Path) -> list[dict[str, Any]]:
    """What is known about each run under `results`, newest first. state: finished, running, interrupted or unreadable."""
    found = [_described(path.parent) for path in _each(results, "*/run.json") if path.parent.suffix != ".partial"]
    for path in _each(results, f"*.partial/{record.CHECKPOINT}"):
        found.append(_interrupted(results, path.parent))
    for path in _each(results, f"*.partial/{record.PROGRESS}"):
        found.append(_interrupted(results, path.parent) | _how_far(path))
    return sorted(found, key=lambda run: (run["ended"], run["run"]), reverse=True)


def _each(results: Path, pattern: str) -> list[Path]:
    """The files of runs: in results/EXERCISE/, or in results/ itself, by `--output results/NAME`."""
    return [*results.glob(f"*/{pattern}"), *results.glob(pattern)]


def _interrupted(results: Path, folder: Path) -> dict[str, Any]:
    exercise = folder.parent.name if folder.parent != results else "(unknown)"
    return {"state": "interrupted", "exercise": exercise, "run": str(folder), "ended": ""}


def remember(folder: Path, verdict: str) -> None:
    """Keep the verdict about a run in the cache folder, by the content of its run.json, for this list alone."""
    place = data.cache_folder() / VERDICTS
    try:
        place.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"verdict": verdict, "when": provenance.now()})
        write_atomic(place / f"{sha256_of(folder / 'run.json')}.json", text.encode())
    except OSError:
        pass  # without room for it, the list says "not verified"


def verdict_about(folder: Path) -> dict[str, str] | None:
    """The last verdict of `workshop verify` about this run, and when; None if there is none, or run.json has changed."""
    try:
        path = data.cache_folder() / VERDICTS / f"{sha256_of(folder / 'run.json')}.json"
        found = json.loads(read_bytes(path))
        return {"verdict": str(found["verdict"]), "when": str(found["when"])}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _described(folder: Path) -> dict[str, Any]:
    known: dict[str, Any] = {"exercise": folder.parent.name, "run": str(folder), "ended": ""}
    try:
        run = json.loads(read_bytes(folder / "run.json"))
        metrics = {metric["name"]: metric["value"] for metric in run["metrics"]}
        return known | {
            "state": "finished",
            "ended": run["ended"],
            "device": run["device"]["name"],
            "seed": run["seed"],
            "data": run["dataset"]["name"],
            "metrics": metrics,
            "verified": verdict_about(folder),
        }
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return known | {"state": "unreadable"}


def _how_far(path: Path) -> dict[str, Any]:
    """How far a scan is that runs, or that was killed. Finished fits of a killed scan are kept in its journal."""
    try:
        progress = {str(key): value for key, value in json.loads(read_bytes(path)).items()}
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}
    return {"progress": progress} | ({"state": "running"} if record.is_running(path.parent) else {})


def _lines(run: dict[str, Any]) -> list[str]:
    place = shell.relative(Path(run["run"]))
    if run["state"] != "finished":
        how_far = f", {one_line(str(run['progress'].get('text', '')))}" if "progress" in run else ""
        return [f"{'-':16}  {place}: {run['state']}{how_far}"]
    metrics = ", ".join(f"{name} {value:.6g}" for name, value in run["metrics"].items())
    when, verified = run["ended"][:16].replace("T", " "), run["verified"]
    state = f"{verified['verdict']} ({verified['when'][:10]})" if verified else "not verified"
    lines = [f"{when}  {place}", f"{'':18}{run['data']}, seed {run['seed']}, {run['device']}: {metrics}"]
    return [*lines, f"{'':18}{state}"]
