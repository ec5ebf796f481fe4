"""The arrays that a compiled HistFactory model consists of; `histfactory` explains the formula and fills them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
ALPHA = ("normsys", "histosys")  # parameters with unit-normal constraint, entering through interpolation
LOCAL = ("staterror", "shapesys", "shapefactor")  # one parameter a bin


@dataclass
class Block:
    """Cells of some processes. Arrays over hypotheses have an axis (H, ...) in `Model.own`, none in `Model.shared`."""

    cell_process: NDArray[np.intp]  # (cells,)
    cell_bin: NDArray[np.intp]  # (cells,)
    nominal: Array  # (..., cells)
    factors: NDArray[np.intp]  # (most factors of a cell, cells): parameters that multiply the cell; -1 is none
    pair_process: NDArray[np.intp]  # (pairs,) ascending: a normsys of a process
    pair_alpha: NDArray[np.intp]  # (pairs,)
    hi: Array  # (..., pairs)
    lo: Array  # (..., pairs)
    hist_cell: NDArray[np.intp]  # (hists,): a histosys of a cell
    hist_alpha: NDArray[np.intp]  # (hists,)
    symmetric: Array  # (..., hists): (hi - lo) / 2
    asymmetric: Array  # (..., hists): (hi + lo) / 2 - nominal
    n_processes: int = 0


@dataclass
class Model:
    """Hypotheses with the same channels: H of them, B bins, P parameters (alphas, shared factors, local factors)."""

    names: list[str]
    index: list[int]  # position of each hypothesis in the scan
    bins: list[str]  # "channel[i]" of each bin
    parameters: list[str]
    poi: int
    n_alpha: int
    n_shared: int  # alphas and the linear parameters that reach more than one bin; the rest is local
    local_bin: NDArray[np.intp]  # (P - n_shared,): the one bin that a local parameter reaches
    shared: Block
    own: Block
    data: Array  # (H, B)
    init: Array = field(default_factory=lambda: np.empty(0))  # (H, P) this and all below
    lower: Array = field(default_factory=lambda: np.empty(0))
    upper: Array = field(default_factory=lambda: np.empty(0))
    fixed: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, bool))
    present: NDArray[np.bool_] = field(
        default_factory=lambda: np.empty(0, bool)
    )  # parameter is in this hypothesis's model
    auxdata: Array = field(default_factory=lambda: np.empty(0))  # observed value of the constraint
    precision: Array = field(default_factory=lambda: np.empty(0))  # 1/sigma^2 of a normal constraint, else 0
    tau: Array = field(default_factory=lambda: np.empty(0))  # rate of a Poisson constraint at theta = 1, else 0
    has_signal: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, bool))  # (H,)
