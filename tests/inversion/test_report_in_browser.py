"""The report in a real browser: tables sort, figures are there, nothing is fetched, it prints on A4, in two tongues."""

import csv
import json
import re

import numpy as np
import openpyxl
import pytest
import xarray as xr

from inversion import fonts, report
from inversion.crosscheck import compare, total, with_range
from inversion.crosscheck.members import gathered
from inversion.inventory.entry import Ledger, Period
from inversion.provinces import PROVINCES
from tests import chromium

SCRIPT = "<img src=x onerror=alert(1)><script>alert(1)</script>"


def totals_of(n, *, seen=5.0, long=False, seed=3):
    """All provinces of an inversion, neighbours' errors correlated."""
    rng = np.random.default_rng(seed)
    units = [u for u in PROVINCES if u.iso not in ("CN-TW", "CN-HK", "CN-MO")][:n]
    codes, prior = [u.iso for u in units], rng.uniform(200, 4000, n)
    sigma = 0.4 * prior
    M = np.diag(sigma**2) + 0.4 * np.diag(sigma[:-1] * sigma[1:], 1) + 0.4 * np.diag(sigma[:-1] * sigma[1:], -1)
    H = np.diag(rng.uniform(0.5, 1.5, n) * seen / sigma)
    S = M - M @ H.T @ np.linalg.solve(H @ M @ H.T + np.eye(n), H @ M)
    more = " with a long name that nobody would want to write" if long else ""
    return xr.Dataset(
        {
            "prior": ("region", prior),
            "inversion": ("region", prior + 0.6 * sigma * rng.standard_normal(n)),
            "prior_covariance": (("region", "region_cov"), M),
            "inversion_covariance": (("region", "region_cov"), 0.5 * (S + S.T)),
        },
        {
            "region": codes,
            "region_cov": codes,
            "gbt2260": ("region", [u.gbt2260 for u in units]),
            "name_zh": ("region", [u.name_zh * (4 if long else 1) for u in units]),
            "name_en": ("region", [u.name_en + more for u in units]),
            "covered": ("region", [1.0] * n),
        },
        {
            "units": "kt yr-1",
            "gas": "ch4",
            "window": "2023-01-01T00:00:00/2024-01-01T00:00:00",
            "findings": json.dumps([{"grade": "warn", "code": "chi2", "sentence": f"χ² is 3.1. {SCRIPT}"}]),
            "diagnostics": json.dumps({"n_obs": 4800, "chi2": 5012.5, "dofs": 61.2}),
        },
    )


def table_of(n, *, name="", factor=1.0, **how):
    totals = totals_of(n, **how)
    for column in totals.data_vars:
        totals[column] = totals[column] * factor ** totals[column].ndim
    codes = tuple(totals["region"].values)
    rate = totals["prior"].values * np.random.default_rng(1).uniform(0.8, 1.2, n)
    notation = ("",) * (n - 1) + ("NE",)
    rate[-1] = np.nan
    ledger = Ledger(codes, rate, 0.1 * rate, notation, "ch4", "0", "2024", "Bureau", Period.parse("2023"))
    other = totals.copy()
    other["inversion"] = totals["inversion"] * 1.08
    configurations = gathered({"as configured": totals, "other prior": other})
    comparison = with_range(compare(totals, ledger), configurations)
    stations = [report.Station("Lin'an", 30.3, 119.73), report.Station(f"瓦里关 --> {SCRIPT}", 36.29, 100.9)]
    return report.Table(comparison=comparison, configurations=configurations, stations=stations, name=name)


def annex_of(*tables):
    step = report.Step(state="submitted", who="王某某", when="2024-06-01", remarks=f"first {SCRIPT}", digest="ab" * 32)
    return report.Annex(
        title="Methane 2023",
        titles={"zh": "2023 年甲烷"},
        tables=tables,
        notes=(SCRIPT,),
        imprint=report.Imprint(
            status="submitted", prepared_by="A. Author", organisation=SCRIPT, when="2024", history=(step,)
        ),
        provenance=(("ledger", SCRIPT, "ledger.csv, SHA-256 00"),),
    )


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    with chromium.browser(tmp_path_factory.mktemp("chromium")) as made:
        yield made


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """All provinces, in both languages."""
    table = table_of(31)
    return table, report.write_annex(annex_of(table), tmp_path_factory.mktemp("all"), languages=("en", "zh"))


