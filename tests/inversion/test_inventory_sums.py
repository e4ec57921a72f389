"""Sums of parts, vintages side by side, recalculation."""

import numpy as np
import pytest

from inversion import inventory
from inversion.inventory import Entry, Inventory, InventoryError, Period

YEAR = Period.parse("2019")


def part(value, category="1.A.2.e", **more):
    given = {"region": "CN-ZJ", "gas": "co2", "period": YEAR, "part": True, "source": "A"} | more
    return Entry(category=category, value=value, **given)


def one(read):
    (entry,) = read.entries
    return entry


@pytest.mark.parametrize(("correlation", "sigma"), [(0.0, 5.0), (1.0, 7.0), (0.5, np.sqrt(0.5 * 25 + 0.5 * 49))])
def test_sigma_of_a_sum(correlation, sigma):
    made = Inventory((part(10.0, sigma=3.0, fuel="Coke"), part(20.0, sigma=4.0, fuel="LPG")))
    entry = one(inventory.totals(made, correlation=correlation))
    assert (entry.value, entry.category, entry.part, entry.fuel) == (30.0, "0", False, "")
    assert entry.sigma == pytest.approx(sigma)
    with pytest.raises(InventoryError, match=r"correlation of 1\.5"):
        inventory.totals(made, correlation=1.5)


def test_a_sum_with_an_unknown_sigma_has_none():
    assert one(inventory.totals(Inventory((part(10.0, sigma=3.0), part(20.0, fuel="LPG"))))).sigma is None


def test_a_category_and_what_lies_in_it_are_not_added():
    made = Inventory((part(10.0, "1.A", part=False), part(4.0, "1.A.1", fuel="Coke"), part(2.0, "2.A")))
    with pytest.raises(InventoryError, match=r"CN-ZJ 1\.A 2019 is there whole"):
        inventory.totals(made)
    assert one(inventory.totals(made, "2")).value == 2.0
    assert one(inventory.totals(Inventory((part(1.0, "M.BK"), part(2.0, "2.A"))))).value == 2.0


def test_parts_that_are_only_keys_have_no_value():
    made = Inventory((part(None, notation="NO"), part(None, notation="IE,NE", fuel="LPG")))
    entry = one(inventory.totals(made, "1.A"))
    assert (entry.value, entry.notation) == (None, "IE,NE,NO")


def test_gases_years_and_vintages_stay_apart():
    made = Inventory(
        (
            part(1.0),
            part(2.0, gas="ch4"),
            part(4.0, period=Period.parse("2020")),
            part(8.0, vintage="2021"),
            part(16.0, region="CN-JS"),
        )
    )
    assert sorted(e.value for e in inventory.totals(made).entries) == [1, 2, 4, 8, 16]


def ledger(vintage, values):
    return Inventory(
        tuple(
            part(value, code, part=False, region=region, vintage=vintage) for (region, code), value in values.items()
        ),
        f"ledger {vintage}",
    )


def test_what_was_recalculated():
    old = ledger("2020", {("CN-ZJ", "1.A"): 100.0, ("CN-ZJ", "2.A"): 0.0, ("CN-JS", "1.A"): 50.0})
    new = ledger("2021", {("CN-ZJ", "1.A"): 110.0, ("CN-ZJ", "2.A"): 3.0, ("CN-SH", "1.A"): 7.0})
    keyed = Inventory((*new.entries, part(None, "1.A", part=False, region="CN-JS", vintage="2021", notation="C")), "n")
    changed = inventory.recalculation(inventory.beside(old, keyed), "2020", "2021")
    assert dict(changed.sizes) == {"region": 3, "category": 2, "period": 1, "nbnds": 2}
    zhejiang = changed.sel(region="CN-ZJ", period="2019")
    np.testing.assert_allclose(zhejiang.difference, [10.0, 3.0])
    np.testing.assert_allclose(zhejiang.relative, [0.1, np.nan])  # of nothing there is no share
    assert np.isnan(changed.difference.sel(region="CN-SH", category="1.A"))
    assert changed.new.sel(region="CN-SH", category="1.A").item() == 7.0
    assert changed.new_notation.sel(region="CN-JS", category="1.A").item() == "C"
    assert changed.difference.attrs["units"] == "kt"
    assert (changed.attrs["old_vintage"], changed.attrs["new_vintage"], changed.attrs["gas"]) == ("2020", "2021", "co2")
    assert str(changed.period_bnds.values[0][1])[:10] == "2020-01-01"


def test_recalculation_needs_both_vintages_and_wholes():
    both = inventory.beside(ledger("2020", {("CN-ZJ", "1.A"): 1.0}), ledger("2021", {("CN-ZJ", "1.A"): 1.0}))
    with pytest.raises(InventoryError, match="no vintage '2022': '2020', '2021' are there"):
        inventory.recalculation(both, "2020", "2022")
    parts = inventory.beside(both, Inventory((part(1.0, vintage="2021"),)))
    with pytest.raises(InventoryError, match="1 entries are parts"):
        inventory.recalculation(parts, "2020", "2021")


def test_one_vintage_twice_is_refused_until_it_is_named():
    first = ledger("2021", {("CN-ZJ", "1.A"): 1.0})
    with pytest.raises(InventoryError, match="is already there"):
        inventory.beside(first, first)
    both = inventory.beside(first, inventory.named(first, "draft"))
    assert inventory.recalculation(both, "2021", "draft").difference.item() == 0.0
    with pytest.raises(InventoryError, match="2 vintage values"):
        both.ledger(["CN-ZJ"])


def test_two_releases_of_ceads_totals(shared):
    folder = shared / "data" / "inventory"
    sheets = inventory.totals(
        inventory.read(folder / "ceads_30_provinces_2019.xlsx", vintage="sheets", regions="published")
    )
    mapping = {
        "ignore": ["emissions_id"],
        "columns": {"region": "actor_id", "period": "year", "value": "total_emissions", "source": "datasource_id"},
        "constants": {"gas": "co2", "unit": "t", "vintage": "totals"},
    }
    file = inventory.read(folder / "ceads_province_totals.csv", mapping=mapping).select(period="2019")
    changed = inventory.recalculation(inventory.beside(sheets, file), "sheets", "totals")
    assert changed.sizes["region"] == 30
    assert float(abs(changed.difference).max()) <= 1e-3  # rounded to whole t
