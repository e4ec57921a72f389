"""EDGAR workbooks, made here in the layout of its releases."""

import pytest

from inversion import inventory
from inversion.inventory import InventoryError
from tests.inversion.ledgers import edgar


def test_totals_and_categories_are_read(tmp_path):
    read = inventory.read(edgar(tmp_path / "EDGAR_CH4.xlsx"))
    found = {(e.region, e.category, e.fuel, str(e.period)): e for e in read.entries}
    china = found["CHN", "0", "", "2022"]
    assert (china.value, china.unit, china.gas, china.vintage, china.source) == (
        75.0,
        "Gg",
        "ch4",
        "EDGAR_2024_GHG",
        "EDGAR",
    )
    assert china.place == "EDGAR_CH4.xlsx:TOTALS BY COUNTRY!H11"
    assert ("DEU", "0", "", "1971") not in found  # an empty cell is nothing, not 0
    assert found["CN-HK", "0", "", "2022"].value == 0.2
    assert found["SEA", "M.BK.M", "", "1970"].value == 1.0
    assert found["CHN", "3.C.7", "bio", "1970"].part is False
    assert found["CHN", "1.A.4", "bio", "1970"].part
    assert found["CHN", "1.A.1", "fossil", "1970"].published == "1.A.1.bc"
    assert found["CHN", "1.A.1", "fossil", "1970"].part
    assert found["CHN", "1.A.3.b", "fossil", "2022"].value == 0.4
    assert read.notes == (
        "1 rows of EU27, a sum over countries, left out",
        "1 rows of GLOBAL TOTAL, a sum over countries, left out",
        "1 rows of GWP_100_AR5_GHG, a basket of gases, left out",
    )
    assert read.ledger(["CHN", "DEU"], category="0", period="1970").rate.tolist() == [30.5, 5.0]


def test_fossil_and_biogenic_methane_make_the_category(tmp_path):
    read = inventory.read(edgar(tmp_path / "a.xlsx"))
    (stoves,) = (e for e in inventory.totals(read.select(period="2022"), "1.A.4").entries if e.region == "CHN")
    assert stoves.value == pytest.approx(3.6)
    with pytest.raises(InventoryError, match=r"CHN 0 .* is there whole .* and in parts"):
        inventory.totals(read)


def test_co2_from_biomass_is_in_no_total(tmp_path):
    read = inventory.read(edgar(tmp_path / "a.xlsx", gas="CO2"))
    bio = [e for e in read.entries if e.fuel == "bio"]
    assert {e.category for e in bio} == {"M.BIO"}
    (homes,) = inventory.totals(read.select(period="2022"), "1.A.4").entries
    assert homes.value == 2.0


def spoil(sheet, cell, value):
    def edit(book):
        book[sheet][cell] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (spoil("IPCC 2006", "I12", "n/a"), r"IPCC 2006!I12 \(CHN, 1970\): 'n/a' is no number"),
        (spoil("TOTALS BY COUNTRY", "C12", "DEW"), r"TOTALS BY COUNTRY!12: No province-level unit is called 'DEW'"),
        (spoil("IPCC 2006", "E11", "9.Z"), r"IPCC 2006!11: '9\.Z' is no IPCC 2006 category"),
        (spoil("IPCC 2006", "E10", "code"), r"IPCC 2006!10: there is no column 'ipcc_code_2006_for_standard_report'"),
        (spoil("IPCC 2006", "C10", "country"), r"sheet 'IPCC 2006': no row has a cell 'Country_code_A3'"),
        (spoil("IPCC 2006", "A2", "?"), r"sheet 'IPCC 2006': the lines above the header name no unit: give unit='Gg'"),
    ],
)
def test_faults_name_sheet_and_cell(tmp_path, edit, sentence):
    with pytest.raises(InventoryError, match=sentence):
        inventory.read(edgar(tmp_path / "a.xlsx", edit))


def test_the_unit_may_be_given(tmp_path):
    path = edgar(tmp_path / "a.xlsx", unit=None)
    assert inventory.read(path, unit="t").entries[0].value == pytest.approx(0.0305)
    assert inventory.read(path, unit="Gg", vintage="v8").entries[0].vintage == "v8"
