"""State-space form: one m x m factorisation, preconditioned by the factor of B so that no B⁻¹ appears."""

from __future__ import annotations

import functools

import numpy as np
import scipy.linalg
from scipy.linalg import lapack

from inversion.covariance import Covariance
from inversion.covariance.operator import Array
from inversion.jacobian import BLOCK_BYTES
from inversion.problem import Joint
from inversion.products import gram, product
from inversion.solve.solution import Solution, Traces, require_room
from inversion.threads import scipy_alone

_ROWS = 8192
"""Most rows of H whitened at a time."""


class StateSolution(Solution):
    """M = I + Lᵀ Hᵀ R⁻¹ H L = C Cᵀ with B = L Lᵀ; ẑ − z_a = L M⁻¹ Lᵀ Hᵀ R⁻¹ d; Ŝ = L M⁻¹ Lᵀ."""

    form = "state"

    @scipy_alone()
    def __init__(self, joint: Joint, R: Covariance, n_state: int, *, memory_gb: float | None = None) -> None:
        super().__init__(joint, R, n_state)
        require_room(4 * 8 * joint.B.size**2, memory_gb)
        self._rows = max(1, min(_ROWS, BLOCK_BYTES // (8 * joint.B.size)))
        self._L = joint.B.sqrt()
        information, weighted = self._information()
        M = self._L.rmatvec(self._L.rmatvec(information).T)
        M[np.diag_indices_from(M)] += 1.0
        self._lower = scipy.linalg.cholesky(M, lower=True, check_finite=False)
        control = scipy.linalg.cho_solve((self._lower, True), self._L.rmatvec(weighted), check_finite=False)
        self.step = self._L.matvec(control)
        self.gradient = self._L.rsolve(control)
        residual = R.sqrt().solve(joint.innovation - joint.H.matvec(self.step))
        self.chi2 = float(residual @ residual + control @ control)

    @scipy_alone()
    def covariance(self, Wt: Array) -> Array:
        """Return (C⁻¹ Lᵀ Wᵀ)ᵀ (C⁻¹ Lᵀ Wᵀ)."""
        U = self._reduced(Wt)
        return gram(U)

    @scipy_alone()
    def gain(self, Wt: Array) -> Array:
        """Return R⁻¹ H Ŝ Wᵀ."""
        inner = scipy.linalg.cho_solve((self._lower, True), self._L.rmatvec(Wt), check_finite=False)
        return self.R.solve(self.joint.H.matvec(self._L.matvec(inner)))

    @scipy_alone()
    def whole(self) -> Array:
        """Return Ŝ."""
        return gram(self._root)

    def variances(self) -> Array:
        """Return the squared column norms of C⁻¹ Lᵀ."""
        return np.einsum("ij,ij->j", self._root, self._root)

    @scipy_alone()
    def traces(self) -> Traces:
        """Use that I − M⁻¹ is A in whitened coordinates, M⁻¹ the posterior covariance there."""
        size = len(self._lower)
        whitened, _ = lapack.dpotri(self._lower, lower=1)  # its other half stays as it is: zero
        diagonal = np.diagonal(whitened)
        entries = whitened.ravel(order="K")
        squared = float(2.0 * (entries @ entries) - diagonal @ diagonal)
        boundary = float((1.0 - diagonal[self.n_state :]).sum())
        return Traces(float(size - diagonal.sum()), boundary, float(size - 2.0 * diagonal.sum() + squared))

    @scipy_alone()
    def influence(self) -> Array:
        """Return the squared row norms of L_R⁻¹ H L C⁻ᵀ."""
        influence = np.empty(self.R.size)
        for part, piece in self.R.pieces(self._rows):
            V = product(piece.sqrt().solve(self.joint.H.rows(part)), self._root.T)
            influence[part] = np.einsum("ij,ij->i", V, V)
        return influence

    def _information(self) -> tuple[Array, Array]:
        """Return Hᵀ R⁻¹ H and Hᵀ R⁻¹ d, by pieces of R that know nothing of each other."""
        information: Array | float = 0.0
        weighted: Array | float = 0.0
        for part, piece in self.R.pieces(self._rows):
            factor = piece.sqrt()
            G = factor.solve(self.joint.H.rows(part))
            own = gram(G)
            own += information
            information = own
            weighted += G.T @ factor.solve(self.joint.innovation[part])
        return np.asarray(information), np.asarray(weighted)

    @functools.cached_property
    def _root(self) -> Array:
        """C⁻¹ Lᵀ: Ŝ is its transpose times itself."""
        return scipy.linalg.solve_triangular(self._lower, self._L.to_dense().T, lower=True, check_finite=False)

    def _reduced(self, Wt: Array) -> Array:
        return scipy.linalg.solve_triangular(self._lower, self._L.rmatvec(Wt), lower=True, check_finite=False)
