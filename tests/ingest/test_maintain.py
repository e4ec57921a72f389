"""Old readings leave the window and can be made again; the same on every level."""

import os
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from ingest import catalogue, feed, partition
from ingest.database import Level, connect, level
from ingest.errors import StoreError
from ingest.maintain import interval, maintain, sound
from ingest.migrate import migrate
from ingest.reading import Written
from ingest.rebuild import rebuild
from ingest.store import Writer
from station_agent.sample import Sample
from tests import servers
from tests.ingest.payloads import CATALOGUE, START, batch, said, samples, table

DAY = 86_400
NOW = datetime.fromtimestamp(START, UTC) + timedelta(hours=1)


def filled(dsn, backs=(0, 1, 2, 10, 40, 400)):
    """Store twenty minutes of each of these days before `START`."""
    with connect(dsn) as conn:
        writer = Writer(conn)
        for number, back in enumerate(backs):
            rows = samples(20, first=START - back * DAY, step=60.0)
            assert writer.write([said(batch(rows, seq=number + 1))]).written == Written(new=80)
    return table(dsn)


def days(dsn):
    with psycopg.connect(dsn) as conn:
        rows = conn.execute("SELECT DISTINCT (time AT TIME ZONE 'UTC')::date FROM reading ORDER BY 1").fetchall()
    return [(NOW.date() - day).days for (day,) in reversed(rows)]


def test_what_is_older_goes_and_can_be_made_again(store):
    before = filled(store)
    told = list(maintain(store, keep_days=5, now=NOW))
    assert days(store) == [0, 1, 2]
    assert told[-1].endswith("their messages stay")
    assert list(maintain(store, keep_days=5, now=NOW))[-1].startswith("0 partitions")
    rebuild(store, datetime(2020, 1, 1, tzinfo=UTC), NOW + timedelta(days=1))
    assert table(store) == before


def test_nothing_goes_unless_it_is_asked_for(store):
    before = filled(store)
    list(maintain(store, now=NOW))
    assert table(store) == before


def test_a_partition_goes_when_all_of_it_is_old(plain_store):
    """A month is kept as long as one of its days is."""
    filled(plain_store, backs=(390, 400, 410))
    with connect(plain_store) as conn:
        months = partition.named(conn)
    inside = next(iter(months.values()))
    keep = (NOW - partition.EPOCH).days - inside[0] - 3
    list(maintain(plain_store, keep_days=keep, now=NOW))
    with connect(plain_store) as conn:
        assert {name for name in partition.named(conn) if name in months} == {
            name for name, of in months.items() if of[-1] >= (NOW - partition.EPOCH).days - keep
        }


def test_a_partition_that_was_being_dropped_when_the_server_went_down(plain_store):
    """Whatever it was in the middle of, it is gone in the end, and late data of its day are taken."""
    filled(plain_store, backs=(0, 10, 11, 12))
    names = {back: f"reading_{NOW - timedelta(days=back):%Y%m%d}" for back in (10, 11, 12)}
    with connect(plain_store) as conn, connect(plain_store) as reader:
        with reader.transaction():  # a long question keeps it from coming to an end
            reader.execute("SELECT count(*) FROM reading").fetchone()
            conn.execute("SET statement_timeout = '1s'")
            with pytest.raises(psycopg.errors.QueryCanceled):
                partition.drop(conn, names[10])
            conn.execute("RESET statement_timeout")
            assert names[10] in partition.named(conn, leaving=True)
        partition.drop(conn, names[10])
        conn.execute(f"ALTER TABLE reading DETACH PARTITION {names[11]}")  # and no further
        with reader.transaction():
            reader.execute("SELECT count(*) FROM reading").fetchone()
            conn.execute("SET statement_timeout = '1s'")
            with pytest.raises(psycopg.errors.QueryCanceled):
                partition.drop(conn, names[12])
            conn.execute("RESET statement_timeout")
        writer = Writer(conn)
        for number, back in enumerate((10, 11, 12)):
            rows = samples(2, first=START - back * DAY + 5)
            assert writer.write([said(batch(rows, seq=50 + number))]).written == Written(new=8)
    assert days(plain_store) == [0, 10, 11, 12]
    list(maintain(plain_store, keep_days=5, now=NOW))
    assert days(plain_store) == [0]


