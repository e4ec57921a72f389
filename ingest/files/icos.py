"""ICOS ATC text: near-real time and level 2, one gas, hourly or by the minute.

Header lines begin with ``#``, the last of them names the columns. The count of header lines it states can be wrong and
is not believed. Times are UTC at the beginning of the interval, whatever ``TIME ZONE`` says of the station.
Source of columns and flags: headers of the files themselves; Hazan et al. (2016), doi:10.5194/amt-9-4719-2016.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ingest.files.record import Gas, Record
from ingest.files.text import Columns, Text, columns, dates, keys, load, shown
from qc.flags import ICOS, cause_attributes

FORMAT: Final = "icos"
INTERVALS: Final = {
    "hourly": np.timedelta64(3600, "s"),
    "minutely": np.timedelta64(60, "s"),
    "daily": np.timedelta64(86_400, "s"),
}
"""TIME INTERVAL -> its length."""
OWN_COLUMNS: Final = "QartodFlag"
"""Column by which a file of skyledger's is known."""
_BEGIN: Final = ("Site", "SamplingHeight", "Year", "Month", "Day", "Hour", "Minute", "DecimalDate")
_UNITS: Final = {"u": "umol mol-1", "µ": "umol mol-1", "μ": "umol mol-1", "n": "nmol mol-1", "p": "pmol mol-1"}
_NO_VALUE: Final = -9.0
"""Below it numbers stand for nothing: -9.99, -999.99."""
_DECIMAL_YEAR: Final = 2e-6
"""How far the decimal year may be from the date, in years: it has eight decimals at least."""


def recognises(head: bytes) -> bool:
    """Whether a file begins like one of these."""
    return head.startswith(b"#") and b"# STATION CODE:" in head and b"# MEASUREMENT SCALE:" in head


def read(path: Path, content: bytes, *, encoding: str | None, inlet_height: float | None) -> Record:
    """Return what a file says; of several heights the one asked for."""
    text = load(path, content, encoding=encoding)
    header, table = _table(text)
    if not text.ended:
        raise text.fault(len(text.lines), "the last line has no end; is the file complete?")
    gas = header.get("PARAMETER", "").lower()
    if gas not in table:
        raise text.fault(int(table.numbers[0]) - 1, f"there is no column {gas!r}, the file's PARAMETER")
    start = dates(table, *_BEGIN[2:7])
    _require_decimal_year(table, start)
    length = _interval(text, header)
    kept = _of_height(table, inlet_height)
    return Record(
        path=path,
        start=start[kept],
        end=(start + length)[kept],
        gases=[_cut(_gas(text, table, header, gas), kept)],
        place=_place(header, table, kept),
        lines=table.numbers[kept],
        extras={name: (values[kept], about) for name, (values, about) in _extras(table).items()},
        attributes={"title": header.get("TITLE", ""), "license": header.get("DATA POLICY", "")},
    )


def _table(text: Text) -> tuple[dict[str, str], Columns]:
    count = next((k for k, line in enumerate(text.lines) if not line.startswith("#")), len(text.lines))
    names = text.lines[count - 1].lstrip("#").strip().split(";")
    if tuple(names[: len(_BEGIN)]) != _BEGIN:
        raise text.fault(count, f"{shown(text.lines[count - 1])}, expected the columns {';'.join(_BEGIN)};...")
    header = keys(text.lines[:count], r"# ([A-Z /]+):(.*)")
    return header, columns(text, count + 1, names, lambda line: line.split(";"))


def _interval(text: Text, header: dict[str, str]) -> Any:
    said = header.get("TIME INTERVAL", "")
    if said not in INTERVALS:
        raise text.fault(1, f"TIME INTERVAL is {said!r}, expected one of {', '.join(INTERVALS)}")
    return INTERVALS[said]


def _require_decimal_year(table: Columns, start: NDArray[np.datetime64]) -> None:
    year = start.astype("datetime64[Y]")
    begin, end = (moment.astype("datetime64[ns]").astype(np.int64) for moment in (year, year + 1))
    expected = year.astype(np.int64) + 1970 + (start.astype(np.int64) - begin) / (end - begin)
    wrong = np.flatnonzero(~(np.abs(table.floats("DecimalDate") - expected) < _DECIMAL_YEAR))
    if wrong.size:
        row = int(wrong[0])
        raise table.fault(
            row, f"DecimalDate {table.cells['DecimalDate'][row]} is not {np.datetime_as_string(start[row], 'm')}"
        )


def _of_height(table: Columns, wanted: float | None) -> NDArray[np.bool_]:
    heights = table.floats("SamplingHeight")
    several = np.unique(heights)
    if wanted is None and several.size > 1:
        row = int(np.flatnonzero(heights != heights[0])[0])
        raise table.fault(
            row, f"height {heights[row]:g} m after {heights[0]:g} m: say which, as read(path, inlet_height=...)"
        )
    if several.size == 1:
        return np.ones(heights.size, dtype=bool)
    kept: NDArray[np.bool_] = heights == wanted
    if not kept.any():
        raise table.fault(0, f"no value is of height {wanted:g} m, only of {', '.join(f'{h:g}' for h in several)}")
    return kept


