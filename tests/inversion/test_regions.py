import json
import os
import subprocess
import sys

import numpy as np
import pyproj
import pytest
import shapely
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from inversion import regions
from inversion.provinces import PROVINCES, RegionError, province

CHINA = (np.arange(2.25, 55, 0.5), np.arange(72.25, 137, 0.5))
# Land areas as the provincial statistical yearbooks give them, thousand km2.
YEARBOOK = {
    "CN-ZJ": 105.5,
    "CN-JS": 107.2,
    "CN-AH": 140.1,
    "CN-FJ": 124.0,
    "CN-JX": 166.9,
    "CN-SD": 157.9,
    "CN-HB": 185.9,
    "CN-HN": 211.8,
    "CN-GD": 179.7,
    "CN-SX": 156.7,
    "CN-BJ": 16.4,
    "CN-CQ": 82.4,
    "CN-TW": 36.0,
}
GEOD = pyproj.Geod(ellps="WGS84")


@pytest.fixture(scope="module")
def china():
    return regions.fractions(*CHINA)


def test_34_units_with_codes_of_both_standards():
    assert len(PROVINCES) == 34
    for codes in ([u.iso for u in PROVINCES], [u.gbt2260 for u in PROVINCES], [u.name_zh for u in PROVINCES]):
        assert len(set(codes)) == 34
    # One unit of each great region: GB/T 2260 numbers them by the first digit.
    assert [province(key).iso for key in ("110000", "230000", "330000", "440000", "510000", "650000", "710000")] == [
        "CN-BJ",
        "CN-HL",
        "CN-ZJ",
        "CN-GD",
        "CN-SC",
        "CN-XJ",
        "CN-TW",
    ]


def test_names_and_codes_agree_with_natural_earth(shared):
    features = json.loads((shared / "data" / "geo" / "ne_50m_admin1_CHN31.geojson").read_text())["features"]
    assert len(features) == 31
    polygons = regions.polygons()
    for feature in features:
        code = feature["properties"]["iso_3166_2"]
        theirs = shapely.make_valid(shapely.geometry.shape(feature["geometry"]))
        ours = polygons[code]
        # The same place by an independent set of polygons: a swapped code or name would not overlap.
        assert shapely.intersection(ours, theirs).area > 0.7 * shapely.union(ours, theirs).area, code


@pytest.mark.parametrize(
    ("key", "iso"),
    [
        ("浙江", "CN-ZJ"),
        ("浙江省", "CN-ZJ"),
        ("33", "CN-ZJ"),
        ("zhejiang", "CN-ZJ"),
        ("内蒙古自治区", "CN-NM"),
        ("CN-XZ", "CN-XZ"),
    ],
)
def test_province_by_any_name(key, iso):
    assert province(key).iso == iso


def test_unknown_province_names_the_nearest():
    with pytest.raises(RegionError, match=r"'Zhejang'.*Zhejiang \(CN-ZJ\)"):
        province("Zhejang")


def test_cell_area_is_that_of_geodesics():
    latitude, longitude = np.array([-60.0, -59.0, 0.0, 1.0, 30.0, 31.0, 88.0, 89.0]), np.array([120.0, 121.0])
    for lat in (latitude[:2], latitude[2:4], latitude[4:6], latitude[6:]):
        area = regions.cell_area(lat, longitude)
        south, west = lat[0] - 0.5, 119.5
        # Parallels are no geodesics: a polygon with many points along them.
        along = np.linspace(west, west + 1, 2001)
        x = np.concatenate([along, along[::-1]])
        y = np.concatenate([np.full(2001, south), np.full(2001, south + 1)])
        expected = abs(GEOD.polygon_area_perimeter(x, y)[0])
        assert float(area[0, 0]) == pytest.approx(expected, rel=1e-6)


def test_cells_of_the_whole_earth_sum_to_its_surface():
    area = regions.cell_area(np.arange(-87.5, 90, 5.0), np.arange(-175.0, 180, 10.0))
    assert float(area.sum()) == pytest.approx(5.10065621724e14, rel=1e-11)  # WGS84


