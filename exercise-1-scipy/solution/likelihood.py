"""The negative log-likelihood of many hypotheses at once, with gradient: NumPy on arrays whose last axis is the row.

A row is one fit of one hypothesis. Every operation is either elementwise over rows, a product with a fixed sparse
matrix (which adds row by row in a fixed order), or one small dense product a row. So the bits of a row do not depend
on which rows stand beside it, nor on how many: the same scan cut into other chunks, or spread over other processes,
gives the same numbers. (A dense product over all rows would be as fast and would break that: BLAS picks its kernel,
and with it the order of the sums, by the number of columns. `sum(0)` of a single row does so too, hence two rows at least.)
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from model import Array, Block, Model
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import gammaln

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


def _ones(
    rows: NDArray[np.intp], columns: NDArray[np.intp], shape: tuple[int, int], data: Array | None = None
) -> sparse.csr_matrix:
    return sparse.csr_matrix((np.ones(len(rows)) if data is None else data, (rows, columns)), shape)


class _Side:
    """One block of cells, made ready: fixed sparse matrices that sum over cells, pairs and hists."""

    def __init__(self, block: Block, model: Model, own: bool) -> None:
        k, s, b, t = model.n_alpha, model.n_shared, model.data.shape[1], len(model.local_bin)
        cells, pairs, processes = len(block.cell_bin), len(block.pair_alpha), block.n_processes
        cell, pair = np.arange(cells), np.arange(pairs)
        self.own, self.block, self.n_alpha, self.n_cells = own, block, k, cells
        self.bins = _ones(block.cell_bin, cell, (b, cells))
        # Factors of a process: segments of the pairs, which are sorted by process.
        self.with_pairs, self.starts = np.unique(block.pair_process, return_index=True)
        self.process_sum = _ones(block.cell_process, cell, (processes, cells))
        self.alpha_sum = _ones(block.pair_alpha, pair, (k, pairs))
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
        self.pair_jacobian = _ones(target, np.arange(len(self.pb_pair)), (b * k, len(self.pb_pair)))
        # Linear factors.
        rank, where = np.nonzero(block.factors >= 0)
        parameter = block.factors[rank, where]
        wide = (parameter >= k) & (parameter < s)
        self.wide_jacobian = _ones(
            block.cell_bin[where[wide]] * (s - k) + parameter[wide] - k, where[wide], (b * (s - k), cells)
        )
        self.local_sum = _ones(parameter[~wide] - s, where[~wide], (t, cells))
        # histosys
        h_bin = block.cell_bin[block.hist_cell] * k + block.hist_alpha
        if own:
            hist = np.arange(len(block.hist_cell))
            self.hist_cells = _ones(block.hist_cell, hist, (cells, len(hist)))
            self.hist_jacobian = _ones(h_bin, hist, (b * k, len(hist)))
            self.hist_alpha = _ones(block.hist_alpha, hist, (k, len(hist)))
        else:
            c, self.log_hi, self.log_lo = code4_coefficients(block.hi, block.lo)
            columns = np.arange(7)[:, None] * k + block.pair_alpha  # powers of alpha, see `_powers`
            order = np.arange(1, 7)[:, None]
            at = np.broadcast_to(pair, (7, pairs))
            self.f = [
                _ones(at[:n].ravel(), columns[:n].ravel(), (pairs, 7 * k), data.ravel())
                for n, data in ((7, np.vstack([np.ones(pairs), c])), (6, order * c), (5, (order * (order - 1) * c)[1:]))
            ]
            shape, where = (cells, k), (block.hist_cell, block.hist_alpha)
            self.add_symmetric = _ones(*where, shape, block.symmetric)
            self.add_asymmetric = _ones(*where, shape, block.asymmetric)
            self.jacobian_symmetric = _ones(h_bin, block.hist_cell, (b * k, cells), block.symmetric)
            self.jacobian_asymmetric = _ones(h_bin, block.hist_cell, (b * k, cells), block.asymmetric)
            self.alpha_asymmetric = _ones(block.hist_alpha, block.hist_cell, (k, cells), block.asymmetric)

    def interpolate(self, rows: Rows, alpha: Array, powers: Array, order: int) -> list[Array]:
        """f and its first `order` derivatives, each (pairs, R)."""
        if self.own:
            c, x = rows.coefficients, np.take(alpha, self.block.pair_alpha, 0)
            out = [_horner(1.0, [c[0], c[1], c[2], c[3], c[4], c[5]], x)]
            if order > 0:
                out.append(_horner(c[0], [2 * c[1], 3 * c[2], 4 * c[3], 5 * c[4], 6 * c[5]], x))
            if order > 1:
                out.append(_horner(2 * c[1], [6 * c[2], 12 * c[3], 20 * c[4], 30 * c[5]], x))
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
        one = np.vstack([theta, np.ones(theta.shape[1])])
        for rank in block.factors:
            factor *= np.take(one, rank, 0)
        if not len(block.hist_cell):
            shape = rows.nominal if self.own else block.nominal[:, None]
        elif self.own:
            x = np.take(alpha, block.hist_alpha, 0) * rows.symmetric
            x += np.take(v, block.hist_alpha, 0) * rows.asymmetric
            shape = rows.nominal + self.hist_cells @ x
        else:
            shape = self.add_symmetric @ alpha
            shape += self.add_asymmetric @ v
            shape += block.nominal[:, None]
        return f, factor, shape * factor


def _horner(first: Array | float, rest: list[Array], x: Array) -> Array:
    y = rest[-1] * x
    for c in rest[-2::-1]:
        y += c
        y *= x
    y += first
    return y


class Rows:
    """What differs from row to row: (..., R) arrays."""

    fields = ("data", "auxdata", "precision", "tau", "lower", "upper", "free", "nominal", "coefficients", "log_hi", "log_lo",
              "symmetric", "asymmetric")  # fmt: skip

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
        self.coefficients, self.log_hi, self.log_lo = code4_coefficients(gather(own.hi), gather(own.lo))

    def take(self, index: NDArray[np.intp]) -> Rows:
        """These rows only, in C order (plain indexing would give Fortran order, and slow and other sums)."""
        other = object.__new__(Rows)
        for name in self.fields:
            setattr(other, name, np.take(getattr(self, name), index, -1))
        return other


class Point:
    """The likelihood at one point of each row: value (R,), nu (B, R), gradient (P, R), J and the Hessian's diagonal."""

    fields = ("value", "nu", "gradient", "jacobian_local", "diagonal", "bend")
    value: Array  # (R,) -log L(theta) + log L(saturated)
    nu: Array  # (B, R) expected counts
    gradient: Array  # (P, R)
    jacobian: Array  # (R, B, S) d nu / d theta of the shared parameters
    jacobian_local: Array  # (T, R) the same for local parameters, each in its own bin
    diagonal: Array  # (P, R) diagonal of the Hessian, less that of J^T W J
    bend: Array  # (K, R) what the interpolations' second derivatives add to it

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
        self.poisson = np.flatnonzero((model.tau > 0).any(0))
        self.local = _ones(
            model.local_bin, np.arange(len(model.local_bin)), (model.data.shape[1], len(model.local_bin))
        )

    @cached_property
    def folds(self) -> NDArray[np.intp]:
        """Parameters that can make other minima."""
        from folds import folded  # it builds on this module

        return folded(self)

    def clean(self, theta: Array) -> Array:
        """Linear factors moved off zero."""
        linear = theta[self.model.n_alpha :]
        np.copyto(linear, TINY, where=np.abs(linear) < TINY)
        return theta

    def _value(self, rows: Rows, theta: Array, nu: Array) -> Array:
        n, some = rows.data, rows.data > 0
        log_ratio = np.log(np.where(some, nu, 1.0) / np.where(some, n, 1.0))
        difference = theta - rows.auxdata
        normal = rows.precision * difference * difference
        value = (nu - n - n * log_ratio).sum(0) + 0.5 * normal.sum(0)
        if len(self.poisson):
            tau, aux = rows.tau[self.poisson], rows.auxdata[self.poisson]
            rate, on = tau * theta[self.poisson], tau > 0
            log_ratio = np.log(np.where(on & (aux > 0), rate, 1.0) / np.where(on & (aux > 0), aux, 1.0))
            value += np.where(on, rate - aux - aux * log_ratio, 0.0).sum(0)
        return value

    def expected(self, rows: Rows, theta: Array) -> Array:
        """Expected counts nu (B, R)."""
        powers, v = _powers(theta[: self.model.n_alpha]), code4p_weight(theta[: self.model.n_alpha])[0]
        return sum(side.bins @ side.rates(rows, theta, powers, v, 0)[2] for side in self.sides)

    def __call__(self, rows: Rows, theta: Array, bend: Array | None = None) -> Point:
        """Value, gradient and Jacobian at theta (P, R); with the second derivatives `bend` (K, R) of an earlier point, if given."""
        with np.errstate(all="ignore"):  # a trial step may go anywhere: the value is then NaN, and the step is halved
            return self._evaluate(rows, theta, bend)

    def _evaluate(self, rows: Rows, theta: Array, bend: Array | None) -> Point:
        model, n_rows = self.model, theta.shape[1]
        k, s, b = model.n_alpha, model.n_shared, model.data.shape[1]
        alpha, curvature = theta[:k], bend is None
        powers, (v, v1, v2) = _powers(alpha), code4p_weight(alpha)
        parts = [side.rates(rows, theta, powers, v, 2 if curvature else 1) for side in self.sides]
        point = Point()
        point.nu = sum(side.bins @ part[2] for side, part in zip(self.sides, parts, strict=True))
        point.value = self._value(rows, theta, point.nu)
        residual = 1 - rows.data / point.nu
        residual = np.where(rows.data > 0, residual, 1.0)
        point.bend = np.zeros((k, n_rows)) if bend is None else bend

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
                slopes += side.pair_jacobian @ product
            if side.wide_jacobian.nnz:
                wide += side.wide_jacobian @ rate
            if side.local_sum.nnz:
                local += side.local_sum @ rate
            if side.own and len(block.hist_cell):
                here = np.take(factor, block.hist_cell, 0)
                slopes += side.hist_jacobian @ (here * rows.symmetric)
                here *= rows.asymmetric
                asymmetric += side.hist_jacobian @ here
            elif len(block.hist_cell):
                slopes += side.jacobian_symmetric @ factor
                asymmetric += side.jacobian_asymmetric @ factor
            if curvature:
                weight = np.take(residual, block.cell_bin, 0)
                if len(block.pair_alpha):
                    f[2] /= f[0]
                    f[2] *= np.take(side.process_sum @ (rate * weight), block.pair_process, 0)
                    point.bend += side.alpha_sum @ f[2]
                if len(block.hist_cell):
                    weight *= factor
                    if side.own:
                        point.bend += v2 * (side.hist_alpha @ (np.take(weight, block.hist_cell, 0) * rows.asymmetric))
                    else:
                        point.bend += v2 * (side.alpha_asymmetric @ weight)
        jacobian = np.empty((b, s, n_rows))
        asymmetric = asymmetric.reshape(b, k, n_rows)
        asymmetric *= v1
        np.add(slopes.reshape(b, k, n_rows), asymmetric, out=jacobian[:, :k])
        np.divide(wide.reshape(b, s - k, n_rows), theta[k:s], out=jacobian[:, k:])
        point.jacobian = np.ascontiguousarray(jacobian.transpose(2, 0, 1))
        point.jacobian_local = local / theta[s:]
        point.diagonal = rows.precision.copy()
        point.diagonal[:k] += point.bend
        point.gradient = rows.precision * (theta - rows.auxdata)
        point.gradient[:s] += np.matmul(np.ascontiguousarray(residual.T)[:, None], point.jacobian)[:, 0].T
        point.gradient[s:] += np.take(residual, model.local_bin, 0) * point.jacobian_local
        if len(self.poisson):
            aux, x = rows.auxdata[self.poisson], theta[self.poisson]
            on = rows.tau[self.poisson] > 0
            point.gradient[self.poisson] += np.where(on, rows.tau[self.poisson] - aux / x, 0.0)
            point.diagonal[self.poisson] += np.where(on, aux / (x * x), 0.0)
        return point


def _powers(alpha: Array) -> Array:
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
    value = likelihood._value(
        rows, np.stack([theta, theta], 1), likelihood.expected(rows, np.stack([theta, theta], 1))
    )[0]

    def saturated(n: Array) -> float:
        return float((np.where(n > 0, n * np.log(np.where(n > 0, n, 1.0)), 0.0) - n - gammaln(n + 1)).sum())

    present = model.present[hypothesis]
    precision, tau = model.precision[hypothesis][present], model.tau[hypothesis][present]
    constant = saturated(model.data[hypothesis]) + saturated(model.auxdata[hypothesis][present][tau > 0])
    return float(constant + 0.5 * np.log(precision[precision > 0] / (2 * np.pi)).sum() - value)
