from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from ingest import read
from ingest.errors import StoreError
from qc.schema import READINGS, require
from station_agent.drivers import read_file
from station_agent.sample import Sample
from tests.ingest.payloads import START, batch, said, samples


def readings(dsn, **options):
    return read.readings(dsn, station="lin-an", instrument="g2301", **options)


def test_readings_come_back_as_they_were_sent(store, writer):
    rows = [
        Sample(START * 10**9, {"co2": 400.1, "h2o": 1.2}, port="1", status=963, mark=1),
        Sample((START + 1) * 10**9, {"ch4": 1900.5}, port=None, status=None),
        Sample((START + 2) * 10**9, {"co2": 0.1 + 0.2}, port="10", status=-5),
    ]
    writer.write([said(batch(rows))])
    ds = readings(store)
    require(ds, READINGS)
    times = np.array([START, START + 1, START + 2], dtype="datetime64[s]").astype("datetime64[ns]")
    np.testing.assert_array_equal(ds.time, times)
    np.testing.assert_array_equal(ds.co2, [400.1, np.nan, 0.1 + 0.2])
    np.testing.assert_array_equal(ds.ch4, [np.nan, 1900.5, np.nan])
    np.testing.assert_array_equal(ds.h2o, [1.2, np.nan, np.nan])
    assert ds.port.values.tolist() == ["1", "", "10"]
    np.testing.assert_array_equal(ds.status, [963, np.nan, -5])
    assert ds.mark.values.tolist() == [1, 0, 0]
    assert ds.attrs == {"station": "lin-an", "instrument": "g2301"}
    assert ds.co2.attrs["units"] == "umol mol-1"


def test_a_window_and_some_quantities(store, writer):
    writer.write([said(batch(samples(60))), said(batch(samples(60, first=START + 86400 * 3), seq=2))])
    ds = readings(
        store, start=f"{datetime.fromtimestamp(START + 10, UTC):%Y-%m-%dT%H:%M:%S}", quantities=["ch4", "wind_speed"]
    )
    assert ds.sizes["time"] == 110
    assert set(ds.data_vars) == {"ch4", "wind_speed", "port", "status", "mark"}
    assert ds.wind_speed.isnull().all()
    bounds = {
        "start": np.datetime64(START + 20, "s"),
        "end": datetime.fromtimestamp(START + 25, timezone(timedelta(hours=8))),
    }
    assert readings(store, **bounds).sizes["time"] == 5


def test_nothing_there_is_an_empty_dataset(store):
    ds = readings(store)
    require(ds, READINGS)
    assert ds.sizes["time"] == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"station": "lin-am", "instrument": "g2301"}, "'lin-am' is not in the catalogue, did you mean 'lin-an'?"),
        ({"station": "lin-an", "instrument": "x"}, "'lin-an' has no instrument 'x', it has g2301, li850"),
        ({"station": "lin-an", "instrument": "g2301", "quantities": ["co"]}, None),
        ({"station": "lin-an", "instrument": "g2301", "quantities": ["co3"]}, "'co3' is not known, did you mean 'co'"),
        ({"station": "lin-an", "instrument": "g2301", "start": "yesterday"}, "'yesterday' is not a time"),
    ],
)
def test_what_does_not_exist_is_said(plain_store, options, sentence):
    if sentence is None:
        assert "co" in read.readings(plain_store, **options)
        return
    with pytest.raises(StoreError, match=sentence):
        read.readings(plain_store, **options)


def test_the_real_hour_of_a_g2301_comes_back_exactly(store, writer, shared):
    rows = list(read_file(shared / "data/instruments/picarro_g2301_hour.dat"))
    batches = [said(batch(rows[i : i + 60], seq=i + 1)) for i in range(0, len(rows), 60)]
    entered = writer.write(batches)
    expected: dict[str, dict[int, float]] = {}
    for row in rows:
        for name, value in row.values.items():
            expected.setdefault(name, {}).setdefault(row.time_ns, value)
    assert len(expected["co2"]) == 1206
    assert entered.written.new == sum(map(len, expected.values()))
    ds = readings(store)
    for name, values in expected.items():
        got = ds[name].dropna("time")
        assert dict(zip(got.time.values.astype(int).tolist(), got.values.tolist(), strict=True)) == values
    assert float(ds.co2.mean()) == pytest.approx(np.mean(list(expected["co2"].values())), abs=1e-9)
    again = [said(batch(rows[i : i + 47], spool="again", seq=i + 1)) for i in range(0, len(rows), 47)]
    assert writer.write(again).written.new == 0
