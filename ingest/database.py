"""Connections to the database, and what it can do: TimescaleDB in either edition, or PostgreSQL alone."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from enum import StrEnum
from typing import Any, Final

import psycopg
from psycopg import conninfo

from ingest.errors import MigrationError, StoreError

Connection = psycopg.Connection[Any]

UNREADABLE: Final = (
    "the address of the database cannot be read: expected postgresql://USER@HOST/DATABASE or"
    " 'host=HOST dbname=DATABASE user=USER'; check --dsn or SKYLEDGER_DSN (not shown: it may hold a password)"
)
_ALIVE: Final = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}


def connect(dsn: str, *, seconds: int = 10) -> Connection:
    """Return a connection as the store wants it: autocommit, UTC, noticing within a minute that its peer is gone.

    Parameters
    ----------
    dsn
        The database.
    seconds
        How long it may take, s, where the address does not say (connect_timeout).

    Raises
    ------
    StoreError
        The database cannot be reached, or its address not be read.
    """
    try:
        alive = conninfo.make_conninfo(dsn, **{"connect_timeout": seconds, **_ALIVE, **conninfo.conninfo_to_dict(dsn)})
    except psycopg.ProgrammingError:  # libpq's sentence quotes the address, which may hold a password
        raise StoreError(UNREADABLE) from None
    try:
        conn: Connection = psycopg.connect(alive, autocommit=True)
    except psycopg.OperationalError as error:
        said = " ".join(str(error).split())
        raise StoreError(f"cannot connect to the database: {said}; is it running, is --dsn right?") from error
    conn.execute("SET timezone = 'UTC'; SET client_min_messages = warning")
    return conn


def cut(conn: Connection) -> None:
    """Cut the line to the server, so that what waits for it fails; called from another thread."""
    with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(conn.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)


class Level(StrEnum):
    """What the store of one database rests on."""

    PLAIN = "plain"
    """PostgreSQL alone: `reading` is partitioned by day."""
    TIMESCALE_APACHE = "timescale-apache"
    """TimescaleDB under the Apache licence: hypertables only."""
    TIMESCALE_FULL = "timescale-full"
    """TimescaleDB under its own licence: also compression, continuous aggregates, policies."""

    @property
    def variant(self) -> str:
        """Which migrations it takes: ``plain`` or ``timescale``."""
        return "plain" if self is Level.PLAIN else "timescale"


def level(conn: Connection) -> Level:
    """Return what this database's store rests on, or would if it were migrated now.

    A store that was made on PostgreSQL alone stays on it, also where TimescaleDB is installed later.

    Parameters
    ----------
    conn
        A connection to the database.
    """
    made = _made(conn)
    if made == Level.PLAIN.variant or not _has_extension(conn):
        return Level.PLAIN
    row = conn.execute("SELECT current_setting('timescaledb.license', true)").fetchone()
    return Level.TIMESCALE_FULL if row is not None and row[0] == "timescale" else Level.TIMESCALE_APACHE


def unlimited(conn: Connection, known: Level) -> None:
    """Let a connection write into what is compressed, however many rows that unpacks."""
    if known is Level.TIMESCALE_FULL:
        conn.execute("SET timescaledb.max_tuples_decompressed_per_dml_transaction = 0")


def _made(conn: Connection) -> str | None:
    row = conn.execute("SELECT to_regclass('migration') IS NOT NULL").fetchone()
    if row is None or not row[0]:
        return None
    row = conn.execute("SELECT variant FROM migration WHERE variant <> 'any' ORDER BY version LIMIT 1").fetchone()
    return None if row is None else str(row[0])


def _has_extension(conn: Connection) -> bool:
    return conn.execute("SELECT FROM pg_extension WHERE extname = 'timescaledb'").fetchone() is not None


def extend(dsn: str) -> None:
    """Create the extension TimescaleDB where the server offers it, is ready for it, and no store was made without it.

    Parameters
    ----------
    dsn
        The database.

    Raises
    ------
    MigrationError
        The server has TimescaleDB, but this user may not create it.
    """
    with connect(dsn) as conn:
        if _has_extension(conn) or _made(conn) is not None or not _offered(conn):
            return
    # The extension wants to be the first thing a session does.
    with psycopg.connect(dsn, autocommit=True) as conn:
        try:
            conn.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        except psycopg.errors.InsufficientPrivilege as error:
            raise MigrationError(
                f"user {conn.info.user!r} may not create the extension timescaledb in database {conn.info.dbname!r}: "
                "have a superuser run CREATE EXTENSION timescaledb there, then migrate again"
            ) from error


def _offered(conn: Connection) -> bool:
    """Whether TimescaleDB is installed and its loader is preloaded (which defines this setting)."""
    row = conn.execute(
        "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb')"
        " AND current_setting('timescaledb.disable_load', true) IS NOT NULL"
    ).fetchone()
    return row is not None and bool(row[0])
