"""One connection to the broker: from the attempt to connect until it is lost, then a new one is made.

The connecting, which may take as long as the link is bad, happens in a thread of its own that ends with it;
everything else happens in `loop`, called by the one thread that reads, spools and sends.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from typing import Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from station_agent.config import Broker, Tls

CONNECT_S: Final = 20.0
"""How long connecting may take, and each step of the TLS handshake: a 2G link needs its time."""
ANSWER_S: Final = 30.0
"""How long the broker may take to answer CONNECT."""
STALL_S: Final = 300.0
"""How long messages may be under way with nothing coming back before the connection is given up."""
SUBSCRIBE_REFUSED: Final = 0x80


class Link:
    """One connection.

    Parameters
    ----------
    broker
        Where to and how.
    client_id
        The same for all connections of a process, so that the broker ends the old one when a new one comes.
    will_topic, will
        What the broker says, retained, if the connection is lost.
    ack_topic
        Where acknowledgements come in.
    config_topic
        Where configurations come in; empty: none are wanted.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        client_id: str,
        will_topic: str,
        will: bytes,
        ack_topic: str,
        config_topic: str = "",
    ) -> None:
        self._broker = broker
        self._ack_topic, self._config_topic = ack_topic, config_topic
        self.open = False
        """Whether the broker has accepted the connection."""
        self.lost = ""
        """Why there is no connection any more; empty while there is, or may yet be."""
        self.warnings: list[str] = []
        """What an operator should know; to be taken by the caller."""
        self.received: list[bytes] = []
        """Payloads of the ack topic; to be taken by the caller."""
        self.configs: list[bytes] = []
        """Payloads of the config topic; to be taken by the caller."""
        self.confirmed: list[int] = []
        """Message ids the broker has confirmed; to be taken by the caller."""
        self._under_way: set[int] = set()
        self._ack_subscription: int | None = None
        self._last_heard = time.monotonic()
        self._client = self._make_client(client_id, will_topic, will)
        self._connecting = threading.Thread(target=self._connect, name="connect", daemon=True)
        self._connecting.start()

    @property
    def under_way(self) -> int:
        """How many messages the broker has not confirmed yet."""
        return len(self._under_way)

    def loop(self, timeout: float) -> None:
        """Send and receive what there is, waiting up to `timeout` seconds for something to come."""
        if self._connecting.is_alive():
            self._connecting.join(timeout)
            return
        if self.lost:
            return
        sock: Any = self._client.socket()
        if sock is None:
            self._lose("the connection was closed")
            return
        if getattr(sock, "pending", int)():
            timeout = 0.0
        wanted = [sock] if self._client.want_write() else []
        readable, writable, _ = select.select([sock], wanted, [], timeout)
        if readable:
            self._check(self._client.loop_read())
        if writable and not self.lost:
            self._check(self._client.loop_write())
        if not self.lost:
            self._check(self._client.loop_misc())
        self._look_at_clock()

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        """Send one message with QoS 1; return its id. What becomes of it is seen in `confirmed` and `lost`."""
        info = self._client.publish(topic, payload, qos=1, retain=retain)
        if info.rc not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN):
            self._check(info.rc)
        self._under_way.add(info.mid)
        return info.mid

    def close(self, *, grace: float) -> None:
        """Wait up to `grace` seconds until what was sent is confirmed, then say goodbye and close."""
        deadline = time.monotonic() + grace
        while self.open and not self.lost and self._under_way and time.monotonic() < deadline:
            self.loop(0.05)
        self._connecting.join(max(0.0, deadline - time.monotonic()))
        if self._connecting.is_alive():
            self.lost = "given up while connecting"
            return
        self._client.disconnect()
        self._lose("closed")

    # --- inside ------------------------------------------------------------------------------

    def _make_client(self, client_id: str, will_topic: str, will: bytes) -> mqtt.Client:
        broker = self._broker
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=True,
            protocol=mqtt.MQTTv311,
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_S
        # How many may be under way is the caller's decision; none is to wait inside the client.
        client.max_inflight_messages_set(0)
        client.will_set(will_topic, will, qos=1, retain=True)
        if broker.username:
            client.username_pw_set(broker.username, broker.password or None)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        return client

    def _connect(self) -> None:
        broker = self._broker
        try:
            if broker.tls is not None:
                self._client.tls_set_context(tls_context(broker.tls))
            self._client.connect(broker.host, broker.port, keepalive=broker.keepalive)
        except (OSError, ValueError) as error:
            self.lost = f"no connection to {broker.host}:{broker.port}: {error}"
        self._last_heard = time.monotonic()

    def _check(self, code: MQTTErrorCode) -> None:
        if code is not MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._lose(f"connection to {self._broker.host}:{self._broker.port} lost: {mqtt.error_string(code)}")

    def _lose(self, reason: str) -> None:
        self.lost = self.lost or reason
        self.open = False
        sock: Any = self._client.socket()
        if sock is not None:
            sock.close()

    def _look_at_clock(self) -> None:
        silent = time.monotonic() - self._last_heard
        if not self.lost and not self.open and silent > ANSWER_S:
            self._lose(f"the broker did not answer within {ANSWER_S:g} s")
        elif self._under_way and silent > STALL_S:
            self._lose(f"the broker confirmed nothing for {STALL_S:g} s")

    def _on_connect(self, _client: object, _data: object, _flags: object, code: ReasonCode, _more: object) -> None:
        if code.is_failure:
            self.lost = f"the broker refused the connection: {code}"
            return
        self.open = True
        sock: Any = self._client.socket()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # few in flight: none is to wait for company
        self._last_heard = time.monotonic()
        _, self._ack_subscription = self._client.subscribe(self._ack_topic, qos=1)
        if self._config_topic:
            self._client.subscribe(self._config_topic, qos=1)

    def _on_subscribe(self, _client: object, _data: object, mid: int, codes: list[ReasonCode], _more: object) -> None:
        if not any(code.value >= SUBSCRIBE_REFUSED for code in codes):
            return
        if mid == self._ack_subscription:
            self.warnings.append(
                f"the broker refuses the subscription to {self._ack_topic}: nothing can be acknowledged, "
                "so nothing will leave the spool; check the broker's access rules"
            )
        else:
            self.warnings.append(f"the broker refuses the subscription to {self._config_topic}: none is taken from it")

    def _on_publish(self, _client: object, _data: object, mid: int, _code: object, _more: object) -> None:
        self._last_heard = time.monotonic()
        self._under_way.discard(mid)
        self.confirmed.append(mid)

    def _on_message(self, _client: object, _data: object, message: mqtt.MQTTMessage) -> None:
        self._last_heard = time.monotonic()
        into = self.configs if message.topic == self._config_topic else self.received
        into.append(bytes(message.payload))


def tls_context(tls: Tls) -> ssl.SSLContext:
    """Return a context of TLS 1.2 or newer that checks the broker's certificate and name.

    Parameters
    ----------
    tls
        The authority to trust (None: the system's) and the station's own certificate and key.
    """
    context = ssl.create_default_context(cafile=str(tls.ca) if tls.ca else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.cert:
        context.load_cert_chain(str(tls.cert), str(tls.key) if tls.key else None)
    return context
