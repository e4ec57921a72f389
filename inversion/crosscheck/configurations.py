"""The range over an ensemble of configurations, laid beside the comparison that one of them made."""

from __future__ import annotations

from typing import Final

import numpy as np
import xarray as xr

from inversion.crosscheck.smoothing import CrosscheckError

_COLUMNS: Final = {
    "inversion_median": ("median", "median of the inversion over the configurations"),
    "inversion_low": ("low", "lowest of the inversion over the configurations"),
    "inversion_high": ("high", "highest of the inversion over the configurations"),
    "inversion_spread": ("spread", "standard deviation of the inversion between the configurations"),
    "inversion_lowest": ("lowest", "configuration with the lowest"),
    "inversion_highest": ("highest", "configuration with the highest"),
}


def with_range(comparison: xr.Dataset, configurations: xr.Dataset) -> xr.Dataset:
    """Return a comparison with the range of its inversion over other configurations.

    The verdicts stay those of the inversion compared; a range that reaches to the other side of the ledger as the
    inversion sees it (``one_sided`` is false there) says that they hang on its assumptions.

    Parameters
    ----------
    comparison : xr.Dataset
        From `compare`.
    configurations : xr.Dataset
        From `inversion.configurations.solve_each`, over the same regions in the same units.

    Returns
    -------
    xr.Dataset
        With ``inversion_median``, ``inversion_low``, ``inversion_high``, ``inversion_spread``, ``inversion_lowest``
        and ``inversion_highest`` (names), and ``one_sided``: whether all configurations stand on the same side of
        ``inventory_smoothed`` (true where there is none); attribute ``configurations``: the usable ones.

    Raises
    ------
    CrosscheckError
        Where regions or units are not the same.
    """
    ours, theirs = comparison["region"].values.astype(str), configurations["region"].values.astype(str)
    units = configurations["inversion"].attrs["units"]
    faults = []
    if not np.array_equal(ours, theirs):
        odd = sorted(set(ours.tolist()) ^ set(theirs.tolist()))
        faults.append(f"The configurations are of other regions: {', '.join(odd) or 'the same in another order'}.")
    if units != comparison.attrs["units"]:
        faults.append(f"The configurations are in {units}, the comparison in {comparison.attrs['units']}.")
    if faults:
        raise CrosscheckError("The range over configurations", faults)
    result = comparison.copy()
    for name, (column, meaning) in _COLUMNS.items():
        values = configurations[column].values
        attrs = {"long_name": meaning} | ({} if values.dtype == object else {"units": units})
        result[name] = ("region", values, attrs)
    seen = comparison["inventory_smoothed"].values
    across = (configurations["low"].values < seen) & (seen < configurations["high"].values)
    result["one_sided"] = ("region", ~across, {"long_name": "all configurations stand on one side of the ledger"})
    usable = configurations["configuration"].values[configurations["usable"].values]
    return result.assign_attrs(configurations=", ".join(usable.astype(str).tolist()))
