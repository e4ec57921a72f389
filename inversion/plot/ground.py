"""What figures have in common: colours, units as they are read, and axes on the ground with borders."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import cartopy.crs as ccrs
import numpy as np
import xarray as xr
from matplotlib import patheffects
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from inversion import borders
from inversion.errors import FaultsError
from inversion.fonts import drawable, properties
from inversion.polygons import edges

# Okabe and Ito's, told apart by all common colour deficiencies; marks and line styles differ too.
PRIOR: Final = "#e69f00"
POSTERIOR: Final = "#0072b2"
LEDGER: Final = "#d55e00"
TRUTH: Final = "#111111"
OTHERS: Final = ("#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#e69f00", "#0072b2")
MARKS: Final = "os^Dvp"
GRID: Final = "#e3e7ea"
AMOUNT: Final = "YlGnBu"
"""Of what has no sign: light where there is nothing, and darker steadily."""
SIGNED: Final = "PuOr_r"
"""Of differences: orange where there is more, purple where there is less."""

_SEA, _LAND, _COAST, _BORDER = "#eaf1f6", "#f4f3ef", "#8c8c86", "#555555"
_TOLERANCE: Final = 2000.0
_WORLD_WIDE: Final = 180.0
_POLAR: Final = 65.0
_TROPICS: Final = 20.0
_PREFIXES: Final = {0: "", -3: "m", -6: "µ", -9: "n", -12: "p", -15: "f"}
_LEAST: Final = -15
_SUPER: Final = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_PLAIN: Final = {"umol mol-1": "ppm", "nmol mol-1": "ppb", "pmol mol-1": "ppt", "1": "", "%": "%"}
HALO: Final = [patheffects.withStroke(linewidth=2.0, foreground="white", alpha=0.85)]
Places = Mapping[str, tuple[float, float]]


class PlotError(FaultsError):
    """A figure that cannot be made of what was given."""


def figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches, which no global state knows of."""
    made = Figure(figsize=(width, height), dpi=120, layout="constrained", facecolor="white")
    FigureCanvasAgg(made)
    return made


