"""Mole fractions in three dimensions by others, from netCDF: CarbonTracker, CAMS inversions, CAMS reanalyses.

============== ================================================================ ==================================
form           told by                                                          height above ground
============== ================================================================ ==================================
carbontracker  ``gph`` at the ``boundary`` of layers beside ``co2``             geopotential height less the lowest
cams_altitude  ``altitude`` at ``hlevel`` beside ``CH4`` (TM5)                  altitude less the lowest
cams_hybrid    ``ap``, ``bp`` at ``hlevel``, ``Psurf`` beside ``CO2`` (LMDZ)    pressure, standard atmosphere
reanalysis     pressure levels, ``sp``, ``q`` beside ``co2`` (EGG4, kg kg-1)    pressure, standard atmosphere
============== ================================================================ ==================================

A reanalysis holds masses of the gas over masses of moist air, w. The dry mole fraction is

    x = w / (1 − q) x M_air / M_gas

so that it needs the humidity q: without it, the tropics would be 2 % too low.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from inversion.errors import PriorError
from inversion.priors.units import MASS_RATIOS, MOLE_FRACTIONS
from qc.units import MOLAR_MASS, MOLAR_MASS_DRY_AIR

Floats = NDArray[np.float64]
_DIMS: Final = ("time", "level", "latitude", "longitude")
_RENAME: Final = {
    "lat": "latitude", "lon": "longitude", "valid_time": "time", "pressure_level": "level", "isobaricInhPa": "level",
    "boundary": "edge", "hlevel": "edge", "times": "time", "levels": "level",
}  # fmt: skip
_PASCALS: Final = {"Pa": 1.0, "hPa": 100.0, "millibars": 100.0, "mbar": 100.0}
_SEA_LEVEL: Final = 101325.0  # Pa, ICAO standard atmosphere
_TEMPERATURE: Final = 288.15  # K
_LAPSE: Final = 0.0065  # K m-1
_EXPONENT: Final = 287.05287 * _LAPSE / 9.80665
_TROPOPAUSE: Final = 11_000.0  # m
_ABOVE: Final = 287.05287 * 216.65 / 9.80665  # m, scale height of the isothermal layer


@dataclass(frozen=True, slots=True)
class Form:
    """A form of file: the variables that tell it, beside the gas, and what makes heights of them."""

    needed: tuple[str, ...]
    heights: Callable[[xr.Dataset], xr.DataArray]


def _between(edges: xr.DataArray) -> xr.DataArray:
    """Return the middles of layers above the lowest edge, by ``level``."""
    order = edges.transpose("edge", ...)
    values = (
        order.values if float(order.isel(edge=0).mean()) <= float(order.isel(edge=-1).mean()) else order.values[::-1]
    )
    middle = 0.5 * (values[1:] + values[:-1]) - values[0]
    return xr.DataArray(middle, dims=("level", *order.dims[1:]))


def _hybrid(ds: xr.Dataset) -> xr.DataArray:
    half = ds["ap"] + ds["bp"] * ds["Psurf"]
    middle = 0.5 * (half.isel(edge=slice(1, None)).values + half.isel(edge=slice(None, -1)).values)
    pressure = xr.DataArray(middle, dims=tuple("level" if d == "edge" else d for d in half.dims))
    return standard_altitude(pressure) - standard_altitude(ds["Psurf"])


def _pressure_levels(ds: xr.Dataset) -> xr.DataArray:
    units = str(ds["level"].attrs.get("units"))
    if units not in _PASCALS:
        raise PriorError("The field", [f"Its levels are in {units!r}, expected pressures in {', '.join(_PASCALS)}."])
    pascal = ds["level"].drop_vars("level").astype(np.float64) * _PASCALS[units]
    return standard_altitude(pascal) - standard_altitude(ds["sp"])


FORMS: Final = {
    "carbontracker": Form(("gph",), lambda ds: _between(ds["gph"])),
    "cams_altitude": Form(("altitude",), lambda ds: _between(ds["altitude"])),
    "cams_hybrid": Form(("ap", "bp", "Psurf"), _hybrid),
    "reanalysis": Form(("sp", "level"), _pressure_levels),
}
"""Name of a form -> how it is told and where its levels are."""


def standard_altitude(pressure: Any) -> Any:
    """Return the altitude of a pressure in the ICAO standard atmosphere.

    Parameters
    ----------
    pressure : array [Pa]

    Returns
    -------
    array [m]

    Examples
    --------
    >>> round(float(standard_altitude(50_000.0)))
    5574
    """
    border = _SEA_LEVEL * (1.0 - _LAPSE * _TROPOPAUSE / _TEMPERATURE) ** (1.0 / _EXPONENT)
    low = _TEMPERATURE / _LAPSE * (1.0 - (pressure / _SEA_LEVEL) ** _EXPONENT)
    high = _TROPOPAUSE + _ABOVE * np.log(border / np.minimum(pressure, border))
    return xr.where(pressure >= border, low, high)


def read_field(
    path: str | Path | Iterable[str | Path],
    gas: str,
    *,
    units: str | None = None,
    box: tuple[float, float, float, float] | None = None,
) -> xr.Dataset:
    """Return mole fractions in three dimensions.

    Parameters
    ----------
    path : path, pattern, or several
        netCDF files, put together along time.
    gas : str
    units : str, optional
        Where the file does not say them, or says them wrong.
    box : (west, south, east, north), optional
        Only this part is read, and one cell around it [degree].

    Returns
    -------
    xr.Dataset
        ``mole_fraction`` (time, level, latitude, longitude) [mol mol-1], dry; ``height`` likewise [m above ground],
        the lowest level first; axes ascending. Attributes ``form`` and ``source``.

    Raises
    ------
    PriorError
        Where there is no file, the form or the units are not known, or a mass mixing ratio has no humidity.
    """
    given = [path] if isinstance(path, str | Path) else list(path)
    files = [Path(found) for one in given for found in sorted(glob.glob(str(one)))]  # noqa: PTH207
    if not files:
        raise PriorError("The background", [f"There is no file {given[0] if given else path}."])
    parts = [_read(file, gas, units, box) for file in files]
    how: dict[str, Any] = {"data_vars": "all", "coords": "minimal", "compat": "override", "join": "exact"}
    whole = parts[0] if len(parts) == 1 else xr.concat(parts, "time", combine_attrs="override", **how)
    return whole.sortby("time").assign_attrs(source=", ".join(file.name for file in files))


def _read(path: Path, gas: str, units: str | None, box: tuple[float, float, float, float] | None) -> xr.Dataset:
    skipped = ("time_components", "calendar_components")
    try:
        with xr.open_dataset(path, drop_variables=skipped) as opened:
            ds = opened.rename({k: v for k, v in _RENAME.items() if k in opened.dims or k in opened.variables})
            ds = ds.sortby(["latitude", "longitude"])
            ds = (ds if box is None else _within(ds, box)).load()
    except (OSError, ValueError, KeyError) as error:
        raise PriorError(path.name, [f"It is no netCDF file that can be read ({error})."]) from error
    name = next((known for known in (gas, gas.upper()) if known in ds.data_vars), None)
    form = next((k for k, f in FORMS.items() if all(v in ds.variables for v in f.needed)), None)
    if name is None or form is None or not set(_DIMS) <= set(ds[name].dims):
        has = ", ".join(sorted(map(str, ds.variables))[:12])
        told = "; ".join(f"{k}: {', '.join(f.needed)}" for k, f in FORMS.items())
        raise PriorError(
            path.name, [f"It is no field of {gas} on levels: expected {gas} beside one of ({told}); it has {has}."]
        )
    x = dry_mole_fraction(ds[name], gas, ds.get("q"), units=units, file=path.name)
    height = FORMS[form].heights(ds)
    height = height.broadcast_like(x.drop_vars(list(x.coords))).transpose(*_DIMS)
    upward = bool(height.isel(level=-1).mean() > height.isel(level=0).mean())
    x, height = (a if upward else a.isel(level=slice(None, None, -1)) for a in (x, height))
    return xr.Dataset(
        {
            "mole_fraction": (_DIMS, x.values, {"units": "mol mol-1"}),
            "height": (_DIMS, height.values.astype(np.float64), {"units": "m"}),
        },
        coords={n: ds[n].values for n in ("time", "latitude", "longitude")},
        attrs={"form": form, "gas": gas},
    )


def dry_mole_fraction(
    values: xr.DataArray, gas: str, humidity: xr.DataArray | None, *, units: str | None = None, file: str = "The field"
) -> xr.DataArray:
    """Return the dry mole fraction of a field in the units it states.

    x = w / (1 − q) M_air / M_gas for a mass mixing ratio w in moist air

    Parameters
    ----------
    values : xr.DataArray (time, level, latitude, longitude)
        Attribute ``units``: a spelling of `priors.units`.
    gas : str
    humidity : xr.DataArray, optional
        Specific humidity q [kg kg-1], needed for a mass mixing ratio.
    units : str, optional
        Overrides the attribute.
    file : str
        For errors.

    Returns
    -------
    xr.DataArray (time, level, latitude, longitude) [mol mol-1]

    Raises
    ------
    PriorError
        For other units, or a mass mixing ratio without humidity or molar mass.
    """
    stated = str(units if units is not None else values.attrs.get("units"))
    order = values.transpose(*_DIMS).astype(np.float64)
    if stated in MOLE_FRACTIONS:
        return order * MOLE_FRACTIONS[stated]
    if stated not in MASS_RATIOS:
        raise PriorError(
            file, [f"{values.name!r} has the units {stated!r}, expected a mole fraction as 'umol mol-1' or 'kg kg-1'."]
        )
    if humidity is None:
        raise PriorError(
            file, [f"{values.name!r} is a mass over the mass of moist air; add the specific humidity 'q' to the file."]
        )
    if gas not in MOLAR_MASS:
        raise PriorError(file, [f"The molar mass of {gas!r} is not known, so that a mass ratio cannot be converted."])
    return order / (1.0 - humidity.transpose(*_DIMS)) * (MOLAR_MASS_DRY_AIR / MOLAR_MASS[gas])


def _within(ds: xr.Dataset, box: tuple[float, float, float, float]) -> xr.Dataset:
    """Return the part inside a box and one cell around it; the whole circle where the box crosses the file's seam."""
    west, south, east, north = box
    lat, lon = ds["latitude"].values, ds["longitude"].values
    rows = slice(max(0, int(np.searchsorted(lat, south)) - 1), int(np.searchsorted(lat, north, "right")) + 1)
    turn = np.floor((west - lon[0]) / 360.0) * 360.0
    low, high = west - turn, east - turn
    if high > lon[-1] or low < lon[0]:
        return ds.isel(latitude=rows)
    columns = slice(max(0, int(np.searchsorted(lon, low)) - 1), int(np.searchsorted(lon, high, "right")) + 1)
    return ds.isel(latitude=rows, longitude=columns)


