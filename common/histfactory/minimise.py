"""Two minimisers: a fast one for many fits at once, and a slow but robust one for fits that do not converge with it.

`fit` minimises every row by projected quasi-Newton steps (`fit_batch`). A step solves a system with the Gauss-Newton
matrix plus the diagonal of the second derivatives, corrected by a few secant pairs (L-BFGS with that matrix as the
initial one; Nocedal and Wright, Numerical Optimization, algorithm 7.4). A parameter stays at its bound if the gradient
pushes it outward (Bertsekas 1982).

If normalisations multiply each other, or if the data hardly constrain a direction, the Hessian is indefinite or nearly
singular, and secant pairs approximate it too slowly. For such rows `newton` computes the full Hessian and makes its
eigenvalues positive, so that the steps lead away from saddle points (saddle-free Newton; Dauphin et al.,
arXiv:1406.2572). It steps in the logarithms of factors without a constraint: if the data determine only the product of
two factors, the valley is a hyperbola, along which straight steps make little progress.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from histfactory.interpolation import code4p_weight, powers_of
from histfactory.likelihood import Likelihood, Point, Rows, at_least_two, ratio_or_zero
from histfactory.model import Array, Index, Mask

TOLERANCE = 1e-8  # largest decrease of -log L that a converged fit may still predict; CLs to 1e-4 would need 1e-5
MAX_STEPS = 40  # typical fits take 5 to 20 steps; rows that then have not converged go to `newton`
MAX_STEP = 1.5  # in standard deviations of any alpha: the quadratic model is not valid beyond
HALVINGS = 6  # of a step: if 1/64 of it does not help, compute another direction or use `newton`
MAX_STOPS = 3  # parameters that may reach a bound in one step
SECANT_PAIRS = 2  # older pairs describe a surface that has changed
SAME_BASIN = 0.2  # starts of one fit that are closer than this in every parameter lead to the same minimum

NEWTON_STEPS = 200
MAX_NEWTON_STEP = 3.0  # in standard deviations of an alpha, and in the logarithm of a factor
SMALL_FACTOR = 1e-3  # smaller factors may approach zero, so they change linearly instead of by their logarithm
BOUND_TOLERANCE = 1e-8  # relative distance at which a parameter counts as at its bound


# How a fit ended. The last two: `fit_batch` dropped it, because it approached the minimum of its rival, or a higher one.
CONVERGED, TOO_MANY_STEPS, NOT_FINITE, STUCK, SAME, HIGHER = range(6)
REASONS = {  # in messages, after the name of the fit
    TOO_MANY_STEPS: f"-log L still decreases after {NEWTON_STEPS} steps",
    NOT_FINITE: "the second derivatives of log L are not finite",
    STUCK: "no step decreases -log L although its slope is not zero",
}


@dataclass
class Fit:
    """The results of one fit per row. value: -log L + log L(saturated), infinite for a row that was dropped as the same."""

    theta: Array  # (P, R)
    value: Array  # (R,)
    status: Index  # (R,) one of the constants above

    @property
    def converged(self) -> Mask:
        return self.status == CONVERGED

    def lowest(self, starts: list[Index], allowed: Mask) -> Fit:
        """The result with the lowest value for each fit, of those that are allowed (R,) if there are any.

        starts: for each start, the rows of all fits.
        """
        rows = np.stack(starts)
        value = np.where(allowed[rows], self.value[rows], np.inf)
        value = np.where(np.isfinite(value).any(0), value, self.value[rows])
        return self.take(rows[value.argmin(0), np.arange(rows.shape[1])])

    def take(self, rows: Index) -> Fit:
        return Fit(np.take(self.theta, rows, 1), self.value[rows], self.status[rows])

    def replace(self, rows: Index | Mask, other: Fit) -> None:
        """Replace these rows by those of another fit, in place."""
        self.theta[:, rows], self.value[rows], self.status[rows] = other.theta, other.value, other.status


def fit(likelihood: Likelihood, rows: Rows, start: Array, rival: Index | None = None) -> Fit:
    """Minimise each row from its start (P, R) within its bounds. rival: as in `fit_batch`."""
    result = fit_batch(likelihood, rows, start, rival)
    dropped = (result.status == SAME) | (result.status == HIGHER)
    for i in np.flatnonzero(~result.converged & ~dropped & np.isfinite(result.value)):
        finish_with_newton(likelihood, rows, result, int(i))
    return result


def finish_with_newton(likelihood: Likelihood, rows: Rows, result: Fit, i: int) -> None:
    """Continue row i with `newton` from its current result, which is changed in place."""
    one = rows.take(np.array([i, i]))
    result.theta[:, i], result.value[i], result.status[i] = newton(likelihood, one, result.theta[:, i])


# ---------------------------------------------------------------- many rows at once


@np.errstate(all="ignore")  # a trial point may overflow; the minimiser then tries another
def fit_batch(
    likelihood: Likelihood,
    rows: Rows,
    start: Array,
    rival: Index | None = None,
    previous: Fit | None = None,
    same_basin: float = SAME_BASIN,
) -> Fit:
    """Minimise each row from its start (P, R) within its bounds, with at most MAX_STEPS quasi-Newton steps.

    rival (R,): the row of another start of the same fit, or -1. A row is dropped if it approaches the minimum of its
    rival (closer than same_basin in every parameter) or can no longer reach a lower value. Rivals R, R + 1, ... are the
    rows of `previous`, which are finished fits.
    """
    theta, n_rows = likelihood.avoid_zero(start.copy()), start.shape[1]
    result = Fit(theta, np.full(n_rows, np.inf), np.full(n_rows, TOO_MANY_STEPS))
    if n_rows == 0:
        return result
    if likelihood.backend is not None:
        likelihood.backend.fit_batch(rows, result, rival, previous, same_basin)
        return result
    competition = None if rival is None else _Competition(rival, len(theta), previous, same_basin)
    batch = _Batch(likelihood, rows, theta.copy())
    for _ in range(MAX_STEPS):
        step, predicted_decrease = batch.step()
        batch.store(result)
        finished = predicted_decrease < TOLERANCE
        result.status[batch.index[finished]] = CONVERGED
        keep = ~finished
        if competition is not None:
            same, higher = competition.dropped(
                batch.index, batch.theta, batch.point.value, predicted_decrease, finished
            )
            result.status[batch.index[higher]], result.status[batch.index[same]] = HIGHER, SAME
            result.value[batch.index[same]] = np.inf
            keep &= ~(same | higher)
        if not keep.any():
            return result
        if not keep.all():
            i = batch.keep_only(np.flatnonzero(keep))
            step = np.take(step, i, 1)
        gave_up = batch.move(step)
        if competition is not None:
            competition.ended[gave_up] = True
        if not len(batch.index):
            return result
    batch.store(result)
    return result


class _Batch:
    """The rows that have not converged yet: their current points and their last steps."""

    def __init__(self, likelihood: Likelihood, rows: Rows, theta: Array) -> None:
        self.likelihood = likelihood
        self.index = at_least_two(np.arange(theta.shape[1]))  # (R,) positions in the result
        if theta.shape[1] == 1:
            rows, theta = rows.take(self.index), np.take(theta, self.index, 1)
        self.rows, self.theta = rows, theta
        self.point = likelihood(rows, theta)
        self.pairs: list[tuple[Array, Array, Array]] = []  # steps (P, R), changes of the gradient (P, R), 1 / product
        self.retried = np.zeros(len(self.index), bool)  # the last step failed
        self.careful = np.zeros(len(self.index), bool)  # some step failed

    def store(self, result: Fit) -> None:
        result.value[self.index], result.theta[:, self.index] = self.point.value, self.theta

    def keep_only(self, i: Index) -> Index:
        """Keep only these rows (a single one twice); return their positions among the previous rows."""
        i = at_least_two(i)
        self.index, self.rows, self.theta = self.index[i], self.rows.take(i), np.take(self.theta, i, 1)
        self.point, self.retried, self.careful = self.point.take(i), self.retried[i], self.careful[i]
        self.pairs = [(np.take(ds, i, 1), np.take(dy, i, 1), rho[i]) for ds, dy, rho in self.pairs]
        return i

    def step(self) -> tuple[Array, Array]:
        """A quasi-Newton step (P, R), to be subtracted, and its predicted decrease (R,), the product with the gradient."""
        rows, gradient = self.rows, self.point.gradient
        outward = ((self.theta <= rows.lower) & (gradient > 0)) | ((self.theta >= rows.upper) & (gradient < 0))
        free = rows.free * ~outward
        system = _GaussNewton(self.likelihood, self.point, rows, free)
        q, products = gradient * free, []
        for ds, dy, rho in reversed(self.pairs):
            products.append(rho * (ds * q).sum(0))
            q = q - products[-1] * dy * free
        step = system.solve(q)
        for (ds, dy, rho), a in zip(self.pairs, reversed(products), strict=True):
            step += free * ds * (a - rho * (dy * free * step).sum(0))
        predicted_decrease = (step * gradient).sum(0)
        # Secant pairs from the other side of a fold can give an ascending direction: use the one without them.
        uphill = ~(predicted_decrease >= 0) & np.isfinite(self.point.value)
        if uphill.any() and self.pairs:
            without_pairs = system.solve(gradient * free)
            step[:, uphill] = without_pairs[:, uphill]
            predicted_decrease[uphill] = (without_pairs * gradient).sum(0)[uphill]
            self.forget_pairs(uphill)
        if self.careful.any():
            step = self._stop_at_bounds(step, free)
            predicted_decrease = np.where(self.careful, (step * gradient).sum(0), predicted_decrease)
        return step, predicted_decrease

    def _stop_at_bounds(self, step: Array, free: Array) -> Array:
        """The step of each careful row, without crossing bounds: what would cross first stops there, the others follow.

        If the data determine only a combination of two factors, a step of thousands in one is compensated by one in the
        other. Cut off at the bound of the first, it would no longer be compensated.
        """
        i = at_least_two(np.flatnonzero(self.careful))
        rows, point, free, theta = self.rows.take(i), self.point.take(i), np.take(free, i, 1), np.take(self.theta, i, 1)
        stopped, others, new = np.zeros(theta.shape), free.copy(), np.take(step, i, 1)
        columns = np.arange(len(i))
        for _ in range(MAX_STOPS):
            reached = np.clip(theta - new, rows.lower, rows.upper)
            crosses = (theta - new != reached) & (others > 0)
            fraction = np.where(crosses, (theta - reached) / np.where(crosses, new, 1.0), np.inf)
            first = fraction.argmin(0)
            some = crosses.any(0)
            if not some.any():
                break
            stopped[first[some], columns[some]] = (theta - reached)[first[some], columns[some]]
            others[first[some], columns[some]] = 0
            gradient = (point.gradient - self._gauss_newton_product(rows, point, stopped)) * others
            following = _GaussNewton(self.likelihood, point, rows, others).solve(gradient)
            new[:, some] = np.where(others > 0, following, stopped)[:, some]
        better = (new * point.gradient).sum(0) > 0
        step[:, i[better]] = new[:, better]
        return step

    def _gauss_newton_product(self, rows: Rows, point: Point, vector: Array) -> Array:
        """J^T W J times a vector (P, R); see `_GaussNewton`."""
        s, local = self.likelihood.model.n_shared, self.likelihood.local
        change = np.matmul(point.jacobian, vector[:s].T[:, :, None])[:, :, 0].T
        change = ratio_or_zero(rows.data, point.nu * point.nu) * (change + local @ (point.jacobian_local * vector[s:]))
        of_shared = np.matmul(np.ascontiguousarray(change.T)[:, None], point.jacobian)[:, 0].T
        of_local = point.jacobian_local * np.take(change, self.likelihood.model.local_bin, 0)
        return np.concatenate([of_shared, of_local])

    def forget_pairs(self, mask: Mask) -> None:
        for _, _, rho in self.pairs:
            rho[mask] = 0

    def move(self, step: Array) -> Index:
        """Take the step, or a part of it that does not increase -log L; return the positions of rows that gave up.

        A row for which not even the smallest part succeeds gets one more step without secant pairs, and then gives up;
        `newton` continues it.
        """
        theta, point, failed = self._line_search(step, self._first_length(step))
        gave_up = np.empty(0, np.intp)
        if failed.any():
            self.forget_pairs(failed)
            self.careful |= failed
            hopeless = failed & self.retried
            self.retried = failed.copy()
            if hopeless.any():
                gave_up = self.index[hopeless]
                remaining = np.flatnonzero(~hopeless)
                if not len(remaining):
                    self.index = self.index[:0]
                    return gave_up
                i = self.keep_only(remaining)
                theta, point = np.take(theta, i, 1), point.take(i)
        else:
            self.retried[:] = False
        ds, dy = theta - self.theta, point.gradient - self.point.gradient
        product = (ds * dy).sum(0)
        good = product > 1e-10 * np.sqrt((ds * ds).sum(0) * (dy * dy).sum(0)) + 1e-300
        rho = np.where(good, 1 / np.where(good, product, 1.0), 0.0)
        self.pairs = [*self.pairs, (ds, dy, rho)][-SECANT_PAIRS:]
        self.theta, self.point = theta, point
        return gave_up

    def _first_length(self, step: Array) -> Array:
        """The fraction of the step to try first, (R,), at most 1."""
        model, rows = self.likelihood.model, self.rows
        longest = np.abs(step[: model.n_alpha]).max(0, initial=0.0)
        length = np.minimum(1, MAX_STEP / np.maximum(longest, 1e-12))
        # Stop at the bound of the parameter of interest: the changes of the others belong to its full step.
        poi_step, poi = step[model.poi], self.theta[model.poi]
        distance = np.where(poi_step > 0, poi - rows.lower[model.poi], poi - rows.upper[model.poi])
        limited = np.minimum(length, distance / np.where(poi_step == 0, 1, poi_step))
        return np.where((distance != 0) & (poi_step != 0), limited, length)

    def _line_search(self, step: Array, length: Array) -> tuple[Array, Point, Mask]:
        """Halve each row's step until -log L does not increase; rows for which it always increases do not move."""
        likelihood, rows, current = self.likelihood, self.rows, self.theta
        highest = self.point.value + 1e-10 * np.maximum(1, np.abs(self.point.value))

        def moved(rows: Rows, current: Array, step: Array, length: Array) -> Array:
            new = likelihood.avoid_zero(np.clip(current - length * step, rows.lower, rows.upper))
            np.copyto(new, current, where=rows.free == 0)  # a fixed parameter keeps its value even outside its bounds
            return new

        def worse(point: Point, highest: Array) -> Mask:
            return ~((point.value <= highest) & np.isfinite(point.gradient).all(0))

        theta = moved(rows, current, step, length)
        point = likelihood(rows, theta)
        remaining = np.flatnonzero(worse(point, highest))
        for _ in range(HALVINGS):
            if not len(remaining):
                break
            length[remaining] *= 0.5
            i = at_least_two(remaining)
            some_rows = rows.take(i)
            trial = moved(some_rows, np.take(current, i, 1), np.take(step, i, 1), length[i])
            trial_point = likelihood(some_rows, trial)
            theta[:, i] = trial
            point.update(i, trial_point)
            remaining = np.unique(i[worse(trial_point, highest[i])])
        failed = np.zeros(len(length), bool)
        if len(remaining):
            failed[remaining] = True
            theta[:, remaining] = current[:, remaining]
            point.update(remaining, self.point.take(remaining))
        return theta, point, failed


