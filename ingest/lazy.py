"""Readings of long ranges as they were sent, their values fetched when they are looked at.

The times are read at once (8 bytes each), for an axis has to be known; of a year at 1 Hz that is 250 MB and takes the
database some minutes. Values come chunk by chunk, each with one `ingest.read.readings`. What is stored in between is
not seen: the axis stays as it was when the dataset was opened.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import dask
import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from psycopg import sql

from ingest import read, records
from ingest.bins import DAY
from ingest.database import Connection
from ingest.errors import StoreError
from ingest.read import Time
from ingest.records import Field
from ingest.store import connect

_TIME: Final = (Field("time", "timestamptz"),)
_TIMES: Final = """
SELECT 0, {packed} FROM (
    SELECT DISTINCT time FROM reading WHERE channel_id = ANY(%s) AND time >= %s AND time < %s
) AS t HAVING count(*) > 0"""
_KINDS: Final = {"port": np.dtype(object), "mark": np.dtype(np.int64)}
"""Kinds of what is no float64."""


def readings(
    dsn: str,
    *,
    station: str,
    instrument: str,
    start: Time,
    end: Time,
    quantities: Collection[str] | None = None,
    chunk: timedelta = DAY,
) -> xr.Dataset:
    """Return what `ingest.read.readings` does, as Dask arrays of one chunk a `chunk` that has anything.

    Parameters
    ----------
    dsn, station, instrument, quantities
        As there.
    start, end
        Times at or after `start` and before `end`.
    chunk
        Length of time of a chunk.

    Returns
    -------
    xarray.Dataset
        READINGS.

    Raises
    ------
    StoreError
        No such station, instrument or quantity; an empty range or chunk.
    """
    first, last = read.instant(start), read.instant(end)
    if not first < last or chunk <= timedelta(0):
        raise StoreError(f"from {first} to {last} in chunks of {chunk}: expected an end after the start")
    with connect(dsn) as conn:
        channels = read.wanted(conn, station, instrument, quantities)
        numbers = [channel for channel in channels.values() if channel is not None]
        pieces = list(_pieces(conn, numbers, first, last, chunk))
    where = {"station": station, "instrument": instrument, "quantities": list(channels)}
    variables: dict[str, Any] = {}
    blocks = [dask.delayed(_load, pure=True)(dsn, where, *piece) for piece in pieces]
    empty = read.readings(dsn, station=station, instrument=instrument, start=first, end=first, quantities=channels)
    for name, variable in empty.variables.items():
        if name != "time":
            kind = _KINDS.get(str(name), np.dtype(np.float64))
            parts = [
                da.from_delayed(block[name], shape=piece[2].shape, dtype=kind)  # type: ignore[no-untyped-call]
                for block, piece in zip(blocks, pieces, strict=True)
            ]
            whole = da.concatenate(parts) if parts else variable.data  # type: ignore[no-untyped-call]
            variables[str(name)] = ("time", whole, variable.attrs)
    time = np.concatenate([piece[2] for piece in pieces]) if pieces else empty.time.values
    return xr.Dataset(variables, {"time": ("time", time, empty.time.attrs)}, empty.attrs)


def _pieces(
    conn: Connection, channels: Sequence[int], first: datetime, last: datetime, chunk: timedelta
) -> Iterator[tuple[datetime, datetime, NDArray[np.datetime64]]]:
    """Yield start, end and times of each stretch that has any."""
    query = sql.SQL(_TIMES).format(packed=records.packed(_TIME))
    while first < last:
        until = min(first + chunk, last)
        found = records.fetch(conn, query, [list(channels), first, until], _TIME)
        if found:
            yield first, until, np.sort(found[0]["time"])
        first = until


def _load(
    dsn: str, where: dict[str, Any], first: datetime, last: datetime, time: NDArray[np.datetime64]
) -> dict[str, NDArray[Any]]:
    """Return name -> (n,) values at these times."""
    ds = read.readings(dsn, start=first, end=last, **where)
    place = np.searchsorted(ds.time.values, time)
    if not (place < ds.sizes["time"]).all() or (ds.time.values[place] != time).any():
        raise StoreError(f"readings from {first} to {last} are there no more: open the range again")
    return {str(name): variable.values[place] for name, variable in ds.data_vars.items()}
