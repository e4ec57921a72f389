"""What a consumer has seen of each station, and how long messages took: plain numbers, for `ingest.metrics`.

Memory grows with the stations of the catalogue, not with what anybody sends.
"""

from __future__ import annotations

import json
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ingest.database import Connection
from ingest.store import Entered
from station_agent.wire import Outcome

BOUNDS_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of the classes in which waiting times are counted, s."""

_KNOWN: Final = """
SELECT s.name, extract(epoch FROM m.received)::float8, extract(epoch FROM m.t_to)::float8, w.status
FROM station s
LEFT JOIN LATERAL (
    SELECT received, t_to FROM message WHERE station = s.name AND state = 'stored' ORDER BY id DESC LIMIT 1
) AS m ON true
LEFT JOIN station_status w ON w.station = s.name"""


@dataclass(frozen=True, slots=True)
class Seen:
    """One station, as far as this consumer knows.

    Parameters
    ----------
    messages, readings
        Stored by this consumer since it started (readings as the messages count them, also those that had come).
    received, reading
        When its last message came, and the newest time in any, s since 1970; None where none has come.
    lag
        How old the newest reading of the last message was when it came, s.
    status
        Its last word about itself.
    """

    messages: int = 0
    readings: int = 0
    received: float | None = None
    reading: float | None = None
    lag: float | None = None
    status: Mapping[str, Any] = field(default_factory=dict)


class Stations:
    """What has been seen of the stations of the catalogue; safe to use from several threads."""

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._seen: dict[str, Seen] = {}
        self._lock = threading.Lock()

    def learn(self, conn: Connection) -> None:
        """Learn which stations there are, and when each was heard last; one look-up a station."""
        rows = conn.execute(_KNOWN).fetchall()
        with self._lock:
            for name, received, reading, status in rows:
                said = status if isinstance(status, dict) else {}
                self._seen.setdefault(name, Seen(received=received, reading=reading, status=said))

    def note(self, entered: Entered) -> None:
        """Take in what one transaction did."""
        now = self._now()
        with self._lock:
            for result in entered.results:
                if result.outcome is Outcome.STORED and not result.repeated:
                    said = result.contents
                    seen = self._seen.get(said.station, Seen())
                    last = said.t_to / 1000 if said.columns is not None and said.t_to is not None else None
                    self._seen[said.station] = replace(
                        seen,
                        messages=seen.messages + 1,
                        readings=seen.readings + (0 if said.columns is None else said.columns.count),
                        received=now,
                        reading=seen.reading if last is None else max(last, seen.reading or last),
                        lag=seen.lag if last is None else now - last,
                    )

    def hear(self, said: Mapping[str, bytes]) -> None:
        """Take in what stations say of themselves; those that are not in the catalogue are left out."""
        with self._lock:
            for name, payload in said.items():
                if name in self._seen and (status := _document(payload)) is not None:
                    self._seen[name] = replace(self._seen[name], status=status)

    def snapshot(self) -> dict[str, Seen]:
        """Return station -> what has been seen of it."""
        with self._lock:
            return dict(self._seen)


def _document(payload: bytes) -> Mapping[str, Any] | None:
    try:
        document = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


class Waits:
    """How long messages waited, counted in classes; one thread writes at a time."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        """Messages in each class; the last has no upper bound."""
        self.total = 0.0
        """Sum, s."""

    def add(self, seconds: Iterable[float]) -> None:
        """Count waiting times, s."""
        for value in seconds:
            self.counts[bisect_left(BOUNDS_S, value)] += 1
            self.total += value
