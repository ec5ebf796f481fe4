"""Two minimisers: a fast one for many fits at once, and a slow but robust one for fits that do not converge with it.

fit, finish_with_newton   the fast one, then the robust one where it is needed      (combined.py)
fit_batch                 quasi-Newton steps of many rows at once                   (quasi_newton.py, gauss_newton.py)
newton                    saddle-free Newton steps of one row                       (saddle_free.py)
Fit                       the minima, and how each fit ended: one of the constants  (result.py)
"""

from histfactory.minimise.combined import finish_with_newton, fit
from histfactory.minimise.quasi_newton import fit_batch
from histfactory.minimise.result import CONVERGED, HIGHER, NOT_FINITE, SAME, STUCK, TOO_MANY_STEPS, Fit
from histfactory.minimise.saddle_free import REASONS, newton

__all__ = [
    "CONVERGED",
    "HIGHER",
    "NOT_FINITE",
    "REASONS",
    "SAME",
    "STUCK",
    "TOO_MANY_STEPS",
    "Fit",
    "finish_with_newton",
    "fit",
    "fit_batch",
    "newton",
]
