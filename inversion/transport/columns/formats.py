"""How TCCON, GOSAT, OCO-2 and TROPOMI write columns: one function a family of files, one row of `FORMS` a form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr

from inversion.errors import ColumnError

_FACTOR: Final = {"ppm": 1e-6, "1e-6": 1e-6, "ppb": 1e-9, "1e-9": 1e-9, "ppt": 1e-12, "mol mol-1": 1.0}
"""Units as these files write them -> factor to mol mol-1."""
_SCALE_HEIGHT_TEMPERATURE: Final = 288.15
_LAPSE: Final = 0.0065
_EXPONENT: Final = 287.05 * _LAPSE / 9.80665
_TROPOPAUSE: Final = 11000.0
_ABOVE: Final = 287.05 * 216.65 / 9.80665


@dataclass(frozen=True, slots=True)
class Names:
    """How a file of satellite soundings names things; ``{gas}`` stands for the gas."""

    column: str
    error: str
    latitude: str
    longitude: str
    weight: str
    flag: str | None = None
    prior: str | None = None


OPENGHG: Final = Names("x{gas}", "x{gas}_uncertainty", "lat", "lon", "pressure_weights")
LITE: Final = Names(
    "x{gas}", "x{gas}_uncertainty", "latitude", "longitude", "pressure_weight", "x{gas}_quality_flag", "x{gas}_apriori"
)


def mole_fraction(ds: xr.Dataset, name: str, file: str) -> np.ndarray:
    """Return a variable in mol mol-1."""
    units = ds[name].attrs.get("units")
    if units not in _FACTOR:
        expected = ", ".join(map(repr, _FACTOR))
        raise ColumnError(file, [f"{name!r} has the units {units!r}, expected one of {expected}."])
    return np.asarray(ds[name].values, np.float64) * _FACTOR[units]


def require_variables(ds: xr.Dataset, names: tuple[str, ...], file: str) -> None:
    """Raise where variables are missing."""
    missing = [name for name in names if name not in ds.variables]
    if missing:
        raise ColumnError(file, [f"Variables are missing: {', '.join(missing)}."])


def assemble(gas: str, source: str, **arrays: Any) -> xr.Dataset:
    """Return COLUMN from arrays (obs,) and (obs, level), turned so that the lowest level is first."""
    turned = arrays["height"][:, 0].mean() > arrays["height"][:, -1].mean()
    units = {"weight": "1", "averaging_kernel": "1", "height": "m", "pressure": "hPa"}
    units |= {"longitude": "degrees_east", "latitude": "degrees_north"}
    variables: dict[str, Any] = {"time": ("obs", arrays.pop("time").astype("datetime64[ns]"))}
    for name, values in arrays.items():
        if values is None:
            continue
        array = np.asarray(values, np.float64)
        array = array[:, ::-1] if array.ndim == 2 and turned else array
        dims = ("obs", "level") if array.ndim == 2 else ("obs",)
        variables[name] = (dims, array, {"units": units.get(name, "mol mol-1")})
    ds = xr.Dataset(variables, attrs={"source": source, "gas": gas})
    return ds.set_coords(["time", "longitude", "latitude"])


def standard_height(pressure: np.ndarray) -> np.ndarray:
    """Return heights above the level of highest pressure [m], in the ICAO standard atmosphere."""
    ratio = pressure / pressure.max(axis=1, keepdims=True)
    low = _SCALE_HEIGHT_TEMPERATURE / _LAPSE * (1.0 - ratio**_EXPONENT)
    border = (1.0 - _TROPOPAUSE * _LAPSE / _SCALE_HEIGHT_TEMPERATURE) ** (1.0 / _EXPONENT)
    high = _TROPOPAUSE + _ABOVE * np.log(border / np.minimum(ratio, border))
    return np.where(ratio >= border, low, high)


def tccon(path: Path, gas: str, quality: float) -> xr.Dataset:  # noqa: ARG001  public files hold good spectra only
    """Return COLUMN of a TCCON GGG2020 file.

    Its operator takes wet mole fractions: Σ o x_wet = Σ o (1 − h2o) x_dry, so that w = o (1 − h2o).
    """
    with xr.open_dataset(path) as ds:
        own = ("integration_operator", f"prior_{gas}", f"prior_x{gas}", f"ak_x{gas}", f"x{gas}", "prior_h2o", "zobs")
        require_variables(ds, (*own, "prior_pressure", "prior_altitude", "ak_altitude", "lat", "long"), path.name)
        if not np.array_equal(ds["prior_altitude"].values, ds["ak_altitude"].values):
            raise ColumnError(path.name, ["The prior and the averaging kernel lie on different altitudes."])
        dry = 1.0 - ds["prior_h2o"].values.astype(np.float64)
        height = 1000.0 * (ds["prior_altitude"].values[None] - ds["zobs"].values[:, None])
        height = height.astype(np.float64)
        weight = ds["integration_operator"].values * dry
        return assemble(
            gas,
            f"TCCON, file {path.name}",
            time=ds["time"].values,
            longitude=ds["long"].values,
            latitude=ds["lat"].values,
            height=height,
            pressure=1013.25 * ds["prior_pressure"].values.astype(np.float64),
            weight=weight,
            averaging_kernel=ds[f"ak_x{gas}"].values,
            profile_prior=mole_fraction(ds, f"prior_{gas}", path.name) / dry,
            column=mole_fraction(ds, f"x{gas}", path.name),
            column_error=mole_fraction(ds, f"x{gas}_error", path.name),
            column_prior=mole_fraction(ds, f"prior_x{gas}", path.name),
        )


def soundings(names: Names) -> Callable[[Path, str, float], xr.Dataset]:
    """Return a reader of soundings on pressure levels; heights by the standard atmosphere above the lowest level."""

    def read(path: Path, gas: str, quality: float) -> xr.Dataset:  # noqa: ARG001  a flag here, no value
        with xr.open_dataset(path) as ds:
            column, error = names.column.format(gas=gas), names.error.format(gas=gas)
            kernel, prior = f"x{gas}_averaging_kernel", f"{gas}_profile_apriori"
            needed = (column, error, kernel, prior, names.weight, "pressure_levels", names.latitude, names.longitude)
            require_variables(ds, (*needed, "time"), path.name)
            if names.flag is not None and names.flag.format(gas=gas) in ds.variables:
                good = np.flatnonzero(ds[names.flag.format(gas=gas)].values == 0)
                ds = ds.isel({ds[column].dims[0]: good})  # noqa: PLW2901  the file stays open under its own name
            stated = (names.prior or "").format(gas=gas)
            pressure = ds["pressure_levels"].values.astype(np.float64)
            return assemble(
                gas,
                f"{ds.attrs.get('title') or 'soundings'}, file {path.name}",
                time=ds["time"].values,
                longitude=ds[names.longitude].values,
                latitude=ds[names.latitude].values,
                height=standard_height(pressure),
                pressure=pressure,
                weight=ds[names.weight].values,
                averaging_kernel=ds[kernel].values,
                profile_prior=mole_fraction(ds, prior, path.name),
                column=mole_fraction(ds, column, path.name),
                column_error=mole_fraction(ds, error, path.name),
                column_prior=mole_fraction(ds, stated, path.name) if stated in ds.variables else None,
            )

    return read


def tropomi(path: Path, gas: str, quality: float) -> xr.Dataset:
    """Return COLUMN of a TROPOMI level-2 file: X = Σ [a + A (m − a)] / Σ d, so that w = d / Σ d and x_a = a / d."""
    product, support = (_group(path, name) for name in ("PRODUCT", "PRODUCT/SUPPORT_DATA/INPUT_DATA"))
    details = _group(path, "PRODUCT/SUPPORT_DATA/DETAILED_RESULTS")
    if gas != "ch4":
        raise ColumnError(path.name, [f"It holds ch4, expected {gas}."])
    good = (product["qa_value"].values >= quality) & np.isfinite(product["methane_mixing_ratio_bias_corrected"].values)
    air = support["dry_air_subcolumns"].values[good].astype(np.float64)
    levels = support["altitude_levels"].values[good].astype(np.float64)
    height = 0.5 * (levels[:, 1:] + levels[:, :-1]) - support["surface_altitude"].values[good][:, None]
    time = np.broadcast_to(product["delta_time"].values[:, :, None], good.shape)[good]
    name = "methane_mixing_ratio_bias_corrected"
    return assemble(
        gas,
        f"TROPOMI, file {path.name}",
        time=time,
        longitude=product["longitude"].values[good],
        latitude=product["latitude"].values[good],
        height=height,
        weight=air / air.sum(axis=1, keepdims=True),
        averaging_kernel=details["column_averaging_kernel"].values[good],
        profile_prior=support["methane_profile_apriori"].values[good] / air,
        column=mole_fraction(product, name, path.name)[good],
        column_error=mole_fraction(product, "methane_mixing_ratio_precision", path.name)[good],
    )


def _group(path: Path, name: str) -> xr.Dataset:
    with xr.open_dataset(path, group=name) as ds:
        return ds.load()
