"""Totals by period and by sector from a flux file that `skyledger invert` wrote (names of PARIS)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr

from inversion.crosscheck.cells import NAMES, cell_coords, codes, names_of, period_of
from inversion.crosscheck.smoothing import CrosscheckError
from inversion.inventory.entry import Period
from inversion.regions import MASS_UNITS, mass_unit

_CARRIED: Final = ("gas", "findings", "diagnostics", "sites", "window")


def read_periods(path: str | Path) -> xr.Dataset:
    """Return totals of regions by period, with their whole covariance, from a file of one or several times.

    Parameters
    ----------
    path : path
        ``PREFIX_flux_GAS.nc`` of ``[paris]`` with ``[totals] by = "province"``, or a report's netCDF.

    Returns
    -------
    xr.Dataset (region)
        Cells ``CN-ZJ 2024-03`` with ``code`` and ``period``, as `crosscheck.totals` of `assemble.by_period`: for
        `trends`, and by months for `warning.watch`.

    Raises
    ------
    CrosscheckError
        Where totals or covariances are missing.
    """
    stored = opened(path)
    several = stored.sizes.get("time", 0) > 1
    suffix = "_time" if several else ""
    names = {
        "prior": "flux_total_prior_country",
        "inversion": "flux_total_posterior_country",
        "prior_covariance": f"covariance_flux_total_prior_country{suffix}",
        "inversion_covariance": f"covariance_flux_total_posterior_country{suffix}",
    }
    _require(path, stored, [*names.values(), "country", "time_bnds"])
    bounds = stored["time_bnds"].values
    periods = [str(period_of("/".join(str(t.astype("datetime64[s]")) for t in pair))) for pair in bounds]
    return _cells(stored, names, periods, "period")


def read_sectors(path: str | Path) -> xr.Dataset:
    """Return totals of regions by sector, means over the window, with their whole covariance.

    Parameters
    ----------
    path : path
        As `read_periods`; of an inversion with several sectors.

    Returns
    -------
    xr.Dataset (region)
        Cells ``CN-ZJ rice`` with ``code`` and ``sector``, for `attribution`.

    Raises
    ------
    CrosscheckError
        Where the file holds no sectors, or no covariances between them.
    """
    stored = opened(path)
    names = {
        "prior": "flux_sector_prior_country",
        "inversion": "flux_sector_posterior_country",
        "prior_covariance": "covariance_flux_sector_prior_country",
        "inversion_covariance": "covariance_flux_sector_posterior_country",
    }
    _require(path, stored, [*names.values(), "country", "sector"])
    return _cells(stored, names, [str(name) for name in stored["sector"].values], "sector")


def over_window(seen: xr.Dataset) -> xr.Dataset:
    """Return totals of regions over the whole window from those by period or by sector, with their covariance.

    Periods are weighted by their days, sectors are summed.

    Parameters
    ----------
    seen : xr.Dataset
        Cells, from `read_periods`, `read_sectors` or `totals`.

    Returns
    -------
    xr.Dataset (region)
        As `crosscheck.totals`: for `compare`.
    """
    order, code = codes(seen), seen["code"].values.astype(str)
    weight = np.ones(code.size)
    attrs = dict(seen.attrs)
    if "period" in seen.coords:
        periods = [Period.parse(name) for name in seen["period"].values.astype(str)]
        days = np.array([period.days for period in periods], dtype=np.float64)
        weight = days / days[code == order[0]].sum()
        attrs["window"] = str(Period(min(p.start for p in periods), max(p.end for p in periods)))
    P = np.array([(code == name) * weight for name in order])
    square = ("region", "region_cov")
    return xr.Dataset(
        {
            **{n: ("region", P @ seen[n].values, seen[n].attrs) for n in ("prior", "inversion")},
            **{
                n: (square, P @ seen[n].values @ P.T, seen[n].attrs)
                for n in ("prior_covariance", "inversion_covariance")
            },
        },
        names_of(seen, order),
        attrs,
    )


def opened(path: str | Path) -> xr.Dataset:
    """Return a netCDF file in memory.

    Raises
    ------
    CrosscheckError
        Where it is none.
    """
    try:
        with xr.open_dataset(path, engine="netcdf4") as stored:
            return stored.load()
    except (OSError, ValueError) as error:
        raise CrosscheckError(str(path), [f"It is no netCDF file that can be read ({error})."]) from error


def _require(path: str | Path, stored: xr.Dataset, wanted: list[str]) -> None:
    missing = [name for name in wanted if name not in stored.variables]
    if not missing:
        return
    if "sector" in wanted and "sector" not in stored.variables:
        said = 'It has no sectors: an inversion with several [[sectors]] and [totals] by = "province" writes them.'
    else:
        said = f'It has no {", ".join(missing)}: give the flux file of an inversion with [totals] by = "province".'
    raise CrosscheckError(str(path), [said])


def _cells(stored: xr.Dataset, names: dict[str, str], parts: list[str], kind: str) -> xr.Dataset:
    unit = str(stored.attrs.get("crosscheck_units", "kt yr-1"))
    factor = mass_unit(unit) / MASS_UNITS["kg"]
    regions = stored["country"].values.astype(str)
    labels = [(str(code), part) for code in regions for part in parts]
    n = len(labels)
    there = [name for name in NAMES if name in stored.variables]
    more: dict[str, Any] = {name: ("region", np.repeat(stored[name].values, len(parts))) for name in there}
    data = {
        ours: (
            ("region", "region_cov") if "covariance" in ours else ("region",),
            stored[theirs].values.reshape((n, n) if "covariance" in ours else (n,))
            / factor ** (2 if "covariance" in ours else 1),
            {"units": f"({unit})2" if "covariance" in ours else unit},
        )
        for ours, theirs in names.items()
    }
    attrs = {"units": unit} | {name: str(stored.attrs.get(f"crosscheck_{name}", "")) for name in _CARRIED}
    return xr.Dataset(data, cell_coords(labels, kind, more), attrs)
