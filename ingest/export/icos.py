"""ICOS-style text: the columns of ICOS ATC's level 2, then those of skyledger."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from typing import Any, Final

import numpy as np
import xarray as xr

from ingest.errors import FileError
from ingest.export.series import (
    Series,
    calendar,
    decimal_year,
    decimals,
    length,
    lines_into,
    one_line,
    plain,
    series,
    whole,
)
from ingest.files.icos import INTERVALS, OWN_COLUMNS
from qc.flags import to_icos

_UNITS: Final = {"umol mol-1": "µmol.mol-¹", "nmol mol-1": "nmol.mol-¹"}
_COLUMNS: Final = ("Stdev", "NbPoints", "Flag", "InstrumentId")
_OWN: Final = (OWN_COLUMNS, "Cause", "Selection", "Uncertainty", "RandomUncertainty", "SharedUncertainty")


def icos(ds: xr.Dataset, path: str | PathLike[str], *, gas: str | None = None) -> None:
    """Write one gas of a series as ICOS-style text.

    ICOS's own columns are those its readers know; what its flags cannot tell apart, and the parts of the uncertainty,
    follow in columns of their own, which others pass over. Not written: ``n_rejected``, ``n_minutes``, whatever else
    stands in the dataset.

    Parameters
    ----------
    ds
        OBS; intervals of one minute, hour or day that begin on a whole minute, each time in the middle of its own.
    path
        The file; what was there is replaced.
    gas
        Which one; None: the only one.

    Raises
    ------
    FileError
        The dataset does not fit the format, or the file cannot be written.
    """
    one = series(ds, gas)
    wanted = length(one, "ICOS text")
    interval = next((name for name, known in INTERVALS.items() if known == wanted), None)
    if interval is None:
        raise FileError(f"ICOS text holds {', '.join(INTERVALS)} values, the intervals are {one.end[0] - one.start[0]}")
    if one.value.attrs["units"] not in _UNITS:
        raise FileError(f"ICOS text holds {', '.join(_UNITS)}, the values are {one.value.attrs['units']}")
    header = list(_header(one, interval))
    rows = list(_rows(one))
    counted = [line.format(lines=len(header) + len(rows) + 1, headers=len(header) + 1) for line in header]
    names = ["Site", "SamplingHeight", "Year", "Month", "Day", "Hour", "Minute", "DecimalDate", one.gas]
    lines_into(path, [*counted, "#" + ";".join([*names, *_COLUMNS, *_OWN]), *rows])


def _header(one: Series, interval: str) -> Iterator[str]:
    attrs = one.ds.attrs
    gas = one.gas.upper()
    yield f"# TITLE: {gas} continuous time series"
    yield "# DATA FORMAT: see the last line of this header for column description"
    yield "# TOTAL LINES: {lines}"
    yield "# HEADER LINES: {headers}"
    yield f"# STATION CODE: {_code(one)}"
    yield f"# STATION NAME: {_safe(one.attribute('title_of_station'))}"
    yield "# OBSERVATION CATEGORY: Air sampling observation at a Stationary platform"
    yield f"# CONTRIBUTOR: {_safe(one.attribute('contributor'))}"
    yield f"# LATITUDE: {plain(attrs['latitude'])} N"
    yield f"# LONGITUDE: {plain(attrs['longitude'])} E"
    yield f"# ALTITUDE: {plain(attrs['altitude'])} m asl"
    yield "# NUMBER OF SAMPLING HEIGHTS: 1"
    yield f"# SAMPLING HEIGHTS: {plain(attrs['inlet_height'])} m agl"
    yield f"# INLET: {_safe(one.attribute('inlet'))}"
    yield f"# CONTACT POINT: {_safe(one.attribute('contact'))}"
    yield f"# PARAMETER: {gas}"
    first, last = (np.datetime_as_string(moment, "m") for moment in (one.start[0], one.end[-1]))
    yield f"# COVERING PERIOD: {first} {last}"
    yield f"# TIME INTERVAL: {interval}"
    yield f"# MEASUREMENT UNIT: {_UNITS[one.value.attrs['units']]}"
    yield "# SAMPLING TYPE: continuous"
    yield "# TIME ZONE: UTC"
    yield f"# MEASUREMENT SCALE: {_safe(str(one.value.attrs['scale']))}"
    yield f"# DATA POLICY: {_safe(one.attribute('license'))}"
    yield "# COMMENT:"
    yield "#   - Times are UTC"
    yield "#   - Time-averaged values are reported at the beginning of the averaging interval."
    yield "#   - Flag 'U' = correct before, 'O' = correct after manual quality control; 'N', 'K' = not to be used"
    yield "#   - QartodFlag: 1 good, 2 not evaluated, 3 suspect, 4 bad, 9 missing; Cause: bits of the tests that set it"


def _rows(one: Series) -> Iterator[str]:
    size = one.start.size
    year, month, day, hour, minute, second = calendar(one.start)
    if second.any():
        raise FileError("ICOS text has no seconds, an interval does not begin on a whole minute")
    flag, cause = one.companion("flag"), one.companion("cause")
    assert flag is not None
    place = f"{_code(one)};{plain(one.ds.attrs['inlet_height'])}"
    columns: list[Any] = [
        [f"{a:04};{b:02};{c:02};{d:02};{e:02}" for a, b, c, d, e in zip(year, month, day, hour, minute, strict=True)],
        [f"{value:.8f}" for value in decimal_year(one.start)],
        decimals(one.value.values, size, "-999.990"),
        decimals(one.companion("stdev"), size, "-9.990"),
        whole(one.companion("n"), size, -99),
        to_icos(flag, cause).tolist(),
        whole(one.ds["instrument_id"].values if "instrument_id" in one.ds else None, size, 0),
        whole(flag, size, 0),
        whole(cause, size, -1),
        whole(one.companion("selection"), size, -1),
        *(decimals(one.companion(name), size, "-999.990") for name in ("uncertainty", "u_random", "u_shared")),
    ]
    for cells in zip(*columns, strict=True):
        yield ";".join([place, *cells])


def _code(one: Series) -> str:
    code = one.attribute("station")
    if ";" in code or "\n" in code:
        raise FileError(f"station {code!r} cannot stand in a column")
    return code


def _safe(text: str) -> str:
    return one_line(text).replace("{", "(").replace("}", ")")
