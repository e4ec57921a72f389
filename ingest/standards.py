"""Cylinders in the store: what they are assigned, what they showed at an instrument, and what was put right by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.database import Connection, connect
from ingest.errors import StoreError
from ingest.migrate import require_current


@dataclass(frozen=True, slots=True)
class Cylinder:
    """What a cylinder is assigned of a gas while a validity lasts (None: no bound)."""

    name: str
    species: str
    value: float
    uncertainty: float | None
    scale: str
    start: datetime | None
    end: datetime | None


def cylinders(conn: Connection) -> list[Cylinder]:
    """Return the assigned values of the catalogue, by name, gas and time."""
    rows = conn.execute(
        "SELECT name, species, value, uncertainty, scale, nullif(valid_from, '-infinity'), nullif(valid_to, 'infinity')"
        " FROM cylinder ORDER BY name, species, valid_from"
    )
    return [Cylinder(*row) for row in rows]


# --- what they showed --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shown:
    """Injections of one gas in order of time, arrays (n,); see `qc.injections.Injections`.

    ``cylinder`` are names, ``start`` and ``end`` ns since 1970 UTC, ``mean`` and ``stdev`` [unit of the gas] dry and
    uncalibrated, ``minutes`` how many.
    """

    cylinder: NDArray[np.object_]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    mean: NDArray[np.float64]
    stdev: NDArray[np.float64]
    minutes: NDArray[np.int64]

    def take(self, which: NDArray[Any]) -> Shown:
        """Return some of them."""
        return Shown(*(column[which] for column in self.columns()))

    def columns(self) -> tuple[NDArray[Any], ...]:
        """Return the arrays in the order of the fields."""
        return self.cylinder, self.start, self.end, self.mean, self.stdev, self.minutes


def injections(conn: Connection, station: str, instrument: str) -> dict[str, Shown]:
    """Return gas -> what the cylinders showed at an instrument, as the QC job last found it."""
    rows = conn.execute(
        "SELECT n.species, n.cylinder, n.t_from, n.t_to, n.mean, n.stdev, n.minutes FROM injection n"
        " JOIN instrument i ON i.id = n.instrument_id JOIN station s ON s.id = i.station_id"
        " WHERE s.name = %s AND i.name = %s ORDER BY n.species, n.t_from",
        [station, instrument],
    ).fetchall()
    grouped: dict[str, list[Sequence[Any]]] = {}
    for species, *row in rows:
        grouped.setdefault(species, []).append(row)
    return {species: _shown(found) for species, found in grouped.items()}


def _shown(rows: Sequence[Sequence[Any]]) -> Shown:
    cylinder, start, end, mean, stdev, minutes = zip(*rows, strict=True)
    return Shown(
        np.array(cylinder, dtype=object),
        _ns(start),
        _ns(end),
        np.array(mean, dtype=np.float64),
        np.array([np.nan if value is None else value for value in stdev], dtype=np.float64),
        np.array(minutes, dtype=np.int64),
    )


def _ns(times: Sequence[datetime]) -> NDArray[np.int64]:
    return (
        np.array([t.replace(tzinfo=None) for t in times], dtype="datetime64[us]").astype("datetime64[ns]").astype("i8")
    )


def replace(
    conn: Connection, station: str, instrument: str, found: Mapping[str, Shown], *, start: datetime, end: datetime
) -> None:
    """Put injections in the place of those that begin in a window, in the caller's transaction.

    Parameters
    ----------
    conn
        In a transaction.
    station, instrument
        Names in the catalogue.
    found
        Gas -> injections that begin in the window; gases that are not there have none any more.
    start, end
        Aware.
    """
    number = _instrument(conn, station, instrument)
    conn.execute(
        "DELETE FROM injection WHERE instrument_id = %s AND t_from >= %s AND t_from < %s", [number, start, end]
    )
    rows = [
        (number, species, name, _time(first), _time(last), mean, None if np.isnan(stdev) else stdev, minutes)
        for species, shown in found.items()
        for name, first, last, mean, stdev, minutes in zip(*(c.tolist() for c in shown.columns()), strict=True)
    ]
    with conn.cursor() as cursor:
        cursor.executemany("INSERT INTO injection VALUES (%s, %s, %s, %s, %s, %s, %s, %s)", rows)


def _time(ns: int) -> Any:
    return f"{np.datetime64(ns, 'ns').astype('datetime64[us]')}+00"


def _instrument(conn: Connection, station: str, instrument: str) -> int:
    row = conn.execute(
        "SELECT i.id FROM instrument i JOIN station s ON s.id = i.station_id WHERE s.name = %s AND i.name = %s",
        [station, instrument],
    ).fetchone()
    if row is None:
        raise StoreError(f"station {station!r} has no instrument {instrument!r} in the catalogue")
    return int(row[0])


# --- what was put right ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Correction:
    """Between two times what was called `said` (a cylinder or a port) was the cylinder `was`."""

    number: int
    made: datetime
    author: str
    reason: str
    start: datetime
    end: datetime
    said: str
    was: str


def corrections(conn: Connection, station: str) -> list[Correction]:
    """Return the corrections of a station in the order they were made: of two that speak of a time the later counts."""
    rows = conn.execute(
        "SELECT c.id, c.made, c.author, c.reason, c.t_from, c.t_to, c.said, c.was FROM cylinder_correction c"
        " JOIN station s ON s.id = c.station_id WHERE s.name = %s ORDER BY c.id",
        [station],
    )
    return [Correction(*row) for row in rows]


def correct(
    dsn: str, station: str, *, start: datetime, end: datetime, said: str, was: str, author: str, reason: str
) -> int:
    """Write down that another cylinder hung there than was said; returns the row's number. Rows are never changed.

    Parameters
    ----------
    dsn
        The database.
    station
        Its name.
    start, end
        Aware.
    said
        Cylinder, or position of the valve, as it was called.
    was
        The cylinder it was.
    author, reason
        Who, and why.

    Raises
    ------
    StoreError
        The station is not in the catalogue, the window is empty, or something is not said.
    """
    if not all(text.strip() for text in (said, was, author, reason)):
        raise StoreError("a correction needs what was said, which cylinder it was, an author and a reason")
    if not start < end:
        raise StoreError(f"window from {start} to {end} is empty: give its end after its start")
    with connect(dsn) as conn:
        require_current(conn)
        row = conn.execute(
            "INSERT INTO cylinder_correction (author, reason, station_id, t_from, t_to, said, was)"
            " SELECT %s, %s, id, %s, %s, %s, %s FROM station WHERE name = %s RETURNING id",
            [author, reason, start, end, said, was, station],
        ).fetchone()
    if row is None:
        raise StoreError(f"station {station!r} is not in the catalogue")
    return int(row[0])


# --- what series were evaluated with -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Used:
    """What a series was last evaluated with: digest of its settings, its cylinders; and why that failed, if it did."""

    settings: str
    cylinders: list[Any]
    problem: str = ""


def used(conn: Connection) -> dict[tuple[str, str, str], Used]:
    """Return (station, instrument, inlet) -> what it was last evaluated with."""
    rows = conn.execute(
        "SELECT s.name, i.name, l.name, q.settings, q.cylinders, q.problem FROM qc_series q"
        " JOIN instrument i ON i.id = q.instrument_id JOIN inlet l ON l.id = q.inlet_id"
        " JOIN station s ON s.id = i.station_id"
    )
    return {(station, instrument, inlet): Used(*rest) for station, instrument, inlet, *rest in rows}


def use(conn: Connection, station: str, instrument: str, inlet: str, now: Used) -> None:
    """Write down what a series is evaluated with from now on, in the caller's transaction."""
    conn.execute(
        "INSERT INTO qc_series (instrument_id, inlet_id, settings, cylinders, problem)"
        " SELECT i.id, l.id, %s, %s, %s FROM instrument i JOIN station s ON s.id = i.station_id"
        " JOIN inlet l ON l.station_id = s.id WHERE s.name = %s AND i.name = %s AND l.name = %s"
        " ON CONFLICT (instrument_id, inlet_id) DO UPDATE"
        " SET settings = excluded.settings, cylinders = excluded.cylinders, problem = excluded.problem",
        [now.settings, json.dumps(now.cylinders), now.problem, station, instrument, inlet],
    )


def forget(conn: Connection, station: str, instrument: str, inlet: str) -> None:
    """Forget what a series was evaluated with, so that all of it is evaluated again, in the caller's transaction."""
    conn.execute(
        "DELETE FROM qc_series q USING instrument i, inlet l, station s"
        " WHERE q.instrument_id = i.id AND q.inlet_id = l.id AND i.station_id = s.id"
        " AND s.name = %s AND i.name = %s AND l.name = %s",
        [station, instrument, inlet],
    )
