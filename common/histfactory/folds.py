"""Find other minima of the likelihood: which parameters can cause them, and a search on the other side of each.

If +1 sigma and -1 sigma of a systematic uncertainty change the counts in the same direction, the counts as a function
of its parameter are folded: +a and -a describe the data about equally well, and -log L can have a minimum on each side.
A minimiser finds the one on its side. `fold_depth` uses the residuals of a fit to find the parameters with such a fold.
`search_across_folds` fits again from the mirror image of each, and repeats this as long as the likelihood improves.

The criterion. Let bin b expect nu_b(a) = nu_b + odd_b a + even_b v(a), with v as in code 4p; a normsys is treated as a
histosys with the same variations at +-1 sigma. Then

    d^2(-log L)/da^2 = 1/sigma^2 + sum_b [ (1 - n_b / nu_b) even_b v''(a)  +  n_b / nu_b^2 (d nu_b / da)^2 ] .

Between two minima there is a maximum, where this is negative. Only the middle term can be negative, and v'' is largest
at a = 0, where it is 15/4 and d nu_b / da = odd_b. So a parameter has a fold if

    15/4 sum_b (n_b / nu_b - 1) even_b  >  1/sigma^2 + sum_b n_b / nu_b^2 odd_b^2 ,

where nu is the expectation of the fit with this parameter set to zero.

Limits of the search. It considers one parameter with the others at their fitted values, so it misses a fold that
appears only when other parameters change as well. Two constants limit the time if nearly every parameter has a fold:
for each fit, the search crosses only the MAX_FOLDS deepest folds, each alone and all together but not every subset; and
it stops after MAX_ROUNDS rounds even if the last one still found a lower minimum. The result is the lowest minimum
found, without a proof that there is no lower one; a mask marks the fits for which one of the two constants applied.
"""

from __future__ import annotations

import numpy as np

from histfactory.interpolation import code4p_weight, powers_of
from histfactory.likelihood import Likelihood, Rows, at_least_two, ratio_or_zero
from histfactory.minimise import CONVERGED, Fit, fit_batch
from histfactory.model import Array, Index, Mask

CURVATURE_AT_ZERO = 15 / 4  # v'' at zero
MAX_FOLDS = 12  # of one fit: only the deepest are crossed
MAX_ROUNDS = 4  # each round starts from the minima of the previous one, so it can cross one more fold
MIN_GAIN = 1e-7  # in log L, relative; a smaller gain means that it is the same minimum
NEAR_ZERO = 0.5  # a parameter this close to zero has no mirror image: +1 and -1 are both tried


def fold_depth(likelihood: Likelihood, rows: Rows, theta: Array) -> Array:
    """By how much each alpha's curvature at zero is negative, (K, R); positive for a fold (see the criterion above)."""
    if likelihood.backend is not None:
        return likelihood.backend.fold_depth(rows, theta)
    k = likelihood.model.n_alpha
    alpha = theta[:k]
    v = code4p_weight(alpha)[0]
    with np.errstate(all="ignore"):
        nu, odd, even = _odd_and_even_parts(likelihood, rows, theta, v)
        without = nu[:, None] - odd * alpha - even * v
        # If the expectation with the parameter at zero is not positive, use that of the fit.
        without = np.where(without > 0, without, nu[:, None])
        n = np.broadcast_to(rows.data[:, None], without.shape)
        ratio = ratio_or_zero(n, without)
        depth = CURVATURE_AT_ZERO * ((ratio - 1) * even).sum(0) - rows.precision[:k]
        depth -= (ratio_or_zero(ratio, without) * odd * odd).sum(0)
    return np.where((rows.free[:k] > 0) & np.isfinite(depth), depth, -1.0)


def _odd_and_even_parts(likelihood: Likelihood, rows: Rows, theta: Array, v: Array) -> tuple[Array, Array, Array]:
    """Expected counts nu (B, R), and odd and even (B, K, R) of the criterion above."""
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