def sample(field: xr.Dataset, longitude: Any, latitude: Any, height: Any, time: Any) -> Floats:
    """Return the mole fraction at points: linear in time, longitude, latitude and height.

    Below the lowest level and above the highest the value of that level is taken; in time, up to one step beyond.

    Parameters
    ----------
    field : xr.Dataset
        From `read_field`.
    longitude, latitude : array (N,) [degree]
    height : array (N,) [m above ground]
    time : array (N,) datetime64

    Returns
    -------
    array (N,) [mol mol-1]

    Raises
    ------
    PriorError
        Where points lie outside of the field in space or time.
    """
    lon, lat, high = (np.asarray(v, np.float64).ravel() for v in (longitude, latitude, height))
    moment = np.asarray(time).ravel().astype("datetime64[ns]")
    axis = field["longitude"].values.astype(np.float64)
    east = (lon - axis[0]) % 360.0 + axis[0]
    stamps = field["time"].values.astype("datetime64[ns]")
    _inside(field, east, lat, moment, stamps)
    hours = (stamps - stamps[0]) / np.timedelta64(1, "h")
    at = np.interp((moment - stamps[0]) / np.timedelta64(1, "h"), hours, np.arange(hours.size))
    earlier = np.minimum(at.astype(int), max(stamps.size - 2, 0))
    result = np.empty(lon.size)
    for k in np.unique(earlier):
        rows = np.flatnonzero(earlier == k)
        weight = at[rows] - k
        first = _at(field, int(k), east[rows], lat[rows], high[rows])
        if stamps.size == 1:
            result[rows] = first
        else:
            result[rows] = (1 - weight) * first + weight * _at(field, int(k) + 1, east[rows], lat[rows], high[rows])
    return result


