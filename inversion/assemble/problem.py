"""Streams of observations, blocks of states and backgrounds into one `Problem`, with what was noticed on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import scipy.sparse
import xarray as xr

from inversion.assemble.background import Background, Boundary, held, impossible
from inversion.assemble.basis import Basis
from inversion.assemble.block import Block
from inversion.assemble.noticed import noticed
from inversion.assemble.observed import Stream
from inversion.assemble.sector import Sector
from inversion.assemble.sensitivity import SPARSE_BYTES, jacobian, signal
from inversion.covariance import BlockDiagonal, Covariance
from inversion.covariance.operator import Array
from inversion.errors import AssemblyError
from inversion.jacobian import as_jacobian
from inversion.problem import Problem
from inversion.regions import SECONDS_PER_YEAR, cell_area, mass_unit, molar_mass_of
from qc.units import TO_MOLE_FRACTION

_MOLE: Final = "mol mol-1"
_DOMAIN: Final = "domain"


@dataclass(frozen=True, slots=True)
class Assembled:
    """A problem and what it was made of.

    Attributes
    ----------
    problem : Problem
        Its provenance holds the counts of observations.
    streams : tuple of Stream
        In the order of the rows, in the units of the problem.
    blocks : tuple of Block
        In the order of the states.
    """

    problem: Problem
    streams: tuple[Stream, ...]
    blocks: tuple[Block, ...]

    def totals(
        self,
        *,
        unit: str = "kt yr-1",
        shares: xr.DataArray | None = None,
        molar_mass: Mapping[str, float] | None = None,
    ) -> xr.DataArray:
        """Return the aggregate W that sums the scaled fluxes to totals.

        W_k,(s,p,r) = Σ_c share_kc area_c φ_s,p(c) M_rc w_p M year / unit, with w_p the period's part of the window

        Parameters
        ----------
        unit : str
            kg, t, kt or Mt, per year.
        shares : xr.DataArray (region, latitude, longitude), optional
            Shares of cells in regions to total by beside the whole domain: ``country_fraction`` of
            `inversion.regions.fractions`; its first dimension may have any name. A sector's own `share` goes first.
        molar_mass : mapping of gas to float [kg mol-1], optional
            Of gases other than those of `qc.units`.

        Returns
        -------
        xr.DataArray (total, state)
            For each gas all sectors together, each sector, and all sectors by region; coordinates ``gas``, ``sector``
            ("all" where they are together) and ``region`` ("domain" for the whole).
        """
        table: dict[tuple[str, str, str], Array] = {}
        offset, size = 0, sum(block.size for block in self.blocks)
        for block in self.blocks:
            means, weight = block.means(), np.diff(block.edges) / (block.edges[-1] - block.edges[0])
            area = cell_area(block.basis.grid["latitude"], block.basis.grid["longitude"]).values.ravel()
            for number, sector in enumerate(block.sectors):
                mass = molar_mass_of(sector.gas, (molar_mass or {}).get(sector.gas)) * SECONDS_PER_YEAR
                start = offset + number * block.periods * block.basis.size
                for name, share in region_shares(shares, sector).items():
                    density = means[number] * (area * mass / mass_unit(unit)) * weight[:, None]
                    each = regional(block.basis, density, name, share)
                    keys = [(sector.gas, "all", name)] + ([(sector.gas, sector.name, name)] if name == _DOMAIN else [])
                    for key in keys:
                        row = table.setdefault(key, np.zeros(size))
                        row[start : start + each.size] += each.ravel()
            offset += block.size
        return _table(table, unit)

    def aggregation(
        self,
        gas: str,
        regions: xr.Dataset,
        *,
        unit: str = "kt yr-1",
        molar_mass: float | None = None,
    ) -> xr.DataArray:
        """Return the aggregate of all sectors of a gas by region, as `crosscheck.compare` takes it.

        Parameters
        ----------
        gas : str
        regions : xr.Dataset
            From `inversion.regions.fractions`.
        unit, molar_mass
            As `totals`.

        Returns
        -------
        xr.DataArray (region, state)
            With the labels of `regions.aggregation`, and the window of the inversion.
        """
        heavy = None if molar_mass is None else {gas: molar_mass}
        shares = regions["country_fraction"]
        W = self.totals(unit=unit, shares=shares, molar_mass=heavy)
        place = {
            str(region): k
            for k, (g, region) in enumerate(zip(W["gas"].values, W["region"].values, strict=True))
            if g == gas and W["sector"].values[k] == "all"
        }
        codes = [str(code) for code in regions["country"].values if str(code) in place]
        kept = regions.sel(country=codes)
        names = {n: ("region", kept[n].values) for n in ("gbt2260", "name_zh", "name_en", "covered")}
        edges = np.concatenate([block.edges for block in self.blocks])
        return xr.DataArray(
            W.values[[place[code] for code in codes]],
            dims=("region", "state"),
            coords={"region": codes, **names},
            name="aggregation",
            attrs={"units": unit, "gas": gas, "window": f"{edges.min()}/{edges.max()}"},
        )


def region_shares(shares: xr.DataArray | None, sector: Sector) -> dict[str, Array]:
    """Return the share (cells,) of each region in a sector's flux; the whole domain first."""
    regions: dict[str, Array] = {_DOMAIN: np.ones(sector.flux.sizes["latitude"] * sector.flux.sizes["longitude"])}
    if shares is None:
        return regions
    known = _by_label(sector.share) if sector.share is not None else {}
    for label, share in _by_label(shares).items():
        if share.any():
            regions[label] = known.get(label, share)
    return regions


