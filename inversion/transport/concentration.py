"""Fluxes carried forward: what air in three dimensions holds of what the ground gives off.

Each cell of a flux field releases particles that bear its moles; every hour what they bear is counted into boxes of
longitude, latitude and height above the ground, and divided by the moles of dry air there::

    x(t, box) = sum of moles of particles in the box / (ρ V / M_air)

Cost grows with cells that give off anything, particles and hours; memory with the particles that are under way.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from inversion.datasets import FLUX_UNITS
from inversion.errors import FootprintError
from inversion.transport import kernel
from inversion.transport.fields import EARTH_RADIUS, Fields

Floats = NDArray[np.float64]
RELEASES: Final = 6
"""Moments within an hour at which particles are released."""
_NOWHERE: Final = np.zeros((1, 1, 1))
_NO_MOMENTS: Final = np.zeros((0, 5))
_NO_PATH: Final = np.zeros((0, 0, 3))
_ONE_BIN: Final = np.zeros(1, np.int64)


def field(
    flux: xr.DataArray,
    meteorology: Fields,
    heights: Floats,
    *,
    start: np.datetime64,
    hours: int,
    particles: int = 60,
    seed: int = 0,
) -> xr.DataArray:
    """Return the mole fraction that a flux adds, hour by hour, beginning with none.

    Parameters
    ----------
    flux : xr.DataArray (latitude, longitude) or (time, latitude, longitude) [mol m-2 s-1]
        From the ground, on evenly spaced centres; with ``time`` the begin of the intervals it holds for.
    meteorology : Fields
        Geographic; it must reach from `start` over all hours.
    heights : float64 (H + 1,)
        Edges of the boxes above ground [m], increasing.
    start : datetime64
        When it begins (UTC).
    hours : int
        How long.
    particles : int
        For each cell and hour.
    seed : int
        Of the random numbers.

    Returns
    -------
    xr.DataArray (time, height, latitude, longitude) [mol mol-1]
        At the end of each hour; what left the domain of the flux is outside of the boxes and may come back, what left
        that of the meteorology does not.

    Raises
    ------
    FootprintError
        Where units, dimensions or times do not fit.
    """
    edges = np.asarray(heights, dtype=np.float64)
    _require(flux, meteorology, edges, hours=hours, particles=particles)
    first = float(start.astype("datetime64[ns]").astype(np.int64)) / 1e9
    meteorology.require_covers(first, first + 3600.0 * hours)
    lat, lon = (flux[name].values.astype(np.float64) for name in ("latitude", "longitude"))
    area = _areas(lat, lon)
    volume = area[None] * np.diff(edges)[:, None, None]
    cloud = _Cloud(meteorology, seed)
    found = np.zeros((hours, edges.size - 1, lat.size, lon.size), dtype=np.float32)
    for hour in range(hours):
        now = first + 3600.0 * hour
        cloud.advance(now, 3600.0)
        cloud.release(_at(flux, start + np.timedelta64(hour, "h")) * area * 3600.0, lat, lon, now, particles)
        moles = cloud.counted(lat, lon, edges)
        found[hour] = moles / (_air(meteorology, now + 3600.0, lat, lon, edges) * volume / kernel.M_AIR)
    time = start.astype("datetime64[ns]") + (np.arange(hours) + 1) * np.timedelta64(3600 * 10**9, "ns")
    coords = {"time": time, "height": 0.5 * (edges[1:] + edges[:-1]), "latitude": lat, "longitude": lon}
    about = {"units": "mol mol-1", "long_name": "mole fraction that the flux adds"}
    result = xr.DataArray(found, coords, ("time", "height", "latitude", "longitude"), "mole_fraction", about)
    result["height"].attrs["units"] = "m"
    return result


class _Cloud:
    """Particles under way: where each is, what it bears [mol], and the number its random numbers are told by."""

    def __init__(self, meteorology: Fields, seed: int) -> None:
        self._met, self._seed = meteorology, seed
        self._x, self._y, self._z, self._moles = (np.empty(0) for _ in range(4))
        self._chance, self._calls = np.random.default_rng(seed), 0

    def _follow(self, x: Floats, y: Floats, z: Floats, start: float, seconds: float) -> tuple[Floats, Any]:
        met, ends, left = self._met, np.empty((x.size, 4)), np.zeros(x.size, np.int8)
        self._calls += 1
        kernel.follow(
            met.time, met.y, met.x, met.u, met.v, met.w, met.rho,
            met.layer, met.ustar, met.wstar, met.stability, met.geographic,
            start, x, y, z, x.size, 1.0, seconds, np.uint64(self._seed), np.uint64(self._calls), True, 0.0, False,
            1e9, 1e9, 1, 1e9, 1e9, 1, _ONE_BIN, met.bounds, _NOWHERE.copy(), ends, left, _NO_MOMENTS,
            _NO_PATH,
        )  # fmt: skip
        return ends, left == 0

    def advance(self, start: float, seconds: float) -> None:
        """Follow all that is under way; what leaves the meteorology is gone."""
        if self._x.size:
            ends, inside = self._follow(self._x, self._y, self._z, start, seconds)
            self._keep(ends[inside], self._moles[inside])

    def _keep(self, ends: Floats, moles: Floats) -> None:
        self._x, self._y, self._z = (np.ascontiguousarray(ends[:, k]) for k in (1, 2, 3))
        self._moles = moles

    def release(self, moles: Floats, lat: Floats, lon: Floats, start: float, particles: int) -> None:
        """Release what cells give off within an hour, and follow it to the hour's end."""
        row, column = np.nonzero(moles)
        per = max(particles // RELEASES, 1)
        row, column = np.repeat(row, per), np.repeat(column, per)
        parts = [(np.c_[self._x, self._x, self._y, self._z], self._moles)]
        for k in range(RELEASES):
            x = lon[column] + (self._chance.random(row.size) - 0.5) * (lon[1] - lon[0])
            y = lat[row] + (self._chance.random(row.size) - 0.5) * (lat[1] - lat[0])
            z = self._chance.uniform(0.0, 2.0, row.size)
            share = 3600.0 * (k + 0.5) / RELEASES
            ends, inside = self._follow(x, y, z, start + share, 3600.0 - share)
            parts.append((ends[inside], (moles[row, column] / (per * RELEASES))[inside]))
        self._keep(np.concatenate([ends for ends, _ in parts]), np.concatenate([borne for _, borne in parts]))

    def counted(self, lat: Floats, lon: Floats, edges: Floats) -> Floats:
        """Return the moles in each box (height, latitude, longitude)."""
        borders = (edges, _borders(lat), _borders(lon))
        place = np.c_[self._z, self._y, self._x]
        moles: Floats = np.histogramdd(place, borders, weights=self._moles)[0]
        return moles


def _borders(centres: Floats) -> Floats:
    step = centres[1] - centres[0]
    return np.r_[centres - step / 2, centres[-1] + step / 2]


def _areas(lat: Floats, lon: Floats) -> Floats:
    """Return areas of cells (latitude, longitude) [m2] on the sphere."""
    bands = EARTH_RADIUS**2 * np.abs(np.diff(np.sin(np.radians(_borders(lat))))) * np.radians(lon[1] - lon[0])
    return np.repeat(bands[:, None], lon.size, axis=1)


def _at(flux: xr.DataArray, time: np.datetime64) -> Floats:
    """Return the flux that holds at a time."""
    if "time" not in flux.dims:
        return flux.transpose("latitude", "longitude").values.astype(np.float64)
    begins = flux["time"].values.astype("datetime64[ns]")
    place = int(np.searchsorted(begins, time.astype("datetime64[ns]"), side="right")) - 1
    if place < 0:
        raise FootprintError("The fluxes", [f"They begin at {begins[0]}, the field at {time}."])
    return flux.isel(time=place).transpose("latitude", "longitude").values.astype(np.float64)


def _air(met: Fields, time: float, lat: Floats, lon: Floats, edges: Floats) -> Floats:
    """Return the density of dry air in the middle of each box (height, latitude, longitude) [kg m-3]."""
    rho = xr.DataArray(met.rho, {"t": met.time, "z": np.log(met.level), "y": met.y, "x": met.x}, ("t", "z", "y", "x"))
    middle = np.log(np.clip(0.5 * (edges[1:] + edges[:-1]), met.level[0], met.level[-1]))
    places = {"y": np.clip(lat, met.y[0], met.y[-1]), "x": np.clip(lon, met.x[0], met.x[-1]), "z": middle}
    now = rho.interp({"t": np.clip(time, met.time[0], met.time[-1])}).interp(places)
    return np.asarray(now.transpose("z", "y", "x").values, dtype=np.float64)


def _require(flux: xr.DataArray, met: Fields, edges: Floats, *, hours: int, particles: int) -> None:
    faults = []
    if set(flux.dims) not in ({"latitude", "longitude"}, {"time", "latitude", "longitude"}):
        faults.append(f"The flux lies on {flux.dims}, expected (latitude, longitude), with or without time.")
    if flux.attrs.get("units") != FLUX_UNITS:
        faults.append(f"The flux has the units {flux.attrs.get('units')!r}, expected {FLUX_UNITS!r}.")
    if not np.isfinite(flux.values).all():
        faults.append(f"The flux has {int((~np.isfinite(flux.values)).sum())} values that are not finite.")
    if edges.size < 2 or not (np.diff(edges) > 0).all() or edges[0] < 0:
        faults.append("The heights are not edges of boxes that increase from the ground.")
    faults += [
        f"{name} is {n}, expected 1 or more." for name, n in (("hours", hours), ("particles", particles)) if n < 1
    ]
    if not met.geographic:
        faults.append("The meteorology is on a projection, expected longitude and latitude.")
    if faults:
        raise FootprintError("The field", faults)
