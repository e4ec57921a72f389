"""What a driver yields: one moment of one instrument."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntFlag


class Mark(IntFlag):
    """What is to be known about a sample's time; bits, 0 where nothing is."""

    SPREAD = 1
    """The instrument gave several samples the same stamp; they were spread by one rule."""
    CLOCK_STEPPED = 2
    """The host stamped it and its clock jumped: moved with a correction, waiting when it jumped, or passed twice."""
    CLOCK_UNCERTAIN = 4
    """The host stamped it, and nothing kept the host's clock right."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of an instrument.

    Parameters
    ----------
    time_ns
        Time of the measurement, ns since 1970 UTC.
    values
        Quantity -> value, names and units as in ``qc.units``; only what is new in this row.
    port
        Valve position, or None where the instrument has no valve.
    status
        The instrument's own status word, or None.
    mark
        Bits of `Mark`.
    """

    time_ns: int
    values: dict[str, float] = field(default_factory=dict)
    port: str | None = None
    status: int | None = None
    mark: int = 0


@dataclass(frozen=True, slots=True)
class Rejected:
    """A line no sample could be made of: counted, kept with its reason, reported as an event."""

    line: int
    text: str
    reason: str
