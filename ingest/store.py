"""The writing end of the store: messages and their readings, in one transaction, each exactly once.

`Writer.write` takes messages as they came and says of each what to acknowledge. Nothing it is given can stop the
others: what cannot be read, belongs to nobody or is refused by the database is kept in ``message`` with the
reason. What concerns the database itself (it is gone, full, shutting down) is raised, and what was not said to be
committed may not be.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

import psycopg

from ingest import partition
from ingest.database import Connection, Level, connect, level, unlimited
from ingest.decode import Contents, clean, clean_json, storable
from ingest.directory import Directory
from ingest.errors import StoreError
from ingest.migrate import require_current
from ingest.reading import Part, Table, Written, days, instant, rows
from station_agent.wire import Event, Outcome

__all__ = [
    "ASIDE_QUOTA",
    "Connection",
    "Entered",
    "Level",
    "Result",
    "Writer",
    "Written",
    "connect",
    "level",
    "passing",
]

log: Final = logging.getLogger(__name__)

ASIDE_QUOTA: Final = 256 * 1024 * 1024
"""Bytes a station may have kept aside; what would exceed it is neither kept nor acknowledged.

Stations that are not in the catalogue share one quota: names can be made up.
"""
_LEAST_BYTES: Final = 4096
"""What a message counts at least towards the quota: the number of rows is bounded by it too."""
_COUNTED_S: Final = 10.0
"""Seconds for which what a station has aside is not counted again: others may add to it, or mend, meanwhile."""
_TRIES: Final = 8
"""How often a transaction is tried that met another in a deadlock."""
_PAUSE: Final = 0.05
"""Seconds at most between two of them: two that met are not to meet again."""
_PASSING: Final = ("08", "25", "40", "42", "53", "55", "57", "58")
"""Classes of SQLSTATE that speak of the server, the schema or a lock, not of what is written."""
_LIMIT: Final = "53400"
"""A limit of the configuration is exceeded, by what is written."""
_MAX_STATUS: Final = 65_536
"""Bytes of a status message that are kept."""

_STANDING: Final = """
SELECT m.station, encode(m.digest, 'hex'), m.state
FROM unnest(%s::text[], %b::bytea[]) AS k (station, digest) JOIN message m USING (station, digest)"""
_ENTER: Final = """
INSERT INTO message (station, instrument, kind, digest, spool, seq, t_from, t_to, readings, instrument_id,
                     state, reason, payload)
SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %b::bytea[], %s::text[], %s::bigint[], %s::timestamptz[],
                     %s::timestamptz[], %s::int[], %s::int[], %s::text[], %s::text[], %b::bytea[])
     AS m (station, instrument, kind, digest, spool, seq, t_from, t_to, readings, instrument_id, state, reason, payload)
ORDER BY station, digest
ON CONFLICT DO NOTHING
RETURNING id, station, encode(digest, 'hex')"""
_ENTER_AGAIN: Final = """
UPDATE message m
SET t_from = k.t_from, t_to = k.t_to, readings = k.readings, instrument_id = k.instrument_id,
    state = k.state, reason = k.reason,
    xid = CASE WHEN k.state = m.state THEN m.xid ELSE pg_current_xact_id() END
FROM unnest(%s::bigint[], %s::timestamptz[], %s::timestamptz[], %s::int[], %s::int[], %s::text[], %s::text[])
     AS k (id, t_from, t_to, readings, instrument_id, state, reason)
WHERE m.id = k.id AND m.state = 'aside'
RETURNING m.id, m.station, encode(m.digest, 'hex')"""
_KEPT_ASIDE: Final = """
SELECT station, sum(greatest(octet_length(payload), %s)) FROM message
WHERE state = 'aside' AND station = ANY(%s) GROUP BY station"""
_KEPT_OF_STRANGERS: Final = """
SELECT coalesce(sum(greatest(octet_length(payload), %s)), 0) FROM message m
WHERE state = 'aside' AND NOT EXISTS (SELECT FROM station s WHERE s.name = m.station)"""
_STRANGERS: Final = ""
"""Account of the stations that are not in the catalogue."""
_EVENT: Final = """
INSERT INTO event (message_id, instrument_id, time, event, detail) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (instrument_id, time, event, md5(detail::text)) DO NOTHING"""
_STATUS: Final = """
INSERT INTO station_status (station, status) SELECT * FROM unnest(%s::text[], %s::jsonb[])
ON CONFLICT (station) DO UPDATE SET status = excluded.status, received = now()"""


def passing(error: BaseException) -> bool:
    """Whether an error speaks of the server (gone, full, busy), so that the same write may succeed later."""
    if isinstance(error, StoreError):
        return True
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return error.sqlstate.startswith(_PASSING) and error.sqlstate != _LIMIT


_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one message that was given to the writer.

    Parameters
    ----------
    contents
        It, as it was read.
    outcome
        What to acknowledge; None: nothing, it was not kept and will be sent again.
    repeated
        Whether it was in the store already.
    """

    contents: Contents
    outcome: Outcome | None
    repeated: bool = False

    @property
    def key(self) -> _Key:
        """Station and digest."""
        return _key(self.contents)


