"""The two figures of a training run, the same for every framework, with the same bytes for the same numbers."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from workshop.support.drawing import import_matplotlib
from workshop.support.files import write_atomic

BLUE, ORANGE, GREY = "#0b5fa5", "#c2410c", "#6b7280"  # distinguishable in print and for colour-blind readers


def learning_curve(
    path: Path, losses: np.ndarray, accuracies: list[float], title: str, before: float | None = None
) -> None:
    """PNG: training loss of every step (losses, shape (steps,)) and test accuracy after every epoch.

    before: the accuracy before the training, if it continued from trained weights; drawn as epoch 0.
    """
    figure, (loss_axis, accuracy_axis) = _figure(8.0, 3.4, left=0.8, right=0.1, bottom=0.5, top=0.4, columns=2, gap=0.7)
    steps = np.arange(1, len(losses) + 1)
    window = max(1, len(losses) // 60)  # a running mean over 1/60 of the steps
    loss_axis.plot(steps, losses, color=BLUE, alpha=0.2 if window > 1 else 1.0, linewidth=0.8, label="each step")
    if window > 1:
        smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
        loss_axis.plot(steps[window - 1 :], smooth, color=BLUE, label=f"mean of {window} steps")
    loss_axis.set(yscale="log", xlabel="training step", ylabel="training loss (cross-entropy)")
    # Plain numbers: Matplotlib sets powers of ten as formulas, which takes as long as all other text.
    loss_axis.yaxis.set_major_formatter("{x:g}")
    low, high = loss_axis.get_ylim()
    labelled = "25" if high > 5 * low else "23456789"  # first digits
    loss_axis.yaxis.set_minor_formatter(lambda x, _: f"{x:g}" if f"{x:.0e}"[0] in labelled else "")
    loss_axis.legend(frameon=False)
    drawn = accuracies if before is None else [before, *accuracies]
    epochs = np.arange(len(accuracies) + 1)[-len(drawn) :]
    accuracy_axis.plot(epochs, 100 * np.asarray(drawn), "o-", color=ORANGE)
    accuracy_axis.set(xlabel="epoch", ylabel="test accuracy / %")
    if len(drawn) > 2:
        accuracy_axis.xaxis.get_major_locator().set_params(integer=True)
    else:  # with so few epochs the locator would show fractions of them
        accuracy_axis.set_xticks(epochs)
    accuracy_axis.grid(alpha=0.3)
    figure.suptitle(title, y=1 - 0.08 / 3.4, va="top")
    _save(figure, path)


def confusion_matrix(path: Path, counts: np.ndarray, classes: tuple[str, ...], title: str) -> None:
    """PNG of counts, shape (classes, classes): row is the true class, column the predicted one."""
    longest = max(map(len, classes))
    turned = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if longest > 2 else {}
    names = 0.07 * longest  # inches that the longest name takes
    figure, axes = _figure(6.4, 5.6, left=0.5 + names, right=0.1, bottom=0.5 + (0.7 * names if turned else 0), top=0.4)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # Mistakes are rare; the square root keeps them visible next to the diagonal.
    axes.imshow(np.sqrt(share), cmap="Blues", vmin=0, vmax=1)
    for row in range(len(counts)):
        for column in range(len(counts)):
            if counts[row, column]:
                dark = share[row, column] > 0.3
                axes.text(
                    column,
                    row,
                    str(counts[row, column]),
                    ha="center",
                    va="center",
                    fontsize=8,
                    color="white" if dark else GREY,
                )
    axes.set_xticks(range(len(classes)), classes, **turned)
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title)
    _save(figure, path)


def _figure(
    width: float, height: float, left: float, right: float, bottom: float, top: float, columns: int = 1, gap: float = 0
):
    """A figure without pyplot, which needs no window system and saves the import of pyplot.

    All sizes are in inches; gap: between the columns. With given margins no layout engine is needed, which would take
    as long as the drawing itself.
    """
    import_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=120)
    FigureCanvasAgg(figure)
    each = (width - left - right - gap * (columns - 1)) / columns
    figure.subplots_adjust(left / width, bottom / height, 1 - right / width, 1 - top / height, gap / each)
    return figure, figure.subplots(1, columns)


def _save(figure, path: Path) -> None:
    content = io.BytesIO()
    # `savefig` would draw twice, the first time to find the size, which is given here. Without the metadata about
    # Matplotlib's version, equal figures give equal files.
    figure.canvas.print_png(content, metadata={"Software": None})
    write_atomic(path, content.getvalue())
