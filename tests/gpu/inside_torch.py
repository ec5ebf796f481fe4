"""The checks of `run.py` that look inside a training of exercise 2; it starts this program and reads its rows."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import watched
from report import GRAPH, HAS_GPU, PASSED, CannotRun, Failed
from torch.overrides import TorchFunctionMode

from workshop import runs
from workshop.errors import WorkshopError
from workshop.exercises import load_module
from workshop.runs.frameworks import on_torch

SCRIPT = Path(__file__).resolve().parents[2] / "exercise-2-pytorch-cu12/solution/train.py"


class HostReads(TorchFunctionMode):
    """Appends to `waits` the calls that would wait for a GPU, where there is none that could report them."""

    WAIT = (torch.Tensor.item, torch.Tensor.cpu, torch.Tensor.tolist, torch.Tensor.numpy, torch.Tensor.__bool__)

    def __init__(self, waits: list[str]) -> None:
        super().__init__()
        self.waits = waits

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in self.WAIT:
            self.waits.append(function.__name__)
        return function(*args, **(kwargs or {}))


@contextmanager
def recorded_waits(waits: list[str], simulated: bool) -> Iterator[None]:
    """Append to `waits` the line of code of each time that the block made the processor wait for the GPU."""
    if simulated:
        with HostReads(waits):
            yield
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")
    found = [warning for warning in caught if "called a synchronizing" in str(warning.message)]
    waits += [f"{Path(warning.filename).name}, line {warning.lineno}" for warning in found]


def remember_dtypes(network: torch.nn.Module, dtypes: dict[str, set[str]]) -> None:
    """Collect in `dtypes`, by name, in which types each layer of `network` computes while it is trained.

    The evaluation after an epoch is in float32. It computes no gradients, and is left out.
    """
    for name, layer in network.named_children():
        dtypes[name] = set()

        def remember(_layer: object, _inputs: object, output: torch.Tensor, name: str = name) -> None:
            if torch.is_grad_enabled():
                dtypes[name].add(str(output.dtype))

        layer.register_forward_hook(remember)


def must_compute_in(expected: str, dtypes: dict[str, set[str]]) -> tuple[str, dict[str, Any]]:
    """Figure and values of the row where every layer computed in the type `expected` alone. Raises Failed otherwise."""
    values = {"dtypes": {name: sorted(types) for name, types in dtypes.items()}}
    others = {name: types for name, types in values["dtypes"].items() if types != [expected]}
    if others or not dtypes:
        raise Failed(f"trained in other types than {expected}: {others}", **values)
    return f"{', '.join(dtypes)} compute in {expected.removeprefix('torch.')}", values


def gpu() -> tuple[str, dict[str, Any]]:
    """Which GPU PyTorch can use. Raises CannotRun with the reason where it can use none."""
    if obstacle := on_torch.cuda_obstacle():
        raise CannotRun(obstacle)
    about = on_torch.describe(torch.device("cuda", 0))
    return f"{about['name']}, torch {torch.__version__}", about | {"torch": torch.__version__}


def main() -> None:
    options = watched.settings()
    if watched.emit("torch", HAS_GPU, gpu).result != PASSED:
        return
    module = load_module(SCRIPT, "exercise_2")
    device = torch.device("cuda", 0)
    waits: list[str] = []
    dtypes: dict[str, set[str]] = {}
    first: list[watched.Watched] = []

    def device_is_asserted() -> tuple[str, dict[str, Any]]:
        first.append(
            watched.train(
                module,
                0,
                options.data,
                1,
                watch=lambda: recorded_waits(waits, options.simulated),
                on_network=lambda network: remember_dtypes(network, dtypes),
            )
        )
        pairs = [(torch.device("cpu"), torch.zeros(1, device=device))]
        if not options.simulated:  # there every tensor claims to be on the GPU
            pairs.append((device, torch.zeros(1)))
        for where, tensor in pairs:
            try:
                on_torch.assert_on(where, tensor=tensor)
            except WorkshopError:
                continue
            raise Failed(f"a tensor on {tensor.device} was taken for one on {where}")
        names = first[0].asserted
        return f"{len(names)} tensors of the training are there; a wrong one is refused", {"asserted": names}

    def computes_in_bf16() -> tuple[str, dict[str, Any]]:
        if options.simulated:
            raise CannotRun("the GPU is only simulated: it has no bfloat16")
        expected = str(module.compute_dtype(device))
        if expected != "torch.bfloat16":
            capability = ".".join(map(str, torch.cuda.get_device_capability(device)))
            raise CannotRun(f"compute capability {capability} has no bfloat16: the script computes in {expected}")
        return must_compute_in(expected, dtypes)

    def does_not_wait() -> tuple[str, dict[str, Any]]:
        control: list[str] = []
        with recorded_waits(control, options.simulated):
            torch.zeros(1, device=device).item()
        if len(control) != 1:
            raise Failed(f"one wait on purpose was counted as {len(control)}: this count proves nothing")
        if not first:
            raise CannotRun("the training before it failed")
        steps = first[0].steps
        if waits:
            where = "; ".join(sorted(set(waits))[:5])
            raise Failed(f"{len(waits)} waits in {steps} steps: {where}", waits=waits[:1000], steps=steps)
        return f"0 waits in {steps} steps", {"waits": waits, "steps": steps}

    def graph_is_faster() -> tuple[str, dict[str, Any]]:
        if options.simulated:
            raise CannotRun("the GPU is only simulated: nothing is recorded")
        trainings = {}
        for name, step in (("graph", runs.CudaGraph), ("single calls", lambda step, network, optimizer: step)):
            with mock.patch.object(runs, "CudaGraph", step, create=True):
                trainings[name] = watched.train(
                    module, 0, options.data, options.epochs, synchronize=lambda: torch.cuda.synchronize(device)
                )
        seconds = {name: sum(run.step_seconds) for name, run in trainings.items()}
        arrays = [on_torch.arrays(run.network) for run in trainings.values()]
        same = all(np.array_equal(arrays[0][name], arrays[1][name]) for name in arrays[0])
        ratio = seconds["single calls"] / seconds["graph"]
        values = {"seconds": seconds, "ratio": ratio, "same_weights": same}
        weights = "the same weights, bit for bit" if same else "other last bits of the weights"
        return f"{ratio:.1f} times faster than computation by computation; {weights}", values

    def peak_memory() -> tuple[str, dict[str, Any]]:
        watched.simulated_gpu_shares_memory(options)
        values = {
            "allocated_bytes": torch.cuda.max_memory_allocated(),
            "reserved_bytes": torch.cuda.max_memory_reserved(),
            "total_bytes": torch.cuda.get_device_properties(device).total_memory,
        }
        allocated, reserved, total = (value / 2**20 for value in values.values())
        return f"{allocated:.0f} MiB allocated, {reserved:.0f} MiB reserved, of {total:,.0f} MiB", values

    watched.emit("torch", "device asserted", device_is_asserted)
    watched.emit("torch", "bfloat16", computes_in_bf16)
    watched.emit("torch", "no waiting for the GPU inside an epoch", does_not_wait)
    check = f"{options.target:.0%} on {options.data}"
    watched.emit(
        "torch", check, lambda: watched.to_target(module, options, synchronize=lambda: torch.cuda.synchronize(device))
    )
    watched.emit("torch", GRAPH, graph_is_faster)
    watched.emit("torch", "peak memory of these trainings", peak_memory)


if __name__ == "__main__":
    main()
