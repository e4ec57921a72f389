r"""A series continued: a local linear trend with a season that may change, and how far off it may be.

    y_t = μ_t + γ_t + ε_t,   μ_t = μ_{t-1} + ν_{t-1} + η_t,   ν_t = ν_{t-1} + ζ_t,   γ_t = -Σ_{j<s} γ_{t-j} + ω_t

(Harvey 1989, Forecasting, Structural Time Series Models and the Kalman Filter, Cambridge, section 2.3), ε_t with the
stated variance of each value and one more that is found. Level, slope and season at the beginning are unknown; the rest
is a sum of impulse responses, so y = X b + u with Cov u = Σ_j v_j Φ_j Φ_jᵀ: for the few hundred months there are, this
is the Kalman filter's result without its recursion (the tests compare the two). As in `inventory.express.relation` the
variances are not taken as known: the covariance is averaged over them.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike, NDArray

from inversion.inventory.entry import InventoryError
from inversion.inventory.express.relation import restricted

Floats = NDArray[np.float64]

PARTS: Final = ("noise", "level", "slope", "season")
"""Sources of change, in the order of variances."""

_GRID: Final = {
    "noise": (0.05, 0.2, 0.5, 1.0, 2.0),
    "level": (0.02, 0.1, 0.3, 0.7, 1.5),
    "slope": (0.001, 0.01, 0.04),
    "season": (0.01, 0.1, 0.3),
}
"""Standard deviations that are tried, relative to the scatter about a straight line with a fixed season."""


@dataclass(frozen=True, slots=True)
class Projection:
    """A series continued.

    Attributes
    ----------
    mean, sigma : array (steps,)
        Of the values to come (with their noise), in the unit of the series.
    covariance : array (steps, steps)
    lower, upper : array (steps,)
        Interval of `level`.
    level : float
    variances : dict
        Mean variances of noise, level, slope and season.
    """

    mean: Floats
    sigma: Floats
    covariance: Floats
    lower: Floats
    upper: Floats
    level: float
    variances: dict[str, float]


def responses(length: int, period: int) -> dict[str, Floats]:
    """Return Φ Φᵀ (length, length) for noise, level, slope and season."""
    lag = np.arange(length)
    season = np.where(lag % period == 0, 1.0, np.where(lag % period == 1, -1.0, 0.0)) if period > 1 else 0.0 * lag
    impulse = {"noise": lag == 0, "level": lag >= 0, "slope": lag, "season": season}
    lower = {name: np.tril(scipy.linalg.toeplitz(np.asarray(h, dtype=np.float64))) for name, h in impulse.items()}
    return {name: Phi @ Phi.T for name, Phi in lower.items()}


def design(length: int, period: int) -> Floats:
    """Return X (length, 2 + period - 1): level and slope at the beginning, and a season that sums to zero."""
    t = np.arange(length)
    dummies = np.eye(period)[t % period] - 1.0 / period
    return np.column_stack([np.ones(length), t / 12.0, dummies[:, : period - 1]])


def predict(
    values: ArrayLike, sigma: ArrayLike, variances: dict[str, float], *, steps: int, period: int = 12
) -> Projection:
    """Continue a series with variances that are known.

    ŷ* = X* β̂ + V*ₒ S⁻¹ (y - X β̂),   S = Vₒₒ + diag(σ²),   β̂ by generalised least squares

    Parameters
    ----------
    values : array (n,)
        NaN where there is no value.
    sigma : array (n,) or (n, n)
        Standard uncertainties, or the covariance of the values' errors.
    variances : dict
        Of `PARTS`.
    steps : int
    period : int
        Of the season; 1 for none.

    Returns
    -------
    Projection
        95 % interval.
    """
    y = np.asarray(values, dtype=np.float64)
    error = _spread(sigma, y.size)
    V = sum((variances[name] * K for name, K in responses(y.size + steps, period).items()), np.zeros(()))
    return _continued(y, error, V, steps, period, 0.95, variances)


def project(
    values: ArrayLike, sigma: ArrayLike | None = None, *, steps: int = 6, period: int = 12, level: float = 0.95
) -> Projection:
    """Continue a monthly series, variances averaged by their likelihood.

    Parameters
    ----------
    values : array (n,)
        NaN where a month is missing; at least two seasons and a half of values.
    sigma : array (n,) or (n, n), optional
        Standard uncertainty of each value, errors independent, or the covariance of errors; none by default.
    steps : int
    period : int
        Of the season; 1 for none.
    level : float
        Of the interval.

    Returns
    -------
    Projection

    Raises
    ------
    InventoryError
        When there are too few values, or infinite ones.

    Examples
    --------
    >>> month = np.arange(60)
    >>> season = 10.0 * np.sin(2.0 * np.pi * month / 12.0)
    >>> np.abs(project(100.0 + month + season, steps=12).mean - (160.0 + month[:12] + season[:12])).max() < 0.01
    np.True_
    """
    y = np.asarray(values, dtype=np.float64)
    error = _spread(np.zeros(y.size) if sigma is None else sigma, y.size)
    known = np.isfinite(y)
    needed = 5 * period // 2 if period > 1 else 8
    if known.sum() < needed or np.isinf(y).any() or not np.isfinite(error[np.ix_(known, known)]).all():
        raise InventoryError(
            "The series", [f"It has {known.sum()} finite values with σ: at least {needed} are needed, none infinite."]
        )
    parts = responses(y.size + steps, period)
    variances = _likely(
        y[known], error[np.ix_(known, known)], design(y.size, period)[known], _inside(parts, known), period
    )
    V = sum((variances[name] * K for name, K in parts.items()), np.zeros(()))
    return _continued(y, error, V, steps, period, level, variances)


def _spread(sigma: ArrayLike, size: int) -> Floats:
    """Return the covariance of errors (n, n)."""
    given = np.asarray(sigma, dtype=np.float64)
    if given.shape not in ((size,), (size, size)):
        said = f"Its uncertainties have the shape {given.shape}, expected ({size},) or ({size}, {size})."
        raise InventoryError("The series", [said])
    return np.diag(given**2) if given.ndim == 1 else given


def _inside(parts: dict[str, Floats], known: NDArray[np.bool_]) -> dict[str, Floats]:
    at = np.flatnonzero(known)
    return {name: K[np.ix_(at, at)] for name, K in parts.items()}


def _likely(y: Floats, error: Floats, X: Floats, parts: dict[str, Floats], period: int) -> dict[str, float]:
    """Return the mean variances, weighted by the restricted likelihood; uniform in the standard deviations."""
    rest = y - X @ np.linalg.lstsq(X, y)[0]
    scatter = float(np.sqrt((rest**2).sum() / max(1, y.size - X.shape[1]))) or 1e-9 * float(np.abs(y).max() or 1.0)
    names = [name for name in PARTS if name != "season" or period > 1]
    tried = np.array(list(itertools.product(*(_GRID[name] for name in names))))
    width = np.array(list(itertools.product(*(np.gradient(_GRID[name]) for name in names)))).prod(axis=1)
    stack = np.stack([parts[name] for name in names])
    cost = np.concatenate(
        [
            restricted(scatter**2 * np.tensordot(chunk**2, stack, axes=1) + error, X, y)[0]
            for chunk in np.array_split(tried, max(1, y.size // 12))
        ]
    )
    weight = np.exp(-0.5 * (cost - cost.min())) * width
    mean = scatter**2 * (weight / weight.sum()) @ tried**2
    return dict.fromkeys(PARTS, 0.0) | dict(zip(names, (float(v) for v in mean), strict=True))


def _continued(
    y: Floats, error: Floats, V: Floats, steps: int, period: int, level: float, variances: dict[str, float]
) -> Projection:
    seen, ahead = np.flatnonzero(np.isfinite(y)), np.arange(y.size, y.size + steps)
    X = design(y.size + steps, period)
    S = V[np.ix_(seen, seen)] + error[np.ix_(seen, seen)]
    factor = scipy.linalg.cho_factor(S, lower=True)
    weights = scipy.linalg.cho_solve(factor, V[np.ix_(seen, ahead)]).T
    ZS = scipy.linalg.cho_solve(factor, X[seen]).T
    information = ZS @ X[seen]
    beta = np.linalg.solve(information, ZS @ y[seen])
    rest = X[ahead] - weights @ X[seen]
    mean = weights @ y[seen] + rest @ beta
    covariance = (
        V[np.ix_(ahead, ahead)] - weights @ V[np.ix_(seen, ahead)] + rest @ np.linalg.solve(information, rest.T)
    )
    spread = np.sqrt(np.diag(covariance))
    reach = NormalDist().inv_cdf(0.5 + level / 2)
    return Projection(mean, spread, covariance, mean - reach * spread, mean + reach * spread, level, variances)
