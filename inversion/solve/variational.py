"""The solution for problems too large for a factorisation: matrix-free, by Lanczos vectors, stopped when it may be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from inversion.aggregate import read
from inversion.covariance.operator import Array
from inversion.errors import InversionError
from inversion.findings import Finding, Grade
from inversion.posterior import Posterior
from inversion.problem import Problem
from inversion.solve.checkpoint import Checkpoint
from inversion.solve.krylov import ControlKrylov, Effort, KrylovSolution, ObservationKrylov

SPACES: Final[dict[str, type[KrylovSolution]]] = {"observation": ObservationKrylov, "control": ControlKrylov}
"""Name of a space -> the class that solves in it; both give the same result."""

_EVERY = 5
"""Steps between two looks at whether it may stop: a multiple of this, or `vectors`, is done."""
_FEWEST = 20
"""Vectors that must fit into memory."""
_SPARE = 90
"""Vectors of the length of the state, and as many of the observations', that products with sixteen at once need."""


def variational(  # noqa: PLR0913  all by keyword, all with a default
    problem: Problem,
    *,
    aggregate: Any = None,
    space: str = "auto",
    reduction: float = 1e-6,
    sigma: float = 0.01,
    refine: int = 50,
    vectors: int | None = None,
    memory_gb: float = 4.0,
    checkpoint: str | Path | None = None,
    probes: int = 8,
    seed: int = 0,
) -> Posterior:
    """Return the Gaussian posterior of a linear problem from Lanczos vectors, without forming any matrix.

    Minimises J = |L_R⁻¹ (d − H L χ)|² + |χ|² for z = z_a + L χ, B = L Lᵀ, R = L_R L_Rᵀ, in the Krylov space of the
    preconditioned problem with full reorthogonalisation; the same vectors give the posterior covariance of aggregates.
    Every variance is an upper bound, which falls to the exact value as vectors are added (`inversion.solve.krylov`);
    the result says how far it can still be off. Run to convergence it is `batch`.

    Parameters
    ----------
    problem : Problem
    aggregate : array, sparse matrix or DataArray (k, m), optional
        Aggregates whose convergence the findings are to state; their standard deviations are found at once.
    space : str
        "observation" (vectors of length n; B is only multiplied), "control" (of length m + p), or "auto": the smaller.
    reduction : float
        Stops when the gradient of J is this share of the one at the prior.
    sigma : float
        Share by which the standard deviation of an aggregate may be too large.
    refine : int
        Where the Lanczos vectors alone do not give an aggregate's covariance so well (those of `aggregate`, or of any
        other that the result is asked for): most steps of conjugate gradients, for all aggregates at once.
    vectors : int, optional
        Most vectors; by default as many as `memory_gb` has room for.
    memory_gb : float [1e9 bytes]
        What vectors and products may take, beside the aggregates and an H in memory.
    checkpoint : path, optional
        File in which every step is kept; where it exists, the run goes on from it and gives the same numbers.
    probes : int
        Random vectors that estimate what the Lanczos vectors leave out of the traces (DOFS); 0: leave it out.
    seed : int
        Of the probes, and of the vectors the process draws where it would end early.

    Returns
    -------
    Posterior
        `.findings` says how far the solution converged.

    Raises
    ------
    InversionError
        Where an argument cannot be, memory is too small, or the checkpoint is another problem's.

    Examples
    --------
    >>> from inversion.covariance import Diagonal
    >>> problem = Problem(y=[3.0], H=[[1.0]], R=Diagonal([1.0]), x_a=[1.0], B=Diagonal([1.0]),
    ...                   y_units="nmol mol-1", x_units="1")
    >>> variational(problem).mean.values
    array([2.])
    """
    joint = problem.joint()
    n, size = problem.n_obs, joint.B.size
    if space == "auto":
        space = "control" if size < n else "observation"
    if space not in SPACES:
        msg = f"space is {space!r}, expected 'auto', {', '.join(map(repr, SPACES))}."
        raise InversionError(msg)
    length = n if space == "observation" else size
    most = min(_most(length, n + size, memory_gb, vectors), length)
    kept = None if checkpoint is None else Checkpoint(checkpoint, {"space": space, "size": length, "seed": seed})
    effort = Effort(sigma, refine, probes)
    solution = SPACES[space](joint, problem.R, problem.n_state, seed=seed, effort=effort, checkpoint=kept)
    reached = _run(solution, reduction, most)
    solution.finish()
    said = [*_mean_findings(solution, reached, reduction)]
    if aggregate is not None:
        said += _stdev_findings(solution, solution.overestimate(read(problem, aggregate).columns), sigma)
    solution.conclude(tuple(said))
    return Posterior(problem, solution)


