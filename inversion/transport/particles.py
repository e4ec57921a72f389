"""Footprints by particles: released at the receptor, followed back in time, counted where they are near the ground.

A particle below h_mix = 0.5 h, h the height of the boundary layer, takes up what the ground gives off (Lin et al. 2003,
J. Geophys. Res. 108, 4493, eq. 8)::

    srr = M_air Δt / (ρ h_mix N)      summed over the particles' time Δt over a cell, ρ the density of dry air

Near a low tower air has not yet spread over 0.5 h: with ``near_field`` h_mix is, until it reaches that, the receptor's
height and Taylor's spread since the release (Fasoli et al. 2018, Geosci. Model Dev. 11, 2813; Taylor 1921)::

    h_mix = z_r + σ_z(t),    σ_z² = 2 σ_w² τ² (t/τ - 1 + exp(-t/τ)),  σ_w and τ those at the release

With ``smoothing`` each time back is spread by a Gaussian, so that few particles leave no holes (ibid., eq. 6)::

    width [degrees] = 0.06 (var λ + var φ)^¼ (t / 1 day)^½ / cos φ,  over the particles' longitudes and latitudes

Each receptor has random numbers of its own, told by the seed and by where and when it is: the result does not depend on
which receptors are calculated together, nor on how many workers do it. Cost grows with receptors, particles and hours;
memory with the receptors and the cells of the grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from inversion.datasets import FOOTPRINT, SRR_UNITS
from inversion.errors import FootprintError
from inversion.transport import kernel
from inversion.transport.fields import Fields
from inversion.transport.series import Receptors, read_receptors
from qc.schema import require

SIDES: Final = ("west", "east", "south", "north")
EXIT_HEIGHTS: Final = np.array([0.0, 500.0, 1000.0, 2000.0, 3000.0, 5000.0, 8000.0, 20_000.0])
"""Edges of the layers by which boundary sensitivity is told apart [m above ground]."""
MIXING_SHARE: Final = 0.5
"""h_mix over h."""
SMOOTHING: Final = 0.06
"""Width of the smoothing for unit variance after a day [degrees]."""
_NO_PATH: Final = np.zeros((0, 0, 3))
_RATIO: Final = 1.25
"""Of the ends of the times over which smoothing is taken as one."""
Floats = NDArray[np.float64]


def footprints(  # noqa: PLR0913  what is kept and how, all by keyword
    receptors: xr.Dataset,
    meteorology: Fields,
    grid: xr.Dataset,
    *,
    particles: int = 1000,
    hours_back: int = 240,
    seed: int = 0,
    hourly: bool = False,
    endpoints: bool = False,
    near_field: bool = False,
    smoothing: float = 0.0,
) -> xr.Dataset:
    """Return the footprints of receptors.

    Parameters
    ----------
    receptors : xr.Dataset (receptor)
        ``time`` (UTC), ``longitude``, ``latitude`` [degrees], ``height`` [m above ground]; ``site`` where there is one.
    meteorology : Fields
        Geographic; it must reach `hours_back` before the first receptor.
    grid : xr.Dataset
        ``longitude``, ``latitude``: centres of evenly spaced cells [degrees].
    particles : int
        N, for each receptor.
    hours_back : int
        How long they are followed [h].
    seed : int
        Of the random numbers.
    hourly : bool
        Also by hours before the receptor: ``srr_time_resolved`` (receptor, hours_back, latitude, longitude).
    endpoints : bool
        Also where each particle ended.
    near_field : bool
        Let h_mix grow from the receptor's height: for low towers on grids of a kilometre and less.
    smoothing : float
        Times the width above; 1 is the published one, 0 none. What is spread beyond the grid is lost to it.

    Returns
    -------
    xr.Dataset
        FOOTPRINT: ``srr``, ``fraction_outside``, and ``exit_share`` (receptor, side, exit_height), the share of the air
        that came in through each side of the grid, by height: there a particle's way ends, for what it took up before
        is the background's.

    Raises
    ------
    FootprintError
        A receptor lies outside of the meteorology in space or time, or a number is not positive.
    """
    found, faults = read_receptors(receptors)
    if faults:
        raise FootprintError("The receptors", faults)
    x, y = (axis_of(grid, name) for name in ("longitude", "latitude"))
    require_inside(
        found, bounds_of((x, y), meteorology), particles=particles, hours_back=hours_back, smoothing=smoothing
    )
    if not meteorology.geographic:
        raise FootprintError("The meteorology", ["It is on a projection, expected longitude and latitude."])
    seconds = seconds_of(found.time)
    meteorology.require_covers(float(seconds.min()) - hours_back * 3600.0, float(seconds.max()))
    way = _Way(hours_back, seed, near_field, _bins(hours_back, hourly=hourly, smooth=smoothing > 0))
    bins = int(way.bin_of[-1]) + 1
    srr = np.zeros((found.size, bins if hourly else 1, y.size, x.size), dtype=np.float32)
    exits = np.zeros((found.size, len(SIDES), EXIT_HEIGHTS.size - 1))
    ends, layer_share = np.empty((found.size, particles, 4)), np.empty(found.size)
    for r in range(found.size):
        one = np.zeros((bins, y.size, x.size))
        left, moments = np.zeros(particles, np.int8), np.zeros((bins if smoothing > 0 else 0, 5))
        layer_share[r] = _follow(found, r, meteorology, (x, y), (one, ends[r], left, moments), way)
        if smoothing > 0:
            one = _smoothed(one, moments, way.bin_of, (x, y), float(found.latitude[r]), smoothing)
        srr[r] = one if hourly else one.sum(axis=0, keepdims=True)
        for side in range(len(SIDES)):
            exits[r, side] = np.histogram(ends[r, left == side + 1, 3], EXIT_HEIGHTS)[0] / particles
    attrs = _provenance(particles, hours_back, seed) | {"near_field": int(near_field), "smoothing": smoothing}
    ds = _dataset(found, x, y, srr, exits, ends if endpoints else None, hourly=hourly, attrs=attrs)
    about = {"units": "1", "long_name": "share of the particles' time within the boundary layer"}
    return ds.assign(layer_share=("receptor", layer_share, about))


def _provenance(particles: int, hours_back: int, seed: int) -> dict[str, Any]:
    """Return the attributes that say how footprints were made."""
    return {
        "source": f"skyledger, Lagrangian particles: {particles} for each receptor, {hours_back} h back",
        "particles": particles,
        "hours_back": hours_back,
        "seed": seed,
    }


def _bins(hours: int, *, hourly: bool, smooth: bool) -> NDArray[np.int64]:
    """Return the bin of each step since the release: hours, or times that lengthen with how far back they are."""
    steps = np.arange(round(hours * 3600 / kernel.OUTER))
    if hourly:
        return steps // round(3600 / kernel.OUTER)
    if not smooth:
        return np.zeros_like(steps)
    return np.unique(np.floor(np.log1p(steps) / np.log(_RATIO)), return_inverse=True)[1].astype(np.int64)


def _smoothed(
    srr: Floats, moments: Floats, bin_of: NDArray[np.int64], axes: tuple[Floats, Floats], latitude: float, factor: float
) -> Floats:
    """Return each time back of a footprint (bins, y, x) spread by its own width."""
    x, y = axes
    out = np.empty_like(srr)
    for k, (part, (time, *sums)) in enumerate(zip(srr, moments, strict=True)):
        east, north, east2, north2 = (value / max(time, 1.0) for value in sums)
        spread = max(east2 - east**2, 0.0) + max(north2 - north**2, 0.0)
        back = float((np.flatnonzero(bin_of == k) + 0.5).mean()) * kernel.OUTER
        cosine = max(float(np.cos(np.radians(latitude + north))), 0.05)
        width = factor * SMOOTHING * spread**0.25 * np.sqrt(back / 86_400.0) / cosine
        out[k] = gaussian_filter(part, (width / (y[1] - y[0]), width / (x[1] - x[0])), mode="constant")
    return out


def number_of(time: np.datetime64, longitude: float, latitude: float, height: float) -> int:
    """Return the number by which a receptor's random numbers are told (uint64)."""
    content = f"{time.astype('datetime64[ns]').astype(np.int64)} {longitude!r} {latitude!r} {height!r}"
    return int.from_bytes(blake2b(content.encode(), digest_size=8).digest(), "little")


