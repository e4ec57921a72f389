"""The spool's file: its tables, how it is opened, what its errors mean, and how texts in it are packed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from station_agent.batches import Frozen
from station_agent.clock import Standing
from station_agent.errors import SpoolDamagedError, SpoolError, SpoolUnwritableError
from station_agent.sample import Sample
from station_agent.shedding import Change, Stored
from station_agent.wire import Kind, digest, encode_batch, reencode

SCHEMA_VERSION: Final = 2
UPGRADES: Final = {1: "ALTER TABLE batch ADD COLUMN thinned INTEGER NOT NULL DEFAULT 0"}
"""Schema version -> what makes the next one of it."""
BUSY_S: Final = 10.0
"""How long another process may hold the file before writing to it fails."""
INSERT: Final = (
    "INSERT INTO batch (digest, spool, seq, instrument, kind, samples, frozen_ms, payload) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
MOST_SHED: Final = 10_000
"""Batches given up at once at most."""
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


# --- rows ------------------------------------------------------------------------------------


def frozen(row: tuple[Any, ...]) -> Frozen:
    """Return a batch of a row (id, digest, instrument, kind, payload)."""
    return Frozen(row[0], row[1], row[2], Kind(row[3]), row[4])


def put(db: sqlite3.Connection, key: str, value: object) -> None:
    """Keep what is to be known of the spool as a whole."""
    db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, str(value)))


def put_position(db: sqlite3.Connection, name: str, file: str, state: dict[str, Any] | None) -> None:
    """Keep how far a source of an instrument was read; None forgets it."""
    if state is None:
        db.execute("DELETE FROM position WHERE instrument = ? AND file = ?", (name, file))
    else:
        row = (name, file, json.dumps(state, separators=(",", ":")))
        db.execute("INSERT OR REPLACE INTO position (instrument, file, state) VALUES (?, ?, ?)", row)


def sheddable(rows: Callable[[str, tuple[Any, ...]], Sequence[tuple[Any, ...]]], *, thin: bool) -> Iterator[Stored]:
    """Yield batches of samples in the order they are to be given up; as many as one call may give up at most.

    Parameters
    ----------
    rows
        Returns what a query finds.
    thin
        Those that were thinned least often go first, else the oldest.
    """
    order = "thinned, id" if thin else "id"
    sql = f"SELECT id FROM batch WHERE kind = 'data' ORDER BY {order} LIMIT {MOST_SHED}"  # noqa: S608 - our own words
    for (number,) in rows(sql, ()):
        (row,) = rows("SELECT id, instrument, payload, thinned FROM batch WHERE id = ?", (number,))
        yield Stored(*row)


def thin_out(db: sqlite3.Connection, change: Change, *, spool: str, seq: int) -> None:
    """Freeze what stays of a batch anew, under a new number."""
    payload = encode_batch(change.stay, spool=spool, seq=seq)
    db.execute(
        "UPDATE batch SET digest = ?, spool = ?, seq = ?, samples = ?, payload = ?, thinned = thinned + 1 WHERE id = ?",
        (digest(payload), spool, seq, len(change.stay), payload, change.batch.id),
    )


def renumber(db: sqlite3.Connection, number: int, *, spool: str, seq: int) -> int:
    """Freeze a batch anew under another number; return its size."""
    payload = db.execute("SELECT payload FROM batch WHERE id = ?", (number,)).fetchone()[0]
    fresh = reencode(payload, spool=spool, seq=seq)
    db.execute(
        "UPDATE batch SET digest = ?, spool = ?, seq = ?, payload = ? WHERE id = ?",
        (digest(fresh), spool, seq, fresh, number),
    )
    return len(fresh)


def put_rescued(
    db: sqlite3.Connection,
    batches: Sequence[tuple[Any, ...]],
    pending: Mapping[str, Sequence[Sample]],
    positions: Iterable[tuple[str, str, str]],
) -> None:
    """Keep what was read of another spool; a damaged index of that one may give a row twice."""
    db.executemany(INSERT.replace("INSERT", "INSERT OR IGNORE", 1), batches)
    for name, samples in pending.items():
        db.execute("INSERT INTO pending (instrument, samples) VALUES (?, ?)", (name, pack(samples)))
    db.executemany("INSERT OR REPLACE INTO position (instrument, file, state) VALUES (?, ?, ?)", positions)
