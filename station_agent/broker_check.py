"""The way to the broker, step by step: name, port, TLS, certificates, MQTT, the subscription to acknowledgements."""

from __future__ import annotations

import secrets
import socket
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from station_agent.config import Broker, Config, Tls
from station_agent.errors import ConfigError
from station_agent.findings import Finding, not_ok, ok
from station_agent.link import SUBSCRIBE_REFUSED, tls_context
from station_agent.validity import validity
from station_agent.wire import Kind, station_topic

WAIT_S: Final = 20.0
"""How long each step may take."""


def findings(config: Config) -> Iterator[Finding]:
    """Take the way step by step; after a step that fails only what does not need it is looked at."""
    broker = config.broker
    if broker.tls is not None and broker.tls.cert is not None:
        yield _own_certificate(broker.tls.cert)
    try:
        address = socket.getaddrinfo(broker.host, broker.port, type=socket.SOCK_STREAM)[0][4][0]
    except OSError as error:
        yield not_ok("broker name", "unresolved", "do name", host=broker.host, error=error.strerror or error)
        return
    yield ok("broker name", "resolved", host=broker.host, address=address)
    try:
        socket.create_connection((broker.host, broker.port), timeout=WAIT_S).close()
    except OSError as error:
        yield not_ok(
            "broker port", "closed", "do port", host=broker.host, port=broker.port, error=error.strerror or error
        )
        return
    yield ok("broker port", "open", host=broker.host, port=broker.port)
    for finding in _tls(broker, local=str(address).startswith("127.") or address == "::1"):
        yield finding
        if not finding.ok and finding.found == "tls failed":
            return
    yield from _mqtt(config)


# --- TLS -------------------------------------------------------------------------------------


def _tls(broker: Broker, *, local: bool) -> Iterator[Finding]:
    if broker.tls is None:
        # Inside one machine there is nobody on the way.
        yield ok("broker tls", "no tls") if local else not_ok("broker tls", "no tls", "do no tls")
        return
    try:
        yield from _handshake(broker, broker.tls)
    except (OSError, ValueError) as error:
        said = getattr(error, "verify_message", "") or getattr(error, "reason", "") or error
        yield not_ok("broker tls", "tls failed", "do tls", error=said)


def _handshake(broker: Broker, tls: Tls) -> Iterator[Finding]:
    context = tls_context(tls)
    with (
        socket.create_connection((broker.host, broker.port), timeout=WAIT_S) as plain,
        context.wrap_socket(plain, server_hostname=broker.host) as secure,
    ):
        certificate: dict[str, Any] = secure.getpeercert() or {}
        version = secure.version()
    yield ok("broker tls", "tls", version=version)
    end = datetime.fromtimestamp(ssl.cert_time_to_seconds(certificate["notAfter"]), UTC)
    yield _dates("broker certificate", None, end)


def _own_certificate(path: Path) -> Finding:
    try:
        begin, end = validity(path)
    except ConfigError as error:
        return not_ok("own certificate", "no certificate", "do certificate", error=error)
    return _dates("own certificate", begin, end)


def _dates(what: str, begin: datetime | None, end: datetime) -> Finding:
    now = datetime.now(UTC)
    if begin is not None and now < begin:
        return not_ok(what, "not yet", "do certificate", date=f"{begin:%Y-%m-%d %H:%M UTC}")
    if now > end:
        return not_ok(what, "expired", "do certificate", date=f"{end:%Y-%m-%d %H:%M UTC}")
    return ok(what, "valid until", date=f"{end:%Y-%m-%d}", days=(end - now).days)


# --- MQTT ------------------------------------------------------------------------------------


def _mqtt(config: Config) -> Iterator[Finding]:
    topic = station_topic(config.station, Kind.ACK)
    answers = _Answers(config.broker, client_id=f"{config.station}-doctor-{secrets.token_hex(4)}", topic=topic)
    answers.wait()
    if answers.fault or answers.accepted is None:
        yield not_ok("broker mqtt", "refused", "do mqtt", error=answers.fault or "no answer")
        return
    yield ok("broker mqtt", "accepted")
    if answers.granted:
        yield ok("broker ack", "granted", topic=topic)
    else:
        yield not_ok("broker ack", "not granted", "do mqtt", topic=topic)


class _Answers:
    """One connection that asks for the acknowledgements, without a will, and goes."""

    def __init__(self, broker: Broker, *, client_id: str, topic: str) -> None:
        self.fault = ""
        self.accepted: bool | None = None
        self.granted: bool | None = None
        self._broker, self._topic = broker, topic
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv311)
        self._client.connect_timeout = WAIT_S
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        if broker.username:
            self._client.username_pw_set(broker.username, broker.password or None)

    def wait(self) -> None:
        """Connect, wait for both answers or their refusal, and disconnect."""
        try:
            if self._broker.tls is not None:
                self._client.tls_set_context(tls_context(self._broker.tls))
            self._client.connect(self._broker.host, self._broker.port)
        except (OSError, ValueError) as error:
            self.fault = str(error)
            return
        deadline = time.monotonic() + WAIT_S
        while not self.fault and self.granted is None and time.monotonic() < deadline:
            code = self._client.loop(0.2)
            if code is not MQTTErrorCode.MQTT_ERR_SUCCESS:
                self.fault = self.fault or mqtt.error_string(code)
        self._client.disconnect()

    def _on_connect(self, client: mqtt.Client, _data: object, _flags: object, code: ReasonCode, _more: object) -> None:
        if code.is_failure:
            self.fault = str(code)
            return
        self.accepted = True
        client.subscribe(self._topic, qos=1)

    def _on_subscribe(self, _client: object, _data: object, _mid: int, codes: list[ReasonCode], _more: object) -> None:
        self.granted = all(code.value < SUBSCRIBE_REFUSED for code in codes)
