"""What a file says, in arrays, and the OBS dataset made of it: the same for every format."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ingest.errors import FileError
from qc.flags import Flag, flag_attributes
from qc.schema import OBS, require, standard_name
from qc.units import QUANTITIES, TO_MOLE_FRACTION

UNITS: Final = {
    "ppm": "umol mol-1",
    "ppb": "nmol mol-1",
    "ppt": "pmol mol-1",
    "micromol mol-1": "umol mol-1",
    "nanomol mol-1": "nmol mol-1",
    "picomol mol-1": "pmol mol-1",
    **{unit: unit for unit in TO_MOLE_FRACTION},
}
"""Ways to write a unit -> the one used here."""
PLACE: Final = ("station", "inlet_height", "latitude", "longitude", "altitude")
"""What a file has to say of where it is from, or its reader."""
_SCALE: Final = re.compile(r"WMO[\s_-]*(?:(?P<gas>CO2|CH4|N2O|CO)[\s_-]+)?(?P<scale>X\d{2,4}[A-Z]?)", re.IGNORECASE)


@dataclass(slots=True, kw_only=True)
class Gas:
    """One gas of a file, n values.

    Parameters
    ----------
    name
        As ``co2``.
    unit
        As the source writes it.
    scale
        What the source says of its calibration scale; None: nothing.
    named
        Whether that is a scale's name as it stands, and no text that has to be understood.
    value
        float64 (n,), NaN where there is none.
    flag
        int8 (n,), `qc.flags.Flag`; where there is no value it becomes `Flag.MISSING`.
    stdev, n, uncertainty
        float64 (n,), NaN where there is none; None: not said.
    selection
        int8 (n,): 1 background, 0 not; None: not said.
    flag_source
        (n,) text: the source's own flags.
    extras
        Name after the gas's -> array (n,), attributes.
    """

    name: str
    unit: str
    scale: str | None
    value: NDArray[np.float64]
    flag: NDArray[np.int8]
    stdev: NDArray[np.float64] | None = None
    n: NDArray[np.float64] | None = None
    uncertainty: NDArray[np.float64] | None = None
    named: bool = False
    selection: NDArray[np.int8] | None = None
    flag_source: NDArray[np.str_] | None = None
    extras: dict[str, tuple[NDArray[Any], dict[str, Any]]] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Record:
    """What one file says.

    Parameters
    ----------
    path
        The file.
    start, end
        datetime64[ns] (n,): the interval each value stands for.
    gases
        What was measured.
    place
        What the file says of `PLACE`.
    time
        datetime64[ns] (n,) of the values; None: the middle of the interval.
    lines
        int (n,): where each is in the file, from 1; None: that is no text.
    extras
        Variable -> array (n,), attributes.
    attributes
        Of the file.
    """

    path: Path
    start: NDArray[np.datetime64]
    end: NDArray[np.datetime64]
    gases: list[Gas]
    place: dict[str, Any]
    time: NDArray[np.datetime64] | None = None
    lines: NDArray[np.int64] | None = None
    extras: dict[str, tuple[NDArray[Any], dict[str, Any]]] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)


def dataset(record: Record, *, scale: str | Mapping[str, str] | None, place: Mapping[str, Any]) -> xr.Dataset:
    """Return OBS.

    Parameters
    ----------
    record
        What the file says.
    scale
        Calibration scale of all gases or of each; it overrides the file's.
    place
        What is said of the place beside the file; it overrides the file's.

    Raises
    ------
    FileError
        Times do not increase, or something is said nowhere.
    """
    time = record.start + (record.end - record.start) // 2 if record.time is None else record.time
    _require_increasing(record, time)
    known = {**record.place, **{name: value for name, value in place.items() if value is not None}}
    _require_place(record, known)
    known.setdefault("inlet", f"{known['inlet_height']:g}m")
    ds = xr.Dataset(
        {"time_bnds": (("time", "bnds"), np.stack([record.start, record.end], axis=1))},
        {"time": ("time", time, {"standard_name": "time", "long_name": "time (UTC)", "bounds": "time_bnds"})},
        {**record.attributes, **known},
    )
    for gas in record.gases:
        ds.update(_variables(record, gas, scale.get(gas.name) if isinstance(scale, Mapping) else scale))
    for name, (values, attributes) in record.extras.items():
        ds[name] = ("time", values, attributes)
    require(ds, OBS)
    return ds


def _require_increasing(record: Record, time: NDArray[np.datetime64]) -> None:
    wrong = np.flatnonzero(np.diff(time) <= np.timedelta64(0))
    if not wrong.size:
        return
    row = int(wrong[0]) + 1
    stamps = [np.datetime_as_string(record.start[i], "s") for i in (row - 1, row)]
    what = "has the time of the one before again" if stamps[0] == stamps[1] else f"comes after {stamps[0]}"
    where = f"value {row + 1}" if record.lines is None else f"line {record.lines[row]}"
    raise FileError(
        f"{record.path}, {where}: {stamps[1]} {what}; expected times that increase: is it doubled, or moved?"
    )


def _require_place(record: Record, known: Mapping[str, Any]) -> None:
    missing = [name for name in PLACE if known.get(name) in (None, "")]
    if missing:
        raise FileError(
            f"{record.path} does not say its {', '.join(missing)}: give {'it' if len(missing) == 1 else 'them'}, "
            f"as read(path, {missing[0]}=...)"
        )


def _variables(record: Record, gas: Gas, scale: str | None) -> dict[str, Any]:
    unit = QUANTITIES[gas.name].unit if gas.name in QUANTITIES else None
    said = UNITS.get(gas.unit)
    if said is None:
        raise FileError(f"{record.path}: {gas.name} is in {gas.unit!r}, expected one of {', '.join(UNITS)}")
    unit = unit or said
    missing = np.isnan(gas.value)
    nothing = np.full(gas.value.size, np.nan)
    sizes = {"units": unit}

    def converted(values: NDArray[np.float64] | None) -> NDArray[np.float64]:
        return nothing if values is None else rescaled(values, said, unit)

    about = {"units": unit, "scale": scale or _scale(record, gas), "long_name": f"dry-air mole fraction of {gas.name}"}
    name = standard_name(gas.name)
    if name is not None:
        about["standard_name"] = name
    flags = np.where(missing, np.int8(Flag.MISSING), gas.flag.astype(np.int8))
    made: dict[str, Any] = {
        gas.name: ("time", converted(gas.value), about),
        f"{gas.name}_stdev": ("time", converted(gas.stdev), sizes | {"long_name": "standard deviation"}),
        f"{gas.name}_n": ("time", nothing if gas.n is None else gas.n, {"units": "1", "long_name": "number of values"}),
        f"{gas.name}_uncertainty": ("time", converted(gas.uncertainty), sizes | {"long_name": "standard uncertainty"}),
        f"{gas.name}_flag": ("time", flags, flag_attributes()),
    }
    if gas.selection is not None:
        made[f"{gas.name}_selection"] = ("time", gas.selection, {"long_name": "1 background, 0 not"})
    if gas.flag_source is not None:
        made[f"{gas.name}_flag_source"] = ("time", gas.flag_source, {"long_name": "flag as the source has it"})
    for ending, (values, attributes) in gas.extras.items():
        amount = attributes.get("units") == gas.unit
        said_here = attributes | {"units": unit} if amount else attributes
        made[f"{gas.name}_{ending}"] = ("time", converted(values) if amount else values, said_here)
    return made


def rescaled(values: NDArray[Any], unit: str, wanted: str) -> NDArray[np.float64]:
    """Return values of one unit in another, as the digits say: 0.00041245 mol mol-1 is 412.45 umol mol-1.

    Single precision is read by its shortest digits.
    """
    if unit == wanted:
        return values.astype(np.float64)
    digits = round(np.log10(TO_MOLE_FRACTION[unit] / TO_MOLE_FRACTION[wanted]))
    texts = values.astype(np.str_).tolist() if values.dtype == np.float32 else map(repr, values.tolist())
    return np.array([_shifted(text, digits) for text in texts], dtype=np.float64)


def _shifted(text: str, digits: int) -> float:
    mantissa, _, exponent = text.partition("e")
    return float(mantissa) if mantissa == "nan" else float(f"{mantissa}e{int(exponent or 0) + digits}")


def _scale(record: Record, gas: Gas) -> str:
    """Return the calibration scale by its WMO name where the source says one that is clear."""
    said = (gas.scale or "").strip()
    if gas.named and said:
        return said
    found = _SCALE.fullmatch(said)
    if found and gas.name.upper() == (found["gas"] or gas.name).upper():
        return f"WMO {gas.name.upper()} {found['scale'].upper()}"
    if said and gas.name not in QUANTITIES and said.casefold() not in ("--", "na", "unknown", "not"):
        return said
    what = f"says of the calibration scale of {gas.name} {said!r}" if said else f"says no scale of {gas.name}"
    raise FileError(f"{record.path} {what}; it is not guessed: give it, as read(path, scale={_example(gas.name)!r})")


def _example(gas: str) -> str:
    return {"co2": "WMO CO2 X2019", "ch4": "WMO CH4 X2004A"}.get(gas, f"WMO {gas.upper()} X...")
