"""The fast minimiser: projected quasi-Newton steps of many rows at once.

A step solves a system with the Gauss-Newton matrix plus the diagonal of the second derivatives, corrected by a few
secant pairs (L-BFGS with that matrix as the initial one; Nocedal and Wright, Numerical Optimization, algorithm 7.4). A
parameter stays at its bound if the gradient pushes it outward (Bertsekas 1982).
"""

from __future__ import annotations

import numpy as np

from histfactory.likelihood import Likelihood, Point, Rows, at_least_two, ratio_or_zero
from histfactory.minimise.gauss_newton import GaussNewton
from histfactory.minimise.result import CONVERGED, HIGHER, SAME, TOLERANCE, TOO_MANY_STEPS, Fit
from histfactory.model import Array, Index, Mask

MAX_STEPS = 40  # typical fits take 5 to 20 steps; rows that then have not converged go to `newton`
MAX_STEP = 1.5  # in standard deviations of any alpha: the quadratic model is not valid beyond
HALVINGS = 6  # of a step: if 1/64 of it does not help, compute another direction or use `newton`
MAX_STOPS = 3  # parameters that may reach a bound in one step
SECANT_PAIRS = 2  # older pairs describe a surface that has changed
SAME_BASIN = 0.2  # starts of one fit that are closer than this in every parameter lead to the same minimum


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
        system = GaussNewton(self.likelihood, self.point, rows, free)
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
            following = GaussNewton(self.likelihood, point, rows, others).solve(gradient)
            new[:, some] = np.where(others > 0, following, stopped)[:, some]
        better = (new * point.gradient).sum(0) > 0
        step[:, i[better]] = new[:, better]
        return step

    def _gauss_newton_product(self, rows: Rows, point: Point, vector: Array) -> Array:
        """J^T W J times a vector (P, R); see `GaussNewton`."""
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
