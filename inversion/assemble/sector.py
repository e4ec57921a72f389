"""Fluxes by sector in time: fields of months or hours, and profiles over months, days of the week and hours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import xarray as xr

from inversion.covariance.operator import Array
from inversion.datasets import FLUX_UNITS
from inversion.errors import AssemblyError

_DAY: Final = np.timedelta64(1, "D")
_HOUR: Final = np.timedelta64(1, "h")
_HOURS: Final = 24


@dataclass(frozen=True, slots=True)
class Sector:
    """A flux whose scaling is unknown.

    Attributes
    ----------
    name, gas : str
    flux : xr.DataArray (time, latitude, longitude) or (latitude, longitude) [mol m-2 s-1]
        On the grid of the footprints; ``time`` the start of each interval and ``time_end`` its end, as
        `priors.read_flux` gives them (NaT or no time: always).
    month, weekday, hour : tuple of 12, 7 (Monday first), 24 numbers, optional
        Profiles the flux is multiplied by, each divided by its mean.
    clock : float or "solar"
        What hours and days of the week are told by: hours ahead of UTC, or the sun (UTC + longitude / 15°).
    prior, sigma : float
        Scaling the prior expects, and its standard deviation in one region and period. A correction to a flux that may
        vanish (a biosphere) is a sector of its own, with a flux that does not, and ``prior = 0``.
    regional_sigma : mapping of region to float, optional
        Standard deviations by region instead of `sigma`, of the mean over all periods: as a ledger states them. Such a
        sector is a block of its own. A region that is not named keeps `sigma`.
    share : xr.DataArray (region, latitude, longitude), optional
        Part of each cell's flux that belongs to a region, where that is known better than by area: ``share`` of
        `inventory.gridding.allocate`. Totals of those regions are then those of the ledger.
    fixed : bool
        The sector is not estimated: its signal is a boundary term of its own, named, held where it is.

    Raises
    ------
    AssemblyError
        For other units, missing values, or profiles of another length or sum.
    """

    name: str
    gas: str
    flux: xr.DataArray
    month: tuple[float, ...] | None = None
    weekday: tuple[float, ...] | None = None
    hour: tuple[float, ...] | None = None
    clock: float | str = "solar"
    prior: float = 1.0
    sigma: float = 0.5
    regional_sigma: Mapping[str, float] | None = None
    share: xr.DataArray | None = None
    fixed: bool = False

    def __post_init__(self) -> None:
        faults = []
        if self.flux.attrs.get("units") != FLUX_UNITS:
            faults.append(f"Its flux has the units {self.flux.attrs.get('units')!r}, expected {FLUX_UNITS!r}.")
        if not {"latitude", "longitude"} <= set(self.flux.dims) <= {"time", "latitude", "longitude"}:
            faults.append(f"Its flux lies on {self.flux.dims}, expected (time, latitude, longitude).")
        elif not np.isfinite(self.flux.values).all():
            faults.append(f"Its flux has {int((~np.isfinite(self.flux.values)).sum())} values that are not finite.")
        for name, size in (("month", 12), ("weekday", 7), ("hour", 24)):
            profile = getattr(self, name)
            if profile is not None and (len(profile) != size or min(profile) < 0 or sum(profile) <= 0):
                faults.append(f"Its profile {name!r} has {len(profile)} values, expected {size}, none below 0.")
        if not (isinstance(self.clock, int | float) or self.clock == "solar"):
            faults.append(f"Its clock is {self.clock!r}, expected 'solar' or hours ahead of UTC.")
        if self.regional_sigma is not None and not all(value > 0 for value in self.regional_sigma.values()):
            faults.append("Some of its regions have a sigma that is not above zero.")
        if not self.sigma > 0:
            faults.append(f"Its sigma is {self.sigma}, expected a number above zero; what is known is `fixed`.")
        if faults:
            raise AssemblyError(f"The sector {self.name!r}", faults)

    @property
    def diurnal(self) -> bool:
        """Whether the flux changes within a day."""
        if self.hour is not None and min(self.hour) != max(self.hour):
            return True
        start, end = self._bounds()
        return start.size > 1 and bool(((end - start) < _DAY).any())

    @property
    def constant(self) -> bool:
        """Whether the flux is the same always."""
        start, _ = self._bounds()
        profiles = (self.month, self.weekday, self.hour)
        return start.size == 1 and bool(np.isnat(start[0])) and all(profile is None for profile in profiles)

    def fields(self, time: np.ndarray) -> Array:
        """Return the flux at times (K, cells) [mol m-2 s-1]; cells in the order latitude, longitude.

        Raises
        ------
        AssemblyError
            Where a time lies outside of the intervals of the flux.
        """
        moment = np.asarray(time).astype("datetime64[ns]")
        values = self._values()[self._interval(moment)]
        factor = np.ones((moment.size, values.shape[2]))
        if self.month is not None:
            month = moment.astype("datetime64[M]").astype(int) % 12
            factor *= _even(self.month)[month][:, None]
        if self.weekday is not None or self.hour is not None:
            clock = self._clock(moment, values.shape[2])
            day = clock.astype("datetime64[D]")
            if self.weekday is not None:
                factor *= _even(self.weekday)[(day.astype(int) + 3) % 7]  # 1970-01-01 was a Thursday
            if self.hour is not None:
                factor *= _even(self.hour)[((clock - day) // _HOUR).astype(int)]
        return (values * factor[:, None, :]).reshape(moment.size, -1)

    def daily(self, day: np.ndarray) -> Array:
        """Return the mean flux over whole days UTC (K, cells)."""
        start = np.asarray(day).astype("datetime64[D]").astype("datetime64[ns]")
        if not self.diurnal and self.weekday is None:
            return self.fields(start)
        middles = [start + np.timedelta64(30, "m") + h * _HOUR for h in range(_HOURS)]
        return np.asarray(sum(self.fields(middle) for middle in middles)) / _HOURS

    def mean(self, start: np.datetime64, end: np.datetime64) -> Array:
        """Return the mean flux over a period (cells,), day by day."""
        first, last = np.array([start, end], "datetime64[ns]") - np.array([0, 1], "timedelta64[ns]")
        days = np.arange(first.astype("datetime64[D]"), last.astype("datetime64[D]") + _DAY)
        if not self.diurnal and self.weekday is None and self.month is None and self._bounds()[0].size == 1:
            return self.fields(days[:1])[0]
        return np.asarray(sum(self.daily(days[k : k + 1])[0] for k in range(days.size))) / days.size

    def _values(self) -> Array:
        values = self.flux.transpose(..., "latitude", "longitude").values
        return values[None] if values.ndim == 2 else values

    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        if "time" not in self.flux.dims:
            nothing = np.full(1, np.datetime64("NaT", "ns"))
            return nothing, nothing
        start = self.flux["time"].values.astype("datetime64[ns]")
        if "time_end" in self.flux.coords:
            return start, self.flux["time_end"].values.astype("datetime64[ns]")
        return start, np.append(start[1:], np.datetime64("NaT", "ns"))

    def _interval(self, moment: np.ndarray) -> np.ndarray:
        start, end = self._bounds()
        if start.size == 1 and np.isnat(start[0]):
            return np.zeros(moment.size, dtype=int)
        index = np.searchsorted(start, moment, "right") - 1
        safe = np.maximum(index, 0)
        outside = (index < 0) | (~np.isnat(end[safe]) & (moment >= end[safe]))
        if outside.any():
            last = end[-1] if not np.isnat(end[-1]) else start[-1]
            sentence = (
                f"Its flux goes from {start[0]} to {last}, but is asked for {moment[outside].min()}; add files that "
                "reach back as far as the footprints do."
            )
            raise AssemblyError(f"The sector {self.name!r}", [sentence])
        return safe

    def _clock(self, moment: np.ndarray, columns: int) -> np.ndarray:
        """Return the local time (K, longitudes)."""
        if self.clock == "solar":
            ahead = self.flux["longitude"].values.astype(np.float64) / 15.0
        else:
            ahead = np.full(columns, float(self.clock))
        return moment[:, None] + (ahead * 3600e9).round().astype("timedelta64[ns]")


def _even(profile: tuple[float, ...]) -> Array:
    values = np.array(profile, dtype=np.float64)
    return values / values.mean()
