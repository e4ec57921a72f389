"""How each family of instruments can be reached while it measures: the makers' habits as a table.

A family that is not in the table and whose driver reads lines is listened to as a plain stream of lines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, Protocol, cast

from station_agent.keys import Key, show

BAUDS: Final = (1200, 2400, 4800, 9600, 19_200, 38_400, 57_600, 115_200, 230_400, 460_800, 921_600)
PARITIES: Final = ("none", "even", "odd")
SILENT_S: Final = 120.0
"""Seconds without a word after which an instrument is taken to be silent, and connected to anew."""

KEYS: Final[Mapping[str, Key]] = {
    "tcp": Key(str, "", least=1, most=300),
    "serial": Key(str, "", least=1, most=300),
    "baud": Key(int),
    "bits": Key(int, least=7, most=8),
    "parity": Key(str, choices=PARITIES),
    "stop": Key(int, least=1, most=2),
    "silent": Key(float, SILENT_S, least=0.1, most=86_400.0),
    "stream_header": Key(str, "", least=1, most=60_000),
}
"""The keys of an instrument that is read live, beside those every instrument has."""
SERIAL_ONLY: Final = ("baud", "bits", "parity", "stop")


@dataclass(frozen=True, slots=True)
class Maker:
    """What a family speaks.

    Parameters
    ----------
    dialogue
        Module with the way it is spoken with; imported when it is needed.
    poll
        Seconds between looks, or between questions where it is asked.
    tcp_port
        The port it listens on, None where that is set on the instrument.
    baud, bits, parity, stop
        Its serial port as delivered.
    begins_whole
        Whether the first line it sends on a connection is a whole one. Where that is not sure, a first line
        that looks like a reading is kept aside: it may be the end of a longer one.
    live
        Whether the driver reads what the instrument says live; else its files alone.
    """

    dialogue: str = "station_agent.live.stream"
    poll: float = 1.0
    tcp_port: int | None = None
    baud: int = 9600
    bits: int = 8
    parity: str = "none"
    stop: int = 1
    begins_whole: bool = False
    live: bool = True


LINES: Final = Maker()
"""Whatever sends lines."""
MAKERS: Final[Mapping[str, Maker]] = {
    "picarro": Maker("station_agent.live.picarro", poll=5.0, tcp_port=51_020, baud=19_200),
    # Headers are the first that it sends.
    "licor": Maker(begins_whole=True),
    "lgr": Maker(baud=115_200),
    "licor850": Maker(live=False),
    "campbell": Maker(live=False),
}
"""Driver -> what its instruments speak."""


@dataclass(frozen=True, slots=True)
class Tcp:
    """Where an instrument listens."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Serial:
    """The port an instrument is plugged into, and how it is set."""

    device: str
    baud: int
    bits: int
    parity: str
    stop: int

    def __str__(self) -> str:
        return f"serial:{self.device}"

    @property
    def settings(self) -> str:
        """As technicians write it, e.g. ``19200 8N1``."""
        return f"{self.baud} {self.bits}{self.parity[0].upper()}{self.stop}"


@dataclass(frozen=True, slots=True)
class Connection:
    """How an instrument is reached.

    Parameters
    ----------
    address
        Where.
    silent
        Seconds without a word after which it is connected to anew.
    header
        The header lines of a stream that sends none; empty where it does.
    """

    address: Tcp | Serial
    silent: float
    header: str


class _Dialogues(Protocol):
    """What the module of a dialogue offers beside the dialogue itself."""

    def faults(self, options: Mapping[str, Any], *, poll: float, where: str) -> list[str]: ...

    def manner(self, options: Mapping[str, Any], *, poll: float) -> str: ...


def maker(driver: str) -> Maker:
    """Return what the instruments of a driver speak."""
    return MAKERS.get(driver, LINES)


def _dialogues(driver: str) -> _Dialogues:
    return cast("_Dialogues", import_module(maker(driver).dialogue))


def dialogue_faults(driver: str, options: Mapping[str, Any], *, poll: float, where: str) -> list[str]:
    """Return what is wrong with an instrument's options where it is read live, one sentence each."""
    return _dialogues(driver).faults(options, poll=poll, where=where)


def connected(driver: str, options: Mapping[str, Any], connection: Connection, *, poll: float) -> str:
    """Say what an instrument is connected to and how it is spoken with."""
    address = connection.address
    settings = f" {address.settings}" if isinstance(address, Serial) else ""
    manner = _dialogues(driver).manner(options, poll=poll)
    return f"{address}{settings}, {manner}; connected anew after {connection.silent:g} s of silence"


def read_connection(driver: str, values: Mapping[str, Any], *, where: str, faults: list[str]) -> Connection | None:
    """Return the connection in an instrument's table, None where it has none; what is wrong is appended to `faults`.

    Parameters
    ----------
    driver
        A known driver.
    values
        The table's values of `KEYS`.
    """
    known = maker(driver)
    given = [key for key in ("tcp", "serial") if values[key]]
    if given and not known.live:
        faults.append(
            f"{where}.{given[0]}: what instruments of driver {driver!r} say live is not what their files hold; "
            "give path and follow their files"
        )
        return None
    if not values["serial"]:
        needless = [key for key in SERIAL_ONLY if values[key] is not None]
        faults += [f"{where}.{key}: belongs to a serial port, and there is no key serial" for key in needless]
    address: Tcp | Serial | None = None
    if values["tcp"]:
        address = _tcp(values["tcp"], known, where=f"{where}.tcp", faults=faults)
    elif values["serial"]:
        address = _serial(values, known, where=where, faults=faults)
    elif values["stream_header"]:
        faults.append(f"{where}.stream_header: belongs to a live stream, and there is no key tcp or serial")
    return None if address is None else Connection(address, values["silent"], values["stream_header"])


def _tcp(text: str, known: Maker, *, where: str, faults: list[str]) -> Tcp | None:
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:/\[\]]+))(?::([0-9]{1,5}))?", text)
    port = int(match[3]) if match and match[3] else known.tcp_port
    if match is None or port is None or not 1 <= port <= 65_535:
        form = "host:port" if known.tcp_port is None else f"host or host:port (without one, {known.tcp_port})"
        faults.append(f"{where}: got {show(text)}, expected {form}")
        return None
    return Tcp(match[1] or match[2], port)


def _serial(values: Mapping[str, Any], known: Maker, *, where: str, faults: list[str]) -> Serial:
    set_to = {key: getattr(known, key) if values[key] is None else values[key] for key in SERIAL_ONLY}
    if set_to["baud"] not in BAUDS:
        faults.append(f"{where}.baud: got {set_to['baud']}, expected one of {', '.join(map(str, BAUDS))}")
    return Serial(values["serial"], **set_to)
