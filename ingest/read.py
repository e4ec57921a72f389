"""The reading end of the store: datasets for science, the catalogue for jobs."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from psycopg import sql

from ingest import records, series
from ingest.database import Connection
from ingest.errors import StoreError
from ingest.records import Field
from ingest.store import connect
from qc.schema import READINGS, require
from qc.units import QUANTITIES

Time = datetime | np.datetime64 | str
"""A point in time: aware datetime, datetime64 or ISO 8601 text; without a zone it is UTC."""

_SLICE: Final = timedelta(days=1)
"""How much is asked for at once: bounds the memory of the server."""
_FIELDS: Final = (Field("time", "timestamptz"), Field("value", "float8"), Field("state_id", "int4"))


@dataclass(frozen=True, slots=True)
class Inlet:
    """Where air is drawn in: `height` in m above ground."""

    name: str
    height: float


@dataclass(frozen=True, slots=True)
class Port:
    """A valve position and the inlet it draws from (None: an instrument without a valve), with its validity."""

    port: str | None
    inlet: str
    start: datetime | None
    end: datetime | None


@dataclass(frozen=True, slots=True)
class Instrument:
    """An instrument of a station."""

    name: str
    model: str
    serial: str
    driver: str
    ports: tuple[Port, ...]


@dataclass(frozen=True, slots=True)
class Station:
    """A station of the catalogue: degrees north and east, `altitude` of the ground in m above sea level."""

    name: str
    title: str
    latitude: float
    longitude: float
    altitude: float
    region: str | None
    time_zone: str | None
    inlets: tuple[Inlet, ...]
    instruments: tuple[Instrument, ...]


def stations(dsn: str) -> list[Station]:
    """Return the catalogue: stations with their inlets, instruments and ports, by name.

    Parameters
    ----------
    dsn
        The database.
    """
    with connect(dsn) as conn:
        return stations_on(conn)


def stations_on(conn: Connection) -> list[Station]:
    """Return the same on a connection."""
    heads = conn.execute(
        "SELECT id, name, title, latitude, longitude, altitude, region, time_zone FROM station ORDER BY name"
    ).fetchall()
    inlets = _grouped(conn.execute("SELECT station_id, name, height FROM inlet ORDER BY station_id, height, name"))
    instruments = _grouped(
        conn.execute("SELECT station_id, id, name, model, serial, driver FROM instrument ORDER BY station_id, name")
    )
    ports = _grouped(
        conn.execute(
            "SELECT p.instrument_id, p.port, i.name, nullif(p.valid_from, '-infinity'),"
            " nullif(p.valid_to, 'infinity') FROM instrument_port p JOIN inlet i ON i.id = p.inlet_id"
            " ORDER BY p.instrument_id, length(p.port), p.port, p.valid_from"
        )
    )
    found = {
        number: tuple(
            Instrument(name, model, serial, driver, tuple(Port(*row) for row in ports.get(instrument, [])))
            for instrument, name, model, serial, driver in rows
        )
        for number, rows in instruments.items()
    }
    return [
        Station(
            name=name,
            title=title,
            latitude=latitude,
            longitude=longitude,
            altitude=altitude,
            region=region,
            time_zone=time_zone,
            inlets=tuple(Inlet(*row) for row in inlets.get(number, [])),
            instruments=found.get(number, ()),
        )
        for number, name, title, latitude, longitude, altitude, region, time_zone in heads
    ]


def _grouped(rows: Iterable[Sequence[Any]]) -> dict[int, list[Sequence[Any]]]:
    groups: dict[int, list[Sequence[Any]]] = {}
    for group, *row in rows:
        groups.setdefault(group, []).append(row)
    return groups


# --- readings ---------------------------------------------------------------------------------


def readings(
    dsn: str,
    *,
    station: str,
    instrument: str,
    start: Time | None = None,
    end: Time | None = None,
    quantities: Collection[str] | None = None,
) -> xr.Dataset:
    """Return what one instrument sent, as it sent it.

    Parameters
    ----------
    dsn
        The database.
    station, instrument
        Names in the catalogue.
    start, end
        Times at or after `start` and before `end`; None: no bound.
    quantities
        Names of `qc.units.QUANTITIES`; None: all the instrument ever sent.

    Returns
    -------
    xarray.Dataset
        READINGS: dimension ``time`` (n, increasing, unique), a float64 variable a quantity (NaN where that row
        had none), ``port``, ``status``, ``mark``.

    Raises
    ------
    StoreError
        No such station, instrument or quantity.
    """
    with connect(dsn) as conn:
        which = wanted(conn, station, instrument, quantities)
        columns = _columns(conn, [c for c in which.values() if c is not None], start=start, end=end)
        ds = _dataset(which, columns, _states(conn, columns))
    ds.attrs = {"station": station, "instrument": instrument}
    require(ds, READINGS)
    return ds


def wanted(
    conn: Connection, station: str, instrument: str, quantities: Collection[str] | None
) -> dict[str, int | None]:
    """Return quantity -> channel of those asked for (None: all there are), None where there is no channel yet.

    Raises
    ------
    StoreError
        No such station, instrument or quantity.
    """
    unknown = [name for name in quantities or () if name not in QUANTITIES]
    if unknown:
        raise StoreError(f"quantity {unknown[0]!r} is not known{_near(unknown[0], QUANTITIES)}")
    known = channels(conn, station, instrument)
    return {name: known.get(name) for name in (known if quantities is None else quantities)}


def channels(conn: Connection, station: str, instrument: str) -> dict[str, int]:
    """Return quantity -> channel of an instrument."""
    found = conn.execute(
        "SELECT i.id FROM instrument i JOIN station s ON s.id = i.station_id WHERE s.name = %s AND i.name = %s",
        [station, instrument],
    ).fetchone()
    if found is None:
        _refuse(conn, station, instrument)
    rows = conn.execute("SELECT quantity, id FROM channel WHERE instrument_id = %s ORDER BY quantity", found)
    return dict(rows.fetchall())


def _refuse(conn: Connection, station: str, instrument: str) -> None:
    names: dict[str, list[str]] = {}
    for name, other in conn.execute(
        "SELECT s.name, i.name FROM station s LEFT JOIN instrument i ON i.station_id = s.id ORDER BY 1, 2"
    ):
        names.setdefault(name, []).append(other or "none")
    if station not in names:
        raise StoreError(f"station {station!r} is not in the catalogue{_near(station, names)}")
    raise StoreError(f"station {station!r} has no instrument {instrument!r}, it has {', '.join(names[station])}")


def _near(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def _columns(
    conn: Connection, channels: Sequence[int], *, start: Time | None, end: Time | None
) -> dict[int, dict[str, NDArray[Any]]]:
    """Return channel -> time, value, state_id, in time order."""
    parts: dict[int, list[dict[str, NDArray[Any]]]] = {}
    query = sql.SQL(
        "SELECT channel_id, {} FROM reading WHERE channel_id = ANY(%s) AND time >= %s AND time < %s GROUP BY channel_id"
    ).format(records.packed(_FIELDS))
    for first, last in _slices(conn, channels, start=start, end=end):
        for channel, found in records.fetch(conn, query, [list(channels), first, last], _FIELDS).items():
            parts.setdefault(channel, []).append(found)
    return {
        channel: {field.name: np.concatenate([part[field.name] for part in found]) for field in _FIELDS}
        for channel, found in parts.items()
    }


def _slices(
    conn: Connection, channels: Sequence[int], *, start: Time | None, end: Time | None
) -> Iterator[tuple[datetime, datetime]]:
    """Yield stretches that together hold all readings asked for."""
    row = conn.execute(
        "SELECT min(first), max(last) FROM unnest(%s::int[]) AS c (id),"
        " LATERAL (SELECT min(time) AS first, max(time) AS last FROM reading"
        " WHERE channel_id = c.id AND time >= %s AND time < %s) AS r",
        [list(channels), _lower(start), _upper(end)],
    ).fetchone()
    assert row is not None
    first, last = row
    while first is not None and first <= last:
        yield first, min(first + _SLICE, last + timedelta(microseconds=1))
        first += _SLICE


def _lower(time: Time | None) -> datetime | str:
    return "-infinity" if time is None else instant(time)


def _upper(time: Time | None) -> datetime | str:
    return "infinity" if time is None else instant(time)


def instant(time: Time) -> datetime:
    """Return a point in time as an aware datetime; raises StoreError where it is none."""
    try:
        if isinstance(time, np.datetime64):
            time = time.astype("datetime64[us]").item()
        elif isinstance(time, str):
            time = datetime.fromisoformat(time)
        assert isinstance(time, datetime)
    except (AssertionError, ValueError):
        raise StoreError(f"{time!r} is not a time: expected ISO 8601 as 2026-03-01T12:00:00") from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


def _states(
    conn: Connection, columns: dict[int, dict[str, NDArray[Any]]]
) -> dict[int, tuple[str | None, int | None, int]]:
    numbers = np.unique(np.concatenate([c["state_id"] for c in columns.values()])) if columns else np.empty(0, int)
    rows = conn.execute("SELECT id, port, status, mark FROM state WHERE id = ANY(%s)", [numbers.tolist()])
    return {number: (port, status, mark) for number, port, status, mark in rows}


def _dataset(
    which: dict[str, int | None],
    columns: dict[int, dict[str, NDArray[Any]]],
    states: dict[int, tuple[str | None, int | None, int]],
) -> xr.Dataset:
    found = [columns[c] for c in which.values() if c in columns]
    every = [c["time"] for c in found] or [np.empty(0, "datetime64[ns]")]
    time, place = np.unique(np.concatenate(every), return_inverse=True)
    state = np.zeros(time.size, dtype=np.int64)
    variables: dict[str, Any] = {}
    ends = np.cumsum([c["time"].size for c in found])
    places = (
        dict(zip((c for c in which.values() if c in columns), np.split(place, ends[:-1]), strict=True)) if found else {}
    )
    for name, channel in reversed(which.items()):
        values = np.full(time.size, np.nan)
        if channel in places:
            values[places[channel]] = columns[channel]["value"]
            state[places[channel]] = columns[channel]["state_id"]
        variables[name] = ("time", values, attributes(name))
    variables = dict(reversed(variables.items()))
    return xr.Dataset(variables | _said(state, states), {"time": ("time", time, {"standard_name": "time"})})


def attributes(name: str) -> dict[str, str]:
    """Return the CF attributes of a quantity."""
    quantity = QUANTITIES[name]
    attributes = {"units": quantity.unit, "long_name": quantity.long_name}
    return attributes if quantity.standard_name is None else attributes | {"standard_name": quantity.standard_name}


def _said(state: NDArray[np.int64], states: dict[int, tuple[str | None, int | None, int]]) -> dict[str, Any]:
    """Return port, status and mark of each time."""
    numbers, which = np.unique(state, return_inverse=True)
    known = [states[int(number)] for number in numbers]
    ports = np.array([port or "" for port, _, _ in known], dtype=object)
    statuses = np.array([np.nan if status is None else status for _, status, _ in known], dtype=np.float64)
    marks = np.array([mark for _, _, mark in known], dtype=np.int64)
    return {
        "port": ("time", ports[which], {"long_name": "valve position, empty where there is none"}),
        "status": ("time", statuses[which], {"long_name": "status word of the instrument"}),
        "mark": ("time", marks[which], {"long_name": "marks of the time"}),
    }


def extent(dsn: str, *, station: str, instrument: str) -> tuple[np.datetime64, np.datetime64] | None:
    """Return the times of the first and the last reading of an instrument as datetime64[ns], None where it has none.

    Raises
    ------
    StoreError
        No such station or instrument.
    """
    with connect(dsn) as conn:
        return extent_on(conn, station=station, instrument=instrument)


def extent_on(conn: Connection, *, station: str, instrument: str) -> tuple[np.datetime64, np.datetime64] | None:
    """Return the same on a connection."""
    row = conn.execute(
        "SELECT min(first), max(last) FROM unnest(%s::int[]) AS c (id),"
        " LATERAL (SELECT min(time) AS first, max(time) AS last FROM reading WHERE channel_id = c.id) AS r",
        [list(channels(conn, station, instrument).values())],
    ).fetchone()
    assert row is not None
    if row[0] is None:
        return None
    first, last = (np.datetime64(time.astimezone(UTC).replace(tzinfo=None), "ns") for time in row)
    return first, last


VALVE_MOVED: Final = "valve_moved"
"""The event by which a valve that is not part of the instrument says its position: ``{"port": "3"}``."""
_MOVES: Final = """
SELECT e.time, e.detail ->> 'port' FROM event e JOIN instrument i ON i.id = e.instrument_id
JOIN station s ON s.id = i.station_id
WHERE s.name = %(station)s AND i.name = %(instrument)s AND e.event = %(event)s AND e.detail ->> 'port' IS NOT NULL
  AND e.time < %(end)s AND e.time >= coalesce((
    SELECT max(b.time) FROM event b
    WHERE b.instrument_id = i.id AND b.event = %(event)s AND b.detail ->> 'port' IS NOT NULL AND b.time <= %(start)s
  ), '-infinity')