def regional(basis: Basis, density: Array, label: str, share: Array) -> Array:
    """Return what of a density (k, cells) is a region's, by the basis's own regions (k, R).

    Where the basis goes by origin, a region's part is what is scaled with it; else its share of each cell.
    """
    if not basis.origin or label == _DOMAIN:
        return np.asarray((basis.weights @ (density * share).T).T)
    each = np.zeros((len(density), basis.size))
    for r in np.flatnonzero(basis.region == label):
        each[:, r] = np.asarray(basis.weights[[r]] @ density.T).ravel()
    return each


def _by_label(shares: xr.DataArray) -> dict[str, Array]:
    dim = next(str(d) for d in shares.dims if d not in ("latitude", "longitude"))
    ordered = shares.transpose(dim, "latitude", "longitude")
    pairs = zip(ordered[dim].values, ordered.values, strict=True)
    return {str(label): share.astype(np.float64).ravel() for label, share in pairs}


def _table(table: Mapping[tuple[str, str, str], Array], unit: str) -> xr.DataArray:
    columns = list(zip(*table, strict=True))
    labels = {name: ("total", list(values)) for name, values in zip(("gas", "sector", "region"), columns, strict=True)}
    return xr.DataArray(
        np.stack(list(table.values())), dims=("total", "state"), coords=labels, name="totals", attrs={"units": unit}
    )


def assemble(
    streams: Sequence[Stream],
    blocks: Sequence[Block],
    backgrounds: Mapping[str, Background | None],
    *,
    fixed: Sequence[Sector] = (),
    name: str = "inversion",
    provenance: Mapping[str, Any] | None = None,
    budget: int = SPARSE_BYTES,
    store: str | Path | None = None,
) -> Assembled:
    """Return the problem of some observations, fluxes and backgrounds.

    y = H x + H_b b + ε with a block of rows for each stream and one of states for each `Block`; boundary terms by gas.

    Parameters
    ----------
    streams : sequence of Stream
        Several gases are brought to mol mol-1; streams of one gas have one unit.
    blocks : sequence of Block
    backgrounds : mapping of gas to Background or None
        None, written out, for enhancements that have no background.
    fixed : sequence of Sector
        Fluxes that are not estimated: each is a boundary term of its own name, held where it is.
    name : str
    provenance : mapping, optional
        JSON values; carried into the result.
    budget, store
        See `sensitivity.jacobian`.

    Returns
    -------
    Assembled

    Raises
    ------
    AssemblyError
        Where gases lack sectors or backgrounds, or a baseline cannot be.
    ProblemError
        Where values are missing or cannot be: footprints with NaN, observations no air has.
    CovarianceError
        Where R or B is singular.
    """
    _require(streams, blocks, backgrounds)
    units = _MOLE if len({s.gas for s in streams}) > 1 else streams[0].units
    rows = tuple(stream.in_units(units) for stream in streams)
    y = _observed(rows, units)
    boundary = _boundary(streams, rows, backgrounds, fixed)
    H = as_jacobian(jacobian(rows, blocks, budget=budget, store=store))
    errors = [stream.error.covariance(stream.observations) for stream in rows]
    problem = Problem(
        y=y,
        H=H,
        R=errors[0] if len(errors) == 1 else BlockDiagonal(errors, name="R"),
        x_a=_joined([block.prior() for block in blocks]),
        B=_diagonal_blocks([block.covariance() for block in blocks], "B"),
        **_edges(boundary, y.size, units),
        y_units=units,
        x_units="1",
        name=name,
        provenance={**(provenance or {}), **_counted(rows)},
        findings=tuple(noticed(rows, blocks, H, notes=_notes(boundary), fixed=fixed)),
    )
    return Assembled(problem, rows, tuple(blocks))


def _require(streams: Sequence[Stream], blocks: Sequence[Block], backgrounds: Mapping[str, Background | None]) -> None:
    faults = []
    if not streams:
        faults.append("There are no observations.")
    if not blocks:
        faults.append("There are no sectors to estimate.")
    gases = dict.fromkeys(stream.gas for stream in streams)
    sectors = [sector for block in blocks for sector in block.sectors]
    faults += [f"{g} is observed but no sector emits it." for g in gases if g not in {s.gas for s in sectors}]
    faults += [f"The sector {s.name!r} emits {s.gas}, which is not observed." for s in sectors if s.gas not in gases]
    faults += [f"{g} has no background; give it one, or None where y has none." for g in gases if g not in backgrounds]
    names = [sector.name for sector in sectors]
    faults += [f"The sector {n!r} is there twice." for n in sorted({n for n in names if names.count(n) > 1})]
    for gas in gases:
        units = {stream.units for stream in streams if stream.gas == gas}
        if len(units) > 1:
            faults.append(
                f"The streams of {gas} are in {' and '.join(sorted(units))}; convert one of them (`in_units`)."
            )
    if faults:
        raise AssemblyError("The problem", faults)


