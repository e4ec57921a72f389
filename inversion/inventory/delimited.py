"""Plain CSV inventories, with an optional mapping of their columns; read and written."""

from __future__ import annotations

import csv
import difflib
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from inversion.errors import InversionError
from inversion.inventory import mass
from inversion.inventory.areas import area
from inversion.inventory.entry import (
    HALF_95,
    NOTATION_KEYS,
    TOTAL,
    UNIT,
    Entry,
    Inventory,
    InventoryError,
    Period,
    category,
)
from inversion.inventory.text import decoded, document

COLUMNS: Final = {
    "region": "ISO 3166-2 or GB/T 2260 code or name of a province; ISO alpha-3 code or name of a country",
    "gas": "co2, ch4, ...",
    "category": "IPCC 2006 code; 0 for the total (the default)",
    "period": "2019, 2019-03 or 2019-01/2019-02",
    "value": "a number, or a notation key (NE, NO, IE, C, NA)",
    "unit": "t, kt, Mt, Gg, Tg, 万吨, with yr-1 where it is a rate",
    "sigma": "standard uncertainty (1 σ) in the same unit",
    "sigma_percent": "the same in percent of the value",
    "uncertainty_percent_95": "half the 95 % interval in percent of the value, as IPCC tables give it",
    "low": "lower end of the 95 % interval in the same unit, where it is lopsided",
    "high": "its upper end",
    "source": "who published it",
    "vintage": "which submission it is",
    "published": "the publisher's own category (a CEADs sector, a CRT code)",
    "fuel": "what was burnt, or process",
    "scope": "1 (the default) emitted there; 2 electricity and heat used there",
    "published_unit": "unit it was published in, where the values were converted since",
    "part": "yes where the row is only a part of its category (one sector of several, one fuel)",
}
"""Columns of a plain CSV inventory."""

_NEEDED: Final = ("region", "gas", "period", "value", "unit")
_UNCERTAINTIES: Final = ("sigma", "sigma_percent", "uncertainty_percent_95")
_NOTATION: Final = re.compile(rf"({'|'.join(NOTATION_KEYS)})(\s*,\s*({'|'.join(NOTATION_KEYS)}))*")
_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?")


@dataclass(frozen=True, slots=True)
class Columns:
    """How the columns of a file stand for those of `COLUMNS`.

    Attributes
    ----------
    columns : dict
        Our name -> the file's name, where they differ.
    constants : dict
        Our name -> a value for the whole file.
    ignore : tuple of str
        Columns of the file that are not read.
    delimiter : str
    """

    columns: dict[str, str] = field(default_factory=dict)
    constants: dict[str, str] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    delimiter: str = ","

    @classmethod
    def of(cls, mapping: Mapping[str, Any] | str | Path | None) -> Columns:
        """Return the mapping given as a table, as a TOML file, or the plain one.

        Raises
        ------
        InventoryError
            With every key that is not known.
        """
        name = "the mapping"
        if isinstance(mapping, str | Path):
            name, mapping = str(mapping), document(Path(mapping), InventoryError)
        table = dict(mapping or {})
        faults = [*_unknown(table, ("columns", "constants", "ignore", "delimiter"), "keys")]
        for part in ("columns", "constants"):
            faults += _unknown(table.get(part, {}), COLUMNS, f"entries of [{part}]")
        if faults:
            raise InventoryError(name, faults)
        return cls(
            columns={key: str(value) for key, value in table.get("columns", {}).items()},
            constants={key: str(value) for key, value in table.get("constants", {}).items()},
            ignore=tuple(table.get("ignore", ())),
            delimiter=str(table.get("delimiter", ",")),
        )


def _unknown(keys: Any, known: Any, what: str) -> Iterator[str]:
    strange = [str(key) for key in keys if key not in known]
    if strange:
        near = {key: difflib.get_close_matches(key, list(known), n=1) for key in strange}
        listed = ", ".join(f"{key!r} (is {found[0]!r} meant?)" if found else f"{key!r}" for key, found in near.items())
        yield f"{what} not known: {listed}; known are {', '.join(known)}."


def read(
    path: str | Path, *, mapping: Mapping[str, Any] | str | Path | None = None, encoding: str = "utf-8-sig"
) -> Inventory:
    """Read a plain CSV inventory; see `inversion.inventory.read`.

    Raises
    ------
    InventoryError
    """
    file = Path(path)
    return parse(decoded(file, encoding, InventoryError), name=file.name, mapping=mapping)


