"""Picarro cavity ring-down analysers: the user log ``DataLog_User*.dat``, and the rows of the live buffer.

A log has one header line of column names, then rows of fixed-width fields (26 characters each). A live row has
its fields between semicolons, in the order of the option ``columns``, which stands in for the header.

- **Time** is ``EPOCH_TIME`` (seconds since 1970 UTC) rounded to ms; ``TIME`` differs from it by 1 ms on half
  the rows, because there the rest of the ms is cut off, as it is in the live buffer. Equal stamps are placed
  1 ms apart and marked. A row that repeats the row before it character by character is a sample with no values:
  nothing in it is new.
- **Values**: with a ``species`` column a gas is new only on the row of its own species (1 CO2, 2 CH4,
  3 H2O; the instrument's dry values renew on the H2O row); the other rows repeat it. Without that
  column every row is new. CH4 is in ppm in the file, in nmol mol-1 here; cavity pressure in torr there, hPa here.
- **Port** is ``MPVPosition`` as a whole number; between two positions it is ``moving``.
- **Status** is ``INST_STATUS``; which value is normal depends on the model (963 on a G2301, 899 on a G4301).
- **Live and log agree.** An instrument with ``columns`` is read live, now or at times, and its logs are then read
  to the same samples as its buffer gives: the ms of ``TIME`` (unless ``EPOCH_TIME`` is one of the columns), the
  columns named and no others, rounded to as many ``decimals`` as the instrument writes into the buffer. So a log
  can fill what a connection lost, and nothing doubles. (A log has 11 digits: about one value in 200,000 lies so near
  the middle between two roundings that its last decimal differs. The server keeps that one aside.)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any, Final

from station_agent.drivers.localtime import utc_ms, zone_option
from station_agent.drivers.parser import EARLIEST_MS, LATEST_MS, Stamps
from station_agent.drivers.quantities import HPA_PER_TORR
from station_agent.keys import Key, read_table
from station_agent.sample import Rejected, Sample

FIELD_WIDTH: Final = 26
"""Characters of a field, blanks included."""
MOVING: Final = "moving"
"""The port while the valve is between two positions."""
SPREAD_NS: Final = 1_000_000
"""Distance of samples with equal stamps."""
MAX_PORT: Final = 1000

EVERY: Final = None
"""In place of a species: the value is new on every row."""
COLUMNS: Final[Mapping[str, tuple[str, float, int | None]]] = {
    "CO2": ("co2", 1.0, 1),
    "CH4": ("ch4", 1000.0, 2),
    "H2O": ("h2o", 1.0, 3),
    "h2o_reported": ("h2o_reported", 1.0, 3),
    "CO2_dry": ("co2_dry", 1.0, 3),
    "CH4_dry": ("ch4_dry", 1000.0, 3),
    "CavityPressure": ("cavity_pressure", HPA_PER_TORR, EVERY),
    "CavityTemp": ("cavity_temperature", 1.0, EVERY),
    "DasTemp": ("box_temperature", 1.0, EVERY),
    "OutletValve": ("outlet_valve", 1.0, EVERY),
    "Battery_Voltage": ("battery_voltage", 1.0, EVERY),
}
"""Column -> quantity, factor to the unit sent, species on whose row it is new."""

LIVE_TIME: Final = "time"
"""In place of a column of the log: the stamp of a live row."""
PLAIN: Final = ("species", "MPVPosition", "INST_STATUS", "EPOCH_TIME", LIVE_TIME)
"""Columns that are read and are no quantity."""
STAMP: Final = re.compile(r"(\d\d(?:\d\d)?)[-/](\d\d)[-/](\d\d) (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?", re.ASCII)

KEYS: Final[Mapping[str, Key]] = {
    "columns": Key(list, default=(), least=2, most=200),
    "time_zone": Key(str, "UTC", least=1),
    "decimals": Key(int, 3, least=0, most=12),
    "question": Key(str, "_Meas_GetBuffer", choices=("_Meas_GetBuffer", "_Meas_GetConc", "_Meas_GetConcEx")),
    "rate": Key(float, 10.0, least=0.01, most=1000.0),
}
"""A log says everything itself; these are for an instrument that is read live.

