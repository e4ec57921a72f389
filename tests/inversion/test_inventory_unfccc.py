"""CRF and CRT workbooks, made here in the layouts the UNFCCC's software exports."""

import pytest

from inversion import inventory
from inversion.inventory import InventoryError
from tests.inversion.ledgers import crf, crt


def values(read):
    return {(e.published, e.gas): e.notation or e.value for e in read.entries}


def test_crf_is_read_with_its_keys(tmp_path):
    read = inventory.read(crf(tmp_path / "DEU_2021_2019_13042021.xlsx"))
    found = values(read)
    assert found["0", "co2"] == 700.0
    assert found["1.A", "co2"] == 645.0  # the sectoral approach, not the reference approach on the row of 1.A
    assert found["1.A.4", "co2"] == "IE,NO"
    assert found["1.B.1", "ch4"] == 2.0
    assert found["2.A", "co2"] == 20.0  # numbered within the row above
    assert found["4.A", "co2"] == -20.0
    assert found["5", "co2"] == "NO,NE,IE"
    assert found["6", "ch4"] == "C"
    assert found["0", "sf6"] == 0.01
    assert found["1.A.2.a", "n2o"] == "IE"
    assert found["1.A.3.a", "co2"] == 2.0
    assert found["1.B.1.b", "ch4"] == "NE"
    assert found["3.D.a", "n2o"] == 4.0
    assert found["3.D.a.1", "n2o"] == 3.0
    assert found["3.D.b", "n2o"] == 1.0
    assert found["3.E", "ch4"] == "NO"
    assert {gas for _, gas in found} == {"co2", "ch4", "n2o", "sf6"}  # baskets and air pollutants are not gases
    entry = next(e for e in read.entries if e.published == "1.A.1" and e.gas == "ch4")
    assert (entry.region, str(entry.period), entry.vintage, entry.source) == ("DEU", "2019", "2021 v3", "UNFCCC CRF")
    assert (entry.unit, entry.place) == ("kt", "DEU_2021_2019_13042021.xlsx:Summary1.As1!C11")


def test_crf_codes_become_those_of_ipcc_2006(tmp_path):
    read = inventory.read(crf(tmp_path / "a.xlsx"))
    categories = {e.published: (e.category, e.part) for e in read.entries}
    assert categories["3"] == ("M.AG", False)  # agriculture alone is not AFOLU
    assert categories["3.A"] == ("3.A.1", False)
    assert categories["3.A.1"] == ("3.A.1.a", False)
    assert categories["3.D"] == ("3.C", True)
    assert categories["3.D.a"] == ("3.C.4", True)
    assert categories["4"] == ("M.LULUCF", False)
    assert categories["4.A"] == ("3.B.1", False)
    assert categories["5.D"] == ("4.D", False)
    assert categories["1.A.2.g"] == ("1.A.2", True)
    assert categories["1.A.3.a"] == ("1.A.3.a.ii", False)
    assert categories["1.B.1.b"] == ("1.B.1.c", False)
    assert read.ledger(["DEU", "FRA"], gas="ch4", category="3.A.1").rate[0] == 20.0
    assert read.ledger(["DEU"], gas="n2o", category="1.B").notation == ("NA,NO",)


def test_what_is_left_out_or_differs_is_noted(tmp_path):
    notes = inventory.read(crf(tmp_path / "a.xlsx")).notes
    assert any("'Glass wool' has no code and is left out" in note for note in notes)
    assert any(
        note == "1.A.1 co2: a.xlsx:Table1s1!B9 says 301 kt, a.xlsx:Summary1.As1!B11 300 kt, which is kept."
        for note in notes
    )
    assert len(notes) == 2, notes


def test_crt_is_read(tmp_path):
    read = inventory.read(crt(tmp_path / "CHN-CRT.xlsx"))
    found = values(read)
    assert found["0", "co2"] == 10000.0
    assert found["1.A.1", "ch4"] == "FX"
    assert found["1.B.1.a", "ch4"] == 21.5
    assert found["1.D.1.b", "co2"] == 33.0
    entries = {(e.published, e.gas): e for e in read.entries}
    assert entries["1.D.1.b", "co2"].category == "M.BK.M"
    assert entries["1.B.2.c", "ch4"].category == "1.B.2"
    assert entries["1.B.2.c", "ch4"].part
    assert entries["3.C", "ch4"].category == "3.C.7"
    assert entries["1.A.3.d", "co2"].category == "1.A.3.d.ii"
    first = read.entries[0]
    assert (first.region, str(first.period), first.vintage, first.source) == ("CHN", "2021", "2024 v0.2", "UNFCCC CRT")
    assert read.notes == ()


def spoil(name, cell, value):
    def edit(book):
        book[name][cell] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (spoil("Summary1.As1", "B11", "300 kt"), r"Summary1\.As1!B11 \(1\.A\.1, co2\): .*'300 kt' is neither a number"),
        (spoil("Summary1.As1", "A5", "CATEGORIES"), r"sheet 'Summary1\.As1': no cell says 'GREENHOUSE GAS"),
        (spoil("Table1s1", "B6", None), r"Table1s1!B6: the unit of co2 is missing"),
        (spoil("Table1s1", "B6", "(furlong)"), r"Table1s1!B7 .*'furlong' is no mass of co2"),
    ],
)
def test_faults_name_sheet_and_cell(tmp_path, edit, sentence):
    with pytest.raises(InventoryError, match=sentence):
        inventory.read(crf(tmp_path / "a.xlsx", edit))


def test_country_and_year_come_from_the_caller_or_the_name_where_the_sheets_are_silent(tmp_path):
    def silent(book):
        for page in book:
            for cell in ("F1", "F2", "F3"):
                page[cell] = None

    with pytest.raises(InventoryError, match=r"give region='DEU'.*give period='2019'"):
        inventory.read(crf(tmp_path / "a.xlsx", silent))
    first = inventory.read(tmp_path / "a.xlsx", region="Austria", period="2018", vintage="draft").entries[0]
    assert (first.region, str(first.period), first.vintage) == ("AUT", "2018", "draft")
    for name, expected in (
        ("AUT_2021_1990_13042021.xlsx", ("AUT", "1990", "2021")),
        ("AUS-CRT-2024-V1.0-2005-20240411.xlsx", ("AUS", "2005", "2024")),
    ):
        first = inventory.read(crf(tmp_path / name, silent)).entries[0]
        assert (first.region, str(first.period), first.vintage) == expected
    with pytest.raises(InventoryError, match=r"'Germny'.*Is Germany \(DEU\) meant\?"):
        inventory.read(tmp_path / "a.xlsx", region="Germny", period="2018")