def parse(text: str, *, name: str = "inventory", mapping: Mapping[str, Any] | str | Path | None = None) -> Inventory:
    """Read the text of a CSV inventory; see `inversion.inventory.read`.

    Raises
    ------
    InventoryError
    """
    columns = Columns.of(mapping)
    rows = csv.reader(io.StringIO(text), delimiter=columns.delimiter, strict=True)
    entries: list[Entry] = []
    faults: list[tuple[int, str]] = []
    try:
        header = [cell.strip() for cell in next(rows, [])]
        where, missing = _places(header, columns)
        missing = _separated(header, columns.delimiter) or missing
        faults += [(1, fault) for fault in missing]
        for row in rows if not missing else ():
            if any(cell.strip() for cell in row):
                place = f"{name}:{rows.line_num}"
                wrong = _read_row(row, len(header), where, columns.constants, place, entries)
                faults += [(rows.line_num, fault) for fault in wrong]
    except csv.Error as error:
        faults.append((rows.line_num, f"the line is no CSV ({error})."))
    doubled = list(repeated(entries))
    if faults or doubled:
        raise InventoryError(name, [*grouped(faults, name), *doubled])
    return Inventory(tuple(entries), name)


def grouped(faults: list[tuple[int, str]], name: str) -> list[str]:
    """Say a sentence once, with all the lines it holds for."""
    lines: dict[str, list[int]] = {}
    for line, sentence in faults:
        lines.setdefault(sentence, []).append(line)
    return [
        f"{name}:{numbers[0]}: {sentence}" + (f" (also lines {_listed(numbers[1:])})" if len(numbers) > 1 else "")
        for sentence, numbers in lines.items()
    ]


def _listed(numbers: list[int]) -> str:
    more = f" and {len(numbers) - 10} more" if len(numbers) > 10 else ""
    return ", ".join(map(str, numbers[:10])) + more


def _places(header: list[str], columns: Columns) -> tuple[dict[str, int], list[str]]:
    """Find the columns in the header; say what is missing, doubled or unknown."""
    places = {ours: columns.columns.get(ours, ours) for ours in COLUMNS}
    where = {ours: header.index(theirs) for ours, theirs in places.items() if theirs in header}
    faults = [
        f"there is no column {places[ours]!r} ({COLUMNS[ours]})."
        for ours in (*_NEEDED, *columns.columns)
        if ours not in where and ours not in columns.constants
    ]
    faults += [f"the column {name!r} is there twice." for name in sorted({n for n in header if header.count(n) > 1})]
    faults += list(_unknown([n for n in header if n not in columns.ignore], list(places.values()), "columns"))
    return where, list(dict.fromkeys(faults))


