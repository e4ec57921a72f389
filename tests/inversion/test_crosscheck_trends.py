"""Trends of both sides: closed forms, a case in state space, chance, and totals from files."""

import numpy as np
import pytest
import xarray as xr

from inversion.covariance import Dense, Diagonal
from inversion.crosscheck import CrosscheckError, Rule, over_window, stacked, totals, trends
from inversion.crosscheck.cells import cell_coords, period_of
from inversion.inventory import Entry, Inventory
from inversion.inventory.entry import Ledger, Period
from inversion.problem import Problem
from inversion.solve import batch

CODES = ("CN-ZJ", "CN-JS", "CN-SH")
YEARS = tuple(str(year) for year in range(2018, 2024))


def seen_of(inversion, prior, S, M, *, codes=CODES, years=YEARS, covered=None, findings="[]"):
    """Totals of regions by year, the years of a region beside each other."""
    labels = [(code, year) for code in codes for year in years]
    more = {} if covered is None else {"covered": ("region", np.repeat(covered, len(years)))}
    square = ("region", "region_cov")
    return xr.Dataset(
        {
            "prior": ("region", np.ravel(prior)),
            "inversion": ("region", np.ravel(inversion)),
            "prior_covariance": (square, M),
            "inversion_covariance": (square, S),
        },
        cell_coords(labels, "period", more),
        {"units": "kt yr-1", "gas": "ch4", "window": "", "findings": findings},
    )


def ledgers(rate, sigma, *, codes=CODES, years=YEARS):
    """Rates and σ (region, year)."""
    return {
        year: Ledger(codes, rate[:, t], sigma[:, t], ("",) * len(codes), "ch4", "0", "2024", "us", Period.parse(year))
        for t, year in enumerate(years)
    }


def sharp(slope, ledger_slope, *, sigma=2.0, rule=None, noise=None):
    """Regions seen all but whole, years apart; the prior is flat."""
    t = np.arange(len(YEARS)) - 2.5
    size = len(CODES) * len(YEARS)
    level = np.array([[100.0], [200.0], [50.0]])
    inversion = level + np.multiply.outer(slope, t) + (0 if noise is None else noise)
    rate = level + np.multiply.outer(ledger_slope, t)
    seen = seen_of(inversion, level + 0 * t, np.eye(size), 1e6 * np.eye(size))
    return trends(seen, ledgers(rate, np.full(rate.shape, sigma)), rule=rule)


def test_straight_lines_and_independent_years_by_hand():
    """σ² of a slope over years with errors of σ: σ² / Σ (τ - τ̄)²; years of 365.25 days, three of six leap a little."""
    table = sharp([3.0, 0.0, -1.0], [0.0, 0.0, -1.0])
    spread = 1.0 / np.sqrt(17.5)
    np.testing.assert_allclose(table.inversion_trend, [3.0, 0.0, -1.0], atol=2e-3)
    np.testing.assert_allclose(table.inventory_trend, [0.0, 0.0, -1.0], atol=2e-3)
    np.testing.assert_allclose(table.inversion_trend_sigma, spread, rtol=1e-3)
    np.testing.assert_allclose(table.inventory_trend_sigma, 2.0 * spread, rtol=1e-3)
    np.testing.assert_allclose(table.difference, [3.0, 0.0, 0.0], atol=3e-3)
    np.testing.assert_allclose(table.difference_sigma, np.sqrt(5.0) * spread, rtol=1e-3)
    np.testing.assert_allclose(table.share, 1.0, atol=1e-4)
    assert table.verdict.values.tolist() == ["higher", "agree", "agree"]
    assert table.attrs["trend_units"] == "kt yr-2"
    np.testing.assert_allclose(table.difference, table.inversion_trend - table.inventory_smoothed_trend, atol=1e-9)
    assert table.inversion.dims == ("period", "region")
    assert float(table.inventory.sel(period="2018", region="CN-SH")) == pytest.approx(52.5)


def test_errors_that_stay_from_year_to_year_are_none_of_a_trend():
    """With ρ between years the variance of a slope is (1 - ρ) of what independent years give."""
    free, bound = (sharp([3.0, 0, -1], [0, 0, -1], rule=Rule(period_correlation=rho)) for rho in (0.0, 0.9))
    np.testing.assert_allclose(bound.inventory_trend_sigma, np.sqrt(0.1) * free.inventory_trend_sigma, rtol=1e-6)
    assert (bound.difference_sigma < free.difference_sigma).all()


