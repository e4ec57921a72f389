"""The innovations site by site: diagonal blocks of their covariance S = H B Hᵀ + R and of its inverse.

Boundary terms are part of H and B here. With λ = S⁻¹ d = R⁻¹ (y − H x̂ − H_b b̂) the blocks give what the other sites
say about one (`inversion.left_out`) and whether R and B are what they say (`inversion.consistency`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from inversion.covariance.operator import Array
from inversion.errors import InversionError
from inversion.jacobian import Jacobian
from inversion.problem import Joint, Problem
from inversion.solve.solution import Solution

_MOST_WORK = 2e10
"""Multiplications beyond which the blocks are made only when asked for by name: some seconds."""
_MOST_NUMBERS = 3e8
"""Numbers held at a time beyond which they are not made: 2.4 GB."""


@dataclass(frozen=True, slots=True)
class SiteBlock:
    """One site's rows of the problem.

    Attributes
    ----------
    site : str
    rows : array (k,) of int
        In time where the observations have times.
    left_out : array (k, k)
        ((S⁻¹)_ii)⁻¹: covariance of the site's innovations given those of all others, in the units of y squared;
        empty (0, 0) where there are no others.
    error, prior : float
        tr R_ii and tr (H B Hᵀ)_ii.
    residual, neighbours : array (k,), (k - 1,)
        Diagonal and first off-diagonal of the covariance of whitened residuals, L_Rᵀ (S⁻¹)_ii L_R: fitting makes them
        smaller than 1 and lets neighbours oppose one another.
    bias_spread : float
        Standard deviation of the mean residual.
    error_spread, prior_spread : float
        Standard deviations of Σ r d and of Σ (d − r) d over the site's rows, whose expectations these are.
    """

    site: str
    rows: np.ndarray
    left_out: Array
    residual: Array
    neighbours: Array
    bias_spread: float
    error: float
    prior: float
    error_spread: float
    prior_spread: float


def affordable(problem: Problem) -> bool:
    """Return whether sites are named and the blocks of all of them cost no more than seconds."""
    if "site" not in problem.y.coords:
        return False
    n, z = problem.n_obs, problem.n_state + problem.n_boundary
    largest = max((rows.size for rows in rows_of_sites(problem).values()), default=0)
    work = n * (n + largest) * (n + z) if n <= z else n * z * (z + 2 * largest) + n * largest**2
    return work <= _MOST_WORK and _numbers(n, z, largest) <= _MOST_NUMBERS


def site_blocks(problem: Problem, solution: Solution) -> tuple[SiteBlock, ...]:
    """Return the blocks of every site; where no sites are named, everything as the site "all".

    Parameters
    ----------
    problem : Problem
    solution : inversion.solve.solution.Solution
        Of the same problem.

    Returns
    -------
    tuple of SiteBlock

    Raises
    ------
    InversionError
        Where memory or double precision does not suffice.
    """
    sites = rows_of_sites(problem)
    joint = problem.joint()
    n, z = joint.H.shape
    numbers = _numbers(n, z, max(rows.size for rows in sites.values()))
    if numbers > _MOST_NUMBERS:
        msg = (
            f"The blocks of single sites would take {8e-9 * numbers:.0f} GB for {n} observations and {z} unknowns; "
            "name smaller groups in the coordinate 'site', or thin the observations."
        )
        raise InversionError(msg)
    made = _from_observations(problem, joint, sites) if n <= z else _from_states(problem, joint, solution, sites)
    return tuple(made)


def _between(R: Array, precision: Array) -> tuple[Array, Array]:
    """Return R P R and L_Rᵀ P L_R, cheaply where R is diagonal."""
    if np.count_nonzero(R) == len(R):
        variance = np.diagonal(R)
        sigma = np.sqrt(variance)
        return variance[:, None] * precision * variance, sigma[:, None] * precision * sigma
    lower = scipy.linalg.cholesky(R, lower=True, check_finite=False)
    whitened = lower.T @ precision @ lower
    return lower @ whitened @ lower.T, whitened


def rows_of_sites(problem: Problem) -> dict[str, np.ndarray]:
    """Return the rows of each site, in time where there are times; all as the site "all" where none are named."""
    y = problem.y
    names = y["site"].values.astype(str) if "site" in y.coords else np.full(y.size, "all")
    rows = {site: np.flatnonzero(names == site) for site in dict.fromkeys(names.tolist())}
    if "time" not in y.coords:
        return rows
    time = y["time"].values
    return {site: own[np.argsort(time[own], kind="stable")] for site, own in rows.items()}


def _numbers(n: int, z: int, largest: int) -> float:
    return 2.0 * n * n + 2.0 * z * largest if n <= z else 2.0 * (n + z) * largest


def _from_observations(problem: Problem, joint: Joint, sites: dict[str, np.ndarray]) -> Iterator[SiteBlock]:
    """Form S once and solve with its factor: no differences of large numbers."""
    S = np.empty((problem.n_obs, problem.n_obs), order="F")
    for rows in sites.values():
        S[:, rows] = joint.H.matvec(joint.B.matvec(np.ascontiguousarray(_rows_of(joint.H, rows).T)))
    problem.R.add_to(S)
    lower = _cholesky(0.5 * (S + S.T), "all sites")
    for site, rows in sites.items():
        unit = np.zeros((problem.n_obs, rows.size))
        unit[rows, np.arange(rows.size)] = 1.0
        U = scipy.linalg.solve_triangular(lower, unit, lower=True, check_finite=False)
        square = np.ix_(rows, rows)
        yield _block(site, rows, S[square], problem.R.matvec(unit)[rows], U.T @ U, problem.n_obs)


def _from_states(
    problem: Problem, joint: Joint, solution: Solution, sites: dict[str, np.ndarray]
) -> Iterator[SiteBlock]:
    """Use S⁻¹ = R⁻¹ − R⁻¹ H Ŝ Hᵀ R⁻¹: an aggregate of the posterior for each site."""
    for site, rows in sites.items():
        unit = np.zeros((problem.n_obs, rows.size))
        unit[rows, np.arange(rows.size)] = 1.0
        own = np.ascontiguousarray(_rows_of(joint.H, rows).T)
        weighted = problem.R.solve(unit)
        apart = np.count_nonzero(weighted) == np.count_nonzero(weighted[rows])
        columns = own @ weighted[rows] if apart else joint.H.rmatvec(weighted)
        precision = weighted[rows] - solution.covariance(columns)
        error = problem.R.matvec(unit)[rows]
        covariance = own.T @ joint.B.matvec(own) + error
        symmetric = 0.5 * (covariance + covariance.T), error, 0.5 * (precision + precision.T)
        yield _block(site, rows, *symmetric, problem.n_obs)


def _block(site: str, rows: np.ndarray, S: Array, R: Array, precision: Array, n_obs: int) -> SiteBlock:
    """Return a block with the moments of Desroziers' sums.

    For d ~ N(0, S), r = R S⁻¹ d and R without correlation between sites, Σ r d over the site has the expectation tr R
    and the variance tr R² + tr S C with C = (R S⁻¹ R)_ii; for d − r = G S⁻¹ d, G = S − R, they are tr G and
    tr G² + tr S (S − 2R + C).
    """
    C, whitened = _between(R, precision)
    G = S - R
    alone = rows.size == n_obs
    return SiteBlock(
        site,
        rows,
        np.empty((0, 0)) if alone else _inverse(precision, site),
        residual=np.diagonal(whitened).copy(),
        neighbours=np.diagonal(whitened, 1).copy(),
        bias_spread=float(np.sqrt(max(C.sum(), 0.0)) / rows.size),
        error=float(np.trace(R)),
        prior=float(np.trace(G)),
        error_spread=float(np.sqrt(np.vdot(R, R) + np.vdot(S, C))),
        prior_spread=float(np.sqrt(np.vdot(G, G) + np.vdot(S, S - 2.0 * R + C))),
    )


def _rows_of(H: Jacobian, rows: np.ndarray) -> Array:
    """Return some rows of H, reading each block once."""
    picked = np.empty((rows.size, H.shape[1]))
    for part in H.blocks():
        here = (rows >= part.start) & (rows < part.stop)
        if here.any():
            picked[here] = H.rows(part)[rows[here] - part.start]
    return picked


def _inverse(precision: Array, site: str) -> Array:
    lower = _cholesky(precision, site)
    half = scipy.linalg.solve_triangular(lower, np.eye(len(lower)), lower=True, check_finite=False)
    return half.T @ half


def _cholesky(matrix: Array, what: str) -> Array:
    try:
        return scipy.linalg.cholesky(matrix, lower=True, check_finite=False)
    except np.linalg.LinAlgError:
        msg = (
            f"The covariance of innovations of {what} is not positive definite in double precision: R is too small "
            "beside H B Hᵀ; give R what the model cannot represent."
        )
        raise InversionError(msg) from None
