"""An instrument's own files into readings, as if its agent had sent them.

Samples are frozen into batches, which are stored in ``message`` and expanded into ``reading``. The batches of one file
are the same however often it is read, so filling it in again adds nothing; values that are there already stay, others
for the same time are kept aside. A killed run goes on where it was.

In place of what stands of its quantities between its first and its last time: the older messages are mended
(``{"without": [from, to], "of": [...]}``, with who, when and why) and the window is made again from the messages, so
that `ingest.rebuild` arrives at the same readings ever after.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import blake2b
from os import PathLike
from pathlib import Path
from typing import Any, Final

from psycopg.types.json import Jsonb

from ingest.backfill import ledger
from ingest.backfill.ledger import Entry, Filled, Progress, Reason
from ingest.database import Connection, connect
from ingest.decode import LINE_REJECTED, MAX_DAYS, Contents, Message, clean, contents
from ingest.errors import FileError, StoreError
from ingest.mends import Mend
from ingest.reading import Written, instant
from ingest.rebuild import rebuild
from ingest.store import Writer
from station_agent import __version__, wire
from station_agent.drivers import AUTO, read_file, recognise
from station_agent.errors import AgentError
from station_agent.sample import Rejected, Sample
from station_agent.wire import Kind, Outcome

BATCH: Final = 1_000
"""Samples of one message."""
ROWS: Final = 60_000
"""Values of one transaction."""
_SPAN_NS: Final = MAX_DAYS // 2 * 86_400 * 10**9
_SPOOL: Final = uuid.UUID("6f0b8a3e-2c1d-4a55-9f3a-736b796c6564")
"""Name space of the spool ids of files."""

_INSTRUMENT: Final = """
SELECT i.id FROM instrument i JOIN station s ON s.id = i.station_id WHERE s.name = %s AND i.name = %s"""
_OTHERS: Final = """
UPDATE message SET mend = mend || %s WHERE instrument_id = %s AND state = 'stored' AND readings > 0
AND t_from < %s AND t_to >= %s AND spool IS DISTINCT FROM %s"""
_OWN: Final = """
UPDATE message SET mend = mend || %s, xid = pg_current_xact_id()
WHERE instrument_id = %s AND state = 'stored' AND spool = %s AND station = %s"""
_NO_MORE_ASIDE: Final = """
DELETE FROM reading_aside a USING message m
WHERE m.id = a.message_id AND m.station = %s AND m.spool = %s AND m.instrument_id = %s"""


def instrument_file(  # noqa: PLR0913  what a file does not say
    dsn: str,
    path: str | PathLike[str],
    *,
    station: str,
    instrument: str,
    driver: str = AUTO,
    options: Mapping[str, Any] | None = None,
    again: bool = False,
    in_place: Reason | None = None,
    on_progress: Progress = lambda _values, _samples: None,
) -> Filled:
    """Fill in a file an instrument wrote.

    Cost grows with the file; memory holds two transactions.

    Parameters
    ----------
    dsn
        The database.
    path
        The file.
    station, instrument
        Whose it is; they must be in the catalogue.
    driver, options
        How it is read, as in an agent's configuration; ``auto``: by its first lines.
    again
        Also if it has been filled in before: adds what has been lost since (nothing, usually).
    in_place
        Why it takes the place of what stands between its first and last time; None: it fills gaps.
    on_progress
        Called now and then.

    Raises
    ------
    FileError
        The file cannot be read as an instrument's.
    StoreError
        The instrument is not in the catalogue.
    """
    path = Path(path)
    name = _driver(path, driver)
    known = ledger.digest_of(path)
    with connect(dsn) as conn:
        number = _instrument(conn, station, instrument)
        done = Filled(path.name, station, instrument, name)
        identity = _identity(known, name, options)
        entry = ledger.begin(conn, identity, done, again=again or in_place is not None)
        _finish_replacement(conn, dsn, entry, done)
        if entry.finished is not None:
            return replace(done, messages=entry.messages, written=entry.written, before=entry.finished)
        spool = str(uuid.uuid5(_SPOOL, f"{identity.hex()} {station} {instrument} {__version__}"))
        frozen = _Frozen(path, name, options, station=station, instrument=instrument, spool=spool)
        done = _write(conn, frozen, entry, done, on_progress)
        if in_place is not None and frozen.span is not None:
            done = replace(done, replaced=_replace(conn, dsn, number, frozen, entry, in_place))
        ledger.finish(conn, entry.number)
    return done


def _identity(digest: bytes, driver: str, options: Mapping[str, Any] | None) -> bytes:
    """Return what a file is known by: the same file read otherwise says something else."""
    how = json.dumps([digest.hex(), driver, dict(options or {})], sort_keys=True, default=str)
    return blake2b(how.encode(), digest_size=16).digest()


def _finish_replacement(conn: Connection, dsn: str, entry: Entry, file: Filled) -> None:
    """Bring to its end what a run that was ended had begun."""
    for window in ledger.unapplied(conn, entry.number):
        rebuild(dsn, *window, station=file.station, instrument=file.target)
    ledger.applied(conn, entry.number)


def _driver(path: Path, driver: str) -> str:
    try:
        return recognise(path) if driver == AUTO else driver
    except AgentError as error:
        raise FileError(str(error)) from error
    except OSError as error:
        raise ledger.unreadable(path, error) from error


def _instrument(conn: Connection, station: str, instrument: str) -> int:
    row = conn.execute(_INSTRUMENT, [station, instrument]).fetchone()
    if row is None:
        raise StoreError(
            f"instrument {instrument!r} of station {station!r} is not in the catalogue: "
            "add it with `skyledger catalog apply` first"
        )
    return int(row[0])


# --- freezing --------------------------------------------------------------------------------


@dataclass(slots=True)
class _Frozen:
    """A file's messages, in its order; always the same."""

    path: Path
    driver: str
    options: Mapping[str, Any] | None
    station: str
    instrument: str
    spool: str
    samples: int = 0
    rejected: int = 0
    quantities: set[str] = field(default_factory=set)
    span: tuple[int, int] | None = None
    """First and last time, ms since 1970."""
    _waiting: list[Rejected] = field(default_factory=list)

    def messages(self, skip: int) -> Iterator[Contents | None]:
        """Yield them; None in the place of the first `skip`, which are counted and not made."""
        now_ms = int(time.time() * 1000)
        seq, last_ns = 0, 0
        try:
            stream = read_file(self.path, self.driver, options=self.options, on_rejected=self._waiting.append)
            for batch in _batches(stream):
                self._count(batch)
                seq += 1
                yield None if seq <= skip else self._data(batch, seq, now_ms)
                last_ns = batch[-1].time_ns
                for rejected in self._taken():
                    seq += 1
                    yield None if seq <= skip else self._event(rejected, seq, last_ns, now_ms)
            for rejected in self._taken():
                seq += 1
                yield None if seq <= skip else self._event(rejected, seq, last_ns, now_ms)
        except AgentError as error:
            raise FileError(str(error)) from error
        except OSError as error:
            raise ledger.unreadable(self.path, error) from error

    def _taken(self) -> list[Rejected]:
        taken, self._waiting[:] = list(self._waiting), []
        self.rejected += len(taken)
        return taken

    def _count(self, batch: list[Sample]) -> None:
        self.samples += len(batch)
        self.quantities.update(*(sample.values for sample in batch))
        times = [wire.round_ms(sample.time_ns) for sample in batch]
        low, high = min(times), max(times)
        self.span = (low, high) if self.span is None else (min(low, self.span[0]), max(high, self.span[1]))

    def _data(self, batch: list[Sample], seq: int, now_ms: int) -> Contents:
        return self._said(wire.encode_batch(batch, spool=self.spool, seq=seq), Kind.DATA, now_ms)

    def _event(self, rejected: Rejected, seq: int, time_ns: int, now_ms: int) -> Contents:
        detail = {
            "driver": self.driver,
            "options": dict(self.options or {}),
            "file": clean(self.path.name),
            "line": rejected.line,
            "header": None,
            "text": clean(rejected.text[:8192], limit=8192),
            "reason": clean(rejected.reason),
        }
        payload = wire.encode_event(LINE_REJECTED, spool=self.spool, seq=seq, time_ns=time_ns, detail=detail)
        return self._said(payload, Kind.EVENT, now_ms)

    def _said(self, payload: bytes, kind: Kind, now_ms: int) -> Contents:
        message = Message(self.station, self.instrument, kind, payload, wire.digest(payload))
        return contents(message, now_ms=now_ms)


