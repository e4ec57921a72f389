"""A year of an instrument with faults that are known: made by a seed, put through the chain, scored by event.

The instrument is of the 1-Hz class: a row of CO2 every three seconds, water and cell pressure beside it. "Noise" is
that of one row, `NOISE` = 0.2 umol mol-1: a minute holds twenty, and its mean has a quarter of it. Air moves on
scales of minutes (a walk that forgets in 20 min, 0.2 umol mol-1), of the day and of the weather; what the tests find in
it without a fault is a false alarm.

========  ================================================  ===============================================
kind      what happens                                      size
========  ================================================  ===============================================
spike     1 to 30 min of something else in the line         its height
flat      30 to 120 min the same value                      none
flush     gas of a cylinder left in the line                none: what a valve does every second day
outage    1 to 6 h no rows; an hour is also what is lost    none
double    rows come twice, some with another value          none
reorder   rows come late                                    none
wet       10 to 60 min of water in the inlet                error of the dry value
drift     6 to 48 h the cell pressure goes astray           error of the value at its end
========  ================================================  ===============================================

An event is noticed when a minute of it, or of the ten minutes after it, is not good or not there; or, for rows out of
order, when `qc.generic.order` says so. The delay is from its begin to the end of the first such minute.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy.signal import lfilter

from qc import generic
from qc.flags import Flag
from qc.pipeline import Config, run
from qc.units import HPA_PER_TORR
from tests.qc.conftest import DOCUMENT
from tests.strategies import dataset

NS = 10**9
DAY = 86_400
STEP = 3
NOISE = 0.2
SIZES = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 5.0, 8.0, 12.0, 20.0)
"""Heights of spikes, errors of wet and drifting values, in multiples of `NOISE`."""
NEEDED = {"spike": 1, "flat": 16, "outage": 10, "double": 2, "reorder": 5}
"""Minutes a fault needs to be one, where not every minute was measured."""
FLUSHED = 60
SLACK = 600
EVERY = {"spike": 2.5, "flat": 30, "outage": 90, "double": 20, "reorder": 20, "wet": 60, "drift": 240}
"""Hours between two faults of a kind, on average."""

CHAIN = {
    **DOCUMENT,
    "flush_seconds": FLUSHED,
    "outage_seconds": 600,
    "rule": [
        {"quantity": "cavity_pressure_torr", "min": 139.6, "max": 140.4},
        {"quantity": "h2o_reported", "max": 4.0},
    ],
    "species": {
        "co2": {
            "scale": "WMO CO2 X2019",
            "water": {"model": "picarro_g2301"},
            "range": {"bad": [300, 1000]},
            "min_values": 4,
            "tests": {
                "rate": {"suspect": 0.36},
                "rebs": {"beta": 6.0},
                "reject": "rebs",
                "flat_line": {"tolerance": 1e-9, "suspect_seconds": 900},
                "gap": {"expected_seconds": 60, "factor": 1.5},
            },
        }
    },
}
"""The configuration that is scored: set on other seeds than those that are."""


class Fault(NamedTuple):
    """One fault: kind, begin and end in seconds since the begin of the record, size in multiples of the noise."""

    kind: str
    begin: int
    end: int
    size: float


@dataclass(frozen=True)
class Stream:
    """Rows as they come: arrays (row,), and the faults in them."""

    time: np.ndarray
    co2: np.ndarray
    h2o: np.ndarray
    pressure: np.ndarray
    port: np.ndarray
    faults: list[Fault]
    start: int


def plan(days, *, seed, kinds=tuple(EVERY)):
    """Return faults that do not touch each other, at random times."""
    rng = np.random.default_rng(seed)
    wanted = [kind for kind in kinds for _ in range(int(days * 24 / EVERY[kind]))]
    lengths = {"spike": (60, 1800), "flat": (1800, 7200), "outage": (3600, 6 * 3600), "double": (60, 600)}
    lengths |= {"reorder": (60, 600), "wet": (600, 3600), "drift": (6 * 3600, 48 * 3600)}
    taken, faults = [], []
    for kind in sorted(wanted, key=lambda k: -lengths[k][1]):
        for _ in range(200):
            length = int(rng.integers(lengths[kind][0], lengths[kind][1] + 1))
            begin = int(rng.integers(7200, days * DAY - length - 7200))
            if all(begin > b + 2400 or begin + length < a - 2400 for a, b in taken):
                taken.append((begin, begin + length))
                size = float(rng.choice(SIZES)) if kind in ("spike", "wet", "drift") else 0.0
                faults.append(Fault(kind, begin, begin + length, size))
                break
    calibrations = [Fault("flush", t + 1200, t + 1200 + FLUSHED, 0.0) for t in range(5400, days * DAY - 3600, 2 * DAY)]
    return sorted(faults + calibrations, key=lambda f: f.begin)


def _forgetful(rng, n, *, forgets, spread):
    """Return a random walk that forgets: an Ornstein-Uhlenbeck process on the grid of rows."""
    r = np.exp(-STEP / forgets)
    return lfilter([1.0], [1.0, -r], rng.normal(0, spread * np.sqrt(1 - r * r), n))


def stream(days, *, seed, start=1_767_225_600, faults=None):
    """Return the rows of an instrument over so many days."""
    rng = np.random.default_rng(seed + 1_000_000)
    faults = plan(days, seed=seed) if faults is None else faults
    second = np.arange(0, days * DAY, STEP)
    n = second.size
    co2 = 420 + 5 * np.sin(second / DAY * 2 * np.pi) + 4 * np.sin(second / (365 * DAY) * 2 * np.pi)
    co2 += _forgetful(rng, n, forgets=1200, spread=0.2) + _forgetful(rng, n, forgets=3 * DAY, spread=3.0)
    h2o = 1.5 + 0.5 * np.sin(second / DAY * 2 * np.pi) + rng.normal(0, 0.002, n)
    pressure = 140.0 + rng.normal(0, 0.03, n)
    port = np.full(n, "10", dtype=object)
    reads = co2 + rng.normal(0, NOISE, n)
    keep = np.ones(n, dtype=bool)
    for fault in faults:
        rows = slice(*np.searchsorted(second, [fault.begin, fault.end]))
        share = np.linspace(0, 1, max(rows.stop - rows.start, 1))[: rows.stop - rows.start]
        if fault.kind == "spike":
            edge = np.minimum((second[rows] - fault.begin + STEP) / 15, 1.0)
            reads[rows] += fault.size * NOISE * edge
        elif fault.kind == "flat":
            reads[rows], h2o[rows] = reads[rows.start], h2o[rows.start]
        elif fault.kind == "outage":
            keep[rows] = False
        elif fault.kind == "wet":
            h2o[rows] = 4.3 + 0.3 * rng.random(h2o[rows].size)
            reads[rows] += fault.size * NOISE
        elif fault.kind == "drift":
            pressure[rows] += 0.8 * share
            reads[rows] += fault.size * NOISE * share
        elif fault.kind == "flush":
            stay = slice(*np.searchsorted(second, [fault.begin - 1200, fault.begin]))
            port[stay], reads[stay] = "3", 460.0 + rng.normal(0, NOISE, stay.stop - stay.start)
            after = slice(stay.stop, stay.stop + 200)
            reads[after] += 40 * np.exp(-(second[after] - fault.begin) / 12.0)
    wet = reads * (1 - 0.012 * h2o - 2.674e-4 * h2o**2)
    time = (start + second) * 1000
    columns = _disturbed([time, wet, h2o, pressure, port], second, keep, faults)
    return Stream(*columns, faults, start)


def _disturbed(columns, second, keep, faults):
    """Return rows with some twice (every other of them with another value) and some late."""
    order = np.flatnonzero(keep)
    for fault in faults:
        if fault.kind == "reorder":
            inside = np.flatnonzero((second[order] >= fault.begin) & (second[order] < fault.end))
            if inside.size > 4:
                order[inside] = np.r_[order[inside[2:]], order[inside[:2]]]
    twice = [
        place
        for fault in faults
        if fault.kind == "double"
        for place in np.flatnonzero((second[order] >= fault.begin) & (second[order] < fault.end)).tolist()
    ]
    found = [column[order] for column in columns]
    others = [column[twice].copy() for column in found]
    others[1][::2] = others[1][::2] + 3 * NOISE
    return [np.insert(column, np.asarray(twice, int) + 1, other) for column, other in zip(found, others, strict=True)]


def in_record(time, co2, *, seed, noise):
    """Return the rows of a real record of minutes with faults put in, and the configuration that is scored.

    Spikes, flat lines, outages, rows that come twice or late; sizes are multiples of the noise of a minute of the
    record. What the tests find in it without faults is real air, and set apart (`score`, ``known``).

    Parameters
    ----------
    time : int64 (n,)
        ms since 1970 UTC, one a minute.
    co2 : float64 (n,)
        NaN: no row.
    seed : int
    noise : float
        Of a minute.
    """
    start = int(time[0] // 1000 // DAY * DAY)
    second = time // 1000 - start
    days = int(second[-1] // DAY) + 1
    kinds = ("spike", "flat", "outage", "double", "reorder")
    faults = [f for f in plan(days, seed=seed, kinds=kinds) if f.kind != "flush" and f.begin > second[0] + 7200]
    keep, value = np.isfinite(co2), co2.copy()
    kept = []
    for fault in faults:
        rows = np.flatnonzero((second >= fault.begin) & (second < fault.end) & keep)
        if rows.size < NEEDED[fault.kind]:
            continue  # too little was measured there
        fault = fault._replace(begin=int(second[rows[0]]) - 30, end=int(second[rows[-1]]) + 30)  # noqa: PLW2901
        kept.append(fault)
        if fault.kind == "spike":
            value[rows] += fault.size * noise
        elif fault.kind == "flat":
            value[rows] = value[rows[0]]
        elif fault.kind == "outage":
            keep[rows] = False
    columns = [time, value, np.zeros(time.size), np.full(time.size, 140.0), np.full(time.size, "10", dtype=object)]
    # Summer nights move by more in a minute than most faults: spikes are noted, edges are what rejects.
    tests = CHAIN["species"]["co2"]["tests"] | {"rate": {"suspect": 4.5 * noise}, "reject": "none"}
    gas = {**CHAIN["species"]["co2"], "water": {"method": "none"}, "min_values": 1, "tests": tests}
    config = Config.from_dict({**CHAIN, "flush_seconds": 0, "rule": [], "species": {"co2": gas}})
    return Stream(*_disturbed(columns, second, keep, kept), kept, start), config


def noise_of(co2):
    """Return the noise of a record's values: of the differences of neighbours, robustly."""
    return float(np.nanmedian(np.abs(np.diff(co2))) / 0.6745 / np.sqrt(2))


