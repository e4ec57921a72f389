"""A solved problem in the names of PARIS: fluxes on the grid and by country or province, mole fractions by observation.

Templates for fluxes v03 and concentrations v04 (schemas FLUX and CONCENTRATION of `inversion.datasets`).
"""

from __future__ import annotations

import re
from importlib.metadata import version
from typing import Any, Final

import numpy as np
import scipy.sparse
import xarray as xr

from inversion import crosscheck
from inversion.assemble.division import Interval, intervals_of, mass, rows_of
from inversion.assemble.problem import Assembled
from inversion.covariance.operator import Array
from inversion.datasets import CONCENTRATION, FLUX, FLUX_UNITS
from inversion.errors import AssemblyError
from inversion.posterior import Posterior
from inversion.regions import cell_area
from qc.schema import require
from qc.units import TO_MOLE_FRACTION

_WHOLE: Final = 1500
"""Up to so many states of an interval their covariance is taken at once; else cell by cell, in batches."""
_BATCH: Final = 256
_JOINT: Final = 5 * 10**7
"""Largest aggregate, numbers, of which covariances between times and sectors are taken: 400 MB."""
_GRID: Final = ("time", "latitude", "longitude")
_TIME: Final = {"standard_name": "time", "axis": "T", "bounds": "time_bnds"}


def fluxes(
    assembled: Assembled,
    posterior: Posterior,
    gas: str,
    *,
    regions: xr.Dataset | None = None,
    molar_mass: float | None = None,
) -> xr.Dataset:
    """Return prior and posterior fluxes with their standard deviations, in the names of PARIS.

    Parameters
    ----------
    assembled : Assembled
    posterior : Posterior
        Of its problem.
    gas : str
    regions : xr.Dataset, optional
        From `inversion.regions.fractions`: totals by region with their covariances, kg yr-1: within each time; where
        there are several, between them too (``covariance_flux_total_posterior_country_time``); and with several sectors
        their means over the window, ``flux_sector_posterior_country``, with the covariance of all sectors and regions
        (and the same for the prior). `crosscheck.read_periods` and `read_sectors` read them.
    molar_mass : float, optional
        kg mol-1, of a gas that `qc.units` does not know.

    Returns
    -------
    xr.Dataset
        FLUX. One time for each stretch in which no period of any sector ends; each sector by its own name where there
        are several. What is fixed is no part of it. A flux that changes in time is its mean over its period.

    Raises
    ------
    AssemblyError
        Where no sector emits the gas.
    """
    intervals = list(intervals_of(assembled, gas))
    if not intervals:
        raise AssemblyError("Fluxes", [f"No sector emits {gas}."])
    grid = assembled.blocks[0].basis.grid
    names = list(dict.fromkeys(name for interval in intervals for name in interval.sectors.tolist()))
    variables: dict[str, Any] = {}
    for label, chosen in [("total", None), *((_plain(n), n) for n in names if len(names) > 1)]:
        parts = [_fields(interval, posterior, chosen) for interval in intervals]
        for kind, values in zip(("flux_{}_prior", "flux_{}_posterior"), _stacked(parts, grid)[:2], strict=True):
            variables[kind.format(label)] = (_GRID, values, _about(f"{kind.split('_')[-1]} {label} {gas} fluxes"))
        for kind, values in zip(("prior", "posterior"), _stacked(parts, grid)[2:], strict=True):
            about = _about(f"standard deviation of {kind} {label} {gas} fluxes")
            variables[f"stdev_flux_{label}_{kind}"] = (_GRID, values, about)
    area = cell_area(grid["latitude"], grid["longitude"])
    variables["cell_area"] = (("latitude", "longitude"), area.values, area.attrs)
    if regions is not None:
        variables |= _countries(intervals, posterior, regions, mass(gas, "kg yr-1", molar_mass))
    window = f"{intervals[0].start}/{intervals[-1].end}"
    attrs = _attributes(posterior, "fluxes") | _for_the_crosscheck(posterior, gas, window)
    ds = xr.Dataset(variables, _flux_coords(intervals, grid, regions), attrs)
    require(ds, FLUX)
    return ds


