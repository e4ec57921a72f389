"""What was kept aside: listed, shown, mended, replayed, discarded.

Two things lie aside. A whole message that could not be stored waits in ``message`` with its reason; mends are put
beside it and `replay` reads it again with them. A single value that met another one under the same time lies in
``reading_aside``; its message is stored.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from psycopg.types.json import Jsonb

from ingest import mends as mending
from ingest.database import Connection
from ingest.decode import LINE_REJECTED, Contents, Message, clean, clean_json, contents, read
from ingest.errors import AsideError
from ingest.mends import Mend
from ingest.reading import Written
from ingest.store import Writer, connect
from station_agent import wire
from station_agent.drivers import parse_line
from station_agent.errors import AgentError, WireError
from station_agent.wire import Event, Kind, Outcome

_GROUP: Final = 100
"""Messages replayed in one transaction."""
_LOCK: Final = 0x736B796C65646761
"""Key of the advisory lock under which mends are added or applied: what is stored is what all mends beside it say."""
_SHOWN: Final = 100_000
"""Characters of a payload that are shown."""

_ENTRIES: Final = """
SELECT id, station, instrument, kind, received, octet_length(payload), reason, mend FROM message
WHERE state = 'aside' AND (%s::text IS NULL OR station = %s) AND (%s::bigint[] IS NULL OR id = ANY(%s)) ORDER BY id
LIMIT %s"""
_MESSAGES: Final = """
SELECT id, station, instrument, kind, encode(digest, 'hex'), payload, mend FROM message
WHERE state = 'aside' AND id > %s AND (%s::text IS NULL OR station = %s) AND (%s::bigint[] IS NULL OR id = ANY(%s))
ORDER BY id LIMIT %s"""
_ROWS: Final = """
SELECT a.id, a.message_id, s.name, i.name, c.quantity, a.time, a.value, r.value
FROM reading_aside a JOIN channel c ON c.id = a.channel_id JOIN instrument i ON i.id = c.instrument_id
JOIN station s ON s.id = i.station_id LEFT JOIN reading r ON r.channel_id = a.channel_id AND r.time = a.time
WHERE (%s::text IS NULL OR s.name = %s) ORDER BY a.id LIMIT %s"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A message kept aside: its topic's levels, when it came, its bytes, why it waits, what was mended."""

    id: int
    station: str
    instrument: str
    kind: str
    received: datetime
    size: int
    reason: str
    mends: tuple[Mend, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """One entry and what its payload says, as text; with its mends, where it has any."""

    entry: Entry
    text: str


@dataclass(frozen=True, slots=True)
class RowAside:
    """A value that met another one; `standing` is that one, None where its day is gone."""

    id: int
    message: int
    station: str
    instrument: str
    quantity: str
    time: datetime
    value: float
    standing: float | None


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay did: messages stored, messages still aside, and what became of the rows."""

    stored: int
    aside: int
    written: Written


def entries(
    dsn: str, *, station: str | None = None, ids: Sequence[int] | None = None, limit: int | None = None
) -> list[Entry]:
    """Return the messages kept aside, in the order they came; those of one station, or with these numbers."""
    with connect(dsn) as conn:
        return _entries(conn, station=station, ids=ids, limit=limit)


def _entries(
    conn: Connection, *, station: str | None = None, ids: Sequence[int] | None = None, limit: int | None = None
) -> list[Entry]:
    wanted = None if ids is None else list(ids)
    rows = conn.execute(_ENTRIES, [station, station, wanted, wanted, limit]).fetchall()
    return [Entry(*(*row[:-1], tuple(map(Mend.read, row[-1])))) for row in rows]


def rows(dsn: str, *, station: str | None = None, limit: int | None = None) -> list[RowAside]:
    """Return the values that met another one, in the order they came."""
    with connect(dsn) as conn:
        return [RowAside(*row) for row in conn.execute(_ROWS, [station, station, limit])]


def show(dsn: str, number: int) -> Shown:
    """Return one message kept aside and what its payload says.

    Raises
    ------
    AsideError
        It is not kept aside.
    """
    with connect(dsn) as conn:
        entry = _entry(conn, number)
        row = conn.execute("SELECT payload FROM message WHERE id = %s", [number]).fetchone()
    assert row is not None
    raw = bytes(row[0])
    try:
        text = wire.inflate(mending.payload(raw, entry.mends)).decode("utf-8", "backslashreplace")
    except WireError:
        text = repr(raw)
    return Shown(entry, clean(text, limit=_SHOWN))


def _entry(conn: Connection, number: int) -> Entry:
    found = _entries(conn, ids=[number])
    if found:
        return found[0]
    row = conn.execute("SELECT state FROM message WHERE id = %s", [number]).fetchone()
    state = "is not in the store" if row is None else f"is {row[0]}"
    raise AsideError(f"message {number} {state}, expected one that is kept aside: see `skyledger aside list`")


@dataclass(frozen=True, slots=True)
class Correction:
    """What to mend; what is None stays.

    Parameters
    ----------
    station, instrument
        Whose the message is.
    rename
        Quantity as it is in the payload -> as it should be.
    unit
        Quantity (by its name after renaming) -> the unit its values are in.
    shift
        Seconds to add to all its times.
    payload
        What the payload should have been.
    line
        For a line the instrument's driver rejected: what it should have been.
    """

    station: str | None = None
    instrument: str | None = None
    rename: Mapping[str, str] | None = None
    unit: Mapping[str, str] | None = None
    shift: float | None = None
    payload: bytes | None = None
    line: str | None = None

    def what(self, message: Message) -> dict[str, Any]:
        """Return what a mend of this message says."""
        names = ("station", "instrument", "rename", "unit", "shift")
        what: dict[str, Any] = {name: value for name in names if (value := getattr(self, name))}
        if self.payload is not None:
            what |= mending.replaced(self.payload)
        if self.line is not None:
            what |= {"line": self.line, **mending.replaced(_batch(message, self.line))}
        return what


def mend(
    dsn: str, number: int, correction: Correction, *, who: str, why: str, now: datetime | None = None
) -> str | None:
    """Put a correction beside a message kept aside; `replay` then reads it with all its corrections.

    Parameters
    ----------
    dsn
        The database.
    number
        The message's id.
    correction
        What to mend.
    who, why
        Stay with the correction.
    now
        Default: the clock.

    Returns
    -------
    str or None
        What is still wrong with the message, as far as it can be said without the catalogue; None: nothing.

    Raises
    ------
    AsideError
        It is not kept aside, nothing is changed, or a corrected line still cannot be read.
    """
    if not who.strip() or not why.strip():
        raise AsideError("a mend says who made it and why: give both")
    now = datetime.now(UTC) if now is None else now
    with connect(dsn) as conn, conn.transaction():
        conn.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        conn.execute("SELECT FROM message WHERE id = %s FOR UPDATE", [number])
        entry = _entry(conn, number)
        message = _message(conn, number)
        what = correction.what(message)
        if not what:
            raise AsideError(f"message {number} stays as it is: say what to mend (station, instrument, rename, ...)")
        new = Mend(who, now.isoformat(), why, what)
        document = clean_json(new.document())
        conn.execute("UPDATE message SET mend = mend || %s WHERE id = %s", [Jsonb([document]), number])
        mends = [*entry.mends, Mend.read(document)]
        return contents(message, now_ms=int(now.timestamp() * 1000), mends=mends).reason


def _message(conn: Connection, number: int) -> Message:
    row = conn.execute(
        "SELECT station, instrument, kind, encode(digest, 'hex'), payload FROM message WHERE id = %s", [number]
    ).fetchone()
    assert row is not None
    station, instrument, kind, digest, payload = row
    return Message(station, instrument, Kind(kind), bytes(payload), digest)


def _batch(message: Message, line: str) -> bytes:
    """Return the batch that the corrected line of a rejected one holds."""
    try:
        found = read(message.payload)
        if not isinstance(found.body, Event) or found.body.event != LINE_REJECTED:
            raise AsideError("only a line that a driver rejected can be mended by a corrected line")
        samples = parse_line(line, found.body.detail)
        return wire.encode_batch(samples, spool=found.spool, seq=found.seq)
    except AgentError as error:
        raise AsideError(f"the corrected line cannot be used: {error}") from error


def discard(dsn: str, number: int, *, who: str, why: str) -> None:
    """Give up a message kept aside: it stays in the store with this reason, but waits no longer and fills no quota.

    Raises
    ------
    AsideError
        It is not kept aside.
    """
    with connect(dsn) as conn, conn.transaction():
        conn.execute("SELECT FROM message WHERE id = %s FOR UPDATE", [number])
        entry = _entry(conn, number)
        conn.execute(
            "UPDATE message SET state = 'discarded', reason = %s, xid = pg_current_xact_id() WHERE id = %s",
            [clean(f"discarded by {who}: {why} (was: {entry.reason})"), number],
        )


def replay(dsn: str, *, ids: Sequence[int] | None = None, station: str | None = None) -> Replayed:
    """Read messages kept aside again, with their mends and today's catalogue, and store those that now can be.

    Parameters
    ----------
    dsn
        The database.
    ids
        Their numbers; None: all.
    station
        Only those that came under this station's name.

    Raises
    ------
    AsideError
        One of the numbers is not kept aside.
    """
    stored = aside = 0
    written = Written()
    with connect(dsn) as conn:
        conn.execute("SELECT pg_advisory_lock_shared(%s)", [_LOCK])  # until this session ends
        for number in ids or ():
            _entry(conn, number)
        writer = Writer(conn)
        for group in _groups(conn, ids=ids, station=station):
            entered = writer.write_again(group)
            outcomes = [result.outcome for result in entered.results]
            stored += outcomes.count(Outcome.STORED)
            aside += outcomes.count(Outcome.ASIDE)
            written += entered.written
    return Replayed(stored, aside, written)


def _groups(conn: Connection, *, ids: Sequence[int] | None, station: str | None) -> Iterator[dict[int, Contents]]:
    wanted = None if ids is None else list(ids)
    last = 0
    while found := conn.execute(_MESSAGES, [last, station, station, wanted, wanted, _GROUP]).fetchall():
        last = found[-1][0]
        now = int(time.time() * 1000)
        yield {
            number: contents(
                Message(name, instrument, Kind(kind), bytes(payload), digest),
                now_ms=now,
                mends=[Mend.read(mend) for mend in mends],
            )
            for number, name, instrument, kind, digest, payload, mends in found
        }
