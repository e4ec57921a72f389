"""The sensitivities H in whatever form they come: array, Dask, scipy.sparse or LinearOperator.

Each form offers the same: `matvec` (H V), `rmatvec` (Hᵀ U), `rows` (a dense block) and `place_of_nonfinite`.
Dask arrays are read block by block and never held whole.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import dask.array
import numpy as np
import scipy.sparse
import xarray as xr
from scipy.sparse.linalg import LinearOperator

from inversion.covariance.operator import Array

BLOCK_BYTES = 128 * 2**20
"""Largest block of rows that is held at a time where H is not in memory anyway."""

_FILLED = 0.02
"""Share of entries, in the columns in use, above which a dense product beats a sparse one."""


class Jacobian(ABC):
    """H (n, m)."""

    shape: tuple[int, int]

    @abstractmethod
    def matvec(self, V: Array) -> Array:
        """Return H V for V (m,) or (m, k)."""

    @abstractmethod
    def rmatvec(self, U: Array) -> Array:
        """Return Hᵀ U for U (n,) or (n, k)."""

    @abstractmethod
    def rows(self, part: slice) -> Array:
        """Return the rows of `part` as a dense block."""

    def part_matvec(self, part: slice, V: Array) -> Array:
        """Return the rows of `part` times V (m, k)."""
        return self.rows(part) @ V

    def place_of_nonfinite(self) -> tuple[int, int, float] | None:
        """Return row, column and value of the first entry that is NaN or infinite, None where all are finite."""
        for part in self.blocks():
            block = self.rows(part)
            if not np.isfinite(block).all():
                row, column = np.argwhere(~np.isfinite(block))[0]
                return part.start + int(row), int(column), float(block[row, column])
        return None

    def blocks(self, limit: int | None = None) -> Iterator[slice]:
        """Yield consecutive parts of the rows, each within `BLOCK_BYTES` and `limit` rows."""
        n, m = self.shape
        rows = max(1, BLOCK_BYTES // (8 * max(m, 1)))
        rows = rows if limit is None else min(rows, limit)
        for start in range(0, n, rows):
            yield slice(start, min(start + rows, n))


class ArrayJacobian(Jacobian):
    """H in memory."""

    def __init__(self, matrix: Array) -> None:
        self._matrix = matrix
        self.shape = (matrix.shape[0], matrix.shape[1])

    def matvec(self, V: Array) -> Array:
        """Return H V."""
        return self._matrix @ V

    def rmatvec(self, U: Array) -> Array:
        """Return Hᵀ U."""
        return self._matrix.T @ U

    def rows(self, part: slice) -> Array:
        """Return a view of the rows."""
        return self._matrix[part]


class DaskJacobian(Jacobian):
    """H on disk or on its way: read block by block, chunks as they are."""

    def __init__(self, matrix: dask.array.Array) -> None:
        self._matrix = matrix
        self.shape = (matrix.shape[0], matrix.shape[1])

    def matvec(self, V: Array) -> Array:
        """Return H V."""
        return np.concatenate([self.rows(part) @ V for part in self.blocks()])

    def rmatvec(self, U: Array) -> Array:
        """Return Hᵀ U."""
        total = np.zeros((self.shape[1], *U.shape[1:]))
        for part in self.blocks():
            total += self.rows(part).T @ U[part]
        return total

    def rows(self, part: slice) -> Array:
        """Compute the rows."""
        return np.asarray(self._matrix[part].compute(), dtype=np.float64)


class SparseJacobian(Jacobian):
    """H as a scipy.sparse matrix."""

    def __init__(self, matrix: Any) -> None:
        self._matrix = matrix.tocsr().astype(np.float64)
        self.shape = self._matrix.shape

    def matvec(self, V: Array) -> Array:
        """Return H V."""
        return self._matrix @ V

    def rmatvec(self, U: Array) -> Array:
        """Return Hᵀ U."""
        return self._matrix.T @ U

    def rows(self, part: slice) -> Array:
        """Return the rows, dense."""
        return self._matrix[part].toarray()

    def part_matvec(self, part: slice, V: Array) -> Array:
        """Multiply densely with the columns that are in use, where that is less work than it seems.

        Footprints of one month see the states of one month: together they fill those columns, and a dense product is
        tens of times faster than a sparse one.
        """
        piece = self._matrix[part]
        used = np.unique(piece.indices)
        if piece.nnz < _FILLED * used.size * piece.shape[0]:
            return piece @ V
        compact = scipy.sparse.csr_array(
            (piece.data, np.searchsorted(used, piece.indices), piece.indptr), shape=(piece.shape[0], used.size)
        )
        return compact.toarray() @ V[used]

    def place_of_nonfinite(self) -> tuple[int, int, float] | None:
        """Look at the stored entries only."""
        wrong = np.flatnonzero(~np.isfinite(self._matrix.data))
        if not wrong.size:
            return None
        row = int(np.searchsorted(self._matrix.indptr, wrong[0], side="right")) - 1
        return row, int(self._matrix.indices[wrong[0]]), float(self._matrix.data[wrong[0]])


class OperatorJacobian(Jacobian):
    """H as a pair of functions."""

    def __init__(self, operator: LinearOperator) -> None:
        self._operator = operator
        self.shape = (int(operator.shape[0]), int(operator.shape[1]))

    def matvec(self, V: Array) -> Array:
        """Return H V."""
        return self._operator.matvec(V) if V.ndim == 1 else self._operator.matmat(V)

    def rmatvec(self, U: Array) -> Array:
        """Return Hᵀ U."""
        return self._operator.rmatvec(U) if U.ndim == 1 else self._operator.rmatmat(U)

    def rows(self, part: slice) -> Array:
        """Return Hᵀ applied to unit vectors, transposed."""
        unit = np.zeros((self.shape[0], part.stop - part.start))
        unit[part] = np.eye(part.stop - part.start)
        return np.ascontiguousarray(self._operator.rmatmat(unit).T)

    def place_of_nonfinite(self) -> tuple[int, int, float] | None:
        """Find the row by one product with ones, then look along it."""
        wrong = np.flatnonzero(~np.isfinite(self.matvec(np.ones(self.shape[1]))))
        if not wrong.size:
            return None
        row = int(wrong[0])
        entries = self.rows(slice(row, row + 1))[0]
        columns = np.flatnonzero(~np.isfinite(entries))
        column = int(columns[0]) if columns.size else 0
        return row, column, float(entries[column])


class Beside(Jacobian):
    """[H H_b]: two Jacobians of the same observations, side by side."""

    def __init__(self, left: Jacobian, right: Jacobian) -> None:
        self._left, self._right = left, right
        self._split = left.shape[1]
        self.shape = (left.shape[0], left.shape[1] + right.shape[1])

    def matvec(self, V: Array) -> Array:
        """Return H V₁ + H_b V₂."""
        return self._left.matvec(V[: self._split]) + self._right.matvec(V[self._split :])

    def rmatvec(self, U: Array) -> Array:
        """Return Hᵀ U above H_bᵀ U."""
        return np.concatenate([self._left.rmatvec(U), self._right.rmatvec(U)])

    def rows(self, part: slice) -> Array:
        """Return the rows of both."""
        return np.hstack([self._left.rows(part), self._right.rows(part)])

    def part_matvec(self, part: slice, V: Array) -> Array:
        """Return the sum of both products."""
        return self._left.part_matvec(part, V[: self._split]) + self._right.part_matvec(part, V[self._split :])


def as_jacobian(H: Any) -> Jacobian:
    """Return H as a `Jacobian`.

    Parameters
    ----------
    H : array, dask.array.Array, scipy.sparse matrix, LinearOperator, DataArray or Jacobian (n, m)

    Returns
    -------
    Jacobian

    Raises
    ------
    TypeError
        Where H is none of these, or not two-dimensional.
    """
    H = H.data if isinstance(H, xr.DataArray) else H
    if isinstance(H, Jacobian):
        return H
    if isinstance(H, LinearOperator):
        return OperatorJacobian(H)
    if len(getattr(H, "shape", np.shape(H))) != 2:
        msg = f"has shape {getattr(H, 'shape', np.shape(H))}, expected two dimensions (observations, unknowns)"
        raise TypeError(msg)
    if scipy.sparse.issparse(H):
        return SparseJacobian(H)
    if isinstance(H, dask.array.Array):
        return DaskJacobian(H)
    try:
        return ArrayJacobian(np.asarray(H, dtype=np.float64))
    except (TypeError, ValueError) as error:
        msg = f"is a {type(H).__name__}, expected numbers"
        raise TypeError(msg) from error