def texts(tab, selector):
    return tab.evaluate(f"[...document.querySelectorAll({json.dumps(selector)})].map((e) => e.textContent)")


def column(tab, number, group=0):
    rows = f"document.querySelectorAll('table[data-table=\"comparison\"] tbody.rows')[{group}].rows"
    return tab.evaluate(f"[...{rows}].map((r) => [r.cells[{number}].textContent, r.cells[{number}].dataset.value])")


def test_nothing_is_fetched_and_nothing_from_data_runs(opened, whole):
    _, written = whole
    for page in written.pages:
        tab = opened(page)
        assert [url for url in tab.requests if not url.startswith("data:")] == [page.resolve().as_uri()]
        fetched = tab.evaluate("performance.getEntriesByType('resource').map((e) => e.name)")
        assert [name for name in fetched if not name.startswith("data:")] == []
        assert tab.complaints == []
        assert tab.evaluate("document.querySelectorAll('script').length") == 1
        assert tab.evaluate("document.querySelectorAll('img').length") == 0
        assert SCRIPT in tab.evaluate("document.body.textContent")  # shown as text


def test_the_policy_stops_what_would_be_fetched_or_run(opened, whole, tmp_path):
    """The page with an intruder in it: neither picture nor script of it gets through."""
    _, written = whole
    bad = '<img src="http://127.0.0.1:9/x.png"><script>document.title = "run"</script></body>'
    page = tmp_path / "bad.html"
    page.write_text(written.html.read_text(encoding="utf-8").replace("</body>", bad), encoding="utf-8")
    tab = opened(page)
    assert tab.evaluate("document.title") == "Methane 2023"
    assert len(tab.complaints) >= 2
    assert all("Content Security Policy" in complaint for complaint in tab.complaints)


def test_tables_sort_when_a_head_is_clicked(opened, whole):
    table, written = whole
    tab = opened(written.html)
    heads = tab.evaluate(
        "[...document.querySelectorAll('table[data-table=comparison] thead th')].map((h) => h.textContent)"
    )
    z = heads.index("z")
    before = [float(value) for _, value in column(tab, z)]
    assert before != sorted(before)
    tab.click("table[data-table=comparison] thead button", "z")
    assert [float(value) for _, value in column(tab, z)] == sorted(before)
    assert tab.evaluate("document.querySelector('th[aria-sort]').getAttribute('aria-sort')") == "ascending"
    tab.click("table[data-table=comparison] thead button", "z")
    assert [float(value) for _, value in column(tab, z)] == sorted(before, reverse=True)
    tab.click("table[data-table=comparison] thead button", "Region")
    names = [text for text, _ in column(tab, 0)]
    assert names == sorted(names)
    assert len(names) == int((table.comparison["verdict"].values != "not resolved").sum())
    # The sum stays at the end.
    groups = [text.strip() for text in texts(tab, "table[data-table=comparison] tbody")]
    begin = [
        next((word for word in ("Resolved", "Sum of", "Not resolved") if text.startswith(word)), "") for text in groups
    ]
    assert begin == ["Resolved", "", "Not resolved", "", "Sum of"]