ORDER BY e.time, e.id"""


def valve_moves(
    conn: Connection, *, station: str, instrument: str, start: Time, end: Time
) -> list[tuple[np.datetime64, str]]:
    """Return when a valve reached which port by its events, in order: in a stretch of time, and the last before it."""
    given = {"station": station, "instrument": instrument, "event": VALVE_MOVED}
    rows = conn.execute(_MOVES, given | {"start": instant(start), "end": instant(end)})
    return [(np.datetime64(time.astimezone(UTC).replace(tzinfo=None), "ns"), str(port)) for time, port in rows]


# --- means ------------------------------------------------------------------------------------


def hourly(
    dsn: str,
    *,
    station: str,
    inlet: str,
    species: str | Collection[str] | None = None,
    start: Time | None = None,
    end: Time | None = None,
) -> xr.Dataset:
    """Return the hourly means of one series, each by the latest run of quality control that covers it.

    Parameters
    ----------
    dsn
        The database.
    station, inlet
        Names in the catalogue.
    species
        Gases; None: all there are.
    start, end
        Hours that begin at or after `start` and before `end`; None: no bound.

    Returns
    -------
    xarray.Dataset
        OBS; every hour that was evaluated, valid or not.

    Raises
    ------
    StoreError
        No such series, nothing evaluated yet, or means on different scales.
    """
    return _means(dsn, "hour", station=station, inlet=inlet, species=species, start=start, end=end)


def minutes(
    dsn: str,
    *,
    station: str,
    inlet: str,
    species: str | Collection[str] | None = None,
    start: Time | None = None,
    end: Time | None = None,
) -> xr.Dataset:
    """Return the minute means of one series; see `hourly`."""
    return _means(dsn, "minute", station=station, inlet=inlet, species=species, start=start, end=end)


def _means(
    dsn: str,
    table: str,
    *,
    station: str,
    inlet: str,
    species: str | Collection[str] | None,
    start: Time | None,
    end: Time | None,
) -> xr.Dataset:
    wanted = [species] if isinstance(species, str) else species
    with connect(dsn) as conn:
        where = series.place(conn, station, inlet)
        return series.means(conn, table, where, species=wanted, bounds=(_lower(start), _upper(end)))
