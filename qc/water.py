"""Water-vapour correction: from the mole fraction in moist air to that in dry air.

An instrument that measures its gases one after the other has no water value of the same moment: what
counts for a gas's own row is the plain mean of the water values before and after it. Interpolating in
time instead errs by up to 3e-3 (relative) where the humidity jumps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qc.errors import QcError


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Coefficients of the water correction of one gas on one instrument model.

    Parameters
    ----------
    a, b
        Of ``1 + a h + b h²``, h in 10-2 mol mol-1.
    humidity
        The quantity that h is.
    """

    a: float
    b: float
    humidity: str


COEFFICIENTS: Final[dict[tuple[str, str], Coefficients]] = {
    ("picarro_g2301", "co2"): Coefficients(-0.01200, -2.674e-4, "h2o_reported"),
    ("picarro_g2301", "ch4"): Coefficients(-0.00982, -2.393e-4, "h2o_reported"),
    ("picarro_g4301", "co2"): Coefficients(-0.010345, 0.0, "h2o"),
    ("picarro_g4301", "ch4"): Coefficients(-0.0109, 0.0, "h2o"),
}
"""(model, gas) -> the maker's own correction, found again from the dry values in real files of that
model (relative differences below 1e-10). Coefficients measured for one instrument are configuration."""


def dry_mole_fraction(wet: Any, h: Any, *, a: float, b: float) -> Any:
    """Return the dry-air mole fraction of a gas.

    ``dry = wet / (1 + a h + b h²)`` (Rella et al. 2013, AMT 6, 837, eq. 5, as the maker applies it)

    Parameters
    ----------
    wet : float or array
        Mole fraction in moist air; the unit stays.
    h : float or array
        Water vapour as the coefficients want it [10-2 mol mol-1].
    a, b : float
        Coefficients; see `COEFFICIENTS`.

    Returns
    -------
    float or array
        NaN where `wet` or `h` is.

    Examples
    --------
    >>> float(round(dry_mole_fraction(400.0, 2.0, a=-0.012, b=-2.674e-4), 3))
    410.286
    """
    return wet / (1.0 + a * h + b * h * h)


def at_own_rows(
    time: NDArray[np.int64], water: NDArray[np.float64], own: NDArray[np.intp], *, max_gap_seconds: float = 30.0
) -> NDArray[np.float64]:
    """Return the water value that belongs to each of a gas's own rows.

    The row's own where it has one, else the plain mean of the last before and the first after it, each
    where it is at most `max_gap_seconds` away; of one side alone where only that is near.

    Parameters
    ----------
    time : int64 (row)
        ns since 1970 UTC, increasing.
    water : float64 (row)
        Water vapour, NaN on rows that brought none [10-2 mol mol-1].
    own : intp (own row)
        Indices of the gas's own rows.
    max_gap_seconds : float
        How far away a water value may be [s].

    Returns
    -------
    float64 (own row)
        NaN where no water value is near.

    Raises
    ------
    QcError
        Where the arrays do not fit together.
    """
    if time.shape != water.shape:
        msg = f"time has shape {time.shape}, water {water.shape}; expected the same rows in both"
        raise QcError(msg)
    rows = np.flatnonzero(np.isfinite(water))
    if rows.size == 0 or own.size == 0:
        return np.full(own.size, np.nan)
    after = np.searchsorted(rows, own)  # the first water row at or after the own row
    before = rows[np.maximum(after - 1, 0)]
    following = rows[np.minimum(after, rows.size - 1)]
    gap = np.int64(max_gap_seconds * 1e9)
    has_before = (after > 0) & (time[own] - time[before] <= gap)
    has_after = (after < rows.size) & (time[following] - time[own] <= gap)
    left, right = water[before], water[following]
    h = np.where(has_before & has_after, (left + right) / 2.0, np.where(has_before, left, right))
    h = np.where(np.isfinite(water[own]), water[own], h)
    h[~(has_before | has_after)] = np.nan
    return h