class _Competition:
    """Compares several starts of the same fits, and tells which of them can be dropped."""

    def __init__(self, rival: Index, n_parameters: int, previous: Fit | None, same_basin: float) -> None:
        self.rival, self.same_basin = rival, same_basin
        self.theta = np.full((n_parameters, len(rival)), np.inf)  # the last point of every row
        self.value = np.full(len(rival), np.inf)
        self.ended = np.zeros(len(rival), bool)
        if previous is not None:
            self.theta, self.value = (
                np.hstack([self.theta, previous.theta]),
                np.concatenate([self.value, previous.value]),
            )
            self.ended = np.concatenate([self.ended, np.ones(len(previous.value), bool)])

    def dropped(
        self, index: Index, theta: Array, value: Array, predicted_decrease: Array, finished: Mask
    ) -> tuple[Mask, Mask]:
        """Rows that approach their rival's minimum, and rows whose rival has finished with a value they cannot reach."""
        self.theta[:, index], self.value[index] = theta, value
        self.ended[index[finished]] = True
        rival = self.rival[index]
        same = np.abs(self.theta[:, rival] - theta).max(0) < self.same_basin
        lost = (
            self.ended[rival]
            & (predicted_decrease < 1e-2)
            & (value - 2 * predicted_decrease > self.value[rival] + 1e-6)
        )
        candidates = ~finished & (rival >= 0)
        dropped = candidates & (same | lost)
        self.value[index[dropped]] = np.inf
        self.ended[index[dropped]] = True
        return candidates & same, dropped & ~same


