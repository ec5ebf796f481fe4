"""Where the fits start, and the search for other minima than those that they find.

All fits of a hypothesis build on the background-only fit, and each can end in a minimum that is not the lowest: a
parameter that explains an excess takes the place of the signal, a normalisation goes to zero while others rise. Such
minima belong to the background model, so they are nearly the same for all its hypotheses. `other_minima` searches for
them once for each model, with a few random starts of the fits of some hypotheses. If it finds any, every fit of every
hypothesis is repeated from each (`lowest_from`), unless -log L rises on the way there as it would around a single
minimum. Every fit is also repeated from the starts of `small_samples`, if the model has such samples. If a hypothesis
turns out to have several minima, or more folds than `folds.py` crosses, its fits are repeated from random starts
(`restart`). A model with a single minimum thus costs only the few starts of `other_minima`.

The result is the lowest minimum found, without a proof that there is no lower one. `Limits.several` marks hypotheses
for which this search found several; `benchmarks/minima.py` measures how often a lower one exists all the same.
"""

from __future__ import annotations

import numpy as np

from histfactory.folds import keep_lower, search_across_folds
from histfactory.likelihood import Likelihood, Rows, at_least_two
from histfactory.minimise import HIGHER, TOO_MANY_STEPS, Fit, finish_with_newton, fit, fit_batch
from histfactory.model import Array, Index, Mask, Model
from histfactory.small_samples import starts_of_growth

START_DISTANCE = 8.0  # expected squared distance of a random start, in standard deviations of the alphas
QUANTILES = (0.5, 0.9, 1.0)  # hypotheses whose fits are explored, by the strength of their signal
RANDOM_STARTS = 4  # of each of their fits
RESTARTS = 8  # of the fits of a hypothesis that has several minima
PROMISING, MAY_FALL = 4, 5.0  # starts of each fit that `newton` continues, and how far above the minimum they may be
MOST_FACTORS = 6  # normalisations that start at their lower bound
MOST_MINIMA = 8
DISTINCT = 1e-3  # in log L: minima that differ by less are the same, or do not matter
WORST = 10.0  # in log L: higher minima are not worth a start
SMALL_CHANGE = 0.2  # of a parameter
BETWEEN = (0.4, 0.6, 0.8)  # where a barrier is looked for
BARRIER = 1.4  # in a parabola, -log L at the end is 1 / 0.8^2 = 1.56 times as high as in between
NEAR = 0.05  # in every parameter: a small sample changes a hundredfold if twenty parameters change by 0.2
APART = 0.5  # in some parameter: starts that are closer lead to the same minimum


@np.errstate(all="ignore")
def background_start(likelihood: Likelihood) -> Array:
    """The best background-only parameters (P,) of the model's first hypothesis, a start for the fits of all hypotheses.

    All other fits build on this one, and there are local minima, so it is the best of eight starts. The seven random
    ones have a distance of a few standard deviations from the first, however many parameters there are: if each of a
    hundred parameters changed by one standard deviation, the counts would be wrong by orders of magnitude. Starts that
    cannot win are dropped on the way.
    """
    model = likelihood.model
    rows = likelihood.rows(np.zeros(8, np.intp))
    theta = np.repeat(model.init[:1].T, 8, 1)
    width = min(1.0, np.sqrt(START_DISTANCE / max(model.n_alpha, 1)))
    spread = np.where(np.arange(len(theta)) < model.n_alpha, width, 0.1 * width)[:, None] * rows.free
    theta[:, 1:] += spread[:, 1:] * np.random.default_rng(0).normal(size=(len(theta), 7))
    theta = np.where(rows.free > 0, np.clip(theta, rows.lower, rows.upper), theta)
    theta[model.poi] = 0
    rows.free[model.poi] = 0
    result = fit_batch(likelihood, rows, theta, np.array([-1] + [0] * 7))
    value = np.where(likelihood.expects_no_negative_counts(rows, result.theta), result.value, np.inf)
    best = int(np.argmin(value))
    if not np.isfinite(value[best]):
        best = 0
    if not result.converged[best]:
        finish_with_newton(likelihood, rows, result, best)
    return result.theta[:, best]


