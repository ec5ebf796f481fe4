"""Compare CLs with pyhf's scipy optimizer and with hand calculations; test that chunks do not matter.

pyhf needs seconds for a random workspace and half a minute for a published one, so most of its results are stored:

    python tests/histfactory/test_inference_cls.py      writes scan_random_pyhf.json: the random workspaces of this file
    python tests/histfactory/test_inference_cls.py large    writes scan_large_pyhf.json, in minutes, with pyhf's PyTorch backend
    python benchmarks/scan.py --references tests/histfactory/scan_1Lbb_pyhf.json --backend jax      the published workspace

The files contain the versions and the sha256 of pyhf's input. A workspace with another digest is fitted with pyhf in
the test, and so are a few in every run, which verifies the stored results.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import os
import sys
from functools import cache
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from test_histfactory_oracle import compiled, pyhf, pyhf_model_and_data, random_theta, random_workspace, to_pyhf

import histfactory
from histfactory import folds, inference
from histfactory.likelihood import log_likelihood
from histfactory.workspace import apply_patch
from workshop.runs import search

SHARED = Path(os.environ.get("WORKSHOP_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data" / "1Lbb"
STORED = Path(__file__).with_name("scan_random_pyhf.json")
LARGE = Path(__file__).with_name("scan_large_pyhf.json")
LARGE_CASES = {"20 channels, 200 uncertainties": (2, 20, 200), "50 channels, 90 uncertainties": (1, 50, 90)}
PUBLISHED = Path(__file__).with_name("scan_1Lbb_pyhf.json")
RANDOM = [*range(16), *range(1000, 1064)]  # those from 1000 are hard; 1020 once gave a singular matrix
TOLERANCE = 1e-4  # of CLs: the accuracy of pyhf's minimiser (SLSQP)


def scipy_optimizer() -> None:
    """Have pyhf fit with SciPy on NumPy, without its warnings."""
    pyhf.set_backend("numpy", pyhf.optimize.scipy_optimizer(tolerance=1e-9))
    logging.getLogger("pyhf").setLevel(logging.CRITICAL)


@cache
def stored() -> dict[str, dict]:
    """pyhf's stored limits, by the digest of the workspace."""
    return json.loads(STORED.read_text())["limits"] if STORED.exists() else {}


def pyhf_limits(document: dict) -> dict:
    """CLs, observed and expected (6), and -log L at mu = 0, at mu = 1 and with mu free; or why pyhf gives none."""
    model, data = pyhf_model_and_data(document)
    try:
        observed, expected, calculator = pyhf.infer.hypotest(
            1.0, data, model, test_stat="qtilde", return_expected_set=True, return_calculator=True
        )
    except pyhf.exceptions.FailedMinimization:
        return {"failed": "pyhf's minimiser failed"}
    cls = [float(observed), *map(float, expected)]
    if np.isnan(cls).any():
        return {"failed": "pyhf gives NaN"}
    fits = calculator.fitted_pars
    points = fits.asimov_pars, fits.fixed_poi_fit_to_data, fits.free_fit_to_data
    return {"cls": cls, "nll": [-float(model.logpdf(point, data)[0]) for point in points]}


def agree_or_lower(model, h: int, limits: inference.Limits, document: dict, live: bool = False) -> None:
    """Assert that CLs agree within TOLERANCE, or that no fit is higher than pyhf's and one is clearly lower."""
    theirs = None if live else stored().get(histfactory.digest(document))
    if theirs is None:
        scipy_optimizer()
        theirs = pyhf_limits(document)
    assert limits.converged[h]
    if "failed" in theirs:
        pytest.skip(theirs["failed"])
    compare(model, h, limits, theirs["cls"], theirs["nll"])


def compare(model, h: int, limits: inference.Limits, cls: list[float], nll: list[float]) -> None:
    ours, minima = np.array([limits.cls_obs[h], *limits.cls_exp[h]]), inference.minima(model, limits, h)
    if np.abs(ours - cls).max() > TOLERANCE:
        print("-log L ours, pyhf:", minima, nll)
        # No fit is higher than pyhf's and one is clearly lower: pyhf found a local minimum.
        assert (minima <= np.array(nll) + 1e-6).all(), (minima, nll)
        assert (minima < np.array(nll) - 1e-6).any(), (minima, nll)


