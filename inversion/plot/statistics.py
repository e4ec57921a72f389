"""Figures of what an inversion is worth: innovations, residuals, kernels, totals, twins, Taylor's diagram."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import xarray as xr
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from scipy.stats import norm as normal

from inversion.fonts import drawable, properties
from inversion.innovations import rows_of_sites
from inversion.plot import ground
from inversion.plot.ground import PlotError
from inversion.posterior import Posterior

_BEYOND: Final = 4.5
"""Standard deviations that histograms reach to; what is beyond is counted in their last bars."""
_MATRIX: Final = 25
"""Up to so many rows the numbers of a matrix are written into it."""
_DARK: Final = 0.6
_READABLE: Final = 0.93
"""Share of the radius up to which circles are labelled."""
_LAGS: Final = 24


def innovations(posterior: Posterior, *, title: str = "") -> Figure:
    """Return the statistics of what was observed less what was expected: before, after, and how they follow each other.

    Parameters
    ----------
    posterior : Posterior
    title : str

    Returns
    -------
    matplotlib.figure.Figure
        Above left, innovations y − H x_a − H_b b_a, each over its own σ √S_ii, beside the standard normal distribution;
        they are correlated, so χ²/n (expected 1) says how large they are together. Above right, residuals whitened by
        R, L_R⁻¹ (y − H x̂ − H_b b̂) with R = L_R L_Rᵀ, beside a normal distribution of the variance 1 − DOFS/n that is
        left of them. Below, the correlation of a site's whitened residuals with those some observations later, and
        residuals site by site: mean and root mean square, with what R states.
    """
    problem, d = posterior.problem, posterior.diagnostics
    before = posterior.innovation.values / np.sqrt(_innovation_variance(posterior))
    after = problem.R.sqrt().solve(posterior.residual.values)
    left = float(np.sqrt(max(1.0 - d.dofs / d.n_obs, 0.0)))
    made = ground.figure(9.0, 6.4)
    panels = made.subplots(2, 2)
    _histogram(panels[0, 0], before, "innovation / its σ", ground.PRIOR, more=f"χ²/n {d.chi2_reduced:.2f}")
    _histogram(panels[0, 1], after, "whitened residual", ground.POSTERIOR, spread=left)
    _lags(panels[1, 0], posterior, after)
    _sites(panels[1, 1], posterior)
    ground.heading(made, title)
    return made


def _innovation_variance(posterior: Posterior) -> Any:
    """Return the diagonal of H B Hᵀ + H_b B_b H_bᵀ + R, in rows at a time."""
    joint, found = posterior.problem.joint(), posterior.problem.R.diagonal().copy()
    for rows in joint.H.blocks():
        part = np.ascontiguousarray(joint.H.rows(rows).T)
        found[rows] += np.einsum("ij,ij->j", part, joint.B.matvec(part))
    return found


def _histogram(
    axes: Any, values: Any, text: str, colour: str, *, what: str = "observations", spread: float = 1.0, more: str = ""
) -> None:
    """Draw a histogram beside the normal distribution of a standard deviation `spread`."""
    bins = np.linspace(-_BEYOND, _BEYOND, 37)
    axes.hist(np.clip(values, -_BEYOND, _BEYOND), bins=bins, density=True, color=colour, alpha=0.75)
    line = np.linspace(-_BEYOND, _BEYOND, 200)
    named = "standard normal" if spread == 1.0 else f"normal, SD {spread:.2f}"
    if spread > 0:
        axes.plot(line, normal.pdf(line, scale=spread), color="#111111", linewidth=1.1, label=named)
    axes.set_xlabel(text, fontsize=9)
    axes.set_ylabel("density", fontsize=9)
    said = f"mean {values.mean():+.2f}, SD {values.std():.2f}\n{values.size} {what}".replace("-", "−")
    axes.text(0.02, 0.97, "\n".join(filter(None, (said, more))), transform=axes.transAxes, va="top", fontsize=8)
    axes.legend(fontsize=8, frameon=False, loc="upper right")
    ground.plain(axes)


def _lags(axes: Any, posterior: Posterior, whitened: Any) -> None:
    """Draw how the whitened residuals of each site with three or more go on."""
    sites = {site: rows for site, rows in rows_of_sites(posterior.problem).items() if rows.size > 2}
    for number, (site, rows) in enumerate(sites.items()):
        own = whitened[rows] - whitened[rows].mean()
        reach = min(_LAGS, rows.size - 2)
        found = [1.0, *(float(np.dot(own[k:], own[:-k]) / max(np.dot(own, own), 1e-300)) for k in range(1, reach + 1))]
        colour, mark = ground.OTHERS[number % len(ground.OTHERS)], ground.MARKS[number % len(ground.MARKS)]
        axes.plot(range(reach + 1), found, color=colour, marker=mark, markersize=3, linewidth=1, label=drawable(site))
    if sites:
        n = min(rows.size for rows in sites.values())
        axes.axhspan(-1.96 / np.sqrt(n), 1.96 / np.sqrt(n), color="#eeeeee", zorder=0)
        axes.legend(prop=properties(size=7.5), frameon=False, ncols=2, loc="upper right")
    axes.axhline(0, color="#111111", linewidth=0.6)
    axes.set_xlabel("lag [observations]", fontsize=9)
    axes.set_ylabel("correlation of whitened residuals", fontsize=9)
    ground.plain(axes)


def _sites(axes: Any, posterior: Posterior) -> None:
    table = posterior.by_site
    names = [drawable(str(name)) for name in table["site_name"].values]
    factor, units = ground.scaled(table["site_rms"].values, posterior.problem.y_units)
    ratio = factor.max() / max(float(table["site_rms"].values.max()), 1e-300)
    place = np.arange(len(names))
    axes.barh(place, factor, color=ground.POSTERIOR, alpha=0.75, height=0.55, label="root mean square")
    axes.plot(table["site_bias"].values * ratio, place, "D", color="#111111", markersize=4, label="mean")
    if "sigma_R" in table:
        stated = table["sigma_R"].values * ratio
        axes.plot(stated, place, "|", color=ground.PRIOR, markersize=14, markeredgewidth=2, label="σ stated in R")
    axes.axvline(0, color="#111111", linewidth=0.6)
    axes.set_yticks(place, labels=names, fontproperties=properties(size=8))
    axes.invert_yaxis()
    axes.set_ylim(len(names) + 0.4, -0.6)
    axes.set_xlabel(ground.label("residual", units), fontsize=9)
    axes.legend(fontsize=7.5, frameon=False, ncols=3, loc="lower left")
    ground.plain(axes)


def kernel(resolved: xr.Dataset, *, title: str = "") -> Figure:
    """Return the averaging kernel of totals beside the correlation of their errors.

    Parameters
    ----------
    resolved : xr.Dataset
        From `resolution.resolution`. Row r of the kernel is the answer of estimate r to the true totals: 1 on the
        diagonal and nothing beside it would be a perfect network.
    title : str

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    PlotError
        For a dataset without kernel.
    """
    if "kernel" not in resolved or "correlation" not in resolved:
        raise PlotError("The kernel", ["It needs 'kernel' and 'correlation': give what resolution.resolution returns."])
    dim = str(resolved["kernel"].dims[0])
    names = ground.regions_of(_names(resolved, dim))
    side = max(2.6, 0.32 * len(names) + 1.2)
    made = ground.figure(2 * side + 2.2, side + 0.6)
    left, right = made.subplots(1, 2)
    _matrix(
        made, left, resolved["kernel"].values, names, "answer of estimate (row)\nto truth (column)", "averaging kernel"
    )
    _matrix(made, right, resolved["correlation"].values, names, "correlation of posterior errors", "error correlation")
    ground.heading(made, title)
    return made


def _names(ds: xr.Dataset, dim: str) -> list[str]:
    for name in (dim, "region"):
        if name in ds.coords and ds[name].dims == (dim,):
            return [str(v) for v in ds[name].values]
    return [str(i) for i in range(ds.sizes[dim])]


def _matrix(made: Figure, axes: Any, values: Any, names: Sequence[str], text: str, title: str) -> None:
    top = max(1.0, float(np.nanmax(np.abs(values))))
    drawn = axes.imshow(values, cmap=ground.SIGNED, norm=TwoSlopeNorm(0.0, -top, top), aspect="equal")
    places = range(len(names))
    axes.set_xticks(places, labels=names, rotation=90, fontproperties=properties(size=7.5))
    axes.set_yticks(places, labels=names, fontproperties=properties(size=7.5))
    if len(names) <= _MATRIX:
        for i in places:
            for j in places:
                if abs(values[i, j]) >= 0.05:
                    colour = "white" if abs(values[i, j]) > _DARK * top else "#222222"
                    said = f"{values[i, j]:.1f}".replace("-", "−").replace("0.", ".", 1 if abs(values[i, j]) < 1 else 0)
                    axes.text(j, i, said, ha="center", va="center", fontsize=6, color=colour)
    ground.title(axes, title)
    ground.bar(made, drawn, axes, text)


def totals(table: xr.Dataset, *, truth: ArrayLike | None = None, title: str = "", name: str = "emissions") -> Figure:
    """Return totals of regions with their σ: ledger, prior, posterior, and the truth where it is known.

    Parameters
    ----------
    table : xr.Dataset
        From `resolution.resolution` or `crosscheck.compare`; ``units`` on its values or its attributes.
    truth : array (k,), optional
        In the units of the table.
    title, name : str

    Returns
    -------
    matplotlib.figure.Figure
        68 % intervals.

    Raises
    ------
    PlotError
        For a table with neither.
    """
    columns = _columns(table)
    if not columns:
        raise PlotError("The totals", ["It needs prior and posterior with their σ: give a resolution or a comparison."])
    dim = str(table[columns[0][1]].dims[0])
    names = ground.regions_of(_names(table, dim))
    made = ground.figure(7.6, 1.4 + 0.34 * len(names))
    axes = made.subplots()
    place = np.arange(len(names))
    shift = np.linspace(-0.22, 0.22, len(columns))
    for step, (label, value, sigma, colour, mark) in zip(shift, columns, strict=True):
        axes.errorbar(
            table[value].values, place + step, xerr=table[sigma].values, fmt=mark, color=colour, markersize=4.5,
            elinewidth=1.3, label=label,
        )  # fmt: skip
    if truth is not None:
        axes.plot(
            np.asarray(truth), place, "*", color=ground.TRUTH, markersize=9, markerfacecolor="white", label="truth"
        )
    units = str(table[columns[0][1]].attrs.get("units") or table.attrs.get("units", ""))
    axes.set_yticks(place, labels=names, fontproperties=properties(size=8.5))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(ground.label(name, ground.unit(units)), fontsize=9)
    axes.legend(fontsize=8, frameon=False, ncols=4, loc="lower left", bbox_to_anchor=(0.0, 1.0))
    ground.plain(axes)
    ground.heading(made, title)
    return made


def _columns(table: xr.Dataset) -> list[tuple[str, str, str, str, str]]:
    known = (
        ("ledger", "inventory", "inventory_sigma", ground.LEDGER, "s"),
        ("prior", "prior", "prior_sigma", ground.PRIOR, "D"),
        ("prior", "prior", "prior_stdev", ground.PRIOR, "D"),
        ("inversion", "inversion", "inversion_sigma", ground.POSTERIOR, "o"),
        ("posterior", "posterior", "posterior_stdev", ground.POSTERIOR, "o"),
    )
    return [one for one in known if one[1] in table and one[2] in table]


def taylor(observed: ArrayLike, modelled: Mapping[str, ArrayLike], *, title: str = "") -> Figure:
    """Return Taylor's diagram: correlation, standard deviation and centred error of several models in one picture.

    E'² = σ_m² + σ_o² − 2 σ_m σ_o R, which is the law of cosines (Taylor 2001, J. Geophys. Res. 106, 7183).

    Parameters
    ----------
    observed : array (n,)
    modelled : mapping of name to array (n,)
        Pairs of which one is missing are left out.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
        Standard deviations are relative to that observed, which is marked on the axis.

    Raises
    ------
    PlotError
        Where lengths differ, fewer than three pairs are there, or one of both does not vary.
    """
    points = {
        name: _taylor_point(np.asarray(observed, float), np.asarray(m, float), name) for name, m in modelled.items()
    }
    if not points:
        raise PlotError("Taylor's diagram", ["There is no model: give a name and values for each."])
    widest = np.pi if min(r for r, _ in points.values()) < 0 else np.pi / 2
    top = 1.15 * max(1.0, *(s for _, s in points.values()))
    made = ground.figure(6.2 if widest < 2 else 9.0, 5.4)
    axes: Any = made.add_subplot(1, 1, 1, projection="polar")
    axes.set_thetamin(0)
    axes.set_thetamax(np.degrees(widest))
    ticks = np.array([0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99, 1.0])
    if widest > 2:
        ticks = np.unique(np.concatenate([-ticks, ticks]))
    axes.set_xticks(np.arccos(ticks), labels=[f"{t:g}".replace("-", "−") for t in ticks], fontsize=8)
    axes.set_rlim(0, top)
    _centred_errors(axes, top, widest)
    axes.plot(np.linspace(0, widest, 200), np.ones(200), color="#111111", linewidth=0.8, linestyle="--")
    axes.plot(0, 1, "*", color=ground.TRUTH, markersize=11, label="observed", clip_on=False, zorder=6)
    axes.plot([], [], color="#9aa5ad", linewidth=0.8, linestyle=":", label="centred error")
    for number, (name, (r, s)) in enumerate(points.items()):
        colour, mark = ground.OTHERS[number % len(ground.OTHERS)], ground.MARKS[number % len(ground.MARKS)]
        axes.plot(np.arccos(np.clip(r, -1, 1)), s, mark, color=colour, markersize=7, label=drawable(name), zorder=6)
    axes.text(
        widest / 2, 1.13 * top, "correlation", ha="center", va="center", fontsize=9, rotation=-45 if widest < 2 else 0
    )
    below, right = -0.13 * top, 0.5 * top if widest < 2 else 0.0
    about: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 9}
    axes.text(np.arctan2(below, right), np.hypot(below, right), "standard deviation / observed [1]", **about)
    axes.tick_params(labelsize=8)
    axes.legend(prop=properties(size=8), frameon=False, loc="upper right", bbox_to_anchor=(1.32, 1.05))
    ground.heading(made, title)
    return made


def _taylor_point(observed: Any, modelled: Any, name: str) -> tuple[float, float]:
    if observed.shape != modelled.shape or observed.ndim != 1:
        fault = f"{name!r} has shape {modelled.shape}, the observations {observed.shape}: expected one value for each."
        raise PlotError("Taylor's diagram", [fault])
    both = np.isfinite(observed) & np.isfinite(modelled)
    if both.sum() < 3:
        raise PlotError("Taylor's diagram", [f"{name!r} has {both.sum()} pairs of finite values, expected 3 or more."])
    o, m = observed[both], modelled[both]
    if not (o.std() > 0 and m.std() > 0):
        raise PlotError(
            "Taylor's diagram", [f"{name!r}, or what was observed, does not vary: there is no correlation."]
        )
    return float(np.corrcoef(o, m)[0, 1]), float(m.std() / o.std())


def _centred_errors(axes: Any, top: float, widest: float) -> None:
    """Draw circles of equal centred error around what was observed."""
    for error in np.arange(0.25, 2 * top, 0.25 if top < 1.6 else 0.5):
        angle = np.linspace(0, np.pi, 300)
        x, y = 1 + error * np.cos(angle), error * np.sin(angle)
        theta, r = np.arctan2(y, x), np.hypot(x, y)
        inside = (theta <= widest) & (r <= top)
        axes.plot(theta[inside], r[inside], color="#9aa5ad", linewidth=0.6, linestyle=":")
        inside &= r < _READABLE * top
        if inside.any():
            end = np.flatnonzero(inside)[len(np.flatnonzero(inside)) // 2]
            axes.text(theta[end], r[end], f"{error:g}", fontsize=6.5, color="#6b757c", ha="center", va="center")


def coverage(twins: xr.Dataset, *, title: str = "") -> Figure:
    """Return what twin experiments say of the stated σ: errors in σ of each total, and how many lie within bounds.

    Parameters
    ----------
    twins : xr.Dataset
        From `twins.run`.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
        Left, the errors of seen totals in stated σ beside the standard normal distribution; right, the share of draws
        inside stated bounds for each total: it should be the share stated, within what the number of draws allows.
    """
    dim = str(twins["seen"].dims[0])
    counted = twins["counted"].values.astype(bool)
    names = [name for name, keep in zip(ground.regions_of(_names(twins, dim)), counted, strict=True) if keep]
    made = ground.figure(9.0, max(3.4, 1.6 + 0.28 * len(names)))
    left, right = made.subplots(1, 2)
    z = twins["z"].values[:, counted].ravel()
    _histogram(left, z, "error / stated σ", ground.POSTERIOR, what="errors")
    place = np.arange(len(names))
    for column, stated, colour, mark in (
        ("inside68", 0.683, ground.POSTERIOR, "o"),
        ("inside95", 0.95, ground.PRIOR, "D"),
    ):
        right.plot(
            100 * twins[column].values[counted], place, mark, color=colour, markersize=5, label=f"{100 * stated:.0f} %"
        )
        within = 196 * np.sqrt(stated * (1 - stated) / twins.sizes["draw"])
        right.axvspan(100 * stated - within, min(100 * stated + within, 100), color=colour, alpha=0.15, zorder=0)
    right.set_yticks(place, labels=names, fontproperties=properties(size=8))
    right.set_ylim(len(names) - 0.5, -0.5)
    right.set_xlim(0, 102)
    right.set_xlabel("draws inside stated bounds [%]", fontsize=9)
    right.legend(fontsize=8, frameon=False, loc="lower left", title="bounds")
    ground.plain(right)
    ground.heading(made, title)
    return made


def steps(design: xr.Dataset, *, title: str = "") -> Figure:
    """Return what stations add one after the other: degrees of freedom, and σ of the totals that shrink most.

    Parameters
    ----------
    design : xr.Dataset
        From `twins.design`.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    dim = str(design["stdev"].dims[0])
    names = ground.regions_of(_names(design, dim))
    labels = ["now", *ground.regions_of(design["chosen"].values.tolist())]
    number = np.arange(len(labels))
    dofs = np.concatenate([[float(design["dofs"])], design["chosen_dofs"].values])
    sigma = np.vstack([design["stdev"].values, design["chosen_stdev"].values])
    share = 100 * sigma / np.where(design["prior_stdev"].values > 0, design["prior_stdev"].values, np.nan)
    most = np.argsort(np.nan_to_num(share[-1] - share[0]))[:5]
    made = ground.figure(9.0, 3.6)
    left, right = made.subplots(1, 2)
    left.plot(number, dofs, "o-", color=ground.POSTERIOR)
    left.set_ylabel("degrees of freedom [1]", fontsize=9)
    for step, k in enumerate(most):
        right.plot(number, share[:, k], color=ground.OTHERS[step], marker=ground.MARKS[step], label=names[k])
    right.set_ylabel("σ / prior σ [%]", fontsize=9)
    right.set_ylim(0, 105)
    right.legend(prop=properties(size=8), frameon=False, loc="lower left", ncols=2)
    for axes in (left, right):
        axes.set_xticks(number, labels=labels, rotation=30, ha="right", fontproperties=properties(size=8))
        ground.plain(axes)
    ground.heading(made, title)
    return made
