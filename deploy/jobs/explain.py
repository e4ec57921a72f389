"""All that happened to a value: from the message it came in to the hour it became part of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from deploy.errors import DeployError
from deploy.jobs import evaluation, network, valve
from deploy.jobs.hand import by_hand, entries
from ingest import database, origin, read, standards
from ingest.errors import NoMeansError
from qc import calibration, flushing, pipeline, state
from qc.flags import Cause, Flag, Outcome, outcome

_MINUTE: Final = np.timedelta64(60 * 10**9, "ns")
_HOUR: Final = np.timedelta64(3600 * 10**9, "ns")
_MOST_ROWS: Final = 60
"""Rows of the minute that are listed."""


def explain(
    dsn: str,
    series: Sequence[Mapping[str, Any]],
    *,
    station: str,
    moment: datetime,
    inlet: str | None = None,
    gas: str | None = None,
) -> Iterator[str]:
    """Yield lines about the minute a moment lies in.

    Parameters
    ----------
    dsn
        The store.
    series
        From `network.network_configuration`.
    station
        Its name.
    moment
        Aware.
    inlet, gas
        Only these; None: all.

    Raises
    ------
    DeployError
        The station is not in the catalogue, or nothing there draws from the inlet.
    """
    known = next((s for s in read.stations(dsn) if s.name == station), None)
    if known is None:
        msg = f"station {station!r} is not in the catalogue"
        raise DeployError(msg)
    with database.connect(dsn) as conn:
        assigned, corrected = standards.cylinders(conn), standards.corrections(conn, station)
    minute = np.datetime64(moment.replace(tzinfo=None), "m").astype("datetime64[ns]")
    span = minute, minute + _MINUTE
    found = False
    for instrument in known.instruments:
        fed = {port.inlet for port in network.ports_of(instrument, span)}
        for place in known.inlets:
            if inlet not in (None, place.name) or place.name not in fed:
                continue
            found = True
            config = network.configuration_for(
                known, instrument, place, span=span, series=series, cylinders=assigned, corrections=corrected
            )
            yield f"{station}/{place.name}, {instrument.name} ({instrument.model or 'no model said'}), {minute}Z"
            if config is None:
                yield "  not evaluated: no [[series]] of the configuration fits the instrument"
                continue
            yield from _of_series(dsn, config, minute, gas)
    if not found:
        which = "any inlet" if inlet is None else f"inlet {inlet!r}"
        msg = f"no instrument of {station!r} draws from {which} at {moment}"
        raise DeployError(msg)


def _of_series(dsn: str, config: pipeline.Config, minute: np.datetime64, gas: str | None) -> Iterator[str]:
    margin = np.timedelta64(int(config.margin_seconds * 1e9), "ns")
    start, end = (read.instant(edge) for edge in (minute - margin, minute + _MINUTE + margin))
    readings = valve.readings(dsn, station=config.station, instrument=config.instrument, start=start, end=end)
    with database.connect(dsn) as conn:
        rows = [
            row
            for row in by_hand(conn, config.station, config.instrument, (minute, minute + _MINUTE))
            if row.inlet in (None, config.inlet)
        ]
        shown = standards.injections(conn, config.station, config.instrument)
    calibrations, _ = evaluation.calibrations(shown, config)
    for name in (g.name for g in config.gases if gas in (None, g.name)):
        yield f"  {name}"
        yield from _means(dsn, config, name, minute)
        yield from _calibration(config, name, minute, calibrations.get(name))
        judged = pipeline.rows(readings, config, calibrations=calibrations, by_hand=entries(rows))
        yield from _rows(readings, judged, config, name, minute)
    for row in rows:
        yield f"  by hand, row {row.number}: {row.flag.name.lower()}, {row.reason} ({row.author}, {row.made:%Y-%m-%d})"
    yield from _messages(dsn, config, minute)
    yield f"  configuration {config.digest}, {len(config.rules)} state rules, flushing {config.flush_seconds:g} s"


def _means(dsn: str, config: pipeline.Config, gas: str, minute: np.datetime64) -> Iterator[str]:
    hour = minute.astype("datetime64[h]").astype("datetime64[ns]")
    for what, source, first, length in (("hour", read.hourly, hour, _HOUR), ("minute", read.minutes, minute, _MINUTE)):
        where = {"station": config.station, "inlet": config.inlet, "species": gas}
        try:
            ds = source(dsn, **where, start=read.instant(first), end=read.instant(first + length))
        except NoMeansError:
            yield f"    {what} {first.astype('datetime64[m]')}: not evaluated yet"
            continue
        yield f"    {what} {first.astype('datetime64[m]')}: {_mean(ds.isel(time=0), gas)}"
        if f"{gas}_tests" in ds:
            yield f"      tests: {_tests(ds[f'{gas}_tests'].values[:1])}"


def _tests(tests: NDArray[np.int64]) -> str:
    """Return what each test found, those that could not run last."""
    found = {cause: Outcome(int(outcome(tests, cause)[0])) for cause in Cause}
    words = [f"{_word(cause)} {_word(said)}" for cause, said in found.items() if said is not Outcome.NOT_EVALUATED]
    idle = [_word(cause) for cause, said in found.items() if said is Outcome.NOT_EVALUATED]
    return "; ".join(filter(None, [", ".join(words), f"not evaluated: {', '.join(idle)}" if idle else ""]))


def _word(one: Any) -> str:
    return str(one.name).lower().replace("_", " ")


def _calibration(
    config: pipeline.Config, gas: str, minute: np.datetime64, known: calibration.Calibration | None
) -> Iterator[str]:
    """Yield which calibrations a minute lies between."""
    if next(g for g in config.gases if g.name == gas).calibration is None:
        yield "    calibration: none configured, the instrument's values are taken to be on the scale"
        return
    if known is None:
        yield "    calibration: not evaluated: not one episode with enough standards is known"
        return
    times = known.time.astype("datetime64[ns]").astype("datetime64[m]")
    place = int(np.searchsorted(times, minute.astype("datetime64[m]"), side="right"))
    before, after = times[max(place - 1, 0) : place], times[place : place + 1]
    said = " and ".join(f"{time}" for time in (*before, *after))
    provisional = "" if before.size and after.size else " (provisional: the next one may change it)"
    yield f"    calibration: by the episodes of {said}{provisional}"


def _mean(one: xr.Dataset, gas: str) -> str:
    value, unit = float(one[gas]), one[gas].attrs["units"]
    sure = f" ± {float(one[f'{gas}_uncertainty']):.3f}" if np.isfinite(float(one[f"{gas}_uncertainty"])) else ""
    said = f"{value:.3f}{sure} {unit}" if np.isfinite(value) else "no value"
    counts = f"{int(one[f'{gas}_n'])} values, {int(one[f'{gas}_n_rejected'])} left out"
    return ", ".join(filter(None, [said, _flag(int(one[f"{gas}_flag"]), int(one[f"{gas}_cause"])), counts]))


def _flag(flag: int, cause: int) -> str:
    causes = ", ".join(str(bit.name).lower().replace("_", " ") for bit in Cause if cause & bit)
    return Flag(flag).name.lower().replace("_", " ") + (f" ({causes})" if causes else "")


def _rows(
    readings: xr.Dataset, judged: xr.Dataset, config: pipeline.Config, gas: str, minute: np.datetime64
) -> Iterator[str]:
    inside = (judged["time"].values >= minute) & (judged["time"].values < minute + _MINUTE)
    own = np.flatnonzero(inside & (judged[f"{gas}_flag"].values != Flag.MISSING))
    yield f"    {own.size} rows of its own in the minute"
    kept = flushing.split(readings, config.ports, seconds=config.flushing, outage_seconds=config.outage_seconds)
    fired = state.apply(
        readings,
        config.rules,
        gas=gas,
        site=config.station,
        instrument=config.instrument,
        model=config.model,
        rows=kept.rows,
    ).rule
    on_scale = "dry" if f"{gas}_u_calibration" not in judged else "dry and on the scale"
    for i in own[:_MOST_ROWS]:
        at = int(kept.rows[i])
        wet = float(readings[gas].values[at]) if gas in readings else np.nan
        rule = f"; rule {config.rules[fired[i]]}" if fired[i] >= 0 else ""
        flag = _flag(int(judged[f"{gas}_flag"].values[i]), int(judged[f"{gas}_cause"].values[i]))
        yield (
            f"      {str(judged['time'].values[i])[11:23]} port {readings['port'].values[at] or '-'}: "
            f"{wet:.3f} as measured, {float(judged[gas].values[i]):.3f} {on_scale}, {flag}{rule}"
        )
    if own.size > _MOST_ROWS:
        yield f"      and {own.size - _MOST_ROWS} more"
    for sentence in filter(None, str(judged.attrs["not_evaluated"]).split("; ")):
        if sentence.startswith(f"{gas}:"):
            yield f"    not evaluated: {sentence.removeprefix(f'{gas}: ')}"


def _messages(dsn: str, config: pipeline.Config, minute: np.datetime64) -> Iterator[str]:
    start, end = read.instant(minute), read.instant(minute + _MINUTE)
    where = {"station": config.station, "instrument": config.instrument}
    for message in origin.messages(dsn, **where, start=start, end=end):
        frozen = f"spool {message.spool} number {message.seq}"
        yield f"  message {message.number}: {frozen}, came {message.received:%Y-%m-%d %H:%M:%S}"
        for mend in message.mends:
            yield f"    mended by {mend.who} on {mend.when[:10]}: {mend.why} ({', '.join(mend.what)})"
