"""UNFCCC workbooks of one country and year: common reporting format (CRF, 2013) and common reporting tables (CRT).

Read are the summary (``Summary1.As1``, ... or ``Summary1``) and the sectors' tables (``Table1``, ``Table1s1``,
``Table2(I)``, ..., ``Table5``), whose first column is ``GREENHOUSE GAS SOURCE AND SINK CATEGORIES``. CRT writes its
codes out (``1.A.1.a.``); CRF numbers rows within those above (``1. Energy``, ``A. Fuel combustion``, ``1.``, ``a.``).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from inversion.errors import InversionError
from inversion.inventory import mass, workbook
from inversion.inventory.areas import area
from inversion.inventory.categories import from_crt
from inversion.inventory.delimited import notation
from inversion.inventory.entry import Entry, Inventory, InventoryError, Period

CORNER: Final = "GREENHOUSE GAS SOURCE AND SINK CATEGORIES"
GASES: Final = {
    "net co2 emissions/removals": "co2",
    "net co2": "co2",
    "co2 emissions": "co2",
    "co2": "co2",
    "ch4": "ch4",
    "n2o": "n2o",
    "sf6": "sf6",
    "nf3": "nf3",
}
"""Columns that are read; sums of F-gases are baskets in CO2 equivalents, and air pollutants are no greenhouse gases."""

_SHEET: Final = re.compile(r"Summary1(\.As\d)?|Table(1|2\(I\)|3|4|5)(s\d)?")
_SUMMARY: Final = "Summary1"
_SECTORS: Final = {
    "energy": "1",
    "industrial processes and product use": "2",
    "industrial processes": "2",
    "agriculture": "3",
    "land use, land-use change and forestry": "4",
    "lulucf": "4",
    "waste": "5",
    "other (as specified in summary 1.a)": "6",
    "other (please specify)": "6",
}
_NUMBERED: Final = re.compile(r"(\d\.\s*)?(total\s+)?(.*)")
_NOT_ROWS: Final = ("memo items", "i. livestock", "option ")
_CODE: Final = re.compile(r"([0-6](?:\.[A-Z](?:\.\d+(?:\.[a-z](?:\.[ivx]+)?)?)?)?)\.?(?=\s|[A-Z]\w)")
_STEP: Final = re.compile(r"(\d{1,2}|[A-Z]|[ivx]+(?=\.)|[a-z])\.\s*(?=\S)")
_FOOTNOTE: Final = re.compile(r"\(\s*\d+(\s*,\s*\d+)*\s*\)")
_YEAR: Final = re.compile(r"(?:inventory(?: year)?|year)\s*:?\s*((?:19|20)\d\d)", re.IGNORECASE)
_VINTAGE: Final = re.compile(r"submission\s*:?\s*((?:19|20)\d\d\b.*)", re.IGNORECASE)
_FILE: Final = re.compile(r"([A-Z]{3})[_-](?:CRT-)?((?:19|20)\d\d)[_-](?:V[\d.]+-)?((?:19|20)\d\d)(?!\d)")
_BLANK: Final = ("", ".", "-")
_TOLERANCE: Final = 1e-6


@dataclass(frozen=True, slots=True)
class _Book:
    file: str
    region: str
    period: Period
    vintage: str
    source: str


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where things stand in a sheet: the row of the header, the column of the labels, gas and unit of the others."""

    name: str
    start: int
    labels: int
    columns: dict[int, tuple[str, str]]


def is_unfccc(book: Any) -> bool:
    """Say whether the workbook has sheets named as the reporting tables'."""
    return any(_SHEET.fullmatch(name) for name in book.sheetnames)


