"""What the Lanczos processes are of: the problem whitened on both sides, as products."""

from __future__ import annotations

from inversion.covariance import Covariance
from inversion.problem import Joint
from inversion.solve.gradients import Operator


def observation_operator(joint: Joint, R: Covariance) -> Operator:
    """Return V -> L_R⁻¹ H B Hᵀ L_R⁻ᵀ V."""
    factor = R.sqrt()
    return lambda V: factor.solve(joint.H.matvec(joint.B.matvec(joint.H.rmatvec(factor.rsolve(V)))))


def control_operator(joint: Joint, R: Covariance) -> Operator:
    """Return V -> Lᵀ Hᵀ R⁻¹ H L V."""
    factor = joint.B.sqrt()
    return lambda V: factor.rmatvec(joint.H.rmatvec(R.solve(joint.H.matvec(factor.matvec(V)))))
