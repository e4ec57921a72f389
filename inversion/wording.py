"""How numbers and verdicts are written for a reader."""

from __future__ import annotations

import math
from typing import Final

MARKS: Final = {"higher": "▲", "lower": "▼", "agree": "●", "not resolved": "○"}
"""A sign before each verdict, so that it does not hang on colour."""
NOTHING: Final = "–"
_THIN: Final = "\u202f"  # narrow no-break space between thousands


def decimals(sigma: float) -> int:
    """Return the decimals at which two digits of `sigma` show; below zero: tens, hundreds.

    Examples
    --------
    >>> decimals(0.034), decimals(5.6), decimals(19070.0)
    (3, 1, -3)
    """
    if not math.isfinite(sigma) or sigma <= 0:
        return 1
    return 1 - math.floor(math.log10(sigma))


def number(value: float, places: int, *, sign: bool = False) -> str:
    """Return `value` rounded to `places`, thousands apart, with a true minus.

    Examples
    --------
    >>> number(381407.2, -3).replace(_THIN, " "), number(-1.25, 1), number(float("nan"), 1)
    ('381 000', '−1.2', '–')
    """
    if not math.isfinite(value):
        return NOTHING
    rounded = round(value, places) + 0.0  # no minus zero
    text = f"{rounded:{'+' if sign and rounded else ''},.{max(places, 0)}f}"
    return text.replace(",", _THIN).replace("-", "−")


def with_sigma(value: float, sigma: float, *, sign: bool = False) -> str:
    """Return ``value ± sigma`` with two digits of σ; the value alone where there is no σ.

    Examples
    --------
    >>> with_sigma(12.345, 0.67), with_sigma(12.345, float("nan"))
    ('12.35 ± 0.67', '12.3')
    """
    places = decimals(sigma)
    if not math.isfinite(value) or not math.isfinite(sigma):
        return number(value, decimals(abs(value) / 10) if value else 0, sign=sign)
    return f"{number(value, places, sign=sign)} ± {number(sigma, places)}"


def window(text: str, join: str = "{low} to {high}") -> str:
    """Return a span ``first/last`` as it is read; moments are cut to their days.

    Examples
    --------
    >>> window("2025-07-01T00:00:00.000000000/2025-07-15T00:00:00.000000000")
    '2025-07-01 to 2025-07-15'
    """
    first, slash, last = (part.partition("T")[0] for part in text.partition("/"))
    return join.format(low=first, high=last) if slash else first


def unit(text: str) -> str:
    """Return a unit with its exponents raised.

    Examples
    --------
    >>> unit("kt yr-1")
    'kt yr⁻¹'
    """
    return text.replace("-1", "⁻¹")


def percent(share: float) -> str:
    """Return a share as whole percent, between 0 and 100 but for what is honestly beyond."""
    if not math.isfinite(share):
        return NOTHING
    return f"{number(100 * share, 0)} %"
