"""Benchmarks of the station agent: one JSON object a line.

``python tests/bench/bench_agent.py`` or `main`. Rounds of ours and of the reference alternate; the figures are medians.
"""

import json
import os
import random
import select
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from station_agent.agent import Agent
from station_agent.config import read_config
from station_agent.drivers.quantities import UNITS
from station_agent.reading import Reading
from station_agent.sample import Sample
from station_agent.spool import Spool
from tests import servers
from tests.station_agent.tls import make_certificates, table, tls_broker

ROUNDS = 5
QUANTITIES = 20
SAMPLES = 60
CALL = 600
"""Samples appended at once, as from a file read in blocks."""
CALLS = 10
HOUR = 3600
SIMULATION = f"""
[[instrument]]
name = "sim"
driver = "simulated"
start = "2026-01-01T00:00:00Z"
samples = {HOUR}
"""


def line(name, unit, reference, pairs, *, decimals=1):
    """Print one figure: medians over the rounds of (ours, the reference)."""
    value, limit = (statistics.median(column) for column in zip(*pairs, strict=True))
    figure = {"name": name, "value": round(value, decimals), "unit": unit, "reference": reference}
    print(
        json.dumps({**figure, "reference_value": round(limit, decimals), "ratio": round(value / limit, 3)}), flush=True
    )


# --- spool -----------------------------------------------------------------------------------


def samples():
    """Return what one instrument of 20 quantities says, with the digits instruments write."""
    draw = random.Random(1)
    names = [f"quantity_{number:02}" for number in range(QUANTITIES)]
    return [
        Sample(second * 10**9, {name: round(400 + draw.gauss(0, 1), 7) for name in names}, "1", 963)
        for second in range(CALL)
    ]


def append(folder, rows):
    """Return samples per second into a new spool, each call on the disk before the next, and the frozen bytes."""
    with Spool(folder / f"{time.monotonic_ns()}.db", station="bench", samples=SAMPLES) as spool:
        start = time.perf_counter()
        for _ in range(CALLS):
            spool.append(Reading("sim", rows))
        seconds = time.perf_counter() - start
        return CALLS * CALL / seconds, [batch.payload for batch in spool.unsent(after=0, limit=10**6)]


def insert(folder, payloads):
    """Return samples per second if their frozen bytes were given: SQLite alone, as durable, in as many transactions."""
    db = sqlite3.connect(folder / f"{time.monotonic_ns()}.db", isolation_level=None)
    db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE t (payload BLOB)")
    share = len(payloads) // CALLS
    start = time.perf_counter()
    for call in range(CALLS):
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO t VALUES (?)", [(payload,) for payload in payloads[call * share :][:share]])
        db.execute("COMMIT")
    seconds = time.perf_counter() - start
    db.close()
    return CALLS * CALL / seconds


def spool_appends():
    """Samples of 20 quantities made durable a second, encoding and compressing included."""
    rows, pairs = samples(), []
    with tempfile.TemporaryDirectory() as name:
        for _ in range(ROUNDS):
            rate, payloads = append(Path(name), rows)
            pairs.append((rate, insert(Path(name), payloads)))
    reference = "the same frozen bytes inserted into SQLite, as durable, in as many transactions"
    line("agent.spool_appends_per_s", "samples/s", reference, pairs, decimals=0)


# --- delivery --------------------------------------------------------------------------------

INFLIGHT = 20
"""The agent's default."""
SERVER = """
import sys
from tests.station_agent.receiver import Receiver
from station_agent import wire
class Digests(Receiver):
    def _keep(self, topic, payload):
        return wire.Acknowledgement(1, wire.digest(payload), wire.Outcome.STORED)
class Counts(Digests):
    count = 0
    def _keep(self, topic, payload):
        self.count += len(getattr(wire.decode(payload), "t", 0) or ()) if topic.kind == "data" else 0
        print(self.count, file=sys.stderr, flush=True)
        return super()._keep(topic, payload)
with (Counts if "count" in sys.argv else Digests)(sys.argv[1], int(sys.argv[2])):
    print("ready", file=sys.stderr, flush=True)
    sys.stdin.read()
"""


def drained(file, rows):
    """Return readings per second from the start of a run on a full spool until all has left, and the payloads."""
    config = read_config(file)
    with Spool(file.with_name(f"{time.monotonic_ns()}.db"), station="bench", samples=SAMPLES) as spool:
        for _ in range(CALLS):
            spool.append(Reading("sim", rows))
        payloads = [batch.payload for batch in spool.unsent(after=0, limit=10**6)]
        start = time.perf_counter()
        Agent(config, spool, []).run(threading.Event(), until_drained=True)
        return CALLS * CALL * QUANTITIES / (time.perf_counter() - start), payloads