def test_every_number_of_the_page_is_that_of_the_netcdf(opened, whole):
    _, written = whole
    names = {
        "inventory": "flux_total_inventory_country",
        "prior": "flux_total_prior_country",
        "inversion": "flux_total_posterior_country",
        "inversion_median": "flux_total_posterior_median_country",
        "difference": "flux_total_difference_country",
        "ledger_difference": "flux_total_inventory_error_country",
        "z": "crosscheck_z_country",
        "share": "crosscheck_share_country",
    }
    with xr.open_dataset(written.netcdf) as stored:
        stored.load()
    script = """[...document.querySelectorAll('table[data-table=comparison] td[data-value]')].map((c) =>
        [c.parentElement.dataset.key, c.dataset.name, Number(c.dataset.value), c.textContent, c.cellIndex])"""
    tab = opened(written.html)
    heads = [head.split(" of the")[0] for head in texts(tab, "table[data-table=comparison] thead button")]
    labels = ("Ledger", "Prior", "Inversion", "Range over configurations", "Difference", "Difference as an error")
    under = dict(zip(names, labels, strict=False)) | {
        "z": "z",
        "share": "Share seen",
        "detectable": "Would show at 3 σ",
    }
    checked = set()
    for key, name, value, text, place in tab.evaluate(script):
        assert heads[place] == under[name]
        if key == "sum":
            continue
        if name == "detectable":
            wanted = 3 * float(stored["stdev_flux_total_inventory_error_country"].sel(country=key)[0]) / 1e6
        else:
            found = float(np.ravel(stored[names[name]].sel(country=key))[0])
            wanted = found if name in ("z", "share") else found / 1e6
        assert value == pytest.approx(wanted, rel=1e-9), (key, name)
        shown = float(re.match(r"[+−]?[\d\u202f.]+", text)[0].replace("\u202f", "").replace("−", "-"))
        if name in ("inventory", "prior", "inversion", "difference", "ledger_difference"):
            sigma = float(stored[f"stdev_{names[name]}"].sel(country=key)[0]) / 1e6
            assert abs(shown - wanted) <= sigma / 15  # two digits of σ, rounded
        checked.add((key, name))
    assert {name for _, name in checked} == {*names, "detectable"}
    assert len({key for key, _ in checked}) == 31
    with written.csv.open(encoding="utf-8-sig", newline="") as stream:
        for row in csv.DictReader(stream):
            value = float(stored["flux_total_posterior_country"].sel(country=row["region"])[0]) / 1e6
            assert float(row["inversion"]) == pytest.approx(value, rel=1e-12)


def test_the_sum_of_the_page_is_that_of_the_table(opened, whole):
    table, written = whole
    script = """Object.fromEntries([...document.querySelectorAll('tr.sum td[data-value]')].map((c) =>
        [c.dataset.name, Number(c.dataset.value)]))"""
    shown = opened(written.html).evaluate(script)
    made = total(table.comparison)
    assert set(shown) == {"inventory", "prior", "inversion", "difference", "z", "share"}
    for name, value in shown.items():
        assert value == pytest.approx(made[name], rel=1e-12)


@pytest.mark.parametrize("width", [1200, 600])
def test_nothing_is_cut_and_nothing_overlaps(opened, whole, width):
    """Wide tables scroll by themselves; the page does not, and no cell runs into the next."""
    for page in whole[1].pages:
        tab = opened(page, width=width)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert tab.evaluate(
            "[...document.querySelectorAll('svg')].every((s) => s.getBoundingClientRect().height > 200)"
        )
        wide = "(c) => c.scrollWidth > c.clientWidth + 1"
        assert tab.evaluate(f"[...document.querySelectorAll('td, th')].filter({wide}).map((c) => c.textContent)") == []


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_table_of_all_provinces_fits_the_page(opened, tmp_path, language):
    """With the six digits that CO2 has."""
    written = report.write_annex(annex_of(table_of(31, factor=200.0)), tmp_path, languages=(language,))
    tab = opened(written.html, width=1200)
    wide = "document.querySelector('table[data-table=comparison]')"
    assert tab.evaluate(f"{wide}.getBoundingClientRect().right") <= 1200


def test_the_pages_are_in_their_languages(opened, whole):
    english, chinese = (opened(page) for page in whole[1].pages)
    assert english.evaluate("document.documentElement.lang") == "en"
    assert chinese.evaluate("document.documentElement.lang") == "zh-CN"
    text = chinese.evaluate("document.body.innerText")
    for word in (
        "清单与大气反演对照",
        "偏高",
        "无法分辨",
        "已提交",
        "2023 年甲烷",
        "清单标记为 NE (未估算)",
        "判定规则",
    ):
        assert word in text, word
    heads = chinese.evaluate(
        "[...document.querySelectorAll('table[data-table=comparison] thead button')].map((h) => h.textContent)"
    )
    assert not [head for head in heads if re.search("[a-zA-Z]{2}", head)]
    assert "agree" in english.evaluate("document.body.innerText")


