"""The chain from readings to flagged means: state rules, flushing, water, range, minutes, hours.

Each step adds flags; none deletes. `rows` shows every value of the inlet with what the tests said of it,
`run` gives the means. Both are functions of their arguments alone: the same readings and configuration
give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from qc import averaging, flushing, manual, ranges, state, water
from qc.configuration import Config, Gas, Method, Water
from qc.errors import QcError
from qc.flags import FLAG_MEANINGS, Cause, Flag
from qc.schema import OBS, READINGS, cause_attributes, flag_attributes, nanoseconds, require, standard_name
from qc.units import QUANTITIES

__all__ = ["Config", "Gas", "Method", "Water", "rows", "run", "summary"]

Interval = Literal["hour", "minute"]
_RESOLUTION: Final = {"hour": "PT1H", "minute": "PT1M"}


class _Judged(NamedTuple):
    """A gas on the rows of the inlet: dry value, flag (missing off its own rows), causes, what could not run."""

    value: NDArray[np.float64]
    flag: NDArray[np.int8]
    cause: NDArray[np.int32]
    not_evaluated: tuple[str, ...]


def run(
    ds: xr.Dataset,
    config: Config,
    *,
    interval: Interval = "hour",
    start: np.datetime64 | None = None,
    end: np.datetime64 | None = None,
    code_version: str = "",
    by_hand: Sequence[manual.Entry] = (),
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
        would have among all readings, `ds` must reach `config.margin_seconds` further on both sides.
    code_version : str
        Written into the provenance.
    by_hand : sequence of manual.Entry
        Flags by hand that are in force.

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
    judged = rows(ds, config, by_hand=by_hand)
    means = averaging.minutes(
        judged,
        min_values={gas.name: gas.min_values for gas in config.gases},
        u_cmr={gas.name: gas.u_cmr for gas in config.gases},
        u_shared={gas.name: gas.u_shared for gas in config.gases},
    )
    if interval == "hour":
        means = averaging.hourly(means, min_minutes=config.min_minutes)
    means = _within(means, start, end)
    return means.assign_attrs(_provenance(means, config, judged, interval=interval, code_version=code_version))


def rows(ds: xr.Dataset, config: Config, *, by_hand: Sequence[manual.Entry] = ()) -> xr.Dataset:
    """Return the rows of the inlet with the dry value of each gas and what the tests said of it.

    Parameters
    ----------
    ds : xr.Dataset
        READINGS of the configuration's instrument.
    config : Config
        What is done.
    by_hand : sequence of manual.Entry
        Flags by hand that are in force.

    Returns
    -------
    xr.Dataset
        (time): for each gas its dry-air mole fraction, ``{species}_flag`` (QARTOD; missing on rows that are
        not its own) and ``{species}_cause``; ``port``. A value that failed a test is kept.

    Raises
    ------
    SchemaError, QcError
        As `run`.
    """
    require(ds, READINGS)
    for name, expected in (("station", config.station), ("instrument", config.instrument)):
        if ds.attrs[name] != expected:
            msg = f"readings are of {name} {ds.attrs[name]!r}, the configuration is for {expected!r}"
            raise QcError(msg)
    inlet = flushing.split(ds, config.ports, seconds=config.flush_seconds, outage_seconds=config.outage_seconds)
    variables: dict[str, Any] = {"port": ("time", ds["port"].values[inlet.rows])}
    unheard: list[str] = []
    for gas in config.gases:
        judged = _judge(ds, gas, config, inlet)
        flag, cause = manual.apply(
            nanoseconds(ds["time"])[inlet.rows],
            variables["port"][1],
            judged.value,
            judged.flag,
            judged.cause,
            gas=gas.name,
            entries=by_hand,
        )
        variables[gas.name] = ("time", judged.value, _gas_attributes(gas))
        variables[f"{gas.name}_flag"] = ("time", flag, flag_attributes())
        variables[f"{gas.name}_cause"] = ("time", cause, cause_attributes())
        unheard += [f"{gas.name}: {sentence}" for sentence in judged.not_evaluated]
    attrs = _place(config) | {"not_evaluated": "; ".join(unheard)}
    if by_hand:
        attrs["manual_flags"] = ", ".join(str(entry.number) for entry in sorted(by_hand, key=lambda e: e.number))
    return xr.Dataset(variables, coords={"time": ds["time"].values[inlet.rows]}, attrs=attrs)


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


# --- one gas -----------------------------------------------------------------------------------


def _judge(ds: xr.Dataset, gas: Gas, config: Config, inlet: flushing.Ports) -> _Judged:
    """Return one gas on the inlet's rows, tested in the order of the chain."""
    source = f"{gas.name}_dry" if gas.water.method is Method.INSTRUMENT else gas.name
    size = inlet.rows.size
    value, flag = np.full(size, np.nan), np.full(size, Flag.MISSING, dtype=np.int8)
    cause = np.zeros(size, dtype=np.int32)
    if source not in ds.variables:
        return _Judged(value, flag, cause, (f"the readings have no {source}",))
    where = np.flatnonzero(np.isfinite(ds[source].values[inlet.rows]))
    own = inlet.rows[where]
    told = state.apply(
        ds,
        config.rules,
        gas=gas.name,
        site=config.station,
        instrument=config.instrument,
        model=config.model,
        rows=own,
    )
    dry = _dry(ds, gas, source, own)
    plausible = ranges.flags(dry, gas.range)
    tests = (
        (told.flag, Cause.STATE),
        (np.where(inlet.flushing[where], Flag.BAD, Flag.GOOD), Cause.FLUSHING),
        (np.where(np.isnan(dry), Flag.NOT_EVALUATED, Flag.GOOD), Cause.WATER),
        (np.where(plausible == Flag.NOT_EVALUATED, Flag.GOOD, plausible), Cause.RANGE),
    )
    value[where] = dry
    flag[where] = np.maximum.reduce([outcome for outcome, _ in tests])
    for outcome, test in tests:
        cause[where] |= np.where(outcome == Flag.GOOD, 0, int(test)).astype(np.int32)
    return _Judged(value, flag, cause, (*told.not_evaluated, *_unheard(ds, gas)))


