"""Figures of a running consumer in Prometheus's format.

What is counted per station comes from the consumer that stored it: with several workers on one subscription take
``sum by (station)`` of what is counted and ``max by (station)`` of times.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import psycopg
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from ingest.consumer import Consumer
from ingest.database import connect
from ingest.errors import StoreError
from ingest.watch import BOUNDS_S, Seen, Waits

log: Final = logging.getLogger(__name__)

ASK_S: Final = 30.0
"""Seconds between two questions to the database, however often figures are asked for."""
MOST_BEHIND: Final = 100_000
"""Messages a job may be behind; more are counted as so many."""

_ASIDE: Final = "SELECT station, count(*) FROM message WHERE state = 'aside' GROUP BY station"
_FEED: Final = """
SELECT consumer, (SELECT count(*) FROM (
    SELECT FROM message WHERE state = 'stored' AND readings > 0 AND xid >= c.xid LIMIT %s) AS m),
    extract(epoch FROM moved)::float8
FROM feed_cursor c"""

_OF_STATUS: Final = (
    ("queue_batches", ("queue_batches",), 1, "Batches that wait at the station to be acknowledged."),
    ("queue_oldest_timestamp_seconds", ("queue_oldest",), 1e-3, "When the oldest of them was frozen, since 1970."),
    ("spool_used_bytes", ("used_bytes",), 1, "Bytes of the station's spool in use."),
    ("spool_quota_bytes", ("quota_bytes",), 1, "Bytes the station's spool may have."),
    ("disk_free_bytes", ("disk_free",), 1, "Bytes free where the spool lies."),
    ("lost_samples", ("lost_samples",), 1, "Samples the station gave up for its quota."),
    ("clock_offset_seconds", ("clock", "offset_s"), 1, "Correction the station's clock is being given."),
    ("status_timestamp_seconds", ("time",), 1e-3, "When the station said all this, by its own clock, since 1970."),
)
"""Name -> where it stands in a station's status, factor, help."""


