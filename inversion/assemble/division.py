"""Totals of regions by period and by sector: the aggregates that trends, early warning and attribution start from."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
import xarray as xr

from inversion.assemble.basis import Basis
from inversion.assemble.block import Block
from inversion.assemble.problem import Assembled, region_shares, regional
from inversion.assemble.sector import Sector
from inversion.covariance.operator import Array
from inversion.crosscheck import cells
from inversion.errors import AssemblyError
from inversion.regions import SECONDS_PER_YEAR, mass_unit, molar_mass_of


@dataclass(frozen=True, slots=True)
class Interval:
    """A stretch of time in which no period ends: the states that rule it, and what they do to the cells.

    ``places`` (k,) are states, ``fields`` (cells, k) the flux of a cell for a scaling of 1, ``sectors`` (k,) names,
    ``means`` the sectors' own fluxes (cells,).
    """

    start: np.datetime64
    end: np.datetime64
    places: np.ndarray
    fields: scipy.sparse.csr_matrix
    sectors: np.ndarray
    means: Mapping[str, Array]
    parts: tuple[tuple[Sector, Basis], ...]

    def groups(self) -> Iterator[tuple[tuple[Sector, Basis], np.ndarray]]:
        """Yield each sector with its basis, and the columns that are its own."""
        for sector, basis in self.parts:
            yield (sector, basis), np.flatnonzero(self.sectors == sector.name)


def intervals_of(assembled: Assembled, gas: str) -> Iterator[Interval]:
    """Yield the stretches of time in which no period of a sector of the gas ends."""
    mine = [block for block in assembled.blocks if any(sector.gas == gas for sector in block.sectors)]
    if not mine:
        return
    edges = np.unique(np.concatenate([block.edges for block in mine]))
    offsets = np.cumsum([0, *(block.size for block in assembled.blocks)])
    known = {id(block): block.means() for block in mine}
    for start, end in itertools.pairwise(edges):
        places, fields, sectors = [], [], []
        means: dict[str, Array] = {}
        parts: list[tuple[Sector, Basis]] = []
        for offset, block in zip(offsets, assembled.blocks, strict=False):
            for number, sector in enumerate(block.sectors):
                if sector.gas == gas:
                    period = int(block.period_of(np.array([start]))[0])
                    places.append(_states(block, number, period) + offset)
                    means[sector.name] = known[id(block)][number, period]
                    parts.append((sector, block.basis))
                    fields.append(scipy.sparse.diags(means[sector.name]) @ block.basis.weights.T)
                    sectors += [sector.name] * block.basis.size
        whole = scipy.sparse.hstack(fields, format="csr")
        yield Interval(start, end, np.concatenate(places), whole, np.array(sectors), means, tuple(parts))


def _states(block: Block, number: int, period: int) -> np.ndarray:
    first = (number * block.periods + period) * block.basis.size
    return np.arange(first, first + block.basis.size)


def by_period(
    assembled: Assembled, gas: str, regions: xr.Dataset, *, unit: str = "kt yr-1", molar_mass: float | None = None
) -> xr.DataArray:
    """Return the aggregate of regions by period: all sectors of a gas, as annual rates in each.

    W_(k,t),j = Σ_c share_kc area_c φ_s,p(t)(c) M year / unit  for the states j that rule the period t

    Parameters
    ----------
    assembled : Assembled
    gas : str
    regions : xr.Dataset
        From `inversion.regions.fractions`.
    unit : str
        kg, t, kt or Mt, per year.
    molar_mass : float, optional
        kg mol-1, of a gas that `qc.units` does not know.

    Returns
    -------
    xr.DataArray (region, state)
        Rows ``CN-ZJ 2024-03`` with ``code`` and ``period``, the periods of a region beside each other; periods are
        stretches in which none of any sector ends. For `crosscheck.totals`, then `crosscheck.trends` and
        `warning.watch`.

    Raises
    ------
    AssemblyError
        Where no sector emits the gas.
    """
    found = _required(assembled, gas)
    parts = [
        (period_name(one), sum(rows_of(one, regions, assembled.problem.n_state, mass(gas, unit, molar_mass)).values()))
        for one in found
    ]
    return _aggregate(parts, "period", gas, regions, unit, found)


def by_sector(
    assembled: Assembled, gas: str, regions: xr.Dataset, *, unit: str = "kt yr-1", molar_mass: float | None = None
) -> xr.DataArray:
    """Return the aggregate of regions by sector of a gas, means over the window; arguments as `by_period`.

    Returns
    -------
    xr.DataArray (region, state)
        Rows ``CN-ZJ rice`` with ``code`` and ``sector``, the sectors of a region beside each other. For
        `crosscheck.totals`, then `crosscheck.attribution`.

    Raises
    ------
    AssemblyError
        Where no sector emits the gas.
    """
    found = _required(assembled, gas)
    length = np.array([(one.end - one.start) / np.timedelta64(1, "s") for one in found])
    sums: dict[str, Array] = {}
    for one, weight in zip(found, length / length.sum(), strict=True):
        rows = rows_of(one, regions, assembled.problem.n_state, mass(gas, unit, molar_mass))
        for sector, W in rows.items():
            sums[sector] = sums.get(sector, 0.0) + weight * W
    return _aggregate(list(sums.items()), "sector", gas, regions, unit, found)


def mass(gas: str, unit: str, molar_mass: float | None) -> float:
    """Return what a mol a second is in `unit`."""
    return molar_mass_of(gas, molar_mass) * SECONDS_PER_YEAR / mass_unit(unit)


def rows_of(interval: Interval, regions: xr.Dataset, states: int, factor: float) -> dict[str, Array]:
    """Return W (regions, states) of each sector in an interval, in the unit of which a mol s-1 is `factor`."""
    labels = [str(code) for code in regions["country"].values]
    share = regions["country_fraction"].transpose("country", "latitude", "longitude")
    found: dict[str, Array] = {}
    for (sector, basis), kept in interval.groups():
        W = found.setdefault(sector.name, np.zeros((len(labels), states)))
        density = interval.means[sector.name] * regions["cell_area"].values.ravel() * factor
        own = region_shares(share, sector)
        for k, label in enumerate(labels):
            if label in own:
                W[k, interval.places[kept]] = regional(basis, density[None], label, own[label])[0]
    return found


def period_name(interval: Interval) -> str:
    """Return an interval as a ledger names it: ``2024``, ``2024-03``, ``2024-03-01/2024-03-07``."""
    return str(cells.period_of(f"{_moment(interval.start)}/{_moment(interval.end)}"))


def _moment(time: np.datetime64) -> str:
    return str(time.astype("datetime64[s]"))


def _required(assembled: Assembled, gas: str) -> list[Interval]:
    found = list(intervals_of(assembled, gas))
    if not found:
        raise AssemblyError("Totals", [f"No sector emits {gas}."])
    return found


def _aggregate(
    parts: Sequence[tuple[str, Any]],
    kind: str,
    gas: str,
    regions: xr.Dataset,
    unit: str,
    found: Sequence[Interval],
) -> xr.DataArray:
    """Return rows with the parts of a region beside each other."""
    codes = [str(code) for code in regions["country"].values]
    labels = [(code, name) for code in codes for name, _ in parts]
    W = np.stack([rows for _, rows in parts], axis=1).reshape(len(labels), -1)
    names = [n for n in cells.NAMES if n in regions.coords]
    more = {name: ("region", np.repeat(regions[name].values, len(parts))) for name in names}
    coords = cells.cell_coords(labels, kind, more)
    coords.pop("region_cov")
    window = f"{found[0].start}/{found[-1].end}"
    return xr.DataArray(W, coords, ("region", "state"), "aggregation", {"units": unit, "gas": gas, "window": window})
