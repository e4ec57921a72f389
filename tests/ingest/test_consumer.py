import json
import random
import signal
import subprocess
import sys
import threading
import time
import zlib

import psycopg
import pytest

from ingest.consumer import Consumer
from ingest.errors import MigrationError
from station_agent import wire
from station_agent.wire import Kind, Outcome
from tests import servers
from tests.ingest.conftest import prepared
from tests.ingest.payloads import NAMES, START, batch, census, event, samples, until
from tests.ingest.station import consuming, station

STORED, ASIDE = Outcome.STORED, Outcome.ASIDE


def batches(count, *, rows=20, spool="s"):
    return [batch(samples(rows, first=START + rows * k), spool=spool, seq=k + 1) for k in range(count)]


def test_what_stations_send_is_stored_and_acknowledged(store, broker):
    with consuming(store, broker) as consumer, station(broker) as one, station(broker, "wuhan") as two:
        one.say(b'{"queue": 1}')
        assert one.deliver(batches(30)) == [STORED] * 30
        assert two.deliver([b"junk", *batches(5)]) == [ASIDE] + [STORED] * 5
        assert one.deliver([event()], kind=Kind.EVENT) == [Outcome.REKEY]  # seq 1 of this spool is a batch
        assert one.deliver([event(seq=99)], kind=Kind.EVENT) == [STORED]
    assert census(store) == {"stored": 36, "aside": 1, "readings": 2800, "rows": 2800, "rows_aside": 0, "events": 1}
    assert (consumer.tally.stored, consumer.tally.rows_new) == (36, 2800)
    with psycopg.connect(store) as conn:
        assert conn.execute("SELECT station, status FROM station_status").fetchall() == [("lin-an", {"queue": 1})]


def test_a_lone_reading_is_visible_within_two_seconds(plain_store, broker):
    with consuming(plain_store, broker), station(broker) as one:
        one.deliver(batches(1, spool="warm"))
        for k in range(3):
            begin = time.monotonic()
            payload = batch(samples(1, first=START + 1000 + k), spool="lone", seq=k + 1)
            one.deliver([payload])
            assert one.times[wire.digest(payload)] - begin < 2


def test_what_is_sent_again_is_acknowledged_again_and_adds_nothing(plain_store, broker):
    payloads = [*batches(20), b"junk"]
    with consuming(plain_store, broker) as consumer, station(broker) as one:
        first = one.deliver(payloads)
        one.acknowledged.clear()
        assert one.deliver(payloads) == first
        assert consumer.tally.repeated == 21
    assert census(plain_store)["rows"] == 20 * 80


def test_what_came_while_nobody_consumed_is_delivered_later(plain_store, broker):
    with consuming(plain_store, broker) as consumer:
        until(lambda: consumer.tally.connections)
        time.sleep(0.2)
    with station(broker) as one:
        for payload in batches(10):
            one.send(payload).wait_for_publish(10)
        if broker.kind != "mosquitto":
            pytest.skip("this broker keeps no messages for who is away")
        with consuming(plain_store, broker):
            until(lambda: len(one.acknowledged) == 10)
    assert census(plain_store)["stored"] == 10


def test_several_writers_share_the_work(store, broker):
    with (
        consuming(store, broker, writers=2, max_rows=500) as consumer,
        station(broker) as one,
        station(broker, "wuhan") as two,
    ):
        thread = threading.Thread(target=two.deliver, args=(batches(60),))
        thread.start()
        assert one.deliver(batches(60)) == [STORED] * 60
        thread.join()
    assert consumer.tally.transactions > 5
    assert census(store) == {"stored": 120, "readings": 9600, "rows": 9600, "rows_aside": 0, "events": 0}


def test_the_embedded_broker_will_do(plain_store):
    with (
        servers.throwaway_broker("iotcore") as broker,
        consuming(plain_store, broker, max_rows=500) as consumer,
        station(broker) as one,
    ):
        assert one.deliver(batches(100)) == [STORED] * 100
        broker.kill()
        time.sleep(0.2)
        broker.start()
        assert one.deliver(batches(100, spool="t")) == [STORED] * 100
    assert consumer.tally.connections == 2
    assert census(plain_store)["rows"] == 8000


def test_a_full_inbox_holds_the_broker_back_and_loses_nothing(plain_store, broker):
    with consuming(plain_store, broker, max_rows=200) as consumer, station(broker) as one:
        one.deliver(batches(1, spool="warm"))
        with psycopg.connect(plain_store) as conn:
            conn.execute("LOCK TABLE message IN EXCLUSIVE MODE")
            payloads = batches(100)
            for payload in payloads:
                one.send(payload)
            until(lambda: consumer._inbox.full)
            time.sleep(1)
            assert consumer._inbox._rows < 4 * 200 + 200
        assert one.deliver(payloads, again=30) == [STORED] * 100
    assert census(plain_store)["rows"] == 100 * 80


def test_a_stop_commits_and_acknowledges_what_was_gathered(plain_store, broker):
    with station(broker) as one:
        with consuming(plain_store, broker, linger=30) as consumer:
            until(lambda: consumer.tally.connections)
            time.sleep(0.3)
            for payload in batches(10):
                one.send(payload).wait_for_publish(10)
            until(lambda: consumer._inbox._rows == 10 * (64 + 80))
        until(lambda: len(one.acknowledged) == 10)
    assert census(plain_store)["stored"] == 10