def published(broker, payloads):
    """Return readings per second if the payloads came from memory and the broker's word were enough."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.max_inflight_messages_set(INFLIGHT)
    start = time.perf_counter()
    client.connect(broker.host, broker.port)
    client.loop_start()
    for message in [client.publish("skyledger/v1/bench/sim/reference", payload, qos=1) for payload in payloads]:
        message.wait_for_publish()
    client.disconnect()
    client.loop_stop()
    return CALLS * CALL * QUANTITIES / (time.perf_counter() - start)


def station(folder, broker):
    """Return the configuration of a station of this broker."""
    file = Path(folder) / "agent.toml"
    head = f'station = "bench"\n[broker]\nhost = "{broker.host}"\nport = {broker.port}\n'
    file.write_text(head + SIMULATION)
    return file


def drain():
    """Readings delivered and acknowledged a second after an outage."""
    rows, pairs = samples(), []
    with tempfile.TemporaryDirectory() as folder, servers.throwaway_broker("mosquitto") as broker:
        server, _ = started("-c", SERVER, broker.host, str(broker.port))
        try:
            for _ in range(ROUNDS):
                rate, payloads = drained(station(folder, broker), rows)
                pairs.append((rate, published(broker, payloads)))
        finally:
            ended(server)
    reference = "paho-mqtt publishing the same payloads from memory, as many in flight, acknowledged by the broker only"
    line("agent.drain_readings_per_s", "readings/s", reference, pairs, decimals=0)


WATCHED_S = 20.0
IDLE = "import sys, time; print('ready', file=sys.stderr, flush=True)\nwhile True: time.sleep(1)"


def used_s(process):
    """Return the CPU seconds of a process, user and system."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu():
    """CPU of a station whose one instrument says 20 quantities a second, over TLS, in percent of one core."""
    with secured() as (folder, ports):
        server, _ = started("-c", SERVER, "127.0.0.1", str(ports[1]), "count")
        idle, _ = started("-c", IDLE)
        file, data = folder / "agent.toml", folder / "met.csv"
        units = dict(list(UNITS.items())[:QUANTITIES])
        columns = ", ".join(
            f'{{name = "{name}", quantity = "{name}", unit = "{unit}"}}' for name, unit in units.items()
        )
        file.write_text(
            f'{secured_head(folder, ports)}[batch]\nseconds = 5\n[[instrument]]\nname = "met"\n'
            f'driver = "delimited"\npath = "met.csv"\ncolumns = [{columns}]\n'
            'time = {columns = ["when"], format = "unix"}\n'
        )
        data.write_text(",".join(["when", *units]) + "\n")
        agent, _ = started("-m", "station_agent", "run", "--config", str(file))
        try:
            pair = watched(agent, idle, data)
            await_count(server, len(data.read_text().splitlines()) - 1)
        finally:
            for process in (agent, idle, server):
                ended(process)
    line("agent.cpu_percent", "%", "Python that wakes once a second", [pair], decimals=2)


@contextmanager
def secured():
    """Return a folder with certificates and the ports of a broker there: with TLS, without."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_certificates(folder)
        with tls_broker(folder, folder) as ports:
            yield folder, ports


def secured_head(folder, ports):
    """Return the configuration's head of a station of this broker, over TLS."""
    tables = table(folder, ca="ca.pem", cert="lin-an.pem", key="lin-an.key")
    return f'station = "bench"\n[broker]\nhost = "127.0.0.1"\nport = {ports[0]}\n{tables}'


def await_count(server, count):
    """Wait until the server has so many samples; a figure of an agent that does not deliver would be none."""
    said, deadline = b"nothing", time.monotonic() + 60
    while said != str(count).encode():
        if not select.select([server.stderr], [], [], deadline - time.monotonic())[0]:
            raise RuntimeError(f"the server has {said.decode()} samples, expected {count}")
        said = server.stderr.readline().strip()


def watched(agent, idle, data):
    """Write a line a second; return the percent of a core (agent, idle) meanwhile."""
    values = ",".join(f"{400 + number / 7:.7f}" for number in range(QUANTITIES))
    time.sleep(2.0)
    before = [used_s(process) for process in (agent, idle)]
    start = time.monotonic()
    while time.monotonic() < start + WATCHED_S:
        with data.open("a") as file:
            file.write(f"{int(time.time())},{values}\n")
        time.sleep(1.0)
    seconds = time.monotonic() - start
    if agent.poll() is not None:
        raise RuntimeError(f"the agent ended with status {agent.returncode}: its CPU was not measured")
    after = [used_s(process) for process in (agent, idle)]
    percent = [100 * (late - early) / seconds for early, late in zip(before, after, strict=True)]
    # An idle loop may use less than a tick of the kernel's accounting.
    return percent[0], max(percent[1], 100 / os.sysconf("SC_CLK_TCK") / seconds)


# --- process ---------------------------------------------------------------------------------

LIBRARIES = (
    "import sqlite3, ssl, sys, time, paho.mqtt.client;"
    "print('ready', file=sys.stderr, flush=True);"
    "context = ssl.create_default_context(cafile=sys.argv[1]); time.sleep(60)"
)


def started(*arguments):
    """Start Python; return the process and the ms until it first said something."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], stdin=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
    process.stderr.readline()
    return process, 1000 * (time.perf_counter() - start)


def resident(process):
    """Return the resident memory of a process, MB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return next(int(row.split()[1]) for row in status.splitlines() if row.startswith("VmRSS")) * 1024 / 1e6


def ended(process):
    """End a process."""
    process.terminate()
    process.wait()
    process.stderr.close()
    process.stdin.close()


def process():
    """Memory of a connected agent, TLS on, after an hour of samples; and time until the agent reads."""
    memory, starts = [], []
    with secured() as (folder, ports):
        server, _ = started("-c", SERVER, "127.0.0.1", str(ports[1]), "count")
        for number in range(1, ROUNDS + 1):
            file = folder / f"agent-{number}.toml"
            file.write_text(f'{secured_head(folder, ports)}[spool]\npath = "{number}.db"\n{SIMULATION}')
            libraries, libraries_ms = started("-c", LIBRARIES, str(folder / "ca.pem"))
            agent, agent_ms = started("-m", "station_agent", "run", "--config", str(file))
            await_count(server, number * HOUR)
            memory.append((resident(agent), resident(libraries)))
            starts.append((agent_ms, libraries_ms))
            ended(agent)
            ended(libraries)
        ended(server)
    reference = "Python with sqlite3, paho-mqtt and a TLS context"
    line("agent.rss_mb", "MB", reference, memory)
    line("agent.start_ms", "ms", f"{reference}, until they are imported", starts)


def main():
    """Print the figures of the agent."""
    spool_appends()
    drain()
    cpu()
    process()


if __name__ == "__main__":
    main()
