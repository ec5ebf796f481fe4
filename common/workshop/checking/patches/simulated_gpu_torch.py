"""A GPU that is only simulated, for PyTorch: `install` it before a training script runs, and see what the script does.

Whatever the script sends to the GPU stays on the CPU, and nothing complains. A script that insists on its device
stops where images or weights have not moved, and trains where both have; a script that does not insist trains on the
CPU and calls it a GPU. PyTorch's own modules see the machine as it is: a build for CUDA would initialize the driver
on what it believes to be a GPU, and there may be none.

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
CAPABILITY = (8, 0)  # of an A100: neither too old nor too new for anything


def asked_by_torch() -> bool:
    """Whether it is a module of PyTorch that calls the function which calls this one."""
    return sys._getframe(2).f_globals.get("__name__", "").split(".")[0] == "torch"


def on_cpu(value: Any) -> Any:
    """The CPU where an argument names a GPU; any other argument as it is."""
    names_gpu = isinstance(value, (str, torch.device)) and str(value).startswith("cuda")
    return CPU if names_gpu else value


class Stay(TorchFunctionMode):
    """Nothing leaves the CPU. images, weights: whether the tensors of that kind claim to be on the GPU all the same."""

    def __init__(self, images: bool, weights: bool) -> None:
        super().__init__()
        self.images, self.weights = images, weights

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in (torch.Tensor.cuda, torch.Tensor.pin_memory):
            return args[0]
        if function is torch.device:  # asking for a device is not yet sending something there
            return function(*args, **(kwargs or {}))
        if function == torch.Tensor.device.__get__ and not asked_by_torch():
            moved = self.weights if isinstance(args[0], torch.nn.Parameter) else self.images
            return GPU if moved else CPU
        return function(*map(on_cpu, args), **{key: on_cpu(value) for key, value in (kwargs or {}).items()})


def for_scripts(module: Any, name: str, simulated: Any) -> None:
    """Let the function `name` of a module return `simulated` to scripts, and to PyTorch what it returned before."""
    real = getattr(module, name, None)
    if real is not None:  # torch.accelerator is younger than the oldest PyTorch of the locks

        def replacement(*args, **kwargs):
            return real(*args, **kwargs) if asked_by_torch() else simulated

        setattr(module, name, replacement)


def install(images: bool, weights: bool) -> None:
    """Simulate a GPU in this process. images, weights: whether what is sent there claims to have arrived."""
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
    Stay(images, weights).__enter__()