def as_readings(one):
    """Return READINGS of rows as they came, and which of them `qc.generic.order` called bad.

    A time that was there already keeps the first value, as the store does; what comes late takes its place in time.
    """
    bad = generic.order(one.time * 10**6) == Flag.BAD
    _, first = np.unique(one.time, return_index=True)
    values = {"co2": one.co2, "h2o_reported": one.h2o, "cavity_pressure": one.pressure * HPA_PER_TORR}
    ds = dataset(
        one.time[first],
        {name: column[first] for name, column in values.items()},
        port=one.port[first],
        status=np.full(first.size, 963.0),
    )
    return ds, bad


def minutes_of(ds, config, *, month_days=30):
    """Return the chain's minutes, made in pieces so that memory does not grow with the record."""
    time = ds["time"].values
    edges = np.arange(time[0].astype("datetime64[D]"), time[-1], np.timedelta64(month_days, "D")).astype(
        "datetime64[ns]"
    )
    margin = np.timedelta64(int(config.margin_seconds), "s") + np.timedelta64(6, "D")
    pieces = []
    for first in edges:
        last = first + np.timedelta64(month_days, "D")
        rows = slice(*np.searchsorted(time, [first - margin, last + margin]))
        piece = run(ds.isel(time=rows), config, interval="minute", start=first, end=last, calibrations={})
        pieces.append(piece[["time_bnds", "co2", "co2_flag", "co2_cause", "co2_tests"]])
    return xr.concat(pieces, "time", combine_attrs="override")


