r"""Calibration: from what the instrument says to the scale, by standards measured now and then.

Fit
    At each episode e a polynomial of degree d (0: an offset) takes the measured m of tank k to its assigned a::

        a_k = m_k + sum_j c_j (m_k - m_0)^j + error,   weights: number of injections      j = 0 .. d

    with covariance N_e = s² (A' W A)^-1, s the repeatability of an injection, pooled over episodes.

In time
    The coefficients are interpolated linearly between episodes; before the first and after the last they are held,
    and what rests on a single side is *provisional*. How much an instrument drifts in between is learnt from the
    episodes themselves: leaving each out, its neighbours predict it, and what they miss beyond N is drift. As a random
    walk with covariance Q per unit of time (estimated by the method of moments)::

        E[r r'] = Q g_e + N_e + w² N_(e-1) + (1-w)² N_(e+1)
        g_e = (t_e - t_(e-1)) (t_(e+1) - t_e) / (t_(e+1) - t_(e-1))

    between two episodes it adds Q (t - t_a)(t_b - t)/(t_b - t_a) (a Brownian bridge), after the last Q (t - t_last).

    Q and s are learnt from all episodes, or, for what lies between two, from those of a history that ends with the
    second: then what was final stays as it is whatever comes later.

Uncertainty of a calibrated value x(t, m), p = (1, m - m_0, ...)
    ``u_calibration``: square root of p' [(1-w)² N_a + w² N_b + Q g(t)] p: shared by neighbours in time;
    ``u_tanks``: that of the assigned values, carried through the fit: shared by all values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qc.errors import QcError
from qc.injections import NS, Episode, Floats, Injections, Ints, Plan, Standard, episodes, injections
from qc.tank import Tank

__all__ = [
    "Calibrated",
    "Calibration",
    "Episode",
    "Injections",
    "Plan",
    "Standard",
    "apply",
    "episodes",
    "fit",
    "injections",
]

_FEW: Final = 10
"""Episodes below which what was said of repeatability and drift beforehand counts, where anything was."""
_DAY: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """Coefficients over time; make it with `fit`.

    Parameters
    ----------
    time : int64 (episode)
        ns since 1970 UTC, increasing.
    coefficients : float64 (episode, degree + 1)
        Of powers of (m - `centre`).
    noise : float64 (episode, degree + 1, degree + 1)
        Their covariance for a repeatability of 1: (A' W A)^-1.
    gain : float64 (episode, degree + 1, tank)
        What each assigned value contributes to the coefficients.
    u_assigned : float64 (episode, tank)
        Standard uncertainty of the assigned values.
    centre : float
        m_0.
    repeatability : float64 (episode)
        s from an episode to the next [unit of the gas]; NaN where no tank was injected twice.
    drift : float64 (episode, degree + 1, degree + 1)
        Q from an episode to the next, per second; NaN where fewer than three episodes cannot tell.
    residual : float64 (episode, tank)
        Assigned minus fitted.
    """

    time: Ints
    coefficients: Floats
    noise: Floats
    gain: Floats
    u_assigned: Floats
    centre: float
    repeatability: Floats
    drift: Floats
    residual: Floats


class Calibrated(NamedTuple):
    """What `apply` returns, each (n,).

    Attributes
    ----------
    value : float64
        On the scale.
    u_calibration, u_tanks : float64
        Standard uncertainties: of measuring the standards and drift in between; of the assigned values.
    provisional : bool
        Whether there is an episode on one side only: it may change when the next comes.
    """

    value: Floats
    u_calibration: Floats
    u_tanks: Floats
    provisional: NDArray[np.bool_]


def fit(
    found: Sequence[Episode],
    tanks: Sequence[Tank],
    *,
    degree: int = 1,
    repeatability: float = np.nan,
    drift: float = np.nan,
    history_days: float | None = None,
) -> Calibration:
    """Return the calibration of a series of episodes.

    Parameters
    ----------
    found : sequence of Episode
        In order of time.
    tanks : sequence of Tank
        In the order of the episodes' columns.
    degree : int
        Of the polynomial.
    repeatability, drift : float
        What is known beforehand of the standard deviation of one injection, and of the offset after a day [unit of the
        gas]: it counts as long as there are fewer than ten episodes, or none with two injections, to learn it from.
    history_days : float, optional
        Q and s between two episodes are learnt from those at most so long before the second [d]; None: from all.

    Returns
    -------
    Calibration

    Raises
    ------
    QcError
        Where there is no episode, or one has fewer tanks than the fit has terms.
    """
    if not found:
        msg = "no calibration: not one episode has enough standards; are their ports configured, is flushing too long?"
        raise QcError(msg)
    short = next((e for e in found if int((e.entered > 0).sum()) <= degree), None)
    if short is not None:
        has = int((short.entered > 0).sum())
        when = np.datetime64(short.time, "ns")
        msg = f"the episode of {when} has {has} standards, a fit of degree {degree} needs {degree + 1}"
        raise QcError(msg)
    at = np.array([e.time for e in found], dtype=np.int64)
    # A power of two near the middle: another cylinder leaves it, and with it every byte it does not touch.
    centre = float(2.0 ** np.round(np.log2(np.mean([tank.assignments[0].value for tank in tanks]))))
    fits = [_fit_one(e, tanks, degree=degree, centre=centre) for e in found]
    coefficients, noise, gain, u, residual = (np.array(each) for each in zip(*fits, strict=True))
    known = (repeatability, drift)
    learnt = [_learnt(found[part], coefficients[part], noise[part], known) for part in _histories(at, history_days)]
    s, Q = (np.array(each) for each in zip(*learnt, strict=True))
    return Calibration(at, coefficients, noise, gain, u, centre, s, Q, residual)


def _histories(at: Ints, days: float | None) -> list[slice]:
    """Return which episodes Q and s are learnt from, for what follows each."""
    if days is None:
        return [slice(0, at.size)] * at.size
    last = np.minimum(np.arange(at.size) + 1, at.size - 1)
    first = np.searchsorted(at, at[last] - int(days * _DAY * NS))
    first = np.minimum(first, np.arange(at.size))
    return [slice(int(begin), int(end) + 1) for begin, end in zip(first, last, strict=True)]


def _learnt(
    found: Sequence[Episode], coefficients: Floats, noise: Floats, known: tuple[float, float]
) -> tuple[float, Floats]:
    """Return repeatability and drift of some episodes, what was known beforehand where they are few."""
    few = len(found) < _FEW
    s = _repeatability(found)
    if np.isfinite(known[0]) and (few or np.isnan(s)):
        s = known[0]
    if few and np.isfinite(known[1]):
        Q = np.zeros(noise.shape[1:])
        Q[0, 0] = known[1] ** 2 / _DAY
        return s, Q
    return s, _drift(np.array([e.time for e in found]) / NS, coefficients, s**2 * noise)


def _repeatability(found: Sequence[Episode]) -> float:
    """Return the pooled standard deviation of injections of one tank in one episode."""
    freedom = np.concatenate([np.maximum(e.entered - 1, 0) for e in found]).astype(np.float64)
    squares = np.nan_to_num(np.concatenate([e.spread for e in found])) ** 2
    # Exact sums: a cylinder more that was not there changes no byte.
    total = math.fsum(freedom.tolist())
    return math.sqrt(math.fsum((freedom * squares).tolist()) / total) if total else np.nan


def _fit_one(
    episode: Episode, tanks: Sequence[Tank], *, degree: int, centre: float
) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    there = np.flatnonzero(episode.entered > 0)
    at = np.array([episode.time]).astype("datetime64[ns]")
    said = [tank.at(at) for tank in tanks]
    assigned, u = (np.array([float(pair[i][0]) for pair in said]) for i in (0, 1))
    powers = np.vander(episode.measured[there] - centre, degree + 1, increasing=True)
    root = np.sqrt(episode.entered[there])[:, None]
    # c = (A' W A)^-1 A' W a, by the factors of sqrt(W) A.
    q, r = np.linalg.qr(root * powers)
    solve = np.linalg.solve(r, q.T * root.T)
    gain = np.zeros((degree + 1, len(tanks)))
    gain[:, there] = solve
    inverse = np.linalg.solve(r, np.eye(degree + 1))
    correction = np.where(episode.entered > 0, assigned - episode.measured, 0.0)
    coefficients = solve @ correction[there]
    residual = np.full(len(tanks), np.nan)
    residual[there] = correction[there] - powers @ coefficients
    return coefficients, inverse @ inverse.T, gain, u, residual


def _drift(t: Floats, c: Floats, noise: Floats) -> Floats:
    """Return Q by the method of moments, its negative directions removed."""
    size = c.shape[1]
    if t.size < 3:
        return np.full((size, size), np.nan)
    before, after = t[1:-1] - t[:-2], t[2:] - t[1:-1]
    w = (after / (before + after))[:, None]
    r = c[1:-1] - (w * c[:-2] + (1 - w) * c[2:])
    w2 = w[:, :, None]
    known = noise[1:-1] + w2**2 * noise[:-2] + (1 - w2) ** 2 * noise[2:]
    moment = (np.einsum("ei,ej->ij", r, r) - np.nan_to_num(known).sum(axis=0)) / (
        before * after / (before + after)
    ).sum()
    values, vectors = np.linalg.eigh((moment + moment.T) / 2)
    return (vectors * np.maximum(values, 0.0)) @ vectors.T


def apply(calibration: Calibration, time: Ints, value: Floats) -> Calibrated:
    """Return values on the scale, with their uncertainties.

    Parameters
    ----------
    calibration : Calibration
        From `fit`.
    time : int64 (n,)
        ns since 1970 UTC.
    value : float64 (n,)
        Dry, uncalibrated; NaN stays.

    Returns
    -------
    Calibrated
    """
    knots = calibration.time
    last = np.searchsorted(knots, time, side="right") - 1
    provisional = (last < 0) | (time > knots[-1])
    on_scale, u, u_tanks = (np.full(time.size, np.nan) for _ in range(3))
    out = Calibrated(on_scale, u, u_tanks, provisional | (knots.size < 2))
    for piece in np.unique(last).tolist():
        rows = np.flatnonzero(last == piece)
        _apply_piece(calibration, piece, time[rows], value[rows], rows, out)
    return out


def _apply_piece(
    calibration: Calibration, piece: int, time: Ints, value: Floats, rows: NDArray[np.intp], out: Calibrated
) -> None:
    """Calibrate what lies between an episode and the next, or beyond the ends."""
    knots = calibration.time
    left, right = max(piece, 0), min(piece + 1, knots.size - 1)
    span = max(int(knots[right] - knots[left]), 1)
    w = np.clip((time - knots[left]) / span, 0.0, 1.0)
    s2 = calibration.repeatability[left] ** 2
    p = np.vander(value - calibration.centre, calibration.coefficients.shape[1], increasing=True)
    a, b = p @ calibration.coefficients[left], p @ calibration.coefficients[right]
    variance = (1 - w) ** 2 * _quadratic(p, s2 * calibration.noise[left])
    variance += w**2 * _quadratic(p, s2 * calibration.noise[right])
    variance += _bridge(knots, left, right, time) * _quadratic(p, calibration.drift[left])
    used = np.flatnonzero((calibration.gain[left] != 0).any(axis=0) | (calibration.gain[right] != 0).any(axis=0))
    gains, us = (array[[left, right]][..., used] for array in (calibration.gain, calibration.u_assigned))
    lever = (1 - w)[:, None] * (p @ gains[0]) + w[:, None] * (p @ gains[1])
    u = np.outer(1 - w, us[0]) + np.outer(w, us[1])
    there = np.isfinite(value)
    out.value[rows] = value + (1 - w) * a + w * b
    out.u_calibration[rows] = np.where(there, np.sqrt(variance), np.nan)
    out.u_tanks[rows] = np.where(there, np.sqrt(((lever * u) ** 2).sum(axis=1)), np.nan)


def _quadratic(p: Floats, covariance: Floats) -> Floats:
    found: Floats = ((p @ covariance) * p).sum(axis=1)
    return found


def _bridge(knots: Ints, left: int, right: int, time: Ints) -> Floats:
    """Return g(t) [s]: of a random walk between two episodes, or beyond the ends."""
    since, until = (time - knots[left]) / NS, (knots[right] - time) / NS
    if right > left:
        found: Floats = since * until / (since + until)
        return found
    return np.where(time < knots[0], (knots[0] - time) / NS, since)
