"""What is done to ``reading`` from time to time: old times leave the window, and are compressed where that is possible.

``message`` keeps everything, so `ingest.rebuild` makes any window again. The same on every level of the store: whole
partitions or chunks are dropped, never rows. What a job has not seen yet is not dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from ingest import partition
from ingest.database import Connection, Level, connect, level
from ingest.errors import StoreError
from ingest.migrate import require_current

COMPRESS_AFTER_DAYS: Final = 7
"""Late data and what is sent again mostly come within days; into what is compressed they go more slowly."""
_SOUND: Final = (2, 18, 1)
"""TimescaleDB's version from which on rows that come to what is compressed are never lost (its issue 7672)."""

CHUNKS: Final = ((5e6, timedelta(days=7)), (2e8, timedelta(days=1)), (1e9, timedelta(hours=6)))
"""Values a day up to which TimescaleDB's chunks are so long: the index of the newest ones is to fit into memory."""
SHORTEST: Final = timedelta(hours=1)
_RECENT: Final = 1_000
"""Messages whose readings are counted to know how many one has."""
_BACKS: Final = (10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)
"""How many messages to look back to know how many come, until they took an hour."""
_AN_HOUR: Final = 3600.0

_READINGS: Final = """
SELECT coalesce(avg(readings), 0)::float8
FROM (SELECT readings FROM message WHERE state = 'stored' ORDER BY id DESC LIMIT %s) AS m"""
_SINCE: Final = """
SELECT n.id - o.id, extract(epoch FROM n.received - o.received)::float8
FROM (SELECT id, received FROM message ORDER BY id DESC LIMIT 1) AS n,
LATERAL (SELECT id, received FROM message WHERE id <= n.id - %s ORDER BY id DESC LIMIT 1) AS o"""
_FIRST: Final = """
SELECT n.id - o.id, extract(epoch FROM n.received - o.received)::float8
FROM (SELECT id, received FROM message ORDER BY id DESC LIMIT 1) AS n,
(SELECT id, received FROM message ORDER BY id LIMIT 1) AS o"""
_INTERVAL: Final = """
SELECT time_interval FROM timescaledb_information.dimensions
WHERE hypertable_name = 'reading' AND dimension_type = 'Time'"""
_UNSEEN: Final = """
SELECT min(m.t_from) FROM message m
WHERE m.state = 'stored' AND m.readings > 0 AND m.xid >= (SELECT min(xid) FROM feed_cursor)"""
_POLICY: Final = """
SELECT (config ->> 'compress_after')::interval FROM timescaledb_information.jobs
WHERE hypertable_name = 'reading' AND proc_name IN ('policy_compression', 'policy_columnstore')"""
_VERSION: Final = "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'"


def maintain(
    dsn: str,
    *,
    keep_days: int | None = None,
    compress_after_days: int = COMPRESS_AFTER_DAYS,
    now: datetime | None = None,
) -> Iterator[str]:
    """Do it once, and yield a sentence about each thing done.

    Cost grows with the number of partitions, not of rows. Several at once do no harm.

    Parameters
    ----------
    dsn
        The database.
    keep_days
        Days before today that stay in ``reading``; None: all of them.
    compress_after_days
        Age from which on a day is compressed, where the database can.
    now
        The time it is; default: by the clock.

    Raises
    ------
    MigrationError
        The database's schema is not this version's.
    StoreError
        A number of days is none.
    """
    for name, days in (("keep", keep_days), ("compress-after", compress_after_days)):
        if days is not None and days < 1:
            raise StoreError(f"--{name}-days {days}: expected 1 or more")
    now = datetime.now(UTC) if now is None else now
    with connect(dsn) as conn:
        require_current(conn)
        known = level(conn)
        if known is Level.PLAIN:
            partition.create(conn, partition.ahead(now))
            yield f"partitions are ready until {now + timedelta(days=partition.DAYS_AHEAD):%Y-%m-%d}"
        else:
            yield from _set_chunks(conn)
        if known is Level.TIMESCALE_FULL:
            yield _compress(conn, compress_after_days)
        if keep_days is not None:
            yield from _drop(conn, known, _midnight(now) - timedelta(days=keep_days))


