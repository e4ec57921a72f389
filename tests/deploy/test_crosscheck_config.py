"""`skyledger crosscheck CONFIG.toml`: what it reads, what it refuses, and the states of a report."""

import csv
import json
import re
import subprocess
import sys

import numpy as np
import openpyxl
import pytest
import xarray as xr
from typer.testing import CliRunner

from deploy.cli import app
from deploy.errors import DeployError
from deploy.jobs import crosscheck as job
from deploy.jobs.crosscheck import states
from inversion import report
from inversion.crosscheck import compare
from inversion.errors import InversionError
from inversion.findings import carried
from inversion.inventory import Ledger, Period
from inversion.report import netcdf
from inversion.report.figures import draw_periods

CODES = ("CN-ZJ", "CN-JS", "CN-SH")
CONFIG = """
title = "Methane 2023"
title_zh = "2023 年甲烷"
language = "both"
output = "annex"
authors = ["王某某"]
organisation = "Institute"
notes = ["For the team."]

[rule]
level = 0.05

[[inversion]]
name = "run 1"
file = "run.nc"
[inversion.configurations]
"other prior" = "other.nc"

[[ledger]]
name = "submission 2024"
file = "ledger.csv"

[state]
state = "draft"
"""
LEDGER = """region,gas,period,value,unit,sigma_percent,source,vintage
浙江,ch4,2023,0.8,Tg,12,=HYPERLINK("http://a"),2024
江苏,ch4,2023,1.5,Tg,10,Bureau,2024
上海,ch4,2023,NE,Tg,,Bureau,2024
浙江,ch4,2022,0.8,Tg,12,Bureau,2024
江苏,ch4,2022,1.4,Tg,10,Bureau,2024
上海,ch4,2022,NE,Tg,,Bureau,2024
"""


def result(path, *, shift=0.0, year=2023, gas="ch4", codes=CODES, findings=()):
    """An inversion's file, as a report of it holds it."""
    n = len(codes)
    square = ("region", "region_cov")
    totals = xr.Dataset(
        {
            "prior": ("region", np.array([800.0, 1500, 200])[:n]),
            "inversion": ("region", np.array([1250.0, 1480, 205])[:n] + shift),
            "prior_covariance": (square, np.diag([100.0, 150, 40][:n]) ** 2),
            "inversion_covariance": (square, np.diag([20.0, 30, 8][:n]) ** 2),
        },
        {
            "region": list(codes),
            "region_cov": list(codes),
            "name_zh": ("region", ["浙江", "江苏", "上海"][:n]),
            "name_en": ("region", ["Zhejiang", "Jiangsu", "Shanghai"][:n]),
        },
        {"units": "kt yr-1", "gas": gas, "window": str(year), "findings": json.dumps(list(findings))},
    )
    rate = totals["prior"].values
    ledger = Ledger(codes, rate, 0.1 * rate, ("",) * n, gas, "0", "", "", Period.parse(str(year)))
    stations = [report.Station("Lin'an", 30.3, 119.73)]
    netcdf.write(netcdf.to_dataset(compare(totals, ledger), title="run", stations=stations), path)
    return path


@pytest.fixture
def config(tmp_path):
    result(tmp_path / "run.nc")
    result(tmp_path / "other.nc", shift=60.0)
    (tmp_path / "ledger.csv").write_text(LEDGER, encoding="utf-8")
    path = tmp_path / "annex.toml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


def changed(config, *pairs):
    text = config.read_text(encoding="utf-8")
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    config.write_text(text, encoding="utf-8")
    return config


def made(config, today="2024-06-01"):
    return job.run(job.read(config), today=today)


def stated(config, state, who="王某某", remarks=""):
    text = config.read_text(encoding="utf-8")
    words = f'[state]\nstate = "{state}"\nby = "{who}"\n' + (f'remarks = "{remarks}"\n' if remarks else "")
    text = text[: text.index("[state]")].replace('"both"', '"en"')
    config.write_text(text + words, encoding="utf-8")
    return config


def shown(text, table):
    """Numbers behind a table of the page: what of, their variable, the value."""
    part = text[text.index(f'data-table="{table}"') :].partition("</table>")[0]
    for row in part.split("<tr ")[1:]:
        key = re.search(r'data-key="([^"]*)"', row)
        for value, name in re.findall(r'data-value="([^"]*)" data-name="([^"]*)"', row):
            yield key[1], name, float(value)


