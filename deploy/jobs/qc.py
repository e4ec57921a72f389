"""The quality-control job: what changed in the store, through `qc.pipeline`, back as minute and hour means.

Cost grows with the readings in the hours that changed; memory holds one instrument's at a time.
"""

from __future__ import annotations

import threading
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr

import station_agent
from deploy.errors import DeployError
from ingest import feed, products, read, store
from qc import pipeline

CONSUMER: Final = "qc"
"""The job's name in the change feed."""
_HOUR: Final = np.timedelta64(3600 * 10**9, "ns")
_PATTERNS: Final = ("station", "instrument", "model")


@dataclass(frozen=True, slots=True)
class SeriesResult:
    """What one run wrote for one series: hours by flag, or why it could not be evaluated."""

    station: str
    inlet: str
    minutes: int
    hours: xr.Dataset | None
    problem: str = ""


def network_configuration(path: Path | None = None) -> list[dict[str, Any]]:
    """Return the ``[[series]]`` of a network's QC configuration; skyledger's own where `path` is None.

    Raises
    ------
    DeployError
        Where the file is no TOML or has anything but ``[[series]]``.
    """
    where = path or resources.files("deploy.jobs").joinpath("qc.toml")
    try:
        document = tomllib.loads(where.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"QC configuration {where} cannot be read: {error}"
        raise DeployError(msg) from None
    series = document.get("series")
    if set(document) != {"series"} or not isinstance(series, list):
        msg = f"QC configuration {where} has {', '.join(document) or 'nothing'} at the top, expected [[series]] only"
        raise DeployError(msg)
    return series


def configuration_for(
    station: read.Station, instrument: read.Instrument, inlet: read.Inlet, series: Sequence[Mapping[str, Any]]
) -> pipeline.Config | None:
    """Return the configuration of one series: the first ``[[series]]`` that fits, with the catalogue's place and ports.

    None where no ``[[series]]`` fits the instrument.
    """
    names = {"station": station.name, "instrument": instrument.name, "model": instrument.model or ""}
    for number, entry in enumerate(series, start=1):
        if all(fnmatchcase(names[key].casefold(), str(entry.get(key, "*")).casefold()) for key in _PATTERNS):
            settings = {key: value for key, value in entry.items() if key not in _PATTERNS}
            place = {
                **names,
                "inlet": inlet.name,
                "inlet_height": inlet.height,
                "latitude": station.latitude,
                "longitude": station.longitude,
                "altitude": station.altitude,
                "ports": [p.port for p in instrument.ports if p.inlet == inlet.name and p.port is not None],
            }
            return pipeline.Config.from_dict(settings | place, where=f"QC configuration, series {number}")
    return None


def run_once(
    dsn: str,
    series: Sequence[Mapping[str, Any]],
    *,
    on_instrument: Callable[[str, str], None] = lambda _station, _instrument: None,
) -> list[SeriesResult]:
    """Evaluate every hour that new readings touch, and write the means; all of it or nothing.

    Parameters
    ----------
    dsn
        The store.
    series
        From `network_configuration`.
    on_instrument
        Called with station and instrument before each is evaluated.

    Returns
    -------
    list of SeriesResult
        One for each series looked at; empty where nothing is new.
    """
    results: list[SeriesResult] = []
    with store.connect(dsn) as connection, connection.transaction():
        windows = _windows(feed.changes(connection, CONSUMER))
        stations = {station.name: station for station in read.stations(dsn)} if windows else {}
        for (station, instrument), spans in windows.items():
            on_instrument(station, instrument)
            if station in stations:
                for start, end in spans:
                    results += _evaluate(connection, dsn, stations[station], instrument, (start, end), series)
    return results


def watch(dsn: str, series: Sequence[Mapping[str, Any]], *, every: float, stop: threading.Event) -> Iterator[list[SeriesResult]]:
    """Run the job every `every` seconds until `stop` is set; yields what each round did."""
    while not stop.is_set():
        yield run_once(dsn, series)
        stop.wait(every)


def _windows(
    changes: Sequence[feed.Change],
) -> dict[tuple[str, str], list[tuple[np.datetime64, np.datetime64]]]:
    """Return whole hours touched, by instrument, those that meet joined."""
    by_instrument: dict[tuple[str, str], list[tuple[np.datetime64, np.datetime64]]] = {}
    for change in sorted(changes, key=lambda c: (c.station, c.instrument, c.start)):
        start = np.datetime64(change.start, "h").astype("datetime64[ns]")
        end = np.datetime64(change.end, "h").astype("datetime64[ns]") + _HOUR
        spans = by_instrument.setdefault((change.station, change.instrument), [])
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], end))
        else:
            spans.append((start, end))
    return by_instrument


def _evaluate(
    connection: store.Connection,
    dsn: str,
    station: read.Station,
    instrument_name: str,
    span: tuple[np.datetime64, np.datetime64],
    series: Sequence[Mapping[str, Any]],
) -> list[SeriesResult]:
    instrument = next((i for i in station.instruments if i.name == instrument_name), None)
    if instrument is None:
        return []
    results = []
    fed = {port.inlet for port in instrument.ports}
    readings: xr.Dataset | None = None
    for inlet in (i for i in station.inlets if i.name in fed):
        config = configuration_for(station, instrument, inlet, series)
        if config is None:
            reason = f"no [[series]] of the QC configuration fits {instrument.name} ({instrument.model})"
            results.append(SeriesResult(station.name, inlet.name, 0, None, reason))
            continue
        if readings is None:
            margin = np.timedelta64(int(config.margin_seconds * 1e9), "ns")
            readings = read.readings(
                dsn, station=station.name, instrument=instrument.name, start=span[0] - margin, end=span[1] + margin
            )
        results.append(_write(connection, readings, config, span))
    return results


def _write(
    connection: store.Connection, readings: xr.Dataset, config: pipeline.Config, span: tuple[np.datetime64, np.datetime64]
) -> SeriesResult:
    minutes, hours = (
        pipeline.run(
            readings, config, interval=interval, start=span[0], end=span[1], code_version=station_agent.__version__
        )
        for interval in ("minute", "hour")
    )
    run = products.QcRun(
        code_version=station_agent.__version__,
        configuration_digest=config.digest,
        inputs={"instrument": config.instrument, "start": str(span[0]), "end": str(span[1])},
    )
    products.write(connection, run, minutes, hours)
    return SeriesResult(config.station, config.inlet, minutes.sizes["time"], hours)
