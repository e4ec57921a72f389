"""When a warning is raised, and how often without cause."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final

from inversion.errors import FaultsError

__all__ = ["CONTROLS", "Rule", "WarningRuleError"]

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
