"""Chains of the No-U-Turn sampler (Hoffman and Gelman 2014, JMLR 15, 1593) through NumPyro; the one module with JAX."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from numpyro.infer import MCMC, NUTS

from inversion.covariance.operator import Array
from inversion.solve.hierarchy import Hierarchy


class Chains(NamedTuple):
    """What was drawn."""

    q: Array
    """(chain, draw, m + p + k)."""
    divergent: int


def draw(model: Hierarchy, *, draws: int, warmup: int, chains: int, seed: int, accept: float) -> Chains:
    """Draw from the posterior, in coordinates that are made round first.

    Parameters
    ----------
    model : Hierarchy
        Its coordinates are settled here.
    draws, warmup, chains, seed : int
    accept : float
        Acceptance the step size is adapted to.

    Returns
    -------
    Chains
    """
    with jax.enable_x64(True):
        model.settle(*_mode(model))

        def potential(q: Any) -> Any:
            return -model.log_density(q, jnp)

        size = model.size + len(model.names)
        # The coordinates are round already: a full mass matrix costs three times as much and gains nothing.
        kernel = NUTS(potential_fn=potential, target_accept_prob=accept)
        sampler = MCMC(
            kernel,
            num_warmup=warmup,
            num_samples=draws,
            num_chains=chains,
            chain_method="vectorized" if chains > 1 else "sequential",
            progress_bar=False,
        )
        first = 0.5 * np.random.default_rng(seed).standard_normal((chains, size))
        sampler.run(
            jax.random.PRNGKey(seed),
            init_params=jnp.asarray(first if chains > 1 else first[0]),
            extra_fields=("diverging",),
        )
        q = np.asarray(sampler.get_samples(group_by_chain=True), dtype=np.float64)
        return Chains(q, int(np.asarray(sampler.get_extra_fields()["diverging"]).sum()))


def _mode(model: Hierarchy) -> tuple[Array, Array]:
    """Return the mode of v with the hyper-parameters at their medians, and the Hessian of −ln p there."""
    known = model.hyper(np.zeros(len(model.names)))

    def cost(v: Any) -> Any:
        return -model.log_posterior(v, known, jnp)

    gradient, hessian = jax.jit(jax.grad(cost)), jax.jit(jax.hessian(cost))
    found = scipy.optimize.minimize(
        lambda v: float(cost(jnp.asarray(v))),
        model.start(),
        jac=lambda v: np.asarray(gradient(jnp.asarray(v))),
        hess=lambda v: np.asarray(hessian(jnp.asarray(v))),
        method="trust-exact",
        options={"gtol": 1e-6, "maxiter": 200},
    )
    return found.x, np.asarray(hessian(jnp.asarray(found.x)))
