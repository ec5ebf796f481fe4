"""When does distributing pay? The engine's overhead, the driver's memory and time, and the study of 2021 repeated.

    python benchmarks/scale.py                     # about ten minutes on two cores; needs Parsl (the extra scale)
    python benchmarks/scale.py --minutes 12        # stops then, and keeps what it has measured
    python benchmarks/scale.py --only engine       # chunks that sleep, on 1 to 64 workers of Parsl, and the model
    python benchmarks/scale.py --only real         # 1Lbb with upper limits on one and on two workers of Parsl
    python benchmarks/scale.py --only workers      # real fits in threads, in processes and on Parsl, for each number of cores
    python benchmarks/scale.py --only driver       # 125 to 100,000 generated hypotheses: seconds and memory
    python benchmarks/scale.py --only study        # ATLAS 1Lbb: pyhf on Parsl, ours on one core, ours on Parsl
    python benchmarks/scale.py --tables FILE       # the tables of the page, from a file that --output has written

engine: each worker sleeps instead of computing, so that more workers than cores show the limit of the engine and of the
driver, not of the processor. Efficiency is the sum of the sleeping divided by workers times elapsed time, after all
workers have started; the seconds until then are `start_s`. The lengths of the chunks are those that the part `real`
measures. The model has two constants: g, the seconds that a worker waits between two chunks, from the first measured
point, and d, the seconds of the driver and of Parsl's interchange for each chunk, from chunks that do not sleep, with the
most workers. With
chunks of s seconds, W workers have the efficiency s / max(s + g, W d). The model assumes that all chunks are equally long
and that no worker dies. It leaves out the network: here everything runs on one machine. It is compared with the measured
points. Distributing S seconds of work pays if start_s + S / (W efficiency) < S: `pays_from_s` is the smallest S.

real: the 125 hypotheses of ATLAS 1Lbb, CLs alone and with upper limits, on one and on two workers of Parsl that have
started. `speedup` compares the two; `busy` is the part of the workers' time in which they fitted.

workers: the same fits in this process, in threads and in processes, for likelihoods of four sizes. The largest is also
fitted on Parsl. Threads share one interpreter, which runs Python's own steps one after the other; NumPy's loops over large
arrays run side by side.

study: A. Feickert et al., arXiv:2103.02182: 125 hypotheses of 1Lbb with pyhf took 156 s through funcX on an HPC site, and
3,842 s on one node. The time of pyhf for all hypotheses is extrapolated from --pyhf hypotheses.

Each part records how many cores other programs kept busy in the second before it (`other_work_cores`).
"""

from __future__ import annotations

import os

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import argparse
import contextlib
import json
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import Executor, Future, wait
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "common"))
# For the programs that Parsl starts.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT / "common"), os.environ.get("PYTHONPATH"))))

import numpy as np

from histfactory import Scan, compile_models, digest, numbers_of_hypothesis, read_hypotheses, read_json
from workshop.runs import search
from workshop.scan import distribute, engines
from workshop.support import files, hardware

ROUNDS = 4  # chunks that sleep, for each worker
CONFIG = """
from parsl import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider
config = Config(executors=[HighThroughputExecutor(address="127.0.0.1", max_workers_per_node={workers},
    cores_per_worker={cores} / {workers}, provider=LocalProvider(init_blocks=1, max_blocks=1))])
"""


@contextlib.contextmanager
def parsl_on_this_machine(workers: int):
    """An engine with this many workers, whatever the number of cores."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.py")
        config.write_text(CONFIG.format(workers=workers, cores=os.cpu_count()))
        with engines.opened("parsl", str(config), workers, Path(folder, "parsl")) as engine:
            yield engine


def sleep(seconds: float) -> tuple[int, int]:
    """A chunk that computes nothing. Returns the worker: the numbers of its process and its thread."""
    import os  # this function travels to the workers without the imports of the file
    import threading
    import time

    time.sleep(seconds)
    return os.getpid(), threading.get_ident()


def seconds_until_started(engine: engines.Engine, workers: int) -> float:
    """Wait until this many workers have answered."""
    start, seen = time.perf_counter(), set()
    while len(seen) < workers:
        seen |= {f.result() for f in [engine.executor.submit(sleep, 0.2) for _ in range(workers)]}
    return time.perf_counter() - start


def other_work_cores() -> float | None:
    """How many cores other programs keep busy, in one second in which this one sleeps; None where Linux's /proc is missing."""

    def busy() -> int:
        user, nice, system, idle, iowait, *rest = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:])
        return user + nice + system + sum(rest[:3])  # in ticks: interrupts, and what a hypervisor takes

    try:
        before, start = busy(), time.perf_counter()
        time.sleep(1)
        return round((busy() - before) / os.sysconf("SC_CLK_TCK") / (time.perf_counter() - start), 2)
    except OSError:
        return None


