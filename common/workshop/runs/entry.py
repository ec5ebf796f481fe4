"""`runs.main`: the last line of every script."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from workshop import errors
from workshop.errors import WorkshopError
from workshop.runs import options, stopping
from workshop.runs.frameworks import device, processes
from workshop.runs.records import parent, record
from workshop.runs.run import Run
from workshop.runs.training import Training


def main(
    function: Callable[[Any], None],
    *,
    exercise: str,
    script: str,
    description: str | None,
    epochs: int | dict[str, int] | None = None,
    seed: int = 0,
    add_options: Callable[[argparse.ArgumentParser], None] | None = None,
    parents: tuple[str, ...] = (),
    distributed: bool = False,
) -> None:
    """Read the command line, call `function` with its run, and turn errors into one message and an exit code.

    epochs: their number, or the default for each data set; makes the run a `Training`. seed: the default seed.
    description: the script's docstring; None under `python -OO`, which removes it.
    parents: exercises whose runs this script continues; its first argument is then such a run. add_options: adds the
    script's own options. distributed: torchrun may start several processes.
    Exit codes: 0; 1 for a problem; 85 after a signal to stop, with a checkpoint; 130 after Ctrl-C.
    """
    folder = None

    def clean_up() -> None:
        if folder:
            record.abandon(folder)

    with stopping.clean_up_on_ctrl_c(clean_up), errors.errors_as_messages(), ExitStack() as stack:
        arguments = options.read(description, epochs is not None, parents, add_options, seed)
        if not distributed and processes.is_distributed():
            raise WorkshopError(
                looked_at="torchrun",
                expected="one process, since this script does not divide its work",
                found=f"{device.torchrun_number('WORLD_SIZE')} processes, which would all do the same work",
                next_step="torchrun --nproc-per-node 2 exercise-5-container/solution/train_distributed.py",
            )
        source = parent.choose(arguments.run, exercise, script, parents) if parents else None
        if epochs is None:
            if source:
                seed = source.record["seed"]
            arguments.seed = seed if getattr(arguments, "seed", None) is None else arguments.seed
            folder = stack.enter_context(record.run_folder(exercise, script, arguments))
            function(Run(exercise, arguments, folder, source))
            return
        stop_signal = stack.enter_context(stopping.catch_signals())
        folder = stack.enter_context(record.run_folder(exercise, script, arguments, processes.rank()))
        rank, world = stack.enter_context(processes.process_group(arguments.device)) if distributed else (0, 1)
        function(Training(exercise, arguments, folder, source, epochs, stop_signal, rank, world, seed))
