"""From one latitude-longitude grid to another, conserving mass: every new cell is the mean over what it covers.

Areas are those of the WGS84 ellipsoid. Meridians and parallels cross at right angles, so that the overlap of two cells
is a product of an overlap in latitude and one in longitude, and two small sparse matrices do what one large would.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import scipy.sparse
import xarray as xr
from numpy.typing import NDArray

from inversion.errors import PriorError
from inversion.polygons import authalic, edges

Floats = NDArray[np.float64]
_CIRCLE: Final = 360.0
_COVERED: Final = 1.0 - 1e-6
"""A new cell of which a smaller share lies on the old grid is not covered; axes are often in single precision."""


def conservative(field: xr.DataArray, grid: xr.Dataset, *, name: str = "The field") -> xr.DataArray:
    """Return a density (per area) on another grid, its integral conserved.

    f'_j = Σ_i f_i |cell_i ∩ cell_j| / |cell_j|

    Parameters
    ----------
    field : xr.DataArray (..., latitude, longitude)
        Cell means on ascending centres; longitudes may run from 0 to 360 and the grid across their seam.
    grid : xr.Dataset
        ``latitude``, ``longitude``: ascending centres of the new cells [degree].
    name : str
        What the field is, for errors.

    Returns
    -------
    xr.DataArray (..., latitude, longitude)
        float64, with the attributes of the field.

    Raises
    ------
    PriorError
        Where the field does not cover the grid.

    Examples
    --------
    >>> old = xr.DataArray([[1.0, 3.0]] * 2, coords={"latitude": [10.0, 11.0], "longitude": [100.0, 101.0]})
    >>> new = xr.Dataset(coords={"latitude": [10.25, 10.75], "longitude": [100.25, 100.75]})
    >>> conservative(old, new).values.tolist()
    [[1.0, 3.0], [1.0, 3.0]]
    """
    ordered = field.transpose(..., "latitude", "longitude").sortby(["latitude", "longitude"])
    north, east = grid["latitude"].values.astype(np.float64), grid["longitude"].values.astype(np.float64)
    rows = _bands(ordered["latitude"].values.astype(np.float64), north)
    columns = _sectors(ordered["longitude"].values.astype(np.float64), east)
    faults = [
        f"It covers {axis} {float(old.min()):g} to {float(old.max()):g} only, the grid goes from {new[0]:g} to "
        f"{new[-1]:g}; take a field that covers the grid."
        for axis, old, new, weights in (
            ("latitude", ordered["latitude"], north, rows),
            ("longitude", ordered["longitude"], east, columns),
        )
        if np.asarray(weights.sum(axis=1)).min() < _COVERED
    ]
    if faults:
        raise PriorError(name, faults)
    values = np.asarray(ordered.values, dtype=np.float64)
    outer = values.shape[:-2]
    flat = values.reshape(-1, *values.shape[-2:])
    result = np.stack([(columns @ (rows @ layer).T).T for layer in flat]).reshape(*outer, north.size, east.size)
    coords = {k: v for k, v in ordered.coords.items() if not {"latitude", "longitude"} & set(v.dims)}
    coords |= {"latitude": grid["latitude"].variable, "longitude": grid["longitude"].variable}
    return xr.DataArray(result, dims=ordered.dims, coords=coords, attrs=field.attrs, name=field.name)


def _bands(old: Floats, new: Floats) -> scipy.sparse.csr_matrix:
    """Return the share of every new band that lies in each old one, by area (new, old)."""
    there, here = (authalic(np.clip(edges(axis, name="latitude"), -90, 90)) for axis in (old, new))
    return _overlaps(there, here)


def _sectors(old: Floats, new: Floats) -> scipy.sparse.csr_matrix:
    """Return the share of every new sector that lies in each old one; what lies a turn away is the same place."""
    there, here = edges(old, name="longitude"), edges(new, name="longitude")
    turns = range(int(np.floor((here[0] - there[-1]) / _CIRCLE)), int(np.ceil((here[-1] - there[0]) / _CIRCLE)) + 1)
    total = sum(
        (_overlaps(there + turn * _CIRCLE, here) for turn in turns), scipy.sparse.csr_matrix((new.size, old.size))
    )
    return scipy.sparse.csr_matrix(total)


def _overlaps(there: Floats, here: Floats) -> scipy.sparse.csr_matrix:
    low = np.maximum(here[:-1, None], there[None, :-1])
    high = np.minimum(here[1:, None], there[None, 1:])
    share = np.clip(high - low, 0.0, None) / np.diff(here)[:, None]
    return scipy.sparse.csr_matrix(share)
