"""Rows of ``reading``: expanded from columns, sorted, copied; what is there already is not doubled.

A row is the same as the one that stands under its (channel, time) only if value, port, status and mark are all the
same; then it is left out. Any difference puts it into ``reading_aside``, beside the message it came with, and the
row that came first stands. So what became of each value is written down, and `ingest.rebuild` arrives at the same
table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import psycopg
from numpy.typing import NDArray

from ingest import copy
from ingest.copy import Column
from ingest.database import Connection
from ingest.decode import DAY, Columns
from ingest.directory import Directory
from ingest.errors import StoreError

_KEY: Final = re.compile(r"=\((\d+), ")
"""The channel in the detail of a unique violation, whatever language the server speaks."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_STAGED_SECONDS: Final = 60.0
"""How long an instrument that brought a row twice goes by staging."""

_STAGING: Final = """
CREATE TEMPORARY TABLE IF NOT EXISTS staging (
    time timestamptz, value float8, channel_id int, state_id int, message_id bigint, position int
) ON COMMIT DELETE ROWS"""
_STAGED_INSERT: Final = """
INSERT INTO reading (time, value, channel_id, state_id)
SELECT DISTINCT ON (channel_id, time) time, value, channel_id, state_id FROM staging ORDER BY channel_id, time, position
ON CONFLICT (channel_id, time) DO NOTHING"""
# LIMIT keeps the planner, which knows nothing of a table just filled, from beginning with `reading` and going through
# all of `staging` for each of its rows.
_STAGED_ASIDE: Final = """
INSERT INTO reading_aside (time, value, channel_id, state_id, message_id)
SELECT s.time, s.value, s.channel_id, s.state_id, s.message_id
FROM staging s CROSS JOIN LATERAL (
    SELECT r.value, r.state_id FROM reading r
    WHERE r.channel_id = s.channel_id AND r.time = s.time AND r.time BETWEEN %s AND %s LIMIT 1
) AS r
WHERE (s.value, s.state_id) IS DISTINCT FROM (r.value, r.state_id)
ORDER BY s.message_id, s.position
ON CONFLICT DO NOTHING"""
_MISSING: Final = """
SELECT count(*)
FROM staging s LEFT JOIN LATERAL (
    SELECT r.state_id FROM reading r
    WHERE r.channel_id = s.channel_id AND r.time = s.time AND r.time BETWEEN %s AND %s LIMIT 1
) AS r ON true
WHERE r.state_id IS NULL"""
_MET: Final = """
SELECT DISTINCT c.instrument_id
FROM unnest(%s::int[], %s::timestamptz[], %s::timestamptz[]) AS k (channel_id, first, last)
JOIN channel c ON c.id = k.channel_id
CROSS JOIN LATERAL (
    SELECT FROM reading r WHERE r.channel_id = k.channel_id AND r.time BETWEEN k.first AND k.last LIMIT 1
) AS r"""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows for ``reading``, sorted by channel and time, in order of arrival where those are equal.

    Parameters
    ----------
    time
        int64 (n,), ms since 1970.
    value
        float64 (n,).
    channel, state, instrument
        int32 (n,): the store's numbers.
    message
        int64 (n,): ids of the messages they came with.
    """

    time: NDArray[np.int64]
    value: NDArray[np.float64]
    channel: NDArray[np.int32]
    state: NDArray[np.int32]
    instrument: NDArray[np.int32]
    message: NDArray[np.int64]

    @property
    def size(self) -> int:
        """Number of rows."""
        return self.time.size

    def take(self, which: NDArray[Any]) -> Rows:
        """Return some of the rows, by mask or position."""
        return Rows(*(getattr(self, name)[which] for name in self.__slots__))

    def first(self) -> NDArray[np.bool_]:
        """Return (n,) which rows are the first under their (channel, time)."""
        mask = np.ones(self.size, dtype=np.bool_)
        mask[1:] = (self.time[1:] != self.time[:-1]) | (self.channel[1:] != self.channel[:-1])
        return mask

    def differing(self, first: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return (n,) which rows say something else than the first one under their (channel, time)."""
        head = np.flatnonzero(first)[np.cumsum(first) - 1]
        different: NDArray[np.bool_] = (self.value != self.value[head]) | (self.state != self.state[head])
        return different


@dataclass(frozen=True, slots=True)
class Part:
    """What one message adds to ``reading``."""

    message: int
    instrument: int
    columns: Columns


def rows(parts: Sequence[Part], directory: Directory) -> Rows:
    """Return the rows of several messages together, sorted.

    Parameters
    ----------
    parts
        In order of arrival.
    directory
        Knows all their channels and states.
    """
    found = [_expand(part, directory) for part in parts]
    if not found:
        return Rows(*(np.empty(0, kind) for kind in ("i8", "f8", "i4", "i4", "i4", "i8")))
    joined = Rows(*(np.concatenate(arrays) for arrays in zip(*found, strict=True)))
    return joined.take(np.lexsort((joined.time, joined.channel)))


