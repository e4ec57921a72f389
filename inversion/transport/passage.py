"""Where air was on its way to a receptor, in three dimensions: paths of particles, and the time they spent in boxes.

A flux into a layer of depth d from anywhere, not the ground alone, raises the mole fraction at the receptor by

    srr_layer = M_air Δt / (ρ d N)      summed over the particles' time Δt in the box, ρ the density of dry air there

(Lin et al. 2003, J. Geophys. Res. 108, 4493, eq. 5 and 8; Seibert and Frank 2004, Atmos. Chem. Phys. 4, 51). For the
layer from the ground to half the boundary layer it is the footprint of `inversion.transport.particles`, of the same
particles: the same receptor and seed give the same paths.

Cost grows with receptors, particles and hours; memory with particles and hours of one receptor, and with the boxes.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator

from inversion.datasets import SRR_UNITS
from inversion.errors import FootprintError
from inversion.transport import kernel
from inversion.transport.fields import Fields
from inversion.transport.particles import MIXING_SHARE, axis_of, bounds_of, number_of, require_inside, seconds_of
from inversion.transport.series import Receptors, read_receptors

Floats = NDArray[np.float64]
_STEPS: Final = round(3600 / kernel.OUTER)
"""Positions an hour."""
_NO_MOMENTS: Final = np.zeros((0, 5))


def passage(
    receptors: xr.Dataset,
    meteorology: Fields,
    grid: xr.Dataset,
    heights: Floats,
    *,
    particles: int = 1000,
    hours_back: int = 48,
    seed: int = 0,
) -> xr.Dataset:
    """Return how long air on its way to receptors was in each box, and what a flux into it adds there.

    Parameters
    ----------
    receptors, meteorology, grid, particles, hours_back, seed
        As `inversion.transport.particles.footprints` takes them.
    heights : float64 (H + 1,)
        Edges of the boxes above ground [m], increasing.

    Returns
    -------
    xr.Dataset
        On (receptor, hours_back, height, latitude, longitude): ``residence_time`` [s], mean of the particles, and
        ``srr_layer`` [(mol/mol)/(mol/m2/s)]; ``height_bnds`` (height, bnds) [m]; ``release_lon``, ``release_lat``,
        ``release_height``, ``time``, ``site`` of the receptors. Positions are taken every five minutes.

    Raises
    ------
    FootprintError
        As `inversion.transport.particles.footprints`, or where the heights are no edges.
    """
    edges = np.asarray(heights, dtype=np.float64)
    if edges.ndim != 1 or edges.size < 2 or not (np.diff(edges) > 0).all() or edges[0] < 0:
        raise FootprintError("The passage", ["The heights are not edges of boxes that increase from the ground."])
    found, faults = read_receptors(receptors)
    if faults:
        raise FootprintError("The receptors", faults)
    axes = axis_of(grid, "longitude"), axis_of(grid, "latitude")
    require_inside(found, bounds_of(axes, meteorology), particles=particles, hours_back=hours_back)
    if not meteorology.geographic:
        raise FootprintError("The meteorology", ["It is on a projection, expected longitude and latitude."])
    seconds = seconds_of(found.time)
    meteorology.require_covers(float(seconds.min()) - hours_back * 3600.0, float(seconds.max()))
    x, y = axes
    shape = found.size, hours_back, edges.size - 1, y.size, x.size
    spent, layer = (np.zeros(shape, dtype=np.float32) for _ in range(2))
    density = _density(meteorology)
    for r in range(found.size):
        path = _path(found, r, meteorology, axes, particles=particles, hours_back=hours_back, seed=seed)
        spent[r], layer[r] = _counted(path, float(seconds[r]), axes, edges, density)
    return _dataset(found, axes, edges, spent, layer, _provenance(particles, hours_back, seed))


def _path(
    found: Receptors, r: int, met: Fields, axes: tuple[Floats, Floats], *, particles: int, hours_back: int, seed: int
) -> Floats:
    """Return x, y, z of the particles of a receptor after each step (particle, step, 3); NaN from where they left."""
    x, y = axes
    dx, dy = x[1] - x[0], y[1] - y[0]
    place = float(found.longitude[r]), float(found.latitude[r]), float(found.height[r])
    x0, y0, z0 = (np.full(particles, at) for at in place)
    path = np.full((particles, hours_back * _STEPS, 3), np.nan)
    ends, left = np.empty((particles, 4)), np.zeros(particles, np.int8)
    bins = np.zeros(hours_back * _STEPS, dtype=np.int64)
    kernel.follow(
        met.time, met.y, met.x, met.u, met.v, met.w, met.rho,
        met.layer, met.ustar, met.wstar, met.stability, met.geographic,
        seconds_of(found.time[r : r + 1])[0], x0, y0, z0, particles, -1.0, hours_back * 3600.0,
        np.uint64(seed), np.uint64(number_of(found.time[r], *place)), True, MIXING_SHARE, False,
        x[0] - dx / 2, dx, x.size, y[0] - dy / 2, dy, y.size, bins, bounds_of(axes, met),
        np.zeros((1, y.size, x.size)), ends, left, _NO_MOMENTS, path,
    )  # fmt: skip
    return path


def _density(met: Fields) -> RegularGridInterpolator:
    """Return the density of dry air [kg m-3] at (time, log height, latitude, longitude)."""
    places = met.time, np.log(met.level), met.y, met.x
    return RegularGridInterpolator(places, met.rho.astype(np.float64), bounds_error=False, fill_value=None)


def _counted(
    path: Floats, start: float, axes: tuple[Floats, Floats], edges: Floats, density: RegularGridInterpolator
) -> tuple[Floats, Floats]:
    """Return seconds and srr by hour back and box (hour, height, latitude, longitude)."""
    particles, steps, _ = path.shape
    step = np.broadcast_to(np.arange(steps), (particles, steps))
    there = np.isfinite(path[:, :, 0])
    x, y, z = path[there].T
    back = (step[there] + 1) * kernel.OUTER
    levels = density.grid[1]
    rho = density(np.stack([start - back, np.clip(np.log(np.maximum(z, 1e-3)), levels[0], levels[-1]), y, x], axis=1))
    borders = np.arange(steps // _STEPS + 1) - 0.5, edges, *(_borders(axis) for axis in axes[::-1])
    place = np.stack([step[there] // _STEPS, z, y, x], axis=1)
    each = np.full(z.size, kernel.OUTER / particles)
    spent: Floats = np.histogramdd(place, borders, weights=each)[0]
    layer: Floats = np.histogramdd(place, borders, weights=kernel.M_AIR * each / rho)[0]
    return spent, layer / np.diff(edges)[:, None, None]


def _borders(centres: Floats) -> Floats:
    step = centres[1] - centres[0]
    return np.r_[centres - step / 2, centres[-1] + step / 2]


def _provenance(particles: int, hours_back: int, seed: int) -> dict[str, Any]:
    return {
        "source": f"skyledger, passage of Lagrangian particles: {particles} for each receptor, {hours_back} h back",
        "particles": particles,
        "hours_back": hours_back,
        "seed": seed,
    }


def _dataset(
    found: Receptors, axes: tuple[Floats, Floats], edges: Floats, spent: Any, layer: Any, attrs: dict[str, Any]
) -> xr.Dataset:
    dims = ("receptor", "hours_back", "height", "latitude", "longitude")
    variables: dict[str, Any] = {
        "residence_time": (dims, spent, {"units": "s", "long_name": "mean time of the particles in the box"}),
        "srr_layer": (
            dims,
            layer,
            {"units": SRR_UNITS, "long_name": "mole fraction at the receptor for a unit flux into the layer"},
        ),
        "height_bnds": (("height", "bnds"), np.stack([edges[:-1], edges[1:]], axis=1), {"units": "m"}),
        "release_lon": ("receptor", found.longitude, {"units": "degrees_east"}),
        "release_lat": ("receptor", found.latitude, {"units": "degrees_north"}),
        "release_height": ("receptor", found.height, {"units": "m"}),
    }
    coords: dict[str, Any] = {
        "time": ("receptor", found.time.astype("datetime64[ns]")),
        "hours_back": ("hours_back", np.arange(spent.shape[1]), {"units": "h"}),
        "height": ("height", 0.5 * (edges[1:] + edges[:-1]), {"units": "m", "long_name": "height above ground"}),
        "longitude": ("longitude", axes[0], {"units": "degrees_east"}),
        "latitude": ("latitude", axes[1], {"units": "degrees_north"}),
    }
    if found.site is not None:
        coords["site"] = ("receptor", found.site)
    return xr.Dataset(variables, coords, attrs)
