"""CLs from the test statistic q-tilde, with the asymptotic formulas.

The formulas are those of Cowan, Cranmer, Gross and Vitells, arXiv:1007.1727 (q-tilde: eq. 16; its distributions:
eqs. 59, 65 and 66, with the Asimov data set) and of Read for CLs (J. Phys. G 28 (2002) 2693). pyhf's
`hypotest(..., test_stat="qtilde")` uses the same ones.
"""

from __future__ import annotations

import numpy as np
from scipy.special import log_ndtr

from histfactory.model import Array

N_SIGMA = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])  # at which the expected CLs are given


def q_tilde(nll: Array, nll_best: Array, mu: float | Array, mu_hat: Array) -> Array:
    """q-tilde (R,) from -log L at mu and at the best mu (R,): 0 if the best mu is larger."""
    return np.where(mu_hat > mu, 0.0, np.maximum(2 * (nll - nll_best), 0.0))


def asymptotic_cls(q: Array, q_asimov: Array) -> tuple[Array, Array]:
    """CLs observed (R,) and expected at -2..+2 sigma (R, 5) from q-tilde of the data and of the Asimov data.

    With s = sqrt(q), a = sqrt(q_A): CLs = (1 - Phi(x)) / (1 - Phi(x - a)), where x = s up to s = a and
    (q + q_A) / (2 a) beyond (arXiv:1007.1727 eq. 66); the expected value at N sigma has x = a - N. Logarithms of the
    normal tail keep the ratio exact where both p-values are too small for a float.
    """
    x, y = tail_arguments(q, q_asimov)
    cls = np.exp(log_ndtr(-x) - log_ndtr(-y))
    return cls[:, 0], cls[:, 1:]


def tail_arguments(q: Array, q_asimov: Array) -> tuple[Array, Array]:
    """The arguments of the two normal tails, x and y = x - a, (R, 6) each; see `asymptotic_cls`."""
    s, a = np.sqrt(q), np.sqrt(q_asimov)
    beyond = (s > a) & (a > 0)
    divisor = np.where(beyond, 2 * a, 1.0)
    x = np.where(beyond, (q + q_asimov) / divisor, s)
    y = np.where(beyond, (q - q_asimov) / divisor, s - a)
    expected = np.broadcast_to(-N_SIGMA, (len(a), 5))
    return np.column_stack([x, a[:, None] + expected]), np.column_stack([y, expected])
