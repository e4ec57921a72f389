"""Turbulence in the boundary layer as a function of height: standard deviations and time scales (Hanna 1982).

As coded in FLEXPART (Stohl et al. 2005, ACP 5, 2461, section 4), but for the gradient in neutral air, which is that of
the profile itself, ``dσ_w/dz = -2e-4 σ_w / u*``. With ζ = z/h::

    neutral (h/|L| < 1)  σ_w = σ_v = 1.3 u* exp(-2e-4 z/u*), σ_u = 2 u* exp(-3e-4 z/u*),
                         τ = 0.5 z/σ_w / (1 + 1.5e-3 z/u*)
    unstable             σ_w² = 1.2 w*² (1 - 0.9 ζ) ζ^(2/3) + (1.8 - 1.4 ζ) u*²,  σ_u = σ_v = u* (12 - 0.5 h/L)^(1/3)
                         τ_w = 0.1 z / [σ_w (0.55 - 0.38 |z/L|)] for z < |L|, 0.59 z/σ_w for ζ < 0.1, else
                         0.15 h/σ_w (1 - exp(-5 ζ));  τ_u = τ_v = 0.15 h/σ_u
    stable               σ_u = 2 u* (1 - ζ), σ_v = σ_w = 1.3 u* (1 - ζ),
                         τ_w = 0.1 h/σ_w ζ^0.8, τ_u = 0.15 h/σ_u ζ^(1/2), τ_v = 0.467 τ_u

0.01 m s-1 is added to each σ; τ_u, τ_v are 10 s and τ_w 30 s at least.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numba
import numpy as np

SHORTEST_W: Final = 30.0
SHORTEST_H: Final = 10.0
CALM: Final = 0.01
_TABLE: Final = 512
_ZETA: Final = np.linspace(0.0, 1.0, _TABLE + 1)
_A: Final = 1.2 * (1 - 0.9 * _ZETA) * np.cbrt(_ZETA) ** 2
_MIXING: Final = 1.0 - np.exp(-5.0 * _ZETA)
_ROOT: Final = _ZETA**0.8


@numba.njit(inline="always")
def _looked_up(table: Any, zeta: Any) -> Any:
    place = zeta * _TABLE
    below = min(int(place), _TABLE - 1)
    share = place - below
    return table[below] + share * (table[below + 1] - table[below])


@numba.njit(inline="always")
def vertical(z: Any, h: Any, ustar: Any, wstar: Any, stability: Any) -> Any:
    """Return σ_w [m s-1], dσ_w/dz [s-1], τ_w [s] at a height [m]."""
    zeta = min(z / h, 1.0)
    if h * abs(stability) < 1.0:  # neutral
        sigma = 1.3 * ustar * math.exp(-2e-4 * z / ustar)
        slope = -2e-4 * sigma / ustar
        sigma += CALM
        tau = 0.5 * z / sigma / (1.0 + 1.5e-3 * z / ustar)
    elif stability < 0.0:
        a = _looked_up(_A, zeta)
        square = a * wstar * wstar + (1.8 - 1.4 * zeta) * ustar * ustar
        sigma = math.sqrt(square)
        safe = max(zeta, 1e-4)
        # d/dζ [1.2 (1 - 0.9 ζ) ζ^(2/3)] = a [2/(3 ζ) - 0.9/(1 - 0.9 ζ)]
        bend = a * (2.0 / (3.0 * safe) - 0.9 / (1.0 - 0.9 * zeta)) * wstar * wstar - 1.4 * ustar * ustar
        slope = bend / (2.0 * sigma * h)
        sigma += CALM
        if z < -1.0 / stability:
            tau = 0.1 * z / (sigma * (0.55 - 0.38 * z * -stability))
        elif zeta < 0.1:
            tau = 0.59 * z / sigma
        else:
            tau = 0.15 * h / sigma * _looked_up(_MIXING, zeta)
    else:
        sigma = 1.3 * ustar * (1.0 - zeta)
        slope = -1.3 * ustar / h
        sigma += CALM
        tau = 0.1 * h / sigma * _looked_up(_ROOT, zeta)
    return sigma, slope, max(tau, SHORTEST_W)


@numba.njit(inline="always")
def horizontal(z: Any, h: Any, ustar: Any, stability: Any) -> Any:
    """Return σ_u, σ_v along and across the wind [m s-1] and τ_u, τ_v [s] at a height [m]."""
    zeta = min(z / h, 1.0)
    if h * abs(stability) < 1.0:
        along = 2.0 * ustar * math.exp(-3e-4 * z / ustar) + CALM
        across = 1.3 * ustar * math.exp(-2e-4 * z / ustar) + CALM
        tau = 0.5 * z / across / (1.0 + 1.5e-3 * z / ustar)
        return along, across, max(tau, SHORTEST_H), max(tau, SHORTEST_H)
    if stability < 0.0:
        along = ustar * np.cbrt(12.0 - 0.5 * h * stability) + CALM
        tau = max(0.15 * h / along, SHORTEST_H)
        return along, along, tau, tau
    along, across = 2.0 * ustar * (1.0 - zeta) + CALM, 1.3 * ustar * (1.0 - zeta) + CALM
    tau = 0.15 * h / along * math.sqrt(zeta)
    return along, across, max(tau, SHORTEST_H), max(0.467 * tau, SHORTEST_H)
