"""Are R and B what the observations say? Statistics in observation space (Desroziers et al. 2005, QJRMS 131, 3385).

With the innovation d_ob = y − H x_a − H_b b_a, the residual d_oa = y − H x̂ − H_b b̂ and the increment
d_ab = d_ob − d_oa, all linear in d_ob ~ N(0, S) where R and B are right:

    E[d_oa d_obᵀ] = R,    E[d_ab d_obᵀ] = H B Hᵀ,    E[d_ab d_oaᵀ] = H Ŝ Hᵀ,    E[d_ob d_obᵀ] = S.

What is compared is their diagonals, summed over a site; the standard deviations of the sums come from the same S, all
correlations included.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
import scipy.linalg
import xarray as xr

from inversion.covariance.operator import Array
from inversion.errors import InversionError
from inversion.findings import Finding, Grade
from inversion.posterior import Posterior

_LARGEST: Final = 15_000
_FAR: Final = 3.0
"""Standard deviations from one at which a ratio is remarked on."""


def desroziers(posterior: Posterior) -> xr.Dataset:
    """Return how large the errors of each site are beside what R and B say.

    Parameters
    ----------
    posterior : Posterior

    Returns
    -------
    xr.Dataset (site)
        ``error_ratio`` = Σ d_oa d_ob / Σ R_ii, ``prior_ratio`` = Σ d_ab d_ob / Σ (H B Hᵀ)_ii, ``posterior_ratio`` =
        Σ d_ab d_oa / Σ (H Ŝ Hᵀ)_ii, ``innovation_ratio`` = Σ d_ob² / Σ S_ii, ratios of variances, expected 1; each with
        its standard deviation ``_stdev`` where R and B are right; ``error_suggested``, the root of Σ d_oa d_ob / n in
        the units of y (NaN where that is negative); ``n``.

    Raises
    ------
    InversionError
        With more than 15,000 observations.
    """
    problem = posterior.problem
    n = problem.n_obs
    if n > _LARGEST:
        msg = f"There are {n} observations, expected {_LARGEST} at most: consistency needs H B Hᵀ + R as a matrix."
        raise InversionError(msg)
    joint = problem.joint()
    Ht = np.ascontiguousarray(joint.H.rows(slice(0, n)).T)
    signal = Ht.T @ joint.B.matvec(Ht)
    R = problem.R.to_dense()
    d, residual = joint.innovation, posterior.residual.values
    # Covariances among d_ob (o), d_oa = R S⁻¹ d_ob (a) and d_ab (i).
    S = signal + R
    RSR = R @ scipy.linalg.solve(S, R, assume_a="pos", check_finite=False)
    products = {"oo": S, "ao": R, "io": signal, "aa": RSR, "ia": R - RSR, "ii": signal - R + RSR}
    values = {"o": d, "a": residual, "i": d - residual}
    names = problem.y["site"].values.astype(str) if "site" in problem.y.coords else np.full(n, "all")
    sites = list(dict.fromkeys(names.tolist()))
    columns: dict[str, list[float]] = {"n": [], "error_suggested": []}
    for site in sites:
        rows = np.flatnonzero(names == site)
        for key, value in _of_site(rows, values, products):
            columns.setdefault(key, []).append(value)
    return _labelled(columns, sites, problem.y_units)


_STATISTICS: Final = {
    "error": ("a", "o"),
    "prior": ("i", "o"),
    "posterior": ("i", "a"),
    "innovation": ("o", "o"),
}


def _of_site(
    rows: npt.NDArray[np.intp], values: dict[str, Array], products: dict[str, Array]
) -> Iterator[tuple[str, float]]:
    """Yield ratios and their standard deviations.

    For u = F d, v = G d jointly Gaussian, Var Σ uᵢ vᵢ = Σᵢⱼ (C_uu,ij C_vv,ij + C_uv,ij C_uv,ji).
    """
    square = np.ix_(rows, rows)
    yield "n", float(rows.size)
    mean = float(values["a"][rows] @ values["o"][rows]) / rows.size
    yield "error_suggested", float(np.sqrt(mean)) if mean > 0 else float("nan")
    for name, (first, second) in _STATISTICS.items():
        cross = products[first + second][square]
        expected = float(np.trace(cross))
        variance = np.vdot(products[first * 2][square], products[second * 2][square]) + np.vdot(cross, cross.T)
        yield f"{name}_ratio", float(values[first][rows] @ values[second][rows]) / expected
        yield f"{name}_ratio_stdev", float(np.sqrt(variance)) / expected


def _labelled(columns: dict[str, list[float]], sites: list[str], units: str) -> xr.Dataset:
    ds = xr.Dataset({key: ("site", np.array(column)) for key, column in columns.items()}, coords={"site": sites})
    for key in ds.data_vars:
        ds[key].attrs["units"] = units if key == "error_suggested" else "1"
    return ds


def judge_consistency(statistics: xr.Dataset) -> tuple[Finding, ...]:
    """Return what the statistics say of R and B, site by site.

    Parameters
    ----------
    statistics : xr.Dataset
        From `desroziers`.

    Returns
    -------
    tuple of Finding
        A warning for each ratio three standard deviations or more from one.
    """
    found = []
    for name, what in (("error", "R"), ("prior", "H B Hᵀ")):
        for site in statistics["site"].values:
            ratio = float(statistics[f"{name}_ratio"].sel(site=site))
            sigma = float(statistics[f"{name}_ratio_stdev"].sel(site=site))
            if abs(ratio - 1.0) > _FAR * sigma:
                sentence = (
                    f"At {site} {what} does not fit the observations: variances come out at {ratio:.2f} of what it "
                    f"says, expected 1 ± {sigma:.2f}; scale its errors, or let `hyper.fit` find them."
                )
                found.append(Finding(Grade.WARN, f"consistency_{name}", sentence))
    return tuple(found)
