"""The technician's page: every configuration in it is one, every command in it exists."""

import re
import textwrap
import tomllib
from pathlib import Path

import pytest

from station_agent.__main__ import _parser
from station_agent.config import read_config
from tests.station_agent.test_export import AGAIN

PAGE = (Path(__file__).parents[2] / "station_agent/README.md").read_text("utf-8")
BLOCKS = [textwrap.dedent(block) for block in re.findall(r"(?:^    .*\n|^\n(?=    ))+", PAGE, re.MULTILINE)]
TOML = [block.strip() + "\n" for block in BLOCKS if "driver =" in block]


def test_the_instruments_of_the_page_are_without_faults(tmp_path):
    first, *others = [block for block in TOML if "[[instrument]]" in block]
    for name in ("ca.crt", "lin-an.crt", "lin-an.key"):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o600)
    file = tmp_path / "agent.toml"
    file.write_text(first + "".join(others))
    names = ["g2301", "g2301-live", "li-7810", "li-850", "ugga", "logger", "weather", "air", "simulated"]
    assert [instrument.name for instrument in read_config(file).instruments] == names


def test_the_options_that_read_an_exported_file_again_are_those_tested():
    (block,) = (block for block in TOML if "[[instrument]]" not in block)
    options = tomllib.loads(block)
    assert {key: value for key, value in options.items() if key not in ("driver", "path")} == AGAIN


@pytest.mark.parametrize("command", re.findall(r"`station-agent ([^`]+)`", PAGE))
def test_the_commands_of_the_page_are_understood(command):
    words = command.split()
    options = _parser().parse_args(words if "--config" in words else [*words, "--config", "agent.toml"])
    assert options.command == words[0]
