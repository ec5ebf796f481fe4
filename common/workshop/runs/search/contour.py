"""The exclusion figure: where CLs crosses 0.05 in the plane of the first two labels."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from workshop.support import drawing

LEVEL = 0.05  # excluded at 95 % confidence: CLs below this
LONGEST_LABEL = 100  # characters: a longer one would not fit the figure
BLUE, ORANGE, BAND = "#0b5fa5", "#c2410c", "#fde68a"


def triangulate(x: np.ndarray, y: np.ndarray):
    """Delaunay triangles of the points (n,), with both axes scaled to the same length; None if the points do not span a
    plane.
    """
    drawing.import_matplotlib()
    from matplotlib.tri import Triangulation
    from scipy.spatial import Delaunay, QhullError

    spans = np.ptp(x), np.ptp(y)
    if len(x) < 3 or min(spans) <= 0:
        return None
    try:
        # SciPy's triangulation, since Matplotlib's fails for some grids with many points on a line.
        triangles = Delaunay(np.column_stack([x / spans[0], y / spans[1]])).simplices
    except QhullError:
        return None
    return Triangulation(x, y, triangles)


def crossing(triangulation, cls: np.ndarray, level: float = LEVEL) -> list[np.ndarray]:
    """The lines (n, 2) where CLs, linear in each triangle, is `level`."""
    _, axes = _figure(1, 1)
    return [np.asarray(line) for line in axes.tricontour(triangulation, cls, levels=[level]).allsegs[0] if len(line)]


def draw(
    path: Path,
    labels: list[str],
    points: np.ndarray,
    observed: np.ndarray,
    expected: np.ndarray,
    title: str,
    vector: bool = True,
) -> bool:
    """PNG of observed (n,) and expected (n, 5) CLs at points (n, 2) or (n, 1). False if there is nothing to draw.

    vector: also SVG.
    """
    if points.ndim != 2 or len(points) < 2 or points.shape[1] == 0:
        return False
    figure, axes = _figure(7.0, 4.8)
    if points.shape[1] == 1:
        order = np.argsort(points[:, 0])
        x, observed, expected = points[order, 0], observed[order], expected[order]
        axes.fill_between(x, expected[:, 1], expected[:, 3], color=BAND, label="expected, ±1 σ")
        axes.plot(x, expected[:, 2], "--", color=BLUE, label="expected")
        axes.plot(x, observed, "o-", color=ORANGE, markersize=3, label="observed")
        axes.axhline(LEVEL, color="grey", linewidth=0.8)
        axes.set(xlabel=plain(labels[0]), ylabel="CLs", yscale="log")
        axes.legend(frameon=False)
    else:
        triangulation = triangulate(points[:, 0], points[:, 1])
        if triangulation is None:
            return False
        handles = _plane(axes, triangulation, observed, expected)
        axes.set(xlabel=plain(labels[0]), ylabel=plain(labels[1]))
        axes.legend(handles=handles, frameon=False, loc="upper left")
    axes.set_title(plain(title))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # a name may be in any script
        drawing.save(figure, path, vector)
    return True


def plain(text: str) -> str:
    """A label as Matplotlib shows it unchanged: `$` would start a formula, and control characters have no glyph."""
    shown = "".join(c if c.isprintable() else "?" for c in text[:LONGEST_LABEL])
    return shown.replace("$", r"\$")


def _plane(axes, triangulation, observed: np.ndarray, expected: np.ndarray) -> list:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    # Fill the region excluded at -1 sigma with colour, then the one excluded at +1 sigma with white: the band remains.
    for sigma, colour in ((1, BAND), (3, "white")):
        if expected[:, sigma].min() < LEVEL:
            axes.tricontourf(triangulation, expected[:, sigma], levels=[-1.0, LEVEL], colors=[colour])
    for cls, colour, style in ((expected[:, 2], BLUE, "--"), (observed, ORANGE, "-")):
        for line in crossing(triangulation, cls):
            axes.plot(line[:, 0], line[:, 1], style, color=colour, linewidth=1.8)
    excluded = observed < LEVEL
    axes.plot(triangulation.x[excluded], triangulation.y[excluded], ".", color="#374151", markersize=4)
    axes.plot(triangulation.x[~excluded], triangulation.y[~excluded], ".", color="#d1d5db", markersize=4)
    axes.use_sticky_edges = False  # filled contours would cut through the points on the border
    axes.margins(0.06)
    axes.autoscale_view()
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.34 * (high - low))  # room for the legend
    return [
        Line2D([], [], color=ORANGE, linewidth=1.8, label="observed limit (95 % CL)"),
        Line2D([], [], color=BLUE, linestyle="--", linewidth=1.8, label="expected limit"),
        Patch(color=BAND, label="expected, ±1 σ"),
        Line2D([], [], marker=".", linestyle="", color="#374151", label="hypothesis excluded"),
        Line2D([], [], marker=".", linestyle="", color="#d1d5db", label="not excluded"),
    ]


def _figure(width: float, height: float):
    """Figure and axes without pyplot, which needs no window system and saves the import of pyplot."""
    drawing.import_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    return figure, figure.subplots()
