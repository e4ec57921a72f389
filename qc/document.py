"""Reading a configuration document (TOML, dict) so that all its faults are found at once.

A `Table` wraps one table of a document. Each getter takes a key away and returns a checked value; what
is wrong goes to a shared list of sentences and the getter returns its default, so that reading goes on.
`Table.close` reports the keys nobody asked for, with the nearest known one.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from qc.errors import ConfigError


class _Required:
    """Marks a key without default."""


REQUIRED: Final = _Required()


def load(path: str | Path) -> dict[str, Any]:
    """Return a TOML file as a dict.

    Raises
    ------
    ConfigError
        Where the file cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}"
        raise ConfigError(msg) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"{path}: is not TOML: {error}"
        raise ConfigError(msg) from error


class Table:
    """One table of a document.

    Parameters
    ----------
    document
        The table; anything else than a mapping is a fault.
    where
        How errors call it: file and key path.
    faults
        The list faults are added to, shared by all tables of a document.
    """

    def __init__(self, document: Any, where: str, faults: list[str]) -> None:
        self.where = where
        self.faults = faults
        self._asked: set[str] = set()
        self._content: Mapping[str, Any] = {}
        if isinstance(document, Mapping):
            self._content = document
        else:
            faults.append(f"{where}: is {_shown(document)}, expected a table")

    def fault(self, key: str, sentence: str) -> None:
        """Report that the value of a key is wrong."""
        self.faults.append(f"{self.where}.{key}: {sentence}")

    def __contains__(self, key: str) -> bool:
        return key in self._content

    def _take(self, key: str, default: Any, kinds: tuple[type, ...], expected: str) -> Any:
        self._asked.add(key)
        value = self._content.get(key)
        fallback = None if default is REQUIRED else default
        if value is None:
            if default is REQUIRED:
                self.fault(key, f"is missing, expected {expected}")
            return fallback
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            self.fault(key, f"is {_shown(value)}, expected {expected}")
            return fallback
        return value

    def text(self, key: str, default: Any = REQUIRED, *, among: Iterable[str] = ()) -> Any:
        """Return a text that is not empty, one of `among` where given."""
        known = tuple(among)
        expected = f"one of {', '.join(known)}" if known else "a text"
        value = self._take(key, default, (str,), expected)
        if isinstance(value, str) and key in self and (not value.strip() or (known and value not in known)):
            self.fault(key, f"is {_shown(value)}, expected {expected}{_near(value, known)}")
            return None if default is REQUIRED else default
        return value

    def number(self, key: str, default: Any = REQUIRED, *, low: float = -math.inf, high: float = math.inf) -> Any:
        """Return a finite number from `low` to `high`."""
        expected = _span(low, high)
        value = self._take(key, default, (int, float), expected)
        if isinstance(value, int | float) and key in self and not (math.isfinite(value) and low <= value <= high):
            self.fault(key, f"is {value!r}, expected {expected}")
            return None if default is REQUIRED else default
        return float(value) if isinstance(value, int | float) else value

    def count(self, key: str, default: int, *, low: int = 1) -> int:
        """Return a whole number of at least `low`."""
        value = self._take(key, default, (int,), f"a whole number of at least {low}")
        if value < low:
            self.fault(key, f"is {value!r}, expected a whole number of at least {low}")
            return default
        return int(value)

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts, empty where the key is absent."""
        values = self._take(key, [], (list, tuple), "a list of texts")
        wrong = [value for value in values if not isinstance(value, str)]
        if wrong:
            self.fault(key, f"holds {_shown(wrong[0])}, expected texts only")
        return tuple(value for value in values if isinstance(value, str))

    def integers(self, key: str, *, low: int, high: int) -> tuple[int, ...]:
        """Return a list of whole numbers from `low` to `high`, empty where the key is absent."""
        expected = f"a list of whole numbers from {low} to {high}"
        values = self._take(key, [], (list, tuple), expected)
        wrong = [v for v in values if not isinstance(v, int) or isinstance(v, bool) or not low <= v <= high]
        if wrong:
            self.fault(key, f"holds {_shown(wrong[0])}, expected {expected}")
        return tuple(v for v in values if v not in wrong)

    def floats(self, key: str, *, low: float = -math.inf) -> tuple[float, ...]:
        """Return a list of finite numbers of at least `low`, empty where the key is absent."""
        values = self._take(key, [], (list, tuple), "a list of numbers")
        right = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v)]
        if len(right) != len(values) or any(v < low for v in right):
            self.fault(key, f"is {_shown(values)}, expected a list, each {_span(low, math.inf)}")
            return ()
        return tuple(float(v) for v in right)

    def holds_table(self, key: str) -> bool:
        """Return whether the value of a key is a table."""
        return isinstance(self._content.get(key), Mapping)

    def holds_number(self, key: str) -> bool:
        """Return whether the value of a key is a number."""
        value = self._content.get(key)
        return isinstance(value, int | float) and not isinstance(value, bool)

    def holds_list(self, key: str) -> bool:
        """Return whether the value of a key is a list."""
        return isinstance(self._content.get(key), list)

    def flag(self, key: str, default: bool) -> bool:  # noqa: FBT001  a configuration's truth
        """Return true or false."""
        return bool(self._take(key, default, (bool,), "true or false"))

    def pair(self, key: str) -> tuple[float, float] | None:
        """Return ``[low, high]`` as two numbers, None where the key is absent."""
        value = self._take(key, None, (list, tuple), "[low, high]")
        if value is None:
            return None
        numbers = [x for x in value if isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x)]
        if len(value) != 2 or len(numbers) != 2 or not numbers[0] < numbers[1]:
            self.fault(key, f"is {_shown(value)}, expected [low, high] with low < high")
            return None
        return float(numbers[0]), float(numbers[1])

    def span(self, key: str) -> tuple[float, float] | None:
        """Return ``[first, last]`` as two numbers in any order (hours past midnight); None where the key is absent."""
        value = self._take(key, None, (list, tuple), "[first, last]")
        if value is None:
            return None
        numbers = [x for x in value if isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x)]
        if len(value) != 2 or len(numbers) != 2:
            self.fault(key, f"is {_shown(value)}, expected [first, last]")
            return None
        return float(numbers[0]), float(numbers[1])

    def pairs(self, key: str) -> tuple[tuple[float, float], ...]:
        """Return a list of ``[first, last]``, empty where the key is absent."""
        expected = "a list of [first, last]"
        values = self._take(key, [], (list, tuple), expected)
        right = [
            v
            for v in values
            if isinstance(v, list | tuple)
            and len(v) == 2
            and all(isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x) for x in v)
        ]
        if len(right) != len(values):
            self.fault(key, f"is {_shown(values)}, expected {expected}")
        return tuple((float(first), float(last)) for first, last in right)

    def moment(self, key: str) -> np.datetime64 | None:
        """Return a time (UTC where it has no zone) as datetime64[ns]; None where absent or ``"*"``."""
        value = self._take(key, None, (str, date, datetime), "a time as 2024-03-01T12:00:00Z, or '*'")
        if value is None or value == "*":
            return None
        try:
            parsed = datetime.fromisoformat(value) if isinstance(value, str) else _midnight(value)
        except ValueError:
            self.fault(key, f"is {_shown(value)}, expected a time as 2024-03-01T12:00:00Z, or '*'")
            return None
        naive = parsed.astimezone(UTC).replace(tzinfo=None) if parsed.tzinfo else parsed
        return np.datetime64(naive, "ns")

    def numbers(self, key: str, *, low: float = -math.inf) -> tuple[tuple[str, float], ...]:
        """Return a table of numbers as (name, value), in order of name."""
        table = self.table(key, {})
        return tuple((name, table.number(name, 0.0, low=low)) for name in sorted(table.keys()))

    def table(self, key: str, default: Any = REQUIRED) -> Table:
        """Return a table below this one."""
        value = self._take(key, default, (Mapping,), "a table")
        return Table(value if value is not None else {}, f"{self.where}.{key}", self.faults)

    def tables(self, key: str) -> list[Table]:
        """Return a list of tables (``[[key]]`` in TOML), empty where the key is absent."""
        values = self._take(key, [], (list, tuple), "a list of tables")
        return [Table(value, f"{self.where}.{key}[{i}]", self.faults) for i, value in enumerate(values)]

    def keys(self) -> list[str]:
        """Return the keys that are there."""
        return [str(key) for key in self._content]

    def close(self, known: Iterable[str] = ()) -> None:
        """Report every key that nobody asked for and that is not in `known`."""
        asked = self._asked | set(known)
        for key in self.keys():
            if key not in asked:
                near = _near(key, asked) or f"; known are {', '.join(sorted(asked))}"
                self.fault(key, f"is not known{near}")


def _midnight(value: date | datetime) -> datetime:
    return value if isinstance(value, datetime) else datetime(value.year, value.month, value.day, tzinfo=UTC)


def _near(value: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(value, sorted(known), n=1)
    return f", did you mean {found[0]!r}?" if found else ""


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _span(low: float, high: float) -> str:
    if math.isinf(low) and math.isinf(high):
        return "a number"
    if math.isinf(high):
        return f"a number of at least {low:g}"
    return f"a number from {low:g} to {high:g}"
