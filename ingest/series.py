"""One series of means (station, inlet) out of ``minute`` or ``hour``, each by the latest run that covers it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from psycopg import sql

from ingest import records
from ingest.database import Connection
from ingest.errors import NoMeansError, StoreError
from ingest.records import Field
from qc.flags import Flag, cause_attributes, flag_attributes, tests_attributes
from qc.schema import OBS, require, standard_name

INTERVAL: Final = {"minute": np.timedelta64(60, "s"), "hour": np.timedelta64(3600, "s")}
"""Table -> length of its intervals."""
FIELDS: Final = (
    Field("time", "timestamptz"),
    Field("value", "float8", nullable=True),
    Field("stdev", "float8", nullable=True),
    Field("n", "int4", nullable=True),
    Field("uncertainty", "float8", nullable=True),
    Field("u_random", "float8", nullable=True),
    Field("u_shared", "float8", nullable=True),
    Field("n_rejected", "int4", nullable=True),
    Field("cause", "int4", nullable=True),
    Field("flag", "int2"),
    Field("selection", "int2", nullable=True),
    Field("tests", "int8", nullable=True),
    Field("u_calibration", "float8", nullable=True),
    Field("provisional", "int2", nullable=True),
    Field("without_sd", "float8", nullable=True),
    Field("without_rebs", "float8", nullable=True),
    Field("run_id", "int8"),
)

CURRENT: Final = """
SELECT m.* FROM (
    SELECT DISTINCT ON (species, time) * FROM {table}
    WHERE inlet_id = %s AND time >= %s AND time < %s AND (%s::text[] IS NULL OR species = ANY(%s))
    ORDER BY species, time, run_id DESC
) AS m
WHERE (
    SELECT r.id FROM qc_run r
    WHERE r.covers @> m.time AND r.inlet_id = m.inlet_id AND r.id > m.run_id AND jsonb_exists(r.gases, m.species)
    LIMIT 1
) IS NULL"""
"""The rows that count of ``minute`` or ``hour``: inlet, from, to, and twice the gases (NULL: all).

Asked as a subquery with a limit, each row looks its time up in the index of the runs; as NOT EXISTS it is joined with
all runs of the inlet, of which there are many where quality control runs every minute.
"""
_LATEST: Final = f"SELECT species, {{packed}} FROM ({CURRENT}) AS c GROUP BY species ORDER BY species"  # noqa: S608


@dataclass(frozen=True, slots=True)
class Place:
    """An inlet of a station, with the store's number and what OBS says of it."""

    inlet_id: int
    attributes: Mapping[str, Any]


def place(conn: Connection, station: str, inlet: str) -> Place:
    """Return an inlet of the catalogue; raises StoreError where there is none."""
    row = conn.execute(
        "SELECT i.id, i.height, s.latitude, s.longitude, s.altitude FROM inlet i JOIN station s ON s.id = i.station_id"
        " WHERE s.name = %s AND i.name = %s",
        [station, inlet],
    ).fetchone()
    if row is None:
        known = conn.execute(
            "SELECT i.name FROM inlet i JOIN station s ON s.id = i.station_id WHERE s.name = %s ORDER BY i.height",
            [station],
        ).fetchall()
        have = f"it has {', '.join(name for (name,) in known)}" if known else "and no inlets or no such station at all"
        raise StoreError(f"station {station!r} has no inlet {inlet!r} in the catalogue, {have}")
    number, *numbers = row
    names = ("inlet_height", "latitude", "longitude", "altitude")
    return Place(number, {"station": station, "inlet": inlet, **dict(zip(names, numbers, strict=True))})


def means(
    conn: Connection, table: str, where: Place, *, species: Collection[str] | None, bounds: Sequence[Any]
) -> xr.Dataset:
    """Return OBS of one series.

    Parameters
    ----------
    conn
        The database.
    table
        ``minute`` or ``hour``.
    where
        The series' place.
    species
        Gases; None: all there are.
    bounds
        Intervals that begin at or after the first and before the second.

    Raises
    ------
    StoreError
        Nothing was evaluated, or the means of a gas are on different scales or in different units.
    """
    wanted = None if species is None else list(species)
    query = sql.SQL(_LATEST).format(packed=records.packed(FIELDS), table=sql.Identifier(table))
    found = records.fetch(conn, query, [where.inlet_id, *bounds, wanted, wanted], FIELDS)
    missing = [gas for gas in wanted or () if gas not in found]
    if missing or not found:
        at = f"{where.attributes['station']}/{where.attributes['inlet']}"
        what = f"{table} means of {', '.join(missing)}" if missing else f"{table} means"
        raise NoMeansError(f"there are no {what} at {at} in this range: has `skyledger qc run` been run over it?")
    runs = _runs(conn, {int(n) for columns in found.values() for n in np.unique(columns["run_id"])})
    ds = _dataset(found, runs, INTERVAL[table])
    ds.attrs = {**where.attributes, **_provenance(runs)}
    require(ds, OBS)
    return ds


