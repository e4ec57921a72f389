"""Sampling: positive fluxes and unknown hyper-parameters, whose posterior no formula gives."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse
import xarray as xr

from inversion.convergence import Convergence, converged, ess, judge_chains, rhat
from inversion.covariance.operator import Array, columns
from inversion.diagnostics import judge, state_name
from inversion.errors import InversionError
from inversion.findings import Finding, Grade
from inversion.hyper import with_covariances
from inversion.posterior import Posterior
from inversion.problem import Problem
from inversion.solve.batch import batch
from inversion.solve.hierarchy import Hierarchy, Spread
from inversion.solve.members import MemberSolution


class SampledPosterior(Posterior):
    """Posterior from draws: the interface of `Posterior`, means and covariances being those of the draws.

    `problem` has R and B at the posterior medians of the hyper-parameters where those were unknown. Gains and averaging
    kernels are those of the Gaussian with the draws' mean and covariance; χ² and degrees of freedom those of the batch
    solution of `problem`.

    Attributes
    ----------
    draws : xr.Dataset (chain, draw)
        ``x`` (chain, draw, state), ``b`` (chain, draw, boundary), ``theta`` (chain, draw, hyper).
    hyper : xr.Dataset (hyper)
        ``median``, ``low`` and ``high`` (95 %), ``rhat``, ``ess`` of the unknown hyper-parameters.
    convergence : Convergence
        R-hat and effective sample size of the worst of all states, boundary terms and hyper-parameters.
    """

    solution: MemberSolution

    def __init__(
        self, problem: Problem, solution: MemberSolution, draws: xr.Dataset, hyper: xr.Dataset, convergence: Convergence
    ) -> None:
        super().__init__(problem, solution)
        self.draws, self.hyper, self.convergence = draws, hyper, convergence

    @functools.cached_property
    def findings(self) -> tuple[Finding, ...]:
        """What the result says about itself, the worst first."""
        found = (*judge(self), *self.solution.findings())
        return tuple(sorted(found, key=lambda finding: list(Grade).index(finding.grade)))

    @functools.cached_property
    def seen(self) -> xr.DataArray:
        """1 − σ_post²/σ_prior² of every state (state,); 0 where the draws of what nobody sees scatter more than B."""
        return super().seen.clip(min=0.0)

    def quantile(self, aggregate: Any, q: float | Sequence[float]) -> xr.DataArray:
        """Return quantiles of W x (quantile, k), which a skewed posterior needs beside σ.

        Parameters
        ----------
        aggregate : as for `covariance`
        q : float or sequence of float
        """
        levels = np.atleast_1d(np.asarray(q, dtype=np.float64))
        totals = self.total(aggregate)
        values = np.quantile(self._of(aggregate), levels, axis=(0, 1))
        return totals.expand_dims(quantile=levels).copy(data=values)

    def mean_error(self, aggregate: Any) -> xr.DataArray:
        """Return the Monte-Carlo standard error of `total(aggregate)` (k,): σ / √(effective sample size)."""
        values = self._of(aggregate)
        return self.total(aggregate).copy(data=values.std(axis=(0, 1), ddof=1) / np.sqrt(ess(values)))

    def to_dataset(self) -> xr.Dataset:
        """Return the result (schema POSTERIOR), with the hyper-parameters and the convergence of the chains."""
        ds = super().to_dataset()
        named = {f"hyper_{name}": part for name, part in self.hyper.data_vars.items()}
        return ds.assign(named) if self.hyper.sizes["hyper"] else ds

    def _attributes(self) -> dict[str, Any]:
        c = self.convergence
        said = {"chains": c.chains, "draws": c.draws, "rhat": c.rhat, "ess": c.ess, "divergent": c.divergent}
        return super()._attributes() | said

    def _of(self, aggregate: Any) -> Array:
        """Return the draws of W x (chain, draw, k)."""
        self.total(aggregate)  # checks the shape
        W = aggregate.transpose(..., "state").values if isinstance(aggregate, xr.DataArray) else aggregate
        return self.draws["x"].values @ columns(W if scipy.sparse.issparse(W) else np.atleast_2d(W))


def sample(  # noqa: PLR0913  settings of model and sampler, all by keyword
    problem: Problem,
    *,
    fluxes: str = "gaussian",
    prior_scale: float | None = None,
    error_scale: float | None = None,
    correlation_hours: tuple[float, float] | None = None,
    draws: int = 1000,
    warmup: int = 1000,
    chains: int = 4,
    seed: int = 0,
    accept: float = 0.9,
) -> SampledPosterior:
    """Return the posterior of a hierarchical model by NUTS; equals `batch` where all is Gaussian and known.

    Needs NumPyro and JAX (extra ``sample``). See `inversion.solve.hierarchy` for the model.

    Parameters
    ----------
    problem : Problem
    fluxes : str
        "gaussian"; "lognormal", positive with mean x_a and covariance B; or "truncated", N(x_a, B) where x > 0.
    prior_scale : float, optional
        The standard deviations of B are multiplied by an unknown s; this is the standard deviation of ln s about 0.
    error_scale : float, optional
        Those of R by an unknown e for each site; this is the standard deviation of every ln e.
    correlation_hours : (float, float), optional
        Errors of a site follow one another with an unknown e-folding time: its median [h], and the standard deviation
        of its logarithm. R is to be diagonal then.
    draws, warmup : int
        Of each chain; warm-up draws adapt the sampler and are not kept.
    chains : int
        Two at least: whether they agree is what tells if the result is one.
    seed : int
        Same seed, same draws, on the same machine.
    accept : float
        Acceptance the step size is adapted to; higher is slower and follows narrow places better.

    Returns
    -------
    SampledPosterior
        With a finding where R-hat is above 1.01 or the effective sample size below 400: a warning, or a refusal beyond
        1.1 or below 50.

    Raises
    ------
    InversionError
        Where NumPyro is not there, or the problem does not fit the model.
    """
    if chains < 2 or draws < 50 or warmup < 50:
        msg = f"chains is {chains}, draws {draws}, warmup {warmup}; expected two or more, fifty or more, fifty or more."
        raise InversionError(msg)
    model = Hierarchy(problem, fluxes, Spread(prior_scale, error_scale, correlation_hours))
    try:
        from inversion.solve import chains as sampler  # noqa: PLC0415  needs the extra sample
    except ImportError as error:
        msg = f"solve.sample needs NumPyro and JAX ({error}); install them: pip install 'skyledger[science,sample]'."
        raise InversionError(msg) from None
    drawn = sampler.draw(model, draws=draws, warmup=warmup, chains=chains, seed=seed, accept=accept)
    return posterior_of(model, drawn.q, drawn.divergent)


def posterior_of(model: Hierarchy, q: Array, divergent: int) -> SampledPosterior:
    """Return the posterior that draws of the model's coordinates make.

    Parameters
    ----------
    model : Hierarchy
    q : array (chain, draw, m + p + k)
    divergent : int
        How many of them diverged.

    Returns
    -------
    SampledPosterior
    """
    problem, m = model.problem, model.problem.n_state
    z = np.empty((*q.shape[:2], model.size))
    theta = np.empty((*q.shape[:2], len(model.names)))
    for at in np.ndindex(q.shape[:2]):
        v, values, _ = model.place(q[at])
        z[at] = np.concatenate(model.unknowns(v, values.get("prior_scale", 1.0)))
        theta[at] = list(values.values())
    convergence = converged(np.concatenate([z, theta], axis=2), _names(model), divergent)
    hyper = _table(model.names, theta)
    said = (*judge_chains(convergence), *_findings(model, hyper))
    medians = dict(zip(model.names, hyper["median"].values.tolist(), strict=True))
    fitted = with_covariances(problem, model.covariances(medians), provenance=_provenance(model, q, medians))
    joint = fitted.joint()
    gaussian = batch(fitted).solution
    flat = z.reshape(-1, model.size)
    mean = flat.mean(axis=0)
    solution = MemberSolution(
        joint,
        fitted.R,
        m,
        step=mean - joint.z_a,
        deviations=np.ascontiguousarray((flat - mean).T),
        chi2=gaussian.chi2,
        statistics=gaussian,
        form="sample",
        said=said,
    )
    kept = xr.Dataset(
        {
            "x": (("chain", "draw", "state"), z[..., :m], {"units": problem.x_units}),
            "b": (("chain", "draw", "boundary"), z[..., m:], {"units": problem.b_units}),
            "theta": (("chain", "draw", "hyper"), theta),
        },
        coords={"hyper": model.names},
    )
    return SampledPosterior(fitted, solution, kept, hyper, convergence)


def _names(model: Hierarchy) -> list[str]:
    problem = model.problem
    states = [state_name(problem.x_a, i) for i in range(problem.n_state)]
    return [*states, *(f"boundary term {i}" for i in range(problem.n_boundary)), *model.names]


def _table(names: list[str], theta: Array) -> xr.Dataset:
    if not names:
        return xr.Dataset(coords={"hyper": np.zeros(0, dtype=str)}).assign(median=("hyper", np.zeros(0)))
    low, median, high = np.quantile(theta, [0.025, 0.5, 0.975], axis=(0, 1))
    columns = {"median": median, "low": low, "high": high, "rhat": rhat(theta), "ess": ess(theta)}
    return xr.Dataset({name: ("hyper", values) for name, values in columns.items()}, coords={"hyper": names})


def _findings(model: Hierarchy, hyper: xr.Dataset) -> list[Finding]:
    found = []
    if model.names:
        said = [
            f"{name} {float(row['median']):.3g} ({float(row['low']):.3g} to {float(row['high']):.3g})"
            for name, row in ((name, hyper.sel(hyper=name)) for name in model.names)
        ]
        sentence = f"Sampled with the fluxes, median (95 % interval): {', '.join(said)}; R and B are at the medians."
        found.append(Finding(Grade.INFORM, "hyper_parameters", sentence))
    if model.fluxes != "gaussian":
        sentence = (
            f"The prior is {model.fluxes}: χ², degrees of freedom and what J_a is held to are those of a Gaussian with "
            "the same mean and covariance; for intervals take quantiles of the draws."
        )
        found.append(Finding(Grade.INFORM, "not_gaussian", sentence))
    return found


def _provenance(model: Hierarchy, q: Array, medians: dict[str, float]) -> dict[str, Any]:
    said = {"fluxes": model.fluxes, "spread": list(model.spread), "chains": q.shape[0], "draws": q.shape[1]}
    return {"sampled": said | {"hyper-parameters": medians}}
