"""The quality-control job: what changed in the store, through `qc.pipeline`, back as minute and hour means.

New readings, flags by hand and corrections of cylinders come off the change feed; a configuration or an assigned value
that is not what a series was last evaluated with evaluates it again. Only what differs from what the store has is
written. Every few minutes for near-real time, or once over a year: after `Config.delay_seconds` both are the same.

Cost grows with the readings in the days that changed; memory holds two weeks of one instrument a worker.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import dask
import numpy as np
import xarray as xr

import station_agent
from deploy.errors import DeployError
from deploy.jobs import network
from deploy.jobs.evaluation import Evaluated, Means, Task, evaluate
from deploy.jobs.network import Span, network_configuration
from ingest import database, feed, products, read, standards
from qc import pipeline
from qc.errors import QcError

__all__ = ["SeriesResult", "network_configuration", "rerun", "run_once", "watch"]

CONSUMER: Final = "qc"
"""The job's name in the change feed."""
ALL: Final = (np.datetime64("1900-01-01", "ns"), np.datetime64("2200-01-01", "ns"))
LOCAL: Final = ("synchronous", "threads", "processes")
"""Dask's schedulers on this machine; anything else is the address of a cluster's."""


@dataclass(frozen=True, slots=True)
class SeriesResult:
    """What one run wrote for one series: minutes and hours that are new or differ, or why it could not be evaluated."""

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


def run_once(
    dsn: str,
    series: Sequence[Mapping[str, Any]],
    *,
    scheduler: str = "synchronous",
    most: int = feed.MOST,
    on_instrument: Callable[[str, str], None] = lambda _station, _instrument: None,
) -> list[SeriesResult]:
    """Evaluate all that what is new can change, and write the means that differ, in pieces that are written whole.

    Parameters
    ----------
    dsn
        The store.
    series
        From `network_configuration`.
    scheduler
        One of `LOCAL`, or the address of a Dask scheduler: instruments are evaluated side by side.
    most
        Messages a piece takes from the change feed; more are quicker, and hold other consumers back for longer.
    on_instrument
        Called with station and instrument before they are evaluated.

    Returns
    -------
    list of SeriesResult
        One for each series and stretch of time in which means differ; empty where nothing is new.
    """
    results: list[SeriesResult] = []
    more, first = True, True
    with database.connect(dsn) as connection:
        while more:
            with connection.transaction():
                news = feed.changes(connection, CONSUMER, most=most)
                anew = _configured_anew(connection, series, results) if first else {}
                tasks = _tasks(connection, series, news, anew)
                for task in tasks:
                    on_instrument(task.station.name, task.instrument.name)
                for evaluated in _evaluated(dsn, tasks, scheduler):
                    results += _write(connection, evaluated)
            more, first = news.more, False
    return results


def rerun(
    dsn: str,
    series: Sequence[Mapping[str, Any]],
    *,
    start: np.datetime64,
    end: np.datetime64,
    station: str | None = None,
    scheduler: str = "synchronous",
) -> list[SeriesResult]:
    """Evaluate a stretch of time again, all of it out of the readings, whether or not something is new there.

    Parameters
    ----------
    dsn, series, scheduler
        As for `run_once`.
    start, end
        datetime64: from, until before.
    station
        Only this one; None: all.

    Returns
    -------
    list of SeriesResult
        One for each series and stretch of time in which means differ.

    Raises
    ------
    DeployError
        The station is not in the catalogue, or the stretch is empty.
    """
    if not start < end:
        msg = f"stretch from {start} to {end} is empty: give its end after its start"
        raise DeployError(msg)
    stations = [one for one in read.stations(dsn) if station in (None, one.name)]
    if not stations:
        msg = f"station {station!r} is not in the catalogue"
        raise DeployError(msg)
    span = start.astype("datetime64[ns]"), end.astype("datetime64[ns]")
    with database.connect(dsn) as connection, connection.transaction():
        assigned = standards.cylinders(connection)
        tasks = []
        for one in stations:
            for instrument in one.instruments:
                extent = read.extent_on(connection, station=one.name, instrument=instrument.name)
                if extent is not None:
                    inside = max(span[0], extent[0]), min(span[1], extent[1] + np.timedelta64(1, "ns"))
                    if inside[0] < inside[1]:
                        tasks.append(Task(one, instrument, (inside,), series, assigned, anew=True))
        return [result for evaluated in _evaluated(dsn, tasks, scheduler) for result in _write(connection, evaluated)]


def watch(
    dsn: str,
    series: Sequence[Mapping[str, Any]],
    *,
    every: float,
    stop: threading.Event,
    scheduler: str = "synchronous",
) -> Iterator[list[SeriesResult]]:
    """Run the job every `every` seconds until `stop` is set; yields what each round did."""
    while not stop.is_set():
        yield run_once(dsn, series, scheduler=scheduler)
        stop.wait(every)


# --- what is to be done ------------------------------------------------------------------------

Anew = dict[tuple[str, str], list[Span]]
"""(station, instrument) -> what is to be evaluated again because the configuration differs."""


def _tasks(
    connection: database.Connection,
    series: Sequence[Mapping[str, Any]],
    news: Sequence[feed.Change],
    anew: Anew,
) -> list[Task]:
    changed: dict[tuple[str, str], list[Span]] = {key: list(spans) for key, spans in anew.items()}
    for change in news:
        changed.setdefault((change.station, change.instrument), []).append((change.start, change.end))
    if not changed:
        return []
    stations = {station.name: station for station in read.stations_on(connection)}
    assigned = standards.cylinders(connection)
    tasks = []
    for (name, instrument_name), spans in changed.items():
        station = stations[name]
        instrument = next(i for i in station.instruments if i.name == instrument_name)
        key = name, instrument_name
        tasks.append(Task(station, instrument, tuple(sorted(spans)), series, assigned, anew=key in anew))
    return tasks