def _most(length: int, others: int, memory_gb: float, vectors: int | None) -> int:
    """Return how many vectors there may be."""
    room = int((memory_gb * 1e9 - 8 * _SPARE * others) // (8 * length))
    if room < min(_FEWEST, length):
        msg = (
            f"memory_gb is {memory_gb:g}: {max(room, 0)} Lanczos vectors of {length} numbers fit into it beside the "
            f"products, at least {min(_FEWEST, length)} are needed; give it {_enough(length, others):.2g} or more."
        )
        raise InversionError(msg)
    if vectors is None:
        return room
    if not 1 <= vectors <= max(room, 1):
        msg = f"vectors is {vectors}, expected 1 to {room}: no more fit into memory_gb = {memory_gb:g}."
        raise InversionError(msg)
    return vectors


def _enough(length: int, others: int) -> float:
    return 1.1e-9 * 8 * (_SPARE * others + min(_FEWEST, length) * length)


def _run(solution: KrylovSolution, reduction: float, most: int) -> float:
    """Let the process go on until the gradient is small enough, or no vector is left; return how far it came."""
    process = solution.process
    while not process.exhausted:
        # At fixed counts, so that a run that goes on from a checkpoint stops where the whole one does.
        if process.count >= most or (process.count and process.count % _EVERY == 0):
            reached = solution.gradient_reduction()
            if reached <= reduction or process.count >= most:
                return reached
        process.step()
    return 0.0


def _mean_findings(solution: KrylovSolution, reached: float, reduction: float) -> Iterator[Finding]:
    process, start = solution.process, solution.prior_gradient()
    sizes = f"{process.count} Lanczos vectors of {process.basis.size}"
    measured = solution.distance / start if start > 0 else 0.0
    yield Finding(
        Grade.INFORM,
        "lanczos",
        f"Solved by {sizes}; the gradient is {measured:.1e} of the prior's, so no mean is further than "
        f"{solution.distance:.1e} prior standard deviations from the exact one; standard deviations are upper "
        "bounds, those of single states from these vectors alone.",
    )
    if reached > reduction:
        yield Finding(
            Grade.WARN,
            "not_converged",
            f"The mean has not converged: after {sizes} the gradient is {reached:.1e} of the prior's, expected "
            f"{reduction:.1e}; allow more vectors or memory, the checkpoint lets it go on.",
        )


def _stdev_findings(solution: KrylovSolution, over: Array, sigma: float) -> Iterator[Finding]:
    worst, wide = float(over.max()), int((over > sigma).sum())
    if not wide:
        yield Finding(
            Grade.INFORM,
            "stdev_converged",
            f"The standard deviations of {over.size} aggregates are at most {worst:.1%} above the exact ones.",
        )
        return
    yield Finding(
        Grade.WARN,
        "stdev_not_converged",
        f"The standard deviations of {wide} of {over.size} aggregates have not converged: after "
        f"{solution.process.count} Lanczos vectors and {solution.effort.steps} steps one can be {worst:.0%} too large, "
        f"accepted are {sigma:.1%}; raise refine or vectors.",
    )
