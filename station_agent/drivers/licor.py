"""LI-COR trace gas analysers LI-7810, LI-7815 and LI-7820: the same lines in a ``.data`` file and over TCP.

A preamble (``Model:``, ``SN:`` …), then tab-separated lines that say what they are: ``DATAH`` names,
``DATAU`` units, ``DATA`` one row.

- **Time** is ``SECONDS`` + ``NANOSECONDS`` (since 1970 UTC) rounded to ms; ``DATE`` and ``TIME`` are local and not
  used. Equal stamps are placed 1 ms apart and marked.
- **Values** are found by name and converted from the unit that ``DATAU`` says. Every row is new. ``nan`` is a missing
  value. ``CO2``, ``CH4`` and ``N2O`` go under the names they have in the file. The instrument is understood to give
  them dry (the maker's description from memory, the files do not say); quality control is then told
  ``method = "none"``.
- **Status** is ``DIAG``: 0 where the instrument is well; other rows are kept, quality control judges them.
- **Checksum**: ``CHK`` is the sum of the bytes before it (tabs included) modulo 256, found so on every row of real
  files of two models. A row with another sum is rejected. In a line corrected by hand ``-`` stands in its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from station_agent.drivers.columns import Column, column, counted, plain, values, whole
from station_agent.drivers.localtime import bounded
from station_agent.drivers.parser import Stamps
from station_agent.keys import Key, read_table
from station_agent.sample import Rejected, Sample

NAMES: Final = "DATAH"
UNITS: Final = "DATAU"
ROW: Final = "DATA"
PREAMBLE: Final = ("Model:", "SN:", "Software Version:", "Timestamp:", "Timezone:")
CORRECTED: Final = "-"
"""In place of the checksum: the line was corrected by somebody."""
SPREAD_NS: Final = 1_000_000
"""Distance of samples with equal stamps."""
COLUMNS: Final[Mapping[str, str]] = {
    "CO2": "co2",
    "CH4": "ch4",
    "N2O": "n2o",
    "CO": "co",
    "H2O": "h2o",
    "CAVITY_P": "cavity_pressure",
    "CAVITY_T": "cavity_temperature",
    "THERMAL_ENCLOSURE_T": "box_temperature",
    "INPUT_VOLTAGE": "battery_voltage",
}
"""Column -> quantity."""

KEYS: Final[Mapping[str, Key]] = {}
"""The lines say everything themselves: there is nothing to set."""


def make_parser(options: Mapping[str, Any], *, where: str, faults: list[str]) -> LicorParser:
    """Return a parser; an option is a fault, there are none."""
    read_table(options, KEYS, where=where, faults=faults)
    return LicorParser()


def recognise(lines: Sequence[str]) -> bool:
    """Whether the first lines of a file are those of an LI-78xx."""
    return any(line.startswith(f"{NAMES}\t") and "\tSECONDS\t" in line for line in lines)


class LicorParser:
    """Reads the lines of one file or connection; see the module for the rules."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self._stamps = Stamps(SPREAD_NS)
        self._forget()

    def _forget(self) -> None:
        self._names_line = self._units_line = ""
        self._names: list[str] = []
        self._columns: list[Column] = []
        self._seconds = self._nanoseconds = self._diag = -1
        self._checked = False

    @property
    def header(self) -> str | None:
        """The lines with the names and the units, as far as they have come."""
        if not self._names_line:
            return None
        return f"{self._names_line}\n{self._units_line}" if self._units_line else self._names_line

    @property
    def last_ns(self) -> int | None:
        """Time of the last sample, ns since 1970 UTC."""
        return self._stamps.placed

    def feed(self, line: str, *, number: int) -> list[Sample] | Rejected | None:
        """Return the row's sample, why there is none, or None for preamble, names, units and blank lines."""
        fields = line.split("\t")
        try:
            if fields[0] == ROW:
                return [self._sample(line, fields)]
            if fields[0] == NAMES:
                self._take_names(line, fields)
            elif fields[0] == UNITS:
                self._take_units(line, fields)
            elif line.strip():
                _check_preamble(line, fields)
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

    def _take_names(self, line: str, names: list[str]) -> None:
        if line == self._names_line:
            return  # sent again after a pause: the units stay
        self._forget()
        self._stamps = Stamps(SPREAD_NS)
        absent = [name for name in ("SECONDS", "NANOSECONDS") if name not in names]
        if absent:
            raise ValueError(f"the line of names has no column {', '.join(absent)}: its rows have no time")
        self._names_line, self._names = line, names
        self._seconds, self._nanoseconds = names.index("SECONDS"), names.index("NANOSECONDS")
        self._diag = names.index("DIAG") if "DIAG" in names else -1
        self._checked = names[-1] == "CHK"

    def _take_units(self, line: str, units: list[str]) -> None:
        if not self._names:
            raise ValueError(f"no line of names ({NAMES}) stands before this line of units")
        counted(units, len(self._names))
        named = enumerate(zip(self._names, units, strict=True))
        self._columns = [column(at, name, COLUMNS[name], unit) for at, (name, unit) in named if name in COLUMNS]
        self._units_line = line

    def _sample(self, line: str, fields: list[str]) -> Sample:
        if not self._units_line:
            missing = f"line of units ({UNITS})" if self._names else f"line of names ({NAMES})"
            raise ValueError(f"no {missing} stands before this row")
        counted(fields, len(self._names))
        if self._checked:
            _check_sum(line, fields[-1].strip())
        seconds = whole("SECONDS", fields[self._seconds], least=0, most=2**40)
        nanoseconds = whole("NANOSECONDS", fields[self._nanoseconds], least=0, most=10**9 - 1)
        if seconds is None or nanoseconds is None:
            raise ValueError("the row has no time: SECONDS or NANOSECONDS is missing")
        found = values(fields, self._columns, plain=plain(line))
        status = whole("DIAG", fields[self._diag]) if self._diag >= 0 else None
        raw_ms = bounded(seconds * 1000 + (nanoseconds + 500_000) // 1_000_000)
        time_ns, mark = self._stamps.place(raw_ms * 1_000_000)
        return Sample(time_ns, found, None, status, mark)


def _check_preamble(line: str, fields: list[str]) -> None:
    if len(fields) != 2 or fields[0] not in PREAMBLE:
        raise ValueError(f"the line begins with {line[:20]!r}, expected {NAMES}, {UNITS} or {ROW} and a tab")


def _check_sum(line: str, written: str) -> None:
    if written == CORRECTED:
        return
    computed = sum(line[: line.rindex("\t") + 1].encode()) % 256
    if written != str(computed):
        raise ValueError(
            f"the checksum is {written[:20]!r}, the row's bytes give {computed}: the row is damaged; "
            f"once it is corrected, write {CORRECTED} in place of the checksum"
        )
