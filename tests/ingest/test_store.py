import random
import re
import threading
from datetime import UTC, datetime

import psycopg
import pytest

from ingest import partition, reading
from ingest.database import connect
from ingest.errors import StoreError
from ingest.reading import Written
from ingest.store import Writer
from station_agent.sample import Sample
from station_agent.wire import Kind, Outcome
from tests.ingest.payloads import START, batch, census, event, message, mutated, reasons, said, samples, table

STORED, ASIDE, REKEY = Outcome.STORED, Outcome.ASIDE, Outcome.REKEY


def outcomes(entered):
    return [result.outcome for result in entered.results]


def test_a_batch_is_stored_as_it_came_and_value_by_value(store, writer):
    rows = samples(3)
    payload = batch(rows)
    entered = writer.write([said(payload)])
    assert (outcomes(entered), entered.written) == ([STORED], Written(new=12))
    with psycopg.connect(store) as conn:
        (kept,) = conn.execute(
            "SELECT station, instrument, kind, encode(digest, 'hex'), spool, seq, readings, state, reason, payload,"
            " extract(epoch FROM t_from)::float, extract(epoch FROM t_to)::float FROM message"
        ).fetchall()
    digest = message(payload).digest
    assert kept == ("lin-an", "g2301", "data", digest, "s", 1, 12, "stored", None, payload, START, START + 2)
    found = {(quantity, round(time.timestamp() - START)): value for _, quantity, time, value, *_ in table(store)}
    assert found == {(name, i): value for i, row in enumerate(rows) for name, value in row.values.items()}
    assert {tuple(row[4:]) for row in table(store)} == {("1", 963, 0)}


def test_the_same_message_again_is_acknowledged_again_and_adds_nothing(store, writer):
    first = [said(batch(samples(), seq=1)), said(b"junk")]
    assert outcomes(writer.write(first)) == [STORED, ASIDE]
    before = census(store)
    again = writer.write([first[0], first[1], first[0]])
    assert outcomes(again) == [STORED, ASIDE, STORED]
    assert all(result.repeated for result in again.results)
    assert census(store) == before
    other = writer.write([said(batch(samples(), seq=2)), said(batch(samples(), seq=2))])
    assert outcomes(other) == [STORED, STORED]
    assert [result.repeated for result in other.results] == [False, True]
    assert census(store)["stored"] == 2


def test_other_bytes_under_the_same_number_are_to_be_rekeyed(store, writer):
    one, other = said(batch(samples(2))), said(batch(samples(3)))
    assert outcomes(writer.write([one, other])) == [STORED, REKEY]
    assert outcomes(writer.write([other])) == [REKEY]
    assert outcomes(writer.write([said(batch(samples(3)), station="wuhan")])) == [STORED]
    assert census(store) == {"stored": 2, "readings": 20, "rows": 20, "rows_aside": 0, "events": 0}


def test_rows_that_are_there_are_not_doubled_and_others_go_aside_one_by_one(store, writer):
    writer.write([said(batch(samples(60), seq=1))])
    changed = samples(60)
    for i in (3, 17):
        changed[i].values["co2"] += 1
    changed[20] = Sample(changed[20].time_ns, changed[20].values, port="2", status=963)
    entered = writer.write(
        [said(batch(changed, seq=2)), said(batch(samples(60), seq=3)), said(batch(samples(80), seq=4))]
    )
    # message 2: two values and four states differ; message 4: 20 new samples of four
    assert entered.written == Written(new=80, same=240 - 6 + 240 + 240, aside=6)
    assert census(store) == {"stored": 4, "readings": 1040, "rows": 320, "rows_aside": 6, "events": 0}
    again = writer.write([said(batch(changed, seq=5))])
    assert again.written == Written(same=234, aside=6)


