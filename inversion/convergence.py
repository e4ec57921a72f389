"""Have the chains of a sampler come together? R-hat and effective sample size.

Equations and limits are those of Vehtari et al. (2021, Bayesian Analysis 16, 667). Draws are arrays (chain, draw, k)
of k quantities; chains are split in halves first, so that a drift within one shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.fft
import scipy.stats

from inversion.covariance.operator import Array
from inversion.errors import InversionError
from inversion.findings import Finding, Grade

RHAT: Final = 1.01
ESS: Final = 400.0
"""From here on a result is warned of: Vehtari et al., Section 4."""
RHAT_REFUSED: Final = 1.1
ESS_REFUSED: Final = 50.0
"""From here on it must not be used."""
DIVERGENT_REFUSED: Final = 0.05
"""Share of draws."""
_FEWEST: Final = 8
"""Draws of a chain."""


@dataclass(frozen=True, slots=True)
class Convergence:
    """How well the chains have come together, by the quantity that did so worst.

    Attributes
    ----------
    chains, draws : int
        Draws of each chain.
    rhat : float
        Largest R-hat.
    rhat_of : str
        The quantity that has it.
    ess : float
        Smallest effective sample size, of bulk or tails.
    ess_of : str
    divergent : int
        Draws at which the integrator lost the energy.
    """

    chains: int
    draws: int
    rhat: float
    rhat_of: str
    ess: float
    ess_of: str
    divergent: int


def rhat(draws: Array) -> Array:
    """Return R̂, rank-normalised: the larger of that of the draws and of their distance from the median.

    R̂ = √(((n − 1)/n W + B/n) / W) with the variances W within and B/n between half chains of n draws (Section 4.2).

    Parameters
    ----------
    draws : array (chain, draw, k)

    Returns
    -------
    array (k,)
        1 where the chains agree; NaN where a quantity does not vary.

    Raises
    ------
    InversionError
        With fewer than 8 draws a chain.
    """
    halves = _halves(draws)
    folded = np.abs(halves - np.median(halves, axis=(0, 1)))
    return np.maximum(_plain_rhat(_normal_scores(halves)), _plain_rhat(_normal_scores(folded)))


def ess(draws: Array) -> Array:
    """Return the effective sample size: the smaller of that of the rank-normalised draws and of the two tails.

    N / (1 + 2 Σ ρ_t) over Geyer's initial monotone sequence (tails: below the quantiles of 5 and 95 %).

    Parameters
    ----------
    draws : array (chain, draw, k)

    Returns
    -------
    array (k,)
        NaN where a quantity does not vary.

    Raises
    ------
    InversionError
        With fewer than 8 draws a chain.
    """
    halves = _halves(draws)
    low, high = np.quantile(halves, [0.05, 0.95], axis=(0, 1))
    parts = [_normal_scores(halves), (halves <= low).astype(np.float64), (halves <= high).astype(np.float64)]
    return np.min([plain_ess(part) for part in parts], axis=0)


def plain_ess(halves: Array) -> Array:
    """Return the effective sample size of the mean of draws (chain, draw, k), as they are: neither split nor ranked."""
    chains, n, _ = halves.shape
    covariance = _autocovariance(halves)
    within = covariance[:, 0].mean(axis=0) * n / (n - 1)
    between = halves.mean(axis=1).var(axis=0, ddof=1) if chains > 1 else 0.0
    total = within * (n - 1) / n + between
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = 1.0 - (within - covariance.mean(axis=0)) / total
    sizes = np.array([chains * n / _correlation_time(column, chains * n) for column in correlation.T])
    return np.where(total > 0, sizes, np.nan)


def judge_chains(found: Convergence) -> tuple[Finding, ...]:
    """Return what the convergence says of the result, in words.

    Parameters
    ----------
    found : Convergence

    Returns
    -------
    tuple of Finding
        ``sampling`` where all is well, else ``rhat``, ``ess``, ``divergent``: warnings, or refusals beyond the limits.
    """
    said: list[Finding] = []
    if not found.rhat <= RHAT:
        sentence = (
            f"The chains have not come together: R-hat of {found.rhat_of} is {found.rhat:.3f}, expected {RHAT} at "
            "most; draw longer, or give what is badly determined a narrower prior."
        )
        said.append(Finding(Grade.WARN if found.rhat <= RHAT_REFUSED else Grade.REFUSE, "rhat", sentence))
    if not found.ess >= ESS:
        sentence = (
            f"The draws are worth too little: the effective sample size of {found.ess_of} is {found.ess:.0f} of "
            f"{found.chains * found.draws}, expected {ESS:.0f} at least; draw longer."
        )
        said.append(Finding(Grade.WARN if found.ess >= ESS_REFUSED else Grade.REFUSE, "ess", sentence))
    if found.divergent:
        share = found.divergent / (found.chains * found.draws)
        sentence = (
            f"{found.divergent} of {found.chains * found.draws} draws diverged, expected none: a part of the posterior "
            "is too narrow for the sampler; raise `accept`, or narrow the priors of the hyper-parameters."
        )
        said.append(Finding(Grade.WARN if share <= DIVERGENT_REFUSED else Grade.REFUSE, "divergent", sentence))
    if said:
        return tuple(said)
    sentence = (
        f"{found.chains} chains of {found.draws} draws agree: R-hat at most {found.rhat:.3f}, effective sample size at "
        f"least {found.ess:.0f} ({found.ess_of})."
    )
    return (Finding(Grade.INFORM, "sampling", sentence),)


def converged(draws: Array, names: Sequence[str], divergent: int) -> Convergence:
    """Return the convergence of named quantities.

    Parameters
    ----------
    draws : array (chain, draw, k)
    names : sequence of str (k)
    divergent : int

    Returns
    -------
    Convergence
        A quantity that does not vary counts as the worst there can be.
    """
    worst_rhat = np.nan_to_num(rhat(draws), nan=np.inf)
    least_ess = np.nan_to_num(ess(draws), nan=0.0)
    i, j = int(worst_rhat.argmax()), int(least_ess.argmin())
    chains, n = draws.shape[:2]
    return Convergence(chains, n, float(worst_rhat[i]), names[i], float(least_ess[j]), names[j], divergent)


def _halves(draws: Array) -> Array:
    if draws.ndim != 3 or draws.shape[1] < _FEWEST:
        msg = f"The draws have the shape {draws.shape}, expected (chain, draw, k) with {_FEWEST} draws at least."
        raise InversionError(msg)
    n = draws.shape[1] // 2
    return np.concatenate([draws[:, :n], draws[:, -n:]])


def _normal_scores(values: Array) -> Array:
    """Return Φ⁻¹((rank − 3/8) / (S + 1/4)), ranks over all chains together."""
    flat = values.reshape(-1, values.shape[2])
    ranks = scipy.stats.rankdata(flat, axis=0)
    return scipy.stats.norm.ppf((ranks - 0.375) / (len(flat) + 0.25)).reshape(values.shape)


def _plain_rhat(halves: Array) -> Array:
    n = halves.shape[1]
    within = halves.var(axis=1, ddof=1).mean(axis=0)
    between = halves.mean(axis=1).var(axis=0, ddof=1)
    ratio = np.divide((n - 1) / n * within + between, within, out=np.full_like(within, np.nan), where=within > 0)
    return np.sqrt(ratio)


def _autocovariance(halves: Array) -> Array:
    """Return Σ_i c_i c_{i+t} / n along the draws, for all t."""
    n = halves.shape[1]
    centred = halves - halves.mean(axis=1, keepdims=True)
    size = scipy.fft.next_fast_len(2 * n)
    spectrum = scipy.fft.rfft(centred, size, axis=1)
    power: Callable[..., Array] = scipy.fft.irfft
    return power(np.abs(spectrum) ** 2, size, axis=1)[:, :n] / n


def _correlation_time(correlation: Array, draws: int) -> float:
    """Return 1 + 2 Σ ρ_t over pairs of lags: while their sums are positive, none larger than the one before."""
    correlation = correlation.copy()
    correlation[0] = 1.0
    pairs = correlation[: correlation.size // 2 * 2].reshape(-1, 2).sum(axis=1)
    ends = np.flatnonzero(~(pairs > 0))
    pairs = np.minimum.accumulate(pairs[: ends[0]] if ends.size else pairs)
    return float(max(2.0 * pairs.sum() - 1.0, 1.0 / np.log10(draws)))
