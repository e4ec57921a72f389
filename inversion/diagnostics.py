"""How far a result can be trusted: its statistics against what they should be, and what that says, in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.stats
import xarray as xr

from inversion.consistency import desroziers, judge_bias, judge_consistency
from inversion.covariance.operator import Array
from inversion.findings import Finding, Grade, far_off, worst_first
from inversion.innovations import affordable, rows_of_sites
from inversion.left_out import judge_left_out, leave_one_site_out

if TYPE_CHECKING:
    from inversion.posterior import Posterior  # Posterior holds Diagnostics: the only circle, and only for the types

_FEW_STATES = 100
"""Up to this many states each one is a region with a name; more are grid cells, of which most are never seen."""
_UNSEEN = 0.1
"""Share of the prior variance that must be taken away before a region counts as seen at all."""
_PAIRS = 30
"""Fewest pairs a correlation is judged on."""
_NEIGHBOURS = 3.0
"""Observations further apart than this many median steps do not follow one another."""
_HOPELESS = 10.0
"""χ² an observation beyond which a result is refused: no σ that it states means anything."""
_OUTLIER = 5.0
"""Residual in standard deviations that is named."""


@dataclass(frozen=True, slots=True)
class SiteDiagnostics:
    """One site's share.

    Attributes
    ----------
    site : str
    n : int
        Number of observations.
    dofs : float
        What they add to the degrees of freedom for signal.
    bias, rms : float
        Mean and root mean square of the residual y − H x̂ − H_b b̂, in the units of y.
    J_o : float
        Its part of J_o; expected `n` − `dofs`.
    J_o_probability : float
        Two-sided probability of one as far off, not below the true one: it takes the site's residuals for independent.
    lag1 : float
        Correlation of residuals (whitened by R) that follow one another; NaN with fewer than 30 pairs.
    pairs : int
    """

    site: str
    n: int
    dofs: float
    bias: float
    rms: float
    J_o: float
    J_o_probability: float
    lag1: float
    pairs: int


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """Statistics of a posterior. J is without the factor ½ throughout.

    Attributes
    ----------
    n_obs, n_state, n_boundary : int
    chi2 : float
        dᵀ S⁻¹ d of the innovations d, S = H B Hᵀ + R; expected n_obs ± √(2 n_obs).
    chi2_probability : float
        Two-sided probability of a χ² as far off or further.
    J_a : float
        (ẑ − z_a)ᵀ B⁻¹ (ẑ − z_a), boundary terms included; expected `dofs` (not the number of states).
    J_a_state : float
        The part of the fluxes alone.
    J_a_probability : float
        Two-sided, by Satterthwaite's approximation: J_a is distributed as Σ λᵢ χ²₁ with λᵢ the eigenvalues of A.
    J_o : float
        Residual part: χ² = J_o + J_a.
    dofs, dofs_state, dofs_boundary : float
        tr A, and its two blocks.
    trace_squared : float
        tr(A²); the variance of J_a is twice this.
    sites : tuple of SiteDiagnostics
    outliers : int
        Residuals beyond five standard deviations of R.
    """

    n_obs: int
    n_state: int
    n_boundary: int
    chi2: float
    chi2_probability: float
    J_a: float
    J_a_state: float
    J_a_probability: float
    J_o: float
    dofs: float
    dofs_state: float
    dofs_boundary: float
    trace_squared: float
    sites: tuple[SiteDiagnostics, ...]
    outliers: int

    @property
    def chi2_reduced(self) -> float:
        """χ² per observation; expected 1 ± √(2/n)."""
        return self.chi2 / self.n_obs


def diagnose(posterior: Posterior) -> Diagnostics:
    """Return the statistics of a posterior.

    Parameters
    ----------
    posterior : Posterior

    Returns
    -------
    Diagnostics
    """
    problem, solution = posterior.problem, posterior.solution
    traces = posterior.fixed.traces
    parts = solution.step * solution.gradient
    J_a, dofs = float(parts.sum()), traces.total
    residual = posterior.residual.values
    whitened = problem.R.sqrt().solve(residual)
    scale = max(traces.squared / dofs, np.finfo(float).tiny) if dofs > 0 else 1.0
    return Diagnostics(
        n_obs=problem.n_obs,
        n_state=problem.n_state,
        n_boundary=problem.n_boundary,
        chi2=solution.chi2,
        chi2_probability=_two_sided(solution.chi2, problem.n_obs),
        J_a=J_a,
        J_a_state=float(parts[: problem.n_state].sum()),
        J_a_probability=_two_sided(J_a / scale, dofs / scale) if dofs > 0 else 1.0,
        J_o=float(whitened @ whitened),
        dofs=dofs,
        dofs_state=dofs - traces.boundary,
        dofs_boundary=traces.boundary,
        trace_squared=traces.squared,
        sites=tuple(_sites(posterior, residual, whitened, dofs)),
        outliers=int((np.abs(residual) > _OUTLIER * np.sqrt(problem.R.diagonal())).sum()),
    )


def _two_sided(value: float, dof: float) -> float:
    return float(2.0 * min(scipy.stats.chi2.cdf(value, dof), scipy.stats.chi2.sf(value, dof)))


def _sites(posterior: Posterior, residual: Array, whitened: Array, dofs: float) -> Iterator[SiteDiagnostics]:
    y = posterior.problem.y
    sites = rows_of_sites(posterior.problem)
    influence = posterior.fixed.influence if len(sites) > 1 else np.full(y.size, dofs / y.size)
    for site, chosen in sites.items():
        lag1, pairs = _lag1(whitened[chosen], y["time"].values[chosen] if "time" in y.coords else None)
        own, seen = residual[chosen], float(influence[chosen].sum())
        J_o = float(whitened[chosen] @ whitened[chosen])
        yield SiteDiagnostics(
            site,
            chosen.size,
            dofs=seen,
            bias=float(own.mean()),
            rms=float(np.sqrt((own**2).mean())),
            J_o=J_o,
            J_o_probability=_two_sided(J_o, max(chosen.size - seen, 1e-9)),
            lag1=lag1,
            pairs=pairs,
        )


def _lag1(values: Array, time: np.ndarray | None) -> tuple[float, int]:
    """Return the correlation of neighbours in time, and how many pairs it rests on."""
    close = _close(values.size, time)
    pairs = int(close.sum())
    first, second = values[:-1][close], values[1:][close]
    if pairs < _PAIRS or first.std() == 0 or second.std() == 0:
        return float("nan"), pairs
    return float(np.corrcoef(first, second)[0, 1]), pairs


def _close(size: int, time: np.ndarray | None) -> np.ndarray:
    """Return which of the pairs of neighbours follow one another in time."""
    close = np.ones(max(size - 1, 0), dtype=bool)
    if time is None or size < 2:
        return close
    step = np.diff(time)
    zero = np.zeros(1, step.dtype)[0]
    forward = step[step > zero]
    # Samples of one time (several inlets) are no pair in time.
    return (step > zero) & (step <= _NEIGHBOURS * np.median(forward)) if forward.size else ~close


def judge(posterior: Posterior) -> tuple[Finding, ...]:
    """Return what the statistics say, the worst first.

    Parameters
    ----------
    posterior : Posterior

    Returns
    -------
    tuple of Finding
        Those the problem brought along included.
    """
    found = [
        *posterior.problem.findings,
        *_chi2(posterior.diagnostics),
        *_prior_fit(posterior.diagnostics),
        *worst_first(_site_fit(posterior.diagnostics)),
        *_between_sites(posterior),
        *worst_first(_correlation(posterior)),
        *_outliers(posterior.diagnostics),
        *_baseline(posterior),
        *_unresolved(posterior),
    ]
    return tuple(sorted(found, key=lambda finding: list(Grade).index(finding.grade)))


def _chi2(d: Diagnostics) -> Iterator[Finding]:
    if d.chi2_probability >= 0.01:
        return
    said = (
        f"χ² of the innovations is {d.chi2:.1f} for {d.n_obs} observations ({d.chi2_reduced:.2f} each, expected "
        f"1 ± {np.sqrt(2 / d.n_obs):.2f})"
    )
    if d.chi2_reduced > _HOPELESS:
        yield Finding(
            Grade.REFUSE,
            "chi2",
            f"{said}: the errors are {np.sqrt(d.chi2_reduced):.0f} times what R and B say, and so are those of the "
            "result; look at units, transport and baseline, then at R and B.",
        )
        return
    cause = (
        "the errors in R and B are too large together" if d.chi2_reduced < 1 else "R or B is too small, or H is wrong"
    )
    yield Finding(Grade.WARN if far_off(d.chi2_reduced) else Grade.INFORM, "chi2", f"{said}: {cause}.")


def _prior_fit(d: Diagnostics) -> Iterator[Finding]:
    if d.J_a_probability >= 0.05:
        return
    less = d.J_a < d.dofs
    yield Finding(
        Grade.WARN,
        "prior_fit",
        f"The state moved {'less' if less else 'further'} than B allows for: J_a is {d.J_a:.1f}, expected tr A = "
        f"{d.dofs:.1f} ± {np.sqrt(2 * d.trace_squared):.1f} ({d.J_a / d.dofs:.2f} of it); prior errors are too "
        f"{'wide' if less else 'narrow'}, or errors in R are not what R says.",
    )


def _site_fit(d: Diagnostics) -> Iterator[tuple[float, str, Finding]]:
    """Look at sites one by one where there are several; of a single one χ² says the same."""
    for site in d.sites if len(d.sites) > 1 else ():
        if site.J_o_probability >= 0.01 / len(d.sites):
            continue
        expected = site.n - site.dofs
        larger = site.J_o > expected
        sentence = (
            f"Residuals at {site.site} are {'larger' if larger else 'smaller'} than R says: J_o is {site.J_o:.1f} over "
            f"{site.n} observations, expected {expected:.1f} ± {np.sqrt(2 * expected):.1f}; "
            f"{'look at its transport or widen R' if larger else 'R is too wide'} there."
        )
        grade = Grade.WARN if far_off(site.J_o / expected) else Grade.INFORM
        yield abs(np.log(site.J_o / expected)), site.site, Finding(grade, "site_fit", sentence)


def _between_sites(posterior: Posterior) -> Iterator[Finding]:
    table, sites = posterior.by_site, len(posterior.diagnostics.sites)
    if sites > 1 and "ratio_R" not in table:
        reason = (
            "that goes with an exact posterior, and this one is not; solve the problem by batch, if it is small enough."
            if affordable(posterior.problem)
            else f"with {posterior.problem.n_obs} observations that takes long; ask for "
            "left_out.leave_one_site_out(posterior) and consistency.desroziers(posterior)."
        )
        sentence = f"None of the {sites} sites was left out, and their errors were not compared: {reason}"
        yield Finding(Grade.INFORM, "sites_not_compared", sentence)
    if "ratio_R" in table:
        yield from worst_first(judge_bias(table))
        yield from worst_first(judge_consistency(table))
    yield from worst_first(judge_left_out(table)) if "left_out_chi2" in table else ()


def site_table(posterior: Posterior) -> xr.Dataset:
    """Return what is known of each site, for a file or a table.

    Parameters
    ----------
    posterior : Posterior

    Returns
    -------
    xr.Dataset
        On ``sites`` (``site_name``): the fields of `SiteDiagnostics` with the prefix ``site_``; and where sites are
        named and it takes no more than seconds the columns of `consistency.desroziers` and, with two or more sites,
        of `left_out.leave_one_site_out`.
    """
    sites = posterior.diagnostics.sites
    unit = posterior.problem.y_units
    columns = {
        f"site_{name}": ("sites", [getattr(site, name) for site in sites], {"units": units})
        for name, units in (
            *(("n", "1"), ("dofs", "1"), ("bias", unit), ("rms", unit), ("J_o", "1"), ("J_o_probability", "1")),
            *(("lag1", "1"), ("pairs", "1")),
        )
    }
    table = xr.Dataset(columns, coords={"site_name": ("sites", [site.site for site in sites])})
    if not affordable(posterior.problem) or not posterior.fixed.sites:
        return table
    table = table.merge(desroziers(posterior).drop_vars("n"), join="exact", compat="equals")
    return table.merge(leave_one_site_out(posterior), join="exact", compat="equals") if len(sites) > 1 else table


def _correlation(posterior: Posterior) -> Iterator[tuple[float, str, Finding]]:
    fitted, sites = _expected_lag1(posterior), posterior.diagnostics.sites
    limit = max(3.0, float(scipy.stats.norm.isf(0.005 / len(sites))))
    for site in sites:
        if np.isnan(site.lag1):
            continue
        noise = 1.0 / np.sqrt(site.pairs)
        # What was fitted opposes its neighbours: where it is not known how much, by no more than the share fitted.
        expected = fitted.get(site.site, float(np.clip(site.lag1, -site.dofs / site.n, 0.0)))
        if abs(site.lag1 - expected) > max(0.2, limit * noise):
            follows = site.lag1 > expected
            sentence = (
                f"Residuals at {site.site} {'follow' if follows else 'oppose'} one another: their lag-1 correlation is "
                f"{site.lag1:.2f} over {site.pairs} pairs, expected {expected:.2f} ± {noise:.2f}: "
            ) + (
                "R takes them for independent, so the uncertainties come out too small; give R a correlation in time."
                if follows
                else "R may state a correlation in time that is not there, or two inlets differ."
            )
            finding = Finding(Grade.WARN if follows else Grade.INFORM, "residual_correlation", sentence)
            yield abs(site.lag1 - expected), site.site, finding


def _expected_lag1(posterior: Posterior) -> dict[str, float]:
    """Return what fitting makes the lag-1 correlation of each site, where the blocks of sites are at hand."""
    if not affordable(posterior.problem):
        return {}
    y = posterior.problem.y
    expected = {}
    for block in posterior.fixed.sites:
        close = _close(block.rows.size, y["time"].values[block.rows] if "time" in y.coords else None)
        if close.any():
            expected[block.site] = float(block.neighbours[close].mean() / block.residual.mean())
    return expected


def _outliers(d: Diagnostics) -> Iterator[Finding]:
    if d.outliers:
        yield Finding(
            Grade.WARN if d.outliers > max(1.0, 0.001 * d.n_obs) else Grade.INFORM,
            "outliers",
            f"{d.outliers} of {d.n_obs} residuals are beyond {_OUTLIER:.0f} standard deviations of R, expected none: "
            "look at those hours, or at the tails R leaves out.",
        )


def _baseline(posterior: Posterior) -> Iterator[Finding]:
    """Ask for a baseline near the lower end of what was observed; offsets (b_a = 0) are no baseline."""
    problem = posterior.problem
    if problem.b_a is None or not problem.b_a.values.any() or (problem.y.values <= 0).any():
        return
    low = float(np.quantile(problem.y.values, 0.1))
    for word, values in (("prior", problem.baseline().values), ("posterior", posterior.baseline.values)):
        middle = float(np.median(values))
        if not 0.5 * low <= middle <= 1.5 * low or values.min() <= 0:
            yield Finding(
                Grade.REFUSE,
                "baseline",
                f"The {word} baseline cannot be: it runs from {values.min():.4g} to {values.max():.4g} "
                f"{problem.y_units} (median {middle:.4g}) while a tenth of the observations lies below {low:.4g}; look "
                f"at the units and at the prior of the boundary terms.",
            )


def _unresolved(posterior: Posterior) -> Iterator[Finding]:
    if posterior.problem.n_state > _FEW_STATES:
        return
    seen = posterior.seen.values
    unseen = np.flatnonzero(seen < _UNSEEN)
    if unseen.size:
        names = ", ".join(state_name(posterior.problem.x_a, int(i)) + f" ({seen[i]:.1%} seen)" for i in unseen)
        yield Finding(
            Grade.WARN,
            "not_resolved",
            f"Not resolved: {names}; the observations say next to nothing about it, the posterior there is the prior.",
        )


_MIDDLE = ("region_longitude", "region_latitude")


def state_name(x_a: xr.DataArray, index: int) -> str:
    """Return a state's name: its coordinates along ``state`` but for where it lies, else its number."""
    known = [key for key in x_a.coords if x_a[key].dims == ("state",) and key not in ("state", *_MIDDLE)]
    labels = [f"{key} {x_a[key].values[index]}" for key in known]
    if "state" in x_a.coords and not labels:
        return str(x_a["state"].values[index])
    return ", ".join(labels) or f"state {index}"
