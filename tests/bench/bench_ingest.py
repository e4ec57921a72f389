"""Benchmarks of ingest and the store: one JSON object a line.

``python -m tests.bench ingest``. A durable PostgreSQL, a broker, `skyledger ingest run` in a process of its own;
batches of 60 samples of 20 quantities. A round of ours lasts from the first publish to the last acknowledgement,
with every row committed; a round of the reference copies the same rows, laid out beforehand, in as large
transactions on as many connections. Rounds alternate; the figures are medians.
"""

import json
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from deploy.local.broker import Broker
from deploy.local.postgres import Postgres
from ingest import catalogue, copy, read, reading
from ingest.consumer import WRITERS
from ingest.database import connect
from ingest.decode import Message, contents
from ingest.directory import Directory
from ingest.gather import MAX_ROWS, Delivery
from ingest.migrate import migrate
from ingest.reading import Part
from ingest.store import Writer
from qc.units import QUANTITIES
from station_agent import wire
from station_agent.sample import Sample
from station_agent.wire import Kind
from tests.servers import throwaway_folder

ROUNDS = 5
STATIONS = 10
BATCHES = 60
SAMPLES = 60
NAMES = list(QUANTITIES)[:20]
START = 1_790_000_000
INSTRUMENT = "g2301"
PATIENCE = 60
ENDURANCE = 10_000_000
"""Readings after which memory is looked at."""


def line(name, reference, pairs):
    """Print one figure: medians over the rounds of (ours, the reference)."""
    value, limit = (statistics.median(column) for column in zip(*pairs, strict=True))
    figure = {"name": name, "value": round(value), "unit": "rows/s", "reference": reference}
    print(json.dumps({**figure, "reference_value": round(limit), "ratio": round(value / limit, 3)}), flush=True)


def stations():
    return [f"station-{number}" for number in range(STATIONS)]


def document():
    """The catalogue."""
    return {
        "station": [
            {"name": name, "latitude": 30.0, "longitude": 120.0, "altitude": 10.0, "instrument": [{"name": INSTRUMENT}]}
            for name in stations()
        ]
    }


def messages():
    """All that is sent, in the order of its times, with the digits instruments write."""
    draw = random.Random(1)
    made = []
    for number in range(BATCHES):
        for station in stations():
            first = START + number * SAMPLES
            rows = [
                Sample((first + i) * 10**9, {name: round(400 + draw.gauss(0, 1), 7) for name in NAMES}, "1", 963)
                for i in range(SAMPLES)
            ]
            payload = wire.encode_batch(rows, spool=station, seq=number + 1)
            made.append(Message.received(wire.Topic(station, INSTRUMENT, Kind.DATA), payload))
    return made


# --- writing ---------------------------------------------------------------------------------


@contextmanager
def consumer(dsn, broker):
    """`skyledger ingest run` at work."""
    command = [sys.executable, "-m", "deploy", "ingest", "run", "--quiet", "--dsn", dsn, "--broker", broker.address]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)


class Publisher:
    """All stations in one connection."""

    def __init__(self, broker):
        self.missing = set()
        self.done = threading.Event()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self.client.max_inflight_messages_set(500)
        self.client.on_connect = lambda client, *_: client.subscribe(f"{wire.ROOT}/+/ack", 1)
        self.client.on_message = self.heard
        self.client.connect(broker.host, broker.port)
        self.client.loop_start()

    def heard(self, _client, _data, message):
        self.missing -= {item.digest for item in wire.decode_acknowledgements(message.payload)}
        if not self.missing:
            self.done.set()

    def deliver(self, sent):
        """Return seconds until the last is acknowledged."""
        self.missing = {message.digest for message in sent}
        self.done.clear()
        begin = time.perf_counter()
        self.publish(sent)
        if not self.done.wait(PATIENCE):
            raise SystemExit(f"{len(self.missing)} messages were not acknowledged in {PATIENCE} s")
        return time.perf_counter() - begin

    def wake(self, sent):
        """Send until the consumer, which is still starting, acknowledges."""
        self.missing = {message.digest for message in sent}
        self.done.clear()
        for _ in range(PATIENCE):
            self.publish(sent)
            if self.done.wait(1):
                return
        raise SystemExit(f"nobody acknowledged anything in {PATIENCE} s")

    def publish(self, sent):
        for message in sent:
            self.client.publish(wire.instrument_topic(message.station, INSTRUMENT, Kind.DATA), message.payload, 1)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def laid_out(conn, sent):
    """The same rows as COPY streams, as many messages in each as one of our transactions has."""
    said = [contents(message, now_ms=(START + 86400) * 1000) for message in sent]
    directory = Directory()
    directory.learn(conn, said)
    share = MAX_ROWS // Delivery(0, said[0]).rows
    streams = []
    for first in range(0, len(said), share):
        parts = [
            Part(0, directory.instruments[c.station, c.instrument], c.columns) for c in said[first : first + share]
        ]
        rows = reading.rows(parts, directory)
        columns = [
            copy.Column("time", "timestamptz", copy.micros(rows.time)),
            copy.Column("value", "float8", rows.value),
            copy.Column("channel_id", "int4", rows.channel),
            copy.Column("state_id", "int4", rows.state),
        ]
        streams.append(copy.encode(columns, rows.size))
    return streams