def test_a_report_in_two_languages_from_the_command(config):
    command = [sys.executable, "-m", "deploy", "crosscheck", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    folder = config.parent / "annex" / "draft"
    for name in ("report.html", "report.zh.html", "crosscheck.xlsx", "crosscheck.csv", "crosscheck.nc", "map.png"):
        assert f"written: {folder / name}" in done.stdout
        assert (folder / name).stat().st_size > 500
    assert "draft, digest " in done.stdout
    assert "run 1 · submission 2024" in done.stdout
    text = (folder / "report.zh.html").read_text(encoding="utf-8")
    for said in ("2023 年甲烷", "王某某", "Institute", "run.nc, SHA-256", "other.nc, SHA-256", "草稿", "Lin&#39;an"):
        assert said in text, said


def test_the_range_over_configurations_is_in_every_form(config):
    outcome = made(config)
    (table,) = outcome.annex.tables
    assert table.comparison["inversion_low"].values.tolist() == pytest.approx([1250, 1480, 205])
    assert table.comparison["inversion_high"].values.tolist() == pytest.approx([1310, 1540, 265])
    folder = config.parent / "annex" / "draft"
    assert "1\u202f250 to 1\u202f310" in (folder / "report.html").read_text(encoding="utf-8")
    with (folder / "crosscheck.csv").open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["inversion_high"]) for row in rows] == pytest.approx([1310, 1540, 265])
    assert {row["ledger_period"] for row in rows} == {"2023"}  # of two, that of the inversion
    sheet = openpyxl.load_workbook(folder / "crosscheck.xlsx").worksheets[0]
    head = {str(cell.value).split("\n")[0]: cell.column for cell in sheet[5]}
    assert sheet.cell(6, head["Inversion, highest"]).value == pytest.approx(1310)
    assert sheet.cell(6, head["Configuration with the highest"]).value == "other prior"
    with xr.open_dataset(folder / "crosscheck.nc") as stored:
        np.testing.assert_allclose(stored["flux_total_posterior_high_country"][:, 0], [1.31e9, 1.54e9, 0.265e9])


def test_a_configuration_that_must_not_be_used_is_named_and_left_out(config):
    refusal = {"grade": "refuse", "code": "x", "sentence": "The baseline cannot be."}
    result(config.parent / "other.nc", shift=60.0, findings=[refusal])
    outcome = made(config)
    assert outcome.annex.tables[0].comparison["inversion_high"].values.tolist() == pytest.approx([1250, 1480, 205])
    assert "no: The baseline cannot be." in (config.parent / "annex/draft/report.html").read_text(encoding="utf-8")


def test_formulas_stay_text_in_the_csv(config):
    made(config)
    text = (config.parent / "annex/draft/crosscheck.csv").read_text(encoding="utf-8-sig")
    (row, *_) = csv.DictReader(text.splitlines())
    assert row["ledger_source"].startswith("'=HYPERLINK")
    assert float(row["difference"]) > 0  # numbers stay numbers


def test_trends_over_two_inversions(config):
    result(config.parent / "before.nc", year=2022, shift=-40.0)
    changed(
        config,
        ('file = "ledger.csv"\n', 'file = "ledger.csv"\ntrends = true\n'),
        ("[[ledger]]", '[[inversion]]\nname = "run 0"\nfile = "before.nc"\n[[ledger]]'),
    )
    outcome = made(config)
    assert [table.name for table in outcome.annex.tables] == ["run 1 · submission 2024", "run 0 · submission 2024"]
    (trend,) = outcome.annex.trends
    np.testing.assert_allclose(trend.trends["inversion_trend"].values[:2], 40.0, rtol=1e-3)
    assert trend.trends["verdict"].values[2] == "not resolved"
    folder = config.parent / "annex" / "draft"
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert 'data-table="trends"' in text
    assert 'data-table="periods"' in text
    assert "+40 ± 28" in text
    assert text.count("<svg") == 5  # two maps, two kernels, the periods
    panels = draw_periods(trend.trends).axes
    assert [panel.get_title(loc="left") for panel in panels] == ["Zhejiang", "Jiangsu", "Shanghai"]
    drawn = panels[0].containers[1].lines[0].get_ydata()  # the inversion, 2023 and 2022
    assert sorted(drawn) == pytest.approx([1210, 1250])
    names = openpyxl.load_workbook(folder / "crosscheck.xlsx").sheetnames
    assert {"Trends", "Periods"} <= set(names)
    with xr.open_dataset(folder / "trends-1.nc") as stored:
        for code, name, value in shown(text, "trends"):
            assert value == pytest.approx(stored[name].sel(region=code).item(), rel=1e-12)


