"""The wire between stations and the server: topics, batches, events, acknowledgements, digests.

A *batch* is some tens of samples of one instrument in columns, as JSON in UTF-8, compressed with
zlib above 1 KiB (the first byte tells them apart: ``{`` is JSON, anything else zlib)::

    {"v": 1, "spool": "<uuid>", "seq": 812, "t": [unix ms, ...],
     "q": {"co2": [...], "h2o": [...]}, "port": [...], "status": [...], "mark": [...], "host": unix ms}

``null`` is a missing value. ``port``, ``status`` and ``mark`` are left out where every entry is
missing (``mark``: zero). ``host`` is what the host's clock said when the last sample was read, left out
where that is not known: beside ``t``, which is the instrument's time, it shows how the two clocks stand.
An *event* has ``event`` and ``detail`` instead of the columns and travels the same way. The bytes are
made once and never again: whoever keeps, sends, stores or acknowledges a batch knows it by the digest
of those bytes.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, TypeVar

from station_agent.errors import WireError

if TYPE_CHECKING:
    from station_agent.sample import Sample

T = TypeVar("T")

VERSION: Final = 1
ROOT: Final = "skyledger/v1"
COMPRESS_ABOVE: Final = 1024
"""Bytes of JSON beyond which a payload is compressed."""
LEVEL: Final = 5
"""Of zlib: 43 % less work than level 6 for 0.8 % more bytes; level 4 has half of that work, but 5 % more bytes."""
MAX_DECODED: Final = 16 * 1024 * 1024
"""Bytes a payload may have when decompressed; a batch of 60 samples of 20 quantities has 20 kB."""
MAX_SAMPLES: Final = 100_000
NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
"""What a station, an instrument or a quantity may be called (it stands in topics and file names)."""


DIGEST: Final = re.compile(r"[0-9a-f]{32}")
"""What `digest` returns."""


class Kind(StrEnum):
    """The last level of a topic."""

    DATA = "data"
    EVENT = "event"
    STATUS = "status"
    ACK = "ack"
    CONFIG = "config"


class Outcome(StrEnum):
    """What the server did with a batch."""

    STORED = "stored"
    """Committed; the station may delete it."""
    ASIDE = "aside"
    """Committed as it came, but somebody has to mend it; the station may delete it."""
    REKEY = "rekey"
    """The same (spool, seq) is taken by other bytes: draw a new spool id and send again."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One decoded data payload; every column has ``len(t)`` entries.

    Parameters
    ----------
    spool, seq
        The spool the batch was frozen in and its number there (from 1).
    t
        Times, ms since 1970 UTC.
    q
        Quantity name -> values, in the units of ``qc.units``; ``None`` is missing.
    port, status, mark
        Valve position, instrument status and time marks of each sample.
    host
        The host's clock when the last of them was read, ms since 1970 UTC; None where that is not known.
    """

    spool: str
    seq: int
    t: list[int]
    q: dict[str, list[float | None]]
    port: list[str | None]
    status: list[int | None]
    mark: list[int]
    host: int | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One decoded event payload: something happened at ``t`` (ms since 1970 UTC)."""

    spool: str
    seq: int
    t: int
    event: str
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Topic:
    """A parsed topic; ``instrument`` is empty for status, ack and config."""

    station: str
    instrument: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The server's word on one payload; ``seq`` is None where the payload could not be read."""

    seq: int | None
    digest: str
    outcome: Outcome


def digest(payload: bytes) -> str:
    """Return the 32 hexadecimal digits by which these exact bytes are known (BLAKE2b, 16 bytes)."""
    return blake2b(payload, digest_size=16).hexdigest()


# --- topics ----------------------------------------------------------------------------------


def check_name(name: str, *, what: str) -> str:
    """Return `name` if it may stand in a topic, else raise WireError."""
    if not NAME.fullmatch(name):
        msg = (
            f"{what} {name[:80]!r} is not a valid name: expected 1 to 63 of a-z, 0-9, '_' and '-', "
            "starting with a letter or digit; rename it"
        )
        raise WireError(msg)
    return name


def instrument_topic(station: str, instrument: str, kind: Kind) -> str:
    """Return the topic of an instrument's data or events."""
    check_name(station, what="station")
    check_name(instrument, what="instrument")
    return f"{ROOT}/{station}/{instrument}/{kind}"


def station_topic(station: str, kind: Kind) -> str:
    """Return the topic of a station's status, acknowledgements or configuration."""
    return f"{ROOT}/{check_name(station, what='station')}/{kind}"


