"""`Device`: what `fit_batch`, `fold_depth` and `Likelihood.expected` call if a scan has the backend jax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from histfactory.likelihood import Rows
from histfactory.minimise import SAME, Fit
from histfactory.model import Array, Index, Model
from histfactory.on_jax import fit
from histfactory.on_jax.fit import Problem, State
from histfactory.on_jax.model import arrays_of, double_precision

# Every program is compiled for two numbers of rows at most, and other batches are filled up: for the first number here, and
# for as many as the hypotheses need, up to the second.
ROWS_ON_CPU = 32, 128
ROWS_ON_GPU = 640, 15_360  # a GPU needs about as long for 640 rows as for one
FITS_OF_HYPOTHESIS = 5  # in one batch; see `inference._fits_at_mu`
LARGEST_JACOBIAN = 100_000_000  # numbers (800 MB), in all rows of a batch; a program needs about ten times as much


class LightRows(Rows):
    """Rows without the numbers of the hypotheses' own block, which are on the device.

    They are computed when NumPy code such as `newton` reads them.
    """

    FIELDS = ("hypothesis", *Rows.OF_PARAMETERS)

    def __init__(self, model: Model, hypotheses: Index) -> None:
        self.model, self.hypothesis = model, np.array(hypotheses)
        self._read_parameters(hypotheses)

    def __getattr__(self, name: str) -> Array:
        if name not in Rows.OF_OWN_BLOCK:
            raise AttributeError(name)
        self._read_own_block(self.hypothesis)
        return vars(self)[name]


class Device:
    """A model on JAX's first device: a `histfactory.likelihood.Backend`.

    chunk_size: hypotheses to fit together.
    """

    FEWEST_ROWS: int = 8  # NumPy computes the expected counts of fewer rows sooner than they travel to the device

    def __init__(self, model: Model) -> None:
        self.model, self.device = model, jax.devices()[0]
        self.on_gpu = self.device.platform != "cpu"
        n_fits, jacobian = FITS_OF_HYPOTHESIS * len(model.names), model.data.shape[1] * model.n_shared
        largest = max(ROWS_ON_CPU[0], LARGEST_JACOBIAN // max(jacobian, 1))
        fewest, most = ROWS_ON_GPU if self.on_gpu else ROWS_ON_CPU
        needed = -(-n_fits // fewest) * fewest
        self.batches = sorted({min(n, largest) for n in (fewest, min(needed, most))})
        self.chunk_size = max(1, self.batches[-1] // FITS_OF_HYPOTHESIS)
        self.sizes, common, table = arrays_of(model)
        with double_precision():
            self.common, self.table = jax.device_put((common, table), self.device)

    @property
    def note(self) -> str:
        """A sentence if NumPy is probably faster here, else ""."""
        return "" if self.on_gpu else "JAX finds no GPU and uses the CPU, where the backend numpy is usually faster"

    def rows(self, hypotheses: Index) -> LightRows:
        """`Rows` for the functions below."""
        return LightRows(self.model, hypotheses)

    def fit_batch(
        self, rows: LightRows, result: Fit, rival: Index | None, previous: Fit | None, same_basin: float
    ) -> None:
        """`histfactory.minimise.fit_batch`. `result` has the starts, and gets the fits in place."""
        n_rows = len(result.value)
        with double_precision():
            if rival is not None and previous is not None:
                self._fit(rows, result, np.arange(n_rows), previous.take(rival - n_rows), same_basin)
                return
            rival = np.full(n_rows, -1) if rival is None else rival
            # First the fits that others compete with, then the others.
            self._fit(rows, result, np.flatnonzero(rival < 0), None, same_basin)
            competing = np.flatnonzero(rival >= 0)
            self._fit(rows, result, competing, result.take(rival[competing]), same_basin)

    def expected(self, rows: LightRows, theta: Array) -> Array:
        """`Likelihood.expected`: expected counts (B, R)."""
        return self._apply(fit.expected_of_rows, rows, theta)

    def fold_depth(self, rows: LightRows, theta: Array) -> Array:
        """`histfactory.folds.fold_depth`, (K, R)."""
        return self._apply(fit.fold_depth_of_rows, rows, rows.data, rows.free, theta)

    def _batch_of(self, n_rows: int) -> int:
        """The number of rows of the program for n_rows, which are at most the largest batch."""
        return next(size for size in self.batches if size >= n_rows)

    def _apply(self, program: Callable[..., Any], rows: LightRows, *arrays: Array) -> Array:
        """The result (..., R) of a program for arrays (..., R), batch by batch."""
        parts, n_rows = [], arrays[0].shape[-1]
        with double_precision():
            for first in range(0, n_rows, self.batches[-1]):
                i = np.arange(first, min(first + self.batches[-1], n_rows))
                filled = _filled(i, self._batch_of(len(i)))
                h, on_device = self._put((rows.hypothesis[filled], [array.T[filled] for array in arrays]))
                out = program(self.sizes, self.common, fit.gather(self.table, h), *on_device)
                parts.append(np.asarray(out)[: len(i)])
        return np.ascontiguousarray(np.concatenate(parts).T)

    def _fit(self, rows: LightRows, result: Fit, index: Index, rivals: Fit | None, same_basin: float) -> None:
        """Fit these rows of `result`, batch by batch. rivals: one for each, or None."""
        for first in range(0, len(index), self.batches[-1]):
            part = slice(first, first + self.batches[-1])
            i = index[part]
            rival = result.take(i) if rivals is None else rivals.take(np.arange(len(index))[part])
            self._fit_one_batch(rows.take(i), result, i, rival, rivals is not None, same_basin)
        result.value[index[result.status[index] == SAME]] = np.inf

    def _fit_one_batch(
        self, rows: LightRows, result: Fit, index: Index, rival: Fit, has_rival: bool, same_basin: float
    ) -> None:
        size = self._batch_of(len(index))
        filled = _filled(np.arange(len(index)), size)
        problems = Problem(
            rows.data.T[filled],
            rows.auxdata.T[filled],
            rows.free.T[filled],
            rival.theta.T[filled],
            rival.value[filled],
            np.full(size, has_rival),
            np.full(size, same_basin),
        )
        theta, active = np.take(result.theta, index, 1).T[filled], np.arange(size) < len(index)
        h, problems, theta, active = self._put((rows.hypothesis[filled], problems, theta, active))
        hypotheses, state = fit.gather(self.table, h), fit.start(theta, active)
        while True:
            # On a CPU, the last few rows move to a smaller program. A GPU would not be faster with fewer rows.
            smaller = [n for n in self.batches if n < size]
            stop_at = 0 if self.on_gpu or not smaller else smaller[-1]
            state = fit.minimise(self.sizes, self.common, hypotheses, problems, state, self._put(np.int64(stop_at)))
            remaining = _store(result, index, state)
            if not len(remaining):
                return
            index, size = index[remaining], self._batch_of(len(remaining))
            h = self._put(_filled(remaining, size))
            hypotheses, problems, state = fit.gather((hypotheses, problems, state), h)
            state = state._replace(active=self._put(np.arange(size) < len(index)))

    def _put(self, arrays: Any) -> Any:
        """A structure of arrays, on the device."""
        return jax.device_put(arrays, self.device)


def _filled(rows: Index, size: int) -> Index:
    """The row numbers, followed by the first one until there are `size`."""
    return np.concatenate([rows, np.full(size - len(rows), rows[0])])


def _store(result: Fit, index: Index, state: State) -> Index:
    """Copy the first rows of the state into these rows of the result; return which of them are still active."""
    theta, value, status, active = jax.device_get((state.theta, state.value, state.status, state.active))
    n = len(index)
    result.theta[:, index], result.value[index], result.status[index] = theta[:n].T, value[:n], status[:n]
    return np.flatnonzero(active[:n])
