"""The two figures of a training run, the same for every framework, with the same bytes for the same numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from workshop.support import drawing

BLUE, ORANGE, GREY = "#0b5fa5", "#c2410c", "#6b7280"  # distinguishable in print and for colour-blind readers


def learning_curve(
    path: Path, losses: np.ndarray, accuracies: list[float], title: str, before: float | None = None
) -> None:
    """PNG and SVG: training loss of every step (losses, shape (steps,)) and test accuracy after every epoch.

    before: the accuracy before the training, if it continued from trained weights; drawn as epoch 0.
    """
    figure, (loss_axis, accuracy_axis) = _figure(
        8.0, 3.4, left=0.85, right=0.1, bottom=0.5, top=0.4, columns=2, gap=0.8
    )
    steps = np.arange(1, len(losses) + 1)
    window = max(1, len(losses) // 60)  # a running mean over 1/60 of the steps
    smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
    loss_axis.plot(steps, losses, color=BLUE, alpha=0.2 if window > 1 else 1.0, linewidth=0.8, label="each step")
    if window > 1:
        loss_axis.plot(steps[window - 1 :], smooth, color=BLUE, label=f"mean of {window} steps")
    loss_axis.set(yscale="log", xlabel="training step", ylabel="training loss (cross-entropy)")
    # Single batches may have a loss of 1e-8: without a limit they would squeeze the mean into the top of the axis.
    low, high = loss_axis.get_ylim()
    low = max(low, smooth.min() / 10)
    loss_axis.set_ylim(low, high)
    # Plain numbers: Matplotlib sets powers of ten as formulas, which takes as long as all other text.
    loss_axis.yaxis.set_major_formatter("{x:g}")
    labelled = "23456789" if high <= 5 * low else "25" if high <= 1000 * low else ""  # first digits
    loss_axis.yaxis.set_minor_formatter(lambda x, _: f"{x:g}" if f"{x:.0e}"[0] in labelled else "")
    loss_axis.legend(frameon=False)
    drawn = accuracies if before is None else [before, *accuracies]
    epochs = np.arange(len(accuracies) + 1)[-len(drawn) :]
    accuracy_axis.plot(epochs, 100 * np.asarray(drawn), "o-", color=ORANGE, clip_on=False)
    accuracy_axis.set(xlabel="epoch", ylabel="test accuracy / %")
    low, high = accuracy_axis.get_ylim()
    low, high = max(low, 0), min(high, 100)  # no share is below 0 % or above 100 %
    accuracy_axis.set_ylim(min(low, high - 1), high)  # at least one percentage point, so that noise looks small
    accuracy_axis.yaxis.set_major_formatter("{x:g}")
    if len(drawn) > 2:
        accuracy_axis.xaxis.get_major_locator().set_params(integer=True)
    else:  # with so few epochs the locator would show fractions of them
        accuracy_axis.set_xticks(epochs)
    accuracy_axis.grid(alpha=0.3)
    for axes in (loss_axis, accuracy_axis):
        axes.set_title("", y=1.0)  # Matplotlib computes the position of every title, unless it is given
    figure.suptitle(title, y=1 - 0.08 / 3.4, va="top")
    drawing.save(figure, path)


def confusion_matrix(path: Path, counts: np.ndarray, classes: tuple[str, ...], title: str) -> None:
    """PNG and SVG of counts, shape (classes, classes): row is the true class, column the predicted one."""
    longest = max(map(len, classes))
    turned = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if longest > 2 else {}
    names = 0.07 * longest  # inches that the longest name takes
    figure, axes = _figure(6.4, 5.6, left=0.5 + names, right=0.1, bottom=0.5 + (0.7 * names if turned else 0), top=0.4)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # Mistakes are rare; the square root keeps them visible next to the diagonal.
    # Without interpolation an SVG contains one pixel for each cell, which stays sharp at any size.
    axes.imshow(np.sqrt(share), cmap="Blues", vmin=0, vmax=1, interpolation="none")
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
    axes.set_title(title, y=1.0)
    drawing.save(figure, path)


def _figure(
    width: float, height: float, left: float, right: float, bottom: float, top: float, columns: int = 1, gap: float = 0
):
    """A figure without pyplot, which needs no window system and saves the import of pyplot.

    All sizes are in inches; gap: between the columns. With given margins no layout engine is needed, which would take
    as long as the drawing itself.
    """
    drawing.import_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=120)
    each = (width - left - right - gap * (columns - 1)) / columns
    figure.subplots_adjust(left / width, bottom / height, 1 - right / width, 1 - top / height, gap / each)
    return figure, figure.subplots(1, columns)
