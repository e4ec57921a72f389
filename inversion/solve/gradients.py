"""Conjugate gradients for many right-hand sides at once (Golub and Van Loan 2013, Section 11.3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from inversion.covariance.operator import Array

Operator = Callable[[Array], Array]


class Approach(NamedTuple):
    """Where an iteration for C X = Y stands."""

    X: Array
    """(size, columns)."""
    rest: Array
    """Y − C X."""
    steps: int = 0
    """Products with C so far."""


def conjugate_gradients(apply: Operator, start: Approach, goal: Array, *, steps: int) -> Approach:
    """Go on from `start`, each column in its own Krylov space.

    Parameters
    ----------
    apply : callable
        C V for V (size, columns); symmetric positive definite.
    start : Approach
    goal : array (columns,)
        Squared lengths of the residuals at which it stops.
    steps : int
        Most products with C.

    Returns
    -------
    Approach
    """
    X, rest = start.X.copy(), start.rest.copy()
    direction, square = rest.copy(), squares(rest)
    for done in range(steps):
        if (square <= goal).all():
            return Approach(X, rest, start.steps + done)
        image = apply(direction)
        length = _over(square, np.einsum("ij,ij->j", direction, image))
        X += length * direction
        rest -= length * image
        before, square = square, squares(rest)
        direction = rest + _over(square, before) * direction
    return Approach(X, rest, start.steps + steps)


def squares(V: Array) -> Array:
    """Return the squared lengths of the columns."""
    return np.einsum("ij,ij->j", V, V)


def _over(numerator: Array, denominator: Array) -> Array:
    """Zero where both are."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
