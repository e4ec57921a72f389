"""The report of a station and month: out of the store, through `qc.report`, into a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr

import station_agent
from deploy.errors import DeployError
from deploy.jobs import evaluation, network
from deploy.jobs.network import Span
from ingest import database, ledger, read, standards
from ingest.errors import NoMeansError
from ingest.standards import Shown
from inversion import fonts
from qc import calibration, pipeline, report, target
from qc.calibration import Calibration
from qc.tank import Tank
from qc.units import QUANTITIES

_HISTORY: Final = np.timedelta64(365, "D")
"""How far back figures of calibrations and targets go."""


def write(
    dsn: str, series: Sequence[Mapping[str, Any]], *, station: str, folder: Path, month: str | None = None
) -> Path:
    """Write the page of a station and month; returns its path.

    Parameters
    ----------
    dsn
        The store.
    series
        From `network.network_configuration`.
    station
        Its name.
    folder
        Where the page goes; made where it is not there.
    month
        As ``2026-03``; None: the month of the last reading.

    Raises
    ------
    DeployError
        The station is not in the catalogue, the month is none, or nothing was evaluated in it.
    """
    known = next((one for one in read.stations(dsn) if one.name == station), None)
    if known is None:
        msg = f"station {station!r} is not in the catalogue"
        raise DeployError(msg)
    span = _month(dsn, known, month)
    found = [_series(dsn, known, inlet, span) for inlet in known.inlets]
    if all(one.hours is None for one in found):
        msg = (
            f"{station} has no means in {span[0].astype('datetime64[M]')}: has `skyledger qc run` been run, "
            "and is it the right month (--month 2026-03)?"
        )
        raise DeployError(msg)
    until = max(one.hours["time_bnds"].values[-1, 1] for one in found if one.hours is not None)
    text = report.render(
        station=station,
        title=known.title,
        place=_place(known),
        start=span[0],
        end=min(span[1], until),
        series=found,
        cylinders=_cylinders(dsn, known, series, span),
        notes=list(_notes(dsn, station, span)),
        font=fonts.embedded(known.title),
        version=station_agent.__version__,
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{station}-{span[0].astype('datetime64[M]')}.html"
    path.write_text(text, encoding="utf-8")
    return path


def _month(dsn: str, known: read.Station, month: str | None) -> Span:
    if month is None:
        ends = [read.extent(dsn, station=known.name, instrument=one.name) for one in known.instruments]
        last = max((extent[1] for extent in ends if extent is not None), default=None)
        if last is None:
            msg = f"{known.name} has no readings yet"
            raise DeployError(msg)
        first = last.astype("datetime64[M]")
    else:
        try:
            first = np.datetime64(month, "M")
            if len(month) != len("2026-03"):
                raise ValueError  # noqa: TRY301  a day, or a year alone
        except ValueError:
            msg = f"month is {month!r}, expected it as 2026-03"
            raise DeployError(msg) from None
    return first.astype("datetime64[ns]"), (first + 1).astype("datetime64[ns]")


def _place(known: read.Station) -> str:
    north, east = ("N" if known.latitude >= 0 else "S"), ("E" if known.longitude >= 0 else "W")
    where = (
        f"{abs(known.latitude):.3f}° {north}, {abs(known.longitude):.3f}° {east}, {known.altitude:g} m above sea level"
    )
    return f"{where}, {known.region}" if known.region else where


def _series(dsn: str, known: read.Station, inlet: read.Inlet, span: Span) -> report.Series:
    start, end = (read.instant(moment) for moment in span)
    means: list[xr.Dataset | None] = []
    for source in (read.hourly, read.minutes):
        try:
            means.append(source(dsn, station=known.name, inlet=inlet.name, start=start, end=end))
        except NoMeansError:
            means.append(None)
    return report.Series(inlet.name, inlet.height, means[0], means[1])


# --- cylinders ---------------------------------------------------------------------------------


def _cylinders(
    dsn: str, known: read.Station, series: Sequence[Mapping[str, Any]], span: Span
) -> list[report.Cylinders]:
    with database.connect(dsn) as conn:
        return list(cylinders(conn, known, series, span))


def cylinders(
    conn: database.Connection, known: read.Station, series: Sequence[Mapping[str, Any]], span: Span
) -> Iterator[report.Cylinders]:
    """Yield what the cylinders of each instrument say of each gas, up to the end of a span.

    Parameters
    ----------
    conn
        The store.
    known
        The station.
    series
        From `network.network_configuration`.
    span
        Targets go back a year from its end.

    Raises
    ------
    ConfigError, DeployError
        The configuration is none, or does not fit the catalogue.
    """
    assigned, corrected = standards.cylinders(conn), standards.corrections(conn, known.name)
    every = {one.name: standards.injections(conn, known.name, one.name) for one in known.instruments}
    for instrument in known.instruments:
        fed = {port.inlet for port in network.ports_of(instrument, span)}
        inlet = next((one for one in known.inlets if one.name in fed), None)
        shown = {gas: _until(one, span[1]) for gas, one in every[instrument.name].items()}
        if inlet is None or not shown:
            continue
        config = network.configuration_for(
            known, instrument, inlet, span=span, series=series, cylinders=assigned, corrections=corrected
        )
        if config is not None:
            calibrations, _ = evaluation.calibrations(shown, config)
            for gas, one in shown.items():
                yield _of_gas(config, gas, one, calibrations.get(gas), span)


def _until(shown: Shown, end: np.datetime64) -> Shown:
    return shown.take(shown.end < int(end.astype("datetime64[ns]").astype(np.int64)))


def _of_gas(config: pipeline.Config, gas: str, shown: Shown, known: Calibration | None, span: Span) -> report.Cylinders:
    hung = config.standards
    held = {tank.name: tank for tank in config.tanks(gas, hung.targets)}
    names = [tank.name for tank in config.tanks(gas, hung.standards)]
    targets = {} if known is None else {name: _history(shown, name, held[name], known, span) for name in sorted(held)}
    return report.Cylinders(config.instrument, gas, QUANTITIES[gas].unit, names, known, targets)


def _history(shown: Shown, name: str, tank: Tank, known: Calibration, span: Span) -> target.History:
    since = int((span[1] - _HISTORY).astype("datetime64[ns]").astype(np.int64))
    own = shown.take((shown.cylinder == name) & (shown.start >= since))
    on_scale = calibration.apply(known, own.start, own.mean)
    assigned, _ = tank.at(own.start.astype("datetime64[ns]"))
    return target.history(own.start, on_scale.value, own.stdev, own.minutes, assigned)


# --- by hand -----------------------------------------------------------------------------------


def _notes(dsn: str, station: str, span: Span) -> Iterator[report.Note]:
    start, end = (read.instant(moment) for moment in span)
    for row in ledger.rows(dsn, station, start=start, end=end):
        if row.in_force:
            named = (("inlet", row.inlet), ("instrument", row.instrument), ("gas", row.gas), ("port", row.port))
            only = "".join(f", {name} {value}" for name, value in named if value is not None)
            what = f"{row.flag.name.lower()}{only}"
            yield report.Note(str(row.number), what, _window(row), row.reason, row.author, f"{row.made:%Y-%m-%d}")
    with database.connect(dsn) as conn:
        corrections = standards.corrections(conn, station)
    for one in corrections:
        if one.start < end and one.end > start:
            what = f"{one.said} was {one.was}"
            yield report.Note(f"c{one.number}", what, _window(one), one.reason, one.author, f"{one.made:%Y-%m-%d}")


def _window(row: ledger.Row | standards.Correction) -> str:
    return f"{row.start:%Y-%m-%d %H:%M} to {row.end:%Y-%m-%d %H:%M}"
