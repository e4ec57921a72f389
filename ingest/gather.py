"""Messages on their way from the broker to the database: gathered by size and time, bounded."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from ingest.decode import Contents
from station_agent.wire import Outcome

MAX_ROWS: Final = 60_000
"""Rows of one transaction: larger ones are hardly faster."""
BUSY_ROWS: Final = 12_000
"""With as many rows gathered, a short silence is enough to begin."""
MESSAGE_ROWS: Final = 64
"""Rows a message counts for itself."""
ROW_BYTES: Final = 16
"""Bytes of a payload that count as a row at least."""
LINGER: Final = 0.25
"""Seconds a message waits for others when there are few."""
SILENCE: Final = 0.01
"""Seconds without a message after which there are no more in flight."""


@dataclass(slots=True, eq=False)
class Delivery:
    """One message from the broker.

    Parameters
    ----------
    mid
        The broker's number for it, to be acknowledged; 0: none is expected.
    contents
        A data or event message, as it was read.
    status
        Or a station's word about itself: name and payload.
    outcome
        What to acknowledge to the station, once it is `done`; None: nothing.
    """

    mid: int
    contents: Contents | None = None
    status: tuple[str, bytes] | None = None
    arrived: float = 0.0
    outcome: Outcome | None = None
    done: bool = False

    @property
    def rows(self) -> int:
        """What it counts in a transaction and in memory: its values, or its bytes where those are many."""
        if self.contents is None:
            return MESSAGE_ROWS
        columns = self.contents.columns
        values = 0 if columns is None else columns.values.size
        return MESSAGE_ROWS + max(values, len(self.contents.message.payload) // ROW_BYTES)


@dataclass(slots=True)
class Inbox:
    """What has come in and is not being written yet; one thread puts, any number take.

    Parameters
    ----------
    max_rows
        Rows `take` returns at most, but for a message larger than that.
    capacity
        Rows beyond which it is `full`; putting never blocks.
    linger
        Seconds a message waits for others.
    """

    max_rows: int = MAX_ROWS
    capacity: int = 4 * MAX_ROWS
    linger: float = LINGER
    _queue: deque[Delivery] = field(init=False, default_factory=deque)
    _rows: int = field(init=False, default=0)
    _last: float = field(init=False, default=0.0)
    _closed: bool = field(init=False, default=False)
    _changed: threading.Condition = field(init=False, default_factory=threading.Condition)

    @property
    def rows(self) -> int:
        """What waits, in rows."""
        return self._rows

    @property
    def full(self) -> bool:
        """Whether to stop reading from the broker for now."""
        return self._rows >= self.capacity

    def put(self, delivery: Delivery) -> None:
        """Add a message."""
        with self._changed:
            self._last = delivery.arrived = time.monotonic()
            self._queue.append(delivery)
            self._rows += delivery.rows
            if len(self._queue) == 1 or self._rows >= self.max_rows:
                self._changed.notify()

    def close(self) -> None:
        """Let `take` return what is left without waiting, then nothing."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def take(self) -> list[Delivery]:
        """Return messages for one transaction, in order of arrival; none when it is closed and empty."""
        with self._changed:
            while (wait := self._wait(time.monotonic())) is None or wait > 0:
                self._changed.wait(wait)
            taken: list[Delivery] = []
            rows = 0
            while self._queue and (not taken or rows + self._queue[0].rows <= self.max_rows):
                rows += self._queue[0].rows
                taken.append(self._queue.popleft())
            self._rows -= rows
            if self._queue:
                self._changed.notify()
            return taken

    def _wait(self, now: float) -> float | None:
        """Return seconds to wait for more; 0: begin; None: until somebody puts something."""
        if self._closed or self._rows >= self.max_rows:
            return 0
        if not self._queue:
            return None
        left = self._queue[0].arrived + self.linger - now
        if self._rows >= BUSY_ROWS:
            left = min(left, self._last + SILENCE - now)
        return max(left, 0)
