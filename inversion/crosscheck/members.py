"""Other configurations read from their results: the range that `with_range` lays beside a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import xarray as xr

from inversion.crosscheck.reading import opened
from inversion.crosscheck.smoothing import CrosscheckError, Floats, root
from inversion.findings import carried, refusal
from inversion.regions import mass_unit

BASE: Final = "as configured"
"""Name of the configuration that a comparison is of."""


def gathered(results: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Return configurations, each with the totals of its result, as `inversion.configurations.solve_each` does.

    Parameters
    ----------
    results : mapping of name to xr.Dataset (region)
        From `totals` or `report.read_totals`; one that must not be used stays out of the range, and is named.

    Returns
    -------
    xr.Dataset
        On (``configuration``, ``region``): ``inversion``, ``inversion_sigma``, ``inversion_covariance``; on ``region``
        ``median``, ``low``, ``high``, ``lowest``, ``highest``, ``spread``; on ``configuration`` ``usable``, ``reason``.

    Raises
    ------
    CrosscheckError
        Where they are of other regions, gases or units, or none is usable.
    """
    first_name, first = next(iter(results.items()))
    faults = [
        f"{name} is of other regions, gas or units than {first_name}."
        for name, one in results.items()
        if one["region"].values.astype(str).tolist() != first["region"].values.astype(str).tolist()
        or any(one.attrs[key] != first.attrs[key] for key in ("units", "gas"))
    ]
    if faults:
        raise CrosscheckError("The configurations", faults)
    covariance = np.stack([one["inversion_covariance"].values for one in results.values()])
    values = np.stack([one["inversion"].values for one in results.values()])
    reasons = [refusal(carried(one.attrs)) for one in results.values()]
    return _table(list(results), values, covariance, reasons, first)


def read_members(path: str | Path, base: xr.Dataset) -> xr.Dataset:
    """Return the members of an ensemble that ``skyledger invert --ensemble`` wrote, over the regions of a result.

    Parameters
    ----------
    path : path
    base : xr.Dataset (region)
        Totals of the configuration itself.

    Returns
    -------
    xr.Dataset
        As `gathered`; the covariances are not in the file, only σ.

    Raises
    ------
    CrosscheckError
        Where the file holds no members, or not all regions.
    """
    stored = opened(path)
    wanted = ("total_posterior_member", "stdev_total_posterior_member", "total_region", "total_gas", "total_sector")
    missing = [name for name in wanted if name not in stored.variables]
    if missing:
        said = f"It has no {', '.join(missing)}: give what `skyledger invert --ensemble --output` wrote."
        raise CrosscheckError(str(path), [said])
    rows = [_row(stored, str(base.attrs["gas"]), str(code)) for code in base["region"].values]
    lost = [str(code) for code, row in zip(base["region"].values, rows, strict=True) if row < 0]
    if lost:
        said = (
            f'It has no total of {", ".join(lost[:8])}: [totals] by = "province" in the configuration of the ensemble.'
        )
        raise CrosscheckError(str(path), [said])
    factor = mass_unit(stored["total_posterior_member"].attrs["units"]) / mass_unit(base.attrs["units"])
    values = stored["total_posterior_member"].values[:, rows] * factor
    sigma = stored["stdev_total_posterior_member"].values[:, rows] * factor
    covariance = np.full((len(values), len(rows), len(rows)), np.nan)
    covariance[:, range(len(rows)), range(len(rows))] = sigma**2
    names = stored["member"].values.astype(str).tolist()
    return _table(names, values, covariance, [""] * len(names), base)


def _row(stored: xr.Dataset, gas: str, code: str) -> int:
    named = (stored["total_region"].values.astype(str) == code) & (stored["total_sector"].values.astype(str) == "all")
    found = np.flatnonzero(named & (stored["total_gas"].values.astype(str) == gas))
    return int(found[0]) if found.size else -1


def _table(names: list[str], values: Floats, covariance: Floats, reasons: list[str], like: xr.Dataset) -> xr.Dataset:
    units = {"units": like.attrs["units"]}
    usable = np.array([not reason for reason in reasons]) & np.isfinite(values).all(axis=1)
    if not usable.any():
        raise CrosscheckError("The configurations", [f"None can be used: {' '.join(filter(None, reasons))}"])
    chosen, called = values[usable], np.array(names, dtype=object)[usable]
    spread = chosen.std(axis=0, ddof=1) if len(chosen) > 1 else np.full(values.shape[1], np.nan)
    columns = {"median": np.median(chosen, axis=0), "low": chosen.min(axis=0), "high": chosen.max(axis=0)}
    both, square = ("configuration", "region"), ("configuration", "region", "region_cov")
    return xr.Dataset(
        {
            "inversion": (both, values, units),
            "inversion_sigma": (both, root(np.diagonal(covariance, axis1=1, axis2=2)), units),
            "inversion_covariance": (square, covariance, {"units": f"({like.attrs['units']})2"}),
            **{name: ("region", column, units) for name, column in (columns | {"spread": spread}).items()},
            "lowest": ("region", called[chosen.argmin(axis=0)]),
            "highest": ("region", called[chosen.argmax(axis=0)]),
            "usable": ("configuration", usable),
            "reason": ("configuration", np.array(reasons, dtype=object)),
        },
        {"configuration": names, "region": like["region"].values, "region_cov": like["region"].values},
    )
