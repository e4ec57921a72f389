r"""Spikes: short rises by local pollution, by two methods. Both say which values they would flag; nothing is removed.

SD (El Yazidi et al. 2018, AMT 11, 1599, eq. 1)
    Going through the values in time, C_unf the last that was not flagged, n how many have been flagged since::

        flag C_i where C_i >= C_unf + alpha sigma + sqrt(n) sigma

    sigma is the standard deviation of the values between the first and the third quartile of about a week. alpha: 1 for
    CO2 and CH4, 3 for CO.

REBS (robust extraction of baseline signal; Ruckstuhl et al. 2001, Ann. Stat. 29, 1; 2012, AMT 5, 2613)
    Around each value a line is fitted to what lies within the bandwidth, by tricube weights in time and bisquare
    weights (1 - (r / (b s))²)² that take what lies above the line for less and spare what lies below; s = median |r| /
    0.6745 of what lies below. Flagged is what lies more than beta s above the line. b = 3.5; beta: 3 for CO2 and CH4,
    8 for CO.

Cost grows with the values; REBS also with the minutes of its bandwidth.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from qc.errors import QcError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
ALPHA: Final = {"co2": 1.0, "ch4": 1.0, "co": 3.0}
"""alpha of the SD method (El Yazidi et al. 2018, table 2)."""
BETA: Final = {"co2": 3.0, "ch4": 3.0, "co": 8.0}
"""beta of REBS (El Yazidi et al. 2018, table 2)."""
MINUTE_NS: Final = 60 * 10**9
WEEK_NS: Final = 7 * 86_400 * 10**9
_BLOCK: Final = 4096
"""Anchors fitted at once: what they need stays in the processor's cache."""
_NORMAL: Final = 0.6745
"""Median of |z| of a standard normal z."""


def sd(
    time: NDArray[np.int64],
    value: Floats,
    *,
    alpha: float = 1.0,
    gap_seconds: float = 3600.0,
    window_ns: int = WEEK_NS,
) -> Bools:
    """Return which values are spikes by the SD method.

    Parameters
    ----------
    time : int64 (n,)
        ns since 1970 UTC, increasing.
    value : float64 (n,)
        NaN is never a spike, nor does it end one.
    alpha : float
        Factor of sigma.
    gap_seconds : float
        After a longer gap the next value begins anew: it is not a spike for what was before [s].
    window_ns : int
        sigma is that of each stretch of this length, aligned to 1970 [ns].

    Returns
    -------
    bool (n,)

    Raises
    ------
    QcError
        Where arrays do not fit together or alpha is not positive.
    """
    _check(time, value, alpha=alpha)
    found = np.zeros(value.size, dtype=bool)
    there = np.flatnonzero(np.isfinite(value))
    if there.size < 2:
        return found
    t, v = time[there], value[there]
    sigma = _quiet_spread(t, v, window_ns)
    gap = np.r_[False, np.diff(t) > gap_seconds * 1e9]
    # Only where a value rises by alpha sigma over the one before can a spike begin; each is then followed to its end.
    rises = np.flatnonzero(np.r_[False, v[1:] >= v[:-1] + alpha * sigma[1:]] & ~gap)
    flagged = np.zeros(v.size, dtype=bool)
    values, spread, gaps = v.tolist(), sigma.tolist(), gap.tolist()
    done = 0
    for begin in rises.tolist():
        if begin <= done:  # `done` itself was found to be none
            continue
        done = _to_the_end(values, spread, gaps, begin, alpha)
        flagged[begin:done] = True
    found[there] = flagged
    return found


def _to_the_end(values: list[float], sigma: list[float], gaps: list[bool], begin: int, alpha: float) -> int:
    """Return the place after the last value of the spike that begins at one."""
    unflagged = values[begin - 1]
    place, n = begin + 1, 1
    while place < len(values) and not gaps[place]:
        if not values[place] >= unflagged + (alpha + n**0.5) * sigma[place]:
            return place
        place, n = place + 1, n + 1
    return place


def _quiet_spread(time: NDArray[np.int64], value: Floats, window_ns: int) -> Floats:
    """Return for each value the standard deviation between the quartiles of its stretch; NaN where none lies there."""
    number = time // window_ns
    first = np.flatnonzero(np.r_[True, np.diff(number) != 0])
    spread = np.empty(value.size)
    for begin, end in zip(first.tolist(), [*first[1:].tolist(), value.size], strict=True):
        part = value[begin:end]
        low, high = np.quantile(part, (0.25, 0.75))
        quiet = part[(part >= low) & (part <= high)]
        spread[begin:end] = quiet.std() if quiet.size else np.nan
    return spread


