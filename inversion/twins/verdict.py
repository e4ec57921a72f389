"""What a twin experiment says, in sentences: is the inversion calibrated, and would it notice where it is not."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.stats
import xarray as xr

from inversion.findings import Finding, Grade, carried

_SIGMAS = 3.0
"""Standard errors that make a departure."""
_NOTICED = 0.5
"""Share of draws in which the diagnostics must warn where the stated σ do not hold."""
_FALSE_ALARMS = 0.15
"""Share of draws in which warnings of sound results are taken for chance: nine rules at levels of 0.01 to 0.05."""


def judge(twins: xr.Dataset) -> tuple[Finding, ...]:
    """Return what a twin experiment says.

    Parameters
    ----------
    twins : xr.Dataset
        From `experiment.run`.

    Returns
    -------
    tuple of Finding, the worst first
        ``twin_coverage`` always (warn where the whitened χ² is more than three standard errors from 1); ``twin_bias``;
        ``twin_silent`` where coverage is lost and the inversion's own diagnostics warn in fewer than half of the draws,
        ``twin_reported`` where they do; ``twin_false_alarms``.
    """
    found = [*_coverage(twins), *_bias(twins), *_notice(twins)]
    return tuple(sorted(found, key=lambda finding: list(Grade).index(finding.grade)))


def read_findings(twins: xr.Dataset) -> tuple[Finding, ...]:
    """Return the findings a twin experiment carries, such as to give them to `Problem(findings=...)`.

    Parameters
    ----------
    twins : xr.Dataset
        From `experiment.run`, or read back from a file.

    Returns
    -------
    tuple of Finding
    """
    return carried(twins.attrs)


def lines(twins: xr.Dataset) -> list[str]:
    """Return a twin experiment in lines of text, for a terminal.

    Parameters
    ----------
    twins : xr.Dataset

    Returns
    -------
    list of str
    """
    a, dim = twins.attrs, str(twins["seen"].dims[0])
    names = twins[dim].values.astype(str) if dim in twins.coords else np.arange(twins.sizes[dim]).astype(str)
    width = max(map(len, names))
    head = (
        f"  {'':{width}}  {'seen':>6}  {'σ prior':>9}  {'σ':>9}  {'in 68':>6}  {'in 95':>6}  {'bias':>6}  {'power':>6}"
    )
    columns = ("seen", "prior_stdev", "posterior_stdev", "inside68", "inside95", "bias", "power")
    rows = zip(names, *(twins[name].values for name in columns), strict=True)
    table = [
        f"  {name:{width}}  {seen:6.1%}  {before:9.4g}  {after:9.4g}  {i68:6.1%}  {i95:6.1%}  {bias:+6.2f}  "
        f"{power:6.1%}"
        for name, seen, before, after, i68, i95, bias, power in rows
    ]
    shares = twins["found"].values.mean(axis=0)
    off = f"expected 1 ± {a['whitened_chi2_stderr']:.3f} (off by {_off(twins):+.1f} of it)"
    rules = ", ".join(f"{r} {s:.0%}" for r, s in zip(twins["rule"].values, shares, strict=True) if s > 0)
    return [
        f"{a['title']}: {a['draws']} twins, truth {a['nature']}",
        head,
        *table,
        f"  χ² of totals {a['whitened_chi2']:.3f}, {off}",
        f"  inside 68 %: {a['coverage68']:.1%}, inside 95 %: {a['coverage95']:.1%}",
        f"  warnings in {float(twins['reported'].mean()):.0%} of draws: {rules or 'none'}",
        *(f"  {finding}" for finding in judge(twins)),
    ]


def _off(twins: xr.Dataset) -> float:
    return (twins.attrs["whitened_chi2"] - 1.0) / twins.attrs["whitened_chi2_stderr"]


def _coverage(twins: xr.Dataset) -> Iterator[Finding]:
    a, off = twins.attrs, _off(twins)
    said = (
        f"over {a['draws']} twins (truth {a['nature']}) the whitened χ² of {a['counted']} seen totals is "
        f"{a['whitened_chi2']:.2f}, expected 1 ± {a['whitened_chi2_stderr']:.2f}; {a['coverage68']:.0%} lie within "
        f"68 % bounds and {a['coverage95']:.0%} within 95 % bounds"
    )
    if abs(off) <= _SIGMAS:
        yield Finding(Grade.INFORM, "twin_coverage", f"The stated σ hold: {said}.")
        return
    factor = np.sqrt(a["whitened_chi2"])
    yield Finding(
        Grade.WARN,
        "twin_coverage",
        f"The stated σ of totals are too {'small' if off > 0 else 'large'}: {said}; true errors are {factor:.2f} times "
        "what is stated.",
    )


def _bias(twins: xr.Dataset) -> Iterator[Finding]:
    """Compare the mean of z with what its own scatter allows, shared among the aggregates."""
    dim = str(twins["seen"].dims[0])
    n = twins.sizes["draw"]
    z = twins["z"].values[:, twins["counted"].values]
    t = z.mean(axis=0) / (z.std(axis=0, ddof=1) / np.sqrt(n))
    limit = float(scipy.stats.t.isf(0.5 * 0.01 / z.shape[1], n - 1))
    names = twins[dim].values[twins["counted"].values] if dim in twins.coords else np.flatnonzero(twins["counted"])
    off = [f"{names[i]} ({z[:, i].mean():+.2f} σ)" for i in np.flatnonzero(np.abs(t) > limit)]
    if off:
        yield Finding(
            Grade.WARN,
            "twin_bias",
            f"Estimates are biased in {', '.join(off)}, expected 0 ± {1 / np.sqrt(n):.2f} σ over {n} twins.",
        )


def _notice(twins: xr.Dataset) -> Iterator[Finding]:
    share = float(twins["reported"].mean())
    rates = twins["found"].values.mean(axis=0)
    order = [i for i in np.argsort(-rates, kind="stable")[:4] if rates[i] > 0]
    which = ", ".join(f"{twins['rule'].values[i]} in {rates[i]:.0%}" for i in order) or "no rule"
    if abs(_off(twins)) > _SIGMAS and share < _NOTICED:
        yield Finding(
            Grade.WARN,
            "twin_silent",
            f"The inversion would not notice: its own diagnostics warn in only {share:.0%} of the twins ({which}).",
        )
    elif abs(_off(twins)) > _SIGMAS:
        yield Finding(
            Grade.INFORM,
            "twin_reported",
            f"The inversion notices: its own diagnostics warn in {share:.0%} of the twins ({which}).",
        )
    elif share > _FALSE_ALARMS + _SIGMAS * np.sqrt(_FALSE_ALARMS * (1 - _FALSE_ALARMS) / twins.sizes["draw"]):
        yield Finding(
            Grade.INFORM,
            "twin_false_alarms",
            f"The diagnostics warn in {share:.0%} of the twins although the σ of totals hold ({which}).",
        )
