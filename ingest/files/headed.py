"""Text with a header of ``# key : value`` lines: NOAA's daily, hourly and event files, and WDCGG's since 2018.

``# variable:attribute : value`` describes columns; the columns stand after ``# VARIABLE ORDER``, with or without a
``#``. Both archives say where the time of an interval stands; what they do not say is not assumed.
Sources: headers of the files themselves; WDCGG Data Format 3.0; NOAA GML's readme of surface data.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ingest.files.record import Gas, Record
from ingest.files.text import Columns, Text, columns, dates, keys, load, shown
from qc.flags import WDCGG, Flag, cause_attributes, from_noaa

NOAA: Final = "noaa"
WDCGG_TEXT: Final = "wdcgg"
OWN_MARK: Final = "ORG_QCflag:skyledger"
"""Header key by which skyledger's own WDCGG files are known."""
_PARTS: Final = ("year", "month", "day", "hour", "minute", "second")
_SECONDS: Final = {"minute": 60, "hour": 3600, "day": 86_400}
_INSTANT: Final = np.timedelta64(1, "s")
"""Interval given to what is sampled at an instant (flasks)."""
_TIES: Final = np.timedelta64(1, "ms")


def recognises(head: bytes) -> str | None:
    """Return the format a file begins like, None where it is neither."""
    if not head.startswith(b"# header_lines :"):
        return None
    return WDCGG_TEXT if b"wdcgg" in head.lower() else NOAA


def read(path: Path, content: bytes, *, encoding: str | None) -> Record:
    """Return what a file says."""
    text = load(path, content, encoding=encoding)
    header, table = _table(text)
    if not text.ended:
        raise text.fault(len(text.lines), "the last line has no end; is the file complete?")
    wdcgg = "st_year" in table
    gas = header.get("dataset_parameter", "").lower()
    if not gas:
        raise text.fault(1, "the header says no dataset_parameter, so no gas")
    start, end, time = _wdcgg_times(text, header, table) if wdcgg else _noaa_times(text, header, table)
    return Record(
        path=path,
        start=start,
        end=end,
        time=time,
        gases=[(_wdcgg_gas if wdcgg else _noaa_gas)(text, header, table, gas)],
        place=_place(header, table),
        lines=table.numbers,
        extras=_heights(table),
        attributes={
            "title": header.get("dataset_description", header.get("title", "")),
            "license": header.get("dataset_fair_use", header.get("dataset_usage_policy", "")),
        },
    )


def _table(text: Text) -> tuple[dict[str, str], Columns]:
    count = next((k for k, line in enumerate(text.lines) if not line.startswith("#")), len(text.lines))
    header = keys(text.lines[:count], r"#\s*([A-Za-z][\w:]*?)\s*:\s(.*)")
    if count < len(text.lines) and text.lines[count].split()[:2] == ["site_code", "year"]:
        return header, columns(text, count + 2, text.lines[count].split())
    names = text.lines[count - 1].lstrip("# ").split()
    if len(names) < len(_PARTS):
        raise text.fault(
            count, f"{shown(text.lines[count - 1])}, expected the names of the columns; is the file complete?"
        )
    return header, columns(text, count + 1, names)


# --- times -----------------------------------------------------------------------------------


def _noaa_times(
    text: Text, header: dict[str, str], table: Columns
) -> tuple[NDArray[np.datetime64], NDArray[np.datetime64], NDArray[np.datetime64] | None]:
    start = dates(table, *_PARTS)
    length = _length(header.get("dataset_data_frequency", "1"), header.get("dataset_data_frequency_unit", ""))
    if length is None:
        if "event_number" not in table and "air_sample_container_id" not in table:
            raise text.fault(1, "the header says no dataset_data_frequency_unit of minute, hour, day or month")
        return start, start + _INSTANT, _apart(start)
    said = header.get("time_components:comment", "")
    if "beginning of the averaging interval" not in said:
        raise text.fault(1, f"the header does not say where in its interval a time stands: {shown(said)}")
    _require_decimal_year(table, start)
    return start, length(start), None


