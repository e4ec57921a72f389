"""Figures of footprints: cells in their places, sums that are kept, units on every axis, and what they refuse."""

import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr

from inversion import plot
from inversion.datasets import SRR_UNITS
from inversion.plot import footprint
from inversion.plot.ground import PlotError
from inversion.regions import cell_area
from inversion.transport import particles, receptors
from inversion.transport.passage import passage
from tests.drawn import DEFICIENCIES, legend_of, line, png, told_apart, unreadable
from tests.inversion.air import uniform
from tests.inversion.test_columns import made as two_columns

GRID = xr.Dataset(coords={"longitude": np.arange(-2, 2.1, 0.25), "latitude": np.arange(-2, 2.1, 0.25)})
EDGES = np.array([0.0, 200.0, 400.0, 800.0, 2000.0])
PLACES = {"here": (0.0, 0.0)}


@pytest.fixture(scope="module")
def air():
    """Footprints and passage of a receptor at 300 m in a wind to the east, half a day back: some leave by the west."""
    met = uniform(800.0, 0.4, wind=(6.0, 0.5))
    place = receptors.stations(
        [{"site": "here", "longitude": 0.0, "latitude": 0.0, "height": 300.0}], np.array(["1970-01-02T00:00"], "M8[ns]")
    )
    options = {"particles": 300, "hours_back": 12, "seed": 4}
    return particles.footprints(place, met, GRID, **options), passage(place, met, GRID, EDGES, **options)


def field(values, *, units=SRR_UNITS, longitude=(114.0, 122.0), latitude=(28.0, 36.0)):
    values = np.asarray(values, dtype=float)
    coords = {
        "latitude": np.linspace(*latitude, values.shape[0]),
        "longitude": np.linspace(*longitude, values.shape[1]),
    }
    return xr.DataArray(values, coords, ("latitude", "longitude"), attrs={"units": units})


@pytest.fixture
def pair():
    rng = np.random.default_rng(2)
    lat, lon = np.mgrid[0:33, 0:33]
    shape = np.exp(-(((lat - 16) / 5.0) ** 2 + ((lon - 12) / 7.0) ** 2))
    return field(shape * rng.lognormal(0, 0.2, shape.shape)), field(2 * shape * rng.lognormal(0, 0.2, shape.shape))


def everything(air, pair):
    fp, way = air
    a, b = pair
    return {
        "surface": footprint.surface(a, stations={"Lin'an": (119.73, 30.30)}, title="A footprint"),
        "section": footprint.section(way, along="longitude"),
        "latitude": footprint.section(way, along="latitude"),
        "distance": footprint.section(way, along="distance", variable="residence_time", title="Time"),
        "hours": footprint.section(way, along="hours_back", variable="residence_time"),
        "boundary": footprint.boundary(fp, 0, title="here"),
        "column": footprint.column(two_columns(), 1, top=3000.0, title="A column"),
        "ratio": footprint.ratio(a, b, title="One over the other", name="ours / theirs"),
        "contributions": footprint.contributions(a, b),
    }


LABELS = {
    "section": "longitude [°E]",
    "latitude": "latitude [°N]",
    "distance": "distance from the receptor [km]",
    "hours": "hours before the receptor's time [h]",
    "boundary": "side by which air came in [share of all air]",
    "column": "averaging kernel A [1]",
    "contributions": "area, the best seen first [10³ km²]",
}


def test_every_axis_and_scale_says_its_unit_and_labels_can_be_read(air, pair):
    before = dict(mpl.rcParams)
    for name, figure in everything(air, pair).items():
        assert unreadable(figure) == [], name
        first, *others = figure.axes
        if name in LABELS:
            assert first.get_xlabel() == LABELS[name]
            assert first.get_ylabel().endswith("]")
        if name != "contributions":
            assert all(one.get_ylabel().endswith("]") or one.get_xlabel().endswith("]") for one in others), name
            assert others, name
    assert dict(mpl.rcParams) == before


def test_the_same_data_give_the_same_bytes(air, pair):
    once, again = (everything(air, pair) for _ in range(2))
    assert all(png(once[name]) == png(again[name]) for name in once)


@pytest.mark.parametrize("kind", ["", *DEFICIENCIES])
def test_classes_of_ratios_are_told_apart_by_all_eyes(pair, kind):
    mesh = quads(footprint.ratio(*pair))
    colours = mesh.get_cmap().colors
    assert min(told_apart(colours[k : k + 2], kind) for k in range(len(colours) - 1)) > 10


def quads(figure):
    return next(one for one in figure.axes[0].collections if isinstance(one, mpl.collections.QuadMesh))


def shown(figure):
    return np.ma.filled(quads(figure).get_array().astype(float), np.nan)


