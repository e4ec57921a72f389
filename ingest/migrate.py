"""Bring a database's schema to this version: forward only, each step once, checked by its digest."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final

import psycopg

from ingest.database import Connection, connect, extend, level
from ingest.errors import MigrationError

_FILE: Final = re.compile(r"(\d{4})_([a-z_]+)(?:\.(plain|timescale))?\.sql")
_LOCK: Final = 0x736B796C6564676D
"""Key of the advisory lock that lets one migration run at a time."""
OLDEST: Final = 15
"""PostgreSQL's version that is needed."""
_LEDGER: Final = """
CREATE TABLE IF NOT EXISTS migration (
    version  integer PRIMARY KEY,
    name     text NOT NULL,
    variant  text NOT NULL,
    checksum text NOT NULL,
    applied  timestamptz NOT NULL DEFAULT now()
)"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step: its number, name, the level it is for (``any``, ``plain``, ``timescale``) and its SQL."""

    version: int
    name: str
    variant: str
    sql: bytes

    @property
    def checksum(self) -> str:
        """Digest of the SQL."""
        return blake2b(self.sql, digest_size=16).hexdigest()

    def __str__(self) -> str:
        return f"{self.version:04d} {self.name}"


@dataclass(frozen=True, slots=True)
class Applied:
    """A step as the database records it."""

    version: int
    name: str
    variant: str
    checksum: str
    applied: datetime


def migrations(folder: Traversable | None = None) -> list[Migration]:
    """Return the steps of this version in order, with all their variants.

    Parameters
    ----------
    folder
        Where the SQL files lie; default: those of this package.
    """
    folder = files("ingest") / "migrations" if folder is None else folder
    found = [(match, entry) for entry in folder.iterdir() if (match := _FILE.fullmatch(entry.name))]
    steps = [Migration(int(m[1]), m[2], m[3] or "any", entry.read_bytes()) for m, entry in found]
    return sorted(steps, key=lambda step: (step.version, step.variant))


def applied(conn: Connection) -> list[Applied]:
    """Return the steps this database has had, in order; none where it is empty."""
    row = conn.execute("SELECT to_regclass('migration') IS NOT NULL").fetchone()
    if row is None or not row[0]:
        return []
    rows = conn.execute("SELECT version, name, variant, checksum, applied FROM migration ORDER BY version")
    return [Applied(*row) for row in rows]


def pending(conn: Connection, steps: Sequence[Migration] | None = None) -> list[Migration]:
    """Return the steps this database still lacks.

    Raises
    ------
    MigrationError
        It has one that this version does not know, or knows otherwise.
    """
    variant = level(conn).variant
    ours = {s.version: s for s in (migrations() if steps is None else steps) if s.variant in ("any", variant)}
    done = applied(conn)
    for record in done:
        _require_same(record, ours.get(record.version), newest=max(ours, default=0))
    last = max((record.version for record in done), default=0)
    return [step for version, step in ours.items() if version > last]


def _require_same(record: Applied, step: Migration | None, *, newest: int) -> None:
    if step is None:
        raise MigrationError(
            f"the database has had migration {record.version:04d} {record.name}, which this version does not know "
            f"(it knows up to {newest:04d}): a newer skyledger made it; update skyledger"
        )
    if step.checksum != record.checksum:
        raise MigrationError(
            f"migration {step} was applied on {record.applied:%Y-%m-%d} with checksum {record.checksum}, "
            f"but reads {step.checksum} here: a migration is never edited; restore the file and add a new one"
        )


def require_current(conn: Connection) -> None:
    """Raise MigrationError unless the database has had exactly the steps of this version."""
    missing = pending(conn)
    if missing:
        raise MigrationError(
            f"database {conn.info.dbname!r} lacks {len(missing)} migrations, first {missing[0]}: "
            "run `skyledger db migrate`"
        )


def migrate(dsn: str, *, steps: Sequence[Migration] | None = None) -> list[str]:
    """Apply what the database lacks and return the names of those steps.

    Several may run at once: one works, the others wait and then find nothing to do. Each step is a
    transaction of its own.

    Parameters
    ----------
    dsn
        The database (libpq connection string).
    steps
        Default: those of this package.

    Raises
    ------
    MigrationError
        The database and this version do not fit together, or a step fails.
    """
    with connect(dsn) as conn:
        if conn.info.server_version < OLDEST * 10_000:
            raise MigrationError(
                f"the server is PostgreSQL {conn.info.server_version // 10_000}: expected {OLDEST} or newer; update it"
            )
        conn.execute("SELECT pg_advisory_lock(%s)", [_LOCK])  # until this session ends
        extend(dsn)
        names = []
        conn.execute(_LEDGER)
        for step in pending(conn, steps):
            _apply(conn, step)
            names.append(str(step))
        return names


def _apply(conn: psycopg.Connection[Any], step: Migration) -> None:
    try:
        with conn.transaction():
            conn.execute(step.sql)
            conn.execute(
                "INSERT INTO migration (version, name, variant, checksum) VALUES (%s, %s, %s, %s)",
                [step.version, step.name, step.variant, step.checksum],
            )
    except psycopg.Error as error:
        raise MigrationError(
            f"migration {step} failed and was rolled back: {str(error).splitlines()[0]}; "
            f"the database stands as before it"
        ) from error
