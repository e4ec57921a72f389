"""Members of an ensemble: the whole configuration with what each changes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any


def members(document: Mapping[str, Any], where: str, faults: list[str]) -> list[tuple[str, dict[str, Any]]]:
    """Return the documents of the members: the whole with what each changes."""
    found: list[tuple[str, dict[str, Any]]] = []
    base = {key: value for key, value in document.items() if key != "ensemble"}
    entries = document.get("ensemble", [])
    if not isinstance(entries, list):
        faults.append(f"{where}.ensemble: is {type(entries).__name__}, expected [[ensemble]] tables")
        return found
    for number, entry in enumerate(entries):
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not name or name in dict(found):
            faults.append(f"{where}.ensemble[{number}].name: is {name!r}, expected a name of its own")
            continue
        found.append((name, merged(base, {k: v for k, v in entry.items() if k != "name"})))
    return found


def merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document with changes: tables key by key, lists of tables by name or place, other values replaced.

    Examples
    --------
    >>> merged({"a": {"b": 1, "c": 2}, "s": [{"name": "x", "v": 1}]}, {"a": {"b": 3}, "s": [{"name": "x", "v": 2}]})
    {'a': {'b': 3, 'c': 2}, 's': [{'name': 'x', 'v': 2}]}
    """
    result = copy.deepcopy(dict(base))
    for key, value in change.items():
        there = result.get(key)
        # A table of another kind (a background) replaces the whole: its keys are others.
        if isinstance(value, dict) and isinstance(there, dict) and value.get("kind") in (None, there.get("kind")):
            result[key] = merged(there, value)
        elif _are_tables(value) and _are_tables(there):
            result[key] = _merged_tables(there, value)  # type: ignore[arg-type]
        else:
            result[key] = copy.deepcopy(value)
    return result


def _merged_tables(base: list[dict[str, Any]], change: list[dict[str, Any]]) -> list[dict[str, Any]]:
    result = copy.deepcopy(base)
    for number, table in enumerate(change):
        name = table.get("name")
        at = next((k for k, one in enumerate(result) if one.get("name") == name), None) if name else number
        if at is None or at >= len(result):
            result.append(copy.deepcopy(table))
        else:
            result[at] = merged(result[at], table)
    return result


def _are_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)
