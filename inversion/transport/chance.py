"""Random numbers inside kernels: a stream of its own for each particle, the same whatever else runs.

Generator: xoroshiro128+ (Blackman and Vigna 2018), its state spread from (seed, receptor, particle) by splitmix64
(Steele et al. 2014). Normal numbers by the ziggurat with 256 layers (Marsaglia and Tsang 2000).
"""

from __future__ import annotations

import math
from typing import Any, Final

import numba
import numpy as np
from numpy.typing import NDArray

_LAYERS: Final = 256
_U = np.uint64


def _tables() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return right edges x and densities f of the layers: x_i f_i has the same area below it for all layers."""

    def area(edge: float) -> float:
        tail = math.sqrt(math.pi / 2) * math.erfc(edge / math.sqrt(2))
        return edge * math.exp(-0.5 * edge * edge) + tail

    def last(edge: float) -> float:
        x, v = edge, area(edge)
        for _ in range(_LAYERS - 2):
            density = v / x + math.exp(-0.5 * x * x)
            if density >= 1.0:
                return 1.0
            x = math.sqrt(-2 * math.log(density))
        return v / x + math.exp(-0.5 * x * x) - 1.0

    low, high = 3.0, 4.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if last(middle) > 0 else (low, middle)
    edge, v = high, area(high)
    x = np.zeros(_LAYERS + 1)
    x[0], x[1] = v * math.exp(0.5 * edge * edge), edge
    for i in range(2, _LAYERS):
        x[i] = math.sqrt(-2 * math.log(v / x[i - 1] + math.exp(-0.5 * x[i - 1] ** 2)))
    return x, np.exp(-0.5 * x * x)


_X, _F = _tables()
_EDGE: Final = float(_X[1])


@numba.njit(inline="always")
def _splitmix(state: Any) -> Any:
    z = (state ^ (state >> _U(30))) * _U(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> _U(27))) * _U(0x94D049BB133111EB)
    return z ^ (z >> _U(31))


@numba.njit(cache=True)
def start(state: Any, seed: Any, receptor: Any, particle: Any) -> None:
    """Set a generator's state (uint64 (2,)) to where the stream of a particle begins."""
    golden = _U(0x9E3779B97F4A7C15)
    mixed = _splitmix(_U(seed) + golden)
    mixed = _splitmix(mixed + _U(receptor) * golden + golden)
    mixed = _splitmix(mixed + _U(particle) * golden + golden)
    state[0] = _splitmix(mixed + golden)
    state[1] = _splitmix(mixed + golden + golden) | _U(1)


@numba.njit(inline="always")
def _bits(state: Any) -> Any:
    s0, s1 = state[0], state[1]
    result = s0 + s1
    s1 ^= s0
    state[0] = ((s0 << _U(24)) | (s0 >> _U(40))) ^ s1 ^ (s1 << _U(16))
    state[1] = (s1 << _U(37)) | (s1 >> _U(27))
    return result


@numba.njit(inline="always")
def uniform(state: Any) -> Any:
    """Return a number from 0 (excluded) to 1."""
    return (np.float64(_bits(state) >> _U(11)) + 0.5) * (1.0 / 9007199254740992.0)


@numba.njit(cache=True)
def _rare(state: Any, layer: Any, x: Any) -> Any:
    """Return a normal number where the ziggurat's quick answer does not hold; NaN: try again."""
    if layer == 0:
        while True:
            a = -math.log(uniform(state)) / _EDGE
            b = -math.log(uniform(state))
            if b + b > a * a:
                return _EDGE + a if x > 0 else -(_EDGE + a)
    if _F[layer] + uniform(state) * (_F[layer + 1] - _F[layer]) < math.exp(-0.5 * x * x):
        return x
    return np.nan


@numba.njit(inline="always")
def normal(state: Any) -> Any:
    """Return a number of the standard normal distribution."""
    while True:
        bits = _bits(state)
        layer = np.int64(bits >> _U(56))
        x = (np.float64(np.int64(bits << _U(8)) >> np.int64(11)) * (1.0 / 4503599627370496.0)) * _X[layer]
        if abs(x) < _X[layer + 1]:
            return x
        x = _rare(state, layer, x)
        if not math.isnan(x):
            return x
