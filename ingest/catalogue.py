"""The catalogue from a TOML document: stations with inlets, instruments and ports; cylinders.

Applying a document adds what is new and changes what differs; what it does not mention stays. A port that moves
to another inlet is given ``from``: what held before ends there.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from os import PathLike
from pathlib import Path
from typing import Annotated, Any

import msgspec
from psycopg import sql

from ingest.database import Connection
from ingest.errors import CatalogueError
from ingest.migrate import require_current
from ingest.read import instant
from ingest.store import connect
from qc.units import QUANTITIES

_Name = Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9_-]{0,62}$")]
_InletName = Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9_.-]{0,62}$")]
_Text = Annotated[str, msgspec.Meta(max_length=200)]
_When = datetime | None


class _Port(msgspec.Struct, forbid_unknown_fields=True):
    inlet: _InletName
    port: _Text | None = None
    from_: _When = msgspec.field(name="from", default=None)
    to: _When = None


class _Inlet(msgspec.Struct, forbid_unknown_fields=True):
    name: _InletName
    height: float


class _Instrument(msgspec.Struct, forbid_unknown_fields=True):
    name: _Name
    model: _Text = ""
    serial: _Text = ""
    driver: _Text = ""
    port: list[_Port] = []


class _Station(msgspec.Struct, forbid_unknown_fields=True):
    name: _Name
    latitude: Annotated[float, msgspec.Meta(ge=-90, le=90)]
    longitude: Annotated[float, msgspec.Meta(ge=-180, le=180)]
    altitude: Annotated[float, msgspec.Meta(ge=-500, le=9000)]
    title: _Text = ""
    region: _Text | None = None
    time_zone: _Text | None = None
    inlet: list[_Inlet] = []
    instrument: list[_Instrument] = []


class _Cylinder(msgspec.Struct, forbid_unknown_fields=True):
    name: _Text
    species: _Text
    value: float
    scale: _Text
    uncertainty: float | None = None
    from_: _When = msgspec.field(name="from", default=None)
    to: _When = None


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    station: list[_Station] = []
    cylinder: list[_Cylinder] = []


@dataclass(slots=True)
class Applied:
    """What a document changed, one line each as ``station lin-an``."""

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)


def apply(dsn: str, document: Mapping[str, Any] | str | PathLike[str]) -> Applied:
    """Bring the catalogue to what a document says, all of it or nothing.

    Parameters
    ----------
    dsn
        The database.
    document
        The document, or the TOML file it is in.

    Raises
    ------
    CatalogueError
        The document is wrong; the catalogue stays as it is.
    """
    wanted = _read(document)
    _check(wanted)
    done = Applied()
    with connect(dsn) as conn:
        require_current(conn)
        with conn.transaction():
            conn.execute("LOCK TABLE station IN SHARE ROW EXCLUSIVE MODE")
            for station in wanted.station:
                _apply_station(conn, station, done)
            for cylinder in wanted.cylinder:
                _apply_cylinder(conn, cylinder, done)
    return done


def _read(document: Mapping[str, Any] | str | PathLike[str]) -> _Document:
    where = "the catalogue"
    if not isinstance(document, Mapping):
        path = Path(document)
        where = f"catalogue {path}"
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CatalogueError(f"{where} cannot be read: {error}") from error
    try:
        return msgspec.convert(_dated(document), _Document)
    except msgspec.ValidationError as error:
        raise CatalogueError(f"{where}: {_explained(str(error))}") from error


def _dated(value: Any) -> Any:
    """Return a document with its dates as the times they begin."""
    if isinstance(value, Mapping):
        return {key: _dated(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_dated(item) for item in value]
    return instant(value.isoformat()) if isinstance(value, date) and not isinstance(value, datetime) else value


def _explained(sentence: str) -> str:
    """Return msgspec's sentence with the nearest known name where one is not known."""
    found = re.search(r"unknown field `(.+?)`", sentence)
    known = {
        info.encode_name
        for kind in (_Document, _Station, _Inlet, _Instrument, _Port, _Cylinder)
        for info in msgspec.structs.fields(kind)
    }
    near = difflib.get_close_matches(found[1], sorted(known), n=1) if found else []
    return f"{sentence}; did you mean {near[0]!r}?" if near else sentence


def _check(document: _Document) -> None:
    faults = list(_doubles("station", (s.name for s in document.station)))
    for s in document.station:
        inlets = {inlet.name for inlet in s.inlet}
        faults += _doubles(f"inlet of {s.name}", (inlet.name for inlet in s.inlet))
        faults += _doubles(f"instrument of {s.name}", (i.name for i in s.instrument))
        for i in s.instrument:
            faults += _doubles(f"port of {s.name}/{i.name}", (f"{p.port} from {p.from_}" for p in i.port))
            faults += [
                f"port {p.port!r} of {s.name}/{i.name} draws from inlet {p.inlet!r}, which the document does not list"
                for p in i.port
                if p.inlet not in inlets
            ]
    faults += [
        f"cylinder {c.name!r} is for {c.species!r}, expected one of {', '.join(QUANTITIES)}"
        for c in document.cylinder
        if c.species not in QUANTITIES
    ]
    texts = msgspec.json.encode(document)
    if b"\\u0000" in texts:
        faults.append("a text holds a NUL character")
    if faults:
        raise CatalogueError("the catalogue is wrong:\n" + "\n".join(f"- {fault}" for fault in faults))


