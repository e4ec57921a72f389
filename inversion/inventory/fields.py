"""An inventory as fields in space and time: every category laid over its regions by a proxy, and over the year."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from inversion.inventory import gridding
from inversion.inventory.categories import nearest, overlap
from inversion.inventory.entry import Inventory, InventoryError, Ledger, Period
from inversion.inventory.profiles import Profiles
from inversion.provinces import RegionError
from inversion.regions import SECONDS_PER_YEAR

_GRID: Final = ("latitude", "longitude")
_UNITS: Final = "mol m-2 s-1"
_WHOLE: Final = 0.9995
"""Of a region, from where on it counts as inside the grid: what is missing would not show."""


@dataclass(frozen=True, slots=True)
class Timing:
    """When the totals are emitted.

    Attributes
    ----------
    profiles : Profiles
        Even by default.
    every : str
        "month", "day" or "hour": the length of the intervals.
    clock : float [h]
        Hours the inventory's calendar, and its hours and weekdays, are ahead of UTC.
    """

    profiles: Profiles = Profiles()  # noqa: RUF009  frozen
    every: str = "month"
    clock: float = 8.0


def fields(
    inventory: Inventory,
    regions: xr.Dataset,
    gas: str,
    *,
    categories: Sequence[str],
    period: Period | str,
    proxies: Mapping[str, ArrayLike] | None = None,
    timing: Timing | None = None,
    molar_mass: float | None = None,
) -> xr.Dataset:
    """Return the fluxes of some categories on a grid, mass conserved by region, category and period.

    Parameters
    ----------
    inventory : Inventory
        Entries of one vintage (`select`) that stand for their category (`sums.totals` adds parts up).
    regions : xr.Dataset
        From `regions.fractions`, or `masks`.
    gas : str
    categories : sequence of str
        IPCC 2006, without emissions in common.
    period : Period or str
        Of the entries: "2019".
    proxies : mapping of category to array (ny, nx), optional
        Density of what emits; that of the nearest category it is part of, or of "0", else even.
    timing : Timing, optional
        Even by default, by month of Beijing time.
    molar_mass : float, optional [kg mol-1]

    Returns
    -------
    xr.Dataset
        Schema FLUX: ``flux_total_prior`` (time, latitude, longitude), and for each category ``flux_1_A_1`` with the
        part ``share_1_A_1`` (country, latitude, longitude) of each cell that is a region's; mol m-2 s-1. ``time`` and
        ``time_bnds`` in UTC; ``cell_area`` m2; ``country_fraction``. Attributes say source, vintage, profile version,
        which regions have no value, and of which only a part lies in the grid and was laid out. Memory grows with
        intervals x cells x categories.

    Raises
    ------
    InventoryError
        Where categories have emissions in common, or one has no entries.
    RegionError
        Where a proxy does not fit.
    """
    _apart(inventory.name, categories)
    span = Period.parse(period) if isinstance(period, str) else period
    when = timing or Timing()
    codes = [str(code) for code in regions["country"].values]
    total: xr.DataArray | float = 0.0
    made, missing, vintages = {}, [], set()
    for category in categories:
        ledger = inventory.ledger(codes, gas=gas, category=category, period=span)
        vintages.add(ledger.vintage)
        proxy = nearest(proxies or {}, category)
        laid = _allocated(ledger.rate, regions, gas, proxy, molar_mass, category)
        profile = when.profiles.of(category)
        flux = laid["flux"] * (profile.factors(span, every=when.every, clock=when.clock) * _of_its_days(span))
        flux = flux.transpose("time", *_GRID).assign_attrs(
            units=_UNITS, category=category, profile=profile.source, proxy="even" if proxy is None else "given"
        )
        name = _name(category)
        made[f"flux_{name}"], made[f"share_{name}"] = flux, laid["share"]
        missing += [f"{code} {category} ({note or 'no entry'})" for code, note in _without(codes, ledger)]
        total = total + flux
    assert isinstance(total, xr.DataArray)
    bounds = np.stack([total["time"].values, total["time_end"].values], axis=1)
    ds = xr.Dataset({"flux_total_prior": total.drop_attrs().assign_attrs(units=_UNITS), **made}).drop_vars("time_end")
    return ds.assign(
        time_bnds=(("time", "nbnds"), bounds),
        country_fraction=regions["country_fraction"],
        cell_area=regions["cell_area"],
    ).assign_attrs(
        gas=gas,
        source=inventory.name,
        period=str(span),
        vintage="; ".join(sorted(vintages)),
        profiles=when.profiles.version or "even",
        clock=f"UTC{when.clock:+g} h",
        without_value="; ".join(missing),
        partly_inside=", ".join(f"{code} {part:.0%}" for code, part in _partly(regions)),
    )


def _of_its_days(span: Period) -> float:
    """Return by what a mean rate is multiplied so that the days there are emit the total: a year's rate has 365.25."""
    return span.years * SECONDS_PER_YEAR / (86400.0 * (span.end - span.start).days)


def _apart(name: str, categories: Sequence[str]) -> None:
    faults = [] if categories else ["No categories are named."]
    faults += [f"{b} is named twice." for b in sorted({c for c in categories if list(categories).count(c) > 1})]
    faults += [
        f"{a} and {b} have emissions in common, which would be there twice."
        for a, b in itertools.combinations(dict.fromkeys(categories), 2)
        if overlap(a, b)
    ]
    if faults:
        raise InventoryError(name, faults)


def _allocated(
    rate: np.ndarray, regions: xr.Dataset, gas: str, proxy: ArrayLike | None, molar_mass: float | None, category: str
) -> xr.Dataset:
    try:
        return gridding.allocate(rate, regions, gas, proxy=proxy, molar_mass=molar_mass)
    except RegionError as error:
        raise RegionError(f"Category {category}: {error}") from error


def _without(codes: Sequence[str], ledger: Ledger) -> list[tuple[str, str]]:
    rate, notes = ledger.rate, ledger.notation
    return [(code, note) for code, value, note in zip(codes, rate, notes, strict=True) if not np.isfinite(value)]


def _partly(regions: xr.Dataset) -> list[tuple[str, float]]:
    pairs = zip(regions["country"].values.astype(str), regions["covered"].values.tolist(), strict=True)
    return [(code, part) for code, part in pairs if part < _WHOLE]


def _name(category: str) -> str:
    return re.sub(r"[^0-9A-Za-z]+", "_", category)
