"""Whether a consumer is alive, and whether it does its work: two questions with different answers.

Alive is the process: nothing is gained by starting it anew while broker or database are away. Ready is what an operator
wants to see: what stations send is being stored.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import psycopg

from ingest.consumer import Consumer
from ingest.database import Connection, connect, cut
from ingest.errors import StoreError

log: Final = logging.getLogger(__name__)

TURNS_S: Final = 60.0
"""Seconds within which the broker's thread looks around, however slow a name service or a handshake is."""
WAITS_S: Final = 120.0
"""Seconds a message may wait to be committed."""
ASK_S: Final = 5.0
"""Seconds for which an answer of the database is believed, however often one asks."""
PATIENCE_S: Final = 4
"""Seconds the database is given to answer."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """An answer: whether all is well, and a sentence for each thing that was looked at."""

    well: bool
    sentences: tuple[str, ...]

    def __str__(self) -> str:
        return "".join(f"{sentence}\n" for sentence in self.sentences)


def alive(consumer: Consumer, *, now: float) -> Verdict:
    """Return whether the consumer's thread goes round; asks neither broker nor database.

    Parameters
    ----------
    consumer
        It may not run yet.
    now
        Of the monotonic clock, s.
    """
    turned = consumer.turned
    if turned is None:
        return Verdict(True, ("ok: starting",))
    if now - turned > TURNS_S:
        return Verdict(False, (f"failed: the broker's thread has not turned for {now - turned:.0f} s: restart",))
    return Verdict(True, ("ok: alive",))


class Readiness:
    """Judges whether a consumer does its work, with a connection to the database of its own.

    Parameters
    ----------
    consumer
        Whose.
    monotonic
        Clock, s.
    """

    def __init__(self, consumer: Consumer, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._consumer, self._monotonic = consumer, monotonic
        self._conn: Connection | None = None
        self._lock = threading.Lock()
        self._answer: tuple[float, str] | None = None
        """When the database was asked, and what was wrong with it."""

    def close(self) -> None:
        """Give the connection back."""
        with self._lock:
            self._close()

    def verdict(self) -> Verdict:
        """Return whether the broker is connected to, the database answers, and nothing waits too long for a commit."""
        found = [alive(self._consumer, now=self._monotonic()), *self._checks()]
        return Verdict(all(one.well for one in found), tuple(line for one in found for line in one.sentences))

    def _checks(self) -> Iterator[Verdict]:
        # Whoever may ask is not told where broker and database are and as whom they are asked: that is in the log.
        if self._consumer.connected:
            yield Verdict(True, ("ok: the broker is connected to",))
        else:
            yield Verdict(False, ("failed: the broker is not connected to: is it running? the log says why",))
        fault = self._fault_of_database()
        if fault:
            yield Verdict(False, (f"failed: {fault}",))
        else:
            yield Verdict(True, ("ok: the database answers",))
        yield self._commits()

    def _commits(self) -> Verdict:
        """Return whether what came is committed: a last commit of yesterday is well where nothing came since."""
        waits = self._consumer.oldest_unacknowledged_s
        last = self._consumer.last_commit
        said = "none yet" if last is None else f"the last {max(time.time() - last, 0):.0f} s ago"
        if waits > WAITS_S:
            sentence = f"failed: a message waits {waits:.0f} s for a commit, expected {WAITS_S:.0f} s at most; {said}"
            return Verdict(False, (sentence,))
        return Verdict(True, (f"ok: nothing waits for a commit ({said})",))

    def _fault_of_database(self) -> str:
        with self._lock:
            now = self._monotonic()
            if self._answer is None or now - self._answer[0] >= ASK_S:
                self._answer = now, self._ask()
            return self._answer[1]

    def _ask(self) -> str:
        try:
            if self._conn is None:
                self._conn = connect(self._consumer.dsn, seconds=PATIENCE_S)
            # Where the line is half open the server's own time limits are never heard of.
            watch = threading.Timer(PATIENCE_S, cut, [self._conn])
            watch.start()
            try:
                self._conn.execute("SELECT")
            finally:
                watch.cancel()
        except (psycopg.Error, StoreError) as error:
            self._close()
            log.warning("the database does not answer: %s", error, extra={"event": "database_unanswered"})
            return f"the database does not answer ({type(error).__name__}): is it running? the log says why"
        return ""

    def _close(self) -> None:
        if self._conn is not None:
            self._conn.close()
            self._conn = None
