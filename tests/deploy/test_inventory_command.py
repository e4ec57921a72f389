"""`skyledger inventory`: the page's commands on its own configurations, and what is refused."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import shapely
import xarray as xr
from typer.testing import CliRunner

from deploy.cli import app
from deploy.errors import DeployError
from deploy.jobs import inventory as job
from inversion import inventory as inventories
from inversion.errors import InversionError
from qc.errors import ConfigError

PAGE = (Path(__file__).parents[2] / "inversion/inventory/README.md").read_text("utf-8")
SECTION = PAGE.partition("## At a terminal")[2].partition("\n## ")[0]
BALANCE_TOML, PRIOR_TOML = re.findall(r"```toml\n(.*?)```", SECTION, re.DOTALL)
COMMANDS = re.findall(r"^    skyledger (inventory .*)$", SECTION, re.MULTILINE)
LEDGER = """region,gas,category,period,value,unit,sigma_percent,vintage
CN-ZJ,co2,1.A,2022,300,Mt,3,{vintage}
CN-SH,co2,1.A,2022,{shanghai},Mt,4,{vintage}
CN-JS,co2,1.A,2022,NE,Mt,,{vintage}
"""
BALANCE = """region,period,sector,fuel,value,unit,sigma_percent
浙江,{year},火力发电,原煤,{coal},万吨,2
浙江,{year},工业,原煤,3000,万吨,5
浙江,{year},工业,电力,4000,亿千瓦时,1
"""
FACTORS = """quantity,fuel,region,value,unit,sigma_percent,valid_from,valid_to,source
ncv,other_bituminous_coal,CN-ZJ,20.9,MJ/kg,3,,,made up for this test
grid,electricity,CN-ZJ,0.5,kg/kWh,5,,,made up for this test
"""
YEARS = """region,gas,category,period,value,unit,sigma_percent
CN-ZJ,co2,1.A.1.a,2010,150,Mt,3
CN-ZJ,co2,1.A.1.a,2022,180,Mt,3
CN-ZJ,co2,1.A.2,2010,120,Mt,5
CN-ZJ,co2,1.A.2,2022,100,Mt,5
CN-ZJ,ch4,4.A,2010,0.1,Mt,50
CN-ZJ,ch4,4.A,2022,0.12,Mt,50
"""
PROFILES = "category,kind,step,weight,source\n" + "".join(f"1.A.1,month,{k},{13 - k},survey\n" for k in range(1, 13))
BOX = {"type": "Feature", "properties": {"id": "CHN-M"}}


def electricity(until):
    """(annual.csv, power.csv): years so far of electricity from 2015 on, and what was emitted in whole years."""
    rng = np.random.default_rng(3)
    used = 1000 * (1.04 ** np.arange(11))[:, None] * (1 + 0.1 * np.sin(np.arange(12) / 2))
    said = ["region,period,sector,fuel,value,unit"]
    said += [
        f"CN-ZJ,{2015 + y}-01/{2015 + y}-{m:02d},0,electricity,{used[y, :m].sum():.9g},GWh"
        for y in range(11)
        for m in range(2, 13)
        if (y, m) <= until
    ]
    noise = 1 + 0.02 * rng.normal(size=11)
    rows = [f"CN-ZJ,co2,{2015 + y},{0.8 * used[y].sum() * noise[y]:.9g},kt,2" for y in range(11) if (y, 12) <= until]
    head = "region,gas,period,value,unit,sigma_percent"
    return "\n".join([head, *rows]) + "\n", "\n".join(said) + "\n"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The files the page names."""
    monkeypatch.chdir(tmp_path)
    Path("ledger.csv").write_text(LEDGER.format(vintage="2023", shanghai=190))
    Path("ledger-2024.csv").write_text(LEDGER.format(vintage="2024", shanghai=205))
    Path("balance.toml").write_text(BALANCE_TOML)
    Path("zhejiang-years.csv").write_text(YEARS)
    for year, coal in ((2022, 7000), (2023, 7200)):
        Path(f"balance-{year}.csv").write_text(BALANCE.format(year=year, coal=coal))
    Path("zhejiang.csv").write_text(FACTORS)
    for name, text in zip(("annual.csv", "power.csv"), electricity((10, 7)), strict=True):
        Path(name).write_text(text)
    Path("prior.toml").write_text(PRIOR_TOML)
    cities = [f"33{k:02d}00" for k in range(1, 12)]
    rows = [
        f"{code},co2,{category},2022,{10 + k},Mt" for k, code in enumerate(cities) for category in ("1.A.1.a", "1.A.2")
    ]
    rows += ["CN-SH,co2,1.A.1.a,2022,80,Mt", "CN-SH,co2,1.A.2,2022,60,Mt", "CHN-M,co2,1.A.2,2022,NE,Mt"]
    Path("prefectures.csv").write_text("\n".join(["region,gas,category,period,value,unit", *rows[:-1]]) + "\n")
    lat, lon = np.arange(27.0, 32.1, 0.5), np.arange(118.0, 123.1, 0.5)
    capacity = np.random.default_rng(0).uniform(0.1, 3, (lat.size, lon.size))
    xr.Dataset({"capacity": (("lat", "lon"), capacity)}, {"lat": lat, "lon": lon}).to_netcdf("plants.nc")
    Path("profiles.csv").write_text(PROFILES)
    geometry = json.loads(shapely.to_geojson(shapely.box(121.0, 27.0, 123.0, 31.0)))
    Path("waters.geojson").write_text(
        json.dumps({"type": "FeatureCollection", "features": [{**BOX, "geometry": geometry}]})
    )


