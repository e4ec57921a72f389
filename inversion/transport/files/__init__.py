"""Others' footprints into one schema, and ours into theirs: one row of `FORMS` for each form of file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import xarray as xr

from inversion.datasets import FOOTPRINT, SRR_UNITS
from inversion.errors import FootprintError
from inversion.transport.files.flexpart import FLEXPART
from inversion.transport.files.form import Form
from inversion.transport.files.gridded import ACRG, PARIS
from inversion.transport.files.paris import write_footprints
from inversion.transport.files.stilt import STILT
from qc.schema import SchemaError, require

__all__ = ["FORMS", "read_footprints", "write_footprints"]

FORMS: Final = {"paris": PARIS, "acrg": ACRG, "flexpart": FLEXPART, "stilt": STILT}
"""Name of a form -> how it is told, checked and read."""


def read_footprints(path: str | Path, format: str = "auto") -> xr.Dataset:  # noqa: A002  the name of the contract
    """Return the footprints of a netCDF file.

    Parameters
    ----------
    path : path
    format : str
        "paris" (NAME, FLEXPART as PARIS writes them), "acrg" (NAME's older names), "flexpart" (backward grids of
        FLEXPART 9 to 11), "stilt" (STILT, PYSTILT), or "auto": told by the variables.

    Returns
    -------
    xr.Dataset
        FOOTPRINT, read lazily: ``srr`` (receptor, latitude, longitude) and, where the file resolves time,
        ``srr_time_resolved`` (receptor, hours_back, latitude, longitude) [(mol/mol)/(mol/m2/s)], with ``hours_back``
        [h] the beginning of each step back from the receptor. ``time`` is the middle of the averaging interval,
        ``time_bnds`` that interval. Where the file keeps one: ``release_height`` [m above ground]; attributes of the
        file are kept.

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
    try:
        result = _convert(ds, format, path.name)
    except FootprintError:
        ds.close()
        raise
    result.set_close(ds.close)
    return result


def _convert(ds: xr.Dataset, name: str, file: str) -> xr.Dataset:
    form = _form(ds, name, file)
    faults = _faults(ds, form)
    if faults:
        raise FootprintError(file, faults)
    result = form.convert(ds, file)
    try:
        require(result, FOOTPRINT)
    except SchemaError as error:
        raise FootprintError(file, error.faults) from error
    return result


def _form(ds: xr.Dataset, name: str, file: str) -> Form:
    if name == "auto":
        for form in FORMS.values():
            if form.footprint in ds.variables:
                return form
        expected = ", ".join(f"{form.footprint!r} ({known})" for known, form in FORMS.items())
        names = ", ".join(sorted(map(str, ds.data_vars))[:8])
        raise FootprintError(file, [f"It holds no footprint: expected a variable {expected}; it has {names}."])
    if name not in FORMS:
        known = ", ".join(map(repr, FORMS))
        raise FootprintError(file, [f"The format {name!r} is not known, expected 'auto', {known}."])
    return FORMS[name]


def _faults(ds: xr.Dataset, form: Form) -> list[str]:
    missing = [name for name in (form.footprint, *form.needed) if name not in ds.variables]
    if missing:
        return [f"Variables are missing: {', '.join(missing)}."]
    units = ds[form.footprint].attrs.get("units")
    expected = SRR_UNITS if SRR_UNITS in form.units else form.units[0]
    faults = form.faults(ds)
    if units not in form.units:
        faults.append(f"{form.footprint!r} has the units {units!r}, expected {expected!r}; state or convert them.")
    return faults
