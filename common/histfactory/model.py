"""The arrays of a compiled HistFactory model. `compiling` gives the formula and fills them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Index: TypeAlias = NDArray[np.intp]
Mask: TypeAlias = NDArray[np.bool_]
ALPHA = ("normsys", "histosys")  # modifiers that interpolate; their parameters have a unit-normal constraint
LOCAL = ("staterror", "shapesys", "shapefactor")  # modifiers with one parameter per bin


@dataclass
class Block:
    """Cells of some processes. Arrays marked (..., n) have shape (H, n) in `Model.own` and (n,) in `Model.shared`."""

    n_processes: int
    cell_process: Index  # (cells,)
    cell_bin: Index  # (cells,)
    factors: Index  # (largest number of factors, cells): the parameters that multiply a cell; -1 stands for none
    pair_process: Index  # (pairs,) ascending; a pair is a normsys of a process
    pair_alpha: Index  # (pairs,)
    hist_cell: Index  # (hists,); a hist is a histosys of a cell
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
    index: list[int]  # position of each hypothesis in the argument of `compile_models`
    bins: list[str]  # "channel[i]" of each bin
    parameters: list[str]
    poi: int  # the parameter of interest
    n_alpha: int
    n_shared: int  # number of alphas and of linear parameters that affect several bins; the others are local
    local_bin: Index  # (P - n_shared,): the only bin that a local parameter affects
    shared: Block  # the cells that all hypotheses share
    own: Block  # the cells of each hypothesis
    data: Array  # (H, B)
    has_signal: Mask  # (H,)
    init: Array  # (H, P) this and all below
    lower: Array
    upper: Array
    fixed: Mask
    present: Mask  # whether the hypothesis has this parameter
    auxdata: Array  # observed value of the constraint
    precision: Array  # 1/sigma^2 of a normal constraint, else 0
    tau: Array  # rate of a Poisson constraint at theta = 1, else 0
