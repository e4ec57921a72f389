"""Every covariance against its own dense form, and what is no covariance."""

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from inversion.covariance import (
    BlockDiagonal,
    Dense,
    Diagonal,
    Kronecker,
    chord,
    exponential,
    gaspari_cohn,
    gaussian,
    great_circle,
    matern,
    spatial,
    temporal,
)
from inversion.covariance.kernels import KINDS
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
        (lambda: gaspari_cohn(np.zeros((1, 1)), -1.0), "above zero"),
        (lambda: matern(1.0, 1.0, smoothness=0.0), "smoothness"),
        (lambda: matern(1.0, 1.0, smoothness=60.0), "Gaussian"),
        (lambda: spatial([100.0], [30.0], length_km=100, kind="spherical"), "'gaspari-cohn'"),
        (lambda: temporal([0.0], length_days=1, kind="gaussian", smoothness=1.5), "has none"),
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


@pytest.mark.parametrize(
    ("smoothness", "closed"),
    [
        (0.5, lambda s: np.exp(-s)),
        (1.5, lambda s: (1 + np.sqrt(3) * s) * np.exp(-np.sqrt(3) * s)),
        (2.5, lambda s: (1 + np.sqrt(5) * s + 5 * s**2 / 3) * np.exp(-np.sqrt(5) * s)),
    ],
)
def test_matern_has_closed_forms(smoothness, closed):
    d = np.concatenate([[0, 1e-300, 1e-12], np.linspace(0, 8, 50)])
    np.testing.assert_allclose(matern(d, 1.3, smoothness=smoothness), closed(d / 1.3), rtol=1e-13, atol=1e-15)


def test_matern_becomes_gaussian_as_it_becomes_smoother():
    d = np.linspace(0, 3, 30)
    gaps = [np.abs(matern(d, 1.0, smoothness=nu) - gaussian(d, 1.0)).max() for nu in (2, 8, 50)]
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 0.006


def test_gaspari_cohn_is_a_hat_convolved_with_itself_in_space_and_ends():
    """Gaspari and Cohn (1999), Section 4.3: Eq 4.10 is the convolution over R³ of (1 − 2|x|) for |x| < ½."""
    edge = (np.arange(64) + 0.5) / 64 - 0.5
    x, y, z = np.meshgrid(edge, edge, edge, indexing="ij")
    hat = np.maximum(1 - 2 * np.sqrt(x**2 + y**2 + z**2), 0)
    for shift in (8, 16, 32, 48):
        overlap = (hat[shift:] * hat[:-shift]).sum() / (hat**2).sum()
        assert gaspari_cohn(shift / 64, 0.5) == pytest.approx(overlap, abs=2e-3)
    far = np.array([1.0, 1.0 + 1e-9, 5.0])
    assert (gaspari_cohn(far, 0.5) == 0).all()
    assert (gaspari_cohn(np.linspace(0, 0.999, 200), 0.5) > 0).all()


@given(st.sampled_from(sorted(KINDS)), st.integers(2, 40), st.floats(50, 20_000), seeds)
@settings(max_examples=80, deadline=None)
def test_correlations_are_positive_definite_anywhere_on_the_sphere(kind, size, length, seed):
    rng = np.random.default_rng(seed)
    z = rng.uniform(-1, 1, size)
    d = great_circle(rng.uniform(-180, 180, size), np.degrees(np.arcsin(z)))
    C = KINDS[kind].correlation(chord(d) if KINDS[kind].straight else d, length)
    assert np.diagonal(C) == pytest.approx(1.0)
    assert (C >= 0).all()
    assert (C <= 1 + 1e-12).all()
    assert np.linalg.eigvalsh(C).min() > -1e-10 * size


@pytest.mark.parametrize("kind", ["matern", "gaspari-cohn", "gaussian"])
def test_great_circles_alone_would_not_do(kind):
    """Around the equator, long correlations of great-circle distance have negative eigenvalues: hence the chord."""
    d = great_circle(np.arange(0, 360, 5.0), np.zeros(72))
    length, correlation = 15_000.0, KINDS[kind].correlation
    assert np.linalg.eigvalsh(correlation(d, length)).min() < -0.01
    assert np.linalg.eigvalsh(correlation(chord(d), length)).min() > -1e-10


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_builders_of_every_kind(kind):
    lon, lat = [100.0, 101.0, 104.0], [30.0, 30.0, 31.0]
    B = spatial(lon, lat, sigma=2.0, length_km=150, kind=kind).to_dense()
    d = great_circle(lon, lat)
    np.testing.assert_allclose(B, 4 * KINDS[kind].correlation(d, 150), rtol=1e-3, atol=1e-3)
    T = temporal([0.0, 1.0, 3.0], length_days=2, kind=kind).to_dense()
    np.testing.assert_allclose(T[0], KINDS[kind].correlation(np.array([0.0, 1.0, 3.0]), 2.0))
    rough = spatial(lon, lat, length_km=150, kind="matern", smoothness=0.5).to_dense()
    np.testing.assert_allclose(rough, spatial(lon, lat, length_km=150).to_dense(), rtol=1e-3)


def test_a_gaussian_longer_than_the_grid_is_refused_and_mended_by_the_named_nugget():
    lon, lat = (axis.ravel() for axis in np.meshgrid(np.arange(100, 110.0), np.arange(25, 35.0)))
    far = {"length_km": 500.0, "kind": "gaussian", "name": "B"}
    assert np.linalg.cond(KINDS["gaussian"].correlation(chord(great_circle(lon, lat)), 500)) > 1e16
    with pytest.raises(CovarianceError, match=r"nugget=\d") as refusal:
        spatial(lon, lat, **far)
    mended = spatial(lon, lat, **far, nugget=float(str(refusal.value).split("nugget=")[1].rstrip(".")))
    assert mended.condition < 1e12
    assert "regularised" in mended.notes[0]


@given(covariances(), seeds)
@settings(max_examples=60, deadline=None)
def test_adjoints_of_every_operator(covariance, seed):
    """⟨u, C v⟩ = ⟨C u, v⟩ and ⟨u, L v⟩ = ⟨Lᵀ u, v⟩, without the dense form; the same for their inverses."""
    u, v = np.random.default_rng(seed).normal(size=(2, covariance.size))
    factor = covariance.sqrt()
    pairs = [
        (covariance.matvec, covariance.matvec),
        (covariance.solve, covariance.solve),
        (factor.matvec, factor.rmatvec),
        (factor.solve, factor.rsolve),
    ]
    for forward, adjoint in pairs:
        image, back = forward(v), adjoint(u)
        scale = np.linalg.norm(u) * np.linalg.norm(image) + np.linalg.norm(back) * np.linalg.norm(v)
        assert u @ image == pytest.approx(back @ v, abs=1e-12 * scale)
    np.testing.assert_allclose(factor.matvec(factor.rmatvec(v)), covariance.matvec(v), atol=1e-11 * np.abs(v).max() * 9)
