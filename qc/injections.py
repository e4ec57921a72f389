r"""Standards as the instrument saw them: stays of the valve at a cylinder, and the episodes they form.

An *injection* is a stay of the valve at a cylinder; what comes before its gas has flushed the line is left out. A
*cycle* is one round through the standards, an *episode* the cycles that follow each other. The first cycle of an
episode is rejected where there is another (Hazan et al. 2016, AMT 9, 4719, section 2.4), and so is what spreads
more than its limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

NS: Final = 10**9
MINUTE_NS: Final = 60 * NS
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Standard:
    """A cylinder at a position of the valve.

    Parameters
    ----------
    port
        Position of the valve.
    tank
        Name of the cylinder.
    start, end
        datetime64: it hung there at or after `start` and before `end`; None: no bound.
    flush_seconds
        How long its gas needs to flush the line [s]; None: as the plan says.
    """

    port: str
    tank: str
    start: np.datetime64 | None = None
    end: np.datetime64 | None = None
    flush_seconds: float | None = None

    def holds(self, time: int) -> bool:
        """Whether it hung there at a time [ns since 1970 UTC]."""
        first, until = (
            None if t is None else int(t.astype("datetime64[ns]").astype(np.int64)) for t in (self.start, self.end)
        )
        return (first is None or time >= first) and (until is None or time < until)


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
    standards
        Which cylinder hung at which position of the valve, and when.
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

    standards: tuple[Standard, ...]
    flush_seconds: float = 120.0
    episode_hours: float = 12.0
    degree: int = 1
    reject_first: bool = True
    stdev_minute: float = np.nan
    stdev_injection: float = np.nan
    stdev_cycle: float = np.nan


def injections(
    time: Ints,
    value: Floats,
    port: NDArray[np.object_],
    plan: Plan,
    tanks: Sequence[str],
    *,
    outage_seconds: float = 900.0,
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
        Cylinders and limits.
    tanks : list of str
        Names; an injection's tank is its place here.
    outage_seconds : float
        A longer gap between two rows ends a stay [s].

    Returns
    -------
    Injections
        Those with at least one good minute.
    """
    places = {name: place for place, name in enumerate(tanks)}
    at_port: dict[str, list[Standard]] = {}
    for standard in plan.standards:
        if standard.tank in places:
            at_port.setdefault(standard.port, []).append(standard)
    begins = np.flatnonzero(
        np.r_[time.size > 0, (port[1:] != port[:-1]) | (np.diff(time) > outage_seconds * NS)][: time.size]
    )
    ends = np.r_[begins[1:], time.size][: begins.size]
    found: list[tuple[int, int, int, float, float, int]] = []
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        there = next((s for s in at_port.get(str(port[begin]), ()) if s.holds(int(time[begin]))), None)
        if there is None:
            continue
        flush = plan.flush_seconds if there.flush_seconds is None else there.flush_seconds
        first = begin + int(np.searchsorted(time[begin:end], time[begin] + flush * NS))
        made = _injection(time[first:end], value[first:end], plan)
        if made is not None:
            found.append((places[there.tank], *made))
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
