"""CEADs workbooks: CO2 of the provinces by 47 sectors and 17 fuels, process emissions, and Scope 2 apart.

Shan et al. (2018), Scientific Data 5, 170201; Guan et al. (2021), Earth's Future 9, e2021EF002241. One sheet a
province, named like ``Beijing2019``. Every sheet is held against its own totals.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from inversion.errors import InversionError
from inversion.inventory import mass, workbook
from inversion.inventory.categories import CEADS_SECTORS
from inversion.inventory.delimited import notation
from inversion.inventory.entry import TOTAL, Entry, Inventory, InventoryError, Period
from inversion.provinces import province

FUELS: Final = (
    "Raw_Coal",
    "CleanedCoal",
    "Other_Washed_Coal",
    "Briquettes",
    "Coke",
    "Coke_Oven_Gas",
    "Other_Gas",
    "Other_Coking_Products",
    "Crude_Oil",
    "Gasoline",
    "Kerosene",
    "Diesel_Oil",
    "Fuel_Oil",
    "LPG",
    "Refinery_Gas",
    "Other_Petroleum_Products",
    "Natural_Gas",
)
"""The 17 fuels, as the sheets name them."""
PROCESS: Final = "Process"
REST: Final = "Other_Energy"
SCOPE_2: Final = ("Scope_2_Heat", "Scope_2_Electricity")
SUM: Final = "Scope_1_Total"
COLUMNS: Final = (*FUELS, *SCOPE_2, REST, PROCESS, SUM)
"""Columns of a sheet: fuels, Scope 2, other energy, process, and the sum of Scope 1."""
REGIONS: Final = {
    "published": (),
    "mainland": ("CN-XZ",),
    "all": ("CN-XZ", "CN-TW", "CN-HK", "CN-MO"),
}
"""Provinces that CEADs does not estimate, entered as NE where that set of regions is asked for."""

SOURCE: Final = "CEADs, Guan et al. (2021)"
_Table = dict[tuple[str, str], float | str]
_HEAD: Final = "Emission_Inventory"
_TOTALS: Final = "TotalEmissions"
_SHEET: Final = re.compile(r"(.*?\D)\s*((?:19|20)\d\d)")
_TOLERANCE: Final = 1e-6
"""Relative; sheets that were typed or rounded to six digits still add up."""


@dataclass(frozen=True, slots=True)
class _Sheet:
    name: str
    region: str
    period: Period
    rows: workbook.Rows
    vintage: str
    file: str


def is_ceads(book: Any) -> bool:
    """Say whether any sheet begins as CEADs' do."""
    return any(
        workbook.text(next(sheet.iter_rows(max_row=1, max_col=1, values_only=True), (None,))[0]) == _HEAD
        for sheet in book.worksheets[:4]
    )


def read_ceads(path: str | Path, *, regions: str = "all", vintage: str = "") -> Inventory:
    """Read a CEADs workbook, every province, sector and fuel.

    Parameters
    ----------
    path : path
    regions : {"all", "mainland", "published"}
        All 34 provinces, the 31 of the mainland, or those in the workbook: what CEADs lacks is NE, not 0.
    vintage : str
        Which release it is; the workbook does not say.

    Returns
    -------
    Inventory
        One entry a province, sector and fuel, ``part`` of its IPCC category: add them up with `sums.totals`. Scope 2
        columns have ``scope`` 2 and enter no territorial sum.

    Raises
    ------
    InventoryError
        With sheet and cell of every fault: a province or sector misspelt or missing, text for a number, an unknown
        unit, sums that are not the sheet's own totals.
    """
    file = Path(path)
    if regions not in REGIONS:
        raise InventoryError(file.name, [f"regions={regions!r} is not known: {', '.join(map(repr, REGIONS))} are."])
    entries: list[Entry] = []
    faults: list[str] = []
    with workbook.opened(file) as book:
        for sheet in book.worksheets:
            cells = workbook.rows(sheet)
            if _SHEET.fullmatch(sheet.title.strip()) or (cells and workbook.text(workbook.at(cells[0], 0)) == _HEAD):
                faults += _read_sheet(sheet.title, cells, vintage, file.name, entries)
    if not entries and not faults:
        faults.append(f"It has no sheet named like Beijing2019 that begins with {_HEAD!r}: it is no CEADs workbook.")
    faults += _repeated(entries)
    if faults:
        raise InventoryError(file.name, faults)
    return Inventory((*entries, *_absent(entries, REGIONS[regions])), file.name)


