"""Lines cut, slow, half-open, out of order between station, broker, worker, database; full disks: counts are exact."""

import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import psycopg
import pytest
from psycopg import conninfo

from ingest import consumer as consumers
from ingest import desk
from ingest.errors import StoreError
from tests import servers
from tests.ingest.conftest import prepared
from tests.ingest.payloads import START, batch, census, samples, until
from tests.ingest.station import consuming, station
from tests.relay import Relay, Swapped

COUNT = 120
ROWS = 20


def batches(count=COUNT, *, spool="s", first=0):
    return [
        batch(samples(ROWS, first=START + ROWS * (first + k)), spool=spool, seq=first + k + 1) for k in range(count)
    ]


def near(relay):
    """Return where a relay is, as a broker."""
    return SimpleNamespace(host=relay.host, port=relay.port)


def cut(relay):
    relay.cut()


def slow(relay):
    relay.delay = 0.02
    time.sleep(1)
    relay.delay = 0.0


def half_open(relay):
    """Nothing passes and nobody says so, until the line is found to be dead."""
    relay.hanging.set()
    time.sleep(3)
    relay.cut()
    relay.hanging.clear()


@contextmanager
def relayed(store):
    """Give a relay to the database, and the DSN of the store behind it."""
    known = conninfo.conninfo_to_dict(store)
    host, port = known["host"], int(known.get("port", 5432))
    with Relay(f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)) as relay:
        yield relay, conninfo.make_conninfo(store, host=relay.host, port=relay.port, sslmode="disable")


FAULTS = pytest.mark.parametrize("fault", [cut, slow, half_open])


def delivered(one, consumer, relay, fault, payloads):
    """Deliver in three goes, the line failing in the middle of each; return how many the station was told of."""
    share = len(payloads) // 3
    for first in range(0, len(payloads), share):
        stored = consumer.tally.stored
        part = payloads[first : first + share]
        thread = threading.Thread(target=one.deliver, args=(part,), kwargs={"again": 1.0})
        thread.start()
        until(lambda n=stored: consumer.tally.stored > n)
        fault(relay)
        thread.join(60)
    return len(one.acknowledged)


@FAULTS
def test_between_station_and_broker(store, mosquitto, fault):
    with (
        Relay((mosquitto.host, mosquitto.port)) as relay,
        consuming(store, mosquitto, max_rows=500) as consumer,
        station(near(relay)) as one,
    ):
        assert delivered(one, consumer, relay, fault, batches()) == COUNT
    assert census(store)["rows"] == COUNT * ROWS * 4


@FAULTS
def test_between_broker_and_worker(store, mosquitto, fault, monkeypatch):
    monkeypatch.setattr(consumers, "KEEPALIVE", 2)
    with (
        Relay((mosquitto.host, mosquitto.port)) as relay,
        consuming(store, near(relay), max_rows=500) as consumer,
        station(mosquitto) as one,
    ):
        assert delivered(one, consumer, relay, fault, batches()) == COUNT
    assert census(store)["rows"] == COUNT * ROWS * 4
    assert fault is slow or consumer.tally.connections > 1


@FAULTS
def test_between_worker_and_database(store, mosquitto, fault):
    with relayed(store) as (relay, dsn):
        with consuming(dsn, mosquitto, max_rows=500) as consumer, station(mosquitto) as one:
            assert delivered(one, consumer, relay, fault, batches()) == COUNT
        assert fault is slow or relay.connections > 2
    assert census(store)["rows"] == COUNT * ROWS * 4


def test_a_database_that_falls_silent_is_left_for_a_new_connection(store, mosquitto, monkeypatch):
    """Half-open, and nobody ever says so: something before the server still confirms what it is sent."""
    monkeypatch.setattr(desk, "STALL", 2.0)
    monkeypatch.setattr(desk, "CANCEL", 1.0)
    with relayed(store) as (relay, dsn), consuming(dsn, mosquitto, max_rows=500) as consumer, station(mosquitto) as one:
        one.deliver(batches(1, spool="warm", first=COUNT))
        relay.hanging.set()
        thread = threading.Thread(target=one.deliver, args=(batches(),), kwargs={"again": 30.0})
        thread.start()
        known = relay.connections
        until(lambda: relay.connections > known)
        relay.hanging.clear()
        thread.join(60)
        assert len(one.acknowledged) == COUNT + 1
    assert consumer.tally.connections == 1
    assert census(store)["rows"] == (COUNT + 1) * ROWS * 4