def _inside(field: xr.Dataset, east: Floats, lat: Floats, time: np.ndarray, stamps: np.ndarray) -> None:
    faults = []
    step = np.diff(stamps).max() if stamps.size > 1 else np.timedelta64(31, "D")
    late = (time < stamps[0] - step) | (time > stamps[-1] + step)
    if late.any():
        faults.append(
            f"{int(late.sum())} of {time.size} points lie outside of its times, {stamps[0]} to {stamps[-1]}: the first "
            f"at {time[late][0]}; read files that reach back as far as the footprints."
        )
    y, x = field["latitude"].values, field["longitude"].values
    margin = float(np.diff(y).max()), float(np.diff(x).max())
    off = (lat < y[0] - margin[0]) | (lat > y[-1] + margin[0])
    off |= (east > x[-1] + margin[1]) & (east < x[0] + 360.0 - margin[1])
    if off.any():
        faults.append(f"{int(off.sum())} of {lat.size} points lie outside of its grid; read a larger part of it.")
    if faults:
        raise PriorError(f"The background ({field.attrs.get('source', field.attrs.get('form', ''))})", faults)


def _at(field: xr.Dataset, k: int, east: Floats, lat: Floats, high: Floats) -> Floats:
    """Bilinear between four columns, each linear in its own heights."""
    x, y = field["longitude"].values.astype(np.float64), field["latitude"].values.astype(np.float64)
    mole = np.asarray(field["mole_fraction"].isel(time=k).values)
    heights = np.asarray(field["height"].isel(time=k).values)
    i = np.clip(np.searchsorted(x, east, "right") - 1, 0, x.size - 1)
    seam = i == x.size - 1
    after = np.where(seam, 0 if x[-1] - x[0] > 180.0 else i, i + 1)
    width = np.where(seam, x[0] + 360.0 - x[-1], x[np.minimum(i + 1, x.size - 1)] - x[i])
    fx = np.clip((east - x[i]) / np.where(width == 0, 1.0, width), 0.0, 1.0)
    j = np.clip(np.searchsorted(y, lat, "right") - 1, 0, max(y.size - 2, 0))
    above = np.minimum(j + 1, y.size - 1)
    fy = np.clip((lat - y[j]) / np.where(above == j, 1.0, y[above] - y[j]), 0.0, 1.0)
    corners = (
        (j, i, (1 - fy) * (1 - fx)),
        (j, after, (1 - fy) * fx),
        (above, i, fy * (1 - fx)),
        (above, after, fy * fx),
    )
    return np.asarray(sum(w * _columns(mole[:, a, b], heights[:, a, b], high) for a, b, w in corners))


def _columns(mole: Floats, heights: Floats, high: Floats) -> Floats:
    """Return each column (level, N) at its own height."""
    below = np.clip((heights <= high).sum(axis=0) - 1, 0, heights.shape[0] - 2) if heights.shape[0] > 1 else None
    if below is None:
        return mole[0]
    n = np.arange(high.size)
    low, up = heights[below, n], heights[below + 1, n]
    share = np.clip((high - low) / (up - low), 0.0, 1.0)
    return (1 - share) * mole[below, n] + share * mole[below + 1, n]
