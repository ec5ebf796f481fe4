"""Which device a run was told to take, and the message where it cannot have it. Nothing here imports a framework.

An environment that was made for a GPU sets WORKSHOP_DEVICE=cuda (the CUDA features of pixi.toml do).
There a run without a GPU stops: a silent fall-back to the CPU would be a result that nobody asked for.
"""

from __future__ import annotations

import os

from workshop.errors import WorkshopError

CHOICES = ("auto", "cpu", "cuda")
CPU_BUILD = "is a build for the CPU"


def requested_device(requested: str) -> str:
    """`cpu`, `cuda`, or `auto` where neither the command line nor WORKSHOP_DEVICE asks for one.

    Raises WorkshopError for a name that is none of CHOICES.
    """
    environment = validate_name(os.environ.get("WORKSHOP_DEVICE") or "auto", "the variable WORKSHOP_DEVICE")
    return environment if validate_name(requested) == "auto" else requested


def validate_name(name: str, source: str = "--device") -> str:
    """`name`, if it is one of CHOICES; else WorkshopError."""
    if name not in CHOICES:
        unset = "--device auto" if source == "--device" else "unset WORKSHOP_DEVICE, or set it to cuda"
        raise WorkshopError(
            looked_at=source, expected=f"one of {', '.join(CHOICES)}", found=repr(name), next_step=unset
        )
    return name


def torchrun_number(variable: str, default: int = 0) -> int:
    """A number that torchrun put into RANK, LOCAL_RANK and the like; `default` where torchrun is not at work."""
    text = os.environ.get(variable, str(default))
    if not text.isdecimal():
        raise WorkshopError(
            looked_at=f"the variable {variable}",
            expected="a number, set by torchrun",
            found=repr(text),
            next_step=f"unset {variable}",
        )
    return int(text)


def missing_gpu_error(requested: str, framework: str, obstacle: str) -> WorkshopError:
    """The message for a run that a GPU was asked for, and that `framework` cannot have one for."""
    source, instead = "--device cuda", "--device cpu"
    if requested != "cuda":  # the CUDA environments of pixi.toml set the variable; a person may have, too
        source, instead = "the variable WORKSHOP_DEVICE=cuda", "--device cpu, which wins over the variable"
    return WorkshopError(
        looked_at=f"the GPU, because of {source}",
        expected=f"a CUDA device that {framework} can use",
        found=obstacle,
        next_step=f"run on a machine with a GPU, or choose the CPU in so many words: {instead} (with Pixi: -e cpu)",
    )
