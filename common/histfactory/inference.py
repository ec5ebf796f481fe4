"""Asymptotic CLs of many hypotheses at once: profile likelihood fits, q-tilde, and the two p-values of CLs.

`limits` contains the formulas for CLs, and finds the mu at which CLs reaches a level.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from histfactory.folds import search_across_folds
from histfactory.likelihood import TINY, Likelihood, Rows, saturated_log_likelihood
from histfactory.limits import Fits, asymptotic_cls, q_tilde, tail_arguments, upper_limits
from histfactory.minimise import REASONS, Fit, fit
from histfactory.model import Array, Index, Mask, Model
from histfactory.starts import asimov_rows, background_start, lowest_from, null_fit, other_minima, restart, with_mu

NUMBERS_PER_CHUNK = 480_000  # rows times numbers per row: the arrays fit the cache, and memory stays constant


@dataclass
class Limits:
    """CLs of H hypotheses at one signal strength mu, and the quantities that they were computed from."""

    cls_obs: Array  # (H,)
    cls_exp: Array  # (H, 5) at -2, -1, 0, 1, 2 standard deviations of the background-only data
    converged: Mask  # (H,)
    mu_hat: Array  # (H,)
    q: Array  # (H,) q-tilde of the data
    q_asimov: Array  # (H,) q-tilde of the Asimov data
    nll: Array  # (H, 3) -log L + log L(saturated) at mu = 0, at the tested mu, and at mu_hat
    reason: NDArray[np.object_]  # (H,) texts: which fits did not converge, and why; empty if all did
    several: Mask  # (H,) whether the fits have several minima, and it is uncertain that the lowest was found
    upper_limit: Array  # (H, 6) on mu: observed, then expected as in cls_exp; NaN if not requested or not found

    def p_values(self) -> tuple[Array, Array]:
        """The two p-values of CLs = p_signal / (1 - p_background), (H, 6) each.

        The columns are observed, then expected at -2..+2 sigma. p_signal: the probability, under the signal hypothesis,
        of data at least as background-like. p_background: the probability, under the background hypothesis, of data at
        least as signal-like.
        """
        x, y = tail_arguments(self.q, self.q_asimov)
        return ndtr(-x), ndtr(y)


class Scan:
    """The fits of a model's hypotheses. It can be pickled, so that other processes can fit chunks of it.

    backend: "jax" fits on a GPU (`on_jax`), and cannot be pickled. Raises HistFactoryError if JAX is not installed.
    """

    def __init__(self, model: Model, backend: Literal["numpy", "jax"] = "numpy") -> None:
        self.model, device = model, None
        if backend == "jax":
            from histfactory.on_jax import device_of

            device = device_of(model)
        self.likelihood = Likelihood(model)
        self.start = background_start(self.likelihood)  # (P,) the start of every hypothesis
        self.others = other_minima(self.likelihood, self.start, chunk_size(model))  # (P, M) further starts
        self.likelihood.backend = device  # after the few fits above: NumPy has done them before JAX has compiled

    def chunks(self, hypotheses: Sequence[int] | None = None) -> Iterator[Index]:
        """The given hypotheses (default: all) in chunks whose arrays fit the processor's caches.

        With NumPy, the results are identical, to the last bit, for every division into chunks.
        """
        selected = np.arange(len(self.model.names)) if hypotheses is None else np.array(hypotheses, np.intp)
        backend = self.likelihood.backend
        size = chunk_size(self.model) if backend is None else backend.chunk_size
        for i in range(0, len(selected), size):
            yield selected[i : i + size]

    def limits(
        self, mu: float = 1.0, hypotheses: Sequence[int] | None = None, upper_limit_level: float | None = None
    ) -> Limits:
        """CLs of the given hypotheses (default: all) at signal strength mu, in their order.

        upper_limit_level: also find the signal strengths at which CLs has this value, such as 0.05.
        `Limits.converged` is False for fits that did not converge; their numbers mean nothing.
        """
        parts = [
            limits_of_chunk(self.likelihood, chunk, mu, self.start, self.others, upper_limit_level)
            for chunk in self.chunks(hypotheses)
        ]
        return Limits(*(np.concatenate([vars(part)[name] for part in parts]) for name in Limits.__dataclass_fields__))


def chunk_size(model: Model) -> int:
    """The number of hypotheses in a chunk; it depends only on the size of the model."""
    return int(np.clip(NUMBERS_PER_CHUNK // numbers_of_hypothesis(model), 8, 256))


def numbers_of_hypothesis(model: Model) -> int:
    """About how many numbers the arrays of one hypothesis contain while it is fitted."""
    pairs = len(model.shared.pair_alpha) + len(model.own.pair_alpha) * 8
    return pairs + len(model.shared.cell_bin) + len(model.parameters) + model.data.shape[1] * model.n_shared


@np.errstate(all="ignore")  # a fit that fails gets a reason instead
def limits_of_chunk(
    likelihood: Likelihood,
    hypotheses: Index,
    mu: float,
    start: Array,
    others: Array,
    upper_limit_level: float | None = None,
) -> Limits:
    """The limits of some hypotheses from four fits each: mu = 0, the tested mu, free mu, and the tested mu on Asimov data."""
    model = likelihood.model
    mu_free = likelihood.rows(hypotheses)
    mu_fixed = mu_free.take(np.arange(len(hypotheses)))
    mu_fixed.free[model.poi] = 0
    init = np.ascontiguousarray(model.init[hypotheses].T)
    null, several = null_fit(likelihood, hypotheses, start, others)
    asimov = asimov_rows(likelihood, mu_fixed, null.theta)
    (tested, tested_asimov, best), also = _fits_at_mu(likelihood, mu_fixed, asimov, mu_free, null, init, mu, others)
    lower = null.value < best.value  # mu_hat is at its bound
    best.replace(lower, null.take(np.flatnonzero(lower)))

    q, q_asimov = q_tilde(tested.value, best.value, mu, best.theta[model.poi]), np.maximum(2 * tested_asimov.value, 0.0)
    observed, expected = asymptotic_cls(q, q_asimov)
    no_signal = ~model.has_signal[hypotheses]
    observed[no_signal], expected[no_signal] = 1.0, 1.0
    names = "mu = 0", f"mu = {mu:g}", "free mu", f"mu = {mu:g} to the Asimov data"
    rows = mu_fixed, mu_fixed, mu_free, asimov
    reason = _reasons(likelihood, names, rows, (null, tested, best, tested_asimov))
    reason[(reason == "") & ~(np.isfinite(observed) & np.isfinite(expected).all(1))] = "CLs is not a number"
    upper = np.full((len(hypotheses), 6), np.nan)
    if upper_limit_level is not None:
        good = np.flatnonzero((reason == "") & ~no_signal)
        fits = Fits(*(fits.take(good) for fits in (null, tested, best, tested_asimov)))
        upper[good] = upper_limits(
            likelihood, mu_fixed.take(good), asimov.take(good), fits, mu, upper_limit_level, others
        )
    return Limits(
        cls_obs=observed,
        cls_exp=expected,
        converged=reason == "",
        mu_hat=np.where(np.abs(best.theta[model.poi]) <= TINY, 0.0, best.theta[model.poi]),
        q=q,
        q_asimov=q_asimov,
        nll=np.stack([null.value, tested.value, best.value], 1),
        reason=reason,
        several=several | also,
        upper_limit=upper,
    )


def _reasons(
    likelihood: Likelihood, names: Sequence[str], rows: Sequence[Rows], fits: Sequence[Fit]
) -> NDArray[np.object_]:
    """Which of the named fits of each hypothesis did not converge, and why (H,)."""
    reason = np.full(len(fits[0].value), "", object)
    for name, some_rows, some_fits in zip(names, rows, fits, strict=True):
        allowed = likelihood.expects_no_negative_counts(some_rows, some_fits.theta)
        for i in np.flatnonzero(~(some_fits.converged & allowed)):
            why = REASONS.get(int(some_fits.status[i]), "")
            if not np.isfinite(some_fits.value[i]):
                why = "log L is not finite where it starts"
            elif some_fits.converged[i]:
                two = np.array([i, i])
                expected = likelihood.expected(some_rows.take(two), np.take(some_fits.theta, two, 1))[:, 0]
                b = int(expected.argmin())
                why = f"at its minimum the bin {likelihood.model.bins[b]} expects {expected[b]:.3g} events"
            reason[i] = "; ".join([*filter(None, [reason[i]]), f"the fit at {name}: {why}"])
    return reason


def _fits_at_mu(
    likelihood: Likelihood,
    mu_fixed: Rows,
    asimov: Rows,
    mu_free: Rows,
    null: Fit,
    init: Array,
    mu: float,
    others: Array,
) -> tuple[tuple[Fit, Fit, Fit], Mask]:
    """The fits at mu to the data and to the Asimov data, and the fit with mu free, in one batch.

    Each starts from the background-only fit; those at mu also start from the initial values. The mask (R,) is True if
    one of them found several minima, or if the search for others was cut short.
    """
    model, n = likelihood.model, init.shape[1]
    from_init, from_null, i = with_mu(model, init, mu), with_mu(model, null.theta, mu), np.arange(n)
    all_rows = Rows.join([mu_fixed, mu_fixed, asimov, asimov, mu_free])
    no_rival = np.full(n, -1)
    rival = np.concatenate([no_rival, i, no_rival, 2 * n + i, no_rival])
    fits = fit(likelihood, all_rows, np.hstack([from_null, from_init, from_null, from_init, null.theta]), rival)
    allowed = likelihood.expects_no_negative_counts(all_rows, fits.theta)
    lowest = fits.lowest([np.r_[i, 2 * n + i, 4 * n + i], np.r_[n + i, 3 * n + i, 4 * n + i]], allowed)
    three_rows = Rows.join([mu_fixed, asimov, mu_free])
    lowest, cut_short = search_across_folds(likelihood, three_rows, lowest)
    lowest, several = lowest_from(likelihood, three_rows, lowest, others)
    several = np.logical_or.reduce(np.logical_or(several, cut_short).reshape(3, n))
    lowest = restart(likelihood, three_rows, lowest, np.tile(several, 3))
    tested, tested_asimov, best = (lowest.take(part * n + i) for part in range(3))
    # If the result of one fit has a lower value in another fit than that fit's own result, start again from it.
    tested = _improve(likelihood, mu_fixed, tested, with_mu(model, best.theta, mu))
    tested_asimov = _improve(likelihood, asimov, tested_asimov, tested.theta)
    best = _improve(likelihood, mu_free, best, tested.theta)
    return (tested, tested_asimov, best), several


def _improve(likelihood: Likelihood, rows: Rows, current: Fit, theta: Array) -> Fit:
    """The fit, repeated from theta (P, R) for the rows whose value is lower there; `current` is changed in place."""
    n = theta.shape[1]
    theta = likelihood.avoid_zero(theta.copy())
    with np.errstate(all="ignore"):
        two_rows, two_thetas = (rows, theta) if n > 1 else (rows.take(np.zeros(2, np.intp)), np.repeat(theta, 2, 1))
        value = likelihood.value(two_rows, two_thetas, likelihood.expected(two_rows, two_thetas))[:n]
    i = np.flatnonzero(value < current.value)
    if len(i):
        refit = fit(likelihood, rows.take(i), np.take(theta, i, 1))
        current.replace(i, refit)
    return current


def minima(model: Model, limits: Limits, hypothesis: int) -> Array:
    """-log L (3,) at mu = 0, at the tested mu and at the best mu, with all constants, as in pyhf's `logpdf`."""
    return limits.nll[hypothesis] - saturated_log_likelihood(model, hypothesis)