def null_fit(likelihood: Likelihood, hypotheses: Index, start: Array, others: Array) -> tuple[Fit, Mask]:
    """The background-only fit of each hypothesis from start (P,), and from `others` as in `lowest_from`.

    The mask (R,) is True if it is uncertain that this minimum is the lowest.
    """
    model = likelihood.model
    rows = likelihood.rows(hypotheses)
    rows.free[model.poi] = 0
    initial = np.where(model.fixed[hypotheses].T, model.init[hypotheses].T, start[:, None])
    fits, cut_short = search_across_folds(likelihood, rows, fit(likelihood, rows, with_mu(model, initial, 0.0)))
    fits, several = lowest_from(likelihood, rows, fits, others)
    return fits, several | cut_short


def with_mu(model: Model, theta: Array, mu: float) -> Array:
    """A copy of theta (P, R) with the parameter of interest at mu."""
    theta = theta.copy()
    theta[model.poi] = mu
    return theta


def asimov_rows(likelihood: Likelihood, mu_fixed: Rows, theta: Array) -> Rows:
    """Rows with the Asimov data: the counts and auxiliary data expected at theta (P, R), the background-only fit."""
    n = theta.shape[1]
    asimov, theta = mu_fixed.take(np.arange(n)), likelihood.avoid_zero(theta.copy())
    padded = at_least_two(np.arange(n))
    with np.errstate(all="ignore"):
        expected = likelihood.expected(mu_fixed.take(padded), np.take(theta, padded, 1))[:, :n]
        asimov.data = np.maximum(expected, 0.0)
    asimov.auxdata = np.where(asimov.tau > 0, asimov.tau * theta, theta)
    return asimov


def other_minima(likelihood: Likelihood, start: Array, n_rows: int) -> Array:
    """Parameters (P, M) at other minima than those that the fits find from start (P,); M is 0 for most models.

    They come from random starts of the fits of a few hypotheses: see the description of this module. n_rows: fits at
    once; the result does not depend on it.
    """
    model, rng = likelihood.model, np.random.default_rng(0)
    order = np.argsort(_strength(model), kind="stable")
    hypotheses = order[np.unique((np.array(QUANTILES) * (len(order) - 1)).round().astype(int))]
    mu_free = likelihood.rows(hypotheses)
    mu_fixed = mu_free.take(np.arange(len(hypotheses)))
    mu_fixed.free[model.poi] = 0
    null = null_fit(likelihood, hypotheses, start, np.empty((len(start), 0)))[0]
    asimov, at_1 = asimov_rows(likelihood, mu_fixed, null.theta), with_mu(model, null.theta, 1.0)
    first = np.zeros(1, np.intp)  # without a signal, one hypothesis is enough
    problems = (mu_fixed.take(first), null.theta[:, :1]), (mu_fixed, at_1), (mu_free, null.theta), (asimov, at_1)
    minima: list[tuple[float, Array]] = []  # -log L above that of the usual fit, and the change of the parameters
    for rows, usual_start in problems:
        usual = fit(likelihood, rows, usual_start)
        starts, origin = _exploring_starts(model, rows, usual.theta, rng)
        many_rows, known = rows.take(origin), usual.take(origin)
        fits = _fit_in_parts(likelihood, many_rows, starts, known, n_rows)
        difference = fits.value - known.value
        ended = fits.converged | (fits.status == HIGHER)
        good = ended & likelihood.expects_no_negative_counts(many_rows, fits.theta)
        for i in np.flatnonzero(good & (np.abs(difference) > DISTINCT) & (difference < WORST)):
            minima.append((float(difference[i]), fits.theta[:, i] - known.theta[:, i]))
    return _distinct(minima, len(start))


