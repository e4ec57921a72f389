"""The agent's configuration: TOML into frozen dataclasses, every fault named at once.

Paths in the file are relative to it. The keys, their bounds and defaults are the tables below.
"""

from __future__ import annotations

import json
import os
import stat
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from station_agent import pushed
from station_agent.drivers import DRIVERS, host_stamped, option_faults
from station_agent.errors import ConfigError, WireError
from station_agent.keys import Key, nearest, read_table
from station_agent.live import makers
from station_agent.live.makers import Connection
from station_agent.pushed import Pushed
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
    "password_file": Key(str, "", least=1),
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
    "policy": Key(str, "stop", choices=("stop", "thin", "drop-oldest")),
}
BATCH: Final[Mapping[str, Key]] = {
    "samples": Key(int, 60, least=1, most=MAX_BATCH),
    "seconds": Key(float, 60.0, least=0.1, most=86_400.0),
    "max_inflight": Key(int, 20, least=1, most=1000),
    "max_unacknowledged": Key(int, 1000, least=1, most=20_000),
    "resend": Key(float, 30.0, least=0.1, most=3600.0),
    "order": Key(str, "oldest-first", choices=("oldest-first", "live-first")),
}
HEALTH: Final[Mapping[str, Key]] = {
    "heartbeat": Key(float, 60.0, least=1.0, most=3600.0),
    "textfile": Key(str, "", least=1),
}
POLL_S: Final = 1.0
"""Seconds between looks at files, where nothing else is said."""
WAYS: Final = ("path", "tcp", "serial")
"""Where an instrument's readings come from: one of them."""
CREDENTIALS: Final = "$CREDENTIALS_DIRECTORY/"
"""How a `password_file` begins that the service manager hands over."""
MOST_PASSWORD: Final = 4096
INSTRUMENT: Final[Mapping[str, Key]] = {
    "name": Key(str, "", required=True),
    "driver": Key(str, "", required=True),
    "path": Key(str, "", least=1),
    "poll": Key(float, least=0.05, most=3600.0),
    "normal_status": Key(list, (), most=100),
    **makers.KEYS,
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
    """Where the spool is, how many bytes it may hold, and what happens then.

    Parameters
    ----------
    path, quota
        Its file; bytes.
    policy
        ``stop``: reading stops until some is delivered (what an instrument's files hold is not lost). ``thin``: every
        second sample of the oldest batches is given up. ``drop-oldest``: the oldest batches are. What is given up is
        counted, and reported by an event with its range.
    """

    path: Path
    quota: int
    policy: str = "stop"


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
    order
        ``oldest-first``, or ``live-first``: what is frozen after connecting takes turns with what waited before.
    """

    samples: int
    seconds: float
    max_inflight: int
    max_unacknowledged: int
    resend: float
    order: str


@dataclass(frozen=True, slots=True)
class Instrument:
    """One instrument.

    Parameters
    ----------
    name
        In the topics.
    driver
        Of `DRIVERS`.
    path
        Its files (glob); empty where they are not read.
    poll
        Seconds between looks, or questions.
    options
        The driver's.
    connection
        How it is read live, None where it is not.
    normal_status
        The status words that are no alarm; none given, none is one.
    """

    name: str
    driver: str
    path: str
    poll: float
    options: Mapping[str, Any]
    connection: Connection | None = None
    normal_status: tuple[int, ...] = ()

    @property
    def host_stamped(self) -> bool:
        """Whether the host gives the times of its samples."""
        return host_stamped(self.driver, self.options)


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration without faults.

    `digest` is that of what is in force (the password apart), `pushed` what the server has changed of it, and
    `textfile` where the agent writes how it is for node_exporter.
    """

    file: Path
    station: str
    broker: Broker
    spool: SpoolSettings
    batch: BatchSettings
    heartbeat: float
    instruments: tuple[Instrument, ...]
    textfile: Path | None = None
    digest: str = ""
    pushed: Pushed | None = None

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
    return _with_pushed(config, document)


def _with_pushed(config: Config, document: Mapping[str, Any]) -> Config:
    """Return the configuration with what the server has changed of it, where that still fits the file."""
    refusal = pushed.refusal(config.spool.path)
    kept = pushed.read_kept(config.spool.path)
    if kept is not None:
        faults: list[str] = []
        name, changed = _changed(config.file, document, kept, faults)
        if changed is not None:
            return replace(changed, pushed=Pushed(name, refusal))
        refusal = {"id": name, "time": None, "digest": pushed.digest(kept), "faults": faults}
    return replace(config, pushed=Pushed(None, refusal))


def try_pushed(config: Config, payload: bytes) -> tuple[str | None, list[str]]:
    """Return a pushed message's id, and every fault that it or what it would make of the station's file has."""
    faults: list[str] = []
    name, _ = _changed(config.file, tomllib.loads(config.file.read_text("utf-8")), payload, faults)
    return name, faults


def _changed(
    file: Path, document: Mapping[str, Any], payload: bytes, faults: list[str]
) -> tuple[str | None, Config | None]:
    name, changes = pushed.parse(payload, faults)
    merged = pushed.merge(document, changes, faults)
    changed = _config(merged, file, faults)
    return name, None if faults else changed


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
        broker=_broker(top["broker"] or {}, file, faults) if "broker" in document else _NO_BROKER,
        spool=SpoolSettings(folder / spool["path"], spool["quota_mb"] * MEGABYTE, spool["policy"]),
        batch=BatchSettings(**batch),
        heartbeat=health["heartbeat"],
        instruments=_instruments(top["instrument"] or (), folder, faults),
        textfile=folder / health["textfile"] if health["textfile"] else None,
        digest=_digest(document),
    )


