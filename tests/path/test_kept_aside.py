"""What cannot be stored as it came: kept with its reason, mended and replayed by command, while the rest goes on."""

import random
import re
import subprocess
import sys

import paho.mqtt.client as mqtt

from station_agent.drivers import read_file
from station_agent.sample import Sample
from station_agent.wire import Kind, encode_batch, instrument_topic
from tests.path import picarro_log
from tests.path.network import INSTRUMENT, STATION, document, until

NOON = 1_751_371_200_000_000_000


def skyledger(*words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "deploy", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def publish(network, *messages: tuple[str, bytes]) -> None:
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.connect(network.broker.host, network.broker.port)
    client.loop_start()
    for topic, payload in messages:
        client.publish(topic, payload, qos=1).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()


def aside(network) -> list[tuple[int, str]]:
    return network.query("SELECT id, reason FROM message WHERE state = 'aside' ORDER BY id")


def test_a_malformed_payload_and_an_unknown_station(network, tmp_path):
    good, strange = (encode_batch([Sample(NOON + n, {"co2": 420.0 + n})], spool=f"s{n}", seq=1) for n in (0, 1_000_000))
    publish(
        network,
        (instrument_topic(STATION, INSTRUMENT, Kind.DATA), b'{"v": 1, "spool": "s", "seq": 1, "t": [17513'),
        (instrument_topic("linan", INSTRUMENT, Kind.DATA), strange),
        (instrument_topic(STATION, INSTRUMENT, Kind.DATA), good),
    )
    until(lambda: network.count() == 1, "the good message is stored")
    until(lambda: len(aside(network)) == 2, "both others are kept aside")
    (malformed, reason), (stranger, other) = aside(network)
    assert "JSON" in reason
    assert "linan" in other
    listed = skyledger("aside", "list", "--dsn", network.dsn)
    assert reason in listed
    assert other in listed

    skyledger("aside", "mend", str(stranger), "--dsn", network.dsn, "--map-station", STATION, "--why", "misspelt")
    repaired = encode_batch([Sample(NOON + 5_000_000, {"co2": 5.0})], spool="s", seq=1)
    path = tmp_path / "payload"
    path.write_bytes(repaired)
    skyledger("aside", "mend", str(malformed), "--dsn", network.dsn, "--payload", str(path), "--why", "from the log")
    skyledger("aside", "replay", "--dsn", network.dsn)
    assert aside(network) == []
    values = [value for _, _, _, value, *_ in network.readings()]
    assert sorted(values) == [5.0, 420.0, 1_000_420.0]


def test_an_unknown_station_is_replayed_once_it_is_in_the_catalogue(network):
    batch = encode_batch([Sample(NOON, {"co2": 420.0})], spool="s", seq=1)
    publish(network, (instrument_topic("waliguan", INSTRUMENT, Kind.DATA), batch))
    until(lambda: len(aside(network)) == 1, "it is kept aside")
    network.apply(document(station="waliguan"))
    assert "1 messages stored" in skyledger("aside", "replay", "--dsn", network.dsn)
    assert network.count() == 1


def test_a_file_with_a_broken_line(network):
    configuration = network.configure("agent")
    text = picarro_log.lines(0, 120, random.Random(4))
    whole = text.split("\r\n")[60]
    broken = whole[: 5 * picarro_log.WIDTH].rstrip()
    log = picarro_log.write(configuration.parent / "DataLog_User_1.dat", text.replace(whole, broken))
    network.deliver(configuration, "run", "--until-drained")
    good = sum(len(s.values) for s in read_file(log))
    until(lambda: network.count() == good, "all other lines are stored")
    ((number, reason),) = aside(network)
    assert "DataLog_User_1.dat" in reason
    assert re.search(r"\b62\b", reason), reason

    skyledger("aside", "mend", str(number), "--dsn", network.dsn, "--line", whole, "--why", "read off the screen")
    skyledger("aside", "replay", "--dsn", network.dsn)
    assert aside(network) == []
    picarro_log.write(log, text)
    assert network.count() == sum(len(s.values) for s in read_file(log))
