"""Express estimates: sums, closed forms, coverage of intervals on draws, revisions."""

import datetime as dt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inversion.inventory import Entry, Inventory, InventoryError, Period
from inversion.inventory.balance import Activity, Balance
from inversion.inventory.express import (
    History,
    apart,
    chow_lin,
    coverage,
    denton_cholette,
    express,
    fit,
    hold_out,
    monthly,
    months,
    quarters,
    skill,
    vintages,
    years,
)
from inversion.inventory.express.disaggregation import gain


def span(text):
    return Period.parse(text)


def test_january_and_february_in_one_and_the_year_so_far():
    said = {
        "2019-12": 5.0, "2020-01/2020-02": 8.0, "2020-01/2020-03": 12.5, "2020-01/2020-04": 16.0, "2020-05": 3.0,
        "2020-01/2020-06": 23.0, "2020": 50.0,
    }  # fmt: skip
    found = apart((span(text), value) for text, value in said.items())
    assert [(str(p), v) for p, v in found] == [
        ("2019-12", 5.0), ("2020-01/2020-02", 8.0), ("2020-03", 4.5), ("2020-04", 3.5), ("2020-05", 3.0),
        ("2020-06", 4.0), ("2020-07/2020-12", 27.0),
    ]  # fmt: skip
    by_month = monthly(found, months("2020-01", "2020-04"))
    np.testing.assert_allclose(by_month, [8 * 31 / 60, 8 * 29 / 60, 4.5, 3.5])


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"2020-01/2020-02": 8.0, "2020-01/2020-03": 7.0}, "falls"),
        ({"2020-01": 3.0, "2020-02": 4.0, "2020-01/2020-02": 8.0}, "parts sum to 7"),
        ({"2020-01/2020-02": 3.0, "2020-02/2020-03": 4.0}, "overlaps"),
        ({"2020-01": 3.0, "2020-01/2020-03": 9.0, "2020-02/2020-03": 9.0}, "parts sum to 12"),
    ],
)
def test_cumulative_values_that_cannot_be(said, words):
    with pytest.raises(InventoryError, match=words):
        apart(((span(text), value) for text, value in said.items()), what="electricity")


def test_calendar():
    of = months("2019-11", "2021-02")
    assert [str(q) for q in quarters(of)] == [
        "2020-01/2020-03", "2020-04/2020-06", "2020-07/2020-09", "2020-10/2020-12",
    ]  # fmt: skip
    assert [str(y) for y in years(of)] == ["2020"]
    np.testing.assert_array_equal(coverage([span("2020")], of)[0], [0, 0, *[1] * 12, 0, 0])
    with pytest.raises(InventoryError, match="reaches beyond"):
        coverage([span("2019")], of)
    with pytest.raises(InventoryError, match="whole months"):
        coverage([span("2020-03-05")], of)


def spans_of_years(n, extra=0):
    C = np.zeros((n, 12 * n + extra))
    for i in range(n):
        C[i, 12 * i : 12 * (i + 1)] = 1
    return C


@given(
    st.integers(1, 5), st.integers(0, 11), st.integers(0, 10_000), st.floats(1e-3, 1e9),
)  # fmt: skip
@settings(deadline=None, max_examples=40)
def test_sums_equal_the_totals_to_1e_12(n, extra, seed, size):
    rng = np.random.default_rng(seed)
    C = spans_of_years(n, extra)
    p, y = rng.uniform(0.1, 3, 12 * n + extra), size * rng.uniform(0.5, 2, n)
    np.testing.assert_allclose(C @ denton_cholette(p, C, y), y, rtol=1e-12)
    V = 0.8 ** np.abs(np.subtract.outer(np.arange(p.size), np.arange(p.size))) * size**2
    got = chow_lin(p[:, None], V, C, y, total_covariance=np.diag(0.01 * y**2))
    np.testing.assert_allclose(C @ got.mean, y, rtol=1e-12)
    np.testing.assert_allclose(C @ got.covariance @ C.T, np.diag(0.01 * y**2), rtol=1e-6, atol=1e-9 * size**2)


def test_denton_cholette_follows_a_proportional_indicator_and_is_the_minimum():
    rng = np.random.default_rng(1)
    C, p = spans_of_years(3, 4), rng.uniform(1, 2, 40)
    np.testing.assert_allclose(denton_cholette(p, C, C @ p * 7), 7 * p, rtol=1e-9)
    y = C @ p * [1.0, 1.3, 1.1]
    x = denton_cholette(p, C, y)
    np.testing.assert_allclose(x[36:] / p[36:], x[35] / p[35])
    rough = (np.diff(x / p) ** 2).sum()
    for _ in range(20):
        step = rng.normal(size=40) * 1e-3
        step[:36] -= np.repeat(C[:, :36] @ step[:36] / 12, 12)  # keeps the sums
        assert (np.diff((x + step) / p) ** 2).sum() >= rough - 1e-12


