"""Payloads as agents send them, and what is in the store afterwards."""

import random
import time
from collections import Counter

import psycopg

from ingest.decode import Message, contents
from qc.units import QUANTITIES
from station_agent import wire
from station_agent.sample import Sample
from station_agent.wire import Kind

START = 1_790_000_000  # s since 1970: 2026-09-21, with the tests' clock behind it
NOW = (START + 10 * 86400) * 1000
NAMES = tuple(QUANTITIES)


def samples(n=60, *, first=START, step=1.0, names=NAMES[:4], value=lambda i, k: 400 + i / 8 + k, port="1", status=963):
    return [
        Sample(
            round((first + i * step) * 1000) * 10**6,
            {name: float(value(i, k)) for k, name in enumerate(names)},
            port=port,
            status=status,
        )
        for i in range(n)
    ]


def batch(rows, *, spool="s", seq=1):
    return wire.encode_batch(rows, spool=spool, seq=seq)


def event(name="maintenance", *, detail=None, spool="s", seq=1, at=START):
    return wire.encode_event(name, spool=spool, seq=seq, time_ns=at * 10**9, detail=detail or {})


def message(payload, *, station="lin-an", instrument="g2301", kind=Kind.DATA):
    return Message.received(wire.Topic(station, instrument, kind), payload)


def said(payload, *, now=NOW, **topic):
    return contents(message(payload, **topic), now_ms=now)


CATALOGUE = {
    "station": [
        {
            "name": name,
            "title": name.title(),
            "latitude": 30.3 + k,
            "longitude": 119.7,
            "altitude": 139.0,
            "region": "CN-ZJ",
            "inlet": [{"name": "50m", "height": 50.0}, {"name": "10m", "height": 10.0}],
            "instrument": [
                {
                    "name": "g2301",
                    "model": "Picarro G2301",
                    "driver": "picarro",
                    "port": [{"port": "1", "inlet": "50m"}, {"port": "10", "inlet": "10m"}],
                },
                {"name": "li850", "model": "LI-850", "driver": "delimited", "port": [{"inlet": "10m"}]},
            ],
        }
        for k, name in enumerate(("lin-an", "wuhan", "tai-an"))
    ]
}


def census(dsn):
    """Counts of the whole store: messages by state, their readings, rows, rows aside."""
    with psycopg.connect(dsn) as conn:

        def one(query):
            return conn.execute(query).fetchone()[0]

        states = dict(conn.execute("SELECT state, count(*) FROM message GROUP BY state").fetchall())
        return Counter(
            **states,
            readings=one("SELECT coalesce(sum(readings), 0) FROM message WHERE state = 'stored'"),
            rows=one("SELECT count(*) FROM reading"),
            rows_aside=one("SELECT count(*) FROM reading_aside"),
            events=one("SELECT count(*) FROM event"),
        )


def table(dsn):
    """All of `reading`, by names, sorted: what `rebuild` must reproduce."""
    with psycopg.connect(dsn) as conn:
        return conn.execute(
            "SELECT i.name, c.quantity, r.time, r.value, s.port, s.status, s.mark FROM reading r"
            " JOIN channel c ON c.id = r.channel_id JOIN instrument i ON i.id = c.instrument_id"
            " JOIN state s ON s.id = r.state_id ORDER BY i.station_id, 1, 2, 3"
        ).fetchall()


def reasons(dsn):
    with psycopg.connect(dsn) as conn:
        return [r for (r,) in conn.execute("SELECT reason FROM message WHERE state = 'aside' ORDER BY id")]


def mutated(payload, rng: random.Random):
    """The payload with some bytes changed, cut, doubled or swapped."""
    raw = bytearray(payload)
    for _ in range(rng.choice((1, 1, 2, 5))):
        kind = rng.randrange(5)
        at = rng.randrange(len(raw)) if raw else 0
        if kind == 0 and raw:
            raw[at] = rng.randrange(256)
        elif kind == 1:
            raw[at:at] = rng.randbytes(rng.randrange(1, 6))
        elif kind == 2:
            del raw[at : at + rng.randrange(1, 20)]
        elif kind == 3:
            raw[at:at] = raw[at : at + 30]
        else:
            tokens = (b"null", b"NaN", b"-1", b"1e999", b"[]", b'"\\u0000"', b"true", b"{}", b"9" * 30, b'"\\ud800"')
            raw[at : at + 4] = rng.choice(tokens)
    return bytes(raw)


def until(true, *, seconds=20.0, what="it did not happen"):
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if got := true():
            return got
        time.sleep(0.02)
    raise AssertionError(what)
