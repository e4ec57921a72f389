"""The broker of the one-machine stack."""

import queue
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest

from deploy.errors import ServerError
from deploy.local.broker import Broker, free_port
from tests.deploy.processes import all_gone, descendants
from tests.servers import require_mosquitto, throwaway_broker, throwaway_folder

SECONDS = 15


@pytest.fixture(params=["mosquitto", "iotcore"])
def kind(request):
    if request.param == "mosquitto":
        require_mosquitto()
    return request.param


@contextmanager
def connected(broker, client_id="", *, clean=True):
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=clean)
    client.inbox, client.ready = queue.Queue(), queue.Queue()
    client.on_message = lambda _client, _data, message: client.inbox.put(message.payload)
    client.on_connect = lambda _client, _data, flags, _code, _properties: client.ready.put(flags.session_present)
    client.on_subscribe = lambda *_arguments: client.ready.put(None)
    client.connect(broker.host, broker.port)
    client.loop_start()
    client.session_present = client.ready.get(timeout=SECONDS)
    try:
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


def subscribe(client, topic):
    client.subscribe(topic, qos=1)
    client.ready.get(timeout=SECONDS)


def publish(broker, topic, payload, *, retain=False):
    with connected(broker) as client:
        client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(SECONDS)


def test_carries_large_messages(kind):
    payload = bytes(range(256)) * 4096
    with throwaway_broker(kind) as broker, connected(broker) as client:
        subscribe(client, "a/+")
        publish(broker, "a/b", payload)
        assert client.inbox.get(timeout=SECONDS) == payload


def test_listens_on_the_loopback_only(kind):
    with throwaway_broker(kind) as broker:
        with socket.socket(socket.AF_INET) as probe:
            # All of 127/8 reaches a server bound to all interfaces, but not one bound to 127.0.0.1.
            assert probe.connect_ex(("127.0.0.2", broker.port)) != 0
        with socket.socket(socket.AF_INET) as probe:
            assert probe.connect_ex(("127.0.0.1", broker.port)) == 0


def test_comes_back_on_its_port_after_kill_and_stop(kind):
    with throwaway_broker(kind) as broker:
        port = broker.port
        for end in (broker.kill, broker.stop):
            end()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((broker.host, port))
            broker.start()
            assert broker.port == port
            with connected(broker) as client:
                subscribe(client, "x")
                publish(broker, "x", b"1")
                assert client.inbox.get(timeout=SECONDS) == b"1"


def test_taken_port_is_refused_in_a_sentence(kind):
    with socket.socket() as taken, throwaway_folder() as folder:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=rf"(?s){kind} did not start on 127.0.0.1:{port}.*in use") as caught:
            Broker(folder, kind=kind, port=port).start()
        assert "broker.log" in str(caught.value)


def test_several_run_side_by_side(kind):
    with throwaway_broker(kind) as one, throwaway_broker(kind) as two, connected(one) as client:
        subscribe(client, "x")
        publish(two, "x", b"two")
        publish(one, "x", b"one")
        assert client.inbox.get(timeout=SECONDS) == b"one"


def test_another_process_taking_the_chosen_port_is_noticed(kind, monkeypatch):
    with socket.socket() as quicker, throwaway_folder() as folder:
        quicker.bind(("127.0.0.1", 0))
        quicker.listen(64)
        chosen = [quicker.getsockname()[1], free_port()]
        wanted = chosen[1]
        monkeypatch.setattr("deploy.local.broker.free_port", lambda: chosen.pop(0))
        with Broker(folder, kind=kind) as broker:
            assert broker.port == wanted


@pytest.mark.parametrize("lost", [False, True])
def test_mosquitto_keeps_sessions_over_a_stop_until_they_are_lost(mosquitto, lost):
    with connected(mosquitto, "worker", clean=False) as client:
        subscribe(client, "x")
    publish(mosquitto, "x", b"queued")
    mosquitto.stop()
    if lost:
        mosquitto.lose_sessions()
    mosquitto.start()
    with connected(mosquitto, "worker", clean=False) as client:
        assert client.session_present is not lost
        if lost:
            assert client.inbox.empty()
        else:
            assert client.inbox.get(timeout=SECONDS) == b"queued"


def test_sessions_of_a_running_broker_are_not_lost(broker):
    with pytest.raises(ServerError, match="still runs"):
        broker.lose_sessions()


def test_port_is_below_those_of_outgoing_connections():
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert not first <= free_port() <= last


OWNER = """
import sys, time
from deploy.local.broker import Broker
broker = Broker(sys.argv[1], kind=sys.argv[2]).start()
print(broker.pid, flush=True)
time.sleep(600)
"""


def test_killed_owner_takes_the_broker_with_it(kind):
    with throwaway_folder() as folder:
        with subprocess.Popen([sys.executable, "-c", OWNER, folder, kind], stdout=subprocess.PIPE, text=True) as owner:
            pid = int(owner.stdout.readline())
            assert pid in descendants(owner.pid)
            owner.send_signal(signal.SIGKILL)
        assert all_gone([pid])