def _configured_anew(
    connection: database.Connection, series: Sequence[Mapping[str, Any]], results: list[SeriesResult]
) -> Anew:
    """Return what is to be evaluated again, and write down what series are evaluated with from now on.

    A series whose configuration is wrong is a result, once; it is evaluated as a whole when it is right again.
    """
    before, assigned = standards.used(connection), standards.cylinders(connection)
    found: Anew = {}
    for station in read.stations_on(connection):
        corrections = standards.corrections(connection, station.name)
        for instrument in station.instruments:
            fed = {port.inlet for port in instrument.ports}
            for inlet in (inlet for inlet in station.inlets if inlet.name in fed):
                key = station.name, instrument.name, inlet.name
                try:
                    config = network.configuration_for(
                        station, instrument, inlet, span=ALL, series=series, cylinders=assigned, corrections=corrections
                    )
                except (DeployError, QcError) as error:
                    failed = standards.Used("", [], str(error))
                    if failed != before.get(key):
                        standards.use(connection, *key, failed)
                        results.append(SeriesResult(station.name, inlet.name, 0, None, str(error)))
                    continue
                then = before.get(key)
                now = None if config is None else network.described(config)
                if now is None or (then is not None and now == replace(then, problem="")):
                    continue
                standards.use(connection, *key, now)
                spans = _concerned(connection, key, then, now)
                if spans:
                    found.setdefault(key[:2], []).extend(spans)
    return found


def _concerned(
    connection: database.Connection, key: tuple[str, str, str], before: standards.Used | None, now: standards.Used
) -> list[Span]:
    """Return what another configuration touches: all, or where only cylinders differ the time these hung there."""
    extent = read.extent_on(connection, station=key[0], instrument=key[1])
    if extent is None:
        return []
    whole = extent[0], extent[1] + np.timedelta64(1, "ns")
    if before is None or before.problem or before.settings != now.settings:
        return [whole]
    spans = []
    for start, end in network.changed_cylinders(before.cylinders, now.cylinders):
        first = whole[0] if start is None else max(whole[0], np.datetime64(start, "ns"))
        last = whole[1] if end is None else min(whole[1], np.datetime64(end, "ns"))
        spans += [(first, last)] if first < last else []
    return spans


# --- doing it ----------------------------------------------------------------------------------


def _evaluated(dsn: str, tasks: Sequence[Task], scheduler: str) -> Iterable[Evaluated]:
    """Return what came of tasks, one after the other or side by side."""
    if scheduler == "synchronous" or len(tasks) < 2:
        return (evaluate(dsn, task) for task in tasks)
    delayed = [dask.delayed(evaluate, pure=False)(dsn, task) for task in tasks]
    if scheduler in LOCAL:
        found: Iterable[Evaluated] = dask.compute(*delayed, scheduler=scheduler)
        return found
    from distributed import Client  # noqa: PLC0415  a second to import

    try:
        with Client(scheduler, timeout="10s", set_as_default=False) as client:
            gathered: Iterable[Evaluated] = client.gather(client.compute(delayed))
            return gathered
    except (OSError, ValueError) as error:
        msg = f"scheduler {scheduler!r}: {error}; expected {', '.join(LOCAL)}, or the address of a Dask scheduler"
        raise DeployError(msg) from None


def _write(connection: database.Connection, evaluated: Evaluated) -> list[SeriesResult]:
    """Write what differs, within the caller's transaction."""
    station = evaluated.station
    for (first, last), found in evaluated.injections:
        window = {"start": read.instant(first), "end": read.instant(last)}
        standards.replace(connection, station, evaluated.instrument, found, **window)
    before = standards.used(connection)
    for inlet in {means.config.inlet for means in evaluated.means}:
        then = before.get((station, evaluated.instrument, inlet))
        if then is not None and then.problem:  # what came while it failed is still to be evaluated
            standards.forget(connection, station, evaluated.instrument, inlet)
    for inlet, problem in evaluated.problems:
        then = before.get((station, evaluated.instrument, inlet), standards.Used("", []))
        standards.use(connection, station, evaluated.instrument, inlet, replace(then, problem=problem))
    results = [SeriesResult(station, inlet, 0, None, problem) for inlet, problem in evaluated.problems]
    return results + [_write_means(connection, means) for means in evaluated.means if means.differs is not None]


def _write_means(connection: database.Connection, means: Means) -> SeriesResult:
    assert means.differs is not None
    minutes, hours = (_inside(ds, means.differs) for ds in (means.minutes, means.hours))
    config = means.config
    run = products.QcRun(
        code_version=station_agent.__version__,
        configuration_digest=config.digest,
        inputs={
            "instrument": config.instrument,
            "manual_flags": list(means.manual_flags),
            "injections": dict(means.calibrations),
        },
        start=means.differs[0],
        end=means.differs[1],
    )
    products.write(connection, run, minutes, hours)
    return SeriesResult(config.station, config.inlet, minutes.sizes["time"], hours)


def _inside(ds: xr.Dataset, span: Span) -> xr.Dataset:
    bounds = ds["time_bnds"].values
    return ds.isel(time=np.flatnonzero((bounds[:, 0] >= span[0]) & (bounds[:, 1] <= span[1])))
