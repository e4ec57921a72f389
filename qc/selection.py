"""Background selection: which hours stand for air that is well mixed far around. Configuration, never code per site.

What is selected is a companion of the values, not a flag: air from nearby is what an inversion needs. The rules are
those NOAA uses at Mauna Loa (Thoning et al. 1989, J. Geophys. Res. 94, 8549, section 2.3), each on only where it is
configured:

====  =====================================================================================================
V     the hour varies too much within itself
D     it differs too much from the hour before or after (both are put aside; twice as much is allowed across
      one missing hour), but for an hour at the edge of several steady ones, which it fits
U     the hour of the day is one of those in which local air comes
W     the wind blows from a sector that is rejected, or not from one that is kept, or too weakly
S     it stands alone: neither the hour before nor the one after is kept
N     no other hour is kept within a neighbourhood of hours
====  =====================================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qc.document import Table
from qc.errors import QcError

HOUR_NS: Final = 3600 * 10**9
KEPT: Final = "."
"""Letter of an hour that is background."""
MISSING: Final = " "
"""Letter of an hour without a good value."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rules:
    """What is asked of an hour.

    Parameters
    ----------
    max_stdev
        V: standard deviation from which on it is put aside [unit of the gas]; inf: not asked.
    max_difference
        D: difference of two hours above which both are put aside; inf: not asked.
    edge_hours
        D: an hour that fits so many steady ones that follow or precede it is taken back; 0: none is.
    rejected_hours
        U: hours of the day, UTC.
    rejected_sectors, kept_sectors
        W: directions the wind comes from [degrees], (from, to) clockwise; kept: only these, where any is given.
    min_wind
        W: weakest wind [m s-1].
    isolated
        S: whether an hour that stands alone is put aside.
    neighbourhood_hours
        N: hours on both sides; 0: not asked.

    Raises
    ------
    QcError
        Where a number cannot be.
    """

    max_stdev: float = np.inf
    max_difference: float = np.inf
    edge_hours: int = 3
    rejected_hours: tuple[int, ...] = ()
    rejected_sectors: tuple[tuple[float, float], ...] = ()
    kept_sectors: tuple[tuple[float, float], ...] = ()
    min_wind: float = 0.0
    isolated: bool = False
    neighbourhood_hours: int = 0

    def __post_init__(self) -> None:
        wrong = [hour for hour in self.rejected_hours if not 0 <= hour < 24]
        if wrong:
            msg = f"hour of the day is {wrong[0]}, expected 0 to 23"
            raise QcError(msg)
        for name in ("max_stdev", "max_difference"):
            if not getattr(self, name) > 0:
                msg = f"{name} is {getattr(self, name)}, expected more than 0"
                raise QcError(msg)

    @property
    def asks_wind(self) -> bool:
        """Whether it needs the wind."""
        return bool(self.rejected_sectors or self.kept_sectors or self.min_wind > 0)

    @property
    def reach_hours(self) -> int:
        """How many hours on each side can change what becomes of one."""
        return self.neighbourhood_hours + 2 + 2 * (self.edge_hours + 2)


MAUNA_LOA: Final = Rules(
    max_stdev=0.30,
    max_difference=0.25,
    rejected_hours=(21, 22, 23, 0, 1, 2, 3, 4),
    isolated=True,
    neighbourhood_hours=8,
)
"""NOAA's for CO2 at Mauna Loa [umol mol-1]; upslope wind by day, 21 to 05 UTC."""