def _digest(document: Mapping[str, Any]) -> str:
    """Return what a configuration is known by; a password could be guessed from it and is left out."""
    broker = document.get("broker")
    if isinstance(broker, Mapping):
        document = {**document, "broker": {key: value for key, value in broker.items() if key != "password"}}
    text = json.dumps(document, sort_keys=True, default=str)
    return blake2b(text.encode(), digest_size=16).hexdigest()


_NO_BROKER: Final = Broker("", MQTT_PORT, "", "", 60, None)


def _broker(table: Mapping[str, Any], file: Path, faults: list[str]) -> Broker:
    folder = file.resolve().parent
    values = read_table(table, BROKER, where="broker", faults=faults)
    tls = None
    if values["tls"] is not None:
        names = read_table(values["tls"], TLS, where="broker.tls", faults=faults)
        paths = {key: folder / name if name else None for key, name in names.items()}
        faults += [f"broker.tls.{key}: {path} is no file" for key, path in paths.items() if path and not path.is_file()]
        if paths["key"] and not paths["cert"]:
            faults.append("broker.tls.cert: missing, a key needs its certificate")
        if paths["key"] and paths["key"].is_file():
            _check_private(paths["key"], "broker.tls.key", "the private key", faults)
        tls = Tls(**paths)
    if values["password"]:
        _check_private(file, "broker.password", "a file with a password", faults)
    password = values["password"] or _password(values["password_file"], folder, faults)
    if values["password"] and values["password_file"]:
        faults.append("broker.password_file: the password is in broker.password already; keep one of them")
    if (values["password"] or values["password_file"]) and not values["username"]:
        faults.append("broker.username: missing, a password needs its user")
    port = values["port"] or (MQTTS_PORT if tls else MQTT_PORT)
    return Broker(values["host"], port, values["username"], password, values["keepalive"], tls)


