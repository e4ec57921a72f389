"""What happens to an instrument in a month beside the air: cylinders by turns, drift, pollution from nearby."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

_DAY: Final = 86_400.0
_LASTS: Final = (120.0, 480.0)
"""Shortest and longest plume [s]."""
_HEIGHT: Final = (3.0, 15.0)
"""Lowest and highest rise of CO2 in a plume [umol mol-1]."""
_CH4_IN_CO2: Final = 8.0
"""nmol mol-1 of CH4 for each umol mol-1 of CO2 in a plume."""


@dataclass(frozen=True, slots=True)
class Round:
    """A round of the valve through cylinders, each for as long as an inlet.

    Parameters
    ----------
    ports
        Positions of the valve, in order.
    every_seconds, first_seconds
        How often it comes, and when it first does, counted from the begin of the record [s].
    """

    ports: tuple[str, ...]
    every_seconds: int
    first_seconds: int = 0


@dataclass(frozen=True, slots=True)
class Operation:
    """How an instrument is run, and what becomes of it.

    Parameters
    ----------
    cylinders
        Port -> what its cylinder holds: CO2 [umol mol-1] and CH4 [nmol mol-1], dry.
    rounds
        When which of them flow.
    lag_seconds, flush_seconds
        How long the gas before still comes after the valve has turned, and the time constant with which it then makes
        way [s].
    offset, drift
        Of CO2 [umol mol-1] and CH4 [nmol mol-1]: what the instrument reads too much at the begin of the record, and how
        much more of that comes in a day.
    plumes_per_day
        Short rises by pollution from nearby, a few minutes each.
    """

    cylinders: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    rounds: tuple[Round, ...] = ()
    lag_seconds: float = 25.0
    flush_seconds: float = 15.0
    offset: tuple[float, float] = (0.0, 0.0)
    drift: tuple[float, float] = (0.0, 0.0)
    plumes_per_day: float = 0.0

    def apply(
        self, rows: np.ndarray, since: np.ndarray, noise: np.ndarray, rng: np.random.Generator, *, dwell_seconds: int
    ) -> None:
        """Change the rows of a record of air into those of this instrument.

        Parameters
        ----------
        rows
            Structured array (n,) with ``port``, ``co2_true``, ``ch4_true`` [umol mol-1], ``h_reported`` [%].
        since
            Shape (n,), s since the begin of the record.
        noise
            Shape (2, n), that of CO2 and CH4 in the rows, which cylinders have as well [umol mol-1].
        rng
            When plumes come, and how high they are.
        dwell_seconds
            How long the valve stays at a cylinder [s].
        """
        self._pollute(rows, since, rng)
        for one in self.rounds:
            self._turn(rows, since, noise, one, dwell_seconds)
        self._flush(rows, since)
        rows["co2_true"] += self.offset[0] + self.drift[0] * since / _DAY
        rows["ch4_true"] += (self.offset[1] + self.drift[1] * since / _DAY) / 1000

    def _pollute(self, rows: np.ndarray, since: np.ndarray, rng: np.random.Generator) -> None:
        lasts_days = (since[-1] - since[0]) / _DAY
        count = round(self.plumes_per_day * lasts_days)
        draws = (rng.uniform(0, since[-1], count), rng.uniform(*_LASTS, count), rng.uniform(*_HEIGHT, count))
        for begin, lasts, height in zip(*draws, strict=True):
            first, last = np.searchsorted(since, (begin, begin + lasts))
            rise = height * np.sin(np.pi * (since[first:last] - begin) / lasts) ** 2
            rows["co2_true"][first:last] += rise
            rows["ch4_true"][first:last] += _CH4_IN_CO2 * rise / 1000

    def _turn(self, rows: np.ndarray, since: np.ndarray, noise: np.ndarray, one: Round, dwell_seconds: int) -> None:
        within = (since - one.first_seconds) % one.every_seconds
        step = (within // dwell_seconds).astype(int)
        for number, port in enumerate(one.ports):
            there = (step == number) & (since >= one.first_seconds)
            co2, ch4 = self.cylinders[port]
            rows["port"][there] = float(port)
            rows["co2_true"][there] = co2 + noise[0, there]
            rows["ch4_true"][there] = ch4 / 1000 + noise[1, there]
            rows["h_reported"][there] = 0.0

    def _flush(self, rows: np.ndarray, since: np.ndarray) -> None:
        """Let what was in the line before each turn of the valve go out."""
        turned = np.r_[0, np.flatnonzero(np.diff(rows["port"])) + 1]
        latest = turned[np.searchsorted(turned, np.arange(rows.size), side="right") - 1]
        left = np.exp(-np.maximum(since - since[latest] - self.lag_seconds, 0.0) / self.flush_seconds)
        left[latest == 0] = 0.0
        for name in ("co2_true", "ch4_true", "h_reported"):
            before = rows[name][np.maximum(latest - 1, 0)]
            rows[name] += left * (before - rows[name])
