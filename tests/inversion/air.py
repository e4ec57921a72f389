"""Uniform air for tests of the particle model: one layer, one wind, one stability."""

import numpy as np

from inversion.transport.fields import LEVELS, Fields, convective_velocity

SCALE_HEIGHT = 8400.0
SURFACE_DENSITY = 1.2


def uniform(
    layer,
    ustar,
    obukhov=np.inf,
    *,
    wind=(0.0, 0.0),
    hours=48,
    density=SURFACE_DENSITY,
    half=10.0,
):
    """Return Fields that are the same everywhere and always, but for density, which falls with height."""
    time = np.arange(0.0, hours * 3600.0 + 1, 3600.0)
    axis = np.array([-half, 0.0, half])
    volume, surface = (time.size, LEVELS.size, 3, 3), (time.size, 3, 3)
    rho = density * np.exp(-LEVELS / SCALE_HEIGHT)

    def of(shape, value):
        return np.full(shape, value, dtype=np.float32)

    return Fields(
        time, LEVELS, axis, axis,
        of(volume, wind[0]), of(volume, wind[1]), of(volume, 0.0),
        np.broadcast_to(rho[None, :, None, None], volume).astype(np.float32),
        of(surface, layer), of(surface, ustar),
        of(surface, float(convective_velocity(np.float64(ustar), np.float64(1 / obukhov), np.float64(layer)))),
        of(surface, 1 / obukhov),
    )  # fmt: skip
