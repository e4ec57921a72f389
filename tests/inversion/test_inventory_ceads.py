"""CEADs workbooks: the shared one, and small ones made to be wrong in one way each."""

import csv
import math
import re

import numpy as np
import openpyxl
import pytest

from inversion import inventory
from inversion.inventory import InventoryError, ceads
from inversion.inventory.categories import CEADS_SECTORS, holds
from inversion.provinces import PROVINCES
from tests.inversion.ledgers import ceads_workbook

SECTORS = list(CEADS_SECTORS)


@pytest.fixture(scope="module")
def shared_book(request):
    """The shared workbook, as openpyxl and as an inventory."""
    folder = request.getfixturevalue("shared") / "data" / "inventory"
    path = folder / "ceads_30_provinces_2019.xlsx"
    return openpyxl.load_workbook(path), inventory.read(path, vintage="2021"), folder


def test_all_of_the_shared_workbook_is_read(shared_book):
    book, read, _ = shared_book
    columns = [column for column in ceads.COLUMNS if column != ceads.SUM]
    by_cell = {entry.place: entry for entry in read.entries if entry.value is not None}
    assert len(by_cell) == 30 * 47 * (17 + 2 + 1 + 1)
    assert sorted({e.published for e in by_cell.values()}) == sorted(SECTORS)
    for sheet in book.worksheets[1:]:
        rows = list(sheet.iter_rows())
        head = {cell.value: cell.column - 1 for cell in rows[0]}
        for row in rows[4:]:
            for column in columns:
                cell = row[head[column]]
                entry = by_cell.pop(f"ceads_30_provinces_2019.xlsx:{sheet.title}!{cell.coordinate}")
                assert entry.value == pytest.approx(cell.value * 1000, rel=1e-12)
                assert (entry.published, entry.fuel) == (row[0].value, "process" if column == "Process" else column)
                assert (entry.unit, entry.gas, entry.vintage) == ("Mt CO2", "co2", "2021")
                assert entry.scope == (2 if column.startswith("Scope_2") else 1)
    assert not by_cell


def test_sums_are_the_sheets_own_totals_and_those_of_the_totals_file(shared_book):
    book, read, folder = shared_book
    with (folder / "ceads_province_totals.csv").open(newline="") as stream:
        stated = {
            row["actor_id"]: float(row["total_emissions"]) for row in csv.DictReader(stream) if row["year"] == "2019"
        }
    summed = {entry.region: entry for entry in inventory.totals(read).entries if entry.value is not None}
    fuels = {(e.region, e.fuel): e.value for e in inventory.totals(read, by_fuel=True).entries}
    assert summed.keys() == stated.keys()
    for sheet in book.worksheets[1:]:
        total = dict(zip([c.value for c in sheet[1]], [c.value for c in sheet[4]], strict=True))
        region = next(e.region for e in read.entries if f":{sheet.title}!" in e.place)
        assert summed[region].value == pytest.approx(total["Scope_1_Total"] * 1e3, rel=1e-12)
        assert math.floor(summed[region].value * 1e3 + 0.5) == pytest.approx(stated[region], abs=1)  # whole t
        for fuel in ceads.FUELS:
            assert fuels[region, fuel] == pytest.approx(total[fuel] * 1e3, rel=1e-12, abs=1e-9)
        assert fuels[region, "process"] == pytest.approx(total["Process"] * 1e3, rel=1e-12, abs=1e-9)


def test_energy_and_process_add_up_to_the_total(shared_book):
    _, read, _ = shared_book
    parts = [inventory.totals(read, category).ledger([u.iso for u in PROVINCES]) for category in ("1", "2", "0")]
    energy, process, total = (part.rate for part in parts)
    np.testing.assert_allclose(energy + process, total, rtol=1e-12)
    assert np.nansum(process) == pytest.approx(662479.877, rel=1e-8)
    own = inventory.totals(read, None).entries
    for code in ("1.A.1", "1.A.2", "1.A.4"):
        above = {e.region: e.value for e in inventory.totals(read, code).entries}
        added = sum(e.value for e in own if e.region == "CN-SX" and e.value is not None and holds(code, e.category))
        assert above["CN-SX"] == pytest.approx(added, rel=1e-12)


@pytest.mark.parametrize(
    ("regions", "absent"),
    [("all", ["CN-HK", "CN-MO", "CN-TW", "CN-XZ"]), ("mainland", ["CN-XZ"]), ("published", [])],
)
def test_what_ceads_lacks_is_not_estimated(shared, regions, absent):
    read = inventory.read(shared / "data/inventory/ceads_30_provinces_2019.xlsx", regions=regions)
    summed = inventory.totals(read)
    assert sorted(e.region for e in summed.entries if e.notation == "NE") == absent
    assert len(summed.entries) == 30 + len(absent)
    ledger = summed.ledger([u.iso for u in PROVINCES], category="0")
    assert [code for code, key in zip(ledger.codes, ledger.notation, strict=True) if key == "NE"] == sorted(
        absent, key=ledger.codes.index
    )
    assert np.isnan(ledger.rate).sum() == 4  # NE or not there, never 0


def test_scope_2_enters_no_territorial_total(tmp_path):
    with_2 = inventory.read(ceads_workbook(tmp_path, scope_2=7.5))
    without = inventory.read(ceads_workbook(tmp_path))
    for category in ("0", "1", "1.A.1.a"):
        assert inventory.totals(with_2, category) == inventory.totals(without, category)
    used = {e.region: e for e in inventory.totals(with_2, scope=2).entries if e.value is not None}
    assert used["CN-BJ"].value == pytest.approx(2 * 47 * 7500.0)
    assert used["CN-BJ"].scope == 2
    with pytest.raises(InventoryError, match="CN-BJ is Scope 2, electricity and heat used but not emitted there"):
        inventory.totals(with_2, scope=2).ledger(["CN-BJ", "CN-XZ"])


