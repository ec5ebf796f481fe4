"""A search to analyse: a background, observed counts and 125 signal hypotheses, in pyhf's JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from histfactory import digest
from workshop import shell
from workshop.errors import WorkshopError
from workshop.support.files import read_bytes, write_atomic

BINS = 10
# 125 points in a plane of two masses (GeV): a heavy particle of mass m1 decays to a lighter one of mass m2.
GRID = [(m1, m2) for m1 in range(350, 1001, 50) for m2 in range(0, min(m1 - 150, 450) + 1, 50)]


def generate(rng: np.random.Generator) -> tuple[dict, dict]:
    """A workspace (signal region of 10 bins, control region of one) and its patch set of 125 hypotheses.

    Only the observed counts are drawn from `rng`; everything else is always the same.
    """
    x = (np.arange(BINS) + 0.5) / BINS
    background = 120 * np.exp(-2.2 * x)
    tilt = 0.06 * (2 * x - 1)
    observed = rng.poisson(background * (1 + rng.normal(0, 0.02))).astype(float)
    signal_region = [
        _normsys("scale", 1.03, 0.97),
        {
            "name": "shape",
            "type": "histosys",
            "data": {"hi_data": (background * (1 + tilt)).tolist(), "lo_data": (background * (1 - tilt)).tolist()},
        },
        {"name": "bkg_norm", "type": "normfactor", "data": None},
        {"name": "mc_stat", "type": "staterror", "data": (0.04 * background).tolist()},
    ]
    control_region = [{"name": "bkg_norm", "type": "normfactor", "data": None}, _normsys("transfer", 1.05, 0.95)]
    workspace = {
        "channels": [
            {
                "name": "SR",
                "samples": [{"name": "background", "data": background.tolist(), "modifiers": signal_region}],
            },
            {"name": "CR", "samples": [{"name": "background", "data": [400.0], "modifiers": control_region}]},
        ],
        "observations": [{"name": "SR", "data": observed.tolist()}, {"name": "CR", "data": [float(rng.poisson(400))]}],
        "measurements": [
            {"name": "search", "config": {"poi": "mu", "parameters": [{"name": "mu", "bounds": [[0.0, 10.0]]}]}}
        ],
        "version": "1.0.0",
    }
    patches = [
        {
            "metadata": {"name": f"signal_{m1}_{m2}", "values": [m1, m2]},
            "patch": [{"op": "add", "path": "/channels/0/samples/1", "value": _signal(m1, m2, x)}],
        }
        for m1, m2 in GRID
    ]
    metadata = {
        "labels": ["m1_GeV", "m2_GeV"],  # pyhf allows letters, digits and underscores
        "description": "125 generated hypotheses",
        "references": {"hepdata": "ins0000000"},
        "digests": {"sha256": digest(workspace, "sha256")},
    }
    return workspace, {"metadata": metadata, "patches": patches, "version": "1.0.0"}


def write_experiment(path: str, seed: int, workspace: dict, patchset: dict) -> str:
    """Write an experiment that was drawn from `seed` as JSON; a sentence about it."""
    document = {"seed": seed, "workspace": workspace, "patchset": patchset}
    write_atomic(Path(path), (json.dumps(document) + "\n").encode())
    counts = ", ".join(f"{count:g}" for count in workspace["observations"][0]["data"])
    return f"{path}: seed {seed}, observed counts {counts}"


def read_experiment(path: str, seed: int) -> tuple[dict, dict]:
    """Workspace and patch set of a file that `write_experiment` wrote. Raises WorkshopError for another seed's file."""
    again = shell.script(Path("draw.py"), "--seed", str(seed))
    try:
        document = json.loads(read_bytes(Path(path)))
        found, drawn = document["seed"], (document["workspace"], document["patchset"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise WorkshopError(
            looked_at=path, expected="an experiment that draw.py wrote", found=reason, next_step=again
        ) from error
    if found != seed:
        raise WorkshopError(
            looked_at=path, expected=f"an experiment with seed {seed}", found=f"seed {found}", next_step=again
        )
    return drawn


def _signal(m1: float, m2: float, x: np.ndarray) -> dict:
    """A peak at the mass difference. Heavier particles are rarer, and small mass differences are harder to detect."""
    centre = (m1 - m2) / 1000
    shape = np.exp(-0.5 * ((x - centre) / 0.09) ** 2)
    efficiency = 1 - np.exp(-(m1 - m2 - 80) / 160)
    yields = 420 * np.exp(-m1 / 230) * efficiency * shape / shape.sum()
    return {
        "name": f"signal_{m1}_{m2}",
        "data": yields.tolist(),
        "modifiers": [
            {"name": "mu", "type": "normfactor", "data": None},
            _normsys("scale", 1.05, 0.95),
            _normsys("theory", 1.1, 0.9),
        ],
    }


def _normsys(name: str, hi: float, lo: float) -> dict:
    return {"name": name, "type": "normsys", "data": {"hi": hi, "lo": lo}}