class _GaussNewton:
    """Solves linear systems with the matrix D + J^T W J of every row, with D diagonal and W = n / nu^2.

    Local parameters, which affect one bin each, are eliminated first. This is exact: they only reduce the weight of
    their bin. The remaining system is either one in the bins, (1 + A D^-1 A^T) z = ... with A = W'^(1/2) J (Woodbury),
    or one in the shared parameters, D + A^T A. The smaller one is used.
    """

    def __init__(self, likelihood: Likelihood, point: Point, rows: Rows, free: Array) -> None:
        self.likelihood, s = likelihood, likelihood.model.n_shared
        prior = rows.precision + 1e-9
        if likelihood.has_poisson:
            prior[likelihood.poisson] += rows.tau[likelihood.poisson]
        # D can become negative far from the minimum: use at least a fifth of the constraints' curvature.
        self.inverse = free / np.maximum(point.diagonal + 1e-9, 0.2 * prior)  # of D, (P, R); 0 for fixed parameters
        weight = ratio_or_zero(rows.data, point.nu * point.nu)
        self.local = self.inverse[s:] * point.jacobian_local
        weight /= 1 + weight * (likelihood.local @ (self.local * point.jacobian_local))
        self.root = np.sqrt(weight).T  # (R, B)
        self.a = point.jacobian * self.root[:, :, None]
        self.shared = np.ascontiguousarray(self.inverse[:s].T)
        n_bins = self.a.shape[1]
        self.in_bins = n_bins <= s
        if self.in_bins:
            self.scaled = self.a * self.shared[:, None]
            matrix = np.matmul(self.scaled, self.a.transpose(0, 2, 1))
            matrix[:, np.arange(n_bins), np.arange(n_bins)] += 1
        else:
            free_shared = self.shared > 0
            self.a *= free_shared[:, None]
            matrix = np.matmul(self.a.transpose(0, 2, 1), self.a)
            diagonal = np.where(free_shared, 1 / np.where(free_shared, self.shared, 1.0), 1.0)
            matrix[:, np.arange(s), np.arange(s)] += diagonal
        bad = ~np.isfinite(matrix).all((1, 2))
        if bad.any():
            matrix[bad] = np.eye(matrix.shape[1])
        self.matrix = matrix

    def solve(self, gradient: Array) -> Array:
        """(D + J^T W J)^-1 gradient, both (P, R)."""
        s = self.likelihood.model.n_shared
        of_local = (self.likelihood.local @ (self.local * gradient[s:])).T * self.root  # (R, B)
        solution = self.inverse * gradient
        if self.in_bins:
            right_side = np.matmul(self.a, solution[:s].T[:, :, None])[:, :, 0] + of_local
            z = _solve_each(self.matrix, right_side[:, :, None])
            solution[:s] -= np.matmul(self.scaled.transpose(0, 2, 1), z)[:, :, 0].T
            y = z[:, :, 0] * self.root
        else:
            right_side = np.where(self.shared > 0, gradient[:s].T, 0.0) - np.matmul(of_local[:, None], self.a)[:, 0]
            x = _solve_each(self.matrix, right_side[:, :, None])
            solution[:s] = x[:, :, 0].T
            y = (np.matmul(self.a, x)[:, :, 0] + of_local) * self.root
        solution[s:] -= self.local * np.take(y, self.likelihood.model.local_bin, 1).T
        return solution


