"""What an inversion says about sums of its state, and whether those sums may be believed: provinces, sectors, years."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from inversion.crosscheck.smoothing import totals_kernel
from inversion.totals import correlations, increments, judge_totals, seen_share

if TYPE_CHECKING:
    from inversion.posterior import Posterior


def resolution(posterior: Posterior, aggregate: Any) -> xr.Dataset:
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
    # An entry in σ of both: how far one σ of another total moves this one, in its own σ.
    other = kernel * sigma_prior / np.where(sigma_prior > 0, sigma_prior, 1.0)[:, None]
    source = np.abs(other - np.diag(np.diagonal(other))).argmax(axis=1)
    unit, one = {"units": after.attrs["units"]}, {"units": "1"}
    names = aggregate_names(after)
    findings = judge_totals(after.values - prior.values, S.values, M.values, names)
    return xr.Dataset(
        {
            "prior": prior,
            "posterior": after,
            "prior_stdev": (dim, sigma_prior, unit),
            "posterior_stdev": (dim, sigma, unit),
            "seen": (dim, seen_share(S.values, M.values), one),
            "correlation": ((dim, second), correlations(S.values), one),
            "kernel": ((dim, second), kernel, one),
            "leakage": (dim, other[np.arange(len(other)), source], one),
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
