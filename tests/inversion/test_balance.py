"""Energy balances: worked examples by hand, approach 1 against closed forms and against approach 2."""

import datetime as dt
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inversion.inventory import InventoryError, Period
from inversion.inventory.balance import Activity, Balance, read
from inversion.inventory.bottomup import Correlations, estimate
from inversion.inventory.factorfiles import ipcc2006, parse_csv, parse_toml, write
from inversion.inventory.factorfiles import read as read_factors
from inversion.inventory.factors import FactorError, FactorTable
from inversion.inventory.prefectures import chain, region
from inversion.inventory.uncertainty import (
    approach1,
    approach2,
    change,
    grouped,
    inside,
    inventory,
    matrix,
    sensitivity,
)
from inversion.provinces import RegionError

HEAD = "quantity,fuel,gas,sector,region,value,unit,lower,upper,sigma_percent,valid_from,valid_to,source\n"
Y2019 = Period.parse("2019")


def used(value, fuel="natural_gas", **changed):
    cell = {"region": "CN-ZJ", "period": Y2019, "sector": "1.A.1.a", "unit": "TJ", "sigma": 0.0} | changed
    return Activity(fuel=fuel, value=value, **cell)


def balance(*activities):
    return Balance(activities)


def test_a_worked_example_of_tier_1_by_hand():
    """Vol. 2, eq. 2.1: emissions = fuel consumption [TJ] x emission factor [kg/TJ], for a power plant's fuels.

    Anthracite 1000 kt: 1000 x 26.7 = 26 700 TJ, x 98 300 = 2 624 610 000 kg = 2624.61 kt;
    residual fuel oil 50 kt: 50 x 40.4 = 2020 TJ, x 77 400 = 156.348 kt; natural gas 12 000 TJ x 56 100 = 673.2 kt.
    CH4: 26 700 x 1 + 2020 x 3 + 12 000 x 1 = 44 760 kg; N2O: 26 700 x 1.5 + 2020 x 0.6 + 12 000 x 0.1 = 42 462 kg.
    """
    plant = balance(
        used(1000.0, "anthracite", unit="kt"), used(50.0, "residual_fuel_oil", unit="kt"), used(12_000.0, "natural_gas")
    )
    co2 = estimate(plant, ipcc2006(), method="emission")
    np.testing.assert_allclose(co2.value, [2624.61, 156.348, 673.2], rtol=1e-12)
    assert estimate(plant, ipcc2006(), gas="ch4").value.sum() == pytest.approx(44_760e-6, rel=1e-12)
    assert estimate(plant, ipcc2006(), gas="n2o").value.sum() == pytest.approx(42_462e-6, rel=1e-12)


def test_by_carbon_by_hand():
    """Anthracite 1000 kt: 26 700 TJ x 26.8 t C/TJ x 1 x 44/12 = 2 623 720 t."""
    got = estimate(balance(used(1000.0, "anthracite", unit="kt")), ipcc2006())
    assert got.value[0] == pytest.approx(2623.72, rel=1e-12)
    assert [row.quantity for row in got.lines[0].rows] == ["ncv", "carbon", "oxidation"]
    assert "factors_ipcc2006.csv:" in str(got.lines[0].rows[0])


def test_the_tables_agree_with_each_other():
    """Table 1.4 is Table 1.3 x 44/12, rounded to three figures; its limits are rounded less carefully."""
    table = ipcc2006()
    fuels = [row.fuel for row in table.rows if row.quantity == "carbon"]
    assert len(fuels) == 25
    for fuel in fuels:
        carbon = table.find("carbon", fuel, region="", period=Y2019, gas="co2")
        effective = table.find("emission", fuel, region="", period=Y2019, gas="co2")
        # Both are rounded: carbon to 0.05 kg/GJ, the factor to half a unit of its third figure.
        half = 0.05 * 44 / 12 * 1e3 + 0.5 * 10 ** (math.floor(math.log10(effective.value)) - 2)
        assert abs(carbon.value * 44 / 12 * 1e3 - effective.value) <= half, fuel
        for name in ("lower", "upper"):
            assert getattr(carbon, name) * 44 / 12 * 1e3 == pytest.approx(getattr(effective, name), rel=0.02), fuel


