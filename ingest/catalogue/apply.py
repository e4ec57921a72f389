"""A document brought into the catalogue: what is new is added, what differs is changed, and every change is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from msgspec import UNSET
from psycopg import sql

from ingest.catalogue import export, history
from ingest.catalogue.document import Source, read
from ingest.catalogue.kinds import Cylinder, Instrument, Port, Station
from ingest.database import Connection, connect
from ingest.errors import CatalogueError
from ingest.migrate import require_current
from qc.units import QUANTITIES

_PLACE: Final = ("title", "latitude", "longitude", "altitude", "region", "gbt_2260", "wigos", "time_zone")
_DEVICE: Final = ("model", "serial", "driver")
_MAY_BE_NULL: Final = ("region", "gbt_2260", "wigos", "time_zone")
_WORDS: Final = {"inlet_id": "inlet", "valid_to": "to"}
"""What columns are called where people read of them."""
_CHANNEL: Final = """
INSERT INTO channel (instrument_id, quantity, unit) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING RETURNING id"""


@dataclass(slots=True)
class Applied:
    """What a document changed: labels as ``station lin-an``, and a line of what differs for each.

    Parameters
    ----------
    added, changed
        Labels.
    lines
        As ``changed station lin-an: altitude 139.0 -> 140.0``.
    """

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Writing:
    """One application under way."""

    conn: Connection
    who: str
    done: Applied = field(default_factory=Applied)
    station: str | None = None

    def note(self, label: str, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> None:
        """Say what was changed, and keep it."""
        (self.done.added if before is None else self.done.changed).append(label)
        self.done.lines.append(history.described(label, before, after))
        history.keep(self.conn, self.who, self.station, label, before, after)


def apply(dsn: str, *documents: Source, dry_run: bool = False, who: str = "") -> Applied:
    """Bring the catalogue to what documents say, all of it or nothing.

    Parameters
    ----------
    dsn
        The database.
    documents
        Mappings, TOML files or CSV tables; together they are one document.
    dry_run
        Only say what would change.
    who
        Who makes the change, for the history.

    Raises
    ------
    CatalogueError
        A document is wrong; the catalogue stays as it is.
    """
    with connect(dsn) as conn:
        require_current(conn)
        with conn.transaction(force_rollback=dry_run):
            conn.execute("LOCK TABLE station IN SHARE ROW EXCLUSIVE MODE")
            known = export.document(conn)
            wanted = read(documents, known)
            _require_free(wanted.station, known)
            writing = _Writing(conn, who)
            for station in wanted.station:
                _apply_station(writing, station)
            writing.station = None
            for cylinder in wanted.cylinder:
                _apply_cylinder(writing, cylinder)
    return writing.done


def _require_free(wanted: Sequence[Station], known: Mapping[str, Any]) -> None:
    """Raise where a WIGOS identifier is another station's, and stays with it."""
    said = {s.name: s.wigos for s in wanted if s.wigos is not UNSET}
    owners = {s["wigos"]: s["name"] for s in known["station"] if "wigos" in s and s["name"] not in said}
    for name, wigos in said.items():
        if wigos in owners:
            raise CatalogueError(
                f"station {name!r} has the WIGOS identifier {wigos!r} of {owners[wigos]!r}: "
                f'each station has its own; give {owners[wigos]!r} another, or none (wigos = "")'
            )


def _apply_station(writing: _Writing, station: Station) -> None:
    writing.station = station.name
    place = _said(station, _PLACE)
    number = _upsert(writing, "station", {"name": station.name}, place, label=f"station {station.name}")
    inlets = dict(writing.conn.execute("SELECT name, id FROM inlet WHERE station_id = %s", [number]).fetchall())
    for inlet in station.inlet:
        key = {"station_id": number, "name": inlet.name}
        label = f"inlet {station.name}/{inlet.name}"
        inlets[inlet.name] = _upsert(writing, "inlet", key, {"height": inlet.height}, label=label)
    for instrument in station.instrument:
        label = f"{station.name}/{instrument.name}"
        key = {"station_id": number, "name": instrument.name}
        device = _upsert(writing, "instrument", key, _said(instrument, _DEVICE), label=f"instrument {label}")
        for port in sorted(instrument.port, key=lambda p: (p.from_ is not None, _start(p))):
            _apply_port(writing, device, port, inlets, label=f"port {label}/{port.port or 'none'}")
        for channel in instrument.channel:
            unit = QUANTITIES[channel.quantity].unit
            if writing.conn.execute(_CHANNEL, [device, channel.quantity, unit]).fetchone() is not None:
                writing.note(f"channel {label}/{channel.quantity}", None, {"unit": unit})


def _said(row: Station | Instrument, names: Sequence[str]) -> dict[str, Any]:
    """Return what a row says of these columns; an empty text is NULL where that is what nothing is."""
    values = {name: getattr(row, name) for name in names if getattr(row, name) is not UNSET}
    return {name: None if value == "" and name in _MAY_BE_NULL else value for name, value in values.items()}


