r"""Trends of both sides over several periods, and whether they differ.

The slope of a series y (P,) of a region at the times τ (P,), by generalised least squares (Aitken 1936; Rodgers 2000,
section 2.4, with no prior on slope and mean), is linear in it:

    β = T_r y,   T_r = last row of (Xᵀ V⁻¹ X)⁻¹ Xᵀ V⁻¹,   X = [1, τ - τ̄]

with V the covariance of the region's own periods (of the posterior Ŝ for the inversion, of D for the ledger). T of all
regions together gives σ and covariances from the whole covariance over (region, period): Cov β = T Ŝ Tᵀ. It is the
error of the slope of the true years, whatever they do about a straight line; years that scatter are no error.

**The difference** is that of cells as the inversion would have seen them (`smoothing`: d and Cov d over all regions and
periods), with the weights of the inversion: δ = T d, Cov δ = T Cov d Tᵀ, so that δ = T t̂ - T (ledger smoothed). Weights
from Cov d itself would look where the inversion sees nothing, since d is small and sure there. An error of 1 in the
slope of a region's ledger moves δ_r by -Γ̄_rr, Γ̄_rr = T_r Γ (τ - τ̄) over its own cells: the ``share`` of the trend that
was seen; σ(δ) over it, and over the part of the region in the domain, is the joint σ, in the ledger's own terms.

**Errors of ledgers between years.** Emission factors err the same way every year, activity data anew (IPCC 2006,
Vol. 1, section 3.2.3.1, sensitivities of type A and B): `Rule.period_correlation` is the share of the variance that
stays. With 1 a trend is certain, with 0 it is as unsure as the years allow.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import scipy.linalg
import xarray as xr
from numpy.typing import NDArray

from inversion.crosscheck import cells
from inversion.crosscheck.cells import Sides, lay_beside, names_of, stacked
from inversion.crosscheck.smoothing import UNSEEN, CrosscheckError, Floats, root
from inversion.crosscheck.verdict import Rule, decide, remarks, unseen
from inversion.findings import carried, refusal
from inversion.inventory.entry import DAYS_PER_YEAR, NOTATION_KEYS, Inventory, Ledger, Period

_FEWEST: Final = 2
_EPOCH: Final = dt.date(2000, 1, 1)


def trends(
    seen: xr.Dataset | Sequence[xr.Dataset],
    inventory: Inventory | Mapping[str, Ledger],
    *,
    rule: Rule | None = None,
    gas: str | None = None,
    category: str | None = None,
    vintage: str | None = None,
) -> xr.Dataset:
    """Compare the trends of an inversion and a ledger, region by region.

    Parameters
    ----------
    seen : xr.Dataset (region), or sequence of them
        Totals of regions by period with their whole covariance: `totals(posterior, W)` with W from
        `assemble.by_period`, or `read_periods` of a file that `skyledger invert` wrote. Or the totals of one inversion
        a period (`report.read_totals`), which say nothing of how their errors hang together: taken as independent.
    inventory : Inventory, or mapping of period to Ledger
        With the periods of the inversion; a period it has nothing of is left out.
    rule : Rule, optional
        `period_correlation` and `inventory_correlation` of the ledger's errors, level, smallest share seen, control.
    gas, category, vintage : str, optional
        Which entries of the inventory.

    Returns
    -------
    xr.Dataset
        On ``region``, in the inversion's units a year: ``inversion_trend``, ``inventory_trend``, ``prior_trend``,
        ``difference`` with ``_sigma``; ``inventory_smoothed_trend`` (difference = inversion_trend - this); ``z``,
        ``p``, ``p_adjusted``, ``share``, ``joint_sigma``, ``ledger_difference``, ``periods_used``,
        ``verdict``, ``reason``, ``remark``; ``difference_covariance`` (region, region_cov). On (``period``,
        ``region``), in the inversion's units: ``inversion``, ``inventory``, ``prior``, ``period_difference`` with
        ``_sigma``, ``inventory_smoothed``, ``inventory_notation``. ``period_start``, ``period_end`` (period).
        Attributes as of `compare`: ``rule``, ``caution``, ``family_wise``, ``findings``.

    Raises
    ------
    CrosscheckError
        Where there are fewer than two periods, or the ledger has none of them.
    """
    chosen = rule or Rule()
    joint = seen if isinstance(seen, xr.Dataset) else stacked(seen)
    missing = [name for name in ("code", "period") if name not in joint.coords]
    if missing:
        raise CrosscheckError("The totals", [f"They have no {' and '.join(missing)}: take those of several periods."])
    names = list(dict.fromkeys(joint["period"].values.astype(str).tolist()))
    if len(names) < _FEWEST:
        raise CrosscheckError("The totals", [f"They are of {len(names)} period ({names[0]}): a trend needs two."])
    ledgers = (
        cells.by_period(inventory, joint, gas=gas, category=category, vintage=vintage)
        if isinstance(inventory, Inventory)
        else inventory
    )
    return _compared(lay_beside(joint, cells.book_of(joint, ledgers, "period"), chosen, "period"), chosen, names)


def _compared(sides: Sides, rule: Rule, names: Sequence[str]) -> xr.Dataset:
    seen, smooth = sides.seen, sides.smooth
    order = cells.codes(seen)
    usable = np.isfinite(smooth.difference)
    T = weights(seen, seen["inversion_covariance"].values, usable)
    spread = _product(T, smooth.covariance)
    share = _share(seen, T, np.nan_to_num(smooth.kernel), _years(seen))
    numbers = _slopes(sides, T, spread, share)
    used = np.array([int((usable & (seen["code"].values == code)).sum()) for code in order])
    reason = _reasons(sides, order, share, used, rule)
    sigma = numbers["difference_sigma"]
    z = np.divide(numbers["difference"], sigma, out=np.full(share.size, np.nan), where=sigma > 0)
    decided = decide(z, spread, np.array([not said for said in reason]), rule)
    unit = seen.attrs["units"].replace("yr-1", "yr-2")
    one = {"z": z, "share": share, "p": decided.p, "p_adjusted": decided.p_adjusted, "periods_used": used}
    texts = {"verdict": decided.words, "reason": reason, "remark": remarks(decided.words, sides.attrs["caution"])}
    data: dict[str, Any] = {name: ("region", values, {"units": unit}) for name, values in numbers.items()}
    data |= {name: ("region", values, {"units": "1"}) for name, values in one.items()}
    data |= {name: ("region", np.array(words, dtype=object)) for name, words in texts.items()}
    data["difference_covariance"] = (("region", "region_cov"), spread, {"units": f"({unit})2"})
    about = {"trend_units": unit, "family_wise": decided.family_wise}
    result = xr.Dataset(data, names_of(seen, order) | _period_coords(names))
    return result.assign(_by_period(sides, order, names)).assign_attrs(sides.attrs | about)


def _slopes(sides: Sides, T: Floats, spread: Floats, share: Floats) -> dict[str, Floats]:
    """Return the slopes of both sides and of their difference with σ; NaN where there are too few periods."""
    seen, smooth, D = sides.seen, sides.smooth, sides.inventory_covariance
    own = weights(seen, D, np.isfinite(sides.book.rate) & np.isfinite(np.diag(D)))
    found = {"difference": T @ np.nan_to_num(smooth.difference), "difference_sigma": root(np.diag(spread))}
    found["inventory_smoothed_trend"] = T @ np.nan_to_num(smooth.inventory)
    for name in ("inversion", "prior"):
        found[f"{name}_trend"] = T @ seen[name].values
        found[f"{name}_trend_sigma"] = root(np.diag(_product(T, seen[f"{name}_covariance"].values)))
    ledger = {
        "inventory_trend": own @ np.nan_to_num(sides.book.rate),
        "inventory_trend_sigma": root(np.diag(_product(own, D))),
    }
    found = {name: np.where(T.any(axis=1), values, np.nan) for name, values in found.items()}
    found |= {name: np.where(own.any(axis=1), values, np.nan) for name, values in ledger.items()}
    first = [int(np.flatnonzero(seen["code"].values == code)[0]) for code in cells.codes(seen)]
    visible = np.where(share > UNSEEN, share, np.nan) * sides.inside[first]
    found["ledger_difference"] = found["difference"] / visible
    found["joint_sigma"] = found["difference_sigma"] / visible
    return found


def weights(seen: xr.Dataset, covariance: Floats, usable: NDArray[np.bool_]) -> Floats:
    """Return T (k, n): slopes of regions from their cells; rows of zeros with fewer than two periods.

    Parameters
    ----------
    seen : xr.Dataset
        Cells: ``code`` and ``period``.
    covariance : array (n, n)
        V, of which each region's own block is taken.
    usable : array (n,) of bool

    Raises
    ------
    CrosscheckError
        Where two periods of a region have the same error.
    """
    tau, code = _years(seen), seen["code"].values.astype(str)
    order = cells.codes(seen)
    T = np.zeros((len(order), tau.size))
    for r, name in enumerate(order):
        at = np.flatnonzero((code == name) & usable)
        block = covariance[np.ix_(at, at)]
        if at.size < _FEWEST or not np.isfinite(block).all() or (np.diag(block) <= 0).any():
            continue
        scale = np.sqrt(np.diag(block))
        try:
            factor = scipy.linalg.cho_factor(block / np.outer(scale, scale), lower=True)
        except np.linalg.LinAlgError as error:
            said = (
                f"Two periods of {name} have the same error: no trend is known from them; correlation below 1 needed."
            )
            raise CrosscheckError("The trends", [said]) from error
        X = np.column_stack([np.ones(at.size), tau[at] - tau[at].mean()]) / scale[:, None]
        weighted = scipy.linalg.cho_solve(factor, X)
        T[r, at] = np.linalg.solve(weighted.T @ X, weighted.T)[1] / scale
    return T


def _product(T: Floats, covariance: Floats) -> Floats:
    spread: Floats = T @ np.nan_to_num(covariance) @ T.T
    return 0.5 * (spread + spread.T)


def _years(seen: xr.Dataset) -> Floats:
    """Return the middle of each cell's period, years."""
    found = []
    for name in seen["period"].values.astype(str):
        period = Period.parse(name)
        found.append((period.start - _EPOCH).days + 0.5 * period.days)
    return np.array(found, dtype=np.float64) / DAYS_PER_YEAR


