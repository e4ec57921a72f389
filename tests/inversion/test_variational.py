"""The matrix-free solver: it becomes `batch`, bounds it before that, says how far it came, goes on after a kill."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from inversion import InversionError, Problem, solve
from inversion.covariance import Diagonal
from inversion.findings import Grade
from inversion.solve.operators import control_operator, observation_operator
from inversion.solve.variational import SPACES
from tests.inversion.cases import problem
from tests.inversion.test_batch import LINEAR, SHAPES, weights

WHOLE = {"reduction": 0.0, "sigma": 0.0}
ALONE = WHOLE | {"refine": 0}


@pytest.fixture(params=SHAPES, ids=["more observations", "more states"])
def case(request):
    return problem(np.random.default_rng(7), **request.param)[0]


def large(seed=3, n=150, m=400, **changes):
    """More than a few vectors are needed: smooth sensitivities, half the states hardly seen."""
    rng = np.random.default_rng(seed)
    centre, width = rng.uniform(0, m, n), 20.0
    H = np.exp(-0.5 * ((np.arange(m) - centre[:, None]) / width) ** 2) * np.linspace(0.02, 0.5, n)[:, None]
    x = 1 + rng.normal(size=m)
    y = H @ x + 0.3 * rng.normal(size=n)
    return Problem(
        y=xr.DataArray(y, dims="obs", coords={"site": ("obs", np.repeat(["abc", "xyz"], [n // 2, n - n // 2]))}),
        **{"H": scipy.sparse.csr_array(np.where(H > 1e-4, H, 0)), "R": Diagonal(np.full(n, 0.09))} | changes,
        x_a=np.ones(m),
        B=Diagonal(np.ones(m)),
        y_units="nmol mol-1",
        x_units="1",
    )


@pytest.mark.parametrize("space", SPACES)
def test_run_to_convergence_it_is_batch(case, space):
    exact, found = solve.batch(case), solve.variational(case, space=space, **WHOLE)
    W = weights(case.n_state)
    near = {"rtol": 1e-10, "atol": 1e-10}
    np.testing.assert_allclose(found.mean, exact.mean, **near)
    np.testing.assert_allclose(found.covariance(), exact.covariance(), **near)
    np.testing.assert_allclose(found.stdev(), exact.stdev(), **near)
    for name in LINEAR:
        np.testing.assert_allclose(getattr(found, name)(W), getattr(exact, name)(W), **near)
    if case.n_boundary:
        np.testing.assert_allclose(found.boundary, exact.boundary, **near)
    for name in ("chi2", "J_a", "J_a_state", "J_o", "dofs", "dofs_state", "dofs_boundary", "trace_squared"):
        assert getattr(found.diagnostics, name) == pytest.approx(getattr(exact.diagnostics, name), rel=1e-9), name
    np.testing.assert_allclose(found.solution.influence(), exact.solution.influence(), **near)
    assert found.covariance(W).attrs["stdev_too_large_by_at_most"] < 1e-9


@pytest.mark.parametrize("space", SPACES)
def test_a_process_that_ends_early_goes_on_elsewhere(space):
    """H = I and equal errors: the innovations' Krylov space has one dimension, the posterior covariance has six."""
    alike = Problem(
        y=np.arange(6.0),
        H=np.vstack([np.eye(6)[:5], np.zeros((1, 6))]),
        R=Diagonal(np.ones(6)),
        x_a=np.zeros(6),
        B=Diagonal(np.ones(6)),
        y_units="nmol mol-1",
        x_units="1",
    )
    found = solve.variational(alike, space=space, aggregate=np.eye(6), **WHOLE)
    np.testing.assert_allclose(found.covariance(), np.diag([0.5] * 5 + [1.0]), atol=1e-14)
    np.testing.assert_allclose(found.mean, [0, 0.5, 1, 1.5, 2, 0], atol=1e-14)


@pytest.mark.parametrize("space", SPACES)
def test_no_innovation_moves_nothing(space):
    still = large()
    still = large(H=still.H)
    still.y[:] = still.simulate(still.x_a)
    found = solve.variational(still, space=space)
    assert not found.solution.step.any()
    assert found.diagnostics.chi2 == 0


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("vectors", [1, 5, 20, 40])
def test_a_standard_deviation_from_few_vectors_lies_between_its_bounds(space, vectors):
    case = large()
    W = np.vstack([weights(400).values, np.eye(400)[[3, 200, 390]]])
    exact = solve.batch(case).covariance(W).values
    found = solve.variational(case, space=space, vectors=vectors, **ALONE)
    above = found.covariance(W).values - exact
    assert np.linalg.eigvalsh(above).min() > -1e-9 * np.abs(exact).max()
    least = np.diagonal(found.covariance(W)) - found.solution.shortfall(W.T.copy())
    assert (least <= np.diagonal(exact) * (1 + 1e-9)).all()
    assert (
        found.covariance(W).attrs["stdev_too_large_by_at_most"]
        >= np.sqrt((np.diagonal(found.covariance(W)) / np.diagonal(exact)).max()) - 1 - 1e-9
    )
    assert (found.stdev() >= solve.batch(case).stdev() * (1 - 1e-9)).all()
    np.testing.assert_allclose(found.stdev() ** 2, np.diagonal(found.covariance()), rtol=1e-9)