def read_unfccc(path: str | Path, *, region: str = "", period: str = "", vintage: str = "") -> Inventory:
    """Read a CRF or CRT workbook: one country, one year.

    Parameters
    ----------
    path : path
    region, period, vintage : str
        Country, year and submission, where neither the sheets nor the file's name say them.

    Returns
    -------
    Inventory
        Categories of IPCC 2006, with the reported code in ``published``; what has no counterpart of its own is
        ``part`` of the nearest that holds it. Notation keys are kept. ``notes`` says which rows and columns were left
        out, and where a sector's table is not what the summary says.

    Raises
    ------
    InventoryError
        With sheet and cell of every fault.
    """
    file = Path(path)
    with workbook.opened(file) as book:
        sheets = {name: workbook.rows(book[name]) for name in book.sheetnames if _SHEET.fullmatch(name.strip())}
    known, faults = _identity(file.name, sheets, (region, period, vintage))
    found: dict[tuple[str, str], Entry] = {}
    notes: Counter[str] = Counter()
    for name in sorted(sheets, key=lambda n: (not n.startswith(_SUMMARY), n)):
        layout, wrong = _layout(name, sheets[name])
        faults += wrong
        if known and layout:
            read, wrong = _read_sheet(known, layout, sheets[name], notes)
            faults += wrong
            _merge(found, read, notes)
    if not faults and not found:
        faults.append(f"No sheet has a column {CORNER!r} with values: it is no CRF or CRT workbook.")
    if faults:
        raise InventoryError(file.name, faults)
    return Inventory(tuple(found.values()), file.name, tuple(notes))


def _identity(
    file: str, sheets: dict[str, workbook.Rows], given: tuple[str, str, str]
) -> tuple[_Book | None, list[str]]:
    """Find out which country, year and submission: from the caller, the sheets' corners, the file's name."""
    above = [
        workbook.text(value)
        for rows in sheets.values()
        for row in rows[: (_corner(rows) or (0, 0))[0]]
        for value in row
        if isinstance(value, str)
    ]
    named = _FILE.search(file)
    year = given[1] or next((m[1] for text in above if (m := _YEAR.fullmatch(text))), named[3] if named else "")
    vintage = given[2] or next((m[1] for text in above if (m := _VINTAGE.fullmatch(text))), named[2] if named else "")
    country = given[0] or (named[1] if named else "") or next(_countries(above), "")
    faults = []
    if not country:
        faults.append("Neither its sheets nor its name say the country: give region='DEU' or the like.")
    if not year:
        faults.append("Neither its sheets nor its name say the year: give period='2019' or the like.")
    if faults:
        return None, faults
    try:
        source = "UNFCCC CRF" if any(".As" in name or name.endswith("s1") for name in sheets) else "UNFCCC CRT"
        return _Book(file, area(country), Period.parse(year), vintage, source), []
    except InversionError as error:
        return None, [str(error)]


def _countries(texts: list[str]) -> Iterator[str]:
    for text in texts:
        try:
            yield area(text)
        except InversionError:
            continue


def _corner(rows: workbook.Rows) -> tuple[int, int] | None:
    """Return row and column of the cell that heads the categories."""
    return next(
        ((i, j) for i, row in enumerate(rows) for j, v in enumerate(row[:3]) if workbook.text(v).startswith(CORNER)),
        None,
    )


def _layout(name: str, rows: workbook.Rows) -> tuple[_Layout | None, list[str]]:
    corner = _corner(rows)
    if corner is None:
        return None, [f"sheet {name!r}: no cell says {CORNER!r}: export the workbook anew."]
    start, labels = corner
    head = rows[start]
    units = rows[start + 1] if start + 1 < len(rows) else ()
    columns: dict[int, tuple[str, str]] = {}
    unit = ""
    for j in range(labels + 1, len(head)):
        unit = workbook.text(workbook.at(units, j)) or unit  # a merged cell's value stands in its first column
        gas = GASES.get(_FOOTNOTE.sub("", workbook.text(head[j])).strip().casefold())
        if gas:
            columns[j] = gas, _FOOTNOTE.sub("", unit).strip().strip("()").strip()
    faults = [
        f"{workbook.cell(name, start + 1, j)}: the unit of {gas} is missing: the tables have (kt)."
        for j, (gas, unit) in columns.items()
        if not unit
    ]
    return _Layout(name, start, labels, columns), faults


def _read_sheet(
    book: _Book, layout: _Layout, rows: workbook.Rows, notes: Counter[str]
) -> tuple[list[Entry], list[str]]:
    entries: list[Entry] = []
    faults: list[str] = []
    place = _Place(layout.name)
    for i, row in enumerate(rows[layout.start + 2 :], start=layout.start + 2):
        label = _FOOTNOTE.sub("", workbook.text(workbook.at(row, layout.labels))).strip()
        if not label or label.casefold().startswith(("note", "documentation box")):
            if entries:
                break  # what follows a blank line are footnotes
            continue
        code = place.step(label)
        if code is None:
            if not label.casefold().startswith(_NOT_ROWS) and "reference approach" not in label.casefold():
                notes[
                    f"{workbook.cell(layout.name, i, layout.labels)}: the row {label!r} has no code and is left out."
                ] += 1
            continue
        for j, (gas, unit) in layout.columns.items():
            cell = workbook.cell(layout.name, i, j)
            try:
                entry = _entry(book, code, gas, unit, (workbook.at(row, j), cell))
            except InversionError as error:
                faults.append(f"{cell} ({code}, {gas}): {error}")
                continue
            entries += [entry] if entry else []
    return entries, faults


