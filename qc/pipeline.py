"""The chain from readings to flagged means: state rules, flushing, water, calibration, range, minutes, tests, hours.

Each step adds flags; none deletes. `rows` shows every value of the inlet with what the tests said of it, `run` gives
the means. Both are functions of their arguments alone: the same readings, configuration, calibrations and flags by hand
give the same bytes. What a piece of the readings gives is what the whole gives, once the piece reaches far enough
(`Config.margin_seconds`, and six days back where minutes are tested) and the calibrations on both sides are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from qc import averaging, manual, screening, selection
from qc.configuration import Config, Gas, Method, Water
from qc.errors import QcError
from qc.flags import FLAG_MEANINGS, Cause, Flag
from qc.judging import Calibrations, calibrated, cylinders, injections, rows, targets
from qc.schema import OBS, nanoseconds

__all__ = [
    "Calibrations",
    "Config",
    "Gas",
    "Method",
    "Water",
    "calibrated",
    "cylinders",
    "hours",
    "injections",
    "minutes",
    "rows",
    "run",
    "selected",
    "summary",
    "targets",
]

Interval = Literal["hour", "minute"]
_RESOLUTION: Final = {"hour": "PT1H", "minute": "PT1M"}


def run(  # noqa: PLR0913  all that a result depends on
    ds: xr.Dataset,
    config: Config,
    *,
    interval: Interval = "hour",
    start: np.datetime64 | None = None,
    end: np.datetime64 | None = None,
    code_version: str = "",
    by_hand: Sequence[manual.Entry] = (),
    calibrations: Calibrations | None = None,
    earlier: xr.Dataset | None = None,
) -> xr.Dataset:
    """Return the flagged means of one series.

    Parameters
    ----------
    ds : xr.Dataset
        READINGS of the configuration's instrument.
    config : Config
        What is done.
    interval : {"hour", "minute"}
        Which means.
    start, end : datetime64, optional
        Only intervals that lie wholly within [start, end) are returned. To give those the values they
        would have among all readings, `ds` must reach `config.margin_seconds` further on both sides, and
        `calibrations` know the episodes around; where minutes are tested, `ds` or `earlier` must hold the six days
        before the day of `start`.
    code_version : str
        Written into the provenance.
    by_hand : sequence of manual.Entry
        Flags by hand that are in force.
    calibrations : mapping, optional
        Gas -> calibration; None: from what the cylinders in `ds` show.
    earlier : xr.Dataset, optional
        OBS of minutes before `start`, as they were without flags by hand; only their values are looked at, and then
        not at what `ds` has there.

    Returns
    -------
    xr.Dataset
        OBS. An interval without any row of a gas of the inlet is not there; one without a good row is,
        with NaN and the flag of its rows.

    Raises
    ------
    SchemaError
        Where `ds` is not READINGS.
    QcError
        Where `ds` is of another station or instrument than the configuration, `interval` is not known, or
        the instrument has a valve and the configuration names no port.
    """
    if interval not in _RESOLUTION:
        msg = f"interval is {interval!r}, expected one of {', '.join(_RESOLUTION)}"
        raise QcError(msg)
    means = minutes(
        ds,
        config,
        start=start,
        end=end,
        code_version=code_version,
        by_hand=by_hand,
        calibrations=calibrations,
        earlier=earlier,
    )
    return means if interval == "minute" else selected(hours(means, config), config, wind=_wind(ds, means, config))


def _wind(ds: xr.Dataset, means: xr.Dataset, config: Config) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return the hourly wind of an instrument that measures it, None where no rule asks for it or it does not."""
    asks = any(gas.selection is not None and gas.selection.asks_wind for gas in config.gases)
    if not asks or not {"wind_direction", "wind_speed"} <= set(ds.variables):
        return None
    starts = np.unique(screening.times(means) // selection.HOUR_NS * selection.HOUR_NS)
    return selection.wind(nanoseconds(ds["time"]), ds["wind_direction"].values, ds["wind_speed"].values, starts)


def minutes(
    ds: xr.Dataset,
    config: Config,
    *,
    start: np.datetime64 | None = None,
    end: np.datetime64 | None = None,
    code_version: str = "",
    by_hand: Sequence[manual.Entry] = (),
    calibrations: Calibrations | None = None,
    earlier: xr.Dataset | None = None,
) -> xr.Dataset:
    """Return the flagged minute means of one series; see `run`."""
    if calibrations is None:
        calibrations = calibrated(injections(ds, config, by_hand=by_hand), config)
    judged = rows(ds, config, calibrations=calibrations, by_hand=by_hand)
    means = _means(judged, config)
    # A flag by hand speaks of its own window: what the tests see of it, they see as if nobody had said anything.
    seen = means if not by_hand else _means(rows(ds, config, calibrations=calibrations), config)
    tests = {g.name: _tested(seen, means, g, earlier, start) for g in config.gases if g.tests}
    means = screening.screened(means, tests, {gas.name: gas.tests for gas in config.gases})
    means = _within(means, start, end)
    attrs = _provenance(means, config, interval="minute", code_version=code_version)
    return means.assign_attrs(attrs | {"input_rows": int(judged.sizes["time"])})


def hours(minutes: xr.Dataset, config: Config) -> xr.Dataset:
    """Return the flagged hourly means of minutes that `minutes` returned; only whole hours of those make sense."""
    means = averaging.hourly(minutes, min_minutes=config.min_minutes)
    attrs = _provenance(means, config, interval="hour", code_version=str(minutes.attrs["code_version"]))
    return means.assign_attrs(attrs)


def selected(
    hours: xr.Dataset, config: Config, *, wind: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
) -> xr.Dataset:
    """Return hourly means with ``{species}_selection``: 1 background, 0 not.

    Parameters
    ----------
    hours : xr.Dataset
        OBS of hours; what is to be selected rightly has `Config.selection_hours` of them on both sides.
    config : Config
        Its rules; a gas without any is left as it is.
    wind : pair of float64 (hour,), optional
        Where it comes from [degrees] and how strong [m s-1]; see `qc.selection.wind`.

    Raises
    ------
    QcError
        Where a rule asks for wind that is not given.
    """
    made: dict[str, Any] = {}
    direction, speed = (None, None) if wind is None else wind
    for gas in config.gases:
        if gas.selection is None or gas.name not in hours.variables:
            continue
        good = hours[f"{gas.name}_flag"].values == Flag.GOOD
        value, stdev = (np.where(good, hours[name].values, np.nan) for name in (gas.name, f"{gas.name}_stdev"))
        letters = selection.select(
            screening.times(hours), value, stdev, gas.selection, wind_direction=direction, wind_speed=speed
        )
        about = {"units": "1", "long_name": f"{gas.name}: 1 background, 0 not; not a flag"}
        made[f"{gas.name}_selection"] = ("time", (letters == selection.KEPT).astype(np.int8), about)
    return hours.assign(made)


def _means(judged: xr.Dataset, config: Config) -> xr.Dataset:
    return averaging.minutes(
        judged,
        min_values={gas.name: gas.min_values for gas in config.gases},
        u_cmr={gas.name: gas.u_cmr for gas in config.gases},
        u_shared={gas.name: gas.u_shared for gas in config.gases},
    )


def _tested(
    seen: xr.Dataset, means: xr.Dataset, gas: Gas, earlier: xr.Dataset | None, start: np.datetime64 | None
) -> NDArray[np.int64]:
    """Return the outcomes of the tests for each of `means`, found on minutes as they were seen and earlier."""
    time, value = screening.times(seen), seen[gas.name].values
    since = np.iinfo(np.int64).min if start is None else int(start.astype("datetime64[ns]").astype(np.int64))
    if earlier is not None and gas.name in earlier.variables:
        before, after = screening.times(earlier), time >= since
        older = before < since
        time, value = np.r_[before[older], time[after]], np.r_[earlier[gas.name].values[older], value[after]]
    tests = screening.screen(time, value, gas.tests, since=since)
    found = np.zeros(means.sizes["time"], dtype=np.int64)
    wanted = screening.times(means) >= since
    found[wanted] = tests[np.searchsorted(time, screening.times(means)[wanted])]
    return found


def summary(ds: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Return counts by flag and by cause for each gas.

    Parameters
    ----------
    ds : xr.Dataset
        What `run` or `rows` returned; any dataset with ``{species}_flag``.

    Returns
    -------
    dict
        Gas -> {"flags": {meaning: count}, "causes": {cause: count}} and, where there, "values" and
        "rejected": how many single values entered, how many did not. Only what occurs is listed; one value
        can have several causes.
    """
    return {gas: _counts(ds, gas) for gas in OBS.species(ds)}


def _counts(ds: xr.Dataset, gas: str) -> dict[str, Any]:
    flags = ds[f"{gas}_flag"].values
    found = {meaning: int(np.sum(flags == flag)) for flag, meaning in FLAG_MEANINGS.items()}
    counts: dict[str, Any] = {"flags": {meaning: n for meaning, n in found.items() if n}, "causes": {}}
    if f"{gas}_cause" in ds.variables:
        causes = ds[f"{gas}_cause"].values
        set_by = {str(cause.name).lower(): int(np.sum((causes & int(cause)) != 0)) for cause in Cause}
        counts["causes"] = {cause: n for cause, n in set_by.items() if n}
    for name, key in (("n", "values"), ("n_rejected", "rejected")):
        if f"{gas}_{name}" in ds.variables:
            counts[key] = int(np.nansum(ds[f"{gas}_{name}"].values))
    return counts


# --- attributes --------------------------------------------------------------------------------


def _within(means: xr.Dataset, start: np.datetime64 | None, end: np.datetime64 | None) -> xr.Dataset:
    bounds = means["time_bnds"].values
    keep = np.ones(bounds.shape[0], dtype=bool)
    if start is not None:
        keep &= bounds[:, 0] >= start
    if end is not None:
        keep &= bounds[:, 1] <= end
    return means if keep.all() else means.isel(time=np.flatnonzero(keep))


def _provenance(means: xr.Dataset, config: Config, *, interval: Interval, code_version: str) -> dict[str, Any]:
    """Return attributes after CF-1.11 and ACDD-1.3; nothing in them depends on when they were made."""
    gases = ", ".join(gas.name for gas in config.gases)
    steps = f"state rules ({len(config.rules)}), flushing ({config.flush_seconds:g} s), water correction"
    steps += ", calibration" if any(gas.calibration for gas in config.gases) else ""
    steps += ", range"
    attrs = {
        "Conventions": "CF-1.11, ACDD-1.3",
        "title": f"{gases} at {config.station}, inlet {config.inlet}",
        "summary": f"Flagged {interval} means of {gases} with uncertainties; flagged values are kept, NaN is missing.",
        "source": f"surface observation; {config.model or config.instrument}, port {', '.join(config.ports) or 'none'}",
        "processing": f"{steps}, minute means"
        + (", tests of minutes" if config.screens else "")
        + (", hourly means" if interval == "hour" else ""),
        "code_version": code_version,
        "configuration_digest": config.digest,
        "geospatial_lat_min": config.latitude,
        "geospatial_lat_max": config.latitude,
        "geospatial_lon_min": config.longitude,
        "geospatial_lon_max": config.longitude,
        "time_coverage_resolution": _RESOLUTION[interval],
    }
    bounds = means["time_bnds"].values
    if bounds.size:
        attrs["time_coverage_start"] = f"{bounds[0, 0].astype('datetime64[s]')}Z"
        attrs["time_coverage_end"] = f"{bounds[-1, 1].astype('datetime64[s]')}Z"
    return dict(config.attributes) | dict(means.attrs) | attrs