def test_within_one_transaction_the_first_stands(store, writer):
    time = START * 10**9
    rows = [Sample(time, {"co2": v}) for v in (1.0, 2.0, 1.0, 2.0, 3.0)]
    other = [Sample(time, {"co2": 2.0}), Sample(time + 10**9, {"co2": 1.0})]
    entered = writer.write([said(batch(rows, seq=1)), said(batch(other, seq=2))])
    # of message 1: 1.0 stands, 2.0 and 3.0 go aside once each; of message 2: 2.0 goes aside, the later one is new
    assert entered.written == Written(new=2, same=2, aside=3)
    assert [row[3] for row in table(store)] == [1.0, 1.0]
    with psycopg.connect(store) as conn:
        kept = conn.execute(
            "SELECT m.seq, a.value FROM reading_aside a JOIN message m ON m.id = a.message_id ORDER BY 1, 2"
        ).fetchall()
    assert kept == [(1, 2.0), (1, 3.0), (2, 2.0)]


def test_a_value_that_met_another_in_its_transaction_is_compared_with_what_stands(writer):
    time = START * 10**9
    writer.write([said(batch([Sample(time, {"co2": 1.0})], seq=1))])
    # 2.0 comes first here, but 1.0 stands already
    entered = writer.write([said(batch([Sample(time, {"co2": v}) for v in (2.0, 1.0)], seq=2))])
    assert entered.written == Written(same=1, aside=1)


def test_the_same_value_from_another_port_is_another_row(store, writer):
    rows = [Sample(START * 10**9, {"co2": 1.0}, port=port) for port in ("1", "2", "1", None)]
    assert writer.write([said(batch(rows))]).written == Written(new=1, same=1, aside=2)
    assert [row[4] for row in table(store)] == ["1"]


def test_only_the_instrument_that_brings_rows_twice_leaves_the_fast_path(writer):
    writer.write([said(batch(samples(10, first=START), seq=1))])
    fresh = [said(batch(samples(10), seq=k), station="wuhan") for k in (1, 2)]
    entered = writer.write([said(batch(samples(12), seq=2)), fresh[0]])
    assert entered.written == Written(new=40 + 8, same=40)
    assert len(writer._table.staged_until) == 1
    assert writer.write([fresh[1]]).written == Written(same=40)
    assert len(writer._table.staged_until) == 2


def test_empty_and_missing_values(writer):
    nothing = b'{"v":1,"spool":"e","seq":1,"t":[%d],"q":{}}' % (START * 1000)
    missing = b'{"v":1,"spool":"e","seq":2,"t":[%d],"q":{"co2":[null]}}' % (START * 1000)
    entered = writer.write([said(nothing), said(missing)])
    assert (outcomes(entered), entered.written) == ([STORED, STORED], Written())


def test_who_is_not_in_the_catalogue_is_kept_aside(store, writer):
    entered = writer.write(
        [
            said(batch(samples(), seq=1), station="nowhere"),
            said(batch(samples(), seq=2), instrument="nothing"),
            said(batch(samples(), seq=3), station="'; DROP TABLE message; --"),
            said(event(seq=4), kind=Kind.EVENT, instrument="nothing"),
            said(batch(samples(), seq=5)),
        ]
    )
    assert outcomes(entered) == [ASIDE] * 4 + [STORED]
    kept = reasons(store)
    assert (
        sum("station 'nowhere' is not in the catalogue: add it with `skyledger catalog apply`" in r for r in kept) == 1
    )
    assert sum("instrument 'nothing' of station 'lin-an' is not in the catalogue" in r for r in kept) == 2
    assert sum("is not a valid name" in r for r in kept) == 1


def test_events_are_written_with_texts_the_database_can_hold(store, writer):
    detail = {"a\0": "x\0y", "n": float("inf"), "list": ["\ud800", {"b": 1}]}
    raw = (
        b'{"v":1,"spool":"s","seq":1,"t":%d,"event":"maintenance","detail":'
        b'{"a\\u0000":"x\\u0000y","n":1e999,"list":["\\ud800",{"b":1}]}}' % (START * 1000)
    )
    assert outcomes(writer.write([said(raw, kind=Kind.EVENT)])) == [STORED]
    with psycopg.connect(store) as conn:
        (row,) = conn.execute("SELECT event, detail, extract(epoch FROM time)::float FROM event").fetchall()
    assert row == ("maintenance", {"a␀": "x␀y", "n": None, "list": ["\\ud800", detail["list"][1]]}, START)


