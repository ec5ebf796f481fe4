"""Start values, bounds and constraint terms of every parameter: pyhf's defaults, then what the measurement says.

`histfactory` says which parameters there are and what they multiply; this says where they may go and what holds them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from model import LOCAL, Model
from workspace import Hypothesis

from workshop.errors import WorkshopError

BOUNDS = {
    "alpha": (-5.0, 5.0),
    "normfactor": (0.0, 10.0),
    "shapefactor": (0.0, 10.0),
    "staterror": (1e-10, 10.0),
    "shapesys": (1e-10, 10.0),
}


def configure(
    model: Model,
    hypotheses: list[Hypothesis],
    common: list,
    own: list[list],
    kinds: dict,
    lookup: dict,
    offset: dict,
    n_bins: dict,
) -> None:
    """Start values, bounds and constraints of each hypothesis: pyhf's defaults, then what its measurement says."""
    n_parameters, n_hypotheses = len(model.parameters), len(hypotheses)
    for name, fill in (
        ("init", 1.0),
        ("lower", 0.0),
        ("upper", 10.0),
        ("auxdata", 0.0),
        ("precision", 0.0),
        ("tau", 0.0),
    ):
        setattr(model, name, np.full((n_hypotheses, n_parameters), fill))
    model.fixed = np.zeros((n_hypotheses, n_parameters), bool)
    model.present = np.zeros((n_hypotheses, n_parameters), bool)
    background = _Sums(n_parameters)
    background.add(common, lookup, offset)
    for h, (hypothesis, samples) in enumerate(zip(hypotheses, own, strict=True)):
        sums = background.copy()
        sums.add(samples, lookup, offset)
        model.present[h] = sums.present
        config = {p["name"]: p for p in hypothesis.measurement["config"]["parameters"]}
        _defaults(model, h, sums, kinds, lookup)
        for name, user in config.items():
            if name in kinds:
                where = [i for _, i in sorted(lookup[name].items()) if sums.present[i]]
                if where:
                    _override(model, h, where, name, kinds[name], user, hypothesis)
        lumi = [i for i in lookup["lumi"].values() if sums.present[i]] if kinds.get("lumi") == "lumi" else []
        missing = [key for key in ("inits", "bounds", "auxdata", "sigmas") if key not in config.get("lumi", {})]
        if lumi and missing:
            raise WorkshopError(
                looked_at=f"the measurement {hypothesis.measurement['name']!r} of {hypothesis.name}",
                expected="inits, bounds, auxdata and sigmas of the parameter 'lumi'",
                found=f"no {', '.join(missing)}",
                next_step="add them to the measurement's parameters",
            )
        if model.fixed[h, model.poi]:
            raise WorkshopError(
                looked_at=f"the measurement {hypothesis.measurement['name']!r} of {hypothesis.name}",
                expected="a parameter of interest that floats",
                found=f"{model.parameters[model.poi]!r} with fixed: true",
                next_step="choose another measurement with --measurement",
            )
    model.fixed |= ~model.present


class _Sums:
    """Which parameters a set of samples uses, and what staterror and shapesys sum over them. Arrays over parameters."""

    def __init__(self, n: int) -> None:
        self.present = np.zeros(n, bool)
        self.nominal, self.variance = np.zeros(n), np.zeros(n)

    def copy(self) -> _Sums:
        other = _Sums(0)
        other.present, other.nominal, other.variance = self.present.copy(), self.nominal.copy(), self.variance.copy()
        return other

    def add(self, samples: list[tuple[str, dict]], lookup: dict, offset: dict[str, int]) -> None:
        for channel, sample in samples:
            single = []
            for m in sample["modifiers"]:
                if m["type"] not in LOCAL:
                    single.append(lookup[m["name"]][-1])
                    continue
                first = 0 if m["type"] == "shapefactor" else offset[channel]
                where = [lookup[m["name"]][first + i] for i in range(len(sample["data"]))]
                self.present[where] = True
                if m["type"] != "shapefactor":
                    self.nominal[where] += sample["data"]
                    self.variance[where] += np.square(m["data"])
            self.present[single] = True


def _defaults(model: Model, h: int, sums: _Sums, kinds: dict, lookup: dict) -> None:
    """pyhf's defaults; staterror: sigma = sqrt(sum delta^2) / sum nominal; shapesys: tau = (nominal / delta)^2."""
    model.lower[h, : model.n_alpha], model.upper[h, : model.n_alpha] = BOUNDS["alpha"]
    model.init[h, : model.n_alpha], model.precision[h, : model.n_alpha] = 0.0, 1.0
    for name, kind in kinds.items():
        if kind not in ("staterror", "shapesys"):
            continue
        where = np.array(list(lookup[name].values()))
        model.lower[h, where], model.upper[h, where] = BOUNDS[kind]
        nominal, variance = sums.nominal[where], sums.variance[where]
        valid = (nominal > 0) & (variance > 0)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            tau = np.where(valid, nominal**2 / variance, 1.0)
        model.fixed[h, where] = ~valid
        model.auxdata[h, where] = tau if kind == "shapesys" else 1.0
        (model.tau if kind == "shapesys" else model.precision)[h, where] = tau


def _override(
    model: Model, h: int, where: list[int], name: str, kind: str, user: dict[str, Any], hypothesis: Hypothesis
) -> None:
    allowed = {"inits", "bounds", "fixed", "name"} | {
        "alpha": {"auxdata"},
        "lumi": {"auxdata", "sigmas"},
        "staterror": {"auxdata", "sigmas"},
        "shapesys": {"auxdata", "factors"},
    }.get(kind, set())
    for key, value in user.items():
        where_text = f"parameter {name!r} in the measurement {hypothesis.measurement['name']!r} of {hypothesis.name}"
        if key not in allowed:
            raise WorkshopError(
                looked_at=where_text,
                expected=f"only {', '.join(sorted(allowed))} (a {kind})",
                found=f"{key!r}",
                next_step=f"remove {key!r}",
            )
        if isinstance(value, list) and len(value) != len(where):
            raise WorkshopError(
                looked_at=where_text,
                expected=f"{len(where)} values of {key!r}",
                found=f"{len(value)}",
                next_step=f"mend {key!r}",
            )
    for key, array in (
        ("inits", model.init),
        ("auxdata", model.auxdata),
        ("fixed", model.fixed),
        ("factors", model.tau),
    ):
        if key in user:
            array[h, where] = user[key]
    if "bounds" in user:
        model.lower[h, where], model.upper[h, where] = zip(*user["bounds"], strict=True)
    if "sigmas" in user:
        model.precision[h, where] = np.array(user["sigmas"], float) ** -2
