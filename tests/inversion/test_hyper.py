"""Hyper-parameters against finite differences, the closed form, and twins whose hyper-parameters are known."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import multivariate_normal

from inversion import InversionError, Problem, hyper, solve
from inversion.covariance import Dense, Diagonal, Kronecker, Scaled, exponential, spatial, temporal
from inversion.findings import Grade
from tests.inversion.cases import problem

LONGITUDE, LATITUDE = np.random.default_rng(3).uniform([100, 25], [120, 40], size=(8, 2)).T


def space_and_time(length_km, length_days):
    return Kronecker(
        spatial(LONGITUDE, LATITUDE, length_km=length_km), temporal(30.0 * np.arange(3), length_days=length_days)
    )


def unknowns(case):
    first = np.arange(case.n_boundary) == 0
    return [*hyper.error_scales(case), hyper.Scale("prior", "B"), hyper.Scale("edge", "B_b", first)]


@pytest.fixture(scope="module")
def case():
    return problem(np.random.default_rng(0), n=60)[0]


def test_the_likelihood_is_that_of_the_joint_gaussian(case):
    likelihood = hyper.MarginalLikelihood(case, unknowns(case))
    eta = likelihood.start + np.array([0.3, -0.2, 0.4, 0.1])
    R = np.sqrt(np.exp(2 * np.repeat(eta[:2], 30)))
    edge = np.exp(eta[3]) ** (np.arange(3) == 0)
    H, H_b = case.H.rows(slice(0, 60)), case.H_b.rows(slice(0, 60))
    S = np.exp(2 * eta[2]) * H @ case.B.to_dense() @ H.T + (H_b * edge) @ case.B_b.to_dense() @ (H_b * edge).T
    S += case.R.to_dense() * np.outer(R, R)
    expected = multivariate_normal.logpdf(case.y.values - H @ case.x_a.values - H_b @ case.b_a.values, cov=S)
    assert -likelihood.value_and_gradient(eta)[0] == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("forms", [False, True])
def test_the_gradient_is_that_of_finite_differences(case, forms):
    small = problem(np.random.default_rng(1), n=20, p=8, q=3)[0]
    hours = np.arange(20.0)
    lengths = [
        hyper.Form("B", space_and_time, {"length_km": 300.0, "length_days": 40.0}),
        hyper.Form(
            "R", lambda hours_long: Dense(exponential(np.abs(hours[:, None] - hours), hours_long)), {"hours_long": 3.0}
        ),
        hyper.Scale("prior", "B", np.arange(24) < 9),
        hyper.Scale("error", "R", hours < 5),
    ]
    likelihood = hyper.MarginalLikelihood(small if forms else case, lengths if forms else unknowns(case))
    eta = likelihood.start + 0.2
    gradient = likelihood.value_and_gradient(eta)[1]
    for i, found in enumerate(gradient):
        step = 1e-4 * (np.arange(eta.size) == i)
        above, below = likelihood.value_and_gradient(eta + step)[0], likelihood.value_and_gradient(eta - step)[0]
        assert found == pytest.approx((above - below) / 2e-4, rel=1e-5, abs=1e-5)


TRUTH = {"error_scale[abc]": 0.6, "error_scale[xyz]": 1.7, "prior": 0.8, "length_km": 400.0}
PLACES = np.random.default_rng(6).uniform([100, 20], [125, 45], size=(40, 2)).T


def space(length_km):
    return spatial(*PLACES, length_km=length_km)


def twin(rng, truth=TRUTH):
    """Two sites whose errors are not what R says, a prior of other width and length than B says."""
    n, m = 160, 40
    B = Scaled(space(truth["length_km"]), truth["prior"])
    sigma = np.repeat([truth["error_scale[abc]"], truth["error_scale[xyz]"]], [60, 100])
    H = 3 * rng.normal(size=(n, m))
    x = 1 + B.sqrt().matvec(rng.normal(size=m))
    coords = {"site": ("obs", np.repeat(["abc", "xyz"], [60, 100]))}
    y = xr.DataArray(H @ x + sigma * rng.normal(size=n), dims="obs", coords=coords)
    return Problem(y=y, H=H, R=Diagonal(np.ones(n)), x_a=np.ones(m), B=space(300.0), y_units="nmol mol-1", x_units="1")


def test_known_hyper_parameters_are_recovered_within_their_stated_error():
    rng = np.random.default_rng(11)
    draws = 40
    scores, inside = [], np.zeros(4)
    for _ in range(draws):
        case = twin(rng)
        length = hyper.Form("B", space, {"length_km": 300.0})
        found = hyper.fit(case, [*hyper.error_scales(case), hyper.Scale("prior", "B"), length])
        truth = np.array([TRUTH[name] for name in found.value["hyper"].values])
        scores.append((np.log(found.value.values) - np.log(truth)) / found.stdev_log.values)
        low, high = found.interval().values.T
        inside += (low < truth) & (truth < high)
        assert found.log_likelihood > found.log_likelihood_start
    scores = np.array(scores)
    np.testing.assert_array_less(np.abs(scores.mean(axis=0)), 3.5 / np.sqrt(draws))
    np.testing.assert_array_less(np.abs((scores**2).mean(axis=0) - 1), 4 * np.sqrt(2 / draws))
    # 95 % of 40 are 38 ± 1.4.
    assert inside.min() >= 33


def test_the_new_problem_fits_where_the_old_one_did_not():
    case = twin(np.random.default_rng(5), {**TRUTH, "error_scale[xyz]": 4.0})
    before = solve.batch(case)
    found = hyper.fit(case, [*hyper.error_scales(case), hyper.Scale("prior", "B")])
    after = solve.batch(found.problem)
    assert before.diagnostics.chi2_probability < 1e-6
    assert after.diagnostics.chi2_probability > 0.05
    assert "hyper_parameters" in [finding.code for finding in after.findings]
    assert found.problem.provenance["hyper-parameters"]["error_scale[xyz]"] == pytest.approx(4, rel=0.3)
    assert case.R.diagonal().max() == 1  # the problem given is left as it was


def test_what_the_observations_do_not_determine_is_said():
    rng = np.random.default_rng(0)
    blind = Problem(
        y=rng.normal(size=30), H=np.zeros((30, 2)), R=Diagonal(np.ones(30)), x_a=np.ones(2), B=Diagonal([1.0, 1.0]),
        y_units="nmol mol-1", x_units="1",
    )  # fmt: skip
    found = hyper.fit(blind, [hyper.Scale("error", "R"), hyper.Scale("prior", "B")])
    assert found.stdev_log.values[0] == pytest.approx(1 / np.sqrt(60), rel=0.01)
    assert np.isnan(found.stdev_log.values[1])
    (finding,) = [f for f in found.findings if f.grade is Grade.WARN]
    assert "do not determine prior" in finding.sentence


def test_two_names_for_one_thing_are_not_determined_either(case):
    same = [hyper.Scale("one", "R"), hyper.Scale("other", "R"), hyper.Scale("prior", "B")]
    found = hyper.fit(case, same)
    assert np.isnan(found.stdev_log.values).tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "no unknowns"),
        ([hyper.Scale("a", "R"), hyper.Scale("a", "B")], "more than once"),
        ([hyper.Scale("a", "Q")], "'Q'"),
        ([hyper.Scale("a", "R", [True])], "60 elements"),
        ([hyper.Scale("a", "R", np.zeros(60))], "chooses no element"),
        ([hyper.Scale("a", "R", start=0.0)], "above zero"),
        ([hyper.Form("B", Diagonal, {"a": 1.0}), hyper.Form("B", Diagonal, {"b": 1.0})], "2 forms"),
    ],
)
def test_unknowns_that_do_not_fit_are_refused(case, given, words):
    with pytest.raises(InversionError, match=words):
        hyper.fit(case, given)
