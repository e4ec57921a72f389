"""Basis functions: which parts of the grid share one unknown; cells, provinces, masks, a quadtree by what is seen.

A basis is the operator M (regions x cells) with M_rc the share of cell c that belongs to region r, Σ_r M_rc = 1. A
scaling x_r of the regions is a scaling Σ_r M_rc x_r of the cells: H_basis = H_cells Mᵀ.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import scipy.sparse
import xarray as xr

from inversion.covariance import Covariance
from inversion.covariance.operator import Array
from inversion.errors import AssemblyError

ELSEWHERE: Final = "elsewhere"
"""Name of the region that holds what belongs to no other, so that no flux is lost."""
_ROUNDING: Final = 1e-6
_SAMPLE: Final = 200
"""Observations the truncation error is worked out for, spread over all."""


@dataclass(frozen=True, slots=True)
class Basis:
    """Regions on a grid.

    Attributes
    ----------
    name : str
        What kind it is.
    region : np.ndarray (R,) of str
    weights : scipy.sparse.csr_matrix (R, cells)
        M; cells in the order latitude, longitude; every column sums to 1.
    longitude, latitude : np.ndarray (R,) [degree]
        Middle of each region.
    grid : xr.Dataset
        ``latitude``, ``longitude``: centres of the cells.
    origin : bool
        The shares are of what regions emit, as a ledger says, not of ground: what is scaled with a region is all of
        that region's emissions and of no other's.
    """

    name: str
    region: np.ndarray
    weights: scipy.sparse.csr_matrix
    longitude: np.ndarray
    latitude: np.ndarray
    grid: xr.Dataset
    origin: bool = False

    @property
    def size(self) -> int:
        """Number of regions R."""
        return int(self.region.size)


def cells(grid: xr.Dataset) -> Basis:
    """Return the basis in which every cell is a region.

    Parameters
    ----------
    grid : xr.Dataset
        ``latitude``, ``longitude``: centres of the cells [degree].

    Returns
    -------
    Basis
    """
    latitude, longitude = _mesh(grid)
    names = np.array([f"{_degrees(y, 'NS')} {_degrees(x, 'EW')}" for y, x in zip(latitude, longitude, strict=True)])
    return Basis("cells", names, scipy.sparse.identity(names.size, format="csr"), longitude, latitude, _axes(grid))


def fractions(share: xr.DataArray, *, name: str = "regions", origin: bool = False) -> Basis:
    """Return the basis of regions that cover parts of cells, and `ELSEWHERE` for the rest.

    Parameters
    ----------
    share : xr.DataArray (region, latitude, longitude)
        Share of each cell in each region, 0 to 1, together 1 at most: as ``country_fraction`` of `regions.fractions`,
        whose first dimension may have any name.
    name : str
    origin : bool
        The shares are of emissions (``share`` of `inventory.gridding.allocate`), see `Basis`.

    Returns
    -------
    Basis

    Raises
    ------
    AssemblyError
        Where shares are negative or sum to more than 1.
    """
    dim = next(str(d) for d in share.dims if d not in ("latitude", "longitude"))
    ordered = share.transpose(dim, "latitude", "longitude")
    values = ordered.values.astype(np.float64).reshape(ordered.sizes[dim], -1)
    total = values.sum(axis=0)
    if not np.isfinite(values).all() or values.min() < 0 or total.max() > 1 + _ROUNDING:
        raise AssemblyError(
            f"The basis {name!r}",
            [f"Shares of cells go from {values.min():g} and sum to {total.max():g}, expected 0 to 1."],
        )
    labels = [str(label) for label in ordered[dim].values]
    inside = np.flatnonzero(values.any(axis=1))
    kept, labels = values[inside] / np.maximum(total, 1.0), [labels[k] for k in inside]
    rest = np.clip(1.0 - kept.sum(axis=0), 0.0, None)
    if rest.max() > _ROUNDING:
        kept, labels = np.vstack([kept, rest]), [*labels, ELSEWHERE]
    return replace(_centred(name, labels, scipy.sparse.csr_matrix(kept), share.to_dataset(name="share")), origin=origin)


def mask(number: xr.DataArray, *, name: str = "mask") -> Basis:
    """Return the basis of a map of whole numbers or names: every value is a region.

    Parameters
    ----------
    number : xr.DataArray (latitude, longitude)

    Returns
    -------
    Basis
    """
    values = number.transpose("latitude", "longitude").values.ravel()
    labels, place = np.unique(values, return_inverse=True)
    shape = (labels.size, values.size)
    weights = scipy.sparse.csr_matrix((np.ones(values.size), (place.ravel(), np.arange(values.size))), shape=shape)
    return _centred(name, [str(label) for label in labels], weights, number.to_dataset(name="number"))


def quadtree(weight: xr.DataArray, regions: int) -> Basis:
    """Return rectangles, small where much is seen: the heaviest is halved, again and again.

    Parameters
    ----------
    weight : xr.DataArray (latitude, longitude)
        What is to be shared out evenly: footprint times flux, as `information` gives it; not negative.
    regions : int
        How many regions to make.

    Returns
    -------
    Basis
        `regions` rectangles named by their middles. A rectangle is halved across its longer side (in kilometres), so
        that two halvings make four quarters; one of a single cell stays.

    Raises
    ------
    AssemblyError
        Where the weights are negative or not finite, or there are fewer cells than regions.
    """
    values = weight.transpose("latitude", "longitude").values.astype(np.float64)
    faults = []
    if not np.isfinite(values).all() or (values < 0).any():
        faults.append("Its weights are negative or not finite somewhere.")
    if not 1 <= regions <= values.size:
        faults.append(f"{regions} regions were asked for, expected 1 to {values.size}, the number of cells.")
    if faults:
        raise AssemblyError("The quadtree", faults)
    stretch = float(np.cos(np.radians(weight["latitude"].values)).mean())
    step = [abs(float(weight[n][1] - weight[n][0])) if weight.sizes[n] > 1 else 1.0 for n in ("latitude", "longitude")]
    ny, nx = values.shape
    heap: list[tuple[float, int, int, tuple[int, int, int, int]]] = [(-values.sum(), -values.size, 0, (0, ny, 0, nx))]
    done: list[tuple[int, int, int, int]] = []
    serial = 0
    while heap and len(heap) + len(done) < regions:
        *_, (south, north, west, east) = heapq.heappop(heap)
        if (north - south) * (east - west) == 1:
            done.append((south, north, west, east))
            continue
        for part in _halves(south, north, west, east, step[0], step[1] * stretch):
            serial += 1
            block = values[part[0] : part[1], part[2] : part[3]]
            heapq.heappush(heap, (-block.sum(), -block.size, serial, part))
    boxes = sorted([*done, *(box for *_, box in heap)])
    number = np.empty(values.shape, dtype=int)
    for k, (south, north, west, east) in enumerate(boxes):
        number[south:north, west:east] = k
    basis = mask(xr.DataArray(number, dims=("latitude", "longitude"), coords=_axes(weight.to_dataset(name="w")).coords))
    names = [f"{_degrees(y, 'NS')} {_degrees(x, 'EW')}" for y, x in zip(basis.latitude, basis.longitude, strict=True)]
    return Basis("quadtree", np.array(names), basis.weights, basis.longitude, basis.latitude, basis.grid)


def _halves(
    south: int, north: int, west: int, east: int, tall: float, wide: float
) -> tuple[tuple[int, int, int, int], tuple[int, int, int, int]]:
    if (north - south > 1 and (north - south) * tall >= (east - west) * wide) or east - west == 1:
        middle = (south + north) // 2
        return (south, middle, west, east), (middle, north, west, east)
    middle = (west + east) // 2
    return (south, north, west, middle), (south, north, middle, east)


@dataclass(frozen=True, slots=True)
class Truncation:
    """What a basis cannot say.

    Attributes
    ----------
    sigma : np.ndarray (k,)
        Standard deviation, in the units of the observations, of what the prior's errors would do to `rows` of the
        observations through patterns inside the regions.
    rows : np.ndarray (k,)
        The observations it was worked out for.
    share : float
        Its part of the variance the prior's errors make in those observations.
    """

    sigma: np.ndarray
    rows: np.ndarray
    share: float


def truncation(H: Array, B: Covariance, basis: Basis, *, weight: Array | None = None) -> Truncation:
    """Return the aggregation error of a basis.

    ε = (H − H Mᵀ Γ) δx,  Γ = (M V Mᵀ)⁻¹ M V,  Var ε = (H − H Mᵀ Γ) B (H − H Mᵀ Γ)ᵀ

    (Kaminski et al. 2001, JGR 106, 4703; Turner & Jacob 2015, ACP 15, 7039), with δx ~ N(0, B) the error of the
    cells and Γ their mean over the regions, weighted by V.

    Parameters
    ----------
    H : array (n, cells)
        Sensitivities to the cells.
    B : Covariance (cells)
    basis : Basis
    weight : array (cells,), optional
        V; by default the sum of H² over the observations: what is seen weighs.

    Returns
    -------
    Truncation
        For 200 observations at most, evenly spread.
    """
    rows = np.unique(np.linspace(0, len(H) - 1, min(len(H), _SAMPLE)).astype(int))
    V = (H**2).sum(axis=0) if weight is None else np.asarray(weight, np.float64)
    V = np.maximum(V, V.max() * 1e-12 if V.max() > 0 else 1.0)
    M = basis.weights
    MV = M.multiply(V).tocsr()
    inner = (MV @ M.T).toarray()
    mean = (H[rows] @ M.T) @ np.linalg.solve(inner, MV.toarray())
    lost = B.aggregate(H[rows] - mean).diagonal()
    whole = B.aggregate(H[rows]).diagonal()
    return Truncation(np.sqrt(lost), rows, float(lost.sum() / whole.sum()) if whole.sum() > 0 else 0.0)


def _centred(name: str, labels: list[str], weights: scipy.sparse.csr_matrix, grid: xr.Dataset) -> Basis:
    latitude, longitude = _mesh(grid)
    area = np.cos(np.radians(latitude))
    total = weights @ area
    middle = [np.asarray(weights @ (area * axis)) / total for axis in (longitude, latitude)]
    return Basis(name, np.array(labels), weights, middle[0], middle[1], _axes(grid))


def _axes(grid: xr.Dataset) -> xr.Dataset:
    return xr.Dataset(coords={name: grid[name].values.astype(np.float64) for name in ("latitude", "longitude")})


def _mesh(grid: xr.Dataset) -> tuple[Array, Array]:
    y, x = np.meshgrid(grid["latitude"].values, grid["longitude"].values, indexing="ij")
    return y.ravel().astype(np.float64), x.ravel().astype(np.float64)


def _degrees(value: float, letters: str) -> str:
    return f"{abs(value):.4g}°{letters[0] if value >= 0 else letters[1]}"