def test_grid_electricity_is_scope_2_and_kept_apart():
    mixed = balance(used(1000.0), used(2000.0, "electricity", unit="GWh", period=Period.parse("2021")))
    with pytest.raises(InventoryError, match=r"not in this territory.*apart\(\)"):
        estimate(mixed, ipcc2006())
    burnt, bought = mixed.apart()
    assert estimate(burnt, ipcc2006()).value.sum() == pytest.approx(56.1)
    scope2 = estimate(bought, ipcc2006(), scope=2)
    assert scope2.value.sum() == pytest.approx(2000 * 0.5568)  # GWh x kg/kWh = kt
    assert approach1(scope2).attrs["scope"] == 2
    with pytest.raises(InventoryError, match="no territorial emission"):
        inventory(scope2, source="x", vintage="1")
    with pytest.raises(InventoryError, match="scope 1"):
        estimate(mixed, ipcc2006(), scope=2)


def test_overrides_of_province_prefecture_sector_and_year():
    text = HEAD + (
        "ncv,anthracite,,,CN-SX,24.0,MJ/kg,,,3,,,survey\n"
        "ncv,anthracite,,,CN-SX,25000,kJ/kg,,,2,2020-01-01,2021-01-01,survey\n"
        "ncv,anthracite,,,140100,23.0,GJ/t,,,2,,,Taiyuan\n"
        "ncv,anthracite,,1.A.2,CN-SX,22.0,TJ/Gg,,,2,,,industry\n"
    )
    table = parse_csv(text, name="shanxi.csv", version="3").over(ipcc2006())

    def ncv(place, period, sector="1.A.1.a"):
        return table.find("ncv", "anthracite", region=place, period=Period.parse(period), sector=sector).value

    assert ncv("CN-SX", "2019") == 24.0
    assert ncv("CN-SX", "2020") == pytest.approx(25.0)
    assert ncv("CN-SX", "2020/2021") == 24.0  # the yearly row does not hold for the whole of it
    assert ncv("140100", "2020") == 23.0
    assert ncv("140200", "2020") == pytest.approx(25.0)
    assert ncv("CN-SX", "2019", "1.A.2.a") == 22.0
    assert ncv("CN-ZJ", "2019") == 26.7
    assert table.version == "2006+3"
    assert len(table.over(table).rows) == len(table.rows)


def test_a_row_that_is_missing_says_what_there_is():
    with pytest.raises(FactorError, match=r"no ncv of peat in CN-ZJ.*none at all"):
        ipcc2006().find("ncv", "peat", region="CN-ZJ", period=Y2019)
    cells = balance(used(1.0, "peat", place="b.csv:2"), used(1.0, "natural_gas", unit="1e6 m3", place="b.csv:3"))
    with pytest.raises(FactorError) as caught:
        estimate(cells, ipcc2006())
    assert [fault[:7] for fault in caught.value.faults] == ["b.csv:2", "b.csv:3"]
    assert "for an activity in 1e6 m3" in caught.value.faults[1]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("heat,coal,,,,1,1,,,,,,x", "the quantity 'heat' is none"),
        ("ncv,coal,,,,1,furlong,,,,,,x", "the unit 'furlong'"),
        ("ncv,coal,,,,,TJ/Gg,,,,,,x", "value must not be empty"),
        ("ncv,coal,,,,1,TJ/Gg,,,,,,", "source must not be empty"),
        ("ncv,coal,,,,-1,TJ/Gg,,,,,,x", "-1 cannot be"),
        ("ncv,coal,,,,2,TJ/Gg,3,4,,,,x", "outside its interval"),
        ("ncv,coal,,,,2,TJ/Gg,1,,,,,x", "both lower and upper"),
        ("oxidation,coal,,,,102,%,,,,,,x", "1.02 cannot be"),
        ("ncv,coal,,,,1,TJ/Gg,,,,2020-01-01,2019-01-01,x", "before it begins"),
        ("ncv,coal,,,CN-QQ,1,TJ/Gg,,,,,,x", "CN-QQ"),
        ("ncv,coal,,,,1,TJ/Gg,,,,2020-13-01,,x", "month"),
        ("ncv,coal,,,,nan,TJ/Gg,,,,,,x", "'nan' is no number"),
        ("ncv,coal,x", "more or fewer cells"),
    ],
)
def test_a_factor_that_cannot_be_is_one_sentence_with_its_line(row, words):
    with pytest.raises(FactorError, match=r"f\.csv:2: ") as caught:
        parse_csv(HEAD + row + "\n", name="f.csv")
    assert words in str(caught.value)


