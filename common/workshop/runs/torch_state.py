"""A PyTorch network and its optimizer, out to arrays and back in, to the same bits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from workshop import shell
from workshop.errors import WorkshopError
from workshop.runs import data, weights
from workshop.runs.device import process


@contextmanager
def processes(device: torch.device) -> Iterator[int]:
    """The number of processes that torchrun started, joined for the time of the block: nccl on GPUs, gloo on the CPU."""
    # Some job systems set WORLD_SIZE for purposes of their own; only with RANK and MASTER_ADDR can processes meet.
    together = {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= set(os.environ)
    world = process("WORLD_SIZE", 1) if together else 1
    try:
        if world > 1:
            if device.type == "cuda":
                torch.cuda.set_device(device)
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        yield world
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def of_first(value: Any) -> Any:
    """What `value` is in the first process, in every one: whether to stop, say, is decided by one and done by all."""
    if not dist.is_initialized():
        return value
    shared = [value]
    dist.broadcast_object_list(shared)
    return shared[0]


def on_device(dataset: data.Dataset, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images uint8 (n, 28, 28) and labels int64 (n,), then those to test with, all on `device`."""
    images = (data.as_28x28(dataset.x_train), data.as_28x28(dataset.x_test))
    labels = (dataset.y_train.astype(np.int64), dataset.y_test.astype(np.int64))
    x, x_test, y, y_test = (torch.from_numpy(array).to(device) for array in (*images, *labels))
    return x, y, x_test, y_test


def arrays(net: nn.Module) -> dict[str, np.ndarray]:
    """The weights as arrays, by name."""
    return {name: tensor.cpu().numpy() for name, tensor in net.state_dict().items()}


def what_bits_depend_on(device: torch.device) -> dict[str, Any]:
    """Besides seed, data and script: what has to be the same for a resumed run to end in the same bits."""
    if device.type == "cuda":
        where = {"device": torch.cuda.get_device_name(device)}
    else:
        where = {"device": f"cpu ({torch.backends.cpu.get_cpu_capability()})", "threads": torch.get_num_threads()}
    return {**where, "torch": torch.__version__}


def save_checkpoint(
    path: Path, net: nn.Module, optimizer: torch.optim.Optimizer, losses: Tensor, about: dict[str, object]
) -> None:
    """Write weights, the optimizer's state and the losses so far, (steps,), with what is said `about` them."""
    tensors = {f"net.{name}": array for name, array in arrays(net).items()} | {"losses": losses.cpu().numpy()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value.cpu().numpy() for key, value in state.items()}
    weights.save(path, tensors, about)


def load_checkpoint(path: Path | None) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """What `save_checkpoint` wrote, read by the first process (which has the path) and handed to the others.

    Raises WorkshopError, in every process, where it cannot be read (`workshop.runs.weights.load`).
    """
    found = problem = None
    if path is not None:
        try:
            found = weights.load(path, f"rm -r {shell.quoted(path.parent)}  # it cannot be gone on from: begin again")
        except WorkshopError as error:
            problem = error
    found, problem = of_first((found, problem))
    if problem:
        raise problem
    return found


def restore(
    arrays: dict[str, np.ndarray], net: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device
) -> Tensor:
    """Put what `save_checkpoint` wrote back into net and optimizer; the losses so far, on `device`."""
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    net.load_state_dict({n.removeprefix("net."): t for n, t in tensors.items() if n.startswith("net.")})
    # The moments must lie in memory as their weights do (channels_last): the fused step walks both side by side.
    parameters, state = list(net.parameters()), optimizer.state_dict()
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            alike = torch.empty_like(parameters[int(index)]).copy_(tensor) if tensor.ndim else tensor
            state["state"].setdefault(int(index), {})[key] = alike
    optimizer.load_state_dict(state)
    return tensors["losses"].to(device)
