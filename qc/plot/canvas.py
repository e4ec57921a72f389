"""What all figures share: paper, axes of time, colours, units as they are read, and what a dataset must have."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from qc.errors import QcError
from qc.flags import Flag
from qc.schema import OBS

PLAIN: Final = {"umol mol-1": "ppm", "nmol mol-1": "ppb"}
GOAL: Final = {"co2": 0.1, "ch4": 2.0, "co": 2.0, "n2o": 0.1}
"""Network compatibility goals (GAW report 292) [unit of the gas]."""
COLOURS: Final = {
    Flag.GOOD: "#009e73",
    Flag.NOT_EVALUATED: "#b0b0b0",
    Flag.SUSPECT: "#e69f00",
    Flag.BAD: "#d55e00",
    Flag.MISSING: "#e8ecef",
}
WORDS: Final = {flag: flag.name.lower().replace("_", " ") for flag in Flag}
LINES: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
MARKERS: Final = "os^Dvp"
DOT: Final = "."
"""Marker of the many: minutes."""
QUIET: Final = "#555555"
"""Lines of reference, and what is not the matter of the figure."""
_WIDTH: Final = 10.0


def figure_of(rows: int, height: float, *, sharex: bool = True, **more: Any) -> tuple[Figure, list[Axes]]:
    """Return a figure of a height [inch], and its axes below each other."""
    figure = Figure(figsize=(_WIDTH, height), layout="constrained", dpi=110)
    FigureCanvasAgg(figure)
    axes = np.atleast_1d(figure.subplots(rows, 1, sharex=sharex, **more))
    return figure, axes.tolist()


def plain(axes: Axes) -> None:
    """Give axes a quiet grid, and no frame above and on the right."""
    axes.set_axisbelow(True)
    axes.grid(visible=True, color="#e3e7ea", linewidth=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def dated(axes: Axes) -> None:
    """Make them axes over time (UTC)."""
    locator = AutoDateLocator(minticks=4, maxticks=10)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    plain(axes)


def legend_above(figure: Figure, **more: Any) -> None:
    """Put the legend of all axes above them, with its marks large enough to be seen."""
    style: dict[str, Any] = {"loc": "outside upper right", "fontsize": 8, "ncols": 5, "frameon": False}
    legend = figure.legend(**(style | more))
    for handle in legend.legend_handles:
        if isinstance(handle, Line2D) and handle.get_marker() == DOT:
            handle.set_markersize(5)


def legend_on(axes: Axes) -> None:
    """Put the legend of axes on their upper edge, outside, where it hides nothing."""
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), fontsize=8, ncols=6, frameon=False, borderaxespad=0.2)


def unit(ds: xr.Dataset, gas: str) -> str:
    """Return the unit of a gas as it is read: ppm, ppb."""
    found = str(ds[gas].attrs.get("units", ""))
    return PLAIN.get(found, found)


def span(ds: xr.Dataset) -> tuple[Any, Any]:
    """Return begin and end of a dataset."""
    bounds = ds["time_bnds"].values
    return bounds[0, 0], bounds[-1, 1]


def broken(ds: xr.Dataset, *values: NDArray[Any]) -> tuple[Any, ...]:
    """Return times and values with a NaN in each stretch that is not there, so that no line leads across it."""
    bounds, time = ds["time_bnds"].values, ds["time"].values
    gaps = np.flatnonzero(bounds[1:, 0] > bounds[:-1, 1]) + 1
    spread = [np.insert(np.asarray(each, dtype=float), gaps, np.nan) for each in values]
    return np.insert(time, gaps, bounds[gaps - 1, 1]), *spread


def require(ds: xr.Dataset, gas: str, *companions: str, what: str) -> None:
    """Raise QcError unless a dataset (`what`) has a gas with some of its companions, and a value.

    Raises
    ------
    QcError
        With what there is instead.
    """
    there = OBS.species(ds)
    if gas not in there:
        known = ", ".join(there) or "no gas at all"
        raise QcError(f"the {what} have no {gas!r}, they have {known}: name one of those, or give means (OBS)")
    missing = [f"{gas}_{name}" for name in companions if f"{gas}_{name}" not in ds.variables]
    missing += [name for name in ("time", "time_bnds") if name not in ds.variables]
    if missing:
        raise QcError(f"the {what} lack {', '.join(missing)}: give them as `qc.pipeline.run` or `ingest.read` does")
    if not ds.sizes["time"]:
        raise QcError(f"there is not one of the {what} to draw {gas} of: give a longer stretch of time")
