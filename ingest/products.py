"""What jobs make of the readings, written by run: means, inversions, inventories. Nothing is overwritten."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ingest import copy, read, series
from ingest.copy import Column
from ingest.database import Connection
from ingest.errors import StoreError
from ingest.read import Time
from qc.schema import OBS, require

_COMPANIONS: Final = {
    "stdev": "float8",
    "n": "int4",
    "uncertainty": "float8",
    "u_random": "float8",
    "u_shared": "float8",
    "n_rejected": "int4",
    "cause": "int4",
    "flag": "int2",
    "selection": "int2",
    "tests": "int8",
    "u_calibration": "float8",
    "provisional": "int2",
    "without_sd": "float8",
    "without_rebs": "float8",
}


@dataclass(frozen=True, slots=True)
class QcRun:
    """Where means come from.

    Parameters
    ----------
    code_version
        Of the code that made them.
    configuration_digest
        Of its configuration.
    inputs
        What went in; plain JSON.
    start, end
        The run speaks for all intervals that begin at or after `start` and before `end`: earlier means of its gases
        there no longer count, also where it has none itself. None: it speaks for the intervals it has.
    """

    code_version: str
    configuration_digest: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    start: Time | None = None
    end: Time | None = None


def write(conn: Connection, run: QcRun, minutes: xr.Dataset | None, hours: xr.Dataset | None) -> int:
    """Write the means of one series, within the caller's transaction.

    Parameters
    ----------
    conn
        In a transaction, so that the change feed's cursor moves with it.
    run
        Where they come from.
    minutes, hours
        OBS of the same station and inlet; None where there are none.

    Returns
    -------
    int
        Number of the run.

    Raises
    ------
    SchemaError
        A dataset is not OBS.
    StoreError
        The series is not in the catalogue, or intervals are not whole minutes and hours.
    """
    given = {table: ds for table, ds in (("minute", minutes), ("hour", hours)) if ds is not None}
    if not given:
        raise StoreError("neither minutes nor hours were given to write")
    for ds in given.values():
        require(ds, OBS)
    places = {(str(ds.attrs["station"]), str(ds.attrs["inlet"])) for ds in given.values()}
    if len(places) > 1:
        raise StoreError(f"minutes and hours are of different series: {sorted(places)}")
    where = series.place(conn, *places.pop())
    number = _insert_run(conn, run, where.inlet_id, _gases(given.values()))
    for table, ds in given.items():
        start = _starts(ds, table)
        for gas in OBS.species(ds):
            _write_gas(conn, table, ds, gas, start=start, inlet=where.inlet_id, run=number)
    return number


def _gases(given: Any) -> dict[str, dict[str, str]]:
    return {
        gas: {"units": str(ds[gas].attrs["units"]), "scale": str(ds[gas].attrs["scale"])}
        for ds in given
        for gas in OBS.species(ds)
    }


def _insert_run(conn: Connection, run: QcRun, inlet: int, gases: Mapping[str, Any]) -> int:
    speaks = run.start is not None and run.end is not None
    bounds = [read.instant(time) if speaks and time is not None else None for time in (run.start, run.end)]
    row = conn.execute(
        "INSERT INTO qc_run (inlet_id, covers, code_version, configuration, inputs, gases)"
        " VALUES (%s, CASE WHEN %s THEN tstzrange(%s, %s) END, %s, %s, %s, %s) RETURNING id",
        [inlet, speaks, *bounds, run.code_version, run.configuration_digest, _json(run.inputs), _json(gases)],
    ).fetchone()
    assert row is not None
    return int(row[0])


def _json(value: Any) -> str:
    return json.dumps(value, allow_nan=False, default=str)


def _starts(ds: xr.Dataset, table: str) -> NDArray[np.int64]:
    """Return (n,) the starts of the intervals, ms since 1970."""
    length = series.INTERVAL[table]
    bounds = ds["time_bnds"].values.astype("datetime64[ns]")
    whole = (bounds[:, 1] - bounds[:, 0] == length) & (
        bounds[:, 0].astype(np.int64) % length.astype("m8[ns]").astype(int) == 0
    )
    if not whole.all():
        i = int(np.flatnonzero(~whole)[0])
        raise StoreError(f"interval {bounds[i, 0]} to {bounds[i, 1]} is not a whole {table} (UTC)")
    return bounds[:, 0].astype("datetime64[ms]").astype(np.int64)


def _write_gas(
    conn: Connection, table: str, ds: xr.Dataset, gas: str, *, start: NDArray[np.int64], inlet: int, run: int
) -> None:
    columns = [
        Column("time", "timestamptz", copy.micros(start)),
        Column("inlet_id", "int4", np.array([inlet])),
        Column("run_id", "int8", np.array([run])),
        Column("species", "text", np.array([gas.encode()], dtype=f"S{len(gas.encode())}")),
        _nullable("value", "float8", ds[gas].values),
    ]
    columns += [
        _nullable(name, kind, ds[f"{gas}_{name}"].values)
        for name, kind in _COMPANIONS.items()
        if f"{gas}_{name}" in ds.variables
    ]
    copy.write(conn, table, columns, start.size)


def _nullable(name: str, kind: str, values: NDArray[Any]) -> Column:
    """Return a column whose NaN is NULL."""
    missing = np.isnan(values.astype(np.float64))
    if kind.startswith("int"):
        values = np.where(missing, 0, values).round().astype(np.int64)
    return Column(name, kind, values, missing if missing.any() else None)


# --- inversions and inventories ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class InversionRun:
    """Where an inversion comes from: gas, period, code, configuration, inputs, and what it said of itself."""

    species: str
    start: Time
    end: Time
    code_version: str
    configuration_digest: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
    findings: Sequence[Any] = ()


@dataclass(frozen=True, slots=True)
class Region:
    """Emissions of a region and sector before and after, with standard deviations, in `unit`."""

    region: str
    unit: str
    prior: float
    prior_sd: float
    posterior: float
    posterior_sd: float
    sector: str = "total"


def write_inversion(
    conn: Connection, run: InversionRun, regions: Sequence[Region], *, covariance: NDArray[np.float64]
) -> int:
    """Write an inversion's result, within the caller's transaction.

    Parameters
    ----------
    conn
        The database.
    run
        Where it comes from.
    regions
        The r aggregates.
    covariance
        (r, r): their joint posterior covariance, in the product of their units.

    Returns
    -------
    int
        Number of the run.

    Raises
    ------
    StoreError
        The covariance is not that of these regions.
    """
    size = len(regions)
    sd = np.array([region.posterior_sd for region in regions])
    if covariance.shape != (size, size):
        raise StoreError(f"covariance has shape {covariance.shape}, expected ({size}, {size}) as there are regions")
    if not np.allclose(np.sqrt(np.diag(covariance)), sd, rtol=1e-6):
        raise StoreError("the covariance's diagonal is not the square of the regions' posterior_sd")
    row = conn.execute(
        "INSERT INTO inversion_run (species, t_from, t_to, code_version, configuration, inputs, diagnostics, findings)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s) RETURNING id",
        [
            run.species,
            read.instant(run.start),
            read.instant(run.end),
            run.code_version,
            run.configuration_digest,
            _json(run.inputs),
            _json(run.diagnostics),
            _json(list(run.findings)),
        ],
    ).fetchone()
    assert row is not None
    with conn.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO posterior_region VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                (row[0], i, r.region, r.sector, r.unit, r.prior, r.prior_sd, r.posterior, r.posterior_sd, line.tolist())
                for i, (r, line) in enumerate(zip(regions, covariance, strict=True))
            ],
        )
    return int(row[0])


@dataclass(frozen=True, slots=True)
class InventoryEntry:
    """One number of a statistical inventory.

    Parameters
    ----------
    source, vintage
        Who published it, and which submission it is.
    region, category, species
        ISO 3166-2 code, IPCC 2006 code ("0" the total), gas.
    first_day, last_day
        The period, both included.
    value, sigma
        In `unit`; None where the inventory has none. `sigma` is one standard deviation.
    notation
        NE, NO, IE, C ... where there is no value.
    """

    source: str
    region: str
    species: str
    first_day: date
    last_day: date
    value: float | None
    unit: str
    sigma: float | None = None
    category: str = "0"
    vintage: str = ""
    notation: str = ""


def write_inventory(conn: Connection, entries: Sequence[InventoryEntry]) -> int:
    """Write inventory entries, within the caller's transaction; returns how many were new.

    An inventory that was revised has a new `vintage`.

    Raises
    ------
    StoreError
        An entry is there already with another value.
    """
    new = 0
    for entry in entries:
        key = [
            entry.source,
            entry.vintage,
            entry.region,
            entry.category,
            entry.species,
            entry.first_day,
            entry.last_day,
        ]
        rest = [entry.value, entry.sigma, entry.unit, entry.notation]
        new += conn.execute(
            "INSERT INTO inventory_entry (source, vintage, region, category, species, first_day, last_day,"
            " value, sigma, unit, notation) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            [*key, *rest],
        ).rowcount
        there = conn.execute(
            "SELECT value, sigma, unit, notation FROM inventory_entry"
            " WHERE (source, vintage, region, category, species, first_day, last_day) = (%s, %s, %s, %s, %s, %s, %s)",
            key,
        ).fetchone()
        if there is None or list(there) != rest:
            raise StoreError(f"inventory entry {key} is there already as {there}, not {rest}: give a new vintage")
    return new
