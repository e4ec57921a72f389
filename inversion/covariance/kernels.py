"""Covariances from distances, on the sphere and in time: exponential, Matérn, Gaspari-Cohn, Gaussian."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.special

from inversion.covariance.dense import Dense
from inversion.covariance.operator import Array
from inversion.errors import CovarianceError

EARTH_RADIUS = 6371.0
"""km, mean."""

_SMOOTHEST = 50.0
"""Largest ν for which the Bessel function does not overflow where it matters."""


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


def chord(distance: npt.ArrayLike) -> Array:
    """Return straight-line distances through the Earth for distances along its surface.

    c = 2 R sin(d / 2R). Correlations that are positive definite in space are so on the sphere as functions of c, which
    most are not as functions of d (Gneiting 2013, Bernoulli 19, 1327); at 1000 km the two differ by 0.1 %.

    Parameters
    ----------
    distance : array [km]

    Returns
    -------
    array [km]

    Examples
    --------
    >>> chord(1000.0).round(1)
    np.float64(999.0)
    """
    return 2.0 * EARTH_RADIUS * np.sin(np.asarray(distance, dtype=np.float64) / (2.0 * EARTH_RADIUS))


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
    return np.exp(-_scaled_distance(distance, length))


def matern(distance: npt.ArrayLike, length: float, *, smoothness: float = 1.5) -> Array:
    """Return the correlations 2^(1−ν)/Γ(ν) s^ν K_ν(s), s = √(2ν) distance / length.

    Rasmussen and Williams (2006), Eq 4.14: ν = ½ is the exponential, ν → ∞ the Gaussian; fields are differentiable
    ⌈ν⌉ − 1 times. Positive definite in space for straight distances (see `chord`).

    Parameters
    ----------
    distance : array (m, m)
    length : float
        In the unit of `distance`; above zero.
    smoothness : float
        ν, above zero, up to 50.

    Returns
    -------
    array (m, m)

    Raises
    ------
    CovarianceError
        Where `length` or `smoothness` cannot be.

    Examples
    --------
    >>> matern([0.0, 100.0], 100.0, smoothness=0.5).round(4)
    array([1.    , 0.3679])
    """
    if not 0 < smoothness <= _SMOOTHEST:
        msg = (
            f"the smoothness of a Matérn correlation is {smoothness}, expected a number above zero, as 0.5 or 1.5, and "
            f"up to {_SMOOTHEST:g}: beyond that it is Gaussian."
        )
        raise CovarianceError(msg)
    s = np.sqrt(2.0 * smoothness) * _scaled_distance(distance, length)
    bessel = scipy.special.kve(smoothness, s)
    near = ~np.isfinite(bessel)  # K_ν grows beyond all numbers where the correlation is 1
    s, bessel = np.where(near, 1.0, s), np.where(near, 1.0, bessel)
    logarithm = (1.0 - smoothness) * np.log(2.0) - scipy.special.gammaln(smoothness) + smoothness * np.log(s) - s
    return np.where(near, 1.0, np.exp(logarithm) * bessel)


def gaspari_cohn(distance: npt.ArrayLike, length: float) -> Array:
    """Return the compactly supported correlations of Gaspari and Cohn (1999), Eq 4.10: zero beyond 2 `length`.

    Positive definite in space for straight distances (see `chord`); close to a Gaussian exp(−d²/2L²) with
    L = length √0.3.

    Parameters
    ----------
    distance : array (m, m)
    length : float
        Half the distance at which the correlation ends, in the unit of `distance`; above zero.

    Returns
    -------
    array (m, m)

    Raises
    ------
    CovarianceError
        Where `length` is not positive.

    Examples
    --------
    >>> gaspari_cohn([0.0, 1.0, 2.0, 3.0], 1.0).round(4)
    array([1.    , 0.2083, 0.    , 0.    ])
    """
    r = _scaled_distance(distance, length)
    inner = np.polyval([-1 / 4, 1 / 2, 5 / 8, -5 / 3, 0.0, 1.0], r)
    far = np.clip(r, 1.0, 2.0)
    outer = np.polyval([1 / 12, -1 / 2, 5 / 8, 5 / 3, -5.0, 4.0], far) - 2.0 / (3.0 * far)
    return np.where(r < 1.0, inner, np.where(r < 2.0, np.maximum(outer, 0.0), 0.0))


def gaussian(distance: npt.ArrayLike, length: float) -> Array:
    """Return the correlations exp(−distance² / 2 length²).

    Positive definite in space for straight distances (see `chord`), but singular in double precision where `length` is
    a few times the distance of neighbours: `Dense` then refuses it and names the nugget that regularises it.

    Parameters
    ----------
    distance : array (m, m)
    length : float
        In the unit of `distance`; above zero.

    Returns
    -------
    array (m, m)

    Raises
    ------
    CovarianceError
        Where `length` is not positive.
    """
    return np.exp(-0.5 * _scaled_distance(distance, length) ** 2)


class _Kind(NamedTuple):
    correlation: Callable[..., Array]
    straight: bool
    """Whether distances on the sphere are taken along the chord."""


KINDS: Final[dict[str, _Kind]] = {
    "exponential": _Kind(exponential, straight=False),
    "matern": _Kind(matern, straight=True),
    "gaspari-cohn": _Kind(gaspari_cohn, straight=True),
    "gaussian": _Kind(gaussian, straight=True),
}
"""Name of a correlation -> its function of distance and length."""


def spatial(
    longitude: npt.ArrayLike,
    latitude: npt.ArrayLike,
    *,
    sigma: npt.ArrayLike = 1.0,
    length_km: float,
    kind: str = "exponential",
    smoothness: float | None = None,
    nugget: float = 0.0,
    name: str = "spatial covariance",
) -> Dense:
    """Return C_ij = σ_i σ_j ρ(d_ij), ρ = exp(−d / length) unless `kind` says otherwise.

    d is the great-circle distance for the exponential, the chord for the others (see `chord`).

    Parameters
    ----------
    longitude, latitude : array (m,) [degree]
    sigma : float or array (m,)
        Standard deviations, in the unit of the state.
    length_km : float [km]
    kind : str
        "exponential", "matern", "gaspari-cohn" or "gaussian".
    smoothness : float, optional
        ν of a Matérn correlation; 1.5 unless stated.
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
    distance = great_circle(longitude, latitude)
    correlation = _correlation(kind, smoothness, name)
    straight = KINDS[kind].straight
    return _scaled(correlation(chord(distance) if straight else distance, length_km), sigma, nugget, name)


