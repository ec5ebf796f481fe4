"""A compiled HistFactory model as arrays; `compiling` explains the formula and fills them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Index: TypeAlias = NDArray[np.intp]
Mask: TypeAlias = NDArray[np.bool_]
ALPHA = ("normsys", "histosys")  # parameters with unit-normal constraint, entering through interpolation
LOCAL = ("staterror", "shapesys", "shapefactor")  # one parameter a bin


@dataclass
class Block:
    """Cells of some processes. Arrays over hypotheses have an axis (H, ...) in `Model.own`, none in `Model.shared`."""

    n_processes: int
    cell_process: Index  # (cells,)
    cell_bin: Index  # (cells,)
    factors: Index  # (most factors of a cell, cells): parameters that multiply the cell; -1 is none
    pair_process: Index  # (pairs,) ascending: a normsys of a process
    pair_alpha: Index  # (pairs,)
    hist_cell: Index  # (hists,): a histosys of a cell
    hist_alpha: Index  # (hists,)
    nominal: Array = field(default_factory=lambda: np.empty(0))  # (..., cells)
    hi: Array = field(default_factory=lambda: np.empty(0))  # (..., pairs)
    lo: Array = field(default_factory=lambda: np.empty(0))  # (..., pairs)
    symmetric: Array = field(default_factory=lambda: np.empty(0))  # (..., hists): (hi - lo) / 2
    asymmetric: Array = field(default_factory=lambda: np.empty(0))  # (..., hists): (hi + lo) / 2 - nominal


@dataclass
class Model:
    """Hypotheses with the same channels: H of them, B bins, P parameters (alphas, shared factors, local factors)."""

    names: list[str]
    index: list[int]  # position of each hypothesis in the list that was compiled
    bins: list[str]  # "channel[i]" of each bin
    parameters: list[str]
    poi: int  # the parameter of interest
    n_alpha: int
    n_shared: int  # alphas and the linear parameters that reach more than one bin; the rest is local
    local_bin: Index  # (P - n_shared,): the one bin that a local parameter reaches
    shared: Block  # what all hypotheses have in common
    own: Block  # what each hypothesis has of its own
    data: Array  # (H, B)
    has_signal: Mask  # (H,)
    init: Array  # (H, P) this and all below
    lower: Array
    upper: Array
    fixed: Mask
    present: Mask  # the parameter is in this hypothesis's model
    auxdata: Array  # observed value of the constraint
    precision: Array  # 1/sigma^2 of a normal constraint, else 0
    tau: Array  # rate of a Poisson constraint at theta = 1, else 0
