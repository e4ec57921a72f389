"""Natures made from a problem by a few factors: errors larger than assumed, errors that hang together in time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from inversion.covariance import Covariance, Dense, Factor, exponential
from inversion.covariance.operator import Array
from inversion.innovations import rows_of_sites
from inversion.problem import Problem
from inversion.twins.nature import HONEST, Nature, TwinError


def scaled_nature(
    problem: Problem, *, prior_factor: float = 1.0, noise_factor: float = 1.0, noise_hours: float = 0.0
) -> Nature:
    """Return a nature whose errors are those of a problem times factors, or correlated in time.

    Parameters
    ----------
    problem : Problem
        What the inversion assumes.
    prior_factor : float
        True prior σ, boundary terms included, over that assumed.
    noise_factor : float
        True σ of y − H x − H_b b over that assumed.
    noise_hours : float [h]
        With more than 0: correlation exp(−|Δt| / hours) of the noise within each site, with the variances of R.

    Returns
    -------
    Nature

    Raises
    ------
    TwinError
        For factors that are not above 0, or a correlation without times.
    """
    if not (prior_factor > 0 and noise_factor > 0 and noise_hours >= 0):
        fault = f"Factors are {prior_factor} and {noise_factor}, expected above 0; hours {noise_hours}, 0 or more."
        raise TwinError("The nature", [fault])
    parts = [
        f"prior errors times {prior_factor:g}" if prior_factor != 1 else "",
        f"noise times {noise_factor:g}" if noise_factor != 1 else "",
        f"noise correlated over {noise_hours:g} h" if noise_hours else "",
    ]
    R = _correlated(problem, noise_hours) if noise_hours else problem.R
    return Nature(
        name="with " + " and ".join(filter(None, parts)) if any(parts) else HONEST,
        B=Scaled(problem.B, prior_factor**2),
        B_b=None if problem.B_b is None else Scaled(problem.B_b, prior_factor**2),
        R=Scaled(R, noise_factor**2),
    )


class Scaled(Covariance):
    """f C: another covariance times a number, of whatever kind that is.

    Parameters
    ----------
    covariance : Covariance
    factor : float
        f, of the variances; above 0.
    """

    def __init__(self, covariance: Covariance, factor: float) -> None:
        self._of, self._factor = covariance, factor
        self.size, self.name, self.notes = covariance.size, covariance.name, covariance.notes

    def matvec(self, V: Array) -> Array:
        """Return f C V."""
        return self._factor * self._of.matvec(V)

    def solve(self, V: Array) -> Array:
        """Return C⁻¹ V / f."""
        return self._of.solve(V) / self._factor

    def sqrt(self) -> Factor:
        """Return √f L."""
        return _ScaledFactor(self._of.sqrt(), float(np.sqrt(self._factor)))

    def logdet(self) -> float:
        """Return ln det C + m ln f."""
        return self._of.logdet() + self.size * float(np.log(self._factor))

    def diagonal(self) -> Array:
        """Return the variances."""
        return self._factor * self._of.diagonal()

    def to_dense(self) -> Array:
        """Return f C as an array (m, m)."""
        return self._factor * self._of.to_dense()

    def add_to(self, matrix: Array) -> None:
        """Add f C to `matrix`."""
        matrix += self.to_dense()

    def pieces(self, rows: int) -> Iterator[tuple[slice, Covariance]]:
        """Yield the pieces of C, times f."""
        for part, piece in self._of.pieces(rows):
            yield part, Scaled(piece, self._factor)


class _ScaledFactor(Factor):
    def __init__(self, factor: Factor, scale: float) -> None:
        self._of, self._scale = factor, scale

    def matvec(self, V: Array) -> Array:
        return self._scale * self._of.matvec(V)

    def rmatvec(self, V: Array) -> Array:
        return self._scale * self._of.rmatvec(V)

    def solve(self, V: Array) -> Array:
        return self._of.solve(V) / self._scale

    def rsolve(self, V: Array) -> Array:
        return self._of.rsolve(V) / self._scale

    def to_dense(self) -> Array:
        return self._scale * self._of.to_dense()


def _correlated(problem: Problem, hours: float) -> Dense:
    if "time" not in problem.y.coords:
        raise TwinError("The nature", ["Noise that is correlated in time needs the coordinate 'time' of y."])
    R = np.diag(problem.R.diagonal())
    for rows in rows_of_sites(problem).values():
        time = (problem.y["time"].values[rows] - problem.y["time"].values[rows[0]]) / np.timedelta64(1, "s") / 3600.0
        sigma = np.sqrt(np.diagonal(R)[rows])
        # Samples of one moment (several inlets) are all but the same, which no factorisation likes.
        correlation = 0.99 * exponential(np.abs(time[:, None] - time), hours) + 0.01 * np.eye(rows.size)
        R[np.ix_(rows, rows)] = correlation * np.outer(sigma, sigma)
    return Dense(R, name="R")
