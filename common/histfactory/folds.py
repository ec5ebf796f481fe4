"""Other minima: which parameters can cause them, and a search on the far side of each.

Where +1 sigma and -1 sigma of a systematic move the counts the same way (both up, or both down), the counts as a
function of that parameter are folded: +a and -a explain the data about as well, and log L can have a minimum on each
side. A minimiser ends in the one on its side. `fold_depth` finds, from the residuals of a fit, which parameters have
such a fold; `search_across_folds` starts again from the mirror image of each, and once more from what that found, as
long as the likelihood improves.

The rule. Let bin b expect nu_b(a) = nu_b + odd_b a + even_b v(a), with v as in code 4p; a normsys is taken for a
histosys with the same +-1 sigma. Then

    d^2(-log L)/da^2 = 1/sigma^2 + sum_b [ (1 - n_b / nu_b) even_b v''(a)  +  n_b / nu_b^2 (d nu_b / da)^2 ] .

Two minima have a maximum between them, where this is negative. Only the middle term can be negative, and v'' is
largest at a = 0, where it is 15/4 and d nu_b / da = odd_b. So a parameter has a fold if

    15/4 sum_b (n_b / nu_b - 1) even_b  >  1/sigma^2 + sum_b n_b / nu_b^2 odd_b^2 ,

where nu is what the fit expects with this one parameter set to zero.

Limits of the search. It looks along one axis with the others as fitted: a fold that appears only when other parameters
move too is not found. And two constants bound the time where nearly every parameter is folded: for one fit, only the
MAX_FOLDS deepest folds are crossed, each alone and all of them together, not every subset of them; and after MAX_ROUNDS rounds
the search stops even if the last round still found something lower. So the result is the lowest minimum that was met,
with no proof that there is no lower one.
"""

from __future__ import annotations

import numpy as np

from histfactory.interpolation import code4p_weight, powers_of
from histfactory.likelihood import Likelihood, Rows, at_least_two
from histfactory.minimise import Fit, fit_batch
from histfactory.model import Array, Index

CURVATURE_AT_ZERO = 15 / 4  # v'' at zero
MAX_FOLDS = 12  # parameters tried for a fit: those with the deepest folds
MAX_ROUNDS = 4  # a mirror image of a mirror image ...: two folds that must be crossed together are found one by one
MIN_GAIN = 1e-7  # in log L: less is the same minimum
NEAR_ZERO = 0.5  # a parameter this close to zero has no other side: both +1 and -1 are tried


def fold_depth(likelihood: Likelihood, rows: Rows, theta: Array) -> Array:
    """How far each alpha's curvature at zero is below zero, (K, R): above 0 where there is a fold (the rule above)."""
    k = likelihood.model.n_alpha
    alpha = theta[:k]
    v = code4p_weight(alpha)[0]
    with np.errstate(all="ignore"):
        nu, odd, even = _odd_and_even_parts(likelihood, rows, theta, v)
        without = nu[:, None] - odd * alpha - even * v
        # If nothing is left with the parameter at zero, use what the fit expects.
        without = np.where(without > 0, without, nu[:, None])
        pull = np.where(rows.data[:, None] > 0, rows.data[:, None] / without - 1, -1.0)
        depth = CURVATURE_AT_ZERO * (pull * even).sum(0) - rows.precision[:k]
        depth -= ((pull + 1) / without * odd * odd).sum(0)
    return np.where((rows.free[:k] > 0) & np.isfinite(depth), depth, -1.0)


def _odd_and_even_parts(likelihood: Likelihood, rows: Rows, theta: Array, v: Array) -> tuple[Array, Array, Array]:
    """Expected counts nu (B, R), and odd and even (B, K, R) of the rule above."""
    k, b, n_rows = likelihood.model.n_alpha, likelihood.model.data.shape[1], theta.shape[1]
    nu, odd, even = np.zeros((b, n_rows)), np.zeros((b * k, n_rows)), np.zeros((b * k, n_rows))
    for evaluator in likelihood.evaluators:
        block = evaluator.block
        f, factor, rate = evaluator.rates(rows, theta, powers_of(theta[:k]), v, 0)
        evaluator.bins.add(rate, nu)
        if len(block.pair_alpha):
            rate_per_f = np.take(rate, evaluator.entry_cell, 0) / np.take(f[0], evaluator.entry_pair, 0)
            high, low = (rows.high, rows.low) if evaluator.own else (block.hi[:, None], block.lo[:, None])
            evaluator.pair_jacobian.add(rate_per_f * np.take(0.5 * (high + low) - 1, evaluator.entry_pair, 0), even)
            evaluator.pair_jacobian.add(rate_per_f * np.take(0.5 * (high - low), evaluator.entry_pair, 0), odd)
        if len(block.hist_cell):
            of_hist = np.take(factor, block.hist_cell, 0)
            symmetric, asymmetric = block.symmetric[..., None], block.asymmetric[..., None]
            if evaluator.own:
                symmetric, asymmetric = rows.symmetric, rows.asymmetric
            evaluator.hist_sum.add(of_hist * symmetric, odd)
            evaluator.hist_sum.add(of_hist * asymmetric, even)
    return nu, odd.reshape(b, k, n_rows), even.reshape(b, k, n_rows)


