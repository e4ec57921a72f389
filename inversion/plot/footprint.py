"""Figures of footprints: on the map, in sections through the air, by the sides air came in, and two of them compared.

=================  ==========================================================================
`surface`          footprints on the map, on a logarithmic scale
`section`          a vertical section of the passage of air: sensitivity, or the particles' time
`boundary`         where the air came in: sides of the domain by height
`column`           what weights the footprints of a column
`ratio`            one footprint over another, cell by cell
`contributions`    how much of two footprints comes from how large an area
=================  ==========================================================================
"""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
import xarray as xr
from matplotlib.colors import BoundaryNorm, ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from inversion.plot import ground
from inversion.plot.ground import Places, PlotError
from inversion.polygons import edges
from inversion.regions import cell_area
from inversion.transport.fields import EARTH_RADIUS

Floats = NDArray[np.float64]
Along = Literal["longitude", "latitude", "distance", "hours_back"]
_WIDTH, _HEIGHT = 7.2, 5.2
_DECADES: Final = 4.0
"""Powers of ten below the top of the scale that are drawn; what is less is blank."""
_OURS, _THEIRS = ground.POSTERIOR, ground.LEDGER
_RATIOS: Final = (0.1, 0.2, 0.5, 0.8, 1.25, 2.0, 5.0, 10.0)
"""Limits of the classes of ratios; what is beyond is drawn in the last."""
_CLASSES: Final = ("#542788", "#998ec3", "#d8daeb", "#c4bda8", "#fee0b6", "#f1a340", "#b35806")
"""ColorBrewer PuOr, with a middle that is not the paper's nor the land's."""
_LABELS: Final = {
    "longitude": "longitude [°E]",
    "latitude": "latitude [°N]",
    "distance": "distance from the receptor [km]",
    "hours_back": "hours before the receptor's time [h]",
}
_BESIDE: Final = 6
"""Cells beside what is seen that a map shows at least."""
_RING: Final = 1.5
"""Width of the rings of distance, in cells: narrower ones would miss the cells of a slanting path."""
_SHOWN: Final = 0.005
"""Share of the air from which on a layer's share is written out."""
_HOLDS: Final = 0.99
"""Share of a footprint that lies in the cells `ratio` looks at."""


def surface(
    srr: xr.DataArray,
    *,
    stations: Places | None = None,
    title: str = "",
    top: float | None = None,
    whole: bool = False,
) -> Figure:
    """Return a map of a footprint.

    Parameters
    ----------
    srr : xr.DataArray (latitude, longitude) [(mol/mol)/(mol/m2/s)]
        Of a receptor, or the mean of several.
    stations : mapping of name to (longitude, latitude), optional
        Receptors to be marked.
    title : str
    top : float, optional
        Upper end of the scale of colours [(mol/mol)/(mol/m2/s)], where several maps are to have the same.
    whole : bool
        Show all of the domain, not the part alone that is seen.

    Returns
    -------
    matplotlib.figure.Figure
        Four powers of ten; cells below them are blank.

    Raises
    ------
    PlotError
        Where it is no field on latitude and longitude, or nowhere above zero.
    """
    drawn = ground.field(srr, "The footprint")
    norm = _logarithmic(drawn.values, "The footprint", top)
    made = ground.figure(_WIDTH, _HEIGHT)
    shown = drawn.where(drawn >= _lowest(norm))
    shown = shown if whole else _around(shown, stations)
    axes = ground.on_ground(made, (1, 1, 1), shown["longitude"].values, shown["latitude"].values)
    mesh = ground.mesh(axes, shown, ground.AMOUNT, norm)
    ground.bar(made, mesh, axes, _named("footprint", drawn), extend=_ends(drawn.values, norm))
    ground.stations(axes, stations)
    ground.title(axes, title)
    return made