def test_what_a_job_has_not_seen_stays(store):
    filled(store, backs=(0, 10, 40))
    with connect(store) as conn:
        with conn.transaction():
            feed.changes(conn, "qc")
        with conn.transaction():
            conn.execute("UPDATE feed_cursor SET xid = (SELECT xid FROM message WHERE seq = 2)")
    told = list(maintain(store, keep_days=5, now=NOW))
    assert any("a job has not seen it yet" in sentence for sentence in told)
    assert days(store) == [0, 10, 40]


def test_days_to_come_are_ready(plain_store):
    list(maintain(plain_store, now=datetime(2030, 1, 1, tzinfo=UTC)))
    with connect(plain_store) as conn:
        assert (datetime(2030, 1, 4, tzinfo=UTC) - partition.EPOCH).days in partition.existing(conn)


def test_a_number_of_days_that_is_none(plain_store):
    with pytest.raises(StoreError, match="--keep-days 0: expected 1 or more"):
        list(maintain(plain_store, keep_days=0))


@pytest.mark.timescale
def test_chunks_are_as_long_as_the_rate_asks_for(timescale_dsn):
    migrate(timescale_dsn)
    catalogue.apply(timescale_dsn, CATALOGUE)
    filled(timescale_dsn, backs=(0, 1))
    # All came within a moment: that says nothing of the rate.
    assert list(maintain(timescale_dsn, now=NOW)) == []
    with psycopg.connect(timescale_dsn, autocommit=True) as conn:
        conn.execute("UPDATE message SET received = received - interval '2 hours' WHERE seq = 1")
        (told,) = maintain(timescale_dsn, now=NOW)
        assert told.startswith("chunks to come are 7 days, 0:00:00 long, for 9")
        assert list(maintain(timescale_dsn, now=NOW)) == []
        conn.execute("UPDATE message SET readings = 3000000")
        (told,) = maintain(timescale_dsn, now=NOW)
        assert told.startswith("chunks to come are 1 day, 0:00:00 long, for 3")


@pytest.mark.parametrize(("rate", "hours"), [(0, 168), (5e6, 168), (5.1e6, 24), (2e8, 24), (3e8, 6), (2e9, 1)])
def test_the_length_of_a_chunk(rate, hours):
    assert interval(rate) == timedelta(hours=hours)


@pytest.mark.parametrize(
    ("version", "expected"),
    [("2.18.0", False), ("2.17.2", False), ("2.18.1", True), ("2.19.3-dev", True), ("3.0", True)],
)
def test_a_version_that_may_lose_rows_does_not_compress(version, expected):
    assert sound(version) is expected


# --- TimescaleDB's full licence --------------------------------------------------------------


@pytest.fixture
def full_store():
    """A store on a server that compresses, where one is offered in SKYLEDGER_TEST_DSN."""
    server = os.environ.get("SKYLEDGER_TEST_DSN")
    if not server:
        pytest.skip("not run: TimescaleDB's full licence; offer a server in SKYLEDGER_TEST_DSN")
    with servers.fresh_database(server) as dsn:
        migrate(dsn)
        catalogue.apply(dsn, CATALOGUE)
        with connect(dsn) as conn:
            if level(conn) is not Level.TIMESCALE_FULL:
                pytest.skip(f"not run: TimescaleDB's full licence; SKYLEDGER_TEST_DSN offers {level(conn)}")
        yield dsn


def test_what_is_compressed_counts_as_before(full_store):
    """Old days are compressed; what is sent again adds nothing there, and what is new among it is added."""
    before = filled(full_store)
    for _ in range(2):
        assert "compresses readings older than 7 days" in "".join(maintain(full_store, now=NOW))
    with connect(full_store) as conn:
        for (chunk,) in conn.execute("SELECT show_chunks('reading', older_than => %s)", [NOW - timedelta(days=7)]):
            conn.execute("SELECT compress_chunk(%s::regclass, if_not_compressed => true)", [chunk])
        assert table(full_store) == before
        writer = Writer(conn)
        again = samples(20, first=START - 40 * DAY, step=60.0)
        assert writer.write([said(batch(again, seq=90))]).written == Written(same=80)
        more = [*again, Sample((START - 40 * DAY + 5) * 10**9, {"co2": 1.0}, port="1", status=963)]
        assert writer.write([said(batch(more, seq=91))]).written == Written(new=1, same=80)
    assert len(table(full_store)) == len(before) + 1
    list(maintain(full_store, keep_days=5, now=NOW))
    assert days(full_store) == [0, 1, 2]
