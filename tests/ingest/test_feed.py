import threading

import numpy as np
import psycopg
import pytest

from ingest import feed
from ingest.database import connect
from ingest.errors import StoreError
from ingest.feed import Change
from ingest.store import Writer
from station_agent.wire import Kind
from tests.deploy.processes import eventually
from tests.ingest.payloads import START, batch, event, said, samples


def settle(dsn):
    """Wait until no transaction holds the horizon back: the server's own background work does so like any other."""
    with connect(dsn) as conn:
        assert eventually(lambda: feed.settled(conn))


def new(dsn, consumer="qc", *, among_others=False):
    if not among_others:
        settle(dsn)
    with connect(dsn) as conn, conn.transaction():
        return feed.changes(conn, consumer)


def window(first, last, station="lin-an", instrument="g2301"):
    ms = np.array([first * 1000, last * 1000 + 1], dtype="datetime64[ms]").astype("datetime64[ns]")
    return Change(station, instrument, ms[0], ms[1])


def test_each_change_is_reported_once_to_each_consumer(store, writer):
    assert new(store) == []
    writer.write([said(batch(samples(60), seq=1)), said(b"junk"), said(event(seq=5), kind=Kind.EVENT)])
    writer.write([said(batch(samples(60, first=START + 60), seq=2)), said(batch(samples(10)), station="wuhan")])
    expected = [window(START, START + 119), window(START, START + 9, "wuhan")]
    assert new(store) == expected
    assert new(store) == []
    assert new(store, "other") == expected
    writer.write([said(batch(samples(60), seq=1))])  # it was there
    assert new(store) == []


def test_windows_far_apart_stay_apart(store, writer):
    rows = [said(batch(samples(10, first=START + hours * 3600), seq=hours + 1)) for hours in (0, 1, 40)]
    writer.write(rows)
    hour = 3600
    assert new(store) == [window(START, START + hour + 9), window(START + 40 * hour, START + 40 * hour + 9)]


def test_much_is_reported_in_pieces_of_whole_transactions(store, writer):
    for k in range(4):  # ten messages a transaction
        writer.write(
            [said(batch(samples(10, first=START + 7200 * (10 * k + n)), seq=10 * k + n + 1)) for n in range(10)]
        )
    writer.write([said(event(seq=99), kind=Kind.EVENT)])
    settle(store)
    pieces, more = [], True
    with connect(store) as conn:
        while more:
            with conn.transaction():
                piece = feed.changes(conn, "qc", most=15)
            pieces.append(piece)
            more = piece.more
    assert [len(piece) for piece in pieces] == [20, 20, 0]
    assert [change for piece in pieces for change in piece] == [
        window(START + 7200 * k, START + 7200 * k + 9) for k in range(40)
    ]
    assert new(store) == []


def test_a_transaction_that_commits_late_is_not_passed_over(store):
    """The one that began first commits last: a cursor on serial numbers would have passed it."""
    with connect(store) as early, connect(store) as late:
        slow, quick = Writer(early), Writer(late)
        for k, known in enumerate((slow, quick)):  # the dictionaries' entries, which are committed apart
            known.write([said(batch(samples(10), spool=f"before {k}"), station=("lin-an", "wuhan")[k])])
        new(store), new(store, "second")
        with early.transaction():
            slow.write([said(batch(samples(10, first=START + 60), seq=1))])
            quick.write([said(batch(samples(10, first=START + 60)), station="wuhan")])
            assert new(store, among_others=True) == []  # what is below the horizon only
            assert new(store, "second", among_others=True) == []
            with connect(store) as conn:
                assert not feed.settled(conn)
        late_ones = [window(START + 60, START + 69), window(START + 60, START + 69, "wuhan")]
        assert new(store) == late_ones
        assert new(store) == []
        assert new(store, "second") == late_ones


def test_a_job_that_rolls_back_gets_it_again(store, writer):
    writer.write([said(batch(samples(10)))])
    with connect(store) as conn:
        with conn.transaction(force_rollback=True):
            assert len(feed.changes(conn, "qc")) == 1
        with conn.transaction():
            assert len(feed.changes(conn, "qc")) == 1
    assert new(store) == []


def test_two_jobs_of_the_same_name_share_the_changes(store, writer):
    writer.write([said(batch(samples(10)))])
    got = []
    start = threading.Barrier(4)

    def job():
        with connect(store) as conn:
            start.wait()
            with conn.transaction():
                changes = feed.changes(conn, "qc")
                conn.execute("SELECT pg_sleep(0.1)")
            got.append(len(changes))

    threads = [threading.Thread(target=job) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [0, 0, 0, 1]


def test_many_writers_and_readers_at_once_lose_and_double_nothing(store):
    writers, batches = 4, 25
    seen, done = [], threading.Event()

    def write(k):
        with connect(store) as conn:
            writer = Writer(conn)
            for i in range(batches):
                first = START + (k * batches + i) * 7_300
                writer.write([said(batch(samples(3, first=first), spool=f"w{k}", seq=i + 1))])

    def read():
        with connect(store) as conn:
            while True:
                last = done.is_set()
                with conn.transaction():
                    seen.extend(feed.changes(conn, "qc"))
                if last:
                    return

    threads = [threading.Thread(target=write, args=(k,)) for k in range(writers)]
    readers = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads + readers:
        thread.start()
    for thread in threads:
        thread.join()
    settle(store)
    done.set()
    for thread in readers:
        thread.join()
    assert sorted(change.start for change in seen) == [
        window(START + n * 7_300, 0).start for n in range(writers * batches)
    ]


def test_outside_of_a_transaction_it_is_refused(plain_store):
    with connect(plain_store) as conn, pytest.raises(StoreError, match="outside of a transaction"):
        feed.changes(conn, "qc")


def test_a_database_restored_on_another_server_is_noticed_and_adopted(store, writer):
    writer.write([said(batch(samples(10), seq=1))])
    assert len(new(store)) == 1
    writer.write([said(batch(samples(10, first=START + 7200), seq=2))])
    with psycopg.connect(store) as conn:  # as if the other server had counted much further
        conn.execute("UPDATE message SET xid = (xid::text::bigint + 4e9::bigint)::text::xid8")
        conn.execute("UPDATE feed_cursor SET xid = (xid::text::bigint + 4e9::bigint)::text::xid8")
    with pytest.raises(StoreError, match=r"ahead of this server's \d+: .*`skyledger db adopt`"):
        new(store, among_others=True)
    with connect(store) as conn:
        assert feed.adopt(conn) == 2
    assert new(store) == [window(START + 7200, START + 7209)]
    assert new(store) == []
    assert len(new(store, "other")) == 2
