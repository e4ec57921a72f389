r"""Means over intervals: rows to minutes, minutes to hours, with what is known about their uncertainty.

Intervals are aligned to 1970-01-01 UTC and half open, [start, end); ``time`` is their middle and
``time_bnds`` their bounds. An interval without any row is not there.

Means and spread
    With weights w (rows: 1; minutes: their number of rows n), values x and their own spread s (rows: 0;
    minutes: their SD), and d = x - mean::

        mean = sum(w x) / sum(w)          SD = sqrt(sum(w (s² + d²)) / sum(w))

    SD is that of the population (divided by n, not n - 1): only so is the hour made of minutes exactly
    the hour made of rows.

Uncertainty
    u_cmr, the SD of one-minute means of a target gas, is the random error of one minute. The random
    part of a mean of m minutes has two terms::

        u_random² = sum(w² u_cmr²) / sum(w)²  +  (1 - f) S² / m        (first term: u_cmr²/m for equal w)

    The second is the error of saying "the hour" where only a fraction f of it was sampled: S² is the
    variance between the minutes, sum(w d²)/sum(w) * m/(m - 1), and (1 - f) the correction for a finite
    population (Cochran 1977, Sampling Techniques, eq. 2.20). An hour with all its minutes has none of it;
    one with 12 has 0.8 S²/12. It takes the minutes as drawn at random from the hour; where they follow
    each other, as on a switched inlet, air changes slowly and the true error is larger. For a single
    minute S is not known, and its inner spread s stands in.

    u_shared (long-term repeatability, scale, water correction) is the same error in every mean. It does
    not become smaller by averaging and is kept apart; ``uncertainty`` is the root of the sum of squares.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from qc.errors import QcError
from qc.flags import (
    Cause,
    Flag,
    Outcome,
    cause_attributes,
    flag_attributes,
    outcome,
    outcomes,
    tests_attributes,
    without,
)
from qc.schema import OBS, nanoseconds, require, standard_name
from qc.units import QUANTITIES

MINUTE: Final = 60 * 10**9
HOUR: Final = 60 * MINUTE
"""Lengths of intervals [ns]."""

Floats = NDArray[np.float64]


class Moments(NamedTuple):
    """Weighted moments of each interval; NaN where nothing entered.

    Attributes
    ----------
    mean, stdev : float64 (interval)
    between : float64 (interval)
        Variance of the values about the mean, without what they spread themselves.
    weight : float64 (interval)
        Sum of the weights.
    entered : int64 (interval)
        How many values entered.
    """

    mean: Floats
    stdev: Floats
    between: Floats
    weight: Floats
    entered: NDArray[np.int64]


class Intervals(NamedTuple):
    """Consecutive rows grouped by interval: the first row of each, how many rows, where it starts [ns]."""

    first: NDArray[np.intp]
    length: NDArray[np.intp]
    start: NDArray[np.int64]


def intervals(time: NDArray[np.int64], width: int) -> Intervals:
    """Group rows in time order by interval of `width` ns, aligned to 1970-01-01 UTC.

    Parameters
    ----------
    time : int64 (row)
        ns since 1970 UTC, not decreasing.
    width : int
        Length of an interval [ns].
    """
    number = time // width
    first = np.flatnonzero(np.r_[time.size > 0, number[1:] != number[:-1]][: time.size])
    return Intervals(first, np.diff(np.r_[first, time.size]), number[first] * width)


def moments(values: Floats, groups: Intervals, *, weights: Floats, within: Floats | None = None) -> Moments:
    """Return the weighted moments of each interval.

    Parameters
    ----------
    values : float64 (row)
        What is averaged.
    groups : Intervals
        Of the same rows.
    weights : float64 (row)
        0 leaves a row out; so does a value that is NaN.
    within : float64 (row), optional
        Standard deviation each value has in itself; NaN counts as 0.

    Returns
    -------
    Moments
    """
    enters = (weights > 0) & np.isfinite(values)
    w = np.where(enters, weights, 0.0)
    # Sums are of the distance to the smallest value of the interval: no digits are lost to the offset.
    lowest = _reduced(np.minimum, np.where(enters, values, np.inf), groups)
    lowest = np.where(np.isfinite(lowest), lowest, 0.0)
    distance = np.where(enters, values - np.repeat(lowest, groups.length), 0.0)
    total = _reduced(np.add, w, groups)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = _reduced(np.add, w * distance, groups) / total
        d = distance - np.repeat(np.where(total > 0, mean, 0.0), groups.length)
        between = _reduced(np.add, w * d * d, groups) / total
        inner = 0.0 if within is None else _reduced(np.add, w * np.nan_to_num(within) ** 2, groups) / total
        stdev = np.sqrt(between + inner)
    return Moments(lowest + mean, stdev, between, total, _counted(enters, groups))


def _reduced(operation: np.ufunc, values: NDArray[Any], groups: Intervals) -> NDArray[Any]:
    return operation.reduceat(values, groups.first) if groups.first.size else values[:0]


def _counted(which: NDArray[np.bool_], groups: Intervals) -> NDArray[np.int64]:
    return _reduced(np.add, which.astype(np.int64), groups)


def minutes(
    rows: xr.Dataset,
    *,
    min_values: Mapping[str, int] | None = None,
    u_cmr: Mapping[str, float] | None = None,
    u_shared: Mapping[str, float] | None = None,
) -> xr.Dataset:
    """Return one-minute means over each gas's own rows.

    Only rows flagged good enter; the others are counted in ``{species}_n_rejected``. A minute in which
    none is good has no value, the worst flag of its rows, and their causes; one in which the gas had no
    row at all is missing.

    Parameters
    ----------
    rows : xr.Dataset
        As `qc.pipeline.rows` gives them: (time) increasing; for each gas its value, ``{species}_flag`` (missing
        on rows that are not its own) and ``{species}_cause``. Attributes are taken over.
    min_values : mapping, optional
        Gas -> fewest values a good minute needs; 1 where not given. Fewer: suspect, too few.
    u_cmr, u_shared : mapping, optional
        Gas -> random error of a minute, shared error [unit of the gas]. Not given: NaN, never guessed.

    Returns
    -------
    xr.Dataset
        OBS.
    """
    groups = intervals(nanoseconds(rows["time"]), MINUTE)
    variables: dict[str, Any] = {}
    own = np.zeros(groups.first.size, dtype=bool)
    for gas in OBS.species(rows):
        flags, causes = rows[f"{gas}_flag"].values, rows[f"{gas}_cause"].values
        m = moments(rows[gas].values, groups, weights=(flags == Flag.GOOD).astype(np.float64))
        there = flags != Flag.MISSING
        n_own = _counted(there, groups)
        own |= n_own > 0
        flag, cause = _judged(
            m.entered,
            enough=m.entered >= (min_values or {}).get(gas, 1),
            flags=_worst(flags, groups),
            causes=_reduced(np.bitwise_or, np.where(there, causes, 0), groups),
        )
        u_random = np.where(m.entered > 0, (u_cmr or {}).get(gas, np.nan), np.nan)
        shared = np.where(m.entered > 0, (u_shared or {}).get(gas, np.nan), np.nan)
        counts = {"n": m.entered, "n_rejected": n_own - m.entered}
        values = {"": m.mean, "stdev": m.stdev, "u_random": u_random}
        good = (flags == Flag.GOOD).astype(np.float64)
        values |= _calibration_parts(gas, rows, groups, weights=good, total=m.entered, shared=shared)
        variables |= _companions(gas, values, counts, flag=flag, cause=cause, attrs=rows[gas].attrs)
        variables |= _told(gas, rows, groups, there=there, entered=m.entered, few=flag == Flag.SUSPECT)
    return _dataset(variables, groups.start, MINUTE, rows.attrs).isel(time=np.flatnonzero(own))


def _calibration_parts(
    gas: str, rows: xr.Dataset, groups: Intervals, *, weights: Floats, total: NDArray[Any], shared: Floats
) -> dict[str, Floats]:
    """Return the shared uncertainty, and the part of it that comes from calibration where there is one."""
    if f"{gas}_u_calibration" not in rows.variables:
        return {"u_shared": shared}
    u = rows[f"{gas}_u_calibration"].values
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = _reduced(np.add, np.where(weights > 0, weights * u, 0.0), groups) / total
    return {"u_shared": np.hypot(np.nan_to_num(shared), mean), "u_calibration": mean}


def _told(
    gas: str,
    ds: xr.Dataset,
    groups: Intervals,
    *,
    there: NDArray[np.bool_],
    entered: NDArray[Any],
    few: NDArray[np.bool_],
) -> dict[str, Any]:
    """Return what the tests found in each interval, the worst of its values, and whether it is provisional."""
    found: dict[str, Any] = {}
    if f"{gas}_tests" in ds.variables:
        own = np.where(there, without(ds[f"{gas}_tests"].values, Cause.TOO_FEW), 0)
        tests = _reduced(np.bitwise_or, own, groups)
        counted = np.where(few, np.int8(Flag.SUSPECT), np.int8(Flag.GOOD))
        tests = tests | outcomes(Cause.TOO_FEW, np.where(entered > 0, counted, np.int8(Flag.NOT_EVALUATED)))
        found[f"{gas}_tests"] = ("time", tests, tests_attributes() | {"long_name": f"{gas}: what every test found"})
    if f"{gas}_provisional" in ds.variables:
        some = np.where(there, ds[f"{gas}_provisional"].values, 0).astype(np.int8)
        words = {"units": "1", "long_name": f"{gas}: 1 where the next calibration may change it"}
        found[f"{gas}_provisional"] = ("time", _reduced(np.maximum, some, groups), words)
    return found


def hourly(minutes: xr.Dataset, *, min_minutes: int = 5) -> xr.Dataset:
    """Return hourly means of minute means, weighted by their numbers of values.

    A minute enters where it has a value and is good, or is suspect for nothing but too few values. The
    hour is good from `min_minutes` good minutes on, else suspect (too few) and kept.

    Parameters
    ----------
    minutes : xr.Dataset
        OBS of intervals shorter than an hour. A minute that does not say its number of values weighs as
        one; without SD of its own only the spread of the means counts; without u_random or u_shared
        the hour has none either.
    min_minutes : int
        Fewest good minutes of a good hour.

    Returns
    -------
    xr.Dataset
        OBS, with ``{species}_n_minutes``.

    Raises
    ------
    SchemaError
        Where `minutes` is not OBS.
    QcError
        Where an interval crosses a full hour or is longer than one.
    """
    require(minutes, OBS)
    bounds = nanoseconds(minutes["time_bnds"])
    crossing = np.flatnonzero((bounds[:, 1] - 1) // HOUR != bounds[:, 0] // HOUR)
    if crossing.size:
        first = minutes["time_bnds"].values[crossing[0]]
        msg = f"interval {first[0]} to {first[1]} does not lie within one hour, nor do {crossing.size - 1} others"
        raise QcError(msg)
    groups = intervals(bounds[:, 0], HOUR)
    fraction = (bounds[:, 1] - bounds[:, 0]) / HOUR
    variables: dict[str, Any] = {}
    for gas in OBS.species(minutes):
        variables |= _hours_of(gas, minutes, groups, fraction=fraction, min_minutes=min_minutes)
    return _dataset(variables, groups.start, HOUR, minutes.attrs)


def _hours_of(
    gas: str, minutes: xr.Dataset, groups: Intervals, *, fraction: Floats, min_minutes: int
) -> dict[str, Any]:
    """Return one gas and its companions as hourly means; `fraction` is the part of an hour each minute is."""
    value, n = minutes[gas].values, minutes[f"{gas}_n"].values.astype(np.float64)
    flags, causes = minutes[f"{gas}_flag"].values, _or(minutes, f"{gas}_cause", 0).astype(np.int32)
    good = flags == Flag.GOOD
    enters = (good | ((flags == Flag.SUSPECT) & (causes == Cause.TOO_FEW))) & np.isfinite(value)
    weights = np.where(enters, np.where(n > 0, n, 1.0), 0.0)
    m = moments(value, groups, weights=weights, within=minutes[f"{gas}_stdev"].values)
    flag, cause = _judged(
        m.entered,
        enough=_counted(good & enters, groups) >= min_minutes,
        flags=_worst(flags, groups),
        causes=_reduced(np.bitwise_or, causes, groups),
    )
    values = {
        "": m.mean,
        "stdev": m.stdev,
        "u_random": _u_random(
            m,
            groups,
            weights=weights,
            u=_or(minutes, f"{gas}_u_random", np.nan),
            sampled=_reduced(np.add, np.where(enters, fraction, 0.0), groups),
        ),
        "u_shared": _weighted(_or(minutes, f"{gas}_u_shared", np.nan), weights, groups, m),
    }
    if f"{gas}_u_calibration" in minutes.variables:
        values["u_calibration"] = _weighted(minutes[f"{gas}_u_calibration"].values, weights, groups, m)
    values |= _without_spikes(gas, minutes, groups, weights=weights)
    left_out = np.where(enters, 0, np.nan_to_num(n)) + np.nan_to_num(_or(minutes, f"{gas}_n_rejected", 0))
    counts = {"n": m.weight, "n_rejected": _reduced(np.add, left_out, groups), "n_minutes": m.entered}
    found = _companions(gas, values, counts, flag=flag, cause=cause, attrs=minutes[gas].attrs)
    few = (flag == Flag.SUSPECT) & (cause == Cause.TOO_FEW)
    there = flags != Flag.MISSING
    return found | _told(gas, minutes, groups, there=there, entered=m.entered, few=few)


def _without_spikes(gas: str, minutes: xr.Dataset, groups: Intervals, *, weights: Floats) -> dict[str, Floats]:
    """Return the means without what each method that ran calls spikes; NaN where nothing else is left."""
    found = {}
    for name, cause in (("without_sd", Cause.SPIKE_SD), ("without_rebs", Cause.SPIKE_REBS)):
        said = outcome(_or(minutes, f"{gas}_tests", 0).astype(np.int64), cause)
        if (said != Outcome.NOT_EVALUATED).any():
            found[name] = moments(
                minutes[gas].values, groups, weights=np.where(said >= Outcome.SUSPECT, 0.0, weights)
            ).mean
    return found


def _or(ds: xr.Dataset, name: str, otherwise: float) -> NDArray[Any]:
    return ds[name].values if name in ds.variables else np.full(ds.sizes["time"], otherwise)


def _u_random(m: Moments, groups: Intervals, *, weights: Floats, u: Floats, sampled: Floats) -> Floats:
    """Return the random uncertainty of each mean; the equation stands at the head of this module."""
    with np.errstate(invalid="ignore", divide="ignore"):
        repeatability = _reduced(np.add, np.where(weights > 0, (weights * u) ** 2, 0.0), groups) / m.weight**2
        single = m.stdev**2
        variance = np.where(m.entered > 1, m.between * m.entered / np.maximum(m.entered - 1, 1), single)
        sampling = (1.0 - np.clip(sampled, 0.0, 1.0)) * variance / m.entered
        return np.sqrt(repeatability + sampling)


def _weighted(values: NDArray[Any], weights: Floats, groups: Intervals, m: Moments) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return _reduced(np.add, np.where(weights > 0, weights * values, 0.0), groups) / m.weight


def _worst(flags: NDArray[Any], groups: Intervals) -> NDArray[np.int8]:
    """Return the worst flag of each interval; missing only where all are."""
    rank = np.where(flags == Flag.MISSING, 0, flags)
    worst = _reduced(np.maximum, rank, groups)
    return np.where(worst == 0, Flag.MISSING, worst).astype(np.int8)


def _judged(
    count: NDArray[np.int64], *, enough: NDArray[np.bool_], flags: NDArray[np.int8], causes: NDArray[Any]
) -> tuple[NDArray[np.int8], NDArray[np.int32]]:
    """Return flag and cause of each mean: what its values were where it has none, else whether they suffice."""
    flag = np.where(count == 0, flags, np.where(enough, Flag.GOOD, Flag.SUSPECT))
    cause = np.where(count == 0, causes, np.where(enough, 0, Cause.TOO_FEW))
    return flag.astype(np.int8), cause.astype(np.int32)


def _companions(
    gas: str,
    values: Mapping[str, Floats],
    counts: Mapping[str, NDArray[Any]],
    *,
    flag: NDArray[np.int8],
    cause: NDArray[np.int32],
    attrs: Mapping[str, Any],
) -> dict[str, Any]:
    """Return a gas and its companions as xarray wants them: name -> (dimension, values, attributes)."""
    unit = attrs.get("units", QUANTITIES[gas].unit if gas in QUANTITIES else "")
    combined = np.sqrt(values["u_random"] ** 2 + values["u_shared"] ** 2)
    arrays: dict[str, tuple[NDArray[Any], dict[str, Any]]] = {
        gas: (values[""], dict(attrs)),
        f"{gas}_uncertainty": (combined, {"units": unit}),
        **{f"{gas}_{name}": (value, {"units": unit}) for name, value in values.items() if name},
        f"{gas}_flag": (flag, flag_attributes()),
        f"{gas}_cause": (cause, cause_attributes()),
    }
    arrays |= {f"{gas}_{name}": (number.astype(np.int32), {"units": "1"}) for name, number in counts.items()}
    _describe(gas, arrays)
    return {name: ("time", array, attributes) for name, (array, attributes) in arrays.items()}


def _describe(gas: str, arrays: dict[str, tuple[NDArray[Any], dict[str, Any]]]) -> None:
    """Add long names, CF standard names and cell methods."""
    name = standard_name(gas)
    for variable in OBS.variables:
        own = variable.name.format(species=gas)
        if own in arrays and "{species}" in variable.name:
            words = variable.long_name if own == gas else f"{gas}: {variable.long_name}"
            arrays[own][1].setdefault("long_name", words)
    if name is not None:
        arrays[gas][1]["standard_name"] = name
        arrays[f"{gas}_uncertainty"][1]["standard_name"] = f"{name} standard_error"
        arrays[f"{gas}_stdev"][1]["standard_name"] = name
    arrays[gas][1]["cell_methods"] = "time: mean"
    arrays[gas][1]["ancillary_variables"] = " ".join(other for other in arrays if other != gas)
    arrays[f"{gas}_stdev"][1]["cell_methods"] = "time: standard_deviation"
    arrays[f"{gas}_n"][1]["standard_name"] = "number_of_observations"


def _dataset(
    variables: Mapping[str, Any], start: NDArray[np.int64], width: int, attrs: Mapping[str, Any]
) -> xr.Dataset:
    """Return intervals as a dataset: time in the middle, bounds beside it."""
    bounds = np.stack([start, start + width], axis=1).astype("datetime64[ns]")
    time = (start + width // 2).astype("datetime64[ns]")
    described = {
        "standard_name": "time",
        "long_name": "middle of the interval (UTC)",
        "axis": "T",
        "bounds": "time_bnds",
    }
    ds = xr.Dataset(
        {"time_bnds": (("time", "bnds"), bounds), **variables},
        coords={"time": ("time", time, described)},
        attrs=dict(attrs),
    )
    ds["time"].encoding = {"units": "seconds since 1970-01-01", "calendar": "standard", "dtype": "int64"}
    return ds
