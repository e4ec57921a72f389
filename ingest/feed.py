"""The change feed: what is new in the store since a consumer last asked, exactly once.

Every message bears the transaction that stored it. A consumer's cursor says below which transaction it has seen
everything; it is moved to the oldest transaction still running (``pg_snapshot_xmin``), so that one which started
earlier and commits later is never passed over, as it would be with a serial number. The cursor moves in the
caller's own transaction: what the caller writes and what it has consumed are committed together or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import psycopg

from ingest.database import Connection
from ingest.errors import StoreError

_JOIN: Final = "1 hour"
"""Windows of one instrument that are closer than this are reported as one."""

MOST: Final = 5_000
"""Messages one call reports, beyond which it ends with the transaction that stored the last of them."""

_NTH: Final = """
SELECT xid::text FROM message WHERE state = 'stored' AND readings > 0 AND xid >= %s AND xid < %s
ORDER BY xid OFFSET %s LIMIT 1"""
_CHANGED: Final = """
WITH span AS (SELECT %s::xid8 AS first, %s::xid8 AS until, %s::interval AS near),
news AS (
    SELECT instrument_id, t_from, t_to FROM message, span
    WHERE state = 'stored' AND readings > 0 AND xid >= span.first AND xid < span.until
    UNION ALL
    SELECT i.id, f.t_from, f.t_to - interval '1 ms' FROM span, manual_flag f
    JOIN instrument i ON i.station_id = f.station_id AND (f.instrument_id IS NULL OR f.instrument_id = i.id)
    WHERE f.xid >= span.first AND f.xid < span.until
    UNION ALL
    SELECT i.id, c.t_from, c.t_to - interval '1 ms' FROM span, cylinder_correction c
    JOIN instrument i ON i.station_id = c.station_id
    WHERE c.xid >= span.first AND c.xid < span.until
    UNION ALL
    SELECT e.instrument_id, e.time, coalesce(
        (SELECT min(n.time) FROM event n
         WHERE n.instrument_id = e.instrument_id AND n.event = e.event AND n.time > e.time),
        e.time + interval '1 day')
    FROM span, message m JOIN event e ON e.message_id = m.id
    WHERE m.state = 'stored' AND m.xid >= span.first AND m.xid < span.until AND e.event = 'valve_moved'
)
SELECT s.name, i.name, w.first, w.last
FROM (
    SELECT instrument_id, range_agg(tstzrange(t_from, t_to + near, '[]')) AS windows
    FROM news, span GROUP BY instrument_id
) AS m
JOIN instrument i ON i.id = m.instrument_id JOIN station s ON s.id = i.station_id,
LATERAL (SELECT lower(r) AS first, upper(r) - near AS last FROM unnest(m.windows) AS r, span) AS w
ORDER BY s.name, i.name, w.first"""


@dataclass(frozen=True, slots=True)
class Change:
    """New readings of an instrument, flags by hand upon them, a correction of its cylinders, or a move of its valve.

    Parameters
    ----------
    station, instrument
        Whose they are.
    start, end
        datetime64[ns]: they lie at or after `start` and before `end`.
    """

    station: str
    instrument: str
    start: np.datetime64
    end: np.datetime64


class Changes(list[Change]):
    """What one call reports.

    Attributes
    ----------
    more
        Whether there was more than one call reports: commit, then call again.
    """

    more: bool = False


def changes(conn: Connection, consumer: str, *, most: int = MOST) -> Changes:
    """Return what was stored, or flagged by hand, since this consumer last asked, and move its cursor.

    Call it inside a transaction, do the work in the same transaction, commit: consumed exactly once. After a
    roll-back the next call returns the same and more. Two callers of the same name wait for each other. A new
    consumer gets everything, in pieces: while a transaction lasts it holds back the horizon of all consumers.

    Parameters
    ----------
    conn
        In a transaction.
    consumer
        Name of the cursor.
    most
        Messages after which the piece ends, with the transaction that stored the last of them.

    Returns
    -------
    Changes
        A list of `Change` by station, instrument and time; windows closer than an hour are joined.

    Raises
    ------
    StoreError
        There is no transaction, or the database was restored into another server.
    """
    if conn.info.transaction_status != psycopg.pq.TransactionStatus.INTRANS and conn.autocommit:
        raise StoreError(
            "the change feed is read outside of a transaction: the cursor must move together with the work"
        )
    conn.execute("INSERT INTO feed_cursor (consumer) VALUES (%s) ON CONFLICT DO NOTHING", [consumer])
    cursor = _one(conn, "SELECT xid::text FROM feed_cursor WHERE consumer = %s FOR UPDATE", [consumer])
    horizon = _one(conn, "SELECT pg_snapshot_xmin(pg_current_snapshot())::text", [])
    if int(cursor) > int(horizon):
        raise StoreError(
            f"cursor of {consumer!r} stands at transaction {cursor}, ahead of this server's {horizon}: "
            "the database was restored from another server's dump; run `skyledger db adopt`, then try again"
        )
    nth = conn.execute(_NTH, [cursor, horizon, most - 1]).fetchone()
    end = horizon if nth is None else str(min(int(nth[0]) + 1, int(horizon)))
    rows = conn.execute(_CHANGED, [cursor, end, _JOIN]).fetchall()
    conn.execute("UPDATE feed_cursor SET xid = %s, moved = now() WHERE consumer = %s", [end, consumer])
    found = Changes(Change(station, name, _ns(first), _ns(last) + _MS) for station, name, first, last in rows)
    found.more = end != horizon
    return found


def settled(conn: Connection) -> bool:
    """Whether everything stored so far lies below the horizon, so that `changes` reports all of it now.

    Any transaction that writes somewhere on the server, the server's own background work among them, holds the
    horizon back while it lasts: a job that runs once, at the end of a delivery, waits for this.
    """
    last = "SELECT xid FROM message WHERE state = 'stored' AND readings > 0 ORDER BY xid DESC LIMIT 1"
    return bool(_one(conn, f"SELECT coalesce(({last}) < pg_snapshot_xmin(pg_current_snapshot()), true)", []))


def adopt(conn: Connection) -> int:
    """Make the change feed of a database that was restored from another server's dump usable; returns messages changed.

    Transaction numbers mean nothing on another server. What every consumer had read is put before all cursors,
    the rest is presented to all of them again.

    Parameters
    ----------
    conn
        In autocommit; nobody else should be writing.
    """
    with conn.transaction():
        conn.execute("LOCK TABLE message, feed_cursor IN SHARE ROW EXCLUSIVE MODE")
        seen = _one(conn, "SELECT coalesce(min(xid), '0')::text FROM feed_cursor", [])
        changed = conn.execute(
            "UPDATE message SET xid = CASE WHEN xid >= %s::xid8 THEN pg_current_xact_id() ELSE '1'::xid8 END"
            " WHERE xid <> '1'",
            [seen],
        ).rowcount
        conn.execute("UPDATE feed_cursor SET xid = pg_current_xact_id()")
        return changed


_MS: Final = np.timedelta64(1, "ms")


def _ns(time: Any) -> np.datetime64:
    return np.datetime64(time.replace(tzinfo=None), "ns")


def _one(conn: Connection, query: Any, parameters: list[Any]) -> Any:
    row = conn.execute(query, parameters).fetchone()
    assert row is not None
    return row[0]
