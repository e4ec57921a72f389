"""How emissions hang on an indicator (electricity first): fitted on annual totals, errors growing with activity.

    x_t = X_t β + u_t,   Cov(u_s, u_t) = τ² ρ^|s-t| (f_s f_t)^γ,   y = C x + e,   Cov e = diag(σ²)

with f the first indicator over its mean. Ten or twenty totals say little about τ, ρ and γ: taking the likeliest as true
gives intervals that are too short (a τ of 0 is often the likeliest). So the covariance is averaged over them, weighted
by their restricted likelihood (Harville 1977, J. Am. Stat. Assoc. 72, 320),

    -2 ln λ = ln|S| + ln|Zᵀ S⁻¹ Z| + rᵀ S⁻¹ r,   S = C V Cᵀ + diag(σ²),  Z = C X,  r = y - Z β̂

every correlation, every power and every standard deviation of an annual total being as likely beforehand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.linalg
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from inversion.inventory.entry import InventoryError
from inversion.inventory.express.disaggregation import chow_lin

Floats = NDArray[np.float64]

POWERS: Final = (0.0, 0.5, 1.0)
"""Powers of the activity that the error may grow with."""
CORRELATIONS: Final = tuple(0.05 + 0.1 * i for i in range(10))
"""Correlations from one month to the next."""

_REACH: Final = (0.02, 8.0, 30)  # standard deviations of an annual total that are tried, relative to its residual
_Z: Final = 1.959963984540054  # standard normal quantile of 0.975
_SPARE: Final = 4  # totals more than coefficients: with fewer the mean of τ² does not exist


@dataclass(frozen=True, slots=True)
class Relation:
    """A fitted relation between months of emissions and of indicators; the equations are above.

    Attributes
    ----------
    beta : array (p,)
    beta_covariance : array (p, p)
    variance : array (powers, correlations)
        E[τ²; γ, ρ], kt2 per month at the mean of the indicator: what each γ and ρ contributes to Cov u.
    weight : array (powers, correlations)
        How likely they are; the sum is 1.
    scale : float
        Mean of the first indicator.
    dof : int
        Totals less coefficients.
    """

    beta: Floats
    beta_covariance: Floats
    variance: Floats
    weight: Floats
    scale: float
    dof: int

    @property
    def tau(self) -> float:
        """Standard deviation of a month at the mean of the indicator, kt."""
        return math.sqrt(self.variance.sum())

    @property
    def rho(self) -> float:
        """Mean correlation from month to month."""
        return float(self.weight.sum(axis=0) @ CORRELATIONS)

    @property
    def gamma(self) -> float:
        """Mean power."""
        return float(self.weight.sum(axis=1) @ POWERS)

    def covariance(self, X: ArrayLike) -> Floats:
        """Return V = E[Cov u] (m, m) for consecutive months with the indicators X (m, p)."""
        f = np.abs(np.asarray(X, dtype=np.float64)[:, 0] / self.scale)
        lag = np.arange(f.size)
        V = np.zeros((f.size, f.size))
        for gamma, parts in zip(POWERS, self.variance, strict=True):
            correlation = scipy.linalg.toeplitz(np.power.outer(CORRELATIONS, lag).T @ parts)
            V += correlation * np.outer(f**gamma, f**gamma)
        return V


def fit(X: ArrayLike, C: ArrayLike, totals: ArrayLike, *, sigma: ArrayLike) -> Relation:
    """Fit the relation on totals.

    Totals with a large σ count less, and so do those of months with much activity where the error grows with it.

    Parameters
    ----------
    X : array (m, p)
        Indicators by month; the first is the one errors grow with.
    C : array (n, m)
        Which months a total sums.
    totals, sigma : array (n,)
        kt.

    Returns
    -------
    Relation

    Raises
    ------
    InventoryError
        When there are not at least four totals more than indicators, or an indicator is missing in a month that counts.
    """
    design, matrix = np.asarray(X, dtype=np.float64), np.asarray(C, dtype=np.float64)
    y, error = np.asarray(totals, dtype=np.float64), np.asarray(sigma, dtype=np.float64)
    _check(design, matrix, y)
    first, last = np.flatnonzero(matrix.any(axis=0))[[0, -1]]
    design, matrix = design[first : last + 1], matrix[:, first : last + 1]
    scale, Z = float(np.abs(design[:, 0]).mean()), matrix @ design
    size = float(np.hypot(np.std(y - Z @ np.linalg.lstsq(Z, y)[0]), np.median(error))) or 1e-9 * float(np.abs(y).max())
    tried = size * np.geomspace(*_REACH)
    shapes, norms = _shapes(design, matrix, scale)
    noise = np.diag(error**2)
    cost = restricted(tried[:, None, None] ** 2 * shapes[:, :, None] + noise, Z, y)[0]
    # Uniform in the standard deviation itself: on a grid of equal ratios each point stands for a width like itself.
    weight = np.exp(-0.5 * (cost - cost.min())) * tried
    weight /= weight.sum()
    variance = (weight @ tried**2) / norms
    S = np.einsum("ij,ijkl->kl", weight @ tried**2, shapes) + noise
    _, beta, covariance = restricted(S, Z, y)
    return Relation(beta, covariance, variance, weight.sum(axis=2), scale, y.size - design.shape[1])


def _shapes(X: Floats, C: Floats, scale: float) -> tuple[Floats, Floats]:
    """Return C V Cᵀ for every power and correlation, scaled to the mean variance 1, and what it was scaled by."""
    f, lag = np.abs(X[:, 0] / scale), np.arange(len(X))
    shapes = np.array(
        [[(A := C * f**gamma) @ scipy.linalg.toeplitz(rho**lag) @ A.T for rho in CORRELATIONS] for gamma in POWERS]
    )
    norms = np.trace(shapes, axis1=2, axis2=3) / len(C)
    return shapes / norms[..., None, None], norms


def _check(X: Floats, C: Floats, y: Floats) -> None:
    faults = []
    if y.size < X.shape[1] + _SPARE:
        faults.append(
            f"{y.size} totals are too few for {X.shape[1]} indicators: at least {X.shape[1] + _SPARE} are needed."
        )
    missing = int((~np.isfinite(X).all(axis=1) & C.any(axis=0)).sum())
    if missing:
        faults.append(f"An indicator is missing in {missing} months of the totals.")
    if faults:
        raise InventoryError("The relation", faults)


def restricted(S: Floats, Z: Floats, y: Floats) -> tuple[Floats, Floats, Floats]:
    """Return -2 ln λ, β̂ and its covariance, for every S of a stack (..., n, n)."""
    L = np.linalg.cholesky(S)
    white = np.linalg.solve(L, np.broadcast_to(np.column_stack([Z, y]), (*S.shape[:-1], Z.shape[1] + 1)))
    Zw, yw = white[..., :-1], white[..., -1:]
    information = np.swapaxes(Zw, -1, -2) @ Zw
    beta = np.linalg.solve(information, np.swapaxes(Zw, -1, -2) @ yw)
    r = yw - Zw @ beta
    value = 2.0 * np.log(np.diagonal(L, axis1=-2, axis2=-1)).sum(axis=-1) + np.linalg.slogdet(information)[1]
    covariance = np.linalg.solve(information, np.broadcast_to(np.eye(Z.shape[1]), information.shape))
    return value + (r**2).sum(axis=(-2, -1)), beta[..., 0], covariance


def hold_out(X: ArrayLike, C: ArrayLike, totals: ArrayLike, *, sigma: ArrayLike, least: int = 6) -> xr.Dataset:
    """Return how well totals were estimated before they were reported: each from those before it alone.

    Parameters
    ----------
    X : array (m, p)
    C : array (n, m)
        Totals in the order of time.
    totals, sigma : array (n,)
    least : int
        Totals of the first fit.

    Returns
    -------
    xr.Dataset (total)
        ``estimate``, ``reported``, ``error``, ``sigma`` (of the error), ``persistence`` (error of taking the last
        total), and attributes ``skill`` = 1 - Σ error² / Σ persistence², ``coverage`` (share within the 95 % interval)
        and ``rmse``.

    Raises
    ------
    InventoryError
        When there are not more than `least` totals.
    """
    design, matrix = np.asarray(X, dtype=np.float64), np.asarray(C, dtype=np.float64)
    y, error = np.asarray(totals, dtype=np.float64), np.asarray(sigma, dtype=np.float64)
    if y.size <= least:
        raise InventoryError("The hold-out", [f"{y.size} totals leave none to hold out after the first {least}."])
    rows = []
    for n in range(least, y.size):
        until = int(np.flatnonzero(matrix[n])[-1]) + 1
        relation = fit(design, matrix[:n], y[:n], sigma=error[:n])
        X_n = design[:until]
        guess = chow_lin(
            X_n, relation.covariance(X_n), matrix[:n, :until], y[:n], total_covariance=np.diag(error[:n] ** 2)
        )
        w = matrix[n, :until]
        spread = math.sqrt(float(w @ guess.covariance @ w) + float(error[n]) ** 2)
        rows.append((float(w @ guess.mean), y[n], spread, y[n - 1] - y[n]))
    estimate, reported, spread_n, persistence = np.array(rows, dtype=np.float64).T
    miss = estimate - reported
    return xr.Dataset(
        {
            "estimate": ("total", estimate),
            "reported": ("total", reported),
            "error": ("total", miss),
            "sigma": ("total", spread_n),
            "persistence": ("total", persistence),
        },
        attrs={
            "skill": float(1.0 - (miss**2).sum() / (persistence**2).sum()),
            "coverage": float((np.abs(miss) <= _Z * spread_n).mean()),
            "rmse": float(np.sqrt((miss**2).mean())),
        },
    )
