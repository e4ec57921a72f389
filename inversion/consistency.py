"""Desroziers' diagnostics: whether the errors that innovations and residuals show are those that R and B state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.stats
import xarray as xr

from inversion.findings import Finding, Grade, far_off

if TYPE_CHECKING:
    from inversion.posterior import Posterior


def desroziers(posterior: Posterior) -> xr.Dataset:
    """Return stated and found errors of every site.

    E[r dᵀ] = R,   E[(d − r) dᵀ] = H B Hᵀ   (Desroziers et al. 2005, QJRMS 131, 3385, Eqs 2 and 3)

    with innovations d = y − H x_a and residuals r = y − H x̂, boundary terms within H and B. Of each site the traces
    are compared. Only the sum of both is seen well; apart they are as far as H B Hᵀ and R look different.

    Parameters
    ----------
    posterior : Posterior
        Without the coordinate ``site`` everything counts as one site.

    Returns
    -------
    xr.Dataset (sites)
        Names in ``site_name``. ``sigma_R`` and ``sigma_HBH``: root mean variances as stated, in the units of y;
        ``sigma_R_found`` and ``sigma_HBH_found``: as found (NaN where the sum is negative). ``ratio_R``,
        ``ratio_HBH``: found over stated variance, expected 1, with ``_stderr`` (where R has no correlation between
        sites) and two-sided ``_probability`` (χ² with the degrees of freedom that the standard error says).
        ``site_bias_stderr``: standard deviation of the mean residual (Cov r = R S⁻¹ R, smaller than R: what was fitted
        is gone), in the units of y.

    Raises
    ------
    InversionError
        Where memory or double precision does not suffice.
    """
    d, r = posterior.innovation.values, posterior.residual.values
    rows = []
    for block in posterior.fixed.sites:
        own = block.rows
        found = float(r[own] @ d[own]), float((d[own] - r[own]) @ d[own])
        stated, spread = (block.error, block.prior), (block.error_spread, block.prior_spread)
        row: dict[str, float] = {"n": own.size, "site_bias_stderr": block.bias_spread}
        for name, f, s, width in zip(("R", "HBH"), found, stated, spread, strict=True):
            row[f"sigma_{name}"] = float(np.sqrt(s / own.size))
            row[f"sigma_{name}_found"] = float(np.sqrt(f / own.size)) if f > 0 else float("nan")
            row |= _ratio(name, f, s, width)
        rows.append(row)
    return xr.Dataset(
        {name: ("sites", np.array([row[name] for row in rows]), {"units": _unit(name, posterior)}) for name in rows[0]},
        coords={"site_name": ("sites", [block.site for block in posterior.fixed.sites])},
    )


def _ratio(name: str, found: float, stated: float, spread: float) -> dict[str, float]:
    """Return found over stated, with its standard error and how likely one as far from 1 is."""
    if stated <= 0:
        return dict.fromkeys((f"ratio_{name}", f"ratio_{name}_stderr", f"ratio_{name}_probability"), float("nan"))
    ratio, error = found / stated, spread / stated
    freedom = 2.0 / error**2
    cdf, sf = (f(max(ratio, 0.0) * freedom, freedom) for f in (scipy.stats.chi2.cdf, scipy.stats.chi2.sf))
    return {
        f"ratio_{name}": ratio,
        f"ratio_{name}_stderr": error,
        f"ratio_{name}_probability": float(2.0 * min(cdf, sf)),
    }


def _unit(name: str, posterior: Posterior) -> str:
    return posterior.problem.y_units if name.startswith(("sigma", "site_bias")) else "1"


def judge_consistency(table: xr.Dataset) -> Iterator[tuple[float, str, Finding]]:
    """Say where found and stated errors part.

    Parameters
    ----------
    table : xr.Dataset
        From `desroziers`.

    Yields
    ------
    (severity, site, Finding)
        ``desroziers``, where a ratio has a probability below 0.01 shared among the sites.
    """
    sites = table.sizes["sites"]
    columns = {str(name): column.values for name, column in table.data_vars.items() if column.dims == ("sites",)}
    for i in range(sites):
        row = {name: values[i] for name, values in columns.items()}
        site = str(table["site_name"].values[i])
        for name in ("R", "HBH"):
            ratio, probability = float(row[f"ratio_{name}"]), row[f"ratio_{name}_probability"]
            if np.isnan(ratio) or probability >= 0.01 / sites:
                continue
            grade = Grade.WARN if far_off(ratio) else Grade.INFORM
            sentence = _sentence(name, site, row, str(table[f"sigma_{name}"].attrs["units"]))
            yield abs(np.log(max(ratio, 1e-3))), site, Finding(grade, "desroziers", sentence)


def _sentence(name: str, site: str, row: dict[str, Any], unit: str) -> str:
    what = "observation and transport error (R)" if name == "R" else "prior error seen there (H B Hᵀ)"
    found = row[f"sigma_{name}_found"]
    return (
        f"At {site} the {what} is stated as {row[f'sigma_{name}']:.3g} {unit} but found as "
        f"{'less than nothing' if np.isnan(found) else f'{found:.3g}'}: the ratio of variances is "
        f"{row[f'ratio_{name}']:.2f}, expected 1 ± {row[f'ratio_{name}_stderr']:.2f} (Desroziers); bring "
        f"{'R' if name == 'R' else 'B'} in line, or mend the transport that makes the difference."
    )


def judge_bias(table: xr.Dataset) -> Iterator[tuple[float, str, Finding]]:
    """Say where residuals do not scatter around zero.

    Parameters
    ----------
    table : xr.Dataset
        `Posterior.by_site`.

    Yields
    ------
    (severity, site, Finding)
        ``residual_bias``, where a mean has a probability below 0.01 shared among the sites.
    """
    bias, error = table["site_bias"].values, table["site_bias_stderr"].values
    z = np.divide(bias, error, out=np.zeros_like(bias), where=error > 0)
    limit = float(scipy.stats.norm.isf(0.005 / z.size))
    for i in np.flatnonzero(np.abs(z) > limit).tolist():
        site, unit = str(table["site_name"].values[i]), table["site_bias"].attrs["units"]
        sentence = (
            f"Residuals at {site} are off by {bias[i]:+.3g} {unit} on average, expected 0 ± {error[i]:.2g}: look at "
            "its calibration, its baseline, and the height at which the model samples it."
        )
        yield float(abs(z[i])), site, Finding(Grade.WARN, "residual_bias", sentence)
