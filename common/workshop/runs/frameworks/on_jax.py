"""JAX in a run: choosing and asserting the device, as `on_torch` does for PyTorch; and the state of a training.

XLA reads its flags and opens all GPUs on its first use, so call `choose` before that.
"""

from __future__ import annotations

import ctypes
import importlib.util
import logging
import os
from pathlib import Path
from typing import Any, TypeAlias

import jax
import numpy as np
from jaxlib.version import __version__ as jaxlib_version

from workshop import shell
from workshop.errors import WorkshopError, reports_full_gpu
from workshop.runs.frameworks.device import CPU_BUILD, missing_gpu_error, requested_device
from workshop.runs.records import provenance
from workshop.support.hardware import cpu_name, nvidia_smi

# JAX defines its devices in a compiled module without types.
Device: TypeAlias = jax.Device  # pyright: ignore[reportInvalidTypeForm]

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "safetensors", "matplotlib", "scikit-learn")  # for run.json
# Modules with the CUDA version of the build: PyPI's current plugins, then conda-forge's jaxlib.
CUDA_MODULES = ("jax_cuda13_plugin", "jax_cuda12_plugin", "jaxlib.cuda")

# Without a driver, JAX logs a traceback of its CUDA plugin and continues, even if only the CPU was requested. `choose`
# explains what is missing, so the traceback is hidden.
logging.getLogger("jax._src.xla_bridge").addFilter(lambda message: not message.exc_info)


def choose(requested: str) -> Device:
    """The device for `--device requested`: the first GPU, or the CPU if that was requested.

    `auto` chooses a GPU if JAX can use one. Raises WorkshopError if the command line or WORKSHOP_DEVICE requests a GPU
    and JAX cannot use it; the message contains JAX's reason.
    """
    name = requested_device(requested)
    if name == "cpu":
        jax.config.update(
            "jax_platforms", "cpu"
        )  # otherwise JAX opens the GPUs as well and reserves most of their memory
        return jax.devices("cpu")[0]
    device, obstacle = gpu()
    if device is not None:
        return device
    if name == "auto":
        return jax.devices("cpu")[0]
    raise missing_gpu_error(requested, f"JAX {jax.__version__}", obstacle)


def gpu() -> tuple[Device | None, str]:
    """The first GPU that JAX can use, or None and the reason."""
    try:
        device = jax.devices("cuda")[0]
        jax.device_put(0, device).block_until_ready()
        return device, ""
    except RuntimeError as error:
        report = " ".join(str(error).split())
    versions = cuda_versions()
    if not any(map(_is_installed, CUDA_MODULES)):
        return None, f"jaxlib {jaxlib_version} {CPU_BUILD}: no GPU can be used in this environment"
    for_cuda = versions.get("cuda_of_build", "of an unknown version")
    built = f"jaxlib {jaxlib_version} was built for CUDA {for_cuda}"
    driver = nvidia_smi().get("driver")
    if driver is None:
        return None, f"{built}, and no NVIDIA driver answers on this machine (`nvidia-smi` is not found or fails)"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None and not any(part.strip().removeprefix("GPU-")[:1].isalnum() for part in hidden.split(",")):
        return None, f"driver {driver} is installed, but CUDA_VISIBLE_DEVICES={hidden!r} hides the GPUs"
    offered = versions.get("cuda_of_driver")
    # A driver supports its own CUDA generation and all earlier ones.
    if offered and for_cuda[0].isdecimal() and int(offered.split(".")[0]) < int(for_cuda.split(".")[0]):
        return None, f"{built}, and driver {driver} offers CUDA {offered}: the driver is too old for it"
    if reports_full_gpu(report):
        advice = "set XLA_PYTHON_CLIENT_PREALLOCATE=false for every process that shares it"
        return None, f"driver {driver} is installed, but the GPU's memory is full; {advice} ({report[:160]})"
    return (
        None,
        f"{built}, driver {driver} offers CUDA {offered or 'of an unknown version'}, and JAX reports: {report[:200]}",
    )


def cuda_versions() -> dict[str, str]:
    """cuda_of_build and cudnn_of_build (of jaxlib's build), cuda_of_driver (the newest that the driver supports).

    Unknown values are left out: a jaxlib for the CPU has no CUDA version, and a machine may have no driver.
    """
    found = {}
    for name in CUDA_MODULES:
        try:
            versions = importlib.import_module(f"{name}._versions")
            # NVIDIA writes CUDA 11.8 as 11080, cuDNN 8.9.7 as 8907 and cuDNN 9.10.2 as 91002.
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


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the parent package is missing
        return False


def assert_on(device: Device, **trees: Any) -> None:
    """Raise WorkshopError unless every array of every tree is on `device`: proves that the run uses its device."""
    for name, tree in trees.items():
        for array in jax.tree_util.tree_leaves(tree):
            if array.devices() != {device}:
                found = ", ".join(map(str, sorted(array.devices(), key=str)))
                raise WorkshopError(
                    looked_at=f"the arrays of {name}",
                    expected=f"on {device}",
                    found=f"on {found}",
                    next_step="move them there: jax.device_put(..., device)",
                )


