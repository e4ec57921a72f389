"""What an inversion says about sums of its state, and whether those sums may be believed: provinces, sectors, years."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.linalg
import scipy.stats
import xarray as xr

from inversion.covariance.operator import Array
from inversion.crosscheck.smoothing import totals_kernel
from inversion.findings import Finding, Grade

if TYPE_CHECKING:
    from inversion.posterior import Posterior

SEEN = 0.1
"""Share of the prior variance that must be taken away before an aggregate counts as seen."""
_CORRELATED = 0.7
"""Correlation of errors from which on two aggregates are not told apart."""
_RANK = 1e-9
"""Share of the largest eigenvalue of the increments' correlation below which a direction was not seen."""


class Increments(NamedTuple):
    """How far aggregates moved, t̂ − t_a, against what B and the network allow, Δ = W (B − Ŝ) Wᵀ."""

    z: Array
    """(t̂ − t_a)_r / √Δ_rr (k,); NaN where the aggregate is not seen."""
    chi2: float
    """(t̂ − t_a)ᵀ Δ⁻¹ (t̂ − t_a) over those seen."""
    freedom: int
    probability: float
    """Two-sided, of a χ² as far off."""


def increments(moved: Array, covariance: Array, prior_covariance: Array) -> Increments:
    """Return whether aggregates moved as they should.

    t̂ − t_a = W K d with d ~ N(0, S) has the covariance Δ = W K S Kᵀ Wᵀ = W (B − Ŝ) Wᵀ (Desroziers' argument, in the
    space of the aggregates). It sees what J_a does not: a B whose σ is right and whose correlation is wrong.

    Parameters
    ----------
    moved : array (k,)
        t̂ − t_a.
    covariance, prior_covariance : array (k, k)
        W Ŝ Wᵀ and W B Wᵀ.

    Returns
    -------
    Increments
        Over the aggregates of which a tenth of the prior variance was taken away.
    """
    delta = prior_covariance - covariance
    share = np.diagonal(delta) / np.diagonal(prior_covariance)
    seen = np.flatnonzero(share >= SEEN)
    z = np.full(moved.size, np.nan)
    if not seen.size:
        return Increments(z, 0.0, 0, 1.0)
    sigma = np.sqrt(np.diagonal(delta)[seen])
    z[seen] = moved[seen] / sigma
    values, vectors = scipy.linalg.eigh(delta[np.ix_(seen, seen)] / np.outer(sigma, sigma))
    kept = values > _RANK * values[-1]
    chi2, freedom = float(((vectors[:, kept].T @ z[seen]) ** 2 / values[kept]).sum()), int(kept.sum())
    two_sided = 2.0 * min(scipy.stats.chi2.cdf(chi2, freedom), scipy.stats.chi2.sf(chi2, freedom))
    return Increments(z, chi2, freedom, float(two_sided))


def aggregated(posterior: Posterior, aggregate: Any) -> xr.Dataset:
    """Return what a posterior says about aggregates W x: values, errors, what was seen, what leaks, what goes together.

    Parameters
    ----------
    posterior : Posterior
    aggregate : array, sparse matrix or DataArray (k, m)
        W, as `Posterior.covariance` takes it.

    Returns
    -------
    xr.Dataset
        On W's own dimension (``name`` and ``name_2``), in the units of W x: ``prior``, ``posterior`` with ``_stdev``;
        ``seen`` = 1 − σ²/σ_prior²; ``correlation`` (k, k) of the posterior errors; ``kernel`` (k, k): Γ, row r the
        answer of estimate r to the true totals (`crosscheck.smoothing`); ``leakage``, its largest entry from elsewhere
        in the prior σ of both (Γ_rq σ_q / σ_r), and ``leakage_from``, an index; ``increment_z``. Attributes
        ``increment_chi2``, ``increment_freedom``, ``increment_probability``, and ``findings`` as JSON.

    Raises
    ------
    InversionError
        Where `aggregate` does not fit, or two aggregates are the same under the prior.
    """
    prior, after = posterior.prior_total(aggregate), posterior.total(aggregate)
    S, M = posterior.covariance(aggregate), posterior.prior_covariance(aggregate)
    dim, second = S.dims
    sigma, sigma_prior = np.sqrt(np.diagonal(S.values)), np.sqrt(np.diagonal(M.values))
    kernel, _ = totals_kernel(S.values, M.values)
    moved = increments(after.values - prior.values, S.values, M.values)
    leaks = np.abs(kernel - np.diag(np.diagonal(kernel))) * sigma_prior / sigma_prior[:, None]
    source = leaks.argmax(axis=1)
    unit, one = {"units": after.attrs["units"]}, {"units": "1"}
    names = aggregate_names(after)
    findings = judge_aggregates(after.values - prior.values, S.values, M.values, names)
    return xr.Dataset(
        {
            "prior": prior,
            "posterior": after,
            "prior_stdev": (dim, sigma_prior, unit),
            "posterior_stdev": (dim, sigma, unit),
            "seen": (dim, 1.0 - sigma**2 / sigma_prior**2, one),
            "correlation": ((dim, second), S.values / np.outer(sigma, sigma), one),
            "kernel": ((dim, second), kernel, one),
            "leakage": (dim, kernel[np.arange(len(kernel)), source] * sigma_prior[source] / sigma_prior, one),
            "leakage_from": (dim, source),
            "increment_z": (dim, moved.z, one),
        },
        attrs={
            "increment_chi2": moved.chi2,
            "increment_freedom": moved.freedom,
            "increment_probability": moved.probability,
            "findings": json.dumps([dataclasses.asdict(found) for found in findings], ensure_ascii=False),
        },
    )


