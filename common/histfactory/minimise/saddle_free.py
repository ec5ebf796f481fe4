"""The robust minimiser: saddle-free Newton steps of one row.

If normalisations multiply each other, or if the data hardly constrain a direction, the Hessian is indefinite or nearly
singular, and secant pairs approximate it too slowly. `newton` computes the full Hessian and makes its eigenvalues
positive, so that the steps lead away from saddle points (saddle-free Newton; Dauphin et al., arXiv:1406.2572). It steps
in the logarithms of factors without a constraint: if the data determine only the product of two factors, the valley is
a hyperbola, along which straight steps make little progress.
"""

from __future__ import annotations

import numpy as np

from histfactory.interpolation import code4p_weight, powers_of
from histfactory.likelihood import Likelihood, Point, Rows, ratio_or_zero
from histfactory.minimise.result import CONVERGED, NOT_FINITE, STUCK, TOLERANCE, TOO_MANY_STEPS
from histfactory.model import Array, Mask

NEWTON_STEPS = 200
MAX_NEWTON_STEP = 3.0  # in standard deviations of an alpha, and in the logarithm of a factor
SMALL_FACTOR = 1e-3  # smaller factors may approach zero, so they change linearly instead of by their logarithm
BOUND_TOLERANCE = 1e-8  # relative distance at which a parameter counts as at its bound

REASONS = {  # in messages, after the name of the fit
    TOO_MANY_STEPS: f"-log L still decreases after {NEWTON_STEPS} steps",
    NOT_FINITE: "the second derivatives of log L are not finite",
    STUCK: "no step decreases -log L although its slope is not zero",
}


@np.errstate(all="ignore")
def newton(likelihood: Likelihood, rows: Rows, start: Array) -> tuple[Array, float, int]:
    """Minimise one row, given twice in `rows`, from start (P,): the best theta (P,), its value, and how it ended."""
    theta, point = start, likelihood(rows, np.stack([start, start], 1))
    for _ in range(NEWTON_STEPS):
        step, predicted_decrease, by_log = _newton_step(likelihood, rows, theta, point)
        if predicted_decrease is None or predicted_decrease < TOLERANCE:
            return theta, float(point.value[0]), NOT_FINITE if predicted_decrease is None else CONVERGED
        moves = by_log | (np.arange(len(step)) < likelihood.model.n_alpha)
        length = min(1.0, MAX_NEWTON_STEP / np.abs(step[moves]).max(initial=1e-12))
        for _ in range(50):
            moved = np.where(by_log, theta * np.exp(np.where(by_log, length * step, 0.0)), theta + length * step)
            trial = np.clip(moved, rows.lower[:, 0], rows.upper[:, 0])
            trial = likelihood.avoid_zero(np.where(rows.free[:, 0] > 0, trial, theta))
            trial_point = likelihood(rows, np.stack([trial, trial], 1))
            if trial_point.value[0] < point.value[0] and np.isfinite(trial_point.gradient).all():
                break
            length *= 0.5
        else:
            # Rounding hides the predicted decrease: the fit has converged if CLs cannot show a difference of that size.
            return theta, float(point.value[0]), CONVERGED if predicted_decrease < 100 * TOLERANCE else STUCK
        theta, point = trial, trial_point
    return theta, float(point.value[0]), TOO_MANY_STEPS


