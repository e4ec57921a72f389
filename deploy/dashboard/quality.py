"""Calibrations and targets over the last year, as the QC job found them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import numpy as np
from bokeh.models import (
    BasicTickFormatter,
    BoxAnnotation,
    ColumnDataSource,
    DatetimeTickFormatter,
    HoverTool,
    Range1d,
    Span,
)
from bokeh.plotting import figure

from deploy.dashboard import wording
from deploy.jobs import report as job
from ingest import read
from ingest.database import Connection
from qc import report
from qc.plot import GOAL

_COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_MARKERS: Final = ("circle", "square", "triangle", "diamond", "inverted_triangle", "plus")
_SMALL: Final = 1e-3
"""Residuals below it are nothing [unit of the gas]."""
_YEAR: Final = np.timedelta64(365, "D")


def found(
    conn: Connection, series: Sequence[Mapping[str, Any]], *, station: str, gas: str, now: datetime
) -> list[report.Cylinders]:
    """Return what the cylinders of a station's instruments say of a gas, over the year that ends now.

    Parameters
    ----------
    conn
        The database.
    series
        From `deploy.jobs.network.network_configuration`.
    station, gas
        Names.
    now
        Aware.

    Raises
    ------
    DeployError, QcError
        The configuration does not fit the catalogue.
    """
    known = next((one for one in read.stations_on(conn) if one.name == station), None)
    if known is None:
        return []
    end = np.datetime64(now.replace(tzinfo=None), "ns")
    return [one for one in job.cylinders(conn, known, series, (end - _YEAR, end)) if one.gas == gas]


def figures(cylinders: Sequence[report.Cylinders]) -> list[Any]:
    """Return Bokeh figures: of each instrument its correction, the residuals of its standards, and its targets."""
    made = []
    for one in cylinders:
        if one.calibration is not None and one.calibration.time.size:
            made += [_correction(one), _residuals(one)]
        made += [_target(one, name, history) for name, history in one.targets.items() if history.time.size]
    return made


def _axes(title: str, label: str) -> Any:
    plot = figure(
        title=title, height=260, sizing_mode="stretch_width", x_axis_type="datetime", tools="pan,box_zoom,reset",
        x_axis_label="time (UTC)", y_axis_label=label, toolbar_location="right",
        border_fill_color="#ffffff",
    )  # fmt: skip
    plot.toolbar.logo = None
    plot.toolbar.autohide = True
    plot.xaxis.formatter = DatetimeTickFormatter(hours="%H:%M", days="%d %b", months="%b %Y", years="%Y")
    plot.xaxis.ticker.desired_num_ticks = 5
    plot.yaxis.formatter = BasicTickFormatter(use_scientific=False)
    plot.grid.grid_line_color = "#e3e7ea"
    plot.title.text_font_size = "13px"
    return plot


def _times(time: Any) -> Any:
    return time.astype("datetime64[ns]").astype("datetime64[ms]").astype(np.float64)


def _points(plot: Any, x: Any, y: Any, k: int, name: str, unit: str) -> None:
    there = np.isfinite(y)
    source = ColumnDataSource({"x": x[there], "y": y[there], "name": [name] * int(there.sum())})
    colour, marker = _COLOURS[k % len(_COLOURS)], _MARKERS[k % len(_MARKERS)]
    plot.line("x", "y", source=source, line_color=colour, line_width=1.0, line_alpha=0.6)
    marks = plot.scatter(
        "x", "y", source=source, size=6, marker=marker, fill_color=colour, line_color=colour, legend_label=name
    )
    tips = [("", "@name"), ("time", "@x{%F %H:%M} UTC"), ("value", f"@y{{0.000}} {unit}")]
    plot.add_tools(HoverTool(renderers=[marks], formatters={"@x": "datetime"}, tooltips=tips))


def _legend(plot: Any) -> None:
    if plot.legend:
        plot.add_layout(plot.legend[0], "below")
        plot.legend.orientation = "horizontal"
        plot.legend.border_line_color = None
        plot.legend.label_text_font_size = "11px"
        plot.legend.padding = 0


def _correction(one: report.Cylinders) -> Any:
    known, unit = one.calibration, wording.unit(one.gas)
    assert known is not None
    plot = _axes(
        f"Calibration of {one.instrument}: correction at {known.centre:.4g} {unit}",
        f"{wording.gas(one.gas)} correction ({unit})",
    )
    x, y = _times(known.time), known.coefficients[:, 0]
    sigma = np.nan_to_num(np.sqrt(known.noise[:, 0, 0]) * known.repeatability)
    plot.segment(x, y - sigma, x, y + sigma, line_color=_COLOURS[0], line_width=1.4)
    _points(plot, x, y, 0, "correction ± 1 σ of repeatability", unit)
    _legend(plot)
    return plot


def _residuals(one: report.Cylinders) -> Any:
    known, unit = one.calibration, wording.unit(one.gas)
    assert known is not None
    plot = _axes(f"Standards of {one.instrument}: assigned minus fitted", f"{wording.gas(one.gas)} residual ({unit})")
    for k, name in enumerate(one.standards):
        if np.isfinite(known.residual[:, k]).any():
            _points(plot, _times(known.time), known.residual[:, k], k, name, unit)
    if np.nanmax(np.abs(known.residual), initial=0.0) < _SMALL:  # as many standards as terms: nothing but rounding
        plot.y_range = Range1d(-_SMALL, _SMALL)
    plot.add_layout(Span(location=0, dimension="width", line_color="#555555", line_width=0.8))
    _legend(plot)
    return plot


def _target(one: report.Cylinders, name: str, history: Any) -> Any:
    unit, goal = wording.unit(one.gas), GOAL.get(one.gas)
    within = f", goal ± {goal:g} {unit}" if goal else ""
    plot = _axes(f"Target {name} on {one.instrument}{within}", f"{wording.gas(one.gas)} bias ({unit})")
    if goal:
        plot.add_layout(BoxAnnotation(bottom=-goal, top=goal, fill_color="#009e73", fill_alpha=0.12, level="underlay"))
    plot.add_layout(Span(location=0, dimension="width", line_color="#555555", line_width=0.8))
    _points(plot, _times(history.time), history.bias, 0, "measured minus assigned", unit)
    plot.line(
        _times(history.time), history.sttb, line_color=_COLOURS[1], line_width=1.8, line_dash="dashed",
        legend_label="mean over a week",
    )  # fmt: skip
    _legend(plot)
    return plot
