"""Who wrote a report, when, and how far it has come."""

from __future__ import annotations

from dataclasses import dataclass

STATES = ("draft", "submitted", "approved")
"""How far a report has come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One entry of a report's history.

    Attributes
    ----------
    state : {"draft", "submitted", "approved"}
    who, when, remarks : str
    digest : str
        Of the tables at that time.
    """

    state: str
    who: str = ""
    when: str = ""
    remarks: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imprint:
    """What is printed about the report itself.

    Attributes
    ----------
    status : {"draft", "submitted", "approved"}
    prepared_by : str
        Authors, or whatever made it.
    organisation : str
    when : str
        As it is to be printed; the report takes no clock.
    review_number : str
        Map review number, once there is one.
    history : tuple of Step
        What was submitted and approved, this report's own state last.
    """

    status: str = "draft"
    prepared_by: str = ""
    organisation: str = ""
    when: str = ""
    review_number: str = ""
    history: tuple[Step, ...] = ()