def invoke(line):
    return CliRunner().invoke(app, shlex.split(line), catch_exceptions=False)


@pytest.mark.parametrize("line", COMMANDS)
def test_the_pages_commands_run(line):
    done = invoke(line)
    assert done.exit_code == 0
    if " read " in line:
        assert "CN-SH    co2  2022       2023       190000 ± 7600" in done.output
        assert "notation NE 1" in done.output
        back = inventories.read("ledger.yaml")
        assert back.select(region="CN-ZJ").entries[0].value == pytest.approx(300_000)
    elif " compare " in line:
        assert re.search(r"CN-SH 1\.A 2022 +190000 +205000 +\+15000 +\+7\.9%", done.output)
        assert "CN-ZJ" not in done.output
    elif " key " in line:
        assert "CN-ZJ, level in 2022, approach 1: 2 of 3 categories are key" in done.output
        assert "CN-ZJ, trend from 2010 to 2022, approach 1: 2 of 3 categories are key" in done.output
    elif " balance " in line:
        made = inventories.read("made/ledger.csv")
        total = made.select(region="CN-ZJ", category="1.A", period="2022").entries[0]
        parts = [made.select(category=c, period="2022").entries[0].value for c in ("1.A.1.a", "1.A.2")]
        assert total.value == pytest.approx(sum(parts))
        # 1e5 kt of coal in all: 20.9 TJ/kt x 25.8 t C/TJ x 44/12.
        assert total.value == pytest.approx(1e5 * 20.9 * 25.8 * 44 / 12 * 1e-3, rel=1e-9)
        assert "of the variance: " in done.output
        scope2 = Path("made/scope2.csv").read_text().splitlines()
        assert len(scope2) == 3
        totals = Path("made/totals.csv").read_text().splitlines()
        first, second = (float(totals[1].split(",")[k]) for k in (3, 4))
        assert second == pytest.approx(first, rel=0.05)
    elif " express " in line:
        assert re.search(r"CN-ZJ    0        2025-04/2025-06  \d+\.?\d* ± \d+", done.output)
        assert "revised" not in done.output
    else:
        assert "flux_1_A_1_a: " in done.output
        assert "CHN-M 1.A.2 (no entry)" in done.output


