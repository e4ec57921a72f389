"""From series of stations to the observations of an inversion: what is taken, what dropped and why, their errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr

from inversion.covariance import BlockDiagonal, Covariance, Dense, Diagonal, OrnsteinUhlenbeck, exponential
from inversion.covariance.operator import Array
from inversion.errors import SelectionError
from qc.schema import OBS, require, valid

AFTERNOON: Final = (11.0, 17.0)
"""Local solar hours in which the boundary layer is deep and well mixed: start included, end excluded."""
REASONS: Final = ("inlet", "flag", "uncertainty", "too_few", "hour")
"""Why an observation is dropped, in the order in which it is looked at: each is counted under the first that applies.

``inlet``: not the inlet asked for; ``flag``: not valid; ``uncertainty``: none stated; ``too_few``: the mean rests on
too few values; ``hour``: outside the hours asked for.
"""


@dataclass(frozen=True, slots=True)
class Selected:
    """What was taken, and what was not.

    Attributes
    ----------
    observations : xr.Dataset (obs)
        ``mole_fraction``, ``uncertainty``, ``stdev`` (units of the series), ``n``; coordinates ``time``, the interval
        it is the middle of (``interval_start``, ``interval_end``), ``site``, ``inlet``, ``longitude``, ``latitude``,
        ``height`` [m above ground], ``altitude`` [m]; ordered by site, then time. It serves as the receptors of
        `inversion.transport.footprints`.
    counts : xr.DataArray (series, outcome)
        Number of values of each series by outcome: those of `REASONS`, and ``kept``; coordinates ``site``, ``inlet``.
    """

    observations: xr.Dataset
    counts: xr.DataArray


def gather(
    series: Iterable[xr.Dataset] | xr.DataTree,
    species: str,
    *,
    hours: tuple[float, float] | None = AFTERNOON,
    site_hours: Mapping[str, tuple[float, float] | None] | None = None,
    inlet: str = "upper",
    minimum: int = 1,
) -> Selected:
    """Return the valid observations of a gas that an inversion can use.

    Parameters
    ----------
    series : iterable of xr.Dataset (OBS), or xr.DataTree ``station/inlet``
    species : str
        The gas, as "co2"; series without it are left out.
    hours : (start, end) or None
        Local mean solar time (UTC + longitude / 15°) of the middle of the interval; past midnight where start > end.
    site_hours : mapping, optional
        Hours of single stations, as nights of mountains: ``{"wlg": (22.0, 4.0)}``.
    inlet : str
        "upper" (the highest of each station), "all", or the name of one.
    minimum : int
        Fewest values a mean must rest on.

    Returns
    -------
    Selected

    Raises
    ------
    SchemaError
        Where a series is not OBS.
    SelectionError
        Where series differ in units or scale, or nothing is left.
    """
    chosen = [ds for ds in _datasets(series) if species in OBS.species(ds)]
    for ds in chosen:
        require(ds, OBS)
    _same(chosen, species)
    highest = _highest(chosen)
    parts, counts = [], []
    for ds in chosen:
        window = (site_hours or {}).get(str(ds.attrs["station"]), hours)
        wanted = _wanted(ds, inlet, highest)
        keep, number = _sift(ds, _rules(ds, species, window, minimum, wanted=wanted))
        parts.append(_flatten(ds, species, keep))
        counts.append(number)
    table = _counts(chosen, counts)
    if not table.sel(outcome="kept").sum():
        lost = ", ".join(f"{reason} {int(table.sel(outcome=reason).sum())}" for reason in REASONS)
        msg = f"No observation of {species} is left of {int(table.sum())}; dropped for: {lost}."
        raise SelectionError(msg)
    together = xr.concat(parts, dim="obs", data_vars="all", coords="different", compat="equals", join="exact")
    order = np.lexsort((together["time"].values, together["site"].values))
    return Selected(together.isel(obs=order), table)


def errors(
    observations: xr.Dataset,
    *,
    representation: float | Mapping[str, float],
    transport: float | Mapping[str, float] | None = None,
    correlation_hours: float | None = None,
    within: bool = False,
) -> Covariance:
    """Return R = measurement ⊕ representation and transport, site by site.

    R_ij = u_i² δ_ij + r_i r_j exp(−|t_i − t_j| / L) within a site, 0 between sites; without `correlation_hours` the
    second term is diagonal too. With `transport` τ given apart, r is independent from hour to hour:
    R_ij = (u_i² + r_i²) δ_ij + τ_i τ_j exp(−|t_i − t_j| / L).

    Parameters
    ----------
    observations : xr.Dataset
        `Selected.observations`: ordered by site.
    representation : float or mapping of site to float
        Standard deviation r of what the transport and its grid cannot follow, in the units of the observations.
    transport : float or mapping of site to float, optional
        Standard deviation τ of the transport's error, where it is known apart from r.
    correlation_hours : float, optional
        e-folding time L of that error.
    within : bool
        Add the standard deviation within each mean to r in quadrature, as a measure of what the hour varied.

    Returns
    -------
    Diagonal or BlockDiagonal (n, n)

    Raises
    ------
    SelectionError
        Where a site has no representation error.
    CovarianceError
    """
    sites = observations["site"].values.astype(str)
    independent = observations["uncertainty"].values.astype(np.float64) ** 2
    own = _per_site(sites, representation, "representation")
    if within:
        own = np.hypot(own, np.nan_to_num(observations["stdev"].values.astype(np.float64)))
    if transport is not None:
        independent = independent + own**2
        own = _per_site(sites, transport, "transport")
    if correlation_hours is None:
        return Diagonal(independent + own**2, name="R")
    hours = (observations["time"].values - observations["time"].values.min()) / np.timedelta64(1, "h")
    blocks = []
    for site in dict.fromkeys(sites.tolist()):
        rows = np.flatnonzero(sites == site)
        if rows[-1] - rows[0] + 1 != rows.size:
            msg = f"The observations of {site} do not stand together; sort them by site, as `gather` does."
            raise SelectionError(msg)
        blocks.append(_fading(hours[rows], independent[rows], own[rows], correlation_hours, f"R of {site}"))
    return BlockDiagonal(blocks, name="R")


def solar_hour(time: np.ndarray, longitude: float | Array) -> Array:
    """Return the local mean solar hour, UTC + longitude / 15° (without the equation of time, 16 minutes at most).

    Parameters
    ----------
    time : array of datetime64 (UTC)
    longitude : float or array [degree]

    Returns
    -------
    array, 0 to 24

    Examples
    --------
    >>> solar_hour(np.array(["2024-01-01T04:00"], "datetime64[ns]"), 120.0)
    array([12.])
    """
    hour = (time - time.astype("datetime64[D]")) / np.timedelta64(1, "h")
    return (hour + np.asarray(longitude) / 15.0) % 24.0


def in_hours(time: np.ndarray, longitude: float | Array, hours: tuple[float, float] | None) -> np.ndarray:
    """Return which times lie in local solar hours.

    Parameters
    ----------
    time : array of datetime64 (UTC)
    longitude : float or array [degree]
    hours : (start, end) or None
        The end not included; past midnight where start > end; None: every hour.

    Returns
    -------
    array of bool
    """
    if hours is None:
        return np.ones(time.size, dtype=bool)
    hour = solar_hour(time, longitude)
    start, end = hours
    return (hour >= start) & (hour < end) if start <= end else (hour >= start) | (hour < end)


def _datasets(series: Iterable[xr.Dataset] | xr.DataTree) -> list[xr.Dataset]:
    if isinstance(series, xr.DataTree):
        return [node.to_dataset() for node in series.subtree if node.has_data]
    return list(series)


def _same(series: list[xr.Dataset], species: str) -> None:
    if not series:
        msg = f"No series has the gas {species!r}."
        raise SelectionError(msg)
    for attribute in ("units", "scale"):
        values: dict[str, str] = {}
        for ds in series:
            values.setdefault(str(ds[species].attrs[attribute]), f"{ds.attrs['station']}/{ds.attrs['inlet']}")
        if len(values) > 1:
            listed = ", ".join(f"{value!r} at {where}" for value, where in values.items())
            msg = f"The series of {species} differ in {attribute}: {listed}; convert them before they are put together."
            raise SelectionError(msg)


def _highest(series: list[xr.Dataset]) -> dict[str, float]:
    highest: dict[str, float] = {}
    for ds in series:
        station = str(ds.attrs["station"])
        highest[station] = max(float(ds.attrs["inlet_height"]), highest.get(station, -np.inf))
    return highest


def _wanted(ds: xr.Dataset, inlet: str, highest: Mapping[str, float]) -> bool:
    if inlet == "upper":
        return float(ds.attrs["inlet_height"]) == highest[str(ds.attrs["station"])]
    return inlet == "all" or str(ds.attrs["inlet"]) == inlet


def _rules(
    ds: xr.Dataset, species: str, hours: tuple[float, float] | None, minimum: int, *, wanted: bool
) -> dict[str, Callable[[], np.ndarray]]:
    """Return what passes each rule, in the order of `REASONS`."""
    size = ds.sizes["time"]
    uncertainty = ds[f"{species}_uncertainty"].values

    return {
        "inlet": lambda: np.full(size, wanted),
        "flag": lambda: valid(ds, species).values,
        "uncertainty": lambda: np.isfinite(uncertainty) & (uncertainty > 0),
        "too_few": lambda: ds[f"{species}_n"].values >= minimum,
        "hour": lambda: in_hours(ds["time"].values, float(ds.attrs["longitude"]), hours),
    }


def _sift(ds: xr.Dataset, rules: Mapping[str, Callable[[], np.ndarray]]) -> tuple[np.ndarray, list[int]]:
    """Return what passes all rules, and how many each rule dropped first."""
    keep = np.ones(ds.sizes["time"], dtype=bool)
    numbers = []
    for reason in REASONS:
        passed = rules[reason]()
        numbers.append(int((keep & ~passed).sum()))
        keep &= passed
    return keep, [*numbers, int(keep.sum())]


def _flatten(ds: xr.Dataset, species: str, keep: np.ndarray) -> xr.Dataset:
    part = ds.isel(time=np.flatnonzero(keep))
    size = part.sizes["time"]
    units = {"units": ds[species].attrs["units"]}

    def fixed(value: Any, **attrs: str) -> tuple[str, np.ndarray, dict[str, str]]:
        return "obs", np.full(size, value), attrs

    return xr.Dataset(
        {
            "mole_fraction": ("obs", part[species].values, {**units, "scale": ds[species].attrs["scale"]}),
            "uncertainty": ("obs", part[f"{species}_uncertainty"].values, units),
            "stdev": ("obs", part[f"{species}_stdev"].values, units),
            "n": ("obs", part[f"{species}_n"].values.astype(np.float64), {"units": "1"}),
        },
        coords={
            "time": ("obs", part["time"].values),
            "interval_start": ("obs", part["time_bnds"].values[:, 0]),
            "interval_end": ("obs", part["time_bnds"].values[:, 1]),
            "site": fixed(str(ds.attrs["station"])),
            "inlet": fixed(str(ds.attrs["inlet"])),
            "longitude": fixed(float(ds.attrs["longitude"]), units="degrees_east"),
            "latitude": fixed(float(ds.attrs["latitude"]), units="degrees_north"),
            "height": fixed(float(ds.attrs["inlet_height"]), units="m"),
            "altitude": fixed(float(ds.attrs["altitude"]), units="m"),
        },
        attrs={"species": species},
    )


def _counts(series: list[xr.Dataset], counts: list[list[int]]) -> xr.DataArray:
    return xr.DataArray(
        np.array(counts),
        dims=("series", "outcome"),
        coords={
            "outcome": [*REASONS, "kept"],
            "site": ("series", [str(ds.attrs["station"]) for ds in series]),
            "inlet": ("series", [str(ds.attrs["inlet"]) for ds in series]),
        },
        name="number of values",
    )


def _fading(hours: Array, independent: Array, own: Array, length: float, name: str) -> Covariance:
    """Return the errors of one site; without order in time (columns of several instruments) entry by entry."""
    if (np.diff(hours) >= 0).all():
        return OrnsteinUhlenbeck(hours, independent, own, length, name=name)
    lag = np.abs(hours[:, None] - hours)
    return Dense(exponential(lag, length) * np.outer(own, own) + np.diag(independent), name=name)


def _per_site(sites: np.ndarray, sigma: float | Mapping[str, float], what: str) -> Array:
    if not isinstance(sigma, Mapping):
        return np.full(sites.size, float(sigma))
    missing = sorted(set(sites.tolist()) - set(sigma))
    if missing:
        msg = f"No {what} error is given for {', '.join(missing)}; give each site one, or one number for all."
        raise SelectionError(msg)
    return np.array([float(sigma[site]) for site in sites.tolist()])
