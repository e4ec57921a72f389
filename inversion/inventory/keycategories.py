"""Key categories: those that make up most of an inventory, by level and by trend (2006 IPCC Guidelines, Vol. 1, Ch. 4).

Approach 1 goes by emissions, approach 2 weighs them by their uncertainty::

    level    L_x = |E_x,t| / Σ_y |E_y,t|                                                                    (4.1)
    trend    T_x = |E_x,0| / Σ_y |E_y,0| · |(E_x,t − E_x,0) / |E_x,0| − (Σ_y E_y,t − Σ_y E_y,0) / |Σ_y E_y,0||   (4.2)
             T_x = |E_x,t| / Σ_y |E_y,0|   where nothing was emitted in the base year                       (4.3)
    with U_x, σ relative to the emission,   LU_x = L_x U_x / Σ_y L_y U_y,   TU_x = T_x U_x                   (4.4, 4.5)

U_x is that of the later year, or of the base year for a category that has ceased. Sorted from the largest, categories
are key until their sum reaches 95 % (approach 1) or 90 % (approach 2).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from inversion.inventory.categories import holds, name, overlap
from inversion.inventory.entry import TOTAL, Entry, Inventory, InventoryError, Period
from inversion.inventory.sums import totals

AR5: Final = {"co2": 1.0, "ch4": 28.0, "n2o": 265.0, "sf6": 23500.0, "nf3": 16100.0}
"""Global warming potentials over 100 years (IPCC AR5, WG I, Table 8.A.1), as inventories are reported by since 2024."""
REACHES: Final = {1: 0.95, 2: 0.90}
"""Share of the total up to which categories are key, by approach."""
_NOTHING: Final = frozenset({"NO", "NA"})
"""Notation keys of a category that emits nothing; with the others (NE, IE, C) nobody can say what it emits."""
_Parted: TypeAlias = frozenset[tuple[str, str]]
"""Gas and category of what was published in parts."""
_UNSURE: Final = 1e-12
_ROUNDING: Final = 0.01
"""By which a category may differ from the sum of its parts, for what is published rounded."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A category of one gas: emissions in kt CO2 equivalent and σ of them; NaN where none is stated."""

    category: str
    gas: str
    value: float
    sigma: float


def level(
    inventory: Inventory,
    *,
    region: str | None = None,
    period: str | None = None,
    approach: int = 1,
    gwp: Mapping[str, float] | None = None,
) -> xr.Dataset:
    """Return the level assessment of an inventory, the largest first.

    Parameters
    ----------
    inventory : Inventory
        Parts (fuels, processes) are added up to their category. Of categories that hold each other the finest are
        assessed, and must sum to the others. Bunkers and other memo items are left out.
    region, period : str, optional
        Where the inventory holds several.
    approach : int
        1, or 2 for emissions weighed by their uncertainty, which every category must then state.
    gwp : mapping of gas to float, optional
        Global warming potentials; `AR5`'s by default. Without several gases they change nothing.

    Returns
    -------
    xr.Dataset (rank)
        ``category``, ``gas``, ``name``; ``value`` and ``value_sigma`` [kt CO2 equivalent]; ``assessment``,
        ``cumulative`` ["1"]; ``key``. Attributes ``region``, ``period``, ``approach``, ``total``, and ``without``: the
        categories that have a notation key and no value.

    Raises
    ------
    InventoryError
        Where parts do not sum to their category, a gas has no potential, approach 2 lacks a σ, or nothing is emitted.
    """
    chosen, parted = _chosen(inventory, region, period, approach)
    rows, without = _rows(chosen, parted, gwp or AR5)
    _require_sigmas(chosen, rows, approach)
    size = np.array([abs(row.value) for row in rows])
    named = [f"{category} {gas} {notation}" for (category, gas), notation in without.items()]
    return _ranked(chosen, rows, size / size.sum(), _relative(rows), approach, named)


