"""What assembling a problem shows: observations without footprint, regions nobody sees, what a basis leaves out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from inversion.assemble.basis import truncation
from inversion.assemble.block import Block
from inversion.assemble.observed import Stream
from inversion.assemble.sector import Sector
from inversion.assemble.sensitivity import by_cell
from inversion.covariance import spatial
from inversion.findings import Finding, Grade
from inversion.jacobian import Jacobian

_NAMED: Final = 5
"""So many of what is missing are named, the others counted."""
_TRUNCATED_CELLS: Final = 4000
"""Up to so many cells the truncation of a basis is worked out."""
_SAMPLE: Final = 200
"""Observations it is worked out for, spread over all."""
_NUGGET: Final = 1e-6
"""Many cells close together need it, for shapes that are smooth."""
_MUCH: Final = 0.1
"""Share of the variance inside regions, or of the observations, that is warned of."""


def noticed(
    streams: Sequence[Stream], blocks: Sequence[Block], H: Jacobian, *, notes: Sequence[str], fixed: Sequence[Sector]
) -> Iterator[Finding]:
    """Yield what a result of these pieces has to carry.

    Parameters
    ----------
    streams, blocks, fixed
        As `assemble.assemble`.
    H : Jacobian (n, m)
    notes : sequence of str
        Sentences on the backgrounds.

    Yields
    ------
    Finding
    """
    for stream in streams:
        yield from _lost(stream)
        yield from _resolution(stream)
    yield from _unseen(blocks, H)
    diurnal = [s.name for block in blocks for s in block.sectors if s.diurnal] + [s.name for s in fixed if s.diurnal]
    plain = [s.kind for s in streams if "srr_time_resolved" not in s.footprints.variables]
    if diurnal and plain:
        sentence = (
            f"The flux of {', '.join(diurnal)} changes within the day but the footprints of {', '.join(plain)} "
            "observations are not resolved in time: they met the mean flux of the day; compute them hourly."
        )
        yield Finding(Grade.WARN, "daily_mean_flux", sentence)
    for sector in fixed:
        sentence = (
            f"The flux of {sector.name} was held where it is: its error is not in this result, only an ensemble "
            "shows it."
        )
        yield Finding(Grade.INFORM, "fixed_flux", sentence)
    for note in notes:
        yield Finding(Grade.INFORM, "background", note)
    for block in blocks:
        yield from _truncated(streams, block)


def _lost(stream: Stream) -> Iterator[Finding]:
    counts = stream.counts.get("footprints")
    if counts is None:
        return
    lost = counts.sel(outcome=[o for o in counts["outcome"].values if o != "matched"]).sum("outcome")
    if not lost.sum():
        return
    per = ", ".join(f"{s} {int(n)}" for s, n in zip(lost["site"].values, lost.values, strict=True) if n)
    sentence = (
        f"{int(lost.sum())} of {int(counts.sum())} {stream.kind} observations of {stream.gas} have no footprint and "
        f"were left out ({per})."
    )
    yield Finding(Grade.WARN if lost.sum() > _MUCH * counts.sum() else Grade.INFORM, "no_footprint", sentence)


def _resolution(stream: Stream) -> Iterator[Finding]:
    """Say what is odd about footprints resolved in time; only where they are in memory."""
    ds = stream.footprints
    if "srr_time_resolved" not in ds.variables or ds["srr_time_resolved"].chunks is not None:
        return
    hours = ds["srr_time_resolved"].sum(["hours_back", "latitude", "longitude"], skipna=False).values
    whole = ds["srr"].sum(["latitude", "longitude"], skipna=False).values
    empty = ds["srr_time_resolved"].isnull().all(["hours_back", "latitude", "longitude"]).values
    if empty.any():
        sentence = (
            f"{int(empty.sum())} of {empty.size} footprints of {stream.kind} observations of {stream.gas} are not "
            "resolved in time though the file resolves others: they met the mean flux of the day."
        )
        yield Finding(Grade.WARN, "daily_mean_flux", sentence)
    ratio = hours[~empty] / whole[~empty]
    over = int((ratio > 1.0 + _MUCH).sum())
    if over:
        sentence = (
            f"The hours of {over} of {empty.size} footprints of {stream.kind} observations of {stream.gas} add up to "
            f"more than the footprint itself, to {np.nanmax(ratio):.2f} times as much: look at how the file was made."
        )
        yield Finding(Grade.WARN, "resolved_footprints", sentence)


def _unseen(blocks: Sequence[Block], H: Jacobian) -> Iterator[Finding]:
    """Name the regions of which no observation sees anything, in any period."""
    reached = H.rmatvec(np.ones(H.shape[0]))
    offset = 0
    for block in blocks:
        seen = reached[offset : offset + block.size].reshape(len(block.sectors), block.periods, -1).sum(axis=1)
        offset += block.size
        for sector, values in zip(block.sectors, seen, strict=True):
            names = block.basis.region[values == 0]
            if names.size:
                others = f" and {names.size - _NAMED} others" if names.size > _NAMED else ""
                sentence = (
                    f"No observation sees anything of {sector.name} in {', '.join(names[:_NAMED].tolist())}{others}: "
                    f"{names.size} of {block.basis.size} regions stay at their prior, with its error."
                )
                yield Finding(Grade.WARN, "no_sensitivity", sentence)


def _truncated(streams: Sequence[Stream], block: Block) -> Iterator[Finding]:
    """Say what the block's basis leaves out of the errors of cells."""
    count = block.basis.weights.shape[1]
    if block.basis.size == count or block.length_km is None:
        return
    if count > _TRUNCATED_CELLS:
        sentence = f"What the {block.basis.name} leave out was not evaluated: {count} cells are too many."
        yield Finding(Grade.INFORM, "basis_truncation", sentence)
        return
    longitude, latitude = (a.ravel() for a in np.meshgrid(block.basis.grid["longitude"], block.basis.grid["latitude"]))
    for sector in block.sectors:
        mine = [stream for stream in streams if stream.gas == sector.gas]
        if not mine:
            continue
        each = max(1, _SAMPLE // len(mine))
        picked = [np.unique(np.linspace(0, s.observations.sizes["obs"] - 1, each).astype(int)) for s in mine]
        H = np.vstack([by_cell(stream, sector, rows) for stream, rows in zip(mine, picked, strict=True)])
        if not np.isfinite(H).all() or not H.any():
            continue
        nugget, length = max(block.nugget, _NUGGET), block.length_km
        B = spatial(longitude, latitude, sigma=sector.sigma, length_km=length, kind=block.kind, nugget=nugget)
        lost = truncation(H, B, block.basis)
        size = f"{np.sqrt(np.mean(lost.sigma**2)):.3g} {mine[0].units}"
        sentence = (
            f"{block.basis.size} regions ({block.basis.name}) for {count} cells leave out {lost.share:.0%} of what "
            f"errors of {sector.name} within {block.length_km:g} km do to the observations, {size} root mean square: "
            "add it to the representation error, or take more regions."
        )
        yield Finding(Grade.WARN if lost.share > _MUCH else Grade.INFORM, "basis_truncation", sentence)
