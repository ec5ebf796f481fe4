"""The negative log-likelihood of many hypotheses at once, with gradient: NumPy on arrays whose last axis is the row.

A row is one fit of one hypothesis. Every operation is either elementwise over rows, a product with a fixed sparse
matrix (which adds row by row in a fixed order), or one small dense product a row. So the bits of a row do not depend
on which rows stand beside it, nor on how many: the same scan cut into other chunks, or spread over other processes,
gives the same numbers. (A dense product over all rows would be as fast and would break that: BLAS picks its kernel,
and with it the order of the sums, by the number of columns. `sum(0)` of a single row does so too, hence two rows at
least.)
"""

from __future__ import annotations

import numpy as np
from model import Array, Block, Model
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import gammaln

try:
    from scipy.sparse._sparsetools import csr_matvecs
except ImportError:  # private to SciPy: a version may move it
    csr_matvecs = None

TINY = 1e-12  # a linear factor at zero is put here: its derivative is lambda / theta


def code4_coefficients(hi: Array, lo: Array) -> tuple[Array, Array, Array]:
    """Polynomial of the normsys interpolation, 1 + sum_i c_i alpha^i on |alpha| < 1; c (6, ...), log hi, log lo.

    The six coefficients make value, slope and curvature continuous at +-1 with the exponentials hi^alpha and
    lo^-alpha outside (code 4 of pyhf's documentation; CERN-OPEN-2012-016). Odd terms solve the half difference of the
    conditions on value and curvature at +-1 and the half sum of those on the slope; even terms the other halves.
    """
    log_hi, log_lo = np.log(hi), np.log(lo)
    v_even, v_odd = 0.5 * (hi + lo) - 1, 0.5 * (hi - lo)
    s_even, s_odd = 0.5 * (hi * log_hi + lo * log_lo), 0.5 * (hi * log_hi - lo * log_lo)
    k_even, k_odd = 0.5 * (hi * log_hi**2 + lo * log_lo**2), 0.5 * (hi * log_hi**2 - lo * log_lo**2)
    c = np.empty((6, *hi.shape))
    c[0], c[2], c[4] = (
        (15 * v_odd - 7 * s_odd + k_odd) / 8,
        (-5 * v_odd + 5 * s_odd - k_odd) / 4,
        (3 * v_odd - 3 * s_odd + k_odd) / 8,
    )
    c[1], c[3], c[5] = (
        (24 * v_even - 9 * s_even + k_even) / 8,
        (-12 * v_even + 7 * s_even - k_even) / 4,
        (8 * v_even - 5 * s_even + k_even) / 8,
    )
    return c, log_hi, log_lo


def code4p_weight(alpha: Array) -> tuple[Array, Array, Array]:
    """v, v', v'' of the histosys interpolation: delta = symmetric * alpha + asymmetric * v(alpha) (code 4p)."""
    square, outside = alpha * alpha, np.abs(alpha) > 1
    v = square * (15 + square * (3 * square - 10)) / 8
    v1 = alpha * (30 + square * (18 * square - 40)) / 8
    v2 = (30 + square * (90 * square - 120)) / 8
    if outside.any():
        v, v1, v2 = (
            np.where(outside, np.abs(alpha), v),
            np.where(outside, np.sign(alpha), v1),
            np.where(outside, 0.0, v2),
        )
    return v, v1, v2


class Sum:
    """A fixed sparse matrix that multiplies arrays (columns, R), by SciPy's compiled loop without what surrounds it.

    `matrix @ x` of SciPy spends ten microseconds on looking at its arguments; a fit of a small model makes thousands of
    such products. Each output row is added up in the order of the matrix's entries, whatever R is.
    """

    def __init__(
        self, rows: NDArray[np.intp], columns: NDArray[np.intp], shape: tuple[int, int], data: Array | None = None
    ) -> None:
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