def test_what_cannot_be_disaggregated():
    with pytest.raises(InventoryError, match="zero or negative"):
        denton_cholette([1.0, 0.0], [[1, 1]], [2.0])
    with pytest.raises(InventoryError, match="belongs to two totals"):
        denton_cholette([1.0, 1.0], [[1, 1], [0, 1]], [2.0, 1.0])
    with pytest.raises(InventoryError, match=r"shape \(1, 3\)"):
        denton_cholette([1.0, 1.0], [[1, 1, 1]], [2.0])
    with pytest.raises(InventoryError, match="not finite"):
        denton_cholette([1.0, 1.0], [[1, 1]], [np.nan])


def test_chow_lin_is_the_conditional_mean_under_a_wide_prior_of_the_coefficients():
    """An independent way: x = X b + u with b ~ N(0, big), given C x = y exactly."""
    rng = np.random.default_rng(3)
    X, C = np.column_stack([rng.uniform(1, 2, 40), np.ones(40)]), spans_of_years(3, 4)
    V = 0.7 ** np.abs(np.subtract.outer(np.arange(40), np.arange(40)))
    y = rng.normal(30, 3, 3)
    got = chow_lin(X, V, C, y)
    whole = V + 1e6 * X @ X.T
    weights = np.linalg.solve(C @ whole @ C.T, C @ whole).T
    np.testing.assert_allclose(got.mean, weights @ y, rtol=1e-3)
    np.testing.assert_allclose(np.diag(got.covariance), np.diag(whole - weights @ C @ whole), rtol=5e-3, atol=1e-4)


def test_the_gain_is_unbiased():
    rng = np.random.default_rng(4)
    X, C = rng.uniform(1, 2, (40, 2)), spans_of_years(3, 4)
    L = gain(X, np.diag(rng.uniform(1, 2, 40)), C, np.eye(3))
    np.testing.assert_allclose(L @ C @ X, X, rtol=1e-8)
    np.testing.assert_allclose(C @ L, np.eye(3), atol=1e-10)


