"""What a solver returns: mean, exact covariance of any aggregate, averaging kernels, diagnostics, findings.

Aggregates
----------
An aggregate is k linear forms of the state, W x: an array (k, m), a scipy.sparse matrix, or a `DataArray` with the
dimensions (name, ``state``), whose name, coordinates and ``units`` (those of W x) the result then carries, a second
dimension as ``name_2``; without a name the dimension is ``aggregate``. Nothing of size m x m is formed for it.
"""

from __future__ import annotations

import functools
import json
from importlib.metadata import version
from typing import Any

import numpy as np
import xarray as xr

from inversion.aggregate import Aggregate, coordinates, read
from inversion.covariance.operator import Array
from inversion.diagnostics import Diagnostics, diagnose, judge, site_table
from inversion.findings import Finding, Grade, as_text
from inversion.fixed import Fixed
from inversion.problem import Problem
from inversion.solve.solution import Solution


class Posterior:
    """Gaussian posterior of x (and b) given y; everything but the mean is computed when asked for.

    Attributes
    ----------
    problem : Problem
    solution : inversion.solve.solution.Solution
        The form that was solved: `.form` is "observation", "state", "root", "Lanczos observation" or
        "Lanczos control".
    mean : xr.DataArray (state)
        x̂, in the units of x_a.
    boundary : xr.DataArray (boundary) or None
        b̂.
    fixed : inversion.fixed.Fixed
        What would be the same for other observed values; posteriors of one problem may share it.
    """

    def __init__(self, problem: Problem, solution: Solution, *, fixed: Fixed | None = None) -> None:
        self.problem = problem
        self.solution = solution
        self.fixed = Fixed(problem, solution) if fixed is None else fixed
        m = problem.n_state
        self.mean = problem.x_a.copy(data=problem.x_a.values + solution.step[:m])
        self.boundary = None if problem.b_a is None else problem.b_a.copy(data=problem.b_a.values + solution.step[m:])

    @functools.cached_property
    def baseline(self) -> xr.DataArray:
        """H_b b̂ (obs), in the units of y; zero without boundary terms."""
        return self.problem.baseline(self.boundary)

    @functools.cached_property
    def fitted(self) -> xr.DataArray:
        """H x̂ + H_b b̂ (obs), in the units of y."""
        return self.problem.simulate(self.mean, self.boundary)

    @functools.cached_property
    def residual(self) -> xr.DataArray:
        """Residual y − H x̂ − H_b b̂ (obs), in the units of y."""
        return self.problem.y.copy(data=self.problem.y.values - self.fitted.values)

    @functools.cached_property
    def innovation(self) -> xr.DataArray:
        """Innovation d = y − H x_a − H_b b_a (obs), in the units of y."""
        return self.problem.y.copy(data=self.solution.joint.innovation)

    @functools.cached_property
    def multiplier(self) -> Array:
        """λ = S⁻¹ d = R⁻¹ (y − H x̂ − H_b b̂) (n,)."""
        return self.problem.R.solve(self.residual.values)

    @functools.cached_property
    def diagnostics(self) -> Diagnostics:
        """χ², J_a, degrees of freedom, residuals by site."""
        return diagnose(self)

    @functools.cached_property
    def by_site(self) -> xr.Dataset:
        """Residuals, degrees of freedom, Desroziers' errors and leave-one-site-out skill of every site."""
        return site_table(self)

    @functools.cached_property
    def findings(self) -> tuple[Finding, ...]:
        """What the result says about itself, the worst first."""
        found = (*judge(self), *self.solution.findings())
        return tuple(sorted(found, key=lambda finding: list(Grade).index(finding.grade)))

    @functools.cached_property
    def seen(self) -> xr.DataArray:
        """1 − σ_post²/σ_prior² of every state (state,); the diagonal of A where B is diagonal."""
        m = self.problem.n_state
        return self.problem.x_a.copy(data=1.0 - self._variances[:m] / self.problem.B.diagonal())

    def total(self, aggregate: Any) -> xr.DataArray:
        """Return W x̂ (k,)."""
        W = self._read(aggregate)
        return self._labelled(W.columns[: self.problem.n_state].T @ self.mean.values, W)

    def prior_total(self, aggregate: Any) -> xr.DataArray:
        """Return W x_a (k,)."""
        W = self._read(aggregate)
        return self._labelled(W.columns[: self.problem.n_state].T @ self.problem.x_a.values, W)

    def covariance(self, aggregate: Any = None) -> xr.DataArray:
        """Return W Ŝ Wᵀ (k, k): exactly, or from `variational` as an upper bound.

        Parameters
        ----------
        aggregate : array, sparse matrix or DataArray (k, m), optional
            Without it the whole Ŝ (m, m).

        Returns
        -------
        xr.DataArray (k, k)
            Dimensions ``name`` and ``name_2``; units squared. Where it is an upper bound, the attribute
            ``stdev_too_large_by_at_most`` says by which share a standard deviation can be above the exact one.

        Raises
        ------
        InversionError
            Where the whole is asked for and m is above 5000, or `aggregate` does not fit.
        """
        W = self._read(aggregate)
        m = self.problem.n_state
        values = self.solution.whole()[:m, :m] if aggregate is None else self.solution.covariance(W.columns)
        return self._labelled(values, W, W).assign_attrs(self._bounds(W, values))

    def prior_covariance(self, aggregate: Any = None) -> xr.DataArray:
        """Return W B Wᵀ (k, k); arguments as `covariance`."""
        W = self._read(aggregate)
        return self._labelled(self.problem.B.aggregate(W.columns[: self.problem.n_state].T), W, W)

    def stdev(self, aggregate: Any = None) -> xr.DataArray:
        """Return the posterior standard deviations of W x, or of every state."""
        if aggregate is None:
            return self.problem.x_a.copy(data=np.sqrt(self._variances[: self.problem.n_state]))
        W = self._read(aggregate)
        values = self.solution.covariance(W.columns)
        return self._labelled(np.sqrt(np.diagonal(values)), W).assign_attrs(self._bounds(W, values))

    def prior_stdev(self, aggregate: Any = None) -> xr.DataArray:
        """Return the prior standard deviations of W x, or of every state."""
        if aggregate is None:
            return self.problem.x_a.copy(data=np.sqrt(self.problem.B.diagonal()))
        W = self._read(aggregate)
        return self._labelled(np.sqrt(np.diagonal(self.prior_covariance(aggregate).values)), W)

    def gain(self, aggregate: Any) -> xr.DataArray:
        """Return W K (k, obs): how the aggregates answer to each observation."""
        W = self._read(aggregate)
        return self._labelled(self.solution.gain(W.columns).T, W, self.problem.y)

    def averaging_kernel(self, aggregate: Any) -> xr.DataArray:
        """Return W A = W K H (k, state): how the estimated aggregates answer to the true states.

        A covariance S of x seen through it is W A S Aᵀ Wᵀ = ``S.aggregate(posterior.averaging_kernel(W))``.
        """
        W = self._read(aggregate)
        return self._labelled(self.solution.kernel(W.columns)[: self.problem.n_state].T, W, self.problem.x_a)

    def noise_covariance(self, aggregate: Any) -> xr.DataArray:
        """Return W K (R + H_b B_b H_bᵀ) Kᵀ Wᵀ (k, k).

        Everything in W x̂ that does not come from the true x, boundary terms included: the covariance of
        W x̂ − W [x_a + A (x − x_a)]. Together with W A S Aᵀ Wᵀ it is what x̂ may differ by from x_a + A (x_inv − x_a)
        when S is the covariance of x_inv.
        """
        W = self._read(aggregate)
        gain = self.solution.gain(W.columns)
        noise = self.problem.R.aggregate(gain.T)
        if self.problem.H_b is not None and self.problem.B_b is not None:
            noise = noise + self.problem.B_b.aggregate(self.problem.H_b.rmatvec(gain).T)
        return self._labelled(noise, W, W)

    def variance_reduction(self, aggregate: Any) -> xr.DataArray:
        """Return 1 − diag(W Ŝ Wᵀ) / diag(W B Wᵀ) (k,): the share of an aggregate that the observations determine.

        It equals W A B Wᵀ / W B Wᵀ, the averaging kernel of the aggregate itself.
        """
        W = self._read(aggregate)
        after = np.diagonal(self.solution.covariance(W.columns))
        before = np.diagonal(self.problem.B.aggregate(W.columns[: self.problem.n_state].T))
        return self._labelled(1.0 - after / before, W._replace(units="1"))

    @functools.cached_property
    def observations(self) -> xr.Dataset:
        """Observed and simulated mole fractions (obs), PARIS names, in the units of y."""
        y = self.problem.y
        parts = {
            "mf_observed": y,
            "mf_prior": self.problem.simulate(self.problem.x_a),
            "mf_posterior": self.fitted,
            "mf_bc_prior": self.problem.baseline(),
            "mf_bc_posterior": self.baseline,
            "stdev_mf_total": y.copy(data=np.sqrt(self.problem.R.diagonal())),
        }
        return xr.Dataset({name: part.rename(name) for name, part in parts.items()})

    def to_dataset(self) -> xr.Dataset:
        """Return the result with its statistics, findings and provenance (schema POSTERIOR)."""
        states = {
            "state_prior": self.problem.x_a,
            "state_posterior": self.mean,
            "stdev_state_prior": self.prior_stdev(),
            "stdev_state_posterior": self.stdev(),
            "state_seen": self.seen.assign_attrs(units="1"),
        }
        ds = xr.merge([xr.Dataset({k: v.rename(k) for k, v in states.items()}), self.observations], join="exact")
        if self.problem.b_a is not None and self.boundary is not None and self.problem.B_b is not None:
            m = self.problem.n_state
            edges = {
                "boundary_prior": self.problem.b_a,
                "boundary_posterior": self.boundary,
                "stdev_boundary_prior": self.boundary.copy(data=np.sqrt(self.problem.B_b.diagonal())),
                "stdev_boundary_posterior": self.boundary.copy(data=np.sqrt(self._variances[m:])),
            }
            ds = ds.assign({name: edge.rename(name) for name, edge in edges.items()})
        ds = ds.merge(self.by_site, join="exact", compat="equals")
        ds["finding"] = ("findings", np.array([str(f) for f in self.findings], dtype=object))
        ds.attrs = self._attributes()
        return ds

    def _attributes(self) -> dict[str, Any]:
        d = self.diagnostics
        return {
            "title": self.problem.name,
            "form": self.solution.form,
            "skyledger_version": version("skyledger"),
            "findings": as_text(self.findings),
            "provenance": json.dumps(self.problem.provenance, sort_keys=True),
            "n_obs": d.n_obs,
            "n_state": d.n_state,
            "n_boundary": d.n_boundary,
            "chi2": d.chi2,
            "chi2_probability": d.chi2_probability,
            "J_a": d.J_a,
            "J_a_probability": d.J_a_probability,
            "J_o": d.J_o,
            "dofs": d.dofs,
            "dofs_error": self.solution.trace_error,
            "dofs_state": d.dofs_state,
            "dofs_boundary": d.dofs_boundary,
        }

    def _bounds(self, W: Aggregate, covariance: Array) -> dict[str, float]:
        """Return how far the worst standard deviation can be above the exact one, where it is not exact."""
        shortfall = self.solution.shortfall(W.columns)
        if shortfall is None:
            return {}
        variance = np.diagonal(covariance)
        least = variance - shortfall
        ratio = np.divide(variance, least, out=np.full_like(least, np.inf), where=least > 0)
        return {"stdev_too_large_by_at_most": float(np.sqrt(ratio.max()) - 1.0)}

    @functools.cached_property
    def _variances(self) -> Array:
        return self.fixed.variances

    def _read(self, aggregate: Any) -> Aggregate:
        return read(self.problem, aggregate)

    def _labelled(self, values: Array, W: Aggregate, other: Aggregate | xr.DataArray | None = None) -> xr.DataArray:
        """Return an array with the labels of W, and of what its columns are."""
        coords: dict[str, Any] = {key: (W.dim, value.values) for key, value in W.coords.items()}
        if other is None:
            return xr.DataArray(values, dims=W.dim, coords=coords, attrs={"units": W.units})
        if isinstance(other, Aggregate):
            second = f"{other.dim}_2"
            coords |= {f"{key}_2": (second, value.values) for key, value in other.coords.items()}
            return xr.DataArray(values, dims=(W.dim, second), coords=coords, attrs={"units": f"({W.units})2"})
        column = str(other.dims[0])
        coords |= {key: (column, value.values) for key, value in coordinates(other).items() if key not in coords}
        return xr.DataArray(values, dims=(W.dim, column), coords=coords)
