"""Observation-space form: one n x n factorisation, B only ever multiplied (Yadav and Michalak 2013, GMD 6, 583)."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np

from inversion.covariance import Covariance
from inversion.covariance.operator import Array
from inversion.errors import InversionError, ProblemError
from inversion.findings import Finding, Grade
from inversion.jacobian import BLOCK_BYTES, Jacobian
from inversion.problem import Joint
from inversion.solve.panels import WHOLE, Panels
from inversion.solve.probes import signs
from inversion.solve.solution import Solution, Traces

_BLOCKS = 8
"""S is built in this many rows of blocks at least, to leave out its upper half."""
_COLUMNS = 512
"""Columns of a triangular solve held at a time."""
_COPIES = 6
"""Blocks of the size of one of H B that are held while it is made."""
_LEAST_ROWS = 16
"""Rows of H B a block must have room for."""
_APART = 0.3e9
"""Bytes for what is small: the program, factors of B, vectors."""
_PROBES = 64
"""Random vectors that estimate tr(A²) where X is too large to be held."""


class ObservationSolution(Solution):
    """S = H B Hᵀ + R = L Lᵀ; λ = S⁻¹ d; ẑ − z_a = B Hᵀ λ."""

    form = "observation"

    def __init__(self, joint: Joint, R: Covariance, n_state: int, *, memory_gb: float | None = None) -> None:
        super().__init__(joint, R, n_state)
        rows = _rows_a_block(R.size, joint.B.size, memory_gb)
        self._columns = min(rows, _COLUMNS)
        self._lower = _factor(_innovation_covariance(joint.H, joint.B, R, rows))
        whitened = self._whiten(joint.innovation)
        self.chi2 = float(whitened @ whitened)
        self.gradient = joint.H.rmatvec(self._lower.rsolve(whitened))
        self.step = joint.B.matvec(self.gradient)

    def covariance(self, Wt: Array) -> Array:
        """Return W B Wᵀ − (L⁻¹ H B Wᵀ)ᵀ (L⁻¹ H B Wᵀ)."""
        k = Wt.shape[1]
        prior, U = np.empty((k, k)), np.empty((self.R.size, k))
        for part in _parts(k, self._columns):
            BWt = self.joint.B.matvec(np.ascontiguousarray(Wt[:, part]))
            prior[:, part], U[:, part] = Wt.T @ BWt, self.joint.H.matvec(BWt)
        U = self._whiten(U)
        return 0.5 * (prior + prior.T) - U.T @ U

    def gain(self, Wt: Array) -> Array:
        """Return S⁻¹ H B Wᵀ."""
        U = self.joint.H.matvec(self.joint.B.matvec(Wt))
        return self._lower.rsolve(self._whiten(U))

    def variances(self) -> Array:
        """Return diag B − Σᵢ (L⁻¹ H B)ᵢⱼ², by columns."""
        size = self.joint.B.size
        reduction = np.empty(size)
        for part in _parts(size, self._columns):
            U = self._whiten(self.joint.H.matvec(self.joint.B.matvec(_units(size, part))))
            reduction[part] = np.einsum("ij,ij->j", U, U)
        return self.joint.B.diagonal() - reduction

    def whole(self) -> Array:
        """Return B − (L⁻¹ H B)ᵀ (L⁻¹ H B)."""
        return self.covariance(np.eye(self.joint.B.size))

    def traces(self) -> Traces:
        """Use L_R⁻¹ H K L_R = I − XᵀX, X = L⁻¹ L_R: tr A = n − |X|²."""
        n, kept = self.R.size, self._kept.sum()
        return Traces(float(n - kept), self._boundary_trace(), self._trace_squared())

    def findings(self) -> tuple[Finding, ...]:
        """Say where tr(A²) is estimated."""
        if self.R.size <= WHOLE:
            return ()
        sentence = (
            f"tr(A²), which says how far J_a may be from tr A, is estimated by {_PROBES} random vectors: with "
            f"{self.R.size} observations the exact one would take another {8e-9 * self.R.size**2:.1f} GB."
        )
        return (Finding(Grade.INFORM, "trace_squared_estimated", sentence),)

    def influence(self) -> Array:
        """Return 1 − the squared column norms of X."""
        return 1.0 - self._kept

    def _trace_squared(self) -> float:
        """|I − XᵀX|², or the mean of |(I − XᵀX) z|² over random signs z where X is too large."""
        n = self.R.size
        if n <= WHOLE:
            X = self._whiten(self.R.sqrt().matvec(np.eye(n)))
            crossed = X.T @ X
            return float(n - 2.0 * np.trace(crossed) + np.vdot(crossed, crossed))
        Z = signs(n, _PROBES, 0)
        factor = self.R.sqrt()
        seen = Z - factor.rmatvec(self._lower.rsolve(self._whiten(factor.matvec(Z))))
        return float(np.vdot(seen, seen) / _PROBES)

    @functools.cached_property
    def _kept(self) -> Array:
        """Squared column norms of X, lower triangular as both its factors are."""
        n, factor = self.R.size, self.R.sqrt()
        kept = np.empty(n)
        for part in _parts(n, _COLUMNS):
            X = self._lower.solve(factor.matvec(_units(n, part)), first=part.start)
            kept[part] = np.einsum("ij,ij->j", X, X)
        return kept

    def _boundary_trace(self) -> float:
        size = self.joint.B.size
        if size == self.n_state:
            return 0.0
        return float(np.trace(self.kernel(_units(size, slice(self.n_state, size)))[self.n_state :]))

    def _whiten(self, U: Array) -> Array:
        return self._lower.solve(U)


def _units(size: int, part: slice) -> Array:
    unit = np.zeros((size, part.stop - part.start))
    unit[part] = np.eye(part.stop - part.start)
    return unit


def _rows_a_block(n: int, size: int, memory_gb: float | None) -> int:
    """Return how many rows of H B, or columns of B, may be held at a time.

    Raises
    ------
    InversionError
        Where S and a few rows do not fit.
    """
    if memory_gb is None:
        return max(1, min(BLOCK_BYTES // (8 * size), -(-n // _BLOCKS)))
    room = memory_gb * 1e9 - Panels.bytes_for(n) - _APART
    rows = int(room // (8 * size * _COPIES))
    if rows < min(_LEAST_ROWS, n):
        least = Panels.bytes_for(n) + _APART + 8 * size * _COPIES * _LEAST_ROWS
        msg = (
            f"memory_gb is {memory_gb:g}, but {n} observations of {size} unknowns take {1.05e-9 * least:.2g} GB in "
            f"observation space; give it that, or use solve.variational, which forms no matrix."
        )
        raise InversionError(msg)
    return min(rows, max(1, -(-n // _BLOCKS)))


def _innovation_covariance(H: Jacobian, B: Covariance, R: Covariance, rows: int) -> Panels:
    """Return the lower half of H B Hᵀ + R, by blocks of rows of H B."""
    S = Panels(H.shape[0])
    for part in _parts(H.shape[0], rows):
        BHt = B.matvec(_transposed_rows(H, part))
        for other in H.blocks():
            left = slice(other.start, min(other.stop, part.stop))
            if left.start < left.stop:
                S.put(part, left, H.part_matvec(left, BHt).T)
    S.add(R)
    return S


def _transposed_rows(H: Jacobian, part: slice) -> Array:
    """Return the rows of `part` as columns, read a block at a time."""
    Ht = np.empty((H.shape[1], part.stop - part.start))
    for block in _parts(part.stop - part.start, next(H.blocks()).stop):
        Ht[:, block] = H.rows(slice(part.start + block.start, part.start + block.stop)).T
    return Ht


def _parts(size: int, step: int) -> Iterator[slice]:
    """Yield consecutive parts of `size`."""
    for start in range(0, size, step):
        yield slice(start, min(start + step, size))


def _factor(S: Panels) -> Panels:
    try:
        S.factorise()
    except np.linalg.LinAlgError as error:
        raise ProblemError(
            "The problem",
            [f"H B Hᵀ + R is not positive definite ({error}): R is too small beside H B Hᵀ for double precision."],
        ) from None
    return S