def test_the_grid_holds_what_the_ledger_says():
    ds = job.lay(job.read_grid("prior.toml"))
    assert ds["country"].size == 1 + 11 + 1
    assert ds.sizes["time"] == 12
    assert [line.split(":")[0].strip() for line in job.masses(ds)] == ["flux_1_A_1_a", "flux_1_A_2", "no value"]
    assert ds["flux_1_A_1_a"].attrs["proxy"] == "given"
    assert ds["flux_1_A_2"].attrs["proxy"] == "even"
    seconds = (ds["time_bnds"][:, 1] - ds["time_bnds"][:, 0]) / np.timedelta64(1, "s")
    kilotonnes = (ds["flux_1_A_1_a"] * seconds).sum("time") * ds["cell_area"] * 0.0440095 / 1e6
    by_region = (kilotonnes * ds["share_1_A_1_a"]).sum(["latitude", "longitude"])
    book = inventories.read("prefectures.csv").select(category="1.A.1.a")
    for entry in book.entries:
        wanted = entry.value * float(ds["covered"].sel(country=entry.region))
        assert float(by_region.sel(country=entry.region)) == pytest.approx(wanted, rel=1e-6), entry.region
    months = (ds["flux_1_A_1_a"] * seconds * ds["cell_area"]).sum(["latitude", "longitude"]).values
    np.testing.assert_allclose(months / months.sum(), np.arange(12, 0, -1) / 78, rtol=1e-9)
    assert set(json.loads(ds.attrs["provenance"])["inputs_sha256"]) == {
        *("prefectures.csv", "plants.nc", "profiles.csv", "waters.geojson")
    }


@pytest.mark.parametrize(
    ("file", "change", "sentence"),
    [
        ("prior.toml", ('gas = "co2"', 'gass = "co2"'), "gass: is not known.*gas"),
        ("prior.toml", ('every = "month"', 'every = "week"'), "every"),
        ("prior.toml", ('categories = ["1.A.1.a", "1.A.2"]', "categories = []"), "name IPCC 2006 categories"),
        ("prior.toml", ('file = "plants.nc"', 'file = "plant.nc"'), "there is no file plant.nc"),
        ("prior.toml", ('variable = "capacity"', 'variable = "people"'), "no variable 'people'; it has capacity"),
        ("prior.toml", ("step = 0.5 }\nlatitude", "step = 0.4 }\nlatitude"), "lies on another grid"),
        ("prior.toml", ('"1.A.2"]', '"1.A.2", "1.A"]'), "1.A.2 and 1.A have emissions in common"),
        ("balance.toml", ('"balance-2023.csv"', '"balance-2032.csv"'), "there is no file balance-2032.csv"),
        ("balance.toml", ('"原煤" = "other_bituminous_coal"\n', ""), "balance-2022.csv"),
        ("prior.toml", ('provinces = ["CN-SH"]', 'provinces = ["CN-SH", "CN-HI"]'), "CN-HI lie outside of the grid"),
        ("prior.toml", ("first = 118.0", "first = 128.0"), "longitude: goes from 128.0 to 123.0 by 0.5"),
        ("balance.toml", ("sectors = 0.5", "sector = 0.5"), "sector: is not known.*sectors"),
    ],
)
def test_what_cannot_be_is_said(file, change, sentence):
    text = Path(file).read_text()
    assert change[0] in text
    Path(file).write_text(text.replace(*change, 1))
    steps = (job.read_grid, job.lay) if file == "prior.toml" else (job.read_balance, job.make)
    with pytest.raises((DeployError, ConfigError, InversionError), match=sentence):
        steps[1](steps[0](file))


def test_ledgers_that_are_not_there():
    with pytest.raises(DeployError, match=r"there is no file legder\.csv"):
        invoke("inventory read legder.csv")
    with pytest.raises(DeployError, match="has no vintage '2020'; it has '2023'"):
        invoke("inventory read ledger.csv --vintage 2020")
    with pytest.raises(DeployError, match=r"written as \.csv, or as \.yaml"):
        invoke("inventory read ledger.csv --to ledger.xlsx")
    with pytest.raises(InversionError, match=r"9\.Z"):
        invoke("inventory read ledger.csv --category 9.Z")
    assert (
        "category 2: no entry; it has 1.A: `--category` names one"
        in invoke("inventory read ledger.csv --category 2").output
    )
    same = invoke("inventory compare ledger.csv ledger.csv --category 1.A")
    assert "nothing changed" in same.output


