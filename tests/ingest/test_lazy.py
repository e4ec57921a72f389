"""Readings of long ranges, fetched when looked at."""

from datetime import UTC, datetime, timedelta

import dask
import dask.array as da
import numpy as np
import psycopg
import pytest
import xarray as xr

from ingest import lazy, read
from ingest.errors import StoreError
from qc.schema import READINGS, require
from station_agent.sample import Sample
from tests.ingest.payloads import START, batch, said, samples

FIRST = datetime.fromtimestamp(START, UTC)
WHO = {"station": "lin-an", "instrument": "g2301"}
DAY = timedelta(days=1)


@pytest.fixture
def filled(store, writer):
    """Three days with a gap of one; gases at different times, ports and states."""
    for number, day in enumerate((0, 1, 3)):
        rows = samples(300, first=START + 86_400 * day, step=60.0, port=str(number))
        rows += [Sample((START + 86_400 * day + 30 + 60 * k) * 10**9, {"h2o_reported": 1.5}) for k in range(40)]
        writer.write([said(batch(rows, seq=number + 1))])
    return store


def opened(dsn, **options):
    return lazy.readings(dsn, **{**WHO, "start": FIRST, "end": FIRST + 5 * DAY, **options})


def test_it_is_what_is_read_at_once(filled):
    ds = opened(filled)
    require(ds, READINGS)
    assert isinstance(ds.co2.data, da.Array)
    assert ds.co2.chunks == ((340, 340, 340),)
    xr.testing.assert_identical(ds.compute(), read.readings(filled, start=FIRST, end=FIRST + 5 * DAY, **WHO))
    some = opened(filled, quantities=["ch4", "wind_speed"], chunk=2 * DAY)
    assert set(some.data_vars) == {"ch4", "wind_speed", "port", "status", "mark"}
    assert some.ch4.chunks == ((600, 300),)


def test_only_what_is_looked_at_is_read(filled, monkeypatch):
    loaded, load = [], lazy._load

    def counted(*arguments):
        loaded.append(arguments[2])
        return load(*arguments)

    monkeypatch.setattr(lazy, "_load", counted)
    ds = opened(filled)
    assert loaded == []
    with dask.config.set(scheduler="threads"):
        assert float(ds.co2.sel(time=slice(FIRST.replace(tzinfo=None) + 3 * DAY, None)).max()) > 400
        assert loaded == [FIRST + 3 * DAY]
        loaded.clear()
        ds.compute()
    assert sorted(loaded) == [FIRST, FIRST + DAY, FIRST + 3 * DAY]


def test_late_data_do_not_move_what_is_open(filled, writer):
    ds = opened(filled)
    late = [Sample((START + 7 + 60 * k) * 10**9, {"co2": 1.0}) for k in range(50)]
    writer.write([said(batch(late, seq=90))])
    assert float(ds.co2.min()) > 300
    assert opened(filled).sizes["time"] == ds.sizes["time"] + 50
    with psycopg.connect(filled, autocommit=True) as conn:
        conn.execute("DELETE FROM reading")
    with pytest.raises(StoreError, match="are there no more: open the range again"):
        ds.compute()


def test_nothing_there_is_an_empty_dataset(plain_store):
    ds = opened(plain_store)
    require(ds, READINGS)
    assert ds.sizes["time"] == 0
    with pytest.raises(StoreError, match="expected an end after the start"):
        opened(plain_store, end=FIRST)
    np.testing.assert_array_equal(ds.time, [])
