"""WDCGG text as it was until 2018: header lines ``C01 KEY: value``, fixed width, one gas.

The last header line names the columns: date and time of the begin and of the end (9999 where it is not said), the gas,
ND, SD, F, CS, REM. Counts of lines in the header are not believed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ingest.files.record import Gas, Record
from ingest.files.text import Columns, Text, columns, dates, keys, load, require_width, shown
from qc.flags import Flag

FORMAT: Final = "wdcgg-old"
_LENGTHS: Final = {"hourly": "h", "daily": "D", "monthly": "M"}
_TIMES: Final = ("date", "time", "end_date", "end_time")
_NO_VALUE: Final = -9.0
_UNFLAGGED: Final = ("-9999", "0")
_DATE: Final = re.compile(r"(\d{4})-(\d{2})-(\d{2}) (\d{2}):(\d{2})")


def recognises(head: bytes) -> bool:
    """Whether a file begins like one of these."""
    return head.startswith(b"C01 TITLE:")


def read(path: Path, content: bytes, *, encoding: str | None) -> Record:
    """Return what a file says."""
    text = load(path, content, encoding=encoding)
    header, table = _table(text)
    require_width(table)
    start, end = _times(text, header, table)
    return Record(
        path=path,
        start=start,
        end=end,
        gases=[_gas(header, table)],
        place=_place(header),
        lines=table.numbers,
        attributes={"title": header.get("TITLE", ""), "license": header.get("CREDIT FOR USE", "")},
    )


def _table(text: Text) -> tuple[dict[str, str], Columns]:
    count = next((k for k, line in enumerate(text.lines) if not re.match(r"C\d\d", line)), len(text.lines))
    names = text.lines[count - 1][3:].split()
    if names[:4] != ["DATE", "TIME", "DATE", "TIME"] or len(names) < 7:
        raise text.fault(count, f"{shown(text.lines[count - 1])}, expected DATE TIME DATE TIME, the gas, ND SD ...")
    header = keys(text.lines[:count], r"C\d\d ([A-Z /]+):(.*)")
    return header, columns(text, count + 1, [*_TIMES, *names[4:]])


def _times(text: Text, header: dict[str, str], table: Columns) -> tuple[NDArray[np.datetime64], NDArray[np.datetime64]]:
    zone = header.get("TIME ZONE", "")
    if zone.upper() not in ("UTC", "GMT"):
        raise text.fault(1, f"TIME ZONE is {zone!r}, expected UTC")
    start = _dates(table, "date", "time")
    if not table.cells["end_date"][0].startswith("9999"):
        return start, _dates(table, "end_date", "end_time")
    said = header.get("TIME INTERVAL", "")
    if said not in _LENGTHS:
        raise text.fault(1, f"TIME INTERVAL is {said!r}, expected one of {', '.join(_LENGTHS)}")
    unit = _LENGTHS[said]
    return start, (start.astype(f"datetime64[{unit}]") + 1).astype("datetime64[ns]")


def _dates(table: Columns, day: str, clock: str) -> NDArray[np.datetime64]:
    parts: list[tuple[str, ...]] = []
    for row, (first, second) in enumerate(zip(table.cells[day], table.cells[clock], strict=True)):
        found = _DATE.fullmatch(f"{first} {second}")
        if found is None:
            raise table.fault(row, f"{shown(f'{first} {second}')} is no time, expected YYYY-MM-DD hh:mm")
        parts.append(found.groups())
    names = ("year", "month", "day", "hour", "minute")
    split = Columns(table.text, names, table.numbers, dict(zip(names, zip(*parts, strict=True), strict=True)))
    return dates(split, *names)


def _gas(header: dict[str, str], table: Columns) -> Gas:
    name = table.names[4]
    if name != header.get("PARAMETER"):
        raise table.fault(0, f"the column is {name}, the file's PARAMETER {header.get('PARAMETER')}")
    for column in (name, "SD"):
        table.floats(column)
        table.require_decimals(column)
    marks = table.words("F")
    flag = np.where(np.isin(marks, _UNFLAGGED), np.int8(Flag.GOOD), np.int8(Flag.NOT_EVALUATED))
    return Gas(
        name=name.lower(),
        unit=header.get("MEASUREMENT UNIT", ""),
        scale=header.get("MEASUREMENT SCALE"),
        value=_numbers(table, name),
        stdev=_numbers(table, "SD"),
        n=_numbers(table, "ND"),
        flag=flag,
        flag_source=marks,
    )


def _numbers(table: Columns, name: str) -> NDArray[np.float64]:
    values = table.floats(name)
    return np.where(values < _NO_VALUE, np.nan, values)


def _place(header: dict[str, str]) -> dict[str, Any]:
    def number(name: str) -> float | None:
        found = re.match(r"-?\d+(\.\d+)?", header.get(name, ""))
        return float(found[0]) if found else None

    code = re.match(r"([a-z]{3})\d", header.get("FILE NAME", ""))
    return {
        "station": code[1].upper() if code else header.get("STATION NAME", ""),
        "title_of_station": header.get("STATION NAME", ""),
        "inlet_height": number("SAMPLING HEIGHTS"),
        "latitude": number("LATITUDE"),
        "longitude": number("LONGITUDE"),
        "altitude": number("ALTITUDE"),
    }
