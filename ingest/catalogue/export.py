"""The whole catalogue as a document, and as TOML: applied to an empty database it gives the same catalogue."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from ingest.database import Connection, connect
from qc.units import QUANTITIES

_STATIONS: Final = """
SELECT id, name, latitude, longitude, altitude, title, region, gbt_2260, wigos, time_zone FROM station ORDER BY name"""
_INLETS: Final = "SELECT station_id, name, height FROM inlet ORDER BY station_id, height, name"
_INSTRUMENTS: Final = "SELECT station_id, id, name, model, serial, driver FROM instrument ORDER BY station_id, name"
_PORTS: Final = """
SELECT p.instrument_id, i.name, p.port, nullif(p.valid_from, '-infinity'), nullif(p.valid_to, 'infinity')
FROM instrument_port p JOIN inlet i ON i.id = p.inlet_id
ORDER BY p.instrument_id, length(p.port), p.port, p.valid_from"""
_CHANNELS: Final = "SELECT instrument_id, quantity FROM channel ORDER BY instrument_id, quantity"
_CYLINDERS: Final = """
SELECT name, species, value, scale, uncertainty, nullif(valid_from, '-infinity'), nullif(valid_to, 'infinity')
FROM cylinder ORDER BY name, species, valid_from"""


def export(dsn: str) -> dict[str, Any]:
    """Return the catalogue as a document.

    Parameters
    ----------
    dsn
        The database.
    """
    with connect(dsn) as conn:
        return document(conn)


def document(conn: Connection) -> dict[str, Any]:
    """Return the catalogue as a document, as the caller's transaction sees it."""
    inlets, instruments, ports, channels = (
        _grouped(conn.execute(query)) for query in (_INLETS, _INSTRUMENTS, _PORTS, _CHANNELS)
    )
    names = ("name", "latitude", "longitude", "altitude", "title", "region", "gbt_2260", "wigos", "time_zone")
    found = []
    for number, *values in conn.execute(_STATIONS):
        devices = []
        for device, *said in instruments.get(number, []):
            one = _said(("name", "model", "serial", "driver"), said)
            one["port"] = [_said(("inlet", "port", "from", "to"), row) for row in ports.get(device, [])]
            one["channel"] = [
                {"quantity": quantity} for (quantity,) in channels.get(device, []) if quantity in QUANTITIES
            ]
            devices.append({key: value for key, value in one.items() if value})
        station = _said(names, values)
        station["inlet"] = [_said(("name", "height"), row) for row in inlets.get(number, [])]
        station["instrument"] = devices
        found.append({key: value for key, value in station.items() if value != []})
    keys = ("name", "species", "value", "scale", "uncertainty", "from", "to")
    cylinders = [_said(keys, row) for row in conn.execute(_CYLINDERS)]
    return {"station": found, "cylinder": cylinders}


def _grouped(rows: Iterable[Sequence[Any]]) -> dict[int, list[Sequence[Any]]]:
    groups: dict[int, list[Sequence[Any]]] = {}
    for number, *row in rows:
        groups.setdefault(number, []).append(row)
    return groups


def _said(names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    return {name: value for name, value in zip(names, values, strict=True) if value is not None and value != ""}


# --- TOML ------------------------------------------------------------------------------------


def toml(catalogue: Mapping[str, Any]) -> str:
    """Return a catalogue document as TOML."""
    lines: list[str] = []
    for station in catalogue.get("station", []):
        lines += ["[[station]]", *_pairs(station, but=("inlet", "instrument"))]
        if station.get("inlet"):
            lines += _rows("inlet", station["inlet"])
        for instrument in station.get("instrument", []):
            lines += ["", "[[station.instrument]]", *_pairs(instrument, but=("port", "channel"))]
            for key in ("port", "channel"):
                if instrument.get(key):
                    lines += _rows(key, instrument[key])
        lines.append("")
    for cylinder in catalogue.get("cylinder", []):
        lines += ["[[cylinder]]", *_pairs(cylinder), ""]
    return "\n".join(lines)


def _pairs(table: Mapping[str, Any], *, but: Sequence[str] = ()) -> list[str]:
    return [f"{key} = {_value(value)}" for key, value in table.items() if key not in but]


def _rows(key: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"{key} = [", *(f"    {{ {', '.join(_pairs(row))} }}," for row in rows), "]"]


def _value(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str):
        # JSON's texts are TOML's, but for a DEL, which TOML wants spelt out.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(float(value))
