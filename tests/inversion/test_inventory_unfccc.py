"""CRF and CRT workbooks, made here in the layouts the UNFCCC's software exports."""

import openpyxl
import pytest

from inversion import inventory
from inversion.inventory import InventoryError

CORNER = "GREENHOUSE GAS SOURCE AND SINK CATEGORIES"


def sheet(book, name, head, units, rows, *, corner=(), first=0):
    """Write a table with its title lines; `first` empty columns, as CRT has."""
    page = book.create_sheet(name)
    for line in (
        ["SUMMARY 1.A", *[None] * 4, *corner[:1]],
        [None] * 5 + list(corner[1:2]),
        [None] * 5 + list(corner[2:]),
    ):
        page.append([None] * first + line)
    page.append([])
    page.append([None] * first + [CORNER, *head])
    page.append([None] * first + [None, *units])
    for row in rows:
        page.append([None] * first + list(row))
    page.append([])
    page.append([None] * first + ["(1) A footnote. Note that 1. Energy is explained here."])
    page.append([None] * first + ["Note: minimum level of aggregation."])


def crf(path, edit=None):
    book = openpyxl.Workbook()
    book.remove(book.active)
    corner = ("Inventory 2019", "Submission 2021 v3", "GERMANY")
    head = ("Net CO2 emissions/removals", "CH4", "N2O", "HFCs(1)", "Unspecified mix of HFCs and PFCs(1)", "SF6", "NOx")
    units = ("(kt)", None, None, "(kt CO2 equivalent)", None, "(kt)", None)
    rows = [
        ("Total national emissions and removals", 700.0, 50.0, 12.0, None, None, 0.01, 9),
        ("1. Energy", 650.0, 8.0, 2.0, None, None, None, 8),
        ("A. Fuel combustion Reference approach(2)", 655.0),
        ("Sectoral approach(2)", 645.0, 3.0, 1.9),
        ("1. Energy industries", 300.0, 1.0, 0.5),
        ("2. Manufacturing industries and construction", 120.0, 0.5, 0.2),
        ("4. Other sectors", "IE,NO", 1.0, 0.6),
        ("B. Fugitive emissions from fuels", 5.0, 5.0, "NA,NO"),
        ("1. Solid fuels", "NO", 2.0, "NA"),
        ("2. Industrial processes and product use", 60.0, 1.0, 3.0, 900, "NO", 0.01),
        ("A. Mineral industry", 20.0),
        ("3. Agriculture", 3.0, 30.0, 6.0),
        ("A. Enteric fermentation", None, 20.0),
        ("D. Agricultural soils(3)", None, "NA", 5.0),
        ("4. Land use, land-use change and forestry(5)", -15.0, 1.0, 0.5),
        ("A. Forest land(4)", -20.0, "NE", 0.1),
        ("5. Waste", "NO,NE,IE", 10.0, 0.5),
        ("D. Waste water treatment and discharge", None, 2.0, 0.4),
        ("6. Other (as specified in summary 1.A)", "NO", "C", "NO"),
    ]
    sheet(book, "Summary1.As1", head, units, rows, corner=corner)
    energy = [
        ("Total Energy", 650.0, 8.0, 2.0),
        ("A. Fuel combustion activities (sectoral approach)", 645.0, 3.0, 1.9),
        ("1. Energy industries", 301.0, 1.0, 0.5),
        ("a. Public electricity and heat production", 250.0, 0.8, 0.4),
        ("2. Manufacturing industries and construction", 120.0, 0.5, 0.2),
        ("a. Iron and steel", 40.0, 0.1, "IE"),
        ("g. Other (please specify)", 30.0, 0.1, 0.1),
        ("Glass wool", 1.0, 0.1, 0.1),
        ("3. Transport", 160.0, 0.5, 0.6),
        ("a. Domestic aviation", 2.0, 0.001, 0.01),
    ]
    sheet(book, "Table1s1", ("CO2", "CH4", "N2O", "NOX"), ("(kt)", None, None, None), energy, corner=corner)
    sheet(
        book,
        "Table1s2",
        ("CO2", "CH4", "N2O"),
        ("(kt)", None, None),
        [
            ("B. Fugitive emissions from fuels", 5.0, 5.0, "NA,NO"),
            ("1. Solid fuels", "NO", 2.0, "NA"),
            ("b. Solid fuel transformation", 0.5, "NE"),
        ],
        corner=corner,
    )
    sheet(
        book,
        "Table3s1",
        ("CO2", "CH4", "N2O"),
        ("(kt)", None, None),
        [
            ("3. Total agriculture", 3.0, 30.0, 6.0),
            ("I. Livestock", None, 24.0),
            ("A. Enteric fermentation", None, 20.0),
            ("1. Cattle(1)", None, 19.0),
            ("D. Agricultural soils(2,3)", None, "NA", 5.0),
            ("a. Direct N2O emissions from managed soils", None, None, 4.0),
            ("1. Inorganic N fertilizers(3)", None, None, 3.0),
            ("b. Indirect N2O emissions from managed soils", None, None, 1.0),
            ("E. Prescribed burning of savannahs", None, "NO", "NO"),
        ],
        corner=corner,
    )
    if edit:
        edit(book)
    book.save(path)
    return path


def crt(path, edit=None):
    book = openpyxl.Workbook()
    book.remove(book.active)
    corner = ("Year 2021", "Submission 2024 v0.2", "CHINA")
    head = ("Net CO2 emissions/removals", "CH4", "N2O", "HFCs (1)", "Total GHG emissions/removals (2)")
    units = ("(kt)", None, None, "CO2 equivalents (kt) (3)", None)
    rows = [
        ("Total national emissions and removals", 10000.0, 60.0, 2.0, 5.0, 12000.0),
        ("1. Energy", 9900.0, 27.0, 0.3),
        ("1.A. Fuel combustion", 9890.0, 2.0, 0.3),
        ("1.A.1. Energy industries", 5000.0, "FX", 0.1),
        ("1.B. Fugitive emissions from fuels", 10.0, 25.0),
        ("1.B.1. Solid fuels", "NO", 22.0),
        ("3. Agriculture", 0.0, 24.0, 1.0),
        ("3.C. Rice cultivation", None, 8.0),
        ("4. Land use, land-use change and forestry (5)", -1100.0, 2.0, "NE"),
        ("5. Waste", 10.0, 6.0, 0.1),
    ]
    sheet(book, "Summary1", head, units, rows, corner=corner, first=1)
    sheet(
        book,
        "Table1",
        ("CO2", "CH4", "N2O", "Total GHG emissions (1)"),
        ("(kt)", None, None, "CO2 equivalents (kt) (2)"),
        [
            ("1. Total Energy", 9900.0, 27.0, 0.3),
            ("1.A.1.a. Public electricity and heat production", 4600.0, 0.1, 0.1),
            ("1.A.3.d. Domestic navigation", 50.0, 0.01, 0.01),
            ("1.B.1.a. Coal mining and handling", "NO", 21.5),
            ("1.B.2.c. Venting and flaring", 1.0, 1.0),
            ("1.D.1.b.Navigation", 33.0, 0.01, "NE"),
        ],
        corner=corner,
        first=1,
    )
    if edit:
        edit(book)
    book.save(path)
    return path


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
