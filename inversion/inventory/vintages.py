"""Several submissions of an inventory side by side, and what was recalculated from one to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from inversion.inventory.delimited import repeated
from inversion.inventory.entry import UNIT, Entry, Inventory, InventoryError, Period


def named(inventory: Inventory, vintage: str) -> Inventory:
    """Return the inventory with all entries under another vintage."""
    return replace(inventory, entries=tuple(replace(e, vintage=vintage) for e in inventory.entries))


def beside(*inventories: Inventory) -> Inventory:
    """Lay inventories side by side as one, told apart by their vintages.

    Raises
    ------
    InventoryError
        When two hold the same region, category, gas, period and vintage.
    """
    entries = tuple(e for inventory in inventories for e in inventory.entries)
    name = ", ".join(dict.fromkeys(inventory.name for inventory in inventories))
    faults = list(repeated(entries))
    if faults:
        more = [f"So are {len(faults) - 5} more."] if len(faults) > 5 else []
        raise InventoryError(name, [*faults[:5], *more])
    return Inventory(entries, name, tuple(note for inventory in inventories for note in inventory.notes))


def recalculation(inventory: Inventory, old: str, new: str, *, gas: str | None = None) -> xr.Dataset:
    """Return what changed from one vintage to another.

    difference = new - old, relative = (new - old) / old

    Parameters
    ----------
    inventory : Inventory
        With both vintages, from `beside`; parts added up before (`sums.totals`).
    old, new : str
    gas : str, optional
        Needed where it holds several.

    Returns
    -------
    xr.Dataset
        ``old``, ``new``, ``difference`` [kt over the period] and ``relative`` [1] on (region, category, period), NaN
        where either has no value (relative also where old is 0); ``old_notation``, ``new_notation``.

    Raises
    ------
    InventoryError
        When a vintage is not there, or entries are only parts, or of Scope 2.
    """
    chosen = inventory.select(gas=gas)
    chosen.only("gas")
    have = sorted({e.vintage for e in chosen.entries})
    absent = [f"It has no vintage {v!r}: {', '.join(map(repr, have))} are there." for v in (old, new) if v not in have]
    entries = [e for e in chosen.entries if e.vintage in (old, new)]
    parts = sum(e.part or e.scope != 1 for e in entries)
    if parts:
        absent.append(f"{parts} entries are parts of their category or of Scope 2: add them up with inventory.totals.")
    if absent:
        raise InventoryError(inventory.name, absent)
    axes = {axis: sorted({getattr(e, axis) for e in entries}) for axis in ("region", "category", "period")}
    before, before_keys = _array([e for e in entries if e.vintage == old], axes)
    after, after_keys = _array([e for e in entries if e.vintage == new], axes)
    relative = np.divide(after - before, before, out=np.full(before.shape, np.nan), where=before != 0)
    dims = tuple(axes)
    kilotonnes = {"units": UNIT}
    return xr.Dataset(
        {
            "old": (dims, before, kilotonnes),
            "new": (dims, after, kilotonnes),
            "difference": (dims, after - before, kilotonnes | {"long_name": "new minus old"}),
            "relative": (dims, relative, {"units": "1", "long_name": "difference over old"}),
            "old_notation": (dims, before_keys),
            "new_notation": (dims, after_keys),
            "period_bnds": (("period", "nbnds"), _bounds(axes["period"])),
        },
        coords={name: [str(value) for value in values] for name, values in axes.items()},
        attrs={"title": inventory.name, "gas": chosen.only("gas"), "old_vintage": old, "new_vintage": new},
    )


def _array(entries: Sequence[Entry], axes: dict[str, list[Any]]) -> tuple[NDArray[np.float64], NDArray[np.object_]]:
    places = [{value: i for i, value in enumerate(values)} for values in axes.values()]
    shape = tuple(len(values) for values in axes.values())
    values, keys = np.full(shape, np.nan), np.full(shape, "", dtype=object)
    for e in entries:
        where = tuple(place[getattr(e, axis)] for place, axis in zip(places, axes, strict=True))
        values[where] = np.nan if e.value is None else e.value
        keys[where] = e.notation
    return values, keys


def _bounds(periods: Sequence[Period]) -> NDArray[np.datetime64]:
    return np.array([[p.start, p.end] for p in periods], "datetime64[D]").astype("datetime64[ns]").reshape(-1, 2)
