"""Made-up weather over eastern China, and the footprints of the stations in it, by particles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import xarray as xr

from deploy.demo import workers
from inversion.transport import analytic, particles
from inversion.transport.fields import Fields

WEATHER: Final = analytic.Weather(speed=2.0, waves=6.0, period_days=3.5, wavelength=44.0, lowest=250.0)
"""Winds come from all sides within days."""
HOURS_BACK: Final = 30
PARTICLES: Final = 40
SMOOTHING: Final = 1.0
"""So few particles leave holes: spread as published."""
SEED: Final = 20250701
_PIECE: Final = 16
_MARGIN: Final = 4.0
"""Degrees of weather around the grid."""


@dataclass(frozen=True, slots=True)
class Window:
    """What the weather must hold: times of receptors (s since 1970 UTC), and corners of the grid [degrees]."""

    first: int
    last: int
    longitude: tuple[float, float]
    latitude: tuple[float, float]


@cache
def fields(window: Window) -> Fields:
    """Return the weather of a window, from `HOURS_BACK` before its first receptor; each process makes it once."""
    hour = 3600
    begin = window.first // hour * hour - (HOURS_BACK + 1) * hour
    times = np.arange(begin, window.last + 2 * hour, hour).astype("datetime64[s]")
    longitude, latitude = (
        np.arange(np.floor(low) - _MARGIN, high + _MARGIN + 1) for low, high in (window.longitude, window.latitude)
    )
    return analytic.fields(times, longitude, latitude, WEATHER)


def footprints(receptors: xr.Dataset, grid: xr.Dataset, told: Callable[[int], None] = lambda _: None) -> np.ndarray:
    """Return what receptors see (receptor, latitude, longitude) [(mol/mol)/(mol/m2/s)], computed on all cores.

    Parameters
    ----------
    receptors : xr.Dataset
        As `inversion.transport.particles.footprints` takes them.
    grid : xr.Dataset
        Centres of cells.
    told : callable (number) -> None
        Hears how many more are done.
    """
    seconds = receptors["time"].values.astype("datetime64[s]").astype(np.int64)
    corners = [(float(grid[name][0]), float(grid[name][-1])) for name in ("longitude", "latitude")]
    window = Window(int(seconds.min()), int(seconds.max()), *corners)
    pieces = [receptors.isel(receptor=slice(k, k + _PIECE)) for k in range(0, seconds.size, _PIECE)]
    found = []
    with workers.pool(len(pieces)) as pool:
        for srr in pool.imap(_piece, [(piece, grid, window) for piece in pieces]):
            found.append(srr)
            told(len(srr))
    return np.concatenate(found)


def _piece(task: tuple[xr.Dataset, xr.Dataset, Window]) -> np.ndarray:
    receptors, grid, window = task
    made = particles.footprints(
        receptors, fields(window), grid, particles=PARTICLES, hours_back=HOURS_BACK, seed=SEED, smoothing=SMOOTHING
    )
    return np.asarray(made["srr"].values)
