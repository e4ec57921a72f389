"""Corrections to a payload: kept beside it in ``message.mend`` and applied whenever it is read, in their order.

The payload itself is never touched. A mend says what it does in one of these forms:

``{"station": NAME}``, ``{"instrument": NAME}``
    It belongs to another station or instrument than its topic says.
``{"rename": {OLD: NEW, ...}}``
    Quantities have other names.
``{"unit": {QUANTITY: UNIT, ...}}``
    The values of these quantities (by their names after renaming) are in another unit than they should be.
``{"shift": SECONDS}``
    All its times are wrong by as much: a clock was not set.
``{"without": [FROM, TO], "of": [QUANTITY, ...]}``, or ``"with"``
    Values of these quantities at or after FROM and before TO (ms since 1970) do not count: a file took their place; or
    do so again.
``{"payload": BASE64}``
    These bytes are what it should have been; with ``{"line": TEXT}`` they were made from a corrected line.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from station_agent import wire
from station_agent.drivers.quantities import conversion
from station_agent.errors import WireError


@dataclass(frozen=True, slots=True)
class Mend:
    """One correction: by whom, when (ISO 8601), why, and what it changes."""

    who: str
    when: str
    why: str
    what: Mapping[str, Any]

    def document(self) -> dict[str, Any]:
        """Return it as it is kept in the store."""
        return {"who": self.who, "when": self.when, "why": self.why, "what": dict(self.what)}

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Mend:
        """Return the correction the store holds."""
        return cls(document["who"], document["when"], document["why"], document["what"])


def payload(raw: bytes, mends: Sequence[Mend]) -> bytes:
    """Return the bytes to read instead of `raw`.

    Raises
    ------
    WireError
        A correction does not fit the payload.
    """
    for mend in mends:
        what = mend.what
        if "payload" in what:
            raw = base64.b64decode(what["payload"], validate=True)
        if what.keys() & {"rename", "unit", "shift"}:
            document = _document(raw)
            document = _rename(document, what["rename"]) if "rename" in what else document
            document = _convert(document, what["unit"]) if "unit" in what else document
            document = _shift(document, what["shift"]) if "shift" in what else document
            raw = _packed(document)
    return raw


def replaced(raw: bytes) -> dict[str, str]:
    """Return what a mend says that puts other bytes in a payload's place."""
    return {"payload": base64.b64encode(raw).decode()}


def name(mends: Sequence[Mend], level: str, *, otherwise: str) -> str:
    """Return the station or instrument (`level`) by the last correction that says one."""
    return next((str(mend.what[level]) for mend in reversed(mends) if level in mend.what), otherwise)


def kept(times: NDArray[np.int64], quantities: Sequence[str], mends: Sequence[Mend]) -> NDArray[np.bool_]:
    """Return (k, n) which values of a message count: of k quantities at n times, ms since 1970."""
    count = np.ones((len(quantities), times.size), dtype=bool)
    for mend in mends:
        for word, value in (("without", False), ("with", True)):
            if word in mend.what:
                first, until = mend.what[word]
                concerned = np.isin(np.array(quantities, dtype=np.str_), mend.what["of"])
                count[np.ix_(concerned, (times >= first) & (times < until))] = value
    return count


def changes_payload(mends: Sequence[Mend]) -> bool:
    """Whether another payload stands in for the one that came."""
    return any("payload" in mend.what for mend in mends)


def _document(raw: bytes) -> dict[str, Any]:
    try:
        document = json.loads(wire.inflate(raw))
    except (ValueError, RecursionError) as error:
        msg = f"payload is not JSON: {error}"
        raise WireError(msg) from None
    if not isinstance(document, dict):
        msg = "payload is no object that could be mended"
        raise WireError(msg)
    return document


def _packed(document: Mapping[str, Any]) -> bytes:
    text = json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return zlib.compress(text) if len(text) > wire.COMPRESS_ABOVE else text


def _columns(document: Mapping[str, Any]) -> dict[str, Any]:
    columns = document.get("q")
    if not isinstance(columns, dict):
        msg = "payload has no quantities to mend"
        raise WireError(msg)
    return columns


def _rename(document: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    renamed: dict[str, Any] = {}
    for old, values in _columns(document).items():
        new = names.get(old, old)
        if new in renamed:
            msg = f"quantity {old!r} cannot be renamed to {new!r}: the payload has that already"
            raise WireError(msg)
        renamed[new] = values
    return {**document, "q": renamed}


def _convert(document: dict[str, Any], units: Mapping[str, str]) -> dict[str, Any]:
    columns = dict(_columns(document))
    for quantity, unit in units.items():
        if quantity not in columns:
            msg = f"quantity {quantity!r} is not in the payload, which has {', '.join(columns)}"
            raise WireError(msg)
        how = conversion(quantity, unit)
        if isinstance(how, str):
            raise WireError(how)
        factor, offset = how
        columns[quantity] = [_converted(value, factor, offset) for value in columns[quantity]]
    return {**document, "q": columns}


def _converted(value: Any, factor: float, offset: float) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value * factor + offset if number else value


def _shift(document: dict[str, Any], seconds: float) -> dict[str, Any]:
    times, by = document.get("t"), round(seconds * 1000)
    if isinstance(times, list):
        return {**document, "t": [time + by if isinstance(time, int) else time for time in times]}
    if isinstance(times, int):
        return {**document, "t": times + by}
    msg = "payload has no times to shift"
    raise WireError(msg)
