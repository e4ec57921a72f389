"""A posterior as members about a mean: of an ensemble, or draws of a sampler."""

from __future__ import annotations

import functools

import numpy as np

from inversion.covariance import Covariance
from inversion.covariance.operator import Array
from inversion.findings import Finding
from inversion.problem import Joint
from inversion.solve.solution import Solution, Traces

_ROWS = 1024
"""Rows of H that are whitened at a time where R does not tie them together."""


class MemberSolution(Solution):
    """Ŝ = X Xᵀ / (N − 1) from the deviations X (m + p, N); K = Ŝ Hᵀ R⁻¹, as for a Gaussian with this covariance.

    Parameters
    ----------
    joint : Joint
    R : Covariance (n, n)
    n_state : int
    step : array (m + p,)
        ẑ − z_a.
    deviations : array (m + p, N)
        Members minus their mean.
    chi2 : float
        dᵀ S⁻¹ d.
    form : str
        How it was found.
    statistics : Solution, optional
        The Gaussian solution of the same problem, where there is one: degrees of freedom are then its own, without the
        scatter of members.
    said : tuple of Finding
        What the solver has to say about it.
    """

    def __init__(  # noqa: PLR0913  the pieces of a solution, all but three by keyword
        self,
        joint: Joint,
        R: Covariance,
        n_state: int,
        *,
        step: Array,
        deviations: Array,
        chi2: float,
        form: str,
        statistics: Solution | None = None,
        said: tuple[Finding, ...] = (),
    ) -> None:
        super().__init__(joint, R, n_state)
        self.form, self.step, self.chi2 = form, step, chi2
        self.deviations = deviations
        self.members = deviations.shape[1]
        self._root = deviations / np.sqrt(self.members - 1.0)
        self.statistics = statistics
        self._said = said

    @functools.cached_property
    def gradient(self) -> Array:  # type: ignore[override]
        """B⁻¹ (ẑ − z_a)."""
        return self.joint.B.solve(self.step)

    def covariance(self, Wt: Array) -> Array:
        """Return W Ŝ Wᵀ."""
        U = self._root.T @ Wt
        return U.T @ U

    def whole(self) -> Array:
        """Return Ŝ."""
        return self._root @ self._root.T

    def gain(self, Wt: Array) -> Array:
        """Return R⁻¹ H Ŝ Wᵀ."""
        return self.R.solve(self.joint.H.matvec(self._root @ (self._root.T @ Wt)))

    def variances(self) -> Array:
        """Return diag Ŝ."""
        return np.einsum("ij,ij->i", self._root, self._root)

    def traces(self) -> Traces:
        """Use Y = L_R⁻¹ H X: tr A = |Y|², tr A² = |YᵀY|²."""
        if self.statistics is not None:
            return self.statistics.traces()
        Y = self._signal
        crossed = Y.T @ Y if Y.shape[0] > Y.shape[1] else Y @ Y.T
        return Traces(float(np.vdot(Y, Y)), self._boundary_trace(), float(np.vdot(crossed, crossed)))

    def influence(self) -> Array:
        """Return diag(Y Yᵀ)."""
        if self.statistics is not None:
            return self.statistics.influence()
        return np.einsum("ij,ij->i", self._signal, self._signal)

    def exact(self) -> Solution | None:
        """Return the Gaussian solution of the same problem, where there is one: members scatter."""
        return self.statistics

    def findings(self) -> tuple[Finding, ...]:
        """Return what the solver said."""
        return self._said

    @functools.cached_property
    def _signal(self) -> Array:
        """Y = L_R⁻¹ H X (n, N)."""
        simulated = self.joint.H.matvec(self._root)
        return np.concatenate([piece.sqrt().solve(simulated[part]) for part, piece in self.R.pieces(_ROWS)])

    def _boundary_trace(self) -> float:
        size = self.joint.B.size
        if size == self.n_state:
            return 0.0
        Wt = np.zeros((size, size - self.n_state))
        Wt[self.n_state :] = np.eye(size - self.n_state)
        return float(np.trace(self.kernel(Wt)[self.n_state :]))