def test_a_map_holds_the_cells_of_four_powers_of_ten_in_their_places(pair):
    a = pair[0].copy()
    a[:, :] = 0.0
    a[10, 4], a[12, 9], a[20, 20] = 3.0, 0.05, 1e-5
    figure = footprint.surface(a, whole=True)
    values = shown(figure)
    assert values.shape == a.shape
    assert np.argwhere(np.isfinite(values)).tolist() == [[10, 4], [12, 9]]  # a millionth of the top is blank
    assert values[10, 4] == 3.0
    norm = quads(figure).norm
    assert (norm.vmin, norm.vmax) == (1e-3, 10.0)
    assert figure.axes[1].get_ylabel() == "footprint [(mol/mol)/(mol/m²/s)]"


def test_a_map_shows_the_part_that_is_seen_and_the_station(pair):
    a = 0 * pair[0]
    a[10:13, 4:7] = 1.0
    part, whole = footprint.surface(a, stations={"x": (119.0, 31.0)}), footprint.surface(a, whole=True)
    assert np.nansum(shown(part)) == np.nansum(shown(whole)) == 9.0
    assert shown(part).size < shown(whole).size
    corners = quads(part).get_coordinates()
    assert corners[..., 0].min() < 115.0
    assert corners[..., 0].max() > 119.0 + 0.5  # as far as the station, and cells beside


def test_two_maps_may_have_one_scale(pair):
    norms = [quads(footprint.surface(one, top=40.0)).norm for one in pair]
    assert [(n.vmin, n.vmax) for n in norms] == [(1e-2, 100.0)] * 2


@pytest.mark.parametrize("along", ["longitude", "latitude", "distance", "hours_back"])
def test_a_section_keeps_what_it_sums_up(air, along):
    way = air[1]
    drawn = np.nan_to_num(shown(footprint.section(way, along=along)))
    total = way["srr_layer"].isel(receptor=0).sum(("hours_back", "latitude", "longitude")).values
    np.testing.assert_allclose(drawn.sum(axis=1), total, rtol=1e-3, atol=1e-3 * total.max())
    spent = np.nan_to_num(shown(footprint.section(way, along=along, variable="residence_time")))
    hours = float(way["residence_time"].sum()) / 3600
    assert (spent * np.diff(EDGES)[:, None] / 1000).sum() / 3600 == pytest.approx(hours, rel=1e-3)


def test_a_section_by_longitude_is_the_sum_over_latitudes_at_its_place(air):
    way = air[1]
    figure = footprint.section(way, along="longitude")
    values = np.nan_to_num(shown(figure))
    expected = way["srr_layer"].isel(receptor=0).sum(("hours_back", "latitude")).values
    np.testing.assert_allclose(values, np.where(expected >= quads(figure).norm.vmin, expected, 0.0), rtol=1e-6)
    star = figure.axes[0].get_lines()[0]
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (0.0, 0.3)
    low, high = figure.axes[0].get_xlim()
    assert low < -1.9
    assert 0.0 < high < 1.5  # nothing came from the east: it ends beside the receptor


@pytest.mark.parametrize("north", [0.0, 50.0])
def test_distance_is_that_on_the_sphere(air, north):
    way = air[1].assign_coords(latitude=air[1]["latitude"] + north)
    way["release_lat"] = way["release_lat"] + north
    one = way.isel(receptor=0)
    figure = footprint.section(way, along="distance")
    corners = quads(figure).get_coordinates()[0, :, 0]
    lat, lon = np.meshgrid(one["latitude"], one["longitude"], indexing="ij")
    cosine = np.cos(np.radians(lat)) * np.cos(np.radians(lon)) * np.cos(np.radians(north))
    cosine += np.sin(np.radians(lat)) * np.sin(np.radians(north))
    far = 6371.0 * np.arccos(np.clip(cosine, -1, 1))
    layer = one["srr_layer"].isel(height=0).sum("hours_back").values
    expected = np.histogram(far.ravel(), corners, weights=layer.ravel())[0]
    np.testing.assert_allclose(np.nan_to_num(shown(figure))[0], expected, rtol=1e-5, atol=1e-3)


def test_the_boundary_says_each_sides_share(air):
    fp = air[0]
    figure = footprint.boundary(fp, 0)
    share = 100 * fp["exit_share"].isel(receptor=0)
    west = float(share.sel(side="west").sum())
    assert west > 60
    ticks = [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    assert ticks[0] == f"west\n{west:.1f} %"
    assert figure.axes[0].get_title(loc="left") == f"{100 - float(share.sum()):.1f} % stayed inside"
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), share.transpose("exit_height", "side"))
    written = [float(text.get_text()) for text in figure.axes[0].texts]
    assert sum(written) == pytest.approx(float(share.sum()), abs=1.0)
    both = footprint.boundary(xr.concat([fp, fp.assign(exit_share=0 * fp["exit_share"])], "receptor"))
    assert both.axes[0].get_xticklabels()[0].get_text() == f"west\n{west / 2:.1f} %"


