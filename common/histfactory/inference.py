"""Asymptotic CLs of many hypotheses at once: profile likelihood fits by a batched quasi-Newton method, then q-tilde.

The formulae are those of Cowan, Cranmer, Gross and Vitells, arXiv:1007.1727 (q-tilde: eq. 16; its distributions:
eqs. 59, 65 and 66 by way of the Asimov data set) and of Read for CLs (J. Phys. G 28 (2002) 2693): the same that
pyhf's `hypotest(..., test_stat="qtilde")` uses.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from folds import crossed, sane, two_rows
from likelihood import Likelihood, Point, Rows, log_likelihood
from model import Array, Model
from newton import minimise
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtr

TOLERANCE = 1e-8  # a fit has converged when a Newton step promises less than this in log L: 1e-4 of CLs needs 1e-5
MAX_STEPS = 40  # usual fits take 5 to 20; what is not done then goes to `newton`
LONGEST_STEP = 1.5  # in standard deviations of any alpha: the quadratic model is no good beyond
HALVINGS = 6  # of a step: a direction that is no good at 1/64 is better made anew, or left to `newton`
SECANT_PAIRS = 2  # more remember what is no longer so: folds bend the surface
SAME = 0.2  # two starts of one fit this close in every parameter (alphas: standard deviations) are in one basin
START_DISTANCE = 8.0  # of a drawn start: the square of its distance, in standard deviations of the alphas
ROW_NUMBERS = 480_000  # rows in a chunk times numbers a row: what keeps the arrays in the cache and memory flat


@dataclass
class Fit:
    """Result of one fit a row. `value` is -log L + log L(saturated); infinite for a row that was dropped."""

    theta: Array  # (P, R)
    value: Array  # (R,)
    converged: NDArray[np.bool_]  # (R,)
    steps: int

    def lowest(self, starts: list[NDArray[np.intp]]) -> Fit:
        """The lowest of some starts of each fit; one array of rows a start."""
        rows = np.stack(starts)
        best = rows[self.value[rows].argmin(0), np.arange(rows.shape[1])]
        return Fit(np.take(self.theta, best, 1), self.value[best], self.converged[best], self.steps)


@dataclass
class Limits:
    """CLs of H hypotheses."""

    cls_obs: Array  # (H,)
    cls_exp: Array  # (H, 5) at -2, -1, 0, 1, 2 standard deviations of the background-only data
    converged: NDArray[np.bool_]  # (H,)
    mu_hat: Array  # (H,)
    q: Array  # (H,) q-tilde of the data, and below of the Asimov data
    q_asimov: Array
    nll: Array  # (H, 3) -log L + log L(saturated) at mu = 0, at the tested mu, and at mu_hat


def _directions(likelihood: Likelihood, point: Point, rows: Rows, free: Array, theta: Array) -> tuple[Array, ...]:
    """What `_solve` needs for the matrix D + J^T W J at this point, D diagonal, W = n / nu^2.

    Local parameters (one bin each) are eliminated first, exactly: they only lower the weight of their bin. What is
    left is a system in bins, (1 + A D^-1 A^T) z = ..., with A = W'^(1/2) J (Woodbury), or one in the shared
    parameters, D + A^T A: the smaller of the two is formed.
    """
    model = likelihood.model
    s = model.n_shared
    prior = rows.precision + 1e-9
    if likelihood.has_poisson:
        prior[likelihood.poisson] += rows.tau[likelihood.poisson]
    # The second derivatives off J^T W J can be negative far out: never below a fifth of the prior's curvature.
    inverse = free / np.maximum(point.diagonal + 1e-9, 0.2 * prior)
    weight = rows.data / (point.nu * point.nu)
    local = inverse[s:] * point.jacobian_local
    weight /= 1 + weight * (likelihood.local @ (local * point.jacobian_local))
    root = np.sqrt(weight).T
    a = point.jacobian * root[:, :, None]
    shared = np.ascontiguousarray(inverse[:s].T)
    n_bins = a.shape[1]
    if n_bins <= s:
        scaled = a * shared[:, None]
        matrix = np.matmul(scaled, a.transpose(0, 2, 1))
        matrix[:, np.arange(n_bins), np.arange(n_bins)] += 1
    else:
        on = shared > 0
        a *= on[:, None]
        scaled = a
        matrix = np.matmul(a.transpose(0, 2, 1), a)
        matrix[:, np.arange(s), np.arange(s)] += np.where(on, 1 / np.where(on, shared, 1.0), 1.0)
    bad = ~np.isfinite(matrix).all((1, 2))
    if bad.any():
        matrix[bad] = np.eye(matrix.shape[1])
    return inverse, local, root, a, scaled, matrix, shared


def _linear(matrix: Array, right: Array) -> Array:
    """Solve (R, n, n) for (R, n, 1), row by row; NaN for a row whose matrix is singular: `newton` takes that one."""
    try:
        return np.linalg.solve(matrix, right)
    except np.linalg.LinAlgError:
        out = np.zeros_like(right)
        for i in range(len(matrix)):
            try:
                out[i] = np.linalg.solve(matrix[i : i + 1], right[i : i + 1])[0]
            except np.linalg.LinAlgError:
                out[i] = np.nan
        return out


def _solve(likelihood: Likelihood, directions: tuple[Array, ...], gradient: Array) -> Array:
    """(D + J^T W J)^-1 gradient, (P, R)."""
    inverse, local, root, a, scaled, matrix, shared = directions
    s = likelihood.model.n_shared
    pull = (likelihood.local @ (local * gradient[s:])).T * root  # (R, B), what the local parameters answer
    out = inverse * gradient
    if scaled is not a:
        right = np.matmul(a, out[:s].T[:, :, None])[:, :, 0] + pull
        z = _linear(matrix, right[:, :, None])
        out[:s] -= np.matmul(scaled.transpose(0, 2, 1), z)[:, :, 0].T
        y = z[:, :, 0] * root
    else:
        right = np.where(shared > 0, gradient[:s].T, 0.0) - np.matmul(pull[:, None], a)[:, 0]
        x = _linear(matrix, right[:, :, None])
        out[:s] = x[:, :, 0].T
        y = (np.matmul(a, x)[:, :, 0] + pull) * root
    out[s:] -= local * np.take(y, likelihood.model.local_bin, 1).T
    return out


def fit(likelihood: Likelihood, rows: Rows, start: Array, rival: NDArray[np.intp] | None = None) -> Fit:
    """Minimise each row from its start (P, R), within its bounds; see `_batched` and `newton.minimise`."""
    result = _batched(likelihood, rows, start, rival)
    for i in np.flatnonzero(~result.converged & np.isfinite(result.value)):
        _finish(likelihood, rows, result, i)
    return result


def _finish(likelihood: Likelihood, rows: Rows, result: Fit, i: int) -> None:
    """Row i the slow way, from where it is."""
    one = rows.take(np.array([i, i]))
    result.theta[:, i], result.value[i], result.converged[i] = minimise(likelihood, one, result.theta[:, i], TOLERANCE)


def _batched(
    likelihood: Likelihood, rows: Rows, start: Array, rival: NDArray[np.intp] | None, known: Fit | None = None
) -> Fit:
    """Minimise each row from its start (P, R), within its bounds, by projected quasi-Newton steps.

    A step solves the Gauss-Newton matrix with the diagonal of the second derivatives, corrected by a few secant pairs
    (L-BFGS with that matrix as its start; Nocedal and Wright, Numerical Optimization, algorithm 7.4). Parameters at a
    bound that the gradient pushes outward are frozen (Bertsekas 1982). `rival` (R,) names for each row another
    start of the same fit, or -1: a row is dropped when it is in the basin of its rival or can no longer win. Rivals
    from R on are the rows of `known`, fits that are done.
    """
    model, n_rows = likelihood.model, start.shape[1]
    s = model.n_alpha
    theta = likelihood.clean(start.copy())
    result = Fit(theta, np.full(n_rows, np.inf), np.zeros(n_rows, bool), 0)
    if n_rows == 0:
        return result
    active = np.arange(n_rows)
    if n_rows == 1:  # see `likelihood`: the order of a sum depends on whether there is one column or more
        active = np.array([0, 0])
        rows, theta = rows.take(active), np.take(theta, active, 1)
    current = theta.copy()
    point = likelihood(rows, current)
    history: list[tuple[Array, Array, Array]] = []
    where = np.full((len(theta), n_rows), np.inf)  # the last place of every row
    best, done = np.full(n_rows, np.inf), np.zeros(n_rows, bool)
    if known is not None:
        where, best = np.hstack([where, known.theta]), np.concatenate([best, known.value])
        done = np.concatenate([done, np.ones(len(known.value), bool)])
    retried = np.zeros(len(active), bool)
    for step_number in range(MAX_STEPS):
        result.steps = step_number + 1
        gradient = point.gradient
        free = rows.free * ~(((current <= rows.lower) & (gradient > 0)) | ((current >= rows.upper) & (gradient < 0)))
        directions = _directions(likelihood, point, rows, free, current)
        q, used = gradient * free, []
        for ds, dy, rho in reversed(history):
            a = rho * (ds * q).sum(0)
            used.append(a)
            q = q - a * dy * free
        p = _solve(likelihood, directions, q)
        for (ds, dy, rho), a in zip(history, reversed(used), strict=True):
            p += free * ds * (a - rho * (dy * free * p).sum(0))
        promise = (p * gradient).sum(0)
        # A direction that does not descend (secant pairs from across a fold of the surface): the plain one does.
        plain = ~(promise >= 0) & np.isfinite(point.value)
        if plain.any() and history:
            p0 = _solve(likelihood, directions, gradient * free)
            p[:, plain] = p0[:, plain]
            promise[plain] = (p0 * gradient).sum(0)[plain]
            for _, _, rho in history:
                rho[plain] = 0
        finished = promise < TOLERANCE
        result.value[active], where[:, active] = point.value, current
        result.theta[:, active] = current
        result.converged[active[finished]] = True
        done[active[finished]] = True
        keep = ~finished
        if rival is not None:
            best[active] = point.value
            mate = rival[active]
            same = np.abs(where[:, mate] - current).max(0) < SAME
            lost = done[mate] & (promise < 1e-2) & (point.value - 2 * promise > best[mate] + 1e-6)
            same &= mate >= 0
            lost &= mate >= 0
            drop = keep & (same | lost)
            result.value[active[drop]] = np.inf
            best[active[drop]] = np.inf
            done[active[drop]] = True
            keep &= ~drop
        if not keep.any():
            return result
        if not keep.all():
            i = np.flatnonzero(keep)
            if len(i) == 1:
                i = np.array([i[0], i[0]])
            active, rows, current, p = active[i], rows.take(i), np.take(current, i, 1), np.take(p, i, 1)
            point = _take_point(point, i)
            promise, retried = promise[i], retried[i]
            history = [(np.take(ds, i, 1), np.take(dy, i, 1), rho[i]) for ds, dy, rho in history]

        length = np.minimum(1, LONGEST_STEP / np.maximum(np.abs(p[:s]).max(0, initial=0.0), 1e-12))
        # Up to the bound of the parameter of interest, not beyond: the rest of the step is made for all of its move.
        toward, poi = p[model.poi], current[model.poi]
        room = np.where(toward > 0, poi - rows.lower[model.poi], poi - rows.upper[model.poi])
        length = np.where(
            (room != 0) & (toward != 0), np.minimum(length, room / np.where(toward == 0, 1, toward)), length
        )
        new, new_point, failed = _search(likelihood, rows, current, point, p, length)
        if failed.any():
            # Not even a tiny step goes down: once more without secant pairs, then leave it to `newton`.
            for _, _, rho in history:
                rho[failed] = 0
            give_up = failed & retried
            retried = failed.copy()
            if give_up.any():
                done[active[give_up]] = True
                i = np.flatnonzero(~give_up)
                if len(i) == 0:
                    return result
                if len(i) == 1:
                    i = np.array([i[0], i[0]])
                active, rows, current, new = active[i], rows.take(i), np.take(current, i, 1), np.take(new, i, 1)
                point, new_point, retried = _take_point(point, i), _take_point(new_point, i), retried[i]
                history = [(np.take(ds, i, 1), np.take(dy, i, 1), rho[i]) for ds, dy, rho in history]
        else:
            retried[:] = False
        ds, dy = new - current, new_point.gradient - point.gradient
        sy = (ds * dy).sum(0)
        good = sy > 1e-10 * np.sqrt((ds * ds).sum(0) * (dy * dy).sum(0)) + 1e-300
        history = (history + [(ds, dy, np.where(good, 1 / np.where(good, sy, 1.0), 0.0))])[-SECANT_PAIRS:]
        current, point = new, new_point
    result.value[active], result.theta[:, active] = point.value, current
    return result


def _take_point(point: Point, index: NDArray[np.intp]) -> Point:
    other = Point()
    for name in Point.fields:
        setattr(other, name, np.take(getattr(point, name), index, -1))
    other.jacobian = np.take(point.jacobian, index, 0)
    return other


def _search(
    likelihood: Likelihood, rows: Rows, current: Array, point: Point, p: Array, length: Array
) -> tuple[Array, Point, NDArray[np.bool_]]:
    """Halve each row's step until the likelihood does not get worse; rows that never do stay where they are."""
    floor = point.value + 1e-10 * np.maximum(1, np.abs(point.value))
    new = likelihood.clean(np.clip(current - length * p, rows.lower, rows.upper))
    _keep_fixed(new, current, rows)
    new_point = likelihood(rows, new)
    todo = np.flatnonzero(_worse(new_point, floor))
    for _ in range(HALVINGS):
        if not len(todo):
            break
        length[todo] *= 0.5
        i = todo if len(todo) > 1 else np.array([todo[0], todo[0]])
        some = rows.take(i)
        trial = np.clip(np.take(current, i, 1) - length[i] * np.take(p, i, 1), some.lower, some.upper)
        trial = likelihood.clean(trial)
        _keep_fixed(trial, np.take(current, i, 1), some)
        trial_point = likelihood(some, trial)
        new[:, i] = trial
        new_point.put(i, trial_point)
        todo = np.unique(i[_worse(trial_point, floor[i])])
    failed = np.zeros(len(length), bool)
    if len(todo):
        failed[todo] = True
        new[:, todo] = current[:, todo]
        new_point.put(todo, _take_point(point, todo))
    return new, new_point, failed


