"""Where two datasets of means differ: what is the same is not written again."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import xarray as xr

_KEPT: Final = (
    "",
    "_stdev",
    "_n",
    "_uncertainty",
    "_u_random",
    "_u_shared",
    "_n_rejected",
    "_flag",
    "_cause",
    "_tests",
)
_MORE: Final = ("_u_calibration", "_provisional", "_without_sd", "_without_rebs", "_selection")


def where(stored: xr.Dataset, made: xr.Dataset) -> list[np.datetime64]:
    """Return the starts of the first and the last interval in which two datasets of means differ, or nothing."""
    old, new = (ds["time_bnds"].values[:, 0].astype("datetime64[ns]") for ds in (stored, made))
    every = np.union1d(old, new)
    wrong = ~(np.isin(every, old) & np.isin(every, new))
    common, i, j = np.intersect1d(old, new, return_indices=True)
    at = np.searchsorted(every, common)
    gases = {
        str(name).removesuffix("_flag") for ds in (stored, made) for name in ds.variables if str(name).endswith("_flag")
    }
    for gas in gases:
        for ending in (*_KEPT, *_MORE):
            a, b = (ds.variables.get(f"{gas}{ending}") for ds in (stored, made))
            if a is None and b is None:
                continue
            x, y = _plain(a, old.size)[i], _plain(b, new.size)[j]
            wrong[at] |= ~((x == y) | (np.isnan(x) & np.isnan(y)))
    found = every[wrong]
    return [found[0], found[-1]] if found.size else []


def _plain(variable: xr.Variable | None, size: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return values to be compared; what is not there is NaN, and so is what says nothing."""
    return np.full(size, np.nan) if variable is None else variable.values.astype(np.float64)
