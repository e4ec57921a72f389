"""NUTS against the batch solution, against quadrature, and against what was put into twins."""

import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
from numpyro.diagnostics import effective_sample_size

from inversion import Problem, hyper, solve
from inversion.convergence import plain_ess
from inversion.covariance import Dense, Diagonal
from inversion.findings import Grade
from inversion.openghg import read_case
from tests.inversion.cases import problem


def codes(posterior):
    return {finding.code: finding for finding in posterior.findings}


def test_importing_the_inversion_imports_no_jax():
    command = "import sys, inversion; sys.exit(any(name in sys.modules for name in ('jax', 'numpyro')))"
    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0


@pytest.fixture(scope="module")
def gaussian():
    case = problem(np.random.default_rng(7), n=40, p=4, q=3)[0]
    return solve.sample(case), solve.batch(case)


def test_in_the_gaussian_limit_it_is_the_batch_solution_within_monte_carlo_error(gaussian):
    found, exact = gaussian
    W = np.vstack([np.eye(12), np.random.default_rng(5).uniform(size=(3, 12))])
    scores = (found.total(W) - exact.total(W)) / found.mean_error(W)
    assert np.abs(scores).max() < 4
    assert float((scores**2).mean()) < 3
    # A standard deviation from E effective draws is known to 1 / √(2 E): 0.016 for 2000.
    np.testing.assert_allclose(found.stdev(W) / exact.stdev(W), 1, atol=0.07)
    np.testing.assert_allclose(found.boundary, exact.boundary, atol=0.05)
    correlation = [c / np.sqrt(np.outer(np.diag(c), np.diag(c))) for c in (found.covariance(), exact.covariance())]
    np.testing.assert_allclose(correlation[0], correlation[1], atol=0.08)
    assert found.diagnostics.chi2 == pytest.approx(exact.diagnostics.chi2)
    assert found.diagnostics.dofs == pytest.approx(exact.diagnostics.dofs, rel=0.05)


def test_its_chains_agree_and_say_so(gaussian):
    found = gaussian[0]
    assert found.convergence.rhat < 1.01
    assert found.convergence.ess > 400
    assert found.convergence.divergent == 0
    assert codes(found)["sampling"].grade is Grade.INFORM


def test_the_effective_sample_size_is_that_of_numpyro(gaussian):
    x = gaussian[0].draws["x"].values
    np.testing.assert_allclose(plain_ess(x), effective_sample_size(x), rtol=0.02)


def one(fluxes, y=0.3, **options):
    """One flux, prior 1 ± 0.7, one observation ± 0.4: its posterior by quadrature, and by NUTS."""
    x = np.linspace(1e-4, 8, 80_001)
    if fluxes == "lognormal":
        s2 = np.log(1.49)
        prior = np.exp(-0.5 * (np.log(x) + 0.5 * s2) ** 2 / s2) / x
    else:
        prior = np.exp(-0.5 * ((x - 1) / 0.7) ** 2)
    density = prior * np.exp(-0.5 * ((y - x) / 0.4) ** 2)
    density /= density.sum()
    mean = density @ x
    case = Problem(
        y=[y], H=[[1.0]], R=Diagonal([0.16]), x_a=[1.0], B=Diagonal([0.49]), y_units="nmol mol-1", x_units="1"
    )
    found = solve.sample(case, fluxes=fluxes, **options)
    quantiles = np.interp([0.05, 0.5, 0.95], np.cumsum(density), x)
    return found, mean, np.sqrt(density @ (x - mean) ** 2), quantiles


@pytest.mark.parametrize("fluxes", ["lognormal", "truncated"])
def test_a_positive_flux_is_that_of_quadrature(fluxes):
    found, mean, sigma, quantiles = one(fluxes, y=-0.3)
    assert float(found.draws["x"].min()) > 0
    assert float(found.mean[0]) == pytest.approx(mean, abs=4 * float(found.mean_error([[1.0]])[0]))
    assert float(found.stdev()[0]) == pytest.approx(sigma, rel=0.08)
    np.testing.assert_allclose(found.quantile([[1.0]], [0.05, 0.5, 0.95])[:, 0], quantiles, atol=0.1 * sigma)
    assert "not_gaussian" in codes(found)
    assert float(solve.batch(found.problem).mean[0]) < mean  # it goes below what fluxes can be


def test_too_few_draws_are_warned_of_in_words_and_the_seed_decides_which():
    first, same, other = (one("gaussian", draws=60, warmup=60, seed=seed)[0] for seed in (1, 1, 2))
    assert codes(first)["ess"].grade in (Grade.WARN, Grade.REFUSE)
    assert "expected 400 at least" in codes(first)["ess"].sentence
    assert (first.draws["x"].values == same.draws["x"].values).all()
    assert (first.draws["x"].values != other.draws["x"].values).any()