def test_the_same_row_twice():
    with pytest.raises(FactorError, match=r"already there \(f.csv:2\)"):
        parse_csv(HEAD + "ncv,coal,,,,1,TJ/Gg,,,,,,x\n" * 2, name="f.csv")
    with pytest.raises(FactorError, match="columns not known: \\['qty'\\]; missing: \\['quantity'\\]"):
        parse_csv("qty,fuel,value,unit,source\n")


@pytest.mark.parametrize("name", ["table.csv", "table.toml"])
def test_tables_are_read_back_as_written(tmp_path, name):
    text = (
        HEAD + 'ncv,煤 "a",,1.A,CN-SX,25000,kJ/kg,,,2.5,2020-01-01,,survey\ngrid,electricity,co2,,CN,0.5,t/MWh,,,,,,y\n'
    )
    table = FactorTable((*ipcc2006().rows, *parse_csv(text).rows), "both", "7")
    back = read_factors(write(table, tmp_path / name), version="7")
    assert back.digest == table.digest or [r.key for r in back.rows] == [r.key for r in table.rows]
    assert [(r.value, r.lower, r.upper, r.sigma, r.source) for r in back.rows] == [
        (r.value, r.lower, r.upper, r.sigma, r.source) for r in table.rows
    ]
    assert back.version == "7"


def test_toml_tables_say_what_is_wrong():
    with pytest.raises(FactorError, match="no TOML"):
        parse_toml("x = ")
    with pytest.raises(FactorError, match="Keys not known: vlaue"):
        parse_toml("[[factor]]\nvlaue = 1\n")


def test_regions():
    assert chain("330106") == ("330106", "330100", "CN-ZJ", "CHN", "")
    assert chain("") == ("",)
    with pytest.raises(RegionError, match="first two digits 99"):
        region("990100")


def test_sigma_of_one_product_by_hand():
    """Independent factors: s² = s_a² + s_n² + s_c²; the interval of natural gas is symmetric enough to be normal."""
    got = estimate(balance(used(100.0, unit="kt", sigma=0.05)), ipcc2006())
    s_n = (50.4 - 46.5) / (2 * 1.959964 * 48.0)
    s_c = (15.9 - 14.8) / (2 * 1.959964 * 15.3)
    relative = math.sqrt(0.05**2 + s_n**2 + s_c**2)
    assert float(approach1(got).sigma[0] / approach1(got).value[0]) == pytest.approx(relative, rel=1e-6)


def test_a_shared_factor_does_not_average_out_and_activities_do():
    table = parse_csv(HEAD + "carbon,natural_gas,co2,,,15.3,kg/GJ,,,4,,,x\noxidation,*,,,,1,1,,,,,,x\n")
    provinces = [f"CN-{code}" for code in ("ZJ", "JS", "SH", "AH")]
    cells = balance(*(used(1000.0, region=code, sigma=0.1) for code in provinces))
    table1 = approach1(estimate(cells, table), by=("period",))
    assert float(table1.sigma[0] / table1.value[0]) == pytest.approx(math.sqrt(0.04**2 + 0.1**2 / 4), rel=1e-9)
    regional = approach1(estimate(cells, table))
    rho = float(regional.covariance[0, 1] / regional.covariance[0, 0])
    assert rho == pytest.approx(0.04**2 / (0.04**2 + 0.1**2), rel=1e-9)


