"""Tests of a series of minutes: what only its neighbours tell of a value. In blocks of a day, so that late is as early.

A day's minutes are judged with those of the six days before it and of the three hours after it, and with nothing else:
whoever has these gets the same outcome, whether the day comes minute by minute or in a year at once. A day is settled
when it and the three hours after it are complete.

Each test is a row of `TESTS`. What a configuration does not name is not evaluated. Spikes and gaps are noted; they make
no value suspect unless the configuration says so (``reject``): polluted air is air too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from qc import generic, spikes
from qc.document import Table
from qc.flags import Cause, Flag, Outcome, outcome, outcomes
from qc.generic import NS, Flags, Floats, Ints, Season
from qc.schema import nanoseconds

DAY_NS: Final = 86_400 * NS
BEFORE_DAYS: Final = 6
"""Days before a day that are looked at with it."""
AFTER_SECONDS: Final = 10_800.0
"""Seconds after it that are."""


@dataclass(frozen=True, slots=True)
class Sd:
    """Parameters of `qc.spikes.sd`."""

    alpha: float = 1.0
    gap_seconds: float = 3600.0


@dataclass(frozen=True, slots=True)
class Rebs:
    """Parameters of `qc.spikes.rebs`."""

    beta: float = 3.0
    bandwidth_minutes: int = 60
    b: float = 3.5


@dataclass(frozen=True, slots=True)
class Rate:
    """Parameters of `qc.generic.rate` [unit of the gas per minute]."""

    suspect: float
    bad: float = np.inf
    max_gap_seconds: float = 3600.0


@dataclass(frozen=True, slots=True)
class FlatLine:
    """Parameters of `qc.generic.flat_line`."""

    tolerance: float
    suspect_seconds: float
    bad_seconds: float = np.inf


@dataclass(frozen=True, slots=True)
class Attenuation:
    """Parameters of `qc.generic.attenuation`."""

    window_seconds: float
    suspect: float
    bad: float = 0.0


@dataclass(frozen=True, slots=True)
class Gap:
    """Parameters of `qc.generic.gaps`."""

    expected_seconds: float = 60.0
    factor: float = 1.5


@dataclass(frozen=True, slots=True)
class Screening:
    """What is asked of one gas; None, or nothing: not asked.

    Parameters
    ----------
    sd, rebs, rate, flat_line, attenuation, gap
        Parameters of the tests.
    climatology
        What is usual when; the first season that fits counts.
    reject
        Which spikes make a minute suspect: "none", "sd" or "rebs".
    """

    sd: Sd | None = None
    rebs: Rebs | None = None
    rate: Rate | None = None
    flat_line: FlatLine | None = None
    attenuation: Attenuation | None = None
    gap: Gap | None = None
    climatology: tuple[Season, ...] = ()
    reject: str = "none"

    def __bool__(self) -> bool:
        """Whether anything is asked."""
        return any(getattr(self, test.name) for test in TESTS)

    @property
    def rejecting(self) -> tuple[Cause, ...]:
        """The tests by which a minute becomes suspect or bad."""
        noted = {Cause.GAP, Cause.SPIKE_SD, Cause.SPIKE_REBS} - {_SPIKES.get(self.reject)}
        return tuple(test.cause for test in TESTS if test.cause not in noted)


_SPIKES: Final = {"sd": Cause.SPIKE_SD, "rebs": Cause.SPIKE_REBS}


def _spike(found: NDArray[np.bool_], value: Floats) -> Flags:
    flags = np.where(found, np.int8(Flag.SUSPECT), np.int8(Flag.GOOD))
    return np.where(np.isfinite(value), flags, np.int8(Flag.MISSING))


def _sd(time: Ints, value: Floats, asked: Sd) -> Flags:
    return _spike(
        spikes.sd(time, value, alpha=asked.alpha, gap_seconds=asked.gap_seconds, window_ns=np.iinfo(np.int64).max),
        value,
    )


def _rebs(time: Ints, value: Floats, asked: Rebs) -> Flags:
    found, baseline = spikes.rebs(time, value, beta=asked.beta, bandwidth_minutes=asked.bandwidth_minutes, b=asked.b)
    return np.where(np.isfinite(baseline), _spike(found, value), np.int8(Flag.NOT_EVALUATED))


def _rate(time: Ints, value: Floats, asked: Rate) -> Flags:
    limits = {"suspect": asked.suspect, "bad": asked.bad, "max_gap_seconds": asked.max_gap_seconds}
    return generic.rate(time, value, **limits)


def _flat_line(time: Ints, value: Floats, asked: FlatLine) -> Flags:
    times = {"suspect_seconds": asked.suspect_seconds, "bad_seconds": asked.bad_seconds}
    return generic.flat_line(time, value, tolerance=asked.tolerance, **times)


def _attenuation(time: Ints, value: Floats, asked: Attenuation) -> Flags:
    limits = {"suspect": asked.suspect, "bad": asked.bad}
    return generic.attenuation(time, value, window_seconds=asked.window_seconds, **limits)


def _gap(time: Ints, _: Floats, asked: Gap) -> Flags:
    after = generic.gaps(time, expected_seconds=asked.expected_seconds, factor=asked.factor)
    flags = np.where(after, np.int8(Flag.SUSPECT), np.int8(Flag.GOOD))
    flags[:1] = Flag.NOT_EVALUATED
    return flags


def _climatology(time: Ints, value: Floats, asked: tuple[Season, ...]) -> Flags:
    return generic.climatology(time, value, asked)


class _Test(NamedTuple):
    """A test: its key in the configuration, its bit, and flags (n,) from time, value and what is asked."""

    name: str
    cause: Cause
    flags: Callable[[Ints, Floats, Any], Flags]


TESTS: Final = (
    _Test("climatology", Cause.CLIMATOLOGY, _climatology),
    _Test("rate", Cause.RATE, _rate),
    _Test("flat_line", Cause.FLAT_LINE, _flat_line),
    _Test("attenuation", Cause.ATTENUATION, _attenuation),
    _Test("gap", Cause.GAP, _gap),
    _Test("sd", Cause.SPIKE_SD, _sd),
    _Test("rebs", Cause.SPIKE_REBS, _rebs),
)


def screen(time: Ints, value: Floats, asked: Screening, *, since: int = np.iinfo(np.int64).min) -> NDArray[np.int64]:
    """Return the outcomes (n,) of all tests of minutes; see `qc.flags.outcomes`.

    Parameters
    ----------
    time : int64 (n,)
        ns since 1970 UTC, increasing.
    value : float64 (n,)
        NaN is not evaluated, nor does it stand between its neighbours.
    asked : Screening
        What is tested.
    since : int
        Days that end before are only looked at, not tested [ns since 1970 UTC].
    """
    tests = np.zeros(time.size, dtype=np.int64)
    there = np.flatnonzero(np.isfinite(value))
    if not there.size or not asked:
        return tests
    t, v = time[there], value[there]
    day = t // DAY_NS
    for number in np.unique(day[t >= since // DAY_NS * DAY_NS]).tolist():
        since, until = (number - BEFORE_DAYS) * DAY_NS, (number + 1) * DAY_NS + int(AFTER_SECONDS * NS)
        first, last = np.searchsorted(t, [since, until]).tolist()
        begin, end = np.searchsorted(day, [number, number + 1]).tolist()
        window = slice(first, last)
        for test in TESTS:
            parameters = getattr(asked, test.name)
            if parameters:
                flags = test.flags(t[window], v[window], parameters)[begin - first : end - first]
                tests[there[begin:end]] |= outcomes(test.cause, flags)
    return tests


def screened(
    minutes: xr.Dataset, judged: Mapping[str, NDArray[np.int64]], asked: Mapping[str, Screening]
) -> xr.Dataset:
    """Return minutes with what the tests found of them.

    Parameters
    ----------
    minutes : xr.Dataset
        OBS of minutes, with ``{species}_tests``.
    judged : mapping
        Gas -> outcomes (n,) of `screen`.
    asked : mapping
        Gas -> what was asked.

    Returns
    -------
    xr.Dataset
        A minute that was good, or had too few values, becomes suspect or bad by a test that rejects, unless somebody
        decided by hand that it is good.
    """
    changed: dict[str, Any] = {}
    for gas, tests in judged.items():
        flag, cause = minutes[f"{gas}_flag"].values.copy(), minutes[f"{gas}_cause"].values.copy()
        before = minutes[f"{gas}_tests"].values
        open_ = np.isfinite(minutes[gas].values) & (outcome(before, Cause.MANUAL) != Outcome.GOOD)
        for test in asked[gas].rejecting:
            found = outcome(tests, test)
            failed = open_ & (found >= Outcome.SUSPECT)
            worse = np.where(found == Outcome.BAD, Flag.BAD, Flag.SUSPECT)
            flag[failed] = np.maximum(flag, worse)[failed]
            cause[failed] |= int(test)
        for name, values in (("flag", flag), ("cause", cause), ("tests", before | tests)):
            old = minutes[f"{gas}_{name}"]
            changed[f"{gas}_{name}"] = (old.dims, values, old.attrs)
    return minutes.assign(changed)


def times(ds: xr.Dataset) -> Ints:
    """Return the starts (n,) of the intervals of OBS, ns since 1970 UTC."""
    return nanoseconds(ds["time_bnds"].isel(bnds=0))


# --- configuration -----------------------------------------------------------------------------


def from_table(table: Table) -> Screening:
    """Return what a configuration asks; its faults go to the table's own list."""
    asked = Screening(
        sd=_read(table, "sd", lambda t: Sd(t.number("alpha", 1.0, low=1e-9), t.number("gap_seconds", 3600.0, low=1.0))),
        rebs=_read(table, "rebs", _rebs_asked),
        rate=_read(table, "rate", _rate_asked),
        flat_line=_read(table, "flat_line", _flat_line_asked),
        attenuation=_read(table, "attenuation", _attenuation_asked),
        gap=_read(
            table, "gap", lambda t: Gap(t.number("expected_seconds", 60.0, low=1.0), t.number("factor", 1.5, low=1.0))
        ),
        climatology=tuple(_season(season) for season in table.tables("climatology")),
        reject=table.text("reject", "none", among=("none", *_SPIKES)),
    )
    if asked.reject != "none" and getattr(asked, asked.reject) is None:
        table.fault("reject", f"is {asked.reject!r}, and there is no {asked.reject} = {{...}} to find those spikes")
    table.close()
    return asked


