"""CLs against pyhf's scipy optimizer; independence of chunks; hand calculations."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest
from test_histfactory_oracle import compiled, pyhf, pyhf_model_and_data, random_workspace

histfactory = pytest.importorskip("histfactory")
import inference  # noqa: E402
import likelihood as likelihood_module  # noqa: E402
import workspace as workspace_module  # noqa: E402
from scipy.stats import norm  # noqa: E402

SHARED = Path(os.environ.get("WORKSHOP_SHARED", Path(__file__).resolve().parents[2] / "shared")) / "data" / "1Lbb"
TOLERANCE = 1e-4  # of CLs: what pyhf's own minimiser (SLSQP) leaves open


@pytest.fixture(autouse=True)
def scipy_optimizer():
    pyhf.set_backend("numpy", pyhf.optimize.scipy_optimizer(tolerance=1e-9))
    logging.getLogger("pyhf").setLevel(logging.CRITICAL)


def pyhf_minima(model, data) -> np.ndarray:
    """pyhf's -log L at mu = 0, 1 and free."""
    fits = [pyhf.infer.mle.fixed_poi_fit(mu, data, model, return_fitted_val=True)[1] for mu in (0.0, 1.0)]
    fits.append(pyhf.infer.mle.fit(data, model, return_fitted_val=True)[1])
    return np.array(fits, float) / 2


def our_minima(model, h: int, limits: inference.Limits) -> np.ndarray:
    """The same with all constants."""
    theta = model.init[h]
    rows, two = likelihood_module.Rows(model, np.array([h, h])), np.stack([theta, theta], 1)
    likelihood = likelihood_module.Likelihood(model)
    value = likelihood.value(rows, two, likelihood.expected(rows, two))[0]
    return limits.nll[h] - likelihood_module.log_likelihood(model, h, theta) - value


def agree_or_lower(model, h: int, limits: inference.Limits, document: dict) -> None:
    pyhf_model, data = pyhf_model_and_data(document)
    try:
        observed, expected = pyhf.infer.hypotest(1.0, data, pyhf_model, test_stat="qtilde", return_expected_set=True)
    except pyhf.exceptions.FailedMinimization:
        pytest.skip("pyhf's minimiser failed")
    assert limits.converged[h]
    theirs = np.array([float(observed), *map(float, expected)])
    ours = np.array([limits.cls_obs[h], *limits.cls_exp[h]])
    if np.isnan(theirs).any():
        pytest.skip("pyhf gives NaN")
    if np.abs(ours - theirs).max() > TOLERANCE:
        minima = our_minima(model, h, limits), pyhf_minima(pyhf_model, data)
        print("-log L ours, pyhf:", *minima)
        # No fit higher than pyhf's, and one visibly lower: pyhf is in a local minimum.
        assert (minima[0] <= minima[1] + 1e-6).all(), minima
        assert (minima[0] < minima[1] - 1e-6).any(), minima


@pytest.mark.parametrize("seed", range(16))
def test_cls_of_random_workspaces(seed: int) -> None:
    document = random_workspace(seed)
    model = compiled(document)
    agree_or_lower(model, 0, inference.scan_model(model), document)


@pytest.mark.parametrize("seed", range(16))
def test_cls_of_hard_workspaces(seed: int) -> None:
    document = random_workspace(1000 + seed, hard=True)
    model = compiled(document)
    agree_or_lower(model, 0, inference.scan_model(model), document)


def published() -> tuple[dict, dict, object]:
    if not SHARED.exists():
        pytest.skip("the published likelihood is not here")
    documents = [workspace_module.read_json(SHARED / name) for name in ("background.json.gz", "patchset.json.gz")]
    return *documents, histfactory.compile_models(workspace_module.read_hypotheses(*documents)[1])[0]


def test_published_likelihood_against_pyhf() -> None:
    """Three of the 125: pyhf needs ten seconds and more for each (`benchmarks/scan.py --all` compares them all)."""
    background, patchset, model = published()
    limits = inference.scan_model(model)
    assert limits.converged.all()
    for h in (0, 61, 124):
        agree_or_lower(model, h, limits, workspace_module.apply_patch(background, patchset["patches"][h]["patch"]))


def test_bits_do_not_depend_on_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    import example

    model = histfactory.compile_models(workspace_module.read_hypotheses(*example.make(3))[1])[0]
    whole = inference.scan_model(model)
    for size in (1, 2, 7):
        monkeypatch.setattr(inference, "chunk_rows", lambda model, size=size: size)
        parts = inference.scan_model(model)
        for name in ("cls_obs", "cls_exp", "mu_hat", "nll"):
            np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def test_counting_experiment_by_hand() -> None:
    """One bin, no systematics: q-tilde and CLs in closed form."""
    signal, background, n = 10.0, 50.0, 53.0
    document = {
        "channels": [{"name": "c", "samples": [
            {"name": "s", "data": [signal], "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
            {"name": "b", "data": [background], "modifiers": []}]}],
        "observations": [{"name": "c", "data": [n]}],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}], "version": "1.0.0",
    }  # fmt: skip
    limits = inference.scan_model(compiled(document))

    def nll(mu: float, count: float) -> float:
        return mu * signal + background - count * np.log(mu * signal + background)

    q = 2 * (nll(1, n) - nll((n - background) / signal, n))
    q_asimov = 2 * (nll(1, background) - nll(0, background))
    s, a = np.sqrt(q), np.sqrt(q_asimov)
    assert limits.mu_hat[0] == pytest.approx(0.3, abs=1e-4)
    assert limits.cls_obs[0] == pytest.approx(norm.sf(s) / norm.sf(s - a), abs=1e-6)
    for i, n_sigma in enumerate((-2, -1, 0, 1, 2)):
        assert limits.cls_exp[0, i] == pytest.approx(norm.sf(a - n_sigma) / norm.cdf(n_sigma), abs=1e-6)


def test_patches_that_add_remove_and_replace() -> None:
    document = random_workspace(7, channels=3)
    bare = json.loads(json.dumps(document))
    operations = [
        [{"op": "replace", "path": "/channels/0/samples/0/data/0", "value": 3.5}],
        [{"op": "remove", "path": "/channels/1/samples/0"}],
        [
            {
                "op": "add",
                "path": "/channels/0/samples/-",
                "value": {**bare["channels"][0]["samples"][0], "name": "more"},
            }
        ],
        [{"op": "remove", "path": "/channels/2"}],
        [{"op": "replace", "path": "/observations/0/data/0", "value": 9.0}],
        [{"op": "replace", "path": "/observations/0/data/0", "value": 2.0}],
        [
            {
                "op": "add",
                "path": "/measurements/0/config/parameters/-",
                "value": {"name": "sys1", "fixed": True, "inits": [0.5]},
            }
        ],
    ]
    digests = {"sha256": workspace_module.digest(document, "sha256")}
    patchset = {
        "metadata": {"labels": ["x"], "digests": digests, "description": "", "references": {"hepdata": "ins1234567"}},
        "patches": [{"metadata": {"name": f"p{i}", "values": [i]}, "patch": p} for i, p in enumerate(operations)],
        "version": "1.0.0",
    }
    hypotheses = workspace_module.read_hypotheses(document, patchset)[1]
    assert document == bare, "a patch wrote into the workspace"
    models = histfactory.compile_models(hypotheses)
    assert sorted(i for m in models for i in m.index) == list(range(len(operations)))
    for model in models:
        limits = inference.scan_model(model)
        for h, i in enumerate(model.index):
            agree_or_lower(model, h, limits, workspace_module.apply_patch(document, operations[i]))