@pytest.mark.parametrize("name", ["sectors", "regions", "years", "factors"])
def test_stated_correlations_are_those_of_the_totals(name):
    """Two equal lines with correlation rho between their activities (or factor rows): Var = 2 s² (1 + rho)."""
    rho = 0.6
    other = {
        "sectors": {"sector": "1.A.2.a"},
        "regions": {"region": "CN-JS"},
        "years": {"period": Period.parse("2020")},
        "factors": {"region": "CN-JS"},
    }[name]
    sigma = "10" if name == "factors" else ""
    rows = "".join(f"carbon,natural_gas,co2,,CN-{code},15.3,kg/GJ,,,{sigma},,,x\n" for code in ("ZJ", "JS"))
    table = parse_csv(HEAD + rows + "oxidation,*,,,,1,1,,,,,,x\n")
    spread = 0.0 if name == "factors" else 0.1
    cells = balance(used(1000.0, sigma=spread), used(1000.0, sigma=spread, **other))
    got = estimate(cells, table, correlations=Correlations(**{name: rho}))
    both = approach1(got, by=("gas",))
    assert float(both.sigma[0]) == pytest.approx(56.1 * 0.1 * math.sqrt(2 * (1 + rho)), rel=1e-9)
    drawn = approach2(got, by=("region", "period", "sector"), draws=20_000, rng=np.random.default_rng(5))
    assert np.corrcoef(drawn.draws.values)[0, 1] == pytest.approx(rho, abs=0.02)


def test_correlations_that_cannot_be():
    with pytest.raises(InventoryError, match="at most 1 together"):
        Correlations(sectors=0.6, regions=0.6)


def several():
    fuels = ("anthracite", "gas_diesel_oil", "natural_gas", "coke_oven_gas")
    return balance(
        *(
            used(1000.0 * (1 + i + j), fuel, region=code, period=Period.parse(year), sector=sector, sigma=0.03)
            for i, fuel in enumerate(fuels)
            for j, (code, sector) in enumerate([("CN-ZJ", "1.A.1.a"), ("CN-ZJ", "1.A.2.f"), ("CN-SX", "1.A.1.a")])
            for year in ("2019", "2020")
        )
    )


def test_approach_2_agrees_with_approach_1_in_the_linear_limit():
    small = parse_csv(
        HEAD
        + "".join(
            f"carbon,{fuel},co2,,,{value},kg/GJ,,,1,,,x\n"
            for fuel, value in [("anthracite", 26.8), ("gas_diesel_oil", 20.2), ("natural_gas", 15.3)]
        )
        + "carbon,coke_oven_gas,co2,,,12.1,kg/GJ,,,2,,,x\noxidation,*,,,,0.98,1,,,0.5,,,x\n"
    )
    got = estimate(several(), small, correlations=Correlations(sectors=0.3, factors=0.5))
    draws = 40_000
    first, second = approach1(got), approach2(got, draws=draws, rng=np.random.default_rng(11))
    error = 1 / math.sqrt(2 * draws)
    np.testing.assert_allclose(second.sigma, first.sigma, rtol=5 * error)
    np.testing.assert_allclose(second.value, first.value, atol=float(5 * first.sigma.max() / math.sqrt(draws)))
    np.testing.assert_allclose(second.upper - second.lower, 2 * 1.96 * first.sigma, rtol=0.03)
    scale = np.sqrt(np.outer(first.sigma, first.sigma))
    np.testing.assert_allclose(np.cov(second.draws.values) / scale**2, first.covariance / scale**2, atol=6 * error)


