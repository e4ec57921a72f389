"""Keys of a configuration table as data: what each may be, checked all at once.

A fault is one sentence with the key's path, what was got, what is expected, and for an unknown key
the nearest known one. Faults are gathered, never raised one by one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

NAMES: Final[Mapping[type, str]] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}


@dataclass(frozen=True, slots=True)
class Key:
    """What one key may hold.

    Parameters
    ----------
    kind
        ``str``, ``int``, ``float`` (whole numbers too), ``bool``, ``list`` or ``dict``.
    default
        The value where the key is absent.
    required
        Absence is a fault.
    least, most
        Bounds of a number, or of the length of a text or list.
    choices
        The only values allowed, where there are any.
    """

    kind: type
    default: Any = None
    required: bool = False
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()


def read_table(table: object, keys: Mapping[str, Key], *, where: str, faults: list[str]) -> dict[str, Any]:
    """Return the table's values with defaults filled in; what is wrong is appended to `faults`.

    Parameters
    ----------
    table
        A parsed TOML table.
    keys
        Every key the table may have.
    where
        Path of the table, e.g. ``broker`` or ``instrument[1].time``; empty for the whole file.
    faults
        Grows by one sentence per fault; a faulty key takes its default.
    """
    values = {name: key.default for name, key in keys.items()}
    if not isinstance(table, Mapping):
        faults.append(f"{where}: got {show(table)}, expected a table")
        return values
    prefix = f"{where}." if where else ""
    for name, value in table.items():
        if name not in keys:
            faults.append(f"{prefix}{name}: unknown key, {_nearest(name, keys)}")
            continue
        fault = _fault(value, keys[name])
        if fault:
            faults.append(f"{prefix}{name}: got {show(value)}, expected {fault}")
        else:
            values[name] = float(value) if keys[name].kind is float else value
    faults += [f"{prefix}{name}: missing" for name, key in keys.items() if key.required and name not in table]
    return values


def show(value: object) -> str:
    """Return a value as it may stand in a sentence: short, and no table or list printed whole."""
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def nearest(name: str, known: Mapping[str, object]) -> str | None:
    """Return the known name that looks most like `name`, or None."""
    # difflib takes a while to import and is needed for faults only.
    from difflib import get_close_matches  # noqa: PLC0415

    return next(iter(get_close_matches(name, known, n=1, cutoff=0.6)), None)


def _nearest(name: str, keys: Mapping[str, Key]) -> str:
    if not keys:
        return "there is nothing to set"
    close = nearest(name, keys)
    return f"did you mean {close!r}?" if close else f"known are {', '.join(keys)}"


def _size(value: Any) -> float:
    return len(value) if isinstance(value, (str, list)) else float(value)


def _fault(value: Any, key: Key) -> str | None:
    """Say what was expected instead of `value`, or None where it is right."""
    kinds = (int, float) if key.kind is float else (key.kind,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and key.kind is not bool):
        return NAMES[key.kind]
    if key.choices and value not in key.choices:
        return "one of " + ", ".join(map(repr, key.choices))
    if key.kind in (bool, dict):
        return None
    size = _size(value)
    low, high = key.least, key.most
    if (low is None or size >= low) and (high is None or size <= high):
        return None
    bounds = {(True, True): f"{low} to {high}", (True, False): f"at least {low}", (False, True): f"at most {high}"}
    said = bounds[low is not None, high is not None]
    if key.kind is str:
        return "a text that is not empty" if not value else f"a text of {said} characters"
    return f"a list of {said} entries" if key.kind is list else f"{NAMES[key.kind]}, {said}"
