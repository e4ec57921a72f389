"""A station as the broker sees it: sends until it is acknowledged, as an agent does."""

import threading
import time
from contextlib import contextmanager

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from ingest.consumer import Consumer
from station_agent import wire
from station_agent.wire import Kind


class Station:
    """Publishes under any names; collects what comes on `ack`."""

    def __init__(self, broker, name="lin-an", *, ack=None):
        self.name = name
        self.acknowledged = {}
        self.times = {}
        self._ack = ack or f"{wire.ROOT}/{name}/ack"
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, clean_session=True)
        self._client.max_inflight_messages_set(200)
        self._client.on_connect = lambda client, *_: client.subscribe(self._ack, 1)
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(0.1, 0.5)
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()

    def _on_message(self, _client, _data, message):
        for item in wire.decode_acknowledgements(message.payload):
            self.acknowledged[item.digest] = item.outcome
            self.times.setdefault(item.digest, time.monotonic())

    def send(self, payload, *, instrument="g2301", kind=Kind.DATA, qos=1):
        return self._client.publish(f"{wire.ROOT}/{self.name}/{instrument}/{kind}", payload, qos)

    def say(self, payload):
        self._client.publish(f"{wire.ROOT}/{self.name}/status", payload, 1, retain=True)

    def deliver(self, payloads, *, seconds=60, again=2.0, **options):
        """Send payloads, again and again, until each is acknowledged; returns their outcomes."""
        digests = [wire.digest(payload) for payload in payloads]
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for payload, digest in zip(payloads, digests, strict=True):
                if digest not in self.acknowledged:
                    self.send(payload, **options)
            wait = min(time.monotonic() + again, end)
            while time.monotonic() < wait:
                if all(digest in self.acknowledged for digest in digests):
                    return [self.acknowledged[digest] for digest in digests]
                time.sleep(0.01)
        missing = sum(digest not in self.acknowledged for digest in digests)
        raise AssertionError(f"{missing} of {len(digests)} were not acknowledged in {seconds} s")

    def close(self):
        self._client.disconnect()
        self._client.loop_stop()


@contextmanager
def station(broker, name="lin-an", **options):
    one = Station(broker, name, **options)
    try:
        yield one
    finally:
        one.close()


@contextmanager
def consuming(dsn, broker, **options):
    """A consumer at work in a thread; stopped gracefully at the end."""
    consumer = Consumer(dsn=dsn, host=broker.host, port=broker.port, **options)
    stop = threading.Event()
    failures = []

    def run():
        try:
            consumer.run(stop)
        except BaseException as error:
            failures.append(error)
            raise

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield consumer
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()
    assert not failures
