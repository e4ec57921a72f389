"""Hours and days for screens, kept up with what comes in."""

import time
from datetime import UTC, datetime, timedelta

import numpy as np
import psycopg
import pytest

from ingest import feed, preview, read
from ingest.database import connect
from ingest.errors import StoreError
from ingest.maintain import maintain
from ingest.roller import Roller
from ingest.store import Writer
from station_agent.sample import Sample
from tests.ingest.payloads import START, batch, said, samples, until

WHO = {"station": "lin-an", "instrument": "g2301"}
HOUR = 3600
BEGIN = START // 86_400 * 86_400 - 86_400


def refreshed(conn):
    """Refresh once all that is stored can be seen."""
    until(lambda: feed.settled(conn))
    return preview.refresh(conn)


def put(writer, rows, *, seq):
    parts = [rows[at : at + 500] for at in range(0, len(rows), 500)]
    writer.write([said(batch(part, spool=f"s{seq}", seq=k + 1)) for k, part in enumerate(parts)])


def check(dsn, every, seconds):
    """Compare with the readings."""
    ds = preview.preview(dsn, every=every, **WHO)
    plain = read.readings(dsn, **WHO)
    place = plain.time.values.astype("datetime64[s]").astype(int) // seconds
    for name in ("co2", "ch4"):
        there = np.isfinite(plain[name].values)
        found = np.unique(place[there])
        assert (
            ds.time.values[ds[f"{name}_n"].values > 0].astype("datetime64[s]").astype(int).tolist()
            == (found * seconds).tolist()
        )
        for at, moment in zip(found, np.flatnonzero(ds[f"{name}_n"].values), strict=True):
            values = plain[name].values[there & (place == at)]
            got = [float(ds[f"{name}{end}"].values[moment]) for end in ("_n", "", "_low", "_high")]
            np.testing.assert_allclose(got, [values.size, values.mean(), values.min(), values.max()], rtol=1e-12)


def test_hours_and_days_are_those_of_the_readings_late_data_too(store, writer):
    dsn, conn = store, writer.conn
    put(writer, samples(2000, first=BEGIN + 1000, step=37.0), seq=1)
    assert refreshed(conn) == 1
    check(dsn, "hour", HOUR)
    check(dsn, "day", 24 * HOUR)
    assert refreshed(conn) == 0
    # Months late, and into an hour that has been rolled up.
    put(writer, samples(50, first=BEGIN - 90 * 86_400, step=11.0), seq=2)
    late = [Sample((BEGIN + 1010 + 37 * k) * 10**9, {"ch4": 1900.0 + k}) for k in range(300)]
    put(writer, late, seq=3)
    assert refreshed(conn) == 2
    check(dsn, "hour", HOUR)
    check(dsn, "day", 24 * HOUR)


def test_what_was_let_go_stays_to_be_seen(store, writer):
    dsn, conn = store, writer.conn
    put(writer, samples(500, first=BEGIN - 100 * 86_400, step=60.0), seq=1)
    refreshed(conn)
    before = preview.preview(dsn, **WHO)
    list(maintain(dsn, keep_days=5, now=datetime.fromtimestamp(START, UTC)))
    assert read.readings(dsn, **WHO).sizes["time"] == 0
    # One more value in an hour of which nothing else is left does not take its place.
    put(writer, [Sample((BEGIN - 100 * 86_400 + 7) * 10**9, {"co2": 1.0})], seq=2)
    refreshed(conn)
    assert preview.preview(dsn, **WHO).equals(before)


@pytest.fixture
def writer_of_plain(plain_store):
    with connect(plain_store) as conn:
        yield Writer(conn)


def test_a_window_and_nothing_there(plain_store, writer_of_plain):
    assert preview.preview(plain_store, **WHO).sizes["time"] == 0
    put(writer_of_plain, samples(500, first=BEGIN, step=60.0), seq=1)
    refreshed(writer_of_plain.conn)
    begin = datetime.fromtimestamp(BEGIN, UTC)
    ds = preview.preview(plain_store, start=begin + timedelta(hours=2), end=begin + timedelta(hours=5), **WHO)
    assert ds.sizes["time"] == 3
    assert ds.co2_n.values.tolist() == [60, 60, 60]
    assert ds.co2_high.attrs["cell_methods"] == "time: maximum"
    with pytest.raises(StoreError, match="has no instrument 'x'"):
        preview.preview(plain_store, station="lin-an", instrument="x")


def test_a_roller_keeps_up_and_stops_at_once(plain_store, writer_of_plain):
    put(writer_of_plain, samples(500, first=BEGIN, step=60.0), seq=1)
    with psycopg.connect(plain_store) as other:
        with Roller(plain_store, every=0.05):
            until(lambda: preview.preview(plain_store, **WHO).sizes["time"] == 9)
            # It waits for somebody else's lock, and does not hold up the end.
            other.execute("LOCK TABLE feed_cursor IN ACCESS EXCLUSIVE MODE")
            time.sleep(0.5)
            begin = time.monotonic()
        assert time.monotonic() - begin < 5


def test_a_roller_without_a_database_goes_on(caplog):
    with Roller("host=127.0.0.1 port=9 dbname=none", every=0.02):
        until(lambda: "previews wait" in caplog.text)
