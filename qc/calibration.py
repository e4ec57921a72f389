r"""Calibration: from what the instrument says to the scale, by standards measured now and then.

Injections, cycles, episodes
    An *injection* is a stay of the valve at a standard; what comes before its gas has flushed the line is left out. A
    *cycle* is one round through the standards, an *episode* the cycles that follow each other. The first cycle of an
    episode is rejected where there is another (Hazan et al. 2016, AMT 9, 4719, section 2.4), and so is what spreads
    more than its limit.

Fit
    At each episode e a polynomial of degree d (0: an offset) takes the measured m of tank k to its assigned a::

        a_k = m_k + sum_j c_j (m_k - m_0)^j + error,   weights: number of injections      j = 0 .. d

    with covariance N_e = s² (A' W A)^-1, s the repeatability of an injection, pooled over all episodes.

In time
    The coefficients are interpolated linearly between episodes; before the first and after the last they are held,
    and what rests on a single side is *provisional*. How much an instrument drifts in between is learnt from the
    episodes themselves: leaving each out, its neighbours predict it, and what they miss beyond N is drift. As a random
    walk with covariance Q per unit of time (estimated by the method of moments)::

        E[r r'] = Q g_e + N_e + w² N_(e-1) + (1-w)² N_(e+1)
        g_e = (t_e - t_(e-1)) (t_(e+1) - t_e) / (t_(e+1) - t_(e-1))

    between two episodes it adds Q (t - t_a)(t_b - t)/(t_b - t_a) (a Brownian bridge), after the last Q (t - t_last).

Uncertainty of a calibrated value x(t, m), p = (1, m - m_0, ...)
    ``u_calibration``: square root of p' [(1-w)² N_a + w² N_b + Q g(t)] p: shared by neighbours in time;
    ``u_tanks``: that of the assigned values, carried through the fit: shared by all values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qc.errors import QcError
from qc.tank import Tank

NS: Final = 10**9
MINUTE_NS: Final = 60 * NS
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Injections(NamedTuple):
    """Stays at standards, in order of time.

    Attributes
    ----------
    tank : int64 (injection)
        Which standard, as a place in the list of tanks.
    start, end : int64 (injection)
        First and last row that counts [ns since 1970 UTC].
    mean, stdev : float64 (injection)
        Of the one-minute means [unit of the gas]; stdev NaN for a single minute.
    minutes : int64 (injection)
        How many minutes.
    """

    tank: Ints
    start: Ints
    end: Ints
    mean: Floats
    stdev: Floats
    minutes: Ints


@dataclass(frozen=True, slots=True)
class Plan:
    """How a gas is calibrated.

    Parameters
    ----------
    ports
        Port of the valve -> name of the tank.
    flush_seconds
        Left out after the valve reached a standard [s].
    episode_hours
        A longer time between two injections ends an episode [h].
    degree
        Of the polynomial: 1 or 2; 0: an offset only.
    reject_first
        Whether the first cycle of an episode with several is left out.
    stdev_minute, stdev_injection, stdev_cycle
        Largest spread of the rows of a minute, of the minutes of an injection, of the injections of one tank in an
        episode [unit of the gas]; above it it is rejected. NaN: no limit. (Hazan et al. 2016, table 3: CO2 0.08, 0.06,
        0.05 umol mol-1; CH4 0.8, 0.5, 0.3 nmol mol-1.)
    """

    ports: Mapping[str, str]
    flush_seconds: float = 120.0
    episode_hours: float = 12.0
    degree: int = 1
    reject_first: bool = True
    stdev_minute: float = np.nan
    stdev_injection: float = np.nan
    stdev_cycle: float = np.nan


def injections(
    time: Ints, value: Floats, port: NDArray[np.object_], plan: Plan, tanks: list[str], *, outage_seconds: float = 900.0
) -> Injections:
    """Return the stays at standards.

    Parameters
    ----------
    time : int64 (row)
        ns since 1970 UTC, increasing.
    value : float64 (row)
        Dry, uncalibrated; NaN where a row brought none or is flagged.
    port : object (row)
        Position of the valve as text.
    plan : Plan
        Ports and limits.
    tanks : list of str
        Names; an injection's tank is its place here.
    outage_seconds : float
        A longer gap between two rows ends a stay [s].

    Returns
    -------
    Injections
        Those with at least one good minute.
    """
    place = {port: tanks.index(name) for port, name in plan.ports.items() if name in tanks}
    begins = np.flatnonzero(
        np.r_[time.size > 0, (port[1:] != port[:-1]) | (np.diff(time) > outage_seconds * NS)][: time.size]
    )
    ends = np.r_[begins[1:], time.size][: begins.size]
    found: list[tuple[int, int, int, float, float, int]] = []
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        tank = place.get(str(port[begin]))
        if tank is None:
            continue
        first = begin + int(np.searchsorted(time[begin:end], time[begin] + plan.flush_seconds * NS))
        made = _injection(time[first:end], value[first:end], plan)
        if made is not None:
            found.append((tank, *made))
    tank_of, start, end, mean, stdev, minutes = zip(*found, strict=True) if found else [()] * 6
    whole, real = np.int64, np.float64
    return Injections(
        np.array(tank_of, whole),
        np.array(start, whole),
        np.array(end, whole),
        np.array(mean, real),
        np.array(stdev, real),
        np.array(minutes, whole),
    )


def _injection(time: Ints, value: Floats, plan: Plan) -> tuple[int, int, float, float, int] | None:
    """Return start, end, mean, stdev and number of the good minutes of one stay, None where there is none."""
    good = np.isfinite(value)
    time, value = time[good], value[good]
    if not time.size:
        return None
    first = np.flatnonzero(np.r_[True, np.diff(time // MINUTE_NS) != 0])
    count = np.diff(np.r_[first, time.size])
    offset = value[0]
    mean = np.add.reduceat(value - offset, first) / count
    spread = np.sqrt(np.maximum(np.add.reduceat((value - offset) ** 2, first) / count - mean**2, 0.0))
    kept = ~(spread > plan.stdev_minute)
    if not kept.any():
        return None
    minutes = mean[kept] + offset
    stdev = float(minutes.std(ddof=1)) if minutes.size > 1 else np.nan
    if stdev > plan.stdev_injection:
        return None
    last = (first + count - 1)[kept]
    return int(time[first[kept][0]]), int(time[last[-1]]), float(minutes.mean()), stdev, int(minutes.size)


class Episode(NamedTuple):
    """One calibration.

    Attributes
    ----------
    time : int
        Mean time of its injections [ns since 1970 UTC].
    measured : float64 (tank)
        Mean of its injections; NaN for a tank it lacks.
    entered : int64 (tank)
        How many injections did.
    spread : float64 (tank)
        Their standard deviation, NaN for a single one.
    rejected : int
        Injections that did not enter.
    """

    time: int
    measured: Floats
    entered: Ints
    spread: Floats
    rejected: int


def episodes(found: Injections, plan: Plan, tanks: int) -> list[Episode]:
    """Return the episodes of injections, in order of time; those without enough tanks for the fit are left out.

    Parameters
    ----------
    found : Injections
        In order of time.
    plan : Plan
        What is rejected.
    tanks : int
        How many there are.
    """
    if not found.tank.size:
        return []
    gaps = found.start[1:] - found.end[:-1] > plan.episode_hours * 3600 * NS
    number = np.r_[0, np.cumsum(gaps)]
    made = (_episode(found, np.flatnonzero(number == k), plan, tanks) for k in range(int(number[-1]) + 1))
    return [episode for episode in made if int((episode.entered > 0).sum()) > plan.degree]


def _episode(found: Injections, rows: NDArray[np.intp], plan: Plan, tanks: int) -> Episode:
    tank, mean = found.tank[rows], found.mean[rows]
    # The cycle of an injection: how many of its tank came before it in the episode.
    cycle = np.array([int((tank[:i] == tank[i]).sum()) for i in range(rows.size)])
    enters = (cycle > 0) if plan.reject_first and cycle.max() > 0 else np.ones(rows.size, bool)
    # A tank with one injection only keeps it.
    alone = np.array([(tank == one).sum() == 1 for one in tank])
    enters |= alone
    measured, spread = np.full(tanks, np.nan), np.full(tanks, np.nan)
    count = np.zeros(tanks, dtype=np.int64)
    for k in range(tanks):
        values = mean[enters & (tank == k)]
        deviation = float(values.std(ddof=1)) if values.size > 1 else np.nan
        if not values.size or deviation > plan.stdev_cycle:
            continue
        measured[k], spread[k], count[k] = values.mean(), deviation, values.size
    middle = ((found.start[rows] + found.end[rows]) // 2)[enters]
    return Episode(int(middle.mean()), measured, count, spread, int(rows.size - count.sum()))


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
        Their covariance from the repeatability of the measurements.
    drift : float64 (degree + 1, degree + 1)
        Q, per second; NaN where fewer than three episodes cannot tell.
    gain : float64 (episode, degree + 1, tank)
        What each assigned value contributes to the coefficients.
    u_assigned : float64 (episode, tank)
        Standard uncertainty of the assigned values.
    centre : float
        m_0.
    repeatability : float
        Of an injection, pooled [unit of the gas]; NaN where no tank was injected twice.
    residual : float64 (episode, tank)
        Assigned minus fitted.
    """

    time: Ints
    coefficients: Floats
    noise: Floats
    drift: Floats
    gain: Floats
    u_assigned: Floats
    centre: float
    repeatability: float
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


