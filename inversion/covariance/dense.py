"""A covariance given entry by entry."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import scipy.linalg
from scipy.linalg import blas, lapack

from inversion.covariance.operator import Array, Covariance, Factor
from inversion.errors import CovarianceError

_SYMMETRY = 1e-10
"""Largest difference of C and Cᵀ, as a share of the largest entry, that is taken for rounding."""


class Dense(Covariance):
    """C as a matrix, checked once: finite, symmetric, positive definite, well enough conditioned.

    Parameters
    ----------
    matrix : array (m, m)
    nugget : float
        Regularises: this share of the mean variance is added to every variance, and `notes` says so.
    max_condition : float
        Largest condition number (estimated in the 1-norm from the Cholesky factor) that is accepted.
    name : str
        What it is the covariance of.

    Raises
    ------
    CovarianceError
        In one sentence, with the `nugget` that would do where that is the remedy.
    """

    def __init__(
        self, matrix: npt.ArrayLike, *, nugget: float = 0.0, max_condition: float = 1e12, name: str = "covariance"
    ) -> None:
        self.name = name
        self._matrix = _symmetric(np.asarray(matrix, dtype=np.float64), name)
        self.size = len(self._matrix)
        mean = float(np.diagonal(self._matrix).mean())
        if nugget < 0:
            msg = f"{name}: nugget is {nugget}, expected a share of the mean variance, 0 or more."
            raise CovarianceError(msg)
        if nugget:
            self._matrix[np.diag_indices(self.size)] += nugget * mean
        self._lower = _cholesky(self._matrix, max_condition, name)
        self.condition = _condition(self._matrix, self._lower)
        if self.condition > max_condition:
            msg = (
                f"{name}: the condition number is about {self.condition:.0e}, accepted are {max_condition:.0e}; "
                f"{_remedy(self._matrix, max_condition)}."
            )
            raise CovarianceError(msg)
        if nugget:
            note = (
                f"{name} was regularised: {nugget:g} of the mean variance was added to every variance; its condition "
                f"number is now about {self.condition:.0e}."
            )
            self.notes = (note,)

    def matvec(self, V: Array) -> Array:
        """Return C V."""
        return self._matrix @ V

    def solve(self, V: Array) -> Array:
        """Return C⁻¹ V, by the Cholesky factor."""
        return scipy.linalg.cho_solve((self._lower, True), V, check_finite=False)

    def sqrt(self) -> Factor:
        """Return the Cholesky factor."""
        return TriangularFactor(self._lower)

    def logdet(self) -> float:
        """Return 2 Σ ln L_ii."""
        return 2.0 * float(np.log(np.diagonal(self._lower)).sum())

    def diagonal(self) -> Array:
        """Return the variances."""
        return np.diagonal(self._matrix).copy()

    def to_dense(self) -> Array:
        """Return a copy of the matrix."""
        return self._matrix.copy()

    def add_to(self, matrix: Array) -> None:
        """Add the matrix to `matrix`."""
        matrix += self._matrix

    def pieces(self, rows: int) -> Iterator[tuple[slice, Covariance]]:
        """Yield itself: everything may be correlated with everything, whatever `rows` asks for."""
        del rows
        yield slice(0, self.size), self


class TriangularFactor(Factor):
    """A lower triangular matrix L."""

    def __init__(self, lower: Array) -> None:
        self._lower = np.asfortranarray(lower)

    def matvec(self, V: Array) -> Array:
        """Return L V."""
        return self._product(V, 0)

    def rmatvec(self, V: Array) -> Array:
        """Return Lᵀ V."""
        return self._product(V, 1)

    def solve(self, V: Array) -> Array:
        """Return L⁻¹ V."""
        return scipy.linalg.solve_triangular(self._lower, V, lower=True, check_finite=False)

    def rsolve(self, V: Array) -> Array:
        """Return L⁻ᵀ V."""
        return scipy.linalg.solve_triangular(self._lower, V, lower=True, trans="T", check_finite=False)

    def to_dense(self) -> Array:
        """Return L."""
        return self._lower

    def _product(self, V: Array, transposed: int) -> Array:
        if V.ndim == 1:
            return (self._lower.T if transposed else self._lower) @ V
        if V.flags.f_contiguous:
            return blas.dtrmm(1.0, self._lower, V, lower=1, trans_a=transposed)
        # From the right on the transpose: what lies row by row is not turned round for it.
        return blas.dtrmm(1.0, self._lower, np.ascontiguousarray(V).T, side=1, lower=1, trans_a=1 - transposed).T


def _symmetric(matrix: Array, name: str) -> Array:
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        msg = f"{name}: the matrix has shape {matrix.shape}, expected a square one (m, m)."
        raise CovarianceError(msg)
    if not np.isfinite(matrix).all():
        row, column = np.argwhere(~np.isfinite(matrix))[0]
        msg = f"{name}: entry ({row}, {column}) is {matrix[row, column]}, expected finite numbers."
        raise CovarianceError(msg)
    gap = matrix - matrix.T
    np.abs(gap, out=gap)
    worst = float(gap.max())
    if worst == 0:
        return matrix.copy()
    if worst > _SYMMETRY * max(float(matrix.max()), -float(matrix.min())):
        row, column = np.unravel_index(int(gap.argmax()), gap.shape)
        msg = (
            f"{name}: the matrix is not symmetric: entry ({row}, {column}) is {matrix[row, column]:g} but "
            f"({column}, {row}) is {matrix[column, row]:g}."
        )
        raise CovarianceError(msg)
    mean = np.add(matrix, matrix.T, out=gap)
    mean *= 0.5
    return mean


def _cholesky(matrix: Array, max_condition: float, name: str) -> Array:
    try:
        return scipy.linalg.cholesky(matrix, lower=True, check_finite=False)
    except np.linalg.LinAlgError:
        smallest = float(scipy.linalg.eigvalsh(matrix, subset_by_index=[0, 0], check_finite=False)[0])
        msg = (
            f"{name}: the matrix is not positive definite, its smallest eigenvalue is {smallest:.2e} beside a mean "
            f"variance of {np.diagonal(matrix).mean():.2e}; {_remedy(matrix, max_condition, smallest)}."
        )
        raise CovarianceError(msg) from None


def _condition(matrix: Array, lower: Array) -> float:
    norm = float(lapack.dlange("1", matrix.T))  # symmetric: turned round for nothing but its order in memory
    reciprocal, _ = lapack.dpocon(np.asfortranarray(lower), norm, uplo="L")
    return float(1.0 / reciprocal) if reciprocal > 0 else np.inf


def _remedy(matrix: Array, max_condition: float, smallest: float = 0.0) -> str:
    """Name the nugget that brings the condition number safely below the accepted one."""
    mean = float(np.diagonal(matrix).mean())
    if mean <= 0:
        return "give it positive variances"
    norm = float(np.abs(matrix).sum(axis=0).max())
    needed = (10.0 * norm / max_condition - min(smallest, 0.0)) / mean
    if needed > 0.1:
        return "it is no covariance, look for an error where it was made"
    return f"shorten the correlation length, drop doubled points, or regularise it with nugget={needed:.0e}"