def test_area_of_every_province_equals_that_of_its_geodesic_polygon(china):
    area = (china.country_fraction * china.cell_area).sum(("latitude", "longitude"))
    for code, polygon in regions.polygons().items():
        expected = abs(GEOD.geometry_area_perimeter(polygon)[0])
        assert float(area.sel(country=code)) == pytest.approx(expected, rel=2e-4), code
    assert (china.covered > 1 - 1e-9).all()


@pytest.mark.parametrize(("code", "thousand_km2"), YEARBOOK.items())
def test_area_is_within_five_percent_of_the_yearbooks(china, code, thousand_km2):
    area = (china.country_fraction * china.cell_area).sum(("latitude", "longitude")).sel(country=code)
    assert float(area) / 1e9 == pytest.approx(thousand_km2, rel=0.05)


def test_fractions_sum_to_one_with_land_abroad_and_sea(china):
    total = china.country_fraction.sum("country") + china.foreign_land_fraction + china.marine_fraction
    assert np.abs(total - 1).max() < 1e-12
    assert (china.country_fraction >= 0).all()
    assert (china.country_fraction <= 1).all()


def test_inland_cells_are_all_land_and_open_sea_is_all_sea(china):
    inland = china.sel(latitude=30.25, longitude=115.25)  # where Hubei, Anhui and Jiangxi meet
    assert float(inland.country_fraction.sum()) == pytest.approx(1, abs=1e-9)
    assert float(china.marine_fraction.sel(latitude=18.25, longitude=135.25)) == 1
    korea = china.sel(latitude=36.75, longitude=127.75)
    assert float(korea.foreign_land_fraction) == 1
    border = china.sel(latitude=slice(32, 34), longitude=slice(115, 116.6)).country_fraction  # Henan and Anhui
    assert np.abs(border.sum("country") - 1).max() < 1e-9
    assert ((border > 1e-6) & (border < 1 - 1e-6)).any()


def test_a_finer_grid_adds_up_to_the_coarser():
    coarse = regions.fractions(np.arange(28.5, 33), np.arange(118.5, 123), codes=["CN-ZJ", "CN-JS", "CN-SH"])
    fine = regions.fractions(
        np.arange(28.125, 33, 0.25), np.arange(118.125, 123, 0.25), codes=["CN-ZJ", "CN-JS", "CN-SH"]
    )
    amount = (fine.country_fraction * fine.cell_area).coarsen(latitude=4, longitude=4).sum()
    np.testing.assert_allclose(amount.values, (coarse.country_fraction * coarse.cell_area).values, rtol=1e-9, atol=1.0)


def test_fraction_of_one_cell_equals_a_direct_intersection():
    grid = regions.fractions([30.25, 30.75], [121.75, 122.25], codes=["CN-ZJ"])
    cell = shapely.box(121.5, 30.0, 122.0, 30.5)
    part = shapely.intersection(regions.polygons()["CN-ZJ"], shapely.segmentize(cell, 0.01))
    expected = abs(GEOD.geometry_area_perimeter(part)[0]) / float(grid.cell_area[0, 0])
    assert 0.05 < expected < 0.95
    assert float(grid.country_fraction[0, 0, 0]) == pytest.approx(expected, rel=1e-3)


def test_covered_says_how_much_of_a_province_is_in_the_grid():
    half = regions.fractions(np.arange(27.25, 29, 0.5), np.arange(117.25, 124, 0.5), codes=["CN-ZJ", "CN-XJ"])
    inside = abs(
        GEOD.geometry_area_perimeter(
            shapely.intersection(regions.polygons()["CN-ZJ"], shapely.segmentize(shapely.box(117, 27, 124, 29), 0.01))
        )[0]
    )
    whole = abs(GEOD.geometry_area_perimeter(regions.polygons()["CN-ZJ"])[0])
    assert float(half.covered.sel(country="CN-ZJ")) == pytest.approx(inside / whole, rel=1e-3)
    assert float(half.covered.sel(country="CN-XJ")) == 0


