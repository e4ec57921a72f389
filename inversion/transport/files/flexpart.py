"""FLEXPART 9 to 11: netCDF grids of runs backward in time.

With a mass mixing ratio at the receptor and a mass at the source the grid is the residence time over the density of the
air, S [s m3 kg-1]. A flux F into a layer from the ground to its top d raises the mole fraction at the receptor by

    Δχ = F · M_air S / d        (Seibert & Frank 2004, ACP 4, 51; Stohl 2005, ACP 5, 2461)

The footprint is that of the lowest layer.
"""

from __future__ import annotations

from typing import Any, Final

import dask.array
import numpy as np
import xarray as xr

from inversion.transport.files.form import Form, cells, receptors, srr, time_resolved
from qc.units import MOLAR_MASS_DRY_AIR

_NAME: Final = "spec001_mr"
_DIMS: Final = ("nageclass", "pointspec", "time", "height", "latitude", "longitude")
_RELEASE: Final = ("RELLNG1", "RELLNG2", "RELLAT1", "RELLAT2", "RELZZ1", "RELZZ2", "RELKINDZ", "RELSTART", "RELEND")
_ABOVE_GROUND: Final = 1
_STEPS: Final = ("loutstep", "loutaver")


def _faults(ds: xr.Dataset) -> list[str]:
    faults = []
    if ds[_NAME].dims != _DIMS:
        return [f"{_NAME!r} lies on {ds[_NAME].dims}, expected {_DIMS}."]
    if int(ds.attrs.get("ldirect", 0)) != -1:
        faults.append(f"The run has ldirect = {ds.attrs.get('ldirect')}, expected -1: backward in time.")
    if ds.sizes["pointspec"] != ds["RELSTART"].size:
        faults.append(
            f"{ds['RELSTART'].size} releases share {ds.sizes['pointspec']} grids; run with ioutputforeachrelease = 1."
        )
    if ds["height"].attrs.get("units") not in ("meters", "m"):
        faults.append(f"'height' has the units {ds['height'].attrs.get('units')!r}, expected 'meters'.")
    wanting = [name for name in ("iedate", "ietime", *_STEPS) if name not in ds.attrs]
    if wanting:
        faults.append(f"Attributes are missing: {', '.join(wanting)}.")
    elif ds.attrs["loutstep"] != ds.attrs["loutaver"]:
        steps = f"loutaver = {ds.attrs['loutaver']}, loutstep = {ds.attrs['loutstep']}"
        faults.append(f"The steps are averages over another time than they are apart ({steps}); expected the same.")
    return faults


def _convert(ds: xr.Dataset, file: str) -> xr.Dataset:
    lowest = ds[_NAME].isel(height=0).sum("nageclass")
    # FLEXPART stamps a step with its end, which backward in time is its earliest moment.
    step = abs(int(ds.attrs["loutstep"]))
    per_flux = MOLAR_MASS_DRY_AIR / float(ds["height"][0])
    order = np.argsort(ds["time"].values)[::-1]
    data = lowest.isel(time=order).data.astype(np.float64) * per_flux
    end = _end(ds)
    bounds = end + np.stack([_seconds(ds["RELSTART"]), _seconds(ds["RELEND"])], axis=1)
    stamps = ds["time"].values[order].astype("datetime64[ns]")
    variables: dict[str, Any] = {"srr": srr(data.sum(axis=1))}
    if (bounds[:, 1] == bounds[0, 1]).all():
        earlier = (bounds[0, 1] - stamps) / np.timedelta64(1, "h") - step / 3600.0
        variables |= time_resolved(dask.array.asarray(data), earlier)
    middle = bounds[:, 0] + (bounds[:, 1] - bounds[:, 0]) // 2
    coords = receptors(
        middle, _middle(ds, "RELLNG"), _middle(ds, "RELLAT"), height=_height(ds), site=_site(ds), bounds=bounds
    )
    source = f"FLEXPART, {ds.attrs.get('source', 'backward grid')}, file {file}"
    attrs = {**ds.attrs, "source": source, "layer_depth_m": float(ds["height"][0])}
    return xr.Dataset(variables, {**coords, **cells(ds["latitude"], ds["longitude"])}, attrs)


def _seconds(values: xr.DataArray) -> np.ndarray:
    return values.values.astype("int64").astype("timedelta64[s]").astype("timedelta64[ns]")


def _end(ds: xr.Dataset) -> np.datetime64:
    """Return the latest time of the run, at which a run backward in time starts."""
    day, hour = str(ds.attrs["iedate"]).strip(), str(ds.attrs["ietime"]).strip().zfill(6)
    stamp = f"{day[:4]}-{day[4:6]}-{day[6:8]}T{hour[:2]}:{hour[2:4]}:{hour[4:6]}"
    return np.datetime64(stamp, "ns")


def _middle(ds: xr.Dataset, name: str) -> np.ndarray:
    return 0.5 * (ds[f"{name}1"].values.astype(np.float64) + ds[f"{name}2"].values.astype(np.float64))


def _height(ds: xr.Dataset) -> np.ndarray | None:
    """Return the heights above ground, where all releases are given so."""
    return _middle(ds, "RELZZ") if (ds["RELKINDZ"] == _ABOVE_GROUND).all() else None


def _site(ds: xr.Dataset) -> list[str] | None:
    if "RELCOM" not in ds.variables:
        return None
    rows = np.atleast_1d(ds["RELCOM"].values)
    return [(row.decode("utf-8", "replace") if isinstance(row, bytes) else str(row)).strip("\0 ") for row in rows]


FLEXPART: Final = Form(_NAME, ("latitude", "longitude", "time", "height", *_RELEASE), ("s m3 kg-1",), _convert, _faults)
"""``spec001_mr`` [s m3 kg-1], one grid a release."""