class _Place:
    """Where in the tree of categories a sheet's rows are: CRF numbers them within the row above."""

    def __init__(self, sheet: str) -> None:
        self.path: list[str] = [] if sheet.startswith(_SUMMARY) else [sheet.removeprefix("Table")[0]]

    def step(self, label: str) -> str | None:
        """Return the full code of the next row; None where it has none."""
        folded = label.casefold()
        if folded.startswith(("total national emissions", "total (net emissions)")):
            return "0"
        if folded.startswith(_NOT_ROWS):
            return None
        if folded.startswith("sectoral approach"):
            self.path = ["1", "A"]
            return "1.A"
        code = self._top(folded) or self._full(label) or self._within(label)
        # CRF puts the reference approach on the row of 1.A, whose own values follow as the sectoral approach.
        return None if "reference approach" in folded else code

    def _top(self, folded: str) -> str:
        number, total, name = _NUMBERED.fullmatch(folded).groups("")  # type: ignore[union-attr] # it matches all
        sector = _SECTORS.get(name.strip(), "")
        if not sector or not (total or number.startswith(sector)):
            return ""
        self.path = [sector]
        return sector

    def _full(self, label: str) -> str:
        full = _CODE.match(label)
        if not full or "." not in full[1]:
            return ""
        self.path = full[1].split(".")
        return full[1]

    def _within(self, label: str) -> str | None:
        step = _STEP.match(label)
        if not step or not self.path:
            return None
        depth = self._depth(step[1])
        if depth > len(self.path):
            return None
        self.path = [*self.path[:depth], step[1]]
        return ".".join(self.path)

    def _depth(self, step: str) -> int:
        lettered = len(self.path) > 2 and self.path[2].islower()  # 3.D has letters where others have numbers
        if step.isdigit():
            return 3 if lettered else 2
        if step.isupper():
            return 1
        roman = len(self.path) > 3 and set(step) <= set("ivx")
        if roman or len(step) > 1:
            return 4
        return 2 if lettered or self.path == ["3", "D"] else 3


def _entry(book: _Book, code: str, gas: str, unit: str, cell: tuple[Any, str]) -> Entry | None:
    value, place = cell
    number, keys = workbook.number(value), notation(workbook.text(value))
    if number is None and not keys:
        if workbook.text(value) in _BLANK:
            return None
        raise InventoryError(
            "The cell", [f"{str(value)!r} is neither a number nor a notation key (NE, NO, IE, C, NA)."]
        )
    counterpart = from_crt(code)
    return Entry(
        region=book.region,
        gas=gas,
        period=book.period,
        category=counterpart.code,
        value=None if number is None else mass.parse(unit, gas).kilotonnes(number, book.period),
        notation=keys,
        source=book.source,
        vintage=book.vintage,
        place=f"{book.file}:{place}",
        published=code,
        part=counterpart.part,
        unit=unit,
    )


def _merge(found: dict[tuple[str, str], Entry], read: list[Entry], notes: Counter[str]) -> None:
    """Add a sheet's entries; what is there already stays, and a difference is noted."""
    for entry in read:
        before = found.setdefault((entry.published, entry.gas), entry)
        if before is not entry and not _alike(before, entry):
            said = f"{entry.place} says {_said(entry)}, {before.place} {_said(before)}, which is kept"
            notes[f"{entry.published} {entry.gas}: {said}."] += 1


def _alike(before: Entry, entry: Entry) -> bool:
    if before.value is None or entry.value is None:
        return before.notation == entry.notation
    return abs(before.value - entry.value) <= _TOLERANCE * max(abs(before.value), abs(entry.value))


def _said(entry: Entry) -> str:
    return entry.notation if entry.value is None else f"{entry.value:g} kt"
