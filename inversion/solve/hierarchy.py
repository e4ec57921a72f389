"""The hierarchical model that is sampled: positive fluxes, unknown scales of B and of each site's errors.

y = H x + H_b b + ε, b ~ N(b_a, B_b) and, with B = L Lᵀ and v ~ N(0, I),

    gaussian     x = x_a + s L v
    lognormal    x = exp(μ + s Λ v), Λ Λᵀ = ln(1 + B_ij / (x_a,i x_a,j)), μ = ln x_a − ½ s² diag(Λ Λᵀ):
                 mean x_a, and covariance B where s = 1
    truncated    x = exp(v), with the density of N(x_a, B) where x > 0 and 0 elsewhere

ε ~ N(0, R) with the standard deviations of every site times e; where the correlation time τ is unknown too, R_ij =
e² σ_i σ_j exp(−|t_i − t_j| / τ) within a site, whose inverse is tridiagonal. ln s, ln e and ln τ are normal.

Sampled are coordinates w in which the posterior is round: u = c + T w, c the mode and T from the Hessian there, and
v = u s^(−κ) with κ of each state from 0 to 1 as the observations determine it: with s v known, v must answer to s, and
with v unknown it must not (a partly centred parametrisation). The density is written for numpy and for JAX alike.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import scipy.linalg

from inversion.covariance import Covariance, Dense, Scaled
from inversion.covariance.operator import Array
from inversion.errors import InversionError
from inversion.problem import Problem

POSITIVE: Final = ("gaussian", "lognormal", "truncated")
"""What the fluxes may be."""
_LARGEST: Final = 2.5e7
"""Elements of H that are held and compiled in."""
_FLATTEST: Final = 0.05
"""Smallest curvature that is believed: v is not wider than some four times its prior."""


class Spread(NamedTuple):
    """Prior of the hyper-parameters: standard deviations of their logarithms; None where they are known."""

    prior: float | None
    error: float | None
    correlation: tuple[float, float] | None
    """Median [h] and standard deviation of the logarithm."""


class Hierarchy:
    """Log density of v and the hyper-parameters h ~ N(0, I).

    Parameters
    ----------
    problem : Problem
    fluxes : str
        One of `POSITIVE`.
    spread : Spread

    Attributes
    ----------
    names : list of str
        Names of the hyper-parameters.
    size : int
        m + p.

    Raises
    ------
    InversionError
        Where the problem does not fit the model.
    """

    def __init__(self, problem: Problem, fluxes: str, spread: Spread) -> None:
        _check(problem, fluxes, spread)
        self.problem, self.fluxes, self.spread = problem, fluxes, spread
        self.size = problem.n_state + problem.n_boundary
        self.sites, self._site = _sites(problem)
        self._counts = np.bincount(self._site).astype(np.float64)
        self.names = ["prior_scale"] if spread.prior is not None else []
        if spread.error is not None:
            self.names += [f"error_scale[{site}]" if site else "error_scale" for site in self.sites]
        self.names += ["correlation_hours"] if spread.correlation is not None else []
        H, y = problem.joint().H.rows(slice(0, problem.n_obs)), problem.y.values
        if spread.correlation is not None:
            order, self._gap = _gaps(problem, self._site)
            sigma = np.sqrt(problem.R.diagonal())
            self._site = self._site[order]
            self._H, self._y = (H / sigma[:, None])[order], (y / sigma)[order]
            self._logdet = 2.0 * float(np.log(sigma).sum())
        else:
            factor = problem.R.sqrt()
            whitened = factor.solve(np.ascontiguousarray(np.column_stack([H, y])))
            whitened, self._site = _compressed(whitened, self._site)
            self._H, self._y = whitened[:, :-1], whitened[:, -1]
            self._logdet = problem.R.logdet()
        self._set_prior()
        self._centre, self._axes, self._kappa = np.zeros(self.size), np.eye(self.size), np.zeros(problem.n_state)

    def _set_prior(self) -> None:
        problem = self.problem
        x_a, m = problem.x_a.values, problem.n_state
        if self.fluxes == "lognormal":
            logarithmic = np.log1p(problem.B.to_dense() / np.outer(x_a, x_a))
            self._root = Dense(logarithmic, name="the covariance of ln x").sqrt().to_dense()
            self._half = 0.5 * np.diagonal(logarithmic)
        else:
            self._root = problem.B.sqrt().to_dense()
        if self.fluxes == "truncated":
            self._whiten = scipy.linalg.solve_triangular(self._root, np.eye(m), lower=True)
        self._edge_root = np.zeros((0, 0)) if problem.B_b is None else problem.B_b.sqrt().to_dense()
        self._b_a = np.zeros(0) if problem.b_a is None else problem.b_a.values

    def start(self) -> Array:
        """Return v at the prior mean (m + p,)."""
        m = self.problem.n_state
        v = np.zeros(self.size)
        if self.fluxes == "truncated":
            v[:m] = np.log(np.maximum(self.problem.x_a.values, 1e-3 * np.sqrt(self.problem.B.diagonal())))
        return v

    def settle(self, mode: Array, hessian: Array) -> None:
        """Choose the coordinates: w = 0 at the mode of v, and round by the Hessian of −ln p there (with h = 0)."""
        values, vectors = scipy.linalg.eigh(hessian)
        self._axes = vectors / np.sqrt(np.maximum(values, _FLATTEST))
        self._centre = mode
        m = self.problem.n_state
        self._kappa = np.clip(1.0 - (self._axes[:m] ** 2).sum(axis=1), 0.0, 1.0)

    def hyper(self, h: Any, xp: Any = np) -> dict[str, Any]:
        """Return the hyper-parameters by name, from normal deviates h (k, ...)."""
        values = {}
        for k, name in enumerate(self.names):
            if name == "prior_scale":
                values[name] = xp.exp(self.spread.prior * h[k])
            elif name == "correlation_hours" and self.spread.correlation is not None:
                median, sigma = self.spread.correlation
                values[name] = median * xp.exp(sigma * h[k])
            else:
                values[name] = xp.exp(self.spread.error * h[k])
        return values

    def unknowns(self, v: Any, s: Any, xp: Any = np) -> tuple[Any, Any]:
        """Return x (m,) and b (p,)."""
        m = self.problem.n_state
        b = self._b_a + self._edge_root @ v[m:]
        if self.fluxes == "truncated":
            return xp.exp(v[:m]), b
        if self.fluxes == "lognormal":
            return self.problem.x_a.values * xp.exp(s * (self._root @ v[:m]) - s**2 * self._half), b
        return self.problem.x_a.values + s * (self._root @ v[:m]), b

    def place(self, q: Any, xp: Any = np) -> tuple[Any, dict[str, Any], Any]:
        """Return v, the hyper-parameters, and ln |dv/dw| but for a constant, at the coordinates q = [w; h]."""
        values = self.hyper(q[self.size :], xp)
        v, m = self._centre + self._axes @ q[: self.size], self.problem.n_state
        if "prior_scale" not in values:
            return v, values, 0.0
        log_s = xp.log(values["prior_scale"])
        return xp.concatenate([v[:m] * xp.exp(-self._kappa * log_s), v[m:]]), values, -self._kappa.sum() * log_s

    def log_density(self, q: Any, xp: Any = np) -> Any:
        """Return ln p(w, h | y) but for a constant.

        Parameters
        ----------
        q : array (m + p + k,)
        xp : module
            numpy or jax.numpy.

        Returns
        -------
        float
        """
        v, values, jacobian = self.place(q, xp)
        return self.log_posterior(v, values, xp) + jacobian - 0.5 * (q[self.size :] ** 2).sum()

    def log_posterior(self, v: Any, values: dict[str, Any], xp: Any = np) -> Any:
        """Return ln p(y | v, hyper-parameters) + ln p(v), without ½ ln 2π of either."""
        m = self.problem.n_state
        x, b = self.unknowns(v, values.get("prior_scale", 1.0), xp)
        residual = self._y - self._H[:, :m] @ x - self._H[:, m:] @ b
        prior = -0.5 * (v[m:] ** 2).sum()
        if self.fluxes == "truncated":
            prior = prior - 0.5 * ((self._whiten @ (x - self.problem.x_a.values)) ** 2).sum() + v[:m].sum()
        else:
            prior = prior - 0.5 * (v[:m] ** 2).sum()
        return prior + self._log_likelihood(residual, values, xp)

    def _log_likelihood(self, residual: Any, values: dict[str, Any], xp: Any) -> Any:
        logdet = self._logdet
        if "correlation_hours" in values:
            rho = xp.exp(-self._gap / values["correlation_hours"])
            left = 1.0 - rho[1:] ** 2
            residual = xp.concatenate([residual[:1], (residual[1:] - rho[1:] * residual[:-1]) / xp.sqrt(left)])
            logdet = logdet + xp.log(left).sum()
        scales = [value for name, value in values.items() if name.startswith("error_scale")]
        if scales:
            error = xp.stack(scales)
            residual, logdet = residual / error[self._site], logdet + 2.0 * (self._counts * xp.log(error)).sum()
        return -0.5 * (residual**2).sum() - 0.5 * logdet

    def covariances(self, values: dict[str, float]) -> dict[str, Covariance]:
        """Return R and B at the given hyper-parameters, where any of them is unknown."""
        problem = self.problem
        made: dict[str, Covariance] = {}
        if "prior_scale" in values:
            made["B"] = Scaled(problem.B, values["prior_scale"])
        scales = [value for name, value in values.items() if name.startswith("error_scale")]
        _, site = _sites(problem)
        error = np.array(scales)[site] if scales else np.ones(problem.n_obs)
        if "correlation_hours" in values:
            hours = _hours(problem)
            correlation = np.exp(-np.abs(hours[:, None] - hours) / values["correlation_hours"])
            deviation = error * np.sqrt(problem.R.diagonal())
            matrix = correlation * (site[:, None] == site) * np.outer(deviation, deviation)
            made["R"] = Dense(matrix, name="R", max_condition=1e14)
        elif scales:
            made["R"] = Scaled(problem.R, error)
        return made


def _compressed(whitened: Array, site: np.ndarray) -> tuple[Array, np.ndarray]:
    """Return rows [H y] with the same |y − H z|² for each site and every z, no more than there are columns."""
    rows, sites = [], []
    for k in range(int(site.max()) + 1):
        own = whitened[site == k]
        own = own if len(own) <= own.shape[1] else np.linalg.qr(own, mode="r")
        rows.append(own)
        sites.append(np.full(len(own), k))
    return np.concatenate(rows), np.concatenate(sites)


def _sites(problem: Problem) -> tuple[list[str], np.ndarray]:
    """Return the names of the sites, and each observation's number among them; one without a name where none is."""
    if "site" not in problem.y.coords:
        return [""], np.zeros(problem.n_obs, dtype=int)
    names = problem.y["site"].values.astype(str)
    sites = list(dict.fromkeys(names.tolist()))
    return sites, np.array([sites.index(name) for name in names.tolist()])


