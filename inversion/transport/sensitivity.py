"""Footprints and flux fields into H: what one unit of a state adds to each observation."""

from __future__ import annotations

import dask.array
import numpy as np
import xarray as xr

from inversion.datasets import FLUX_UNITS, FOOTPRINT
from inversion.errors import FootprintError
from qc.schema import require
from qc.units import TO_MOLE_FRACTION


def sensitivities(footprints: xr.Dataset, fluxes: xr.DataArray, *, units: str) -> xr.DataArray:
    """Return H_ij = Σ_cells srr_i x flux_j, for states that scale the flux fields.

    Parameters
    ----------
    footprints : xr.Dataset
        FOOTPRINT with n receptors; in memory or Dask.
    fluxes : xr.DataArray (state, latitude, longitude) [mol m-2 s-1]
        One field a state, on the grid of the footprints. With the coordinates ``period_start`` and ``period_end``
        (state) a state is seen only by receptors whose time lies in its period (start included).
    units : str
        Unit of the observations, one of `qc.units.TO_MOLE_FRACTION`.

    Returns
    -------
    xr.DataArray (obs, state)
        In `units` for a scaling of 1, with the coordinates of both; Dask where the footprints are.

    Raises
    ------
    FootprintError
        Where grids or units differ.
    """
    require(footprints, FOOTPRINT)
    faults = _faults(footprints, fluxes, units)
    if faults:
        raise FootprintError("Footprints and fluxes", faults)
    fields = fluxes.transpose("state", "latitude", "longitude").values.reshape(fluxes.sizes["state"], -1)
    srr = footprints["srr"].data.reshape(footprints.sizes["receptor"], -1)
    lazy = isinstance(srr, dask.array.Array)
    factors = np.asarray(fields.T / TO_MOLE_FRACTION[units], dtype=np.float64)
    H = srr @ (dask.array.from_array(factors, chunks=(srr.chunks[1], -1)) if lazy else factors)
    coords = {k: ("obs", v.values) for k, v in footprints.coords.items() if v.dims == ("receptor",)}
    coords |= {k: ("state", v.values) for k, v in fluxes.coords.items() if v.dims == ("state",)}
    if {"period_start", "period_end"} <= set(fluxes.coords):
        time = footprints["time"].values[:, None]
        H = H * ((time >= fluxes["period_start"].values) & (time < fluxes["period_end"].values))
    return xr.DataArray(H, dims=("obs", "state"), coords=coords, name="H", attrs={"units": units})


def _faults(footprints: xr.Dataset, fluxes: xr.DataArray, units: str) -> list[str]:
    faults = []
    if set(fluxes.dims) != {"state", "latitude", "longitude"}:
        return [f"The fluxes lie on {fluxes.dims}, expected ('state', 'latitude', 'longitude')."]
    if fluxes.attrs.get("units") != FLUX_UNITS:
        faults.append(f"The fluxes have the units {fluxes.attrs.get('units')!r}, expected {FLUX_UNITS!r}.")
    if units not in TO_MOLE_FRACTION:
        faults.append(f"The units {units!r} are no mole fraction, expected one of {', '.join(TO_MOLE_FRACTION)}.")
    if not np.isfinite(fluxes.values).all():
        faults.append(f"The fluxes have {int((~np.isfinite(fluxes.values)).sum())} values that are not finite.")
    for name in ("latitude", "longitude"):
        ours, theirs = footprints[name].values, fluxes[name].values
        if ours.shape != theirs.shape or not np.allclose(ours, theirs, rtol=0, atol=1e-4):
            faults.append(
                f"The {name}s differ: footprints have {ours.size} from {ours[0]:g} to {ours[-1]:g}, fluxes "
                f"{theirs.size} from {theirs[0]:g} to {theirs[-1]:g}; bring the fluxes onto the grid of the footprints."
            )
    return faults