def section(
    passage: xr.Dataset,
    receptor: int = 0,
    *,
    along: Along = "longitude",
    variable: Literal["srr_layer", "residence_time"] = "srr_layer",
    title: str = "",
) -> Figure:
    """Return a vertical section of what `inversion.transport.passage` found: everything else is summed up.

    Parameters
    ----------
    passage : xr.Dataset
        From `passage`.
    receptor : int
        Which of its receptors.
    along : {"longitude", "latitude", "distance", "hours_back"}
        What goes across. Distance is that on the ground, from the receptor, in all directions.
    variable : {"srr_layer", "residence_time"}
        Sensitivity to a flux into the layer [(mol/mol)/(mol/m2/s)], or the time of the particles, for each kilometre of
        height [s km-1].
    title : str

    Returns
    -------
    matplotlib.figure.Figure
        Logarithmic, four powers of ten; the star is the receptor.

    Raises
    ------
    PlotError
        Where `along` or the receptor is not known, the variable is missing, or the section is empty.
    """
    if along not in _LABELS:
        raise PlotError("The section", [f"It goes along {along!r}, expected one of {', '.join(_LABELS)}."])
    wanting = [name for name in (variable, "height_bnds") if name not in passage.variables]
    if wanting:
        raise PlotError("The section", [f"Variables are missing: {', '.join(wanting)}; give what `passage` returned."])
    if not 0 <= receptor < passage.sizes["receptor"]:
        last = passage.sizes["receptor"] - 1
        raise PlotError("The section", [f"There is no receptor {receptor}, expected 0 to {last}."])
    one = passage.isel(receptor=receptor)
    across, values = _summed(one, along, variable)
    heights = np.append(one["height_bnds"].values[:, 0], one["height_bnds"].values[-1, 1]) / 1000.0
    if variable == "residence_time":
        values = values / np.diff(heights)[:, None]
    norm = _logarithmic(values, "The section", None)
    made = ground.figure(_WIDTH, 4.0)
    axes: Any = made.add_subplot()
    mesh = axes.pcolormesh(
        across,
        heights,
        np.where(values >= _lowest(norm), values, np.nan),
        cmap=ground.AMOUNT,
        norm=norm,
        rasterized=True,
    )
    place = {"longitude": "release_lon", "latitude": "release_lat"}
    at = float(one[place[along]]) if along in place else 0.0
    star = {"color": "black", "markerfacecolor": "white", "markersize": 11, "clip_on": False, "zorder": 5}
    axes.plot(at, float(one["release_height"]) / 1000.0, "*", **star)
    axes.set_xlabel(_LABELS[along])
    axes.set_ylabel("height above ground [km]")
    axes.set_ylim(0.0, heights[-1])
    axes.set_xlim(*_reach(across, values >= _lowest(norm), at))
    ground.plain(axes)
    text = (
        _named("sensitivity to the layer", one[variable])
        if variable == "srr_layer"
        else ground.label("time of the particles", "s km⁻¹")
    )
    ground.bar(made, mesh, axes, text, extend=_ends(values, norm))
    ground.title(axes, title)
    return made


def boundary(footprints: xr.Dataset, receptor: int | None = None, *, title: str = "") -> Figure:
    """Return where the air came into the domain: a side across, heights up, shares of the air in percent.

    Parameters
    ----------
    footprints : xr.Dataset
        FOOTPRINT with ``exit_share``.
    receptor : int, optional
        Which of them; None: the mean of all.
    title : str

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    PlotError
        Where the footprints do not say it, or the receptor is not known.
    """
    if "exit_share" not in footprints.variables:
        raise PlotError(
            "The boundary", ["The footprints do not say where air came in (exit_share): compute them with particles."]
        )
    if receptor is not None and not 0 <= receptor < footprints.sizes["receptor"]:
        last = footprints.sizes["receptor"] - 1
        raise PlotError("The boundary", [f"There is no receptor {receptor}, expected 0 to {last}."])
    share = footprints["exit_share"].astype(float)
    chosen = share.mean("receptor") if receptor is None else share.isel(receptor=receptor)
    values = 100.0 * chosen.transpose("exit_height", "side").values
    heights = footprints["exit_height"].values / 1000.0
    sides = [str(side) for side in footprints["side"].values]
    made = ground.figure(6.4, max(3.2, 1.2 + 0.26 * heights.size))
    axes: Any = made.add_subplot()
    top = max(float(values.max()), 1.0)
    mesh = axes.imshow(values, origin="lower", aspect="auto", cmap=ground.AMOUNT, norm=Normalize(0.0, top))
    for k, j in np.argwhere(values >= 100.0 * _SHOWN).tolist():
        dark = values[k, j] > 0.6 * top
        axes.text(
            j, k, f"{values[k, j]:.1f}", ha="center", va="center", fontsize=8, color="white" if dark else "#111111"
        )
    axes.set_xticks(range(len(sides)), [f"{side}\n{values[:, j].sum():.1f} %" for j, side in enumerate(sides)])
    axes.set_yticks(range(heights.size), [f"{height:.3g}" for height in heights])
    axes.tick_params(labelsize=8.5)
    axes.set_xlabel("side by which air came in [share of all air]")
    axes.set_ylabel("middle of the layer [km]")
    ground.bar(made, mesh, axes, "share of the air [%]")
    within = max(100.0 - float(values.sum()), 0.0)
    ground.title(axes, f"{title}, {within:.1f} % stayed inside" if title else f"{within:.1f} % stayed inside")
    return made


