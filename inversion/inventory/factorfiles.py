"""Factor tables as CSV and TOML, in and out."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import math
import tomllib
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final

from inversion.errors import InversionError
from inversion.inventory.entry import category
from inversion.inventory.factors import QUANTITIES, UNITS, Factor, FactorError, FactorTable, check
from inversion.inventory.prefectures import region
from inversion.inventory.text import decoded

COLUMNS: Final = {
    "quantity": "ncv, carbon, oxidation, emission or grid",
    "fuel": "name of the fuel, * for every fuel",
    "gas": "co2, ch4, ...; empty for all",
    "sector": "IPCC 2006 code, also for what lies below it; empty for all",
    "region": "ISO 3166-2 or GB/T 2260 code; empty for everywhere",
    "value": "a number",
    "unit": "of value, lower and upper",
    "lower": "of the 95 % interval",
    "upper": "of the 95 % interval",
    "sigma_percent": "1 σ in percent of the value, in place of the interval",
    "valid_from": "first day, 2020-01-01",
    "valid_to": "the day after the last",
    "source": "publication and table",
}
"""Columns of a factor table."""

_NEEDED: Final = ("quantity", "fuel", "value", "unit", "source")
_VERSION: Final = "2006"


def ipcc2006() -> FactorTable:
    """Return the table that comes with the package.

    Net calorific values (Table 1.2), carbon contents (1.3) and CO2 emission factors (1.4) of 25 fuels, CH4 and N2O of
    the energy industries (2.2) from the 2006 IPCC Guidelines, Vol. 2, with their 95 % intervals; oxidation 1; the
    national grid factors of China for 2021 and 2022.

    Examples
    --------
    >>> from inversion.inventory.entry import Period
    >>> row = ipcc2006().find("ncv", "anthracite", region="CN-SX", period=Period.parse("2019"))
    >>> row.value, row.source
    (26.7, '2006 IPCC Guidelines Vol. 2 Table 1.2')
    """
    name = "factors_ipcc2006.csv"
    text = resources.files("inversion.inventory").joinpath("data", name).read_text(encoding="utf-8")
    return parse_csv(text, name=name, version=_VERSION)


def read(path: str | Path, *, version: str = "", encoding: str = "utf-8-sig") -> FactorTable:
    """Read a factor table from CSV or TOML (``version``, ``[[factor]]`` tables with the same keys).

    Parameters
    ----------
    path : path
    version : str
        Of a CSV table, which has no place for one.
    encoding : str
        ``gb18030`` for files saved by Chinese spreadsheets.

    Returns
    -------
    FactorTable

    Raises
    ------
    FactorError
        With every fault found, each with its line (CSV) or number (TOML).
    """
    file = Path(path)
    text = decoded(file, encoding, FactorError)
    if file.suffix.casefold() == ".toml":
        return parse_toml(text, name=file.name)
    return parse_csv(text, name=file.name, version=version)


def parse_csv(text: str, *, name: str = "factors", version: str = "") -> FactorTable:
    """Read the text of a CSV table; see `read`.

    Raises
    ------
    FactorError
    """
    try:
        return _parsed(csv.DictReader(io.StringIO(text), strict=True), name, version)
    except csv.Error as error:
        raise FactorError(name, [f"It is no CSV ({error})."]) from error


def _parsed(reader: csv.DictReader[str], name: str, version: str) -> FactorTable:
    strange = [column for column in reader.fieldnames or () if column not in COLUMNS]
    missing = [column for column in _NEEDED if column not in (reader.fieldnames or ())]
    if strange or missing:
        raise FactorError(
            name,
            [f"{name}:1: columns not known: {strange}; missing: {missing}; known are {', '.join(COLUMNS)}."],
        )
    return _table(((f"{name}:{reader.line_num}", row) for row in reader), name, version)


def parse_toml(text: str, *, name: str = "factors") -> FactorTable:
    """Read the text of a TOML table; see `read`.

    Raises
    ------
    FactorError
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FactorError(name, [f"It is no TOML ({error})."]) from error
    rows = tables.get("factor", [])
    strange = [key for key in tables if key not in ("name", "version", "factor")]
    strange += sorted({key for row in rows for key in row if key not in COLUMNS})
    if strange:
        raise FactorError(name, [f"Keys not known: {', '.join(strange)}; known are {', '.join(COLUMNS)}."])
    numbered = ((f"{name} [[factor]] {number}", row) for number, row in enumerate(rows, 1))
    return _table(numbered, str(tables.get("name", name)), str(tables.get("version", "")))