class Figures(Collector):
    """Makes the figures whenever somebody asks.

    Parameters
    ----------
    consumer
        Whose.
    """

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._conn: psycopg.Connection[Any] | None = None
        self._asked: float | None = None
        self._from_database: list[Metric] = []
        self._lock = threading.Lock()

    def close(self) -> None:
        """Give the connection back."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._conn is not None:
            self._conn.close()
            self._conn = None

    def describe(self) -> list[Metric]:
        """Return nothing: registering must not ask the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield all figures."""
        yield from self._counts()
        yield from _stations(self._consumer.stations.snapshot())
        yield from self._database()

    # --- the consumer -------------------------------------------------------------------------

    def _counts(self) -> Iterator[Metric]:
        consumer, tally = self._consumer, self._consumer.tally
        messages = {name: getattr(tally, name) for name in ("stored", "aside", "rekeyed", "repeated", "refused")}
        yield _counter("ingest_messages", "Messages, by what became of them.", "outcome", messages)
        rows = {"new": tally.rows_new, "same": tally.rows_same, "aside": tally.rows_aside}
        yield _counter("ingest_rows", "Values: new, there already, another one there already.", "fate", rows)
        yield _counter("ingest_transactions", "Transactions.", None, tally.transactions)
        yield _counter("ingest_connections", "Times the broker was connected to.", None, tally.connections)
        yield _gauge("ingest_connected", "Whether the broker is connected to.", None, consumer.connected)
        yield _gauge("ingest_waiting_rows", "What waits to be written, in rows.", None, consumer.waiting_rows)
        about = "Age of the oldest message the broker has not been told is stored."
        yield _gauge("ingest_oldest_unacknowledged_seconds", about, None, consumer.oldest_unacknowledged_s)
        if consumer.last_commit is not None:
            about = "When messages were last committed, since 1970."
            yield _gauge("ingest_last_commit_timestamp_seconds", about, None, consumer.last_commit)
        yield _histogram(consumer.waits)

    # --- the database -------------------------------------------------------------------------

    def _database(self) -> list[Metric]:
        """Return what only the database knows, asked now and then."""
        with self._lock:  # two may ask at once
            if self._asked is None or time.monotonic() - self._asked >= ASK_S:
                self._from_database = self._ask()
                self._asked = time.monotonic()
            return self._from_database

    def _ask(self) -> list[Metric]:
        try:
            if self._conn is None:
                self._conn = connect(self._consumer.dsn)
                self._conn.execute("SET statement_timeout = '5s'")
            self._consumer.stations.learn(self._conn)
            aside = dict(self._conn.execute(_ASIDE).fetchall())
            jobs = self._conn.execute(_FEED, [MOST_BEHIND]).fetchall()
        except (psycopg.Error, StoreError) as error:
            log.warning("the database cannot be asked for metrics: %s", error, extra={"event": "database_unanswered"})
            self._close()
            return [_gauge("database_up", "Whether the database answers.", None, 0)]
        return [
            _gauge("database_up", "Whether the database answers.", None, 1),
            _gauge("aside_messages", "Messages kept aside, to be mended.", "station", aside),
            _gauge(
                "feed_behind_messages",
                f"Messages a job has not seen, up to {MOST_BEHIND}.",
                "consumer",
                {name: behind for name, behind, _ in jobs},
            ),
            _gauge(
                "feed_moved_timestamp_seconds",
                "When a job last looked for what is new, since 1970.",
                "consumer",
                {name: moved for name, _, moved in jobs},
            ),
        ]


def _stations(seen: Mapping[str, Seen]) -> Iterator[Metric]:
    def each(name: str) -> dict[str, float]:
        found = {station: getattr(one, name) for station, one in seen.items()}
        return {station: value for station, value in found.items() if value is not None}

    yield _counter("station_messages", "Messages stored.", "station", each("messages"))
    yield _counter("station_readings", "Values in them.", "station", each("readings"))
    yield _gauge("station_known", "Whether it is in the catalogue.", "station", dict.fromkeys(seen, 1))
    about = "When its last message came, since 1970."
    yield _gauge("station_last_message_timestamp_seconds", about, "station", each("received"))
    about = "Newest time of its readings, since 1970."
    yield _gauge("station_last_reading_timestamp_seconds", about, "station", each("reading"))
    yield _gauge("station_lag_seconds", "Age of its newest reading when that came.", "station", each("lag"))
    online = {name: int(one.status.get("state") == "online") for name, one in seen.items() if one.status}
    yield _gauge("station_online", "Whether it says that it runs, and the broker that it is there.", "station", online)
    reads = {name: int(one.status["reading"] == "on") for name, one in seen.items() if "reading" in one.status}
    yield _gauge("station_reading", "Whether its instruments are read.", "station", reads)
    for name, path, factor, about in _OF_STATUS:
        values = {station: _number(one.status, path) for station, one in seen.items()}
        yield _gauge(f"station_{name}", about, "station", {s: factor * v for s, v in values.items() if v is not None})


def _number(status: Mapping[str, Any], path: tuple[str, ...]) -> float | None:
    """Return a number of a status, None where it says something else: anybody may have written it."""
    found: Any = status
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return None if isinstance(found, bool) or not isinstance(found, int | float) else float(found)


def _counter(name: str, about: str, label: str | None, values: Mapping[str, float] | float) -> Metric:
    return _filled(CounterMetricFamily(f"skyledger_{name}", about, labels=[label] if label else []), values)


def _gauge(name: str, about: str, label: str | None, values: Mapping[str, float] | float) -> Metric:
    return _filled(GaugeMetricFamily(f"skyledger_{name}", about, labels=[label] if label else []), values)


def _filled(
    family: CounterMetricFamily | GaugeMetricFamily, values: Mapping[str, float] | float
) -> CounterMetricFamily | GaugeMetricFamily:
    for key, value in values.items() if isinstance(values, Mapping) else [(None, values)]:
        family.add_metric([] if key is None else [key], value)
    return family


def _histogram(waits: Waits) -> Metric:
    about = "Time from a message's coming in until it was committed."
    counts, buckets, below = list(waits.counts), [], 0
    for bound, count in zip([*map(str, BOUNDS_S), "+Inf"], counts, strict=True):
        below += count
        buckets.append((bound, float(below)))
    family = HistogramMetricFamily("skyledger_ingest_wait_seconds", about)
    family.add_metric([], buckets, waits.total)
    return family
