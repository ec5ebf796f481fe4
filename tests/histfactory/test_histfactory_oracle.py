"""Compare compiled models with pyhf: expected counts and log L of random workspaces, for each modifier and for mixtures."""

from __future__ import annotations

import copy
import json

import later
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import histfactory
from histfactory.likelihood import Likelihood, Rows, log_likelihood

pyhf = later.or_skip("pyhf", reason="the expected numbers are pyhf's: install the extra test")

MODIFIERS = ("normsys", "histosys", "staterror", "shapesys", "shapefactor", "normfactor", "lumi")


def random_workspace(seed: int, kinds: tuple[str, ...] = MODIFIERS, channels: int = 0, hard: bool = False) -> dict:
    """A valid workspace with background and signal; `hard` adds tiny and zero yields and extreme variations."""
    rng = np.random.default_rng(seed)
    n_channels = channels or int(rng.integers(1, 5))
    alphas = [f"sys{i}" for i in range(int(rng.integers(1, 7)))]
    out: dict = {"channels": [], "observations": [], "version": "1.0.0"}
    for c in range(n_channels):
        n = int(rng.integers(1, 5))
        scale = float(10 ** rng.uniform(-1 if hard else 0.5, 3))
        samples = []
        stat = "staterror" in kinds and rng.random() < 0.7
        for s in range(int(rng.integers(1, 4)) + 1):
            signal = s == 0
            data = scale * rng.uniform(0.1, 1, n) * (0.2 if signal else 1)
            if hard and s != 1:
                data[rng.random(n) < 0.25] = 0.0
                data[rng.random(n) < 0.1] *= 1e-4
            mods: list[dict] = [{"name": "mu", "type": "normfactor", "data": None}] if signal else []
            spread = 0.6 if hard else 0.2
            for name in alphas:
                if "normsys" in kinds and rng.random() < 0.5:
                    hi, lo = np.exp(rng.normal(0, spread)), np.exp(rng.normal(0, spread))
                    mods.append({"name": name, "type": "normsys", "data": {"hi": hi, "lo": lo}})
                if "histosys" in kinds and rng.random() < 0.4:
                    hi = data * (1 + rng.normal(0, spread / 2, n))
                    lo = data * (1 + rng.normal(0, spread / 2, n))
                    mods.append(
                        {"name": name, "type": "histosys", "data": {"hi_data": hi.tolist(), "lo_data": lo.tolist()}}
                    )
            if stat and (not signal or rng.random() < 0.5):
                error = (data * rng.uniform(0, 0.4, n)).tolist()
                mods.append({"name": f"stat_{c}", "type": "staterror", "data": error})
            if "shapesys" in kinds and not signal and rng.random() < 0.4:
                error = data * rng.uniform(0.02, 0.4, n)
                error[rng.random(n) < 0.2] = 0
                mods.append({"name": f"shape_{c}_{s}", "type": "shapesys", "data": error.tolist()})
            if "shapefactor" in kinds and s == 2 and rng.random() < 0.3:
                mods.append({"name": f"free_{c}", "type": "shapefactor", "data": None})
            if "normfactor" in kinds and not signal and rng.random() < 0.3:
                mods.append({"name": f"norm_{s}", "type": "normfactor", "data": None})
            if "lumi" in kinds and rng.random() < 0.5:
                mods.append({"name": "lumi", "type": "lumi", "data": None})
            samples.append({"name": f"sample{s}", "data": data.tolist(), "modifiers": mods})
        total = np.sum([s["data"] for s in samples[1:]], axis=0)
        observed = rng.poisson(total * np.exp(rng.normal(0, 0.05, n))).astype(float)
        observed[total == 0] = 0
        out["channels"].append({"name": f"ch{n_channels - c}", "samples": samples})
        out["observations"].append({"name": f"ch{n_channels - c}", "data": observed.tolist()})
    lumi = {
        "name": "lumi",
        "auxdata": [1.0],
        "sigmas": [0.02],
        "bounds": [[0.5, 1.5]],
        "inits": [1.0],
        "fixed": bool(rng.random() < 0.5),
    }
    parameters = [lumi, {"name": "mu", "bounds": [[0.0, 10.0]], "inits": [1.0]}]
    if rng.random() < 0.3 and any(
        m["name"] == "sys0" for c in out["channels"] for s in c["samples"] for m in s["modifiers"]
    ):
        parameters.append(
            {
                "name": "sys0",
                "inits": [0.3],
                "bounds": [[-3.0, 3.0]],
                "auxdata": [0.2],
                "fixed": bool(rng.random() < 0.5),
            }
        )
    out["measurements"] = [{"name": "m", "config": {"poi": "mu", "parameters": parameters}}]
    return json.loads(json.dumps(out))  # plain floats, as read from a file


