"""Categories, provinces and prefectures: that the tables are whole, and what they say."""

import pytest

from inversion.inventory import categories, divisions
from inversion.inventory.areas import area, countries
from inversion.inventory.categories import CEADS_SECTORS, ceads_sectors, from_crt, holds, ipcc2006
from inversion.inventory.entry import AGGREGATES, CategoryError, category
from inversion.provinces import PROVINCES, RegionError, province


def test_ipcc_codes_are_categories():
    assert len(ipcc2006()) > 280
    for code in ipcc2006():
        assert category(code) == code
        assert code == "0" or holds(categories.parent(code), code) or code in AGGREGATES
    assert set(AGGREGATES) <= set(ipcc2006())


def test_every_counterpart_is_a_category():
    codes = set(ipcc2006())
    for row in categories._table("crt.csv"):
        assert from_crt(row["crt"]).code in codes, row
    for sector in CEADS_SECTORS.values():
        assert {*sector.energies, sector.energy, sector.process} <= codes, sector


def test_aggregates_are_what_they_are_made_of():
    assert holds("M.0.EL", "1.A.1.a")
    assert holds("M.0.EL", "3.A.1")
    assert not holds("M.0.EL", "3.B.1")
    assert not holds("M.0.EL", "M.LULUCF")
    assert holds("0", "M.LULUCF")
    assert not holds("0", "M.BK.A")
    assert not holds("1", "2.A.1")
    assert not holds("1.A.1", "1.A.1a")


def test_ceads_has_47_sectors_over_all_of_gbt_4754():
    assert len(CEADS_SECTORS) == 47
    for edition, last in ((2011, 96), (2017, 97)):
        for n in range(1, last + 1):
            assert ceads_sectors(f"{n:02d}", edition)
        with pytest.raises(CategoryError, match=f"no division '{last + 1}': they run from 01 to {last}"):
            ceads_sectors(str(last + 1), edition)
    with pytest.raises(CategoryError, match="GB/T 4754-2002 is not mapped"):
        ceads_sectors("01", 2002)


def test_ceads_and_gbt_4754_are_many_to_many():
    assert ceads_sectors("29") == ("Rubber Products", "Plastic Products")
    assert CEADS_SECTORS["Transportation Equipment"].gbt4754_2017 == ("36", "37", "43")
    assert len(ceads_sectors("43")) == 7  # repair, which was with what is repaired
    assert "97" in CEADS_SECTORS["Others"].gbt4754_2017
    assert "97" not in CEADS_SECTORS["Others"].gbt4754_2011


def test_ceads_energy_and_process_go_to_ipcc():
    smelting = CEADS_SECTORS["Smelting and Pressing of Ferrous Metals"]
    assert (smelting.energy, smelting.process) == ("1.A.2.a", "2.C")
    assert CEADS_SECTORS["Petroleum Processing and Coking"].energy == "1.A.1"  # refining and coking together
    assert CEADS_SECTORS["Nonmetal Mineral Products"].process == "2.A"


@pytest.mark.parametrize(
    ("crt", "code", "part"),
    [
        ("1.A.1.a", "1.A.1.a", False),
        ("1.A.2.g.viii", "1.A.2.m", False),
        ("1.B.2.c.ii", "1.B.2", True),
        ("2.A.1", "2.A.1", False),
        ("3", "M.AG", False),
        ("3.B.5", "3.C.6", False),
        ("3.D.a.2", "3.C.4", True),
        ("4.C.2", "3.B.3.b", False),
        ("4.H.7", "3.D.2", True),
        ("5.A.1", "4.A.1", False),
        ("6.A", "5.B", True),
    ],
)
def test_crt_codes(crt, code, part):
    assert (from_crt(crt).code, from_crt(crt).part) == (code, part)


def test_what_is_no_crt_code():
    with pytest.raises(CategoryError, match=r"'7' is no CRF or CRT category"):
        from_crt("7.A")


def test_every_province_has_its_codes_and_names():
    old = {"CN-TW": "CN-71", "CN-HK": "CN-91", "CN-MO": "CN-92"}
    for unit in PROVINCES:
        numbered = old.get(unit.iso, f"CN-{unit.gbt2260[:2]}")
        keys = (unit.iso, numbered, unit.gbt2260, unit.gbt2260[:2], unit.name_en, unit.name_zh, f"{unit.name_zh}省")
        assert {province(key) for key in keys} == {unit}
        assert province(unit.name_en.upper().replace(" ", "")) is unit
    assert len({unit.gbt2260 for unit in PROVINCES}) == len({unit.iso for unit in PROVINCES}) == 34


@pytest.mark.parametrize(
    ("name", "iso"),
    [
        ("InnerMongolia", "CN-NM"),
        ("Nei Mongol", "CN-NM"),
        ("內蒙古", "CN-NM"),
        ("Tibet", "CN-XZ"),
        ("西藏自治区", "CN-XZ"),
        ("Macau", "CN-MO"),
        ("澳门特别行政区", "CN-MO"),
        ("Shaanxi", "CN-SN"),
        ("Shanxi", "CN-SX"),
        ("Xinjiang Uygur Autonomous Region", "CN-XJ"),
        ("Guangxi Zhuang Autonomous Region", "CN-GX"),
        ("Hei-long-jiang", "CN-HL"),
        ("粤", "CN-GD"),
        ("Chongqing Municipality", "CN-CQ"),
    ],
)
def test_spellings(name, iso):
    assert province(name).iso == iso


@pytest.mark.parametrize(
    ("wrong", "meant"), [("Zhejang", "CN-ZJ"), ("Guandong", "CN-GD"), ("浙姜", None), ("Helongjiang", "CN-HL")]
)
def test_the_nearest_name_is_suggested(wrong, meant):
    with pytest.raises(RegionError) as caught:
        province(wrong)
    if meant:
        assert f"({meant}) meant?" in str(caught.value)


def test_countries_and_provinces_do_not_mix():
    assert area("CHN") == "CHN"
    assert area("TWN") == "CN-TW"
    assert area("United Kingdom of Great Britain and Northern Ireland") == "GBR"
    assert not {"HKG", "MAC", "TWN"} & set(countries())
    with pytest.raises(RegionError, match=r"Is France \(FRA\) meant"):
        area("Frannce")


def test_prefectures_are_their_codes():
    assert area("370100") == "370100"
    assert area("370000") == "CN-SD"
    with pytest.raises(RegionError, match="'990000'"):
        area("990100")


def test_laiwu_is_jinan_since_2019():
    assert divisions.in_force("371200", 2018)
    assert not divisions.in_force("371200", 2019)
    assert divisions.successors("371200", 2019) == ("370100",)
    assert divisions.province_of("371200").iso == "CN-SD"
    assert divisions.in_force("370100", 2000)


def test_codes_that_were_split_renamed_or_moved():
    assert divisions.successors("341400", 2020) == ("340100", "340200", "340500")
    assert divisions.in_force("340100", 2005)  # Hefei was there before it took a part of Chaohu
    assert divisions.successors("510200", 1997) == ("500000",)
    with pytest.raises(RegionError, match="The code 520500 came with the statistics of 2011; in 2010 it was 522400"):
        divisions.successors("520500", 2010)
    with pytest.raises(RegionError, match="six digits"):
        divisions.in_force("3712", 2019)
    with pytest.raises(RegionError):
        divisions.province_of("990100")


def test_every_change_keeps_its_province_or_founds_one():
    for change in divisions.CHANGES:
        for code in change.successors:
            same = divisions.province_of(code) == divisions.province_of(change.code)
            assert same or code == "500000"
            assert divisions.in_force(code, change.last + 1)
