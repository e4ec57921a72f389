"""ObsPack netCDF: one gas of one station, in mol mol-1.

Where in its interval a time stands is what the file says: a ``time_bnds``, a ``start_time``, or its comment on ``time``
("beginning of the averaging interval"); where it says nothing its reader has to.
Source: NOAA GML, ObsPack documentation; headers of the files.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

import netCDF4
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ingest.errors import FileError
from ingest.files.record import UNITS, Gas, Record, rescaled
from qc.flags import ICOS, cause_attributes, from_noaa

FORMAT: Final = "obspack"
OWN: Final = "skyledger_"
"""What names of variables begin with that are skyledger's own beside ObsPack's."""
MOST_BYTES: Final = 2**32
"""Of one file in memory: a century of minutes of one gas has a tenth of that."""
STAMPS: Final = ("start", "middle", "end")
_SECONDS: Final = {"minute": 60, "hour": 3600, "day": 86_400}
_NOT_FLAGGED: Final = ("", "-", "NA")


def recognises(head: bytes) -> bool:
    """Whether a file begins like netCDF."""
    return head.startswith((b"CDF\x01", b"CDF\x02", b"CDF\x05", b"\x89HDF"))


def _require_room(path: Path) -> None:
    """Refuse what says that it is huge: what is not written costs no room in the file, but in memory it does."""
    with netCDF4.Dataset(path) as ds:
        size = sum(math.prod(one.shape) * getattr(one.dtype, "itemsize", 1) for one in ds.variables.values())
    if size > MOST_BYTES:
        raise ValueError(f"it says that it holds {size:,} bytes, at most {MOST_BYTES:,} are read")


def read(path: Path, *, stamp: str | None, interval: np.timedelta64 | None) -> Record:
    """Return what a file says.

    Parameters
    ----------
    path
        The file.
    stamp
        Where in its interval a time stands, of `STAMPS`, where the file does not say.
    interval
        How long one is, where the file does not say.
    """
    try:
        _require_room(path)
        with xr.open_dataset(
            path, engine="netcdf4", decode_times=False, decode_timedelta=False, mask_and_scale=True
        ) as ds:
            ds.load()
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise FileError(f"{path} cannot be read as netCDF: {error}; is it complete?") from error
    missing = [name for name in ("time", "value") if name not in ds.variables]
    if missing:
        raise FileError(f"{path} has no variable {' and '.join(missing)}, expected an ObsPack file")
    gas = str(ds.attrs.get("dataset_parameter", "")).lower()
    if not gas:
        raise FileError(f"{path} has no attribute dataset_parameter, which names the gas")
    start, end, time = _times(path, ds, stamp, interval)
    made = _gas(path, ds, gas)
    return Record(
        path=path,
        start=start,
        end=end,
        time=time,
        gases=[made],
        place=_place(ds),
        attributes={
            "title": str(ds.attrs.get("dataset_name", "")),
            "license": str(ds.attrs.get("dataset_provider_license", ds.attrs.get("obspack_data_license", ""))),
        },
    )


def _times(
    path: Path, ds: xr.Dataset, stamp: str | None, interval: np.timedelta64 | None
) -> tuple[NDArray[np.datetime64], NDArray[np.datetime64], NDArray[np.datetime64] | None]:
    time = _decoded(path, ds, "time")
    if "time_bnds" in ds:
        bounds = _decoded(path, ds, "time_bnds", like="time")
        return bounds[:, 0], bounds[:, 1], time
    length = _length(path, ds, interval)
    if "start_time" in ds:
        start = _decoded(path, ds, "start_time")
        return start, start + length, None
    said = stamp or _said(str(ds["time"].attrs.get("comment", "")))
    if said not in STAMPS:
        raise FileError(
            f"{path} does not say where in its interval a time stands: give it, as read(path, stamp='middle'), "
            f"of {', '.join(STAMPS)}"
        )
    start = time - {"start": 0 * length, "middle": length // 2, "end": length}[said]
    return start, start + length, None


def _said(comment: str) -> str | None:
    words = comment.lower()
    if "beginning of the averaging interval" in words:
        return "start"
    return "middle" if "midpoint" in words or "center of the averaging" in words else None


def _length(path: Path, ds: xr.Dataset, interval: np.timedelta64 | None) -> np.timedelta64:
    if interval is not None:
        return interval
    unit = str(ds.attrs.get("dataset_data_frequency_unit", "")).lower().removesuffix("s")
    if unit not in _SECONDS:
        raise FileError(f"{path} does not say how long its intervals are: give it, as read(path, interval='1h')")
    count = round(float(ds.attrs.get("dataset_data_frequency", 1)))
    return np.timedelta64(count * _SECONDS[unit] * 10**9, "ns")


def _decoded(path: Path, ds: xr.Dataset, name: str, *, like: str | None = None) -> NDArray[np.datetime64]:
    """Return times in ns; netCDF's own numbers are kept whole."""
    units = str(ds[name].attrs.get("units") or ds[like or name].attrs.get("units", ""))
    try:
        decoded = xr.decode_cf(xr.Dataset({"t": (ds[name].dims, ds[name].values, {"units": units})}))["t"]
    except ValueError as error:
        raise FileError(f"{path}: {name} has units {units!r}: {error}") from error
    if decoded.dtype.kind != "M":
        raise FileError(f"{path}: {name} has units {units!r}, expected e.g. 'seconds since 1970-01-01T00:00:00Z'")
    found: NDArray[np.datetime64] = decoded.values.astype("datetime64[ns]")
    return found


