"""Tracks of air without turbulence on pressure levels, by the grid's own axes: midpoints, linear in all directions.

The convention is that of trajectory models that take winds as they stand along the axes of the grid; where the axes do
not point east and north, rotate the winds first (`inversion.transport.era5.rotated`).
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from inversion.errors import FootprintError

Floats = NDArray[np.float64]
_WINDS: Final = ("u", "v", "w")


class Points(NamedTuple):
    """Where parcels are, each float64 (n,): metres along the axes, pressure [Pa]."""

    x: Floats
    y: Floats
    pressure: Floats


class _Field(NamedTuple):
    """A field (time, level, y, x) with its axes; pressure decreasing."""

    values: Floats
    time: Floats
    pressure: Floats
    y: Floats
    x: Floats

    def at(self, t: float, points: Points) -> Floats:
        """Return it at a time and points."""
        it = min(max(int(np.searchsorted(self.time, t, side="right")) - 1, 0), self.time.size - 2)
        ft = (t - self.time[it]) / (self.time[it + 1] - self.time[it])
        ip = np.clip(np.searchsorted(-self.pressure, -points.pressure, side="right") - 1, 0, self.pressure.size - 2)
        fp = (points.pressure - self.pressure[ip]) / (self.pressure[ip + 1] - self.pressure[ip])
        (iy, fy), (ix, fx) = _share(self.y, points.y), _share(self.x, points.x)
        total = np.zeros(points.x.size)
        for dt, dp, dy, dx in np.ndindex(2, 2, 2, 2):
            weight = (ft if dt else 1 - ft) * (fp if dp else 1 - fp) * (fy if dy else 1 - fy) * (fx if dx else 1 - fx)
            total += weight * self.values[it + dt, ip + dp, iy + dy, ix + dx]
        return total


def _share(axis: Floats, at: Floats) -> tuple[NDArray[np.intp], Floats]:
    place = (at - axis[0]) / (axis[1] - axis[0])
    below = np.clip(np.floor(place).astype(np.intp), 0, axis.size - 2)
    return below, place - below


def tracks(meteorology: xr.Dataset, start: Points, *, seconds: float, step: float = 60.0) -> Points:
    """Return where parcels are after some time, from the first time of the meteorology on.

    Parameters
    ----------
    meteorology : xr.Dataset
        ``u``, ``v`` [m s-1] along ``x`` and ``y`` [m], ``w`` [Pa s-1] on (time, plev, y, x), plev decreasing [Pa].
    start : Points
        Where they begin.
    seconds : float
        How long they are followed [s].
    step : float
        Of the midpoint rule [s].

    Returns
    -------
    Points

    Raises
    ------
    FootprintError
        Where variables or times are missing, or a parcel begins outside.
    """
    missing = [name for name in (*_WINDS, "time", "plev", "y", "x") if name not in meteorology.variables]
    if missing:
        raise FootprintError("The meteorology", [f"Variables are missing: {', '.join(missing)}."])
    fields = _fields(meteorology)
    if fields[0].time[-1] < seconds:
        raise FootprintError("The meteorology", [f"It lasts {fields[0].time[-1]:g} s, the tracks need {seconds:g} s."])
    for name, values, axis in (("x", start.x, fields[0].x), ("y", start.y, fields[0].y)):
        outside = int(((values < axis[0]) | (values > axis[-1])).sum())
        if outside:
            raise FootprintError("The tracks", [f"{outside} parcels begin outside of the meteorology's {name}."])
    points, elapsed = start, 0.0
    while elapsed < seconds:
        dt = min(step, seconds - elapsed)
        middle = _moved(points, fields, elapsed, 0.5 * dt, points)
        points = _moved(points, fields, elapsed + 0.5 * dt, dt, middle)
        elapsed += dt
    return points


def _fields(meteorology: xr.Dataset) -> list[_Field]:
    time = meteorology["time"].values.astype("datetime64[ns]").astype(np.int64) / 1e9
    axes: list[Any] = [meteorology[name].values.astype(np.float64) for name in ("plev", "y", "x")]
    order = ("time", "plev", "y", "x")
    values = [meteorology[name].transpose(*order).values.astype(np.float64) for name in _WINDS]
    return [_Field(one, time - time[0], *axes) for one in values]


def _moved(points: Points, fields: list[_Field], time: float, dt: float, seen: Points) -> Points:
    """Return points moved for a time by the wind at others."""
    u, v, w = (field.at(time, seen) for field in fields)
    return Points(points.x + dt * u, points.y + dt * v, points.pressure + dt * w)
