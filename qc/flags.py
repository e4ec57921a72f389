"""QARTOD flags, the tests that set them, and the archives' letters for them."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final


class Flag(IntEnum):
    """QARTOD primary flag (IOOS QARTOD flags manual, 2020); the worst test outcome wins."""

    GOOD = 1
    NOT_EVALUATED = 2
    SUSPECT = 3
    BAD = 4
    MISSING = 9


class Cause(IntFlag):
    """The tests, one bit each: which of them set a flag other than good."""

    STATE = 1
    """An instrument-state rule (status, cavity pressure, temperature ...)."""
    RANGE = 2
    """Outside the plausible range of the gas."""
    FLUSHING = 4
    """Air of the port before was still in the line."""
    TOO_FEW = 8
    """The mean rests on too few values."""
    WATER = 16
    """No water value to correct with."""
    SPIKE = 32
    MANUAL = 64
    CALIBRATION = 128
    DUPLICATE_TIME = 256


FLAG_MEANINGS: Final = {flag: flag.name.lower() for flag in Flag}