def _share(seen: xr.Dataset, T: Floats, kernel: Floats, tau: Floats) -> Floats:
    """Return how an error of 1 in the slope of a region's ledger moves its difference."""
    code = seen["code"].values.astype(str)
    found = []
    for r, name in enumerate(cells.codes(seen)):
        at = (code == name) & (T[r] != 0)
        slope = np.where(at, tau - tau[at].mean(), 0.0) if at.any() else np.zeros(tau.size)
        found.append(float(T[r] @ kernel @ slope))
    return np.array(found)


def _reasons(sides: Sides, order: Sequence[str], share: Floats, used: NDArray[np.int_], rule: Rule) -> list[str]:
    """Say for every region why it has no verdict; "" where it has one."""
    seen, book = sides.seen, sides.book
    refused = refusal(carried(sides.attrs))
    code = seen["code"].values.astype(str)
    found = []
    for r, name in enumerate(order):
        at = np.flatnonzero(code == name)
        keys = dict.fromkeys(key for i in at for key in book.notation[i].split(",") if key)
        said = ", ".join(f"{key} ({NOTATION_KEYS[key]})" for key in keys)
        cases = (
            (bool(refused), f"the inversion must not be used: {refused}"),
            (used[r] < _FEWEST and bool(keys), f"the ledger says {said}"),
            (used[r] < _FEWEST, f"{used[r]} of {at.size} periods can be compared, a trend needs {_FEWEST}"),
            (not share[r] >= rule.min_share, unseen(share[r], rule.min_share, "its trend")),
        )
        found.append(next((sentence for applies, sentence in cases if applies), ""))
    return found


