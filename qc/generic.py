"""Generic tests of a series, with QARTOD outcomes: each says of every value good, suspect, bad, or that it could not.

What a test needs and does not have (a neighbour, a limit, a time that moves on) makes a value *not evaluated*, never
good; a missing value is *missing*. No test looks at a value across a gap, and none flags a value for what is wrong with
its neighbour's time. (IOOS QARTOD manual for dissolved gases, 2018; the thresholds are the caller's.)

Cost grows with the values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qc.errors import QcError
from qc.flags import Flag

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.int8]
NS: Final = 10**9


def _started(value: Floats) -> Flags:
    """Return flags where nothing has been looked at yet."""
    return np.where(np.isfinite(value), np.int8(Flag.NOT_EVALUATED), np.int8(Flag.MISSING))


def _require_fit(time: Ints, value: Floats) -> None:
    if time.shape != value.shape:
        msg = f"time has shape {time.shape}, value {value.shape}; expected the same rows in both"
        raise QcError(msg)


def _require_positive(**numbers: float) -> None:
    for name, number in numbers.items():
        if not number > 0:
            msg = f"{name} is {number}, expected more than 0"
            raise QcError(msg)


def order(time: Ints) -> Flags:
    """Return which times are out of order: good, or bad where one does not lie after all before it.

    Parameters
    ----------
    time : int64 (n,)
        ns since 1970 UTC, as they came.

    Returns
    -------
    int8 (n,)
        The first of several equal times is good, the others bad; so is what comes too late, and not what follows it.
    """
    if not time.size:
        return np.empty(0, np.int8)
    before = np.r_[np.iinfo(np.int64).min, np.maximum.accumulate(time)[:-1]]
    return np.where(time > before, np.int8(Flag.GOOD), np.int8(Flag.BAD))


def gaps(time: Ints, *, expected_seconds: float, factor: float = 1.5) -> NDArray[np.bool_]:
    """Return whether there is a gap before each value: bool (n,), the first False.

    Parameters
    ----------
    time : int64 (n,)
        ns since 1970 UTC, increasing.
    expected_seconds : float
        Usual distance of two values [s].
    factor : float
        A longer time than so many of them is a gap.
    """
    _require_positive(expected_seconds=expected_seconds, factor=factor)
    return np.r_[False, np.diff(time) > expected_seconds * factor * NS][: time.size]


def rate(time: Ints, value: Floats, *, suspect: float, bad: float = np.inf, max_gap_seconds: float = 3600.0) -> Flags:
    """Return how fast each value has come from the one before it.

    Parameters
    ----------
    time : int64 (n,)
        ns since 1970 UTC.
    value : float64 (n,)
        NaN is passed over.
    suspect, bad : float
        Rates above which a value is so [unit of the value per minute].
    max_gap_seconds : float
        Over a longer time a rate says nothing [s].

    Returns
    -------
    int8 (n,)
        Not evaluated: the first, those after a gap, and those whose time is not after the other's.

    Raises
    ------
    QcError
        Where the arrays do not fit together or a limit is not positive.
    """
    _require_fit(time, value)
    _require_positive(suspect=suspect, bad=bad, max_gap_seconds=max_gap_seconds)
    flags = _started(value)
    there = np.flatnonzero(np.isfinite(value))
    if there.size < 2:
        return flags
    elapsed = np.diff(time[there]) / (60.0 * NS)
    step = np.abs(np.diff(value[there]))
    outcome = np.full(step.size, Flag.GOOD, np.int8)
    for limit, flag in ((suspect, Flag.SUSPECT), (bad, Flag.BAD)):
        if np.isfinite(limit):
            outcome[step > limit * elapsed] = flag
    outcome[(elapsed <= 0) | (elapsed > max_gap_seconds / 60)] = Flag.NOT_EVALUATED
    flags[there[1:]] = outcome
    return flags


def flat_line(
    time: Ints,
    value: Floats,
    *,
    tolerance: float,
    suspect_seconds: float,
    bad_seconds: float = np.inf,
    max_gap_seconds: float = 3600.0,
) -> Flags:
    """Return which values lie on a line: all that stay within a tolerance for so long, from the first of them on.

    Parameters
    ----------
    time : int64 (n,)
        ns since 1970 UTC, increasing.
    value : float64 (n,)
        NaN is passed over.
    tolerance : float
        Largest minus smallest value of a line.
    suspect_seconds, bad_seconds : float
        Time after which it is one [s].
    max_gap_seconds : float
        A longer gap ends it [s].

    Returns
    -------
    int8 (n,)
        Not evaluated: values of a stretch that is shorter than a line has to be.

    Raises
    ------
    QcError
        Where the arrays do not fit together or a time is not positive.
    """
    _require_fit(time, value)
    _require_positive(suspect_seconds=suspect_seconds, bad_seconds=bad_seconds, max_gap_seconds=max_gap_seconds)
    flags = _started(value)
    there = np.flatnonzero(np.isfinite(value))
    if not there.size:
        return flags
    t, v = time[there], value[there]
    parts = _stretches(t, max_gap_seconds)
    outcome = np.full(there.size, Flag.NOT_EVALUATED, np.int8)
    for begin, end in parts:
        part = slice(begin, end)
        long_enough = t[end - 1] - t[begin] >= suspect_seconds * NS
        outcome[part] = Flag.GOOD if long_enough else Flag.NOT_EVALUATED
        for seconds, flag in ((suspect_seconds, Flag.SUSPECT), (bad_seconds, Flag.BAD)):
            if np.isfinite(seconds):
                lies = _within(t[part], v[part], tolerance, int(seconds * NS))
                outcome[part] = np.where(lies, flag, outcome[part])
    flags[there] = outcome
    return flags


def _stretches(time: Ints, max_gap_seconds: float) -> list[tuple[int, int]]:
    """Return begin and end of what lies between gaps."""
    breaks = np.flatnonzero(np.diff(time) > max_gap_seconds * NS) + 1
    edges = [0, *breaks.tolist(), time.size]
    return list(pairwise(edges))


def _within(time: Ints, value: Floats, tolerance: float, length: int) -> NDArray[np.bool_]:
    """Return which values belong to a window of `length` ns or more whose values differ by no more than the tolerance.

    From each value on, the first that leaves the tolerance is found by doubling steps: minima and maxima of 1, 2, 4 ...
    values (a sparse table), so that cost grows with n log n whatever the window.
    """
    n = value.size
    # Most values leave the tolerance at once, or have left it by the end of the window.
    begins = np.flatnonzero(np.abs(np.diff(value)) <= tolerance)
    ends = np.searchsorted(time, time[begins] + length)  # the first value at least so much later
    whole = ends < n
    begins, ends = begins[whole], ends[whole]
    near = np.abs(value[ends] - value[begins]) <= tolerance
    begins, ends = begins[near], ends[near]
    if not begins.size:
        return np.zeros(n, dtype=bool)
    low, high = _extremes(value, begins, ends + 1)
    flat = high - low <= tolerance
    marks = np.zeros(n + 1, dtype=np.int64)
    np.add.at(marks, begins[flat], 1)
    np.add.at(marks, ends[flat] + 1, -1)
    return np.cumsum(marks[:-1]) > 0


def _extremes(value: Floats, first: NDArray[np.intp], last: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Return smallest and largest value of each range [first, last)."""
    length = last - first
    level = np.floor(np.log2(np.maximum(length, 1))).astype(np.intp)
    low, high = np.empty(first.size), np.empty(first.size)
    smallest, largest = value, value
    for k in range(int(level.max()) + 1):
        chosen = level == k
        other = last[chosen] - (1 << k)
        low[chosen] = np.minimum(smallest[first[chosen]], smallest[other])
        high[chosen] = np.maximum(largest[first[chosen]], largest[other])
        step = 1 << k
        if value.size >= 2 * step:
            smallest = np.minimum(smallest[:-step], smallest[step:])
            largest = np.maximum(largest[:-step], largest[step:])
    return low, high


