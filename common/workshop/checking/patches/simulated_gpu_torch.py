"""A simulated GPU for PyTorch: `install` it before a training script runs, and see what the script does.

Everything that the script sends to the GPU stays on the CPU, without an error. A script that asserts its device stops
if images or weights do not appear to be on it, and trains if both do; a script that does not assert it trains on the
CPU. PyTorch's own modules see the real machine: otherwise a CUDA build would initialize a driver that may not exist.

The checks run this file by its path, in the interpreter of the script.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from workshop.runs.frameworks import on_torch

NAME = "simulated"
CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
CAPABILITY = (8, 0)  # of an A100: supported by all versions


def called_by_torch() -> bool:
    """Whether the caller's caller is a module of PyTorch."""
    return sys._getframe(2).f_globals.get("__name__", "").split(".")[0] == "torch"


def on_cpu(value: Any) -> Any:
    """The CPU if an argument names a GPU; otherwise the argument itself."""
    names_gpu = isinstance(value, (str, torch.device)) and str(value).startswith("cuda")
    return CPU if names_gpu else value


class StayOnCPU(TorchFunctionMode):
    """Nothing leaves the CPU. images, weights: whether tensors of that kind appear to be on the GPU nevertheless."""

    def __init__(self, images: bool, weights: bool) -> None:
        super().__init__()
        self.images, self.weights = images, weights

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in (torch.Tensor.cuda, torch.Tensor.pin_memory):
            return args[0]
        if function is torch.device:  # creating a device does not move anything
            return function(*args, **(kwargs or {}))
        if function == torch.Tensor.device.__get__ and not called_by_torch():
            moved = self.weights if isinstance(args[0], torch.nn.Parameter) else self.images
            return GPU if moved else CPU
        return function(*map(on_cpu, args), **{key: on_cpu(value) for key, value in (kwargs or {}).items()})


def for_scripts(module: Any, name: str, simulated: Any) -> None:
    """Make the function `name` of a module return `simulated` to scripts, but its real value to PyTorch itself."""
    real = getattr(module, name, None)
    if real is not None:  # the oldest PyTorch in the locks has no torch.accelerator

        def replacement(*args, **kwargs):
            return real(*args, **kwargs) if called_by_torch() else simulated

        setattr(module, name, replacement)


def install(images: bool, weights: bool) -> None:
    """Simulate a GPU in this process. images, weights: whether tensors of that kind appear to be on it."""
    describe = on_torch.describe
    on_torch.cuda_obstacle = lambda *_: None
    on_torch.describe = lambda device: {"type": "cuda", "name": NAME} if device.type == "cuda" else describe(device)
    for name, simulated in {
        "is_available": True,
        "device_count": 1,
        "current_device": 0,
        "set_device": None,
        "synchronize": None,
        "get_device_name": NAME,
        "get_device_capability": CAPABILITY,
        "is_bf16_supported": False,
    }.items():
        for_scripts(torch.cuda, name, simulated)
    accelerator = getattr(torch, "accelerator", None)
    for name, simulated in {
        "is_available": True,
        "current_accelerator": torch.device("cuda"),
        "device_count": 1,
    }.items():
        for_scripts(accelerator, name, simulated)
    StayOnCPU(images, weights).__enter__()