def rebs(
    time: NDArray[np.int64],
    value: Floats,
    *,
    beta: float = 3.0,
    bandwidth_minutes: int = 60,
    b: float = 3.5,
    iterations: int = 5,
) -> tuple[Bools, Floats]:
    """Return which values are spikes by REBS, and the baseline.

    Parameters
    ----------
    time : int64 (n,)
        ns since 1970 UTC, increasing; several values of one minute are taken for their mean.
    value : float64 (n,)
        NaN is never a spike.
    beta : float
        How many scales above the baseline a spike is.
    bandwidth_minutes : int
        Width of the window [min].
    b : float
        Where the weight of a residual is zero, in scales.
    iterations : int
        Of the weights.

    Returns
    -------
    spike : bool (n,)
    baseline : float64 (n,)
        NaN where a window holds fewer than three values.

    Raises
    ------
    QcError
        Where arrays do not fit together or a parameter is not positive.
    """
    _check(time, value, beta=beta, b=b, bandwidth_minutes=bandwidth_minutes, iterations=iterations)
    spike, baseline = np.zeros(value.size, dtype=bool), np.full(value.size, np.nan)
    there = np.flatnonzero(np.isfinite(value))
    if not there.size:
        return spike, baseline
    # Long gaps part the series: each part is laid on a grid of minutes.
    gaps = np.flatnonzero(np.diff(time[there] // MINUTE_NS) > bandwidth_minutes) + 1
    for first, last in pairwise([0, *gaps.tolist(), there.size]):
        rows = there[first:last]
        line, scale = _baseline(time[rows] // MINUTE_NS, value[rows], bandwidth_minutes, b=b, iterations=iterations)
        baseline[rows] = line
        with np.errstate(invalid="ignore"):
            spike[rows] = value[rows] - line > beta * scale
    return spike, baseline


def _baseline(
    minute: NDArray[np.int64], value: Floats, bandwidth: int, *, b: float, iterations: int
) -> tuple[Floats, float]:
    """Return the baseline at values of minutes, and the scale of what lies below it.

    The line is fitted at anchors, a twelfth of the bandwidth apart, and straight between them.
    """
    grid = (minute - minute[0]).astype(np.int32)
    offset = float(np.median(value))
    mean, there = _means(grid, value - offset)
    del minute, value  # as much again as what follows needs
    half, step = bandwidth // 2, max(bandwidth // 12, 1)
    lines = _Lines(mean, there, half=half, step=step)
    scale = 0.0
    line = lines.fitted(there.astype(np.float64))
    for _ in range(iterations):
        r = mean - line
        below = r[there & (r < 0)]
        scale = float(np.median(np.abs(below))) / _NORMAL if below.size else 0.0
        if scale == 0.0:
            break
        np.multiply(r, 1 / (b * scale), out=r)
        np.clip(r, 0.0, 1.0, out=r)
        np.multiply(r, r, out=r)
        np.subtract(1.0, r, out=r)
        np.multiply(r, r, out=r)
        r[~there] = 0.0
        np.copyto(r, 1.0, where=np.isnan(r))
        line = lines.fitted(r)
    return line[grid] + offset, scale


def _means(grid: NDArray[np.int32], value: Floats) -> tuple[Floats, Bools]:
    """Return the mean of each minute, 0 where there is none, and where there is one."""
    count = np.bincount(grid)
    mean = np.bincount(grid, value).astype(np.float64, copy=False)
    there = count > 0
    np.divide(mean, count, out=mean, where=there)
    return mean, there


class _Lines:
    """Fits lines to weighted minutes at anchors, again and again with other weights.

    Parameters
    ----------
    mean : float64 (minute)
        What they are fitted to.
    there : bool (minute)
        Which minutes have a value; an anchor with fewer than three around it has no line.
    half : int
        Minutes on either side.
    step : int
        Minutes between two anchors.
    """

    def __init__(self, mean: Floats, there: Bools, *, half: int, step: int) -> None:
        self._mean, self._step = mean, step
        u, x = np.arange(-half, half + 1) / (half + 1), np.arange(-half, half + 1) / half
        kernel = (1 - np.abs(u) ** 3) ** 3
        self._moments = np.stack([kernel, kernel * x, kernel * x * x], axis=1)
        count = -(-mean.size // step) + 1
        self._padded = np.zeros((2, step * (count - 1) + 2 * half + 1))
        self._inside = slice(half, half + mean.size)
        self._padded[0, self._inside] = there
        total = np.r_[0.0, np.cumsum(self._padded[0])]
        first = step * np.arange(count)
        self._enough = total[first + kernel.size] - total[first] > 2.5

    def at_anchors(self, weight: Floats) -> Floats:
        """Return the value of the line at each anchor, NaN where there is none."""
        self._padded[0, self._inside] = weight
        np.multiply(weight, self._mean, out=self._padded[1, self._inside])
        width = self._moments.shape[0]
        found = np.empty(self._enough.size)
        for begin in range(0, found.size, _BLOCK):
            end = min(begin + _BLOCK, found.size)
            part = self._padded[:, begin * self._step : (end - 1) * self._step + width]
            w, wm = (sliding_window_view(row, width)[:: self._step] for row in part)
            s0, s1, s2 = (w @ self._moments).T
            t0, t1 = (wm @ self._moments[:, :2]).T
            determinant = s0 * s2 - s1 * s1
            with np.errstate(invalid="ignore", divide="ignore"):
                line = (s2 * t0 - s1 * t1) / determinant
                found[begin:end] = np.where(determinant > 1e-9 * s0 * s2, line, t0 / s0)
        found[~self._enough] = np.nan
        return found

    def fitted(self, weight: Floats) -> Floats:
        """Return the value at each minute: straight between anchors, NaN where one of the two has none."""
        at = self.at_anchors(weight)
        share = np.arange(self._step) / self._step
        between = np.diff(at)[:, None] * share
        between += at[:-1, None]
        between[:, 0] = at[:-1]
        return between.ravel()[: self._mean.size]


def _check(time: NDArray[np.int64], value: Floats, **positive: float) -> None:
    if time.shape != value.shape:
        msg = f"time has shape {time.shape}, value {value.shape}; expected the same rows in both"
        raise QcError(msg)
    for name, number in positive.items():
        if not number > 0:
            msg = f"{name} is {number}, expected more than 0"
            raise QcError(msg)
    if time.size and (np.diff(time) <= 0).any():
        place = int(np.argmax(np.diff(time) <= 0)) + 1
        msg = f"times do not increase, first at place {place}: {np.datetime64(int(time[place]), 'ns')}"
        raise QcError(msg)
