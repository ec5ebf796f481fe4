"""Exercise 1: which hypotheses does a search for a new particle exclude?

    python exclusion.py             # 125 hypotheses of a generated search
    python exclusion.py --seed 1    # another experiment: other observed counts
    python exclusion.py --experiment experiment.json    # the experiment that draw.py has written
    python exclusion.py --limits limits.json            # also copies the limits to this file, for figure.py

Each hypothesis is a pair of masses (m1, m2) and predicts how many signal events to expect in each bin. The script draws
the observed counts of one experiment, lets the library `histfactory` fit all hypotheses to them, turns two p-values
into CLs, and writes limits and contour as a run. `workshop scan` does the same for any pyhf workspace.
"""

import argparse
import shutil

from workshop import runs  # first, so that Ctrl-C ends with one line during the slow imports below

import numpy as np

import histfactory
from workshop.runs import search

EXERCISE = "exercise-1-scipy"
SEED = 20  # of the experiment, unless you give another one with --seed
MU = 1.0  # the signal strength to test: 1 is the hypothesis as predicted, 0 would be background alone
PACKAGES = ("numpy", "scipy", "matplotlib", "jsonpatch")  # what the numbers and the figure depend on


def experiment(seed: int) -> tuple[dict, dict]:
    """The search in pyhf's JSON: a workspace with its observed counts, and a patch set with the hypotheses."""
    rng = np.random.default_rng(seed)
    return search.generate(rng)


def cls_of(p_signal: np.ndarray, p_background: np.ndarray) -> np.ndarray:
    """CLs from the two p-values, both of the same shape.

    p_signal: the probability, if the signal exists, of data at least as background-like as the observed data.
    p_background: the probability, if it does not, of data at least as signal-like. (Read, J. Phys. G 28 (2002) 2693.)
    """
    return p_signal / (1 - p_background)


def exclude(run: runs.Run) -> None:
    # The model: expected counts in each bin, as a function of the signal strength and of every uncertainty.
    file = run.arguments.experiment
    workspace, patchset = search.read_experiment(file, run.seed) if file else experiment(run.seed)
    labels, hypotheses = histfactory.read_hypotheses(workspace, patchset)
    [model] = histfactory.compile_models(hypotheses)

    # The fits: the likelihood of the data with the signal at MU, relative to its maximum.
    limits = histfactory.Scan(model).limits(MU)

    # The statistics, shape (hypotheses, 6): observed, then expected at -2, -1, 0, +1 and +2 standard deviations.
    p_signal, p_background = limits.p_values()
    cls = cls_of(p_signal, p_background)
    converged = limits.converged & np.isfinite(cls).all(axis=1)

    # The report: one entry for each hypothesis, without numbers if a fit did not converge.
    entries = []
    for h, hypothesis in enumerate(hypotheses):
        entry = {"name": hypothesis.name, "labels": dict(zip(labels, hypothesis.values, strict=True))}
        entry |= {"converged": bool(converged[h]), "cls_obs": None, "cls_exp": None}
        if converged[h]:
            entry |= {"cls_obs": float(cls[h, 0]), "cls_exp": cls[h, 1:].tolist()}
        entries.append(entry)
    document = {
        "schema": search.SCHEMA,
        "input": "generated",
        "sha256": histfactory.digest([workspace, patchset]),
        "mu": MU,
        "labels": labels,
        "measurement": hypotheses[0].measurement["name"],
        "hypotheses": entries,
    }
    excluded, _ = search.write_limits(run.folder, document, f"generated, seed {run.seed}")
    folder = run.finish(
        PACKAGES,
        dataset={"name": document["input"], "sha256": document["sha256"]},
        metrics=[{"name": "hypotheses", "value": int(converged.sum())}, {"name": "excluded", "value": excluded}],
    )
    if run.arguments.limits:
        shutil.copyfile(folder / "limits.json", run.arguments.limits)
    print(f"{excluded} of {len(entries)} hypotheses are excluded at 95 % CL; the run is in {folder}")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--experiment", metavar="FILE", help="the drawn experiment (default: drawn from the seed)")
    parser.add_argument("--limits", metavar="FILE", help="also copy limits.json to this file")


if __name__ == "__main__":
    runs.main(exclude, exercise=EXERCISE, script=__file__, description=__doc__, seed=SEED, add_options=add_options)
