"""Names to the store's numbers: instruments, channels, states; remembered once they are known.

Rows found here are never deleted and never change their meaning, so what is remembered stays true; what is not
found is asked again each time. New channels and states are committed at once, apart from the readings that need
them: a row too many in a dictionary does no harm, a number remembered from a transaction that failed would.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

from ingest.database import Connection
from ingest.decode import Columns, Contents, State
from qc.units import QUANTITIES

_MOST: Final = 200_000
"""Entries a dictionary keeps before it starts anew: hostile input must not fill the memory."""


@dataclass(slots=True)
class Directory:
    """What one connection knows of the catalogue and the dictionaries."""

    instruments: dict[tuple[str, str], int] = field(default_factory=dict)
    channels: dict[tuple[int, str], int] = field(default_factory=dict)
    states: dict[State, int] = field(default_factory=dict)

    def learn(self, conn: Connection, said: Collection[Contents]) -> set[str]:
        """Look up, or make, all that these messages need; returns the names of the stations that exist.

        Parameters
        ----------
        conn
            In autocommit and outside of a transaction.
        said
            Messages; those to be kept aside need nothing.
        """
        for known in (self.instruments, self.channels, self.states):
            if len(known) > _MOST:
                known.clear()
        storable = [c for c in said if c.reason is None]
        stations = self._learn_instruments(conn, {(c.station, c.instrument) for c in storable})
        self.learn_columns(
            conn,
            [
                (self.instruments[key], c.columns)
                for c in storable
                if c.columns is not None and (key := (c.station, c.instrument)) in self.instruments
            ],
        )
        return stations

    def learn_columns(self, conn: Connection, columns: Collection[tuple[int, Columns]]) -> None:
        """Look up, or make, the channels and states of columns, each given with its instrument's number."""
        self._learn_channels(conn, columns)
        self._learn_states(conn, (state for _, c in columns for state in c.states))

    def _learn_instruments(self, conn: Connection, keys: set[tuple[str, str]]) -> set[str]:
        stations = {station for station, _ in keys}
        new = [key for key in keys if key not in self.instruments]
        if not new:
            return stations
        rows = conn.execute(
            "SELECT s.name, i.name, i.id FROM station s LEFT JOIN instrument i ON i.station_id = s.id"
            " WHERE s.name = ANY(%s)",
            [[station for station, _ in new]],
        ).fetchall()
        self.instruments |= {(station, name): number for station, name, number in rows if number is not None}
        return {station for station, _, _ in rows} | {station for station, _ in keys - set(new)}

    def _learn_channels(self, conn: Connection, columns: Iterable[tuple[int, Columns]]) -> None:
        keys = {(instrument, name) for instrument, c in columns for name in c.quantities}
        new = sorted(key for key in keys if key not in self.channels)
        if not new:
            return
        rows = conn.execute(
            "INSERT INTO channel (instrument_id, quantity, unit)"
            " SELECT * FROM unnest(%s::int[], %s::text[], %s::text[])"
            " ON CONFLICT (instrument_id, quantity) DO UPDATE SET quantity = excluded.quantity"
            " RETURNING instrument_id, quantity, id",
            [[i for i, _ in new], [q for _, q in new], [QUANTITIES[q].unit for _, q in new]],
        )
        self.channels |= {(instrument, name): number for instrument, name, number in rows}

    def _learn_states(self, conn: Connection, states: Iterable[State]) -> None:
        # Sorted, so that two workers that meet the same new ones do not wait for each other in a ring.
        new = sorted({state for state in states if state not in self.states}, key=repr)
        if not new:
            return
        rows = conn.execute(
            "INSERT INTO state (port, status, mark) SELECT * FROM unnest(%s::text[], %s::bigint[], %s::bigint[])"
            " ON CONFLICT (port, status, mark) DO UPDATE SET mark = excluded.mark"
            " RETURNING port, status, mark, id",
            [[s.port for s in new], [s.status for s in new], [s.mark for s in new]],
        )
        self.states |= {State(port, status, mark): number for port, status, mark, number in rows}
