"""limits.json and its figure, the files that a scan writes in addition to run.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from workshop.errors import WorkshopError
from workshop.runs.search import contour
from workshop.support.files import LARGE, read_bytes, write_atomic

SCHEMA = "reproducible-ml-workflows/limits/1"
# How much a CLs may differ in a rerun on another machine.
CLS_TOLERANCE = 1e-9
CLS_REASON = (
    "float64 rounds to 53 bits (1e-16), and the fits pass this on to CLs: with other instruction sets CLs differs by 1e-13 "
    "(benchmarks/determinism.json). 1e-9 leaves room for other libraries, and is far below the digits of a publication"
)


def write_limits(folder: Path, document: dict[str, Any], title: str) -> tuple[int, bool]:
    """Write limits.json, contour.png and contour.svg. Returns the number of excluded hypotheses, and whether there is a contour.

    document: as exercise-1-scipy/limits.schema.json describes it. The contour is drawn in the plane of the first two
    labels that are numbers.
    """
    write_atomic(folder / "limits.json", (json.dumps(document, indent=1) + "\n").encode())
    converged = [entry for entry in document["hypotheses"] if entry["converged"]]
    excluded = sum(entry["cls_obs"] < contour.LEVEL for entry in converged)
    title = f"{title}: {len(converged)} hypotheses"
    return excluded, draw_contour(folder / "contour.png", document["labels"], converged, title)


def draw_limits(path: str, figure: str, title: str) -> str:
    """Draw the contour of the limits in a file of `write_limits`, as PNG and SVG; a sentence about it.

    Raises WorkshopError if the file contains no limits, or nothing to draw.
    """
    try:
        document = json.loads(read_bytes(Path(path), LARGE))
        converged = [entry for entry in document["hypotheses"] if entry["converged"]]
        if not draw_contour(Path(figure), document["labels"], converged, title):
            raise ValueError("no masses that span a plane")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise WorkshopError(
            looked_at=path,
            expected="the limits that exclusion.py wrote",
            found=reason,
            next_step=f"python exclusion.py --limits {path}",
        ) from error
    return f"{figure}, {Path(figure).with_suffix('.svg')}: {len(converged)} hypotheses"


def draw_contour(
    path: Path, labels: list[str], converged: list[dict[str, Any]], title: str, vector: bool = True
) -> bool:
    """Draw the contour of these entries of limits.json, in the plane of the first two labels that are numbers.

    vector: also as SVG, beside the PNG. False if there is nothing to draw.
    """
    axes = [label for label in labels if all(isinstance(e["labels"][label], (int, float)) for e in converged)][:2]
    points = np.array([[entry["labels"][label] for label in axes] for entry in converged], float)
    observed = np.array([entry["cls_obs"] for entry in converged])
    expected = np.array([entry["cls_exp"] for entry in converged])
    return contour.draw(path, axes, points, observed, expected, title, vector)
