"""A fit by the fast minimiser, and by the robust one where the fast one does not converge."""

from __future__ import annotations

import numpy as np

from histfactory.likelihood import Likelihood, Rows
from histfactory.minimise.quasi_newton import fit_batch
from histfactory.minimise.result import HIGHER, SAME, Fit
from histfactory.minimise.saddle_free import newton
from histfactory.model import Array, Index


def fit(likelihood: Likelihood, rows: Rows, start: Array, rival: Index | None = None) -> Fit:
    """Minimise each row from its start (P, R) within its bounds. rival: as in `fit_batch`."""
    result = fit_batch(likelihood, rows, start, rival)
    dropped = (result.status == SAME) | (result.status == HIGHER)
    for i in np.flatnonzero(~result.converged & ~dropped & np.isfinite(result.value)):
        finish_with_newton(likelihood, rows, result, int(i))
    return result


def finish_with_newton(likelihood: Likelihood, rows: Rows, result: Fit, i: int) -> None:
    """Continue row i with `newton` from its current result, which is changed in place."""
    one = rows.take(np.array([i, i]))
    result.theta[:, i], result.value[i], result.status[i] = newton(likelihood, one, result.theta[:, i])
