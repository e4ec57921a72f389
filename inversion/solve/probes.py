"""Traces by random probes: tr F ≈ mean of zᵀ F z over random signs z (Hutchinson 1990), where F is not known."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Self

import numpy as np

from inversion.covariance.operator import Array

Operator = Callable[[Array], Array]
_CLOSE = 1e-5
"""Share of the right-hand side down to which residuals are brought."""
_STEPS = 500
"""Most steps of the conjugate gradients; the spectrum's top is deflated, so tens are enough."""


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


def conjugate_gradients(apply: Operator, Y: Array, start: Array) -> Array:
    """Return X with `apply` X = Y, all columns at once, each in its own Krylov space, from `start`.

    Parameters
    ----------
    apply : callable
        Symmetric positive definite, eigenvalues 1 and above.
    Y, start : array (size, columns)

    Returns
    -------
    array (size, columns)
    """
    X = start.copy()
    residual = Y - apply(X)
    direction = residual.copy()
    square = np.einsum("ij,ij->j", residual, residual)
    goal = _CLOSE**2 * np.einsum("ij,ij->j", Y, Y)
    for _ in range(min(_STEPS, 4 * len(Y))):
        if (square <= goal).all():
            break
        image = apply(direction)
        length = _over(square, np.einsum("ij,ij->j", direction, image))
        X += length * direction
        residual -= length * image
        before, square = square, np.einsum("ij,ij->j", residual, residual)
        direction = residual + _over(square, before) * direction
    return X


def _over(numerator: Array, denominator: Array) -> Array:
    """Zero where both are."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