@pytest.mark.parametrize("hanging", [False, True])
def test_a_stop_does_not_wait_for_a_database_that_does_not_answer(store, mosquitto, monkeypatch, hanging):
    monkeypatch.setattr(consumers, "GRACE", 1.0)
    monkeypatch.setattr(desk, "CANCEL", 1.0)
    with relayed(store) as (relay, dsn), psycopg.connect(store) as conn, station(mosquitto) as one:
        with consuming(dsn, mosquitto) as consumer:
            one.deliver(batches(1))
            conn.execute("LOCK TABLE message IN EXCLUSIVE MODE")
            one.send(batches(2)[1])
            until(lambda: consumer.oldest_unacknowledged_s > 1)
            if hanging:
                relay.hanging.set()
            stopped = time.monotonic()
        assert time.monotonic() - stopped < 20
        relay.hanging.clear()
        conn.rollback()
    assert census(store)["stored"] == 1


def test_messages_that_overtake_each_other(store, mosquitto):
    with (
        Relay((mosquitto.host, mosquitto.port), change=Swapped()) as relay,
        consuming(store, mosquitto, max_rows=500),
        station(near(relay)) as one,
    ):
        one.deliver(batches(), again=1.0)
        assert len(one.acknowledged) == COUNT
    assert census(store) == {
        "stored": COUNT, "readings": COUNT * ROWS * 4, "rows": COUNT * ROWS * 4, "rows_aside": 0, "events": 0
    }  # fmt: skip


def test_a_lag_recovers(store, mosquitto):
    """After the database was away the oldest message that waits is young again."""
    with consuming(store, mosquitto, max_rows=500) as consumer, station(mosquitto) as one:
        one.deliver(batches(1, spool="warm"))
        with psycopg.connect(store) as conn:
            conn.execute("LOCK TABLE message IN EXCLUSIVE MODE")
            thread = threading.Thread(target=one.deliver, args=(batches(),), kwargs={"again": 30.0})
            thread.start()
            until(lambda: consumer.oldest_unacknowledged_s > 2)
        thread.join(60)
        until(lambda: consumer.oldest_unacknowledged_s < 1 and consumer.waiting_rows == 0)
    assert census(store)["rows"] == COUNT * ROWS * 4


def in_mid_copy(dsn):
    """Wait until rows of `reading` are being copied, and return the number of the server's process."""
    met = []
    with psycopg.connect(dsn, autocommit=True) as conn:
        query = "SELECT pid FROM pg_stat_progress_copy WHERE bytes_processed > 0"
        until(lambda: met.extend(conn.execute(query).fetchall()) or met, what="nothing is copied")
    return met[0][0]


def large(count=40):
    """Return batches that make one transaction, long enough to be met in the middle."""
    return [batch(samples(240, first=START + 240 * k), spool="large", seq=k + 1) for k in range(count)]


def test_a_server_that_dies_in_mid_copy_costs_time_only(mosquitto):
    with servers.throwaway_folder() as folder, servers.Postgres(folder) as server:
        store = prepared(server.dsn)
        with relayed(store) as (relay, dsn), consuming(dsn, mosquitto) as consumer, station(mosquitto) as one:
            one.deliver(batches(1, first=5000))
            relay.delay = 0.05
            thread = threading.Thread(target=one.deliver, args=(large(),), kwargs={"again": 30.0})
            thread.start()
            in_mid_copy(store)
            server.kill()
            relay.delay = 0.0
            server.start()
            thread.join(60)
            assert len(one.acknowledged) == 41
            assert consumer.tally.stored == 41
        assert census(store)["rows"] == (40 * 240 + ROWS) * 4


def test_a_copy_that_the_server_ends_is_made_again(store, mosquitto):
    with relayed(store) as (relay, dsn), consuming(dsn, mosquitto), station(mosquitto) as one:
        one.deliver(batches(1, first=5000))
        relay.delay = 0.05
        thread = threading.Thread(target=one.deliver, args=(large(),), kwargs={"again": 30.0})
        thread.start()
        process = in_mid_copy(store)
        with psycopg.connect(store) as conn:
            assert conn.execute("SELECT pg_terminate_backend(%s)", [process]).fetchone() == (True,)
        relay.delay = 0.0
        thread.join(60)
        assert len(one.acknowledged) == 41
    assert census(store)["rows"] == (40 * 240 + ROWS) * 4


# --- several workers -------------------------------------------------------------------------


