"""Prefectures, waters, the nation: exact shares of cells that sum to one."""

import json

import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from inversion import masks, polygons, regions
from inversion.provinces import RegionError

GRID = (np.arange(26.25, 33, 0.5), np.arange(117.25, 125, 0.5))
STRAIT = shapely.box(121.0, 27.0, 123.5, 30.5)


def test_prefectures_sum_to_their_province():
    province = regions.fractions(*GRID, codes=["CN-ZJ", "CN-SH"])
    parts = masks.prefectures(*GRID, provinces=["浙江", "CN-SH"])
    assert parts["country"].values.tolist()[-1] == "CN-SH"
    assert parts["country"].size == 12
    for code in ("CN-ZJ", "CN-SH"):
        own = parts["country_fraction"].values[parts["province"].values == code].sum(axis=0)
        np.testing.assert_allclose(own, province["country_fraction"].sel(country=code), atol=1e-9)
    whole = parts["country_fraction"].sum("country") + parts["elsewhere_fraction"]
    np.testing.assert_allclose(whole, 1.0, atol=1e-12)
    assert (parts["covered"] > 0.999).all()


def test_the_ground_is_that_of_the_polygons():
    parts = masks.prefectures(*GRID, provinces=["CN-ZJ"])
    hangzhou = float((parts["country_fraction"][0] * parts["cell_area"]).sum()) / 1e6
    assert hangzhou == pytest.approx(16_850, rel=0.01)  # km2, the city's own figure


def test_waters_leave_the_land_out():
    land = regions.fractions(*GRID)
    sea = masks.marine(*GRID, {"CHN-M": STRAIT}, names={"CHN-M": "East China Sea, a box"})
    both = masks.together(land, sea)
    assert both["country"].values[-1] == "CHN-M"
    np.testing.assert_allclose(both["country_fraction"].sum("country") + both["elsewhere_fraction"], 1.0, atol=1e-12)
    # In the box everything is province, or the box's sea.
    inside = both.sel(latitude=slice(27.3, 30.2), longitude=slice(121.3, 123.2))
    np.testing.assert_allclose(inside["elsewhere_fraction"], 0.0, atol=1e-6)
    ashore = land["country_fraction"].sum("country").sel(latitude=29.25, longitude=121.25)
    there = both["country_fraction"].sel(country="CHN-M", latitude=29.25, longitude=121.25)
    assert 0 < float(there) < 1
    assert float(there) == pytest.approx(1 - float(ashore), abs=1e-9)


def test_the_nation_with_and_without_its_waters():
    land = regions.fractions(*GRID, codes=["CN-ZJ", "CN-SH"])
    sea = masks.marine(*GRID, {"CHN-M": STRAIT})
    dry, wet = masks.national(land), masks.national(masks.together(land, sea))
    assert dry["country"].values.tolist() == ["CHN"]
    np.testing.assert_allclose(wet["country_fraction"][0] - dry["country_fraction"][0], sea["country_fraction"][0])
    half = masks.national(regions.fractions(GRID[0][6:], GRID[1], codes=["CN-ZJ"]))
    part = regions.fractions(GRID[0][6:], GRID[1], codes=["CN-ZJ"])
    np.testing.assert_allclose(half["covered"], part["covered"])
    with pytest.raises(RegionError, match="CN-XJ lie outside of the grid"):
        masks.national(regions.fractions(*GRID, codes=["CN-ZJ", "CN-XJ"]))


def test_what_overlaps_or_is_there_twice_is_refused():
    land = regions.fractions(*GRID)
    with pytest.raises(RegionError, match=r"overlap: at .* hold 2\.0"):
        masks.together(land, masks.within(*GRID, {"box": shapely.box(118, 28, 119, 29)}))
    with pytest.raises(RegionError, match="regions in common: CN-ZJ"):
        masks.together(land, masks.within(*GRID, {"CN-ZJ": STRAIT}))
    with pytest.raises(RegionError, match="different grids"):
        masks.together(land, regions.fractions(GRID[0][1:], GRID[1]))


def collection(*features):
    return {
        "type": "FeatureCollection",
        "features": [
            {"type": "Feature", "properties": about, "geometry": json.loads(shapely.to_geojson(shape))}
            for about, shape in features
        ],
    }


