"""When a warning is raised, and how often without cause."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inversion.errors import FaultsError

Floats = NDArray[np.float64]

CONTROLS: Final = ("family", "discoveries")


class WarningRuleError(FaultsError):
    """A rule that cannot be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When a warning is raised.

    Attributes
    ----------
    level : float
        ``family``: probability of any warning without cause over all regions, spans and `months`. ``discoveries``:
        share of warnings without cause among a month's warnings.
    months : int
        Months the level is spread over, evenly (``family`` only).
    spans : tuple of int
        The last so many months are summed and tested too: what is too small to show in a month shows in twelve.
    min_share : float
        Smallest share of an error that the network would see; below it nothing is tested.
    control : {"family", "discoveries"}
        Holm's step-down procedure, or that of Benjamini and Yekutieli; both hold whatever the correlations are.
    """

    level: float = 0.05
    months: int = 12
    spans: tuple[int, ...] = (1, 3, 12)
    min_share: float = 0.3
    control: str = "family"

    def __post_init__(self) -> None:
        faults = [
            f"{name} is {getattr(self, name)}: expected {bounds}."
            for name, bounds, fine in (
                ("level", "a number between 0 and 1", 0 < self.level < 1),
                ("months", "at least 1", self.months >= 1),
                ("spans", "numbers of months, at least 1, rising", _rising(self.spans)),
                ("min_share", "a number from 0 to 1", 0 <= self.min_share <= 1),
                ("control", " or ".join(CONTROLS), self.control in CONTROLS),
            )
            if not fine
        ]
        if faults:
            raise WarningRuleError("The rule of the early warning", faults)

    @property
    def monthly_level(self) -> float:
        """Level of the procedure in one month."""
        return self.level / self.months if self.control == "family" else self.level

    def __str__(self) -> str:
        spans = ", ".join(map(str, self.spans))
        tested = (
            f"Every month the last {spans} months of every region of which the network sees at least "
            f"{100 * self.min_share:.3g} % are tested (two-sided) on the covariance of the difference. "
        )
        if self.control == "family":
            return tested + (
                f"By Holm's procedure at {100 * self.monthly_level:.3g} % a month: in any {self.months} months, with "
                f"all estimates right, the probability of any warning at all is at most {100 * self.level:.3g} %."
            )
        return tested + (
            "By the procedure of Benjamini and Yekutieli: of a month's warnings at most "
            f"{100 * self.level:.3g} % are without cause on average."
        )


def _rising(spans: tuple[int, ...]) -> bool:
    return bool(spans) and spans[0] >= 1 and all(a < b for a, b in itertools.pairwise(spans))


def adjusted(p: ArrayLike, control: str = "family") -> Floats:
    """Return p values adjusted for their number: what is at most the level is rejected.

    Holm (1979), Scand. J. Stat. 6, 65: p̃_(i) = max_{j≤i} min(1, (m - j + 1) p_(j));
    Benjamini and Yekutieli (2001), Ann. Stat. 29, 1165: p̃_(i) = min_{j≥i} min(1, c m p_(j) / j), c = Σ_{j≤m} 1/j

    Parameters
    ----------
    p : array (m,)
        NaN where nothing was tested; these do not count.
    control : {"family", "discoveries"}

    Returns
    -------
    array (m,)

    Examples
    --------
    >>> adjusted([0.01, 0.04, 0.02])
    array([0.03, 0.04, 0.04])
    """
    values = np.asarray(p, dtype=np.float64)
    out = np.full(values.shape, np.nan)
    tested = np.flatnonzero(np.isfinite(values))
    order = tested[np.argsort(values[tested], kind="stable")]
    m = order.size
    rank = np.arange(1, m + 1)
    if control == "family":
        stepped = np.maximum.accumulate((m - rank + 1) * values[order])
    else:
        scaled = (1.0 / rank).sum() * m * values[order] / rank
        stepped = np.minimum.accumulate(scaled[::-1])[::-1]
    out[order] = np.minimum(stepped, 1.0)
    return out
