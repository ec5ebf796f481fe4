"""Exercise 1: CLs of every signal hypothesis of a search, and the exclusion contour.

    python scan.py                                               a small generated search, 125 hypotheses
    python scan.py --workspace BkgOnly.json --patchset patchset.json   a published one, pyhf's JSON
    python scan.py --likelihood 1Lbb                             ATLAS 1Lbb, downloaded from HEPData

A scan that was interrupted goes on where it was when the same command is given again.
"""

from __future__ import annotations

import os

# One thread a process, before NumPy is imported: the matrices are small, and processes do the sharing.
for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import sys  # noqa: E402
from pathlib import Path  # noqa: E402

try:
    from workshop.errors import WorkshopError, explained
except ModuleNotFoundError:  # started by hand, without Pixi's PYTHONPATH
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "common"))
    from workshop.errors import WorkshopError, explained

with explained():  # a module that is missing here is told in four lines
    import argparse
    import fnmatch
    import hashlib
    import json
    import math
    import time
    from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
    from concurrent.futures.process import BrokenProcessPool

    import contour
    import example
    import numpy as np
    import published
    from inference import background_start, chunks, scan_rows
    from likelihood import Likelihood
    from model import Model
    from workspace import digest, read_hypotheses, read_json, uncollected

    from histfactory import compile_models
    from workshop.errors import Parser
    from workshop.files import write_atomic
    from workshop.runs.records import record
    from workshop.runs.device import cpu_name
    from workshop.runs.options import whole_number

SEED = 20
EXERCISE = "exercise-1-scipy"
SCHEMA = "reproducible-ml-workflows/limits/1"
TRIES = 3  # a chunk whose worker dies this often is not tried again

# Filled once in each process: the models do not travel with every chunk.
_state: dict = {}


def prepare(models: list[Model], starts: list) -> None:
    """Give this process the models; what a worker is initialised with."""
    _state["models"] = [(Likelihood(model), start) for model, start in zip(models, starts, strict=True)]


def fit_chunk(which: int, members: list[int], mu: float) -> list[dict]:
    """The limits of some hypotheses of one model: the unit of work of every executor."""
    likelihood, start = _state["models"][which]
    model = likelihood.model
    limits = scan_rows(likelihood, np.array(members, np.intp), mu, start)
    out = []
    for i, h in enumerate(members):
        ok = bool(limits.converged[i])
        entry = {
            "name": model.names[h],
            "cls_obs": float(limits.cls_obs[i]) if ok else None,
            "cls_exp": [float(x) for x in limits.cls_exp[i]] if ok else None,
            "converged": ok,
        }
        if not model.has_signal[h]:
            entry["note"] = "no signal in any channel: CLs is 1"
        out.append(entry)
    return out


def scan(models: list[Model], mu: float, executor_for, done: dict[str, dict], report) -> None:
    """Fit the hypotheses whose names are not in `done`, chunk by chunk.

    `executor_for(models, starts, n)` gives a fresh `concurrent.futures` executor for n chunks, or None for this process;
    `report(entries)` is called with each new batch. A broken pool (a worker that was
    killed) is replaced and its unfinished chunks are submitted again.
    """
    starts = [background_start(Likelihood(model)) for model in models]
    work = []
    for which, model in enumerate(models):
        left = [h for h, name in enumerate(model.names) if name not in done]
        work += [(which, [int(h) for h in chunk]) for chunk in chunks(model, left)]
    for attempt in range(TRIES):
        if not work:
            break
        executor: Executor | None = executor_for(models, starts, len(work))
        if executor is None:
            prepare(models, starts)
            for which, members in work:
                report(fit_chunk(which, members, mu))
            return
        left = []
        with executor:
            futures = {executor.submit(fit_chunk, *item, mu): item for item in work}
            for future in as_completed(futures):
                try:
                    report(future.result())
                except BrokenProcessPool:
                    left.append(futures[future])
        if left and attempt + 1 < TRIES:
            print(f"\na worker process died; {len(left)} chunks are done again", file=sys.stderr)
        work = left
    if work:
        names = models[work[0][0]].names
        raise WorkshopError(
            looked_at="the worker processes",
            expected="to live until their fits are done",
            found=f"killed {TRIES} times, at {names[work[0][1][0]]} and others",
            next_step="run it again with --workers 1; what was done is kept",
        )


