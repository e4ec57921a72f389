"""Separable covariances: space ⊗ time, sector ⊗ space ⊗ time; the product is never formed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from inversion.covariance.operator import Array, Covariance, Factor
from inversion.errors import CovarianceError

_WORTH_LOOKING = 64
"""Columns from which it is looked whether some are zero."""


class Kronecker(Covariance):
    """C = C₁ ⊗ C₂ (⊗ C₃).

    The first factor varies slowest: the state is `x.reshape(m₁, m₂, m₃)` in C order. A product with a vector costs
    m (m₁ + m₂ + m₃) instead of m² (Yadav and Michalak 2013, GMD 6, 583).

    Parameters
    ----------
    *factors : Covariance
        Two or more.
    name : str
        What it is the covariance of.

    Raises
    ------
    CovarianceError
        With fewer than two factors, or something else than covariances.
    """

    def __init__(self, *factors: Covariance, name: str = "covariance") -> None:
        if len(factors) < 2 or not all(isinstance(factor, Covariance) for factor in factors):
            kinds = ", ".join(type(factor).__name__ for factor in factors) or "nothing"
            msg = f"{name}: a Kronecker product takes two or more covariances, got {kinds}; wrap arrays in Dense(...)."
            raise CovarianceError(msg)
        self.factors = factors
        self.name = name
        self.sizes = tuple(factor.size for factor in factors)
        self.size = int(np.prod(self.sizes))
        self.notes = tuple(note for factor in factors for note in factor.notes)

    def matvec(self, V: Array) -> Array:
        """Return C V."""
        return _along_axes([factor.matvec for factor in self.factors], self.sizes, V)

    def solve(self, V: Array) -> Array:
        """Return C⁻¹ V = (C₁⁻¹ ⊗ C₂⁻¹) V."""
        return _along_axes([factor.solve for factor in self.factors], self.sizes, V)

    def sqrt(self) -> Factor:
        """Return L₁ ⊗ L₂, lower triangular as its factors are."""
        return _KroneckerFactor([factor.sqrt() for factor in self.factors], self.sizes)

    def logdet(self) -> float:
        """Return Σ (m / mᵢ) ln det Cᵢ."""
        return sum(self.size // factor.size * factor.logdet() for factor in self.factors)

    def diagonal(self) -> Array:
        """Return the variances."""
        return _product(factor.diagonal() for factor in self.factors)

    def to_dense(self) -> Array:
        """Return the product as an array (m, m): for tests and small cases."""
        return _product(factor.to_dense() for factor in self.factors)

    def add_to(self, matrix: Array) -> None:
        """Add the product to `matrix`."""
        matrix += self.to_dense()

    def pieces(self, rows: int) -> Iterator[tuple[slice, Covariance]]:
        """Yield itself."""
        del rows
        yield slice(0, self.size), self


class _KroneckerFactor(Factor):
    def __init__(self, factors: list[Factor], sizes: tuple[int, ...]) -> None:
        self._factors = factors
        self._sizes = sizes

    def matvec(self, V: Array) -> Array:
        return _along_axes([factor.matvec for factor in self._factors], self._sizes, V)

    def rmatvec(self, V: Array) -> Array:
        return _along_axes([factor.rmatvec for factor in self._factors], self._sizes, V)

    def solve(self, V: Array) -> Array:
        return _along_axes([factor.solve for factor in self._factors], self._sizes, V)

    def rsolve(self, V: Array) -> Array:
        return _along_axes([factor.rsolve for factor in self._factors], self._sizes, V)

    def to_dense(self) -> Array:
        return _product(factor.to_dense() for factor in self._factors)


def _product(arrays: Iterable[Array]) -> Array:
    product: Array = np.ones(1)
    for array in arrays:
        product = np.asarray(np.kron(product, array), dtype=np.float64)
    return product


def _along_axes(products: list[Callable[[Array], Array]], sizes: tuple[int, ...], V: Array) -> Array:
    """Apply one product along each axis of V seen as (m₁, m₂, ..., k).

    Each product takes its axis off the front and puts it behind the others, so that after all of them the axes are
    (k, m₁, m₂, ...): every product then works on one large matrix.
    """
    k = 1 if V.ndim == 1 else V.shape[1]
    block = np.ascontiguousarray(V).reshape(*sizes, k)
    for product, size in zip(products, sizes, strict=True):
        rest = block.shape[1:]
        flat = _skipping_zeros(product, np.ascontiguousarray(block).reshape(size, -1))
        block = np.moveaxis(np.asarray(flat).reshape(size, *rest), 0, -1)
    return np.moveaxis(block, 0, -1).reshape(V.shape)


def _skipping_zeros(product: Callable[[Array], Array], V: Array) -> Array:
    """Multiply the columns that are not zero: what was seen in one month has none in the others."""
    if V.shape[1] < _WORTH_LOOKING:
        return product(V)
    used = V.any(axis=0)
    if np.count_nonzero(used) > 0.5 * used.size:
        return product(V)
    image = np.zeros_like(V)
    image[:, used] = product(V[:, used])
    return image
