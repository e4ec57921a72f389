"""Each site against the others: left out, and its errors as Desroziers finds them; in closed form and solved again."""

import json

import numpy as np
import pytest
import xarray as xr

from inversion import InversionError, Problem, solve
from inversion.consistency import desroziers
from inversion.covariance import BlockDiagonal, Dense, Diagonal
from inversion.datasets import POSTERIOR
from inversion.diagnostics import _expected_lag1
from inversion.findings import Grade
from inversion.left_out import leave_one_site_out
from qc.schema import require
from tests.inversion.cases import dense, exact, problem, random_spd

SHAPES = [{"n": 40, "p": 4, "q": 3, "boundary": 3}, {"n": 14, "p": 5, "q": 4, "boundary": 2}]


@pytest.fixture(params=SHAPES, ids=["by states", "by observations"])
def case(request):
    """Two sites whose rows alternate; errors correlated inside each."""
    rng = np.random.default_rng(5)
    n = request.param["n"]
    blocks = BlockDiagonal([Dense(random_spd(rng, n // 2)), Dense(random_spd(rng, n // 2))])
    mixed = np.argsort(np.arange(n) % 2, kind="stable")
    R = np.empty((n, n))
    R[np.ix_(mixed, mixed)] = blocks.to_dense()
    made, _ = problem(rng, R=Dense(R), **request.param)
    made.y["site"] = ("obs", np.array(["abc", "xyz"])[np.arange(n) % 2])
    return made


def without(case, site):
    """The same problem on the rows of the other sites."""
    keep = np.flatnonzero(case.y["site"].values != site)
    H, R, _, _ = dense(case)
    m = case.n_state
    return Problem(
        y=case.y[keep],
        H=H[keep, :m],
        R=Dense(R[np.ix_(keep, keep)]),
        x_a=case.x_a,
        B=case.B,
        H_b=H[keep, m:],
        b_a=case.b_a,
        B_b=case.B_b,
    )


def test_leaving_a_site_out_equals_solving_without_it(case):
    table = leave_one_site_out(solve.batch(case))
    H, R, _, _ = dense(case)
    for i, site in enumerate(["abc", "xyz"]):
        rows = np.flatnonzero(case.y["site"].values == site)
        rest = without(case, site)
        again = exact(rest)
        expected = H[rows] @ again.mean
        covariance = H[rows] @ again.covariance @ H[rows].T + R[np.ix_(rows, rows)]
        e = case.y.values[rows] - expected
        near = {"rtol": 1e-9, "atol": 1e-9}
        np.testing.assert_allclose(table.left_out_prediction.values[rows], expected, **near)
        np.testing.assert_allclose(table.left_out_stdev.values[rows], np.sqrt(np.diagonal(covariance)), **near)
        assert float(table.left_out_chi2[i]) == pytest.approx(e @ np.linalg.solve(covariance, e), rel=1e-8)
        d = exact(case).innovation[rows]
        assert float(table.left_out_skill[i]) == pytest.approx(1 - e @ e / (d @ d), rel=1e-9)
        S = exact(case).innovation_covariance[np.ix_(rows, rows)]
        assert float(table.left_out_skill_expected[i]) == pytest.approx(
            1 - np.trace(covariance) / np.trace(S), rel=1e-8
        )


def test_desroziers_sums_have_the_moments_they_are_judged_by(case):
    """E[dᵀ M d] = tr M S and Var = 2 tr (M S)², with M written down from the definition."""
    table = desroziers(solve.batch(case))
    truth = exact(case)
    S, d = truth.innovation_covariance, truth.innovation
    _, R, _, _ = dense(case)
    for i, site in enumerate(["abc", "xyz"]):
        own = np.diag((case.y["site"].values == site).astype(float))
        for name, operator, stated in (("R", R, R), ("HBH", S - R, S - R)):
            M = own @ operator @ np.linalg.inv(S)
            M = 0.5 * (M + M.T)
            ratio, error = float(table[f"ratio_{name}"][i]), float(table[f"ratio_{name}_stderr"][i])
            assert np.trace(M @ S) == pytest.approx(np.trace(own @ stated))
            assert ratio == pytest.approx(d @ M @ d / np.trace(own @ stated), rel=1e-8)
            assert error == pytest.approx(np.sqrt(2 * np.trace(M @ S @ M @ S)) / np.trace(own @ stated), rel=1e-8)


def test_the_mean_residual_has_the_spread_it_is_judged_by(case):
    table = desroziers(solve.batch(case))
    truth = exact(case)
    _, R, _, _ = dense(case)
    C = R @ np.linalg.inv(truth.innovation_covariance) @ R
    for i, site in enumerate(["abc", "xyz"]):
        own = (case.y["site"].values == site) / np.sum(case.y["site"].values == site)
        assert float(table.site_bias_stderr[i]) == pytest.approx(np.sqrt(own @ C @ own), rel=1e-8)


def hourly(rng, *, sites=3, hours=150, m=5, R=0.5, wrong=0.0, B=0.25):
    """Some sites; what one of them sees differs from H by `wrong`."""
    n = sites * hours
    H = rng.uniform(0, 2, size=(n, m))
    site = np.repeat([f"s{i}" for i in range(sites)], hours)
    real = H + wrong * rng.normal(size=H.shape) * (site == "s1")[:, None]
    x = 1 + np.sqrt(0.25) * rng.normal(size=m)
    coords = {
        "site": ("obs", site),
        "time": ("obs", np.tile(np.datetime64("2026-01-01", "ns") + np.arange(hours) * np.timedelta64(1, "h"), sites)),
    }
    y = real @ x + np.sqrt(0.5) * rng.normal(size=n)
    return Problem(
        y=xr.DataArray(y, dims="obs", coords=coords),
        H=H,
        R=Diagonal(np.full(n, R)),
        x_a=np.ones(m),
        B=Diagonal(np.full(m, B)),
        y_units="nmol mol-1",
        x_units="1",
    )


RULES = ("site_fit", "left_out", "desroziers", "residual_bias")


def found(posterior, code):
    return [f for f in posterior.findings if f.code == code]


def test_a_site_whose_transport_is_wrong_is_named_alone():
    posterior = solve.batch(hourly(np.random.default_rng(2), wrong=0.8))
    for code in ("site_fit", "left_out", "desroziers"):
        named = [f.sentence for f in found(posterior, code)]
        assert named, code
        assert all("s1" in sentence for sentence in named), named
        assert found(posterior, code)[0].grade is Grade.WARN


def test_a_site_off_its_scale_is_named():
    case = hourly(np.random.default_rng(2))
    case.y = case.y + 0.4 * (case.y["site"] == "s2")
    finding = found(solve.batch(case), "residual_bias")[0]  # the others pull the other way, less
    assert "Residuals at s2 are off by +" in finding.sentence
    assert "nmol mol-1" in finding.sentence


def test_right_sites_are_not_named():
    named = 0
    for seed in range(40):
        posterior = solve.batch(hourly(np.random.default_rng(seed)))
        named += any(found(posterior, code) for code in RULES)
    assert named <= 4  # four rules at a hundredth each, not independent; nominal 1.6


@pytest.mark.parametrize("R", [0.25, 1.0])
def test_a_wrong_r_is_found_by_desroziers(R):
    table = desroziers(solve.batch(hourly(np.random.default_rng(4), R=R)))
    np.testing.assert_allclose(table.ratio_R, 0.5 / R, rtol=0.35)
    np.testing.assert_allclose(table.sigma_R_found, np.sqrt(0.5), rtol=0.2)
    assert (table.ratio_R_probability < 0.01).all()


def test_one_site_cannot_be_left_out():
    with pytest.raises(InversionError, match="two or more"):
        leave_one_site_out(solve.batch(hourly(np.random.default_rng(0), sites=1)))


def test_too_many_observations_are_refused_by_name_and_left_out_of_the_findings(monkeypatch):
    monkeypatch.setattr("inversion.innovations._MOST_NUMBERS", 1000)
    posterior = solve.batch(hourly(np.random.default_rng(0)))
    with pytest.raises(InversionError, match="450 observations"):
        desroziers(posterior)
    assert "ratio_R" not in posterior.by_site
    (finding,) = found(posterior, "sites_not_compared")
    assert finding.grade is Grade.INFORM


def test_the_table_travels_with_the_result(tmp_path):
    posterior = solve.batch(hourly(np.random.default_rng(2), wrong=0.8))
    posterior.to_dataset().to_netcdf(tmp_path / "result.nc")
    with xr.open_dataset(tmp_path / "result.nc") as ds:
        require(ds, POSTERIOR)
        assert ds["site_name"].values.tolist() == ["s0", "s1", "s2"]
        assert {"site_dofs", "left_out_skill", "left_out_prediction", "ratio_R", "site_lag1"} <= set(ds.data_vars)
        codes = [(f["grade"], f["code"]) for f in json.loads(ds.attrs["findings"])]
        assert codes == [(str(f.grade), f.code) for f in posterior.findings]
        assert ("warn", "left_out") in codes


def test_many_sites_are_named_but_three_described():
    """R far too small at nine sites: three sentences of each rule, and one with the names of the rest."""
    posterior = solve.batch(hourly(np.random.default_rng(1), sites=9, hours=60, R=0.1))
    sentences = [f.sentence for f in found(posterior, "site_fit")]
    assert len(sentences) == 4
    assert "at 6 more: " in sentences[3]
    described = {word for sentence in sentences for word in sentence.replace(",", " ").replace(".", " ").split()}
    assert {f"s{i}" for i in range(9)} <= described


def test_fitting_makes_neighbours_oppose_one_another_and_that_is_no_finding():
    """Many states for few observations: the lag-1 correlation of sound residuals is far below zero."""
    named, lags = 0, []
    for seed in range(20):
        posterior = solve.batch(smooth(np.random.default_rng(seed)))
        named += bool(found(posterior, "residual_correlation"))
        lags += [site.lag1 for site in posterior.diagnostics.sites]
    assert np.mean(lags) < -0.2
    # What they are judged against is what they are on average.
    assert list(_expected_lag1(posterior).values()) == pytest.approx([np.mean(lags)] * 2, abs=0.04)
    assert named <= 2


def smooth(rng, hours=120):
    """Two sites, states that are stretches of three hours of each."""
    H = np.kron(np.eye(2 * hours // 3), np.ones((3, 1)))
    time = np.datetime64("2026-01-01", "ns") + np.arange(hours) * np.timedelta64(1, "h")
    m = H.shape[1]
    x = 1 + 3 * rng.normal(size=m)
    y = H @ x + rng.normal(size=2 * hours)
    coords = {"site": ("obs", np.repeat(["a", "b"], hours)), "time": ("obs", np.tile(time, 2))}
    return Problem(
        y=xr.DataArray(y, dims="obs", coords=coords),
        H=H,
        R=Diagonal(np.ones(2 * hours)),
        x_a=np.ones(m),
        B=Diagonal(np.full(m, 9.0)),
        y_units="nmol mol-1",
        x_units="1",
    )
