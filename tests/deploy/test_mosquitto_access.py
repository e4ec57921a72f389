"""Real Mosquitto with the configuration that is shipped: who gets in, and what they may say and hear."""

import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path
from queue import Empty, Queue

import paho.mqtt.client as mqtt
import pytest

from deploy.local.broker import free_port, mosquitto_program
from deploy.pki import Authority, Kind
from station_agent.wire import ROOT
from tests.deploy.processes import eventually
from tests.servers import require_mosquitto

CONFIGURATION = Path(__file__).parents[2] / "deploy/mosquitto/mosquitto.conf"


class Broker:
    """Mosquitto as shipped, but for port and folders."""

    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        self.authority = Authority.create(folder / "pki", "tests")
        self.authority.issue("localhost", Kind.BROKER, folder=folder / "broker", days=2, hosts=["127.0.0.1"])
        for name in ("alpha", "beta", "gamma"):
            self.authority.issue(name, Kind.STATION, folder=folder / "keys", days=2)
        self.authority.issue("ingest-1", Kind.WORKER, folder=folder / "keys", days=2)
        for name in ("crt", "key"):
            (folder / f"broker/localhost.{name}").rename(folder / f"broker/broker.{name}")
        self.process = None

    def start(self):
        for file in (self.authority.certificate, self.authority.crl, self.authority.access):
            shutil.copy(file, self.folder / "broker")
        (self.folder / "state").mkdir(exist_ok=True)
        text = CONFIGURATION.read_text().replace("/etc/mosquitto/skyledger", str(self.folder / "broker"))
        text = text.replace("/var/lib/mosquitto", str(self.folder / "state"))
        assert text.count("listener 8883") == 1
        text = text.replace("listener 8883", f"listener {self.port} 127.0.0.1\nuser root")
        (self.folder / "mosquitto.conf").write_text(text)
        with (self.folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                [mosquitto_program(), "-c", self.folder / "mosquitto.conf"], stdout=subprocess.DEVNULL, stderr=log
            )
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        pytest.fail((self.folder / "log").read_text())

    def stop(self):
        self.process.terminate()
        self.process.wait(10)

    def context(self, name, *, keys=None):
        context = ssl.create_default_context(cafile=self.authority.certificate)
        if name is not None:
            keys = keys or self.folder / "keys"
            context.load_cert_chain(keys / f"{name}.crt", keys / f"{name}.key")
        return context


class Client:
    """A client that keeps what it hears."""

    def __init__(self, broker, name, *, client_id="", keys=None, subscribe=()):
        self.heard, self.ended, ready = Queue(), threading.Event(), threading.Event()
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=True)
        self.client.tls_set_context(broker.context(name, keys=keys))
        self.client.on_message = lambda _c, _u, message: self.heard.put((message.topic, message.payload))
        self.client.on_connect = lambda *_: ready.set()
        self.client.on_disconnect = lambda *_: self.ended.set()
        self.client.connect("127.0.0.1", broker.port, keepalive=60)
        self.client.loop_start()
        assert ready.wait(10)
        for topic in subscribe:
            granted = threading.Event()
            self.client.on_subscribe = lambda *_, granted=granted: granted.set()
            self.client.subscribe(topic, 1)
            assert granted.wait(10)

    def say(self, topic, payload):
        self.client.publish(topic, payload, 1).wait_for_publish(10)

    def hears(self, seconds=1.0):
        """Return what it hears until nothing comes for a while."""
        found = []
        while True:
            try:
                found.append(self.heard.get(timeout=seconds))
            except Empty:
                return found

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def broker(tmp_path):
    require_mosquitto()
    tmp_path.chmod(0o755)
    made = Broker(tmp_path)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def client(broker):
    made = []

    def connect(name, **options):
        made.append(Client(broker, name, **options))
        return made[-1]

    yield connect
    for one in made:
        one.close()


EVERYTHING = ("#", "$SYS/#", f"{ROOT}/#", f"{ROOT}/beta/ack", f"{ROOT}/beta/config", f"{ROOT}/+/g/data")


def test_a_station_speaks_as_itself_alone(client):
    worker = client("ingest-1", subscribe=[f"{ROOT}/+/+/data", f"{ROOT}/+/+/event", f"{ROOT}/+/status"])
    alpha = client("alpha")
    for topic in (f"{ROOT}/beta/g/data", f"{ROOT}/beta/g/event", f"{ROOT}/beta/status", f"{ROOT}/alpha/ack", "x/y"):
        alpha.say(topic, b"forged")
    alpha.say(f"{ROOT}/alpha/g/data", b"real")
    alpha.say(f"{ROOT}/alpha/status", b"here")
    assert worker.hears() == [(f"{ROOT}/alpha/g/data", b"real"), (f"{ROOT}/alpha/status", b"here")]


