"""The spool as CSV, to be carried away on a stick: what the server has not acknowledged yet.

One row per sample, in the order of its batches::

    time,instrument,port,status,mark,co2 [umol mol-1],ch4 [nmol mol-1]
    2026-01-05T08:00:00.000Z,g2301,1,963,0,415.2134,

Numbers are written so that they are read back bit by bit; a missing value is an empty field. Events go to a second
file. Nothing leaves the spool by it: the agent may be running, and delivers what was exported as well.
"""

from __future__ import annotations

import csv
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from station_agent.drivers.quantities import UNITS
from station_agent.errors import AgentError, SpoolError, WireError
from station_agent.overview import open_to_read
from station_agent.wire import Batch, Event, Kind, decode, round_ms

LEADING: Final = ("time", "instrument", "port", "status", "mark")
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Row = tuple[int, str, str | None, int | None, int, dict[str, float]]
"""Time in ms since 1970 UTC, instrument, port, status, mark, values."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and how many batches could not be read."""

    samples: int
    events: int
    unreadable: int


def export(spool: Path, samples: Path, events: Path) -> Exported:
    """Write what a spool holds to two new files.

    Raises
    ------
    SpoolError
        The spool cannot be read.
    AgentError
        A file is there already, or cannot be written; what was begun is taken away.
    """
    for path in (samples, events):
        if path.exists():
            raise AgentError(f"{path}: is there already; name another file, or move this one away")
    try:
        with closing(open_to_read(spool)) as db:
            db.execute("BEGIN")  # all of it is of one moment, whatever the agent does meanwhile
            return _export(db, samples, events)
    except sqlite3.Error as error:
        _discard(samples, events)
        raise SpoolError(f"{spool}: the spool cannot be read: {error}") from None
    except OSError as error:
        _discard(samples, events)
        raise AgentError(f"{error.filename or samples}: cannot be written: {error.strerror}") from None


def _discard(*paths: Path) -> None:
    for path in paths:
        with suppress(OSError):  # a stick that was pulled out has nothing to take away
            path.unlink()


def _export(db: sqlite3.Connection, samples: Path, events: Path) -> Exported:
    unreadable: list[int] = []
    names = sorted({name for row in _rows(db, unreadable) for name in row[-1]})
    header = [*LEADING, *(f"{name} [{UNITS.get(name, '')}]" for name in names)]
    count = _write(samples, header, (_written(row, names) for row in _rows(db, [])))
    said = (
        [moment(event.t), name, event.event, json.dumps(event.detail, ensure_ascii=False)]
        for name, event in _events(db, unreadable)
    )
    number = _write(events, ["time", "instrument", "event", "detail"], said)
    return Exported(count, number, len(unreadable))


def _write(path: Path, header: list[str], rows: Iterable[Sequence[object]]) -> int:
    """Write a table and have it on the stick before it is said to be there; return its rows."""
    count = 0
    with path.open("x", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for row in rows:
            writer.writerow(row)
            count += 1
        file.flush()
        os.fsync(file.fileno())
    return count


def _written(row: Row, names: Iterable[str]) -> list[object]:
    ms, instrument, port, status, mark, values = row
    # repr of a float is the shortest text that is read back as the same number.
    numbers = (repr(float(values[name])) if name in values else "" for name in names)
    return [moment(ms), instrument, port or "", "" if status is None else status, mark, *numbers]


def moment(ms: int) -> str:
    """Return ms since 1970 UTC as ISO 8601; a time beyond the calendar as its number."""
    try:
        when = EPOCH + timedelta(milliseconds=ms)
    except OverflowError:
        return str(ms)
    return when.strftime(f"{when.year:04d}-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}Z"


def _rows(db: sqlite3.Connection, unreadable: list[int]) -> Iterator[Row]:
    """Yield every sample: of the frozen batches, then of those that gather."""
    sql = "SELECT id, instrument, payload FROM batch WHERE kind = ? ORDER BY id"
    for number, name, payload in db.execute(sql, (Kind.DATA.value,)):
        try:
            batch = decode(payload)
        except WireError:
            unreadable.append(number)
            continue
        if isinstance(batch, Batch):
            yield from _batch_rows(name, batch)
    for name, packed in db.execute("SELECT instrument, samples FROM pending ORDER BY id"):
        for time_ns, values, port, status, mark in json.loads(packed):
            yield round_ms(time_ns), name, port, status, mark, values


def _batch_rows(name: str, batch: Batch) -> Iterator[Row]:
    columns = zip(*batch.q.values(), strict=True) if batch.q else (() for _ in batch.t)
    for ms, port, status, mark, values in zip(batch.t, batch.port, batch.status, batch.mark, columns, strict=True):
        held = {key: value for key, value in zip(batch.q, values, strict=True) if value is not None}
        yield ms, name, port, status, mark, held


def _events(db: sqlite3.Connection, unreadable: list[int]) -> Iterator[tuple[str, Event]]:
    sql = "SELECT id, instrument, payload FROM batch WHERE kind = ? ORDER BY id"
    for number, name, payload in db.execute(sql, (Kind.EVENT.value,)):
        try:
            event = decode(payload)
        except WireError:
            unreadable.append(number)
            continue
        if isinstance(event, Event):
            yield name, event
