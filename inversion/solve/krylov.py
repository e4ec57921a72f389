"""What the vectors of a Lanczos process say about the posterior, in observation or in control space.

With G = L_R⁻¹ H L, L Lᵀ = B, L_R L_Rᵀ = R, and d̃ = L_R⁻¹ d, the control vector χ (z = z_a + L χ) minimises
J = |d̃ − G χ|² + |χ|². Krylov vectors Q span the space in which S̃ = I + G Gᵀ (observations) or M = I + Gᵀ G (control) is
inverted. The posterior covariance of an aggregate is a minimum over all vectors u of observation space,

    w Ŝ wᵀ = min |Lᵀ wᵀ − Gᵀ u|² + |u|²,

here taken over those the process has found, and then over what a few conjugate gradients add for the aggregate itself:
so what comes out is never below the truth, and falls to it. What is left is ρᵀ S̃⁻¹ ρ ≤ |ρ|², ρ = L_R⁻¹ H B wᵀ − S̃ u: so
it is known how far it can still fall.
"""

from __future__ import annotations

import functools
import hashlib
from abc import abstractmethod
from typing import Any, NamedTuple

import numpy as np

from inversion.covariance import Covariance
from inversion.covariance.operator import Array
from inversion.findings import Finding
from inversion.problem import Joint
from inversion.solve.checkpoint import Checkpoint
from inversion.solve.gradients import Approach, Operator, conjugate_gradients, squares
from inversion.solve.lanczos import Lanczos
from inversion.solve.operators import control_operator, observation_operator
from inversion.solve.probes import Remainder, signs
from inversion.solve.ritz import Trial
from inversion.solve.solution import Solution, Traces

_COLUMNS = 16
"""Vectors of the length of the state held at a time."""
_CLOSE = 1e-5
"""Share of a probe down to which its residual is brought."""


class Watched(NamedTuple):
    """Aggregates brought into the space of the vectors."""

    image: Array
    """L_R⁻¹ H B Wᵀ (n, k) in observation space, Lᵀ Wᵀ (m + p, k) in control space."""
    prior: Array
    """W B Wᵀ (k, k)."""


class Answer(NamedTuple):
    """What is known of some aggregates."""

    covariance: Array
    """W Ŝ Wᵀ (k, k), never below the exact one."""
    shortfall: Array
    """By how much at most its diagonal is above (k,)."""
    X: Array
    """S̃⁻¹ or M⁻¹ times their image, nearly (size, k)."""

    def overestimate(self) -> Array:
        """Return by which share at most each standard deviation is above the exact one (k,)."""
        variance = np.maximum(np.diagonal(self.covariance), 0.0)
        least = np.maximum(variance - self.shortfall, 0.0)
        ratio = np.divide(variance, least, out=np.full_like(variance, np.inf), where=least > 0)
        return np.where(variance > 0, np.sqrt(ratio) - 1.0, 0.0)


class Effort(NamedTuple):
    """What is done beyond the vectors."""

    sigma: float = 0.01
    """Share to which the standard deviation of an aggregate is wanted."""
    steps: int = 50
    """Most steps of conjugate gradients for it."""
    probes: int = 8
    """Random vectors that estimate what the Ritz values leave out of the traces."""