def attenuation(
    time: Ints,
    value: Floats,
    *,
    window_seconds: float,
    suspect: float,
    bad: float = 0.0,
    max_gap_seconds: float = 3600.0,
) -> Flags:
    """Return which values lie where the signal moves less than it should.

    Parameters
    ----------
    time : int64 (n,)
        ns since 1970 UTC, increasing.
    value : float64 (n,)
        NaN is passed over.
    window_seconds : float
        Length of the stretches that are looked at, aligned to 1970 [s].
    suspect, bad : float
        Standard deviations below which all values of a stretch are so.
    max_gap_seconds : float
        A stretch with a longer gap, or less than half full, is not evaluated [s].

    Returns
    -------
    int8 (n,)

    Raises
    ------
    QcError
        Where the arrays do not fit together or a parameter is not positive.
    """
    _require_fit(time, value)
    _require_positive(window_seconds=window_seconds, suspect=suspect, max_gap_seconds=max_gap_seconds)
    flags = _started(value)
    there = np.flatnonzero(np.isfinite(value))
    if not there.size:
        return flags
    t, v = time[there], value[there]
    number = t // int(window_seconds * NS)
    first = np.flatnonzero(np.r_[True, np.diff(number) != 0])
    count = np.diff(np.r_[first, t.size])
    centred = v - np.repeat(v[first], count)
    mean = np.add.reduceat(centred, first) / count
    spread = np.sqrt(np.maximum(np.add.reduceat(centred**2, first) / count - mean**2, 0.0))
    steps = np.r_[0, np.diff(t)]
    steps[first] = 0
    holey = np.maximum.reduceat(steps, first) > max_gap_seconds * NS
    full = t[first + count - 1] - t[first] >= window_seconds * NS / 2
    outcome = np.where(spread < bad, Flag.BAD, np.where(spread < suspect, Flag.SUSPECT, Flag.GOOD))
    outcome = np.where(holey | ~full, Flag.NOT_EVALUATED, outcome).astype(np.int8)
    flags[there] = np.repeat(outcome, count)
    return flags


