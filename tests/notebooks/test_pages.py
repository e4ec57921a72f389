"""What a user is told to do with data of their own runs as printed; the glossary says what the code does."""

import ast
import inspect
import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from ingest import backfill, catalogue, export
from ingest.migrate import migrate
from inversion import crosscheck
from inversion.datasets import FOOTPRINT
from inversion.transport import write_footprints
from qc import flags, schema, units
from tests.ingest.test_backfill import obs
from tests.inversion.pieces import footprints, observations
from tests.inversion.test_meteorology import column
from tests.notebooks.run import NOTEBOOKS
from tests.path.network import document

PAGE = (NOTEBOOKS / "README.md").read_text("utf-8")
GLOSSARY = (NOTEBOOKS / "GLOSSARY.md").read_text("utf-8")


@pytest.fixture
def own(plain_dsn, tmp_path, monkeypatch):
    """A folder with files of a user's own, and a store with a station's hours."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "era5").mkdir()
    air = column(hours=4)
    for hour in range(4):
        air.isel(time=[hour]).to_netcdf(tmp_path / f"era5/{hour}.nc")
    one_site = observations(4, sites={"aaa": (110.2, 29.1, 50.0)})
    write_footprints(footprints(one_site), tmp_path / "footprints.nc")
    ledger = "region,gas,category,period,value,unit\nCN-ZJ,ch4,1.B,2024,300,kt\nCN-ZJ,ch4,4,2024,500,kt\n"
    (tmp_path / "ledger.csv").write_text(ledger)
    export.icos(obs(5), tmp_path / "co2_lin-an_50m.CO2")
    migrate(plain_dsn)
    catalogue.apply(plain_dsn, document())
    backfill.archive_file(plain_dsn, tmp_path / "co2_lin-an_50m.CO2", station="lin-an", inlet="50m")
    hours = air["time"].values
    receptors = xr.Dataset(
        {
            "time": ("receptor", hours[2:]),
            "longitude": ("receptor", [112.0, 112.0]),
            "latitude": ("receptor", [31.5, 31.5]),
            "height": ("receptor", [50.0, 100.0]),
        }
    )
    grid = xr.Dataset(coords={"longitude": np.arange(111.0, 113.1, 0.5), "latitude": np.arange(30.5, 32.6, 0.5)})
    return {"dsn": plain_dsn, "first": hours[0], "last": hours[-1], "receptors": receptors, "grid": grid}


def test_the_blocks_of_the_page_run_as_printed(own):
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 4
    names = dict(own)
    exec(blocks[0], names)
    schema.require(names["seen"], FOOTPRINT)
    assert float(names["seen"]["srr"].max()) > 0
    exec(blocks[1], names)
    schema.require(names["seen"], FOOTPRINT)
    exec(blocks[2], names)
    (total,) = names["ledger"].entries
    assert (total.region, total.value) == ("CN-ZJ", 800.0)
    *_, block = blocks
    exec(block, names)
    assert names["hours"].sizes["time"] == 5


def test_every_notebook_is_on_the_page_and_every_name_on_it_is_there():
    there = {path.name for path in NOTEBOOKS.glob("*.md") if path.read_text("utf-8").startswith("---\njupytext")}
    assert {Path(name).name for name in re.findall(r"^\| \[[^\]]+\]\((\w+\.md)\)", PAGE, re.MULTILINE)} == there
    for name in re.findall(r"\]\(([^)#]+)", PAGE + GLOSSARY):
        assert (NOTEBOOKS / name).exists(), name


def test_a_variable_for_own_data_is_read_by_its_notebook():
    for row in re.findall(r"^\| \[.*\|$", PAGE, re.MULTILINE):
        for variable in re.findall(r"SKYLEDGER_\w+", row):
            name = re.search(r"\((\w+\.md)\)", row)[1]
            assert variable in (NOTEBOOKS / name).read_text("utf-8"), (variable, name)


def table(heading, columns):
    """Rows of the tables under a heading that have so many columns, their heads left out."""
    part = GLOSSARY.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line.startswith("|")]
    heads = [k for k, row in enumerate(rows) if set("".join(row)) <= set("-")]
    return [row for k, row in enumerate(rows) if len(row) == columns and k not in heads and k + 1 not in heads]


def test_the_glossarys_flags_are_those_of_the_code():
    rows = table("Flags", 5)
    assert [(row[0].replace(" ", "_").upper(), int(row[1])) for row in rows] == [(f.name, int(f)) for f in flags.Flag]
    values = np.array([int(row[1]) for row in rows])
    assert [row[2].split()[0] for row in rows] == flags.to_icos(values).tolist()
    by_hand = flags.to_icos(values, np.full(values.size, int(flags.Cause.MANUAL)))
    assert [re.search(r"by hand (\w)", row[2])[1] for row in rows] == by_hand.tolist()
    assert [f"`{letters}`" for letters in flags.to_noaa(values)] == [row[4].split(",")[0] for row in rows]
    assert [int(row[3]) for row in rows[1:]] == flags.to_wdcgg(values)[1:].tolist()


def test_the_glossarys_tests_quantities_and_scales_are_those_of_the_code():
    (node,) = (n for n in ast.parse(inspect.getsource(flags)).body if getattr(n, "name", "") == "Cause")
    said = [part.value.value.rstrip(".") for part in node.body[1:] if isinstance(part, ast.Expr)]
    causes = [[c.name.lower(), str(int(c)), text] for c, text in zip(flags.Cause, said, strict=True)]
    assert table("Flags", 3) == causes
    quantities = [[f"`{name}`", q.long_name, q.unit] for name, q in units.QUANTITIES.items()]
    assert table("Quantities and units", 3) == quantities
    assert table("Quantities and units", 2) == [[gas.upper(), scale] for gas, scale in units.SCALES.items()]


def test_the_glossary_knows_every_verdict():
    (row,) = (row for row in table("Words", 2) if row[0] == "verdict")
    assert all(f"`{verdict}`" in row[1] for verdict in crosscheck.VERDICTS)
