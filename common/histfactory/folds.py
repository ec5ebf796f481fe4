"""Other minima: which parameters can make them, and a search that crosses to them.

Where +1 sigma and -1 sigma of a systematic move the counts the same way (both up, or both down), the counts as a
function of that parameter are folded: +a and -a explain the data about as well, and log L can have a minimum on each
side. A minimiser ends in the one on its side. `bent` tells from the residuals of a fit which parameters have such a
fold; `crossed` starts again from the mirror image of each, and once more from what that found, as long as the
likelihood gets better.

The rule. Let bin b expect nu_b(a) = nu_b + odd_b a + even_b v(a), with v as in code 4p; a normsys is taken for a
histosys with the same +-1 sigma. Then

    d^2(-log L)/da^2 = 1/sigma^2 + sum_b [ (1 - n_b / nu_b) even_b v''(a)  +  n_b / nu_b^2 (d nu_b / da)^2 ] .

Two minima have a maximum between them, where this is negative. Only the middle term can be negative, and v'' is
largest at a = 0, where it is 15/4 and d nu_b / da = odd_b. So `bent` asks for

    15/4 sum_b (n_b / nu_b - 1) even_b  >  1/sigma^2 + sum_b n_b / nu_b^2 odd_b^2 ,

nu being what the fit expects with this one parameter put to zero.

What this does not do. It looks along one axis with the others as fitted: a fold that shows only when other parameters
move too is not seen. And it has two fixed limits, so that the time stays bounded where nearly every parameter is
folded: of one fit the MOST most bent parameters are crossed, each alone and all of them together, not every subset of
them; and after ROUNDS rounds it stops even if the last one still found something lower. So what it returns is the
lowest minimum that it met, with no proof that there is no lower one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from likelihood import Likelihood, Rows, code4p_weight, powers_of
from model import Array
from numpy.typing import NDArray

if TYPE_CHECKING:
    from inference import Fit

BEND = 15 / 4  # v'' at zero
MOST = 12  # parameters tried for a fit: the most bent
ROUNDS = 4  # a mirror image of a mirror image ...: two folds that must be crossed together are found one by one
GAIN = 1e-7  # in log L: less is the same minimum
NEAR = 0.5  # a parameter this close to zero has no other side: both +1 and -1 are tried


def bent(likelihood: Likelihood, rows: Rows, theta: Array) -> Array:
    """How far each alpha's curvature at zero is below zero, (K, R): above 0 where there is a fold (the rule above)."""
    model, n_rows = likelihood.model, theta.shape[1]
    k, b = model.n_alpha, model.data.shape[1]
    alpha = theta[:k]
    v = code4p_weight(alpha)[0]
    nu, even, odd = np.zeros((b, n_rows)), np.zeros((b * k, n_rows)), np.zeros((b * k, n_rows))
    with np.errstate(all="ignore"):
        for side in likelihood.sides:
            block = side.block
            f, factor, rate = side.rates(rows, theta, powers_of(alpha), v, 0)
            side.bins.add(rate, nu)
            if len(block.pair_alpha):
                meets = np.take(rate, side.pb_cell, 0) / np.take(f[0], side.pb_pair, 0)
                high, low = (rows.high, rows.low) if side.own else (block.hi[:, None], block.lo[:, None])
                side.pair_jacobian.add(meets * np.take(0.5 * (high + low) - 1, side.pb_pair, 0), even)
                side.pair_jacobian.add(meets * np.take(0.5 * (high - low), side.pb_pair, 0), odd)
            if len(block.hist_cell):
                here = np.take(factor, block.hist_cell, 0)
                symmetric, asymmetric = (
                    (rows.symmetric, rows.asymmetric)
                    if side.own
                    else (block.symmetric[:, None], block.asymmetric[:, None])
                )
                side.hist_sum.add(here * symmetric, odd)
                side.hist_sum.add(here * asymmetric, even)
        even, odd = even.reshape(b, k, n_rows), odd.reshape(b, k, n_rows)
        without = nu[:, None] - odd * alpha - even * v
        # Where putting the parameter to zero leaves nothing, what the fit expects has to do.
        without = np.where(without > 0, without, nu[:, None])
        pull = np.where(rows.data[:, None] > 0, rows.data[:, None] / without - 1, -1.0)
        score = BEND * (pull * even).sum(0) - rows.precision[:k]
        score -= ((pull + 1) / without * odd * odd).sum(0)
    return np.where((rows.free[:k] > 0) & np.isfinite(score), score, -1.0)