def _hours(problem: Problem) -> Array:
    time = problem.y["time"].values
    return (time - time.min()) / np.timedelta64(1, "h")


def _gaps(problem: Problem, site: np.ndarray) -> tuple[np.ndarray, Array]:
    """Return the order by site and time, and the hours since the one before; 1e9 where there is none."""
    hours = _hours(problem)
    order = np.lexsort((hours, site))
    gap = np.diff(hours[order], prepend=-1e9)
    gap[np.diff(site[order], prepend=-1) != 0] = 1e9
    if (gap <= 0).any():
        at = int(order[np.flatnonzero(gap <= 0)[0]])
        msg = (
            f"The correlation time cannot be sampled: observation {at} has the time of another at its site "
            f"({problem.y['time'].values[at]}); average them, or give R its correlation."
        )
        raise InversionError(msg)
    return order, gap


def _check(problem: Problem, fluxes: str, spread: Spread) -> None:
    faults = []
    if fluxes not in POSITIVE:
        faults.append(f"fluxes is {fluxes!r}, expected {', '.join(map(repr, POSITIVE))}.")
    if fluxes == "lognormal" and not (problem.x_a.values > 0).all():
        at = int(np.flatnonzero(problem.x_a.values <= 0)[0])
        faults.append(f"A lognormal prior has a mean above zero, but x_a of state {at} is {problem.x_a.values[at]:g}.")
    if fluxes == "truncated" and spread.prior is not None:
        faults.append(
            "The scale of a truncated prior cannot be sampled, for what is cut depends on it: take lognormal."
        )
    given = [("prior_scale", spread.prior), ("error_scale", spread.error)]
    given += list(zip(("the median of correlation_hours", "its spread"), spread.correlation or (), strict=False))
    faults += [
        f"{name} is {value}, expected above zero." for name, value in given if value is not None and not value > 0
    ]
    if problem.n_obs * (problem.n_state + problem.n_boundary) > _LARGEST:
        faults.append(f"H has {problem.n_obs} x {problem.n_state} elements, too many to sample; use regions.")
    faults += _error_faults(problem, spread)
    if faults:
        msg = "The problem cannot be sampled: " + " ".join(faults)
        raise InversionError(msg)


def _error_faults(problem: Problem, spread: Spread) -> list[str]:
    """Ask R not to tie what is to be scaled apart."""
    draw = np.random.default_rng(0).standard_normal(problem.n_obs)
    if spread.correlation is not None:
        if "time" not in problem.y.coords:
            return ["A correlation in time needs the coordinate 'time' of y."]
        if not np.allclose(problem.R.matvec(draw), problem.R.diagonal() * draw, rtol=1e-12, atol=0):
            return ["R is correlated already, so its correlation time cannot be sampled: give a diagonal one."]
    if spread.error is not None:
        sites, number = _sites(problem)
        for k, site in enumerate(sites):
            if np.any(problem.R.matvec(np.where(number == k, draw, 0.0))[number != k]):
                return [f"R ties the errors of {site} to other sites', so they cannot be scaled site by site."]
    return []