def parse_topic(topic: str) -> Topic:
    """Return the parts of a topic; raises WireError where it is none of ours."""
    parts = topic.split("/")
    if parts[:2] == ROOT.split("/"):
        if len(parts) == 5 and parts[4] in (Kind.DATA, Kind.EVENT):
            return Topic(parts[2], parts[3], Kind(parts[4]))
        if len(parts) == 4 and parts[3] in (Kind.STATUS, Kind.ACK, Kind.CONFIG):
            return Topic(parts[2], "", Kind(parts[3]))
    msg = f"topic {topic[:200]!r} is none of skyledger's: expected {ROOT}/STATION/INSTRUMENT/data or the like"
    raise WireError(msg)


# --- encoding --------------------------------------------------------------------------------


def _pack(document: Mapping[str, Any]) -> bytes:
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    if len(text) > MAX_DECODED:
        msg = f"a payload may have {MAX_DECODED} bytes, this one would have {len(text)}: make smaller batches"
        raise WireError(msg)
    return zlib.compress(text, LEVEL) if len(text) > COMPRESS_ABOVE else text


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def encode_batch(samples: Sequence[Sample], *, spool: str, seq: int, host_ms: int | None = None) -> bytes:
    """Freeze samples into the bytes that are stored, sent and known by their digest.

    Parameters
    ----------
    samples
        In the order they were read; a quantity a sample does not have becomes ``null``, and so
        does NaN or infinity.
    spool, seq
        The spool's id and the batch's number in it.
    host_ms
        The host's clock when the last sample was read, None where that is not known.

    Raises
    ------
    WireError
        No samples, more than `MAX_SAMPLES`, or more bytes than `MAX_DECODED`: nobody would decode them.
    """
    if not 0 < len(samples) <= MAX_SAMPLES:
        msg = f"a batch holds 1 to {MAX_SAMPLES} samples, got {len(samples)}"
        raise WireError(msg)
    rows = [s.values for s in samples]
    names = dict.fromkeys(chain.from_iterable(rows))
    document: dict[str, Any] = {
        "v": VERSION,
        "spool": spool,
        "seq": seq,
        "t": [round_ms(s.time_ns) for s in samples],
        "q": {name: [row.get(name) for row in rows] for name in names},
    }
    if any(s.port is not None for s in samples):
        document["port"] = [s.port for s in samples]
    if any(s.status is not None for s in samples):
        document["status"] = [s.status for s in samples]
    if any(s.mark for s in samples):
        document["mark"] = [s.mark for s in samples]
    if host_ms is not None:
        document["host"] = host_ms
    try:
        return _pack(document)
    except ValueError:  # a NaN or infinity among them
        document["q"] = {name: [_number(value) for value in column] for name, column in document["q"].items()}
        return _pack(document)


def encode_event(event: str, *, spool: str, seq: int, time_ns: int, detail: Mapping[str, Any]) -> bytes:
    """Freeze one event; `detail` must be plain JSON."""
    return _pack(
        {"v": VERSION, "spool": spool, "seq": seq, "t": round_ms(time_ns), "event": event, "detail": dict(detail)}
    )


def reencode(payload: bytes, *, spool: str, seq: int) -> bytes:
    """Return the same samples or event under another spool id and number: other bytes, another digest.

    Raises
    ------
    WireError
        The payload cannot be read.
    """
    decode(payload)
    return _pack({**json.loads(inflate(payload)), "spool": spool, "seq": seq})


def round_ms(time_ns: int) -> int:
    """Return ms since 1970 from ns, rounding half up."""
    return (time_ns + 500_000) // 1_000_000


# --- decoding --------------------------------------------------------------------------------


def inflate(payload: bytes) -> bytes:
    """Return the JSON text of a payload; raises WireError where it is broken or too large."""
    if payload[:1] == b"{":
        text = payload
    else:
        unpack = zlib.decompressobj()
        try:
            text = unpack.decompress(payload, MAX_DECODED + 1)
        except zlib.error as error:
            msg = f"payload of {len(payload)} bytes is neither JSON nor zlib ({error}); first bytes {payload[:16]!r}"
            raise WireError(msg) from None
        if len(text) <= MAX_DECODED and (not unpack.eof or unpack.unused_data):
            msg = f"payload of {len(payload)} bytes is cut short or has bytes after its end"
            raise WireError(msg)
    if len(text) > MAX_DECODED:
        msg = f"payload of {len(payload)} bytes unpacks to more than {MAX_DECODED} bytes"
        raise WireError(msg)
    return text


def decode(payload: bytes) -> Batch | Event:
    """Return what a data or event payload says; raises WireError in one sentence."""
    text = inflate(payload)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        msg = f"payload is not JSON: {error}"
        raise WireError(msg) from None
    if not isinstance(document, dict):
        msg = f"payload is a JSON {type(document).__name__}, expected an object"
        raise WireError(msg)
    version = document.get("v")
    if version != VERSION or isinstance(version, bool):
        msg = f"payload has version {version!r}, this server reads {VERSION}; update the server or the agent"
        raise WireError(msg)
    return _event(document) if "event" in document else _batch(document)