def temporal(
    time: npt.ArrayLike,
    *,
    sigma: npt.ArrayLike = 1.0,
    length_days: float,
    kind: str = "exponential",
    smoothness: float | None = None,
    nugget: float = 0.0,
    name: str = "temporal covariance",
) -> Dense:
    """Return C_ij = σ_i σ_j ρ(|t_i − t_j|), ρ = exp(−|t_i − t_j| / length) unless `kind` says otherwise.

    Parameters
    ----------
    time : array (m,) of datetime64, or of float [days]
    sigma : float or array (m,)
        Standard deviations.
    length_days : float [days]
    kind, smoothness
        As for `spatial`.
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
    correlation = _correlation(kind, smoothness, name)
    return _scaled(correlation(np.abs(days[:, None] - days), length_days), sigma, nugget, name)


def in_days(time: npt.ArrayLike) -> Array:
    """Return times as days since the first, from datetime64 or numbers of days."""
    values = np.asarray(time)
    if values.dtype.kind == "M":
        return (values - values[0]) / np.timedelta64(1, "D")
    return values.astype(np.float64)


def _correlation(kind: str, smoothness: float | None, name: str) -> Callable[..., Array]:
    if kind not in KINDS:
        msg = f"{name}: kind is {kind!r}, expected {', '.join(map(repr, KINDS))}."
        raise CovarianceError(msg)
    if smoothness is None:
        return KINDS[kind].correlation
    if kind != "matern":
        msg = f"{name}: smoothness is {smoothness}, but a correlation of kind {kind!r} has none; leave it out."
        raise CovarianceError(msg)
    return functools.partial(matern, smoothness=smoothness)


def _scaled_distance(distance: npt.ArrayLike, length: float) -> Array:
    if not length > 0:
        msg = f"the correlation length is {length}, expected a number above zero; without correlation use Diagonal."
        raise CovarianceError(msg)
    return np.asarray(distance, dtype=np.float64) / length


def _scaled(correlation: Array, sigma: npt.ArrayLike, nugget: float, name: str) -> Dense:
    deviation = np.broadcast_to(np.asarray(sigma, dtype=np.float64), len(correlation))
    return Dense(correlation * deviation[:, None] * deviation, nugget=nugget, name=name)
