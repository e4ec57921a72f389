"""Figures for Prometheus, and the alerts made of them."""

import json
import re
import time
import urllib.request
from pathlib import Path

import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ingest import endpoints, feed, metrics
from ingest.consumer import Consumer
from ingest.database import connect
from ingest.errors import StoreError
from ingest.watch import BOUNDS_S, Stations, Waits
from tests.ingest.payloads import batch, samples, until
from tests.ingest.station import consuming, station

RULES = Path(__file__).parents[2] / "deploy/prometheus/skyledger.rules.yml"
STATUS = {
    "state": "online",
    "reading": "stopped: quota",
    "queue_batches": 7,
    "queue_oldest": 1_767_225_600_000,
    "used_bytes": 50,
    "quota_bytes": 100,
    "disk_free": "none",
    "lost_samples": 3,
    "clock": {"offset_s": -0.25},
    "time": 1_767_225_700_000,
}


def figures(port):
    """Return name -> {labels: value} of what is served."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def test_what_a_consumer_does_is_told(plain_store, broker, monkeypatch):
    monkeypatch.setattr(metrics, "ASK_S", 0.0)
    now = int(time.time()) - 150
    batches = [batch(samples(20, first=now + 20 * k), spool="m", seq=k + 1) for k in range(3)]
    with (
        consuming(plain_store, broker) as consumer,
        endpoints.served(consumer, "127.0.0.1", 0) as port,
        station(broker) as one,
        station(broker, "nobody") as stranger,
    ):
        one.deliver([*batches, b"junk"])
        one.acknowledged.clear()
        one.deliver(batches[:1])
        stranger.deliver([batches[0]])
        one.say(json.dumps(STATUS).encode())
        stranger.say(b'{"state": "online"}')
        with psycopg.connect(plain_store, autocommit=True) as conn:
            conn.execute(
                "INSERT INTO station (name, title, latitude, longitude, altitude) VALUES ('new', 'New', 1, 1, 1)"
            )
        until(lambda: figures(port).get("skyledger_station_online"))
        told = figures(port)
        assert told["skyledger_ingest_connected"] == {(): 1}
    assert told["skyledger_ingest_messages_total"] == {
        ("stored",): 3, ("aside",): 2, ("rekeyed",): 0, ("repeated",): 1, ("refused",): 0
    }  # fmt: skip
    rows = told["skyledger_ingest_rows_total"]
    assert rows["new",] == told["skyledger_station_readings_total"]["lin-an",] == 3 * 20 * 4
    assert told["skyledger_station_messages_total"]["lin-an",] == 3
    assert told["skyledger_ingest_wait_seconds_count"] == {(): 6}
    assert 0 <= time.time() - told["skyledger_ingest_last_commit_timestamp_seconds"][()] < 120
    assert 80 < told["skyledger_station_lag_seconds"]["lin-an",] < 200
    assert told["skyledger_aside_messages"] == {("lin-an",): 1, ("nobody",): 1}
    assert told["skyledger_database_up"] == {(): 1}
    # What the station says of itself, as far as it is a number; who is not in the catalogue has no series.
    assert told["skyledger_station_online"] == {("lin-an",): 1}
    assert told["skyledger_station_reading"] == {("lin-an",): 0}
    assert told["skyledger_station_queue_batches"] == {("lin-an",): 7}
    assert told["skyledger_station_queue_oldest_timestamp_seconds"] == {("lin-an",): 1_767_225_600}
    assert told["skyledger_station_clock_offset_seconds"] == {("lin-an",): -0.25}
    assert "skyledger_station_disk_free_bytes" not in told
    # Who is in the catalogue is known, heard or not; who came to it since the consumer started too.
    assert told["skyledger_station_known"] == dict.fromkeys([("lin-an",), ("wuhan",), ("tai-an",), ("new",)], 1)
    assert set(told["skyledger_station_last_message_timestamp_seconds"]) == {("lin-an",)}


def test_when_a_job_last_looked_is_told(plain_store):
    consumer = Consumer(dsn=plain_store, host="127.0.0.1", port=9)
    with connect(plain_store) as conn, conn.transaction():
        feed.changes(conn, "qc")
    with endpoints.served(consumer, "127.0.0.1", 0) as port:
        told = figures(port)
    assert told["skyledger_feed_behind_messages"] == {("qc",): 0}
    assert 0 <= time.time() - told["skyledger_feed_moved_timestamp_seconds"]["qc",] < 120
    assert "skyledger_ingest_last_commit_timestamp_seconds" not in told  # nothing has been committed


def test_a_consumer_that_starts_knows_when_stations_were_heard(plain_store, broker):
    with consuming(plain_store, broker), station(broker) as one:
        one.deliver([batch(samples(5), spool="m", seq=1)])
        one.say(json.dumps(STATUS).encode())
        with psycopg.connect(plain_store, autocommit=True) as conn:
            until(lambda: conn.execute("SELECT count(*) FROM station_status").fetchone() == (1,))
    with consuming(plain_store, broker) as consumer:
        until(consumer.stations.snapshot)
        seen = consumer.stations.snapshot()
    assert time.time() - seen["lin-an"].received < 120
    assert (seen["lin-an"].messages, seen["lin-an"].status["queue_batches"]) == (0, 7)
    # Whom nobody has heard is known too, and has no times.
    assert seen["wuhan"].received is None


def test_without_the_database_the_rest_is_told():
    consumer = Consumer(dsn="host=127.0.0.1 port=9 dbname=none", host="127.0.0.1", port=9)
    with endpoints.served(consumer, "127.0.0.1", 0) as port:
        told = figures(port)
    assert told["skyledger_database_up"] == {(): 0}
    assert told["skyledger_ingest_connected"] == {(): 0}
    assert "skyledger_aside_messages" not in told


def test_an_address_that_is_taken_is_said():
    consumer = Consumer(dsn="", host="127.0.0.1")
    with (
        endpoints.served(consumer, "127.0.0.1", 0) as port,
        pytest.raises(StoreError, match=rf"metrics cannot be served at 127.0.0.1:{port}: Address already in use"),
        endpoints.served(consumer, "127.0.0.1", port),
    ):
        pass


def test_a_status_that_is_none_is_left_out():
    stations = Stations()
    stations.hear({"lin-an": b'{"state": "online"}'})
    assert stations.snapshot() == {}
    assert metrics._number({"clock": 3}, ("clock", "offset_s")) is None
    assert metrics._number({"queue": True}, ("queue",)) is None


def test_waiting_times_are_counted_in_classes():
    waits = Waits()
    waits.add([0.05, 0.051, 400.0])
    assert (waits.counts[0], waits.counts[1], waits.counts[-1], waits.total) == (1, 1, 1, 400.101)
    assert len(waits.counts) == len(BOUNDS_S) + 1


def test_alerts_are_made_of_figures_there_are(plain_store):
    consumer = Consumer(dsn=plain_store, host="127.0.0.1")
    stations = consumer.stations
    with connect(plain_store) as conn:
        stations.learn(conn)
    stations.hear({"lin-an": json.dumps(STATUS | {"disk_free": 1}).encode()})
    those = metrics.Figures(consumer)
    families = list(those.collect())
    those.close()
    known = {sample.name for family in families for sample in family.samples} | {family.name for family in families}
    used = set(re.findall(r"skyledger_\w+", RULES.read_text()))
    assert used
    assert used <= known
    # Every alert says what to do.
    text = RULES.read_text()
    assert text.count("- alert:") == text.count("do: ") == text.count("summary: ") > 8
