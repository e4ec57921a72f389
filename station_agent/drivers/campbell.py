"""Campbell data loggers: text tables TOA5 (four header lines) and TOACI1 (two).

- **Time** is ``TIMESTAMP`` (TOA5) or ``TMSTAMP`` (TOACI1) on the logger's clock, in ``time_zone`` (UTC unless told).
  It is taken as it stands: a mean is stamped with the end of its interval. Equal stamps are placed 1 ms apart and
  marked.
- **Values**: ``columns`` says which column is what; the unit is that of the table's own line of units, unless the
  column names another (a TOACI1 table has no units, so there it must). ``"NAN"`` is a missing value, and so is
  ``"INF"``: a sensor that is out of its range does not take the others of the row with it.
- Without ``columns``, those are sent whose name is well known, whose unit is one that the quantity can have, and which
  are the only one for their quantity (`WELL_KNOWN`); means and samples only, no minima, maxima or deviations.
- **Port** and **status** come from columns of their own, where there are any.

Example::

    driver = "campbell"
    time_zone = "+08:00"
    columns = [{ name = "AirTC_Avg", quantity = "ambient_temperature" }]
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from station_agent.drivers.columns import Column, column, counted, plain, values, whole
from station_agent.drivers.lines import MAX_LINE
from station_agent.drivers.localtime import LocalClock, zone_option
from station_agent.drivers.parser import Stamps
from station_agent.drivers.quantities import UNITS, conversion
from station_agent.errors import DriverError
from station_agent.keys import Key, nearest, read_table
from station_agent.sample import Rejected, Sample

HEADER_LINES: Final = {"TOA5": 4, "TOACI1": 2}
"""Kind of table -> lines before its rows."""
TIMES: Final = ("TIMESTAMP", "TMSTAMP")
TIME_MARKS: Final = ("TS", "")
"""What a TOA5 table has under the time in its line of units and in the line of what was made of each column."""
INFINITE: Final = ("INF", "-INF", "+INF")
SENT_KINDS: Final = ("", "Avg", "Smp")
"""What the logger may have made of a column that is sent without being named."""
SPREAD_NS: Final = 1_000_000
"""Distance of samples with equal stamps."""
WELL_KNOWN: Final[Mapping[str, tuple[str, ...]]] = {
    **{gas: (gas,) for gas in ("co2", "ch4", "n2o", "co", "h2o", "co2_dry", "ch4_dry", "n2o_dry", "co_dry")},
    "ambient_temperature": ("airtc", "airt", "airtemp", "air_temp", "air_temperature", "t_air", "tair"),
    "ambient_pressure": ("pressure", "press", "baro", "bp", "bp_mbar", "air_pressure", "p_air", "pair"),
    "relative_humidity": ("rh", "rel_humidity", "relative_humidity"),
    "wind_speed": ("ws", "ws_ms", "wind_speed", "windspeed"),
    "wind_direction": ("wd", "winddir", "wind_dir", "wind_direction"),
    "battery_voltage": ("batt", "battv", "batt_volt", "batt_v", "battery", "battery_voltage"),
    "box_temperature": ("ptemp", "ptemp_c", "pan_temp", "panel_temp", "paneltemp"),
}
"""Quantity -> names of columns, in small letters and without what the logger adds (``_Avg``)."""

KEYS: Final[Mapping[str, Key]] = {
    "columns": Key(list, default=(), least=1, most=200),
    "time_zone": Key(str, "UTC", least=1),
    "port_column": Key(str, "", least=1),
    "status_column": Key(str, "", least=1),
}
"""The keys of an instrument with this driver."""
COLUMN_KEYS: Final[Mapping[str, Key]] = {
    "name": Key(str, "", required=True, least=1),
    "quantity": Key(str, "", required=True, least=1),
    "unit": Key(str, "", least=1),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What the configuration says about the table."""

    columns: tuple[tuple[str, str, str], ...]
    """Column, quantity, unit (empty: that of the table)."""
    clock: LocalClock
    port_column: str
    status_column: str


