"""LGR/ABB gas analysers (GGA, UGGA and others of the family): the text file, and the same lines over a serial port.

A line ``VC:… BD:… SN:…``, a line of comma-separated column names with their units (``[CH4]_ppm``), rows, and after
them the block of a PGP signature, which is passed over.

- **Time** is the column ``Time`` (else ``SysTime``, or the one ``time_column`` names) on the instrument's clock, in
  ``time_zone`` (UTC unless told). The order of day and month differs from unit to unit: ``date_order`` says
  it. A date that begins with the year needs no order. Equal stamps are placed 1 ms apart and marked.
- **Values** are found by name and converted from the unit in the name: ``[X]_ppm`` in moist air, ``[X]d_ppm`` dry,
  ``GasP`` and ``GasT`` of the cavity, ``AmbT``. Columns ``…_sd`` are not sent. Every row is new.
- **Port** is ``MIU_VALVE``, none where it is negative. **Status** is ``Fit_Flag``: 3 where the fit is good.
- A serial port sends rows alone: ``fields`` names their columns in order.

Example::

    driver = "lgr"
    date_order = "mdy"
    time_zone = "+08:00"
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from station_agent.drivers.columns import MAX_PORT, Column, column, counted, plain, values, whole
from station_agent.drivers.localtime import ORDERS, LocalClock, zone_option
from station_agent.drivers.parser import Stamps
from station_agent.drivers.quantities import UNITS
from station_agent.errors import DriverError
from station_agent.keys import Key, read_table
from station_agent.sample import Rejected, Sample

TIMES: Final = ("Time", "SysTime")
PORT: Final = "MIU_VALVE"
STATUS: Final = "Fit_Flag"
SIGNATURE: Final = ("-----BEGIN PGP", "-----END PGP")
SPREAD_NS: Final = 1_000_000
"""Distance of samples with equal stamps."""
COLUMNS: Final[Mapping[str, str]] = {
    "GasP": "cavity_pressure",
    "GasT": "cavity_temperature",
    "AmbT": "ambient_temperature",
}
"""Column without its unit -> quantity; the gases go by their formula."""

KEYS: Final[Mapping[str, Key]] = {
    "date_order": Key(str, "", choices=ORDERS),
    "time_zone": Key(str, "UTC", least=1),
    "time_column": Key(str, "", least=1),
    "fields": Key(list, default=(), least=2, most=1000),
}
"""The keys of an instrument with this driver."""

_GAS: Final = re.compile(r"\[([A-Z0-9]+)\](d?)_(pp[mbt])", re.ASCII)
_OTHER: Final = re.compile(r"([A-Za-z]+)_(\w+)", re.ASCII)
_DATE: Final = re.compile(r"(?:^|,)\s*(\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4})[ T]+\d", re.ASCII)


def make_parser(options: Mapping[str, Any], *, where: str, faults: list[str]) -> LgrParser:
    """Return a parser; what is wrong with the options is appended to `faults`."""
    table = read_table(options, KEYS, where=where, faults=faults)
    if "date_order" not in options:
        faults.append(
            f"{where}.date_order: missing, 05/04/2023 is in May on one unit and in April on another; "
            "expected 'mdy' or 'dmy', or 'ymd' where the year comes first"
        )
    fields = table["fields"]
    if not all(isinstance(name, str) for name in fields):
        faults.append(f"{where}.fields: got a list with other things in it, expected texts only")
        fields = ()
    zone = zone_option(table["time_zone"], where=f"{where}.time_zone", faults=faults)
    parser = LgrParser(LocalClock(zone, table["date_order"] or "ymd"), table["time_column"])
    if fields:
        try:
            parser.name([name.strip() for name in fields])
        except ValueError as error:
            faults.append(f"{where}.fields: {error}")
    return parser


def recognise(lines: Sequence[str]) -> bool:
    """Whether the first lines of a file are those of an LGR analyser."""
    return any(_is_header(_split(line)) for line in lines)


def settle(path: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the options for reading this one file, with the order of its dates where one of them proves it.

    Raises
    ------
    DriverError
        Each date can be read in both orders, or they contradict each other.
    """
    if "date_order" in options:
        return options
    dates = _dates(path)
    lines = sum(dates.values())
    proofs = Counter[str]()
    for date, times in dates.items():
        proofs[_order(date)] += times
    ambiguous = proofs.pop("", 0)
    # One line alone may be a damaged one.
    proven = sorted(order for order, times in proofs.items() if times >= min(2, lines))
    if len(proven) > 1:
        raise DriverError(f"{path}: has dates in the orders {' and '.join(proven)}; date_order must say which is right")
    if not proven and lines:
        shown = next(date for date in dates if not ambiguous or not _order(date))
        raise DriverError(
            f"{path}: the date {shown} can be read with the day or with the month first, and no others in the "
            "file tell which; say it with date_order = 'dmy' or 'mdy'"
        )
    return {**options, "date_order": proven[0] if proven else "ymd"}


