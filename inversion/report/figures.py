"""One station's mole fractions: observed, prior, posterior."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from inversion.crosscheck import CrosscheckError
from inversion.fonts import drawable, properties
from inversion.vocabulary import ENGLISH, Vocabulary
from qc.units import TO_MOLE_FRACTION

# Okabe and Ito's colours, told apart by all common colour deficiencies; line styles differ too.
_PRIOR: Final[dict[str, Any]] = {"color": "#e69f00", "linestyle": "--", "linewidth": 1.3}
_POSTERIOR: Final[dict[str, Any]] = {"color": "#0072b2", "linewidth": 1.5}
_BASELINE: Final[dict[str, Any]] = {"color": "#777777", "linestyle": ":", "linewidth": 1.1}
_LINES: Final = (
    ("mf_bc_posterior", "background", _BASELINE),
    ("mf_prior", "prior", _PRIOR),
    ("mf_posterior", "posterior", _POSTERIOR),
)
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


_MANY: Final = 2000
"""From so many observations on they are drawn as a picture, for each would be a path of its own."""


def draw_series(series: xr.Dataset, *, gas: str, words: Vocabulary = ENGLISH) -> Figure:
    """Return a figure of a station's series, with the residuals below it.

    Parameters
    ----------
    series : xr.Dataset (time)
        ``mf_observed``, ``mf_prior``, ``mf_posterior``; ``mf_bc_posterior`` and ``stdev_mf_total`` where there are
        any; attributes ``units`` on the first, ``site`` on the dataset.
    gas : str
        As it is written.
    words : Vocabulary
        Of its labels; `vocabulary.drawn` where the fonts of this machine may lack its letters.

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
        label=words("series.observed"),
        rasterized=time.size > _MANY,
    )
    for name, word, style in _LINES:
        if name in series and np.any(series[name].values):
            above.plot(*_broken(time, series[name].values * scale), label=words(f"series.{word}"), **style)
    for name, style in (("mf_prior", _PRIOR), ("mf_posterior", _POSTERIOR)):
        below.plot(*_broken(time, observed - series[name].values * scale), **style)
    below.axhline(0, color="#111111", linewidth=0.6)
    above.set_ylabel(words("series.mole_fraction", gas=gas, units=unit), fontproperties=properties(size=10))
    below.set_ylabel(words("series.residual", units=unit), fontproperties=properties(size=9))
    above.set_title(drawable(str(series.attrs.get("site", ""))), loc="left", fontproperties=properties(size=11))
    above.legend(ncols=4, prop=properties(size=8), frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0))
    locator = AutoDateLocator()
    below.xaxis.set_major_locator(locator)
    below.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    below.set_xlabel("UTC", fontsize=9)
    for axes in (above, below):
        axes.grid(color="#e3e3e3", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.01)
    return figure


_KERNEL_NAMES: Final = 8
"""Up to so many regions each entry of the kernel is written out."""


def draw_kernel(comparison: xr.Dataset, *, words: Vocabulary = ENGLISH) -> Figure | None:
    """Return the averaging kernel of the regions' totals as a picture; None where nothing of it is known.

    Parameters
    ----------
    comparison : xr.Dataset
        From `crosscheck.compare`.
    words : Vocabulary

    Returns
    -------
    matplotlib.figure.Figure, optional
    """
    kernel = comparison["averaging_kernel"].values
    inside = comparison["covered"].values > 0 if "covered" in comparison.coords else np.ones(len(kernel), bool)
    kept = np.flatnonzero(inside & np.isfinite(kernel).all(axis=1) & (np.abs(kernel).sum(axis=1) > 0))
    if kept.size == 0:
        return None
    shown = kernel[np.ix_(kept, kept)]
    codes = [str(code).removeprefix("CN-") for code in comparison["region"].values[kept]]
    size = float(np.clip(0.32 * kept.size + 1.6, 3.6, 8.2))
    figure = Figure(figsize=(size + 1.0, size), dpi=150, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    picture = axes.imshow(shown, cmap="PuOr_r", vmin=-1, vmax=1)
    small = 8 if kept.size <= _KERNEL_NAMES else 7
    axes.set_xticks(
        range(kept.size), codes, fontproperties=properties(size=small), rotation=90 if kept.size > 12 else 0
    )
    axes.set_yticks(range(kept.size), codes, fontproperties=properties(size=small))
    axes.set_xlabel(words("figure.kernel_column"), fontproperties=properties(size=8))
    axes.set_ylabel(words("figure.kernel_row"), fontproperties=properties(size=8))
    if kept.size <= _KERNEL_NAMES:
        for i, j in np.ndindex(shown.shape):
            colour = "white" if abs(shown[i, j]) > 0.7 else "#111111"
            axes.text(j, i, f"{shown[i, j]:.2f}".replace("-", "−"), ha="center", va="center", fontsize=7, color=colour)
    bar = figure.colorbar(picture, ax=axes, shrink=0.85)
    bar.ax.tick_params(labelsize=7)
    return figure


_PANELS: Final = 12
_ACROSS: Final = 4


def draw_periods(trends: xr.Dataset, *, words: Vocabulary = ENGLISH) -> Figure:
    """Return ledger and inversion of the regions by period, a panel each.

    Parameters
    ----------
    trends : xr.Dataset
        From `crosscheck.trends`; of many regions the twelve with the largest inversion are drawn.
    words : Vocabulary

    Returns
    -------
    matplotlib.figure.Figure
    """
    size = np.nan_to_num(trends["inversion"].transpose("period", "region").values).mean(axis=0)
    kept = np.sort(np.argsort(-size, kind="stable")[:_PANELS])
    across = min(_ACROSS, kept.size)
    down = -(-kept.size // across)
    figure = Figure(figsize=(0.6 + 2.25 * across, 0.5 + 1.7 * down), dpi=150, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    panels = np.atleast_1d(figure.subplots(down, across, sharex=True)).ravel()
    start, end = (trends[f"period_{edge}"].values.astype("datetime64[s]").astype(float) for edge in ("start", "end"))
    years = 1970 + 0.5 * (start + end) / (365.25 * 86400)
    step = float(np.min(np.diff(np.sort(years)))) if years.size > 1 else 1.0
    sides = (("inventory", -0.08, "s", "#e69f00"), ("inversion", 0.08, "o", "#0072b2"))
    for axes, k in zip(panels, kept, strict=False):
        one = trends.isel(region=int(k))
        for name, aside, marker, colour in sides:
            axes.errorbar(
                years + aside * step,
                one[name].values,
                yerr=one[f"{name}_sigma"].values,
                fmt=marker,
                color=colour,
                markersize=3.5,
                elinewidth=1.0,
                label=words(f"column.{name}"),
            )
        axes.set_title(_called(one, words), loc="left", fontproperties=properties(size=8))
        axes.tick_params(labelsize=7)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.grid(color="#e3e3e3", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[kept.size :]:
        axes.set_axis_off()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, ncols=2, loc="outside upper right", prop=properties(size=8), frameon=False)
    figure.supylabel(str(trends.attrs["units"]).replace("-1", "⁻¹"), fontproperties=properties(size=8))
    return figure


def _called(one: xr.Dataset, words: Vocabulary) -> str:
    names = [str(one[n].item()) if n in one.coords else "" for n in ("name_en", "name_zh", "region")]
    return drawable(words.name(names[0], names[1], names[2]))


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
