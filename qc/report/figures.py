"""Figures of one series and of one instrument's cylinders; each returns a matplotlib Figure.

Colours are Okabe and Ito's, told apart by all common colour deficiencies; shapes differ too.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from qc.calibration import Calibration
from qc.flags import Flag
from qc.target import History

PLAIN: Final = {"umol mol-1": "ppm", "nmol mol-1": "ppb"}
GOAL: Final = {"co2": 0.1, "ch4": 2.0, "co": 2.0, "n2o": 0.1}
"""Network compatibility goals (GAW report 292) [unit of the gas]."""
COLOURS: Final = {
    Flag.GOOD: "#009e73",
    Flag.NOT_EVALUATED: "#999999",
    Flag.SUSPECT: "#e69f00",
    Flag.BAD: "#d55e00",
    Flag.MISSING: "#e8ecef",
}
WORDS: Final = {flag: flag.name.lower().replace("_", " ") for flag in Flag}
_LINES: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_MARKERS: Final = "os^Dvp"
_WIDTH: Final = 10.0
_SMALL: Final = 1e-3
"""Residuals below it are nothing [unit of the gas]."""


def _figure(rows: int, height: float, **more: Any) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained", dpi=110)
    FigureCanvasAgg(figure)
    axes = np.atleast_1d(figure.subplots(rows, 1, sharex=True, **more))
    return figure, axes.tolist()


def _dated(axes: Axes) -> None:
    locator = AutoDateLocator(minticks=4, maxticks=10)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.grid(visible=True, color="#e3e7ea", linewidth=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _unit(ds: xr.Dataset, gas: str) -> str:
    unit = str(ds[gas].attrs.get("units", ""))
    return PLAIN.get(unit, unit)


def _span(ds: xr.Dataset) -> tuple[Any, Any]:
    bounds = ds["time_bnds"].values
    return bounds[0, 0], bounds[-1, 1]


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
    """
    figure, (top, below) = _figure(2, 4.6, height_ratios=[4, 1])
    time, value = hours["time"].values, hours[gas].values
    flag = hours[f"{gas}_flag"].values
    if minutes is not None and gas in minutes:
        usable = minutes[f"{gas}_flag"].values == Flag.GOOD
        good = np.where(usable, minutes[gas].values, np.nan)
        top.plot(minutes["time"].values, good, ",", color="#9bb8cc", label="minutes", rasterized=True)
        rejected = np.where(usable, np.nan, minutes[gas].values)
        marked: dict[str, Any] = {
            "color": COLOURS[Flag.SUSPECT],
            "label": "minutes rejected, value kept",
            "rasterized": True,
        }
        if np.isfinite(rejected).any():
            top.plot(minutes["time"].values, rejected, "x", markersize=2.5, **marked)
    top.plot(time, np.where(flag == Flag.GOOD, value, np.nan), color=_LINES[0], linewidth=1.2, label="good hours")
    for which, marker in ((Flag.SUSPECT, "v"), (Flag.BAD, "s")):
        chosen = (flag == which) & np.isfinite(value)
        if chosen.any():
            top.plot(
                time[chosen], value[chosen], marker, markersize=4, color=COLOURS[which], label=f"{WORDS[which]} hours"
            )
    top.set_ylabel(f"{gas.upper()} [{_unit(hours, gas)}]")
    top.legend(loc="upper right", fontsize=8, ncols=4, frameon=False)
    below.plot(time, np.where(flag == Flag.GOOD, hours[f"{gas}_stdev"].values, np.nan), color="#555555", linewidth=0.9)
    below.set_ylabel(f"SD [{_unit(hours, gas)}]")
    for axes in (top, below):
        _dated(axes)
        axes.set_xlim(*_span(hours))
    return figure