def measure_engine(numbers: list[int], lengths: list[float], part: dict) -> None:
    """The efficiency of sleeping chunks, and the model."""
    rows, model = [], {"g": 0.0, "d": 0.0}
    for workers in numbers:
        busy = other_work_cores()
        with parsl_on_this_machine(workers) as engine:
            submit = engine.executor.submit
            start = time.perf_counter()
            submit(sleep, 0).result()
            first = time.perf_counter() - start
            started = first + seconds_until_started(engine, workers)
            n, start = 300, time.perf_counter()
            wait([submit(sleep, 0) for _ in range(n)])
            each = (time.perf_counter() - start) / n
            model["d"] = each  # in the end of the most workers: one worker alone waits for its own gaps
            for length in lengths:
                chunks = ROUNDS * workers
                start = time.perf_counter()
                wait([submit(sleep, length) for _ in range(chunks)])
                elapsed = time.perf_counter() - start
                rows.append(
                    {
                        "workers": workers,
                        "chunk_s": length,
                        "first_result_s": first,
                        "start_s": started,
                        "other_work_cores": busy,
                        "efficiency": chunks * length / workers / elapsed,
                    }
                )
                print(
                    f"{workers} workers, chunks of {length:g} s: {rows[-1]['efficiency']:.1%}, first result after {first:.1f} s, "
                    f"all workers after {started:.1f} s",
                    flush=True,
                )
        compare_with_model(rows, model, part)  # after each number of workers: the time may be up


def compare_with_model(rows: list[dict], model: dict[str, float], part: dict) -> None:
    """Fit the model to the measured points, and write both into the part of the document."""
    model["g"] = rows[0]["chunk_s"] * (1 / rows[0]["efficiency"] - 1)
    for row in rows:
        row["model"] = efficiency(model, row["chunk_s"], row["workers"])
    error = max(abs(row["model"] - row["efficiency"]) for row in rows)
    print(f"g = {1e3 * model['g']:.1f} ms, d = {1e3 * model['d']:.1f} ms; the model is off by {error:.2f} at most")
    thousand = {f"{length:g}": efficiency(model, length, 1000) for length in (1.0, 10.0, 60.0)}
    print("1,000 workers, by the model: " + ", ".join(f"{e:.0%} with chunks of {s} s" for s, e in thousand.items()))
    pays = {
        str(row["workers"]): row["start_s"] / (1 - 1 / row["workers"] / row["efficiency"])
        for row in rows
        if row["chunk_s"] == 1.0 and row["workers"] * row["efficiency"] > 1
    }
    print(
        "distributing pays from " + ", ".join(f"{s:.0f} s of work with {w} workers" for w, s in pays.items()),
        flush=True,
    )
    part |= {
        "rows": rows,
        "model": model,
        "largest_error_of_model": error,
        "efficiency_of_1000_workers": thousand,
        "pays_from_s": pays,
    }


def efficiency(model: dict[str, float], chunk: float, workers: int) -> float:
    """The efficiency by the model, for chunks of this many seconds."""
    return chunk / max(chunk + model["g"], workers * model["d"])


# For `measure_workers`: 10,000 small hypotheses, 125 of 1Lbb, and 16 of larger likelihoods. "1000 bins" is at the limit from
# which the scan chooses threads (engines.LARGE).
LIKELIHOODS = ("generated", "1Lbb", "1000 bins", "5000 bins")
KINDS = ("threads", "processes")  # between which the scan chooses


def likelihood(name: str, folder: Path) -> tuple[dict, dict]:
    """Workspace and patch set of a likelihood for `measure_workers`."""
    if name == "generated":
        return generated(10_000)
    if name == "1Lbb":
        return read_json(folder / "background.json.gz"), read_json(folder / "patchset.json.gz")
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from scan import synthetic

    return synthetic(int(name.split()[0]), 100, 16)


def generated(n: int) -> tuple[dict, dict]:
    """The small generated search with n hypotheses, which repeat the 125 of its grid."""
    workspace, patchset = search.generate(np.random.default_rng(20))
    grid = patchset["patches"]
    patchset["patches"] = [
        {"metadata": {"name": f"h{i}", "values": [i, 0]}, "patch": grid[i % len(grid)]["patch"]} for i in range(n)
    ]
    patchset["metadata"]["digests"] = {"sha256": digest(workspace)}
    return workspace, patchset