class _Side:
    """One block of cells, made ready: fixed sparse matrices that sum over cells, pairs and hists."""

    def __init__(self, block: Block, model: Model, own: bool) -> None:
        k, s, b, t = model.n_alpha, model.n_shared, model.data.shape[1], len(model.local_bin)
        cells, pairs, processes = len(block.cell_bin), len(block.pair_alpha), block.n_processes
        cell, pair = np.arange(cells), np.arange(pairs)
        self.own, self.block, self.n_alpha, self.n_cells = own, block, k, cells
        self.bins = Sum(block.cell_bin, cell, (b, cells))
        # Factors of a process: segments of the pairs, which are sorted by process.
        self.with_pairs, self.starts = np.unique(block.pair_process, return_index=True)
        # Cells with a first, second, ... linear factor; None where all have it.
        self.ranks = [None if (rank >= 0).all() else np.flatnonzero(rank >= 0) for rank in block.factors]
        self.process_sum = Sum(block.cell_process, cell, (processes, cells))
        self.alpha_sum = Sum(block.pair_alpha, pair, (k, pairs))
        self.by_alpha = np.argsort(block.pair_alpha, kind="stable")
        self.alpha_start = np.searchsorted(block.pair_alpha[self.by_alpha], np.arange(k + 1))
        # A pair meets every bin of its process once.
        n_cells_of = np.bincount(block.cell_process, minlength=processes)
        first_cell = np.concatenate([[0], np.cumsum(n_cells_of)])[:-1]
        repeat = n_cells_of[block.pair_process]
        self.pb_pair = np.repeat(pair, repeat)
        within = np.arange(len(self.pb_pair)) - np.repeat(np.cumsum(repeat) - repeat, repeat)
        self.pb_cell = first_cell[block.pair_process][self.pb_pair] + within
        target = block.cell_bin[self.pb_cell] * k + block.pair_alpha[self.pb_pair]
        self.pair_jacobian = Sum(target, np.arange(len(self.pb_pair)), (b * k, len(self.pb_pair)))
        # Linear factors.
        rank, where = np.nonzero(block.factors >= 0)
        parameter = block.factors[rank, where]
        wide = (parameter >= k) & (parameter < s)
        self.wide_jacobian = Sum(
            block.cell_bin[where[wide]] * (s - k) + parameter[wide] - k, where[wide], (b * (s - k), cells)
        )
        self.local_sum = Sum(parameter[~wide] - s, where[~wide], (t, cells))
        # histosys
        h_bin = block.cell_bin[block.hist_cell] * k + block.hist_alpha
        self.hist_sum = Sum(h_bin, np.arange(len(h_bin)), (b * k, len(h_bin)))
        if own:
            hist = np.arange(len(block.hist_cell))
            self.hist_cells = Sum(block.hist_cell, hist, (cells, len(hist)))
            self.hist_alpha = Sum(block.hist_alpha, hist, (k, len(hist)))
        else:
            c, self.log_hi, self.log_lo = code4_coefficients(block.hi, block.lo)
            columns = np.arange(7)[:, None] * k + block.pair_alpha  # powers of alpha, see `_powers`
            order = np.arange(1, 7)[:, None]
            at = np.broadcast_to(pair, (7, pairs))
            self.f = [
                Sum(at[:n].ravel(), columns[:n].ravel(), (pairs, 7 * k), data.ravel())
                for n, data in ((7, np.vstack([np.ones(pairs), c])), (6, order * c), (5, (order * (order - 1) * c)[1:]))
            ]
            shape, where = (cells, k), (block.hist_cell, block.hist_alpha)
            self.add_symmetric = Sum(*where, shape, block.symmetric)
            self.add_asymmetric = Sum(*where, shape, block.asymmetric)
            self.jacobian_symmetric = Sum(h_bin, block.hist_cell, (b * k, cells), block.symmetric)
            self.jacobian_asymmetric = Sum(h_bin, block.hist_cell, (b * k, cells), block.asymmetric)
            self.alpha_even = Sum(block.pair_alpha, block.pair_process, (k, processes), 0.5 * (block.hi + block.lo) - 1)
            self.alpha_asymmetric = Sum(block.hist_alpha, block.hist_cell, (k, cells), block.asymmetric)

    def interpolate(self, rows: Rows, alpha: Array, powers: Array, order: int) -> list[Array]:
        """f and its first `order` derivatives, each (pairs, R)."""
        if self.own:
            out = _horner(rows.coefficients, np.take(alpha, self.block.pair_alpha, 0), order)
        else:
            out = [matrix @ powers for matrix in self.f[: order + 1]]
        # Beyond one sigma: hi^alpha or lo^-alpha. Few parameters of few rows.
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
            # A product, not a sum of logarithms: far out a polynomial can turn zero or negative.
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


