"""A Flax network and its optimizer, out to arrays and back in, to the same bits; and the way into PyTorch's layouts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jaxlib
import numpy as np

from workshop import shell
from workshop.errors import WorkshopError
from workshop.runs import data, device_jax, provenance, weights

# Flax's kernels, (height, width, in, out) and (in, out), in the order of PyTorch's weights: (out, in, height, width)
# and (out, in).
TO_TORCH = {4: (3, 2, 0, 1), 2: (1, 0)}
FROM_TORCH = {4: (2, 3, 1, 0), 2: (1, 0)}
KIND = {"kernel": "weight", "bias": "bias"}  # what a layer's arrays are called, in Flax and in PyTorch


def on_device(dataset: data.Dataset, device: jax.Device) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Training images uint8 (n, 28, 28) and labels int32 (n,), then those to test with, all on `device`."""
    x, x_test = data.as_28x28(dataset.x_train), data.as_28x28(dataset.x_test)
    y, y_test = dataset.y_train.astype(np.int32), dataset.y_test.astype(np.int32)
    return tuple(jax.device_put(array, device) for array in (x, y, x_test, y_test))


def arrays(params: Any) -> dict[str, np.ndarray]:
    """The weights of a linen network of plain layers by the names, and in the layouts, that PyTorch gives them."""
    found = {}
    for layer, kinds in params["params"].items():
        for kind, value in kinds.items():
            array = np.asarray(value)
            found[f"{layer}.{KIND[kind]}"] = array.transpose(TO_TORCH.get(array.ndim, range(array.ndim)))
    return found


def params_of(tensors: dict[str, np.ndarray]) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """The other way: the params of a linen network out of weights as PyTorch names them and lays them out."""
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name, array in tensors.items():
        layer, kind = name.rsplit(".", 1)
        if kind == "weight":
            layers.setdefault(layer, {})["kernel"] = array.transpose(FROM_TORCH[array.ndim])
        else:
            layers.setdefault(layer, {})[kind] = array
    return {"params": layers}


def what_bits_depend_on(device: jax.Device) -> dict[str, Any]:
    """Besides seed, data and script: what has to be the same for a resumed run to end in the same bits."""
    described = device_jax.describe(device)
    packages = {name: provenance.installed(name) for name in ("flax", "optax")}
    where = {"device": described["name"]} | ({"threads": described["threads"]} if "threads" in described else {})
    return {**where, "jax": jax.__version__, "jaxlib": jaxlib.__version__, **packages}


def save_checkpoint(path: Path, state: Any, about: dict[str, object]) -> None:
    """Write the arrays of `state` (a tree: params, the optimizer's state, losses), with what is said `about` them."""
    leaves = jax.tree_util.tree_leaves(jax.device_get(state))
    weights.save(path, {f"{number:04}": np.asarray(leaf) for number, leaf in enumerate(leaves)}, about)


def load_checkpoint(path: Path) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """What `save_checkpoint` wrote. Raises WorkshopError where it cannot be read (`workshop.runs.weights.load`)."""
    return weights.load(path, f"rm -r {shell.quoted(path.parent)}  # it cannot be gone on from: begin again")


def restore(path: Path, arrays: dict[str, np.ndarray], like: Any, device: jax.Device) -> Any:
    """A tree with the structure of `like` and the arrays of a checkpoint, on `device`.

    Raises WorkshopError where the arrays are not those of such a tree.
    """
    leaves, structure = jax.tree_util.tree_flatten(like)
    shapes = [(leaf.shape, leaf.dtype) for leaf in leaves]
    found = [(array.shape, array.dtype) for _, array in sorted(arrays.items())]
    if found != shapes:
        advice = f"rm -r {shell.quoted(path.parent)}  # it cannot be gone on from: begin again"
        raise WorkshopError(
            looked_at=path,
            expected=f"{len(shapes)} arrays in the shapes of this network and optimizer",
            found=f"{len(found)} arrays, of other shapes or types",
            next_step=advice,
        )
    return jax.tree_util.tree_unflatten(
        structure, [jax.device_put(array, device) for _, array in sorted(arrays.items())]
    )