@pytest.mark.parametrize("seed", [0, pytest.param(5, marks=pytest.mark.slow), 1000, 1004])
def test_cls_against_pyhf(seed: int) -> None:
    document = random_workspace(seed, hard=seed >= 1000)
    model = compiled(document)
    agree_or_lower(model, 0, histfactory.Scan(model).limits(), document, live=True)


@pytest.mark.parametrize("seed", [*RANDOM[:30], *(pytest.param(seed, marks=pytest.mark.slow) for seed in RANDOM[30:])])
def test_cls_of_random_workspaces(seed: int) -> None:
    document = random_workspace(seed, hard=seed >= 1000)
    model = compiled(document)
    agree_or_lower(model, 0, histfactory.Scan(model).limits(), document)


def published() -> tuple[dict, dict, object]:
    if not SHARED.exists():
        pytest.skip("the published likelihood is not here")
    documents = [histfactory.read_json(SHARED / name) for name in ("background.json.gz", "patchset.json.gz")]
    return *documents, histfactory.compile_models(histfactory.read_hypotheses(*documents)[1])[0]


def test_every_published_hypothesis_against_pyhf() -> None:
    """All 125 patches against pyhf's stored limits: CLs to 1e-4, and no minimum above pyhf's."""
    model = published()[2]
    document = json.loads(PUBLISHED.read_text())
    for name, sha256 in document["sha256"].items():
        assert hashlib.sha256((SHARED / name).read_bytes()).hexdigest() == sha256, f"pyhf was given another {name}"
    limits = histfactory.Scan(model).limits()
    assert limits.converged.all()
    assert {entry["name"] for entry in document["hypotheses"]} == set(model.names)
    for entry in document["hypotheses"]:
        h = model.names.index(entry["name"])
        compare(model, h, limits, [entry["cls_obs"], *entry["cls_exp"]], entry["nll"])
        # 1e-5: the differences between pyhf's backends, with a margin for rounding of log L (about 100).
        assert (inference.minima(model, limits, h) <= np.array(entry["nll"]) + 1e-5).all(), entry["name"]


def test_log_likelihood_of_a_published_hypothesis() -> None:
    """pyhf's log L at random points of one patch: equal within rounding."""
    background, patchset, model = published()
    document = apply_patch(background, patchset["patches"][61]["patch"])
    workspace = pyhf.Workspace(document, validate=False)
    pyhf_model = workspace.model(validate=False)
    data, rng = workspace.data(pyhf_model), np.random.default_rng(0)
    for _ in range(3):
        # About a third of a sigma: with a hundred uncertainties at once, more would make a bin negative.
        theta = model.init[61] + 0.3 * (random_theta(model, rng) - model.init[61])
        theirs = float(pyhf_model.logpdf(to_pyhf(model, theta, pyhf_model), data)[0])
        assert log_likelihood(model, 61, theta) == pytest.approx(theirs, rel=1e-10)


def hypotheses_of(case: str):
    if case == "example":
        return histfactory.read_hypotheses(*search.generate(np.random.default_rng(3)))[1]
    document = random_workspace(7, channels=3)
    return histfactory.read_hypotheses(document, patchset_of(document, patches_of(document)))[1]