def _solve_each(matrix: Array, right: Array) -> NDArray[np.floating]:
    """Solve (R, n, n) for (R, n, 1), row by row; NaN if a matrix is singular, and `newton` then continues the row."""
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


# ---------------------------------------------------------------- one row at a time


@np.errstate(all="ignore")
def newton(likelihood: Likelihood, rows: Rows, start: Array) -> tuple[Array, float, int]:
    """Minimise one row, given twice in `rows`, from start (P,): the best theta (P,), its value, and how it ended."""
    theta, point = start, likelihood(rows, np.stack([start, start], 1))
    for _ in range(NEWTON_STEPS):
        step, predicted_decrease, by_log = _newton_step(likelihood, rows, theta, point)
        if predicted_decrease is None or predicted_decrease < TOLERANCE:
            return theta, float(point.value[0]), NOT_FINITE if predicted_decrease is None else CONVERGED
        moves = by_log | (np.arange(len(step)) < likelihood.model.n_alpha)
        length = min(1.0, MAX_NEWTON_STEP / np.abs(step[moves]).max(initial=1e-12))
        for _ in range(50):
            moved = np.where(by_log, theta * np.exp(np.where(by_log, length * step, 0.0)), theta + length * step)
            trial = np.clip(moved, rows.lower[:, 0], rows.upper[:, 0])
            trial = likelihood.avoid_zero(np.where(rows.free[:, 0] > 0, trial, theta))
            trial_point = likelihood(rows, np.stack([trial, trial], 1))
            if trial_point.value[0] < point.value[0] and np.isfinite(trial_point.gradient).all():
                break
            length *= 0.5
        else:
            # Rounding hides the predicted decrease: the fit has converged if CLs cannot show a difference of that size.
            return theta, float(point.value[0]), CONVERGED if predicted_decrease < 100 * TOLERANCE else STUCK
        theta, point = trial, trial_point
    return theta, float(point.value[0]), TOO_MANY_STEPS


