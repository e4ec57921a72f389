"""Key categories by hand, by both approaches, and what cannot be assessed."""

import numpy as np
import pytest

from inversion import inventory
from inversion.inventory import Entry, Inventory, InventoryError, Period
from inversion.inventory.keycategories import AR5, level, lines, trend


def entry(category, value, gas="co2", *, period="2020", sigma=None, region="CN-ZJ", **more):
    own = {"region": region, "category": category, "gas": gas, "period": Period.parse(period), **more}
    return Entry(value=value, sigma=sigma, vintage="2024", source="made up", **own)


def book(*entries):
    return Inventory(tuple(entries), "book")


def test_the_level_is_each_share_of_the_sum_of_magnitudes():
    made = book(
        entry("1.A.1.a", 800.0), entry("1.A.2", 100.0), entry("3.B.1", -50.0), entry("1.A.3.b", 46.0),
        entry("1.B.1", 0.1, "ch4"), entry("4.A", 0.05, "ch4"),
    )  # fmt: skip
    found = level(made)
    size = np.array([800, 100, 50, 46, 2.8, 1.4])
    np.testing.assert_allclose(found["assessment"], size / size.sum())
    assert found["category"].values.tolist() == ["1.A.1.a", "1.A.2", "3.B.1", "1.A.3.b", "1.B.1", "4.A"]
    # 80.0, 90.0, 95.0: the one that reaches 95 % is key too.
    assert found["key"].values.tolist() == [True, True, True, size[:3].sum() / size.sum() < 0.95, False, False]
    assert found.attrs["total"] == pytest.approx(800 + 100 - 50 + 46 + 2.8 + 1.4)
    assert found["value"].sel(rank=5).item() == pytest.approx(28 * 0.1)


def test_approach_2_weighs_by_uncertainty_and_stops_at_ninety_percent():
    made = book(
        entry("1.A.1.a", 800.0, sigma=16.0), entry("1.A.2", 100.0, sigma=5.0), entry("4.A", 2.0, "ch4", sigma=1.0),
        entry("3.C.7", 1.0, "ch4", sigma=0.01),
    )  # fmt: skip
    found = level(made, approach=2)
    weighed = np.array([28.0, 16.0, 5.0, 0.28])  # L U is proportional to σ
    np.testing.assert_allclose(found["assessment"], weighed / weighed.sum())
    assert found["category"].values.tolist() == ["4.A", "1.A.1.a", "1.A.2", "3.C.7"]
    assert found["key"].values.tolist() == [True, True, True, False]
    with pytest.raises(
        InventoryError, match=r"needs the uncertainty of every category; none is stated for 1\.A\.2 co2"
    ):
        level(book(entry("1.A.1.a", 1.0, sigma=0.1), entry("1.A.2", 1.0)), approach=2)


def test_the_trend_by_hand():
    made = book(
        entry("1.A.1.a", 600.0, period="2010"), entry("1.A.1.a", 500.0),
        entry("1.A.3.b", 200.0, period="2010"), entry("1.A.3.b", 400.0),
        entry("2.A.1", 100.0, period="2010"),
        entry("2.C.1", 50.0),
    )  # fmt: skip
    found = trend(made, "2010", "2020")
    overall = (950 - 900) / 900
    T = {
        "1.A.1.a": 600 / 900 * abs(-100 / 600 - overall),
        "1.A.3.b": 200 / 900 * abs(200 / 200 - overall),
        "2.A.1": 100 / 900 * abs(-100 / 100 - overall),
        "2.C.1": 50 / 900,  # nothing in the base year (4.3)
    }
    order = sorted(T, key=lambda category: -T[category])
    assert found["category"].values.tolist() == order
    np.testing.assert_allclose(found["assessment"], [T[c] / sum(T.values()) for c in order])
    assert found.attrs["base"] == "2010"
    by_category = dict(zip(found["category"].values.tolist(), found["base_value"].values.tolist(), strict=True))
    assert by_category == {"1.A.1.a": 600.0, "1.A.3.b": 200.0, "2.A.1": 100.0, "2.C.1": 0.0}
    same = book(entry("1.A", 1.0, period="2010"), entry("1.A", 2.0), entry("2", 3.0, period="2010"), entry("2", 6.0))
    with pytest.raises(InventoryError, match="change alike"):
        trend(same, "2010", "2020")


def test_the_trend_of_approach_2_weighs_what_has_ceased_by_its_base_year():
    made = book(
        entry("1.A.1.a", 600.0, period="2010", sigma=60.0), entry("1.A.1.a", 500.0, sigma=10.0),
        entry("1.A.3.b", 200.0, period="2010", sigma=20.0), entry("1.A.3.b", 400.0, sigma=20.0),
        entry("2.A.1", 100.0, period="2010", sigma=50.0),
        entry("2.B.1", 100.0, period="2010", sigma=40.0), entry("2.B.1", 0.0),
    )  # fmt: skip
    found = trend(made, "2010", "2020", approach=2)
    overall = (900 - 1000) / 1000
    TU = {
        "1.A.1.a": 0.6 * abs(-100 / 600 - overall) * 10 / 500,
        "1.A.3.b": 0.2 * abs(1 - overall) * 20 / 400,
        "2.A.1": 0.1 * abs(-1 - overall) * 50 / 100,
        "2.B.1": 0.1 * abs(-1 - overall) * 40 / 100,
    }
    order = sorted(TU, key=lambda category: -TU[category])
    assert order[0] == "2.A.1"
    assert found["category"].values.tolist() == order
    np.testing.assert_allclose(found["assessment"], [TU[c] / sum(TU.values()) for c in order])
    unstated = book(*made.entries[:4], entry("2.A.1", 100.0, period="2010"))
    with pytest.raises(InventoryError, match=r"none is stated for 2\.A\.1 co2"):
        trend(unstated, "2010", "2020", approach=2)


