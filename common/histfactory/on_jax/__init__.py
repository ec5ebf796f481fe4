"""The fits of a model on a GPU, with JAX: `Scan(model, backend="jax")`.

This is for scans of large likelihoods, with hundreds of parameters. Compiling takes several seconds for each model,
longer than all fits of a small likelihood with NumPy. Without a GPU, JAX uses the CPU, where NumPy is usually faster. The
results agree with those of NumPy except for rounding, below 1e-9 in CLs. Their last digits depend on the device, on the
version of JAX and on the division into chunks.

    model.py        the arrays of a model on the device
    likelihood.py   expected counts, value and derivatives of one row
    steps.py        the quasi-Newton step of one row
    fit.py          the minimiser: all rows advance together
    device.py       `Device`: what the NumPy code calls instead of its own functions

Only `fit_batch`, `fold_depth` and the expected counts run here. Everything around them is the NumPy code, which also
finishes the few fits that need second derivatives. JAX is imported only when `device_of` or `first_device` is called.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from typing import TYPE_CHECKING

from histfactory.errors import HistFactoryError
from histfactory.model import Model

if TYPE_CHECKING:
    from histfactory.on_jax.device import Device

OLDEST = 0, 5  # `jax.jit` has compiler options from then on


def require_jax() -> None:
    """Raise HistFactoryError if JAX is not installed, or too old."""
    found = "no module 'jax'"
    if importlib.util.find_spec("jax") is not None:
        version = importlib.metadata.version("jax")
        if tuple(map(int, version.split(".")[:2])) >= OLDEST:
            return
        found = f"jax {version}"
    raise HistFactoryError(
        looked_at="the backend jax",
        expected=f"jax {'.'.join(map(str, OLDEST))} or newer in this Python environment",
        found=found,
        next_step="with Pixi: `pixi run -e cpu-jax scan --backend jax`; without: `pip install -e '.[cpu]'`, and for a "
        "GPU also `pip install 'jax[cuda13]'`. The backend numpy needs no JAX",
    )


def device_of(model: Model) -> Device:
    """The model on JAX's first device. Raises HistFactoryError as `require_jax` does."""
    require_jax()
    from histfactory.on_jax.device import Device

    return Device(model)


def first_device() -> tuple[bool, str]:
    """Whether JAX's first device, which fits, is a GPU; and its name."""
    import jax

    device = jax.devices()[0]
    return device.platform != "cpu", device.device_kind
