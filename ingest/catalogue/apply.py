"""A document brought into the catalogue: what is new is added, what differs is changed, and every change is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from psycopg import sql

from ingest.catalogue import export, history
from ingest.catalogue.document import Cylinder, Port, Source, Station, read
from ingest.database import Connection, connect
from ingest.errors import CatalogueError
from ingest.migrate import require_current
from ingest.read import instant
from qc.units import QUANTITIES

_PLACE: Final = ("title", "latitude", "longitude", "altitude", "region", "gbt_2260", "wigos", "time_zone")
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
    """Raise where a WIGOS identifier is another station's."""
    owners = {s["wigos"]: s["name"] for s in known["station"] if "wigos" in s}
    owners = {wigos: name for wigos, name in owners.items() if name not in {s.name for s in wanted}}
    for station in wanted:
        if station.wigos in owners:
            other = owners[station.wigos]
            raise CatalogueError(f"station {station.name!r} has the WIGOS identifier {station.wigos!r} of {other!r}")


def _apply_station(writing: _Writing, station: Station) -> None:
    writing.station = station.name
    place = {name: getattr(station, name) for name in _PLACE}
    number = _upsert(writing, "station", {"name": station.name}, place, label=f"station {station.name}")
    inlets = dict(writing.conn.execute("SELECT name, id FROM inlet WHERE station_id = %s", [number]).fetchall())
    for inlet in station.inlet:
        key = {"station_id": number, "name": inlet.name}
        label = f"inlet {station.name}/{inlet.name}"
        inlets[inlet.name] = _upsert(writing, "inlet", key, {"height": inlet.height}, label=label)
    for instrument in station.instrument:
        label = f"{station.name}/{instrument.name}"
        said = {"model": instrument.model, "serial": instrument.serial, "driver": instrument.driver}
        key = {"station_id": number, "name": instrument.name}
        device = _upsert(writing, "instrument", key, said, label=f"instrument {label}")
        for port in sorted(instrument.port, key=lambda p: (p.from_ is not None, _start(p))):
            inlet_of = port.inlet, inlets[port.inlet]
            _apply_port(writing, device, port, inlet_of, label=f"port {label}/{port.port or 'none'}")
        for channel in instrument.channel:
            unit = QUANTITIES[channel.quantity].unit
            if writing.conn.execute(_CHANNEL, [device, channel.quantity, unit]).fetchone() is not None:
                writing.note(f"channel {label}/{channel.quantity}", None, {"unit": unit})


def _apply_port(writing: _Writing, device: int, port: Port, inlet: tuple[str, int], *, label: str) -> None:
    key = {"instrument_id": device, "port": port.port}
    start, end = _place_in_time(writing, "instrument_port", key, port, label=label)
    values = {"inlet_id": inlet[1], "valid_to": end}
    _upsert(writing, "instrument_port", {**key, "valid_from": start}, values, label=label, said={"inlet_id": inlet[0]})


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
    return "-infinity" if dated.from_ is None else instant(dated.from_.isoformat()).isoformat()


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
    if dated.to is not None:
        return start, instant(dated.to.isoformat())
    row = writing.conn.execute(
        sql.SQL("SELECT min(valid_from) FROM {} WHERE {} AND valid_from > %s").format(
            sql.Identifier(table), _same(key)
        ),
        [*key.values(), start],
    ).fetchone()
    return start, "infinity" if row is None or row[0] is None else row[0]


def _upsert(
    writing: _Writing,
    table: str,
    key: Mapping[str, Any],
    values: Mapping[str, Any],
    *,
    label: str,
    said: Mapping[str, Any] | None = None,
) -> int:
    """Add a row or bring it to these values; return its id. `said` are the words for values that are numbers."""
    row = writing.conn.execute(
        sql.SQL("SELECT id, {}, {} FROM {} WHERE {}").format(
            _compared(values),
            sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in values),
            sql.Identifier(table),
            _same(key),
        ),
        [*values.values(), *key.values()],
    ).fetchone()
    after = {name: _plain((said or {}).get(name, value)) for name, value in values.items()}
    if row is None:
        made = writing.conn.execute(
            sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING id").format(
                sql.Identifier(table),
                sql.SQL(", ").join(map(sql.Identifier, [*key, *values])),
                sql.SQL(", ").join([sql.Placeholder()] * (len(key) + len(values))),
            ),
            [*key.values(), *values.values()],
        ).fetchone()
        assert made is not None
        writing.note(label, None, after)
        return int(made[0])
    if row[1]:
        assignments = [sql.SQL("{} = %s").format(sql.Identifier(name)) for name in values]
        changed = writing.conn.execute(
            sql.SQL("UPDATE {} SET {} WHERE id = %s RETURNING {}").format(
                sql.Identifier(table),
                sql.SQL(", ").join(assignments),
                sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in values),
            ),
            [*values.values(), row[0]],
        ).fetchone()
        assert changed is not None
        before = dict(zip(values, row[2:], strict=True))
        writing.note(label, before, dict(zip(values, changed, strict=True)))
    return int(row[0])


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _same(key: Mapping[str, Any]) -> sql.Composed:
    return sql.SQL(" AND ").join(sql.SQL("{} IS NOT DISTINCT FROM %s").format(sql.Identifier(name)) for name in key)


def _compared(values: Mapping[str, Any]) -> sql.Composed:
    """Return whether any value differs."""
    return sql.SQL(" OR ").join(sql.SQL("{} IS DISTINCT FROM %s").format(sql.Identifier(name)) for name in values)
