"""The arrays of a model on the device.

NumPy's code keeps each block's cells, pairs and hists as lists (`histfactory.model.Block`), and sums over them with sparse
matrices. A GPU prefers dense arrays. So the cells lie on a grid (D, B): D is the largest number of cells in a bin, and
empty places have the nominal yield 0. Normsys and histosys are dense in the alphas: where a process has none, the
variations are zero.

Sizes, as in `histfactory.model`: B bins, P parameters, K alphas, S shared parameters (with the alphas), T = P - S local
parameters, H hypotheses. N: the processes of a block.
"""

from __future__ import annotations

import importlib
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import jax
import numpy as np

from histfactory.interpolation import code4_coefficients
from histfactory.likelihood import replace_zeros
from histfactory.model import Block, Model

Array = Any  # of JAX, or of NumPy before it is on the device


class Sizes(NamedTuple):
    """Numbers that the compiled programs depend on."""

    n_alpha: int
    n_shared: int
    poi: int


class Cells(NamedTuple):
    """Where a block has cells, and what multiplies them."""

    process: Array  # (D, B)
    place: Array  # (B, N) the place of a process's cell on the flat grid; D B if it has none in this bin
    factors: Array  # (ranks, D, B) parameters that multiply a cell; P stands for none
    wide: Array  # (S - K, D, B) how often a shared factor multiplies a cell
    local: Array  # (T, D) the same for local factors, in their only bin


class Normsys(NamedTuple):
    """The variations of the processes' normalisations, (N, K) each."""

    coefficients: Array  # (6, N, K) of the polynomial in `code4_coefficients`
    log_hi: Array
    minus_log_lo: Array
    even: Array  # (hi + lo) / 2 - 1
    odd: Array  # (hi - lo) / 2


class Histosys(NamedTuple):
    """The variations of the cells' yields, (D, B, K) each; see `histfactory.model.Block`."""

    symmetric: Array
    asymmetric: Array


class Yields(NamedTuple):
    """The numbers of a block. Those of the hypotheses' own block have a leading axis H in the table."""

    nominal: Array  # (D, B)
    normsys: Normsys | None
    histosys: Histosys | None


class Common(NamedTuple):
    """What all hypotheses share. A block without cells is None."""

    cells: Cells | None
    yields: Yields | None
    own_cells: Cells | None
    local_bin: Array  # (T,)
    locals_of_bin: Array  # (most in a bin, B) the local parameters of each bin; T stands for none


class Hypothesis(NamedTuple):
    """What differs between hypotheses; in the table with a leading axis H. (P,) unless noted."""

    yields: Yields | None
    precision: Array
    tau: Array
    lower: Array
    upper: Array


def blocks(common: Common, hypothesis: Hypothesis) -> list[tuple[Cells, Yields]]:
    """The blocks that have cells: the shared one and that of the hypothesis."""
    both = (common.cells, common.yields), (common.own_cells, hypothesis.yields)
    return [(cells, yields) for cells, yields in both if cells is not None and yields is not None]


def arrays_of(model: Model) -> tuple[Sizes, Common, Hypothesis]:
    """The sizes, what the hypotheses share, and the table of the hypotheses, all as NumPy arrays."""
    n_local, n_bins = len(model.local_bin), model.data.shape[1]
    members = [np.flatnonzero(model.local_bin == b) for b in range(n_bins)]
    locals_of_bin = np.full((max([len(m) for m in members], default=0), n_bins), n_local)
    for b, m in enumerate(members):
        locals_of_bin[: len(m), b] = m
    lower = model.lower.copy()
    replace_zeros(lower[:, model.n_alpha :])  # as in `Rows`
    shared_cells, shared_yields = _on_grid(model.shared, model)
    own_cells, own_yields = _on_grid(model.own, model, len(model.names))
    return (
        Sizes(model.n_alpha, model.n_shared, model.poi),
        Common(shared_cells, shared_yields, own_cells, np.asarray(model.local_bin), locals_of_bin),
        Hypothesis(own_yields, model.precision, model.tau, lower, model.upper),
    )


def _on_grid(block: Block, model: Model, *lead: int) -> tuple[Cells | None, Yields | None]:
    """A block on the grid. lead: the number of hypotheses, if its numbers differ between them."""
    n_alpha, n_shared, n_parameters = model.n_alpha, model.n_shared, len(model.parameters)
    n_bins, bins = model.data.shape[1], block.cell_bin
    if not len(bins):
        return None, None
    layer = _position_within(bins)
    depth = int(layer.max()) + 1

    process = np.zeros((depth, n_bins), int)
    process[layer, bins] = block.cell_process
    place = np.full((n_bins, block.n_processes), depth * n_bins)
    place[bins, block.cell_process] = layer * n_bins + bins
    factors = np.full((len(block.factors), depth, n_bins), n_parameters)
    factors[:, layer, bins] = np.where(block.factors >= 0, block.factors, n_parameters)
    wide = [(factors == parameter).sum(0) for parameter in range(n_alpha, n_shared)]
    local = [(factors[:, :, b] == n_shared + t).sum(0) for t, b in enumerate(model.local_bin)]
    cells = Cells(
        process,
        place,
        factors,
        np.array(wide, float).reshape(len(wide), depth, n_bins),
        np.array(local, float).reshape(len(local), depth),
    )

    nominal = np.zeros((*lead, depth, n_bins))
    nominal[..., layer, bins] = block.nominal
    normsys = histosys = None
    if len(block.pair_alpha):
        hi, lo = np.ones((2, *lead, block.n_processes, n_alpha))
        hi[..., block.pair_process, block.pair_alpha] = block.hi
        lo[..., block.pair_process, block.pair_alpha] = block.lo
        coefficients, log_hi, log_lo = code4_coefficients(hi, lo)
        coefficients = np.moveaxis(coefficients, 0, len(lead))
        normsys = Normsys(coefficients, log_hi, -log_lo, 0.5 * (hi + lo) - 1, 0.5 * (hi - lo))
    if len(block.hist_cell):
        symmetric, asymmetric = np.zeros((2, *lead, depth, n_bins, n_alpha))
        at = (..., layer[block.hist_cell], bins[block.hist_cell], block.hist_alpha)
        symmetric[at], asymmetric[at] = block.symmetric, block.asymmetric
        histosys = Histosys(symmetric, asymmetric)
    return cells, Yields(nominal, normsys, histosys)


def _position_within(bins: Array) -> Array:
    """For each cell, how many cells before it have the same bin."""
    order = np.argsort(bins, kind="stable")
    first = np.searchsorted(bins[order], bins[order])
    position = np.empty(len(bins), int)
    position[order] = np.arange(len(bins)) - first
    return position


def double_precision() -> AbstractContextManager[Any]:
    """A context in which JAX computes in 64 bits. Other code of the same process keeps its own setting."""
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    return importlib.import_module("jax.experimental").enable_x64(True)  # before jax 0.8
