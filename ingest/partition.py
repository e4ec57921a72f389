"""Partitions of ``reading`` on PostgreSQL alone: days, made ahead and on demand, and months for times long past.

A partition is a table made like its parent and then attached, which lets others go on reading and writing (making it
as a partition at once would lock them all out). Attaching takes longer the more there are: twenty years that are
filled in afterwards are 240 months, not 7,300 days. A month of which some day has its own partition is filled in by
days. TimescaleDB makes its chunks itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from psycopg import sql

from ingest.database import Connection

DAYS_AHEAD: Final = 3
MONTHS_AFTER: Final = 60
"""Days before today from which on a month is made at once."""
_LOCK: Final = 0x736B796C65646770
"""Key of the advisory lock under which partitions are made, so that two workers do not make the same one."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def named(conn: Connection, *, leaving: bool = False) -> dict[str, range]:
    """Return the name of each partition -> its days, as days since 1970.

    Parameters
    ----------
    conn
        A connection.
    leaving
        Instead those that `drop` has not come to an end with.
    """
    rows = conn.execute(
        "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid"
        " WHERE inhparent = 'reading'::regclass AND inhdetachpending = %s",
        [leaving],
    )
    return {name: _days_of(name.removeprefix("reading_")) for (name,) in rows}


def existing(conn: Connection) -> set[int]:
    """Return the days that have a partition, as days since 1970."""
    return {day for days in named(conn).values() for day in days}


def create(conn: Connection, days: Iterable[int], *, today: int | None = None) -> set[int]:
    """Make what is missing for these days, in a transaction of its own, and return all days that have a partition.

    Parameters
    ----------
    conn
        In autocommit and outside of a transaction.
    days
        Days since 1970 UTC.
    today
        The day it is; default: by the clock.
    """
    today = (datetime.now(UTC) - EPOCH).days if today is None else today
    with conn.transaction():
        conn.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        there = existing(conn)
        for day in sorted(set(days)):
            if day not in there:
                there |= _create(conn, _span(day, there, today=today))
    return there


def drop(conn: Connection, name: str) -> None:
    """Drop a partition without keeping others from reading or writing the rest meanwhile.

    Parameters
    ----------
    conn
        In autocommit and outside of a transaction.
    name
        The partition's, as `named` gives it.
    """
    table = sql.Identifier(name)
    how = sql.SQL("FINALIZE" if name in named(conn, leaving=True) else "CONCURRENTLY")
    conn.execute(sql.SQL("ALTER TABLE reading DETACH PARTITION {} {}").format(table, how))
    with conn.transaction():
        conn.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        if name not in named(conn):  # late data may have had it made anew
            conn.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(table))


def ahead(now: datetime) -> range:
    """Return the days to have ready at a time: today and the next `DAYS_AHEAD`."""
    today = (now - EPOCH).days
    return range(today, today + DAYS_AHEAD + 1)


def _span(day: int, there: set[int], *, today: int) -> range:
    """Return the days of the partition that a day is to have."""
    month = _days_of(f"{EPOCH + timedelta(days=day):%Y%m}")
    return range(day, day + 1) if month[-1] > today - MONTHS_AFTER or not there.isdisjoint(month) else month


def _days_of(stamp: str) -> range:
    """Return the days of a partition by the stamp in its name: a month's (YYYYMM) or its own (YYYYMMDD)."""
    first = datetime.strptime(stamp.ljust(8, "?").replace("??", "01"), "%Y%m%d").replace(tzinfo=UTC)
    start = (first - EPOCH).days
    if len(stamp) > 6:
        return range(start, start + 1)
    return range(start, ((first + timedelta(days=31)).replace(day=1) - EPOCH).days)


def _create(conn: Connection, days: range) -> set[int]:
    start, end = (EPOCH + timedelta(days=day) for day in (days[0], days[-1] + 1))
    stamp = f"{start:%Y%m%d}" if len(days) == 1 else f"{start:%Y%m}"
    table = sql.Identifier(f"reading_{stamp}")
    if f"reading_{stamp}" in named(conn, leaving=True):
        conn.execute(sql.SQL("ALTER TABLE reading DETACH PARTITION {} FINALIZE").format(table))
    conn.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(table))  # `drop` was ended half-way
    conn.execute(sql.SQL("CREATE TABLE {} (LIKE reading INCLUDING ALL EXCLUDING INDEXES)").format(table))
    conn.execute(
        sql.SQL("ALTER TABLE reading ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
            table, sql.Literal(start.isoformat()), sql.Literal(end.isoformat())
        )
    )
    return set(days)
