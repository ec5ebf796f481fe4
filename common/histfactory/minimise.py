"""The slow and sure way for the few fits that the batched method leaves: exact Newton steps, one row at a time.

Where normalisations multiply each other or data hardly constrain a direction, the Hessian is indefinite or nearly
singular, and secant pairs learn it too slowly. Here the whole second derivative is formed and its eigenvalues are
made positive, so that a saddle repels (saddle-free Newton; Dauphin et al., arXiv:1406.2572). Factors without a constraint
move by their logarithms: where data fix only the product of two, the valley is a hyperbola that straight steps creep
along.
"""

from __future__ import annotations

import numpy as np
from likelihood import Likelihood, Rows, code4p_weight, powers_of
from model import Array

STEPS = 200
LONGEST = 3.0  # of one step, in standard deviations of an alpha and in the logarithm of a factor
SMALL = 1e-3  # a factor below this moves by itself, not by its logarithm: it may be on its way to zero
AT_BOUND = 1e-8  # this close, relative to the parameter: what its gradient makes of that is below any tolerance here


def hessian(likelihood: Likelihood, rows: Rows, theta: Array) -> Array:
    """All second derivatives (P, P) of -log L for the first row of `rows`; theta (P, 2), both columns alike."""
    model = likelihood.model
    k, n = model.n_alpha, theta.shape[0]
    alpha = theta[:k]
    v, v1, v2 = code4p_weight(alpha)
    nu = likelihood.expected(rows, theta)[:, 0]
    data = rows.data[:, 0]
    residual = np.where(data > 0, 1 - data / nu, 1.0)
    out = np.zeros((n, n))
    jacobian = np.zeros((len(nu), n))
    for side in likelihood.sides:
        block = side.block
        (f, f1, f2), factor, rate = side.rates(rows, theta, powers_of(alpha), v, 2)
        factor, rate = factor[:, 0], rate[:, 0]
        slope, bend = f1[:, 0] / f[:, 0], f2[:, 0] / f[:, 0]
        weight = residual[block.cell_bin]
        log_slope, delta = (
            np.zeros((side.n_cells, n)),
            np.zeros((side.n_cells, n)),
        )  # of the factors; of the histosys sum
        log_slope[side.pb_cell, block.pair_alpha[side.pb_pair]] = slope[side.pb_pair]
        diagonal = np.zeros(n)
        np.add.at(
            diagonal, block.pair_alpha[side.pb_pair], (rate * weight)[side.pb_cell] * (bend - slope**2)[side.pb_pair]
        )
        for rank in block.factors:
            cell = np.flatnonzero(rank >= 0)
            log_slope[cell, rank[cell]] = 1 / theta[rank[cell], 0]
            np.add.at(diagonal, rank[cell], -(rate * weight)[cell] / theta[rank[cell], 0] ** 2)
        symmetric, asymmetric = (
            (rows.symmetric[:, 0], rows.asymmetric[:, 0]) if side.own else (block.symmetric, block.asymmetric)
        )
        delta[block.hist_cell, block.hist_alpha] = symmetric + v1[block.hist_alpha, 0] * asymmetric
        np.add.at(diagonal, block.hist_alpha, (factor * weight)[block.hist_cell] * asymmetric * v2[block.hist_alpha, 0])
        cross = delta.T @ ((factor * weight)[:, None] * log_slope)
        out += log_slope.T @ ((rate * weight)[:, None] * log_slope) + cross + cross.T
        out[np.arange(n), np.arange(n)] += diagonal
        np.add.at(jacobian, block.cell_bin, rate[:, None] * log_slope + factor[:, None] * delta)
    out += jacobian.T @ ((data / nu**2)[:, None] * jacobian)
    poisson = np.where(rows.tau[:, 0] > 0, rows.auxdata[:, 0] / theta[:, 0] ** 2, 0.0)
    out[np.arange(n), np.arange(n)] += rows.precision[:, 0] + poisson
    return out


def minimise(likelihood: Likelihood, rows: Rows, start: Array, tolerance: float) -> tuple[Array, float, bool]:
    """Best theta (P,), value, converged, of the first row of `rows` (two rows alike) from start (P,)."""
    theta = np.stack([start, start], 1)
    factor = (np.arange(len(start)) >= likelihood.model.n_alpha) & (rows.precision[:, 0] == 0) & (rows.tau[:, 0] == 0)
    point = likelihood(rows, theta)
    for _ in range(STEPS):
        gradient = point.gradient[:, 0]
        free = rows.free[:, 0] > 0
        # Parameters that a step across their bound brought ever nearer to it are at the bound.
        near = AT_BOUND * np.maximum(1, np.abs(theta[:, 0]))
        free &= ~((theta[:, 0] <= rows.lower[:, 0] + near) & (gradient > 0)) & ~(
            (theta[:, 0] >= rows.upper[:, 0] - near) & (gradient < 0)
        )
        if not free.any():
            return theta[:, 0], float(point.value[0]), True
        # Free factors multiply each other: along a valley of equal products their logarithms go straight.
        logs = free & factor & (theta[:, 0] > SMALL)
        unit = np.where(logs, theta[:, 0], 1.0)
        with np.errstate(all="ignore"):
            matrix = hessian(likelihood, rows, theta) * unit * unit[:, None]
            matrix[logs, logs] += (unit * gradient)[logs]
        matrix, slope = matrix[np.ix_(free, free)], (gradient * unit)[free]
        if not np.isfinite(matrix).all():
            return theta[:, 0], float(point.value[0]), False
        scale = 1 / np.sqrt(np.maximum(np.abs(np.diag(matrix)), 1e-8))
        values, vectors = np.linalg.eigh(matrix * scale * scale[:, None])
        along = vectors.T @ (slope * scale)
        values = np.maximum(np.abs(values), 1e-9)
        step = np.zeros(len(start))
        step[free] = -scale * (vectors @ (along / values))
        promise = float((along**2 / values).sum())
        if promise < tolerance:
            return theta[:, 0], float(point.value[0]), True
        far = np.abs(step[logs | (np.arange(len(step)) < likelihood.model.n_alpha)]).max(initial=1e-12)
        length = min(1.0, LONGEST / far)
        for _ in range(50):
            moved = np.where(
                logs, theta[:, 0] * np.exp(np.where(logs, length * step, 0.0)), theta[:, 0] + length * step
            )
            trial = np.clip(moved, rows.lower[:, 0], rows.upper[:, 0])
            trial = np.where(rows.free[:, 0] > 0, trial, theta[:, 0])
            new = likelihood.clean(np.stack([trial, trial], 1))
            there = likelihood(rows, new)
            if there.value[0] < point.value[0] and np.isfinite(there.gradient).all():
                break
            length *= 0.5
        else:
            # Rounding hides what the step promises: good enough when that is far below what CLs can show.
            return theta[:, 0], float(point.value[0]), promise < 100 * tolerance
        theta, point = new, there
    return theta[:, 0], float(point.value[0]), False
