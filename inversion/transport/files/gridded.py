"""NAME as OpenGHG keeps it (ACRG names, PARIS names; in time, columns, short-lived), and whoever writes PARIS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr

from inversion.datasets import SRR_UNITS
from inversion.transport.files.form import Form, cells, receptors, srr, time_resolved

UNITS: Final = (SRR_UNITS, "(mol/mol)/(mol m-2 s-1)", "(mol mol-1)/(mol m-2 s-1)", "m2 s mol-1")
"""Spellings of mole fraction per flux."""


SIDES: Final = ("west", "east", "south", "north")
_HOURS: Final = ("h", "hrs", "hour", "hours")


@dataclass(frozen=True, slots=True)
class _Names:
    """How a form names things: the footprint, its dimensions beside time, and the footprint resolved in time."""

    footprint: str
    latitude: str
    longitude: str
    resolved: str
    back: str


_PARIS: Final = _Names("srr", "latitude", "longitude", "srr_time_resolved", "hours_back")
_ACRG: Final = _Names("fp", "lat", "lon", "fp_HiTRes", "H_back")


def _form(names: _Names) -> Form:
    needed = (names.latitude, names.longitude, "time", "release_lon", "release_lat")
    return Form(names.footprint, needed, UNITS, _converter(names), _checker(names))


def _checker(names: _Names) -> Callable[[xr.Dataset], list[str]]:
    expected = ("time", names.latitude, names.longitude)

    def faults(ds: xr.Dataset) -> list[str]:
        found = []
        dims = ds[names.footprint].dims
        if set(dims) != set(expected):
            found.append(f"{names.footprint!r} lies on {dims}, expected {expected} in any order.")
        if names.resolved in ds.variables:
            # OpenGHG states no units here: they are those of the footprint it resolves.
            resolved = ds[names.resolved]
            stated = resolved.attrs.get("units", SRR_UNITS)
            if stated not in UNITS:
                found.append(f"{names.resolved!r} has the units {stated!r}, expected {SRR_UNITS!r}.")
            if set(resolved.dims) != {*expected, names.back}:
                found.append(f"{names.resolved!r} lies on {resolved.dims}, expected {(*expected, names.back)}.")
        return found

    return faults


def _converter(names: _Names) -> Callable[[xr.Dataset, str], xr.Dataset]:
    def convert(ds: xr.Dataset, file: str) -> xr.Dataset:
        order = ("time", names.latitude, names.longitude)
        field = ds[names.footprint].transpose(*order)
        start = ds["time"].values.astype("datetime64[ns]")
        bounds = _bounds(ds["time"], start)
        middle = start if bounds is None else bounds[:, 0] + (bounds[:, 1] - bounds[:, 0]) // 2
        height = ds["release_height"].values if "release_height" in ds.variables else None
        place = (ds["release_lon"].values, ds["release_lat"].values)
        coords = receptors(middle, *place, height=height, site=ds.attrs.get("site"), bounds=bounds)
        variables: dict[str, Any] = {"srr": srr(field.data, **field.attrs)}
        if names.resolved in ds.variables:
            resolved = ds[names.resolved].transpose("time", names.back, *order[1:])
            variables |= time_resolved(resolved.data, ds[names.back].values)
        crossings, heights = _crossings(ds)
        variables |= crossings
        model = " ".join(str(ds.attrs[key]) for key in ("model", "met_model", "domain") if key in ds.attrs)
        attrs = {**ds.attrs, "source": f"{model or 'footprints'}, file {file}"}
        return xr.Dataset(variables, {**coords, **heights, **cells(ds[names.latitude], ds[names.longitude])}, attrs)

    return convert


def _crossings(ds: xr.Dataset) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return by which side and at which height air came in, summed along the side, its mean age; and the heights."""
    shares, ages = ([f"{name}_{side[0]}" for side in SIDES] for name in ("particle_locations", "mean_age_particles"))
    if not all(name in ds.variables for name in (*shares, "height")):
        return {}, {}
    along = ("time", "height")
    share = [ds[name].sum([dim for dim in ds[name].dims if dim not in along]).transpose(*along) for name in shares]
    both = xr.concat(share, "side").transpose("time", "side", "height")
    dims = ("receptor", "side", "exit_height")
    found: dict[str, Any] = {
        "exit_share": (dims, both.data, {"units": "1"}),
        "fraction_outside": ("receptor", both.sum(("side", "height")).data, {"units": "1"}),
    }
    if all(name in ds.variables and ds[name].attrs.get("units") in _HOURS for name in ages):
        borne = [
            (ds[age] * ds[name]).sum([dim for dim in ds[name].dims if dim not in along]).transpose(*along)
            for age, name in zip(ages, shares, strict=True)
        ]
        mean = xr.concat(borne, "side").transpose("time", "side", "height") / both.where(both > 0)
        found["exit_age"] = (dims, mean.data, {"units": "h"})
    heights = {
        "side": ("side", np.array(SIDES, dtype=object)),
        "exit_height": ("exit_height", ds["height"].values.astype(np.float64), {"units": "m"}),
    }
    return found, heights


def _bounds(time: xr.DataArray, start: np.ndarray) -> np.ndarray | None:
    """Return the averaging intervals, where the file says that its stamps are their left ends and how long they are."""
    period = str(time.attrs.get("period", "")).split()
    if time.attrs.get("label") != "left" or len(period) != 2 or not period[1].lower().startswith("hour"):
        return None
    length = np.timedelta64(round(float(period[0]) * 3600e9), "ns")
    return np.stack([start, start + length], axis=1)


PARIS: Final = _form(_PARIS)
"""``srr`` (time, latitude, longitude): NAME, FLEXPART and ours."""
ACRG: Final = _form(_ACRG)
"""``fp`` (lat, lon, time) and ``fp_HiTRes`` (lat, lon, time, H_back): NAME's older names."""
