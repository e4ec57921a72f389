"""The exact solution at once, in whichever space is smaller."""

from __future__ import annotations

from typing import Final

from inversion.errors import InversionError
from inversion.posterior import Posterior
from inversion.problem import Problem
from inversion.solve.observation import ObservationSolution
from inversion.solve.root import RootSolution
from inversion.solve.solution import Solution
from inversion.solve.state import StateSolution

FORMS: Final[dict[str, type[Solution]]] = {
    "observation": ObservationSolution,
    "state": StateSolution,
    "root": RootSolution,
}
"""Name of a form -> the class that solves it; all give the same result."""


def batch(problem: Problem, *, form: str = "auto", memory_gb: float | None = None) -> Posterior:
    """Return the Gaussian posterior of a linear problem, exactly.

    x̂ = x_a + K (y − H x_a), K = B Hᵀ (H B Hᵀ + R)⁻¹, Ŝ = B − K H B (Rodgers 2000, Eqs 4.37 and 2.30), for x and the
    boundary terms together. B is only multiplied in observation space, and never formed where it is Kronecker; no
    inverse is formed. Covariances of aggregates are exact.

    Parameters
    ----------
    problem : Problem
    form : str
        "observation" (n x n), "state" (m x m), "root" (singular values, for comparison), or "auto": the smaller of
        the first two.
    memory_gb : float [1e9 bytes], optional
        What the solution may take beside H, where that is in memory: sets the size of blocks in observation space, and
        refuses what cannot fit. 20,000 observations of 60,000 states take 1.7 GB and some blocks.

    Returns
    -------
    Posterior

    Raises
    ------
    InversionError
        Where `form` is not known, or the problem does not fit into `memory_gb`.
    ProblemError
        Where double precision does not suffice.

    Examples
    --------
    >>> from inversion.covariance import Diagonal
    >>> problem = Problem(y=[3.0], H=[[1.0]], R=Diagonal([1.0]), x_a=[1.0], B=Diagonal([1.0]),
    ...                   y_units="nmol mol-1", x_units="1")
    >>> batch(problem).mean.values
    array([2.])
    """
    if form == "auto":
        form = "state" if problem.n_state + problem.n_boundary < problem.n_obs else "observation"
    if form not in FORMS:
        msg = f"form is {form!r}, expected 'auto', {', '.join(map(repr, FORMS))}."
        raise InversionError(msg)
    return Posterior(problem, FORMS[form](problem.joint(), problem.R, problem.n_state, memory_gb=memory_gb))