def _observed(streams: Sequence[Stream], units: str) -> xr.DataArray:
    several = len({(s.gas, s.kind) for s in streams}) > 1
    parts = []
    for stream in streams:
        y = stream.observations["mole_fraction"]
        station = y["site"].values.astype(str)
        label = f" {stream.gas}" + (f" {stream.kind}" if stream.kind != "in situ" else "")
        coords = {name: ("obs", y[name].values) for name in ("time", "longitude", "latitude", "height")}
        coords["site"] = ("obs", np.array([f"{s}{label}" for s in station]) if several else station)
        coords |= {k: ("obs", np.full(y.size, v)) for k, v in (("obs_gas", stream.gas), ("obs_kind", stream.kind))}
        coords["station"] = ("obs", station)
        parts.append(xr.DataArray(y.values.astype(np.float64), dims="obs", coords=coords))
    return _joined(parts).assign_attrs(units=units)


def _joined(parts: Sequence[xr.DataArray]) -> xr.DataArray:
    return parts[0] if len(parts) == 1 else xr.concat(parts, str(parts[0].dims[0]), combine_attrs="override")


def _diagonal_blocks(parts: list[Covariance], name: str) -> Covariance:
    return parts[0] if len(parts) == 1 else BlockDiagonal(parts, name=name)


def _boundary(
    streams: Sequence[Stream],
    rows: Sequence[Stream],
    backgrounds: Mapping[str, Background | None],
    fixed: Sequence[Sector],
) -> list[tuple[str, np.ndarray, Boundary]]:
    """Return (gas, rows, terms) of every gas, and of what is fixed, in the units of `rows`."""
    ends = np.cumsum([stream.observations.sizes["obs"] for stream in streams])
    starts = [0, *ends[:-1].tolist()]
    found, faults = [], []
    for gas in dict.fromkeys(stream.gas for stream in streams):
        mine = [k for k, stream in enumerate(streams) if stream.gas == gas]
        background = backgrounds[gas]
        if background is None:
            continue
        terms = background.terms([streams[k] for k in mine])
        y = np.concatenate([streams[k].observations["mole_fraction"].values for k in mine])
        # What is missing in y is said by the problem, with its place.
        sentence = impossible(y[np.isfinite(y)], terms.H_b @ terms.b_a, streams[mine[0]].units, gas)
        faults += [sentence] if sentence is not None else []
        factor = TO_MOLE_FRACTION[streams[mine[0]].units] / TO_MOLE_FRACTION[rows[mine[0]].units]
        found.append((gas, np.concatenate([np.arange(starts[k], ends[k]) for k in mine]), terms.scaled(factor)))
    if faults:
        raise AssemblyError("The background", faults)
    if fixed:
        signals = np.column_stack([np.concatenate([signal(stream, sector) for stream in rows]) for sector in fixed])
        found.append(("", np.arange(ends[-1]), held([f"fixed: {sector.name}" for sector in fixed], signals)))
    return found


def _edges(boundary: list[tuple[str, np.ndarray, Boundary]], n: int, units: str) -> dict[str, Any]:
    """Return the boundary terms of the whole problem as arguments of `Problem`."""
    if not boundary:
        return {}
    columns, gases, names = [], [], []
    for gas, rows, terms in boundary:
        place = scipy.sparse.csr_matrix((np.ones(rows.size), (rows, np.arange(rows.size))), shape=(n, rows.size))
        columns.append(place @ terms.H_b)
        gases += [gas] * len(terms.term)
        names += terms.term
    b_a = xr.DataArray(
        np.concatenate([terms.b_a for _, _, terms in boundary]),
        dims="boundary",
        coords={"term": ("boundary", names), "boundary_gas": ("boundary", gases)},
        attrs={"units": units},
    )
    B_b = _diagonal_blocks([terms.B_b for _, _, terms in boundary], "B_b")
    return {"H_b": scipy.sparse.hstack(columns, format="csr"), "b_a": b_a, "B_b": B_b}


def _notes(boundary: list[tuple[str, np.ndarray, Boundary]]) -> list[str]:
    return [f"{gas}: {terms.note}" for gas, _, terms in boundary if terms.note]


def _counted(streams: Sequence[Stream]) -> dict[str, Any]:
    """Return the counts of what was dropped and why, for the provenance."""
    table: dict[str, Any] = {}
    for stream in streams:
        for name, counts in stream.counts.items():
            total = counts.sum([d for d in counts.dims if d != "outcome"])
            table[f"{name} of {stream.gas} {stream.kind}"] = {
                str(outcome): int(number) for outcome, number in zip(total["outcome"].values, total.values, strict=True)
            }
    return {"observations": table} if table else {}
