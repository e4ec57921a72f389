"""An instrument that is read while it measures: connected to, listened to, connected to again.

Nothing here waits: each `read` does what can be done at once. What changes is told as one event, however often
it is tried: ``instrument_connected`` with its first words, ``instrument_lost`` with the reason,
``instrument_silent`` where a connection stands and nothing that can be read comes, ``instrument_back`` after that.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import blake2b
from importlib import import_module
from typing import Any, Final, cast

from station_agent.config import Instrument
from station_agent.drivers.lines import Parsed
from station_agent.live.dialogue import Dialogue, Heard
from station_agent.live.makers import maker
from station_agent.live.port import Port, open_port
from station_agent.reading import Notice, Reading
from station_agent.rejections import rejections

LOOK_S: Final = 0.25
"""Seconds between looks, at most: an answer is not to wait."""
FIRST_S: Final = 1.0
"""Seconds before it is connected to again the first time; doubled each time, up to `LAST_S`, and jittered."""
LAST_S: Final = 60.0
PAUSED_S: Final = 5.0
"""Not having looked for so long is no silence of the instrument: the agent had stopped reading."""
STEADY_S: Final = 30.0
"""A connection that held this long starts the waiting anew when it is lost."""

log = logging.getLogger(__name__)


class LiveSource:
    """One instrument, read live.

    Parameters
    ----------
    instrument
        With a connection.
    positions
        What was stored of earlier reading: the header of a stream among it.
    draw
        Source of the jitter.
    first, last
        Bounds of the wait before connecting again, s.
    now_ns
        The clock for events, ns since 1970 UTC.
    """

    expecting = False

    def __init__(
        self,
        instrument: Instrument,
        positions: Mapping[str, Mapping[str, Any]],
        *,
        draw: random.Random | None = None,
        first: float = FIRST_S,
        last: float = LAST_S,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        assert instrument.connection is not None
        self._connection = instrument.connection
        self._label = str(self._connection.address)
        self._known_by = _known_by(instrument)
        stored = positions.get(self._label)
        if stored is not None and stored.get("driver") != self._known_by:
            stored = None
        module: Any = import_module(maker(instrument.driver).dialogue)
        self._dialogue = cast("Dialogue", module.open_dialogue(instrument, stored))
        self.instrument = replace(instrument, poll=min(LOOK_S, instrument.poll))
        # Jitter guards nothing.
        self._draw = draw or random.Random()  # noqa: S311
        self._first, self._last = first, last
        self._now_ns = now_ns
        self._port: Port | None = None
        self._opened: float | None = None
        self._understood_at = self._looked_at = 0.0
        self._failures = 0
        self._next_attempt = float("-inf")
        self._said = ""
        self._parsed, self._notices = Parsed(), list[Notice]()

    def read(self, *, thorough: bool) -> Reading | None:  # noqa: ARG002 - as every source
        """Return what has come, or None."""
        now = time.monotonic()
        if now - self._looked_at > PAUSED_S:
            self._understood_at = now
        self._looked_at = now
        if self._port is None and now >= self._next_attempt:
            self._port, self._opened = open_port(self._connection.address), None
        port = self._port
        if port is not None:
            if port.open and self._opened is None:
                self._opened = self._understood_at = now
                self._take_in(self._dialogue.begin(), now)
            if port.open:
                self._talk(port, now)
            if port.lost:
                self._lose(port.lost, now)
        return self._reading()

    def remainder(self) -> Mapping[str, int]:
        """Return the bytes after the last line end."""
        left = self._dialogue.unfinished
        return {self._label: left} if left else {}

    def close(self) -> None:
        """Close the connection."""
        if self._port is not None:
            self._port.close()
            self._port = None

    # --- inside ------------------------------------------------------------------------------

    def _talk(self, port: Port, now: float) -> None:
        data = port.receive()
        if data:
            self._take_in(self._dialogue.feed(data), now)
        question = self._dialogue.question(now)
        if question:
            port.send(question)
        silent = now - self._understood_at
        if silent > self._connection.silent and not port.lost:
            self._change("silent", "instrument_silent", {"seconds": round(silent, 1)})
            self._lose(f"nothing that can be read came for {silent:.3g} s", now)

    def _take_in(self, heard: Heard, now: float) -> None:
        if heard.understood:
            self._understood_at = now
            event = "instrument_back" if self._said == "silent" else "instrument_connected"
            self._change("connected", event, {})
        for event, detail in heard.events:
            self._tell(event, detail)
        self._parsed.samples += heard.parsed.samples
        self._parsed.asides += heard.parsed.asides
        self._parsed.lines += heard.parsed.lines

    def _lose(self, reason: str, now: float) -> None:
        """Let go of the connection, and say when the next is due."""
        port, self._port = self._port, None
        if port is not None:
            port.close()
        opened, self._opened = self._opened, None
        if opened is not None:
            self._take_in(self._dialogue.end(reason), now)
        if self._said != "silent":
            self._change("lost", "instrument_lost", {"reason": reason})
        steady = opened is not None and self._understood_at - opened >= STEADY_S
        self._failures = 0 if steady else self._failures
        wait = min(self._last, self._first * 2.0 ** min(self._failures, 20))
        self._failures += 1
        self._next_attempt = now + wait * (0.5 + 0.5 * self._draw.random())

    def _change(self, state: str, event: str, detail: Mapping[str, Any]) -> None:
        """Tell of a change, once."""
        if self._said != state:
            self._said = state
            self._tell(event, detail)

    def _tell(self, event: str, detail: Mapping[str, Any]) -> None:
        said = ", ".join(f"{key} {value}" for key, value in detail.items())
        log.info("%s at %s: %s%s", self.instrument.name, self._label, event, f" ({said})" if said else "")
        self._notices.append(Notice(event, self._now_ns(), {"address": self._label, **detail}))

    def _reading(self) -> Reading | None:
        parsed, notices = self._parsed, self._notices
        if not parsed.lines and not notices:
            return None
        self._parsed, self._notices = Parsed(), []
        notices += rejections(parsed, instrument=self.instrument, file=self._label)
        positions = {self._label: {"driver": self._known_by, **self._dialogue.state()}} if parsed.lines else {}
        return Reading(self.instrument.name, parsed.samples, notices, positions)


def _known_by(instrument: Instrument) -> str:
    """Return what a stored state is known by: it means nothing to another driver or under other options."""
    options = json.dumps(dict(instrument.options), sort_keys=True, default=str)
    return f"live:{instrument.driver}:{blake2b(options.encode(), digest_size=8).hexdigest()}"