def search_across_folds(likelihood: Likelihood, rows: Rows, initial: Fit) -> Fit:
    """The fit of each row, or a lower one from the other side of the folds of its parameters."""
    fits = Fit(initial.theta.copy(), initial.value.copy(), initial.converged.copy())
    remaining = np.arange(len(fits.value))
    if likelihood.model.n_alpha == 0:
        return fits
    for _ in range(MAX_ROUNDS):
        padded = remaining[at_least_two(np.arange(len(remaining)))]
        depth = fold_depth(likelihood, rows.take(padded), np.take(fits.theta, padded, 1))[:, : len(remaining)]
        deepest = np.sort(depth, axis=0)[-min(MAX_FOLDS, len(depth)) :]
        alphas, column = np.nonzero((depth > 0) & (depth >= deepest[0]))
        if not len(alphas):
            break
        starts, origin = _mirror_images(fits.theta, remaining, alphas, column)
        start_rows = rows.take(origin)
        starts = np.where(start_rows.free > 0, np.clip(starts, start_rows.lower, start_rows.upper), starts)
        # Most starts lead back to where they came from: those are dropped on the way, and `newton` is not used.
        previous = Fit(fits.theta, fits.value, np.ones(len(fits.value), bool))
        new = fit_batch(likelihood, start_rows, starts, len(origin) + origin, previous)
        remaining = _keep_lower(likelihood, rows, fits, new, origin)
        if not len(remaining):
            break
    return fits


def _mirror_images(theta: Array, remaining: Index, alphas: Index, column: Index) -> tuple[Array, Index]:
    """Starts (P, S) on the other side of the folds, and the row of theta (P, R) that each comes from.

    left: rows to start from; alphas, column: the folded parameters and the position in `left` of their row.
    """
    current = theta[alphas, remaining[column]]
    near_zero = np.abs(current) < NEAR_ZERO
    # The other side; of a parameter near zero both sides.
    target = np.concatenate([np.where(near_zero, 1.0, -current), np.full(near_zero.sum(), -1.0)])
    parameter, origin = (
        np.concatenate([alphas, alphas[near_zero]]),
        remaining[np.concatenate([column, column[near_zero]])],
    )
    # And all of them at once: folds that share bins hold each other on their sides.
    several = np.flatnonzero(np.bincount(column, minlength=len(remaining)) > 1)
    together = np.take(theta, remaining[several], 1)
    for i, c in enumerate(several):
        folded = np.flatnonzero(column == c)
        together[alphas[folded], i] = target[folded]
    starts = np.take(theta, origin, 1)
    starts[parameter, np.arange(len(origin))] = target
    return np.hstack([starts, together]), np.concatenate([origin, remaining[several]])


def _keep_lower(likelihood: Likelihood, rows: Rows, fits: Fit, new: Fit, origin: Index) -> Index:
    """Replace fits by the lowest of the new ones that started from them, where that is lower; the rows replaced."""
    padded = at_least_two(np.arange(len(origin)))
    allowed = likelihood.expects_no_negative_counts(rows.take(origin[padded]), np.take(new.theta, padded, 1))[
        : len(origin)
    ]
    value = np.where(new.converged & allowed, new.value, np.inf)
    better = []
    for r in np.unique(origin):
        candidates = np.flatnonzero(origin == r)
        i = candidates[np.argmin(value[candidates])]
        if value[i] < fits.value[r] - MIN_GAIN * max(1.0, abs(fits.value[r])):
            fits.theta[:, r], fits.value[r], fits.converged[r] = new.theta[:, i], value[i], True
            better.append(r)
    return np.array(better, np.intp)