def _read_sheet(title: str, cells: workbook.Rows, vintage: str, file: str, entries: list[Entry]) -> list[str]:
    """Append the sheet's entries, or return what is wrong with it."""
    named = _SHEET.fullmatch(title.strip())
    if not named:
        return [f"sheet {title!r}: its name is no province with a year, such as Beijing2019."]
    try:
        region = province(named[1]).iso
    except InversionError as error:
        return [f"sheet {title!r}: {error}"]
    sheet = _Sheet(title, region, Period.parse(named[2]), cells, vintage, file)
    columns, faults = _columns(sheet)
    sectors, wrong = _sectors(sheet)
    faults += wrong
    if not faults:
        table, faults = _table(sheet, sectors, columns)
        faults = faults or [*_unlike_totals(sheet, table, sectors, columns)]
    if not faults:
        entries += [
            _entry(sheet, sector, column, table[sector, column], (row, columns[column]))
            for sector, row in sectors.items()
            for column in columns
            if sector != _TOTALS and column != SUM
        ]
    return faults


def _folded(name: str) -> str:
    """Releases differ in capitals, blanks and commas."""
    return re.sub(r"[\W_]+", "", name).casefold()


def _columns(sheet: _Sheet) -> tuple[dict[str, int], list[str]]:
    said = [workbook.text(value) for value in sheet.rows[0]] if sheet.rows else []
    spelt = {_folded(name): name for name in COLUMNS}
    head = [spelt.get(_folded(name), name) for name in said]
    columns: dict[str, int] = {name: head.index(name) for name in COLUMNS if name in head}
    faults = []
    for name in COLUMNS:
        if name not in columns:
            near = difflib.get_close_matches(name, [h for h in head if h and h not in COLUMNS], n=1, cutoff=0.7)
            where = f" ({workbook.cell(sheet.name, 0, head.index(near[0]))} has {near[0]!r})" if near else ""
            faults.append(f"{sheet.name}!1: there is no column {name!r}{where}.")
    for name, column in columns.items():
        try:
            mass.parse(_unit(sheet, column), "co2")
        except InversionError as error:
            faults.append(f"{workbook.cell(sheet.name, 1, column)} (unit of {name}): {error}")
    return columns, faults


def _sectors(sheet: _Sheet) -> tuple[dict[str, int], list[str]]:
    """Find the row of every sector; say which are missing, doubled or unknown."""
    rows: dict[str, int] = {}
    faults, strange = [], {}
    spelt = {_folded(name): name for name in (_TOTALS, *CEADS_SECTORS)}
    for i, row in enumerate(sheet.rows[2:], start=2):
        said = workbook.text(workbook.at(row, 0))
        name = spelt.get(_folded(said), said)
        if name in rows:
            faults.append(
                f"{workbook.cell(sheet.name, i, 0)}: the row {name!r} is there twice (also A{rows[name] + 1})."
            )
        elif name == _TOTALS or name in CEADS_SECTORS:
            rows[name] = i
        elif name:
            strange[name] = i
    missing = [name for name in (_TOTALS, *CEADS_SECTORS) if name not in rows]
    for name, i in strange.items():
        near = difflib.get_close_matches(name, missing, n=1)
        hint = f"is {near[0]!r} meant?" if near else "CEADs has 47 sectors, of which this is none."
        faults.append(f"{workbook.cell(sheet.name, i, 0)}: the row {name!r} is not known; {hint}")
        missing = [m for m in missing if m not in near]
    faults += [f"sheet {sheet.name!r}: the row {name!r} is missing in column A." for name in missing]
    return rows, faults


