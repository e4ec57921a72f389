"""What a database is and holds, for a person to read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ingest.database import Connection, Level, connect, level
from ingest.migrate import applied, pending

_LEVELS = {
    Level.PLAIN: "PostgreSQL alone (partitions by day)",
    Level.TIMESCALE_APACHE: "TimescaleDB, Apache licence (hypertable; no compression, no policies)",
    Level.TIMESCALE_FULL: "TimescaleDB, full licence (hypertable, compression by `skyledger db maintain`)",
}


@dataclass(frozen=True, slots=True)
class Counts:
    """Messages stored, readings in them (also those that had come before), messages and single values kept aside."""

    messages: int
    readings: int
    aside: int


def counts(dsn: str) -> Counts:
    """Return how much there is; quick, for it counts messages, not readings.

    Parameters
    ----------
    dsn
        The database.
    """
    with connect(dsn) as conn:
        row = conn.execute(
            "SELECT count(*) FILTER (WHERE state = 'stored'),"
            " coalesce(sum(readings) FILTER (WHERE state = 'stored'), 0),"
            " count(*) FILTER (WHERE state = 'aside') + (SELECT count(*) FROM reading_aside) FROM message"
        ).fetchone()
    assert row is not None
    return Counts(*map(int, row))


def status(dsn: str) -> list[tuple[str, str]]:
    """Return name and value of what there is to say of a database.

    Parameters
    ----------
    dsn
        The database.

    Raises
    ------
    MigrationError
        The database was made by another version.
    """
    with connect(dsn) as conn:
        return list(_lines(conn))


def _lines(conn: Connection) -> Iterator[tuple[str, str]]:
    info = conn.info
    yield "database", f"{info.dbname} at {info.host or 'local socket'}, PostgreSQL {info.server_version // 10000}"
    yield "store", _LEVELS[level(conn)]
    done, missing = applied(conn), pending(conn)
    yield (
        "migrations",
        f"{len(done)} applied, {len(missing)} missing" + (": run `skyledger db migrate`" if missing else ""),
    )
    if missing:
        return
    for state, count, readings, size in conn.execute(
        "SELECT state, count(*), sum(readings), pg_size_pretty(sum(octet_length(payload))) FROM message"
        " GROUP BY state ORDER BY state"
    ):
        yield f"messages {state}", f"{count} ({readings} readings, {size})"
    for what, query in (
        ("stations", "SELECT count(*)::text FROM station"),
        ("values kept aside", "SELECT count(*)::text FROM reading_aside"),
        ("last message", "SELECT max(received)::text FROM message"),
        ("last reading", "SELECT max(t_to)::text FROM message WHERE state = 'stored'"),
        ("size of the database", "SELECT pg_size_pretty(pg_database_size(current_database()))"),
    ):
        row = conn.execute(query).fetchone()
        yield what, "none" if row is None or row[0] is None else row[0]
    for consumer, behind in conn.execute(
        "SELECT consumer, (SELECT count(*) FROM message WHERE state = 'stored' AND xid >= c.xid) FROM feed_cursor c"
    ):
        yield f"feed {consumer}", f"{behind} messages to read"