def test_without_a_current_schema_it_does_not_start(plain_dsn, broker):
    with pytest.raises(MigrationError, match="run `skyledger db migrate`"):
        Consumer(dsn=plain_dsn, host=broker.host, port=broker.port).run(threading.Event())


def test_the_database_restarted_in_the_middle_costs_time_only(broker):
    with servers.throwaway_postgres() as server:
        dsn = prepared(server.dsn)
        with consuming(dsn, broker, max_rows=500) as consumer, station(broker) as one:
            payloads = batches(150)
            thread = threading.Thread(target=one.deliver, args=(payloads,))
            thread.start()
            until(lambda: consumer.tally.stored > 10)
            server.stop()
            time.sleep(1)
            server.start()
            thread.join(60)
            assert len(one.acknowledged) == 150
        assert census(dsn) == {"stored": 150, "readings": 12000, "rows": 12000, "rows_aside": 0, "events": 0}


def test_the_broker_killed_and_without_memory_costs_time_only(plain_store, broker):
    with consuming(plain_store, broker, max_rows=500) as consumer, station(broker) as one:
        payloads = batches(150)
        thread = threading.Thread(target=one.deliver, args=(payloads,))
        thread.start()
        for _ in range(2):
            stored = consumer.tally.stored
            until(lambda stored=stored: consumer.tally.stored > stored)
            broker.kill()
            broker.lose_sessions()
            time.sleep(0.3)
            broker.start()
        thread.join(60)
        assert len(one.acknowledged) == 150
    assert census(plain_store)["rows"] == 12_000
    assert consumer.tally.connections >= 2


def test_a_consumer_killed_at_any_moment_loses_and_doubles_nothing(plain_store, broker):
    rng = random.Random(5)
    command = [sys.executable, "-m", "deploy", "ingest", "run", "--dsn", plain_store]
    command += ["--broker", f"{broker.host}:{broker.port}", "--quiet"]
    with station(broker) as one:
        payloads = [
            batch(samples(60, first=START + 60 * k, names=NAMES[:20]), spool="big", seq=k + 1) for k in range(300)
        ]
        thread = threading.Thread(target=one.deliver, args=(payloads,), kwargs={"seconds": 120})
        thread.start()
        process = subprocess.Popen(command)
        try:
            for _ in range(5):
                acknowledged = len(one.acknowledged)
                until(lambda n=acknowledged: len(one.acknowledged) > n or not thread.is_alive())
                time.sleep(rng.random() * 0.2)
                process.kill()
                process.wait()
                process = subprocess.Popen(command)
            thread.join(90)
            one.deliver([batch(samples(1), spool="last")])
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        assert len(one.acknowledged) == 301
    assert census(plain_store) == {"stored": 301, "readings": 360_004, "rows": 360_000, "rows_aside": 0, "events": 0}


SQL = "'; DROP TABLE message; --"
HOSTILE = {
    "ten megabytes of noise": random.Random(1).randbytes(10_000_000),
    "ten megabytes of numbers": b'{"v":1,"spool":"s","seq":1,"t":[' + b"1," * 5_000_000 + b'1],"q":{}}',
    "a zip bomb": zlib.compress(bytes(200_000_000), 9),
    "brackets without end": b'{"v":1,"t":' + b"[" * 1_000_000,
    "not a number": b'{"v":1,"spool":"s","seq":1,"t":[1],"q":{"co2":[NaN]}}',
    "infinity": b'{"v":1,"spool":"s","seq":1,"t":[1],"q":{"co2":[1e999]}}',
    "year 1900": batch(samples(1, first=-2_208_988_800), spool="1900"),
    "year 2500": batch(samples(1, first=16_725_225_600), spool="2500"),
    "SQL for a quantity": json.dumps({"v": 1, "spool": SQL, "seq": 9, "t": [START * 1000], "q": {SQL: [1]}}).encode(),
    "SQL for an event": event(SQL, detail={SQL: SQL}, spool="sql"),
}


@pytest.mark.timeout(120)
def test_hostile_payloads_are_each_accounted_for_and_the_rest_goes_on(store, mosquitto):
    """Over the wire, between good batches; where the text could stand, SQL is data like any other."""
    sql = batch(samples(5, first=START + 500, port=SQL), spool=SQL, seq=1)
    with consuming(store, mosquitto) as consumer, station(mosquitto) as one:
        assert one.deliver(batches(5)) == [STORED] * 5
        outcomes = one.deliver(list(HOSTILE.values()), again=30)
        assert dict(zip(HOSTILE, outcomes, strict=True)) == dict.fromkeys(HOSTILE, ASIDE)
        assert one.deliver([event(SQL, detail={SQL: SQL}, spool="e")], kind=Kind.EVENT) == [STORED]
        assert one.deliver([sql]) == [STORED]
        assert one.deliver([batch(samples(20, first=START + 1000), spool="after")]) == [STORED]
    assert consumer.tally.aside == len(HOSTILE)
    counts = census(store)
    assert (counts["stored"], counts["aside"], counts["rows"]) == (8, len(HOSTILE), 6 * 80 + 20)
    with psycopg.connect(store) as conn:
        assert conn.execute("SELECT event, detail FROM event").fetchall() == [(SQL, {SQL: SQL})]
        assert conn.execute("SELECT count(*) FROM state WHERE port = %s", [SQL]).fetchone() == (1,)
        kept = {bytes(payload) for (payload,) in conn.execute("SELECT payload FROM message WHERE state = 'aside'")}
    assert kept == set(HOSTILE.values())
