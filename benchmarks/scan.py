"""Compare exercise 1 with pyhf in one run on the same hypotheses: seconds per hypothesis, and their ratio.

    python benchmarks/scan.py                    # about ten minutes on one core, most of it for pyhf
    python benchmarks/scan.py --short            # one hypothesis with pyhf and one run of ours, as a trial of this script
    python benchmarks/scan.py --peer-only        # ours and evermore on the generated search, in seconds, nothing else
    python benchmarks/scan.py --references tests/histfactory/scan_1Lbb_pyhf.json --backend jax   # the tests' references

Inputs: ATLAS 1Lbb (125 patches), if the folder ../shared/data/1Lbb or --shared contains it; and a synthetic search with
10, 50 and 200 bins, with 2, 10 and 30 systematic uncertainties and 125 hypotheses.

Reference: `pyhf.infer.hypotest` with its SciPy optimizer and its NumPy backend (and JAX, if installed), timed on --pyhf
hypotheses from the whole set. The time for all hypotheses is extrapolated and marked as such. The time excludes the
construction of pyhf's model, and also our reading and compiling, which is printed separately. Ours: all hypotheses, the
median of --n runs. Both use one process and one thread. If --prototypes contains the two prototypes with which the
goals were set, they take turns with ours on the same inputs, so the ratio does not depend on the machine. On 1Lbb, all
hypotheses are compared with pyhf's stored limits, and the whole command is timed. If evermore and optimistix are
installed (PyPI; they need JAX), both scan exercise 1's generated search: cold, in a new process, and warm, which is with
everything compiled for evermore, and without the search for other minima, made once for each model, for ours. The last rows give the time per
hypothesis for 125 to 10,000 hypotheses, and the memory.

Measured against evermore 0.4.1 with optimistix 0.1.0 on one core (scan.json, medians of 5): cold, ours needs 0.72 s and
evermore 11.5 s, most of it for compiling; warm, 0.021 s and 0.028 s. CLs differ by 7e-4 at most.
"""

from __future__ import annotations

import os

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import argparse
import hashlib
import importlib.metadata
import json
import logging
import multiprocessing
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REFERENCES = ROOT / "tests/histfactory/scan_1Lbb_pyhf.json"
TOLERANCE = 1e-4  # of CLs: the accuracy of pyhf's minimiser (SLSQP)
sys.path.insert(0, str(ROOT / "common"))

import numpy as np

from histfactory import Scan, compile_models, digest, read_hypotheses, read_json
from histfactory.inference import Limits, minima
from histfactory.model import Model
from histfactory.workspace import apply_patch
from workshop.exercises import load_module
from workshop.support import files, hardware

SIZES = {"synthetic 10 bins": (10, 2), "synthetic 50 bins": (50, 10), "synthetic 200 bins": (200, 30)}