def plain(axes: Any) -> None:
    """Draw a quiet grid and no frame above and to the right."""
    axes.grid(visible=True, color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def title(axes: Any, text: str) -> None:
    """Write a title at the left, in letters that the fonts of this machine have."""
    if text:
        axes.set_title(drawable(text), loc="left", fontproperties=properties(size=11))


def heading(made: Figure, text: str) -> None:
    """Write a title over a whole figure."""
    if text:
        made.suptitle(drawable(text), x=0.01, ha="left", fontproperties=properties(size=12))


def unit(text: str) -> str:
    """Return a unit as it is read: ``nmol mol-1`` is ppb, ``kt yr-1`` is kt yr⁻¹."""
    if text in _PLAIN:
        return _PLAIN[text]
    return re.sub(r"(?<![A-Z])(?<=[A-Za-zµ])-?\d+", lambda power: power.group().translate(_SUPER), text)


def scaled(values: Any, units: str) -> tuple[Any, str]:
    """Return values with the prefix their size asks for, and the unit with it.

    Parameters
    ----------
    values : array
    units : str
        A mole fraction or a flux in mol (``mol mol-1``, ``mol m-2 s-1``) gets a prefix; others stay.

    Returns
    -------
    values : array
    units : str
        As it is read.
    """
    array = np.asarray(values, dtype=np.float64)
    finite = np.abs(array[np.isfinite(array)])
    if not units.startswith("mol ") or not finite.size or not finite.max() > 0:
        return array, unit(units)
    power = 3 * math.floor(math.log10(float(np.quantile(finite[finite > 0], 0.9))) / 3)
    power = max(min(power, 0), _LEAST)
    named = _PREFIXES[power] + units
    return array * 10.0**-power, unit(named.replace("µ", "u") if units == "mol mol-1" else named)


def label(name: str, units: str) -> str:
    """Return the label of an axis: name and unit."""
    return f"{name} [{units}]" if units else name


def field(values: xr.DataArray, what: str) -> xr.DataArray:
    """Return a field as (latitude, longitude), or say why it is none.

    Raises
    ------
    PlotError
        Where it has other dimensions, or less than two cells along one of them.
    """
    wanted = {"latitude", "longitude"}
    if set(map(str, values.dims)) != wanted:
        has = ", ".join(map(str, values.dims)) or "no dimension"
        raise PlotError(what, [f"It has {has}, expected latitude and longitude: select or average the others."])
    if min(values.sizes.values()) < len(wanted):
        raise PlotError(what, [f"It has {dict(values.sizes)} cells, expected two or more each way."])
    return values.transpose("latitude", "longitude").sortby(["latitude", "longitude"])


def projection(longitude: Any, latitude: Any) -> ccrs.Projection:
    """Return an equal-area projection for a part of the world.

    Parameters
    ----------
    longitude, latitude : array
        Of what is to be seen [degrees].

    Returns
    -------
    cartopy.crs.Projection
        Albers' between the tropics and 65 degrees, with parallels a sixth from the borders; a cylinder at the equator,
        azimuthal at the poles, Equal Earth for more than half the globe.
    """
    west, east = float(np.min(longitude)), float(np.max(longitude))
    south, north = float(np.min(latitude)), float(np.max(latitude))
    middle = ((west + east) / 2 + 180.0) % 360.0 - 180.0
    centre = (south + north) / 2
    if east - west > _WORLD_WIDE:
        return ccrs.EqualEarth(central_longitude=middle)
    if abs(centre) > _POLAR:
        return ccrs.LambertAzimuthalEqualArea(central_longitude=middle, central_latitude=centre)
    if abs(centre) < _TROPICS:
        return ccrs.LambertCylindrical(central_longitude=middle)
    sixth = (north - south) / 6
    return ccrs.AlbersEqualArea(
        central_longitude=middle, central_latitude=centre, standard_parallels=(south + sixth, north - sixth)
    )


def on_ground(made: Figure, place: Any, longitude: Any, latitude: Any) -> Any:
    """Return axes on the ground: land, provinces, coasts, meridians and parallels.

    Parameters
    ----------
    made : Figure
    place : tuple (rows, columns, number) or SubplotSpec
    longitude, latitude : array
        Centres or edges of what is to be seen [degrees]; a margin of a cell or a fiftieth is left around.

    Returns
    -------
    cartopy.mpl.geoaxes.GeoAxes
    """
    plane = projection(longitude, latitude)
    where = place if isinstance(place, tuple) else (place,)
    axes: Any = made.add_subplot(*where, projection=plane)
    x, y = _frame(plane, longitude, latitude)
    axes.set_extent((*x, *y), crs=plane)
    axes.set_facecolor(_SEA)
    around = (float(np.min(longitude)) - 15, float(np.min(latitude)) - 10, float(np.max(longitude)) + 15)
    land = borders.land((*around, float(np.max(latitude)) + 10))
    axes.add_geometries([land], ccrs.PlateCarree(), facecolor=_LAND, edgecolor="none", zorder=0)
    axes.add_geometries([land], ccrs.PlateCarree(), facecolor="none", edgecolor=_COAST, linewidth=0.5, zorder=3)
    _borders(axes, plane, longitude, latitude)
    lines = axes.gridlines(draw_labels=True, x_inline=False, y_inline=False, color="#9fb3c1", linewidth=0.3, zorder=3)
    lines.top_labels = lines.right_labels = False
    lines.rotate_labels = False
    lines.xlocator, lines.ylocator = MaxNLocator(6, steps=[1, 2, 5, 10]), MaxNLocator(6, steps=[1, 2, 5, 10])
    lines.xlabel_style = lines.ylabel_style = {"size": 8, "color": "#555555"}
    return axes


def _frame(plane: ccrs.Projection, longitude: Any, latitude: Any) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the rectangle of the plane that holds a box of degrees."""
    margin = max(0.02 * float(np.ptp(longitude)), 0.1)
    west, east = float(np.min(longitude)) - margin, float(np.max(longitude)) + margin
    south, north = max(float(np.min(latitude)) - margin, -90.0), min(float(np.max(latitude)) + margin, 90.0)
    along, up = np.linspace(west, east, 60), np.linspace(south, north, 60)
    x = np.concatenate([along, along, np.full(60, west), np.full(60, east)])
    y = np.concatenate([np.full(60, south), np.full(60, north), up, up])
    points = plane.transform_points(ccrs.PlateCarree(), x, y)
    return (points[:, 0].min(), points[:, 0].max()), (points[:, 1].min(), points[:, 1].max())


def _borders(axes: Any, plane: ccrs.Projection, longitude: Any, latitude: Any) -> None:
    """Draw provinces where the part of the world holds any."""
    meets = np.max(longitude) > 73 and np.min(longitude) < 136 and np.max(latitude) > 3 and np.min(latitude) < 54
    if not meets or isinstance(plane, ccrs.EqualEarth):
        return
    outlines = list(borders.provinces(plane, _TOLERANCE).values())
    axes.add_geometries(outlines, plane, facecolor="none", edgecolor=_BORDER, linewidth=0.4, zorder=4)
    dashes, unsettled = borders.dashes(plane)
    axes.add_geometries([dashes], plane, facecolor="none", edgecolor=_BORDER, linewidth=0.9, zorder=4)
    axes.add_geometries(
        [unsettled], plane, facecolor="none", edgecolor=_BORDER, linewidth=0.7, linestyle="--", zorder=4
    )


def mesh(axes: Any, values: xr.DataArray, colours: Any, norm: Any) -> Any:
    """Draw the cells of a field (latitude, longitude), each as large as it is."""
    x, y = (edges(values[name].values, name=name) for name in ("longitude", "latitude"))
    return axes.pcolormesh(
        x, y, values.values, cmap=colours, norm=norm, transform=ccrs.PlateCarree(), zorder=1, rasterized=True
    )


def bar(made: Figure, drawn: Any, axes: Any, text: str, *, extend: str = "neither") -> None:
    """Draw the scale of colours beside axes, labelled with its unit."""
    scale = made.colorbar(drawn, ax=axes, shrink=0.8, pad=0.02, extend=extend)
    scale.set_label(text, fontproperties=properties(size=9))
    scale.ax.tick_params(labelsize=8)
    scale.outline.set_linewidth(0.4)


def stations(axes: Any, places: Places | None) -> None:
    """Draw stations and their names: name -> (longitude, latitude)."""
    for name, (x, y) in (places or {}).items():
        axes.plot(
            x, y, "^", color="black", markersize=5, markerfacecolor="white", transform=ccrs.PlateCarree(), zorder=6
        )
        axes.annotate(
            drawable(name),
            (x, y),
            xycoords=ccrs.PlateCarree()._as_mpl_transform(axes),  # noqa: SLF001  what cartopy's own pages tell to use
            xytext=(4, 3),
            textcoords="offset points",
            fontproperties=properties(size=7.5),
            path_effects=HALO,
            zorder=7,
            annotation_clip=True,
        )


def regions_of(values: Sequence[Any]) -> list[str]:
    """Return names of regions as they can be drawn."""
    return [drawable(str(value)) for value in values]
