"""Every value with what was measured beside it, the rows of the chain: state, flushing, water, calibration, range.

Each step adds its outcome; none deletes. `rows` gives the values of an inlet, `injections` what the cylinders of the
same instrument showed, `calibrations` what follows from those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from qc import calibration, flushing, manual, ranges, state, water
from qc.calibration import Calibration, Injections
from qc.configuration import Config, Gas, Method
from qc.errors import QcError
from qc.flags import Cause, Flag, cause_attributes, flag_attributes, outcomes, tests_attributes
from qc.schema import READINGS, nanoseconds, require, standard_name
from qc.target import History, history
from qc.units import QUANTITIES

Floats = NDArray[np.float64]
Calibrations = Mapping[str, Calibration]
"""Gas -> its calibration."""
_CLOCK_UNCERTAIN: Final = 4
"""Bit of ``mark``: nothing kept the clock right that stamped the row."""


class _Measured(NamedTuple):
    """A gas on its own rows: which they are, dry value, flags of the tests so far, what could not run."""

    own: NDArray[np.intp]
    dry: Floats
    state: NDArray[np.int8]
    evaluated: NDArray[np.bool_]
    unheard: tuple[str, ...]


class _Judged(NamedTuple):
    """A gas on the rows of the inlet; flag missing off its own rows."""

    value: Floats
    flag: NDArray[np.int8]
    cause: NDArray[np.int32]
    tests: NDArray[np.int64]
    u_calibration: Floats
    provisional: NDArray[np.int8]
    unheard: tuple[str, ...]


def rows(
    ds: xr.Dataset,
    config: Config,
    *,
    calibrations: Calibrations | None = None,
    by_hand: Sequence[manual.Entry] = (),
) -> xr.Dataset:
    """Return the rows of the inlet with the dry value of each gas and what the tests said of it.

    Parameters
    ----------
    ds : xr.Dataset
        READINGS of the configuration's instrument.
    config : Config
        What is done.
    calibrations : mapping, optional
        Gas -> calibration; None: from what the cylinders in `ds` show.
    by_hand : sequence of manual.Entry
        Flags by hand that are in force.

    Returns
    -------
    xr.Dataset
        (time): for each gas its dry-air mole fraction, ``{species}_flag`` (QARTOD; missing on rows that are
        not its own), ``{species}_cause``, ``{species}_tests``; where it is calibrated ``{species}_u_calibration`` and
        ``{species}_provisional``; ``port``. A value that failed a test is kept. Times are those of the air at the
        inlet.

    Raises
    ------
    SchemaError
        Where `ds` is not READINGS.
    QcError
        Where `ds` is of another station or instrument than the configuration, or the instrument has a valve and the
        configuration names no port.
    """
    _require_of(ds, config)
    if calibrations is None:
        calibrations = calibrated(injections(ds, config, by_hand=by_hand), config)
    inlet = flushing.split(ds, config.ports, seconds=config.flushing, outage_seconds=config.outage_seconds)
    time = ds["time"].values[inlet.rows] - np.timedelta64(round(config.lag_seconds * 1e9), "ns")
    port = ds["port"].values[inlet.rows]
    variables: dict[str, Any] = {"port": ("time", port)}
    unheard: list[str] = []
    for gas in config.gases:
        judged = _judge(ds, gas, config, inlet, calibrations.get(gas.name))
        variables |= _variables(gas, judged, time.astype("datetime64[ns]").astype(np.int64), port, by_hand)
        unheard += [f"{gas.name}: {sentence}" for sentence in judged.unheard]
    attrs = _place(config) | {"not_evaluated": "; ".join(unheard)}
    if by_hand:
        attrs["manual_flags"] = ", ".join(str(entry.number) for entry in sorted(by_hand, key=lambda e: e.number))
    return xr.Dataset(variables, coords={"time": time}, attrs=attrs)


def _require_of(ds: xr.Dataset, config: Config) -> None:
    require(ds, READINGS)
    for name, expected in (("station", config.station), ("instrument", config.instrument)):
        if ds.attrs[name] != expected:
            msg = f"readings are of {name} {ds.attrs[name]!r}, the configuration is for {expected!r}"
            raise QcError(msg)


def _variables(
    gas: Gas, judged: _Judged, time: NDArray[np.int64], port: NDArray[np.object_], by_hand: Sequence[manual.Entry]
) -> dict[str, Any]:
    """Return a gas and its companions, with what was decided by hand."""
    flag, cause, tests = manual.apply(
        time, port, judged.value, judged.flag, judged.cause, judged.tests, gas=gas.name, entries=by_hand
    )
    found: dict[str, Any] = {
        gas.name: ("time", judged.value, _gas_attributes(gas)),
        f"{gas.name}_flag": ("time", flag, flag_attributes()),
        f"{gas.name}_cause": ("time", cause, cause_attributes()),
        f"{gas.name}_tests": ("time", tests, tests_attributes()),
    }
    if gas.calibration is not None:
        found[f"{gas.name}_u_calibration"] = ("time", judged.u_calibration, {"units": QUANTITIES[gas.name].unit})
        found[f"{gas.name}_provisional"] = ("time", judged.provisional, {"units": "1"})
    return found


# --- one gas -----------------------------------------------------------------------------------


def _measure(ds: xr.Dataset, gas: Gas, config: Config, rows: NDArray[np.intp]) -> _Measured:
    """Return one gas's own rows among some, dry, with what the instrument's state says of them."""
    source = f"{gas.name}_dry" if gas.water.method is Method.INSTRUMENT else gas.name
    if source not in ds.variables:
        nothing = np.empty(0, dtype=np.int8)
        return _Measured(
            nothing.astype(np.intp),
            nothing.astype(np.float64),
            nothing,
            nothing.astype(bool),
            (f"the readings have no {source}",),
        )
    own = rows[np.isfinite(ds[source].values[rows])]
    told = state.apply(
        ds,
        config.rules,
        gas=gas.name,
        site=config.station,
        instrument=config.instrument,
        model=config.model,
        rows=own,
    )
    unheard = told.not_evaluated if config.rules else ("state: no rules are configured",)
    if gas.water.method is Method.FORMULA and gas.water.humidity not in ds.variables:
        unheard = (*unheard, f"water: the readings have no {gas.water.humidity}")
    return _Measured(own, _dry(ds, gas, source, own), told.flag, told.evaluated, unheard)


def _judge(ds: xr.Dataset, gas: Gas, config: Config, inlet: flushing.Ports, known: Calibration | None) -> _Judged:
    """Return one gas on the inlet's rows, tested in the order of the chain."""
    measured = _measure(ds, gas, config, inlet.rows)
    where = np.searchsorted(inlet.rows, measured.own)
    value, u, provisional = _on_scale(nanoseconds(ds["time"])[measured.own], measured.dry, gas, known)
    good, unknown = np.int8(Flag.GOOD), np.int8(Flag.NOT_EVALUATED)
    mark = ds["mark"].values[measured.own]
    uncalibrated = gas.calibration is not None and known is None
    steps = (
        (Cause.STATE, measured.state, measured.evaluated),
        (Cause.FLUSHING, np.where(inlet.flushing[where], np.int8(Flag.BAD), good), bool(config.ports)),
        (Cause.TIME, np.where(mark & _CLOCK_UNCERTAIN, np.int8(config.clock), good), True),
        (Cause.WATER, np.where(np.isnan(measured.dry), unknown, good), gas.water.method is Method.FORMULA),
        (Cause.CALIBRATION, np.full(where.size, unknown if uncalibrated else good), gas.calibration is not None),
        (Cause.RANGE, _plausible(value, gas), bool(gas.range)),
    )
    size = inlet.rows.size
    out = _Judged(
        np.full(size, np.nan),
        np.full(size, Flag.MISSING, dtype=np.int8),
        np.zeros(size, dtype=np.int32),
        np.zeros(size, dtype=np.int64),
        np.full(size, np.nan),
        np.zeros(size, dtype=np.int8),
        (*measured.unheard, *_unheard(gas, known)),
    )
    out.value[where], out.u_calibration[where], out.provisional[where] = value, u, provisional
    out.flag[where] = np.maximum.reduce([flags for _, flags, _ in steps])
    for test, flags, evaluated in steps:
        out.cause[where] |= np.where(flags == Flag.GOOD, 0, int(test)).astype(np.int32)
        out.tests[where] |= outcomes(test, np.where((flags == Flag.GOOD) & ~np.asarray(evaluated), unknown, flags))
    return out


