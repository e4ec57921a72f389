"""One series for one screen: as many points as it has pixels, out of however many there are.

What lies within a pixel is its lowest, its mean and its highest value, so a spike of one reading stays visible at any
zoom. Where a window holds too many readings to look at each, the roll-ups (`ingest.preview`) stand in for them: how
many it holds is what they say too.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from ingest import database, preview, read, records, series
from ingest.database import Connection
from ingest.errors import StoreError
from ingest.records import Field
from qc.units import SPECIES

MOST_SINGLE: Final = 4000
"""Readings up to which each of them is given."""
MOST_LOOKED_AT: Final = 700_000
"""Readings up to which they are looked at one by one; beyond, the roll-ups are."""
MOST_MINUTES: Final = timedelta(days=10)
"""Window up to which means are those of minutes."""
PATIENCE: Final = "20s"
"""What a question may take."""

_ORIGIN: Final = datetime(2000, 1, 1, tzinfo=UTC)
_FIELDS: Final = (
    Field("time", "timestamptz"),
    Field("n", "int8"),
    Field("mean", "float8", nullable=True),
    Field("low", "float8", nullable=True),
    Field("high", "float8", nullable=True),
)
_SERIES: Final = """
SELECT s.name, l.name, l.height, g.gas,
       EXISTS (SELECT FROM hour h WHERE h.inlet_id = l.id AND h.species = g.gas),
       ARRAY(SELECT DISTINCT i.name FROM instrument_port p JOIN instrument i ON i.id = p.instrument_id
             JOIN channel c ON c.instrument_id = i.id AND c.quantity = g.gas WHERE p.inlet_id = l.id ORDER BY 1)
FROM station s JOIN inlet l ON l.station_id = s.id CROSS JOIN unnest(%s::text[]) AS g (gas)
ORDER BY s.name, l.height, l.name, array_position(%s::text[], g.gas)"""
_HELD: Final = "SELECT coalesce(sum(n), 0) FROM preview_hour WHERE channel_id = %s AND time >= %s AND time < %s"
_ONE: Final = """
SELECT time, 1::bigint AS n, value AS mean, value AS low, value AS high FROM reading
WHERE channel_id = %(channel)s AND time >= %(start)s AND time < %(end)s
  AND (%(states)s::int[] IS NULL OR state_id = ANY(%(states)s))"""
_BINNED: Final = """
SELECT date_bin(%(step)s, time, %(origin)s) AS time, count(*) AS n, avg(value) AS mean, min(value) AS low,
       max(value) AS high
FROM reading WHERE channel_id = %(channel)s AND time >= %(start)s AND time < %(end)s
  AND (%(states)s::int[] IS NULL OR state_id = ANY(%(states)s))
GROUP BY 1"""
_ROLLED: Final = """
SELECT date_bin(%(step)s, time, %(origin)s) AS time, sum(n)::bigint AS n, sum(n * mean) / sum(n) AS mean,
       min(low) AS low, max(high) AS high
