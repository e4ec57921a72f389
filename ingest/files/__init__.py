"""Files of the world's archives, read into OBS datasets: every value kept, valid or not, with its scale and flags.

What a file does not say is not guessed (calibration scale, place, where in its interval a time stands): its reader is
told what to give. Headers that lie about counts, time zones or fill values are survived; a line that is cut, doubled or
out of order is not, it is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr

from ingest.errors import FileError
from ingest.files import gcwerks, headed, icos, obspack, table, wdcgg
from ingest.files.record import Record, dataset

__all__ = ["FORMATS", "format_of", "read"]

FORMATS: Final = {
    icos.FORMAT: "ICOS ATC text, near-real time and level 2",
    headed.WDCGG_TEXT: "WDCGG text since 2018",
    wdcgg.FORMAT: "WDCGG text until 2018",
    obspack.FORMAT: "ObsPack netCDF",
    headed.NOAA: "NOAA text: daily, hourly, event",
    gcwerks.MEANS: "GCWerks means (.dat)",
    gcwerks.SAMPLES: "GCWerks samples (.C), with precisions",
    table.FORMAT: "any separated text, by a mapping",
}
"""Name of each format -> what it is."""
_HEAD: Final = 65_536
"""Bytes looked at to know a format."""


def format_of(path: str | PathLike[str]) -> str | None:
    """Return the name of a file's format (`FORMATS`), None where it is none of those that are known by their begin."""
    with Path(path).open("rb") as stream:
        return _format_of(stream.read(_HEAD))


def _format_of(head: bytes) -> str | None:
    head = head.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")
    for name, recognises in ((icos.FORMAT, icos.recognises), (wdcgg.FORMAT, wdcgg.recognises)):
        if recognises(head):
            return name
    if obspack.recognises(head):
        return obspack.FORMAT
    return headed.recognises(head) or gcwerks.recognises(head)


def read(  # noqa: PLR0913  what files leave unsaid
    path: str | PathLike[str],
    *,
    format: str = "auto",  # noqa: A002  the word for it
    scale: str | Mapping[str, str] | None = None,
    station: str | None = None,
    inlet: str | None = None,
    inlet_height: float | None = None,
    latitude: float | None = None,
    longitude: float | None = None,
    altitude: float | None = None,
    stamp: str | None = None,
    interval: str | np.timedelta64 | None = None,
    encoding: str | None = None,
    mapping: Mapping[str, Any] | str | PathLike[str] | None = None,
    precisions: str | PathLike[str] | None = None,
) -> xr.Dataset:
    """Return a file of an archive as OBS.

    Parameters
    ----------
    path
        The file.
    format
        Its format (`FORMATS`), or ``auto``: known by how it begins.
    scale
        Calibration scale, of all gases or ``{gas: scale}``; overrides what the file says.
    station, inlet, latitude, longitude, altitude
        Of the place (degrees north and east, m above sea level), where the file does not say, or says it wrong.
    inlet_height
        m above ground; of an ICOS file with several heights the one wanted.
    stamp
        Where in its interval a time stands (``start``, ``middle``, ``end``), where an ObsPack file does not say.
    interval
        Length of an interval as ``"20min"``, where the file does not say.
    encoding
        Of a text; None: UTF-8.
    mapping
        What the columns of any separated text are: TOML file or dict, see `ingest.files.table`.
    precisions
        GCWerks's precisions of a ``.C``; None: the file beside it, where there is one.

    Returns
    -------
    xarray.Dataset
        OBS (`qc.schema.OBS`), float64 in the project's units; ``{gas}_flag_source`` holds the source's own flags, and
        whatever else the file says of each value comes along. Attributes name the file, its format and digest.

    Raises
    ------
    FileError
        One sentence with file and line: what is wrong, or what has to be said.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}") from error
    name = _chosen(path, content, format, mapping)
    length = None if interval is None else _timedelta(interval)
    if name == table.FORMAT:
        record = table.read(path, content, mapping or {})
    elif name == icos.FORMAT:
        record = icos.read(path, content, encoding=encoding, inlet_height=inlet_height)
    elif name == wdcgg.FORMAT:
        record = wdcgg.read(path, content, encoding=encoding)
    elif name == obspack.FORMAT:
        record = obspack.read(path, stamp=stamp, interval=length)
    elif name == gcwerks.MEANS:
        record = gcwerks.read_means(path, content, encoding=encoding, interval=length)
    elif name == gcwerks.SAMPLES:
        beside = None if precisions is None else Path(precisions)
        record = gcwerks.read_samples(path, content, encoding=encoding, interval=length, precisions=beside)
    else:
        record = headed.read(path, content, encoding=encoding)
    _say_source(record, content, name)
    place = {
        "station": station,
        "inlet": inlet,
        "inlet_height": inlet_height,
        "latitude": latitude,
        "longitude": longitude,
        "altitude": altitude,
    }
    return dataset(record, scale=scale, place=place)


def _chosen(path: Path, content: bytes, name: str, mapping: Any) -> str:
    if name != "auto":
        if name not in FORMATS:
            raise FileError(f"format {name!r} is not known, expected one of {', '.join(FORMATS)}")
        return name
    if mapping is not None:
        return table.FORMAT
    if not content:
        raise FileError(f"{path} is empty")
    found = _format_of(content[:_HEAD])
    if found is None:
        begin = content[:40].decode("utf-8", "replace").splitlines()[:1]
        raise FileError(
            f"{path}, line 1: begins with {begin[0] if begin else ''!r}, like no format that is known "
            f"({', '.join(FORMATS)}); of any other text say what its columns are (mapping=)"
        )
    return found


def _timedelta(interval: str | np.timedelta64) -> np.timedelta64:
    import pandas as pd  # noqa: PLC0415  xarray's own, and slow to come

    try:
        length: np.timedelta64 = pd.Timedelta(interval).to_timedelta64()
    except ValueError as error:
        raise FileError(f"interval {interval!r} is none, expected e.g. '1h' or '20min'") from error
    return length


def _say_source(record: Record, content: bytes, name: str) -> None:
    record.attributes |= {
        "source_file": record.path.name,
        "source_format": name,
        "source_digest": blake2b(content, digest_size=16).hexdigest(),
    }
