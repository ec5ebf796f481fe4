"""The negative log-likelihood of many hypotheses at once, with its gradient, on arrays whose last axis is the row.

A row is one fit of one hypothesis. Every operation is elementwise over rows, a product with a fixed sparse matrix
(which adds in a fixed order), or one small dense product per row. So the bits of a row depend neither on the other rows
nor on their number, and the results are the same for any division into chunks and processes. A dense product over all
rows would be as fast but not reproducible: BLAS chooses its kernel, and with it the order of the sums, by the number of
columns. `sum(0)` also sums in another order if there is a single row, hence `at_least_two`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from scipy import sparse
from scipy.special import gammaln

from histfactory.interpolation import code4, code4_coefficients, code4p_weight, powers_of
from histfactory.model import Array, Block, Index, Mask, Model

if TYPE_CHECKING:
    from histfactory.minimise.result import Fit

try:
    from scipy.sparse._sparsetools import csr_matvecs
except ImportError:  # it is private to SciPy, so another version may not have it
    csr_matvecs = None

ROUNDING = 1e-9  # of an expected count: samples with yields of both signs can add up to zero
TINY = 1e-12  # replaces a linear factor of zero, since the derivative is the expected count divided by the factor


def at_least_two(rows: Index) -> Index:
    """The same row numbers, but a single one twice: NumPy sums in another order if there is only one row."""
    return rows if len(rows) > 1 else np.repeat(rows, 2)


class Sum:
    """A fixed sparse matrix that multiplies arrays (columns, R). It calls SciPy's compiled loop directly.

    SciPy's `matrix @ x` needs ten microseconds to check its arguments, and the fit of a small model computes thousands
    of such products. Each output row is summed in the order of the matrix's entries, for any R.
    """

    def __init__(self, rows: Index, columns: Index, shape: tuple[int, int], data: Array | None = None) -> None:
        order = np.argsort(rows, kind="stable")
        self.shape, self.nnz = shape, len(order)
        self.data = np.ones(len(order)) if data is None else np.asarray(data, float)[order]
        self.columns = np.asarray(columns)[order].astype(np.int32)
        self.starts = np.zeros(shape[0] + 1, np.int32)
        np.cumsum(np.bincount(rows, minlength=shape[0]), out=self.starts[1:])

    def __matmul__(self, x: Array) -> Array:
        return self.add(x, np.zeros((self.shape[0], x.shape[1])))

    def add(self, x: Array, out: Array) -> Array:
        """`out` (rows, R) += matrix @ x; both in C order."""
        if self.nnz == 0:
            return out
        if csr_matvecs is None:
            out += sparse.csr_matrix((self.data, self.columns, self.starts), self.shape) @ x
        else:
            csr_matvecs(*self.shape, x.shape[1], self.starts, self.columns, self.data, x.reshape(-1), out.reshape(-1))
        return out


def replace_zeros(factors: Array) -> None:
    """Replace linear factors of zero by TINY, in place."""
    np.copyto(factors, TINY, where=np.abs(factors) < TINY)


def columns_of(array: Array, hypotheses: Index) -> Array:
    """The given rows of an array (H, ...), as columns (..., R) in C order."""
    return np.ascontiguousarray(array[hypotheses].T)


class Rows:
    """The numbers that differ between rows, as arrays (..., R): one row for each given hypothesis, with repetitions."""

    OF_PARAMETERS = "data", "auxdata", "precision", "tau", "lower", "upper", "free"
    OF_OWN_BLOCK = ("nominal", "coefficients", "log_hi", "log_lo", "high", "low", "even", "symmetric", "asymmetric")
    FIELDS = OF_PARAMETERS + OF_OWN_BLOCK

    def __init__(self, model: Model, hypotheses: Index) -> None:
        self.model = model
        self._read_parameters(hypotheses)
        self._read_own_block(hypotheses)

    def _read_parameters(self, hypotheses: Index) -> None:
        """Set the numbers of the parameters, and the data."""
        model = self.model
        self.data, self.auxdata = columns_of(model.data, hypotheses), columns_of(model.auxdata, hypotheses)
        self.precision, self.tau = columns_of(model.precision, hypotheses), columns_of(model.tau, hypotheses)
        self.lower, self.upper = columns_of(model.lower, hypotheses), columns_of(model.upper, hypotheses)
        self.free = columns_of(np.where(model.fixed, 0.0, 1.0), hypotheses)  # 1 or 0
        # `Likelihood.avoid_zero` moves parameters off zero, so a bound at zero has to move as well.
        replace_zeros(self.lower[model.n_alpha :])

    def _read_own_block(self, hypotheses: Index) -> None:
        """Set the yields and variations of the cells that each hypothesis has for itself."""
        own = self.model.own
        self.nominal = columns_of(own.nominal, hypotheses)
        self.symmetric, self.asymmetric = columns_of(own.symmetric, hypotheses), columns_of(own.asymmetric, hypotheses)
        self.high, self.low = columns_of(own.hi, hypotheses), columns_of(own.lo, hypotheses)
        self.coefficients, self.log_hi, self.log_lo = code4_coefficients(self.high, self.low)
        self.even = 0.5 * (self.high + self.low) - 1

    def take(self, index: Index) -> Self:
        """A copy of these rows in C order. (Plain indexing gives Fortran order, which is slower and sums differently.)"""
        other = self._without_numbers()
        for name in self.FIELDS:
            setattr(other, name, np.take(getattr(self, name), index, -1))
        return other

    def _without_numbers(self) -> Self:
        other = object.__new__(type(self))
        other.model = self.model
        return other

    @staticmethod
    def join(parts: list[Rows]) -> Rows:
        """The rows of all parts, one after the other."""
        other = parts[0]._without_numbers()
        for name in other.FIELDS:
            setattr(other, name, np.concatenate([getattr(part, name) for part in parts], -1))
        return other


@dataclass
class Point:
    """The likelihood and its derivatives at one point of each row."""

    value: Array  # (R,) -log L(theta) + log L(saturated)
    nu: Array  # (B, R) expected counts
    gradient: Array  # (P, R)
    jacobian: Array  # (R, B, S) d nu / d theta of the shared parameters
    jacobian_local: Array  # (T, R) the same for the local parameters, each in its only bin
    # (P, R) diagonal of the Hessian, less that of J^T W J with W = n / nu^2; approximate for the alphas
    diagonal: Array

    def take(self, index: Index) -> Point:
        """A copy of these rows."""

        def columns(array: Array) -> Array:
            return np.take(array, index, -1)

        return Point(
            columns(self.value),
            columns(self.nu),
            columns(self.gradient),
            np.take(self.jacobian, index, 0),
            columns(self.jacobian_local),
            columns(self.diagonal),
        )

    def update(self, index: Index, other: Point) -> None:
        """Replace these rows by those of another point, in place."""
        for name in ("value", "nu", "gradient", "jacobian_local", "diagonal"):
            getattr(self, name)[..., index] = getattr(other, name)
        self.jacobian[index] = other.jacobian


class _BlockEvaluator:
    """Evaluates one block of cells with fixed sparse matrices that sum over cells, pairs and hists.

    A model has two blocks: the cells that all hypotheses share and those of each hypothesis (own=True). The yields and
    variations of the first are constants in the matrices (`_shared_matrices`); those of the second come from `Rows`.
    """

    def __init__(self, block: Block, model: Model, own: bool) -> None:
        k, s, b, t = model.n_alpha, model.n_shared, model.data.shape[1], len(model.local_bin)
        cells, pairs, processes = len(block.cell_bin), len(block.pair_alpha), block.n_processes
        cell, pair = np.arange(cells), np.arange(pairs)
        self.own, self.block, self.n_alpha, self.n_cells = own, block, k, cells
        self.bins = Sum(block.cell_bin, cell, (b, cells))
        # The pairs of each process are adjacent, since pairs are sorted by process.
        self.with_pairs, self.starts = np.unique(block.pair_process, return_index=True)
        # For each rank, the cells that have a linear factor of that rank; None if all cells have one.
        self.ranks = [None if (rank >= 0).all() else np.flatnonzero(rank >= 0) for rank in block.factors]
        self.process_sum = Sum(block.cell_process, cell, (processes, cells))
        self.alpha_sum = Sum(block.pair_alpha, pair, (k, pairs))
        self.by_alpha = np.argsort(block.pair_alpha, kind="stable")
        self.alpha_start = np.searchsorted(block.pair_alpha[self.by_alpha], np.arange(k + 1))
        self._list_pairs_of_cells(b * k)
        # Linear factors.
        rank, where = np.nonzero(block.factors >= 0)
        parameter = block.factors[rank, where]
        wide = (parameter >= k) & (parameter < s)
        target = block.cell_bin[where[wide]] * (s - k) + parameter[wide] - k
        self.wide_jacobian = Sum(target, where[wide], (b * (s - k), cells))
        self.local_sum = Sum(parameter[~wide] - s, where[~wide], (t, cells))
        # histosys
        hist = np.arange(len(block.hist_cell))
        self.hist_bin_alpha = block.cell_bin[block.hist_cell] * k + block.hist_alpha
        self.hist_sum = Sum(self.hist_bin_alpha, hist, (b * k, len(hist)))
        if own:
            self.hist_cells = Sum(block.hist_cell, hist, (cells, len(hist)))
            self.hist_alpha = Sum(block.hist_alpha, hist, (k, len(hist)))
        else:
            self._shared_matrices(b)

    def _list_pairs_of_cells(self, n_targets: int) -> None:
        """Set `entry_pair` and `entry_cell`: a pair affects every cell of its process, and each of these is an entry."""
        block = self.block
        n_cells_of = np.bincount(block.cell_process, minlength=block.n_processes)
        first_cell = np.concatenate([[0], np.cumsum(n_cells_of)])[:-1]
        repeat = n_cells_of[block.pair_process]
        self.entry_pair = np.repeat(np.arange(len(block.pair_alpha)), repeat)
        within = np.arange(len(self.entry_pair)) - np.repeat(np.cumsum(repeat) - repeat, repeat)
        self.entry_cell = first_cell[block.pair_process][self.entry_pair] + within
        target = block.cell_bin[self.entry_cell] * self.n_alpha + block.pair_alpha[self.entry_pair]
        self.pair_jacobian = Sum(target, np.arange(len(self.entry_pair)), (n_targets, len(self.entry_pair)))

    def _shared_matrices(self, n_bins: int) -> None:
        block, k, cells, pairs = self.block, self.n_alpha, self.n_cells, len(self.block.pair_alpha)
        c, self.log_hi, self.log_lo = code4_coefficients(block.hi, block.lo)
        columns = np.arange(7)[:, None] * k + block.pair_alpha  # powers of alpha, see `powers_of`
        order = np.arange(1, 7)[:, None]
        at = np.broadcast_to(np.arange(pairs), (7, pairs))
        derivatives = (7, np.vstack([np.ones(pairs), c])), (6, order * c), (5, (order * (order - 1) * c)[1:])
        self.f = [Sum(at[:n].ravel(), columns[:n].ravel(), (pairs, 7 * k), data.ravel()) for n, data in derivatives]
        self.add_symmetric = Sum(block.hist_cell, block.hist_alpha, (cells, k), block.symmetric)
        self.add_asymmetric = Sum(block.hist_cell, block.hist_alpha, (cells, k), block.asymmetric)
        targets, shape = self.hist_bin_alpha, (n_bins * k, cells)
        self.jacobian_symmetric = Sum(targets, block.hist_cell, shape, block.symmetric)
        self.jacobian_asymmetric = Sum(targets, block.hist_cell, shape, block.asymmetric)
        even = 0.5 * (block.hi + block.lo) - 1
        self.alpha_even = Sum(block.pair_alpha, block.pair_process, (k, block.n_processes), even)
        self.alpha_asymmetric = Sum(block.hist_alpha, block.hist_cell, (k, cells), block.asymmetric)

    def interpolate(self, rows: Rows, alpha: Array, powers: Array, order: int) -> list[Array]:
        """f and its first `order` derivatives, each (pairs, R)."""
        if self.own:
            out = code4(rows.coefficients, np.take(alpha, self.block.pair_alpha, 0), order)
        else:
            out = [matrix @ powers for matrix in self.f[: order + 1]]
        # Beyond one sigma, which few parameters of few rows reach: hi^alpha or lo^-alpha.
        k, r = np.nonzero(np.abs(alpha) > 1)
        n = self.alpha_start[k + 1] - self.alpha_start[k]
        if n.sum():
            i = self.by_alpha[np.repeat(self.alpha_start[k] - np.cumsum(n) + n, n) + np.arange(n.sum())]
            r, x = np.repeat(r, n), np.repeat(alpha[k, r], n)
            if self.own:
                slope = np.where(x > 0, rows.log_hi[i, r], -rows.log_lo[i, r])
            else:
                slope = np.where(x > 0, self.log_hi[i], -self.log_lo[i])
            value = np.exp(slope * x)
            for derivative in out:
                derivative[i, r] = value
                value = value * slope
        return out

    def rates(self, rows: Rows, theta: Array, powers: Array, v: Array, order: int) -> tuple[list[Array], Array, Array]:
        """Interpolated factors; product of all factors (cells, R); expected counts (cells, R)."""
        block, alpha = self.block, theta[: self.n_alpha]
        f = self.interpolate(rows, alpha, powers, order)
        factor = np.ones((block.n_processes, theta.shape[1]))
        if len(self.starts):
            # A product instead of a sum of logarithms, since a polynomial can become zero or negative.
            factor[self.with_pairs] = np.multiply.reduceat(f[0], self.starts, axis=0)
        factor = np.take(factor, block.cell_process, 0)
        for rank, cells in zip(block.factors, self.ranks, strict=True):
            if cells is None:
                factor *= np.take(theta, rank, 0)
            else:
                factor[cells] *= np.take(theta, rank[cells], 0)
        if not len(block.hist_cell):
            shape = rows.nominal if self.own else block.nominal[:, None]
        elif self.own:
            x = np.take(alpha, block.hist_alpha, 0) * rows.symmetric
            x += np.take(v, block.hist_alpha, 0) * rows.asymmetric
            shape = rows.nominal + self.hist_cells @ x
        else:
            shape = np.repeat(block.nominal[:, None], alpha.shape[1], 1)
            self.add_symmetric.add(alpha, shape)
            self.add_asymmetric.add(v, shape)
        return f, factor, shape * factor

    def add_slopes(self, rows: Rows, f: list[Array], factor: Array, rate: Array, slopes: _Slopes) -> None:
        """Add the derivatives of the expected counts. f, factor and rate come from `rates`; f[1] is overwritten."""
        block = self.block
        if len(block.pair_alpha):
            f[1] /= f[0]
            product = np.take(f[1], self.entry_pair, 0)
            product *= np.take(rate, self.entry_cell, 0)
            self.pair_jacobian.add(product, slopes.alpha)
        self.wide_jacobian.add(rate, slopes.wide)
        self.local_sum.add(rate, slopes.local)
        if self.own and len(block.hist_cell):
            of_hist = np.take(factor, block.hist_cell, 0)
            self.hist_sum.add(of_hist * rows.symmetric, slopes.alpha)
            of_hist *= rows.asymmetric
            self.hist_sum.add(of_hist, slopes.asymmetric)
        elif len(block.hist_cell):
            self.jacobian_symmetric.add(factor, slopes.alpha)
            self.jacobian_asymmetric.add(factor, slopes.asymmetric)

    def add_curvature(self, rows: Rows, factor: Array, rate: Array, residual: Array, curvature: Array) -> None:
        """Add the second derivative with respect to each alpha (K, R), divided by v''.

        This is exact for a histosys. A normsys is treated as a histosys with the same variations at +-1 sigma, which
        avoids the polynomial. The derivatives affect only the steps, not the minimum.
        """
        block = self.block
        weight = np.take(residual, block.cell_bin, 0)
        if len(block.pair_alpha):
            of_process = self.process_sum @ (rate * weight)
            if self.own:
                self.alpha_sum.add(np.take(of_process, block.pair_process, 0) * rows.even, curvature)
            else:
                self.alpha_even.add(of_process, curvature)
        if len(block.hist_cell):
            weight *= factor
            if self.own:
                self.hist_alpha.add(np.take(weight, block.hist_cell, 0) * rows.asymmetric, curvature)
            else:
                self.alpha_asymmetric.add(weight, curvature)


class _Slopes:
    """Sums for the Jacobian d nu / d theta: alphas, linear factors of several bins, and linear factors of one bin."""

    def __init__(self, model: Model, n_rows: int) -> None:
        k, s, b = model.n_alpha, model.n_shared, model.data.shape[1]
        self.alpha = np.zeros((b * k, n_rows))
        self.asymmetric = np.zeros((b * k, n_rows))  # not yet multiplied by v'
        self.wide = np.zeros((b * (s - k), n_rows))  # not yet divided by theta
        self.local = np.zeros((len(model.local_bin), n_rows))  # not yet divided by theta

    def jacobian(self, model: Model, theta: Array, v1: Array) -> Array:
        """The Jacobian of the shared parameters, (R, B, S)."""
        k, s, b, n_rows = model.n_alpha, model.n_shared, model.data.shape[1], theta.shape[1]
        jacobian = np.empty((b, s, n_rows))
        asymmetric = self.asymmetric.reshape(b, k, n_rows)
        asymmetric *= v1
        np.add(self.alpha.reshape(b, k, n_rows), asymmetric, out=jacobian[:, :k])
        np.divide(self.wide.reshape(b, s - k, n_rows), theta[k:s], out=jacobian[:, k:])
        return np.ascontiguousarray(jacobian.transpose(2, 0, 1))


class Backend(Protocol):
    """What computes the fits instead of NumPy: an `on_jax.device.Device`.

    The methods replace the functions of the same name, for the rows that its method `rows` has made. chunk_size:
    hypotheses to fit together. note: a sentence if NumPy is probably faster, else "".
    """

    FEWEST_ROWS: int  # NumPy computes the expected counts of fewer rows
    chunk_size: int

    @property
    def note(self) -> str: ...

    def rows(self, hypotheses: Index) -> Rows: ...

    def expected(self, rows: Any, theta: Array) -> Array: ...

    def fold_depth(self, rows: Any, theta: Array) -> Array: ...

    def fit_batch(
        self, rows: Any, result: Fit, rival: Index | None, previous: Fit | None, same_basin: float
    ) -> None: ...


class Likelihood:
    """The likelihood of a `Model`, for any of its rows."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.backend: Backend | None = None  # None: NumPy
        self.evaluators = [_BlockEvaluator(model.shared, model, own=False), _BlockEvaluator(model.own, model, own=True)]
        self.evaluators = [evaluator for evaluator in self.evaluators if evaluator.n_cells]
        constrained = model.tau > 0
        self.poisson = slice_or_index(np.flatnonzero(constrained.any(0)))  # parameters with a Poisson constraint
        self.has_poisson = bool(constrained.any())
        self.all_poisson = bool(constrained[:, self.poisson].all())  # in every hypothesis
        self.local = Sum(model.local_bin, np.arange(len(model.local_bin)), (model.data.shape[1], len(model.local_bin)))

    def rows(self, hypotheses: Index) -> Rows:
        """One row for each of these hypotheses."""
        return Rows(self.model, hypotheses) if self.backend is None else self.backend.rows(hypotheses)

    def avoid_zero(self, theta: Array) -> Array:
        """Replace linear factors of zero by TINY, in place."""
        replace_zeros(theta[self.model.n_alpha :])
        return theta

    def value(self, rows: Rows, theta: Array, nu: Array) -> Array:
        """-log L + log L(saturated) (R,) at theta (P, R), with the expected counts nu (B, R)."""
        difference = theta - rows.auxdata
        normal = rows.precision * difference * difference
        value = deviance(nu, rows.data).sum(0) + 0.5 * normal.sum(0)
        if self.has_poisson:
            tau, aux = rows.tau[self.poisson], rows.auxdata[self.poisson]
            rate = tau * theta[self.poisson]
            if self.all_poisson:
                value += deviance(rate, aux).sum(0)
            else:
                on = tau > 0
                value += np.where(on, deviance(rate, np.where(on, aux, 0.0)), 0.0).sum(0)
        return value

    def expected(self, rows: Rows, theta: Array) -> Array:
        """Expected counts nu (B, R)."""
        if self.backend is not None and theta.shape[1] >= self.backend.FEWEST_ROWS:
            return self.backend.expected(rows, theta)
        powers, v = powers_of(theta[: self.model.n_alpha]), code4p_weight(theta[: self.model.n_alpha])[0]
        nu = np.zeros((self.model.data.shape[1], theta.shape[1]))
        for evaluator in self.evaluators:
            evaluator.bins.add(evaluator.rates(rows, theta, powers, v, 0)[2], nu)
        return nu

    def expects_no_negative_counts(self, rows: Rows, theta: Array) -> Mask:
        """Whether no expected count is negative (by more than rounding), (R,).

        In bins without observed events, log L = -nu even for nu < 0 (as in pyhf), so a minimiser can run off to there.
        """
        padded = at_least_two(np.arange(theta.shape[1]))
        with np.errstate(all="ignore"):
            expected = self.expected(rows.take(padded), np.take(theta, padded, 1))
        return np.logical_and.reduce(expected >= -ROUNDING)[: theta.shape[1]]

    def __call__(self, rows: Rows, theta: Array) -> Point:
        """Value, gradient and Jacobian at theta (P, R)."""
        with np.errstate(all="ignore"):  # a trial step may give NaN; the minimiser then halves it
            return self._evaluate(rows, theta)

    def _evaluate(self, rows: Rows, theta: Array) -> Point:
        model, n_rows = self.model, theta.shape[1]
        k, s = model.n_alpha, model.n_shared
        powers, (v, v1, v2) = powers_of(theta[:k]), code4p_weight(theta[:k])
        parts = [evaluator.rates(rows, theta, powers, v, 1) for evaluator in self.evaluators]
        nu = np.zeros((model.data.shape[1], n_rows))
        for evaluator, (_, _, rate) in zip(self.evaluators, parts, strict=True):
            evaluator.bins.add(rate, nu)
        residual = 1 - ratio_or_zero(rows.data, nu)

        slopes, curvature = _Slopes(model, n_rows), np.zeros((k, n_rows))
        for evaluator, (f, factor, rate) in zip(self.evaluators, parts, strict=True):
            evaluator.add_slopes(rows, f, factor, rate, slopes)
            evaluator.add_curvature(rows, factor, rate, residual, curvature)
        curvature *= v2
        jacobian, jacobian_local = slopes.jacobian(model, theta, v1), slopes.local / theta[s:]
        diagonal = rows.precision.copy()
        diagonal[:k] += curvature
        gradient = rows.precision * (theta - rows.auxdata)
        gradient[:s] += np.matmul(np.ascontiguousarray(residual.T)[:, None], jacobian)[:, 0].T
        gradient[s:] += np.take(residual, model.local_bin, 0) * jacobian_local
        if self.has_poisson:
            tau, aux, x = rows.tau[self.poisson], rows.auxdata[self.poisson], theta[self.poisson]
            slope, curvature = tau - aux / x, aux / (x * x)
            gradient[self.poisson] += slope if self.all_poisson else np.where(tau > 0, slope, 0.0)
            diagonal[self.poisson] += curvature if self.all_poisson else np.where(tau > 0, curvature, 0.0)
        return Point(self.value(rows, theta, nu), nu, gradient, jacobian, jacobian_local, diagonal)