def _exploring_starts(model: Model, rows: Rows, theta: Array, rng: np.random.Generator) -> tuple[Array, Index]:
    """Starts (P, S) that differ from the usual minima theta (P, R), and the row of each.

    Some are random around the initial values; in others, one normalisation without a constraint is at its lower bound.
    """
    p, n = theta.shape
    origin = np.repeat(np.arange(n), RANDOM_STARTS)
    many = rows.take(origin)
    width = np.resize([1.0, 0.5, min(0.5, np.sqrt(START_DISTANCE / max(model.n_alpha, 1)))], len(origin))
    spread = np.where(np.arange(p)[:, None] < model.n_alpha, width, 0.3 * width)
    center = np.where(many.precision > 0, many.auxdata, 1.0)
    random = np.clip(center + spread * rng.normal(size=(p, len(origin))), many.lower, many.upper)
    starts, origins = [np.where(many.free > 0, random, np.take(theta, origin, 1))], [origin]
    unconstrained = (rows.free * (rows.precision == 0) * (rows.tau == 0) > 0).any(1)
    unconstrained[: model.n_alpha] = unconstrained[model.n_shared :] = unconstrained[model.poi] = False
    for factor in np.flatnonzero(unconstrained)[:MOST_FACTORS]:
        at_bound = theta.copy()
        at_bound[factor] = np.where(rows.free[factor] > 0, rows.lower[factor], theta[factor])
        starts, origins = [*starts, at_bound], [*origins, np.arange(n)]
    return np.hstack(starts), np.concatenate(origins)


def _strength(model: Model) -> Array:
    """A measure of each hypothesis' signal (H,): the sum over bins of its squared yield divided by the data."""
    signal = np.zeros(model.data.shape)
    for block in (model.shared, model.own):
        for cell in np.flatnonzero((block.factors == model.poi).any(0)):
            signal[:, block.cell_bin[cell]] += block.nominal[..., cell]
    return (signal**2 / (model.data + 1)).sum(1)


def _fit_in_parts(likelihood: Likelihood, rows: Rows, start: Array, known: Fit, n_rows: int) -> Fit:
    """`fit_batch` of rows whose usual fits are known, n_rows at once."""
    parts = []
    for first in range(0, start.shape[1], n_rows):
        i = np.arange(first, min(first + n_rows, start.shape[1]))
        previous, rival = known.take(i), len(i) + np.arange(len(i))
        parts.append(fit_batch(likelihood, rows.take(i), np.take(start, i, 1), rival, previous))
    value, status = (np.concatenate([getattr(part, name) for part in parts]) for name in ("value", "status"))
    return Fit(np.hstack([part.theta for part in parts]), value, status)


def _distinct(minima: list[tuple[float, Array]], n_parameters: int) -> Array:
    """The changes (P, M) that lead to the lowest minima, at most MOST_MINIMA, without those that are close to a lower one."""
    kept: list[Array] = []
    for _, change in sorted(minima, key=lambda minimum: minimum[0]):
        apart = all(np.linalg.norm(change - other) > APART * np.linalg.norm(other) for other in kept)
        if (np.abs(change) > SMALL_CHANGE).sum() > 1 and apart and len(kept) < MOST_MINIMA:
            kept.append(change)
    return np.stack(kept, 1) if kept else np.empty((n_parameters, 0))


def lowest_from(likelihood: Likelihood, rows: Rows, fits: Fit, others: Array) -> tuple[Fit, Mask]:
    """Each fit, or a lower one from the starts `others` (P, M) and from those of `small_samples`.

    The mask (R,) is True if several minima were found. A start that approaches the known minimum is dropped on the way,
    so that most cost a few steps.
    """
    several = np.zeros(len(fits.value), bool)
    starts, origin = starts_of_growth(likelihood, rows, fits)
    more_starts, more_origins = _starts_beyond_barriers(likelihood, rows, fits, others)
    starts, origin = np.hstack([starts, more_starts]), np.concatenate([origin, more_origins])
    if not len(origin):
        return fits, several
    many_rows, before = rows.take(origin), fits.value
    new = fit_batch(likelihood, many_rows, starts, len(origin) + origin, fits, NEAR)
    _finish_promising(likelihood, many_rows, new, before[origin], origin)
    fits = fits.take(np.arange(len(several)))
    lower = keep_lower(likelihood, rows, fits, new, origin)
    if len(lower):
        fits.replace(lower, search_across_folds(likelihood, rows.take(lower), fits.take(lower))[0])
    apart = new.converged & (np.abs(new.value - before[origin]) > DISTINCT)
    several[origin[apart | (new.status == HIGHER)]] = True
    return fits, several