def _keep_fixed(new: Array, current: Array, rows: Rows) -> None:
    """Fixed parameters stay at their value even where it lies outside the bounds."""
    np.copyto(new, current, where=rows.free == 0)


def _worse(point: Point, floor: Array) -> NDArray[np.bool_]:
    return ~((point.value <= floor) & np.isfinite(point.gradient).all(0))


def asymptotic_cls(q: Array, q_asimov: Array) -> tuple[Array, Array]:
    """CLs observed (R,) and expected at -2..+2 sigma (R, 5) from q-tilde of the data and of the Asimov data.

    With s = sqrt(q), a = sqrt(q_A): CLs = (1 - Phi(x)) / (1 - Phi(x - a)), where x = s up to s = a and
    (q + q_A) / (2 a) beyond (arXiv:1007.1727 eq. 66); the expected value at N sigma has x = a - N. Logarithms of the
    normal tail keep the ratio exact where both p-values are too small for a float.
    """
    x, y = _tails(q, q_asimov)
    cls = np.exp(log_ndtr(-x) - log_ndtr(-y))
    return cls[:, 0], cls[:, 1:]


def p_values(q: Array, q_asimov: Array) -> tuple[Array, Array]:
    """The two p-values that CLs is made of, (R, 6) each: observed, then expected at -2..+2 sigma.

    The first is that of data as background-like as these or more so under the signal hypothesis, the second that of
    data as signal-like as these or more so under the background alone.
    """
    x, y = _tails(q, q_asimov)
    return ndtr(-x), ndtr(y)


