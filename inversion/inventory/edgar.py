"""EDGAR time series: countries by IPCC 2006 category, years in columns ``Y_1970``, ...

Layout of the workbooks since EDGAR 7: some lines about the content, then a header with ``Country_code_A3``; sheets
``TOTALS BY COUNTRY`` and, with categories, ``IPCC 2006``.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from inversion.errors import InversionError
from inversion.inventory import mass, workbook
from inversion.inventory.areas import area
from inversion.inventory.categories import common
from inversion.inventory.entry import TOTAL, Entry, Inventory, InventoryError, Period, category

SHEETS: Final = ("TOTALS BY COUNTRY", "IPCC 2006")
"""Sheets that are read; ``IPCC 1996`` holds the same in an older vocabulary."""
COUNTRY: Final = "Country_code_A3"
CODE: Final = "ipcc_code_2006_for_standard_report"
BUNKERS: Final = {"AIR": "M.BK.A", "SEA": "M.BK.M"}
"""EDGAR's codes for international aviation and shipping, which are of no country."""
FORMER: Final = ("ANT", "SCG")
"""Countries that are no more, which EDGAR keeps for old years."""

_YEAR: Final = re.compile(r"Y_(\d{4})")
_UNIT: Final = re.compile(r"\bunits?\b\s*:?\s*(.+)", re.IGNORECASE)
_VINTAGE: Final = re.compile(r"EDGAR[ _]?v?\d[\w.]*", re.IGNORECASE)
_SUFFIX: Final = re.compile(r"_\w+$")
_SEVERAL: Final = re.compile(r"(.*\.)([a-z])([a-z])")
_EMPTY: Final = ("", "NULL")
_NO_PERIOD: Final = Period.parse("1000")


@dataclass(frozen=True, slots=True)
class _Table:
    sheet: str
    file: str
    head: tuple[str, ...]
    unit: str
    vintage: str

    def text(self, row: tuple[Any, ...], column: str) -> str:
        """Return a cell by the name of its column; "" where there is no such column."""
        return workbook.text(workbook.at(row, self.head.index(column))) if column in self.head else ""


def is_edgar(book: Any) -> bool:
    """Say whether the workbook has EDGAR's sheets."""
    return any(name in SHEETS for name in book.sheetnames)


def read_edgar(path: str | Path, *, unit: str = "", vintage: str = "") -> Inventory:
    """Read an EDGAR workbook.

    Parameters
    ----------
    path : path
    unit : str
        Where the lines above the header do not say it (``Gg`` in EDGAR's releases).
    vintage : str
        Release; otherwise what those lines say (``EDGAR_2024_GHG``).

    Returns
    -------
    Inventory
        ``fuel`` is ``fossil`` or ``bio`` where both are given for a category, each a ``part``; CO2 from biomass is
        M.BIO and in no total. Empty cells are no entries. Baskets of gases are left out, which ``notes`` says.

    Raises
    ------
    InventoryError
        With sheet and cell of every fault.
    """
    file = Path(path)
    entries: list[Entry] = []
    faults: list[str] = []
    left_out: Counter[str] = Counter()
    with workbook.opened(file) as book:
        for name in SHEETS:
            if name in book.sheetnames:
                rows = workbook.rows(book[name])
                faults += _read_sheet(name, rows, file.name, (unit, vintage), entries, left_out)
    if not faults and not entries:
        faults.append(f"It has no values in sheets {' or '.join(map(repr, SHEETS))}: it is no EDGAR workbook.")
    if faults:
        raise InventoryError(file.name, faults)
    notes = tuple(f"{count} rows of {what}" for what, count in sorted(left_out.items()))
    return Inventory(_with_parts(entries), file.name, notes)


