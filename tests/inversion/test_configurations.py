"""An ensemble of configurations: each by name, the range over them, and what is left out."""

import functools
import json

import numpy as np
import pytest
import xarray as xr
from distributed import Client

from inversion import InversionError, Problem, crosscheck, solve
from inversion.configurations import solve_each
from inversion.covariance import Diagonal, Scaled
from inversion.inventory.entry import Ledger, Period
from tests.inversion.cases import problem


def case(seed=0, *, scale=1.0, raised=0.0, p=4):
    """Same sensitivities; another prior error, another background under the same observations."""
    plain, _ = problem(np.random.default_rng(seed), n=30, p=p, q=3, boundary=0)
    above = plain.y + raised * plain.simulate(np.ones(3 * p))
    return Problem(
        y=above,
        H=plain.H,
        R=plain.R,
        x_a=plain.x_a,
        B=Scaled(plain.B, scale),
        y_units="nmol mol-1",
        x_units="1",
    )


def regions(m=12):
    W = np.random.default_rng(5).uniform(size=(3, m))
    coords = {"region": ["CN-AH", "CN-JS", "CN-SH"]}
    return xr.DataArray(W, dims=("region", "state"), coords=coords, attrs={"units": "kt yr-1", "gas": "ch4"})


CASES = {"reference": case(), "wide prior": case(scale=2.0), "low background": case(raised=0.8)}


@pytest.fixture(scope="module")
def table():
    return solve_each(CASES, regions())


def test_every_member_is_there_by_name(table):
    for name, member in CASES.items():
        posterior = solve.batch(member)
        one = table.sel(configuration=name)
        np.testing.assert_allclose(one["inversion"], posterior.total(regions()))
        np.testing.assert_allclose(one["inversion_sigma"], posterior.stdev(regions()))
        np.testing.assert_allclose(one["inversion_covariance"], posterior.covariance(regions()))
        np.testing.assert_allclose(one["prior"], posterior.prior_total(regions()))
        np.testing.assert_allclose(one["prior_covariance"], posterior.prior_covariance(regions()))
        assert float(one["chi2_reduced"]) == pytest.approx(posterior.diagnostics.chi2_reduced)
        assert [f["code"] for f in json.loads(str(one["findings"].values))] == [f.code for f in posterior.findings]
    assert table["region_cov"].values.tolist() == ["CN-AH", "CN-JS", "CN-SH"]
    assert table["inversion"].attrs["units"] == "kt yr-1"


def test_median_range_and_spread_are_those_of_the_members(table):
    values = table["inversion"].values
    np.testing.assert_allclose(table["median"], np.sort(values, axis=0)[1])
    np.testing.assert_allclose(table["low"], values.min(axis=0))
    np.testing.assert_allclose(table["high"], values.max(axis=0))
    np.testing.assert_allclose(table["spread"], np.std(values, axis=0, ddof=1))
    np.testing.assert_allclose(table["combined_sigma"] ** 2, table["spread"] ** 2 + table["within"] ** 2)
    for i in range(3):
        assert (
            float(table["inversion"].sel(configuration=str(table["highest"].values[i]))[i]) == table["high"].values[i]
        )
        assert float(table["inversion"].sel(configuration=str(table["lowest"].values[i]))[i]) == table["low"].values[i]


def test_configurations_further_apart_than_their_own_errors_are_remarked_on(table):
    found = {f["code"]: f for f in json.loads(table.attrs["findings"])}
    assert "low background" in found["spread"]["sentence"]
    near = solve_each({"a": case(), "b": case(scale=1.01)}, regions())
    assert json.loads(near.attrs["findings"]) == []


def test_one_that_is_refused_is_left_out_of_the_range_and_named(table):
    plain, _ = problem(np.random.default_rng(0), n=30, p=4, q=3, boundary=2)
    bad = Problem(
        y=plain.y + 1000, H=plain.H, R=plain.R, x_a=plain.x_a, B=plain.B, H_b=plain.H_b, b_a=plain.b_a, B_b=plain.B_b
    )

    def broken():
        Problem(y=[1.0], H=[[np.nan]], R=Diagonal([1.0]), x_a=[1.0], B=Diagonal([1.0]), y_units="1", x_units="1")

    found = solve_each({**CASES, "no baseline": bad, "broken": broken}, regions())
    assert found["usable"].values.tolist() == [True, True, True, False, False]
    np.testing.assert_allclose(found["low"], table["low"])
    np.testing.assert_allclose(found["median"], table["median"])
    assert np.isfinite(found["inversion"].sel(configuration="no baseline")).all()
    assert np.isnan(found["inversion"].sel(configuration="broken")).all()
    (finding,) = [f for f in json.loads(found.attrs["findings"]) if f["code"] == "left_out"]
    assert "no baseline (" in finding["sentence"]
    assert "baseline cannot be" in finding["sentence"]
    assert "H is nan" in finding["sentence"]


