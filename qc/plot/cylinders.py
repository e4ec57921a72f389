"""Figures of the cylinders of one instrument: its standards, and its targets."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from qc.calibration import Calibration
from qc.errors import QcError
from qc.plot.canvas import GOAL, LINES, MARKERS, QUIET, dated, figure_of, legend_on
from qc.target import History

_SMALL: Final = 1e-3
"""Residuals below it are nothing [unit of the gas]."""


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

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    QcError
        The names are not as many as the standards.
    """
    if len(tanks) != found.residual.shape[1]:
        raise QcError(
            f"{len(tanks)} names for {found.residual.shape[1]} standards: give those of the calibration, in its order"
        )
    time = found.time.astype("datetime64[ns]")
    degree = found.coefficients.shape[1] - 1
    figure, axes = figure_of(3 if degree else 2, 5.6 if degree else 4.2)
    s = np.sqrt(found.noise[:, 0, 0]) * found.repeatability
    axes[0].errorbar(time, found.coefficients[:, 0], np.nan_to_num(s), fmt="o-", color=LINES[0], markersize=4)
    axes[0].set_ylabel(f"correction at\n{found.centre:g} [{unit}]")
    if degree:
        axes[1].plot(time, 1000 * found.coefficients[:, 1], "s-", color=LINES[1], markersize=4)
        axes[1].set_ylabel("slope - 1 [1e-3]")
    for k, name in enumerate(tanks):
        if np.isfinite(found.residual[:, k]).any():
            style: dict[str, Any] = {
                "color": LINES[k % 6],
                "marker": MARKERS[k % 6],
                "markersize": 4,
                "linewidth": 0.8,
            }
            axes[-1].plot(time, found.residual[:, k], label=name, **style)
    largest = np.nanmax(np.abs(found.residual), initial=0.0)
    if largest < _SMALL:  # as many standards as terms: nothing but rounding is left
        axes[-1].set_ylim(-_SMALL, _SMALL)
    axes[-1].axhline(0, color=QUIET, linewidth=0.7)
    axes[-1].set_ylabel(f"residual [{unit}]")
    legend_on(axes[-1])
    for one in axes:
        dated(one)
    axes[-1].set_xlabel("time (UTC)")
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

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    QcError
        It was never injected.
    """
    if not found.time.size:
        raise QcError(f"target {name} has no injection with {gas} to draw: give a longer stretch of time")
    figure, (top, below) = figure_of(2, 4.2, height_ratios=[3, 2])
    time = found.time.astype("datetime64[ns]")
    if gas in GOAL:
        top.axhspan(-GOAL[gas], GOAL[gas], color="#cfe8dc", label=f"goal ±{GOAL[gas]:g}")
    top.axhline(0, color=QUIET, linewidth=0.7)
    top.plot(time, found.bias, "o", color=LINES[0], markersize=4, label="measured - assigned")
    top.plot(time, found.sttb, color=LINES[1], linewidth=1.2, label="STTB")
    top.set_ylabel(f"{name}\nbias [{unit}]")
    below.plot(time, found.cmr, "--", color=LINES[2], label="CMR")
    below.plot(time, found.ltr, "-", color=LINES[3], label="LTR")
    below.set_ylabel(f"[{unit}]")
    below.set_ylim(bottom=0)
    for axes in (top, below):
        legend_on(axes)
        dated(axes)
    below.set_xlabel("time (UTC)")
    return figure
