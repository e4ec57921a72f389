"""Closed forms of turbulent dispersion: Taylor's growth, and the vertical profile between ground and lid."""

from __future__ import annotations

from typing import Final

import numpy as np

from inversion.covariance.operator import Array

LATERAL_ANGLE: Final = {"A": 25.0, "B": 20.0, "C": 15.0, "D": 10.0, "E": 5.0, "F": 2.5}
"""Pasquill class -> standard deviation of the wind's horizontal angle, degree (EPA-454/R-99-005, from memory)."""
VERTICAL_ANGLE: Final = {"A": 12.0, "B": 10.8, "C": 8.9, "D": 6.4, "E": 3.7, "F": 1.8}
"""Pasquill class -> standard deviation of its vertical angle, degree (EPA-454/R-99-005, from memory: class middles)."""
TIMESCALE: Final = 0.15
"""Lagrangian time scale as a share of h/sigma, middle of the layer (Hanna 1982, as in FLEXPART's hanna.f90)."""
SHORTEST_TIMESCALE: Final = 10.0
"""s, lower bound of the Lagrangian time scale (FLEXPART)."""

_MIXED: Final = 0.63
"""sigma/h from which the cosine series converges faster than the images."""


def taylor(sigma: Array, timescale: Array, time: Array) -> Array:
    """Return the spread of a cloud after `time` in homogeneous turbulence.

    σ²(t) = 2 σ_w² τ² (t/τ − 1 + exp(−t/τ)) (Taylor 1921): σ_w t at first, σ_w √(2 τ t) in the end.

    Parameters
    ----------
    sigma : array [m s-1]
        Standard deviation of the turbulent velocity, σ_w.
    timescale : array [s]
        Lagrangian time scale τ.
    time : array [s]
        Broadcasts with the others.

    Returns
    -------
    array [m]

    Examples
    --------
    >>> taylor(np.array(0.5), np.array(100.0), np.array(60.0)).round(1)
    np.float64(27.3)
    """
    ratio = time / timescale
    # t/τ − 1 + e^(−t/τ) loses its digits for small t/τ: series there.
    series = 0.5 * ratio**2 * (1.0 - ratio / 3.0 * (1.0 - ratio / 4.0 * (1.0 - ratio / 5.0)))
    return sigma * timescale * np.sqrt(2.0 * np.where(ratio < 1e-2, series, ratio + np.expm1(-ratio)))


def vertical_density(height: Array, sigma: Array, lid: Array) -> Array:
    """Return the probability density at the ground of a cloud released at `height` under a lid.

    Gaussian with reflection at the ground and at the lid h: by images
    D = 2/(√(2π) σ) Σⱼ exp(−(z + 2jh)²/(2σ²)), or, once σ > 0.63 h, as the cosine series of the same function
    D = (1/h) [1 + 2 Σₖ exp(−(kπσ/h)²/2) cos(kπz/h)], which tends to 1/h (Csanady 1973; there both agree to 1e-8).
    By reciprocity it is also the density at `height` of a source at the ground. A receptor above the lid sees nothing.

    Parameters
    ----------
    height, sigma, lid : array [m]
        Broadcast with each other; `sigma` and `lid` above zero.

    Returns
    -------
    array [m-1]
    """
    height, sigma, lid = np.broadcast_arrays(height, sigma, lid)
    images = sum(np.exp(-0.5 * ((height + 2 * j * lid) / sigma) ** 2) for j in range(-2, 3))
    near = 2.0 / (np.sqrt(2.0 * np.pi) * sigma) * images
    waves = sum(np.exp(-0.5 * (k * np.pi * sigma / lid) ** 2) * np.cos(k * np.pi * height / lid) for k in range(1, 5))
    far = (1.0 + 2.0 * waves) / lid
    return np.where(height > lid, 0.0, np.where(sigma < _MIXED * lid, near, far))
