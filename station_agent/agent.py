"""The agent: reads what is new, spools it, delivers it, and says how it is. One thread; stops when told."""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from station_agent import __version__
from station_agent.config import Config
from station_agent.delivery import Delivery
from station_agent.sources import Source
from station_agent.spool import Reading, Spool

WAIT_S: Final = 0.5
"""The longest the loop waits for anything: so soon it stops when told."""
RESUME: Final = 0.95
"""Share of the quota below which reading goes on after it had stopped."""
GOODBYE_S: Final = 3.0

log = logging.getLogger(__name__)


class Agent:
    """The loop.

    Parameters
    ----------
    config
        The station's configuration.
    spool
        Where everything goes through; stays open, the caller closes it.
    sources
        What is read.
    draw
        Source of the jitter in reconnecting.
    on_step
        Called with the name of each step of reading and sending: where a test pulls the plug.
    """

    def __init__(
        self,
        config: Config,
        spool: Spool,
        sources: Sequence[Source],
        *,
        draw: random.Random | None = None,
        on_step: Callable[[str], object] = lambda _step: None,
    ) -> None:
        self._config, self._spool, self._sources = config, spool, sources
        self._on_step = on_step
        self._started_ms = time.time_ns() // 1_000_000
        self._due = dict.fromkeys(range(len(sources)), 0.0)
        self._freeze_at: dict[str, float] = {}
        self._last: dict[str, dict[str, tuple[int, float]]] = {}
        self._read_total = self._rejected_total = 0
        self._full = False
        self._delivery = Delivery(config, spool, status=self._status, draw=draw, on_step=on_step)
        now = time.monotonic()
        for source in sources:
            if spool.pending(source.instrument.name):
                self._freeze_at[source.instrument.name] = now + config.batch.seconds

    def run(self, stop: threading.Event, *, until_drained: bool = False) -> None:
        """Read and deliver until `stop` is set.

        Parameters
        ----------
        stop
            Checked at least twice a second.
        until_drained
            Also end once everything there is has been read, sent and acknowledged.
        """
        names = ", ".join(source.instrument.name for source in self._sources)
        log.info("station %s: reading %s, %d batches waiting", self._config.station, names, self._spool.queue.batches)
        try:
            while not stop.is_set():
                thorough = until_drained and self._spool.empty
                busy = self._read_due(thorough=thorough)
                self._freeze_due(everything=until_drained and not busy and not self._full)
                if thorough and not busy and self._drained():
                    self._say_what_is_left()
                    break
                self._delivery.step(0.0 if busy else self._wait())
        finally:
            self._delivery.close(grace=GOODBYE_S)
        log.info(
            "stopped: %d samples read, %d lines kept aside, %d batches acknowledged",
            self._read_total,
            self._rejected_total,
            self._delivery.acknowledged,
        )

    def _drained(self) -> bool:
        """Whether all that was read has been acknowledged and no more is sure to come."""
        return self._spool.empty and not self._full and not any(source.expecting for source in self._sources)

    # --- reading -----------------------------------------------------------------------------

    def _read_due(self, *, thorough: bool) -> bool:
        """Read once from each source that is due; return whether any had something."""
        if self._stopped_by_quota():
            return False
        busy = False
        now = time.monotonic()
        for number, source in enumerate(self._sources):
            if now < self._due[number] and not thorough:
                continue
            reading = source.read(thorough=thorough)
            if reading is None:
                self._due[number] = now + source.instrument.poll
            else:
                busy = True
                self._store(reading)
        return busy

    def _store(self, reading: Reading) -> None:
        self._on_step("read")
        self._spool.append(reading)
        name = reading.instrument
        self._read_total += len(reading.samples)
        self._rejected_total += len(reading.notices)
        if self._spool.pending(name):
            self._freeze_at.setdefault(name, time.monotonic() + self._config.batch.seconds)
        else:
            self._freeze_at.pop(name, None)
        last = self._last.setdefault(name, {})
        for sample in reading.samples[-self._config.batch.samples :]:
            for quantity, value in sample.values.items():
                last[quantity] = sample.time_ns // 1_000_000, value

    def _freeze_due(self, *, everything: bool) -> None:
        now = time.monotonic()
        for name in [name for name, due in self._freeze_at.items() if everything or due <= now]:
            self._spool.freeze(name)
            del self._freeze_at[name]

    def _stopped_by_quota(self) -> bool:
        """Whether the spool holds so much that reading has to wait: what is not read is not lost."""
        used, quota = self._spool.used_bytes, self._config.spool.quota
        if not self._full and used >= quota:
            self._full = True
            log.error("the spool holds %d of %d bytes: reading stops until some is delivered", used, quota)
        elif self._full and used < RESUME * quota:
            self._full = False
            log.info("the spool holds %d of %d bytes: reading goes on", used, quota)
        return self._full

    def _wait(self) -> float:
        """Return how long nothing is due, s."""
        now = time.monotonic()
        due = [*self._due.values(), *self._freeze_at.values()] if not self._full else [now + WAIT_S]
        return max(0.0, min(WAIT_S, min(due, default=now + WAIT_S) - now))

    def _say_what_is_left(self) -> None:
        for source in self._sources:
            for file, size in source.remainder().items():
                log.warning(
                    "%s: %d bytes after the last line end were left: a line still being written is not read", file, size
                )

    # --- how it is ---------------------------------------------------------------------------

    def _status(self, state: str) -> bytes:
        """Return the status payload: JSON, for people and programs that watch the station."""
        document: dict[str, Any] = {"v": 1, "state": state, "version": __version__, "client": self._delivery.client_id}
        if state != "lost":
            document.update(self._condition())
        return json.dumps(document, separators=(",", ":")).encode()

    def _condition(self) -> dict[str, Any]:
        queue = self._spool.queue
        pending = sum(self._spool.pending(source.instrument.name) for source in self._sources)
        return {
            "time": time.time_ns() // 1_000_000,
            "started": self._started_ms,
            "spool": self._spool.id,
            "reading": "stopped: quota" if self._full else "on",
            "queue_batches": queue.batches,
            "queue_samples": queue.samples,
            "queue_bytes": queue.size,
            "queue_oldest": queue.oldest_ms,
            "pending_samples": pending,
            "read": self._read_total,
            "rejected": self._rejected_total,
            "acknowledged": self._delivery.acknowledged,
            "kept_aside": self._delivery.kept_aside,
            "last": self._last,
        }
