"""Figures of the means of one series: over time, day by day, and what they are worth."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import xarray as xr
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, MultipleLocator

from qc.flags import Flag
from qc.plot.canvas import (
    COLOURS,
    DOT,
    LINES,
    QUIET,
    WORDS,
    broken,
    dated,
    figure_of,
    legend_above,
    require,
    span,
    unit,
)

_MONTH: Final = 31
"""Days up to which each day is a column of its own, with its number."""
_FEW: Final = 48
"""Hours up to which each is a dot as well: one between two gaps makes no line."""
_MINUTES: Final = 1440
"""Of a day."""


def series(hours: xr.Dataset, gas: str, *, minutes: xr.Dataset | None = None) -> Figure:
    """Return the mole fraction over time: good hours as a line, what a test or a person rejected as marks.

    Parameters
    ----------
    hours : xr.Dataset
        OBS of hours.
    gas : str
        The gas.
    minutes : xr.Dataset, optional
        OBS of minutes, drawn behind.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    QcError
        Where there is nothing to draw.
    """
    require(hours, gas, "stdev", what="hours")
    figure, (top, below) = figure_of(2, 4.6, height_ratios=[4, 1])
    time, value = hours["time"].values, hours[gas].values
    flag = hours[f"{gas}_flag"].values
    if minutes is not None and gas in minutes:
        usable = minutes[f"{gas}_flag"].values == Flag.GOOD
        good = np.where(usable, minutes[gas].values, np.nan)
        top.plot(minutes["time"].values, good, DOT, markersize=1, color="#7fa6bf", label="minutes", rasterized=True)
        rejected = np.where(usable, np.nan, minutes[gas].values)
        marked: dict[str, Any] = {
            "color": COLOURS[Flag.SUSPECT],
            "label": "minutes rejected, value kept",
            "rasterized": True,
        }
        if np.isfinite(rejected).any():
            top.plot(minutes["time"].values, rejected, "x", markersize=2.5, **marked)
    good_hours, spread = (np.where(flag == Flag.GOOD, hours[name].values, np.nan) for name in (gas, f"{gas}_stdev"))
    line, good_hours, spread = broken(hours, good_hours, spread)
    dots: dict[str, Any] = {"marker": "o", "markersize": 4} if time.size <= _FEW else {}
    top.plot(line, good_hours, color=LINES[0], linewidth=1.2, label="good hours", **dots)
    for which, marker in ((Flag.SUSPECT, "v"), (Flag.BAD, "s")):
        chosen = (flag == which) & np.isfinite(value)
        if chosen.any():
            top.plot(
                time[chosen], value[chosen], marker, markersize=4, color=COLOURS[which], label=f"{WORDS[which]} hours"
            )
    top.set_ylabel(f"{gas.upper()} [{unit(hours, gas)}]")
    legend_above(figure)
    below.plot(line, spread, color=QUIET, linewidth=0.9, **dots)
    below.set_ylabel(f"SD [{unit(hours, gas)}]")
    for axes in (top, below):
        dated(axes)
        axes.set_xlim(*span(hours))
    below.set_xlabel("time (UTC)")
    return figure


def coverage(hours: xr.Dataset, gas: str) -> Figure:
    """Return what became of each hour: days across, hours of the day (UTC) up.

    Parameters
    ----------
    hours : xr.Dataset
        OBS of hours; an hour that is not there is missing.
    gas : str
        The gas.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    QcError
        Where there is nothing to draw.
    """
    require(hours, gas, what="hours")
    figure, (axes,) = figure_of(1, 2.7)
    start = hours["time_bnds"].values[:, 0].astype("datetime64[h]")
    first = start[0].astype("datetime64[M]").astype("datetime64[D]")
    day = (start.astype("datetime64[D]") - first).astype(int)
    hour = (start - start.astype("datetime64[D]")).astype(int)
    order = list(COLOURS)
    grid = np.full((24, int(day[-1]) + 1), order.index(Flag.MISSING))
    grid[hour, day] = [order.index(Flag(flag)) for flag in hours[f"{gas}_flag"].values.tolist()]
    colours = ListedColormap([COLOURS[flag] for flag in order])
    edges = np.arange(grid.shape[1] + 1) + 0.5
    long = grid.shape[1] > _MONTH
    axes.pcolormesh(
        first + np.arange(grid.shape[1] + 1) if long else edges,
        np.arange(25),
        grid,
        cmap=colours,
        norm=BoundaryNorm(np.arange(len(order) + 1) - 0.5, len(order)),
        edgecolors="none" if long else "white",
        linewidth=0.4,
    )
    axes.set_yticks([0, 6, 12, 18, 24])
    axes.set_ylabel("hour (UTC)")
    if long:
        dated(axes)
        axes.grid(visible=False)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("time (UTC)" if long else f"day of {first.astype('datetime64[M]')}")
    there = [flag for flag in order if (grid == order.index(flag)).any()]
    patches = [Patch(facecolor=COLOURS[flag], edgecolor="#8a9299", linewidth=0.5, label=WORDS[flag]) for flag in there]
    legend_above(figure, handles=patches)
    return figure


def flags(minutes: xr.Dataset, gas: str) -> Figure:
    """Return how many minutes of each day had which flag.

    Parameters
    ----------
    minutes : xr.Dataset
        OBS of minutes.
    gas : str
        The gas.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    QcError
        Where there is nothing to draw.
    """
    require(minutes, gas, what="minutes")
    figure, (axes,) = figure_of(1, 2.6)
    start = minutes["time_bnds"].values[:, 0].astype("datetime64[D]")
    days = np.arange(start[0], start[-1] + 1)
    place = (start - days[0]).astype(int)
    flag = minutes[f"{gas}_flag"].values
    height = np.zeros(days.size)
    for one in (Flag.GOOD, Flag.SUSPECT, Flag.BAD, Flag.NOT_EVALUATED):
        count = np.bincount(place[flag == one], minlength=days.size)
        if count.any():
            middle = days.astype("datetime64[h]") + 12
            hatch = {Flag.SUSPECT: "//", Flag.BAD: "xx"}.get(one)
            style: dict[str, Any] = {"color": COLOURS[one], "hatch": hatch, "edgecolor": "white", "linewidth": 0.0}
            axes.bar(middle, count, width=0.85, bottom=height, label=WORDS[one], **style)
            height = height + count
    axes.set_ylabel("minutes a day")
    axes.set_ylim(0, 1.02 * _MINUTES)
    axes.yaxis.set_major_locator(MultipleLocator(_MINUTES / 4))
    axes.set_xlabel("time (UTC)")
    axes.set_xlim(days[0], days[-1] + 1)
    dated(axes)
    legend_above(figure)
    return figure


def uncertainty(hours: xr.Dataset, gas: str) -> Figure:
    """Return the parts of the standard uncertainty of hours over time.

    Parameters
    ----------
    hours : xr.Dataset
        OBS of hours.
    gas : str
        The gas.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    QcError
        Where there is nothing to draw.
    """
    require(hours, gas, "uncertainty", what="hours")
    figure, (axes,) = figure_of(1, 2.8)
    parts = (
        ("uncertainty", "all", "-", 1.5),
        ("u_random", "random: does average away", ":", 1.1),
        ("u_shared", "shared: does not", "--", 1.1),
        ("u_calibration", "of which calibration and cylinders", "-.", 1.1),
    )
    good = hours[f"{gas}_flag"].values == Flag.GOOD
    dots: dict[str, Any] = {"marker": "o", "markersize": 3} if good.size <= _FEW else {}
    for k, (name, words, style, width) in enumerate(parts):
        if f"{gas}_{name}" in hours:
            time, shown = broken(hours, np.where(good, hours[f"{gas}_{name}"].values, np.nan))
            axes.plot(time, shown, style, **dots, color=LINES[k], linewidth=width, label=words)
    axes.set_ylabel(f"standard uncertainty [{unit(hours, gas)}]")
    axes.set_ylim(bottom=0)
    axes.set_xlim(*span(hours))
    axes.set_xlabel("time (UTC)")
    dated(axes)
    legend_above(figure)
    return figure
