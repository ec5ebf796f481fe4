"""A simulated GPU for JAX: `install` it before a training script runs, and see what the script does.

XLA splits this machine's processor into two devices, and the second one counts as a GPU. A script that asserts its
device stops if its arrays are not on it, and trains if they are; a script that does not assert it trains on the first
device. The result of the training does not matter, so XLA compiles without optimization, in a third of the time.

The checks run this file by its path, in the interpreter of the script, before JAX has looked for devices.
"""

from __future__ import annotations

import os

import jax

from workshop.runs.frameworks import on_jax

FLAGS = "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0"


def install(moved: bool) -> None:
    """Simulate a GPU in this process. moved: whether arrays that are sent there arrive."""
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAGS}"
    # Only the CPU: on a machine with a GPU, the CUDA plugin would reserve most of its memory.
    jax.config.update("jax_platforms", "cpu")
    real_devices, real_put, real_describe = jax.devices, jax.device_put, on_jax.describe

    def halves() -> tuple[on_jax.Device, on_jax.Device]:
        cpu, gpu = real_devices("cpu")
        return cpu, gpu

    def devices(backend: str | None = None) -> list[on_jax.Device]:
        cpu, gpu = halves()
        return [gpu] if backend in ("cuda", "gpu") else [cpu]

    def describe(device: on_jax.Device) -> dict[str, object]:
        return {"type": "cuda", "name": "simulated"} if device == halves()[1] else real_describe(device)

    jax.devices = devices
    on_jax.gpu = lambda: (halves()[1], "")
    on_jax.describe = describe
    if not moved:
        jax.device_put = lambda x, device=None, **_: real_put(x)
