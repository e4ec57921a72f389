"""Months, and the periods statistics come in: months, January and February in one, and the year so far."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inversion.inventory.entry import InventoryError, Period

Floats = NDArray[np.float64]

_TOLERANCE: Final = 0.01


def months(first: str | Period, last: str | Period) -> tuple[Period, ...]:
    """Return all months from the first of one period to the last of another.

    Examples
    --------
    >>> [str(month) for month in months("2019-12", "2020-02")]
    ['2019-12', '2020-01', '2020-02']
    """
    start, end = (Period.parse(p) if isinstance(p, str) else p for p in (first, last))
    return tuple(_month(number) for number in range(_number(start.start, start), _number(end.end, end)))


def quarters(of: Sequence[Period]) -> tuple[Period, ...]:
    """Return the calendar quarters that lie wholly in consecutive months."""
    starts = [month for month in of if month.start.month % 3 == 1]
    whole = [Period(month.start, _month(_number(month.start, month) + 2).end) for month in starts]
    return tuple(quarter for quarter in whole if quarter.end <= of[-1].end)


def years(of: Sequence[Period]) -> tuple[Period, ...]:
    """Return the calendar years that lie wholly in consecutive months."""
    starts = [month for month in of if month.start.month == 1]
    whole = [Period(month.start, dt.date(month.start.year + 1, 1, 1)) for month in starts]
    return tuple(year for year in whole if year.end <= of[-1].end)


def _number(day: dt.date, period: Period) -> int:
    if day.day != 1:
        raise InventoryError("The calendar", [f"The period {period} is not made of whole months."])
    return day.year * 12 + day.month - 1


def _month(number: int) -> Period:
    start, end = (dt.date(n // 12, n % 12 + 1, 1) for n in (number, number + 1))
    return Period(start, end)


def coverage(periods: Sequence[Period], of: Sequence[Period]) -> Floats:
    """Return C: which months (columns) each period (rows) is the sum of.

    Parameters
    ----------
    periods : sequence of Period (n)
    of : sequence of Period (m)
        Consecutive months.

    Returns
    -------
    array (n, m)
        0 and 1.

    Raises
    ------
    InventoryError
        When a period is not made of whole months, or reaches beyond them.
    """
    C = np.zeros((len(periods), len(of)))
    first = _number(of[0].start, of[0])
    faults = []
    for row, period in zip(C, periods, strict=True):
        start, end = _number(period.start, period) - first, _number(period.end, period) - first
        if start < 0 or end > len(of):
            faults.append(f"{period} reaches beyond the months {of[0]} to {of[-1]}.")
        row[max(start, 0) : max(end, 0)] = 1.0
    if faults:
        raise InventoryError("The periods", faults)
    return C


def apart(values: Iterable[tuple[Period, float]], *, what: str = "the series") -> list[tuple[Period, float]]:
    """Return values of periods that do not overlap: cumulative ones (the year so far) are taken apart.

    The National Bureau of Statistics publishes no January, but January and February together, and then the year so
    far: 2020-01/2020-02, 2020-01/2020-03, ... give 2020-01/2020-02, 2020-03, ... A month that is also there by itself
    stays as it is, and what is cumulative must then agree with the sum to 1 %.

    Parameters
    ----------
    values : iterable of (Period, float)
    what : str
        For messages.

    Returns
    -------
    list of (Period, float)
        In the order of time.

    Raises
    ------
    InventoryError
        When periods overlap in another way, cumulative values fall, or disagree with the months.

    Examples
    --------
    >>> said = {"2020-01/2020-02": 8.0, "2020-01/2020-03": 12.5, "2020-04": 4.0}
    >>> [(str(p), v) for p, v in apart((Period.parse(text), value) for text, value in said.items())]
    [('2020-01/2020-02', 8.0), ('2020-03', 4.5), ('2020-04', 4.0)]
    """
    found: list[tuple[Period, float]] = []
    faults: list[str] = []
    for period, value in sorted(values, key=lambda pair: (pair[0].end, pair[0].days)):
        inside = [(p, v) for p, v in found if p.end > period.start]
        reached = max((p.end for p, _ in inside), default=period.start)
        known = sum(v for _, v in inside)
        if sum(p.days for p, _ in inside) != (reached - period.start).days:
            faults.append(f"{period} of {what} overlaps with others, but does not sum them.")
        elif reached == period.end:
            if abs(value - known) > _TOLERANCE * abs(value):
                faults.append(f"{period} of {what} is {value:g}, but its parts sum to {known:g}.")
        elif value < known:
            faults.append(f"{what[0].upper()}{what[1:]} falls: {period} is {value:g}, before it was {known:g} already.")
        else:
            found.append((Period(reached, period.end), value - known))
    if faults:
        raise InventoryError(what, faults)
    return found


def monthly(values: Sequence[tuple[Period, float]], of: Sequence[Period]) -> Floats:
    """Return values by month, those of several months split by days; NaN where there is none.

    Parameters
    ----------
    values : sequence of (Period, float)
        That do not overlap, from `apart`.
    of : sequence of Period (m)

    Returns
    -------
    array (m,)
    """
    out = np.full(len(of), np.nan)
    days = np.array([month.days for month in of], dtype=np.float64)
    inside = [(p, v) for p, v in values if p.start >= of[0].start and p.end <= of[-1].end]
    for row, (period, value) in zip(coverage([p for p, _ in inside], of), inside, strict=True):
        covered = row > 0
        out[covered] = value * days[covered] / period.days
    return out