def describe(device: Device) -> dict[str, Any]:
    """The device for the run record: type and name; for a GPU also driver, compute capability and CUDA versions."""
    if device.platform == "cpu":
        return {"type": "cpu", "name": cpu_name(), "threads": threads()}
    description = {
        "type": "cuda",
        "name": device.device_kind,
        "compute_capability": str(getattr(device, "compute_capability", "unknown")),
        "driver": nvidia_smi().get("driver"),
        **cuda_versions(),
    }
    limit = (device.memory_stats() or {}).get("bytes_limit")
    return description | ({"memory_bytes_for_xla": limit} if limit else {})


def threads() -> int:
    """How many threads XLA computes with: those of `threads.use`, else one for each core that it may use."""
    if os.environ.get("NPROC", "").isdecimal():
        return int(os.environ["NPROC"])
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def version_lines(device: Device) -> list[str]:
    """One line to print before a training: jax and jaxlib, and on a GPU the CUDA that each part was built for."""
    line = f"jax {jax.__version__}, jaxlib {jaxlib_version}"
    if device.platform == "cpu":
        return [line]
    versions = {"cuda_of_build": "unknown", "cudnn_of_build": "unknown", "cuda_of_driver": "unknown"} | cuda_versions()
    return [
        f"{line} built for CUDA {versions['cuda_of_build']} and cuDNN {versions['cudnn_of_build']}; "
        f"the driver offers CUDA {versions['cuda_of_driver']}"
    ]


def resume_conditions(device: Device) -> dict[str, Any]:
    """Besides seed, data and script: values that must be unchanged for a resumed run to give the same bits."""
    described = describe(device)
    packages = {name: provenance.installed(name) for name in ("flax", "optax")}
    where = {"device": described["name"]} | ({"threads": described["threads"]} if "threads" in described else {})
    return {**where, "jax": jax.__version__, "jaxlib": jaxlib_version, **packages}


def determinism() -> dict[str, Any]:
    """The flags that decide whether two runs give the same bits, as JAX reports them."""
    config: Any = jax.config
    return {
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "threefry_partitionable": config.jax_threefry_partitionable,
        "prng_impl": config.jax_default_prng_impl,
        "matmul_precision": config.jax_default_matmul_precision or "default",
        "x64": config.jax_enable_x64,
    }


# ---------------------------------------------------------------- state

# Axes that convert Flax's kernels, (height, width, in, out) and (in, out), to PyTorch's weights, (out, in, height,
# width) and (out, in).
TO_TORCH = {4: (3, 2, 0, 1), 2: (1, 0)}
FROM_TORCH = {4: (2, 3, 1, 0), 2: (1, 0)}
KIND = {"kernel": "weight", "bias": "bias"}  # names of a layer's arrays, in Flax and in PyTorch


def arrays(params: Any) -> dict[str, np.ndarray]:
    """The weights of a linen network of plain layers, with PyTorch's names and layouts."""
    found = {}
    for layer, kinds in params["params"].items():
        for kind, value in kinds.items():
            array = np.asarray(value)
            found[f"{layer}.{KIND[kind]}"] = array.transpose(TO_TORCH.get(array.ndim, range(array.ndim)))
    return found


def params_of(tensors: dict[str, np.ndarray]) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """The inverse of `arrays`: the params of a linen network from weights with PyTorch's names and layouts."""
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name, array in tensors.items():
        layer, kind = name.rsplit(".", 1)
        if kind == "weight":
            layers.setdefault(layer, {})["kernel"] = array.transpose(FROM_TORCH[array.ndim])
        else:
            layers.setdefault(layer, {})[kind] = array
    return {"params": layers}


def device_of(state: Any) -> Device:
    """The device of the first array of a tree."""
    return next(iter(jax.tree_util.tree_leaves(state)[0].devices()))


def batches(order: np.ndarray, _state: Any = None) -> np.ndarray:
    """Indices of images, int32 (steps, batch size): each step sends its own row of a few hundred bytes."""
    return order.astype(np.int32)


def to_numpy(losses: list[jax.Array]) -> np.ndarray:
    """The loss of every step, float32 (steps,); only this call waits for the device."""
    return np.asarray(jax.device_get(losses), np.float32)


def saved(state: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Everything that training changes: the arrays of a tree, in its own order, and no metadata."""
    leaves = jax.tree_util.tree_leaves(jax.device_get(state))
    return {f"{number:04}": np.asarray(leaf) for number, leaf in enumerate(leaves)}, {}


def restored(path: Path, tensors: dict[str, np.ndarray], like: Any) -> Any:
    """A tree with the structure of `like`, on its device, and the arrays that `saved` returned.

    Raises WorkshopError, about the checkpoint at `path`, if the arrays do not belong to such a tree.
    """
    leaves, structure = jax.tree_util.tree_flatten(like)
    shapes = [(leaf.shape, leaf.dtype) for leaf in leaves]
    found = [(array.shape, array.dtype) for _, array in sorted(tensors.items())]
    if found != shapes:
        raise WorkshopError(
            looked_at=path,
            expected=f"{len(shapes)} arrays in the shapes of this network and optimizer",
            found=f"{len(found)} arrays, of other shapes or types",
            next_step=f"rm -r {shell.quoted(path.parent)}  # this checkpoint cannot be used: start over",
        )
    device = device_of(like)
    return jax.tree_util.tree_unflatten(
        structure, [jax.device_put(array, device) for _, array in sorted(tensors.items())]
    )
