"""What every covariance offers: products, solves, a factor, a determinant, aggregates; never an inverse."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import scipy.sparse

Array = npt.NDArray[np.float64]


class Factor(ABC):
    """Lower triangular L with L Lᵀ = C; every method takes (m,) or (m, k) and returns the same shape."""

    @abstractmethod
    def matvec(self, V: Array) -> Array:
        """Return L V."""

    @abstractmethod
    def rmatvec(self, V: Array) -> Array:
        """Return Lᵀ V."""

    @abstractmethod
    def solve(self, V: Array) -> Array:
        """Return L⁻¹ V: `V` whitened."""

    @abstractmethod
    def rsolve(self, V: Array) -> Array:
        """Return L⁻ᵀ V."""

    @abstractmethod
    def to_dense(self) -> Array:
        """Return L as an array (m, m)."""


class Covariance(ABC):
    """Symmetric positive definite operator C of size m x m, checked when it was made.

    Attributes
    ----------
    size : int
        m.
    name : str
        What it is the covariance of; errors say it.
    notes : tuple of str
        What was done to it (regularised by how much), to be said with the result.
    """

    size: int
    name: str
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """(m, m)."""
        return self.size, self.size

    @abstractmethod
    def matvec(self, V: Array) -> Array:
        """Return C V for V (m,) or (m, k)."""

    @abstractmethod
    def solve(self, V: Array) -> Array:
        """Return C⁻¹ V for V (m,) or (m, k)."""

    @abstractmethod
    def sqrt(self) -> Factor:
        """Return the lower triangular L with L Lᵀ = C."""

    @abstractmethod
    def logdet(self) -> float:
        """Return ln det C."""

    @abstractmethod
    def diagonal(self) -> Array:
        """Return the variances (m,)."""

    @abstractmethod
    def to_dense(self) -> Array:
        """Return C as an array (m, m)."""

    @abstractmethod
    def add_to(self, matrix: Array) -> None:
        """Add C to `matrix` (m, m) in place."""

    @abstractmethod
    def pieces(self, rows: int) -> Iterator[tuple[slice, Covariance]]:
        """Yield mutually uncorrelated parts in order, each of about `rows` rows where C can be cut that finely."""

    def aggregate(self, W: npt.ArrayLike | scipy.sparse.spmatrix) -> Array:
        """Return W C Wᵀ, exactly symmetric and without forming C.

        Parameters
        ----------
        W : array or sparse matrix (k, m)

        Returns
        -------
        array (k, k)
        """
        U = self.sqrt().rmatvec(columns(W))
        return U.T @ U

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name}, {self.size})"


def columns(W: npt.ArrayLike | scipy.sparse.spmatrix) -> Array:
    """Return Wᵀ as a dense array (m, k)."""
    if scipy.sparse.issparse(W):
        return np.ascontiguousarray(W.T.toarray(), dtype=np.float64)  # type: ignore[union-attr]
    return np.ascontiguousarray(np.asarray(W, dtype=np.float64).T)
