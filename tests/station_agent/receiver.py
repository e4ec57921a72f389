"""The server's side of the wire for tests of the agent: keeps what comes in memory, acknowledges over real MQTT."""

import threading
from collections import Counter

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from station_agent import wire


class Receiver:
    """Does with messages what the ingest does, by the same rules: digest, spool and seq, one value per time."""

    def __init__(self, host, port, *, answer=True):
        self.answer = answer
        self.messages = {}
        self.taken = {}
        self.readings = {}
        self.conflicts = []
        self.events = []
        self.statuses = []
        self.batches = []
        self.repeated = 0
        self.rekeyed = Counter()
        self._subscribed = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="receiver", clean_session=False)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 1)
        self._client.connect(host, port)

    def __enter__(self):
        self._client.loop_start()
        assert self._subscribed.wait(10)
        return self

    def __exit__(self, *_):
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, client, *_):
        topics = (f"{wire.ROOT}/+/+/data", f"{wire.ROOT}/+/+/event", f"{wire.ROOT}/+/status")
        client.subscribe([(topic, 1) for topic in topics])

    def _on_message(self, client, _data, message):
        topic = wire.parse_topic(message.topic)
        if topic.kind is wire.Kind.STATUS:
            self.statuses.append(message.payload)
            return
        answer = self._keep(topic, bytes(message.payload))
        if self.answer:
            payload = wire.encode_acknowledgements([answer])
            client.publish(wire.station_topic(topic.station, wire.Kind.ACK), payload, qos=1)

    def _keep(self, topic, payload):
        decoded = wire.decode(payload)
        digest = wire.digest(payload)
        key = topic.station, decoded.spool, decoded.seq
        if self.taken.setdefault(key, digest) != digest:
            self.rekeyed[digest] += 1
            return wire.Acknowledgement(decoded.seq, digest, wire.Outcome.REKEY)
        if (topic.station, digest) in self.messages:
            self.repeated += 1
        else:
            self.messages[topic.station, digest] = payload
            self._read(topic, decoded)
        return wire.Acknowledgement(decoded.seq, digest, wire.Outcome.STORED)

    def _read(self, topic, decoded):
        if isinstance(decoded, wire.Event):
            self.events.append(decoded)
            return
        self.batches.append(decoded)
        for name, column in decoded.q.items():
            for time, value in zip(decoded.t, column, strict=True):
                if value is not None:
                    key = topic.instrument, name, time
                    if self.readings.setdefault(key, value) != value:
                        self.conflicts.append((key, value))