def _batches(samples: Iterator[Sample]) -> Iterator[list[Sample]]:
    """Yield samples in batches a message can hold: so many, and not too many days."""
    batch: list[Sample] = []
    for sample in samples:
        if batch and (len(batch) == BATCH or abs(sample.time_ns - batch[0].time_ns) > _SPAN_NS):
            yield batch
            batch = []
        batch.append(sample)
    if batch:
        yield batch


# --- writing ---------------------------------------------------------------------------------


def _write(conn: Connection, frozen: _Frozen, entry: Entry, done: Filled, on_progress: Progress) -> Filled:
    """Write the messages; one transaction is written while the next is read."""
    writer = Writer(conn)
    messages, written = entry.messages, entry.written
    waiting: Future[Written] | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="backfill") as pool:
        for group in _groups(frozen.messages(entry.messages)):
            if waiting is not None:
                written += waiting.result()
                ledger.remember(conn, entry.number, messages, written)
                on_progress(written.new + written.same + written.aside, frozen.samples)
            messages += len(group)
            waiting = pool.submit(_enter, writer, group)
        if waiting is not None:
            written += waiting.result()
            ledger.remember(conn, entry.number, messages, written)
    return replace(done, samples=frozen.samples, messages=messages, written=written, rejected=frozen.rejected)


