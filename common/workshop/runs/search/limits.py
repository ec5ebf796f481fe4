"""limits.json and its figure, the two files that a scan writes in addition to run.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from workshop.runs.search import contour
from workshop.support.files import write_atomic

SCHEMA = "reproducible-ml-workflows/limits/1"
# How much a CLs may differ in a rerun on another machine.
CLS_TOLERANCE = 1e-9
CLS_REASON = (
    "float64 rounds to 53 bits (1e-16), and the fits pass this on to CLs: with other instruction sets CLs differs by 1e-13 "
    "(benchmarks/determinism.json). 1e-9 leaves room for other libraries, and is far below the digits of a publication"
)


def write_limits(folder: Path, document: dict[str, Any], title: str) -> tuple[int, bool]:
    """Write limits.json and contour.png. Returns the number of excluded hypotheses, and whether there is a contour.

    document: as exercise-1-scipy/limits.schema.json describes it. The contour is drawn in the plane of the first two
    labels that are numbers.
    """
    write_atomic(folder / "limits.json", (json.dumps(document, indent=1) + "\n").encode())
    converged = [entry for entry in document["hypotheses"] if entry["converged"]]
    excluded = sum(entry["cls_obs"] < contour.LEVEL for entry in converged)
    axes = [
        label
        for label in document["labels"]
        if all(isinstance(entry["labels"][label], (int, float)) for entry in converged)
    ][:2]
    points = np.array([[entry["labels"][label] for label in axes] for entry in converged], float)
    observed = np.array([entry["cls_obs"] for entry in converged])
    expected = np.array([entry["cls_exp"] for entry in converged])
    title = f"{title}: {len(converged)} hypotheses"
    drawn = contour.draw(folder / "contour.png", axes, points, observed, expected, title)
    return excluded, drawn
