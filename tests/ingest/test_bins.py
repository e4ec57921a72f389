"""Readings binned by the database, fetched when looked at."""

from datetime import UTC, datetime, timedelta

import dask
import numpy as np
import pytest

from ingest import bins, read
from ingest.errors import StoreError
from tests.ingest.payloads import START, batch, said, samples

FIRST = datetime.fromtimestamp(START, UTC)
HOUR = timedelta(hours=1)


def binned(dsn, **options):
    options = {"station": "lin-an", "instrument": "g2301", "start": FIRST, "end": FIRST + 50 * HOUR, **options}
    return bins.binned(dsn, **options)


@pytest.fixture
def filled(store, writer):
    """Two days with a gap, at uneven times, from two valve positions."""
    for number, (hour, port) in enumerate([(0, "1"), (1, "1"), (30, "2"), (49, "1")]):
        rows = samples(700, first=START + 3600 * hour + 0.25, step=5.1, port=port, value=lambda i, k: 400 + i % 17 + k)
        writer.write(
            [said(batch(rows[at : at + 100], spool=port, seq=7 * number + at // 100 + 1)) for at in range(0, 700, 100)]
        )
    return store


def test_means_are_those_of_the_readings(filled):
    ds = binned(filled)
    plain = read.readings(filled, station="lin-an", instrument="g2301", start=FIRST, end=FIRST + 50 * HOUR)
    place = ((plain.time.values - ds.time.values[0]) / np.timedelta64(60, "s")).astype(int)
    n = np.bincount(place, minlength=3000)
    np.testing.assert_array_equal(ds.co2_n, n)
    np.testing.assert_array_equal(ds.time_bnds, np.stack([ds.time, ds.time + np.timedelta64(60, "s")], axis=1))
    with np.errstate(invalid="ignore"):
        mean = np.bincount(place, plain.co2.values, minlength=3000) / n
        square = np.bincount(place, plain.co2.values**2, minlength=3000)
    np.testing.assert_allclose(ds.co2, np.where(n > 0, mean, np.nan), rtol=1e-12)
    several = n > 1
    variance = (square[several] - n[several] * mean[several] ** 2) / (n[several] - 1)
    np.testing.assert_allclose(ds.co2_stdev[several], np.sqrt(variance), rtol=1e-4)
    assert np.isnan(ds.co2_stdev[~several]).all()
    assert (ds.co2.attrs["units"], ds.co2.attrs["cell_methods"]) == ("umol mol-1", "time: mean")


def test_nothing_is_read_before_it_is_looked_at_and_then_only_that(filled, monkeypatch):
    loaded = []
    load = bins._load

    def counted(*arguments):
        loaded.append(arguments[2])
        return load(*arguments)

    monkeypatch.setattr(bins, "_load", counted)
    ds = binned(filled, chunk=10 * HOUR)
    assert ds.co2.chunks == ((600,) * 5,)
    assert loaded == []
    with dask.config.set(scheduler="threads"):
        assert float(ds.co2.isel(time=slice(1805, 1807)).compute().notnull().sum()) == 2
        assert loaded == [FIRST + 30 * HOUR]
        loaded.clear()
        ds.compute()  # each chunk once, for all quantities
    assert sorted(loaded) == [FIRST + 10 * number * HOUR for number in range(5)]


def test_one_valve_position_and_some_quantities(filled):
    ds = binned(filled, port="2", quantities=["ch4", "wind_speed"], every=HOUR, end=FIRST + timedelta(hours=49.5))
    assert ds.sizes["time"] == 50
    assert np.flatnonzero(ds.ch4_n.values).tolist() == [30]
    assert int(ds.ch4_n[30]) == 700
    assert ds.wind_speed.isnull().all()
    assert ds.time_bnds.values[-1, 1] == np.datetime64((FIRST + timedelta(hours=49.5)).replace(tzinfo=None), "ns")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"end": FIRST}, "expected an end after the start"),
        ({"every": timedelta(0)}, "expected an end after the start"),
        ({"chunk": timedelta(days=365), "every": timedelta(seconds=1)}, "expected at most 100000"),
        ({"quantities": ["c02"]}, "did you mean 'co2'"),
        ({"station": "linan"}, "is not in the catalogue, did you mean 'lin-an'"),
    ],
)
def test_what_cannot_be_is_said(plain_store, options, sentence):
    with pytest.raises(StoreError, match=sentence):
        binned(plain_store, **options)