def trend(
    inventory: Inventory,
    base: str,
    period: str,
    *,
    region: str | None = None,
    approach: int = 1,
    gwp: Mapping[str, float] | None = None,
) -> xr.Dataset:
    """Return the trend assessment of an inventory between a base year and a later one, the largest first.

    Parameters
    ----------
    inventory : Inventory
        With both periods.
    base, period : str
        As "2010", "2020".
    region, approach, gwp
        As `level`.

    Returns
    -------
    xr.Dataset (rank)
        As `level`, with ``base_value`` too; ``assessment`` is each category's share of Σ T. A category that does not
        occur in one of the years (NO, NA, or no entry) is 0 there; one that is not estimated, included elsewhere or
        confidential in one of them has no trend, is left out of both and named in ``without`` with the year.

    Raises
    ------
    InventoryError
        As `level`, where all categories change alike, where there is nothing in the base year, and where the years
        are stated at different levels of category.
    """
    years = [_chosen(inventory, region, each, approach) for each in (base, period)]
    (before, lacking), (after, without) = (_by_key(*year, gwp or AR5) for year in years)
    unknown = {key for notes in (lacking, without) for key, note in notes.items() if _unknown(note)}
    keys = [key for key in {**after, **before} if key not in unknown]
    _require_one_level(inventory, keys, years[0][1] | years[1][1])
    both = [after.get(key, _Row(*key, 0.0, np.nan)) for key in keys]
    weighed = [row if row.value else before.get(key, row) for key, row in zip(keys, both, strict=True)]
    _require_sigmas(years[1][0], weighed, approach)
    then = np.array([before[key].value if key in before else 0.0 for key in keys])
    now = np.array([row.value for row in both])
    size = np.abs(then).sum()
    if not size > 0 or then.sum() == 0:
        raise InventoryError(inventory.name, [f"Nothing is emitted in the base period {base}: choose another."])
    overall = (now.sum() - then.sum()) / abs(then.sum())
    relative = np.divide(now - then, np.abs(then), out=np.zeros_like(now), where=then != 0)
    T = np.where(then != 0, np.abs(then) / size * np.abs(relative - overall), np.abs(now) / size)
    if not T.sum() > _UNSURE:
        fault = f"All categories change alike between {base} and {period}: there is no trend to assess."
        raise InventoryError(inventory.name, [fault])
    named = [
        f"{category} {gas} {note} in {year}"
        for year, notes in ((base, lacking), (period, without))
        for (category, gas), note in notes.items()
        if (category, gas) in unknown or (category, gas) not in keys
    ]
    made = _ranked(years[1][0], both, T / T.sum(), _relative(weighed), approach, named)
    place = {(row.category, row.gas): value for row, value in zip(both, then, strict=True)}
    values = [place[key] for key in zip(made["category"].values.tolist(), made["gas"].values.tolist(), strict=True)]
    return made.assign(base_value=("rank", values, made["value"].attrs)).assign_attrs(base=str(Period.parse(base)))


def lines(assessment: xr.Dataset) -> list[str]:
    """Return an assessment in lines of text, the key categories and what remains.

    Parameters
    ----------
    assessment : xr.Dataset
        From `level` or `trend`.
    """
    a = assessment.attrs
    what = f"trend from {a['base']} to {a['period']}" if "base" in a else f"level in {a['period']}"
    key = assessment["key"].values
    width = max((len(str(c)) for c in assessment["category"].values[key]), default=8)
    head = f"{a['region']}, {what}, approach {a['approach']}: {int(key.sum())} of {key.size} categories are key"
    rows = [
        f"  {category:{width}}  {gas:4}  {value:12.1f} kt CO2-eq  {share:6.1%}  {cumulative:6.1%}  {text}"
        for category, gas, value, share, cumulative, text in zip(
            *(assessment[n].values[key] for n in ("category", "gas", "value", "assessment", "cumulative", "name")),
            strict=True,
        )
    ]
    left = [f"  without a value: {a['without']}"] if a["without"] else []
    return [head, *rows, *left]


def _chosen(inventory: Inventory, region: str | None, period: str | None, approach: int) -> tuple[Inventory, _Parted]:
    """Return an inventory of one region, period and vintage, its parts added up, and which categories were parts."""
    if approach not in REACHES:
        raise InventoryError(inventory.name, [f"approach is {approach}, expected 1 or 2."])
    picked = inventory.select(region=region, period=period)
    if not picked.entries:
        have = ", ".join(sorted({f"{entry.region} {entry.period}" for entry in inventory.entries})[:8])
        asked = " ".join(one for one in (region, period) if one) or "anything"
        raise InventoryError(inventory.name, [f"It has nothing of {asked}: it holds {have or 'nothing'}."])
    parted = frozenset((entry.gas, entry.category) for entry in picked.entries if entry.part)
    picked = totals(picked, None) if parted else picked
    for what in ("region", "period", "vintage"):
        picked.only(what)
    return picked, parted


def _rows(
    inventory: Inventory, parted: _Parted, gwp: Mapping[str, float]
) -> tuple[list[_Row], dict[tuple[str, str], str]]:
    """Return the categories to assess, and the notation key of each that has no value."""
    entries, faults = _finest([e for e in inventory.entries if e.scope == 1 and _counted(e)], parted)
    unknown = sorted({entry.gas for entry in entries} - set(gwp))
    if unknown:
        faults.append(f"{', '.join(unknown)} has no global warming potential here: give gwp=.")
    valued = [entry for entry in entries if entry.value is not None]
    if not faults and not any(entry.value for entry in valued):
        faults.append(f"Nothing is emitted in {inventory.only('period')}.")
    if faults:
        raise InventoryError(inventory.name, faults)
    without = {(entry.category, entry.gas): entry.notation for entry in entries if entry.value is None}
    return [_row(entry, gwp[entry.gas]) for entry in valued], without


def _by_key(
    inventory: Inventory, parted: _Parted, gwp: Mapping[str, float]
) -> tuple[dict[tuple[str, str], _Row], dict[tuple[str, str], str]]:
    rows, without = _rows(inventory, parted, gwp)
    return {(row.category, row.gas): row for row in rows}, without


