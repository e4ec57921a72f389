"""The connections of the page: they can only read, and each thread has one; and what all visitors share."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

import psycopg

from deploy.errors import DeployError
from ingest import screen, standing
from ingest.database import Connection
from ingest.errors import IngestError
from ingest.standing import Standing

T = TypeVar("T")

log: Final = logging.getLogger(__name__)

THREADS: Final = 4
"""Questions that are asked side by side; the others wait."""


def wall_clock() -> datetime:
    """Return the time of this machine."""
    return datetime.now(UTC)


class Store:
    """Asks the database, off the thread that serves.

    Parameters
    ----------
    dsn
        Of a user that may read.
    now
        The clock.
    every
        Seconds for which the standing of the stations is not asked again, however many look.
    """

    def __init__(self, dsn: str, *, now: Callable[[], datetime] = wall_clock, every: float = 10.0) -> None:
        self.now, self.every = now, every
        self._dsn = dsn
        self._open: dict[int, Connection] = {}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="dashboard")
        self._asking = asyncio.Lock()
        self._seen: tuple[datetime, list[Standing]] | None = None
        self._listeners: set[Callable[[], None]] = set()

    def close(self) -> None:
        """Let the threads end, and give their connections back."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        for conn in self._open.values():
            conn.close()

    async def ask(self, question: Callable[[Connection], T]) -> T:
        """Return the answer to a question.

        Raises
        ------
        DeployError
            The database does not answer, or not in time: details go to the log, for visitors may be strangers.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._ask, question)

    def _ask(self, question: Callable[[Connection], T]) -> T:
        try:
            return self._answered(question)
        except psycopg.errors.QueryCanceled as error:
            log.warning("a question took too long: %s", error, extra={"event": "question_too_long"})
            msg = "this takes the database too long: choose a shorter window"
        except psycopg.Error as error:
            log.warning("the database cannot be asked: %s", error, extra={"event": "database_unanswered"})
            msg = f"the database does not answer ({self.now():%H:%M:%S} UTC); this page goes on asking"
        except IngestError as error:
            msg = str(error)
        raise DeployError(msg)

    def _answered(self, question: Callable[[Connection], T]) -> T:
        known = self._open.get(threading.get_ident())
        if known is not None and not known.closed:
            try:
                return question(known)
            except psycopg.errors.QueryCanceled:
                raise
            except psycopg.OperationalError:  # it was lost meanwhile
                known.close()
        try:
            made = screen.connect(self._dsn)
        except IngestError as error:  # says where the database is
            raise psycopg.OperationalError(str(error)) from error
        self._open[threading.get_ident()] = made
        return question(made)

    async def standings(self) -> list[Standing]:
        """Return how the stations stand, at most `every` seconds old."""
        async with self._asking:
            now = wall_clock()
            if self._seen is None or now - self._seen[0] >= timedelta(seconds=0.9 * self.every):
                self._seen = (now, await self.ask(standing.standings))
            return self._seen[1]

    # --- what changes by hand -----------------------------------------------------------------

    def listen(self, heard: Callable[[], None]) -> Callable[[], None]:
        """Have a function called whenever a flag was written; returns what ends that."""
        self._listeners.add(heard)
        return lambda: self._listeners.discard(heard)

    def tell(self) -> None:
        """Say that a flag was written."""
        for heard in list(self._listeners):
            heard()
