"""Small inverse problems drawn at random, and their solution by the book."""

from typing import NamedTuple

import numpy as np
import xarray as xr

from inversion import Problem
from inversion.covariance import BlockDiagonal, Dense, Diagonal, Kronecker, spatial, temporal


class Exact(NamedTuple):
    """Posterior of z = [x; b] by conditioning the joint Gaussian of (z, y), with plain inverses."""

    mean: np.ndarray
    covariance: np.ndarray
    gain: np.ndarray
    kernel: np.ndarray
    innovation_covariance: np.ndarray
    innovation: np.ndarray


def random_spd(rng, size):
    """A well conditioned random covariance."""
    root = rng.normal(size=(size, size)) / np.sqrt(size)
    return root @ root.T + 0.3 * np.eye(size)


def random_kronecker(rng, p, q):
    """Space ⊗ time, exponential."""
    space = spatial(rng.uniform(100, 120, p), rng.uniform(20, 40, p), sigma=rng.uniform(0.3, 0.8, p), length_km=400)
    return Kronecker(space, temporal(30.0 * np.arange(q), length_days=60))


def random_error(rng, n):
    """Half independent, half correlated."""
    half = n // 2
    return BlockDiagonal([Diagonal(rng.uniform(0.3, 1, half)), Dense(random_spd(rng, n - half))])


def problem(rng, *, n=30, p=4, q=3, boundary=3, H=None, R=None, B=None):
    """n observations at two sites, p x q states, some boundary terms; truth drawn from the priors."""
    m = p * q
    B = random_kronecker(rng, p, q) if B is None else B
    R = random_error(rng, n) if R is None else R
    H = rng.normal(size=(n, m)) if H is None else H
    H_b = rng.uniform(0, 2, size=(n, boundary))
    x = 1 + B.sqrt().matvec(rng.normal(size=m))
    b = 20 + 0.2 * rng.normal(size=boundary)
    y = np.asarray(H @ x) + H_b @ b + R.sqrt().matvec(rng.normal(size=n))
    coords = {"site": ("obs", np.repeat(["abc", "xyz"], [n // 2, n - n // 2]))}
    edges = {"H_b": H_b, "b_a": np.full(boundary, 20.0), "B_b": Diagonal(np.full(boundary, 0.04))} if boundary else {}
    return Problem(
        y=xr.DataArray(y, dims="obs", coords=coords, attrs={"units": "nmol mol-1"}),
        H=H,
        R=R,
        x_a=xr.DataArray(np.ones(m), dims="state", attrs={"units": "1"}),
        B=B,
        **edges,
    ), x


def dense(problem):
    """The matrices of a problem for z: H, R, B, z_a."""
    joint = problem.joint()
    return joint.H.rows(slice(0, problem.n_obs)), problem.R.to_dense(), joint.B.to_dense(), joint.z_a


def exact(problem):
    """Condition the joint Gaussian of (z, y) on y."""
    H, R, B, z_a = dense(problem)
    joint = np.block([[B, B @ H.T], [H @ B, H @ B @ H.T + R]])
    m = len(z_a)
    S = joint[m:, m:]
    K = joint[:m, m:] @ np.linalg.inv(S)
    d = problem.y.values - H @ z_a
    return Exact(z_a + K @ d, joint[:m, :m] - K @ joint[m:, :m], K, K @ H, S, d)
