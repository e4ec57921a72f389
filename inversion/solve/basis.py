"""Orthonormal vectors that grow in number, kept in panels so that nothing is copied when one is added."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from inversion.covariance.operator import Array

_PANEL = 32
"""Vectors a panel."""


class Basis:
    """Q (size, k): k orthonormal columns.

    Attributes
    ----------
    size : int
    count : int
        k.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.count = 0
        self._panels: list[Array] = []

    def append(self, vector: Array) -> None:
        """Add a column, which the caller has made orthogonal to the others."""
        if self.count == _PANEL * len(self._panels):
            self._panels.append(np.zeros((self.size, _PANEL), order="F"))
        self._panels[-1][:, self.count % _PANEL] = vector
        self.count += 1

    def project(self, V: Array) -> Array:
        """Return Qᵀ V (k,) or (k, c)."""
        parts = [panel.T @ V for panel in self.panels()]
        return np.concatenate(parts) if parts else np.zeros((0, *V.shape[1:]))

    def combine(self, weights: Array) -> Array:
        """Return Q `weights` (size,) or (size, c)."""
        total = np.zeros((self.size, *weights.shape[1:]))
        start = 0
        for panel in self.panels():
            total += panel @ weights[start : start + panel.shape[1]]
            start += panel.shape[1]
        return total

    def without(self, vector: Array) -> Array:
        """Return `vector` made orthogonal to Q, again until it hardly shrinks (Kahan, Parlett: "twice is enough").

        A vector that lies in the span of Q comes back as noise, or as zero.
        """
        before = float(np.linalg.norm(vector))
        for _ in range(4):
            vector = vector - self.combine(self.project(vector))
            after = float(np.linalg.norm(vector))
            if after > 0.7 * before or after == 0.0:
                break
            before = after
        return vector

    def panels(self) -> Iterator[Array]:
        """Yield the columns in use, panel by panel."""
        for number, panel in enumerate(self._panels):
            yield panel[:, : min(_PANEL, self.count - number * _PANEL)]