def test_weights_follow_the_covariance():
    """A year of which nothing is known must not turn the trend; against the normal equations written out."""
    rng = np.random.default_rng(1)
    root = rng.normal(size=(6, 9))
    S = root @ root.T
    S[5, 5] += 1e8
    seen = seen_of(rng.normal(size=6), np.zeros(6), S, 1e10 * np.eye(6), codes=("CN-ZJ",))
    table = trends(seen, ledgers(np.zeros((1, 6)), np.ones((1, 6)), codes=("CN-ZJ",)))
    edges = np.array([f"{year}-01-01" for year in (*YEARS, "2024")], "datetime64[D]").astype(float)
    middle = 0.5 * (edges[1:] + edges[:-1]) / 365.25
    middle -= middle.mean()
    X = np.column_stack([np.ones(6), middle])
    V = np.linalg.inv(S)
    b = np.linalg.solve(X.T @ V @ X, X.T @ V @ seen.inversion.values)
    assert float(table.inversion_trend[0]) == pytest.approx(b[1], rel=1e-6)
    assert float(table.inversion_trend_sigma[0]) == pytest.approx(np.sqrt(np.linalg.inv(X.T @ V @ X)[1, 1]), rel=1e-6)


class World:
    """Three regions of two cells by four years, seen by a network with boundary terms left out: all formed."""

    years = YEARS[:4]

    def __init__(self, seed=3, noise=2.0):
        rng = np.random.default_rng(seed)
        P, m = 4, 6
        lag = np.abs(np.subtract.outer(np.arange(P), np.arange(P)))
        place = np.abs(np.subtract.outer(np.arange(m), np.arange(m)))
        self.B = np.kron(0.6**lag, np.exp(-place / 2.0)) * 25.0
        self.H = np.kron(np.eye(P), rng.gamma(1.0, size=(14, m)) * rng.choice([0.1, 1.0], size=(14, m)))
        self.R = noise**2 * np.ones(len(self.H))
        owner = np.kron(np.eye(3), np.ones(2))
        W = np.einsum("rm,ts->rtsm", owner, np.eye(P)).reshape(3 * P, P * m)
        labels = [(code, year) for code in CODES for year in self.years]
        coords = {name: value for name, value in cell_coords(labels, "period").items() if name != "region_cov"}
        self.W = xr.DataArray(W, coords, ("region", "state"), attrs={"units": "kt yr-1", "gas": "ch4"})
        self.x_a = np.full(P * m, 30.0)

    def seen(self, y):
        problem = Problem(
            y=y, H=self.H, R=Diagonal(self.R), x_a=self.x_a, B=Dense(self.B), y_units="1e-9", x_units="mol m-2 s-1"
        )
        return totals(batch(problem), self.W)


def test_the_difference_of_trends_errs_as_often_as_the_rule_says():
    """Truths from B, ledgers with errors that partly stay: z is standard, and so are the alarms."""
    noise = 20.0  # about half of a trend is seen
    world = World(noise=noise)
    rng = np.random.default_rng(8)
    draws, sigma, rho = 150, 3.0, 0.5
    rule = Rule(period_correlation=rho, min_share=0.1)
    quiet = world.seen(world.H @ world.x_a)
    x = np.linalg.cholesky(world.B) @ rng.normal(size=(24, draws))
    y = world.H @ x + noise * rng.normal(size=(len(world.H), draws))
    K = np.linalg.solve(world.H @ world.B @ world.H.T + np.diag(world.R), world.H @ world.B).T
    estimate = world.W.values @ (world.x_a[:, None] + K @ y)
    kept = rng.normal(size=(3, 1, draws))
    error = sigma * (np.sqrt(rho) * kept + np.sqrt(1 - rho) * rng.normal(size=(3, 4, draws)))
    book = (world.W.values @ (world.x_a[:, None] + x)).reshape(3, 4, draws) + error
    z, any_wrong = [], []
    for i in range(draws):
        seen = quiet.assign(inversion=quiet.inversion.copy(data=estimate[:, i]))
        table = trends(seen, ledgers(book[..., i], np.full((3, 4), sigma), years=world.years), rule=rule)
        z.append(table.z.values)
        any_wrong.append(np.isin(table.verdict.values, ["higher", "lower"]).any())
    assert (table.verdict.values != "not resolved").all()
    assert 0.2 < float(table.share.mean()) < 0.8
    assert np.std(z) == pytest.approx(1.0, abs=4 / np.sqrt(2 * 450))
    assert np.mean(z) == pytest.approx(0.0, abs=4 / np.sqrt(450))
    stated = table.attrs["family_wise"]
    print(f"\ntrends of 150 twins: any wrong verdict in {np.mean(any_wrong):.3f} of tables (stated {stated:.3f})")
    assert np.mean(any_wrong) == pytest.approx(stated, abs=3 * np.sqrt(stated * (1 - stated) / 150))