@pytest.mark.parametrize("case", ["example", pytest.param("random", marks=pytest.mark.slow)])
def test_bits_do_not_depend_on_chunks(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for model in histfactory.compile_models(hypotheses_of(case)):
        monkeypatch.undo()
        some = range(0, len(model.names), 6)
        whole = histfactory.Scan(model).limits(hypotheses=some, upper_limit_level=0.05)
        for size in (1, 3):
            monkeypatch.setattr(inference, "chunk_size", lambda model, size=size: size)
            parts = histfactory.Scan(model).limits(hypotheses=some, upper_limit_level=0.05)
            for name in ("cls_obs", "cls_exp", "mu_hat", "q", "nll", "upper_limit"):
                np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def test_a_search_that_is_cut_short_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folds that nobody crossed may hide a lower minimum."""
    model, *_ = histfactory.compile_models(hypotheses_of("random"))
    scan, some = histfactory.Scan(model), [0, 1]
    assert not scan.limits(hypotheses=some).several.any()
    monkeypatch.setattr(folds, "MAX_ROUNDS", 0)
    assert scan.limits(hypotheses=some).several.all()


def test_counting_experiment_by_hand() -> None:
    """One bin without systematics: q-tilde and CLs in closed form."""
    signal, background, n = 10.0, 50.0, 53.0
    document = {
        "channels": [
            {
                "name": "c",
                "samples": [
                    {"name": "s", "data": [signal], "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
                    {"name": "b", "data": [background], "modifiers": []},
                ],
            }
        ],
        "observations": [{"name": "c", "data": [n]}],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
        "version": "1.0.0",
    }
    limits = histfactory.Scan(compiled(document)).limits()

    def nll(mu: float, count: float) -> float:
        return mu * signal + background - count * np.log(mu * signal + background)

    q = 2 * (nll(1, n) - nll((n - background) / signal, n))
    q_asimov = 2 * (nll(1, background) - nll(0, background))
    s, a, cdf = np.sqrt(q), np.sqrt(q_asimov), NormalDist().cdf
    assert limits.mu_hat[0] == pytest.approx(0.3, abs=1e-4)
    assert limits.cls_obs[0] == pytest.approx(cdf(-s) / cdf(a - s), abs=1e-6)
    for i, n_sigma in enumerate((-2, -1, 0, 1, 2)):
        assert limits.cls_exp[0, i] == pytest.approx(cdf(n_sigma - a) / cdf(n_sigma), abs=1e-6)


def patches_of(document: dict) -> list[list[dict]]:
    """Operations that change yields, samples, channels, observations and the measurement."""
    more = {**document["channels"][0]["samples"][0], "name": "more"}
    fixed = {"name": "sys1", "fixed": True, "inits": [0.5]}
    return [
        [{"op": "replace", "path": "/channels/0/samples/0/data/0", "value": 3.5}],
        [{"op": "remove", "path": "/channels/1/samples/0"}],
        [{"op": "add", "path": "/channels/0/samples/-", "value": more}],
        [{"op": "remove", "path": "/channels/2"}],
        [{"op": "replace", "path": "/observations/0/data/0", "value": 9.0}],
        [{"op": "replace", "path": "/observations/0/data/0", "value": 2.0}],
        [{"op": "add", "path": "/measurements/0/config/parameters/-", "value": fixed}],
    ]


def patchset_of(document: dict, patches: list[list[dict]]) -> dict:
    digests = {"sha256": histfactory.digest(document)}
    return {
        "metadata": {"labels": ["x"], "digests": digests, "description": "", "references": {"hepdata": "ins1234567"}},
        "patches": [{"metadata": {"name": f"p{i}", "values": [i]}, "patch": p} for i, p in enumerate(patches)],
        "version": "1.0.0",
    }


def test_patches_that_add_remove_and_replace() -> None:
    document = random_workspace(7, channels=3)
    bare = json.loads(json.dumps(document))
    operations = patches_of(document)
    hypotheses = histfactory.read_hypotheses(document, patchset_of(document, operations))[1]
    assert document == bare, "a patch wrote into the workspace"
    models = histfactory.compile_models(hypotheses)
    assert sorted(i for m in models for i in m.index) == list(range(len(operations)))
    for model in models:
        limits = histfactory.Scan(model).limits()
        for h, i in enumerate(model.index):
            agree_or_lower(model, h, limits, apply_patch(document, operations[i]))


def large_workspace(seed: int, n_channels: int, n_alphas: int) -> dict:
    """A workspace like published ones: small variations, a third of them one-sided, empty bins, lumi fixed, five
    samples.

    It has more than 300 parameters, with staterror or shapesys in every bin of every channel.
    """
    rng = np.random.default_rng(seed)
    channels, observations = [], []
    for c in range(n_channels):
        n, scale = int(rng.integers(2, 5)), 10 ** rng.uniform(0.5, 3)
        samples = []
        for s in range(5):
            data = np.sqrt(scale) * rng.uniform(0.1, 0.8, n) if s == 0 else scale * rng.uniform(0.1, 1, n)
            if s > 1:
                data = np.where(rng.random(n) < 0.1, 0.0, data * rng.choice([1, 0.3, 0.03]))
            mods: list[dict] = [{"name": ("mu", "norm", "", "", "")[s], "type": "normfactor", "data": None}][: s < 2]
            mods += [{"name": "lumi", "type": "lumi", "data": None}][: s != 1]
            for name in (f"sys{k}" for k in np.flatnonzero(rng.random(n_alphas) < 0.4)):
                size, other = rng.normal(0, 0.04), 0.0 if rng.random() < 0.3 else rng.normal(1, 0.2)
                if rng.random() < 0.4:
                    shape = size * (1 + rng.normal(0, 0.3, n))
                    both = {"hi_data": (data * (1 + shape)).tolist(), "lo_data": (data * (1 - other * shape)).tolist()}
                    mods.append({"name": name, "type": "histosys", "data": both})
                else:
                    mods.append({"name": name, "type": "normsys", "data": {"hi": 1 + size, "lo": 1 - other * size}})
            kind = "shapesys" if s == 4 else "staterror"
            mods.append({"name": f"{kind}_{c}", "type": kind, "data": (data * rng.uniform(0.01, 0.2, n)).tolist()})
            samples.append({"name": f"sample{s}", "data": data.tolist(), "modifiers": mods})
        total = np.sum([s["data"] for s in samples[1:]], axis=0) * np.exp(rng.normal(0, 0.05, n))
        channels.append({"name": f"ch{c}", "samples": samples})
        observations.append({"name": f"ch{c}", "data": rng.poisson(total).astype(float).tolist()})
    lumi = {"name": "lumi", "auxdata": [1.0], "sigmas": [0.02], "bounds": [[0.5, 1.5]], "inits": [1.0], "fixed": True}
    measurement = {"name": "m", "config": {"poi": "mu", "parameters": [lumi]}}
    document = {"channels": channels, "observations": observations, "measurements": [measurement], "version": "1.0.0"}
    return json.loads(json.dumps(document))


@pytest.mark.slow
@pytest.mark.parametrize("case", LARGE_CASES)
def test_cls_of_large_workspaces(case: str) -> None:
    document = large_workspace(*LARGE_CASES[case])
    model = compiled(document)
    assert len(model.parameters) > 300
    entry = json.loads(LARGE.read_text())["limits"][histfactory.digest(document)]
    limits = histfactory.Scan(model).limits()
    assert limits.converged.all()
    compare(model, 0, limits, entry["cls"], entry["nll"])


def write_large() -> None:
    """Write pyhf's limits of the large workspaces to LARGE, with its PyTorch backend, which has gradients."""
    pyhf.set_backend("pytorch", pyhf.optimize.scipy_optimizer(tolerance=1e-9), precision="64b")
    documents = [large_workspace(*size) for size in LARGE_CASES.values()]
    head = {
        "what": "pyhf's CLs and -log L of the large workspaces, as in scan_random_pyhf.json",
        "written_by": "python tests/histfactory/test_inference_cls.py large",
        **{name: importlib.metadata.version(name) for name in ("pyhf", "scipy", "numpy", "torch")},
        "optimizer": "scipy (SLSQP), PyTorch backend, tolerance 1e-9",
        "limits": {histfactory.digest(d): pyhf_limits(d) for d in documents},
    }
    LARGE.write_text(json.dumps(head, indent=1) + "\n")


def write_stored() -> None:
    """Write pyhf's limits of every workspace of this file to STORED."""
    scipy_optimizer()
    patched = random_workspace(7, channels=3)
    documents = [random_workspace(seed, hard=seed >= 1000) for seed in RANDOM]
    documents += [apply_patch(patched, operations) for operations in patches_of(patched)]
    versions = {name: importlib.metadata.version(name) for name in ("pyhf", "scipy", "numpy")}
    limits = {}
    for i, document in enumerate(documents):
        limits[histfactory.digest(document)] = pyhf_limits(document)
        print(f"{i + 1} of {len(documents)}", file=sys.stderr, flush=True)
    head = {
        "what": "pyhf's CLs (observed, expected at -2 to 2 sigma) and -log L at mu = 0, 1 and the best mu, by the "
        "digest of the workspace",
        "written_by": "python tests/histfactory/test_inference_cls.py",
        **versions,
        "optimizer": "scipy (SLSQP), NumPy backend, tolerance 1e-9",
    }
    lines = ",\n  ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in limits.items())
    STORED.write_text(json.dumps(head, indent=1)[:-2] + f',\n "limits": {{\n  {lines}\n }}\n}}\n')


if __name__ == "__main__":
    write_large() if sys.argv[1:] == ["large"] else write_stored()