def compiled(workspace: dict):
    """The model of a workspace without patches."""
    hypotheses = histfactory.read_hypotheses(workspace)[1]
    return histfactory.compile_models(hypotheses)[0]


def to_pyhf(model, theta: np.ndarray, pyhf_model) -> np.ndarray:
    """Our parameters in pyhf's order."""
    at = {name: i for i, name in enumerate(model.parameters)}
    out = []
    for name in pyhf_model.config.par_order:
        for j in range(pyhf_model.config.param_set(name).n_parameters):
            out.append(theta[at[name] if name in at else at[f"{name}[{j}]"]])
    return np.array(out)


def pyhf_model_and_data(workspace: dict):
    ws = pyhf.Workspace(copy.deepcopy(workspace))
    model = ws.model()
    return model, ws.data(model)


def random_theta(model, rng) -> np.ndarray:
    theta = model.init[0] + np.where(
        np.arange(len(model.parameters)) < model.n_alpha, rng.normal(0, 1.2, len(model.parameters)), 0
    )
    theta[model.n_alpha :] *= np.exp(rng.normal(0, 0.2, len(theta) - model.n_alpha))
    return theta


def check_against_pyhf(workspace: dict, seed: int) -> None:
    model = compiled(workspace)
    pyhf_model, data = pyhf_model_and_data(workspace)
    at = {p: i for i, p in enumerate(model.parameters)}
    init = to_pyhf(model, model.init[0], pyhf_model)
    np.testing.assert_array_equal(init, pyhf_model.config.suggested_init())
    np.testing.assert_array_equal(to_pyhf(model, model.fixed[0], pyhf_model), pyhf_model.config.suggested_fixed())
    bounds = np.array(pyhf_model.config.suggested_bounds())
    np.testing.assert_array_equal(to_pyhf(model, model.lower[0], pyhf_model), bounds[:, 0])
    np.testing.assert_array_equal(to_pyhf(model, model.upper[0], pyhf_model), bounds[:, 1])
    assert len(at) == pyhf_model.config.npars
    rng = np.random.default_rng(seed)
    for _ in range(3):
        theta = random_theta(model, rng)
        pars = to_pyhf(model, theta, pyhf_model)
        expected = pyhf_model.expected_actualdata(pars)
        if (expected <= 0).any():
            continue  # a histosys made a bin negative, so neither side has a likelihood
        ours = log_likelihood(model, 0, theta)
        theirs = float(pyhf_model.logpdf(pars, data)[0])
        # 1e-10 of the largest term in the sum allows for rounding only.
        scale = max(1.0, abs(theirs), float(np.abs(data).max()))
        assert ours == pytest.approx(theirs, abs=1e-10 * scale), (ours, theirs)


@pytest.mark.parametrize("kind", MODIFIERS)
@pytest.mark.parametrize("seed", range(6))
def test_each_modifier_alone(kind: str, seed: int) -> None:
    check_against_pyhf(random_workspace(seed, kinds=(kind,)), seed)


@pytest.mark.parametrize("seed", range(40))
def test_mixed_modifiers(seed: int) -> None:
    check_against_pyhf(random_workspace(seed + 100, hard=seed % 2 == 1), seed)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), hard=st.booleans(), spread=st.floats(0.01, 2.0))
def test_gradient_against_finite_differences(seed: int, hard: bool, spread: float) -> None:
    model = compiled(random_workspace(seed, hard=hard))
    likelihood, rows = Likelihood(model), Rows(model, np.array([0, 0]))
    theta = model.init[0] + spread * (random_theta(model, np.random.default_rng(seed)) - model.init[0])
    theta = np.clip(theta, model.lower[0] + 0.01, model.upper[0])
    point = likelihood(rows, np.stack([theta, theta], 1))
    if not np.isfinite(point.value).all() or (point.nu <= 0).any():
        assume(False)  # outside the domain
    for i in range(len(theta)):
        step = 1e-5 * max(1.0, abs(theta[i]))
        ends = np.stack([theta, theta], 1)
        ends[i] += [step, -step]
        value = likelihood(rows, ends).value
        slope = (value[0] - value[1]) / (2 * step)
        # Error of central differences: rounding of the value divided by the step, and the third derivative times its square.
        assert slope == pytest.approx(point.gradient[i, 0], rel=1e-5, abs=1e-5 + 1e-9 * abs(value[0]) / step * 1e-2)
