"""Who wrote a report, when, and how far it has come."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Imprint:
    """What is printed about the report itself.

    Attributes
    ----------
    status : str
        ``draft``, ``submitted`` or ``approved``.
    prepared_by : str
    when : str
        As it is to be printed; the report takes no clock.
    review_number : str
        Map review number, once there is one.
    """

    status: str = "draft"
    prepared_by: str = ""
    when: str = ""
    review_number: str = ""