def _midnight(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


# --- old times -------------------------------------------------------------------------------


def _drop(conn: Connection, known: Level, before: datetime) -> Iterator[str]:
    (unseen,) = conn.execute(_UNSEEN).fetchone() or (None,)
    if unseen is not None and unseen < before:
        yield f"kept from {unseen:%Y-%m-%d} on: a job has not seen it yet (`skyledger db status` says which)"
        before = _midnight(unseen)
    dropped = _drop_partitions(conn, before) if known is Level.PLAIN else _drop_chunks(conn, before)
    yield f"{dropped} partitions of readings before {before:%Y-%m-%d} were dropped; their messages stay"


def _drop_partitions(conn: Connection, before: datetime) -> int:
    there = partition.named(conn) | partition.named(conn, leaving=True)
    old = [name for name, days in there.items() if days[-1] < (before - partition.EPOCH).days]
    for name in old:
        partition.drop(conn, name)
    return len(old)


def _drop_chunks(conn: Connection, before: datetime) -> int:
    return len(conn.execute("SELECT drop_chunks('reading', older_than => %s::timestamptz)", [before]).fetchall())


# --- chunks ----------------------------------------------------------------------------------


def interval(values_a_day: float) -> timedelta:
    """Return how long a chunk is to be at a rate."""
    return next((length for most, length in CHUNKS if values_a_day <= most), SHORTEST)


def _set_chunks(conn: Connection) -> Iterator[str]:
    """Let the chunks to come be as long as the rate asks for; those there are stay."""
    rate = _values_a_day(conn)
    if rate is None:
        return
    wanted = interval(rate)
    (standing,) = conn.execute(_INTERVAL).fetchone() or (None,)
    if standing != wanted:
        conn.execute("SELECT set_chunk_time_interval('reading', %s::interval)", [wanted])
        yield f"chunks to come are {wanted} long, for {rate:,.0f} values a day (were {standing})"


def _values_a_day(conn: Connection) -> float | None:
    """Return how many values come, None where it is too early to say; costs the same however many there are."""
    (each,) = conn.execute(_READINGS, [_RECENT]).fetchone() or (0.0,)
    for back in (*_BACKS, None):
        found = conn.execute(_FIRST if back is None else _SINCE, [] if back is None else [back]).fetchone()
        if found is not None and found[1] >= _AN_HOUR:
            return float(each * found[0] / found[1] * 86_400)
    return None


# --- compression -----------------------------------------------------------------------------


def _compress(conn: Connection, after_days: int) -> str:
    """Have TimescaleDB compress what is old enough: by channel, in order of time, as it is read."""
    (version,) = conn.execute(_VERSION).fetchone() or ("0",)
    if not sound(version):
        return (
            f"nothing is compressed: TimescaleDB {version} can lose rows that come to what is compressed "
            f"(its issue 7672); update it to {'.'.join(map(str, _SOUND))} or later"
        )
    if not _compresses(conn):
        conn.execute(
            "ALTER TABLE reading SET (timescaledb.enable_columnstore,"
            " timescaledb.segmentby = 'channel_id', timescaledb.orderby = 'time')"
        )
    after = timedelta(days=after_days)
    (standing,) = conn.execute(_POLICY).fetchone() or (None,)
    if standing != after:  # a policy of another age would be kept
        with conn.transaction():
            conn.execute("CALL remove_columnstore_policy('reading', if_exists => true)")
            conn.execute("CALL add_columnstore_policy('reading', after => %s::interval)", [after])
    return f"TimescaleDB {version} compresses readings older than {after_days} days, by channel"


def sound(version: str) -> bool:
    """Whether a version of TimescaleDB may be trusted with rows that come to what is compressed."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3]) >= _SOUND


def _compresses(conn: Connection) -> bool:
    row = conn.execute(
        "SELECT compression_enabled FROM timescaledb_information.hypertables WHERE hypertable_name = 'reading'"
    ).fetchone()
    return row is not None and bool(row[0])