def test_beyond_its_quota_a_station_is_not_acknowledged_but_its_good_messages_are(plain_store):
    with connect(plain_store) as conn:
        writer = Writer(conn, aside_quota=3 * 4096)
        junk = [said(b"junk %d" % i) for i in range(5)]
        assert outcomes(writer.write(junk)) == [ASIDE] * 3 + [None] * 2
        assert outcomes(writer.write([said(b"more"), said(batch(samples())), said(b"x", station="wuhan")])) == [
            None,
            STORED,
            ASIDE,
        ]
        assert outcomes(writer.write(junk)) == [ASIDE] * 3 + [None] * 2
    assert census(plain_store)["aside"] == 4


@pytest.mark.parametrize("query", ["_STAGED_ASIDE", "_MISSING", "_MET"])
def test_what_stands_is_looked_up_key_by_key(writer, query):
    """Whatever the planner believes of fresh tables: going through one for each row of the other costs the square."""
    writer.write([said(batch(samples(60, first=START + 60 * k), seq=k + 1)) for k in range(50)])
    table = writer._table
    with table.conn.transaction():
        table.conn.execute(reading._STAGING)
        table.conn.execute(
            "INSERT INTO staging SELECT time, value + 1, channel_id, state_id, 1, 1 FROM reading LIMIT 5000"
        )
        bounds = [datetime.fromtimestamp(START + edge, UTC) for edge in (0, 3000)]
        keys = [[1, 2], [bounds[0]] * 2, [bounds[1]] * 2]
        with table._by_look_ups():
            rows = table.conn.execute(f"EXPLAIN {getattr(reading, query)}", keys if query == "_MET" else bounds)
            plan = "\n".join(row[0] for row in rows)
    assert "Index" in plan
    assert not re.search(r"Seq Scan on (reading|_hyper)", plan), plan
    assert plan.count("Seq Scan on staging") == (query != "_MET"), plan
    assert "Hash" not in plan.replace("HashAggregate", ""), plan


def test_stations_nobody_knows_share_one_quota(plain_store):
    """Names can be made up; a station of the catalogue keeps its own."""
    with connect(plain_store) as conn:
        writer = Writer(conn, aside_quota=3 * 4096)
        strangers = [said(b"junk", station=f"made-up-{k}") for k in range(5)]
        assert outcomes(writer.write(strangers)) == [ASIDE] * 3 + [None] * 2
        assert outcomes(writer.write([said(b"junk"), said(b"junk", station="other")])) == [ASIDE, None]
        assert outcomes(Writer(conn, aside_quota=3 * 4096).write([said(b"more", station="other")])) == [None]
        assert len(writer._aside) == 2


def test_rows_the_server_loses_are_not_acknowledged(plain_store):
    """As TimescaleDB before 2.18.1 did with those that came to what is compressed."""
    with connect(plain_store) as conn:
        writer = Writer(conn)
        writer._table.checked = True
        rows = samples(3)
        writer.write([said(batch(rows))])
        conn.execute(
            "CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
            "CREATE TRIGGER lose BEFORE INSERT ON reading FOR EACH ROW WHEN (NEW.value = 7) EXECUTE FUNCTION lose()"
        )
        more = Sample((START + 1) * 10**9 + 5 * 10**8, {"co2": 7.0}, port="1", status=963)
        with pytest.raises(StoreError, match="1 readings are not there after they were written"):
            writer.write([said(batch([*rows, more], seq=2))])
    assert census(plain_store)["stored"] == 1


def test_a_poisoned_message_goes_aside_and_the_others_are_stored(store, writer):
    with psycopg.connect(store, autocommit=True) as conn:
        conn.execute("ALTER TABLE event ADD CHECK (event <> 'poison')")
    messages = [said(batch(samples(5, first=START + 10 * k), seq=k + 1)) for k in range(8)]
    poison = said(event("poison", seq=99), kind=Kind.EVENT)
    entered = writer.write([*messages[:3], poison, *messages[3:]])
    assert outcomes(entered) == [STORED] * 3 + [ASIDE] + [STORED] * 5
    assert entered.written == Written(new=160)
    assert "the database refused it: CheckViolation" in reasons(store)[0]