@dataclass(frozen=True, slots=True)
class _Way:
    """How particles are followed and counted."""

    hours: int
    seed: int
    near_field: bool
    bin_of: NDArray[np.int64]


def _follow(
    found: Receptors, r: int, met: Fields, axes: tuple[Floats, Floats], out: tuple[Floats, Floats, Any, Floats],
    way: _Way,
) -> float:  # fmt: skip
    """Add to the arrays what the particles of a receptor say; returns the share of their time within the layer."""
    srr, ends, left, moments = out
    place = float(found.longitude[r]), float(found.latitude[r]), float(found.height[r])
    x, y = axes
    dx, dy = x[1] - x[0], y[1] - y[0]
    x0, y0, z0 = (np.full(ends.shape[0], at) for at in place)
    inside, total = kernel.follow(
        met.time, met.y, met.x, met.u, met.v, met.w, met.rho,
        met.layer, met.ustar, met.wstar, met.stability, met.geographic,
        seconds_of(found.time[r : r + 1])[0], x0, y0, z0, ends.shape[0], -1.0, way.hours * 3600.0,
        np.uint64(way.seed), np.uint64(number_of(found.time[r], *place)), True, MIXING_SHARE, way.near_field,
        x[0] - dx / 2, dx, x.size, y[0] - dy / 2, dy, y.size, way.bin_of, bounds_of(axes, met),
        srr, ends, left, moments, _NO_PATH,
    )  # fmt: skip
    return float(inside / total)


