"""The Lanczos process with full reorthogonalisation, resumable.

N Q_k = Q_k T_k + η_k q_{k+1} e_kᵀ for a symmetric positive semidefinite N (Golub and Van Loan 2013, Section 10.1): T_k
is tridiagonal with diagonal α and off-diagonal η. Where the process ends early (an invariant subspace: η = 0) it goes
on with a vector drawn at random, so that after `size` steps Q is a basis of the whole space.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from inversion.covariance.operator import Array
from inversion.solve.basis import Basis
from inversion.solve.checkpoint import Checkpoint, Step


class Lanczos:
    """The process, step by step.

    Parameters
    ----------
    apply : callable
        N v for v (size,).
    start : array (size,)
        First vector, of any length; where it is zero the first one is drawn too.
    seed : int
        Of the vectors that are drawn.
    checkpoint : Checkpoint, optional
        Where steps are kept, and taken from.

    Attributes
    ----------
    basis : Basis
        Q_k.
    next : array (size,)
        q_{k+1}; zero when k has reached `size`.
    coupling : float
        η_k.
    """

    def __init__(
        self, apply: Callable[[Array], Array], start: Array, *, seed: int, checkpoint: Checkpoint | None = None
    ) -> None:
        self._apply = apply
        self._seed = seed
        self._checkpoint = checkpoint
        self._alpha: list[float] = []
        self._eta: list[float] = []
        self.basis = Basis(start.size)
        length = float(np.linalg.norm(start))
        self.next = start / length if length > 0 else self._drawn()
        if checkpoint is not None:
            self._resume(checkpoint)

    @property
    def count(self) -> int:
        """Number of steps done, k."""
        return self.basis.count

    @property
    def exhausted(self) -> bool:
        """Whether Q spans the whole space."""
        return self.count == self.basis.size

    @property
    def coupling(self) -> float:
        """η_k: what ties the vectors found to those that are not."""
        return self._eta[-1] if self._eta else 0.0

    def tridiagonal(self) -> Array:
        """Return T_k (k, k)."""
        beside = np.asarray(self._eta[:-1])
        return np.diag(self._alpha) + np.diag(beside, 1) + np.diag(beside, -1)

    def step(self) -> None:
        """Do one step: one product with N, one vector more."""
        self._add(self._computed())

    def _computed(self) -> Step:
        image = self._apply(self.next)
        alpha = float(self.next @ image)
        others = self.basis.without(image - alpha * self.next - self._pull())
        others = others - (self.next @ others) * self.next
        eta = float(np.linalg.norm(others))
        scale = max([abs(alpha), eta, *self._alpha])
        if eta > 100 * np.finfo(float).eps * np.sqrt(self.basis.size) * scale:
            return Step(alpha, eta, self._polished(others / eta))
        return Step(alpha, 0.0, self._drawn(self.next))

    def _pull(self) -> Array | float:
        """η_{k−1} q_{k−1}: taken off first, for it is the largest part of what must go."""
        return 0.0 if not self.count else self.coupling * self._last

    def _polished(self, vector: Array) -> Array:
        vector = self.basis.without(vector)
        vector = vector - (self.next @ vector) * self.next
        return vector / np.linalg.norm(vector)

    def _drawn(self, beside: Array | None = None) -> Array:
        """Return a random unit vector orthogonal to all so far, zero where there is no room left."""
        known = self.count + (beside is not None)
        if known >= self.basis.size:
            return np.zeros(self.basis.size)
        vector = np.random.default_rng([self._seed, known]).normal(size=self.basis.size)
        for _ in range(3):
            vector = self.basis.without(vector)
            vector = vector - (beside @ vector) * beside if beside is not None else vector
            vector /= np.linalg.norm(vector)
        return vector

    def _add(self, step: Step, *, keep: bool = True) -> None:
        self._last = self.next
        self.basis.append(self.next)
        self._alpha.append(step.alpha)
        self._eta.append(step.eta)
        self.next = step.vector
        if keep and self._checkpoint is not None:
            self._checkpoint.append(step)

    def _resume(self, checkpoint: Checkpoint) -> None:
        """Take the steps that were kept, after doing the first one anew: it shows whether they are of this problem."""
        steps = checkpoint.steps()
        first = next(steps, None)
        if first is None:
            return
        checkpoint.compare(self._computed(), first)
        self._add(first, keep=False)
        for step in steps:
            self._add(step, keep=False)