def _expand(part: Part, directory: Directory) -> tuple[NDArray[Any], ...]:
    c = part.columns
    n, k = c.t.size, len(c.quantities)
    channels = np.array([directory.channels[part.instrument, name] for name in c.quantities], dtype=np.int32)
    states = np.array([directory.states[state] for state in c.states], dtype=np.int32)
    values = c.values.ravel()
    there = np.flatnonzero(~np.isnan(values))
    sample = there % n if n else there
    return (
        c.t[sample],
        values[there],
        channels[there // n] if k else np.empty(0, np.int32),
        states[c.state[sample]],
        np.full(there.size, part.instrument, dtype=np.int32),
        np.full(there.size, part.message, dtype=np.int64),
    )


@dataclass(frozen=True, slots=True)
class Written:
    """What became of rows: new in ``reading``, the same as what stood there, kept in ``reading_aside``."""

    new: int = 0
    same: int = 0
    aside: int = 0

    def __add__(self, other: Written) -> Written:
        return Written(self.new + other.new, self.same + other.same, self.aside + other.aside)


@dataclass(slots=True)
class Table:
    """The writing end of ``reading`` on one connection; remembers which instruments bring rows twice.

    Parameters
    ----------
    conn
        In autocommit.
    checked
        Whether to look if what had to go around rows that were there has arrived: a server that compresses has to
        unpack what it is compared with.
    """

    conn: Connection
    checked: bool = False
    staged_until: dict[int, float] = field(default_factory=dict)

    def write(self, rows: Rows, *, clock: float) -> Written:
        """Write rows within the caller's transaction and return what became of each.

        Parameters
        ----------
        rows
            Sorted.
        clock
            Monotonic time, s: instruments that brought rows twice go by staging for a minute from now.
        """
        if rows.size == 0:
            return Written()
        first = rows.first()
        differing = rows.differing(first)
        self.staged_until = {number: until for number, until in self.staged_until.items() if until > clock}
        staged = set(self.staged_until)
        staged |= {int(number) for number in np.unique(rows.instrument[differing])}
        while True:
            by_staging = np.isin(rows.instrument, list(staged))
            fast = rows.take(first & ~by_staging)
            try:
                with self.conn.transaction():
                    copy.write(self.conn, "reading", _columns(fast), fast.size)
            except psycopg.errors.UniqueViolation as violation:
                met = self._met(fast, violation) - staged
                staged |= met or {int(number) for number in np.unique(fast.instrument)}
                self.staged_until |= dict.fromkeys(met, clock + _STAGED_SECONDS)
                continue
            left_out = int((~first & ~by_staging).sum())
            return Written(fast.size, left_out) + self._stage(rows.take(by_staging))

    def _met(self, rows: Rows, violation: psycopg.errors.UniqueViolation) -> set[int]:
        """Return the instruments that have rows where these would go, the one named by the error among them."""
        channels, start = np.unique(rows.channel, return_index=True)
        end = np.append(start[1:], rows.size) - 1
        keys = [channels.tolist(), _datetimes(rows.time[start]), _datetimes(rows.time[end])]
        with self._by_look_ups():
            found = self.conn.execute(_MET, keys).fetchall()
        met = {int(number) for (number,) in found}
        named = _KEY.search(violation.diag.message_detail or "")
        if named:
            met |= {int(number) for number in rows.instrument[rows.channel == int(named[1])][:1]}
        return met

    def _stage(self, rows: Rows) -> Written:
        if rows.size == 0:
            return Written()
        self.conn.execute(_STAGING)
        position = np.arange(rows.size, dtype=np.int32)
        extra = [Column("message_id", "int8", rows.message), Column("position", "int4", position)]
        copy.write(self.conn, "staging", [*_columns(rows), *extra], rows.size)
        new = self.conn.execute(_STAGED_INSERT).rowcount
        bounds = _datetimes(np.array([rows.time.min(), rows.time.max()]))
        with self._by_look_ups():
            if self.checked:
                self._require_there(bounds)
            aside = self.conn.execute(_STAGED_ASIDE, bounds).rowcount
        return Written(new, rows.size - new - aside, aside)

    @contextmanager
    def _by_look_ups(self) -> Iterator[None]:
        """Let keys be looked up one by one meanwhile: what the planner believes of fresh rows is nothing to go by."""
        self.conn.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        yield
        self.conn.execute("SET LOCAL enable_seqscan = on; SET LOCAL enable_bitmapscan = on")

    def _require_there(self, bounds: list[datetime]) -> None:
        row = self.conn.execute(_MISSING, bounds).fetchone()
        if row is not None and row[0]:
            raise StoreError(
                f"{row[0]} readings are not there after they were written: the server lost them among those it has "
                "compressed; update TimescaleDB (its issue 7672). They are not acknowledged and stay with their station"
            )


def insert(conn: Connection, rows: Rows) -> None:
    """Copy rows of which none is there yet, within the caller's transaction."""
    copy.write(conn, "reading", _columns(rows), rows.size)


def days(columns: Columns) -> set[int]:
    """Return the days a batch's samples lie on, as days since 1970."""
    return {int(day) for day in np.unique(columns.t // DAY)}


def _columns(rows: Rows) -> list[Column]:
    return [
        Column("time", "timestamptz", copy.micros(rows.time)),
        Column("value", "float8", rows.value),
        Column("channel_id", "int4", rows.channel),
        Column("state_id", "int4", rows.state),
    ]


def _datetimes(ms: NDArray[np.int64]) -> list[datetime]:
    return [instant(value) for value in ms.tolist()]


def instant(ms: int) -> datetime:
    """Return ms since 1970 as a datetime."""
    return _EPOCH + timedelta(milliseconds=ms)