def make_parser(options: Mapping[str, Any], *, where: str, faults: list[str]) -> CampbellParser:
    """Return a parser; what is wrong with the options is appended to `faults`."""
    table = read_table(options, KEYS, where=where, faults=faults)
    columns = _named(table["columns"], where=f"{where}.columns", faults=faults)
    zone = zone_option(table["time_zone"], where=f"{where}.time_zone", faults=faults)
    return CampbellParser(Settings(columns, LocalClock(zone), table["port_column"], table["status_column"]))


def _named(tables: Sequence[Any], *, where: str, faults: list[str]) -> tuple[tuple[str, str, str], ...]:
    columns: list[tuple[str, str, str]] = []
    for number, table in enumerate(tables, 1):
        here, before = f"{where}[{number}]", len(faults)
        entry = read_table(table, COLUMN_KEYS, where=here, faults=faults)
        if len(faults) > before:
            continue
        quantity, unit = entry["quantity"], entry["unit"]
        factors = conversion(quantity, unit or UNITS.get(quantity, ""))
        if isinstance(factors, str):
            faults.append(f"{here}: {factors}")
        elif quantity in [known for _, known, _ in columns]:
            faults.append(f"{here}.quantity: {quantity!r} has a column already")
        else:
            columns.append((entry["name"], quantity, unit))
    return tuple(columns)


def recognise(lines: Sequence[str]) -> bool:
    """Whether the first lines of a file are those of a Campbell table."""
    first = next((line for line in lines if line.strip()), "")
    return _kind(first) is not None


