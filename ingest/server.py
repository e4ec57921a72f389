"""What a server says of itself, for its backups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import psycopg
from psycopg import conninfo
from psycopg.pq import PGconn, Ping

from ingest.database import UNREADABLE, connect
from ingest.errors import StoreError

_SPACES: Final = "SELECT spcname FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global')"


@dataclass(frozen=True, slots=True)
class Server:
    """Which server it is.

    Parameters
    ----------
    system
        Identifier it got when it was made; copies keep it.
    timeline
        Grows by one each time it is restored.
    major
        PostgreSQL's version.
    """

    system: str
    timeline: int
    major: int


def identify(dsn: str) -> Server:
    """Return which server a database is on, asked as its backups are: by replication's protocol.

    Raises
    ------
    StoreError
        The server cannot be reached, or the user may not copy it.
    """
    try:
        with psycopg.connect(conninfo.make_conninfo(dsn, replication="true"), autocommit=True) as conn:
            row = conn.execute("IDENTIFY_SYSTEM").fetchone()
            major = conn.info.server_version // 10_000
    except psycopg.ProgrammingError:  # libpq's sentence quotes the address, which may hold a password
        raise StoreError(UNREADABLE) from None
    except psycopg.Error as error:
        said = " ".join(str(error).split())
        raise StoreError(
            f"the server cannot be copied: {said}; connect as postgres or as a user with REPLICATION, for whom "
            "pg_hba.conf has a line `replication`"
        ) from error
    assert row is not None
    return Server(str(row[0]), int(row[1]), major)


def lost(dsn: str, slot: str) -> bool:
    """Whether the server has removed log that a replication slot had not had yet."""
    with connect(dsn) as conn:
        row = conn.execute("SELECT wal_status FROM pg_replication_slots WHERE slot_name = %s", [slot]).fetchone()
    return row is not None and row[0] == "lost"


def starting(dsn: str) -> bool:
    """Whether the server is there, and lets nobody in yet: it replays its log, after a restore perhaps for long."""
    try:
        return PGconn.ping(conninfo.make_conninfo(dsn).encode()) == Ping.REJECT
    except psycopg.ProgrammingError:
        return False


def require_one_place(dsn: str) -> None:
    """Raise StoreError where the server keeps tables in other places than its data directory."""
    with connect(dsn) as conn:
        names = [name for (name,) in conn.execute(_SPACES)]
    if names:
        raise StoreError(
            f"the server has tablespaces of its own ({', '.join(names)}), which a backup would write over where it is "
            "restored: move their tables into pg_default first"
        )
