"""The notebooks of inversions and ledgers run from top to bottom, and say what they are to show."""

import re

import pytest

from tests.notebooks.run import executed, said, text_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the notebook machinery's own


def pictures(notebook):
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return sum("image/png" in output.get("data", {}) for output in outputs)


def number(text, pattern):
    found = re.search(pattern, text)
    assert found, pattern
    return float(found.group(1))


def test_an_inversion_on_a_cluster_finds_the_truth_within_its_sigmas():
    notebook = executed("inversion.md")
    text = text_of(notebook)
    assert re.search(r"dashboard http://127\.0\.0\.1:\d+/status 200", text)
    assert "300 observations, 2912 scalings" in text
    assert number(text, r"errors in stated σ: root mean square ([\d.]+)") < 1.5
    assert number(text, r"σ of R: ([\d.]+) times") == pytest.approx(1.0, abs=0.15)
    assert number(text, r"scalings differ by ([\de.-]+) at most") < 1e-5
    assert number(text, r"σ of provinces by ([\d.]+)%") <= 1.0
    assert "H: (300, 2912) in 9 blocks" in text
    assert pictures(notebook) == 7


def test_what_a_network_can_see_is_right_in_its_own_world_and_noticed_elsewhere():
    notebook = executed("network.md")
    text = text_of(notebook)
    assert "The stated σ hold: over 200 twins" in text
    assert "The stated σ of totals are too small: over 30 twins (truth with other winds" in text
    assert "The inversion notices: its own diagnostics warn in 100% of the twins" in text
    assert re.search(r"Liaoning +1050 +\d+% +not resolved", text)
    assert re.search(r"Of 15 candidates CN-\w+ \d adds most to the degrees of freedom", text)
    assert pictures(notebook) == 6


def test_the_planted_error_of_a_ledger_is_found_and_no_other(tmp_path, monkeypatch):
    own = tmp_path / "own.csv"
    own.write_text("region,gas,category,period,value,unit,sigma,source,vintage\nCN-BJ,ch4,0,2025,7,kt,1,me,1\n")
    monkeypatch.setenv("SKYLEDGER_LEDGER", str(own))
    notebook = executed("crosscheck.md")
    text = text_of(notebook)
    assert "CN-BJ 2025 ch4 7" in text
    assert re.search(r"Anhui +1500 ± 225 +\d+ ± +\d+ +\d+% +[\d.]+ +higher", text)
    assert "Anhui: higher - in truth 1.5 times the ledger; false alarms: none" in text
    assert "not resolved (the ledger says NE (not estimated))" in text
    assert re.search(r"Anhui +\d+ ± \d+, over 7 configurations", text)
    assert "ledger 1500, all on one side of it" in text
    assert "218956 ± 8567 kt CO2" in text
    assert "report.html" in text
    assert pictures(notebook) == 2


def test_gosan(shared, monkeypatch):
    case = shared / "data" / "inversion" / "gosan_hfc23_2022.nc"
    assert case.exists()
    monkeypatch.setenv("SKYLEDGER_CASE", str(case))
    text = said("gosan.md")
    assert "1482 observations at GSN" in text
    assert "Not resolved: region 2" in text
    assert "mean scaling 1.39" in text
    assert "The stated σ hold" in text
    assert "residual_correlation in 100%" in text


def test_where_gosan_is_not_there_a_case_of_its_form_is_made_up(tmp_path, monkeypatch):
    monkeypatch.setenv("SKYLEDGER_CASE", str(tmp_path / "gosan.nc"))
    text = said("gosan.md")
    assert "gosan.nc is not here: a case of the same form is made up" in text
    assert "they were multiplied by it" in text
    for region, truth in enumerate((0.4, 1.0, 1.6, 1.2)):
        found = re.search(rf"region {region} +1\.000 ± 1\.000 +([\d.]+) ± ([\d.]+)", text)
        assert abs(float(found.group(1)) - truth) < 3 * float(found.group(2))
