"""Footprints times fluxes: H in the form that fits, dense, sparse or Dask.

    H_i,(s,p,r) = Σ_h Σ_c f_i(h, c) φ_s(t_i − h, c) M_rc  over the hours h whose flux falls in period p

with f the footprint of observation i by hours back h and cell c, φ the flux of sector s, M the basis. What of a
footprint is not resolved in time (all of it, or what is older than the file resolves) meets the mean flux of its day.

The form: dense where more than a third of H is filled and it takes 256 MiB at most; sparse where less is filled and
the entries fit the budget (1 GiB); else Dask, made block by block from the footprints whenever it is asked for, or once
into a Zarr store. Nothing larger than a block is dense.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import dask
import dask.array
import numpy as np
import scipy.sparse
import xarray as xr

from inversion.assemble.block import Block
from inversion.assemble.observed import Stream
from inversion.assemble.sector import Sector
from inversion.covariance.operator import Array
from inversion.errors import AssemblyError
from qc.units import TO_MOLE_FRACTION

DENSE_BYTES: Final = 256 * 2**20
SPARSE_BYTES: Final = 2**30
FILLED: Final = 1.0 / 3.0
_PIECE_BYTES: Final = 64 * 2**20
_ENTRY_BYTES: Final = 12
_HOUR: Final = np.timedelta64(1, "h")
_HALF_HOUR: Final = np.timedelta64(30, "m")
_NEGLIGIBLE: Final = 1e-6


def form_of(shape: tuple[int, int], entries: float, *, budget: int = SPARSE_BYTES) -> str:
    """Return "dense", "sparse" or "dask": the form H takes.

    Parameters
    ----------
    shape : (n, m)
    entries : float
        Number of entries that are not zero, estimated.
    budget : int
        Bytes a sparse H may take.

    Returns
    -------
    str

    Examples
    --------
    >>> form_of((1000, 500), 400_000), form_of((10_000, 60_000), 5e6), form_of((100_000, 60_000), 5e9)
    ('dense', 'sparse', 'dask')
    """
    n, m = shape
    if entries > FILLED * n * m:
        return "dense" if 8 * n * m <= DENSE_BYTES else "dask"
    return "sparse" if _ENTRY_BYTES * entries <= budget else "dask"


def jacobian(
    streams: Sequence[Stream], blocks: Sequence[Block], *, budget: int = SPARSE_BYTES, store: str | Path | None = None
) -> Any:
    """Return H of all observations (rows, stream by stream) and states (columns, block by block).

    Parameters
    ----------
    streams : sequence of Stream
        Their mole fractions' units are those of H.
    blocks : sequence of Block
    budget : int
        Bytes a sparse H may take.
    store : path, optional
        Zarr store for an H that does not fit: it is worked out once and read from there.

    Returns
    -------
    np.ndarray, scipy.sparse.csr_matrix or dask.array.Array (n, m)
    """
    n, m = sum(s.observations.sizes["obs"] for s in streams), sum(b.size for b in blocks)
    form = form_of((n, m), sum(_entries(s, b) for s in streams for b in blocks), budget=budget)
    if form == "dask":
        return _lazy(streams, blocks, m, store)
    rows = (_rows(stream, blocks, part) for stream in streams for part in _parts(stream))
    if form == "sparse":
        return scipy.sparse.vstack(list(rows), format="csr")
    whole, first = np.empty((n, m)), 0
    for piece in rows:
        whole[first : first + piece.shape[0]] = piece.toarray()
        first += piece.shape[0]
    return whole


def signal(stream: Stream, sector: Sector) -> Array:
    """Return what a sector's own flux adds to each observation (n,), in the units of the stream."""
    if sector.gas != stream.gas:
        return np.zeros(stream.observations.sizes["obs"])
    far = np.array(["1900-01-01", "2200-01-01"], "datetime64[ns]")
    parts = [sum(v.sum(axis=1) for _, v in _contributions(_read(stream, p), sector, far)) for p in _parts(stream)]
    return np.concatenate([np.asarray(part) for part in parts]) / TO_MOLE_FRACTION[stream.units]


