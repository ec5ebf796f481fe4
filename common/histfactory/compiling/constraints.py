"""Start values, bounds and constraint terms of every parameter: pyhf's defaults, and the settings of the measurement.

`cells` determines which parameters there are and what they multiply.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from histfactory.errors import HistFactoryError
from histfactory.model import LOCAL, Array, Mask
from histfactory.workspace import Hypothesis

BOUNDS = {
    "alpha": (-5.0, 5.0),
    "normfactor": (0.0, 10.0),
    "shapefactor": (0.0, 10.0),
    "staterror": (1e-10, 10.0),
    "shapesys": (1e-10, 10.0),
}
# The settings that a measurement may give for any parameter, and further ones for some kinds.
COMMON_SETTINGS = {"name", "inits", "bounds", "fixed"}
SETTINGS_BY_KIND = {
    "alpha": {"auxdata"},
    "lumi": {"auxdata", "sigmas"},
    "staterror": {"auxdata", "sigmas"},
    "shapesys": {"auxdata", "factors"},
}


@dataclass
class Constraints:
    """Arrays (H, P); see `Model`."""

    init: Array
    lower: Array
    upper: Array
    fixed: Mask
    present: Mask
    auxdata: Array
    precision: Array
    tau: Array


def constraints_of(
    hypotheses: list[Hypothesis],
    common: list[tuple[str, dict]],
    own: list[list[tuple[str, dict]]],
    kinds: dict[str, str],
    positions: dict[str, dict[int, int]],
    first_bin: dict[str, int],
) -> Constraints:
    """common, own: the samples of all hypotheses and those of each one, with their channels.

    kinds, positions: see `Parameters`. Raises HistFactoryError if a setting is not allowed for its kind of parameter or
    has the wrong number of values, or if a setting of the luminosity is missing.
    """
    shape = len(hypotheses), sum(map(len, positions.values()))
    constraints = Constraints(
        init=np.full(shape, 1.0),
        lower=np.full(shape, 0.0),
        upper=np.full(shape, 10.0),
        fixed=np.zeros(shape, bool),
        present=np.zeros(shape, bool),
        auxdata=np.full(shape, 0.0),
        precision=np.full(shape, 0.0),
        tau=np.full(shape, 0.0),
    )
    background = _Sums(np.zeros(shape[1], bool), np.zeros(shape[1]), np.zeros(shape[1]))
    background.add(common, positions, first_bin)
    for h, (hypothesis, samples) in enumerate(zip(hypotheses, own, strict=True)):
        sums = background.copy()
        sums.add(samples, positions, first_bin)
        constraints.present[h] = sums.present
        _set_defaults(constraints, h, sums, kinds, positions)
        settings = {p["name"]: p for p in hypothesis.measurement["config"]["parameters"]}
        for name in (name for name in settings if name in kinds):
            where = [i for _, i in sorted(positions[name].items()) if sums.present[i]]
            if where:
                _override(constraints, h, where, kinds[name], settings[name], hypothesis)
        uses_lumi = kinds.get("lumi") == "lumi" and any(sums.present[i] for i in positions["lumi"].values())
        missing = [key for key in ("inits", "bounds", "auxdata", "sigmas") if key not in settings.get("lumi", {})]
        if uses_lumi and missing:
            raise HistFactoryError(
                looked_at=f"the measurement {hypothesis.measurement['name']!r} of {hypothesis.name}",
                expected="inits, bounds, auxdata and sigmas of the parameter 'lumi'",
                found=f"no {', '.join(missing)}",
                next_step="add them to the measurement's parameters",
            )
    constraints.fixed |= ~constraints.present
    return constraints


@dataclass
class _Sums:
    """Which parameters a set of samples uses, and sums of their yields and variances for staterror and shapesys (P,)."""

    present: Mask
    nominal: Array
    variance: Array

    def copy(self) -> _Sums:
        return _Sums(self.present.copy(), self.nominal.copy(), self.variance.copy())

    def add(
        self, samples: list[tuple[str, dict]], positions: dict[str, dict[int, int]], first_bin: dict[str, int]
    ) -> None:
        for channel, sample in samples:
            single = []
            for m in sample["modifiers"]:
                if m["type"] not in LOCAL:
                    single.append(positions[m["name"]][-1])
                    continue
                first = 0 if m["type"] == "shapefactor" else first_bin[channel]
                where = [positions[m["name"]][first + i] for i in range(len(sample["data"]))]
                self.present[where] = True
                if m["type"] != "shapefactor":
                    self.nominal[where] += np.array(sample["data"], float)
                    self.variance[where] += np.square(np.array(m["data"], float))
            self.present[single] = True


def _set_defaults(
    constraints: Constraints, h: int, sums: _Sums, kinds: dict[str, str], positions: dict[str, dict[int, int]]
) -> None:
    """pyhf's defaults; staterror: sigma = sqrt(sum delta^2) / sum nominal; shapesys: tau = (nominal / delta)^2."""
    for name, kind in kinds.items():
        where = np.array(list(positions[name].values()))
        if kind == "alpha":
            constraints.lower[h, where], constraints.upper[h, where] = BOUNDS["alpha"]
            constraints.init[h, where], constraints.precision[h, where] = 0.0, 1.0
        elif kind in ("staterror", "shapesys"):
            constraints.lower[h, where], constraints.upper[h, where] = BOUNDS[kind]
            nominal, variance = sums.nominal[where], sums.variance[where]
            valid = (nominal > 0) & (variance > 0)
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                tau = np.where(valid, nominal**2 / variance, 1.0)
            constraints.fixed[h, where] = ~valid
            constraints.auxdata[h, where] = tau if kind == "shapesys" else 1.0
            (constraints.tau if kind == "shapesys" else constraints.precision)[h, where] = tau


def _override(
    constraints: Constraints, h: int, where: list[int], kind: str, settings: dict[str, Any], hypothesis: Hypothesis
) -> None:
    """Apply the measurement's settings to the parameters at the positions `where`, which share one name."""
    allowed = COMMON_SETTINGS | SETTINGS_BY_KIND.get(kind, set())
    for key, value in settings.items():
        looked_at = (
            f"parameter {settings['name']!r} in the measurement {hypothesis.measurement['name']!r} of {hypothesis.name}"
        )
        if key not in allowed:
            raise HistFactoryError(
                looked_at=looked_at,
                expected=f"only {', '.join(sorted(allowed))}, since this parameter is of the kind {kind}",
                found=f"{key!r}",
                next_step=f"remove {key!r}",
            )
        if isinstance(value, list) and len(value) != len(where):
            raise HistFactoryError(
                looked_at=looked_at,
                expected=f"{len(where)} values of {key!r}",
                found=f"{len(value)}",
                next_step=f"correct {key!r}",
            )
    for key, array in (
        ("inits", constraints.init),
        ("auxdata", constraints.auxdata),
        ("fixed", constraints.fixed),
        ("factors", constraints.tau),
    ):
        if key in settings:
            array[h, where] = settings[key]
    if "bounds" in settings:
        constraints.lower[h, where], constraints.upper[h, where] = zip(*settings["bounds"], strict=True)
    if "sigmas" in settings:
        constraints.precision[h, where] = np.array(settings["sigmas"], float) ** -2
