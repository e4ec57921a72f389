"""primap2's interchange format, here and in primap2 itself."""

import csv
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml

from inversion import inventory
from inversion.inventory import Entry, Inventory, InventoryError, Period, categories, write_interchange
from inversion.inventory.areas import countries
from inversion.inventory.entry import AGGREGATES

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-primap2/bin/python"
PEER = Path(__file__).with_name("primap2_peer.py")


def peer(*files):
    """Ask primap2 itself; skip where its environment is absent, fail if CI could have made it."""
    if not PYTHON.exists():
        sentence = (
            "not run: primap2's environment .venv-primap2 is absent; .ci/primap2 makes it with Python 3.12 or newer"
        )
        found = subprocess.run([ROOT / ".ci/primap2", "find"], check=False, capture_output=True)
        if os.environ.get("CI") == "true" and found.returncode == 0:
            pytest.fail(sentence, pytrace=False)
        pytest.skip(sentence)
    done = subprocess.run([PYTHON, PEER, *files], check=False, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def entry(region, category, year, value=None, **more):
    given = {"gas": "co2", "source": "A ledger", "vintage": "2021"} | more
    return Entry(region=region, category=category, period=Period.parse(year), value=value, **given)


@pytest.fixture(scope="module")
def made():
    """Two gases, years, vintages; σ, a lopsided interval, keys, Scope 2, parts."""
    return Inventory(
        (
            entry("CN-ZJ", "1.A", "2019", 100.0, sigma=5.0),
            entry("CN-ZJ", "1.A", "2020", 110.0),
            entry("CN-ZJ", "1.A", "2020", 112.5, vintage="2022"),
            entry("CN-JS", "1.A", "2019", notation="C"),
            entry("CN-XZ", "0", "2019", notation="NE"),
            entry("CN-ZJ", "1.A.2.e", "2019", 3.0, published='Food, "all"', fuel="Coke", part=True),
            entry("CN-ZJ", "1.A.2.e", "2019", 9.0, published="Food", scope=2, part=True),
            entry("CN-ZJ", "M.LULUCF", "2019", -40.0),
            entry("CN-ZJ", "5", "2020", 0.0),
            entry("CN-ZJ", "4.A", "2019", 2.0, gas="ch4", interval=(1.0, 4.5)),
        ),
        "made: a ledger",
    )


@pytest.fixture(scope="module")
def ceads():
    """All provinces and categories of the shared workbook; nothing where the shared data are absent."""
    path = ROOT.parent / "shared/data/inventory/ceads_30_provinces_2019.xlsx"
    return inventory.totals(inventory.read(path, vintage="2021"), None) if path.exists() else Inventory(())


@pytest.fixture(scope="module")
def answers(tmp_path_factory, made, ceads):
    """What primap2 says of both, with the folder it wrote them to anew, by name."""
    written = {"made": made, "ceads": ceads}
    files = {
        name: write_interchange(ledger, tmp_path_factory.mktemp(name) / f"{name}.yaml")
        for name, ledger in written.items()
        if ledger.entries
    }
    said = peer(*files.values())
    return {name: (answer, files[name].parent) for name, answer in zip(files, said["back"], strict=True)} | {
        "vocabularies": said["vocabularies"]
    }


def told(read):
    """Return what an inventory says, without where it was read and the unit it was published in."""
    return {(e.key, e.value, e.sigma, e.interval, e.notation, e.part, e.source) for e in read.entries}


def test_what_is_written_is_read_back(tmp_path, made):
    path = write_interchange(made, tmp_path / "ledger.csv")
    assert path.name == "ledger.yaml"
    for name in ("ledger.yaml", "ledger.csv"):
        back = inventory.read(tmp_path / name)
        assert told(back) == told(made)
        assert back.name == "made: a ledger"
    (place,) = (e.place for e in back.entries if e.category == "4.A")
    line = (tmp_path / "ledger.csv").read_text().splitlines()[int(place.removeprefix("ledger.csv:")) - 1]
    assert ",CH4,kt CH4 / yr,4.A," in line


def test_months_are_annual_rates_in_the_file(tmp_path):
    month = inventory.Inventory((entry("CHN", "1", "2019-02", 28.0), entry("CHN", "1", "2019-03", 31.0)))
    path = write_interchange(month, tmp_path / "m.yaml")
    (row,) = csv.DictReader((tmp_path / "m.csv").read_text().splitlines())
    assert row["unit"] == "kt CO2 / yr"
    assert row["area (ISO3)"] == "CHN"
    assert [float(row[c]) for c in ("2019-02", "2019-03")] == pytest.approx([365.25, 365.25])
    assert [e.value for e in inventory.read(path).entries] == pytest.approx([28.0, 31.0])


@pytest.mark.parametrize("periods", [("2019", "2019-03"), ("2019-01/2019-02", "2019-03"), ("2019/2020",)])
def test_other_periods_have_no_place_in_it(tmp_path, periods):
    odd = Inventory(tuple(entry("CHN", "1", p, 1.0) for p in periods), "odd")
    with pytest.raises(InventoryError, match=r"odd cannot be used: Periods such as .* have no column"):
        write_interchange(odd, tmp_path / "odd.yaml")
    with pytest.raises(InventoryError, match="holds no entries"):
        write_interchange(Inventory(()), tmp_path / "none.yaml")


def test_keys_of_an_earlier_writing_do_not_stay(tmp_path, made):
    write_interchange(made, tmp_path / "a.yaml")
    assert (tmp_path / "a_notation.csv").exists()
    write_interchange(Inventory(made.entries[:2]), tmp_path / "a.yaml")
    assert not (tmp_path / "a_notation.csv").exists()


def primap2_files(folder, rows, *, category="category (IPCC2006_PRIMAP)", **meta):
    """Write a data set as primap2 writes them: quoted, with its order of columns."""
    names = [
        "source",
        "scenario (PRIMAP-hist)",
        "provenance",
        "area (ISO3)",
        "entity",
        "unit",
        category,
        "2019",
        "2020",
    ]
    with (folder / "p.csv").open("w", newline="") as stream:
        writer = csv.writer(stream, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(names)
        writer.writerows(rows)
    description = {
        "attrs": {"area": "area (ISO3)", "cat": category, "scen": "scenario (PRIMAP-hist)", "title": "A title"},
        "data_file": "p.csv",
        "dimensions": {"*": [*names[:-2], "time"]},
        "time_format": "%Y",
    } | meta
    (folder / "p.yaml").write_text(yaml.safe_dump(description))
    return folder / "p.yaml"


ROW = ["PRIMAP-hist_v2.6", "HISTCR", "measured", "DEU", "CH4", "Gg CH4 / yr"]


def test_primap2s_own_layout(tmp_path):
    rows = [
        [*ROW, "M.AG", 1200.5, 1190],
        [*ROW, "1.A", "", 90.25],
        [*ROW[:4], "KYOTOGHG (AR5GWP100)", "Gg CO2 / yr", "0", 7e5, 7e5],
        [*ROW[:4], "HFC23", "t HFC23 / yr", "2", 12, 13],
    ]
    read = inventory.read(primap2_files(tmp_path, rows))
    assert read.notes == ("1 rows of KYOTOGHG (AR5GWP100), a basket of gases, left out",)
    found = {(e.gas, e.category, str(e.period)): e for e in read.entries}
    assert set(found) == {
        ("ch4", "M.AG", "2019"),
        ("ch4", "M.AG", "2020"),
        ("ch4", "1.A", "2020"),
        ("hfc23", "2", "2019"),
        ("hfc23", "2", "2020"),
    }
    assert found["ch4", "M.AG", "2019"].value == 1200.5
    assert found["hfc23", "2", "2020"].value == pytest.approx(0.013)
    first = read.entries[0]
    assert (first.region, first.source, first.vintage) == ("DEU", "PRIMAP-hist_v2.6", "HISTCR")
    assert first.unit == "Gg CH4 / yr"


def test_categories_of_the_reporting_tables_are_mapped(tmp_path):
    path = primap2_files(
        tmp_path, [[*ROW, "3.A", 1.0, 2.0], [*ROW, "3.D", 1.0, 2.0]], category="category (CRF2013_2023)"
    )
    read = inventory.read(path)
    assert [(e.category, e.published, e.part) for e in read.entries[::2]] == [
        ("3.A.1", "3.A", False),
        ("3.C", "3.D", True),
    ]


def test_a_value_that_is_there_twice_is_refused(tmp_path):
    rows = [[*ROW, "1.A", 1, 2], [*ROW[:2], "derived", *ROW[3:], "1.A", "", 3]]
    with pytest.raises(InventoryError, match=r"p\.csv:3: 2020: the value is already there \(p\.csv:2\)"):
        inventory.read(primap2_files(tmp_path, rows))


def test_faults_name_their_line(tmp_path):
    rows = [
        [*ROW[:3], "DEW", *ROW[4:], "1.A", 1, 2],
        [*ROW, "9.Z", 1, 2],
        [*ROW, "1.A", "NE", 2],
        [*ROW[:5], "Gg CO2 / yr", "1.A", 1, 2],
    ]
    with pytest.raises(InventoryError) as caught:
        inventory.read(primap2_files(tmp_path, rows))
    for line, words in enumerate(
        ["'DEW'", "'9.Z' is no IPCC", "2019: 'NE' is no number", "'Gg CO2 / yr' is of CO2"], start=2
    ):
        assert caught.value.faults[line - 2].startswith(f"p.csv:{line}:")
        assert words in caught.value.faults[line - 2]


@pytest.mark.parametrize(
    ("meta", "sentence"),
    [
        ({"time_format": "%d.%m.%Y"}, r"time_format '%d\.%m\.%Y' is not known"),
        ({"dimensions": {"*": ["time", "continent"]}}, r"p\.csv:1: there is no column 'continent'"),
        ({"dimensions": {"*": "time"}}, r"dimensions has no list of columns for '\*'"),
        ({"dimensions": ["time"]}, "The key 'dimensions' is missing, or holds no table"),
        ({"attrs": {"cat": "x"}}, "attrs has no 'area'"),
        ({"attrs": {"area": "region", "cat": "sector"}}, r"no column 'region'.*no column 'sector'"),
        ({"data_file": "q.csv"}, r"data file 'q\.csv' is not beside it"),
    ],
)
def test_a_description_that_does_not_fit(tmp_path, meta, sentence):
    with pytest.raises(InventoryError, match=sentence):
        inventory.read(primap2_files(tmp_path, [[*ROW, "1.A", 1, 2]], **meta))


def test_no_description(tmp_path):
    with pytest.raises(InventoryError, match=r"There is no 'a\.yaml' that describes it"):
        inventory.read(tmp_path / "a.csv", "primap2")
    (tmp_path / "a.yaml").write_text("a: [")
    with pytest.raises(InventoryError, match="It is no YAML"):
        inventory.read(tmp_path / "a.yaml")


def test_primap2_reads_what_is_written(answers, made):
    said, folder = answers["made"]
    assert said["dims"]["area (ISO3166)"] == 3
    assert said["coords"]["statistic (skyledger)"] == ["high", "low", "sigma", "value"]
    assert said["units"] == {"CO2": "CO2 * kt / yr", "CH4": "CH4 * kt / yr"}
    assert said["sums"]["CO2"] == pytest.approx(100 + 5 + 110 + 112.5 + 3 + 9 - 40)
    assert said["in_gg"]["CH4"] == pytest.approx(2 + 1 + 4.5)
    assert said["attrs"]["title"] == "made: a ledger"
    # What primap2 writes of it is read here again; the notation keys, which it cannot hold, are not in it.
    back = inventory.read(folder / "again.yaml")
    numbers = Inventory(tuple(e for e in made.entries if not e.notation))
    assert told(back) == told(numbers)


def test_primap2_reads_ceads(shared, answers, ceads):
    assert shared
    said, folder = answers["ceads"]
    totals = {}
    for e in ceads.entries:
        if e.value is not None:
            totals[e.region] = totals.get(e.region, 0.0) + e.value
    assert len(totals) == 30
    for region, value in totals.items():
        assert said["by_area"]["CO2"][region] == pytest.approx(value, rel=1e-12)
    assert said["in_gg"]["CO2"] == pytest.approx(sum(totals.values()), rel=1e-12)
    ours = {(e.region, e.category): e.value for e in ceads.entries if e.value is not None}
    theirs = {(e.region, e.category): e.value for e in inventory.read(folder / "again.yaml").entries}
    assert theirs.keys() == ours.keys()
    np.testing.assert_allclose([theirs[key] for key in ours], list(ours.values()), rtol=1e-12)


def test_climate_categories_has_our_codes(answers):
    said = {name: set(codes) for name, codes in answers["vocabularies"].items()}
    assert set(categories.ipcc2006()) - set(AGGREGATES) == said["IPCC2006"]
    assert set(AGGREGATES) <= said["IPCC2006_PRIMAP"]
    ours = {row["crt"] for row in categories._table("crt.csv")}
    memo = {code for code in ours if code.startswith("1.D")}  # memo items have names there, not the tables' codes
    # CRT numbers what CRF letters in 3.D, and has a sector 6.
    assert ours - memo - {"3.D.1", "3.D.2", "6"} <= said["CRF2013"] | said["CRF2013_2023"]
    assert {*countries(), "HKG", "MAC", "TWN"} == {code for code in said["ISO3"] if len(code) == 3}