def test_shapes_from_a_file(tmp_path):
    path = tmp_path / "waters.geojson"
    twice = [({"id": "b"}, shapely.box(k, 0, k + 1, 1)) for k in (0, 1)]
    path.write_text(json.dumps(collection(({"id": "a"}, STRAIT), *twice)))
    found = masks.read_shapes(path, code="id")
    assert list(found) == ["a", "b"]
    assert found["b"].area == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "no GeoJSON FeatureCollection"),
        (json.dumps(collection(({"name": "a"}, STRAIT))), "has no property 'id'; it has name"),
        (json.dumps(collection(({"id": "a"}, shapely.Point(1, 1)))), r"\(a\): is no polygon"),
        (json.dumps(collection(({"id": "a"}, shapely.box(3e5, 3e6, 4e5, 4e6)))), "is not in degrees"),
    ],
)
def test_files_that_cannot_be_are_refused(tmp_path, content, sentence):
    path = tmp_path / "waters.geojson"
    path.write_text(content)
    with pytest.raises(RegionError, match=sentence):
        masks.read_shapes(path, code="id")


@settings(max_examples=25, deadline=None)
@given(
    boxes=st.lists(
        st.tuples(st.floats(116, 124), st.floats(25, 32), st.floats(0.05, 3), st.floats(0.05, 3)),
        min_size=1,
        max_size=5,
    ),
    step=st.sampled_from([0.3, 0.5, 1.1]),
)
def test_shares_sum_to_one_and_areas_hold(boxes, step):
    shapes = {str(k): shapely.box(x, y, x + w, y + h) for k, (x, y, w, h) in enumerate(boxes)}
    ds = masks.within(np.arange(24.0, 36, step), np.arange(115.0, 128, step), shapes)
    np.testing.assert_allclose(ds["country_fraction"].sum("country") + ds["elsewhere_fraction"], 1.0, atol=1e-12)
    assert (ds["country_fraction"] >= 0).all()
    np.testing.assert_allclose(ds["covered"].values[0], 1.0, rtol=1e-9)
    west, south, east, north = boxes[0][0], boxes[0][1], boxes[0][0] + boxes[0][2], boxes[0][1] + boxes[0][3]
    area = float((ds["country_fraction"][0] * ds["cell_area"]).sum())
    assert area == pytest.approx(_box_area(west, south, east, north), rel=1e-6)


def _box_area(west, south, east, north):
    from inversion.polygons import authalic  # noqa: PLC0415

    return float(np.radians(east - west) * (authalic(north) - authalic(south)))


@pytest.mark.parametrize("axis", [np.arange(160.5, 200), np.arange(-179.5, 180)])
def test_longitudes_may_be_counted_from_anywhere(axis):
    latitude = np.arange(-9.5, 10)
    for box in (shapely.box(-175, -2, -170, 3), shapely.box(170, -2, 190, 3), shapely.box(185, -2, 190, 3)):
        ds = masks.within(latitude, axis, {"box": box})
        np.testing.assert_allclose(ds["covered"].values, 1.0, rtol=1e-9)
    wrapped = masks.within(latitude, axis, {"box": shapely.box(170, -2, 190, 3)})["country_fraction"][0]
    there = wrapped.max("latitude").values > 1e-9
    assert set((axis[there] % 360).tolist()) == set(np.arange(170.5, 190).tolist())


def test_what_lies_inside_another_belongs_to_the_first():
    outer, inner = shapely.box(0, 0, 10, 10), shapely.box(4, 4, 6, 6)
    assert [shape.area for shape in polygons.disjoint([outer, inner])] == [100, 0]
    assert [shape.area for shape in polygons.disjoint([inner, outer, outer])] == [4, 96, 0]
    assert [shape.area for shape in polygons.disjoint([outer, shapely.box(10, 0, 12, 10)])] == [100, 20]


def test_edges_bend_between_the_projections():
    """A long edge in degrees is no straight line in the equal-area plane: against an exact area on the ellipsoid."""
    triangle = shapely.Polygon([(100, 20), (140, 60), (100, 60)])
    ds = masks.within(np.arange(15.0, 66, 1.0), np.arange(95.0, 146, 1.0), {"triangle": triangle})
    area = float((ds["country_fraction"][0] * ds["cell_area"]).sum())
    fine = shapely.segmentize(triangle, 0.01)
    exact = abs(pyproj.Geod(ellps="WGS84").geometry_area_perimeter(fine)[0])
    assert area == pytest.approx(exact, rel=1e-5)