def test_hyper_parameters_of_a_twin_are_recovered():
    rng = np.random.default_rng(2)
    n, m = 240, 20
    hours = np.concatenate([np.sort(rng.uniform(0, 2000, n // 2)) for _ in range(2)])
    sigma, site = np.repeat([0.6, 1.8], n // 2), np.repeat(["abc", "xyz"], n // 2)
    R = np.exp(-np.abs(hours[:, None] - hours) / 15) * np.outer(sigma, sigma) * (site[:, None] == site)
    H = rng.normal(size=(n, m))
    x = 1 + 0.5 * rng.normal(size=m)
    coords = {
        "site": ("obs", site),
        "time": ("obs", np.datetime64("2024-01-01") + (hours * 3600).astype("timedelta64[s]")),
    }
    y = H @ x + np.linalg.cholesky(R) @ rng.normal(size=n)
    case = Problem(
        y=xr.DataArray(y, dims="obs", coords=coords), H=H, R=Diagonal(np.ones(n)), x_a=np.ones(m),
        B=Diagonal(np.ones(m)), y_units="nmol mol-1", x_units="1",
    )  # fmt: skip
    found = solve.sample(case, prior_scale=1.0, error_scale=1.0, correlation_hours=(6.0, 1.0), draws=400, warmup=300)
    truth = {"prior_scale": 0.5, "error_scale[abc]": 0.6, "error_scale[xyz]": 1.8, "correlation_hours": 15.0}
    for name, value in truth.items():
        row = found.hyper.sel(hyper=name)
        assert float(row["low"]) < value < float(row["high"])
        assert 0.3 * value < float(row["median"]) < 2 * value
    # The batch solution that knows R and B, and the sampled one that had to find them.
    known = solve.batch(
        Problem(y=y, H=H, R=Dense(R), x_a=np.ones(m), B=Diagonal(np.full(m, 0.25)), y_units="nmol mol-1", x_units="1")
    )
    assert (np.abs(found.mean.values - known.mean.values) < 0.7 * known.stdev().values).all()
    np.testing.assert_allclose(found.stdev().values, known.stdev().values, rtol=0.3)


def test_gosan_agrees_with_the_batch_solution_within_its_error(shared):
    case = read_case(shared / "data/inversion/gosan_hfc23_2022.nc").problem()
    found, exact = solve.sample(case, draws=600, warmup=400), solve.batch(case)
    assert not [f for f in found.findings if f.grade is Grade.REFUSE]
    assert {"residual_correlation", "prior_fit", "not_resolved", "boundary_units", "sampling"} <= set(codes(found))
    scores = (found.mean.values - exact.mean.values) / found.mean_error(np.eye(4)).values
    print("Gosan, sampled against batch, in Monte-Carlo standard errors:", scores.round(2))
    assert np.abs(scores).max() < 4
    np.testing.assert_allclose(found.stdev() / exact.stdev(), 1, atol=0.07)
    np.testing.assert_allclose(found.boundary, exact.boundary, atol=0.012)
    assert found.diagnostics.J_a == pytest.approx(exact.diagnostics.J_a, rel=0.1)


def test_gosan_with_a_correlation_in_time_no_longer_follows_itself(shared):
    whole = read_case(shared / "data/inversion/gosan_hfc23_2022.nc").problem()
    spring = slice(0, 400)
    seen = np.flatnonzero(whole.H_b.rows(spring).any(axis=0))
    case = Problem(
        y=whole.y[spring], H=whole.H.rows(spring), R=Diagonal(whole.R.diagonal()[spring]), x_a=whole.x_a, B=whole.B,
        H_b=whole.H_b.rows(spring)[:, seen], b_a=whole.b_a[seen], B_b=Diagonal(whole.B_b.diagonal()[seen]),
    )  # fmt: skip
    plain = solve.batch(case)
    found = solve.sample(case, error_scale=0.5, correlation_hours=(12.0, 1.0), draws=250, warmup=250)
    hours = (case.y["time"].values - case.y["time"].values[0]) / np.timedelta64(1, "h")
    sigma = np.sqrt(case.R.diagonal())

    def correlated(hours_long):
        return Dense(np.exp(-np.abs(hours[:, None] - hours) / hours_long) * np.outer(sigma, sigma))

    # The same unknowns by maximum marginal likelihood.
    likeliest = hyper.fit(case, [hyper.Scale("error", "R"), hyper.Form("R", correlated, {"hours_long": 12.0})])
    print("Gosan, spring: error scale and hours", found.hyper["median"].values, likeliest.value.values)
    gap = np.log(found.hyper["median"].values) - np.log(likeliest.value.values)
    assert (np.abs(gap) < likeliest.stdev_log.values).all()
    lag1 = [posterior.diagnostics.sites[0].lag1 for posterior in (plain, found)]
    assert abs(lag1[1]) < 0.5 * lag1[0]