def _read(table: Table, key: str, make: Callable[[Table], Any]) -> Any:
    """Return the parameters of a test, None where it is not asked for."""
    parameters = table.table(key, {})
    if key not in table:
        return None
    found = make(parameters)
    parameters.close()
    return found


def _rebs_asked(table: Table) -> Rebs:
    width = table.count("bandwidth_minutes", 60, low=3)
    if width * 30 > AFTER_SECONDS:
        table.fault("bandwidth_minutes", f"is {width}, expected at most {AFTER_SECONDS / 30:.0f}")
    return Rebs(table.number("beta", 3.0, low=1e-9), width, table.number("b", 3.5, low=1e-9))


def _rate_asked(table: Table) -> Rate:
    suspect = table.number("suspect", low=1e-12)
    bad = table.number("bad", np.inf, low=1e-12)
    return Rate(suspect, bad, table.number("max_gap_seconds", 3600.0, low=1.0))


def _flat_line_asked(table: Table) -> FlatLine:
    return FlatLine(
        table.number("tolerance", low=0.0),
        table.number("suspect_seconds", low=60.0, high=AFTER_SECONDS),
        table.number("bad_seconds", np.inf, low=60.0, high=AFTER_SECONDS) if "bad_seconds" in table else np.inf,
    )


def _attenuation_asked(table: Table) -> Attenuation:
    window = table.number("window_seconds", low=600.0, high=86_400.0)
    if window and 86_400 % window:
        table.fault("window_seconds", f"is {window:g}, expected a part of a day: 21600, 43200, 86400 ...")
    return Attenuation(window, table.number("suspect", low=1e-12), table.number("bad", 0.0, low=0.0))


def _season(table: Table) -> Season:
    low, high = table.pair("usual") or (-np.inf, np.inf)
    if "usual" not in table:
        table.fault("usual", "is missing, expected [low, high]")
    months, hours = (table.integers(key, low=a, high=b) for key, a, b in (("months", 1, 12), ("hours", 0, 23)))
    table.close()
    return Season(low, high, months, hours)
