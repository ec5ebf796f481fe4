"""The command `workshop scan`.

    workshop scan                                                             a small generated search, 125 hypotheses
    workshop scan --workspace BkgOnly.json --patchset patchset.json           a published search in pyhf's JSON format
    workshop scan --workspace BkgOnly.json --patch signal.json                one signal, as a plain JSON patch
    workshop scan --likelihood 1Lbb                                           ATLAS 1Lbb, downloaded from HEPData
    workshop scan --executor processes                                        with every core of this machine
    workshop scan --executor parsl --config my-slurm.py                       with the nodes of a cluster
    workshop scan --likelihood 1Lbb --backend jax                             on a GPU, for large likelihoods

If a scan is interrupted, run the same command again: it continues where it stopped.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import json
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from histfactory import (
    Hypothesis,
    Model,
    Scan,
    compile_models,
    digest,
    on_jax,
    read_hypotheses,
    read_json,
    read_patched,
)
from workshop.errors import WorkshopError
from workshop.runs import search
from workshop.runs.records import record
from workshop.scan import distribute, engines, journal, published
from workshop.scan.options import parse_arguments
from workshop.scan.progress import Progress
from workshop.scan.worker import Entry, crowded
from workshop.support.hardware import cores, cpu_name

EXERCISE = "exercise-1-scipy"
SCRIPT = Path(__file__).resolve().parents[1] / "__main__.py"  # run.json records it, so its command line can be repeated


@dataclass
class Search:
    """What is to be fitted. name, sha256: of the input, for limits.json. labels: of the coordinates of a hypothesis."""

    name: str
    sha256: str
    labels: list[str]
    hypotheses: list[Hypothesis]


def read_search(args: argparse.Namespace) -> Search:
    """The search that the options name."""
    if args.likelihood:
        args.workspace, args.patchset = map(str, published.fetch(args.likelihood))
    if args.workspace:
        workspace, names = read_json(args.workspace), (args.workspace, args.patchset or "")
        patchset = read_json(args.patchset) if args.patchset else None
        if args.patch:
            patches = {path: read_json(path) for path in args.patch}
            hypothesis = read_patched(workspace, patches, args.measurement, args.workspace)
            name = Path(args.workspace).name
            return Search(name, digest([workspace, *patches.values()]), [], [hypothesis])
    else:
        workspace, patchset = search.generate(np.random.default_rng(args.seed))
        names = ("the generated workspace", "the generated patch set")
    labels, hypotheses = read_hypotheses(workspace, patchset, args.measurement, *names)
    name = args.likelihood or Path(args.workspace or "generated").name
    return Search(name, digest([workspace, patchset]), labels, hypotheses)


def select_hypotheses(models: list[Model], hypotheses: list[Hypothesis], args: argparse.Namespace) -> set[str]:
    """The names of the hypotheses to fit. Raises WorkshopError if the options match no hypothesis or allow no limit."""
    selected = {h.name for h in hypotheses if args.only is None or fnmatch.fnmatchcase(h.name, args.only)}
    if not selected:
        examples = ", ".join(h.name for h in hypotheses[:3])
        raise WorkshopError(
            looked_at="--only",
            expected=f"a pattern that matches some of {len(hypotheses)} names ({examples}, ...)",
            found=repr(args.only),
            next_step="--only '*'",
        )
    signal = {
        name for model in models for name, has_signal in zip(model.names, model.has_signal, strict=True) if has_signal
    }
    if not selected & signal:
        raise WorkshopError(
            looked_at=args.workspace or "the workspace",
            expected=f"a sample scaled by the parameter of interest {models[0].parameters[models[0].poi]!r}",
            found="no signal in any channel, so CLs is 1 for every hypothesis, whatever the data",
            next_step="give a patch set with --patchset",
        )
    for model in models:
        low, high = model.lower[:, model.poi].max(), model.upper[:, model.poi].min()
        if not low <= args.mu <= high:
            raise WorkshopError(
                looked_at="--mu",
                expected=f"a value within the bounds of the parameter of interest, {low:g} to {high:g}",
                found=f"{args.mu:g}",
                next_step="--mu 1",
            )
    return selected


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code. Raises WorkshopError or HistFactoryError."""
    args = parse_arguments(argv)
    start_time = time.perf_counter()
    task = read_search(args)
    models = compile_models(task.hypotheses)
    selected = select_hypotheses(models, task.hypotheses, args)
    warnings = warnings_about(models)
    compile_time = time.perf_counter()
    with record.run_folder(EXERCISE, str(SCRIPT), args) as run:
        assert run is not None  # it is None only in other processes of torchrun
        key = key_of(task, args)
        fits, failures = fit(models, selected, task, run, key, args)
        fits |= {name: failed_entry(name, reason) for name, reason in failures.items()}
        fit_time = time.perf_counter()
        entries = [
            {**fits[h.name], "labels": dict(zip(task.labels, h.values, strict=True))}
            for h in task.hypotheses
            if h.name in selected
        ]
        document = document_of(task, entries, warnings, args)
        with advice_to_continue(fits):
            n_excluded, has_contour = search.write_limits(run.folder, document, task.name)
            folder = record.finish(
                run,
                ("numpy", "scipy", "matplotlib", "jsonpatch", *(("jax", "jaxlib") if args.backend == "jax" else ())),
                seed=args.seed,
                **settings_of(args.backend),
                dataset={"name": task.name, "sha256": task.sha256},
                metrics=[{"name": "hypotheses", "value": len(entries)}, {"name": "excluded", "value": n_excluded}],
            )
        if not failures:
            journal_of(run, key).unlink(missing_ok=True)
    files = f"{folder}/limits.json" + (", contour.png" if has_contour else "")
    counted = "1 hypothesis" if len(entries) == 1 else f"{len(entries)} hypotheses"
    print(f"{counted}, {n_excluded} excluded at 95 % CL: {files}")
    print(
        f"read and compiled {compile_time - start_time:.2f} s, fits {fit_time - compile_time:.2f} s, "
        f"figure and record {time.perf_counter() - fit_time:.2f} s"
    )
    print_notes(warnings, entries, failures)
    return 1 if failures else 0