def synthetic(n_bins: int, n_systematics: int, n_hypotheses: int) -> tuple[dict, dict]:
    """A workspace with a falling background, and a patch set with a peak at each mass; both have systematics."""
    rng = np.random.default_rng(1234)
    x = (np.arange(n_bins) + 0.5) / n_bins
    background = 20000 / n_bins * np.exp(-2.5 * x) + 5
    n_norm = (n_systematics + 1) // 2
    modifiers: list[dict] = [
        {"name": "uncorrelated", "type": "shapesys", "data": (background * rng.uniform(0.03, 0.08, n_bins)).tolist()}
    ]
    signal_modifiers: list[dict] = [{"name": "mu", "type": "normfactor", "data": None}]
    for k in range(n_norm):
        for target, largest in ((modifiers, 0.06), (signal_modifiers, 0.05)):
            hi, lo = 1 + rng.uniform(0.01, largest), 1 - rng.uniform(0.01, largest)
            target.append({"name": f"norm{k}", "type": "normsys", "data": {"hi": hi, "lo": lo}})
    for k in range(n_systematics - n_norm):
        wave = 0.04 * np.sin(np.pi * (k + 1) * x + rng.uniform(0, 6.28))
        data = {"hi_data": (background * (1 + wave)).tolist(), "lo_data": (background * (1 - 0.8 * wave)).tolist()}
        modifiers.append({"name": f"shape{k}", "type": "histosys", "data": data})
    observed = rng.poisson(background * (1 + rng.normal(0, 0.03, n_bins))).astype(float).tolist()
    workspace = {
        "channels": [
            {"name": "sr", "samples": [{"name": "background", "data": background.tolist(), "modifiers": modifiers}]}
        ],
        "observations": [{"name": "sr", "data": observed}],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
        "version": "1.0.0",
    }
    patches = []
    for i, mass in enumerate(np.linspace(0.08, 0.92, n_hypotheses)):
        shape = np.exp(-0.5 * ((x - mass) / (0.03 + 0.02 * mass)) ** 2)
        data = shape / shape.sum() * (18 + 60 * np.exp(-2.5 * mass)) * 1.2 + 1e-6
        value = {"name": "signal", "data": data.tolist(), "modifiers": signal_modifiers}
        patch = [{"op": "add", "path": "/channels/0/samples/1", "value": value}]
        patches.append({"metadata": {"name": f"p{i}", "values": [i]}, "patch": patch})
    metadata = {"labels": ["mass"], "digests": {"sha256": digest(workspace)}, "description": "", "references": {}}
    return workspace, {"metadata": metadata, "patches": patches, "version": "1.0.0"}


def measure_ours(workspace: dict, patchset: dict, n: int) -> tuple[Model, Limits, float, list[float]]:
    """Fit all hypotheses n times: the model, its limits, seconds to read and compile, and seconds of each run."""
    start_time = time.perf_counter()
    model = compile_models(read_hypotheses(workspace, patchset)[1])[0]
    compiled = time.perf_counter() - start_time
    times = []
    for _ in range(n):
        start_time = time.perf_counter()
        limits = Scan(model).limits()
        times.append(time.perf_counter() - start_time)
    return model, limits, compiled, times


def agreement(model: Model, limits: Limits, reference: Path) -> dict:
    """Compare all hypotheses with pyhf's stored limits; if CLs differ by more than TOLERANCE, print both likelihoods."""
    differences, disagreements = [], []
    for entry in json.loads(reference.read_text(encoding="utf-8"))["hypotheses"]:
        h = model.names.index(entry["name"])
        our_cls = np.array([limits.cls_obs[h], *limits.cls_exp[h]])
        differences.append(float(np.abs(our_cls - [entry["cls_obs"], *entry["cls_exp"]]).max()))
        if differences[-1] > TOLERANCE:
            nll_difference = np.array(entry["nll"]) - minima(model, limits, h)
            disagreements.append(
                {
                    "name": entry["name"],
                    "backend": entry["backend"],
                    "difference": differences[-1],
                    "nll_pyhf_minus_ours": nll_difference.tolist(),
                }
            )
    print(
        f"  against pyhf's stored limits ({len(differences)}): CLs differ by {statistics.median(differences):.1e} in the median"
    )
    for entry in disagreements:
        differences_text = ", ".join(f"{x:+.5f}" for x in entry["nll_pyhf_minus_ours"])
        print(
            f"    {entry['name']} ({entry['backend']}): by {entry['difference']:.1e}; -log L of pyhf minus ours at mu = 0, "
            f"1 and best: {differences_text}"
        )
    return {
        "compared": len(differences),
        "median_difference": statistics.median(differences),
        "beyond_1e-4": disagreements,
    }


