"""What an exercise's script imports. One run is one folder, written completely or not at all.

    main            reads the command line, calls the script's function, explains problems   (entry.py)
    CudaGraph       a training step of PyTorch that a GPU repeats      (frameworks/cuda_graph.py)
    Run, Training   what that function receives: arguments, data, device, epochs, `finish`    (run.py, training.py)

    data.py         the data sets: the same bytes on every machine
    options.py      the command line; stopping.py: signals
    weights.py      tensors in a file with a checksum; checkpoint.py: reading one of them to resume a run
    figures.py      loss curve, confusion matrix
    frameworks/     PyTorch and JAX: device, state, flags; several processes
    records/        the folder of a run: `<run>.partial/` until it is complete, run.json, the crate; parent runs
    search/         a small search for a new particle, and its limits

PyTorch or JAX is imported only when a script requests its device. No file here reads a Pixi workspace.
"""

import sys
from typing import TYPE_CHECKING, Any

from workshop.runs import stopping

if TYPE_CHECKING:
    from workshop.runs.entry import main
    from workshop.runs.frameworks.cuda_graph import CudaGraph
    from workshop.runs.run import Run
    from workshop.runs.training import Training

__all__ = ["CudaGraph", "Run", "Training", "main"]


def _is_imported_by_script() -> bool:
    """Whether a script imports this package itself: not another module, a notebook or an interactive session."""
    frame = sys._getframe(1)
    while frame and frame.f_globals.get("__name__", "").startswith(("importlib.", "_frozen_importlib", __name__)):
        frame = frame.f_back
    return frame is not None and frame.f_globals.get("__name__") == "__main__" and "__file__" in frame.f_globals


if _is_imported_by_script():  # importing a framework, which takes seconds, may follow
    stopping.exit_on_ctrl_c()


def __getattr__(name: str) -> Any:
    """Import on first use: single modules of this package are also needed in environments without NumPy."""
    from importlib import import_module

    homes = {"main": "entry", "Run": "run", "Training": "training", "CudaGraph": "frameworks.cuda_graph"}
    if name not in homes:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{homes[name]}"), name)
