"""Corrections to a payload: kept beside it in ``message.mend`` and applied whenever it is read, in their order.

The payload itself is never touched. A mend says what it does in one of these forms:

``{"station": NAME}``, ``{"instrument": NAME}``
    It belongs to another station or instrument than its topic says.
``{"rename": {OLD: NEW, ...}}``
    Quantities have other names.
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

from station_agent import wire
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
        A quantity cannot be renamed because the payload cannot be read or has the new name already.
    """
    for mend in mends:
        if "payload" in mend.what:
            raw = base64.b64decode(mend.what["payload"], validate=True)
        if "rename" in mend.what:
            raw = _rename(raw, mend.what["rename"])
    return raw


def replaced(raw: bytes) -> dict[str, str]:
    """Return what a mend says that puts other bytes in a payload's place."""
    return {"payload": base64.b64encode(raw).decode()}


def name(mends: Sequence[Mend], level: str, *, otherwise: str) -> str:
    """Return the station or instrument (`level`) by the last correction that says one."""
    return next((str(mend.what[level]) for mend in reversed(mends) if level in mend.what), otherwise)


def changes_payload(mends: Sequence[Mend]) -> bool:
    """Whether another payload stands in for the one that came."""
    return any("payload" in mend.what for mend in mends)


def _rename(raw: bytes, names: Mapping[str, str]) -> bytes:
    try:
        document = json.loads(wire.inflate(raw))
    except (ValueError, RecursionError) as error:
        msg = f"payload is not JSON: {error}"
        raise WireError(msg) from None
    columns = document.get("q") if isinstance(document, dict) else None
    if not isinstance(columns, dict):
        msg = "payload has no quantities to rename"
        raise WireError(msg)
    renamed: dict[str, Any] = {}
    for old, values in columns.items():
        new = names.get(old, old)
        if new in renamed:
            msg = f"quantity {old!r} cannot be renamed to {new!r}: the payload has that already"
            raise WireError(msg)
        renamed[new] = values
    text = json.dumps({**document, "q": renamed}, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return zlib.compress(text) if len(text) > wire.COMPRESS_ABOVE else text