def settle(path: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the options as they are; raises DriverError where nothing in the file's header can be sent with them."""
    faults: list[str] = []
    parser = make_parser(options, where="campbell", faults=faults)
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(islice(iter(lambda: file.readline(MAX_LINE), ""), 20), 1):
            got = parser.feed(line.rstrip("\n"), number=number)
            if parser.complete:
                break
            if isinstance(got, Rejected) and not faults:
                raise DriverError(f"{path}: {got.reason}")
    return options


def _kind(line: str) -> str | None:
    """Return the kind of table that a line begins, None where it begins none."""
    word = line.split(",", 1)[0].strip().strip('"')
    return word if word in HEADER_LINES and "," in line else None


class CampbellParser:
    """Reads the lines of one table; see the module for the rules."""

    encoding = "utf-8"

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._stamps = Stamps(SPREAD_NS)
        self._lines: list[str] = []
        self._forget()

    def _forget(self) -> None:
        self.complete = False
        """Whether the header has come and has something to send."""
        self._count = 0
        self._time = self._port = self._status = -1
        self._columns: list[Column] = []

    @property
    def header(self) -> str | None:
        """The header's lines, as far as they have come."""
        return "\n".join(self._lines) or None

    @property
    def last_ns(self) -> int | None:
        """Time of the last sample, ns since 1970 UTC."""
        return self._stamps.placed

    def feed(self, line: str, *, number: int) -> list[Sample] | Rejected | None:
        """Return the row's sample, why there is none, or None for header and blank lines."""
        try:
            if _kind(line):
                self._begin(line)
                return None
            if self.complete:
                return [self._sample(line)] if line.strip() else None
            if line.strip():
                self._gather(line)
        except (ValueError, OverflowError) as error:
            return Rejected(number, line, str(error))
        return None

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs to read on from here."""
        return {"header": self.header, "raw": self._stamps.raw, "placed": self._stamps.placed}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where the parser that gave this state stopped."""
        for number, line in enumerate((state["header"] or "").split("\n")):
            self.feed(line, number=number)
        self._stamps.raw, self._stamps.placed = state["raw"], state["placed"]

    def _begin(self, line: str) -> None:
        """Take the first line of a header: what follows is a table of its own."""
        self._forget()
        self._lines, self._stamps = [line], Stamps(SPREAD_NS)

    def _gather(self, line: str) -> None:
        """Take a further line of the header."""
        kind = _kind(self._lines[0]) if self._lines else None
        if kind is None:
            raise ValueError("no header (its first line begins with TOA5 or TOACI1) stands before this line")
        fields = _fields(line)
        try:
            if len(self._lines) == 1:
                self._take_names(fields)
            counted(fields, self._count)
            if len(self._lines) > 1 and fields[self._time] != TIME_MARKS[len(self._lines) - 2]:
                _refuse_header_line(fields[self._time])
            self._lines.append(line)
            if len(self._lines) == HEADER_LINES[kind]:
                self._plan()
                self.complete = True
        except ValueError:
            self._lines = []
            raise

    def _take_names(self, names: list[str]) -> None:
        time = next((names.index(name) for name in TIMES if name in names), None)
        if time is None:
            raise ValueError(f"the line of names has no column {' or '.join(TIMES)}: its rows have no time")
        settings = self.settings
        named = (settings.port_column, settings.status_column, *(name for name, _, _ in settings.columns))
        for name in named:
            if name and name not in names:
                close = nearest(name, dict.fromkeys(names))
                hint = f"did you mean {close!r}?" if close else f"there are {_listed(names)}"
                raise ValueError(f"the line of names has no column {name!r}, {hint}")
        self._time, self._count = time, len(names)
        self._port = names.index(settings.port_column) if settings.port_column else -1
        self._status = names.index(settings.status_column) if settings.status_column else -1

    def _plan(self) -> None:
        """Decide which columns are sent; raises ValueError where there are none or one cannot be."""
        rows = [_fields(line) for line in self._lines[1:]]
        names = rows[0]
        units, kinds = (rows[1], rows[2]) if len(rows) == 3 else ([""] * len(names), [""] * len(names))
        if self.settings.columns:
            self._columns = [_column(names, units, *column) for column in self.settings.columns]
        else:
            self._columns = _well_known(names, units, kinds)
        if not self._columns:
            raise ValueError(
                "no column is known by its name and unit, say which is what: columns = "
                f'[{{ name = "CO2", quantity = "co2", unit = "ppm" }}]; there are {_listed(names, units)}'
            )

    def _sample(self, line: str) -> Sample:
        fields = _fields(line)
        counted(fields, self._count)
        if "INF" in line:
            fields = ["" if field in INFINITE else field for field in fields]
        settings = self.settings
        found = values(fields, self._columns, plain=plain(line))
        port = _port(fields[self._port]) if self._port >= 0 else None
        status = whole(settings.status_column, fields[self._status]) if self._status >= 0 else None
        time_ns, mark = self._stamps.place(settings.clock.ms(fields[self._time]) * 1_000_000)
        return Sample(time_ns, found, port, status, mark)


def _fields(line: str) -> list[str]:
    try:
        return [field.strip() for field in next(csv.reader([line], strict=True))]
    except (csv.Error, StopIteration) as error:
        raise ValueError(f"the quotes in the line do not fit: {error}") from None


def _refuse_header_line(found: str) -> None:
    raise ValueError(
        f"the header lacks a line: under {TIMES[0]} stands {found[:60]!r}, expected {TIME_MARKS[0]!r} in the line of "
        f"units and {TIME_MARKS[1]!r} in the line after it"
    )


def _column(names: list[str], units: list[str], name: str, quantity: str, unit: str) -> Column:
    """Return a column that the configuration names."""
    index = names.index(name)
    if not (unit or units[index]):
        raise ValueError(f"column {name} has no unit in the table; say it: unit = {UNITS[quantity]!r}")
    return column(index, name, quantity, unit or units[index])


def _well_known(names: list[str], units: list[str], kinds: list[str]) -> list[Column]:
    """Return the columns that can be nothing else."""
    quantities = {name: quantity for quantity, known in WELL_KNOWN.items() for name in known}
    columns = []
    for at, (name, unit, kind) in enumerate(zip(names, units, kinds, strict=True)):
        quantity = quantities.get(name.removesuffix(f"_{kind}").lower())
        if quantity and unit and kind in SENT_KINDS and isinstance(conversion(quantity, unit), tuple):
            columns.append(column(at, name, quantity, unit))
    times = Counter(found.quantity for found in columns)
    return [found for found in columns if times[found.quantity] == 1]


def _listed(names: list[str], units: list[str] | None = None) -> str:
    """Return the names as they may stand in a sentence, at most forty of them, with their units."""
    shown = [f"{name} ({unit})" if unit else name for name, unit in zip(names, units or [""] * len(names), strict=True)]
    return ", ".join(shown[:40]) + (f" and {len(shown) - 40} more" if len(shown) > 40 else "")


def _port(text: str) -> str | None:
    if len(text) > 64 or not text.isprintable():
        raise ValueError(f"port {text[:60]!r} is not a name of up to 64 printable characters")
    return None if text.upper() == "NAN" else text or None