def test_what_is_not_known_in_one_year_has_no_trend():
    made = book(
        entry("1.A.1", 600.0, period="2010"), entry("1.A.1", 500.0),
        entry("1.A.2", 100.0, period="2010"), entry("1.A.2", 300.0),
        entry("2.A.1", None, notation="NE", period="2010"), entry("2.A.1", 900.0),
        entry("2.B.1", 900.0, period="2010"), entry("2.B.1", None, notation="C"),
        entry("2.C.1", 50.0, period="2010"), entry("2.C.1", None, notation="NO"),
    )  # fmt: skip
    found = trend(made, "2010", "2020")
    assert sorted(found["category"].values.tolist()) == ["1.A.1", "1.A.2", "2.C.1"]
    assert found.attrs["without"] == "2.A.1 co2 NE in 2010, 2.B.1 co2 C in 2020"
    known = trend(book(*made.entries[:4], *made.entries[8:]), "2010", "2020")
    np.testing.assert_array_equal(found["assessment"], known["assessment"])
    coarse = book(entry("1.A", 5.0, period="2010"), entry("1.A.1", 6.0), entry("2", 1.0, period="2010"))
    with pytest.raises(InventoryError, match=r"1\.A\.1 and 1\.A \(co2\) hold the same emissions, each in one of"):
        trend(coarse, "2010", "2020")


def test_a_category_with_a_confidential_part_stands_for_its_parts():
    made = book(
        entry("1.A", 10.0), entry("1.A.1", 7.0), entry("1.A.2", None, notation="C"), entry("2.A.1", 5.0),
    )  # fmt: skip
    found = level(made)
    assert dict(zip(found["category"].values.tolist(), found["value"].values.tolist(), strict=True)) == {
        "1.A": 10.0, "2.A.1": 5.0,
    }  # fmt: skip
    assert found.attrs["without"] == ""
    # Where the parts sum to it, they are assessed, and the one without a value is named.
    whole = level(book(entry("1.A", 7.0), *made.entries[1:]))
    assert whole["category"].values.tolist() == ["1.A.1", "2.A.1"]
    assert whole.attrs["without"] == "1.A.2 co2 C"


def test_parts_fuels_memo_items_and_notation_keys():
    made = book(
        entry("0", 1005.0), entry("1.A", 1000.0), entry("1.A.1.a", 700.0, fuel="coal", part=True),
        entry("1.A.1.a", 200.0, fuel="gas", part=True), entry("1.A.2", 100.0), entry("2.A.1", 5.0),
        entry("M.BK", 500.0), entry("4.A", None, "ch4", notation="NE"),
    )  # fmt: skip
    found = level(made)
    assert found["category"].values.tolist() == ["1.A.1.a", "1.A.2", "2.A.1"]
    assert found["value"].values.tolist() == [900.0, 100.0, 5.0]
    assert found.attrs["without"] == "4.A ch4 NE"
    said = lines(found)
    assert said[0] == "CN-ZJ, level in 2020, approach 1: 2 of 3 categories are key"
    assert "1.A.1.a" in said[1]
    assert "without a value: 4.A ch4 NE" in said[-1]


@pytest.mark.parametrize(
    ("entries", "options", "sentence"),
    [
        ([entry("1.A", 10.0), entry("1.A.1", 7.0)], {}, r"1\.A \(co2\) is 10 kt but its parts 7 kt: choose one level"),
        ([entry("2.F.1", 1.0, "hfc-134a")], {}, "hfc-134a has no global warming potential here: give gwp="),
        ([entry("1.A", 1.0), entry("1.A", 1.0, region="CN-SH")], {}, "2 region values"),
        ([entry("1.A", 1.0), entry("1.A", 1.0, period="2019")], {}, "2 period values"),
        ([entry("1.A", 0.0)], {}, "Nothing is emitted in 2020"),
        ([entry("1.A", 1.0)], {"approach": 3}, "approach is 3, expected 1 or 2"),
        ([entry("1.A", 1.0)], {"period": "2001"}, "It has nothing of 2001: it holds CN-ZJ 2020"),
    ],
)
def test_what_cannot_be_assessed(entries, options, sentence):
    with pytest.raises(InventoryError, match=sentence):
        level(book(*entries), **options)


def test_other_potentials_change_the_order():
    made = book(entry("1.A.1", 50.0), entry("4.A", 1.0, "ch4"))
    assert level(made)["category"].values[0] == "1.A.1"
    assert level(made, gwp={"co2": 1.0, "ch4": 84.0})["category"].values[0] == "4.A"
    assert AR5["ch4"] == 28.0


def test_ceads_key_categories_of_a_province(shared):
    found = level(inventory.read(shared / "data/inventory/ceads_30_provinces_2019.xlsx"), region="CN-SX")
    assert found["category"].values[0] == "1.A.1.a"
    np.testing.assert_allclose(found["cumulative"].values[-1], 1.0)
    assert found.attrs["total"] == pytest.approx(564863, rel=1e-4)
