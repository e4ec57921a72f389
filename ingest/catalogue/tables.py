"""The catalogue from CSV tables, as they come out of a spreadsheet.

What a table is, its header says: its columns have the names of the document's keys.

====================================================================  ===========================
columns                                                               a row is
====================================================================  ===========================
station, latitude, longitude, altitude [title, region, gbt_2260,      a station
wigos, time_zone]
station, inlet, height                                                an inlet
station, instrument [model, serial, driver]                           an instrument
station, instrument, inlet [port, from, to]                           a port
station, instrument, quantity [unit]                                  a channel
cylinder, species, value, scale [uncertainty, from, to]               an assigned value
====================================================================  ===========================

UTF-8 or GB18030, separated by commas or semicolons. A table may speak of what is in another, or in the catalogue
already. An empty cell says nothing: what the catalogue has stays.
"""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from ingest.errors import CatalogueError

_NUMBERS: Final = ("latitude", "longitude", "altitude", "height", "value", "uncertainty")
_TIMES: Final = ("from", "to")
_SPREADSHEET: Final = re.compile(r"^(\d{4})[/-](\d{1,2})[/-](\d{1,2})(?=$|\s|T)")
"""A date as spreadsheets write it: 2026/3/1."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of table: its name, the columns it must have, those it may have."""

    name: str
    needs: tuple[str, ...]
    may: tuple[str, ...] = ()


_KINDS: Final = (
    _Kind(
        "station",
        ("station", "latitude", "longitude", "altitude"),
        ("title", "region", "gbt_2260", "wigos", "time_zone"),
    ),
    _Kind("inlet", ("station", "inlet", "height")),
    _Kind("port", ("station", "instrument", "inlet"), ("port", "from", "to")),
    _Kind("channel", ("station", "instrument", "quantity"), ("unit",)),
    _Kind("instrument", ("station", "instrument"), ("model", "serial", "driver")),
    _Kind("cylinder", ("cylinder", "species", "value", "scale"), ("uncertainty", "from", "to")),
)
_ORDER: Final = ("station", "inlet", "instrument", "port", "channel", "cylinder")


@dataclass(frozen=True, slots=True)
class _Row:
    path: Path
    line: int
    cells: dict[str, Any]

    def fault(self, what: str) -> CatalogueError:
        return CatalogueError(f"{self.path}, line {self.line}: {what}")


def merge(
    paths: Sequence[Path],
    said: Mapping[str, Any],
    known: Mapping[str, Any],
    *,
    check: Callable[[str, Mapping[str, Any]], str | None],
) -> dict[str, Any]:
    """Return a document with the rows of tables added to what is said already.

    Parameters
    ----------
    paths
        The tables.
    said
        A document, as plain dicts and lists.
    known
        The catalogue as it is, for rows about what neither says.
    check
        Called with the kind of a row and what it says; returns what is wrong with it.

    Raises
    ------
    CatalogueError
        A table or a row is none; with file and line.
    """
    document: dict[str, Any] = {
        "station": [dict(s) for s in said.get("station", [])],
        "cylinder": list(said.get("cylinder", [])),
    }
    rows: dict[str, list[_Row]] = {name: [] for name in _ORDER}
    for path in paths:
        kind, found = _read(path)
        rows[kind.name] += found
    places = _Places(document, known, check)
    for name in _ORDER:
        for row in rows[name]:
            places.add(name, row)
    return document


