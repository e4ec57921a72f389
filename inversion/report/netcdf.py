"""The comparison as netCDF, with the names of the PARIS flux template; regions stand where it has countries."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr

from inversion.crosscheck import VERDICTS, CrosscheckError
from inversion.findings import as_text, carried
from inversion.inventory.entry import Period, PeriodError
from inversion.maps import Station
from inversion.regions import mass_unit
from inversion.report import rows

FIELDS: Final = (
    "country_fraction",
    "cell_area",
    "flux_total_prior",
    "flux_total_posterior",
    "stdev_flux_total_prior",
    "stdev_flux_total_posterior",
)
"""Gridded variables of the template that a report may carry along."""

_TOTALS: Final = {
    "flux_total_prior_country": ("prior", "prior {} fluxes"),
    "stdev_flux_total_prior_country": ("prior_sigma", "standard deviation of prior {} fluxes"),
    "flux_total_posterior_country": ("inversion", "posterior {} fluxes"),
    "stdev_flux_total_posterior_country": ("inversion_sigma", "standard deviation of posterior {} fluxes"),
    "flux_total_inventory_country": ("inventory", "{} emissions of the inventory"),
    "stdev_flux_total_inventory_country": ("inventory_sigma", "standard uncertainty of the inventory's {} emissions"),
    "flux_total_inventory_smoothed_country": ("inventory_smoothed", "inventory as the inversion would have seen it"),
    "flux_total_difference_country": ("difference", "posterior minus smoothed inventory"),
    "stdev_flux_total_difference_country": ("difference_sigma", "standard deviation of the difference"),
    "flux_total_inventory_error_country": ("ledger_difference", "difference as an error of the inventory"),
    "stdev_flux_total_inventory_error_country": (
        "joint_sigma",
        "joint standard deviation as an error of the inventory",
    ),
}
_COVARIANCES: Final = {
    "covariance_flux_total_prior_country": ("prior_covariance", "covariance of prior {} fluxes"),
    "covariance_flux_total_posterior_country": ("inversion_covariance", "covariance of posterior {} fluxes"),
    "covariance_flux_total_inventory_country": ("inventory_covariance", "covariance of the inventory's {} emissions"),
    "covariance_flux_total_difference_country": ("difference_covariance", "covariance of the differences"),
}
_NUMBERS: Final = {
    "crosscheck_z_country": ("z", "difference over its standard deviation"),
    "crosscheck_p_country": ("p", "two-sided probability of a difference as large by chance"),
    "crosscheck_p_adjusted_country": ("p_adjusted", "the same, adjusted for the number of regions by the rule"),
    "crosscheck_share_country": ("share", "share of the region the network saw"),
}
_RANGE: Final = {
    "flux_total_posterior_median_country": ("inversion_median", "median of posterior {} fluxes over configurations"),
    "flux_total_posterior_low_country": ("inversion_low", "lowest of posterior {} fluxes over configurations"),
    "flux_total_posterior_high_country": ("inversion_high", "highest of posterior {} fluxes over configurations"),
    "stdev_flux_total_posterior_between_country": (
        "inversion_spread",
        "standard deviation of posterior {} fluxes between configurations",
    ),
}
"""Only where a comparison has the range over configurations."""
_NAMES: Final = ("gbt2260", "name_zh", "name_en")
_KEPT: Final = (
    "gas",
    "window",
    "category",
    "ledger_period",
    "ledger_vintage",
    "ledger_source",
    "rule",
    "level",
    "critical_z",
    "min_share",
    "min_covered",
    "inventory_correlation",
    "control",
    "family_wise",
    "caution",
    "configurations",
    "findings",
    "diagnostics",
    "sites",
)


def to_dataset(
    comparison: xr.Dataset, *, title: str, fields: xr.Dataset | None = None, stations: Sequence[Station] = ()
) -> xr.Dataset:
    """Return the comparison with the template's names, in kg yr-1.

    Parameters
    ----------
    comparison : xr.Dataset
        From `crosscheck.compare`.
    title : str
    fields : xr.Dataset, optional
        Some of `FIELDS` on (country,) latitude, longitude.
    stations : sequence of Station

    Returns
    -------
    xr.Dataset
    """
    factor = mass_unit(comparison.attrs["units"])
    gas = str(comparison.attrs["gas"])
    dataset = xr.Dataset(coords=_coordinates(comparison))
    ranged = _RANGE if "inversion_low" in comparison else {}
    for name, (source, long_name) in (_TOTALS | ranged).items():
        values = comparison[source].values[:, None] * factor
        attrs = {"units": "kg yr-1", "long_name": long_name.format(gas), "cell_methods": "country: point time: mean"}
        dataset[name] = (("country", "time"), values, attrs)
    for name, (source, long_name) in _COVARIANCES.items():
        values = comparison[source].values[:, :, None] * factor**2
        methods = "country: point country_2: point time: mean"
        attrs = {"units": "kg2 yr-2", "long_name": long_name.format(gas), "cell_methods": methods}
        dataset[name] = (("country", "country_2", "time"), values, attrs)
    for name, (source, long_name) in _NUMBERS.items():
        dataset[name] = ("country", comparison[source].values, {"units": "1", "long_name": long_name})
    dataset["crosscheck_averaging_kernel_country"] = (
        ("country", "country_2"),
        comparison["averaging_kernel"].values,
        {"units": "1", "long_name": "averaging kernel of the regions' totals"},
    )
    dataset = dataset.assign(_words(comparison))
    if fields is not None:
        dataset = dataset.merge(_gridded(fields, dataset), combine_attrs="override")
    return dataset.assign(_places(stations)).assign_attrs(_attributes(comparison, title))


def _coordinates(comparison: xr.Dataset) -> dict[str, Any]:
    codes = comparison["region"].values.astype(str)
    label = {"long_name": "province-level unit, ISO 3166-2"}
    start, end = _bounds(comparison)
    time = {
        "long_name": "mid of flux interval in UTC",
        "standard_name": "time",
        "axis": "T",
        "bounds": "time_bnds",
    }
    names = {n: ("country", comparison[n].values.astype(str)) for n in _NAMES if n in comparison.coords}
    covered = {"covered": ("country", comparison["covered"].values)} if "covered" in comparison.coords else {}
    return {
        "country": ("country", codes, label),
        "country_2": ("country_2", codes, label),
        "time": ("time", [start + (end - start) / 2], time),
        "time_bnds": (("time", "nbnds"), [[start, end]]),
        **names,
        **covered,
    }


def _bounds(comparison: xr.Dataset) -> tuple[np.datetime64, np.datetime64]:
    """Return the window of the inversion; where it is not stated as dates, the ledger's period."""
    first, slash, last = str(comparison.attrs["window"]).partition("/")
    if slash and "T" in first and "T" in last:
        return np.datetime64(first, "ns"), np.datetime64(last, "ns")
    try:
        period = Period.parse(str(comparison.attrs["window"]))
    except PeriodError:
        period = Period.parse(str(comparison.attrs["ledger_period"]))
    return np.datetime64(period.start, "ns"), np.datetime64(period.end, "ns")


