"""Choose the device, insist on it, and say what it is.

An environment that was made for a GPU sets WORKSHOP_DEVICE=cuda (the CUDA features of pixi.toml do).
There a run without a GPU stops: a silent fall-back to the CPU would be a result that nobody asked for.
torch is imported inside the functions, for those who only ask about the machine.
"""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

from workshop.errors import WorkshopError
from workshop.hardware import cpu_name, nvidia_smi

if TYPE_CHECKING:
    import torch

CHOICES = ("auto", "cpu", "cuda")
CPU_BUILD = "is a build for the CPU"


def wanted(requested: str) -> str:
    """`cpu`, `cuda`, or `auto` where neither the command line nor WORKSHOP_DEVICE asks for one.

    Raises WorkshopError for a name that is none of CHOICES.
    """
    environment = known_name(os.environ.get("WORKSHOP_DEVICE") or "auto", "the variable WORKSHOP_DEVICE")
    return environment if known_name(requested) == "auto" else requested


def known_name(name: str, source: str = "--device") -> str:
    """`name`, if it is one of CHOICES; else WorkshopError."""
    if name not in CHOICES:
        unset = "--device auto" if source == "--device" else "unset WORKSHOP_DEVICE, or set it to cuda"
        raise WorkshopError(
            looked_at=source, expected=f"one of {', '.join(CHOICES)}", found=repr(name), next_step=unset
        )
    return name


def process(variable: str, default: int = 0) -> int:
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


def choose_torch(requested: str, local_rank: int = 0) -> torch.device:
    """The torch device for `--device requested`: a GPU that works, or the CPU where that is what was asked for.

    With `auto`, a GPU is taken where torch can use one. Raises WorkshopError where a GPU is asked for, by the
    command line or by WORKSHOP_DEVICE, and torch cannot use it; the message says what torch reports.
    """
    import torch

    name = wanted(requested)
    if name == "cpu":
        return torch.device("cpu")
    obstacle = cuda_obstacle(local_rank)
    if obstacle is None:
        return torch.device("cuda", local_rank)
    if name == "auto":
        return torch.device("cpu")
    raise gpu_is_missing(requested, f"torch {torch.__version__}", obstacle)


def gpu_is_missing(requested: str, framework: str, obstacle: str) -> WorkshopError:
    """The message for a run that a GPU was asked for, and that `framework` cannot have one for."""
    asked, instead = "--device cuda", "--device cpu"
    if requested != "cuda":  # the CUDA environments of pixi.toml set the variable; a person may have, too
        asked, instead = "the variable WORKSHOP_DEVICE=cuda", "--device cpu, which wins over the variable"
    return WorkshopError(
        looked_at=f"the GPU, because of {asked}",
        expected=f"a CUDA device that {framework} can use",
        found=obstacle,
        next_step=f"run on a machine with a GPU, or choose the CPU in so many words: {instead} (with Pixi: -e cpu)",
    )


def cuda_obstacle(index: int = 0) -> str | None:
    """Why torch cannot use CUDA device `index` here, in plain words; None where it can."""
    import torch

    if getattr(torch.version, "hip", None):
        return f"torch {torch.__version__} is a build for AMD GPUs (ROCm), which this workshop does not assert"
    if torch.version.cuda is None:
        return f"torch {torch.__version__} {CPU_BUILD}: no GPU can be used in this environment"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        usable = torch.cuda.is_available()
    reports = [" ".join(str(w.message).split()) for w in caught]
    if not usable:
        for report in reports:
            if "driver" in report and "too old" in report:
                return f"the NVIDIA driver is too old for CUDA {torch.version.cuda}, which torch was built for ({report[:160]})"
        driver = nvidia_smi().get("driver")
        if driver is None:
            return "no NVIDIA driver answers on this machine (`nvidia-smi` is not found or fails)"
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        if hidden is not None:
            return f"driver {driver} is there, but CUDA_VISIBLE_DEVICES={hidden!r} hides the GPUs"
        return f"driver {driver} is there, but torch sees no GPU" + (f" ({reports[0][:160]})" if reports else "")
    # Every process of torchrun on this machine finds the same, so that the first one can say it.
    last = max(index, process("LOCAL_WORLD_SIZE", 1) - 1)
    if last >= torch.cuda.device_count():
        return f"{torch.cuda.device_count()} GPU(s), and process {last} needs one of its own"
    have = torch.cuda.get_device_capability(index)
    built = [int(arch.split("_")[1].rstrip("af")) for arch in torch.cuda.get_arch_list() if "_" in arch]
    if built and have[0] * 10 + have[1] < min(built):
        oldest = min(built)
        return (
            f"{torch.cuda.get_device_name(index)} has compute capability {have[0]}.{have[1]}, and this torch was built "
            f"for {oldest // 10}.{oldest % 10} and newer: the GPU is too old for it"
        )
    try:
        torch.zeros(1, device=f"cuda:{index}")
    except RuntimeError as error:  # another process has it for itself, its memory is full, the driver is half updated
        return f"{torch.cuda.get_device_name(index)} is there, but refuses work ({str(error).splitlines()[0][:160]})"
    return None


def assert_on(device: torch.device, **tensors: torch.Tensor) -> None:
    """Raise WorkshopError unless every tensor lies on `device`: the proof that the run is where it says it is."""
    for name, tensor in tensors.items():
        if tensor.device.type != device.type or device.index not in (None, tensor.device.index):
            raise WorkshopError(
                looked_at=f"the tensor {name}",
                expected=f"on {device}",
                found=f"on {tensor.device}",
                next_step="move it there with .to(device)",
            )


def describe_torch(device: torch.device) -> dict[str, Any]:
    """The device for the run record: type, name, and for a GPU driver, compute capability and CUDA versions."""
    import torch

    if device.type == "cpu":
        return {"type": "cpu", "name": cpu_name(), "threads": torch.get_num_threads()}
    properties = torch.cuda.get_device_properties(device)
    return {
        "type": "cuda",
        "name": properties.name,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "memory_bytes": properties.total_memory,
        "driver": nvidia_smi().get("driver"),
        "cuda_of_build": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }
