"""The numbers of the page: what became of hours, what each test did, calibrations, targets, uncertainties."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr

from qc.calibration import Calibration
from qc.flags import Cause, Flag, Outcome, outcome
from qc.plot import GOAL, PLAIN
from qc.target import History

_NOTHING: Final = "–"


def number(value: float, digits: int = 3) -> str:
    """Return a number as the page shows it, a dash where there is none."""
    return f"{value:.{digits}f}" if np.isfinite(value) else _NOTHING


def day(time: Any) -> str:
    """Return a time to the minute."""
    return str(np.datetime64(time, "ns").astype("datetime64[m]")).replace("T", " ")


@dataclass(frozen=True, slots=True)
class Coverage:
    """What became of the hours of a month, by flag, and the share that is good [%]."""

    inlet: str
    gas: str
    good: int
    suspect: int
    bad: int
    not_evaluated: int
    missing: int
    share: str
    provisional: int
    mean: str


def coverage(hours: xr.Dataset, gas: str, *, inlet: str, wanted: int) -> Coverage:
    """Return the coverage of a series; `wanted` is how many hours the month has (so far)."""
    flag = hours[f"{gas}_flag"].values
    count = {one: int((flag == one).sum()) for one in Flag}
    good = flag == Flag.GOOD
    unit = PLAIN.get(str(hours[gas].attrs["units"]), "")
    mean = f"{hours[gas].values[good].mean():.2f} {unit}" if good.any() else _NOTHING
    pending = hours[f"{gas}_provisional"].values if f"{gas}_provisional" in hours else np.zeros(flag.size)
    missing = wanted - flag.size + count[Flag.MISSING]
    return Coverage(
        inlet,
        gas.upper(),
        count[Flag.GOOD],
        count[Flag.SUSPECT],
        count[Flag.BAD],
        count[Flag.NOT_EVALUATED],
        missing,
        f"{100 * count[Flag.GOOD] / wanted:.0f} %" if wanted else _NOTHING,
        int((pending == 1).sum()),
        mean,
    )


@dataclass(frozen=True, slots=True)
class Tested:
    """What one test did to the minutes of a series."""

    test: str
    evaluated: int
    suspect: int
    bad: int
    set_flag: int


def tests(minutes: xr.Dataset, gas: str) -> tuple[list[Tested], list[str]]:
    """Return what each test found among the minutes, and the names of those that never ran."""
    if f"{gas}_tests" not in minutes:
        return [], [_word(cause) for cause in Cause]
    every, causes = minutes[f"{gas}_tests"].values, minutes[f"{gas}_cause"].values
    ran, idle = [], []
    for cause in Cause:
        found = outcome(every, cause)
        if not (found != Outcome.NOT_EVALUATED).any() and not (causes & int(cause)).any():
            idle.append(_word(cause))
            continue
        suspect, bad = (int((found == one).sum()) for one in (Outcome.SUSPECT, Outcome.BAD))
        evaluated, caused = int((found != Outcome.NOT_EVALUATED).sum()), int(((causes & int(cause)) != 0).sum())
        ran.append(Tested(_word(cause), evaluated, suspect, bad, caused))
    return ran, idle


def _word(cause: Cause) -> str:
    return {"SPIKE_SD": "spike (SD)", "SPIKE_REBS": "spike (REBS)"}.get(
        str(cause.name), str(cause.name).lower().replace("_", " ")
    )


@dataclass(frozen=True, slots=True)
class Episode:
    """One calibration: when, how many standards, correction, slope, residuals."""

    time: str
    standards: int
    correction: str
    slope: str
    residual: str


def episodes(found: Calibration, *, start: np.datetime64, end: np.datetime64) -> list[Episode]:
    """Return the calibrations of a stretch of time."""
    time = found.time.astype("datetime64[ns]")
    chosen = np.flatnonzero((time >= start) & (time < end))
    return [
        Episode(
            day(time[e]),
            int(np.isfinite(found.residual[e]).sum()),
            number(found.coefficients[e, 0]),
            number(1000 * found.coefficients[e, 1], 2) if found.coefficients.shape[1] > 1 else _NOTHING,
            number(float(np.nanmax(np.abs(found.residual[e])))),
        )
        for e in chosen.tolist()
    ]


@dataclass(frozen=True, slots=True)
class Target:
    """How one target was found again, at the end of the month."""

    name: str
    injections: int
    bias: str
    sttb: str
    cmr: str
    ltr: str
    verdict: str


def target(name: str, gas: str, found: History) -> Target:
    """Return a target's figures: mean bias of all injections given, the others as of the last."""
    bias = float(found.bias.mean()) if found.bias.size else np.nan
    columns = (found.sttb, found.cmr, found.ltr)
    sttb, cmr, ltr = (number(float(column[-1]) if column.size else np.nan) for column in columns)
    goal = GOAL.get(gas, np.nan)
    verdict = (
        _NOTHING if not np.isfinite(bias + goal) else ("within the goal" if abs(bias) <= goal else "beyond the goal")
    )
    return Target(name, found.time.size, number(bias), sttb, cmr, ltr, verdict)


@dataclass(frozen=True, slots=True)
class Budget:
    """Median and 95th percentile of the parts of the uncertainty of good hours."""

    inlet: str
    gas: str
    parts: dict[str, str]


def budget(hours: xr.Dataset, gas: str, *, inlet: str) -> Budget:
    """Return the uncertainty budget of a series' good hours."""
    good = hours[f"{gas}_flag"].values == Flag.GOOD
    parts = {}
    for name in ("u_random", "u_shared", "u_calibration", "uncertainty"):
        values = hours[f"{gas}_{name}"].values[good] if f"{gas}_{name}" in hours else np.empty(0)
        values = values[np.isfinite(values)]
        median, high = np.quantile(values, (0.5, 0.95)) if values.size else (np.nan, np.nan)
        parts[name] = f"{number(median)} ({number(high)})" if values.size else _NOTHING
    return Budget(inlet, f"{gas.upper()} [{PLAIN.get(str(hours[gas].attrs['units']), '')}]", parts)
