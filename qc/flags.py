"""QARTOD flags, the tests that set them, and the archives' letters for them.

=====================  ======================  ==================  ================================
ours                   ICOS ATC                WDCGG (v3 text)     NOAA, ObsPack (three characters)
=====================  ======================  ==================  ================================
good                   U, by hand O            1 background,       ``...``, ``.S.`` not background
                                               2 other
not evaluated          N, by hand K            3                   ``U..``
suspect                N, by hand K            3                   ``S..``
bad                    N, by hand K            3                   ``*..``
missing                N, by hand K            3                   ``I..``
=====================  ======================  ==================  ================================

Read: ICOS U, O, R are good, N, K, H bad (O, K, R, H: somebody looked); WDCGG 1 and 2 are good, 3 bad; NOAA's first
character says whether a value may be used ("." it may), the second whether it is background. What an archive cannot
tell apart (not evaluated, suspect, bad) skyledger's own files say in a column of their own.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray


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
    SPIKE_SD = 32
    """Short local pollution by the SD method."""
    MANUAL = 64
    """Somebody decided."""
    CALIBRATION = 128
    """There is no calibration to put it on the scale."""
    TIME = 256
    """Its time is not sure."""
    SPIKE_REBS = 512
    """Short local pollution by REBS."""
    RATE = 1024
    """It changes faster than it can."""
    CLIMATOLOGY = 2048
    """Unusual for the month and hour."""
    FLAT_LINE = 4096
    """It does not change at all."""
    ATTENUATION = 8192
    """It changes less than it should."""
    GAP = 16384
    """The first after a gap."""


class Outcome(IntEnum):
    """What one test found of a value, as three bits: it could run; it found it at least suspect; bad."""

    NOT_EVALUATED = 0
    GOOD = 1
    SUSPECT = 3
    BAD = 7


_OUTCOME_OF: Final = np.zeros(10, dtype=np.int64)
_OUTCOME_OF[[Flag.GOOD, Flag.SUSPECT, Flag.BAD]] = [Outcome.GOOD, Outcome.SUSPECT, Outcome.BAD]


def outcomes(cause: Cause, flags: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the outcomes (n,) of one test, from its flags, in the place of its cause; `|` puts several together.

    The bits of a test stand at three times the place of its `Cause`, so that the outcomes of all tests fit one number,
    and the bitwise or of two numbers is, test by test, the worse of both: what one of them could not evaluate is what
    the other says.
    """
    return _OUTCOME_OF[flags] << _place(cause)


def outcome(tests: NDArray[np.int64], cause: Cause) -> NDArray[np.int8]:
    """Return what one test found, (n,) of `Outcome`, out of the outcomes of all."""
    found: NDArray[np.int8] = (tests >> _place(cause) & 7).astype(np.int8)
    return found


def without(tests: NDArray[np.int64], *causes: Cause) -> NDArray[np.int64]:
    """Return outcomes (n,) as if some tests had not run."""
    mask = np.int64(-1)
    for cause in causes:
        mask &= ~(np.int64(7) << _place(cause))
    return tests & mask


def _place(cause: Cause) -> int:
    return 3 * (int(cause).bit_length() - 1)


FLAG_MEANINGS: Final = {flag: flag.name.lower() for flag in Flag}


def flag_attributes() -> dict[str, Any]:
    """Return the CF attributes of a flag variable: standard_name, flag_values, flag_meanings."""
    return {
        "standard_name": "quality_flag",
        "flag_values": np.array([int(flag) for flag in FLAG_MEANINGS], dtype=np.int8),
        "flag_meanings": " ".join(FLAG_MEANINGS.values()),
    }


def cause_attributes() -> dict[str, Any]:
    """Return the CF attributes of a cause variable: flag_masks, flag_meanings."""
    return {
        "flag_masks": np.array([int(cause) for cause in Cause], dtype=np.int32),
        "flag_meanings": " ".join(str(cause.name).lower() for cause in Cause),
    }


def tests_attributes() -> dict[str, Any]:
    """Return the CF attributes of a variable of tests' outcomes: flag_masks, flag_values, flag_meanings."""
    told = [outcome for outcome in Outcome if outcome is not Outcome.NOT_EVALUATED]
    places = [_place(cause) for cause in Cause for _ in told]
    return {
        "flag_masks": np.array([7 << place for place in places], dtype=np.int64),
        "flag_values": np.array([int(o) << p for o, p in zip(told * len(Cause), places, strict=True)], dtype=np.int64),
        "flag_meanings": " ".join(f"{cause.name}_{outcome.name}".lower() for cause in Cause for outcome in told),
    }


# --- archives --------------------------------------------------------------------------------

ICOS: Final = {
    "U": Flag.GOOD,
    "O": Flag.GOOD,
    "R": Flag.GOOD,
    "N": Flag.BAD,
    "K": Flag.BAD,
    "H": Flag.BAD,
}
"""ICOS ATC's letters."""
WDCGG: Final = {1: Flag.GOOD, 2: Flag.GOOD, 3: Flag.BAD}
"""WDCGG's QCflag."""
REJECTED: Final = {"U": Flag.NOT_EVALUATED, "S": Flag.SUSPECT, "*": Flag.BAD, "I": Flag.MISSING}
"""First character of NOAA's flags; any other but "." is bad."""
_NOT_BACKGROUND: Final = "S"


def to_icos(flag: NDArray[np.integer], cause: NDArray[np.integer] | None = None) -> NDArray[np.str_]:
    """Return ICOS ATC's letters (n,) of flags, and of causes where they are known."""
    by_hand = np.zeros(flag.shape, bool) if cause is None else (cause & int(Cause.MANUAL)) != 0
    good = flag == int(Flag.GOOD)
    return np.where(good, np.where(by_hand, "O", "U"), np.where(by_hand, "K", "N"))


def to_wdcgg(flag: NDArray[np.integer], selection: NDArray[np.integer] | None = None) -> NDArray[np.int64]:
    """Return WDCGG's QCflag (n,) of flags and selection: what is not known to be background is 2."""
    background = np.zeros(flag.shape, bool) if selection is None else selection == 1
    return np.where(flag == int(Flag.GOOD), np.where(background, 1, 2), 3)


def to_noaa(flag: NDArray[np.integer], selection: NDArray[np.integer] | None = None) -> NDArray[np.str_]:
    """Return NOAA's three characters (n,) of flags and selection."""
    letters = {int(Flag.GOOD): ".", **{int(value): letter for letter, value in REJECTED.items()}}
    first = np.array([letters[int(value)] for value in flag], dtype=np.str_)
    second = np.full(flag.shape, ".") if selection is None else np.where(selection == 0, _NOT_BACKGROUND, ".")
    return np.char.add(np.char.add(first, second), ".")


def from_noaa(flags: NDArray[np.str_]) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Return flags (n,) and selection (n,: 1 background, 0 not) of NOAA's three characters."""
    first = [text[:1] for text in flags.tolist()]
    quality = [Flag.GOOD if letter == "." else REJECTED.get(letter, Flag.BAD) for letter in first]
    background = [text[1:2] in ("", ".") for text in flags.tolist()]
    return np.array(quality, np.int8), np.array(background, np.int8)
