"""The report: nothing from data runs as code, nothing is fetched, every figure is that of the comparison."""

import csv
import html.parser
import json
import math
import re

import matplotlib as mpl
import numpy as np
import openpyxl
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread
from PIL import Image

from inversion import fonts, maps, regions, report, solve, twins
from inversion.crosscheck import CrosscheckError, compare, total
from inversion.inventory.entry import Ledger, Period
from inversion.provinces import PROVINCES
from inversion.report import netcdf, page, rows, station_series
from inversion.report.figures import draw_series
from inversion.vocabulary import ENGLISH
from inversion.wording import decimals, number, window, with_sigma
from tests.inversion import twin_world

CODES = ("CN-ZJ", "CN-JS", "CN-SH", "CN-AH", "CN-JX", "CN-XJ")
SCRIPT = "<script>alert(1)</script>"


def made_comparison(*, name_zh=None, source="Bureau", findings=()):
    units = {u.iso: u for u in PROVINCES}
    k = len(CODES)
    M = np.diag(np.array([100.0, 150, 40, 120, 90, 0]) ** 2)
    M[0, 1] = M[1, 0] = 0.3 * 100 * 150
    S = M * 0.04
    S[3, 3] = 0.9 * M[3, 3]
    totals = xr.Dataset(
        {
            "prior": ("region", [800.0, 1500, 200, 1400, 1200, 0]),
            "inversion": ("region", [1234.5, 1480, 205, 1410, 1150, 0]),
            "prior_covariance": (("region", "region_cov"), M),
            "inversion_covariance": (("region", "region_cov"), S),
        },
        coords={
            "region": list(CODES),
            "region_cov": list(CODES),
            "gbt2260": ("region", [units[c].gbt2260 for c in CODES]),
            "name_zh": ("region", list(name_zh or [units[c].name_zh for c in CODES])),
            "name_en": ("region", [units[c].name_en for c in CODES]),
            "covered": ("region", [1.0, 1.0, 0.98, 1.0, 1.0, 0.0]),
        },
        attrs={
            "units": "kt yr-1",
            "gas": "ch4",
            "window": "2023-07-01/2023-07-14",
            "findings": json.dumps(list(findings)),
            "diagnostics": json.dumps({"n_obs": 480, "chi2": 501.25}),
        },
    )
    rate = np.array([800.0, 1500, 200, 1400, np.nan, 300])
    sigma = np.array([100.0, 150, 40, 120, np.nan, 60])
    assert k == len(rate)
    ledger = Ledger(CODES, rate, sigma, ("", "", "", "", "NE", ""), "ch4", "0", "2024", source, Period.parse("2023"))
    return compare(totals, ledger)


def rendered(comparison, *, title="t", notes=(), imprint=None, words=ENGLISH):
    table = report.Table(comparison=comparison)
    annex = report.Annex(title=title, tables=(table,), notes=tuple(notes), imprint=imprint or report.Imprint())
    return page.render(annex, words)


def made_series(n=60, *, units="mol mol-1"):
    time = np.datetime64("2023-07-01", "ns") + np.arange(n) * np.timedelta64(4, "h")
    values = 1.95e-6 + 5e-8 * np.sin(np.arange(n))
    variables = {
        name: ("time", values + shift)
        for name, shift in [("mf_observed", 0), ("mf_prior", 2e-8), ("mf_posterior", 1e-9)]
    }
    variables["mf_bc_posterior"] = ("time", np.full(n, 1.9e-6))
    variables["stdev_mf_total"] = ("time", np.full(n, 1e-8))
    series = xr.Dataset(variables, coords={"time": time}, attrs={"site": "Lin'an 50m"})
    series["mf_observed"].attrs["units"] = units
    return series


STATIONS = [report.Station("临安", 30.3, 119.7), report.Station("Nanjing $x$", 32.1, 118.8)]


@pytest.fixture(scope="module")
def comparison():
    return made_comparison()


@pytest.fixture(scope="module")
def written(comparison, tmp_path_factory):
    grid = regions.fractions(np.arange(28.5, 31), np.arange(118.5, 121), codes=CODES)
    fields = grid[["country_fraction", "cell_area"]]
    return report.write(
        comparison,
        tmp_path_factory.mktemp("report"),
        title="Ledger & sky",
        series=made_series(),
        stations=STATIONS,
        notes=["A note with <i>marks</i>."],
        fields=fields,
        imprint=report.Imprint(prepared_by="a team", when="2024-05-01"),
    )


