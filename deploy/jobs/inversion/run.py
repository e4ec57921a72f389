"""Assemble, solve, say what it is worth, write; and the same for every member of an ensemble."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr

import station_agent
from deploy.errors import DeployError
from deploy.jobs.inversion import settings as configured
from deploy.jobs.inversion.inputs import Inputs, inside, provinces
from deploy.jobs.inversion.settings import SectorSettings, Settings
from ingest.errors import IngestError
from inversion import InversionError, Posterior, solve, summary
from inversion.assemble import Assembled, Block, Sector, Stream, paris
from inversion.assemble import assemble as put_together
from inversion.crosscheck.members import BASE
from qc.errors import QcError

_REACH: Final = np.timedelta64(31, "D")
"""Fluxes are read from so long before the first observation, where footprints say no more."""


@dataclass(frozen=True, slots=True)
class Member:
    """One inversion: its problem, its posterior, and the totals asked for."""

    name: str
    assembled: Assembled
    posterior: Posterior
    totals: xr.DataArray


@dataclass(frozen=True, slots=True)
class Outcome:
    """An inversion and, where asked, its ensemble; the configuration's own first."""

    settings: Settings
    members: tuple[Member, ...]

    @property
    def posterior(self) -> Posterior:
        """Posterior of the configuration itself."""
        return self.members[0].posterior

    def to_dataset(self) -> xr.Dataset:
        """Return the posterior (schema POSTERIOR) with totals, their covariance, and those of the members.

        Returns
        -------
        xr.Dataset
            Beside the posterior's own: ``total_prior``, ``total_posterior``, ``stdev_total_prior``,
            ``stdev_total_posterior``, ``total_seen`` (total), ``covariance_total_posterior`` (total, total_2), and with
            an ensemble ``total_posterior_member``, ``stdev_total_posterior_member`` (member, total).
        """
        first = self.members[0]
        W, posterior = first.totals, first.posterior
        units = str(W.attrs["units"])
        values = {
            "total_prior": posterior.prior_total(W),
            "total_posterior": posterior.total(W),
            "stdev_total_prior": posterior.prior_stdev(W),
            "stdev_total_posterior": posterior.stdev(W),
        }
        parts: dict[str, Any] = {name: ("total", a.values, {"units": units}) for name, a in values.items()}
        parts["total_seen"] = ("total", posterior.variance_reduction(W).values, {"units": "1"})
        spread = posterior.covariance(W).values
        parts["covariance_total_posterior"] = (("total", "total_2"), spread, {"units": f"({units})2"})
        if len(self.members) > 1:
            means = np.stack([m.posterior.total(m.totals).values for m in self.members])
            sigmas = np.stack([m.posterior.stdev(m.totals).values for m in self.members])
            parts["total_posterior_member"] = (("member", "total"), means, {"units": units})
            parts["stdev_total_posterior_member"] = (("member", "total"), sigmas, {"units": units})
        about = {f"total_{n}": ("total", W[n].values.astype(str)) for n in ("gas", "sector", "region")}
        ds = posterior.to_dataset().assign(parts).assign_coords(about)
        return ds if len(self.members) == 1 else ds.assign_coords(member=[m.name for m in self.members])

    def lines(self) -> list[str]:
        """Return what it says, for a terminal."""
        first = self.members[0]
        return [*_counts(first), *summary.lines(first.posterior, states=40), "", *_totals(self)]


def assemble(settings: Settings, *, planned: bool = False) -> tuple[Assembled, xr.DataArray]:
    """Return the problem of a configuration, and the aggregate of its totals.

    Parameters
    ----------
    settings : Settings
    planned : bool
        Add a stream for each of its candidates behind those of its observations (`inversion.twins.part`).

    Raises
    ------
    DeployError, InversionError, FileError
        One sentence: what is wrong, where, and what to do.
    """
    inputs = Inputs(settings)
    streams = inputs.streams()
    if planned:
        streams += inputs.planned(streams)
    grid = streams[0].footprints[["latitude", "longitude"]]
    sectors = inputs.sectors(grid, _reach(streams))
    blocks = list(_blocks(settings, inputs, streams, sectors))
    backgrounds = inputs.backgrounds(streams)
    assembled = put_together(
        streams,
        blocks,
        backgrounds,
        fixed=[sector for sector in sectors.values() if sector.fixed],
        name=settings.name,
        provenance=_provenance(settings, inputs.digests),
        budget=settings.sparse_bytes,
        store=settings.store,
    )
    shares = provinces(grid) if settings.totals == "province" else _shares(settings, blocks)
    return assembled, assembled.totals(unit=settings.unit, shares=shares)


