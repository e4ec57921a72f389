"""Twin experiments of the early warning: how often it warns without cause, and what it finds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from inversion.warning.rule import Rule
from inversion.warning.watch import Comparison

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One window of a rolling inversion: what is linear in the data, made once.

    Attributes
    ----------
    cells : array (k L,) of int
        Its cells among all regions by months.
    observations : array of int
    gain : array (k L, n)
        W K.
    covariance, prior_covariance : array (k L, k L)
    """

    cells: NDArray[np.intp]
    observations: NDArray[np.intp]
    gain: Floats
    covariance: Floats
    prior_covariance: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """A network, its region totals by month and their express estimates, all linear and Gaussian.

    Attributes
    ----------
    H : array (n, m)
        Sensitivities of all observations to all elements of the state (cells of all months).
    R : array (n,)
        Variances of the observations.
    B : array (m, m)
        Prior covariance.
    W : array (k T, m)
        Totals of k regions by T months, the months of a region beside each other.
    month : array (n,) of int
        Month (from 0) of every observation.
    express_covariance : array (k T, k T)
        D, of the express estimates.
    months, window : int
        T, and how many months one inversion takes (fewer at the beginning).
    prior_is_express : bool
        The inversion starts from the express estimates themselves; D is then W B Wᵀ.
    """

    H: Floats
    R: Floats
    B: Floats
    W: Floats
    month: NDArray[np.intp]
    express_covariance: Floats
    months: int
    window: int = 12
    prior_is_express: bool = False

    @property
    def regions(self) -> int:
        """Number of regions."""
        return len(self.W) // self.months

    def windows(self) -> Iterator[Window]:
        """Yield the windows that end with each month.

        An inversion of a window takes the observations of its months, and the whole state they can see: what was
        emitted before the window is unknown to it, not right.
        """
        for last in range(self.months):
            inside = np.arange(max(0, last - self.window + 1), last + 1)
            cells = (np.arange(self.regions)[:, None] * self.months + inside).ravel()
            observations = np.flatnonzero(np.isin(self.month, inside))
            H, W = self.H[observations], self.W[cells]
            BW = self.B @ W.T
            across = H @ BW
            S = H @ self.B @ H.T + np.diag(self.R[observations])
            gain = np.linalg.solve(S, across).T
            M = W @ BW
            posterior = M - gain @ across
            yield Window(
                cells=cells,
                observations=observations,
                gain=gain,
                covariance=0.5 * (posterior + posterior.T),
                prior_covariance=0.5 * (M + M.T),
            )

    def run(self, draws: int, *, rule: Rule, rng: np.random.Generator, planted: Floats | None = None) -> xr.Dataset:
        """Draw truths, observations and express estimates from their joint distribution, and watch them.

        Parameters
        ----------
        draws : int
        rule : Rule
        rng : numpy.random.Generator
        planted : array (k T,), optional
            Added to the express estimates: an error they do not know of.

        Returns
        -------
        xr.Dataset (draw, month, region, span)
            ``z``, ``tested``, ``warning`` (bool); attributes ``family_wise`` (share of draws with any warning),
            ``per_test`` (share of tests with one) and ``rule``.
        """
        y, express = self._drawn(draws, rng)
        shift = np.zeros(len(self.W)) if planted is None else np.asarray(planted, dtype=np.float64)
        shape = (draws, self.months, self.regions, len(rule.spans))
        z, tested, raised = np.full(shape, np.nan), np.zeros(shape, bool), np.zeros(shape, bool)
        for last, window in enumerate(self.windows()):
            compared = self._compared(window, rule)
            for i in range(draws):
                table = self._watched(window, compared, y[i], (express[i] + shift)[window.cells], shift)
                part = (i, last, slice(None), slice(table.sizes["span"]))
                z[part] = table["z"].values
                tested[part] = np.isfinite(table["p"].values)
                raised[part] = np.isin(table["warning"].values, ["higher", "lower"])
        dims = ("draw", "month", "region", "span")
        return xr.Dataset(
            {"z": (dims, z), "tested": (dims, tested), "warning": (dims, raised)},
            coords={"span": list(rule.spans)},
            attrs={
                "family_wise": float(raised.any(axis=(1, 2, 3)).mean()),
                "per_test": float(raised.sum() / max(1, tested.sum())),
                "rule": str(rule),
            },
        )

    def _compared(self, window: Window, rule: Rule) -> Comparison:
        D = self.express_covariance[np.ix_(window.cells, window.cells)]
        return Comparison.of(
            window.covariance,
            window.prior_covariance,
            window.prior_covariance if self.prior_is_express else D,
            months=window.cells.size // self.regions,
            rule=rule,
        )

    def _watched(self, window: Window, compared: Comparison, y: Floats, express: Floats, shift: Floats) -> xr.Dataset:
        """Invert one window of one draw, and watch it; a prior that is the estimate has its planted error too."""
        if not self.prior_is_express:
            return compared.table(window.gain @ y[window.observations], np.zeros(express.size), express)
        departure = (y - self._seen(shift))[window.observations]
        return compared.table(express + window.gain @ departure, express, express)

    def _seen(self, shift: Floats) -> Floats:
        """Return what the observations see of a shift of the totals that the prior spreads, H G shift."""
        M = self.W @ self.B @ self.W.T
        return np.asarray(self.H @ (self.B @ (self.W.T @ np.linalg.solve(M, shift))), dtype=np.float64)

    def _drawn(self, draws: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Return departures of observations and of express estimates from the prior's mean, draw by draw."""
        x = _root(self.B) @ rng.standard_normal((len(self.B), draws))
        y = self.H @ x + np.sqrt(self.R)[:, None] * rng.standard_normal((self.R.size, draws))
        totals = self.W @ x
        if self.prior_is_express:
            return y.T, np.zeros_like(totals.T)
        error = _root(self.express_covariance) @ rng.standard_normal(totals.shape)
        return y.T, (totals + error).T


def _root(covariance: Floats) -> Floats:
    """Return a square root of a covariance that may be singular."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)), dtype=np.float64)
