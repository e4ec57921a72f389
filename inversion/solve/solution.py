"""What a form of the batch solution offers the posterior: everything through aggregates, nothing of size m x m.

For z = [x; b], S = H B Hᵀ + R, K = B Hᵀ S⁻¹, A = K H, Ŝ = (I − A) B (Rodgers 2000, Eqs 4.37 and 2.30). Observations are
whitened by the lower triangular factor L_R of R where it is said.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from inversion.covariance import Covariance
from inversion.covariance.operator import Array
from inversion.errors import InversionError
from inversion.findings import Finding
from inversion.problem import Joint


class Traces(NamedTuple):
    """Degrees of freedom for signal."""

    total: float
    """tr A."""
    boundary: float
    """tr of the boundary block of A."""
    squared: float
    """tr(A²)."""


class Solution(ABC):
    """Posterior of z.

    Attributes
    ----------
    step : array (m + p,)
        ẑ − z_a.
    gradient : array (m + p,)
        B⁻¹ (ẑ − z_a), found without a solve with B.
    chi2 : float
        dᵀ S⁻¹ d.
    """

    form: str
    step: Array
    gradient: Array
    chi2: float
    trace_error: float = 0.0
    """Standard error of tr A, where it is estimated."""

    def __init__(self, joint: Joint, R: Covariance, n_state: int, *, memory_gb: float | None = None) -> None:
        del memory_gb  # for those forms that know what they take
        self.joint = joint
        self.R = R
        self.n_state = n_state

    @abstractmethod
    def covariance(self, Wt: Array) -> Array:
        """Return W Ŝ Wᵀ (k, k) for Wᵀ (m + p, k)."""

    @abstractmethod
    def whole(self) -> Array:
        """Return Ŝ (m + p, m + p)."""

    @abstractmethod
    def gain(self, Wt: Array) -> Array:
        """Return (W K)ᵀ (n, k)."""

    @abstractmethod
    def variances(self) -> Array:
        """Return diag Ŝ (m + p,)."""

    @abstractmethod
    def traces(self) -> Traces:
        """Return the traces of A."""

    @abstractmethod
    def influence(self) -> Array:
        """Return diag(L_R⁻¹ H K L_R) (n,): what each whitened observation adds to tr A."""

    def kernel(self, Wt: Array) -> Array:
        """Return (W A)ᵀ (m + p, k)."""
        return self.joint.H.rmatvec(self.gain(Wt))

    def shortfall(self, Wt: Array) -> Array | None:
        """Return by how much at most each variance diag(W Ŝ Wᵀ) is too large (k,); None where they are exact."""
        del Wt
        return None

    def exact(self) -> Solution | None:
        """Return the solution whose covariance follows the equations above to rounding; None where there is none."""
        return self

    def findings(self) -> tuple[Finding, ...]:
        """Return what the solver itself has to say about the result."""
        return ()


def require_room(needed: float, memory_gb: float | None) -> None:
    """Refuse a form that takes more than it may.

    Parameters
    ----------
    needed : float [bytes]
    memory_gb : float [1e9 bytes], optional

    Raises
    ------
    InversionError
    """
    if memory_gb is not None and needed > memory_gb * 1e9:
        msg = (
            f"memory_gb is {memory_gb:g}, but this form takes about {needed * 1e-9:.2g} GB; give it that, try the form "
            f"'observation', or use solve.variational, which forms no matrix."
        )
        raise InversionError(msg)
