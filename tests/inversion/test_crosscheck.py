"""The comparison against closed forms, against the same thing in state space, and against chance."""

import json
import math
from statistics import NormalDist

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from inversion import crosscheck
from inversion.covariance import Dense, Diagonal
from inversion.crosscheck import (
    CrosscheckError,
    Design,
    Rule,
    compare,
    compare_arrays,
    joint_sigma,
    total,
    totals_kernel,
)
from inversion.inventory.entry import Ledger, Period
from inversion.problem import Problem
from inversion.solve import batch

CODES = ("CN-ZJ", "CN-JS", "CN-SH")
NAMES = {"name_zh": ("region", ["浙江", "江苏", "上海"]), "name_en": ("region", ["Zhejiang", "Jiangsu", "Shanghai"])}


def covariance(rng, size, scale=1.0):
    root = rng.normal(size=(size, size + 3))
    return scale * root @ root.T / size


class Case:
    """A small inversion with boundary terms, everything formed, nothing shared with the code under test."""

    def __init__(self, seed, *, m=12, n=20, k=3, p=2):
        rng = np.random.default_rng(seed)
        self.rng = rng
        self.H = rng.gamma(1.0, size=(n, m)) * rng.choice([0.05, 1.0], size=(n, 1))
        self.H_b = rng.normal(size=(n, p))
        self.B, self.B_b = covariance(rng, m), covariance(rng, p)
        self.R = np.diag(rng.uniform(0.5, 3.0, n))
        self.x_a = rng.normal(3, 1, m)
        self.b_a = rng.normal(size=p)
        self.W = rng.uniform(0.2, 1, (k, m)) * (rng.permutation(m)[None] % k == np.arange(k)[:, None])
        noise = self.R + self.H_b @ self.B_b @ self.H_b.T
        self.K = self.B @ self.H.T @ np.linalg.inv(self.H @ self.B @ self.H.T + noise)
        self.A = self.K @ self.H
        self.noise = self.K @ noise @ self.K.T
        self.M = self.W @ self.B @ self.W.T
        self.S = self.W @ (self.B - self.A @ self.B) @ self.W.T

    def posterior(self, y):
        return batch(
            Problem(
                y=y,
                H=self.H,
                R=Diagonal(np.diag(self.R)),
                x_a=self.x_a,
                B=Dense(self.B),
                H_b=self.H_b,
                b_a=self.b_a,
                B_b=Dense(self.B_b),
                y_units="nmol mol-1",
                x_units="mol m-2 s-1",
            )
        )

    def aggregate(self):
        coords = {"region": list(CODES[: len(self.W)])} | NAMES
        return xr.DataArray(
            self.W,
            dims=("region", "state"),
            coords=coords,
            attrs={"units": "kt yr-1", "gas": "ch4", "window": "2023-07"},
        )

    def in_state_space(self, inventory, D):
        """d and its covariance as they are defined, with S_inv formed."""
        G = self.B @ self.W.T @ np.linalg.inv(self.M)
        x_inv = self.x_a + G @ (inventory - self.W @ self.x_a)
        S_inv = self.B - G @ self.W @ self.B + G @ D @ G.T
        smoothed = self.W @ (self.x_a + self.A @ (x_inv - self.x_a))
        return smoothed, self.W @ (self.A @ S_inv @ self.A.T + self.noise) @ self.W.T


def ledger(rate, sigma, *, notation=None, codes=CODES, gas="ch4"):
    rate, sigma = np.asarray(rate, dtype=float), np.asarray(sigma, dtype=float)
    keys = tuple(notation or [""] * len(rate))
    return Ledger(codes, rate, sigma, keys, gas, "0", "2024", "made up", Period.parse("2023"))


def totals(inversion, prior, S, M, *, covered=None, findings=()):
    k = len(inversion)
    coords = {"region": list(CODES[:k]), "region_cov": list(CODES[:k])}
    coords |= {name: (dim, values[:k]) for name, (dim, values) in NAMES.items()}
    if covered is not None:
        coords["covered"] = ("region", covered)
    square = ("region", "region_cov")
    return xr.Dataset(
        {
            "prior": ("region", prior),
            "inversion": ("region", inversion),
            "prior_covariance": (square, M),
            "inversion_covariance": (square, S),
        },
        coords=coords,
        attrs={"units": "kt yr-1", "gas": "ch4", "window": "", "findings": json.dumps(list(findings))},
    )


