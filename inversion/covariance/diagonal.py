"""Uncorrelated errors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from inversion.covariance.operator import Array, Covariance, Factor
from inversion.errors import CovarianceError


class Diagonal(Covariance):
    """C = diag(variance).

    Parameters
    ----------
    variance : array (m,)
        Variances (sigma squared), all finite and above zero.
    name : str
        What it is the covariance of.

    Raises
    ------
    CovarianceError
        Where a variance is not finite or not positive, or `variance` is not a vector.
    """

    def __init__(self, variance: npt.ArrayLike, *, name: str = "covariance") -> None:
        self._variance = np.array(variance, dtype=np.float64)
        self.name = name
        if self._variance.ndim != 1:
            msg = f"{name}: variances form an array of shape {self._variance.shape}, expected a vector (m,)."
            raise CovarianceError(msg)
        wrong = np.flatnonzero(~(np.isfinite(self._variance) & (self._variance > 0)))
        if wrong.size:
            first = int(wrong[0])
            msg = (
                f"{name}: {wrong.size} of {self._variance.size} variances are not positive and finite, first at "
                f"index {first}: {self._variance[first]}; a value without an error cannot be weighed, give it one."
            )
            raise CovarianceError(msg)
        self.size = self._variance.size

    def matvec(self, V: Array) -> Array:
        """Return C V."""
        return scaled(self._variance, V)

    def solve(self, V: Array) -> Array:
        """Return C⁻¹ V."""
        return scaled(1.0 / self._variance, V)

    def sqrt(self) -> Factor:
        """Return diag(sigma)."""
        return _DiagonalFactor(np.sqrt(self._variance))

    def logdet(self) -> float:
        """Return the sum of ln variance."""
        return float(np.log(self._variance).sum())

    def diagonal(self) -> Array:
        """Return the variances."""
        return self._variance.copy()

    def to_dense(self) -> Array:
        """Return diag(variance)."""
        return np.diag(self._variance)

    def add_to(self, matrix: Array) -> None:
        """Add the variances to the diagonal of `matrix`."""
        matrix[np.diag_indices(self.size)] += self._variance

    def pieces(self, rows: int) -> Iterator[tuple[slice, Covariance]]:
        """Yield runs of `rows` rows."""
        for start in range(0, self.size, rows):
            part = slice(start, min(start + rows, self.size))
            yield part, Diagonal(self._variance[part], name=self.name)


class _DiagonalFactor(Factor):
    def __init__(self, sigma: Array) -> None:
        self._sigma = sigma

    def matvec(self, V: Array) -> Array:
        return scaled(self._sigma, V)

    def rmatvec(self, V: Array) -> Array:
        return scaled(self._sigma, V)

    def solve(self, V: Array) -> Array:
        return scaled(1.0 / self._sigma, V)

    def rsolve(self, V: Array) -> Array:
        return scaled(1.0 / self._sigma, V)

    def to_dense(self) -> Array:
        return np.diag(self._sigma)


def scaled(weight: Array, V: Array) -> Array:
    """Return diag(weight) V for V (m,) or (m, k)."""
    return weight * V if V.ndim == 1 else weight[:, None] * V