def test_two_inversions_of_one_year_are_no_two_years(config):
    result(config.parent / "other.nc", year=2023, shift=60.0)
    changed(
        config,
        ('file = "ledger.csv"\n', 'file = "ledger.csv"\ntrends = true\n'),
        ("[[ledger]]", '[[inversion]]\nname = "run 0"\nfile = "other.nc"\n[[ledger]]'),
    )
    with pytest.raises(DeployError, match="Two are of one time, 2023 and 2023"):
        made(config)


@pytest.mark.parametrize("period", ["2022", "2023-03"])
def test_a_ledger_of_another_time_is_compared_only_where_that_is_asked_for(config, period):
    ledger = config.parent / "ledger.csv"
    head, *rows = ledger.read_text(encoding="utf-8").splitlines()
    other = [row.replace(",2023,", f",{period},") for row in rows if ",2023," in row]
    ledger.write_text("\n".join([head, *other]) + "\n", encoding="utf-8")
    with pytest.raises(DeployError, match=rf"The ledger is of {period}, the inversion of 2023.* State the period"):
        made(config)
    outcome = made(changed(config, ('file = "ledger.csv"\n', f'file = "ledger.csv"\nperiod = "{period}"\n')))
    assert any(f.code == "other_time" for f in carried(outcome.annex.tables[0].comparison.attrs))


