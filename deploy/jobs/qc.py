"""The quality-control job: what changed in the store, through `qc.pipeline`, back as minute and hour means.

Cost grows with the readings in the hours that changed; memory holds two weeks of one instrument.
"""

from __future__ import annotations

import threading
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr

import station_agent
from deploy.errors import DeployError
from ingest import database, feed, ledger, products, read
from qc import manual, pipeline

CONSUMER: Final = "qc"
"""The job's name in the change feed."""
PIECE: Final = np.timedelta64(14 * 86400 * 10**9, "ns")
"""How much of an instrument's readings is looked at at once: 14 days at 1 Hz are some 100 MB a quantity."""
_HOUR: Final = np.timedelta64(3600 * 10**9, "ns")
Span = tuple[np.datetime64, np.datetime64]
"""Whole hours: start, end."""
_PATTERNS: Final = ("station", "instrument", "model")


@dataclass(frozen=True, slots=True)
class SeriesResult:
    """What one run wrote for one series: hours by flag, or why it could not be evaluated."""

    station: str
    inlet: str
    minutes: int
    hours: xr.Dataset | None
    problem: str = ""

    def __str__(self) -> str:
        where = f"{self.station}/{self.inlet}"
        if self.hours is None:
            return f"{where}: not evaluated: {self.problem}"
        counts = ", ".join(
            f"{gas} " + " ".join(f"{number} {flag}" for flag, number in said["flags"].items() if number)
            for gas, said in pipeline.summary(self.hours).items()
        )
        return f"{where}: {self.minutes} minutes, {self.hours.sizes['time']} hours: {counts or 'no value'}"


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
    station: read.Station,
    instrument: read.Instrument,
    inlet: read.Inlet,
    *,
    span: Span,
    series: Sequence[Mapping[str, Any]],
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
                "ports": [p.port for p in ports_of(instrument, span) if p.inlet == inlet.name and p.port is not None],
            }
            return pipeline.Config.from_dict(settings | place, where=f"QC configuration, series {number}")
    return None


def ports_of(instrument: read.Instrument, span: Span) -> list[read.Port]:
    """Return the ports that were connected during (part of) a span."""
    start, end = (read.instant(moment) for moment in span)
    return [
        port
        for port in instrument.ports
        if (port.start is None or port.start < end) and (port.end is None or port.end > start)
    ]


def run_once(
    dsn: str,
    series: Sequence[Mapping[str, Any]],
    *,
    on_instrument: Callable[[str, str], None] = lambda _station, _instrument: None,
) -> list[SeriesResult]:
    """Evaluate every hour that new readings can change, and write the means, in pieces that are written whole.

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
    more = True
    with database.connect(dsn) as connection:
        while more:
            with connection.transaction():
                news = feed.changes(connection, CONSUMER)
                results += _evaluate_all(connection, dsn, news, series=series, on_instrument=on_instrument)
            more = news.more
    return results


def _evaluate_all(
    connection: database.Connection,
    dsn: str,
    news: Sequence[feed.Change],
    *,
    series: Sequence[Mapping[str, Any]],
    on_instrument: Callable[[str, str], None],
) -> Iterator[SeriesResult]:
    changed: dict[tuple[str, str], list[Span]] = {}
    for change in news:
        changed.setdefault((change.station, change.instrument), []).append((change.start, change.end))
    stations = {station.name: station for station in read.stations(dsn)} if changed else {}
    for (name, instrument_name), spans in changed.items():
        on_instrument(name, instrument_name)
        station = stations[name]
        instrument = next(i for i in station.instruments if i.name == instrument_name)
        for span in spans:
            yield from _evaluate(connection, dsn, station, instrument, span=span, series=series)


def watch(
    dsn: str, series: Sequence[Mapping[str, Any]], *, every: float, stop: threading.Event
) -> Iterator[list[SeriesResult]]:
    """Run the job every `every` seconds until `stop` is set; yields what each round did."""
    while not stop.is_set():
        yield run_once(dsn, series)
        stop.wait(every)


def _evaluate(
    connection: database.Connection,
    dsn: str,
    station: read.Station,
    instrument: read.Instrument,
    *,
    span: Span,
    series: Sequence[Mapping[str, Any]],
) -> list[SeriesResult]:
    """Evaluate the whole hours that readings within a span can change."""
    fed = {port.inlet for port in ports_of(instrument, span)}
    inlets = [inlet for inlet in station.inlets if inlet.name in fed]
    configs = [configuration_for(station, instrument, inlet, span=span, series=series) for inlet in inlets]
    results = [
        SeriesResult(station.name, inlet.name, 0, None, f"no [[series]] fits {instrument.name} ({instrument.model})")
        for inlet, config in zip(inlets, configs, strict=True)
        if config is None
    ]
    known = [config for config in configs if config is not None]
    if known:
        margin = np.timedelta64(int(max(config.margin_seconds for config in known) * 1e9), "ns")
        for start, end in _pieces(_whole_hours((span[0] - margin, span[1] + margin))):
            readings = read.readings(
                dsn, station=station.name, instrument=instrument.name, start=start - margin, end=end + margin
            )
            hand = by_hand(connection, station.name, instrument.name, (start - margin, end + margin))
            results += [_write(connection, readings, config, (start, end), rows=hand) for config in known]
    return results


def by_hand(connection: database.Connection, station: str, instrument: str, span: Span) -> list[ledger.Row]:
    """Return what is in force of the ledger for an instrument."""
    start, end = (read.instant(moment) for moment in span)
    rows = ledger.read(connection, station, start=start, end=end)
    return [row for row in rows if row.in_force and row.instrument in (None, instrument)]


def entries(rows: Sequence[ledger.Row], inlet: str) -> list[manual.Entry]:
    """Return the ledger's rows that speak of an inlet, as quality control takes them."""
    return [
        manual.Entry(
            row.number,
            _moment(row.start),
            _moment(row.end),
            row.flag,
            row.author,
            row.reason,
            gas=row.gas,
            port=row.port,
        )
        for row in rows
        if row.inlet in (None, inlet)
    ]


def _moment(time: datetime) -> np.datetime64:
    return np.datetime64(time.astimezone(UTC).replace(tzinfo=None), "ns")


def _pieces(span: Span) -> Iterator[Span]:
    """Yield a span in pieces that are read at once."""
    start, end = span
    while start < end:
        yield start, min(start + PIECE, end)
        start += PIECE


def _whole_hours(span: Span) -> Span:
    """Return the hours that a span touches."""
    first, last = (moment.astype("datetime64[h]") for moment in (span[0], span[1] - np.timedelta64(1, "ns")))
    return first.astype("datetime64[ns]"), last.astype("datetime64[ns]") + _HOUR


def _write(
    connection: database.Connection,
    readings: xr.Dataset,
    config: pipeline.Config,
    span: Span,
    *,
    rows: Sequence[ledger.Row],
) -> SeriesResult:
    hand = entries(rows, config.inlet)
    minutes, hours = (
        pipeline.run(
            readings,
            config,
            interval=interval,
            start=span[0],
            end=span[1],
            code_version=station_agent.__version__,
            by_hand=hand,
        )
        for interval in ("minute", "hour")
    )
    run = products.QcRun(
        code_version=station_agent.__version__,
        configuration_digest=config.digest,
        inputs={"instrument": config.instrument, "manual_flags": [entry.number for entry in hand]},
        start=span[0],
        end=span[1],
    )
    products.write(connection, run, minutes, hours)
    return SeriesResult(config.station, config.inlet, minutes.sizes["time"], hours)
