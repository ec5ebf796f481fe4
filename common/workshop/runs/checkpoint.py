"""Reading a checkpoint: nothing in it is used before its checksum, its types and its numbers were checked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from workshop import shell
from workshop.errors import WorkshopError
from workshop.runs import data, options, weights
from workshop.runs.frameworks import processes
from workshop.runs.records import record

# Entries that a run needs before it knows what they must be, or that no other value determines.
TYPES = {"seed": int, "epochs": int, "threads": int, "data": str, "done": int, "accuracies": list, "resumed": list}
EXPECTED = "a checkpoint that this workshop wrote"


def load(folder: record.Folder | None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and metadata of the checkpoint. The first process, which has the folder, reads it and sends it to the
    others.

    Raises WorkshopError in every process if it cannot be read.
    """
    content = problem = None
    if folder is not None:
        path = folder.folder / record.CHECKPOINT
        try:
            content = weights.load(path, _start_over(path))
            _require_types(path, content[1])
        except WorkshopError as error:
            problem = error
    content, problem = processes.broadcast_from_first((content, problem))
    if problem:
        raise problem
    return content


def require_progress(path: Path, arrays: dict[str, np.ndarray], table: dict[str, Any], n_epochs: int) -> None:
    """Raise WorkshopError unless the epochs, accuracies, losses (steps,) and confusion matrix (classes, classes) of a
    checkpoint belong together. n_epochs: of the run.
    """
    done, accuracies, resumed = table.get("done", 0), table.get("accuracies", []), table.get("resumed", [])
    problem = None
    if not 1 <= done <= n_epochs:
        problem = f"{done} epochs done, of {n_epochs}"
    elif len(accuracies) != done or not all(isinstance(value, float) and 0 <= value <= 1 for value in accuracies):
        problem = f"not one accuracy from 0 to 1 for each of {done} epochs"
    elif not all(type(epoch) is int and 1 <= epoch <= done for epoch in resumed) or resumed != sorted(resumed):
        problem = "resumed after epochs that are not in order"
    elif missing := {"losses", "confusion"} - arrays.keys():
        problem = f"none of its arrays is called {min(missing)}"
    elif (losses := arrays["losses"]).ndim != 1 or losses.dtype != np.float32 or len(losses) < done:
        problem = f"not the losses of {done} epochs"
    elif (
        (confusion := arrays["confusion"]).ndim != 2
        or len(set(confusion.shape)) != 1
        or confusion.dtype.kind not in "iuf"
    ):
        problem = "no confusion matrix"
    elif confusion.min(initial=0) < 0 or confusion.sum() <= 0:
        problem = "a confusion matrix without images"
    if problem:
        raise _refusal(path, EXPECTED, problem)


@contextmanager
def errors_as_refusal(folder: record.Folder | None) -> Iterator[None]:
    """Turn the errors of a framework that restores a checkpoint into one message about the checkpoint."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        path = folder.folder / record.CHECKPOINT if folder else Path(record.CHECKPOINT)
        found = f"another state: {type(error).__name__}: {str(error)[:200]}"
        raise _refusal(path, "the state of this network and this optimizer", found) from error


def _require_types(path: Path, table: dict[str, Any]) -> None:
    for key in TYPES.keys() & table.keys():
        value, kind = table[key], TYPES[key]
        if type(value) is not kind or (kind is int and not 0 <= value <= options.LARGEST):
            raise _refusal(path, f"{key}: a value of type {kind.__name__}", f"{key}: {str(value)[:80]}")
    if table.get("data", data.NAMES[0]) not in data.NAMES:
        raise _refusal(path, f"data: one of {', '.join(data.NAMES)}", f"data: {table['data'][:80]}")


def _refusal(path: Path, expected: str, found: str) -> WorkshopError:
    return WorkshopError(looked_at=path, expected=expected, found=found, next_step=_start_over(path))


def _start_over(path: Path) -> str:
    return f"rm -r {shell.quoted(path.parent)}  # this checkpoint cannot be used: start over"
