"""When an annual total is emitted: shares of months, rates of weekdays and hours, from a table with its source.

The mean over the period stays 1, exactly, so that what is laid over a grid by `gridding` keeps its mass in time too:

    factor(t) = (s_month(t) N / n_month(t)) w(t) / mean of w over that month,   w(t) = weekday(t) hour(t)

with s the months' shares (of those in the period, summing to 1), N and n the hours of the period and of the month in
it. Clocks are the inventory's own: hours ahead of UTC (8: Beijing).
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import xarray as xr

from inversion.covariance.operator import Array
from inversion.inventory.categories import nearest
from inversion.inventory.entry import CategoryError, InventoryError, Period
from inversion.inventory.entry import category as known_category
from inversion.inventory.text import decoded

KINDS: Final = {"month": (1, 12), "weekday": (1, 7), "hour": (0, 23)}
"""Steps of each kind of profile, first and last; Monday is 1."""
EVERY: Final = ("month", "day", "hour")
_COLUMNS: Final = ("category", "kind", "step", "weight", "source")
_HOUR: Final = np.timedelta64(1, "h")


@dataclass(frozen=True, slots=True)
class Profile:
    """Weights of a category; those not given are even.

    Attributes
    ----------
    month : tuple of 12 numbers, optional
        Shares of the year's emissions.
    weekday, hour : tuple of 7 (Monday first), 24 numbers, optional
        Relative rates.
    source : str
        Where they come from.
    """

    month: tuple[float, ...] | None = None
    weekday: tuple[float, ...] | None = None
    hour: tuple[float, ...] | None = None
    source: str = "even"

    def __post_init__(self) -> None:
        faults = []
        for kind, (first, last) in KINDS.items():
            weights = getattr(self, kind)
            size = last - first + 1
            if weights is not None and (len(weights) != size or min(weights) < 0 or not sum(weights) > 0):
                faults.append(f"The profile of the {kind} has {len(weights)} weights, expected {size}, none below 0.")
        if faults:
            raise InventoryError(self.source, faults)

    def factors(self, period: Period, *, every: str = "month", clock: float = 8.0) -> xr.DataArray:
        """Return by what the mean rate over a period is multiplied in each interval of it.

        Parameters
        ----------
        period : Period
            In the inventory's own calendar.
        every : str
            "month", "day" or "hour".
        clock : float [h]
            Hours the calendar is ahead of UTC.

        Returns
        -------
        xr.DataArray (time)
            "1"; the mean weighted by length is 1. Coordinates ``time`` and ``time_end``, the bounds in UTC.

        Raises
        ------
        InventoryError
            Where the period lies in months without a share, or `every` is none of these.
        """
        if every not in EVERY:
            raise InventoryError(self.source, [f"every is {every!r}, expected one of {', '.join(EVERY)}."])
        start, end = np.datetime64(period.start, "h"), np.datetime64(period.end, "h")
        hours = np.arange(start, end)
        weight = self._weights(hours, period)
        edges = np.unique(hours.astype(f"datetime64[{_CODES[every]}]"))
        first = np.searchsorted(hours, edges.astype("datetime64[h]"))
        count = np.diff(np.append(first, hours.size))
        shift = np.timedelta64(round(clock * 3600), "s")
        begins = hours[first].astype("datetime64[ns]") - shift
        ends = np.append(begins[1:], end.astype("datetime64[ns]") - shift)
        return xr.DataArray(
            np.add.reduceat(weight, first) / count,
            dims="time",
            coords={"time": begins, "time_end": ("time", ends)},
            name="factor",
            attrs={"units": "1", "source": self.source},
        )

    def _weights(self, hours: np.ndarray, period: Period) -> Array:
        """Return the factor of every hour; mean 1."""
        month = hours.astype("datetime64[M]")
        days = hours.astype("datetime64[D]")
        weight = np.ones(hours.size)
        if self.weekday is not None:
            weight *= np.asarray(self.weekday)[(days.astype(int) + 3) % 7]  # 1970-01-01 was a Thursday
        if self.hour is not None:
            weight *= np.asarray(self.hour)[((hours - days) // _HOUR).astype(int)]
        months, of_hour = np.unique(month, return_inverse=True)
        length = np.bincount(of_hour).astype(np.float64)
        share = (
            length if self.month is None else np.asarray(self.month)[months.astype(int) % 12] * length / _whole(months)
        )
        if not share.sum() > 0:
            raise InventoryError(self.source, [f"The months of {period} have no share of the year: give one."])
        mean = np.bincount(of_hour, weight) / length
        if np.any((mean == 0) & (share > 0)):
            raise InventoryError(self.source, ["A month has a share, but its days and hours all have the weight 0."])
        rate = share / share.sum() * (hours.size / length) / np.where(mean > 0, mean, 1.0)
        return np.asarray(weight * rate[of_hour])


@dataclass(frozen=True, slots=True)
class Profiles:
    """Profiles by category.

    Attributes
    ----------
    by_category : mapping of IPCC 2006 category ("0": every other) to Profile
    version : str
        What the table is called; carried into what is made with it.
    """

    by_category: dict[str, Profile] = field(default_factory=dict)
    version: str = ""

    def of(self, category: str) -> Profile:
        """Return the profile of a category, or of the nearest it is part of, or of all ("0"); else an even one."""
        return nearest(self.by_category, category) or Profile()


def read(path: str | Path, *, version: str) -> Profiles:
    """Return the profiles of a CSV: ``category,kind,step,weight,source``, a row for every step.

    Parameters
    ----------
    path : path
        ``kind`` is month (steps 1 to 12, shares of the year), weekday (1 to 7, Monday first) or hour (0 to 23).
    version : str
        Of the table.

    Returns
    -------
    Profiles

    Raises
    ------
    InventoryError
        With every fault, by line: columns, categories, kinds, steps missing or there twice, weights that are none.
    """
    name = Path(path).name
    faults: list[str] = []
    table: dict[tuple[str, str], dict[int, float]] = {}
    sources: dict[str, list[str]] = {}
    reader = csv.DictReader(io.StringIO(decoded(Path(path), "utf-8-sig", InventoryError)))
    missing = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise InventoryError(name, [f"Its columns lack {', '.join(missing)}; expected {', '.join(_COLUMNS)}."])
    for row in reader:
        _row(row, f"line {reader.line_num}", table, sources, faults)
    for (category, kind), weights in table.items():
        first, last = KINDS[kind]
        lost = [str(step) for step in range(first, last + 1) if step not in weights]
        if lost:
            faults.append(f"The {kind} profile of {category} lacks the steps {', '.join(lost)}.")
    if faults:
        raise InventoryError(name, faults)
    return Profiles({category: _profile(category, table, said) for category, said in sources.items()}, version)


_CODES: Final = {"month": "M", "day": "D", "hour": "h"}


def _whole(months: np.ndarray) -> Array:
    """Return the hours of whole months: a period that holds half of one has half of its share."""
    begins = months.astype("datetime64[h]")
    return np.asarray(((months + 1).astype("datetime64[h]") - begins) / _HOUR)


def _row(
    row: dict[str, str],
    line: str,
    table: dict[tuple[str, str], dict[int, float]],
    sources: dict[str, list[str]],
    faults: list[str],
) -> None:
    kind, source = (row["kind"] or "").strip(), (row["source"] or "").strip()
    try:
        category = known_category(row["category"] or "")
    except CategoryError as error:
        faults.append(f"{line}: {error}")
        return
    if kind not in KINDS:
        faults.append(f"{line}: the kind is {kind!r}, expected one of {', '.join(KINDS)}.")
        return
    first, last = KINDS[kind]
    try:
        step, weight = int(row["step"]), float(row["weight"])
    except (TypeError, ValueError):
        faults.append(f"{line}: step {row['step']!r} and weight {row['weight']!r} are to be numbers.")
        return
    if not first <= step <= last or not (np.isfinite(weight) and weight >= 0):
        faults.append(f"{line}: {kind} {step} with weight {weight}: steps go from {first} to {last}, weights from 0.")
    elif step in table.setdefault((category, kind), {}):
        faults.append(f"{line}: {kind} {step} of {category} is there twice.")
    elif not source:
        faults.append(f"{line}: has no source; say where the weight comes from.")
    else:
        table[category, kind][step] = weight
        if source not in sources.setdefault(category, []):
            sources[category].append(source)


def _profile(category: str, table: dict[tuple[str, str], dict[int, float]], sources: list[str]) -> Profile:
    weights = {
        kind: tuple(steps[k] for k in sorted(steps)) for (owner, kind), steps in table.items() if owner == category
    }
    return Profile(**weights, source="; ".join(sources))
