r"""A rolling inversion beside express estimates: which regions part beyond the joint uncertainty.

A window of months is inverted at once, so the inversion gives the totals of all its regions and months with their whole
covariance, and so do the express estimates. The two are compared as in `inversion.crosscheck.smoothing` (the estimate
as the inversion would have seen it), cells being regions by months:

    d = t̂ - t_a - Γ (t - t_a),   Cov d = Δ + Γ (D - M) Γᵀ

and sums over the last months of the window with the rows of T: z = (T d) / √diag(T Cov d Tᵀ). A sum takes the
correlation between months along, which is why the tests of a month come from one window.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from inversion.crosscheck.smoothing import CrosscheckError, Smoothed, compare_arrays, root
from inversion.crosscheck.verdict import caution
from inversion.inventory.entry import DAYS_PER_YEAR, Period
from inversion.multiplicity import adjusted
from inversion.regions import MASS_UNITS, mass_unit
from inversion.warning.rule import Rule
from inversion.wording import with_sigma

Floats = NDArray[np.float64]


def watch_arrays(
    inversion: ArrayLike,
    prior: ArrayLike,
    *,
    covariance: ArrayLike,
    prior_covariance: ArrayLike,
    express: ArrayLike,
    express_covariance: ArrayLike,
    months: int,
    rule: Rule | None = None,
) -> xr.Dataset:
    """Compare one window, regions by months in one unit, and say where a warning is due.

    Parameters
    ----------
    inversion, prior, express : array (k L,)
        Amounts of k regions by L months, the months of a region beside each other; NaN in `express` where there is
        none.
    covariance, prior_covariance, express_covariance : array (k L, k L)
        Ŝ, M and D.
    months : int
        L; spans longer than the window are left out.
    rule : Rule, optional

    Returns
    -------
    xr.Dataset (region, span)
        ``difference`` (inversion minus express, as the inversion would have seen it), ``sigma``, ``z``, ``share`` (of
        an equal error in the months of the span that would be seen), ``p``, ``p_adjusted`` (over regions and spans) and
        ``warning``: "higher" (more in the sky), "lower", "" (none) or "not tested"; attributes ``rule``, ``tested``.

    Raises
    ------
    inversion.crosscheck.CrosscheckError
        When cells cannot be told apart under the prior, or the sizes do not fit.
    """
    known = np.isfinite(np.asarray(express, dtype=np.float64))
    window = Comparison.of(
        covariance, prior_covariance, express_covariance, months=months, known=known, rule=rule or Rule()
    )
    return window.table(inversion, prior, express)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A window before any data is seen: what its tests are, and how well they see.

    Attributes
    ----------
    rule : Rule
    spans : tuple of int (s)
    sums : array (k s, k L)
        T.
    kernel : array (k L, k L)
        Γ.
    usable : array (k s,) of bool
        All cells of the sum have estimates and covariances.
    sigma, share : array (k s,)
    """

    rule: Rule
    spans: tuple[int, ...]
    sums: Floats
    kernel: Floats
    usable: NDArray[np.bool_]
    sigma: Floats
    share: Floats

    @classmethod
    def of(
        cls,
        covariance: ArrayLike,
        prior_covariance: ArrayLike,
        express_covariance: ArrayLike,
        *,
        months: int,
        rule: Rule,
        known: NDArray[np.bool_] | None = None,
    ) -> Comparison:
        """Return the comparison of a window; arguments as for `watch_arrays`, `known`: which cells have an estimate."""
        size = len(np.asarray(covariance))
        has = np.ones(size, dtype=bool) if known is None else known
        if size % months or has.size != size:
            raise CrosscheckError(
                "The window", [f"{has.size} cells and a covariance of {size} are no regions by {months} months."]
            )
        smooth = _smoothed(covariance, prior_covariance, express_covariance, has)
        spans = tuple(span for span in rule.spans if span <= months)
        T = _sums(size // months, months, spans)
        usable = (T @ np.isnan(smooth.difference)) == 0
        variance = ((T @ np.nan_to_num(smooth.covariance)) * T).sum(axis=1)
        seen = ((T @ np.nan_to_num(smooth.kernel)) * T).sum(axis=1)
        return cls(
            rule=rule,
            spans=spans,
            sums=T,
            kernel=np.nan_to_num(smooth.kernel),
            usable=usable,
            sigma=np.where(usable, root(variance), np.nan),
            share=seen / T.sum(axis=1),
        )

    def table(self, inversion: ArrayLike, prior: ArrayLike, express: ArrayLike) -> xr.Dataset:
        """Return the tests of one set of data; see `watch_arrays`."""
        t_a = np.asarray(prior, dtype=np.float64)
        anomaly = np.nan_to_num(np.asarray(express, dtype=np.float64) - t_a)
        d = np.asarray(inversion, dtype=np.float64) - t_a - self.kernel @ anomaly
        difference = np.where(self.usable, self.sums @ d, np.nan)
        fine = self.usable & (np.nan_to_num(self.sigma) > 0)
        z = np.divide(difference, self.sigma, out=np.full(fine.shape, np.nan), where=fine)
        p = np.where(fine & (self.share >= self.rule.min_share), 2.0 * norm.sf(np.abs(z)), np.nan)
        columns = {"difference": difference, "sigma": self.sigma, "z": z, "share": self.share, "p": p}
        return _table(columns, adjusted(p, self.rule.control), self.spans, self.rule)


def _smoothed(
    covariance: ArrayLike, prior_covariance: ArrayLike, express_covariance: ArrayLike, known: NDArray[np.bool_]
) -> Smoothed:
    """Return Γ and Cov d, which no data change."""
    zero = np.zeros(known.size)
    return compare_arrays(
        zero,
        zero,
        covariance=covariance,
        prior_covariance=prior_covariance,
        inventory=np.where(known, 0.0, np.nan),
        inventory_covariance=express_covariance,
    )


def _sums(regions: int, months: int, spans: Sequence[int]) -> Floats:
    """Return T (regions spans, regions months): the last so many months of every region."""
    last = np.array([[month >= months - span for month in range(months)] for span in spans], dtype=np.float64)
    return np.asarray(np.kron(np.eye(regions), last), dtype=np.float64)


def _table(columns: dict[str, Floats], p_adjusted: Floats, spans: Sequence[int], rule: Rule) -> xr.Dataset:
    shape = (-1, len(spans))
    rejected = p_adjusted <= rule.monthly_level
    word = np.where(columns["z"] > 0, "higher", "lower")
    words = np.where(np.isnan(p_adjusted), "not tested", np.where(rejected, word, ""))
    numbers = columns | {"p_adjusted": p_adjusted}
    return xr.Dataset(
        {name: (("region", "span"), values.reshape(shape)) for name, values in numbers.items()}
        | {"warning": (("region", "span"), words.reshape(shape).astype(object))},
        coords={"span": list(spans)},
        attrs={"rule": str(rule), "level": rule.level, "tested": int(np.isfinite(p_adjusted).sum())},
    )


def by_month(regions: xr.DataArray, month_of_state: Sequence[str] | NDArray[Any], of: Sequence[str]) -> xr.DataArray:
    """Return the rows of W for every region and month: the inversion's totals by month.

    Parameters
    ----------
    regions : xr.DataArray (region, state)
        W of a state that holds cells of several months.
    month_of_state : sequence of str (state)
        Month of every element, ``2020-03``.
    of : sequence of str (L)
        Months of the window; elements of other months (the run-up) belong to no row.

    Returns
    -------
    xr.DataArray (region, state)
        Rows ``CN-ZJ 2020-03`` with the coordinates ``code`` and ``month``, the months of a region beside each other.

    Raises
    ------
    CrosscheckError
        When a month has no element.
    """
    month = np.asarray(month_of_state, dtype=str)
    missing = [name for name in of if not (month == name).any()]
    if missing or month.size != regions.sizes["state"]:
        raise CrosscheckError(
            "The state", [f"Its {regions.sizes['state']} elements ({month.size} months given) hold none of {missing}."]
        )
    codes = [str(code) for code in regions["region"].values]
    rows = np.stack([row * (month == name) for row in np.asarray(regions.values, dtype=np.float64) for name in of])
    labels = [(code, name) for code in codes for name in of]
    return xr.DataArray(
        rows,
        dims=("region", "state"),
        coords={
            "region": [f"{code} {name}" for code, name in labels],
            "code": ("region", [code for code, _ in labels]),
            "month": ("region", [name for _, name in labels]),
        },
        attrs=regions.attrs,
    )


def watch(seen: xr.Dataset, express: xr.Dataset, rule: Rule | None = None) -> xr.Dataset:
    """Compare a window of an inversion with express estimates; see `watch_arrays`.

    Parameters
    ----------
    seen : xr.Dataset
        Months of regions, annual rates in its ``units``: `crosscheck.totals(posterior, by_month(...))`, or
        `windows.months_of` a file that `crosscheck.read_periods` read.
    express : xr.Dataset
        From `inventory.express.Express.regions`: the same regions and months, kt per month.
    rule : Rule, optional

    Returns
    -------
    xr.Dataset (region, span)
        In kt; ``region`` are codes; ``warnings`` (a line for each) among the attributes, and ``caution``: a sentence
        where the inversion's own statistics do not hold, so that a warning may be its transport's error.

    Raises
    ------
    CrosscheckError
        When the two are not of the same regions and months.
    """
    codes = seen["code"].values.astype(str)
    months = seen["period" if "period" in seen.coords else "month"].values.astype(str)
    same = len(codes) == express.sizes["cell"] and (codes == express["region"].values).all()
    if not same or not (months == express["month"].values).all():
        raise CrosscheckError(
            "The window", ["The express estimates are of other regions or months than the inversion."]
        )
    days = np.array([Period.parse(month).days for month in months], dtype=np.float64)
    kt = days / DAYS_PER_YEAR * mass_unit(seen.attrs["units"]) / MASS_UNITS["kt"]
    outer = np.outer(kt, kt)
    names = list(dict.fromkeys(codes))
    table = watch_arrays(
        seen["inversion"].values * kt,
        seen["prior"].values * kt,
        covariance=seen["inversion_covariance"].values * outer,
        prior_covariance=seen["prior_covariance"].values * outer,
        express=express["value"].values,
        express_covariance=express["covariance"].values,
        months=len(codes) // len(names),
        rule=rule,
    )
    last = months[-1]
    for name in ("difference", "sigma"):
        table[name].attrs["units"] = "kt"
    table = table.assign_coords(region=names, month=last)
    return table.assign_attrs(warnings="\n".join(_sentences(table)), caution=caution(seen))


def _sentences(table: xr.Dataset) -> list[str]:
    """Say every warning in a sentence."""
    raised = np.argwhere(np.isin(table["warning"].values, ["higher", "lower"]))
    return [
        f"{table.month.item()}: over {_last(int(table.span.values[j]))} the sky holds "
        f"{with_sigma(abs(float(table.difference[i, j])), float(table.sigma[i, j]))} kt "
        f"{'more' if table['warning'].values[i, j] == 'higher' else 'less'} than the express estimate of "
        f"{table.region.values[i]} (z = {float(table.z[i, j]):+.1f}, adjusted p = {float(table.p_adjusted[i, j]):.1e})."
        for i, j in raised
    ]


def _last(months: int) -> str:
    return "the last month" if months == 1 else f"the last {months} months"


def rolling(windows: Iterable[tuple[xr.Dataset, xr.Dataset]], rule: Rule | None = None) -> xr.Dataset:
    """Compare one window after another, each ending a month later.

    Parameters
    ----------
    windows : iterable of (seen, express)
        As for `watch`.
    rule : Rule, optional

    Returns
    -------
    xr.Dataset (month, region, span)
        With ``first_warning`` (region): the month of the first, "" for none.
    """
    tables = [watch(seen, express, rule) for seen, express in windows]
    joined = xr.concat(tables, dim="month", combine_attrs="drop_conflicts", join="outer")
    words = joined["warning"].transpose("month", "region", "span").values
    raised = np.asarray(np.isin(words, ["higher", "lower"]).any(axis=2))
    months = joined["month"].values
    first = [str(months[raised[:, i].argmax()]) if raised[:, i].any() else "" for i in range(raised.shape[1])]
    text = "\n".join(table.attrs["warnings"] for table in tables if table.attrs["warnings"])
    said = "\n".join(dict.fromkeys(table.attrs["caution"] for table in tables if table.attrs["caution"]))
    return joined.assign(first_warning=("region", first)).assign_attrs(warnings=text, caution=said)
