"""One instrument's readings into means: what is read, in which pieces, and which calibrations that changes.

Everything here reads and nothing writes, so that it can run anywhere: `evaluate` is a task for Dask. Cost grows with
the readings in the windows evaluated; memory holds two weeks of one instrument's readings and the minutes made of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC
from typing import Any, Final

import numpy as np
import xarray as xr

import station_agent
from deploy.errors import DeployError
from deploy.jobs import difference, network, valve
from deploy.jobs.hand import by_hand, entries
from deploy.jobs.network import Span
from ingest import database, ledger, read, series, standards
from ingest.errors import NoMeansError
from ingest.standards import Shown
from qc import pipeline, selection
from qc.errors import QcError
from qc.flags import Cause, Outcome, outcome
from qc.injections import Injections
from qc.screening import BEFORE_DAYS

PIECE: Final = np.timedelta64(14 * 86400 * 10**9, "ns")
"""How much of an instrument's readings is looked at at once: 14 days at 1 Hz are some 100 MB a quantity."""
STAY: Final = np.timedelta64(2 * 3600 * 10**9, "ns")
"""Longest stay of the valve at a cylinder: so far around a change injections are found anew."""
_WIND: Final = ("wind_direction", "wind_speed")
HOUR: Final = np.timedelta64(3600 * 10**9, "ns")
DAY: Final = np.timedelta64(86400 * 10**9, "ns")


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be evaluated of one instrument.

    Parameters
    ----------
    station, instrument
        Of the catalogue.
    spans
        Where something changed, in order of time.
    series, cylinders
        The network's configuration, and the assigned values of the catalogue.
    anew
        Whether minutes of before may not be taken from the store: the configuration changed.
    """

    station: read.Station
    instrument: read.Instrument
    spans: tuple[Span, ...]
    series: Sequence[Mapping[str, Any]]
    cylinders: Sequence[standards.Cylinder] = ()
    anew: bool = False


@dataclass(frozen=True, slots=True)
class Means:
    """Means of one series over whole hours: what they were made with, and what of them the store has not.

    ``differs`` is the part of ``span`` in which they are not what the store has, None where they are.
    """

    config: pipeline.Config
    span: Span
    minutes: xr.Dataset
    hours: xr.Dataset
    manual_flags: tuple[int, ...]
    calibrations: Mapping[str, int]
    differs: Span | None


@dataclass(slots=True)
class Evaluated:
    """What came of a task: injections that take the place of those in windows, means, and what could not be done."""

    station: str
    instrument: str
    injections: list[tuple[Span, dict[str, Shown]]] = field(default_factory=list)
    means: list[Means] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)


def evaluate(dsn: str, task: Task) -> Evaluated:
    """Evaluate all that changes in one instrument can have changed.

    Parameters
    ----------
    dsn
        The store; it is only read.
    task
        What is to be done.

    Returns
    -------
    Evaluated
        With a sentence for each series that could not be evaluated; the others are.
    """
    out = Evaluated(task.station.name, task.instrument.name)
    with database.connect(dsn) as conn:
        corrections = standards.corrections(conn, task.station.name)
        extent = read.extent_on(conn, station=task.station.name, instrument=task.instrument.name)
        known = standards.injections(conn, task.station.name, task.instrument.name)
    work = _Work(dsn, task, corrections, known, extent)
    spans = list(task.spans)
    for span in task.spans:
        spans += work.find_injections(span, out)
    for span in _joined([work.concerned(span) for span in spans]):
        for piece in _pieces(span, task.instrument):
            work.evaluate(piece, out)
    work.finish(out)
    return out


class _Work:
    """One task under way: the injections as they are by now, and the minutes made so far."""

    def __init__(
        self,
        dsn: str,
        task: Task,
        corrections: Sequence[standards.Correction],
        known: Mapping[str, Shown],
        extent: Span | None,
    ) -> None:
        self._dsn, self._task, self._corrections = dsn, task, corrections
        self._shown = dict(known)
        self._extent = extent
        self._made: dict[str, list[xr.Dataset]] = {}
        self._calibrated: dict[str, tuple[pipeline.Calibrations, dict[str, int]]] = {}

    def configs(self, span: Span, out: Evaluated | None = None) -> list[pipeline.Config]:
        """Return the configurations of the series an instrument feeds during a span; what none fits is a problem."""
        task = self._task
        fed = {port.inlet for port in network.ports_of(task.instrument, span)}
        found = []
        for inlet in (inlet for inlet in task.station.inlets if inlet.name in fed):
            try:
                config = network.configuration_for(
                    task.station,
                    task.instrument,
                    inlet,
                    span=span,
                    series=task.series,
                    cylinders=task.cylinders,
                    corrections=self._corrections,
                )
            except (DeployError, QcError) as error:
                config, problem = None, str(error)
            else:
                problem = f"no [[series]] fits {task.instrument.name} ({task.instrument.model})"
            if config is not None:
                found.append(config)
            elif out is not None:
                _note(out, inlet.name, problem)
        return found

    def readings(self, span: Span) -> xr.Dataset:
        """Return the instrument's readings in a span."""
        start, end = (read.instant(moment) for moment in span)
        station, instrument = self._task.station.name, self._task.instrument.name
        return valve.readings(self._dsn, station=station, instrument=instrument, start=start, end=end)

    def by_hand(self, span: Span) -> list[ledger.Row]:
        """Return what is in force of the ledger for the instrument in a span."""
        with database.connect(self._dsn) as conn:
            return by_hand(conn, self._task.station.name, self._task.instrument.name, span)

    # --- cylinders ---

    def find_injections(self, span: Span, out: Evaluated) -> list[Span]:
        """Find the injections anew around a change; return what of the series a difference touches."""
        configs = [config for config in self.configs(span) if config.standards.standards or config.standards.targets]
        if not configs:
            return []
        touched: list[Span] = []
        for first, last in _cut((span[0] - STAY, span[1] + STAY), []):
            readings = self.readings((first - STAY, last + STAY))
            rows = [row for row in self.by_hand((first - STAY, last + STAY)) if row.inlet is None]
            config = configs[0]
            found = {
                gas: _named(injections, pipeline.cylinders(config, gas))
                for gas, injections in pipeline.injections(readings, config, by_hand=entries(rows)).items()
            }
            inside = {gas: shown.take(_between(shown.start, (first, last))) for gas, shown in found.items()}
            if not self._differ(inside, (first, last)):
                continue
            out.injections.append(((first, last), inside))
            touched += self._touched(inside, (first, last), config)
            self._replace(inside, (first, last))
            touched += self._touched(inside, (first, last), config)
        return touched

    def _differ(self, inside: Mapping[str, Shown], window: Span) -> bool:
        for gas in {*inside, *self._shown}:
            before, now = self._shown.get(gas), inside.get(gas)
            kept = before.take(_between(before.start, window)) if before is not None else None
            if (kept is None or not kept.start.size) and (now is None or not now.start.size):
                continue
            if kept is None or now is None or kept.start.size != now.start.size:
                return True
            if any(
                not np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
                for a, b in zip(kept.columns(), now.columns(), strict=True)
            ):
                return True
        return False

    def _replace(self, inside: Mapping[str, Shown], window: Span) -> None:
        for gas in {*inside, *self._shown}:
            parts = []
            if gas in self._shown:
                parts.append(self._shown[gas].take(~_between(self._shown[gas].start, window)))
            if gas in inside:
                parts.append(inside[gas])
            columns = [np.concatenate(column) for column in zip(*(part.columns() for part in parts), strict=True)]
            order = np.argsort(columns[1], kind="stable")
            self._shown[gas] = Shown(*(column[order] for column in columns))

    def _touched(self, inside: Mapping[str, Shown], window: Span, config: pipeline.Config) -> list[Span]:
        """Return from the episode before a window to the one after it, and as far as it is history."""
        if self._extent is None:
            return []
        begin, end = (int(moment.astype(np.int64)) for moment in window)
        gap = int(config.standards.episode_hours * 3600e9)
        first, last = (int(moment.astype(np.int64)) for moment in self._extent)
        every = np.concatenate(
            [shown.start for shown in (*self._shown.values(), *inside.values())] or [np.empty(0, np.int64)]
        )
        before, after = every[every < begin - gap], every[every >= end + gap]
        if before.size:
            first = max(first, int(before.max()) - gap)
        if after.size:
            history = end + int(config.standards.history_days * 86400e9)
            last = min(last, max(history, int(after.min()) + gap))
        return [(np.datetime64(first, "ns"), np.datetime64(last + 1, "ns"))] if first <= last else []

    def _calibrations(self, config: pipeline.Config) -> tuple[pipeline.Calibrations, dict[str, int]]:
        """Return the calibrations, and how many injections each rests on."""
        if config.digest not in self._calibrated:
            self._calibrated[config.digest] = calibrations(self._shown, config)
        return self._calibrated[config.digest]

    # --- means ---

    def concerned(self, span: Span) -> Span:
        """Return the whole hours that a change can have changed: with tests of minutes, days before and after."""
        configs = self.configs(span)
        margin = np.timedelta64(int(max([config.margin_seconds for config in configs], default=0.0) * 1e9), "ns")
        first, last = _whole_hours((span[0] - margin, span[1] + margin))
        reach = max([config.selection_hours for config in configs], default=0) * HOUR
        first, last = first - reach, last + reach
        if not any(config.screens for config in configs):
            return first, last
        until = (last + (BEFORE_DAYS + 1) * DAY).astype("datetime64[D]").astype("datetime64[ns]")
        if self._extent is not None:
            until = min(until, _whole_hours((self._extent[1], self._extent[1] + np.timedelta64(1, "ns")))[1])
        return first.astype("datetime64[D]").astype("datetime64[ns]"), max(until, last)

    def evaluate(self, span: Span, out: Evaluated) -> None:
        """Evaluate whole hours of all series the instrument feeds."""
        for config in self.configs(span, out):
            margin = np.timedelta64(int(config.margin_seconds * 1e9), "ns")
            earlier = self._earlier(config, span[0]) if config.screens else None
            since = span[0] - (BEFORE_DAYS * DAY if config.screens and earlier is None else np.timedelta64(0, "ns"))
            around = since - margin, span[1] + margin
            rows = [row for row in self.by_hand(around) if row.inlet in (None, config.inlet)]
            known, counts = self._calibrations(config)
            try:
                minutes = pipeline.minutes(
                    self.readings(around),
                    config,
                    start=span[0],
                    end=span[1],
                    code_version=station_agent.__version__,
                    by_hand=entries(rows),
                    calibrations=known,
                    earlier=earlier,
                )
            except QcError as error:  # of this series only: the others go on
                _note(out, config.inlet, str(error))
                continue
            hours = pipeline.hours(minutes, config)
            self._made.setdefault(config.inlet, []).append(minutes)
            out.means.append(Means(config, span, minutes, hours, tuple(row.number for row in rows), counts, None))

    def finish(self, out: Evaluated) -> None:
        """Select background among all hours that were made, and say what differs from the store."""
        for k, means in enumerate(out.means):
            hours = self._selected(means, out) if means.config.selection_hours else means.hours
            differs = self._differs(means.config, means.span, means.minutes, hours)
            out.means[k] = replace(means, hours=hours, differs=differs)

    def _selected(self, means: Means, out: Evaluated) -> xr.Dataset:
        """Return hours with what is background among them, seen with those around: made now, or in the store."""
        config, reach = means.config, means.config.selection_hours * HOUR
        around = means.span[0] - reach, means.span[1] + reach
        wanted = ["time_bnds", *(f"{g.name}{end}" for g in config.gases for end in ("", "_stdev", "_flag"))]
        made = [one.hours[wanted] for one in out.means if one.config.inlet == config.inlet]
        stored = self._stored(config, "hour", around)
        if stored is not None and set(wanted) <= set(stored.variables):
            spans = [one.span for one in out.means if one.config.inlet == config.inlet]
            start = stored["time_bnds"].values[:, 0]
            old = ~np.logical_or.reduce([(start >= first) & (start < last) for first, last in spans])
            made.append(stored[wanted].isel(time=old))
        joined = xr.concat(made, "time", combine_attrs="override").sortby("time")
        time = joined["time"].values
        joined = joined.isel(time=(time >= around[0]) & (time < around[1]))
        selected = pipeline.selected(joined, config, wind=self._wind(joined, config))
        own = np.isin(selected["time"].values, means.hours["time"].values)
        names = [f"{gas.name}_selection" for gas in config.gases if gas.selection is not None]
        return means.hours.assign({name: selected[name].isel(time=own) for name in names})

    def _wind(self, hours: xr.Dataset, config: pipeline.Config) -> tuple[Any, Any] | None:
        """Return the hourly wind at the station, of the first instrument there that measures it."""
        if not any(gas.selection is not None and gas.selection.asks_wind for gas in config.gases):
            return None
        starts = hours["time_bnds"].values[:, 0].astype("datetime64[ns]").astype(np.int64)
        for instrument in self._task.station.instruments:
            with database.connect(self._dsn) as conn:
                if not set(_WIND) <= set(read.channels(conn, config.station, instrument.name)):
                    continue
            ds = read.readings(
                self._dsn,
                station=config.station,
                instrument=instrument.name,
                start=read.instant(hours["time"].values[0] - HOUR),
                end=read.instant(hours["time"].values[-1] + HOUR),
                quantities=_WIND,
            )
            direction, speed = (ds[name].values for name in _WIND)
            return selection.wind(ds["time"].values.astype("datetime64[ns]").astype(np.int64), direction, speed, starts)
        return None

    def _earlier(self, config: pipeline.Config, start: np.datetime64) -> xr.Dataset | None:
        """Return the minutes of the six days before, None where they are to be made of the readings again."""
        since = start - BEFORE_DAYS * DAY
        parts = [] if self._task.anew else [self._stored(config, "minute", (since, start))]
        for made in self._made.get(config.inlet, []):
            parts = [
                part.isel(time=~np.isin(part["time"].values, made["time"].values)) for part in parts if part is not None
            ]
            parts.append(made.isel(time=_before(made, since, start)))
        usable = [part for part in parts if part is not None and part.sizes["time"]]
        if not usable or any(part.attrs["configuration_digest"] != config.digest for part in usable):
            return None
        if any(part.attrs["code_version"] != station_agent.__version__ for part in usable):
            return None
        gases = [gas.name for gas in config.gases]
        if any(gas not in part or _touched_by_hand(part, gas) for part in usable for gas in gases):
            return None
        both = [part[["time_bnds", *gases]] for part in usable]
        joined = xr.concat(both, "time", join="outer", combine_attrs="override").sortby("time")
        # What the store has must be all there is: a day of readings nobody evaluated yet would be missing.
        return joined if self._covers(joined, since) else None

    def _covers(self, minutes: xr.Dataset, since: np.datetime64) -> bool:
        """Whether minutes reach back as far as is looked, or as there are readings."""
        if self._extent is None:
            return True
        begins = max(since, self._extent[0] - HOUR)
        return bool(minutes["time"].values[0] < begins + 2 * HOUR)

    def _stored(self, config: pipeline.Config, table: str, span: Span) -> xr.Dataset | None:
        with database.connect(self._dsn) as conn:
            where = series.place(conn, config.station, config.inlet)
            bounds = [read.instant(moment) for moment in span]
            try:
                return series.means(conn, table, where, species=None, bounds=bounds)
            except NoMeansError:
                return None

    def _differs(self, config: pipeline.Config, span: Span, minutes: xr.Dataset, hours: xr.Dataset) -> Span | None:
        """Return the whole hours of a span in which means are not what the store has."""
        edges: list[np.datetime64] = []
        for table, made in (("minute", minutes), ("hour", hours)):
            stored = self._stored(config, table, span)
            if stored is None:
                if made.sizes["time"]:
                    return span
                continue
            for name in ("configuration_digest", "code_version"):
                if stored.attrs[name] != made.attrs[name]:
                    return span
            edges += difference.where(stored, made)
        if not edges:
            return None
        return _whole_hours((min(edges), max(edges) + np.timedelta64(1, "ns")))


