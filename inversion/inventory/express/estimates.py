"""Express estimates: months and quarters of provinces and sectors before, and after, the annual report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from inversion.inventory.balance import Balance
from inversion.inventory.entry import TOTAL, UNIT, Entry, Inventory, InventoryError, Period
from inversion.inventory.express.calendar import apart, coverage, monthly, months, quarters, years
from inversion.inventory.express.disaggregation import chow_lin
from inversion.inventory.express.relation import Relation, fit, hold_out

Floats = NDArray[np.float64]

_SPLIT: Final[dict[str, Callable[[Sequence[Period]], tuple[Period, ...]]]] = {
    "month": tuple,
    "quarter": quarters,
    "year": years,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Monthly estimates of one region and category.

    Attributes
    ----------
    region, category, gas : str
    months : tuple of Period (m)
    mean : array (m,)
        kt per month; months of a reported year sum to the report.
    covariance : array (m, m)
        Of the error, kt2.
    reported : array (m,) of bool
        Months of years that have been reported.
    combined : tuple of Period
        Periods of several months whose indicator was not given by month: their months are split by days.
    relation : Relation
    """

    region: str
    category: str
    gas: str
    months: tuple[Period, ...]
    mean: Floats
    covariance: Floats
    reported: NDArray[np.bool_]
    combined: tuple[Period, ...]
    relation: Relation

    def over(self, periods: Sequence[Period]) -> tuple[Floats, Floats]:
        """Return sums over periods (n,), kt, and the covariance of their errors (n, n)."""
        W = coverage(periods, self.months)
        return W @ self.mean, W @ self.covariance @ W.T


@dataclass(frozen=True, slots=True)
class Express:
    """Estimates that were made together.

    Attributes
    ----------
    series : tuple of Series
        Errors of different series are taken as independent.
    vintage, source : str
    """

    series: tuple[Series, ...]
    vintage: str
    source: str

    def inventory(self, frequency: str = "month", *, since: str | None = None) -> Inventory:
        """Return the estimates as an inventory by month, quarter or year, σ from the covariance of the months.

        Parameters
        ----------
        frequency : {"month", "quarter", "year"}
        since : str, optional
            First period; earlier ones are left out.

        Raises
        ------
        InventoryError
            For another frequency.
        """
        if frequency not in _SPLIT:
            raise InventoryError(
                "The express estimate", [f"The frequency {frequency!r} is none of {', '.join(_SPLIT)}."]
            )
        start = None if since is None else Period.parse(since).start
        entries: list[Entry] = []
        for one in self.series:
            spans = [span for span in _SPLIT[frequency](one.months) if start is None or span.start >= start]
            values, covariance = one.over(spans)
            entries += [
                Entry(
                    region=one.region, gas=one.gas, category=one.category, period=span, value=float(value),
                    sigma=float(sigma), source=self.source, vintage=self.vintage,
                )
                for span, value, sigma in zip(spans, values, np.sqrt(np.diag(covariance)), strict=True)
            ]  # fmt: skip
        return Inventory(tuple(entries), f"express {self.vintage}")

    def regions(self, codes: Sequence[str], category: str, of: Sequence[Period]) -> xr.Dataset:
        """Return months of regions beside each other with their joint covariance, for the early warning.

        Returns
        -------
        xr.Dataset (cell, cell_cov)
            ``value`` [kt] and ``covariance`` [kt2]; cells are regions by months, ``region`` and ``month`` coordinates.
            NaN for a region without a series.
        """
        chosen = {one.region: one for one in self.series if one.category == category}
        size = len(of)
        value, covariance = np.full(len(codes) * size, np.nan), np.zeros((len(codes) * size,) * 2)
        for i, code in enumerate(codes):
            part = slice(i * size, (i + 1) * size)
            if code in chosen:
                value[part], covariance[part, part] = chosen[code].over(of)
            else:
                covariance[part, part] = np.diag(np.full(size, np.nan))
        return xr.Dataset(
            {
                "value": ("cell", value, {"units": UNIT}),
                "covariance": (("cell", "cell_cov"), covariance, {"units": f"{UNIT}2"}),
            },
            coords={
                "region": ("cell", np.repeat(list(codes), size)),
                "month": ("cell", [str(month) for month in of] * len(codes)),
            },
        )


def express(
    annual: Inventory,
    indicators: Balance,
    *,
    vintage: str,
    carrier: str = "electricity",
    gas: str = "co2",
    sigma: float | None = None,
    trend: bool = False,
    source: str = "express",
) -> Express:
    """Estimate months of every region and category that has annual totals and an indicator.

    The relation is fitted on the annual totals (`relation.fit`), months follow from it and sum to the totals of
    reported years (`disaggregation.chow_lin`); months since the last report are its continuation. When the next report
    arrives, the same call with it gives the revised months, under another vintage (`vintages.History`).

    Parameters
    ----------
    annual : Inventory
        Calendar years, one vintage; further entries (other gases, months) are left out.
    indicators : Balance
        Activities of `carrier` by month, by January and February together, or by the year so far
        (`calendar.apart`), in regions and sectors as in `annual`; the sector ``0`` goes with the total.
    vintage : str
        Of the estimate.
    carrier : str
        Name of the indicator among the fuels.
    gas : str
    sigma : float, optional
        Relative σ of annual totals that state none.
    trend : bool
        Let the relation change with the years (a further coefficient: activity times years since the middle).
    source : str

    Returns
    -------
    Express

    Raises
    ------
    InventoryError
        With everything that stands in the way, for all series at once.
    """
    made = [
        _series(key, gas, one) for key, one in _prepared(annual, indicators, carrier, gas, sigma, trend=trend).items()
    ]
    return Express(tuple(made), vintage, source)