def _read_sheet(
    name: str,
    rows: workbook.Rows,
    file: str,
    given: tuple[str, str],
    entries: list[Entry],
    left_out: Counter[str],
) -> list[str]:
    start = next((i for i, row in enumerate(rows) if COUNTRY in row), None)
    if start is None:
        return [f"sheet {name!r}: no row has a cell {COUNTRY!r}, which EDGAR's header has."]
    head = tuple(workbook.text(value) for value in rows[start])
    needed = ("Substance", CODE) if name == SHEETS[1] else ("Substance",)
    faults = [f"{name}!{start + 1}: there is no column {column!r}." for column in needed if column not in head]
    if not any(_YEAR.fullmatch(column) for column in head):
        faults.append(f"{name}!{start + 1}: there are no columns of years (Y_1970, ...).")
    above = [" ".join(workbook.text(value) for value in row if value is not None) for row in rows[:start]]
    unit = given[0] or next((found[1].strip() for line in above if (found := _UNIT.search(line))), "")
    if not unit:
        faults.append(f"sheet {name!r}: the lines above the header name no unit: give unit='Gg' if that is what it is.")
    if faults:
        return faults
    vintage = given[1] or next((found[0] for line in above if (found := _VINTAGE.search(line))), "")
    table = _Table(name, file, head, unit, vintage)
    for i, row in enumerate(rows[start + 1 :], start=start + 1):
        if table.text(row, COUNTRY):
            faults += _read_row(table, i, row, entries, left_out)
    return faults


def _read_row(table: _Table, i: int, row: tuple[Any, ...], entries: list[Entry], left_out: Counter[str]) -> list[str]:
    """Append the row's entries, one a year, or return what is wrong with it."""
    substance, code = table.text(row, "Substance"), table.text(row, COUNTRY)
    if substance.startswith("GWP_"):
        left_out[f"{substance}, a basket of gases, left out"] += 1
        return []
    if code.startswith(("EU", "GLOBAL")) and len(code) != 3:
        left_out[f"{code}, a sum over countries, left out"] += 1
        return []
    try:
        like = _like(table, row, substance.casefold().replace("-", ""))
        unit = mass.parse(table.unit, like.gas)
    except InversionError as error:
        return [f"{table.sheet}!{i + 1}: {error}"]
    faults: list[str] = []
    for j, column in enumerate(table.head):
        year, value = _YEAR.fullmatch(column), workbook.at(row, j)
        if year is None or workbook.text(value) in _EMPTY:
            continue
        number, place = workbook.number(value), workbook.cell(table.sheet, i, j)
        if number is None:
            faults.append(f"{place} ({code}, {year[1]}): {str(value)!r} is no number: give one, or leave it empty.")
            continue
        period = Period.parse(year[1])
        kilotonnes = unit.kilotonnes(number, period)
        entries.append(replace(like, period=period, value=kilotonnes, place=f"{table.file}:{place}"))
    return faults


def _like(table: _Table, row: tuple[Any, ...], gas: str) -> Entry:
    """Return what all years of a row have in common."""
    code, origin = table.text(row, COUNTRY), table.text(row, "fossil_bio").casefold()
    where, part = _category(table.text(row, CODE) or TOTAL)
    if gas == "co2" and origin == "bio":
        where, part = "M.BIO", bool(table.text(row, CODE))
    return Entry(
        region=code if code in BUNKERS or code in FORMER else area(code),
        gas=gas,
        period=_NO_PERIOD,
        category=BUNKERS.get(code, where),
        source="EDGAR",
        vintage=table.vintage,
        published=table.text(row, CODE),
        fuel=origin,
        part=part,
        unit=table.unit,
    )


def _category(text: str) -> tuple[str, bool]:
    """Return the category of EDGAR's code; ``1.A.1.bc`` is two of them, ``1.A.3.b_noRES`` is without road dust."""
    bare = _SUFFIX.sub("", text)
    several = _SEVERAL.fullmatch(bare)
    if several:
        return common([category(f"{several[1]}{letter}") for letter in several.groups()[1:]]), True
    return category(bare), False


def _with_parts(entries: list[Entry]) -> tuple[Entry, ...]:
    """Fossil and biogenic emissions of one category are parts of it; where there is one of them, it is the whole."""
    counts = Counter((e.region, e.gas, e.category, e.period, e.published) for e in entries)
    return tuple(
        replace(e, part=True) if counts[e.region, e.gas, e.category, e.period, e.published] > 1 else e for e in entries
    )
