"""Payload bytes to numpy columns: what a message says, or the sentence why it cannot be stored.

Nothing here raises for a payload's sake, and nothing knows the database: what is wrong with a message is part of
what is returned. Batches take a fast path (msgspec); whatever that does not take is read again by
`station_agent.wire`, which alone decides what is accepted and how a refusal is worded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from ingest import mends as mending
from ingest.mends import Mend
from qc.units import QUANTITIES
from station_agent import wire
from station_agent.errors import WireError
from station_agent.wire import Batch, Event, Kind

EARLIEST: Final = 946_684_800_000
"""2000-01-01, ms since 1970: no instrument of a network is older, a clock that is not set is."""
LATEST_AHEAD: Final = 86_400_000
"""ms a time may lie ahead of the server's clock."""
MAX_TEXT: Final = 200
"""Characters a name, port or spool id may have: they stand in indexes."""
MAX_REASON: Final = 1000
MAX_DAYS: Final = 400
"""Days one message may touch: each may need a partition."""
LINE_REJECTED: Final = "line_rejected"
DAY: Final = 86_400_000
"""ms."""
_LONG_NAME: Final = 60
"""Characters of a long name that stay readable; its digest stands for the rest."""


class State(NamedTuple):
    """What an instrument said about a sample beside its values."""

    port: str | None
    status: int | None
    mark: int


@dataclass(frozen=True, slots=True)
class Message:
    """A payload as it came, under the names its topic says."""

    station: str
    instrument: str
    kind: Kind
    payload: bytes
    digest: str

    @classmethod
    def received(cls, topic: wire.Topic, payload: bytes) -> Message:
        """Return the message that came in under a topic."""
        return cls(
            storable_name(topic.station), storable_name(topic.instrument), topic.kind, payload, wire.digest(payload)
        )


@dataclass(frozen=True, slots=True)
class Columns:
    """A batch in columns.

    Parameters
    ----------
    t
        int64 (n,): times, ms since 1970 UTC.
    quantities
        The k quantities.
    values
        float64 (k, n): their values in the units of `qc.units`; NaN is missing.
    states
        The distinct states.
    state
        intp (n,): which of them each sample has.
    """

    t: NDArray[np.int64]
    quantities: tuple[str, ...]
    values: NDArray[np.float64]
    states: tuple[State, ...]
    state: NDArray[np.intp]

    @property
    def count(self) -> int:
        """How many values there are that are not missing."""
        return self.values.size - int(np.isnan(self.values).sum())

    def take(self, kept: NDArray[np.bool_]) -> Columns:
        """Return the same with those values alone that are chosen, (k, n)."""
        return self if kept.all() else replace(self, values=np.where(kept, self.values, np.nan))


@dataclass(frozen=True, slots=True)
class Contents:
    """What a message says, after its mends.

    Parameters
    ----------
    message
        As it came.
    station, instrument
        Whose it is.
    spool, seq
        Where it was frozen; None where the payload does not say, or not so that it can be kept.
    stated_seq
        The number as the payload says it, for the acknowledgement.
    t_from, t_to
        First and last time, ms since 1970; None where there is none that can be.
    body
        Its columns or its event; None where it cannot be read.
    reason
        One sentence why it has to be kept aside; None where it may be stored.
    """

    message: Message
    station: str
    instrument: str
    spool: str | None = None
    seq: int | None = None
    stated_seq: int | None = None
    t_from: int | None = None
    t_to: int | None = None
    body: Columns | Event | None = None
    reason: str | None = None

    @property
    def columns(self) -> Columns | None:
        """Its columns, where it may be stored and has any."""
        return self.body if self.reason is None and isinstance(self.body, Columns) else None

    @property
    def event(self) -> Event | None:
        """Its event, where it may be stored and is one."""
        return self.body if self.reason is None and isinstance(self.body, Event) else None

    def aside(self, reason: str) -> Contents:
        """Return the same, to be kept aside for this reason."""
        return replace(self, reason=clean(reason))


# --- texts that a database can hold ----------------------------------------------------------


