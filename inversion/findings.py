"""What a result has to say about itself, graded."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Grade(StrEnum):
    """How serious a finding is."""

    REFUSE = "refuse"
    """The result must not be used."""
    WARN = "warn"
    """The result may be used by someone who has read the sentence."""
    INFORM = "inform"
    """Worth knowing; nothing is wrong."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing a result says about itself.

    Attributes
    ----------
    grade : Grade
    code : str
        Stable name of the rule that found it, such as ``residual_correlation``.
    sentence : str
        What, where, got, expected, what next.
    """

    grade: Grade
    code: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.grade}: {self.sentence}"


def far_off(ratio: float) -> bool:
    """Return whether a ratio that should be 1 is off by more than a half: then the finding is a warning."""
    return not 2 / 3 <= ratio <= 3 / 2