def test_a_ledger_of_other_regions_is_refused(config):
    text = "region,gas,period,value,unit,sigma_percent\n北京,ch4,2023,0.1,Tg,10\n"
    (config.parent / "ledger.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DeployError, match=r"none of the inversion's regions \(CN-ZJ.*, but of CN-BJ"):
        made(config)


def test_the_days_of_states_are_days_and_follow_each_other(config):
    stated(config, "submitted")
    text = config.read_text(encoding="utf-8")
    for day in ('"2024-13-01"', "12"):
        config.write_text(text + f"when = {day}\n", encoding="utf-8")
        with pytest.raises(DeployError, match=r"state\.when: is .*, expected a time"):
            made(config)
    config.write_text(text + "when = 2024-06-02\n", encoding="utf-8")
    assert made(config).annex.imprint.when == "2024-06-02"
    config.write_text(text.replace("submitted", "approved") + 'when = "2024-05-01"\n', encoding="utf-8")
    with pytest.raises(DeployError, match="approved on 2024-05-01 would be before what was submitted on 2024-06-02"):
        made(config)


def test_sectors_are_told_apart_where_the_inversion_can(config):
    """Two sectors of each region, of which only the sum is seen in one region."""
    path = config.parent / "run.nc"
    with xr.open_dataset(path) as opened:
        stored = opened.load()
    M = np.kron(np.diag([100.0, 150, 40]) ** 2, np.eye(2)) / 2
    S = 0.05 * M
    S[2:4, 2:4] = M[2, 2] * np.array([[0.52, -0.48], [-0.48, 0.52]])
    parts = {"prior": [400.0, 400, 750, 750, 100, 100], "posterior": [820.0, 430, 740, 740, 103, 102]}
    for side, values in parts.items():
        stored[f"flux_sector_{side}_country"] = (("country", "sector"), np.reshape(values, (3, 2)) * 1e6)
    shape = ("country", "sector", "country_2", "sector_2")
    for side, matrix in (("prior", M), ("posterior", S)):
        stored[f"covariance_flux_sector_{side}_country"] = (shape, matrix.reshape(3, 2, 3, 2) * 1e12)
    stored.assign_coords(sector=["rice", "coal"]).to_netcdf(path)
    lines = ["region,gas,category,period,value,unit,sigma_percent,vintage,part"]
    lines += [
        f"{c},ch4,{k},2023,{v},kt,10,2024,yes"
        for c, v in zip(CODES, (400, 750, 100), strict=True)
        for k in ("3.C.7", "1.B.1")
    ]
    (config.parent / "ledger.csv").write_text("\n".join(lines), encoding="utf-8")
    changed(config, ("[state]", '[ledger.sectors]\nrice = "3.C.7"\ncoal = ["1.B.1"]\n[state]'))
    (table,) = made(config).annex.tables
    assert table.attribution["resolved"].values.tolist() == [[True, True], [False, False], [True, True]]
    text = (config.parent / "annex/draft/report.zh.html").read_text(encoding="utf-8")
    assert 'data-table="attribution"' in text
    assert "rice + coal" in text
    with xr.open_dataset(config.parent / "annex/draft/sectors.nc") as stored:
        checked = 0
        for key, name, value in shown(text, "attribution"):
            code, sector = key.split(" ")
            found = stored[{"share": "group_share"}.get(name, name)]
            assert value == pytest.approx(found.sel(region=code, sector=sector).item(), rel=1e-12)
            checked += 1
    assert checked == 4 * 6
    assert "rice + coal（无法区分）−20 ± 110（可见 96 %）：一致" in text
    assert "Sectors" in openpyxl.load_workbook(config.parent / "annex/draft/crosscheck.xlsx").sheetnames


def test_only_the_regions_that_may_be_seen_are_shown(config):
    changed(config, ('organisation = "Institute"', 'organisation = "Institute"\nregions = ["CN-JS"]'))
    (table,) = made(config).annex.tables
    assert table.comparison["region"].values.tolist() == ["CN-JS"]
    text = (config.parent / "annex/draft/report.html").read_text(encoding="utf-8")
    assert "1\u202f250" not in text  # Zhejiang's
    with xr.open_dataset(config.parent / "annex/draft/crosscheck.nc") as stored:
        assert stored["country"].values.tolist() == ["CN-JS"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("title = ", "titel = ", "annex.toml.titel: is not known, did you mean 'title'?"),
        ('language = "both"', 'language = "cn"', "annex.toml.language: is 'cn', expected one of en, zh, both"),
        ("level = 0.05", "levle = 0.05", "annex.toml.rule.levle: is not known, did you mean 'level'?"),
        ("level = 0.05", "level = 5", "level is 5.0: expected a number between 0 and 1"),
        ('file = "run.nc"', 'path = "run.nc"', "annex.toml.inversion[0].file: is missing"),
        ('name = "submission 2024"', 'name = "a"\ninversions = ["run 2"]', "'run 2', did you mean 'run 1'"),
        ('state = "draft"', 'state = "submitted"', "annex.toml.state.by: is missing: a report is submitted"),
        ('state = "draft"', 'state = "final"', "annex.toml.state.state: is 'final', expected one of draft, submitted"),
        ('file = "ledger.csv"', 'file = "ledger.csv"\n[ledger.read]\nencodings = "a"', "did you mean 'encoding'?"),
        ("[[ledger]]", "[[ledgers]]", "annex.toml.ledgers: is not known, did you mean 'ledger'?"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_configuration_is_one_sentence(config, old, new, said):
    changed(config, (old, new))
    with pytest.raises(DeployError) as caught:
        job.read(config)
    assert said in str(caught.value)


def test_what_is_wrong_with_a_file_names_it(config):
    changed(config, ("run.nc", "nothing.nc"))
    with pytest.raises(DeployError, match=r"annex\.toml: no such file: the inversion 'run 1', nothing\.nc; paths are"):
        made(config)
    (config.parent / "nothing.nc").write_text("no netCDF")
    with pytest.raises(DeployError, match=r"nothing\.nc is no netCDF file"):
        made(config)
    changed(config, ("nothing.nc", "run.nc"))
    result(config.parent / "other.nc", codes=CODES[:2])
    with pytest.raises(DeployError, match=r"the inversion 'run 1': The configurations .* other prior is of other"):
        made(config)
    result(config.parent / "other.nc")
    changed(config, ('file = "ledger.csv"', 'file = "ledger.csv"\nperiod = "2021"'))
    with pytest.raises(DeployError, match=r"the ledger 'submission 2024'.*period 2021"):
        made(config)
    assert not (config.parent / "annex").exists()
    changed(config, ('period = "2021"', ""), ('output = "annex"', 'output = "ledger.csv"'))
    with pytest.raises(DeployError, match=r"ledger\.csv: the report cannot be written there: File exists"):
        made(config)


def test_options_that_a_configuration_says_itself_are_refused(config):
    done = CliRunner().invoke(app, ["crosscheck", str(config), "--level", "0.1"])
    assert done.exit_code == 2
    assert "--level: a configuration says this itself" in done.stderr


# --- states -------------------------------------------------------------------------------------


def test_a_report_goes_from_draft_to_approved_and_keeps_its_history(config):
    folder = config.parent / "annex"
    made(config)
    first = made(stated(config, "submitted", remarks="=first"), "2024-06-02")
    submitted = {path.name: path.read_bytes() for path in first.files}
    made(stated(config, "draft"))
    approved = made(stated(config, "approved", "李某"), "2024-06-09")
    assert [e.state for e in states.history(folder)] == ["submitted", "approved"]
    assert [e.folder for e in states.history(folder)] == ["submitted-1", "approved-1"]
    assert {path.name: path.read_bytes() for path in first.files} == submitted
    text = approved.files[0].read_text(encoding="utf-8")
    history = text[text.index("States of this report") :]
    for said in ("submitted", "2024-06-02", "王某某", "=first", "approved", "2024-06-09", "李某"):
        assert said in history
    assert '<span class="status approved">approved</span>' in text
    with xr.open_dataset(folder / "approved-1" / "crosscheck.nc") as stored:
        assert stored.attrs["report_state"] == "approved"
        assert stored.attrs["report_digest_sha256"] == approved.annex.digest
    notes = [row[1].value for row in openpyxl.load_workbook(folder / "approved-1" / "crosscheck.xlsx")["Notes"].rows]
    assert any("李某" in str(note) for note in notes)


def test_a_submission_is_never_overwritten(config):
    made(stated(config, "submitted"))
    with pytest.raises(DeployError, match=r"was submitted on 2024-06-01 by 王某某 already \(submitted-1\)"):
        made(config)
    before = (config.parent / "annex/submitted-1/crosscheck.nc").read_bytes()
    result(config.parent / "run.nc", shift=5.0)
    made(config, "2024-07-01")
    assert (config.parent / "annex/submitted-1/crosscheck.nc").read_bytes() == before
    assert (config.parent / "annex/submitted-2/crosscheck.nc").exists()


def test_approval_of_a_changed_table_is_refused(config):
    with pytest.raises(DeployError, match="nothing was submitted yet"):
        made(stated(config, "approved"))
    made(stated(config, "submitted"))
    result(config.parent / "run.nc", shift=5.0)
    with pytest.raises(DeployError, match=r"is not the one submitted on 2024-06-01 by 王某某 \(digest "):
        made(stated(config, "approved"))
    result(config.parent / "run.nc")
    made(stated(config, "approved"))
    with pytest.raises(DeployError, match="already"):
        made(config)
    assert sorted(path.name for path in (config.parent / "annex").iterdir()) == [
        "approved-1",
        "history.jsonl",
        "submitted-1",
    ]


def test_approval_of_files_that_were_changed_is_refused(config):
    made(stated(config, "submitted"))
    page = config.parent / "annex/submitted-1/report.html"
    page.write_text(page.read_text(encoding="utf-8").replace("Methane", "Methan"), encoding="utf-8")
    with pytest.raises(DeployError, match=r"submitted-1: report\.html changed after it was submitted"):
        made(stated(config, "approved"))


def test_a_history_that_was_changed_is_noticed(config):
    made(stated(config, "submitted"))
    made(stated(config, "approved"))
    path = config.parent / "annex/history.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace("2024-06-01", "2024-05-01", 1), encoding="utf-8")
    with pytest.raises(DeployError, match=r"history\.jsonl:1 was changed"):
        made(stated(config, "draft"))
    path.write_text("{", encoding="utf-8")
    with pytest.raises(DeployError, match=r"history\.jsonl:1 is no entry of a history"):
        made(config)


def test_the_last_line_and_files_of_an_approval_are_held_too(config):
    made(stated(config, "submitted"))
    made(stated(config, "approved"))
    path = config.parent / "annex/history.jsonl"
    text = path.read_text(encoding="utf-8")
    first, last = text.splitlines()
    path.write_text("\n".join([first, last.replace('"who": "', '"who": "not ')]) + "\n", encoding="utf-8")
    with pytest.raises(DeployError, match=r"history\.jsonl:2 was changed"):
        made(stated(config, "draft"))
    path.write_text(first + "\n", encoding="utf-8")
    with pytest.raises(DeployError, match=r"approved-1 is in no line of history\.jsonl"):
        made(stated(config, "draft"))
    path.unlink()
    with pytest.raises(DeployError, match=r"approved-1, submitted-1 is in no line"):
        made(stated(config, "draft"))
    path.write_text(text, encoding="utf-8")
    made(config)
    (config.parent / "annex/approved-1/crosscheck.csv").write_text("mine", encoding="utf-8")
    again = changed(config, ("For the team.", "For another team."))
    with pytest.raises(DeployError, match=r"approved-1: crosscheck\.csv changed after it was approved"):
        made(stated(again, "submitted"))


def test_a_report_that_fails_leaves_the_earlier_one(config, monkeypatch):
    made(config)
    before = sorted((config.parent / "annex/draft").iterdir())

    def fail(*_args, **_options):
        raise InversionError("no room")

    monkeypatch.setattr(report, "write_annex", fail)
    with pytest.raises(InversionError, match="no room"):
        made(config)
    assert sorted((config.parent / "annex/draft").iterdir()) == before
    assert [path.name for path in (config.parent / "annex").iterdir()] == ["draft"]


def test_the_digest_is_of_the_tables_and_not_of_the_state(config):
    one, two = made(config), made(stated(config, "submitted"))
    assert one.annex.digest == two.annex.digest
    again = made(changed(config, ("For the team.", "For another team."), ('state = "submitted"', 'state = "draft"')))
    assert again.annex.digest != one.annex.digest