class Page(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.cells, self.inside = [], [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for name, v in attrs if name in ("src", "href", "xlink:href", "srcset", "data", "action")]
        if tag == "td":
            self.cells.append("")
        self.inside = tag == "td" or (self.inside and tag in ("br", "span"))

    def handle_endtag(self, tag):
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data):
        if self.inside:
            self.cells[-1] += data


def test_the_page_stands_alone(written):
    text = written.html.read_text(encoding="utf-8")
    parsed = Page(text)
    assert parsed.tags.count("script") == 1
    assert parsed.tags.count("svg") == 3  # map, series, averaging kernel
    assert not {"link", "img", "iframe", "object", "embed", "base", "form"} & set(parsed.tags)
    assert parsed.links
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in parsed.links)
    assert not re.findall(r"(?:src|href)\s*=\s*[\"']?(?:https?:)?//", text)
    assert not re.findall(r"url\((?!data:|#)", text)
    assert "@import" not in text
    assert "default-src 'none'" in text
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in parsed.links if link.startswith("#")} <= set(ids)


def test_the_page_says_what_the_comparison_says(written, comparison):
    text = written.html.read_text(encoding="utf-8")
    cells = Page(text).cells
    # 1234.5 ± 20 (0.2 of 100), rounded by hand to two digits of sigma.
    assert "1\u202f234 ± 20" in cells
    assert "Zhejiang浙江 CN-ZJ" in cells
    assert "▲ higher" in cells
    assert "NE" in cells
    assert "the ledger says NE (not estimated)" in cells
    assert comparison.attrs["rule"].replace(">", "&gt;") in text
    assert "Ledger &amp; sky" in text
    assert "A note with &lt;i&gt;marks&lt;/i&gt;." in text
    assert "Xinjiang" in text.split("outside the domain")[1]  # named, not tabled
    assert not any("Xinjiang" in cell for cell in cells)
    assert "501.2" in text or "501.3" in text


@pytest.mark.parametrize("place", ["name_zh", "source", "findings", "title", "notes", "imprint"])
def test_nothing_that_came_from_data_runs(place):
    findings = [{"grade": "warn", "code": "x", "sentence": SCRIPT}] if place == "findings" else []
    comparison = made_comparison(
        name_zh=[SCRIPT] * 6 if place == "name_zh" else None,
        source=SCRIPT if place == "source" else "Bureau",
        findings=findings,
    )
    text = rendered(
        comparison,
        title=SCRIPT if place == "title" else "t",
        notes=[SCRIPT] if place == "notes" else [],
        imprint=report.Imprint(prepared_by=SCRIPT if place == "imprint" else ""),
    )
    assert text.count("<script") == 1
    assert SCRIPT not in text
    assert "&lt;script&gt;" in text
    assert Page(text).tags.count("script") == 1


def test_formulas_in_names_stay_text(tmp_path):
    written = report.write(
        made_comparison(name_zh=["=1+1", "@x", "http://a.b", "+1", "-1", "x"]), tmp_path, title="=2+2"
    )
    sheet = openpyxl.load_workbook(written.xlsx)["CH4"]
    assert sheet["A1"].value == "=2+2"
    assert sheet["A1"].data_type == "s"
    names = [sheet.cell(row, 3) for row in range(6, 12)]
    assert [cell.value for cell in names][:3] == ["=1+1", "@x", "http://a.b"]
    assert {cell.data_type for cell in names} == {"s"}
    assert all(cell.hyperlink is None for cell in names)


def test_formulas_in_names_stay_text_in_the_csv(tmp_path):
    names = ["=1+1", "@x", "\t=1", "+1", "-1", 'x, "y"']
    written = report.write(made_comparison(name_zh=names), tmp_path, title="t")
    with written.csv.open(encoding="utf-8-sig", newline="") as stream:
        read = list(csv.DictReader(stream))
    assert [row["name_zh"] for row in read] == ["'=1+1", "'@x", "'\t=1", "'+1", "'-1", 'x, "y"']
    assert float(read[1]["difference"]) < 0  # a number that is negative is no formula
    assert read[4]["inventory"] == ""
    assert read[4]["inventory_notation"] == "NE"


def test_findings_are_shown_the_worst_first():
    findings = [
        {"grade": "inform", "code": "a", "sentence": "Worth knowing."},
        {"grade": "refuse", "code": "b", "sentence": "The baseline cannot be."},
        {"grade": "warn", "code": "c", "sentence": "Residuals hang together."},
    ]
    text = rendered(made_comparison(findings=findings))
    places = [text.index(words) for words in ("The baseline cannot be.", "Residuals hang together.", "Worth knowing.")]
    assert places == sorted(places)
    assert "must not be used" in text
    assert "6 regions 0 can be judged" in text


