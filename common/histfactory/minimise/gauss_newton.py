"""The linear system of a quasi-Newton step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from histfactory.likelihood import Likelihood, Point, Rows, ratio_or_zero
from histfactory.model import Array


class GaussNewton:
    """Solves linear systems with the matrix D + J^T W J of every row, with D diagonal and W = n / nu^2.

    Local parameters, which affect one bin each, are eliminated first. This is exact: they only reduce the weight of
    their bin. The remaining system is either one in the bins, (1 + A D^-1 A^T) z = ... with A = W'^(1/2) J (Woodbury),
    or one in the shared parameters, D + A^T A. The smaller one is used.
    """

    def __init__(self, likelihood: Likelihood, point: Point, rows: Rows, free: Array) -> None:
        self.likelihood, s = likelihood, likelihood.model.n_shared
        prior = rows.precision + 1e-9
        if likelihood.has_poisson:
            prior[likelihood.poisson] += rows.tau[likelihood.poisson]
        # D can become negative far from the minimum: use at least a fifth of the constraints' curvature.
        self.inverse = free / np.maximum(point.diagonal + 1e-9, 0.2 * prior)  # of D, (P, R); 0 for fixed parameters
        weight = ratio_or_zero(rows.data, point.nu * point.nu)
        self.local = self.inverse[s:] * point.jacobian_local
        weight /= 1 + weight * (likelihood.local @ (self.local * point.jacobian_local))
        self.root = np.sqrt(weight).T  # (R, B)
        self.a = point.jacobian * self.root[:, :, None]
        self.shared = np.ascontiguousarray(self.inverse[:s].T)
        n_bins = self.a.shape[1]
        self.in_bins = n_bins <= s
        if self.in_bins:
            self.scaled = self.a * self.shared[:, None]
            matrix = np.matmul(self.scaled, self.a.transpose(0, 2, 1))
            matrix[:, np.arange(n_bins), np.arange(n_bins)] += 1
        else:
            free_shared = self.shared > 0
            self.a *= free_shared[:, None]
            matrix = np.matmul(self.a.transpose(0, 2, 1), self.a)
            diagonal = np.where(free_shared, 1 / np.where(free_shared, self.shared, 1.0), 1.0)
            matrix[:, np.arange(s), np.arange(s)] += diagonal
        bad = ~np.isfinite(matrix).all((1, 2))
        if bad.any():
            matrix[bad] = np.eye(matrix.shape[1])
        self.matrix = matrix

    def solve(self, gradient: Array) -> Array:
        """(D + J^T W J)^-1 gradient, both (P, R)."""
        s = self.likelihood.model.n_shared
        of_local = (self.likelihood.local @ (self.local * gradient[s:])).T * self.root  # (R, B)
        solution = self.inverse * gradient
        if self.in_bins:
            right_side = np.matmul(self.a, solution[:s].T[:, :, None])[:, :, 0] + of_local
            z = _solve_each(self.matrix, right_side[:, :, None])
            solution[:s] -= np.matmul(self.scaled.transpose(0, 2, 1), z)[:, :, 0].T
            y = z[:, :, 0] * self.root
        else:
            right_side = np.where(self.shared > 0, gradient[:s].T, 0.0) - np.matmul(of_local[:, None], self.a)[:, 0]
            x = _solve_each(self.matrix, right_side[:, :, None])
            solution[:s] = x[:, :, 0].T
            y = (np.matmul(self.a, x)[:, :, 0] + of_local) * self.root
        solution[s:] -= self.local * np.take(y, self.likelihood.model.local_bin, 1).T
        return solution


def _solve_each(matrix: Array, right: Array) -> NDArray[np.floating]:
    """Solve (R, n, n) for (R, n, 1), row by row; NaN if a matrix is singular, and `newton` then continues the row."""
    try:
        return np.linalg.solve(matrix, right)
    except np.linalg.LinAlgError:
        out = np.zeros_like(right)
        for i in range(len(matrix)):
            try:
                out[i] = np.linalg.solve(matrix[i : i + 1], right[i : i + 1])[0]
            except np.linalg.LinAlgError:
                out[i] = np.nan
        return out
