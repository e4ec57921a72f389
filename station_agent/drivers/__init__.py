"""Instruments: one module per family, one parser for the live stream and the file alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import islice
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Final, Protocol, cast

from station_agent.drivers.lines import MAX_LINE, LineStream, read_blocks
from station_agent.drivers.parser import Parser
from station_agent.errors import DriverError
from station_agent.sample import Mark, Rejected, Sample

__all__ = [
    "DRIVERS",
    "Driver",
    "Mark",
    "Parser",
    "Rejected",
    "Sample",
    "host_stamped",
    "make_parser",
    "option_faults",
    "parse_line",
    "read_file",
    "recognise",
    "settled",
]

AUTO: Final = "auto"
FIRST_LINES: Final = 20
"""Lines looked at to recognise a format."""


@dataclass(frozen=True, slots=True)
class Driver:
    """One family of instruments.

    Parameters
    ----------
    module
        Where it is implemented; imported when it is needed.
    reads_files
        Whether it reads an instrument's own files; else it makes its samples itself.
    about
        What it reads, in a few words.
    """

    module: str
    reads_files: bool
    about: str


DRIVERS: Final[Mapping[str, Driver]] = {
    "picarro": Driver("station_agent.drivers.picarro", reads_files=True, about="Picarro user logs"),
    "licor": Driver("station_agent.drivers.licor", reads_files=True, about="LI-COR LI-7810, LI-7815, LI-7820"),
    "licor850": Driver("station_agent.drivers.licor850", reads_files=True, about="LI-COR LI-850 text logs"),
    "lgr": Driver("station_agent.drivers.lgr", reads_files=True, about="LGR/ABB gas analysers"),
    "campbell": Driver("station_agent.drivers.campbell", reads_files=True, about="Campbell tables TOA5 and TOACI1"),
    "delimited": Driver("station_agent.drivers.delimited", reads_files=True, about="separated fields, as configured"),
    "simulated": Driver("station_agent.drivers.simulated", reads_files=False, about="a seeded simulation"),
}
"""Name in the configuration -> driver."""


class _FileModule(Protocol):
    """What the module of a driver that reads files offers."""

    def make_parser(self, options: Mapping[str, Any], *, where: str, faults: list[str]) -> Parser: ...

    def recognise(self, lines: Sequence[str]) -> bool: ...


def _module(driver: str) -> _FileModule:
    if driver not in DRIVERS or not DRIVERS[driver].reads_files:
        reading = [name for name, known in DRIVERS.items() if known.reads_files]
        raise DriverError(f"driver {driver!r} reads no files, expected one of {', '.join(reading)}")
    return cast("_FileModule", import_module(DRIVERS[driver].module))


def option_faults(driver: str, options: Mapping[str, Any], *, where: str) -> list[str]:
    """Return what is wrong with a driver's options, one sentence each."""
    faults: list[str] = []
    if DRIVERS[driver].reads_files:
        _module(driver).make_parser(options, where=where, faults=faults)
    else:
        import_module(DRIVERS[driver].module).read_settings(options, where=where, faults=faults)
    return faults


def host_stamped(driver: str, options: Mapping[str, Any]) -> bool:
    """Whether the host gives the times of what is read by a known driver with these options, not the instrument."""
    says: Callable[[Mapping[str, Any]], bool] | None
    says = getattr(import_module(DRIVERS[driver].module), "host_stamped", None)
    return says is not None and says(options)


def make_parser(driver: str, options: Mapping[str, Any] | None = None) -> Parser:
    """Return a new parser of the named driver; raises DriverError listing what is wrong with the options."""
    faults: list[str] = []
    parser = _module(driver).make_parser(options or {}, where=driver, faults=faults)
    if faults:
        raise DriverError("; ".join(faults))
    return parser


def recognise(path: Path) -> str:
    """Return the driver that reads this file, by its first lines; raises DriverError saying what was seen."""
    with path.open("rb") as file:
        raw = list(islice(iter(lambda: file.readline(MAX_LINE), b""), FIRST_LINES))
    lines = [line.decode("utf-8", "backslashreplace").rstrip("\r\n") for line in raw]
    for name, driver in DRIVERS.items():
        if driver.reads_files and _module(name).recognise(lines):
            return name
    seen = next((line for line in lines if line.strip()), "")
    saw = f"its first line is {seen[:120]!r}" if seen else "it has no text in its first lines"
    raise DriverError(
        f"{path}: no driver recognises this file, {saw}; "
        "if it is a table of separated fields, say so with driver 'delimited' and its columns"
    )


def settled(path: Path, driver: str, options: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    """Return the options for reading this one file: with what only the file itself can say.

    An instrument that is followed is told all of it in its configuration. In a file that has been written, the
    dates may prove the order of day and month.

    Raises
    ------
    DriverError
        The file leaves open what the options must say.
    """
    settle: Callable[[Path, Mapping[str, Any]], Mapping[str, Any]] | None
    settle = getattr(_module(driver), "settle", None)
    return settle(path, options or {}) if settle else options or {}


def read_file(
    path: str | PathLike[str],
    driver: str = AUTO,
    *,
    options: Mapping[str, Any] | None = None,
    on_rejected: Callable[[Rejected], object] | None = None,
) -> Iterator[Sample]:
    """Read an instrument's own file from beginning to end.

    Parameters
    ----------
    path
        The file.
    driver
        A name of `DRIVERS`, or ``auto`` to recognise the format by the first lines.
    options
        The driver's options, as in the configuration.
    on_rejected
        Called with each line no sample could be made of; the reading goes on. The last line is rejected
        if the file ends in the middle of it.

    Yields
    ------
    Sample
        In the order of the file.

    Raises
    ------
    DriverError
        The format is not recognised, the driver reads no files, its options are wrong or the file leaves open what
        they must say; before the first sample.
    OSError
        The file cannot be read.
    """
    file = Path(fspath(path))
    name = recognise(file) if driver == AUTO else driver
    parser = make_parser(name, settled(file, name, options))
    return _samples(LineStream(parser), file, on_rejected)


def _samples(stream: LineStream, path: Path, on_rejected: Callable[[Rejected], object] | None) -> Iterator[Sample]:
    for parsed in read_blocks(stream, path):
        if on_rejected is not None:
            for aside in parsed.asides:
                on_rejected(aside.rejected)
        yield from parsed.samples


def parse_line(text: str, detail: Mapping[str, Any]) -> list[Sample]:
    """Read one line that had been rejected, as corrected by somebody.

    Parameters
    ----------
    text
        The corrected line, without its line end.
    detail
        Of the event ``line_rejected``: ``driver``, ``options``, ``header``, ``line`` and ``arrived`` are used.

    Raises
    ------
    DriverError
        The line still cannot be read, and why.
    """
    parser = make_parser(str(detail.get("driver")), detail.get("options"))
    header, number = detail.get("header"), detail.get("line", 0)
    parser.restore({**parser.state(), "header": header, "skip": 0})
    got = parser.feed(text, number=number)
    if isinstance(got, Rejected):
        raise DriverError(f"line {number} still cannot be read: {got.reason}")
    arrived = detail.get("arrived")  # the time of a line that has none of its own
    return [replace(sample, time_ns=arrived) if isinstance(arrived, int) else sample for sample in got or []]