def _note(out: Evaluated, inlet: str, problem: str) -> None:
    if (inlet, problem) not in out.problems:
        out.problems.append((inlet, problem))


def _touched_by_hand(minutes: xr.Dataset, gas: str) -> bool:
    if f"{gas}_tests" not in minutes:
        return True
    return bool((outcome(minutes[f"{gas}_tests"].values, Cause.MANUAL) != Outcome.NOT_EVALUATED).any())


def _before(made: xr.Dataset, since: np.datetime64, start: np.datetime64) -> np.ndarray[Any, np.dtype[np.bool_]]:
    time = made["time"].values
    inside: np.ndarray[Any, np.dtype[np.bool_]] = (time >= since) & (time < start)
    return inside


def _named(found: Injections, names: Sequence[str]) -> Shown:
    called = np.array([names[k] for k in found.tank.tolist()], dtype=object)
    # The store keeps microseconds.
    start, end = (column // 1000 * 1000 for column in (found.start, found.end))
    return Shown(called, start, end, found.mean, found.stdev, found.minutes)


def _numbered(shown: Shown, names: Sequence[str]) -> Injections:
    place = {name: k for k, name in enumerate(names)}
    kept = np.array([name in place for name in shown.cylinder], dtype=bool)
    own = shown.take(kept)
    tank = np.array([place[name] for name in own.cylinder], dtype=np.int64)
    return Injections(tank, own.start, own.end, own.mean, own.stdev, own.minutes)


def calibrations(shown: Mapping[str, Shown], config: pipeline.Config) -> tuple[pipeline.Calibrations, dict[str, int]]:
    """Return gas -> calibration by what the cylinders showed, and how many injections each rests on."""
    found = {
        gas.name: _numbered(shown[gas.name], pipeline.cylinders(config, gas.name))
        for gas in config.gases
        if gas.calibration is not None and gas.name in shown
    }
    return pipeline.calibrated(found, config), {gas: int(one.start.size) for gas, one in found.items()}


def _between(start: np.ndarray[Any, np.dtype[np.int64]], window: Span) -> np.ndarray[Any, np.dtype[np.bool_]]:
    first, last = (int(moment.astype("datetime64[ns]").astype(np.int64)) for moment in window)
    inside: np.ndarray[Any, np.dtype[np.bool_]] = (start >= first) & (start < last)
    return inside


# --- spans -------------------------------------------------------------------------------------


def _joined(spans: Sequence[Span]) -> list[Span]:
    """Return spans in order of time, those that overlap or touch as one."""
    joined: list[Span] = []
    for first, last in sorted(spans):
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined


def _pieces(span: Span, instrument: read.Instrument) -> Iterator[Span]:
    """Yield a span in pieces that are read at once, parted where a port is connected to something else."""
    edges = [
        np.datetime64(time.astimezone(UTC).replace(tzinfo=None), "h").astype("datetime64[ns]")
        for port in instrument.ports
        for time in (port.start, port.end)
        if time is not None
    ]
    yield from _cut(span, edges)


def _cut(span: Span, edges: Sequence[np.datetime64]) -> Iterator[Span]:
    start, end = span
    while start < end:
        stop = min([start + PIECE, end, *(edge for edge in edges if edge > start)])
        yield start, stop
        start = stop


def _whole_hours(span: Span) -> Span:
    """Return the hours that a span touches."""
    first, last = (moment.astype("datetime64[h]") for moment in (span[0], span[1] - np.timedelta64(1, "ns")))
    return first.astype("datetime64[ns]"), last.astype("datetime64[ns]") + HOUR