def _words(comparison: xr.Dataset) -> dict[str, Any]:
    verdict = [VERDICTS.index(word) for word in comparison["verdict"].values]
    flags = {
        "long_name": "verdict of the cross-check; higher: more in the sky than in the inventory",
        "flag_values": np.arange(len(VERDICTS), dtype=np.int8),
        "flag_meanings": " ".join(word.replace(" ", "_") for word in VERDICTS),
    }
    return {
        "crosscheck_verdict_country": ("country", np.array(verdict, dtype=np.int8), flags),
        "crosscheck_reason_country": (
            "country",
            comparison["reason"].values.astype(str),
            {"long_name": "why not resolved"},
        ),
        "inventory_notation_key_country": (
            "country",
            comparison["inventory_notation"].values.astype(str),
            {"long_name": "notation key of the inventory (NE, NO, IE, C, NA)"},
        ),
    }


def _gridded(fields: xr.Dataset, dataset: xr.Dataset) -> xr.Dataset:
    unknown = sorted(set(map(str, fields.data_vars)) - set(FIELDS))
    if unknown:
        raise CrosscheckError("The fields", [f"{', '.join(unknown)} are not in the template: {', '.join(FIELDS)} are."])
    chosen = fields.drop_vars([name for name in fields.coords if name not in ("country", "latitude", "longitude")])
    if "country" in chosen.dims:
        chosen = chosen.sel(country=dataset["country"].values)
    return chosen


def _places(stations: Sequence[Station]) -> dict[str, Any]:
    if not stations:
        return {}
    return {
        "station": ("station", [s.name for s in stations], {"long_name": "station"}),
        "station_latitude": ("station", [s.latitude for s in stations], {"units": "degrees_north"}),
        "station_longitude": ("station", [s.longitude for s in stations], {"units": "degrees_east"}),
    }


def _attributes(comparison: xr.Dataset, title: str) -> dict[str, Any]:
    return {
        "Conventions": "CF-1.8",
        "title": title,
        "source": "atmospheric inversion compared with a statistical inventory",
        "summary": " ".join(rows.summary(comparison)),
        "inversion_system": "skyledger",
        "inversion_system_version": version("skyledger"),
        "comment": "Regions below the country stand in the template's country dimension.",
        "crosscheck_units": comparison.attrs["units"],
        **{f"crosscheck_{name}": comparison.attrs[name] for name in _KEPT if name in comparison.attrs},
    }


