r"""The ledger beside the sky: what an inversion says about an inventory, region by region.

The inversion does not see a region whole. With gain K and averaging kernel A = K H its mean is
x̂ = x_a + A (x - x_a) + K ε, so the inventory is compared *as the inversion would have seen it*
(Rodgers and Connor 2003, J. Geophys. Res. 108, 4116, eq. 8):

    d = W x̂ - W [x_a + A (x_inv - x_a)],      Cov d = W (A S_inv Aᵀ + K R Kᵀ) Wᵀ

with R including the boundary terms' prior error. Adding σ_inv² and σ_post² instead is wrong where the prior was made
from that inventory: prior and posterior are correlated, and such a test raises too few alarms.

**From region totals to the state.** The inventory gives totals t = W x + e with Cov e = D, not x. The best linear
estimate of x from t under the prior, and its error, are (the conditional mean and covariance of x given W x,
Rodgers 2000, eq. 4.12, with the error of t passed on)

    x_inv = x_a + G (t - W x_a),   G = B Wᵀ M⁻¹,   M = W B Wᵀ
    S_inv = (B - G W B) + G D Gᵀ

where the first part is the pattern inside the regions, which the totals leave open, and the second the totals' own
error; S_inv = B when D = M.

**All of it from k x k matrices.** With Ŝ = B - A B, K R Kᵀ = A Ŝ (both follow from K = B Hᵀ (H B Hᵀ + R)⁻¹),
Δ = W A B Wᵀ = M - W Ŝ Wᵀ and Γ = W A G = Δ M⁻¹:

    d = W x̂ - W x_a - Γ (t - W x_a),      Cov d = Δ + Γ (D - M) Γᵀ

Γ is the averaging kernel of the totals: its diagonal is the share of a region that the network saw, its rows say what
leaks in from other regions. Regions without a value in the ledger stay out of M⁻¹ and of D; what leaks from them counts
with its prior variance. An error δ in the ledger of region r moves d_r by -Γ_rr δ: σ(d_r) / Γ_rr is the **joint σ** in
the ledger's own terms, and an error of three of them shows with z = 3 on average.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike, NDArray

from inversion.errors import FaultsError

Floats = NDArray[np.float64]

UNSEEN: Final = 1e-6
"""A share below this tells nothing about the ledger."""


class CrosscheckError(FaultsError):
    """An inversion and an inventory that cannot be laid side by side."""


@dataclass(frozen=True, slots=True)
class Smoothed:
    """The inventory as the inversion would have seen it, and how far the two are apart.

    Attributes
    ----------
    inventory : array (k,)
        W [x_a + A (x_inv - x_a)].
    difference : array (k,)
        d; NaN for regions without a value or σ in the ledger.
    covariance : array (k, k)
        Cov d.
    kernel : array (k, k)
        Γ; columns of regions without a value in the ledger are 0.
    """

    inventory: Floats
    difference: Floats
    covariance: Floats
    kernel: Floats


def compare_arrays(
    inversion: ArrayLike,
    prior: ArrayLike,
    *,
    covariance: ArrayLike,
    prior_covariance: ArrayLike,
    inventory: ArrayLike,
    inventory_covariance: ArrayLike,
) -> Smoothed:
    """Return d, Cov d and Γ (see the module) from totals and their covariances.

    d = t̂ - t_a - Γ (t - t_a),  Cov d = Δ + Γ (D - M) Γᵀ,  Γ = Δ M⁻¹,  Δ = M - Ŝ

    Parameters
    ----------
    inversion, prior, inventory : array (k,)
        t̂, t_a and t in one unit; NaN in `inventory` where the ledger has no value.
    covariance, prior_covariance, inventory_covariance : array (k, k)
        Ŝ, M and D of the totals. NaN in Ŝ or M, and NaN on the diagonal of D, mean that it is not known: such regions
        get no d.

    Returns
    -------
    Smoothed

    Raises
    ------
    CrosscheckError
        When two regions with values cannot be told apart under the prior (M is singular).
    """
    t, M, D = (np.asarray(a, dtype=np.float64) for a in (inventory, prior_covariance, inventory_covariance))
    ahead = np.asarray(inversion, dtype=np.float64) - np.asarray(prior, dtype=np.float64)
    gamma, used = totals_kernel(covariance, M, known=np.isfinite(t) & np.isfinite(np.diag(D)))
    anomaly = np.where(used, t - np.asarray(prior, dtype=np.float64), 0.0)
    delta = M - np.asarray(covariance, dtype=np.float64)
    part = np.ix_(used, used)
    g = gamma[:, used]
    spread = delta + g @ (D[part] - M[part]) @ g.T
    difference = np.where(used, ahead - g @ anomaly[used], np.nan)
    spread = np.where(np.outer(used, used), 0.5 * (spread + spread.T), np.nan)
    smoothed = np.where(used, np.asarray(prior, dtype=np.float64) + g @ anomaly[used], np.nan)
    return Smoothed(smoothed, difference, spread, gamma)


def totals_kernel(
    covariance: ArrayLike, prior_covariance: ArrayLike, *, known: ArrayLike | None = None
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return Γ = (M - Ŝ) M⁻¹ over the regions that can be used, and which these are.

    Parameters
    ----------
    covariance, prior_covariance : array (k, k)
        Ŝ and M.
    known : array (k,) of bool, optional
        Which regions have a value in the ledger; all by default.

    Returns
    -------
    array (k, k), array (k,) of bool
        Regions that are not known, or without prior variance, have zero columns; rows of regions whose covariances
        are not stated are NaN.

    Raises
    ------
    CrosscheckError
        When two regions cannot be told apart under the prior.
    """
    M = np.asarray(prior_covariance, dtype=np.float64)
    delta = M - np.asarray(covariance, dtype=np.float64)
    variance = np.diag(M)
    stated = with_covariance(delta)
    used = stated & (np.nan_to_num(variance) > 0)
    used &= np.ones(len(M), bool) if known is None else np.asarray(known, bool)
    scale = np.sqrt(variance[used])
    correlation = M[np.ix_(used, used)] / np.outer(scale, scale)
    try:
        factor = scipy.linalg.cho_factor(correlation, lower=True)
    except np.linalg.LinAlgError as error:
        raise CrosscheckError("The regions", [_twins(correlation, np.flatnonzero(used))]) from error
    gamma = np.where(stated[:, None], np.zeros(M.shape), np.nan)
    rows = np.where(stated[:, None], delta, 0.0)[:, used]
    gamma[:, used] += scipy.linalg.cho_solve(factor, (rows / scale).T).T / scale
    return gamma, used