@dataclass(frozen=True, slots=True)
class Season:
    """What is usual in some months and hours (UTC).

    Parameters
    ----------
    months, hours
        Of the year (1 to 12) and of the day (0 to 23); empty: all.
    low, high
        Usual values.
    """

    low: float
    high: float
    months: tuple[int, ...] = ()
    hours: tuple[int, ...] = ()


def climatology(time: Ints, value: Floats, seasons: Sequence[Season]) -> Flags:
    """Return which values are unusual for their month and hour: suspect outside of the first season that fits.

    Parameters
    ----------
    time : int64 (n,)
        ns since 1970 UTC.
    value : float64 (n,)
        NaN is missing.
    seasons : sequence of Season
        The first that fits counts; where none does, a value is not evaluated.

    Raises
    ------
    QcError
        Where the arrays do not fit together.
    """
    _require_fit(time, value)
    flags = _started(value)
    moments = time.astype("datetime64[ns]")
    month = moments.astype("datetime64[M]").astype(np.int64) % 12 + 1
    hour = time // (3600 * NS) % 24
    open_ = flags == Flag.NOT_EVALUATED
    for season in seasons:
        fits = open_.copy()
        if season.months:
            fits &= np.isin(month, season.months)
        if season.hours:
            fits &= np.isin(hour, season.hours)
        usual = (value[fits] >= season.low) & (value[fits] <= season.high)
        flags[fits] = np.where(usual, Flag.GOOD, Flag.SUSPECT)
        open_ &= ~fits
    return flags


def worst(*outcomes: Flags) -> Flags:
    """Return the worst of several outcomes: bad, suspect, good, not evaluated (only where all are), missing."""
    rank = np.array([0, 2, 1, 3, 4, 0, 0, 0, 0, 5], np.int8)  # of flags 0 .. 9
    back = np.array([0, Flag.NOT_EVALUATED, Flag.GOOD, Flag.SUSPECT, Flag.BAD, Flag.MISSING], np.int8)
    return back[np.maximum.reduce([rank[each] for each in outcomes])]
