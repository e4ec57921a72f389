"""Twin experiments: truths drawn, observed, inverted, and laid beside what the inversion said of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
import scipy.stats
import xarray as xr

from inversion.covariance.operator import Array
from inversion.diagnostics import Diagnostics
from inversion.findings import CONSISTENCY, Grade, as_text
from inversion.posterior import Posterior
from inversion.problem import Problem
from inversion.solve import batch
from inversion.totals import SEEN, increments, seen_share
from inversion.twins.nature import Draw, Nature, TwinError
from inversion.twins.replay import replay
from inversion.twins.verdict import judge


def run(
    problem: Problem | Posterior,
    aggregate: Any,
    *,
    rng: np.random.Generator,
    draws: int = 30,
    nature: Nature | None = None,
    planted: float = 3.0,
    level: float = 0.05,
) -> xr.Dataset:
    """Draw truths, observe and invert them, and return how often the inversion was right about aggregates.

    The factorisation is made once; every draw is a full `Posterior` with its own diagnostics and findings.

    Parameters
    ----------
    problem : Problem or Posterior
        What the inversion assumes; its observed values are not used.
    aggregate : DataArray (name, state), array or sparse matrix (k, m)
        W: provinces, sectors, years.
    rng : numpy.random.Generator
    draws : int
        N, 2 or more.
    nature : Nature, optional
        How the truth is made; by default as the inversion assumes.
    planted : float
        Error of one aggregate in its prior σ, spread in it as the prior spreads it, whose detection is counted.
    level : float
        Of the test that an aggregate departs from its prior.

    Returns
    -------
    xr.Dataset
        On ``draw``, W's dimension and ``rule``. Each draw: ``truth``, ``estimate``, ``z`` = (t̂ − t)/σ;
        ``chi2_totals`` = (t̂ − t)ᵀ (W Ŝ Wᵀ)⁻¹ (t̂ − t) over seen aggregates; ``chi2_reduced``, ``J_a_ratio``, ``lag1``
        (largest) as the inversion's own diagnostics say; ``found`` (draw, rule): warnings and refusals of rules that
        test R, B and H; ``reported``: any of them. Each aggregate: ``prior_stdev``, ``posterior_stdev``, ``seen``
        share, ``counted``; ``inside68``, ``inside95``; ``bias`` and ``spread``, mean and root mean square of z;
        ``alarms`` and ``power``, the shares of draws in which it is said to depart from the prior, without and with
        `planted`.
        Attributes: ``whitened_chi2`` (mean χ² per seen aggregate and draw, expected 1), ``whitened_chi2_stderr`` =
        √(2/(kN)), ``coverage68``, ``coverage95`` over seen aggregates, ``nature``, ``findings`` as JSON.

    Raises
    ------
    TwinError
        With fewer than two draws, or no aggregate that is seen, or a nature that does not fit.
    """
    if draws < 2 or not 0 < level < 1:
        raise TwinError("The twin experiment", [f"draws is {draws} and level {level}: expected 2 or more, and 0 to 1."])
    posterior = problem if isinstance(problem, Posterior) else batch(problem)
    stated = _Stated(posterior, aggregate, planted, float(scipy.stats.norm.isf(level / 2)))
    world = nature or Nature()
    W = stated.W if world.aggregate is None else _matrix(world.aggregate, world.states(posterior.problem))
    if len(W) != len(stated.W):
        fault = f"The nature's aggregate has {len(W)} rows, expected {len(stated.W)} as that of the inversion."
        raise TwinError("The twin experiment", [fault])
    rows = [row for group in world.draw(posterior.problem, draws, rng) for row in stated.rows(W @ group.x, group)]
    result = stated.dataset(rows).assign_attrs(
        nature=world.name, draws=draws, level=level, planted=planted, title=posterior.problem.name
    )
    return result.assign_attrs(findings=as_text(judge(result)))


class _Stated:
    """What the inversion says about aggregates before any draw."""

    def __init__(self, posterior: Posterior, aggregate: Any, planted: float, critical: float) -> None:
        self.posterior, self.aggregate, self.critical = posterior, aggregate, critical
        self.prior = posterior.prior_total(aggregate)
        S, M = posterior.covariance(aggregate).values, posterior.prior_covariance(aggregate).values
        self.S, self.M = S, M
        self.W = _matrix(aggregate, posterior.problem.n_state)
        self.gain = posterior.gain(aggregate).values
        self.seen = seen_share(S, M)
        self.counted = self.seen >= SEEN
        if not self.counted.any():
            fault = f"None of {S.shape[0]} aggregates has a tenth of its prior variance taken away: nothing to count."
            raise TwinError("The twin experiment", [fault])
        part = np.ix_(self.counted, self.counted)
        self._lower = scipy.linalg.cholesky(S[part], lower=True)
        # An error of one total of `planted` σ, spread as the prior spreads it: columns of B Wᵀ M⁻¹. Totals without
        # prior error, and totals that are sums of others, leave M singular.
        pattern = posterior.problem.B.matvec(np.ascontiguousarray(self.W.T)) @ np.linalg.pinv(M, hermitian=True)
        self.pattern = pattern * (planted * np.sqrt(np.diagonal(M)))

    def rows(self, truth: Array, group: Draw) -> list[dict[str, Any]]:
        """Return what each draw of a group gave."""
        # A nature with a state of its own: the plant is seen as the inversion would see it.
        H = group.H if group.H.shape[1] == len(self.pattern) else self.posterior.problem.H
        shift = np.einsum("kn,nk->k", self.gain, H.matvec(self.pattern))
        replayed = replay(self.posterior, np.ascontiguousarray(group.y))
        return [self._row(twin, truth[:, i], shift) for i, twin in enumerate(replayed)]

    def _row(self, twin: Posterior, truth: Array, shift: Array) -> dict[str, Any]:
        estimate = twin.total(self.aggregate).values
        sigma = np.sqrt(np.diagonal(self.S))
        moved = estimate - self.prior.values
        spread = np.sqrt(np.maximum(np.diagonal(self.M - self.S), np.finfo(float).tiny))
        whitened = scipy.linalg.solve_triangular(self._lower, (estimate - truth)[self.counted], lower=True)
        departure = increments(moved, self.S, self.M)
        codes = {f.code for f in twin.findings if f.grade in {Grade.WARN, Grade.REFUSE}}
        codes |= {"increments"} if departure.probability < 0.01 else set()
        d = twin.diagnostics
        return {
            "truth": truth,
            "estimate": estimate,
            "z": (estimate - truth) / sigma,
            "chi2_totals": float(whitened @ whitened),
            "chi2_reduced": d.chi2_reduced,
            "J_a_ratio": d.J_a / d.dofs if d.dofs else np.nan,
            "lag1": _largest_lag(d),
            "found": np.array([rule in codes for rule in CONSISTENCY]),
            "alarm": np.abs(moved) > self.critical * spread,
            "hit": np.abs(moved + shift) > self.critical * spread,
        }

    def dataset(self, rows: list[dict[str, Any]]) -> xr.Dataset:
        """Return draws and their statistics."""
        dim = str(self.prior.dims[0])
        unit, one = {"units": self.prior.attrs["units"]}, {"units": "1"}
        each = {name: np.array([row[name] for row in rows]) for name in rows[0]}
        z = each["z"]
        inside = [np.abs(z) <= scipy.stats.norm.isf((1 - share) / 2) for share in (0.68, 0.95)]
        k, n = int(self.counted.sum()), len(rows)
        return xr.Dataset(
            {
                "truth": (("draw", dim), each["truth"], unit),
                "estimate": (("draw", dim), each["estimate"], unit),
                "z": (("draw", dim), z, one),
                **{name: ("draw", each[name], one) for name in ("chi2_totals", "chi2_reduced", "J_a_ratio", "lag1")},
                "found": (("draw", "rule"), each["found"]),
                "reported": ("draw", each["found"].any(axis=1)),
                "prior_stdev": (dim, np.sqrt(np.diagonal(self.M)), unit),
                "posterior_stdev": (dim, np.sqrt(np.diagonal(self.S)), unit),
                "seen": (dim, self.seen, one),
                "counted": (dim, self.counted),
                "inside68": (dim, inside[0].mean(axis=0), one),
                "inside95": (dim, inside[1].mean(axis=0), one),
                "bias": (dim, z.mean(axis=0), one),
                "spread": (dim, np.sqrt((z**2).mean(axis=0)), one),
                "alarms": (dim, each["alarm"].mean(axis=0), one),
                "power": (dim, each["hit"].mean(axis=0), one),
            },
            coords={**self.prior.coords, "rule": list(CONSISTENCY)},
            attrs={
                "counted": k,
                "whitened_chi2": float(each["chi2_totals"].mean() / k),
                "whitened_chi2_stderr": float(np.sqrt(2.0 / (k * n))),
                "coverage68": float(inside[0][:, self.counted].mean()),
                "coverage95": float(inside[1][:, self.counted].mean()),
            },
        )


def _matrix(aggregate: Any, states: int) -> Array:
    """Return W (k, m) as `Posterior` reads it."""
    if isinstance(aggregate, xr.DataArray):
        return np.asarray(aggregate.transpose(..., "state").values, dtype=np.float64)
    dense = aggregate.toarray() if hasattr(aggregate, "toarray") else aggregate
    return np.atleast_2d(np.asarray(dense, dtype=np.float64)).reshape(-1, states)


def _largest_lag(d: Diagnostics) -> float:
    lags = [site.lag1 for site in d.sites if np.isfinite(site.lag1)]
    return max(lags, key=abs) if lags else float("nan")
