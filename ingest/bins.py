"""Readings on a regular time axis, binned by the database and fetched when they are looked at.

For long ranges: a year of 20 quantities at 1 Hz is 630 million values, in bins of a minute 10 million. Nothing is read
until something is computed, and then only the chunks that it takes; each of them is one query on a connection of its
own, so the chunks can be computed by several threads, or on other machines that reach the database.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from math import ceil
from typing import Any, Final

import dask
import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from psycopg import sql

from ingest import read, records
from ingest.errors import StoreError
from ingest.read import Time
from ingest.records import Field
from ingest.store import connect

DAY: Final = timedelta(days=1)
MINUTE: Final = timedelta(minutes=1)
MOST_BINS: Final = 100_000
"""Bins of one chunk."""
_FIELDS: Final = (Field("bin", "int4"), Field("n", "int4"), Field("mean", "float8"), Field("stdev", "float8", True))
_BINNED: Final = """
SELECT channel_id, {packed} FROM (
    SELECT channel_id, floor(extract(epoch FROM time - %(first)s) / %(every)s)::int4 AS bin,
           count(*)::int4 AS n, avg(value) AS mean, stddev_samp(value) AS stdev
    FROM reading
    WHERE channel_id = ANY(%(channels)s) AND time >= %(first)s AND time < %(last)s
      AND (%(port)s::text IS NULL OR state_id IN (SELECT id FROM state WHERE port = %(port)s))
    GROUP BY 1, 2
) AS b GROUP BY channel_id"""


def binned(  # noqa: PLR0913  what to read, from when to when, how finely
    dsn: str,
    *,
    station: str,
    instrument: str,
    start: Time,
    end: Time,
    every: timedelta = MINUTE,
    chunk: timedelta = DAY,
    port: str | None = None,
    quantities: Collection[str] | None = None,
) -> xr.Dataset:
    """Return means over equal intervals of what one instrument sent, lazily.

    These are plain means of all there is, whatever its state: for looking at and finding, not in place of
    `ingest.read.hourly`, which quality control has seen.

    Parameters
    ----------
    dsn
        The database.
    station, instrument
        Names in the catalogue.
    start, end
        First interval's start; times before `end`.
    every
        Length of an interval.
    chunk
        Length of a Dask chunk, made a multiple of `every`.
    port
        Only samples of this valve position; None: all.
    quantities
        Names of `qc.units.QUANTITIES`; None: all the instrument ever sent.

    Returns
    -------
    xarray.Dataset
        Dimension ``time`` (n, the intervals' starts) with ``time_bnds``; per quantity its mean (float64, NaN where
        there is nothing), ``_stdev`` (of the sample) and ``_n`` (int32), all Dask arrays of one chunk a `chunk`.

    Raises
    ------
    StoreError
        No such station, instrument or quantity; an empty range or interval, or too many intervals in a chunk.
    """
    first, last = read.instant(start), read.instant(end)
    if not first < last or every <= timedelta(0):
        raise StoreError(f"from {first} to {last} in intervals of {every}: expected an end after the start")
    count, share = ceil((last - first) / every), max(1, chunk // every)
    if share > MOST_BINS:
        raise StoreError(f"chunks of {chunk} have {share} intervals of {every}, expected at most {MOST_BINS}")
    with connect(dsn) as conn:
        channels = read.wanted(conn, station, instrument, quantities)
    pieces = [
        (first + number * every, min(share, count - number), min(first + (number + share) * every, last))
        for number in range(0, count, share)
    ]
    load = dask.delayed(_load, pure=True)
    arrays = [
        da.from_delayed(  # type: ignore[no-untyped-call]
            load(dsn, list(channels.values()), begin, until, every, size, port),
            shape=(3, len(channels), size),
            dtype=np.float64,
        )
        for begin, size, until in pieces
    ]
    block = da.concatenate(arrays, axis=2)  # type: ignore[no-untyped-call]
    return _dataset(block, list(channels), first, every, last)


def _load(
    dsn: str,
    channels: Sequence[int | None],
    first: datetime,
    last: datetime,
    every: timedelta,
    size: int,
    port: str | None,
) -> NDArray[np.float64]:
    """Return (3, k, size): mean, standard deviation, count of each channel and interval."""
    values = {"first": first, "last": last, "every": every.total_seconds(), "port": port}
    values["channels"] = [channel for channel in channels if channel is not None]
    query = sql.SQL(_BINNED).format(packed=records.packed(_FIELDS))
    with connect(dsn) as conn:
        found = records.fetch(conn, query, values, _FIELDS)
    block = np.full((3, len(channels), size), np.nan)
    block[2] = 0.0
    for place, channel in enumerate(channels):
        if channel in found:
            rows = found[channel]
            for which, name in enumerate(("mean", "stdev", "n")):
                block[which, place, rows["bin"]] = rows[name]
    return block


def _dataset(block: Any, names: Sequence[str], first: datetime, every: timedelta, last: datetime) -> xr.Dataset:
    start = np.datetime64(first.replace(tzinfo=None), "ns")
    edges = start + np.arange(block.shape[2] + 1) * np.timedelta64(every)
    edges[-1] = min(edges[-1], np.datetime64(last.replace(tzinfo=None), "ns"))
    variables: dict[str, Any] = {"time_bnds": (("time", "bnds"), np.stack([edges[:-1], edges[1:]], axis=1))}
    for place, name in enumerate(names):
        attributes = read.attributes(name)
        variables[name] = ("time", block[0, place], attributes | {"cell_methods": "time: mean"})
        spread = {key: value for key, value in attributes.items() if key != "standard_name"}
        variables[f"{name}_stdev"] = ("time", block[1, place], spread | {"cell_methods": "time: standard_deviation"})
        variables[f"{name}_n"] = ("time", block[2, place].astype(np.int32), {"long_name": f"values of {name}"})
    axis = {"standard_name": "time", "bounds": "time_bnds"}
    return xr.Dataset(variables, {"time": ("time", edges[:-1], axis)})
