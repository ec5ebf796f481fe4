"""Predictions as runs: logits of the test images, written with their origin and read again for a comparison."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from workshop import shell
from workshop.errors import WorkshopError
from workshop.runs import weights
from workshop.runs.data import Dataset
from workshop.runs.records import parent, provenance, record
from workshop.runs.run import Run
from workshop.support.files import sha256_of, write_atomic

LOGITS = "logits.safetensors"


@dataclass(frozen=True)
class Prediction:
    """A finished prediction. logits: float32 (n, 10). weights: sha256 of the file with the weights."""

    source: parent.Parent
    logits: np.ndarray
    weights: str | None


def read(path: str, run: Run, dataset: Dataset, logits: np.ndarray) -> Prediction:
    """The prediction in the folder `path`. Raises WorkshopError unless it has the same images as `logits` (n, 10)."""
    again = f"{shell.script(run.script)} RUN  # in the other environment, with the same RUN"
    source = parent.read(path, again)
    tensors, metadata = weights.load(source.output(LOGITS), again)
    if metadata.get("data_sha256") != dataset.sha256:
        raise WorkshopError(
            looked_at=f"{source.folder}, to compare with",
            expected=f"logits of the images of {dataset.name}",
            found=f"of {metadata.get('data', 'unknown images')}",
            next_step=again,
        )
    other_logits = tensors.get("logits", np.empty(0))
    if other_logits.shape != logits.shape:
        raise WorkshopError(
            looked_at=source.folder / LOGITS,
            expected=f"logits of shape {logits.shape}",
            found=f"shape {other_logits.shape}",
            next_step=again,
        )
    return Prediction(source, other_logits, str(metadata.get("weights")))


def finish(
    run: Run, dataset: Dataset, logits: np.ndarray, other: Prediction | None, comparison: dict[str, Any] | None
) -> None:
    """Write logits, predictions.csv and the record of a prediction, and print a summary.

    comparison: differences between `logits` and those of `other`, with `tolerance` and `inside` (from the
    script's `compare`).
    """
    assert run.parent is not None
    predicted = logits.argmax(1)
    accuracy, n = float((predicted == dataset.y_test).mean()), len(dataset.y_test)
    recorded = run.parent.require_accuracy(accuracy, n)
    source = run.parent.record
    weights_sha256 = sha256_of(run.parent.folder / parent.WEIGHTS)
    metadata = {
        "network": source["network"],
        "data": dataset.name,
        "data_sha256": dataset.sha256,
        "weights": weights_sha256,
    }
    weights.save(run.folder / LOGITS, {"logits": logits}, metadata)
    pairs = enumerate(zip(dataset.y_test, predicted, strict=True))
    rows = "".join(f"{i},{label},{prediction}\n" for i, (label, prediction) in pairs)
    write_atomic(run.folder / "predictions.csv", f"image,label,predicted\n{rows}".encode())
    content: dict[str, Any] = {}
    if comparison:  # numbers of NumPy as Python's: JSON has no others
        comparison = json.loads(json.dumps(comparison, default=lambda number: number.item()))
    if other and comparison:
        software = provenance.software(run.packages)
        comparison = {
            "with": other.source.reference(),
            "same_weights": other.weights == weights_sha256,
            **comparison,
            "packages": provenance.versions_that_differ(software, other.source.record),
        }
        content = {"comparison": comparison, "exit_status": 0 if comparison["inside"] else 1}
    tolerance = record.proportion_tolerance(accuracy, n)
    folder = run.finish(
        network=source["network"],
        dataset={"name": dataset.name, "sha256": dataset.sha256, "test": n},
        metrics=[{"name": "test_accuracy", "value": accuracy, "tolerance": tolerance}],
        **content,
    )
    print(
        f"{run.exercise}: {n:,} test images of {dataset.name}, weights of {source['exercise']} ({run.parent.folder.name})\n"
        f"test accuracy {accuracy:.2%}, as the run itself recorded: {recorded:.2%}; written: {shell.relative(folder)}"
    )
    if comparison:
        _print(comparison)


def _print(comparison: dict[str, Any]) -> None:
    print(
        f"compared with {comparison['with']['run']}: logits differ by {comparison['largest_absolute']:.1e} at most, "
        f"{comparison['largest_relative']:.1e} of an image's largest; labels that differ: "
        f"{comparison['labels_that_differ']} of {comparison['images']:,}"
    )
    versions = [
        f"{name} {here or 'absent'} (there {there or 'absent'})"
        for name, (here, there) in comparison["packages"].items()
    ]
    print(f"packages that differ: {', '.join(versions) or 'none of those that matter'}")
    if not comparison["same_weights"]:
        print("the weights differ too: these are two trainings, not one network in two environments")
    tolerance = comparison["tolerance"]
    word = "inside" if comparison["inside"] else "OUTSIDE"
    print(f"{word} the tolerance of {tolerance['relative']:g} ({tolerance['reason']})")
