"""Whatever a cell or a description holds, a reader reads it or says in sentences what is wrong."""

import datetime as dt

import openpyxl
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inversion import inventory
from inversion.inventory import InventoryError
from tests.inversion.ledgers import ceads_workbook, crf, edgar

odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 10**18),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(
        ["", " ", "NE", "NO,IE", "C, XX", "1.5", "-", "…", "=A1", "#DIV/0!", "1. Energy", "Total Energy", "ii. x"]
    ),
    st.just(dt.datetime(2019, 1, 1)),  # noqa: DTZ001 - as a spreadsheet has them
    st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=8),
)
few = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def read_or_refuse(path):
    read, faults = read_or_faults(path)
    assert all(fault.strip() for fault in faults)
    assert faults or all((e.value is None) == bool(e.notation) for e in read)


def read_or_faults(path):
    try:
        return inventory.read(path).entries, ()
    except InventoryError as error:
        return (), error.faults or ("",)


@pytest.fixture(scope="module")
def books(tmp_path_factory):
    folder = tmp_path_factory.mktemp("books")
    return {
        "ceads": ceads_workbook(folder, names=("Beijing2019",)),
        "crf": crf(folder / "crf.xlsx"),
        "edgar": edgar(folder / "edgar.xlsx"),
    }


@pytest.mark.parametrize("kind", ["ceads", "crf", "edgar"])
@given(data=st.data())
@few
def test_any_cell_may_hold_anything(books, kind, data):
    book = openpyxl.load_workbook(books[kind])
    for _ in range(3):
        sheet = data.draw(st.sampled_from(book.worksheets))
        row, column = data.draw(st.integers(1, 16)), data.draw(st.integers(1, 9))
        sheet.cell(row, column).value = data.draw(odd)
    path = books[kind].with_name(f"spoilt_{kind}.xlsx")
    book.save(path)
    read_or_refuse(path)


words = st.sampled_from(
    ["time", "unit", "source", "entity", "area (ISO3)", "category (IPCC2006)", "*", "CO2", "%Y", "x"]
)
trees = st.recursive(
    st.none() | words | st.integers(), lambda t: st.lists(t, max_size=3) | st.dictionaries(words, t, max_size=3)
)


@given(
    attrs=st.dictionaries(st.sampled_from(["area", "cat", "scen", "entity_terminology"]), trees, max_size=4) | trees,
    dimensions=st.dictionaries(words, st.lists(trees, max_size=4), max_size=2) | trees,
    time_format=trees,
    rows=st.lists(
        st.lists(st.sampled_from(["CHN", "CO2", "1.A", "kt CO2 / yr", "NE", "1", ""]), max_size=8), max_size=3
    ),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_description_may_say_anything(tmp_path, attrs, dimensions, time_format, rows):
    (tmp_path / "a.csv").write_text(
        "source,area (ISO3),entity,unit,category (IPCC2006),2019\n" + "".join(",".join(row) + "\n" for row in rows)
    )
    meta = {"attrs": attrs, "dimensions": dimensions, "time_format": time_format}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(meta))
    read_or_refuse(tmp_path / "a.yaml")