def _read_row(
    row: list[str], width: int, where: dict[str, int], constants: dict[str, str], place: str, entries: list[Entry]
) -> list[str]:
    """Append the row's entry, or return what is wrong with it."""
    if len(row) != width:
        return [f"the line has {len(row)} cells, the header {width}."]
    cells = dict(constants) | {name: row[index].strip() for name, index in where.items()}
    faults: list[str] = []

    def attempt(function: Any, *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except (InversionError, ValueError) as error:
            faults.append(str(error))
            return None

    gas = cells["gas"].casefold()
    region = attempt(area, cells["region"])
    span = attempt(Period.parse, cells["period"])
    code = attempt(category, cells.get("category") or TOTAL)
    unit = attempt(mass.parse, cells["unit"], gas)
    number = attempt(_value, cells["value"])
    deviation = attempt(_sigma, cells, number)
    ends = attempt(_interval, cells, number)
    scope = attempt(_choice, cells.get("scope") or "1", {"1": 1, "2": 2}, "scope")
    part = attempt(_choice, (cells.get("part") or "no").casefold(), {"no": False, "yes": True}, "part")
    if not faults:
        entries.append(
            Entry(
                region=region,
                gas=gas,
                period=span,
                category=code,
                value=None if number is None else unit.kilotonnes(number, span),
                sigma=None if deviation is None else unit.kilotonnes(deviation, span),
                notation=notation(cells["value"]),
                source=cells.get("source", ""),
                vintage=cells.get("vintage", ""),
                place=place,
                published=cells.get("published", ""),
                fuel=cells.get("fuel", ""),
                scope=scope,
                part=part,
                unit=cells.get("published_unit", cells["unit"]),
                interval=None if ends is None else (unit.kilotonnes(ends[0], span), unit.kilotonnes(ends[1], span)),
            )
        )
    return faults


def _choice(text: str, choices: Mapping[str, Any], what: str) -> Any:
    if text not in choices:
        raise ValueError(f"the {what} {text!r} is none: expected {' or '.join(choices)}.")
    return choices[text]


def _interval(cells: dict[str, str], value: float | None) -> tuple[float, float] | None:
    """Return the ends of the 95 % interval; None where the row states none."""
    given = [name for name in ("low", "high") if cells.get(name)]
    if not given:
        return None
    if len(given) == 1:
        raise ValueError(f"of the 95 % interval only {given[0]} is given: give low and high, or neither.")
    low, high = (_number(cells[name], name) for name in given)
    if value is None or not low <= value <= high:
        raise ValueError(f"the value is not inside its 95 % interval from {low:g} to {high:g}.")
    return low, high


def _value(text: str) -> float | None:
    """Return the number of a cell, None for a notation key."""
    return None if notation(text) else _number(text, "value")


def notation(text: str) -> str:
    """Return the notation keys that a cell holds, joined by commas; "" where it holds something else.

    Examples
    --------
    >>> notation("NO, IE"), notation("12.5")
    ('NO,IE', '')
    """
    return ",".join(re.split(r"\s*,\s*", text.strip())) if _NOTATION.fullmatch(text.strip()) else ""


def _number(text: str, what: str) -> float:
    if not text:
        raise ValueError(f"the {what} is empty: give a number or a notation key ({', '.join(NOTATION_KEYS)}).")
    if not _NUMBER.fullmatch(text) or not math.isfinite(number := float(text)):
        raise ValueError(f"the {what} {text!r} is no number: write it without separators or units, such as 1234.5.")
    return number


def _sigma(cells: dict[str, str], value: float | None) -> float | None:
    """Return 1 σ in the unit of the value; None where the row states none."""
    given = [name for name in _UNCERTAINTIES if cells.get(name)]
    if not given:
        return None
    if len(given) > 1:
        raise ValueError(f"the uncertainty is given more than once ({', '.join(given)}): leave one.")
    name = given[0]
    number = _number(cells[name], name)
    if number < 0:
        raise ValueError(f"the {name} {number:g} is negative.")
    if name == "sigma":
        return number
    if value is None:
        return None
    return abs(value) * number / 100.0 / (HALF_95 if name == "uncertainty_percent_95" else 1.0)


def repeated(entries: Sequence[Entry]) -> Iterator[str]:
    """Say which entries share region, gas, category, period, vintage and detail with one before."""
    first: dict[Any, Entry] = {}
    for entry in entries:
        if entry.key not in first:
            first[entry.key] = entry
        else:
            before = first[entry.key]
            yield (
                f"{entry.place}: {entry.region} {entry.gas} {entry.category} {entry.period} is already there "
                f"({before.place}): leave one, or tell them apart by their vintage."
            )


def write(inventory: Inventory, path: str | Path) -> Path:
    """Write an inventory as plain CSV in kt that `read` reads back to the same entries, but for their places.

    Parameters
    ----------
    inventory : Inventory
    path : path

    Returns
    -------
    Path
    """
    file = Path(path)
    with file.open("w", encoding="utf-8", newline="") as stream:
        rows = csv.DictWriter(stream, [name for name in COLUMNS if name not in _UNCERTAINTIES[1:]])
        rows.writeheader()
        rows.writerows(_row(entry) for entry in inventory.entries)
    return file


def _row(entry: Entry) -> dict[str, str]:
    low, high = ("", "") if entry.interval is None else map(_exactly, entry.interval)
    return {
        "region": entry.region,
        "gas": entry.gas,
        "category": entry.category,
        "period": str(entry.period),
        "value": entry.notation if entry.value is None else _exactly(entry.value),
        "unit": UNIT,
        "sigma": "" if entry.sigma is None else _exactly(entry.sigma),
        "low": low,
        "high": high,
        "source": entry.source,
        "vintage": entry.vintage,
        "published": entry.published,
        "fuel": entry.fuel,
        "scope": str(entry.scope),
        "published_unit": entry.unit,
        "part": "yes" if entry.part else "",
    }


def _separated(header: Sequence[str], delimiter: str) -> list[str]:
    """Say what separates the columns, where that is something else."""
    others = {";": "';'", "\t": "tabs"}
    named = [word for mark, word in others.items() if mark != delimiter and len(header) == 1 and mark in header[0]]
    return [f'its columns are separated by {word}: say so in a mapping, delimiter = "..."' for word in named]


def _exactly(value: float) -> str:
    """Return a number as the same one is read back, numpy's too."""
    return repr(float(value))
