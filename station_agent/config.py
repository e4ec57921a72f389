"""The agent's configuration: TOML into frozen dataclasses, every fault named at once.

Paths in the file are relative to it. The keys, their bounds and defaults are the tables below.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from station_agent.drivers import DRIVERS, option_faults
from station_agent.errors import ConfigError, WireError
from station_agent.keys import Key, nearest, read_table
from station_agent.wire import check_name

MQTT_PORT: Final = 1883
MQTTS_PORT: Final = 8883
MEGABYTE: Final = 1_000_000
MAX_BATCH: Final = 10_000
"""Samples of a batch: with every quantity there is, they stay below what a payload may have."""

TOP: Final[Mapping[str, Key]] = {
    "station": Key(str, "", required=True),
    "broker": Key(dict, required=True),
    "spool": Key(dict),
    "batch": Key(dict),
    "health": Key(dict),
    "instrument": Key(list, required=True, least=1, most=100),
}
BROKER: Final[Mapping[str, Key]] = {
    "host": Key(str, "", required=True, least=1, most=253),
    "port": Key(int, least=1, most=65_535),
    "username": Key(str, "", least=1),
    "password": Key(str, "", least=1),
    "keepalive": Key(int, 60, least=5, most=3600),
    "tls": Key(dict),
}
TLS: Final[Mapping[str, Key]] = {
    "ca": Key(str, "", least=1),
    "cert": Key(str, "", least=1),
    "key": Key(str, "", least=1),
}
SPOOL: Final[Mapping[str, Key]] = {
    "path": Key(str, "spool.db", least=1),
    "quota_mb": Key(int, 2000, least=1, most=1_000_000),
}
BATCH: Final[Mapping[str, Key]] = {
    "samples": Key(int, 60, least=1, most=MAX_BATCH),
    "seconds": Key(float, 60.0, least=0.1, most=86_400.0),
    "max_inflight": Key(int, 20, least=1, most=1000),
    "max_unacknowledged": Key(int, 1000, least=1, most=20_000),
    "resend": Key(float, 30.0, least=0.1, most=3600.0),
}
HEALTH: Final[Mapping[str, Key]] = {"heartbeat": Key(float, 60.0, least=1.0, most=3600.0)}
INSTRUMENT: Final[Mapping[str, Key]] = {
    "name": Key(str, "", required=True),
    "driver": Key(str, "", required=True),
    "path": Key(str, "", least=1),
    "poll": Key(float, 1.0, least=0.05, most=3600.0),
}
"""What every instrument has; the other keys of its table are its driver's."""


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS towards the broker: authority to trust (None: the system's), the station's certificate and key."""

    ca: Path | None
    cert: Path | None
    key: Path | None


@dataclass(frozen=True, slots=True)
class Broker:
    """Where to deliver; ``keepalive`` in s."""

    host: str
    port: int
    username: str
    password: str
    keepalive: int
    tls: Tls | None


@dataclass(frozen=True, slots=True)
class SpoolSettings:
    """Where the spool is, and the bytes at which reading stops."""

    path: Path
    quota: int


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """When a batch is frozen, and how batches are sent.

    Parameters
    ----------
    samples, seconds
        A batch is frozen when it has this many samples, or its first is this old.
    max_inflight
        Messages sent that the broker has not confirmed; also the batches sent at first before the server
        has acknowledged any.
    max_unacknowledged
        Batches sent that the server has not acknowledged, at most: their number doubles with each round of
        acknowledgements up to this, and is halved when none come.
    resend
        Seconds without acknowledgement after which a batch is sent again; doubled while none come.
    """

    samples: int
    seconds: float
    max_inflight: int
    max_unacknowledged: int
    resend: float


@dataclass(frozen=True, slots=True)
class Instrument:
    """One instrument: name in the topics, driver, files (glob; empty where it has none), s between looks, options."""

    name: str
    driver: str
    path: str
    poll: float
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration without faults."""

    file: Path
    station: str
    broker: Broker
    spool: SpoolSettings
    batch: BatchSettings
    heartbeat: float
    instruments: tuple[Instrument, ...]

    def instrument(self, name: str) -> Instrument:
        """Return the instrument of this name; raises ConfigError naming those there are."""
        for instrument in self.instruments:
            if instrument.name == name:
                return instrument
        known = ", ".join(instrument.name for instrument in self.instruments)
        raise ConfigError(f"{self.file}: there is no instrument {name!r}, there are {known}")


def read_config(file: Path) -> Config:
    """Read and check a configuration file.

    Raises
    ------
    ConfigError
        With every fault on a line of its own: file, key path, got, expected.
    """
    try:
        document = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: is not UTF-8: {error.reason} at byte {error.start + 1}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: is not TOML: {error}") from None
    faults: list[str] = []
    config = _config(document, file, faults)
    if faults:
        raise ConfigError("\n".join(f"{file}: {fault}" for fault in faults))
    return config


def _config(document: Mapping[str, Any], file: Path, faults: list[str]) -> Config:
    top = read_table(document, TOP, where="", faults=faults)
    folder = file.resolve().parent
    _check(top["station"], "station", faults)
    health = read_table(top["health"] or {}, HEALTH, where="health", faults=faults)
    batch = read_table(top["batch"] or {}, BATCH, where="batch", faults=faults)
    spool = read_table(top["spool"] or {}, SPOOL, where="spool", faults=faults)
    return Config(
        file=file,
        station=top["station"],
        broker=_broker(top["broker"] or {}, folder, faults) if "broker" in document else _NO_BROKER,
        spool=SpoolSettings(folder / spool["path"], spool["quota_mb"] * MEGABYTE),
        batch=BatchSettings(**batch),
        heartbeat=health["heartbeat"],
        instruments=_instruments(top["instrument"] or (), folder, faults),
    )


_NO_BROKER: Final = Broker("", MQTT_PORT, "", "", 60, None)


def _broker(table: Mapping[str, Any], folder: Path, faults: list[str]) -> Broker:
    values = read_table(table, BROKER, where="broker", faults=faults)
    tls = None
    if values["tls"] is not None:
        names = read_table(values["tls"], TLS, where="broker.tls", faults=faults)
        paths = {key: folder / name if name else None for key, name in names.items()}
        faults += [f"broker.tls.{key}: {path} is no file" for key, path in paths.items() if path and not path.is_file()]
        if paths["key"] and not paths["cert"]:
            faults.append("broker.tls.cert: missing, a key needs its certificate")
        tls = Tls(**paths)
    if values["password"] and not values["username"]:
        faults.append("broker.username: missing, a password needs its user")
    port = values["port"] or (MQTTS_PORT if tls else MQTT_PORT)
    return Broker(values["host"], port, values["username"], values["password"], values["keepalive"], tls)


def _instruments(tables: Sequence[Any], folder: Path, faults: list[str]) -> tuple[Instrument, ...]:
    instruments: list[Instrument] = []
    for number, table in enumerate(tables, 1):
        where = f"instrument[{number}]"
        if not isinstance(table, Mapping):
            faults.append(f"{where}: expected a table: [[instrument]]")
            continue
        common = {key: value for key, value in table.items() if key in INSTRUMENT}
        values = read_table(common, INSTRUMENT, where=where, faults=faults)
        options = {key: value for key, value in table.items() if key not in INSTRUMENT}
        _check(values["name"], f"{where}.name", faults)
        if values["name"] and values["name"] in [known.name for known in instruments]:
            faults.append(f"{where}.name: {values['name']!r} is the name of another instrument too")
        faults += _driver_faults(values, options, where)
        path = str(folder / values["path"]) if values["path"] else ""
        instruments.append(Instrument(values["name"], values["driver"], path, values["poll"], options))
    return tuple(instruments)


def _driver_faults(values: Mapping[str, Any], options: Mapping[str, Any], where: str) -> list[str]:
    name = values["driver"]
    if not name:
        return []
    if name not in DRIVERS:
        close = nearest(name, DRIVERS)
        hint = f"did you mean {close!r}?" if close else f"known are {', '.join(DRIVERS)}"
        return [f"{where}.driver: got {name!r}, {hint}"]
    faults = []
    if DRIVERS[name].reads_files and not values["path"]:
        faults.append(f"{where}.path: missing, driver {name!r} reads files")
    if not DRIVERS[name].reads_files and values["path"]:
        faults.append(f"{where}.path: driver {name!r} reads no files, leave it out")
    return faults + option_faults(name, options, where=where)


def _check(name: str, where: str, faults: list[str]) -> None:
    """Note a name that may not stand in a topic; an absent one has been noted already."""
    if name:
        try:
            check_name(name, what=where)
        except WireError as error:
            faults.append(str(error))
