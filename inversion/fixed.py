"""What does not depend on the observed values: computed once, shared by every posterior of the same H, R and B."""

from __future__ import annotations

import functools

from inversion.covariance.operator import Array
from inversion.innovations import SiteBlock, site_blocks
from inversion.problem import Problem
from inversion.solve.solution import Solution, Traces


class Fixed:
    """Traces, influences, variances and the blocks of single sites of one solution; each computed when asked for.

    Parameters
    ----------
    problem : Problem
        Its y is not looked at, but for its coordinates.
    solution : inversion.solve.solution.Solution
    """

    def __init__(self, problem: Problem, solution: Solution) -> None:
        self._problem = problem
        self._solution = solution

    @functools.cached_property
    def traces(self) -> Traces:
        """Degrees of freedom for signal."""
        return self._solution.traces()

    @functools.cached_property
    def influence(self) -> Array:
        """What each observation adds to tr A (n,)."""
        return self._solution.influence()

    @functools.cached_property
    def variances(self) -> Array:
        """Variances of the posterior, diag Ŝ (m + p,)."""
        return self._solution.variances()

    @functools.cached_property
    def sites(self) -> tuple[SiteBlock, ...]:
        """Blocks of the innovation covariance and its inverse, by site; empty without sites or an exact solution."""
        exact = self._solution.exact()
        return () if exact is None else site_blocks(self._problem, exact)
