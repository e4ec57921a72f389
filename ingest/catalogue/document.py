"""What a catalogue document may say, checked: TOML as it stands, or the same from tables."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

from ingest.catalogue import tables
from ingest.errors import CatalogueError
from ingest.read import instant
from ingest.structs import explained
from qc.provinces import PROVINCES, ProvinceError, province
from qc.units import QUANTITIES, SPECIES

Name = Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9_-]{0,62}$")]
InletName = Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9_.-]{0,62}$")]
Text = Annotated[str, msgspec.Meta(max_length=200)]
Wigos = Annotated[str, msgspec.Meta(pattern="^0-[0-9]{1,5}-[0-9]{1,5}-[0-9A-Za-z]{1,16}$")]
When = datetime | None
Source = Mapping[str, Any] | str | PathLike[str]
"""A document, or the file it is in."""
_REGION: Final = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,3})?")
_DIVISION: Final = re.compile(r"\d{6}")
CHINA: Final = "CN"


class Port(msgspec.Struct, forbid_unknown_fields=True):
    """A valve position and the inlet it draws from."""

    inlet: InletName
    port: Text | None = None
    from_: When = msgspec.field(name="from", default=None)
    to: When = None


class Channel(msgspec.Struct, forbid_unknown_fields=True):
    """A quantity an instrument will send."""

    quantity: Text
    unit: Text = ""


class Inlet(msgspec.Struct, forbid_unknown_fields=True):
    """Where air is drawn."""

    name: InletName
    height: float


class Instrument(msgspec.Struct, forbid_unknown_fields=True):
    """What measures."""

    name: Name
    model: Text = ""
    serial: Text = ""
    driver: Text = ""
    port: list[Port] = []
    channel: list[Channel] = []


class Station(msgspec.Struct, forbid_unknown_fields=True):
    """A place; its `region` is an ISO 3166-2 code once it is checked, `gbt_2260` the Chinese one beside it."""

    name: Name
    latitude: Annotated[float, msgspec.Meta(ge=-90, le=90)]
    longitude: Annotated[float, msgspec.Meta(ge=-180, le=180)]
    altitude: Annotated[float, msgspec.Meta(ge=-500, le=9000)]
    title: Text = ""
    region: Text | None = None
    gbt_2260: Text | None = None
    wigos: Wigos | None = None
    time_zone: Text | None = None
    inlet: list[Inlet] = []
    instrument: list[Instrument] = []


class Cylinder(msgspec.Struct, forbid_unknown_fields=True):
    """A standard or target gas: what it is assigned, on which scale, from when until when."""

    name: Text
    species: Text
    value: Annotated[float, msgspec.Meta(gt=0)]
    scale: Text
    uncertainty: Annotated[float, msgspec.Meta(ge=0)] | None = None
    from_: When = msgspec.field(name="from", default=None)
    to: When = None


class Document(msgspec.Struct, forbid_unknown_fields=True):
    """All of it."""

    station: list[Station] = []
    cylinder: list[Cylinder] = []


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
    _check(document, {s["name"]: {i["name"] for i in s.get("inlet", [])} for s in known.get("station", [])})
    return document


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
        msgspec.convert(table, _ROWS[kind])
    except msgspec.ValidationError as error:
        return str(error)
    return None


def _converted(source: Source) -> Document:
    where = "the catalogue"
    if not isinstance(source, Mapping):
        where = f"catalogue {Path(source)}"
        try:
            source = tomllib.loads(Path(source).read_text(encoding="utf-8"))
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


# --- checks ----------------------------------------------------------------------------------


def _check(document: Document, inlets: Mapping[str, set[str]]) -> None:
    faults = list(_doubles("station", (s.name for s in document.station)))
    faults += _doubles("WIGOS identifier", (s.wigos for s in document.station if s.wigos is not None))
    for s in document.station:
        faults += _station_faults(s, inlets.get(s.name, set()))
    for c in document.cylinder:
        if c.species not in SPECIES:
            faults.append(f"cylinder {c.name!r} is for {c.species!r}, expected one of {', '.join(SPECIES)}")
    faults += _overlaps(document.cylinder)
    if b"\\u0000" in msgspec.json.encode(document):
        faults.append("a text holds a NUL character")
    if faults:
        raise CatalogueError("the catalogue is wrong:\n" + "\n".join(f"- {fault}" for fault in faults))


def _station_faults(s: Station, known_inlets: set[str]) -> list[str]:
    inlets = {inlet.name for inlet in s.inlet} | known_inlets
    faults = _doubles(f"inlet of {s.name}", (inlet.name for inlet in s.inlet))
    faults += _doubles(f"instrument of {s.name}", (i.name for i in s.instrument))
    for i in s.instrument:
        faults += _doubles(f"port of {s.name}/{i.name}", (f"{p.port} from {p.from_}" for p in i.port))
        faults += _doubles(f"channel of {s.name}/{i.name}", (c.quantity for c in i.channel))
        faults += [
            f"port {p.port!r} of {s.name}/{i.name} draws from inlet {p.inlet!r}, which the document does not list"
            for p in i.port
            if p.inlet not in inlets
        ]
        for c in i.channel:
            quantity = QUANTITIES.get(c.quantity)
            if quantity is None:
                near = difflib.get_close_matches(c.quantity, QUANTITIES, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                faults.append(f"channel {c.quantity!r} of {s.name}/{i.name} is no quantity{hint}")
            elif c.unit not in ("", quantity.unit):
                faults.append(
                    f"channel {c.quantity!r} of {s.name}/{i.name} is in {c.unit!r}; values are kept in "
                    f"{quantity.unit!r}, which drivers convert to: leave the unit out"
                )
    try:
        s.region, s.gbt_2260 = region_of(s.region, s.gbt_2260)
    except CatalogueError as error:
        faults.append(f"station {s.name}: {error}")
    return faults


def region_of(region: str | None, division: str | None = None) -> tuple[str | None, str | None]:
    """Return a region's ISO 3166-2 code and its GB/T 2260 one (None outside of China).

    Parameters
    ----------
    region
        ISO 3166-2 (``CN-ZJ``, or a country alone), GB/T 2260 (``330000``, or a prefecture's ``330100``), or the name of
        a Chinese province.
    division
        GB/T 2260 where `region` is the other.

    Raises
    ------
    CatalogueError
        It is none of these, or the two do not fit together.
    """
    if region is None and division is None:
        return None, None
    code = division or (region if region is not None and _DIVISION.fullmatch(region) else None)
    unit = None
    try:
        if code is not None:
            unit = province(f"{code[:2]}0000")
        elif (region is not None and region.startswith(CHINA) and region != CHINA) or (
            region is not None and not _REGION.fullmatch(region)
        ):
            unit = province(region)
    except ProvinceError as error:
        raise CatalogueError(f"region {code or region!r} is not known: {error}") from None
    if unit is None:
        return region, None
    if region is not None and not _DIVISION.fullmatch(region) and province(region) != unit:
        raise CatalogueError(f"region {region!r} and GB/T 2260 code {code!r} are two: the code is of {unit.iso}")
    return unit.iso, code or unit.gbt2260


assert all(_REGION.fullmatch(unit.iso) for unit in PROVINCES)


def _doubles(what: str, names: Iterable[str]) -> list[str]:
    return [f"{what} {name!r} is listed {count} times" for name, count in Counter(names).items() if count > 1]


def _overlaps(cylinders: Sequence[Cylinder]) -> list[str]:
    """Return a fault for each value of a cylinder that begins before another has ended."""
    faults = []
    by_key: dict[tuple[str, str], list[Cylinder]] = {}
    for c in cylinders:
        by_key.setdefault((c.name, c.species), []).append(c)
    for (name, species), rows in by_key.items():
        rows.sort(key=lambda c: "" if c.from_ is None else instant(c.from_.isoformat()).isoformat())
        for one, other in pairwise(rows):
            begin = other.from_
            if begin is None or one.from_ == begin:
                faults.append(f"cylinder {name!r} ({species}) has two values from the same time on: give them `from`")
            elif one.to is not None and instant(one.to.isoformat()) > instant(begin.isoformat()):
                faults.append(
                    f"cylinder {name!r} ({species}): the value of {one.value:g} holds until {one.to}, "
                    f"another from {begin} on"
                )
    return faults
