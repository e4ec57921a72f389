from datetime import date

import numpy as np
import pytest
import xarray as xr

from ingest import products, read
from ingest.database import connect
from ingest.errors import StoreError
from ingest.products import InventoryEntry, InversionRun, QcRun, Region
from qc.flags import flag_attributes
from qc.schema import OBS, require
from tests.ingest.payloads import START

HOUR = np.timedelta64(3600, "s")
T0 = np.datetime64(START // 3600 * 3600, "s").astype("datetime64[ns]")


def obs(values, *, first=T0, gases=("co2",), interval=HOUR, scale="WMO CO2 X2019", **attrs):
    values = np.asarray(values, dtype=np.float64)
    start = first + np.arange(values.size) * interval
    variables = {"time_bnds": (("time", "bnds"), np.stack([start, start + interval], axis=1))}
    for gas in gases:
        units = {"units": "umol mol-1" if gas == "co2" else "nmol mol-1"}
        bad = np.isnan(values)
        variables |= {
            gas: (
                "time",
                values,
                {**units, "scale": scale, "standard_name": f"mole_fraction_of_{NAMES[gas]}_in_dry_air"},
            ),
            f"{gas}_stdev": ("time", np.where(bad, np.nan, 0.1), units),
            f"{gas}_n": ("time", np.where(bad, 0, 12), {"units": "1"}),
            f"{gas}_uncertainty": ("time", np.where(bad, np.nan, 0.05), units),
            f"{gas}_flag": ("time", np.where(bad, 4, 1).astype(np.int8), flag_attributes()),
            f"{gas}_cause": ("time", np.where(bad, 8, 0).astype(np.int32), {"flag_masks": 1, "flag_meanings": "x"}),
            f"{gas}_n_rejected": ("time", np.full(values.size, 3), {"units": "1"}),
        }
    place = {"station": "lin-an", "inlet": "50m", "inlet_height": 50.0, "latitude": 30.3, "longitude": 119.7}
    return xr.Dataset(variables, {"time": start + interval / 2}, {**place, "altitude": 139.0, **attrs})


NAMES = {"co2": "carbon_dioxide", "ch4": "methane"}


def write(dsn, minutes, hours, **run):
    with connect(dsn) as conn, conn.transaction():
        return products.write(conn, QcRun("1.0", "abc", {"n": 3}, **run), minutes, hours)


def hourly(dsn, **options):
    return read.hourly(dsn, station="lin-an", inlet="50m", **options)


def test_means_come_back_as_they_were_written(store):
    given = obs([400.1, np.nan, 402.3], gases=("co2", "ch4"))
    minutes = obs(np.arange(60) / 3, interval=np.timedelta64(60, "s"))
    write(store, minutes, given)
    got = hourly(store)
    require(got, OBS)
    for name, variable in given.data_vars.items():
        np.testing.assert_array_equal(got[name].values, variable.values, err_msg=name)
    np.testing.assert_array_equal(got.time, given.time)
    assert got.co2.attrs["scale"] == "WMO CO2 X2019"
    assert got.attrs == {**given.attrs, "code_version": "1.0", "configuration_digest": "abc"}
    np.testing.assert_array_equal(read.minutes(store, station="lin-an", inlet="50m").co2, minutes.co2)
    part = hourly(store, species="ch4", start=T0 + HOUR, end=T0 + 2 * HOUR)
    assert (OBS.species(part), part.sizes["time"]) == (["ch4"], 1)


def test_a_later_run_stands_before_an_earlier_one(store):
    write(store, None, obs([1.0, 2.0, 3.0], gases=("co2", "ch4")))
    write(store, None, obs([20.0], first=T0 + HOUR))
    assert hourly(store, species="co2").co2.values.tolist() == [1.0, 20.0, 3.0]
    assert hourly(store, species=["ch4"]).ch4.values.tolist() == [1.0, 2.0, 3.0]


def test_a_run_speaks_for_its_window_also_where_it_has_nothing(store):
    write(store, None, obs([1.0, 2.0, 3.0]))
    write(store, None, obs([20.0], first=T0 + HOUR), start=T0, end=T0 + 2 * HOUR)
    assert hourly(store).co2.values.tolist() == [20.0, 3.0]


def test_runs_are_seen_when_they_are_committed(store):
    with connect(store) as conn, conn.transaction():
        products.write(conn, QcRun("1.0", "abc"), None, obs([1.0]))
        with pytest.raises(StoreError, match="no hour means at lin-an/50m in this range"):
            hourly(store)
    assert hourly(store).sizes["time"] == 1


@pytest.mark.parametrize(
    ("hours", "sentence"),
    [
        (obs([1.0], inlet="9m"), "'lin-an' has no inlet '9m' in the catalogue, it has 10m, 50m"),
        (obs([1.0], station="x"), "'x' has no inlet '50m' in the catalogue, and no inlets or no such station"),
        (obs([1.0], first=T0 + np.timedelta64(60, "s")), "is not a whole hour"),
        (obs([1.0], interval=np.timedelta64(60, "s")), "is not a whole hour"),
        (None, "neither minutes nor hours"),
    ],
)
def test_what_cannot_be_written_is_refused(plain_store, hours, sentence):
    with pytest.raises(StoreError, match=sentence):
        write(plain_store, None, hours)


def test_two_scales_in_one_range_are_not_mixed(plain_store):
    write(plain_store, None, obs([1.0, 2.0]))
    write(plain_store, None, obs([3.0], scale="WMO CO2 X2007"))
    with pytest.raises(StoreError, match=r"co2 in this range are on WMO CO2 X2007 .* and WMO CO2 X2019"):
        hourly(plain_store)
    assert hourly(plain_store, start=T0 + HOUR).co2.values.tolist() == [2.0]


def test_an_inversion_and_an_inventory_are_kept(plain_store):
    covariance = np.array([[4.0, 1.0], [1.0, 9.0]])
    regions = [Region("CN-ZJ", "Gg a-1", 10, 5, 12, 2), Region("CN-JS", "Gg a-1", 20, 8, 18, 3)]
    run = InversionRun("co2", "2026-01-01", "2026-02-01", "1.0", "abc", {"hours": 3}, {"chi2": 1.1}, ["fine"])
    year = (date(2025, 1, 1), date(2025, 12, 31))
    entries = [
        InventoryEntry("provincial", "CN-ZJ", "co2", *year, 400.0, "Tg a-1", 20.0),
        InventoryEntry("provincial", "CN-ZJ", "co2", *year, None, "Tg a-1", category="4", notation="NE"),
    ]
    with connect(plain_store) as conn:
        with conn.transaction():
            number = products.write_inversion(conn, run, regions, covariance=covariance)
            assert products.write_inventory(conn, entries) == 2
            assert products.write_inventory(conn, entries) == 0
        rows = conn.execute(
            "SELECT region, posterior, covariance FROM posterior_region WHERE run_id = %s ORDER BY position", [number]
        ).fetchall()
        assert rows == [("CN-ZJ", 12.0, [4.0, 1.0]), ("CN-JS", 18.0, [1.0, 9.0])]
        with pytest.raises(StoreError, match="give a new vintage"), conn.transaction():
            products.write_inventory(conn, [InventoryEntry("provincial", "CN-ZJ", "co2", *year, 1.0, "Tg a-1")])
        with pytest.raises(StoreError, match="diagonal"), conn.transaction():
            products.write_inversion(conn, run, regions, covariance=np.eye(2))
