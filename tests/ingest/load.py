"""A network of stations that all send at once: each a batch a minute of 60 samples of 20 quantities."""

import json
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psycopg
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from qc.units import QUANTITIES
from station_agent import wire
from station_agent.sample import Sample
from station_agent.wire import Kind, Outcome

NAMES = list(QUANTITIES)[:20]
SAMPLES = 60
INSTRUMENT = "g2301"
CONNECTIONS = 20
"""Stations share connections: a thousand clients are more than one test process has threads for."""
READINGS = SAMPLES * len(NAMES)


def document(stations):
    """Return the catalogue."""
    where = {"latitude": 30.0, "longitude": 120.0, "altitude": 10.0, "instrument": [{"name": INSTRUMENT}]}
    return {"station": [{"name": name, **where} for name in stations]}


class Load:
    """Plays stations against a broker.

    Parameters
    ----------
    broker
        Where they send.
    stations
        Names.
    interval
        Seconds between two batches of a station; their turns are spread over it.
    """

    def __init__(self, broker, stations, *, interval):
        self.stations, self.interval = stations, interval
        self.sent, self.lags, self.outcomes = {}, [], set()
        self._lock = threading.Lock()
        self._turn, self._hour_ago = 0, int(time.time() * 1000) - 3_600_000
        draw = random.Random(1)
        # Digits as instruments write them; drawing 20,000 a second would be the test's work, not the store's.
        self._rows = [{name: round(400 + draw.gauss(0, 1), 7) for name in NAMES} for _ in range(500)]
        self._clients = [self._client(broker) for _ in range(CONNECTIONS)]

    def _client(self, broker):
        client = mqtt.Client(CallbackAPIVersion.VERSION2)
        client.max_inflight_messages_set(200)
        client.on_message = self._heard
        client.connect(broker.host, broker.port)
        client.loop_start()
        return client

    def listen(self):
        """Hear the acknowledgements of all stations."""
        self._clients[0].subscribe(f"{wire.ROOT}/+/ack", 1)

    def _heard(self, _client, _data, message):
        now = time.monotonic()
        with self._lock:
            for item in wire.decode_acknowledgements(message.payload):
                begun = self.sent.pop(item.digest, None)
                if begun is not None:
                    self.lags.append(now - begun)
                    self.outcomes.add(item.outcome)

    def play(self, seconds):
        """Send for so long; return how many batches."""
        begin, step = time.monotonic(), self.interval / len(self.stations)
        count = int(seconds / step)
        for turn in range(count):
            time.sleep(max(0.0, begin + turn * step - time.monotonic()))
            self._send()
        return count

    def _send(self):
        """Send the next station's next minute; the first was an hour ago."""
        number, minute = self._turn % len(self.stations), self._turn // len(self.stations)
        self._turn += 1
        first, seq = self._hour_ago + 60_000 * minute, minute + 1
        rows = [
            Sample((first + 1000 * k) * 1_000_000, self._rows[(seq * 7 + number + k) % 500], "1", 963)
            for k in range(SAMPLES)
        ]
        station = self.stations[number]
        payload = wire.encode_batch(rows, spool=station, seq=seq)
        with self._lock:
            self.sent[wire.digest(payload)] = time.monotonic()
        topic = wire.instrument_topic(station, INSTRUMENT, Kind.DATA)
        self._clients[number % CONNECTIONS].publish(topic, payload, 1)

    def settle(self, seconds=30):
        """Wait until all that was sent is acknowledged."""
        end = time.monotonic() + seconds
        while self.sent and time.monotonic() < end:
            time.sleep(0.05)
        assert not self.sent, f"{len(self.sent)} batches were not acknowledged"
        assert self.outcomes == {Outcome.STORED}

    def close(self):
        for client in self._clients:
            client.disconnect()
            client.loop_stop()


class Worker:
    """`skyledger ingest run` in a process of its own, with its CPU and memory."""

    def __init__(self, dsn, broker, *options):
        command = [sys.executable, "-m", "deploy", "ingest", "run", "--quiet", "--dsn", dsn]
        self._process = subprocess.Popen([*command, "--broker", broker.address, *options], stdout=subprocess.DEVNULL)

    @property
    def rss_mb(self):
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return next(int(row.split()[1]) for row in status.splitlines() if row.startswith("VmRSS")) * 1024 / 1e6

    @property
    def cpu_s(self):
        return cpu_s(self._process.pid)

    def stop(self):
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(60) == 0


@contextmanager
def working(dsn, broker, *options):
    worker = Worker(dsn, broker, *options)
    try:
        yield worker
    finally:
        worker.stop()


def cpu_s(pid):
    """Return the CPU seconds of a process and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / 100


def server_cpu_s(pid):
    """Return the CPU seconds of a server and all its children, living or not."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(map(cpu_s, [pid, *children]))


def server_pid(dsn):
    """Return the process of a server on this machine: the parent of those that serve its connections."""
    with psycopg.connect(dsn) as conn:
        status = Path(f"/proc/{conn.info.backend_pid}/status").read_text()
    return next(int(row.split()[1]) for row in status.splitlines() if row.startswith("PPid"))


def sizes(dsn):
    """Return bytes of the write-ahead log so far, of `message` and of `reading` with its partitions or chunks."""
    with psycopg.connect(dsn) as conn:
        (wal,) = conn.execute("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')").fetchone()
        (message,) = conn.execute("SELECT pg_total_relation_size('message')").fetchone()
        parts = "SELECT inhrelid FROM pg_inherits WHERE inhparent = 'reading'::regclass"
        (reading,) = conn.execute(
            f"SELECT coalesce(sum(pg_total_relation_size(p)), 0) FROM ({parts}) AS p (p)"
        ).fetchone()
    return {"wal": int(wal), "message": int(message), "reading": int(reading)}


def figure(name, value, unit, **more):
    """Return a line of figures."""
    return json.dumps({"name": name, "value": value, "unit": unit, **more})


def percentiles(lags):
    """Return median, 99th percentile and largest of the lags, s."""
    return [round(float(value), 3) for value in np.percentile(lags, [50, 99, 100])]
