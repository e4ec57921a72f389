"""Figures a station's PI looks at first: what was called a spike, and how the day goes."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator
from numpy.typing import NDArray

from qc import spikes as methods
from qc.errors import QcError
from qc.flags import Cause, Flag, Outcome, outcome
from qc.plot.canvas import (
    COLOURS,
    DOT,
    LINES,
    QUIET,
    broken,
    dated,
    figure_of,
    legend_above,
    plain,
    require,
    span,
    unit,
)

_HOUR: Final = np.timedelta64(3600 * 10**9, "ns")
_DAY: Final = 24
_FEWEST: Final = 18


def spikes(minutes: xr.Dataset, gas: str, *, bandwidth_minutes: int = 60) -> Figure:
    """Return the minutes with REBS' baseline, marked by which method called them spikes; below: how far they rise.

    Parameters
    ----------
    minutes : xr.Dataset
        OBS of minutes whose tests included spikes (``tests = {sd = {}, rebs = {}}``); for a closer look, some days.
    gas : str
        The gas.
    bandwidth_minutes : int
        Of the baseline, as `qc.spikes.rebs` takes it [min].

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    QcError
        Where there is nothing to draw, or no test for spikes ran.
    """
    require(minutes, gas, "tests", what="minutes")
    every, time, value = minutes[f"{gas}_tests"].values, minutes["time"].values, minutes[gas].values
    sd, rebs = (outcome(every, cause) for cause in (Cause.SPIKE_SD, Cause.SPIKE_REBS))
    looked = (sd != Outcome.NOT_EVALUATED) | (rebs != Outcome.NOT_EVALUATED)
    if not looked.any():
        raise QcError(f"no minute of {gas} was tested for spikes: configure tests = {{sd = {{}}, rebs = {{}}}}")
    value = np.where(looked, value, np.nan)
    stamps = time.astype("datetime64[ns]").astype(np.int64)
    _, baseline = methods.rebs(stamps, value, bandwidth_minutes=bandwidth_minutes)
    by_sd, by_rebs = (found >= Outcome.SUSPECT for found in (sd, rebs))
    figure, (top, below) = figure_of(2, 4.8, height_ratios=[3, 2])
    top.plot(time, value, DOT, markersize=1, color="#8a9299", label="minutes", rasterized=True)
    top.plot(*broken(minutes, baseline), color=QUIET, linewidth=0.9, label="baseline of REBS")
    kinds = (
        (by_rebs & ~by_sd, "^", LINES[0], "spike by REBS"),
        (by_sd & ~by_rebs, "v", LINES[5], "by SD"),
        (by_sd & by_rebs, "D", LINES[1], "by both"),
    )
    for chosen, marker, colour, words in kinds:
        if chosen.any():
            style: dict[str, Any] = {"color": colour, "markersize": 3.2, "rasterized": True}
            top.plot(time[chosen], value[chosen], marker, label=f"{words} ({int(chosen.sum())})", **style)
            below.plot(time[chosen], (value - baseline)[chosen], marker, **style)
    top.set_ylabel(f"{gas.upper()} [{unit(minutes, gas)}]")
    below.axhline(0, color=QUIET, linewidth=0.7)
    below.set_ylabel(f"above the\nbaseline [{unit(minutes, gas)}]")
    below.set_xlabel("time (UTC)")
    for axes in (top, below):
        dated(axes)
        axes.set_xlim(*span(minutes))
    legend_above(figure)
    return figure


def diurnal(hours: xr.Dataset, gas: str, *, offset_hours: float = 0.0, least: int = _FEWEST) -> Figure:
    """Return how good hours differ from their day's mean, by hour of the day: median and quartiles.

    Parameters
    ----------
    hours : xr.Dataset
        OBS of hours.
    gas : str
        The gas.
    offset_hours : float
        Of the clock the day is told by, from UTC [h]: 8 for China.
    least : int
        Good hours a day must have to count.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    QcError
        Where there is nothing to draw, the offset is none, or no day has enough good hours.
    """
    require(hours, gas, what="hours")
    if not abs(offset_hours) <= _DAY / 2 + 2:
        raise QcError(f"offset_hours is {offset_hours:g}, expected hours from UTC between -14 and 14: 8 for China")
    of_day, apart, days = _departures(hours, gas, offset_hours, least)
    number = np.bincount(of_day, minlength=_DAY)
    quartiles = np.full((3, _DAY), np.nan)
    for hour in np.flatnonzero(number):
        quartiles[:, hour] = np.quantile(apart[of_day == hour], (0.25, 0.5, 0.75))
    figure, (top, below) = figure_of(2, 4.2, height_ratios=[4, 1])
    at = np.arange(_DAY) + 0.5
    top.fill_between(at, quartiles[0], quartiles[2], color="#cfe3f1", label="half of the days lie within")
    top.plot(at, quartiles[1], "o-", color=LINES[0], markersize=4, linewidth=1.4, label=f"median of {days} days")
    top.axhline(0, color=QUIET, linewidth=0.7)
    top.set_ylabel(f"{gas.upper()} - day's mean [{unit(hours, gas)}]")
    below.bar(at, number, width=0.8, color=COLOURS[Flag.NOT_EVALUATED])
    below.set_ylabel("hours [1]")
    clock = "UTC" if not offset_hours else f"UTC{offset_hours:+g} h".replace("-", "−")
    below.set_xlabel(f"hour of the day ({clock})")
    below.set_xlim(0, _DAY)
    below.xaxis.set_major_locator(MultipleLocator(3))
    for axes in (top, below):
        plain(axes)
    legend_above(figure)
    return figure


def _departures(
    hours: xr.Dataset, gas: str, offset_hours: float, least: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], int]:
    """Return hour of the day and departure from the day's mean of good hours of days with enough, and their number."""
    good = (hours[f"{gas}_flag"].values == Flag.GOOD) & np.isfinite(hours[gas].values)
    begin = hours["time_bnds"].values[good, 0].astype("datetime64[ns]") + offset_hours * _HOUR
    value = hours[gas].values[good].astype(np.float64)
    day, place = np.unique(begin.astype("datetime64[D]"), return_inverse=True)
    count = np.bincount(place, minlength=day.size)
    kept = count[place] >= least
    if not kept.any():
        most = int(count.max(initial=0))
        raise QcError(
            f"no day has {least} good hours of {gas}, the best has {most}: give a longer stretch, or a lower `least`"
        )
    mean = np.bincount(place, value) / count
    of_day = ((begin - begin.astype("datetime64[D]")) // _HOUR).astype(np.int64)
    return of_day[kept], (value - mean[place])[kept], int((count >= least).sum())
