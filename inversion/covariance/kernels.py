"""Covariances from distances: exponential on the sphere, exponential in time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from inversion.covariance.dense import Dense
from inversion.covariance.operator import Array
from inversion.errors import CovarianceError

EARTH_RADIUS = 6371.0
"""km, mean."""


def great_circle(longitude: npt.ArrayLike, latitude: npt.ArrayLike) -> Array:
    """Return the distances between all points on the sphere.

    d = 2 R arcsin √(sin²(Δφ/2) + cos φ₁ cos φ₂ sin²(Δλ/2)), R = 6371 km.

    Parameters
    ----------
    longitude, latitude : array (m,) [degree]

    Returns
    -------
    array (m, m) [km]

    Examples
    --------
    >>> great_circle([0.0, 90.0], [0.0, 0.0])[0, 1].round(1)
    np.float64(10007.5)
    """
    lon = np.radians(np.asarray(longitude, dtype=np.float64))
    lat = np.radians(np.asarray(latitude, dtype=np.float64))
    half_lat = np.sin(0.5 * (lat[:, None] - lat)) ** 2
    half_lon = np.sin(0.5 * (lon[:, None] - lon)) ** 2
    return (
        2.0 * EARTH_RADIUS * np.arcsin(np.sqrt(np.clip(half_lat + np.cos(lat[:, None]) * np.cos(lat) * half_lon, 0, 1)))
    )


def exponential(distance: npt.ArrayLike, length: float) -> Array:
    """Return the correlations exp(−distance / length): positive definite on the line, the plane and the sphere.

    Parameters
    ----------
    distance : array (m, m)
    length : float
        e-folding length, in the unit of `distance`; above zero.

    Returns
    -------
    array (m, m)

    Raises
    ------
    CovarianceError
        Where `length` is not positive.
    """
    if not length > 0:
        msg = f"the correlation length is {length}, expected a number above zero; without correlation use Diagonal."
        raise CovarianceError(msg)
    return np.exp(-np.asarray(distance, dtype=np.float64) / length)


def spatial(
    longitude: npt.ArrayLike,
    latitude: npt.ArrayLike,
    *,
    sigma: npt.ArrayLike = 1.0,
    length_km: float,
    nugget: float = 0.0,
    name: str = "spatial covariance",
) -> Dense:
    """Return C_ij = σ_i σ_j exp(−d_ij / length) with d the great-circle distance.

    Parameters
    ----------
    longitude, latitude : array (m,) [degree]
    sigma : float or array (m,)
        Standard deviations, in the unit of the state.
    length_km : float [km]
    nugget : float
        See `Dense`.
    name : str
        What it is the covariance of.

    Returns
    -------
    Dense (m, m)

    Raises
    ------
    CovarianceError
    """
    correlation = exponential(great_circle(longitude, latitude), length_km)
    return _scaled(correlation, sigma, nugget, name)


def temporal(
    time: npt.ArrayLike,
    *,
    sigma: npt.ArrayLike = 1.0,
    length_days: float,
    nugget: float = 0.0,
    name: str = "temporal covariance",
) -> Dense:
    """Return C_ij = σ_i σ_j exp(−|t_i − t_j| / length).

    Parameters
    ----------
    time : array (m,) of datetime64, or of float [days]
    sigma : float or array (m,)
        Standard deviations.
    length_days : float [days]
    nugget : float
        See `Dense`.
    name : str
        What it is the covariance of.

    Returns
    -------
    Dense (m, m)

    Raises
    ------
    CovarianceError
    """
    days = in_days(time)
    return _scaled(exponential(np.abs(days[:, None] - days), length_days), sigma, nugget, name)


def in_days(time: npt.ArrayLike) -> Array:
    """Return times as days since the first, from datetime64 or numbers of days."""
    values = np.asarray(time)
    if values.dtype.kind == "M":
        return (values - values[0]) / np.timedelta64(1, "D")
    return values.astype(np.float64)


def _scaled(correlation: Array, sigma: npt.ArrayLike, nugget: float, name: str) -> Dense:
    deviation = np.broadcast_to(np.asarray(sigma, dtype=np.float64), len(correlation))
    return Dense(correlation * deviation[:, None] * deviation, nugget=nugget, name=name)
