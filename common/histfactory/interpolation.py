"""The interpolation of normsys and histosys between -1, 0 and +1 sigma: pyhf's codes 4 and 4p (CERN-OPEN-2012-016)."""

from __future__ import annotations

import numpy as np

from histfactory.model import Array


def code4_coefficients(hi: Array, lo: Array) -> tuple[Array, Array, Array]:
    """The normsys polynomial 1 + sum_i c_i alpha^i on |alpha| < 1: its coefficients c (6, ...), log hi and log lo.

    With these six coefficients, value, slope and curvature at +-1 equal those of the exponentials hi^alpha and
    lo^-alpha outside (code 4 of pyhf's documentation; CERN-OPEN-2012-016). The odd coefficients solve half the
    difference of the conditions on value and curvature at +-1 and half the sum of those on the slope; the even ones
    solve the other halves.
    """
    log_hi, log_lo = np.log(hi), np.log(lo)
    v_even, v_odd = 0.5 * (hi + lo) - 1, 0.5 * (hi - lo)
    s_even, s_odd = 0.5 * (hi * log_hi + lo * log_lo), 0.5 * (hi * log_hi - lo * log_lo)
    k_even, k_odd = 0.5 * (hi * log_hi**2 + lo * log_lo**2), 0.5 * (hi * log_hi**2 - lo * log_lo**2)
    c = np.empty((6, *hi.shape))
    c[0] = (15 * v_odd - 7 * s_odd + k_odd) / 8
    c[2] = (-5 * v_odd + 5 * s_odd - k_odd) / 4
    c[4] = (3 * v_odd - 3 * s_odd + k_odd) / 8
    c[1] = (24 * v_even - 9 * s_even + k_even) / 8
    c[3] = (-12 * v_even + 7 * s_even - k_even) / 4
    c[5] = (8 * v_even - 5 * s_even + k_even) / 8
    return c, log_hi, log_lo


def code4(c: Array, alpha: Array, order: int) -> list[Array]:
    """1 + sum_i c_i alpha^(i+1) and its first `order` derivatives, in one pass over the coefficients c (6, ...)."""
    value, slope, curvature = c[5] * alpha, c[5].copy(), np.zeros_like(alpha)
    for lower in c[4::-1]:
        value += lower
        if order > 1:
            curvature *= alpha
            curvature += slope
        if order > 0:
            slope *= alpha
            slope += value
        value *= alpha
    value += 1
    return [value, slope, 2 * curvature][: order + 1]


def code4p_weight(alpha: Array) -> tuple[Array, Array, Array]:
    """v, v', v'' of the histosys interpolation: delta = symmetric * alpha + asymmetric * v(alpha) (code 4p)."""
    square, outside = alpha * alpha, np.abs(alpha) > 1
    v = square * (15 + square * (3 * square - 10)) / 8
    v1 = alpha * (30 + square * (18 * square - 40)) / 8
    v2 = (30 + square * (90 * square - 120)) / 8
    if outside.any():
        v = np.where(outside, np.abs(alpha), v)
        v1 = np.where(outside, np.sign(alpha), v1)
        v2 = np.where(outside, 0.0, v2)
    return v, v1, v2


def powers_of(alpha: Array) -> Array:
    """The powers 1, alpha, ..., alpha^6 of alpha (K, R), as (7 K, R)."""
    k, n_rows = alpha.shape
    powers = np.empty((7, k, n_rows))
    powers[0] = 1
    for i in range(6):
        np.multiply(powers[i], alpha, out=powers[i + 1])
    return powers.reshape(7 * k, n_rows)
