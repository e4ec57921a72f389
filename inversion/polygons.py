"""Polygons on a latitude-longitude grid: exact shares of cells.

In the cylindrical equal-area projection of the WGS84 ellipsoid meridians and parallels are straight, so that grid cells
are true rectangles and areas are true areas.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from shapely.affinity import translate

from inversion.provinces import RegionError

Floats = NDArray[np.float64]

_MAJOR_AXIS: Final = 6378137.0  # m, WGS84
_ECCENTRICITY: Final = float(np.sqrt(0.00669437999014))
_SEGMENT: Final = 0.1  # degrees; an edge this long bends by 1 m between the two projections
_FULL: Final = 1.0 - 1e-12
_TURN: Final = 2.0 * np.pi


def authalic(latitude: ArrayLike) -> Floats:
    """Return the area per radian of longitude between the equator and `latitude` [degree]: m2 (Snyder 1987, 3-12)."""
    sine = np.sin(np.radians(np.asarray(latitude, dtype=np.float64)))
    e = _ECCENTRICITY
    q = (1.0 - e * e) * (sine / (1.0 - (e * sine) ** 2) + np.arctanh(e * sine) / e)
    area: Floats = 0.5 * _MAJOR_AXIS**2 * q
    return area


def edges(centres: ArrayLike, *, name: str = "axis") -> Floats:
    """Return the n + 1 cell edges of n ascending cell centres: midpoints, the outer ones extrapolated.

    Raises
    ------
    RegionError
        With fewer than two centres, or when they do not ascend.
    """
    centre = np.asarray(centres, dtype=np.float64)
    if centre.ndim != 1 or centre.size < 2 or not np.all(np.diff(centre) > 0):
        raise RegionError(
            f"The {name} of the grid must be at least two ascending cell centres in degrees; got shape "
            f"{centre.shape}: sort the dataset by it first."
        )
    middle = 0.5 * (centre[1:] + centre[:-1])
    return np.concatenate([[2 * centre[0] - middle[0]], middle, [2 * centre[-1] - middle[-1]]])


def disjoint(shapes: list[Any]) -> list[Any]:
    """Take from every polygon what an earlier one covers; those that only touch stay as they are."""
    apart = list(shapes)
    tree = shapely.STRtree(shapes)
    found = [tree.query(shapes, how).T.tolist() for how in ("overlaps", "covers", "covered_by")]
    pairs = {(first, second) for each in found for first, second in each}
    for first, second in sorted(pairs):
        if first < second:
            apart[second] = shapely.difference(apart[second], apart[first])
    return apart


def equal_area(polygon: Any) -> Any:
    """Return a polygon of degrees in the equal-area plane [radian, m2 per radian]."""

    def project(points: Floats) -> Floats:
        return np.column_stack([np.radians(points[:, 0]), authalic(points[:, 1])])

    return shapely.transform(shapely.segmentize(polygon, _SEGMENT), project)


def planes(latitude: ArrayLike, longitude: ArrayLike) -> tuple[Floats, Floats]:
    """Return the edges of a grid in the equal-area plane: x (nx + 1,), y (ny + 1,).

    Raises
    ------
    RegionError
        For axes that are no ascending cell centres.
    """
    x = np.radians(edges(longitude, name="longitude"))
    return x, authalic(np.clip(edges(latitude, name="latitude"), -90, 90))


def shares(shapes: Sequence[Any], x: Floats, y: Floats) -> Floats:
    """Return the share of every cell (k, ny, nx) that lies in each of some shapes, wherever longitude is counted from.

    Parameters
    ----------
    shapes : sequence of polygons
        From `equal_area`.
    x, y : array
        From `planes`.

    Returns
    -------
    array (k, ny, nx)
        "1".
    """
    grid = np.zeros((len(shapes), y.size - 1, x.size - 1))
    for k, shape in enumerate(shapes):
        for turned in _turned(shape, x):
            part = np.zeros_like(grid[k])
            _fill(part, turned, x, y)
            grid[k] += part
    return np.minimum(grid, 1.0)


def _turned(shape: Any, x: Floats) -> Iterator[Any]:
    """Yield a shape as it lies in the longitudes of a grid, and what of it lies there a turn further east or west."""
    west, _, east, _ = shape.bounds
    for turn in (0.0, _TURN, -_TURN):
        if east + turn > x[0] and west + turn < x[-1]:
            yield translate(shape, xoff=turn) if turn else shape


def _areal(geometry: Any) -> Any:
    """Drop the points and lines an intersection leaves where polygons only touch a cell."""
    if geometry.geom_type != "GeometryCollection":
        return geometry
    return shapely.union_all([part for part in geometry.geoms if part.geom_type in ("Polygon", "MultiPolygon")])


def _fill(out: Floats, geometry: Any, x: Floats, y: Floats) -> None:
    """Write into `out` (ny, nx) the share of every cell that lies in `geometry`, halving the grid as it goes."""
    box = shapely.box(x[0], y[0], x[-1], y[-1])
    part = _areal(shapely.intersection(geometry, box))
    share = part.area / box.area
    if share <= 0.0:
        return
    if share >= _FULL or out.size == 1:
        out[:] = 1.0 if share >= _FULL else share
        return
    ny, nx = out.shape
    if ny >= nx:
        half = ny // 2
        _fill(out[:half], part, x, y[: half + 1])
        _fill(out[half:], part, x, y[half:])
    else:
        half = nx // 2
        _fill(out[:, :half], part, x[: half + 1], y)
        _fill(out[:, half:], part, x[half:], y)