def _groups(messages: Iterator[Contents | None]) -> Iterator[list[Contents]]:
    group: list[Contents] = []
    rows = 0
    for said in messages:
        if said is None:
            continue
        group.append(said)
        rows += 1 if said.columns is None else said.columns.count
        if rows >= ROWS:
            yield group
            group, rows = [], 0
    if group:
        yield group


def _enter(writer: Writer, group: list[Contents]) -> Written:
    entered = writer.write(group)
    if any(result.outcome is Outcome.REKEY for result in entered.results):
        raise StoreError(
            f"messages of this file are in the store with other contents, under spool {group[0].spool}: "
            "this skyledger reads it otherwise than the one that filled it in; they were not stored"
        )
    refused = sum(result.outcome is None for result in entered.results)
    if refused:
        raise StoreError(
            f"{refused} messages of {group[0].station!r} cannot be kept aside, its quota is full: "
            "`skyledger aside list`; mend, replay or discard some, then go on"
        )
    repeated = sum(r.contents.columns.count for r in entered.results if r.repeated and r.contents.columns is not None)
    return entered.written + Written(same=repeated)


# --- in place of what is there ---------------------------------------------------------------


def _replace(conn: Connection, dsn: str, instrument: int, frozen: _Frozen, entry: Entry, reason: Reason) -> int:
    """Let the file's quantities stand alone in its window; return how many values stood in it, of whatever."""
    assert frozen.span is not None
    first, until = frozen.span[0], frozen.span[1] + 1
    window = instant(first), instant(until)

    def mend(what: str) -> Jsonb:
        said = {what: [first, until], "of": sorted(frozen.quantities)}
        made = Mend(reason.who, datetime.now(UTC).isoformat(timespec="seconds"), reason.why, said)
        return Jsonb([made.document()])

    with conn.transaction():
        ledger.replaced(conn, entry.number, reason, window)
        conn.execute(_OTHERS, [mend("without"), instrument, window[1], window[0], frozen.spool])
        conn.execute(_OWN, [mend("with"), instrument, frozen.spool, frozen.station])
        conn.execute(_NO_MORE_ASIDE, [frozen.station, frozen.spool, instrument])
    done = rebuild(dsn, *window, station=frozen.station, instrument=frozen.instrument)
    ledger.applied(conn, entry.number)
    return done.before
