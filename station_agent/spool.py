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
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

from station_agent import lock
from station_agent.batches import Acknowledged, Frozen, Queue
from station_agent.clock import Standing
from station_agent.errors import SpoolDamagedError, SpoolError, WireError
from station_agent.reading import Notice, Reading
from station_agent.sample import Sample
from station_agent.shedding import Change, Loss, losses, plan, told
from station_agent.spool_file import (
    INSERT,
    connect,
    fault,
    frozen,
    pack,
    prepare,
    put,
    put_position,
    put_rescued,
    renumber,
    sheddable,
    standing,
    thin_out,
    unpack,
    used_bytes,
)
from station_agent.wire import Acknowledgement, Kind, Outcome, digest, encode_batch, encode_event


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
        on_step: Callable[[str], object] = lambda _: None,
    ) -> None:
        self.path = path
        self._samples = samples
        self._now_ms = now_ms
        self._on_step = on_step
        self._lock = lock.take(path)
        self._pending: dict[str, list[Sample]] = {}
        self._read_ms: dict[str, int] = {}
        """Instrument -> the clock when the last of those was read in this process."""
        try:
            self._db = connect(path)
            self._prepare(station)
            self._id, self._next_seq = self._numbering()
            self._batches, self._queued_samples, self._size = self._sums()
            self._load_pending()
            self._db.execute("SELECT * FROM position LIMIT 1").fetchall()  # there, or the file is damaged
            self._lost = int(self._meta("lost_samples") or 0)
            self._held = standing(self._meta("held"))
            self._acknowledged_ms = int(self._meta("acknowledged_ms") or 0)
        except sqlite3.Error as error:
            self.close()
            raise fault(error)(f"{path}: the spool cannot be opened: {error}") from None
        except (ValueError, TypeError) as error:  # a number or a list of ours is none any more
            self.close()
            raise SpoolDamagedError(f"{path}: the spool cannot be opened: {error}") from None
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
        lock.release(self._lock)

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
    def newest(self) -> int:
        """The number of the newest frozen batch that has not left; 0: none."""
        return int(self._rows("SELECT coalesce(max(id), 0) FROM batch")[0][0])

    @property
    def lost_samples(self) -> int:
        """Samples given up for the quota since the spool was made."""
        return self._lost

    @property
    def empty(self) -> bool:
        """Whether every frozen batch has been acknowledged."""
        return self._batches == 0

    @property
    def used_bytes(self) -> int:
        """Bytes of the file that hold something."""
        try:
            return used_bytes(self._db)
        except sqlite3.Error as error:
            raise fault(error)(f"{self.path}: the spool cannot be read: {error}") from None

    def pending(self, instrument: str) -> int:
        """Return how many samples of an instrument wait for their batch to fill."""
        return len(self._pending.get(instrument, ()))

    @property
    def held(self) -> Standing | None:
        """How the clock stood when samples that wait for it were stored last; None where none do."""
        return self._held

    def held_samples(self, instrument: str) -> list[Sample]:
        """Return the samples of an instrument that are not frozen yet."""
        return list(self._pending.get(instrument, ()))

    @property
    def acknowledged_ms(self) -> int:
        """When the server has acknowledged something last, ms since 1970 UTC by the host's clock; 0: never."""
        return self._acknowledged_ms

    def positions(self, instrument: str) -> dict[str, dict[str, Any]]:
        """Return source -> where its reading stands."""
        rows = self._rows("SELECT file, state FROM position WHERE instrument = ? ORDER BY file", (instrument,))
        try:
            return {file: json.loads(state) for file, state in rows}
        except ValueError as error:
            raise SpoolDamagedError(f"{self.path}: a position in the spool cannot be read: {error}") from None

    def unsent(self, *, after: int, limit: int) -> list[Frozen]:
        """Return the next batches in the order they were frozen, those with a number above `after`."""
        rows = self._rows(
            "SELECT id, digest, instrument, kind, payload FROM batch WHERE id > ? ORDER BY id LIMIT ?", (after, limit)
        )
        return [frozen(row) for row in rows]

    def frozen(self, number: int) -> Frozen | None:
        """Return one batch by its number, or None where it has left."""
        rows = self._rows("SELECT id, digest, instrument, kind, payload FROM batch WHERE id = ?", (number,))
        return frozen(rows[0]) if rows else None

    # --- what changes it ---------------------------------------------------------------------

    def append(self, reading: Reading, *, held: Standing | None = None) -> None:
        """Store what was read and the position it was read up to.

        Full batches are frozen at once, unless the samples have to wait for the clock to be set: `held` says how it
        stands, and is remembered.
        """
        name = reading.instrument
        waiting = self._pending.get(name, []) + list(reading.samples)
        cut = 0 if held else len(waiting) - len(waiting) % self._samples
        now = self._now_ms()
        rows = self._freeze(name, waiting[:cut], reading.notices, now=now, host_ms=now)
        with self._transaction("append") as db:
            self._insert(db, rows)
            if cut:
                db.execute("DELETE FROM pending WHERE instrument = ?", (name,))
            fresh = waiting[cut:] if cut else reading.samples
            if fresh:
                db.execute("INSERT INTO pending (instrument, samples) VALUES (?, ?)", (name, pack(fresh)))
            if held is not None:
                put(db, "held", json.dumps([held.boot, held.apart_ns]))
            for file, state in reading.positions.items():
                put_position(db, name, file, state)
        self._held = held or self._held
        self._pending[name] = waiting[cut:]
        if fresh:
            self._read_ms[name] = now
        self._count(rows)

    def redate(self, samples: Mapping[str, Sequence[Sample]], standing: Standing) -> None:
        """Replace the samples of some instruments that are not frozen, as a clock that was set makes them.

        Parameters
        ----------
        samples
            Instrument -> all its samples that are not frozen, in the order of `held_samples`.
        standing
            How the clock stands now.
        """
        with self._transaction("redate") as db:
            for name, moved in samples.items():
                db.execute("DELETE FROM pending WHERE instrument = ?", (name,))
                db.execute("INSERT INTO pending (instrument, samples) VALUES (?, ?)", (name, pack(moved)))
            put(db, "held", json.dumps([standing.boot, standing.apart_ns]))
        self._held = standing
        for name, moved in samples.items():
            self._pending[name] = list(moved)
            self._read_ms.pop(name, None)

    def freeze(self, instrument: str) -> None:
        """Freeze the pending samples of an instrument, however few they are."""
        waiting = self._pending.get(instrument)
        if not waiting:
            return
        # Of several batches that waited for the clock, nobody can tell.
        host_ms = self._read_ms.get(instrument) if len(waiting) <= self._samples else None
        rows = self._freeze(instrument, waiting, (), now=self._now_ms(), host_ms=host_ms)
        with self._transaction("freeze") as db:
            self._insert(db, rows)
            db.execute("DELETE FROM pending WHERE instrument = ?", (instrument,))
        self._pending[instrument] = []
        self._count(rows)

    def probe(self) -> None:
        """Write, where there is nothing else to write: raises SpoolUnwritableError as long as that is not possible."""
        with self._transaction("probe") as db:
            put(db, "probed_ms", self._now_ms())

    def release(self) -> None:
        """Note that no samples wait for the clock any more."""
        with self._transaction("release") as db:
            db.execute("DELETE FROM meta WHERE key = 'held'")
        self._held = None

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
                put(db, "acknowledged_ms", now := self._now_ms())
        except BaseException:
            self._id, self._next_seq = before
            raise
        self._acknowledged_ms = now
        self._batches -= len(removed)
        self._queued_samples -= sum(row[3] for row in removed)
        self._size += grown - sum(row[4] for row in removed)
        return Acknowledged(
            removed=tuple(row[1] for row in removed),
            aside=sum(outcome is Outcome.ASIDE for _, outcome in found),
            rekeyed={row[1]: row[0] for row, outcome in found if outcome is Outcome.REKEY},
        )

    def report(self, instrument: str, notice: Notice) -> None:
        """Spool an event."""
        self.append(Reading(instrument, notices=[notice]))

    def adopt(
        self,
        batches: Sequence[tuple[Any, ...]],
        pending: Mapping[str, Sequence[Sample]],
        positions: Iterable[tuple[str, str, str]],
        *,
        lost_samples: int = 0,
    ) -> None:
        """Take over what was read of another spool of this station, into this new one.

        Parameters
        ----------
        batches
            (digest, spool, seq, instrument, kind, samples, frozen_ms, payload), in the order they are to be sent.
        pending
            Instrument -> samples that had not been frozen.
        positions
            (instrument, source, state as JSON).
        lost_samples
            Given up for the quota in that one.
        """
        with self._transaction("adopt") as db:
            put_rescued(db, batches, pending, positions)
            put(db, "lost_samples", lost_samples)
        self._lost = lost_samples
        for name, samples in pending.items():
            self._pending.setdefault(name, []).extend(samples)
        self._batches, self._queued_samples, self._size = self._sums()

    def shed(self, size: int, *, thin: bool) -> list[Loss]:
        """Give up readings to free so many bytes; what is lost is told by events ``readings_lost``, one an instrument.

        Parameters
        ----------
        size
            Bytes to free, of payloads.
        thin
            False: the oldest batches leave. True: of the batches thinned least often, the oldest first, every second
            sample of each kind leaves (see `station_agent.shedding.halves`).

        Returns
        -------
        list of Loss
            Empty where there is nothing to give up: events stay.

        Notes
        -----
        What stays of a thinned batch is frozen anew under a new number. Where its first bytes had been sent and are
        stored after all, the server has the samples that stay twice and stores them once.
        """
        lost: list[Loss] = []
        try:
            changes = plan(sheddable(self._rows, thin=thin), size=size, thin=thin)
        except WireError as error:  # no longer what was frozen
            raise SpoolDamagedError(f"{self.path}: a batch in the spool cannot be read: {error}") from None
        if not changes:
            return lost
        lost = losses(changes)
        before = self._next_seq
        total = self._lost + sum(loss.samples for loss in lost)
        try:
            with self._transaction("shed") as db:
                for change in changes:
                    self._shed(db, change)
                for loss in lost:
                    now = self._now_ms()
                    rows = self._freeze(loss.instrument, (), [told(loss, thin=thin, now_ms=now)], now=now)
                    self._insert(db, rows)
                    self._next_seq += len(rows)
                put(db, "lost_samples", total)
        except BaseException:
            self._next_seq = before
            raise
        self._lost = total
        self._batches, self._queued_samples, self._size = self._sums()
        return lost

    # --- inside ------------------------------------------------------------------------------

    def _prepare(self, station: str) -> None:
        """Make what a new file holds, or check that an old one is this station's."""
        prepare(self._db, self.path)
        if self._meta("station") is None:
            with self._transaction("create") as db:
                put(db, "spool", uuid.uuid4())
                put(db, "next_seq", 1)
                put(db, "station", station)
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
            self._pending.setdefault(name, []).extend(unpack(packed))

    def _meta(self, key: str) -> str | None:
        rows = self._rows("SELECT value FROM meta WHERE key = ?", (key,))
        return rows[0][0] if rows else None

    def _rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise fault(error)(f"{self.path}: the spool cannot be read: {error}") from None

    def _find(self, key: str) -> list[tuple[Any, ...]]:
        return self._rows("SELECT id, digest, spool, samples, length(payload) FROM batch WHERE digest = ?", (key,))

    def _freeze(
        self,
        name: str,
        samples: Sequence[Sample],
        notices: Sequence[Notice],
        *,
        now: int,
        host_ms: int | None = None,
    ) -> list[tuple[Any, ...]]:
        """Return the rows of the batches that these samples and events make, numbered on from the last."""
        seq, size, rows = self._next_seq, self._samples, list[tuple[Any, ...]]()
        for start in range(0, len(samples), size):
            part = samples[start : start + size]
            payload = encode_batch(part, spool=self._id, seq=seq, host_ms=host_ms)
            rows.append((digest(payload), self._id, seq, name, Kind.DATA.value, len(part), now, payload))
            seq += 1
        for notice in notices:
            payload = encode_event(notice.event, spool=self._id, seq=seq, time_ns=notice.time_ns, detail=notice.detail)
            rows.append((digest(payload), self._id, seq, name, Kind.EVENT.value, 0, now, payload))
            seq += 1
        return rows

    def _insert(self, db: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        if rows:
            db.executemany(INSERT, rows)
            put(db, "next_seq", self._next_seq + len(rows))

    def _count(self, rows: Sequence[tuple[Any, ...]]) -> None:
        self._next_seq += len(rows)
        self._batches += len(rows)
        self._queued_samples += sum(row[5] for row in rows)
        self._size += sum(len(row[7]) for row in rows)

    def _shed(self, db: sqlite3.Connection, change: Change) -> None:
        if not change.stay:
            db.execute("DELETE FROM batch WHERE id = ?", (change.batch.id,))
            return
        thin_out(db, change, spool=self._id, seq=self._next_seq)
        self._next_seq += 1
        put(db, "next_seq", self._next_seq)

    def _rekey(self, db: sqlite3.Connection, row: tuple[Any, ...]) -> int:
        """Freeze one batch again; return by how many bytes it grew."""
        number, _, spool, _, size = row
        if spool == self._id:
            self._id, self._next_seq = str(uuid.uuid4()), 1
            put(db, "spool", self._id)
        seq, self._next_seq = self._next_seq, self._next_seq + 1
        put(db, "next_seq", self._next_seq)
        return renumber(db, number, spool=self._id, seq=seq) - int(size)

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
            raise fault(error)(
                f"{self.path}: the spool cannot be written ({step}: {error}); nothing of it was changed; "
                "look at the disk's space and at who else has the file open"
            ) from None
        self._on_step(f"{step}: committed")


STEPS: Final = tuple(
    f"{transaction}: {step}"
    for transaction in ("create", "append", "freeze", "redate", "release", "probe", "acknowledge", "shed", "adopt")
    for step in ("begun", "written", "committed")
)
"""Every step `Spool` names."""
