"""Inventories in space and time: mass conserved to rounding for every region, category and period."""

import datetime as dt

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from inversion import masks, priors, regions
from inversion.datasets import FLUX
from inversion.inventory import Entry, Inventory, InventoryError, Period, profiles
from inversion.inventory.fields import Timing, fields
from inversion.inventory.profiles import Profile, Profiles
from inversion.provinces import RegionError
from qc.schema import require
from qc.units import MOLAR_MASS

GRID = (np.arange(27.25, 32, 0.5), np.arange(117.25, 124, 0.5))
CODES = ["CN-ZJ", "CN-SH"]
RUSH = (1, 1, 1, 1, 1, 2, 4, 6, 6, 4, 3, 3, 3, 3, 3, 4, 6, 7, 5, 3, 2, 2, 1, 1)
WINTER = (14, 11, 9, 7, 6, 6, 7, 7, 6, 7, 9, 12)
YEAR = Period.parse("2023")


@pytest.fixture(scope="module")
def two():
    return regions.fractions(*GRID, codes=CODES)


def ledger(values, *, period="2023", gas="co2"):
    entries = [
        Entry(region=code, gas=gas, period=Period.parse(period), value=value, category=category, sigma=1.0)
        for (code, category), value in values.items()
    ]
    return Inventory(tuple(entries), name="a ledger")


VALUES = {("CN-ZJ", "1.A.1"): 300.0, ("CN-SH", "1.A.1"): 90.0, ("CN-ZJ", "1.A.3"): 80.0, ("CN-SH", "1.A.3"): 40.0}


def masses(ds, category, gas="co2"):
    """kt of each region over all intervals."""
    name = category.replace(".", "_")
    length = (ds["time_bnds"][:, 1] - ds["time_bnds"][:, 0]) / np.timedelta64(1, "s")
    density = (ds[f"flux_{name}"] * length).sum("time") * ds["cell_area"] * MOLAR_MASS[gas] / 1e6
    return (density * ds[f"share_{name}"]).sum(["latitude", "longitude"]).values


@settings(max_examples=20, deadline=None)
@given(
    month=st.none() | st.lists(st.floats(0.01, 10), min_size=12, max_size=12),
    weekday=st.none() | st.lists(st.floats(0.01, 10), min_size=7, max_size=7),
    hour=st.none() | st.lists(st.floats(0.01, 10), min_size=24, max_size=24),
    every=st.sampled_from(["month", "day"]),
    clock=st.sampled_from([0.0, 8.0, 5.5, -3.0]),
    period=st.sampled_from(["2023", "2024", "2023-02", "2023-01/2023-02", "2024-02-28/2024-03-05"]),
    seed=st.integers(0, 1000),
)
def test_mass_is_conserved_by_region_and_category(month, weekday, hour, every, clock, period, seed):
    two = regions.fractions(*GRID, codes=CODES)
    rng = np.random.default_rng(seed)
    profile = Profile(*(None if w is None else tuple(w) for w in (month, weekday, hour)), source="drawn")
    values = {key: value * rng.uniform(0.1, 3) for key, value in VALUES.items()}
    book = ledger(values, period=period)
    proxy = rng.uniform(0, 1, two["cell_area"].shape) ** 4
    timing = Timing(Profiles({"1.A": profile}, "drawn"), every, clock)
    ds = fields(book, two, "co2", categories=["1.A.1", "1.A.3"], period=period, proxies={"1.A.3": proxy}, timing=timing)
    for category in ("1.A.1", "1.A.3"):
        wanted = np.array([values[code, category] for code in CODES]) * two["covered"].values
        np.testing.assert_allclose(masses(ds, category), wanted, rtol=1e-12)
    np.testing.assert_allclose(ds["flux_total_prior"], ds["flux_1_A_1"] + ds["flux_1_A_3"])


def test_months_get_their_shares_whatever_days_and_hours():
    profile = Profile(WINTER, (1, 1, 1, 1, 1, 0.5, 0.3), RUSH, "made up")
    for every in ("month", "day", "hour"):
        factor = profile.factors(YEAR, every=every)
        seconds = (factor["time_end"] - factor["time"]) / np.timedelta64(1, "s")
        local = (factor["time"].values + np.timedelta64(8, "h")).astype("datetime64[M]").astype(int) % 12
        got = np.bincount(local, (factor * seconds).values)
        np.testing.assert_allclose(got / got.sum(), np.array(WINTER) / sum(WINTER), rtol=1e-12)
        np.testing.assert_allclose(float((factor * seconds).sum() / seconds.sum()), 1.0, rtol=1e-13)


def test_hours_and_weekdays_are_those_of_the_clock():
    hourly = Profile(hour=RUSH, weekday=(1, 1, 1, 1, 1, 0.5, 0.3)).factors(YEAR, every="hour")
    assert hourly["time"].values[0] == np.datetime64("2022-12-31T16:00")  # midnight in Beijing
    assert hourly["time_end"].values[-1] == np.datetime64("2023-12-31T16:00")
    monday = hourly.sel(time=slice("2023-03-05T16:00", "2023-03-06T15:00"))  # Monday 6 March in Beijing
    assert int(monday.values.argmax()) == RUSH.index(7)
    sunday = hourly.sel(time=slice("2023-03-04T16:00", "2023-03-05T15:00"))
    np.testing.assert_allclose(sunday.values / monday.values, 0.3, rtol=1e-12)


