"""The batch solution against the joint Gaussian, against itself in three forms, and against chance."""

import dask.array
import numpy as np
import pytest
import scipy.sparse
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import aslinearoperator
from scipy.stats import binomtest, kstest

from inversion import InversionError, Problem, solve
from inversion.covariance import BlockDiagonal, Dense, Diagonal
from inversion.datasets import POSTERIOR
from inversion.solve.batch import FORMS
from qc.schema import require
from tests.inversion.cases import exact, problem, random_kronecker, random_spd

SHAPES = [{"n": 40, "p": 4, "q": 3, "boundary": 3}, {"n": 10, "p": 5, "q": 4, "boundary": 0}]
LINEAR = ("total", "prior_total", "covariance", "prior_covariance", "gain", "averaging_kernel", "noise_covariance")


@pytest.fixture(params=SHAPES, ids=["more observations", "more states"])
def case(request):
    return problem(np.random.default_rng(7), **request.param)[0]


def weights(m, k=4):
    W = np.random.default_rng(5).uniform(size=(k, m))
    codes = ["CN-AH", "CN-JS", "CN-SH", "CN-ZJ"][:k]
    return xr.DataArray(W, dims=("region", "state"), coords={"region": codes}, attrs={"units": "kg yr-1"})


@pytest.mark.parametrize("form", FORMS)
def test_it_is_the_conditional_of_the_joint_gaussian(case, form):
    posterior = solve.batch(case, form=form)
    truth = exact(case)
    m = case.n_state
    W = weights(m)
    W0 = np.hstack([W.values, np.zeros((len(W), case.n_boundary))])
    near = {"rtol": 1e-10, "atol": 1e-10}
    np.testing.assert_allclose(posterior.mean, truth.mean[:m], **near)
    if case.n_boundary:
        np.testing.assert_allclose(posterior.boundary, truth.mean[m:], **near)
    np.testing.assert_allclose(posterior.covariance(), truth.covariance[:m, :m], **near)
    np.testing.assert_allclose(posterior.stdev(), np.sqrt(np.diagonal(truth.covariance)[:m]), **near)
    np.testing.assert_allclose(posterior.covariance(W), W0 @ truth.covariance @ W0.T, **near)
    np.testing.assert_allclose(posterior.gain(W), W0 @ truth.gain, **near)
    np.testing.assert_allclose(posterior.averaging_kernel(W), (W0 @ truth.kernel)[:, :m], **near)
    d = posterior.diagnostics
    assert d.chi2 == pytest.approx(truth.innovation @ np.linalg.solve(truth.innovation_covariance, truth.innovation))
    assert d.dofs == pytest.approx(np.trace(truth.kernel), rel=1e-10)
    assert d.dofs_state == pytest.approx(np.trace(truth.kernel[:m, :m]), rel=1e-10)
    assert d.trace_squared == pytest.approx(np.trace(truth.kernel @ truth.kernel), rel=1e-10)
    assert d.chi2 == pytest.approx(d.J_o + d.J_a, rel=1e-10)
    assert sum(site.dofs for site in d.sites) == pytest.approx(d.dofs, rel=1e-10)
    assert d.dofs <= min(case.n_obs, m + case.n_boundary)