def prototype_of_workspaces(path: Path, workspace: dict, patchset: dict) -> Callable[[], np.ndarray]:
    """A function that computes CLs (H, 6) with the prototype for real workspaces, on the compiled input."""
    module = load_module(path)
    compiled = module.compile_all(workspace, patchset["patches"])
    module.prepare(compiled)

    def scan() -> np.ndarray:
        one, x, poi = module.Rows(compiled, np.array([0])), compiled.cen[:, None].copy(), compiled.K
        x[poi] = 1e-9
        start = module.fit(compiled, one, x, compiled.data[:, None], compiled.cen[:, None], True)[0][:, 0]
        size = 32  # hypotheses at once, as in its own main program
        parts = (np.arange(i, min(i + size, compiled.B)) for i in range(0, compiled.B, size))
        return np.concatenate([module.scan(compiled, part, start=start)[0] for part in parts])

    return scan


def prototype_of_synthetic(path: Path, workspace: dict, patchset: dict) -> Callable[[], np.ndarray]:
    """A function that computes CLs (H, 6) with the prototype for the models of `synthetic`."""
    module = load_module(path)
    background = workspace["channels"][0]["samples"][0]
    signals = [patch["patch"][0]["value"] for patch in patchset["patches"]]

    def data_of(sample: dict, kind: str) -> list:
        return [modifier["data"] for modifier in sample["modifiers"] if modifier["type"] == kind]

    def up_and_down(entries: list[dict], high: str, low: str) -> np.ndarray:
        return np.array([[entry[high] for entry in entries], [entry[low] for entry in entries]])

    model = {
        "bkg": np.array(background["data"]),
        "dbkg": np.array(data_of(background, "shapesys")[0]),
        "norm": up_and_down(data_of(background, "normsys"), "hi", "lo"),
        "norm_sig": up_and_down(data_of(signals[0], "normsys"), "hi", "lo"),
        "hist": up_and_down(data_of(background, "histosys"), "hi_data", "lo_data"),
        "sig": np.array([signal["data"] for signal in signals]),
        "data": np.array(workspace["observations"][0]["data"]),
    }
    return lambda: module.scan(model)[0]


def against_prototype(scan: Callable[[], np.ndarray], model: Model, n: int) -> dict:
    """Measure the prototype and ours in turns."""
    seconds: dict[str, list[float]] = {"prototype": [], "ours": []}
    scan()  # once before the measurement
    for _ in range(n):
        start_time = time.perf_counter()
        prototype_cls = scan()
        seconds["prototype"].append(time.perf_counter() - start_time)
        start_time = time.perf_counter()
        limits = Scan(model).limits()
        seconds["ours"].append(time.perf_counter() - start_time)
    ratio = statistics.median(seconds["ours"]) / statistics.median(seconds["prototype"])
    difference = float(np.abs(prototype_cls - np.column_stack([limits.cls_obs, limits.cls_exp])).max())
    print(
        f"  prototype: {spread(seconds['prototype'])} s; ours in turns with it {spread(seconds['ours'])} s, {ratio:.2f} "
        f"of it; CLs differ by {difference:.1e} at most"
    )
    return {**seconds, "ratio": ratio, "largest_difference_of_cls": difference}


def command_seconds(folder: Path) -> float:
    """Wall-clock seconds of the whole command on 1Lbb: interpreter, imports, reading, fits, figure and record."""
    with tempfile.TemporaryDirectory() as scratch:
        options = ["--workspace", str(folder / "background.json.gz"), "--patchset", str(folder / "patchset.json.gz")]
        variables = os.environ | {"PYTHONPATH": str(ROOT / "common")}
        command = [sys.executable, "-m", "workshop", "scan", *options, "--output", f"{scratch}/run"]
        start_time = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, env=variables)
        return time.perf_counter() - start_time


