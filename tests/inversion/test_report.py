"""The report: nothing from data runs as code, nothing is fetched, every figure is that of the comparison."""

import csv
import html.parser
import json
import re

import numpy as np
import openpyxl
import pytest
import xarray as xr
from matplotlib.image import imread
from PIL import Image

from inversion import regions, report, solve, twins
from inversion.crosscheck import CrosscheckError, compare, total
from inversion.inventory.entry import Ledger, Period
from inversion.report import netcdf, rows
from tests.inversion import twin_world
from tests.inversion.comparisons import CODES, SCRIPT, STATIONS, made_comparison, made_series, rendered


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
