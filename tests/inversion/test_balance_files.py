"""Energy balances as tables and sheets: what is read, and what is wrong with it, by line and cell."""

import numpy as np
import openpyxl
import pytest

from inversion.inventory import InventoryError
from inversion.inventory.balance import read, read_sheet
from inversion.inventory.bottomup import estimate
from inversion.inventory.factorfiles import ipcc2006, parse_csv
from tests.inversion.test_balance import HEAD

LONG = """region,period,sector,fuel,value,unit,sigma_percent
浙江,2019,火电,原煤,5000,万吨,2
330100,2019,1A2f,natural_gas,1.5,1e8 m3,
CN-ZJ,2019,1.A.4.b,electricity,NE,亿千瓦时,
"""


def test_a_balance_in_the_long_form(tmp_path):
    path = tmp_path / "balance.csv"
    path.write_text(LONG, encoding="utf-8")
    coal, gas, power = read(path, sectors={"火电": "1.A.1.a"}, fuels={"原煤": "other_bituminous_coal"}).activities
    assert (coal.region, coal.sector, coal.fuel, coal.value, coal.unit, coal.sigma) == (
        "CN-ZJ", "1.A.1.a", "other_bituminous_coal", 50_000.0, "kt", 0.02,
    )  # fmt: skip
    assert (gas.region, gas.sector, gas.value, gas.unit, gas.place) == (
        "330100", "1.A.2.f", 150.0, "1e6 m3", "balance.csv:3",
    )  # fmt: skip
    assert (power.value, power.notation) == (None, "NE")


def test_faults_of_a_balance_come_with_their_lines(tmp_path):
    path = tmp_path / "balance.csv"
    path.write_text(
        "region,period,sector,fuel,value,unit\nZhejang,2019,1.A,coal,1,kt\nCN-ZJ,2019,power,coal,1,kt\n"
        'CN-ZJ,2019,1.A,coal,"1,5",kt\nCN-ZJ,2019,1.A,coal,1,bushel\nCN-ZJ,2019,1.A,coal,1,kt\nCN-ZJ,2019,1.A,coal,2,kt\n',
        encoding="utf-8",
    )
    with pytest.raises(InventoryError) as caught:
        read(path)
    for line, words in [
        (2, "Zhejang"),
        (3, "'power'"),
        (4, "'1,5' is no number"),
        (5, "'bushel'"),
        (7, "already there"),
    ]:
        assert any(f":{line}: " in fault and words in fault for fault in caught.value.faults), (line, caught.value)


def sheet(tmp_path, *, name="balance.xlsx", spoil=None):
    rows = [
        ["项目", "原煤", "天然气", "电力", "其他"],
        ["", "万吨", "亿立方米", "亿千瓦时", "万吨标准煤"],
        ["加工转换投入(-)产出(+)", -9, None, None, None],
        ["火力发电", 5000, 20.5, None, None],
        ["工业", 1200.5, 10, 300, 7],
        ["居民生活", None, 5, 60, None],
    ]
    for (i, j), value in (spoil or {}).items():
        rows[i][j] = value
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(tmp_path / name)
    return tmp_path / name


SECTORS = {"火力发电": "1.A.1.a", "工业": "1.A.2", "居民生活": "1.A.4.b"}
FUELS = {"原煤": "other_bituminous_coal", "天然气": "natural_gas", "电力": "electricity", "其他": ""}


def test_a_sheet_is_sectors_by_fuels(tmp_path):
    got = read_sheet(sheet(tmp_path), of="浙江", period="2019", sectors=SECTORS, fuels=FUELS)
    burnt, bought = got.with_sigma({"": 0.05, "1.A.1": 0.02}).apart()
    matrix = burnt.matrix("CN-ZJ", "2019")
    np.testing.assert_allclose(matrix, [[50_000, 2050], [12_005, 1000], [np.nan, 500]])
    assert list(matrix.units.values) == ["kt", "1e6 m3"]
    assert [(a.sector, a.value) for a in bought.activities] == [("1.A.2", 30_000.0), ("1.A.4.b", 6000.0)]
    assert {a.sector: a.sigma for a in burnt.activities} == {"1.A.1.a": 0.02, "1.A.2": 0.05, "1.A.4.b": 0.05}
    assert burnt.activities[0].place == "balance.xlsx:B4"
    factors = parse_csv(HEAD + "ncv,natural_gas,,,CHN,38.931,MJ/m3,,,1,,,yearbook\n").over(ipcc2006())
    values = estimate(burnt, factors).value
    # 20.5e8 m3 x 38.931 MJ/m3 = 79 808.55 TJ, x 15.3 x 44/12 = 4477.26 kt
    assert values[1] == pytest.approx(79_808.55 * 15.3 * 44 / 12 * 1e-3)


def test_faults_of_a_sheet_come_with_their_cells(tmp_path):
    with pytest.raises(InventoryError, match=r"bad\.xlsx:C5: the value 'about 10' is no number"):
        read_sheet(
            sheet(tmp_path, name="bad.xlsx", spoil={(4, 2): "about 10"}),
            of="CN-ZJ", period="2019", sectors=SECTORS, fuels=FUELS,
        )  # fmt: skip
    with pytest.raises(InventoryError, match="no row '工业'"):
        read_sheet(
            sheet(tmp_path, spoil={(4, 0): "工业 "[:1]}), of="CN-ZJ", period="2019", sectors=SECTORS, fuels=FUELS
        )
    with pytest.raises(InventoryError, match="no sheet 'x'"):
        read_sheet(sheet(tmp_path), of="CN-ZJ", period="2019", sectors=SECTORS, fuels=FUELS, sheet="x")


def test_files_that_are_something_else(tmp_path):
    path = tmp_path / "balance.csv"
    path.write_bytes(LONG.encode("gb18030"))
    mapping = {"sectors": {"火电": "1.A.1.a"}, "fuels": {"原煤": "other_bituminous_coal"}}
    with pytest.raises(InventoryError, match="Chinese spreadsheets write gb18030"):
        read(path, **mapping)
    assert len(read(path, encoding="gb18030", **mapping).activities) == 3
    broken = tmp_path / "broken.xlsx"
    broken.write_bytes(b"no workbook")
    with pytest.raises(InventoryError, match="no xlsx workbook"):
        read_sheet(broken, of="CN-ZJ", period="2019", sectors=SECTORS)