def search_across_folds(likelihood: Likelihood, rows: Rows, initial: Fit) -> tuple[Fit, Mask]:
    """The fit of each row, or a lower one that was found on the other side of a fold.

    The mask (R,) is True if the search was cut short: by MAX_FOLDS, or by MAX_ROUNDS while it still found lower minima.
    """
    fits = initial.take(np.arange(len(initial.value)))
    remaining, cut_short = np.arange(len(fits.value)), np.zeros(len(fits.value), bool)
    if likelihood.model.n_alpha == 0:
        return fits, cut_short
    for _ in range(MAX_ROUNDS):
        padded = remaining[at_least_two(np.arange(len(remaining)))]
        depth = fold_depth(likelihood, rows.take(padded), np.take(fits.theta, padded, 1))[:, : len(remaining)]
        deepest = np.sort(depth, axis=0)[-min(MAX_FOLDS, len(depth)) :]
        alphas, column = np.nonzero((depth > 0) & (depth >= deepest[0]))
        cut_short[remaining[(depth > 0).sum(0) > MAX_FOLDS]] = True
        if not len(alphas):
            break
        starts, origin = _mirror_images(fits.theta, remaining, alphas, column)
        start_rows = rows.take(origin)
        starts = np.where(start_rows.free > 0, np.clip(starts, start_rows.lower, start_rows.upper), starts)
        # Most starts lead back to the known minimum. They are dropped on the way, and `newton` is not used.
        previous = Fit(fits.theta, fits.value, np.full(len(fits.value), CONVERGED))
        new = fit_batch(likelihood, start_rows, starts, len(origin) + origin, previous)
        remaining = keep_lower(likelihood, rows, fits, new, origin)
        if not len(remaining):
            break
    else:
        cut_short[remaining] = True
    return fits, cut_short


def _mirror_images(theta: Array, remaining: Index, alphas: Index, column: Index) -> tuple[Array, Index]:
    """Starts (P, S) on the other side of the folds, and for each start the row of theta (P, R) that it comes from.

    remaining: the rows to start from. alphas, column: the folded parameters, and the position of their row in
    `remaining`.
    """
    current = theta[alphas, remaining[column]]
    near_zero = np.abs(current) < NEAR_ZERO
    # The other side of the fold, or both sides for a parameter near zero.
    target = np.concatenate([np.where(near_zero, 1.0, -current), np.full(near_zero.sum(), -1.0)])
    parameter, origin = (
        np.concatenate([alphas, alphas[near_zero]]),
        remaining[np.concatenate([column, column[near_zero]])],
    )
    # A start that crosses all folds of a row at once: folds that share bins can keep each other on one side.
    several = np.flatnonzero(np.bincount(column, minlength=len(remaining)) > 1)
    together = np.take(theta, remaining[several], 1)
    for i, c in enumerate(several):
        folded = np.flatnonzero(column == c)
        together[alphas[folded], i] = target[folded]
    starts = np.take(theta, origin, 1)
    starts[parameter, np.arange(len(origin))] = target
    return np.hstack([starts, together]), np.concatenate([origin, remaining[several]])


def keep_lower(likelihood: Likelihood, rows: Rows, fits: Fit, new: Fit, origin: Index) -> Index:
    """Replace each fit by the lowest new one that started from it, if that is lower; return the rows replaced."""
    allowed = likelihood.expects_no_negative_counts(rows.take(origin), new.theta)
    value = np.where(new.converged & allowed, new.value, np.inf)
    better = []
    for r in np.unique(origin):
        candidates = np.flatnonzero(origin == r)
        i = candidates[np.argmin(value[candidates])]
        if value[i] < fits.value[r] - MIN_GAIN * max(1.0, abs(fits.value[r])):
            fits.replace(np.array([r]), new.take(np.array([i])))
            better.append(r)
    return np.array(better, np.intp)