def concentrations(assembled: Assembled, posterior: Posterior, gas: str) -> xr.Dataset:
    """Return observed and simulated mole fractions of a gas, in the names of PARIS.

    Parameters
    ----------
    assembled : Assembled
    posterior : Posterior
        Of its problem.
    gas : str

    Returns
    -------
    xr.Dataset
        CONCENTRATION, mol mol-1. Where an observation does not say its interval, ``time_bnds`` is its time twice.

    Raises
    ------
    AssemblyError
        Where the gas was not observed.
    """
    obs = posterior.observations
    rows = np.flatnonzero(obs["obs_gas"].values == gas)
    if not rows.size:
        raise AssemblyError("Concentrations", [f"{gas} was not observed."])
    factor = TO_MOLE_FRACTION[posterior.problem.y_units]
    variables: dict[str, Any] = {
        str(name): ("index", obs[name].values[rows] * factor, {"units": "mol mol-1"}) for name in obs.data_vars
    }
    pieces = [stream.observations for stream in assembled.streams]

    def joined(name: str, instead: str) -> np.ndarray:
        return np.concatenate([(ds[name] if name in ds.coords else ds[instead]).values for ds in pieces])[rows]

    time = joined("time", "time")
    bounds = np.stack([joined("interval_start", "time"), joined("interval_end", "time")], axis=1)
    platform, number = np.unique(obs["station"].values[rows].astype(str), return_inverse=True)
    altitude = joined("altitude", "altitude") + np.nan_to_num(joined("height", "height"))
    variables |= {
        "time": ("index", time, {"standard_name": "time", "bounds": "time_bnds"}),
        "time_bnds": (("index", "nbnds"), bounds.astype("datetime64[ns]")),
        "longitude": ("index", joined("longitude", "longitude"), _axis("longitude", "degrees_east")),
        "latitude": ("index", joined("latitude", "latitude"), _axis("latitude", "degrees_north")),
        "altitude": ("index", altitude, _axis("altitude", "m")),
        "intake_height": ("index", joined("height", "height"), {"units": "m"}),
        "number_of_identifier": ("index", number.ravel().astype(np.int16), {"units": "1"}),
    }
    ds = xr.Dataset(variables, {"platform": platform.astype(object)}, _attributes(posterior, "mole fractions"))
    require(ds, CONCENTRATION)
    return ds


def _fields(interval: Interval, posterior: Posterior, sector: str | None) -> tuple[Array, Array, Array, Array]:
    """Return prior, posterior and their standard deviations by cell."""
    kept = np.flatnonzero(interval.sectors == sector) if sector is not None else np.arange(interval.places.size)
    A, places = interval.fields[:, kept], interval.places[kept]
    prior, after = posterior.problem.x_a.values[places], posterior.mean.values[places]
    m = posterior.problem.n_state
    if kept.size <= _WHOLE:
        E = scipy.sparse.csr_matrix((np.ones(kept.size), (np.arange(kept.size), places)), shape=(kept.size, m))
        before, behind = (c.values for c in (posterior.prior_covariance(E), posterior.covariance(E)))
        sigmas = [np.sqrt(np.asarray(A.multiply(A @ C).sum(axis=1)).ravel()) for C in (before, behind)]
    else:
        W = scipy.sparse.csr_matrix((A.tocoo().data, (A.tocoo().row, places[A.tocoo().col])), shape=(A.shape[0], m))
        parts = [W[k : k + _BATCH] for k in range(0, A.shape[0], _BATCH)]
        sigmas = [np.concatenate([f(part).values for part in parts]) for f in (posterior.prior_stdev, posterior.stdev)]
    return A @ prior, A @ after, sigmas[0], sigmas[1]


def _stacked(parts: list[tuple[Array, Array, Array, Array]], grid: xr.Dataset) -> list[Array]:
    shape = (len(parts), grid.sizes["latitude"], grid.sizes["longitude"])
    return [np.stack(columns).reshape(shape) for columns in zip(*parts, strict=True)]


def _countries(intervals: list[Interval], posterior: Posterior, regions: xr.Dataset, factor: float) -> dict[str, Any]:
    """Return totals by region in kg yr-1 with their covariances: by interval, between intervals, and by sector."""
    share = regions["country_fraction"].transpose("country", "latitude", "longitude")
    rows = [rows_of(interval, regions, posterior.problem.n_state, factor) for interval in intervals]
    W = np.stack([np.sum(list(each.values()), axis=0) for each in rows], axis=1)
    found: dict[str, Any] = {
        "country_fraction": (share.dims, share.values, {"units": "1", "standard_name": "area_fraction"})
    }
    found |= _moments(posterior, W, "total", "time")
    sectors = list(dict.fromkeys(name for each in rows for name in each))
    if len(sectors) > 1:
        length = np.array([(one.end - one.start) / np.timedelta64(1, "s") for one in intervals])
        weight = length / length.sum()
        whole = [np.sum([w * each[name] for w, each in zip(weight, rows, strict=True)], axis=0) for name in sectors]
        found |= _moments(posterior, np.stack(whole, axis=1), "sector", "sector")
    return found