def test_states_may_differ_as_long_as_the_regions_are_the_same():
    fine = regions(15).copy(data=np.repeat(regions().values[:, :5], 3, axis=1))
    table = solve_each({"coarse": case(), "fine": case(p=5)}, {"coarse": regions(), "fine": fine})
    np.testing.assert_allclose(table["inversion"].sel(configuration="fine"), solve.batch(case(p=5)).total(fine))


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_the_same_on_any_scheduler(scheduler, table):
    xr.testing.assert_equal(solve_each(CASES, regions(), scheduler=scheduler), table)


def test_the_same_on_a_cluster_where_it_is_assembled_on_the_workers(table):
    makers = {
        "reference": case,
        "wide prior": functools.partial(case, scale=2.0),
        "low background": functools.partial(case, raised=0.8),
    }
    with Client(n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0") as client:
        xr.testing.assert_allclose(solve_each(makers, regions(), scheduler=client), table)


def test_any_solver_will_do(table):
    found = solve_each(CASES, regions(), options={"form": "root"})
    np.testing.assert_allclose(found["inversion"], table["inversion"], rtol=1e-9)


def test_it_survives_netcdf(table, tmp_path):
    table.to_netcdf(tmp_path / "ensemble.nc")
    with xr.open_dataset(tmp_path / "ensemble.nc") as back:
        np.testing.assert_allclose(back["high"], table["high"])
        assert back["highest"].values.tolist() == table["highest"].values.tolist()


def test_one_alone_has_no_range():
    found = solve_each({"only": case()}, regions())
    assert np.isnan(found["spread"]).all()
    assert "one_configuration" in found.attrs["findings"]


@pytest.mark.parametrize(
    ("problems", "aggregate", "words"),
    [
        ({}, regions(), "no configurations"),
        ({"a": case()}, {"b": regions()}, "a, b has only one"),
        ({"a": case(), "b": case()}, {"a": regions(), "b": regions()[::-1]}, "aggregates of b are not those of a"),
        ({"a": case(), "b": case()}, {"a": regions(), "b": regions().assign_attrs(units="t")}, "'t'"),
        ({"a": case()}, regions(9), "No configuration is usable. a: The aggregate has shape"),
    ],
)
def test_what_does_not_fit_is_refused(problems, aggregate, words):
    with pytest.raises(InversionError, match=words):
        solve_each(problems, aggregate)


def comparison(posterior):
    keys = ("", "", "")
    codes = ("CN-AH", "CN-JS", "CN-SH")
    rate = np.array([6.0, 6.5, 5.5])
    ledger = Ledger(codes, rate, 0.1 * rate, keys, "ch4", "0", "2024", "made up", Period.parse("2023"))
    return crosscheck.compare(posterior, ledger, regions())


def test_the_range_stands_beside_the_cross_check(table):
    plain = comparison(solve.batch(CASES["reference"]))
    found = crosscheck.with_range(plain, table)
    for ours, theirs in (("median", "median"), ("low", "low"), ("high", "high"), ("spread", "spread")):
        np.testing.assert_allclose(found[f"inversion_{ours}"], table[theirs])
    assert (found["inversion_low"] <= found["inversion"]).all()
    assert (found["inversion"] <= found["inversion_high"]).all()
    assert found.attrs["configurations"] == "reference, wide prior, low background"
    seen = plain["inventory_smoothed"].values
    outside = (table["low"].values >= seen) | (seen >= table["high"].values)
    assert found["one_sided"].values.tolist() == outside.tolist()
    xr.testing.assert_equal(found[list(plain.data_vars)], plain)
    assert "configurations" not in plain.attrs


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.isel(region=[1, 0, 2]), "another order"),
        (lambda t: t.isel(region=[0, 1]), "CN-SH"),
        (lambda t: t.assign(inversion=t["inversion"].assign_attrs(units="t yr-1")), "are in t yr-1"),
    ],
)
def test_a_range_over_something_else_is_refused(table, change, words):
    with pytest.raises(crosscheck.CrosscheckError, match=words):
        crosscheck.with_range(comparison(solve.batch(CASES["reference"])), change(table))