class Score(NamedTuple):
    """Of flagged events how many are of a fault; of each fault whether and after how many seconds it was noticed."""

    precision: float
    events: int
    noticed: list[tuple[Fault, bool, float]]

    def recall(self, *, least=0.0, most=np.inf, kind=None):
        """Return the share of faults that were noticed: of sizes in [least, most], or without a size."""
        chosen = [
            seen
            for fault, seen, _ in self.noticed
            if (kind is None or fault.kind == kind) and (fault.size == 0 or least <= fault.size <= most)
        ]
        return float(np.mean(chosen)) if chosen else np.nan

    def delay(self, kind):
        """Return the median delay of the noticed faults of a kind [s]."""
        found = [delay for fault, seen, delay in self.noticed if seen and fault.kind == kind]
        return float(np.median(found)) if found else np.nan


def quarters(days=91, *, seeds=(11, 12, 13, 14)):
    """Return the score of a year, a quarter after the other so that memory holds one."""
    events, right, noticed = 0, 0.0, []
    for seed in seeds:
        one = stream(days, seed=seed)
        ds, bad = as_readings(one)
        found = score(minutes_of(ds, configuration()), one.faults, bad, one)
        events, right = events + found.events, right + found.precision * found.events
        noticed += found.noticed
    return Score(right / events, events, noticed)