@dataclass(frozen=True, slots=True)
class _Run:
    code_version: str
    configuration: str
    gases: Mapping[str, Mapping[str, Any]]


def _runs(conn: Connection, numbers: set[int]) -> dict[int, _Run]:
    rows = conn.execute("SELECT id, code_version, configuration, gases FROM qc_run WHERE id = ANY(%s)", [list(numbers)])
    return {number: _Run(*row) for number, *row in rows}


def _provenance(runs: Mapping[int, _Run]) -> dict[str, str]:
    return {
        "code_version": ", ".join(sorted({run.code_version for run in runs.values()})),
        "configuration_digest": ", ".join(sorted({run.configuration for run in runs.values()})),
    }


def _dataset(
    found: Mapping[str, Mapping[str, NDArray[Any]]], runs: Mapping[int, _Run], interval: np.timedelta64
) -> xr.Dataset:
    start = np.unique(np.concatenate([columns["time"] for columns in found.values()]))
    variables: dict[str, Any] = {}
    for gas, columns in found.items():
        attributes = _gas_attributes(gas, [runs[int(n)] for n in np.unique(columns["run_id"])])
        variables |= _variables(gas, columns, np.searchsorted(start, columns["time"]), start.size, attributes)
    bounds = np.stack([start, start + interval], axis=1)
    time = {"standard_name": "time", "long_name": "time (UTC), middle of the interval", "bounds": "time_bnds"}
    variables["time_bnds"] = (("time", "bnds"), bounds)
    return xr.Dataset(variables, {"time": ("time", start + interval / 2, time)})


def _gas_attributes(gas: str, runs: Sequence[_Run]) -> dict[str, Any]:
    kinds = {(run.gases[gas]["units"], run.gases[gas]["scale"]) for run in runs}
    if len(kinds) > 1:
        listed = " and ".join(f"{scale} ({units})" for units, scale in sorted(kinds))
        raise StoreError(
            f"means of {gas} in this range are on {listed}: run quality control over all of it, or read one part"
        )
    ((units, scale),) = kinds
    attributes = {"units": units, "scale": scale, "long_name": f"dry-air mole fraction of {gas}"}
    name = standard_name(gas)
    return attributes if name is None else attributes | {"standard_name": name}


def _variables(
    gas: str, columns: Mapping[str, NDArray[Any]], places: NDArray[np.intp], size: int, attributes: Mapping[str, Any]
) -> dict[str, Any]:
    def spread(name: str, missing: Any, dtype: Any) -> NDArray[Any]:
        values = np.full(size, missing, dtype=dtype)
        values[places] = columns[name]
        return values

    def amount(name: str) -> tuple[str, NDArray[np.float64], dict[str, Any]]:
        return "time", spread(name, np.nan, np.float64), {"units": attributes["units"]}

    def number(name: str) -> tuple[str, NDArray[np.int32], dict[str, Any]]:
        return "time", np.maximum(spread(name, 0, np.int32), 0), {"units": "1"}

    variables: dict[str, Any] = {
        gas: ("time", spread("value", np.nan, np.float64), dict(attributes)),
        f"{gas}_stdev": amount("stdev"),
        f"{gas}_n": number("n"),
        f"{gas}_uncertainty": amount("uncertainty"),
        f"{gas}_u_random": amount("u_random"),
        f"{gas}_u_shared": amount("u_shared"),
        f"{gas}_n_rejected": number("n_rejected"),
        f"{gas}_flag": ("time", spread("flag", int(Flag.MISSING), np.int8), flag_attributes()),
        f"{gas}_cause": ("time", np.maximum(spread("cause", 0, np.int32), 0), cause_attributes()),
    }
    for name in ("u_calibration", "without_sd", "without_rebs"):
        if np.isfinite(columns[name]).any():
            variables[f"{gas}_{name}"] = amount(name)
    if (columns["tests"] >= 0).any():
        variables[f"{gas}_tests"] = ("time", np.maximum(spread("tests", 0, np.int64), 0), tests_attributes())
    for name in ("provisional", "selection"):
        if (columns[name] >= 0).any():
            variables[f"{gas}_{name}"] = ("time", np.maximum(spread(name, 0, np.int8), 0), {"units": "1"})
    return variables
