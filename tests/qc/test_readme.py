"""The PI's page: its configuration is one, and every command and option on it exists."""

import re
import tomllib
from pathlib import Path

import pytest
import typer

from deploy.cli import app
from qc.pipeline import Config
from tests.qc.conftest import DOCUMENT

PAGE = (Path(__file__).parents[2] / "qc" / "README.md").read_text(encoding="utf-8")


def test_the_configuration_on_the_page_is_one():
    text = "\n".join(
        line[4:] for line in re.search(r"\n\n(    \[\[series\]\]\n.*?)\n\n[A-Z]", PAGE, re.DOTALL)[1].splitlines()
    )
    (series,) = tomllib.loads(text)["series"]
    cylinders = [
        {"name": name, "species": "co2", "value": 400.0 + k, "uncertainty": 0.02}
        for k, name in enumerate(("D1234", "D1235", "D9001"))
    ]
    series["calibration"]["cylinder"] = cylinders
    place = {key: DOCUMENT[key] for key in ("inlet", "inlet_height", "latitude", "longitude", "altitude", "instrument")}
    config = Config.from_dict(series | place)
    assert [standard.port for standard in config.standards.standards] == ["3", "4"]
    assert config.screens
    assert config.selection_hours > 8


@pytest.mark.parametrize("line", re.findall(r"skyledger (qc [^\n#`;]+)", PAGE))
def test_every_command_and_option_on_the_page_exists(line):
    group = typer.main.get_command(app).commands["qc"]
    words = line.split()
    command = group.commands[words[1]]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known
