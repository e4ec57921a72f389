"""What a result says about itself when something is wrong, and that it is silent when nothing is."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import chi2

from inversion import Problem, solve
from inversion.covariance import Diagonal
from inversion.findings import Grade

N, M = 400, 4


def built(*, noise=None, y_offset=0.0, H=None, R=1.0, B=0.25, truth=None, **boundary):
    rng = np.random.default_rng(3)
    H = rng.uniform(0, 1, size=(N, M)) if H is None else H
    x = 1 + 0.5 * rng.normal(size=M) if truth is None else truth
    noise = rng.normal(size=N) if noise is None else noise
    time = np.datetime64("2024-01-01", "ns") + np.arange(N // 2) * np.timedelta64(1, "h")
    coords = {"site": ("obs", np.repeat(["abc", "xyz"], N // 2)), "time": ("obs", np.tile(time, 2))}
    y = xr.DataArray(H @ x + noise + y_offset, dims="obs", coords=coords)
    x_a = xr.DataArray(np.ones(M), dims="state", coords={"region": ("state", list("ABCD"))})
    return Problem(
        y=y,
        H=H,
        R=Diagonal(np.full(N, R)),
        x_a=x_a,
        B=Diagonal(np.full(M, B)),
        y_units="nmol mol-1",
        x_units="1",
        **boundary,
    )


def codes(problem, grade=None):
    return [f.code for f in solve.batch(problem).findings if grade in (None, f.grade)]


def autocorrelated(rng, rho):
    noise = rng.normal(size=N)
    for i in range(1, N):
        noise[i] = rho * noise[i - 1] + np.sqrt(1 - rho**2) * noise[i]
    return noise


def test_a_sound_result_has_nothing_to_say():
    assert codes(built()) == []


@pytest.mark.parametrize(
    ("R", "grade"), [(0.05, Grade.REFUSE), (0.2, Grade.WARN), (5.0, Grade.WARN), (0.77, Grade.INFORM)]
)
def test_chi2_far_from_one(R, grade):
    assert "chi2" in codes(built(R=R), grade)


def test_correlated_residuals_are_named_with_their_site():
    posterior = solve.batch(built(noise=autocorrelated(np.random.default_rng(0), 0.6)))
    sentences = [f.sentence for f in posterior.findings if f.code == "residual_correlation"]
    assert len(sentences) == 2
    assert "abc" in sentences[0]
    assert posterior.diagnostics.sites[0].lag1 == pytest.approx(0.6, abs=0.15)


def test_residuals_that_alternate_are_told_from_those_that_follow():
    noise = autocorrelated(np.random.default_rng(0), 0.7) * np.where(np.arange(N) % 2, 1.0, -1.0)
    finding = next(f for f in solve.batch(built(noise=noise)).findings if f.code == "residual_correlation")
    assert finding.grade is Grade.INFORM
    assert "oppose one another" in finding.sentence


def test_neighbours_across_a_gap_or_of_one_time_are_no_pairs():
    case = built()
    case.y["time"] = (
        "obs",
        case.y["time"].values + np.where(np.arange(N) >= 100, np.timedelta64(30, "D"), np.timedelta64(0, "D")),
    )
    assert solve.batch(case).diagnostics.sites[0].pairs == 198


def test_a_state_that_moves_too_far():
    assert "prior_fit" in codes(built(B=0.01, truth=np.array([3.0, -1.0, 2.5, 0.0])), Grade.WARN)


def test_the_probability_of_j_a_for_states_that_are_half_seen():
    """H = I, R = 4 B: all eigenvalues of A are 0.2, so J_a / 0.2 is exactly χ² with as many degrees as states."""
    y = 1 + np.random.default_rng(5).normal(size=6)
    half_seen = Problem(
        y=y,
        H=np.eye(6),
        R=Diagonal(np.full(6, 4.0)),
        x_a=np.ones(6),
        B=Diagonal(np.ones(6)),
        y_units="nmol mol-1",
        x_units="1",
    )
    d = solve.batch(half_seen).diagnostics
    assert d.dofs == pytest.approx(1.2)
    cdf = chi2.cdf(d.J_a / 0.2, 6)
    assert d.J_a_probability == pytest.approx(2 * min(cdf, 1 - cdf), rel=1e-9)


def test_a_region_nobody_sees():
    H = np.random.default_rng(3).uniform(0, 1, size=(N, M))
    H[:, 2] = 0
    posterior = solve.batch(built(H=H))
    (finding,) = [f for f in posterior.findings if f.code == "not_resolved"]
    assert "region C (0.0% seen)" in finding.sentence
    assert posterior.seen.values[2] == pytest.approx(0, abs=1e-12)


def test_outliers_are_counted():
    noise = np.random.default_rng(1).normal(size=N)
    noise[[5, 7]] = 40
    assert solve.batch(built(noise=noise)).diagnostics.outliers == 2


def test_a_baseline_that_cannot_be_is_refused_to_be_used():
    edges = {"H_b": np.full((N, 1), 1900e-9), "b_a": np.ones(1), "B_b": Diagonal([0.01])}
    posterior = solve.batch(built(y_offset=1900, **edges))
    assert "baseline" in [f.code for f in posterior.findings if f.grade is Grade.REFUSE]
    assert posterior.findings[0].grade is Grade.REFUSE  # the worst first
    good = {**edges, "H_b": np.full((N, 1), 1900.0)}
    assert "baseline" not in codes(built(y_offset=1900, **good))


def test_offsets_are_no_baseline():
    edges = {"H_b": np.ones((N, 1)), "b_a": np.zeros(1), "B_b": Diagonal([1.0])}
    assert "baseline" not in codes(built(y_offset=1900 * 0 + 50, **edges))


def test_what_the_reader_noticed_is_carried():
    from inversion.findings import Finding  # noqa: PLC0415  used here alone

    case = built()
    case.findings = (Finding(Grade.INFORM, "units", "converted"),)
    assert codes(case) == ["units"]
