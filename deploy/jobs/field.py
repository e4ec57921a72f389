"""A field of a netCDF file that lies on a grid already: a proxy, a mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from deploy.errors import DeployError

_NEAR = 1e-3
"""Degrees within which two centres of cells are one."""


def read(path: Path, variable: str, latitude: np.ndarray, longitude: np.ndarray, *, whose: str) -> xr.DataArray:
    """Return a variable (latitude, longitude) of a file, in memory.

    Parameters
    ----------
    path : Path
    variable : str
    latitude, longitude : array [degree]
        Centres of the cells; the file may hold more of them.
    whose : str
        Whose grid it is, for the sentence: "the footprints".

    Raises
    ------
    DeployError
        Where there is no such variable, or the file lies on another grid.
    """
    try:
        opened = xr.open_dataset(path, engine="netcdf4")
    except (OSError, ValueError) as error:
        msg = f"{path.name} is no netCDF file that can be read ({error})"
        raise DeployError(msg) from error
    with opened as ds:
        if variable not in ds.variables:
            msg = f"{path.name} has no variable {variable!r}; it has {', '.join(map(str, ds.data_vars))}"
            raise DeployError(msg)
        names = {k: v for k, v in (("lat", "latitude"), ("lon", "longitude")) if k in ds.dims}
        field = ds[variable].rename(names).squeeze(drop=True).load()
    try:
        on = field.sel(latitude=latitude, longitude=longitude, method="nearest", tolerance=_NEAR)
    except KeyError as error:
        msg = f"{path.name} lies on another grid than that of {whose}; make it on that one"
        raise DeployError(msg) from error
    return on.transpose("latitude", "longitude")
