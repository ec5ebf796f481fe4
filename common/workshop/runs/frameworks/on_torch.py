"""PyTorch in a run: choosing and asserting the device; saving network and optimizer as arrays, and restoring them."""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from workshop.errors import WorkshopError
from workshop.runs.frameworks.device import CPU_BUILD, missing_gpu_error, requested_device, torchrun_number
from workshop.support.hardware import cpu_name, nvidia_smi

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "safetensors",
    "matplotlib",
    "scikit-learn",
)  # their versions are recorded in run.json

# ---------------------------------------------------------------- device


def choose(requested: str, local_rank: int = 0) -> torch.device:
    """The torch device for `--device requested`: a GPU that works, or the CPU if that was requested.

    `auto` chooses a GPU if torch can use one. Raises WorkshopError if the command line or WORKSHOP_DEVICE requests a
    GPU and torch cannot use it; the message contains torch's reason.
    """
    name = requested_device(requested)
    if name == "cpu":
        return torch.device("cpu")
    obstacle = cuda_obstacle(local_rank)
    if obstacle is None:
        return torch.device("cuda", local_rank)
    if name == "auto":
        return torch.device("cpu")
    raise missing_gpu_error(requested, f"torch {torch.__version__}", obstacle)


def cuda_obstacle(index: int = 0) -> str | None:
    """Why torch cannot use CUDA device `index` on this machine; None if it can."""
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
            return f"driver {driver} is installed, but CUDA_VISIBLE_DEVICES={hidden!r} hides the GPUs"
        return f"driver {driver} is installed, but torch sees no GPU" + (f" ({reports[0][:160]})" if reports else "")
    # All processes of torchrun on this machine find the same, so that the first one can report it.
    last = max(index, torchrun_number("LOCAL_WORLD_SIZE", 1) - 1)
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
    except RuntimeError as error:  # reserved by another process, memory is full, or the driver is half updated
        return f"{torch.cuda.get_device_name(index)} was found, but cannot be used ({str(error).splitlines()[0][:160]})"
    return None


def assert_on(device: torch.device, **tensors: torch.Tensor) -> None:
    """Raise WorkshopError unless every tensor is on `device`. This proves that the run uses the device it reports."""
    for name, tensor in tensors.items():
        if tensor.device.type != device.type or device.index not in (None, tensor.device.index):
            raise WorkshopError(
                looked_at=f"the tensor {name}",
                expected=f"on {device}",
                found=f"on {tensor.device}",
                next_step="move it there with .to(device)",
            )


def describe(device: torch.device) -> dict[str, Any]:
    """The device for the run record: type, name, and for a GPU driver, compute capability and CUDA versions."""
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


def version_lines(_device: torch.device) -> list[str]:
    """Lines about versions to print before a training: none for PyTorch."""
    return []


def determinism() -> dict[str, Any]:
    """The flags that decide whether two runs give the same bits, as torch reports them."""
    return {
        "torch_initial_seed": torch.initial_seed(),
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "tf32": torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }


def resume_conditions(device: torch.device) -> dict[str, Any]:
    """Besides seed, data and script: values that must be unchanged for a resumed run to give the same bits."""
    where: dict[str, Any]
    if device.type == "cuda":
        where = {"device": torch.cuda.get_device_name(device)}
    else:
        where = {"device": f"cpu ({torch.backends.cpu.get_cpu_capability()})", "threads": torch.get_num_threads()}
    return {**where, "torch": torch.__version__}


# ---------------------------------------------------------------- state


def arrays(network: nn.Module) -> dict[str, np.ndarray]:
    """The weights as arrays, by name."""
    return {name: tensor.cpu().numpy() for name, tensor in network.state_dict().items()}


def device_of(network: nn.Module) -> torch.device:
    """The device of the weights."""
    return next(network.parameters()).device


def batches(order: np.ndarray, network: nn.Module) -> torch.Tensor:
    """Indices of images, int64 (steps, batch size), on the network's device: no copies during an epoch."""
    return torch.from_numpy(order).to(device_of(network))


def to_numpy(losses: list[Tensor]) -> np.ndarray:
    """The loss of every step, float32 (steps,); only this call waits for the device."""
    return torch.stack(losses).float().cpu().numpy()


def saved(
    network: nn.Module, optimizer: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Everything that training changes: arrays, and numbers for the metadata (JSON)."""
    state = optimizer.state_dict()
    tensors = {f"net.{name}": array for name, array in arrays(network).items()}
    for index, moments in state["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value.cpu().numpy() for key, value in moments.items()}
    table = {"optimizer_groups": state["param_groups"], "schedule": schedule.state_dict()}
    return tensors, _without_tensors(table)


def _without_tensors(value: Any) -> Any:
    """`value` with numbers for tensors of one number: in a CUDA graph, the learning rate is one."""
    if isinstance(value, dict):
        return {key: _without_tensors(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_tensors(item) for item in value]
    return value.item() if isinstance(value, Tensor) else value


def restore(
    tensors: dict[str, np.ndarray],
    table: dict[str, Any],
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> None:
    """Restore the state that `saved` returned."""
    loaded = {name: torch.from_numpy(array) for name, array in tensors.items()}
    network.load_state_dict({n.removeprefix("net."): t for n, t in loaded.items() if n.startswith("net.")})
    # The moments need the memory layout of their weights (channels_last), since the fused step reads both in parallel.
    parameters, state = list(network.parameters()), optimizer.state_dict()
    for name, tensor in loaded.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            alike = torch.empty_like(parameters[int(index)]).copy_(tensor) if tensor.ndim else tensor
            state["state"].setdefault(int(index), {})[key] = alike
    # JSON has no tuples, so betas and other tuples of the optimizer are converted back.
    groups = [
        {key: tuple(value) if isinstance(now[key], tuple) else value for key, value in then.items()}
        for now, then in zip(state["param_groups"], table["optimizer_groups"], strict=True)
    ]
    optimizer.load_state_dict({"state": state["state"], "param_groups": groups})
    schedule.load_state_dict(table["schedule"])
