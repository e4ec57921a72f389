"""A catalogue document, read and checked: TOML as it stands, or the same from tables."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from os import PathLike
from pathlib import Path
from typing import Any, Final

import msgspec

from ingest.catalogue import checks, tables
from ingest.catalogue.kinds import Channel, Cylinder, Document, Inlet, Instrument, Port, Station
from ingest.errors import CatalogueError
from ingest.read import instant
from ingest.structs import explained

Source = Mapping[str, Any] | str | PathLike[str]
"""A document, or the file it is in."""

_KINDS: Final = (Document, Station, Inlet, Instrument, Port, Channel, Cylinder)


def read(sources: Sequence[Source], known: Mapping[str, Any]) -> Document:
    """Return what documents and files say together, checked.

    Parameters
    ----------
    sources
        Mappings, TOML files, and CSV tables (`ingest.catalogue.tables`).
    known
        The catalogue as it is (`ingest.catalogue.export`): tables may speak of its stations, ports of its inlets.

    Raises
    ------
    CatalogueError
        With all faults of a document at once.
    """
    merged: dict[str, list[Any]] = {"station": [], "cylinder": []}
    csv = []
    for source in sources:
        if not isinstance(source, Mapping) and Path(source).suffix.lower() == ".csv":
            csv.append(Path(source))
            continue
        found = _converted(source)
        merged["station"] += found.station
        merged["cylinder"] += found.cylinder
    document = Document(merged["station"], merged["cylinder"])
    if csv:
        said = msgspec.to_builtins(document)
        document = msgspec.convert(_dated(tables.merge(csv, said, known, check=_require_row)), Document)
    return checks.settled(document, {s["name"]: {i["name"] for i in s.get("inlet", [])} for s in known["station"]})


_ROWS: Final = {
    "station": Station,
    "inlet": Inlet,
    "instrument": Instrument,
    "port": Port,
    "channel": Channel,
    "cylinder": Cylinder,
}


def _require_row(kind: str, table: Mapping[str, Any]) -> str | None:
    """Return what is wrong with one table of a kind, None where nothing is."""
    try:
        row = msgspec.convert(table, _ROWS[kind])
    except msgspec.ValidationError as error:
        return str(error)
    return "; ".join(checks.faults(row)) or None


def _converted(source: Source) -> Document:
    where = "the catalogue"
    if not isinstance(source, Mapping):
        where = f"catalogue {Path(source)}"
        try:
            source = tomllib.loads(Path(source).read_text(encoding="utf-8-sig"))
        except (OSError, ValueError) as error:
            raise CatalogueError(f"{where} cannot be read: {error}") from error
    try:
        return msgspec.convert(_dated(source), Document)
    except msgspec.ValidationError as error:
        raise CatalogueError(f"{where}: {explained(error, _KINDS)}") from error


def _dated(value: Any) -> Any:
    """Return a document with its dates as the times they begin."""
    if isinstance(value, Mapping):
        return {key: _dated(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_dated(item) for item in value]
    return instant(value.isoformat()) if isinstance(value, date) and not isinstance(value, datetime) else value
