"""From annual totals to months that sum to them, by an indicator: Denton-Cholette, and Chow-Lin with its covariance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike, NDArray

from inversion.inventory.entry import InventoryError

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Disaggregated:
    """Monthly values and their errors.

    Attributes
    ----------
    mean : array (m,)
    covariance : array (m, m)
    """

    mean: Floats
    covariance: Floats


def _checked(C: ArrayLike, totals: ArrayLike, size: int) -> tuple[Floats, Floats]:
    matrix, y = np.atleast_2d(np.asarray(C, dtype=np.float64)), np.asarray(totals, dtype=np.float64)
    faults = []
    if matrix.shape != (y.size, size):
        faults.append(f"The sums have the shape {matrix.shape}: expected {(y.size, size)}.")
    elif (matrix.sum(axis=0) > 1).any():
        faults.append("A month belongs to two totals: take cumulative periods apart first (`calendar.apart`).")
    elif not np.isfinite(y).all():
        faults.append("A total is not finite.")
    if faults:
        raise InventoryError("The totals", faults)
    return matrix, y


def denton_cholette(indicator: ArrayLike, C: ArrayLike, totals: ArrayLike) -> Floats:
    """Return months that follow an indicator as smoothly as the totals allow.

    min Σ_t (x_t / p_t - x_{t-1} / p_{t-1})²  subject to  C x = y

    Dagum and Cholette (2006), Benchmarking, Temporal Distribution, and Reconciliation Methods, Springer, chapter 6 (the
    proportional variant with no condition on the first month). Months after the last total keep its last ratio.

    Parameters
    ----------
    indicator : array (m,)
        p, above 0.
    C : array (n, m)
        Which months a total is the sum of, from `calendar.coverage`; no month in two of them.
    totals : array (n,)

    Returns
    -------
    array (m,)
        Its sums are the totals to rounding.

    Raises
    ------
    InventoryError

    Examples
    --------
    >>> denton_cholette([1.0, 3.0, 2.0], [[1, 1, 0]], [8.0])
    array([2., 6., 4.])
    """
    p = np.asarray(indicator, dtype=np.float64)
    matrix, y = _checked(C, totals, p.size)
    if not (np.isfinite(p) & (p > 0)).all():
        raise InventoryError(
            "The indicator", ["It has months that are missing, zero or negative: a ratio needs it above 0."]
        )
    # In units of the mean, so that the system is well scaled.
    scaled = matrix * (p / p.mean())
    D = np.diff(np.eye(p.size), axis=0)
    zero = np.zeros((y.size, y.size))
    system = np.block([[D.T @ D, scaled.T], [scaled, zero]])
    ratio = scipy.linalg.solve(system, np.concatenate([np.zeros(p.size), y]), assume_a="sym")[: p.size]
    return _summing(ratio * p / p.mean(), matrix, y)


def _summing(x: Floats, C: Floats, y: Floats) -> Floats:
    """Take the rounding of the solve out of the sums: what is left is spread evenly."""
    for _ in range(2):
        x = x + C.T @ ((y - C @ x) / C.sum(axis=1))
    return x


def gain(X: Floats, V: Floats, C: Floats, total_covariance: Floats) -> Floats:
    """Return L, with x̂ = L y: the best linear unbiased months whose sums are exactly the totals.

    L = G + (X - G C X) K,   G = V Cᵀ (C V Cᵀ)⁻¹,   K = (Zᵀ S⁻¹ Z)⁻¹ Zᵀ S⁻¹,   Z = C X,   S = C V Cᵀ + Σ

    Chow and Lin (1971), Rev. Econ. Stat. 53, 372, with the totals' own error Σ in the regression alone.
    """
    across = C @ V
    G = np.linalg.solve(across @ C.T, across).T
    Z = C @ X
    factor = scipy.linalg.cho_factor(across @ C.T + total_covariance, lower=True)
    weighted = scipy.linalg.cho_solve(factor, Z)
    K = np.linalg.solve(Z.T @ weighted, weighted.T)
    return np.asarray(G + (X - G @ Z) @ K, dtype=np.float64)


def chow_lin(
    X: ArrayLike, V: ArrayLike, C: ArrayLike, totals: ArrayLike, *, total_covariance: ArrayLike | None = None
) -> Disaggregated:
    """Return months by regression on indicators, summing to the totals, with their covariance.

    x = X β + u, Cov u = V;  y = C x + e, Cov e = Σ;  x̂ = L y,  Cov(x̂ - x) = (L C - I) V (L C - I)ᵀ + L Σ Lᵀ

    so that C Cov(x̂ - x) Cᵀ = Σ: the sum of a reported year is as uncertain as the report.

    Parameters
    ----------
    X : array (m, p)
        Indicators by month, also for months that no total covers yet.
    V : array (m, m)
        From `relation.Relation.covariance`.
    C : array (n, m)
    totals : array (n,)
    total_covariance : array (n, n), optional
        Σ; none by default.

    Returns
    -------
    Disaggregated
        Sums of the mean are the totals to rounding.

    Raises
    ------
    InventoryError
    """
    design, spread = np.asarray(X, dtype=np.float64), np.asarray(V, dtype=np.float64)
    matrix, y = _checked(C, totals, len(design))
    sigma = np.zeros((y.size, y.size)) if total_covariance is None else np.asarray(total_covariance, dtype=np.float64)
    L = gain(design, spread, matrix, sigma)
    rest = L @ matrix - np.eye(len(design))
    covariance = rest @ spread @ rest.T + L @ sigma @ L.T
    return Disaggregated(_summing(L @ y, matrix, y), 0.5 * (covariance + covariance.T))
