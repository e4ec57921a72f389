"""Fixed-lag ensemble square-root smoother: a rolling inversion, window after window, for near real time.

z = [x; b] = z_a + L ξ with B = L Lᵀ, ξ ~ N(0, I). Where the states of a period depend on ξ of that period and of
earlier ones only, a new period joins as z_k = z_a,k + L_k,old ξ_old + L_kk ξ_k with ξ_k fresh: what was learnt before
reaches it through B's correlation in time, and what comes later does not touch what was done. The observations of a
period, whitened by R, then correct it and the `lag` − 1 periods before it:

    D = X Yᵀ / (N − 1), S = Y Yᵀ / (N − 1) + I = C Cᵀ, Y = H X,
    mean += D S⁻¹ (y − H mean),    X −= D C⁻ᵀ (C + I)⁻¹ Y

(Andrews 1968, AIAA J. 6, 1165; for one observation that of Whitaker and Hamill 2002, MWR 130, 1913, Eq 13). Members
are not perturbed by random observations. With one member more than unknowns within the lag the draws are made
orthogonal, and the covariance of the ensemble is exactly that of the filter.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import scipy.linalg
import xarray as xr

from inversion.covariance import Covariance, Diagonal
from inversion.covariance.operator import Array, Factor
from inversion.diagnostics import judge
from inversion.errors import InversionError
from inversion.findings import Finding, Grade
from inversion.posterior import Posterior
from inversion.problem import Joint, Problem
from inversion.solve.localisation import Localisation, Reach
from inversion.solve.members import MemberSolution

_BLOCK: Final = 256
"""Whitened observations taken at a time without localisation; the result does not depend on it."""
_ROWS: Final = 1024
_CAUSAL: Final = 1e-10
"""Largest part of an earlier state that may come from a later period's ξ, for rounding."""


class EnsemblePosterior(Posterior):
    """Posterior from an ensemble: the interface of `Posterior`, covariances with the sampling error of N members.

    Attributes
    ----------
    track : Track
        What a later run needs in order to go on (`ensemble(..., after=posterior)`).
    """

    solution: MemberSolution

    def __init__(self, problem: Problem, solution: MemberSolution, track: Track) -> None:
        super().__init__(problem, solution)
        self.track = track

    @functools.cached_property
    def findings(self) -> tuple[Finding, ...]:
        """What the result says about itself, the worst first."""
        found = (*judge(self), *self.solution.findings())
        return tuple(sorted(found, key=lambda finding: list(Grade).index(finding.grade)))

    def sampling_error(self, aggregate: Any = None) -> xr.DataArray:
        """Return the standard error of `stdev(aggregate)` for having N members, at most σ / √(2 (N − 1)).

        That is what N independent draws have; what observations determine is known better. 0 where exact.
        """
        stdev = self.stdev(aggregate)
        share = 0.0 if self.track.exact else 1.0 / np.sqrt(2.0 * (self.solution.members - 1.0))
        return stdev.copy(data=share * stdev.values)

    def _attributes(self) -> dict[str, Any]:
        return super()._attributes() | {"members": self.solution.members, "lag": self.track.lag}


@dataclass(frozen=True, eq=False)
class Track:
    """Where a smoother stands.

    Attributes
    ----------
    periods : tuple
        Labels of the periods done, from the first of all runs.
    chi2 : mapping of period to float
        What the observations of each added to χ².
    seed, lag : int
    exact : bool
        Whether the draws were orthogonal throughout and nothing was localised.
    """

    periods: tuple[Any, ...]
    chi2: Mapping[Any, float]
    seed: int
    lag: int
    exact: bool


