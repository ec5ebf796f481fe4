"""Several processes, started by torchrun, that train one network together: their ranks, and a broadcast."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from workshop.errors import WorkshopError
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
    if not is_distributed() and not by_torchrun():
        return 0
    if "MASTER_PORT" not in os.environ:
        raise WorkshopError(
            looked_at="the variables of torchrun",
            expected="MASTER_PORT, besides RANK, WORLD_SIZE and MASTER_ADDR",
            found="no MASTER_PORT",
            next_step="unset RANK WORLD_SIZE MASTER_ADDR  # or start the script with torchrun",
        )
    torchrun_number("MASTER_PORT", largest=65535)
    torchrun_number("RANK", largest=torchrun_number("WORLD_SIZE", 1) - 1)
    return number


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
        try:
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        except (RuntimeError, ValueError, OSError) as error:  # no such host, a port that is in use, a missing process
            raise WorkshopError(
                looked_at=f"the group of processes at {os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}",
                expected=f"{torchrun_number('WORLD_SIZE', 1)} processes that reach each other there",
                found=(str(error).splitlines() or [type(error).__name__])[0][:200],
                next_step="start all processes with one command of torchrun",
            ) from error
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