def by_cell(stream: Stream, sector: Sector, rows: np.ndarray) -> Array:
    """Return what each cell of a sector adds to some observations (k, cells), in the units of the stream."""
    far = np.array(["1900-01-01", "2200-01-01"], "datetime64[ns]")
    chosen = _read(stream, rows)
    return np.asarray(sum(v for _, v in _contributions(chosen, sector, far))) / TO_MOLE_FRACTION[stream.units]


def information(streams: Sequence[Stream], sectors: Sequence[Sector]) -> xr.DataArray:
    """Return what is seen of each cell: Σ_i Σ_sectors |f_i x φ| (latitude, longitude) [units of the first stream].

    The weight for `basis.quadtree`.
    """
    total: Array | float = 0.0
    for stream in streams:
        for sector in (s for s in sectors if s.gas == stream.gas):
            for part in _parts(stream):
                piece = by_cell(stream, sector, np.arange(part.start, part.stop))
                _require_finite(piece, stream, part.start)
                total = total + np.abs(piece).sum(axis=0)
    grid = streams[0].footprints
    shape = (grid.sizes["latitude"], grid.sizes["longitude"])
    coords = {name: grid[name].values.astype(np.float64) for name in ("latitude", "longitude")}
    return xr.DataArray(np.broadcast_to(total, shape[0] * shape[1]).reshape(shape), coords=coords, name="seen")


def _require_finite(piece: Array, stream: Stream, start: int) -> None:
    wrong = np.flatnonzero(~np.isfinite(piece).all(axis=1))
    if wrong.size:
        obs = stream.observations.isel(obs=start + int(wrong[0]))
        place = f"{obs['site'].item()} at {obs['time'].values.astype('datetime64[m]')}"
        raise AssemblyError("The footprints", [f"That of {place} is not finite; look at it or drop the observation."])


class _Piece:
    """Some footprints in memory."""

    def __init__(
        self, srr: Array, resolved: Array | None, time: np.ndarray, back: np.ndarray | None, none: np.ndarray
    ) -> None:
        self.srr, self.resolved, self.time, self.back, self.none = srr, resolved, time, back, none


def _read(stream: Stream, part: slice | np.ndarray) -> _Piece:
    ds = stream.footprints.isel(receptor=part)
    n = ds.sizes["receptor"]
    srr = np.asarray(ds["srr"].transpose("receptor", "latitude", "longitude").values, np.float64).reshape(n, -1)
    time = ds["time"].values.astype("datetime64[ns]")
    if "srr_time_resolved" not in ds.variables:
        return _Piece(srr, None, time, None, np.ones(n, dtype=bool))
    order = ("receptor", "hours_back", "latitude", "longitude")
    resolved = np.asarray(ds["srr_time_resolved"].transpose(*order).values, np.float64).reshape(n, -1, srr.shape[1])
    # Files that resolve some receptors only leave the others empty: their whole footprint meets the mean of its day.
    none = np.asarray(np.isnan(resolved).all(axis=(1, 2)) & np.isfinite(srr).all(axis=1))
    resolved = np.where(none[:, None, None], 0.0, resolved) if none.any() else resolved
    back = ds["hours_back"].values.astype(np.float64)
    step = np.diff(back)
    middle = back + 0.5 * (np.append(step, step[-1]) if step.size else 1.0)
    return _Piece(srr, resolved, time, middle, none)


