"""How the agent is: the retained status document, and the same as a text file for node_exporter.

The document is JSON: ``v``, ``state`` (``online``, ``stopped``, ``lost``), ``version``, ``client``; unless it is the
will (``lost``, which the broker says when the agent no longer can), also what `Health.document` names. Times are ms
since 1970 UTC.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from station_agent import __version__
from station_agent.batches import Queue
from station_agent.clock import kernel
from station_agent.config import Config, Instrument
from station_agent.reading import Reading

MOST_SEEN: Final = 600
"""Samples at the end of a reading that are looked at: after an outage a reading has many, and only the last count."""


@dataclass(frozen=True, slots=True)
class ClockState:
    """What the system knows of its clock.

    Parameters
    ----------
    synchronised
        Whether something keeps it right; None where the system does not say.
    offset_s
        The correction still being made, s: what is left of the last measured offset.
    source
        Where this was asked.
    """

    synchronised: bool | None
    offset_s: float | None
    source: str


def clock_state() -> ClockState:
    """Ask the kernel how the clock is kept (``adjtimex``, changing nothing)."""
    said = kernel()
    return ClockState(None, None, "unknown") if said is None else ClockState(said.synchronised, said.offset, "adjtimex")


@dataclass(frozen=True, slots=True)
class Transport:
    """What the spool and the delivery have to say.

    Parameters
    ----------
    client, spool
        The MQTT client's id, the spool's id.
    queue, pending
        What waits to be delivered, and how many samples wait for their batch to fill.
    used_bytes
        Of the spool.
    connected
        Whether there is a connection.
    acknowledged, kept_aside
        Batches the server has acknowledged in this process, and those of them it keeps aside.
    reading
        ``on``, or why reading has stopped.
    lost_samples
        Given up for the quota since the spool was made.
    """

    client: str
    spool: str
    queue: Queue
    pending: int
    used_bytes: int
    connected: bool
    acknowledged: int
    kept_aside: int
    reading: str
    lost_samples: int = 0


class Health:
    """What is remembered of what was read, and the documents made of it.

    Parameters
    ----------
    config
        The configuration in force.
    now_ms
        When the agent started, ms since 1970 UTC.
    """

    def __init__(self, config: Config, *, now_ms: int) -> None:
        self._config = config
        self._started_ms = now_ms
        self._started = time.monotonic()
        self.read = self.rejected = 0
        self.refused = config.pushed.refused if config.pushed else None
        """The last pushed configuration that was refused."""
        self._last: dict[str, dict[str, tuple[int, float]]] = {}
        self._status: dict[str, dict[str, Any]] = {}

    def note(self, reading: Reading) -> None:
        """Remember the last value of each quantity, and since when an instrument has its status."""
        self.read += len(reading.samples)
        self.rejected += sum(notice.event == "line_rejected" for notice in reading.notices)
        last = self._last.setdefault(reading.instrument, {})
        for sample in reading.samples[-MOST_SEEN:]:
            ms = sample.time_ns // 1_000_000
            for quantity, value in sample.values.items():
                last[quantity] = ms, value
            if sample.status is not None:
                self._note_status(reading.instrument, sample.status, ms)

    def _note_status(self, name: str, word: int, ms: int) -> None:
        known = self._status.get(name)
        if known is None or known["word"] != word:
            normal = self._normal(name)
            known = self._status[name] = {"word": word, "since": ms, "alarm": bool(normal) and word not in normal}
        known["time"] = ms

    def _normal(self, name: str) -> tuple[int, ...]:
        found: Instrument | None = next((entry for entry in self._config.instruments if entry.name == name), None)
        return found.normal_status if found else ()

    def document(
        self, state: str, transport: Transport, *, clock: ClockState, more: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the status document.

        Parameters
        ----------
        state
            ``online``, ``stopped`` or ``lost``.
        transport
            What the spool and the delivery say.
        clock
            How the clock is kept.
        more
            What other parts of the agent add: a key each.
        """
        document: dict[str, Any] = {"v": 1, "state": state, "version": __version__, "client": transport.client}
        if state == "lost":
            return document
        queue, pushed = transport.queue, self._config.pushed
        return document | {
            "time": time.time_ns() // 1_000_000,
            "started": self._started_ms,
            "uptime_s": round(time.monotonic() - self._started),
            "config": self._config.digest,
            "config_pushed": pushed.id if pushed else None,
            "config_refused": self.refused,
            "spool": transport.spool,
            "reading": transport.reading,
            "connected": transport.connected,
            "queue_batches": queue.batches,
            "queue_samples": queue.samples,
            "queue_bytes": queue.size,
            "queue_oldest": queue.oldest_ms,
            "pending_samples": transport.pending,
            "used_bytes": transport.used_bytes,
            "quota_bytes": self._config.spool.quota,
            "disk_free": disk_free(self._config.spool.path),
            "clock": {"synchronised": clock.synchronised, "offset_s": clock.offset_s, "source": clock.source},
            "read": self.read,
            "rejected": self.rejected,
            "acknowledged": transport.acknowledged,
            "kept_aside": transport.kept_aside,
            "lost_samples": transport.lost_samples,
            "last": self._last,
            "status": self._status,
            **(more or {}),
        }


