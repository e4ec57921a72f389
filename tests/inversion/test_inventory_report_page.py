"""The inventory team's page, where it is about the report: its configuration and its command run as they stand."""

import re
from pathlib import Path

from typer.testing import CliRunner

from deploy.cli import app
from deploy.errors import DeployError
from tests.deploy.test_crosscheck_config import result

PAGE = Path(__file__).parents[2] / "inversion/inventory/README.md"
SECTION = PAGE.read_text(encoding="utf-8").partition("## The report")[2]
LEDGER = "region,gas,period,value,unit\n浙江,ch4,2023,0.8,Tg\n江苏,ch4,2023,1.5,Tg\n上海,ch4,2023,NE,Tg\n"


def run():
    (line,) = re.findall(r"^    skyledger (crosscheck .*)$", SECTION, re.MULTILINE)
    return CliRunner().invoke(app, line.split())


def test_the_configuration_and_its_states_run_as_they_stand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, submitted = re.findall(r"```toml\n(.*?)```", SECTION, re.DOTALL)
    for name, shift in (("run", 0.0), ("other", 60.0)):
        (tmp_path / name).mkdir()
        result(tmp_path / name / "crosscheck.nc", shift=shift)
    (tmp_path / "ledger.csv").write_text(LEDGER, encoding="utf-8")
    config = tmp_path / "annex.toml"
    config.write_text(first, encoding="utf-8")
    done = run()
    assert done.exit_code == 0, done.exception
    assert sorted(path.name for path in (tmp_path / "annex/draft").iterdir()) == [
        *("crosscheck.csv", "crosscheck.nc", "crosscheck.xlsx", "map.png", "report.html", "report.zh.html")
    ]
    config.write_text(first.partition("[state]")[0].replace('"both"', '"zh"') + submitted, encoding="utf-8")
    assert run().exit_code == 0
    assert (tmp_path / "annex/submitted-1/report.zh.html").exists()
    result(tmp_path / "run/crosscheck.nc", shift=5.0)
    text = config.read_text(encoding="utf-8").replace('"submitted"', '"approved"')
    config.write_text(text, encoding="utf-8")
    refused = run()
    assert isinstance(refused.exception, DeployError)
    (printed,) = re.findall(r"^    skyledger: (.*)$", SECTION, re.MULTILINE)
    shape = re.sub(r"[0-9a-f]{6}\\\.\\\.\\\.", "[0-9a-f]{12}", re.escape(printed)).replace(
        r"2024\-06\-02", r"\d{4}-\d\d-\d\d"
    )
    assert re.fullmatch(shape, str(refused.exception)), refused.exception