def _horner(c: Array, x: Array, order: int) -> list[Array]:
    """1 + sum_i c_i x^(i+1) and its first `order` derivatives, all in one pass over the coefficients c (6, ...)."""
    value, slope, bend = c[5] * x, c[5].copy(), np.zeros_like(x)
    for lower in c[4::-1]:
        value += lower
        if order > 1:
            bend *= x
            bend += slope
        if order > 0:
            slope *= x
            slope += value
        value *= x
    value += 1
    return [value, slope, 2 * bend][: order + 1]


class Rows:
    """What differs from row to row: (..., R) arrays."""

    fields = (
        "data",
        "auxdata",
        "precision",
        "tau",
        "lower",
        "upper",
        "free",
        "nominal",
        "coefficients",
        "log_hi",
        "log_lo",
        "high",
        "low",
        "even",
        "symmetric",
        "asymmetric",
    )

    def __init__(self, model: Model, hypotheses: NDArray[np.intp]) -> None:
        def gather(array: Array) -> Array:
            return np.ascontiguousarray(array[hypotheses].T)

        self.data, self.auxdata, self.precision = gather(model.data), gather(model.auxdata), gather(model.precision)
        self.tau, self.lower, self.upper, self.free = (
            gather(model.tau),
            gather(model.lower),
            gather(model.upper),
            gather(1.0 - model.fixed),
        )
        # A bound at zero moves with the parameters that `Likelihood.clean` keeps off zero.
        linear = self.lower[model.n_alpha :]
        np.copyto(linear, TINY, where=np.abs(linear) < TINY)
        own = model.own
        self.nominal, self.symmetric, self.asymmetric = (
            gather(own.nominal),
            gather(own.symmetric),
            gather(own.asymmetric),
        )
        self.high, self.low = gather(own.hi), gather(own.lo)
        self.coefficients, self.log_hi, self.log_lo = code4_coefficients(self.high, self.low)
        self.even = 0.5 * (self.high + self.low) - 1

    def take(self, index: NDArray[np.intp]) -> Rows:
        """These rows only, in C order (plain indexing would give Fortran order, and slow and other sums)."""
        other = object.__new__(Rows)
        for name in self.fields:
            setattr(other, name, np.take(getattr(self, name), index, -1))
        return other

    @staticmethod
    def join(parts: list[Rows]) -> Rows:
        """The rows of all parts, one after the other."""
        other = object.__new__(Rows)
        for name in Rows.fields:
            setattr(other, name, np.concatenate([getattr(part, name) for part in parts], -1))
        return other


class Point:
    """The likelihood at one point of each row: value (R,), nu (B, R), gradient (P, R), J and the Hessian's diagonal."""

    fields = ("value", "nu", "gradient", "jacobian_local", "diagonal")
    value: Array  # (R,) -log L(theta) + log L(saturated)
    nu: Array  # (B, R) expected counts
    gradient: Array  # (P, R)
    jacobian: Array  # (R, B, S) d nu / d theta of the shared parameters
    jacobian_local: Array  # (T, R) the same for local parameters, each in its own bin
    diagonal: Array  # (P, R) diagonal of the Hessian, less that of J^T W J; approximate for the alphas

    def put(self, index: NDArray[np.intp], other: Point) -> None:
        for name in self.fields:
            getattr(self, name)[..., index] = getattr(other, name)
        self.jacobian[index] = other.jacobian


