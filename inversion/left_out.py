"""Each site left out in turn: what the others say about it, against what it measured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import scipy.stats
import xarray as xr

from inversion.errors import InversionError
from inversion.findings import Finding, Grade, far_off

if TYPE_CHECKING:
    from inversion.posterior import Posterior


def leave_one_site_out(posterior: Posterior) -> xr.Dataset:
    """Return how well each site is predicted by an inversion without it, in closed form.

    With λ = S⁻¹ d the innovations of site i given all others have the error and the covariance

        e_i = d_i − E[d_i | d_rest] = ((S⁻¹)_ii)⁻¹ λ_i,   Cov e_i = ((S⁻¹)_ii)⁻¹

    (conditioning a joint Gaussian by its precision: Rue and Held 2005, Theorem 2.5), so nothing is solved again. Where
    R has no correlation between sites, y_i − e_i is what the posterior without site i simulates there.

    Parameters
    ----------
    posterior : Posterior
        Its y has the coordinate ``site``, with two sites or more.

    Returns
    -------
    xr.Dataset
        On ``obs``: ``left_out_prediction`` and its ``left_out_stdev`` (of the difference from y), in the units of y. On
        ``sites`` (names in ``site_name``): ``left_out_n``; ``left_out_rms`` and ``left_out_bias`` of e, ``prior_rms``
        of d; ``left_out_skill`` = 1 − Σe²/Σd² with ``left_out_skill_expected`` = 1 − tr Cov e / tr S_ii;
        ``left_out_chi2`` = eᵀ (Cov e)⁻¹ e, expected n, with its two-sided ``left_out_probability``;
        ``left_out_inside``, the share of |e| within one standard deviation, expected 0.68.

    Raises
    ------
    InversionError
        With fewer than two sites, or where memory or double precision does not suffice.
    """
    y = posterior.problem.y
    blocks = posterior.fixed.sites
    if len(blocks) < 2:
        msg = (
            f"Leaving out a site needs two or more in the coordinate 'site' of y, got {len(blocks)}: without the only "
            "one there is nothing to predict from."
        )
        raise InversionError(msg)
    d, multiplier = posterior.innovation.values, posterior.multiplier
    error, deviation = np.empty(y.size), np.empty(y.size)
    rows = []
    for block in blocks:
        own = block.left_out @ multiplier[block.rows]
        error[block.rows], deviation[block.rows] = own, np.sqrt(np.diagonal(block.left_out))
        chi2 = float(own @ multiplier[block.rows])
        expected = 1.0 - float(np.trace(block.left_out)) / (block.error + block.prior)
        rows.append(_site(own, d[block.rows], np.sqrt(np.diagonal(block.left_out)), chi2, expected))
    unit = {"units": posterior.problem.y_units}
    columns = {name: ("sites", np.array([row[name] for row in rows]), _attributes(name, unit)) for name in rows[0]}
    return xr.Dataset(
        {
            "left_out_prediction": y.copy(data=y.values - error),
            "left_out_stdev": y.copy(data=deviation),
            **columns,
        },
        coords={"site_name": ("sites", [block.site for block in blocks])},
    )


def _site(e: np.ndarray, d: np.ndarray, deviation: np.ndarray, chi2: float, expected: float) -> dict[str, float]:
    before = float(d @ d)
    return {
        "left_out_n": e.size,
        "left_out_rms": float(np.sqrt((e**2).mean())),
        "left_out_bias": float(e.mean()),
        "prior_rms": float(np.sqrt((d**2).mean())),
        "left_out_skill": 1.0 - float(e @ e) / before if before else float("nan"),
        "left_out_skill_expected": expected,
        "left_out_chi2": chi2,
        "left_out_probability": float(2.0 * min(scipy.stats.chi2.cdf(chi2, e.size), scipy.stats.chi2.sf(chi2, e.size))),
        "left_out_inside": float((np.abs(e) <= deviation).mean()),
    }


def _attributes(name: str, unit: dict[str, str]) -> dict[str, str]:
    return unit if name.endswith(("rms", "bias")) else {"units": "1"}


def judge_left_out(table: xr.Dataset) -> Iterator[tuple[float, str, Finding]]:
    """Say which sites the others predict worse, or better, than they claim.

    Parameters
    ----------
    table : xr.Dataset
        From `leave_one_site_out`.

    Yields
    ------
    (severity, site, Finding)
        ``left_out``, where χ² of a site has a probability below 0.01 shared among the sites.
    """
    columns = {name: column.values for name, column in table.data_vars.items() if column.dims == ("sites",)}
    for i in range(table.sizes["sites"]):
        row = {name: values[i] for name, values in columns.items()}
        if row["left_out_probability"] >= 0.01 / table.sizes["sites"]:
            continue
        site, reduced = str(table["site_name"].values[i]), row["left_out_chi2"] / row["left_out_n"]
        sentence = (
            f"Left out, {site} is predicted by the other sites {'worse' if reduced > 1 else 'better'} than R and B "
            f"allow: χ² is {reduced:.2f} an observation, expected 1 ± {np.sqrt(2 / row['left_out_n']):.2f}; skill "
            f"{row['left_out_skill']:.2f} against {row['left_out_skill_expected']:.2f} expected; "
            f"{'look at its transport, or give R and B more' if reduced > 1 else 'R or B is too wide there'}."
        )
        grade = Grade.WARN if far_off(reduced) else Grade.INFORM
        yield abs(np.log(reduced)), site, Finding(grade, "left_out", sentence)
