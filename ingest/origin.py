"""Where readings came from: the messages that hold a window of an instrument's times."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from ingest.database import connect
from ingest.mends import Mend

_MESSAGES: Final = """
SELECT m.id, m.spool, m.seq, m.received, m.mend FROM message m
JOIN instrument i ON i.id = m.instrument_id JOIN station s ON s.id = i.station_id
WHERE m.state = 'stored' AND m.readings > 0 AND s.name = %s AND i.name = %s AND m.t_from < %s AND m.t_to >= %s
ORDER BY m.id"""


@dataclass(frozen=True, slots=True)
class Origin:
    """One message: its number, where it was frozen, when it came, how it was mended."""

    number: int
    spool: str | None
    seq: int | None
    received: datetime
    mends: tuple[Mend, ...]


def messages(dsn: str, *, station: str, instrument: str, start: datetime, end: datetime) -> list[Origin]:
    """Return the messages that have times at or after `start` and before `end`, the oldest first.

    Parameters
    ----------
    dsn
        The database.
    station, instrument
        Names in the catalogue.
    start, end
        Aware.
    """
    with connect(dsn) as conn:
        found = conn.execute(_MESSAGES, [station, instrument, end, start])
        return [
            Origin(number, spool, seq, received, tuple(Mend.read(mend) for mend in mends))
            for number, spool, seq, received, mends in found
        ]
