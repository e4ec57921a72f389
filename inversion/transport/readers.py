"""Others' footprints into one schema: NAME as OpenGHG keeps it (ACRG names, PARIS names), and whoever writes PARIS."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import xarray as xr

from inversion.datasets import FOOTPRINT, SRR_UNITS
from inversion.errors import FootprintError
from qc.schema import SchemaError, require

_SAME_UNITS: Final = {SRR_UNITS, "(mol/mol)/(mol m-2 s-1)", "(mol mol-1)/(mol m-2 s-1)", "m2 s mol-1"}
"""Spellings of mole fraction per flux."""
_RECOGNISED: Final = {"spec001_mr": "a FLEXPART backward grid", "foot": "a STILT footprint"}
"""Variables of forms that are known but not read here."""


@dataclass(frozen=True, slots=True)
class _Form:
    """How a file names things."""

    footprint: str
    latitude: str
    longitude: str
    dims: tuple[str, str, str]
    """Dimensions of the footprint, as receptor, latitude, longitude."""


FORMS: Final = {
    "paris": _Form("srr", "latitude", "longitude", ("time", "latitude", "longitude")),
    "acrg": _Form("fp", "lat", "lon", ("time", "lat", "lon")),
}
"""Name of a form -> its names: PARIS (`srr`; NAME, FLEXPART) and the older ACRG (`fp[lat, lon, time]`; NAME)."""


def read_footprints(path: str | Path, format: str = "auto") -> xr.Dataset:  # noqa: A002  the name of the contract
    """Return the footprints of a netCDF file.

    Parameters
    ----------
    path : path
    format : str
        "paris", "acrg", or "auto": told by the variables.

    Returns
    -------
    xr.Dataset
        FOOTPRINT, read lazily: ``srr`` (receptor, latitude, longitude). ``time`` is the middle of the averaging
        interval (the files stamp its start), ``time_bnds`` that interval. Where the file keeps one:
        ``release_height`` [m above ground]; attributes of the file are kept.

    Raises
    ------
    FootprintError
        Where the form is not known, or units are missing or others.
    """
    path = Path(path)
    try:
        ds = xr.open_dataset(path, chunks={})
    except (OSError, ValueError) as error:
        reason = "It is no netCDF file that can be read." if path.exists() else f"There is no file {path}."
        raise FootprintError(path.name, [reason]) from error
    form = _form(ds, format, path.name)
    faults = _faults(ds, form)
    if faults:
        ds.close()
        raise FootprintError(path.name, faults)
    result = _convert(ds, form, path.name)
    try:
        require(result, FOOTPRINT)
    except SchemaError as error:
        raise FootprintError(path.name, error.faults) from error
    return result


def _form(ds: xr.Dataset, name: str, file: str) -> _Form:
    if name != "auto" and name not in FORMS:
        raise FootprintError(
            file, [f"The format {name!r} is not known, expected 'auto', {', '.join(map(repr, FORMS))}."]
        )
    if name != "auto":
        return FORMS[name]
    for form in FORMS.values():
        if form.footprint in ds.variables:
            return form
    known = [what for variable, what in _RECOGNISED.items() if variable in ds.variables]
    what = f"It is {known[0]}, which is not read; convert it to the PARIS form." if known else "It holds no footprint:"
    raise FootprintError(file, [f"{what} Expected a variable 'srr' (PARIS) or 'fp' (ACRG); it has {_names(ds)}."])


def _names(ds: xr.Dataset) -> str:
    return ", ".join(sorted(map(str, ds.data_vars))[:8])


def _faults(ds: xr.Dataset, form: _Form) -> list[str]:
    needed = (form.footprint, form.latitude, form.longitude, "time", "release_lon", "release_lat")
    missing = [name for name in needed if name not in ds.variables]
    if missing:
        return [f"Variables are missing: {', '.join(missing)}."]
    faults = []
    field = ds[form.footprint]
    if set(field.dims) != set(form.dims):
        faults.append(f"{form.footprint!r} lies on {field.dims}, expected {form.dims} in any order.")
    units = field.attrs.get("units")
    if units not in _SAME_UNITS:
        faults.append(f"{form.footprint!r} has the units {units!r}, expected {SRR_UNITS!r}; state or convert them.")
    return faults


def _convert(ds: xr.Dataset, form: _Form, file: str) -> xr.Dataset:
    receptor, latitude, longitude = form.dims
    srr = ds[form.footprint].transpose(receptor, latitude, longitude)
    start = ds["time"].values.astype("datetime64[ns]")
    bounds = _bounds(ds["time"], start)
    coords = {
        "time": ("receptor", start if bounds is None else bounds[:, 0] + (bounds[:, 1] - bounds[:, 0]) // 2),
        "release_lon": ("receptor", _along(ds["release_lon"], start.size), {"units": "degrees_east"}),
        "release_lat": ("receptor", _along(ds["release_lat"], start.size), {"units": "degrees_north"}),
        "latitude": ("latitude", ds[latitude].values.astype(np.float64), {"units": "degrees_north"}),
        "longitude": ("longitude", ds[longitude].values.astype(np.float64), {"units": "degrees_east"}),
    }
    if "release_height" in ds.variables:
        coords["release_height"] = ("receptor", _along(ds["release_height"], start.size), {"units": "m"})
    if "site" in ds.attrs:
        coords["site"] = ("receptor", np.full(start.size, str(ds.attrs["site"])))
    if bounds is not None:
        coords["time_bnds"] = (("receptor", "bnds"), bounds)
    model = " ".join(str(ds.attrs[key]) for key in ("model", "met_model", "domain") if key in ds.attrs)
    attrs = {**ds.attrs, "source": f"{model or 'footprints'}, file {file}"}
    field = (("receptor", "latitude", "longitude"), srr.data, {**srr.attrs, "units": SRR_UNITS})
    return xr.Dataset({"srr": field}, coords=coords, attrs=attrs)


def _along(values: xr.DataArray, size: int) -> np.ndarray:
    return np.broadcast_to(values.values.astype(np.float64), size).copy()


def _bounds(time: xr.DataArray, start: np.ndarray) -> np.ndarray | None:
    """Return the averaging intervals, where the file says that its stamps are their left ends and how long they are."""
    period = str(time.attrs.get("period", "")).split()
    if time.attrs.get("label") != "left" or len(period) != 2 or not period[1].lower().startswith("hour"):
        return None
    length = np.timedelta64(round(float(period[0]) * 3600e9), "ns")
    return np.stack([start, start + length], axis=1)
