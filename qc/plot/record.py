"""The figure of a record of years: its curves by `qc.curve`."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from qc.curve import CurveFit
from qc.errors import QcError
from qc.plot.canvas import LINES, QUIET, figure_of, legend_on, plain


def curve(found: CurveFit, value: ArrayLike, *, gas: str, unit: str) -> Figure:
    """Return a record with smooth curve and trend; below it seasonal cycle, residuals and growth rate.

    Parameters
    ----------
    found : CurveFit
        From `qc.curve.fit`.
    value : array-like (n,)
        The values that were fitted, at ``found.time`` [`unit`]; NaN where there was none.
    gas : str
        The gas.
    unit : str
        Of the values, for the axes ("ppm").

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    QcError
        Values and times differ in number.
    """
    values = np.asarray(value, dtype=np.float64)
    if values.shape != found.time.shape:
        raise QcError(
            f"{values.size} values for {found.time.size} times: give those the fit was made of, in order of time"
        )
    figure, axes = figure_of(4, 8.6, height_ratios=[3, 2, 1.6, 1.6])
    record, season, residual, growth = axes
    dots: dict[str, Any] = {
        "color": "#8a9299",
        "markersize": 1.6,
        "linestyle": "none",
        "marker": "o",
        "rasterized": True,
    }
    record.plot(found.time, values, label="values", **dots)
    record.plot(found.time, found.smooth, color=LINES[0], linewidth=1.0, label="smooth curve")
    record.plot(found.time, found.trend, color=LINES[1], linewidth=1.8, linestyle="--", label="trend")
    record.set_ylabel(f"{gas.upper()} [{unit}]")
    harmonics = found.function - found.polynomial
    season.plot(found.time, found.smooth - found.trend, color=LINES[0], linewidth=1.0, label="smooth curve - trend")
    season.plot(found.time, harmonics, color=LINES[2], linewidth=1.2, linestyle=":", label="harmonics of the fit")
    season.set_ylabel(f"seasonal\ncycle [{unit}]")
    residual.plot(found.time, values - found.smooth, **dots)
    residual.set_ylabel(f"values -\nsmooth [{unit}]")
    residual.set_title(f"standard deviation {found.rsd_smooth:.3g} {unit}", loc="right", fontsize=8)
    growth.plot(found.time, found.growth_rate, color=LINES[1], linewidth=1.4)
    growth.set_ylabel(f"growth rate\n[{unit} a⁻¹]")
    for one in (season, residual, growth):
        one.axhline(0, color=QUIET, linewidth=0.7)
    for one in axes:
        plain(one)
    for one in (record, season):
        legend_on(one)
    growth.set_xlabel("year")
    growth.set_xlim(found.time[0], found.time[-1])
    growth.ticklabel_format(axis="x", useOffset=False)
    return figure
