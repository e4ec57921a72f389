"""The column a remote sensor reports of a profile, and what of it the footprints explain.

    X = Σ_i w_i [x_a,i + A_i (x_i − x_a,i)]        (Rodgers & Connor 2003, JGR 108, 4116, Eq 15)

with w the weights of the levels (Σ w = 1), A the column averaging kernel and x_a the retrieval's prior. With
x_i = b_i + Σ_cells f_i x flux, b the background at level i and f its footprint:

    X = Σ w_i (1 − A_i) x_a,i  +  Σ w_i A_i b_i  +  Σ_cells (Σ w_i A_i f_i) x flux

The first two sums are the background; above the highest receptor there is no f.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import xarray as xr

from inversion.datasets import FOOTPRINT
from inversion.errors import ColumnError
from qc.schema import Schema, Variable, require

_PROFILE: Final = ("obs", "level")
_MF: Final = ("mol mol-1",)

COLUMN: Final = Schema(
    name="COLUMN",
    variables=(
        Variable("weight", _PROFILE, "f", ("1",), long_name="weight of the level for dry mole fractions, w"),
        Variable("averaging_kernel", _PROFILE, "f", ("1",), long_name="column averaging kernel, A"),
        Variable("profile_prior", _PROFILE, "f", _MF, long_name="dry mole fraction of the retrieval's prior, x_a"),
        Variable("height", _PROFILE, "f", ("m",), long_name="height above ground, the lowest level first"),
        Variable("pressure", _PROFILE, "f", ("hPa",), required=False, long_name="pressure"),
        Variable("column", ("obs",), "f", _MF, long_name="X as observed"),
        Variable("column_error", ("obs",), "f", _MF, required=False, long_name="its error, one sigma"),
        Variable("column_prior", ("obs",), "f", _MF, required=False, long_name="column of the prior, as stated"),
        Variable("time", ("obs",), "M", long_name="time (UTC)"),
        Variable("longitude", ("obs",), "f", ("degrees_east",)),
        Variable("latitude", ("obs",), "f", ("degrees_north",)),
    ),
    attributes={"source": "text", "gas": "text"},
)
"""Observed columns and their operators."""

LOWEST: Final = 10.0
"""Receptors stand at least this high [m]: air at the very ground cannot be followed back."""


_AXES: Final = ("latitude", "longitude", "hours_back", "side", "exit_height")


def column(columns: xr.Dataset, profile: xr.DataArray) -> xr.DataArray:
    """Return X for a profile, Σ w [x_a + A (x − x_a)].

    Parameters
    ----------
    columns : xr.Dataset
        COLUMN.
    profile : xr.DataArray (obs, level) [mol mol-1]
        Dry mole fraction x at the levels.

    Returns
    -------
    xr.DataArray (obs) [mol mol-1]

    Raises
    ------
    ColumnError
        Where the profile is in other units.
    """
    if profile.attrs.get("units") not in _MF:
        raise ColumnError(
            "The profile", [f"It has the units {profile.attrs.get('units')!r}, expected 'mol mol-1'; convert it."]
        )
    x_a, A = columns["profile_prior"], columns["averaging_kernel"]
    return _of(columns, x_a + A * (profile - x_a))


def prior_column(columns: xr.Dataset) -> xr.DataArray:
    """Return Σ w x_a (obs) [mol mol-1], the operator on its own prior."""
    return column(columns, columns["profile_prior"])


def receptors(columns: xr.Dataset, *, top: float) -> xr.Dataset:
    """Return a stack of receptors for each column, up to a height.

    Parameters
    ----------
    columns : xr.Dataset
        COLUMN with n observations.
    top : float [m]
        Height above ground of the highest receptor; what is above goes to the background.

    Returns
    -------
    xr.Dataset
        One dimension ``receptor``: ``time``, ``longitude``, ``latitude``, ``height``, and ``obs``, ``level``, the place
        in `columns`. Levels nearer to the ground than `LOWEST` stand at that height.

    Raises
    ------
    ColumnError
        Where no level is below `top`.
    """
    require(columns, COLUMN)
    obs, level = np.nonzero(columns["height"].values <= top)
    if not obs.size:
        lowest = float(columns["height"].min())
        raise ColumnError("The columns", [f"The lowest level is at {lowest:g} m, expected one below top = {top:g} m."])
    place = {name: ("receptor", columns[name].values[obs]) for name in ("time", "longitude", "latitude")}
    height = np.maximum(columns["height"].values[obs, level], LOWEST)
    return xr.Dataset({**place, "height": ("receptor", height), "obs": ("receptor", obs), "level": ("receptor", level)})


def footprints(columns: xr.Dataset, stack: xr.Dataset, levels: xr.Dataset) -> xr.Dataset:
    """Return the footprints of columns, Σ w_i A_i f_i over the receptors of each.

    Parameters
    ----------
    columns : xr.Dataset
        COLUMN with n observations.
    stack : xr.Dataset
        What `receptors` returned.
    levels : xr.Dataset
        FOOTPRINT of those receptors, in their order.

    Returns
    -------
    xr.Dataset
        FOOTPRINT with one receptor a column; without height, for a column has none. Shares of air that came in are
        weighted alike: what Σ w A lacks to 1 is the prior's, and what no receptor stands for is above them.

    Raises
    ------
    ColumnError
        Where footprints and receptors differ in number.
    """
    require(levels, FOOTPRINT)
    obs, level = stack["obs"].values, stack["level"].values
    if levels.sizes["receptor"] != obs.size:
        raise ColumnError("The footprints", [f"There are {levels.sizes['receptor']} for {obs.size} receptors."])
    share = (columns["weight"] * columns["averaging_kernel"]).values[obs, level]
    fields = {}
    for name in ("srr", "srr_time_resolved", "exit_share", "fraction_outside"):
        if name in levels.variables:
            values = levels[name].values * share.reshape(-1, *[1] * (levels[name].ndim - 1))
            total = np.zeros((columns.sizes["obs"], *values.shape[1:]))
            np.add.at(total, obs, values)
            fields[name] = (levels[name].dims, total, {"units": levels[name].attrs["units"]})
    coords = {
        "time": ("receptor", columns["time"].values),
        "release_lon": ("receptor", columns["longitude"].values, {"units": "degrees_east"}),
        "release_lat": ("receptor", columns["latitude"].values, {"units": "degrees_north"}),
        **{name: levels[name].variable for name in _AXES if name in levels.variables},
    }
    ds = xr.Dataset(fields, coords, {"source": f"{levels.attrs['source']}; columns of {columns.attrs['source']}"})
    require(ds, FOOTPRINT)
    return ds


def background(columns: xr.Dataset, profile: xr.DataArray) -> xr.DataArray:
    """Return what of X is no flux inside the domain, Σ w (1 − A) x_a + Σ w A b.

    Parameters
    ----------
    columns : xr.Dataset
        COLUMN.
    profile : xr.DataArray (obs, level) [mol mol-1]
        Background b at every level, those above the highest receptor too.

    Returns
    -------
    xr.DataArray (obs) [mol mol-1]

    Raises
    ------
    ColumnError
        Where the profile is in other units.
    """
    return column(columns, profile)


def _of(columns: xr.Dataset, profile: xr.DataArray) -> xr.DataArray:
    total = (columns["weight"] * profile).sum("level", skipna=False)
    return total.assign_attrs(units="mol mol-1")
