"""Choose the device for JAX, insist on it, and say what it is: as `workshop.runs.device` does for torch.

XLA reads its flags and opens every GPU that it may use when it is first asked for anything; so call `choose` before.
"""

from __future__ import annotations

import ctypes
import importlib.util
import logging
import os
from typing import Any

import jax
import jaxlib

from workshop.errors import WorkshopError, says_gpu_is_full
from workshop.hardware import cpu_name, nvidia_smi
from workshop.runs.device import CPU_BUILD, gpu_is_missing, wanted

# Where the packages keep the versions that they were built for: PyPI's plugins of today, then conda-forge's jaxlib.
CUDA_MODULES = ("jax_cuda13_plugin", "jax_cuda12_plugin", "jaxlib.cuda")

# Without a driver, JAX logs the traceback of its plugin for CUDA, even where only the CPU is asked for, and goes on.
# `choose` explains what is missing, so nobody has to read it.
logging.getLogger("jax._src.xla_bridge").addFilter(lambda message: not message.exc_info)


def choose(requested: str) -> jax.Device:
    """The device for `--device requested`: the first GPU, or the CPU where that is what was asked for.

    With `auto`, a GPU is taken where JAX can use one. Raises WorkshopError where a GPU is asked for, by the command
    line or by WORKSHOP_DEVICE, and JAX cannot use it; the message says what JAX reports.
    """
    name = wanted(requested)
    if name == "cpu":
        jax.config.update("jax_platforms", "cpu")  # else JAX opens the GPUs, too, and takes most of their memory
        return jax.devices("cpu")[0]
    found, obstacle = gpu()
    if found is not None:
        return found
    if name == "auto":
        return jax.devices("cpu")[0]
    raise gpu_is_missing(requested, f"JAX {jax.__version__}", obstacle)


def gpu() -> tuple[jax.Device | None, str]:
    """The first GPU that JAX can use, or None and the reason in plain words."""
    try:
        found = jax.devices("cuda")[0]
        jax.device_put(0, found).block_until_ready()
        return found, ""
    except RuntimeError as error:
        report = " ".join(str(error).split())
    versions = cuda_versions()
    if not any(map(_is_there, CUDA_MODULES)):
        return None, f"jaxlib {jaxlib.__version__} {CPU_BUILD}: no GPU can be used in this environment"
    for_cuda = versions.get("cuda_of_build", "of an unknown version")
    built = f"jaxlib {jaxlib.__version__} was built for CUDA {for_cuda}"
    driver = nvidia_smi().get("driver")
    if driver is None:
        return None, f"{built}, and no NVIDIA driver answers on this machine (`nvidia-smi` is not found or fails)"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None and not any(part.strip().removeprefix("GPU-")[:1].isalnum() for part in hidden.split(",")):
        return None, f"driver {driver} is there, but CUDA_VISIBLE_DEVICES={hidden!r} hides the GPUs"
    offered = versions.get("cuda_of_driver")
    # A driver runs what was built for an older CUDA of its own generation, and of every generation before.
    if offered and for_cuda[0].isdecimal() and int(offered.split(".")[0]) < int(for_cuda.split(".")[0]):
        return None, f"{built}, and driver {driver} offers CUDA {offered}: the driver is too old for it"
    if says_gpu_is_full(report):
        helps = "set XLA_PYTHON_CLIENT_PREALLOCATE=false for every process that shares it"
        return None, f"driver {driver} is there, but the GPU's memory is taken; {helps} ({report[:160]})"
    return (
        None,
        f"{built}, driver {driver} offers CUDA {offered or 'of an unknown version'}, and JAX says: {report[:200]}",
    )


def cuda_versions() -> dict[str, str]:
    """cuda_of_build and cudnn_of_build (what jaxlib was built for), cuda_of_driver (what the driver offers).

    Only what can be found out is named: a jaxlib for the CPU was built for no CUDA, a machine may have no driver.
    """
    found = {}
    for name in CUDA_MODULES:
        try:
            versions = importlib.import_module(f"{name}._versions")
            # 11080 and 8907 (cuDNN 8) or 91002 (cuDNN 9): NVIDIA's own way to write 11.8, 8.9.7 and 9.10.2.
            found["cuda_of_build"] = _cuda(versions.cuda_runtime_build_version())
            number = versions.cudnn_build_version()
            thousand = 1000 if number < 10_000 else 10_000
            found["cudnn_of_build"] = f"{number // thousand}.{number % thousand // 100}.{number % 100}"
            break
        except (ImportError, AttributeError, RuntimeError):
            continue
    try:
        number = ctypes.c_int()
        library = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"
        if ctypes.CDLL(library).cuDriverGetVersion(ctypes.byref(number)) == 0:
            found["cuda_of_driver"] = _cuda(number.value)
    except (OSError, AttributeError):
        pass  # no driver
    return found


def _cuda(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its parent
        return False


def assert_on(device: jax.Device, **trees: Any) -> None:
    """Raise WorkshopError unless every array of every tree lies on `device`: the proof that the run is where it says."""
    for name, tree in trees.items():
        for array in jax.tree_util.tree_leaves(tree):
            if array.devices() != {device}:
                there = ", ".join(map(str, sorted(array.devices(), key=str)))
                raise WorkshopError(
                    looked_at=f"the arrays of {name}",
                    expected=f"on {device}",
                    found=f"on {there}",
                    next_step="move them there: jax.device_put(..., dev)",
                )


def describe(device: jax.Device) -> dict[str, Any]:
    """The device for the run record: type and name; for a GPU also driver, compute capability and CUDA versions."""
    if device.platform == "cpu":
        return {"type": "cpu", "name": cpu_name(), "threads": threads()}
    about = {
        "type": "cuda",
        "name": device.device_kind,
        "compute_capability": str(getattr(device, "compute_capability", "unknown")),
        "driver": nvidia_smi().get("driver"),
        **cuda_versions(),
    }
    limit = (device.memory_stats() or {}).get("bytes_limit")
    return about | ({"memory_bytes_for_xla": limit} if limit else {})


def threads() -> int:
    """How many processors XLA may use at once: those that the system lets this process have."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def stack(device: jax.Device) -> str:
    """One line on what computes: jax and jaxlib, and on a GPU which CUDA each part speaks."""
    line = f"jax {jax.__version__}, jaxlib {jaxlib.__version__}"
    if device.platform == "cpu":
        return line
    found = {"cuda_of_build": "unknown", "cudnn_of_build": "unknown", "cuda_of_driver": "unknown"} | cuda_versions()
    return (
        f"{line} built for CUDA {found['cuda_of_build']} and cuDNN {found['cudnn_of_build']}; "
        f"the driver offers CUDA {found['cuda_of_driver']}"
    )