def _newton_step(likelihood: Likelihood, rows: Rows, theta: Array, point: Point) -> tuple[Array, float | None, Mask]:
    """A saddle-free Newton step (P,) to add, its predicted decrease, and which parameters change by their logarithm.

    The predicted decrease is None if the Hessian is not finite, and 0 if no parameter can change.
    """
    gradient, lower, upper = point.gradient[:, 0], rows.lower[:, 0], rows.upper[:, 0]
    free = rows.free[:, 0] > 0
    # Steps that are cut off at a bound approach it without reaching it: close enough counts as at the bound.
    margin = BOUND_TOLERANCE * np.maximum(1, np.abs(theta))
    free &= ~((theta <= lower + margin) & (gradient > 0)) & ~((theta >= upper - margin) & (gradient < 0))
    # Factors without a constraint multiply each other: in their logarithms, a valley of equal products is straight.
    is_factor = np.arange(len(theta)) >= likelihood.model.n_alpha
    by_log = (
        free & is_factor & (lower >= 0) & (rows.precision[:, 0] == 0) & (rows.tau[:, 0] == 0) & (theta > SMALL_FACTOR)
    )
    step = np.zeros(len(theta))
    if not free.any():
        return step, 0.0, by_log
    derivative = np.where(by_log, theta, 1.0)
    with np.errstate(all="ignore"):
        matrix = hessian(likelihood, rows, np.stack([theta, theta], 1)) * derivative * derivative[:, None]
        matrix[by_log, by_log] += (derivative * gradient)[by_log]
    matrix, slope = matrix[np.ix_(free, free)], (gradient * derivative)[free]
    if not np.isfinite(matrix).all():
        return step, None, by_log
    scale = 1 / np.sqrt(np.maximum(np.abs(np.diag(matrix)), 1e-8))
    values, vectors = np.linalg.eigh(matrix * scale * scale[:, None])
    projection = vectors.T @ (slope * scale)
    values = np.maximum(np.abs(values), 1e-9)
    step[free] = -scale * (vectors @ (projection / values))
    return step, float((projection**2 / values).sum()), by_log


def hessian(likelihood: Likelihood, rows: Rows, theta: Array) -> Array:
    """The Hessian (P, P) of -log L for one row, given twice in `rows`; the columns of theta (P, 2) are equal."""
    model, n = likelihood.model, theta.shape[0]
    alpha = theta[: model.n_alpha]
    v, v1, v2 = code4p_weight(alpha)
    nu = likelihood.expected(rows, theta)[:, 0]
    data = rows.data[:, 0]
    residual = 1 - ratio_or_zero(data, nu)
    out, diagonal = np.zeros((n, n)), np.arange(n)
    jacobian = np.zeros((len(nu), n))
    for evaluator in likelihood.evaluators:
        block = evaluator.block
        (f, f1, f2), factor, rate = evaluator.rates(rows, theta, powers_of(alpha), v, 2)
        factor, rate = factor[:, 0], rate[:, 0]
        slope, curvature = f1[:, 0] / f[:, 0], f2[:, 0] / f[:, 0]
        weight = residual[block.cell_bin]
        log_slope = np.zeros((evaluator.n_cells, n))  # of the factors
        delta = np.zeros((evaluator.n_cells, n))  # of the sum of the histosys
        log_slope[evaluator.entry_cell, block.pair_alpha[evaluator.entry_pair]] = slope[evaluator.entry_pair]
        second = np.zeros(n)
        of_pairs = (rate * weight)[evaluator.entry_cell] * (curvature - slope**2)[evaluator.entry_pair]
        np.add.at(second, block.pair_alpha[evaluator.entry_pair], of_pairs)
        for rank in block.factors:
            cell = np.flatnonzero(rank >= 0)
            log_slope[cell, rank[cell]] = 1 / theta[rank[cell], 0]
            np.add.at(second, rank[cell], -(rate * weight)[cell] / theta[rank[cell], 0] ** 2)
        symmetric, asymmetric = block.symmetric, block.asymmetric
        if evaluator.own:
            symmetric, asymmetric = rows.symmetric[:, 0], rows.asymmetric[:, 0]
        delta[block.hist_cell, block.hist_alpha] = symmetric + v1[block.hist_alpha, 0] * asymmetric
        np.add.at(second, block.hist_alpha, (factor * weight)[block.hist_cell] * asymmetric * v2[block.hist_alpha, 0])
        cross = delta.T @ ((factor * weight)[:, None] * log_slope)
        out += log_slope.T @ ((rate * weight)[:, None] * log_slope) + cross + cross.T
        out[diagonal, diagonal] += second
        np.add.at(jacobian, block.cell_bin, rate[:, None] * log_slope + factor[:, None] * delta)
    out += jacobian.T @ (ratio_or_zero(data, nu**2)[:, None] * jacobian)
    poisson = np.where(rows.tau[:, 0] > 0, rows.auxdata[:, 0] / theta[:, 0] ** 2, 0.0)
    out[diagonal, diagonal] += rows.precision[:, 0] + poisson
    return out
