"""A spool seen from outside: without opening it for writing, while an agent may be running on it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from station_agent import lock
from station_agent.batches import Queue
from station_agent.errors import SpoolError
from station_agent.spool_file import BUSY_S, used_bytes


@dataclass(frozen=True, slots=True)
class Overview:
    """What a spool file holds.

    Parameters
    ----------
    meta
        The spool's id, next number, station, last acknowledgement.
    queue
        What waits to be delivered.
    queued
        Instrument -> batches and events waiting.
    pending
        Instrument -> samples waiting for their batch to fill.
    positions
        Instrument -> source -> where its reading stands.
    used_bytes
        Bytes of the file that hold something.
    running
        Process that has the spool open, None where there is none.
    """

    meta: Mapping[str, str]
    queue: Queue
    queued: Mapping[str, int]
    pending: Mapping[str, int]
    positions: Mapping[str, Mapping[str, dict[str, Any]]]
    used_bytes: int
    running: int | None


def overview(path: Path) -> Overview:
    """Look into a spool.

    Raises
    ------
    SpoolError
        There is no spool, or it cannot be read.
    """
    try:
        with closing(open_to_read(path)) as db:
            return _overview(db, path)
    except sqlite3.Error as error:
        if "no such table" in str(error):
            raise SpoolError(f"{path}: the spool is just being made; ask again in a moment") from None
        raise SpoolError(f"{path}: the spool cannot be read: {error}") from None


def open_to_read(path: Path) -> sqlite3.Connection:
    """Return a connection that only reads, also while an agent runs; raises SpoolError where there is no spool."""
    if not path.exists():
        raise SpoolError(f"{path}: there is no spool yet; it is made when the agent is first run")
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=BUSY_S, isolation_level=None)


def _overview(db: sqlite3.Connection, path: Path) -> Overview:
    # One transaction: everything is of the same moment.
    db.execute("BEGIN")
    sums = db.execute(
        "SELECT count(*), coalesce(sum(samples), 0), coalesce(sum(length(payload)), 0), min(frozen_ms) FROM batch"
    )
    positions: dict[str, dict[str, dict[str, Any]]] = {}
    for name, file, state in db.execute("SELECT instrument, file, state FROM position ORDER BY instrument, file"):
        positions.setdefault(name, {})[file] = json.loads(state)
    pending: dict[str, int] = {}
    for name, packed in db.execute("SELECT instrument, samples FROM pending"):
        pending[name] = pending.get(name, 0) + len(json.loads(packed))
    return Overview(
        meta=dict(db.execute("SELECT key, value FROM meta")),
        queue=Queue(*sums.fetchone()),
        queued=dict(db.execute("SELECT instrument, count(*) FROM batch GROUP BY instrument ORDER BY instrument")),
        pending=pending,
        positions=positions,
        used_bytes=used_bytes(db),
        running=lock.holder(path),
    )