def _dates(path: Path) -> Counter[str]:
    """Return how many lines have each date, as it stands in them."""
    dates = Counter[str]()
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if match := _DATE.search(line, 0, 400):
                dates[match[1]] += 1
    return dates


def _order(date: str) -> str:
    """Return the order that a date proves, empty where it can be read in two."""
    first, second, _ = re.split("[-/.]", date)
    if len(first) == 4:
        return "ymd"
    return "dmy" if int(first) > 12 else "mdy" if int(second) > 12 else ""


def _split(line: str) -> list[str]:
    return [field.strip() for field in line.split(",")]


def _is_header(names: Sequence[str]) -> bool:
    return not {*TIMES}.isdisjoint(names) and any(_GAS.fullmatch(name) for name in names)


class LgrParser:
    """Reads the lines of one file or connection; see the module for the rules."""

    encoding = "utf-8"

    def __init__(self, clock: LocalClock, time_column: str) -> None:
        self.header: str | None = None
        self._clock, self._time_column = clock, time_column
        self._stamps = Stamps(SPREAD_NS)
        self._signature = False
        self._count = 0
        self._time = self._port = self._status = -1
        self._columns: list[Column] = []

    @property
    def last_ns(self) -> int | None:
        """Time of the last sample, ns since 1970 UTC."""
        return self._stamps.placed

    def feed(self, line: str, *, number: int) -> list[Sample] | Rejected | None:
        """Return the row's sample, why there is none, or None for what is no row: header, signature, blank."""
        fields = line.split(",")
        try:
            if "]" in line and _is_header(names := _split(line)):
                self._begin(line, names)
                return None
            if len(fields) > 2 and not (self._signature and len(fields) != self._count):
                self._signature = False  # a signature has no such line: it was cut short
                return [self._sample(line, fields)]
            self._pass_over(line)
        except (ValueError, OverflowError) as error:
            return Rejected(number, line, str(error))
        return None

    def name(self, names: list[str]) -> None:
        """Take the names of the columns of the rows that follow; raises ValueError where they are none."""
        self._columns, self._count = [], 0
        wanted = (self._time_column,) if self._time_column else TIMES
        time = next((name for name in wanted if name in names), None)
        if time is None:
            raise ValueError(f"there is no column {' or '.join(wanted)}: the rows have no time")
        self._columns = _columns(names)
        self._count, self._time = len(names), names.index(time)
        self._port = names.index(PORT) if PORT in names else -1
        self._status = names.index(STATUS) if STATUS in names else -1

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs to read on from here."""
        stamps = self._stamps
        return {"header": self.header, "signature": self._signature, "raw": stamps.raw, "placed": stamps.placed}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where the parser that gave this state stopped."""
        if state["header"] is not None:
            self.feed(state["header"], number=0)
        self._signature = state["signature"]
        self._stamps.raw, self._stamps.placed = state["raw"], state["placed"]

    def _pass_over(self, line: str) -> None:
        """Pass over a line that stands apart from the table; raises ValueError where it should be a row."""
        text = line.strip()
        if text.startswith(SIGNATURE[0]):
            self._signature = True
        elif self._signature:
            self._signature = not text.startswith(SIGNATURE[1])
        elif text and not (text.startswith("VC:") and " SN:" in text):
            raise ValueError(f"{line.count(',') + 1} fields, expected {self._count or 'a line of names'}")

    def _begin(self, line: str, names: list[str]) -> None:
        """Take a header line: what follows is a table of its own."""
        self.header, self._signature = None, False
        self._stamps = Stamps(SPREAD_NS)
        self.name(names)
        self.header = line

    def _sample(self, line: str, fields: list[str]) -> Sample:
        if not self._count:
            raise ValueError("no header line (with Time and a gas like [CH4]_ppm) stands before this row")
        counted(fields, self._count)
        found = values(fields, self._columns, plain=plain(line))
        port = whole(PORT, fields[self._port], most=MAX_PORT) if self._port >= 0 else None
        status = whole(STATUS, fields[self._status]) if self._status >= 0 else None
        time_ns, mark = self._stamps.place(self._clock.ms(fields[self._time]) * 1_000_000)
        return Sample(time_ns, found, str(port) if port is not None and port >= 0 else None, status, mark)


def _columns(names: Sequence[str]) -> list[Column]:
    """Return the columns that are sent; raises ValueError where one has a unit it cannot have."""
    columns: list[Column] = []
    for at, name in enumerate(names):
        quantity, unit = _quantity(name)
        if quantity in [other.quantity for other in columns]:
            raise ValueError(f"column {name}: {quantity} has a column already")
        if quantity:
            columns.append(column(at, name, quantity, unit))
    return columns


def _quantity(name: str) -> tuple[str, str]:
    """Return the quantity and the unit in a column's name; both empty where it is not sent."""
    if match := _GAS.fullmatch(name):
        quantity = match[1].lower() + ("_dry" if match[2] else "")
        return (quantity, match[3]) if quantity in UNITS else ("", "")
    match = _OTHER.fullmatch(name)
    return (COLUMNS[match[1]], match[2]) if match and match[1] in COLUMNS and not name.endswith("_sd") else ("", "")
