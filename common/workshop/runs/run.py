"""A script's view of its run: arguments, data, device, epochs that can be resumed, and one call that writes everything.

A script defines one function of its run and ends with `runs.main`:

    def train(run: runs.Training) -> None:
        ...
        for epoch in run.epochs(network, optimizer, schedule):
            ...
            run.log(losses, confusion)
        run.finish(network)

    if __name__ == "__main__":
        runs.main(train, exercise="exercise-2-pytorch-cu12", script=__file__, description=__doc__, epochs={...})
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workshop.runs.frameworks import device, threads
from workshop.runs.records import parent, provenance, record
from workshop.support.hardware import cpu_name

if TYPE_CHECKING:
    import torch

    from workshop.runs.frameworks import on_jax


class BaseRun:
    """The common part of all runs. arguments: the command line. folder: for files; `finish` moves it to its final path.

    parent: the run that this one continues, if any (`parents` of `main`).
    """

    def __init__(
        self,
        exercise: str,
        arguments: argparse.Namespace,
        folder: record.Folder | None,
        source: parent.Parent | None = None,
    ) -> None:
        self.exercise, self.arguments, self.parent = exercise, arguments, source
        self.seed: int = arguments.seed
        if hasattr(arguments, "threads"):
            threads.use(arguments.threads or threads.DEFAULT)
        self._folder = folder
        self._framework: Any = None  # on_torch or on_jax, after the script has requested a device
        self._device: Any = None

    @property
    def folder(self) -> Path:
        """The folder for the files of this run until it is finished. Only the first process has one."""
        assert self._folder is not None
        return self._folder.folder

    @property
    def script(self) -> Path:
        """The path of the running script."""
        assert self._folder is not None
        return self._folder.script

    @property
    def packages(self) -> tuple[str, ...]:
        """The installed packages whose versions matter to this run: those of its framework."""
        return self._framework.PACKAGES

    # ------------------------------------------------------------ device

    def torch_device(self) -> torch.device:
        """The device that `--device` or WORKSHOP_DEVICE requests, or the best one of this machine.

        Raises WorkshopError if a GPU was requested and PyTorch cannot use one; the message contains the reason.
        """
        from workshop.runs.frameworks import on_torch

        self._framework = on_torch
        self._device = on_torch.choose(self.arguments.device, device.torchrun_number("LOCAL_RANK"))
        return self._device

    def jax_device(self) -> on_jax.Device:
        """As `torch_device`, for JAX; call it before anything else touches JAX."""
        from workshop.runs.frameworks import on_jax

        self._framework = on_jax
        self._device = on_jax.choose(self.arguments.device)
        return self._device

    def assert_on(self, where: torch.device | on_jax.Device, **tensors: Any) -> None:
        """Raise WorkshopError unless all tensors (with JAX: all arrays of all trees) are on the device `where`."""
        _framework_of(where).assert_on(where, **tensors)

    def _write(self, packages: tuple[str, ...], **content: Any) -> Path:
        """Write run.json and the crate, and move the folder to its final path. Device and flags are those in use."""
        if self._framework:
            content |= {"device": self._framework.describe(self._device), "determinism": self._framework.determinism()}
        else:
            content |= {"device": {"type": "cpu", "name": cpu_name()}, "determinism": {}}
        content["determinism"]["numpy_cpu"] = provenance.numpy_cpu()
        if self.parent:
            content["parent"] = self.parent.reference()
        assert self._folder is not None
        return record.finish(self._folder, packages or self.packages, seed=self.seed, **content)


class Run(BaseRun):
    """A run of a script that does not train."""

    def finish(self, packages: tuple[str, ...] = (), **content: Any) -> Path:
        """Write run.json and the crate, move the folder to its final path and return that path.

        packages: names of installed packages whose versions matter (default: those of the framework). content: dataset,
        metrics and other entries that run.schema.json allows. Raises WorkshopError for NaN or infinite numbers.
        """
        return self._write(packages, **content)


def _framework_of(where: Any) -> Any:
    """`on_torch` or `on_jax`, depending on the type of the device."""
    if type(where).__module__.partition(".")[0] == "torch":
        from workshop.runs.frameworks import on_torch

        return on_torch
    from workshop.runs.frameworks import on_jax

    return on_jax
