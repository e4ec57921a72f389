"""From totals per region to a gridded prior flux, and the covariance such a prior has.

A total is laid over the region's part of every cell in proportion to a proxy. A cell on a border holds flux of several
regions: `allocate` keeps apart what came from which, and ``share`` sums the cells back to exactly the totals they were
made from, where area fractions would give the sea a part of every coastal city.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from inversion.covariance.kernels import exponential, great_circle
from inversion.provinces import RegionError
from inversion.regions import SECONDS_PER_YEAR, mass_unit, molar_mass_of

Floats = NDArray[np.float64]


def allocate(
    totals: ArrayLike,
    regions: xr.Dataset,
    gas: str,
    *,
    proxy: ArrayLike | None = None,
    unit: str = "kt yr-1",
    molar_mass: float | None = None,
) -> xr.Dataset:
    """Lay totals over the grid in proportion to a proxy, mass conserved.

    flux[r, c] = T_r covered_r p_rc / (area_c M year)
    p_rc = fraction_rc area_c proxy_c / Σ_c fraction_rc area_c proxy_c

    Parameters
    ----------
    totals : array (k,)
        `unit`, in the order of `regions`; NaN (no value in the ledger) leaves the region's cells without flux.
    regions : xr.Dataset
        From `regions.fractions`. Of a region only partly inside the grid, that part (``covered``) is laid out.
    gas : str
        For its molar mass; another gas than those of `qc.units` needs `molar_mass` (kg mol-1).
    proxy : array (ny, nx), optional
        Density of what emits (per m2), not negative: population, lit area; uniform by default.
    unit : str
        kg, t, kt or Mt, per year.

    Returns
    -------
    xr.Dataset
        ``flux`` (latitude, longitude) and ``flux_of_region`` (country, latitude, longitude), mol m-2 s-1;
        ``share`` (country, latitude, longitude): the part of each cell's flux that belongs to the region, which
        `regions.aggregation` takes; area fractions where a cell has no flux.

    Raises
    ------
    RegionError
        When the proxy is negative or not finite, or zero all over a region that has a total.
    """
    total = np.asarray(totals, dtype=np.float64)
    area = regions["cell_area"].values
    fraction = regions["country_fraction"].values
    density = np.ones(area.shape) if proxy is None else np.asarray(proxy, dtype=np.float64)
    _check(total, fraction, density, regions)
    weight = fraction * (area * density)
    whole = weight.sum(axis=(1, 2))
    known = np.isfinite(total) & (whole > 0)
    scale = np.zeros(total.shape)
    scale[known] = total[known] * regions["covered"].values[known] / whole[known]
    kilograms = weight * scale[:, None, None] * mass_unit(unit)
    flux = kilograms / (area * molar_mass_of(gas, molar_mass) * SECONDS_PER_YEAR)
    cells = flux.sum(axis=0)
    filled = cells != 0
    share = np.where(filled, np.divide(flux, cells, out=np.zeros_like(flux), where=filled), fraction)
    grid = ("latitude", "longitude")
    return xr.Dataset(
        {
            "flux": (grid, cells, {"units": "mol m-2 s-1", "long_name": f"prior {gas} flux gridded from totals"}),
            "flux_of_region": (("country", *grid), flux, {"units": "mol m-2 s-1"}),
            "cell_area": regions["cell_area"],
            "share": (("country", *grid), share, {"units": "1", "long_name": "part of the cell's flux in the region"}),
        },
        coords=regions.coords,
    )


def _check(total: Floats, fraction: Floats, density: Floats, regions: xr.Dataset) -> None:
    if total.shape != (len(fraction),) or density.shape != fraction.shape[1:]:
        raise RegionError(
            f"Totals of shape {total.shape} and a proxy of shape {density.shape} do not fit {len(fraction)} regions on "
            f"a grid of {fraction.shape[1:]}."
        )
    if not np.all(np.isfinite(density)) or np.any(density < 0):
        raise RegionError("The proxy has cells that are negative or not finite: set them to 0 where nothing emits.")
    if np.any(total < 0) and np.any(total > 0):
        raise RegionError("Totals of both signs would cancel in shared cells: lay sinks and sources out apart.")
    inside = fraction.sum(axis=(1, 2)) > 0
    empty = inside & ((fraction * density).sum(axis=(1, 2)) == 0) & np.isfinite(total) & (total != 0)
    if empty.any():
        names = ", ".join(str(name) for name in regions["country"].values[empty])
        raise RegionError(f"The proxy is zero all over {names}, which have totals: use another proxy for them.")


def prior_covariance(
    gridded: xr.Dataset,
    sigma: ArrayLike,
    *,
    length_km: float,
    other_sigma: ArrayLike = 0.0,
) -> Floats:
    """Return the covariance B of a gridded prior whose regions are wrong independently of each other.

    B = Σ_r D_r C D_r + diag(other²),  C = exp(-distance / length),  D_r = diag(flux_rc sigma_r / s_r)

    with s_r² = Σ_cd m_rc C_cd m_rd / (Σ_c m_rc)² for the mass m_rc = flux_rc area_c, so that the region's own emissions
    have exactly the relative σ `sigma` in total, with errors inside the region correlated over `length_km`.

    Parameters
    ----------
    gridded : xr.Dataset
        From `allocate`.
    sigma : array (k,)
        Relative σ of each region's total, "1"; NaN counts as 0 (no flux there either).
    length_km : float [km]
        e-folding length of the errors inside a region.
    other_sigma : array (ny, nx) or float
        mol m-2 s-1, added without correlation: for cells at sea or abroad, or a floor everywhere.

    Returns
    -------
    array (ny nx, ny nx) [(mol m-2 s-1)2]
        Cells in the order latitude, longitude.
    """
    area = gridded["cell_area"].values.ravel()
    flux = gridded["flux_of_region"].values.reshape(gridded.sizes["country"], -1)
    relative = np.nan_to_num(np.broadcast_to(np.asarray(sigma, dtype=np.float64), (len(flux),)))
    longitude, latitude = np.meshgrid(gridded["longitude"].values, gridded["latitude"].values)
    distance = great_circle(longitude.ravel(), latitude.ravel())
    B = np.zeros((area.size, area.size))
    for own, part in zip(flux, relative, strict=True):
        cells = np.flatnonzero(own)
        if cells.size and part > 0:
            correlation = exponential(distance[np.ix_(cells, cells)], length_km)
            mass = own[cells] * area[cells]
            spread = np.sqrt(mass @ correlation @ mass) / abs(mass.sum())
            deviation = own[cells] * (part / spread)
            B[np.ix_(cells, cells)] += correlation * np.outer(deviation, deviation)
    other = np.broadcast_to(np.asarray(other_sigma, dtype=np.float64), gridded["flux"].shape).ravel()
    B[np.diag_indices(area.size)] += other**2
    return B