class Likelihood:
    """The likelihood of one `Model`, for any rows of it."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.sides = [_Side(model.shared, model, own=False), _Side(model.own, model, own=True)]
        self.sides = [side for side in self.sides if side.n_cells]
        constrained = model.tau > 0
        self.poisson = as_slice(np.flatnonzero(constrained.any(0)))  # parameters with a Poisson constraint
        self.has_poisson = bool(constrained.any())
        self.all_poisson = bool(constrained[:, self.poisson].all())  # in every hypothesis
        self.local = Sum(model.local_bin, np.arange(len(model.local_bin)), (model.data.shape[1], len(model.local_bin)))

    def clean(self, theta: Array) -> Array:
        """Linear factors moved off zero."""
        linear = theta[self.model.n_alpha :]
        np.copyto(linear, TINY, where=np.abs(linear) < TINY)
        return theta

    def value(self, rows: Rows, theta: Array, nu: Array) -> Array:
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
        powers, v = powers_of(theta[: self.model.n_alpha]), code4p_weight(theta[: self.model.n_alpha])[0]
        nu = np.zeros((self.model.data.shape[1], theta.shape[1]))
        for side in self.sides:
            side.bins.add(side.rates(rows, theta, powers, v, 0)[2], nu)
        return nu

    def __call__(self, rows: Rows, theta: Array) -> Point:
        """Value, gradient and Jacobian at theta (P, R)."""
        with np.errstate(all="ignore"):  # a trial step may go anywhere: the value is then NaN, and the step is halved
            return self._evaluate(rows, theta)

    def _evaluate(self, rows: Rows, theta: Array) -> Point:
        model, n_rows = self.model, theta.shape[1]
        k, s, b = model.n_alpha, model.n_shared, model.data.shape[1]
        alpha = theta[:k]
        powers, (v, v1, v2) = powers_of(alpha), code4p_weight(alpha)
        parts = [side.rates(rows, theta, powers, v, 1) for side in self.sides]
        point = Point()
        point.nu = np.zeros((b, n_rows))
        for side, part in zip(self.sides, parts, strict=True):
            side.bins.add(part[2], point.nu)
        point.value = self.value(rows, theta, point.nu)
        residual = 1 - rows.data / point.nu
        if not rows.data.all():
            residual = np.where(rows.data > 0, residual, 1.0)

        # Second derivatives of the interpolations: exact for histosys; a normsys is taken for a histosys with the same
        # +-1 sigma, which needs no polynomial. They only shape the steps, so this changes no minimum.
        bend = np.zeros((k, n_rows))
        slopes = np.zeros((b * k, n_rows))
        asymmetric = np.zeros((b * k, n_rows))
        wide = np.zeros((b * (s - k), n_rows))
        local = np.zeros((len(model.local_bin), n_rows))
        for side, (f, factor, rate) in zip(self.sides, parts, strict=True):
            block = side.block
            if len(block.pair_alpha):
                f[1] /= f[0]
                product = np.take(f[1], side.pb_pair, 0)
                product *= np.take(rate, side.pb_cell, 0)
                side.pair_jacobian.add(product, slopes)
            side.wide_jacobian.add(rate, wide)
            side.local_sum.add(rate, local)
            if side.own and len(block.hist_cell):
                here = np.take(factor, block.hist_cell, 0)
                side.hist_sum.add(here * rows.symmetric, slopes)
                here *= rows.asymmetric
                side.hist_sum.add(here, asymmetric)
            elif len(block.hist_cell):
                side.jacobian_symmetric.add(factor, slopes)
                side.jacobian_asymmetric.add(factor, asymmetric)
            weight = np.take(residual, block.cell_bin, 0)
            if len(block.pair_alpha):
                pull = side.process_sum @ (rate * weight)
                if side.own:
                    side.alpha_sum.add(np.take(pull, block.pair_process, 0) * rows.even, bend)
                else:
                    side.alpha_even.add(pull, bend)
            if len(block.hist_cell):
                weight *= factor
                if side.own:
                    side.hist_alpha.add(np.take(weight, block.hist_cell, 0) * rows.asymmetric, bend)
                else:
                    side.alpha_asymmetric.add(weight, bend)
        bend *= v2
        jacobian = np.empty((b, s, n_rows))
        asymmetric = asymmetric.reshape(b, k, n_rows)
        asymmetric *= v1
        np.add(slopes.reshape(b, k, n_rows), asymmetric, out=jacobian[:, :k])
        np.divide(wide.reshape(b, s - k, n_rows), theta[k:s], out=jacobian[:, k:])
        point.jacobian = np.ascontiguousarray(jacobian.transpose(2, 0, 1))
        point.jacobian_local = local / theta[s:]
        point.diagonal = rows.precision.copy()
        point.diagonal[:k] += bend
        point.gradient = rows.precision * (theta - rows.auxdata)
        point.gradient[:s] += np.matmul(np.ascontiguousarray(residual.T)[:, None], point.jacobian)[:, 0].T
        point.gradient[s:] += np.take(residual, model.local_bin, 0) * point.jacobian_local
        if self.has_poisson:
            tau, aux, x = rows.tau[self.poisson], rows.auxdata[self.poisson], theta[self.poisson]
            slope, bend = tau - aux / x, aux / (x * x)
            point.gradient[self.poisson] += slope if self.all_poisson else np.where(tau > 0, slope, 0.0)
            point.diagonal[self.poisson] += bend if self.all_poisson else np.where(tau > 0, bend, 0.0)
        return point


def deviance(rate: Array, n: Array) -> Array:
    """rate - n - n log(rate / n), element by element: half the Poisson deviance; `rate` where nothing was observed."""
    if n.all():
        return rate - n - n * np.log(rate / n)
    some = n > 0
    return rate - n - n * np.log(np.where(some, rate, 1.0) / np.where(some, n, 1.0))


def as_slice(index: NDArray[np.intp]) -> slice | NDArray[np.intp]:
    """The same elements as a slice where they lie side by side: that gives a view, and an index a copy."""
    if len(index) and index[-1] - index[0] == len(index) - 1:
        return slice(int(index[0]), int(index[-1]) + 1)
    return index


def powers_of(alpha: Array) -> Array:
    """1, alpha, ..., alpha^6 as (7 K, R)."""
    k, n_rows = alpha.shape
    powers = np.empty((7, k, n_rows))
    powers[0] = 1
    for i in range(6):
        np.multiply(powers[i], alpha, out=powers[i + 1])
    return powers.reshape(7 * k, n_rows)


def log_likelihood(model: Model, hypothesis: int, theta: Array) -> float:
    """log L with all its constants, as pyhf's `Model.logpdf` gives it; theta (P,)."""
    likelihood, rows = Likelihood(model), Rows(model, np.array([hypothesis, hypothesis]))
    value = likelihood.value(rows, np.stack([theta, theta], 1), likelihood.expected(rows, np.stack([theta, theta], 1)))[
        0
    ]

    def saturated(n: Array) -> float:
        return float((np.where(n > 0, n * np.log(np.where(n > 0, n, 1.0)), 0.0) - n - gammaln(n + 1)).sum())

    present = model.present[hypothesis]
    precision, tau = model.precision[hypothesis][present], model.tau[hypothesis][present]
    constant = saturated(model.data[hypothesis]) + saturated(model.auxdata[hypothesis][present][tau > 0])
    return float(constant + 0.5 * np.log(precision[precision > 0] / (2 * np.pi)).sum() - value)