def column(columns: xr.Dataset, obs: int = 0, *, top: float | None = None, title: str = "") -> Figure:
    """Return what weights the footprints of a column by height: averaging kernel A, weight w of the layers, w A.

    Parameters
    ----------
    columns : xr.Dataset
        COLUMN, as `inversion.transport.columns.read_columns` returns it.
    obs : int
        Which of them.
    top : float, optional
        Height above ground of the highest receptor [m]; what is above is the background's.
    title : str

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    PlotError
        Where variables are missing or the column is not known.
    """
    wanting = [name for name in ("height", "weight", "averaging_kernel") if name not in columns.variables]
    if wanting:
        raise PlotError("The column", [f"Variables are missing: {', '.join(wanting)}; give a dataset of columns."])
    if not 0 <= obs < columns.sizes["obs"]:
        raise PlotError("The column", [f"There is no column {obs}, expected 0 to {columns.sizes['obs'] - 1}."])
    one = columns.isel(obs=obs)
    height = one["height"].values / 1000.0
    weight, kernel = one["weight"].values, one["averaging_kernel"].values
    made = ground.figure(_WIDTH, 4.4)
    left, right = made.subplots(1, 2, sharey=True)
    left.plot(kernel, height, "o-", color=_OURS, markersize=3.5, linewidth=1.2)
    left.axvline(1.0, color="#555555", linewidth=0.7)
    left.set_xlabel("averaging kernel A [1]")
    left.set_ylabel("height above ground [km]")
    right.plot(100 * weight, height, "s--", color=ground.PRIOR, markersize=3.5, linewidth=1.1, label="weight w")
    right.plot(100 * weight * kernel, height, "o-", color=_OURS, markersize=3.5, linewidth=1.2, label="w A")
    right.set_xlabel("share of the column [%]")
    right.set_xlim(left=0)
    if top is not None:
        below = height <= top / 1000.0
        share = 100 * float((weight * kernel)[below].sum())
        for axes in (left, right):
            axes.axhspan(0.0, top / 1000.0, color="#dcebf5", zorder=0)
        right.plot([], [], color="#dcebf5", linewidth=7, label=f"receptors, {share:.0f} % of w A")
    left.set_ylim(0.0, float(height.max()) * 1.02)
    right.legend(fontsize=8, frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, borderaxespad=0.2)
    for axes in (left, right):
        ground.plain(axes)
        axes.xaxis.set_major_locator(MaxNLocator(5))
    ground.heading(made, title)
    return made