def _plausible(value: Floats, gas: Gas) -> NDArray[np.int8]:
    """Return the range test's flags; what it cannot judge is not its business."""
    found = ranges.flags(value, gas.range)
    return np.where(found == Flag.NOT_EVALUATED, np.int8(Flag.GOOD), found)


def _on_scale(
    time: NDArray[np.int64], dry: Floats, gas: Gas, known: Calibration | None
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Return value, uncertainty of its calibration, and whether that is provisional."""
    if gas.calibration is None or known is None:
        return dry, np.full(dry.size, np.nan), np.ones(dry.size, dtype=bool)
    found = calibration.apply(known, time, dry)
    return found.value, np.hypot(found.u_calibration, found.u_tanks), found.provisional


def _unheard(gas: Gas, known: Calibration | None) -> list[str]:
    """Return why tests of a gas could not run at all."""
    unheard = []
    if gas.calibration is not None and known is None:
        unheard.append("calibration: not one episode with enough standards is known")
    if not gas.range:
        unheard.append("range: no limits are configured")
    return unheard


def _dry(ds: xr.Dataset, gas: Gas, source: str, own: NDArray[np.intp]) -> Floats:
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


# --- cylinders ---------------------------------------------------------------------------------


def injections(ds: xr.Dataset, config: Config, *, by_hand: Sequence[manual.Entry] = ()) -> dict[str, Injections]:
    """Return what the cylinders of the instrument showed, dry and uncalibrated.

    Parameters
    ----------
    ds : xr.Dataset
        READINGS.
    config : Config
        What is done.
    by_hand : sequence of manual.Entry
        Flags by hand that are in force: what they reject does not enter, whose port or time it is.

    Returns
    -------
    dict
        Gas -> injections, for gases that are calibrated; a tank's number is its place in `cylinders`.

    Raises
    ------
    SchemaError, QcError
        As `rows`.
    """
    _require_of(ds, config)
    hung = (*config.standards.standards, *config.standards.targets)
    port = ds["port"].values
    at = np.flatnonzero(np.isin(port, [standard.port for standard in hung]))
    time = nanoseconds(ds["time"])
    found: dict[str, Injections] = {}
    for gas in config.gases:
        if gas.calibration is None:
            continue
        measured = _measure(ds, gas, config, at)
        nothing = np.zeros(measured.own.size, dtype=np.int32)
        flag, _, _ = manual.apply(
            time[measured.own], port[measured.own], measured.dry, measured.state, nothing, nothing.astype(np.int64),
            gas=gas.name, entries=by_hand,
        )  # fmt: skip
        value = np.full(time.size, np.nan)
        value[measured.own] = np.where(flag == Flag.GOOD, measured.dry, np.nan)
        plan = config.plan(gas, hung)
        names = cylinders(config, gas.name)
        found[gas.name] = calibration.injections(time, value, port, plan, names, outage_seconds=config.outage_seconds)
    return found


def cylinders(config: Config, gas: str) -> list[str]:
    """Return the names of an instrument's cylinders that have a value of a gas, in the order of their numbers."""
    return [tank.name for tank in config.tanks(gas, (*config.standards.standards, *config.standards.targets))]


def calibrated(found: Mapping[str, Injections], config: Config) -> dict[str, Calibration]:
    """Return gas -> calibration by the injections of the standards; without a usable episode there is none."""
    result: dict[str, Calibration] = {}
    for gas in config.gases:
        if gas.calibration is None or gas.name not in found:
            continue
        tanks = config.tanks(gas.name, config.standards.standards)
        plan = config.plan(gas, config.standards.standards)
        own = _of_tanks(found[gas.name], cylinders(config, gas.name), [tank.name for tank in tanks])
        episodes = calibration.episodes(own, plan, len(tanks))
        if episodes:
            result[gas.name] = calibration.fit(
                episodes,
                tanks,
                degree=gas.calibration.degree,
                repeatability=gas.calibration.repeatability,
                drift=gas.calibration.drift,
                history_days=config.standards.history_days,
            )
    return result


def targets(found: Mapping[str, Injections], config: Config) -> dict[str, dict[str, History]]:
    """Return gas -> target -> how it was found again, on the scale of the standards among the injections.

    Parameters
    ----------
    found : mapping
        From `injections`.
    config : Config
        What was done.
    """
    result: dict[str, dict[str, History]] = {}
    for gas, known in calibrated(found, config).items():
        result[gas] = {}
        for tank in config.tanks(gas, config.standards.targets):
            own = _of_tanks(found[gas], cylinders(config, gas), [tank.name])
            assigned, _ = tank.at(own.start.astype("datetime64[ns]"))
            value = calibration.apply(known, own.start, own.mean).value
            result[gas][tank.name] = history(own.start, value, own.stdev, own.minutes, assigned)
    return result


def _of_tanks(found: Injections, names: Sequence[str], wanted: Sequence[str]) -> Injections:
    """Return the injections of some cylinders, numbered as these."""
    place = np.array([wanted.index(name) if name in wanted else -1 for name in names], dtype=np.int64)
    number = place[found.tank] if found.tank.size else found.tank
    kept = number >= 0
    return Injections(
        number[kept], found.start[kept], found.end[kept], found.mean[kept], found.stdev[kept], found.minutes[kept]
    )


# --- attributes --------------------------------------------------------------------------------


def _gas_attributes(gas: Gas) -> dict[str, Any]:
    attrs = {
        "units": QUANTITIES[gas.name].unit,
        "long_name": f"dry-air mole fraction of {gas.name}",
        "scale": gas.scale,
        "water_correction": str(gas.water),
        "calibration": "none applied here: the instrument's values are taken to be on the scale"
        if gas.calibration is None
        else f"polynomial of degree {gas.calibration.degree} through the standards, linear in time between episodes",
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
