"""How stations stand, by the newest time of their data and by what they say of themselves."""

import json
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from ingest import standing
from ingest.standing import LATE, SILENT, Grade, Standing
from tests.ingest.payloads import START, batch, event, said, samples

NEWEST = datetime.fromtimestamp(START + 59, UTC)


def stands(conn, name="lin-an"):
    return next(one for one in standing.standings(conn) if one.name == name)


@pytest.mark.parametrize(
    ("age", "grade"),
    [
        (timedelta(0), Grade.FRESH),
        (LATE - timedelta(seconds=1), Grade.FRESH),
        (LATE, Grade.LATE),
        (SILENT - timedelta(seconds=1), Grade.LATE),
        (SILENT, Grade.SILENT),
        (timedelta(hours=-3), Grade.FRESH),
    ],
)
def test_what_is_fresh_late_and_silent(age, grade):
    assert Standing("a", "", 0.0, 0.0, reading=NEWEST).grade(NEWEST + age) is grade


def test_the_newest_reading_counts_whatever_came_last(writer):
    writer.write([said(batch(samples(), seq=1))])
    writer.write([said(batch(samples(first=START - 86_400), seq=2))])  # fills a gap
    writer.write([said(event(seq=3, at=START + 600))])  # is no reading
    seen = stands(writer.conn)
    assert (seen.reading, seen.title, seen.latitude) == (NEWEST, "Lin-An", 30.3)
    assert seen.age(NEWEST + timedelta(seconds=5)) == timedelta(seconds=5)
    writer.write([said(event(seq=number, at=START + 600 + number)) for number in range(4, 40)])  # nor are many
    assert stands(writer.conn).reading == NEWEST
    other = stands(writer.conn, "wuhan")
    assert (other.reading, other.received, other.grade(NEWEST)) == (None, None, Grade.NEVER)


def test_clock_and_queue_are_those_it_said(writer):
    status = {"state": "online", "queue_batches": 17, "clock": {"synchronised": True, "offset_s": -0.0042}}
    writer.keep_statuses({"lin-an": json.dumps(status).encode()})
    seen = stands(writer.conn)
    assert (seen.state, seen.queue, seen.offset, seen.synchronised) == ("online", 17, -0.0042, True)
    assert seen.said is not None


@pytest.mark.parametrize(
    "status",
    [
        [],
        {"state": "<script>", "queue_batches": "many", "clock": 5},
        {"state": 1, "queue_batches": True, "clock": {"offset_s": "1", "synchronised": "yes"}},
    ],
)
def test_what_is_no_status_is_left_out(store, status):
    with psycopg.connect(store, autocommit=True) as conn:
        conn.execute("INSERT INTO station_status VALUES ('lin-an', now(), %s)", [json.dumps(status)])
        seen = stands(conn)
    assert (seen.state, seen.queue, seen.offset, seen.synchronised) == (None, None, None, None)


def test_a_station_that_was_given_up_is_not_shown(store):
    with psycopg.connect(store, autocommit=True) as conn:
        conn.execute("UPDATE station SET valid_to = '2020-01-01' WHERE name = 'wuhan'")
        assert [one.name for one in standing.standings(conn)] == ["lin-an", "tai-an"]
