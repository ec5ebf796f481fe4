"""Importing Matplotlib, whatever MPLBACKEND contains."""

from __future__ import annotations

import contextlib
import os
import sys


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