def _doubles(what: str, names: Iterable[str]) -> list[str]:
    return [f"{what} {name!r} is listed {count} times" for name, count in Counter(names).items() if count > 1]


def _apply_station(conn: Connection, station: _Station, done: Applied) -> None:
    place = {
        name: getattr(station, name) for name in ("title", "latitude", "longitude", "altitude", "region", "time_zone")
    }
    number = _upsert(conn, "station", {"name": station.name}, place, done=done, label=f"station {station.name}")
    inlets = {
        inlet.name: _upsert(
            conn,
            "inlet",
            {"station_id": number, "name": inlet.name},
            {"height": inlet.height},
            done=done,
            label=f"inlet {station.name}/{inlet.name}",
        )
        for inlet in station.inlet
    }
    for instrument in station.instrument:
        label = f"{station.name}/{instrument.name}"
        device = _upsert(
            conn,
            "instrument",
            {"station_id": number, "name": instrument.name},
            {"model": instrument.model, "serial": instrument.serial, "driver": instrument.driver},
            done=done,
            label=f"instrument {label}",
        )
        for port in sorted(instrument.port, key=lambda p: (p.from_ is not None, _start(p))):
            _apply_port(conn, device, port, inlets[port.inlet], done=done, label=f"port {label}/{port.port or 'none'}")


def _apply_port(conn: Connection, device: int, port: _Port, inlet: int, *, done: Applied, label: str) -> None:
    key = {"instrument_id": device, "port": port.port}
    start, end = _place_in_time(conn, "instrument_port", key, port)
    _upsert(
        conn,
        "instrument_port",
        {**key, "valid_from": start},
        {"inlet_id": inlet, "valid_to": end},
        done=done,
        label=label,
    )


def _apply_cylinder(conn: Connection, cylinder: _Cylinder, done: Applied) -> None:
    key = {"name": cylinder.name, "species": cylinder.species}
    start, end = _place_in_time(conn, "cylinder", key, cylinder)
    values = {
        "value": cylinder.value,
        "unit": QUANTITIES[cylinder.species].unit,
        "uncertainty": cylinder.uncertainty,
        "scale": cylinder.scale,
        "valid_to": end,
    }
    label = f"cylinder {cylinder.name} ({cylinder.species})"
    _upsert(conn, "cylinder", {**key, "valid_from": start}, values, done=done, label=label)


def _start(dated: _Port | _Cylinder) -> str:
    return "-infinity" if dated.from_ is None else instant(dated.from_.isoformat()).isoformat()


def _place_in_time(
    conn: Connection, table: str, key: Mapping[str, Any], dated: _Port | _Cylinder
) -> tuple[str, datetime | str]:
    """Let what held until then end where this begins; return from when until when this holds."""
    start = _start(dated)
    conn.execute(
        sql.SQL("UPDATE {} SET valid_to = %s WHERE {} AND valid_from < %s AND valid_to > %s").format(
            sql.Identifier(table), _same(key)
        ),
        [start, *key.values(), start, start],
    )
    if dated.to is not None:
        return start, instant(dated.to.isoformat())
    row = conn.execute(
        sql.SQL("SELECT min(valid_from) FROM {} WHERE {} AND valid_from > %s").format(
            sql.Identifier(table), _same(key)
        ),
        [*key.values(), start],
    ).fetchone()
    return start, "infinity" if row is None or row[0] is None else row[0]


def _upsert(
    conn: Connection, table: str, key: Mapping[str, Any], values: Mapping[str, Any], *, done: Applied, label: str
) -> int:
    """Add a row or bring it to these values; return its id."""
    row = conn.execute(
        sql.SQL("SELECT id, {} FROM {} WHERE {}").format(_compared(values), sql.Identifier(table), _same(key)),
        [*values.values(), *key.values()],
    ).fetchone()
    if row is None:
        row = conn.execute(
            sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING id").format(
                sql.Identifier(table),
                sql.SQL(", ").join(map(sql.Identifier, [*key, *values])),
                sql.SQL(", ").join([sql.Placeholder()] * (len(key) + len(values))),
            ),
            [*key.values(), *values.values()],
        ).fetchone()
        assert row is not None
        done.added.append(label)
    elif row[1]:
        assignments = [sql.SQL("{} = %s").format(sql.Identifier(name)) for name in values]
        conn.execute(
            sql.SQL("UPDATE {} SET {} WHERE id = %s").format(sql.Identifier(table), sql.SQL(", ").join(assignments)),
            [*values.values(), row[0]],
        )
        done.changed.append(label)
    return int(row[0])


def _same(key: Mapping[str, Any]) -> sql.Composed:
    return sql.SQL(" AND ").join(sql.SQL("{} IS NOT DISTINCT FROM %s").format(sql.Identifier(name)) for name in key)


def _compared(values: Mapping[str, Any]) -> sql.Composed:
    """Return whether any value differs."""
    return sql.SQL(" OR ").join(sql.SQL("{} IS DISTINCT FROM %s").format(sql.Identifier(name)) for name in values)