def test_a_ledger_that_errs_in_its_trend_shows_by_the_share_seen():
    """An error of 1 a year in one region moves its difference by -share."""
    world = World()
    seen = world.seen(world.H @ world.x_a)
    rate = np.full((3, 4), 60.0)
    t = np.arange(4) - 1.5
    right = trends(seen, ledgers(rate, np.ones((3, 4)), years=world.years))
    rate[1] += t
    wrong = trends(seen, ledgers(rate, np.ones((3, 4)), years=world.years), rule=Rule(inventory_is_prior=False))
    moved = (wrong.difference - right.difference).values
    assert moved[1] == pytest.approx(-float(wrong.share[1]), rel=2e-3)
    assert 0.3 < float(wrong.share[1]) < 1.0


def test_inversions_of_single_years_are_taken_as_independent():
    whole = seen_of([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], np.zeros((3, 2)), np.eye(6), 9 * np.eye(6), years=YEARS[:2])
    parts = []
    for t, year in enumerate(YEARS[:2]):
        square = ("region", "region_cov")
        parts.append(
            xr.Dataset(
                {
                    "prior": ("region", np.zeros(3)),
                    "inversion": ("region", whole.inversion.values.reshape(3, 2)[:, t]),
                    "prior_covariance": (square, 9 * np.eye(3)),
                    "inversion_covariance": (square, np.eye(3)),
                },
                {"region": list(CODES), "region_cov": list(CODES)},
                {"units": "kt yr-1", "gas": "ch4", "window": year, "findings": "[]"},
            )
        )
    book = ledgers(np.ones((3, 2)), np.ones((3, 2)), years=YEARS[:2])
    xr.testing.assert_allclose(trends(parts, book), trends(whole, book))
    with pytest.raises(CrosscheckError, match="other regions"):
        stacked([parts[0], parts[1].isel(region=[0, 1], region_cov=[0, 1])])
    with pytest.raises(CrosscheckError, match="a trend needs two"):
        trends(parts[:1], book)


def test_missing_years_notation_keys_and_other_gases():
    size = 18
    seen = seen_of(np.full(size, 100.0), np.zeros(size), np.eye(size), 1e4 * np.eye(size))
    entries = [
        Entry(region=code, gas="ch4", period=Period.parse(year), value=100.0, sigma=5.0)
        for code in CODES[:1]
        for year in YEARS[1:]
    ]
    entries += [Entry(region="CN-JS", gas="ch4", period=Period.parse(year), notation="NE") for year in YEARS]
    table = trends(seen, Inventory(tuple(entries)))
    assert table.periods_used.values.tolist() == [5, 0, 0]
    assert table.verdict.values.tolist() == ["agree", "not resolved", "not resolved"]
    assert table.reason.values.tolist() == [
        "", "the ledger says NE (not estimated)", "0 of 6 periods can be compared, a trend needs 2",
    ]  # fmt: skip
    assert np.isnan(table.difference.values[1:]).all()
    assert np.isnan(table.inventory.sel(region="CN-JS")).all()
    with pytest.raises(CrosscheckError, match="nothing of any period"):
        trends(seen, Inventory((Entry(region="CN-ZJ", gas="ch4", period=Period.parse("1990"), value=1.0),)))
    with pytest.raises(CrosscheckError, match="different gases: ch4, co2"):
        trends(seen.assign_attrs(gas="co2"), ledgers(np.ones((3, 6)), np.ones((3, 6))))


def test_a_region_partly_outside_is_not_compared_and_a_refused_inversion_gives_no_verdict():
    size = 18
    seen = seen_of(np.full(size, 100.0), np.zeros(size), np.eye(size), 1e4 * np.eye(size), covered=[1.0, 0.5, 1.0])
    book = ledgers(np.full((3, 6), 100.0), np.ones((3, 6)))
    assert trends(seen, book).verdict.values.tolist() == ["agree", "not resolved", "agree"]
    refused = seen.assign_attrs(findings='[{"grade": "refuse", "code": "x", "sentence": "No."}]')
    assert set(trends(refused, book).verdict.values) == {"not resolved"}


