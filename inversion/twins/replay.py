"""Posteriors of other observed values from one factorisation."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np

from inversion.covariance.operator import Array
from inversion.posterior import Posterior


def replay(posterior: Posterior, Y: Array) -> Iterator[Posterior]:
    """Yield the posterior of each column of observed values, with all that posteriors offer.

    With g = Hᵀ R⁻¹ d, Hᵀ S⁻¹ d = g − Hᵀ S⁻¹ H B g (Sherman, Morrison and Woodbury), so that ẑ − z_a = B (g − (Aᵀ g)) is
    one product with the factorisation there is, for all columns at once.

    Parameters
    ----------
    posterior : Posterior
        Of the same H, R, B and prior means.
    Y : array (n, k)
        In the units of y.

    Yields
    ------
    Posterior
        k of them; they share `Posterior.fixed`.
    """
    problem, solution = posterior.problem, posterior.solution
    joint = solution.joint
    D = Y - problem.simulate(problem.x_a.values).values[:, None]
    weighted = joint.H.rmatvec(problem.R.solve(D))
    gradient = weighted - solution.kernel(np.ascontiguousarray(weighted))
    step = joint.B.matvec(gradient)
    chi2 = np.einsum("ij,ij->j", D, problem.R.solve(D - joint.H.matvec(step)))
    for k in range(Y.shape[1]):
        twin, other = copy.copy(problem), copy.copy(solution)
        twin.y = problem.y.copy(data=Y[:, k])
        other.joint = joint._replace(innovation=D[:, k])
        other.step, other.gradient, other.chi2 = step[:, k], gradient[:, k], float(chi2[k])
        yield Posterior(twin, other, fixed=posterior.fixed)
