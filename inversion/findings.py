"""What a result has to say about itself, graded."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final


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


def as_text(findings: Iterable[Finding]) -> str:
    """Return findings as JSON, for the attribute ``findings`` of a dataset; `carried` reads them."""
    return json.dumps([asdict(finding) for finding in findings], ensure_ascii=False)


def carried(attrs: Mapping[Any, Any]) -> tuple[Finding, ...]:
    """Return the findings that a dataset's attributes carry; a grade that is none of ours informs.

    Examples
    --------
    >>> carried({"findings": as_text([Finding(Grade.WARN, "chi2", "It is far from 1.")])})[0].grade
    <Grade.WARN: 'warn'>
    """
    found = json.loads(attrs.get("findings") or "[]")
    known = {grade.value: grade for grade in Grade}
    return tuple(Finding(known.get(f["grade"], Grade.INFORM), f["code"], f["sentence"]) for f in found)


def refusal(findings: Iterable[Finding]) -> str:
    """Return why a result must not be used, in one text; "" where it may be."""
    return " ".join(finding.sentence for finding in findings if finding.grade is Grade.REFUSE)


CONSISTENCY: Final = (
    "chi2",
    "prior_fit",
    "increments",
    "residual_correlation",
    "site_fit",
    "residual_bias",
    "left_out",
    "desroziers",
    "outliers",
    "baseline",
)
"""Rules by which a result notices that R, B or H is not what it says."""

_MOST = 3
"""Sites that one rule describes in full."""


def worst_first(found: Iterable[tuple[float, str, Finding]]) -> Iterator[Finding]:
    """Yield what one rule found at several sites: the worst three in full, the others by name.

    Parameters
    ----------
    found : iterable of (severity, site, Finding)

    Yields
    ------
    Finding
    """
    order = sorted(found, key=lambda each: -each[0])
    yield from (finding for _, _, finding in order[:_MOST])
    others = order[_MOST:]
    if others:
        grade = min((finding.grade for _, _, finding in others), key=list(Grade).index)
        sites = ", ".join(site for _, site, _ in others)
        sentence = f"The same, but less far off, at {len(others)} more: {sites}."
        yield Finding(grade, others[0][2].code, sentence)


def far_off(ratio: float) -> bool:
    """Return whether a ratio that should be 1 is off by more than a half: then the finding is a warning."""
    return not 2 / 3 <= ratio <= 3 / 2