def strength(text: str) -> float:
    """The signal strength of --mu, for argparse."""
    try:
        mu = float(text)
    except ValueError:
        mu = math.nan
    if not (math.isfinite(mu) and mu > 0):
        raise WorkshopError(
            looked_at="--mu", expected="a signal strength above zero", found=repr(text), next_step="--mu 1"
        )
    return mu


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description="CLs of every signal hypothesis, and the exclusion contour.", allow_abbrev=False)
    parser.add_argument("--workspace", metavar="FILE", help="pyhf workspace, plain or .gz (default: a generated one)")
    parser.add_argument("--patchset", metavar="FILE", help="pyhf patch set for it: one hypothesis a patch")
    parser.add_argument("--likelihood", choices=sorted(published.LIKELIHOODS), help="download a published likelihood")
    parser.add_argument("--measurement", metavar="NAME", help="measurement of the workspace (default: its first)")
    parser.add_argument("--mu", type=strength, default=1.0, metavar="X", help="signal strength to test (default: 1)")
    parser.add_argument(
        "--only", metavar="PATTERN", help="only hypotheses whose name matches, such as 'C1N2_Wh_hbb_9*'"
    )
    parser.add_argument(
        "--workers", type=whole_number("--workers", 1), default=1, metavar="N", help="processes (default: 1)"
    )
    parser.add_argument(
        "--seed",
        type=whole_number("--seed", 0),
        default=SEED,
        metavar="N",
        help=f"of the generated search (default: {SEED})",
    )
    parser.add_argument("--output", metavar="DIR", help="folder of the run (default: a new one in results/)")
    args = parser.parse_args(argv)
    if args.likelihood and (args.workspace or args.patchset):
        raise WorkshopError(
            looked_at="--likelihood",
            expected="either this or --workspace",
            found="both",
            next_step=f"--likelihood {args.likelihood}",
        )
    if args.patchset and not args.workspace:
        raise WorkshopError(
            looked_at="--patchset",
            expected="the workspace that it patches",
            found="no --workspace",
            next_step="--workspace FILE --patchset FILE",
        )
    return args


def read(args: argparse.Namespace) -> tuple[list[str], list, str, str]:
    """Labels, hypotheses, name of the input and its sha256."""
    if args.likelihood:
        args.workspace, args.patchset = map(str, published.fetch(args.likelihood))
    if args.workspace:
        workspace, names = read_json(args.workspace), (args.workspace, args.patchset or "")
        patchset = read_json(args.patchset) if args.patchset else None
    else:
        workspace, patchset = example.make(args.seed)
        names = ("the generated workspace", "the generated patch set")
    labels, hypotheses = read_hypotheses(workspace, patchset, args.measurement, *names)
    content = digest([workspace, patchset], "sha256")
    return labels, hypotheses, args.likelihood or Path(args.workspace or "generated").name, content


