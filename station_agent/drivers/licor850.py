"""LI-COR LI-850: the text log its software writes.

A quoted line with the time of the start, a line of tab-separated column names with their units in brackets
(``CO₂_(µmol_mol⁻¹)``), then rows.

- **Time** is ``System_Date`` and ``System_Time``: whole seconds on the clock of the computer that logged, two samples a
  second. The file does not say in which zone that clock is: ``time_zone`` does. Equal stamps are placed ``spread_ms``
  apart and marked.
- **Values** are found by name and converted from the unit in the name. Of the two columns ``H₂O`` the one in °C is
  the dew point. Every row is kept with its values, also where the software has written a reading twice.
- There is neither port nor status.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from station_agent.drivers.columns import Column, column, counted, plain, values
from station_agent.drivers.localtime import ORDERS, ZONE_EXPECTED, LocalClock, zone_option
from station_agent.drivers.parser import Stamps
from station_agent.drivers.quantities import conversion
from station_agent.keys import Key, read_table
from station_agent.sample import Rejected, Sample

DATE: Final = "System_Date"
TIME: Final = "System_Time"
COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "CO2": ("co2",),
    "H2O": ("h2o", "dew_point"),
    "Cell_Temperature": ("cavity_temperature",),
    "Cell_Pressure": ("cavity_pressure",),
    "Input_Voltage": ("battery_voltage",),
    "Flow_Rate": ("flow",),
}
"""Column without its unit -> the quantities it may be; the first that can have its unit is it."""

KEYS: Final[Mapping[str, Key]] = {
    "time_zone": Key(str, "", least=1),
    "spread_ms": Key(int, 500, least=1, most=60_000),
}
"""The keys of an instrument with this driver."""

log = logging.getLogger(__name__)

_START: Final = re.compile(r'"?\d{4}-\d\d-\d\d at \d\d:\d\d(:\d\d)?"?', re.ASCII)
_NAMED: Final = re.compile(r"(.+)_\((.+)\)")
_SUBSCRIPTS: Final = str.maketrans("₂₄", "24")


def make_parser(options: Mapping[str, Any], *, where: str, faults: list[str]) -> Licor850Parser:
    """Return a parser; what is wrong with the options is appended to `faults`."""
    table = read_table(options, KEYS, where=where, faults=faults)
    if "time_zone" not in options:
        faults.append(f"{where}.time_zone: missing, the file has local times without their zone; {ZONE_EXPECTED}")
    zone = zone_option(table["time_zone"] or "UTC", where=f"{where}.time_zone", faults=faults)
    # The clock's order of year, month and day stands in the header.
    return Licor850Parser({order: LocalClock(zone, order) for order in ORDERS}, table["spread_ms"] * 1_000_000)


def recognise(lines: Sequence[str]) -> bool:
    """Whether the first lines of a file are those of an LI-850's log."""
    return any(_is_header(line.split("\t")) for line in lines)


def settle(path: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the options for reading this one file: without a zone its times are taken for UTC, which is logged."""
    if "time_zone" in options:
        return options
    log.warning("%s: has local times without their zone, they are read as UTC; the option time_zone says another", path)
    return {**options, "time_zone": "UTC"}


def _is_header(names: Sequence[str]) -> bool:
    return len(names) > 2 and names[0].startswith(f"{DATE}_(") and names[1].startswith(f"{TIME}_(")


class Licor850Parser:
    """Reads the rows of one log; see the module for the rules."""

    encoding = "utf-8"

    def __init__(self, clocks: Mapping[str, LocalClock], spread_ns: int) -> None:
        self.header: str | None = None
        self._clocks, self._spread_ns = clocks, spread_ns
        self._clock = clocks["ymd"]
        self._stamps = Stamps(spread_ns)
        self._count = 0
        self._columns: list[Column] = []

    @property
    def last_ns(self) -> int | None:
        """Time of the last sample, ns since 1970 UTC."""
        return self._stamps.placed

    def feed(self, line: str, *, number: int) -> list[Sample] | Rejected | None:
        """Return the row's sample, why there is none, or None for the start, header and blank lines."""
        fields = line.split("\t")
        if not line.strip() or _START.fullmatch(line.strip()):
            return None
        try:
            if _is_header(fields):
                self._begin(line, fields)
                return None
            return [self._sample(line, fields)]
        except (ValueError, OverflowError) as error:
            return Rejected(number, line, str(error))

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs to read on from here."""
        return {"header": self.header, "raw": self._stamps.raw, "placed": self._stamps.placed}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where the parser that gave this state stopped."""
        if state["header"] is not None:
            self.feed(state["header"], number=0)
        self._stamps.raw, self._stamps.placed = state["raw"], state["placed"]

    def _begin(self, line: str, names: list[str]) -> None:
        """Take a header line: what follows is a log of its own."""
        self.header = None
        self._stamps = Stamps(self._spread_ns)
        order = names[0].removeprefix(f"{DATE}_(").rstrip(")").replace("-", "").lower()
        if order not in self._clocks:
            raise ValueError(f"column {names[0][:60]!r}: expected the order Y-M-D, M-D-Y or D-M-Y")
        self._columns = _columns(names)
        self.header, self._count, self._clock = line, len(names), self._clocks[order]

    def _sample(self, line: str, fields: list[str]) -> Sample:
        if self.header is None:
            raise ValueError(f"no header line (with {DATE} and {TIME}) stands before this row")
        counted(fields, self._count)
        found = values(fields, self._columns, plain=plain(line))
        time_ns, mark = self._stamps.place(self._clock.ms(f"{fields[0]} {fields[1]}") * 1_000_000)
        return Sample(time_ns, found, None, None, mark)


def _columns(names: Sequence[str]) -> list[Column]:
    """Return the columns that are sent; raises ValueError where one has a unit it cannot have."""
    columns: list[Column] = []
    for at, name in enumerate(names):
        match = _NAMED.fullmatch(name)
        possible = COLUMNS.get(match[1].translate(_SUBSCRIPTS), ()) if match else ()
        if not match or not possible:
            continue
        fitting = [quantity for quantity in possible if isinstance(conversion(quantity, match[2]), tuple)]
        found = column(at, name, (fitting or possible)[0], match[2])
        if found.quantity in [other.quantity for other in columns]:
            raise ValueError(f"column {name}: {found.quantity} has a column already")
        columns.append(found)
    return columns