def test_chinese_letters_are_drawn(opened, whole):
    """Names come with the page; a letter that no font has would be as wide as any other such letter's box."""
    tab = opened(whole[1].pages[1])
    script = """(async () => { await document.fonts.ready;
        const c = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
        c.canvas.width = c.canvas.height = 60; c.font = '40px ' + getComputedStyle(document.body).fontFamily;
        const ink = (t) => { c.fillStyle = '#fff'; c.fillRect(0, 0, 60, 60); c.fillStyle = '#000'; c.fillText(t, 5, 48);
            return Array.from(c.getImageData(0, 0, 60, 60).data).join(); };
        return ['浙', '江', '\\u{10FFFD}'].map(ink); })()"""
    one, two, none = tab.evaluate(script)
    assert len({one, two, none}) == 3


def test_it_prints_on_a4_with_heads_on_every_page(opened, whole, tmp_path):
    for page in whole[1].pages:
        tab = opened(page)
        tab.pdf(tmp_path / "report.pdf")
        content = (tmp_path / "report.pdf").read_bytes()
        width, height = map(float, re.search(rb"/MediaBox ?\[0 0 ([\d.]+) ([\d.]+)\]", content).groups())
        assert (round(width), round(height)) == (842, 595)  # A4, landscape
        pages = chromium.pages_of(tmp_path / "report.pdf")
        head = "Prior" if page.name == "report.html" else "先验"
        with_rows = [text for text in pages if len(re.findall(r"CN-[A-Z]{2}\b.*±.*±", text)) >= 3]
        assert len(with_rows) >= 2
        assert all(head in text for text in with_rows)
        codes = set(re.findall(r"CN-[A-Z]{2}", "".join(pages)))
        assert len(codes) == 31
        assert len(pages) <= 12


@pytest.mark.parametrize("case", ["few", "long", "none"])
def test_other_tables_hold_too(opened, tmp_path, case):
    how = {"few": {"n": 4}, "long": {"n": 31, "long": True}, "none": {"n": 31, "seen": 0.1}}[case]
    written = report.write_annex(annex_of(table_of(**how)), tmp_path, languages=("zh",))
    tab = opened(written.html, width=600)
    assert tab.complaints == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= 600
    assert tab.evaluate("document.querySelectorAll('svg').length") == 2
    tab.pdf(tmp_path / "report.pdf")
    pages = chromium.pages_of(tmp_path / "report.pdf")
    assert len(pages) <= 14
    if case == "none":
        assert "可判定 0 个" in pages[0].replace("  ", " ")


def test_several_tables_stand_in_one_report(opened, tmp_path):
    tables = table_of(4, name="run 1 · submission 2024"), table_of(4, name="run 2: [x]/*?", seed=5)
    written = report.write_annex(annex_of(*tables), tmp_path, languages=("en", "zh"))
    assert [path.name for path in written.netcdfs] == ["crosscheck-1.nc", "crosscheck-2.nc"]
    tab = opened(written.html)
    assert texts(tab, "h2")[:3] == ["Contents", "run 1 · submission 2024", "run 2: [x]/*?"]
    tab.click("nav a", "run 2: [x]/*?")
    assert tab.evaluate("location.hash") == "#table-2"
    ids = tab.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))
    book = openpyxl.load_workbook(written.xlsx)
    assert book.sheetnames[:2] == ["run 1 · submission 2024", "run 2   x"]
    assert {"Notes", "说明"} <= set(book.sheetnames)
    head = [cell.value for cell in book.worksheets[0][5]]
    assert "Ledger\n清单" in head
    assert "Inversion, lowest\n反演最低值" in head


def test_the_map_has_chinese_words_where_a_font_has_them():
    from inversion.vocabulary import CHINESE, ENGLISH, drawn  # noqa: PLC0415  only here

    assert drawn(ENGLISH) == ENGLISH
    if fonts.system() is None:
        assert drawn(CHINESE) == ENGLISH
    else:
        assert fonts.covers("偏高：大气高于清单")
        assert drawn(CHINESE) == CHINESE