def test_a_database_that_cannot_write_is_not_a_poisoned_message(plain_store):
    with connect(plain_store) as conn:
        writer = Writer(conn)
        conn.execute("SET default_transaction_read_only = on")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            writer.write([said(batch(samples()))])
        conn.execute("SET default_transaction_read_only = off")
        assert outcomes(writer.write([said(batch(samples()))])) == [STORED]


def test_days_are_made_on_demand_ahead_and_again_when_dropped(plain_store):
    day = 86400
    with connect(plain_store) as conn, connect(plain_store) as other:
        writer, second = Writer(conn), Writer(other)
        rows = [Sample((START - k * 40 * day) * 10**9, {"co2": float(k)}) for k in range(5)]
        assert writer.write([said(batch(rows, seq=1))]).written == Written(new=5)
        assert second.write([said(batch(rows, seq=2))]).written == Written(same=5)
        assert conn.execute("SELECT count(*) FROM pg_inherits WHERE inhparent = 'reading'::regclass").fetchone() == (5,)
        (table,) = conn.execute("SELECT tableoid::regclass::text FROM reading ORDER BY time DESC LIMIT 1").fetchone()
        conn.execute(f"DROP TABLE {table}")
        assert second.write([said(batch(rows, seq=3))]).written == Written(new=1, same=4)
        writer.prepare_days(datetime(2030, 1, 1, tzinfo=UTC))
        assert conn.execute("SELECT to_regclass('reading_20300104') IS NOT NULL").fetchone() == (True,)


def test_an_event_said_twice_is_one(store, writer):
    """Two clones of a spool freeze the same event under numbers of their own."""
    twice = [event("valve", spool=name, seq=7, detail={"to": 3}) for name in ("one", "two")]
    other = event("valve", spool="two", seq=8, detail={"to": 4})
    entered = writer.write([said(payload, kind=Kind.EVENT) for payload in (*twice, other)])
    assert outcomes(entered) == [STORED] * 3
    counts = census(store)
    assert (counts["stored"], counts["events"]) == (3, 2)


def test_times_long_past_have_a_partition_a_month(plain_store):
    """Twenty years filled in afterwards are 240 tables; a month some day of which has its own is filled in by days."""
    today = (datetime(2026, 11, 25, tzinfo=UTC) - partition.EPOCH).days
    with connect(plain_store) as conn:
        day = (datetime(2006, 2, 10, tzinfo=UTC) - partition.EPOCH).days
        recent = today - partition.MONTHS_AFTER - 31
        there = partition.create(conn, [recent], today=recent)
        assert there == {recent}
        there = partition.create(conn, [*range(day, day + 20), recent - 1, today], today=today)
        names = {
            name
            for (name,) in conn.execute(
                "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'reading'::regclass"
            )
        }
        assert names == {"reading_200602", "reading_200603", "reading_20260825", "reading_20260826", "reading_20261125"}
        assert len(there) == 28 + 31 + 3
        assert there == partition.existing(conn)
        # Each day is in one partition, the month's ends among them.
        for time in ("2006-02-01", "2006-02-28 23:59:59.999", "2006-03-31 23:59", "2026-08-25", "2026-11-25"):
            conn.execute("INSERT INTO reading VALUES (%s, 1, 1, 1)", [time])


def test_late_data_of_months_ago_is_counted_exactly(store, writer):
    for back in (0, 40, 400):
        rows = samples(20, first=START - back * 86400)
        assert writer.write([said(batch(rows, seq=back + 1))]).written == Written(new=80)
        assert writer.write([said(batch(rows, seq=back + 2))]).written == Written(same=80)
    assert census(store)["rows"] == 240