def sane(likelihood: Likelihood, rows: Rows, theta: Array) -> NDArray[np.bool_]:
    """Rows with no expected count below zero.

    Where nothing was observed, log L = -nu also for nu < 0 (in pyhf's formula too): a minimiser may run off there.
    """
    with np.errstate(all="ignore"):
        return (likelihood.expected(rows, theta) >= 0).all(0)


def crossed(
    likelihood: Likelihood,
    rows: Rows,
    theta: Array,
    value: Array,
    fit: Callable[[Rows, Array, NDArray[np.intp], Array, Array], Fit],
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Lower minima of rows from theta (P, R), value (R,): theta, value, and where something lower was found.

    `fit(rows, starts, origin, theta, value)` minimises from the starts; origin says which of theta and value each start
    mirrors, so that those that lead back there can be dropped.
    """
    theta, value = theta.copy(), value.copy()
    found, todo = np.zeros(len(value), bool), np.arange(len(value))
    if likelihood.model.n_alpha == 0:
        return theta, value, found
    for _ in range(ROUNDS):
        two = todo[two_rows(len(todo))]
        score = bent(likelihood, rows.take(two), np.take(theta, two, 1))[:, : len(todo)]
        some = np.sort(score, axis=0)[-min(MOST, len(score)) :]
        alphas, column = np.nonzero((score > 0) & (score >= some[0]))
        if not len(alphas):
            break
        now = theta[alphas, todo[column]]
        small = np.abs(now) < NEAR
        # The other side; of a parameter near zero both sides.
        target = np.concatenate([np.where(small, 1.0, -now), np.full(small.sum(), -1.0)])
        parameter, origin = np.concatenate([alphas, alphas[small]]), todo[np.concatenate([column, column[small]])]
        # And all of them at once: folds that share bins hold each other on their sides.
        several = np.flatnonzero(np.bincount(column, minlength=len(todo)) > 1)
        together = np.take(theta, todo[several], 1)
        for i, c in enumerate(several):
            mine = np.flatnonzero(column == c)
            together[alphas[mine], i] = target[mine]
        starts = np.take(theta, origin, 1)
        starts[parameter, np.arange(len(origin))] = target
        starts, origin = np.hstack([starts, together]), np.concatenate([origin, todo[several]])
        those = rows.take(origin)
        starts = np.where(those.free > 0, np.clip(starts, those.lower, those.upper), starts)
        new = fit(those, starts, origin, theta, value)
        two = two_rows(len(origin))
        usable = new.converged & sane(likelihood, those.take(two), np.take(new.theta, two, 1))[: len(origin)]
        level = np.where(usable, new.value, np.inf)
        better = []
        for r in np.unique(origin):
            mine = np.flatnonzero(origin == r)
            i = mine[np.argmin(level[mine])]
            if level[i] < value[r] - GAIN * max(1.0, abs(value[r])):
                theta[:, r], value[r], found[r] = new.theta[:, i], level[i], True
                better.append(r)
        todo = np.array(better, np.intp)
        if not len(todo):
            break
    return theta, value, found


def two_rows(n: int) -> NDArray[np.intp]:
    """The rows, two at least: see `likelihood` on the order of sums."""
    return np.arange(n) if n > 1 else np.zeros(2, np.intp)
