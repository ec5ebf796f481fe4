"""Starts at which a small sample has grown or shrunk, for the search for other minima.

The variations of a sample with few simulated events can be large: by several hundred percent in one parameter, or by a
few tens of percent in twenty. A bin's normsys multiply, and their polynomials between -1 and +1 sigma can become
negative. So if many parameters move by half a standard deviation each, a sample of 0.2 events can grow to 80, or one of
0.04 to -13, at a cost of a few units of log L. It can thus explain an excess or a deficit, or replace a normalisation
that has no constraint. -log L has a minimum there, and another one where the sample is small. No single parameter leads
from one to the other, so `folds.py` misses them, and so do most random starts: one in 200 for a signal of ATLAS 1Lbb.

`growing_cells` selects such samples. `starts_of_growth` draws values for the parameters of each, and computes the
likelihood of its bin for them, which is fast. The best draws are the starts: one with more events of the sample than
now, and one with fewer. This is repeated with each normalisation without a constraint at its lower bound (or at 1 if it
is at its bound now).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from histfactory.interpolation import code4, code4_coefficients, code4p_weight, powers_of
from histfactory.likelihood import Likelihood, Point, Rows, at_least_two, deviance
from histfactory.minimise import Fit
from histfactory.model import Array, Block, Index, Mask

GROWTH = 300.0  # a sample that can grow by this factor is searched
LENGTH = 10**0.5  # in standard deviations: how far its parameters together may move for this; it costs 5 in log L
DRAWS = 8000  # with 2000 and no random restarts, 4 of 40 signals on 2018-16 (sleptons) have lower minima, with 8000 one
NUMBERS = 800_000  # of the draws of one cell: with more than 100 parameters, there are fewer draws
MOST_CELLS = 12  # of one fit: those that can grow most
WIDTHS = (0.2, 0.4, 0.6, 0.8)  # of the draws, in standard deviations
SMALL = 0.1  # relative variations that are smaller are left out
FAVOURED = 0.75  # share of the draws in which most parameters move in the direction of more events
CHANGE = 0.5  # of a bin's expected count, in standard deviations of the observed one; smaller changes do not matter
AT_BOUND = 1e-3  # a linear factor this close to its lower bound is at it
MAY_FALL = 10.0  # in log L: starts that are higher above the known minimum are dropped


@dataclass
class _Draws:
    """Values of the parameters of one cell that change it noticeably, and its yield for them."""

    alphas: Index  # (K',)
    values: Array  # (K', D)
    yields: Array  # (D,) with all linear factors at 1


def growing_cells(block: Block, rows: Rows, own: bool) -> Mask:
    """The cells whose normsys can make them GROWTH times as large, and large compared with their bin, (cells, R).

    If parameters move along l, the logarithms of a process' variations at one sigma, by a distance d, its yield
    changes by a factor of about exp(d |l|).
    """
    high, low, nominal = (rows.high, rows.low, rows.nominal) if own else _columns(block.hi, block.lo, block.nominal)
    square = np.zeros((block.n_processes, nominal.shape[1]))
    np.add.at(square, block.pair_process, np.log(np.maximum(np.maximum(high, low), 1.0)) ** 2)
    log_growth = LENGTH * np.sqrt(square[block.cell_process])
    matters = nominal * np.exp(np.minimum(log_growth, 100.0)) > CHANGE * np.sqrt(rows.data[block.cell_bin] + 1)
    log_growth = np.where(matters, log_growth, 0.0)
    largest = np.sort(log_growth, axis=0)[-min(MOST_CELLS, len(log_growth)) :]
    return (log_growth > np.log(GROWTH)) & (log_growth >= largest[0])


def _columns(*arrays: Array) -> list[Array]:
    return [array[:, None] for array in arrays]


@np.errstate(all="ignore")  # a draw for which the likelihood is not finite is not chosen
def starts_of_growth(likelihood: Likelihood, rows: Rows, fits: Fit) -> tuple[Array, Index]:
    """Starts (P, S) where a small sample has grown or shrunk, and the fit that each belongs to; none for most models."""
    theta, k = fits.theta, likelihood.model.n_alpha
    starts, origins, point = [np.empty((len(theta), 0))], [], None
    for evaluator in likelihood.evaluators:
        block = evaluator.block
        growing = growing_cells(block, rows, evaluator.own)
        if not growing.any():
            continue
        if point is None:
            two = at_least_two(np.arange(theta.shape[1]))
            two_rows, two_thetas = rows.take(two), np.take(theta, two, 1)
            point = likelihood(two_rows, two_thetas)
        v = code4p_weight(two_thetas[:k])[0]
        now = evaluator.rates(two_rows, two_thetas, powers_of(two_thetas[:k]), v, 0)[2]
        for cell in np.flatnonzero(growing.any(1)):
            draws = None
            factors = block.factors[:, cell]
            linear = np.multiply.reduce(theta[factors[factors >= 0]], axis=0)
            for r in np.flatnonzero(growing[cell] & (np.abs(linear) > AT_BOUND)):
                if draws is None or evaluator.own:
                    draws = _draw(block, int(cell), rows, int(r) if evaluator.own else None)
                some = _best_draws(
                    likelihood, rows, theta, point, int(r), int(block.cell_bin[cell]), now[cell, r], linear[r], draws
                )
                starts, origins = [*starts, *_columns(*some)], [*origins, *[r] * len(some)]
    origin = np.array(origins, np.intp)
    if not len(origin):
        return starts[0], origin
    many = rows.take(at_least_two(origin))
    start = np.clip(np.hstack(starts)[:, at_least_two(np.arange(len(origin)))], many.lower, many.upper)
    start = likelihood.avoid_zero(np.where(many.free > 0, start, np.take(theta, at_least_two(origin), 1)))
    value = likelihood.value(many, start, likelihood.expected(many, start))[: len(origin)]
    near = np.flatnonzero(value - fits.value[origin] < MAY_FALL)
    return np.take(start, near, 1), origin[near]


def _draw(block: Block, cell: int, rows: Rows, row: int | None) -> _Draws:
    """Draws for one cell of the shared block, or for that of one row."""
    hi, lo, nominal, symmetric, asymmetric = (
        (block.hi, block.lo, block.nominal, block.symmetric, block.asymmetric)
        if row is None
        else (array[:, row] for array in (rows.high, rows.low, rows.nominal, rows.symmetric, rows.asymmetric))
    )
    large = np.maximum(np.abs(np.log(hi)), np.abs(np.log(lo))) > SMALL
    pairs = np.flatnonzero((block.pair_process == block.cell_process[cell]) & large)
    large = np.abs(symmetric) + np.abs(asymmetric) > SMALL * nominal[cell]
    hists = np.flatnonzero((block.hist_cell == cell) & large)
    hi, lo = hi[pairs], lo[pairs]
    alphas = np.unique(np.concatenate([block.pair_alpha[pairs], block.hist_alpha[hists]]))
    position = np.searchsorted(alphas, block.pair_alpha[pairs])
    rng, n = np.random.default_rng(0), min(DRAWS, NUMBERS // len(alphas))
    values = rng.normal(size=(len(alphas), n)) * np.resize(WIDTHS, n)
    direction = np.zeros(len(alphas))
    direction[position] = np.where(np.abs(hi - lo) > 0.05 * (hi + lo), np.sign(hi - lo), 0)
    favoured = (rng.uniform(size=n) < FAVOURED) & (rng.uniform(size=values.shape) < 0.9)
    favoured &= direction[:, None] != 0
    values = np.clip(np.where(favoured, np.abs(values) * direction[:, None], values), -1, 1)
    x = values[position]
    coefficients = np.broadcast_to(code4_coefficients(hi, lo)[0][..., None], (6, *x.shape))
    x_hist = values[np.searchsorted(alphas, block.hist_alpha[hists])]
    yields = nominal[cell] + symmetric[hists] @ x_hist + asymmetric[hists] @ code4p_weight(x_hist)[0]
    return _Draws(alphas, values, yields * np.multiply.reduce(code4(coefficients, x, 0)[0], axis=0))


def _best_draws(
    likelihood: Likelihood,
    rows: Rows,
    theta: Array,
    point: Point,
    r: int,
    b: int,
    now: float,
    linear: float,
    draws: _Draws,
) -> list[Array]:
    """Starts (P,) of row r, for a cell in bin b that expects `now` events, and whose linear factors have this product."""
    model, k, s = likelihood.model, likelihood.model.n_alpha, likelihood.model.n_shared
    observed, yields = rows.data[b, r], linear * draws.yields
    matters = CHANGE * np.sqrt(observed + 1)
    prior = 0.5 * ((draws.values - rows.auxdata[draws.alphas, r][:, None]) ** 2).sum(0)
    unconstrained = (rows.free[k:s, r] > 0) & (rows.precision[k:s, r] == 0) & (rows.tau[k:s, r] == 0)
    unconstrained &= np.arange(k, s) != model.poi
    moved = theta[:, r].copy()
    at_bound = moved[k:s] <= rows.lower[k:s, r] + AT_BOUND
    moved[k:s] = np.where(at_bound, 1.0, rows.lower[k:s, r])
    change = np.where(unconstrained, point.jacobian[r, b, k:] * (moved - theta[:, r])[k:s], 0.0)
    starts = []
    for factor in [None, *np.flatnonzero(np.abs(change) > matters)]:
        expected = point.nu[b, r] - now + yields + (0.0 if factor is None else change[factor])
        cost = np.where(expected > 0, deviance(expected, np.full_like(expected, observed)) + prior, np.inf)
        for some in (yields > now + matters, yields < now - matters):
            best = int(np.where(some, cost, np.inf).argmin())
            if some[best] and np.isfinite(cost[best]):
                start = theta[:, r].copy()
                start[draws.alphas] = draws.values[:, best]
                if factor is not None:
                    start[k + factor] = moved[k + factor]
                starts.append(start)
    return starts
