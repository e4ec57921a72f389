"""`skyledger crosscheck`: a revised ledger against the inversion of an earlier report."""

import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

from deploy.cli import app
from inversion import report
from inversion.crosscheck import compare
from inversion.inventory import Ledger, Period

LEDGER = """地区,值
浙江,120
江苏,NE
"""
MAPPING = """
[columns]
region = "地区"
value = "值"
[constants]
gas = "ch4"
period = "2023"
unit = "万吨"
sigma_percent = "10"
"""


@pytest.fixture
def result(tmp_path):
    codes = ["CN-ZJ", "CN-JS"]
    totals = xr.Dataset(
        {
            "prior": ("region", [800.0, 1500.0]),
            "inversion": ("region", [1250.0, 1480.0]),
            "prior_covariance": (("region", "region_cov"), np.diag([100.0, 150.0]) ** 2),
            "inversion_covariance": (("region", "region_cov"), np.diag([20.0, 30.0]) ** 2),
        },
        coords={
            "region": codes,
            "region_cov": codes,
            "name_zh": ("region", ["浙江", "江苏"]),
            "name_en": ("region", ["Zhejiang", "Jiangsu"]),
        },
        attrs={"units": "kt yr-1", "gas": "ch4", "window": "2023"},
    )
    ledger = Ledger(
        tuple(codes),
        np.array([800.0, 1500.0]),
        np.array([80.0, 150.0]),
        ("", ""),
        "ch4",
        "0",
        "",
        "",
        Period.parse("2023"),
    )
    table = compare(totals, ledger)
    assert list(table["verdict"].values) == ["higher", "agree"]
    return report.write(table, tmp_path / "first", title="first").netcdf


def run(*arguments):
    command = [sys.executable, "-m", "deploy", "crosscheck", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_revised_ledger_gets_a_report_of_its_own(result, tmp_path):
    (tmp_path / "ledger.csv").write_text(LEDGER, encoding="gb18030")
    (tmp_path / "map.toml").write_text(MAPPING, encoding="utf-8")
    out = tmp_path / "second"
    done = run(
        result,
        "--inventory",
        tmp_path / "ledger.csv",
        "--mapping",
        tmp_path / "map.toml",
        "--encoding",
        "gb18030",
        "--output",
        out,
    )
    assert done.returncode == 0, done.stderr
    assert "Zhejiang" in done.stdout
    assert "agree" in done.stdout
    for name in ("report.html", "crosscheck.xlsx", "crosscheck.nc", "map.png"):
        assert f"written: {out / name}" in done.stdout
        assert (out / name).stat().st_size > 1000
    with xr.open_dataset(out / "crosscheck.nc") as stored:
        np.testing.assert_allclose(stored["flux_total_inventory_country"].values[:, 0], [1.2e9, np.nan])


def test_a_ledger_of_sectors_is_added_up(result, tmp_path):
    (tmp_path / "ledger.csv").write_text(
        "region,gas,category,period,value,unit,published,part\n"
        "CN-ZJ,ch4,1.B.1,2023,0.7,Tg,Coal,yes\nCN-ZJ,ch4,4.A,2023,0.5,Tg,Waste,yes\nCN-JS,ch4,4.A,2023,1.5,Tg,Waste,yes\n"
    )
    out = tmp_path / "second"
    done = run(result, "--inventory", tmp_path / "ledger.csv", "--sigma-percent", 10, "--output", out)
    assert done.returncode == 0, done.stderr
    with xr.open_dataset(out / "crosscheck.nc") as stored:
        np.testing.assert_allclose(stored["flux_total_inventory_country"].values[:, 0], [1.2e9, 1.5e9])
    assert "agree in 2," in done.stdout


def test_a_faulty_ledger_is_one_message_and_no_traceback(result, tmp_path):
    (tmp_path / "ledger.csv").write_text("region,gas,period,value,unit\nAtlantis,ch4,2023,1,kt\n")
    done = run(result, "--inventory", tmp_path / "ledger.csv", "--output", tmp_path / "second")
    assert done.returncode == 1
    assert "ledger.csv:2: No province-level unit is called 'Atlantis'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "second").exists()


def test_files_that_are_not_there_are_named(result, tmp_path):
    for arguments in ((tmp_path / "a.nc",), (result, "--inventory", tmp_path / "a.csv")):
        done = CliRunner().invoke(app, ["crosscheck", *map(str, arguments)])
        assert done.exit_code == 2
        assert "does not exist" in done.stderr
