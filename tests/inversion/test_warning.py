"""The early warning: adjusted p values, one window by hand, false alarms and power on twins."""

import itertools

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from inversion.covariance import Dense, Diagonal
from inversion.crosscheck import CrosscheckError, totals
from inversion.multiplicity import adjusted
from inversion.problem import Problem
from inversion.solve import batch
from inversion.warning import Experiment, Rule, by_month, rolling, watch, watch_arrays
from inversion.warning.rule import WarningRuleError

probabilities = st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=6)


@given(probabilities, st.floats(0.001, 0.5))
def test_holm_rejects_what_the_closed_test_with_bonferroni_rejects(p, level):
    """Closure: a hypothesis goes when every set it is in has some p at most level over the set's size."""
    got = adjusted(p) <= level
    for i in range(len(p)):
        sets = [s for n in range(1, len(p) + 1) for s in itertools.combinations(range(len(p)), n) if i in s]
        assert got[i] == all(min(p[j] for j in s) * len(s) <= level for s in sets)


@given(probabilities)
def test_benjamini_and_yekutieli_by_the_definition(p):
    m, c = len(p), sum(1 / j for j in range(1, len(p) + 1))
    ranked = sorted(p)
    for level in (0.01, 0.2, 0.7):
        k = max((i for i in range(1, m + 1) if c * m * ranked[i - 1] / i <= level), default=0)
        assert int((adjusted(p, "discoveries") <= level).sum()) >= k
        assert sorted(p)[:k] == sorted(np.array(p)[adjusted(p, "discoveries") <= level])[:k]


def test_what_was_not_tested_does_not_count():
    np.testing.assert_allclose(adjusted([np.nan, 0.02, 0.5]), [np.nan, 0.04, 0.5])
    assert np.isnan(adjusted([np.nan])).all()


@pytest.mark.parametrize(
    "wrong", [{"level": 0.0}, {"months": 0}, {"spans": ()}, {"spans": (3, 1)}, {"min_share": 2}, {"control": "luck"}]
)
def test_a_rule_that_cannot_be(wrong):
    with pytest.raises(WarningRuleError, match=next(iter(wrong))):
        Rule(**wrong)


def test_the_rule_says_what_it_controls():
    assert "at 0.417 % a month: in any 12 months" in str(Rule())
    assert "probability of any warning at all is at most 5 %" in str(Rule())
    assert "at most 10 % are without cause" in str(Rule(level=0.1, control="discoveries"))


def test_one_region_and_two_months_by_hand():
    """A = 0.8 in each month apart; prior 100, express 110 ± 5: d = t̂ - (100 + 0.8 · 10)."""
    M, S, D = np.diag([100.0, 100.0]), np.diag([20.0, 20.0]), np.array([[25.0, 15.0], [15.0, 25.0]])
    table = watch_arrays(
        [150.0, 140.0], [100.0, 100.0], covariance=S, prior_covariance=M, express=[110.0, 110.0], express_covariance=D,
        months=2, rule=Rule(spans=(1, 2)),
    )  # fmt: skip
    assert table.difference.values.tolist() == [[pytest.approx(32.0), pytest.approx(74.0)]]
    # Cov d = Δ + Γ (D - M) Γ = 80 + 0.64 (25 - 100) = 32 in a month, 0.64 · 15 = 9.6 between them.
    np.testing.assert_allclose(table.sigma, [[np.sqrt(32.0), np.sqrt(2 * 32.0 + 2 * 9.6)]])
    np.testing.assert_allclose(table.share, 0.8)
    p = 2 * norm.sf(np.array([32 / np.sqrt(32), 74 / np.sqrt(83.2)]))
    np.testing.assert_allclose(table.p_adjusted, [[max(p[0], 2 * p[1]), 2 * p[1]]])
    assert table.warning.values.tolist() == [["higher", "higher"]]


def test_what_the_network_does_not_see_is_not_tested():
    M, S = np.diag([100.0, 100.0]), np.diag([95.0, 20.0])
    table = watch_arrays(
        [500.0, 0.0], [100.0, 100.0], covariance=S, prior_covariance=M, express=[110.0, np.nan],
        express_covariance=np.eye(2), months=1,
    )  # fmt: skip
    assert table.warning.values.tolist() == [["not tested"], ["not tested"]]
    assert table.attrs["tested"] == 0
    with pytest.raises(CrosscheckError, match="3 cells"):
        watch_arrays([1.0] * 3, [1.0] * 3, covariance=S, prior_covariance=M, express=[1.0] * 3,
                     express_covariance=S, months=3)  # fmt: skip


