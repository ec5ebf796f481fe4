"""Several processes, started by torchrun, that train one network together: their ranks, and a broadcast."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from workshop.runs.frameworks.device import torchrun_number


def is_distributed() -> bool:
    """Whether torchrun started several processes. Some job systems set only WORLD_SIZE, for their own purposes."""
    return {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= set(os.environ) and torchrun_number("WORLD_SIZE", 1) > 1


def by_torchrun() -> bool:
    """Whether torchrun started this process, with others or alone. Only torchrun sets TORCHELASTIC_RUN_ID."""
    return {"RANK", "WORLD_SIZE", "MASTER_ADDR", "TORCHELASTIC_RUN_ID"} <= set(os.environ)


def rank() -> int:
    """The rank of this process among those of torchrun; 0 if torchrun started no group, whatever RANK is."""
    number = torchrun_number("RANK")  # always read, so that an invalid RANK is reported
    return number if is_distributed() else 0


@contextmanager
def process_group(requested: str) -> Iterator[tuple[int, int]]:
    """In the block the processes form a group, with nccl on GPUs and gloo on the CPU. Yields (rank, number of
    processes).

    requested: as in `--device`; each process gets its own GPU (LOCAL_RANK). A process that torchrun did not start
    is (0, 1) and in no group; one that it started alone forms a group by itself.
    """
    if not is_distributed() and not by_torchrun():
        yield 0, 1
        return
    import torch
    import torch.distributed as dist

    from workshop.runs.frameworks import on_torch

    device = on_torch.choose(requested, torchrun_number("LOCAL_RANK"))
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        yield dist.get_rank(), dist.get_world_size()
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def broadcast_from_first(value: Any) -> Any:
    """The `value` of the first process, in all processes. For example, it decides for all of them whether to stop."""
    if not is_distributed():
        return value
    import torch.distributed as dist

    shared = [value]
    dist.broadcast_object_list(shared)
    return shared[0]
