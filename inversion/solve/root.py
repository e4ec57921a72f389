"""Square-root form by a singular value decomposition: squares nothing, the reference for the other two."""

from __future__ import annotations

import numpy as np
import scipy.linalg

from inversion.covariance import Covariance
from inversion.covariance.operator import Array
from inversion.problem import Joint
from inversion.solve.solution import Solution, Traces, require_room


class RootSolution(Solution):
    """G = L_R⁻¹ H L = U diag(s) Vᵀ; ẑ − z_a = L V (s / (1 + s²)) Uᵀ L_R⁻¹ d; Ŝ = L (I − V (s² / (1 + s²)) Vᵀ) Lᵀ.

    Rodgers (2000), Section 2.4.1: s² / (1 + s²) are the eigenvalues of A. Holds G (n x m), so for small cases.
    """

    form = "root"

    def __init__(self, joint: Joint, R: Covariance, n_state: int, *, memory_gb: float | None = None) -> None:
        super().__init__(joint, R, n_state)
        require_room(3 * 8 * R.size * joint.B.size, memory_gb)
        self._L, self._L_R = joint.B.sqrt(), R.sqrt()
        whitened = self._L_R.solve(joint.H.rows(slice(0, R.size)))
        G = self._L.rmatvec(np.ascontiguousarray(whitened.T)).T
        self._U, self._s, self._Vt = scipy.linalg.svd(G, full_matrices=False, check_finite=False)
        d = self._L_R.solve(joint.innovation)
        projected = self._U.T @ d
        control = self._Vt.T @ (self._s / (1.0 + self._s**2) * projected)
        self.step = self._L.matvec(control)
        self.gradient = self._L.rsolve(control)
        self.chi2 = float(d @ d - projected @ (self._eigenvalues * projected))

    @property
    def _eigenvalues(self) -> Array:
        return self._s**2 / (1.0 + self._s**2)

    def covariance(self, Wt: Array) -> Array:
        """Return W L (I − V Λ Vᵀ) Lᵀ Wᵀ."""
        U = self._L.rmatvec(Wt)
        P = self._Vt @ U
        return U.T @ U - P.T @ (self._eigenvalues[:, None] * P)

    def gain(self, Wt: Array) -> Array:
        """Return L_R⁻ᵀ U (s / (1 + s²)) Vᵀ Lᵀ Wᵀ."""
        P = self._Vt @ self._L.rmatvec(Wt)
        return self._L_R.rsolve(self._U @ ((self._s / (1.0 + self._s**2))[:, None] * P))

    def variances(self) -> Array:
        """Return diag Ŝ."""
        U = self._L.rmatvec(np.eye(self.joint.B.size))
        P = self._Vt @ U
        return np.einsum("ij,ij->j", U, U) - np.einsum("ij,i,ij->j", P, self._eigenvalues, P)

    def whole(self) -> Array:
        """Return L (I − V Λ Vᵀ) Lᵀ."""
        return self.covariance(np.eye(self.joint.B.size))

    def traces(self) -> Traces:
        """Read them off the eigenvalues."""
        tail = self._Vt[:, self.n_state :]
        boundary = float(np.einsum("ij,i,ij->", tail, self._eigenvalues, tail))
        return Traces(float(self._eigenvalues.sum()), boundary, float((self._eigenvalues**2).sum()))

    def influence(self) -> Array:
        """Return diag(U Λ Uᵀ)."""
        return np.einsum("ij,j,ij->i", self._U, self._eigenvalues, self._U)
