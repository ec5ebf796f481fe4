"""How many threads a run computes with on the CPU. Nothing here imports a framework."""

from __future__ import annotations

import os
import sys

# With one thread, machines with different numbers of cores give the same bits; and on a machine that is busy with
# something else, threads wait for each other in every step. benchmarks/threads.py measures when more of them help.
DEFAULT = 1
# Read by PyTorch and by XLA (jaxlib 0.4 knows the second name, newer ones the third) when they start to compute.
VARIABLES = ("OMP_NUM_THREADS", "NPROC", "PJRT_NPROC")


def use(number: int) -> None:
    """Compute with this many threads from now on, in PyTorch and in JAX. JAX must not have opened its devices yet."""
    os.environ.update(dict.fromkeys(VARIABLES, str(number)))
    if torch := sys.modules.get("torch"):  # it has read its variable already
        torch.set_num_threads(number)
