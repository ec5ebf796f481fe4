"""A training of an exercise inside this process: timed, and watched from its first step of an epoch to the last.

`inside_torch.py` and `inside_jax.py` train with it, by the exercise's own function `train`. `run.py` starts them and
reads the rows that they print.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

from report import CannotRun, Failed, Row, row_of

from workshop import runs
from workshop.runs import options
from workshop.runs.records import record

TARGET = 0.99  # test accuracy on digits-60k
GOAL = 1.0  # seconds of training, the median of all seeds
MARK = "ROW "  # begins each line that run.py reads


def settings() -> argparse.Namespace:
    """The command line of a program that run.py starts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--seeds", type=int, required=True)
    parser.add_argument("--target", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True, help="after these no further training is begun")
    parser.add_argument("--simulated", action="store_true")
    return parser.parse_args()


def emit(framework: str, check: str, measure: Callable[[], tuple[str, dict[str, Any]]]) -> Row:
    """Make a check and print its row for run.py."""
    row = row_of(framework, check, measure)
    print(MARK + json.dumps(asdict(row)), flush=True)
    return row


class Watched(runs.Training):
    """A training that measures itself, and does not write figures and record at its end.

    step_seconds: of each epoch, from its first step until the device has done the last; without evaluation and
    checkpoint, which total_seconds includes. watch: a context for the steps of each epoch. synchronize: waits for the
    device. on_network: called with a PyTorch network before the first step.
    """

    watch: Callable[[], AbstractContextManager[Any]] = staticmethod(nullcontext)
    synchronize: Callable[[], None] = staticmethod(lambda: None)
    on_network: Callable[[Any], None] = staticmethod(lambda network: None)

    def epochs(self, network: Any = None, optimizer: Any = None, schedule: Any = None) -> Iterator[int]:
        self.step_seconds: list[float] = []
        self.first_step_seconds = self.total_seconds = 0.0
        self.steps = 0
        if network is not None:
            self.on_network(network)
        began = time.perf_counter()
        for epoch in super().epochs(network, optimizer, schedule):
            yield epoch
            self.total_seconds = time.perf_counter() - began

    def batches(self, n: int, batch_size: int) -> Iterator[Any]:
        self.synchronize()
        began = time.perf_counter()
        batches = super().batches(n, batch_size)
        batch = next(batches, None)  # before the first one, the order of the whole epoch is sent to the device
        with self.watch():
            while batch is not None:
                yield batch
                self.steps += 1
                if self.steps == 1:
                    self.first_step_seconds = time.perf_counter() - began
                batch = next(batches, None)
        self.synchronize()
        self.step_seconds.append(time.perf_counter() - began)

    def assert_on(self, where: Any, **tensors: Any) -> None:
        super().assert_on(where, **tensors)
        self.asserted = sorted(tensors)

    def finish(self, network: Any, **_: Any) -> None:  # type: ignore[override]
        self.network = network

    @property
    def accuracy(self) -> float:
        """Of the test images, after the last epoch."""
        return self._accuracies[-1]


def train(module: ModuleType, seed: int, data: str, epochs: int, **watches: Any) -> Watched:
    """Train by the script `module` with one seed, on the GPU. watches: watch, synchronize, on_network of `Watched`."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["--data", data, "--epochs", epochs, "--seed", seed]
        words += ["--device", "cuda", "--output", Path(folder, "run")]
        sys.argv = [str(module.__file__), *map(str, words)]
        arguments = options.read(module.__doc__ or "", training=True)
        with record.run_folder(module.EXERCISE, str(module.__file__), arguments) as running:
            run = Watched(module.EXERCISE, arguments, running, epochs=module.EPOCHS)
            for name, value in watches.items():
                setattr(run, name, value)
            module.train(run)
            running.lock.release()  # Windows removes no folder with an open file in it
    return run


def to_target(module: ModuleType, chosen: argparse.Namespace, **watches: Any) -> tuple[str, dict[str, Any]]:
    """Figure and values of `chosen.seeds` trainings to the target. Raises Failed where a seed ends below it."""
    began, values = time.monotonic(), []
    for seed in range(chosen.seeds):
        if time.monotonic() - began > chosen.seconds:
            break
        run = train(module, seed, chosen.data, chosen.epochs, **watches)
        values.append(
            {
                "seed": seed,
                "accuracy": run.accuracy,
                "seconds": sum(run.step_seconds),
                "seconds_of_epochs": run.step_seconds,
                "seconds_with_evaluation": run.total_seconds,
                "seconds_of_first_step": run.first_step_seconds,
                "steps": run.steps,
            }
        )
    seconds = [value["seconds"] for value in values]
    accuracies = [value["accuracy"] for value in values]
    median = statistics.median(seconds)
    figure = (
        f"n = {len(values)}: training {median:.2f} s (median; {min(seconds):.2f} to {max(seconds):.2f}), "
        f"with evaluation {statistics.median(value['seconds_with_evaluation'] for value in values):.2f} s, "
        f"accuracy {statistics.median(accuracies):.2%} (median; lowest {min(accuracies):.2%}), "
        f"{chosen.epochs} epochs, {values[-1]['steps']} steps; goal under {GOAL:g} s: {'met' if median < GOAL else 'not met'}"
    )
    all_values = {"target": chosen.target, "median_seconds": median, "goal_met": median < GOAL, "runs": values}
    if below := [value["seed"] for value in values if value["accuracy"] < chosen.target]:
        raise Failed(f"below {chosen.target:.0%}: seeds {below}; {figure}", **all_values)
    if len(values) < chosen.seeds:
        raise Failed(f"only {len(values)} of {chosen.seeds} seeds in {chosen.seconds:.0f} s; {figure}", **all_values)
    return figure, all_values


def simulated_gpu_shares_memory(chosen: argparse.Namespace) -> None:
    """Raise CannotRun where the GPU is only simulated."""
    if chosen.simulated:
        raise CannotRun("the GPU is only simulated: it has no memory of its own")
