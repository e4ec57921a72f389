"""A posterior in lines of text: states, statistics, findings."""

from __future__ import annotations

import numpy as np

from inversion.diagnostics import state_name
from inversion.posterior import Posterior


def lines(posterior: Posterior, *, states: int = 100) -> list[str]:
    """Return what a posterior says, for a terminal.

    Parameters
    ----------
    posterior : Posterior
    states : int
        More states than this are not listed one by one.

    Returns
    -------
    list of str
    """
    problem, d = posterior.problem, posterior.diagnostics
    table = _states(posterior) if problem.n_state <= states else []
    n, scatter = d.n_obs, np.sqrt(2 * d.trace_squared)
    statistics = [
        f"  χ²    {d.chi2:9.1f}  expected {n} ± {np.sqrt(2 * n):.0f} (probability {d.chi2_probability:.2g})",
        f"  J_a   {d.J_a:9.1f}  expected {d.dofs:.1f} ± {scatter:.1f} (probability {d.J_a_probability:.2g})",
        f"  DOFS  {d.dofs:9.2f}  regions {d.dofs_state:.2f}, boundary terms {d.dofs_boundary:.2f}",
    ]
    statistics += ["", *_sites(posterior)]
    size = (
        f"{problem.n_obs} observations{_span(posterior)}, {problem.n_state} states, {problem.n_boundary} boundary terms"
    )
    found = [f"  {finding}" for finding in posterior.findings] or ["  none"]
    title = f"{problem.name}: {size}, {posterior.solution.form}-space form"
    return [title, "", *table, *([""] if table else []), *statistics, "", "findings", *found]


def _states(posterior: Posterior) -> list[str]:
    columns = (posterior.problem.x_a, posterior.prior_stdev(), posterior.mean, posterior.stdev(), posterior.seen)
    rows = zip(*(column.values for column in columns), strict=True)
    names = [state_name(posterior.problem.x_a, i) for i in range(posterior.problem.n_state)]
    width = max(map(len, names))
    head = f"  {'':{width}}  {'prior':^14}  {'posterior':^14}  {'seen':>6}"
    return [head] + [
        f"  {name:{width}}  {prior:6.3f} ± {before:5.3f}  {mean:6.3f} ± {after:5.3f}  {seen:6.1%}"
        for name, (prior, before, mean, after, seen) in zip(names, rows, strict=True)
    ]


def _span(posterior: Posterior) -> str:
    y = posterior.problem.y
    if "time" not in y.coords:
        return ""
    time = y["time"].values.astype("datetime64[D]")
    sites = ", ".join(dict.fromkeys(y["site"].values.astype(str).tolist())) if "site" in y.coords else ""
    return f"{f' at {sites}' if sites else ''} ({time.min()} to {time.max()})"


def _sites(posterior: Posterior) -> list[str]:
    """Return a row for each site; errors found and skill left out where they are known."""
    table = posterior.by_site
    width = max(4, *(len(str(name)) for name in table["site_name"].values))
    unit = posterior.problem.y_units
    head = f"  {'site':{width}}  {'n':>6}  {'DOFS':>6}  {'bias':>8}  {'rms':>8}  {'lag-1':>5}  {'σ_R':>19}"
    rows = [f"{head}  {'left-out skill':>15}   [{unit}]"]
    columns = {key: column.values for key, column in table.data_vars.items() if column.dims == ("sites",)}
    for i, name in enumerate(table["site_name"].values):
        row = {key: values[i] for key, values in columns.items()}
        errors = f"{row['sigma_R']:.3g} ({row['sigma_R_found']:.3g})" if "sigma_R" in row else ""
        skill = f"{row['left_out_skill']:.2f} ({row['left_out_skill_expected']:.2f})" if "left_out_skill" in row else ""
        rows.append(
            f"  {name:{width}}  {row['site_n']:6d}  {row['site_dofs']:6.2f}  {row['site_bias']:8.3g}  "
            f"{row['site_rms']:8.3g}  {row['site_lag1']:5.2f}  {errors:>19}  {skill:>15}"
        )
    return [*rows, "  in brackets: σ_R as found (Desroziers), skill as expected"]