def _password(name: str, folder: Path, faults: list[str]) -> str:
    """Return the password in a file, or in a credential of the service manager."""
    if not name:
        return ""
    where = "broker.password_file"
    path = folder / name
    if name.startswith(CREDENTIALS):
        given = os.environ.get("CREDENTIALS_DIRECTORY")
        if not given:
            faults.append(f"{where}: {name!r}: no credentials were handed over; set LoadCredential= in the unit")
            return ""
        path = Path(given) / name.removeprefix(CREDENTIALS)
    try:
        with path.open("rb") as file:
            password = file.read(MOST_PASSWORD + 1).decode().rstrip("\r\n")
    except OSError as error:
        faults.append(f"{where}: {path} cannot be read: {error.strerror}")
        return ""
    except UnicodeDecodeError:
        faults.append(f"{where}: {path} is not UTF-8")
        return ""
    if not password or len(password) > MOST_PASSWORD or "\n" in password:
        faults.append(f"{where}: {path} has to hold one line with the password, of at most {MOST_PASSWORD} bytes")
    _check_private(path, where, "a file with a password", faults)
    return password


def _check_private(path: Path, where: str, what: str, faults: list[str]) -> None:
    """Note a secret that every user of the machine can read or change."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        faults.append(f"{where}: {what} is open to every user (mode {mode:04o}); do: chmod 600 {path}")


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
        normal = values["normal_status"]
        if not all(isinstance(word, int) and not isinstance(word, bool) for word in normal):
            faults.append(f"{where}.normal_status: expected whole numbers only, as [963]")
            normal = ()
        _check(values["name"], f"{where}.name", faults)
        if values["name"] and values["name"] in [known.name for known in instruments]:
            faults.append(f"{where}.name: {values['name']!r} is the name of another instrument too")
        faults += _driver_faults(values, options, where)
        path = str(folder / values["path"]) if values["path"] else ""
        connection, poll = _connection(values, options, where, faults)
        if connection and connection.address in [known.connection.address for known in instruments if known.connection]:
            faults.append(
                f"{where}: {connection.address} is what another instrument is read from too, expected its own"
            )
        instruments.append(Instrument(values["name"], values["driver"], path, poll, options, connection, tuple(normal)))
    return tuple(instruments)


def _connection(
    values: Mapping[str, Any], options: Mapping[str, Any], where: str, faults: list[str]
) -> tuple[Connection | None, float]:
    """Return how an instrument is read live (None: it is not), and the seconds between looks or questions."""
    driver, poll = values["driver"], values["poll"]
    connection = makers.read_connection(driver, values, where=where, faults=faults)
    if connection is None:
        return None, poll or POLL_S
    poll = poll or makers.maker(driver).poll
    if connection.silent <= poll:
        faults.append(f"{where}.silent: got {connection.silent:g}, expected more than the poll of {poll:g} s")
    if driver in DRIVERS and DRIVERS[driver].reads_files:
        faults += makers.dialogue_faults(driver, options, poll=poll, where=where)
    return connection, poll


def _driver_faults(values: Mapping[str, Any], options: Mapping[str, Any], where: str) -> list[str]:
    name = values["driver"]
    if not name:
        return []
    if name not in DRIVERS:
        close = nearest(name, DRIVERS)
        hint = f"did you mean {close!r}?" if close else f"known are {', '.join(DRIVERS)}"
        return [f"{where}.driver: got {name!r}, {hint}"]
    given = [key for key in WAYS if values[key]]
    faults = []
    if DRIVERS[name].reads_files and not given:
        faults.append(f"{where}.path: missing, driver {name!r} reads files; or say tcp or serial to read it live")
    if DRIVERS[name].reads_files and len(given) > 1:
        faults.append(f"{where}.{given[1]}: {given[0]} is given too, expected one of {', '.join(WAYS)}")
    if not DRIVERS[name].reads_files:
        kind = {"path": "reads no files", "tcp": "has no connection", "serial": "has no connection"}
        faults += [f"{where}.{key}: driver {name!r} {kind[key]}, leave it out" for key in given]
    if values["path"] and host_stamped(name, options):
        faults.append(
            f"{where}.time.format: 'arrival' is the time at which a live line comes, and path names files; "
            "expected the columns with the time"
        )
    return faults + option_faults(name, options, where=where)


def _check(name: str, where: str, faults: list[str]) -> None:
    """Note a name that may not stand in a topic; an absent one has been noted already."""
    if name:
        try:
            check_name(name, what=where)
        except WireError as error:
            faults.append(str(error))
