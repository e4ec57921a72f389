"""What is wrong with a catalogue document beyond its form: rows one by one, then rows beside each other."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from ingest.catalogue.kinds import Channel, Cylinder, Document, Instrument, Port, Station
from ingest.errors import CatalogueError
from qc.provinces import Province, ProvinceError, province
from qc.units import QUANTITIES, SPECIES

_Row = TypeVar("_Row", Port, Cylinder)
_REGION: Final = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,3})?")
_DIVISION: Final = re.compile(r"[0-9]{6}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CHINA: Final = "CN"
_ALWAYS: Final = datetime.min.replace(tzinfo=UTC)


def settled(document: Document, inlets: Mapping[str, set[str]]) -> Document:
    """Return a document with its regions as both codes.

    Parameters
    ----------
    document
        What is said.
    inlets
        Those the catalogue has already, by station: ports may draw from them.

    Raises
    ------
    CatalogueError
        With all faults of the document at once.
    """
    found = _doubles("station", (s.name for s in document.station))
    found += _doubles("WIGOS identifier", (s.wigos for s in document.station if s.wigos))
    for station in document.station:
        found += [f"station {station.name}: {fault}" for fault in faults(station)]
        found += _beside_each_other(station, inlets.get(station.name, set()))
    for cylinder in document.cylinder:
        found += faults(cylinder)
    found += _overlapping_cylinders(document.cylinder)
    if found:
        raise CatalogueError("the catalogue is wrong:\n" + "\n".join(f"- {fault}" for fault in found))
    return Document([_with_both_codes(s) for s in document.station], document.cylinder)


def faults(row: msgspec.Struct) -> list[str]:
    """Return what is wrong with one row, without those below it."""
    texts = (getattr(row, name) for name in row.__struct_fields__)
    found = [
        f"{text!r} holds a NUL or another control character"
        for text in texts
        if isinstance(text, str) and _CONTROL.search(text)
    ]
    if isinstance(row, Station):
        found += _region_faults(row)
    elif isinstance(row, Channel):
        found += _channel_faults(row)
    elif isinstance(row, Cylinder):
        if row.species not in SPECIES:
            found.append(f"cylinder {row.name!r} is for {row.species!r}, expected one of {', '.join(SPECIES)}")
        found += _order_faults(f"cylinder {row.name!r} ({row.species})", row)
    elif isinstance(row, Port):
        found += _order_faults(f"port {row.port!r}", row)
    return found


def _order_faults(what: str, row: Port | Cylinder) -> list[str]:
    if row.from_ is None or row.to is None or row.from_ < row.to:
        return []
    return [f"{what} holds from {row.from_} to {row.to}: expected a `to` later than `from`"]


def _channel_faults(channel: Channel) -> list[str]:
    quantity = QUANTITIES.get(channel.quantity)
    if quantity is None:
        near = difflib.get_close_matches(channel.quantity, QUANTITIES, n=1)
        return [f"channel {channel.quantity!r} is no quantity" + (f"; did you mean {near[0]!r}?" if near else "")]
    if channel.unit in ("", quantity.unit):
        return []
    said = f"channel {channel.quantity!r} is in {channel.unit!r}"
    return [f"{said}; values are kept in {quantity.unit!r}, which drivers convert to: leave the unit out"]


# --- rows beside each other ------------------------------------------------------------------


def _beside_each_other(station: Station, known_inlets: set[str]) -> list[str]:
    name = station.name
    found = _doubles(f"inlet of {name}", (inlet.name for inlet in station.inlet))
    found += _doubles(f"instrument of {name}", (i.name for i in station.instrument))
    for inlet in station.inlet:
        found += [f"inlet of {name}: {fault}" for fault in faults(inlet)]
    for instrument in station.instrument:
        where = f"{name}/{instrument.name}"
        inlets = {inlet.name for inlet in station.inlet} | known_inlets
        for row in (instrument, *instrument.port, *instrument.channel):
            found += [f"{where}: {fault}" for fault in faults(row)]
        found += _doubles(f"channel of {where}", (c.quantity for c in instrument.channel))
        found += _port_faults(where, instrument, inlets)
    return found


def _port_faults(where: str, instrument: Instrument, inlets: set[str]) -> Iterator[str]:
    for port in instrument.port:
        if port.inlet not in inlets:
            yield (
                f"port {port.port!r} of {where} draws from inlet {port.inlet!r}, which the document does not list"
                f" and the catalogue does not have{_near(port.inlet, inlets)}"
            )
    for key, rows in _grouped(instrument.port, lambda p: p.port).items():
        yield from _overlaps(f"port {key!r} of {where}", rows, lambda p: f"inlet {p.inlet!r}")


def _overlapping_cylinders(cylinders: Sequence[Cylinder]) -> Iterator[str]:
    for (name, species), rows in _grouped(cylinders, lambda c: (c.name, c.species)).items():
        yield from _overlaps(f"cylinder {name!r} ({species})", rows, lambda c: f"the value of {c.value:g}")


def _grouped(rows: Iterable[_Row], key: Callable[[_Row], Any]) -> dict[Any, list[_Row]]:
    groups: dict[Any, list[_Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def _overlaps(what: str, rows: Sequence[_Row], described: Callable[[_Row], str]) -> Iterator[str]:
    """Yield a sentence for each row that begins before another has ended; a row without `to` ends with the next."""
    for one, other in pairwise(sorted(rows, key=lambda row: row.from_ or _ALWAYS)):
        if one.from_ == other.from_:
            yield (
                f"{what} has two rows from the same time on, {described(one)} and {described(other)}: "
                "give one another `from`"
            )
        elif one.to is not None and other.from_ is not None and one.to > other.from_:
            yield (
                f"{what}: {described(one)} holds until {one.to}, another from {other.from_} on ({described(other)}): "
                "end the first there"
            )


def _doubles(what: str, names: Iterable[Any]) -> list[str]:
    return [f"{what} {name!r} is listed {count} times" for name, count in Counter(names).items() if count > 1]


def _near(name: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


# --- regions ---------------------------------------------------------------------------------


def _with_both_codes(station: Station) -> Station:
    if station.region is UNSET and station.gbt_2260 is UNSET:
        return station
    region, division = region_of(_given(station.region), _given(station.gbt_2260))
    return msgspec.structs.replace(station, region=region, gbt_2260=division)


def _given(text: str | UnsetType | None) -> str | None:
    return text if isinstance(text, str) and text else None


def _region_faults(station: Station) -> list[str]:
    try:
        region_of(_given(station.region), _given(station.gbt_2260))
    except CatalogueError as error:
        return [str(error)]
    return []


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
    if division is not None and not _DIVISION.fullmatch(division):
        raise CatalogueError(f"GB/T 2260 code {division!r} is not known: expected six digits, as 330000 or 330112")
    if region is not None and _DIVISION.fullmatch(region):
        if division not in (None, region):
            raise CatalogueError(f"region {region!r} and GB/T 2260 code {division!r} are two: give one of them")
        region, division = None, region
    of_division = None if division is None else _province(f"{division[:2]}0000", said=division)
    if region is None:
        return (None if of_division is None else of_division.iso), division
    if region == _CHINA or (_REGION.fullmatch(region) and not region.startswith(f"{_CHINA}-")):
        if of_division is not None and region != _CHINA:
            raise _two(region, division, of_division.iso)
        return (region if of_division is None else of_division.iso), division
    unit = _province(region, said=region)
    if of_division is not None and of_division != unit:
        raise _two(region, division, of_division.iso)
    return unit.iso, division or unit.gbt2260


def _province(key: str, *, said: str) -> Province:
    try:
        return province(key)
    except ProvinceError as error:
        raise CatalogueError(f"region {said!r} is not known: {error}") from None


def _two(region: str, division: str | None, iso: str) -> CatalogueError:
    return CatalogueError(f"region {region!r} and GB/T 2260 code {division!r} are two: the code is of {iso}")