def deviance(rate: Array, n: Array) -> Array:
    """Half the Poisson deviance, element by element: rate - n - n log(rate / n), which is `rate` for n = 0."""
    if n.all():
        return rate - n - n * np.log(rate / n)
    some = n > 0
    return rate - n - n * np.log(np.where(some, rate, 1.0) / np.where(some, n, 1.0))


def ratio_or_zero(n: Array, divisor: Array) -> Array:
    """n / divisor, element by element; 0 for n = 0, also in an empty bin, whose expected count can be 0."""
    if n.all():
        return n / divisor
    return np.divide(n, divisor, out=np.zeros_like(divisor), where=n > 0)


def slice_or_index(index: Index) -> slice | Index:
    """A slice if the elements are adjacent, since a slice gives a view and an index a copy."""
    if len(index) and index[-1] - index[0] == len(index) - 1:
        return slice(int(index[0]), int(index[-1]) + 1)
    return index


def log_likelihood(model: Model, hypothesis: int, theta: Array) -> float:
    """log L at theta (P,) with all constants, as in pyhf's `Model.logpdf`."""
    likelihood, rows = Likelihood(model), Rows(model, np.array([hypothesis, hypothesis]))
    both = np.stack([theta, theta], 1)
    value = likelihood.value(rows, both, likelihood.expected(rows, both))[0]
    return saturated_log_likelihood(model, hypothesis) - float(value)


def saturated_log_likelihood(model: Model, hypothesis: int) -> float:
    """log L, with all constants, of a model that expects exactly the observed counts and auxiliary data."""

    def of_counts(n: Array) -> float:
        return float((np.where(n > 0, n * np.log(np.where(n > 0, n, 1.0)), 0.0) - n - gammaln(n + 1)).sum())

    present = model.present[hypothesis]
    precision, tau = model.precision[hypothesis][present], model.tau[hypothesis][present]
    counts = of_counts(model.data[hypothesis]) + of_counts(model.auxdata[hypothesis][present][tau > 0])
    return counts + 0.5 * float(np.log(precision[precision > 0] / (2 * np.pi)).sum())