def copied(conns, streams):
    """Return seconds for the streams alone, shared among as many connections as ours has."""

    def share(conn, mine):
        statement = "COPY reading (time, value, channel_id, state_id) FROM STDIN (FORMAT binary)"
        for stream in mine:
            with conn.transaction(), conn.cursor() as cursor, cursor.copy(statement) as target:
                target.write(stream)

    begin = time.perf_counter()
    with ThreadPoolExecutor(len(conns)) as pool:
        for done in [pool.submit(share, conn, streams[k :: len(conns)]) for k, conn in enumerate(conns)]:
            done.result()
    return time.perf_counter() - begin


def emptied(conn):
    conn.execute("TRUNCATE message, reading, event, reading_aside")
    conn.execute("CHECKPOINT")


def writing(dsn, broker):
    sent = messages()
    expected = len(sent) * SAMPLES * len(NAMES)
    pairs, memory = [], []
    with connect(dsn) as conn, ExitStack() as stack, consumer(dsn, broker) as worker:
        conns = [stack.enter_context(connect(dsn)) for _ in range(WRITERS)]
        Writer(conn).write([contents(sent[0], now_ms=(START + 86400) * 1000)])  # makes the day
        streams = laid_out(conn, sent)
        publisher = Publisher(broker)
        emptied(conn)
        publisher.wake(sent[:STATIONS])  # from now on it knows all channels
        for _ in range(ROUNDS):
            emptied(conn)
            limit = expected / copied(conns, streams)
            emptied(conn)
            ours = expected / publisher.deliver(sent)
            found = conn.execute("SELECT count(*) FROM reading").fetchone()[0]
            if found != expected:
                raise SystemExit(f"{found} rows are in the store, expected {expected}")
            pairs.append((ours, limit))
            memory.append(rss_mb(worker.pid))
        for _ in range(ROUNDS, ENDURANCE // expected + 1):
            emptied(conn)
            publisher.deliver(sent)
            memory.append(rss_mb(worker.pid))
        publisher.close()
    line("ingest.rows_per_s", "columnar binary COPY, same rows, transaction size and connections", pairs)
    figure = {"name": "ingest.memory_mb", "value": memory[-1], "unit": "MB", "reference": "after the first round"}
    readings = expected * len(memory)
    ratio = round(memory[-1] / memory[0], 3)
    print(json.dumps({**figure, "reference_value": memory[0], "ratio": ratio, "readings": readings}), flush=True)


def rss_mb(pid):
    """Return the resident memory of a process, MB."""
    rows = Path(f"/proc/{pid}/status").read_text().splitlines()
    return round(next(int(row.split()[1]) for row in rows if row.startswith("VmRSS")) * 1024 / 1e6, 1)


# --- reading ---------------------------------------------------------------------------------

COPY_OUT = """
COPY (SELECT r.time, r.value, r.channel_id, r.state_id FROM reading r JOIN channel c ON c.id = r.channel_id
      JOIN instrument i ON i.id = c.instrument_id JOIN station s ON s.id = i.station_id
      WHERE s.name = %s ORDER BY r.channel_id, r.time) TO STDOUT (FORMAT binary)"""


def read_all(dsn):
    begin = time.perf_counter()
    found = 0
    for station in stations():
        ds = read.readings(dsn, station=station, instrument=INSTRUMENT)
        found += sum(int(np.isfinite(ds[name].values).sum()) for name in NAMES)
    return found, time.perf_counter() - begin


def copied_out(dsn):
    begin = time.perf_counter()
    for station in stations():
        with connect(dsn) as conn, conn.cursor() as cursor, cursor.copy(COPY_OUT, [station]) as source:
            b"".join(source)
    return time.perf_counter() - begin


def reading_back(dsn):
    with connect(dsn) as conn:
        conn.execute("VACUUM ANALYZE reading")
    pairs = []
    for _ in range(ROUNDS):
        limit = copied_out(dsn)
        found, seconds = read_all(dsn)
        pairs.append((found / seconds, found / limit))
    line("read.rows_per_s", "binary COPY out of the same rows, bytes only", pairs)


def main():
    with throwaway_folder() as folder, Postgres(folder) as server, Broker(folder) as broker:
        migrate(server.dsn)
        catalogue.apply(server.dsn, document())
        writing(server.dsn, broker)
        reading_back(server.dsn)


if __name__ == "__main__":
    main()