def ensemble(
    problem: Problem,
    *,
    members: int = 150,
    lag: int = 5,
    localisation: Localisation | None = None,
    seed: int = 0,
    after: EnsemblePosterior | None = None,
) -> EnsemblePosterior:
    """Return the posterior by a fixed-lag ensemble square-root smoother, period by period.

    Parameters
    ----------
    problem : Problem
        x_a with the coordinate ``period`` along ``state``: starts of periods, or start/end, or numbers that increase; y
        with ``time``, or with ``window``, the label of its period, where those are numbers. The order of states is free
        as long as their factor of B is causal: Kronecker with exponential time is, a dense B has to be ordered by
        period. Boundary terms with a coordinate ``period`` of the same kind come and go likewise, others stay.
    members : int
        N; with N above the number of unknowns within the lag the result is exact.
    lag : int
        Number of periods an observation corrects: its own and the lag − 1 before; from as many as there are on, nothing
        is cut.
    localisation : Localisation, optional
        Takes observations one by one, weighted by distance.
    seed : int
        Same seed, same members; those of a period do not depend on what comes later.
    after : EnsemblePosterior, optional
        Go on from an earlier run: periods done there are not done again, and their observations not used again (they
        may stay in `problem`, which they must where R ties them to later ones). A period is done once, whole.

    Returns
    -------
    EnsemblePosterior

    Raises
    ------
    InversionError
        Without periods, with too few members, a B that is not causal, or an `after` that is of other states.

    Examples
    --------
    >>> from inversion.covariance import Diagonal
    >>> x_a = xr.DataArray([1.0, 1.0], dims="state", coords={"period": ("state", [0, 1])})
    >>> y = xr.DataArray([3.0, 2.0], dims="obs", coords={"window": ("obs", [0, 1])})
    >>> problem = Problem(y=y, H=np.eye(2), R=Diagonal([1.0, 1.0]), x_a=x_a, B=Diagonal([1.0, 1.0]),
    ...                   y_units="nmol mol-1", x_units="1")
    >>> ensemble(problem, members=3).mean.values.round(6)
    array([2. , 1.5])
    """
    if members < 3 or lag < 1:
        msg = f"members is {members} and lag {lag}, expected three or more and one or more."
        raise InversionError(msg)
    calendar = _calendar(problem)
    joint = problem.joint()
    _check_causal(joint.B.sqrt(), calendar)
    smoother = _Smoother(problem, joint, calendar, members=members, lag=lag, seed=seed, localisation=localisation)
    if after is not None:
        smoother.go_on(after)
    for window in smoother.windows():
        smoother.open(window)
        smoother.assimilate(window)
    return smoother.posterior()


class _Calendar(NamedTuple):
    """Periods of the unknowns and windows of the observations, as numbers from 0."""

    labels: np.ndarray
    of_unknown: np.ndarray
    """(m + p,); −1 for boundary terms that stay throughout."""
    of_obs: np.ndarray

    @property
    def dates(self) -> bool:
        return self.labels.dtype.kind == "M"


def _calendar(problem: Problem) -> _Calendar:
    x_a, y = problem.x_a, problem.y
    if "period" not in x_a.coords:
        msg = "An ensemble goes from period to period: give x_a the coordinate 'period' along 'state'."
        raise InversionError(msg)
    labels, of_state = np.unique(_dated(x_a["period"].values), return_inverse=True)
    boundary = np.full(problem.n_boundary, -1)
    if problem.b_a is not None and "period" in problem.b_a.coords:
        own = _dated(problem.b_a["period"].values)
        if own.dtype.kind == labels.dtype.kind and np.isin(own, labels).all():
            boundary = np.searchsorted(labels, own)
    if "window" in y.coords:
        wanted = _dated(y["window"].values)
        of_obs = np.searchsorted(labels, wanted)
        fits = bool(np.isin(wanted, labels).all())
    else:
        fits = labels.dtype.kind == "M" and "time" in y.coords
        of_obs = (
            np.clip(np.searchsorted(labels, y["time"].values, "right") - 1, 0, labels.size - 1) if fits else of_state
        )
    if not fits:
        msg = (
            f"The periods of the states run from {labels[0]} to {labels[-1]}, but the observations do not say in which "
            "they fall: give y the coordinate 'time' (where periods are dates) or 'window' (the label of a period)."
        )
        raise InversionError(msg)
    return _Calendar(labels, np.concatenate([of_state, boundary]), of_obs)


def _dated(labels: np.ndarray) -> np.ndarray:
    """Return when each period starts, where its label is an interval of ISO 8601, start/end; else the labels."""
    if labels.dtype.kind != "U":
        return labels
    parts = [str(label).split("/") for label in labels]
    try:
        return np.array([start for start, _ in parts], dtype="datetime64[ns]")
    except ValueError:
        return labels


