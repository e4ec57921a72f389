"""Any instrument or logger that writes lines of separated fields: which column is what stands in the configuration.

- **Time** is put together from the columns named in ``time``, read by one format in one zone, rounded to ms. A
  local time that the zone has twice or not at all is rejected, never guessed. The k-th repetition of a
  stamp is placed ``k * spread_ms`` after it and marked. An instrument without a clock of its own, read live, has
  ``time = { format = "arrival" }``: the host's time when the line was read, up to a quarter of a second after it came.
- **Values** are converted from the unit named for their column. A field that is empty or one of ``missing`` is
  a missing value.
- **Header**: the line with the column names; ``skip_before_header`` and ``skip_after_header`` lines around it
  (the maker's preamble, a line of units) are passed over. Without one, ``fields`` names the fields in order.
- **Port** and **status** come from columns of their own, where there are any.

Example::

    driver = "delimited"
    separator = ","
    columns = [{ name = "co2_ppm", quantity = "co2", unit = "ppm" }]
    time = { columns = ["date_UTC"], format = "%Y-%m-%d %H:%M:%S", zone = "UTC" }
    missing = ["-999"]
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Final

from station_agent.drivers.localtime import bounded, utc_ms, zone_option
from station_agent.drivers.parser import Stamps
from station_agent.drivers.quantities import conversion
from station_agent.errors import DriverError
from station_agent.keys import Key, read_table
from station_agent.sample import Rejected, Sample

ENCODINGS: Final = ("utf-8", "latin-1", "cp1252", "gb18030")

_ISO: Final[Mapping[str, str]] = {
    "%Y-%m-%d %H:%M:%S": r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d",
    "%Y-%m-%dT%H:%M:%S": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d",
    "%Y-%m-%d %H:%M": r"\d{4}-\d\d-\d\d \d\d:\d\d",
}
"""Form -> texts of that form that are also ISO 8601."""

KEYS: Final[Mapping[str, Key]] = {
    "separator": Key(str, ",", least=1, most=1),
    "columns": Key(list, required=True, least=1, most=200),
    "time": Key(dict, required=True),
    "header": Key(bool, default=True),
    "fields": Key(list, default=(), least=1, most=1000),
    "skip_before_header": Key(int, 0, least=0, most=100),
    "skip_after_header": Key(int, 0, least=0, most=20),
    "missing": Key(list, default=()),
    "port_column": Key(str, "", least=1),
    "status_column": Key(str, "", least=1),
    "encoding": Key(str, "utf-8", choices=ENCODINGS),
}
"""The keys of an instrument with this driver; ``separator = " "`` means runs of blanks."""
COLUMN_KEYS: Final[Mapping[str, Key]] = {
    "name": Key(str, "", required=True, least=1),
    "quantity": Key(str, "", required=True, least=1),
    "unit": Key(str, "", required=True, least=1),
}
TIME_KEYS: Final[Mapping[str, Key]] = {
    "columns": Key(list, default=(), most=3),
    "format": Key(str, "", required=True, least=1),
    "zone": Key(str, "UTC", least=1),
    "spread_ms": Key(int, 1, least=1, most=60_000),
}

ARRIVAL: Final = "arrival"
"""The format of a time that the host gives."""

Clock = Callable[[list[str]], int]
"""Fields of the time columns -> ms since 1970 UTC; ValueError in one sentence."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the configuration says about the lines."""

    separator: str
    columns: tuple[tuple[str, str, float, float], ...]
    """Column, quantity, factor, offset."""
    time_columns: tuple[str, ...]
    clock: Clock
    spread_ms: int
    fields: tuple[str, ...]
    """Names of the fields where the file has no header line, else empty."""
    skip_before_header: int
    skip_after_header: int
    missing: frozenset[str]
    port_column: str
    status_column: str
    encoding: str


def make_parser(options: Mapping[str, Any], *, where: str, faults: list[str]) -> DelimitedParser:
    """Return a parser for these options; what is wrong with them is appended to `faults`."""
    return DelimitedParser(read_settings(options, where=where, faults=faults))


def host_stamped(options: Mapping[str, Any]) -> bool:
    """Whether the host gives the times, not the instrument."""
    time_table = options.get("time")
    return isinstance(time_table, Mapping) and time_table.get("format") == ARRIVAL


