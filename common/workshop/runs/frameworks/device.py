"""The requested device of a run, and the message if it is not available. Nothing here imports a framework.

The CUDA environments of pixi.toml set WORKSHOP_DEVICE=cuda. In them a run without a GPU stops, instead of training on
the CPU without notice.
"""

from __future__ import annotations

import os
import re

from workshop.errors import WorkshopError

CHOICES = ("auto", "cpu", "cuda")
CPU_BUILD = "is a build for the CPU"


def requested_device(requested: str) -> str:
    """`cpu`, `cuda`, or `auto` if neither the command line nor WORKSHOP_DEVICE requests a device.

    Raises WorkshopError for a name that is not in CHOICES.
    """
    environment = validate_name(os.environ.get("WORKSHOP_DEVICE") or "auto", "the variable WORKSHOP_DEVICE")
    return environment if validate_name(requested) == "auto" else requested


def validate_name(name: str, source: str = "--device") -> str:
    """Return `name` if it is one of CHOICES; otherwise raise WorkshopError."""
    if name not in CHOICES:
        unset = "--device auto" if source == "--device" else "unset WORKSHOP_DEVICE, or set it to cuda"
        raise WorkshopError(
            looked_at=source, expected=f"one of {', '.join(CHOICES)}", found=repr(name), next_step=unset
        )
    return name


def torchrun_number(variable: str, default: int = 0, largest: int = 2**31 - 1) -> int:
    """The number in a variable of torchrun such as RANK or LOCAL_RANK; `default` without torchrun.

    Raises WorkshopError if it is not a whole number from 0 (for a number of processes: from 1) to `largest`.
    """
    text = os.environ.get(variable, str(default))
    smallest = 1 if variable.endswith("SIZE") else 0
    if not re.fullmatch("[0-9]{1,10}", text) or not smallest <= int(text) <= largest:
        raise WorkshopError(
            looked_at=f"the variable {variable}",
            expected=f"a number from {smallest} to {largest}, set by torchrun",
            found=repr(text[:80]),
            next_step=f"unset {variable}",
        )
    return int(text)


def missing_gpu_error(requested: str, framework: str, obstacle: str) -> WorkshopError:
    """The message if a GPU was requested and `framework` cannot use one."""
    source, instead = "--device cuda", "--device cpu"
    if requested != "cuda":  # set by the CUDA environments of pixi.toml, or by the user
        source, instead = "the variable WORKSHOP_DEVICE=cuda", "--device cpu, which overrides the variable"
    return WorkshopError(
        looked_at=f"the GPU, because of {source}",
        expected=f"a CUDA device that {framework} can use",
        found=obstacle,
        next_step=f"run on a machine with a GPU, or choose the CPU explicitly: {instead} (with Pixi: -e cpu)",
    )
