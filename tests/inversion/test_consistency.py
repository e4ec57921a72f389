"""Desroziers' statistics against their expectation, and what they say of errors that are wrong."""

import numpy as np
import pytest

from inversion import Problem, solve
from inversion.consistency import desroziers, judge_consistency
from inversion.covariance import Scaled
from tests.inversion.cases import problem

NAMES = ("error", "prior", "posterior", "innovation")


def drawn(rng, case, *, prior=1.0, error=1.0):
    """The same problem with other observations, from errors that are so many times what R and B say."""
    joint = case.joint()
    z = joint.z_a + prior * joint.B.sqrt().matvec(rng.normal(size=joint.z_a.size))
    noise = case.R.sqrt().matvec(rng.normal(size=case.n_obs))
    noise[: case.n_obs // 2] *= error
    return Problem(
        y=case.y.copy(data=joint.H.matvec(z) + noise), H=case.H, R=case.R, x_a=case.x_a, B=case.B, H_b=case.H_b,
        b_a=case.b_a, B_b=case.B_b,
    )  # fmt: skip


def test_ratios_scatter_about_one_as_much_as_they_say():
    rng = np.random.default_rng(2)
    case = problem(rng, n=40)[0]
    tables = [desroziers(solve.batch(drawn(rng, case))) for _ in range(200)]
    for name in NAMES:
        scores = np.array([(t[f"{name}_ratio"] - 1) / t[f"{name}_ratio_stdev"] for t in tables])
        assert scores.shape == (200, 2)
        np.testing.assert_array_less(np.abs(scores.mean(axis=0)), 3.5 / np.sqrt(200))
        np.testing.assert_allclose(scores.std(axis=0), 1, atol=0.25)
    assert sum(bool(judge_consistency(t)) for t in tables) < 20


def test_one_form_is_as_good_as_another():
    case = problem(np.random.default_rng(4), n=40)[0]
    first, second = (desroziers(solve.batch(case, form=form)) for form in ("state", "observation"))
    for name in first:
        np.testing.assert_allclose(first[name], second[name], rtol=1e-9)


def test_errors_larger_than_r_are_found_at_their_site_and_their_size_suggested():
    rng = np.random.default_rng(3)
    case = problem(rng, n=200)[0]
    table = desroziers(solve.batch(drawn(rng, case, error=3.0)))
    assert table["error_ratio"].sel(site="abc") == pytest.approx(9, rel=0.35)
    assert table["error_ratio"].sel(site="xyz") == pytest.approx(1, abs=0.4)
    suggested = 3 * np.sqrt(case.R.diagonal()[:100].mean())
    assert table["error_suggested"].sel(site="abc") == pytest.approx(suggested, rel=0.2)
    assert table["error_suggested"].attrs["units"] == "nmol mol-1"
    found = [f for f in judge_consistency(table) if f.code == "consistency_error"]
    assert ["At abc R does not fit" in f.sentence for f in found] == [True]


def test_a_prior_too_narrow_is_found():
    rng = np.random.default_rng(8)
    case = problem(rng, n=60)[0]
    table = desroziers(solve.batch(drawn(rng, case, prior=6.0)))
    assert (table["prior_ratio"] > 5).all()
    assert "consistency_prior" in [f.code for f in judge_consistency(table)]


def test_scaling_r_as_suggested_makes_it_consistent():
    rng = np.random.default_rng(3)
    case = drawn(rng, problem(rng, n=200)[0], error=3.0)
    for _ in range(5):
        ratio = desroziers(solve.batch(case))["error_ratio"].sel(site=case.y["site"])
        case.R = Scaled(case.R, np.sqrt(ratio.values))
    np.testing.assert_allclose(desroziers(solve.batch(case))["error_ratio"], 1, atol=1e-3)
