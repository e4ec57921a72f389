"""How far an observation reaches: weights that cut the chance correlations of a small ensemble."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from inversion.covariance.kernels import EARTH_RADIUS, gaspari_cohn
from inversion.covariance.operator import Array
from inversion.errors import InversionError


@dataclass(frozen=True, slots=True, kw_only=True)
class Localisation:
    """Weights ρ(d / length) on the gain, ρ of Gaspari and Cohn (1999, QJRMS 125, 723, Eq 4.10): zero beyond 2 lengths.

    Attributes
    ----------
    length_km : float, optional
        By great-circle distance [km]; states need the coordinates ``region_longitude`` and ``region_latitude``,
        observations ``longitude`` and ``latitude`` [degree].
    length_days : float, optional
        By the time from the end of a state's period to the observation; needs periods that are dates.

    Boundary terms are not weighted.
    """

    length_km: float | None = None
    length_days: float | None = None

    def __post_init__(self) -> None:
        for name in ("length_km", "length_days"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                msg = f"Localisation: {name} is {value}, expected above zero."
                raise InversionError(msg)


class Reach:
    """The weights of a problem's observations on its unknowns.

    Parameters
    ----------
    localisation : Localisation
    y : xr.DataArray (obs)
    x_a : xr.DataArray (state)
    ends : array (m,) of datetime64, optional
        End of each state's period.
    boundary : int
        Number of boundary terms behind the states.

    Raises
    ------
    InversionError
        Where coordinates are missing.
    """

    def __init__(
        self,
        localisation: Localisation,
        y: xr.DataArray,
        x_a: xr.DataArray,
        ends: np.ndarray | None,
        boundary: int,
    ) -> None:
        self._localisation = localisation
        self._y, self._ends, self._boundary = y, ends, boundary
        self._size = x_a.size
        self._by_place: dict[tuple[float, float], Array] = {}
        if localisation.length_km is not None:
            missing = [
                f"{what} have no {name!r}"
                for what, vector, prefix in (("the states", x_a, "region_"), ("the observations", y, ""))
                for name in (f"{prefix}longitude", f"{prefix}latitude")
                if name not in vector.coords
            ]
            if missing:
                msg = f"Localisation by length_km needs coordinates, but {' and '.join(missing)}; assign them."
                raise InversionError(msg)
            self._states = np.radians([x_a["region_longitude"].values, x_a["region_latitude"].values]).astype(
                np.float64
            )
        if localisation.length_days is not None and (ends is None or "time" not in y.coords):
            msg = "Localisation by length_days needs periods that are dates, and the coordinate 'time' of y."
            raise InversionError(msg)

    def weights(self, observation: int) -> Array:
        """Return ρ of one observation on every unknown (m + p,)."""
        return np.concatenate([self._of_states(observation), np.ones(self._boundary)])

    def _of_states(self, observation: int) -> Array:
        weight: Array = np.ones(self._size)
        if self._localisation.length_km is not None:
            weight = weight * self._in_space(observation, self._localisation.length_km)
        if self._localisation.length_days is not None and self._ends is not None:
            days = (self._y["time"].values[observation] - self._ends) / np.timedelta64(1, "D")
            weight = weight * gaspari_cohn(np.maximum(days, 0.0), self._localisation.length_days)
        return weight

    def _in_space(self, observation: int, length: float) -> Array:
        place = (float(self._y["longitude"][observation]), float(self._y["latitude"][observation]))
        if place not in self._by_place:
            longitude, latitude = np.radians(place)
            inner = np.sin((self._states[1] - latitude) / 2) ** 2
            inner += np.cos(latitude) * np.cos(self._states[1]) * np.sin((self._states[0] - longitude) / 2) ** 2
            self._by_place[place] = gaspari_cohn(
                2.0 * EARTH_RADIUS * np.arcsin(np.sqrt(np.clip(inner, 0.0, 1.0))), length
            )
        return self._by_place[place]