def test_half_a_month_has_half_of_its_share():
    part = Profile(month=(1, 3, *[0] * 10)).factors(Period(dt.date(2023, 1, 1), dt.date(2023, 2, 15)))
    days = np.array([31, 14])
    np.testing.assert_allclose(part.values * days / 45, np.array([1, 1.5]) / 2.5)
    with pytest.raises(InventoryError, match="months of 2023-05 have no share"):
        Profile(month=(1, 3, *[0] * 10)).factors(Period.parse("2023-05"))
    with pytest.raises(InventoryError, match="days and hours all have the weight 0"):
        Profile(weekday=(0,) * 5 + (1, 1)).factors(Period(dt.date(2023, 3, 6), dt.date(2023, 3, 8)))


def test_what_is_written_is_what_an_inversion_reads(two, tmp_path):
    timing = Timing(Profiles({"1.A.3": Profile(WINTER, source="made up")}, "v1"))
    ds = fields(ledger(VALUES), two, "co2", categories=["1.A.1", "1.A.3"], period="2023", timing=timing)
    require(ds, FLUX)
    ds.to_netcdf(tmp_path / "prior.nc")
    grid = xr.Dataset(coords={"latitude": GRID[0], "longitude": GRID[1]})
    read = priors.read_flux(tmp_path / "prior.nc", "co2", grid, variable="flux_1_A_3")
    np.testing.assert_allclose(read.values, ds["flux_1_A_3"].values, rtol=1e-6)
    assert (read["time"].values == ds["time_bnds"].values[:, 0]).all()
    assert ds.attrs["profiles"] == "v1"
    assert ds["flux_1_A_3"].attrs["profile"] == "made up"


def test_a_port_is_split_between_the_city_and_its_waters():
    """A coastal cell's emissions go to land and sea by what each emits, not by the sea's share of the cell."""
    sea = masks.marine(*GRID, {"CHN-M": masks.shapely.box(120.0, 27.0, 124.0, 32.0)})
    both = masks.together(regions.fractions(*GRID, codes=CODES), sea)
    book = ledger({("CN-ZJ", "1.A.3"): 80.0, ("CN-SH", "1.A.3"): 40.0, ("CHN-M", "1.A.3"): 12.0})
    ds = fields(book, both, "co2", categories=["1.A.3"], period="2023")
    np.testing.assert_allclose(masses(ds, "1.A.3"), np.array([80.0, 40.0, 12.0]) * both["covered"].values, rtol=1e-12)


def test_what_cannot_be_is_said(two):
    book = ledger(VALUES)
    with pytest.raises(InventoryError, match=r"1\.A and 1\.A\.1 have emissions in common"):
        fields(book, two, "co2", categories=["1.A", "1.A.1"], period="2023")
    with pytest.raises(InventoryError, match="no entry of"):
        fields(book, two, "co2", categories=["2.A"], period="2023")
    with pytest.raises(RegionError, match=r"Category 1\.A\.1: The proxy has cells"):
        fields(book, two, "co2", categories=["1.A.1"], period="2023", proxies={"0": -np.ones((10, 14))})
    less = Inventory(book.entries[1:], name="a ledger")
    assert (
        "CN-ZJ 1.A.1 (no entry)" in fields(less, two, "co2", categories=["1.A.1"], period="2023").attrs["without_value"]
    )


TABLE = "category,kind,step,weight,source\n" + "".join(
    f"1.A.3,month,{k + 1},{w},survey\n" for k, w in enumerate(WINTER)
)


def test_profiles_from_a_table(tmp_path):
    path = tmp_path / "profiles.csv"
    path.write_text(TABLE)
    known = profiles.read(path, version="2024")
    assert known.of("1.A.3.b").month == WINTER
    assert known.of("1.A.3.b").source == "survey"
    assert known.of("1.A.1").source == "even"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("1.A.3,month,5,", "1.A.3,month,13,"), "line 6: month 13 .*steps go from 1 to 12"),
        (("1.A.3,month,5,", "1.A.3,month,4,"), "month 4 of 1.A.3 is there twice"),
        (("1.A.3,month,5,", "1.A.3,week,5,"), "line 6: the kind is 'week'"),
        (("month,5,6,", "month,5,-6,"), "weights from 0"),
        (("month,5,6,", "month,5,six,"), "are to be numbers"),
        (("1.A.3,month,5,", "traffic,month,5,"), "line 6: .*traffic"),
        (("month,5,6,survey", "month,5,6,"), "has no source"),
        (("month,5,6,survey\n1.A.3,", "month,5,6,survey\n1.A.4,"), "lacks the steps"),
        (("kind,step", "sort,step"), "columns lack kind"),
    ],
)
def test_tables_that_cannot_be_are_refused(tmp_path, change, sentence):
    path = tmp_path / "profiles.csv"
    assert change[0] in TABLE
    path.write_text(TABLE.replace(*change, 1))
    with pytest.raises(InventoryError, match=sentence):
        profiles.read(path, version="2024")


@pytest.mark.parametrize("pair", [("M.AG", "3"), ("3", "M.LULUCF"), ("M.0.EL", "3"), ("1.A.1.a", "1.A"), ("0", "1")])
def test_what_would_hold_emissions_twice_is_refused(two, pair):
    book = ledger({("CN-ZJ", category): 10.0 for category in pair})
    with pytest.raises(InventoryError, match="have emissions in common"):
        fields(book, two, "co2", categories=pair, period="2023")


def test_bunkers_beside_the_total_are_not_counted_twice(two):
    book = ledger({("CN-ZJ", "0"): 10.0, ("CN-ZJ", "M.BK"): 2.0})
    ds = fields(book, two, "co2", categories=["0", "M.BK"], period="2023")
    assert "CN-SH 0 (no entry)" in ds.attrs["without_value"]
    assert ds.attrs["partly_inside"] == ""
    north = regions.fractions(GRID[0][6:], GRID[1], codes=CODES)
    part = fields(book, north, "co2", categories=["0"], period="2023").attrs["partly_inside"]
    assert part == f"CN-ZJ {float(north['covered'][0]):.0%}"
