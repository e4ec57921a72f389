r"""ERA5 and what is named like it, on pressure levels, into `Fields` on heights above the ground.

Heights follow from temperature, humidity and surface pressure (hydrostatic equation, virtual temperature T_v)::

    z_k = z_(k-1) + R_d/g T_v ln(p_(k-1)/p_k)

the speed upward, relative to the ground, from ω = dp/dt and the slope of the pressure surfaces (z: height above the
ground of a pressure level, at rest in time here as between two fields)::

    w = (∂z/∂t)_p + u · ∇_p z - ω/(ρ g)

u* from the surface stress, 1/L = -κ g H / (ρ c_p T u*³) from the heat flux H (upward). ECMWF counts fluxes positive
downward: an instantaneous ``ishf`` [W m-2] and an accumulated ``sshf`` [J m-2 since the field before] are both turned.
Where there is no ``blh`` the boundary layer ends where the bulk Richardson number passes 0.25 (Vogelezang and Holtslag
1996, with b = 100 u*², and an excess of 8.5 H/(ρ c_p w*) K at the ground where it is unstable, three times over).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import dask
import numba
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from inversion.errors import FootprintError
from inversion.transport.fields import EARTH_RADIUS, LEVELS, Fields, convective_velocity

GRAVITY: Final = 9.80665
R_DRY: Final = 287.04
C_P: Final = 1004.7
KAPPA: Final = 0.4
CRITICAL: Final = 0.25
NAMES: Final = {
    "u": ("u",), "v": ("v",), "w": ("w",), "t": ("t",), "q": ("q",),
    "sp": ("sp",), "t2m": ("t2m", "2t"), "d2m": ("d2m", "2d"), "u10": ("u10", "10u"), "v10": ("v10", "10v"),
    "blh": ("blh",), "ishf": ("ishf",), "sshf": ("sshf",), "iews": ("iews",), "inss": ("inss",),
    "level": ("plev", "level", "pressure_level", "isobaricInhPa"), "time": ("time", "valid_time"),
    "latitude": ("latitude", "lat"), "longitude": ("longitude", "lon"), "x": ("x",), "y": ("y",),
}  # fmt: skip
"""Our name -> spellings."""
_VOLUMES: Final = ("u", "v", "w", "rho")
_SURFACES: Final = ("layer", "ustar", "wstar", "stability")
_AT_ONCE: Final = 8_000_000
"""Values of a variable that are worked on at a time."""
NEEDED: Final = ("u", "v", "w", "t", "q", "sp", "t2m", "d2m", "u10", "v10", "iews", "inss", "level", "time")
Floats = NDArray[np.float64]


def fields(datasets: Sequence[xr.Dataset] | xr.Dataset, *, crs: str = "") -> Fields:
    """Return the meteorology of ERA5-named datasets.

    Parameters
    ----------
    datasets : xr.Dataset or sequence of them
        Stretches of time, in any order, lazily opened or not: pressure levels and surface fields on the same grid, in
        longitude and latitude or in a projection (``x``, ``y`` in metres, its grid mapping as CF has it).
    crs : str
        The projection as pyproj takes it, where the dataset does not say it itself.

    Returns
    -------
    Fields
        Geographic: a projected grid is brought onto an even one of longitude and latitude that lies within it; winds
        along its axes are turned, those whose standard name is eastward are so already.

    Raises
    ------
    FootprintError
        Where variables are missing, times are doubled or unevenly spaced, or the projection is not said.
    """
    parts = [datasets] if isinstance(datasets, xr.Dataset) else list(datasets)
    named = [_named(part) for part in parts]
    ds = named[0] if len(named) == 1 else _joined(named)
    if "latitude" not in ds.dims:
        ds = _geographic(ds, crs or _projection(parts[0]))
    ds = ds.sortby(["latitude", "longitude"]).sortby("level", ascending=False)
    return _on_heights(ds)


def opened(
    paths: Iterable[str | Path],
    first: np.datetime64,
    last: np.datetime64,
    *,
    region: tuple[float, float, float, float] | None = None,
    crs: str = "",
) -> Fields:
    """Return the meteorology of files, of which no more is read than is needed.

    Parameters
    ----------
    paths : iterable of paths
        netCDF files, as `fields` takes their content.
    first, last : datetime64
        The time that is needed (UTC); the fields around it are taken too.
    region : (west, east, south, north) [degrees], optional
        The part that is needed, and a cell around it, of files in longitude and latitude. Longitudes of files may go
        from 0 to 360 or from -180 to 180.
    crs : str
        As for `fields`.

    Raises
    ------
    FootprintError
        As `fields`, and where a file holds nothing of the time, or cannot be read.
    """
    parts = []
    with ExitStack() as files, dask.config.set(scheduler="synchronous"):
        for path in paths:
            try:
                ds = files.enter_context(xr.open_dataset(path, chunks={}))
            except (OSError, ValueError) as error:
                raise FootprintError(Path(path).name, ["It is no netCDF file that can be read."]) from error
            part = _around(ds, first, last)
            if part is not None:
                parts.append(part if region is None else _cropped(part, region))
        if not parts:
            raise FootprintError("The meteorology", [f"No file holds anything between {first} and {last}."])
        return fields(parts, crs=crs)


def _around(ds: xr.Dataset, first: np.datetime64, last: np.datetime64) -> xr.Dataset | None:
    """Return the times that are needed and those next to them."""
    name = next((known for known in NAMES["time"] if known in ds.dims), None)
    if name is None:
        raise FootprintError("The meteorology", [f"It has no time: expected {' or '.join(NAMES['time'])}."])
    time = ds[name].values
    step = np.diff(time).max() if time.size > 1 else np.timedelta64(1, "D")
    inside = np.flatnonzero((time > first - step) & (time < last + step))
    return ds.isel({name: inside}) if inside.size else None


def _cropped(ds: xr.Dataset, region: tuple[float, float, float, float]) -> xr.Dataset:
    names = [next((known for known in NAMES[name] if known in ds.dims), None) for name in ("longitude", "latitude")]
    if None in names:
        return ds
    longitude, latitude = map(str, names)
    if region[0] < float(ds[longitude].min()) and float(ds[longitude].max()) > 180.0:
        ds = ds.assign_coords({longitude: (ds[longitude] + 180.0) % 360.0 - 180.0}).sortby(longitude)
    for name, low, high in ((longitude, *region[:2]), (latitude, *region[2:])):
        axis = ds[name].values
        cell = abs(float(axis[1] - axis[0])) if axis.size > 1 else 0.0
        inside = np.flatnonzero((axis >= low - 1.001 * cell) & (axis <= high + 1.001 * cell))
        if inside.size:
            ds = ds.isel({name: inside})
    return ds


def _named(ds: xr.Dataset) -> xr.Dataset:
    """Return the variables of a dataset by our names; raises FootprintError where one is missing."""
    found = {ours: next((name for name in names if name in ds.variables), None) for ours, names in NAMES.items()}
    missing = [ours for ours in NEEDED if found[ours] is None]
    if found["ishf"] is None and found["sshf"] is None:
        missing.append("ishf or sshf")
    if missing:
        spelt = ", ".join(f"{name} ({' or '.join(NAMES[name])})" if name in NAMES else name for name in missing)
        raise FootprintError("The meteorology", [f"Variables are missing: {spelt}."])
    kept = [name for name in found.values() if name is not None]
    out = ds[kept].rename({name: ours for ours, name in found.items() if name is not None and name != ours})
    units = str(out["level"].attrs.get("units", ""))
    if units in ("hPa", "millibars", "mbar") or float(out["level"].max()) < 2000:
        out = out.assign_coords(level=out["level"].astype(np.float64) * 100.0)
    return out


def _joined(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    ds = xr.concat(parts, "time", join="exact", combine_attrs="override").sortby("time")
    doubled = int((np.diff(ds["time"].values) == np.timedelta64(0)).sum())
    if doubled:
        raise FootprintError("The meteorology", [f"{doubled} times are there twice: give each file once."])
    return ds


def _projection(ds: xr.Dataset) -> str:
    """Return the projection a dataset's grid mapping says, as CF has it or as PROJ's parameters."""
    said = (v.attrs.get("grid_mapping") or v.encoding.get("grid_mapping") for v in ds.data_vars.values())
    name = next((str(one) for one in said if one), None)
    if name is None or name not in ds.variables:
        fault = "It is on x and y and names no grid mapping: give crs=, as 'EPSG:32632'."
        raise FootprintError("The meteorology", [fault])
    from pyproj import CRS  # noqa: PLC0415  half a second to import
    from pyproj.exceptions import CRSError  # noqa: PLC0415

    attrs = ds[name].attrs
    plain = next((str(attrs[key]) for key in ("crs_wkt", "spatial_ref", "proj_params", "proj4") if key in attrs), None)
    try:
        return str((CRS.from_user_input(plain) if plain else CRS.from_cf(attrs)).to_wkt())
    except CRSError as error:
        fault = f"Its grid mapping {name!r} is not understood ({error}): give crs=, as 'EPSG:32632'."
        raise FootprintError("The meteorology", [fault]) from None


def rotated(u: Any, v: Any, *, longitude: Any, latitude: Any, crs: str) -> tuple[Any, Any]:
    """Return winds to the east and north of winds along the axes of a projection.

    ``u_e = cos γ u - sin γ v,  v_n = sin γ u + cos γ v``, γ the angle from east to the x axis, counter-clockwise, by a
    small step along the axis.

    Parameters
    ----------
    u, v : float (..., y, x)
        Along x and along y [m s-1].
    longitude, latitude : float (y, x)
        Of the grid's points [degrees].
    crs : str
        The projection.
    """
    from pyproj import Transformer  # noqa: PLC0415

    there = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    back = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    x, y = there.transform(longitude, latitude)
    east, north = back.transform(np.asarray(x) + 100.0, y)
    angle = np.arctan2(north - latitude, (east - longitude) * np.cos(np.radians(latitude)))
    cosine, sine = np.cos(angle), np.sin(angle)
    return cosine * u - sine * v, sine * u + cosine * v


def _geographic(ds: xr.Dataset, crs: str) -> xr.Dataset:
    """Return a projected dataset on an even grid of longitude and latitude within it."""
    from pyproj import Transformer  # noqa: PLC0415

    x, y = np.meshgrid(ds["x"].values.astype(np.float64), ds["y"].values.astype(np.float64))
    back = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    longitude, latitude = (np.asarray(values) for values in back.transform(x, y))
    turned = dict(ds.data_vars)
    # Winds that are called eastward are so already; ECMWF's surface winds and stresses go with the others.
    eastward = "eastward" in str(ds["u"].attrs.get("standard_name", ""))
    for along, across in (("u", "v"), ("u10", "v10"), ("iews", "inss")):
        if eastward:
            continue
        pair = rotated(ds[along].values, ds[across].values, longitude=longitude, latitude=latitude, crs=crs)
        for name, values in zip((along, across), pair, strict=True):
            turned[name] = ds[name].copy(data=values)
    flat = xr.Dataset(turned, ds.coords)
    lon = _inner(longitude[:, 0].max(), longitude[:, -1].min(), longitude.shape[1])
    lat = _inner(latitude[0].max(), latitude[-1].min(), latitude.shape[0])
    there = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    at_x, at_y = there.transform(*np.meshgrid(lon, lat))
    dims = ("latitude", "longitude")
    points = {"x": xr.DataArray(at_x, dims=dims), "y": xr.DataArray(at_y, dims=dims)}
    return flat.interp(points).assign_coords(longitude=lon, latitude=lat).drop_vars(["x", "y"], errors="ignore")


def _inner(low: float, high: float, count: int) -> Floats:
    if not low < high:
        raise FootprintError(
            "The meteorology", ["Its grid holds no rectangle of longitude and latitude: give a wider one."]
        )
    edge = 1e-3 * (high - low)
    return np.linspace(low + edge, high - edge, count)


# --- onto heights ------------------------------------------------------------------------------


def _on_heights(ds: xr.Dataset) -> Fields:
    """Return the fields, made a stretch of time after the other: only `Fields` itself is held whole."""
    time = ds["time"].values.astype("datetime64[ns]").astype(np.int64) / 1e9
    _require_even(time)
    y, x = ds["latitude"].values.astype(np.float64), ds["longitude"].values.astype(np.float64)
    pressure = ds["level"].values.astype(np.float64)
    volume, surface = (time.size, LEVELS.size, y.size, x.size), (time.size, y.size, x.size)
    kept: dict[str, Any] = {name: np.empty(volume, np.float32) for name in _VOLUMES}
    kept |= {name: np.empty(surface, np.float32) for name in _SURFACES}
    stretch = max(1, _AT_ONCE // (pressure.size * y.size * x.size))
    for first in range(0, time.size, stretch):
        last = min(first + stretch, time.size)
        # One time more on either side: heights change between them.
        low, high = max(first - 1, 0), min(last + 1, time.size)
        air = {str(name): _loaded(ds[name].isel(time=slice(low, high))) for name in ds.data_vars}
        for name, values in _stretch(air, pressure, time[low:high], y, x).items():
            kept[name][first:last] = values[first - low : last - low]
    return Fields(time, LEVELS, y, x, **kept)


def _require_even(time: Floats) -> None:
    if time.size < 2:
        raise FootprintError("The meteorology", [f"It has {time.size} time, expected two or more."])
    steps = np.diff(time)
    if not np.allclose(steps, steps[0]):
        gap = int(np.argmax(steps > steps.min() * 1.5))
        after = np.datetime64(int(time[gap]), "s")
        raise FootprintError(
            "The meteorology", [f"There is a gap after {after}: steps of {steps.min():g} to {steps.max():g} s."]
        )


def _stretch(air: Mapping[str, Floats], pressure: Floats, time: Floats, y: Floats, x: Floats) -> dict[str, Any]:
    """Return what `Fields` holds, for some times."""
    height = _heights(air, pressure)
    virtual = air["t"] * (1 + 0.61 * air["q"])
    rho = pressure[None, :, None, None] / (R_DRY * virtual)
    volumes = {"u": air["u"], "v": air["v"], "w": _upward(air, height, rho, time, y, x), "rho": rho * (1 - air["q"])}
    surface = _surface(air, time)
    low = {"u": air["u10"], "v": air["v10"], "w": np.zeros_like(air["u10"]), "rho": surface["rho"] * (1 - surface["q"])}
    made: dict[str, Any] = {name: _interpolated(height, volumes[name], low[name]) for name in volumes}
    layer = air["blh"] if "blh" in air else _layer(air, pressure, height, virtual, surface)
    stars = convective_velocity(surface["ustar"], surface["stability"], layer)
    return made | {"layer": layer, "ustar": surface["ustar"], "wstar": stars, "stability": surface["stability"]}


def _loaded(array: xr.DataArray) -> Floats:
    order = [name for name in ("time", "level", "latitude", "longitude") if name in array.dims]
    return np.asarray(array.transpose(*order).values, dtype=np.float64)


def vapour_pressure(dew_point: Floats) -> Floats:
    """Return the pressure of water vapour [Pa] of a dew point [K] (Bolton 1980, eq. 10)."""
    celsius = dew_point - 273.15
    return 611.2 * np.exp(17.67 * celsius / (celsius + 243.5))


def _surface(air: Mapping[str, Floats], time: Floats) -> dict[str, Floats]:
    """Return density, humidity, u*, heat flux upward and 1/L at the ground."""
    e = vapour_pressure(air["d2m"])
    q = 0.622 * e / (air["sp"] - 0.378 * e)
    rho = air["sp"] / (R_DRY * air["t2m"] * (1 + 0.61 * q))
    ustar = np.maximum(np.sqrt(np.hypot(air["iews"], air["inss"]) / rho), 0.02)
    heat = -air["ishf"] if "ishf" in air else -air["sshf"] / (time[1] - time[0])
    stability = -KAPPA * GRAVITY * heat / (rho * C_P * air["t2m"] * ustar**3)
    return {"rho": rho, "q": q, "ustar": ustar, "heat": heat, "stability": np.clip(stability, -1.0, 1.0)}


def _heights(air: Mapping[str, Floats], pressure: Floats) -> Floats:
    """Return heights of pressure levels above the ground (T, K, Y, X) [m]; negative below it."""
    e = vapour_pressure(air["d2m"])
    q = 0.622 * e / (air["sp"] - 0.378 * e)
    below = air["t2m"] * (1 + 0.61 * q)
    height, last = np.empty_like(air["t"]), np.zeros_like(air["sp"])
    under = air["sp"]
    for k, p in enumerate(pressure):
        virtual = air["t"][:, k] * (1 + 0.61 * air["q"][:, k])
        first = under == air["sp"]
        mean = np.where(p < air["sp"], 0.5 * (virtual + below), below)
        height[:, k] = np.where(first, 0.0, last) + R_DRY / GRAVITY * mean * np.log(under / p)
        above = p < air["sp"]
        last = np.where(above, height[:, k], last)
        below = np.where(above, virtual, below)
        under = np.where(above, p, under)
    return height


def _upward(air: Mapping[str, Floats], height: Floats, rho: Floats, time: Floats, y: Floats, x: Floats) -> Floats:
    """Return the speed upward relative to the ground (T, K, Y, X) [m s-1]."""
    metre_y = EARTH_RADIUS * np.radians(y)
    metre_x = EARTH_RADIUS * np.radians(x)
    east = np.gradient(height, metre_x, axis=3) / np.cos(np.radians(y))[None, None, :, None]
    north = np.gradient(height, metre_y, axis=2)
    change = np.gradient(height, time, axis=0)
    rise: Floats = change + air["u"] * east + air["v"] * north - air["w"] / (rho * GRAVITY)
    return rise


def _interpolated(height: Floats, values: Floats, ground: Floats) -> NDArray[np.float32]:
    """Return values (T, K, Y, X) on `LEVELS`: logarithmic in height, from the value at 10 m upward."""
    out = np.empty((height.shape[0], LEVELS.size, *height.shape[2:]), dtype=np.float32)
    _columns(height, values, ground, out)
    return out


@numba.njit(cache=True)
def _columns(height: Any, values: Any, ground: Any, out: Any) -> Any:
    wanted = np.log(LEVELS)
    count = height.shape[1]
    for t in range(height.shape[0]):
        for j in range(height.shape[2]):
            for i in range(height.shape[3]):
                below, above, k = ground[t, j, i], ground[t, j, i], -1
                at_below = at_above = wanted[0]
                for level in range(wanted.size):
                    # Onward to the first level of pressure that is as high as this, of those well above the ground.
                    while at_above < wanted[level] and k + 1 < count:
                        k += 1
                        if height[t, k, j, i] > 2.0 * LEVELS[0]:
                            below, at_below = above, at_above
                            above, at_above = values[t, k, j, i], math.log(height[t, k, j, i])
                    if at_above <= wanted[level]:
                        out[t, level, j, i] = above
                    else:
                        share = (wanted[level] - at_below) / (at_above - at_below)
                        out[t, level, j, i] = below + share * (above - below)


def _layer(
    air: Mapping[str, Floats], pressure: Floats, height: Floats, virtual: Floats, surface: Mapping[str, Floats]
) -> Floats:
    """Return the height of the boundary layer by the bulk Richardson number [m]."""
    theta = virtual * (air["sp"][:, None] / pressure[None, :, None, None]) ** (R_DRY / C_P)
    ground = air["t2m"] * (1 + 0.61 * surface["q"])
    wind2 = (air["u"] - air["u10"][:, None]) ** 2 + (air["v"] - air["v10"][:, None]) ** 2
    layer = np.full_like(ground, 1000.0)
    excess = np.zeros_like(ground)
    for _ in range(3):
        base = ground + excess
        richardson = GRAVITY / base[:, None] * (theta - base[:, None]) * height
        richardson /= np.maximum(wind2 + 100.0 * surface["ustar"][:, None] ** 2, 1e-3)
        layer = _first_above(richardson, height)
        stars = convective_velocity(surface["ustar"], surface["stability"], layer)
        warm = 8.5 * surface["heat"] / (surface["rho"] * C_P * np.maximum(stars, 0.1))
        excess = np.where(surface["heat"] > 0, warm, 0.0)
    return layer


def _first_above(richardson: Floats, height: Floats) -> Floats:
    """Return the height at which the Richardson number first passes the critical one, linear between levels [m]."""
    above = (richardson > CRITICAL) & (height > 0)
    k = np.maximum(np.argmax(above, axis=1), 1)[:, None]
    low, high = (np.take_along_axis(richardson, n, axis=1)[:, 0] for n in (k - 1, k))
    z_low, z_high = (np.take_along_axis(height, n, axis=1)[:, 0] for n in (k - 1, k))
    share = np.clip((CRITICAL - low) / np.where(high > low, high - low, 1.0), 0.0, 1.0)
    return np.maximum(np.where(above.any(axis=1), np.maximum(z_low, 0.0) * (1 - share) + z_high * share, 100.0), 50.0)