def _table(rows: Iterator[tuple[str, Mapping[str | Any, Any]]], name: str, version: str) -> FactorTable:
    read_rows: list[Factor] = []
    faults: list[str] = []
    for place, row in rows:
        try:
            read_rows.append(_row(row, place))
        except (InversionError, ValueError) as error:
            faults.append(f"{place}: {error}")
    faults += check(read_rows)
    if faults:
        raise FactorError(name, faults)
    return FactorTable(tuple(read_rows), name, version)


def _row(row: Mapping[str | Any, Any], place: str) -> Factor:
    """Return one row in the units that are held."""
    if None in row or any(value is None for value in row.values()):
        raise ValueError("the line has more or fewer cells than the header.")
    cells = {key: str(value).strip() for key, value in row.items()}
    quantity, unit = cells.get("quantity", ""), cells.get("unit", "")
    if quantity not in QUANTITIES:
        raise ValueError(f"the quantity {quantity!r} is none of {', '.join(QUANTITIES)}.")
    if unit not in UNITS[quantity]:
        raise ValueError(f"the unit {unit!r} is none of {', '.join(UNITS[quantity])} (for {quantity}).")
    empty = [name for name in _NEEDED if not cells.get(name)]
    if empty:
        raise ValueError(f"{', '.join(empty)} must not be empty.")
    scale = UNITS[quantity][unit][1]
    numbers = {name: _number(cells.get(name, ""), name) for name in ("value", "lower", "upper", "sigma_percent")}
    assert numbers["value"] is not None
    percent = numbers["sigma_percent"]
    return Factor(
        quantity=quantity,
        fuel=cells["fuel"],
        value=numbers["value"] * scale,
        unit=unit,
        lower=None if numbers["lower"] is None else numbers["lower"] * scale,
        upper=None if numbers["upper"] is None else numbers["upper"] * scale,
        sigma=None if percent is None else percent / 100.0,
        gas=cells.get("gas", "").casefold(),
        sector=category(cells["sector"]) if cells.get("sector") else "",
        region=region(cells["region"]) if cells.get("region") else "",
        valid_from=_day(cells.get("valid_from", "")),
        valid_to=_day(cells.get("valid_to", "")),
        source=cells["source"],
        place=place,
    )


def _number(text: str, name: str) -> float | None:
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"the {name} {text!r} is no number.")
    return number


def _day(text: str) -> dt.date | None:
    return dt.date.fromisoformat(text) if text else None


def write(table: FactorTable, path: str | Path) -> Path:
    """Write a table as CSV or TOML, by the file's name; `read` reads it back to the same rows (but for their places).

    Parameters
    ----------
    table : FactorTable
    path : path

    Returns
    -------
    Path
    """
    file = Path(path)
    rows = [_cells(row) for row in table.rows]
    if file.suffix.casefold() == ".toml":
        head = f"name = {_quoted(table.name)}\nversion = {_quoted(table.version)}\n"
        file.write_text(head + "".join(_toml(row) for row in rows), encoding="utf-8")
        return file
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return file


def _cells(row: Factor) -> dict[str, str]:
    """Return a row's cells in the unit that is held, so that no digit is lost."""
    unit = next(name for name, (per, scale) in UNITS[row.quantity].items() if scale == 1.0 and per == row.per)
    numbers = {"value": row.value, "lower": row.lower, "upper": row.upper}
    percent = "" if row.sigma is None else f"{row.sigma * 100.0:.15g}"
    return {
        "quantity": row.quantity, "fuel": row.fuel, "gas": row.gas, "sector": row.sector, "region": row.region,
        **{name: "" if number is None else repr(number) for name, number in numbers.items()},
        "unit": unit, "sigma_percent": percent, "valid_from": str(row.valid_from or ""),
        "valid_to": str(row.valid_to or ""), "source": row.source,
    }  # fmt: skip


def _toml(cells: Mapping[str, str]) -> str:
    numbers = ("value", "lower", "upper", "sigma_percent")
    lines = [f"{key} = {text if key in numbers else _quoted(text)}" for key, text in cells.items() if text]
    return "\n[[factor]]\n" + "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
