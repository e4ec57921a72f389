"""The broker's messages into the store, acknowledged when, and only when, they are committed.

Two kinds of threads. The one that calls `Consumer.run` talks to the broker: it reads what comes in, decodes it,
puts it into the inbox, and sends acknowledgements; when the inbox is full it stops reading, so a slow database
holds the broker back instead of filling the memory. Writers take from the inbox and write; one is enough for the
rates of one server, and with several the broker is still acknowledged in the order of arrival.

Several consumers, also on several machines, share one subscription as a *group* (``$share`` of the broker): each
message goes to one of them. Their sessions end with them, for on some brokers a session that stays keeps the share of a
consumer that is gone; what it had is sent again by the stations, and two that have the same message store it once.

A message is acknowledged twice: to the station on its ``ack`` topic, which lets it delete the batch, and then to
the broker (PUBACK). Whatever fails before that, the message comes again and is recognised.
"""

from __future__ import annotations

import logging
import os
import random
import re
import secrets
import select
import ssl
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from ingest.decode import MAX_TEXT, Message, contents
from ingest.desk import MAX_BACKOFF, Desk
from ingest.errors import StoreError
from ingest.gather import LINGER, MAX_ROWS, Delivery, Inbox
from ingest.roller import Roller
from ingest.store import ASIDE_QUOTA, Entered
from ingest.watch import Stations, Waits
from station_agent import wire
from station_agent.errors import WireError
from station_agent.wire import Acknowledgement, Kind, Outcome

log: Final = logging.getLogger(__name__)

SHARED: Final = ("+/+/data", "+/+/event")
"""What several consumers may share among them."""
OWN: Final = ("+/status",)
"""What each of them hears."""
GROUP: Final = re.compile(r"[A-Za-z0-9_.-]{1,63}")
"""What a group of consumers may be called."""
WRITERS: Final = 2
"""Connections to the database: one writes while the other commits."""
ACK_ENTRIES: Final = 500
"""Entries of one acknowledgement message."""
KEEPALIVE: Final = 30
"""Seconds."""
GRACE: Final = 20.0
"""Seconds a graceful stop may take; what is not committed then comes again."""
_POLL: Final = 0.5
"""Seconds after which the broker's thread looks around."""


@dataclass(frozen=True, slots=True)
class Access:
    """How to get into the broker beyond its address."""

    username: str | None = None
    password: str | None = None
    tls: ssl.SSLContext | None = None


@dataclass(slots=True)
class Tally:
    """What a consumer has done since it started; counts."""

    transactions: int = 0
    stored: int = 0
    aside: int = 0
    rekeyed: int = 0
    repeated: int = 0
    refused: int = 0
    """Messages beyond a station's quota: not kept, not acknowledged."""
    rows_new: int = 0
    rows_same: int = 0
    rows_aside: int = 0
    connections: int = 0

    def count(self, entered: Entered) -> None:
        """Add what one transaction did."""
        self.transactions += 1
        for result in entered.results:
            if result.repeated:
                self.repeated += 1
            elif result.outcome is None:
                self.refused += 1
            else:
                name = {Outcome.STORED: "stored", Outcome.ASIDE: "aside", Outcome.REKEY: "rekeyed"}[result.outcome]
                setattr(self, name, getattr(self, name) + 1)
        self.rows_new += entered.written.new
        self.rows_same += entered.written.same
        self.rows_aside += entered.written.aside


class _Stopped(Exception):  # noqa: N818 not an error
    """A stop was asked for and the time for it is over."""


