"""What all forms of footprint files have in common: how one is told, and the pieces of a FOOTPRINT."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from inversion.datasets import SRR_UNITS


@dataclass(frozen=True, slots=True)
class Form:
    """A form of file: a row of the table `inversion.transport.files.FORMS`.

    Attributes
    ----------
    footprint : str
        The variable that tells it.
    needed : tuple of str
        The other variables a file of this form must have.
    units : tuple of str
        Spellings of the units the footprint may be in.
    convert : callable (xr.Dataset, str) -> xr.Dataset
        Makes a FOOTPRINT of an opened file, given its name.
    faults : callable (xr.Dataset) -> list of str
        What else is wrong with a file, one sentence each.
    """

    footprint: str
    needed: tuple[str, ...]
    units: tuple[str, ...]
    convert: Callable[[xr.Dataset, str], xr.Dataset]
    faults: Callable[[xr.Dataset], list[str]]


def receptors(
    time: np.ndarray, longitude: Any, latitude: Any, *, height: Any = None, site: Any = None, bounds: Any = None
) -> dict[str, Any]:
    """Return the coordinates along ``receptor``; single values stand for all."""
    size = time.size

    def along(values: Any) -> np.ndarray:
        return np.broadcast_to(np.asarray(values, np.float64), size).copy()

    coords: dict[str, Any] = {
        "time": ("receptor", time.astype("datetime64[ns]")),
        "release_lon": ("receptor", along(longitude), {"units": "degrees_east"}),
        "release_lat": ("receptor", along(latitude), {"units": "degrees_north"}),
    }
    if height is not None:
        coords["release_height"] = ("receptor", along(height), {"units": "m"})
    if site is not None:
        coords["site"] = ("receptor", np.broadcast_to(np.asarray(site, str), size).copy())
    if bounds is not None:
        coords["time_bnds"] = (("receptor", "bnds"), bounds.astype("datetime64[ns]"))
    return coords


def cells(latitude: xr.DataArray, longitude: xr.DataArray) -> dict[str, Any]:
    """Return the coordinates of the grid."""
    return {
        "latitude": ("latitude", latitude.values.astype(np.float64), {"units": "degrees_north"}),
        "longitude": ("longitude", longitude.values.astype(np.float64), {"units": "degrees_east"}),
    }


def time_resolved(data: Any, hours: np.ndarray) -> dict[str, Any]:
    """Return ``srr_time_resolved`` and its ``hours_back``; `data` is (receptor, hours_back, latitude, longitude)."""
    dims = ("receptor", "hours_back", "latitude", "longitude")
    return {
        "srr_time_resolved": (dims, data, {"units": SRR_UNITS}),
        "hours_back": ("hours_back", hours.astype(np.float64), {"units": "h"}),
    }


def srr(data: Any, **attrs: Any) -> tuple[Any, ...]:
    """Return ``srr`` of data (receptor, latitude, longitude)."""
    return (("receptor", "latitude", "longitude"), data, {**attrs, "units": SRR_UNITS})
