"""The figures of two runs in one picture: a row for each name, with both figures and what differs between them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from workshop.errors import WorkshopError
from workshop.support.drawing import import_matplotlib
from workshop.support.files import write_atomic

WIDTH, HEIGHT = 4.8, 3.2  # inches of one figure in the picture
RED = (0.86, 0.15, 0.15)


def draw(target: Path, folders: tuple[Path, Path], titles: tuple[str, str]) -> list[str]:
    """Write a PNG with all figures of two runs, and return their names.

    Columns: the first run, the second, and the pixels that differ in red. Raises WorkshopError if neither has a figure.
    """
    import_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = sorted({path.name for folder in folders for path in folder.glob("*.png")})
    if not names:
        raise WorkshopError(
            looked_at=" and ".join(map(str, folders)),
            expected="a figure (*.png) in one of them",
            found="none",
            next_step="leave out --figure",
        )
    figure = Figure(figsize=(3 * WIDTH, HEIGHT * len(names)), dpi=90)
    canvas = FigureCanvasAgg(figure)
    figure.subplots_adjust(0.005, 0.005, 0.995, 1 - 0.25 / (HEIGHT * len(names)), 0.01, 0.12)
    for axes, name in zip(figure.subplots(len(names), 3, squeeze=False), names, strict=True):
        images = [pixels(folder / name) for folder in folders]
        for axis, image, title in zip(axes, images, titles, strict=False):
            _show(axis, image, f"{title}: {name}" if image is not None else f"{title}: no {name}")
        _show(axes[2], *_difference(*images))
    content = io.BytesIO()
    canvas.print_png(content, metadata={"Software": None})  # equal runs give equal files
    write_atomic(target, content.getvalue())
    return names


def pixels(path: Path) -> np.ndarray | None:
    """A PNG as RGB, shape (height, width, 3), values from 0 to 1; None if there is none, or it cannot be read."""
    import_matplotlib()
    import matplotlib.image

    try:
        image = matplotlib.image.imread(io.BytesIO(path.read_bytes()), format="png")
    except (OSError, ValueError, SyntaxError):
        return None
    image = np.atleast_3d(image)[..., :3]
    return np.broadcast_to(image, (*image.shape[:2], 3))


def _difference(one: np.ndarray | None, other: np.ndarray | None) -> tuple[np.ndarray | None, str]:
    """The second image in grey, with the pixels that differ from the first in red; and how many there are."""
    if one is None or other is None:
        return None, "nothing to compare"
    if one.shape != other.shape:
        return None, "figures of two sizes"
    differs = (one != other).any(axis=2)
    grey = np.repeat(0.75 + 0.25 * other.mean(axis=2, keepdims=True), 3, axis=2)
    grey[differs] = RED
    return grey, f"{differs.mean():.1%} of the pixels differ" if differs.any() else "the same pixels"


def _show(axis, image: np.ndarray | None, title: str) -> None:
    axis.set_title(title, fontsize=8)
    axis.set_axis_off()
    if image is not None:
        axis.imshow(image, interpolation="antialiased")