def _period_coords(names: Sequence[str]) -> dict[str, Any]:
    periods = [Period.parse(name) for name in names]
    ends = {
        f"period_{end}": ("period", np.array([getattr(p, end) for p in periods], "datetime64[ns]"))
        for end in ("start", "end")
    }
    return {"period": list(names), **ends}


def _by_period(sides: Sides, order: Sequence[str], names: Sequence[str]) -> dict[str, Any]:
    """Return the values of both sides on (period, region)."""
    seen, smooth, book = sides.seen, sides.smooth, sides.book
    place = {pair: i for i, pair in enumerate(zip(seen["code"].values, seen["period"].values, strict=True))}
    at = np.array([[place[code, name] for code in order] for name in names])
    unit = {"units": seen.attrs["units"]}
    numbers = {
        "inversion": seen["inversion"].values,
        "inversion_sigma": root(np.diag(seen["inversion_covariance"].values)),
        "prior": seen["prior"].values,
        "prior_sigma": root(np.diag(seen["prior_covariance"].values)),
        "inventory": book.rate,
        "inventory_sigma": book.sigma,
        "inventory_smoothed": smooth.inventory,
        "period_difference": smooth.difference,
        "period_difference_sigma": root(np.diag(smooth.covariance)),
    }
    found: dict[str, Any] = {name: (("period", "region"), values[at], unit) for name, values in numbers.items()}
    found["inventory_notation"] = (("period", "region"), np.array(book.notation, dtype=object)[at])
    return found