def _place(header: dict[str, str], table: Columns, kept: NDArray[np.bool_]) -> dict[str, Any]:
    def number(name: str) -> float | None:
        found = re.match(r"-?\d+(\.\d+)?", header.get(name, ""))
        return float(found[0]) if found else None

    row = int(np.flatnonzero(kept)[0])
    place = {"inlet": header["INLET"]} if header.get("INLET") else {}
    return place | {
        "station": table.cells["Site"][row],
        "title_of_station": header.get("STATION NAME", ""),
        "inlet_height": float(table.cells["SamplingHeight"][row]),
        "latitude": number("LATITUDE"),
        "longitude": number("LONGITUDE"),
        "altitude": number("ALTITUDE"),
    }


def _gas(text: Text, table: Columns, header: dict[str, str], gas: str) -> Gas:
    said = header.get("MEASUREMENT UNIT", "")
    unit = re.fullmatch(r"([uµμnp])mol[ .]?mol-[1¹]", said)
    if unit is None:
        raise text.fault(1, f"MEASUREMENT UNIT is {said!r}, expected umol.mol-1 or nmol.mol-1")
    for name in (gas, "Stdev"):
        table.floats(name)
        table.require_decimals(name)
    units = {"units": _UNITS[unit[1]]}
    made = Gas(
        name=gas,
        unit=_UNITS[unit[1]],
        scale=header.get("MEASUREMENT SCALE"),
        value=_numbers(table, gas),
        stdev=_numbers(table, "Stdev"),
        n=_numbers(table, "NbPoints"),
        flag=_flags(table),
        flag_source=table.words("Flag"),
    )
    for column, ending in (("LTR", "ltr"), ("CMR", "cmr"), ("STTB", "sttb"), ("QcBias", "bias")):
        if column in table:
            made.extras[ending] = (_numbers(table, column), units | {"long_name": f"ICOS {column}"})
    for column, ending in (
        (f"{gas}-WithoutSpikes", "without_spikes"),
        ("Stdev-WithoutSpikes", "stdev_without_spikes"),
        (f"{gas}Raw", "raw"),
        (f"{gas}Raw-Stdev", "raw_stdev"),
        (f"{gas}Raw-withH2oCorrection", "raw_dry"),
    ):
        if column in table:
            made.extras[ending] = (_numbers(table, column), units | {"long_name": f"ICOS {column}"})
    if OWN_COLUMNS in table:
        _read_own(table, made)
    return made


def _read_own(table: Columns, gas: Gas) -> None:
    """Take what skyledger's own files say beyond ICOS's columns."""
    gas.named, gas.flag = True, table.integers(OWN_COLUMNS).astype(np.int8)
    gas.flag_source = None
    gas.uncertainty = _numbers(table, "Uncertainty")
    selection, cause = table.integers("Selection"), table.integers("Cause")
    gas.selection = None if (selection < 0).all() else selection.astype(np.int8)
    if not (cause < 0).all():
        gas.extras["cause"] = (cause, cause_attributes())
    for column, ending in (("RandomUncertainty", "u_random"), ("SharedUncertainty", "u_shared")):
        values = _numbers(table, column)
        if not np.isnan(values).all():
            gas.extras[ending] = (values, {"units": gas.unit})


def _flags(table: Columns) -> NDArray[np.int8]:
    letters = table.cells["Flag"]
    strange = next((row for row, letter in enumerate(letters) if letter not in ICOS), None)
    if strange is not None:
        raise table.fault(strange, f"Flag is {shown(letters[strange])}, expected one of {', '.join(ICOS)}")
    return np.array([ICOS[letter] for letter in letters], np.int8)


def _numbers(table: Columns, name: str) -> NDArray[np.float64]:
    """Return a column, NaN where a cell is empty or stands for nothing."""
    cells = table.cells[name]
    if "" in cells:
        filled = Columns(
            table.text, (name,), table.numbers, {name: [cell or f"{_NO_VALUE - 1}" for cell in cells]}
        ).floats(name)
    else:
        filled = table.floats(name)
    bias = name in ("STTB", "QcBias")
    return np.where(filled <= (-900.0 if bias else _NO_VALUE), np.nan, filled)


def _extras(table: Columns) -> dict[str, tuple[NDArray[Any], dict[str, Any]]]:
    found: dict[str, tuple[NDArray[Any], dict[str, Any]]] = {}
    if "InstrumentId" in table:
        found["instrument_id"] = (table.integers("InstrumentId"), {"long_name": "ICOS number of the instrument"})
    for column, name in (("H2O", "h2o"), ("H2O-Stdev", "h2o_stdev")):
        if column in table:
            found[name] = (_numbers(table, column), {"units": "10-2 mol mol-1", "long_name": "water vapour"})
    return found


def _cut(gas: Gas, kept: NDArray[np.bool_]) -> Gas:
    if kept.all():
        return gas
    for name in ("value", "flag", "stdev", "n", "uncertainty", "selection", "flag_source"):
        values = getattr(gas, name)
        setattr(gas, name, None if values is None else values[kept])
    gas.extras = {ending: (values[kept], about) for ending, (values, about) in gas.extras.items()}
    return gas
