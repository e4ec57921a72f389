"""Keeps the previews up while a consumer runs: a thread of its own, so that nothing waits for it."""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import Final, Self

import psycopg

from ingest.database import Connection
from ingest.errors import StoreError
from ingest.preview import refresh
from ingest.store import connect

log: Final = logging.getLogger(__name__)


class Roller:
    """Refreshes previews every so often, as long as the context lasts.

    Parameters
    ----------
    dsn
        The database.
    every
        Seconds between two times.
    """

    def __init__(self, dsn: str, *, every: float) -> None:
        self._dsn, self._every = dsn, every
        self._stopping = threading.Event()
        self._conn: Connection | None = None
        self._thread = threading.Thread(target=self._run, name="previews")
        self.rounds = 0
        """Times it was done."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopping.set()
        conn = self._conn
        if conn is not None and not conn.closed:
            # Rolled back: the next one begins where this one began.
            conn.cancel_safe(timeout=5)
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(self._every):
            try:
                with connect(self._dsn) as self._conn:
                    refresh(self._conn, stop=self._stopping.is_set)
                    self.rounds += 1
            except (psycopg.Error, StoreError) as error:
                if not self._stopping.is_set():
                    log.warning(
                        "previews wait, the database cannot be asked now: %s", error, extra={"event": "previews_wait"}
                    )