def _starts_beyond_barriers(likelihood: Likelihood, rows: Rows, fits: Fit, others: Array) -> tuple[Array, Index]:
    """The starts `others` (P, M) of each fit that have a barrier on the way, (P, S), and the fit of each."""
    n, m = len(fits.value), others.shape[1]
    origin = np.repeat(np.arange(n), m)
    if m == 0:
        return np.empty((len(others), 0)), origin
    many_rows, known = rows.take(origin), np.take(fits.theta, origin, 1)
    starts = np.clip(known + np.tile(others, n), many_rows.lower, many_rows.upper)
    starts = np.where(many_rows.free > 0, starts, known)
    beyond = np.flatnonzero(_has_barrier(likelihood, many_rows, known, starts, fits.value[origin]))
    return np.take(starts, beyond, 1), origin[beyond]


def _finish_promising(likelihood: Likelihood, rows: Rows, new: Fit, known: Array, origin: Index) -> None:
    """Continue the most promising starts of each fit that need more steps with `newton`, in place."""
    rise = np.where(new.status == TOO_MANY_STEPS, new.value - known, np.inf)
    for r in np.unique(origin):
        own = np.flatnonzero((origin == r) & (rise < MAY_FALL))
        for i in own[np.argsort(rise[own], kind="stable")][:PROMISING]:
            finish_with_newton(likelihood, rows, new, int(i))


def restart(likelihood: Likelihood, rows: Rows, fits: Fit, doubtful: Mask) -> Fit:
    """Each doubtful fit (R,), or a lower one from RESTARTS random starts, which are the same for every hypothesis."""
    i = np.flatnonzero(doubtful)
    if not len(i):
        return fits
    fits, p = fits.take(np.arange(len(fits.value))), len(fits.theta)
    drawn = np.random.default_rng(1).normal(size=(p, RESTARTS))
    drawn *= np.where(np.arange(p)[:, None] < likelihood.model.n_alpha, np.resize([1.0, 0.4], RESTARTS), 0.3)
    origin = np.repeat(i, RESTARTS)
    many_rows, known = rows.take(origin), np.take(fits.theta, origin, 1)
    center = np.where(many_rows.precision > 0, many_rows.auxdata, 1.0)
    starts = np.clip(center + np.tile(drawn, len(i)), many_rows.lower, many_rows.upper)
    starts = np.where(many_rows.free > 0, starts, known)
    new = fit_batch(likelihood, many_rows, starts, len(origin) + origin, fits, NEAR)
    _finish_promising(likelihood, many_rows, new, fits.value[origin], origin)
    lower = keep_lower(likelihood, rows, fits, new, origin)
    if len(lower):
        fits.replace(lower, search_across_folds(likelihood, rows.take(lower), fits.take(lower))[0])
    return fits


def _has_barrier(likelihood: Likelihood, rows: Rows, theta: Array, other: Array, value: Array) -> Mask:
    """Whether -log L on the straight line from theta, where it is `value`, to other (P, R) rises less than a parabola."""

    def rise(fraction: float) -> Array:
        with np.errstate(all="ignore"):
            point = likelihood.avoid_zero(theta + fraction * (other - theta))
            return likelihood.value(rows, point, likelihood.expected(rows, point)) - value

    highest = np.max([rise(fraction) for fraction in BETWEEN], 0)
    return ~(rise(1.0) > BARRIER * highest)
