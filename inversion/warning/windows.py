r"""From an inversion's months to the early warning, and to the months that come next.

**Windows.** Months of one inversion, or of the file it left (`crosscheck.read_periods`), are watched as windows that
end with each month. Holm's procedure holds for any dependence between tests, so a year of windows of one inversion
keeps the rate that `Rule` states.

**Outlook.** A posterior mean is drawn towards its prior, and its error is not independent of the truth, as the model of
`projection` wants it: the months of a region are continued from what the observations alone say of them. With M = L Lᵀ
and L⁻¹ Ŝ L⁻ᵀ = U diag(s) Uᵀ of its months,

    y = t_a + L U (1 - s)⁻¹ Uᵀ L⁻¹ (t̂ - t_a),   Cov = L U diag(s / (1 - s)) Uᵀ Lᵀ

which is the likelihood of the totals, (Ŝ⁻¹ - M⁻¹)⁻¹ (Rodgers 2000, eq. 2.30, the prior taken out); 1 - s is the share
seen of each direction, at least 0.001.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Final, Protocol

import numpy as np
import scipy.linalg
import xarray as xr

from inversion.crosscheck.cells import codes, names_of
from inversion.crosscheck.smoothing import CrosscheckError, Floats
from inversion.inventory.entry import Period
from inversion.warning.projection import project

_LEAST: Final = 1e-3


class Estimates(Protocol):
    """Express estimates, such as `inventory.express.Express`."""

    def regions(self, codes: Sequence[str], category: str, of: Sequence[Period]) -> xr.Dataset:
        """Return months of regions beside each other with their joint covariance."""


def whole_months(seen: xr.Dataset) -> list[str]:
    """Return the periods of cells that are whole calendar months, in order.

    Raises
    ------
    CrosscheckError
        Where there is none, or one between two is missing.
    """
    name = "period" if "period" in seen.coords else "month"
    if name not in seen.coords:
        raise CrosscheckError("The inversion", ["Its totals are not divided by month: take those of `read_periods`."])
    periods = sorted(Period.parse(text) for text in dict.fromkeys(seen[name].values.astype(str).tolist()))
    months = [period for period in periods if len(str(period)) == len("2024-03") and "/" not in str(period)]
    if not months:
        listed = ", ".join(map(str, periods[:4]))
        said = f'Its periods ({listed}) are no calendar months: give its sectors periods = "month".'
        raise CrosscheckError("The inversion", [said])
    gaps = [str(a) for a, b in itertools.pairwise(months) if a.end != b.start]
    if gaps:
        raise CrosscheckError("The inversion", [f"Months are missing after {', '.join(gaps)}."])
    return [str(month) for month in months]


def months_of(seen: xr.Dataset, of: Sequence[str]) -> xr.Dataset:
    """Return the cells of some months, those of a region beside each other: a window for `watch`.

    Parameters
    ----------
    seen : xr.Dataset (region)
        Cells by period, from `crosscheck.read_periods` or `totals`.
    of : sequence of str
        Months.
    """
    name = "period" if "period" in seen.coords else "month"
    place = {pair: i for i, pair in enumerate(zip(seen["code"].values, seen[name].values, strict=True))}
    at = [place[code, month] for code in codes(seen) for month in of]
    return seen.isel(region=at, region_cov=at)


def windows(
    seen: xr.Dataset, estimates: Estimates, *, category: str = "0", length: int = 12, fewest: int = 1
) -> Iterator[tuple[xr.Dataset, xr.Dataset]]:
    """Yield the windows that end with each month, with the express estimates of the same regions and months.

    Parameters
    ----------
    seen : xr.Dataset (region)
        Cells by period; what is no whole month is left out.
    estimates : Estimates
        `inventory.express.express(...)`.
    category : str
        Of the estimates.
    length : int
        Months of a window, fewer at the beginning.
    fewest : int
        Months of the first window.

    Yields
    ------
    (xr.Dataset, xr.Dataset)
        As `rolling` takes them.

    Raises
    ------
    CrosscheckError
        Where there are no months.
    """
    months = whole_months(seen)
    for last in range(min(fewest, len(months)) - 1, len(months)):
        of = months[max(0, last - length + 1) : last + 1]
        yield months_of(seen, of), estimates.regions(codes(seen), category, [Period.parse(month) for month in of])


def outlook(
    seen: xr.Dataset, *, steps: int = 6, level: float = 0.95, min_share: float = 0.3, period: int = 12
) -> xr.Dataset:
    """Continue the months of every region, with interval.

    Parameters
    ----------
    seen : xr.Dataset (region)
        Cells by month, at least two seasons and a half of them.
    steps : int
        Months to come.
    level : float
        Of the interval.
    min_share : float
        Mean share that the network must have seen of a region's months; others are NaN.
    period : int
        Months of a season; 1 for none.

    Returns
    -------
    xr.Dataset
        On (``region``, ``month``), annual rates in the inversion's units: ``mean``, ``sigma``, ``lower``, ``upper``;
        ``seen_share`` (region).

    Raises
    ------
    CrosscheckError, inversion.inventory.InventoryError
        Without months, or with too few.
    """
    months = whole_months(seen)
    ordered = months_of(seen, months)
    regions, n = codes(ordered), len(months)
    columns: dict[str, list[Any]] = {name: [] for name in ("mean", "sigma", "lower", "upper")}
    shares = []
    for r in range(len(regions)):
        part = slice(r * n, (r + 1) * n)
        values, spread, share = observed(ordered.isel(region=part, region_cov=part))
        shares.append(share)
        made = project(values, spread, steps=steps, period=period, level=level) if share >= min_share else None
        for name, into in columns.items():
            into.append(np.full(steps, np.nan) if made is None else getattr(made, name))
    unit = {"units": seen.attrs["units"]}
    coords = {key: value for key, value in names_of(ordered, regions).items() if key != "region_cov"}
    return xr.Dataset(
        {name: (("region", "month"), np.array(values), unit) for name, values in columns.items()}
        | {"seen_share": ("region", np.array(shares), {"units": "1"})},
        coords | {"month": _following(months[-1], steps)},
        {"units": seen.attrs["units"], "level": level, "gas": seen.attrs.get("gas", "")},
    )


def observed(cells: xr.Dataset) -> tuple[Floats, Floats, float]:
    """Return what the observations alone say of a region's months, and which share of them was seen."""
    M, S = cells["prior_covariance"].values, cells["inversion_covariance"].values
    moved = cells["inversion"].values - cells["prior"].values
    if not (np.isfinite(M).all() and np.isfinite(S).all() and (np.diag(M) > 0).all()):
        return np.full(len(M), np.nan), M, 0.0
    share = float(np.mean(1.0 - np.diag(S) / np.diag(M)))
    try:
        lower = scipy.linalg.cholesky(M, lower=True)
    except np.linalg.LinAlgError as error:
        said = f"The months of {cells['code'].values[0]} have one prior error between them: they are no series."
        raise CrosscheckError("The inversion", [said]) from error
    within = scipy.linalg.solve_triangular(lower, scipy.linalg.solve_triangular(lower, S, lower=True).T, lower=True)
    s, U = scipy.linalg.eigh(0.5 * (within + within.T))
    seen = np.clip(1.0 - s, _LEAST, 1.0)
    turned = U.T @ scipy.linalg.solve_triangular(lower, moved, lower=True)
    back = lower @ U
    return cells["prior"].values + back @ (turned / seen), (back * ((1.0 - seen) / seen)) @ back.T, share


def _following(last: str, steps: int) -> list[str]:
    first = np.datetime64(last, "M") + 1
    return [str(month) for month in first + np.arange(steps)]
