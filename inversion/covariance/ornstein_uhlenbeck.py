"""Errors that are partly independent and partly fade in time: exact, in time and memory proportional to their number.

    C_ij = d_i δ_ij + τ_i τ_j exp(−|t_i − t_j| / L)

The second part is an Ornstein-Uhlenbeck process. With φ_i = exp(−(t_i − t_i−1) / L) the factor C = L D Lᵀ has
L_ij = τ_i w_j φ_j+1 ⋯ φ_i below its diagonal of ones, and

    s_i = φ_i² (s_i−1 + D_i−1 w_i−1²),   D_i = d_i + τ_i² − τ_i² s_i,   w_i = τ_i (1 − s_i) / D_i

(Rybicki & Press 1995, PRL 74, 1060; Foreman-Mackey et al. 2017, AJ 154, 220, Eqs 33 to 39 for one real term).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from inversion.covariance.diagonal import scaled
from inversion.covariance.operator import Array, Covariance, Factor
from inversion.errors import CovarianceError


class OrnsteinUhlenbeck(Covariance):
    """C = diag(d) + τ exp(−|Δt| / L) τ, never formed.

    Parameters
    ----------
    time : array (m,)
        In the unit of `length`, not decreasing.
    independent : array (m,)
        Variances d of what is independent, 0 or more.
    fading : array (m,)
        Standard deviations τ of what fades.
    length : float
        e-folding time L.
    max_condition : float
        Largest 1 / (share of a variance that earlier values leave open) that is accepted.
    name : str
        What it is the covariance of.

    Raises
    ------
    CovarianceError
        In one sentence.

    Examples
    --------
    >>> C = OrnsteinUhlenbeck([0.0, 1.0], [1.0, 1.0], [2.0, 2.0], 3.0)
    >>> C.to_dense().round(3).tolist()
    [[5.0, 2.866], [2.866, 5.0]]
    """

    def __init__(
        self,
        time: npt.ArrayLike,
        independent: npt.ArrayLike,
        fading: npt.ArrayLike,
        length: float,
        *,
        max_condition: float = 1e12,
        name: str = "covariance",
    ) -> None:
        self.name = name
        self._time, self._d, self._tau = (np.array(a, dtype=np.float64) for a in (time, independent, fading))
        self._length = length
        self.size = self._time.size
        self._require()
        self._phi = np.exp(-np.diff(self._time, prepend=self._time[:1]) / length)
        self._D, self._w = self._factorised()
        share = self._D / (self._d + self._tau**2)
        if not (share * max_condition > 1.0).all():
            worst = int(np.nanargmin(share))
            msg = (
                f"{name}: the condition number is at least {1.0 / max(float(share[worst]), 1e-300):.0e}, accepted are "
                f"{max_condition:.0e}: value {worst} follows from those before it; drop doubled times, shorten the "
                "correlation, or give each value an error of its own."
            )
            raise CovarianceError(msg)

    def matvec(self, V: Array) -> Array:
        """Return C V."""
        factor = self.sqrt()
        return factor.matvec(factor.rmatvec(V))

    def solve(self, V: Array) -> Array:
        """Return C⁻¹ V."""
        factor = self.sqrt()
        return factor.rsolve(factor.solve(V))

    def sqrt(self) -> Factor:
        """Return L √D."""
        return _FadingFactor(self._phi, self._tau, self._w, np.sqrt(self._D))

    def logdet(self) -> float:
        """Return Σ ln D_i."""
        return float(np.log(self._D).sum())

    def diagonal(self) -> Array:
        """Return the variances."""
        return self._d + self._tau**2

    def to_dense(self) -> Array:
        """Return C as an array (m, m)."""
        lag = np.abs(self._time[:, None] - self._time)
        return np.diag(self._d) + np.outer(self._tau, self._tau) * np.exp(-lag / self._length)

    def add_to(self, matrix: Array) -> None:
        """Add C to `matrix`."""
        matrix += self.to_dense()

    def pieces(self, rows: int) -> Iterator[tuple[slice, Covariance]]:
        """Yield itself: every value is correlated with every other."""
        del rows
        yield slice(0, self.size), self

    def _require(self) -> None:
        shapes = {self._time.shape, self._d.shape, self._tau.shape}
        problem = None
        if len(shapes) > 1 or self._time.ndim != 1 or not self.size:
            problem = f"times, variances and deviations have the shapes {sorted(shapes)}, expected vectors (m,)"
        elif not all(np.isfinite(a).all() for a in (self._time, self._d, self._tau)) or (self._d < 0).any():
            problem = "times, variances or standard deviations are not finite, or a variance is below zero"
        elif (np.diff(self._time) < 0).any():
            problem = "the times decrease somewhere; sort the values by time"
        elif not self._length > 0:
            problem = f"the correlation length is {self._length}, expected a number above zero"
        elif ((self._d + self._tau**2) <= 0).any():
            problem = "a value has no error at all; a value without an error cannot be weighed, give it one"
        if problem is not None:
            msg = f"{self.name}: {problem}."
            raise CovarianceError(msg)

    def _factorised(self) -> tuple[Array, Array]:
        D, w = np.empty(self.size), np.empty(self.size)
        s = 0.0
        for i in range(self.size):
            if i:
                s = self._phi[i] ** 2 * (s + D[i - 1] * w[i - 1] ** 2)
            D[i] = self._d[i] + self._tau[i] ** 2 * (1.0 - s)
            w[i] = self._tau[i] * (1.0 - s) / D[i] if D[i] > 0 else np.nan
        return D, w


class _FadingFactor(Factor):
    """L √D by recursions along the times."""

    def __init__(self, phi: Array, tau: Array, w: Array, root: Array) -> None:
        self._phi, self._tau, self._w, self._root = phi, tau, w, root

    def matvec(self, V: Array) -> Array:
        Y = scaled(self._root, V)
        Z, f = Y.copy(), np.zeros(V.shape[1:])
        for i in range(1, len(Y)):
            f = self._phi[i] * (f + self._w[i - 1] * Y[i - 1])
            Z[i] += self._tau[i] * f
        return Z

    def rmatvec(self, V: Array) -> Array:
        Z, g = np.array(V, dtype=np.float64), np.zeros(V.shape[1:])
        for i in range(len(V) - 2, -1, -1):
            g = self._phi[i + 1] * (g + self._tau[i + 1] * V[i + 1])
            Z[i] += self._w[i] * g
        return scaled(self._root, Z)

    def solve(self, V: Array) -> Array:
        Y, f = np.array(V, dtype=np.float64), np.zeros(V.shape[1:])
        for i in range(1, len(Y)):
            f = self._phi[i] * (f + self._w[i - 1] * Y[i - 1])
            Y[i] -= self._tau[i] * f
        return scaled(1.0 / self._root, Y)

    def rsolve(self, V: Array) -> Array:
        Y, g = scaled(1.0 / self._root, np.asarray(V, dtype=np.float64)), np.zeros(V.shape[1:])
        for i in range(len(Y) - 2, -1, -1):
            g = self._phi[i + 1] * (g + self._tau[i + 1] * Y[i + 1])
            Y[i] -= self._w[i] * g
        return Y

    def to_dense(self) -> Array:
        return self.matvec(np.eye(self._root.size))