def clean(text: str, *, limit: int = MAX_REASON) -> str:
    """Return a text as the database can hold it: no NUL, no lone surrogate, not too long."""
    text = text.encode("utf-8", "backslashreplace").decode().replace("\0", "\u2400")
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def storable(text: str) -> bool:
    """Whether the database holds this text as it is, also in an index."""
    if len(text) > MAX_TEXT or "\0" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def storable_name(name: str) -> str:
    """Return a topic's level as the database holds it: itself, or its beginning and digest."""
    if storable(name):
        return name
    raw = name.encode("utf-8", "surrogatepass")
    return f"{clean(name, limit=_LONG_NAME)}#{wire.digest(raw)}"


def clean_json(value: Any) -> Any:
    """Return a JSON value as ``jsonb`` can hold it: texts cleaned, numbers finite."""
    if isinstance(value, str):
        return clean(value, limit=wire.MAX_DECODED)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {clean_json(key): clean_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [clean_json(item) for item in value]
    return value


# --- payloads ---------------------------------------------------------------------------------


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    v: Literal[1]
    spool: str
    seq: int
    t: list[int]
    q: dict[str, list[float | None]]
    port: list[str | None] | msgspec.UnsetType = msgspec.UNSET
    status: list[int | None] | msgspec.UnsetType = msgspec.UNSET
    mark: list[int | None] | msgspec.UnsetType = msgspec.UNSET
    host: int = 0


_decoder: Final = msgspec.json.Decoder(_Document)


@dataclass(frozen=True, slots=True)
class Read:
    """A payload that could be read: where it was frozen, and what it holds."""

    spool: str
    seq: int
    body: Columns | Event


def read(payload: bytes) -> Read:
    """Return what a payload says.

    Accepts exactly what `station_agent.wire.decode` accepts.

    Raises
    ------
    WireError
        The sentence of `station_agent.wire.decode`.
    """
    text = wire.inflate(payload)
    try:
        fast = _fast(_decoder.decode(text))
    except (msgspec.MsgspecError, UnicodeDecodeError, OverflowError, ValueError, RecursionError):
        fast = None
    return _exact(payload) if fast is None else fast


def _fast(document: _Document) -> Read | None:
    """Return the batch, or None where `wire.decode` has to look at it."""
    n = len(document.t)
    columns = list(document.q.values())
    fits = (
        1 <= document.seq < 2**63
        and 0 < n <= wire.MAX_SAMPLES
        and all(len(c) == n for c in columns)
        and all(map(wire.NAME.fullmatch, document.q))
    )
    if not fits:
        return None
    t = np.array(document.t, dtype=np.int64)
    values = np.array(columns, dtype=np.float64).reshape(len(columns), n)
    if np.isinf(values).any():
        return None
    states, state = _states(document.port, document.status, document.mark, n)
    if any(s.status is not None and not -(2**63) <= s.status < 2**63 for s in states):
        return None
    if any(not -(2**63) <= s.mark < 2**63 for s in states):
        return None
    return Read(document.spool, document.seq, _columns(t, tuple(document.q), values, states=states, state=state))


def _exact(payload: bytes) -> Read:
    decoded = wire.decode(payload)
    if isinstance(decoded, Event):
        return Read(decoded.spool, decoded.seq, decoded)
    return Read(decoded.spool, decoded.seq, _of_batch(decoded))


def _of_batch(batch: Batch) -> Columns:
    n = len(batch.t)
    values = np.array(list(batch.q.values()), dtype=np.float64).reshape(len(batch.q), n)
    states, state = _states(batch.port, batch.status, batch.mark, n)
    return _columns(np.array(batch.t, dtype=np.int64), tuple(batch.q), values, states=states, state=state)


def _columns(
    t: NDArray[np.int64],
    quantities: tuple[str, ...],
    values: NDArray[np.float64],
    *,
    states: tuple[State, ...],
    state: NDArray[np.intp],
) -> Columns:
    # A negative zero is a zero: the same number must be the same row.
    return Columns(t, quantities, values + 0.0, states, state)


def _states(port: Any, status: Any, mark: Any, n: int) -> tuple[tuple[State, ...], NDArray[np.intp]]:
    """Return the distinct states and which of them each sample has; raises ValueError unless there are n of each."""
    ports = [None] * n if port is msgspec.UNSET else port
    statuses = [None] * n if status is msgspec.UNSET else status
    marks = [0] * n if mark is msgspec.UNSET else [m or 0 for m in mark]
    codes: dict[tuple[Any, Any, Any], int] = {}
    state = [codes.setdefault(key, len(codes)) for key in zip(ports, statuses, marks, strict=True)]
    return tuple(State(*key) for key in codes), np.array(state, dtype=np.intp)


# --- messages ---------------------------------------------------------------------------------


def contents(message: Message, *, now_ms: int, mends: Sequence[Mend] = ()) -> Contents:
    """Return what a message says, or why it must be kept aside; never raises for what is in it.

    Parameters
    ----------
    message
        As it came.
    now_ms
        The server's clock, ms since 1970: times may lie one day ahead of it.
    mends
        Corrections, in order.
    """
    said = Contents(
        message,
        mending.name(mends, "station", otherwise=message.station),
        mending.name(mends, "instrument", otherwise=message.instrument),
    )
    try:
        found = read(mending.payload(message.payload, mends))
    except WireError as error:
        return said.aside(str(error))
    except Exception as error:  # noqa: BLE001 whatever a payload does, the others go on and it is kept
        return said.aside(f"payload cannot be read: {type(error).__name__}: {error}")
    said = replace(said, stated_seq=found.seq, body=found.body)
    if storable(found.spool):
        said = replace(said, spool=found.spool, seq=found.seq)
    else:
        return said.aside(f"spool id {found.spool[:80]!r} has over {MAX_TEXT} characters or some that cannot be kept")
    span = _span(found.body)
    if span[0] >= EARLIEST and span[1] <= now_ms + LATEST_AHEAD:
        said = replace(said, t_from=span[0], t_to=span[1])
    fault = _fault(said, mended=mending.changes_payload(mends), span=span, now_ms=now_ms)
    return said if fault is None else said.aside(fault)


def _span(body: Columns | Event) -> tuple[int, int]:
    if isinstance(body, Event):
        return body.t, body.t
    return int(body.t.min()), int(body.t.max())


def _fault(said: Contents, *, mended: bool, span: tuple[int, int], now_ms: int) -> str | None:
    """Return why a message that can be read cannot be stored, None where it can."""
    for level, given in (("station", said.station), ("instrument", said.instrument)):
        if not wire.NAME.fullmatch(given):
            return f"the topic's {level} {given[:80]!r} is not a valid name; map it to one with `skyledger aside mend`"
    if isinstance(said.body, Event):
        return _event_fault(said.body, said.message.kind) or _time_fault(span, now_ms)
    assert said.body is not None
    if said.message.kind is not Kind.DATA and not mended:
        return f"a batch of samples came under a topic of kind {said.message.kind!s}, expected data"
    return _columns_fault(said.body) or _time_fault(span, now_ms)


def _event_fault(event: Event, kind: Kind) -> str | None:
    if kind is not Kind.EVENT:
        return f"event {event.event[:80]!r} came under a topic of kind {kind!s}, expected event"
    if event.event == LINE_REJECTED:
        detail = event.detail
        return f"{detail.get('file')} line {detail.get('line')}: {detail.get('reason')}"
    if not storable(event.event):
        return f"event {event.event[:80]!r} has over {MAX_TEXT} characters or some that cannot be kept"
    return None


def _columns_fault(columns: Columns) -> str | None:
    unknown = [name for name in columns.quantities if name not in QUANTITIES]
    if unknown:
        return (
            f"quantity {', '.join(map(repr, unknown[:5]))} is not known: "
            "rename it with `skyledger aside mend`, or update the server"
        )
    ports = [state.port for state in columns.states if state.port is not None and not storable(state.port)]
    if ports:
        return f"port {ports[0][:80]!r} has over {MAX_TEXT} characters or some that cannot be kept"
    days = np.unique(columns.t // DAY).size
    if days > MAX_DAYS:
        return f"{columns.t.size} samples lie on {days} different days, expected at most {MAX_DAYS} in one message"
    return None


def _time_fault(span: tuple[int, int], now_ms: int) -> str | None:
    first, last = span
    if first < EARLIEST:
        return f"time {_date(first)} is before 2000-01-01: was the clock set?"
    if last > now_ms + LATEST_AHEAD:
        return (
            f"time {_date(last)} is more than a day ahead of the server's clock ({_date(now_ms)}): was the clock set?"
        )
    return None


def _date(ms: int) -> str:
    """Return a time as a person reads it, also one far out."""
    text = str(np.datetime64(ms, "ms"))
    return f"{text}Z"