def aggregate_names(totals: xr.DataArray) -> list[str]:
    """Return a name for each aggregate: its label, else its coordinates, else its number."""
    dim = totals.dims[0]
    if dim in totals.coords:
        return [str(label) for label in totals[dim].values]
    labels = [totals[key].values for key in totals.coords if totals[key].dims == (dim,)]
    return [" ".join(str(label[i]) for label in labels) or f"{dim} {i}" for i in range(totals.size)]


def judge_aggregates(moved: Array, covariance: Array, prior_covariance: Array, names: Sequence[str]) -> list[Finding]:
    """Return what is to be said about aggregates.

    Parameters
    ----------
    moved, covariance, prior_covariance
        As `increments` takes them.
    names : sequence of str (k,)

    Returns
    -------
    list of Finding
        ``increments`` where they moved otherwise than B allows (probability below 0.01), ``aggregate_unseen``,
        ``aggregate_correlation``.
    """
    return [
        *_moved(increments(moved, covariance, prior_covariance), names),
        *_unseen(covariance, prior_covariance, names),
        *_together(covariance, prior_covariance, names),
    ]


def _moved(result: Increments, names: Sequence[str]) -> Iterator[Finding]:
    if result.probability >= 0.01:
        return
    further = result.chi2 > result.freedom
    order = np.argsort(-np.nan_to_num(np.abs(result.z)))[:3].tolist()
    largest = ", ".join(f"{names[i]} by {result.z[i]:+.1f} σ" for i in order if np.isfinite(result.z[i]))
    yield Finding(
        Grade.WARN,
        "increments",
        f"The totals moved {'further' if further else 'less'} than B and the network allow: χ² is {result.chi2:.1f} "
        f"for {result.freedom} seen totals, expected {result.freedom} ± {np.sqrt(2 * result.freedom):.1f} (furthest "
        f"{largest}); "
        + (
            "the prior is wrong there, or its errors hang together over longer distances than B says, or the "
            "transport is wrong."
            if further
            else "the prior errors of the totals are smaller than B says."
        ),
    )


def _unseen(covariance: Array, prior_covariance: Array, names: Sequence[str]) -> Iterator[Finding]:
    seen = 1.0 - np.diagonal(covariance) / np.diagonal(prior_covariance)
    unseen = [f"{names[i]} ({seen[i]:.1%})" for i in np.flatnonzero(seen < SEEN).tolist()]
    if unseen:
        yield Finding(
            Grade.INFORM,
            "aggregate_unseen",
            f"{len(unseen)} of {seen.size} totals are hardly seen, their posterior is the prior: {', '.join(unseen)}.",
        )


def _together(covariance: Array, prior_covariance: Array, names: Sequence[str]) -> Iterator[Finding]:
    """Name pairs whose errors hang together more than before: their sum is known better than either."""
    correlation, before = (matrix / _outer(matrix) for matrix in (covariance, prior_covariance))
    upper = np.triu(np.abs(correlation) >= _CORRELATED, 1) & (np.abs(correlation) > np.abs(before) + 0.05)
    pairs = [f"{names[i]} and {names[j]} ({correlation[i, j]:+.2f})" for i, j in np.argwhere(upper).tolist()]
    if pairs:
        yield Finding(
            Grade.INFORM,
            "aggregate_correlation",
            f"The errors of {'; '.join(pairs[:5])}{' and others' if len(pairs) > 5 else ''} hang together: report them "
            "together, or with their covariance.",
        )


def _outer(matrix: Array) -> Array:
    sigma = np.sqrt(np.diagonal(matrix))
    return np.outer(sigma, sigma)