def measure_workers(numbers: list[int], folder: Path, part: dict) -> None:
    """Seconds of the same fits with each engine, for each number of workers. Each likelihood in a process of its own."""
    for name in LIKELIHOODS:
        if name == "1Lbb" and not (folder / "background.json.gz").exists():
            continue
        line = [
            sys.executable,
            __file__,
            "--likelihood",
            name,
            "--shared",
            str(folder),
            "--workers",
            *map(str, numbers),
        ]
        process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
        try:
            for text in process.stdout or ():
                row = json.loads(text)
                part.setdefault(name, []).append(row)
                print(
                    f"{name}: {row['engine']}, {row['workers']} workers: started in {row['start_s']:.1f} s, fitted in "
                    f"{row['fit_s']:.2f} s, {row['speedup']:.2f} times one process ({row['efficiency']:.0%} of the workers)"
                )
            process.wait()
        except BaseException:
            process.send_signal(signal.SIGINT)  # it ends its workers
            process.wait()
            raise
        assert process.returncode == 0, name


def fit_with_each_engine(name: str, numbers: list[int], folder: Path) -> None:
    """Print a line of JSON for each engine and each number of workers."""
    scans = [Scan(model) for model in compile_models(read_hypotheses(*likelihood(name, folder))[1])]
    names = {name for scan in scans for name in scan.model.names}
    one = 0.0
    settings = [("this process", 1)] + [(kind, n) for n in numbers if n > 1 for kind in (*KINDS, "parsl")]
    size = max(numbers_of_hypothesis(scan.model) for scan in scans)
    for kind, workers in settings:
        if kind == "parsl" and not name.startswith("5000"):
            continue
        row = {"engine": kind, "workers": workers, "other_work_cores": other_work_cores(), "start_s": 0.0}
        entries: list = []

        def report(new: list, worker: str, entries: list = entries) -> None:
            entries.extend(new)

        with contextlib.ExitStack() as stack:
            engine = None
            if kind == "parsl":
                engine = stack.enter_context(parsl_on_this_machine(workers))
            elif kind != "this process":
                engine = stack.enter_context(engines.opened(kind, None, workers, Path()))
            if engine:
                row["start_s"] = seconds_until_started(engine, workers)
            start = time.perf_counter()
            distribute.fit_all(scans, names, 1.0, engine and engine.executor, report, workers=workers)
            row["fit_s"] = time.perf_counter() - start
        assert len(entries) == len(names)
        one = one or row["fit_s"]
        row |= {
            "speedup": one / row["fit_s"],
            "efficiency": one / row["fit_s"] / workers,
            "numbers_of_hypothesis": size,
        }
        print(json.dumps(row), flush=True)


class Recording(Executor):
    """Hands everything to another executor, and keeps the seconds that each chunk was fitted, with its worker."""

    def __init__(self, executor: Executor) -> None:
        self.executor, self.busy = executor, []

    def submit(self, function, /, request) -> Future:
        future = self.executor.submit(function, request)
        future.add_done_callback(lambda done: self.busy.append(done.result().get("busy", 0.0)))
        return future


def measure_real(numbers: list[int], folder: Path, part: dict) -> None:
    """Seconds of all hypotheses of 1Lbb on Parsl, for each number of workers; how long the chunks were."""
    [model] = compile_models(read_hypotheses(*likelihood("1Lbb", folder))[1])
    scan, rows = Scan(model), part.setdefault("rows", [])
    for workers in numbers:
        with parsl_on_this_machine(workers) as engine:
            started = seconds_until_started(engine, workers)
            for upper_limit in (False, True):
                others, recording, names = other_work_cores(), Recording(engine.executor), []
                start = time.perf_counter()
                failed = distribute.fit_all(
                    [scan],
                    model.names,
                    1.0,
                    recording,
                    lambda entries, worker, names=names: names.extend(entry["name"] for entry in entries),
                    upper_limit=upper_limit,
                    workers=workers,
                )
                seconds = time.perf_counter() - start
                assert not failed and sorted(names) == sorted(model.names)
                alone = next((row["fit_s"] for row in rows if row["upper_limit"] is upper_limit), seconds)
                rows.append(
                    {
                        "workers": workers,
                        "upper_limit": upper_limit,
                        "hypotheses": len(names),
                        "other_work_cores": others,
                        "start_s": started,
                        "fit_s": seconds,
                        "chunks": len(recording.busy),
                        "chunk_s": statistics.median(recording.busy),
                        "longest_chunk_s": max(recording.busy),
                        "busy": sum(recording.busy) / workers / seconds,
                        "speedup": alone / seconds * numbers[0],
                        "efficiency": alone * numbers[0] / seconds / workers,
                    }
                )
                row = rows[-1]
                print(
                    f"1Lbb{' with upper limits' * upper_limit}, {workers} workers of Parsl: started in {started:.1f} s, fitted in "
                    f"{seconds:.1f} s in {row['chunks']} chunks (median {row['chunk_s']:.2f} s, longest "
                    f"{row['longest_chunk_s']:.2f} s); busy {row['busy']:.0%}, efficiency {row['efficiency']:.0%}",
                    flush=True,
                )