def simulated(rng, n=14, extra=6, *, beta=0.8, tau=0.06, rho=0.6, sigma=0.02):
    """Months that hang on an indicator with an error that grows with it, and annual reports of them."""
    m = 12 * n + extra
    activity = 100 * 1.04 ** (np.arange(m) / 12) * (1 + 0.15 * np.sin(2 * np.pi * np.arange(m) / 12))
    activity *= np.exp(0.1 * rng.normal(size=m // 12 + 1).cumsum()[np.arange(m) // 12])
    noise = np.linalg.cholesky(rho ** np.abs(np.subtract.outer(np.arange(m), np.arange(m)))) @ rng.normal(size=m)
    truth = activity * (beta + beta * tau * noise)
    C = spans_of_years(n, extra)
    spread = sigma * C @ truth
    return activity[:, None], truth, C, C @ truth + spread * rng.normal(size=n), spread


def test_the_relation_is_found():
    """Its coefficient within its σ, over many draws; the errors of an estimate of a year are of the size stated."""
    z, miss = [], []
    for seed in range(24):
        X, truth, C, y, spread = simulated(np.random.default_rng(seed))
        relation = fit(X, C, y, sigma=spread)
        z.append((relation.beta[0] - 0.8) / np.sqrt(relation.beta_covariance[0, 0]))
        got = chow_lin(X, relation.covariance(X), C, y, total_covariance=np.diag(spread**2))
        ahead = np.r_[np.zeros(14 * 12), np.ones(6)]
        miss.append(ahead @ (got.mean - truth) / np.sqrt(ahead @ got.covariance @ ahead))
    assert np.std(z) == pytest.approx(1.0, abs=0.35)
    assert abs(np.mean(z)) < 4 / np.sqrt(24)
    assert np.std(miss) == pytest.approx(1.0, abs=0.35)


def test_equal_indicators_in_closed_form():
    """Equal indicators, no σ: β̂ is the mean; the posterior of an annual σ that is uniform beforehand has, for n - 1 = k

    degrees of freedom of equally weighted deviations, the mean square Σr² / (k - 3).
    """
    rng = np.random.default_rng(8)
    n = 12
    C, X = np.zeros((n, 96 * n)), np.ones((96 * n, 1))
    for i in range(n):
        C[i, 96 * i] = 1.0  # far apart, so that no correlation matters
    y = 120 + 5 * rng.normal(size=n)
    relation = fit(X, C, y, sigma=np.zeros(n))
    assert relation.beta[0] == pytest.approx(y.mean(), rel=1e-3)
    assert relation.tau**2 == pytest.approx(((y - y.mean()) ** 2).sum() / (n - 1 - 3), rel=0.03)
    assert relation.weight.sum() == pytest.approx(1.0)
    assert relation.covariance(X)[0, 0] == pytest.approx(relation.tau**2)


def test_errors_grow_with_activity_where_they_do():
    powers = {True: [], False: []}
    for seed in range(4):
        rng = np.random.default_rng(100 + seed)
        activity = np.repeat(np.geomspace(10, 1000, 25), 12)
        for growing, found in powers.items():
            size = 0.05 * (activity if growing else 300)
            C = spans_of_years(25)
            y = C @ (0.8 * activity + size * np.repeat(rng.normal(size=25), 12))
            found.append(fit(activity[:, None], C, y, sigma=np.full(25, 1e-6)).gamma)
    assert min(powers[True]) > 0.9
    assert max(powers[False]) < 0.1


def test_too_few_totals_and_missing_indicators():
    X, _, C, y, spread = simulated(np.random.default_rng(0))
    with pytest.raises(InventoryError, match="2 totals are too few for 1 indicators"):
        fit(X, C[:2], y[:2], sigma=spread[:2])
    X[5] = np.nan
    with pytest.raises(InventoryError, match="missing in 1 months"):
        fit(X, C, y, sigma=spread)
    with pytest.raises(InventoryError, match="leave none to hold out"):
        hold_out(X, C[:5], y[:5], sigma=spread[:5])


def test_hold_out_has_skill_over_last_year_and_intervals_that_hold():
    held = [
        hold_out(X, C, y, sigma=spread, least=10)
        for seed in range(10)
        for X, _, C, y, spread in [simulated(np.random.default_rng(seed))]
    ]
    inside = np.mean([one.attrs["coverage"] for one in held])
    assert 0.85 <= inside <= 1.0  # 40 totals at 95 %: five σ are 0.17
    assert np.mean([one.attrs["skill"] for one in held]) > 0.3
    shuffled = np.random.default_rng(0).permutation(14)
    X, _, C, y, spread = simulated(np.random.default_rng(1))
    assert hold_out(X, C, y[shuffled], sigma=spread, least=10).attrs["skill"] < 0.9


def case(n=10, until=6, seed=5, codes=("CN-ZJ", "CN-JS")):
    """Annual inventories and monthly electricity as it is published: two months in one, then the year so far."""
    entries, cells, truths = [], [], {}
    for k, code in enumerate(codes):
        X, truth, _, y, spread = simulated(np.random.default_rng(seed + k), n=n + 1)
        truths[code] = truth
        for i in range(n + 1):
            entries.append(
                Entry(
                    region=code, gas="co2", category="1.A.1.a", period=span(str(2010 + i)), value=y[i], sigma=spread[i]
                )
            )
            sofar = 0.0
            for month in range(1, 13):
                sofar += X[12 * i + month - 1, 0]
                if month > 1 and (i < n or month <= until):
                    text = f"{2010 + i}-01/{2010 + i}-{month:02d}"
                    cells.append(
                        Activity(
                            region=code,
                            period=span(text),
                            sector="1.A.1.a",
                            fuel="electricity",
                            value=sofar,
                            unit="GWh",
                        )
                    )
    return Inventory(tuple(entries)), Balance(tuple(cells)), truths


def test_months_and_quarters_of_provinces_before_the_report():
    everything, electricity, truths = case()
    reported = Inventory(tuple(e for e in everything.entries if str(e.period) != "2020"))
    got = express(reported, electricity, vintage="2020-07")
    by_month, by_quarter = got.inventory("month"), got.inventory("quarter", since="2020-01")
    assert [str(e.period) for e in by_quarter.entries[:2]] == ["2020-01/2020-03", "2020-04/2020-06"]
    assert {e.vintage for e in by_month.entries} == {"2020-07"}
    for year in range(2010, 2020):
        for code in truths:
            total = next(e for e in reported.entries if e.region == code and str(e.period) == str(year))
            parts = [e.value for e in by_month.entries if e.region == code and e.period.start.year == year]
            assert sum(parts) == pytest.approx(total.value, rel=1e-12)
            whole = next(e for e in got.inventory("year").entries if e.region == code and e.period == total.period)
            assert whole.sigma == pytest.approx(total.sigma, rel=1e-6)
    for e in by_quarter.entries:
        start = 120 + e.period.start.month - 1
        assert abs(e.value - truths[e.region][start : start + 3].sum()) < 4 * e.sigma
    one = got.series[0]
    assert str(one.combined[0]) == "2010-01/2010-02"
    assert one.reported.sum() == 120


def test_the_annual_report_revises_and_every_release_is_kept(tmp_path):
    everything, electricity, _ = case(until=12)
    reported = Inventory(tuple(e for e in everything.entries if str(e.period) != "2020"))
    before, after = (
        express(ledger, electricity, vintage=name) for ledger, name in [(reported, "a"), (everything, "b")]
    )
    history = (
        History()
        .add(before.inventory(since="2020-01"), vintage="2021-01", date=dt.date(2021, 1, 20), reason="month 2020-12")
        .add(after.inventory(since="2020-01"), vintage="2021-10", date=dt.date(2021, 10, 1), reason="report of 2020")
    )
    months_then = {e.period: e for e in history.as_of(dt.date(2021, 6, 1)).entries if e.region == "CN-ZJ"}
    assert {e.vintage for e in months_then.values()} == {"2021-01"}
    now = [e for e in history.as_of(dt.date(2022, 1, 1)).entries if e.region == "CN-ZJ"]
    report = next(e for e in everything.entries if e.region == "CN-ZJ" and str(e.period) == "2020")
    assert sum(e.value for e in now) == pytest.approx(report.value, rel=1e-12)
    assert sum(e.value for e in months_then.values()) != pytest.approx(report.value, rel=1e-6)
    revised = history.revisions(region="CN-ZJ", category="1.A.1.a", period="2020-07")
    assert list(revised.vintage.values) == ["2021-01", "2021-10"]
    whole = [
        next(e.sigma for e in one.inventory("year", since="2020").entries if e.region == "CN-ZJ")
        for one in (before, after)
    ]
    assert whole[1] == pytest.approx(report.sigma, rel=1e-6)
    assert whole[1] < whole[0]
    assert abs(float(revised.z[1])) < 4
    assert len(history.everything().entries) == 2 * len(before.inventory(since="2020-01").entries)
    back = vintages.read(vintages.write(history, tmp_path / "releases"))
    assert back == history
    with pytest.raises(InventoryError, match=r"already there.*older than the last"):
        history.add(Inventory(()), vintage="2021-01", date=dt.date(2020, 1, 1), reason="x")
    with pytest.raises(InventoryError, match="No release has"):
        history.revisions(region="CN-XJ", category="0", period="2020")
    with pytest.raises(InventoryError, match=r"no releases\.csv"):
        vintages.read(tmp_path)


def test_skill_of_every_series_and_what_stands_in_the_way():
    everything, electricity, _ = case(until=12)
    table = skill(everything, electricity, least=8)
    assert list(table.region.values) == ["CN-JS", "CN-ZJ"]
    assert (table.coverage >= 0.3).all()
    bare = Inventory(tuple(Entry(region="CN-ZJ", gas="co2", period=span("2019"), value=1.0) for _ in range(1)))
    with pytest.raises(InventoryError, match="state no uncertainty"):
        express(bare, electricity, vintage="x")
    with pytest.raises(InventoryError, match="both electricity and annual totals"):
        express(bare, electricity, vintage="x", sigma=0.1)
    holes = Balance(tuple(a for a in electricity.activities if a.period.start.year != 2015))
    with pytest.raises(InventoryError, match=r"CN-JS 1\.A\.1\.a: It is missing in 2015-01, 2015-02"):
        express(everything, holes, vintage="x")
    with pytest.raises(InventoryError, match="'week' is none of month, quarter, year"):
        express(everything, electricity, vintage="x").inventory("week")


def test_regions_side_by_side_for_the_early_warning():
    everything, electricity, _ = case(until=12)
    got = express(everything, electricity, vintage="x")
    of = months("2020-01", "2020-03")
    cells = got.regions(["CN-ZJ", "CN-XZ"], "1.A.1.a", of)
    values, covariance = got.series[1].over(of)
    np.testing.assert_allclose(cells.value.values, [*values, np.nan, np.nan, np.nan])
    np.testing.assert_allclose(cells.covariance.values[:3, :3], covariance)
    assert np.isnan(np.diag(cells.covariance.values)[3:]).all()


@pytest.mark.soak
def test_intervals_over_many_series():
    """Months since the last report, and whole years before their report."""
    inside, held = [], []
    for seed in range(200):
        X, truth, C, y, spread = simulated(np.random.default_rng(seed))
        relation = fit(X, C, y, sigma=spread)
        got = chow_lin(X, relation.covariance(X), C, y, total_covariance=np.diag(spread**2))
        inside.append(np.abs(got.mean - truth)[-6:] <= 1.96 * np.sqrt(np.diag(got.covariance))[-6:])
        if seed < 60:
            held.append(hold_out(X, C, y, sigma=spread, least=10).attrs)
    skills = np.array([one["skill"] for one in held])
    share = np.mean([one["coverage"] for one in held])
    print(f"\n95 % interval: months {np.mean(inside):.3f}, years held out {share:.3f}; skill {np.median(skills):.2f}")
    assert np.mean(inside) == pytest.approx(0.95, abs=0.04)
    assert share == pytest.approx(0.95, abs=0.05)
