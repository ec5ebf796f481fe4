"""Expected counts, value and derivatives of one row; `fit.py` maps them over all rows.

The formulas are those of `histfactory.likelihood`, `interpolation` and `folds`, where their sources are given. Only the
layout of the arrays differs (`model.py`). Compiled code has no branches on values, so what NumPy skips is masked here.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from histfactory.folds import CURVATURE_AT_ZERO
from histfactory.on_jax.model import Array, Cells, Common, Hypothesis, Normsys, Sizes, Yields, blocks


class Point(NamedTuple):
    """The likelihood and its derivatives at one point; see `histfactory.likelihood.Point`."""

    value: Array  # ()
    nu: Array  # (B,)
    gradient: Array  # (P,)
    jacobian: Array  # (B, S)
    jacobian_local: Array  # (T,)
    diagonal: Array  # (P,)


class BlockRates(NamedTuple):
    """The expected counts of a block, and what they were computed from."""

    cells: Cells
    yields: Yields
    factor_of_pair: Array | None  # (N, K) the interpolated normsys
    log_slope: Array | None  # (N, K) d log factor / d alpha
    factor: Array  # (D, B) the product of all factors of a cell
    rate: Array  # (D, B)


def deviance(rate: Array, n: Array) -> Array:
    """`histfactory.likelihood.deviance`."""
    some = n > 0
    return rate - n - n * jnp.log(jnp.where(some, rate, 1.0) / jnp.where(some, n, 1.0))


def ratio_or_zero(n: Array, divisor: Array) -> Array:
    """`histfactory.likelihood.ratio_or_zero`."""
    return jnp.where(n > 0, n / jnp.where(n > 0, divisor, 1.0), 0.0)


def code4p_weight(alpha: Array) -> tuple[Array, Array, Array]:
    """`histfactory.interpolation.code4p_weight`: v, v', v''."""
    square, outside = alpha * alpha, jnp.abs(alpha) > 1
    v = jnp.where(outside, jnp.abs(alpha), square * (15 + square * (3 * square - 10)) / 8)
    v1 = jnp.where(outside, jnp.sign(alpha), alpha * (30 + square * (18 * square - 40)) / 8)
    return v, v1, jnp.where(outside, 0.0, (30 + square * (90 * square - 120)) / 8)


def of_processes(cells: Cells, on_grid: Array) -> Array:
    """The values of cells (D, B) by bin and process, (B, N): 0 where a process has no cell in a bin."""
    return jnp.append(on_grid.ravel(), 0.0)[cells.place]


def sum_in_bins(common: Common, of_locals: Array) -> Array:
    """Add the values of local parameters (T, ...) in their bins, (B, ...). A sum of gathered values has a fixed order."""
    nothing = jnp.zeros((1, *of_locals.shape[1:]))
    return jnp.concatenate([of_locals, nothing])[common.locals_of_bin].sum(0)


def interpolate(normsys: Normsys, alpha: Array) -> tuple[Array, Array]:
    """The factors (N, K) of all pairs at alpha (K,), and the derivatives of their logarithms (code 4)."""
    c, outside = normsys.coefficients, jnp.abs(alpha) > 1
    value, slope = c[5] * alpha, c[5]
    for i in (4, 3, 2, 1, 0):
        value = value + c[i]
        slope = slope * alpha + value
        value = value * alpha
    value = value + 1
    exponent = jnp.where(alpha > 0, normsys.log_hi, normsys.minus_log_lo)
    factor = jnp.where(outside, jnp.exp(exponent * alpha), value)
    return factor, jnp.where(outside, exponent, slope / value)


def rates(
    common: Common, hypothesis: Hypothesis, theta: Array, n_alpha: int, v: Array
) -> tuple[Array, list[BlockRates]]:
    """Expected counts (B,) at theta (P,), and those of each block. v: the first result of `code4p_weight`."""
    alpha, factors = theta[:n_alpha], jnp.append(theta, 1.0)  # the last one for cells that have fewer factors
    nu, parts = jnp.zeros(common.locals_of_bin.shape[1]), []
    for cells, yields in blocks(common, hypothesis):
        factor_of_pair, log_slope, factor = None, None, jnp.ones(cells.process.shape)
        if yields.normsys is not None:
            factor_of_pair, log_slope = interpolate(yields.normsys, alpha)
            factor = jnp.prod(factor_of_pair, 1)[cells.process]
        for rank in range(len(cells.factors)):
            factor = factor * factors[cells.factors[rank]]
        shape = yields.nominal
        if yields.histosys is not None:
            shape = shape + yields.histosys.symmetric @ alpha + yields.histosys.asymmetric @ v
        rate = shape * factor
        nu = nu + rate.sum(0)
        parts.append(BlockRates(cells, yields, factor_of_pair, log_slope, factor, rate))
    return nu, parts