def pyhf_limits(workspace: dict, patch: dict) -> dict:
    """pyhf's CLs, -log L at mu = 0, at mu = 1 and at the best mu, and the seconds of its fits, with the current backend."""
    import pyhf

    workspace_spec = pyhf.Workspace(apply_patch(workspace, patch["patch"]), validate=False)
    model = workspace_spec.model(validate=False)
    data = workspace_spec.data(model)
    start_time = time.perf_counter()
    observed, expected, calculator = pyhf.infer.hypotest(
        1.0, data, model, test_stat="qtilde", return_expected_set=True, return_calculator=True
    )
    seconds = time.perf_counter() - start_time
    fits = calculator.fitted_pars
    points = fits.asimov_pars, fits.fixed_poi_fit_to_data, fits.free_fit_to_data
    return {
        "cls_obs": float(observed),
        "cls_exp": [float(x) for x in expected],
        "nll": [-float(model.logpdf(point, data)[0]) for point in points],
        "seconds": seconds,
    }


def write_references(target: Path, folder: Path, backend: str) -> None:
    """Write pyhf's limits of every 1Lbb patch to `target`.

    Limits in that file are kept, also those of other backends.
    """
    import pyhf

    names = "background.json.gz", "patchset.json.gz"
    workspace, patchset = (read_json(folder / name) for name in names)
    # With a tight tolerance, the remaining error is that of the numerical gradient.
    pyhf.set_backend(backend, pyhf.optimize.scipy_optimizer(tolerance=1e-9))
    document = {
        "what": "pyhf's CLs of the 125 patches of ATLAS 1Lbb at mu = 1 (test_stat qtilde), and its -log L at mu = 0, "
        "at mu = 1 and at the best mu",
        "written_by": "benchmarks/scan.py --references FILE --backend NAME",
        **versions(("pyhf", "scipy", "numpy", "jax")),
        "optimizer": "scipy (SLSQP), tolerance 1e-9",
        "sha256": {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names},
        "hypotheses": [],
    }
    if target.exists():
        document["hypotheses"] = json.loads(target.read_text())["hypotheses"]
    finished = {(entry["name"], entry["backend"]) for entry in document["hypotheses"]}
    for patch in patchset["patches"]:
        name = patch["metadata"]["name"]
        if (name, backend) in finished:
            continue
        limits = pyhf_limits(workspace, patch)
        print(f"{name}: {limits.pop('seconds'):.1f} s", file=sys.stderr, flush=True)
        document["hypotheses"].append({"name": name, "backend": backend, **limits})
        text = json.dumps({k: v for k, v in document.items() if k != "hypotheses"}, indent=1)[:-2]
        lines = ",\n  ".join(json.dumps(entry) for entry in document["hypotheses"])
        files.write_atomic(target, f'{text},\n "hypotheses": [\n  {lines}\n ]\n}}\n'.encode())


