"""Other minima: which parameters can make them, and a search that crosses to them.

Where +1 sigma and -1 sigma of a systematic move the counts the same way (both up, or both down), the counts as a
function of that parameter are folded: +a and -a explain the data about as well, and log L has a minimum on each side.
A minimiser ends in the one on its side. `folded` finds such parameters from the templates alone; `crossed` starts again
from the mirror image of each, and once more from what that found, as long as the likelihood gets better.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from likelihood import Likelihood, Rows
from model import Array
from numpy.typing import NDArray

# A fold counts when it moves the counts by more than their statistical error: below it, the parabola of the
# constraint (and of the odd part) outweighs what the residuals of a sane fit can bend.
STRENGTH = 1.0
SHARE = 0.75  # of the odd part: where that is the larger by far, the counts rise or fall from one side to the other
MOST = 12  # parameters tried: the strongest
ROUNDS = 4  # a mirror image of a mirror image ...: two folds that must be crossed together are found one by one
GAIN = 1e-7  # in log L: less is the same minimum
NEAR = 0.5  # a parameter this close to zero has no other side: both +1 and -1 are tried


def folded(likelihood: Likelihood) -> NDArray[np.intp]:
    """The alphas with a fold in any hypothesis, the strongest first.

    The strength is sqrt(sum_b e_b^2 / nu_b) with e_b the mean of what +1 and -1 sigma add to bin b, at the start values.
    """
    model = likelihood.model
    k, b, n_hypotheses = model.n_alpha, model.data.shape[1], len(model.names)
    one = np.concatenate([model.init, np.ones((n_hypotheses, 1))], 1)
    nu = np.zeros((b, n_hypotheses))
    even, odd = np.zeros((b * k, n_hypotheses)), np.zeros((b * k, n_hypotheses))
    for side in likelihood.sides:
        block = side.block
        factor = np.ones((n_hypotheses, side.n_cells))
        for rank in block.factors:
            factor *= one[:, rank]
        rate = factor * block.nominal
        nu += side.bins @ rate.T
        meets = rate[:, side.pb_cell]
        even += side.pair_jacobian @ (meets * (0.5 * (block.hi + block.lo) - 1)[..., side.pb_pair]).T
        odd += side.pair_jacobian @ (meets * (0.5 * (block.hi - block.lo))[..., side.pb_pair]).T
        if side.own and len(block.hist_cell):
            here = factor[:, block.hist_cell]
            even += side.hist_jacobian @ (here * block.asymmetric).T
            odd += side.hist_jacobian @ (here * block.symmetric).T
        elif len(block.hist_cell):
            even += side.jacobian_asymmetric @ factor.T
            odd += side.jacobian_symmetric @ factor.T
    even, odd = (
        np.sqrt((x.reshape(b, k, n_hypotheses) ** 2 / np.maximum(nu, 0.5)[:, None]).sum(0)) for x in (even, odd)
    )
    strength = np.where(even > SHARE * odd, even, 0.0).max(1, initial=0.0)
    strength[model.fixed[:, :k].all(0)] = 0
    order = np.argsort(-strength, kind="stable")
    return order[strength[order] > STRENGTH][:MOST]


def sane(likelihood: Likelihood, rows: Rows, theta: Array) -> NDArray[np.bool_]:
    """Rows with no expected count below zero.

    Where nothing was observed, log L = -nu also for nu < 0 (in pyhf's formula too): a minimiser may run off there.
    """
    with np.errstate(all="ignore"):
        return (likelihood.expected(rows, theta) >= 0).all(0)


def crossed(
    likelihood: Likelihood, rows: Rows, theta: Array, value: Array, alphas: NDArray[np.intp],
    fit: Callable[[Rows, Array], tuple[Array, Array, NDArray[np.bool_]]],
) -> tuple[Array, Array, NDArray[np.bool_]]:  # fmt: skip
    """Lower minima of rows from theta (P, R), value (R,): theta, value, and where something lower was found.

    `fit(rows, starts)` returns theta, value and convergence.
    """
    theta, value = theta.copy(), value.copy()
    found, todo = np.zeros(len(value), bool), np.arange(len(value))
    for _ in range(ROUNDS):
        if not len(alphas) or not len(todo):
            break
        signs = np.repeat([1.0, -1.0], len(alphas))[:, None]
        alpha = theta[np.tile(alphas, 2)][:, todo]  # (2 alphas, rows to do)
        small = np.abs(alpha) < NEAR
        target = np.where(small, signs, -alpha)
        which, column = np.nonzero((small | (signs > 0)) & (rows.free[np.tile(alphas, 2)][:, todo] > 0))
        if not len(which):
            break
        origin, parameter = todo[column], np.tile(alphas, 2)[which]
        starts, some = np.take(theta, origin, 1), rows.take(origin)
        starts[parameter, np.arange(len(which))] = target[which, column]
        starts = np.where(some.free > 0, np.clip(starts, some.lower, some.upper), starts)
        there, level, converged = fit(some, starts)
        level = np.where(
            converged & sane(likelihood, some.take(_two(len(level))), _pair(there))[: len(level)], level, np.inf
        )
        better = []
        for r in todo:
            mine = np.flatnonzero(origin == r)
            if len(mine) and level[i := mine[np.argmin(level[mine])]] < value[r] - GAIN * max(1.0, abs(value[r])):
                theta[:, r], value[r], found[r] = there[:, i], level[i], True
                better.append(r)
        todo = np.array(better, np.intp)
    return theta, value, found


def _two(n: int) -> NDArray[np.intp]:
    """Two columns at least: see `likelihood` on the order of sums."""
    return np.arange(n) if n > 1 else np.zeros(2, np.intp)


def _pair(theta: Array) -> Array:
    return theta if theta.shape[1] > 1 else np.repeat(theta, 2, 1)