def measure_driver(numbers: list[int], rows: list[dict]) -> None:
    """Seconds and peak memory of the driver for each number of hypotheses, each in a process of its own."""
    for n in numbers:
        printed = subprocess.run(
            [sys.executable, __file__, "--driver", str(n)], check=True, capture_output=True, text=True
        )
        row = json.loads(printed.stdout)
        rows.append(row)
        print(
            f"{n} hypotheses: read and compiled {row['read_s']:.1f} s, distributed and fitted {row['fit_s']:.1f} s "
            f"({1e6 * row['fit_s'] / n:.0f} us each), {row['peak_mib']:.0f} MiB ({row['kib_each']:.1f} KiB each above the start)"
        )


def drive(n: int) -> dict:
    """Distribute n generated hypotheses over two processes, as `workshop scan --executor processes` does."""
    workspace, patchset = generated(n)
    busy = other_work_cores()
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    scans = [Scan(model) for model in compile_models(read_hypotheses(workspace, patchset)[1])]
    read = time.perf_counter()
    entries: dict = {}
    with tempfile.TemporaryDirectory() as folder, engines.opened("processes", None, 2, Path(folder)) as engine:
        names = {name for scan in scans for name in scan.model.names}

        def report(new: list, worker: str) -> None:
            entries.update({entry["name"]: entry for entry in new})

        distribute.fit_all(scans, names, 1.0, engine.executor, report, workers=2, restart=engine.restart)
    end = time.perf_counter()
    assert len(entries) == n
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "hypotheses": n,
        "other_work_cores": busy,
        "read_s": read - start,
        "fit_s": end - read,
        "peak_mib": peak / 1024,
        "kib_each": (peak - base) / n,
    }


def fit_with_pyhf(workspace: dict, patch: list) -> float:
    """Seconds of pyhf's CLs of one hypothesis, in a worker."""
    import time

    import pyhf

    from histfactory.workspace import apply_patch

    model_spec = pyhf.Workspace(apply_patch(workspace, patch), validate=False)
    model = model_spec.model(validate=False)
    start = time.perf_counter()
    pyhf.infer.hypotest(1.0, model_spec.data(model), model, test_stat="qtilde", return_expected_set=True)
    return time.perf_counter() - start


def measure_study(folder: Path, n_pyhf: int, workers: int, part: dict) -> None:
    """The table of the study of 2021, beside today's figures on this machine."""
    workspace, patchset = (read_json(folder / f"{name}.json.gz") for name in ("background", "patchset"))
    [model] = compile_models(read_hypotheses(workspace, patchset)[1])
    total, busy, others = len(model.names), [], other_work_cores()
    start = time.perf_counter()
    one_core = distribute.fit_all(
        [Scan(model)], model.names, 1.0, None, lambda entries, worker: busy.append(len(entries))
    )
    ours_one = time.perf_counter() - start
    assert not one_core and sum(busy) == total
    with parsl_on_this_machine(workers) as engine:
        seconds_until_started(engine, workers)
        scan, first = Scan(model), []
        start = time.perf_counter()
        distribute.fit_all(
            [scan],
            model.names,
            1.0,
            engine.executor,
            lambda e, w: first.append(time.perf_counter() - start),
            workers=workers,
        )
        ours_parsl = time.perf_counter() - start
        patches = [patch["patch"] for patch in patchset["patches"][:n_pyhf]]
        start = time.perf_counter()
        seconds = [f.result() for f in [engine.executor.submit(fit_with_pyhf, workspace, patch) for patch in patches]]
        pyhf_elapsed = time.perf_counter() - start
    part |= {
        "hypotheses": total,
        "other_work_cores": others,
        "funcX_2021_s": 156,
        "one_node_2021_s": 3842,
        "workers": workers,
        "pyhf_on_parsl_s": pyhf_elapsed / n_pyhf * total,
        "pyhf_on_parsl_measured": n_pyhf,
        "pyhf_each_s": statistics.median(seconds),
        "ours_one_core_s": ours_one,
        "ours_on_parsl_s": ours_parsl,
        "first_result_s": first[0],
    }
    print(f"{total} hypotheses of 1Lbb: 2021 with pyhf and funcX 156 s; here with pyhf on {workers} workers of Parsl")
    print(
        f"{part['pyhf_on_parsl_s']:.0f} s (extrapolated from {n_pyhf}); ours on one core {ours_one:.1f} s, on Parsl "
        f"{ours_parsl:.1f} s with started workers, the first result after {first[0]:.1f} s"
    )