def fit(found: list[Episode], tanks: list[Tank], *, degree: int = 1, repeatability: float = np.nan) -> Calibration:
    """Return the calibration of a series of episodes.

    Parameters
    ----------
    found : list of Episode
        In order of time.
    tanks : list of Tank
        In the order of the episodes' columns.
    degree : int
        Of the polynomial.
    repeatability : float
        Standard deviation of one injection, where it is known better than the episodes tell.

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
    s = _repeatability(found) if np.isnan(repeatability) else repeatability
    centre = float(np.nanmean([np.nanmean(e.measured) for e in found]))
    fits = [_fit_one(e, tanks, degree=degree, centre=centre, s=s) for e in found]
    coefficients, noise, gain, u, residual = (np.array(each) for each in zip(*fits, strict=True))
    time = np.array([e.time for e in found], dtype=np.int64)
    drift = _drift(time / NS, coefficients, noise)
    return Calibration(time, coefficients, noise, drift, gain, u, centre, s, residual)


def _repeatability(found: list[Episode]) -> float:
    """Return the pooled standard deviation of injections of one tank in one episode."""
    freedom = np.array([np.maximum(e.entered - 1, 0) for e in found], dtype=float)
    squares = np.array([np.nan_to_num(e.spread) ** 2 for e in found])
    return float(np.sqrt((freedom * squares).sum() / freedom.sum())) if freedom.sum() else np.nan


def _fit_one(
    episode: Episode, tanks: list[Tank], *, degree: int, centre: float, s: float
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
    coefficients = gain @ correction
    residual = np.full(len(tanks), np.nan)
    residual[there] = correction[there] - powers @ coefficients
    return coefficients, s**2 * inverse @ inverse.T, gain, u, residual


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
    left = np.clip(np.searchsorted(knots, time, side="right") - 1, 0, max(knots.size - 2, 0))
    right = np.minimum(left + 1, knots.size - 1)
    span = np.where(right > left, knots[right] - knots[left], 1)
    w = np.clip((time - knots[left]) / span, 0.0, 1.0)[:, None]
    c = (1 - w) * calibration.coefficients[left] + w * calibration.coefficients[right]
    degree = c.shape[1] - 1
    p = np.vander(value - calibration.centre, degree + 1, increasing=True)
    variance = _quadratic(p, calibration.noise[left], (1 - w[:, 0]) ** 2)
    variance += _quadratic(p, calibration.noise[right], w[:, 0] ** 2)
    variance += np.einsum("ni,ij,nj->n", p, calibration.drift, p) * _bridge(knots, left, right, time)
    gain = (1 - w[:, :, None]) * calibration.gain[left] + w[:, :, None] * calibration.gain[right]
    lever = np.einsum("ni,nik->nk", p, gain)
    u = (1 - w) * calibration.u_assigned[left] + w * calibration.u_assigned[right]
    u_tanks = np.sqrt(((lever * u) ** 2).sum(axis=1))
    provisional = (time < knots[0]) | (time > knots[-1]) | (knots.size < 2)
    nothing = np.isnan(value)
    return Calibrated(
        value + np.einsum("ni,ni->n", c, p),
        np.where(nothing, np.nan, np.sqrt(variance)),
        np.where(nothing, np.nan, u_tanks),
        provisional,
    )


def _quadratic(p: Floats, covariance: Floats, weight: Floats) -> Floats:
    found: Floats = weight * np.einsum("ni,nij,nj->n", p, covariance, p)
    return found


def _bridge(knots: Ints, left: NDArray[np.intp], right: NDArray[np.intp], time: Ints) -> Floats:
    """Return g(t) [s]: of a random walk between two knots, or beyond the last."""
    since, until = (time - knots[left]) / NS, (knots[right] - time) / NS
    with np.errstate(invalid="ignore", divide="ignore"):
        between = since * until / (since + until)
    outside = np.maximum(np.maximum(knots[0] - time, time - knots[-1]), 0) / NS
    inside = (time >= knots[0]) & (time <= knots[-1]) & (right > left)
    return np.where(inside, np.nan_to_num(between), outside)
