"""Receptors, and the air at them back in time, from datasets checked once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import xarray as xr

from inversion.covariance.operator import Array
from inversion.errors import FootprintError
from inversion.transport.dispersion import LATERAL_ANGLE, VERTICAL_ANGLE

_UNITS: Final = {
    "u": "m s-1",
    "v": "m s-1",
    "blh": "m",
    "rho": "kg m-3",
    "sigma_v": "m s-1",
    "sigma_w": "m s-1",
    "tau_v": "s",
    "tau_w": "s",
}
"""Units the meteorology must be in, where it states any."""
_REQUIRED: Final = ("u", "v", "blh", "rho")
_POSITIVE: Final = ("blh", "rho", "sigma_v", "sigma_w", "tau_v", "tau_w")
_SECOND: Final = np.timedelta64(1, "s")


@dataclass(frozen=True, slots=True)
class Receptors:
    """Where and when air is sampled; arrays (R,)."""

    time: np.ndarray
    longitude: Array
    latitude: Array
    height: Array
    site: np.ndarray | None

    @property
    def size(self) -> int:
        """R."""
        return self.time.size

    def take(self, part: slice) -> Receptors:
        """Return some of them."""
        site = None if self.site is None else self.site[part]
        return Receptors(self.time[part], self.longitude[part], self.latitude[part], self.height[part], site)


@dataclass(frozen=True, slots=True)
class Air:
    """The air at each receptor's time (arrays (R,)), and the series it came from.

    ``stamp`` (S, N) are the times of the series in seconds, ``east``, ``north``, ``depth`` (S, N) its winds and lids,
    and ``which`` (R,) is the receptor's series; ``moment`` (R,) is its time in the same seconds.
    """

    lid: Array
    rho: Array
    sigma_v: Array
    sigma_w: Array
    tau_v: Array | None
    tau_w: Array | None
    speed: Array
    moment: Array
    which: np.ndarray
    stamp: Array
    east: Array
    north: Array
    depth: Array

    def take(self, part: slice) -> Air:
        """Return that of some receptors."""
        names = ("lid", "rho", "sigma_v", "sigma_w", "speed", "moment", "which", *self._scales())
        return replace(self, **{name: getattr(self, name)[part] for name in names})

    def _scales(self) -> list[str]:
        return [name for name in ("tau_v", "tau_w") if getattr(self, name) is not None]

    def back(self, time: Array) -> tuple[Array, Array, Array]:
        """Return how far east and north the air was (R, K) [m], and the deepest layer since then [m].

        X(τ) = −∫ U dt over the travel, exact for winds linear between their times. The deepest layer on the way is the
        one the cloud is mixed through: air below a shallow lid may come from a deep one, and stays diluted.
        """
        east, north, lid = np.empty_like(time), np.empty_like(time), np.empty_like(time)
        for series in np.unique(self.which):
            rows = np.flatnonzero(self.which == series)
            then = self.moment[rows, None] - time[rows]
            for target, wind in ((east, self.east), (north, self.north)):
                here = _integral(self.stamp[series], wind[series], self.moment[rows, None])
                target[rows] = _integral(self.stamp[series], wind[series], then) - here
            lid[rows] = np.interp(then, self.stamp[series], self.depth[series])
            for row, moments in zip(rows, then, strict=True):
                deepest = _deepest_since(self.stamp[series], self.depth[series], moments, self.moment[row])
                np.maximum(lid[row], deepest, out=lid[row])
        return east, north, np.maximum(lid, self.lid[:, None])


def _deepest_since(stamp: Array, depth: Array, moments: Array, now: float) -> Array:
    """Return the largest depth at the stamps between each of some decreasing moments and now, 0 where there is none."""
    first, last = np.searchsorted(stamp, moments, side="left"), np.searchsorted(stamp, now, side="right")
    window = depth[first[-1] : last][::-1]
    deepest = np.concatenate([[0.0], np.maximum.accumulate(window)])
    return deepest[last - np.minimum(first, last)]


def _integral(stamp: Array, wind: Array, moment: Array) -> Array:
    """Return ∫ wind dt from the first stamp, wind linear between stamps and constant outside."""
    if stamp.size == 1:
        return wind[0] * (moment - stamp[0])
    total = np.concatenate([[0.0], np.cumsum(0.5 * (wind[1:] + wind[:-1]) * np.diff(stamp))])
    index = np.clip(np.searchsorted(stamp, moment, side="right") - 1, 0, stamp.size - 2)
    since = moment - stamp[index]
    slope = (wind[index + 1] - wind[index]) / (stamp[index + 1] - stamp[index])
    inside = total[index] + since * (wind[index] + 0.5 * slope * since)
    before, after = wind[0] * (moment - stamp[0]), total[-1] + wind[-1] * (moment - stamp[-1])
    return np.where(moment < stamp[0], before, np.where(moment > stamp[-1], after, inside))


def read_receptors(receptors: xr.Dataset) -> tuple[Receptors, list[str]]:
    """Return receptors and their faults, one sentence each.

    Parameters
    ----------
    receptors : xr.Dataset
        One dimension: ``time``, ``longitude``, ``latitude`` [degree], ``height`` [m above ground], ``site`` (optional).

    Returns
    -------
    Receptors, list of str
    """
    needed = ("time", "longitude", "latitude", "height")
    missing = [name for name in needed if name not in receptors.variables]
    if missing:
        raise FootprintError("The receptors", [f"Variables are missing: {', '.join(missing)}."])
    faults = []
    shapes = {receptors[name].dims for name in needed}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        raise FootprintError(
            "The receptors", [f"Their variables lie on {sorted(map(str, shapes))}, expected one dimension."]
        )
    place = {name: np.asarray(receptors[name].values, np.float64) for name in needed[1:]}
    for name, values in place.items():
        if not np.isfinite(values).all():
            faults.append(f"Receptor {int(np.flatnonzero(~np.isfinite(values))[0])} has no {name}.")
    low = np.flatnonzero(~(place["height"] > 0))
    if low.size:
        faults.append(f"Receptor {low[0]} is {place['height'][low[0]]} m above ground, expected above 0.")
    time = receptors["time"].values.astype("datetime64[ns]")
    if np.isnat(time).any():
        faults.append(f"Receptor {int(np.flatnonzero(np.isnat(time))[0])} has no time.")
    site = receptors["site"].values.astype(str) if "site" in receptors.variables else None
    if site is not None:
        site = np.broadcast_to(site, time.shape)
    return Receptors(time, place["longitude"], place["latitude"], place["height"], site), faults


def air_at(meteorology: xr.Dataset, points: Receptors, faults: list[str]) -> Air:
    """Return the air at receptors.

    Parameters
    ----------
    meteorology : xr.Dataset
        As `plume.footprints` takes it.
    points : Receptors
    faults : list of str
        Found so far; raised together with those found here.

    Returns
    -------
    Air

    Raises
    ------
    FootprintError
    """
    faults = [*faults, *_meteorology_faults(meteorology)]
    if faults:
        raise FootprintError("Receptors or meteorology", faults)
    fields = _fields(meteorology)
    values, stamp, which = _series(fields, points)
    moment = (points.time - points.time.min()) / _SECOND
    at = {name: _at(stamp, series, which, moment) for name, series in values.items()}
    return Air(
        lid=at["blh"],
        rho=at["rho"],
        sigma_v=at["sigma_v"],
        sigma_w=at["sigma_w"],
        tau_v=at.get("tau_v"),
        tau_w=at.get("tau_w"),
        speed=np.hypot(values["u"], values["v"]).max(axis=1)[which],
        moment=moment,
        which=which,
        stamp=stamp,
        east=values["u"],
        north=values["v"],
        depth=values["blh"],
    )


def _meteorology_faults(meteorology: xr.Dataset) -> list[str]:
    faults = [f"The meteorology has no {name!r}." for name in _REQUIRED if name not in meteorology.variables]
    turbulent = {"sigma_v", "sigma_w"} <= set(meteorology.variables)
    if not turbulent and "stability" not in meteorology.variables:
        faults.append("The meteorology has neither 'sigma_v' and 'sigma_w' nor 'stability'.")
    for name, expected in _UNITS.items():
        if name not in meteorology.variables:
            continue
        values, stated = meteorology[name].values, meteorology[name].attrs.get("units", expected)
        if stated not in (expected, expected.replace(" s-1", "/s")):
            faults.append(f"The meteorology's {name!r} is in {stated!r}, expected {expected!r}; convert it.")
        if not np.isfinite(values).all():
            faults.append(
                f"The meteorology's {name!r} has {int((~np.isfinite(values)).sum())} values that are not finite."
            )
        elif name in _POSITIVE and not (values > 0).all():
            faults.append(f"The meteorology's {name!r} goes down to {values.min()}, expected above 0.")
    if not turbulent and "stability" in meteorology.variables:
        strange = set(np.unique(meteorology["stability"].values.astype(str))) - set(LATERAL_ANGLE)
        if strange:
            faults.append(f"The stability classes {sorted(strange)} are not known, expected A to F.")
    return faults


def _fields(meteorology: xr.Dataset) -> xr.Dataset:
    """Return the numbers, with turbulence from the stability class where it is not given."""
    names = [name for name in _UNITS if name in meteorology.variables]
    fields = meteorology[names].astype(np.float64)
    if "sigma_v" in names and "sigma_w" in names:
        return fields
    speed = np.hypot(fields["u"], fields["v"])
    classes = meteorology["stability"].astype(str)
    for name, table in (("sigma_v", LATERAL_ANGLE), ("sigma_w", VERTICAL_ANGLE)):
        angle = xr.apply_ufunc(np.vectorize(table.__getitem__, otypes=[np.float64]), classes)
        fields[name] = speed * np.radians(angle)
    return fields


def _series(fields: xr.Dataset, points: Receptors) -> tuple[dict[str, Array], Array, np.ndarray]:
    """Return each field (S, N), the stamps (S, N) in seconds since the first receptor, and each receptor's series."""
    origin = points.time.min()
    dims = set(fields.dims)
    own = dims - {"time", "site"}
    if len(own) == 1 and len(dims) == 1:
        if next(iter(fields.sizes.values())) != points.size:
            raise FootprintError(
                "The meteorology", [f"It has {dict(fields.sizes)} entries for {points.size} receptors."]
            )
        values = {str(name): field.values[:, None] for name, field in fields.items()}
        return values, ((points.time - origin) / _SECOND)[:, None], np.arange(points.size)
    if own or "time" not in dims:
        raise FootprintError(
            "The meteorology", [f"It lies on {sorted(map(str, dims))}, expected time, or time and site, or receptors."]
        )
    fields = fields.sortby("time")
    time = fields["time"].values.astype("datetime64[ns]")
    if points.time.min() < time[0] or points.time.max() > time[-1]:
        span = f"{time[0].astype('datetime64[s]')} to {time[-1].astype('datetime64[s]')}"
        wrong = points.time[(points.time < time[0]) | (points.time > time[-1])][0].astype("datetime64[s]")
        raise FootprintError("The meteorology", [f"It covers {span}, but a receptor is at {wrong}."])
    stamp = (time - origin) / _SECOND
    if "site" not in dims:
        return {str(n): f.values[None] for n, f in fields.items()}, stamp[None], np.zeros(points.size, dtype=int)
    names = fields["site"].values.astype(str).tolist()
    sites = points.site if points.site is not None else np.full(points.size, "")
    unknown = sorted(set(sites.tolist()) - set(names))
    if unknown:
        raise FootprintError("The meteorology", [f"It has the sites {', '.join(names)}, but not {', '.join(unknown)}."])
    which = np.array([names.index(site) for site in sites.tolist()])
    full = zip(fields.data_vars, xr.broadcast(*fields.data_vars.values()), strict=True)
    values = {str(name): field.transpose("site", "time").values for name, field in full}
    return values, np.broadcast_to(stamp, (len(names), stamp.size)), which


def _at(stamp: Array, series: Array, which: np.ndarray, moment: Array) -> Array:
    result = np.empty(moment.size)
    for number in np.unique(which):
        rows = which == number
        result[rows] = np.interp(moment[rows], stamp[number], series[number])
    return result