def key_of(task: Search, args: argparse.Namespace) -> str:
    """A sha256 of everything that determines the numbers. It identifies the scan in its journal."""
    settings = [task.sha256, args.measurement, args.mu, search.SCHEMA, args.upper_limit]
    settings += [args.backend] if args.backend != "numpy" else []  # its last digits differ
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()


def document_of(task: Search, entries: list[Entry], warnings: list[str], args: argparse.Namespace) -> dict[str, Any]:
    """The content of limits.json (exercise-1-scipy/limits.schema.json)."""
    return {
        "schema": search.SCHEMA,
        "input": task.name,
        "sha256": task.sha256,
        "measurement": task.hypotheses[0].measurement["name"],
        "mu": args.mu,
        "labels": task.labels,
        **({"upper_limit_level": search.LEVEL} if args.upper_limit else {}),
        **({"warnings": warnings} if warnings else {}),
        "hypotheses": entries,
    }


def print_notes(warnings: list[str], entries: list[Entry], failures: dict[str, str]) -> None:
    """Print to stderr what the user should know about the input and about single hypotheses."""
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for entry in entries:
        if not entry["converged"]:
            print(f"not converged, no number given: {entry['name']} ({entry['reason']})", file=sys.stderr)
        elif "note" in entry:
            print(f"{entry['name']}: {entry['note']}", file=sys.stderr)
    if failures:
        print("the other results are kept: run the same command to try these hypotheses again", file=sys.stderr)


def settings_of(backend: str) -> dict[str, dict]:
    """The entries `determinism` and `device` of run.json."""
    here, same = {"type": "cpu", "name": cpu_name()}, "results do not depend on it"
    if backend == "numpy":
        return {"determinism": {"threads": 1, "chunking": same, "backend": "numpy"}, "device": here}
    on_gpu, name = on_jax.first_device()
    chunking = "the last digits depend on it, on the device and on the version of JAX"
    device = {"type": "cuda", "name": name} if on_gpu else here
    return {"determinism": {"chunking": chunking, "backend": "jax"}, "device": device}