def ratio(
    ours: xr.DataArray, theirs: xr.DataArray, *, stations: Places | None = None, title: str = "", name: str = "ratio"
) -> Figure:
    """Return a map of one footprint over another, where the larger of the two is of any account.

    Parameters
    ----------
    ours, theirs : xr.DataArray (latitude, longitude) [(mol/mol)/(mol/m2/s)]
        Of one grid. Looked at are the cells that hold 99 % of the larger of the two; the scale ends at ten and a tenth,
        and so are drawn cells that only one of them has.
    stations, title
        As `surface`.
    name : str
        What is divided by what, at the scale of colours.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    PlotError
        Where grids or units differ, or both are zero.
    """
    a, b = _pair(ours, theirs)
    larger = np.maximum(a.values, b.values)
    seen = larger >= _threshold(larger, _HOLDS)
    with np.errstate(divide="ignore", invalid="ignore"):
        # The upper limit of the last class is not in it.
        share = np.clip(a.values / b.values, _RATIOS[0], _RATIOS[-1] * (1 - 1e-9))
    drawn = _around(a.copy(data=np.where(seen, share, np.nan)), stations)
    made = ground.figure(_WIDTH, _HEIGHT)
    axes = ground.on_ground(made, (1, 1, 1), drawn["longitude"].values, drawn["latitude"].values)
    mesh = ground.mesh(axes, drawn, ListedColormap(list(_CLASSES)), BoundaryNorm(_RATIOS, len(_CLASSES)))
    scale = made.colorbar(mesh, ax=axes, shrink=0.8, pad=0.02, ticks=_RATIOS, spacing="uniform")
    scale.ax.set_yticks(_RATIOS, [f"{value:g}" for value in _RATIOS], fontsize=8)
    scale.set_label(ground.label(name, "1"), fontsize=9)
    ground.stations(axes, stations)
    ground.title(axes, title)
    return made


def contributions(
    ours: xr.DataArray, theirs: xr.DataArray, *, names: tuple[str, str] = ("ours", "theirs"), title: str = ""
) -> Figure:
    """Return how much of each footprint comes from the area it sees best, and of theirs from the area ours sees best.

    Parameters
    ----------
    ours, theirs : xr.DataArray (latitude, longitude) [(mol/mol)/(mol/m2/s)]
        Of one grid.
    names : tuple of str
        What they are called.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
        Contribution to the mole fraction if the flux were the same everywhere, cumulated over cells in the order of
        their sensitivity; area on the ellipsoid. Where both see the same ground the dotted curve lies on theirs.

    Raises
    ------
    PlotError
        Where grids or units differ, or one is zero.
    """
    a, b = _pair(ours, theirs)
    area = cell_area(a["latitude"].values, a["longitude"].values).values.ravel() / 1e9  # thousand km2
    made = ground.figure(_WIDTH, 4.2)
    axes: Any = made.add_subplot()
    first = a.values.ravel()
    for values, order, style, label in (
        (first, first, {"color": _OURS, "linewidth": 1.8}, names[0]),
        (b.values.ravel(), b.values.ravel(), {"color": _THEIRS, "linewidth": 1.8, "linestyle": "--"}, names[1]),
        (
            b.values.ravel(),
            first,
            {"color": "#555555", "linewidth": 1.3, "linestyle": ":"},
            f"{names[1]}, where {names[0]} sees best",
        ),
    ):
        place = np.argsort(-order, kind="stable")
        share = 100 * np.cumsum(values[place]) / values.sum()
        axes.plot(np.cumsum(area[place]), share, label=label, **style)
    axes.set_xscale("log")
    axes.set_ylim(0.0, 102.0)
    axes.set_xlabel("area, the best seen first [10³ km²]")
    axes.set_ylabel("share of the footprint [%]")
    ground.plain(axes)
    axes.legend(fontsize=9, frameon=False, loc="lower right")
    ground.title(axes, title)
    return made


# --- what is drawn ---------------------------------------------------------------------------------


def _named(name: str, values: xr.DataArray) -> str:
    return ground.label(name, str(values.attrs.get("units", "")).replace("m2", "m²"))


def _logarithmic(values: Any, what: str, top: float | None) -> LogNorm:
    """Return a scale of whole powers of ten up to the largest value."""
    largest = float(np.nanmax(values, initial=0.0)) if top is None else top
    if not largest > 0 or not np.isfinite(largest):
        raise PlotError(what, ["It is nowhere above zero: there is nothing to draw."])
    upper = float(np.ceil(np.log10(largest) - 1e-9))
    return LogNorm(10.0 ** (upper - _DECADES), 10.0**upper)


def _lowest(norm: LogNorm) -> float:
    return float(norm.vmin or 0.0)


def _ends(values: Any, norm: LogNorm) -> str:
    """Return on which ends of the scale there are values beyond; what is below is blank, and no colour."""
    return "max" if np.nanmax(values) > norm.vmax else "neither"


