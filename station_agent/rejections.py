"""Lines that no sample could be made of, as events: nothing that an instrument wrote is lost."""

from __future__ import annotations

import os
import time
from typing import Final

from station_agent.config import Instrument
from station_agent.drivers.lines import Aside, Parsed
from station_agent.reading import Notice

SHOWN: Final = 8_192
"""Characters of a rejected line that are reported."""


def rejections(parsed: Parsed, *, instrument: Instrument, file: str) -> list[Notice]:
    """Return an event for each rejected line: what it takes to read the line again once it is corrected.

    Its time is that of the last sample before it (the same however often the file is read), or now.
    """
    return [_rejection(aside, instrument, file) for aside in parsed.asides]


def _rejection(aside: Aside, instrument: Instrument, file: str) -> Notice:
    rejected = aside.rejected
    detail = {
        "driver": instrument.driver,
        "options": dict(instrument.options),
        "file": os.fsencode(file).decode("utf-8", "backslashreplace"),
        "line": rejected.line,
        "header": None if aside.header is None else _storable(aside.header),
        "text": _storable(rejected.text[:SHOWN]),
        "reason": _storable(rejected.reason),
    }
    now = time.time_ns()
    if instrument.host_stamped:
        return Notice("line_rejected", now, {**detail, "arrived": now})
    return Notice("line_rejected", aside.time_ns if aside.time_ns is not None else now, detail)


def _storable(text: str) -> str:
    """Spell out NUL, which the server's database cannot keep; a file damaged by a power cut is full of it."""
    return text.replace("\0", "\\x00")