def _table(sheet: _Sheet, sectors: dict[str, int], columns: dict[str, int]) -> tuple[_Table, list[str]]:
    """Return kt or a notation key for every sector and column, or what is wrong with them."""
    table: _Table = {}
    faults = []
    for column, j in columns.items():
        unit = mass.parse(_unit(sheet, j), "co2")
        for sector, i in sectors.items():
            value = workbook.at(sheet.rows[i], j)
            number = workbook.number(value)
            keys = notation(workbook.text(value))
            if number is None and not keys:
                what = f"{str(value)!r} is no number" if workbook.text(value) else "the cell is empty"
                place = workbook.cell(sheet.name, i, j)
                faults.append(
                    f"{place} ({sector}, {column}): {what}: give a number in {_unit(sheet, j)}, or NE, NO, IE, C."
                )
            table[sector, column] = keys if number is None else unit.kilotonnes(number, sheet.period)
    return table, faults


def _unit(sheet: _Sheet, column: int) -> str:
    return workbook.text(workbook.at(sheet.rows[1], column)) if len(sheet.rows) > 1 else ""


def _unlike_totals(sheet: _Sheet, table: _Table, sectors: dict[str, int], columns: dict[str, int]) -> Iterator[str]:
    """Say which sums are not what the sheet itself says they are."""
    names = [name for name in sectors if name != _TOTALS]
    sums = [((_TOTALS, column), [(sector, column) for sector in names]) for column in columns]
    territorial = (*FUELS, REST, PROCESS)
    sums += [((sector, SUM), [(sector, column) for column in territorial]) for sector in sectors]
    for (sector, column), parts in sums:
        stated = table[sector, column]
        added = sum(value for part in parts if isinstance(value := table[part], float))
        size = sum(abs(value) for part in parts if isinstance(value := table[part], float))
        if isinstance(stated, float) and abs(stated - added) > _TOLERANCE * max(size, abs(stated)):
            place = workbook.cell(sheet.name, sectors[sector], columns[column])
            yield (
                f"{place} ({sector}, {column}): it says {stated:.9g} kt, what it sums up is {added:.9g} kt: a "
                "value or a total was changed without the other."
            )


def _entry(sheet: _Sheet, sector: str, column: str, value: float | str, cell: tuple[int, int]) -> Entry:
    known = CEADS_SECTORS[sector]
    return Entry(
        region=sheet.region,
        gas="co2",
        period=sheet.period,
        category=known.process if column == PROCESS else known.energy,
        value=value if isinstance(value, float) else None,
        notation=value if isinstance(value, str) else "",
        source=SOURCE,
        vintage=sheet.vintage,
        place=f"{sheet.file}:{workbook.cell(sheet.name, *cell)}",
        published=sector,
        fuel=PROCESS.casefold() if column == PROCESS else column,
        scope=2 if column in SCOPE_2 else 1,
        part=True,
        unit=_unit(sheet, cell[1]),
    )


def _absent(entries: list[Entry], codes: tuple[str, ...]) -> list[Entry]:
    """Return an NE for every region of `codes` and period that has no entry."""
    have = {(entry.region, entry.period) for entry in entries}
    like = {entry.period: entry for entry in entries}
    return [
        replace(
            like[period],
            region=code,
            category=TOTAL,
            value=None,
            notation="NE",
            published="",
            fuel="",
            scope=1,
            part=False,
            place=f"{like[period].place.split(':')[0]} (not in it)",
        )
        for period in sorted(like)
        for code in codes
        if (code, period) not in have
    ]


def _repeated(entries: list[Entry]) -> Iterator[str]:
    sheets: dict[tuple[str, Period], set[str]] = {}
    for entry in entries:
        sheets.setdefault((entry.region, entry.period), set()).add(entry.place.rpartition("!")[0])
    for (region, period), names in sheets.items():
        if len(names) > 1:
            yield f"{region} {period} is in several sheets ({', '.join(sorted(names))}): leave one."