def _apply_port(writing: _Writing, device: int, port: Port, inlets: Mapping[str, int], *, label: str) -> None:
    key = {"instrument_id": device, "port": port.port}
    start, end = _place_in_time(writing, "instrument_port", key, port, label=label)
    values = {"inlet_id": inlets[port.inlet], "valid_to": end}
    names = {number: name for name, number in inlets.items()}
    _upsert(writing, "instrument_port", {**key, "valid_from": start}, values, label=label, names=names)


def _apply_cylinder(writing: _Writing, cylinder: Cylinder) -> None:
    key = {"name": cylinder.name, "species": cylinder.species}
    label = f"cylinder {cylinder.name} ({cylinder.species})"
    start, end = _place_in_time(writing, "cylinder", key, cylinder, label=label)
    values = {
        "value": cylinder.value,
        "unit": QUANTITIES[cylinder.species].unit,
        "uncertainty": cylinder.uncertainty,
        "scale": cylinder.scale,
        "valid_to": end,
    }
    _upsert(writing, "cylinder", {**key, "valid_from": start}, values, label=label)


def _start(dated: Port | Cylinder) -> str:
    return "-infinity" if dated.from_ is None else dated.from_.isoformat()


def _place_in_time(
    writing: _Writing, table: str, key: Mapping[str, Any], dated: Port | Cylinder, *, label: str
) -> tuple[str, datetime | str]:
    """Let what held until then end where this begins; return from when until when this holds."""
    start = _start(dated)
    ended = writing.conn.execute(
        sql.SQL(
            "SELECT id, valid_from::text, valid_to::text FROM {} WHERE {} AND valid_from < %s AND valid_to > %s"
        ).format(sql.Identifier(table), _same(key)),
        [*key.values(), start, start],
    ).fetchall()
    for number, since, until in ended:
        writing.conn.execute(
            sql.SQL("UPDATE {} SET valid_to = %s WHERE id = %s").format(sql.Identifier(table)), [start, number]
        )
        writing.note(f"{label} from {since}", {"to": until}, {"to": start})
    row = writing.conn.execute(
        sql.SQL("SELECT min(valid_from) FROM {} WHERE {} AND valid_from > %s").format(
            sql.Identifier(table), _same(key)
        ),
        [*key.values(), start],
    ).fetchone()
    following: datetime | None = None if row is None else row[0]
    if dated.to is not None and following is not None and dated.to > following:
        raise CatalogueError(
            f"{label} is to hold until {dated.to}, but the catalogue has another from {following} on: "
            f"end this one there, or leave `to` out and it ends by itself"
        )
    return start, dated.to or following or "infinity"


def _upsert(
    writing: _Writing,
    table: str,
    key: Mapping[str, Any],
    values: Mapping[str, Any],
    *,
    label: str,
    names: Mapping[int, str] | None = None,
) -> int:
    """Add a row or bring it to these values; return its id. `names` are those of the inlets it may point at."""
    row = writing.conn.execute(
        sql.SQL("SELECT id, {}{} FROM {} WHERE {}").format(
            _compared(values), _and(values), sql.Identifier(table), _same(key)
        ),
        [*values.values(), *key.values()],
    ).fetchone()
    if row is None:
        made = writing.conn.execute(
            sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING id{}").format(
                sql.Identifier(table),
                sql.SQL(", ").join(map(sql.Identifier, [*key, *values])),
                sql.SQL(", ").join([sql.Placeholder()] * (len(key) + len(values))),
                _and(values),
            ),
            [*key.values(), *values.values()],
        ).fetchone()
        assert made is not None
        writing.note(label, None, _worded(values, made[1:], names))
        return int(made[0])
    if row[1]:
        assignments = [sql.SQL("{} = %s").format(sql.Identifier(name)) for name in values]
        changed = writing.conn.execute(
            sql.SQL("UPDATE {} SET {} WHERE id = %s RETURNING id{}").format(
                sql.Identifier(table), sql.SQL(", ").join(assignments), _and(values)
            ),
            [*values.values(), row[0]],
        ).fetchone()
        assert changed is not None
        writing.note(label, _worded(values, row[2:], names), _worded(values, changed[1:], names))
    return int(row[0])


def _and(columns: Iterable[str]) -> sql.Composed:
    """Return columns as further ones of a list; times as text, for they may be infinite."""
    form = {"valid_to": sql.SQL(", {}::text")}
    return sql.Composed([form.get(name, sql.SQL(", {}")).format(sql.Identifier(name)) for name in columns])


def _worded(columns: Iterable[str], row: Sequence[Any], names: Mapping[int, str] | None) -> dict[str, Any]:
    """Return what a row says, in words for people."""
    found = dict(zip(columns, row, strict=True))
    if names is not None:
        found["inlet_id"] = names[found["inlet_id"]]
    return {_WORDS.get(name, name): value for name, value in found.items()}


def _same(key: Mapping[str, Any]) -> sql.Composed:
    return sql.SQL(" AND ").join(sql.SQL("{} IS NOT DISTINCT FROM %s").format(sql.Identifier(name)) for name in key)


def _compared(values: Mapping[str, Any]) -> sql.Composed:
    """Return whether any value differs."""
    if not values:
        return sql.Composed([sql.SQL("false")])
    return sql.SQL(" OR ").join(sql.SQL("{} IS DISTINCT FROM %s").format(sql.Identifier(name)) for name in values)
