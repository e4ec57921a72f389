"""What the doctor found: keys of the sentences in `station_agent.words`, and what stands in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at.

    Parameters
    ----------
    ok
        Whether it is well.
    what, found, todo
        Keys of sentences: what was looked at, what was found, what to do (empty where nothing is).
    about, values
        What stands in the sentences `what` and `found`.
    """

    ok: bool
    what: str
    found: str
    todo: str = ""
    about: Mapping[str, object] = field(default_factory=dict)
    values: Mapping[str, object] = field(default_factory=dict)


def ok(looked_at: str, found: str, *, what: Mapping[str, object] | None = None, **values: object) -> Finding:
    """Return that something is well; `what` stands in the sentence of what was looked at."""
    return Finding(ok=True, what=looked_at, found=found, about=what or {}, values=values)


def not_ok(
    looked_at: str, found: str, todo: str, *, what: Mapping[str, object] | None = None, **values: object
) -> Finding:
    """Return that something is not well, and what to do."""
    return Finding(ok=False, what=looked_at, found=found, todo=todo, about=what or {}, values=values)
