"""Delivery: frozen batches to the broker, in order, until the server has said that each is stored.

Bounds: `max_inflight` messages the broker has not confirmed, and a *window* of batches the server has not
acknowledged. The window begins at `max_inflight`, grows by one with each acknowledgement (it doubles each round) up to
`max_unacknowledged`, and is halved when batches had to be sent again. A batch confirmed by the broker but not
acknowledged within `resend` seconds is sent again; that time doubles, up to ten minutes, while nothing is acknowledged.
When the connection is lost everything unacknowledged is sent again, in order.

With ``batch.order = "live-first"`` what is frozen after connecting takes turns with what waited before, so that a
station back after a month is seen at once; each of the two goes in order.
"""

from __future__ import annotations

import logging
import random
import secrets
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from station_agent.batches import Acknowledged, Frozen
from station_agent.config import Config
from station_agent.errors import SpoolUnwritableError, WireError
from station_agent.link import Link
from station_agent.spool import Spool
from station_agent.wire import Acknowledgement, Kind, decode_acknowledgements, instrument_topic, station_topic

FIRST_RETRY_S: Final = 1.0
LAST_RETRY_S: Final = 120.0
STEADY_S: Final = 30.0
"""A connection that held this long, or brought an acknowledgement, lets the next retry begin anew."""
LAST_RESEND_S: Final = 600.0
APPLY_AGAIN_S: Final = 2.0
"""Seconds until acknowledgements are applied again that a full disk did not take."""
MOST_SAID: Final = 100_000
"""Acknowledgements kept while the disk does not take them."""
FETCH: Final = 64
"""Batches fetched from the spool at once."""

log = logging.getLogger(__name__)