@given(seed=st.integers(0, 10**6), matched=st.booleans())
@settings(max_examples=30, deadline=None)
def test_equals_the_definition_in_state_space(seed, matched):
    case = Case(seed)
    rng = np.random.default_rng(seed + 1)
    inventory = case.W @ case.x_a + rng.normal(size=3)
    D = case.M if matched else np.diag(rng.uniform(0.01, 4, 3) * np.diag(case.M))
    x_hat = case.x_a + case.K @ rng.normal(size=20)
    made = compare_arrays(
        case.W @ x_hat,
        case.W @ case.x_a,
        covariance=case.S,
        prior_covariance=case.M,
        inventory=inventory,
        inventory_covariance=D,
    )
    smoothed, spread = case.in_state_space(inventory, D)
    np.testing.assert_allclose(made.inventory, smoothed, rtol=1e-8)
    np.testing.assert_allclose(made.difference, case.W @ x_hat - smoothed, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(made.covariance, spread, rtol=1e-7, atol=1e-10)
    if matched:  # S_inv = B: the whole spread of x_hat around the prior
        np.testing.assert_allclose(made.covariance, case.W @ case.A @ case.B @ case.W.T, rtol=1e-7, atol=1e-10)


def test_one_region_has_its_closed_form():
    a, prior_sigma, sigma = 0.8, 10.0, 4.0
    made = compare_arrays(
        [130.0],
        [100.0],
        covariance=[[(1 - a) * prior_sigma**2]],
        prior_covariance=[[prior_sigma**2]],
        inventory=[110.0],
        inventory_covariance=[[sigma**2]],
    )
    assert made.kernel[0, 0] == pytest.approx(a)
    assert made.inventory[0] == pytest.approx(100 + a * 10)
    assert made.difference[0] == pytest.approx(22)
    # a² σ² for the ledger, a (1 - a) σ_prior² for the noise of the inversion.
    assert made.covariance[0, 0] == pytest.approx(a**2 * sigma**2 + a * (1 - a) * prior_sigma**2)


def test_uses_the_posterior_of_the_solver(tmp_path):
    case = Case(3)
    y = case.H @ case.x_a + case.H_b @ case.b_a + case.rng.normal(size=20)
    posterior = case.posterior(y)
    inventory = case.W @ case.x_a * 1.1
    sigma = 0.2 * np.abs(inventory)
    table = compare(posterior, ledger(inventory, sigma), case.aggregate(), rule=Rule(min_share=0.0))
    smoothed, spread = case.in_state_space(inventory, np.diag(sigma**2))
    innovation = y - case.H @ case.x_a - case.H_b @ case.b_a
    np.testing.assert_allclose(table.difference, case.W @ (case.x_a + case.K @ innovation) - smoothed, rtol=1e-6)
    np.testing.assert_allclose(table.difference_covariance, spread, rtol=1e-7)
    np.testing.assert_allclose(table.z, table.difference / np.sqrt(np.diag(spread)))
    # The same from the posterior's own averaging kernel and noise.
    WA = posterior.averaging_kernel(case.W).values
    G = case.B @ case.W.T @ np.linalg.inv(case.M)
    S_inv = case.B - G @ case.W @ case.B + G @ np.diag(sigma**2) @ G.T
    other = WA @ S_inv @ WA.T + posterior.noise_covariance(case.W).values
    np.testing.assert_allclose(table.difference_covariance, other, rtol=1e-6)
    assert json.loads(table.attrs["diagnostics"])["chi2"] > 0
    assert table.attrs["window"] == "2023-07"
    table.to_netcdf(tmp_path / "table.nc")  # attributes and texts are what a file can hold


def test_false_alarms_are_as_many_as_the_level_says():
    """The ledger is the prior; truth is drawn from its uncertainty. Two sigma: nominal 4.55 %."""
    case = Case(11, m=6, n=8, k=1, p=1)
    rng = np.random.default_rng(5)
    draws = 200_000
    root = np.linalg.cholesky(case.B)
    noise = np.linalg.cholesky(case.noise + 1e-12 * np.eye(6))
    a = float(1 - case.S[0, 0] / case.M[0, 0])
    truth = root @ rng.normal(size=(6, draws))
    x_hat = case.A @ truth + noise @ rng.normal(size=(6, draws))  # minus x_a = inventory
    difference = (case.W @ x_hat)[0]
    made = compare_arrays(
        [0.0], [0.0], covariance=case.S, prior_covariance=case.M, inventory=[0.0], inventory_covariance=case.M
    )
    alarms = np.mean(np.abs(difference) > 2 * np.sqrt(made.covariance[0, 0]))
    nominal = 2 * (1 - NormalDist().cdf(2.0))
    assert alarms == pytest.approx(nominal, abs=4 * math.sqrt(nominal / draws))
    # Adding the two variances instead alarms too rarely, by sqrt(a / (2 - a)) in z.
    wrong = np.mean(np.abs(difference) > 2 * np.sqrt(case.M[0, 0] + case.S[0, 0]))
    expected = 2 * (1 - NormalDist().cdf(2.0 / math.sqrt(a / (2 - a))))
    assert wrong == pytest.approx(expected, abs=4 * math.sqrt(expected / draws))
    assert wrong < 0.7 * nominal


def test_the_sum_of_variances_alarms_in_1_2_percent_where_this_form_alarms_in_4_55():
    """A single region that the network saw to 78 %, two sigma."""
    rng = np.random.default_rng(1)
    a, draws = 0.776, 400_000
    truth = rng.normal(size=draws)
    ahead = a * truth + math.sqrt(a * (1 - a)) * rng.normal(size=draws)
    made = compare_arrays(
        [0.0], [0.0], covariance=[[1 - a]], prior_covariance=[[1.0]], inventory=[0.0], inventory_covariance=[[1.0]]
    )
    assert 100 * np.mean(np.abs(ahead) > 2 * np.sqrt(made.covariance[0, 0])) == pytest.approx(4.55, abs=0.15)
    assert 100 * np.mean(np.abs(ahead) > 2 * math.sqrt(1 + (1 - a))) == pytest.approx(1.2, abs=0.1)


def test_false_alarms_with_a_ledger_better_than_the_prior():
    """σ of the ledger differs from the prior's, and so do the patterns inside the regions; the level still holds."""
    case = Case(8)
    rng = np.random.default_rng(2)
    draws = 100_000
    D = np.diag([0.3, 1.0, 2.0] * np.diag(case.M))
    truth = np.linalg.cholesky(case.B) @ rng.normal(size=(12, draws))  # minus x_a
    inventory = case.W @ truth + np.sqrt(np.diag(D))[:, None] * rng.normal(size=(3, draws))
    noise = np.linalg.cholesky(case.noise + 1e-12 * np.eye(12)) @ rng.normal(size=(12, draws))
    made = compare_arrays(
        np.zeros(3),
        np.zeros(3),
        covariance=case.S,
        prior_covariance=case.M,
        inventory=np.zeros(3),
        inventory_covariance=D,
    )
    difference = case.W @ (case.A @ truth + noise) - made.kernel @ inventory
    np.testing.assert_allclose(np.cov(difference), made.covariance, rtol=0.03, atol=0.02 * np.trace(made.covariance))
    alarms = np.mean(np.abs(difference) > 2 * np.sqrt(np.diag(made.covariance))[:, None], axis=1)
    np.testing.assert_allclose(alarms, 0.0455, atol=0.003)


def test_share_is_the_averaging_kernel_and_follows_the_network():
    case = Case(4)
    gamma, used = totals_kernel(case.S, case.M)
    assert used.all()
    G = case.B @ case.W.T @ np.linalg.inv(case.M)
    np.testing.assert_allclose(gamma, case.W @ case.A @ G, rtol=1e-7, atol=1e-9)
    nothing, _ = totals_kernel(case.M, case.M)
    np.testing.assert_allclose(nothing, 0, atol=1e-12)
    everything, _ = totals_kernel(np.zeros((3, 3)), case.M)
    np.testing.assert_allclose(everything, np.eye(3), atol=1e-9)


def test_a_region_without_ledger_counts_with_its_prior():
    """NE in one region: the others are compared as if that row were not there."""
    case = Case(9)
    D = np.diag(0.5 * np.diag(case.M))
    inventory = case.W @ case.x_a + 1.0
    arguments = {"covariance": case.S, "prior_covariance": case.M, "inventory_covariance": D}
    made = compare_arrays(case.W @ case.x_a, case.W @ case.x_a, inventory=[*inventory[:2], np.nan], **arguments)
    two = np.ix_([0, 1], [0, 1])
    alone = compare_arrays(
        (case.W @ case.x_a)[:2],
        (case.W @ case.x_a)[:2],
        covariance=case.S[two],
        prior_covariance=case.M[two],
        inventory=inventory[:2],
        inventory_covariance=D[two],
    )
    np.testing.assert_allclose(made.difference[:2], alone.difference)
    np.testing.assert_allclose(made.covariance[two], alone.covariance)
    assert np.isnan(made.difference[2])
    assert np.isnan(made.covariance[2]).all()


SHARP = {"S": np.diag([1.0, 1.0, 90.0]), "M": np.diag([100.0, 100.0, 100.0])}


def test_verdicts_and_reasons():
    seen = totals([150.0, 100.0, 100.0], [100.0, 100.0, 100.0], **SHARP)
    table = compare(seen, ledger([100.0, 103.0, 100.0], [10.0, 10.0, 10.0]))
    assert list(table.verdict.values) == ["higher", "agree", "not resolved"]
    assert list(table.reason.values) == ["", "", "the network saw 10 % of it, 50 % are needed"]
    assert compare(seen, ledger([180.0, 103.0, 100.0], [10.0, 10.0, 10.0])).verdict.values[0] == "lower"
    easier = compare(seen, ledger([100.0, 103.0, 100.0], [10.0, 10.0, 10.0]), rule=Rule(min_share=0.05))
    assert easier.verdict.values[2] == "agree"
    assert table.attrs["resolved"] == 2
    assert table.attrs["expected_false_alarms"] == pytest.approx(0.1)
    assert "|z| > 1.96" in table.attrs["rule"]


def test_notation_keys_missing_entries_and_missing_sigma_get_no_verdict_and_no_zero():
    seen = totals([150.0, 100.0, 100.0], [100.0, 100.0, 100.0], S=np.eye(3), M=100 * np.eye(3))
    table = compare(seen, ledger([np.nan, np.nan, 100.0], [np.nan, np.nan, np.nan], notation=["NE,IE", "", ""]))
    assert list(table.verdict.values) == ["not resolved"] * 3
    assert list(table.reason.values) == [
        "the ledger says NE (not estimated), IE (included elsewhere)",
        "the ledger has no entry",
        "the ledger states no uncertainty",
    ]
    assert list(table.inventory_notation.values) == ["NE,IE", "", ""]
    assert np.isnan(table.inventory.values[:2]).all()
    assert np.isnan(table.z).all()
    np.testing.assert_allclose(table.inversion, [150, 100, 100])


def test_a_region_without_covariance_gets_no_sigma():
    S = np.diag([1.0, np.nan, 1.0])
    S[1], S[:, 1] = np.nan, np.nan
    table = compare(totals([150.0, 100.0, 100.0], [100.0] * 3, S=S, M=100 * np.eye(3)), ledger([100.0] * 3, [10.0] * 3))
    assert table.reason.values[1] == "the inversion gives no covariance"
    assert np.isnan(table.inversion_sigma.values[1])
    assert np.isnan(table.difference_sigma.values[1])
    assert table.verdict.values[0] == "higher"
    assert np.isnan(total(table, list(CODES))["inversion_sigma"])
    assert np.isfinite(total(table)["inversion_sigma"])


def test_a_province_partly_outside_the_domain_is_not_compared():
    seen = totals([150.0] * 3, [100.0] * 3, S=np.eye(3), M=100 * np.eye(3), covered=[1.0, 0.6, 0.0])
    table = compare(seen, ledger([100.0] * 3, [10.0] * 3))
    assert list(table.reason.values) == ["", "only 60 % of its area lies in the domain", "outside the domain"]


def test_a_province_the_state_does_not_reach_stands_aside():
    M, S = np.diag([100.0, 100.0, 0.0]), np.diag([1.0, 1.0, 0.0])
    table = compare(
        totals([150.0, 100.0, 0.0], [100.0, 100.0, 0.0], S=S, M=M, covered=[1, 1, 0]), ledger([100.0] * 3, [10.0] * 3)
    )
    assert list(table.verdict.values) == ["higher", "agree", "not resolved"]


def test_an_inversion_that_refuses_itself_gives_no_verdict():
    finding = {"grade": "refuse", "code": "x", "sentence": "The baseline holds 96 ppb."}
    table = compare(
        totals([150.0] * 3, [100.0] * 3, S=np.eye(3), M=100 * np.eye(3), findings=[finding]),
        ledger([100.0] * 3, [10.0] * 3),
    )
    assert set(table.verdict.values) == {"not resolved"}
    assert "96 ppb" in table.reason.values[0]


def test_regions_nobody_can_tell_apart_are_named():
    M = np.array([[4.0, 4.0, 0.0], [4.0, 4.0, 0.0], [0.0, 0.0, 1.0]])
    with pytest.raises(CrosscheckError, match="Regions 0 and 1"):
        compare(totals([1.0] * 3, [1.0] * 3, S=M / 2, M=M), ledger([1.0] * 3, [1.0] * 3))


def test_another_gas_or_order_of_regions_is_refused():
    seen = totals([150.0] * 3, [100.0] * 3, S=np.eye(3), M=100 * np.eye(3))
    with pytest.raises(CrosscheckError, match="of ch4, the ledger of co2"):
        compare(seen, ledger([1.0] * 3, [1.0] * 3, gas="co2"))
    with pytest.raises(CrosscheckError, match="other regions"):
        compare(seen, ledger([1.0] * 3, [1.0] * 3, codes=CODES[::-1]))


@pytest.mark.parametrize("rule", [{"level": 0.0}, {"level": 1.5}, {"min_share": -1}, {"inventory_correlation": 1.0}])
def test_a_rule_that_cannot_be(rule):
    with pytest.raises(CrosscheckError):
        Rule(**rule)


def test_units_of_the_ledger_follow_those_of_the_inversion():
    seen = totals([0.15] * 3, [0.1] * 3, S=1e-6 * np.eye(3), M=1e-4 * np.eye(3)).assign_attrs(units="Mt yr-1")
    table = compare(seen, ledger([100.0] * 3, [10.0] * 3))
    np.testing.assert_allclose(table.inventory, 0.1)
    assert table.inventory.attrs["units"] == "Mt yr-1"


def test_total_takes_the_whole_covariance():
    case = Case(6)
    inventory = case.W @ case.x_a * 1.05
    sigma = 0.1 * np.abs(inventory)
    y = case.H @ case.x_a + case.H_b @ case.b_a
    table = compare(case.posterior(y), ledger(inventory, sigma), case.aggregate(), rule=Rule(inventory_correlation=0.3))
    summed = total(table)
    one = np.ones(3)
    assert summed["inversion_sigma"] == pytest.approx(math.sqrt(one @ case.S @ one), rel=1e-6)
    assert summed["inventory_sigma"] == pytest.approx(
        math.sqrt(0.7 * np.sum(sigma**2) + 0.3 * np.sum(sigma) ** 2), rel=1e-9
    )
    assert summed["share"] == pytest.approx(1 - (one @ case.S @ one) / (one @ case.M @ one), rel=1e-6)
    assert summed["regions"] == 3
    with pytest.raises(CrosscheckError, match="CN-XJ"):
        total(table, ["CN-XJ"])


def test_a_planted_error_of_three_joint_sigmas_shows_with_z_three_on_average():
    case = Case(21)
    D = np.diag(0.5 * np.diag(case.M))
    plan = joint_sigma(Design(case.H, case.R, case.B, case.H_b, case.B_b), case.aggregate(), np.sqrt(np.diag(D)))
    rng = np.random.default_rng(3)
    draws, r = 4000, int(np.argmax(plan.share.values))
    truth = np.linalg.cholesky(case.B) @ rng.normal(size=(12, draws))
    inventory = case.W @ truth + np.sqrt(np.diag(D))[:, None] * rng.normal(size=(3, draws))
    inventory[r] -= 3 * float(plan.joint_sigma[r])  # the ledger is too low
    noise = np.linalg.cholesky(case.noise + 1e-12 * np.eye(12)) @ rng.normal(size=(12, draws))
    gamma, _ = totals_kernel(case.S, case.M)
    z = (case.W @ (case.A @ truth + noise) - gamma @ inventory)[r] / float(plan.difference_sigma[r])
    assert z.mean() == pytest.approx(3.0, abs=5 / math.sqrt(draws))
    assert z.std() == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("shared", [False, True])
def test_the_plan_equals_what_the_posterior_then_says(shared):
    """The ledger is the prior here, which the table notices unless it is told otherwise."""
    case = Case(14)
    inventory = case.W @ case.x_a
    sigma = 0.3 * np.abs(inventory)
    design = Design(case.H, case.R, Dense(case.B), case.H_b, case.B_b)
    posterior = case.posterior(case.H @ case.x_a + case.H_b @ case.b_a)
    before, from_posterior = (
        joint_sigma(design, case.aggregate(), sigma, inventory_is_prior=shared),
        joint_sigma(posterior, case.aggregate(), sigma, inventory_is_prior=shared),
    )
    rule = Rule() if shared else Rule(inventory_is_prior=False)
    after = compare(posterior, ledger(inventory, sigma), case.aggregate(), rule=rule)
    for plan in (before, from_posterior):
        np.testing.assert_allclose(plan.joint_sigma, after.joint_sigma, rtol=1e-6)
        np.testing.assert_allclose(plan.detectable, after.detectable, rtol=1e-6)
        np.testing.assert_allclose(plan.share, after.share, rtol=1e-6)


def test_the_plan_for_an_error_with_a_pattern_of_its_own():
    case = Case(14)
    design = Design(case.H, case.R, case.B, case.H_b, case.B_b)
    u = np.where(case.W[1] > 0, np.arange(12.0) + 1, 0.0)
    plan = joint_sigma(design, case.aggregate(), [1.0, 1.0, 1.0], pattern=u)
    assert float(plan.share[1]) == pytest.approx(float(case.W[1] @ case.A @ u / (case.W[1] @ u)), rel=1e-8)
    usual = joint_sigma(design, case.aggregate(), [1.0, 1.0, 1.0])
    assert float(plan.difference_sigma[1]) == pytest.approx(float(usual.difference_sigma[1]))


def test_the_plan_leaves_out_regions_without_a_ledger():
    case = Case(14)
    plan = joint_sigma(Design(case.H, case.R, case.B), case.aggregate(), [1.0, np.nan, 1.0])
    assert np.isnan(plan.joint_sigma.values).tolist() == [False, True, False]


def test_neighbours_are_named():
    case = Case(6)
    y = case.H @ case.x_a + case.H_b @ case.b_a
    table = compare(case.posterior(y), ledger(case.W @ case.x_a, [1.0] * 3), case.aggregate())
    sigma = np.sqrt(np.diag(case.S))
    correlation = case.S / np.outer(sigma, sigma) - np.eye(3)
    for i in range(3):
        j = int(np.abs(correlation[i]).argmax())
        assert table.neighbour.values[i] == CODES[j]
        assert float(table.neighbour_correlation[i]) == pytest.approx(correlation[i, j], rel=1e-6)
        k = CODES.index(table.leakage_region.values[i])
        assert float(table.leakage[i]) == float(table.averaging_kernel[i, k])
    assert crosscheck.VERDICTS == ("agree", "higher", "lower", "not resolved")


def test_variances_without_covariances_give_no_sigma_either():
    """Between two regions the covariance is missing: neither can be compared, the third can."""
    S = np.eye(3)
    S[0, 1] = S[1, 0] = np.nan
    table = compare(totals([150.0] * 3, [100.0] * 3, S=S, M=100 * np.eye(3)), ledger([100.0] * 3, [10.0] * 3))
    assert list(table.verdict.values) == ["not resolved", "not resolved", "higher"]
    assert list(table.reason.values) == ["the inversion gives no covariance"] * 2 + [""]
