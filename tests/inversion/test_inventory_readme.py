"""The inventory team's page: what it shows runs, and so do the examples in the docstrings."""

import doctest
import importlib
import re
import shutil
from pathlib import Path

import pytest
import typer

from deploy.cli import app
from tests.inversion.ledgers import crf, edgar

PAGE = Path(__file__).parents[2] / "inversion/inventory/README.md"
MODULES = ("areas", "categories", "delimited", "divisions", "entry", "mass", "workbook")


def test_the_page_runs_as_it_stands(shared, tmp_path, monkeypatch):
    for name in ("ceads_30_provinces_2019.xlsx", "ceads_province_totals.csv"):
        shutil.copy(shared / "data/inventory" / name, tmp_path)
    crf(tmp_path / "DEU_2021_2019_13042021.xlsx")
    edgar(tmp_path / "EDGAR_CH4.xlsx")
    monkeypatch.chdir(tmp_path)
    text = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))
    page = doctest.DocTestParser().get_doctest(text, {}, PAGE.name, str(PAGE), 0)
    said: list[str] = []
    result = doctest.DocTestRunner().run(page, out=said.append)
    assert result.attempted > 25
    assert result.failed == 0, "".join(said)


@pytest.mark.parametrize("line", re.findall(r"skyledger (crosscheck [^\n#`;]+)", PAGE.read_text(encoding="utf-8")))
def test_every_option_on_the_page_exists(line):
    command = typer.main.get_command(app).commands["crosscheck"]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in line.split() if word.startswith("--")} <= known


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    result = doctest.testmod(importlib.import_module(f"inversion.inventory.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