def _tails(q: Array, q_asimov: Array) -> tuple[Array, Array]:
    """Where the two p-values begin in a unit normal distribution, x and y = x - a, (R, 6); see `asymptotic_cls`."""
    s, a = np.sqrt(q), np.sqrt(q_asimov)
    beyond = (s > a) & (a > 0)
    divisor = np.where(beyond, 2 * a, 1.0)
    x = np.where(beyond, (q + q_asimov) / divisor, s)
    y = np.where(beyond, (q - q_asimov) / divisor, s - a)
    n_sigma = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    expected = np.broadcast_to(-n_sigma, (len(a), 5))
    return np.column_stack([x, a[:, None] + expected]), np.column_stack([y, expected])


def background_start(likelihood: Likelihood) -> Array:
    """Best background-only parameters (P,) of the model's first hypothesis: a start that suits all of them.

    The one fit that all others build on, so it is made from eight starts: local minima exist. The seven that are drawn
    lie a few standard deviations from the first in all, however many parameters there are: with each of a hundred moved
    by one, the counts would be off by orders of magnitude. Those that cannot win are dropped on the way.
    """
    model = likelihood.model
    rows = Rows(model, np.zeros(8, np.intp))
    theta = np.repeat(model.init[:1].T, 8, 1)
    width = min(1.0, np.sqrt(START_DISTANCE / max(model.n_alpha, 1)))
    spread = np.where(np.arange(len(theta)) < model.n_alpha, width, 0.1 * width)[:, None] * rows.free
    theta[:, 1:] += spread[:, 1:] * np.random.default_rng(0).normal(size=(len(theta), 7))
    theta = np.where(rows.free > 0, np.clip(theta, rows.lower, rows.upper), theta)
    theta[model.poi] = 0
    rows.free[model.poi] = 0
    result = _batched(likelihood, rows, theta, np.array([-1] + [0] * 7))
    level = np.where(sane(likelihood, rows, result.theta), result.value, np.inf)
    best = int(np.argmin(level))
    if not np.isfinite(level[best]):
        best = 0
    if not result.converged[best]:
        _finish(likelihood, rows, result, best)
    return result.theta[:, best]


