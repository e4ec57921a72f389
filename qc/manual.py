"""Flags by hand: a PI's decisions, each a row of a ledger that is never edited, on top of what the tests said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qc.flags import Cause, Flag, outcomes


@dataclass(frozen=True, slots=True)
class Entry:
    """One decision that is in force.

    Parameters
    ----------
    number
        Of its row in the ledger; of two that speak of a value the later one counts.
    start, end
        datetime64: values at or after `start` and before `end`.
    flag
        Good (whatever the tests said), suspect, bad (where they said no worse), or not evaluated: nothing is said.
    author, reason
        Who, and why.
    gas, port
        Only this gas, only this position of the valve; None: all.
    """

    number: int
    start: np.datetime64
    end: np.datetime64
    flag: Flag
    author: str
    reason: str
    gas: str | None = None
    port: str | None = None


def apply(
    time: NDArray[np.int64],
    port: NDArray[np.object_],
    value: NDArray[np.float64],
    flag: NDArray[np.int8],
    cause: NDArray[np.int32],
    tests: NDArray[np.int64],
    *,
    gas: str,
    entries: Sequence[Entry],
) -> tuple[NDArray[np.int8], NDArray[np.int32], NDArray[np.int64]]:
    """Return flags, causes and outcomes with what was decided by hand.

    Parameters
    ----------
    time : int64 (row)
        ns since 1970 UTC.
    port : object (row)
        Position of the valve.
    value : float64 (row)
        A row without a value cannot be good.
    flag, cause, tests
        (row): what the tests said; not changed.
    gas : str
        Of the values.
    entries : sequence of Entry
        In force.

    Returns
    -------
    flag : int8 (row)
    cause : int32 (row)
        With `Cause.MANUAL` where somebody decided.
    tests : int64 (row)
        With the outcome of that.
    """
    decided = np.zeros(time.size, dtype=np.int8)
    for entry in sorted(entries, key=lambda e: e.number):
        if entry.gas not in (None, gas):
            continue
        first, until = (moment.astype("datetime64[ns]").astype(np.int64) for moment in (entry.start, entry.end))
        concerned = (time >= first) & (time < until)
        if entry.port is not None:
            concerned &= port == entry.port
        decided[concerned] = entry.flag
    decided[(flag == Flag.MISSING) | (decided == Flag.NOT_EVALUATED)] = 0
    worse = np.where(decided > 0, np.maximum(flag, decided), flag)
    good = (decided == Flag.GOOD) & np.isfinite(value)
    outcome = np.where(decided == Flag.GOOD, np.where(good, Flag.GOOD, flag), worse).astype(np.int8)
    return (
        outcome,
        np.where(decided > 0, cause | int(Cause.MANUAL), cause).astype(np.int32),
        tests | outcomes(Cause.MANUAL, decided),
    )