def test_a_station_hears_what_is_said_to_it_alone(client):
    beta, alpha = client("beta", subscribe=[f"{ROOT}/beta/ack"]), client("alpha", subscribe=EVERYTHING)
    own = client("gamma", subscribe=[f"{ROOT}/gamma/ack", f"{ROOT}/gamma/config"])
    worker = client("ingest-1")
    beta.say(f"{ROOT}/beta/g/data", b"a reading")
    for station in ("beta", "gamma"):
        worker.say(f"{ROOT}/{station}/ack", b"stored")
        worker.say(f"{ROOT}/{station}/config", b"sampling")
    assert alpha.hears() == []
    assert beta.hears(0.2) == [(f"{ROOT}/beta/ack", b"stored")]
    assert own.hears(0.2) == [(f"{ROOT}/gamma/ack", b"stored"), (f"{ROOT}/gamma/config", b"sampling")]


def test_nobody_takes_anothers_session(client):
    beta = client("beta", client_id="beta", subscribe=[f"{ROOT}/beta/ack"])
    alpha = client("alpha", client_id="beta", subscribe=[f"{ROOT}/beta/ack"])
    worker = client("ingest-1", client_id="beta")
    worker.say(f"{ROOT}/beta/ack", b"stored")
    assert not beta.ended.wait(1)
    assert beta.hears(0.2) == [(f"{ROOT}/beta/ack", b"stored")]
    assert alpha.hears(0.2) == []
    # Its own second connection is another matter: the older one ends, as MQTT has it.
    client("beta", client_id="something-else")
    assert beta.ended.wait(5)


CONNECT = bytes([0x10, 13, 0, 4]) + b"MQTT" + bytes([4, 2, 0, 60, 0, 1]) + b"a"


def greeted(broker, context):
    """Return what the broker answers to a CONNECT."""
    with (
        socket.create_connection(("127.0.0.1", broker.port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        secure.sendall(CONNECT)
        answer = secure.recv(4)
    if not answer:
        raise ConnectionError("closed without an answer")
    return answer


def refused(broker, context, words):
    """Assert that nobody answers; TLS 1.3 ends without a word, 1.2 says why."""
    with pytest.raises((ssl.SSLError, ConnectionError)):
        greeted(broker, context)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError), match=words):
        greeted(broker, context)


def test_who_does_not_get_in(broker, tmp_path):
    assert greeted(broker, broker.context("alpha")) == bytes([0x20, 2, 0, 0])
    refused(broker, broker.context(None), "handshake failure|certificate required")
    other = Authority.create(tmp_path / "other", "somebody else's")
    other.issue("alpha", Kind.STATION, folder=tmp_path / "forged", days=2)
    refused(
        broker,
        broker.context("alpha", keys=tmp_path / "forged"),
        "unknown ca|decrypt error|bad certificate",
    )
    # Good until a second ago: the authority's clock is set so that its certificate has ended.
    broker.authority._give("delta", Kind.STATION, folder=tmp_path / "late", days=-1, hosts=(), request=None)
    refused(broker, broker.context("delta", keys=tmp_path / "late"), "certificate expired")
    # The broker's own certificate is good for no client.
    shutil.copytree(tmp_path / "broker", tmp_path / "stolen")
    refused(broker, broker.context("broker", keys=tmp_path / "stolen"), "unsupported certificate|bad certificate")


def test_no_older_tls_and_nothing_in_the_clear(broker):
    context = broker.context("alpha")
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="deprecated"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="deprecated"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match="protocol version"):
        greeted(broker, context)
    with socket.create_connection(("127.0.0.1", broker.port), timeout=5) as plain:
        plain.sendall(CONNECT)
        try:
            answer = plain.recv(4)
        except ConnectionError:
            answer = b""
        assert answer[:1] != b"\x20"  # no CONNACK


def test_the_revoked_are_out_after_a_restart_and_the_others_stay_in(broker, client):
    before = client("alpha")
    broker.authority.revoke("alpha", "stolen")
    broker.stop()
    assert before.ended.wait(5)
    broker.start()
    refused(broker, broker.context("alpha"), "certificate revoked")
    client("beta")
    client("ingest-1")


def test_a_new_worker_is_let_in_by_a_reload(broker, client, tmp_path):
    broker.authority.issue("ingest-2", Kind.WORKER, folder=tmp_path / "keys", days=2)
    shutil.copy(broker.authority.access, tmp_path / "broker")
    worker, station = client("ingest-2", subscribe=[f"{ROOT}/+/+/data"]), client("alpha")
    station.say(f"{ROOT}/alpha/g/data", b"before")
    assert worker.hears() == []
    broker.process.send_signal(signal.SIGHUP)
    heard = []

    def said_and_heard():
        station.say(f"{ROOT}/alpha/g/data", b"after")
        heard.extend(worker.hears(0.2))
        return bool(heard)

    assert eventually(said_and_heard, seconds=10)
    assert set(heard) == {(f"{ROOT}/alpha/g/data", b"after")}
