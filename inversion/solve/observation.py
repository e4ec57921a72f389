"""Observation-space form: one n x n factorisation, B only ever multiplied (Yadav and Michalak 2013, GMD 6, 583)."""

from __future__ import annotations

import functools

import numpy as np
import scipy.linalg

from inversion.covariance import Covariance
from inversion.covariance.operator import Array
from inversion.errors import ProblemError
from inversion.jacobian import Jacobian
from inversion.problem import Joint
from inversion.solve.solution import Solution, Traces

_BLOCKS = 8
"""S is built in this many rows of blocks at least, to leave out its upper half."""
_COLUMNS = 512
"""Columns of a triangular solve held at a time."""


class ObservationSolution(Solution):
    """S = H B Hᵀ + R = L Lᵀ; λ = S⁻¹ d; ẑ − z_a = B Hᵀ λ."""

    form = "observation"

    def __init__(self, joint: Joint, R: Covariance, n_state: int) -> None:
        super().__init__(joint, R, n_state)
        self._lower = _factor(_innovation_covariance(joint.H, joint.B, R))
        whitened = self._whiten(joint.innovation)
        multiplier = scipy.linalg.solve_triangular(self._lower, whitened, lower=True, trans="T", check_finite=False)
        self.chi2 = float(whitened @ whitened)
        self.gradient = joint.H.rmatvec(multiplier)
        self.step = joint.B.matvec(self.gradient)

    def covariance(self, Wt: Array) -> Array:
        """Return W B Wᵀ − (L⁻¹ H B Wᵀ)ᵀ (L⁻¹ H B Wᵀ)."""
        BWt = self.joint.B.matvec(Wt)
        U = self._whiten(self.joint.H.matvec(BWt))
        prior = Wt.T @ BWt
        return 0.5 * (prior + prior.T) - U.T @ U

    def gain(self, Wt: Array) -> Array:
        """Return S⁻¹ H B Wᵀ."""
        U = self.joint.H.matvec(self.joint.B.matvec(Wt))
        return scipy.linalg.cho_solve((self._lower, True), U, check_finite=False)

    def variances(self) -> Array:
        """Return diag B − Σᵢ (L⁻¹ H B)ᵢⱼ², by columns."""
        size = self.joint.B.size
        reduction = np.empty(size)
        for start in range(0, size, _COLUMNS):
            part = slice(start, min(start + _COLUMNS, size))
            unit = np.zeros((size, part.stop - part.start))
            unit[part] = np.eye(part.stop - part.start)
            U = self._whiten(self.joint.H.matvec(self.joint.B.matvec(unit)))
            reduction[part] = np.einsum("ij,ij->j", U, U)
        return self.joint.B.diagonal() - reduction

    def whole(self) -> Array:
        """Return B − (L⁻¹ H B)ᵀ (L⁻¹ H B)."""
        return self.covariance(np.eye(self.joint.B.size))

    def traces(self) -> Traces:
        """Use L_R⁻¹ H K L_R = I − XᵀX: tr A = n − |X|²."""
        n = len(self._lower)
        kept = self._kept.sum()
        crossed = self._X.T @ self._X
        return Traces(float(n - kept), self._boundary_trace(), float(n - 2.0 * kept + np.vdot(crossed, crossed)))

    def influence(self) -> Array:
        """Return 1 − the squared column norms of X."""
        return 1.0 - self._kept

    @functools.cached_property
    def _kept(self) -> Array:
        return np.einsum("ij,ij->j", self._X, self._X)

    @functools.cached_property
    def _X(self) -> Array:
        """X = L⁻¹ L_R, lower triangular as both are."""
        n = len(self._lower)
        X = np.zeros((n, n), order="F")
        factor = self.R.sqrt()
        for start in range(0, n, _COLUMNS):
            part = slice(start, min(start + _COLUMNS, n))
            unit = np.zeros((n, part.stop - part.start))
            unit[part] = np.eye(part.stop - part.start)
            below = slice(start, n)
            X[below, part] = scipy.linalg.solve_triangular(
                self._lower[below, below], factor.matvec(unit)[below], lower=True, check_finite=False
            )
        return X

    def _boundary_trace(self) -> float:
        size = self.joint.B.size
        if size == self.n_state:
            return 0.0
        Wt = np.zeros((size, size - self.n_state))
        Wt[self.n_state :] = np.eye(size - self.n_state)
        return float(np.trace(self.kernel(Wt)[self.n_state :]))

    def _whiten(self, U: Array) -> Array:
        return scipy.linalg.solve_triangular(self._lower, U, lower=True, check_finite=False)


def _innovation_covariance(H: Jacobian, B: Covariance, R: Covariance) -> Array:
    """Return the lower half of H B Hᵀ + R, by blocks of rows of H B."""
    n = H.shape[0]
    S = np.zeros((n, n), order="F")
    blocks = list(H.blocks(max(1, -(-n // _BLOCKS))))
    for number, part in enumerate(blocks):
        HB = B.matvec(H.rows(part).T).T
        for other in blocks[: number + 1]:
            S[part, other] = HB @ H.rows(other).T
    R.add_to(S)
    return S


def _factor(S: Array) -> Array:
    try:
        return scipy.linalg.cholesky(S, lower=True, overwrite_a=True, check_finite=False)
    except np.linalg.LinAlgError as error:
        raise ProblemError(
            "The problem",
            [f"H B Hᵀ + R is not positive definite ({error}): R is too small beside H B Hᵀ for double precision."],
        ) from None
