"""Upper limits: the signal strengths mu at which CLs reaches a level, observed and expected, for many hypotheses.

Each limit is the root of a function of mu that is nearly a straight line, w(mu) = -Phi^-1(CLs(mu) / 2): if the data are
those expected without a signal, w = sqrt(q_A) = mu / sigma. Secant steps inside a bracket find it in about three
evaluations. An evaluation fits the Asimov data, and for the observed limit also the data, at the current mu.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from histfactory.likelihood import Likelihood, Rows
from histfactory.limits.asymptotics import N_SIGMA, asymptotic_cls, q_tilde
from histfactory.minimise import Fit, fit
from histfactory.model import Array, Index
from histfactory.starts import lowest_from

TOLERANCE = 1e-4  # of a limit, relative: the last secant step is at most this long
MAX_EVALUATIONS = 40
MAX_GROWTH = 4.0  # of mu in one step, while no larger mu with CLs below the level is known
SMALLEST_CLS = 1e-300


@dataclass
class Fits:
    """The four fits that CLs of each hypothesis is computed from."""

    null: Fit  # mu = 0
    tested: Fit  # at the tested mu
    best: Fit  # mu free
    tested_asimov: Fit  # at the tested mu, to the Asimov data


class _Searches:
    """The searches for the roots: one for each hypothesis and each of its six curves, in this order."""

    def __init__(self, guess: Array, upper: Array) -> None:
        n = len(guess)
        self.hypothesis, self.curve = np.repeat(np.arange(n), 6), np.tile(np.arange(6), n)
        self.mu, self.upper = np.minimum(guess.ravel(), np.repeat(upper, 6)), np.repeat(upper, 6)
        self.root = np.full(6 * n, np.nan)
        self.active = np.isfinite(self.mu) & (self.mu > 0)
        self.low, self.high = np.zeros(6 * n), np.full(6 * n, np.inf)  # the bracket
        self.previous_mu, self.previous_w = np.zeros(6 * n), np.zeros(6 * n)  # CLs is 1 at mu = 0

    def update(self, i: Index, w: Array, target: float) -> None:
        """Choose the next mu of the searches i from w at the current one, or end them."""
        mu = self.mu[i]
        below = w < target
        self.low[i], self.high[i] = np.where(below, mu, self.low[i]), np.where(below, self.high[i], mu)
        low, high = self.low[i], self.high[i]
        with np.errstate(all="ignore"):
            new = mu + (target - w) * (mu - self.previous_mu[i]) / (w - self.previous_w[i])
            bracketed = np.isfinite(high)
            middle = np.where(bracketed, 0.5 * (low + high), MAX_GROWTH * low)
            new = np.where((new > low) & (new < high), new, middle)
            new = np.where(bracketed, new, np.minimum(new, MAX_GROWTH * low))
        new = np.minimum(new, self.upper[i])
        without_limit = ~np.isfinite(w) | (below & (mu >= self.upper[i]))
        found = ~without_limit & (np.abs(new - mu) <= TOLERANCE * new)
        self.root[i[found]] = new[found]
        self.active[i[found | without_limit]] = False
        self.previous_mu[i], self.previous_w[i], self.mu[i] = mu, w, new


def upper_limits(
    likelihood: Likelihood, rows: Rows, asimov: Rows, fits: Fits, mu: float, level: float, others: Array
) -> Array:
    """The upper limits on mu of R hypotheses, (R, 6): observed, then expected at -2..+2 sigma.

    rows, asimov: with the data and with the Asimov data, mu fixed. fits: at the signal strength mu, where the search
    starts. others: as in `lowest_from`. A limit is NaN if CLs is above the level up to the upper bound of mu, or if a
    fit does not converge.
    """
    poi, n = likelihood.model.poi, len(fits.null.value)
    if n == 0:
        return np.empty((0, 6))
    target = float(-ndtri(level / 2))
    searches = _Searches(_guess(fits, poi, mu, level), rows.upper[poi])
    theta = np.repeat(fits.tested.theta, 6, 1), np.repeat(fits.tested_asimov.theta, 6, 1)
    for _ in range(MAX_EVALUATIONS):
        i = np.flatnonzero(searches.active)
        if not len(i):
            break
        h, observed = searches.hypothesis[i], i[searches.curve[i] == 0]
        h_observed = searches.hypothesis[observed]
        starts = np.hstack([np.take(theta[1], i, 1), np.take(theta[0], observed, 1)])
        other_starts = np.take(fits.null.theta, np.r_[h, h_observed], 1)
        starts[poi] = other_starts[poi] = np.r_[searches.mu[i], searches.mu[observed]]
        both_rows = Rows.join([asimov.take(h), rows.take(h_observed)])
        lowest = fit_from_both(likelihood, both_rows, starts, other_starts)
        lowest = lowest_from(likelihood, both_rows, lowest, others)[0]
        theta[1][:, i], theta[0][:, observed] = lowest.theta[:, : len(i)], lowest.theta[:, len(i) :]
        q_asimov, q = np.maximum(2 * lowest.value[: len(i)], 0.0), np.zeros(len(i))
        is_observed = searches.curve[i] == 0
        best = fits.best.take(h_observed)
        q[is_observed] = q_tilde(lowest.value[len(i) :], best.value, searches.mu[observed], best.theta[poi])
        cls = np.column_stack(asymptotic_cls(q, q_asimov))[np.arange(len(i)), searches.curve[i]]
        converged = lowest.converged[: len(i)].copy()
        converged[is_observed] &= lowest.converged[len(i) :]
        searches.update(i, np.where(converged, -ndtri(np.clip(cls, SMALLEST_CLS, 1.0) / 2), np.nan), target)
    return searches.root.reshape(n, 6)


def fit_from_both(likelihood: Likelihood, rows: Rows, start: Array, other_start: Array) -> Fit:
    """The lower of the fits of each row from two starts (P, R)."""
    n = start.shape[1]
    i = np.arange(n)
    fits = fit(likelihood, Rows.join([rows, rows]), np.hstack([start, other_start]), np.r_[np.full(n, -1), i])
    return fits.lowest([i, n + i], np.ones(2 * n, bool))


def _guess(fits: Fits, poi: int, mu: float, level: float) -> Array:
    """The limits (R, 6) if q were a parabola (arXiv:1007.1727, eqs. 88 and 89, for CLs)."""
    with np.errstate(divide="ignore"):
        sigma = mu / np.sqrt(np.maximum(2 * fits.tested_asimov.value, 0.0))
    mu_hat = np.maximum(fits.best.theta[poi], 0.0)
    observed = mu_hat - sigma * ndtri(level * ndtr(mu_hat / sigma))
    expected = sigma[:, None] * (N_SIGMA - ndtri(level * ndtr(N_SIGMA)))
    return np.column_stack([observed, expected])