def decode_batch(payload: bytes) -> Batch:
    """Return the batch in a data payload; raises WireError in one sentence."""
    decoded = decode(payload)
    if isinstance(decoded, Event):
        msg = f"payload is an event ({decoded.event!r}), expected a batch of samples"
        raise WireError(msg)
    return decoded


def _field(document: Mapping[str, Any], key: str, kind: type[T]) -> T:
    value = document.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        msg = f"payload key {key!r} is {type(value).__name__}, expected {kind.__name__}"
        raise WireError(msg)
    return value


def _integer(document: Mapping[str, Any], key: str, *, minimum: int) -> int:
    value = _field(document, key, int)
    if not minimum <= value < 2**63:
        msg = f"payload key {key!r} is {value}, expected {minimum} to 2^63 - 1"
        raise WireError(msg)
    return value


def _event(document: Mapping[str, Any]) -> Event:
    return Event(
        spool=_field(document, "spool", str),
        seq=_integer(document, "seq", minimum=1),
        t=_integer(document, "t", minimum=-(2**63)),
        event=_field(document, "event", str),
        detail=_field(document, "detail", dict),
    )


def _column(values: Any, key: str, size: int, kinds: tuple[type, ...]) -> list[Any]:
    if not isinstance(values, list) or len(values) != size:
        got = f"{len(values)} entries" if isinstance(values, list) else type(values).__name__
        msg = f"payload column {key!r} has {got}, expected {size} as in 't'"
        raise WireError(msg)
    for i, value in enumerate(values):
        if value is None:
            continue
        if not isinstance(value, kinds) or isinstance(value, bool):
            msg = f"payload column {key!r} has {value!r} at {i}, expected {kinds[0].__name__} or null"
            raise WireError(msg)
        if float not in kinds and isinstance(value, int) and not -(2**63) <= value < 2**63:
            msg = f"payload column {key!r} has {value!r} at {i}, beyond 64 bits"
            raise WireError(msg)
    return values


def _float(value: float | None, key: str, i: int) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        msg = f"payload column {key!r} has a number at {i} that is not finite; a missing value is null"
        raise WireError(msg)
    return number


def _batch(document: Mapping[str, Any]) -> Batch:
    spool = _field(document, "spool", str)
    seq = _integer(document, "seq", minimum=1)
    times = _field(document, "t", list)
    size = len(times)
    if not 0 < size <= MAX_SAMPLES:
        msg = f"payload has {size} samples, expected 1 to {MAX_SAMPLES}"
        raise WireError(msg)
    if None in _column(times, "t", size, (int,)):
        msg = "payload column 't' has a null, every sample needs its time"
        raise WireError(msg)
    q: dict[str, list[float | None]] = {}
    for name, values in _field(document, "q", dict).items():
        check_name(name, what="quantity")
        column = _column(values, name, size, (float, int))
        q[name] = [_float(value, name, i) for i, value in enumerate(column)]
    missing = [None] * size
    mark = _column(document.get("mark", [0] * size), "mark", size, (int,))
    return Batch(
        spool=spool,
        seq=seq,
        t=times,
        q=q,
        port=_column(document.get("port", missing), "port", size, (str,)),
        status=_column(document.get("status", missing), "status", size, (int,)),
        mark=[m or 0 for m in mark],
        host=_integer(document, "host", minimum=-(2**63)) if "host" in document else None,
    )


# --- acknowledgements ------------------------------------------------------------------------


def encode_acknowledgements(items: Iterable[Acknowledgement]) -> bytes:
    """Return ``[[seq, digest, outcome], ...]`` as JSON: what one transaction did."""
    return json.dumps([[a.seq, a.digest, a.outcome] for a in items], separators=(",", ":")).encode()


def decode_acknowledgements(payload: bytes) -> list[Acknowledgement]:
    """Return the acknowledgements in a payload of the ack topic; raises WireError.

    An entry without a digest, or with an outcome that only a newer server knows, is left out: it says nothing
    about the others, and its batch is sent again.
    """
    try:
        rows = [(seq, key, outcome) for seq, key, outcome in json.loads(payload)]
    except (ValueError, TypeError, RecursionError) as error:
        msg = f"acknowledgement is not [[seq, digest, outcome], ...]: {error}"
        raise WireError(msg) from None
    return [Acknowledgement(seq, key, Outcome(outcome)) for seq, key, outcome in rows if _known(key, outcome)]


def _known(key: Any, outcome: Any) -> bool:
    return isinstance(key, str) and DIGEST.fullmatch(key) is not None and outcome in list(Outcome)
