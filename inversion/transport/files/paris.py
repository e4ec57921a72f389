"""Footprints in the PARIS form, for others to read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from inversion.datasets import FOOTPRINT
from inversion.errors import FootprintError
from qc.schema import require


def write_footprints(footprints: xr.Dataset, path: str | Path) -> None:
    """Write the footprints of one site and height in the PARIS form, compressed.

    Parameters
    ----------
    footprints : xr.Dataset
        FOOTPRINT, times increasing. ``time_bnds``, where there, must all be of one length: the form stamps the start
        of the interval and states its length.
    path : path
        netCDF file to write.

    Raises
    ------
    FootprintError
        Where the receptors are of several sites, or out of order in time.
    SchemaError
        Where it is no FOOTPRINT.
    """
    require(footprints, FOOTPRINT)
    faults = _faults(footprints)
    if faults:
        raise FootprintError("The footprints", faults)
    ds = _form(footprints)
    fields = [name for name in ("srr", "srr_time_resolved") if name in ds]
    ds.to_netcdf(path, encoding={name: {"zlib": True, "complevel": 4, "shuffle": True} for name in fields})


def _faults(ds: xr.Dataset) -> list[str]:
    faults = []
    time = ds["time"].values
    if (np.diff(time) <= np.timedelta64(0)).any():
        faults.append("Their times do not increase; write one file for each site and height.")
    if "site" in ds.variables and np.unique(ds["site"].values.astype(str)).size > 1:
        faults.append(f"They are of {np.unique(ds['site'].values.astype(str)).size} sites; write one file a site.")
    if "time_bnds" in ds.variables and np.unique(np.diff(ds["time_bnds"].values, axis=1)).size > 1:
        faults.append("Their intervals are of different length; the form knows one.")
    return faults


def _form(footprints: xr.Dataset) -> xr.Dataset:
    ds = footprints.drop_vars(["time", "time_bnds", "site", "inlet"], errors="ignore").reset_coords(
        [name for name in ("release_lon", "release_lat", "release_height") if name in footprints.coords]
    )
    attrs: dict[str, Any] = {"standard_name": "time"}
    start = footprints["time"].values
    if "time_bnds" in footprints.variables:
        bounds = footprints["time_bnds"].values
        start = bounds[:, 0]
        hours = (bounds[0, 1] - bounds[0, 0]) / np.timedelta64(1, "h")
        attrs |= {"label": "left", "period": f"{hours:g} hours"}
    ds = ds.rename(receptor="time").assign_coords(time=("time", start, attrs))
    if "site" in footprints.variables:
        ds = ds.assign_attrs(site=str(footprints["site"].values[0]))
    ds["time"].encoding |= {"units": "seconds since 1970-01-01", "dtype": "int64"}
    return ds
