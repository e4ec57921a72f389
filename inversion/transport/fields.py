"""Meteorology as the particle model wants it: winds, density and turbulence on levels of height above the ground.

`Fields` holds a stretch of time on a regular grid, in longitude and latitude or in a projection. `era5.fields` makes it
of ERA5-named datasets, `analytic.fields` of formulas; kernels see its arrays only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inversion.errors import FootprintError

EARTH_RADIUS: Final = 6_371_000.0
"""m"""
LEVELS: Final = np.array(
    [
        *(10, 20, 40, 70, 110, 160, 220, 300, 400, 520, 660, 820, 1000, 1250, 1500, 1800, 2200, 2700, 3300, 4000),
        *(4800, 5700, 6700, 7800, 9000, 10500, 12000, 14000, 16500, 20000),
    ],
    dtype=np.float64,
)
"""Heights above ground on which winds are kept [m]."""
LOWEST_LAYER: Final = 100.0
HIGHEST_LAYER: Final = 4500.0
"""Bounds of the boundary layer's height [m]."""
_VOLUMES: Final = ("u", "v", "w", "rho")
_SURFACES: Final = ("layer", "ustar", "wstar", "stability")
Floats = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Fields:
    """Meteorology on (time, level, y, x) and (time, y, x).

    Parameters
    ----------
    time : float64 (T,)
        s since 1970 UTC, increasing.
    level : float64 (K,)
        Heights above ground [m], increasing.
    y, x : float64 (Y,), (X,)
        Latitudes and longitudes [degrees], or metres of a projection; evenly spaced, increasing.
    u, v : float32 (T, K, Y, X)
        Wind along x and along y [m s-1].
    w : float32 (T, K, Y, X)
        Speed relative to the ground's slope: change of the height above ground [m s-1].
    rho : float32 (T, K, Y, X)
        Density of dry air [kg m-3].
    layer : float32 (T, Y, X)
        Height of the boundary layer [m].
    ustar, wstar : float32 (T, Y, X)
        Friction and convective velocity [m s-1].
    stability : float32 (T, Y, X)
        1/L, L the Obukhov length [m-1].
    geographic : bool
        Whether x and y are degrees.
    crs : str
        Projection as pyproj takes it; "" where geographic.
    """

    time: Floats
    level: Floats
    y: Floats
    x: Floats
    u: Floats
    v: Floats
    w: Floats
    rho: Floats
    layer: Floats
    ustar: Floats
    wstar: Floats
    stability: Floats
    geographic: bool = True
    crs: str = ""

    def __post_init__(self) -> None:
        faults = [*self._shape_faults(), *self._axis_faults()]
        if not faults:
            for name in (*_VOLUMES, *_SURFACES):
                wrong = int((~np.isfinite(getattr(self, name))).sum())
                faults += [f"{name} has {wrong} values that are not finite."] if wrong else []
        if faults:
            raise FootprintError("The meteorology", faults)

    def _shape_faults(self) -> list[str]:
        volume = self.time.size, self.level.size, self.y.size, self.x.size
        wanted = dict.fromkeys(_VOLUMES, volume) | dict.fromkeys(_SURFACES, (volume[0], *volume[2:]))
        shapes = {name: getattr(self, name).shape for name in wanted}
        return [
            f"{name} has the shape {shapes[name]}, expected {shape}."
            for name, shape in wanted.items()
            if shapes[name] != shape
        ]

    def _axis_faults(self) -> list[str]:
        faults = []
        for name in ("time", "level", "y", "x"):
            steps = np.diff(getattr(self, name))
            if not steps.size or not (steps > 0).all():
                faults.append(f"{name} has {steps.size + 1} values, expected two or more that increase throughout.")
            elif name != "level" and not np.allclose(steps, steps[0], rtol=1e-3):
                faults.append(f"{name} is not evenly spaced: steps from {steps.min():g} to {steps.max():g}.")
        return faults

    @property
    def bounds(self) -> Floats:
        """Lowest and highest x and y (4,)."""
        return np.array([self.x[0], self.x[-1], self.y[0], self.y[-1]], dtype=np.float64)

    def require_covers(self, first: float, last: float) -> None:
        """Raise FootprintError unless there is meteorology from one time to another [s since 1970 UTC]."""
        if first < self.time[0] or last > self.time[-1]:
            there, wanted = (
                " to ".join(f"{np.datetime64(int(t), 's')}" for t in pair)
                for pair in ((self.time[0], self.time[-1]), (first, last))
            )
            raise FootprintError(
                "The meteorology",
                [f"It reaches from {there}, the particles need {wanted}: give more files, or fewer hours back."],
            )


def convective_velocity(ustar: Floats, stability: Floats, layer: Floats) -> Floats:
    """Return w* [m s-1]: ``w* = u* (h / (-κ L))^(1/3)`` where it is unstable, else 0 (Deardorff 1970)."""
    unstable = np.maximum(-np.asarray(stability, np.float64) * layer / 0.4, 0.0)
    return np.asarray(ustar * np.cbrt(unstable))
