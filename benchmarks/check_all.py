"""The duration of `workshop check-all`, compared in one run with its lower limit: the imports of PyTorch and JAX.

    python benchmarks/check_all.py            # 3 runs of each
    python benchmarks/check_all.py --short    # one run with one exercise, as a trial of this script

`check-all` starts two interpreters each for PyTorch, JAX and SciPy (two runs that are compared are not forked
from the same one), trains some twenty times in forks of them, and compiles with XLA. `first`: with an empty cache, so that XLA
compiles and the data set is made; `again`: with the cache that `first` has
filled.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "common"))

from workshop import errors
from workshop.runs import options
from workshop.support import files
from workshop.support.hardware import cpu_name

IMPORTS = ("torch", "jax", "flax.linen", "scipy.stats", "matplotlib.figure")
# The imports that any `check-all` needs: both frameworks twice.
REQUIRED_IMPORTS = ("torch", "torch", "jax", "jax")


def timed(line: list[str], environment: dict[str, str]) -> tuple[float, subprocess.CompletedProcess[str]]:
    start_time = time.perf_counter()
    process = subprocess.run(line, env=environment, cwd=ROOT, capture_output=True, text=True)
    return time.perf_counter() - start_time, process


def check_all(extra_options: list[str], cache: str) -> dict:
    """One run: its wall-clock seconds, and the numbers of checks that passed, failed and were skipped."""
    variables = os.environ | {"PYTHONPATH": str(ROOT / "common"), "WORKSHOP_CACHE": cache}
    seconds, process = timed([sys.executable, "-m", "workshop", "check-all", "--json", *extra_options], variables)
    if process.returncode not in (0, 1):
        raise errors.WorkshopError(
            looked_at="workshop check-all",
            expected="exit code 0 or 1",
            found=process.stderr[-500:],
            next_step="workshop check-all",
        )
    return {"seconds": seconds, "counts": json.loads(process.stdout)["counts"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--n", type=options.whole_number("--n", 1), default=3, metavar="N", help="runs of each (default 3)"
    )
    parser.add_argument("--short", action="store_true", help="n = 1, exercise 1 alone")
    parser.add_argument("--output", type=Path, help="JSON")
    args = parser.parse_args()
    n, extra_options = (1, ["--exercise", "1"]) if args.short else (args.n, [])
    imports = {
        name: [timed([sys.executable, "-c", f"import {name}"], dict(os.environ))[0] for _ in range(n)]
        for name in IMPORTS
    }
    first, again = [], []
    for _ in range(n):
        with tempfile.TemporaryDirectory() as cache:
            first.append(check_all(extra_options, cache))
            again.append(check_all(extra_options, cache))
    medians = {name: statistics.median(seconds) for name, seconds in imports.items()}
    median = {
        name: statistics.median(run["seconds"] for run in runs) for name, runs in (("first", first), ("again", again))
    }
    imports_seconds = sum(medians[name] for name in REQUIRED_IMPORTS)
    result = {
        "what": "wall-clock seconds of workshop check-all, and of fresh interpreters that import one module",
        "n": n,
        "machine": {"cpu": cpu_name(), "cpu_count": os.cpu_count(), "python": platform.python_version()},
        "import_s": imports,
        "import_median_s": medians,
        "check_all": {"first": first, "again": again},
        "median_s": median,
        "ratio_to_the_imports": {name: seconds / imports_seconds for name, seconds in median.items()},
    }
    for name, seconds in medians.items():
        print(f"import {name:<18} {seconds:6.2f} s")
    for name, seconds in median.items():
        print(
            f"check-all, {name:<14} {seconds:6.1f} s, {seconds / imports_seconds:.1f} times the imports of both frameworks, twice"
        )
    print(f"passed, failed, skipped: {', '.join(str(count) for count in again[-1]['counts'].values())}")
    if args.output:
        files.write_atomic(args.output, (json.dumps(result, indent=1) + "\n").encode())


if __name__ == "__main__":
    with errors.errors_as_messages():
        main()
