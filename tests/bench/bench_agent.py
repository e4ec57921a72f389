"""Benchmarks of the station agent: one JSON object a line.

``python tests/bench/bench_agent.py`` or `main`. Rounds of ours and of the reference alternate; the figures are medians.
"""

import json
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from station_agent.sample import Sample
from station_agent.spool import Reading, Spool

ROUNDS = 5
QUANTITIES = 20
SAMPLES = 60
CALL = 600
"""Samples appended at once, as from a file read in blocks."""
CALLS = 10
SIMULATION = """
station = "bench"
[broker]
host = "127.0.0.1"
port = 9
[broker.tls]
[[instrument]]
name = "sim"
driver = "simulated"
start = "2026-01-01T00:00:00Z"
samples = 3600
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


# --- process ---------------------------------------------------------------------------------

LIBRARIES = (
    "import sqlite3, ssl, sys, time, paho.mqtt.client;"
    "print('ready', file=sys.stderr, flush=True); context = ssl.create_default_context(); time.sleep(60)"
)


def started(*arguments):
    """Start Python; return the process and the ms until it first said something."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], stderr=subprocess.PIPE)
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


def process():
    """Memory after an hour of samples with TLS on, and time until the agent reads."""
    memory, starts = [], []
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "agent.toml"
        file.write_text(SIMULATION)
        for _ in range(ROUNDS):
            libraries, libraries_ms = started("-c", LIBRARIES)
            agent, agent_ms = started("-m", "station_agent", "run", "--config", str(file))
            time.sleep(1.5)
            memory.append((resident(agent), resident(libraries)))
            starts.append((agent_ms, libraries_ms))
            ended(agent)
            ended(libraries)
    reference = "Python with sqlite3, paho-mqtt and a TLS context"
    line("agent.rss_mb", "MB", reference, memory)
    line("agent.start_ms", "ms", f"{reference}, until they are imported", starts)


def main():
    """Print the figures of the agent."""
    spool_appends()
    process()


if __name__ == "__main__":
    main()