def test_approach_2_is_lognormal_where_large():
    """Coke oven gas: NCV 38.7 (19.6 to 77.0); the mean is kept, the interval is skew, nothing is negative."""
    got = estimate(balance(used(100.0, "coke_oven_gas", unit="kt")), ipcc2006())
    drawn = approach2(got, draws=40_000, rng=np.random.default_rng(2))
    total = float(got.value[0])
    assert float(drawn.value[0]) == pytest.approx(total, rel=0.01)
    assert float(drawn.upper[0]) - total > 1.5 * (total - float(drawn.lower[0]))
    assert float(drawn.draws.min()) > 0
    ncv = ipcc2006().find("ncv", "coke_oven_gas", region="", period=Y2019)
    assert ncv.relative == pytest.approx(math.sqrt(math.expm1((math.log(77.0 / 19.6) / 3.919928) ** 2)), rel=1e-6)
    assert float(drawn.sigma[0] / drawn.value[0]) == pytest.approx(float(approach1(got).sigma[0]) / total, rel=0.05)


def test_a_lognormal_factor_has_the_mean_and_sigma_that_were_stated():
    table = parse_csv(HEAD + "carbon,natural_gas,co2,,,15,kg/GJ,,,80,,,x\noxidation,*,,,,1,1,,,,,,x\n")
    drawn = approach2(estimate(balance(used(1000.0)), table), draws=60_000, rng=np.random.default_rng(6))
    assert float(drawn.value[0]) == pytest.approx(55.0, rel=0.02)
    assert float(drawn.sigma[0]) == pytest.approx(44.0, rel=0.05)
    assert float(drawn["median"][0]) == pytest.approx(55.0 / math.sqrt(1 + 0.8**2), rel=0.02)


