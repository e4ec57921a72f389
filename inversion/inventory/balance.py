"""Energy balances: how much of which fuel a sector of a region used, from tables and sheets."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import openpyxl
import xarray as xr

from inversion.errors import InversionError
from inversion.inventory.entry import NOTATION_KEYS, InventoryError, Period, category
from inversion.inventory.prefectures import region
from inversion.inventory.text import decoded
from inversion.inventory.workbook import opened

UNITS: Final = {
    "kt": ("kt", 1.0), "Gg": ("kt", 1.0), "t": ("kt", 1e-3), "Mt": ("kt", 1e3), "1e4 t": ("kt", 10.0),
    "10^4 t": ("kt", 10.0), "万吨": ("kt", 10.0),
    "m3": ("1e6 m3", 1e-6), "1e4 m3": ("1e6 m3", 1e-2), "1e6 m3": ("1e6 m3", 1.0), "1e8 m3": ("1e6 m3", 100.0),
    "10^8 m3": ("1e6 m3", 100.0), "万立方米": ("1e6 m3", 1e-2), "亿立方米": ("1e6 m3", 100.0),
    "GJ": ("TJ", 1e-3), "TJ": ("TJ", 1.0), "PJ": ("TJ", 1e3), "1e10 kJ": ("TJ", 10.0), "10^10 kJ": ("TJ", 10.0),
    "万百万千焦": ("TJ", 10.0), "tce": ("TJ", 0.0293076), "1e4 tce": ("TJ", 293.076), "万吨标准煤": ("TJ", 293.076),
    "kWh": ("GWh", 1e-6), "MWh": ("GWh", 1e-3), "GWh": ("GWh", 1.0), "TWh": ("GWh", 1e3),
    "1e4 kWh": ("GWh", 1e-2), "1e8 kWh": ("GWh", 100.0), "10^8 kWh": ("GWh", 100.0), "万千瓦时": ("GWh", 1e-2),
    "亿千瓦时": ("GWh", 100.0),
}  # fmt: skip
"""Units of activities -> the unit that is held, and the factor to it (1 kgce = 29.3076 MJ = 7000 kcal)."""
PURCHASED: Final = ("electricity", "heat")
"""Carriers whose emissions lie where they were made (Scope 2), not where they are used."""
COLUMNS: Final = {
    "region": "ISO 3166-2 or GB/T 2260 code, or the name of a province",
    "period": "2019, 2019-03 or 2019-01/2019-02",
    "sector": "IPCC 2006 code, or a name in the mapping of sectors",
    "fuel": "a name of the factor table, or one in the mapping of fuels",
    "value": "a number, or a notation key",
    "unit": "kt, 万吨, 1e8 m3, 亿立方米, TJ, 万吨标准煤, 亿千瓦时, ...",
    "sigma_percent": "1 σ in percent of the value",
}
"""Columns of a balance in the long form."""

_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """One cell of an energy balance.

    Attributes
    ----------
    region : str
        ISO 3166-2 code of a province, GB/T 2260 code of a prefecture.
    period : Period
    sector : str
        IPCC 2006 code.
    fuel : str
    value : float or None
        In `unit`; None where there is a notation key.
    unit : str
        ``kt``, ``1e6 m3``, ``TJ`` or ``GWh``.
    sigma : float
        Relative standard uncertainty (1 σ), 1.
    notation : str
    place : str
        File and line, or file, sheet and cell.
    """

    region: str
    period: Period
    sector: str
    fuel: str
    value: float | None
    unit: str
    sigma: float = 0.0
    notation: str = ""
    label: str = ""
    place: str = ""

    @property
    def key(self) -> tuple[str, Period, str, str, str]:
        """What two cells of a balance must not share."""
        return self.region, self.period, self.sector, self.fuel, self.label


@dataclass(frozen=True, slots=True)
class Balance:
    """Activities of regions, periods, sectors and fuels.

    Attributes
    ----------
    activities : tuple of Activity
    name : str
    """

    activities: tuple[Activity, ...]
    name: str = "balance"

    def apart(self) -> tuple[Balance, Balance]:
        """Return the fuels that are burnt, and the electricity and heat that are bought (Scope 2)."""
        burnt = tuple(a for a in self.activities if a.fuel not in PURCHASED)
        bought = tuple(a for a in self.activities if a.fuel in PURCHASED)
        return Balance(burnt, self.name), Balance(bought, self.name)

    def with_sigma(self, sigma: Mapping[str, float]) -> Balance:
        """Return the balance with relative σ by sector, where none is stated: {"1.A.1": 0.02, "": 0.05}.

        The longest code that the sector lies in goes first.
        """

        def of(sector: str) -> float:
            fits = [code for code in sigma if not code or sector == code or sector.startswith(f"{code}.")]
            return sigma[max(fits, key=len)] if fits else 0.0

        return Balance(tuple(a if a.sigma else replace(a, sigma=of(a.sector)) for a in self.activities), self.name)

    def matrix(self, region: str, period: str | Period) -> xr.DataArray:
        """Return one region and period as sectors by fuels; NaN where there is no activity.

        Returns
        -------
        xr.DataArray (sector, fuel)
            With the coordinate ``units`` (fuel).

        Raises
        ------
        InventoryError
            When the region and period are not in it, or a fuel is given in several units.
        """
        span = Period.parse(period) if isinstance(period, str) else period
        chosen = [a for a in self.activities if a.region == region and a.period == span]
        if not chosen:
            raise InventoryError(self.name, [f"It holds nothing of {region} in {span}."])
        sectors = list(dict.fromkeys(a.sector for a in chosen))
        units: dict[str, str] = {}
        for a in chosen:
            if units.setdefault(a.fuel, a.unit) != a.unit:
                raise InventoryError(self.name, [f"{a.fuel} of {region} is given in {units[a.fuel]} and in {a.unit}."])
        table = np.full((len(sectors), len(units)), np.nan)
        for a in chosen:
            if a.value is not None:
                cell = sectors.index(a.sector), list(units).index(a.fuel)
                table[cell] = a.value + (0.0 if np.isnan(table[cell]) else table[cell])
        return xr.DataArray(
            table,
            dims=("sector", "fuel"),
            coords={"sector": sectors, "fuel": list(units), "units": ("fuel", list(units.values()))},
            attrs={"region": region, "period": str(span)},
        )

    def joined(self, *others: Balance) -> Balance:
        """Return this balance and others (further years, further regions) as one.

        Raises
        ------
        InventoryError
            When a cell is in two of them.
        """
        everything = [self, *others]
        activities = tuple(a for balance in everything for a in balance.activities)
        _refuse(list(_repeated(activities)), "The balances")
        return Balance(activities, " + ".join(dict.fromkeys(balance.name for balance in everything)))


def read(
    path: str | Path,
    *,
    sectors: Mapping[str, str] | None = None,
    fuels: Mapping[str, str] | None = None,
    encoding: str = "utf-8-sig",
) -> Balance:
    """Read an energy balance in the long form (CSV): a line for every region, period, sector and fuel.

    Parameters
    ----------
    path : path
    sectors, fuels : dict, optional
        The file's name -> IPCC 2006 code, and -> name of the factor table.
    encoding : str
        ``gb18030`` for files saved by Chinese spreadsheets.

    Returns
    -------
    Balance

    Raises
    ------
    InventoryError
        With every fault found, each with file and line.
    """
    file = Path(path)
    reader = csv.DictReader(io.StringIO(decoded(file, encoding, InventoryError)), strict=True)
    try:
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ()) and name != "sigma_percent"]
        _refuse([f"{file.name}:1: there is no column {name!r} ({COLUMNS[name]})." for name in missing], file.name)
        rows = [(f"{file.name}:{reader.line_num}", row) for row in reader]
    except csv.Error as error:
        raise InventoryError(file.name, [f"{file.name}:{reader.line_num}: the line is no CSV ({error})."]) from error
    return _balance(rows, file.name, sectors or {}, fuels or {})


def read_sheet(
    path: str | Path,
    *,
    of: str,
    period: str,
    sheet: str | None = None,
    sectors: Mapping[str, str],
    fuels: Mapping[str, str] | None = None,
) -> Balance:
    """Read one region's balance from a sheet (xlsx or CSV): sectors down, fuels across, units in the second row.

    Rows of other names than those in `sectors` (totals, supply, losses) are left out; every one of `sectors` must be
    there. Empty cells are no activity.

    Parameters
    ----------
    path : path
    of : str
        The region.
    period : str
    sheet : str, optional
        By default the only one.
    sectors : dict
        Name in the first column -> IPCC 2006 code.
    fuels : dict, optional
        Name in the first row -> name of the factor table; a fuel that is mapped to "" is left out.

    Raises
    ------
    InventoryError
        With every fault found, each with its cell.
    """
    file = Path(path)
    cells = _cells(file, sheet)
    names = {str(row[0]).strip(): number for number, row in enumerate(cells, 1) if row and row[0] is not None}
    faults = [f"There is no row {name!r} in the first column." for name in sectors if name not in names]
    if len(cells) < 3:
        faults.append("A balance needs a row of fuels, a row of units and at least one sector.")
    _refuse(faults, file.name)
    across = [str(cell or "").strip() for cell in cells[0]]
    units = [str(cell or "").strip() for cell in cells[1]] + [""] * len(across)
    wanted = [(j, name) for j, name in enumerate(across[1:], 1) if name and (fuels or {}).get(name, name)]
    rows = [
        (
            f"{file.name}:{openpyxl.utils.get_column_letter(j + 1)}{names[sector]}",
            {"region": of, "period": period, "sector": sector, "fuel": fuel, "value": value, "unit": units[j]},
        )
        for sector in sectors
        for j, fuel in wanted
        if (value := _text(cells[names[sector] - 1], j))
    ]
    return _balance(rows, file.name, sectors, fuels or {})


def _cells(file: Path, sheet: str | None) -> list[Sequence[Any]]:
    if file.suffix.casefold() != ".xlsx":
        try:
            return list(csv.reader(io.StringIO(decoded(file, "utf-8-sig", InventoryError)), strict=True))
        except csv.Error as error:
            raise InventoryError(file.name, [f"It is no CSV ({error})."]) from error
    with opened(file) as book:
        if sheet is None and len(book.sheetnames) > 1:
            raise InventoryError(file.name, [f"It has several sheets ({', '.join(book.sheetnames)}): choose one."])
        if sheet is not None and sheet not in book.sheetnames:
            raise InventoryError(file.name, [f"It has no sheet {sheet!r}, but {', '.join(book.sheetnames)}."])
        return list(book[sheet or book.sheetnames[0]].iter_rows(values_only=True))


def _text(row: Sequence[Any], index: int) -> str:
    cell = row[index] if index < len(row) else None
    return "" if cell is None else repr(float(cell)) if isinstance(cell, int | float) else str(cell).strip()


def _balance(
    rows: Iterable[tuple[str, Mapping[str, Any]]], name: str, sectors: Mapping[str, str], fuels: Mapping[str, str]
) -> Balance:
    activities: list[Activity] = []
    faults: list[str] = []
    for place, row in rows:
        try:
            activities.append(_activity(row, place, sectors, fuels))
        except (InversionError, ValueError) as error:
            faults.append(f"{place}: {error}")
    _refuse([*faults, *_repeated(activities)], name)
    return Balance(tuple(activities), name)


def _activity(row: Mapping[str, Any], place: str, sectors: Mapping[str, str], fuels: Mapping[str, str]) -> Activity:
    if any(not isinstance(key, str) or value is None for key, value in row.items()):
        raise ValueError("the line has more or fewer cells than the header.")
    cells = {key: str(value).strip() for key, value in row.items()}
    unit = cells["unit"]
    if unit not in UNITS:
        raise ValueError(f"the unit {unit!r} of {cells['fuel']} is none of {', '.join(UNITS)}.")
    held, scale = UNITS[unit]
    notation = cells["value"] if cells["value"] in NOTATION_KEYS else ""
    percent = _number(cells.get("sigma_percent") or "0", "sigma_percent")
    if percent < 0:
        raise ValueError(f"the sigma_percent {percent:g} is negative.")
    return Activity(
        region=region(cells["region"]),
        period=Period.parse(cells["period"]),
        sector=category(sectors.get(cells["sector"], cells["sector"])),
        fuel=fuels.get(cells["fuel"], cells["fuel"]),
        value=None if notation else _number(cells["value"], "value") * scale,
        unit=held,
        sigma=percent / 100.0,
        notation=notation,
        label=f"{cells['sector']} / {cells['fuel']}",
        place=place,
    )


def _number(text: str, what: str) -> float:
    if not _NUMBER.fullmatch(text) or not math.isfinite(number := float(text)):
        raise ValueError(f"the {what} {text!r} is no number: write it without separators or units, such as 1234.5.")
    return number


def _repeated(activities: Iterable[Activity]) -> Iterator[str]:
    first: dict[Any, Activity] = {}
    for a in activities:
        if a.key in first:
            where = first[a.key].place
            yield f"{a.place}: {a.label or a.fuel} of {a.region}, {a.period}, is already there ({where}): leave one."
        first.setdefault(a.key, a)


def _refuse(faults: list[str], name: str) -> None:
    if faults:
        raise InventoryError(name, faults)
