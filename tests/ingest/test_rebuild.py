import random
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from ingest import aside
from ingest.database import connect
from ingest.errors import StoreError
from ingest.rebuild import MOST_READINGS, Rebuilt, _groups, rebuild
from ingest.store import Writer
from station_agent.sample import Sample
from tests.ingest.payloads import START, batch, census, said, samples, table

FIRST = datetime.fromtimestamp(START, UTC)
ALWAYS = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))


def fill(store, writer):
    """Batches of three days with repetitions, conflicts, a mend, in several transactions."""
    rng = random.Random(3)
    messages = []
    for k in range(30):
        rows = samples(20, first=START + 8000 * (k % 25), names=("co2", "ch4", "h2o"))
        for row in rows:
            if rng.random() < 0.1:
                row.values["co2"] += rng.choice((1, 2))
        station, instrument = rng.choice(("lin-an", "wuhan")), rng.choice(("g2301", "li850"))
        messages.append(said(batch(rows, spool=f"k{k}"), station=station, instrument=instrument))
    rng.shuffle(messages)
    for i in range(0, 30, 7):
        writer.write(messages[i : i + 7])
    writer.write([said(batch(samples(20), spool="late"), station="linan")])
    (entry,) = aside.entries(store)
    aside.mend(store, entry.id, aside.Correction(station="lin-an"), who="me", why="renamed")
    aside.replay(store)


@pytest.mark.parametrize("most", [MOST_READINGS, 100])
def test_rebuilt_readings_are_the_same_rows(store, writer, monkeypatch, most):
    monkeypatch.setattr("ingest.rebuild.MOST_READINGS", most)
    fill(store, writer)
    before, counts = table(store), census(store)
    assert counts["rows_aside"] > 5
    done = rebuild(store, *ALWAYS)
    assert (done.rows, done.before, done.aside) == (len(before), len(before), 0)
    assert table(store) == before
    assert census(store) == counts
    with psycopg.connect(store, autocommit=True) as conn:
        conn.execute("DELETE FROM reading")
    rebuild(store, *ALWAYS)
    assert table(store) == before


def test_instruments_are_replaced_in_groups_that_fit(monkeypatch):
    monkeypatch.setattr("ingest.rebuild.MOST_READINGS", 10)
    groups = list(_groups([(2, 6), (3, 4), (4, 50), (5, 1)], [1, 2, 3, 4, 5, 6]))
    assert groups == [[1, 2, 3], [4], [5, 6]]


def test_a_window_of_one_station_is_replaced_and_nothing_else(store, writer):
    fill(store, writer)
    before = table(store)
    start, end = FIRST + timedelta(hours=3), FIRST + timedelta(hours=30)
    with psycopg.connect(store, autocommit=True) as conn:
        conn.execute("UPDATE reading SET value = -1")
    rebuild(store, start, end, station="lin-an")
    after = table(store)
    assert [row[:3] for row in after] == [row[:3] for row in before]
    good = sum(row[3] != -1 for row in after)
    assert 0 < good < len(after)
    assert all(new == old for new, old in zip(after, before, strict=True) if new[3] != -1)
    assert all(start <= row[2] < end for row in after if row[3] != -1)


def test_rows_of_a_day_that_was_dropped_come_back(plain_store):
    with connect(plain_store) as conn:
        writer = Writer(conn)
        writer.write([said(batch(samples(60)))])
        before = table(plain_store)
        conn.execute(f"DROP TABLE reading_{FIRST:%Y%m%d}")
        # another value for a time whose row is gone is stored now: both messages claim it
        writer.write([said(batch([Sample(START * 10**9, {"co2": 5.0})], seq=2))])
    assert len(table(plain_store)) == 1
    done = rebuild(plain_store, *ALWAYS)
    assert done == Rebuilt(messages=2, before=1, rows=240, aside=1)
    assert table(plain_store) == before
    assert rebuild(plain_store, *ALWAYS) == Rebuilt(messages=2, before=240, rows=240)


def test_an_empty_window_and_an_empty_store(plain_store):
    assert rebuild(plain_store, *ALWAYS) == Rebuilt()
    with pytest.raises(StoreError, match="is empty"):
        rebuild(plain_store, ALWAYS[1], ALWAYS[0])
    with pytest.raises(StoreError, match="no instrument at all of station nowhere"):
        rebuild(plain_store, *ALWAYS, station="nowhere")