class Delivery:
    """Delivers a spool.

    Parameters
    ----------
    config
        Broker, station and bounds.
    spool
        What is to be delivered.
    status
        Returns the status payload for a state (``online``, ``stopped``, ``lost``).
    draw
        Source of the jitter.
    on_config
        Called with each configuration the server has pushed; None: they are not asked for.
    on_step
        Called with ``published`` after each batch that was handed to the connection: where a test pulls the plug.
    """

    def __init__(
        self,
        config: Config,
        spool: Spool,
        *,
        status: Callable[[str], bytes],
        draw: random.Random | None = None,
        on_config: Callable[[bytes], object] | None = None,
        on_step: Callable[[str], object] = lambda _step: None,
    ) -> None:
        self._config, self._spool, self._status = config, spool, status
        # Jitter guards nothing.
        self._draw = draw or random.Random()  # noqa: S311
        self._on_step, self._on_config = on_step, on_config
        self.client_id = f"{config.station}-{secrets.token_hex(6)}"
        """The same for every connection of this process, another in every process."""
        self.acknowledged = 0
        """Batches the server has acknowledged since this process began."""
        self.kept_aside = 0
        """Those of them that the server keeps aside, to be mended."""
        self._status_topic = station_topic(config.station, Kind.STATUS)
        self._ack_topic = station_topic(config.station, Kind.ACK)
        self._config_topic = station_topic(config.station, Kind.CONFIG) if on_config else ""
        self._topics: dict[tuple[str, Kind], str] = {}
        self._link: Link | None = None
        self._opened: float | None = None
        self._failures = 0
        self._next_attempt = 0.0
        self._heartbeat_due = 0.0
        self._said: list[Acknowledgement] = []
        self._apply_at = 0.0
        self._window = config.batch.max_inflight
        self._resend_s = config.batch.resend
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Forget what was sent: a new connection sends everything unacknowledged, in order."""
        self._cursor = 0
        self._live = self._spool.newest if self._config.batch.order == "live-first" else None
        self._live_turn = False
        self._again: deque[int] = deque()
        self._turn = False
        self._sent: dict[str, int] = {}
        self._unconfirmed: dict[int, str] = {}
        self._confirmed: dict[str, float] = {}

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted the connection."""
        return self._link is not None and self._link.open

    def step(self, timeout: float) -> None:
        """Do what there is to do, waiting up to `timeout` seconds for the broker."""
        now = time.monotonic()
        if self._link is None:
            if now < self._next_attempt:
                time.sleep(min(timeout, self._next_attempt - now))
                return
            self._connect()
        link = self._link
        assert link is not None
        if link.open:
            self._send(link)
        link.loop(timeout)
        if link.open and self._opened is None:
            self._greet(link)
        self._take(link)
        if link.open:
            self._send(link)
        if link.lost:
            self._lose(link)

    def beat_soon(self) -> None:
        """Let the status be said at the next step."""
        self._heartbeat_due = 0.0

    def close(self, *, grace: float) -> None:
        """Say that the agent stops, wait up to `grace` seconds for what is under way, and disconnect."""
        link, self._link = self._link, None
        if link is None:
            return
        try:
            if link.open:
                link.publish(self._status_topic, self._status("stopped"), retain=True)
        finally:  # a spool that cannot be read must not leave the connection behind
            link.close(grace=grace)
        self._take(link)

    # --- the connection ----------------------------------------------------------------------

    def _connect(self) -> None:
        self._begin_anew()
        self._opened = None
        self._link = Link(
            self._config.broker,
            client_id=self.client_id,
            will_topic=self._status_topic,
            will=self._status("lost"),
            ack_topic=self._ack_topic,
            config_topic=self._config_topic,
        )

    def _greet(self, link: Link) -> None:
        self._opened = time.monotonic()
        log.info("connected to %s:%d", self._config.broker.host, self._config.broker.port)
        self._beat(link)

    def _beat(self, link: Link) -> None:
        link.publish(self._status_topic, self._status("online"), retain=True)
        self._heartbeat_due = time.monotonic() + self._config.heartbeat

    def _lose(self, link: Link) -> None:
        """Give the connection up and say when to try again."""
        link.close(grace=0.0)
        self._link = None
        if self._opened is not None and time.monotonic() - self._opened > STEADY_S:
            self._failures = 0
        bound = min(LAST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(self._failures, 20))
        delay = self._draw.uniform(0.5, 1.0) * bound
        self._failures += 1
        self._next_attempt = time.monotonic() + delay
        log.warning("%s; next attempt in %.1f s", link.lost, delay)

    # --- acknowledgements --------------------------------------------------------------------

    def _take(self, link: Link) -> None:
        """Take from the connection what came in."""
        for warning in link.warnings:
            log.error("%s", warning)
        link.warnings.clear()
        now = time.monotonic()
        for mid in link.confirmed:
            digest = self._unconfirmed.pop(mid, None)
            if digest in self._sent:
                self._confirmed[digest] = now
        link.confirmed.clear()
        received, link.received = link.received, []
        self._said += [item for payload in received for item in self._read(payload)]
        del self._said[:-MOST_SAID]  # what is forgotten is asked for again
        if self._said and now >= self._apply_at:
            self._acknowledge(now)
        configs, link.configs = link.configs, []
        if self._on_config is not None:
            for payload in configs:
                self._on_config(payload)

    def _acknowledge(self, now: float) -> None:
        """Apply what the server said; where the disk does not take it, what was said is kept for the next attempt."""
        try:
            result = self._spool.acknowledge(self._said)
        except SpoolUnwritableError:
            self._apply_at = now + APPLY_AGAIN_S
            return
        self._said = []
        self._apply(result)

    def _read(self, payload: bytes) -> list[Acknowledgement]:
        try:
            return decode_acknowledgements(payload)
        except WireError as error:
            log.warning("%s: %s; ignored", self._ack_topic, error)
            return []

    def _apply(self, result: Acknowledged) -> None:
        answered = len(result.removed) + len(result.rekeyed)
        for digest in (*result.removed, *result.rekeyed):
            self._sent.pop(digest, None)
            self._confirmed.pop(digest, None)
        self._again.extend(sorted(result.rekeyed.values()))
        if result.rekeyed:
            log.warning(
                "the server has other data under %d number(s) of this spool (a copied or restored file?): "
                "new spool id %s, sent again",
                len(result.rekeyed),
                self._spool.id,
            )
        if result.aside:
            log.warning("%d batch(es) were kept aside by the server, to be mended there", result.aside)
        if answered:
            self.acknowledged += len(result.removed)
            self.kept_aside += result.aside
            self._failures = 0
            self._resend_s = self._config.batch.resend
            self._window = min(self._config.batch.max_unacknowledged, self._window + answered)

    # --- sending -----------------------------------------------------------------------------

    def _send(self, link: Link) -> None:
        if time.monotonic() >= self._heartbeat_due:
            self._beat(link)
        self._expire()
        inflight = self._config.batch.max_inflight
        while (room := min(inflight - len(self._unconfirmed), self._window - len(self._sent))) > 0 and not link.lost:
            batches = self._next(min(room, FETCH))
            if not batches:
                return
            for batch in batches:
                self._unconfirmed[link.publish(self._topic(batch), batch.payload)] = batch.digest
                self._sent[batch.digest] = batch.id
                self._on_step("published")

    def _next(self, limit: int) -> list[Frozen]:
        """Return the next batches to send: those to be sent again and those not sent yet take turns.

        So batches that the server does not take, for a reason of their own, do not hold up the others.
        """
        self._turn = not self._turn
        if self._turn:
            return self._once_more() or self._onward(limit)
        return self._onward(1 if self._again else limit) or self._once_more()

    def _once_more(self) -> list[Frozen]:
        while self._again:
            batch = self._spool.frozen(self._again[0])
            self._again.popleft()  # only now: a spool that cannot be read just now is asked for it once more
            if batch is not None and batch.digest not in self._sent:
                return [batch]
        return []

    def _onward(self, limit: int) -> list[Frozen]:
        self._live_turn = not self._live_turn
        if self._live is not None and self._live_turn:
            batches = self._spool.unsent(after=self._live, limit=limit)
            if batches:
                self._live = batches[-1].id
            if fresh := [batch for batch in batches if batch.digest not in self._sent]:
                return fresh
        while batches := self._spool.unsent(after=self._cursor, limit=limit):
            self._cursor = batches[-1].id
            if fresh := [batch for batch in batches if batch.digest not in self._sent]:
                return fresh
        return []

    def _expire(self) -> None:
        """Put what was not acknowledged in time in the queue to be sent again."""
        late = []
        before = time.monotonic() - self._resend_s
        for digest, confirmed in self._confirmed.items():
            if confirmed > before:
                break
            late.append(digest)
        if not late:
            return
        self._again.extend(sorted(self._sent[digest] for digest in late))
        for digest in late:
            del self._confirmed[digest], self._sent[digest]
        self._window = max(self._config.batch.max_inflight, self._window // 2)
        self._resend_s = min(LAST_RESEND_S, self._resend_s * 2) * self._draw.uniform(0.9, 1.0)
        log.warning("%d batch(es) not acknowledged in time, sent again; is the ingest running?", len(late))

    def _topic(self, batch: Frozen) -> str:
        key = batch.instrument, batch.kind
        if key not in self._topics:
            self._topics[key] = instrument_topic(self._config.station, batch.instrument, batch.kind)
        return self._topics[key]
