"""A training: seeded batches, a line and a checkpoint after each epoch, figures and weights at the end."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from workshop import shell
from workshop.runs import checkpoint, data, figures, options, stopping, weights
from workshop.runs.frameworks import processes
from workshop.runs.records import parent, record
from workshop.runs.run import BaseRun
from workshop.support.terminal import unfiltered


class Training(BaseRun):
    """A run that trains an image classifier, epoch by epoch, with a checkpoint after each.

    n_epochs: number of epochs in all. data_name: name of the data set. rank, world: of this process among those of
    torchrun; 0 and 1 without torchrun.
    """

    def __init__(
        self,
        exercise: str,
        arguments: argparse.Namespace,
        folder: record.Folder | None,
        source: parent.Parent | None = None,
        epochs: int | dict[str, int] = 1,
        stop_signal: Callable[[], str | None] = lambda: None,
        rank: int = 0,
        world: int = 1,
        seed: int = 0,
    ) -> None:
        self.rank, self.world, self._stop_signal = rank, world, stop_signal
        self._checkpoint = checkpoint.load(folder) if getattr(arguments, "resume", False) else None
        options.fill_in(arguments, self._checkpoint and self._checkpoint[1], epochs, seed)
        super().__init__(exercise, arguments, folder, source)
        self.data_name: str = source.record["dataset"]["name"] if source else arguments.data
        self.dataset: data.Dataset  # set by load_data, or by a script with its own data
        self.n_epochs: int = arguments.epochs
        self._losses = np.empty(0, np.float32)
        self._accuracies: list[float] = []
        self._confusion = np.empty((0, 0), np.int64)  # of the last epoch
        self._hyperparameters: dict[str, Any] = {}
        self._resumed: list[int] = []
        self._state: tuple[Any, ...] = ()  # content of a checkpoint: network, optimizer and schedule, or a JAX tree
        self._epoch, self._epoch_start = 0, 0.0
        self._resume_conditions: dict[str, Any] = {}  # values that a checkpoint must match

    def load_data(self) -> data.Dataset:
        """The data set of `--data`: uint8 images (n, 28, 28) and int64 labels (n,), for training and for the test."""
        self.dataset = data.load(self.data_name).as_28x28()
        return self.dataset

    def note(self, **hyperparameters: Any) -> None:
        """Record hyperparameters in run.json. A checkpoint with other hyperparameters is not resumed."""
        self._hyperparameters |= hyperparameters

    # ------------------------------------------------------------ epochs

    def restore(self, state: Any) -> Any:
        """With JAX: the state in the checkpoint if this run is resumed, otherwise `state` (a tree of arrays) itself."""
        from workshop.runs.frameworks import on_jax

        self._framework, self._state = on_jax, (state,)
        if saved := self._load_state(on_jax.arrays(state["params"]), on_jax.device_of(state)):
            self._state = (on_jax.restored(self.folder / record.CHECKPOINT, saved[0], state),)
        return self._state[0]

    def epochs(self, network: Any = None, optimizer: Any = None, schedule: Any = None) -> Iterator[int]:
        """The numbers of the remaining epochs, from 0 or from the checkpoint.

        With PyTorch: network, optimizer and schedule are restored from the checkpoint. SIGTERM and SIGUSR1 stop the run
        after the current epoch (`workshop.runs.stopping`).
        """
        if network is not None:
            from workshop.runs.frameworks import on_torch

            self._framework, self._state = on_torch, (network, optimizer, schedule)
            if saved := self._load_state(on_torch.arrays(network), on_torch.device_of(network)):
                with checkpoint.errors_as_refusal(self._folder):
                    on_torch.restore(*saved, *self._state)
        self._print_heading()
        for epoch in range(self._epoch, self.n_epochs):
            stopping.stop_if(processes.broadcast_from_first(self._stop_signal()), epoch, self.n_epochs)
            self._epoch_start = time.perf_counter()
            yield epoch

    def batches(self, n: int, batch_size: int) -> Iterator[Any]:
        """Indices of the images of each step of this epoch, (batch size,), in an order that depends on the seed.

        n: number of training images. A last batch that is not full is left out.
        """
        steps = n // batch_size
        order = data.epoch_order(self.seed, self._epoch, n)[: steps * batch_size].reshape(steps, batch_size)
        yield from _with_progress(self._framework.batches(order, self._state[0]), quiet=self.rank > 0)

    def log(self, losses: list[Any], confusion: Any, state: Any = None) -> None:
        """After an epoch: print a line, keep loss and accuracy, write the checkpoint.

        losses: one for each step, still on the device. confusion: counts (classes, classes), row is the true class.
        state: with JAX, the new state of the training.
        """
        new = self._framework.to_numpy(losses)
        self._losses = np.concatenate([self._losses, new])
        self._confusion = np.asarray(confusion if isinstance(confusion, np.ndarray) else confusion.cpu())
        self._accuracies.append(float(np.trace(self._confusion) / self._confusion.sum()))
        if state is not None:
            self._state = (state,)
        self._epoch += 1
        if self.rank > 0:
            return
        print(
            f"epoch {self._epoch}/{self.n_epochs}: loss {new.mean(dtype=np.float64):.4f}, "
            f"test accuracy {self._accuracies[-1]:.2%}, {time.perf_counter() - self._epoch_start:.1f} s",
            flush=True,
        )
        tensors, table = self._framework.saved(*self._state)
        weights.save(
            self.folder / record.CHECKPOINT,
            tensors | {"losses": self._losses, "confusion": self._confusion},
            self._resume_conditions
            | table
            | {"done": self._epoch, "accuracies": self._accuracies, "resumed": self._resumed},
        )

    # ------------------------------------------------------------ the end

    def finish(self, network: Any, accuracy_before: float | None = None, **content: Any) -> Path | None:
        """Write figures, weights, run.json and crate, all or nothing. Returns the folder; None except in the first
        process.

        network: a PyTorch network, or the parameters of a Flax network. accuracy_before: on the test images, if the
        training continued from trained weights. content: further entries for run.json.
        """
        if self.rank > 0:
            return None
        framework, dataset, folder = self._framework, self.dataset, self.folder
        accuracy, n = self._accuracies[-1], len(dataset.y_test)
        title = f"{dataset.name}, seed {self.seed}: {accuracy:.2%} of {n:,} test images"
        figures.learning_curve(folder / "learning_curve.png", self._losses, self._accuracies, title, accuracy_before)
        figures.confusion_matrix(folder / "confusion_matrix.png", self._confusion, dataset.classes, title)
        tensors = framework.arrays(network)
        metadata: dict[str, object] = {
            "network": weights.network_of(tensors),
            "data": dataset.name,
            "data_sha256": dataset.sha256,
        }
        weights.save(folder / "weights.safetensors", tensors, metadata)
        last_epoch = self._losses[-(len(self._losses) // len(self._accuracies)) :]
        metrics: list[dict[str, Any]] = [
            {"name": "test_accuracy", "value": accuracy, "tolerance": record.proportion_tolerance(accuracy, n)},
            {"name": "train_loss", "value": float(np.mean(last_epoch, dtype=np.float64))},
        ]
        if accuracy_before is not None:
            metrics.append({"name": "test_accuracy_before", "value": accuracy_before})
        final = self._write(
            framework.PACKAGES,
            network=metadata["network"],
            dataset={"name": dataset.name, "sha256": dataset.sha256, "train": len(dataset.y_train), "test": n},
            metrics=metrics,
            processes=self.world,
            hyperparameters={"epochs": self.n_epochs} | self._hyperparameters,
            resumed_after_epochs=self._resumed,
            **content,
        )
        accuracies = (
            f"{accuracy:.2%}" if accuracy_before is None else f"{accuracy_before:.2%} before, {accuracy:.2%} after"
        )
        print(f"test accuracy {accuracies}; the run is in {final}")
        return final

    # ------------------------------------------------------------ private

    def _load_state(self, tensors: dict[str, np.ndarray], where: Any) -> tuple[dict[str, np.ndarray], dict] | None:
        """Arrays and metadata of the checkpoint if the run is resumed. Raises WorkshopError if it belongs to another
        run.
        """
        self._device = where
        self._resume_conditions = {
            "network": weights.network_of(tensors),
            "data": self.dataset.name,
            "data_sha256": self.dataset.sha256,
            "seed": self.seed,
            "epochs": self.n_epochs,
            "processes": self.world,
            "hyperparameters": {"epochs": self.n_epochs} | self._hyperparameters,
            "script": self._folder and self._folder.origin["script"]["sha256"],
            **self._framework.resume_conditions(where),
        }
        if self._checkpoint is None:
            return None
        arrays, table = self._checkpoint
        if self.rank == 0:
            start_over = f"rm -r {shell.quoted(self.folder)}  # or resume it with the original options"
            options.require_match(self.folder / record.CHECKPOINT, table, self._resume_conditions, start_over)
        if self.rank == 0:
            checkpoint.require_progress(self.folder / record.CHECKPOINT, arrays, table, self.n_epochs)
        self._losses, self._confusion = arrays.pop("losses"), arrays.pop("confusion")
        self._epoch, self._accuracies = table["done"], table["accuracies"]
        self._resumed = [*table["resumed"], table["done"]]
        return arrays, table

    def _print_heading(self) -> None:
        if self.rank > 0:
            return
        described = self._framework.describe(self._device)
        print(
            f"{self.exercise}: {self.dataset.name} on {described['type']} ({described['name']}), "
            f"epochs: {self.n_epochs}, seed: {self.seed}",
            flush=True,
        )
        for line in self._framework.version_lines(self._device):
            print(line, flush=True)


def _with_progress(batches: Iterable[Any], quiet: bool) -> Iterator[Any]:
    """The batches, with a progress bar on a terminal that disappears at the end of the epoch."""
    from rich.console import Console
    from rich.progress import track

    quiet = quiet or not sys.stderr.isatty()
    # While the bar is shown, rich prints everything on stderr. It must not break a command that people paste.
    console = Console(file=unfiltered(sys.stderr), soft_wrap=True)
    yield from track(batches, "training", console=console, transient=True, disable=quiet)