def test_the_workbook_holds_the_numbers(written, comparison):
    book = openpyxl.load_workbook(written.xlsx)
    assert book.sheetnames == ["CH4", "Kernel CH4", "Notes"]
    sheet = book["CH4"]
    assert sheet.freeze_panes == "E6"
    head = {cell.value: cell.column for cell in sheet[5]}
    for title, variable in [
        ("Ledger", "inventory"),
        ("Inversion σ", "inversion_sigma"),
        ("z", "z"),
        ("Share seen", "share"),
    ]:
        for r, value in enumerate(comparison[variable].values):
            cell = sheet.cell(6 + r, head[title]).value
            assert (cell is None) if np.isnan(value) else cell == pytest.approx(value)
    assert sheet.cell(6, head["Verdict"]).value == "higher"
    assert sheet.cell(10, head["Notation key"]).value == "NE"
    assert sheet.cell(10, head["Ledger"]).value is None  # NE is not a zero
    assert sheet.cell(12, head["Ledger"]).value == pytest.approx(total(comparison)["inventory"])
    notes = [row[1].value for row in book["Notes"].iter_rows()]
    assert comparison.attrs["rule"] in notes
    assert "A note with <i>marks</i>." in notes


def test_the_netcdf_has_the_names_of_the_template(written, comparison, shared):
    cdl = (shared / "data" / "inversion" / "PARIS_Lagrangian_inversion_flux_EUROPE_v03.cdl").read_text()
    with xr.open_dataset(written.netcdf) as stored:
        stored.load()
    mandatory = [
        match[1]
        for match in re.finditer(r"^\s+\w+ (\w+)\(([\w, ]+)\) ?;.*// ?(?:mandatory|conditional)", cdl, re.MULTILINE)
        if "country" in match[2] or match[1] in ("time", "time_bnds", "cell_area", "latitude", "longitude")
    ]
    wanted = [name for name in mandatory if "percentile" not in name]
    assert "covariance_flux_total_posterior_country" in wanted
    for name in wanted:
        assert name in stored.variables, name
        unit = re.search(rf"\b{name}:units = \"([^\"]+)\"", cdl)
        if unit and not name.startswith("time"):
            assert stored[name].attrs["units"] == unit[1], name
    np.testing.assert_allclose(stored["flux_total_posterior_country"][0], 1234.5e6)
    np.testing.assert_allclose(
        stored["covariance_flux_total_posterior_country"][:, :, 0], comparison["inversion_covariance"] * 1e12
    )
    assert stored["time_bnds"].values.astype("datetime64[D]").astype(str).tolist() == [["2023-07-01", "2023-07-15"]]
    meaning = stored["crosscheck_verdict_country"].attrs["flag_meanings"].split()
    assert [meaning[i] for i in stored["crosscheck_verdict_country"].values[:2]] == ["higher", "agree"]
    assert list(stored["station"].values) == ["临安", "Nanjing $x$"]
    assert stored.attrs["Conventions"] == "CF-1.8"


def test_another_ledger_can_be_compared_from_the_file(written, comparison):
    totals = report.read_totals(written.netcdf)
    for name in ("prior", "inversion", "prior_covariance", "inversion_covariance"):
        np.testing.assert_allclose(totals[name].values, comparison[name].values, rtol=1e-12)
    ledger = Ledger(
        CODES,
        comparison["inventory"].values,
        comparison["inventory_sigma"].values,
        tuple(comparison["inventory_notation"].values),
        "ch4",
        "0",
        "2024",
        "Bureau",
        Period.parse("2023"),
    )
    again = compare(totals, ledger)
    np.testing.assert_allclose(again["z"], comparison["z"], rtol=1e-9)
    assert list(again["verdict"].values) == list(comparison["verdict"].values)
    assert again.attrs["window"] == comparison.attrs["window"]
    assert report.read_stations(written.netcdf) == STATIONS


def test_a_file_that_is_no_report_is_refused(tmp_path):
    path = tmp_path / "a.nc"
    xr.Dataset({"x": 1.0}).to_netcdf(path)
    with pytest.raises(CrosscheckError, match="flux_total_prior_country"):
        report.read_totals(path)
    path.write_text("no netCDF")
    with pytest.raises(CrosscheckError, match="no netCDF file"):
        report.read_totals(path)


def test_fields_that_the_template_does_not_know_are_refused(comparison):
    with pytest.raises(CrosscheckError, match="elevation"):
        netcdf.to_dataset(comparison, title="t", fields=xr.Dataset({"elevation": 1.0}))


