"""Gaussian-plume footprints in closed form, as a reference for particle models and where nothing better is at hand.

The air that reaches a receptor at height z was, a travel time τ earlier, distributed as a Gaussian cloud around the
back trajectory X(τ) of the mean wind, σ_h(τ) wide in both horizontal directions and mixed in height between the ground
and the lid h. A flux F from the ground of a cell adds to the mole fraction

    Δχ = F · (M_air / ρ) ∫₀ᵀ D(z; σ_z(τ), h) · P(cell; X(τ), σ_h(τ)) dτ

with P the probability to be over the cell (differences of error functions: exact over the cell however near it is), D
the vertical density at the ground (`dispersion.vertical_density`) and σ by Taylor (1921). For a steady wind that is the
Gaussian plume, with its diffusion along the wind kept; over a domain that holds all the air it gives (M_air/ρ) ∫ D dτ
whatever the wind, and T M_air/(ρ h) once it is well mixed: the limit F x M_air/(ρ h u) of a fetch x = u T.

Left out: shear, terrain, surface-layer profiles, deposition, vertical motion. Winds are the mixed layer's mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr
from scipy.special import ndtr

from inversion.covariance.operator import Array
from inversion.datasets import FOOTPRINT, SRR_UNITS
from inversion.transport.dispersion import SHORTEST_TIMESCALE, TIMESCALE, taylor, vertical_density
from inversion.transport.series import Air, Receptors, air_at, read_receptors
from qc.schema import require
from qc.units import MOLAR_MASS_DRY_AIR

METRES_PER_DEGREE: Final = np.pi * 6371000.0 / 180.0
_BATCH: Final = 256
"""Receptors worked on at a time."""
_SPACING: Final = 1.0
"""Clouds along a trajectory stand this many of their own widths apart at most (ripple below 1e-8)."""
_SHARE: Final = 0.02
"""... or this share of a cell, where that is wider."""
_GROWTH: Final = 0.08
"""... and never further than this in ln τ,"""
_STEP: Final = 1800.0
"""... or than this in τ [s]: meteorology changes by the hour."""
_CALM: Final = 0.1
"""m s-1, lower bound of the turbulent velocities."""


@dataclass(frozen=True, slots=True)
class _Grid:
    """Edges of the cells, in degrees."""

    longitude: Array
    latitude: Array

    @property
    def cell(self) -> float:
        """Length of the shortest side of a cell [m]."""
        inner = float(np.cos(np.radians(np.abs(self.latitude).max())))
        east = np.diff(self.longitude).min() * max(inner, 0.1)
        return float(min(east, np.diff(self.latitude).min())) * METRES_PER_DEGREE


def footprints(
    receptors: xr.Dataset,
    meteorology: xr.Dataset,
    grid: xr.Dataset,
    *,
    hours: float = 48.0,
    spread: float = 0.5,
    lifetime_hours: float | None = None,
) -> xr.Dataset:
    """Return the footprints of receptors over a grid.

    Parameters
    ----------
    receptors : xr.Dataset
        One dimension (``receptor`` or ``obs``): ``time`` (UTC), ``longitude``, ``latitude`` [degree], ``height``
        [m above ground, above 0], ``site`` (optional; chooses the meteorology).
    meteorology : xr.Dataset
        ``u``, ``v`` [m s-1] (mean of the mixed layer), ``blh`` [m], ``rho`` [kg m-3] (dry air at the receptor), and the
        turbulence: ``sigma_v``, ``sigma_w`` [m s-1], or ``stability`` (Pasquill class "A" ... "F"). Over ``time``,
        over ``time`` and ``site``, or over the receptors' own dimension (then the wind is steady during the travel).
        Linear in time between its times; before the first one the first one is held. Optional ``tau_v``, ``tau_w``
        [s], else 0.15 h/σ.
    grid : xr.Dataset
        Coordinates ``longitude``, ``latitude``: centres of the cells, increasing.
    hours : float
        Travel time T after which the air is not followed further.
    spread : float [m s-1]
        Rate at which motions between turbulence and mean wind widen the cloud, added in quadrature (Heffter 1965: 0.5).
    lifetime_hours : float, optional
        e-folding time of a decay on the way.

    Returns
    -------
    xr.Dataset
        FOOTPRINT: ``srr`` (receptor, latitude, longitude) [(mol/mol)/(mol/m2/s)], and ``fraction_outside``, the
        share of the air that was outside the grid at the end of the travel.

    Raises
    ------
    FootprintError
        With every fault of receptors, meteorology and grid.
    """
    points, faults = read_receptors(receptors)
    edges, grid_faults = _edges(grid)
    air = air_at(meteorology, points, [*faults, *grid_faults])
    values = np.empty((points.size, edges.latitude.size - 1, edges.longitude.size - 1))
    outside = np.empty(points.size)
    for start in range(0, points.size, _BATCH):
        part = slice(start, min(start + _BATCH, points.size))
        cloud = _Cloud(points.take(part), air.take(part), edges, 3600.0 * hours, spread)
        decay = 0.0 if lifetime_hours is None else 1.0 / (3600.0 * lifetime_hours)
        values[part], outside[part] = cloud.footprint(decay), cloud.outside()
    return _dataset(
        receptors, grid, points, values, outside, f"Gaussian plume, {hours:g} h back, spread {spread:g} m s-1"
    )


class _Cloud:
    """The clouds of some receptors at K travel times each: arrays (R, K)."""

    def __init__(self, points: Receptors, air: Air, grid: _Grid, longest: float, spread: float) -> None:
        self._grid = grid
        self._sigma_v = np.maximum(air.sigma_v, _CALM)[:, None]
        self._sigma_w = np.maximum(air.sigma_w, _CALM)[:, None]
        lid = air.lid[:, None]
        self._tau_v = _timescale(air.tau_v, lid, self._sigma_v)
        tau_w = _timescale(air.tau_w, lid, self._sigma_w)
        self._spread = spread
        # Before the cloud has grown to an eighth of the receptor's height nothing comes from the ground.
        first = np.minimum(points.height / (8.0 * self._sigma_w[:, 0]), 0.5 * longest)
        self._time, self._weight = self._nodes(first, longest, air.speed)
        east, north, highest = air.back(self._time)
        self._density = vertical_density(points.height[:, None], taylor(self._sigma_w, tau_w, self._time), highest)
        self._width = self._horizontal(self._time)
        self._latitude = np.clip(points.latitude[:, None] + north / METRES_PER_DEGREE, -89.0, 89.0)
        middle = np.cos(np.radians(0.5 * (points.latitude[:, None] + self._latitude)))
        self._longitude = points.longitude[:, None] + east / (METRES_PER_DEGREE * middle)
        self._per_flux = MOLAR_MASS_DRY_AIR / air.rho

    def footprint(self, decay: float) -> Array:
        """Return srr (R, latitude, longitude)."""
        amount = self._per_flux[:, None] * self._weight * self._density * np.exp(-decay * self._time)
        east, north = self._shares(slice(None))
        return np.matmul((amount[:, :, None] * north).transpose(0, 2, 1), east)

    def outside(self) -> Array:
        """Return the share of the air that is outside the grid at the longest travel time (R,)."""
        east, north = self._shares(slice(-1, None))
        return np.clip(1.0 - east.sum(axis=2)[:, 0] * north.sum(axis=2)[:, 0], 0.0, 1.0)

    def _shares(self, nodes: slice) -> tuple[Array, Array]:
        """Return the probabilities to be in each column (R, K, longitude) and each row (R, K, latitude) of cells."""
        latitude, width = self._latitude[:, nodes, None], self._width[:, nodes, None]
        scale = METRES_PER_DEGREE * np.cos(np.radians(latitude)) / width
        east = np.diff(ndtr((self._grid.longitude - self._longitude[:, nodes, None]) * scale), axis=2)
        north = np.diff(ndtr((self._grid.latitude - latitude) * METRES_PER_DEGREE / width), axis=2)
        return east, north

    def _horizontal(self, time: Array) -> Array:
        return np.hypot(taylor(self._sigma_v, self._tau_v, time), self._spread * time)

    def _nodes(self, first: Array, longest: float, speed: Array) -> tuple[Array, Array]:
        """Return travel times and their weights (R, K): dense where the cloud is small, by its own width further on."""
        fine = np.exp(np.linspace(np.log(first), np.log(longest), 400, axis=1))
        middle = np.sqrt(fine[:, 1:] * fine[:, :-1])
        reach = np.maximum(_SPACING * self._horizontal(middle), _SHARE * self._grid.cell)
        step = np.minimum(_GROWTH * middle, _STEP)
        density = np.maximum(1.0 / step, speed[:, None] / reach)
        count = np.zeros_like(fine)
        np.cumsum(density * np.diff(fine, axis=1), axis=1, out=count[:, 1:])
        steps = int(np.ceil(count[:, -1].max()))
        bounds = np.empty((len(fine), steps + 1))
        for row, (number, time) in enumerate(zip(count, fine, strict=True)):
            bounds[row] = np.interp(np.linspace(0.0, number[-1], steps + 1), number, time)
        return 0.5 * (bounds[:, 1:] + bounds[:, :-1]), np.diff(bounds, axis=1)


def _timescale(given: Array | None, lid: Array, sigma: Array) -> Array:
    return np.maximum(TIMESCALE * lid / sigma if given is None else given[:, None], SHORTEST_TIMESCALE)


def _edges(grid: xr.Dataset) -> tuple[_Grid, list[str]]:
    faults, edges = [], {}
    for name in ("longitude", "latitude"):
        centres = np.asarray(grid[name].values, dtype=np.float64) if name in grid.variables else np.zeros(0)
        if centres.ndim != 1 or centres.size < 2 or not (np.diff(centres) > 0).all():
            faults.append(f"The grid needs a coordinate {name!r} of two or more increasing cell centres.")
            centres = np.array([0.0, 1.0])
        middle = 0.5 * (centres[1:] + centres[:-1])
        edges[name] = np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]])
    return _Grid(**edges), faults


def _dataset(
    receptors: xr.Dataset, grid: xr.Dataset, points: Receptors, values: Array, outside: Array, source: str
) -> xr.Dataset:
    def along(data: Any, units: str | None = None) -> tuple[Any, ...]:
        return ("receptor", data) if units is None else ("receptor", data, {"units": units})

    coords = {
        "time": along(points.time),
        "release_lon": along(points.longitude, "degrees_east"),
        "release_lat": along(points.latitude, "degrees_north"),
        "release_height": along(points.height, "m"),
        "longitude": ("longitude", np.asarray(grid["longitude"].values, np.float64), {"units": "degrees_east"}),
        "latitude": ("latitude", np.asarray(grid["latitude"].values, np.float64), {"units": "degrees_north"}),
    }
    if points.site is not None:
        coords["site"] = along(points.site)
    if "inlet" in receptors.variables:
        coords["inlet"] = along(receptors["inlet"].values)
    ds = xr.Dataset(
        {
            "srr": (("receptor", "latitude", "longitude"), values, {"units": SRR_UNITS}),
            "fraction_outside": along(outside, "1"),
        },
        coords=coords,
        attrs={"source": source},
    )
    require(ds, FOOTPRINT)
    return ds
