"""The spool: everything that is to be delivered, and where reading stopped, in one SQLite file.

What is read from an instrument and the position it was read up to are written in one transaction, so a
``kill -9`` anywhere loses nothing and doubles nothing. Samples gather as *pending* until a batch is
full or old enough; then they are *frozen*: encoded once, numbered, stored under their digest. A frozen
batch leaves the spool only on an acknowledgement with that digest.

A spool file has an id, drawn when it is made. If the server says that a number of this spool is taken by other bytes
(``rekey``: the file was copied, or restored from a backup), a new id is drawn and that batch is frozen again under it.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from station_agent import lock
from station_agent.errors import SpoolError
from station_agent.sample import Sample
from station_agent.wire import Acknowledgement, Kind, Outcome, digest, encode_batch, encode_event, reencode

SCHEMA_VERSION: Final = 1
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
    payload BLOB NOT NULL
);
CREATE TABLE pending (id INTEGER PRIMARY KEY, instrument TEXT NOT NULL, samples TEXT NOT NULL);
CREATE TABLE position (
    instrument TEXT NOT NULL, file TEXT NOT NULL, state TEXT NOT NULL, PRIMARY KEY (instrument, file)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Notice:
    """An event to be spooled: what, when (ns since 1970 UTC), and what there is to say."""

    event: str
    time_ns: int
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read in one go from one instrument, and where that leaves its source.

    Parameters
    ----------
    instrument
        Its name.
    samples, notices
        What was read and what was kept aside.
    positions
        Source -> where it stands now (plain JSON; None: forget it).
    """

    instrument: str
    samples: Sequence[Sample] = ()
    notices: Sequence[Notice] = ()
    positions: Mapping[str, dict[str, Any] | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Frozen:
    """A frozen batch or event as it is to be sent."""

    id: int
    digest: str
    instrument: str
    kind: Kind
    payload: bytes


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What some acknowledgements changed.

    Parameters
    ----------
    removed
        Digests of batches that left the spool.
    aside
        How many of them the server keeps aside, to be mended.
    rekeyed
        Digest before -> number of the batch, which is to be sent again under its new one.
    """

    removed: tuple[str, ...] = ()
    aside: int = 0
    rekeyed: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Queue:
    """What waits in the spool: batches, samples and bytes in them, and when the oldest was frozen (ms, None: none)."""

    batches: int
    samples: int
    size: int
    oldest_ms: int | None


def _nothing(step: str) -> None:
    """Do nothing at a step."""


class Spool:
    """An open spool; one process at a time.

    Parameters
    ----------
    path
        The file; made if it is not there.
    station
        The station it belongs to; a spool of another station is refused.
    samples
        Samples in a full batch.
    now_ms
        The clock, ms since 1970 UTC.
    on_step
        Called with the name of each step of a transaction: where a test pulls the plug.

    Raises
    ------
    SpoolError
        Another process has it open, it is no spool, or it cannot be read or written.
    """

    def __init__(
        self,
        path: Path,
        *,
        station: str,
        samples: int = 60,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        on_step: Callable[[str], object] = _nothing,
    ) -> None:
        self.path = path
        self._samples = samples
        self._now_ms = now_ms
        self._on_step = on_step
        self._lock = lock.take(path)
        self._pending: dict[str, list[Sample]] = {}
        try:
            self._db = _connect(path)
            self._prepare(station)
            self._id, self._next_seq = self._numbering()
            self._batches, self._queued_samples, self._size = self._sums()
            self._load_pending()
        except sqlite3.Error as error:
            self.close()
            raise SpoolError(
                f"{path}: the spool cannot be opened: {error}; set the file aside and start again"
            ) from None
        except SpoolError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and let others have it."""
        if hasattr(self, "_db"):
            self._db.close()
        os.close(self._lock)

    # --- what is in it -----------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The id new batches are frozen under."""
        return self._id

    @property
    def queue(self) -> Queue:
        """What waits to be delivered."""
        oldest = self._rows("SELECT frozen_ms FROM batch ORDER BY id LIMIT 1")
        return Queue(self._batches, self._queued_samples, self._size, oldest[0][0] if oldest else None)

    @property
    def empty(self) -> bool:
        """Whether every frozen batch has been acknowledged."""
        return self._batches == 0

    @property
    def used_bytes(self) -> int:
        """Bytes of the file that hold something."""
        return used_bytes(self._db)

    def pending(self, instrument: str) -> int:
        """Return how many samples of an instrument wait for their batch to fill."""
        return len(self._pending.get(instrument, ()))

    def positions(self, instrument: str) -> dict[str, dict[str, Any]]:
        """Return source -> where its reading stands."""
        rows = self._rows("SELECT file, state FROM position WHERE instrument = ? ORDER BY file", (instrument,))
        return {file: json.loads(state) for file, state in rows}

    def unsent(self, *, after: int, limit: int) -> list[Frozen]:
        """Return the next batches in the order they were frozen, those with a number above `after`."""
        rows = self._rows(
            "SELECT id, digest, instrument, kind, payload FROM batch WHERE id > ? ORDER BY id LIMIT ?", (after, limit)
        )
        return [_frozen(row) for row in rows]

    def frozen(self, number: int) -> Frozen | None:
        """Return one batch by its number, or None where it has left."""
        rows = self._rows("SELECT id, digest, instrument, kind, payload FROM batch WHERE id = ?", (number,))
        return _frozen(rows[0]) if rows else None

    # --- what changes it ---------------------------------------------------------------------

    def append(self, reading: Reading) -> None:
        """Store what was read and the position it was read up to; full batches are frozen at once."""
        name = reading.instrument
        held = self._pending.get(name, [])
        waiting = held + list(reading.samples)
        cut = len(waiting) - len(waiting) % self._samples
        rows = self._freeze(name, waiting[:cut], reading.notices)
        with self._transaction("append") as db:
            self._insert(db, rows)
            if cut:
                db.execute("DELETE FROM pending WHERE instrument = ?", (name,))
            fresh = waiting[cut:] if cut else reading.samples
            if fresh:
                db.execute("INSERT INTO pending (instrument, samples) VALUES (?, ?)", (name, _pack(fresh)))
            for file, state in reading.positions.items():
                _store_position(db, name, file, state)
        self._pending[name] = waiting[cut:]
        self._count(rows)

    def freeze(self, instrument: str) -> None:
        """Freeze the pending samples of an instrument, however few they are."""
        waiting = self._pending.get(instrument)
        if not waiting:
            return
        rows = self._freeze(instrument, waiting, ())
        with self._transaction("freeze") as db:
            self._insert(db, rows)
            db.execute("DELETE FROM pending WHERE instrument = ?", (instrument,))
        self._pending[instrument] = []
        self._count(rows)

    def acknowledge(self, items: Iterable[Acknowledgement]) -> Acknowledged:
        """Apply what the server said: delete by digest, or freeze again under a new spool id."""
        # The word of the first that names a digest holds; a repetition finds nothing left to do.
        said = {item.digest: item.outcome for item in reversed(list(items)) if isinstance(item.digest, str)}
        found = sorted((row, said[row[1]]) for key in said for row in self._find(key))
        if not found:
            return Acknowledged()
        removed = [row for row, outcome in found if outcome is not Outcome.REKEY]
        before = self._id, self._next_seq
        try:
            with self._transaction("acknowledge") as db:
                db.executemany("DELETE FROM batch WHERE id = ?", [(row[0],) for row in removed])
                grown = sum(self._rekey(db, row) for row, outcome in found if outcome is Outcome.REKEY)
                _set(db, "acknowledged_ms", self._now_ms())
        except BaseException:
            self._id, self._next_seq = before
            raise
        self._batches -= len(removed)
        self._queued_samples -= sum(row[3] for row in removed)
        self._size += grown - sum(row[4] for row in removed)
        return Acknowledged(
            removed=tuple(row[1] for row in removed),
            aside=sum(outcome is Outcome.ASIDE for _, outcome in found),
            rekeyed={row[1]: row[0] for row, outcome in found if outcome is Outcome.REKEY},
        )

    # --- inside ------------------------------------------------------------------------------

    def _prepare(self, station: str) -> None:
        """Make the tables of a new file, or check that those of an old one are ours."""
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise SpoolError(
                f"{self.path}: the spool has schema version {version}, this agent knows {SCHEMA_VERSION}; "
                "update the agent"
            )
        if version == 0:
            if self._db.execute("SELECT 1 FROM sqlite_master").fetchone():
                raise SpoolError(f"{self.path}: an SQLite file, but no spool; name another file in spool.path")
            self._db.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        if self._meta("station") is None:
            with self._transaction("create") as db:
                _set(db, "spool", uuid.uuid4())
                _set(db, "next_seq", 1)
                _set(db, "station", station)
        owner = self._meta("station")
        if owner != station:
            raise SpoolError(
                f"{self.path}: the spool belongs to station {owner!r}, the configuration says {station!r}; "
                "give each station a spool of its own"
            )

    def _numbering(self) -> tuple[str, int]:
        return str(self._meta("spool")), int(self._meta("next_seq") or 1)

    def _sums(self) -> tuple[int, int, int]:
        sql = "SELECT count(*), coalesce(sum(samples), 0), coalesce(sum(length(payload)), 0) FROM batch"
        batches, samples, size = self._rows(sql)[0]
        return batches, samples, size

    def _load_pending(self) -> None:
        for name, packed in self._rows("SELECT instrument, samples FROM pending ORDER BY id"):
            self._pending.setdefault(name, []).extend(_unpack(packed))

    def _meta(self, key: str) -> str | None:
        rows = self._rows("SELECT value FROM meta WHERE key = ?", (key,))
        return rows[0][0] if rows else None

    def _rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise SpoolError(f"{self.path}: the spool cannot be read: {error}") from None

    def _find(self, key: str) -> list[tuple[Any, ...]]:
        return self._rows("SELECT id, digest, spool, samples, length(payload) FROM batch WHERE digest = ?", (key,))

    def _freeze(self, name: str, samples: Sequence[Sample], notices: Sequence[Notice]) -> list[tuple[Any, ...]]:
        """Return the rows of the batches that these samples and events make, numbered on from the last."""
        now, seq, size, rows = self._now_ms(), self._next_seq, self._samples, []
        for start in range(0, len(samples), size):
            part = samples[start : start + size]
            payload = encode_batch(part, spool=self._id, seq=seq)
            rows.append((digest(payload), self._id, seq, name, Kind.DATA.value, len(part), now, payload))
            seq += 1
        for notice in notices:
            payload = encode_event(notice.event, spool=self._id, seq=seq, time_ns=notice.time_ns, detail=notice.detail)
            rows.append((digest(payload), self._id, seq, name, Kind.EVENT.value, 0, now, payload))
            seq += 1
        return rows

    def _insert(self, db: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        if rows:
            sql = (
                "INSERT INTO batch (digest, spool, seq, instrument, kind, samples, frozen_ms, payload) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
            )
            db.executemany(sql, rows)
            _set(db, "next_seq", self._next_seq + len(rows))

    def _count(self, rows: Sequence[tuple[Any, ...]]) -> None:
        self._next_seq += len(rows)
        self._batches += len(rows)
        self._queued_samples += sum(row[5] for row in rows)
        self._size += sum(len(row[7]) for row in rows)

    def _rekey(self, db: sqlite3.Connection, row: tuple[Any, ...]) -> int:
        """Freeze one batch again; return by how many bytes it grew."""
        number, _, spool, _, size = row
        if spool == self._id:
            self._id, self._next_seq = str(uuid.uuid4()), 1
            _set(db, "spool", self._id)
        seq, self._next_seq = self._next_seq, self._next_seq + 1
        _set(db, "next_seq", self._next_seq)
        payload = db.execute("SELECT payload FROM batch WHERE id = ?", (number,)).fetchone()[0]
        fresh = reencode(payload, spool=self._id, seq=seq)
        db.execute(
            "UPDATE batch SET digest = ?, spool = ?, seq = ?, payload = ? WHERE id = ?",
            (digest(fresh), self._id, seq, fresh, number),
        )
        return len(fresh) - int(size)

    @contextmanager
    def _transaction(self, step: str) -> Iterator[sqlite3.Connection]:
        """Run what is inside as one transaction: all of it is on the disk afterwards, or nothing is."""
        db = self._db
        try:
            db.execute("BEGIN IMMEDIATE")
            try:
                self._on_step(f"{step}: begun")
                yield db
                self._on_step(f"{step}: written")
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise SpoolError(
                f"{self.path}: the spool cannot be written ({step}: {error}); nothing of it was changed; "
                "look at the disk's space and at who else has the file open"
            ) from None
        self._on_step(f"{step}: committed")


STEPS: Final = tuple(
    f"{transaction}: {step}"
    for transaction in ("create", "append", "freeze", "acknowledge")
    for step in ("begun", "written", "committed")
)
"""Every step `Spool` names."""


# --- the file --------------------------------------------------------------------------------


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA journal_size_limit = 16777216")
    except sqlite3.Error:
        db.close()
        raise
    return db


def used_bytes(db: sqlite3.Connection) -> int:
    """Return how many bytes of the file hold something."""
    names = ("page_size", "page_count", "freelist_count")
    page, pages, free = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in names)
    return int(page * (pages - free))


# --- rows ------------------------------------------------------------------------------------


def _frozen(row: tuple[Any, ...]) -> Frozen:
    return Frozen(row[0], row[1], row[2], Kind(row[3]), row[4])


def _set(db: sqlite3.Connection, key: str, value: object) -> None:
    db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, str(value)))


def _store_position(db: sqlite3.Connection, name: str, file: str, state: dict[str, Any] | None) -> None:
    if state is None:
        db.execute("DELETE FROM position WHERE instrument = ? AND file = ?", (name, file))
    else:
        row = (name, file, json.dumps(state, separators=(",", ":")))
        db.execute("INSERT OR REPLACE INTO position (instrument, file, state) VALUES (?, ?, ?)", row)


def _pack(samples: Sequence[Sample]) -> str:
    rows = [[s.time_ns, s.values, s.port, s.status, s.mark] for s in samples]
    return json.dumps(rows, separators=(",", ":"))


def _unpack(text: str) -> list[Sample]:
    return [Sample(*row) for row in json.loads(text)]
