"""One station's mole fractions: observed, prior, posterior."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from inversion.crosscheck import CrosscheckError
from inversion.fonts import drawable, properties
from qc.units import TO_MOLE_FRACTION

# Okabe and Ito's colours, told apart by all common colour deficiencies; line styles differ too.
_PRIOR: Final[dict[str, Any]] = {"color": "#e69f00", "linestyle": "--", "linewidth": 1.3, "label": "prior"}
_POSTERIOR: Final[dict[str, Any]] = {"color": "#0072b2", "linewidth": 1.5, "label": "posterior"}
_BASELINE: Final[dict[str, Any]] = {
    "color": "#777777",
    "linestyle": ":",
    "linewidth": 1.1,
    "label": "background (posterior)",
}
_PLAIN: Final = {"umol mol-1": "ppm", "nmol mol-1": "ppb", "pmol mol-1": "ppt"}
_GAP: Final = 6.0  # median steps without observations at which a line is broken


def station_series(observations: xr.Dataset, site: str | None = None) -> xr.Dataset:
    """Return one site's series from the observations of a posterior.

    Parameters
    ----------
    observations : xr.Dataset (obs)
        `Posterior.observations`, with ``site`` and ``time`` on ``obs``.
    site : str, optional
        By default the one with most observations. Of several inlets (coordinate ``inlet``) the one with most.

    Returns
    -------
    xr.Dataset (time)
        Sorted by time, attribute ``site``.

    Raises
    ------
    CrosscheckError
        When the observations name no sites or times, or not this one.
    """
    if "site" not in observations.coords or "time" not in observations.coords:
        raise CrosscheckError("The observations", ["They do not say their site and time: give both as coordinates."])
    sites, counts = np.unique(observations["site"].values.astype(str), return_counts=True)
    chosen = str(sites[counts.argmax()]) if site is None else site
    if chosen not in sites:
        raise CrosscheckError("The observations", [f"There is no site {chosen!r}: there are {', '.join(sites)}."])
    here = observations.isel(obs=np.flatnonzero(observations["site"].values.astype(str) == chosen))
    label = chosen
    if "inlet" in here.coords:
        inlets, each = np.unique(here["inlet"].values.astype(str), return_counts=True)
        here = here.isel(obs=np.flatnonzero(here["inlet"].values.astype(str) == inlets[each.argmax()]))
        label = f"{chosen} {inlets[each.argmax()]}"
    variables = {name: ("time", v.values, v.attrs) for name, v in here.data_vars.items()}
    times = here["time"].values.astype("datetime64[ns]")
    return xr.Dataset(variables, coords={"time": times}, attrs={"site": label}).sortby("time")


def draw_series(series: xr.Dataset, *, gas: str) -> Figure:
    """Return a figure of a station's series, with the residuals below it.

    Parameters
    ----------
    series : xr.Dataset (time)
        ``mf_observed``, ``mf_prior``, ``mf_posterior``; ``mf_bc_posterior`` and ``stdev_mf_total`` where there are
        any; attributes ``units`` on the first, ``site`` on the dataset.
    gas : str
        As it is written.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=(9.6, 5.4), dpi=150, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    time = series["time"].values
    unit = str(series["mf_observed"].attrs.get("units", ""))
    scale, unit = _readable(unit, float(np.nanmedian(np.abs(series["mf_observed"].values))))
    observed = series["mf_observed"].values * scale
    error = series["stdev_mf_total"].values * scale if "stdev_mf_total" in series else None
    above.errorbar(
        time,
        observed,
        yerr=error,
        fmt="o",
        color="#111111",
        ecolor="#c9c9c9",
        markersize=2.6,
        elinewidth=0.8,
        label="observed",
    )
    for name, style in (("mf_bc_posterior", _BASELINE), ("mf_prior", _PRIOR), ("mf_posterior", _POSTERIOR)):
        if name in series and np.any(series[name].values):
            above.plot(*_broken(time, series[name].values * scale), **style)
    for name, style in (("mf_prior", _PRIOR), ("mf_posterior", _POSTERIOR)):
        below.plot(*_broken(time, observed - series[name].values * scale), **style)
    below.axhline(0, color="#111111", linewidth=0.6)
    above.set_ylabel(f"{gas} mole fraction, {unit}")
    below.set_ylabel(f"observed − model,\n{unit}", fontsize=9)
    above.set_title(drawable(str(series.attrs.get("site", ""))), loc="left", fontproperties=properties(size=11))
    above.legend(ncols=4, fontsize=8, frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0))
    locator = AutoDateLocator()
    below.xaxis.set_major_locator(locator)
    below.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    below.set_xlabel("UTC", fontsize=9)
    for axes in (above, below):
        axes.grid(color="#e3e3e3", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.01)
    return figure


def _readable(unit: str, typical: float) -> tuple[float, str]:
    """Return a factor and a unit in which mole fractions are read: ppm, ppb, ppt."""
    if unit == "mol mol-1":
        fitting = (u for u in _PLAIN if typical >= 10 * TO_MOLE_FRACTION[u])  # CO2 in ppm, CH4 and N2O in ppb
        step = next(fitting, "pmol mol-1")
        return 1.0 / TO_MOLE_FRACTION[step], _PLAIN[step]
    return 1.0, _PLAIN.get(unit, unit)


def _broken(time: Any, values: Any) -> tuple[Any, Any]:
    """Break a line where observations are missing for long."""
    steps = np.diff(time)
    if steps.size == 0:
        return time, values
    long = np.flatnonzero(steps > _GAP * np.median(steps)) + 1
    return np.insert(time, long, time[long - 1]), np.insert(np.asarray(values, dtype=float), long, np.nan)