def test_a_column_shows_w_a_and_what_receptors_hold_of_it():
    ds = two_columns()
    figure = footprint.column(ds, 0, top=3000.0)
    x, y = line(figure, "w A")
    np.testing.assert_allclose(x, [25.0, 30.0, 30.0])
    np.testing.assert_allclose(y, [0.0, 1.0, 9.0])
    assert "receptors, 55 % of w A" in legend_of(figure)


def test_a_ratio_is_drawn_where_the_larger_counts(pair):
    a, b = pair
    values = shown(footprint.ratio(a, 2 * a))
    assert np.nanmax(np.abs(values - 0.5)) < 1e-12
    larger = 2 * a.values
    held = larger[larger >= np.sort(larger.ravel())[::-1][np.isfinite(values).sum() - 1]]
    assert held.sum() / larger.sum() == pytest.approx(0.99, abs=0.005)
    once = a.copy()
    once[:, :12] = 0.0
    ends = shown(footprint.ratio(once, a))
    assert np.nanmin(ends) == pytest.approx(0.1)  # only the other sees it: the end of the scale
    assert np.nanmax(shown(footprint.ratio(a, once))) == pytest.approx(10.0)
    assert (shown(footprint.ratio(a, b)) > 0).any()


def test_contributions_are_cumulated_over_area_and_the_same_ground_gives_the_same_curve(pair):
    a, b = pair
    figure = footprint.contributions(a, 3 * a, names=("ours", "theirs"))
    curves = [line(figure, name) for name in ("ours", "theirs", "theirs, where ours sees best")]
    for x, y in curves[1:]:
        np.testing.assert_allclose(x, curves[0][0])
        np.testing.assert_allclose(y, curves[0][1])
    area = cell_area(a["latitude"].values, a["longitude"].values).values / 1e9
    best = np.unravel_index(np.argmax(a.values), a.shape)
    assert curves[0][0][0] == pytest.approx(area[best])
    assert curves[0][1][0] == pytest.approx(100 * float(a.max() / a.sum()))
    assert curves[0][0][-1] == pytest.approx(area.sum())
    assert curves[0][1][-1] == pytest.approx(100.0)
    other = footprint.contributions(a, b.copy(data=b.values[::-1, ::-1].copy()))
    own, crossed = line(other, "theirs")[1], line(other, "theirs, where ours sees best")[1]
    assert (crossed <= own + 1e-9).all()
    assert (own - crossed).max() > 10


def test_the_module_is_among_the_figures_of_the_inversion():
    assert plot.footprint is footprint
    assert "footprint" in plot.__all__


def test_the_lines_on_the_page_draw(air, tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "inversion" / "README.md").read_text(encoding="utf-8")
    (block,) = (one for one in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "way = passage(" in one)
    place = receptors.stations(
        [{"site": "here", "longitude": 0.0, "latitude": 0.0, "height": 50.0}], np.array(["1970-01-03T00:00"], "M8[ns]")
    )
    monkeypatch.chdir(tmp_path)
    names = {"receptors": place, "met": uniform(800.0, 0.4, wind=(1.0, 0.0), hours=48), "grid": GRID, "heights": EDGES}
    exec(block.replace("particles=1000", "particles=50"), names | {"fp": air[0]})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["footprint.png", "section.png"]


def test_what_cannot_be_drawn_is_refused_in_a_sentence(air, pair):
    fp, way = air
    a, b = pair
    refusals = (
        (lambda: footprint.surface(fp["srr"]), "It has receptor, latitude, longitude, expected latitude and longitude"),
        (lambda: footprint.surface(0 * a), "nowhere above zero: there is nothing to draw"),
        (lambda: footprint.section(way, along="height"), "goes along 'height', expected one of longitude, latitude"),
        (lambda: footprint.section(way, 3), "no receptor 3, expected 0 to 0"),
        (lambda: footprint.section(fp), "Variables are missing: srr_layer, height_bnds; give what `passage` returned"),
        (lambda: footprint.section(way.assign(srr_layer=0 * way.srr_layer)),
         "nowhere above zero"),
        (lambda: footprint.boundary(fp.drop_vars("exit_share")), "do not say where air came in"),
        (lambda: footprint.boundary(fp, -2), "no receptor -2"),
        (lambda: footprint.column(two_columns(), 2), "no column 2, expected 0 to 1"),
        (lambda: footprint.column(two_columns().drop_vars("weight")), "Variables are missing: weight"),
        (lambda: footprint.ratio(a, b.isel(latitude=slice(5, None))), "latitudes differ: 33 from 28 to 36, and 28"),
        (lambda: footprint.ratio(a, b.assign_attrs(units="s")), "the other in 's': convert one"),
        (lambda: footprint.contributions(a, 0 * b.assign_attrs()), "The second is nowhere above zero"),
    )  # fmt: skip
    for draw, words in refusals:
        with pytest.raises(PlotError, match=words.replace("(", r"\(").replace("?", r"\?")) as refused:
            draw()
        assert "\n" not in str(refused.value)
