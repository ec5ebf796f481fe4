"""Exercise 1 against pyhf, in one run on the same hypotheses: seconds a hypothesis, and the ratio.

    python benchmarks/scan.py [--shared ../shared] [--pyhf 3] [--all] [--slow] [--json FILE]

pyhf is timed on a stated number of hypotheses (--pyhf), with its scipy optimizer; times for all are extrapolated and
say so. --all compares CLs of every 1Lbb hypothesis with pyhf's (half an hour).
"""

from __future__ import annotations

import os

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import argparse  # noqa: E402
import json  # noqa: E402
import resource  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "common"), str(ROOT / "exercise-1-scipy" / "solution")]

import numpy as np  # noqa: E402
from histfactory import compile_models  # noqa: E402
from inference import scan_model  # noqa: E402
from workspace import apply_patch, digest, read_hypotheses, read_json  # noqa: E402

SIZES = {"synthetic 10 bins": (10, 2), "synthetic 50 bins": (50, 10), "synthetic 200 bins": (200, 30)}


def synthetic(n_bins: int, n_systematics: int, n_hypotheses: int) -> tuple[dict, dict]:
    """A falling background with shapesys, normsys and histosys, and a bump at each of the masses."""
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
    metadata = {
        "labels": ["mass"],
        "digests": {"sha256": digest(workspace, "sha256")},
        "description": "",
        "references": {},
    }
    return workspace, {"metadata": metadata, "patches": patches, "version": "1.0.0"}


def ours(workspace: dict, patchset: dict, repeats: int = 3):
    """Model, limits, seconds to read and compile, and the best of some fits."""
    began = time.perf_counter()
    model = compile_models(read_hypotheses(workspace, patchset)[1])[0]
    compiled = time.perf_counter() - began
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        limits = scan_model(model)
        times.append(time.perf_counter() - began)
    return model, limits, compiled, min(times)


def pyhf_seconds(workspace: dict, patchset: dict, which: list[int], backend: str) -> tuple[float, np.ndarray]:
    """Seconds a hypothesis (model building included, as ours is reported separately it is timed without) and its CLs."""
    import pyhf

    pyhf.set_backend(backend, pyhf.optimize.scipy_optimizer())
    seconds, cls = 0.0, []
    for i in which:
        spec = pyhf.Workspace(apply_patch(workspace, patchset["patches"][i]["patch"]))
        model = spec.model()
        data = spec.data(model)
        began = time.perf_counter()
        observed, expected = pyhf.infer.hypotest(1.0, data, model, test_stat="qtilde", return_expected_set=True)
        seconds += time.perf_counter() - began
        cls.append([float(observed), *map(float, expected)])
    return seconds / len(which), np.array(cls)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", default=str(ROOT.parent / "shared"), help="folder with data/1Lbb")
    parser.add_argument("--pyhf", type=int, default=3, metavar="N", help="hypotheses that pyhf is timed on")
    parser.add_argument("--all", action="store_true", help="compare every 1Lbb hypothesis with pyhf")
    parser.add_argument("--slow", action="store_true", help="time pyhf's NumPy backend on 200 bins too (many minutes)")
    parser.add_argument("--json", metavar="FILE", help="write the table there too")
    args = parser.parse_args()
    inputs = {name: synthetic(*size, 125) for name, size in SIZES.items()}
    published = Path(args.shared) / "data" / "1Lbb"
    if published.exists():
        inputs["1Lbb"] = read_json(published / "background.json.gz"), read_json(published / "patchset.json.gz")
    backends = ["numpy"]
    try:
        import jax  # noqa: F401

        backends.append("jax")
    except ModuleNotFoundError:
        pass
    rows = []
    for name, (workspace, patchset) in inputs.items():
        model, limits, compiled, seconds = ours(workspace, patchset)
        n = len(model.names)
        row = {
            "input": name,
            "hypotheses": n,
            "converged": int(limits.converged.sum()),
            "compile_s": compiled,
            "fits_s": seconds,
        }
        which = list(range(n)) if args.all and name == "1Lbb" else np.linspace(0, n - 1, args.pyhf).astype(int).tolist()
        timed = [b for b in backends if args.slow or b != "numpy" or name != "synthetic 200 bins"]
        for backend in timed:
            each, cls = pyhf_seconds(workspace, patchset, which, backend)
            difference = np.abs(cls - np.column_stack([limits.cls_obs, limits.cls_exp])[which]).max()
            row |= {f"pyhf_{backend}_s_each": each, f"pyhf_{backend}_on": len(which), f"ratio_{backend}": each / (seconds / n),
                    f"largest_cls_difference_{backend}": float(difference)}  # fmt: skip
        rows.append(row)
        print(
            f"{name}: {n} hypotheses in {seconds * 1e3:.1f} ms ({seconds / n * 1e3:.3f} ms each), read and compiled {compiled:.2f} s"
        )
        for backend in timed:
            print(
                f"  pyhf {backend}: {row[f'pyhf_{backend}_s_each']:.2f} s each on {len(which)} (all {n}: "
                f"{row[f'pyhf_{backend}_s_each'] * n / 60:.1f} min, extrapolated), {row[f'ratio_{backend}']:.0f} times ours; "
                f"CLs differ by at most {row[f'largest_cls_difference_{backend}']:.1e}"
            )
    for n in (125, 500, 2000, 10000):
        seconds = ours(*synthetic(10, 2, n), repeats=1)[3]
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        rows.append({"input": "synthetic 10 bins", "hypotheses": n, "fits_s": seconds, "peak_MiB": memory})
        print(
            f"synthetic 10 bins, {n} hypotheses: {seconds / n * 1e6:.0f} us each, peak memory of this process {memory:.0f} MiB"
        )
    if args.json:
        Path(args.json).write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