class KrylovSolution(Solution):
    """Posterior from the k Lanczos vectors found so far: an upper bound of every variance.

    Parameters
    ----------
    joint, R, n_state
        As for every solution.
    seed : int
        Of random vectors.
    effort : Effort
    checkpoint : Checkpoint, optional

    Attributes
    ----------
    process : Lanczos
        Goes on as long as its owner lets it; `finish` then finds the mean.
    distance : float
        |∇J|, which bounds |χ − χ̂| as M ≥ I: no mean w z is further from the exact one than this times its prior
        standard deviation.
    """

    distance: float

    def __init__(
        self,
        joint: Joint,
        R: Covariance,
        n_state: int,
        *,
        seed: int,
        effort: Effort,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        super().__init__(joint, R, n_state)
        self._seed, self.effort = seed, effort
        self._L_R = R.sqrt()
        self._d = self._L_R.solve(joint.innovation)
        self._findings: tuple[Finding, ...] = ()
        self.process = Lanczos(self._operator(), self._start(), seed=seed, checkpoint=checkpoint)

    @abstractmethod
    def _operator(self) -> Operator:
        """Return what the process is of."""

    @abstractmethod
    def _start(self) -> Array:
        """Return its first vector: the innovations, in its space."""

    @abstractmethod
    def gradient_reduction(self) -> float:
        """Return |∇J| in control space as a share of the prior's, by the recurrence."""

    @abstractmethod
    def prior_gradient(self) -> float:
        """Return |∇J| at the prior, |Gᵀ d̃|."""

    @abstractmethod
    def finish(self) -> None:
        """Find step, gradient, χ² and how far the mean is from the exact one; no more steps after this."""

    def conclude(self, findings: tuple[Finding, ...]) -> None:
        """Take what is to be said with the result."""
        self._findings = findings

    def findings(self) -> tuple[Finding, ...]:
        """Return what was said when the process ended."""
        return self._findings

    def ritz_values(self) -> Array:
        """Return the eigenvalues of T, which approach the largest of G Gᵀ from below (k,)."""
        return self._eigen()[0]

    def whole(self) -> Array:
        """Return W Ŝ Wᵀ for W = I."""
        return self.covariance(np.eye(self.joint.B.size))

    def covariance(self, Wt: Array) -> Array:
        """Return W Ŝ Wᵀ, never below the exact one."""
        return self._answer(Wt).covariance

    def shortfall(self, Wt: Array) -> Array:
        """Return by how much at most each variance diag(W Ŝ Wᵀ) is too large (k,)."""
        return self._answer(Wt).shortfall

    def gain(self, Wt: Array) -> Array:
        """Return (W K)ᵀ."""
        return self._gain(self._answer(Wt).X)

    def _watched(self, Wt: Array) -> Watched:
        k = Wt.shape[1]
        prior, images = np.empty((k, k)), []
        for start in range(0, k, _COLUMNS):
            part = slice(start, min(start + _COLUMNS, k))
            BWt = self.joint.B.matvec(np.ascontiguousarray(Wt[:, part]))
            prior[:, part] = Wt.T @ BWt
            images.append(self._image_of(Wt[:, part], BWt))
        return Watched(np.hstack(images), 0.5 * (prior + prior.T))

    def overestimate(self, Wt: Array) -> Array:
        """Return by which share at most the standard deviation of each aggregate is too large (k,)."""
        return self._answer(Wt).overestimate()

    def _answer(self, Wt: Array) -> Answer:
        """Return the answer for W, kept until another is asked for."""
        key = hashlib.blake2b(np.ascontiguousarray(Wt).data).digest()
        if self._kept is None or self._kept[0] != key:
            self._kept = key, self._refined(self._watched(Wt))
        return self._kept[1]

    _kept: tuple[bytes, Answer] | None = None

    def _refined(self, watched: Watched) -> Answer:
        """Go on from the vectors' answer by conjugate gradients, some aggregates at a time."""
        found = self._trial(watched.image)
        if self.process.exhausted or not self.effort.steps:
            return self._judged(watched, found)
        for start in range(0, watched.image.shape[1], _COLUMNS):
            part = slice(start, start + _COLUMNS)
            own = Watched(watched.image[:, part], watched.prior[part, part])
            better = self._pursued(own, Approach(found.X[:, part], found.rest[:, part]))
            found.X[:, part], found.rest[:, part] = better.X, better.rest
        return self._judged(watched, found)

    def _pursued(self, watched: Watched, best: Approach) -> Approach:
        """Repeat with a goal that follows the variances down; keep of each aggregate what is lowest."""
        apply = self._operator()
        at = best
        while at.steps < self.effort.steps:
            answer = self._judged(watched, best)
            if (answer.overestimate() <= self.effort.sigma).all():
                break
            goal = (1.0 - (1.0 + self.effort.sigma) ** -2) * np.maximum(np.diagonal(answer.covariance), 0.0)
            goal = np.minimum(goal, 0.5 * squares(at.rest))
            before = at.steps
            at = conjugate_gradients(lambda V: V + apply(V), at, goal, steps=self.effort.steps - at.steps)
            lower = np.diagonal(self._judged(watched, at).covariance) < np.diagonal(answer.covariance)
            best = Approach(np.where(lower, at.X, best.X), np.where(lower, at.rest, best.rest), at.steps)
            if at.steps == before:
                break
        return best

    def _judged(self, watched: Watched, found: Approach) -> Answer:
        return Answer(self._covariance_of(watched, found), self._shortfall_of(found), found.X)

    @abstractmethod
    def _image_of(self, Wt: Array, BWt: Array) -> Array:
        """Return the aggregates in the space of the vectors."""

    @abstractmethod
    def _trial(self, image: Array) -> Approach:
        """Return the best that the vectors give."""

    @abstractmethod
    def _covariance_of(self, watched: Watched, found: Approach) -> Array:
        """Return W Ŝ Wᵀ, an upper bound for any X."""

    @abstractmethod
    def _shortfall_of(self, found: Approach) -> Array:
        """Return a bound of what the rest could still take away from the variances."""

    @abstractmethod
    def _gain(self, X: Array) -> Array:
        """Return (W K)ᵀ from X."""

    def traces(self) -> Traces:
        """Return Σ θ/(1+θ) over the Ritz values and, where they are not all there are, what probes find beyond them."""
        share = self.ritz_values() / (1.0 + self.ritz_values())
        rest = self._remainder
        return Traces(float(share.sum()) + rest.trace, self._boundary_trace(), float((share**2).sum()) + rest.squared)

    @property
    def trace_error(self) -> float:  # type: ignore[override]  # estimated when it is asked for
        """Standard error of the estimated part of tr A; zero where nothing is estimated."""
        return self._remainder.error

    def influence(self) -> Array:
        """Return diag(L_R⁻¹ H K L_R), estimated where the traces are: fit for sums over many observations."""
        return self._known_influence() + self._remainder.influence

    @functools.cached_property
    def _remainder(self) -> Remainder:
        n = self.R.size
        if self.process.exhausted or not self.effort.probes:
            return Remainder(0.0, 0.0, 0.0, np.zeros(n))
        Z = signs(n, self.effort.probes, self._seed)
        return Remainder.between(Z, *self._seen_by(Z))

    @abstractmethod
    def _seen_by(self, Z: Array) -> tuple[Array, Array]:
        """Return F Z and the part of it that the vectors give, F = G Gᵀ (I + G Gᵀ)⁻¹."""

    @staticmethod
    def _finished(apply: Operator, X: Array, Y: Array) -> Array:
        """Solve for the probes, from what the vectors give; the top of the spectrum is gone then, so steps are few."""
        start = Approach(X, Y - apply(X))
        return conjugate_gradients(apply, start, _CLOSE**2 * squares(Y), steps=min(500, 4 * len(Y))).X

    @abstractmethod
    def _known_influence(self) -> Array:
        """Return the diagonal of that part."""

    def _boundary_trace(self) -> float:
        size, m = self.joint.B.size, self.n_state
        total = 0.0
        for start in range(m, size, _COLUMNS):
            part = slice(start, min(start + _COLUMNS, size))
            total += float(np.trace(self.kernel(units(size, part))[part]))
        return total

    def _eigen(self) -> tuple[Array, Array]:
        """Return Ritz values and vectors of T, anew where steps were added."""
        if self._known is None or len(self._known[0]) != self.process.count:
            values, vectors = np.linalg.eigh(self.process.tridiagonal())
            self._known = np.maximum(values, 0.0), vectors
        return self._known

    _known: tuple[Array, Array] | None = None

    def _solved(self, projected: Array) -> Array:
        """Return (I + T)⁻¹ `projected`."""
        values, vectors = self._eigen()
        scale = 1.0 / (1.0 + values)
        return vectors @ ((scale if projected.ndim == 1 else scale[:, None]) * (vectors.T @ projected))

    def _inverted(self, V: Array) -> Array:
        """Return Q (I + T)⁻¹ Qᵀ V."""
        return self.process.basis.combine(self._solved(self.process.basis.project(V)))


class ObservationKrylov(KrylovSolution):
    """Vectors of observation space: S̃⁻¹ ≈ Q (I + T)⁻¹ Qᵀ, N = L_R⁻¹ H B Hᵀ L_R⁻ᵀ; L is not needed."""

    form = "Lanczos observation"

    def _operator(self) -> Operator:
        return observation_operator(self.joint, self.R)

    def _start(self) -> Array:
        return self._d

    def gradient_reduction(self) -> float:
        """Look one vector back: |Gᵀ q_k|² = T_kk is known then."""
        T, before = self.process.tridiagonal(), self.process.count - 1
        if before < 1 or T[0, 0] <= 0:
            return 1.0 if T.size and T[0, 0] > 0 and self._d.any() else 0.0
        first = np.eye(before, 1)[:, 0]
        weight = np.linalg.solve(T[:-1, :-1] + np.eye(before), first)[-1]
        return float(abs(T[-1, -2] * weight) * np.sqrt(max(T[-1, -1], 0.0) / T[0, 0]))

    def prior_gradient(self) -> float:
        """Return |d̃| |Gᵀ q₁|."""
        return float(np.linalg.norm(self._d) * np.sqrt(max(self.process.tridiagonal()[0, 0], 0.0)))

    def finish(self) -> None:
        """λ = L_R⁻ᵀ Q (I + T)⁻¹ Qᵀ d̃; ẑ − z_a = B Hᵀ λ."""
        multiplier = self._inverted(self._d)
        self.gradient = self.joint.H.rmatvec(self._L_R.rsolve(multiplier))
        self.step = self.joint.B.matvec(self.gradient)
        residual = self._d - self._L_R.solve(self.joint.H.matvec(self.step))
        self.chi2 = float(residual @ residual + self.step @ self.gradient)
        rest = residual - multiplier
        self.distance = float(np.sqrt(max(float(rest @ self._operator()(rest)), 0.0)))

    def _image_of(self, Wt: Array, BWt: Array) -> Array:
        del Wt
        return self._L_R.solve(self.joint.H.matvec(BWt))

    def _trial(self, image: Array) -> Approach:
        """X = Q (I + T)⁻¹ Qᵀ C; S̃ X = Q Qᵀ C + η q_{k+1} s_k, s = (I + T)⁻¹ Qᵀ C."""
        projected = self.process.basis.project(image)
        weights = self._solved(projected)
        rest = image - self.process.basis.combine(projected)
        rest -= np.outer(self.process.next, self.process.coupling * weights[-1])
        return Approach(self.process.basis.combine(weights), rest)

    def _covariance_of(self, watched: Watched, found: Approach) -> Array:
        """W B Wᵀ − (Xᵀ C + ρᵀ X), which is its minimum over u at u = X but for ρᵀ S̃⁻¹ ρ."""
        taken = found.X.T @ watched.image + found.rest.T @ found.X
        return watched.prior - 0.5 * (taken + taken.T)

    def _shortfall_of(self, found: Approach) -> Array:
        """|ρ|²."""
        return squares(found.rest)

    def _gain(self, X: Array) -> Array:
        return self._L_R.rsolve(X)

    def variances(self) -> Array:
        """Return diag B less the squared row norms of B Hᵀ L_R⁻ᵀ Q (I + T)^−½, some vectors at a time."""
        values, vectors = self._eigen()
        reduced = vectors / np.sqrt(1.0 + values)
        variances = self.joint.B.diagonal()
        for start in range(0, self.process.count, _COLUMNS):
            U = self.process.basis.combine(reduced[:, start : start + _COLUMNS])
            V = self.joint.B.matvec(self.joint.H.rmatvec(self._L_R.rsolve(U)))
            variances -= np.einsum("ij,ij->i", V, V)
        return variances

    def _seen_by(self, Z: Array) -> tuple[Array, Array]:
        apply = self._operator()
        known = self._inverted(Z)
        inverse = self._finished(lambda V: V + apply(V), known, Z)
        projected = self.process.basis.project(Z)
        return Z - inverse, self.process.basis.combine(projected - self._solved(projected))

    def _known_influence(self) -> Array:
        values, vectors = self._eigen()
        total = np.zeros(self.R.size)
        for start in range(0, len(values), _COLUMNS):
            part = slice(start, start + _COLUMNS)
            total += (self.process.basis.combine(vectors[:, part]) ** 2) @ (values[part] / (1.0 + values[part]))
        return total


class ControlKrylov(KrylovSolution):
    """Vectors of control space: M⁻¹ through Q and Gᵀ G Q_k = Q_{k+1} T̂ with T̂ = [T; η e_kᵀ]."""

    form = "Lanczos control"

    def __init__(self, joint: Joint, *others: Any, **options: Any) -> None:
        self._L = joint.B.sqrt()
        super().__init__(joint, *others, **options)

    def _operator(self) -> Operator:
        return control_operator(self.joint, self.R)

    def _start(self) -> Array:
        return self._L.rmatvec(self.joint.H.rmatvec(self._L_R.rsolve(self._d)))

    def gradient_reduction(self) -> float:
        """η_k |e_kᵀ (I + T)⁻¹ e₁|."""
        if not self.process.count or not self._d.any():
            return 1.0 if self._d.any() else 0.0
        first = np.eye(self.process.count, 1)[:, 0]
        return float(abs(self.process.coupling * self._solved(first)[-1]))

    def prior_gradient(self) -> float:
        """Return the length of the first vector, before it was made one."""
        return float(np.linalg.norm(self._start()))

    def finish(self) -> None:
        """χ = Q (I + T)⁻¹ Qᵀ Gᵀ d̃: the minimum of J over the span of Q."""
        control = self._inverted(self._start())
        self.step = self._L.matvec(control)
        self.gradient = self._L.rsolve(control)
        residual = self._d - self._L_R.solve(self.joint.H.matvec(self.step))
        self.chi2 = float(residual @ residual + control @ control)
        pull = self._L.rmatvec(self.joint.H.rmatvec(self._L_R.rsolve(residual)))
        self.distance = float(np.linalg.norm(control - pull))

    def _image_of(self, Wt: Array, BWt: Array) -> Array:
        del BWt
        return self._L.rmatvec(Wt)

    def _trial(self, image: Array) -> Approach:
        """X = Q s; M X = Q s + Q_{k+1} T̂ s."""
        ritz = self._ritz()
        weights = ritz.weights(self._extended(image))
        pushed = ritz.image(weights)
        rest = image - self.process.basis.combine(weights + pushed[:-1]) - np.outer(self.process.next, pushed[-1])
        return Approach(self.process.basis.combine(weights), rest)

    def _covariance_of(self, watched: Watched, found: Approach) -> Array:
        """Xᵀ V + rᵀ X + rᵀ r for V = Lᵀ Wᵀ: |V − Gᵀ u|² + |u|² at u = G X."""
        covariance = found.X.T @ watched.image + found.rest.T @ (found.X + found.rest)
        return 0.5 * (covariance + covariance.T)

    def _shortfall_of(self, found: Approach) -> Array:
        """rᵀ (I − M⁻¹) r, which neither |r|² nor |G r|² is below."""
        return np.minimum(squares(self._seen(found.rest)), squares(found.rest))

    def _gain(self, X: Array) -> Array:
        return self._L_R.rsolve(self._seen(X))

    def variances(self) -> Array:
        """Return diag B less the squared row norms of L Q_{k+1} Xᵀ, XᵀX what is taken away of Q_{k+1}ᵀ Lᵀ."""
        roots = self._ritz().root(np.eye(self.process.count + 1))
        variances = self.joint.B.diagonal()
        for start in range(0, len(roots), _COLUMNS):
            rows = roots[start : start + _COLUMNS]
            V = self.process.basis.combine(np.ascontiguousarray(rows[:, :-1].T))
            V = self._L.matvec(V + np.outer(self.process.next, rows[:, -1]))
            variances -= np.einsum("ij,ij->i", V, V)
        return variances

    def _ritz(self) -> Trial:
        return Trial(*self._eigen(), self.process.coupling)

    def _extended(self, V: Array) -> Array:
        """Return Q_{k+1}ᵀ V."""
        return np.vstack([self.process.basis.project(V), self.process.next @ V])

    def _seen(self, V: Array) -> Array:
        """Return G V."""
        return self._L_R.solve(self.joint.H.matvec(self._L.matvec(V)))

    def _seen_by(self, Z: Array) -> tuple[Array, Array]:
        apply = self._operator()
        start = self._L.rmatvec(self.joint.H.rmatvec(self._L_R.rsolve(Z)))
        known = self._inverted(start)
        inverse = self._finished(lambda V: V + apply(V), known, start)
        return self._seen(inverse), self._seen(known)

    def _known_influence(self) -> Array:
        values, vectors = self._eigen()
        reduced = vectors / np.sqrt(1.0 + values)
        total = np.zeros(self.R.size)
        for start in range(0, len(values), _COLUMNS):
            V = self._seen(self.process.basis.combine(reduced[:, start : start + _COLUMNS]))
            total += np.einsum("ij,ij->i", V, V)
        return total


def units(size: int, part: slice) -> Array:
    """Return the unit vectors of `part` as columns (size, part)."""
    columns = np.zeros((size, part.stop - part.start))
    columns[part] = np.eye(part.stop - part.start)
    return columns
