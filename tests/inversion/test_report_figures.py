"""Maps and series of a report: what is drawn, and that nothing stops it."""

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr

from inversion import borders, fonts, maps, regions, report
from inversion.crosscheck import CrosscheckError
from inversion.report import rows, station_series
from inversion.report.figures import draw_series
from tests.inversion.comparisons import STATIONS, made_comparison, made_series


@pytest.fixture(scope="module")
def comparison():
    return made_comparison()


def test_the_map_fills_provinces_by_their_verdict(comparison):
    figure = maps.draw(comparison, stations=STATIONS, review_number="GS(2024)0000")
    figure.canvas.draw()
    main = figure.axes[0]
    pixels = np.asarray(figure.canvas.buffer_rgba())

    def colour(lon, lat):
        x, y = main.transData.transform(maps.PROJECTION.transform_point(lon, lat, mpl_plate()))
        return pixels[round(pixels.shape[0] - y), round(x), :3].tolist()

    def is_orange(rgb):
        return rgb[0] > rgb[1] > rgb[2] and rgb[0] - rgb[2] > 100

    assert is_orange(colour(118.9, 28.9))  # Zhejiang: higher
    assert not is_orange(colour(119.9, 33.6))  # Jiangsu: agrees
    assert colour(85.0, 42.5) == [255, 255, 255]  # Xinjiang: outside the domain
    texts = [t.get_text() for t in (*figure.texts, *main.texts)]
    assert "Map review number GS(2024)0000" in texts
    assert any(text.startswith("浙江") and "+" in text for text in texts)
    assert "新疆" in texts


def mpl_plate():
    return maps.ccrs.PlateCarree()


def test_a_map_without_review_number_says_so(comparison):
    texts = [t.get_text() for t in maps.draw(comparison, status="draft").texts]
    assert any("not for publication" in text for text in texts)


def test_drawing_keeps_every_island_and_every_common_border():
    outlines = borders.provinces(maps.PROJECTION, 3000.0)
    polygons = regions.polygons()
    for code, outline in outlines.items():
        assert maps.shapely.get_num_geometries(outline) == maps.shapely.get_num_geometries(polygons[code]), code
    assert maps.shapely.coverage_is_valid(list(outlines.values()))
    # Diaoyu Dao: 25.7 N 123.5 E.
    x, y = maps.PROJECTION.transform_point(123.47, 25.75, mpl_plate())
    assert outlines["CN-TW"].distance(maps.shapely.Point(x, y)) < 10_000


def test_the_dash_line_is_checked(comparison):
    sentence = maps.dash_line_finding()
    assert "9 dashes" in sentence
    assert sentence in rows.limitations(comparison)


def test_drawing_changes_no_settings(comparison):
    before = dict(mpl.rcParams)
    maps.draw(comparison)
    draw_series(made_series(), gas="CH₄")
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(("units", "label"), [("mol mol-1", "ppb"), ("nmol mol-1", "ppb"), ("umol mol-1", "ppm")])
def test_a_series_is_drawn_in_a_readable_unit(units, label):
    figure = draw_series(made_series(units=units), gas="CH₄")
    assert figure.axes[0].get_ylabel() == f"CH₄ mole fraction, {label}"
    drawn = figure.axes[0].get_lines()[0].get_ydata()
    assert np.nanmax(drawn) == pytest.approx(2e-6 * (1e9 if units == "mol mol-1" else 1), rel=0.01)


def test_a_series_without_background_or_error_is_drawn():
    series = made_series().drop_vars(["mf_bc_posterior", "stdev_mf_total"])
    assert [line.get_label() for line in draw_series(series, gas="CH₄").axes[0].get_lines()][1:] == [
        "prior",
        "posterior",
    ]


def test_a_line_is_broken_where_observations_are_missing():
    series = made_series()
    gap = series.isel(time=np.r_[0:20, 40:60])
    line = draw_series(gap, gas="CH₄").axes[1].get_lines()[0].get_ydata()
    assert int(np.isnan(line).sum()) == 1


def test_station_series_takes_one_site_and_one_inlet():
    n = 30
    site = np.array(["a"] * 10 + ["b"] * 20)
    inlet = np.array(["10m"] * 10 + ["50m"] * 12 + ["10m"] * 8)
    time = np.datetime64("2023-07-01", "ns") + np.arange(n)[::-1] * np.timedelta64(1, "h")
    names = ("mf_observed", "mf_prior", "mf_posterior")
    observations = xr.Dataset(
        {name: ("obs", np.arange(float(n)), {"units": "nmol mol-1"}) for name in names},
        coords={"site": ("obs", site), "inlet": ("obs", inlet), "time": ("obs", time)},
    )
    series = station_series(observations)
    assert series.attrs["site"] == "b 50m"
    assert series["mf_observed"].values.tolist() == list(np.arange(10.0, 22)[::-1])
    assert (np.diff(series["time"].values) > np.timedelta64(0, "ns")).all()
    assert series["mf_observed"].attrs["units"] == "nmol mol-1"
    with pytest.raises(CrosscheckError, match="no site 'c': there are a, b"):
        station_series(observations, "c")
    with pytest.raises(CrosscheckError, match="site and time"):
        station_series(observations.drop_vars("site"))


def test_a_name_no_font_has_stops_no_figure(comparison):
    assert fonts.drawable("Lin'an 临安") == "Lin'an 临安"
    assert fonts.drawable("\U0001f30d") == "□"
    maps.draw(comparison, stations=[report.Station("\U0001f30d $\\frac$", 30.0, 120.0)]).canvas.draw()


def test_the_embedded_font_holds_the_names():
    import base64  # noqa: PLC0415  only here
    import io  # noqa: PLC0415

    from fontTools.ttLib import TTFont  # noqa: PLC0415

    content = base64.b64decode(fonts.embedded("浙江 Zhejiang"))
    assert len(content) < 20_000
    with TTFont(io.BytesIO(content)) as font:
        assert set(map(ord, "浙江")) <= set(font.getBestCmap())
    assert fonts.embedded("Zhejiang") == ""
