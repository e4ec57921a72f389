"""``reading`` again from ``message``: the same rows, to the bit.

Which of several values for one (channel, time) stands is not decided anew: ``reading_aside`` says which rows of
which message lost, and the rest agree with each other. (Where they do not, because the standing row had been
removed with its day before the other came, the message stored first wins and the other's row goes aside.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ingest import mends as mending
from ingest import partition, reading
from ingest.database import Connection, Level, level, unlimited
from ingest.decode import Columns, Message, contents
from ingest.directory import Directory
from ingest.errors import StoreError
from ingest.mends import Mend
from ingest.migrate import require_current
from ingest.reading import Part, Rows
from ingest.store import connect
from station_agent.wire import Kind

_INSTRUMENTS: Final = """
SELECT i.id FROM instrument i JOIN station s ON s.id = i.station_id
WHERE (%s::text IS NULL OR s.name = %s) AND (%s::text IS NULL OR i.name = %s) ORDER BY i.id"""
_LOADS: Final = """
SELECT instrument_id, sum(readings) FROM message
WHERE state = 'stored' AND readings > 0 AND t_from < %s AND t_to >= %s AND instrument_id = ANY(%s)
GROUP BY instrument_id ORDER BY instrument_id"""
_MESSAGES: Final = """
SELECT id, station, instrument, kind, payload, mend, instrument_id FROM message
WHERE state = 'stored' AND readings > 0 AND t_from < %s AND t_to >= %s AND instrument_id = ANY(%s)
ORDER BY xid, id"""
_LOST: Final = """
SELECT a.message_id, a.channel_id, a.time, a.value, a.state_id
FROM reading_aside a JOIN channel c ON c.id = a.channel_id
WHERE c.instrument_id = ANY(%s) AND a.time >= %s AND a.time < %s"""
_KEEP_ASIDE: Final = """
INSERT INTO reading_aside (time, value, channel_id, state_id, message_id)
SELECT * FROM unnest(%s::timestamptz[], %s::float8[], %s::int[], %s::int[], %s::bigint[]) ON CONFLICT DO NOTHING"""
_REMOVE: Final = """
DELETE FROM reading WHERE time >= %s AND time < %s
AND channel_id = ANY(ARRAY(SELECT id FROM channel WHERE instrument_id = ANY(%s)))"""
MOST_READINGS: Final = 3_000_000
"""Readings made again in one transaction, but for a day of one instrument that has more; some 300 MB."""
_FAR_FUTURE_MS: Final = 2**53
"""Times were checked when the message came."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild did: messages read, rows that were there before and are there now, newly kept aside."""

    messages: int = 0
    before: int = 0
    rows: int = 0
    aside: int = 0

    def __add__(self, other: Rebuilt) -> Rebuilt:
        return Rebuilt(
            self.messages + other.messages, self.before + other.before, self.rows + other.rows, self.aside + other.aside
        )


def rebuild(
    dsn: str, start: datetime, end: datetime, *, station: str | None = None, instrument: str | None = None
) -> Rebuilt:
    """Make a window of ``reading`` again from ``message``.

    Days are replaced by groups of instruments, each in one transaction, during which writers of ``reading`` wait;
    readers see the old rows or the new ones. Memory holds one group. Cost grows with the readings, and with the
    messages of a day times its groups (`MOST_READINGS` each).

    Parameters
    ----------
    dsn
        The database.
    start, end
        Aware; rows at or after `start` and before `end` are made again.
    station, instrument
        Only of these; None: of all.

    Raises
    ------
    StoreError
        The window is empty, or a message that was stored cannot be read any more; nothing of its day has changed.
    """
    if not start < end:
        raise StoreError(f"window from {start} to {end} is empty: give its end after its start")
    done = Rebuilt()
    with connect(dsn) as conn:
        require_current(conn)
        chosen = [row[0] for row in conn.execute(_INSTRUMENTS, [station, station, instrument, instrument])]
        if not chosen:
            raise StoreError(
                f"no instrument {instrument or 'at all'} of station {station or 'any'} is in the catalogue"
            )
        known = level(conn)
        unlimited(conn, known)
        for first, last in _days(conn, start, end):
            if known is Level.PLAIN:
                partition.create(conn, [(first - partition.EPOCH).days])
            for group in _groups(conn.execute(_LOADS, [last, first, chosen]), chosen):
                done += _replace(conn, group, first, last)
    return done


