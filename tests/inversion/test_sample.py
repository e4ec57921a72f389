"""The model that is sampled, without the sampler; and the sampler's own tests, in the environment that has it."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy.stats import multivariate_normal

from inversion import InversionError, Problem, solve
from inversion.covariance import BlockDiagonal, Dense, Diagonal, Scaled
from inversion.datasets import POSTERIOR
from inversion.findings import Grade
from inversion.solve.hierarchy import Hierarchy, Spread
from inversion.solve.sample import posterior_of
from qc.schema import require
from tests.inversion.cases import problem, random_spd
from tests.servers import absent

ROOT = Path(__file__).parents[2]
KNOWN = Spread(None, None, None)


@pytest.fixture(scope="module")
def case():
    return problem(np.random.default_rng(7), n=40, p=4, q=3)[0]


def gaussian_draws(case, draws=3000, seed=0):
    """Draws of v from the posterior of a Gaussian problem, by the book: v = L⁻¹ (z − z_a)."""
    rng = np.random.default_rng(seed)
    exact, joint = solve.batch(case), case.joint()
    L = joint.B.sqrt()
    mean, covariance = L.solve(exact.solution.step), L.solve(L.solve(exact.solution.whole()).T)
    return mean + rng.standard_normal((4, draws, mean.size)) @ np.linalg.cholesky(covariance).T


def test_the_density_is_that_of_the_gaussian_posterior(case):
    model = Hierarchy(case, "gaussian", KNOWN)
    exact, joint = solve.batch(case), case.joint()
    posterior = multivariate_normal(exact.solution.step, exact.solution.whole())
    points = 0.5 * np.random.default_rng(1).standard_normal((5, model.size))
    density = [model.log_density(v) for v in points]
    expected = [posterior.logpdf(joint.B.sqrt().matvec(v)) for v in points]
    np.testing.assert_allclose(np.diff(density), np.diff(expected), rtol=1e-9)


def test_scales_enter_the_density_as_they_enter_r_and_b(case):
    model = Hierarchy(case, "gaussian", Spread(0.5, 0.7, None))
    assert model.names == ["prior_scale", "error_scale[abc]", "error_scale[xyz]"]
    rng = np.random.default_rng(1)
    v, h = rng.standard_normal((2, model.size)), np.array([0.4, -0.6, 0.8])
    values = model.hyper(h)
    assert values == pytest.approx(dict(zip(model.names, np.exp([0.2, -0.42, 0.56]), strict=True)))
    x, b = model.unknowns(v[0], values["prior_scale"])
    np.testing.assert_allclose(x, 1 + np.exp(0.2) * case.B.sqrt().matvec(v[0, :12]))
    error = np.repeat(np.exp([-0.42, 0.56]), 20)
    likelihood = multivariate_normal(case.simulate(x, b).values, Scaled(case.R, error).to_dense())
    gap = likelihood.logpdf(case.y.values) - 0.5 * v[0] @ v[0]
    plain = multivariate_normal(case.simulate(*model.unknowns(v[1], 1.0)).values, case.R.to_dense())
    gap -= plain.logpdf(case.y.values) - 0.5 * v[1] @ v[1]
    found = model.log_posterior(v[0], values) - model.log_posterior(v[1], model.hyper(np.zeros(3)))
    assert found == pytest.approx(gap, rel=1e-9)


def hourly(rng, n=30, shuffle=True):
    """Two sites with times of their own."""
    hours = np.concatenate([np.cumsum(rng.uniform(1, 9, n // 2)) for _ in range(2)])
    order = rng.permutation(n) if shuffle else np.arange(n)
    time = np.datetime64("2024-01-01", "ns") + (hours * 3.6e12).astype("timedelta64[ns]")
    site = np.repeat(["abc", "xyz"], n // 2)
    coords = {"time": ("obs", time[order]), "site": ("obs", site[order])}
    y = xr.DataArray(1 + rng.normal(size=n), dims="obs", coords=coords, attrs={"units": "nmol mol-1"})
    return Problem(
        y=y, H=rng.normal(size=(n, 3)), R=Diagonal(rng.uniform(0.5, 2, n)), x_a=np.ones(3), B=Diagonal(np.ones(3)),
        x_units="1",
    ), hours[order], site[order]  # fmt: skip


def test_the_correlation_in_time_is_exponential_within_a_site():
    case, hours, site = hourly(np.random.default_rng(3))
    model = Hierarchy(case, "gaussian", Spread(None, 0.5, (10.0, 0.8)))
    v, values = np.array([0.3, -0.2, 0.5]), model.hyper(np.array([0.5, -0.3, 0.7]))
    assert values["correlation_hours"] == pytest.approx(10 * np.exp(0.56))
    error = np.where(site == case.y["site"].values[0], *[values[f"error_scale[{s}]"] for s in model.sites])
    sigma = error * np.sqrt(case.R.diagonal())
    R = np.exp(-np.abs(hours[:, None] - hours) / values["correlation_hours"]) * np.outer(sigma, sigma)
    R *= site[:, None] == site
    x, _ = model.unknowns(v, 1.0)
    expected = multivariate_normal(case.simulate(x).values, R).logpdf(case.y.values) - 0.5 * v @ v
    expected += 0.5 * case.n_obs * np.log(2 * np.pi)
    assert model.log_posterior(v, values) == pytest.approx(expected, rel=1e-10)
    np.testing.assert_allclose(model.covariances(values)["R"].to_dense(), R, rtol=1e-12)


def test_a_lognormal_prior_has_mean_and_covariance_as_stated():
    case = problem(np.random.default_rng(7), n=10, p=3, q=2, boundary=0)[0]
    model = Hierarchy(case, "lognormal", KNOWN)
    v = np.random.default_rng(2).standard_normal((60_000, 6))
    x = np.array([model.unknowns(row, 1.0)[0] for row in v])
    assert (x > 0).all()
    B = case.B.to_dense()
    np.testing.assert_allclose(x.mean(axis=0), 1, atol=0.015)
    np.testing.assert_allclose(np.cov(x.T), B, atol=0.07 * B.max())
    wide = np.array([model.unknowns(row, 1.7)[0] for row in v])
    np.testing.assert_allclose(wide.mean(axis=0), 1, atol=0.05)


def test_a_truncated_prior_is_the_gaussian_where_it_is_positive():
    case = problem(np.random.default_rng(7), n=10, p=3, q=2, boundary=2)[0]
    model = Hierarchy(case, "truncated", KNOWN)
    exact = solve.batch(case)
    posterior = multivariate_normal(np.concatenate([exact.mean, exact.boundary]), exact.solution.whole())
    points = 0.3 * np.random.default_rng(1).standard_normal((5, model.size))
    density = [model.log_density(v) for v in points]
    # ln dx/dv = v, and b = b_a + L v.
    expected = [posterior.logpdf(np.concatenate(model.unknowns(v, 1.0))) + v[:6].sum() for v in points]
    np.testing.assert_allclose(np.diff(density), np.diff(expected), rtol=1e-9)


def test_other_coordinates_leave_the_density_alone(case):
    rng = np.random.default_rng(4)
    model, settled = (Hierarchy(case, "gaussian", Spread(0.5, None, None)) for _ in range(2))
    settled.settle(rng.standard_normal(model.size), 5 * random_spd(rng, model.size))

    def gap(q):
        v, values, _ = settled.place(q)
        inner = model.log_density(np.concatenate([v, q[model.size :]]))
        columns = [
            settled.place(q + 1e-6 * e)[0] - settled.place(q - 1e-6 * e)[0] for e in np.eye(q.size)[: model.size]
        ]
        assert values["prior_scale"] == pytest.approx(np.exp(0.5 * q[-1]))
        return settled.log_density(q) - inner - np.linalg.slogdet(np.array(columns) / 2e-6)[1]

    gaps = [gap(q) for q in 0.4 * rng.standard_normal((4, model.size + 1))]
    np.testing.assert_allclose(gaps, gaps[0], rtol=1e-6)


def test_the_posterior_of_draws_is_that_of_batch(case):
    found = posterior_of(Hierarchy(case, "gaussian", KNOWN), gaussian_draws(case), 0)
    exact = solve.batch(case)
    W = xr.DataArray(
        np.random.default_rng(5).uniform(size=(3, 12)), dims=("region", "state"), coords={"region": ["a", "b", "c"]}
    )
    assert (np.abs(found.total(W) - exact.total(W)) < 4 * found.mean_error(W)).all()
    np.testing.assert_allclose(found.covariance(W), exact.covariance(W), rtol=0.08)
    np.testing.assert_allclose(found.stdev(), exact.stdev(), rtol=0.05)
    np.testing.assert_allclose(found.averaging_kernel(W), exact.averaging_kernel(W), atol=0.08)
    assert found.diagnostics.chi2 == pytest.approx(exact.diagnostics.chi2)
    for name in ("dofs", "dofs_boundary", "trace_squared"):
        assert getattr(found.diagnostics, name) == pytest.approx(getattr(exact.diagnostics, name))
    assert found.diagnostics.J_a == pytest.approx(exact.diagnostics.J_a, rel=0.1)
    assert float(np.trace(found.averaging_kernel(np.eye(12)))) == pytest.approx(exact.diagnostics.dofs_state, rel=0.03)
    low, high = found.quantile(W, [0.16, 0.84]).values
    np.testing.assert_allclose((high - low) / 2, exact.stdev(W), rtol=0.08)
    assert found.quantile(W, 0.5).dims == ("quantile", "region")
    assert "sampling" in [f.code for f in found.findings]
    require(found.to_dataset(), POSTERIOR)


def test_draws_that_do_not_agree_make_a_result_that_must_not_be_used(case):
    draws = gaussian_draws(case, 300)
    draws[0] += 2
    found = posterior_of(Hierarchy(case, "gaussian", KNOWN), draws, 0)
    assert found.convergence.rhat > 1.1
    worst = found.findings[0]
    assert (worst.grade, worst.code) == (Grade.REFUSE, "rhat")
    assert found.to_dataset().attrs["rhat"] == found.convergence.rhat


def test_hyper_parameters_travel_with_the_result(case):
    model = Hierarchy(case, "gaussian", Spread(0.5, 0.5, None))
    h = np.log([2.0, 0.5, 3.0]) / 0.5 + 0.1 * np.random.default_rng(1).standard_normal((4, 3000, 3))
    found = posterior_of(model, np.concatenate([gaussian_draws(case), h], axis=2), 0)
    np.testing.assert_allclose(found.hyper["median"], [2, 0.5, 3], rtol=0.02)
    np.testing.assert_allclose(found.problem.B.diagonal() / case.B.diagonal(), 4, rtol=0.04)
    np.testing.assert_allclose(found.problem.R.diagonal()[30:] / case.R.diagonal()[30:], 9, rtol=0.04)
    assert "error_scale[xyz] 3" in {f.code: f.sentence for f in found.findings}["hyper_parameters"]
    ds = found.to_dataset()
    np.testing.assert_allclose(ds["hyper_median"], found.hyper["median"])
    require(ds, POSTERIOR)


def without_time(case):
    return {"y": case.y.drop_vars("time")}


def twice_at_once(case):
    time, site = np.repeat(case.y["time"].values[:15], 2), ["abc"] * 30
    return {"y": case.y.assign_coords(time=("obs", time), site=("obs", site))}


def tied(_):
    return {"R": Dense(random_spd(np.random.default_rng(0), 30))}


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (None, {"fluxes": "negative"}, "'negative'"),
        (None, {"fluxes": "truncated", "prior_scale": 0.5}, "take lognormal"),
        (None, {"prior_scale": 0.0}, "prior_scale is 0"),
        (None, {"correlation_hours": (0.0, 1.0)}, "median of correlation_hours is 0"),
        (lambda c: {"x_a": c.x_a - 1}, {"fluxes": "lognormal"}, "x_a of state 0 is 0"),
        (without_time, {"correlation_hours": (5.0, 1.0)}, "coordinate 'time'"),
        (tied, {"correlation_hours": (5.0, 1.0)}, "correlated already"),
        (tied, {"error_scale": 1.0}, "R ties the errors"),
        (twice_at_once, {"correlation_hours": (5.0, 1.0)}, "has the time of another"),
        (None, {"chains": 1}, "chains is 1"),
        (None, {"draws": 10}, "draws 10"),
    ],
)
def test_what_cannot_be_sampled_is_refused_before_anything_is_drawn(change, options, words):
    case = hourly(np.random.default_rng(3))[0]
    pieces = {"y": case.y, "H": case.H, "R": case.R, "x_a": case.x_a, "B": case.B}
    with pytest.raises(InversionError, match=words):
        solve.sample(Problem(**pieces | (change(case) if change else {})), **options)


def test_errors_tied_within_a_site_can_be_scaled():
    case = hourly(np.random.default_rng(3), shuffle=False)[0]
    R = BlockDiagonal([Dense(random_spd(np.random.default_rng(k), 15)) for k in range(2)])
    same = Problem(y=case.y, H=case.H, R=R, x_a=case.x_a, B=case.B)
    assert len(Hierarchy(same, "gaussian", Spread(None, 0.5, None)).names) == 2


@pytest.mark.skipif(importlib.util.find_spec("numpyro") is not None, reason="NumPyro is here")
def test_without_numpyro_one_sentence_says_what_to_install(case):
    with pytest.raises(InversionError, match=r"pip install 'skyledger\[science,sample\]'") as caught:
        solve.sample(case)
    assert "\n" not in str(caught.value)


@pytest.mark.timeout(900)
def test_the_sampler_in_an_environment_of_its_own():
    """`sampled/`: run by the Python of .venv-sample, for JAX is in no everyday environment."""
    python = Path(sys.executable) if importlib.util.find_spec("numpyro") else ROOT / ".venv-sample/bin/python"
    if not python.is_file():
        absent("NumPyro is absent: .ci/sample makes .venv-sample, where the sampler is tested")
    folder = ROOT / "tests/inversion/sampled"
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--confcutdir={folder}", folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout.splitlines()[-1]
    assert "skipped" not in done.stdout.splitlines()[-1] or not (ROOT.parent / "shared").is_dir()
