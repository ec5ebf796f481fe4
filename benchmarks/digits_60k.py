"""Seconds to create the data set digits-60k, without imports: python benchmarks/digits_60k.py (goal: under 3 s)."""

import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "common"))

import numpy as np
import sklearn.datasets  # noqa: F401  (imported here so that the measurement does not include it)

from workshop.runs import data
from workshop.support.hardware import cpu_name

seconds = []
for _ in range(5):
    start_time = time.perf_counter()
    arrays = data._make_digits_60k()
    seconds.append(time.perf_counter() - start_time)
sha256 = data.content_sha256(arrays)
assert sha256 == data.BUILT_SHA256["digits-60k"], sha256
print(
    f"digits-60k: {statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f}), n = {len(seconds)}, ",
    end="",
)
print(f"NumPy {np.__version__}, {cpu_name()}")