def _groups(loads: Iterable[tuple[int, int]], chosen: Sequence[int]) -> Iterator[list[int]]:
    """Yield instruments that are replaced together; those without a message go along, for rows nobody claims."""
    readings = dict.fromkeys(chosen, 0) | dict(loads)
    group: list[int] = []
    room = MOST_READINGS
    for instrument, count in readings.items():
        if group and count > room:
            yield group
            group, room = [], MOST_READINGS
        group.append(instrument)
        room -= count
    yield group


def _days(conn: Connection, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Yield the window in days (UTC), from the first to the last that has anything."""
    row = conn.execute("SELECT min(t_from), max(t_to) FROM message WHERE state = 'stored'").fetchone()
    assert row is not None
    if row[0] is None:
        return
    first, stop = max(start, row[0]), min(end, row[1] + timedelta(milliseconds=1))
    while first < stop:
        midnight = partition.EPOCH + timedelta(days=(first - partition.EPOCH).days + 1)
        last = min(midnight, stop)
        yield first, last
        first = last


def _replace(conn: Connection, instruments: list[int], first: datetime, last: datetime) -> Rebuilt:
    with conn.transaction():
        conn.execute("LOCK TABLE reading IN SHARE ROW EXCLUSIVE MODE")
        parts = [Part(row[0], row[-1], _columns(row)) for row in conn.execute(_MESSAGES, [last, first, instruments])]
        directory = Directory()
        directory.learn_columns(conn, [(part.instrument, part.columns) for part in parts])
        rows = reading.rows(parts, directory)
        low, high = (round((time - partition.EPOCH) / timedelta(milliseconds=1)) for time in (first, last))
        rows = rows.take((rows.time >= low) & (rows.time < high))
        lost = conn.execute(_LOST, [instruments, first, last]).fetchall()
        if lost:
            rows = rows.take(~_among(rows, lost))
        head = rows.first()
        late = rows.take(rows.differing(head))
        before = conn.execute(_REMOVE, [first, last, instruments]).rowcount
        kept = rows.take(head)
        reading.insert(conn, kept)
        if late.size:
            times = [reading.instant(ms) for ms in late.time.tolist()]
            others = [getattr(late, name).tolist() for name in ("value", "channel", "state", "message")]
            conn.execute(_KEEP_ASIDE, [times, *others])
    return Rebuilt(len(parts), before, kept.size, late.size)


def _columns(row: tuple[Any, ...]) -> Columns:
    number, station, name, kind, payload, mends, _ = row
    message = Message(station, name, Kind(kind), bytes(payload), "")
    corrections = [Mend.read(mend) for mend in mends]
    said = contents(message, now_ms=_FAR_FUTURE_MS, mends=corrections)
    if said.columns is None:
        raise StoreError(f"message {number} was stored but cannot be read now: {said.reason}; is this version older?")
    return said.columns.take(mending.kept(said.columns.t, said.columns.quantities, corrections))


_ROW: Final = np.dtype([("message", "i8"), ("channel", "i8"), ("time", "i8"), ("value", "f8"), ("state", "i8")])


def _among(rows: Rows, lost: list[tuple[Any, ...]]) -> NDArray[np.bool_]:
    """Return (n,) which rows are among those that `reading_aside` holds."""
    ms = timedelta(milliseconds=1)
    keys = np.array([(m, c, round((t - partition.EPOCH) / ms), v, s) for m, c, t, v, s in lost], dtype=_ROW)
    ours = np.empty(rows.size, dtype=_ROW)
    for name in ("message", "channel", "time", "value", "state"):
        ours[name] = getattr(rows, name)
    found: NDArray[np.bool_] = np.isin(ours, keys)
    return found