@dataclass(slots=True, kw_only=True, eq=False)
class Consumer:
    """One process's way from a broker to a database.

    Parameters
    ----------
    dsn
        The database; its schema must be current.
    host, port
        The broker.
    client_id
        Under which the broker keeps our session; another consumer with the same one takes it over. Empty: a new name.
    group
        Whose share of the messages this consumer takes; empty: it takes all, and the broker keeps what comes while it
        is away.
    access
        User name, password, TLS.
    writers
        Connections to the database.
    max_rows, linger
        A transaction is begun with that many rows, or after that many seconds.
    aside_quota
        Bytes each station may have kept aside.
    previews
        Seconds between two refreshments of the previews; None: somebody else does it.
    """

    dsn: str
    host: str
    port: int = 1883
    client_id: str = ""
    group: str = ""
    access: Access = field(default_factory=Access)
    writers: int = WRITERS
    max_rows: int = MAX_ROWS
    linger: float = LINGER
    aside_quota: int = ASIDE_QUOTA
    previews: float | None = None
    tally: Tally = field(init=False, default_factory=Tally)
    stations: Stations = field(init=False, default_factory=Stations)
    waits: Waits = field(init=False, default_factory=Waits)
    turned: float | None = field(init=False, default=None)
    """When the broker's thread last looked around, of the monotonic clock, s; None before it runs."""
    last_commit: float | None = field(init=False, default=None)
    """When messages were last committed, s since 1970."""
    _inbox: Inbox = field(init=False)
    _outbox: deque[list[Delivery]] = field(init=False, default_factory=deque)
    _unacknowledged: deque[Delivery] = field(init=False, default_factory=deque)
    _sending: set[int] = field(init=False, default_factory=set)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)
    _stopping: threading.Event = field(init=False, default_factory=threading.Event)
    _deadline: float = field(init=False, default=float("inf"))
    _failure: Exception | None = field(init=False, default=None)
    _desks: list[Desk] = field(init=False, default_factory=list)
    _client: mqtt.Client = field(init=False)
    _bell: tuple[int, int] = field(init=False)

    def __post_init__(self) -> None:
        if self.group and not GROUP.fullmatch(self.group):
            raise StoreError(f"group {self.group!r} is no name: expected 1 to 63 of letters, digits, '_', '.' and '-'")
        if not self.client_id:
            self.client_id = f"skyledger-ingest-{secrets.token_hex(4)}" if self.group else "skyledger-ingest"

    # --- how it is; from any thread -----------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether the broker is connected to."""
        return hasattr(self, "_client") and self._client.is_connected()

    @property
    def waiting_rows(self) -> int:
        """What waits to be written, in rows."""
        return self._inbox.rows if hasattr(self, "_inbox") else 0

    @property
    def oldest_unacknowledged_s(self) -> float:
        """Age of the oldest message the broker has not been told is stored, s; 0 where there is none."""
        try:
            arrived = self._unacknowledged[0].arrived
        except IndexError:
            return 0.0
        return time.monotonic() - arrived if arrived else 0.0

    # --- the broker's thread ------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; then commit what was gathered, acknowledge it and return.

        Raises
        ------
        MigrationError
            The database's schema is not this version's.
        """
        self._inbox = Inbox(self.max_rows, 4 * self.max_rows, self.linger)
        self._client = self._make_client()
        self._bell = os.pipe()
        for end in self._bell:
            os.set_blocking(end, False)
        self._desks = [
            Desk(self.dsn, self.aside_quota, self.stations, self._count, self._pause) for _ in range(self.writers)
        ]
        workers = [threading.Thread(target=self._work, args=[desk], name="writer") for desk in self._desks]
        for worker in workers:
            worker.start()
        rolling = nullcontext() if self.previews is None else Roller(self.dsn, every=self.previews)
        try:
            with rolling:
                self._serve(stop, workers)
        finally:
            self._stop_at(0)
            for desk in self._desks:
                desk.interrupt()
            for worker in workers:
                worker.join()
            self._say_goodbye()
            for end in self._bell:
                os.close(end)
        if self._failure is not None:
            raise self._failure

    def _make_client(self) -> mqtt.Client:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=self.client_id, clean_session=bool(self.group), manual_ack=True
        )
        client.max_inflight_messages_set(1000)
        client.max_queued_messages_set(0)
        if self.access.username is not None:
            client.username_pw_set(self.access.username, self.access.password)
        if self.access.tls is not None:
            client.tls_set_context(self.access.tls)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        return client

    def _serve(self, stop: threading.Event, workers: Sequence[threading.Thread]) -> None:
        backoff, next_try = 0.0, 0.0
        while not self._finished(stop, workers):
            self.turned = time.monotonic()
            if self._client.socket() is None:
                if time.monotonic() >= next_try and not self._inbox.full and self._connect():
                    backoff = 0.0
                elif time.monotonic() >= next_try:
                    backoff = min(max(2 * backoff, 0.2), MAX_BACKOFF)
                    next_try = time.monotonic() + backoff * random.uniform(0.5, 1)  # noqa: S311 no secret
            self._turn()
            self._acknowledge()
            for desk in self._desks:
                desk.give_up_if_stuck(time.monotonic())

    def _say_goodbye(self) -> None:
        self._client.disconnect()
        for _ in range(10):  # what is still to be written, the DISCONNECT among it, which closes the socket
            if self._client.socket() is None:
                return
            self._client.loop_write()
        connection = self._client.socket()
        if connection is not None:
            connection.close()

    def _finished(self, stop: threading.Event, workers: Sequence[threading.Thread]) -> bool:
        if (stop.is_set() or self._failure is not None) and not self._stopping.is_set():
            self._stop_at(time.monotonic() + GRACE)
        if not self._stopping.is_set():
            return False
        idle = not any(worker.is_alive() for worker in workers) and not self._outbox
        return (idle and (not self._sending or self._client.socket() is None)) or time.monotonic() > self._deadline

    def _stop_at(self, deadline: float) -> None:
        self._deadline = min(self._deadline, deadline)
        self._stopping.set()
        self._inbox.close()

    def _connect(self) -> bool:
        try:
            self._client.connect(self.host, self.port, keepalive=KEEPALIVE)
        except (OSError, ValueError) as error:
            log.warning(
                "cannot connect to the broker %s:%d: %s",
                self.host,
                self.port,
                error,
                extra={"event": "broker_unreachable"},
            )
            return False
        return True

    def _turn(self) -> None:
        """Wait for the broker or a writer, and move what there is."""
        connection = self._client.socket()
        if connection is None:
            with suppress(OSError):
                select.select([self._bell[0]], [], [], 0.1)
            self._hear_bell()
            return
        reading = not self._inbox.full
        pending = isinstance(connection, ssl.SSLSocket) and connection.pending() > 0
        readers: list[Any] = [self._bell[0], connection] if reading else [self._bell[0]]
        writers = [connection] if self._client.want_write() else []
        ready, writable, _ = select.select(readers, writers, [], 0 if pending and reading else _POLL)
        self._hear_bell()
        if reading and (connection in ready or pending):
            self._client.loop_read()
        if writable:
            self._client.loop_write()
        self._client.loop_misc()

    def _hear_bell(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._bell[0], 4096)

    def _on_connect(self, client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            log.warning(
                "the broker %s:%d refuses us: %s", self.host, self.port, reason, extra={"event": "broker_refuses"}
            )
            return
        self.tally.connections += 1
        log.info(
            "connected to the broker %s:%d as %s",
            self.host,
            self.port,
            self.client_id,
            extra={"event": "broker_connected"},
        )
        share = f"$share/{self.group}/" if self.group else ""
        client.subscribe([(f"{share}{wire.ROOT}/{levels}", 1) for levels in SHARED])
        client.subscribe([(f"{wire.ROOT}/{levels}", 1) for levels in OWN])

    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        # What was not acknowledged on this connection is delivered again on the next.
        self._unacknowledged.clear()
        if not self._stopping.is_set():
            log.warning(
                "the connection to the broker %s:%d ended: %s",
                self.host,
                self.port,
                reason,
                extra={"event": "broker_lost"},
            )

    def _on_publish(self, _client: Any, _data: Any, mid: int, _reason: Any, _properties: Any) -> None:
        self._sending.discard(mid)

    def _on_message(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        if self._stopping.is_set():
            return  # not acknowledged: it comes again
        delivery = Delivery(message.mid if message.qos else 0)
        self._unacknowledged.append(delivery)
        try:
            topic = wire.parse_topic(message.topic)
        except (WireError, UnicodeDecodeError) as error:
            log.warning("a message is left out: %s", error, extra={"event": "topic_unknown"})
            delivery.done = True
            return
        payload = bytes(message.payload)
        if topic.kind is Kind.STATUS:
            delivery.status = topic.station, payload
        else:
            received = Message.received(topic, payload)
            delivery.contents = contents(received, now_ms=int(time.time() * 1000))
        self._inbox.put(delivery)

    def _acknowledge(self) -> None:
        """Tell the stations what was committed, then the broker, in the order in which it sent them."""
        while self._outbox:
            self._tell_stations(self._outbox.popleft())
        while self._unacknowledged and self._unacknowledged[0].done:
            delivery = self._unacknowledged.popleft()
            if delivery.mid:
                self._client.ack(delivery.mid, 1)

    def _tell_stations(self, deliveries: Sequence[Delivery]) -> None:
        entries: dict[str, list[Acknowledgement]] = {}
        for delivery in deliveries:
            if delivery.contents is not None and delivery.outcome is not None:
                said = delivery.contents
                item = Acknowledgement(said.stated_seq, said.message.digest, delivery.outcome)
                entries.setdefault(said.message.station, []).append(item)
            delivery.done = True
        for station, items in entries.items():
            if any(sign in station for sign in "+#\0") or len(station) > MAX_TEXT:
                continue  # nobody can listen there
            for first in range(0, len(items), ACK_ENTRIES):
                payload = wire.encode_acknowledgements(items[first : first + ACK_ENTRIES])
                sent = self._client.publish(f"{wire.ROOT}/{station}/{Kind.ACK}", payload, qos=1)
                if sent.rc in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN):
                    self._sending.add(sent.mid)

    # --- a writer's thread --------------------------------------------------------------------

    def _work(self, desk: Desk) -> None:
        try:
            desk.write([])
            while deliveries := self._inbox.take():
                desk.write(deliveries)
                self._outbox.append(deliveries)
                self._ring()
        except _Stopped:
            log.warning(
                "stopped while the database was away; what was not written comes again",
                extra={"event": "stopped_unwritten"},
            )
        except Exception as error:  # noqa: BLE001 whatever it is, `run` raises it
            self._failure = error
        finally:
            desk.close()
            self._ring()

    def _ring(self) -> None:
        with suppress(BlockingIOError):
            os.write(self._bell[1], b".")

    def _count(self, entered: Entered, deliveries: Sequence[Delivery]) -> None:
        """Add what one transaction did to the figures."""
        now = time.monotonic()
        with self._lock:
            self.tally.count(entered)
            self.waits.add(now - delivery.arrived for delivery in deliveries)
            self.last_commit = time.time()
        self.stations.note(entered)

    def _pause(self, seconds: float, *, idle: bool) -> None:
        """Wait before a writer's next try; raises when a stop has taken too long, or there is nothing to write."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if time.monotonic() > self._deadline or (idle and self._stopping.is_set()):
                raise _Stopped
            time.sleep(min(left, 0.1))
