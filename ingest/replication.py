"""Whether what was committed is also where the server is to have it: with its synchronous standby, the log's stream.

A commit that waits for the standby and is cancelled stands all the same, here alone, and the server only warns of it.
One whose connection, or server, ended while it waited stands too. Neither may be acknowledged: this disk may be lost.
"""

from __future__ import annotations

from typing import Final

import psycopg
from psycopg.errors import Diagnostic

from ingest.database import Connection, cut
from ingest.errors import StoreError

_WAITS: Final = "SyncRepWaitForLSN"
"""The server's own function that warns; its words are in the server's language."""
_SYNCHRONOUS: Final = "SELECT current_setting('synchronous_standby_names') <> ''"
_EMIT: Final = "SELECT pg_logical_emit_message(true, 'skyledger', '')"
"""Writes a word into the log and nothing else: its commit waits for the standby, which has all before it by then."""


class Confirmation:
    """Watches one connection's commits.

    Parameters
    ----------
    conn
        In autocommit.
    """

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._alone = False
        conn.add_notice_handler(self._hear)

    def _hear(self, diagnostic: Diagnostic) -> None:
        if diagnostic.source_function == _WAITS:
            self._alone = True
            cut(self._conn)  # what was to follow would wait as long, and nobody would look after it

    def require(self, *, earlier: bool) -> None:
        """Raise StoreError unless the standby, where there is to be one, has what was committed.

        Parameters
        ----------
        earlier
            Whether something is to be acknowledged that another transaction committed, of which nothing is known.
        """
        if earlier and not self._alone and self._synchronous():
            self._emit()
        if self._alone:
            raise StoreError(
                "what was written stands on this server alone, which is to wait for another "
                "(synchronous_standby_names): is `skyledger db wal` running?"
            )

    def _emit(self) -> None:
        try:
            self._conn.execute(_EMIT)
        except psycopg.OperationalError:  # the line may have been cut by us
            if not self._alone:
                raise

    def _synchronous(self) -> bool:
        row = self._conn.execute(_SYNCHRONOUS).fetchone()
        return row is not None and bool(row[0])
