"""Importing Matplotlib, whatever MPLBACKEND contains, and saving figures with the same bytes for the same numbers."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workshop.support.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Identifiers in an SVG are hashes, by default with a random salt. Text becomes shapes, which look alike with any fonts.
SVG: dict[Any, str] = {"svg.hashsalt": "figure", "svg.fonttype": "path"}


def import_matplotlib() -> None:
    """Import Matplotlib. It refuses to be imported if MPLBACKEND names no backend; figures in files need none."""
    if "matplotlib" in sys.modules:
        return
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend is not None:
        with contextlib.suppress(ValueError):
            matplotlib.rcParams["backend"] = backend  # for scripts that open windows


def save(figure: Figure, path: Path, vector: bool = True) -> None:
    """Write a figure as PNG and, with `vector`, as SVG beside it. Equal figures give equal files.

    Each file is replaced at once, so that a reader never finds half of it.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    content = io.BytesIO()
    # `savefig` would draw twice, the first time to find the size, which is given here. The metadata, which are left
    # out, contain Matplotlib's version and the time.
    FigureCanvasAgg(figure).print_png(content, metadata={"Software": None})
    write_atomic(path, content.getvalue())
    if vector:
        figure.set_layout_engine("none")  # the layout is that of the PNG
        content = io.BytesIO()
        with matplotlib.rc_context(SVG):
            FigureCanvasSVG(figure).print_svg(content, metadata={"Creator": None, "Date": None})
        write_atomic(path.with_suffix(".svg"), content.getvalue())