@given(st.integers(0, 2**32 - 1), st.integers(1, 14), st.integers(1, 4), st.integers(1, 3), st.integers(1, 10))
@settings(max_examples=40, deadline=None)
def test_bounds_hold_for_any_problem_and_any_number_of_vectors(seed, n, p, q, vectors):
    rng = np.random.default_rng(seed)
    case = problem(rng, n=n, p=p, q=q, boundary=0, R=Diagonal(10.0 ** rng.uniform(-2, 2, n)))[0]
    exact = np.diagonal(solve.batch(case).covariance())
    for space, length in (("observation", n), ("control", p * q)):
        few = {"space": space, "vectors": min(vectors, length), "reduction": 0.0}
        for options in ({"refine": 0}, {"refine": 2}, {"refine": 40}):
            found = solve.variational(case, **few, **options)
            variance = np.diagonal(found.covariance())
            scale = 1e-8 * np.diagonal(case.B.to_dense())
            assert (variance >= exact - scale).all()
            assert (variance - found.solution.shortfall(np.eye(p * q)) <= exact + scale).all()


@pytest.mark.parametrize("space", SPACES)
def test_the_gradient_is_what_the_result_says(space):
    case = large()
    goal = 1e-4
    found = solve.variational(case, space=space, reduction=goal)
    joint = case.joint()
    L, L_R = joint.B.sqrt(), case.R.sqrt()

    def gradient(step):
        residual = L_R.rsolve(L_R.solve(joint.innovation - joint.H.matvec(step)))
        return np.linalg.norm(L.solve(step) - L.rmatvec(joint.H.rmatvec(residual)))

    share = gradient(found.solution.step) / gradient(np.zeros(case.n_state))
    assert share < goal
    assert found.solution.process.count < 150
    bound = found.solution.distance
    assert share == pytest.approx(bound / found.solution.prior_gradient(), rel=1e-6)
    # In observation space the recurrence looks one vector back.
    recurrence = found.solution.gradient_reduction()
    assert share == pytest.approx(recurrence, rel=1e-6) if space == "control" else share < 3 * recurrence
    assert np.abs(found.mean - solve.batch(case).mean).max() <= bound < 0.2
    (finding,) = [f for f in found.findings if f.code == "lanczos"]
    assert f"{share:.1e} of the prior's" in finding.sentence
    assert f"further than {bound:.1e} prior standard deviations" in finding.sentence
    assert finding.grade is Grade.INFORM


@pytest.mark.parametrize("space", SPACES)
def test_aggregates_converge_beyond_the_vectors(space):
    case, W = large(), weights(400)
    exact = solve.batch(case)
    alone = solve.variational(case, space=space, vectors=8, refine=0)
    found = solve.variational(case, space=space, vectors=8, sigma=0.002, aggregate=W, refine=200)
    assert alone.covariance(W).attrs["stdev_too_large_by_at_most"] > 0.05
    assert found.covariance(W).attrs["stdev_too_large_by_at_most"] <= 0.002
    np.testing.assert_allclose(found.stdev(W), exact.stdev(W), rtol=0.002)
    assert np.linalg.eigvalsh(found.covariance(W).values - exact.covariance(W).values).min() > -1e-12
    tight = solve.variational(case, space=space, vectors=8, sigma=1e-9, refine=2000)
    np.testing.assert_allclose(tight.gain(W), exact.gain(W), atol=1e-4 * np.abs(exact.gain(W)).max())
    np.testing.assert_allclose(tight.covariance(W), exact.covariance(W), rtol=1e-7, atol=1e-6)
    (said,) = [f for f in found.findings if f.code.startswith("stdev")]
    assert said.code == "stdev_converged"
    assert said.grade is Grade.INFORM


@pytest.mark.parametrize("space", SPACES)
def test_what_has_not_converged_is_said(space):
    found = solve.variational(large(), space=space, aggregate=weights(400), vectors=6, refine=3)
    warned = {f.code: f.sentence for f in found.findings if f.grade is Grade.WARN}
    assert "after 6 Lanczos vectors" in warned["not_converged"]
    assert "of 4 aggregates have not converged: after 6 Lanczos vectors and 3 steps" in warned["stdev_not_converged"]


