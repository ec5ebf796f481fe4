"""When does a GPU pay? The fits of `workshop scan` with NumPy on one core, and with JAX on a GPU (`--backend jax`).

    python benchmarks/scan_jax.py                  # about 70 s on a machine with a GPU; without one, minutes on the CPU
    python benchmarks/scan_jax.py --only generated
    python benchmarks/scan_jax.py --shared DIR     # a folder with background.json.gz and patchset.json.gz of ATLAS 1Lbb

Likelihoods: a generated one with many samples and systematic uncertainties (150 bins, 335 parameters), ATLAS 1Lbb (left out
if its files are missing), and 10,000 hypotheses of exercise 1's generated search. Both backends use the same scan, so they
have the same starts. Times are medians of --n runs of all fits; a backend that needs more than 3 s runs once. jax_first_s is
the first run, with compiling.
"""

from __future__ import annotations

import os

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "common"))

import numpy as np

from histfactory import Scan, compile_models, digest, on_jax, read_hypotheses, read_json
from histfactory.inference import Limits
from workshop.runs import search
from workshop.support import files, hardware

Documents = tuple[dict, dict]  # workspace and patch set


def large() -> Documents:
    """A likelihood with 15 channels of 10 bins, 8 samples, 120 normsys and 60 histosys in each; a signal at 125 masses."""
    rng, x = np.random.default_rng(7), (np.arange(10) + 0.5) / 10
    channels, observations, patches = [], [], [[] for _ in range(125)]
    for c in range(15):
        samples = [_large_sample(rng, x, c, s) for s in range(8)]
        channels.append({"name": f"c{c}", "samples": samples})
        total = np.sum([sample["data"] for sample in samples], 0)
        observations.append({"name": f"c{c}", "data": rng.poisson(total).astype(float).tolist()})
        theory = [_normsys(f"n{k}", 1 + rng.uniform(0.005, 0.03), 0.98) for k in range(0, 120, 4)]
        modifiers = [{"name": "mu", "type": "normfactor", "data": None}, *theory]
        for patch, mass in zip(patches, np.linspace(0.1, 0.9, 125), strict=True):
            peak = (25 + 40 * (1 - mass)) * np.exp(-0.5 * ((x - mass) / 0.15) ** 2) * rng.uniform(0.6, 1.4) + 1e-3
            signal = {"name": "signal", "data": peak.tolist(), "modifiers": modifiers}
            patch.append({"op": "add", "path": f"/channels/{c}/samples/-", "value": signal})
    mu = {"name": "mu", "bounds": [[0.0, 10.0]], "inits": [1.0]}
    workspace = {
        "channels": channels,
        "observations": observations,
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": [mu]}}],
        "version": "1.0.0",
    }
    metadata = {"labels": ["i"], "digests": {"sha256": digest(workspace)}, "description": "", "references": {}}
    entries = [{"metadata": {"name": f"p{i}", "values": [i]}, "patch": patch} for i, patch in enumerate(patches)]
    return workspace, {"metadata": metadata, "patches": entries, "version": "1.0.0"}


def _normsys(name: str, hi: float, lo: float) -> dict:
    return {"name": name, "type": "normsys", "data": {"hi": hi, "lo": lo}}


def _large_sample(rng: np.random.Generator, x: np.ndarray, channel: int, number: int) -> dict:
    nominal = 400 * rng.uniform(0.2, 1) * np.exp(-rng.uniform(0.5, 3) * x)
    modifiers = [{"name": f"staterror_{channel}", "type": "staterror", "data": (0.03 * nominal).tolist()}]
    if number < 4:
        modifiers.append({"name": f"norm_{number}", "type": "normfactor", "data": None})
    for k in range(120):
        size = rng.uniform(-0.02, 0.02)
        modifiers.append(_normsys(f"n{k}", 1 + size, 1 / (1 + size * rng.uniform(0.7, 1.3))))
    for k in range(60):
        wave = 0.02 * np.sin(np.pi * (k % 7 + 1) * x + rng.uniform(0, 6.28))
        data = {"hi_data": (nominal * (1 + wave)).tolist(), "lo_data": (nominal * (1 - 0.8 * wave)).tolist()}
        modifiers.append({"name": f"h{k}", "type": "histosys", "data": data})
    return {"name": f"sample{number}", "data": nominal.tolist(), "modifiers": modifiers}