def test_the_same_seed_draws_the_same():
    got = estimate(several(), ipcc2006())
    one, two = (approach2(got, draws=700, rng=np.random.default_rng(4)).draws.values for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_sensitivity_against_a_table_that_was_changed():
    """The elasticity of a factor is what the total does when its row is changed."""
    cells, table = several(), ipcc2006()
    got = estimate(cells, table)
    found = sensitivity(got, region="CN-ZJ", period="2019")
    assert float(found.variance_share.sum()) == pytest.approx(1.0, rel=1e-9)
    name = next(str(n) for n in found.name.values if n.startswith("carbon anthracite"))
    changed = parse_csv(HEAD + "carbon,anthracite,co2,,,27.068,kg/GJ,25.8,27.5,,,,x\n").over(table)
    total = grouped(got, ("region", "period"))[1] @ got.value
    moved = grouped(got, ("region", "period"))[1] @ estimate(cells, changed).value
    elasticity = float(found.elasticity[list(found.name.values).index(name)])
    assert (moved[0] / total[0] - 1) == pytest.approx(0.01 * elasticity, rel=1e-9)
    sigma1 = approach1(got).sigma[0]
    assert found.attrs["total_sigma"] == pytest.approx(float(sigma1), rel=1e-9)


def test_a_difference_is_traced_to_the_input_that_is_wrong():
    """The best estimate given the difference is the conditional mean: by hand for two inputs of one line."""
    table = parse_csv(HEAD + "carbon,natural_gas,co2,,,15.3,kg/GJ,,,8,,,x\noxidation,*,,,,1,1,,,,,,x\n")
    got = estimate(balance(used(1000.0, sigma=0.06)), table)
    found = sensitivity(got, difference=5.61, difference_sigma=0.0)
    assert list(found.kind.values[:2]) == ["carbon", "activity"]
    # 10 % are to be explained by s = 8 % and 6 %: shares 64 and 36 %.
    np.testing.assert_allclose(found.part[:2], [5.61 * 0.64, 5.61 * 0.36], rtol=1e-9)
    np.testing.assert_allclose(found["shift"][:2], [0.8, 0.6], rtol=1e-9)
    np.testing.assert_allclose(found.alone[:2], [0.1 / 0.08, 0.1 / 0.06], rtol=1e-9)
    unsure = sensitivity(got, difference=5.61, difference_sigma=5.61)
    np.testing.assert_allclose(unsure.part.sum(), 5.61 / 2, rtol=1e-9)
    with pytest.raises(InventoryError, match="No line"):
        sensitivity(got, region="CN-XJ")


def test_a_trend_is_known_better_than_its_ends():
    """The same factor row in both years, E 56.1 and 61.71: its error moves the change by a tenth of theirs."""
    table = parse_csv(HEAD + "carbon,natural_gas,co2,,,15.3,kg/GJ,,,8,,,x\noxidation,*,,,,1,1,,,,,,x\n")
    got = estimate(balance(used(1000.0), used(1100.0, period=Period.parse("2020"))), table)
    trend = change(got, "2019", "2020")
    assert float(trend.value[0]) == pytest.approx(5.61)
    assert float(trend.sigma[0]) == pytest.approx(0.08 * 5.61)
    assert float(trend.sigma_apart[0]) == pytest.approx(0.08 * math.hypot(56.1, 61.71))
    with pytest.raises(InventoryError, match="nothing of 2018"):
        change(got, "2018", "2020")


def test_entries_of_an_inventory_with_sums_and_notation_keys():
    cells = balance(
        used(1000.0, sigma=0.05),
        used(500.0, sector="1.A.2.f", sigma=0.05),
        used(None, "lignite", sector="1.A.4.b", notation="NE"),
        used(None, "lignite", notation="NO"),
    )
    made = inventory(estimate(cells, ipcc2006()), source="balance", vintage="2021", categories=("1.A", "0"))
    by_code = {entry.category: entry for entry in made.entries}
    assert set(by_code) == {"1.A.1.a", "1.A.2.f", "1.A", "0", "1.A.4.b"}
    assert by_code["1.A"].value == pytest.approx(84.15)
    assert by_code["1.A"] == by_code["0"] or by_code["1.A"].sigma == by_code["0"].sigma
    shared = 84.15 * (15.9 - 14.8) / (2 * 1.959964 * 15.3)
    assert by_code["1.A"].sigma == pytest.approx(math.hypot(shared, 0.05 * math.hypot(56.1, 28.05)), rel=1e-6)
    assert (by_code["1.A.4.b"].value, by_code["1.A.4.b"].notation) == (None, "NE")
    assert made.ledger(["CN-ZJ"], category="1.A").rate[0] == pytest.approx(84.15)
    assert "factors_ipcc2006.csv 2006" in by_code["0"].place


def test_emissions_as_sectors_by_fuels():
    cells = balance(
        used(1000.0, sigma=0.1),
        used(500.0, label="second"),
        used(2000.0, "anthracite", sector="1.A.2.f"),
        used(7.0, "lignite", region="CN-JS"),
    )
    got = matrix(estimate(cells, ipcc2006()), "CN-ZJ", "2019")
    np.testing.assert_allclose(got.value, [[84.15, np.nan], [np.nan, 2000 * 26.8 * 44 / 12 * 1e-3]])
    assert (list(got.sector.values), list(got.fuel.values)) == (["1.A.1.a", "1.A.2.f"], ["natural_gas", "anthracite"])
    shared = 84.15 * (15.9 - 14.8) / (2 * 1.959964 * 15.3)
    assert float(got.sigma[0, 0]) == pytest.approx(math.hypot(shared, 5.61), rel=1e-6)
    with pytest.raises(InventoryError, match="No line is of region CN-XJ"):
        matrix(estimate(cells, ipcc2006()), "CN-XJ", "2019")


def test_year_by_year_and_prefectures_beside_their_province():
    years = [balance(used(1000.0 + year, period=Period.parse(str(year)))) for year in (2018, 2019)]
    parts = [balance(used(600.0, region="330100")), balance(used(400.0, region="330200"), used(9.0, region="330106"))]
    got = estimate(years[0].joined(years[1], *parts), ipcc2006())
    table = inside(got)
    assert list(table.region.values) == ["CN-ZJ"]
    assert list(table.period.values) == ["2019"]
    assert float(table.province[0]) == pytest.approx(3019 * 0.0561)
    assert float(table.prefectures[0]) == pytest.approx(56.1)
    # All hang on one carbon content, so the difference is known as well as that.
    s_c = (15.9 - 14.8) / (2 * 1.959964 * 15.3)
    assert float(table.sigma[0]) == pytest.approx(s_c * abs(float(table.difference[0])), rel=1e-6)
    with pytest.raises(InventoryError, match="already there"):
        years[0].joined(years[0])


@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 0.5)), min_size=1, max_size=6),
    st.floats(0, 1),
)
@settings(deadline=None, max_examples=50)
def test_sigma_of_a_sum_lies_between_independent_and_wholly_correlated(cells, rho):
    activities = balance(*(used(value, sector=f"1.A.2.{chr(97 + i)}", sigma=s) for i, (value, s) in enumerate(cells)))
    table = parse_csv(HEAD + "carbon,*,co2,,,15,kg/GJ,,,,,,x\noxidation,*,,,,1,1,,,,,,x\n")
    got = estimate(activities, table, correlations=Correlations(sectors=rho))
    sigma = float(approach1(got, by=("region",)).sigma[0])
    parts = np.array([value * 0.055 * s for value, s in cells])
    slack = 1e-9 * (1 + parts.sum())
    assert np.sqrt((parts**2).sum()) - slack <= sigma <= parts.sum() + slack


