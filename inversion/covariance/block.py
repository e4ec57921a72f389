"""Blocks without correlation between them: fluxes beside boundary terms, one site beside another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import scipy.linalg

from inversion.covariance.operator import Array, Covariance, Factor
from inversion.errors import CovarianceError


class BlockDiagonal(Covariance):
    """C = diag(C₁, C₂, ...).

    Parameters
    ----------
    blocks : sequence of Covariance
        In the order of the vector.
    name : str
        What it is the covariance of.

    Raises
    ------
    CovarianceError
        Without blocks, or with something else than covariances.
    """

    def __init__(self, blocks: Sequence[Covariance], *, name: str = "covariance") -> None:
        if not blocks or not all(isinstance(block, Covariance) for block in blocks):
            kinds = ", ".join(type(block).__name__ for block in blocks) or "nothing"
            msg = f"{name}: expected a sequence of covariances, got {kinds}."
            raise CovarianceError(msg)
        self.blocks = tuple(blocks)
        self.name = name
        self.size = sum(block.size for block in blocks)
        self.notes = tuple(note for block in blocks for note in block.notes)

    def matvec(self, V: Array) -> Array:
        """Return C V."""
        return self._each([block.matvec for block in self.blocks], V)

    def solve(self, V: Array) -> Array:
        """Return C⁻¹ V."""
        return self._each([block.solve for block in self.blocks], V)

    def sqrt(self) -> Factor:
        """Return diag(L₁, L₂, ...)."""
        return _BlockFactor([block.sqrt() for block in self.blocks], self._slices())

    def logdet(self) -> float:
        """Return Σ ln det Cᵢ."""
        return sum(block.logdet() for block in self.blocks)

    def diagonal(self) -> Array:
        """Return the variances."""
        return np.concatenate([block.diagonal() for block in self.blocks])

    def to_dense(self) -> Array:
        """Return C as an array (m, m)."""
        return scipy.linalg.block_diag(*(block.to_dense() for block in self.blocks))

    def add_to(self, matrix: Array) -> None:
        """Add each block in its place."""
        for part, block in zip(self._slices(), self.blocks, strict=True):
            block.add_to(matrix[part, part])

    def pieces(self, rows: int) -> Iterator[tuple[slice, Covariance]]:
        """Yield the pieces of the blocks."""
        for outer, block in zip(self._slices(), self.blocks, strict=True):
            for inner, piece in block.pieces(rows):
                yield slice(outer.start + inner.start, outer.start + inner.stop), piece

    def _slices(self) -> list[slice]:
        ends = np.cumsum([block.size for block in self.blocks]).tolist()
        return [slice(end - block.size, end) for end, block in zip(ends, self.blocks, strict=True)]

    def _each(self, products: list[Callable[[Array], Array]], V: Array) -> Array:
        return _concatenated(products, self._slices(), V)


class _BlockFactor(Factor):
    def __init__(self, factors: list[Factor], slices: list[slice]) -> None:
        self._factors = factors
        self._slices = slices

    def matvec(self, V: Array) -> Array:
        return _concatenated([factor.matvec for factor in self._factors], self._slices, V)

    def rmatvec(self, V: Array) -> Array:
        return _concatenated([factor.rmatvec for factor in self._factors], self._slices, V)

    def solve(self, V: Array) -> Array:
        return _concatenated([factor.solve for factor in self._factors], self._slices, V)

    def rsolve(self, V: Array) -> Array:
        return _concatenated([factor.rsolve for factor in self._factors], self._slices, V)

    def to_dense(self) -> Array:
        return scipy.linalg.block_diag(*(factor.to_dense() for factor in self._factors))


def _concatenated(products: list[Callable[[Array], Array]], slices: list[slice], V: Array) -> Array:
    if len(products) == 1:
        return products[0](V)
    return np.concatenate([product(V[part]) for product, part in zip(products, slices, strict=True)])