``columns``: what its buffer holds, in order, ``time`` for the stamp. ``time_zone``: of that stamp.
``decimals``: of the values in the buffer. ``question``: what it is asked. ``rate``: rows a second at most, which
bounds how seldom it may be asked.
"""

Plan = tuple[tuple[int, str, float], ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the configuration says about the live buffer; without columns, logs are all there is."""

    columns: tuple[str, ...] = ()
    zone: tzinfo = UTC
    decimals: int = 3
    question: str = "_Meas_GetBuffer"
    rate: float = 10.0

    @property
    def header(self) -> str:
        """What stands in for the header line of live rows."""
        return ";".join(self.columns)


def make_parser(options: Mapping[str, Any], *, where: str, faults: list[str]) -> PicarroParser:
    """Return a parser; what is wrong with the options is appended to `faults`."""
    return PicarroParser(read_settings(options, where=where, faults=faults))


def read_settings(options: Mapping[str, Any], *, where: str, faults: list[str]) -> Settings:
    """Return the settings in an instrument's table; what is wrong is appended to `faults`."""
    if not options:
        return Settings()
    table = read_table(options, KEYS, where=where, faults=faults)
    columns = _live_columns(table["columns"], where=f"{where}.columns", faults=faults)
    zone = zone_option(table["time_zone"], where=f"{where}.time_zone", faults=faults)
    return Settings(columns, zone, table["decimals"], table["question"], table["rate"])


def _live_columns(names: Sequence[Any], *, where: str, faults: list[str]) -> tuple[str, ...]:
    if not names:
        return ()
    if not all(isinstance(name, str) and name.strip() and ";" not in name for name in names):
        faults.append(f"{where}: got a list with other things in it, expected names of columns only")
        return ()
    known = {name.casefold(): name for name in (*COLUMNS, *PLAIN)}
    for number, name in enumerate(names, 1):
        meant = known.get(name.casefold(), name)
        if meant != name:
            faults.append(f"{where}[{number}]: got {name!r}, did you mean {meant!r}?")
        elif name != LIVE_TIME and name in names[: number - 1]:
            faults.append(f"{where}[{number}]: {name!r} is named twice")
    if LIVE_TIME not in names and "EPOCH_TIME" not in names:
        faults.append(f"{where}: the stamp is missing, expected 'time' where it stands in the buffer")
    if not any(name in COLUMNS for name in names):
        faults.append(f"{where}: no quantity is among them, known are {', '.join(COLUMNS)}")
    return tuple(names)


def recognise(lines: Sequence[str]) -> bool:
    """Whether the first lines of a file are those of a Picarro user log."""
    first = next((line for line in lines if line.strip()), "")
    names = first.split()
    return "EPOCH_TIME" in names and ("INST_STATUS" in names or "ALARM_STATUS" in names)


