"""Receptors: where and when air is sampled. Tower inlets hour by hour, tracks of aircraft, lists in files.

Columns have a module of their own, `inversion.transport.columns`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr

from inversion.errors import FootprintError

_NEEDED: Final = ("time", "longitude", "latitude", "height")


def stations(inlets: Iterable[Mapping[str, Any]], times: np.ndarray) -> xr.Dataset:
    """Return every inlet at every time, inlet by inlet.

    Parameters
    ----------
    inlets : iterable of mappings
        ``site``, ``longitude``, ``latitude`` [degree], ``height`` [m above ground].
    times : np.ndarray (T,) datetime64
        UTC.

    Returns
    -------
    xr.Dataset
        Dimension ``receptor``: ``time``, ``longitude``, ``latitude``, ``height``, ``site``.
    """
    rows = [dict(inlet) for inlet in inlets]
    place = {
        name: ("receptor", np.repeat(np.array([row[name] for row in rows]), times.size))
        for name in ("longitude", "latitude", "height", "site")
    }
    return xr.Dataset({"time": ("receptor", np.tile(times.astype("datetime64[ns]"), len(rows))), **place})


def track(
    time: np.ndarray, longitude: np.ndarray, latitude: np.ndarray, altitude: np.ndarray, *, ground: Any, every: float
) -> xr.Dataset:
    """Return receptors along the track of an aircraft.

    Parameters
    ----------
    time, longitude, latitude, altitude : np.ndarray (T,)
        UTC, increasing; degree; m above sea level.
    ground : float or np.ndarray (T,) [m]
        Height of the model's ground above sea level below the aircraft.
    every : float [s]
        One receptor for each stretch of this length: the mean of its positions.

    Returns
    -------
    xr.Dataset
        Dimension ``receptor``: ``time``, ``longitude``, ``latitude``, ``height`` [m above ground].

    Raises
    ------
    FootprintError
        Where the times do not increase, or the aircraft is below the ground.
    """
    time = time.astype("datetime64[ns]")
    if time.size == 0 or (np.diff(time) <= np.timedelta64(0)).any():
        raise FootprintError("The track", ["Its times must increase, and there must be one."])
    seconds = (time - time[0]) / np.timedelta64(1, "s")
    _, group = np.unique(seconds // every, return_inverse=True)
    # The mean of angles across the date line is taken on the unwrapped track.
    east = np.unwrap(np.asarray(longitude, np.float64), period=360.0)
    columns = {"longitude": east, "latitude": latitude, "height": np.asarray(altitude, np.float64) - ground}
    mean = {name: np.bincount(group, values) / np.bincount(group) for name, values in columns.items()}
    if not (mean["height"] > 0).all():
        raise FootprintError("The track", [f"It goes down to {mean['height'].min():g} m below the model's ground."])
    mean["longitude"] = (mean["longitude"] + 180.0) % 360.0 - 180.0
    middle = np.bincount(group, seconds) / np.bincount(group)
    moment = time[0] + (middle * 1e9).round().astype("timedelta64[ns]")
    return xr.Dataset({"time": ("receptor", moment), **{name: ("receptor", v) for name, v in mean.items()}})


def read_receptors(path: str | Path) -> xr.Dataset:
    """Return the receptors of a CSV file (a column for each variable) or a netCDF file.

    Raises
    ------
    FootprintError
        Where variables are missing or a value is none.
    """
    path = Path(path)
    if path.suffix != ".csv":
        with xr.open_dataset(path) as ds:
            ds = ds.load()  # noqa: PLW2901  the file is closed behind it
        missing = [name for name in _NEEDED if name not in ds.variables]
        if missing:
            raise FootprintError(path.name, [f"Variables are missing: {', '.join(missing)}."])
        return ds.rename({str(ds["time"].dims[0]): "receptor"}) if "receptor" not in ds.dims else ds
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in _NEEDED if name not in (reader.fieldnames or ())]
        if missing:
            raise FootprintError(path.name, [f"Columns are missing: {', '.join(missing)}."])
        rows = list(reader)
    try:
        time = np.array([row["time"].removesuffix("Z") for row in rows], "datetime64[ns]")
        place = {name: ("receptor", np.array([float(row[name]) for row in rows])) for name in _NEEDED[1:]}
    except ValueError as error:
        raise FootprintError(path.name, [f"A value is none: {error}."]) from error
    named = {"site": ("receptor", np.array([row["site"] for row in rows]))} if rows and "site" in rows[0] else {}
    return xr.Dataset({"time": ("receptor", time), **place, **named})
