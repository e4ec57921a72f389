"""The spool's file: its tables, how it is opened, what its errors mean, and how texts in it are packed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from station_agent.clock import Standing
from station_agent.errors import SpoolDamagedError, SpoolError, SpoolUnwritableError
from station_agent.sample import Sample

SCHEMA_VERSION: Final = 2
UPGRADES: Final = {1: "ALTER TABLE batch ADD COLUMN thinned INTEGER NOT NULL DEFAULT 0"}
"""Schema version -> what makes the next one of it."""
BUSY_S: Final = 10.0
"""How long another process may hold the file before writing to it fails."""
SCHEMA: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE batch (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of freezing; never used twice, delivery goes by it
    digest TEXT NOT NULL UNIQUE,
    spool TEXT NOT NULL,
    seq INTEGER NOT NULL,
    instrument TEXT NOT NULL,
    kind TEXT NOT NULL,
    samples INTEGER NOT NULL,
    frozen_ms INTEGER NOT NULL,
    payload BLOB NOT NULL,
    thinned INTEGER NOT NULL DEFAULT 0  -- how often every second sample was taken out of it
);
CREATE TABLE pending (id INTEGER PRIMARY KEY, instrument TEXT NOT NULL, samples TEXT NOT NULL);
CREATE TABLE position (
    instrument TEXT NOT NULL, file TEXT NOT NULL, state TEXT NOT NULL, PRIMARY KEY (instrument, file)
) WITHOUT ROWID;
"""


def connect(path: Path) -> sqlite3.Connection:
    """Open the file so that what is committed is on the disk."""
    db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA journal_size_limit = 16777216")
        db.execute("PRAGMA cache_size = -512")  # KiB; what is written is read again once, long after
    except sqlite3.Error:
        db.close()
        raise
    return db


def prepare(db: sqlite3.Connection, path: Path) -> None:
    """Make the tables of a new file, or bring an old one's up to date; raises SpoolError where it is not ours."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise SpoolError(
            f"{path}: the spool has schema version {version}, this agent knows {SCHEMA_VERSION}; update the agent"
        )
    if version == 0:
        if db.execute("SELECT 1 FROM sqlite_master").fetchone():
            raise SpoolError(f"{path}: an SQLite file, but no spool; name another file in spool.path")
        db.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
    for old in range(version or SCHEMA_VERSION, SCHEMA_VERSION):
        db.executescript(f"BEGIN IMMEDIATE; {UPGRADES[old]}; PRAGMA user_version = {old + 1}; COMMIT;")


def used_bytes(db: sqlite3.Connection) -> int:
    """Return how many bytes of the file hold something."""
    names = ("page_size", "page_count", "freelist_count")
    page, pages, free = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in names)
    return int(page * (pages - free))


def fault(error: sqlite3.Error) -> type[SpoolError]:
    """Return what an error of SQLite means for the spool: damaged, not writable now, or something else."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return SpoolDamagedError
    if not code and "decode to UTF-8" in str(error):  # a text of ours is none any more; Python says it, not SQLite
        return SpoolDamagedError
    if code == sqlite3.SQLITE_ERROR and "no such" in str(error):  # a table or column of ours is missing
        return SpoolDamagedError
    passing = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY)
    return SpoolUnwritableError if code in (*passing, sqlite3.SQLITE_CANTOPEN) else SpoolError


def standing(text: str | None) -> Standing | None:
    """Return how the clock stood, as it was packed."""
    return Standing(*json.loads(text)) if text else None


def pack(samples: Sequence[Sample]) -> str:
    """Return pending samples as a text."""
    rows = [[s.time_ns, s.values, s.port, s.status, s.mark] for s in samples]
    return json.dumps(rows, separators=(",", ":"))


def unpack(text: str) -> list[Sample]:
    """Return pending samples as they were packed."""
    return [Sample(*row) for row in json.loads(text)]
