"""What is kept takes so much room: bytes a row of each table, measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from psycopg import sql

from ingest.database import Connection, Level, connect, level
from ingest.dump import LEFT_OUT, TABLES
from ingest.migrate import require_current

LARGE: Final = ("message", "reading", "minute", "hour", "preview_hour", "preview_day")
"""Tables that grow with readings, each for itself; all others are told together."""
COUNTED: Final = 2**31
"""Bytes up to which the rows of a table are counted; of a larger one the server's own estimate is taken."""

_PARTS: Final = """
SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint,
    coalesce(sum(greatest(reltuples, 0)) FILTER (WHERE relkind <> 'p'), 0)::bigint
FROM pg_class WHERE oid = %(table)s::regclass
OR oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = %(table)s::regclass)"""
_HYPERTABLE: Final = "SELECT hypertable_size(%(table)s::regclass)"
_READINGS: Final = "SELECT coalesce(sum(readings), 0)::bigint FROM message WHERE state = 'stored'"


@dataclass(frozen=True, slots=True)
class Size:
    """What one table takes.

    Parameters
    ----------
    table
        Its name; ``others`` the rest together.
    rows
        How many there are.
    size
        Bytes on disk, with its indexes.
    readings
        Of messages: how many readings came in them. Of other tables 0.
    counted
        Whether the rows were counted; else the server estimates them.
    """

    table: str
    rows: int
    size: int
    readings: int = 0
    counted: bool = True

    def __str__(self) -> str:
        about = "" if self.counted else "about "
        line = f"{self.table:<14}{about + format(self.rows, ','):>18} rows {self.size / 1e6:>14,.1f} MB"
        if self.rows:
            line += f" {self.size / self.rows:>8,.1f} bytes a row"
        if self.readings:
            line += f", {self.size / self.readings:.1f} a reading in it ({self.readings:,})"
        return line


def sizes(dsn: str) -> list[Size]:
    """Return what each table that grows with readings takes, and the others together.

    Quick where tables are small; of one beyond 2 GiB the rows are estimated, not counted.

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
        require_current(conn)
        known = level(conn)
        return list(_all(conn, known))


def _all(conn: Connection, known: Level) -> Iterator[Size]:
    for table in LARGE:
        one = _one(conn, table, known)
        (readings,) = conn.execute(_READINGS).fetchone() or (0,) if table == "message" else (0,)
        yield Size(one.table, one.rows, one.size, readings, one.counted)
    rest = [_one(conn, table, known) for table in (*TABLES, *LEFT_OUT) if table not in LARGE]
    yield Size(
        "others",
        sum(one.rows for one in rest),
        sum(one.size for one in rest),
        counted=all(one.counted for one in rest),
    )


def _one(conn: Connection, table: str, known: Level) -> Size:
    size, estimate = conn.execute(_PARTS, {"table": table}).fetchone() or (0, 0)
    if table == "reading" and known is not Level.PLAIN:  # what is compressed lies elsewhere
        (size,) = conn.execute(_HYPERTABLE, {"table": table}).fetchone() or (0,)
    if size > COUNTED:
        return Size(table, estimate, size, counted=False)
    (rows,) = conn.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchone() or (0,)
    return Size(table, rows, size)