def test_a_group_shares_the_work_and_counts_nothing_twice(store, mosquitto):
    with (
        consuming(store, mosquitto, group="one", max_rows=500) as first,
        consuming(store, mosquitto, group="one", max_rows=500) as second,
    ):
        until(lambda: first.tally.connections and second.tally.connections)
        time.sleep(0.3)
        with station(mosquitto) as one:
            one.deliver(batches())
            one.say(b'{"state": "online"}')
            # A status is heard by both.
            until(lambda: all(each.stations.snapshot().get("lin-an").status for each in (first, second)))
    assert first.client_id != second.client_id
    assert first.tally.stored + second.tally.stored == COUNT
    assert min(first.tally.stored, second.tally.stored) > COUNT / 10
    assert census(store)["rows"] == COUNT * ROWS * 4


def test_workers_of_a_group_stopped_in_turn_lose_and_double_nothing(store, mosquitto):
    with station(mosquitto) as one:
        payloads = batches(300)
        thread = threading.Thread(target=one.deliver, args=(payloads,), kwargs={"again": 1.0, "seconds": 90})
        with consuming(store, mosquitto, group="g", max_rows=500) as steady:
            thread.start()
            for _ in range(4):
                with consuming(store, mosquitto, group="g", max_rows=500) as other:
                    begun = steady.tally.stored + other.tally.stored
                    until(lambda n=begun, o=other: steady.tally.stored + o.tally.stored > n or not thread.is_alive())
            thread.join(90)
        assert len(one.acknowledged) == 300
    assert census(store) == {
        "stored": 300, "readings": 300 * ROWS * 4, "rows": 300 * ROWS * 4, "rows_aside": 0, "events": 0
    }  # fmt: skip


def test_workers_of_a_group_killed_in_turn_lose_and_double_nothing(store, mosquitto):
    command = [sys.executable, "-m", "deploy", "ingest", "run", "--quiet", "--group", "g", "--dsn", store]
    command += ["--broker", mosquitto.address]
    workers = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(2)]
    payloads = batches(600)
    try:
        with station(mosquitto) as one:
            thread = threading.Thread(target=one.deliver, args=(payloads,), kwargs={"again": 1.0, "seconds": 100})
            thread.start()
            for turn in range(4):
                acknowledged = len(one.acknowledged)
                until(lambda n=acknowledged: len(one.acknowledged) > n or not thread.is_alive())
                workers[turn % 2].kill()
                workers[turn % 2].wait()
                workers[turn % 2] = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            thread.join(100)
            assert len(one.acknowledged) == 600
    finally:
        for worker in workers:
            worker.send_signal(signal.SIGTERM)
        # One that was started a moment ago may not listen yet.
        assert {worker.wait(30) for worker in workers} <= {0, -signal.SIGTERM}
    assert census(store) == {
        "stored": 600, "readings": 600 * ROWS * 4, "rows": 600 * ROWS * 4, "rows_aside": 0, "events": 0
    }  # fmt: skip


def test_two_workers_on_the_same_station_in_opposite_order(store, mosquitto):
    """Without a group each gets everything; told in opposite order they meet in deadlocks, and store it once."""
    payloads = batches(60)
    with (
        consuming(store, mosquitto, client_id="a", max_rows=5000, linger=0.5) as first,
        Relay((mosquitto.host, mosquitto.port), change=Swapped()) as relay,
        consuming(store, near(relay), client_id="b", max_rows=5000, linger=0.5) as second,
    ):
        until(lambda: first.tally.connections and second.tally.connections)
        with station(mosquitto) as one:
            one.deliver(payloads)
            one.deliver(list(reversed(batches(60, spool="t"))))
    assert census(store)["rows"] == 60 * ROWS * 4
    assert census(store)["rows_aside"] == 0


def test_a_group_needs_a_name():
    with pytest.raises(StoreError, match="group 'a/b' is no name"):
        consumers.Consumer(dsn="", host="h", group="a/b")


def test_a_database_whose_disk_is_full_costs_time_only(mosquitto):
    payloads = batches(400)
    with servers.postgres_on_small_disk(megabytes=256) as (server, disk):
        dsn = prepared(server.dsn)
        with consuming(dsn, mosquitto, max_rows=2000) as consumer, station(mosquitto) as one:
            one.deliver(payloads[:5])
            disk.fill()
            thread = threading.Thread(target=one.deliver, args=(payloads,), kwargs={"again": 5.0, "seconds": 90})
            thread.start()
            until(lambda: consumer.oldest_unacknowledged_s > 3, what="the full disk is not felt")
            disk.empty()
            if server.pid is None:  # the log had no room either
                server.start()
            thread.join(90)
            assert len(one.acknowledged) == 400
        assert census(dsn) == {
            "stored": 400, "readings": 400 * ROWS * 4, "rows": 400 * ROWS * 4, "rows_aside": 0, "events": 0
        }  # fmt: skip
