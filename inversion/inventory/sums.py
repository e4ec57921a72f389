"""Sums over an inventory: parts to their category, categories to those above, one scope at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from inversion.inventory.categories import holds
from inversion.inventory.entry import TOTAL, Entry, Inventory, InventoryError

_Key = tuple[Any, ...]


def totals(
    inventory: Inventory,
    category: str | None = TOTAL,
    *,
    scope: int = 1,
    by_fuel: bool = False,
    correlation: float = 0.0,
) -> Inventory:
    """Add parts up: one entry per region, gas, period and vintage.

    σ² = (1 - ρ) Σσ_i² + ρ (Σσ_i)²    (2006 IPCC Guidelines, Vol. 1, Eq. 3.2 for ρ = 0)

    Parameters
    ----------
    inventory : Inventory
    category : str, optional
        IPCC 2006 category to add up to; None for each entry's own.
    scope : int
        1, what is emitted there, or 2, what is used there: they are never added to each other.
    by_fuel : bool
        Keep the fuels (and process) apart.
    correlation : float
        ρ of the parts' errors, from 0 to 1.

    Returns
    -------
    Inventory
        σ only where every part with a value has one, or an interval (`Entry.deviation`). A notation key among the
        parts stays beside the sum, which is then incomplete; where all parts are keys there is no value.

    Raises
    ------
    InventoryError
        When something would count twice: a category that is there whole, and its parts.
    """
    if not 0.0 <= correlation <= 1.0:
        raise InventoryError(inventory.name, [f"A correlation of {correlation:g} is none: give one from 0 to 1."])
    groups: dict[_Key, list[Entry]] = {}
    for entry in inventory.entries:
        if entry.scope == scope and (category is None or holds(category, entry.category)):
            fuel = entry.fuel if by_fuel else ""
            own = category or entry.category
            groups.setdefault((entry.region, entry.gas, own, entry.period, entry.vintage, fuel), []).append(entry)
    faults = [fault for parts in groups.values() for fault in _doubled(parts)]
    if faults:
        raise InventoryError(inventory.name, faults)
    added = [_added(key, parts, correlation) for key, parts in groups.items()]
    have = {(e.region, e.gas, e.period, e.vintage) for e in added}
    added += [
        replace(e, category=category or TOTAL)
        for e in inventory.entries
        if e.notation and e.category == TOTAL and e.scope == 1 and (e.region, e.gas, e.period, e.vintage) not in have
    ]
    return Inventory(tuple(added), inventory.name, inventory.notes)


def whole(inventory: Inventory, category: str | None = None) -> Inventory:
    """Return the inventory as it is compared: its parts, where there are any, added up to a category (or the total).

    Raises
    ------
    InventoryError
        As `totals`.
    """
    return totals(inventory, category or TOTAL) if any(entry.part for entry in inventory.entries) else inventory


def supposed(inventory: Inventory, sigma_percent: float) -> Inventory:
    """Give a standard uncertainty to every value that the inventory states none for.

    Parameters
    ----------
    inventory : Inventory
    sigma_percent : float [%]
        1 σ of the value.

    Raises
    ------
    InventoryError
        When it is not positive.
    """
    if not sigma_percent > 0.0:
        raise InventoryError(inventory.name, [f"An uncertainty of {sigma_percent:g} % is none: give 1 σ in percent."])
    return replace(
        inventory,
        entries=tuple(
            e if e.value is None or e.deviation is not None else replace(e, sigma=abs(e.value) * sigma_percent / 100.0)
            for e in inventory.entries
        ),
    )


def _doubled(parts: Sequence[Entry]) -> list[str]:
    """Say which entries lie in others of the same group."""
    whole = [e for e in parts if not e.part]
    return [
        f"{outer.region} {outer.category} {outer.period} is there whole ({outer.place}) and in parts ({inner.place}): "
        "choose one level with select() first."
        for outer in whole
        for inner in parts
        if inner is not outer and holds(outer.category, inner.category)
    ][:1]


def _added(key: _Key, parts: Sequence[Entry], correlation: float) -> Entry:
    region, gas, category, period, vintage, fuel = key
    valued = [e for e in parts if e.value is not None]
    sigmas = [sigma for e in valued if (sigma := e.deviation) is not None]
    keys = sorted({text for e in parts for text in e.notation.split(",") if text})
    return Entry(
        region=region,
        gas=gas,
        period=period,
        category=category,
        value=math.fsum(e.value for e in valued if e.value is not None) if valued else None,
        sigma=_joint(sigmas, correlation) if valued and len(sigmas) == len(valued) else None,
        notation=",".join(keys),
        source="; ".join(sorted({e.source for e in parts if e.source})),
        vintage=vintage,
        place=parts[0].place if len(parts) == 1 else f"{len(parts)} entries from {parts[0].place}",
        fuel=fuel,
        scope=parts[0].scope,
        part=bool(fuel),
        unit=parts[0].unit if len({e.unit for e in parts}) == 1 else "",
    )


def _joint(sigmas: Sequence[float], correlation: float) -> float:
    squares = math.fsum(s * s for s in sigmas)
    return math.sqrt((1.0 - correlation) * squares + correlation * math.fsum(sigmas) ** 2)
