"""WDCGG text, format 3: a header of ``# key : value`` and 37 columns."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from typing import Any, Final

import numpy as np
import xarray as xr

from ingest.errors import FileError
from ingest.export.series import Series, calendar, decimals, lines_into, one_line, plain, series, whole
from ingest.files.headed import OWN_MARK
from qc.flags import to_wdcgg

_UNITS: Final = {"umol mol-1": "ppm", "nmol mol-1": "ppb", "pmol mol-1": "ppt"}
_PARTS: Final = ("year", "month", "day", "hour", "minute", "second")
_COLUMNS: Final = (
    "site_wdcgg_id",
    *(f"st_{part}" for part in _PARTS),
    *(f"end_{part}" for part in _PARTS),
    "value",
    "value_wmo_scale",
    "value_sd",
    *(f"value_unc_{k}{ending}" for k in (1, 2, 3) for ending in ("", "_id", "_method")),
    "nvalue",
    "latitude",
    "longitude",
    "altitude",
    "elevation",
    "intake_height",
    "flask_no",
    "ORG_QCflag",
    "QCflag",
    "instrument",
    "measurement_method",
    "scale",
)
_INTERVALS: Final = {60: "minute", 3600: "hour", 86_400: "day"}


def wdcgg(ds: xr.Dataset, path: str | PathLike[str], *, gas: str | None = None, site_id: str = "") -> None:
    """Write one gas of a series as WDCGG text.

    ``QCflag`` is WDCGG's (1 background, 2 other valid, 3 invalid); ``ORG_QCflag`` holds what it cannot tell apart, as
    QARTOD flag:cause:selection; ``value_unc_1`` is the standard uncertainty, ``_2`` its random, ``_3`` its shared part.
    Not written: ``n_rejected``, ``n_minutes``, the source's own flags, whatever else stands in the dataset.

    Parameters
    ----------
    ds
        OBS; intervals begin and end on whole seconds, each time in the middle of its own.
    path
        The file; what was there is replaced.
    gas
        Which one; None: the only one.
    site_id
        The station's number at WDCGG; empty: its name stands there.

    Raises
    ------
    FileError
        The dataset does not fit the format, or the file cannot be written.
    """
    one = series(ds, gas)
    middle = one.start + (one.end - one.start) // 2
    wrong = np.flatnonzero(one.ds["time"].values.astype("datetime64[ns]") != middle)
    if wrong.size:
        raise FileError(
            f"WDCGG text cannot say that a time is not in the middle of its interval: {one.start[wrong[0]]}"
        )
    unit = _UNITS.get(one.value.attrs["units"])
    if unit is None:
        raise FileError(f"WDCGG text holds {', '.join(_UNITS)}, the values are {one.value.attrs['units']}")
    header = list(_header(one, unit))
    first = f"# header_lines : {len(header) + 2}"
    lines_into(path, [first, *header, "# " + " ".join(_COLUMNS), *_rows(one, site_id)])


def _header(one: Series, unit: str) -> Iterator[str]:
    attrs = one.ds.attrs
    yield f"# title : {one_line(one.attribute('title_of_station'))} {one.gas}, text for WDCGG"
    yield f"# site_code : {one.attribute('station')}"
    yield f"# site_name : {one_line(one.attribute('title_of_station'))}"
    for key, name in (("latitude", "latitude"), ("longitude", "longitude"), ("elevation", "altitude")):
        yield f"# site_{key} : {plain(attrs[name])}"
    yield "# site_elevation_unit : masl"
    yield f"# site_inlet : {one_line(one.attribute('inlet'))}"
    yield f"# dataset_parameter : {one.gas}"
    yield f"# dataset_calibration_scale : {one_line(str(one.value.attrs['scale']))}"
    lengths = np.unique((one.end - one.start).astype("timedelta64[s]").astype(np.int64))
    if lengths.size == 1 and int(lengths[0]) in _INTERVALS:
        yield "# dataset_data_frequency : 1"
        yield f"# dataset_data_frequency_unit : {_INTERVALS[int(lengths[0])]}"
    yield "# dataset_timezone : UTC"
    yield f"# dataset_contributor : {one_line(one.attribute('contributor'))}"
    yield f"# dataset_contact : {one_line(one.attribute('contact'))}"
    yield f"# dataset_usage_policy : {one_line(one.attribute('license'))}"
    yield f"# value:units : {unit}"
    yield "# value:_FillValue : -999.999"
    yield "# value_sd:comment : standard deviation of the values the mean rests on"
    yield "# value_unc_1:comment : standard uncertainty, all parts"
    yield "# value_unc_2:comment : part that is independent between intervals"
    yield "# value_unc_3:comment : part that all intervals share"
    yield "# QCflag:comment : 1: valid, background; 2: valid, other; 3: invalid"
    yield f"# {OWN_MARK} : QARTOD flag (1 good, 2 not evaluated, 3 suspect, 4 bad, 9 missing):cause bits:background"
    yield "# VARIABLE ORDER"


def _rows(one: Series, site_id: str) -> Iterator[str]:
    size = one.start.size
    attrs = one.ds.attrs
    site = site_id or one.attribute("station")
    if len(site.split()) != 1:
        raise FileError(f"station {site!r} cannot stand in a column")
    flag, cause, selection = (one.companion(name) for name in ("flag", "cause", "selection"))
    assert flag is not None
    nothing = ["-9"] * size
    value = decimals(one.value.values, size, "-999.999")
    own = zip(whole(flag, size, 9), whole(cause, size, -1), whole(selection, size, -1), strict=True)
    height = float(attrs["altitude"]) + float(attrs["inlet_height"])
    columns: list[Any] = [[site] * size]
    for moment in (one.start, one.end):
        columns += [part.astype(str).tolist() for part in calendar(moment)]
    columns += [value, value, decimals(one.companion("stdev"), size, "-999.999")]
    for name in ("uncertainty", "u_random", "u_shared"):
        columns += [decimals(one.companion(name), size, "-999.999"), nothing, nothing]
    columns += [
        whole(one.companion("n"), size, -9),
        *([plain(number)] * size for number in (attrs["latitude"], attrs["longitude"], height)),
        *([plain(attrs[name])] * size for name in ("altitude", "inlet_height")),
        ["-999.999"] * size,
        [":".join(parts) for parts in own],
        to_wdcgg(flag, selection).astype(str).tolist(),
        nothing,
        nothing,
        nothing,
    ]
    for cells in zip(*columns, strict=True):
        yield " ".join(cells)
