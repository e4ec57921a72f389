"""Days of ``reading`` on PostgreSQL alone: one partition each, made ahead and on demand.

A day is a table made like its parent and then attached, which lets others go on reading and writing (making it as
a partition at once would lock them all out). TimescaleDB makes its chunks itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from psycopg import sql

from ingest.database import Connection

DAYS_AHEAD: Final = 3
_LOCK: Final = 0x736B796C65646770
"""Key of the advisory lock under which days are made, so that two workers do not make the same one."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def existing(conn: Connection) -> set[int]:
    """Return the days there are, as days since 1970."""
    rows = conn.execute(
        "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = 'reading'::regclass"
    )
    stamps = (datetime.strptime(name.removeprefix("reading_"), "%Y%m%d").replace(tzinfo=UTC) for (name,) in rows)
    return {(stamp - EPOCH).days for stamp in stamps}


def create(conn: Connection, days: Iterable[int]) -> set[int]:
    """Make the days that do not exist yet, in a transaction of their own, and return all that exist.

    Parameters
    ----------
    conn
        In autocommit and outside of a transaction.
    days
        Days since 1970 UTC.
    """
    with conn.transaction():
        conn.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        there = existing(conn)
        for day in sorted(set(days) - there):
            _create(conn, EPOCH + timedelta(days=day))
            there.add(day)
    return there


def _create(conn: Connection, start: datetime) -> None:
    table = sql.Identifier(f"reading_{start:%Y%m%d}")
    conn.execute(sql.SQL("CREATE TABLE {} (LIKE reading INCLUDING ALL EXCLUDING INDEXES)").format(table))
    conn.execute(
        sql.SQL("ALTER TABLE reading ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
            table, sql.Literal(start.isoformat()), sql.Literal((start + timedelta(days=1)).isoformat())
        )
    )


def ahead(now: datetime) -> range:
    """Return the days to have ready at a time: today and the next `DAYS_AHEAD`."""
    today = (now - EPOCH).days
    return range(today, today + DAYS_AHEAD + 1)
