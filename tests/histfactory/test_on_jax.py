"""`Scan(model, backend="jax")` against the NumPy code, which is tested against pyhf. Compiling takes most of the time."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from conftest import ROOT

import histfactory
from histfactory import HistFactoryError, Scan, digest, read_json
from histfactory.inference import Limits
from workshop.runs import search

DATA = ROOT / "tests" / "data" / "likelihoods"
# Both minimisers stop when the predicted decrease of -log L is below 1e-8. Where CLs is steepest in log L, this changes it
# by about 1e-7 (the largest difference of the measured likelihoods is 4e-10).
CLS_TOLERANCE = 1e-6
UPPER_LIMIT_TOLERANCE = 3e-4  # both searches stop at a relative tolerance of 1e-4


def every_modifier() -> tuple[dict, dict]:
    """Six hypotheses of the generated search, with a shapesys, a lumi, and a channel that a shapefactor fits."""
    workspace, patchset = search.generate(np.random.default_rng(1))
    background = workspace["channels"][0]["samples"][0]
    background["modifiers"] += [
        {"name": "statistics", "type": "shapesys", "data": [0.1 * n for n in background["data"]]},
        {"name": "lumi", "type": "lumi", "data": None},
    ]
    factor = {"name": "free", "type": "shapefactor", "data": None}
    workspace["channels"].append(
        {"name": "free", "samples": [{"name": "b", "data": [20.0, 30.0, 0.0], "modifiers": [factor]}]}
    )
    workspace["observations"].append({"name": "free", "data": [25.0, 28.0, 0.0]})
    workspace["measurements"][0]["config"]["parameters"].append(
        {"name": "lumi", "auxdata": [1.0], "sigmas": [0.02], "bounds": [[0.5, 1.5]], "inits": [1.0]}
    )
    patchset["patches"] = patchset["patches"][::24]
    patchset["metadata"]["digests"] = {"sha256": digest(workspace)}
    return workspace, patchset


def scans(workspace: dict, patchset: dict) -> tuple[Scan, Scan]:
    [model] = histfactory.compile_models(histfactory.read_hypotheses(workspace, patchset)[1])
    return Scan(model), Scan(model, backend="jax")


def assert_same(ours: Limits, numpy: Limits) -> None:
    assert ours.converged.tolist() == numpy.converged.tolist() and ours.reason.tolist() == numpy.reason.tolist()
    np.testing.assert_allclose(ours.cls_obs, numpy.cls_obs, rtol=0, atol=CLS_TOLERANCE)
    np.testing.assert_allclose(ours.cls_exp, numpy.cls_exp, rtol=0, atol=CLS_TOLERANCE)
    np.testing.assert_allclose(ours.upper_limit, numpy.upper_limit, rtol=UPPER_LIMIT_TOLERANCE)


def test_a_message_without_jax(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "jax", None)
    [model] = histfactory.compile_models(histfactory.read_hypotheses(*every_modifier())[1])
    with pytest.raises(HistFactoryError, match="cpu-jax"):
        Scan(model, backend="jax")


@pytest.mark.slow
def test_every_kind_of_modifier_and_upper_limits() -> None:
    """Also the same bits in a second run, and JAX's own setting afterwards."""
    jax = pytest.importorskip("jax")
    on_numpy, on_jax = scans(*every_modifier())
    ours = on_jax.limits(upper_limit_level=0.05)
    assert_same(ours, on_numpy.limits(upper_limit_level=0.05))
    again = on_jax.limits(upper_limit_level=0.05)
    for name in ("cls_obs", "cls_exp", "nll", "upper_limit"):
        assert getattr(ours, name).tobytes() == getattr(again, name).tobytes()
    assert jax.numpy.zeros(1).dtype == np.float32
    assert "usually faster" in on_jax.likelihood.backend.note


@pytest.mark.slow
def test_a_published_likelihood_with_several_minima() -> None:
    """ATLAS-SUSY-2018-04 with drawn signals: restarts, folds, and fits that the NumPy code has to finish."""
    pytest.importorskip("jax")
    on_numpy, on_jax = scans(*(read_json(DATA / f"2018-04{part}.json.gz") for part in ("", "-patchset")))
    assert_same(on_jax.limits(), on_numpy.limits())
