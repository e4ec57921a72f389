"""Many tests at once: p values adjusted for their number, and how often any of them errs."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_DRAWS: Final = 50_000
_AT_ONCE: Final = 2_000
_SEED: Final = 20


def adjusted(p: ArrayLike, control: str = "family") -> Floats:
    """Return p values adjusted for their number: what is at most the level is rejected.

    Holm (1979), Scand. J. Stat. 6, 65: p̃_(i) = max_{j≤i} min(1, (m - j + 1) p_(j));
    Benjamini and Yekutieli (2001), Ann. Stat. 29, 1165: p̃_(i) = min_{j≥i} min(1, c m p_(j) / j), c = Σ_{j≤m} 1/j

    Parameters
    ----------
    p : array (m,)
        NaN where nothing was tested; these do not count.
    control : {"family", "discoveries"}

    Returns
    -------
    array (m,)

    Examples
    --------
    >>> adjusted([0.01, 0.04, 0.02])
    array([0.03, 0.04, 0.04])
    """
    values = np.asarray(p, dtype=np.float64)
    out = np.full(values.shape, np.nan)
    tested = np.flatnonzero(np.isfinite(values))
    order = tested[np.argsort(values[tested], kind="stable")]
    m = order.size
    rank = np.arange(1, m + 1)
    if control == "family":
        stepped = np.maximum.accumulate((m - rank + 1) * values[order])
    else:
        scaled = (1.0 / rank).sum() * m * values[order] / rank
        stepped = np.minimum.accumulate(scaled[::-1])[::-1]
    out[order] = np.minimum(stepped, 1.0)
    return out


def any_beyond(covariance: ArrayLike, critical_z: float) -> float:
    """Return P(max |z_i| > critical) for z = d / σ with d ~ N(0, covariance).

    By 50,000 draws from a fixed seed: right to 0.5 %. Time grows with m², memory with m² too, and 2,000 m.

    Parameters
    ----------
    covariance : array (m, m)
        With variances above 0; it may be singular.
    critical_z : float

    Returns
    -------
    float
        0 without tests.

    Examples
    --------
    Three independent tests at 5 %: 1 - 0.95³ = 0.143.

    >>> round(any_beyond(np.eye(3), 1.96), 2)
    0.14
    """
    matrix = np.asarray(covariance, dtype=np.float64)
    if not matrix.size:
        return 0.0
    sigma = np.sqrt(np.diag(matrix))
    values, vectors = np.linalg.eigh(matrix / np.outer(sigma, sigma))
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    rng = np.random.default_rng(_SEED)
    beyond = 0
    for _ in range(_DRAWS // _AT_ONCE):
        z = rng.standard_normal((_AT_ONCE, len(root))) @ root.T
        beyond += int((np.abs(z) > critical_z).any(axis=1).sum())
    return beyond / _DRAWS
