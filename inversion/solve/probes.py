"""Traces by random probes: tr F ≈ mean of zᵀ F z over random signs z (Hutchinson 1990), where F is not known."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np

from inversion.covariance.operator import Array


class Remainder(NamedTuple):
    """What probes find of F beyond its known part F₀."""

    trace: float
    """tr F − tr F₀."""
    squared: float
    """tr F² − tr F₀²."""
    error: float
    """Standard error of `trace`."""
    influence: Array
    """diag F − diag F₀ (n,), noisy entry by entry."""

    @classmethod
    def between(cls, Z: Array, image: Array, known: Array) -> Self:
        """Return the estimate from F Z and F₀ Z (n, probes)."""
        beyond = Z * (image - known)
        each = beyond.sum(axis=0)
        squared = np.einsum("ij,ij->j", image, image) - np.einsum("ij,ij->j", known, known)
        error = float(each.std(ddof=1) / np.sqrt(each.size)) if each.size > 1 else float("inf")
        return cls(max(float(each.mean()), 0.0), max(float(squared.mean()), 0.0), error, beyond.mean(axis=1))


def signs(size: int, number: int, seed: int) -> Array:
    """Return random signs (size, number)."""
    return np.random.default_rng([seed, size]).choice(np.array([-1.0, 1.0]), size=(size, number))
