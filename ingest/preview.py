"""Roll-ups for screens: hours and days of every channel, kept up with what comes in.

The same on every level of the store, off the change feed: what is new is rolled up once, late data too. An hour is
replaced only by one with at least as many values, so hours whose readings have been let go stay as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import numpy as np
import xarray as xr
from psycopg import sql

from ingest import feed, read, records
from ingest.database import Connection
from ingest.read import Time
from ingest.records import Field
from ingest.store import connect

CONSUMER: Final = "preview"
"""Under which name the change feed is read."""
HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
_ORIGIN: Final = datetime(2000, 1, 1, tzinfo=UTC)
_SLICE: Final = timedelta(days=31)
"""How much is rolled up in one statement."""

_CHANNELS: Final = """
SELECT c.id FROM channel c JOIN instrument i ON i.id = c.instrument_id JOIN station s ON s.id = i.station_id
WHERE s.name = %s AND i.name = %s"""
_INTO: Final = """
INSERT INTO {table} AS p (time, channel_id, n, mean, low, high) {rows}
ON CONFLICT (channel_id, time) DO UPDATE
SET n = excluded.n, mean = excluded.mean, low = excluded.low, high = excluded.high
WHERE excluded.n >= p.n AND excluded IS DISTINCT FROM p"""
_HOURS: Final = """
SELECT date_bin('1 hour', time, %(origin)s), channel_id, count(*), avg(value), min(value), max(value)
FROM reading WHERE channel_id = ANY(%(channels)s) AND time >= %(first)s AND time < %(last)s GROUP BY 1, 2"""
_DAYS: Final = """
SELECT date_bin('1 day', time, %(origin)s), channel_id, sum(n), sum(n * mean) / sum(n), min(low), max(high)
FROM preview_hour WHERE channel_id = ANY(%(channels)s) AND time >= %(first)s AND time < %(last)s GROUP BY 1, 2"""
_FIELDS: Final = (
    Field("time", "timestamptz"),
    Field("n", "int4"),
    Field("mean", "float8"),
    Field("low", "float8"),
    Field("high", "float8"),
)


def refresh(conn: Connection, *, stop: Callable[[], bool] = lambda: False) -> int:
    """Roll up what was stored since the last time; return how many stretches of time that was.

    Cost grows with the readings in those stretches. Long ones are done in several transactions. Several callers at
    once wait for each other.

    Parameters
    ----------
    conn
        In autocommit.
    stop
        Asked between two transactions: whether to leave the rest for the next time.
    """
    done, more = 0, True
    while more and not stop():
        changes = _refresh_some(conn)
        done, more = done + len(changes), changes.more
    return done


def _refresh_some(conn: Connection) -> feed.Changes:
    with conn.transaction():
        changes = feed.changes(conn, CONSUMER)
        for change in changes:
            first, last = read.instant(change.start), read.instant(change.end)
            channels = [number for (number,) in conn.execute(_CHANNELS, [change.station, change.instrument])]
            _roll(conn, "preview_hour", _HOURS, HOUR, channels, first, last)
            _roll(conn, "preview_day", _DAYS, DAY, channels, first, last)
    return changes


def _roll(
    conn: Connection,
    table: str,
    rows: str,
    length: timedelta,
    channels: Sequence[int],
    first: datetime,
    last: datetime,
) -> None:
    """Roll up the whole intervals that a stretch of time touches."""
    begin, end = _floor(first, length), _floor(last - timedelta(microseconds=1), length) + length
    query = sql.SQL(_INTO).format(table=sql.Identifier(table), rows=sql.SQL(rows))
    while begin < end:
        until = min(begin + _SLICE, end)
        conn.execute(query, {"origin": _ORIGIN, "channels": list(channels), "first": begin, "last": until})
        begin = until


def _floor(time: datetime, length: timedelta) -> datetime:
    return _ORIGIN + (time - _ORIGIN) // length * length


def preview(
    dsn: str,
    *,
    station: str,
    instrument: str,
    start: Time | None = None,
    end: Time | None = None,
    every: Literal["hour", "day"] = "hour",
) -> xr.Dataset:
    """Return the roll-ups of one instrument, as far as they have been made.

    Parameters
    ----------
    dsn
        The database.
    station, instrument
        Names in the catalogue.
    start, end
        Intervals that begin at or after `start` and before `end`; None: no bound.
    every
        ``hour`` or ``day`` (UTC).

    Returns
    -------
    xarray.Dataset
        Dimension ``time`` (starts of the intervals that have anything); per quantity its mean, ``_low``, ``_high``
        (float64, NaN where it has nothing) and ``_n`` (int32).

    Raises
    ------
    StoreError
        No such station or instrument.
    """
    query = sql.SQL(
        "SELECT channel_id, {} FROM {} WHERE channel_id = ANY(%s) AND time >= %s AND time < %s GROUP BY channel_id"
    ).format(records.packed(_FIELDS), sql.Identifier(f"preview_{every}"))
    with connect(dsn) as conn:
        known = read.channels(conn, station, instrument)
        bounds = [
            "-infinity" if start is None else read.instant(start),
            "infinity" if end is None else read.instant(end),
        ]
        found = records.fetch(conn, query, [list(known.values()), *bounds], _FIELDS)
    times = [columns["time"] for columns in found.values()] or [np.empty(0, "datetime64[ns]")]
    time = np.unique(np.concatenate(times))
    variables: dict[str, Any] = {}
    for name, channel in known.items():
        variables |= _variables(name, time, found.get(channel))
    attributes = {"station": station, "instrument": instrument, "comment": "whatever was said, before quality control"}
    return xr.Dataset(variables, {"time": ("time", time, {"standard_name": "time"})}, attributes)


def _variables(name: str, time: Any, columns: dict[str, Any] | None) -> dict[str, Any]:
    attributes = read.attributes(name)
    made: dict[str, Any] = {}
    for ending, kind, method in (("", "mean", "mean"), ("_low", "low", "minimum"), ("_high", "high", "maximum")):
        values = np.full(time.size, np.nan)
        if columns is not None:
            values[np.searchsorted(time, columns["time"])] = columns[kind]
        made[f"{name}{ending}"] = ("time", values, attributes | {"cell_methods": f"time: {method}"})
    counts = np.zeros(time.size, np.int32)
    if columns is not None:
        counts[np.searchsorted(time, columns["time"])] = columns["n"]
    made[f"{name}_n"] = ("time", counts, {"long_name": f"values of {name}"})
    return made