def skill(
    annual: Inventory,
    indicators: Balance,
    *,
    carrier: str = "electricity",
    gas: str = "co2",
    sigma: float | None = None,
    trend: bool = False,
    least: int = 6,
) -> xr.Dataset:
    """Return how well each series estimated years before they were reported; see `relation.hold_out`.

    Parameters
    ----------
    annual, indicators, carrier, gas, sigma, trend
        As for `express`.
    least : int
        Years of the first fit.

    Returns
    -------
    xr.Dataset (series)
        ``skill`` (over taking last year's total), ``coverage`` of the 95 % interval, ``rmse`` [kt]; ``region`` and
        ``category``.

    Raises
    ------
    InventoryError
    """
    prepared = _prepared(annual, indicators, carrier, gas, sigma, trend=trend)
    held = [hold_out(one.X, one.C, one.totals, sigma=one.sigma, least=least) for one in prepared.values()]
    return xr.Dataset(
        {name: ("series", [one.attrs[name] for one in held]) for name in ("skill", "coverage", "rmse")},
        coords={"region": ("series", [key[0] for key in prepared]), "category": ("series", [k[1] for k in prepared])},
    )


@dataclass(frozen=True, slots=True)
class _Prepared:
    """Indicators by month (m, p), and the annual totals (n) that lie wholly among them."""

    months: tuple[Period, ...]
    X: Floats
    C: Floats
    totals: Floats
    sigma: Floats
    combined: tuple[Period, ...]


def _prepared(
    annual: Inventory, indicators: Balance, carrier: str, gas: str, sigma: float | None, *, trend: bool
) -> dict[tuple[str, str], _Prepared]:
    chosen = annual.select(gas=gas)
    if len({entry.vintage for entry in chosen.entries}) > 1:
        chosen.only("vintage")
    totals, given = _totals(chosen, sigma), _indicators(indicators, carrier)
    made: dict[tuple[str, str], _Prepared] = {}
    both = sorted(totals.keys() & given.keys())
    faults = [] if both else [f"No region and category has both {carrier} and annual totals."]
    for key in both:
        try:
            made[key] = _prepare(totals[key], given[key], trend=trend)
        except InventoryError as error:
            faults += [f"{key[0]} {key[1]}: {fault}" for fault in error.faults]
    if faults:
        raise InventoryError("The express estimate", faults)
    return made


def _totals(annual: Inventory, sigma: float | None) -> dict[tuple[str, str], list[tuple[Period, float, float]]]:
    """Return annual values and σ by region and category, in the order of time."""
    found: dict[tuple[str, str], list[tuple[Period, float, float]]] = {}
    bare: list[str] = []
    for entry in annual.entries:
        if entry.value is None or entry.period.years != 1.0 or entry.period.start.month != 1:
            continue
        spread = entry.sigma if entry.sigma is not None else abs(entry.value) * sigma if sigma is not None else None
        if spread is None:
            bare.append(f"{entry.region} {entry.category} {entry.period}")
        else:
            found.setdefault((entry.region, entry.category), []).append((entry.period, entry.value, spread))
    if bare:
        some = ", ".join(bare[:3])
        raise InventoryError(
            annual.name, [f"{len(bare)} totals state no uncertainty ({some}): suppose one (sigma=, --sigma-percent)."]
        )
    return {key: sorted(rows) for key, rows in found.items()}


def _indicators(indicators: Balance, carrier: str) -> dict[tuple[str, str], list[tuple[Period, float]]]:
    found: dict[tuple[str, str], list[tuple[Period, float]]] = {}
    for a in indicators.activities:
        if a.fuel == carrier and a.value is not None:
            found.setdefault((a.region, a.sector or TOTAL), []).append((a.period, a.value))
    return found


def _prepare(
    totals: Sequence[tuple[Period, float, float]], given: Sequence[tuple[Period, float]], *, trend: bool
) -> _Prepared:
    separate = apart(given, what="the indicator")
    of = months(separate[0][0], separate[-1][0])
    activity = monthly(separate, of)
    gaps = [str(month) for month, value in zip(of, activity, strict=True) if not np.isfinite(value)]
    if gaps:
        raise InventoryError("The indicator", [f"It is missing in {', '.join(gaps[:6])}."])
    known = [row for row in totals if of[0].start <= row[0].start and row[0].end <= of[-1].end]
    columns = [activity]
    if trend:
        year = np.arange(activity.size) / 12.0
        columns.append(activity * (year - year.mean()))
    return _Prepared(
        months=of,
        X=np.stack(columns, axis=1),
        C=coverage([period for period, _, _ in known], of),
        totals=np.array([value for _, value, _ in known], dtype=np.float64),
        sigma=np.array([spread for _, _, spread in known], dtype=np.float64),
        combined=tuple(period for period, _ in separate if len(months(period, period)) > 1),
    )


def _series(key: tuple[str, str], gas: str, one: _Prepared) -> Series:
    try:
        relation = fit(one.X, one.C, one.totals, sigma=one.sigma)
    except InventoryError as error:
        raise InventoryError(f"{key[0]} {key[1]}", error.faults) from error
    V = relation.covariance(one.X)
    got = chow_lin(one.X, V, one.C, one.totals, total_covariance=np.diag(one.sigma**2))
    return Series(
        region=key[0],
        category=key[1],
        gas=gas,
        months=one.months,
        mean=got.mean,
        covariance=got.covariance,
        reported=np.asarray(one.C.any(axis=0)),
        combined=one.combined,
        relation=relation,
    )