def _check_causal(factor: Factor, calendar: _Calendar) -> None:
    """Ask that ξ of a period and later ones leaves earlier states alone."""
    draw = np.random.default_rng(0).standard_normal(calendar.of_unknown.size)
    for number in range(1, calendar.labels.size):
        early = calendar.of_unknown < number
        image = factor.matvec(np.where(early, 0.0, draw))
        if np.abs(image[early]).max(initial=0.0) > _CAUSAL * np.abs(image).max(initial=1e-300):
            msg = (
                f"B ties states of before {calendar.labels[number]} to draws of later periods: order the states by "
                "period, or give B as a Kronecker product with the periods in order."
            )
            raise InversionError(msg)


class _Smoother:
    def __init__(
        self,
        problem: Problem,
        joint: Joint,
        calendar: _Calendar,
        *,
        members: int,
        lag: int,
        seed: int,
        localisation: Localisation | None,
    ) -> None:
        self._problem, self._joint, self._calendar = problem, joint, calendar
        self._lag, self._seed, self._members = lag, seed, members
        self._factor = joint.B.sqrt()
        size = joint.B.size
        self._mean = np.zeros(size)
        self._X = np.zeros((size, members))
        self._there = np.zeros(size, dtype=bool)
        self._rows = _WhitenedRows(joint, problem.R, calendar.of_obs)
        self._reach = (
            None
            if localisation is None
            else Reach(localisation, problem.y, problem.x_a, self._ends(), problem.n_boundary)
        )
        self._before: tuple[Any, ...] = ()
        self._chi2: dict[Any, float] = {}
        self._exact = localisation is None
        self._cut = 0.0
        self._whole = 0.0

    def windows(self) -> Iterator[int]:
        """Yield the periods that are not done yet."""
        done = {*self._before}
        yield from (k for k, label in enumerate(self._calendar.labels.tolist()) if label not in done)

    def go_on(self, after: EnsemblePosterior) -> None:
        """Take over mean and members of the periods done."""
        track, labels = after.track, self._calendar.labels.tolist()
        if after.solution.members != self._members or track.seed != self._seed or track.lag != self._lag:
            msg = (
                f"The earlier run has {after.solution.members} members, lag {track.lag} and seed {track.seed}, this "
                f"one {self._members}, {self._lag} and {self._seed}; go on with the same."
            )
            raise InversionError(msg)
        done = np.isin(
            self._calendar.of_unknown, [-1, *(k for k, label in enumerate(labels) if label in track.periods)]
        )
        theirs = {key: i for i, key in enumerate(_keys(after.problem))}
        ours = _keys(self._problem)
        new = np.flatnonzero(done)
        missing = [ours[i] for i in new if ours[i] not in theirs]
        if missing or any(label < track.periods[-1] for label in labels if label not in track.periods):
            what = (
                f"{len(missing)} unknowns of its periods are new, the first {missing[0]}"
                if missing
                else "a new period lies before its last"
            )
            msg = (
                f"The earlier run cannot be gone on from: {what}; states and labels of done periods stay as they were."
            )
            raise InversionError(msg)
        old = np.array([theirs[ours[i]] for i in new], dtype=int)
        prior, earlier = self._joint.z_a[new], after.problem.joint().z_a[old]
        if not np.allclose(prior, earlier, rtol=1e-12, atol=0):
            msg = "The earlier run had another prior mean for the periods it did; leave it as it was."
            raise InversionError(msg)
        self._mean[new] = after.solution.step[old]
        self._X[new] = after.solution.deviations[old]
        self._there[new] = True
        self._before, self._chi2 = track.periods, dict(track.chi2)
        self._exact &= track.exact

    def open(self, window: int) -> None:
        """Let the unknowns of a period join: what B says of them given the others, and fresh draws."""
        fresh = ~self._there & ((self._calendar.of_unknown == window) | (self._calendar.of_unknown == -1))
        number = len(self._before)
        rng = np.random.default_rng([self._seed, number])
        if fresh.any():
            known = np.where(self._there[:, None], np.column_stack([self._mean, self._X]), 0.0)
            xi = np.where(self._there[:, None], self._factor.solve(known), 0.0)
            active = self._active(window) & self._there
            xi[fresh, 1:], exact = _draws(rng, int(fresh.sum()), self._X[active])
            joined = self._factor.matvec(xi)[fresh]
            self._mean[fresh], self._X[fresh] = joined[:, 0], joined[:, 1:]
            self._there |= fresh
            self._exact &= exact
        self._before = (*self._before, self._calendar.labels.tolist()[window])

    def assimilate(self, window: int) -> None:
        """Correct mean and members within the lag by the observations of a period, in the order of time.

        What lies before the lag is corrected along, for its error is in all of these observations alike, and then put
        back.
        """
        rows, G, d = self._rows.of(window)
        self._check_sight(window, rows, G)
        past = self._there & ~self._active(window)
        kept = self._mean[past], self._X[past]
        self._note_cut(G, past)
        order = self._order(rows)
        step = _BLOCK if self._reach is None else 1
        chi2 = 0.0
        for start in range(0, order.size, step):
            part = order[start : start + step]
            weights = None if self._reach is None else self._reach.weights(int(rows[part[0]]))[:, None]
            chi2 += self._correct(G[part], d[part], weights)
        self._mean[past], self._X[past] = kept
        self._chi2[self._calendar.labels.tolist()[window]] = chi2

    def _note_cut(self, G: Array, past: np.ndarray) -> None:
        """Add up what part of the variance the observations see lies before the lag."""
        seen, cut = G @ self._X, G[:, past] @ self._X[past]
        self._whole += float(np.vdot(seen, seen))
        self._cut += float(np.vdot(cut, cut))

    def _check_sight(self, window: int, rows: np.ndarray, G: Array) -> None:
        ahead = np.flatnonzero(G[:, ~self._there].any(axis=1))
        if ahead.size:
            msg = (
                f"Observation {rows[ahead[0]]} of the period {self._calendar.labels[window]} sees states of later "
                "periods, itself or through an error in R that it shares with later observations standing before it: "
                "look at its period, and order the observations of each block of R by time."
            )
            raise InversionError(msg)

    def posterior(self) -> EnsemblePosterior:
        """Return what was found."""
        track = Track(self._before, self._chi2, self._seed, self._lag, self._exact)
        used = {self._calendar.labels.tolist()[k] for k in np.unique(self._calendar.of_obs)}
        solution = MemberSolution(
            self._joint,
            self._problem.R,
            self._problem.n_state,
            step=self._mean,
            deviations=self._X,
            chi2=sum(value for label, value in self._chi2.items() if label in used),
            form="ensemble",
            said=tuple(self._findings()),
        )
        return EnsemblePosterior(self._problem, solution, track)

    def _correct(self, G: Array, d: Array, weights: Array | None) -> float:
        """Take whitened observations in, and return what they add to χ²; only what they see and reach is touched."""
        seen = np.flatnonzero(G.any(axis=0))
        reached = self._there if weights is None else self._there & (weights[:, 0] > 0)
        G, X = G[:, seen], self._X[reached]
        Y = G @ self._X[seen]
        scale = 1.0 / (self._members - 1.0)
        D = scale * (X @ Y.T)
        D = D if weights is None else weights[reached] * D
        C = scipy.linalg.cholesky(scale * (Y @ Y.T) + np.eye(len(d)), lower=True, check_finite=False)
        whitened = scipy.linalg.solve_triangular(C, d - G @ self._mean[seen], lower=True, check_finite=False)
        U = scipy.linalg.solve_triangular(C, D.T, lower=True, check_finite=False)  # C⁻¹ Dᵀ
        self._mean[reached] += U.T @ whitened
        C[np.diag_indices(len(d))] += 1.0
        self._X[reached] = X - U.T @ scipy.linalg.solve_triangular(C, Y, lower=True, check_finite=False)
        return float(whitened @ whitened)

    def _active(self, window: int) -> np.ndarray:
        period = self._calendar.of_unknown
        return (period == -1) | ((period > window - self._lag) & (period <= window))

    def _order(self, rows: np.ndarray) -> np.ndarray:
        y = self._problem.y
        return np.argsort(y["time"].values[rows], kind="stable") if "time" in y.coords else np.arange(rows.size)

    def _ends(self) -> np.ndarray | None:
        """Return the end of each state's period, the last as long as the one before it."""
        labels = self._calendar.labels
        if not self._calendar.dates or labels.size < 2:
            return None
        ends = np.append(labels[1:], labels[-1] + (labels[-1] - labels[-2]))
        return ends[self._calendar.of_unknown[: self._problem.n_state]]

    def _findings(self) -> Iterator[Finding]:
        N, unknowns = self._members, int(self._active(self._calendar.labels.size - 1).sum())
        if not self._exact:
            chance = 1.0 / np.sqrt(N - 1.0)
            sentence = (
                f"Covariances come from {N} members for {unknowns} unknowns within the lag: standard deviations are "
                f"known to ±{chance / np.sqrt(2):.0%}, and correlations below {2 * chance:.2f} are chance"
            )
            if self._reach is None:
                sentence += f"; nothing cuts those: give a localisation, or {unknowns + 1} members, which is exact"
            yield Finding(Grade.INFORM if self._reach is not None else Grade.WARN, "sampling_error", sentence + ".")
        share = self._cut / self._whole if self._whole > 0 else 0.0
        if share > 0.01:
            sentence = (
                f"{share:.0%} of the variance the observations see comes from periods before the lag of {self._lag}, "
                "which they no longer correct; a longer lag would use it."
            )
            yield Finding(Grade.WARN if share > 0.1 else Grade.INFORM, "lag", sentence)