def test_the_three_forms_agree(case):
    first, *others = [solve.batch(case, form=form) for form in FORMS]
    W = weights(case.n_state)
    for other in others:
        for name in LINEAR:
            np.testing.assert_allclose(getattr(first, name)(W), getattr(other, name)(W), rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(first.mean, other.mean, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(first.stdev(), other.stdev(), rtol=1e-10)
        np.testing.assert_allclose(first.solution.influence(), other.solution.influence(), rtol=1e-9, atol=1e-10)
        assert [f.code for f in first.findings] == [f.code for f in other.findings]


def test_auto_takes_the_smaller_space():
    forms = [solve.batch(problem(np.random.default_rng(0), **shape)[0]).solution.form for shape in SHAPES]
    assert forms == ["state", "observation"]


@pytest.mark.parametrize("form", FORMS)
def test_a_is_the_identity_without_posterior_over_prior(case, form):
    posterior = solve.batch(case, form=form)
    m = case.n_state
    expected = np.eye(m) - np.linalg.solve(case.B.to_dense(), posterior.covariance().values).T
    np.testing.assert_allclose(posterior.averaging_kernel(np.eye(m)), expected, atol=1e-10)


@pytest.mark.parametrize("form", FORMS)
def test_a_kronecker_prior_equals_its_dense_form(form):
    rng = np.random.default_rng(3)
    B = random_kronecker(rng, 5, 4)
    H, R = rng.normal(size=(12, 20)), Dense(random_spd(rng, 12))
    results = []
    for prior in (B, Dense(B.to_dense())):
        same, _ = problem(np.random.default_rng(9), n=12, p=5, q=4, H=H, R=R, B=prior)
        results.append(solve.batch(same, form=form))
    W = weights(20)
    # The truth is drawn through the factor, which is the same for both.
    for name in LINEAR:
        np.testing.assert_allclose(getattr(results[0], name)(W), getattr(results[1], name)(W), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "wrap",
    [lambda H: dask.array.from_array(H, chunks=(7, 5)), scipy.sparse.csr_array, aslinearoperator],
    ids=["dask", "sparse", "operator"],
)
def test_h_in_any_form_gives_the_same(form, wrap, monkeypatch):
    monkeypatch.setattr("inversion.jacobian.BLOCK_BYTES", 8 * 12 * 9)  # 9 rows a block
    H = np.random.default_rng(4).normal(size=(40, 12))
    plain, other = (problem(np.random.default_rng(6), n=40, H=h)[0] for h in (H, wrap(H)))
    W = weights(12)
    a, b = solve.batch(plain, form=form), solve.batch(other, form=form)
    np.testing.assert_allclose(a.mean, b.mean, rtol=1e-11)
    np.testing.assert_allclose(a.covariance(W), b.covariance(W), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(a.averaging_kernel(W), b.averaging_kernel(W), rtol=1e-10, atol=1e-12)


def test_noise_covariance_is_what_does_not_come_from_the_true_state(case):
    """Drawn: W x̂ − W [x_a + A (x − x_a)] over many y of one x, boundary terms varying too."""
    rng = np.random.default_rng(11)
    posterior = solve.batch(case)
    W = weights(case.n_state)
    G = posterior.gain(W).values
    draws = case.R.sqrt().matvec(rng.normal(size=(case.n_obs, 200_000)))
    if case.n_boundary:
        draws = draws + case.H_b.matvec(case.B_b.sqrt().matvec(rng.normal(size=(case.n_boundary, 200_000))))
    sample = np.cov(G @ draws)
    found = posterior.noise_covariance(W).values
    np.testing.assert_allclose(found, sample, rtol=0.05, atol=0.02 * np.abs(sample).max())
    # Smoothing and noise together are the posterior covariance: Ŝ = (I − A) B (I − A)ᵀ + noise (Rodgers, Eq 3.31).
    m = case.n_state
    M = W.values - posterior.averaging_kernel(W).values
    np.testing.assert_allclose(
        case.B.aggregate(M.reshape(-1, m)) + found, posterior.covariance(W).values, rtol=1e-9, atol=1e-12
    )


def test_the_gain_is_the_derivative_of_the_total(case):
    W = weights(case.n_state)
    base = solve.batch(case)
    gain = base.gain(W)
    for i in (0, 3, case.n_obs - 1):
        y = case.y.copy(data=case.y.values + 0.5 * (np.arange(case.n_obs) == i))
        edges = {"H_b": case.H_b, "b_a": case.b_a, "B_b": case.B_b} if case.n_boundary else {}
        moved = solve.batch(Problem(y=y, H=case.H, R=case.R, x_a=case.x_a, B=case.B, **edges))
        np.testing.assert_allclose((moved.total(W) - base.total(W)) / 0.5, gain[:, i], rtol=1e-8, atol=1e-10)


def test_variance_reduction_is_the_kernel_of_the_aggregate(case):
    posterior = solve.batch(case)
    W = weights(case.n_state)
    WB = case.B.matvec(W.values.T)
    expected = np.diagonal(posterior.averaging_kernel(W).values @ WB) / np.diagonal(W.values @ WB)
    np.testing.assert_allclose(posterior.variance_reduction(W), expected, rtol=1e-10)


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 4), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_observations_never_add_variance(seed, n, p, q):
    rng = np.random.default_rng(seed)
    R = Diagonal(10.0 ** rng.uniform(-3, 3, n))
    posterior = solve.batch(problem(rng, n=n, p=p, q=q, boundary=0, R=R)[0])
    before, after = posterior.prior_covariance().values, posterior.covariance().values
    assert np.linalg.eigvalsh(before - after).min() > -1e-9 * np.abs(before).max()
    assert np.linalg.eigvalsh(after).min() > -1e-12
    assert 0 <= posterior.diagnostics.dofs <= min(n, p * q) + 1e-9


def test_labels_travel_with_aggregates(case):
    W = weights(case.n_state)
    posterior = solve.batch(case)
    covariance = posterior.covariance(W)
    assert covariance.dims == ("region", "region_2")
    assert list(covariance["region_2"].values) == list(W["region"].values)
    assert covariance.attrs["units"] == "(kg yr-1)2"
    assert posterior.total(W).attrs["units"] == "kg yr-1"
    assert posterior.averaging_kernel(W).dims == ("region", "state")
    assert posterior.gain(W).dims == ("region", "obs")
    np.testing.assert_allclose(posterior.covariance(scipy.sparse.csr_array(W.values)), covariance)
    np.testing.assert_allclose(posterior.covariance(W.transpose()), covariance)


@pytest.mark.parametrize("bad", [np.ones((2, 3)), np.ones((2, 3, 4)), xr.DataArray(np.ones((2, 2)), dims=("a", "b"))])
def test_an_aggregate_that_does_not_fit_is_refused(case, bad):
    with pytest.raises(InversionError, match="aggregate"):
        solve.batch(case).covariance(bad)


def test_the_whole_of_a_large_covariance_is_refused_in_a_sentence():
    m = 5001
    large = Problem(
        y=[1.0],
        H=np.ones((1, m)),
        R=Diagonal([1.0]),
        x_a=np.ones(m),
        B=Diagonal(np.ones(m)),
        y_units="nmol mol-1",
        x_units="1",
    )
    with pytest.raises(InversionError, match="aggregates"):
        solve.batch(large).covariance()


def test_an_unknown_form_is_refused(case):
    with pytest.raises(InversionError, match="'observation'"):
        solve.batch(case, form="magic")


def test_the_dataset_meets_its_schema_and_survives_netcdf(case, tmp_path):
    ds = solve.batch(case).to_dataset()
    require(ds, POSTERIOR)
    ds.to_netcdf(tmp_path / "posterior.nc")
    with xr.open_dataset(tmp_path / "posterior.nc") as back:
        np.testing.assert_allclose(back["state_posterior"], ds["state_posterior"])
        assert back.attrs["n_obs"] == case.n_obs


def twins(number, *, wider=1.0):
    """Truth drawn from B (its errors `wider` than B says) and observed: z-scores and statistics of each twin."""
    rng = np.random.default_rng(2024)
    H, B = rng.uniform(0, 1, size=(25, 12)), random_kronecker(rng, 4, 3)
    R = BlockDiagonal([Diagonal(np.full(10, 0.2)), Dense(0.2 * random_spd(rng, 15))])
    W = weights(12)
    scores, statistics = [], []
    for _ in range(number):
        x = 1 + wider * B.sqrt().matvec(rng.normal(size=12))
        y = H @ x + R.sqrt().matvec(rng.normal(size=25))
        posterior = solve.batch(Problem(y=y, H=H, R=R, x_a=np.ones(12), B=B, y_units="nmol mol-1", x_units="1"))
        whiten = np.linalg.cholesky(posterior.covariance(W).values)
        scores.append(np.linalg.solve(whiten, (posterior.total(W) - W.values @ x).values))
        statistics.append(posterior.diagnostics)
    return np.array(scores), statistics


def test_twins_are_covered_as_often_as_promised():
    scores, statistics = twins(300)
    for limit, share in ((1.0, 0.6827), (1.96, 0.95)):
        inside = int((np.abs(scores) < limit).sum())
        assert binomtest(inside, scores.size, share).pvalue > 0.001
    # The probabilities the diagnostics state are uniform when the problem is as it says.
    assert kstest([d.chi2_probability for d in statistics], "uniform").pvalue > 0.001
    assert kstest([d.J_a_probability for d in statistics], "uniform").pvalue > 0.001
    assert np.mean([d.J_a for d in statistics]) == pytest.approx(statistics[0].dofs, rel=0.05)


def test_twins_with_a_prior_too_narrow_are_not_and_the_diagnostics_say_so():
    scores, statistics = twins(60, wider=4.0)
    assert (np.abs(scores) < 1.0).mean() < 0.6
    assert np.mean([d.J_a_probability < 0.05 for d in statistics]) > 0.9
