"""What the image classifiers of exercises 2, 3 and 4 report at the end, whatever framework trained them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from workshop.runs import plots, record, weights
from workshop.runs.data import Dataset


def report(
    run: record.Run,
    dataset: Dataset,
    tensors: dict[str, np.ndarray],
    losses: np.ndarray,
    accuracies: list[float],
    counts: np.ndarray,
    seed: int,
    packages: tuple[str, ...],
    accuracy_before: float | None = None,
    **said: Any,
) -> Path:
    """Draw the figures, write the weights, close the run; the folder where it lies.

    tensors: the weights by name, in PyTorch's layouts. losses: training loss of every step, (steps,).
    accuracies: on the test images, after every epoch. counts: the confusion matrix, (classes, classes).
    accuracy_before: what the weights reached that the training went on from.
    said: what else `workshop.runs.record.finish` takes (determinism, device, network, ...).
    """
    accuracy, n = accuracies[-1], len(dataset.y_test)
    title = f"{dataset.name}, seed {seed}: {accuracy:.2%} of {n:,} test images"
    plots.learning_curve(run.folder / "learning_curve.png", losses, accuracies, title, accuracy_before)
    plots.confusion_matrix(run.folder / "confusion_matrix.png", counts, dataset.classes, title)
    about = {"network": said["network"], "data": dataset.name, "data_sha256": dataset.sha256}
    weights.save(run.folder / "weights.safetensors", tensors, about)
    last_epoch = losses[-(len(losses) // len(accuracies)) :]
    return record.finish(
        run,
        packages,
        seed=seed,
        dataset={"name": dataset.name, "sha256": dataset.sha256, "train": len(dataset.y_train), "test": n},
        metrics=[
            {"name": "test_accuracy", "value": accuracy, "tolerance": record.proportion_tolerance(accuracy, n)},
            {"name": "train_loss", "value": float(np.mean(last_epoch, dtype=np.float64))},
            *([] if accuracy_before is None else [{"name": "test_accuracy_before", "value": accuracy_before}]),
        ],
        **said,
    )