def _summed(one: xr.Dataset, along: Along, variable: str) -> tuple[Floats, Floats]:
    """Return edges across, and values (height, across), summed over all else."""
    if along == "hours_back":
        hours = one["hours_back"].values.astype(np.float64)
        values = one[variable].sum(("latitude", "longitude")).transpose("height", "hours_back").values
        return np.append(hours, hours[-1] + 1.0), values.astype(np.float64)
    cells = one[variable].sum("hours_back").transpose("height", "latitude", "longitude").astype(np.float64)
    if along != "distance":
        other = "latitude" if along == "longitude" else "longitude"
        return edges(one[along].values, name=along), cells.sum(other).values
    far = _distance(one)
    step = _RING * EARTH_RADIUS / 1000.0 * np.radians(abs(float(one["latitude"][1] - one["latitude"][0])))
    borders = np.arange(0.0, float(far.max()) + step, step)
    inside = [np.histogram(far.ravel(), borders, weights=layer.ravel())[0] for layer in cells.values]
    return borders, np.array(inside, dtype=np.float64)


def _reach(across: Floats, shown: NDArray[np.bool_], at: float) -> tuple[float, float]:
    """Return from where to where a section reaches: what is shown, and the receptor, with two cells beside."""
    columns = np.flatnonzero(shown.any(axis=0))
    margin = 2 * float(across[1] - across[0])
    low, high = min(across[columns[0]], at) - margin, max(across[columns[-1] + 1], at) + margin
    return max(float(low), float(across[0])), min(float(high), float(across[-1]))


def _around(shown: xr.DataArray, stations: Places | None) -> xr.DataArray:
    """Return the part of a field that has values, and stations, with an eighth of it on every side."""
    kept, there_is = {}, np.isfinite(shown.transpose("latitude", "longitude").values)
    for k, name in enumerate(("longitude", "latitude")):
        axis = shown[name].values
        there = axis[there_is.any(axis=k)]
        ends = [*there, *(place[k] for place in (stations or {}).values() if axis[0] <= place[k] <= axis[-1])]
        margin = max((max(ends) - min(ends)) / 8, _BESIDE * abs(float(axis[1] - axis[0])))
        kept[name] = np.flatnonzero((axis >= min(ends) - margin) & (axis <= max(ends) + margin))
    return shown.isel(kept)


def _distance(one: xr.Dataset) -> Floats:
    """Return how far the cells are from the receptor on the sphere (latitude, longitude) [km]."""
    lat, lon = np.meshgrid(np.radians(one["latitude"].values), np.radians(one["longitude"].values), indexing="ij")
    here = np.radians(float(one["release_lat"])), np.radians(float(one["release_lon"]))
    half = np.sin((lat - here[0]) / 2) ** 2 + np.cos(lat) * np.cos(here[0]) * np.sin((lon - here[1]) / 2) ** 2
    return np.asarray(2 * EARTH_RADIUS / 1000.0 * np.arcsin(np.sqrt(half)), dtype=np.float64)


def _pair(ours: xr.DataArray, theirs: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Return two footprints as fields of one grid, or say why they are none."""
    a, b = (ground.field(one, "The comparison").astype(np.float64) for one in (ours, theirs))
    faults = []
    for name in ("latitude", "longitude"):
        mine, other = a[name].values, b[name].values
        if mine.shape != other.shape or not np.allclose(mine, other, rtol=0, atol=1e-4):
            faults.append(
                f"Their {name}s differ: {mine.size} from {mine[0]:g} to {mine[-1]:g}, and {other.size} from "
                f"{other[0]:g} to {other[-1]:g}; bring both onto one grid first."
            )
    units = [str(one.attrs.get("units", "")) for one in (ours, theirs)]
    if units[0] != units[1]:
        faults.append(f"One is in {units[0]!r}, the other in {units[1]!r}: convert one.")
    for which, one in (("first", a), ("second", b)):
        if not float(one.sum()) > 0:
            faults.append(f"The {which} is nowhere above zero: there is nothing to compare.")
    if faults:
        raise PlotError("The comparison", faults)
    return a, b


def _threshold(values: Floats, share: float) -> float:
    """Return the value that the smallest of the cells which hold a share of the sum has."""
    ordered = np.sort(values.ravel())[::-1]
    return float(ordered[min(int(np.searchsorted(np.cumsum(ordered), share * ordered.sum())), ordered.size - 1)])
