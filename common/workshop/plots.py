"""The two figures of a training run, the same for every framework, with the same bytes for the same numbers."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from workshop.files import write_atomic

BLUE, ORANGE, GREY = "#0b5fa5", "#c2410c", "#6b7280"  # told apart in print and by colour-blind readers


def learning_curve(
    path: Path, losses: np.ndarray, accuracies: list[float], title: str, before: float | None = None
) -> None:
    """PNG: training loss of every step (losses, shape (steps,)) and test accuracy after every epoch.

    before: the accuracy that the training began with, where it went on from trained weights; drawn as epoch 0.
    """
    figure, (loss_axis, accuracy_axis) = _figure(8.0, 3.4, columns=2)
    steps = np.arange(1, len(losses) + 1)
    window = max(1, len(losses) // 60)  # a running mean that leaves about 60 points to see
    loss_axis.plot(steps, losses, color=BLUE, alpha=0.2 if window > 1 else 1.0, linewidth=0.8, label="each step")
    if window > 1:
        smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
        loss_axis.plot(steps[window - 1 :], smooth, color=BLUE, label=f"mean of {window} steps")
    loss_axis.set(yscale="log", xlabel="training step", ylabel="training loss (cross-entropy)")
    loss_axis.legend(frameon=False)
    drawn = accuracies if before is None else [before, *accuracies]
    epochs = np.arange(len(accuracies) + 1)[-len(drawn) :]
    accuracy_axis.plot(epochs, 100 * np.asarray(drawn), "o-", color=ORANGE)
    accuracy_axis.set(xlabel="epoch", ylabel="test accuracy / %")
    if len(drawn) > 2:
        accuracy_axis.xaxis.get_major_locator().set_params(integer=True)
    else:  # where there is so much room, the locator puts fractions of epochs into it
        accuracy_axis.set_xticks(epochs)
    accuracy_axis.grid(alpha=0.3)
    figure.suptitle(title)
    _save(figure, path)


def confusion_matrix(path: Path, counts: np.ndarray, classes: tuple[str, ...], title: str) -> None:
    """PNG of counts, shape (classes, classes): row is the true class, column the predicted one."""
    figure, axes = _figure(6.4, 5.6)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # Mistakes are rare: on the square root they stay visible beside the diagonal.
    axes.imshow(np.sqrt(share), cmap="Blues", vmin=0, vmax=1)
    for row in range(len(counts)):
        for column in range(len(counts)):
            if counts[row, column]:
                dark = share[row, column] > 0.3
                axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=8,
                          color="white" if dark else GREY)  # fmt: skip
    turned = {"rotation": 45, "ha": "right"} if max(map(len, classes)) > 2 else {}
    axes.set_xticks(range(len(classes)), classes, **turned)
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title)
    _save(figure, path)


def _figure(width: float, height: float, columns: int = 1):
    """A figure outside pyplot: no window system is asked for, and pyplot's import is saved."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, columns)


def _save(figure, path: Path) -> None:
    content = io.BytesIO()
    # Without the line that names Matplotlib's version, equal figures are equal files.
    figure.savefig(content, format="png", dpi=120, metadata={"Software": None})
    write_atomic(path, content.getvalue())