def _apart(start: NDArray[np.datetime64]) -> NDArray[np.datetime64]:
    """Return middles of instants, a millisecond apart where several samples were taken at one."""
    same = np.concatenate([[False], np.diff(start) == np.timedelta64(0)])
    turn = np.arange(start.size)
    turn -= np.maximum.accumulate(np.where(same, 0, turn))
    return start + _INSTANT // 2 + turn * _TIES


def _wdcgg_times(
    text: Text, header: dict[str, str], table: Columns
) -> tuple[NDArray[np.datetime64], NDArray[np.datetime64], NDArray[np.datetime64] | None]:
    start = dates(table, *(f"st_{part}" for part in _PARTS))
    given = table.integers("end_year") > 0
    if given.any() and not given.all():
        raise table.fault(int(np.flatnonzero(~given)[0]), "the end of the interval is not said, elsewhere it is")
    if given.all():
        end = dates(table, *(f"end_{part}" for part in _PARTS))
    else:
        length = _length(header.get("dataset_data_frequency", "1"), header.get("dataset_data_frequency_unit", ""))
        length = length or _length(
            "1", header.get("dataset_time_interval", "").removesuffix("ly").replace("dai", "day")
        )
        if length is None:
            raise text.fault(1, "neither the rows nor the header say how long an interval is")
        end = length(start)
    zone = header.get("dataset_timezone", header.get("time_zone", "UTC"))
    if zone.upper() not in ("UTC", "UTC+0", "GMT"):
        raise text.fault(1, f"times are in {zone!r}, expected UTC")
    return start, end, None


def _length(count: str, unit: str) -> Callable[[NDArray[np.datetime64]], NDArray[np.datetime64]] | None:
    """Return what makes the end of an interval of its start, None where the unit is no time."""
    name = unit.strip().lower().removesuffix("s")
    number = round(float(count))
    if name == "month":
        return lambda start: (start.astype("datetime64[M]") + number).astype("datetime64[ns]")
    if name not in _SECONDS:
        return None
    length = np.timedelta64(number * _SECONDS[name] * 10**9, "ns")
    return lambda start: start + length


def _require_decimal_year(table: Columns, start: NDArray[np.datetime64]) -> None:
    if "time_decimal" not in table:
        return
    years = start.astype("datetime64[Y]").astype(np.int64) + 1970
    wrong = np.flatnonzero(np.floor(table.floats("time_decimal") + 1e-9) != years)
    if wrong.size:
        row = int(wrong[0])
        raise table.fault(row, f"time_decimal {table.cells['time_decimal'][row]} is not in {years[row]}")


# --- values ----------------------------------------------------------------------------------


def _noaa_gas(text: Text, header: dict[str, str], table: Columns, gas: str) -> Gas:
    flags = table.words("qcflag")
    strange = next((row for row, word in enumerate(flags.tolist()) if len(word) != 3), None)
    if strange is not None:
        raise table.fault(
            strange, f"qcflag is {shown(str(flags[strange]))}, expected three characters; is the line cut?"
        )
    flag, selection = from_noaa(flags)
    return Gas(
        name=gas,
        unit=_unit(text, header, gas),
        scale=header.get("dataset_calibration_scale"),
        value=_numbers(table, "value"),
        stdev=_numbers(table, "value_std_dev"),
        n=_numbers(table, "nvalue"),
        uncertainty=_numbers(table, "value_unc"),
        flag=flag,
        selection=selection,
        flag_source=flags,
    )


