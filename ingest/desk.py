"""A writer's place: one connection to the database, kept, lost, found stuck, and made again."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import psycopg

from ingest.database import cut
from ingest.errors import MigrationError
from ingest.gather import Delivery
from ingest.replication import Confirmation
from ingest.store import Connection, Entered, Writer, connect, passing
from ingest.watch import Stations

log: Final = logging.getLogger(__name__)

MAX_BACKOFF: Final = 10.0
"""Seconds between two tries to reach a server."""
STALL: Final = 120.0
"""Seconds after which a write that has come to no end is given up and begun again, on a new connection; doubled each
time, for a slow server must be able to end."""
MAX_STALL: Final = 3600.0
CANCEL: Final = 5.0
"""Seconds the server is given to cancel a write before the line to it is cut."""
_STUBBORN: Final = 3
"""How often a write may fail for a reason that is not the server's before its messages are tried one by one."""


@dataclass(slots=True, eq=False)
class Desk:
    """Writes deliveries on one connection, which is made again whenever it is lost.

    Parameters
    ----------
    dsn
        The database.
    aside_quota
        Bytes each station may have kept aside.
    stations
        What is seen of them goes there.
    count
        Called with what each transaction did, and its deliveries.
    pause
        Called with the seconds to wait before the next try, and whether there is nothing to write (``idle=``); raises
        what is to end the writing.
    """

    dsn: str
    aside_quota: int
    stations: Stations
    count: Callable[[Entered, Sequence[Delivery]], None]
    pause: Callable[..., None]
    _conn: Connection | None = None
    _writer: Writer | None = None
    _confirmation: Confirmation | None = None
    _today: str = ""
    _since: float = float("inf")
    """Since when it has been writing."""
    _patience: float = field(default_factory=lambda: STALL)

    def write(self, deliveries: Sequence[Delivery]) -> None:
        """Write messages, however long the database is away; their outcomes are set."""
        backoff, failures = 0.0, 0
        while True:
            try:
                self._since = time.monotonic()
                self._write(deliveries)
            except MigrationError:
                raise
            except Exception as error:  # noqa: BLE001 one bad write must not end the writing
                self._since = float("inf")
                self.close()
                failures += 0 if passing(error) else 1
                log.warning(
                    "%d messages wait, the database cannot be written now: %s",
                    len(deliveries),
                    error,
                    extra={"event": "database_unwritable"},
                )
                if failures >= _STUBBORN:
                    self._write_singly(deliveries, error)
                    return
                backoff = min(max(2 * backoff, 0.2), MAX_BACKOFF)
                self.pause(backoff * random.uniform(0.5, 1), idle=not deliveries)  # noqa: S311 no secret
            else:
                self._since, self._patience = float("inf"), STALL
                return

    def give_up_if_stuck(self, now: float) -> None:
        """End a write that has taken too long; called from another thread.

        Where the line is half open nobody would ever say so: the server, or something before it, still confirms what
        it is sent.
        """
        if now - self._since > self._patience:
            log.warning(
                "a write has come to no end in %.0f s and is begun again",
                self._patience,
                extra={"event": "write_stuck"},
            )
            self._patience = min(2 * self._patience, MAX_STALL)
            self.interrupt()

    def interrupt(self) -> None:
        """Make a write that is going on fail; called from another thread."""
        conn, writing = self._conn, self._since < float("inf")
        if conn is None or conn.closed or not writing:
            return
        self._since = float("inf")
        with suppress(psycopg.Error):
            conn.cancel_safe(timeout=CANCEL)
            return
        cut(conn)

    def _write_singly(self, deliveries: Sequence[Delivery], error: Exception) -> None:
        """Find the message that cannot even be kept aside; it stays with its station."""
        if len(deliveries) > 1:
            for delivery in deliveries:
                self.write([delivery])
        elif (said := deliveries[0].contents) is not None:
            log.error(
                "message %s of %r cannot be kept: %s",
                said.message.digest,
                said.message.station,
                error,
                extra={"event": "message_unkeepable", "station": said.message.station},
            )

    def _write(self, deliveries: Sequence[Delivery]) -> None:
        writer = self._open()
        statuses = dict(d.status for d in deliveries if d.status is not None)
        if statuses:
            writer.keep_statuses(statuses)
            self.stations.hear(statuses)
        said = [d for d in deliveries if d.contents is not None]
        if not said:
            return
        entered = writer.write([d.contents for d in said if d.contents is not None])
        assert self._confirmation is not None
        self._confirmation.require(earlier=any(result.repeated for result in entered.results))
        for delivery, result in zip(said, entered.results, strict=True):
            delivery.outcome = result.outcome
        self.count(entered, said)

    def _open(self) -> Writer:
        if self._writer is None:
            self._conn = connect(self.dsn)
            self._confirmation = Confirmation(self._conn)
            writer = Writer(self._conn, self.aside_quota)
            self.stations.learn(self._conn)
            self._writer = writer
        now = datetime.now(UTC)
        if self._today != (today := f"{now:%Y%m%d}"):
            self._writer.prepare_days(now)
            self._today = today
        return self._writer

    def close(self) -> None:
        """Give the connection back."""
        if self._conn is not None:
            self._conn.close()
        self._conn = self._writer = None