def test_cache_gives_the_same_and_is_used(tmp_path):
    grid = (np.arange(29.5, 32), np.arange(119.5, 122))
    first = regions.fractions(*grid, cache=tmp_path)
    (kept,) = tmp_path.iterdir()
    xr.testing.assert_identical(regions.fractions(*grid, cache=tmp_path), first)
    with xr.open_dataset(kept) as stored:
        changed = stored.load()
    changed["country_fraction"] *= 0
    changed.to_netcdf(kept)
    assert float(regions.fractions(*grid, cache=tmp_path).country_fraction.sum()) == 0
    regions.fractions(grid[0] + 0.1, grid[1], cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("axis", [[31.0, 30.0], [30.0], [30.0, 30.0]])
def test_axes_that_do_not_ascend_are_refused(axis):
    with pytest.raises(RegionError, match="ascending cell centres"):
        regions.fractions(axis, [120.0, 121.0])


@given(spacing=st.floats(0.3, 1.5), south=st.floats(26.0, 29.0), west=st.floats(116.0, 119.0))
@settings(max_examples=10, deadline=None)
def test_any_grid_gives_zhejiang_the_same_area(spacing, south, west):
    grid = regions.fractions(np.arange(south, 33, spacing), np.arange(west, 125, spacing), codes=["CN-ZJ"])
    area = float((grid.country_fraction * grid.cell_area).sum()) / float(grid.covered[0])
    assert area == pytest.approx(abs(GEOD.geometry_area_perimeter(regions.polygons()["CN-ZJ"])[0]), rel=1e-4)


def test_aggregation_of_a_uniform_flux_is_area_times_flux():
    grid = regions.fractions(np.arange(26.5, 34), np.arange(116.5, 124), codes=["CN-ZJ", "CN-AH"])
    W = regions.aggregation(grid, "ch4", unit="kt yr-1")
    flux = 2e-8  # mol m-2 s-1
    expected = (
        abs(GEOD.geometry_area_perimeter(regions.polygons()["CN-ZJ"])[0]) * flux * 0.0160425 * 365.25 * 86400 / 1e6
    )
    assert float((W @ xr.ones_like(W[0]) * flux).sel(region="CN-ZJ")) == pytest.approx(expected, rel=2e-4)
    assert W.dims == ("region", "state")
    assert list(W.name_zh.values) == ["浙江", "安徽"]


def test_aggregation_over_sectors_and_periods_is_a_kronecker_product():
    grid = regions.fractions(np.arange(29.5, 32), np.arange(119.5, 122), codes=["CN-ZJ", "CN-JS"])
    cells = regions.aggregation(grid, "co2", unit="Mt yr-1").values
    W = regions.aggregation(grid, "co2", unit="Mt yr-1", periods=[0.25, 0.75], sectors=[1, 0]).values
    np.testing.assert_allclose(W, np.kron([1, 0], np.kron([0.25, 0.75], cells)))


def test_aggregation_of_scalings_of_a_prior():
    grid = regions.fractions(np.arange(29.5, 32), np.arange(119.5, 122), codes=["CN-ZJ"])
    prior = np.linspace(1, 2, grid.cell_area.size) * 1e-8
    scaled = regions.aggregation(grid, "ch4", per_state=prior)
    assert float(scaled.sum()) == pytest.approx(float(regions.aggregation(grid, "ch4").values[0] @ prior))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"gas": "sf6"}, "molar mass of 'sf6'"),
        ({"gas": "ch4", "unit": "ppb"}, "Totals are given in"),
        ({"gas": "ch4", "periods": [0.5, 0.4]}, "sum to 1"),
    ],
)
def test_aggregation_refuses(arguments, sentence):
    grid = regions.fractions(np.arange(29.5, 32), np.arange(119.5, 122), codes=["CN-ZJ"])
    gas = arguments.pop("gas")
    with pytest.raises(RegionError, match=sentence):
        regions.aggregation(grid, gas, **arguments)


def test_importing_warns_of_nothing_without_a_runtime_folder():
    environment = {k: v for k, v in os.environ.items() if k != "XDG_RUNTIME_DIR"}
    code = "import inversion.regions, inversion.inventory; inversion.regions.polygons()"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, env=environment)