class _Places:
    """Finds the station and the instrument a row is about, in the document or in the catalogue."""

    def __init__(
        self,
        document: dict[str, Any],
        known: Mapping[str, Any],
        check: Callable[[str, Mapping[str, Any]], str | None],
    ) -> None:
        self._document = document
        self._check = check
        self._known = {s["name"]: s for s in known.get("station", [])}

    def add(self, kind: str, row: _Row) -> None:
        """Add a row to the document."""
        cells = dict(row.cells)
        name, instrument = cells.pop("station", ""), ""
        if kind in ("port", "channel"):
            instrument = cells.pop("instrument")
        elif kind != "station":
            cells = {"name": cells.pop(kind), **cells}
        else:
            cells = {"name": name, **cells}
        wrong = self._check(kind, cells)
        if wrong is not None:
            raise row.fault(wrong)
        if kind in ("station", "cylinder"):
            self._append(row, self._document, kind, cells, label=f"station {name!r}")
            return
        place = self._station(row, name)
        if kind == "port":
            self._require_inlet(row, place, cells["inlet"])
        place = self._instrument(row, place, instrument) if instrument else place
        label = f"{kind} {cells.get('name', cells.get('quantity'))!r} of {'/'.join(filter(None, (name, instrument)))}"
        self._append(row, place, kind, cells, label=label)

    def _append(self, row: _Row, place: dict[str, Any], kind: str, cells: dict[str, Any], *, label: str) -> None:
        """Add a row where it belongs; what has no dates stands there once."""
        unique = {"channel": "quantity", "port": None, "cylinder": None}.get(kind, "name")
        rows = place.setdefault(kind, [])
        if unique is not None and any(other[unique] == cells[unique] for other in rows):
            raise row.fault(f"{label} is listed before")
        rows.append(cells)

    def _require_inlet(self, row: _Row, station: dict[str, Any], name: str) -> None:
        known = [i["name"] for s in (station, self._known.get(station["name"], {})) for i in s.get("inlet", [])]
        if name not in known:
            have = f"it has {', '.join(dict.fromkeys(known)) or 'none'}"
            raise row.fault(
                f"station {station['name']} has no inlet {name!r} in these files or in the catalogue, {have}"
            )

    def _station(self, row: _Row, name: str) -> dict[str, Any]:
        for station in self._document["station"]:
            if station["name"] == name:
                return station  # type: ignore[no-any-return]
        if name not in self._known:
            raise row.fault(
                f"station {name!r} is neither in these files nor in the catalogue{_near(name, self._known)}"
            )
        head = {key: self._known[name][key] for key in ("name", "latitude", "longitude", "altitude")}
        self._document["station"].append(head)
        return self._document["station"][-1]  # type: ignore[no-any-return]

    def _instrument(self, row: _Row, station: dict[str, Any], name: str) -> dict[str, Any]:
        for instrument in station.get("instrument", []):
            if instrument["name"] == name:
                return instrument  # type: ignore[no-any-return]
        known = {i["name"]: i for i in self._known.get(station["name"], {}).get("instrument", [])}
        if name not in known:
            what = f"instrument {name!r} of {station['name']!r}"
            raise row.fault(f"{what} is neither in these files nor in the catalogue{_near(name, known)}")
        head: dict[str, Any] = {"name": name}
        station.setdefault("instrument", []).append(head)
        return head


def _near(name: str, known: Mapping[str, Any]) -> str:
    found = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


# --- reading ---------------------------------------------------------------------------------


def _read(path: Path) -> tuple[_Kind, list[_Row]]:
    text = _decoded(path)
    first = text.split("\n", 1)[0]
    separator = ";" if first.count(";") > first.count(",") else ","
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        header = [cell.strip().lower() for cell in next(lines, [])]
        while header and not header[-1]:  # spreadsheets leave empty columns behind
            header.pop()
        kind = _kind(path, header)
        return kind, list(_rows(path, kind, header, lines))
    except csv.Error as error:
        raise CatalogueError(f"{path}, line {lines.line_num}: {error}") from error


def _decoded(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CatalogueError(f"{path} cannot be read: {error.strerror or error}") from error
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise CatalogueError(f"{path} is neither UTF-8 nor GB18030; save it as CSV (UTF-8)")


def _kind(path: Path, header: Sequence[str]) -> _Kind:
    if len(set(header)) < len(header):
        raise CatalogueError(f"{path}, line 1: a column stands there twice")
    fitting = [kind for kind in _KINDS if set(kind.needs) <= set(header) <= {*kind.needs, *kind.may}]
    if fitting:
        return max(fitting, key=lambda kind: len(kind.needs))
    forms = " or ".join(", ".join(kind.needs) for kind in _KINDS)
    raise CatalogueError(f"{path}, line 1: columns {', '.join(header) or 'none'}; expected {forms}")


def _rows(path: Path, kind: _Kind, header: Sequence[str], lines: Any) -> Iterator[_Row]:
    for cells in lines:
        if not any(cell.strip() for cell in cells):
            continue
        row = _Row(path, lines.line_num, {})
        while len(cells) > len(header) and not cells[-1].strip():
            cells.pop()
        if len(cells) != len(header):
            raise row.fault(f"{len(cells)} cells, expected {len(header)}")
        for name, cell in zip(header, cells, strict=True):
            text = cell.strip()
            if text:
                row.cells[name] = _value(row, name, text)
            elif name in kind.needs:
                raise row.fault(f"{name} is empty")
        yield row


def _iso(date: re.Match[str]) -> str:
    return f"{date[1]}-{date[2]:0>2}-{date[3]:0>2}"


def _value(row: _Row, name: str, text: str) -> Any:
    if name in _NUMBERS:
        try:
            return float(text)
        except ValueError:
            raise row.fault(f"{name} is {text!r}, expected a number") from None
    if name in _TIMES:
        try:
            moment = datetime.fromisoformat(_SPREADSHEET.sub(_iso, text))
        except ValueError:
            raise row.fault(f"{name} is {text!r}, expected a time as 2026-03-01 or 2026-03-01T12:00:00Z") from None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return text