def versions(names: tuple[str, ...]) -> dict[str, str]:
    """The versions of the packages that are installed."""
    result = {}
    for name in names:
        try:
            result[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            pass
    return result


def compare(
    name: str, workspace: dict, patchset: dict, backends: list[str], n: int, n_pyhf: int, prototypes: Path
) -> dict:
    """One row of the table: ours on all hypotheses, the prototype if there is one, and pyhf on some hypotheses."""
    import pyhf

    model, limits, compiled, times = measure_ours(workspace, patchset, n)
    total = len(limits.cls_obs)
    each = statistics.median(times) / total
    row = {
        "input": name,
        "hypotheses": total,
        "converged": int(limits.converged.sum()),
        "read_and_compile_s": compiled,
        "fits_s": times,
        "fits_median_s": statistics.median(times),
        "pyhf": {},
    }
    print(
        f"{name}: {total} hypotheses in {spread(times)} s, {each * 1e3:.3f} ms each; read and compiled {compiled:.2f} s"
    )
    is_real = name == "1Lbb"
    path = prototypes / ("scan_real_workspace.py" if is_real else "scan_synthetic_batched.py")
    if path.exists():
        make_prototype = prototype_of_workspaces if is_real else prototype_of_synthetic
        row["prototype"] = against_prototype(make_prototype(path, workspace, patchset), model, n)
    indices = np.unique(np.linspace(0, total - 1, n_pyhf).astype(int)).tolist()
    our_cls = np.column_stack([limits.cls_obs, limits.cls_exp])
    for backend in backends:
        pyhf.set_backend(backend, pyhf.optimize.scipy_optimizer())
        results = [pyhf_limits(workspace, patchset["patches"][i]) for i in indices]
        seconds = [result["seconds"] for result in results]
        pyhf_cls = np.array([[result["cls_obs"], *result["cls_exp"]] for result in results])
        median = statistics.median(seconds)
        row["pyhf"][backend] = {
            "which": indices,
            "seconds": seconds,
            "median_s_each": median,
            "ratio": median / each,
            "all_s_extrapolated": median * total,
            "largest_difference_of_cls": float(np.abs(pyhf_cls - our_cls[indices]).max()),
        }
        print(
            f"  pyhf {backend}: {spread(seconds)} s each (n = {len(indices)}; all {total}, extrapolated: "
            f"{median * total / 60:.1f} min), {median / each:,.0f} times ours; "
            f"CLs differ by {row['pyhf'][backend]['largest_difference_of_cls']:.1e} at most",
            flush=True,
        )
    if name == "1Lbb":
        row["agreement"] = agreement(model, limits, REFERENCES)
    return row


def measure_cost(n_hypotheses: int) -> dict:
    """Fit n synthetic hypotheses of 10 bins in a separate process, and measure its time and peak memory."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        row = executor.submit(measure_cost_here, n_hypotheses).result()
    each = statistics.median(row["fits_s"]) / n_hypotheses * 1e6
    print(f"synthetic 10 bins, {n_hypotheses:,} hypotheses: {each:.0f} us each, peak memory {row['peak_MiB']:.0f} MiB")
    return row


def measure_cost_here(n_hypotheses: int) -> dict:
    """The measurement of `measure_cost`, in this process."""
    import resource

    _, limits, _, times = measure_ours(*synthetic(10, 2, n_hypotheses), 3 if n_hypotheses < 5000 else 1)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return {
        "hypotheses": n_hypotheses,
        "fits_s": times,
        "peak_MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit,
        "converged": int(limits.converged.sum()),
    }


OURS_COLD = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
import numpy as np
from histfactory import Scan, compile_models, read_hypotheses
from workshop.runs import search
[model] = compile_models(read_hypotheses(*search.generate(np.random.default_rng(20)))[1])
scan, seconds = Scan(model), []
for _ in range(6):
    start_time = time.perf_counter()
    limits = scan.limits()
    seconds.append(time.perf_counter() - start_time)
cls = np.column_stack([limits.cls_obs, limits.cls_exp]).tolist()
print(json.dumps({"first_s": seconds[0], "later_s": seconds[1:], "cls": cls}))
"""


def against_evermore(n: int) -> dict | None:
    """Ours and evermore on the generated search: n new processes each, in turns; None if evermore is not installed."""
    if not {"evermore", "optimistix"} <= versions(("evermore", "optimistix")).keys():
        print("evermore: skipped, install evermore and optimistix from PyPI to compare with them")
        return None
    commands = {
        "evermore": [sys.executable, str(ROOT / "benchmarks/scan_evermore.py")],
        "ours": [sys.executable, "-c", OURS_COLD, str(ROOT / "common")],
    }
    row: dict = {name: {"cold_s": [], "warm_s": []} for name in commands}
    cls = {}
    for _ in range(n):
        for name, command in commands.items():
            start_time = time.perf_counter()
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            measured = json.loads(printed)
            # Without the later scans, which only measure the warm time.
            cold = time.perf_counter() - start_time - sum(measured["later_s"])
            row[name]["cold_s"].append(cold)
            row[name]["warm_s"] += measured["later_s"]
            cls[name] = np.array(measured["cls"])
    row["largest_difference_of_cls"] = float(np.abs(cls["ours"] - cls["evermore"]).max())
    row["versions"] = versions(("evermore", "optimistix", "jax"))
    for when in ("cold_s", "warm_s"):
        ours, theirs = row["ours"][when], row["evermore"][when]
        ratio = statistics.median(theirs) / statistics.median(ours)
        print(
            f"generated search, {when[:4]}: ours {spread(ours)} s, evermore {spread(theirs)} s, {ratio:.1f} times ours",
            flush=True,
        )
    print(
        f"  CLs differ by {row['largest_difference_of_cls']:.1e} at most (evermore interpolates normsys as Combine does)"
    )
    return row


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.4g} ({min(values):.4g} to {max(values):.4g})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared", help="folder with data/1Lbb")
    prototypes = ROOT.parent / "shared" / "prototypes"
    parser.add_argument("--prototypes", type=Path, default=prototypes, help="folder with scan_real_workspace.py, ...")
    parser.add_argument("--n", type=int, default=5, help="runs of ours (default 5)")
    parser.add_argument("--pyhf", type=int, default=3, metavar="N", help="hypotheses that pyhf is timed on (default 3)")
    parser.add_argument("--slow", action="store_true", help="time pyhf's NumPy backend on 200 bins too (many minutes)")
    parser.add_argument("--short", action="store_true", help="one run of ours, one hypothesis for pyhf, 10 bins only")
    parser.add_argument("--peer-only", action="store_true", help="only compare ours with evermore")
    parser.add_argument("--output", type=Path, default=ROOT / "results/benchmarks/scan.json", help="JSON")
    parser.add_argument(
        "--references", type=Path, metavar="FILE", help="write pyhf's limits of 1Lbb there, nothing else"
    )
    parser.add_argument("--backend", default="numpy", help="pyhf's backend for --references (default numpy)")
    args = parser.parse_args()
    logging.getLogger("pyhf").setLevel(logging.CRITICAL)
    published = args.shared / "data" / "1Lbb"
    if args.references:
        write_references(args.references, published, args.backend)
        return 0
    if args.peer_only:
        against_evermore(1 if args.short else 3)
        return 0
    n, n_pyhf = (1, 1) if args.short else (args.n, args.pyhf)
    backends = ["numpy"] + ["jax"] * ("jax" in versions(("jax",)))
    # Measure this first, while this process is small: the peak memory of a child starts at that of its parent.
    costs = [measure_cost(k) for k in ((125, 500) if args.short else (125, 500, 2000, 10000))]
    rows = []
    for name, size in list(SIZES.items())[: 1 if args.short else None]:
        timed_backends = [b for b in backends if args.slow or b != "numpy" or name != "synthetic 200 bins"]
        rows.append(compare(name, *synthetic(*size, 125), timed_backends, n, n_pyhf, args.prototypes))
    if published.exists() and not args.short:
        documents = [read_json(published / name) for name in ("background.json.gz", "patchset.json.gz")]
        rows.append(compare("1Lbb", *documents, backends, n, n_pyhf, args.prototypes))
        rows[-1]["command_s"] = [command_seconds(published) for _ in range(3)]
        print(f"  the whole command: {spread(rows[-1]['command_s'])} s")
    else:
        print("1Lbb: skipped,", "--short" if args.short else f"{published} is not here")
    result = {
        "what": "seconds to CLs, observed and expected, of all hypotheses; pyhf.infer.hypotest on some of the same",
        "n": n,
        "machine": {"cpu": hardware.cpu_name(), "threads": 1, "python": platform.python_version()}
        | versions(("numpy", "scipy", "pyhf", "jax")),
        "inputs": rows,
        "skipped": [] if len(rows) > 3 else ["1Lbb"],
        "cost": costs,
        "evermore": None if args.short else against_evermore(3),
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomic(args.output, (json.dumps(result, indent=1) + "\n").encode())
    print(f"n = {n}, 1 thread, {result['machine']['cpu']}; written: {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