class _WhitenedRows:
    """Rows L_R⁻¹ [H d] by window; what R ties together is whitened together, and held until its last window."""

    def __init__(self, joint: Joint, R: Covariance, of_obs: np.ndarray) -> None:
        self._joint, self._of_obs = joint, of_obs
        self._pieces = [each for part, piece in R.pieces(_ROWS) for each in _by_window(part, piece, of_obs)]
        self._held: dict[int, Array] = {}

    def of(self, window: int) -> tuple[np.ndarray, Array, Array]:
        """Return the numbers of the observations, their whitened rows of H, and their whitened innovations."""
        numbers, parts = [], []
        for key, (part, piece) in enumerate(self._pieces):
            windows = self._of_obs[part]
            own = np.flatnonzero(windows == window)
            if own.size:
                if key not in self._held:
                    rows = np.column_stack([self._joint.H.rows(part), self._joint.innovation[part]])
                    self._held[key] = piece.sqrt().solve(rows)
                numbers.append(part.start + own)
                parts.append(self._held[key][own])
            if window >= windows.max():
                self._held.pop(key, None)
        if not parts:
            return np.zeros(0, dtype=int), np.zeros((0, self._joint.B.size)), np.zeros(0)
        block = np.concatenate(parts)
        return np.concatenate(numbers), block[:, :-1], block[:, -1]


