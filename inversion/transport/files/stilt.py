"""STILT (R) and PYSTILT: ``foot`` (time, lat, lon) of one receptor, hour by hour.

A ppm for each µmol m-2 s-1 is a mol mol-1 for each mol m-2 s-1: the numbers stay.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr

from inversion.transport.files.form import Form, cells, receptors, srr, time_resolved

_DIMS: Final = {"time", "lat", "lon"}
_UNITS: Final = ("ppm m2 s umol-1", "ppm (umol-1 m2 s)", "umol-1 m2 s ppm")
_NAMED: Final = re.compile(r"(\d{12})_(-?[\d.]+)_(-?[\d.]+)_(-?[\d.]+)(?=_|$)")
"""Time, longitude, latitude and height above ground, as STILT names a receptor and its file."""


@dataclass(frozen=True, slots=True)
class _Receptor:
    time: np.datetime64
    longitude: float
    latitude: float
    height: float | None


def _receptor(ds: xr.Dataset, file: str) -> _Receptor | None:
    """Return the receptor: as the footprint's attribute says, else as the file's own or its name says."""
    written = ds["foot"].attrs.get("stilt_receptor")
    if written is not None:
        told = json.loads(written)
        if told.get("kind") != "point":
            return None
        height = float(told["altitude"]) if told.get("altitude_ref") == "agl" else None
        time = np.datetime64(str(told["time"]).removesuffix("Z"), "ns")
        return _Receptor(time, float(told["longitude"]), float(told["latitude"]), height)
    name = str(ds["receptor"].values) if "receptor" in ds.variables else file
    found = _NAMED.search(name.removesuffix(".nc"))
    if found is None:
        return None
    digits, longitude, latitude, height_text = found.groups()
    stamp = f"{digits[:4]}-{digits[4:6]}-{digits[6:8]}T{digits[8:10]}:{digits[10:12]}"
    return _Receptor(np.datetime64(stamp, "ns"), float(longitude), float(latitude), float(height_text))


def _faults(ds: xr.Dataset) -> list[str]:
    if set(ds["foot"].dims) != _DIMS:
        return [f"'foot' lies on {ds['foot'].dims}, expected {sorted(_DIMS)} in any order."]
    if _receptor(ds, str(ds.encoding.get("source", "")).rpartition("/")[2]) is None:
        return ["It names no point receptor: expected YYYYmmddHHMM_lon_lat_height as 'receptor' or in the file's name."]
    return []


def _convert(ds: xr.Dataset, file: str) -> xr.Dataset:
    receptor = _receptor(ds, file)
    assert receptor is not None  # `_faults` looked
    time = ds["time"].values.astype("datetime64[ns]")
    order = np.argsort(time)[::-1]
    field = ds["foot"].transpose("time", "lat", "lon").isel(time=order)
    step = abs(time[1] - time[0]) if time.size > 1 else np.timedelta64(1, "h")
    # STILT stamps a step with its start.
    hours = (receptor.time - time[order] - step).astype("timedelta64[s]").astype(np.float64) / 3600.0
    data = field.data.astype(np.float64)
    variables: dict[str, Any] = {"srr": srr(data.sum(axis=0)[None])}
    if time.size > 1:
        variables |= time_resolved(data[None], hours)
    coords = receptors(np.atleast_1d(receptor.time), receptor.longitude, receptor.latitude, height=receptor.height)
    attrs = {**ds.attrs, "source": f"STILT, file {file}"}
    return xr.Dataset(variables, {**coords, **cells(ds["lat"], ds["lon"])}, attrs)


STILT: Final = Form("foot", ("lat", "lon", "time"), _UNITS, _convert, _faults)
"""``foot`` [ppm m2 s umol-1], one receptor a file."""
