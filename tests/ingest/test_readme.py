"""What the operator's page tells to write is taken, and the commands it names are there."""

import re
import tomllib
from pathlib import Path

from typer.testing import CliRunner

from deploy.cli import app
from ingest import catalogue, read
from ingest.migrate import migrate

PAGE = (Path(__file__).parents[2] / "ingest/README.md").read_text("utf-8")


def test_the_pages_catalogue_is_taken(plain_dsn):
    migrate(plain_dsn)
    (document,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    catalogue.apply(plain_dsn, tomllib.loads(document))
    (station,) = read.stations(plain_dsn)
    assert (station.name, station.region) == ("lin-an", "CN-ZJ")
    assert [port.inlet for port in station.instruments[0].ports] == ["50m", "10m"]


def test_the_pages_commands_and_their_options_are_there():
    lines = re.findall(r"^    skyledger (.*?)(?:\s+#.*)?$", PAGE, re.MULTILINE)
    assert len(lines) > 10
    for line in lines:
        words = line.split()
        command = words[: 1 if words[0] == "backfill" else 2]
        help_ = CliRunner().invoke(app, [*command, "--help"], terminal_width=300)
        assert help_.exit_code == 0, line
        for option in re.findall(r"--[a-z-]+", line):
            assert option in help_.output, line
