"""A covariance whose standard deviations are multiplied: its correlations stay, and its structure with them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from inversion.covariance.diagonal import scaled
from inversion.covariance.operator import Array, Covariance, Factor
from inversion.errors import CovarianceError


class Scaled(Covariance):
    """C = D C₀ D with D = diag(factor).

    Parameters
    ----------
    covariance : Covariance (m, m)
        C₀; it may be Kronecker and stays so.
    factor : float or array (m,)
        What each standard deviation is multiplied by; finite and above zero.
    name : str, optional
        What it is the covariance of; that of `covariance` by default.

    Raises
    ------
    CovarianceError
        Where a factor is not finite or not positive, or there are not m of them.
    """

    def __init__(self, covariance: Covariance, factor: npt.ArrayLike, *, name: str | None = None) -> None:
        self.name = covariance.name if name is None else name
        self.size = covariance.size
        self.notes = covariance.notes
        given = np.asarray(factor, dtype=np.float64)
        if given.shape not in ((), (self.size,)):
            msg = f"{self.name}: the factors have shape {given.shape}, expected one number or ({self.size},)."
            raise CovarianceError(msg)
        if not (np.isfinite(given) & (given > 0)).all():
            msg = f"{self.name}: the factors run from {given.min():g} to {given.max():g}, expected numbers above zero."
            raise CovarianceError(msg)
        self._inner = covariance
        self._factor = np.broadcast_to(given, self.size)

    def matvec(self, V: Array) -> Array:
        """Return D C₀ D V."""
        return scaled(self._factor, self._inner.matvec(scaled(self._factor, V)))

    def solve(self, V: Array) -> Array:
        """Return D⁻¹ C₀⁻¹ D⁻¹ V."""
        return scaled(1.0 / self._factor, self._inner.solve(scaled(1.0 / self._factor, V)))

    def sqrt(self) -> Factor:
        """Return D L₀, lower triangular as L₀ is."""
        return _ScaledFactor(self._inner.sqrt(), self._factor)

    def logdet(self) -> float:
        """Return ln det C₀ + 2 Σ ln factor."""
        return self._inner.logdet() + 2.0 * float(np.log(self._factor).sum())

    def diagonal(self) -> Array:
        """Return the variances."""
        return self._factor**2 * self._inner.diagonal()

    def to_dense(self) -> Array:
        """Return C as an array (m, m)."""
        return self._inner.to_dense() * self._factor[:, None] * self._factor

    def add_to(self, matrix: Array) -> None:
        """Add C to `matrix`, by pieces that know nothing of each other."""
        for part, piece in self._inner.pieces(self.size):
            matrix[part, part] += piece.to_dense() * self._factor[part, None] * self._factor[part]

    def pieces(self, rows: int) -> Iterator[tuple[slice, Covariance]]:
        """Yield the pieces of C₀, scaled."""
        for part, piece in self._inner.pieces(rows):
            yield part, Scaled(piece, self._factor[part], name=self.name)


class _ScaledFactor(Factor):
    def __init__(self, inner: Factor, factor: Array) -> None:
        self._inner = inner
        self._factor = factor

    def matvec(self, V: Array) -> Array:
        return scaled(self._factor, self._inner.matvec(V))

    def rmatvec(self, V: Array) -> Array:
        return self._inner.rmatvec(scaled(self._factor, V))

    def solve(self, V: Array) -> Array:
        return self._inner.solve(scaled(1.0 / self._factor, V))

    def rsolve(self, V: Array) -> Array:
        return scaled(1.0 / self._factor, self._inner.rsolve(V))

    def to_dense(self) -> Array:
        return self._factor[:, None] * self._inner.to_dense()