def network(rng, *, regions=5, months=6, cells=2, observations=12, window=4, prior_is_express=False):
    """Months of observations that see their month, and a third of that of the month before."""
    k, T, m, n = regions, months, regions * cells, observations
    each = rng.uniform(0, 1, (T, n, m)) * (rng.uniform(size=(T, n, m)) < 0.4)
    H = np.zeros((T, n, T, m))
    for t in range(T):
        H[t, :, t] = each[t]
        if t:
            H[t, :, t - 1] = each[t] / 3
    lag = np.abs(np.subtract.outer(np.arange(T), np.arange(T)))
    place = np.abs(np.subtract.outer(np.arange(m), np.arange(m)))
    B = np.kron(0.8**lag, np.exp(-place / 1.5)) * 4.0
    owner = np.kron(np.eye(k), np.ones(cells))
    W = np.einsum("rm,ts->rtsm", owner, np.eye(T)).reshape(k * T, T * m)
    D = np.kron(np.eye(k), 1.5 * 0.9**lag + 0.5 * np.eye(T))
    return Experiment(
        H=H.reshape(T * n, T * m), R=np.full(T * n, 0.5), B=B, W=W, month=np.repeat(np.arange(T), n),
        express_covariance=D, months=T, window=window, prior_is_express=prior_is_express,
    )  # fmt: skip


def test_z_of_every_region_and_span_is_standard():
    """Whoever forgets a covariance between months, or takes a posterior for a truth, fails here."""
    made = network(np.random.default_rng(1), regions=3, months=4, window=3)
    run = made.run(150, rule=Rule(spans=(1, 3), min_share=0.0), rng=np.random.default_rng(2))
    spread = run.z.values[:, 2:].std(axis=0)
    np.testing.assert_allclose(spread, 1.0, atol=5 / np.sqrt(2 * 150))
    np.testing.assert_allclose(run.z.values[:, 2:].mean(axis=0), 0.0, atol=5 / np.sqrt(150))


@pytest.mark.parametrize("prior_is_express", [False, True])
def test_false_alarms_are_as_rare_as_the_rule_says(prior_is_express):
    made = network(np.random.default_rng(3), regions=4, months=5, prior_is_express=prior_is_express)
    rule = Rule(level=0.05, months=5, spans=(1, 3))
    run = made.run(60, rule=rule, rng=np.random.default_rng(4))
    assert run.tested.values.mean() > 0.3
    assert run.attrs["family_wise"] <= 8 / 60  # more has a probability of 0.3 % at 5 %
    # The same z without adjustment for regions, spans and months: most years have an alarm.
    naive = (np.abs(run.z.values) > 1.96) & run.tested.values
    assert naive.any(axis=(1, 2, 3)).mean() > 0.4


def power(made, rule, draws, rng, sigmas):
    """Plant so many joint σ (of the last window's longest span) in the best seen region; say how often it shows."""
    quiet = list(made.windows())[-1]
    zero = np.zeros(quiet.cells.size)
    table = watch_arrays(
        zero, zero, covariance=quiet.covariance, prior_covariance=quiet.prior_covariance, express=zero,
        express_covariance=made.express_covariance[np.ix_(quiet.cells, quiet.cells)],
        months=quiet.cells.size // made.regions, rule=rule,
    )  # fmt: skip
    r = int(np.argmax(table.share.values[:, -1]))
    joint = float(table.sigma[r, -1] / table.share[r, -1]) / int(table.span[-1])
    planted = np.zeros(len(made.W))
    planted[r * made.months : (r + 1) * made.months] = -sigmas * joint
    run = made.run(draws, rule=rule, rng=rng, planted=planted)
    assert (run.z.values[:, -1, r, table.sizes["span"] - 1]).mean() == pytest.approx(sigmas, abs=0.8)
    return float(run.warning.values[:, :, r].any(axis=(1, 2)).mean())


def test_a_planted_error_is_warned_of():
    made = network(np.random.default_rng(3), regions=4, months=5)
    rule = Rule(level=0.05, months=5, spans=(1, 3))
    assert power(made, rule, 20, np.random.default_rng(5), 5.0) >= 0.8


@pytest.mark.soak
@pytest.mark.parametrize("prior_is_express", [False, True])
def test_false_alarms_of_two_hundred_years(prior_is_express):
    made = network(
        np.random.default_rng(7), regions=12, months=12, cells=2, observations=30, window=12,
        prior_is_express=prior_is_express,
    )  # fmt: skip
    rule = Rule()
    run = made.run(200, rule=rule, rng=np.random.default_rng(8))
    naive = ((np.abs(run.z.values) > 1.96) & run.tested.values).any(axis=(1, 2, 3)).mean()
    tests = int(run.tested.values[0].sum())
    print(f"\nfamily-wise {run.attrs['family_wise']:.3f} at {rule.level}, {tests} tests a year, unadjusted {naive:.3f}")
    assert run.attrs["family_wise"] <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)
    if not prior_is_express:
        found = power(made, rule, 200, np.random.default_rng(9), 5.0)
        print(f"power at five joint sigma {found:.3f}")
        assert found >= 0.8


