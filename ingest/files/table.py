"""Any separated text, by a mapping that says what its columns are.

The mapping is a TOML file (or the same as a dict)::

    separator = ","                 # "" : white space
    skip = 0                        # lines before the header
    header = true                   # false: columns are named "1", "2", ...
    missing = ["", "-999.9"]        # what stands for no value
    station = "mlo"
    latitude = 19.536
    longitude = -155.576
    altitude = 3397.0
    inlet_height = 40.0
    [time]
    column = "date"                 # or columns = ["date", "time"], joined by a space
    format = "%Y%m%d"               # or "decimal year"
    utc_offset_hours = 0
    stamp = "start"                 # or middle, end
    interval = "7 days"             # or "1 month"
    [gas.co2]
    value = "co2"
    unit = "ppm"
    scale = "WMO CO2 X93"
    stdev = "sd"                    # also n, uncertainty: columns
    flag = { column = "flag", good = ["", "."], suspect = ["?"] }   # any other is bad
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from ingest.errors import FileError
from ingest.files.record import Gas, Record
from ingest.files.text import Columns, Text, columns, load, shown
from ingest.structs import explained
from qc.flags import Flag

FORMAT: Final = "table"
DECIMAL_YEAR: Final = "decimal year"
_SECONDS: Final = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}
_MONTH: Final = "month"


class _Flags(msgspec.Struct, forbid_unknown_fields=True):
    column: str
    good: list[str]
    suspect: list[str] = []
    not_evaluated: list[str] = []


class _Gas(msgspec.Struct, forbid_unknown_fields=True):
    value: str
    unit: str
    scale: str | None = None
    stdev: str | None = None
    n: str | None = None
    uncertainty: str | None = None
    flag: _Flags | None = None


class _Time(msgspec.Struct, forbid_unknown_fields=True):
    format: str
    interval: str
    column: str | None = None
    columns: list[str] = []
    utc_offset_hours: float = 0.0
    stamp: Literal["start", "middle", "end"] = "start"


class _Mapping(msgspec.Struct, forbid_unknown_fields=True):
    time: _Time
    gas: dict[str, _Gas]
    separator: str = ","
    skip: int = 0
    header: bool = True
    encoding: str | None = None
    missing: list[str] = []
    station: str | None = None
    inlet: str | None = None
    inlet_height: float | None = None
    latitude: float | None = None
    longitude: float | None = None
    altitude: float | None = None
    title: str = ""


_KINDS: Final = (_Mapping, _Time, _Gas, _Flags)


def read(path: Path, content: bytes, mapping: Mapping[str, Any] | str | PathLike[str]) -> Record:
    """Return what a file says by a mapping.

    Raises
    ------
    FileError
        The mapping is wrong, or the file does not fit it.
    """
    wanted = _mapping(mapping)
    text = load(path, content, encoding=wanted.encoding)
    table = _table(text, wanted)
    for name in _used(wanted):
        if name not in table:
            near = difflib.get_close_matches(name, table.names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(table.names)}"
            raise text.fault(wanted.skip + 1, f"there is no column {name!r}{hint}")
    start, end = _interval(_stamps(table, wanted.time), wanted.time)
    place = {name: getattr(wanted, name) for name in ("station", "inlet_height", "latitude", "longitude", "altitude")}
    if wanted.inlet:
        place["inlet"] = wanted.inlet
    return Record(
        path=path,
        start=start,
        end=end,
        gases=[_gas(table, name, gas, wanted.missing) for name, gas in wanted.gas.items()],
        place=place,
        lines=table.numbers,
        attributes={"title": wanted.title},
    )


def _mapping(mapping: Mapping[str, Any] | str | PathLike[str]) -> _Mapping:
    where = "the mapping"
    if not isinstance(mapping, Mapping):
        where = f"mapping {mapping}"
        try:
            mapping = tomllib.loads(Path(mapping).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise FileError(f"{where} cannot be read: {error}") from error
    try:
        wanted = msgspec.convert(mapping, _Mapping)
    except msgspec.ValidationError as error:
        raise FileError(f"{where}: {explained(error, _KINDS)}") from error
    if not wanted.gas:
        raise FileError(f"{where} names no gas: give [gas.co2] or others")
    if (wanted.time.column is None) == (not wanted.time.columns):
        raise FileError(f"{where}: time needs either column or columns")
    return wanted


def _used(wanted: _Mapping) -> list[str]:
    names = list(wanted.time.columns) or [str(wanted.time.column)]
    for gas in wanted.gas.values():
        names += [name for name in (gas.value, gas.stdev, gas.n, gas.uncertainty) if name is not None]
        names += [gas.flag.column] if gas.flag is not None else []
    return names


def _table(text: Text, wanted: _Mapping) -> Columns:
    if len(text.lines) <= wanted.skip:
        raise text.fault(len(text.lines), f"the file ends there, expected more than {wanted.skip} lines")

    def split(line: str) -> list[str]:
        return [cell.strip() for cell in line.split(wanted.separator)] if wanted.separator else line.split()

    names = split(text.lines[wanted.skip])
    if not wanted.header:
        names = [str(number) for number in range(1, len(names) + 1)]
    return columns(text, wanted.skip + 1 + wanted.header, names, split)


# --- times -----------------------------------------------------------------------------------


def _stamps(table: Columns, time: _Time) -> NDArray[np.datetime64]:
    offset = np.timedelta64(round(time.utc_offset_hours * 3600), "s")
    names = time.columns or [str(time.column)]
    if time.format == DECIMAL_YEAR:
        return _of_years(table.floats(names[0])) - offset
    cells = [" ".join(parts) for parts in zip(*(table.cells[name] for name in names), strict=True)]
    stamps = []
    for row, cell in enumerate(cells):
        try:
            parsed = datetime.strptime(cell, time.format)  # noqa: DTZ007 the mapping says the offset
        except ValueError:
            raise table.fault(row, f"time {shown(cell)} is not of the form {time.format!r}") from None
        aware = parsed if parsed.tzinfo is None else parsed.astimezone(UTC).replace(tzinfo=None)
        stamps.append(np.datetime64(aware, "ns"))
    found: NDArray[np.datetime64] = np.array(stamps, dtype="datetime64[ns]")
    return found - offset


def _of_years(years: NDArray[np.float64]) -> NDArray[np.datetime64]:
    """Return decimal years as times, to the second: they seldom say more."""
    whole = np.floor(years)
    begin = (whole - 1970).astype("datetime64[Y]")
    length = ((begin + 1).astype("datetime64[s]") - begin.astype("datetime64[s]")).astype(np.float64)
    seconds = np.rint((years - whole) * length).astype("timedelta64[s]")
    found: NDArray[np.datetime64] = (begin.astype("datetime64[s]") + seconds).astype("datetime64[ns]")
    return found


def _interval(stamps: NDArray[np.datetime64], time: _Time) -> tuple[NDArray[np.datetime64], NDArray[np.datetime64]]:
    found = re.fullmatch(r"(\d+) ([a-z]+?)s?", time.interval)
    if found is None or found[2] not in (*_SECONDS, _MONTH):
        raise FileError(f"interval {time.interval!r} of the mapping is none, expected e.g. '1 hour' or '1 month'")
    count, unit = int(found[1]), found[2]
    if unit == _MONTH:
        start = stamps.astype("datetime64[M]") - (count if time.stamp == "end" else 0)
        return start.astype("datetime64[ns]"), (start + count).astype("datetime64[ns]")
    length = np.timedelta64(count * _SECONDS[unit] * 10**9, "ns")
    start = stamps - {"start": 0 * length, "middle": length // 2, "end": length}[time.stamp]
    return start, start + length


# --- values ----------------------------------------------------------------------------------


def _gas(table: Columns, name: str, gas: _Gas, missing: Sequence[str]) -> Gas:
    flag = np.full(table.numbers.size, Flag.GOOD, np.int8)
    source = None
    if gas.flag is not None:
        source = table.words(gas.flag.column)
        groups = (
            (gas.flag.good, Flag.GOOD),
            (gas.flag.suspect, Flag.SUSPECT),
            (gas.flag.not_evaluated, Flag.NOT_EVALUATED),
        )
        flag = np.full(source.size, Flag.BAD, np.int8)
        for words, value in groups:
            flag[np.isin(source, words)] = value
    return Gas(
        name=name.lower(),
        unit=gas.unit,
        scale=gas.scale,
        named=True,
        value=_numbers(table, gas.value, missing),
        stdev=None if gas.stdev is None else _numbers(table, gas.stdev, missing),
        n=None if gas.n is None else _numbers(table, gas.n, missing),
        uncertainty=None if gas.uncertainty is None else _numbers(table, gas.uncertainty, missing),
        flag=flag,
        flag_source=source,
    )


def _numbers(table: Columns, name: str, missing: Sequence[str]) -> NDArray[np.float64]:
    """Return a column, NaN where a cell is one of those that stand for no value."""
    known = set(missing)
    cells = ["nan" if cell in known else cell for cell in table.cells[name]]
    return Columns(table.text, (name,), table.numbers, {name: cells}).floats(name, nan="nan" in cells)
