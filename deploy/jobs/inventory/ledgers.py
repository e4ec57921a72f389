"""Ledgers from files: which, how read, what is in them, and what one says that another does not."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import xarray as xr

from deploy import outputs
from deploy.errors import DeployError
from inversion import inventory as inventories
from inversion.inventory import Inventory
from inversion.inventory.entry import category as known_category
from qc.document import Table

_ROUNDING: Final = 1e-6
"""Relative difference up to which two values are one, rounded."""
_COMPARED: Final = ("old", "new", "difference", "relative")
_MOST: Final = 12
"""Most labels of a kind that are listed."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """A file and how it is read."""

    file: Path
    format: str = "auto"
    mapping: Path | None = None
    encoding: str | None = None
    vintage: str | None = None

    @classmethod
    def of(cls, table: Table, folder: Path) -> Ledger:
        """Return what a table of a configuration says: ``file``, and what the reader is told."""
        file, mapping = table.text("file"), table.text("mapping", None)
        ledger = cls(
            file=folder / (file or ""),
            format=table.text("format", "auto", among=("auto", *inventories.FORMATS)),
            mapping=None if mapping is None else folder / mapping,
            encoding=table.text("encoding", None),
            vintage=table.text("vintage", None),
        )
        table.close()
        return ledger


def read_ledger(ledger: Ledger) -> Inventory:
    """Return the inventory of a file; of a CSV or a primap2 file, which say it themselves, only one vintage if asked.

    Raises
    ------
    DeployError, InventoryError
        One sentence for each fault, with its place.
    """
    for path in (ledger.file, ledger.mapping):
        if path is not None and not path.is_file():
            what = f"{path} is a folder" if path.is_dir() else f"there is no file {path}"
            msg = f"{what}; give the path of a ledger, or of the mapping of its columns"
            raise DeployError(msg)
    options = {"mapping": ledger.mapping, "encoding": ledger.encoding}
    if ledger.format in ("ceads", "unfccc", "edgar") or ledger.file.suffix.casefold() in (".xlsx", ".xlsm"):
        return inventories.read(ledger.file, ledger.format, vintage=ledger.vintage, **options)
    book = inventories.read(ledger.file, ledger.format, **options)
    if not book.entries:
        msg = f"{ledger.file.name} has no entries: there is nothing below its head"
        raise DeployError(msg)
    chosen = book.select(vintage=ledger.vintage)
    if not chosen.entries:
        there = ", ".join(sorted({repr(entry.vintage) for entry in book.entries}))
        msg = f"{ledger.file.name} has no vintage {ledger.vintage!r}; it has {there}"
        raise DeployError(msg)
    return chosen


def read_csv_as(file: Path, mapping: Path | None, encoding: str | None) -> Inventory:
    """Return the inventory of a file; what is said of a CSV is not said of a workbook beside it."""
    csv = file.suffix.casefold() in (".csv", ".tsv", ".txt")
    return read_ledger(Ledger(file, "auto", mapping if csv else None, encoding if csv else None))


def summary(book: Inventory, category: str) -> list[str]:
    """Return what a ledger holds, for a terminal: its entries by kind, and the sums of a category by region.

    Parameters
    ----------
    book : Inventory
    category : str
        IPCC 2006; "0" for the total.
    """
    category = known_category(category)
    keys = Counter(entry.notation for entry in book.entries if entry.notation)
    without = sum(e.value is not None and e.deviation is None for e in book.entries)
    lines = [f"{book.name}: {len(book.entries)} {'entry' if len(book.entries) == 1 else 'entries'}"]
    for kind in ("gas", "period", "vintage", "source", "scope"):
        found = sorted({str(getattr(entry, kind)) for entry in book.entries if str(getattr(entry, kind))})
        lines.append(f"  {kind:8} {_listed(found)}")
    lines.append(f"  {'notation':8} {', '.join(f'{key} {count}' for key, count in sorted(keys.items())) or 'none'}")
    lines += (
        [f"  {without} values have no uncertainty: a comparison needs one (`sigma_percent` there supposes it)"]
        if without
        else []
    )
    lines += [f"  note: {note}" for note in book.notes]
    added = inventories.whole(book, category)
    rows = [e for e in added.entries if e.scope == 1 and e.category == category]
    lines += (
        ["", f"category {category}, kt"]
        if rows
        else ["", f"category {category}: no entry; it has {_categories(book)}: `--category` names one"]
    )
    for entry in sorted(rows, key=lambda e: (e.gas, e.period, e.vintage, e.region)):
        sigma = "" if entry.deviation is None else f" ± {entry.deviation:.4g}"
        partly = f" ({entry.incomplete} in part: not compared)" if entry.incomplete else ""
        value = entry.notation if entry.value is None else f"{entry.value:.6g}{sigma}{partly}"
        lines.append(f"  {entry.region:8} {entry.gas:4} {entry.period!s:10} {entry.vintage:10} {value}")
    return lines


def differences(
    old: Inventory, new: Inventory, category: str, gas: str | None, period: str | None = None
) -> tuple[xr.Dataset, list[str]]:
    """Return the recalculation between two submissions, and its lines, the largest change first.

    Parameters
    ----------
    old, new : Inventory
        Where neither names its vintage, or both name the same, they are told apart by their files' names.
    category : str
        Parts are added up to it; "" for each entry's own.
    gas, period : str, optional
    """
    old, new = (book.select(gas=gas, period=period) for book in (old, new))
    names = [_vintage(book) or book.name for book in (old, new)]
    if names[0] == names[1]:
        names = [old.name, new.name] if old.name != new.name else ["old", "new"]
    books = [
        inventories.named(_of_category(book, category), name) for book, name in zip((old, new), names, strict=True)
    ]
    table = inventories.recalculation(inventories.beside(*books), *names, gas=gas)
    return table, [f"{table.attrs['gas']}, kt: from {names[0]} to {names[1]}", *_changes(table)]


def _changes(table: xr.Dataset) -> list[str]:
    """Return a line for each entry that changed, the largest change first."""
    flat = table[[*_COMPARED, "old_notation", "new_notation"]].stack(row=("region", "category", "period"))
    lines, rounded = [], 0
    for k in np.argsort(-np.abs(np.nan_to_num(flat["difference"].values)), kind="stable"):
        one = flat.isel(row=int(k))
        values = [float(one[name]) for name in _COMPARED]
        notes = [str(one[f"{side}_notation"].item() or "") for side in ("old", "new")]
        if abs(values[2]) <= _ROUNDING * abs(values[0]) or (np.isnan(values[:2]).all() and notes[0] == notes[1]):
            rounded += values[2] != 0 and not np.isnan(values[2])
            continue
        where = " ".join(str(part) for part in one["row"].item())
        sides = f"{_number(values[0], note=notes[0])} {_number(values[1], note=notes[1])}"
        change = f"{_number(values[2], '+')} {_relative(values[0], values[1], values[3], notes)}"
        lines.append(f"  {where:28} {sides} {change}".rstrip())
    lines += [f"  {rounded} differ by a millionth or less"] if rounded else []
    return lines or ["  nothing changed"]


def written(book: Inventory, path: Path) -> Path:
    """Write a ledger as CSV, or where the name ends with yaml for primap2."""
    if path.suffix.casefold() in (".yaml", ".yml"):
        return inventories.write_interchange(book, outputs.file(path))
    if path.suffix.casefold() != ".csv":
        msg = f"{path.name}: ledgers are written as .csv, or as .yaml (with its CSV) for primap2"
        raise DeployError(msg)
    return inventories.write(book, outputs.file(path))


def _of_category(book: Inventory, category: str) -> Inventory:
    added = inventories.totals(book, category or None)
    if not added.entries:
        msg = f"{book.name} has no entry of category {category}; it has {_categories(book)}: `--category` names one"
        raise DeployError(msg)
    return added


def _categories(book: Inventory) -> str:
    return _listed(sorted({entry.category for entry in book.entries}))


def _vintage(book: Inventory) -> str:
    found = {entry.vintage for entry in book.entries}
    if len(found) > 1:
        msg = f"{book.name} holds the vintages {_listed(sorted(map(repr, found)))}: choose one of each"
        raise DeployError(msg)
    return next(iter(found), "")


def _listed(found: list[str]) -> str:
    more = len(found) - _MOST
    return ", ".join(found[:_MOST]) + (f" and {more} more" if more > 0 else "") if found else "none"


def _relative(old: float, new: float, relative: float, notes: list[str]) -> str:
    """Return the change in percent; what only one of them has, has none."""
    if np.isnan(old) or np.isnan(new):
        word = "" if notes[0 if np.isnan(old) else 1] else "new" if np.isnan(old) else "gone"
        return f"{word:>8}"
    return f"{relative:+8.1%}" if np.isfinite(relative) else f"{'was 0':>8}"


def _number(value: float, sign: str = "", note: str = "") -> str:
    return f"{note:>12}" if np.isnan(value) else f"{value:{sign}12.6g}"