def generated() -> Documents:
    """Exercise 1's generated search with 10,000 hypotheses, which repeat the 125 of its grid."""
    workspace, patchset = search.generate(np.random.default_rng(20))
    grid = patchset["patches"]
    patchset["patches"] = [
        {"metadata": {"name": f"h{i}", "values": [i, 0]}, "patch": grid[i % len(grid)]["patch"]} for i in range(10_000)
    ]
    return workspace, patchset


def timed(fits: Callable[[], Limits], n: int) -> tuple[Limits, float]:
    """The limits, and the median seconds of n runs; of one run if that takes more than 3 s."""
    seconds = []
    while len(seconds) < (n if not seconds or seconds[0] < 3 else 1):
        start = time.perf_counter()
        limits = fits()
        seconds.append(time.perf_counter() - start)
    return limits, statistics.median(seconds)


def measure(name: str, documents: Documents, n: int) -> dict:
    """The times of one likelihood with both backends, and how much their CLs differ."""
    start = time.perf_counter()
    [model] = compile_models(read_hypotheses(*documents)[1])
    read = time.perf_counter()
    scan = Scan(model)
    background = time.perf_counter()
    with_jax = copy.copy(scan)
    with_jax.likelihood = copy.copy(scan.likelihood)
    with_jax.likelihood.backend = on_jax.device_of(model)
    reference, numpy_s = timed(scan.limits, n)
    before, first = timed(with_jax.limits, 1)
    limits, jax_s = timed(with_jax.limits, n)
    differences = np.column_stack([limits.cls_obs - reference.cls_obs, limits.cls_exp - reference.cls_exp])
    return {
        "workload": name,
        "hypotheses": len(model.names),
        "bins": model.data.shape[1],
        "parameters": len(model.parameters),
        "read_s": read - start,
        "background_s": background - read,
        "numpy_s": numpy_s,
        "jax_first_s": first,
        "jax_s": jax_s,
        "compile_s": first - jax_s,
        "speedup_warm": numpy_s / jax_s,
        "speedup_with_compile": numpy_s / first,
        "converged": int(limits.converged.sum()),
        "same_converged": bool((limits.converged == reference.converged).all()),
        "same_bits_again": before.nll.tobytes() == limits.nll.tobytes(),
        "largest_difference_of_cls": float(np.abs(differences).max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=("large", "1Lbb", "generated"))
    parser.add_argument("--n", type=int, default=3, metavar="N", help="runs of each backend (default: 3)")
    parser.add_argument("--shared", default=ROOT.parent / "shared" / "data" / "1Lbb", type=Path, metavar="DIR")
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON file for all numbers")
    args = parser.parse_args()
    on_gpu, name = on_jax.first_device()
    if not on_gpu:
        print("JAX finds no GPU: it uses the CPU")

    import jax

    document: dict = {
        "device": name,
        "on_gpu": on_gpu,
        "cpu": hardware.cpu_name(),
        "cores": hardware.cores(),
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "jax": jax.__version__,
        "rows": [],
    }
    workloads: dict[str, Callable[[], Documents]] = {
        "large": large,
        "1Lbb": lambda: (read_json(args.shared / "background.json.gz"), read_json(args.shared / "patchset.json.gz")),
        "generated": generated,
    }
    for workload in args.only or workloads:
        if workload == "1Lbb" and not (args.shared / "background.json.gz").exists():
            print(f"no {args.shared}: 1Lbb is left out")
            continue
        row = measure(workload, workloads[workload](), args.n)
        document["rows"].append(row)
        print(
            f"{workload}: {row['hypotheses']} hypotheses, {row['parameters']} parameters: NumPy {row['numpy_s']:.2f} s, JAX "
            f"{row['jax_s']:.2f} s ({row['speedup_warm']:.1f} times), with compiling {row['jax_first_s']:.1f} s; "
            f"CLs differ by {row['largest_difference_of_cls']:.1g}",
            flush=True,
        )
        if args.output:
            files.write_atomic(args.output, (json.dumps(document, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