def _newton_step(likelihood: Likelihood, rows: Rows, theta: Array, point: Point) -> tuple[Array, float | None, Mask]:
    """A saddle-free Newton step (P,) to add, its predicted decrease, and which parameters change by their logarithm.

    The predicted decrease is None if the Hessian is not finite, and 0 if no parameter can change.
    """
    gradient, lower, upper = point.gradient[:, 0], rows.lower[:, 0], rows.upper[:, 0]
    free = rows.free[:, 0] > 0
    # Steps that are cut off at a bound approach it without reaching it: close enough counts as at the bound.
    margin = BOUND_TOLERANCE * np.maximum(1, np.abs(theta))
    free &= ~((theta <= lower + margin) & (gradient > 0)) & ~((theta >= upper - margin) & (gradient < 0))
    # Factors without a constraint multiply each other: in their logarithms, a valley of equal products is straight.
    is_factor = np.arange(len(theta)) >= likelihood.model.n_alpha
    by_log = (
        free & is_factor & (lower >= 0) & (rows.precision[:, 0] == 0) & (rows.tau[:, 0] == 0) & (theta > SMALL_FACTOR)
    )
    step = np.zeros(len(theta))
    if not free.any():
        return step, 0.0, by_log
    derivative = np.where(by_log, theta, 1.0)
    with np.errstate(all="ignore"):
        matrix = hessian(likelihood, rows, np.stack([theta, theta], 1)) * derivative * derivative[:, None]
        matrix[by_log, by_log] += (derivative * gradient)[by_log]
    matrix, slope = matrix[np.ix_(free, free)], (gradient * derivative)[free]
    if not np.isfinite(matrix).all():
        return step, None, by_log
    scale = 1 / np.sqrt(np.maximum(np.abs(np.diag(matrix)), 1e-8))
    values, vectors = np.linalg.eigh(matrix * scale * scale[:, None])
    projection = vectors.T @ (slope * scale)
    values = np.maximum(np.abs(values), 1e-9)
    step[free] = -scale * (vectors @ (projection / values))
    return step, float((projection**2 / values).sum()), by_log


