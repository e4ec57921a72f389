"""Fluxes by others, from netCDF: CarbonTracker, CAMS inversions, EDGAR, OpenGHG, PARIS, or any field with units.

============== ======================================================================= ====================
form           variables                                                               units
============== ======================================================================= ====================
carbontracker  ``bio_flux_opt``, ``ocn_flux_opt``, ``fossil_flux_imp``,                mol m-2 s-1
               ``fire_flux_imp`` (3-hourly files ``CT….flux1x1.YYYYMMDD.nc``)
cams           ``flux_apos_bio``, ``flux_apos_ocean``, ``flux_foss`` and the prior     kgC m-2 month-1
               ``flux_apri_bio``, ``flux_apri_ocean`` (monthly files)
openghg        ``flux`` (lat, lon, time)                                               mol/m2/s
paris          ``flux_total_prior``                                                    mol m-2 s-1
============== ======================================================================= ====================

A flux into the air is positive; a variable whose CF standard name says ``downward`` is turned round.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr

from inversion.datasets import FLUX_UNITS
from inversion.errors import PriorError
from inversion.priors.regrid import conservative
from inversion.priors.units import FluxUnit, flux_unit

COMPONENTS: Final[dict[str, tuple[str, ...]]] = {
    "biosphere": ("bio_flux_opt", "flux_apos_bio"),
    "ocean": ("ocn_flux_opt", "flux_apos_ocean"),
    "fossil": ("fossil_flux_imp", "fossil_imp", "flux_foss"),
    "fire": ("fire_flux_imp",),
    "total": ("flux_total_prior", "flux"),
}
"""Part of the carbon cycle -> names of its variable, the first that is there."""
_AXES: Final = {"lat": "latitude", "lon": "longitude", "date": "time"}


def read_flux(
    path: str | Path | Iterable[str | Path],
    gas: str,
    grid: xr.Dataset,
    *,
    variable: str = "total",
    units: str | None = None,
    start: Any = None,
    end: Any = None,
) -> xr.DataArray:
    """Return a flux on the grid of the footprints.

    Parameters
    ----------
    path : path, pattern, or several
        netCDF files, put together along time.
    gas : str
        "co2", "ch4", ...: its molar mass, where the file is in masses.
    grid : xr.Dataset
        ``latitude``, ``longitude``: ascending centres [degree].
    variable : str
        A name in the file, or one of `COMPONENTS`.
    units : str, optional
        Where the file does not say them, or says them wrong.
    start, end : datetime64, optional
        Only intervals that touch this window are read.

    Returns
    -------
    xr.DataArray (time, latitude, longitude) [mol m-2 s-1]
        Mass conserved; ``time`` is the start of each interval, ``time_end`` its end. A file without time gives one
        interval without bounds (NaT).

    Raises
    ------
    PriorError
        Where there is no file, no such variable, units that are no flux, missing values, or a grid that is not covered.
    """
    files = _files(path)
    parts = [part for file in files if (part := _read(file, gas, grid, variable, units, (start, end))) is not None]
    label = files[0].name if len(files) == 1 else f"{files[0].name} and {len(files) - 1} others"
    if not parts:
        raise PriorError(label, [f"It holds nothing between {start} and {end}."])
    if len(parts) > 1 and any(np.isnat(part["time"].values).any() for part in parts):
        raise PriorError(label, ["The files have no time, so that there may be one only."])
    whole = xr.concat(parts, "time", coords="minimal", compat="override", join="exact") if len(parts) > 1 else parts[0]
    whole = whole.sortby("time")
    twice = np.flatnonzero(np.diff(whole["time"].values) <= np.timedelta64(0))
    if twice.size:
        raise PriorError(label, [f"The interval from {whole['time'].values[twice[0]]} is there twice."])
    return whole.assign_attrs(units=FLUX_UNITS, gas=gas, source=label)


def _files(path: Any) -> list[Path]:
    given = [path] if isinstance(path, str | Path) else list(path)
    files = [Path(found) for one in given for found in (sorted(glob.glob(str(one))) or [str(one)])]  # noqa: PTH207
    missing = [str(file) for file in files if not file.exists()]
    if missing or not files:
        raise PriorError("The flux", [f"There is no file {', '.join(missing[:3]) or path}."])
    return files


def _read(
    path: Path, gas: str, grid: xr.Dataset, variable: str, units: str | None, window: tuple[Any, Any]
) -> xr.DataArray | None:
    try:
        with xr.open_dataset(path, drop_variables=("time_components", "calendar_components")) as ds:
            field, meaning, sign = _field(ds, path.name, gas, variable, units)
            start, end = _intervals(ds, field, path.name, needed=meaning.seconds is None)
            chosen = _touching(start, end, window)
            if not chosen.any():
                return None
            field = field.isel(time=chosen).load()
    except (OSError, ValueError) as error:
        raise PriorError(path.name, [f"It is no netCDF file that can be read ({error})."]) from error
    missing = int(field.isnull().sum())
    if missing:
        raise PriorError(
            path.name, [f"{field.name!r} has {missing} missing values; set them to 0 where nothing flows."]
        )
    start, end = start[chosen], end[chosen]
    seconds = meaning.seconds if meaning.seconds is not None else (end - start) / np.timedelta64(1, "s")
    scale = sign * meaning.factor / np.broadcast_to(np.asarray(seconds, np.float64), start.size)
    even = field.astype(np.float64) * xr.DataArray(scale, dims="time")
    result = conservative(even.drop_vars("time", errors="ignore"), grid, name=path.name)
    return result.assign_coords(time=("time", start), time_end=("time", end)).rename("flux")


def _field(
    ds: xr.Dataset, file: str, gas: str, variable: str, units: str | None
) -> tuple[xr.DataArray, FluxUnit, float]:
    names = COMPONENTS.get(variable, (variable,))
    name = next((known for known in names if known in ds.data_vars), None)
    if name is None:
        has = ", ".join(sorted(map(str, ds.data_vars))[:10]) or "none"
        raise PriorError(file, [f"It has no variable {' or '.join(names)}; it has {has}."])
    field = ds[name].rename({k: v for k, v in _AXES.items() if k in ds[name].dims})
    spare = set(field.dims) - {"time", "latitude", "longitude"}
    if spare or not {"latitude", "longitude"} <= set(field.dims):
        raise PriorError(file, [f"{name!r} lies on {field.dims}, expected (time, latitude, longitude)."])
    stated = units if units is not None else field.attrs.get("units")
    standard = str(field.attrs.get("standard_name", ""))
    meaning = None if stated is None else flux_unit(str(stated), gas, as_carbon="expressed_as_carbon" in standard)
    if meaning is None:
        raise PriorError(
            file,
            [f"{name!r} has the units {stated!r}, expected a flux as 'mol m-2 s-1' or 'kg m-2 s-1'; state units=."],
        )
    field = field if "time" in field.dims else field.expand_dims("time")
    return field.transpose("time", "latitude", "longitude"), meaning, -1.0 if "downward" in standard else 1.0


def _intervals(ds: xr.Dataset, field: xr.DataArray, file: str, *, needed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the start and end of every interval; from bounds, or half-way between the times; NaT without time."""
    ds = ds.rename({k: v for k, v in _AXES.items() if k in ds.dims or k in ds.variables})
    if "time" not in ds.variables or ds["time"].dtype.kind != "M":
        if needed:
            raise PriorError(file, ["It is in masses a month but has no time that says how long its months are."])
        nothing = np.full(field.sizes["time"], np.datetime64("NaT", "ns"))
        return nothing, nothing
    time = np.atleast_1d(ds["time"].values).astype("datetime64[ns]")
    bounds = str(ds["time"].attrs.get("bounds", "time_bnds"))
    if bounds in ds.variables and ds[bounds].dtype.kind == "M":
        both = ds[bounds].values.reshape(-1, 2).astype("datetime64[ns]")
        return both[:, 0], both[:, 1]
    if needed or (time.size == 1 and time[0].astype("datetime64[M]") == time[0]):
        month = time.astype("datetime64[M]")
        return month.astype("datetime64[ns]"), (month + 1).astype("datetime64[ns]")
    if time.size == 1:
        nothing = np.full(1, np.datetime64("NaT", "ns"))
        return nothing, nothing
    half = np.diff(time) // 2
    # Stamps on the first of months or days are starts of intervals; others are their middles.
    if (time == time.astype("datetime64[D]")).all():
        return time, np.append(time[1:], _next(time))
    return time - np.append(half, half[-1]), time + np.append(half, half[-1])


def _next(time: np.ndarray) -> np.datetime64:
    """Return where the last interval ends: the month's end for months, else one step on."""
    if (time == time.astype("datetime64[M]")).all():
        return (time[-1].astype("datetime64[M]") + 1).astype("datetime64[ns]")
    return time[-1] + (time[-1] - time[-2])


def _touching(start: np.ndarray, end: np.ndarray, window: tuple[Any, Any]) -> np.ndarray:
    low, high = window
    chosen = np.ones(start.size, dtype=bool)
    if low is not None:
        chosen &= np.isnat(end) | (end > np.datetime64(low, "ns"))
    if high is not None:
        chosen &= np.isnat(start) | (start < np.datetime64(high, "ns"))
    return chosen