def select(
    time: NDArray[np.int64],
    value: Floats,
    stdev: Floats,
    rules: Rules,
    *,
    wind_direction: Floats | None = None,
    wind_speed: Floats | None = None,
) -> NDArray[np.str_]:
    """Return a letter for each hour: `KEPT`, `MISSING`, or the first rule by which it was put aside.

    Parameters
    ----------
    time : int64 (hour)
        Begin of each hour, ns since 1970 UTC, increasing, whole hours.
    value, stdev : float64 (hour)
        Hourly mean and standard deviation; NaN where there is no good one.
    rules : Rules
        What is asked.
    wind_direction, wind_speed : float64 (hour), optional
        Where the wind comes from [degrees] and how strong [m s-1]; NaN is put aside where a rule asks for it.

    Returns
    -------
    str (hour)

    Raises
    ------
    QcError
        Where times are no whole hours or do not increase, or a rule asks for wind that is not given.
    """
    if (time % HOUR_NS).any() or (np.diff(time) <= 0).any():
        msg = "times are not whole hours that increase"
        raise QcError(msg)
    size = int((time[-1] - time[0]) // HOUR_NS) + 1 if time.size else 0
    at = ((time - time[0]) // HOUR_NS).astype(np.intp) if time.size else np.empty(0, np.intp)
    x, s = np.full(size, np.nan), np.full(size, np.nan)
    x[at], s[at] = value, stdev
    letter = np.full(size, MISSING, dtype="<U1")
    letter[np.isfinite(x)] = KEPT
    letter[(letter == KEPT) & (s >= rules.max_stdev)] = "V"
    _reject_steps(letter, x, rules)
    hour = (time[0] // HOUR_NS + np.arange(size)) % 24 if size else np.empty(0)
    letter[(letter == KEPT) & np.isin(hour, rules.rejected_hours)] = "U"
    if rules.rejected_sectors or rules.kept_sectors or rules.min_wind > 0:
        local = at[_local(rules, wind_direction, wind_speed, time.size)]
        chosen = np.zeros(size, dtype=bool)
        chosen[local] = True
        letter[(letter == KEPT) & chosen] = "W"
    if rules.isolated:
        letter[_alone(letter == KEPT, 1)] = "S"
    if rules.neighbourhood_hours:
        letter[_alone(letter == KEPT, rules.neighbourhood_hours)] = "N"
    found: NDArray[np.str_] = letter[at]
    return found


def _reject_steps(letter: NDArray[np.str_], x: Floats, rules: Rules) -> None:
    """Put aside both hours of a step, and take back those at the edge of steady ones."""
    if not np.isfinite(rules.max_difference):
        return
    there = np.flatnonzero(letter == KEPT)
    apart = np.diff(there)
    limit = np.where(apart == 1, 1.0, 2.0) * rules.max_difference
    step = (apart <= 2) & (np.abs(np.diff(x[there])) > limit)
    letter[there[:-1][step]] = "D"
    letter[there[1:][step]] = "D"
    if not rules.edge_hours:
        return
    steady = letter == KEPT
    for i in np.flatnonzero(letter == "D"):
        for side in (1, -1):
            others = i + side * np.arange(1, rules.edge_hours + 1)
            inside = others.min() >= 0 and others.max() < letter.size
            if inside and steady[others].all() and abs(x[others[0]] - x[i]) <= rules.max_difference:
                letter[i] = KEPT
                break


def _local(rules: Rules, direction: Floats | None, speed: Floats | None, size: int) -> NDArray[np.bool_]:
    """Return which hours the wind speaks against."""
    against = np.zeros(size, dtype=bool)
    if rules.rejected_sectors or rules.kept_sectors:
        if direction is None:
            msg = "the rules ask where the wind comes from, and no wind_direction is given"
            raise QcError(msg)
        against |= np.isnan(direction) | _within(direction, rules.rejected_sectors)
        if rules.kept_sectors:
            against |= ~_within(direction, rules.kept_sectors)
    if rules.min_wind > 0:
        if speed is None:
            msg = "the rules ask how strong the wind is, and no wind_speed is given"
            raise QcError(msg)
        against |= ~(speed >= rules.min_wind)
    return against


def _within(direction: Floats, sectors: tuple[tuple[float, float], ...]) -> NDArray[np.bool_]:
    inside = np.zeros(direction.size, dtype=bool)
    for first, last in sectors:
        inside |= (direction - first) % 360 <= (last - first) % 360
    return inside


def _alone(kept: NDArray[np.bool_], hours: int) -> NDArray[np.bool_]:
    """Return which kept hours have no other kept one within so many hours."""
    total = np.r_[0, np.cumsum(kept)]
    i = np.arange(kept.size)
    around = total[np.minimum(i + hours + 1, kept.size)] - total[np.maximum(i - hours, 0)]
    return kept & (around == 1)


def wind(time: NDArray[np.int64], direction: Floats, speed: Floats, hours: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Return where the wind came from and how strong it was in each hour: of the mean vector.

    Parameters
    ----------
    time : int64 (n,)
        ns since 1970 UTC, increasing.
    direction, speed : float64 (n,)
        [degrees], [m s-1]; NaN is left out.
    hours : int64 (hour,)
        Begin of each hour, ns since 1970 UTC, increasing.

    Returns
    -------
    direction, speed : float64 (hour,)
        NaN where there is none.
    """
    there = np.isfinite(direction) & np.isfinite(speed)
    begin = time[there] // HOUR_NS * HOUR_NS
    angle = np.radians(direction[there])
    place = np.searchsorted(hours, begin)
    known = (
        (place < hours.size) & (hours[np.minimum(place, max(hours.size - 1, 0))] == begin) if hours.size else begin < 0
    )
    counts = np.bincount(place[known], minlength=hours.size).astype(np.float64)
    east, north = (
        np.bincount(place[known], (speed[there] * part)[known], minlength=hours.size)
        for part in (np.sin(angle), np.cos(angle))
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.hypot(east, north) / counts
    return np.where(counts > 0, np.degrees(np.arctan2(east, north)) % 360, np.nan), mean


LIKE: Final = {"mauna loa": MAUNA_LOA}
"""Sets of rules that have a name."""


def from_table(table: Table) -> Rules:
    """Return the rules of a configuration; its faults go to the table's own list.

    ``like`` names a set to begin with; the other keys are the fields of `Rules`.
    """
    start = LIKE.get(table.text("like", "", among=list(LIKE)) if "like" in table else "", Rules())
    sectors = [table.pairs(key) for key in ("rejected_sectors", "kept_sectors")]
    found = {
        "max_stdev": table.number("max_stdev", start.max_stdev, low=1e-12),
        "max_difference": table.number("max_difference", start.max_difference, low=1e-12),
        "edge_hours": table.count("edge_hours", start.edge_hours, low=0),
        "rejected_hours": table.integers("rejected_hours", low=0, high=23) or start.rejected_hours,
        "rejected_sectors": sectors[0] or start.rejected_sectors,
        "kept_sectors": sectors[1] or start.kept_sectors,
        "min_wind": table.number("min_wind", start.min_wind, low=0.0),
        "isolated": table.flag("isolated", start.isolated),
        "neighbourhood_hours": table.count("neighbourhood_hours", start.neighbourhood_hours, low=0),
    }
    table.close()
    return Rules(**found)