def write(dataset: xr.Dataset, path: Path) -> Path:
    """Write what `to_dataset` returned."""
    encoding: dict[str, Any] = {
        name: {"units": "days since 1970-01-01 00:00:00", "calendar": "proleptic_gregorian", "dtype": "float64"}
        for name in ("time", "time_bnds")
    }
    encoding |= {
        str(n): {"zlib": True, "complevel": 4}
        for n, v in dataset.data_vars.items()
        if v.ndim >= 2 and v.dtype.kind == "f"
    }
    dataset.to_netcdf(path, engine="netcdf4", encoding=encoding)
    return path


def plain(ds: xr.Dataset, *, title: str) -> xr.Dataset:
    """Return trends or sectors as a file holds them: texts as texts, truth as 0 and 1; units as they are."""
    made = ds.assign_attrs({name: value for name, value in ds.attrs.items() if isinstance(value, str | int | float)})
    for name, values in ds.variables.items():
        if values.dtype == object:
            made[name] = (values.dims, values.values.astype(str), values.attrs)
        elif values.dtype == bool:
            made[name] = (values.dims, values.values.astype(np.int8), values.attrs)
    about = {"Conventions": "CF-1.8", "title": title, "inversion_system_version": version("skyledger")}
    return made.assign_attrs({n: int(v) if isinstance(v, bool) else v for n, v in made.attrs.items()} | about)


def read_totals(path: str | Path) -> xr.Dataset:
    """Return the totals of an inversion from a report's netCDF, to compare them with another ledger.

    Parameters
    ----------
    path : path

    Returns
    -------
    xr.Dataset
        As `crosscheck.totals`.

    Raises
    ------
    CrosscheckError
        When the file holds no totals with their covariances.
    """
    try:
        with xr.open_dataset(path, engine="netcdf4") as opened:
            stored = opened.load()
    except (OSError, ValueError) as error:
        raise CrosscheckError(str(path), [f"It is no netCDF file that can be read ({error})."]) from error
    names = {
        "prior": "flux_total_prior_country",
        "inversion": "flux_total_posterior_country",
        "prior_covariance": "covariance_flux_total_prior_country",
        "inversion_covariance": "covariance_flux_total_posterior_country",
    }
    missing = [name for name in (*names.values(), "country", "time") if name not in stored.variables]
    if missing:
        raise CrosscheckError(
            str(path), [f"It has no {', '.join(missing)}: give the netCDF file of a skyledger report."]
        )
    if stored.sizes["time"] != 1:
        raise CrosscheckError(str(path), [f"It holds {stored.sizes['time']} times, expected one."])
    unit = str(stored.attrs.get("crosscheck_units", "kt yr-1"))
    factor = mass_unit(unit)
    dims: dict[str, tuple[tuple[str, ...], float]] = {
        "prior": (("region",), factor),
        "inversion": (("region",), factor),
        "prior_covariance": (("region", "region_cov"), factor**2),
        "inversion_covariance": (("region", "region_cov"), factor**2),
    }
    codes = stored["country"].values.astype(str)
    names_of = {n: ("region", stored[n].values.astype(str)) for n in _NAMES if n in stored.variables}
    covered = {"covered": ("region", stored["covered"].values)} if "covered" in stored.variables else {}
    return xr.Dataset(
        {
            ours: (dim, stored[names[ours]].isel(time=0).values / scale, {"units": unit})
            for ours, (dim, scale) in dims.items()
        },
        coords={"region": codes, "region_cov": codes, **names_of, **covered},
        attrs={
            "units": unit,
            "findings": _of_inversion(str(stored.attrs.get("crosscheck_findings", ""))),
            **{
                name: str(stored.attrs.get(f"crosscheck_{name}", ""))
                for name in ("gas", "window", "diagnostics", "sites")
            },
        },
    )


_OF_LEDGER: Final = ("prior_is_inventory", "other_time")
"""Findings that are of an inversion and one ledger; they do not go along to another."""


def _of_inversion(findings: str) -> str:
    kept = [finding for finding in carried({"findings": findings}) if finding.code not in _OF_LEDGER]
    return as_text(kept) if findings else ""


def read_stations(path: str | Path) -> list[Station]:
    """Return the stations a report's netCDF names."""
    with xr.open_dataset(path, engine="netcdf4") as stored:
        if "station" not in stored.variables:
            return []
        columns = (stored[name].values for name in ("station", "station_latitude", "station_longitude"))
        return [Station(str(name), float(lat), float(lon)) for name, lat, lon in zip(*columns, strict=True)]
