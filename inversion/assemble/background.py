"""Boundary terms: what the air holds before it meets the fluxes of the domain.

Every term is a mole fraction b in the units of the observations; y has Σ_k H_b,ik b_k of it.

`Baseline`   knots in time, straight lines between them, one set for all sites or one for each
`Curtain`    the sides of the domain by height and time, weighted by the footprints' `exit_share`
`Endpoints`  a field in three dimensions (CAMS, CarbonTracker) where the particles ended, and knots for its error
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np
import scipy.sparse
import xarray as xr

from inversion.assemble.observed import Stream
from inversion.covariance import BlockDiagonal, Covariance, Dense, Diagonal, Kronecker, temporal
from inversion.covariance.operator import Array
from inversion.errors import AssemblyError
from inversion.polygons import edges
from inversion.priors.field import sample
from inversion.transport.columns import background as column_background
from qc.units import TO_MOLE_FRACTION

HELD: Final = 1e-6
"""Relative σ of a term that is held where it is."""
_DAY: Final = 86400e9  # ns
_NEAR: Final = 5.0
"""A baseline within this factor of the lower observations is one."""
_LOW: Final = 0.1
_INSIDE: Final = "inside"


@dataclass(frozen=True, slots=True)
class Boundary:
    """Boundary terms of the observations of one gas.

    Attributes
    ----------
    H_b : scipy.sparse.csr_matrix (n, p)
    b_a : np.ndarray (p,)
        In the units of the observations.
    B_b : Covariance (p,)
    term : list of str
    note : str
        A sentence on where it comes from.
    """

    H_b: scipy.sparse.csr_matrix
    b_a: Array
    B_b: Covariance
    term: list[str]
    note: str

    def scaled(self, factor: float) -> Boundary:
        """Return the terms in other units: b and its σ times `factor`."""
        if factor == 1.0:
            return self
        B_b = Kronecker(Diagonal([factor**2]), self.B_b, name="B_b")
        return replace(self, b_a=self.b_a * factor, B_b=B_b)


class Background(Protocol):
    """What makes boundary terms."""

    def terms(self, streams: Sequence[Stream]) -> Boundary:
        """Return the terms for the observations of one gas, stream by stream, in one unit."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """A baseline that is a straight line between knots.

    Attributes
    ----------
    value : float or "data"
        Prior at every knot, in the units of the observations; "data": the lowest tenth of what was observed around it.
    sigma : float
        Its standard deviation.
    every_days : float, optional
        From knot to knot; without it one constant.
    per : str
        "common", or "site": knots for each.
    length_days : float, optional
        e-folding time of the knots' errors.
    """

    value: float | str
    sigma: float
    every_days: float | None = None
    per: str = "common"
    length_days: float | None = None

    def terms(self, streams: Sequence[Stream]) -> Boundary:
        """Return knots x sites."""
        if any(stream.kind == "column" for stream in streams):
            sentence = "Columns reach to the top of the air, where no baseline of the ground holds; give them a field."
            raise AssemblyError("The baseline", [sentence])
        time, site, y = (_joined(streams, name) for name in ("time", "site", "mole_fraction"))
        groups = dict.fromkeys(site.tolist()) if self.per == "site" else {"": None}
        columns, priors, errors, names = [], [], [], []
        for name in groups:
            rows = np.flatnonzero(site == name) if name else np.arange(site.size)
            knots = _knots(time, self.every_days)
            weights = _hats(time[rows], knots)
            columns.append(_spread(weights, rows, site.size))
            priors.append(self._prior(time[rows], y[rows], knots))
            errors.append(_in_time(knots, self.sigma, self.length_days))
            names += [f"baseline {name} {knot}".replace("  ", " ") for knot in knots.astype("datetime64[h]")]
        whence = "the lowest tenth of the observations themselves" if self.value == "data" else f"{self.value}"
        note = f"The prior of the baseline is {whence}, ± {self.sigma:g}."
        B_b = errors[0] if len(errors) == 1 else BlockDiagonal(errors, name="B_b")
        return Boundary(scipy.sparse.hstack(columns, format="csr"), np.concatenate(priors), B_b, names, note)

    def _prior(self, time: np.ndarray, y: Array, knots: np.ndarray) -> Array:
        if not isinstance(self.value, str):
            return np.full(knots.size, float(self.value))
        if self.value != "data":
            raise AssemblyError("The baseline", [f"Its value is {self.value!r}, expected a number or 'data'."])
        reach = np.timedelta64(round((self.every_days or 1e5) * _DAY), "ns")
        near = [y[np.abs(time - knot) <= reach] for knot in knots]
        return np.array([np.quantile(values if values.size else y, _LOW) for values in near])


@dataclass(frozen=True, slots=True)
class Curtain:
    """Mole fractions at the sides of the domain by height, and of the air that never left it.

    Attributes
    ----------
    value : float or xr.Dataset
        Prior, in the units of the observations; or a field (`priors.read_field`), of which the mean over each piece of
        the curtain is taken.
    sigma : float
    layers : tuple of float [m above ground]
        Edges by which the heights of `exit_share` are put together.
    every_days, length_days : float, optional
        Knots in time, by the time of the observation, and the e-folding time of their errors.
    correlation : float
        Of the errors of two pieces of the curtain.
    """

    value: float | xr.Dataset
    sigma: float
    layers: tuple[float, ...] = (0.0, 1000.0, 3000.0, 8000.0, 20_000.0)
    every_days: float | None = None
    length_days: float | None = None
    correlation: float = 0.5

    def terms(self, streams: Sequence[Stream]) -> Boundary:
        """Return (sides x layers + inside) x knots."""
        missing = [s.kind for s in streams if "exit_share" not in s.footprints.variables or s.kind == "column"]
        if missing:
            sentence = "Its footprints do not say where the air came in (`exit_share`); take a baseline or a field."
            raise AssemblyError(f"The curtain of {missing[0]} observations", [sentence])
        time = _joined(streams, "time")
        knots = _knots(time, self.every_days)
        sides = [str(side) for side in streams[0].footprints["side"].values]
        share = np.concatenate([self._shares(stream) for stream in streams])
        hats = _hats(time, knots)
        H_b = scipy.sparse.hstack([hats.multiply(share[:, [k]]) for k in range(share.shape[1])], format="csr")
        pieces = [(side, layer) for side in sides for layer in range(len(self.layers) - 1)]
        names = [f"{side} {self.layers[k]:g}-{self.layers[k + 1]:g} m" for side, k in pieces] + [_INSIDE]
        between = np.full((len(names), len(names)), self.correlation)
        np.fill_diagonal(between, 1.0)
        B_b = Kronecker(Dense(between), _in_time(knots, self.sigma, self.length_days), name="B_b")
        prior = self._prior(streams[0], pieces, knots)
        labels = [f"{name} {knot}" for name in names for knot in knots.astype("datetime64[h]")]
        return Boundary(H_b, prior.ravel(), B_b, labels, "The boundary is a curtain around the domain.")

    def _shares(self, stream: Stream) -> Array:
        """Return the share of the air by piece of the curtain, what stayed inside last."""
        ds = stream.footprints
        values = ds["exit_share"].transpose("receptor", "side", "exit_height").values
        layer = np.digitize(ds["exit_height"].values, self.layers) - 1
        layer = np.clip(layer, 0, len(self.layers) - 2)
        grouped = np.stack([values[:, :, layer == k].sum(axis=2) for k in range(len(self.layers) - 1)], axis=2)
        flat = grouped.reshape(len(values), -1)
        return np.column_stack([flat, np.clip(1.0 - flat.sum(axis=1), 0.0, 1.0)])

    def _prior(self, stream: Stream, pieces: list[tuple[str, int]], knots: np.ndarray) -> Array:
        if not isinstance(self.value, xr.Dataset):
            return np.full((len(pieces) + 1, knots.size), float(self.value))
        factor = TO_MOLE_FRACTION[stream.units]
        y, x = (stream.footprints[name].values.astype(np.float64) for name in ("latitude", "longitude"))
        south, north, west, east = *edges(y)[[0, -1]], *edges(x)[[0, -1]]
        line = {
            "west": (np.full(y.size, west), y), "east": (np.full(y.size, east), y),
            "south": (x, np.full(x.size, south)), "north": (x, np.full(x.size, north)),
        }  # fmt: skip
        middle = 0.5 * (np.array(self.layers[1:]) + np.array(self.layers[:-1]))
        means = [[self._mean(*line[side], middle[k], knot) for knot in knots] for side, k in pieces]
        lon, lat = (axis.ravel() for axis in np.meshgrid(x, y))
        means.append([self._mean(lon, lat, middle[0], knot) for knot in knots])
        return np.array(means) / factor

    def _mean(self, lon: Array, lat: Array, height: float, knot: np.datetime64) -> float:
        field = self.value
        assert isinstance(field, xr.Dataset)
        stamps = field["time"].values
        when = np.full(lon.size, np.clip(knot, stamps[0], stamps[-1]))
        return float(sample(field, lon, lat, np.full(lon.size, height), when).mean())


@dataclass(frozen=True, slots=True)
class Endpoints:
    """A field in three dimensions where the particles ended, with an error of its own.

    Attributes
    ----------
    field : xr.Dataset
        From `priors.read_field`.
    sigma : float
        Standard deviation of what the field is off by, in the units of the observations.
    every_days, per, length_days
        Of the knots that follow what it is off by; as `Baseline`.
    """

    field: xr.Dataset
    sigma: float
    every_days: float | None = None
    per: str = "common"
    length_days: float | None = None

    def terms(self, streams: Sequence[Stream]) -> Boundary:
        """Return the field as one term that is held, and what it is off by."""
        mean = np.concatenate([self._sampled(stream) for stream in streams])
        plain = [stream if stream.kind != "column" else _as_tower(stream) for stream in streams]
        off = Baseline(0.0, self.sigma, self.every_days, self.per, self.length_days).terms(plain)
        level = float(mean.mean())
        H_b = scipy.sparse.hstack([scipy.sparse.csr_matrix((mean / level)[:, None]), off.H_b], format="csr")
        held = Diagonal([(HELD * level) ** 2])
        names = ["field", *(name.replace("baseline", "field off by") for name in off.term)]
        note = f"The background is {self.field.attrs.get('source', 'a field')}, sampled where the air came from."
        return Boundary(H_b, np.append(level, off.b_a), BlockDiagonal([held, off.B_b], name="B_b"), names, note)

    def _sampled(self, stream: Stream) -> Array:
        factor = TO_MOLE_FRACTION[stream.units]
        ds = stream.footprints
        if stream.kind == "column":
            return _column(stream, self.field) / factor
        ends = ("end_longitude", "end_latitude", "end_height", "end_time")
        lost = [name for name in ends if name not in ds.variables]
        if lost:
            sentence = f"Its footprints have no {', '.join(lost)}: compute them with endpoints, or take a baseline."
            raise AssemblyError(f"The background of {stream.kind} observations", [sentence])
        longitude, latitude, height, time = (ds[name].values for name in ends)
        values = sample(self.field, longitude, latitude, height, time)
        return values.reshape(ds["end_longitude"].shape).mean(axis=1) / factor


def _column(stream: Stream, field: xr.Dataset) -> Array:
    """Return Σ w (1 − A) x_a + Σ w A b of columns, b the field above the place of the column [mol mol-1]."""
    ds = stream.columns
    if ds is None:
        raise AssemblyError(
            "The background of columns", ["Their operators are not there; give the stream its columns."]
        )
    shape = ds["height"].shape
    place = [np.broadcast_to(ds[name].values[:, None], shape) for name in ("longitude", "latitude")]
    when = np.broadcast_to(ds["time"].values[:, None], shape)
    profile = sample(field, place[0], place[1], ds["height"].values, when).reshape(shape)
    b = xr.DataArray(profile, dims=("obs", "level"), attrs={"units": "mol mol-1"})
    return np.asarray(column_background(ds.drop_vars(["obs", "level"], errors="ignore"), b).values)


def _as_tower(stream: Stream) -> Stream:
    return Stream(stream.gas, "in situ", stream.observations, stream.footprints, stream.error)


def impossible(y: Array, baseline: Array, units: str, gas: str) -> str | None:
    """Return why a prior baseline cannot be, None where it can.

    Parameters
    ----------
    y, baseline : array (n,)
        Observations and H_b b_a, in `units`.
    units, gas : str

    Returns
    -------
    str or None
    """
    middle, low = float(np.median(baseline)), float(np.quantile(y, _LOW))
    if np.isfinite(middle) and middle > 0 and 1 / _NEAR < low / middle < _NEAR:
        return None
    hint = "give it in the units of the observations"
    for name, factor in TO_MOLE_FRACTION.items():
        scale = factor / TO_MOLE_FRACTION[units]
        if name != units and middle > 0 and 1 / _NEAR < low / (middle * scale) < _NEAR:
            hint = f"it looks like {name}: convert it"
    return (
        f"The prior background of {gas} is {middle:.4g} {units} while a tenth of the observations lies below "
        f"{low:.4g}: no air like that comes in; {hint}."
    )


def _joined(streams: Sequence[Stream], name: str) -> np.ndarray:
    values = np.concatenate([stream.observations[name].values for stream in streams])
    return values.astype(str) if name == "site" else values


def _knots(time: np.ndarray, every_days: float | None) -> np.ndarray:
    first, last = time.min().astype("datetime64[D]").astype("datetime64[ns]"), time.max().astype("datetime64[ns]")
    if every_days is None:
        return np.array([first])
    step = np.timedelta64(round(every_days * _DAY), "ns")
    return first + np.arange(int(np.ceil((last - first) / step)) + 1) * step


def _hats(time: np.ndarray, knots: np.ndarray) -> scipy.sparse.csr_matrix:
    """Return the weights (n, knots) of straight lines between knots."""
    n = time.size
    if knots.size == 1:
        return scipy.sparse.csr_matrix(np.ones((n, 1)))
    at = (time - knots[0]) / (knots[1] - knots[0])
    k = np.clip(at.astype(int), 0, knots.size - 2)
    share = at - k
    rows = np.tile(np.arange(n), 2)
    entries = (np.concatenate([1.0 - share, share]), (rows, np.concatenate([k, k + 1])))
    return scipy.sparse.csr_matrix(entries, shape=(n, knots.size))


def _spread(weights: scipy.sparse.csr_matrix, rows: np.ndarray, n: int) -> scipy.sparse.csr_matrix:
    place = scipy.sparse.csr_matrix((np.ones(rows.size), (rows, np.arange(rows.size))), shape=(n, rows.size))
    return scipy.sparse.csr_matrix(place @ weights)


def _in_time(knots: np.ndarray, sigma: float, length_days: float | None) -> Covariance:
    if length_days is None or knots.size == 1:
        return Diagonal(np.full(knots.size, sigma**2), name="B_b")
    return temporal(knots, sigma=sigma, length_days=length_days, name="B_b")


def held(names: Sequence[str], signals: Array) -> Boundary:
    """Return known signals (n, p), each as one term that is held: its mean size, in the units of the observations."""
    size = np.abs(signals).mean(axis=0)
    size = np.where(size > 0, size, 1.0)
    return Boundary(scipy.sparse.csr_matrix(signals / size), size, Diagonal((HELD * size) ** 2), list(names), "")