def _parts(stream: Stream) -> Iterator[slice]:
    ds = stream.footprints
    n = ds.sizes["receptor"]
    each = 8 * ds.sizes["latitude"] * ds.sizes["longitude"] * (1 + ds.sizes.get("hours_back", 0))
    rows = max(1, _PIECE_BYTES // each)
    for start in range(0, n, rows):
        yield slice(start, min(start + rows, n))


def _contributions(piece: _Piece, sector: Sector, edges: np.ndarray) -> Iterator[tuple[np.ndarray, Array]]:
    """Yield the period (n,) and what each cell adds (n, cells) [mol mol-1]."""
    last = edges.size - 2

    def period_of(time: np.ndarray) -> np.ndarray:
        return np.clip(np.searchsorted(edges, time, "right") - 1, 0, last)

    if piece.resolved is None or piece.back is None or (last == 0 and sector.constant):
        yield period_of(piece.time), piece.srr * _daily(sector, piece.time)
        return
    moment = piece.time[:, None] - (piece.back * 3600e9).round().astype("timedelta64[ns]")
    hours, place = np.unique(moment.astype("datetime64[h]"), return_inverse=True)
    flux = sector.fields(hours.astype("datetime64[ns]") + _HALF_HOUR)
    place, period = place.reshape(moment.shape), period_of(moment)
    for number in np.unique(period):
        total = np.zeros_like(piece.srr)
        for h in range(piece.back.size):
            inside = np.flatnonzero(period[:, h] == number)
            total[inside] += piece.resolved[inside, h] * flux[place[inside, h]]
        yield np.full(piece.time.size, number), total
    older = np.maximum(piece.srr - piece.resolved.sum(axis=1), 0.0)
    older[np.isnan(piece.srr)] = np.nan
    if not older.max(initial=0.0) <= _NEGLIGIBLE * piece.srr.max(initial=0.0):
        before = np.where(piece.none, piece.time, moment[:, -1] - _HOUR)
        yield period_of(before), older * _daily(sector, before)


def _daily(sector: Sector, time: np.ndarray) -> Array:
    days, place = np.unique(time.astype("datetime64[D]"), return_inverse=True)
    return sector.daily(days)[place]


def _rows(stream: Stream, blocks: Sequence[Block], part: slice) -> scipy.sparse.csr_matrix:
    """Return rows of H, sparse."""
    piece = _read(stream, part)
    n = piece.time.size
    values, columns, rows = [np.zeros(0)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    offset = 0
    for block in blocks:
        regions = block.basis.size
        for number, sector in enumerate(block.sectors):
            start = offset + number * block.periods * regions
            for period, added in _contributions(piece, sector, block.edges) if sector.gas == stream.gas else ():
                inside = np.asarray((block.basis.weights @ added.T).T) / TO_MOLE_FRACTION[stream.units]
                i, r = np.nonzero(inside)
                values.append(inside[i, r])
                rows.append(i)
                columns.append(start + period[i] * regions + r)
        offset += block.size
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return scipy.sparse.coo_matrix(entries, shape=(n, offset)).tocsr()


def _entries(stream: Stream, block: Block) -> float:
    """Estimate the entries of a block of H: all regions, in the periods the footprints reach into."""
    time = stream.observations["time"].values
    ds = stream.footprints
    reach = float(ds["hours_back"].values[-1]) + 1.0 if "srr_time_resolved" in ds.variables else 0.0
    earliest = block.period_of(time - np.timedelta64(round(reach * 3600), "s"))
    touched = float((block.period_of(time) - earliest + 1).sum())
    return touched * block.basis.size * sum(sector.gas == stream.gas for sector in block.sectors)


def _lazy(streams: Sequence[Stream], blocks: Sequence[Block], m: int, store: str | Path | None) -> dask.array.Array:
    make = dask.delayed(_dense_rows, pure=False)
    pieces = []
    for stream in streams:
        one = dask.delayed(stream, traverse=False)
        every = dask.delayed(list(blocks), traverse=False)
        limit = max(1, _PIECE_BYTES // (8 * m))
        for part in _parts(stream):
            for start in range(part.start, part.stop, limit):
                end = min(start + limit, part.stop)
                pieces.append(dask.array.from_delayed(make(one, every, start, end), (end - start, m), dtype=np.float64))
    H = dask.array.concatenate(pieces, axis=0)
    if store is None:
        return H
    H.rechunk((max(H.chunks[0]), m)).to_zarr(str(store), overwrite=True)
    return dask.array.from_zarr(str(store))


def _dense_rows(stream: Stream, blocks: Sequence[Block], start: int, end: int) -> Array:
    return np.asarray(_rows(stream, blocks, slice(start, end)).toarray())