def test_a_report_revises_the_months_and_every_release_is_kept():
    line = next(line for line in COMMANDS if " express " in line)
    assert invoke(line).exit_code == 0
    first = Path("express/0001.csv").read_text()
    with pytest.raises(InversionError, match="'2025-07' is already there"):
        invoke(line)
    for name, text in zip(("annual.csv", "power.csv"), electricity((10, 12)), strict=True):
        Path(name).write_text(text)
    again = (
        line.replace("2025-07", "2026-01")
        .replace("electricity of July", "report of 2025")
        .replace("--since 2025-01", "")
    )
    done = invoke(again)
    assert "CN-ZJ 0 2025-03: " in done.output
    assert " of 2025-07 to " in done.output
    assert Path("express/0001.csv").read_text() == first
    year = [e for e in inventories.read("express/0002.csv").entries if str(e.period).startswith("2025")]
    reported = inventories.read("annual.csv").select(period="2025").entries[0]
    assert sum(e.value for e in year) == pytest.approx(reported.value, rel=1e-9)
    Path("other").mkdir()
    Path("other/notes.txt").write_text("mine")
    with pytest.raises(DeployError, match=r"other holds other files and no history \(releases\.csv\)"):
        invoke(again.replace("--history express", "--history other"))


def test_what_only_one_submission_has_is_new_or_gone():
    Path("more.csv").write_text(LEDGER.format(vintage="2025", shanghai=190) + "CN-AH,co2,1.A,2022,7,Mt,,2025\n")
    for old, new, word in (("ledger.csv", "more.csv", "new"), ("more.csv", "ledger.csv", "gone")):
        said = invoke(f"inventory compare {old} {new} --category 1.A").output
        assert re.search(rf"CN-AH 1\.A 2022 +7000 +{word}$", said, re.MULTILINE)


def test_a_balance_of_electricity_alone_is_no_inventory():
    for year in (2022, 2023):
        lines = Path(f"balance-{year}.csv").read_text().splitlines()
        Path(f"balance-{year}.csv").write_text("\n".join([lines[0], lines[3]]) + "\n")
    with pytest.raises(DeployError, match=r"balance-2022\.csv, balance-2023\.csv: no fuel is burnt in it"):
        invoke("inventory balance balance.toml")


def test_what_lies_partly_outside_is_said():
    text = Path("prior.toml").read_text().replace("first = 27.0", "first = 30.0").replace("[proxy", "[unused")
    Path("prior.toml").write_text(text.partition("[unused")[0] + "[waters]" + text.partition("[waters]")[2])
    said = invoke("inventory grid prior.toml").output
    assert re.search(r"only partly inside the grid, and only that part laid out: .*330100 \d\d%", said)


def test_notation_keys_stand_where_values_do():
    """NE that became a value is no new region, one key that became another is a change, and 0 to 3 has no percent."""
    head = "region,gas,category,period,value,unit,vintage\n"
    rows = {"CN-JS": ("NE", 5), "CN-AH": (0, 3), "CN-HB": ("NE", "IE"), "CN-SH": (100, None), "CN-ZJ": (8, 8)}
    for k, vintage in enumerate(("2023", "2024")):
        lines = [f"{code},co2,1.A,2022,{pair[k]},kt,{vintage}" for code, pair in rows.items() if pair[k] is not None]
        Path(f"v{vintage}.csv").write_text(head + "\n".join(lines) + "\n")
    said = invoke("inventory compare v2023.csv v2024.csv --category 1.A").output
    assert re.search(r"CN-JS 1\.A 2022 +NE +5$", said, re.MULTILINE)
    assert re.search(r"CN-AH 1\.A 2022 +0 +3 +\+3 +was 0$", said, re.MULTILINE)
    assert re.search(r"CN-HB 1\.A 2022 +NE +IE$", said, re.MULTILINE)
    assert re.search(r"CN-SH 1\.A 2022 +100 +gone$", said, re.MULTILINE)
    assert "CN-ZJ" not in said
    assert "nan" not in said
    with pytest.raises(DeployError, match=r"v2023\.csv has no entry of category 2; it has 1\.A"):
        invoke("inventory compare v2023.csv v2024.csv --category 2")


