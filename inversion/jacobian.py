"""The sensitivities H in whatever form they come: array, Dask, scipy.sparse or LinearOperator.

Each form offers the same: `matvec` (H V), `rmatvec` (Hᵀ U), `rows` (a dense block), `part_matvec` (some rows times V),
`place_of_nonfinite`. Dask arrays are read block by block and never held whole.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import dask
import dask.array
import dask.base
import numpy as np
import scipy.sparse
import xarray as xr
from scipy.sparse.linalg import LinearOperator

from inversion.covariance.operator import Array

BLOCK_BYTES = 128 * 2**20
"""Largest block of rows that is held at a time where H is not in memory anyway."""

_SHARE = 4
"""Blocks that may be held at once, by as many workers, within `BLOCK_BYTES`; a chunk is never cut."""
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
    """H on disk or on its way: multiplied where its blocks are, on whatever scheduler Dask has, and never held whole.

    Blocks of rows and the order in which their products are added depend on the shape and the chunks of H alone, so
    that every scheduler gives the same numbers. Chunks may be scipy.sparse matrices.
    """

    def __init__(self, matrix: dask.array.Array) -> None:
        self._matrix = matrix
        self.shape = (matrix.shape[0], matrix.shape[1])

    def matvec(self, V: Array) -> Array:
        """Return H V."""
        (shared,) = _shared(V)
        pieces = [dask.delayed(_product, pure=False)(block, shared) for _, block in self._delayed]
        return np.concatenate(dask.compute(*pieces))

    def rmatvec(self, U: Array) -> Array:
        """Return Hᵀ U."""
        shared = _shared(*(U[part] for part, _ in self._delayed))
        pieces = [
            dask.delayed(_transposed_product, pure=False)(block, piece)
            for (_, block), piece in zip(self._delayed, shared, strict=True)
        ]
        while len(pieces) > 1:  # pairs of neighbours: few partial sums are held, in an order that is always the same
            pairs = [dask.delayed(np.add, pure=False)(*pieces[i : i + 2]) for i in range(0, len(pieces) - 1, 2)]
            pieces = pairs + pieces[2 * len(pairs) :]
        (total,) = dask.compute(*pieces)
        return _aligned(total)

    def rows(self, part: slice) -> Array:
        """Compute the rows."""
        return _dense(self._matrix[part].compute())

    def part_matvec(self, part: slice, V: Array) -> Array:
        """Multiply where the rows are."""
        (shared,) = _shared(V)
        (image,) = dask.compute(dask.delayed(_product, pure=False)(self._matrix[part], shared))
        return _aligned(image)

    def place_of_nonfinite(self) -> tuple[int, int, float] | None:
        """Look through the blocks where they are."""
        found = dask.compute(*(dask.delayed(_nonfinite, pure=False)(block) for _, block in self._delayed))
        for (part, _), place in zip(self._delayed, found, strict=True):
            if place is not None:
                return part.start + place[0], place[1], place[2]
        return None

    def blocks(self, limit: int | None = None) -> Iterator[slice]:
        """Yield runs of whole chunks: one that is cut in two is read twice, and all workers are to have something."""
        most = max(1, BLOCK_BYTES // (8 * max(self.shape[1], 1)) // _SHARE)
        most = most if limit is None else min(most, limit)
        start = stop = 0
        for rows in self._matrix.chunks[0]:
            if stop > start and stop + rows - start > most:
                yield slice(start, stop)
                start = stop
            stop += rows
        yield slice(start, stop)

    @functools.cached_property
    def _delayed(self) -> list[tuple[slice, Any]]:
        """Blocks of rows, each one task's argument."""
        return [(part, dask.delayed(self._matrix[part], pure=False)) for part in self.blocks()]


def _shared(*arrays: Array) -> list[Any]:
    """Return arrays as arguments of many tasks: sent to a cluster once, not with every task."""
    client: Any = getattr(dask.base.get_scheduler(), "__self__", None)
    if hasattr(client, "scatter"):
        return list(client.scatter(list(arrays), hash=False))
    return [dask.delayed(array, pure=False) for array in arrays]


def _product(block: Any, V: Array) -> Array:
    return np.asarray(_numbers(block) @ _aligned(V))


def _transposed_product(block: Any, U: Array) -> Array:
    return np.asarray(_numbers(block).T @ _aligned(U))


def _numbers(block: Any) -> Any:
    return block.astype(np.float64) if scipy.sparse.issparse(block) else _aligned(block)


def _aligned(array: Any) -> Array:
    """Copy what came through a socket to an odd address: numpy would multiply it without BLAS, and round otherwise."""
    return np.require(array, dtype=np.float64, requirements=["C", "ALIGNED"])


def _dense(block: Any) -> Array:
    return np.asarray(block.toarray() if scipy.sparse.issparse(block) else block, dtype=np.float64)


def _nonfinite(block: Any) -> tuple[int, int, float] | None:
    if scipy.sparse.issparse(block) and np.isfinite(block.data).all():
        return None
    dense = _dense(block)
    if np.isfinite(dense).all():
        return None
    row, column = np.argwhere(~np.isfinite(dense))[0]
    return int(row), int(column), float(dense[row, column])


class SparseJacobian(Jacobian):
    """H as a scipy.sparse matrix."""

    def __init__(self, matrix: Any) -> None:
        self._matrix = matrix.tocsr().astype(np.float64, copy=False)
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