def settle(path: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the options for reading this one file; raises DriverError where its lines have no time."""
    if host_stamped(options):
        raise DriverError(
            f"{path}: its lines have no time of their own ('arrival' is that of a live line); "
            "expected time.columns, the columns with the time"
        )
    return options


def recognise(lines: Sequence[str]) -> bool:  # noqa: ARG001 - the same signature for every driver
    """Whether the first lines are this driver's: never by themselves, columns and units must be told."""
    return False


def read_settings(options: Mapping[str, Any], *, where: str, faults: list[str]) -> Settings:
    """Return the settings in an instrument's table; what is wrong is appended to `faults`."""
    table = read_table(options, KEYS, where=where, faults=faults)
    times = read_table(table["time"] or {}, TIME_KEYS, where=f"{where}.time", faults=faults)
    columns = _columns(table["columns"] or [], where=f"{where}.columns", faults=faults)
    texts = {key: _texts(table[key], where=f"{where}.{key}", faults=faults) for key in ("fields", "missing")}
    time_columns = _texts(times["columns"], where=f"{where}.time.columns", faults=faults)
    if not table["header"] and not texts["fields"]:
        faults.append(f"{where}.fields: missing, without a header line the names of the fields in order are needed")
    named = [column[0] for column in columns] + list(time_columns) + [table["port_column"], table["status_column"]]
    if not table["header"]:
        absent = [name for name in named if name and name not in texts["fields"]]
        faults += [f"{where}.fields: {name!r} is used but not among the fields" for name in absent]
    clock = _clock(times["format"], times["zone"], len(time_columns), where=f"{where}.time", faults=faults)
    return Settings(
        separator=table["separator"],
        columns=columns,
        time_columns=time_columns,
        clock=clock,
        spread_ms=times["spread_ms"],
        fields=() if table["header"] else texts["fields"],
        skip_before_header=table["skip_before_header"],
        skip_after_header=table["skip_after_header"],
        missing=frozenset({"", "nan", *(text.lower() for text in texts["missing"])}),
        port_column=table["port_column"],
        status_column=table["status_column"],
        encoding=table["encoding"],
    )


def _columns(tables: Sequence[Any], *, where: str, faults: list[str]) -> tuple[tuple[str, str, float, float], ...]:
    columns: list[tuple[str, str, float, float]] = []
    for number, table in enumerate(tables, 1):
        here = f"{where}[{number}]"
        before = len(faults)
        column = read_table(table, COLUMN_KEYS, where=here, faults=faults)
        if len(faults) > before:
            continue
        factors = conversion(column["quantity"], column["unit"])
        if isinstance(factors, str):
            faults.append(f"{here}: {factors}")
        elif column["quantity"] in [quantity for _, quantity, _, _ in columns]:
            faults.append(f"{here}.quantity: {column['quantity']!r} has a column already")
        else:
            columns.append((column["name"], column["quantity"], *factors))
    return tuple(columns)


def _texts(values: Sequence[Any], *, where: str, faults: list[str]) -> tuple[str, ...]:
    if not all(isinstance(value, str) for value in values):
        faults.append(f"{where}: got a list with other things in it, expected texts only")
        return ()
    return tuple(values)


# --- time ------------------------------------------------------------------------------------


def _clock(form: str, zone: str, columns: int, *, where: str, faults: list[str]) -> Clock:
    """Return the function that reads the time columns."""
    expected = {"unix": 1, "unix_ms": 1, "unix_s_ns": 2, ARRIVAL: 0}
    if form in expected:
        if columns != expected[form]:
            faults.append(f"{where}.columns: got {columns}, format {form!r} needs {expected[form]}")
        return {"unix": _unix, "unix_ms": _unix_ms, "unix_s_ns": _unix_s_ns, ARRIVAL: _arrival}[form]
    if not columns:
        faults.append(f"{where}.columns: missing; the names of the columns with the time, expected a list of 1 to 3")
    if form != "iso" and form and "%" not in form:
        faults.append(
            f"{where}.format: got {form!r}, expected 'iso', 'unix', 'unix_ms', 'unix_s_ns', 'arrival' "
            "or codes like '%Y-%m-%d'"
        )
    return _calendar(form, zone_option(zone, where=f"{where}.zone", faults=faults))


def _whole(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise ValueError(f"time {text[:60]!r} is not a whole number")
    return int(text)


def _unix(fields: list[str]) -> int:
    return _rounded(_number(fields[0]) * 1000.0)


def _arrival(_fields: list[str]) -> int:
    return time.time_ns() // 1_000_000


def _unix_ms(fields: list[str]) -> int:
    return _rounded(_number(fields[0]))


def _rounded(number: float) -> int:
    if number != number:  # noqa: PLR0124 - NaN
        raise ValueError("the time is missing (nan)")
    return round(number)


def _unix_s_ns(fields: list[str]) -> int:
    return _whole(fields[0]) * 1000 + (_whole(fields[1]) + 500_000) // 1_000_000


def _calendar(form: str, zone: tzinfo) -> Clock:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    # Texts that both read alike are read ten times as fast by the first.
    exact = re.compile(_ISO[form], re.ASCII).fullmatch if form in _ISO else None

    def clock(fields: list[str]) -> int:
        text = " ".join(fields)
        try:
            # The zone is set below, unless the text itself says one.
            if form == "iso" or (exact is not None and exact(text)):
                moment = datetime.fromisoformat(text)
            else:
                moment = datetime.strptime(text, form)  # noqa: DTZ007
        except ValueError:
            raise ValueError(f"time {text[:60]!r} is not of the form {form!r}") from None
        if moment.tzinfo is None:
            return utc_ms(moment, zone, text)
        return (moment - epoch + timedelta(microseconds=500)) // timedelta(milliseconds=1)

    return clock


def _number(text: str) -> float:
    """Return a finite number or NaN; float() alone reads more than an instrument writes."""
    if "_" in text or not text.isascii():
        raise ValueError(f"{text[:60]!r} is not a number")
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{text[:60]!r} is not a number") from None
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{text[:60]!r} is not finite")
    return number


# --- lines -----------------------------------------------------------------------------------


class DelimitedParser:
    """Reads lines of separated fields as the settings say; see the module for the rules."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.encoding = settings.encoding
        self.header: str | None = None
        self._stamps = Stamps(settings.spread_ms * 1_000_000)
        self._names: tuple[str, ...] = settings.fields
        self._skip = 0 if settings.fields else settings.skip_before_header

    @property
    def last_ns(self) -> int | None:
        """Time of the last sample, ns since 1970 UTC."""
        return self._stamps.placed

    def feed(self, line: str, *, number: int) -> list[Sample] | Rejected | None:
        """Return the line's sample, why there is none, or None for preamble, header and blank lines."""
        line = line.removeprefix("\ufeff")
        if not line.strip():
            return None
        try:
            if self._skip:
                self._skip -= 1
                return None
            fields = self._split(line)
            if not self._names or line == self.header:
                return self._begin(line, fields, number)
            return [self._sample(fields)]
        except (ValueError, OverflowError) as error:
            return Rejected(number, line, str(error))

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs to read on from here."""
        return {"header": self.header, "skip": self._skip, "raw": self._stamps.raw, "placed": self._stamps.placed}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where the parser that gave this state stopped."""
        if state["header"] is not None:
            self.header = state["header"]
            self._names = tuple(self._split(state["header"]))
        self._skip, self._stamps.raw, self._stamps.placed = state["skip"], state["raw"], state["placed"]

    def _split(self, line: str) -> list[str]:
        separator = self.settings.separator
        if '"' in line:
            # The csv module is needed for quoted fields only; it reads one line here, which may be cut in a quote.
            import csv  # noqa: PLC0415

            try:
                return [field.strip() for field in next(csv.reader([line], delimiter=separator, strict=True))]
            except (csv.Error, StopIteration) as error:
                raise ValueError(f"the quotes in the line do not fit: {error}") from None
        return line.split() if separator == " " else [field.strip() for field in line.split(separator)]

    def _begin(self, line: str, fields: list[str], number: int) -> Rejected | None:
        """Take the header line: what follows is a table of its own."""
        settings = self.settings
        wanted = [name for name, *_ in settings.columns] + list(settings.time_columns)
        wanted += [name for name in (settings.port_column, settings.status_column) if name]
        absent = [name for name in wanted if name not in fields]
        if absent:
            reason = f"no header line stands before this line, and it is none: it has no column {', '.join(absent)}"
            return Rejected(number, line, reason)
        self.header, self._names, self._skip = line, tuple(fields), settings.skip_after_header
        self._stamps = Stamps(settings.spread_ms * 1_000_000)
        return None

    def _sample(self, fields: list[str]) -> Sample:
        settings, names = self.settings, self._names
        if len(fields) != len(names):
            raise ValueError(f"{len(fields)} fields, expected {len(names)}")
        row = dict(zip(names, fields, strict=True))
        values = {}
        for name, quantity, factor, offset in settings.columns:
            if row[name].lower() not in settings.missing:
                value = _column_number(name, row[name]) * factor + offset
                if value in (float("inf"), float("-inf")):
                    raise ValueError(f"column {name}: {row[name][:60]!r} is too large for the unit it is sent in")
                if value == value:  # noqa: PLR0124 - NaN means missing
                    values[quantity] = value
        port = _port(row[settings.port_column]) if settings.port_column else None
        status_text = row[settings.status_column] if settings.status_column else ""
        status = _whole(status_text) if status_text.lower() not in settings.missing else None
        raw_ms = settings.clock([row[name] for name in settings.time_columns])
        if settings.time_columns:  # the host's own clock is the agent's to judge
            bounded(raw_ms)
        time_ns, mark = self._stamps.place(raw_ms * 1_000_000)
        return Sample(time_ns, values, port, status, mark)


def _column_number(name: str, text: str) -> float:
    try:
        return _number(text)
    except ValueError as error:
        raise ValueError(f"column {name}: {error}") from None


def _port(text: str) -> str | None:
    if len(text) > 64 or not text.isprintable():
        raise ValueError(f"port {text[:60]!r} is not a name of up to 64 printable characters")
    return text or None