def _by_window(part: slice, piece: Covariance, of_obs: np.ndarray) -> Iterator[tuple[slice, Covariance]]:
    """Yield a piece of R, cut at every change of window where it ties nothing together: then nothing is held."""
    if not isinstance(piece, Diagonal):
        yield part, piece
        return
    variance = piece.diagonal()
    ends = [*(np.flatnonzero(np.diff(of_obs[part])) + 1).tolist(), variance.size]
    for start, end in zip([0, *ends], ends, strict=False):
        yield slice(part.start + start, part.start + end), Diagonal(variance[start:end], name=piece.name)


def _draws(rng: np.random.Generator, size: int, others: Array) -> tuple[Array, bool]:
    """Return ξ (size, N) with mean zero, and whether its covariance is exactly I and none with `others` (a, N).

    With enough members the draws are rotated at random in what 1 and `others` leave free of the N dimensions.
    """
    N = others.shape[1]
    taken = np.column_stack([np.ones(N), others.T])
    taken = taken / np.maximum(np.linalg.norm(taken, axis=0), 1e-300)
    if taken.shape[1] + size <= N:
        basis, _ = np.linalg.qr(taken)
        free = rng.standard_normal((N, size))
        for _ in range(2):  # twice is enough for rounding (Giraud et al. 2005)
            free = free - basis @ (basis.T @ free)
        rotated, _ = np.linalg.qr(free)
        return np.sqrt(N - 1.0) * rotated.T, True
    free = rng.standard_normal((size, N))
    return free - free.mean(axis=1, keepdims=True), False


def _keys(problem: Problem) -> list[tuple[Any, ...]]:
    """Return what tells an unknown from others: its labels, and its number among those of the same labels."""
    seen: dict[tuple[Any, ...], int] = {}
    keys = []
    for vector in (problem.x_a, problem.b_a):
        if vector is None:
            continue
        dim = vector.dims[0]
        names = sorted(str(name) for name, c in vector.coords.items() if c.dims == (dim,) and name != dim)
        for labels in (
            zip(*(vector[name].values.tolist() for name in names), strict=True) if names else [()] * vector.size
        ):
            key = (dim, *labels)
            seen[key] = seen.get(key, -1) + 1
            keys.append((*key, seen[key]))
    return keys