@dataclass(frozen=True, slots=True)
class Entered:
    """What one call of the writer did.

    Parameters
    ----------
    results
        One a message, in the order given.
    written
        What became of the rows of the messages stored now.
    """

    results: list[Result]
    written: Written


def _key(said: Contents) -> _Key:
    return said.message.station, said.message.digest


@dataclass(slots=True)
class Writer:
    """Writes messages on one connection.

    Parameters
    ----------
    conn
        In autocommit, its schema current; the writer alone uses it.
    aside_quota
        Bytes each station may have kept aside.
    monotonic
        Clock, s.

    Raises
    ------
    MigrationError
        The database's schema is not this version's.
    """

    conn: Connection
    aside_quota: int = ASIDE_QUOTA
    monotonic: Callable[[], float] = time.monotonic
    _directory: Directory = field(init=False, default_factory=Directory)
    _table: Table = field(init=False)
    _days: set[int] | None = field(init=False, default=None)
    _aside: dict[str, tuple[int, float]] = field(init=False, default_factory=dict)
    """Station -> bytes it has aside, and until when that is believed."""

    def __post_init__(self) -> None:
        require_current(self.conn)
        known = level(self.conn)
        unlimited(self.conn, known)
        self._table = Table(self.conn, checked=known is Level.TIMESCALE_FULL)
        if known is Level.PLAIN:
            self._days = partition.existing(self.conn)

    def write(self, said: Sequence[Contents]) -> Entered:
        """Write messages and say what to acknowledge; what is said was committed.

        Parameters
        ----------
        said
            In order of arrival.

        Raises
        ------
        psycopg.Error
            The database cannot be written now; giving it the same messages later is safe.
        """
        new: dict[_Key, Contents] = {}
        for c in said:
            new.setdefault(_key(c), c)
        standing = self._standing(new)
        results = {key: Result(new[key], outcome, repeated=True) for key, outcome in standing.items()}
        fresh = self._place([c for key, c in new.items() if key not in standing])
        kept, refused = self._within_quota(fresh)
        results |= {_key(c): Result(c, None) for c in refused}
        entered, written = self._enter_all(kept)
        results |= {result.key: result for result in entered}
        return Entered(_in_order(said, results), written)

    def write_again(self, said: Mapping[int, Contents]) -> Entered:
        """Write messages that were kept aside and say what became of them now.

        Parameters
        ----------
        said
            Id of the message -> it, as it is read with its mends.
        """
        placed = self._place(list(said.values()))
        entered, written = self._enter_all(placed, {_key(c): number for number, c in said.items()})
        return Entered(entered, written)

    def keep_statuses(self, last: Mapping[str, bytes]) -> None:
        """Keep the last word of stations about themselves (JSON; anything else is kept as a text)."""
        # Sorted, so that two workers, who hear the same, do not wait for each other in a ring.
        known = {station: word for station, word in sorted(last.items()) if storable(station)}
        if known:
            self.conn.execute(_STATUS, [list(known), [_status(word) for word in known.values()]])

    def prepare_days(self, now: datetime) -> None:
        """Make the days ahead, where the store needs them made."""
        self._require_days(set(partition.ahead(now)))

    # --- before the transaction ---------------------------------------------------------------

    def _standing(self, keys: Iterable[_Key]) -> dict[_Key, Outcome]:
        """Return the outcome of those messages that are in the store."""
        pairs = list(keys)
        found = self.conn.execute(_STANDING, [[s for s, _ in pairs], [bytes.fromhex(d) for _, d in pairs]])
        return {(s, d): Outcome.STORED if state == "stored" else Outcome.ASIDE for s, d, state in found}

    def _place(self, said: Sequence[Contents]) -> list[Contents]:
        """Return the messages, aside if they belong to no known instrument; learn what the others need."""
        stations = self._directory.learn(self.conn, said)
        return [c if (fault := self._placeless(c, stations)) is None else c.aside(fault) for c in said]

    def _placeless(self, said: Contents, stations: set[str]) -> str | None:
        if said.reason is not None or (said.station, said.instrument) in self._directory.instruments:
            return None
        what = f"station {said.station!r} is not"
        if said.station in stations:
            what = f"instrument {said.instrument!r} of station {said.station!r} is not"
        return (
            f"{what} in the catalogue: add it with `skyledger catalog apply` "
            "(or map it with `skyledger aside mend`), then replay"
        )

    def _within_quota(self, said: Sequence[Contents]) -> tuple[list[Contents], list[Contents]]:
        """Return the messages to keep, and those that would exceed what their station may have aside."""
        accounts = self._accounts({c.message.station for c in said if c.reason is not None})
        if not accounts:
            return list(said), []
        used = self._used(set(accounts.values()))
        kept, refused, full = self._shared_out(said, accounts, used)
        if full:  # it may have been mended meanwhile
            self._aside = {account: known for account, known in self._aside.items() if account not in full}
            used = self._used(set(accounts.values()))
            kept, refused, full = self._shared_out(said, accounts, used)
        self._aside |= {account: (count, self._aside[account][1]) for account, count in used.items()}
        for account in full:
            log.warning(
                "%s the quota of %d bytes kept aside: mend, replay or discard them (`skyledger aside list`); "
                "until then what of it cannot be stored is not acknowledged",
                "stations that are not in the catalogue have" if account == _STRANGERS else f"station {account!r} has",
                self.aside_quota,
                extra={"event": "aside_quota_full", "station": account},
            )
        return kept, refused

    def _accounts(self, stations: set[str]) -> dict[str, str]:
        """Return station -> on whose account its messages are kept aside."""
        if not stations:
            return {}
        found = self.conn.execute("SELECT name FROM station WHERE name = ANY(%s)", [list(stations)])
        return dict.fromkeys(stations, _STRANGERS) | {name: name for (name,) in found}

    def _used(self, accounts: set[str]) -> Counter[str]:
        """Return the bytes that accounts have aside: counted by the database now and then, added up in between."""
        now = self.monotonic()
        asked = [account for account in accounts if self._aside.get(account, (0, now))[1] <= now]
        if asked:
            found = dict(self.conn.execute(_KEPT_ASIDE, [_LEAST_BYTES, asked]).fetchall())
            if _STRANGERS in asked:
                ((found[_STRANGERS],),) = self.conn.execute(_KEPT_OF_STRANGERS, [_LEAST_BYTES]).fetchall()
            self._aside |= {account: (int(found.get(account, 0)), now + _COUNTED_S) for account in asked}
        return Counter({account: self._aside[account][0] for account in accounts})

    def _shared_out(
        self, said: Sequence[Contents], accounts: Mapping[str, str], used: Counter[str]
    ) -> tuple[list[Contents], list[Contents], set[str]]:
        """Return the messages to keep, those beyond their account's quota, and such accounts; `used` grows."""
        kept: list[Contents] = []
        refused: list[Contents] = []
        for c in said:
            if c.reason is None:
                kept.append(c)
                continue
            account, size = accounts[c.message.station], max(len(c.message.payload), _LEAST_BYTES)
            over = used[account] + size > self.aside_quota
            used[account] += 0 if over else size
            (refused if over else kept).append(c)
        return kept, refused, {accounts[c.message.station] for c in refused}

    def _require_days(self, needed: set[int]) -> None:
        if self._days is not None and not needed <= self._days:
            self._days = partition.create(self.conn, needed)

    # --- the transaction ----------------------------------------------------------------------

    def _enter_all(self, said: list[Contents], ids: Mapping[_Key, int] | None = None) -> tuple[list[Result], Written]:
        """Enter messages together; where one of them is poison, halve until it is alone and set it aside."""
        results: list[Result] = []
        written = Written()
        for group, outcome in self._halving(said, ids):
            results += group
            written += outcome
        return results, written

    def _halving(self, said: list[Contents], ids: Mapping[_Key, int] | None) -> Iterator[tuple[list[Result], Written]]:
        if not said:
            return
        try:
            yield self._patiently(said, ids)
        except Exception as error:
            if passing(error) or (len(said) == 1 and said[0].reason is not None):
                raise
            log.warning(
                "a transaction of %d messages failed: %s",
                len(said),
                clean(str(error)),
                extra={"event": "transaction_failed"},
            )
            half = len(said) // 2
            if half:
                yield from self._halving(said[:half], ids)
                yield from self._halving(said[half:], ids)
            else:
                refused = said[0].aside(f"the database refused it: {type(error).__name__}: {error}")
                yield from self._halving([refused], ids)

    def _patiently(self, said: list[Contents], ids: Mapping[_Key, int] | None) -> tuple[list[Result], Written]:
        """Enter messages, again where the transaction met another or a day was dropped."""
        for left in reversed(range(_TRIES)):
            try:
                return self._enter(said, ids)
            except (
                psycopg.errors.DeadlockDetected,
                psycopg.errors.SerializationFailure,
                psycopg.errors.UniqueViolation,  # two at once said the same event, or the same number
            ):
                if left == 0:
                    raise
                time.sleep(random.uniform(0, _PAUSE))  # noqa: S311 no secret
            except psycopg.errors.CheckViolation:
                if left == 0 or self._days is None or (there := partition.existing(self.conn)) >= self._days:
                    raise
                self._days = there
        raise AssertionError

    def _enter(self, said: list[Contents], ids: Mapping[_Key, int] | None) -> tuple[list[Result], Written]:
        self._require_days({day for c in said if c.columns is not None for day in days(c.columns)})
        with self.conn.transaction():
            entered = self._enter_messages(said) if ids is None else self._enter_again(said, ids)
            for c in said:
                if c.event is not None and _key(c) in entered:
                    self._enter_event(c, c.event, entered[_key(c)])
            written = self._table.write(rows(self._parts(said, entered), self._directory), clock=self.monotonic())
        return self._results(said, entered), written

    def _results(self, said: Sequence[Contents], entered: Mapping[_Key, int]) -> list[Result]:
        late = [_key(c) for c in said if _key(c) not in entered]
        standing = self._standing(late) if late else {}
        results = []
        for c in said:
            if _key(c) in entered:
                results.append(Result(c, Outcome.STORED if c.reason is None else Outcome.ASIDE))
            else:  # another worker was quicker, or other bytes have its number
                results.append(Result(c, standing.get(_key(c), Outcome.REKEY), repeated=_key(c) in standing))
        return results

    def _parts(self, said: Sequence[Contents], entered: Mapping[_Key, int]) -> list[Part]:
        return [
            Part(entered[_key(c)], self._directory.instruments[c.station, c.instrument], c.columns)
            for c in said
            if c.columns is not None and _key(c) in entered
        ]

    def _enter_messages(self, said: Sequence[Contents]) -> dict[_Key, int]:
        *names, payloads = [list(column) for column in zip(*map(_origin, said), strict=True)]
        found = self.conn.execute(_ENTER, [*names, *self._fates(said), payloads])
        return {(station, digest): number for number, station, digest in found}

    def _enter_again(self, said: Sequence[Contents], ids: Mapping[_Key, int]) -> dict[_Key, int]:
        found = self.conn.execute(_ENTER_AGAIN, [[ids[_key(c)] for c in said], *self._fates(said)])
        return {(station, digest): number for number, station, digest in found}

    def _fates(self, said: Sequence[Contents]) -> list[list[Any]]:
        """Return columns t_from, t_to, readings, instrument_id, state, reason."""
        return [
            [None if c.t_from is None else instant(c.t_from) for c in said],
            [None if c.t_to is None else instant(c.t_to) for c in said],
            [0 if c.columns is None else c.columns.count for c in said],
            [None if c.reason is not None else self._directory.instruments[c.station, c.instrument] for c in said],
            ["stored" if c.reason is None else "aside" for c in said],
            [c.reason for c in said],
        ]

    def _enter_event(self, c: Contents, event: Event, message: int) -> None:
        instrument = self._directory.instruments[c.station, c.instrument]
        detail = json.dumps(clean_json(event.detail))
        self.conn.execute(_EVENT, [message, instrument, instant(event.t), event.event, detail])


def _in_order(said: Sequence[Contents], results: Mapping[_Key, Result]) -> list[Result]:
    """Return one result a message; where one was given twice, the second is a repetition."""
    ordered: list[Result] = []
    seen: set[_Key] = set()
    for c in said:
        result = results[_key(c)]
        ordered.append(replace(result, repeated=True) if _key(c) in seen and result.outcome is not None else result)
        seen.add(_key(c))
    return ordered


def _origin(c: Contents) -> tuple[Any, ...]:
    m = c.message
    return m.station, m.instrument, str(m.kind), bytes.fromhex(m.digest), c.spool, c.seq, m.payload


def _status(word: bytes) -> str:
    """Return a status message as text of a ``jsonb``."""
    try:
        return json.dumps(clean_json(json.loads(word[:_MAX_STATUS])))
    except (ValueError, RecursionError):
        return json.dumps(clean(word[:_MAX_STATUS].decode("utf-8", "replace"), limit=_MAX_STATUS))