def _gas(path: Path, ds: xr.Dataset, gas: str) -> Gas:
    size = ds.sizes["time"]
    letters = _words(ds["qc_flag"].values) if "qc_flag" in ds else np.full(size, "...")
    flag, selection = _flags(path, letters)
    unit, (value, stdev, uncertainty) = _amounts(path, ds)
    made = Gas(
        name=gas,
        unit=unit,
        scale=str(ds.attrs.get("dataset_calibration_scale", "")),
        value=value,
        stdev=stdev,
        n=ds["nvalue"].values.astype(np.float64) if "nvalue" in ds else None,
        uncertainty=uncertainty,
        flag=flag,
        selection=selection,
        flag_source=letters if "qc_flag" in ds else None,
    )
    for name, ending in (("icos_LTR", "ltr"), ("icos_SMR", "cmr"), ("icos_STTB", "sttb")):
        if name in ds:
            values = ds[name].values
            values = np.where(values < -9e-7, np.nan, values).astype(values.dtype)
            made.extras[ending] = (values, {"units": str(ds[name].attrs.get("units", ""))})
    if f"{OWN}flag" in ds:
        _read_own(ds, made)
    return made


def _amounts(path: Path, ds: xr.Dataset) -> tuple[str, list[Any]]:
    """Return the unit and value, standard deviation, uncertainty: skyledger's own where they say more."""
    pairs = (("value", "value"), ("value_std_dev", "stdev"), ("value_unc", "uncertainty"))
    unit = str(ds["value"].attrs.get("units", ""))
    own = [str(ds[f"{OWN}{ending}"].attrs["units"]) for _, ending in pairs if f"{OWN}{ending}" in ds]
    wanted = own[0] if own else unit
    if own and UNITS.get(unit) is None:
        raise FileError(f"{path}: value has units {unit!r}, expected mol mol-1")
    found: list[Any] = []
    for column, ending in pairs:
        if f"{OWN}{ending}" in ds:
            found.append(ds[f"{OWN}{ending}"].values)
        elif column in ds:
            found.append(rescaled(ds[column].values, UNITS[unit], wanted) if own else ds[column].values)
        else:
            found.append(None)
    return wanted, found


def _read_own(ds: xr.Dataset, gas: Gas) -> None:
    """Take what skyledger's own files say beyond ObsPack's variables."""
    own = {str(name).removeprefix(OWN): ds[name] for name in ds.variables if str(name).startswith(OWN)}
    gas.named, gas.flag = True, own["flag"].values.astype(np.int8)
    gas.selection = own["selection"].values.astype(np.int8) if "selection" in own else None
    gas.flag_source = _words(own["flag_source"].values) if "flag_source" in own else None
    for name in own.keys() - {"flag", "selection", "flag_source", "value", "stdev", "uncertainty"}:
        about = {"units": str(own[name].attrs["units"])} if "units" in own[name].attrs else {}
        gas.extras[name] = (own[name].values, cause_attributes() if name == "cause" else about)


def _flags(path: Path, letters: NDArray[np.str_]) -> tuple[NDArray[np.int8], NDArray[np.int8] | None]:
    known = set(letters.tolist())
    if known <= set(ICOS) | set(_NOT_FLAGGED):
        return np.array([ICOS.get(letter, 2) for letter in letters.tolist()], np.int8), None
    if all(len(letter) == 3 for letter in known):
        return from_noaa(letters)
    raise FileError(f"{path}: qc_flag holds {', '.join(sorted(known)[:5])}, expected ICOS's letters or NOAA's three")


def _words(values: NDArray[Any]) -> NDArray[np.str_]:
    texts = [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values.tolist()]
    return np.array([text.strip("\0 ") for text in texts], dtype=np.str_)


def _place(ds: xr.Dataset) -> dict[str, Any]:
    def number(*names: str) -> float | None:
        for name in names:
            if name in ds.attrs:
                return float(ds.attrs[name])
        return None

    height = number("dataset_intake_ht")
    if height is None and "intake_height" in ds:
        height = float(ds["intake_height"].values[-1])
    place: dict[str, Any] = {
        "station": str(ds.attrs.get("site_code", "")),
        "title_of_station": str(ds.attrs.get("site_name", "")),
        "inlet_height": height,
        "latitude": number("site_latitude"),
        "longitude": number("site_longitude"),
        "altitude": number("site_elevation"),
    }
    if "skyledger_inlet" in ds.attrs:
        place["inlet"] = str(ds.attrs["skyledger_inlet"])
    return place