def test_periods_are_named_as_ledgers_name_them():
    assert str(period_of("2024-03-01T00:00:00/2024-04-01T00:00:00")) == "2024-03"
    assert str(period_of("2024-01-01T00:00/2025-01-01T00:00")) == "2024"
    assert str(period_of("2024-03-01T06:00/2024-03-07T18:00")) == "2024-03-01/2024-03-07"
    with pytest.raises(CrosscheckError, match="no period"):
        period_of("soon")


def test_the_sum_over_the_window_weighs_periods_by_their_days():
    seen = seen_of([[10.0, 20.0]] * 3, np.zeros((3, 2)), np.eye(6), 9 * np.eye(6), years=("2019", "2020"))
    whole = over_window(seen)
    np.testing.assert_allclose(whole.inversion, (365 * 10 + 366 * 20) / 731)
    np.testing.assert_allclose(np.diag(whole.inversion_covariance), (365**2 + 366**2) / 731**2)
    assert whole.attrs["window"] == "2019/2020"


def dim(*, covered=None, sigma=None, rate=None, rule=None, inversion=None, S=0.4):
    """Three regions of which 1 - S of the variance was seen, years apart."""
    size = len(CODES) * len(YEARS)
    flat = np.full((3, 6), 100.0)
    sigma = np.full((3, 6), 5.0) if sigma is None else sigma
    own = flat if inversion is None else inversion
    seen = seen_of(own, flat, S * 100.0 * np.eye(size), 100.0 * np.eye(size), covered=covered)
    return trends(seen, ledgers(flat if rate is None else rate, sigma), rule=rule)


def test_what_was_seen_and_what_lies_in_the_domain_both_count():
    """A slope of 1 too many in a ledger of which half lies in the domain and 60 % was seen is found as 1."""
    t = np.arange(6) - 2.5
    rule = Rule(min_covered=0.4)
    covered = np.array([0.5, 0.8, 1.0])
    level = 100.0 / covered[:, None] + np.zeros(6)
    right, wrong = (dim(covered=covered, rate=level + k * t, rule=rule) for k in (0.0, 1.0))
    np.testing.assert_allclose(right.share, 0.6, rtol=1e-6)
    np.testing.assert_allclose(wrong.ledger_difference - right.ledger_difference, -1.0, rtol=2e-3)
    np.testing.assert_allclose(wrong.joint_sigma, wrong.difference_sigma / (0.6 * covered), rtol=1e-6)


def test_a_ledgers_slope_is_weighed_by_the_ledgers_own_errors():
    """Its last year is known ten times worse: what it says there hardly turns the slope."""
    sigma = np.full((3, 6), 2.0)
    sigma[:, 5] = 20.0
    rate = np.full((3, 6), 100.0)
    rate[:, 5] = 160.0
    table = dim(sigma=sigma, rate=rate)
    X = np.column_stack([np.ones(6), np.arange(6.0)])
    V = np.diag(1.0 / sigma[0] ** 2)
    wanted = np.linalg.solve(X.T @ V @ X, X.T @ V @ rate[0])[1]
    np.testing.assert_allclose(table.inventory_trend, wanted, rtol=2e-3)
    assert wanted < 3.0  # even weights would say 8.6


def test_what_is_not_finite_and_two_of_one_time_are_refused():
    broken = np.full((3, 6), 100.0)
    broken[1, 2] = np.nan
    with pytest.raises(CrosscheckError, match=r"inversion holds values that are not finite: CN-JS 2020"):
        dim(inversion=broken)
    seen = [single(window) for window in ("2021", "2021-01/2021-06")]
    with pytest.raises(CrosscheckError, match=r"Two are of one time, 2021.* and 2021"):
        stacked(seen)
    with pytest.raises(CrosscheckError, match=r"Two are of one time, 2021 and 2021"):
        stacked([single("2021"), single("2021")])


def single(window):
    one = seen_of(np.full(3, 1.0), np.full(3, 1.0), np.eye(3), np.eye(3), years=("2021",))
    codes = {"region": list(CODES), "region_cov": list(CODES)}
    return one.drop_vars(["code", "period"]).assign_coords(codes).assign_attrs(window=window)
