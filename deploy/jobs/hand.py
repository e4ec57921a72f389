"""The ledger of flags by hand, as quality control takes it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from deploy.jobs.network import Span
from ingest import database, ledger, read
from qc import manual


def by_hand(connection: database.Connection, station: str, instrument: str, span: Span) -> list[ledger.Row]:
    """Return what is in force of the ledger for an instrument."""
    start, end = (read.instant(moment) for moment in span)
    rows = ledger.read(connection, station, start=start, end=end)
    return [row for row in rows if row.in_force and row.instrument in (None, instrument)]


def entries(rows: Sequence[ledger.Row]) -> list[manual.Entry]:
    """Return rows of the ledger as quality control takes them."""
    return [
        manual.Entry(
            row.number,
            _moment(row.start),
            _moment(row.end),
            row.flag,
            row.author,
            row.reason,
            gas=row.gas,
            port=row.port,
        )
        for row in rows
    ]


def _moment(time: datetime) -> np.datetime64:
    return np.datetime64(time.astimezone(UTC).replace(tzinfo=None), "ns")
