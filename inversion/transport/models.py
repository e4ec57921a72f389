"""Which model computes footprints is told by the meteorology that is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import xarray as xr

from inversion.transport import plume
from inversion.transport.fields import Fields


def footprints(
    receptors: xr.Dataset, meteorology: xr.Dataset | Sequence[xr.Dataset] | Fields, grid: xr.Dataset, **options: Any
) -> xr.Dataset:
    """Return the footprints of receptors.

    Parameters
    ----------
    receptors : xr.Dataset (receptor)
        ``time`` (UTC), ``longitude``, ``latitude`` [degrees], ``height`` [m above ground]; ``site`` where there is one.
    meteorology : Fields, or xr.Dataset or a sequence of them
        In three dimensions, `Fields` or ERA5-named on levels (``level``, ``plev`` or ``pressure_level``): particles are
        followed, see `inversion.transport.particles.footprints`. Of the mixed layer alone (``u``, ``v``, ``blh``,
        ``rho``, turbulence): the Gaussian plume, see `inversion.transport.plume.footprints`.
    grid : xr.Dataset
        ``longitude``, ``latitude``: centres of cells [degrees].
    **options
        Those of the model.

    Returns
    -------
    xr.Dataset
        FOOTPRINT.

    Raises
    ------
    FootprintError
        With every fault of receptors, meteorology and grid.
    """
    if isinstance(meteorology, xr.Dataset) and not _LEVELS & {str(name) for name in meteorology.dims}:
        return plume.footprints(receptors, meteorology, grid, **options)
    from inversion.transport import era5, particles  # noqa: PLC0415  numba is slow to import

    met = meteorology if isinstance(meteorology, Fields) else era5.fields(meteorology)
    return particles.footprints(receptors, met, grid, **options)


_LEVELS = {"level", "plev", "pressure_level", "isobaricInhPa"}