@pytest.mark.parametrize("space", SPACES)
def test_traces_are_estimated_beyond_the_vectors(space):
    case = large()
    exact = solve.batch(case).diagnostics
    alone = solve.variational(case, space=space, vectors=15, probes=0, **WHOLE).diagnostics
    probed = solve.variational(case, space=space, vectors=15, probes=32, **WHOLE)
    assert alone.dofs < 0.95 * exact.dofs  # a lower bound without them
    error = probed.solution.trace_error
    assert 0 < error < 0.05 * exact.dofs
    assert probed.diagnostics.dofs == pytest.approx(exact.dofs, abs=4 * error)
    assert probed.diagnostics.trace_squared == pytest.approx(exact.trace_squared, rel=0.05)
    for ours, theirs in zip(probed.diagnostics.sites, exact.sites, strict=True):
        assert ours.dofs == pytest.approx(theirs.dofs, rel=0.1)
    assert probed.to_dataset().attrs["dofs_error"] == error


@pytest.mark.parametrize("space", SPACES)
def test_a_run_that_was_cut_off_goes_on_and_gives_the_same_numbers(space, tmp_path):
    case, W = large(), weights(400)
    options = {"space": space, "aggregate": W, "sigma": 1e-4}
    whole = solve.variational(case, checkpoint=tmp_path / "whole", **options)
    solve.variational(case, checkpoint=tmp_path / "cut", vectors=12, **options)
    with (tmp_path / "cut").open("r+b") as file:
        file.truncate(file.seek(0, 2) - 100)  # killed while it wrote
    resumed = solve.variational(case, checkpoint=tmp_path / "cut", **options)
    assert (tmp_path / "cut").read_bytes() == (tmp_path / "whole").read_bytes()
    np.testing.assert_array_equal(resumed.mean, whole.mean)
    np.testing.assert_array_equal(resumed.covariance(W), whole.covariance(W))
    again = solve.variational(case, checkpoint=tmp_path / "cut", **options)
    np.testing.assert_array_equal(again.covariance(W), whole.covariance(W))


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    path = tmp_path / "steps"
    solve.variational(large(), checkpoint=path, vectors=5)
    with pytest.raises(InversionError, match="H, B or R is another one"):
        solve.variational(large(R=Diagonal(np.full(150, 0.1))), checkpoint=path)
    with pytest.raises(InversionError, match="its space is 'observation', here it is 'control'"):
        solve.variational(large(), checkpoint=path, space="control")
    path.write_text("something else\n")
    with pytest.raises(InversionError, match="no header"):
        solve.variational(large(), checkpoint=path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"space": "magic"}, "'control'"),
        ({"memory_gb": 1e-6}, "give it"),
        ({"vectors": 0}, "expected 1 to"),
        ({"vectors": 10**9}, "no more fit"),
        ({"aggregate": np.ones((2, 3))}, "aggregate"),
    ],
)
def test_what_cannot_be_is_refused(options, words):
    with pytest.raises(InversionError, match=words):
        solve.variational(large(), **options)


def test_auto_takes_the_smaller_space():
    forms = [solve.variational(problem(np.random.default_rng(0), **shape)[0]).solution.form for shape in SHAPES]
    assert forms == ["Lanczos control", "Lanczos observation"]


KILLED = """
import os, sys
import numpy as np
from inversion import solve
from inversion.solve.checkpoint import Checkpoint
from tests.inversion.test_variational import large

kept = Checkpoint.append
def slowly(self, step, count=[0]):
    kept(self, step)
    count[0] += 1
    if count[0] == 7:
        os.kill(os.getpid(), 9)

Checkpoint.append = slowly
solve.variational(large(), checkpoint=sys.argv[1])
"""


def test_a_run_killed_by_the_kernel_goes_on(tmp_path):
    path = tmp_path / "steps"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=root, check=False)
    assert done.returncode == -9
    whole, resumed = solve.variational(large()), solve.variational(large(), checkpoint=path)
    np.testing.assert_array_equal(resumed.mean, whole.mean)
    assert resumed.solution.process.count == whole.solution.process.count > 7


def test_the_operators_of_the_process_are_symmetric_and_see_the_same(case):
    joint, rng = case.joint(), np.random.default_rng(1)
    spectra = []
    for make, size in ((observation_operator, case.n_obs), (control_operator, joint.B.size)):
        apply = make(joint, case.R)
        u, v = rng.normal(size=(2, size))
        assert u @ apply(v) == pytest.approx(v @ apply(u), rel=1e-11)
        spectra.append(np.sort(np.linalg.eigvalsh(apply(np.eye(size))))[::-1][: min(case.n_obs, joint.B.size)])
    np.testing.assert_allclose(*spectra, rtol=1e-9, atol=1e-10)  # G Gᵀ and Gᵀ G
