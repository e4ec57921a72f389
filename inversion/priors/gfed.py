"""Fires of GFED4.1s: dry matter burnt by source, times emission factors.

    flux_gas = DM / month x Σ_source share_source x factor_gas,source / M_gas

(van der Werf et al. 2017, ESSD 9, 697).

DM [kg m-2 month-1] and the shares come with ``GFED4.1s_YYYY.hdf5`` (groups ``emissions/01`` ... ``12``), the factors
[g per kg of dry matter] with ``GFED4_Emission_Factors.txt``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import netCDF4
import numpy as np
import xarray as xr

from inversion.datasets import FLUX_UNITS
from inversion.errors import PriorError
from inversion.priors.regrid import conservative
from inversion.regions import molar_mass_of

SOURCES: Final = ("SAVA", "BORF", "TEMF", "DEFO", "PEAT", "AGRI")
"""Savanna, boreal, temperate and tropical forest, peat, agricultural waste: the columns of the table of factors."""


def read_gfed(path: str | Path, factors: str | Path, gas: str, grid: xr.Dataset, *, year: int) -> xr.DataArray:
    """Return the monthly fire flux of a gas on the grid of the footprints.

    Parameters
    ----------
    path : path
        ``GFED4.1s_YYYY.hdf5``.
    factors : path
        ``GFED4_Emission_Factors.txt``.
    gas : str
    grid : xr.Dataset
        ``latitude``, ``longitude``: ascending centres [degree].
    year : int
        Of the file: it does not say so itself.

    Returns
    -------
    xr.DataArray (time, latitude, longitude) [mol m-2 s-1]
        ``time`` is the start of each month, ``time_end`` its end.

    Raises
    ------
    PriorError
        Where a file cannot be read, a group is missing or the gas has no factors.
    """
    path = Path(path)
    factor = _factors(Path(factors), gas)
    try:
        with netCDF4.Dataset(path) as file:
            latitude, longitude = (_axis(file, name) for name in ("lat", "lon"))
            months = [number for number in range(1, 13) if f"{number:02d}" in file["emissions"].groups]
            fields = [_month(file["emissions"][f"{number:02d}"], factor) for number in months]
    except (OSError, KeyError, IndexError) as error:
        raise PriorError(path.name, [f"It is no file of GFED4.1s that can be read: {error}."]) from error
    start = np.array([f"{year}-{number:02d}" for number in months], "datetime64[M]")
    end = (start + 1).astype("datetime64[ns]")
    start = start.astype("datetime64[ns]")
    seconds = (end - start) / np.timedelta64(1, "s")
    kilograms = np.stack(fields) * 1e-3 / seconds[:, None, None]
    field = xr.DataArray(
        kilograms / molar_mass_of(gas),
        dims=("time", "latitude", "longitude"),
        coords={"latitude": latitude, "longitude": longitude},
    )
    result = conservative(field, grid, name=path.name)
    return result.assign_coords(time=("time", start), time_end=("time", end)).assign_attrs(
        units=FLUX_UNITS, gas=gas, source=path.name
    )


def _month(group: netCDF4.Group, factor: np.ndarray) -> np.ndarray:
    """Return grams of the gas per m2 and month."""
    shares = group["partitioning"]
    mean = sum(np.asarray(shares[f"DM_{source}"][:]) * value for source, value in zip(SOURCES, factor, strict=True))
    return np.asarray(group["DM"][:], np.float64) * np.asarray(mean, np.float64)


def _axis(file: netCDF4.Dataset, name: str) -> np.ndarray:
    values = np.asarray(file[name][:], np.float64)
    if values.ndim == 2:
        return values[:, 0] if name == "lat" else values[0]
    return values


def _factors(path: Path, gas: str) -> np.ndarray:
    try:
        rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise PriorError(path.name, [f"The emission factors cannot be read: {error.strerror or error}."]) from error
    for row in rows:
        if row[0].lower() == gas and len(row) > len(SOURCES):
            return np.array([float(value) for value in row[1 : len(SOURCES) + 1]])
    known = ", ".join(row[0] for row in rows if not row[0].startswith("#"))
    raise PriorError(path.name, [f"It has no emission factors of {gas!r}; it has {known[:200]}."])
