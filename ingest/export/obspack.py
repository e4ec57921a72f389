"""ObsPack-style netCDF that meets CF-1.11 and ACDD-1.3: ObsPack's variables, and beside them skyledger's own.

Not among them are ``time_components`` and ``time_decimal``: ``time`` says the same, and CF wants no second dimension
right of it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from os import PathLike
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ingest.errors import FileError
from ingest.export.series import Series, one_line, series, written
from ingest.files.obspack import OWN
from ingest.files.record import rescaled
from qc.flags import cause_attributes, flag_attributes, to_noaa
from qc.schema import standard_name

CONVENTIONS: Final = "CF-1.11, ACDD-1.3"
_EPOCH: Final = "1970-01-01T00:00:00Z"
_FREQUENCIES: Final = {60: "minute", 3600: "hour", 86_400: "day"}
_ABOUT: Final = {
    "stdev": "standard deviation of the values the mean rests on",
    "uncertainty": "standard uncertainty, all parts",
    "u_random": "part of the uncertainty that is independent between intervals",
    "u_shared": "part of the uncertainty that all intervals share",
    "n_rejected": "number of values left out",
    "n_minutes": "number of minutes the mean rests on",
    "flag_source": "flag as the source had it",
}
_PHYSICAL: Final = {"coverage_content_type": "physicalMeasurement"}
_QUALITY: Final = {"coverage_content_type": "qualityInformation"}
_AUXILIARY: Final = {"coverage_content_type": "auxiliaryInformation"}
_COORDINATE: Final = {"coverage_content_type": "coordinate"}
_SAID: Final = (
    "creator_name",
    "creator_email",
    "creator_url",
    "institution",
    "project",
    "license",
    "acknowledgement",
    "publisher_name",
    "publisher_email",
    "publisher_url",
    "naming_authority",
)
"""Attributes of the dataset that are passed on as ACDD has them."""
_COUNT: Final = {"standard_name": "number_of_observations", "units": "1"} | _AUXILIARY
_ANCILLARY: Final = ("value_std_dev", "nvalue", "value_unc", "qc_flag")
_COORDINATES: Final = "latitude longitude altitude"


def obspack(ds: xr.Dataset, path: str | PathLike[str], *, gas: str | None = None) -> None:
    """Write one gas of a series as ObsPack-style netCDF.

    ObsPack's ``value`` is in mol mol-1 and its ``time`` the middle of the interval, which ``time_bnds`` says;
    ``qc_flag`` has NOAA's three characters. What that cannot say stands in variables that begin with ``skyledger_``.
    What ACDD recommends and only the owner of the data can say is taken from the dataset's attributes: ``title``,
    ``summary``, ``comment``, ``license``, ``acknowledgement``, ``project``, ``institution``, ``naming_authority``,
    ``creator_name`` ``_email`` ``_url``, ``publisher_name`` ``_email`` ``_url`` (``contributor`` and ``contact`` stand
    in for the creator).

    Parameters
    ----------
    ds
        OBS; times on whole milliseconds.
    path
        The file; what was there is replaced.
    gas
        Which one; None: the only one.

    Raises
    ------
    FileError
        The dataset does not fit the format, or the file cannot be written.
    """
    one = series(ds, gas)
    made = xr.Dataset(_variables(one), _times(one), _attributes(one))
    encoding: dict[str, dict[str, Any]] = {
        str(name): {"zlib": True, "complevel": 4} for name in made.variables if made[name].dtype.kind in "fi"
    }
    for name, variable in made.variables.items():
        if variable.dtype.kind == "f":
            encoding[str(name)]["_FillValue"] = np.nan if name not in ("latitude", "longitude") else None
    try:
        with written(path) as part:
            made.to_netcdf(part, engine="netcdf4", format="NETCDF4", encoding=encoding)
    except (ValueError, RuntimeError) as error:
        raise FileError(f"{path} cannot be written: {error}") from error


# --- times -----------------------------------------------------------------------------------


def _times(one: Series) -> dict[str, Any]:
    middle = one.ds["time"].values.astype("datetime64[ns]")
    units, step = _units(np.concatenate([middle, one.start, one.end]))
    bounds = np.stack([one.start, one.end], axis=1)
    about = {
        "standard_name": "time",
        "long_name": "middle of the averaging interval (UTC)",
        "units": units,
        "calendar": "standard",
        "units_metadata": "leap_seconds: none",
        "axis": "T",
        "bounds": "time_bnds",
        "comment": "midpoint of the averaging interval; time_bnds says where it begins and ends",
        "coverage_content_type": "coordinate",
    }
    return {
        "time": ("time", middle.astype(np.int64) // step, about),
        "time_bnds": (("time", "bnds"), bounds.astype(np.int64) // step),
    }


def _units(times: NDArray[np.datetime64]) -> tuple[str, int]:
    """Return units in which all times are whole numbers, and their length in ns."""
    for unit, step in (("seconds", 10**9), ("milliseconds", 10**6)):
        if not (times.astype(np.int64) % step).any():
            return f"{unit} since {_EPOCH}", step
    raise FileError("a time is not on a whole millisecond, which the file could not say")


# --- values ----------------------------------------------------------------------------------


def _variables(one: Series) -> dict[str, Any]:
    size = one.start.size
    flag, selection = one.companion("flag"), one.companion("selection")
    assert flag is not None
    made: dict[str, Any] = {
        **_place(one, size),
        **_amounts(one),
        "qc_flag": (
            "time",
            to_noaa(flag, selection).astype(object),
            {
                "long_name": "quality flag, three characters",
                "comment": "first: . may be used, U not evaluated, S suspect, * bad, I missing; second: . background "
                "or not known, S not background",
            }
            | _QUALITY,
        ),
        f"{OWN}flag": ("time", flag.astype(np.int8), flag_attributes() | {"long_name": "QARTOD flag"} | _QUALITY),
    }
    beside = [name for name in made if name.startswith(OWN) or name in _ANCILLARY]
    made["value"][2]["ancillary_variables"] = " ".join(beside)
    return made


def _amounts(one: Series) -> dict[str, Any]:
    unit = str(one.value.attrs["units"])
    values = one.value.values.astype(np.float64)
    moved = rescaled(values, unit, "mol mol-1")
    about = _about(one, "value", "mol mol-1") | {"scale": str(one.value.attrs["scale"])} | _PHYSICAL
    made: dict[str, Any] = {"value": ("time", moved, about)}
    exact = [("value", values)] if _lost(moved, values, unit) else []
    for ending, column in (("stdev", "value_std_dev"), ("uncertainty", "value_unc")):
        there = one.companion(ending)
        if there is not None:
            moved = rescaled(there.astype(np.float64), unit, "mol mol-1")
            made[column] = ("time", moved, _about(one, ending, "mol mol-1") | _PHYSICAL)
            exact += [(ending, there)] if _lost(moved, there, unit) else []
    count = one.companion("n")
    if count is not None:
        made["nvalue"] = ("time", count, _COUNT | {"long_name": "number of values the mean rests on"})
    parts = ((ending, one.companion(ending)) for ending in ("u_random", "u_shared"))
    for ending, there in [*exact, *parts]:
        if there is not None:
            made[f"{OWN}{ending}"] = ("time", there, _about(one, ending, unit) | _AUXILIARY)
    return made | _own(one)


def _about(one: Series, ending: str, unit: str) -> dict[str, Any]:
    """Return the attributes of an amount: CF says what it is of the gas by modifiers and cell methods."""
    name = standard_name(one.gas)
    deviation, value = ending == "stdev", ending == "value"
    about = {
        "units": unit,
        "coordinates": _COORDINATES,
        "long_name": f"dry-air mole fraction of {one.gas}" if value else _ABOUT[ending],
        "cell_methods": "time: standard_deviation" if deviation else "time: mean",
    }
    if name is not None:
        about["standard_name"] = name if deviation or value else f"{name} standard_error"
    return about


def _lost(moved: NDArray[np.float64], values: NDArray[np.floating], unit: str) -> bool:
    """Whether the way there and back changes a last bit somewhere."""
    back = rescaled(moved, "mol mol-1", unit)
    return bool(((back != values) & ~np.isnan(values)).any())


def _own(one: Series) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for ending in ("n_rejected", "n_minutes"):
        there = one.companion(ending)
        if there is not None:
            made[f"{OWN}{ending}"] = ("time", there, _COUNT | {"long_name": _ABOUT[ending]})
    selection = one.companion("selection")
    if selection is not None:
        about = {
            "standard_name": "status_flag",
            "long_name": "whether a value is background",
            "flag_values": np.array([0, 1], np.int8),
            "flag_meanings": "not_background background",
        }
        made[f"{OWN}selection"] = ("time", selection.astype(np.int8), about | _QUALITY)
    cause = one.companion("cause")
    if cause is not None:
        about = cause_attributes() | {"long_name": "tests that set the flag, one bit each"} | _QUALITY
        made[f"{OWN}cause"] = ("time", cause.astype(np.int32), about)
    source = one.companion("flag_source")
    if source is not None:
        made[f"{OWN}flag_source"] = ("time", source.astype(object), {"long_name": _ABOUT["flag_source"]} | _QUALITY)
    return made


def _place(one: Series, size: int) -> dict[str, Any]:
    attrs = one.ds.attrs
    ground, height = float(attrs["altitude"]), float(attrs["inlet_height"])
    said: dict[str, tuple[float, dict[str, Any]]] = {
        "latitude": (float(attrs["latitude"]), {"standard_name": "latitude", "units": "degrees_north"}),
        "longitude": (float(attrs["longitude"]), {"standard_name": "longitude", "units": "degrees_east"}),
        "altitude": (
            ground + height,
            {"standard_name": "altitude", "units": "m", "positive": "up", "long_name": "altitude of the inlet"},
        ),
        "elevation": (ground, {"standard_name": "surface_altitude", "units": "m"}),
        "intake_height": (height, {"standard_name": "height", "units": "m", "positive": "up"}),
    }
    made: dict[str, Any] = {}
    for name, (value, about) in said.items():
        made[name] = ("time", np.full(size, value), {"long_name": f"{name} of the sample"} | about | _COORDINATE)
    return made


# --- attributes ------------------------------------------------------------------------------


def _attributes(one: Series) -> dict[str, Any]:
    attrs = one.ds.attrs
    station, gas = one.attribute("station"), one.gas
    first, last = (np.datetime_as_string(moment, "s") + "Z" for moment in (one.start[0], one.end[-1]))
    name = one.attribute("title_of_station") or station
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    made: dict[str, Any] = {
        "Conventions": CONVENTIONS,
        "title": one.attribute("title") or f"{gas} at {name}, {one.attribute('inlet')}",
        "summary": one.attribute("summary")
        or f"Dry-air mole fraction of {gas} measured at {name} ({station}), inlet {one.attribute('inlet')}, "
        f"{float(attrs['inlet_height']):g} m above ground, from {first} to {last}; every value is kept, flagged.",
        "keywords": f"atmospheric composition, greenhouse gas, {gas}, mole fraction, {station}",
        "id": f"{gas}_{station}_{one.attribute('inlet')}".lower(),
        "source": "surface observation",
        "processing_level": "quality controlled",
        "standard_name_vocabulary": "CF Standard Name Table v90",
        "date_created": now,
        "history": "\n".join(filter(None, [one.attribute("history"), f"{now} written by skyledger"])),
        "geospatial_lat_min": float(attrs["latitude"]),
        "geospatial_lat_max": float(attrs["latitude"]),
        "geospatial_lat_units": "degrees_north",
        "geospatial_lon_min": float(attrs["longitude"]),
        "geospatial_lon_max": float(attrs["longitude"]),
        "geospatial_lon_units": "degrees_east",
        "geospatial_vertical_min": float(attrs["altitude"]) + float(attrs["inlet_height"]),
        "geospatial_vertical_max": float(attrs["altitude"]) + float(attrs["inlet_height"]),
        "geospatial_vertical_units": "m",
        "geospatial_vertical_positive": "up",
        "geospatial_bounds": f"POINT ({float(attrs['latitude'])} {float(attrs['longitude'])})",
        "geospatial_bounds_crs": "EPSG:4326",
        "geospatial_bounds_vertical_crs": "EPSG:5714",
        "time_coverage_duration": _duration(one.end[-1] - one.start[0]),
        "time_coverage_resolution": _duration(np.median((one.end - one.start).astype(np.int64)).astype("m8[ns]")),
        "comment": one.attribute("comment") or "every value is kept, valid or not: see the flags",
        "time_coverage_start": first,
        "time_coverage_end": last,
        **_contributors(one),
        **_obspack_attributes(one, first, last),
    }
    return made


def _duration(length: np.timedelta64) -> str:
    """Return a length of time as ISO 8601 has it."""
    days, seconds = divmod(int(length.astype("timedelta64[s]").astype(np.int64)), 86_400)
    return f"P{days}DT{seconds // 3600}H{seconds // 60 % 60}M{seconds % 60}S"


def _contributors(one: Series) -> dict[str, str]:
    """Return what ACDD wants of who and how, as far as the dataset says it."""
    given = {name: one.attribute(name) for name in _SAID}
    given["creator_name"] = given["creator_name"] or one.attribute("contributor")
    given["creator_email"] = given["creator_email"] or one.attribute("contact")
    given["institution"] = given["institution"] or one.attribute("contributor")
    return {name: one_line(text) for name, text in given.items() if text}


def _obspack_attributes(one: Series, first: str, last: str) -> dict[str, Any]:
    attrs = one.ds.attrs
    made: dict[str, Any] = {
        "site_code": one.attribute("station"),
        "site_name": one.attribute("title_of_station"),
        "site_latitude": float(attrs["latitude"]),
        "site_longitude": float(attrs["longitude"]),
        "site_elevation": float(attrs["altitude"]),
        "site_elevation_unit": "masl",
        "dataset_name": f"{one.gas}_{one.attribute('station').lower()}_insitu",
        "dataset_parameter": one.gas,
        "dataset_calibration_scale": str(one.value.attrs["scale"]),
        "dataset_intake_ht": float(attrs["inlet_height"]),
        "dataset_intake_ht_unit": "magl",
        "dataset_start_date": first,
        "dataset_stop_date": last,
        "skyledger_inlet": one.attribute("inlet"),
    }
    lengths = np.unique((one.end - one.start).astype("timedelta64[s]").astype(np.int64))
    if lengths.size == 1 and int(lengths[0]) in _FREQUENCIES:
        made |= {"dataset_data_frequency": 1, "dataset_data_frequency_unit": _FREQUENCIES[int(lengths[0])]}
    return made