class PicarroParser:
    """Reads the rows of one user log, or live rows under their stand-in for a header; see the module for the rules."""

    encoding = "utf-8"

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.header: str | None = None
        self._stamps = Stamps(SPREAD_NS)
        self._last = ""
        self._forget_header()

    def _forget_header(self) -> None:
        self._count = -1
        self._width = 0
        self._separator: str | None = None
        self._decimals: int | None = None
        self._clock: Callable[[list[str]], int] = self._epoch
        self._written = -1
        self._time = self._status = self._port = self._species = -1
        self._names: list[str] = []
        self._plans: dict[str, Plan] = {}
        self._ports: dict[str, str] = {}
        self._statuses: dict[str, int] = {}

    @property
    def last_ns(self) -> int | None:
        """Time of the last sample, ns since 1970 UTC."""
        return self._stamps.placed

    def feed(self, line: str, *, number: int) -> list[Sample] | Rejected | None:
        """Return the row's sample, why there is none, or None for a header or blank line."""
        fields = line.split() if self._separator is None else line.removesuffix(";").split(self._separator)
        if len(fields) != self._count or (self._width and len(line) != self._width):
            return self._other(line, fields, number)
        # float() reads more than an instrument writes: underscores, and digits of every script.
        if "_" in line or not line.isascii():
            return self._other(line, fields, number)
        try:
            raw_ms = self._clock(fields)
            species = fields[self._species] if self._species >= 0 else ""
            plan = self._plans.get(species)
            if plan is None:
                plan = self._plan(species)
            values, decimals = {}, self._decimals
            for index, name, factor in plan:
                raw = float(fields[index])
                value = (raw if decimals is None else round(raw, decimals)) * factor
                if value - value == 0.0:
                    values[name] = value
                elif value == value:  # noqa: PLR0124 - NaN means missing, infinity is a fault
                    return self._other(line, fields, number)
            status = self._status_word(fields[self._status]) if self._status >= 0 else None
            port = self._port_label(fields[self._port]) if self._port >= 0 else None
        except (ValueError, OverflowError):
            return self._other(line, fields, number)
        if not EARLIEST_MS <= raw_ms < LATEST_MS:
            return self._other(line, fields, number)
        time_ns, mark = self._stamps.place(raw_ms * 1_000_000)
        if mark and line == self._last:
            values = {}
        self._last = line
        return [Sample(time_ns, values, port, status, mark)]

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs to read on from here."""
        return {"header": self.header, "raw": self._stamps.raw, "placed": self._stamps.placed, "last": self._last}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where the parser that gave this state stopped."""
        if state["header"] is not None:
            self._begin(state["header"])
        self._stamps.raw, self._stamps.placed, self._last = state["raw"], state["placed"], state["last"]

    def _begin(self, header: str) -> None:
        """Take a header line: what follows is a log of its own."""
        self._forget_header()
        self.header = header
        live = bool(self.settings.columns) and header == self.settings.header
        self._separator = ";" if live else None
        names = self._names = header.split(self._separator)
        self._count = len(names)
        on_grid = not live and len(header) == FIELD_WIDTH * len(names)
        self._width = len(header) if on_grid else 0
        if not live and self.settings.columns:
            # What the live buffer does not have is not read of the log either.
            wanted = {*self.settings.columns, "EPOCH_TIME", "TIME"}
            names = self._names = [name if name in wanted else "" for name in names]
            self._decimals = self.settings.decimals
        self._choose_clock(names, live=live)
        self._status = _index(names, "INST_STATUS")
        self._port = _index(names, "MPVPosition")
        self._species = _index(names, "species")
        self._stamps = Stamps(SPREAD_NS)
        self._last = ""

    def _choose_clock(self, names: list[str], *, live: bool) -> None:
        """Choose the rule of time for rows of these columns."""
        if "EPOCH_TIME" not in names:
            self._time, self._clock = names.index(LIVE_TIME), self._live
            return
        self._time, self._written = names.index("EPOCH_TIME"), _index(names, "TIME")
        stamped = LIVE_TIME in self.settings.columns and "EPOCH_TIME" not in self.settings.columns
        self._clock = self._cut if not live and stamped and self._written >= 0 else self._epoch

    def _epoch(self, fields: list[str]) -> int:
        """Return ms since 1970, rounded."""
        return round(float(fields[self._time]) * 1000.0)

    def _cut(self, fields: list[str]) -> int:
        """Return ms since 1970, the rest cut off as in ``TIME``, of which only the ms count: it may be local."""
        ms = self._epoch(fields)
        return ms - 1 if (ms - int(fields[self._written][-3:])) % 1000 == 1 else ms

    def _live(self, fields: list[str]) -> int:
        """Return ms since 1970 of a live row's stamp, the rest cut off."""
        match = STAMP.fullmatch(fields[self._time].strip())
        if match is None:
            raise ValueError(fields[self._time])
        year, month, day, hour, minute, second = map(int, match.groups()[:6])
        local = datetime(year if year > 99 else 2000 + year, month, day, hour, minute, second)  # noqa: DTZ001 - below
        return utc_ms(local, self.settings.zone, fields[self._time]) + int((match[7] or "0").ljust(3, "0")[:3])

    def _plan(self, species: str) -> Plan:
        """Return (column, quantity, factor) of what is new on a row of this species."""
        number = float(species) if species else None
        if number is not None and not number.is_integer():
            raise ValueError(species)
        plan = tuple(
            (self._names.index(column), name, factor)
            for column, (name, factor, own) in COLUMNS.items()
            if column in self._names and (own is EVERY or number is None or own == number)
        )
        if len(self._plans) < 100:
            self._plans[species] = plan
        return plan

    def _port_label(self, text: str) -> str:
        label = self._ports.get(text)
        if label is None:
            position = float(text)
            if not 0 <= position <= MAX_PORT:
                raise ValueError(text)
            label = str(int(position)) if position.is_integer() else MOVING
            if len(self._ports) < 100:
                self._ports[text] = label
        return label

    def _status_word(self, text: str) -> int:
        status = self._statuses.get(text)
        if status is None:
            number = float(text)
            if not number.is_integer() or abs(number) >= 2**31:
                raise ValueError(text)
            status = int(number)
            if len(self._statuses) < 100:
                self._statuses[text] = status
        return status

    def _other(self, line: str, fields: list[str], number: int) -> Rejected | None:
        """Deal with a line that is not a good row: header, blank, or rejected with a reason."""
        if not fields:
            return None
        if self._separator is None and "EPOCH_TIME" in fields and recognise([line]):
            self._begin(line)
            return None
        return Rejected(number, line, self._reason(line, fields))

    def _reason(self, line: str, fields: list[str]) -> str:
        if self.header is None:
            return "no header line (with EPOCH_TIME and INST_STATUS) stands before this row"
        if len(fields) != self._count:
            return f"{len(fields)} fields, the header has {self._count}"
        if self._width and len(line) != self._width:
            return f"{len(line)} characters, the header has {self._width}: the row is cut or damaged"
        wanted = {self._time, self._status, self._port, self._species}
        wanted |= {self._names.index(column) for column in COLUMNS if column in self._names}
        for index in sorted(wanted - {-1}):
            name, text = self._names[index], fields[index]
            fault = self._stamp_fault(fields) if name == LIVE_TIME else _number_fault(name, text)
            if fault:
                return f"column {name} is {text[:60]!r}, expected {fault}"
        return "a character stands in the row that no Picarro writes"

    def _stamp_fault(self, fields: list[str]) -> str | None:
        try:
            fits = EARLIEST_MS <= self._live(fields) < LATEST_MS
        except (ValueError, OverflowError):
            fits = False
        return None if fits else "a stamp like 15/08/31 17:18:40.948, from 1990 to 2100"


def _index(names: list[str], name: str) -> int:
    return names.index(name) if name in names else -1


def _number_fault(name: str, text: str) -> str | None:
    """Say what a field should have been, or None where it is right."""
    try:
        number = float(text)
    except ValueError:
        return "a number"
    if name == "EPOCH_TIME":
        fits = EARLIEST_MS <= number * 1000 < LATEST_MS
        return None if fits else "seconds since 1970, from 1990 to 2100"
    if name == "MPVPosition":
        return None if 0 <= number <= MAX_PORT else f"a valve position, 0 to {MAX_PORT}"
    if name in ("INST_STATUS", "species"):
        fits = number.is_integer() and abs(number) < 2**31
        return None if fits else "a whole number of 32 bits"
    return "a finite number" if number in (float("inf"), float("-inf")) else None