def small(rng, months=("2020-01", "2020-02", "2020-03")):
    """An inversion of two regions by three months by `solve.batch`, and what it saw."""
    T, m = len(months), 4
    H = rng.uniform(0, 1, (18, T * m))
    B = 4.0 * np.kron(0.6 ** np.abs(np.subtract.outer(np.arange(T), np.arange(T))), np.eye(m))
    x_a = np.full(T * m, 10.0)
    y = H @ (x_a + np.linalg.cholesky(B) @ rng.normal(size=T * m)) + 0.3 * rng.normal(size=18)
    problem = Problem(
        y=y, H=H, R=Diagonal(np.full(18, 0.09)), x_a=x_a, B=Dense(B), y_units="1e-9", x_units="mol m-2 s-1"
    )
    plain = np.kron(np.ones(T), np.kron(np.eye(2), np.ones(2)))
    W = xr.DataArray(
        plain, dims=("region", "state"), coords={"region": ["CN-ZJ", "CN-JS"]}, attrs={"units": "Mt yr-1", "gas": "co2"}
    )
    return problem, by_month(W, np.repeat(months, m), months)


def estimates(seen, value, sigma):
    cells = len(value)
    return xr.Dataset(
        {"value": ("cell", value), "covariance": (("cell", "cell_cov"), np.diag(np.full(cells, sigma**2)))},
        coords={"region": ("cell", seen["code"].values), "month": ("cell", seen["month"].values)},
    )


def test_a_window_of_a_real_inversion():
    problem, W = small(np.random.default_rng(11))
    seen = totals(batch(problem), W)
    days = np.tile([31, 29, 31], 2) / 365.25 * 1e3  # Mt yr-1 -> kt a month
    express = estimates(seen, np.full(6, 20.0) * days, 40.0)
    table = watch(seen, express, Rule(spans=(1, 3)))
    direct = watch_arrays(
        seen.inversion.values * days, seen.prior.values * days,
        covariance=seen.inversion_covariance.values * np.outer(days, days),
        prior_covariance=seen.prior_covariance.values * np.outer(days, days),
        express=express.value.values, express_covariance=express.covariance.values, months=3, rule=Rule(spans=(1, 3)),
    )  # fmt: skip
    for name in ("difference", "sigma", "z", "share"):
        np.testing.assert_allclose(table[name], direct[name])
    assert list(table.region.values) == ["CN-ZJ", "CN-JS"]
    assert table.month.item() == "2020-03"
    wrong = express.assign_coords(month=("cell", express.month.values[::-1]))
    with pytest.raises(CrosscheckError, match="other regions or months"):
        watch(seen, wrong)


def test_rolling_says_when_it_warned_first_and_why():
    rng = np.random.default_rng(12)
    windows = []
    for months in [("2020-01", "2020-02", "2020-03"), ("2020-02", "2020-03", "2020-04")]:
        problem, W = small(rng, months)
        seen = totals(batch(problem), W)
        factor = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 0.3 if months[-1] == "2020-04" else 1.0])
        days = np.array([31, 29, 31, 30])[[int(m[-1]) - 1 for m in seen.month.values]]
        windows.append((seen, estimates(seen, seen.inversion.values * factor * days / 365.25 * 1e3, 60.0)))
    table = rolling(windows, Rule(spans=(1, 3)))
    assert list(table.first_warning.values) == ["", "2020-04"]
    assert "2020-04: over the last month the sky holds" in table.attrs["warnings"]
    assert "more than the express estimate of CN-JS" in table.attrs["warnings"]


def test_months_of_a_state_that_are_not_there():
    _, W = small(np.random.default_rng(1))
    plain = xr.DataArray(np.ones((1, 2)), dims=("region", "state"), coords={"region": ["CN-ZJ"]})
    with pytest.raises(CrosscheckError, match="2020-02"):
        by_month(plain, ["2020-01", "2020-01"], ["2020-02"])
    assert W.sizes == {"region": 6, "state": 12}


@given(st.integers(0, 1000))
@settings(deadline=None, max_examples=10)
def test_more_regions_never_make_more_warnings_of_the_same_p(seed):
    rng = np.random.default_rng(seed)
    p = rng.uniform(size=5) ** 3
    few, many = adjusted(p[:3]), adjusted(p)
    assert (many[:3] >= few - 1e-12).all()