def tables(document: dict) -> dict[str, list[str]]:
    """The rows of the tables of docs/away/laptop-to-cluster.md, from a document that this program has written."""
    engine: dict = {}
    for row in document["engine"]["rows"]:
        engine.setdefault(row["workers"], [f"{row['start_s']:.0f} s"]).append(f"{100 * row['efficiency']:.0f} %")
    return {
        "engine": [f"| {workers} | {' | '.join(cells)} |" for workers, cells in engine.items()],
        "driver": [
            f"| {row['hypotheses']:,} | {row['read_s']:.1f} s | {row['fit_s']:.1f} s | {row['peak_mib']:.0f} MiB |"
            for row in document["driver"]["rows"]
        ],
    }


class TimeIsUp(BaseException):
    """--minutes are over."""


def stop(*_: object) -> None:
    raise TimeIsUp


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=("engine", "real", "workers", "driver", "study"))
    parser.add_argument(
        "--workers", type=int, nargs="+", metavar="N", help="default: 1 2 8 16 32 64, and 1 2 4 ... for real fits"
    )
    parser.add_argument("--lengths", type=float, nargs="+", default=[0.1, 1.0, 4.0], metavar="SECONDS")
    parser.add_argument("--hypotheses", type=int, nargs="+", default=[125, 1_000, 10_000, 100_000], metavar="N")
    parser.add_argument("--pyhf", type=int, default=2, metavar="N", help="hypotheses to fit with pyhf (default: 2)")
    parser.add_argument("--shared", default=ROOT.parent / "shared" / "data" / "1Lbb", type=Path, metavar="DIR")
    parser.add_argument("--minutes", type=float, metavar="N", help="stop then, and keep what has been measured")
    parser.add_argument("--tables", metavar="FILE", help="print the tables of the page from this JSON file, and end")
    parser.add_argument("--driver", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--likelihood", help=argparse.SUPPRESS)
    parser.add_argument("--output", metavar="FILE", help="JSON file for all numbers")
    args = parser.parse_args()
    powers = [2**k for k in range(hardware.cores().bit_length())]
    if args.tables:
        for name, lines in tables(json.loads(Path(args.tables).read_text(encoding="utf-8"))).items():
            print("", name, *lines, sep="\n")
        return
    if args.driver:
        print(json.dumps(drive(args.driver)))
        return
    if args.likelihood:
        fit_with_each_engine(args.likelihood, args.workers, args.shared)
        return
    parts = {
        "real": lambda part: measure_real(args.workers or powers[:2], args.shared, part),
        "engine": lambda part: measure_engine(args.workers or [1, 2, 8, 16, 32, 64], args.lengths, part),
        "workers": lambda part: measure_workers(args.workers or powers, args.shared, part),
        "driver": lambda part: measure_driver(args.hypotheses, part.setdefault("rows", [])),
        "study": lambda part: measure_study(args.shared, args.pyhf, hardware.cores(), part),
    }
    document: dict = {}
    if args.output and Path(args.output).exists():  # parts of an earlier run are kept
        document = json.loads(Path(args.output).read_text(encoding="utf-8"))
        document = {name: part for name, part in document.items() if name in parts and isinstance(part, dict)}
    if args.minutes:
        signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, 60 * args.minutes)
    machine = {"cpu": hardware.cpu_name(), "cores": hardware.cores(), "python": sys.version.split()[0]}
    document["machine"] = machine
    for name in args.only or parts:
        if name in ("real", "study") and not (args.shared / "background.json.gz").exists():
            print(f"no {args.shared}: the part {name} is left out")
            continue
        part: dict = dict(machine)
        try:
            parts[name](part)
        except TimeIsUp:
            print(f"{args.minutes:g} minutes are over in the part {name}: the rest is left out")
            part["stopped_after_minutes"] = args.minutes
        if part.keys() - machine.keys() - {"stopped_after_minutes"}:
            document[name] = part
        if args.output:
            files.write_atomic(Path(args.output), (json.dumps(document, indent=1) + "\n").encode())
        if "stopped_after_minutes" in part:
            break


if __name__ == "__main__":
    main()