def test_pictures_have_the_right_content(written):
    for path in (written.map_png, written.series_png):
        with Image.open(path) as picture:
            assert picture.size[0] == 1440
        assert imread(path)[..., :3].std() > 0.02  # not an empty sheet


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
    outlines = maps._outlines()
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


def test_a_report_without_series_or_stations(tmp_path, comparison):
    written = report.write(comparison, tmp_path / "deep" / "folder", title="t")
    assert written.series_png is None
    assert Page(written.html.read_text(encoding="utf-8")).tags.count("svg") == 2
    assert report.read_stations(written.netcdf) == []


def test_the_same_comparison_gives_the_same_page_and_pictures(tmp_path, comparison):
    one, two = (report.write(comparison, tmp_path / name, title="t", series=made_series()) for name in "ab")
    for name in ("html", "map_png", "series_png"):
        assert getattr(one, name).read_bytes() == getattr(two, name).read_bytes(), name


def test_lines_for_a_terminal_are_a_table(comparison):
    lines = rows.lines(comparison)
    zhejiang = next(line for line in lines if line.startswith("Zhejiang"))
    assert zhejiang.endswith("higher")
    assert "1\u202f234 ± 20" in zhejiang
    head = next(line for line in lines if line.strip().startswith("ledger"))
    assert len(head) == len(zhejiang)


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
def test_a_number_is_written_within_half_a_digit_of_its_sigma(value, sigma):
    places = decimals(sigma)
    text = with_sigma(value, sigma)
    plain = [float(part.replace("\u202f", "").replace("−", "-")) for part in text.split(" ± ")]
    assert abs(plain[0] - value) <= 0.5 * 10.0**-places * (1 + 1e-9) + 1e-9 * abs(value)
    assert abs(plain[1] - sigma) <= 0.5 * 10.0**-places * (1 + 1e-9)
    assert math.floor(math.log10(sigma)) == 1 - places


def test_numbers_as_they_are_printed():
    assert number(-0.04, 1) == "0.0"
    assert number(1234567.0, 0) == "1\u202f234\u202f567"
    assert number(5.0, 0, sign=True) == "+5"
    assert number(math.inf, 1) == "–"
    assert window("2025-07-01T00:00:00/2025-07-15T00:00:00") == "2025-07-01 to 2025-07-15"
    assert window("2023") == "2023"


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


@pytest.fixture(scope="module")
def from_twin():
    """The comparison of a twin of a network whose weather was wrong, all the way from its posterior."""
    posterior = solve.batch(twin_world.case()[0])
    W = twin_world.case()[1]
    draw = next(iter(twin_world.wrong_weather().draw(posterior.problem, 1, np.random.default_rng(5))))
    twin = next(twins.replay(posterior, draw.y))
    rate = np.array(list(twin_world.KT.values()), dtype=float)
    codes = tuple(twin_world.KT)
    book = Ledger(codes, rate, 0.3 * rate, ("",) * rate.size, "ch4", "0", "2024", "Bureau", Period.parse("2023"))
    return compare(twin, book, W.assign_attrs(window="2023-06-01/2023-06-12"))


def test_what_the_sites_say_travels_into_page_workbook_and_netcdf(from_twin, tmp_path):
    text = rendered(from_twin)
    assert "What the observations of each site say" in text
    head, *body = rows.sites(from_twin)
    assert [row[0] for row in body] == list(twin_world.SITES)
    assert "nmol mol⁻¹" in head[4]
    for row in body:
        assert all(cell in text for cell in row)
        assert row[6].startswith("6.00, ")  # stated 6 ppb, found more
        assert float(row[6].split(", ")[1]) > 6
    written = report.write(from_twin, tmp_path, title="t", imprint=report.Imprint())
    notes = [row[0].value for row in openpyxl.load_workbook(written.xlsx)["Notes"].rows]
    assert {f"Site {name}" for name in twin_world.SITES} <= set(notes)
    again = report.read_totals(written.netcdf)
    assert json.loads(again.attrs["sites"]) == json.loads(from_twin.attrs["sites"])
    codes = {finding["code"] for finding in json.loads(again.attrs["findings"])}
    assert {"chi2", "prior_fit", "left_out", "desroziers", "residual_correlation"} <= codes
    assert all(finding.sentence.split(":")[0] in text.replace("&#39;", "'") for finding in rows.findings(again)[:3])


def test_a_comparison_without_sites_has_no_such_table():
    assert rows.sites(made_comparison()) == []
    assert "each site say" not in rendered(made_comparison())