def test_validity_is_a_whole_period():
    row = ipcc2006().find("grid", "electricity", region="CN-ZJ", period=Period.parse("2021-03"), gas="co2", per="GWh")
    assert (row.valid_from, row.value) == (dt.date(2021, 1, 1), 0.5568)
    with pytest.raises(FactorError, match="no grid"):
        ipcc2006().find("grid", "electricity", region="CN-ZJ", period=Period.parse("2021/2022"), gas="co2", per="GWh")


cell = st.one_of(
    st.sampled_from(
        ["ncv", "natural_gas", "co2", "1.A", "CN-ZJ", "38.9", "TJ/Gg", "kt", "2019", "NE", "nan", "-1", "", '"']
    ),
    st.text(max_size=5),
)


def read_or_faults(reading):
    try:
        return reading(), ()
    except (InventoryError, FactorError) as error:
        return (), error.faults


@given(st.lists(st.lists(cell, min_size=12, max_size=14), max_size=4))
@settings(deadline=None, max_examples=60)
def test_whatever_a_factor_table_holds_it_is_read_or_refused_in_sentences(rows):
    text = HEAD + "".join(",".join(row) + "\n" for row in rows)
    rows, faults = read_or_faults(lambda: parse_csv(text, name="f.csv").rows)
    assert all("f.csv" in fault or "no CSV" in fault for fault in faults)
    assert all(math.isfinite(row.value) for row in rows)


@given(st.lists(st.lists(cell, min_size=6, max_size=8), max_size=4))
@settings(deadline=None, max_examples=60)
def test_whatever_a_balance_holds_it_is_read_or_refused_in_sentences(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("fuzz") / "b.csv"
    head = "region,period,sector,fuel,value,unit,sigma_percent\n"
    path.write_text(head + "".join(",".join(row) + "\n" for row in rows), encoding="utf-8", errors="replace")
    activities, faults = read_or_faults(lambda: read(path).activities)
    assert all("b.csv:" in fault for fault in faults)
    assert all((a.value is None) == bool(a.notation) for a in activities)


def test_countries():
    assert (region("全国"), region("DEU"), chain("DEU")) == ("CHN", "DEU", ("DEU", ""))
    made = estimate(balance(used(1000.0, region="DEU")), ipcc2006())
    assert made.value[0] == pytest.approx(56.1)
