"""The numbers inside two outputs of the same name, where the bytes differ: CLs of limits.json, logits of a prediction."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workshop.runs.search import CLS_REASON, CLS_TOLERANCE
from workshop.support.files import LARGE, read_bytes, sha256_of
from workshop.verification.comparing.row import Row

LIMITS, LOGITS = "limits.json", "logits.safetensors"


def rows(folder: Path, other: Path, record: dict[str, Any]) -> Iterator[Row]:
    """A row for each of these files that both runs have with different bytes. record: of the run in `folder`."""
    for name, compare in ((LIMITS, _limits), (LOGITS, _logits)):
        paths = [place / name for place in (folder, other)]
        if all(path.is_file() for path in paths) and sha256_of(paths[0]) != sha256_of(paths[1]):
            try:
                yield compare(paths[0], paths[1], record)
            except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError) as error:
                yield Row(f"numbers of {name}", None, None, False, f"cannot be read: {error}")


def _limits(path: Path, other: Path, record: dict[str, Any]) -> Row:
    """CLs of every hypothesis, within CLS_TOLERANCE. Hypotheses and converged fits have to be the same."""
    first, second = (json.loads(read_bytes(each, LARGE))["hypotheses"] for each in (path, other))
    label = "CLs of limits.json"
    heads = [[(h["name"], h["labels"], h["converged"]) for h in hypotheses] for hypotheses in (first, second)]
    if heads[0] != heads[1]:
        return Row(label, len(first), len(second), False, "other hypotheses, or other fits that did not converge")
    pairs = zip(_cls(first), _cls(second), strict=True)
    largest = max((abs(one - two) for one, two in pairs), default=0.0)
    note = f"largest difference {largest:.3g}, tolerance {CLS_TOLERANCE:g}: {CLS_REASON}"
    return Row(label, f"{len(first)} hypotheses", f"{len(second)} hypotheses", largest <= CLS_TOLERANCE, note)


def _cls(hypotheses: list[dict[str, Any]]) -> list[float]:
    """Observed and expected CLs of the fits that converged."""
    return [float(value) for h in hypotheses if h["converged"] for value in (h["cls_obs"], *h["cls_exp"])]


def _logits(path: Path, other: Path, record: dict[str, Any]) -> Row:
    """The largest difference, relative to an image's largest logit; within the tolerance if the record states one."""
    import numpy as np
    from safetensors.numpy import load_file

    first, second = (load_file(each)["logits"].astype(np.float64) for each in (path, other))
    if first.shape != second.shape:
        return Row("logits", first.shape, second.shape, False, "another number of images")
    scale = np.maximum(np.abs(second).max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    largest = float((np.abs(first - second) / scale).max())
    note = f"largest difference {largest:.3g} of an image's largest logit"
    tolerance = record.get("comparison", {}).get("tolerance")
    if tolerance is None:
        return Row("logits", None, None, None, f"{note}; no tolerance is stated: not judged")
    same = largest <= tolerance["relative"]
    return Row("logits", None, None, same, f"{note}, tolerance {tolerance['relative']:g}: {tolerance['reason']}")
