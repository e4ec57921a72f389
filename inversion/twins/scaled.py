"""Natures made from a problem by a few factors: errors larger than assumed, errors that hang together in time."""

from __future__ import annotations

import numpy as np

from inversion.covariance import Dense, Scaled, exponential
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
        B=Scaled(problem.B, prior_factor),
        B_b=None if problem.B_b is None else Scaled(problem.B_b, prior_factor),
        R=Scaled(R, noise_factor),
    )


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
