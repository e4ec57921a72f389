"""Picarro cavity ring-down analysers: the user log ``DataLog_User*.dat``.

One header line of column names, then rows of fixed-width fields (26 characters each).

- **Time** is ``EPOCH_TIME`` (seconds since 1970 UTC) rounded to ms; ``TIME`` differs from it by 1 ms on half
  the rows. Equal stamps are placed 1 ms apart and marked. A row that repeats the row before it character
  by character is a sample with no values: nothing in it is new.
- **Values**: with a ``species`` column a gas is new only on the row of its own species (1 CO2, 2 CH4,
  3 H2O; the instrument's dry values renew on the H2O row); the other rows repeat it. Without that
  column every row is new. CH4 is in ppm in the file, in nmol mol-1 here; cavity pressure in torr there, hPa here.
- **Port** is ``MPVPosition`` as a whole number; between two positions it is ``moving``.
- **Status** is ``INST_STATUS``; which value is normal depends on the model (963 on a G2301, 899 on a G4301).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

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

KEYS: Final[Mapping[str, Key]] = {}
"""A Picarro log says everything itself: there is nothing to set."""

Plan = tuple[tuple[int, str, float], ...]


def make_parser(options: Mapping[str, Any], *, where: str, faults: list[str]) -> PicarroParser:
    """Return a parser; an option is a fault, there are none."""
    read_table(options, KEYS, where=where, faults=faults)
    return PicarroParser()


def recognise(lines: Sequence[str]) -> bool:
    """Whether the first lines of a file are those of a Picarro user log."""
    first = next((line for line in lines if line.strip()), "")
    names = first.split()
    return "EPOCH_TIME" in names and ("INST_STATUS" in names or "ALARM_STATUS" in names)


class PicarroParser:
    """Reads the rows of one user log; see the module for the rules."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.header: str | None = None
        self._stamps = Stamps(SPREAD_NS)
        self._last = ""
        self._forget_header()

    def _forget_header(self) -> None:
        self._count = -1
        self._width = 0
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
        fields = line.split()
        if len(fields) != self._count or (self._width and len(line) != self._width):
            return self._other(line, fields, number)
        try:
            # float() reads more than an instrument writes: underscores, and digits of every script.
            if "_" in line or not line.isascii():
                return self._other(line, fields, number)
            raw_ms = round(float(fields[self._time]) * 1000.0)
            species = fields[self._species] if self._species >= 0 else ""
            plan = self._plans.get(species)
            if plan is None:
                plan = self._plan(species)
            values = {}
            for index, name, factor in plan:
                value = float(fields[index]) * factor
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
        names = self._names = header.split()
        self._count = len(names)
        on_grid = len(header) == FIELD_WIDTH * len(names)
        self._width = len(header) if on_grid else 0
        self._time = names.index("EPOCH_TIME")
        self._status = _index(names, "INST_STATUS")
        self._port = _index(names, "MPVPosition")
        self._species = _index(names, "species")
        self._stamps = Stamps(SPREAD_NS)
        self._last = ""

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
        if "EPOCH_TIME" in fields and recognise([line]):
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
            if fault := _number_fault(name, text):
                return f"column {name} is {text[:60]!r}, expected {fault}"
        return "a character stands in the row that no Picarro writes"


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
