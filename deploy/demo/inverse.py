"""The demonstration's inversion: hours from the store, what they see, the posterior, and the ledger beside it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import numpy as np
import xarray as xr

import station_agent
from deploy.demo import world as worlds
from deploy.demo.network import SITES
from deploy.demo.world import DAYTIME, GAS, MODEL_SIGMA, World
from deploy.errors import DeployError
from ingest import products, read
from ingest.database import connect
from inversion import Posterior, crosscheck, report
from inversion.observations import Selected, errors, gather
from inversion.solve import batch
from qc.units import TO_MOLE_FRACTION


@dataclass(frozen=True, slots=True)
class Result:
    """What the sky says: selected observations, posterior, and the table beside the ledger."""

    selected: Selected
    posterior: Posterior
    table: xr.Dataset


def run(dsn: str, world: World) -> Result:
    """Invert what is in the store and lay it beside the published ledger; the result is written to the store too."""
    selected = gather(hours(dsn), GAS, hours=DAYTIME, inlet="all")
    posterior = batch(_problem(world, selected.observations))
    table = crosscheck.compare(posterior, world.published.ledger, world.published.W)
    _write(dsn, world, posterior, table)
    return Result(selected, posterior, table)


def hours(dsn: str) -> list[xr.Dataset]:
    """Return the hourly means of every inlet in the store."""
    return [
        read.hourly(dsn, station=station.name, inlet=inlet.name, species=[GAS])
        for station in read.stations(dsn)
        for inlet in station.inlets
    ]


def _problem(world: World, observations: xr.Dataset) -> worlds.Problem:
    rows = _receptors(world, observations)
    factor = TO_MOLE_FRACTION[str(observations["mole_fraction"].attrs["units"])]
    y = (observations["mole_fraction"] * factor).assign_attrs(units="mol mol-1")
    R = errors(observations, representation=MODEL_SIGMA / factor)
    return worlds.problem(world.published, world.seen, rows, y, factor**2 * R.diagonal())


def _receptors(world: World, observations: xr.Dataset) -> np.ndarray:
    """Return the row of the receptors' sensitivities that belongs to each observation."""
    receptors = world.seen.receptors

    def keys(ds: xr.Dataset) -> list[tuple[str, str, int]]:
        times = ds["time"].values.astype("datetime64[s]").astype(int)
        return list(zip(ds["site"].values.astype(str), ds["inlet"].values.astype(str), times.tolist(), strict=True))

    place = {key: row for row, key in enumerate(keys(receptors))}
    wanted = keys(observations)
    lost = [key for key in wanted if key not in place]
    if lost:
        site, inlet, second = lost[0]
        moment = np.datetime64(second, "s")
        msg = f"{len(lost)} observations have no footprint, the first that of {site}/{inlet} at {moment}"
        raise DeployError(msg)
    return np.array([place[key] for key in wanted])


def _write(dsn: str, world: World, posterior: Posterior, table: xr.Dataset) -> None:
    window = np.timedelta64(world.place.hours, "h")
    entries = [
        products.InventoryEntry(
            source=entry.source,
            vintage=entry.vintage,
            region=entry.region,
            category=entry.category,
            species=entry.gas,
            first_day=entry.period.start,
            last_day=entry.period.end - timedelta(days=1),
            value=entry.value,
            sigma=entry.sigma,
            unit="kt",
            notation=entry.notation,
        )
        for entry in world.published.ledger.entries
    ]
    run = products.InversionRun(
        species=GAS,
        start=world.place.start,
        end=world.place.start + window,
        code_version=station_agent.__version__,
        configuration_digest="",
        inputs={"meteorology": "made up", "footprints": "Lagrangian particles"},
        diagnostics={"chi2": posterior.diagnostics.chi2, "dofs": posterior.diagnostics.dofs},
        findings=[str(finding) for finding in posterior.findings],
    )
    regions = [
        products.Region(
            region=str(row.region.item()),
            unit=str(table.attrs["units"]),
            prior=float(row.prior),
            prior_sd=float(row.prior_sigma),
            posterior=float(row.inversion),
            posterior_sd=float(row.inversion_sigma),
        )
        for row in (table.isel(region=i) for i in range(table.sizes["region"]))
    ]
    with connect(dsn) as connection, connection.transaction():
        products.write_inventory(connection, entries)
        products.write_inversion(connection, run, regions, covariance=table["inversion_covariance"].values)


NOTES: Final = (
    "This is a demonstration: weather, emissions, ledger and every measured value are invented.",
    "Agents, broker, database, quality control, inversion and this comparison are the real ones.",
    "Transport is by particles in a made-up weather; simulated air and inversion share it, which flatters the result.",
    "The window is a few days; a year's ledger is compared as a rate, as if emissions did not change with the season.",
)


def write_report(result: Result, directory: Path) -> report.Written:
    """Write the report of a demonstration."""
    return report.write(
        result.table,
        directory,
        title="CH4 in eastern China: the ledger and the sky (demonstration)",
        posterior=result.posterior,
        stations=[report.Station(site.title, site.latitude, site.longitude) for site in SITES],
        notes=NOTES,
        imprint=report.Imprint(prepared_by=f"skyledger {station_agent.__version__}, invented data"),
    )
