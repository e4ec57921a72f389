"""How each station stands: how old its newest data are, and what it last said of its clock and its queue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from ingest.database import Connection

LATE: Final = timedelta(minutes=15)
"""Age of the newest reading from which a station is late; that of the alert StationSilent."""
SILENT: Final = timedelta(days=1)
"""From here on somebody has to go there; that of the alert StationSilentForADay."""

_LOOKED_AT: Final = 20
"""Batches among which the newest time is looked for: one that fills a gap may come after a newer one."""
_STANDING: Final = """
SELECT s.name, s.title, s.latitude, s.longitude, m.received, d.reading, w.received, w.status
FROM station s
LEFT JOIN LATERAL (
    SELECT received FROM message WHERE station = s.name AND state = 'stored' ORDER BY id DESC LIMIT 1
) AS m ON true
LEFT JOIN LATERAL (
    SELECT max(t_to) AS reading FROM (
        SELECT t_to FROM message WHERE station = s.name AND state = 'stored' AND kind = 'data' ORDER BY id DESC LIMIT %s
    ) AS l
) AS d ON true
LEFT JOIN station_status w ON w.station = s.name
WHERE s.valid_to > now() ORDER BY s.name"""


class Grade(StrEnum):
    """How old a station's newest data are."""

    FRESH = "fresh"
    LATE = "late"
    SILENT = "silent"
    NEVER = "never heard"


@dataclass(frozen=True, slots=True)
class Standing:
    """A station of the catalogue, and what is known of it.

    Parameters
    ----------
    name, title, latitude, longitude
        Of the catalogue; degrees north and east.
    received, reading
        When its last message came, and the newest time of its last readings; None where none has come.
    said
        When its last word about itself came.
    state
        ``online`` or ``offline``; None where it never said.
    queue
        Batches that wait at the station to be acknowledged.
    offset
        Correction its clock is being given, s.
    synchronised
        Whether its clock is.
    """

    name: str
    title: str
    latitude: float
    longitude: float
    received: datetime | None = None
    reading: datetime | None = None
    said: datetime | None = None
    state: str | None = None
    queue: int | None = None
    offset: float | None = None
    synchronised: bool | None = None

    def age(self, now: datetime) -> timedelta | None:
        """Return how old its newest reading is; less than nothing where its clock is ahead."""
        return None if self.reading is None else now - self.reading

    def grade(self, now: datetime) -> Grade:
        """Return how that is to be judged."""
        age = self.age(now)
        if age is None:
            return Grade.NEVER
        return Grade.FRESH if age < LATE else Grade.LATE if age < SILENT else Grade.SILENT


def standings(conn: Connection) -> list[Standing]:
    """Return the stations that are in use, by name; a few look-ups each, however much is stored.

    Parameters
    ----------
    conn
        The database.
    """
    return [_standing(row) for row in conn.execute(_STANDING, [_LOOKED_AT])]


def _standing(row: tuple[Any, ...]) -> Standing:
    name, title, latitude, longitude, received, reading, said, status = row
    state, queue, offset, synchronised = _said(status)
    return Standing(name, title, latitude, longitude, received, reading, said, state, queue, offset, synchronised)


def _said(status: Any) -> tuple[str | None, int | None, float | None, bool | None]:
    """Return state, queue, offset and whether synchronised; what is none of these is left out: anybody wrote it."""
    known: Mapping[str, Any] = status if isinstance(status, dict) else {}
    clock = known.get("clock")
    clock = clock if isinstance(clock, dict) else {}
    state, queue, offset = known.get("state"), known.get("queue_batches"), clock.get("offset_s")
    synchronised = clock.get("synchronised")
    return (
        state if state in ("online", "offline") else None,
        queue if isinstance(queue, int) and not isinstance(queue, bool) else None,
        float(offset) if isinstance(offset, int | float) and not isinstance(offset, bool) else None,
        synchronised if isinstance(synchronised, bool) else None,
    )