def run(
    settings: Settings,
    *,
    ensemble: bool = False,
    told: Callable[[str], None] | None = None,
    checkpoint: Path | None = None,
    memory_gb: float | None = None,
) -> Outcome:
    """Solve a configuration, and where asked every member of its ensemble.

    Parameters
    ----------
    settings : Settings
    ensemble : bool
    told : callable, optional
        Called with the name of each member before it is worked on.
    checkpoint : path, optional
        Where the variational solver keeps its steps, and goes on from; members have files of their own beside it.
    memory_gb : float, optional
        What the solver may hold beside H.

    Returns
    -------
    Outcome

    Raises
    ------
    DeployError
        Where an ensemble is asked for and none is configured, or a member fails: which, and why.
    """
    if ensemble and not settings.members:
        msg = f"{settings.name}: has no [[ensemble]] tables; name what its members change"
        raise DeployError(msg)
    members = []
    for name in (BASE, *(name for name, _ in settings.members if ensemble)):
        if told is not None:
            told(name)
        own = settings if name == BASE else configured.member(settings, name)
        kept = checkpoint if checkpoint is None or name == BASE else checkpoint.with_name(f"{checkpoint.name}.{name}")
        members.append(_solve(name, own, kept, memory_gb))
    return Outcome(settings, tuple(members))


