"""Meteorology with errors in it: winds turned and scaled, boundary layers too deep or too shallow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from inversion.covariance.operator import Array
from inversion.twins.nature import TwinError


@dataclass(frozen=True, slots=True)
class WeatherError:
    """How wrong winds and boundary layers are; each field has its own error at every site.

    Parameters
    ----------
    direction : float [degree]
        σ of the direction of the wind.
    speed, layer : float
        σ of the logarithms of wind speed and of the height of the boundary layer, "1".
    hours : float [h]
        e-folding time of the part that changes.
    lasting : float
        Share of the variance that does not change with time, 0 to 1.
    layer_factor : float
        What the height of every boundary layer is multiplied by besides.

    Notes
    -----
    The defaults are of the order that comparisons of analyses with radiosondes found (Lin and Gerbig 2005, GRL 32,
    L01802, for winds; Gerbig et al. 2008, ACP 8, 591, for the layer); a study should state its own.
    """

    direction: float = 20.0
    speed: float = 0.15
    layer: float = 0.35
    hours: float = 12.0
    lasting: float = 0.3
    layer_factor: float = 1.0

    def __post_init__(self) -> None:
        faults = [
            f"{name} is {getattr(self, name)}, expected 0 or more."
            for name in ("direction", "speed", "layer")
            if not getattr(self, name) >= 0
        ]
        if not (self.hours > 0 and self.layer_factor > 0):
            faults.append(f"hours ({self.hours}) and layer_factor ({self.layer_factor}) must be above 0.")
        if not 0 <= self.lasting <= 1:
            faults.append(f"lasting is {self.lasting}, expected a share from 0 to 1.")
        if faults:
            raise TwinError("The errors of the weather", faults)


def perturbed(meteorology: xr.Dataset, rng: np.random.Generator, error: WeatherError | None = None) -> xr.Dataset:
    """Return a meteorology with errors, for the truth of a twin experiment.

    (u, v) turned by δ and multiplied by exp(s), blh by exp(l): δ, s, l Gaussian, a lasting part and one with the
    autocorrelation exp(−|Δt| / hours) (first-order autoregressive, exact for uneven times).

    Parameters
    ----------
    meteorology : xr.Dataset
        With ``u``, ``v``, ``blh`` over ``time``, and ``site`` where every site has its own; errors are the same along
        all other dimensions.
    rng : numpy.random.Generator
    error : WeatherError, optional

    Returns
    -------
    xr.Dataset
        A new one; everything else in it as it was.

    Raises
    ------
    TwinError
        Where a field or the time is missing.
    """
    wrong = error or WeatherError()
    missing = [name for name in ("u", "v", "blh", "time") if name not in meteorology.variables]
    if missing:
        raise TwinError("The meteorology", [f"{', '.join(missing)} missing: nothing to put an error into."])
    turn = np.radians(wrong.direction) * _noise(meteorology["u"], rng, wrong)
    scale = np.exp(wrong.speed * _noise(meteorology["u"], rng, wrong))
    depth = wrong.layer_factor * np.exp(wrong.layer * _noise(meteorology["blh"], rng, wrong))
    u, v = meteorology["u"], meteorology["v"]
    fields = {
        "u": scale * (u * np.cos(turn) - v * np.sin(turn)),
        "v": scale * (u * np.sin(turn) + v * np.cos(turn)),
        "blh": depth * meteorology["blh"],
    }
    kept = {
        name: f.transpose(*meteorology[name].dims).assign_attrs(meteorology[name].attrs) for name, f in fields.items()
    }
    return meteorology.assign(kept)


def _noise(field: xr.DataArray, rng: np.random.Generator, error: WeatherError) -> xr.DataArray:
    """Return unit Gaussian noise over the field's time and site."""
    dims = [dim for dim in ("time", "site") if dim in field.dims]
    shape = [field.sizes[dim] for dim in dims]
    lasting = rng.standard_normal(shape[1:] if dims[0] == "time" else shape)
    passing = _series(field["time"].values, error.hours, rng.standard_normal(shape))
    return xr.DataArray(np.sqrt(error.lasting) * lasting + np.sqrt(1.0 - error.lasting) * passing, dims=dims)


def _series(time: np.ndarray, hours: float, noise: Array) -> Array:
    """Turn white noise into an autoregressive series along the first axis."""
    apart = np.diff(time) / np.timedelta64(1, "s") / 3600.0 if time.dtype.kind == "M" else np.diff(time)
    series = noise.copy()
    for i, kept in enumerate(np.exp(-apart / hours), start=1):
        series[i] = kept * series[i - 1] + np.sqrt(1.0 - kept**2) * noise[i]
    return series
