"""The columns of a table that are sent: which field, which quantity, and the number in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from station_agent.drivers.quantities import conversion

MAX_STATUS: Final = 2**31
MAX_PORT: Final = 1000


class Column(NamedTuple):
    """One field of a row that is sent as ``value * factor + offset``."""

    at: int
    name: str
    quantity: str
    factor: float
    offset: float


def column(at: int, name: str, quantity: str, unit: str) -> Column:
    """Return the column that is sent as this quantity; raises ValueError where it cannot be in this unit."""
    factors = conversion(quantity, unit)
    if isinstance(factors, tuple):
        return Column(at, name, quantity, *factors)
    raise ValueError(f"column {name}: {factors}")


def counted(fields: Sequence[str], count: int) -> None:
    """Raise ValueError where a row has not as many fields as its header."""
    if len(fields) != count:
        raise ValueError(f"{len(fields)} fields, expected {count}")


def values(fields: Sequence[str], columns: Sequence[Column], *, plain: bool) -> dict[str, float]:
    """Return the quantities of a row; a field that is blank or NaN is a missing value.

    Parameters
    ----------
    fields
        The row; as many fields as the columns ask for.
    columns
        What is sent of it.
    plain
        The line is ASCII without underscores: ``float`` alone reads more than an instrument writes.

    Raises
    ------
    ValueError
        A field is no finite number; in one sentence.
    """
    found = {}
    for at, name, quantity, factor, offset in columns:
        text = fields[at]
        try:
            number = float(text)
        except ValueError:
            if not text.strip():
                continue
            raise ValueError(f"column {name} is {text.strip()[:60]!r}, expected a number") from None
        value = number * factor + offset
        if value - value == 0.0 and (plain or _written(text)):
            found[quantity] = value
        elif value == value:  # noqa: PLR0124 - NaN means missing
            raise ValueError(f"column {name} is {text.strip()[:60]!r}, expected a finite number")
    return found


def plain(line: str) -> bool:
    """Whether every number in the line is one that an instrument can have written."""
    return "_" not in line and line.isascii()


def _written(text: str) -> bool:
    return "_" not in text and text.isascii()


def whole(name: str, text: str, *, least: int = -MAX_STATUS, most: int = MAX_STATUS - 1) -> int | None:
    """Return a whole number, None for a blank or NaN; raises ValueError in one sentence."""
    stripped = text.strip()
    if not stripped or stripped.lower() == "nan":
        return None
    try:
        number = float(stripped) if _written(stripped) else float("inf")
    except ValueError:
        number = float("inf")
    if not number.is_integer() or not least <= number <= most:
        raise ValueError(f"column {name} is {stripped[:60]!r}, expected a whole number, {least} to {most}")
    return int(number)
