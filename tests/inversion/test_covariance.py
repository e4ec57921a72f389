"""Every covariance against its own dense form, and what is no covariance."""

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from inversion.covariance import BlockDiagonal, Dense, Diagonal, Kronecker, exponential, great_circle, spatial, temporal
from inversion.errors import CovarianceError
from tests.inversion.cases import random_spd

seeds = st.integers(0, 2**32 - 1)


def simple(rng, size):
    return Diagonal(rng.uniform(0.1, 3, size)) if rng.random() < 0.4 else Dense(random_spd(rng, size))


@st.composite
def covariances(draw, depth=2):
    """A covariance of any kind, nested up to `depth`."""
    kind = draw(st.sampled_from(["simple", "kronecker", "block"] if depth else ["simple"]))
    if kind == "simple":
        return simple(np.random.default_rng(draw(seeds)), draw(st.integers(1, 5)))
    parts = draw(st.lists(covariances(depth=depth - 1), min_size=2, max_size=3))
    return Kronecker(*parts) if kind == "kronecker" and np.prod([p.size for p in parts]) < 200 else BlockDiagonal(parts)


@given(covariances(), st.integers(0, 3), seeds)
@settings(max_examples=60, deadline=None)
def test_everything_agrees_with_the_dense_form(covariance, width, seed):
    rng = np.random.default_rng(seed)
    C = covariance.to_dense()
    V = rng.normal(size=(covariance.size, width) if width else covariance.size)
    tolerance = 1e-12 * np.linalg.cond(C) * (1 + np.abs(C).max())
    near = {"rtol": 0, "atol": tolerance}
    assert covariance.shape == C.shape
    np.testing.assert_allclose(covariance.matvec(V), C @ V, **near)
    np.testing.assert_allclose(covariance.solve(V), np.linalg.solve(C, V), **near)
    np.testing.assert_allclose(covariance.diagonal(), np.diagonal(C), **near)
    np.testing.assert_allclose(covariance.logdet(), np.linalg.slogdet(C)[1], rtol=1e-9, atol=1e-9)
    factor = covariance.sqrt()
    L = factor.to_dense()
    np.testing.assert_allclose(L @ L.T, C, **near)
    assert not np.triu(L, 1).any()
    np.testing.assert_allclose(factor.matvec(V), L @ V, **near)
    np.testing.assert_allclose(factor.rmatvec(V), L.T @ V, **near)
    np.testing.assert_allclose(factor.solve(factor.matvec(V)), V, **near)
    np.testing.assert_allclose(factor.rsolve(factor.rmatvec(V)), V, **near)
    added = np.ones_like(C)
    covariance.add_to(added)
    np.testing.assert_allclose(added, C + 1, **near)


@given(covariances(), st.integers(1, 4), seeds)
@settings(max_examples=40, deadline=None)
def test_aggregates_are_exact_and_symmetric(covariance, k, seed):
    W = np.random.default_rng(seed).normal(size=(k, covariance.size))
    expected = W @ covariance.to_dense() @ W.T
    found = covariance.aggregate(W)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10 * np.abs(expected).max())
    assert (found == found.T).all()
    assert np.linalg.eigvalsh(found).min() >= -1e-12 * np.abs(found).max()
    np.testing.assert_allclose(covariance.aggregate(scipy.sparse.csr_array(W)), found)


@given(covariances(), st.integers(1, 7))
@settings(max_examples=40, deadline=None)
def test_pieces_put_together_are_the_whole(covariance, rows):
    C = np.zeros(covariance.shape)
    stop = 0
    for part, piece in covariance.pieces(rows):
        assert part.start == stop
        stop = part.stop
        C[part, part] = piece.to_dense()
    assert stop == covariance.size
    np.testing.assert_allclose(C, covariance.to_dense())


def test_the_first_factor_of_a_kronecker_product_varies_slowest():
    C = Kronecker(Diagonal([1.0, 100.0]), Diagonal([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(C.diagonal(), [1, 2, 3, 100, 200, 300])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Diagonal([1.0, 0.0]), "not positive"),
        (lambda: Diagonal([1.0, np.nan]), "index 1"),
        (lambda: Diagonal([[1.0]]), "vector"),
        (lambda: Dense([[1.0, 2.0]]), "square"),
        (lambda: Dense([[1.0, 0.5], [0.4, 1.0]]), "not symmetric"),
        (lambda: Dense([[1.0, np.inf], [np.inf, 1.0]]), "finite"),
        (lambda: Dense([[1.0, 2.0], [2.0, 1.0]]), "not positive definite"),
        (lambda: Dense(np.eye(2), nugget=-1), "nugget"),
        (lambda: Kronecker(Diagonal([1.0])), "two or more"),
        (lambda: Kronecker(Diagonal([1.0]), np.eye(2)), "ndarray"),
        (lambda: BlockDiagonal([]), "nothing"),
        (lambda: exponential(np.zeros((1, 1)), 0.0), "above zero"),
    ],
)
def test_what_is_no_covariance_is_refused(make, words):
    with pytest.raises(CovarianceError, match=words):
        make()


def test_a_nearly_singular_covariance_is_refused_and_the_named_nugget_mends_it():
    # A Gaussian with L = 500 km on points 30 km apart has a condition number beyond double precision.
    distance = 30.0 * np.abs(np.subtract.outer(np.arange(60), np.arange(60)))
    matrix = np.exp(-0.5 * (distance / 500) ** 2)
    with pytest.raises(CovarianceError, match=r"nugget=\d") as refusal:
        Dense(matrix, name="B")
    nugget = float(str(refusal.value).split("nugget=")[1].rstrip("."))
    assert nugget < 1e-6
    mended = Dense(matrix, nugget=nugget, name="B")
    assert mended.condition < 1e12
    assert len(mended.notes) == 1
    assert "regularised" in mended.notes[0]
    assert "regularised" in Kronecker(mended, Diagonal([1.0])).notes[0]


def test_doubled_points_are_refused():
    with pytest.raises(CovarianceError, match="doubled points"):
        spatial([100.0, 100.0, 110.0], [30.0, 30.0, 30.0], length_km=300)


def test_the_matrix_given_is_not_changed_by_a_nugget():
    matrix = np.eye(3)
    Dense(matrix, nugget=0.5)
    np.testing.assert_array_equal(matrix, np.eye(3))


def test_great_circle_distances():
    # Pole to equator is a quarter of a meridian; Beijing to Shanghai, 1068 km by Vincenty's sphere with R = 6371 km.
    d = great_circle([0, 0, 116.4074, 121.4737], [90, 0, 39.9042, 31.2304])
    assert d[0, 1] == pytest.approx(np.pi / 2 * 6371)
    assert d[2, 3] == pytest.approx(1067, abs=1)
    np.testing.assert_array_equal(d, d.T)


def test_builders():
    B = spatial([100.0, 101.0], [30.0, 30.0], sigma=[1.0, 2.0], length_km=100).to_dense()
    d = great_circle([100.0, 101.0], [30.0, 30.0])[0, 1]
    np.testing.assert_allclose(B, [[1, 2 * np.exp(-d / 100)], [2 * np.exp(-d / 100), 4]])
    days = np.array(["2024-01-01", "2024-01-03"], dtype="datetime64[ns]")
    np.testing.assert_allclose(temporal(days, length_days=2).to_dense()[0, 1], np.exp(-1))