def _crossed(likelihood: Likelihood, rows: Rows, found: Fit) -> Fit:
    """The fit, or a lower one from beyond the folds of its parameters (see `folds`)."""

    def again(some: Rows, starts: Array, origin: NDArray[np.intp], theta: Array, value: Array) -> Fit:
        # Most starts lead back to where they came from, so the slow way is not taken for those that did not converge.
        known = Fit(theta, value, np.ones(len(value), bool), 0)
        return _batched(likelihood, some, starts, len(origin) + origin, known)

    theta, value, lower = crossed(likelihood, rows, found.theta, found.value, again)
    return Fit(theta, value, found.converged | lower, found.steps)


def scan_rows(likelihood: Likelihood, hypotheses: NDArray[np.intp], mu: float, start: Array) -> Limits:
    """The fits of some hypotheses, all at once: at mu = 0, at mu, at the best mu, and at mu on the Asimov data."""
    model, n = likelihood.model, len(hypotheses)
    rows = Rows(model, hypotheses)

    def at(theta: Array, value: float) -> Array:
        theta = theta.copy()
        theta[model.poi] = value
        return theta

    init = np.ascontiguousarray(model.init[hypotheses].T)
    begin = np.where(model.fixed[hypotheses].T, init, start[:, None])
    held = rows.take(np.arange(n))
    held.free[model.poi] = 0
    null = _crossed(likelihood, held, fit(likelihood, held, at(begin, 0.0)))

    # The Asimov data: what the background-only fit expects, counts and constraints; its own best fit, at value zero.
    asimov, null_theta = held.take(np.arange(n)), likelihood.clean(null.theta.copy())
    with np.errstate(all="ignore"):
        asimov.data = np.maximum(
            likelihood.expected(held.take(two_rows(n)), np.take(null_theta, two_rows(n), 1))[:, :n], 0.0
        )
    asimov.auxdata = np.where(asimov.tau > 0, asimov.tau * null_theta, null_theta)

    # The other fits in one batch, each from the background-only fit, those at mu from the start values too.
    far, near, i = at(init, mu), at(null.theta, mu), np.arange(n)
    everything = Rows.join([held, held, asimov, asimov, rows])
    none = np.full(n, -1)
    rival = np.concatenate([none, i, none, 2 * n + i, none])
    found = fit(likelihood, everything, np.hstack([near, far, near, far, null.theta]), rival)
    lowest = found.lowest([np.r_[i, 2 * n + i, 4 * n + i], np.r_[n + i, 3 * n + i, 4 * n + i]])
    lowest = _crossed(likelihood, Rows.join([held, asimov, rows]), lowest)
    tested, asimov_fit, best = lowest.lowest([i]), lowest.lowest([n + i]), lowest.lowest([2 * n + i])
    # What one fit found is a start for the others, where it is lower than what they found.
    tested = _from(likelihood, held, tested, at(best.theta, mu))
    asimov_fit = _from(likelihood, asimov, asimov_fit, tested.theta)
    best = _from(likelihood, rows, best, tested.theta)
    lower = null.value < best.value  # mu_hat is at its bound
    best.theta[:, lower], best.value[lower] = null.theta[:, lower], null.value[lower]

    q = np.where(best.theta[model.poi] > mu, 0.0, np.maximum(2 * (tested.value - best.value), 0.0))
    q_asimov = np.maximum(2 * asimov_fit.value, 0.0)
    observed, expected = asymptotic_cls(q, q_asimov)
    silent = ~model.has_signal[hypotheses]
    observed[silent], expected[silent] = 1.0, 1.0
    ok = (
        null.converged
        & tested.converged
        & best.converged
        & asimov_fit.converged
        & np.isfinite(observed)
        & np.isfinite(expected).all(1)
    )
    return Limits(
        observed, expected, ok, best.theta[model.poi], q, q_asimov, np.stack([null.value, tested.value, best.value], 1)
    )