FROM {table} WHERE channel_id = %(channel)s AND time >= %(start)s AND time < %(end)s GROUP BY 1"""
_MEANS: Final = f"""
SELECT flag, {{packed}} FROM (
    SELECT flag, date_bin(%s, time, %s) AS time, count(value) AS n, avg(value) AS mean, min(value) AS low,
           max(value) AS high
    FROM ({series.CURRENT}) AS c GROUP BY 1, 2
) AS b GROUP BY flag"""  # noqa: S608  two constants of the code
_ENDS: Final = """
SELECT min(first), max(last) FROM (
    SELECT min(time) AS first, max(time) AS last FROM hour WHERE inlet_id = %(inlet)s AND species = %(gas)s
    UNION ALL SELECT min(time), max(time) FROM minute WHERE inlet_id = %(inlet)s AND species = %(gas)s
) AS e"""


@dataclass(frozen=True, slots=True)
class Series:
    """A gas at an inlet (`height` in m above ground): whether it has means, and which instruments measure it there."""

    station: str
    inlet: str
    height: float
    gas: str
    evaluated: bool
    instruments: tuple[str, ...]


class Envelope(NamedTuple):
    """What a window looks like, one value an interval, in order of time.

    Attributes
    ----------
    time : datetime64[ns] (n,)
        Start of the interval, or time of the single value.
    size : int64 (n,)
        Values in it.
    mean, low, high : float64 (n,)
        Of them [unit of the quantity].
    step : timedelta
        Length of the intervals; 0 where each value stands for itself.
    source : str
        ``readings``, ``minute``, ``hour`` or ``day``: what it was made of.
    """

    time: NDArray[np.datetime64]
    size: NDArray[np.int64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    step: timedelta
    source: str


def connect(dsn: str) -> Connection:
    """Return a connection that can only read, and gives up what takes long.

    Raises
    ------
    StoreError
        The database cannot be reached.
    """
    conn = database.connect(dsn)
    for name, value in (("default_transaction_read_only", "on"), ("statement_timeout", PATIENCE)):
        conn.execute("SELECT set_config(%s, %s, false)", [name, value])
    return conn


def every(conn: Connection) -> list[Series]:
    """Return the series of the catalogue that have means or readings, by station, height and gas."""
    gases = list(SPECIES)
    rows = conn.execute(_SERIES, [gases, gases]).fetchall()
    found = [
        Series(station, inlet, height, gas, evaluated, tuple(instruments))
        for station, inlet, height, gas, evaluated, instruments in rows
    ]
    return [one for one in found if one.evaluated or one.instruments]


def extent(
    conn: Connection, *, station: str, inlet: str, gas: str, instrument: str | None = None
) -> tuple[np.datetime64, np.datetime64] | None:
    """Return the first and last time of a series' means, or of an instrument's readings; None where there is nothing.

    Raises
    ------
    StoreError
        No such station, inlet or instrument.
    """
    if instrument is not None:
        return read.extent_on(conn, station=station, instrument=instrument)
    where = series.place(conn, station, inlet)
    row = conn.execute(_ENDS, {"inlet": where.inlet_id, "gas": gas}).fetchone()
    assert row is not None
    if row[0] is None:
        return None
    first, last = (np.datetime64(time.replace(tzinfo=None), "ns") for time in row)
    return first, last


# --- readings ---------------------------------------------------------------------------------


def readings(
    conn: Connection,
    *,
    station: str,
    instrument: str,
    quantity: str,
    start: datetime,
    end: datetime,
    pixels: int = 1200,
    ports: Collection[str] | None = None,
) -> Envelope:
    """Return what an instrument said, in at most `pixels` intervals, or reading by reading where they are few.

    Parameters
    ----------
    conn
        The database.
    station, instrument, quantity
        Names.
    start, end
        Aware; at or after `start` and before `end`.
    pixels
        How many intervals the screen can show.
    ports
        Only at these positions of the valve; None: at all. Roll-ups know none: they are of all.

    Raises
    ------
    StoreError
        No such station, instrument or quantity; a window that is none.
    """
    _require_window(start, end, pixels)
    channel = read.wanted(conn, station, instrument, [quantity])[quantity]
    length = end - start
    if channel is None:
        return _envelope(None, timedelta(0), "readings")
    given: dict[str, Any] = {"channel": channel, "start": start, "end": end, "origin": _ORIGIN, "states": None}
    if length >= pixels * preview.DAY:
        return _rolled(conn, "day", given, _step(length, pixels, preview.DAY))
    held = conn.execute(_HELD, [channel, _floor(start, preview.HOUR), end]).fetchone()
    assert held is not None
    if held[0] > MOST_LOOKED_AT:
        return _rolled(conn, "hour", given, _step(length, pixels, preview.HOUR))
    if ports is not None:
        states = conn.execute("SELECT id FROM state WHERE port = ANY(%s)", [list(ports)]).fetchall()
        given["states"] = [number for (number,) in states]
    if held[0] <= MOST_SINGLE:
        found = _fetched(conn, sql.SQL(_ONE), given)
        if found is None or found["time"].size <= MOST_SINGLE:  # what is newer than the roll-ups they did not count
            return _envelope(found, timedelta(0), "readings")
    step = _step(length, pixels, timedelta(milliseconds=1))
    return _envelope(_fetched(conn, sql.SQL(_BINNED), given | {"step": step}), step, "readings")


def _require_window(start: datetime, end: datetime, pixels: int) -> None:
    if not (start < end and pixels > 0):
        raise StoreError(f"window from {start} to {end} in {pixels} pixels is none: give its end after its start")


def _rolled(conn: Connection, level: str, given: dict[str, Any], step: timedelta) -> Envelope:
    query = sql.SQL(_ROLLED).format(table=sql.Identifier(f"preview_{level}"))
    start = _floor(given["start"], preview.DAY if level == "day" else preview.HOUR)
    return _envelope(_fetched(conn, query, given | {"step": step, "start": start}), step, level)


def _fetched(conn: Connection, query: sql.SQL | sql.Composed, given: dict[str, Any]) -> dict[str, NDArray[Any]] | None:
    whole = sql.SQL("SELECT 0, {} FROM ({}) AS r HAVING count(*) > 0").format(records.packed(_FIELDS), query)
    return records.fetch(conn, whole, given, _FIELDS).get(0)


# --- means ------------------------------------------------------------------------------------


def means(
    conn: Connection, *, station: str, inlet: str, gas: str, start: datetime, end: datetime, pixels: int = 1200
) -> dict[int, Envelope]:
    """Return flag -> the means that have it, in at most `pixels` intervals: minutes in short windows, else hours.

    Each mean is that of the latest run of quality control that covers it. What has a flag and no value is counted in
    none of the intervals.

    Parameters
    ----------
    conn
        The database.
    station, inlet, gas
        Names.
    start, end
        Aware; means that begin at or after `start` and before `end`.
    pixels
        How many intervals the screen can show.

    Raises
    ------
    StoreError
        No such station or inlet; a window that is none.
    """
    _require_window(start, end, pixels)
    where = series.place(conn, station, inlet)
    table = "minute" if end - start <= MOST_MINUTES else "hour"
    base = timedelta(seconds=int(series.INTERVAL[table] / np.timedelta64(1, "s")))
    step = _step(end - start, pixels, base)
    query = sql.SQL(_MEANS).format(packed=records.packed(_FIELDS), table=sql.Identifier(table))
    found = records.fetch(conn, query, [step, _ORIGIN, where.inlet_id, start, end, [gas], [gas]], _FIELDS)
    return {
        int(flag): _envelope(_counted(columns), timedelta(0) if step == base else step, table)
        for flag, columns in sorted(found.items())
    }


def _counted(columns: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    there = columns["n"] > 0
    return {name: values[there] for name, values in columns.items()}


# --- intervals --------------------------------------------------------------------------------


def _step(length: timedelta, pixels: int, base: timedelta) -> timedelta:
    """Return the shortest whole multiple of `base` of which at most `pixels` cover a length."""
    return base * max(-(-length // (base * pixels)), 1)


def _floor(time: datetime, length: timedelta) -> datetime:
    return _ORIGIN + (time - _ORIGIN) // length * length


def _envelope(columns: dict[str, NDArray[Any]] | None, step: timedelta, source: str) -> Envelope:
    if columns is None:
        nothing = np.empty(0)
        return Envelope(np.empty(0, "datetime64[ns]"), np.empty(0, np.int64), nothing, nothing, nothing, step, source)
    time, size, mean, low, high = (columns[field.name] for field in _FIELDS)
    return Envelope(time, size, mean, low, high, step, source)
