"""Observations of every kind in one form: towers (`inversion.observations.gather`), aircraft, columns.

The form is that of `Selected.observations`: dimension ``obs``; ``mole_fraction``, ``uncertainty``, ``stdev``, ``n``;
coordinates ``time``, ``site``, ``inlet``, ``longitude``, ``latitude``, ``height``, ``altitude``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import xarray as xr

from inversion.covariance import Covariance
from inversion.errors import AssemblyError
from inversion.observations import errors
from inversion.transport.columns import COLUMN
from qc.schema import require
from qc.units import TO_MOLE_FRACTION

KINDS: Final = ("in situ", "aircraft", "column")
"""What observes."""
PerSite = float | Mapping[str, float]


@dataclass(frozen=True, slots=True)
class ErrorModel:
    """R of one kind of observations of one gas, in their units.

    R_ij = (u_i² + r_i²) δ_ij + τ_i τ_j exp(−|t_i − t_j| / L), site by site: measurement u and representation r
    are independent from hour to hour, the transport's error τ is not.

    Attributes
    ----------
    representation, transport : float or mapping of site to float
        Standard deviations.
    correlation_hours : float, optional
        L, e-folding time of the transport's error; without it that is independent too.
    within : bool
        The standard deviation within each mean is added to the representation error.
    """

    representation: PerSite = 0.0
    transport: PerSite = 0.0
    correlation_hours: float | None = None
    within: bool = False

    def scaled(self, factor: float) -> ErrorModel:
        """Return the same in other units."""
        return replace(
            self, representation=_times(self.representation, factor), transport=_times(self.transport, factor)
        )

    def covariance(self, observations: xr.Dataset) -> Covariance:
        """Return R of observations ordered by site; see `inversion.observations.errors`."""
        return errors(
            observations,
            representation=self.representation,
            transport=self.transport,
            correlation_hours=self.correlation_hours,
            within=self.within,
        )


def _times(value: PerSite, factor: float) -> PerSite:
    if isinstance(value, Mapping):
        return {site: number * factor for site, number in value.items()}
    return value * factor


@dataclass(frozen=True, slots=True)
class Stream:
    """Observations of one gas and kind with their footprints and errors: one block of rows of the problem.

    Attributes
    ----------
    gas, kind : str
    observations : xr.Dataset (obs)
    footprints : xr.Dataset (receptor)
        One an observation, in the same order.
    error : ErrorModel
    counts : mapping of str to xr.DataArray
        What was dropped and why: ``selection`` and ``footprints``.
    columns : xr.Dataset, optional
        COLUMN of the same observations, where they are columns.
    """

    gas: str
    kind: str
    observations: xr.Dataset
    footprints: xr.Dataset
    error: ErrorModel = field(default_factory=ErrorModel)
    counts: Mapping[str, xr.DataArray] = field(default_factory=dict)
    columns: xr.Dataset | None = None

    def __post_init__(self) -> None:
        n, receptors = self.observations.sizes["obs"], self.footprints.sizes["receptor"]
        if n != receptors:
            raise AssemblyError(
                "A stream", [f"It has {n} observations but {receptors} footprints; `match` pairs them."]
            )
        if self.kind not in KINDS:
            raise AssemblyError("A stream", [f"Its kind is {self.kind!r}, expected one of {', '.join(KINDS)}."])

    @property
    def units(self) -> str:
        """Units of its mole fractions."""
        return str(self.observations["mole_fraction"].attrs["units"])

    def in_units(self, units: str) -> Stream:
        """Return the same in other units of mole fraction."""
        factor = TO_MOLE_FRACTION[self.units] / TO_MOLE_FRACTION[units]
        if factor == 1.0:
            return self
        converted = {
            name: (self.observations[name] * factor).assign_attrs(self.observations[name].attrs, units=units)
            for name in ("mole_fraction", "uncertainty", "stdev")
        }
        return replace(self, observations=self.observations.assign(converted), error=self.error.scaled(factor))


def from_track(ds: xr.Dataset, gas: str, *, uncertainty: float | None = None) -> xr.Dataset:
    """Return observations along a track: an aircraft, a ship, a car.

    Parameters
    ----------
    ds : xr.Dataset
        One dimension; ``time``, ``longitude``, ``latitude``, ``height`` [m above ground], the gas with ``units`` and
        ``scale``, and its ``{gas}_uncertainty``; ``flight`` where there are several. What is missing (NaN) is left out.
    gas : str
    uncertainty : float, optional
        In the units of the gas, where the dataset has none.

    Returns
    -------
    xr.Dataset (obs)
        Ordered by flight, then time; ``site`` is the flight.

    Raises
    ------
    AssemblyError
        Where variables are missing, units are no mole fraction, or nothing is left.
    """
    needed = ("time", "longitude", "latitude", "height", gas)
    faults = [f"{name!r} is missing." for name in needed if name not in ds.variables]
    if faults:
        raise AssemblyError("The track", faults)
    units = ds[gas].attrs.get("units")
    if units not in TO_MOLE_FRACTION:
        faults.append(f"{gas!r} has the units {units!r}, expected one of {', '.join(TO_MOLE_FRACTION)}.")
    if f"{gas}_uncertainty" not in ds.variables and uncertainty is None:
        faults.append(f"There is no '{gas}_uncertainty'; state the uncertainty.")
    value = ds[gas].values.astype(np.float64)
    if not np.isfinite(value).any():
        faults.append(f"All {value.size} values of {gas!r} are missing.")
    if faults:
        raise AssemblyError("The track", faults)
    own = ds[f"{gas}_uncertainty"].values.astype(np.float64) if f"{gas}_uncertainty" in ds.variables else None
    sigma = np.full(value.size, uncertainty) if own is None else own
    site = ds["flight"].values.astype(str) if "flight" in ds.variables else np.full(value.size, "track")
    place = {name: ds[name].values.astype(np.float64) for name in ("longitude", "latitude", "height")}
    flat = _flat(value, sigma, ds["time"].values, site, place, str(units), str(ds[gas].attrs.get("scale", "")), gas)
    kept = np.flatnonzero(np.isfinite(value) & np.isfinite(sigma))
    order = np.lexsort((flat["time"].values[kept], site[kept]))
    return flat.isel(obs=kept[order])


def from_columns(columns: xr.Dataset, *, site: str = "column", units: str = "mol mol-1") -> xr.Dataset:
    """Return observed columns as observations.

    Parameters
    ----------
    columns : xr.Dataset
        COLUMN, with ``column_error``.
    site : str
        Name of the instrument, for the diagnostics.
    units : str
        To convert to.

    Returns
    -------
    xr.Dataset (obs)
        In the order of `columns`; ``height`` is NaN: a column has none.

    Raises
    ------
    AssemblyError
        Where the columns have no error.
    """
    require(columns, COLUMN)
    if "column_error" not in columns.variables:
        raise AssemblyError("The columns", ["They have no 'column_error'; a value without an error cannot be weighed."])
    factor = 1.0 / TO_MOLE_FRACTION[units]
    n = columns.sizes["obs"]
    place = {name: columns[name].values.astype(np.float64) for name in ("longitude", "latitude")}
    place["height"] = np.full(n, np.nan)
    value, sigma = (columns[name].values.astype(np.float64) * factor for name in ("column", "column_error"))
    gas = str(columns.attrs["gas"])
    return _flat(value, sigma, columns["time"].values, np.full(n, site), place, units, "", gas)


def _flat(
    value: np.ndarray, sigma: np.ndarray, time: np.ndarray, site: np.ndarray, place: Mapping[str, np.ndarray],
    units: str, scale: str, gas: str,
) -> xr.Dataset:  # fmt: skip
    n = value.size
    about: dict[str, Any] = {"units": units}
    return xr.Dataset(
        {
            "mole_fraction": ("obs", value, {**about, "scale": scale}),
            "uncertainty": ("obs", sigma, about),
            "stdev": ("obs", np.full(n, np.nan), about),
            "n": ("obs", np.ones(n), {"units": "1"}),
        },
        coords={
            "time": ("obs", time.astype("datetime64[ns]")),
            "site": ("obs", site),
            "inlet": ("obs", np.full(n, "")),
            **{name: ("obs", values) for name, values in place.items()},
            "altitude": ("obs", np.full(n, np.nan)),
        },
        attrs={"species": gas},
    )