def _moments(posterior: Posterior, W: Array, label: str, dim: str) -> dict[str, Any]:
    """Return prior and posterior of W (country, time or sector, state) with their covariances.

    Between times, and between sectors, they are left out where the aggregate itself would be too large.
    """
    k, parts, m = W.shape
    joint = W.size <= _JOINT
    ways = {"cell_methods": "country: point time: mean"}
    units, square = {"units": "kg yr-1", **ways}, {"units": "kg2 yr-2", **ways}
    found: dict[str, Any] = {}
    for kind, total, spread in (
        ("prior", posterior.prior_total, posterior.prior_covariance),
        ("posterior", posterior.total, posterior.covariance),
    ):
        name = f"flux_{label}_{kind}_country"
        values = total(W.reshape(-1, m)).values.reshape(k, parts)
        if joint:
            whole = spread(W.reshape(-1, m)).values.reshape(k, parts, k, parts)
            own = np.einsum("atbt->abt", whole)
            if parts > 1:
                between = f"covariance_{name}" + ("_time" if dim == "time" else "")
                found[between] = (("country", dim, "country_2", f"{dim}_2"), whole, square)
        else:
            own = np.stack([spread(W[:, t]).values for t in range(parts)], axis=2)
        found[name] = (("country", dim), values, units)
        found[f"stdev_{name}"] = (("country", dim), np.sqrt(np.einsum("kkt->kt", own)), units)
        if dim == "time":
            about = {**square, "cell_methods": "country: point country_2: point time: mean"}
            found[f"covariance_{name}"] = (("country", "country_2", dim), own, about)
    return found


def _flux_coords(intervals: list[Interval], grid: xr.Dataset, regions: xr.Dataset | None) -> dict[str, Any]:
    start, end = (np.array([getattr(i, name) for i in intervals]) for name in ("start", "end"))
    coords: dict[str, Any] = {
        "time": ("time", start + (end - start) // 2, {**_TIME, "long_name": "mid of flux interval in UTC"}),
        "time_bnds": (("time", "nbnds"), np.stack([start, end], axis=1)),
        "latitude": ("latitude", grid["latitude"].values, _axis("latitude", "degrees_north")),
        "longitude": ("longitude", grid["longitude"].values, _axis("longitude", "degrees_east")),
    }
    if regions is not None:
        codes = regions["country"].values.astype(str).astype(object)
        names = [n for n in ("gbt2260", "name_zh", "name_en", "covered") if n in regions.coords]
        coords |= {"country": ("country", codes), "country_2": ("country_2", codes)}
        coords |= {name: ("country", regions[name].values) for name in names}
        sectors = list(dict.fromkeys(name for interval in intervals for name in interval.sectors.tolist()))
        coords |= {"sector": ("sector", np.array(sectors, dtype=object))} if len(sectors) > 1 else {}
    return coords


def _about(long_name: str) -> dict[str, str]:
    return {"units": FLUX_UNITS, "long_name": long_name, "cell_methods": "time: mean area: mean"}


def _axis(name: str, units: str) -> dict[str, str]:
    return {"units": units, "standard_name": name}


def _plain(name: str) -> str:
    """Return a sector's name as part of a variable's name."""
    return re.sub(r"\W+", "_", name.strip().lower()).strip("_") or "sector"


def _for_the_crosscheck(posterior: Posterior, gas: str, window: str) -> dict[str, str]:
    """Return what `report.read_totals` wants to know."""
    row = np.ones((1, posterior.problem.n_state))
    whole = xr.DataArray(row, {"region": ["domain"]}, ("region", "state"), attrs={"units": "kt yr-1"})
    said = crosscheck.totals(posterior, whole).attrs
    about = {"gas": gas, "window": window, "units": "kt yr-1", "findings": said["findings"]}
    return {f"crosscheck_{key}": str(value) for key, value in {**about, "diagnostics": said["diagnostics"]}.items()}


def _attributes(posterior: Posterior, what: str) -> dict[str, Any]:
    stored = posterior.to_dataset().attrs
    return {
        "Conventions": "CF-1.8",
        "title": f"{posterior.problem.name}: {what}",
        "inversion_system": "skyledger",
        "inversion_system_version": version("skyledger"),
        "findings": "\n".join(str(finding) for finding in posterior.findings),
        "provenance": stored["provenance"],
    }
