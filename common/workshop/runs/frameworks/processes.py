"""Several processes that train one network together, started by torchrun: who they are, and what all of them agree on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from workshop.runs.frameworks.device import torchrun_number


def is_distributed() -> bool:
    """Whether torchrun started several processes. Some job systems set WORLD_SIZE alone, for purposes of their own."""
    return {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= set(os.environ) and torchrun_number("WORLD_SIZE", 1) > 1


def by_torchrun() -> bool:
    """Whether torchrun started this process, with others or alone. Only torchrun sets TORCHELASTIC_RUN_ID."""
    return {"RANK", "WORLD_SIZE", "MASTER_ADDR", "TORCHELASTIC_RUN_ID"} <= set(os.environ)


def rank() -> int:
    """The number of this process among those of torchrun; 0 where torchrun started no group, whatever RANK says."""
    number = torchrun_number("RANK")  # read in any case: a RANK that is no number is refused
    return number if is_distributed() else 0


@contextmanager
def process_group(requested: str) -> Iterator[tuple[int, int]]:
    """In the block the processes form a group; (rank of this one, their number). nccl on GPUs, gloo on the CPU.

    requested: as in `--device`; each process gets a GPU of its own (LOCAL_RANK). A process that torchrun did not start
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
    """What `value` is in the first process, in every one: whether to stop, say, is decided by one and done by all."""
    if not is_distributed():
        return value
    import torch.distributed as dist

    shared = [value]
    dist.broadcast_object_list(shared)
    return shared[0]
