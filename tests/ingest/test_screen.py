"""As many points as a screen has pixels, of readings and of means, on both levels of the store."""

from datetime import UTC, datetime, timedelta

import numpy as np
import psycopg
import pytest

from ingest import feed, preview, screen
from ingest.errors import StoreError
from qc.flags import Flag
from tests.ingest.payloads import START, batch, said, samples, until
from tests.ingest.test_products import HOUR, T0, obs, write

WHO = {"station": "lin-an", "instrument": "g2301", "quantity": "co2"}
BEGIN = START // 86_400 * 86_400


def moment(second):
    return datetime.fromtimestamp(BEGIN + second, UTC)


def put(writer, rows, *, seq):
    for k, at in enumerate(range(0, len(rows), 500)):
        writer.write([said(batch(rows[at : at + 500], spool=f"s{seq}", seq=k + 1))])


def roll(conn):
    until(lambda: feed.settled(conn))
    preview.refresh(conn)


def look(conn, first, last, **how):
    return screen.readings(conn, **WHO, start=moment(first), end=moment(last), **how)


@pytest.fixture
def filled(writer):
    """Three hours at 1 Hz, flat but for one spike, and the same of another position of the valve between."""
    rows = samples(10_800, first=BEGIN, names=("co2",), value=lambda i, _k: 999.0 if i == 5000 else 400.0, port="1")
    put(writer, rows, seq=1)
    put(writer, samples(600, first=BEGIN + 20_000, names=("co2",), value=lambda *_: 380.0, port="2"), seq=2)
    roll(writer.conn)
    return writer.conn


def test_few_readings_are_given_each_many_within_intervals_and_no_spike_is_lost(filled):
    each = look(filled, 4990, 5010)
    assert (each.source, each.step, each.size.tolist()) == ("readings", timedelta(0), [1] * 20)
    assert each.mean[10] == each.low[10] == each.high[10] == 999.0
    within = look(filled, 0, 10_800, pixels=100)
    assert (within.source, within.time.size) == ("readings", 100)
    assert within.size.sum() == 10_800
    assert within.high.max() == 999.0
    assert np.sort(within.high)[-2] == 400.0
    assert (within.low == 400.0).all()
    assert (np.diff(within.time) > np.timedelta64(0)).all()


def test_where_there_are_too_many_to_look_at_the_roll_ups_stand_in(filled, monkeypatch):
    exact = look(filled, -3600, 4 * 3600, pixels=5)
    monkeypatch.setattr(screen, "MOST_LOOKED_AT", 1000)
    rolled = look(filled, -3600, 4 * 3600, pixels=5)
    assert (exact.source, rolled.source) == ("readings", "hour")
    assert rolled.time.size <= 5
    assert rolled.size.sum() == 10_800
    assert rolled.high.max() == 999.0
    years = look(filled, -3000 * 86_400, 86_400, pixels=1000)
    assert (years.source, years.size.sum(), years.high.max()) == ("day", 11_400, 999.0)


def test_what_is_newer_than_the_roll_ups_is_there(filled, writer, monkeypatch):
    put(writer, samples(60, first=BEGIN + 11_000, names=("co2",)), seq=3)
    monkeypatch.setattr(screen, "MOST_SINGLE", 10)
    assert look(filled, 10_900, 12_000).size.sum() == 60


def test_only_some_positions_of_the_valve(filled):
    assert look(filled, 0, 86_400).size.sum() == 11_400
    assert look(filled, 0, 86_400, ports=["1"]).size.sum() == 10_800
    assert look(filled, 0, 86_400, ports=["none"]).size.sum() == 0


def test_windows_and_names_that_are_none(filled):
    with pytest.raises(StoreError, match="give its end after its start"):
        look(filled, 10, 10)
    with pytest.raises(StoreError, match="did you mean 'lin-an'"):
        screen.readings(filled, **WHO | {"station": "linan"}, start=moment(0), end=moment(1))
    assert screen.readings(filled, **WHO | {"quantity": "ch4"}, start=moment(0), end=moment(1)).time.size == 0


def test_the_series_there_are_and_how_far_they_reach(filled):
    found = screen.every(filled)
    assert [(one.inlet, one.height, one.gas, one.instruments, one.evaluated) for one in found] == [
        ("10m", 10.0, "co2", ("g2301",), False),
        ("50m", 50.0, "co2", ("g2301",), False),
    ]
    first, last = screen.extent(filled, station="lin-an", inlet="50m", gas="co2", instrument="g2301")
    assert (first, last) == (np.datetime64(BEGIN, "s"), np.datetime64(BEGIN + 20_599, "s"))
    assert screen.extent(filled, station="lin-an", inlet="50m", gas="co2") is None


def test_a_connection_for_screens_can_only_read(store):
    with screen.connect(store) as conn:
        assert len(screen.every(conn)) == 0
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            conn.execute("DELETE FROM station")


# --- means ---------------------------------------------------------------------------------------


def seen(dsn, hours, **how):
    start = T0.astype("datetime64[us]").item().replace(tzinfo=UTC)
    with screen.connect(dsn) as conn:
        return screen.means(
            conn, station="lin-an", inlet="50m", gas="co2", start=start, end=start + timedelta(hours=hours), **how
        )


def test_means_are_given_by_flag_each_by_the_run_that_counts(store):
    hours = obs(np.arange(1000.0))
    hours["co2_flag"].values[[500, 501]] = Flag.BAD
    write(store, None, hours)
    write(store, None, obs([9999.0], first=T0 + 600 * HOUR))
    each = seen(store, 1000)
    assert set(each) == {Flag.GOOD, Flag.BAD}
    assert {one.source for one in each.values()} == {"hour"}
    assert each[Flag.BAD].mean.tolist() == [500.0, 501.0]
    assert each[Flag.GOOD].time[0] == T0
    binned = seen(store, 1000, pixels=100)[Flag.GOOD]
    assert (binned.step, binned.size.sum()) == (timedelta(hours=10), 998)
    assert binned.time.size <= 101
    assert binned.high.max() == 9999.0  # one hour of ten


def test_minutes_in_short_windows_and_what_has_no_value_is_not_drawn(store):
    minutes = obs([1.0, np.nan, 3.0], interval=np.timedelta64(60, "s"))
    write(store, minutes, obs([2.0]))
    each = seen(store, 1)
    assert (each[Flag.GOOD].source, each[Flag.GOOD].mean.tolist()) == ("minute", [1.0, 3.0])
    assert each[Flag.BAD].time.size == 0
    with screen.connect(store) as conn:
        assert screen.extent(conn, station="lin-an", inlet="50m", gas="co2") == (T0, T0 + np.timedelta64(120, "s"))
        assert [(one.inlet, one.gas, one.evaluated) for one in screen.every(conn)] == [("50m", "co2", True)]
