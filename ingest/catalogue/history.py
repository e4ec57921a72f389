"""What was changed in the catalogue, when and by whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from psycopg.types.json import Jsonb

from ingest.database import Connection, connect

_INSERT: Final = "INSERT INTO catalogue_change (who, station, what, before, after) VALUES (%s, %s, %s, %s, %s)"
_SELECT: Final = """
SELECT made, who, station, what, before, after FROM catalogue_change
WHERE %s::text IS NULL OR station = %s ORDER BY id"""


@dataclass(frozen=True, slots=True)
class Change:
    """One change: before is None where it was new."""

    made: datetime
    who: str
    station: str | None
    what: str
    before: dict[str, Any] | None
    after: dict[str, Any]

    def __str__(self) -> str:
        return described(self.what, self.before, self.after)


def described(what: str, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> str:
    """Return a change as one line: ``changed station lin-an: altitude 139.0 -> 140.0``."""
    if before is None:
        return f"added {what}"
    changes = [
        f"{name} {_shown(before.get(name))} -> {_shown(after[name])}"
        for name in after
        if before.get(name) != after[name]
    ]
    return f"changed {what}: {', '.join(changes)}"


def _shown(value: Any) -> str:
    return "nothing" if value in (None, "") else str(value)


def keep(
    conn: Connection,
    who: str,
    station: str | None,
    what: str,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any],
) -> None:
    """Write a change down, within the caller's transaction."""
    conn.execute(_INSERT, [who, station, what, None if before is None else Jsonb(dict(before)), Jsonb(dict(after))])


def history(dsn: str, station: str | None = None) -> list[Change]:
    """Return all changes, of one station or of everything, the oldest first.

    Parameters
    ----------
    dsn
        The database.
    station
        Its name; None: of all, and of cylinders.
    """
    with connect(dsn) as conn:
        return [Change(*row) for row in conn.execute(_SELECT, [station, station])]
