"""A covariance with scaled deviations against its dense form."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inversion.covariance import BlockDiagonal, Dense, Diagonal, Kronecker, Scaled
from inversion.errors import CovarianceError
from tests.inversion.cases import random_spd

KINDS = {
    "diagonal": lambda rng: Diagonal(rng.uniform(0.1, 3, 6)),
    "dense": lambda rng: Dense(random_spd(rng, 6)),
    "kronecker": lambda rng: Kronecker(Dense(random_spd(rng, 3)), Diagonal(rng.uniform(0.1, 3, 2))),
    "block": lambda rng: BlockDiagonal([Diagonal(rng.uniform(0.1, 3, 2)), Dense(random_spd(rng, 4))]),
}


@given(st.sampled_from(sorted(KINDS)), st.booleans(), st.integers(0, 3), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_everything_agrees_with_the_dense_form(kind, one, width, seed):
    rng = np.random.default_rng(seed)
    inner = KINDS[kind](rng)
    factor = 2.5 if one else rng.uniform(0.2, 5, 6)
    C = inner.to_dense() * np.outer(np.broadcast_to(factor, 6), np.broadcast_to(factor, 6))
    covariance = Scaled(inner, factor)
    V = rng.normal(size=(6, width) if width else 6)
    near = {"rtol": 1e-9, "atol": 1e-9}
    np.testing.assert_allclose(covariance.to_dense(), C, **near)
    np.testing.assert_allclose(covariance.matvec(V), C @ V, **near)
    np.testing.assert_allclose(covariance.solve(V), np.linalg.solve(C, V), **near)
    np.testing.assert_allclose(covariance.diagonal(), np.diagonal(C), **near)
    assert covariance.logdet() == pytest.approx(np.linalg.slogdet(C)[1], rel=1e-9, abs=1e-9)
    L = covariance.sqrt().to_dense()
    np.testing.assert_allclose(L @ L.T, C, **near)
    assert not np.triu(L, 1).any()
    np.testing.assert_allclose(covariance.sqrt().matvec(V), L @ V, **near)
    np.testing.assert_allclose(covariance.sqrt().rmatvec(V), L.T @ V, **near)
    np.testing.assert_allclose(covariance.sqrt().solve(L @ V), V, **near)
    np.testing.assert_allclose(covariance.sqrt().rsolve(L.T @ V), V, **near)
    added = np.ones_like(C)
    covariance.add_to(added)
    np.testing.assert_allclose(added, C + 1, **near)
    whole = np.zeros_like(C)
    for part, piece in covariance.pieces(2):
        whole[part, part] = piece.to_dense()
    np.testing.assert_allclose(whole, C, **near)


@pytest.mark.parametrize("factor", [0.0, np.nan, [1.0, 2.0], [1.0, -1.0, 1.0]])
def test_factors_that_cannot_be_are_refused(factor):
    with pytest.raises(CovarianceError, match="factors"):
        Scaled(Diagonal([1.0, 1.0, 1.0]), factor)
