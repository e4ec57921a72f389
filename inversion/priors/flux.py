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
from contextlib import ExitStack
from dataclasses import dataclass
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
        Mass conserved; ``time`` is the start of each interval, ``time_end`` its end: by the file's bounds, or by its
        times (on full days: starts; else middles). One time without bounds, or none, stands for always (NaT).

    Raises
    ------
    PriorError
        Where there is no file, no such variable, units that are no flux, missing values, or a grid that is not covered.
    """
    files = _files(path)
    label = files[0].name if len(files) == 1 else f"{files[0].name} and {len(files) - 1} others"
    with ExitStack() as stack:
        opened = [_open(file, stack, gas, variable, units) for file in files]
        bounds = _intervals(opened, label)
        parts = [_load(one, span, grid, (start, end)) for one, span in zip(opened, bounds, strict=True)]
    fields = [part for part in parts if part is not None]
    if not fields:
        raise PriorError(label, [f"It holds nothing between {start} and {end}."])
    whole = fields[0]
    if len(fields) > 1:
        whole = xr.concat(fields, "time", coords="minimal", compat="override", join="exact").sortby("time")
    twice = np.flatnonzero(np.diff(whole["time"].values) <= np.timedelta64(0))
    if twice.size:
        raise PriorError(label, [f"The interval from {whole['time'].values[twice[0]]} is there twice."])
    return whole.assign_attrs(units=FLUX_UNITS, gas=gas, source=label)


@dataclass(frozen=True, slots=True)
class _Opened:
    """A file that is open: its field, what its units mean, and its times or intervals where it has them."""

    file: str
    field: xr.DataArray
    unit: FluxUnit
    sign: float
    time: np.ndarray | None
    bounds: np.ndarray | None


def _files(path: Any) -> list[Path]:
    given = [path] if isinstance(path, str | Path) else list(path)
    files = [Path(found) for one in given for found in (sorted(glob.glob(str(one))) or [str(one)])]  # noqa: PTH207
    missing = [str(file) for file in files if not file.exists()]
    if missing or not files:
        raise PriorError("The flux", [f"There is no file {', '.join(missing[:3]) or path}."])
    return files


def _open(path: Path, stack: ExitStack, gas: str, variable: str, units: str | None) -> _Opened:
    try:
        ds = stack.enter_context(xr.open_dataset(path, drop_variables=("time_components", "calendar_components")))
    except (OSError, ValueError) as error:
        raise PriorError(path.name, [f"It is no netCDF file that can be read ({error})."]) from error
    field, unit, sign = _field(ds, path.name, gas, variable, units)
    ds = ds.rename({k: v for k, v in _AXES.items() if k in ds.dims or k in ds.variables})
    if "time" not in ds.variables or ds["time"].dtype.kind != "M":
        return _Opened(path.name, field, unit, sign, None, None)
    time = np.atleast_1d(ds["time"].values).astype("datetime64[ns]")
    name = str(ds["time"].attrs.get("bounds") or ds["time"].encoding.get("bounds") or "time_bnds")
    known = name in ds.variables and ds[name].dtype.kind == "M"
    bounds = ds[name].values.reshape(-1, 2).astype("datetime64[ns]") if known else None
    return _Opened(path.name, field, unit, sign, time, bounds)


def _load(opened: _Opened, bounds: np.ndarray, grid: xr.Dataset, window: tuple[Any, Any]) -> xr.DataArray | None:
    """Return what of a file touches the window, on the grid; nothing where nothing does."""
    chosen = _touching(bounds[:, 0], bounds[:, 1], window)
    if not chosen.any():
        return None
    field = opened.field.isel(time=chosen).load()
    missing = int(field.isnull().sum())
    if missing:
        sentence = f"{field.name!r} has {missing} missing values; set them to 0 where nothing flows."
        raise PriorError(opened.file, [sentence])
    start, end = bounds[chosen].T
    length = (end - start) / np.timedelta64(1, "s")
    seconds = length if opened.unit.seconds is None else np.full(start.size, opened.unit.seconds)
    even = field.astype(np.float64) * xr.DataArray(opened.sign * opened.unit.factor / seconds, dims="time")
    result = conservative(even.drop_vars("time", errors="ignore"), grid, name=opened.file)
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


def _intervals(opened: list[_Opened], label: str) -> list[np.ndarray]:
    """Return start and end (T, 2) of each file's intervals: as stated, or by the times of all files together.

    One time without bounds stands for always, and so does a file without time, of which there may be one only.
    """
    if all(one.bounds is not None for one in opened):
        return [one.bounds for one in opened if one.bounds is not None]
    monthly = any(one.unit.seconds is None for one in opened)
    if any(one.time is None for one in opened):
        if monthly:
            raise PriorError(label, ["It is in masses a month but has no time that says how long its months are."])
        if len(opened) > 1:
            raise PriorError(label, ["Some of the files have no time, so that there may be one only."])
        return [np.full((opened[0].field.sizes["time"], 2), np.datetime64("NaT", "ns"))]
    times = [one.time for one in opened if one.time is not None]
    if monthly:
        months = [time.astype("datetime64[M]") for time in times]
        return [np.stack([month, month + 1], axis=1).astype("datetime64[ns]") for month in months]
    every = np.unique(np.concatenate(times))
    if every.size == 1:
        return [np.full((time.size, 2), np.datetime64("NaT", "ns")) for time in times]
    edges = _edges(every)
    return [edges[np.searchsorted(every, time)] for time in times]


def _edges(time: np.ndarray) -> np.ndarray:
    """Return start and end of intervals from times: stamps on days are starts, others are middles."""
    if (time == time.astype("datetime64[D]")).all():
        return np.stack([time, np.append(time[1:], _next(time))], axis=1)
    step = np.diff(time)
    before, after = np.append(step[:1], step), np.append(step, step[-1:])
    # A gap between files is no interval: the shorter neighbour counts.
    half = np.minimum(before, after) // 2
    return np.stack([time - half, time + half], axis=1)


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