def expected(sizes: Sizes, common: Common, hypothesis: Hypothesis, theta: Array) -> Array:
    """`Likelihood.expected` of one row, (B,)."""
    return rates(common, hypothesis, theta, sizes.n_alpha, code4p_weight(theta[: sizes.n_alpha])[0])[0]


def evaluate(sizes: Sizes, common: Common, hypothesis: Hypothesis, data: Array, auxdata: Array, theta: Array) -> Point:
    """`Likelihood.__call__` of one row: value and derivatives at theta (P,)."""
    n_alpha, n_shared = sizes.n_alpha, sizes.n_shared
    v, v1, v2 = code4p_weight(theta[:n_alpha])
    nu, parts = rates(common, hypothesis, theta, n_alpha, v)
    residual = 1 - ratio_or_zero(data, nu)
    of_alphas, of_wide, of_locals = jnp.zeros((len(data), n_alpha)), 0.0, 0.0
    curvature = jnp.zeros(n_alpha)
    for cells, yields, _, log_slope, factor, rate in parts:
        if yields.normsys is not None:
            by_process = of_processes(cells, rate)
            of_alphas = of_alphas + by_process @ log_slope
            curvature = curvature + (residual @ by_process) @ yields.normsys.even
        if yields.histosys is not None:
            asymmetric = jnp.einsum("db,dbk->bk", factor, yields.histosys.asymmetric)
            of_alphas = of_alphas + jnp.einsum("db,dbk->bk", factor, yields.histosys.symmetric) + v1 * asymmetric
            curvature = curvature + residual @ asymmetric
        of_wide = of_wide + jnp.einsum("db,wdb->bw", rate, cells.wide)
        of_locals = of_locals + (rate[:, common.local_bin].T * cells.local).sum(1)
    jacobian = jnp.concatenate([of_alphas, of_wide / theta[n_alpha:n_shared]], 1)
    jacobian_local = of_locals / theta[n_shared:]

    difference, poisson = theta - auxdata, hypothesis.tau > 0
    safe = jnp.where(poisson, theta, 1.0)
    gradient = jnp.concatenate([residual @ jacobian, residual[common.local_bin] * jacobian_local])
    gradient = gradient + hypothesis.precision * difference
    gradient = gradient + jnp.where(poisson, hypothesis.tau - auxdata / safe, 0.0)
    diagonal = hypothesis.precision + jnp.where(poisson, auxdata / (safe * safe), 0.0)
    diagonal = diagonal + jnp.concatenate([curvature * v2, jnp.zeros(len(theta) - n_alpha)])
    value = deviance(nu, data).sum() + 0.5 * (hypothesis.precision * difference * difference).sum()
    constraint = deviance(hypothesis.tau * safe, jnp.where(poisson, auxdata, 0.0))
    value = value + jnp.where(poisson, constraint, 0.0).sum()
    return Point(value, nu, gradient, jacobian, jacobian_local, diagonal)


def fold_depth(sizes: Sizes, common: Common, hypothesis: Hypothesis, data: Array, free: Array, theta: Array) -> Array:
    """`histfactory.folds.fold_depth` of one row, (K,)."""
    n_alpha = sizes.n_alpha
    alpha = theta[:n_alpha]
    v = code4p_weight(alpha)[0]
    nu, parts = rates(common, hypothesis, theta, n_alpha, v)
    odd = even = jnp.zeros((len(data), n_alpha))
    for cells, yields, factor_of_pair, _, factor, rate in parts:
        if yields.normsys is not None:
            by_process = of_processes(cells, rate)
            even = even + by_process @ (yields.normsys.even / factor_of_pair)
            odd = odd + by_process @ (yields.normsys.odd / factor_of_pair)
        if yields.histosys is not None:
            odd = odd + jnp.einsum("db,dbk->bk", factor, yields.histosys.symmetric)
            even = even + jnp.einsum("db,dbk->bk", factor, yields.histosys.asymmetric)
    without = nu[:, None] - odd * alpha - even * v
    without = jnp.where(without > 0, without, nu[:, None])
    ratio = ratio_or_zero(data[:, None], without)
    depth = CURVATURE_AT_ZERO * ((ratio - 1) * even).sum(0) - hypothesis.precision[:n_alpha]
    depth = depth - (ratio_or_zero(ratio, without) * odd * odd).sum(0)
    return jnp.where((free[:n_alpha] > 0) & jnp.isfinite(depth), depth, -1.0)
