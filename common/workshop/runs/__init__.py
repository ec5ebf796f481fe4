"""What an exercise's script imports. One run is one folder, written completely or not at all.

    main            read the command line, call the script's function with its run, explain problems   (entry.py)
    Run, Training   what that function gets: arguments, data, device, epochs, `finish`    (run.py, training.py)

    data.py         the data sets: the same bytes on every machine
    options.py      the command line; stopping.py: signals
    weights.py      tensors in a file that knows its checksum; figures.py: loss curve, confusion matrix
    frameworks/     PyTorch and JAX: device, state, flags; several processes
    records/        the folder of a run: `<run>.partial/` until it is complete, run.json, the crate; runs to continue
    search/         the search that exercise 1 analyses, and its limits

No file here imports PyTorch or JAX before a script asks for its device, and none reads a Pixi workspace.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workshop.runs.entry import main
    from workshop.runs.run import Run
    from workshop.runs.training import Training

__all__ = ["Run", "Training", "main"]


def __getattr__(name: str) -> Any:
    """On first use, since the checks read single modules of this package where NumPy is not installed."""
    from importlib import import_module

    homes = {"main": "entry", "Run": "run", "Training": "training"}
    if name not in homes:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{homes[name]}"), name)