def disk_free(path: Path) -> int | None:
    """Return the bytes free for this user where a file lies or would lie, None where that cannot be asked."""
    try:
        found = os.statvfs(path.resolve().parent)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def encoded(document: Mapping[str, Any]) -> bytes:
    """Return the status payload."""
    return json.dumps(document, separators=(",", ":")).encode()


# --- node_exporter ---------------------------------------------------------------------------

_GAUGES: Final = (
    ("time", 1e-3, "time_seconds", "When this was written, since 1970."),
    ("started", 1e-3, "start_time_seconds", "When the agent started, since 1970."),
    ("connected", 1, "connected", "Whether the broker has accepted the connection."),
    ("queue_batches", 1, "queue_batches", "Batches that wait to be acknowledged."),
    ("queue_samples", 1, "queue_samples", "Samples in them."),
    ("queue_bytes", 1, "queue_bytes", "Bytes of them."),
    ("queue_oldest", 1e-3, "queue_oldest_seconds", "When the oldest of them was frozen, since 1970."),
    ("pending_samples", 1, "pending_samples", "Samples that wait for their batch to fill."),
    ("used_bytes", 1, "spool_used_bytes", "Bytes of the spool in use."),
    ("quota_bytes", 1, "spool_quota_bytes", "Bytes the spool may have."),
    ("disk_free", 1, "disk_free_bytes", "Bytes free where the spool lies."),
)
_COUNTERS: Final = (
    ("read", "read_samples_total", "Samples read since the start."),
    ("rejected", "rejected_lines_total", "Lines no sample could be made of since the start."),
    ("acknowledged", "acknowledged_batches_total", "Batches the server has acknowledged since the start."),
    ("kept_aside", "kept_aside_batches_total", "Those of them that the server keeps aside."),
    ("lost_samples", "lost_samples_total", "Samples given up for the quota since the spool was made."),
)


def exposition(document: Mapping[str, Any], *, station: str) -> str:
    """Return the document's numbers in Prometheus's text format; what is not known is left out."""
    where = f'station="{station}"'  # a station's and an instrument's name have nothing to escape
    lines: list[str] = []
    for key, factor, name, about in _GAUGES:
        if document[key] is not None:
            _metric(lines, name, "gauge", about, {where: document[key] * factor})
    for key, name, about in _COUNTERS:
        _metric(lines, name, "counter", about, {where: document[key]})
    _metric(lines, "reading", "gauge", "Whether instruments are read.", {where: int(document["reading"] == "on")})
    clock = document["clock"]
    if clock["synchronised"] is not None:
        held = {where: int(clock["synchronised"])}
        _metric(lines, "clock_synchronised", "gauge", "Whether something keeps the clock right.", held)
        _metric(lines, "clock_offset_seconds", "gauge", "The correction being made.", {where: clock["offset_s"]})
    last = {
        f'{where},instrument="{name}",quantity="{quantity}"': pair
        for name, quantities in document["last"].items()
        for quantity, pair in quantities.items()
    }
    times = {labels: ms / 1000 for labels, (ms, _) in last.items()}
    _metric(lines, "last_reading_seconds", "gauge", "Time of the last value, since 1970.", times)
    _metric(lines, "last_reading", "gauge", "The last value.", {labels: value for labels, (_, value) in last.items()})
    alarms = {f'{where},instrument="{name}"': int(word["alarm"]) for name, word in document["status"].items()}
    _metric(lines, "instrument_alarm", "gauge", "Whether the status word is not a normal one.", alarms)
    return "".join(f"{line}\n" for line in lines)


def _metric(lines: list[str], name: str, kind: str, about: str, values: Mapping[str, float]) -> None:
    if not values:
        return
    full = f"station_agent_{name}"
    lines += [f"# HELP {full} {about}", f"# TYPE {full} {kind}"]
    lines += [f"{full}{{{labels}}} {value!r}" for labels, value in values.items()]
