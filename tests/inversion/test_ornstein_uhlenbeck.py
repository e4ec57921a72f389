"""Errors that fade in time, against the same covariance entry by entry."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inversion.covariance import Dense, OrnsteinUhlenbeck
from inversion.errors import CovarianceError


@st.composite
def errors(draw):
    n = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    time = np.cumsum(rng.choice([0.0, 1.0, 1.0, 18.0, 500.0], n))
    return OrnsteinUhlenbeck(time, rng.uniform(0.05, 2, n), rng.uniform(0, 3, n), draw(st.floats(0.1, 200.0)))


@settings(max_examples=60, deadline=None)
@given(errors(), st.integers(0, 2**32 - 1))
def test_it_is_the_dense_one(C, seed):
    rng = np.random.default_rng(seed)
    D = Dense(C.to_dense())
    for shape in ((C.size,), (C.size, 3)):
        V, U = rng.normal(size=shape), rng.normal(size=shape)
        np.testing.assert_allclose(C.matvec(V), D.matvec(V), rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(C.solve(V), D.solve(V), rtol=1e-9, atol=1e-9)
        L, T = C.sqrt(), D.sqrt()
        np.testing.assert_allclose(L.matvec(V), T.matvec(V), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(L.rmatvec(V), T.rmatvec(V), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(L.solve(V), T.solve(V), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(L.rsolve(V), T.rsolve(V), rtol=1e-9, atol=1e-9)
        assert (U * L.matvec(V)).sum() == pytest.approx((L.rmatvec(U) * V).sum(), rel=1e-9, abs=1e-9)
    np.testing.assert_allclose(C.sqrt().to_dense(), D.sqrt().to_dense(), atol=1e-10)
    np.testing.assert_allclose(C.diagonal(), D.diagonal())
    assert C.logdet() == pytest.approx(D.logdet(), rel=1e-10, abs=1e-10)
    matrix = np.ones((C.size, C.size))
    C.add_to(matrix)
    np.testing.assert_allclose(matrix, 1 + D.to_dense())
    W = rng.normal(size=(2, C.size))
    np.testing.assert_allclose(C.aggregate(W), D.aggregate(W), rtol=1e-9)


@pytest.mark.parametrize(
    ("time", "independent", "fading", "length", "sentence"),
    [
        ([0.0, 0.0], [0.0, 0.0], [1.0, 1.0], 1.0, r"condition number is at least 1e\+\d+.*value 1 follows"),
        ([1.0, 0.0], [1.0, 1.0], [1.0, 1.0], 1.0, "the times decrease"),
        ([0.0, 1.0], [1.0, -1.0], [1.0, 1.0], 1.0, "below zero"),
        ([0.0, 1.0], [1.0, np.nan], [1.0, 1.0], 1.0, "not finite"),
        ([0.0, 1.0], [1.0, 1.0], [1.0, 1.0], 0.0, "length is 0"),
        ([0.0, 1.0], [0.0, 1.0], [0.0, 1.0], 1.0, "no error at all"),
        ([0.0, 1.0], [1.0], [1.0, 1.0], 1.0, "the shapes"),
    ],
)
def test_what_is_no_covariance_is_refused(time, independent, fading, length, sentence):
    with pytest.raises(CovarianceError, match=sentence):
        OrnsteinUhlenbeck(time, independent, fading, length, name="R")
