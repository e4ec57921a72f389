r"""A made-up meteorology that conserves mass exactly, with a boundary layer that grows and falls by day and night.

The wind is that of a stream function ψ, the same at all heights but for its strength a(z), logarithmic to 1 km::

    u = -a/R dψ/dφ,    v = a/(R cos φ) dψ/dλ,    ψ = -R S_0 sin φ - R S sin(kλ - ωt) sin(kφ) / k

It does not diverge on the sphere, so that with w = 0 and a density that depends on height alone no air appears or
vanishes. It serves demonstrations and tests that need no files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inversion.transport.fields import LEVELS, Fields, convective_velocity

_SCALE_HEIGHT: Final = 8400.0
_SURFACE_DENSITY: Final = 1.2
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Weather:
    """Parameters of the made-up weather.

    Parameters
    ----------
    speed
        Of the flow from the west at the geostrophic level [m s-1].
    waves
        Strength of the waves [m s-1].
    period_days
        In which the waves pass.
    wavelength
        [degrees].
    lowest, highest
        Height of the boundary layer by night and in the afternoon [m].
    ustar
        Friction velocity by day [m s-1]; by night a half.
    roughness
        [m].
    noon
        Hour (UTC) of local noon at longitude 0; the sun moves 15 degrees an hour.
    """

    speed: float = 6.0
    waves: float = 4.0
    period_days: float = 5.0
    wavelength: float = 30.0
    lowest: float = 200.0
    highest: float = 1500.0
    ustar: float = 0.4
    roughness: float = 0.1
    noon: float = 12.0

    def wind(self, time: Floats, longitude: Floats, latitude: Floats, height: Floats) -> tuple[Floats, Floats]:
        """Return wind to the east and north [m s-1] at points (all arrays of one shape; time s, degrees, m)."""
        k = 2 * np.pi / self.wavelength
        lam, phi = np.radians(longitude), np.radians(latitude)
        phase = k * np.degrees(lam) - 2 * np.pi * time / (self.period_days * 86_400)
        k_lat = 2 * np.pi / self.wavelength * 180 / np.pi
        u = self.speed * np.cos(phi) + self.waves * np.sin(phase) * np.cos(k_lat * phi)
        v = -self.waves * np.cos(phase) * np.sin(k_lat * phi) / np.cos(phi)
        above = np.log(np.maximum(height / self.roughness, 1.0))
        strength = np.minimum(above / np.log(1000 / self.roughness), 1.0)
        return strength * u, strength * v

    def layer(self, time: Floats, longitude: Floats) -> Floats:
        """Return the height of the boundary layer [m]."""
        sun = np.cos(2 * np.pi * ((time / 3600 - self.noon - 2.0) / 24 + longitude / 360))
        return self.lowest + (self.highest - self.lowest) * np.maximum(sun, 0.0) ** 1.5


def fields(time: NDArray[np.datetime64], longitude: Floats, latitude: Floats, weather: Weather | None = None) -> Fields:
    """Return the made-up meteorology on a grid.

    Parameters
    ----------
    time : datetime64 (T,)
        UTC.
    longitude, latitude : float64 (X,), (Y,)
        Evenly spaced [degrees].
    weather : Weather, optional
    """
    weather = weather or Weather()
    seconds = time.astype("datetime64[s]").astype(np.float64)
    t, z, y, x = np.meshgrid(seconds, LEVELS, latitude, longitude, indexing="ij", sparse=True)
    shape = seconds.size, LEVELS.size, latitude.size, longitude.size
    u, v = weather.wind(t, x, y, z)
    layer = np.broadcast_to(weather.layer(t[:, 0], x[:, 0]), (shape[0], *shape[2:]))
    daylight = np.clip((layer - weather.lowest) / (weather.highest - weather.lowest), 0.0, 1.0)
    ustar = weather.ustar * (0.5 + 0.5 * daylight)
    stability = np.where(daylight > 0.02, -daylight / 60.0, 1 / 80.0)
    rho = _SURFACE_DENSITY * np.exp(-LEVELS / _SCALE_HEIGHT)

    def kept(values: NDArray[np.floating]) -> NDArray[np.float32]:
        return np.ascontiguousarray(values, dtype=np.float32)

    return Fields(
        seconds,
        LEVELS,
        np.asarray(latitude, np.float64),
        np.asarray(longitude, np.float64),
        kept(np.broadcast_to(u, shape)),
        kept(np.broadcast_to(v, shape)),
        np.zeros(shape, np.float32),
        kept(np.broadcast_to(rho[None, :, None, None], shape)),
        kept(layer),
        kept(ustar),
        kept(convective_velocity(ustar, stability, layer)),
        kept(stability),
    )