def _require_one_level(inventory: Inventory, keys: list[tuple[str, str]], parted: _Parted) -> None:
    faults = [
        f"{one} and {other} ({gas}) hold the same emissions, each in one of the years: choose one level with select() "
        "first."
        for (one, gas), (other, its) in itertools.combinations(keys, 2)
        if gas == its and overlap(one, other) and not {(gas, one), (gas, other)} & parted
    ]
    if faults:
        raise InventoryError(inventory.name, faults[:3])


def _counted(entry: Entry) -> bool:
    """Say whether an entry is part of the total: bunkers and other memo items are not."""
    return entry.category == TOTAL or holds(TOTAL, entry.category)


def _finest(entries: list[Entry], parted: _Parted) -> tuple[list[Entry], list[str]]:
    """Leave out what is there in finer categories too, if these sum to it; what does not is a fault.

    What was published in parts is no sum of others: the rest of a category beside finer ones. A category of which a
    part is confidential, not estimated or included elsewhere stands for its parts where these do not sum to it.
    """
    kept, faults = [], []
    inside: list[Entry] = []
    for whole in entries:
        inner = [e for e in entries if e.gas == whole.gas and e is not whole and holds(whole.category, e.category)]
        if not inner or (whole.gas, whole.category) in parted:
            kept.append(whole)
            continue
        own = [e for e in inner if (e.gas, e.category) in parted or not any(_within(e, f) for f in inner)]
        total = sum(e.value or 0.0 for e in own)
        if whole.value is not None and abs(total - whole.value) > _ROUNDING * max(abs(whole.value), 1.0):
            if any(e.value is None and _unknown(e.notation) for e in own):
                kept.append(whole)
                inside += inner
                continue
            faults.append(
                f"{whole.category} ({whole.gas}) is {whole.value:.6g} kt but its parts {total:.6g} kt: choose one "
                "level with select() first."
            )
    kept = [entry for entry in kept if entry not in inside]
    alike = [
        f"{one.category} and {other.category} ({one.gas}) hold the same emissions: choose one with select() first."
        for one, other in itertools.combinations(kept, 2)
        if one.gas == other.gas
        and overlap(one.category, other.category)
        and not {(one.gas, one.category), (other.gas, other.category)} & parted
    ]
    return kept, [*faults[:3], *alike[:3]]


def _unknown(notation: str) -> bool:
    return not set(notation.split(",")) <= _NOTHING


def _within(whole: Entry, inner: Entry) -> bool:
    return inner is not whole and holds(whole.category, inner.category)


def _row(entry: Entry, factor: float) -> _Row:
    assert entry.value is not None
    sigma = entry.deviation
    return _Row(entry.category, entry.gas, factor * entry.value, np.nan if sigma is None else factor * sigma)


def _require_sigmas(inventory: Inventory, rows: list[_Row], approach: int) -> None:
    lacking = [f"{row.category} {row.gas}" for row in rows if row.value and not np.isfinite(row.sigma)]
    if approach == 2 and lacking:
        fault = f"Approach 2 needs the uncertainty of every category; none is stated for {', '.join(lacking[:5])}."
        raise InventoryError(inventory.name, [fault])


def _relative(rows: list[_Row]) -> NDArray[np.float64]:
    return np.array([row.sigma / abs(row.value) if row.value else 0.0 for row in rows])


def _ranked(
    inventory: Inventory,
    rows: list[_Row],
    share: NDArray[np.float64],
    relative: NDArray[np.float64],
    approach: int,
    without: list[str],
) -> xr.Dataset:
    value, sigma = (np.array([getattr(row, n) for row in rows]) for n in ("value", "sigma"))
    if approach == 2:
        share = share * relative
        share = share / share.sum() if share.sum() > 0 else share
    order = np.argsort(-share, kind="stable")
    cumulative = np.cumsum(share[order])
    # The category that reaches the share is key too.
    key = np.concatenate([[True], cumulative[:-1] < REACHES[approach]]) & (share[order] > 0)
    kt = {"units": "kt CO2-eq"}
    chosen = [rows[i] for i in order]
    return xr.Dataset(
        {
            "category": ("rank", [row.category for row in chosen]),
            "gas": ("rank", [row.gas for row in chosen]),
            "name": ("rank", [name(row.category) for row in chosen]),
            "value": ("rank", value[order], kt),
            "value_sigma": ("rank", sigma[order], kt),
            "assessment": ("rank", share[order], {"units": "1"}),
            "cumulative": ("rank", cumulative, {"units": "1"}),
            "key": ("rank", key),
        },
        {"rank": np.arange(1, len(rows) + 1)},
        {
            "region": inventory.only("region"),
            "period": str(inventory.only("period")),
            "approach": approach,
            "total": float(value.sum()),
            "without": ", ".join(without),
        },
    )