def hessian(likelihood: Likelihood, rows: Rows, theta: Array) -> Array:
    """The Hessian (P, P) of -log L for one row, given twice in `rows`; the columns of theta (P, 2) are equal."""
    model, n = likelihood.model, theta.shape[0]
    alpha = theta[: model.n_alpha]
    v, v1, v2 = code4p_weight(alpha)
    nu = likelihood.expected(rows, theta)[:, 0]
    data = rows.data[:, 0]
    residual = 1 - ratio_or_zero(data, nu)
    out, diagonal = np.zeros((n, n)), np.arange(n)
    jacobian = np.zeros((len(nu), n))
    for evaluator in likelihood.evaluators:
        block = evaluator.block
        (f, f1, f2), factor, rate = evaluator.rates(rows, theta, powers_of(alpha), v, 2)
        factor, rate = factor[:, 0], rate[:, 0]
        slope, curvature = f1[:, 0] / f[:, 0], f2[:, 0] / f[:, 0]
        weight = residual[block.cell_bin]
        log_slope = np.zeros((evaluator.n_cells, n))  # of the factors
        delta = np.zeros((evaluator.n_cells, n))  # of the sum of the histosys
        log_slope[evaluator.entry_cell, block.pair_alpha[evaluator.entry_pair]] = slope[evaluator.entry_pair]
        second = np.zeros(n)
        of_pairs = (rate * weight)[evaluator.entry_cell] * (curvature - slope**2)[evaluator.entry_pair]
        np.add.at(second, block.pair_alpha[evaluator.entry_pair], of_pairs)
        for rank in block.factors:
            cell = np.flatnonzero(rank >= 0)
            log_slope[cell, rank[cell]] = 1 / theta[rank[cell], 0]
            np.add.at(second, rank[cell], -(rate * weight)[cell] / theta[rank[cell], 0] ** 2)
        symmetric, asymmetric = block.symmetric, block.asymmetric
        if evaluator.own:
            symmetric, asymmetric = rows.symmetric[:, 0], rows.asymmetric[:, 0]
        delta[block.hist_cell, block.hist_alpha] = symmetric + v1[block.hist_alpha, 0] * asymmetric
        np.add.at(second, block.hist_alpha, (factor * weight)[block.hist_cell] * asymmetric * v2[block.hist_alpha, 0])
        cross = delta.T @ ((factor * weight)[:, None] * log_slope)
        out += log_slope.T @ ((rate * weight)[:, None] * log_slope) + cross + cross.T
        out[diagonal, diagonal] += second
        np.add.at(jacobian, block.cell_bin, rate[:, None] * log_slope + factor[:, None] * delta)
    out += jacobian.T @ (ratio_or_zero(data, nu**2)[:, None] * jacobian)
    poisson = np.where(rows.tau[:, 0] > 0, rows.auxdata[:, 0] / theta[:, 0] ** 2, 0.0)
    out[diagonal, diagonal] += rows.precision[:, 0] + poisson
    return out
