"""A large symmetric matrix as its lower half, in panels of columns, and its Cholesky factor in the same memory."""

from __future__ import annotations

from typing import Final

import numpy as np
import scipy.linalg

from inversion.covariance import Covariance
from inversion.covariance.operator import Array

WHOLE: Final = 4096
"""Up to this size one panel holds the whole: LAPACK is fastest so."""
WIDTH: Final = 1024
"""Columns of a panel beyond it; half of what the whole matrix would take, and this share of it, is needed."""
_ROWS = 1024
"""Rows of a panel worked on at a time."""


class Panels:
    """S (n, n), given by its lower half; after `factorise` its Cholesky factor L.

    Attributes
    ----------
    size : int
        n.
    width : int
        Columns a panel.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.width = size if size <= WHOLE else WIDTH
        self._starts = range(0, size, self.width)
        self._panels = [np.zeros((size - start, min(self.width, size - start))) for start in self._starts]

    @staticmethod
    def bytes_for(size: int) -> int:
        """Return what panels of a matrix of `size` take."""
        width = size if size <= WHOLE else WIDTH
        return 8 * sum((size - start) * min(width, size - start) for start in range(0, size, width))

    def put(self, rows: slice, columns: slice, block: Array) -> None:
        """Set a block of S; what of it lies above the diagonal may be dropped."""
        for start, panel in zip(self._starts, self._panels, strict=True):
            left, right = max(columns.start, start), min(columns.stop, start + panel.shape[1])
            top = max(rows.start, start)
            if left < right and top < rows.stop:
                piece = block[top - rows.start :, left - columns.start : right - columns.start]
                panel[top - start : rows.stop - start, left - start : right - start] = piece

    def add(self, R: Covariance) -> None:
        """Add a covariance."""
        if len(self._panels) == 1:
            R.add_to(self._panels[0])
            return
        for part, piece in R.pieces(self.width):
            self._add_piece(part, piece)

    def _add_piece(self, part: slice, piece: Covariance) -> None:
        for start, panel in zip(self._starts, self._panels, strict=True):
            left, right = max(part.start, start), min(part.stop, start + panel.shape[1])
            if left < right:
                unit = np.zeros((piece.size, right - left))
                unit[left - part.start : right - part.start] = np.eye(right - left)
                panel[left - start : part.stop - start, left - start : right - start] += piece.matvec(unit)[
                    left - part.start :
                ]

    def factorise(self) -> None:
        """Replace S by L, L Lᵀ = S, panel by panel from the left.

        Raises
        ------
        numpy.linalg.LinAlgError
            Where S is not positive definite.
        """
        for number, (start, panel) in enumerate(zip(self._starts, self._panels, strict=True)):
            width = panel.shape[1]
            for first, done in zip(self._starts[:number], self._panels[:number], strict=True):
                beside = done[start - first : start - first + width]
                for top in range(0, len(panel), _ROWS):
                    rows = done[start - first + top : start - first + min(top + _ROWS, len(panel))]
                    panel[top : top + _ROWS] -= rows @ beside.T
            corner = np.ascontiguousarray(panel[:width])
            # The transpose of a C array is what LAPACK works on in place; its upper factor is our lower one.
            corner = scipy.linalg.cholesky(corner.T, lower=False, overwrite_a=True, check_finite=False).T
            panel[:width] = corner
            for top in range(width, len(panel), _ROWS):
                rows = panel[top : top + _ROWS]
                panel[top : top + _ROWS] = scipy.linalg.solve_triangular(
                    corner, rows.T, lower=True, overwrite_b=True, check_finite=False
                ).T

    def solve(self, V: Array, first: int = 0) -> Array:
        """Return L⁻¹ V for V (n,) or (n, k); `first` is a row of a panel's beginning above which V is zero."""
        V = V.copy()
        for start, panel in zip(self._starts, self._panels, strict=True):
            if start + panel.shape[1] <= first:
                continue
            width = panel.shape[1]
            V[start : start + width] = self._triangle(panel, V[start : start + width], 0)
            V[start + width :] -= panel[width:] @ V[start : start + width]
        return V

    def rsolve(self, V: Array) -> Array:
        """Return L⁻ᵀ V."""
        V = V.copy()
        for start, panel in zip(reversed(self._starts), reversed(self._panels), strict=True):
            width = panel.shape[1]
            V[start : start + width] -= panel[width:].T @ V[start + width :]
            V[start : start + width] = self._triangle(panel, V[start : start + width], 1)
        return V

    @staticmethod
    def _triangle(panel: Array, V: Array, trans: int) -> Array:
        corner = panel[: panel.shape[1]]
        return scipy.linalg.solve_triangular(corner, V, lower=True, trans=trans, check_finite=False)
