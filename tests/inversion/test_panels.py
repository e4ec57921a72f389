"""Half a matrix in panels: its Cholesky factor, and `batch` by it, against the whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inversion import InversionError, solve
from inversion.covariance import BlockDiagonal, Dense, Diagonal
from inversion.errors import ProblemError
from inversion.findings import Grade
from inversion.solve.panels import Panels
from tests.inversion.cases import problem, random_spd
from tests.inversion.test_batch import LINEAR, weights


@pytest.fixture
def narrow(monkeypatch):
    """Panels of four columns from nine rows on."""
    for module in ("panels", "observation"):
        monkeypatch.setattr(f"inversion.solve.{module}.WHOLE", 8)
    monkeypatch.setattr("inversion.solve.panels.WIDTH", 4)
    monkeypatch.setattr("inversion.solve.panels._ROWS", 3)
    monkeypatch.setattr("inversion.solve.observation._COLUMNS", 4)


def filled(S, step):
    """Panels from blocks of `step` rows, as they come when S is built; what is above the diagonal is rubbish."""
    panels = Panels(len(S))
    for top in range(0, len(S), step):
        rows = slice(top, min(top + step, len(S)))
        for left in range(0, top + 1, step):
            columns = slice(left, min(left + step, len(S)))
            block = S[rows, columns].copy()
            block[np.arange(rows.start, rows.stop)[:, None] < np.arange(columns.start, columns.stop)] = np.nan
            panels.put(rows, columns, block)
    return panels


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 9), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_the_factor_solves(seed, size, step, width):
    rng = np.random.default_rng(seed)
    S, cut = random_spd(rng, size), int(rng.integers(0, size))
    pieces = [Dense(random_spd(rng, part)) for part in (cut, size - cut) if part]
    R = BlockDiagonal([*pieces]) if seed % 2 else Diagonal(rng.uniform(1, 2, size))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("inversion.solve.panels.WHOLE", 8)
        patch.setattr("inversion.solve.panels.WIDTH", 4)
        patch.setattr("inversion.solve.panels._ROWS", 3)
        panels = filled(S, step)
        panels.add(R)
        panels.factorise()
        L = np.linalg.cholesky(S + R.to_dense())
        V = rng.normal(size=(size, width) if width else size)
        before = V.copy()
        np.testing.assert_allclose(panels.solve(V), np.linalg.solve(L, V), atol=1e-11)
        np.testing.assert_allclose(panels.rsolve(V), np.linalg.solve(L.T, V), atol=1e-11)
        np.testing.assert_array_equal(V, before)
        first = int(rng.integers(0, size))
        V[:first] = 0
        np.testing.assert_allclose(panels.solve(V, first=first), np.linalg.solve(L, V), atol=1e-11)
        assert Panels.bytes_for(size) == sum(panel.nbytes for panel in panels._panels)


def test_half_the_matrix_takes_half_the_memory():
    assert Panels.bytes_for(20_000) < 0.53 * 8 * 20_000**2


@pytest.mark.usefixtures("narrow")
def test_batch_by_panels_is_batch():
    cases = [problem(np.random.default_rng(7), n=n, p=5, q=4, boundary=2)[0] for n in (8, 30)]
    for case in cases:
        found, exact = solve.batch(case, form="observation"), solve.batch(case, form="root")
        W = weights(20)
        np.testing.assert_allclose(found.mean, exact.mean, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(found.stdev(), exact.stdev(), rtol=1e-10)
        for name in LINEAR:
            np.testing.assert_allclose(getattr(found, name)(W), getattr(exact, name)(W), rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(found.solution.influence(), exact.solution.influence(), rtol=1e-9, atol=1e-10)
        d, e = found.diagnostics, exact.diagnostics
        assert (d.chi2, d.J_a, d.dofs, d.dofs_boundary) == pytest.approx((e.chi2, e.J_a, e.dofs, e.dofs_boundary))
        # tr(A²) is estimated where panels are several, and the result says so.
        said = [f for f in found.findings if f.code == "trace_squared_estimated"]
        assert len(said) == (case.n_obs > 8)
        assert all(f.grade is Grade.INFORM for f in said)
        assert d.trace_squared == pytest.approx(e.trace_squared, rel=0.1 if said else 1e-9)


@pytest.mark.usefixtures("narrow")
def test_what_is_not_positive_definite_is_refused_by_panels_too():
    case = problem(np.random.default_rng(7), n=30, p=4, q=3, boundary=0)[0]
    case.R = Diagonal(np.full(30, 1e-300))
    with pytest.raises(ProblemError, match="not positive definite"):
        solve.batch(case, form="observation")


@pytest.mark.parametrize("form", ["observation", "state", "root"])
def test_what_does_not_fit_into_memory_is_refused_with_what_would(form):
    case = problem(np.random.default_rng(7), n=60, p=10, q=10, boundary=0)[0]
    with pytest.raises(InversionError, match=r"memory_gb is 1e-05, but .* GB.*solve.variational"):
        solve.batch(case, form=form, memory_gb=1e-5)
    bounded = solve.batch(case, form=form, memory_gb=1.0)
    np.testing.assert_allclose(bounded.mean, solve.batch(case, form=form).mean, rtol=1e-12)
