"""Range test: is a value one the gas can have at all, and one it usually has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qc.flags import Flag


@dataclass(frozen=True, slots=True)
class Range:
    """Limits of a gas, included; in its own unit.

    Parameters
    ----------
    bad
        (low, high): outside is bad. None: not tested.
    suspect
        (low, high): outside is suspect. None: not tested.
    """

    bad: tuple[float, float] | None = None
    suspect: tuple[float, float] | None = None

    def __bool__(self) -> bool:
        return self.bad is not None or self.suspect is not None


def flags(values: NDArray[np.float64], limits: Range) -> NDArray[np.int8]:
    """Return a flag for each value: QARTOD's gross range test.

    Parameters
    ----------
    values : float64 (row)
        Mole fractions in the unit of `limits`; NaN is not evaluated.
    limits : Range
        Limits; without any, nothing is evaluated.

    Returns
    -------
    int8 (row)
        GOOD, SUSPECT, BAD or NOT_EVALUATED.
    """
    outcome = np.full(values.shape, Flag.GOOD if limits else Flag.NOT_EVALUATED, dtype=np.int8)
    for span, flag in ((limits.suspect, Flag.SUSPECT), (limits.bad, Flag.BAD)):
        if span is not None:
            outcome[(values < span[0]) | (values > span[1])] = flag
    outcome[np.isnan(values)] = Flag.NOT_EVALUATED
    return outcome
