"""What a cross-check could find: its joint σ per region, before any data is seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import scipy.linalg
import xarray as xr
from numpy.typing import ArrayLike

from inversion.crosscheck.smoothing import UNSEEN, Floats, compare_arrays, correlated, correlation_of, root


class Aggregating(Protocol):
    """What the cross-check needs of an inversion, or of the design of one."""

    def prior_covariance(self, aggregate: Any) -> Any:
        """Return W B Wᵀ (k, k)."""

    def covariance(self, aggregate: Any) -> Any:
        """Return W Ŝ Wᵀ (k, k)."""


@dataclass(frozen=True, slots=True)
class Design:
    """An inversion before any data is seen: where its covariances come from.

    Attributes
    ----------
    H : array or sparse matrix (n, m)
        Sensitivities.
    R, B : array (n, n), (m, m), or inversion.covariance.Covariance
    H_b : array (n, p), optional
        Sensitivities to boundary terms.
    B_b : array (p, p) or Covariance, optional
        Their prior covariance.
    """

    H: Any
    R: Any
    B: Any
    H_b: Any = None
    B_b: Any = None

    def prior_covariance(self, aggregate: ArrayLike) -> Floats:
        """Return W B Wᵀ (k, k)."""
        W = np.asarray(aggregate, dtype=np.float64)
        return _symmetric(W @ _times(self.B, W.T))

    def covariance(self, aggregate: ArrayLike) -> Floats:
        """Return W Ŝ Wᵀ = W B Wᵀ - W B Hᵀ (H B Hᵀ + H_b B_b H_bᵀ + R)⁻¹ H B Wᵀ (k, k)."""
        W = np.asarray(aggregate, dtype=np.float64)
        across = self.H @ _times(self.B, W.T)
        return _symmetric(self.prior_covariance(W) - across.T @ self._solve(across))

    def averaging_kernel(self, aggregate: ArrayLike) -> Floats:
        """Return W A = W B Hᵀ (H B Hᵀ + H_b B_b H_bᵀ + R)⁻¹ H (k, m)."""
        W = np.asarray(aggregate, dtype=np.float64)
        weights = self._solve(self.H @ _times(self.B, W.T))
        return np.asarray((self.H.T @ weights).T, dtype=np.float64)

    def _solve(self, columns: Floats) -> Floats:
        H = self.H.toarray() if hasattr(self.H, "toarray") else np.asarray(self.H, dtype=np.float64)
        S = H @ _times(self.B, H.T) + _times(self.R, np.eye(len(H)))
        if self.H_b is not None:
            S += np.asarray(self.H_b) @ _times(self.B_b, np.asarray(self.H_b).T)
        return np.asarray(scipy.linalg.solve(S, columns, assume_a="pos"))


def _times(covariance: Any, V: Floats) -> Floats:
    matvec = getattr(covariance, "matvec", None)
    return np.asarray(matvec(np.ascontiguousarray(V)) if matvec else np.asarray(covariance) @ V, dtype=np.float64)


def _array(values: Any) -> Floats:
    return np.asarray(values, dtype=np.float64)


def _symmetric(matrix: Floats) -> Floats:
    return 0.5 * (matrix + matrix.T)


def joint_sigma(
    design: Aggregating,
    regions: xr.DataArray,
    inventory_sigma: ArrayLike,
    *,
    inventory_correlation: float = 0.0,
    inventory_is_prior: bool = False,
    pattern: ArrayLike | None = None,
) -> xr.Dataset:
    """Return how large an error of each region's ledger would show, before any data is seen.

    joint σ_r = √(Cov d)_rr / share_r,  share_r = Γ_rr, or (W A u)_r / (W u)_r for an error with the pattern u

    Parameters
    ----------
    design : Design, inversion.posterior.Posterior
        Anything with `prior_covariance` and `covariance` of aggregates (and `averaging_kernel`, for a pattern).
    regions : xr.DataArray (region, state)
        W.
    inventory_sigma : array (k,)
        σ of the ledger in the units of `regions`; NaN where it has no value.
    inventory_correlation : float
        Of the ledger's errors between regions.
    inventory_is_prior : bool
        The inversion starts from this ledger: its errors are correlated as the prior's.
    pattern : array (m,), optional
        How the error is spread over the state (any scale). By default as the prior spreads it, G.

    Returns
    -------
    xr.Dataset (region)
        ``joint_sigma``, ``detectable`` (three of them), ``share``, ``difference_sigma``.

    Examples
    --------
    One region seen by one observation: A = 0.8, prior and ledger σ 10, so σ(d) = √0.8 · 10.

    >>> design = Design(H=np.eye(1), R=[[25.0]], B=[[100.0]])
    >>> W = xr.DataArray([[1.0]], dims=("region", "state"), coords={"region": ["CN-ZJ"]}, attrs={"units": "kt yr-1"})
    >>> joint_sigma(design, W, [10.0]).joint_sigma.values.round(2)
    array([11.18])
    """
    sigma = np.asarray(inventory_sigma, dtype=np.float64)
    M = _array(design.prior_covariance(regions))
    own = correlated(np.ones(sigma.size), inventory_correlation)
    smooth = compare_arrays(
        np.zeros(sigma.size),
        np.zeros(sigma.size),
        covariance=_array(design.covariance(regions)),
        prior_covariance=M,
        inventory=np.where(np.isnan(sigma), np.nan, 0.0),
        inventory_covariance=np.outer(sigma, sigma) * (correlation_of(M) if inventory_is_prior else own),
    )
    share = np.diag(smooth.kernel) if pattern is None else _response(design, regions, pattern)
    deviation = root(np.diag(smooth.covariance))
    unit = {"units": regions.attrs["units"]}
    visible = np.where(share > UNSEEN, share, np.nan)
    return xr.Dataset(
        {
            "joint_sigma": ("region", deviation / visible, unit),
            "detectable": ("region", 3.0 * deviation / visible, unit),
            "share": ("region", share, {"units": "1"}),
            "difference_sigma": ("region", deviation, unit),
        },
        coords={name: c for name, c in regions.coords.items() if c.dims == ("region",)},
    )


def _response(design: Any, regions: xr.DataArray, pattern: ArrayLike) -> Floats:
    u = np.asarray(pattern, dtype=np.float64).ravel()
    seen, whole = _array(design.averaging_kernel(regions)) @ u, _array(regions) @ u
    return np.divide(seen, whole, out=np.zeros_like(seen), where=np.abs(whole) > 0)