def failed_entry(name: str, reason: str) -> Entry:
    """The entry of a hypothesis that has no result."""
    return {"name": name, "cls_obs": None, "cls_exp": None, "converged": False, "reason": reason}


def warnings_about(models: list[Model]) -> list[str]:
    """Warnings about input that can be fitted but may not mean what the user expects."""
    warnings = []
    for model in models:
        lowest = model.lower[:, model.poi].min()
        text = f"the parameter of interest {model.parameters[model.poi]!r} has the lower bound {lowest:g}, but q-tilde"
        text += " assumes that a signal strength is at least 0: give it bounds from 0 on in the measurement"
        if lowest < 0 and text not in warnings:
            warnings.append(text)
    return warnings


def fit(
    models: list[Model], selected: set[str], task: Search, run: record.Folder, key: str, args: argparse.Namespace
) -> tuple[dict[str, Entry], dict[str, str]]:
    """The entries of the selected hypotheses by name, from the journal of an interrupted scan or from new fits.

    Also the reasons of hypotheses without an entry, by name. key: identifies the scan in its journal.
    """
    labels, values = task.labels, {h.name: list(h.values) for h in task.hypotheses}
    journal_path = journal_of(run, key)
    with journal.opened(journal_path, key) as (kept, append):
        entries = {name: entry for name, entry in kept.items() if name in selected}
        if entries:
            print(f"{len(entries)} of {len(selected)} hypotheses were fitted before", file=sys.stderr)
        progress = Progress(len(selected), entries, run.folder, args.live and Path(args.live), labels, values)

        def report(new: list[Entry], worker: str) -> None:
            new = [entry for entry in new if entry["name"] not in entries]
            append(new)
            entries.update((entry["name"], entry) for entry in new)
            progress.update(worker)

        with advice_to_continue(entries), closing(progress):
            progress.update()
            scans, missing = [Scan(model, args.backend) for model in models], selected - entries.keys()
            for scan in scans:
                if scan.likelihood.backend and (note := scan.likelihood.backend.note):
                    print(f"note: {note}", file=sys.stderr)
            failures = distribute_to(args, scans, missing, report, journal_path.with_suffix(".parsl"))
    return entries, failures


@contextmanager
def advice_to_continue(entries: dict[str, Entry]) -> Iterator[None]:
    """If the block ends early, and some fits are in the journal, print how to continue. A WorkshopError has its advice."""
    try:
        yield
    except BaseException as error:
        if entries and not isinstance(error, WorkshopError):
            print("finished fits are saved: run the same command to continue", file=sys.stderr)
        raise


def journal_of(run: record.Folder, key: str) -> Path:
    """The file with the finished fits of a scan. Its name depends on everything that determines the numbers."""
    return run.final.parent / f".scan-{key[:16]}.jsonl"


def distribute_to(
    args: argparse.Namespace, scans: list[Scan], names: set[str], report: distribute.Report, scratch: Path
) -> dict[str, str]:
    """Fit the named hypotheses with the executor of the options; the reasons of those that failed, by name."""
    settings = {"upper_limit": args.upper_limit, "time_limit": args.time_limit}
    kind = args.executor
    if kind is None and (args.workers or 1) > 1:
        kind = engines.threads_or_processes([scan.model for scan in scans], args.time_limit)
    if kind is None or not names:
        return distribute.fit_all(scans, names, args.mu, None, report, **settings)
    workers = args.workers or cores()
    if kind in ("threads", "processes"):
        if text := crowded(workers, cores()):
            print(text, file=sys.stderr)
        workers = min(workers, len(names))
    with engines.opened(kind, args.config, workers, scratch) as engine:
        settings |= {"workers": engine.workers, "restart": engine.restart, "logs": engine.logs}
        return distribute.fit_all(scans, names, args.mu, engine.executor, report, **settings)
