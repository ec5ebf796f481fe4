"""What an exercise's script imports. One run is one folder, written completely or not at all.

    main            read the command line, call the script's function with its run, explain problems   (main.py)
    Run, Training   what that function gets: arguments, data, device, epochs, `finish`    (run.py, training.py)

    data.py         the data sets: the same bytes on every machine
    frameworks/     PyTorch and JAX: device, state, flags
    record.py       the folder: `<run>.partial/` until it is complete; provenance.py, crate.py: what describes it
    weights.py      tensors in a file that knows its checksum; parent.py: a finished run that another continues
    figures.py      loss curve, confusion matrix; options.py: the command line; stopping.py: signals

No file here imports PyTorch or JAX before a script asks for its device, and none reads a Pixi workspace.
"""

from workshop.runs.main import main
from workshop.runs.run import Run
from workshop.runs.training import Training

__all__ = ["Run", "Training", "main"]