def select(models: list[Model], hypotheses: list, args: argparse.Namespace) -> set[str]:
    """Names of the hypotheses to fit; refuses what would give no limit."""
    wanted = {h.name for h in hypotheses if args.only is None or fnmatch.fnmatchcase(h.name, args.only)}
    if not wanted:
        some = ", ".join(h.name for h in hypotheses[:3])
        raise WorkshopError(
            looked_at="--only",
            expected=f"a pattern that matches some of {len(hypotheses)} names ({some}, ...)",
            found=repr(args.only),
            next_step="--only '*'",
        )
    signal = {name for model in models for name, yes in zip(model.names, model.has_signal, strict=True) if yes}
    if not wanted & signal:
        raise WorkshopError(
            looked_at=args.workspace or "the workspace",
            expected=f"a sample scaled by the parameter of interest {models[0].parameters[models[0].poi]!r}",
            found="no signal in any channel: CLs is 1 for every hypothesis, whatever the data",
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
    return wanted


def main(argv: list[str] | None = None) -> int:
    args = arguments(argv)
    began = time.perf_counter()
    with uncollected():
        labels, hypotheses, source, content = read(args)
        models = compile_models(hypotheses)
    wanted = select(models, hypotheses, args)
    compiled = time.perf_counter()

    with record.running(EXERCISE, __file__, args) as run:
        # What is done is written down line by line, under a name made from all that decides the numbers.
        key = hashlib.sha256(json.dumps([content, args.measurement, args.mu, SCHEMA]).encode()).hexdigest()[:16]
        journal = run.final.parent / f".scan-{key}.jsonl"
        done = {name: entry for name, entry in read_journal(journal).items() if name in wanted}
        if done:
            print(f"{len(done)} of {len(wanted)} hypotheses were done before", file=sys.stderr)
        not_asked = {h.name: {} for h in hypotheses if h.name not in wanted}

        with journal.open("a", encoding="utf-8") as log:
            show_progress(len(done), len(wanted))

            def report(entries: list[dict]) -> None:
                for entry in entries:
                    done[entry["name"]] = entry
                    log.write(json.dumps(entry) + "\n")
                log.flush()
                show_progress(len(done), len(wanted))

            def executor_for(models: list[Model], starts: list, n: int) -> Executor | None:
                if args.workers == 1:
                    return None
                return ProcessPoolExecutor(min(args.workers, n), initializer=prepare, initargs=(models, starts))

            try:
                scan(models, args.mu, executor_for, done | not_asked, report)
            except KeyboardInterrupt:
                if done:
                    print("\nwhat was done is kept: the same command goes on from here", file=sys.stderr)
                raise
        fitted = time.perf_counter()

        entries = [
            {**done[h.name], "labels": dict(zip(labels, h.values, strict=True))} for h in hypotheses if h.name in wanted
        ]
        document = {
            "schema": SCHEMA,
            "input": source,
            "sha256": content,
            "measurement": hypotheses[0].measurement["name"],
            "mu": args.mu,
            "labels": labels,
            "hypotheses": entries,
        }
        determinism = {"threads": 1, "chunking": "results do not depend on it"}
        place, excluded, drawn = file_limits(run, document, source, args.seed, determinism, len(entries))
        journal.unlink(missing_ok=True)

    print(
        f"{len(entries)} hypotheses, {excluded} excluded at 95 % CL: {place}/limits.json"
        + (", contour.png" if drawn else "")
    )
    print(
        f"read and compiled {compiled - began:.2f} s, fits {fitted - compiled:.2f} s, "
        f"figure and record {time.perf_counter() - fitted:.2f} s"
    )
    for entry in entries:
        if not entry["converged"]:
            print(f"not converged, no number given: {entry['name']}", file=sys.stderr)
        elif "note" in entry:
            print(f"{entry['name']}: {entry['note']}", file=sys.stderr)
    return 0


def file_limits(
    run: record.Run, document: dict, title: str, seed: int, determinism: dict, counted: int
) -> tuple[Path, int, bool]:
    """Write limits.json and the contour and close the run; its place, how many are excluded, whether a figure was drawn.

    document: as limits.schema.json says. counted: the metric `hypotheses` of the record.
    """
    entries = document["hypotheses"]
    write_atomic(run.folder / "limits.json", (json.dumps(document, indent=1) + "\n").encode())
    drawn = figure(run.folder / "contour.png", document["labels"], entries, title)
    excluded = sum(e["converged"] and e["cls_obs"] < contour.LEVEL for e in entries)
    place = record.finish(
        run,
        ("numpy", "scipy", "matplotlib", "jsonpatch"),
        seed=seed,
        determinism=determinism,
        device={"type": "cpu", "name": cpu_name()},
        dataset={"name": document["input"], "sha256": document["sha256"]},
        metrics=[{"name": "hypotheses", "value": counted}, {"name": "excluded", "value": excluded}],
    )
    return place, excluded, drawn


def read_journal(path: Path) -> dict[str, dict]:
    """Entries of an interrupted scan; a last line that was cut short is dropped."""
    entries: dict[str, dict] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
                entries[entry["name"]] = entry
            except (ValueError, KeyError, TypeError):
                continue
    return entries


def figure(path: Path, labels: list[str], entries: list[dict], source: str) -> bool:
    """The contour over the first two labels that are numbers; False where there is none to draw."""
    good = [e for e in entries if e["converged"]]
    axes = [x for x in labels if all(isinstance(e["labels"][x], (int, float)) for e in good)][:2]
    points = np.array([[e["labels"][x] for x in axes] for e in good], float)
    observed, expected = np.array([e["cls_obs"] for e in good]), np.array([e["cls_exp"] for e in good])
    return contour.draw(path, axes, points, observed, expected, f"{source}: {len(good)} hypotheses")


def show_progress(n: int, total: int) -> None:
    if sys.stderr.isatty():
        filled = 40 * n // total
        print(
            f"\r[{'#' * filled}{'.' * (40 - filled)}] {n}/{total}",
            end="\n" if n == total else "",
            file=sys.stderr,
            flush=True,
        )


if __name__ == "__main__":
    with explained():
        sys.exit(main())
