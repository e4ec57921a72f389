"""What one more station would add: degrees of freedom and σ of provinces, before it is built; and which ones to build.

With an inversion's Ŝ, rows H_c with errors R_c more give (the update of a Kalman filter)

    Ŝ' = Ŝ − P C⁻¹ Pᵀ,   P = Ŝ H_cᵀ,   C = H_c Ŝ H_cᵀ + R_c
    DOFS' = tr(I − Ŝ' B⁻¹) = DOFS + tr(C⁻¹ Pᵀ Q),   Q = B⁻¹ P

P and Q come from the factorisation there is: Ŝ V = B q, q = V − Hᵀ S⁻¹ H B V. Nothing of the size of the state
squared is formed, and no observed value is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
import xarray as xr

from inversion.covariance import Covariance
from inversion.covariance.operator import Array
from inversion.findings import Finding, Grade, as_text
from inversion.jacobian import Beside, as_jacobian
from inversion.posterior import Posterior
from inversion.problem import Problem
from inversion.resolution import aggregate_names
from inversion.solve import batch
from inversion.twins.nature import TwinError

DOFS = "dofs"
"""Criterion: degrees of freedom of the fluxes."""
_LITTLE = 0.05
"""Share of a σ below which a station says next to nothing about a total."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A station that might be built.

    Parameters
    ----------
    name : str
    H : array, sparse or Dask matrix (k, m)
        What its k observations would see, in the units of the problem.
    R : Covariance (k, k)
        Their errors, not correlated with those of other stations.
    H_b : matrix (k, p), optional
        Sensitivities to the boundary terms; needed where the problem has any.
    longitude, latitude : float, optional
        Carried into the result.
    """

    name: str
    H: Any
    R: Covariance
    H_b: Any = None
    longitude: float = float("nan")
    latitude: float = float("nan")


class _Gain(NamedTuple):
    """What a candidate takes from Ŝ: P C⁻¹ Pᵀ = U Uᵀ."""

    U: Array
    """P L⁻ᵀ (m + p, k) with C = L Lᵀ."""
    T: Array
    """Q L⁻ᵀ (m + p, k)."""

    def dofs(self, n_state: int) -> float:
        """Return what it adds to the degrees of freedom of the fluxes."""
        return float(np.vdot(self.U[:n_state], self.T[:n_state]))

    def variance(self, W: Array) -> Array:
        """Return what it takes from the variances of W x, W (k, m)."""
        taken = W @ self.U[: W.shape[1]]
        return np.einsum("ij,ij->i", taken, taken)


class _Network:
    """Ŝ of a posterior and of the candidates taken so far."""

    def __init__(self, posterior: Posterior) -> None:
        self._joint, self._solution = posterior.solution.joint, posterior.solution
        self._taken: list[_Gain] = []

    def gain(self, candidate: Candidate) -> _Gain:
        """Return what a candidate would take now."""
        H = as_jacobian(candidate.H)
        seen = H if candidate.H_b is None else Beside(H, as_jacobian(candidate.H_b))
        V = np.ascontiguousarray(seen.rows(slice(0, candidate.R.size)).T)
        Q = V - self._solution.kernel(V)
        P = self._joint.B.matvec(Q)
        for gain in self._taken:
            common = gain.U.T @ V
            P = P - gain.U @ common
            Q = Q - gain.T @ common
        C = V.T @ P
        C = 0.5 * (C + C.T)
        candidate.R.add_to(C)
        lower = scipy.linalg.cholesky(C, lower=True, check_finite=False)
        U, T = (scipy.linalg.solve_triangular(lower, X.T, lower=True, check_finite=False).T for X in (P, Q))
        return _Gain(U, T)

    def take(self, gain: _Gain) -> None:
        """Add a candidate to the network; its gain must be that of now."""
        self._taken.append(gain)


def design(
    network: Problem | Posterior,
    candidates: Sequence[Candidate],
    aggregate: xr.DataArray,
    *,
    by: str = DOFS,
    pick: int = 1,
) -> xr.Dataset:
    """Return what each candidate would add to a network, ranked, and the best few of them one after the other.

    Parameters
    ----------
    network : Problem or Posterior
        What there is; its observed values are not used.
    candidates : sequence of Candidate
        With different names.
    aggregate : xr.DataArray (name, state)
        W: provinces.
    by : str
        What is wanted: "dofs", or the label of an aggregate whose σ is to become small.
    pick : int
        How many stations to choose, each the best beside those already chosen (greedy; another set
        of as many may be better together).

    Returns
    -------
    xr.Dataset
        On ``candidate``, W's dimension and ``step``: ``dofs`` (now), ``dofs_with`` (candidate); ``prior_stdev``,
        ``stdev`` (now), ``stdev_with`` (candidate, name), in the units of W x; ``rank`` (candidate), 1 the best;
        ``chosen`` (step), ``chosen_dofs`` (step), ``chosen_stdev`` (step, name), all those before included.
        ``longitude``, ``latitude`` (candidate). Attributes ``by`` and ``findings`` as JSON.

    Raises
    ------
    TwinError
        Where candidates do not fit the problem, or `by` or `pick` cannot be.
    """
    posterior = network if isinstance(network, Posterior) else batch(network)
    totals = posterior.prior_total(aggregate)
    names = aggregate_names(totals)
    _check(posterior.problem, candidates, names, by, pick)
    W = np.asarray(aggregate.transpose(..., "state").values, dtype=np.float64)
    traces = posterior.fixed.traces
    dofs, variance = traces.total - traces.boundary, posterior.stdev(aggregate).values ** 2
    m = posterior.problem.n_state

    def value(gain: _Gain) -> float:
        return gain.dofs(m) if by == DOFS else float(gain.variance(W)[names.index(by)])

    first, chosen = _greedy(_Network(posterior), candidates, value, pick)
    steps = np.cumsum([[gain.dofs(m), *(-gain.variance(W))] for _, gain in chosen], axis=0)
    order = sorted(range(len(first)), key=lambda i: -value(first[i]))
    result = _dataset(totals, posterior.prior_stdev(aggregate), dofs, variance, candidates)
    dim = totals.dims[0]
    result = result.assign(
        dofs_with=("candidate", [dofs + first[i].dofs(m) for i in range(len(candidates))], {"units": "1"}),
        stdev_with=(("candidate", dim), np.sqrt([variance - first[i].variance(W) for i in range(len(candidates))])),
        rank=("candidate", [order.index(i) + 1 for i in range(len(candidates))]),
        chosen=("step", [name for name, _ in chosen]),
        chosen_dofs=("step", dofs + steps[:, 0], {"units": "1"}),
        chosen_stdev=(("step", dim), np.sqrt(variance + steps[:, 1:])),
    )
    return result.assign_attrs(by=by, findings=as_text(judge_design(result.assign_attrs(by=by))))


def _greedy(
    network: _Network, candidates: Sequence[Candidate], value: Callable[[_Gain], float], pick: int
) -> tuple[list[_Gain], list[tuple[str, _Gain]]]:
    """Return what each candidate adds alone, and the best ones one after the other with what each added."""
    first = [network.gain(candidate) for candidate in candidates]
    gains, chosen = dict(enumerate(first)), []
    while True:
        best = max(gains, key=lambda i: value(gains[i]))
        chosen.append((candidates[best].name, gains[best]))
        if len(chosen) == pick:
            return first, chosen
        network.take(gains.pop(best))
        gains = {i: network.gain(candidates[i]) for i in gains}


def _dataset(
    totals: xr.DataArray, prior: xr.DataArray, dofs: float, variance: Array, candidates: Sequence[Candidate]
) -> xr.Dataset:
    unit = {"units": totals.attrs["units"]}
    return xr.Dataset(
        {
            "dofs": ((), dofs, {"units": "1"}),
            "prior_stdev": prior.assign_attrs(unit),
            "stdev": (totals.dims[0], np.sqrt(variance), unit),
        },
        coords={
            **totals.coords,
            "candidate": [candidate.name for candidate in candidates],
            "longitude": ("candidate", [float(c.longitude) for c in candidates], {"units": "degrees_east"}),
            "latitude": ("candidate", [float(c.latitude) for c in candidates], {"units": "degrees_north"}),
        },
        attrs={"units": totals.attrs["units"]},
    )


def _check(problem: Problem, candidates: Sequence[Candidate], names: list[str], by: str, pick: int) -> None:
    faults = []
    if not 1 <= pick <= len(candidates):
        faults.append(f"pick is {pick}, expected 1 to the number of candidates, {len(candidates)}.")
    if by not in (DOFS, *names):
        faults.append(f"by is {by!r}, expected 'dofs' or one of {', '.join(names)}.")
    if len({c.name for c in candidates}) < len(candidates):
        faults.append("Two candidates have the same name: number them.")
    for candidate in candidates:
        size = candidate.R.size
        wanted = (("H", candidate.H, problem.n_state), ("H_b", candidate.H_b, problem.n_boundary))
        for label, given, columns in wanted:
            shape = (size, 0) if given is None else as_jacobian(given).shape
            if shape != (size, columns):
                faults.append(f"{candidate.name}: {label} has shape {shape}, expected {(size, columns)}.")
    if faults:
        raise TwinError("The design", faults)


def judge_design(result: xr.Dataset) -> tuple[Finding, ...]:
    """Return what a design says, in sentences.

    Parameters
    ----------
    result : xr.Dataset
        From `design`.

    Returns
    -------
    tuple of Finding
        ``design_best``; ``design_little`` (warn) where even the best takes less than 5 % off the σ that was to shrink.
    """
    by = result.attrs["by"]
    best = result.isel(candidate=int(np.argmin(result["rank"].values)))
    names = aggregate_names(result["stdev"])
    before, after = result["stdev"].values, best["stdev_with"].values
    most = _narrowed(before, after, names, by)
    place, unit = str(best["candidate"].item()), result.attrs["units"]
    dofs, less = float(result["dofs"]), _less(before, after)[most]
    chosen = [str(name) for name in result["chosen"].values]
    several = ""
    if len(chosen) > 1:
        several = (
            f" The best {len(chosen)} one after the other: {', '.join(chosen)}; together they make "
            f"{result['chosen_dofs'].values[-1]:.1f} degrees of freedom and σ of {names[most]} "
            f"{result['chosen_stdev'].values[-1, most]:.3g} {unit}."
        )
    found = [
        Finding(
            Grade.INFORM,
            "design_best",
            f"Of {result.sizes['candidate']} candidates {place} adds most to "
            f"{'the degrees of freedom' if by == DOFS else by}: {float(best['dofs_with']) - dofs:.2f} degrees of "
            f"freedom to {dofs:.1f}, and σ of {names[most]} from {before[most]:.3g} to {after[most]:.3g} {unit} "
            f"({less:.0%} less).{several}",
        )
    ]
    if less < _LITTLE:
        found.insert(
            0,
            Finding(
                Grade.WARN,
                "design_little",
                f"Even the best candidate, {place}, takes only {less:.1%} off σ of "
                f"{names[most]}: look for places upwind or downwind of what it emits.",
            ),
        )
    return tuple(found)


def _less(before: Array, after: Array) -> Array:
    """Return which part a station takes off each σ; 0 of a total that is known without it."""
    return 1.0 - np.divide(after, before, out=np.ones_like(after), where=before > 0)


def _narrowed(before: Array, after: Array, names: list[str], by: str) -> int:
    """Return the total that is asked for, or of all the one that a station narrows most."""
    return int(np.argmax(_less(before, after))) if by == DOFS else names.index(by)


def design_lines(result: xr.Dataset) -> list[str]:
    """Return a design in lines of text, for a terminal.

    Parameters
    ----------
    result : xr.Dataset
        From `design`.

    Returns
    -------
    list of str
        Candidates by rank: degrees of freedom with each, and σ of the total it narrows most, or of that asked for.
    """
    by, names = result.attrs["by"], aggregate_names(result["stdev"])
    before = result["stdev"].values
    width = max(len("candidate"), *(len(str(name)) for name in result["candidate"].values))
    lines = [f"  {'rank':>4}  {'candidate':{width}}  {'DOFS':>7}  σ of a total, {result.attrs['units']}"]
    for i in np.argsort(result["rank"].values):
        one = result.isel(candidate=int(i))
        after = one["stdev_with"].values
        k = _narrowed(before, after, names, by)
        lines.append(
            f"  {int(one['rank']):4d}  {one['candidate'].item()!s:{width}}  {float(one['dofs_with']):7.2f}  "
            f"{names[k]}: {before[k]:.4g} to {after[k]:.4g} ({_less(before, after)[k]:.1%} less)"
        )
    now = f"now: {float(result['dofs']):.2f} degrees of freedom"
    return [now, *lines, *(f"  {finding}" for finding in judge_design(result))]


def places(fractions: xr.Dataset, region: str, count: int) -> list[tuple[float, float]]:
    """Return places spread evenly over a region, for candidates.

    The cell nearest to the middle of the region's area first, then the cell furthest from those chosen.

    Parameters
    ----------
    fractions : xr.Dataset
        From `regions.fractions`.
    region : str
        A code of its ``country``.
    count : int

    Returns
    -------
    list of (longitude, latitude) [degree]
        Fewer than `count` where the region has fewer cells (of which a half or more lies in it).

    Raises
    ------
    TwinError
        Where the region is not in `fractions`, or has no such cell.
    """
    codes = fractions["country"].values.astype(str)
    if region not in codes:
        raise TwinError("The places", [f"{region!r} is not among the regions of the grid: {', '.join(codes)}."])
    inside = np.argwhere(fractions["country_fraction"].values[list(codes).index(region)] >= 0.5)
    if not inside.size:
        raise TwinError("The places", [f"No cell of the grid lies in {region} by half or more: use a finer grid."])
    latitude, longitude = fractions["latitude"].values[inside[:, 0]], fractions["longitude"].values[inside[:, 1]]
    east = longitude * np.cos(np.radians(latitude.mean()))
    points = np.stack([east, latitude], axis=1)
    picked = [int(np.argmin(np.linalg.norm(points - points.mean(axis=0), axis=1)))]
    while len(picked) < min(count, len(points)):
        apart = np.linalg.norm(points[:, None] - points[picked], axis=2).min(axis=1)
        picked.append(int(np.argmax(apart)))
    return [(float(longitude[i]), float(latitude[i])) for i in picked]


def survey(
    fractions: xr.Dataset,
    region: str,
    count: int,
    observe: Callable[[float, float], tuple[Any, Covariance, Any]],
) -> list[Candidate]:
    """Return candidates spread over a region, to ask what one more station there would add.

    Parameters
    ----------
    fractions : xr.Dataset
        From `regions.fractions`.
    region : str
        A code of its ``country``.
    count : int
        How many places, as `places` spreads them.
    observe : function (longitude, latitude) -> (H, R, H_b)
        What a station at a place would see, from footprints of whatever transport; H_b None without boundary terms.

    Returns
    -------
    list of Candidate
        Named "CN-LN 1", "CN-LN 2", ...
    """
    made = []
    for i, (longitude, latitude) in enumerate(places(fractions, region, count), start=1):
        H, R, H_b = observe(longitude, latitude)
        made.append(Candidate(f"{region} {i}", H, R, H_b, longitude, latitude))
    return made
