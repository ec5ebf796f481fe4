"""Tests of exercise 3 that need JAX in their own process. tests/runs/test_jax.py runs them, with two finished runs."""

import os
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
import torch
from conftest import ROOT, module_of, record_of

from workshop import errors
from workshop.runs import data, weights
from workshop.runs.frameworks import on_jax

SCRIPT = ROOT / "exercise-3-jax-cu118/solution/train.py"
TORCH_SCRIPT = ROOT / "exercise-2-pytorch-cu12/solution/train.py"
OF_TORCH, OF_JAX = (Path(os.environ.get(name, "")) for name in ("OF_TORCH", "OF_JAX"))


def test_either_framework_loads_the_others_file():
    """PyTorch with JAX's weights, and JAX with PyTorch's, reach the recorded accuracy."""
    dataset = data.load("digits")
    train = module_of(SCRIPT)
    params = on_jax.params_of(weights.load(OF_TORCH / "weights.safetensors", "")[0])
    counts = train.confusion(params, data.as_28x28(dataset.x_test), dataset.y_test)
    assert counts.trace() / 300 == record_of(OF_TORCH)["metrics"][0]["value"]

    module = module_of(TORCH_SCRIPT)
    net = module.Net()
    tensors, about = weights.load(OF_JAX / "weights.safetensors", "")
    net.load_state_dict({name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in tensors.items()})
    x = torch.from_numpy(data.as_28x28(dataset.x_test))
    counts = module.confusion(net, x, torch.from_numpy(dataset.y_test.astype(np.int64)))
    assert counts.trace().item() / 300 == record_of(OF_JAX)["metrics"][0]["value"]
    assert about["network"] == record_of(OF_TORCH)["network"]


def test_layouts_survive_a_round_trip():
    tensors = {"a.weight": np.arange(24.0).reshape(2, 3, 2, 2), "a.bias": np.ones(2), "b.weight": np.eye(3)[:2]}
    there = on_jax.params_of(tensors)
    assert there["params"]["a"]["kernel"].shape == (2, 2, 3, 2) and there["params"]["b"]["kernel"].shape == (3, 2)
    back = on_jax.arrays(there)
    assert all(np.array_equal(back[name], tensors[name]) for name in tensors)


def test_the_recipe_is_that_of_exercise_2():
    module, train = module_of(TORCH_SCRIPT), module_of(SCRIPT)
    for name in ("BATCH_SIZE", "DIGITS_BATCH_SIZE", "LR", "WARM_UP", "WEIGHT_DECAY", "MEAN", "STD", "EPOCHS"):
        assert getattr(train, name) == getattr(module, name), name
    optimizer, schedule = module.make_optimizer(module.Net(), 400)
    theirs = []
    for _ in range(400):
        theirs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    ours = optax.cosine_onecycle_schedule(400, train.LR, train.WARM_UP)
    # The two libraries put the peak one step apart; in between the cosine changes by up to 1.6 % of the peak a step.
    assert [float(ours(step)) for step in range(400)] == pytest.approx(theirs, abs=0.02 * train.LR)


def test_arrays_on_another_device_or_of_other_shapes_are_named(tmp_path):
    cpu = jax.devices("cpu")[0]
    tree = {"a": jax.numpy.ones(2)}
    on_jax.assert_on(cpu, state=tree)
    with pytest.raises(errors.WorkshopError, match="the arrays of state"):
        on_jax.assert_on("another device", state=tree)
    path = tmp_path / "checkpoint.safetensors"
    state = module_of(SCRIPT).begin(5, 92)
    weights.save(path, on_jax.saved(state)[0], {})
    tensors, _ = weights.load(path, "")
    restored = on_jax.restored(path, tensors, state)
    same = jax.tree_util.tree_map(lambda a, b: bool((a == b).all()), restored, state)
    assert all(jax.tree_util.tree_leaves(same))
    with pytest.raises(errors.WorkshopError, match="of other shapes"):
        on_jax.restored(path, tensors, {"x": jax.numpy.ones(3)})