def test_a_sum_of_which_a_part_is_missing_says_so():
    rows = ["CN-ZJ,co2,1.B.1,2022,800,kt,yes", "CN-ZJ,co2,1.B.2,2022,NE,kt,yes", "CN-JS,co2,1.B.1,2022,5,kt,yes"]
    rows += ["CN-JS,co2,1.B.2,2022,NO,kt,yes"]
    Path("parts.csv").write_text("\n".join(["region,gas,category,period,value,unit,part", *rows]) + "\n")
    said = invoke("inventory read parts.csv --category 1.B").output
    assert re.search(r"CN-ZJ .* 800 \(NE in part: not compared\)$", said, re.MULTILINE)
    assert re.search(r"CN-JS .* 5$", said, re.MULTILINE)
    book = inventories.whole(inventories.read("parts.csv"), "1.B").ledger(["CN-ZJ", "CN-JS"])
    assert book.notation == ("NE", "")
    np.testing.assert_array_equal(book.rate, [np.nan, 5.0])


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("inventory read ledger.csv --encoding gbk2", "The encoding 'gbk2' is not known: utf-8, gb18030 and utf-16"),
        ("inventory read ledger.csv --mapping balance-2022.csv", "It is not TOML"),
        ("inventory read empty.csv", "The file is empty"),
        ("inventory read head.csv", "head.csv has no entries: there is nothing below its head"),
        ("inventory read semicolons.csv", "its columns are separated by ';'"),
        ("inventory read folder", "folder is a folder"),
        ("inventory read ledger.csv --category 1.A --to folder/x.csv/y.csv", "x.csv is a file; name a folder"),
        (
            "inventory compare ledger.csv ledger-2024.csv --category 1.A --output folder",
            "folder is a folder; name a file",
        ),
        ("inventory balance file.toml", "ledger.csv is a file; name a folder"),
        ("inventory grid folder.toml", "folder is a folder; name a file"),
        ("inventory grid text.toml", "ledger.csv is no netCDF file that can be read"),
        (
            "inventory express annual.csv power.csv --history ledger.csv --vintage 1 --reason x",
            "is a file; name a folder",
        ),
    ],
)
def test_no_wrong_input_ends_in_a_traceback(line, sentence):
    Path("folder").mkdir()
    Path("folder/x.csv").write_text("mine")
    Path("empty.csv").write_text("")
    Path("head.csv").write_text(LEDGER.splitlines()[0] + "\n")
    Path("semicolons.csv").write_text(LEDGER.format(vintage="1", shanghai=2).replace(",", ";"))
    Path("file.toml").write_text(BALANCE_TOML.replace('output = "made"', 'output = "ledger.csv"'))
    Path("folder.toml").write_text(PRIOR_TOML.replace('output = "prior.nc"', 'output = "folder"'))
    Path("text.toml").write_text(PRIOR_TOML.replace('file = "plants.nc"', 'file = "ledger.csv"'))
    with pytest.raises((DeployError, InversionError)) as said:
        invoke(line)
    assert sentence in str(said.value)


def test_a_workbook_beside_a_table_with_a_mapping(shared):
    Path("map.toml").write_text(
        'ignore = ["emissions_id", "datasource_id"]\n[columns]\nregion = "actor_id"\nperiod = "year"\n'
        'value = "total_emissions"\n[constants]\ngas = "co2"\nunit = "t"\nvintage = "totals"\n'
    )
    files = [shared / "data/inventory" / name for name in ("ceads_30_provinces_2019.xlsx", "ceads_province_totals.csv")]
    said = invoke(f"inventory compare {files[0]} {files[1]} --mapping map.toml --period 2019").output
    assert "from ceads_30_provinces_2019.xlsx to totals" in said
    assert "30 differ by a millionth or less" in said
