"""Whether totals may be believed: did they move as B and the network allow, which are seen, which go together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.stats

from inversion.covariance.operator import Array
from inversion.findings import Finding, Grade

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
    seen = np.flatnonzero(seen_share(covariance, prior_covariance) >= SEEN)
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


def judge_totals(moved: Array, covariance: Array, prior_covariance: Array, names: Sequence[str]) -> list[Finding]:
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


def seen_share(covariance: Array, prior_covariance: Array) -> Array:
    """Return 1 − σ²/σ_prior² of each total (k,), 0 where there is no prior error to take away."""
    before = np.diagonal(prior_covariance)
    return np.divide(before - np.diagonal(covariance), before, out=np.zeros(before.size), where=before > 0)


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
    seen = seen_share(covariance, prior_covariance)
    unseen = [f"{names[i]} ({seen[i]:.1%})" for i in np.flatnonzero(seen < SEEN).tolist()]
    if unseen:
        yield Finding(
            Grade.INFORM,
            "aggregate_unseen",
            f"{len(unseen)} of {seen.size} totals are hardly seen, their posterior is the prior: {', '.join(unseen)}.",
        )


def _together(covariance: Array, prior_covariance: Array, names: Sequence[str]) -> Iterator[Finding]:
    """Name pairs whose errors hang together more than before: their sum is known better than either."""
    correlation, before = correlations(covariance), correlations(prior_covariance)
    upper = np.triu(np.abs(correlation) >= _CORRELATED, 1) & (np.abs(correlation) > np.abs(before) + 0.05)
    pairs = [f"{names[i]} and {names[j]} ({correlation[i, j]:+.2f})" for i, j in np.argwhere(upper).tolist()]
    if pairs:
        yield Finding(
            Grade.INFORM,
            "aggregate_correlation",
            f"The errors of {'; '.join(pairs[:5])}{' and others' if len(pairs) > 5 else ''} hang together: report them "
            "together, or with their covariance.",
        )


def correlations(matrix: Array) -> Array:
    """Return the correlations of a covariance; 0 with what has no variance."""
    sigma = np.sqrt(np.maximum(np.diagonal(matrix), 0.0))
    scale = np.outer(sigma, sigma)
    return np.divide(matrix, scale, out=np.zeros_like(matrix), where=scale > 0)
