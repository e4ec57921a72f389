"""How times, ages, gases and units are written on the page."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from inversion.report.rows import GASES
from qc.plot import PLAIN
from qc.units import QUANTITIES

NOTHING: Final = "–"


def gas(name: str) -> str:
    """Return a gas as it is read: CO₂."""
    return GASES.get(name, name)


def unit(name: str) -> str:
    """Return the unit of a gas as it is read: ppm."""
    known = QUANTITIES[name].unit
    return PLAIN.get(known, known)


def moment(time: datetime | None) -> str:
    """Return a time, UTC, to the second."""
    return NOTHING if time is None else f"{time:%Y-%m-%d %H:%M:%S}"


def span(length: timedelta | None) -> str:
    """Return a length of time in its two largest units.

    Examples
    --------
    >>> span(timedelta(seconds=42)), span(timedelta(hours=3, minutes=5, seconds=9)), span(timedelta(days=-2))
    ('42 s', '3 h 5 min', '2 d ahead')
    """
    if length is None:
        return NOTHING
    if length < timedelta(0):
        return f"{span(-length)} ahead"
    seconds = int(length.total_seconds())
    parts = (
        (seconds // 86_400, "d"),
        (seconds % 86_400 // 3600, "h"),
        (seconds % 3600 // 60, "min"),
        (seconds % 60, "s"),
    )
    first = next((k for k, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count} {name}" for count, name in parts[first : first + 2] if count) or "0 s"


def offset(seconds: float | None) -> str:
    """Return the correction of a clock.

    Examples
    --------
    >>> offset(0.00012), offset(-0.0421), offset(75.2)
    ('+0.1 ms', '−42.1 ms', '+75.2 s')
    """
    if seconds is None:
        return NOTHING
    amount, name = (1000 * seconds, "ms") if abs(seconds) < 1 else (seconds, "s")
    return f"{amount:+,.1f} {name}".replace("-", "−")


def count(number: int | None) -> str:
    """Return a whole number, thousands apart."""
    return NOTHING if number is None else f"{number:,}".replace(",", "\u202f")
