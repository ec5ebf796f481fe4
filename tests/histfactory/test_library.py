"""The library by itself: its imports, pickling, and its patches compared with jsonpatch."""

from __future__ import annotations

import ast
import copy
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

import histfactory
from histfactory import HistFactoryError
from histfactory.workspace import apply_patch
from workshop import errors
from workshop.runs import search

PACKAGE = ROOT / "common" / "histfactory"


def imports_of(path) -> set[str]:
    """The names of all modules that a file imports."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module)
    return modules


def test_it_needs_numpy_and_scipy_alone_and_jsonpatch_for_patch_sets():
    code = "import sys; sys.modules['jsonpatch'] = sys.modules['workshop'] = None; import histfactory"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)})
    files = [path for path in PACKAGE.rglob("*.py") if path.parent.name != "on_jax"]  # that one needs JAX
    roots = {name.partition(".")[0] for path in files for name in imports_of(path)}
    assert roots - set(sys.stdlib_module_names) == {"numpy", "scipy", "jsonpatch", "histfactory"}


def test_its_modules_import_each_other_without_a_cycle():
    modules = [path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"]
    left = {".".join(path.relative_to(PACKAGE).with_suffix("").parts): imports_of(path) for path in modules}
    left = {name: {m.removeprefix("histfactory.") for m in modules} & left.keys() for name, modules in left.items()}
    while ready := [name for name, modules in left.items() if not modules & left.keys()]:
        for name in ready:
            del left[name]
    assert not left, f"a cycle among {sorted(left)}"


def test_the_error_has_four_parts_and_can_be_pickled():
    with pytest.raises(HistFactoryError) as raised:
        histfactory.read_json("no/such/file.json")
    error = raised.value
    assert errors.has_four_parts(error) and str(error) == errors.message_of(error)
    copied = pickle.loads(pickle.dumps(error))
    assert type(copied) is HistFactoryError and vars(copied) == vars(error)


def test_a_pickled_scan_gives_the_same_bits():
    [model] = histfactory.compile_models(histfactory.read_hypotheses(*search.generate(np.random.default_rng(2)))[1])
    scan = histfactory.Scan(model)
    travelled = pickle.loads(pickle.dumps(scan))
    whole, some = scan.limits(), travelled.limits(hypotheses=[7, 3])
    np.testing.assert_array_equal(whole.cls_exp[[7, 3]], some.cls_exp)
    np.testing.assert_array_equal(whole.nll[[7, 3]], some.nll)


def test_cls_is_the_quotient_of_the_two_p_values():
    [model] = histfactory.compile_models(histfactory.read_hypotheses(*search.generate(np.random.default_rng(2)))[1])
    limits = histfactory.Scan(model).limits()
    p_signal, p_background = limits.p_values()
    cls = np.column_stack([limits.cls_obs, limits.cls_exp])
    # CLs is computed from logarithms and the quotient from the tails: they differ by the rounding of 1 - p_background.
    np.testing.assert_allclose(p_signal / (1 - p_background), cls, rtol=1e-9)


def test_patches_against_jsonpatch():
    jsonpatch = pytest.importorskip("jsonpatch")
    workspace, patchset = search.generate(np.random.default_rng(2))
    bare = copy.deepcopy(workspace)
    operations = [
        *patchset["patches"][0]["patch"],
        {"op": "replace", "path": "/channels/0/samples/1/data/0", "value": 3.5},
        {"op": "move", "from": "/channels/1/samples/0", "path": "/channels/0/samples/-"},
        {"op": "copy", "from": "/observations/0", "path": "/observations/2"},
        {"op": "test", "path": "/version", "value": "1.0.0"},
        {"op": "remove", "path": "/channels/1"},
    ]
    value = copy.deepcopy(operations[0]["value"])
    assert apply_patch(workspace, operations) == jsonpatch.apply_patch(bare, operations)
    assert workspace == bare and operations[0]["value"] == value, "the patch wrote into its input"