def _wdcgg_gas(text: Text, header: dict[str, str], table: Columns, gas: str) -> Gas:
    codes = table.integers("QCflag")
    strange = np.flatnonzero(~np.isin(codes, [*WDCGG, -9]))
    if strange.size:
        row = int(strange[0])
        raise table.fault(row, f"QCflag is {codes[row]}, expected 1, 2, 3 or -9")
    flags = {**WDCGG, -9: Flag.NOT_EVALUATED}
    made = Gas(
        name=gas,
        unit=_unit(text, header, gas),
        scale=header.get("dataset_calibration_scale"),
        value=_numbers(table, "value"),
        stdev=_numbers(table, "value_sd" if "value_sd" in table else "value_unc"),
        n=_numbers(table, "nvalue"),
        uncertainty=_numbers(table, "value_unc_1"),
        flag=np.array([flags[code] for code in codes.tolist()], np.int8),
        selection=(codes == 1).astype(np.int8),
        flag_source=table.words("ORG_QCflag"),
    )
    if OWN_MARK in header:
        _read_own(table, made)
    return made


def _read_own(table: Columns, gas: Gas) -> None:
    """Take what skyledger's own files say in ``ORG_QCflag``: flag:cause:selection, and the parts of the uncertainty."""
    parts = [word.split(":") for word in table.cells["ORG_QCflag"]]
    wrong = next((row for row, part in enumerate(parts) if len(part) != 3), None)
    if wrong is not None:
        raise table.fault(
            wrong, f"ORG_QCflag is {shown(table.cells['ORG_QCflag'][wrong])}, expected flag:cause:selection"
        )
    split = Columns(
        table.text, ("flag", "cause", "selection"), table.numbers,
        dict(zip(("flag", "cause", "selection"), zip(*parts, strict=True), strict=True)),
    )  # fmt: skip
    gas.named = True
    gas.flag, gas.flag_source = split.integers("flag").astype(np.int8), None
    cause, selection = split.integers("cause"), split.integers("selection")
    gas.selection = None if (selection < 0).all() else selection.astype(np.int8)
    if not (cause < 0).all():
        gas.extras["cause"] = (cause, cause_attributes())
    for column, ending in (("value_unc_2", "u_random"), ("value_unc_3", "u_shared")):
        values = _numbers(table, column)
        if not np.isnan(values).all():
            gas.extras[ending] = (values, {"units": gas.unit})


def _unit(text: Text, header: dict[str, str], gas: str) -> str:
    unit = header.get("value:units", header.get("dataset_unit", ""))
    if not unit:
        raise text.fault(1, f"the header does not say the unit of {gas} (value:units)")
    return unit


def _numbers(table: Columns, name: str) -> Any:
    """Return a column, NaN where a number is negative, which no mole fraction or count is; None where it is not there.

    The stated ``_FillValue`` is not what stands in the files (-999.999 for -999.99).
    """
    if name not in table:
        return None
    values = table.floats(name)
    return np.where(values < 0, np.nan, values)


def _heights(table: Columns) -> dict[str, tuple[NDArray[Any], dict[str, Any]]]:
    """Return the height of each sample where it changed over the years; the attribute says the newest."""
    if "intake_height" not in table:
        return {}
    heights = table.floats("intake_height")
    about = {"units": "m", "long_name": "height of the inlet above ground"}
    return {"intake_height": (heights, about)} if np.unique(heights).size > 1 else {}


def _place(header: dict[str, str], table: Columns) -> dict[str, Any]:
    def number(key: str, column: str) -> float | None:
        if key in header:
            return float(header[key])
        if column in table:
            values = table.floats(column)
            return None if values[0] < -900 else float(values[0])
        return None

    heights = table.floats("intake_height") if "intake_height" in table else np.empty(0)
    code = header.get("site_code", header.get("site_gaw_id", ""))
    place = {"inlet": header["site_inlet"]} if header.get("site_inlet") else {}
    return place | {
        "station": code or table.cells[table.names[0]][0],
        "title_of_station": header.get("site_name", ""),
        "inlet_height": float(heights[-1]) if heights.size and heights[-1] > -900 else None,
        "latitude": number("site_latitude", "latitude"),
        "longitude": number("site_longitude", "longitude"),
        "altitude": number("site_elevation", "elevation"),
    }
