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


MOST_COUNTED = 1_000_000
"""Messages up to which they are counted; beyond, the server's estimate is given."""
MOST_BEHIND = 100_000
"""Messages a job may be behind; more are not counted."""

_LEFT = "SELECT state, count(*) FROM message WHERE state = 'aside' GROUP BY state"
_BEHIND = """
SELECT consumer, (SELECT count(*) FROM (
    SELECT FROM message WHERE state = 'stored' AND readings > 0 AND xid >= c.xid LIMIT %s) AS m)
FROM feed_cursor c ORDER BY consumer"""
_CHUNKS = """
SELECT d.time_interval::text,
       (SELECT count(*) FROM timescaledb_information.chunks c WHERE c.hypertable_name = 'reading')
FROM timescaledb_information.dimensions d WHERE d.hypertable_name = 'reading' AND d.dimension_type = 'Time'"""
_POLICIES = """
SELECT proc_name, config::text FROM timescaledb_information.jobs WHERE hypertable_name = 'reading' ORDER BY job_id"""


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
    known = level(conn)
    yield "store", _LEVELS[known]
    if known is not Level.PLAIN:
        yield from _timescale(conn)
    done, missing = applied(conn), pending(conn)
    yield (
        "migrations",
        f"{len(done)} applied, {len(missing)} missing" + (": run `skyledger db migrate`" if missing else ""),
    )
    if missing:
        return
    yield "messages stored", _about(conn)
    for state, count in conn.execute(_LEFT):
        yield f"messages {state}", str(count)
    for what, query in (
        ("stations", "SELECT count(*)::text FROM station"),
        ("values kept aside", "SELECT count(*)::text FROM reading_aside"),
        ("last message", "SELECT received::text FROM message ORDER BY id DESC LIMIT 1"),
        ("its last reading", "SELECT t_to::text FROM message WHERE state = 'stored' ORDER BY id DESC LIMIT 1"),
        ("size of the database", "SELECT pg_size_pretty(pg_database_size(current_database()))"),
    ):
        row = conn.execute(query).fetchone()
        yield what, "none" if row is None or row[0] is None else row[0]
    for consumer, behind in conn.execute(_BEHIND, [MOST_BEHIND + 1]):
        more = f"more than {MOST_BEHIND}" if behind > MOST_BEHIND else str(behind)
        yield f"feed {consumer}", f"{more} messages to read"


def _about(conn: Connection) -> str:
    """Return how many messages there are; counted where that is quick."""
    row = conn.execute(
        "SELECT reltuples::bigint, pg_size_pretty(pg_total_relation_size(oid)) FROM pg_class"
        " WHERE oid = 'message'::regclass"
    ).fetchone()
    assert row is not None
    estimate, size = row
    if estimate > MOST_COUNTED:
        return f"about {estimate} ({size})"
    row = conn.execute("SELECT count(*), coalesce(sum(readings), 0) FROM message WHERE state = 'stored'").fetchone()
    assert row is not None
    return f"{row[0]} ({row[1]} readings, {size})"


def _timescale(conn: Connection) -> Iterator[tuple[str, str]]:
    row = conn.execute("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'").fetchone()
    yield "TimescaleDB", "none" if row is None else row[0]
    for length, count in conn.execute(_CHUNKS):
        yield "chunks of readings", f"{count}, the next {length} long"
    for what, config in conn.execute(_POLICIES):
        yield "policy", f"{what} {config or ''}".rstrip()