def bounds_of(axes: tuple[Floats, Floats], met: Fields) -> Floats:
    """Return the lowest and highest x and y of the grid's cells, within the meteorology (4,)."""
    edges = [
        (max(axis[0] - (axis[1] - axis[0]) / 2, air[0]), min(axis[-1] + (axis[1] - axis[0]) / 2, air[-1]))
        for axis, air in zip(axes, (met.x, met.y), strict=True)
    ]
    return np.array(edges).ravel()


def seconds_of(time: NDArray[Any]) -> Floats:
    """Return times (n,) as s since 1970 UTC."""
    seconds: Floats = time.astype("datetime64[ns]").astype(np.int64) / 1e9
    return seconds


def axis_of(grid: xr.Dataset, name: str) -> Floats:
    """Return centres of a grid's cells along an axis (n,), evenly spaced and increasing, or raise FootprintError."""
    if name not in grid.coords and name not in grid.variables:
        raise FootprintError("The grid", [f"It has no {name}."])
    values = grid[name].values.astype(np.float64)
    if values.ndim != 1 or values.size < 2 or not np.allclose(np.diff(values), values[1] - values[0], rtol=1e-4):
        raise FootprintError("The grid", [f"Its {name} is not evenly spaced, expected two or more centres of cells."])
    if not values[1] > values[0]:
        raise FootprintError("The grid", [f"Its {name} decreases, expected it increasing."])
    return values


def require_inside(
    found: Receptors, bounds: Floats, *, particles: int, hours_back: int, smoothing: float = 0.0
) -> None:
    """Raise FootprintError where receptors lie outside of the bounds (4,), or numbers are not positive."""
    faults = [
        f"{name} is {value}, expected 1 or more."
        for name, value in (("particles", particles), ("hours_back", hours_back))
        if value < 1
    ]
    if not (np.isfinite(smoothing) and smoothing >= 0):
        faults.append(f"smoothing is {smoothing}, expected 0 or more.")
    for name, values, (low, high) in (
        ("longitude", found.longitude, bounds[:2]),
        ("latitude", found.latitude, bounds[2:]),
    ):
        outside = np.flatnonzero((values < low) | (values > high))
        if outside.size:
            first = int(outside[0])
            faults.append(
                f"Receptor {first} lies at {name} {values[first]:g}, outside of grid and meteorology "
                f"({low:g} to {high:g}), and {outside.size - 1} others do."
            )
    if faults:
        raise FootprintError("Footprints", faults)


def _dataset(
    found: Receptors, x: Floats, y: Floats, srr: Any, exits: Floats, ends: Floats | None, *, hourly: bool,
    attrs: dict[str, Any],
) -> xr.Dataset:  # fmt: skip
    about = {"units": SRR_UNITS, "long_name": "mole fraction at the receptor for a unit flux from the whole cell"}
    variables: dict[str, Any] = {
        "srr": (("receptor", "latitude", "longitude"), srr.sum(axis=1), about),
        "fraction_outside": ("receptor", exits.sum(axis=(1, 2)), {"units": "1"}),
        "exit_share": (
            ("receptor", "side", "exit_height"),
            exits,
            {"units": "1", "long_name": "share of the air that came in there"},
        ),
        "release_lon": ("receptor", found.longitude, {"units": "degrees_east"}),
        "release_lat": ("receptor", found.latitude, {"units": "degrees_north"}),
        "release_height": ("receptor", found.height, {"units": "m"}),
    }
    if hourly:
        variables["srr_time_resolved"] = (("receptor", "hours_back", "latitude", "longitude"), srr, about)
    if ends is not None:
        names = (("end_longitude", 1, "degrees_east"), ("end_latitude", 2, "degrees_north"), ("end_height", 3, "m"))
        for name, column, unit in names:
            variables[name] = (("receptor", "particle"), ends[:, :, column], {"units": unit})
        end = (ends[:, :, 0] * 1e9).round().astype(np.int64).astype("datetime64[ns]")
        variables["end_time"] = (("receptor", "particle"), end)
    coords: dict[str, Any] = {
        "longitude": ("longitude", x, {"units": "degrees_east"}),
        "latitude": ("latitude", y, {"units": "degrees_north"}),
        "time": ("receptor", found.time.astype("datetime64[ns]")),
        "side": ("side", np.array(SIDES, dtype=object)),
        "exit_height": ("exit_height", 0.5 * (EXIT_HEIGHTS[1:] + EXIT_HEIGHTS[:-1]), {"units": "m"}),
    }
    if hourly:
        coords["hours_back"] = ("hours_back", np.arange(srr.shape[1]), {"units": "h"})
    if found.site is not None:
        coords["site"] = ("receptor", found.site)
    ds = xr.Dataset(variables, coords, attrs)
    require(ds, FOOTPRINT)
    return ds