def write(outcome: Outcome, path: Path) -> Path:
    """Write an outcome as netCDF, in one rename."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    path.parent.mkdir(parents=True, exist_ok=True)
    outcome.to_dataset().to_netcdf(unfinished)
    return unfinished.replace(path)


def write_paris(outcome: Outcome, prefix: Path) -> list[Path]:
    """Write fluxes and mole fractions in the names of PARIS, two files a gas, and return where.

    Totals by province go along where the configuration asks for them.
    """
    from inversion.report import netcdf  # noqa: PLC0415  draws maps too: only where it is needed

    first = outcome.members[0]
    grid = first.assembled.blocks[0].basis.grid
    by = inside(grid) if outcome.settings.totals == "province" else None
    prefix.parent.mkdir(parents=True, exist_ok=True)
    written = []
    for gas in dict.fromkeys(stream.gas for stream in first.assembled.streams):
        parts = {
            "flux": paris.fluxes(first.assembled, first.posterior, gas, regions=by),
            "concentration": paris.concentrations(first.assembled, first.posterior, gas),
        }
        for kind, ds in parts.items():
            written.append(netcdf.write(ds, prefix.with_name(f"{prefix.name}_{kind}_{gas}.nc")))
    return written


def labels(totals: xr.DataArray) -> list[str]:
    """Return a name for each total: its gas, sector and region, as far as it is not all of them together."""
    parts = (totals[name].values.astype(str) for name in ("gas", "sector", "region"))
    return [" ".join(part for part in each if part not in ("all", "domain")) for each in zip(*parts, strict=True)]


def _options(solver: str, totals: xr.DataArray, checkpoint: Path | None, memory_gb: float | None) -> dict[str, Any]:
    """Return what a solver is given beside the problem."""
    options: dict[str, Any] = {}
    if solver == "variational":
        options |= {"aggregate": totals} | ({} if checkpoint is None else {"checkpoint": checkpoint})
    elif checkpoint is not None:
        raise DeployError(f'--checkpoint: the solver {solver!r} keeps no steps; it goes with solver = "variational"')
    if memory_gb is not None:
        if solver not in ("batch", "variational"):
            raise DeployError(f"--memory-gb: the solver {solver!r} knows no such bound")
        options["memory_gb"] = memory_gb
    return options


def _solve(name: str, settings: Settings, checkpoint: Path | None, memory_gb: float | None) -> Member:
    try:
        assembled, totals = assemble(settings)
        options = _options(settings.solver, totals, checkpoint, memory_gb)
        posterior = getattr(solve, settings.solver)(assembled.problem, **options)
    except (DeployError, IngestError, InversionError, QcError) as error:
        if name == BASE:
            raise
        msg = f"the member {name!r} of the ensemble: {error}"
        raise DeployError(msg) from error
    return Member(name, assembled, posterior, totals)


def _reach(streams: list[Stream]) -> np.timedelta64:
    """Return how far before an observation fluxes are met."""
    hours = [float(s.footprints["hours_back"][-1]) for s in streams if "srr_time_resolved" in s.footprints.variables]
    return np.timedelta64(int(max(hours)) + 72, "h") if hours else _REACH


def _blocks(settings: Settings, inputs: Inputs, streams: list[Stream], sectors: dict[str, Sector]) -> Iterator[Block]:
    """Put sectors of one basis, periods and lengths together; those that are correlated must be."""
    groups: dict[tuple[Any, ...], list[SectorSettings]] = {}
    for wanted in settings.sectors:
        if not wanted.fixed:
            alone = wanted.name if wanted.sigma == "ledger" else ""
            key = (wanted.basis, wanted.periods, wanted.length_km, wanted.length_days, alone)
            groups.setdefault(key, []).append(wanted)
    _require_together(settings, groups)
    for (basis, periods, length_km, length_days, _), group in groups.items():
        mine = tuple(sectors[wanted.name] for wanted in group)
        yield Block(
            sectors=mine,
            basis=inputs.basis(basis, streams, list(mine)),
            edges=_edges(settings, periods),
            length_km=length_km,
            length_days=length_days,
            correlation=_correlation(settings, [wanted.name for wanted in group]),
            kind=settings.shape,
            nugget=settings.nugget,
        )


def _require_together(settings: Settings, groups: dict[tuple[Any, ...], list[SectorSettings]]) -> None:
    place = {wanted.name: key for key, group in groups.items() for wanted in group}
    apart = [f"{a} and {b}" for a, b, _ in settings.correlations if place.get(a) != place.get(b)]
    if apart:
        msg = (
            f"{settings.name}: the sectors {', '.join(apart)} are correlated, but differ in basis, periods or lengths "
            "(or one is fixed); give them the same"
        )
        raise DeployError(msg)


def _correlation(settings: Settings, names: list[str]) -> np.ndarray | None:
    matrix = np.eye(len(names))
    for first, second, value in settings.correlations:
        if first in names and second in names:
            i, j = names.index(first), names.index(second)
            matrix[i, j] = matrix[j, i] = value
    return matrix if (matrix != np.eye(len(names))).any() else None


def _edges(settings: Settings, periods: str | float) -> np.ndarray:
    start, end = settings.start, settings.end
    if periods == "window":
        return np.array([start, end])
    if periods == "month":
        months = np.arange(start.astype("datetime64[M]") + 1, end.astype("datetime64[M]") + 1).astype("datetime64[ns]")
        inner = months[(months > start) & (months < end)]
    else:
        step = np.timedelta64(round(float(periods) * 86400), "s")
        inner = start + np.arange(1, int(np.ceil((end - start) / step))) * step
    return np.concatenate([[start], inner, [end]]).astype("datetime64[ns]")


def _shares(settings: Settings, blocks: list[Block]) -> xr.DataArray | None:
    """Return the regions of the first basis as shares of cells, where totals are asked for by basis."""
    if settings.totals != "basis":
        return None
    basis = blocks[0].basis
    shape = (basis.size, basis.grid.sizes["latitude"], basis.grid.sizes["longitude"])
    coords = {"region": basis.region, **{name: basis.grid[name].values for name in ("latitude", "longitude")}}
    return xr.DataArray(basis.weights.toarray().reshape(shape), dims=("region", "latitude", "longitude"), coords=coords)


def _provenance(settings: Settings, digests: dict[str, str]) -> dict[str, Any]:
    return {
        "configuration": json.dumps(settings.document, sort_keys=True, default=str),
        "configuration_sha256": settings.digest,
        "inputs_sha256": {os.path.relpath(p, settings.folder): value for p, value in sorted(digests.items())},
        "code_version": station_agent.__version__,
        "solver": settings.solver,
    }


def _counts(member: Member) -> list[str]:
    """Return how many observations were taken, and what became of the others."""
    lines = []
    for stream in member.assembled.streams:
        taken = f"{stream.observations.sizes['obs']} {stream.kind} observations of {stream.gas}"
        for name, counts in stream.counts.items():
            total = counts.sum([d for d in counts.dims if d != "outcome"])
            parts = [f"{o} {int(n)}" for o, n in zip(total["outcome"].values, total.values, strict=True) if n]
            taken += f"; {name}: {', '.join(parts)}"
        lines.append(taken)
    form = type(member.posterior.problem.H).__name__.removesuffix("Jacobian").lower()
    shape = " x ".join(map(str, member.posterior.problem.H.shape))
    return [*lines, f"H {shape}, {'dense' if form == 'array' else form}", ""]


def _totals(outcome: Outcome) -> list[str]:
    """Return the table of totals; with an ensemble the range of its members."""
    first = outcome.members[0]
    W, posterior = first.totals, first.posterior
    columns = [posterior.prior_total(W), posterior.prior_stdev(W), posterior.total(W), posterior.stdev(W)]
    seen = posterior.variance_reduction(W).values
    many = np.stack([m.posterior.total(m.totals).values for m in outcome.members])
    names = labels(W)
    width = max(map(len, names))
    spread = len(outcome.members) > 1
    head = f"  {'':{width}}  {'prior':^19}  {'posterior':^19}  {'seen':>6}" + ("  range of members" if spread else "")
    lines = [f"totals, {W.attrs['units']}", head]
    for k, name in enumerate(names):
        prior, before, mean, after = (float(column.values[k]) for column in columns)
        line = f"  {name:{width}}  {prior:9.4g} ± {before:7.3g}  {mean:9.4g} ± {after:7.3g}  {seen[k]:6.1%}"
        lines.append(line + (f"  {many[:, k].min():.4g} to {many[:, k].max():.4g}" if spread else ""))
    if spread:
        lines += ["", f"members: {', '.join(m.name for m in outcome.members)}"]
        worst = [(m.name, f) for m in outcome.members[1:] for f in m.posterior.findings if f.grade != "inform"]
        lines += [f"  {name}: {found}" for name, found in worst]
    return lines
