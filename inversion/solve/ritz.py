"""The best vector of observation space that Lanczos vectors of control space give."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from inversion.covariance.operator import Array

_CLEAN = 1e-13
"""Ritz values below this share of the largest are rounding."""


class Trial(NamedTuple):
    """The minimum over u = G Q s: s = (T + T̂ᵀ T̂)⁻¹ T̂ᵀ v for v = Q_{k+1}ᵀ Lᵀ wᵀ; taken away is vᵀ T̂ s.

    In the eigenvectors of T the matrix is diagonal but for c cᵀ, c = η times the last row of them; directions that G
    does not see (θ = 0) are left out.
    """

    values: Array
    vectors: Array
    coupling: float

    def root(self, v: Array) -> Array:
        """Return X with XᵀX = what is taken away: (I + c cᵀ)^−½ a = a − c (cᵀ a) (1 − 1/√(1 + |c|²)) / |c|²."""
        _, a, c = self._scaled(v)
        square = float(c @ c)
        factor = (1.0 - 1.0 / np.sqrt(1.0 + square)) / square if square > 0 else 0.0
        return a - np.outer(c, factor * (c @ a))

    def weights(self, v: Array) -> Array:
        """Return s."""
        scaled, a, c = self._scaled(v)
        return scaled @ (a - np.outer(c, (c @ a) / (1.0 + float(c @ c))))

    def image(self, weights: Array) -> Array:
        """Return T̂ s (k + 1, columns)."""
        T_weights = self.vectors @ (self.values[:, None] * (self.vectors.T @ weights))
        return np.vstack([T_weights, self.coupling * weights[-1]])

    def _scaled(self, v: Array) -> tuple[Array, Array, Array]:
        """Return the eigenvectors over √(θ (1 + θ)), T̂ᵀ v in them, and c in them."""
        seen = self.values > _CLEAN * max(float(self.values[-1]), np.finfo(float).tiny)
        values, vectors = self.values[seen], self.vectors[:, seen]
        scaled = vectors / np.sqrt(values * (1.0 + values))
        c = self.coupling * scaled[-1]
        a = np.sqrt(values / (1.0 + values))[:, None] * (vectors.T @ v[:-1]) + np.outer(c, v[-1])
        return scaled, a, c