def coverage(hours: xr.Dataset, gas: str) -> Figure:
    """Return what became of each hour: days across, hours of the day (UTC) up.

    Parameters
    ----------
    hours : xr.Dataset
        OBS of hours; an hour that is not there is missing.
    gas : str
        The gas.
    """
    figure, (axes,) = _figure(1, 2.7)
    start = hours["time_bnds"].values[:, 0].astype("datetime64[h]")
    first = start[0].astype("datetime64[M]").astype("datetime64[D]")
    day = (start.astype("datetime64[D]") - first).astype(int)
    hour = (start - start.astype("datetime64[D]")).astype(int)
    order = list(COLOURS)
    grid = np.full((24, int(day[-1]) + 1), order.index(Flag.MISSING))
    grid[hour, day] = [order.index(Flag(flag)) for flag in hours[f"{gas}_flag"].values.tolist()]
    colours = ListedColormap([COLOURS[flag] for flag in order])
    axes.pcolormesh(
        np.arange(grid.shape[1] + 1) + 0.5,
        np.arange(25),
        grid,
        cmap=colours,
        norm=BoundaryNorm(np.arange(len(order) + 1) - 0.5, len(order)),
        edgecolors="white",
        linewidth=0.4,
    )
    axes.set_yticks([0, 6, 12, 18, 24])
    axes.set_ylabel("hour (UTC)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(f"day of {first.astype('datetime64[M]')}")
    there = [flag for flag in order if (grid == order.index(flag)).any()]
    patches = [Patch(facecolor=COLOURS[flag], edgecolor="#8a9299", linewidth=0.5, label=WORDS[flag]) for flag in there]
    figure.legend(handles=patches, loc="outside upper right", ncols=5, fontsize=8, frameon=False)
    return figure


def flags(minutes: xr.Dataset, gas: str) -> Figure:
    """Return how many minutes of each day had which flag.

    Parameters
    ----------
    minutes : xr.Dataset
        OBS of minutes.
    gas : str
        The gas.
    """
    figure, (axes,) = _figure(1, 2.6)
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
    _dated(axes)
    figure.legend(loc="outside upper right", fontsize=8, ncols=4, frameon=False)
    return figure


def uncertainty(hours: xr.Dataset, gas: str) -> Figure:
    """Return the parts of the standard uncertainty of hours over time.

    Parameters
    ----------
    hours : xr.Dataset
        OBS of hours.
    gas : str
        The gas.
    """
    figure, (axes,) = _figure(1, 2.8)
    parts = (
        ("uncertainty", "all", "-", 1.5),
        ("u_random", "random: does average away", ":", 1.1),
        ("u_shared", "shared: does not", "--", 1.1),
        ("u_calibration", "of which calibration and cylinders", "-.", 1.1),
    )
    good = hours[f"{gas}_flag"].values == Flag.GOOD
    for k, (name, words, style, width) in enumerate(parts):
        if f"{gas}_{name}" in hours:
            shown = np.where(good, hours[f"{gas}_{name}"].values, np.nan)
            axes.plot(hours["time"].values, shown, style, color=_LINES[k], linewidth=width, label=words)
    axes.set_ylabel(f"standard uncertainty [{_unit(hours, gas)}]")
    axes.set_ylim(bottom=0)
    axes.set_xlim(*_span(hours))
    _dated(axes)
    figure.legend(loc="outside upper right", fontsize=8, ncols=4, frameon=False)
    return figure


def calibration(found: Calibration, tanks: list[str], *, unit: str = "") -> Figure:
    """Return what each episode says: the correction in the middle of the standards, the slope, residuals.

    Parameters
    ----------
    found : Calibration
        From `qc.calibration.fit`.
    tanks : list of str
        Names of its standards, in their order.
    unit : str
        Of the gas, for the axes.
    """
    time = found.time.astype("datetime64[ns]")
    degree = found.coefficients.shape[1] - 1
    figure, axes = _figure(3 if degree else 2, 5.6 if degree else 4.2)
    s = np.sqrt(found.noise[:, 0, 0]) * found.repeatability
    axes[0].errorbar(time, found.coefficients[:, 0], np.nan_to_num(s), fmt="o-", color=_LINES[0], markersize=4)
    axes[0].set_ylabel(f"correction at\n{found.centre:g} [{unit}]")
    if degree:
        axes[1].plot(time, 1000 * found.coefficients[:, 1], "s-", color=_LINES[1], markersize=4)
        axes[1].set_ylabel("slope - 1 [1e-3]")
    for k, name in enumerate(tanks):
        if np.isfinite(found.residual[:, k]).any():
            style: dict[str, Any] = {
                "color": _LINES[k % 6],
                "marker": _MARKERS[k % 6],
                "markersize": 4,
                "linewidth": 0.8,
            }
            axes[-1].plot(time, found.residual[:, k], label=name, **style)
    largest = np.nanmax(np.abs(found.residual), initial=0.0)
    if largest < _SMALL:  # as many standards as terms: nothing but rounding is left
        axes[-1].set_ylim(-_SMALL, _SMALL)
    axes[-1].axhline(0, color="#555555", linewidth=0.7)
    axes[-1].set_ylabel(f"residual [{unit}]")
    axes[-1].legend(fontsize=8, ncols=4, frameon=False)
    for one in axes:
        _dated(one)
    return figure


def target(found: History, *, name: str, gas: str, unit: str = "") -> Figure:
    """Return how a target was found again, beside the goal.

    Parameters
    ----------
    found : History
        From `qc.target.history`.
    name : str
        Of the cylinder.
    gas : str
        The gas.
    unit : str
        Of the gas, for the axes.
    """
    figure, (top, below) = _figure(2, 4.2, height_ratios=[3, 2])
    time = found.time.astype("datetime64[ns]")
    if gas in GOAL:
        top.axhspan(-GOAL[gas], GOAL[gas], color="#e6f3ee", label=f"goal ±{GOAL[gas]:g}")
    top.axhline(0, color="#555555", linewidth=0.7)
    top.plot(time, found.bias, "o", color=_LINES[0], markersize=4, label="measured - assigned")
    top.plot(time, found.sttb, color=_LINES[1], linewidth=1.2, label="STTB")
    top.set_ylabel(f"{name}\nbias [{unit}]")
    below.plot(time, found.cmr, "--", color=_LINES[2], label="CMR")
    below.plot(time, found.ltr, "-", color=_LINES[3], label="LTR")
    below.set_ylabel(f"[{unit}]")
    below.set_ylim(bottom=0)
    for axes in (top, below):
        axes.legend(fontsize=8, ncols=4, frameon=False)
        _dated(axes)
    return figure
