"""The table: an inversion laid beside an inventory, region by region."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from inversion.crosscheck.smoothing import (
    UNSEEN,
    CrosscheckError,
    Floats,
    Smoothed,
    compare_arrays,
    correlated,
    correlation_of,
    root,
    same,
)
from inversion.crosscheck.verdict import NOT_RESOLVED, Rule, caution, decide, reasons, remarks, verdict
from inversion.findings import Finding, Grade, as_text, carried
from inversion.inventory.entry import Inventory, Ledger, Period, PeriodError
from inversion.regions import MASS_UNITS, mass_unit
from inversion.totals import judge_totals


def totals(posterior: Any, regions: xr.DataArray) -> xr.Dataset:
    """Return what an inversion says about regions: totals, prior and posterior, with their covariances.

    Parameters
    ----------
    posterior : inversion.posterior.Posterior
    regions : xr.DataArray (region, state)
        W, from `regions.aggregation`, with ``units``.

    Returns
    -------
    xr.Dataset
        ``prior``, ``inversion`` (region) and ``prior_covariance``, ``inversion_covariance`` (region, region_cov), in
        the units of `regions` and their square; attributes ``findings``, ``diagnostics`` and ``sites`` as JSON,
        the findings on the totals themselves (`inversion.totals`) included.
    """
    unit = regions.attrs["units"]
    square = ("region", "region_cov")
    before, after = _plain(posterior.prior_total(regions)), _plain(posterior.total(regions))
    M, S = _plain(posterior.prior_covariance(regions)), _plain(posterior.covariance(regions))
    findings = [*posterior.findings, *judge_totals(after - before, S, M, _codes(regions).tolist())]
    return xr.Dataset(
        {
            "prior": ("region", before, {"units": unit}),
            "inversion": ("region", after, {"units": unit}),
            "prior_covariance": (square, M, {"units": f"({unit})2"}),
            "inversion_covariance": (square, S, {"units": f"({unit})2"}),
        },
        coords={**{n: c for n, c in regions.coords.items() if c.dims == ("region",)}, "region_cov": _codes(regions)},
        attrs={
            "gas": regions.attrs.get("gas", ""),
            "units": unit,
            "window": regions.attrs.get("window", ""),
            "findings": as_text(findings),
            "diagnostics": json.dumps(_scalars(posterior.diagnostics)),
            "sites": json.dumps(_sites(posterior), ensure_ascii=False),
        },
    )


def _plain(array: Any) -> Floats:
    return np.asarray(array, dtype=np.float64)


def _codes(regions: xr.DataArray | xr.Dataset) -> NDArray[np.str_]:
    return np.asarray(regions["region"].values, dtype=str)


_SITE: Final = (
    *("site_n", "site_dofs", "site_bias", "site_rms", "site_lag1", "sigma_R", "sigma_R_found"),
    *("left_out_skill", "left_out_skill_expected"),
)
"""Columns of `Posterior.by_site` that a report shows."""


def _sites(posterior: Any) -> list[dict[str, Any]]:
    """Keep what a reader can judge of each site, where sites are named; what is not finite is left out."""
    if "site" not in posterior.problem.y.coords:
        return []
    table = posterior.by_site
    columns = {name: table[name].values for name in _SITE if name in table}
    return [
        {"site": str(site), "units": posterior.problem.y_units}
        | {name: float(values[i]) for name, values in columns.items() if np.isfinite(values[i])}
        for i, site in enumerate(table["site_name"].values)
    ]


def _scalars(diagnostics: Any) -> dict[str, float]:
    """Keep the numbers of a diagnostics object: chi2, DOFS, ..."""
    if not dataclasses.is_dataclass(diagnostics):
        return {}
    values = {f.name: getattr(diagnostics, f.name) for f in dataclasses.fields(diagnostics)}
    return {name: float(v) for name, v in values.items() if isinstance(v, int | float | np.number) and np.isfinite(v)}


def compare(
    posterior: Any,
    inventory: Inventory | Ledger,
    regions: xr.DataArray | None = None,
    *,
    rule: Rule | None = None,
    gas: str | None = None,
    category: str | None = None,
    period: str | None = None,
    vintage: str | None = None,
) -> xr.Dataset:
    """Lay an inversion beside an inventory, region by region, with a verdict.

    Parameters
    ----------
    posterior : inversion.posterior.Posterior or xr.Dataset
        Or the totals of one (from `totals`, or read back from a report's netCDF); `regions` is not needed then.
    inventory : Inventory or Ledger
    regions : xr.DataArray (region, state)
        W, from `regions.aggregation`.
    rule : Rule, optional
        Level, thresholds and the correlation of the ledger's errors.
    gas, category, period, vintage : str, optional
        Which entries of the inventory; needed where it holds several. A period that does not hold the window of the
        inversion has to be asked for, and a finding says that it does not.

    Notes
    -----
    A region whose area lies in the domain almost whole (coordinate ``covered`` at least `rule.min_covered`) is compared
    with that part of its ledger; one with less is left out, and its ledger with it.

    Cov d holds whatever the prior has to do with the ledger, if D is the covariance of the ledger's error: the error of
    a prior that is this very ledger is in x - x_a and in t at once, and d holds neither twice. But then D and M are two
    statements of one error, and ledgers state no correlation between regions: it is taken from M
    (`Rule.inventory_is_prior`), and a finding says where the σ differ.

    Returns
    -------
    xr.Dataset
        On ``region`` (and ``region_cov`` for columns of matrices), in the units of `regions`: ``inventory``, ``prior``,
        ``inversion`` with ``_sigma``; ``inventory_notation``; ``inventory_smoothed``; ``difference`` (inversion minus
        smoothed inventory) with ``difference_sigma`` and ``z``; ``share`` seen; ``joint_sigma`` and ``detectable``
        (three of them): errors of the ledger; ``ledger_difference`` = difference / share; ``leakage`` from
        ``leakage_region``; ``neighbour_correlation`` with ``neighbour``; ``p``, ``p_adjusted``, ``verdict``,
        ``reason``, ``remark`` (what is to be said beside a verdict); the matrices ``averaging_kernel``,
        ``prior_covariance``, ``inversion_covariance``, ``inventory_covariance``, ``difference_covariance``. Attributes
        ``family_wise``: probability of any ``higher`` or ``lower`` with all ledgers right, from the covariance of the
        differences; ``caution``: a sentence where the inversion's own statistics do not hold, "" where they do.

    Raises
    ------
    CrosscheckError, inversion.inventory.InventoryError
    """
    chosen = rule or Rule()
    seen = posterior if isinstance(posterior, xr.Dataset) else totals(posterior, _given(regions))
    if isinstance(inventory, Ledger):
        ledger = inventory
    else:
        gas = gas or seen.attrs["gas"] or None
        ledger = inventory.ledger(list(_codes(seen)), gas=gas, category=category, period=period, vintage=vintage)
        _require_in_common(inventory, ledger)
    _check(seen, ledger)
    noticed = _other_time(seen, ledger, asked=period is not None)
    return _compared(seen, ledger, chosen, noticed)


def _require_in_common(inventory: Inventory, ledger: Ledger) -> None:
    """Ask that the ledger speaks of some region of the inversion."""
    have = {entry.region for entry in inventory.entries}
    if not have & set(ledger.codes):
        named = ", ".join(sorted(have)[:8])
        fault = f"It speaks of none of the inversion's regions ({', '.join(ledger.codes[:8])}), but of {named}."
        raise CrosscheckError(f"The ledger {inventory.name}", [fault])


def _other_time(seen: xr.Dataset, ledger: Ledger, *, asked: bool) -> list[Finding]:
    """Refuse a ledger whose period does not hold the inversion's window; say so, where the period was asked for."""
    window = str(seen.attrs.get("window") or "")
    if not window:
        return []
    own = period_of(window)
    if ledger.period.start <= own.start and own.end <= ledger.period.end:
        return []
    sentence = f"The ledger is of {ledger.period}, the inversion of {own}: a difference may be that of the times."
    if not asked:
        raise CrosscheckError("The comparison", [f"{sentence} State the period to compare them all the same."])
    return [Finding(Grade.WARN, "other_time", sentence)]


def period_of(window: str) -> Period:
    """Return the period of a window: ``2019``, ``2019-03``, or two moments ``2019-03-01T00:00/2019-04-01T00:00``.

    Raises
    ------
    CrosscheckError
        Where it says none.
    """
    first, slash, last = window.partition("/")
    try:
        if slash and "T" in window:
            start, end = (np.datetime64(moment, "D") for moment in (first, last))
            return Period(start.astype(object), (end + (np.datetime64(last) > end)).astype(object))
        return Period.parse(window)
    except (PeriodError, ValueError) as error:
        raise CrosscheckError("The inversion", [f"Its window {window!r} is no period ({error})."]) from error


def _given(regions: xr.DataArray | None) -> xr.DataArray:
    if regions is None:
        raise CrosscheckError("The inversion", ["There are no regions: give the aggregation of `regions.aggregation`."])
    return regions


def _check(seen: xr.Dataset, ledger: Ledger) -> None:
    faults = []
    if tuple(_codes(seen)) != ledger.codes:
        faults.append("The ledger is of other regions than the inversion: take them in the inversion's order.")
    if seen.attrs["gas"] and seen.attrs["gas"] != ledger.gas:
        faults.append(f"The inversion is of {seen.attrs['gas']}, the ledger of {ledger.gas}.")
    faults += not_finite(seen)
    if faults:
        raise CrosscheckError("The comparison", faults)


def not_finite(seen: xr.Dataset) -> list[str]:
    """Return what is wrong with the totals of an inversion: values that are not finite, and of which regions."""
    wrong = {name: ~np.isfinite(seen[name].values) for name in ("prior", "inversion")}
    return [
        f"{name} holds values that are not finite: {', '.join(seen['region'].values[at].astype(str)[:8])}."
        for name, at in wrong.items()
        if at.any()
    ]


def _compared(seen: xr.Dataset, ledger: Ledger, rule: Rule, noticed: Sequence[Finding]) -> xr.Dataset:
    factor = MASS_UNITS["kt"] / mass_unit(seen.attrs["units"])
    inventory, sigma = ledger.rate * factor, ledger.sigma * factor
    covered = covered_part(seen)
    inside = np.where(covered >= rule.min_covered, covered, np.nan)
    independent = correlated(np.ones(sigma.size), rule.inventory_correlation)
    D, findings = ledger_covariance(seen, inventory * inside, sigma * inside, independent, rule)
    smooth = compare_arrays(
        seen["inversion"].values,
        seen["prior"].values,
        covariance=seen["inversion_covariance"].values,
        prior_covariance=seen["prior_covariance"].values,
        inventory=inventory * inside,
        inventory_covariance=D,
    )
    share = _share(seen, smooth)
    result = xr.Dataset(coords=seen.coords)
    around, names = _neighbours(seen, smooth)
    numbers = _sides(seen, inventory, sigma) | _difference(smooth, inside, share) | around
    words: dict[str, list[str]] = {"inventory_notation": list(ledger.notation)} | names
    words["reason"] = reasons(seen, ledger, share, rule)
    resolved = np.array([not reason for reason in words["reason"]])
    decided = decide(numbers["z"], smooth.covariance, resolved, rule)
    words |= {"verdict": decided.words, "remark": remarks(decided.words, caution(seen))}
    for name, values in (numbers | {"p": decided.p, "p_adjusted": decided.p_adjusted}).items():
        unit = "1" if name in _NUMBERS else seen.attrs["units"]
        result[name] = ("region", values, {"units": unit, "long_name": _LONG_NAMES[name]})
    for name, texts in words.items():
        result[name] = ("region", np.array(texts, dtype=object), {"long_name": _LONG_NAMES[name]})
    square = ("region", "region_cov")
    result["averaging_kernel"] = (square, smooth.kernel, {"units": "1"})
    for name, matrix in (("difference", smooth.covariance), ("inventory", D)):
        result[f"{name}_covariance"] = (square, matrix, {"units": f"({seen.attrs['units']})2"})
    for name in ("prior_covariance", "inversion_covariance"):
        result[name] = seen[name]
    about = {
        "family_wise": decided.family_wise,
        "caution": caution(seen),
        "findings": as_text((*carried(seen.attrs), *noticed, *findings)),
    }
    return result.assign_attrs(seen.attrs | _statement(result, ledger, rule) | about)


def ledger_covariance(
    seen: xr.Dataset, inventory: Floats, sigma: Floats, correlation: Floats, rule: Rule
) -> tuple[Floats, list[Finding]]:
    """Return D of a ledger, and what is to be said of it.

    Parameters
    ----------
    seen : xr.Dataset
        From `totals`.
    inventory, sigma : array (k,)
        In its units; NaN where there is none.
    correlation : array (k, k)
        Of the ledger's errors, where it is not the inversion's prior.
    rule : Rule
    """
    shared = rule.inventory_is_prior
    if shared is None:
        shared = same(inventory, seen["prior"].values, sigma)
    M = seen["prior_covariance"].values
    spread = np.outer(sigma, sigma) * (np.nan_to_num(correlation_of(M)) if shared else correlation)
    if not shared:
        return spread, []
    before = root(np.diag(M))
    ratio = np.divide(sigma, before, out=np.full_like(sigma, np.nan), where=before > 0)
    codes = _codes(seen)
    off = [f"{codes[i]} {ratio[i]:.2g}" for i in np.flatnonzero((ratio < 1 / _ALIKE) | (ratio > _ALIKE))]
    said = "The inversion's prior is this ledger: their errors are one, and correlated between regions as the prior's."
    if not off:
        return spread, [Finding(Grade.INFORM, "prior_is_inventory", said)]
    listed = ", ".join(off[:6]) + (" and others" if len(off) > 6 else "")
    more = f" But its σ is not the prior's (σ of the ledger over that of the prior: {listed}); the ledger's is taken."
    return spread, [Finding(Grade.WARN, "prior_is_inventory", said + more)]


_ALIKE: Final = 1.25
"""Ratio of two σ of one error from which on it is remarked on."""


def covered_part(seen: xr.Dataset) -> Floats:
    """Return the part of each region's area inside the domain; 1 where nothing is said."""
    size = seen.sizes["region"]
    return np.asarray(seen["covered"].values, dtype=np.float64) if "covered" in seen.coords else np.ones(size)


def _share(seen: xr.Dataset, smooth: Smoothed) -> Floats:
    """Return the diagonal of Γ; for regions without a ledger value, that of their total alone, 1 - Ŝ_rr / M_rr."""
    before = np.diag(seen["prior_covariance"].values)
    after = np.diag(seen["inversion_covariance"].values)
    alone = 1.0 - np.divide(after, before, out=np.ones_like(before), where=before > 0)
    return np.where(np.isnan(smooth.difference), alone, np.diag(smooth.kernel))


def _sides(seen: xr.Dataset, inventory: Floats, sigma: Floats) -> dict[str, Floats]:
    return {
        "inventory": inventory,
        "inventory_sigma": sigma,
        "prior": seen["prior"].values,
        "prior_sigma": root(np.diag(seen["prior_covariance"].values)),
        "inversion": seen["inversion"].values,
        "inversion_sigma": root(np.diag(seen["inversion_covariance"].values)),
    }


def _difference(smooth: Smoothed, inside: Floats, share: Floats) -> dict[str, Floats]:
    """Return the difference, and what it means as an error of the ledger."""
    deviation = root(np.diag(smooth.covariance))
    visible = np.where(share > UNSEEN, share, np.nan) * inside
    return {
        "inventory_smoothed": smooth.inventory,
        "difference": smooth.difference,
        "difference_sigma": deviation,
        "z": np.divide(smooth.difference, deviation, out=np.full_like(deviation, np.nan), where=deviation > 0),
        "share": share,
        "ledger_difference": smooth.difference / visible,
        "joint_sigma": deviation / visible,
        "detectable": 3.0 * deviation / visible,
    }


def _neighbours(seen: xr.Dataset, smooth: Smoothed) -> tuple[dict[str, Floats], dict[str, list[str]]]:
    """Say which other region a region's difference and its error hang on most, and how much."""
    codes = _codes(seen)
    correlation = _correlation(seen["inversion_covariance"].values)
    weight = root(np.diag(seen["prior_covariance"].values))
    leak, other = _most(smooth.kernel * np.nan_to_num(weight)), _most(correlation)
    rows = np.arange(codes.size)
    numbers = {
        "leakage": np.where(leak < 0, 0.0, smooth.kernel[rows, leak]),
        "neighbour_correlation": np.where(other < 0, np.nan, correlation[rows, other]),
    }
    names = {"leakage_region": leak, "neighbour": other}
    return numbers, {name: ["" if i < 0 else str(codes[i]) for i in column] for name, column in names.items()}


_NUMBERS: Final = ("z", "p", "p_adjusted", "share", "leakage", "neighbour_correlation")
_LONG_NAMES: Final = {
    "inventory": "inventory (ledger)",
    "inventory_sigma": "standard uncertainty of the inventory",
    "inventory_notation": "notation key of the inventory",
    "prior": "prior of the inversion",
    "prior_sigma": "standard deviation of the prior",
    "inversion": "posterior of the inversion",
    "inversion_sigma": "standard deviation of the posterior",
    "inventory_smoothed": "inventory as the inversion would have seen it",
    "difference": "inversion minus smoothed inventory",
    "difference_sigma": "standard deviation of the difference",
    "z": "difference over its standard deviation",
    "share": "share of the region the network saw (averaging kernel of its total)",
    "ledger_difference": "difference, as an error of the ledger",
    "joint_sigma": "joint standard deviation, as an error of the ledger",
    "detectable": "error of the ledger that shows at three standard deviations",
    "leakage": "response of the region's total to an error in the region that leaks most into it",
    "leakage_region": "region that leaks most into it",
    "neighbour_correlation": "correlation of the inversion's error with the region it is most correlated with",
    "neighbour": "region whose error is most correlated with this one's",
    "verdict": "agree, higher, lower or not resolved; higher: more in the sky than in the ledger",
    "reason": "why a region is not resolved",
    "remark": "what is to be said beside the verdict",
    "p": "two-sided probability of a difference as large by chance",
    "p_adjusted": "the same, adjusted for the number of regions where the rule controls the family",
}


def _statement(result: xr.Dataset, ledger: Ledger, rule: Rule) -> dict[str, Any]:
    """Return what the table must say about itself."""
    resolved = int((result["verdict"].values != "not resolved").sum())
    return {
        "gas": ledger.gas,
        "category": ledger.category,
        "ledger_period": str(ledger.period),
        "ledger_vintage": ledger.vintage,
        "ledger_source": ledger.source,
        "rule": str(rule),
        "level": rule.level,
        "critical_z": rule.critical_z,
        "min_share": rule.min_share,
        "min_covered": rule.min_covered,
        "inventory_correlation": rule.inventory_correlation,
        "resolved": resolved,
        "control": rule.control,
        "expected_false_alarms": resolved * rule.level if rule.control == "region" else rule.level,
    }


def _inventory_spread(comparison: xr.Dataset) -> Floats:
    """Return the covariance of whole ledgers, of which those of a region's part inside the domain are a share."""
    D, sigma = comparison["inventory_covariance"].values, comparison["inventory_sigma"].values
    stated = np.isfinite(np.diag(D))
    alone = correlated(sigma, comparison.attrs["inventory_correlation"])
    return np.where(np.outer(stated, stated), correlation_of(D) * np.outer(sigma, sigma), alone)


def _correlation(covariance: Floats) -> Floats:
    sigma = root(np.diag(covariance))
    product = np.outer(sigma, sigma)
    return np.divide(covariance, product, out=np.full_like(covariance, np.nan), where=product > 0)


def _most(matrix: Floats) -> NDArray[np.intp]:
    """Return, for every row, the column with the largest entry off the diagonal; -1 where all are zero."""
    size = np.nan_to_num(np.abs(matrix), nan=0.0)
    np.fill_diagonal(size, 0.0)
    return np.where(size.any(axis=1), size.argmax(axis=1), -1)


def total(comparison: xr.Dataset, codes: Sequence[str] | None = None) -> dict[str, float | str]:
    """Return the sum over regions, each σ from the full covariance.

    Parameters
    ----------
    comparison : xr.Dataset
        From `compare`.
    codes : sequence of str, optional
        Which regions; by default all with a difference.

    Returns
    -------
    dict
        ``inventory``, ``prior``, ``inversion``, ``difference`` with ``_sigma``, ``z``, ``share``, ``verdict``, and
        ``regions``: how many. NaN where a covariance is missing: no σ rather than a wrong one.

    Raises
    ------
    CrosscheckError
        For regions that are not in the comparison.
    """
    have = _codes(comparison)
    missing = sorted(set(codes or ()) - set(have))
    if missing:
        raise CrosscheckError("The sum", [f"{', '.join(missing)} are not in the comparison."])
    chosen = np.isin(have, list(codes)) if codes is not None else np.isfinite(comparison["difference"].values)
    part = np.ix_(chosen, chosen)
    spreads = {
        "inventory": _inventory_spread(comparison),
        "prior": comparison["prior_covariance"].values,
        "inversion": comparison["inversion_covariance"].values,
        "difference": comparison["difference_covariance"].values,
    }
    result: dict[str, float | str] = {"regions": int(chosen.sum())}
    for name, spread in spreads.items():
        result[name] = float(comparison[name].values[chosen].sum())
        result[f"{name}_sigma"] = float(root(np.atleast_1d(spread[part].sum()))[0])
    before, after = spreads["prior"][part].sum(), spreads["inversion"][part].sum()
    share = float(1.0 - after / before) if before > 0 else float("nan")
    sigma = float(result["difference_sigma"])
    z = float(result["difference"]) / sigma if sigma > 0 else float("nan")
    resolved = np.isfinite(z) and share >= comparison.attrs["min_share"]
    word = verdict(z, comparison.attrs["critical_z"]) if resolved else NOT_RESOLVED
    return result | {"z": z, "share": share, "verdict": word}