def score(minutes, faults, bad_rows, one, *, known=None):
    """Return the score of minutes against faults.

    Parameters
    ----------
    minutes
        Of the chain.
    faults, bad_rows, one
        Of the stream: what is in it, which rows were out of order, the stream.
    known
        Minutes of the same record without faults: what is not good there is no false alarm, nor a find.
    """
    first = (minutes["time_bnds"].values[:, 0].astype("datetime64[s]").astype(np.int64) - one.start) // 60
    count = int(max(first[-1] + 1, faults[-1].end // 60 + 12))
    wrong = np.ones(count, dtype=bool)
    wrong[first] = minutes["co2_flag"].values != Flag.GOOD
    at_standard = np.zeros(count, dtype=bool)
    standing = (one.time[one.port == "3"] // 1000 - one.start) // 60
    at_standard[standing[standing < count]] = True
    wrong &= ~at_standard
    if known is not None:
        before = (known["time_bnds"].values[:, 0].astype("datetime64[s]").astype(np.int64) - one.start) // 60
        usual = np.ones(count, dtype=bool)
        usual[before] = known["co2_flag"].values != Flag.GOOD
        wrong &= ~usual
    late = np.unique((one.time[bad_rows] // 1000 - one.start) // 60)
    noticed = [(fault, *_noticed(fault, wrong, late)) for fault in faults]
    truth = np.zeros(count, dtype=bool)
    for fault in faults:
        truth[max(fault.begin // 60 - 1, 0) : (fault.end + SLACK) // 60 + 1] = True
    flagged = np.flatnonzero(wrong[: faults[-1].end // 60])
    breaks = np.flatnonzero(np.diff(flagged) > 30)
    events = list(zip(flagged[np.r_[0, breaks + 1]], flagged[np.r_[breaks, flagged.size - 1]], strict=True))
    right = sum(bool(truth[a : b + 1].any()) for a, b in events)
    return Score(right / max(len(events), 1), len(events), noticed)


def _noticed(fault, wrong, late):
    first, last = fault.begin // 60, (fault.end + SLACK) // 60
    if fault.kind in ("double", "reorder"):
        found = late[(late >= first) & (late <= last)]
    else:
        found = first + np.flatnonzero(wrong[first : last + 1])
    return bool(found.size), float((found[0] + 1) * 60 - fault.begin) if found.size else np.nan


def configuration(**tests):
    """Return the configuration that is scored, with other tests where given."""
    gas = {**CHAIN["species"]["co2"], "tests": CHAIN["species"]["co2"]["tests"] | tests}
    return Config.from_dict({**CHAIN, "species": {"co2": gas}})
