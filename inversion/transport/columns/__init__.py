"""Columns seen from ground or space: read, turned into stacks of receptors, and their footprints put together.

The equations are in `inversion.transport.columns.operator`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import netCDF4
import numpy as np
import xarray as xr

from inversion.errors import ColumnError
from inversion.transport.columns.formats import LITE, OPENGHG, soundings, tccon, tropomi
from inversion.transport.columns.operator import COLUMN, background, column, footprints, prior_column, receptors
from qc.schema import require

__all__ = ["COLUMN", "FORMS", "background", "column", "footprints", "prior_column", "read_columns", "receptors"]

FORMS: Final[dict[str, tuple[str, Callable[[Path, str, float], xr.Dataset]]]] = {
    "tccon": ("integration_operator", tccon),
    "tropomi": ("PRODUCT", tropomi),
    "openghg": ("pressure_weights", soundings(OPENGHG)),
    "oco2_lite": ("pressure_weight", soundings(LITE)),
}
"""Name of a form -> the variable or group that tells it, and its reader. OpenGHG: its GOSAT and OCO-2 files."""
_CLOSE: Final = 1e-3
"""The operator must give the prior column the file states this well (relative)."""
_SUM: Final = 5e-3
"""Weights must add up to 1 this well: TCCON's do to 3.5e-3 (Harwell, a day), the satellites' to 1e-6."""


def read_columns(path: str | Path, gas: str, *, quality: float = 0.5) -> xr.Dataset:
    """Return observed columns with their operators.

    Parameters
    ----------
    path : path
        TCCON GGG2020, OCO-2 Lite, TROPOMI level 2, or GOSAT and OCO-2 as OpenGHG keeps them; told by its variables.
    gas : str
        "co2", "ch4", ...
    quality : float
        TROPOMI: the lowest ``qa_value`` to keep.

    Returns
    -------
    xr.Dataset
        COLUMN, the lowest level first; mole fractions dry [mol mol-1]. Heights of soundings on pressure levels are
        those of the standard atmosphere above the lowest level.

    Raises
    ------
    ColumnError
        Where the form is not known, variables are missing, units are others, weights do not add up to 1, or the
        operator does not give the prior column the file states.
    """
    path = Path(path)
    try:
        with netCDF4.Dataset(path) as file:
            names = {*file.variables, *file.groups}
    except OSError as error:
        raise ColumnError(path.name, ["It is no netCDF file that can be read."]) from error
    for marker, read in FORMS.values():
        if marker in names:
            ds = read(path, gas, quality)
            _check(ds, path.name)
            return ds
    raise ColumnError(
        path.name, [f"It is no file of columns: expected one of {', '.join(repr(m) for m, _ in FORMS.values())}."]
    )


def _check(ds: xr.Dataset, file: str) -> None:
    if ds.sizes["obs"] == 0:
        raise ColumnError(file, ["No column in it is good enough; lower the quality asked for."])
    require(ds, COLUMN)
    off = float(np.abs(ds["weight"].sum("level", skipna=False) - 1.0).max())
    faults = [] if off < _SUM else [f"The weights of the levels miss 1 by {off:.2g}."]
    if "column_prior" in ds.variables:
        off = float(np.abs(prior_column(ds) / ds["column_prior"] - 1.0).max())
        if not off < _CLOSE:
            faults.append(f"The operator on its own prior misses the prior column the file states by {off:.2g}.")
    if faults:
        raise ColumnError(file, faults)
