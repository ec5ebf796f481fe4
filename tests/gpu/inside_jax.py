"""The checks of `run.py` that look inside a training of exercise 3; it starts this program and reads its rows."""

from __future__ import annotations

import ast
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import watched
from report import HAS_GPU, PASSED, CannotRun, Failed

from workshop.errors import WorkshopError
from workshop.exercises import load_module
from workshop.runs import data
from workshop.runs.frameworks import on_jax

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "exercise-3-jax-cu118/solution/train.py"
STATES_TOLERANCE = ROOT / "exercise-4-pypi-mix/solution/predict.py"


def stated_tolerance() -> float:
    """TOLERANCE of exercise 4's script, which cannot be imported where PyTorch is missing."""
    for node in ast.parse(STATES_TOLERANCE.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "TOLERANCE":
            return ast.literal_eval(node.value)
    raise Failed(f"{STATES_TOLERANCE.name} states no TOLERANCE")


def gpu() -> tuple[str, dict[str, Any]]:
    """Which GPU JAX can use. Raises CannotRun with the reason where it can use none."""
    device, obstacle = on_jax.gpu()
    if device is None:
        raise CannotRun(obstacle)
    about = on_jax.describe(device)
    return f"{about['name']}, jax {jax.__version__}", about | {"jax": jax.__version__}


def main() -> None:
    options = watched.settings()
    module = load_module(SCRIPT, "exercise_3")
    module.make_deterministic()  # before JAX looks for devices: XLA reads its flags once
    if watched.emit("jax", HAS_GPU, gpu).result != PASSED:
        return
    # One compiled step for all seeds: a process that trains once also compiles once.
    module.make_train_step = functools.cache(module.make_train_step)
    device, _ = on_jax.gpu()
    first: list[watched.Watched] = []

    def device_is_asserted() -> tuple[str, dict[str, Any]]:
        first.append(watched.train(module, 0, options.data, 1, watch=no_transfer_to_host))
        cpu = jax.devices("cpu")[0]
        for where, other in ((device, cpu), (cpu, device)):
            try:
                on_jax.assert_on(where, array=jax.device_put(np.zeros(1), other))
            except WorkshopError:
                continue
            raise Failed(f"an array on {other} was taken for one on {where}")
        return "images and state are there; a wrong array is refused", {"asserted": first[0].asserted}

    def no_transfer_to_host() -> Any:
        return jax.transfer_guard_device_to_host("disallow_explicit")

    def does_not_wait() -> tuple[str, dict[str, Any]]:
        try:
            with no_transfer_to_host():
                np.asarray(jax.device_put(np.zeros(1), device) + 1)
        except Exception as error:
            if not first:
                raise CannotRun("the training before it failed") from error
            steps = first[0].steps
            return f"nothing was read from the GPU in {steps} steps", {"steps": steps}
        watched.simulated_gpu_shares_memory(options)
        raise Failed("JAX did not stop a transfer that was made on purpose: its guard proves nothing")

    def logits_agree() -> tuple[str, dict[str, Any]]:
        if not first:
            raise CannotRun("the training before it failed")
        images = data.load(options.data).as_28x28().x_test[:1000]
        params = jax.device_get(first[0].network)
        # A GPU would round the factors to 10 bits (TF32), as exercise 4's script explains.
        with jax.default_matmul_precision("highest"):
            here, there = (
                np.asarray(module.Net().apply(*jax.device_put((params, module.to_input(jnp.asarray(images))), place)))
                for place in (device, jax.devices("cpu")[0])
            )
        relative = float((np.abs(here - there) / np.abs(there).max(axis=1, keepdims=True)).max())
        values = {"largest_relative": relative, "tolerance": stated_tolerance(), "images": len(images)}
        if not relative <= values["tolerance"]:
            raise Failed(f"{relative:.1e} of an image's largest logit, more than {values['tolerance']:g}", **values)
        return f"{relative:.1e} of an image's largest logit (tolerance {values['tolerance']:g})", values

    def peak_memory() -> tuple[str, dict[str, Any]]:
        watched.simulated_gpu_shares_memory(options)
        stats = device.memory_stats() or {}
        if "peak_bytes_in_use" not in stats:
            raise CannotRun("this device does not count its memory")
        values = {"peak_bytes": stats["peak_bytes_in_use"], "limit_bytes": stats.get("bytes_limit")}
        return f"{values['peak_bytes'] / 2**20:.0f} MiB in use", values

    def synchronize() -> None:
        # The device works through its queue in order: the last request is executed last.
        (jax.device_put(np.zeros(1, np.float32), device) + 1).block_until_ready()

    watched.emit("jax", "device asserted", device_is_asserted)
    watched.emit("jax", "no waiting for the GPU inside an epoch", does_not_wait)
    check = f"{options.target:.0%} on {options.data}"
    watched.emit("jax", check, lambda: watched.to_target(module, options, synchronize=synchronize))
    watched.emit("jax", "CPU and GPU logits", logits_agree)
    watched.emit("jax", "peak memory of these trainings", peak_memory)


if __name__ == "__main__":
    main()