@pytest.mark.parametrize("rounds", [6])
def test_two_workers_on_the_same_station_in_opposite_order_lose_and_double_nothing(store, rounds):
    parts = [said(batch(samples(20, first=START + 30 * k), seq=k + 1)) for k in range(12)]
    again = [said(batch(samples(20, first=START + 30 * k), spool="again", seq=k + 1)) for k in range(12)]
    failures = []

    def work(messages, seed):
        rng = random.Random(seed)
        try:
            with connect(store) as conn:
                writer = Writer(conn)
                for _ in range(rounds):
                    chosen = rng.sample(messages, len(messages))
                    assert all(o is STORED for o in outcomes(writer.write(chosen)))
        except BaseException as error:
            failures.append(error)
            raise

    threads = [
        threading.Thread(target=work, args=(messages, seed))
        for seed, messages in enumerate((parts, parts[::-1], again, [*again, *parts]))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert census(store) == {"stored": 24, "readings": 24 * 80, "rows": 12 * 80, "rows_aside": 0, "events": 0}


def test_what_a_station_has_aside_is_not_counted_anew_each_time(plain_store):
    """Else many bad messages would cost the square of their number; what others free is seen before one is refused."""
    clock = iter(range(1000))
    with connect(plain_store) as conn, connect(plain_store) as other:
        writer = Writer(conn, aside_quota=10 * 4096, monotonic=lambda: next(clock) / 10)
        believed = set()
        for number in range(10):
            assert outcomes(writer.write([said(b"junk%d" % number)])) == [ASIDE]
            believed.add(writer._aside["lin-an"][1])
        assert len(believed) == 1
        assert outcomes(writer.write([said(b"more")])) == [None]
        other.execute("UPDATE message SET state = 'discarded' WHERE id = (SELECT min(id) FROM message)")
        assert outcomes(writer.write([said(b"more")])) == [ASIDE]


@pytest.mark.parametrize("rounds", [20, pytest.param(2000, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])])
def test_random_and_mutated_payloads_are_all_accounted_for(store, rounds):
    """Five hundred a round, ten thousand or a million together."""
    rng = random.Random(7)
    with connect(store) as conn:
        writer = Writer(conn, aside_quota=2**40)
        counted = {STORED: set(), ASIDE: set(), REKEY: set()}
        names = ("lin-an", "wuhan", "'; DROP TABLE message; --", "a\0b", "x" * 300)
        for round_ in range(rounds):
            messages = []
            for k in range(500):
                good = batch(samples(rng.randrange(1, 4)), spool=f"f{round_}", seq=k + 1)
                if rng.random() < 0.2:
                    good = event("line_rejected", detail={"text": "x\0", "line": k}, spool=f"f{round_}", seq=k + 1)
                payload = rng.choice((good, rng.randbytes(k % 40), *(mutated(good, rng) for _ in range(6))))
                kind = rng.choice((Kind.DATA, Kind.DATA, Kind.EVENT))
                messages.append(said(payload, station=rng.choice(names), kind=kind))
            for result in writer.write(messages).results:
                counted[result.outcome].add(result.key)
        assert sum(map(len, counted.values())) > 475 * rounds
        assert len(counted[STORED]) > 100
        kept = {
            (s, d): state for s, d, state in conn.execute("SELECT station, encode(digest, 'hex'), state FROM message")
        }
    assert {key for key, state in kept.items() if state == "stored"} == counted[STORED]
    assert {key for key, state in kept.items() if state == "aside"} == counted[ASIDE]
    assert not set(kept) & counted[REKEY]


def test_statuses_keep_the_last_word(store):
    with connect(store) as conn:
        writer = Writer(conn)
        writer.keep_statuses({"lin-an": b'{"queue": 3, "x": "a\\u0000"}', "wuhan": b"\xff not json", "a\0": b"{}"})
        writer.keep_statuses({"lin-an": b'{"queue": 4}'})
        rows = dict(conn.execute("SELECT station, status FROM station_status").fetchall())
    assert rows == {"lin-an": {"queue": 4}, "wuhan": "� not json"}