def _unheard(ds: xr.Dataset, gas: Gas) -> list[str]:
    """Return why tests of a gas could not run at all."""
    unheard = []
    if gas.water.method is Method.FORMULA and gas.water.humidity not in ds.variables:
        unheard.append(f"water: the readings have no {gas.water.humidity}")
    if not gas.range:
        unheard.append("range: no limits are configured")
    return unheard


def _dry(ds: xr.Dataset, gas: Gas, source: str, own: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the dry-air mole fraction on a gas's own rows, NaN where no water value is near."""
    wet = ds[source].values[own].astype(np.float64)
    if gas.water.method is not Method.FORMULA:
        return wet
    if gas.water.humidity not in ds.variables:
        return np.full(own.size, np.nan)
    h = water.at_own_rows(
        nanoseconds(ds["time"]),
        ds[gas.water.humidity].values,
        own,
        max_gap_seconds=gas.water.max_gap_seconds,
    )
    return np.asarray(water.dry_mole_fraction(wet, h, a=gas.water.a, b=gas.water.b))


# --- attributes --------------------------------------------------------------------------------


def _gas_attributes(gas: Gas) -> dict[str, Any]:
    attrs = {
        "units": QUANTITIES[gas.name].unit,
        "long_name": f"dry-air mole fraction of {gas.name}",
        "scale": gas.scale,
        "water_correction": str(gas.water),
        "calibration": "none applied here: the instrument's values are taken to be on the scale",
    }
    name = standard_name(gas.name)
    return attrs if name is None else attrs | {"standard_name": name}


def _place(config: Config) -> dict[str, Any]:
    return {
        "station": config.station,
        "inlet": config.inlet,
        "inlet_height": config.inlet_height,
        "latitude": config.latitude,
        "longitude": config.longitude,
        "altitude": config.altitude,
        "instrument": config.instrument,
        "instrument_model": config.model,
    }


def _within(means: xr.Dataset, start: np.datetime64 | None, end: np.datetime64 | None) -> xr.Dataset:
    bounds = means["time_bnds"].values
    keep = np.ones(bounds.shape[0], dtype=bool)
    if start is not None:
        keep &= bounds[:, 0] >= start
    if end is not None:
        keep &= bounds[:, 1] <= end
    return means if keep.all() else means.isel(time=np.flatnonzero(keep))


def _provenance(
    means: xr.Dataset, config: Config, judged: xr.Dataset, *, interval: Interval, code_version: str
) -> dict[str, Any]:
    """Return attributes after CF-1.11 and ACDD-1.3; nothing in them depends on when they were made."""
    gases = ", ".join(gas.name for gas in config.gases)
    steps = f"state rules ({len(config.rules)}), flushing ({config.flush_seconds:g} s), water correction, range"
    attrs = {
        "Conventions": "CF-1.11, ACDD-1.3",
        "title": f"{gases} at {config.station}, inlet {config.inlet}",
        "summary": f"Flagged {interval} means of {gases} with uncertainties; flagged values are kept, NaN is missing.",
        "source": f"surface observation; {config.model or config.instrument}, port {', '.join(config.ports) or 'none'}",
        "processing": f"{steps}, minute means" + (", hourly means" if interval == "hour" else ""),
        "code_version": code_version,
        "configuration_digest": config.digest,
        "input_rows": int(judged.sizes["time"]),
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
    return dict(config.attributes) | judged.attrs | attrs