def with_covariance(matrix: Floats) -> NDArray[np.bool_]:
    """Return which regions have all their covariances with each other, the others being left out."""
    stated = np.isfinite(np.diag(matrix))
    complete: NDArray[np.bool_] = stated & np.isfinite(np.where(stated, matrix, 0.0)).all(axis=1)
    return complete


def _twins(correlation: Floats, index: NDArray[np.intp]) -> str:
    apart = np.abs(correlation - np.eye(len(correlation)))
    i, j = np.unravel_index(np.argmax(apart), apart.shape)
    return (
        f"Regions {index[i]} and {index[j]} (counting from 0) cannot be told apart under the prior (correlation "
        f"{correlation[i, j]:.6f}): compare them together, or use a finer grid."
    )


def correlated(sigma: Floats, correlation: float) -> Floats:
    """Return the covariance of errors with one correlation between all regions."""
    matrix = np.full((sigma.size, sigma.size), correlation)
    np.fill_diagonal(matrix, 1.0)
    spread: Floats = matrix * np.outer(sigma, sigma)
    return spread


def correlation_of(covariance: Floats) -> Floats:
    """Return the correlations of a covariance; none with what has no variance, NaN where it is not stated."""
    sigma = root(np.diag(covariance))
    product = np.outer(sigma, sigma)
    found = np.divide(covariance, product, out=np.zeros_like(covariance), where=~(product <= 0))
    np.fill_diagonal(found, 1.0)
    return found


def same(inventory: Floats, prior: Floats, sigma: Floats) -> bool:
    """Return whether the prior is this ledger: all totals within a hundredth of its σ."""
    known = np.isfinite(inventory) & np.isfinite(sigma)
    return bool(known.any() and (np.abs(inventory - prior)[known] <= 0.01 * sigma[known]).all())


def root(variance: Floats) -> Floats:
    """Return σ; rounding may leave a variance of zero a little below."""
    return np.sqrt(np.where(variance > 0, variance, np.where(np.isnan(variance), np.nan, 0.0)))
