"""The results of fits: the minimum of each row, and how its fit ended."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from histfactory.model import Array, Index, Mask

TOLERANCE = 1e-8  # largest decrease of -log L that a converged fit may still predict; CLs to 1e-4 would need 1e-5

# How a fit ended. The last two: `fit_batch` dropped it, because it approached the minimum of its rival, or a higher one.
CONVERGED, TOO_MANY_STEPS, NOT_FINITE, STUCK, SAME, HIGHER = range(6)


@dataclass
class Fit:
    """The results of one fit per row. value: -log L + log L(saturated), infinite for a row that was dropped as the same."""

    theta: Array  # (P, R)
    value: Array  # (R,)
    status: Index  # (R,) one of the constants above

    @property
    def converged(self) -> Mask:
        """Which rows are at a minimum (R,)."""
        return self.status == CONVERGED

    def lowest(self, starts: list[Index], allowed: Mask) -> Fit:
        """The result with the lowest value for each fit, of those that are allowed (R,) if there are any.

        starts: for each start, the rows of all fits.
        """
        rows = np.stack(starts)
        value = np.where(allowed[rows], self.value[rows], np.inf)
        value = np.where(np.isfinite(value).any(0), value, self.value[rows])
        return self.take(rows[value.argmin(0), np.arange(rows.shape[1])])

    def take(self, rows: Index) -> Fit:
        """A copy of these rows."""
        return Fit(np.take(self.theta, rows, 1), self.value[rows], self.status[rows])

    def replace(self, rows: Index | Mask, other: Fit) -> None:
        """Replace these rows by those of another fit, in place."""
        self.theta[:, rows], self.value[rows], self.status[rows] = other.theta, other.value, other.status