def _from(likelihood: Likelihood, rows: Rows, found: Fit, theta: Array) -> Fit:
    """The fit, or the one that starts from theta (P, R) where the likelihood is lower there."""
    n = theta.shape[1]
    theta = likelihood.clean(theta.copy())
    with np.errstate(all="ignore"):
        some, there = (rows, theta) if n > 1 else (rows.take(two_rows(n)), np.take(theta, two_rows(n), 1))
        value = likelihood.value(some, there, likelihood.expected(some, there))[:n]
    i = np.flatnonzero(value < found.value)
    if len(i):
        again = fit(likelihood, rows.take(i), np.take(theta, i, 1))
        found.theta[:, i], found.value[i], found.converged[i] = again.theta, again.value, again.converged
    return found


def chunk_rows(model: Model) -> int:
    """Hypotheses in one chunk: from the size of the model alone."""
    numbers = (
        len(model.shared.pair_alpha)
        + len(model.own.pair_alpha) * 8
        + len(model.shared.cell_bin)
        + len(model.parameters)
    )
    numbers += model.data.shape[1] * model.n_shared
    return int(np.clip(ROW_NUMBERS // numbers, 8, 256))


def chunks(model: Model, wanted: list[int]) -> Iterator[NDArray[np.intp]]:
    """The wanted hypotheses in chunks."""
    size = chunk_rows(model)
    for i in range(0, len(wanted), size):
        yield np.array(wanted[i : i + size], np.intp)


def scan_model(model: Model, mu: float = 1.0) -> Limits:
    """CLs of all hypotheses of one model, chunk by chunk."""
    likelihood = Likelihood(model)
    start = background_start(likelihood)
    parts = [scan_rows(likelihood, c, mu, start) for c in chunks(model, list(range(len(model.names))))]
    return Limits(*(np.concatenate([getattr(part, name) for part in parts]) for name in Limits.__dataclass_fields__))


def minima(model: Model, limits: Limits, hypothesis: int) -> Array:
    """-log L (3,) at mu = 0, at the tested mu and at the best mu, with all constants, as pyhf's `logpdf` gives it."""
    theta = model.init[hypothesis]
    rows, two = Rows(model, np.array([hypothesis, hypothesis])), np.stack([theta, theta], 1)
    likelihood = Likelihood(model)
    value = likelihood.value(rows, two, likelihood.expected(rows, two))[0]
    return limits.nll[hypothesis] - log_likelihood(model, hypothesis, theta) - value