def test_scope_2_counted_in_the_sheets_own_total_is_found(tmp_path):
    def spoil(book):
        sheet = book["Beijing2019"]
        sheet["W10"] = sheet["W10"].value + 15.0
        sheet["W4"] = sheet["W4"].value + 15.0

    with pytest.raises(InventoryError, match=r"Beijing2019!W10 \(Nonmetal Minerals.*, Scope_1_Total\): it says .* kt"):
        inventory.read(ceads_workbook(tmp_path, spoil, scope_2=7.5))


def change(cell, value):
    def edit(book):
        book["Beijing2019"][cell] = value

    return edit


def rename(book):
    book["Beijing2019"].title = "Bejing2019"


def drop(book):
    book["Beijing2019"].delete_rows(6)


def swap_column(book):
    book["Beijing2019"]["C1"] = "Cleened_Coal"


def copy_sheet(book):
    book.copy_worksheet(book["Beijing2019"]).title = "北京2019"


@pytest.mark.parametrize(
    ("edit", "sentences"),
    [
        (drop, [r"sheet 'Beijing2019': the row 'Coal Mining and Dressing' is missing in column A\."]),
        (
            change("D8", "n.a."),
            [r"Beijing2019!D8 \(Ferrous Metals Mining.*, Other_Washed_Coal\): 'n\.a\.' is no number: give .*"],
        ),
        (change("D8", None), [r"Beijing2019!D8 \(Ferrous.*\): the cell is empty: give a number in Mt CO2, or NE.*"]),
        (rename, [r"sheet 'Bejing2019': No province-level unit is called 'Bejing': .* Is Beijing \(CN-BJ\) meant\?"]),
        (
            change("A8", "Ferous Metals Mining"),
            [r"Beijing2019!A8: the row .* is not known; is 'Ferrous Metals.* meant\?"],
        ),
        (change("C2", "Mt coal"), [r"Beijing2019!C2 \(unit of CleanedCoal\): The unit 'Mt coal' is no mass of co2.*"]),
        (swap_column, [r"Beijing2019!1: there is no column 'CleanedCoal' \(Beijing2019!C1 has 'Cleened_Coal'\)\."]),
        (
            change("A9", SECTORS[3]),
            [r"Beijing2019!A9: the row .* is there twice \(also A8\)\.", r".*'Nonferrous.* is missing.*"],
        ),
        (copy_sheet, [r"CN-BJ 2019 is in several sheets \(.*北京2019\): leave one\."]),
        (
            change("B8", 4.0),
            [r"Beijing2019!B4 \(TotalEmissions, Raw_Coal\): it says .*", r"Beijing2019!W8 \(Ferrous.*"],
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence_with_its_place(tmp_path, edit, sentences):
    with pytest.raises(InventoryError) as caught:
        inventory.read(ceads_workbook(tmp_path, edit))
    assert len(caught.value.faults) == len(sentences), caught.value.faults
    for fault, sentence in zip(caught.value.faults, sentences, strict=True):
        assert re.fullmatch(sentence, fault), fault


def test_all_faults_of_all_sheets_are_reported_at_once(tmp_path):
    def spoil(book):
        change("D8", "x")(book)
        book["InnerMongolia2019"]["E9"] = "y"

    with pytest.raises(InventoryError) as caught:
        inventory.read(ceads_workbook(tmp_path, spoil))
    assert [fault.split(" ")[0] for fault in caught.value.faults] == ["Beijing2019!D8", "InnerMongolia2019!E9"]


def test_capitals_blanks_and_commas_of_other_releases_do_not_matter(tmp_path):
    def respell(book):
        sheet = book["Beijing2019"]
        sheet["C1"], sheet["H1"], sheet["A42"] = "Cleaned Coal", "other gas", "Scrap and Waste"

    found = inventory.read(ceads_workbook(tmp_path, respell)).entries
    plain = inventory.read(ceads_workbook(tmp_path)).entries
    assert found == plain


def test_a_notation_key_in_a_cell_is_kept(tmp_path):
    def edit(book):
        sheet = book["Beijing2019"]
        taken = sheet["B8"].value
        for cell in ("W8", "B4", "W4"):
            sheet[cell] = sheet[cell].value - taken
        sheet["B8"] = "C"

    read = inventory.read(ceads_workbook(tmp_path, edit))
    (entry,) = (e for e in read.entries if e.notation == "C")
    assert (entry.value, entry.published, entry.fuel) == (None, "Ferrous Metals Mining and Dressing", "Raw_Coal")
    (total,) = (e for e in inventory.totals(read, "1.A.2.i").entries if e.region == "CN-BJ")
    assert total.notation == "C"  # the sum is incomplete, and says so
    assert total.value > 0


def test_another_workbook_is_no_ceads(tmp_path):
    book = openpyxl.Workbook()
    book.active["A1"] = "something"
    book.save(tmp_path / "other.xlsx")
    with pytest.raises(InventoryError, match=r"Its sheets \(Sheet\) are those of no inventory"):
        inventory.read(tmp_path / "other.xlsx")
    with pytest.raises(InventoryError, match="it is no CEADs workbook"):
        inventory.read(tmp_path / "other.xlsx", "ceads")
    with pytest.raises(InventoryError, match="regions='half' is not known"):
        inventory.read(ceads_workbook(tmp_path), regions="half")
